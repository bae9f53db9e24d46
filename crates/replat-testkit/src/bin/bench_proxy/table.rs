//! The figures as tables that people like to read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use clap::ValueEnum;

use crate::figures::{Crowd, Run, Switches, quantile};
use crate::speed::Path;

/// The width of the column of paths.
const NAME: usize = 26;

/// On what it ran.
pub fn setting(setting: &BTreeMap<String, String>) -> String {
    setting.iter().fold(String::new(), |out, (key, value)| out + &format!("{key:NAME$}{value}\n"))
}

/// Every script and mode, with a block for each number of clients. The middle round counts, and ratios are of runs of
/// the same round.
pub fn speed(runs: &[Run]) -> String {
    let mut out = String::new();
    let cases: BTreeSet<_> = runs.iter().map(|run| (run.script, run.mode)).collect();
    for (script, mode) in cases {
        let of: Vec<&Run> = runs.iter().filter(|run| (run.script, run.mode) == (script, mode)).collect();
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map_or(String::new(), |value| value.get_name().to_owned())
        };
        let title = format!("{}, {}", name(script.to_possible_value()), name(mode.to_possible_value()));
        let columns = ["clients", "tps", "of direct", "of PgB.", "avg ms", "p95 ms", "p99 ms", "CPU us"];
        put(&mut out, &title, &columns.map(str::to_owned));
        let numbers: BTreeSet<usize> = of.iter().map(|run| run.clients).collect();
        for clients in numbers {
            for path in Path::ALL {
                let mine: Vec<&Run> =
                    of.iter().copied().filter(|run| run.clients == clients && run.path == path).collect();
                if mine.is_empty() {
                    continue;
                }
                let beside = |other: Path| {
                    let pairs = mine.iter().filter_map(|run| {
                        let same = |one: &&&Run| {
                            one.path == other && one.clients == clients && one.round == run.round
                        };
                        of.iter().find(same).map(|one| run.tps / one.tps)
                    });
                    number(middle(pairs))
                };
                let of = |field: fn(&Run) -> f64| number(middle(mine.iter().map(|run| field(run))));
                let cpu = middle(mine.iter().filter_map(|run| run.cpu_us));
                let cells = [
                    clients.to_string(),
                    of(|run| run.tps),
                    beside(Path::Direct),
                    beside(Path::PgbouncerSession),
                    of(|run| run.avg_ms),
                    of(|run| run.p95_ms),
                    of(|run| run.p99_ms),
                    number(cpu),
                ];
                put(&mut out, &format!("  {path}"), &cells);
            }
        }
        out.push('\n');
    }
    out += "\"of PgB.\": beside PgBouncer in session mode. \"CPU us\": what the proxy or the pooler computes for one \
            transaction.\n";
    out
}

/// What writers saw.
pub fn switches(seen: &Switches) -> String {
    let mut out = String::new();
    let title = format!("{} switches under load", seen.pauses_ms.len());
    put(&mut out, &title, &["median ms", "p95 ms", "worst ms"].map(str::to_owned));
    let rows: [(&str, &[f64]); 4] = [
        ("  longest wait of a write", &seen.pauses_ms),
        ("  of the others", &seen.others_ms),
        ("  between switches", &seen.rests_ms),
        ("  the command", &seen.commands_ms),
    ];
    for (name, values) in rows {
        put(&mut out, name, &[0.5, 0.95, 1.0].map(|share| number(quantile(values, share))));
    }
    let Switches { writers, others, errors, acknowledged, lost, unexpected, .. } = seen;
    writeln!(
        out,
        "  {writers} writers on the partition, {others} on another; {acknowledged} writes acknowledged, {lost} lost, \
         {unexpected} unexpected, {errors} errors"
    )
    .expect("writing to a String does not fail");
    out + &example(seen.example.as_deref())
}

/// What many clients cost.
pub fn crowd(seen: &Crowd) -> String {
    let through = if seen.pooled { ", to the server through PgBouncer" } else { "" };
    let mut out = format!("{} clients, {} of them at work{through}\n", seen.clients, seen.active);
    let mut line = |name: &str, value: String| {
        writeln!(out, "  {name:<44}{value:>12}").expect("writing to a String does not fail");
    };
    let kib = |bytes: Option<u64>| bytes.map_or("-".into(), |bytes| number(bytes as f64 / 1024.0));
    line("all logged in after, s", number(seen.login_s));
    line("memory of the proxy for each, KiB", kib(seen.memory_bytes));
    line("  once those have followed, KiB", kib(seen.memory_after_bytes));
    line("processor while all are idle, %", seen.idle_cpu_percent.map_or("-".into(), number));
    line("longest wait of a write, median ms", number(quantile(&seen.pauses_ms, 0.5)));
    line("longest wait of a write, worst ms", number(quantile(&seen.pauses_ms, 1.0)));
    line(&format!("{} idle ones answered at the new home, s", seen.woken), number(seen.follow_s));
    line("errors", seen.errors.to_string());
    line("lost", seen.lost.to_string());
    out + &example(seen.example.as_deref())
}

fn example(words: Option<&str>) -> String {
    words.map_or(String::new(), |words| format!("  such as: {words}\n"))
}

fn put(out: &mut String, name: &str, cells: &[String]) {
    let cells = cells.iter().fold(String::new(), |row, cell| row + &format!("{cell:>11}"));
    writeln!(out, "{name:NAME$}{cells}").expect("writing to a String does not fail");
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    quantile(&values.collect::<Vec<_>>(), 0.5)
}

/// Three digits that count.
fn number(n: f64) -> String {
    match n.abs() {
        n if n.is_nan() => "-".into(),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.2}"),
    }
}
