//! Running all members of a cohort in one process, until those that are watched are where they are wanted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use replat_control::{Pulse, Runner};
use replat_engine::gate::{Gate, Hold, Soon};
use replat_engine::{Listed, Verdict, WorkLog};
use replat_model::deploy::{Deployment, Timestamp};
use replat_model::ids::{CohortId, DeploymentId, PartitionId};
use replat_model::next::Held;
use replat_postgres::cohort::{CONNECTIONS_MIN, Cohort, NewMember};
use replat_postgres::engine::{PostgresEngine, now};
use serde_json::json;

use super::board;
use super::log::{MemberLog, Together};
use super::{label, members};
use crate::cli::Progress;
use crate::failure::{Exit, Failure};
use crate::render;
use crate::watch::{Watch, at_rest, interrupted, me, stands_still, troubled};

/// How often it is looked at how far they are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often progress is told at most.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// How long all runners have to say goodbye to those who route.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Where all those are who were watched, and why some of them are not where they are wanted.
pub struct Outcome {
    /// Those that need a person first, with why.
    pub failed: Vec<(Listed, String)>,
    /// The failure of each of them by itself.
    pub failures: BTreeMap<DeploymentId, Failure>,
}

/// Who is watched, and what for.
pub struct Goal<'g> {
    /// Those who are watched; the others are run beside them.
    pub watched: BTreeSet<DeploymentId>,
    /// Where they are wanted.
    pub reached: &'g (dyn Fn(&Deployment) -> bool + Send + Sync),
}

/// What is known of a member while it runs.
struct Seen {
    d: Deployment,
    /// Why only a person can help, if so.
    stuck: Option<Failure>,
}

/// The gate that many runners share: it is tended once.
struct OfAll<'a>(&'a dyn Gate);

impl Gate for OfAll<'_> {
    fn hold<'a>(&'a self, hold: &'a Hold) -> Soon<'a, Held> {
        self.0.hold(hold)
    }

    fn release(&self, partition: &PartitionId, attempt: u32) {
        self.0.release(partition, attempt);
    }

    fn publish(&self) {
        self.0.publish();
    }

    fn tend(&self) -> Soon<'_, Infallible> {
        Box::pin(std::future::pending())
    }

    fn flushed(&self) -> Soon<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl Watch<'_> {
    /// Until all who are watched are where they are wanted, or need a person: runs the cohort here unless somebody else
    /// does, and takes over when they are gone.
    pub async fn until_all(&self, cohort: &CohortId, goal: &Goal<'_>) -> Result<Outcome, Failure> {
        let all = members(self.store, cohort)?;
        let begun = now();
        loop {
            let states = all.iter().map(|l| self.state(l)).collect::<Result<Vec<_>, _>>()?;
            let watched = || all.iter().zip(&states).filter(|(l, _)| goal.watched.contains(&l.id));
            if watched().all(|(_, d)| (goal.reached)(d) || d.ended()) {
                return Ok(Outcome { failed: Vec::new(), failures: BTreeMap::new() });
            }
            let first = all.first().expect("a cohort has members");
            if self.other_runner(first)?.is_some() {
                let mut failures = BTreeMap::new();
                let mut waits = false;
                for (listed, d) in watched().filter(|(_, d)| !(goal.reached)(d) && !d.ended()) {
                    let trouble = self.store.trouble(&listed.id)?;
                    let trouble = trouble.filter(|t| t.needs_a_person && t.last >= begun);
                    match trouble.map(|t| troubled(&t, d)).or_else(|| stands_still(d, listed)) {
                        Some(failure) => drop(failures.insert(listed.id.clone(), failure)),
                        None => waits = true,
                    }
                }
                if !waits {
                    return Ok(outcome(&all, failures));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            } else if let Some(outcome) = self.run_all(cohort, &all, states, goal).await? {
                return Ok(outcome);
            }
        }
    }

    /// What the members share, for those that have not ended.
    pub fn shared(
        &self,
        cohort: &CohortId,
        all: &[(Listed, Deployment)],
        read_only: bool,
    ) -> Result<Arc<Cohort>, Failure> {
        let (oldest, first) = all.first().expect("a cohort has members");
        let history = self.store.read(&oldest.id)?;
        let plan = match history.first().map(|entry| &entry.event) {
            Some(replat_model::deploy::Event::Asked { plan }) => plan,
            _ => &Box::new(first.plan.clone()),
        };
        let ends = [&first.plan.blue.home, &first.plan.green.home];
        let [blue, green] = ends.map(|home| self.project.connection(home, read_only));
        let allowed = |database: &str| {
            self.project.spec.databases.get(database).map_or(CONNECTIONS_MIN, |d| d.max_connections)
        };
        let new = all.iter().filter(|(_, d)| !d.ended()).map(|(listed, d)| NewMember {
            deployment: listed.id.clone(),
            serial: listed.serial,
            plan: Arc::new(d.plan.clone()),
            is_fresh: !d.prepared && d.abort_asked.is_none(),
        });
        let connections = ends.map(|home| allowed(&home.database));
        Cohort::new(&label(cohort, plan), new.collect(), &blue?, &green?, connections).ok_or_else(|| {
            Failure::new("RP5002", Exit::Invalid, format!("all members of {cohort} have ended"))
                .remedy(format!("See what they were: replat deploy get {cohort}"))
        })
    }

    /// Runs all members here; `None` if somebody else turned out to run them.
    async fn run_all(
        &self,
        cohort: &CohortId,
        all: &[Listed],
        states: Vec<Deployment>,
        goal: &Goal<'_>,
    ) -> Result<Option<Outcome>, Failure> {
        let both: Vec<(Listed, Deployment)> = all.iter().cloned().zip(states).collect();
        let shared = self.shared(cohort, &both, false)?;
        let running: Vec<(Listed, Deployment)> = both.into_iter().filter(|(_, d)| !d.ended()).collect();
        let ids: Vec<Listed> = running.iter().map(|(listed, _)| listed.clone()).collect();
        let together = Together::new(self.store, cohort.clone(), &ids);
        let gate = self.project.gate(&ids.first().expect("one is running").context)?;
        let of_all = OfAll(&*gate);
        let engines: Vec<PostgresEngine> =
            ids.iter().filter_map(|listed| PostgresEngine::of_member(&shared, &listed.id)).collect();
        let logs: Vec<MemberLog<'_>> =
            ids.iter().map(|listed| MemberLog::new(&together, listed.id.clone())).collect();
        let seen: RefCell<BTreeMap<DeploymentId, Seen>> = RefCell::new(
            running.into_iter().map(|(listed, d)| (listed.id, Seen { d, stuck: None })).collect(),
        );
        let gave_way = Cell::new(false);
        let runners: Vec<Runner<'_>> = ids
            .iter()
            .zip(engines.iter().zip(&logs))
            .map(|(listed, (engine, log))| Runner {
                listed: listed.clone(),
                log,
                engine,
                gate: &of_all,
                clock: now,
                name: me(),
                turns: Some(shared.turns()),
            })
            .collect();
        let mut work: FuturesUnordered<_> = runners
            .iter()
            .map(|runner| {
                let (seen, gave_way) = (&seen, &gave_way);
                runner.run(move |d, pulse| {
                    if matches!(pulse, Pulse::GaveWay) {
                        gave_way.set(true);
                    }
                    self.heard(&runner.listed, d, pulse, &mut seen.borrow_mut());
                    false
                })
            })
            .collect();
        let mut tending = gate.tend();
        let mut told = Told::default();
        let mut stopping = false;
        let mut stop = pin!(interrupted());
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                ended = work.next(), if !work.is_empty() => if let Some(ended) = ended { ended? },
                _ = looks.tick() => {}
                () = &mut stop, if !stopping => {
                    stopping = true;
                    if !seen.borrow().values().all(|one| at_rest(&one.d)) {
                        self.style.remark(
                            "Switches are under way; they are brought to their end first. Ctrl-C again stops at once.",
                        );
                        stop.set(interrupted());
                    }
                }
                never = &mut tending => match never {},
            }
            if gave_way.get() {
                return Ok(None);
            }
            told.progress(self, cohort, &seen.borrow());
            let seen = seen.borrow();
            let rests = seen.values().all(|one| at_rest(&one.d));
            let is_done = |id: &DeploymentId| {
                seen.get(id).is_none_or(|one| (goal.reached)(&one.d) || one.d.ended() || one.stuck.is_some())
            };
            let reached = goal.watched.iter().all(is_done);
            if (stopping || reached) && rests {
                break;
            }
        }
        drop(work);
        told.at = None;
        told.progress(self, cohort, &seen.borrow());
        tokio::select! {
            () = gate.flushed() => {}
            () = tokio::time::sleep(FLUSH_MAX) => {}
            never = &mut tending => match never {},
        }
        let left: Vec<DeploymentId> = ids.iter().map(|listed| listed.id.clone()).collect();
        if let Err(error) = self.store.heartbeats(&left, &me(), Timestamp::default()) {
            // Others find out by themselves, some seconds later.
            tracing::debug!(%error, "could not say that this runner is gone");
        }
        let seen = seen.into_inner();
        let is_open = |one: &Seen| !(goal.reached)(&one.d) && !one.d.ended();
        if stopping && goal.watched.iter().any(|id| seen.get(id).is_some_and(is_open)) {
            return Err(Failure::new("RP9002", Exit::Interrupted, "stopped from the keyboard")
                .state("SAFE: each partition is owned by one side. Nothing is lost: the logs know how far they are.")
                .remedy(format!("Go on: replat deploy watch {cohort}")));
        }
        let failures = seen
            .into_iter()
            .filter(|(id, one)| goal.watched.contains(id) && is_open(one))
            .filter_map(|(id, one)| Some((id, one.stuck?)))
            .collect();
        Ok(Some(outcome(&ids, failures)))
    }

    fn heard(&self, listed: &Listed, d: &Deployment, pulse: &Pulse, seen: &mut BTreeMap<DeploymentId, Seen>) {
        let Some(one) = seen.get_mut(&listed.id) else { return };
        if one.d != *d {
            one.d = d.clone();
        }
        match pulse {
            Pulse::Moved(_) => one.stuck = None,
            Pulse::Waiting(reason) if reason.needs_a_person() => {
                one.stuck.get_or_insert_with(|| crate::watch::waits(d, reason, listed));
            }
            Pulse::Waiting(_) => one.stuck = None,
            Pulse::Failed(error) if error.verdict() == Verdict::AskAPerson => {
                let failure = Failure::from(error).state(crate::watch::safe(d));
                if one.stuck.as_ref().is_none_or(|stuck| stuck.what != failure.what) {
                    self.tell_of(listed, &format!("{} {}", failure.code, failure.what));
                }
                one.stuck = Some(failure);
            }
            _ => {}
        }
    }

    fn tell_of(&self, listed: &Listed, text: &str) {
        match self.progress {
            Progress::None => {}
            Progress::Json => self
                .style
                .progress(&json!({ "deployment": listed.id, "partition": listed.partition, "says": text })),
            _ => self.style.remark(&format!(
                "{} {} {} {text}",
                render::moment(now()),
                listed.id,
                listed.partition
            )),
        }
    }
}

fn outcome(all: &[Listed], failures: BTreeMap<DeploymentId, Failure>) -> Outcome {
    let failed = all
        .iter()
        .filter_map(|listed| {
            let failure = failures.get(&listed.id)?;
            let mut why = format!("{} {}", failure.code, failure.what);
            if let Some(because) = failure.because.first() {
                why += &format!(": {because}");
            }
            Some((listed.clone(), why))
        })
        .collect();
    Outcome { failed, failures }
}

/// What was told last.
#[derive(Default)]
struct Told {
    line: String,
    at: Option<tokio::time::Instant>,
}

impl Told {
    fn progress(&mut self, watch: &Watch<'_>, cohort: &CohortId, seen: &BTreeMap<DeploymentId, Seen>) {
        if watch.progress == Progress::None || self.at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return;
        }
        self.at = Some(tokio::time::Instant::now());
        let phases = board::phases(seen.values().map(|one| &one.d));
        let stuck = seen.values().filter(|one| one.stuck.is_some()).count();
        let line = board::line(&phases, stuck);
        if self.line == line {
            return;
        }
        match watch.progress {
            Progress::Json => {
                let phases: BTreeMap<&str, usize> = phases.iter().map(|(p, n)| (p.as_str(), *n)).collect();
                watch.style.progress(&json!({ "cohort": cohort, "phases": phases, "needs_a_person": stuck }));
            }
            _ => watch.style.remark(&format!("{} {cohort} {line}", render::moment(now()))),
        }
        self.line = line;
    }
}
