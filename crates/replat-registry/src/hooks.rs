//! Hooks: caches of others are told of each published change, by HTTP or by NOTIFY.
//!
//! How far a hook was told is kept in the registry, and raised only once it has acknowledged. So whoever tells may die:
//! the next one goes on from there, and a hook hears of each version at least once, of several at once if it was away.
//! Nothing waits for a hook, a switch least of all.

mod message;
mod web;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use replat_engine::BoxError;
use replat_engine::registry::{Registry, RegistryError};
use replat_model::deploy::Timestamp;
use replat_postgres::conninfo::ConnInfo;

use crate::publisher::Outbox;
use crate::registry::{KvRegistry, Told};
use crate::tables::PREFIX;

pub use message::{Concerned, Message, MessageKind, PartitionChange};
pub use web::{BadUrl, Web};

/// PostgreSQL takes payloads of fewer bytes than 8000.
const PAYLOAD_MAX: usize = 7_999;
/// What is kept of a reason. Unit: characters.
const TROUBLE_MAX: usize = 300;

/// One hook.
pub struct HookTo {
    /// Its name; how far it was told is kept under it.
    pub name: String,
    /// How it is told.
    pub by: By,
    /// How long one try may take.
    pub timeout: Duration,
}

/// How a hook is told.
pub enum By {
    /// By an HTTP request.
    Web(Web),
    /// By NOTIFY.
    Notify {
        /// The database.
        info: Box<ConnInfo>,
        /// The channel.
        channel: String,
    },
    /// Not at all: the hook cannot be used, for this reason.
    Unusable(String),
}

/// What came of telling one hook.
#[derive(Debug)]
pub struct Heard {
    /// Which one.
    pub hook: String,
    /// The version that it has acknowledged now.
    pub version: u64,
    /// The newest version that is published.
    pub newest: u64,
    /// Why it was not told, if it was not.
    pub trouble: Option<String>,
}

/// Tells the hooks of a project.
pub struct Hooks {
    registry: Arc<KvRegistry>,
    /// Where earlier versions of routes are; without it a hook is told that anything may have changed.
    outbox: Option<Arc<dyn Outbox>>,
    hooks: Vec<HookTo>,
    now: fn() -> Timestamp,
}

impl Hooks {
    /// The hooks of the project of `registry`. `now` tells the time for what is written down.
    pub fn new(
        registry: Arc<KvRegistry>,
        outbox: Option<Arc<dyn Outbox>>,
        hooks: Vec<HookTo>,
        now: fn() -> Timestamp,
    ) -> Hooks {
        Hooks { registry, outbox, hooks, now }
    }

    /// Tells each hook what it has not acknowledged of a context, once. For how long: the longest time-out of a hook, and
    /// what the registry takes.
    ///
    /// # Errors
    ///
    /// [`RegistryError`] if the registry fails. That a hook fails is in the answer.
    pub async fn tell(&self, context: &str) -> Result<Vec<Heard>, RegistryError> {
        if self.hooks.is_empty() {
            return Ok(Vec::new());
        }
        let newest = self.registry.head(context).await?;
        join_all(self.hooks.iter().map(|hook| self.tell_one(context, hook, newest)))
            .await
            .into_iter()
            .collect()
    }

    async fn tell_one(&self, context: &str, hook: &HookTo, newest: u64) -> Result<Heard, RegistryError> {
        let known = self.registry.told(context, &hook.name).await?;
        let (told, revision) = known.map_or((Told::default(), None), |(told, at)| (told, Some(at)));
        let heard = |version, trouble| Heard { hook: hook.name.clone(), version, newest, trouble };
        if told.version >= newest {
            return Ok(heard(told.version, None));
        }
        let message = self.message(context, told.version, newest).await?;
        let sent = tokio::time::timeout(hook.timeout, hook.by.send(&message)).await;
        let sent =
            sent.unwrap_or_else(|_| Err(format!("no answer within {} ms", hook.timeout.as_millis()).into()));
        let (version, failures, trouble) = match sent {
            Ok(()) => (newest, 0, None),
            Err(error) => (told.version, told.failures.saturating_add(1), Some(shortened(&*error))),
        };
        let after = Told { version, at: (self.now)(), failures, trouble: trouble.clone() };
        // If somebody else told it meanwhile, it has heard twice.
        self.registry.tell_told(context, &hook.name, revision, &after).await?;
        Ok(heard(version, trouble))
    }

    async fn message(&self, context: &str, from: u64, version: u64) -> Result<Message, RegistryError> {
        let at = (self.now)();
        let head = |kind, concerned| {
            Message::new(&self.registry.seal().project, context, from, version, at, kind, concerned)
        };
        if let Some(database) = context.strip_prefix(PREFIX) {
            let published = self.registry.tables(database).await?;
            let tables = published.map(|published| published.document.sets).unwrap_or_default();
            let tables = tables.into_iter().map(|set| set.table).collect();
            let database = database.to_owned();
            return Ok(head(
                MessageKind::Tables,
                Concerned { database: Some(database), tables, partitions: vec![] },
            ));
        }
        let reset = || head(MessageKind::Reset, Concerned::default());
        let Some(outbox) = self.outbox.clone().filter(|_| from > 0) else { return Ok(reset()) };
        let name = context.to_owned();
        let difference = tokio::task::spawn_blocking(move || {
            let (before, after) = (outbox.at(&name, from)?, outbox.at(&name, version)?);
            Ok::<_, BoxError>(
                before.zip(after).and_then(|(before, after)| message::difference(&before, &after)),
            )
        });
        // A store that cannot say what has changed is no reason to keep quiet.
        match difference.await.map_err(BoxError::from).flatten() {
            Ok(Some(partitions)) => {
                Ok(head(MessageKind::Routes, Concerned { partitions, ..Concerned::default() }))
            }
            Ok(None) => Ok(reset()),
            Err(error) => {
                tracing::debug!(error = &*error as &dyn std::error::Error, "what changed is not known");
                Ok(reset())
            }
        }
    }
}

impl By {
    async fn send(&self, message: &Message) -> Result<(), BoxError> {
        match self {
            By::Unusable(why) => Err(why.clone().into()),
            By::Web(web) => web.post(message).await,
            By::Notify { info, channel } => {
                let mut payload = message.to_json();
                if payload.len() > PAYLOAD_MAX {
                    payload = message.without_details().to_json();
                }
                let session = replat_postgres::connect::connect(info, "replat hook").await?;
                session.client.execute("SELECT pg_catalog.pg_notify($1, $2)", &[channel, &payload]).await?;
                Ok(())
            }
        }
    }
}

fn shortened(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(because) = cause {
        words += &format!(": {because}");
        cause = because.source();
    }
    words.chars().take(TROUBLE_MAX).collect()
}
