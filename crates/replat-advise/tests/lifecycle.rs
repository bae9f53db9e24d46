//! Tables that grow at one end of time: found, cut by an interval that fits, and kept as long as is said.

use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use replat_advise::design::Design;
use replat_advise::evidence::{Source, Tier};
use replat_advise::fixture::{Described, read_workload};
use replat_advise::lifecycle::{Interval, Lifecycle, lifecycles};
use replat_advise::system::{Constraints, Retention, System};

fn read(name: &str) -> (Described, Design) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file of the workload");
    let mut described = read_workload(&text("workload.json")).expect("a workload");
    described.read_stats(&text("stats.json")).expect("statistics");
    let file = std::fs::File::open(folder.join("trace.jsonl.gz")).expect("a trace");
    let mut trace = String::new();
    GzDecoder::new(file).read_to_string(&mut trace).expect("a compressed trace");
    described.read_trace(trace.lines()).expect("a trace");
    let expected: serde_json::Value = serde_json::from_str(&text("expected.json")).expect("an answer key");
    let design = serde_json::from_value(expected["reference_design"].clone()).expect("a design");
    (described, design)
}

fn advised(name: &str, days: Option<u32>, rows: Option<u64>) -> Vec<Lifecycle> {
    let (mut described, design) = read(name);
    if let (Some(rows), Some(events)) = (rows, described.schema.find("events")) {
        described.schema.tables[events.0].rows = Some(rows);
    }
    let retention = days.map(|days| Retention { table: "events".to_owned(), column: "ts".to_owned(), days });
    let system = System {
        name: name.to_owned(),
        schema: described.schema,
        trace: described.trace,
        partitions: described.partitions,
        constraints: Constraints { residency: None, retention },
        services: Vec::new(),
        tier: Tier::Trace,
        missing: Vec::new(),
        intent: Vec::new(),
    };
    lifecycles(&system, Some(&design))
}

#[test]
fn events_are_cut_by_time_within_their_tenant() {
    let cases = [
        ("kept for a quarter", Some(90), None, Some((Interval::Day, Some(90)))),
        ("kept for ten years", Some(3650), None, Some((Interval::Month, Some(3650)))),
        ("fewer of them", Some(90), Some(2_000_000), Some((Interval::Week, Some(90)))),
        ("nobody says for how long", None, None, Some((Interval::Hour, None))),
        ("few, and nobody says", None, Some(200_000), None),
    ];
    for (case, days, rows, want) in cases {
        let all = advised("saas", days, rows);
        let got = all.iter().find(|one| one.table == "events");
        println!("{case}: {all:#?}");
        assert_eq!(got.map(|one| (one.interval, one.keep)), want, "{case}");
        let Some(got) = got else { continue };
        assert_eq!((got.column.as_str(), got.within.as_deref()), ("ts", Some("tenant_id")), "{case}");
        assert_eq!(got.encoding.as_deref(), Some("epoch-s"), "{case}");
        assert!(got.pruned_share.is_some_and(|share| share > 0.9), "{case}");
        // Nothing else is of time, whatever its numbers.
        assert_eq!(all.len(), 1, "{case}: {all:?}");
    }
}

/// A table with two columns of time that reads bind, as a catalogue and counters of statements show it.
fn counted(column: serde_json::Value) -> Vec<Lifecycle> {
    let table = serde_json::json!({
        "k": "table", "name": "events", "primary_key": ["id"], "rows": 2_000_000,
        "columns": { "id": { "type": "bigint" }, "at": column },
    });
    let statement = serde_json::json!({
        "k": "statement", "id": "1", "calls": 40, "text": "select count(*) from events where at > $1",
    });
    let head = serde_json::json!({ "format": replat_advise::evidence::FORMAT });
    let source = Source { name: "e.jsonl".to_owned(), text: format!("{head}\n{table}\n{statement}\n") };
    let (known, _) = replat_advise::evidence::read(&[source]).expect("evidence");
    lifecycles(&System::of(known).0, None)
}

#[test]
fn statistics_tell_whether_rows_come_in_the_order_of_time_and_how_many_a_day() {
    let at = |days: (i64, i64), ordered: f64| serde_json::json!({ "type": "timestamp with time zone", "days": days, "ordered": ordered });
    let day = "2000000 rows came in the 20 days";
    let cases = [
        ("in order, many a day", at((20_000, 20_020), 0.99), Some((Interval::Month, day))),
        ("in order, over years", at((10_000, 20_000), 1.0), Some((Interval::Year, "in the 10000 days"))),
        ("on one day", at((20_000, 20_000), 1.0), Some((Interval::Week, ""))),
        ("in no order, such as birthdays", at((10_000, 20_000), 0.1), None),
        ("in the order of falling time", at((10_000, 20_000), -1.0), None),
        ("nothing is known", serde_json::json!({ "type": "date" }), Some((Interval::Week, ""))),
        ("a number", serde_json::json!({ "type": "bigint" }), None),
    ];
    for (case, column, want) in cases {
        let all = counted(column);
        println!("{case}: {all:#?}");
        let got = all.first();
        assert_eq!(got.map(|one| one.interval), want.map(|(interval, _)| interval), "{case}");
        let (Some(got), Some((_, assumed))) = (got, want) else { continue };
        assert!(got.assumed.join("; ").contains(assumed), "{case}: {got:?}");
    }
}

#[test]
fn what_has_no_time_gets_no_lifecycle() {
    for name in ["tpcc", "tatp", "smallbank", "drift_control", "epinions"] {
        assert_eq!(advised(name, None, None), [], "{name}");
    }
}

#[test]
fn the_advice_is_an_entry_of_a_spec() {
    let all = advised("saas", Some(90), None);
    let want = r#"[lifecycles."events"]
database = "blue"
tables = ["events"]
ahead_count = 3

[[lifecycles."events".levels]]
column = "ts"
by = "range"
interval = "1 day"
encoding = "epoch-s"

[lifecycles."events".retire]
keep = "90d"
"#;
    assert_eq!(all[0].spec("events", "blue"), want);
}
