//! The boundary between deciding and doing.
//!
//! An [`Engine`] has two verbs. It *looks*, which changes nothing, and it *acts*, which brings about one
//! [`Action`]. It never decides: what to do next is `replat_model::next::next`, and when to do it is the
//! runner's. A [`WorkLog`] keeps what happened. Absent on purpose: loops, retries and clocks.

pub mod failpoint;
pub mod gate;
pub mod lifecycle;
pub mod registry;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use replat_model::deploy::{Deployment, Event, Timestamp, Token};
use replat_model::ids::{CohortId, DeploymentId, PartitionId};
use replat_model::map::Map;
use replat_model::next::{Action, Evidence, Observation};
use replat_model::route::{Address, BadRoutes, Routes, Traffic};
use serde::{Deserialize, Serialize};

/// A boxed cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a look or an act will come to. Boxed, so that the runner need not know the engine's type.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// Both ends of one deployment.
pub trait Engine: Send + Sync {
    /// What is true of both ends right now. Reads only; safe at any time, from any number of runners.
    ///
    /// Only what `d` makes worth knowing is read: during a switch that is very little.
    fn look<'a>(&'a self, d: &'a Deployment) -> Soon<'a, Observation>;

    /// Brings about `action`, or reports why it did not.
    ///
    /// Idempotent: a second call leaves the world as one call leaves it. Guarded: refused with
    /// [`EngineError::Superseded`] once the end it concerns has obeyed a higher token for the same partition.
    fn act<'a>(&'a self, d: &'a Deployment, action: &'a Action, token: Token) -> Soon<'a, Evidence>;

    /// Returns when something that [`Engine::look`] would report may have changed. Cancellation safe.
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What the runner should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Look and try again after a moment.
    TryAgain,
    /// Another runner has gone further; fold the log again.
    StandDown,
    /// Stop and tell a person.
    AskAPerson,
}

/// Why an engine could not look or act. One variant for each decision or remedy.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A database did not answer, or broke off. What was asked may or may not have happened; actions are
    /// idempotent, so doubt is settled by looking.
    #[error("{database} did not answer during {during}")]
    Unreachable {
        /// The database's name.
        database: String,
        /// What was being done.
        during: String,
        /// The driver's error.
        source: BoxError,
    },
    /// A higher token was obeyed, or a position is not the one expected: another runner is at work.
    #[error("{what} was taken over by another runner")]
    Superseded {
        /// What.
        what: String,
    },
    /// A lock could not be had in time; nothing was changed.
    #[error("{what} is locked on {database}")]
    Locked {
        /// The database's name.
        database: String,
        /// What was wanted.
        what: String,
        /// The driver's error.
        source: BoxError,
    },
    /// A slot is gone or no longer has the log it needs.
    #[error("slot {slot} on {database} no longer has the log it needs")]
    SlotLost {
        /// The database's name.
        database: String,
        /// The slot's name.
        slot: String,
    },
    /// A row cannot be had in its new shape, or cannot be stored.
    #[error("a row of {table}{} cannot be carried over: {database} says: {why}", in_parentheses(.key))]
    Row {
        /// The database's name.
        database: String,
        /// The table.
        table: String,
        /// The row's key, if it is known.
        key: Option<String>,
        /// The server's words.
        why: String,
    },
    /// Rows cannot be stored on the receiving side, since other rows there have their keys or unique values. Neither was
    /// changed; they are tried again.
    #[error("{what}")]
    KeptBack {
        /// How many rows, of which table, and what is in the way of some of them.
        what: String,
        /// What a person can do, as one imperative sentence.
        remedy: String,
        /// Whether that is so for good; otherwise the stream may yet bring what makes room.
        lasting: bool,
    },
    /// Something that must be so for the deployment to go on is not so.
    #[error("{what}")]
    Precondition {
        /// What is not so.
        what: String,
        /// What a person can do, as one imperative sentence.
        remedy: String,
    },
    /// The server refused a statement for a reason that has no variant of its own.
    #[error("{database} refused {during}: {why}")]
    Refused {
        /// The database's name.
        database: String,
        /// What was being done.
        during: String,
        /// The server's words.
        why: String,
    },
}

fn in_parentheses(key: &Option<String>) -> String {
    key.as_ref().map(|key| format!(" ({key})")).unwrap_or_default()
}

impl EngineError {
    /// What the runner should do.
    pub fn verdict(&self) -> Verdict {
        match self {
            EngineError::Unreachable { .. } | EngineError::Locked { .. } => Verdict::TryAgain,
            EngineError::KeptBack { lasting: false, .. } => Verdict::TryAgain,
            EngineError::Superseded { .. } => Verdict::StandDown,
            EngineError::SlotLost { .. }
            | EngineError::Row { .. }
            | EngineError::KeptBack { .. }
            | EngineError::Precondition { .. }
            | EngineError::Refused { .. } => Verdict::AskAPerson,
        }
    }

    /// The stable code that `replat explain` takes.
    pub fn code(&self) -> &'static str {
        match self {
            EngineError::Unreachable { .. } => "RP1001",
            EngineError::Locked { .. } => "RP1002",
            EngineError::Precondition { .. } => "RP1003",
            EngineError::Refused { .. } => "RP1004",
            EngineError::SlotLost { .. } => "RP4001",
            EngineError::Row { .. } | EngineError::KeptBack { .. } => "RP4002",
            EngineError::Superseded { .. } => "RP6001",
        }
    }

    /// What the operator can do, as one imperative sentence.
    pub fn remedy(&self) -> String {
        match self {
            EngineError::Unreachable { database, .. } => {
                format!("Check that {database} is up and reachable from here; replat goes on by itself.")
            }
            EngineError::Superseded { .. } => "Nothing: another runner has gone further.".into(),
            EngineError::Locked { database, .. } => {
                format!("Nothing, or end the transaction on {database} that holds the lock.")
            }
            EngineError::SlotLost { database, .. } => format!(
                "Raise max_slot_wal_keep_size on {database}, then abort the deployment and start it again."
            ),
            EngineError::Row { .. } => {
                "Mend the row on the side that owns it, or abort and correct the expression; then resume."
                    .into()
            }
            EngineError::Precondition { remedy, .. } | EngineError::KeptBack { remedy, .. } => remedy.clone(),
            EngineError::Refused { database, .. } => {
                format!("Grant what is missing on {database}, or mend what it names; then resume.")
            }
        }
    }
}

/// What a runner failed at last, for those who do not see its output. A hint, never used for safety.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// See [`EngineError::code`].
    pub code: String,
    /// What could not be done, and why.
    pub what: String,
    /// See [`EngineError::remedy`].
    pub remedy: String,
    /// Whether trying again will not help before somebody does something.
    pub needs_a_person: bool,
    /// When it failed so first, without having gone on since.
    pub since: Timestamp,
    /// When it failed so last.
    pub last: Timestamp,
}

impl Trouble {
    /// What became of a runner that failed with `error` at `now`; `before` is its trouble until then.
    pub fn of(error: &EngineError, before: Option<&Trouble>, now: Timestamp) -> Trouble {
        let mut what = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(deeper) = cause {
            what += &format!(": {deeper}");
            cause = deeper.source();
        }
        let code = error.code().to_owned();
        let since = before.filter(|before| before.code == code).map_or(now, |before| before.since);
        let needs_a_person = error.verdict() == Verdict::AskAPerson;
        Trouble { code, what, remedy: error.remedy(), needs_a_person, since, last: now }
    }
}

/// An event with its place in the log and the time it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its place, from 0.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// A deployment as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub id: DeploymentId,
    /// Its serial number: the `term` of its tokens.
    pub serial: u64,
    /// Its context.
    pub context: String,
    /// Its partition.
    pub partition: PartitionId,
    /// When it was asked for.
    pub created: Timestamp,
    /// The cohort that it is a member of, if it was begun with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cohort: Option<CohortId>,
}

/// Why the work log could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another runner appended first. Fold again.
    #[error("the work log of {deployment} has grown to {length} entries; this runner knew {expected}")]
    Conflict {
        /// Which log.
        deployment: DeploymentId,
        /// Its length now.
        length: u64,
        /// The length that was expected.
        expected: u64,
    },
    /// The event cannot stand there.
    #[error("the event cannot follow what is in the log: {why}")]
    OutOfPlace {
        /// Why.
        why: &'static str,
    },
    /// Another deployment holds the partition.
    #[error("partition {partition} is being deployed by {by}")]
    Busy {
        /// Which partition.
        partition: PartitionId,
        /// The deployment that has it.
        by: DeploymentId,
    },
    /// There is no such deployment.
    #[error("there is no deployment {0}")]
    NoSuch(String),
    /// The plan speaks of another epoch or home than the map.
    #[error("the plan is stale: {why}")]
    Stale {
        /// What changed.
        why: String,
    },
    /// The context has no map yet.
    #[error("context {0} has no map yet: nothing of it was deployed or published")]
    NoMap(String),
    /// Routers would be led nowhere.
    #[error("the routes of context {context} lead nowhere")]
    Routes {
        /// Which context.
        context: String,
        /// Why.
        source: BadRoutes,
    },
    /// The store itself failed.
    #[error("the control store {path} failed")]
    Store {
        /// Its file.
        path: String,
        /// Why.
        source: BoxError,
    },
}

/// replat's own durable memory of deployments. Every change is one transaction.
///
/// Appending [`Event::Switched`] changes the partition's home and epoch in the map, and the map's version, in the
/// same transaction. What else routers are told of a context, addresses and traffic, is kept here as well, and all of it
/// is counted by one version: each switch, each carved partition and each change of the rest raises it by one.
pub trait WorkLog: Send + Sync {
    /// Begins a deployment: creates its log with [`Event::Asked`]; carves the partition out of the context's map
    /// if it is not a leaf of its own yet (`map`: the map to publish, already carved, whose version is at most
    /// one above the stored one). Refused if the partition has a deployment that has not ended or finished.
    fn begin(&self, event: &Event, map: &Map, now: Timestamp) -> Result<Listed, LogError>;

    /// Begins several deployments as one cohort, all of them or none. Each comes with the map that carves its partition
    /// out of the map of the one before it.
    ///
    /// Refused as [`WorkLog::begin`] would refuse any of them.
    fn begin_all(&self, members: &[(Event, Map)], now: Timestamp) -> Result<Vec<Listed>, LogError>;

    /// The events of a deployment from entry `from` on, in order.
    fn read_from(&self, id: &DeploymentId, from: u64) -> Result<Vec<Recorded>, LogError>;

    /// All events of a deployment, in order.
    fn read(&self, id: &DeploymentId) -> Result<Vec<Recorded>, LogError> {
        self.read_from(id, 0)
    }

    /// Appends `event` if the log still has `expected` entries and the event can stand there.
    fn append(&self, id: &DeploymentId, expected: u64, event: &Event, now: Timestamp)
    -> Result<(), LogError>;

    /// All deployments, oldest first.
    fn list(&self) -> Result<Vec<Listed>, LogError>;

    /// The newest map of a context; `None` if it has none yet.
    fn map(&self, context: &str) -> Result<Option<Map>, LogError>;

    /// Keeps the first map of a context that has none, and returns the one that is kept.
    fn chart(&self, map: &Map) -> Result<Map, LogError>;

    /// Everything that routers are told of a context, at its newest version; `None` until the first
    /// [`WorkLog::tell`].
    ///
    /// Takes as long as the map is large. Fails with [`LogError::Routes`] if a partition lives on a database of which
    /// no address was told.
    fn routes(&self, context: &str) -> Result<Option<Routes>, LogError>;

    /// The same as of an earlier version; `None` if that is too old to be remembered, or never was.
    fn routes_at(&self, context: &str, version: u64) -> Result<Option<Routes>, LogError>;

    /// `known`, brought to the newest version. What is read grows with what has changed since, not with the map.
    fn routes_after(&self, known: &Routes) -> Result<Routes, LogError>;

    /// Says where a context's databases can be reached, and changes how requests for some partitions are shared out:
    /// those that `traffic` does not name stay as they are, and `None` ends what was special.
    ///
    /// The next version, or the same one if nothing is new. Refused with [`LogError::Routes`] if that would lead
    /// routers nowhere, and with [`LogError::NoMap`] where there is nothing to lead them to.
    fn tell(
        &self,
        context: &str,
        project: &str,
        addresses: &BTreeMap<String, Address>,
        traffic: &BTreeMap<PartitionId, Option<Traffic>>,
    ) -> Result<Routes, LogError>;

    /// What is special about the traffic of partitions, at the newest version; also where nobody said yet where the
    /// databases are.
    fn traffic(&self, context: &str) -> Result<BTreeMap<PartitionId, Traffic>, LogError>;

    /// The version of the schema that a partition's home has, as it was said last: by its switches, which change both in
    /// one transaction, or by a person. `None` if nobody ever said.
    fn schema_version(&self, context: &str, partition: &PartitionId) -> Result<Option<String>, LogError>;

    /// A number that changes whenever anything in the store has changed, by whatever process. Cheap.
    fn data_version(&self) -> Result<u64, LogError>;

    /// Tells others that a runner of this deployment is alive until `until`. A hint for people and commands,
    /// never used for safety.
    fn heartbeat(&self, id: &DeploymentId, runner: &str, until: Timestamp) -> Result<(), LogError>;

    /// The same for several deployments at once.
    fn heartbeats(&self, ids: &[DeploymentId], runner: &str, until: Timestamp) -> Result<(), LogError> {
        ids.iter().try_for_each(|id| self.heartbeat(id, runner, until))
    }

    /// How many entries the log of each member of a cohort has.
    fn lengths(&self, cohort: &CohortId) -> Result<BTreeMap<DeploymentId, u64>, LogError>;

    /// Who said last to be running this deployment, and until when.
    fn runner(&self, id: &DeploymentId) -> Result<Option<(String, Timestamp)>, LogError>;

    /// Tells others what the runner of this deployment fails at, or that it does not fail any more. A hint like the
    /// heartbeat.
    fn tell_trouble(&self, id: &DeploymentId, trouble: Option<&Trouble>) -> Result<(), LogError>;

    /// What the last runner of this deployment failed at, if it has not gone on since.
    fn trouble(&self, id: &DeploymentId) -> Result<Option<Trouble>, LogError>;
}
