//! The boundary of partition lifecycle: looking at sets, and bringing about units.
//!
//! As with deployments an engine looks, and acts, and never decides. It can also *show*: the statements of a unit with
//! their locks. What is shown is what is run, since both come from one [`Script`].

use std::time::Duration;

use replat_model::lifecycle::facts::{Facts, Micros, TableName, Vitals};
use replat_model::lifecycle::health::Finding;
use replat_model::lifecycle::patience::Stall;
use replat_model::lifecycle::plan::{RotatePlan, Unit};
use replat_model::lifecycle::policy::PruneQuery;
use serde::{Deserialize, Serialize};

use crate::Soon;

/// A database whose partitions have a life.
pub trait LifecycleEngine: Send + Sync {
    /// How the database is doing. Cheap; reads only.
    fn vitals(&self) -> Soon<'_, Vitals>;

    /// All that planning needs to know. Reads only.
    fn look<'a>(&'a self, wanted: &'a Look) -> Soon<'a, Facts>;

    /// The digest of all parents and children, cheaper than a look: a run whose fingerprint and policy are those of a
    /// run that had nothing to do, on the same day, has nothing to do.
    fn fingerprint(&self) -> Soon<'_, String>;

    /// The statements of a unit with their locks. Reads only.
    fn script<'a>(&'a self, unit: &'a Unit) -> Soon<'a, Script>;

    /// Brings a unit about, within `limits`; or takes back what it began, and says why.
    ///
    /// Idempotent: a unit that was done is found done. The unit, its stalls and, in the very transaction that
    /// changes bounds, the change for those who follow the map are recorded in the database.
    fn act<'a>(&'a self, unit: &'a Unit, limits: &'a Limits, heard: &'a (dyn Hear + 'a))
    -> Soon<'a, Outcome>;

    /// Whether the queries touch as few partitions as they may. Reads only; EXPLAIN without ANALYZE.
    fn prunes<'a>(&'a self, set: &'a TableName, queries: &'a [PruneQuery]) -> Soon<'a, Vec<Finding>>;

    /// Takes the lock that keeps other runs out of this database, until the returned guard is dropped.
    ///
    /// # Errors
    ///
    /// [`Superseded`](crate::EngineError::Superseded) if another run has it.
    fn alone(&self) -> Soon<'_, Box<dyn Send>>;

    /// What the last run that converged left behind, and the present moment; `None` if there was none. Cheaper than
    /// the vitals; reads only.
    fn recall(&self) -> Soon<'_, Option<Recalled>> {
        Box::pin(async { Ok(None) })
    }

    /// How long the application was kept waiting by runs of the last hour.
    fn stalls(&self) -> Soon<'_, Vec<Stall>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Remembers what a look found, and how a run went, for the next one's forecast.
    fn remember<'a>(&'a self, facts: &'a Facts, run: &'a RunRecord) -> Soon<'a, ()>;
}

/// What to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Sets by name, `*` for any characters; empty for all.
    pub tables: Vec<String>,
    /// Whether sizes are wanted: they cost a system call for each file.
    pub sizes: bool,
    /// Whether it is wanted what partitions have of each index.
    pub indexes: bool,
    /// What retirement asks of rows, for the sets it is about.
    pub retiring: Vec<Retiring>,
    /// Ordinary tables that are to be converted.
    pub ordinary: Vec<OrdinaryLook>,
    /// Whether it is wanted which units changed shapes before.
    pub history: bool,
}

/// An ordinary table to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrdinaryLook {
    /// The table.
    pub table: TableName,
    /// Columns whose least and greatest values are wanted; without an index on them that reads the table.
    pub columns: Vec<String>,
}

/// What retirement asks of the rows of some sets. Every question reads rows, so it is asked of old partitions only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retiring {
    /// The sets, as in [`Look::tables`]; empty for all.
    pub tables: Vec<String>,
    /// A condition that must be true of every row: `retire.when`.
    pub when: Option<String>,
    /// Conditions of which none may be true of any row: `retire.legal_hold`.
    pub legal_hold: Vec<String>,
    /// How many partitions of a level are asked at most, the oldest first.
    pub oldest: u32,
}

/// What a unit may cost the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long one try may stand in a queue for a lock at most. Most tries do not queue at all.
    pub wait_each: Duration,
    /// How long all tries of the unit together may stand in queues: what is left of the set's, the referenced
    /// tables' and the run's budget.
    pub wait_total: Duration,
    /// How long the unit may go on trying.
    pub patience: Duration,
    /// The seed of the jitter between tries.
    pub seed: u64,
}

/// Hears of progress while a unit is at work.
pub trait Hear: Send + Sync {
    /// So much is done of so much, in words of the unit: rows, pages, partitions.
    fn progress(&self, what: &str, done: u64, of: Option<u64>);
}

/// What came of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it reached its end. If not, what it began was taken back, and `why` says what stood in the way.
    pub done: bool,
    /// What stood in the way.
    pub why: Option<String>,
    /// Whether that will be so again until somebody does something about it.
    #[serde(default)]
    pub refused: bool,
    /// Tries it took to get its locks.
    pub tries: u32,
    /// How long it stood in queues for locks, which is what the application may have felt, in microseconds.
    pub stalled_us: u64,
    /// How long the longest transaction held locks that others wait for, in microseconds.
    pub held_us: u64,
    /// What each attach relied on, so that no row was read under a lock: `empty`, `check`, `scanned`.
    pub proofs: Vec<String>,
    /// Rows moved or archived.
    pub rows: u64,
    /// The version that those who follow the map get to see; `None` if no bounds changed.
    pub version: Option<u64>,
}

/// The statements of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Them, grouped by what is committed together.
    pub transactions: Vec<Transaction>,
}

/// Statements that are committed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What it is for, as a noun phrase: `stage`, `attach`.
    pub name: String,
    /// Whether it must stand alone outside of a transaction block.
    pub alone: bool,
    /// Whether it is repeated, over batches of rows.
    pub repeated: bool,
    /// Its statements.
    pub statements: Vec<Statement>,
}

/// One statement, and what it locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Its text. Values that are not known before are written as `:name`.
    pub sql: String,
    /// The locks it takes on tables that are in use, in the engine's words: `ACCESS EXCLUSIVE`.
    pub locks: Vec<TableLock>,
    /// For how long at most others may wait for it: `in no queue`, `50 ms in the queue, then again`.
    pub stall: String,
    /// Whether it only concerns replat's own records: whoever runs the script by hand leaves it out.
    #[serde(default)]
    pub records: bool,
}

/// A lock on a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableLock {
    /// The table.
    pub table: TableName,
    /// The mode, in the engine's words.
    pub mode: String,
}

/// How a run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its name.
    pub id: String,
    /// The plan, with those of its units that were tried.
    pub plan: Option<RotatePlan>,
    /// What came of each unit, by its name.
    pub outcomes: Vec<(String, Outcome)>,
    /// What went wrong, by the unit's name.
    pub failed: Vec<(String, String)>,
    /// Whether it looked at all there is, and nothing was left to do.
    pub converged: bool,
    /// A digest of what was wanted.
    #[serde(default)]
    pub policy: String,
    /// Until when a catalogue that stays as it is has nothing to do, by the database's clock; `None` if that depends on
    /// more than the catalogue and the time.
    #[serde(default)]
    pub steady_until: Option<Micros>,
}

/// What the last run that converged left behind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recalled {
    /// The database's name.
    pub database: String,
    /// The database's clock now.
    pub now: Micros,
    /// Whether the database takes no writes now.
    pub read_only: bool,
    /// When that run ended.
    pub at: Micros,
    /// The catalogue as it left it.
    pub fingerprint: String,
    /// The digest of what it wanted.
    pub policy: String,
    /// Until when there is nothing to do if the catalogue stays so; `None` if a closer look is needed each time.
    pub steady_until: Option<Micros>,
    /// What all default partitions hold now, in bytes; `None` if that could not be told.
    pub default_bytes: Option<u64>,
}

/// Hears nothing.
pub struct Quiet;

impl Hear for Quiet {
    fn progress(&self, _what: &str, _done: u64, _of: Option<u64>) {}
}
