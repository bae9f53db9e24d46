//! What stands between a plan and the database: breakers, stall budgets, quotas, and vetoes.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use replat_engine::EngineError;
use replat_engine::lifecycle::{LifecycleEngine, Limits};
use replat_model::lifecycle::breaker::{self, BreakerState};
use replat_model::lifecycle::facts::{TableName, Vitals};
use replat_model::lifecycle::health::codes;
use replat_model::lifecycle::patience::{Left, Spent};
use replat_model::lifecycle::plan::{Kind, Unit};

use super::report::Pause;
use super::{News, Settings, Watch};

/// Vitals that are younger than this are not read again: units of small tables take less.
const VITALS_FOR: Duration = Duration::from_millis(100);

/// The longest pause between two looks at what an open breaker waits for.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Why a unit is not begun now.
pub struct Stand {
    /// The error code.
    pub code: &'static str,
    /// What stands back.
    pub why: String,
}

/// The gate that every unit of a run passes.
pub struct Gate<'a> {
    settings: &'a Settings,
    heard: &'a dyn Watch,
    began: Instant,
    // One at a time: while a breaker is open, those who wait need not all look.
    breaker: tokio::sync::Mutex<Breaker>,
    spent: Mutex<Spent>,
}

struct Breaker {
    state: BreakerState,
    vitals: Vitals,
    read: Instant,
    /// Written since the vitals were read, by estimate.
    wal: u64,
    pauses: Vec<Pause>,
}

/// Whether this kind of work writes so much that it waits for a database that is not well.
pub fn provisions(kind: Kind) -> bool {
    match kind {
        Kind::Create | Kind::Drain | Kind::Recut | Kind::Convert | Kind::Align => true,
        Kind::Repair | Kind::Retire | Kind::Drop | Kind::Adopt => false,
    }
}

impl<'a> Gate<'a> {
    /// The gate of a run that begins with these vitals, when `spent` was spent by runs before it.
    pub fn new(settings: &'a Settings, heard: &'a dyn Watch, vitals: Vitals, spent: Spent) -> Gate<'a> {
        let breaker =
            Breaker { state: BreakerState::Closed, vitals, read: Instant::now(), wal: 0, pauses: Vec::new() };
        Gate {
            settings,
            heard,
            began: Instant::now(),
            breaker: tokio::sync::Mutex::new(breaker),
            spent: Mutex::new(spent),
        }
    }

    /// The pauses that were made.
    pub async fn pauses(&self) -> Vec<Pause> {
        self.breaker.lock().await.pauses.clone()
    }

    /// Returns when no breaker is open, or with what stands back when patience ends before.
    ///
    /// # Errors
    ///
    /// If the vitals cannot be read.
    pub async fn breaker(
        &self,
        engine: &dyn LifecycleEngine,
        unit: &Unit,
    ) -> Result<Result<(), Stand>, EngineError> {
        if !provisions(unit.work.kind()) {
            return Ok(Ok(()));
        }
        let mut breaker = self.breaker.lock().await;
        let mut waiting: Option<(Instant, usize)> = None;
        loop {
            // A breaker that has half closed is judged by what the one unit did that it let through.
            let judged = matches!(breaker.state, BreakerState::HalfOpen { .. });
            if judged || breaker.read.elapsed() > VITALS_FOR {
                breaker.vitals = engine.vitals().await?;
                (breaker.read, breaker.wal) = (Instant::now(), 0);
            }
            let planned = breaker.wal.saturating_add(unit.wal_bytes);
            let now = breaker.vitals.now;
            breaker.state =
                breaker::step(&breaker.state, &breaker.vitals, planned, &self.settings.breaker, now);
            match breaker.state.clone() {
                BreakerState::Closed | BreakerState::HalfOpen { .. } => {
                    if let Some((since, at)) = waiting {
                        breaker.pauses[at].for_ms = millis(since.elapsed());
                        breaker.pauses[at].closed = true;
                        self.heard.told(&News::GoesOn);
                    }
                    breaker.wal = planned;
                    return Ok(Ok(()));
                }
                BreakerState::Open { reason, closes_when, probe_after, .. } => {
                    let (since, at) = *waiting.get_or_insert_with(|| {
                        self.heard.told(&News::Held { reason: &reason, closes_when: &closes_when });
                        let (reason, closes_when) = (reason.clone(), closes_when.clone());
                        breaker.pauses.push(Pause { reason, closes_when, for_ms: 0, closed: false });
                        (Instant::now(), breaker.pauses.len() - 1)
                    });
                    let left = self.settings.patience.saturating_sub(self.began.elapsed());
                    if left.is_zero() {
                        breaker.pauses[at].for_ms = millis(since.elapsed());
                        let why = format!("{reason}; goes on when {closes_when}");
                        return Ok(Err(Stand { code: codes::BREAKER, why }));
                    }
                    let probe = u64::try_from(probe_after.saturating_sub(now)).unwrap_or(0);
                    let probe = Duration::from_micros(probe).clamp(VITALS_FOR, PROBE_EVERY);
                    tokio::time::sleep(probe.min(left)).await;
                }
            }
        }
    }

    /// What the unit may cost, out of what is left of the budgets. Once they are spent it may still try without
    /// standing in any queue, which costs nobody anything.
    pub fn limits(&self, unit: &Unit, referenced: &[TableName], seed: u64) -> Limits {
        let spent = self.spent.lock().unwrap_or_else(|e| e.into_inner());
        let left = spent.limits_for(&self.settings.budgets, &unit.set, referenced);
        let left = left.unwrap_or(Left { each: Duration::ZERO, total: Duration::ZERO });
        let patience = self.settings.patience;
        Limits { wait_each: left.each, wait_total: left.total, patience, seed }
    }

    /// Why a unit with such limits did not get its locks, if it was for want of a budget.
    pub fn wanting(&self, unit: &Unit, limits: &Limits) -> Option<Stand> {
        if !limits.wait_total.is_zero() {
            return None;
        }
        let spent = self.spent.lock().unwrap_or_else(|e| e.into_inner());
        let (run, set) = (shown(spent.run()), shown(spent.of(&unit.set)));
        let why = format!("the stall budget is spent: {run} of this run, {set} of {}", unit.set);
        Some(Stand { code: codes::STALL, why })
    }

    /// What a unit has cost.
    pub fn spend(&self, unit: &Unit, referenced: &[TableName], stalled_us: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(|e| e.into_inner());
        spent.add(&unit.set, referenced, Duration::from_micros(stalled_us));
    }
}

fn shown(span: Duration) -> String {
    format!("{:.1} ms", span.as_secs_f64() * 1_000.0)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Why the creating units of single sets are not begun: a query would read too many partitions.
pub type Vetoes = BTreeMap<TableName, Stand>;
