//! The public workloads, read as systems to be advised on.

// Each test uses what it needs.
#![allow(dead_code)]

pub mod planted;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use replat_advise::advise::{Advice, Wish, advise_on};
use replat_advise::evidence::Tier;
use replat_advise::fixture::{Described, read_workload};
use replat_advise::system::{Constraints, System};
use serde_json::Value;

/// Workloads kept here, and those of a folder that somebody names.
pub fn folders() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let more = std::env::var_os("REPLAT_ADVISOR_DATA").map(PathBuf::from);
    let mut all: BTreeMap<_, PathBuf> = BTreeMap::new();
    for root in std::iter::once(here).chain(more) {
        for entry in std::fs::read_dir(&root).expect("a folder of workloads") {
            let path = entry.expect("an entry").path();
            if path.join("workload.json").exists() {
                all.insert(path.file_name().expect("a name").to_owned(), path);
            }
        }
    }
    all.into_values().collect()
}

pub fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).expect("a file of the workload")
}

pub fn trace(folder: &Path) -> String {
    let file = std::fs::File::open(folder.join("trace.jsonl.gz")).expect("a trace");
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("a compressed trace");
    text
}

pub fn expected(folder: &Path) -> Value {
    serde_json::from_str(&text(folder, "expected.json")).expect("an answer key")
}

pub fn read(folder: &Path) -> Described {
    let mut described = read_workload(&text(folder, "workload.json")).expect("a workload");
    described.read_stats(&text(folder, "stats.json")).expect("statistics");
    described.read_trace(trace(folder).lines()).expect("a trace");
    described
}

/// The whole of a workload, as a system to be advised on.
pub fn system(folder: &Path) -> System {
    let workload: Value = serde_json::from_str(&text(folder, "workload.json")).expect("a workload");
    let constraints = workload["constraints"].clone();
    let constraints: Constraints = serde_json::from_value(constraints).unwrap_or_default();
    let services: BTreeMap<String, Vec<String>> =
        serde_json::from_value(workload["services"].clone()).unwrap_or_default();
    System { constraints, services: services.into_iter().collect(), ..of(read(folder)) }
}

pub fn of(described: Described) -> System {
    System {
        name: String::new(),
        partitions: described.partitions,
        schema: described.schema,
        trace: described.trace,
        constraints: Constraints::default(),
        services: Vec::new(),
        tier: Tier::Trace,
        missing: Vec::new(),
        intent: Vec::new(),
    }
}

pub fn advised(system: &System) -> Advice {
    advise_on(system, &Wish::default())
}
