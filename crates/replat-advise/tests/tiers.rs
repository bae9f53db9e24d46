//! What is made of recorded evidence without the workload's own description: statements are read as their description has
//! them, and designs from a sample or from the write-ahead log alone are about as good as those from the whole trace.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use replat_advise::candidate::designs;
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

/// More than this above the reference is a worse design.
const REGRET_MAX: f64 = 0.03;

/// What is found on the whole trace with the best of the designs that only use what its description knows; `None` if none
/// of them does.
fn found_on(truth: &Described, seen: &System) -> Option<f64> {
    designs(&seen.schema, &seen.trace, truth.partitions.unwrap_or(16))
        .iter()
        .filter_map(|found| measure(&truth.schema, &truth.trace, &found.design).ok())
        .map(|m| m.cost)
        .next()
}

#[test]
fn designs_from_less_evidence_are_about_as_good() {
    let mut within: BTreeMap<Tier, Vec<bool>> = BTreeMap::new();
    for folder in folders() {
        let expected: Value = serde_json::from_str(&source(&folder, "expected.json").text).expect("json");
        let Some(reference) = expected["reference_metrics"]["J"].as_f64() else { continue };
        let truth = described(&folder);
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let design: Design = serde_json::from_value(expected["reference_design"].clone()).expect("a design");
        for (tier, names) in [(Tier::Sample, SAMPLE), (Tier::Writes, WRITES)] {
            let seen = system(&folder, names);
            assert_eq!(seen.tier, tier, "{name}");
            // The reference design, forecast from this evidence.
            let forecast = measure(&seen.schema, &seen.trace, &design).expect("its columns were seen").cost;
            let regret = found_on(&truth, &seen).map(|found| found - reference);
            println!(
                "{name} {tier:?}: reference {reference:.3}, forecast {forecast:.3}, regret {regret:+.3?}"
            );
            within.entry(tier).or_default().push(regret.is_some_and(|regret| regret <= REGRET_MAX));
        }
    }
    let missed = |tier: Tier| within[&tier].iter().filter(|is| !**is).count();
    println!("worse: {} of samples, {} of writes alone", missed(Tier::Sample), missed(Tier::Writes));
    assert_eq!(missed(Tier::Sample), 0);
    assert!(missed(Tier::Writes) <= 1);
}

#[test]
fn statements_are_read_as_their_workload_describes_them() {
    let mut differences = Vec::new();
    let mut compared = 0;
    for folder in folders() {
        let truth = described(&folder);
        for template in &truth.trace.templates {
            let name =
                format!("{}: {}", folder.file_name().expect("a name").to_string_lossy(), template.text);
            let found = replat_advise::sql::analyse(&template.text, &truth.schema).expect(&name);
            assert!(found.strangers.is_empty(), "{name}: {:?}", found.strangers);
            let found = found.template(String::new(), String::new());
            let touched = |touches: &[replat_advise::trace::Touch]| {
                let mut all: Vec<_> = touches.iter().map(|touch| (touch.table, touch.op)).collect();
                all.sort();
                all
            };
            assert_eq!(touched(&found.touches), touched(&template.touches), "{name}");
            for want in &template.touches {
                let got = found.touches.iter().find(|got| got.table == want.table).expect("it was found");
                for (column, number) in &want.equal {
                    assert_eq!(got.equal.get(column), Some(number), "{name}: {column}");
                }
                for (column, ends) in &want.range {
                    assert_eq!(got.range.get(column), Some(ends), "{name}: {column}");
                }
                for (column, numbers) in &want.one_of {
                    assert_eq!(got.one_of.get(column), Some(numbers), "{name}: {column}");
                }
                let more = got.equal.len() + got.range.len() - want.equal.len() - want.range.len();
                if more > 0 {
                    let constants = got.equal.values().filter(|number| number.is_none()).count();
                    differences.push((format!("{name}: {:?} {:?}", got.equal, got.range), constants == more));
                }
            }
            let joins = |joins: &[(replat_advise::trace::Column, replat_advise::trace::Column)]| {
                let mut all: Vec<_> = joins
                    .iter()
                    .map(|(a, b)| if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) })
                    .collect();
                all.sort();
                all
            };
            assert_eq!(joins(&found.joins), joins(&template.joins), "{name}");
            compared += 1;
        }
    }
    println!("{compared} statements; more was found in {differences:#?}");
    assert!(compared > 100);
    // A constant is bound as well as a parameter is; the descriptions list parameters alone.
    assert!(differences.iter().all(|(_, constants)| *constants), "{differences:#?}");
}
