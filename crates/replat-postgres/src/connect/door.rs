//! The search for a host that lets us in: which address, with or without TLS, and whether it is the right kind.

use super::dial::{self, Address, Encryption, PgStream};
use super::error::{Attempt, ConnectError, Failure};
use super::within;
use crate::conninfo::{ConnInfo, Host, Secret, SslMode, TargetSessionAttrs};

/// A way to make a session out of a stream.
pub(crate) trait Login {
    type Session;

    /// Logs in over `stream`.
    fn log_in(
        &self,
        stream: PgStream,
        info: &ConnInfo,
        password: Option<&Secret>,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send;

    /// Asks what the session's server is.
    fn role(&self, session: &mut Self::Session) -> impl Future<Output = Result<Role, Failure>> + Send;
}

/// What a session's server is and lets it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) backend_pid: i32,
    in_recovery: bool,
    read_only: bool,
}

impl Role {
    /// Reads the answer to [`super::ROLE_QUERY`].
    pub(crate) fn from_row(row: [Option<&str>; 3]) -> Option<Role> {
        let [pid, in_recovery, read_only] = row;
        Some(Role {
            backend_pid: pid?.parse().ok()?,
            in_recovery: in_recovery? == "t",
            read_only: read_only? == "on",
        })
    }

    fn suits(self, wanted: TargetSessionAttrs) -> bool {
        match wanted {
            TargetSessionAttrs::Any => true,
            TargetSessionAttrs::ReadWrite => !self.read_only,
            TargetSessionAttrs::ReadOnly => self.read_only,
            TargetSessionAttrs::Primary => !self.in_recovery,
            TargetSessionAttrs::Standby | TargetSessionAttrs::PreferStandby => self.in_recovery,
        }
    }
}

/// A session and how it came about.
pub(crate) struct Entrance<S> {
    pub(crate) session: S,
    pub(crate) host: Host,
    pub(crate) role: Role,
    pub(crate) address: Address,
    pub(crate) encryption: Encryption,
    pub(crate) encrypted: bool,
}

/// Tries host after host until one lets us in and is of the wanted kind.
pub(crate) async fn enter<L: Login>(
    info: &ConnInfo,
    login: &L,
) -> Result<Entrance<L::Session>, ConnectError> {
    let mut attempts = Vec::new();
    for wanted in rounds(info.target_session_attrs) {
        attempts.clear();
        for host in &info.hosts {
            match enter_host(info, host, login, *wanted).await {
                Ok(entrance) => return Ok(entrance),
                Err(failures) => {
                    attempts.extend(
                        failures.into_iter().map(|failure| Attempt { host: host.to_string(), failure }),
                    );
                }
            }
            if attempts.iter().any(|attempt| attempt.failure.ends_the_search()) {
                return Err(ConnectError { target: info.to_string(), attempts });
            }
        }
    }
    Err(ConnectError { target: info.to_string(), attempts })
}

/// What to look for, one search after the other.
fn rounds(wanted: TargetSessionAttrs) -> &'static [TargetSessionAttrs] {
    match wanted {
        TargetSessionAttrs::Any => &[TargetSessionAttrs::Any],
        TargetSessionAttrs::ReadWrite => &[TargetSessionAttrs::ReadWrite],
        TargetSessionAttrs::ReadOnly => &[TargetSessionAttrs::ReadOnly],
        TargetSessionAttrs::Primary => &[TargetSessionAttrs::Primary],
        TargetSessionAttrs::Standby => &[TargetSessionAttrs::Standby],
        TargetSessionAttrs::PreferStandby => &[TargetSessionAttrs::Standby, TargetSessionAttrs::Any],
    }
}

async fn enter_host<L: Login>(
    info: &ConnInfo,
    host: &Host,
    login: &L,
    wanted: TargetSessionAttrs,
) -> Result<Entrance<L::Session>, Vec<Failure>> {
    let addresses =
        within(info.connect_timeout, dial::addresses(host)).await.map_err(|failure| vec![failure])?;
    let mut failures = Vec::new();
    for address in addresses {
        match enter_address(info, host, &address, login).await {
            Ok(entrance) if entrance.role.suits(wanted) => return Ok(entrance),
            Ok(_) => failures.push(Failure::OtherKind { wanted }),
            Err(mut more) => failures.append(&mut more),
        }
        if failures.iter().any(Failure::ends_the_search) {
            break;
        }
    }
    Err(failures)
}

async fn enter_address<L: Login>(
    info: &ConnInfo,
    host: &Host,
    address: &Address,
    login: &L,
) -> Result<Entrance<L::Session>, Vec<Failure>> {
    let mut failures = Vec::new();
    for encryption in encryptions(info.sslmode, address) {
        let attempt = attempt(info, host, address, *encryption, login);
        match within(info.connect_timeout, attempt).await {
            Ok(entrance) => return Ok(entrance),
            Err(failure) => {
                let other_way = may_try_the_other_way(&failure);
                failures.push(failure);
                if !other_way {
                    break;
                }
            }
        }
    }
    Err(failures)
}

/// The ways to try at one address. A Unix socket needs no encryption and has none, as in libpq.
fn encryptions(mode: SslMode, address: &Address) -> &'static [Encryption] {
    match (mode, address) {
        (SslMode::Disable, _) | (_, Address::Unix(_)) => &[Encryption::Never],
        (SslMode::Allow, _) => &[Encryption::Never, Encryption::Always],
        (SslMode::Prefer, _) => &[Encryption::IfOffered, Encryption::Never],
        (SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull, _) => &[Encryption::Always],
    }
}

/// Whether encryption, or the lack of it, may be what the server minds.
fn may_try_the_other_way(failure: &Failure) -> bool {
    match failure {
        Failure::Tls { .. } => true,
        Failure::Refused(said) => !said.is_temporary(),
        _ => false,
    }
}

async fn attempt<L: Login>(
    info: &ConnInfo,
    host: &Host,
    address: &Address,
    encryption: Encryption,
    login: &L,
) -> Result<Entrance<L::Session>, Failure> {
    let stream = dial::dial(info, host, address, encryption).await?;
    let encrypted = stream.encrypted;
    let mut session = login.log_in(stream, info, host.password.as_ref()).await?;
    let role = login.role(&mut session).await?;
    Ok(Entrance { session, host: host.clone(), role, address: address.clone(), encryption, encrypted })
}
