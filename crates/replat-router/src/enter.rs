//! Coming in: one request's way through the gate of its partition.
//!
//! Three steps, each of which touches what is shared once: [`Router::aim`] finds the gate, [`Aim::announce`] counts the
//! request in if the gate is open, [`Announced::settle`] reads the newest routes. Only the routes that are read *after*
//! the count go into the pass; what was read before it may have been switched away meanwhile.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use replat_model::ids::{Epoch, PartitionId};
use replat_model::key::KeyValue;
use tokio::time::Instant;

use crate::Intent;
use crate::gate::Gate;
use crate::refused::Refused;
use crate::router::{Destination, Refreshed, Router};

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A key, one value for each dimension. If its partition is cut while the request waits, it goes with its key.
    Key(&'a [KeyValue]),
    /// A partition.
    Partition(&'a PartitionId),
}

impl<'a> From<&'a [KeyValue]> for Target<'a> {
    fn from(key: &'a [KeyValue]) -> Target<'a> {
        Target::Key(key)
    }
}

impl<'a, const N: usize> From<&'a [KeyValue; N]> for Target<'a> {
    fn from(key: &'a [KeyValue; N]) -> Target<'a> {
        Target::Key(key)
    }
}

impl<'a> From<&'a PartitionId> for Target<'a> {
    fn from(partition: &'a PartitionId) -> Target<'a> {
        Target::Partition(partition)
    }
}

/// Leave to work on a partition at its destination. While it is there, a hold of the partition is not quiet; so keep
/// it for one transaction and drop it then.
pub struct Pass {
    destination: Destination,
    /// Leaves the gate when it is dropped.
    inside: Inside,
}

impl Pass {
    /// Where to go.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// The partition.
    pub fn partition(&self) -> &PartitionId {
        &self.destination.partition
    }

    /// The epoch of its home.
    pub fn epoch(&self) -> Epoch {
        self.destination.epoch
    }

    /// Whether the partition is asked to be held meanwhile: this transaction may end, and no further one should begin
    /// on this pass.
    pub fn is_recalled(&self) -> bool {
        self.inside.gate.is_closed_for(self.inside.intent)
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pass").field(&self.destination).finish()
    }
}

/// One that is counted at a gate.
struct Inside {
    gate: Arc<Gate>,
    intent: Intent,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gate.leave(self.intent);
    }
}

/// A gate that was found and not yet passed.
pub(crate) struct Aim {
    gate: Arc<Gate>,
    partition: PartitionId,
    intent: Intent,
}

/// Counted in; what for is not known before the routes are read.
pub(crate) struct Announced {
    inside: Inside,
    partition: PartitionId,
}

/// What came of reading the routes once more.
pub(crate) enum Settled {
    Inside(Box<Pass>),
    /// The key is another partition's by now.
    Elsewhere,
}

impl Aim {
    /// Counts in, unless the gate is closed.
    pub(crate) fn announce(self) -> Result<Announced, Aim> {
        if self.gate.announce(self.intent) {
            let Aim { gate, partition, intent } = self;
            Ok(Announced { inside: Inside { gate, intent }, partition })
        } else {
            Err(self)
        }
    }
}

impl Announced {
    /// Reads where to go, by routes that cannot be older than the opening of the gate.
    pub(crate) fn settle(self, router: &Router, target: Target<'_>) -> Result<Settled, Refused> {
        let destination = router.destination(target, self.inside.intent)?;
        if destination.partition != self.partition {
            return Ok(Settled::Elsewhere);
        }
        Ok(Settled::Inside(Box::new(Pass { destination, inside: self.inside })))
    }
}

/// One that waits at a gate, counted for as long.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn at(gate: &'a Gate) -> Waiting<'a> {
        gate.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(&gate.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why the waiting at a gate has ended.
enum Waited {
    Open,
    /// The hold was to last no longer, and nobody has ended it.
    HoldOver,
    LimitOver,
}

impl Router {
    /// Finds the gate of a target.
    pub(crate) fn aim(&self, target: Target<'_>, intent: Intent) -> Result<Aim, Refused> {
        let partition = self.partition_of(target, intent)?;
        Ok(Aim { gate: self.shared.gates.of(&partition), partition, intent })
    }

    /// Lets one transaction in, and waits for that while its partition is held or the router is not current; for
    /// `limit` at most.
    ///
    /// Cancellation safe: whoever stops waiting is not counted.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the target is unknown, or the limit is over before it may come in.
    pub async fn enter<'a>(
        &self,
        target: impl Into<Target<'a>>,
        intent: Intent,
        limit: Duration,
    ) -> Result<Pass, Refused> {
        let target = target.into();
        let deadline = Instant::now() + limit;
        loop {
            let aim = match self.attempt(target, intent) {
                Ok(Ok(pass)) => return Ok(pass),
                Ok(Err(aim)) => aim,
                Err(refused) if refused.may_pass() => {
                    self.wait_for_newer(refused, deadline).await?;
                    continue;
                }
                Err(refused) => return Err(refused),
            };
            match self.wait_at(&aim, deadline).await {
                Waited::Open => {}
                Waited::LimitOver => return Err(Refused::Held { partition: aim.partition }),
                // Whoever asked for the hold is gone, or its word does not reach us. The switch may have happened.
                Waited::HoldOver => {
                    self.refresh(deadline.saturating_duration_since(Instant::now())).await;
                    self.end_hold_that_is_over(&aim.partition);
                }
            }
        }
    }

    /// Lets one transaction in if that is possible at once.
    ///
    /// # Errors
    ///
    /// [`Refused`]; [`Refused::Held`] if the partition is held.
    pub fn try_enter<'a>(&self, target: impl Into<Target<'a>>, intent: Intent) -> Result<Pass, Refused> {
        self.attempt(target.into(), intent)?.map_err(|aim| Refused::Held { partition: aim.partition })
    }

    /// Goes through the three steps; the aim comes back if its gate is closed.
    fn attempt(&self, target: Target<'_>, intent: Intent) -> Result<Result<Pass, Aim>, Refused> {
        loop {
            match self.aim(target, intent)?.announce() {
                Err(aim) => return Ok(Err(aim)),
                Ok(announced) => match announced.settle(self, target)? {
                    Settled::Inside(pass) => return Ok(Ok(*pass)),
                    // Each turn is another version of the routes.
                    Settled::Elsewhere => {}
                },
            }
        }
    }

    async fn wait_at(&self, aim: &Aim, deadline: Instant) -> Waited {
        let gate = &*aim.gate;
        let _waiting = Waiting::at(gate);
        loop {
            let mut turned = pin!(gate.turned.notified());
            turned.as_mut().enable();
            let held = gate.held().filter(|_| gate.is_closed_for(aim.intent));
            let Some(held) = held else {
                let delay = self.settings().pace.delay(gate.place.fetch_add(1, Ordering::SeqCst));
                let until = (Instant::now() + delay).min(deadline);
                if !delay.is_zero() {
                    tokio::time::sleep_until(until).await;
                }
                return Waited::Open;
            };
            let hold_over = Instant::now() + held.left(self.now());
            tokio::select! {
                () = turned => {}
                () = tokio::time::sleep_until(deadline.min(hold_over)) => {
                    // By the router's own clock, which may have gone on while timers slept.
                    if held.left(self.now()).is_zero() {
                        return Waited::HoldOver;
                    }
                    if Instant::now() >= deadline {
                        return Waited::LimitOver;
                    }
                }
            }
        }
    }

    /// Waits for newer routes or a renewed lease, since without them the request is `refused`. It may be too early when
    /// it returns, never too late.
    async fn wait_for_newer(&self, refused: Refused, deadline: Instant) -> Result<(), Refused> {
        let mut versions = self.versions();
        let left = deadline.saturating_duration_since(Instant::now());
        // Asked for first, since the next news may be long in coming.
        if left.is_zero() || self.refresh(left).await == Refreshed::Nobody {
            return Err(refused);
        }
        let until = (Instant::now() + self.settings().refresh_max).min(deadline);
        if !matches!(refused, Refused::Stale { .. }) {
            drop(tokio::time::timeout_at(until, versions.changed()).await);
            return Ok(());
        }
        while Instant::now() < until {
            let mut renewed = pin!(self.shared.renewed.notified());
            renewed.as_mut().enable();
            if self.is_current() {
                return Ok(());
            }
            drop(tokio::time::timeout_at(until, renewed).await);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
