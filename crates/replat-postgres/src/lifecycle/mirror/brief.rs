//! Transactions whose locks others would wait behind: tried without a queue, and in a short one where that starves.

use std::time::{Duration, Instant};

use replat_engine::EngineError;
use replat_engine::lifecycle::{Limits, Outcome};
use replat_model::lifecycle::facts::TableName;
use tokio_postgres::SimpleQueryMessage;

use super::named;
use super::survey::Session;
use crate::error::{failed, is_lock};
use crate::failpoint::crash_at_named;

/// Tries without a queue before the first in one.
const FREE_TRIES: u32 = 12;
/// How long a try may stand in the queue, one after the other; bounded by [`Limits::wait_each`] too.
const LADDER_MS: [u64; 4] = [5, 10, 25, 50];
/// The least that the server knows.
const NO_QUEUE: Duration = Duration::from_millis(1);
/// Pauses between tries.
const PAUSE_MS: (u64, u64) = (5, 100);

/// Locks, and what is done under them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// What it is for.
    pub name: &'static str,
    /// Locks, in the order in which they are taken: the parent first, so that whoever waits plans again.
    pub locks: Vec<Lock>,
    /// Statements.
    pub statements: Vec<String>,
}

/// A lock on a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The table.
    pub table: TableName,
    /// The mode, in the engine's words.
    pub mode: &'static str,
    /// Whether partitions below it are locked as well.
    pub below: bool,
}

impl Lock {
    /// A lock on this table alone.
    pub fn only(table: &TableName, mode: &'static str) -> Lock {
        Lock { table: table.clone(), mode, below: false }
    }

    /// A lock on this table and all below it.
    pub fn tree(table: &TableName, mode: &'static str) -> Lock {
        Lock { table: table.clone(), mode, below: true }
    }

    /// As a statement.
    pub fn sql(&self, nowait: bool) -> String {
        format!(
            "LOCK TABLE {}{} IN {} MODE{}",
            if self.below { "" } else { "ONLY " },
            named(&self.table),
            self.mode,
            if nowait { " NOWAIT" } else { "" }
        )
    }
}

/// What a unit may still spend, and what it has spent.
#[derive(Debug)]
pub struct Patience {
    limits: Limits,
    began: Instant,
    random: u64,
    /// Tries, over all transactions.
    pub tries: u32,
    /// Time spent in queues.
    pub stalled: Duration,
    /// The longest time for which locks were held.
    pub held: Duration,
}

/// What came of a try.
#[derive(Debug)]
pub enum Tried {
    /// It is committed.
    Done,
    /// A lock was not to be had; nothing is changed.
    Locked(EngineError),
}

impl Patience {
    /// All of `limits`.
    pub fn new(limits: &Limits) -> Patience {
        Patience {
            limits: *limits,
            began: Instant::now(),
            random: limits.seed | 1,
            tries: 0,
            stalled: Duration::ZERO,
            held: Duration::ZERO,
        }
    }

    /// What came of it, as far as it is known here.
    pub fn outcome(&self, proofs: Vec<String>, rows: u64, version: Option<u64>) -> Outcome {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Outcome {
            done: true,
            why: None,
            refused: false,
            tries: self.tries,
            stalled_us: micros(self.stalled),
            held_us: micros(self.held),
            proofs,
            rows,
            version,
        }
    }

    /// What is waited for now is waited for with all of it: a copy may have taken long, and was no waiting.
    pub fn anew(&mut self) {
        self.began = Instant::now();
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.began.elapsed() > self.limits.patience
    }

    /// How long this try may stand in the queue; `None` for no queue.
    fn queue(&self, nth: u32) -> Option<Duration> {
        let rung = nth.checked_sub(FREE_TRIES)?;
        // Every other try stays out of the queue, so that those who waited behind us get ahead.
        if !rung.is_multiple_of(2) {
            return None;
        }
        let step = LADDER_MS[(rung as usize / 2).min(LADDER_MS.len() - 1)];
        let left = self.limits.wait_total.saturating_sub(self.stalled);
        let wait = Duration::from_millis(step).min(self.limits.wait_each).min(left);
        (wait >= Duration::from_millis(1)).then_some(wait)
    }

    /// A pause before the next try: longer each time, never twice the same.
    pub fn pause(&mut self, nth: u32) -> Duration {
        // xorshift: no more than jitter hangs on it.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let most = (PAUSE_MS.0 << nth.min(6)).min(PAUSE_MS.1);
        Duration::from_millis(PAUSE_MS.0 + self.random % most)
    }
}

/// One try, the `nth` of this transaction, counted from 0.
///
/// # Errors
///
/// What the server says but for a lock that is not to be had.
pub async fn try_once(
    session: &Session<'_>,
    brief: &Brief,
    nth: u32,
    patience: &mut Patience,
) -> Result<Tried, EngineError> {
    let queue = patience.queue(nth);
    let mut text = vec!["BEGIN".to_owned()];
    // All in one message: a process that dies or freezes in the middle leaves no locks held. A lock that is not among
    // those asked for first is waited for as briefly as the server can.
    text.push(format!("SET LOCAL lock_timeout = {}", queue.unwrap_or(NO_QUEUE).as_millis()));
    text.push("SELECT pg_catalog.clock_timestamp() AS t".into());
    text.extend(brief.locks.iter().map(|lock| lock.sql(queue.is_none())));
    text.push("SELECT pg_catalog.clock_timestamp() AS t".into());
    text.extend(brief.statements.iter().cloned());
    text.push("COMMIT".into());
    text.push("SELECT pg_catalog.clock_timestamp() AS t".into());
    // The times as numbers, so that differences need no calendar.
    let text = text.join(";\n").replace(
        "SELECT pg_catalog.clock_timestamp() AS t",
        "SELECT (EXTRACT(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8 AS replat_clock",
    );
    patience.tries += 1;
    crash_at_named(|| format!("mirror.{}.before", brief.name));
    match session.client.simple_query(&text).await {
        Ok(messages) => {
            crash_at_named(|| format!("mirror.{}.after", brief.name));
            let times = clocks(&messages);
            if let [begun, locked, ended] = times[..] {
                patience.stalled += Duration::from_micros(locked.saturating_sub(begun));
                patience.held = patience.held.max(Duration::from_micros(ended.saturating_sub(locked)));
            }
            Ok(Tried::Done)
        }
        Err(error) => {
            drop(session.client.batch_execute("ROLLBACK").await);
            patience.stalled += queue.unwrap_or_default();
            let locked = error.code().is_some_and(is_lock);
            let error = failed(session.database, brief.name, error);
            if locked { Ok(Tried::Locked(error)) } else { Err(error) }
        }
    }
}

/// Tries until it is done or the patience is over.
///
/// # Errors
///
/// [`EngineError::Locked`] if it never had its locks; else as [`try_once`].
pub async fn briefly(
    session: &Session<'_>,
    brief: &Brief,
    patience: &mut Patience,
) -> Result<(), EngineError> {
    let mut nth = 0;
    patience.anew();
    loop {
        match try_once(session, brief, nth, patience).await? {
            Tried::Done => return Ok(()),
            Tried::Locked(error) if patience.is_over() => return Err(error),
            Tried::Locked(_) => tokio::time::sleep(patience.pause(nth)).await,
        }
        nth += 1;
    }
}

fn clocks(messages: &[SimpleQueryMessage]) -> Vec<u64> {
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.try_get("replat_clock").ok().flatten()?.parse().ok(),
            _ => None,
        })
        .collect()
}
