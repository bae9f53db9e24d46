//! What was measured, and what it comes to.

use std::fmt::Write;

use serde::Serialize;

use crate::Failure;
use crate::watch::Watch;

/// One run of pgbench.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Who watched.
    pub way: Watch,
    /// In which round.
    pub round: u32,
    /// What the server computed. Unit: microseconds a transaction.
    pub cpu_us: f64,
    /// What the server logged. Unit: bytes a transaction.
    pub log_bytes: f64,
    /// What was captured. Unit: bytes a transaction.
    pub evidence_bytes: f64,
    /// Transactions a second.
    pub tps: f64,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The server's release.
    pub server: String,
    /// Transactions in each run.
    pub transactions: u32,
    /// What it comes to.
    #[serde(flatten)]
    pub summary: Summary,
    /// Every run.
    pub runs: Vec<Run>,
}

/// What a capture costs; of differences between runs of one round, the middle one.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// How much more the server computes while a capture samples, by what it computes while nobody watches.
    pub cpu_beyond_nothing: f64,
    /// The same, by what it computes while its changes are followed.
    pub cpu_beyond_cdc: f64,
    /// The same as the latter, of a capture that touches no setting.
    pub cpu_without_sample_beyond_cdc: f64,
    /// How much more the server logs while a capture samples. Unit: bytes a transaction.
    pub log_bytes_per_transaction: f64,
    /// How large the capture's file is. Unit: bytes a transaction.
    pub evidence_bytes_per_transaction: f64,
}

/// What the runs come to.
///
/// # Errors
///
/// If a round lacks one of them.
pub fn summary(runs: &[Run]) -> Result<Summary, Failure> {
    let pairs = |one: Watch, other: Watch, of: fn(&Run, &Run) -> f64| {
        let of_one = runs.iter().filter(|run| run.way == one);
        let pairs = of_one.filter_map(|run| {
            let beside = runs.iter().find(|beside| beside.way == other && beside.round == run.round)?;
            Some(of(run, beside))
        });
        middle(pairs).ok_or("no round is whole")
    };
    let dearer = |run: &Run, beside: &Run| run.cpu_us / beside.cpu_us - 1.0;
    Ok(Summary {
        cpu_beyond_nothing: pairs(Watch::Sample, Watch::Nobody, dearer)?,
        cpu_beyond_cdc: pairs(Watch::Sample, Watch::Cdc, dearer)?,
        cpu_without_sample_beyond_cdc: pairs(Watch::Capture, Watch::Cdc, dearer)?,
        log_bytes_per_transaction: pairs(Watch::Sample, Watch::Cdc, |a, b| a.log_bytes - b.log_bytes)?,
        evidence_bytes_per_transaction: pairs(Watch::Sample, Watch::Cdc, |a, _| a.evidence_bytes)?,
    })
}

/// The middle one; of an even number, the mean of the middle two.
fn middle(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.len() % 2 {
        _ if numbers.is_empty() => None,
        0 => Some((numbers[half - 1] + numbers[half]) / 2.0),
        _ => Some(numbers[half]),
    }
}

/// The figures as a table.
pub fn table(report: &Report) -> String {
    let mut out = format!("PostgreSQL {}, {} transactions a run\n\n", report.server, report.transactions);
    let line = |out: &mut String, cells: [String; 5]| {
        let [way, rest @ ..] = cells;
        writeln!(out, "{way:24}{:>12}{:>12}{:>14}{:>10}", rest[0], rest[1], rest[2], rest[3])
            .expect("text takes text");
    };
    line(&mut out, ["watched by", "CPU us/txn", "log B/txn", "evidence B/txn", "txn/s"].map(str::to_owned));
    for way in Watch::ALL {
        let of = |field: fn(&Run) -> f64| {
            let numbers = report.runs.iter().filter(|run| run.way == way).map(field);
            middle(numbers).map_or_else(String::new, |number| format!("{number:.0}"))
        };
        let cells =
            [of(|run| run.cpu_us), of(|run| run.log_bytes), of(|run| run.evidence_bytes), of(|r| r.tps)];
        let [cpu, log, evidence, tps] = cells;
        line(&mut out, [way.to_string(), cpu, log, evidence, tps]);
    }
    let Summary { cpu_beyond_nothing, cpu_beyond_cdc, cpu_without_sample_beyond_cdc, .. } = report.summary;
    writeln!(
        out,
        "\nA capture with a sample: {:+.1} % CPU beyond nobody, {:+.1} % beyond pg_recvlogical; without: {:+.1} %.",
        100.0 * cpu_beyond_nothing,
        100.0 * cpu_beyond_cdc,
        100.0 * cpu_without_sample_beyond_cdc
    )
    .expect("text takes text");
    out
}
