//! The work logs of many members as their runners see them: what concerns all is asked and said once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use replat_engine::{Listed, LogError, Recorded, Trouble, WorkLog};
use replat_model::deploy::{Event, Timestamp};
use replat_model::ids::{CohortId, DeploymentId, PartitionId};
use replat_model::map::Map;
use replat_model::route::{Address, Routes, Traffic};
use replat_postgres::engine::now;

/// How often it is said that the runner is alive. Less often than a runner says so, who is alone.
const BEAT_EVERY: Duration = Duration::from_millis(900);

/// What all members have in common.
pub struct Together<'a> {
    store: &'a dyn WorkLog,
    cohort: CohortId,
    members: Vec<DeploymentId>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    version: Option<u64>,
    lengths: BTreeMap<DeploymentId, u64>,
    beaten: Option<Instant>,
    /// Another runner that is alive.
    rival: Option<(String, Timestamp)>,
}

impl<'a> Together<'a> {
    /// The logs of these members.
    pub fn new(store: &'a dyn WorkLog, cohort: CohortId, members: &[Listed]) -> Together<'a> {
        let members = members.iter().map(|member| member.id.clone()).collect();
        Together { store, cohort, members, state: Mutex::default() }
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> Result<T, LogError>) -> Result<T, LogError> {
        change(&mut self.state.lock().expect("no holder of the lock panics"))
    }

    /// Says that this runner is alive, for all members, unless another one says so of itself.
    fn beat(&self, runner: &str, until: Timestamp) -> Result<(), LogError> {
        self.with(|state| {
            if state.beaten.is_some_and(|at| at.elapsed() < BEAT_EVERY) {
                return Ok(());
            }
            state.beaten = Some(Instant::now());
            let other = match self.members.first() {
                Some(first) => self.store.runner(first)?,
                None => None,
            };
            state.rival = other.filter(|(name, alive)| name != runner && *alive > now());
            match state.rival {
                Some(_) => Ok(()),
                None => self.store.heartbeats(&self.members, runner, until),
            }
        })
    }

    /// How long the log of a member is, as a number that changes when something is new.
    fn length(&self, id: &DeploymentId) -> Result<u64, LogError> {
        self.with(|state| {
            let version = self.store.data_version()?;
            if state.version != Some(version) {
                state.lengths = self.store.lengths(&self.cohort)?;
                state.version = Some(version);
            }
            Ok(state.lengths.get(id).copied().unwrap_or_default())
        })
    }
}

/// The log of one member.
pub struct MemberLog<'a> {
    together: &'a Together<'a>,
    id: DeploymentId,
}

impl<'a> MemberLog<'a> {
    /// The log of `id`.
    pub fn new(together: &'a Together<'a>, id: DeploymentId) -> MemberLog<'a> {
        MemberLog { together, id }
    }
}

impl WorkLog for MemberLog<'_> {
    fn begin(&self, event: &Event, map: &Map, now: Timestamp) -> Result<Listed, LogError> {
        self.together.store.begin(event, map, now)
    }

    fn begin_all(&self, members: &[(Event, Map)], now: Timestamp) -> Result<Vec<Listed>, LogError> {
        self.together.store.begin_all(members, now)
    }

    fn read_from(&self, id: &DeploymentId, from: u64) -> Result<Vec<Recorded>, LogError> {
        self.together.store.read_from(id, from)
    }

    fn append(
        &self,
        id: &DeploymentId,
        expected: u64,
        event: &Event,
        now: Timestamp,
    ) -> Result<(), LogError> {
        self.together.store.append(id, expected, event, now)
    }

    fn list(&self) -> Result<Vec<Listed>, LogError> {
        self.together.store.list()
    }

    fn map(&self, context: &str) -> Result<Option<Map>, LogError> {
        self.together.store.map(context)
    }

    fn schema_version(&self, context: &str, partition: &PartitionId) -> Result<Option<String>, LogError> {
        self.together.store.schema_version(context, partition)
    }

    fn chart(&self, map: &Map) -> Result<Map, LogError> {
        self.together.store.chart(map)
    }

    fn routes(&self, context: &str) -> Result<Option<Routes>, LogError> {
        self.together.store.routes(context)
    }

    fn routes_at(&self, context: &str, version: u64) -> Result<Option<Routes>, LogError> {
        self.together.store.routes_at(context, version)
    }

    fn routes_after(&self, known: &Routes) -> Result<Routes, LogError> {
        self.together.store.routes_after(known)
    }

    fn traffic(&self, context: &str) -> Result<BTreeMap<PartitionId, Traffic>, LogError> {
        self.together.store.traffic(context)
    }

    fn tell(
        &self,
        context: &str,
        project: &str,
        addresses: &BTreeMap<String, Address>,
        traffic: &BTreeMap<PartitionId, Option<Traffic>>,
    ) -> Result<Routes, LogError> {
        self.together.store.tell(context, project, addresses, traffic)
    }

    /// Changes with this member's log only: what is written for one member wakes none of the others.
    fn data_version(&self) -> Result<u64, LogError> {
        self.together.length(&self.id)
    }

    fn heartbeat(&self, _: &DeploymentId, runner: &str, until: Timestamp) -> Result<(), LogError> {
        self.together.beat(runner, until)
    }

    fn lengths(&self, cohort: &CohortId) -> Result<BTreeMap<DeploymentId, u64>, LogError> {
        self.together.store.lengths(cohort)
    }

    fn runner(&self, _: &DeploymentId) -> Result<Option<(String, Timestamp)>, LogError> {
        self.together.with(|state| Ok(state.rival.clone()))
    }

    fn tell_trouble(&self, id: &DeploymentId, trouble: Option<&Trouble>) -> Result<(), LogError> {
        self.together.store.tell_trouble(id, trouble)
    }

    fn trouble(&self, id: &DeploymentId) -> Result<Option<Trouble>, LogError> {
        self.together.store.trouble(id)
    }
}
