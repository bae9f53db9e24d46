//! A unit as statements, each with the locks it takes.
//!
//! A [`Recipe`] is what is run ([`super::act`]), and what is shown is made from it ([`Recipe::script`]): there is no
//! second description that could be wrong. Nothing is decided while it runs; what depends on what is there was read
//! from the catalogue when the recipe was made, and is looked at again under the locks by a [`Then::Must`].
//!
//! | unit | where |
//! |---|---|
//! | new partitions; another policy for rows that belong to none | [`create`] |
//! | detach, finish a detach, drop, take over | [`retire`] |
//! | take back what was broken off | [`reap`] |
//! | what a new partition takes from its siblings | [`settings`] |
//! | what a default partition has to prove | [`proof`] |

pub mod catalog;
pub mod create;
pub mod proof;
pub mod reap;
pub mod retire;
pub mod settings;

use replat_engine::EngineError;
use replat_engine::lifecycle::{Script, Statement, TableLock, Transaction};
use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::{Unit, Work};
use tokio_postgres::Client;

use super::ledger::{Ledger, quoted};
use crate::error::on;

/// A table lock, in the engine's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// What a reader takes.
    AccessShare,
    /// What a locking read takes, and the check of a foreign key.
    RowShare,
    /// What a writer takes.
    RowExclusive,
    /// What lets readers and writers by, and no other like it: ATTACH, VACUUM, ANALYZE, VALIDATE.
    ShareUpdateExclusive,
    /// What keeps writers out.
    Share,
    /// What keeps writers and others like it out.
    ShareRowExclusive,
    /// What lets plain readers by only.
    Exclusive,
    /// What lets nobody by.
    AccessExclusive,
}

impl Mode {
    /// All of them, weakest first.
    pub const ALL: [Mode; 8] = [
        Mode::AccessShare,
        Mode::RowShare,
        Mode::RowExclusive,
        Mode::ShareUpdateExclusive,
        Mode::Share,
        Mode::ShareRowExclusive,
        Mode::Exclusive,
        Mode::AccessExclusive,
    ];

    /// As in a statement: `ACCESS EXCLUSIVE`.
    pub fn sql(self) -> &'static str {
        match self {
            Mode::AccessShare => "ACCESS SHARE",
            Mode::RowShare => "ROW SHARE",
            Mode::RowExclusive => "ROW EXCLUSIVE",
            Mode::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Mode::Share => "SHARE",
            Mode::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Mode::Exclusive => "EXCLUSIVE",
            Mode::AccessExclusive => "ACCESS EXCLUSIVE",
        }
    }

    /// As in `pg_locks.mode`: `AccessExclusiveLock`.
    pub fn in_catalogue(self) -> String {
        let words = self.sql().split(' ').map(|word| format!("{}{}", &word[..1], word[1..].to_lowercase()));
        words.collect::<String>() + "Lock"
    }

    /// The mode that a statement or `pg_locks` calls so.
    pub fn named(text: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.sql() == text || mode.in_catalogue() == text)
    }

    /// Whether two sessions cannot have them at once.
    pub fn conflicts(self, other: Mode) -> bool {
        use Mode::{
            AccessExclusive, AccessShare, Exclusive, RowExclusive, RowShare, Share, ShareRowExclusive,
            ShareUpdateExclusive,
        };
        let (weak, strong) = if self <= other { (self, other) } else { (other, self) };
        match weak {
            AccessShare => strong == AccessExclusive,
            RowShare => strong >= Exclusive,
            RowExclusive => strong >= Share,
            ShareUpdateExclusive => strong >= ShareUpdateExclusive,
            // The one mode that several may have, and that a stronger one may not share.
            Share => strong != Share,
            ShareRowExclusive | Exclusive | AccessExclusive => true,
        }
    }

    /// Whether whoever waits for `other` waits for this one too, so that `other` need not be said beside it.
    pub fn covers(self, other: Mode) -> bool {
        Mode::ALL.into_iter().all(|mode| !other.conflicts(mode) || self.conflicts(mode))
    }
}

/// A unit as it is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// What is committed together, in order.
    pub transactions: Vec<Txn>,
    /// What each attach relies on: `empty`, `check`, `scanned`.
    pub proofs: Vec<String>,
}

/// What is committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// What it is for: `stage`, `attach`. Failpoints are named after it.
    pub name: &'static str,
    /// How it gets its locks.
    pub manner: Manner,
    /// A question in SQL; it is run only if the answer is true. `None`: always.
    pub only_if: Option<String>,
    /// Its statements.
    pub steps: Vec<Step>,
}

/// How a transaction gets its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It needs none that others would wait behind.
    Plain,
    /// It needs some that others would wait behind: it is tried without a queue, again and again, and in a short queue
    /// where it starves.
    Brief,
    /// It reads under one snapshot, and holds nothing that others wait for.
    Snapshot,
    /// It stands alone outside of a transaction block, and waits for older transactions in no queue. If `short`, a lock
    /// that it takes at its end would be waited for behind it: then it waits no longer than one try may, and the rest
    /// is left to the next transaction.
    Alone {
        /// See above.
        short: bool,
    },
}

/// A statement, and what its answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its text. What [`bound`] gives stands for what an earlier step bound.
    pub sql: String,
    /// Locks on tables in use.
    pub locks: Vec<(TableName, Mode)>,
    /// Whether it only concerns replat's own records.
    pub records: bool,
    /// What its answer means.
    pub then: Then,
}

/// What a statement's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Go,
    /// It must be `true`; else the unit fails, since what was planned from is not so any more.
    Must {
        /// What is not so.
        why: String,
        /// What to do about it.
        remedy: String,
    },
    /// It is the text that [`bound`] stands for in later steps.
    Bind(&'static str),
    /// It is the bounds of these partitions, by name, which must read as they were asked for.
    Bounds(Vec<(TableName, Bound)>),
    /// It is the version that the change got.
    Version,
    /// It is the content of the table, as COPY sends it: written to a file, which is read back and compared. The file's
    /// digest is bound to `sha256`.
    Archive(Filing),
    /// It is the content of the table, which must still be what was archived.
    Archived {
        /// The table.
        table: TableName,
        /// Where to.
        path: String,
        /// The digest of that file.
        sha256: String,
    },
}

/// A table that goes to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filing {
    /// The table.
    pub table: TableName,
    /// Its identity.
    pub table_id: u32,
    /// The bounds it had.
    pub bound: Option<Bound>,
    /// The file. Beside it lies another that says what is in it.
    pub path: String,
}

/// What stands in a statement for a value that an earlier one finds. No name and no literal can contain it; people get
/// to see `:name`, as psql has it.
pub fn bound(name: &str) -> String {
    format!("\0{name}\0")
}

impl Step {
    /// A statement that locks no table in use.
    pub fn new(sql: impl Into<String>) -> Step {
        Step { sql: sql.into(), locks: Vec::new(), records: false, then: Then::Go }
    }

    /// A statement on replat's own records.
    pub fn record(sql: impl Into<String>) -> Step {
        Step { records: true, ..Step::new(sql) }
    }

    /// A question whose answer must be true.
    pub fn must(sql: impl Into<String>, why: impl Into<String>, remedy: impl Into<String>) -> Step {
        Step { then: Then::Must { why: why.into(), remedy: remedy.into() }, ..Step::new(sql) }
    }

    /// A lock on a table alone, in no queue.
    pub fn lock_only(table: &TableName, mode: Mode) -> Step {
        Step::new(format!("LOCK TABLE ONLY {} IN {} MODE NOWAIT", quoted(table), mode.sql()))
            .locks(table, mode)
    }

    /// A lock on a table with all below it, in no queue.
    pub fn lock_tree(table: &TableName, below: &[TableName], mode: Mode) -> Step {
        let step = Step::new(format!("LOCK TABLE {} IN {} MODE NOWAIT", quoted(table), mode.sql()));
        below.iter().fold(step.locks(table, mode), |step, table| step.locks(table, mode))
    }

    /// It also takes this lock.
    #[must_use]
    pub fn locks(mut self, table: &TableName, mode: Mode) -> Step {
        self.locks.push((table.clone(), mode));
        self
    }

    /// It also takes this lock of a table and of all below it.
    #[must_use]
    pub fn locks_tree(self, table: &catalog::Relation, mode: Mode) -> Step {
        table.below.iter().fold(self.locks(&table.name, mode), |step, below| step.locks(below, mode))
    }

    /// The statement that waits in no queue, as one that waits for as long as `lock_timeout` allows.
    pub fn queued(sql: &str) -> &str {
        sql.strip_suffix(" NOWAIT").filter(|sql| sql.starts_with("LOCK TABLE ")).unwrap_or(sql)
    }
}

impl Txn {
    /// Statements that need no lock that others would wait behind.
    pub fn plain(name: &'static str) -> Txn {
        Txn { name, manner: Manner::Plain, only_if: None, steps: Vec::new() }
    }

    /// Statements that are tried without a queue.
    pub fn brief(name: &'static str) -> Txn {
        Txn { manner: Manner::Brief, ..Txn::plain(name) }
    }

    /// With this step at its end.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }
}

impl Recipe {
    /// As people and other programs get to see it.
    pub fn script(&self) -> Script {
        Script { transactions: self.transactions.iter().map(Txn::shown).collect() }
    }
}

impl Txn {
    fn shown(&self) -> Transaction {
        Transaction {
            name: self.name.to_owned(),
            alone: matches!(self.manner, Manner::Alone { .. }),
            repeated: false,
            statements: self.steps.iter().map(|step| self.statement(step)).collect(),
        }
    }

    fn statement(&self, step: &Step) -> Statement {
        let mut locks: Vec<TableLock> = step
            .locks
            .iter()
            .map(|(table, mode)| TableLock { table: table.clone(), mode: mode.sql().to_owned() })
            .collect();
        locks.sort();
        locks.dedup();
        // As psql has it, so that the script can be run as it is.
        let mut sql = String::new();
        for (n, piece) in step.sql.split('\0').enumerate() {
            sql.extend((n % 2 == 1).then_some(':'));
            sql.push_str(piece);
        }
        if let Then::Bind(_) = step.then {
            sql.push_str(" \\gset");
        }
        let harmless = step.locks.iter().all(|(_, mode)| *mode <= Mode::ShareUpdateExclusive);
        let mut stall = match self.manner {
            _ if step.records => "replat's own records".to_owned(),
            Manner::Alone { .. } => "waits for older transactions, in no queue".to_owned(),
            Manner::Brief if !harmless => {
                "in no queue; 5 to 50 ms in the queue if it starves, within the budget".into()
            }
            _ => "in no queue".to_owned(),
        };
        if self.only_if.is_some() {
            stall.push_str("; only if what came before was broken off");
        }
        Statement { sql, locks, stall, records: step.records }
    }
}

/// What a recipe is made with.
#[derive(Clone, Copy, Debug)]
pub struct Kitchen<'a> {
    /// The session that reads.
    pub client: &'a Client,
    /// The database's name, for errors.
    pub database: &'a str,
    /// Where the records are, or will be.
    pub ledger: &'a Ledger,
    /// The name of the run.
    pub run: &'a str,
    /// Whether the recipe is only shown: then what an earlier unit of the same plan takes over counts as taken over.
    pub shown: bool,
}

/// The recipe of a unit. Reads only.
///
/// It is empty if the unit is done already.
///
/// # Errors
///
/// [`EngineError::Precondition`] if the catalogue is not as the plan has it; what the driver says if it cannot be read.
pub async fn recipe(kitchen: &Kitchen<'_>, unit: &Unit) -> Result<Recipe, EngineError> {
    let failed = on(kitchen.database, "reading the catalogue");
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}", super::quiet::SETTINGS);
    kitchen.client.batch_execute(&begin).await.map_err(&failed)?;
    let recipe = made(kitchen, unit).await;
    let ended = kitchen.client.batch_execute("ROLLBACK").await;
    let recipe = recipe?;
    ended.map_err(&failed)?;
    Ok(recipe)
}

async fn made(kitchen: &Kitchen<'_>, unit: &Unit) -> Result<Recipe, EngineError> {
    match &unit.work {
        Work::Create { parent, parts, edge, .. } => {
            create::create(kitchen, unit, parent, parts, edge.as_ref()).await
        }
        Work::Overflow { parent, old, new } => create::overflow(kitchen, unit, parent, old, new).await,
        Work::Finalize { parent, part, bound } => retire::finalize(kitchen, unit, parent, part, bound).await,
        Work::Retire { .. } => retire::retire(kitchen, unit).await,
        Work::Drop { table, table_id, .. } => retire::drop(kitchen, unit, table, *table_id).await,
        Work::Adopt { parts } => retire::adopt(kitchen, unit, parts).await,
        Work::Disown { parts } => retire::disown(kitchen, unit, parts).await,
        Work::Archive { table, table_id, folder } => {
            retire::archive(kitchen, unit, table, *table_id, folder).await
        }
        Work::Reap { unit: broken, .. } => reap::reap(kitchen, Some(unit), broken, None).await,
        Work::Drain { .. }
        | Work::Recut { .. }
        | Work::Convert { .. }
        | Work::Unconvert { .. }
        | Work::Align { .. } => Err(refuse(
            format!("unit {} is of a kind that this version cannot do: {:?}", unit.id, unit.work.kind()),
            "Use the version of replat that made the plan.",
        )),
    }
}

/// A refusal, with its remedy.
pub(crate) fn refuse(what: impl Into<String>, remedy: impl Into<String>) -> EngineError {
    EngineError::Precondition { what: what.into(), remedy: remedy.into() }
}

/// What to do when the catalogue is not as it was.
pub(crate) const PLAN_AGAIN: &str = "Run rotate again: it looks and plans anew.";
