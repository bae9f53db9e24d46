//! replat's own durable state: work logs, maps, what else routers are told, and who is running what, in one SQLite file.
//!
//! Every change is one transaction that is on disk before the call returns. The one that decides, appending
//! `Switched`, changes the partition's home and the map's version in that same transaction, so there is no moment
//! at which only one of them is true. Any number of processes may have the file open; of two that append at one
//! length, one is refused.
//!
//! Absent on purpose: decisions. Whether an event can stand where it is put is
//! [`Deployment::after`](replat_model::deploy::Deployment::after)'s to say.

mod log;
mod maps;
mod routes;
mod schema;
mod sums;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use replat_engine::{Listed, LogError, Recorded, Trouble, WorkLog};
use replat_model::deploy::{Deployment, Event, Timestamp};
use replat_model::ids::{CohortId, DeploymentId, PartitionId};
use replat_model::map::{FORMAT as MAP_FORMAT, Map};
use replat_model::route::{Address, Routes, Traffic};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// The control store in one SQLite file. One connection, which its callers share; every call blocks until it is
/// done, a write for as long as other processes' writes take, at most five seconds.
pub struct Store {
    path: String,
    inner: Mutex<Inner>,
}

struct Inner {
    connection: Connection,
    /// The folds of logs appended to before. What a log of this length came to never changes, so one that is of
    /// the log's length now need not be folded again while clients wait for a switch.
    folds: Folds,
    /// Transactions that this connection has committed.
    commits: u64,
}

/// By serial number: the length of the log and its fold.
type Folds = HashMap<i64, (u64, Deployment)>;

/// Why a transaction was given up.
#[derive(Debug)]
enum Fault {
    /// For a reason that the caller must know.
    Refused(LogError),
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// What is stored is not what was stored.
    Damaged(Damage),
    /// It is what was stored, in another form than this program reads.
    Layout(Layout),
}

/// A map in the form of another release. Nothing is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error(
    "the map of {context} is written in format {format}, and this replat reads format {MAP_FORMAT}; \
     the file is sound: {}",
    remedy(*format)
)]
struct Layout {
    context: String,
    format: u32,
}

fn remedy(format: u32) -> &'static str {
    match format < MAP_FORMAT {
        true => {
            "with the older replat that wrote it, finish what is deployed and bring each partition to the home that the \
             spec names; then move the file away, and this replat makes a new one by the spec"
        }
        false => "use the newer replat that wrote it",
    }
}

/// Something in the file that replat cannot have written.
#[derive(Debug, thiserror::Error)]
#[error("the file is damaged or was edited by hand: {0}; restore it from a backup")]
struct Damage(String);

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Fault {
        Fault::Refused(error)
    }
}

impl Fault {
    fn damaged(what: impl Into<String>) -> Fault {
        Fault::Damaged(Damage(what.into()))
    }

    fn at(self, path: &str) -> LogError {
        let path = path.to_owned();
        match self {
            Fault::Refused(error) => error,
            Fault::Sqlite(error) => LogError::Store { path, source: error.into() },
            Fault::Damaged(damage) => LogError::Store { path, source: damage.into() },
            Fault::Layout(layout) => LogError::Store { path, source: layout.into() },
        }
    }
}

impl Store {
    /// Opens the store in this file, which is made if it is not there, and brings an older one up to date.
    ///
    /// # Errors
    ///
    /// [`LogError::Store`] if the file cannot be had, is not a replat store, was written by a newer replat, or is
    /// damaged. A damaged file is never repaired silently.
    pub fn open(path: &Path) -> Result<Store, LogError> {
        let shown = path.display().to_string();
        let connection = schema::open(path).map_err(|fault| fault.at(&shown))?;
        let inner = Inner { connection, folds: HashMap::new(), commits: 0 };
        Ok(Store { path: shown, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic in a transaction rolls it back on its way out, and takes its fold along.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `deed` in a transaction that sees one state of the file.
    fn read_with<T>(&self, deed: impl FnOnce(&Transaction) -> Result<T, Fault>) -> Result<T, LogError> {
        let mut inner = self.inner();
        let done = inner.connection.transaction().map_err(Fault::from).and_then(|tx| deed(&tx));
        done.map_err(|fault| fault.at(&self.path))
    }

    /// Runs `deed` in a transaction that nobody else writes beside, and makes it durable.
    fn write_with<T>(
        &self,
        deed: impl FnOnce(&Transaction, &mut Folds) -> Result<T, Fault>,
    ) -> Result<T, LogError> {
        let mut inner = self.inner();
        let Inner { connection, folds, commits } = &mut *inner;
        let write = || {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = deed(&tx, folds)?;
            tx.commit()?;
            *commits += 1;
            Ok(done)
        };
        let done = write();
        if done.is_err() {
            // A fold may hold an event whose commit failed.
            folds.clear();
        }
        done.map_err(|fault: Fault| fault.at(&self.path))
    }
}

fn begin(
    tx: &Transaction,
    event: &Event,
    map: &Map,
    now: Timestamp,
    cohort: Option<i64>,
) -> Result<Listed, Fault> {
    let Event::Asked { plan } = event else {
        return Err(LogError::OutOfPlace { why: "the first event must be Asked" }.into());
    };
    log::refuse_if_busy(tx, &plan.context, &plan.partition)?;
    maps::check_plan(plan, map)?;
    let stored = maps::newest(tx, &plan.context)?;
    if let Some(stored) = &stored {
        maps::check_successor(stored, map)?;
        log::refuse_to_cut_what_moves(tx, stored, map)?;
        routes::carved(tx, stored, map)?;
    }
    maps::publish(tx, stored.as_ref(), map)?;
    log::begin(tx, plan, event, now, cohort)
}

fn heartbeat(tx: &Transaction, id: &DeploymentId, runner: &str, until: Timestamp) -> Result<(), Fault> {
    let serial = log::serial(tx, id)?;
    tx.execute(
        "INSERT INTO runner (deployment, name, until) VALUES (?1, ?2, ?3)
         ON CONFLICT (deployment) DO UPDATE SET name = excluded.name, until = excluded.until",
        params![serial, runner, signed(until.0)?],
    )?;
    Ok(())
}

impl WorkLog for Store {
    fn begin(&self, event: &Event, map: &Map, now: Timestamp) -> Result<Listed, LogError> {
        self.write_with(|tx, _| begin(tx, event, map, now, None))
    }

    fn begin_all(&self, members: &[(Event, Map)], now: Timestamp) -> Result<Vec<Listed>, LogError> {
        self.write_with(|tx, _| {
            let cohort = log::gather(tx, now)?;
            members.iter().map(|(event, map)| begin(tx, event, map, now, Some(cohort))).collect()
        })
    }

    fn read_from(&self, id: &DeploymentId, from: u64) -> Result<Vec<Recorded>, LogError> {
        self.read_with(|tx| log::read(tx, log::serial(tx, id)?, from))
    }

    fn append(
        &self,
        id: &DeploymentId,
        expected: u64,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), LogError> {
        self.write_with(|tx, folds| {
            let serial = log::serial(tx, id)?;
            let length = log::length(tx, serial)?;
            if length != expected {
                return Err(LogError::Conflict { deployment: id.clone(), length, expected }.into());
            }
            let mut state = match folds.remove(&serial) {
                Some((folded, state)) if folded == length => state,
                _ => log::fold(tx, serial)?,
            };
            state.after(event).map_err(|why| LogError::OutOfPlace { why })?;
            log::insert(tx, serial, length, event, now)?;
            match event {
                Event::Switched { .. } => maps::switch(tx, &state)?,
                Event::Finished { .. } | Event::Aborted => log::let_go(tx, serial)?,
                _ => {}
            }
            folds.insert(serial, (length + 1, state));
            Ok(())
        })
    }

    fn list(&self) -> Result<Vec<Listed>, LogError> {
        self.read_with(log::list)
    }

    fn map(&self, context: &str) -> Result<Option<Map>, LogError> {
        self.read_with(|tx| maps::newest(tx, context))
    }

    fn chart(&self, map: &Map) -> Result<Map, LogError> {
        self.write_with(|tx, _| match maps::newest(tx, map.context())? {
            Some(stored) => Ok(stored),
            None => {
                maps::publish(tx, None, map)?;
                Ok(map.clone())
            }
        })
    }

    fn routes(&self, context: &str) -> Result<Option<Routes>, LogError> {
        self.read_with(|tx| match maps::newest(tx, context)? {
            Some(map) => routes::at(tx, map),
            None => Ok(None),
        })
    }

    fn routes_at(&self, context: &str, version: u64) -> Result<Option<Routes>, LogError> {
        self.read_with(|tx| match maps::at(tx, context, version)? {
            Some(map) => routes::at(tx, map),
            None => Ok(None),
        })
    }

    fn routes_after(&self, known: &Routes) -> Result<Routes, LogError> {
        self.read_with(|tx| routes::after(tx, known))
    }

    fn tell(
        &self,
        context: &str,
        project: &str,
        addresses: &BTreeMap<String, Address>,
        traffic: &BTreeMap<PartitionId, Option<Traffic>>,
    ) -> Result<Routes, LogError> {
        self.write_with(|tx, _| routes::tell(tx, context, project, addresses, traffic))
    }

    /// Comparable only to numbers from this very `Store`.
    fn traffic(&self, context: &str) -> Result<BTreeMap<PartitionId, Traffic>, LogError> {
        self.read_with(|tx| routes::newest_traffic(tx, context))
    }

    fn schema_version(&self, context: &str, partition: &PartitionId) -> Result<Option<String>, LogError> {
        self.read_with(|tx| routes::schema_version(tx, context, partition))
    }

    fn data_version(&self) -> Result<u64, LogError> {
        let inner = self.inner();
        // SQLite counts what others commit, and we what we do.
        let others = inner.connection.query_row("PRAGMA data_version", [], |row| row.get(0));
        others
            .map_err(Fault::from)
            .and_then(unsigned)
            .map(|n| n + inner.commits)
            .map_err(|f| f.at(&self.path))
    }

    fn heartbeat(&self, id: &DeploymentId, runner: &str, until: Timestamp) -> Result<(), LogError> {
        self.write_with(|tx, _| heartbeat(tx, id, runner, until))
    }

    fn heartbeats(&self, ids: &[DeploymentId], runner: &str, until: Timestamp) -> Result<(), LogError> {
        self.write_with(|tx, _| ids.iter().try_for_each(|id| heartbeat(tx, id, runner, until)))
    }

    fn lengths(&self, cohort: &CohortId) -> Result<BTreeMap<DeploymentId, u64>, LogError> {
        self.read_with(|tx| log::lengths(tx, cohort))
    }

    fn runner(&self, id: &DeploymentId) -> Result<Option<(String, Timestamp)>, LogError> {
        self.read_with(|tx| {
            let serial = log::serial(tx, id)?;
            let row = tx
                .query_row("SELECT name, until FROM runner WHERE deployment = ?1", [serial], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            row.map(|(name, until)| Ok((name, Timestamp(unsigned(until)?)))).transpose()
        })
    }

    fn tell_trouble(&self, id: &DeploymentId, trouble: Option<&Trouble>) -> Result<(), LogError> {
        self.write_with(|tx, _| {
            let serial = log::serial(tx, id)?;
            match trouble {
                Some(trouble) => tx.execute(
                    "INSERT INTO trouble (deployment, body) VALUES (?1, ?2)
                     ON CONFLICT (deployment) DO UPDATE SET body = excluded.body",
                    params![serial, serde_json::to_string(trouble).expect("trouble is plain data")],
                )?,
                None => tx.execute("DELETE FROM trouble WHERE deployment = ?1", [serial])?,
            };
            Ok(())
        })
    }

    fn trouble(&self, id: &DeploymentId) -> Result<Option<Trouble>, LogError> {
        self.read_with(|tx| {
            let serial = log::serial(tx, id)?;
            let body: Option<String> = tx
                .query_row("SELECT body FROM trouble WHERE deployment = ?1", [serial], |row| row.get(0))
                .optional()?;
            // A hint that cannot be read is none.
            Ok(body.and_then(|body| serde_json::from_str(&body).ok()))
        })
    }
}

/// A number for a column; SQLite's go to 2^63.
fn signed(n: u64) -> Result<i64, Fault> {
    i64::try_from(n).map_err(|_| Fault::Sqlite(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX)))
}

/// A number from a column that holds none below zero.
fn unsigned(n: i64) -> Result<u64, Fault> {
    u64::try_from(n).map_err(|_| Fault::damaged(format!("{n} is below zero")))
}
