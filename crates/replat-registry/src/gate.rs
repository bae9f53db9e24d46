//! A registry as the gate of deployments: holds are asked for, and routes are published, there.
//!
//! A registry that is down, slow or old never stops a switch: to hold takes as long as the caller gives it, and all
//! else goes on beside the deployment, again and again until it succeeds. What is newest is the store's to say; a
//! publication that was lost is therefore repeated by whoever looks next, and is remembered nowhere.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use replat_engine::failpoint::crash_at;
use replat_engine::gate::{Gate, Hold, Soon};
use replat_engine::registry::{Attendance, HoldAnswer, HoldCall, Matter, Registry, RegistryError};
use replat_model::deploy::Timestamp;
use replat_model::ids::PartitionId;
use replat_model::next::Held;
use tokio::sync::Notify;

use crate::publisher::Publisher;

/// After a failure it is tried again after this; doubled up to the other.
const AGAIN_FIRST: Duration = Duration::from_millis(200);
const AGAIN_LAST: Duration = Duration::from_secs(10);

/// A registry as the gate of one context's deployments.
pub struct RegistryGate {
    registry: Arc<dyn Registry>,
    publisher: Publisher,
    context: String,
    state: Mutex<State>,
    /// Something was asked for.
    asked: Notify,
    /// Something was brought about, or failed.
    tried: Notify,
}

/// What was asked for, and how far that is.
#[derive(Default)]
struct State {
    /// How often it was asked to publish, and which of those times was brought about.
    publish_asked: u64,
    published: u64,
    asked_at: Option<Instant>,
    releases: Vec<(PartitionId, u32)>,
    /// The hold that was asked for. Until it is decided nothing is published: clients must not be sent to a home that is
    /// not open yet.
    holding: Option<Hold>,
    /// The same once it is decided; it ends when the new routes are published.
    decided: Option<Hold>,
    /// Tries to publish that failed since one succeeded.
    failures: u32,
    /// Whether a try failed since something was asked for.
    failed: bool,
}

/// Something to be brought about.
enum Order {
    Release(PartitionId, u32),
    Publish(u64),
}

impl State {
    fn next(&self) -> Option<Order> {
        if let Some((partition, attempt)) = self.releases.first() {
            return Some(Order::Release(partition.clone(), *attempt));
        }
        (self.publish_asked != self.published && self.holding.is_none())
            .then_some(Order::Publish(self.publish_asked))
    }
}

impl RegistryGate {
    /// A gate for one context. Nothing is asked of the registry yet.
    pub fn new(registry: Arc<dyn Registry>, publisher: Publisher, context: &str) -> RegistryGate {
        let (asked, tried) = (Notify::new(), Notify::new());
        let context = context.to_owned();
        RegistryGate { registry, publisher, context, state: Mutex::default(), asked, tried }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what was asked for, and ends the hold that was for it.
    async fn publish_asked(&self, asked: u64) {
        let begun = self.state().asked_at.unwrap_or_else(Instant::now);
        crash_at("publish.before");
        let brought = self.publisher.bring(&self.context).await;
        crash_at("publish.after");
        match brought {
            Ok(brought) => {
                let took_ms = millis(begun.elapsed());
                let failures = {
                    let mut state = self.state();
                    state.published = asked;
                    let over = state.decided.take().map(|hold| (hold.partition, hold.attempt));
                    state.releases.extend(over);
                    std::mem::take(&mut state.failures)
                };
                let (version, context) = (brought.version, &self.context);
                if failures > 0 || brought.deltas + brought.wholes > 0 {
                    tracing::info!(
                        step = "publish",
                        took_ms,
                        version,
                        failures,
                        "the routes of {context} are published"
                    );
                }
                self.tried.notify_waiters();
            }
            Err(error) => {
                let again = {
                    let mut state = self.state();
                    state.failed = true;
                    state.failures = state.failures.saturating_add(1);
                    (AGAIN_FIRST * 2_u32.pow((state.failures - 1).min(16))).min(AGAIN_LAST)
                };
                let (trouble, again_ms, context) = (in_words(&error), millis(again), &self.context);
                tracing::warn!(
                    step = "publish",
                    trouble,
                    again_ms,
                    "the routes of {context} are not published; the databases guard, and tell the new home"
                );
                self.tried.notify_waiters();
                // Whoever asks for something new need not wait.
                drop(tokio::time::timeout(again, self.asked.notified()).await);
            }
        }
    }

    /// Ends a hold. If that fails it ends by itself.
    async fn end_hold(&self, partition: &PartitionId, attempt: u32) {
        if let Err(error) = self.registry.release(&self.context, partition, attempt).await {
            let trouble = in_words(&error);
            tracing::warn!(step = "release", attempt, trouble, "the hold of {partition} ends by itself");
        }
        self.state().releases.retain(|(held, number)| held != partition || *number != attempt);
        self.tried.notify_waiters();
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
            to: Some(hold.to.clone()),
            // The registry sets it, by its own clock.
            until: Timestamp::default(),
        };
        self.registry.hold(&call, hold.last_ms).await?;
        crash_at("hold.asked");
        let mut since = 0;
        loop {
            since = self.registry.changed(&hold.context, Matter::Attendance, since).await?;
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
    let is_for = |answer: &&HoldAnswer| {
        answer.partition == hold.partition
            && answer.deployment == hold.deployment.as_str()
            && answer.attempt == hold.attempt
    };
    let straggles = |who: &Attendance| {
        let name = format!("{} at {}", who.kind, who.place);
        match who.answers.iter().find(is_for) {
            Some(answer) if answer.busy == 0 => None,
            Some(answer) => Some(format!("{name}: {} running", answer.busy)),
            None => Some(format!("{name}: no answer")),
        }
    };
    let followers = attending.len() as u64;
    Held { followers, stragglers: attending.iter().filter_map(straggles).collect(), trouble: None }
}

/// An error and its causes, in one line.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

impl Gate for RegistryGate {
    fn hold<'a>(&'a self, hold: &'a Hold) -> Soon<'a, Held> {
        Box::pin(async move {
            self.state().holding = Some(hold.clone());
            let heard = Mutex::new(None);
            let asked =
                tokio::time::timeout(Duration::from_millis(hold.wait_ms), self.ask(hold, &heard)).await;
            let heard = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
            match asked {
                Ok(Ok(())) => heard.unwrap_or_default(),
                Ok(Err(error)) => Held { trouble: Some(in_words(&error)), ..heard.unwrap_or_default() },
                Err(_) => heard.unwrap_or_else(|| Held {
                    trouble: Some(format!(
                        "no answer from {} within {} ms",
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
        state.failed = false;
        state.releases.push((partition.clone(), attempt));
        drop(state);
        self.asked.notify_one();
    }

    fn publish(&self) {
        let mut state = self.state();
        state.publish_asked += 1;
        state.asked_at = Some(Instant::now());
        state.failed = false;
        state.decided = state.holding.take().or(state.decided.take());
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
                let mut tried = std::pin::pin!(self.tried.notified());
                tried.as_mut().enable();
                let is_over = {
                    let state = self.state();
                    state.failed || state.next().is_none()
                };
                if is_over {
                    return;
                }
                tried.await;
            }
        })
    }
}
