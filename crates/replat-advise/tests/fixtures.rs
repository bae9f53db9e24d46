//! The public workloads: what-if gives what their own tools give.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use replat_advise::design::Design;
use replat_advise::fixture::{Described, read_workload};
use replat_advise::measure::measure;

fn root() -> Option<PathBuf> {
    std::env::var_os("REPLAT_ADVISOR_DATA").map(PathBuf::from)
}

fn unzip(path: &Path) -> String {
    let mut child = Command::new("gzip").arg("-dc").arg(path).stdout(Stdio::piped()).spawn().expect("gzip");
    let mut text = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut text).expect("text");
    assert!(child.wait().expect("ends").success());
    text
}

fn read(dir: &Path) -> Described {
    let file = |name: &str| std::fs::read_to_string(dir.join(name)).expect(name);
    let mut described = read_workload(&file("workload.json")).expect("workload");
    described.read_stats(&file("stats.json")).expect("stats");
    described.read_trace(unzip(&dir.join("trace.jsonl.gz")).lines()).expect("trace");
    described
}

#[test]
fn what_if_is_what_the_tools_say() {
    let Some(root) = root() else { return };
    for entry in std::fs::read_dir(root).expect("data") {
        let dir = entry.expect("entry").path();
        if !dir.join("workload.json").exists() {
            continue;
        }
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(dir.join("expected.json")).expect("key"))
                .expect("json");
        if expected.get("reference_design").is_none() || expected["reference_metrics"]["J"].is_null() {
            continue;
        }
        let described = read(&dir);
        let design: Design = serde_json::from_value(expected["reference_design"].clone()).expect("design");
        let began = std::time::Instant::now();
        let metrics = measure(&described.schema, &described.trace, &design).expect("metrics");
        println!("{} {:?} in {:?}", dir.display(), metrics.cost, began.elapsed());
        for (name, got) in [
            ("J", metrics.cost),
            ("cross_partition_share", metrics.cross_partition_share),
            ("cross_partition_write_share", metrics.cross_partition_write_share),
            ("partitions_per_txn", metrics.partitions_per_txn),
            ("unroutable_statement_share", metrics.unroutable_statement_share),
            ("load_max_over_mean", metrics.load_max_over_mean),
            ("load_max_over_mean_worst_window", metrics.load_max_over_mean_worst_window),
            ("write_amplification", metrics.write_amplification),
            ("storage_factor", metrics.storage_factor.unwrap_or(1.0)),
        ] {
            let want = expected["reference_metrics"][name].as_f64().expect(name);
            assert!((got - want).abs() < 1.1e-4, "{} {name}: {got} and {want}", dir.display());
        }
    }
}

#[test]
fn keys_are_found() {
    use replat_advise::advise::designs;
    use replat_advise::search::Choice;
    let Some(root) = root() else { return };
    let mut dirs: Vec<_> = std::fs::read_dir(root).expect("data").map(|e| e.expect("entry").path()).collect();
    dirs.sort();
    for dir in dirs {
        if !dir.join("workload.json").exists() {
            continue;
        }
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(dir.join("expected.json")).expect("key"))
                .expect("json");
        let Some(want) = expected["reference_metrics"]["J"].as_f64() else { continue };
        let described = read(&dir);
        let partitions = described.partitions.unwrap_or(16);
        let began = std::time::Instant::now();
        for found in designs(&described.schema, &described.trace, partitions).iter().take(1) {
            let best = &found.choices;
            let cost = &found.metrics;
            println!(
                "{} J {:.4} reference {want:.4} regret {:+.4} cross {:.4} skew {:.3} in {:?}",
                dir.file_name().unwrap().display(),
                cost.cost,
                cost.cost - want,
                cost.cross_partition_share,
                cost.load_max_over_mean,
                began.elapsed()
            );
            let words: Vec<String> = described
                .schema
                .ids()
                .map(|t| {
                    let table = described.schema.table(t);
                    format!(
                        "{}:{}",
                        table.name,
                        match best[t.0] {
                            Choice::Key(k) => table.keys[k].name.as_str(),
                            Choice::Everywhere => "*",
                            Choice::Alone => "1",
                        }
                    )
                })
                .collect();
            println!("    {}", words.join(" "));
        }
    }
}
