//! Small databases, built by hand.

use replat_model::lifecycle::draft::{Wish, draft};
use replat_model::lifecycle::facts::{
    Bound, Edge, Facts, Key, Level, LooseState, LooseTable, Method, Micros, Origin, Part, SetFacts, Strays,
    TableName, Vitals,
};
use replat_model::lifecycle::health::{Finding, Severity};
use replat_model::lifecycle::plan::{Kind, NewPart, RotatePlan, Work};
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Lifecycle};

pub const DAY: Micros = 86_400_000_000;

/// 2026-03-10 12:00 UTC, a Tuesday.
pub const NOW: Micros = 1_773_144_000_000_000;

/// Every kind of work.
pub const ALL: [Kind; 8] = [
    Kind::Create,
    Kind::Drain,
    Kind::Retire,
    Kind::Drop,
    Kind::Adopt,
    Kind::Recut,
    Kind::Convert,
    Kind::Align,
];

pub fn at(text: &str) -> Edge {
    Edge::At(text.into())
}

pub fn range(from: &str, to: &str) -> Bound {
    Bound::Range { from: vec![at(from)], to: vec![at(to)] }
}

pub fn list(values: &[&str]) -> Bound {
    Bound::List(values.iter().map(|value| Some((*value).to_owned())).collect())
}

pub fn hash(modulus: u32, remainder: u32) -> Bound {
    Bound::Hash { modulus, remainder }
}

pub fn key(column: &str, type_name: &str) -> Key {
    Key { column: Some(column.into()), text: column.into(), type_name: type_name.into(), nullable: false }
}

/// A partition of replat's own with some rows, by name and bound.
pub fn part(name: &str, bound: Bound) -> Part {
    Part {
        table: TableName::new("public", name),
        id: digest(name),
        bound,
        below: None,
        rows: Some(1000),
        bytes: Some(1 << 20),
        empty: None,
        origin: Origin::Made,
        detach_pending: false,
        foreign: false,
        legal_hold: false,
        since: Some(NOW - 100 * DAY),
        strays: None,
        when_true: None,
        held_by_rows: None,
        referenced: None,
        settings: Default::default(),
    }
}

/// An identity that follows from the name.
pub fn digest(name: &str) -> u64 {
    name.bytes()
        .fold(1469598103934665603, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(1099511628211))
}

pub fn default_part(name: &str, strays: Strays) -> Part {
    let empty = strays.rows == 0;
    Part { empty: Some(empty), strays: Some(strays), ..part(name, Bound::Default) }
}

pub fn level(method: Method, keys: &[Key], parts: Vec<Part>) -> Level {
    Level { method, keys: keys.to_vec(), parts, high: None, samples: Vec::new() }
}

pub fn set(name: &str, level: Level) -> SetFacts {
    let columns = [("ts", "timestamp with time zone"), ("id", "bigint"), ("tenant", "text"), ("day", "date")];
    SetFacts {
        table: TableName::new("public", name),
        id: digest(name),
        owner: "app".into(),
        lacking: Vec::new(),
        level,
        columns: columns.into_iter().map(|(name, of)| (name.to_owned(), of.to_owned())).collect(),
        references: Vec::new(),
        referenced_by: Vec::new(),
        indexes: Vec::new(),
        publications: Vec::new(),
        samples: Vec::new(),
        relations_each: 6,
        managed_by: None,
        managed_as: None,
        managed_notes: Vec::new(),
        managed_off: None,
    }
}

pub fn facts(sets: Vec<SetFacts>) -> Facts {
    Facts {
        vitals: Vitals {
            identity: "7/5".into(),
            database: "app".into(),
            now: NOW,
            lock_room: Some(6400),
            ..Vitals::default()
        },
        sets,
        fingerprint: "f".into(),
        ..Facts::default()
    }
}

/// Days of March 2026 (and on) as bounds of a `timestamptz`: `day(9)` is the ninth, `day(40)` the ninth of April.
pub fn day(number: i64) -> String {
    let midnight = NOW - DAY / 2 + (number - 10) * DAY;
    let day = jiff::Timestamp::from_microsecond(midnight).expect("a moment").strftime("%Y-%m-%d");
    format!("{day} 00:00:00+00")
}

pub fn daily(number: i64) -> Part {
    let name = format!("events_p{}", day(number)[..10].replace('-', ""));
    part(&name, range(&day(number), &day(number + 1)))
}

/// `events`, by days of `ts`, from `from` until `to`, which is not included.
pub fn events(from: i64, to: i64) -> SetFacts {
    let parts = (from..to).map(daily).collect();
    set("events", level(Method::Range, &[key("ts", "timestamp with time zone")], parts))
}

pub fn wish(policy: Lifecycle) -> Wish {
    Wish { overrides: policy, allow: ALL.to_vec(), ..Wish::default() }
}

/// Kept ready for so many days.
pub fn ahead(days: u64) -> Lifecycle {
    Lifecycle { ahead: Some(format!("{days}d").parse().expect("a duration")), ..Lifecycle::default() }
}

pub fn cut(column: &str, by: Cut) -> LevelPolicy {
    LevelPolicy {
        column: column.into(),
        by,
        interval: None,
        origin: None,
        zone: None,
        encoding: None,
        snowflake: None,
        modulus: None,
        values: Vec::new(),
        grow: None,
    }
}

pub fn plan(facts: &Facts, policy: &Lifecycle) -> RotatePlan {
    draft(facts, &wish(policy.clone()))
}

/// A bound in few letters: `2026-03-11..2026-03-12`, `a|b`, `4:1`, `default`.
pub fn short(bound: &Bound) -> String {
    let edge = |edge: &Edge| match edge {
        Edge::Min => "min".to_owned(),
        Edge::Max => "max".to_owned(),
        Edge::At(text) => text.strip_suffix(" 00:00:00+00").unwrap_or(text).to_owned(),
    };
    let all = |edges: &[Edge]| edges.iter().map(edge).collect::<Vec<_>>().join(",");
    match bound {
        Bound::Range { from, to } => format!("{}..{}", all(from), all(to)),
        Bound::List(values) => {
            values.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join("|")
        }
        Bound::Hash { modulus, remainder } => format!("{modulus}:{remainder}"),
        Bound::Default => "default".into(),
    }
}

/// A unit in a line: `create events: a..b, b..c`.
pub fn line(work: &Work) -> String {
    fn tree(part: &NewPart) -> String {
        match &part.below {
            None => short(&part.bound),
            Some(level) => {
                let below: Vec<String> = level.parts.iter().map(tree).collect();
                format!("{} ({})", short(&part.bound), below.join(" "))
            }
        }
    }
    let trees = |parts: &[NewPart]| parts.iter().map(tree).collect::<Vec<_>>().join(", ");
    match work {
        Work::Create { parent, parts, edge, .. } => {
            let edge = edge.as_ref().map_or(String::new(), |edge| {
                let to = Bound::Range { from: edge.from.clone(), to: edge.to.clone() };
                format!(" [edge {}]", short(&to))
            });
            format!("create {}: {}{edge}", parent.name, trees(parts))
        }
        Work::Drain { parent, parts, .. } => format!("drain {}: {}", parent.name, trees(parts)),
        Work::Overflow { parent, old, new } => {
            let old: Vec<String> = old.iter().map(|(_, _, bound)| short(bound)).collect();
            format!("overflow {}: {} -> {}", parent.name, old.join(", "), trees(new))
        }
        Work::Recut { parent, old, new } => {
            let old: Vec<String> = old.iter().map(|(_, _, bound)| short(bound)).collect();
            format!("recut {}: {} -> {}", parent.name, old.join(", "), trees(new))
        }
        Work::Retire { part, .. } => format!("retire {}", part.name),
        Work::Archive { table, .. } => format!("archive {}", table.name),
        Work::Drop { table, .. } => format!("drop {}", table.name),
        Work::Finalize { part, .. } => format!("finalize {}", part.name),
        Work::Reap { unit, tables } => format!("reap {unit}: {}", tables.len()),
        Work::Adopt { parts } => format!("adopt {}", parts.len()),
        Work::Disown { parts } => format!("disown {}", parts.len()),
        other => format!("{:?}", other.kind()),
    }
}

pub fn lines(plan: &RotatePlan) -> Vec<String> {
    plan.units.iter().map(|unit| line(&unit.work)).collect()
}

/// Findings as `RP3005 error`, in order.
pub fn codes(findings: &[Finding]) -> Vec<String> {
    let word = |severity: Severity| match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    findings.iter().map(|finding| format!("{} {}", finding.code, word(finding.severity))).collect()
}

pub fn strays(rows: u64, low: &str, high: &str) -> Strays {
    Strays { rows, low: Some(low.into()), high: Some(high.into()), values: Vec::new(), more: true }
}

pub fn exactly(values: &[(&str, u64)]) -> Strays {
    Strays {
        rows: values.iter().map(|(_, rows)| rows).sum(),
        low: values.iter().map(|(value, _)| (*value).to_owned()).min(),
        high: values.iter().map(|(value, _)| (*value).to_owned()).max(),
        values: values.iter().map(|(value, rows)| ((*value).to_owned(), *rows)).collect(),
        more: false,
    }
}

pub fn loose(set: &str, name: &str, bound: Bound, state: LooseState) -> LooseTable {
    LooseTable {
        table: TableName::new("public", name),
        id: digest(name),
        set: TableName::new("public", set),
        parent: TableName::new("public", set),
        bound,
        state,
        origin: Origin::Made,
        since: NOW - 10 * DAY,
        drop_after: None,
        archive: None,
        legal_hold: false,
        unit: "u-1".into(),
    }
}
