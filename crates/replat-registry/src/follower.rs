//! The way of routes from a registry to whoever routes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replat_engine::registry::{Envelope, HoldCall, Matter, Registry, RegistryError};
use replat_model::route::{Routes, RoutesDelta};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// After a failure the registry is asked again after this; doubled up to the other.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN_LAST: Duration = Duration::from_secs(1);

/// How well a follower knows what the registry has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// When the last look at the registry began that found everything; `None`: there was none yet. What was published
    /// before then is known.
    pub seen: Option<Instant>,
    /// The version that is gone by; 0: none.
    pub version: u64,
    /// What was wrong at the last look; `None`: nothing.
    pub trouble: Option<String>,
}

/// A hold that somebody has called for, and when it ends here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The call.
    pub call: HoldCall,
    /// By our own clock; also if the registry is not heard of any more.
    pub ends: Instant,
}

/// Follows one context: reads, applies, waits for news, from whatever registry. Ends when it is dropped.
///
/// Routes of an older version than those it has are refused, and what cannot be believed changes nothing.
pub struct Follower {
    routes: watch::Receiver<Option<Routes>>,
    freshness: watch::Receiver<Freshness>,
    holds: watch::Receiver<Vec<Held>>,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Begins to follow `context`. `have`: routes that are known from earlier, say from a file.
    pub fn start(registry: Arc<dyn Registry>, context: &str, have: Option<Routes>) -> Follower {
        let version = have.as_ref().map_or(0, Routes::version);
        let (tell_routes, routes) = watch::channel(have);
        let (tell_freshness, freshness) = watch::channel(Freshness { version, ..Freshness::default() });
        let (tell_holds, holds) = watch::channel(Vec::new());
        let context = context.to_owned();
        let following = Following { registry, context, tell_routes, tell_freshness, tell_holds };
        Follower { routes, freshness, holds, task: tokio::spawn(following.run()) }
    }

    /// The newest routes, as they come; `None` until there are some.
    pub fn routes(&self) -> watch::Receiver<Option<Routes>> {
        self.routes.clone()
    }

    /// How well they are known.
    pub fn freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.clone()
    }

    /// The holds that are called for. One that has ended by its `ends` may still be listed: whoever holds looks there.
    pub fn holds(&self) -> watch::Receiver<Vec<Held>> {
        self.holds.clone()
    }
}

/// What the task of a follower has.
struct Following {
    registry: Arc<dyn Registry>,
    context: String,
    tell_routes: watch::Sender<Option<Routes>>,
    tell_freshness: watch::Sender<Freshness>,
    tell_holds: watch::Sender<Vec<Held>>,
}

/// Why a look came to nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the registry has version {head}, which is older than version {have} that is known here")]
    Older { head: u64, have: u64 },
    #[error("what the registry has cannot be applied: {0}")]
    Apply(String),
}

impl Following {
    async fn run(self) {
        let (mut since, mut pause) = (0, AGAIN_FIRST);
        loop {
            // Counted before the look, so that what changes during the look is looked at again.
            let changed = self.registry.changed(&self.context, Matter::Routes, since).await;
            let began = Instant::now();
            let looked = match changed {
                Ok(count) => {
                    since = count;
                    self.look().await
                }
                Err(error) => Err(error.into()),
            };
            match looked {
                Ok(()) => {
                    pause = AGAIN_FIRST;
                    self.tell_freshness.send_modify(|fresh| {
                        (fresh.seen, fresh.trouble) = (Some(began), None);
                    });
                }
                Err(trouble) => {
                    let said = chain(&trouble);
                    self.tell_freshness.send_modify(|fresh| fresh.trouble = Some(said));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_LAST);
                }
            }
        }
    }

    async fn look(&self) -> Result<(), Trouble> {
        let have = self.tell_routes.borrow().clone();
        let version = have.as_ref().map_or(0, Routes::version);
        let envelopes = self.registry.read(&self.context, version).await?;
        if envelopes.is_empty() {
            let head = self.registry.head(&self.context).await?;
            if head < version {
                return Err(Trouble::Older { head, have: version });
            }
        } else {
            let folding = tokio::task::spawn_blocking(move || fold(have, &envelopes));
            let routes =
                folding.await.map_err(|error| Trouble::Apply(error.to_string()))?.map_err(Trouble::Apply)?;
            if let Some(routes) = routes {
                let version = routes.version();
                self.tell_routes.send_replace(Some(routes));
                self.tell_freshness.send_modify(|fresh| fresh.version = version);
            }
        }
        self.look_for_holds().await
    }

    async fn look_for_holds(&self) -> Result<(), Trouble> {
        let asked = Instant::now();
        let calls = self.registry.holds(&self.context).await?;
        let held = match calls.is_empty() {
            true => Vec::new(),
            false => {
                let now = self.registry.clock().await?;
                let ends = |call: &HoldCall| asked + Duration::from_millis(call.until.since(now));
                calls.into_iter().map(|call| Held { ends: ends(&call), call }).collect()
            }
        };
        self.tell_holds.send_if_modified(|old| {
            let calls = |held: &[Held]| held.iter().map(|held| held.call.clone()).collect::<Vec<_>>();
            let new = calls(old) != calls(&held);
            if new {
                *old = held;
            }
            new
        });
        Ok(())
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said += &format!(": {error}");
        cause = error.source();
    }
    said
}

/// The routes that `envelopes` make of what is there, in this order. Their digests were checked by whoever read them.
pub(crate) fn fold(have: Option<Routes>, envelopes: &[Envelope]) -> Result<Option<Routes>, String> {
    let mut routes = have;
    for envelope in envelopes {
        let version = envelope.version;
        let unfit = |error: &dyn std::error::Error| format!("version {version}: {}", chain(error));
        let next = match (envelope.from, &routes) {
            (None, _) => serde_json::from_str::<Routes>(&envelope.body).map_err(|error| unfit(&error))?,
            (Some(_), Some(routes)) => {
                let delta: RoutesDelta =
                    serde_json::from_str(&envelope.body).map_err(|error| unfit(&error))?;
                routes.after(&delta).map_err(|error| unfit(&error))?
            }
            (Some(from), None) => {
                return Err(format!("version {version}: there is no version {from} to go on from"));
            }
        };
        let stated = (envelope.project.as_str(), envelope.context.as_str(), version);
        if (next.project(), next.context(), next.version()) != stated {
            return Err(format!(
                "version {version}: inside are version {} of {} of project {:?}",
                next.version(),
                next.context(),
                next.project()
            ));
        }
        if routes.as_ref().is_some_and(|routes| routes.version() >= version) {
            return Err(format!("version {version} does not rise"));
        }
        routes = Some(next);
    }
    Ok(routes)
}
