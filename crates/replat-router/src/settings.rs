//! How a router behaves.

use std::time::Duration;

use crate::Intent;

/// What a router does for as long as it does not know that its routes are the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Staleness {
    /// It refuses everything. Reads are never served by a home that the partition has left.
    #[default]
    Closed,
    /// It refuses writes. Reads can come from a former home, as it was at the switch or later.
    Reads,
    /// It refuses nothing: a write that goes to a former home is refused there, by the database.
    All,
}

impl Staleness {
    pub(crate) fn permits(self, intent: Intent) -> bool {
        match self {
            Staleness::Closed => false,
            Staleness::Reads => intent == Intent::Read,
            Staleness::All => true,
        }
    }
}

/// How fast those who waited at a gate go on once it is open, so that a new home is not met by all of them at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// All at once.
    #[default]
    AtOnce,
    /// So many, then as many again each time so long after; at least one.
    Batches {
        /// How many.
        size: u32,
        /// How long after.
        every: Duration,
    },
}

impl Pace {
    /// How long the one at this place of the line waits after the gate was opened.
    pub(crate) fn delay(self, place: u64) -> Duration {
        match self {
            Pace::AtOnce => Duration::ZERO,
            Pace::Batches { size, every } => {
                let turns = place / u64::from(size.max(1));
                every.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX))
            }
        }
    }
}

/// How a router behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What it does without a current lease.
    pub staleness: Staleness,
    /// How long a lease lasts: so long after it last heard from the registry a router takes its routes for the newest.
    pub lease: Duration,
    /// How fast those who waited go on.
    pub pace: Pace,
    /// How long one waits for the registry's answer where the newest routes are asked for out of turn.
    pub refresh_max: Duration,
}

impl Default for Settings {
    /// Closed without a lease; a lease of 10 s; all at once; 1 s for a question.
    fn default() -> Settings {
        Settings {
            staleness: Staleness::Closed,
            lease: Duration::from_secs(10),
            pace: Pace::AtOnce,
            refresh_max: Duration::from_secs(1),
        }
    }
}
