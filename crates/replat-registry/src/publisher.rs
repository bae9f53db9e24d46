//! The way of routes from replat's own store to a registry.

use std::sync::Arc;
use std::time::Duration;

use replat_engine::BoxError;
use replat_engine::registry::{Envelope, Published, Registry, RegistryError};
use replat_model::deploy::Timestamp;
use replat_model::route::{Routes, RoutesDelta};
use tokio::sync::watch;

use crate::seal::Seal;

/// How often a round is begun anew in which others got in the way.
const ROUNDS: usize = 16;
/// Of more versions than this that a registry has missed, it gets the last one whole.
const BACKLOG_MAX: usize = 256;
/// After a failure it is tried again after this; doubled up to the other.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LAST: Duration = Duration::from_secs(5);
/// Without a nudge it is looked after this long whether the registry still has what the store has.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where versions come from, in order: replat's own store. May block.
pub trait Outbox: Send + Sync {
    /// The newest version of a context's routes; `None`: it has none.
    ///
    /// # Errors
    ///
    /// The store's own.
    fn newest(&self, context: &str) -> Result<Option<u64>, BoxError>;

    /// The newest routes.
    ///
    /// # Errors
    ///
    /// The store's own, or that there are none.
    fn routes(&self, context: &str) -> Result<Routes, BoxError>;

    /// What leads from `version` to the newest, in order: empty if it is the newest, `None` if that is not known (any
    /// more).
    ///
    /// # Errors
    ///
    /// The store's own.
    fn since(&self, context: &str, version: u64) -> Result<Option<Vec<RoutesDelta>>, BoxError>;

    /// The routes of one version; `None` if they are not known (any more).
    ///
    /// # Errors
    ///
    /// The store's own.
    fn at(&self, context: &str, version: u64) -> Result<Option<Routes>, BoxError>;
}

/// Why a registry was not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store failed.
    #[error("the store cannot be read")]
    Outbox(#[source] BoxError),
    /// The registry failed, or refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry has a version that the store has not.
    #[error(
        "{registry} has version {head} of {context}, and the store only {newest}: another store publishes to the same \
         place, or this one was restored from a backup"
    )]
    Ahead {
        /// Which registry.
        registry: String,
        /// Of which context.
        context: String,
        /// What the registry has.
        head: u64,
        /// What the store has.
        newest: u64,
    },
    /// Others publish all the time.
    #[error("others publish {context} all the time")]
    Contended {
        /// Which context.
        context: String,
    },
}

/// What it took to bring a registry up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// The version that the registry has now; 0: none, and the store has none either.
    pub version: u64,
    /// Deltas that were published.
    pub deltas: u64,
    /// Whole routes that were published.
    pub wholes: u64,
}

/// Brings a registry up to date from an outbox. Keeps nothing: what is to be done follows from what the two have, so
/// that a publication that was lost is repeated, and any number of publishers may be at it.
pub struct Publisher {
    registry: Arc<dyn Registry>,
    outbox: Arc<dyn Outbox>,
    seal: Seal,
    now: fn() -> Timestamp,
}

impl Publisher {
    /// A publisher that seals by `seal` and writes the time that `now` tells into envelopes.
    pub fn new(
        registry: Arc<dyn Registry>,
        outbox: Arc<dyn Outbox>,
        seal: Seal,
        now: fn() -> Timestamp,
    ) -> Publisher {
        Publisher { registry, outbox, seal, now }
    }

    /// Publishes what the registry does not have of `context`; after the commit that made it, and at any other time.
    ///
    /// # Errors
    ///
    /// [`PublishError`]. Whatever was published is so, and the next call goes on from there.
    pub async fn bring(&self, context: &str) -> Result<Brought, PublishError> {
        let mut brought = Brought::default();
        for _ in 0..ROUNDS {
            let head = self.registry.head(context).await?;
            let Some(newest) = self.ask(context, |outbox, context| outbox.newest(context)).await? else {
                return match head {
                    0 => Ok(brought),
                    head => Err(self.ahead(context, head, 0)),
                };
            };
            brought.version = head;
            if head > newest {
                return Err(self.ahead(context, head, newest));
            }
            if head == newest || self.round(context, head, &mut brought).await? {
                return Ok(brought);
            }
        }
        Err(PublishError::Contended { context: context.to_owned() })
    }

    /// One round from version `head`; `false`: somebody else has published meanwhile.
    async fn round(&self, context: &str, head: u64, brought: &mut Brought) -> Result<bool, PublishError> {
        let deltas = match head {
            0 => None,
            _ => self.ask(context, move |outbox, context| outbox.since(context, head)).await?,
        };
        let Some(deltas) = deltas.filter(|deltas| deltas.len() <= BACKLOG_MAX) else {
            return self.whole(context, brought).await;
        };
        for delta in deltas {
            let (from, to) = (delta.from(), delta.to());
            let body = move |_: &dyn Outbox, _: &str| Ok(serde_json::to_string(&delta)?);
            let body = self.ask(context, body).await?;
            match self.publish(context, to, Some(from), body).await? {
                Published::Accepted { whole_due } => {
                    (brought.version, brought.deltas) = (to, brought.deltas + 1);
                    if whole_due {
                        return self.whole(context, brought).await;
                    }
                }
                Published::Already => brought.version = to,
                Published::Behind { .. } => return Ok(false),
            }
        }
        Ok(true)
    }

    async fn whole(&self, context: &str, brought: &mut Brought) -> Result<bool, PublishError> {
        let whole = |outbox: &dyn Outbox, context: &str| {
            let routes = outbox.routes(context)?;
            Ok((routes.version(), serde_json::to_string(&routes)?))
        };
        let (version, body) = self.ask(context, whole).await?;
        match self.publish(context, version, None, body).await? {
            Published::Accepted { .. } => {
                (brought.version, brought.wholes) = (version, brought.wholes + 1);
                Ok(true)
            }
            Published::Already => {
                brought.version = version;
                Ok(true)
            }
            Published::Behind { .. } => Ok(false),
        }
    }

    async fn publish(
        &self,
        context: &str,
        version: u64,
        from: Option<u64>,
        body: String,
    ) -> Result<Published, RegistryError> {
        let (seal, at, name) = (self.seal.clone(), (self.now)(), context.to_owned());
        let sealing = tokio::task::spawn_blocking(move || seal.envelope(&name, version, from, at, body));
        let envelope: Envelope = sealing.await.map_err(|error| RegistryError::Unreachable {
            registry: self.registry.name(),
            source: error.into(),
        })?;
        self.registry.publish(&envelope).await
    }

    /// Publishes the newest version once more, to see whether what the registry has under its number is the same.
    ///
    /// # Errors
    ///
    /// [`PublishError::Registry`] with [`RegistryError::Damaged`] if it is not; others as [`Publisher::bring`].
    pub async fn compare(&self, context: &str) -> Result<Brought, PublishError> {
        let mut brought = self.bring(context).await?;
        if brought.version > 0 && brought.wholes == 0 {
            self.whole(context, &mut brought).await?;
        }
        Ok(brought)
    }

    /// Keeps the registry up to date for as long as it is polled: at each nudge, and every few seconds in case that a
    /// nudge or the registry's memory was lost. What goes wrong is told to `tell`, and tried again.
    pub async fn keep(
        &self,
        contexts: &[String],
        mut nudge: watch::Receiver<u64>,
        tell: impl Fn(&str, &Result<Brought, PublishError>),
    ) {
        let mut pause = AGAIN_FIRST;
        loop {
            let mut failed = false;
            for context in contexts {
                let done = self.bring(context).await;
                failed |= done.is_err();
                tell(context, &done);
            }
            let rest = if failed { pause } else { LOOK_EVERY };
            pause = if failed { (pause * 2).min(AGAIN_LAST) } else { AGAIN_FIRST };
            // Whoever nudges may be gone; the few seconds stay.
            if let Ok(Err(_)) = tokio::time::timeout(rest, nudge.changed()).await {
                tokio::time::sleep(rest).await;
            }
        }
    }

    fn ahead(&self, context: &str, head: u64, newest: u64) -> PublishError {
        let (registry, context) = (self.registry.name(), context.to_owned());
        PublishError::Ahead { registry, context, head, newest }
    }

    /// Asks the outbox where blocking is allowed.
    async fn ask<T: Send + 'static>(
        &self,
        context: &str,
        question: impl FnOnce(&dyn Outbox, &str) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, PublishError> {
        let (outbox, context) = (self.outbox.clone(), context.to_owned());
        let asked = tokio::task::spawn_blocking(move || question(&*outbox, &context)).await;
        asked.map_err(BoxError::from).flatten().map_err(PublishError::Outbox)
    }
}
