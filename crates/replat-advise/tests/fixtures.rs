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

#[test]
fn contexts_are_found() {
    use replat_advise::context::contexts;
    use std::collections::BTreeMap;
    let Some(root) = root() else { return };
    for name in ["ctx_petclinic", "ctx_jpetstore", "ctx_shop", "distmono"] {
        let dir = root.join(name);
        let expected: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(dir.join("expected.json")).expect("key"))
                .expect("json");
        let described = read(&dir);
        let found = contexts(&described.schema, &described.trace);
        let name_of = |id: &replat_advise::schema::TableId| described.schema.table(*id).name.clone();
        let shared: Vec<String> =
            serde_json::from_value(expected["shared_or_cross_cutting"].clone()).unwrap_or_default();
        let mut answers = vec![expected["contexts"].clone()];
        answers.extend(expected["accept_also"].as_array().into_iter().flatten().cloned());
        let got: BTreeMap<String, usize> = found
            .groups
            .iter()
            .enumerate()
            .flat_map(|(n, g)| g.iter().map(move |t| (name_of(t), n)))
            .collect();
        let best = answers
            .iter()
            .map(|answer| {
                let answer: BTreeMap<String, Vec<String>> =
                    serde_json::from_value(answer.clone()).expect("contexts");
                let truth: Vec<(String, String)> = answer
                    .iter()
                    .flat_map(|(c, ts)| {
                        ts.iter().filter(|t| !shared.contains(t)).map(move |t| (t.clone(), c.clone()))
                    })
                    .collect();
                let (mut tp, mut fp, mut fnn, mut tn) = (0.0, 0.0, 0.0, 0.0);
                for (n, (x, cx)) in truth.iter().enumerate() {
                    for (y, cy) in &truth[n + 1..] {
                        let same = got.get(x).is_some() && got.get(x) == got.get(y);
                        match (cx == cy, same) {
                            (true, true) => tp += 1.0,
                            (false, true) => fp += 1.0,
                            (true, false) => fnn += 1.0,
                            _ => tn += 1.0,
                        }
                    }
                }
                let n: f64 = tp + fp + fnn + tn;
                let exp = (tp + fp) * (tp + fnn) / n;
                let mx = ((tp + fp) + (tp + fnn)) / 2.0;
                if mx == exp { 1.0 } else { (tp - exp) / (mx - exp) }
            })
            .fold(f64::MIN, f64::max);
        println!(
            "{name}: ARI {best:.3}, crossing {:.3}, writing {:.3}, cutting {:?}",
            found.crossing,
            found.writes_crossing,
            found.cross_cutting.iter().map(name_of).collect::<Vec<_>>()
        );
        for group in &found.groups {
            println!("   {:?}", group.iter().map(name_of).collect::<Vec<_>>());
        }
    }
}
