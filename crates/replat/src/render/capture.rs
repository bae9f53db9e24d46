//! Captures, for people.

use std::path::Path;
use std::time::Duration;

use super::{bytes, count, counted, moment, span};
use crate::capture::EvidenceSummary;
use replat_model::deploy::Timestamp;

/// A capture has begun.
pub fn began(name: &str, database: &str, tiers: &[String], lasts: Duration) -> String {
    format!(
        "capture {name} of {database}: {} for {}; Ctrl-C or `replat capture stop {name}` ends it",
        tiers.join(" "),
        millis(lasts)
    )
}

fn millis(duration: Duration) -> String {
    span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// How far it is.
pub fn progress(elapsed: Duration, lasts: Duration, writes: u64, transactions: u64, size: u64) -> String {
    format!(
        "  {} of {}   {} writing transactions   {} sampled   {}",
        millis(elapsed),
        millis(lasts),
        count(writes),
        count(transactions),
        bytes(size)
    )
}

/// What could be had.
pub fn outlook(database: &str, tiers: &[String], lacking: &[String]) -> String {
    let mut text = format!("{database} would be captured: {}\n\n", tiers.join(" "));
    text += &missing(lacking);
    text += "No change has been made.\n";
    text
}

fn missing(lacking: &[String]) -> String {
    lacking.iter().map(|lacking| format!("  lacking   {lacking}\n")).collect()
}

/// A capture has ended.
pub fn ended(name: &str, path: &Path, told: &EvidenceSummary, why: &str) -> String {
    let why = match why {
        "size" => "it came to --max-size",
        "transactions" => "it came to --max-transactions",
        "stopped" => "it was ended",
        _ => "its time was over",
    };
    format!(
        "{}\n  ended     {why}\nNext:  replat advise --evidence {}\n",
        shown(name, path, told).trim_end(),
        path.display()
    )
}

/// What a file of evidence has.
pub fn shown(name: &str, path: &Path, told: &EvidenceSummary) -> String {
    let mut text = format!("{name}    {}    {}\n\n", told.tiers().join(" "), bytes(told.bytes));
    if let Some((from, until)) = told.head.span {
        let at = |seconds: f64| moment(Timestamp((seconds * 1e3).max(0.0) as u64));
        let lasted = span(((until - from) * 1e3).max(0.0) as u64);
        text += &match told.is_broken_off {
            true => format!("  began     {}\n", at(from)),
            false => format!("  began     {}, took {lasted}\n", at(from)),
        };
    }
    text += &format!("  T0        {}\n", counted_of(told.tables, "table", "tables"));
    text += &format!("  T1        {}\n", counted_of(told.statements, "statement", "statements"));
    text += &format!(
        "  T2        {}, {} written\n",
        counted_of(told.writes, "writing transaction", "writing transactions"),
        counted_of(told.rows_written, "row", "rows")
    );
    let share = told.head.sampled.map(|share| format!(", a share of {share}")).unwrap_or_default();
    text += &format!(
        "  T3        {} with {}{share}\n",
        counted_of(told.transactions, "whole transaction", "whole transactions"),
        counted_of(told.executed, "statement", "statements")
    );
    if told.places > 0 {
        let keys = counted_of(told.places, "key", "keys");
        text += &format!("  places    of {keys} it is known in which partition they are\n");
    }
    if let Some(hashed) = &told.head.hashed {
        text += &format!("  secret    {hashed} (its name; the secret itself is gone)\n");
    }
    text += &format!("  file      {}\n", path.display());
    if told.is_broken_off {
        text += "  note      it was never finished; what it has can be used\n";
    }
    text + &missing(&told.head.lacking)
}

fn counted_of(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// All captures.
pub fn list(rows: &[(&str, &str, &EvidenceSummary)]) -> String {
    if rows.is_empty() {
        return "There are no captures yet.\nNext:  replat capture start\n".to_owned();
    }
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max(4);
    let mut text = String::new();
    for (name, state, told) in rows {
        text += &format!(
            "{name:<width$}  {state:<8} {:<12} {:>10}   {}\n",
            told.tiers().join(" "),
            bytes(told.bytes),
            counted(told.head.lacking.len(), "thing lacking", "things lacking")
        );
    }
    text
}
