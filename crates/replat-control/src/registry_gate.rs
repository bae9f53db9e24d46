//! The gate that a registry is: holds are asked for and routes are published there.
//!
//! A registry that is down, slow or old never stops a switch: to hold takes as long as the caller gives it, and all
//! else goes on beside the deployment, again and again until it succeeds. What is newest is the store's to say; a
//! publication that was lost is therefore repeated by whoever looks next, and never remembered.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use replat_engine::failpoint::crash_at;
use replat_engine::gate::{Gate, Hold, Soon};
use replat_engine::registry::{Attendance, Envelope, HoldCall, Published, Registry, RegistryError};
use replat_engine::{LogError, WorkLog};
use replat_model::deploy::Timestamp;
use replat_model::ids::PartitionId;
use replat_model::next::Held;
use replat_model::route::{Address, Routes};
use tokio::sync::Notify;

/// How long a registry may take for a word.
const WORD_MAX: Duration = Duration::from_secs(5);

/// How long it may take for a publication, which can be a whole map.
const PUBLISH_MAX: Duration = Duration::from_secs(60);

/// The first and the longest pause between two tries to publish.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_LAST: Duration = Duration::from_secs(10);

/// How often one publication begins anew because somebody else published meanwhile.
const ROUNDS_MAX: u32 = 8;

/// Makes the envelope that takes a follower to the routes: from the earlier ones if there are any, or from nothing. It
/// may make one from nothing in either case.
pub type Seal<'a> = dyn Fn(&Routes, Option<&Routes>) -> Envelope + Send + Sync + 'a;

/// What the spec says of a context's routes.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The project.
    pub project: String,
    /// The context.
    pub context: String,
    /// The databases of the spec; `None` where it cannot be told from here how one is reached. Such a one keeps the
    /// address that it had.
    pub addresses: BTreeMap<String, Option<Address>>,
}

/// A registry as the gate of one context's deployments.
pub struct RegistryGate<'a> {
    registry: &'a dyn Registry,
    log: &'a dyn WorkLog,
    telling: Telling,
    seal: Box<Seal<'a>>,
    state: Mutex<State>,
    asked: Notify,
    done: Notify,
}

/// What was asked for, and how far that is.
#[derive(Default)]
struct State {
    /// How often it was asked to publish, and which of those times was brought about.
    publish_asked: u64,
    published: u64,
    asked_at: Option<Instant>,
    releases: Vec<(PartitionId, u32)>,
    /// The hold that was asked for. What was not published before it waits until it is decided: clients must not be sent
    /// to a home that is not open yet.
    holding: Option<Hold>,
    /// The same once the decision is there: routes in which the partition has a higher epoch end it.
    decided: Option<Hold>,
    /// Tries to publish that failed since one succeeded.
    failures: u32,
    /// Whether a try failed since it was last asked.
    failed: bool,
    /// The newest routes that the store told us.
    known: Option<Routes>,
    /// The newest routes that the registry has, as far as we know; `None` if it has some that we do not.
    sent: Option<Routes>,
}

impl State {
    /// What is to be brought about next.
    fn next(&self) -> Option<Order> {
        if let Some((partition, attempt)) = self.releases.first() {
            return Some(Order::Release(partition.clone(), *attempt));
        }
        (self.publish_asked != self.published && self.holding.is_none())
            .then_some(Order::Publish(self.publish_asked))
    }

    /// `routes` are known to everybody now.
    fn told(&mut self, routes: &Routes) {
        let is_over = |hold: &Hold| routes.epoch(&hold.partition).is_none_or(|epoch| epoch > hold.epoch);
        if let Some(hold) = self.decided.take_if(|hold| is_over(hold)) {
            self.releases.push((hold.partition, hold.attempt));
        }
    }
}

/// Something that was asked for.
enum Order {
    Release(PartitionId, u32),
    Publish(u64),
}

/// Why nothing could be published.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{registry} did not answer within {} s", waited.as_secs())]
    Silent { registry: String, waited: Duration },
    /// A store that was restored from a backup must not take back what routers know.
    #[error("{registry} has version {head} of {context}, and the control store only {version}")]
    Ahead { registry: String, context: String, head: u64, version: u64 },
    #[error("others publish {context} all the time")]
    Crowded { context: String },
}

impl<'a> RegistryGate<'a> {
    /// A gate for one context. Nothing is asked of the registry yet.
    pub fn new(
        registry: &'a dyn Registry,
        log: &'a dyn WorkLog,
        telling: Telling,
        seal: Box<Seal<'a>>,
    ) -> RegistryGate<'a> {
        let (asked, done) = (Notify::new(), Notify::new());
        RegistryGate { registry, log, telling, seal, state: Mutex::default(), asked, done }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings the registry to the store's newest version, and returns that.
    ///
    /// # Errors
    ///
    /// In words for people. The registry then has what it had, or what somebody else published.
    pub async fn publish_now(&self) -> Result<u64, String> {
        self.bring().await.map(|routes| routes.version()).map_err(|trouble| in_words(&trouble))
    }

    async fn bring(&self) -> Result<Routes, Trouble> {
        let routes = self.newest()?;
        let (context, version) = (routes.context(), routes.version());
        // Until it has succeeded nobody knows what the registry has.
        let mut before = self.state().sent.take();
        let mut head = match &before {
            Some(sent) => sent.version(),
            None => self.within(WORD_MAX, self.registry.head(context)).await?,
        };
        for _ in 0..ROUNDS_MAX {
            if head > version {
                let (registry, context) = (self.registry.name(), context.to_owned());
                return Err(Trouble::Ahead { registry, context, head, version });
            }
            if head == version {
                self.state().sent = Some(routes.clone());
                return Ok(routes);
            }
            before = match before.take().filter(|before| before.version() == head) {
                None if head > 0 => self.log.routes_at(context, head)?,
                before => before,
            };
            let envelope = (self.seal)(&routes, before.as_ref());
            crash_at("publish.before");
            let published = self.within(PUBLISH_MAX, self.registry.publish(&envelope)).await?;
            crash_at("publish.after");
            match published {
                Published::Accepted | Published::Already => {
                    self.state().sent = Some(routes.clone());
                    return Ok(routes);
                }
                Published::Behind { head: now } => head = now,
            }
        }
        Err(Trouble::Crowded { context: context.to_owned() })
    }

    /// The newest routes of the store, after it was told the addresses of the spec.
    fn newest(&self) -> Result<Routes, LogError> {
        let known = self.state().known.clone();
        let routes = match known {
            Some(known) => self.log.routes_after(&known)?,
            None => self.tell()?,
        };
        self.state().known = Some(routes.clone());
        Ok(routes)
    }

    fn tell(&self) -> Result<Routes, LogError> {
        let Telling { project, context, addresses } = &self.telling;
        let before = match addresses.values().all(Option::is_some) {
            true => None,
            false => self.log.routes(context)?,
        };
        let known = |name: &String| before.as_ref().and_then(|routes| routes.addresses().get(name)).cloned();
        let addresses = addresses
            .iter()
            .filter_map(|(name, address)| Some((name.clone(), address.clone().or_else(|| known(name))?)))
            .collect();
        self.log.tell(context, project, &addresses, &BTreeMap::new())
    }

    async fn within<T>(
        &self,
        longest: Duration,
        word: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, Trouble> {
        match tokio::time::timeout(longest, word).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Trouble::Silent { registry: self.registry.name(), waited: longest }),
        }
    }

    /// Publishes what was asked for, and ends the holds that were for it.
    async fn publish_asked(&self, asked: u64) {
        let begun = self.state().asked_at.unwrap_or_else(Instant::now);
        match self.bring().await {
            Ok(routes) => {
                let version = routes.version();
                let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let recovered = {
                    let mut state = self.state();
                    state.published = asked;
                    state.told(&routes);
                    std::mem::take(&mut state.failures) > 0
                };
                let context = &self.telling.context;
                tracing::info!(
                    step = "publish",
                    took_ms,
                    version,
                    recovered,
                    "routes of {context} are published"
                );
                self.done.notify_waiters();
            }
            Err(trouble) => {
                let again = {
                    let mut state = self.state();
                    state.failures = state.failures.saturating_add(1);
                    state.failed = true;
                    (AGAIN_FIRST * 2_u32.pow((state.failures - 1).min(16))).min(AGAIN_LAST)
                };
                let why = in_words(&trouble);
                tracing::warn!(
                    step = "publish",
                    trouble = why,
                    again_ms = u64::try_from(again.as_millis()).unwrap_or(u64::MAX),
                    "routes of {} are not published; the databases guard, and routers learn it from them",
                    self.telling.context
                );
                self.done.notify_waiters();
                // Whoever asks anew need not wait.
                drop(tokio::time::timeout(again, self.asked.notified()).await);
            }
        }
    }

    /// Ends a hold. If that fails it ends by itself.
    async fn end_hold(&self, partition: &PartitionId, attempt: u32) {
        let word = self.registry.release(&self.telling.context, partition, attempt);
        if let Err(trouble) = self.within(WORD_MAX, word).await {
            let why = in_words(&trouble);
            tracing::warn!(
                step = "release",
                attempt,
                trouble = why,
                "the hold of {partition} ends by itself"
            );
        }
        self.state().releases.retain(|release| release != &(partition.clone(), attempt));
        self.done.notify_waiters();
    }

    /// Asks, then follows the answers until all is quiet; leaves in `heard` what was heard last.
    async fn ask(&self, hold: &Hold, heard: &Mutex<Option<Held>>) -> Result<(), RegistryError> {
        let call = HoldCall {
            context: hold.context.clone(),
            partition: hold.partition.clone(),
            deployment: hold.deployment.to_string(),
            attempt: hold.attempt,
            epoch: hold.epoch,
            reads: hold.reads,
            // The registry sets it, by its own clock.
            until: Timestamp::default(),
        };
        self.registry.hold(&call, hold.last_ms).await?;
        crash_at("hold.asked");
        let mut since = 0;
        loop {
            since = self.registry.changed(&hold.context, since).await?;
            let held = answered(hold, &self.registry.attending(&hold.context).await?);
            let is_quiet = held.is_quiet();
            *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
            if is_quiet {
                return Ok(());
            }
        }
    }
}

/// What those who attend have answered.
fn answered(hold: &Hold, attending: &[Attendance]) -> Held {
    let straggles = |who: &Attendance| {
        let answers = |answer: &&_| is_for(answer, hold);
        let name = format!("{} at {}", who.kind, who.place);
        match who.answers.iter().find(answers) {
            Some(answer) if answer.busy == 0 => None,
            Some(answer) => Some(format!("{name}: {} running", answer.busy)),
            None => Some(format!("{name}: no answer")),
        }
    };
    let followers = attending.len() as u64;
    Held { followers, stragglers: attending.iter().filter_map(straggles).collect(), trouble: None }
}

fn is_for(answer: &replat_engine::registry::HoldAnswer, hold: &Hold) -> bool {
    answer.partition == hold.partition && answer.attempt == hold.attempt
}

/// An error and its causes, in one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text += &format!(": {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl Gate for RegistryGate<'_> {
    fn hold<'a>(&'a self, hold: &'a Hold) -> Soon<'a, Held> {
        Box::pin(async move {
            self.state().holding = Some(hold.clone());
            let heard = Mutex::new(None);
            let wait = Duration::from_millis(hold.wait_ms);
            let asked = tokio::time::timeout(wait, self.ask(hold, &heard)).await;
            let heard = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
            match asked {
                Ok(Err(error)) => Held { trouble: Some(in_words(&error)), ..heard.unwrap_or_default() },
                Ok(Ok(())) => heard.unwrap_or_default(),
                Err(_) => heard.unwrap_or_else(|| Held {
                    trouble: Some(format!(
                        "{} did not answer within {} ms",
                        self.registry.name(),
                        hold.wait_ms
                    )),
                    ..Held::default()
                }),
            }
        })
    }

    fn release(&self, partition: &PartitionId, attempt: u32) {
        let mut state = self.state();
        state.holding = None;
        state.releases.push((partition.clone(), attempt));
        state.failed = false;
        drop(state);
        self.asked.notify_one();
    }

    fn publish(&self) {
        let mut state = self.state();
        state.publish_asked += 1;
        state.decided = state.holding.take().or(state.decided.take());
        state.asked_at = Some(Instant::now());
        state.failed = false;
        drop(state);
        self.asked.notify_one();
    }

    fn tend(&self) -> Soon<'_, Infallible> {
        Box::pin(async move {
            loop {
                let next = self.state().next();
                match next {
                    Some(Order::Release(partition, attempt)) => self.end_hold(&partition, attempt).await,
                    Some(Order::Publish(asked)) => self.publish_asked(asked).await,
                    None => self.asked.notified().await,
                }
            }
        })
    }

    fn flushed(&self) -> Soon<'_, ()> {
        Box::pin(async move {
            loop {
                let done = self.done.notified();
                let mut done = std::pin::pin!(done);
                done.as_mut().enable();
                let is_over = {
                    let state = self.state();
                    state.failed || state.next().is_none()
                };
                if is_over {
                    return;
                }
                done.await;
            }
        })
    }
}
