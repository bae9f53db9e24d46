//! The life of rows: tables that grow at one end of time, and how their partitions should be cut, kept and dropped.
//!
//! Time is a cut inside the partition of a key, not one between places: its newest part takes all inserts. What is advised
//! is what a lifecycle of a spec says, and `rotate` follows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::design::{Design, Placement};
use crate::schema::{Table, TableId};
use crate::system::{Retention, System};
use crate::trace::{Op, Spot, Trace};
use crate::value::Value;

/// Rows lie in the order of a column, so that new ones are at its head, if their correlation is so high at least.
const ORDERED_MIN: f64 = 0.9;

/// A column is at the head of time if this share of inserted values at least lies above nearly all before it.
const HEAD_MIN: f64 = 0.9;

/// So many inserts must have been seen.
const INSERTS_MIN: usize = 30;

/// A table is worth partitions from so many rows on.
const ROWS_MIN: u64 = 1_000_000;

/// How many rows a partition should have about.
const PARTITION_ROWS: f64 = 5_000_000.0;

/// How many partitions a table should have at least for retention to go in steps, and at most for planning to be quick.
const KEPT_MIN: f64 = 6.0;
const KEPT_MAX: f64 = 400.0;

/// Partitions that are kept ready.
const AHEAD: u32 = 3;

/// How long a partition is. Days are 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Interval {
    /// An hour.
    #[serde(rename = "1 hour")]
    Hour,
    /// A day.
    #[serde(rename = "1 day")]
    Day,
    /// A week.
    #[serde(rename = "1 week")]
    Week,
    /// A month.
    #[serde(rename = "1 month")]
    Month,
    /// A year.
    #[serde(rename = "1 year")]
    Year,
}

/// All of them, the shortest first.
const INTERVALS: [Interval; 5] =
    [Interval::Hour, Interval::Day, Interval::Week, Interval::Month, Interval::Year];

impl Interval {
    /// Its length. Unit: days.
    pub fn days(self) -> f64 {
        match self {
            Interval::Hour => 1.0 / 24.0,
            Interval::Day => 1.0,
            Interval::Week => 7.0,
            Interval::Month => 30.44,
            Interval::Year => 365.25,
        }
    }

    /// As a spec says it.
    pub fn text(self) -> &'static str {
        match self {
            Interval::Hour => "1 hour",
            Interval::Day => "1 day",
            Interval::Week => "1 week",
            Interval::Month => "1 month",
            Interval::Year => "1 year",
        }
    }
}

/// Advice on the life of a table's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// The table.
    pub table: String,
    /// The column of time.
    pub column: String,
    /// The key that is cut outside of it, if the design places the table by one.
    pub within: Option<String>,
    /// How long a partition is.
    pub interval: Interval,
    /// How the column holds time, where its type does not say: `epoch-s`, `epoch-ms` and so on, as a spec says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// For how long rows are kept; `None` if nobody says. Unit: days.
    pub keep: Option<u32>,
    /// How many partitions there will be, for each partition of the key; `None` if they never end.
    pub partitions: Option<u32>,
    /// How many are kept ready.
    pub ahead: u32,
    /// How many rows a partition will have about; `None` if that is not known.
    pub rows: Option<f64>,
    /// The share of its reads that bind the column, and so pass over other partitions; `None` if nobody reads it.
    pub pruned_share: Option<f64>,
    /// Why, in words for people.
    pub because: Vec<String>,
    /// What is not known and was assumed.
    pub assumed: Vec<String>,
}

/// Advises on all tables that grow at one end of time. `design` says by which keys tables are placed.
pub fn lifecycles(system: &System, design: Option<&Design>) -> Vec<Lifecycle> {
    let spots = system.trace.by_table(system.schema.tables.len());
    system
        .schema
        .ids()
        .zip(&spots)
        .filter_map(|(table, spots)| lifecycle(system, design, table, spots))
        .collect()
}

fn lifecycle(system: &System, design: Option<&Design>, id: TableId, spots: &[Spot]) -> Option<Lifecycle> {
    let trace = &system.trace;
    let table = system.schema.table(id);
    let retention = system.constraints.retention.as_ref().filter(|retention| retention.table == table.name);
    let candidates: Vec<&String> = match retention {
        Some(Retention { column, .. }) => {
            vec![table.columns.get_key_value(column).map_or(column, |(name, _)| name)]
        }
        None => table.columns.keys().collect(),
    };
    let mut found: Vec<(u64, &String, Age)> = candidates
        .into_iter()
        .filter_map(|column| {
            let age = Age::of(table, trace, spots, column, retention.is_some())?;
            Some((bound_reads(trace, spots, column).0, column, age))
        })
        .collect();
    // What old rows are deleted by goes first.
    let swept = |column: &str| is_swept(trace, id, column);
    found.sort_by(|a, b| (swept(b.1), b.0).cmp(&(swept(a.1), a.0)).then_with(|| a.1.cmp(b.1)));
    let (_, column, age) = found.into_iter().next()?;
    let (bound, reads) = bound_reads(trace, spots, column);
    let is_swept = is_swept(trace, id, column);
    if retention.is_none() && (bound == 0 && !is_swept || table.rows.unwrap_or(0) < ROWS_MIN) {
        return None;
    }
    let mut advised = advised(table, column, &age, retention, (bound, reads), design);
    if is_swept {
        advised.because.push(format!(
            "old rows are deleted by {column}, one by one and with vacuum behind; a partition is dropped at once"
        ));
    }
    Some(advised)
}

fn advised(
    table: &Table,
    column: &str,
    age: &Age,
    retention: Option<&Retention>,
    (bound, reads): (u64, u64),
    design: Option<&Design>,
) -> Lifecycle {
    let (mut because, mut assumed) = (Vec::new(), Vec::new());
    let keep = retention.map(|retention| retention.days);
    let daily = age.daily(table, keep, &mut assumed);
    if age.inserts > 0 {
        because.push(format!(
            "{:.0} % of {} inserts come at the head of {column}",
            100.0 * age.head,
            age.inserts
        ));
    }
    if let Some(ordered) = age.ordered.filter(|ordered| *ordered >= ORDERED_MIN) {
        because.push(format!(
            "rows lie in the order of {column} (correlation {ordered:.2}), as they do if they came so"
        ));
    }
    if reads > 0 {
        let share = 100.0 * bound as f64 / reads as f64;
        because
            .push(format!("{share:.0} % of {reads} reads bind {column}, and pass over all other partitions"));
    }
    let interval = interval(daily, keep);
    if let Some(days) = keep {
        because.push(format!(
            "rows are kept for {days} days, and a partition is dropped at once, without vacuum"
        ));
    }
    let rows = daily.map(|daily| daily * interval.days());
    if let Some(rows) = rows {
        because.push(format!("a partition of {} has about {rows:.0} rows", interval.text()));
    }
    let partitions = keep.map(|days| (f64::from(days) / interval.days()).ceil() as u32 + 1 + AHEAD);
    let key = |design: &Design| match design.tables.get(&table.name)? {
        Placement::Partition { levels } => {
            levels.first()?.cut.columns().first().filter(|key| *key != column).cloned()
        }
        Placement::Replicate | Placement::Single => None,
    };
    Lifecycle {
        table: table.name.clone(),
        column: column.to_owned(),
        within: design.and_then(key),
        interval,
        encoding: age.encoding.map(str::to_owned),
        keep,
        partitions,
        ahead: AHEAD,
        rows,
        pruned_share: (reads > 0).then(|| bound as f64 / reads as f64),
        because,
        assumed,
    }
}

/// The interval by which a partition has a handy number of rows, and retention a handy number of partitions.
fn interval(daily: Option<f64>, keep: Option<u32>) -> Interval {
    let fits = |interval: &Interval| match keep {
        Some(days) => (KEPT_MIN..=KEPT_MAX).contains(&(f64::from(days) / interval.days())),
        None => true,
    };
    let fitting: Vec<Interval> = INTERVALS.into_iter().filter(fits).collect();
    let all = if fitting.is_empty() { &INTERVALS[1..2] } else { &fitting[..] };
    match daily {
        // The longest whose partitions are not too big; if all are, the shortest.
        Some(daily) => *all.iter().rev().find(|i| daily * i.days() <= PARTITION_ROWS).unwrap_or(&all[0]),
        // The one that gives retention the number of steps that is nearest to a month's days.
        None => {
            let steps =
                |interval: &Interval| (f64::from(keep.unwrap_or(365)) / interval.days() / 30.0).ln().abs();
            *all.iter().min_by(|a, b| steps(a).total_cmp(&steps(b))).unwrap_or(&Interval::Day)
        }
    }
}

/// Reads of a table that bind a column, and all of them.
fn bound_reads(trace: &Trace, spots: &[Spot], column: &str) -> (u64, u64) {
    let (mut bound, mut all) = (0, 0);
    let accesses = spots.iter().map(|spot| &trace.accesses[spot.access as usize]);
    for access in accesses.filter(|access| access.op == Op::Read) {
        let touch = &trace.templates[access.template as usize].touches[access.touch as usize];
        all += 1;
        let binds = touch.range.contains_key(column) || touch.equal.contains_key(column);
        bound += u64::from(binds);
    }
    (bound, all)
}

/// Whether rows are deleted that lie below a bound of a column, whatever else they are.
fn is_swept(trace: &Trace, table: TableId, column: &str) -> bool {
    trace.templates.iter().flat_map(|template| &template.touches).any(|touch| {
        touch.table == table
            && touch.op == Op::Delete
            && touch.equal.is_empty()
            && touch.range.contains_key(column)
    })
}

/// How a column of time grows.
struct Age {
    /// Inserts whose value was seen.
    inserts: usize,
    /// The share of them at the head.
    head: f64,
    /// How far the values go from the first to the last, by statistics of all of them, else by the inserts that were seen.
    /// Unit: days.
    days: Option<f64>,
    /// How well rows lie in the order of their values, from -1 to 1.
    ordered: Option<f64>,
    /// How the column holds time, if its type does not say.
    encoding: Option<&'static str>,
}

impl Age {
    /// `None` if the column is none of time, or inserts are not at its head. Where retention is declared by a column it is
    /// one of time whatever its type.
    fn of(table: &Table, trace: &Trace, spots: &[Spot], column: &str, declared: bool) -> Option<Age> {
        let data_type = table.columns.get(column).map(|t| t.to_lowercase()).unwrap_or_default();
        let is_time = data_type.starts_with("timestamp") || data_type == "date";
        let is_number = ["bigint", "int8", "integer", "int", "int4"].contains(&data_type.as_str());
        if !is_time && !is_number && !declared {
            return None;
        }
        let told = table.times.get(column);
        // Unit of both: days since 1970.
        let days_told =
            told.map(|told| told.days.1.saturating_sub(told.days.0) as f64).filter(|days| *days > 0.0);
        let ordered = told.and_then(|told| told.ordered);
        let values = inserted(table, trace, spots, column);
        let (Some(first), Some(last)) = (values.first().copied(), values.last().copied()) else {
            // Whether it grows at one end, the order of its rows may tell.
            let grows = declared || is_time && ordered.is_none_or(|ordered| ordered >= ORDERED_MIN);
            return grows.then_some(Age { inserts: 0, head: 0.0, days: days_told, ordered, encoding: None });
        };
        let encoding = if is_time { None } else { encoding(last) };
        // A number that is no time is a counter: its head is no age.
        if !is_time && encoding.is_none() && !declared {
            return None;
        }
        let spread = (last - first).unsigned_abs().max(1);
        let mut most = i64::MIN;
        let mut at_head = 0;
        for value in &values {
            // A little late is at the head as well.
            at_head += usize::from(
                most == i64::MIN
                    || most.saturating_sub(*value).unsigned_abs() <= spread / 20
                    || *value >= most,
            );
            most = most.max(*value);
        }
        // In a day or less all values may be one: whether that is the head, statistics say.
        let in_one_day = is_time && last <= first;
        if in_one_day && let Some(told) = told {
            let late = ((told.days.1 - told.days.0) / 20).max(1);
            at_head = values.iter().filter(|day| **day >= told.days.1.saturating_sub(late)).count();
        }
        let head = at_head as f64 / values.len() as f64;
        let is_known = match in_one_day {
            true => told.is_some(),
            false => last > first,
        };
        if !declared && (values.len() < INSERTS_MIN || head < HEAD_MIN || !is_known) {
            return None;
        }
        let days =
            encoding.map(|encoding| (most - first) as f64 / per_day(encoding)).filter(|days| *days > 0.0);
        Some(Age { inserts: values.len(), head, days: days_told.or(days), ordered, encoding })
    }

    /// How many rows come in a day, as far as it can be known.
    fn daily(&self, table: &Table, keep: Option<u32>, assumed: &mut Vec<String>) -> Option<f64> {
        let rows = table.rows? as f64;
        if let Some(days) = keep {
            assumed.push(format!("its {rows:.0} rows are those of the {days} days that are kept"));
            return Some(rows / f64::from(days.max(1)));
        }
        let days = self.days?;
        assumed.push(format!("its {rows:.0} rows came in the {days:.0} days that the evidence shows"));
        Some(rows / days.max(1.0))
    }
}

/// The values of a column in the order in which they were inserted.
fn inserted(table: &Table, trace: &Trace, spots: &[Spot], column: &str) -> Vec<i64> {
    let Some(key) = table.key(column) else { return Vec::new() };
    let mut values = Vec::new();
    let accesses = spots.iter().map(|spot| &trace.accesses[spot.access as usize]);
    for access in accesses.filter(|access| access.op == Op::Insert) {
        for row in trace.rows_of(access, table.keys.len()).into_iter().flatten() {
            if let Value::Int(value) = trace.values.get(row[key]) {
                values.push(*value);
            }
        }
    }
    values
}

/// How a number holds a time of our days, by its size; `None` if it does not look like one.
fn encoding(value: i64) -> Option<&'static str> {
    // From 2001 to 2065, in seconds since 1970.
    let ours = 1_000_000_000..3_000_000_000_i64;
    let scales: BTreeMap<i64, &'static str> =
        [(1, "epoch-s"), (1_000, "epoch-ms"), (1_000_000, "epoch-us"), (1_000_000_000, "epoch-ns")].into();
    scales.into_iter().find(|(scale, _)| ours.contains(&(value / scale))).map(|(_, name)| name)
}

fn per_day(encoding: &str) -> f64 {
    86_400.0
        * match encoding {
            "epoch-ms" => 1e3,
            "epoch-us" => 1e6,
            "epoch-ns" => 1e9,
            _ => 1.0,
        }
}

impl Lifecycle {
    /// The entry of a spec that says it, as TOML, in a lifecycle of this name.
    pub fn spec(&self, name: &str, database: &str) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let head = format!("[lifecycles.{}]", text(name));
        let mut lines = vec![head, format!("database = {}", text(database))];
        lines.push(format!("tables = [{}]", text(&self.table)));
        lines.push(format!("ahead_count = {}", self.ahead));
        lines.push(String::new());
        lines.push(format!("[[lifecycles.{}.levels]]", text(name)));
        lines.push(format!("column = {}", text(&self.column)));
        lines.push("by = \"range\"".to_owned());
        lines.push(format!("interval = {}", text(self.interval.text())));
        lines.extend(self.encoding.as_ref().map(|encoding| format!("encoding = {}", text(encoding))));
        if let Some(days) = self.keep {
            lines.push(String::new());
            lines.push(format!("[lifecycles.{}.retire]", text(name)));
            lines.push(format!("keep = \"{days}d\""));
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_give_handy_numbers_of_rows_and_of_steps() {
        let cases: [(Option<f64>, Option<u32>, Interval); 9] = [
            (Some(1e8), None, Interval::Hour),
            (Some(3e6), None, Interval::Day),
            (Some(5e5), None, Interval::Week),
            (Some(1e5), None, Interval::Month),
            (Some(1e3), None, Interval::Year),
            (Some(1e3), Some(90), Interval::Week),
            (Some(1e8), Some(90), Interval::Day),
            (None, Some(30), Interval::Day),
            (None, Some(365), Interval::Week),
        ];
        for (daily, keep, want) in cases {
            assert_eq!(interval(daily, keep), want, "{daily:?} rows a day, {keep:?} days kept");
        }
    }

    #[test]
    fn numbers_are_times_by_their_size() {
        let cases = [
            (1_760_000_000, Some("epoch-s")),
            (1_760_000_000_000, Some("epoch-ms")),
            (1_760_000_000_000_000, Some("epoch-us")),
            (1_760_000_000_000_000_000, Some("epoch-ns")),
            (42, None),
            (-1_760_000_000, None),
            (20_261_122, None),
        ];
        for (value, want) in cases {
            assert_eq!(encoding(value), want, "{value}");
        }
    }
}
