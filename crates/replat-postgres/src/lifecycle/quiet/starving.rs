//! Whether a transaction starves, and how long its next try may stand in a queue for that.

use std::collections::BTreeSet;
use std::time::Duration;

use replat_engine::lifecycle::Limits;
use replat_model::lifecycle::patience::{Attempt, Backoff, Ladder, Left};

use super::Holder;

/// Whether we starve, and what follows from it.
#[derive(Debug)]
pub(super) struct Starving {
    ladder: Ladder,
    backoff: Backoff,
    /// Who was in the way at the last try.
    last: BTreeSet<i32>,
    /// Tries in a row at which nobody was in the way who was so before: there are gaps, and we miss them.
    missed: u32,
    tries: u32,
}

/// Gaps that are missed before a try stands in the queue.
const MISSED: u32 = 6;

impl Starving {
    pub(super) fn new(limits: &Limits) -> Starving {
        let left = Left { each: limits.wait_each, total: limits.wait_total };
        // How often it is tried is bounded by patience, in time.
        let ladder = Ladder { patient_tries: MISSED, tries_max: u32::MAX, ..Ladder::new(left) };
        let backoff = Backoff::new(limits.seed);
        Starving { ladder, backoff, last: BTreeSet::new(), missed: 0, tries: 0 }
    }

    /// How long the next try may stand in the queue; nothing for not at all.
    pub(super) fn queue(&self, stalled: Duration) -> Duration {
        match self.ladder.attempt(self.missed, stalled) {
            Attempt::Queue(time) => time,
            Attempt::NoWait | Attempt::GiveUp => Duration::ZERO,
        }
    }

    pub(super) fn seen(&mut self, holders: &[Holder]) {
        let now: BTreeSet<i32> = holders.iter().map(|holder| holder.pid).collect();
        self.missed = if now.is_disjoint(&self.last) { self.missed.saturating_add(1) } else { 0 };
        self.last = now;
    }

    pub(super) fn delay(&mut self) -> Duration {
        let delay = self.backoff.delay(self.tries);
        self.tries = self.tries.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            wait_each: Duration::from_millis(20),
            wait_total: Duration::from_millis(30),
            patience: Duration::from_secs(1),
            seed: 7,
        }
    }

    fn by(pid: i32) -> Vec<Holder> {
        vec![Holder { pid, age_ms: 1, application: String::new(), words: String::new() }]
    }

    #[test]
    fn only_who_starves_stands_in_the_queue() {
        let mut behind_one = Starving::new(&limits());
        let mut behind_many = Starving::new(&limits());
        let (mut longest, mut stalled) = (Duration::ZERO, Duration::ZERO);
        for n in 0..40 {
            behind_one.seen(&by(1));
            assert_eq!(behind_one.queue(Duration::ZERO), Duration::ZERO, "it would only get longer");
            behind_many.seen(&by(n));
            let queued = behind_many.queue(stalled);
            longest = longest.max(queued);
            stalled += queued;
        }
        assert!(longest > Duration::ZERO && longest <= limits().wait_each, "{longest:?}");
        assert!(stalled <= limits().wait_total, "{stalled:?}");
    }
}
