//! Streams for those who speak the protocol themselves, such as a relay: reached by the same rules, and no further.

use std::sync::Arc;

use super::dial::{self, Address, Encryption, PgStream};
use super::error::{Attempt, ConnectError, Failure};
use super::within;
use crate::conninfo::{ConnInfo, Host, SslMode};

/// How a server was reached, so that it can be reached in the same way again: a wish to cancel must go to the very
/// server that runs the statement.
#[derive(Clone, Debug)]
pub struct Way {
    info: Arc<ConnInfo>,
    host: Host,
    address: Address,
    encryption: Encryption,
}

impl Way {
    /// Another stream to the same address.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the server is not to be had any more.
    pub async fn again(&self) -> Result<PgStream, Failure> {
        within(self.info.connect_timeout, dial::dial(&self.info, &self.host, &self.address, self.encryption))
            .await
    }
}

/// Opens a stream to the first host of `info` that answers, with its encryption settled and nobody logged in.
///
/// `target_session_attrs` is not looked at: what kind a server is, only a session can ask.
///
/// # Errors
///
/// [`ConnectError`] with every attempt that was made.
pub async fn reach(info: &Arc<ConnInfo>) -> Result<(PgStream, Way), ConnectError> {
    let mut attempts = Vec::new();
    for host in &info.hosts {
        let failed = |failure| Attempt { host: host.to_string(), failure };
        match within(info.connect_timeout, dial::addresses(host)).await {
            Err(failure) => attempts.push(failed(failure)),
            Ok(addresses) => {
                for address in addresses {
                    let encryption = encryption(info.sslmode, &address);
                    let way = Way { info: info.clone(), host: host.clone(), address, encryption };
                    match way.again().await {
                        Ok(stream) => return Ok((stream, way)),
                        Err(failure) => attempts.push(failed(failure)),
                    }
                }
            }
        }
    }
    Err(ConnectError { target: info.to_string(), attempts })
}

fn encryption(mode: SslMode, address: &Address) -> Encryption {
    match (mode, address) {
        (SslMode::Disable | SslMode::Allow, _) | (_, Address::Unix(_)) => Encryption::Never,
        (SslMode::Prefer, _) => Encryption::IfOffered,
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, _) => Encryption::Always,
    }
}
