//! What came of a run, for people, programs, records and metrics.

use std::collections::BTreeMap;

use replat_engine::lifecycle::{Outcome, RunRecord, Script};
use replat_model::lifecycle::census::Census;
use replat_model::lifecycle::facts::Micros;
use replat_model::lifecycle::health::{Finding, Severity, codes};
use replat_model::lifecycle::plan::{Kind, RotatePlan, Understood, Unit, Work};
use replat_model::lifecycle::runway::Runway;
use serde::{Deserialize, Serialize};

/// Why a run was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Reason {
    /// Somebody, or cron, called.
    #[default]
    Call,
    /// The daemon began, or had lost sight of the database for a while.
    Start,
    /// The daemon's own schedule.
    Schedule,
    /// Rows came faster than the forecast said.
    Velocity {
        /// The set, by its name.
        table: String,
    },
    /// A message asked for it.
    Message {
        /// Where it came from: a channel or a subject.
        from: String,
    },
}

/// How a run ended, as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It went through all that there was to do; single units may have failed.
    #[default]
    Through,
    /// Nothing has changed since a run that found nothing to do: it was not looked closer.
    Unchanged,
    /// The database is read-only: nothing can be done here.
    ReadOnly,
    /// Only shown: a dry run.
    Shown,
    /// Only looked: a check.
    Checked,
}

/// What became of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Done.
    Done,
    /// It did not reach its end; what it began was taken back.
    Failed,
    /// Not begun, since something stands back now: a breaker, a budget, a quota. A later run does it.
    Held,
    /// Not begun, since a check of its set forbids it, or another unit of its set failed.
    Refused,
    /// Only shown.
    Shown,
}

/// One unit, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// It.
    pub unit: Unit,
    /// What became of it.
    pub state: State,
    /// What came of acting; `None` if it was not begun, or broke off.
    pub outcome: Option<Outcome>,
    /// What stood in the way.
    pub why: Option<String>,
    /// The error code of what stood in the way.
    pub code: Option<String>,
    /// Whether the same may succeed later, with nothing changed.
    pub again: bool,
    /// When it ended, by the clock of this process; microseconds since 1970.
    pub at: Micros,
    /// How long it took.
    pub took_ms: u64,
    /// Its statements, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
}

impl Entry {
    /// How bad it is.
    pub fn worst(&self) -> Worst {
        match (self.state, self.again) {
            (State::Done | State::Shown, _) => Worst::Fine,
            (State::Held, _) => Worst::Throttled,
            (State::Failed, true) => Worst::Temporary,
            (State::Refused, _) if self.code.as_deref().is_some_and(is_difference) => Worst::Different,
            (State::Failed | State::Refused, _) => Worst::Precondition,
        }
    }
}

/// A pause that a breaker made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Why.
    pub reason: String,
    /// What would end it.
    pub closes_when: String,
    /// How long it was.
    pub for_ms: u64,
    /// Whether it ended before patience did.
    pub closed: bool,
}

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Its name.
    pub run: String,
    /// Why it was begun.
    pub reason: Reason,
    /// The database's name.
    pub database: String,
    /// The database's identity.
    pub identity: String,
    /// Its engine and version, for people.
    pub version: String,
    /// How it ended.
    pub ending: Ending,
    /// When it began, by the clock of this process; microseconds since 1970.
    pub began: Micros,
    /// How long it took.
    pub took_ms: u64,
    /// How many sets were looked at.
    pub sets: u64,
    /// How each was understood.
    pub understood: Vec<Understood>,
    /// What was to be done, and what became of it.
    pub entries: Vec<Entry>,
    /// What is wrong, or worth knowing, after the run.
    pub findings: Vec<Finding>,
    /// How long inserts are safe, by set, after the run; the shortest first.
    pub runways: Vec<Runway>,
    /// What each set has, after the run.
    pub census: BTreeMap<String, Census>,
    /// Pauses that breakers made.
    pub pauses: Vec<Pause>,
    /// Whether a look at everything found that nothing is left to do.
    pub converged: bool,
    /// The catalogue as the run left it.
    pub fingerprint: String,
}

/// The worst of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worst {
    /// All is well.
    Fine,
    /// There are warnings.
    Warned,
    /// A lock could not be had, or a connection was lost: the next run may succeed.
    Temporary,
    /// A breaker, a budget or a quota stands back.
    Throttled,
    /// Something is missing or wrong that a person must see to.
    Precondition,
    /// What was proved or checked did not hold.
    Different,
}

impl RunReport {
    /// How many partitions the done units of a kind concern.
    pub fn done(&self, kind: Kind) -> usize {
        let done = self.entries.iter().filter(|e| e.state == State::Done && e.unit.work.kind() == kind);
        done.map(|e| parts(&e.unit.work)).sum()
    }

    /// The units in a state.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.state == state)
    }

    /// How long all units together stood in queues, which the application may have felt. Unit: microseconds.
    pub fn stalled_us(&self) -> u64 {
        self.entries.iter().filter_map(|e| e.outcome.as_ref()).map(|o| o.stalled_us).sum()
    }

    /// The worst of it, which decides about the exit code.
    pub fn worst(&self) -> Worst {
        let entries = self.entries.iter().map(Entry::worst);
        let findings = self.findings.iter().map(|finding| match finding.severity {
            Severity::Note => Worst::Fine,
            Severity::Warning => Worst::Warned,
            Severity::Error if is_throttle(&finding.code) => Worst::Throttled,
            Severity::Error if is_difference(&finding.code) => Worst::Different,
            Severity::Error => Worst::Precondition,
        });
        entries.chain(findings).max().unwrap_or(Worst::Fine)
    }

    /// Whether nothing is left to do and nothing is to be said: then a run that finds the same may be short. A warning is
    /// told by every run.
    pub fn is_quiet(&self) -> bool {
        self.converged && self.worst() == Worst::Fine
    }

    /// The units that were to be done, and were not; the worst first.
    pub fn not_done(&self) -> Vec<&Entry> {
        let mut all: Vec<&Entry> = self.entries.iter().filter(|e| e.worst() > Worst::Fine).collect();
        all.sort_by_key(|e| std::cmp::Reverse(e.worst()));
        all
    }

    /// The record that the database keeps of it.
    pub fn record(&self, plan: &RotatePlan) -> RunRecord {
        let tried = |unit: &Unit| {
            self.entries
                .iter()
                .any(|e| e.unit.id == unit.id && matches!(e.state, State::Done | State::Failed))
        };
        let mut plan = plan.clone();
        plan.units.retain(tried);
        let outcomes =
            self.entries.iter().filter_map(|e| Some((e.unit.id.clone(), e.outcome.clone()?))).collect();
        let failed = self
            .in_state(State::Failed)
            .map(|e| (e.unit.id.clone(), e.why.clone().unwrap_or_default()))
            .collect();
        RunRecord {
            id: self.run.clone(),
            plan: Some(plan),
            outcomes,
            failed,
            converged: self.converged,
            ..RunRecord::default()
        }
    }
}

/// How many partitions work is about.
pub fn parts(work: &Work) -> usize {
    match work {
        Work::Create { parts, .. } | Work::Drain { parts, .. } => parts.len(),
        Work::Overflow { new, .. } => new.len(),
        Work::Recut { new, .. } => new.len(),
        Work::Convert { others, .. } => others.len() + 1,
        Work::Adopt { parts } => parts.len(),
        // What is given back is not counted among what was taken over.
        Work::Disown { .. } => 0,
        Work::Reap { tables, .. } => tables.len(),
        Work::Finalize { .. }
        | Work::Retire { .. }
        | Work::Archive { .. }
        | Work::Drop { .. }
        | Work::Unconvert { .. }
        | Work::Align { .. } => 1,
    }
}

/// What clears by itself: it is tried again later.
fn is_throttle(code: &str) -> bool {
    matches!(code, codes::QUOTA | codes::BREAKER | codes::STALL)
}

/// What was checked, and did not hold.
fn is_difference(code: &str) -> bool {
    matches!(code, codes::PRUNING | codes::NOT_AS_PLANNED)
}
