//! Transactions that nobody notices.
//!
//! A transaction that needs contested locks is tried without standing in a queue: a try that fails has cost nobody
//! anything. Between tries it is seen who is in the way. Where many short transactions follow each other so closely
//! that none of the tries finds a gap, a try stands in the queue, briefly, and within a budget for all of them. Behind
//! one long transaction it never does: the queue would only grow.
//!
//! | what | where |
//! |---|---|
//! | tries, their statements and what follows from the answers | here |
//! | who is in the way | `holders` |
//! | whether a try stands in the queue | `starving` |

mod holders;
mod starving;

use std::time::{Duration, Instant};

use replat_engine::EngineError;
use replat_engine::failpoint::{armed, crash_at_named};
use replat_engine::lifecycle::{Hear, Limits};
use replat_model::lifecycle::facts::TableName;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

use super::archive;
use super::bounds;
use super::script::{Manner, Mode, Step, Then, Txn, bound};
use crate::connect::Connected;
use crate::error::{failed, is_lock};
use crate::sql::quote_literal;

use holders::in_the_way;
use starving::Starving;

pub use holders::{Holder, first_words};

/// What every transaction here is set to, whatever the session, the role and the database say; again for each, since a
/// pooler may give each to another session.
pub const SETTINGS: &str = "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL TimeZone = 'UTC'; \
     SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 1; \
     SET LOCAL bytea_output = 'hex'; SET LOCAL standard_conforming_strings = on; \
     SET LOCAL client_min_messages = warning; SET LOCAL default_tablespace = ''; SET LOCAL row_security = off; \
     SET LOCAL quote_all_identifiers = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off;";
/// How long a statement may take that holds locks which others wait for. What it does takes milliseconds; if it
/// takes longer, something is not as it should be.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// How long our own process may pause while it holds such locks, before the server ends the session.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// How long a statement without a lock in advance may stand in a queue in a try that is not to stand in one; the
/// least that the server knows.
const NO_QUEUE: Duration = Duration::from_millis(1);
/// How often those in the way are looked up while a statement waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tries have cost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Tries to get contested locks.
    pub tries: u32,
    /// Time in queues for them.
    pub stalled: Duration,
    /// The longest time that they were held.
    pub held: Duration,
    /// Rows moved or archived.
    pub rows: u64,
    /// The version that the last change got.
    pub version: Option<u64>,
}

/// Why a transaction did not reach its end. It left nothing behind, unless the session was lost.
#[derive(Debug)]
pub enum Stop {
    /// The session was lost: what was done is to be looked up.
    Lost(EngineError),
    /// Its locks could not be had for as long as it may go on trying.
    Busy {
        /// Who is in the way.
        why: String,
    },
    /// Something is not as it must be.
    Refused {
        /// What.
        why: String,
        /// What to do about it.
        remedy: Option<String>,
    },
}

impl Stop {
    /// What stood in the way.
    pub fn why(&self) -> String {
        match self {
            Stop::Lost(error) => error.to_string(),
            Stop::Busy { why } => why.clone(),
            Stop::Refused { why, remedy: None } => why.clone(),
            Stop::Refused { why, remedy: Some(remedy) } => format!("{why}. {remedy}"),
        }
    }
}

/// Two sessions: one works, the other sees who is in its way.
pub struct Pair<'a> {
    /// The one that works.
    pub work: &'a Connected,
    /// The other.
    pub watch: &'a Client,
    /// The database's name, for errors.
    pub database: &'a str,
    /// What the work may cost.
    pub limits: &'a Limits,
    /// Since when tries are made; patience counts from here.
    pub since: Instant,
    /// Who hears of waits.
    pub heard: &'a (dyn Hear + 'a),
}

/// Runs one transaction, or as many tries of it as it needs.
///
/// # Errors
///
/// [`Stop`]; then nothing of it was committed, unless the session was lost.
pub async fn run(pair: &Pair<'_>, txn: &Txn, spent: &mut Spent) -> Result<(), Stop> {
    if let Some(question) = &txn.only_if
        && !pair.is_true(question).await?
    {
        return Ok(());
    }
    match txn.manner {
        Manner::Plain => {
            pair.attempt(txn, "READ COMMITTED", pair.left(), spent).await.map_err(|e| pair.stop(e))
        }
        Manner::Snapshot => {
            pair.attempt(txn, "REPEATABLE READ", pair.left(), spent).await.map_err(|e| pair.stop(e))
        }
        Manner::Brief => briefly(pair, txn, spent).await,
        Manner::Alone { short } => alone(pair, txn, short, spent).await,
    }
}

/// Tries one transaction until it gets its locks, without a queue wherever that is enough.
///
/// # Errors
///
/// [`Stop::Busy`] with who was in the way, when patience is over.
pub async fn briefly(pair: &Pair<'_>, txn: &Txn, spent: &mut Spent) -> Result<(), Stop> {
    let mut starving = Starving::new(pair.limits);
    loop {
        spent.tries += 1;
        let queue = starving.queue(spent.stalled);
        let error = match pair.attempt(txn, "READ COMMITTED", queue, spent).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_busy() {
            return Err(pair.stop(error));
        }
        let holders = pair.holders(txn).await?;
        if pair.left() <= NO_QUEUE {
            return Err(Stop::Busy { why: in_the_way(txn, &holders, pair.limits.patience) });
        }
        if let Some(holder) = holders.first() {
            pair.heard.progress(&format!("waits for {holder}"), u64::from(spent.tries), None);
        }
        starving.seen(&holders);
        tokio::time::sleep(starving.delay().min(pair.left())).await;
    }
}

/// Runs a statement that stands alone, and says who it waits for.
async fn alone(pair: &Pair<'_>, txn: &Txn, short: bool, spent: &mut Spent) -> Result<(), Stop> {
    let mut starving = Starving::new(pair.limits);
    loop {
        spent.tries += 1;
        let wait = if short { pair.limits.wait_each.max(NO_QUEUE).min(pair.left()) } else { pair.left() };
        let begun = Instant::now();
        let error = match pair.outside(txn, wait).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if short {
            spent.stalled += begun.elapsed().min(wait);
        }
        if !error.is_busy() {
            return Err(pair.stop(error));
        }
        // It may have got half-way, and then it is the next transaction's turn.
        if let Some(question) = &txn.only_if
            && !pair.is_true(question).await?
        {
            return Ok(());
        }
        let holders = pair.holders(txn).await?;
        if pair.left() <= NO_QUEUE {
            return Err(Stop::Busy { why: in_the_way(txn, &holders, pair.limits.patience) });
        }
        tokio::time::sleep(starving.delay().min(pair.left())).await;
    }
}

/// Why one try failed.
#[derive(Debug)]
enum Failed {
    /// The server's answer to a statement.
    Server(tokio_postgres::Error),
    /// A statement's answer was not as it must be, or an archive could not be written.
    Stop(Stop),
}

impl Failed {
    fn is_busy(&self) -> bool {
        match self {
            Failed::Server(error) => {
                error.code().is_some_and(|c| is_lock(c) && *c != SqlState::OBJECT_IN_USE)
            }
            Failed::Stop(_) => false,
        }
    }
}

impl Pair<'_> {
    /// What is left of the patience; never nothing, since a time of zero would have no end.
    pub fn left(&self) -> Duration {
        self.limits.patience.saturating_sub(self.since.elapsed()).max(NO_QUEUE)
    }

    fn stop(&self, error: Failed) -> Stop {
        let error = match error {
            Failed::Server(error) => error,
            Failed::Stop(stop) => return stop,
        };
        let Some(server) = error.as_db_error() else {
            return Stop::Lost(failed(self.database, "a unit of rotate", error));
        };
        if is_lock(server.code()) {
            return Stop::Busy { why: server.message().to_owned() };
        }
        match failed(self.database, "a unit of rotate", error) {
            EngineError::Unreachable { database, during, source } => {
                Stop::Lost(EngineError::Unreachable { database, during, source })
            }
            EngineError::Refused { why, .. } | EngineError::Row { why, .. } => {
                Stop::Refused { why, remedy: None }
            }
            other => Stop::Refused { why: other.to_string(), remedy: Some(other.remedy()) },
        }
    }

    async fn is_true(&self, question: &str) -> Result<bool, Stop> {
        let answer =
            self.work.client.simple_query(question).await.map_err(|e| self.stop(Failed::Server(e)))?;
        Ok(rows(&answer).next().and_then(|row| row.get(0)) == Some("t"))
    }

    /// One try of all statements. `queue`: how long it may stand in queues; nothing for not at all.
    async fn attempt(
        &self,
        txn: &Txn,
        level: &str,
        queue: Duration,
        spent: &mut Spent,
    ) -> Result<(), Failed> {
        let done = self.statements(txn, level, queue, spent).await;
        if done.is_err() {
            // The session may be gone, and with it the transaction; then the next call says so.
            drop(self.work.client.batch_execute("ROLLBACK").await);
        }
        done
    }

    async fn statements(
        &self,
        txn: &Txn,
        level: &str,
        queue: Duration,
        spent: &mut Spent,
    ) -> Result<(), Failed> {
        let brief = txn.manner == Manner::Brief;
        let long = !brief || txn.steps.iter().any(|step| matches!(step.then, Then::Archived { .. }));
        let (hold, pause) = if long { (Duration::ZERO, Duration::ZERO) } else { (HOLD_MAX, PAUSE_MAX) };
        let begin = format!(
            "BEGIN ISOLATION LEVEL {level} READ WRITE; {SETTINGS} SET LOCAL lock_timeout = {}; \
             SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
            queue.max(NO_QUEUE).as_millis(),
            hold.as_millis(),
            pause.as_millis(),
        );
        self.work.client.batch_execute(&begin).await.map_err(Failed::Server)?;
        let mut values: Vec<(&str, String)> = Vec::new();
        let mut held: Option<Instant> = None;
        let mut told = spent.version;
        let mut rest = txn.steps.as_slice();
        while let Some(first) = rest.first() {
            let n = txn.steps.len() - rest.len();
            crash_at_named(|| format!("rotate.{}.{n}", txn.name));
            // What holds locks goes in one message: no time is spent on the way, whatever the way is.
            let together = if brief && !armed() { Step::swift(rest) } else { 1 };
            let (steps, after) = rest.split_at(together);
            rest = after;
            let contested =
                steps.iter().flat_map(|s| &s.locks).any(|(_, mode)| *mode > Mode::ShareUpdateExclusive);
            let begun = Instant::now();
            let answer = match steps {
                [step] => {
                    self.step(step, brief && queue > Duration::ZERO, &mut values, spent, &mut told).await
                }
                steps => self.swiftly(steps, &mut values, &mut told).await,
            };
            // Without a queue nobody stood behind us; only what was not locked beforehand may have waited.
            let locks = first.sql.ends_with(" NOWAIT");
            if brief && contested && !(locks && queue.is_zero()) && (answer.is_err() || locks) {
                spent.stalled += begun.elapsed().min(queue.max(NO_QUEUE));
            }
            answer?;
            held = held.or_else(|| (brief && contested).then_some(begun));
        }
        crash_at_named(|| format!("rotate.{}.{}", txn.name, txn.steps.len()));
        self.work.client.batch_execute("COMMIT").await.map_err(Failed::Server)?;
        crash_at_named(|| format!("rotate.{}.committed", txn.name));
        spent.held = spent.held.max(held.map_or(Duration::ZERO, |since| since.elapsed()));
        spent.version = told;
        Ok(())
    }

    async fn step<'s>(
        &self,
        step: &'s Step,
        queued: bool,
        values: &mut Vec<(&'s str, String)>,
        spent: &mut Spent,
        told: &mut Option<u64>,
    ) -> Result<(), Failed> {
        let client = &self.work.client;
        match &step.then {
            Then::Archive(filing) => {
                let written = archive::write(client, self.database, filing, self.heard).await;
                let written = written.map_err(|error| Failed::Stop(archive_stop(error)))?;
                spent.rows += written.rows;
                values.push(("sha256", quote_literal(&written.sha256)));
                return Ok(());
            }
            Then::Archived { table, path, sha256 } => {
                let same = archive::compare(client, self.database, table, path, sha256).await;
                return same.map_err(|error| Failed::Stop(archive_stop(error)));
            }
            _ => {}
        }
        let sql = if queued { Step::queued(&step.sql) } else { &step.sql };
        let answer = client.simple_query(&filled(sql, values)).await.map_err(Failed::Server)?;
        heed(step, &answer, values, told)
    }

    /// Several statements in one message.
    async fn swiftly<'s>(
        &self,
        steps: &'s [Step],
        values: &mut Vec<(&'s str, String)>,
        told: &mut Option<u64>,
    ) -> Result<(), Failed> {
        let sql: Vec<String> = steps.iter().map(|step| filled(&step.sql, values)).collect();
        let answer = self.work.client.simple_query(&sql.join(";\n")).await.map_err(Failed::Server)?;
        let mut answers = answer.split_inclusive(|m| matches!(m, SimpleQueryMessage::CommandComplete(_)));
        steps.iter().try_for_each(|step| heed(step, answers.next().unwrap_or_default(), values, told))
    }

    /// Statements outside of a transaction block, which wait for locks no longer than `wait` each.
    async fn outside(&self, txn: &Txn, wait: Duration) -> Result<(), Failed> {
        let client = &self.work.client;
        let settings = format!(
            "SET lock_timeout = {}; SET statement_timeout = 0; SET search_path = pg_catalog, pg_temp",
            wait.as_millis()
        );
        client.batch_execute(&settings).await.map_err(Failed::Server)?;
        for (n, step) in txn.steps.iter().enumerate() {
            crash_at_named(|| format!("rotate.{}.{n}", txn.name));
            let running = client.batch_execute(&step.sql);
            tokio::pin!(running);
            loop {
                tokio::select! {
                    done = &mut running => break done.map_err(Failed::Server)?,
                    () = tokio::time::sleep(LOOK_EVERY) => {
                        if let Some(holder) = self.holders(txn).await.map_err(Failed::Stop)?.first() {
                            self.heard.progress(&format!("waits for {holder}"), 0, None);
                        }
                    }
                }
            }
        }
        crash_at_named(|| format!("rotate.{}.committed", txn.name));
        Ok(())
    }
}

/// Draws the consequence of a statement's answer.
fn heed<'s>(
    step: &'s Step,
    answer: &[SimpleQueryMessage],
    values: &mut Vec<(&'s str, String)>,
    told: &mut Option<u64>,
) -> Result<(), Failed> {
    let mut rows = rows(answer);
    match &step.then {
        Then::Go | Then::Archive(_) | Then::Archived { .. } => Ok(()),
        Then::Must { why, remedy } => match rows.next().and_then(|row| row.get(0)) {
            Some("t") => Ok(()),
            _ => Err(refused(why.clone(), Some(remedy.clone()))),
        },
        Then::Bind(name) => match rows.next().and_then(|row| row.get(0)) {
            Some(value) => {
                // Each table of a unit has its own.
                values.retain(|(known, _)| known != name);
                values.push((name, value.to_owned()));
                Ok(())
            }
            None => Err(refused(format!("there is no {}", name.replace('_', " ")), None)),
        },
        Then::Version => {
            *told = rows.next().and_then(|row| row.get(0)).and_then(|text| text.parse().ok());
            Ok(())
        }
        Then::Bounds(asked) => {
            let found: Vec<_> = rows
                .filter_map(|row| {
                    let table = TableName::new(row.get(0)?, row.get(1)?);
                    Some((table, bounds::parse(row.get(2)?).ok()?))
                })
                .collect();
            match asked.iter().find(|asked| !found.contains(asked)) {
                None => Ok(()),
                Some((table, _)) => Err(refused(
                    format!("the bounds of {table} do not read as they were asked for"),
                    Some("Report it with the partition key and the bounds.".into()),
                )),
            }
        }
    }
}

/// A statement with the values that earlier ones have found.
fn filled(sql: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(&bound(name), value))
}

fn refused(why: String, remedy: Option<String>) -> Failed {
    Failed::Stop(Stop::Refused { why, remedy })
}

fn archive_stop(error: EngineError) -> Stop {
    match error {
        error @ EngineError::Unreachable { .. } => Stop::Lost(error),
        EngineError::Locked { what, .. } => Stop::Busy { why: what },
        other => Stop::Refused { why: other.to_string(), remedy: Some(other.remedy()) },
    }
}

fn rows(answer: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}
