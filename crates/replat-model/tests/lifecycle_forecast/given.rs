//! Sets, partitions and histories, as short as they can be written.

use replat_model::lifecycle::facts::{
    Bound, Edge, Key, Level, Method, Micros, Origin, Part, Sample, SetFacts, TableName,
};

pub const DAY: Micros = 86_400_000_000;

/// A Monday, 2026-11-16, in days since 1970.
pub const MONDAY: i64 = 20_773;

pub const NOW: Micros = MONDAY * DAY;

pub fn table(name: &str) -> TableName {
    TableName::new("app", name)
}

pub fn sample(at: Micros, inserted: u64) -> Sample {
    Sample { at, inserted, rows: inserted, bytes: inserted.saturating_mul(100), high: None }
}

/// A sample each day, the last at [`NOW`], with so many rows between them.
pub fn samples(rows: &[u64]) -> Vec<Sample> {
    let begin = NOW - rows.len() as i64 * DAY;
    let mut sum = 1_000_u64;
    let mut found = vec![sample(begin, sum)];
    for (day, rows) in rows.iter().enumerate() {
        sum = sum.saturating_add(*rows);
        found.push(sample(begin + (day as i64 + 1) * DAY, sum));
    }
    found
}

/// A partition each day, the last ends at [`NOW`], with 100 bytes a row.
pub fn days(rows: &[u64]) -> Vec<(Micros, Micros, u64, u64)> {
    let begin = NOW - rows.len() as i64 * DAY;
    let day = |(day, rows): (usize, &u64)| {
        let from = begin + day as i64 * DAY;
        (from, from + DAY, *rows, rows.saturating_mul(100))
    };
    rows.iter().enumerate().map(day).collect()
}

pub fn part(name: &str, bound: Bound) -> Part {
    // By way of JSON, so that a fact that is added with a default needs no change here.
    let facts = serde_json::json!({
        "table": table(name), "id": 1, "bound": bound, "below": null, "rows": null, "bytes": null, "empty": null,
        "origin": Origin::Made, "detach_pending": false, "foreign": false, "legal_hold": false, "since": null,
    });
    serde_json::from_value(facts).expect("a partition is read as it is written")
}

fn at(value: i64) -> Vec<Edge> {
    vec![Edge::At(value.to_string())]
}

/// `[from, to)`.
pub fn range(from: i64, to: i64) -> Part {
    part(&format!("p{from}"), Bound::Range { from: at(from), to: at(to) })
}

pub fn edge(from: i64) -> Part {
    part("p_edge", Bound::Range { from: at(from), to: vec![Edge::Max] })
}

pub fn hash(modulus: u32, remainder: u32) -> Part {
    part(&format!("h{modulus}_{remainder}"), Bound::Hash { modulus, remainder })
}

pub fn list(value: &str) -> Part {
    part(&format!("l_{value}"), Bound::List(vec![Some(value.to_owned())]))
}

pub fn rest() -> Part {
    part("p_default", Bound::Default)
}

pub fn sized(bytes: Option<u64>, part: Part) -> Part {
    Part { bytes, ..part }
}

pub fn below(part: Part, level: Level) -> Part {
    Part { below: Some(level), ..part }
}

pub fn level(method: Method, parts: Vec<Part>) -> Level {
    let key = Key { column: Some("k".into()), text: "k".into(), type_name: "bigint".into(), nullable: false };
    let facts = serde_json::json!({ "method": method, "keys": [key], "parts": parts });
    serde_json::from_value(facts).expect("a level is read as it is written")
}

pub fn set(level: Level) -> SetFacts {
    let facts = serde_json::json!({
        "table": table("events"), "id": 7, "owner": "app", "lacking": [], "level": level, "references": [],
        "referenced_by": [], "indexes": [], "publications": [], "samples": [], "relations_each": 5,
        "managed_by": null,
    });
    serde_json::from_value(facts).expect("a set is read as it is written")
}
