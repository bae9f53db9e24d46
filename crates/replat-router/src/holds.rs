//! Holding a partition: new transactions wait, running ones end, and then it is quiet here.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use replat_engine::registry::HoldAnswer;
use replat_model::ids::{Epoch, Home, PartitionId};

use crate::gate::{Gate, Held};
use crate::router::{Router, locked};

/// "Let new transactions of this partition wait."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The partition.
    pub partition: PartitionId,
    /// The deployment that asks. Only its answers count for it.
    pub deployment: Arc<str>,
    /// The attempt of its switch.
    pub attempt: u32,
    /// The epoch of the partition until the switch. Routes with a higher one end the hold.
    pub epoch: Epoch,
    /// Whether reads wait as well.
    pub reads: bool,
    /// Where the partition is about to go, if that is known. Nobody is let in there because of it.
    pub to: Option<Arc<Home>>,
    /// So long from now; then it ends by itself, since whoever asked is gone.
    pub lasts: Duration,
}

/// What came of asking for a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldOutcome {
    /// New transactions wait from now on.
    Closed,
    /// The partition was switched already: the routes have it at a later epoch, or not any more. Nothing waits.
    Past,
    /// A later attempt, or one at a later epoch, holds the partition already, and goes on doing so.
    Superseded,
}

/// The partition is not held by this attempt, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{partition} is not held by attempt {attempt}")]
pub struct NotHeld {
    /// The partition.
    pub partition: PartitionId,
    /// The attempt.
    pub attempt: u32,
}

impl Router {
    /// Closes the gate of a partition. Others are not concerned.
    pub fn hold(&self, hold: &Hold) -> HoldOutcome {
        let Hold { partition, deployment, attempt, epoch, reads, to, lasts } = hold.clone();
        // Under the lock by which newer routes end holds: they are seen here, or they see this hold.
        let mut held = locked(&self.shared.held);
        if self.is_past(&partition, epoch) {
            return HoldOutcome::Past;
        }
        let now = self.now();
        let gate = self.shared.gates.of(&partition);
        let earlier = gate.held().filter(|earlier| !earlier.left(now).is_zero());
        if earlier.is_some_and(|earlier| (earlier.epoch, earlier.attempt) > (epoch, attempt)) {
            return HoldOutcome::Superseded;
        }
        gate.close(Held { deployment, attempt, epoch, reads, to, since: now, lasts });
        held.insert(partition.clone(), gate);
        drop(held);
        self.heard(&partition, epoch);
        HoldOutcome::Closed
    }

    /// Returns once nobody is inside any more whom the hold of this attempt waits for: nobody at all, or no writer if
    /// reads do not wait. So it stays until the hold is over.
    ///
    /// # Errors
    ///
    /// [`NotHeld`] if this attempt does not hold the partition, or its hold has ended before it was quiet.
    pub async fn quiet(&self, partition: &PartitionId, attempt: u32) -> Result<(), NotHeld> {
        let not_held = || NotHeld { partition: partition.clone(), attempt };
        let gate = locked(&self.shared.held).get(partition).cloned().ok_or_else(not_held)?;
        loop {
            let mut emptied = pin!(gate.emptied.notified());
            emptied.as_mut().enable();
            let held = gate.held().filter(|held| held.attempt == attempt && !held.left(self.now()).is_zero());
            let Some(held) = held else { return Err(not_held()) };
            if gate.is_quiet() {
                return Ok(());
            }
            let over = held.left(self.now());
            tokio::select! {
                () = emptied => {}
                () = tokio::time::sleep(over) => {}
            }
        }
    }

    /// Ends a hold of this attempt or an earlier one; whether there was one. Those who waited go on, by the newest
    /// routes that are there: take those of the switch first.
    pub fn release(&self, partition: &PartitionId, attempt: u32) -> bool {
        self.end_hold(partition, |held| held.attempt <= attempt)
    }

    /// What there is to say about the holds that last, in the order of partitions.
    pub fn answers(&self) -> Vec<HoldAnswer> {
        let now = self.now();
        let held = locked(&self.shared.held);
        let answer = |(partition, gate): (&PartitionId, &Arc<Gate>)| {
            let held = gate.held().filter(|held| !held.left(now).is_zero())?;
            Some(HoldAnswer {
                partition: partition.clone(),
                deployment: held.deployment.as_ref().to_owned(),
                attempt: held.attempt,
                busy: gate.busy(),
                held: gate.waiting.load(Ordering::SeqCst),
            })
        };
        held.iter().filter_map(answer).collect()
    }

    /// Where a partition is about to go that is held, as whoever holds it has said; nobody may do anything there yet.
    pub fn next_home(&self, partition: &PartitionId) -> Option<Arc<Home>> {
        let gate = locked(&self.shared.held).get(partition).cloned()?;
        gate.held().filter(|held| !held.left(self.now()).is_zero())?.to
    }

    /// The partitions that are held, with the attempts.
    pub(crate) fn holding(&self) -> Vec<(PartitionId, u32)> {
        let held = locked(&self.shared.held);
        let one =
            |(partition, gate): (&PartitionId, &Arc<Gate>)| Some((partition.clone(), gate.held()?.attempt));
        held.iter().filter_map(one).collect()
    }

    /// Returns when there is something new to say: a hold was taken, is quiet, or has ended.
    pub(crate) async fn has_news(&self) {
        self.shared.gates.news.notified().await;
    }

    pub(crate) fn end_hold_that_is_over(&self, partition: &PartitionId) {
        let now = self.now();
        self.end_hold(partition, |held| held.left(now).is_zero());
    }

    /// Ends the holds whose partitions have gone on to a later epoch, or are gone.
    pub(crate) fn end_answered_holds(&self) {
        for (partition, _) in self.holding() {
            self.end_hold(&partition, |held| self.is_past(&partition, held.epoch));
        }
    }

    fn end_hold(&self, partition: &PartitionId, ends: impl FnOnce(&Held) -> bool) -> bool {
        let mut held = locked(&self.shared.held);
        let ended = held.get(partition).is_some_and(|gate| gate.open(ends));
        if ended {
            held.remove(partition);
        }
        ended
    }
}
