//! Hearing what a database's users say by `NOTIFY`.

use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::connect::{ConnectError, connect_listening};
use crate::conninfo::ConnInfo;
use crate::sql::quote_ident;

/// How many notifications wait for their reader at most; the rest waits on the server.
const BACKLOG: usize = 256;

/// A session that hears one channel.
///
/// What is said while no session is open is not heard: whoever opens one again has to look for himself.
pub struct Listener {
    /// Held, since the session ends with it.
    _client: Client,
    news: mpsc::Receiver<String>,
}

/// Why nothing can be heard.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It does not let us listen.
    #[error("LISTEN was refused")]
    Refused(#[from] tokio_postgres::Error),
}

impl Listener {
    /// Opens a session that hears `channel`.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub async fn open(info: &ConnInfo, channel: &str) -> Result<Listener, ListenError> {
        let (heard, news) = mpsc::channel(BACKLOG);
        let client = connect_listening(info, "replat rotate --watch", heard).await?.client;
        client.batch_execute(&format!("listen {}", quote_ident(channel))).await?;
        Ok(Listener { _client: client, news })
    }

    /// The next payload; `None` if the session was lost. Cancellation safe.
    pub async fn next(&mut self) -> Option<String> {
        self.news.recv().await
    }
}
