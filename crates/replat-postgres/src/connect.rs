//! Sessions: from a [`ConnInfo`] to a client that is logged in, by libpq's rules for several hosts, for
//! encryption and for the kind of server that is wanted.
//!
//! SQL sessions ([`connect()`]) and replication streams ([`crate::replication`]) go through the same door, so they
//! reach the same server in the same way or fail for the same reason.

mod dial;
mod door;
mod error;
mod reach;

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::config::{SslMode as DriverSslMode, SslNegotiation};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, SimpleQueryMessage};

use crate::conninfo::{ChannelBinding, ConnInfo, Host, Secret};
pub use dial::PgStream;
use dial::Secured;
pub(crate) use dial::{Address, Encryption};
pub(crate) use door::{Entrance, Login, Role, enter};
pub use error::{Attempt, ConnectError, Failure, ServerError};
pub use reach::{Way, reach};

pub use crate::tls::TlsError;

/// What a session is asked about itself: its process, and what its server lets it do.
pub(crate) const ROLE_QUERY: &str = "select pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('transaction_read_only')";

/// A session that is logged in. Its connection runs as a task of the current runtime until the client is dropped.
pub struct Connected {
    /// The session.
    pub client: Client,
    /// Which of the hosts it was.
    pub host: Host,
    /// Ends what the session is doing, from outside.
    pub cancel: Cancel,
    /// The process that serves the session, as in `pg_stat_activity`.
    pub backend_pid: i32,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.backend_pid;
        f.debug_struct("Connected")
            .field("host", &self.host)
            .field("backend_pid", &pid)
            .finish_non_exhaustive()
    }
}

/// Connects to the first suitable host.
///
/// The session is called `application_name` unless the user chose a name.
///
/// # Errors
///
/// [`ConnectError`] with every attempt that was made; [`ConnectError::is_temporary`] says whether to try again.
pub async fn connect(info: &ConnInfo, application_name: &str) -> Result<Connected, ConnectError> {
    open(info, &SqlLogin { application_name, heard: None }).await
}

/// The same, and what the session is notified of goes to `heard`, payload by payload. Who does not read keeps the
/// session waiting.
///
/// # Errors
///
/// As [`connect()`].
pub async fn connect_listening(
    info: &ConnInfo,
    application_name: &str,
    heard: mpsc::Sender<String>,
) -> Result<Connected, ConnectError> {
    open(info, &SqlLogin { application_name, heard: Some(heard) }).await
}

async fn open(info: &ConnInfo, login: &SqlLogin<'_>) -> Result<Connected, ConnectError> {
    let Entrance { session: client, host, role, address, encryption, encrypted } = enter(info, login).await?;
    let cancel =
        Cancel { token: client.cancel_token(), info: info.clone(), host: host.clone(), address, encryption };
    Ok(Connected { client, host, cancel, backend_pid: role.backend_pid, encrypted })
}

/// The capability to end the statement that a session is running.
#[derive(Clone)]
pub struct Cancel {
    token: CancelToken,
    info: ConnInfo,
    host: Host,
    address: Address,
    encryption: Encryption,
}

impl Cancel {
    /// Asks the server to end the session's present statement. It may end by itself first, and the server does
    /// not say which it was.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the server could not be asked.
    pub async fn cancel(&self) -> Result<(), Failure> {
        within(self.info.connect_timeout, async {
            let stream = dial::dial(&self.info, &self.host, &self.address, self.encryption).await?;
            self.token.cancel_query_raw(stream, Secured).await.map_err(Failure::from)
        })
        .await
    }
}

/// Waits for `attempt`, but no longer than `limit`.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match limit {
        None => attempt.await,
        Some(after) => tokio::time::timeout(after, attempt).await.unwrap_or(Err(Failure::TimedOut { after })),
    }
}

struct SqlLogin<'a> {
    application_name: &'a str,
    heard: Option<mpsc::Sender<String>>,
}

impl Login for SqlLogin<'_> {
    type Session = Client;

    async fn log_in(
        &self,
        stream: PgStream,
        info: &ConnInfo,
        password: Option<&Secret>,
    ) -> Result<Client, Failure> {
        let config = driver_config(info, password, self.application_name);
        let (client, mut connection) = config.connect_raw(stream, Secured).await?;
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match (message, &heard) {
                    (Ok(AsyncMessage::Notification(news)), Some(heard)) => {
                        // Nobody reads any more: the session ends with its client.
                        drop(heard.send(news.payload().to_owned()).await);
                    }
                    (Ok(_), _) => {}
                    // Whoever uses the client learns of a lost connection from its calls.
                    (Err(error), _) => {
                        tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended");
                        break;
                    }
                }
            }
        });
        Ok(client)
    }

    async fn role(&self, client: &mut Client) -> Result<Role, Failure> {
        let answer = client.simple_query(ROLE_QUERY).await?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some([row.get(0), row.get(1), row.get(2)]),
            _ => None,
        });
        row.and_then(Role::from_row)
            .ok_or(Failure::Protocol { what: "the server did not say what it is".into() })
    }
}

/// The driver is told that TLS begins at once: [`dial`] has settled it already, and [`Secured`] hands over the
/// stream as it is, encrypted or not, with what channel binding needs.
fn driver_config(info: &ConnInfo, password: Option<&Secret>, application_name: &str) -> Config {
    let mut config = Config::new();
    config.user(&info.user).dbname(&info.dbname);
    config.application_name(info.application_name.as_deref().unwrap_or(application_name));
    config.ssl_mode(DriverSslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    config.channel_binding(match info.channel_binding {
        ChannelBinding::Disable => tokio_postgres::config::ChannelBinding::Disable,
        ChannelBinding::Prefer => tokio_postgres::config::ChannelBinding::Prefer,
        ChannelBinding::Require => tokio_postgres::config::ChannelBinding::Require,
    });
    if let Some(password) = password {
        config.password(password.expose());
    }
    if let Some(options) = &info.options {
        config.options(options);
    }
    config
}
