//! What was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::speed::{Mode, Path, Script};

/// One run of this program.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// On what it ran.
    pub setting: BTreeMap<String, String>,
    /// Every run of pgbench.
    pub speed: Vec<Run>,
    /// What writers saw.
    pub switches: Option<Switches>,
    /// What many clients cost.
    pub crowd: Option<Crowd>,
}

impl Report {
    /// Whether nobody saw an error and nothing was lost.
    pub fn kept(&self) -> bool {
        self.speed.iter().all(|run| run.failed == 0)
            && self.switches.as_ref().is_none_or(|s| s.errors + s.lost + s.unexpected == 0)
            && self.crowd.as_ref().is_none_or(|c| c.errors + c.lost == 0)
    }
}

/// One run of pgbench.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The way to the server.
    pub path: Path,
    /// What was asked.
    pub script: Script,
    /// By which protocol.
    pub mode: Mode,
    /// By how many clients at once.
    pub clients: usize,
    /// In which round.
    pub round: u32,
    /// Transactions a second.
    pub tps: f64,
    /// Of one transaction. Unit: milliseconds.
    pub avg_ms: f64,
    /// Half of the transactions took no longer. Unit: milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 took no longer. Unit: milliseconds.
    pub p95_ms: f64,
    /// 99 of 100 took no longer. Unit: milliseconds.
    pub p99_ms: f64,
    /// How many failed.
    pub failed: u64,
    /// What the proxy or the pooler computed for one transaction. Unit: microseconds; `None` without one.
    pub cpu_us: Option<f64>,
}

/// What writers saw while their partition moved there and back.
#[derive(Clone, Debug, Serialize)]
pub struct Switches {
    /// Writers on the partition that moved.
    pub writers: usize,
    /// Writers on another partition.
    pub others: usize,
    /// The longest that one write waited for its acknowledgement during each switch, of the writers on the partition.
    /// Unit: milliseconds.
    pub pauses_ms: Vec<f64>,
    /// The same of the other writers.
    pub others_ms: Vec<f64>,
    /// The same of the writers on the partition, between the switches.
    pub rests_ms: Vec<f64>,
    /// How long the command took. Unit: milliseconds.
    pub commands_ms: Vec<f64>,
    /// Errors that writers saw.
    pub errors: u64,
    /// The first of them.
    pub example: Option<String>,
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Of those, how many are not at the partition's home.
    pub lost: u64,
    /// Rows that nobody wrote, or not there.
    pub unexpected: u64,
}

/// What many clients cost.
#[derive(Clone, Debug, Serialize)]
pub struct Crowd {
    /// How many were logged in at once, those that work included.
    pub clients: usize,
    /// How many of them worked.
    pub active: usize,
    /// Whether they reached the server through PgBouncer.
    pub pooled: bool,
    /// How long it took until all were logged in. Unit: seconds.
    pub login_s: f64,
    /// The proxy's memory for each client. Unit: bytes.
    pub memory_bytes: Option<u64>,
    /// The same once those that wake up have asked something after the switch.
    pub memory_after_bytes: Option<u64>,
    /// The proxy's use of one processor while nobody asks anything. Unit: percent.
    pub idle_cpu_percent: Option<f64>,
    /// The longest that a write of the active waited for its acknowledgement, during each switch. Unit: milliseconds.
    pub pauses_ms: Vec<f64>,
    /// How many of the idle asked something in the end.
    pub woken: usize,
    /// How long it took until all these had an answer from the new home. Unit: seconds.
    pub follow_s: f64,
    /// Errors that clients saw.
    pub errors: u64,
    /// The first of them.
    pub example: Option<String>,
    /// Acknowledged writes that are not there.
    pub lost: u64,
}

/// The value below which `share` of the numbers are; `NaN` of none.
pub fn quantile(numbers: &[f64], share: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}
