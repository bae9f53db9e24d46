//! `vectors/route.json`: what every router, in every language, must say.
//!
//! The file is made here, from the cases in `placements` and `scenarios`; a test fails while it is not what the code
//! says (`UPDATE_VECTORS=1` writes it). Another reads it as a router of another language would. And PostgreSQL itself
//! is asked where it would put each key.

mod placements;
mod postgres;
mod scenarios;

use std::collections::BTreeMap;
use std::path::PathBuf;

use replat_model::cohort;
use replat_model::ids::PartitionId;
use replat_model::key::KeyValue;
use replat_model::map::BadKey;
use replat_model::route::Routes;
use replat_router::{Refused, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    format: u32,
    placements: Vec<Placement>,
    reads: Vec<Reading>,
    cohorts: Vec<Cohort>,
    shares: Vec<Share>,
    scenarios: Vec<scenarios::Scenario>,
}

/// Keys and where they are.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placement {
    name: String,
    routes: Routes,
    cases: Vec<Placed>,
    refused: Vec<NotPlaced>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Placed {
    key: Vec<KeyValue>,
    /// The values as PostgreSQL reads them.
    text: Vec<String>,
    /// PostgreSQL's hash of each value alone, in hexadecimal.
    hash: Vec<String>,
    partition: PartitionId,
    database: String,
    schema: String,
    epoch: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotPlaced {
    key: Vec<KeyValue>,
    /// `arity` or `type`.
    why: String,
}

/// Shares of reads.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    name: String,
    routes: Routes,
    key: Vec<KeyValue>,
    samples: Vec<Sample>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    sample: u64,
    answers: String,
    stale_max_ms: Option<u64>,
    shadow: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cohort {
    partition: PartitionId,
    cohort: u16,
}

/// So many hundredths of a percent of these partitions, in the order in which they are taken.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    partitions: Vec<PartitionId>,
    hundredths: u16,
    first: Vec<PartitionId>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../vectors/route.json")
}

impl Vectors {
    fn make() -> Vectors {
        let names = ["acme", "globex", "initech", "umbrella", "rest", "b0", "b1", "x", "tenant_42", "eu_b3"];
        let partitions: Vec<PartitionId> = names.iter().map(|n| n.parse().expect("a name")).collect();
        let cohorts = partitions.iter().map(|p| Cohort { partition: p.clone(), cohort: cohort::cohort(p) });
        let share = |hundredths| Share {
            partitions: partitions.clone(),
            hundredths,
            first: cohort::first(&partitions, hundredths).into_iter().cloned().collect(),
        };
        Vectors {
            format: 1,
            placements: placements::all().iter().map(placements::Table::placement).collect(),
            reads: readings(),
            cohorts: cohorts.collect(),
            shares: [0, 1, 500, 2_500, 5_001, 10_000].map(share).into(),
            scenarios: scenarios::all(),
        }
    }

    /// One case a line, so that a change can be seen.
    fn text(&self) -> String {
        let value = serde_json::to_value(self).expect("vectors are values");
        let mut text = String::new();
        write(&value, 0, &mut text);
        text + "\n"
    }

    fn read() -> Vectors {
        let text = std::fs::read_to_string(path()).expect("vectors/route.json; UPDATE_VECTORS=1 writes it");
        serde_json::from_str(&text).expect("vectors are readable")
    }
}

/// Lists and objects down to this depth are spread over lines.
const SPREAD: usize = 4;

fn write(value: &Value, depth: usize, text: &mut String) {
    let indent = |text: &mut String, depth: usize| {
        text.push('\n');
        text.push_str(&"  ".repeat(depth));
    };
    let mut first = true;
    let mut next = |text: &mut String| {
        if !std::mem::take(&mut first) {
            text.push(',');
        }
        indent(text, depth + 1);
    };
    match value {
        Value::Array(items) if depth < SPREAD && !items.is_empty() => {
            text.push('[');
            for item in items {
                next(text);
                write(item, depth + 1, text);
            }
            indent(text, depth);
            text.push(']');
        }
        Value::Object(fields) if depth < SPREAD - 1 && !fields.is_empty() && !fields.contains_key("map") => {
            text.push('{');
            for (name, field) in fields {
                next(text);
                text.push_str(&format!("{}: ", Value::from(name.as_str())));
                write(field, depth + 1, text);
            }
            indent(text, depth);
            text.push('}');
        }
        other => text.push_str(&other.to_string()),
    }
}

fn readings() -> Vec<Reading> {
    use crate::scene::{acme, addresses, home, name, tenants};
    use replat_model::route::{Reads, Traffic};
    let one = |case: &str, to: &str, percent: u8, shadow: bool| {
        let reads = Reads { home: home(to), percent, shadow, stale_max_ms: 250 };
        let traffic = Traffic { reads: Some(reads), ..Traffic::default() };
        let traffic = BTreeMap::from([(name("acme"), traffic)]);
        let routes = Routes::new("shop".into(), tenants(), addresses(), traffic).expect("whole routes");
        let router = Router::fixed(routes.clone());
        let edge = u64::from(percent);
        let samples = [0, edge.saturating_sub(1), edge, 99, 100, 100 + edge, 1_234_567_890_123, u64::MAX];
        let sample = |sample: &u64| {
            let read = router.read_route(&acme(), *sample).expect("a route");
            Sample {
                sample: *sample,
                answers: read.answers.home.to_string(),
                stale_max_ms: read.stale_max.map(|max| u64::try_from(max.as_millis()).expect("it was one")),
                shadow: read.shadow.map(|(shadow, _)| shadow.home.to_string()),
            }
        };
        let samples = samples.iter().map(sample).collect();
        Reading { name: case.into(), routes, key: acme().into(), samples }
    };
    vec![
        one("a quarter of the reads", "green", 25, false),
        one("none", "green", 0, false),
        one("all", "green", 100, false),
        one("a tenth is compared", "green", 10, true),
        one("the share is the home's own", "blue", 50, false),
    ]
}

#[test]
fn the_file_is_what_the_code_says() {
    let made = Vectors::make().text();
    if std::env::var_os("UPDATE_VECTORS").is_some_and(|update| update == "1") {
        std::fs::write(path(), &made).expect("the file can be written");
    }
    let found = std::fs::read_to_string(path()).unwrap_or_default();
    let line = made.lines().zip(found.lines()).position(|(made, found)| made != found);
    assert!(made == found, "vectors/route.json differs from line {line:?} on; UPDATE_VECTORS=1 writes it");
}

#[test]
fn a_reader_finds_what_the_file_says() {
    let vectors = Vectors::read();
    assert_eq!(vectors.format, 1);
    let mut cases = 0;
    for Placement { name, routes, cases: placed, refused } in vectors.placements {
        let router = Router::fixed(routes);
        for case in placed {
            let found = router.find(&case.key).expect(&name);
            assert_eq!(found.partition, case.partition, "{name}: {:?}", case.key);
            assert_eq!((&found.home.database, &found.home.schema), (&case.database, &case.schema), "{name}");
            assert_eq!(found.epoch.get(), case.epoch, "{name}");
            assert_eq!(router.find_partition(&case.partition).expect(&name).partition, case.partition);
            cases += 1;
        }
        for case in refused {
            let why = match router.find(&case.key).expect_err(&name) {
                Refused::Key(BadKey::Arity { .. }) => "arity",
                Refused::Key(BadKey::Type { .. }) => "type",
                other => panic!("{name}: {other}"),
            };
            assert_eq!(why, case.why, "{name}: {:?}", case.key);
        }
    }
    assert!(cases > 200, "{cases} cases");
    for Reading { name, routes, key, samples } in vectors.reads {
        let router = Router::fixed(routes);
        for sample in samples {
            let read = router.read_route(key.as_slice(), sample.sample).expect(&name);
            assert_eq!(read.answers.home.to_string(), sample.answers, "{name}: {}", sample.sample);
            let shadow = read.shadow.map(|(shadow, _)| shadow.home.to_string());
            assert_eq!(shadow, sample.shadow, "{name}: {}", sample.sample);
        }
    }
    for Cohort { partition, cohort } in vectors.cohorts {
        assert_eq!(cohort::cohort(&partition), cohort, "{partition}");
    }
    for Share { partitions, hundredths, first } in vectors.shares {
        let taken: Vec<PartitionId> = cohort::first(&partitions, hundredths).into_iter().cloned().collect();
        assert_eq!(taken, first, "{hundredths}");
    }
}

#[tokio::test]
async fn every_scenario_goes_as_the_file_says() {
    let scenarios = Vectors::read().scenarios;
    assert!(scenarios.len() >= 8);
    for scenario in &scenarios {
        scenario.play().await;
    }
}
