//! What the log tells of a switch: each step, what it took, and for how long writers have been refused by then.
//!
//! A switch lasts for milliseconds and is asked about for weeks, so each of its steps is one line at level info:
//! `hold`, `fence`, `drain`, `proof`, `decision`, `open`, `publish`, `seal`; or `give_up` and `unfence`. `took_ms` is the
//! step's own time and `refused_ms` the time since the first writer was refused; both in milliseconds. `publish` goes on
//! beside the others, so the gate itself tells of it.

use std::time::Duration;

use replat_engine::Recorded;
use replat_model::deploy::{Deployment, Event, Timestamp};
use replat_model::next::{Action, Evidence, Held};

/// The pause of a switch, as far as its deployment's history and a clock tell it.
pub(crate) struct Pause {
    /// When writers were refused first, in the newest attempt whose fence stood.
    refused_since: Option<Timestamp>,
    /// When the newest entry was written.
    newest: Timestamp,
    clock: fn() -> Timestamp,
}

impl Pause {
    pub(crate) fn of(history: &[Recorded], clock: fn() -> Timestamp) -> Pause {
        let refused_since = history.iter().rev().find_map(|entry| match entry.event {
            Event::Fenced { since, .. } => Some(since),
            _ => None,
        });
        let newest = history.last().map_or_else(clock, |entry| entry.at);
        Pause { refused_since, newest, clock }
    }

    fn refused_ms(&self) -> Option<u64> {
        self.refused_since.map(|since| (self.clock)().since(since))
    }

    /// Tells what came of asking for a hold.
    pub(crate) fn held(&self, attempt: u32, held: &Held, took: Duration) {
        let took_ms = millis(took);
        let followers = held.followers;
        let busy = held.stragglers.len();
        match &held.trouble {
            Some(trouble) => tracing::warn!(
                step = "hold",
                attempt,
                took_ms,
                trouble,
                "switch: it is not known whether anybody holds"
            ),
            // Without a registry that is always so.
            None if held.followers == 0 => {}
            None if busy == 0 => {
                tracing::info!(step = "hold", attempt, took_ms, followers, "switch: all who route are quiet");
            }
            None => {
                let stragglers = held.stragglers.join("; ");
                tracing::info!(
                    step = "hold",
                    attempt,
                    took_ms,
                    followers,
                    busy,
                    stragglers,
                    "switch: not all who route are quiet"
                );
            }
        }
    }

    /// The proof begins when the drain is over, which is nobody's action.
    pub(crate) fn begins(&self, action: &Action) {
        if let Action::Prove { from, attempt, .. } = action {
            let took_ms = (self.clock)().since(self.newest);
            let refused_ms = self.refused_ms();
            tracing::info!(
                step = "drain",
                attempt,
                took_ms,
                refused_ms,
                "switch: everything before the barrier is durable on {}",
                from.other()
            );
        }
    }

    /// Tells of an action of a switch; of others it says nothing.
    pub(crate) fn acted(&self, d: &Deployment, action: &Action, evidence: &Evidence, took: Duration) {
        let took_ms = millis(took);
        let refused_ms = self.refused_ms();
        match (action, evidence) {
            (Action::Fence { side, attempt, .. }, Evidence::Fenced { at, since }) => {
                // The action also prepares the proof, which refuses nobody: only what came after counts as pause.
                let refused_ms = (self.clock)().since(*since);
                tracing::info!(step = "fence", attempt, took_ms, refused_ms, %at, "switch: {side} is fenced");
            }
            (Action::Prove { attempt, .. }, Evidence::Compared(proof)) => {
                let (rows, different) = (proof.rows, proof.different);
                tracing::info!(
                    step = "proof",
                    attempt,
                    took_ms,
                    refused_ms,
                    rows,
                    different,
                    "switch: what was touched is compared"
                );
            }
            (Action::Open { side, epoch }, Evidence::Done) if !d.settled => {
                tracing::info!(step = "open", took_ms, refused_ms, %epoch, "switch: {side} lets writers through");
            }
            (Action::Open { side, epoch }, Evidence::Done) if d.attempt.is_some() => {
                tracing::info!(step = "unfence", took_ms, refused_ms, %epoch, "switch: {side} lets writers through again");
            }
            (Action::HandOver { to, epoch }, Evidence::Done) if !d.settled => {
                tracing::info!(step = "open", took_ms, refused_ms, %epoch, "switch: {to} lets writers through");
            }
            (Action::Seal { side, epoch }, Evidence::Done) if !d.settled => {
                tracing::info!(step = "seal", took_ms, %epoch, "switch: {side} names the new home to its writers");
            }
            _ => {}
        }
    }

    /// Tells of an entry that decides a switch; of others it says nothing.
    pub(crate) fn recorded(&self, event: &Event, took: Duration) {
        let took_ms = millis(took);
        let refused_ms = self.refused_ms();
        match event {
            Event::Switched { attempt, to, epoch, .. } => {
                tracing::info!(
                    step = "decision",
                    attempt,
                    took_ms,
                    refused_ms,
                    %epoch,
                    "switch: {to} is home from here on"
                );
            }
            Event::FenceGivenUp { attempt, why, .. } => {
                tracing::info!(step = "give_up", attempt, took_ms, why, "switch: the attempt is given up");
            }
            _ => {}
        }
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
