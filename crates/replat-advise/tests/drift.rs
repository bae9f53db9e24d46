//! A deployed design is watched: what changed for good is found, and nothing else is.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use replat_advise::design::Design;
use replat_advise::drift::{Drift, Means, Prices, TransferStep, drift};
use replat_advise::fixture::{Described, read_workload};
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).expect("a file of the workload")
}

fn lines(folder: &Path) -> Vec<String> {
    let file = std::fs::File::open(folder.join("trace.jsonl.gz")).expect("a trace");
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("a compressed trace");
    text.lines().map(str::to_owned).collect()
}

fn read(folder: &Path, lines: &[String]) -> Described {
    let mut described = read_workload(&text(folder, "workload.json")).expect("a workload");
    described.read_stats(&text(folder, "stats.json")).expect("statistics");
    described.read_trace(lines.iter().map(String::as_str)).expect("a trace");
    described
}

fn deployed(folder: &Path) -> Design {
    let expected: Value = serde_json::from_str(&text(folder, "expected.json")).expect("an answer key");
    serde_json::from_value(expected["reference_design"].clone()).expect("a reference design")
}

fn watch(folder: &Path, lines: &[String]) -> Drift {
    let described = read(folder, lines);
    drift(&described.schema, &described.trace, &deployed(folder), None, &Prices::default(), Means::Any)
        .expect("it fits")
}

/// A small generator of numbers, whose seed is fixed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 11).expect("53 bits") % n
    }

    /// Whether something of this likelihood happens.
    fn is(&mut self, likely: f64) -> bool {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64 <= likely
    }
}

/// Transactions of a stationary trace, drawn anew: at each moment `alike` says how likely one of the `special` ones is, and
/// `pace` how many there are in a second.
fn planted(
    all: &[String],
    seed: u64,
    special: impl Fn(&Value) -> bool,
    alike: impl Fn(f64) -> f64,
    pace: impl Fn(f64) -> f64,
) -> Vec<String> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let parsed: Vec<Value> =
        all.iter().map(|line| serde_json::from_str(line).expect("a transaction")).collect();
    let (chosen, others): (Vec<&Value>, Vec<&Value>) = parsed.iter().partition(|line| special(line));
    let mut at = 0.0;
    (0..all.len())
        .map(|number| {
            let share = number as f64 / all.len() as f64;
            let from = if !chosen.is_empty() && dice.is(alike(share)) { &chosen } else { &others };
            let mut line = from[dice.below(from.len())].clone();
            at += 1.0 / pace(share);
            line["t"] = Value::from(at);
            line.to_string()
        })
        .collect()
}

/// Whether a transaction needs a row of a key.
fn needs(line: &Value, statement: u64, key: &Value) -> bool {
    line["s"].as_array().is_some_and(|all| {
        all.iter().any(|s| s[0] == statement && s[1].as_array().is_some_and(|values| values.contains(key)))
    })
}

#[test]
fn what_is_planted_is_found_and_what_passes_is_not() {
    let folder = folder("drift_control");
    let all = lines(&folder);
    let ship = |line: &Value| line["x"] == "ship";
    // Somebody who sells: statement 5 makes an order, and its third parameter is the seller.
    let seller = |line: &Value| needs(line, 5, &Value::from(8)) || needs(line, 9, &Value::from(8));
    type Over = fn(f64) -> f64;
    // What it is, which transactions it is about, their share and how many there are over time, and where that changes.
    type Planted<'a> = (&'a str, &'a dyn Fn(&Value) -> bool, Over, Over, &'a [f64]);
    let even: Over = |_| 400.0;
    let cases: [Planted<'_>; 13] = [
        ("nothing", &ship, |_| 0.04, even, &[]),
        ("another mix", &ship, |t| if t < 0.55 { 0.04 } else { 0.2 }, even, &[0.55]),
        ("a little more of one kind", &ship, |t| if t < 0.5 { 0.04 } else { 0.10 }, even, &[0.5]),
        (
            "two changes",
            &ship,
            |t| {
                if t < 0.3 {
                    0.04
                } else if t < 0.65 {
                    0.2
                } else {
                    0.45
                }
            },
            even,
            &[0.3, 0.65],
        ),
        ("a change early on", &ship, |t| if t < 0.15 { 0.04 } else { 0.3 }, even, &[0.15]),
        ("a change late", &ship, |t| if t < 0.92 { 0.04 } else { 0.3 }, even, &[0.92]),
        ("a hot key", &seller, |t| if t < 0.6 { 0.0025 } else { 0.25 }, even, &[0.6]),
        ("one that grows", &seller, |t| 0.0025 + 0.25 * ((t - 0.3) / 0.5).clamp(0.0, 1.0), even, &[0.3]),
        ("drifting", &ship, |t| 0.04 + 0.4 * ((t - 0.3) / 0.4).clamp(0.0, 1.0), even, &[0.3]),
        ("days and nights", &ship, |t| 0.15 + 0.1 * (t * 5.0 * std::f64::consts::TAU).sin(), even, &[]),
        ("a job each night", &ship, |t| if (t * 6.0) % 1.0 > 0.85 { 0.7 } else { 0.04 }, even, &[]),
        ("a festival", &seller, |t| if (0.5..0.55).contains(&t) { 0.4 } else { 0.0025 }, even, &[]),
        ("twice as busy", &ship, |_| 0.04, |t| if t < 0.5 { 400.0 } else { 900.0 }, &[0.5]),
    ];
    for seed in 1..=3 {
        for (case, special, alike, pace, want) in &cases {
            let found = watch(&folder, &planted(&all, seed, special, alike, pace));
            let got: Vec<f64> = found.changes.iter().map(|change| change.at).collect();
            let slow = ["one that grows", "drifting"].contains(case);
            // Nobody can say when something began that began with nothing.
            let reach = if slow { 0.08 } else { 0.03 };
            let is_right =
                got.len() == want.len() && got.iter().zip(*want).all(|(a, b)| (a - b).abs() <= reach);
            assert!(is_right, "{case}, seed {seed}: {got:?} for {want:?}: {:?}", found.changes);
            let moves = ["nothing", "days and nights", "a job each night", "a festival"].contains(case);
            assert!(!moves || found.repartitions.is_empty(), "{case}: {:?}", found.repartitions);
        }
    }
}

#[test]
fn what_stays_the_same_raises_no_alarm() {
    let mut watched = 0;
    for name in
        ["drift_control", "tpcc", "tatp", "saas", "auctionmark", "seats", "smallbank", "epinions", "tpcb"]
    {
        let folder = folder(name);
        let all = lines(&folder);
        let none = |found: Drift, which: &str| {
            assert!(found.changes.is_empty(), "{name}, {which}: {:?}", found.changes);
            assert!(found.repartitions.is_empty(), "{name}, {which}: {:?}", found.repartitions);
            assert!(found.seasons.is_empty(), "{name}, {which}: {:?}", found.seasons);
        };
        none(watch(&folder, &all), "as it is");
        for seed in 1..=if name == "drift_control" { 12 } else { 1 } {
            none(watch(&folder, &planted(&all, seed, |_| false, |_| 0.0, |_| 400.0)), "drawn anew");
            watched += 1;
        }
    }
    assert!(watched >= 10);
}

#[test]
fn the_changes_of_a_market_are_found_where_they_are() {
    for (name, want) in [("drift_market", vec![0.4, 0.7]), ("drift_control", vec![])] {
        let folder = folder(name);
        let begin = std::time::Instant::now();
        let found = watch(&folder, &lines(&folder));
        println!("{name} {:?}", begin.elapsed());
        if let Some(out) = std::env::var_os("REPLAT_ADVISOR_OUT") {
            let path = PathBuf::from(out).join(name);
            std::fs::create_dir_all(&path).expect("a folder");
            std::fs::write(path.join("changes.json"), serde_json::to_string(&found).expect("text"))
                .expect("written");
        }
        for c in &found.changes {
            println!("{c:?}");
        }
        println!("{:?} {:?} {:?}", found.passing, found.seasons, found.forecast);
        for one in found.repartitions.iter().chain(&found.considered) {
            println!(
                "{:.3} since {:.3} due {} saves {:.3} {} {:?}",
                one.at, one.since, one.due, one.saves, one.because, one.transfer.price
            );
            println!("{} steps", one.transfer.steps.len());
            for step in one.transfer.steps.iter().take(4) {
                let text = serde_json::to_string(step).expect("text");
                println!("    {}", &text[..text.len().min(300)]);
            }
        }
        let got: Vec<f64> = found.changes.iter().map(|change| change.at).collect();
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 0.03, "{got} and {want}");
        }
    }
}

/// Accounts of sixteen tenants in four places; from the middle on, three in ten transactions need both `pair`.
fn two_that_come_to_meet(pair: [u64; 2]) -> (Described, Design) {
    let workload = r#"{"format": "advisor-workload/1",
        "tables": {"accounts": {"pk": ["tenant", "id"], "key_columns": ["tenant", "id"]}},
        "statements": [{"id": 0, "touch": [{"table": "accounts", "op": "u", "eq": {"tenant": 1, "id": 2}}]}]}"#;
    let mut described = read_workload(workload).expect("a workload");
    let row = |tenant: u64, id: u64| format!("[0,[{tenant},{id}],[[[{tenant},{id}]]]]");
    let lines: Vec<String> = (0..8_000_u64)
        .map(|n| {
            let work = match n >= 4_000 && n % 10 < 3 {
                true => format!("{},{}", row(pair[0], n % 7), row(pair[1], n % 5)),
                false => row((n / 10 * 3 + n) % 16, n % 7),
            };
            format!("{{\"t\":{n},\"x\":\"work\",\"s\":[{work}]}}")
        })
        .collect();
    described.read_trace(lines.iter().map(String::as_str)).expect("a trace");
    let map: Vec<String> = (0..16).map(|tenant| format!("\"{tenant}\":{}", tenant % 4)).collect();
    let design = format!(
        r#"{{"partitions": 4, "tables": {{"accounts": {{"mode": "partition", "levels": [
            {{"kind": "list", "col": "tenant", "map": {{{}}}, "n": 4}}]}}}}}}"#,
        map.join(",")
    );
    (described, serde_json::from_str(&design).expect("a design"))
}

#[test]
fn keys_that_come_to_meet_are_brought_together_and_then_nothing_is_left_to_do() {
    for pair in [[1, 2], [8, 3], [15, 0]] {
        let (described, design) = two_that_come_to_meet(pair);
        let watch = |design: &Design| {
            let prices = Prices::default();
            drift(&described.schema, &described.trace, design, None, &prices, Means::Keys).expect("it fits")
        };
        let found = watch(&design);
        let [due] = &found.repartitions[..] else { panic!("{pair:?}: {:#?}", found.repartitions) };
        assert!(due.transfer.is_of_whole_keys());
        let moved = due.transfer.steps.iter().any(|step| match step {
            TransferStep::Move(keys) => {
                keys.keys.iter().any(|key| pair.iter().any(|one| key.text() == one.to_string()))
            }
            _ => false,
        });
        assert!(moved, "{pair:?}: one of them goes to the other: {:#?}", due.transfer);
        let after = watch(&due.design);
        assert!(after.repartitions.is_empty(), "{pair:?}: {:#?}", after.repartitions);
    }
}
