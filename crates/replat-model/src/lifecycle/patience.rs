//! For how long to stand in the way, and how often to try.
//!
//! A try under NOWAIT enters no queue and costs the application nothing. Only a table that is never free is worth
//! queueing for, a few milliseconds at a time, and the *sum* of what is spent so is bounded: for each try, for each
//! table and each table that foreign keys refer to within an hour, and for the run. The referenced table has a budget
//! of its own, since ten tables that refer to one make ten stalls there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Micros, TableName};

/// Microseconds of the hour over which tables have their budgets.
const HOUR: Micros = 3_600_000_000;

/// Less than this is no budget: it is what the shortest queueing takes.
const LEAST: Duration = RUNGS[0];

/// How long a try stands in a queue, one after the other.
const RUNGS: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
];

/// How long the application may be made to wait, in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// One try.
    pub each: Duration,
    /// One set, within an hour.
    pub per_table: Duration,
    /// One table that foreign keys refer to, within an hour, for all sets that refer to it.
    pub per_referenced: Duration,
    /// One run, over all sets.
    pub per_run: Duration,
}

/// 50 ms a try, 200 ms a set and hour, 100 ms a referenced table and hour, 200 ms a run.
impl Default for Budgets {
    fn default() -> Budgets {
        Budgets {
            each: Duration::from_millis(50),
            per_table: Duration::from_millis(200),
            per_referenced: Duration::from_millis(100),
            per_run: Duration::from_millis(200),
        }
    }
}

/// A stall that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When, by the database's clock.
    pub at: Micros,
    /// The set that was worked on.
    pub set: TableName,
    /// Tables that its foreign keys refer to, and that were locked as well.
    pub referenced: Vec<TableName>,
    /// For how long others had to wait.
    pub stalled: Duration,
}

/// What has been spent of the budgets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    run: Duration,
    tables: BTreeMap<TableName, Duration>,
    referenced: BTreeMap<TableName, Duration>,
}

/// What is left for one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The longest that one try may stand in a queue.
    pub each: Duration,
    /// The longest that all its tries may stand in queues together.
    pub total: Duration,
}

impl Spent {
    /// What earlier runs spent within the last hour. The run that begins has spent nothing.
    ///
    /// A stall in the future, by a clock that was set back, counts as one of now.
    pub fn within_the_hour(history: &[Stall], now: Micros) -> Spent {
        let mut spent = Spent::default();
        for stall in history.iter().filter(|stall| now.saturating_sub(stall.at) < HOUR) {
            spent.add(&stall.set, &stall.referenced, stall.stalled);
        }
        Spent { run: Duration::ZERO, ..spent }
    }

    /// Adds a stall of `set`, which is also one of each of the `referenced` tables, and of the run.
    pub fn add(&mut self, set: &TableName, referenced: &[TableName], stalled: Duration) {
        let more = |sum: &mut Duration| *sum = sum.saturating_add(stalled);
        more(&mut self.run);
        more(self.tables.entry(set.clone()).or_default());
        for table in referenced {
            more(self.referenced.entry(table.clone()).or_default());
        }
    }

    /// What this run has spent.
    pub fn run(&self) -> Duration {
        self.run
    }

    /// What was spent on a set within the hour.
    pub fn of(&self, set: &TableName) -> Duration {
        self.tables.get(set).copied().unwrap_or_default()
    }

    /// What was spent on a table that foreign keys refer to, within the hour, by all sets that refer to it.
    pub fn of_referenced(&self, table: &TableName) -> Duration {
        self.referenced.get(table).copied().unwrap_or_default()
    }

    /// What is left for a unit of `set`, whose foreign keys refer to `referenced`: the least of what is left of the
    /// run's, the set's and each referenced table's budget. `None` if that is less than the shortest queueing; tries
    /// that do not queue cost nothing and may still be made.
    pub fn limits_for(&self, budgets: &Budgets, set: &TableName, referenced: &[TableName]) -> Option<Left> {
        let run = budgets.per_run.saturating_sub(self.run);
        let table = budgets.per_table.saturating_sub(self.of(set));
        let shared =
            referenced.iter().map(|table| budgets.per_referenced.saturating_sub(self.of_referenced(table)));
        let total = shared.fold(run.min(table), Duration::min);
        let each = budgets.each.min(total);
        (each >= LEAST).then_some(Left { each, total })
    }
}

/// What the next try is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It gives up at once if it would have to queue.
    NoWait,
    /// It queues, so long at most.
    Queue(Duration),
    /// There is none.
    GiveUp,
}

/// How tries escalate: first without queueing, then now and then in the queue, longer each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// What may be spent in queues.
    pub left: Left,
    /// So many tries at first do not queue at all.
    pub patient_tries: u32,
    /// So many tries at most.
    pub tries_max: u32,
}

impl Ladder {
    /// After the patient tries, one in so many queues.
    pub const QUEUES_EVERY: u32 = 4;

    /// The ladder for `left`, with 16 tries without queueing, which with [`Backoff`] is about a second, and 400 in all.
    pub fn new(left: Left) -> Ladder {
        Ladder { left, patient_tries: 16, tries_max: 400 }
    }

    /// What the try of this number, from 0, is like, when `spent` was spent in queues by those before it.
    ///
    /// It never queues for longer than [`Left::each`], nor for more than what is left of [`Left::total`]; when
    /// neither lets it queue for 5 ms it does not queue.
    pub fn attempt(&self, try_number: u32, spent: Duration) -> Attempt {
        if try_number >= self.tries_max {
            return Attempt::GiveUp;
        }
        let Some(later) = try_number.checked_sub(self.patient_tries) else { return Attempt::NoWait };
        if later % Ladder::QUEUES_EVERY != 0 {
            return Attempt::NoWait;
        }
        let reached = (later / Ladder::QUEUES_EVERY) as usize;
        let most = self.left.each.min(self.left.total.saturating_sub(spent));
        let rungs = &RUNGS[..RUNGS.len().min(reached.saturating_add(1))];
        rungs.iter().rev().find(|rung| **rung <= most).map_or(Attempt::NoWait, |rung| Attempt::Queue(*rung))
    }
}

/// Pauses between tries: they double, up to a cap, and are drawn from a seed, so that two runs do not try in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    seed: u64,
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// From 5 ms up to 100 ms.
    pub fn new(seed: u64) -> Backoff {
        Backoff::between(Duration::from_millis(5), Duration::from_millis(100), seed)
    }

    /// From `first` up to `cap`.
    pub fn between(first: Duration, cap: Duration, seed: u64) -> Backoff {
        Backoff { seed, first: first.min(cap), cap }
    }

    /// The pause after the try of this number, from 0: between a half and the whole of `first` doubled so many times,
    /// or of the cap. The same seed and number give the same pause.
    pub fn delay(&self, try_number: u32) -> Duration {
        let doubled = 1_u32.checked_shl(try_number).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(doubled).min(self.cap);
        let drawn = mixed(self.seed, try_number) >> 11;
        whole.mul_f64(0.5 + 0.5 * drawn as f64 / (1_u64 << 53) as f64)
    }
}

/// The `n`th number of the sequence SplitMix64 that begins with `seed`.
fn mixed(seed: u64, n: u32) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(u64::from(n) + 1));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
