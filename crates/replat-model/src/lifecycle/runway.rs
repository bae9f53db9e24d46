//! How long bounds last.
//!
//! One number for each set: for how long inserts are safe if nothing ever runs again. It counts to the end of the
//! unbroken run of partitions that begins where rows arrive now; a gap ends it. A catch-all behind it (a default, or a
//! range to MAXVALUE) keeps rows from being refused, but does not make the run longer: rows there are rows that
//! somebody has to move.

mod ranges;
mod reading;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::{Bound, Level, Method, Micros, Part, SetFacts, TableName};
use super::forecast::{Forecast, words};
use super::health::{Finding, Severity, codes};

pub use reading::{Moving, Read, runways};

/// How long inserts into one set are safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runway {
    /// The set.
    pub set: TableName,
    /// For how many seconds; `None` for ever, 0 if some inserts already have no partition. 0 as well if it cannot be
    /// told: see `unknown`.
    pub seconds: Option<u64>,
    /// The bound at which it ends, as the engine prints it; `None` if it does not end at one.
    pub until: Option<String>,
    /// A sentence for people: `partitions of app.events are there until 2026-12-01 00:00:00+00; then there is a gap`.
    pub because: String,
    /// Why it cannot be told, if it cannot. Then `seconds` is 0, since not to know is not to be safe.
    pub unknown: Option<String>,
}

/// What the values of a range's key mean, as far as a runway needs it: positions on a line.
pub trait Line {
    /// Which component of the key it is: the one that moves from partition to partition.
    fn key(&self) -> usize {
        0
    }
    /// The position of a bound, as the engine prints it; `None` if it cannot be read.
    fn position(&self, text: &str) -> Option<i128>;
    /// Whether positions are moments.
    fn is_time(&self) -> bool;
    /// The position at a moment, of a line of time.
    fn at_moment(&self, moment: Micros) -> Option<i128>;
    /// The moment of a position, of a line of time. `None` if it is beyond what can be counted.
    fn moment(&self, position: i128) -> Option<Micros>;
}

/// How the keys of one table move on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// How far ahead of the clock rows come, in days; of keys that are times.
    pub lead_days: f64,
    /// The highest key in use, of keys that are numbers.
    pub highest: Option<i128>,
    /// Keys on a busy day, of keys that are numbers.
    pub keys_per_day: Option<f64>,
}

impl Pace {
    /// The pace by a forecast: of numbers that of a busy day, from the highest key; of times that of the clock, with
    /// the measured lead ([`super::forecast::lead`]).
    ///
    /// One bad key far beyond the others ([`Forecast::key_now`]) is not where rows arrive: a highest key that is more
    /// than 30 busy days beyond its line counts as if it were on it.
    pub fn of(forecast: &Forecast, highest: Option<i128>, lead_days: Option<f64>) -> Pace {
        let month = (forecast.keys_per_day_burst.unwrap_or(0.0) * 30.0) as i128;
        let believed = match (highest, forecast.key_now) {
            (Some(highest), Some(line)) if highest > line.saturating_add(month) => Some(line),
            (highest, line) => highest.or(line),
        };
        Pace {
            lead_days: lead_days.unwrap_or(0.0).max(0.0),
            highest: believed,
            keys_per_day: forecast.keys_per_day_burst,
        }
    }
}

/// How the tables of a set that are cut by ranges are read: a set, or a partition of it that is cut further.
pub trait Reading {
    /// The line of the component of the table's key that moves; `None` if it is not known what its bounds mean.
    fn line(&self, table: &TableName, level: &Level) -> Option<Box<dyn Line>>;
    /// The pace of that key.
    fn pace(&self, table: &TableName, level: &Level) -> Pace;
}

/// What stays the same while the levels of a set are gone through.
struct Walk<'a> {
    reading: &'a dyn Reading,
    now: Micros,
}

/// The runway of a set.
///
/// Of ranges: until the end of the run of partitions that holds `now`, or the highest key in use. Of hashes: for ever,
/// or 0 if a remainder is missing. Of lists: for ever, for the values that are listed. Nested tables count as far as
/// rows reach them: all partitions of a list or hash, and of ranges those of the run, each from when rows reach it.
pub fn runway(set: &SetFacts, reading: &dyn Reading, now: Micros) -> Runway {
    let end = level(&set.table, &set.level, &Walk { reading, now }, now);
    Runway {
        set: set.table.clone(),
        seconds: end.at.map(|at| u64::try_from((i128::from(at) - i128::from(now)) / 1_000_000).unwrap_or(0)),
        until: end.until,
        because: end.because,
        unknown: end.unknown,
    }
}

/// Sets whose inserts are safe for less than `least`.
pub fn short(runways: &[Runway], least: Duration) -> Vec<Finding> {
    // Those that cannot be told are found by the health check, whatever is wanted.
    let known = runways.iter().filter(|r| r.unknown.is_none());
    let short = known.filter(|r| r.seconds.is_some_and(|s| s < least.as_secs()));
    short
        .map(|runway| Finding {
            severity: Severity::Warning,
            code: codes::RUNWAY.into(),
            set: Some(runway.set.clone()),
            what: format!(
                "inserts are safe for {:.1} days, {:.1} are wanted: {}",
                runway.seconds.unwrap_or(0) as f64 / 86_400.0,
                least.as_secs_f64() / 86_400.0,
                runway.because
            ),
            remedy:
                "Keep more partitions ready: replat rotate --buffer-days=N, more often than every N days."
                    .into(),
        })
        .collect()
}

/// When inserts into a table cease to be safe.
#[derive(Clone, Debug)]
struct End {
    /// `None` for never.
    at: Option<Micros>,
    until: Option<String>,
    because: String,
    unknown: Option<String>,
}

impl End {
    fn never(because: String) -> End {
        End { at: None, until: None, because, unknown: None }
    }

    fn at(at: Micros, because: String) -> End {
        End { at: Some(at), until: None, because, unknown: None }
    }

    /// At once, as far as anybody knows.
    fn unknown(now: Micros, why: String) -> End {
        End { at: Some(now), until: None, because: format!("not known: {why}"), unknown: Some(why) }
    }

    /// The earlier of two; of two at the same time the one that is certain.
    fn min(self, other: End) -> End {
        let rank = |end: &End| (end.at.is_none(), end.at, end.unknown.is_some());
        if rank(&other) < rank(&self) { other } else { self }
    }
}

/// When inserts into `table`, which arrive from `from` on, cease to be safe.
fn level(table: &TableName, level: &Level, walk: &Walk<'_>, from: Micros) -> End {
    match level.method {
        Method::Range => ranges::end(table, level, walk, from),
        Method::Hash => every_part(table, level, walk, from, hashes(table, level, from)),
        Method::List => every_part(table, level, walk, from, lists(table, level, from)),
    }
}

/// The least of `own` and of all partitions that are cut further.
fn every_part(table: &TableName, level: &Level, walk: &Walk<'_>, from: Micros, own: End) -> End {
    let below = level.parts.iter().filter(|part| !part.detach_pending).filter_map(|part| {
        let end = self::level(&part.table, part.below.as_ref()?, walk, from);
        Some(if end.at.is_some() {
            End { because: format!("{} of {table}: {}", part.table, end.because), ..end }
        } else {
            end
        })
    });
    below.fold(own, End::min)
}

/// For ever if every remainder has a partition, also where moduli differ.
fn hashes(table: &TableName, level: &Level, now: Micros) -> End {
    let parts: Vec<(u32, u32)> = attached(level)
        .filter_map(|part| match part.bound {
            Bound::Hash { modulus, remainder } => Some((modulus, remainder)),
            _ => None,
        })
        .collect();
    let most = parts.iter().map(|(modulus, _)| *modulus).max().unwrap_or(0);
    // Each modulus divides the greatest, so hashes are all there if all remainders of that are.
    let missing = (0..most)
        .find(|of| !parts.iter().any(|(modulus, remainder)| *modulus > 0 && of % modulus == *remainder));
    match missing {
        _ if parts.is_empty() => End::at(now, format!("{table} has no partition")),
        Some(of) => {
            let why =
                format!("remainder {of} of modulus {most} of {table} has no partition: its rows are refused");
            End::at(now, why)
        }
        None => End::never(format!("every remainder of {table} has a partition")),
    }
}

/// For ever for what is listed.
fn lists(table: &TableName, level: &Level, now: Micros) -> End {
    let listed = attached(level).any(|part| matches!(part.bound, Bound::List(_)));
    match catch_all(level) {
        Some(rest) if listed => {
            End::never(format!("lists do not run out; values of {table} that are not listed go to {rest}"))
        }
        None if listed => {
            End::never(format!("lists do not run out; values of {table} that are not listed are refused"))
        }
        Some(rest) => End::never(format!("{table} lists no value: all rows go to {rest}")),
        None => End::at(now, format!("{table} has no partition")),
    }
}

/// What takes rows that belong to no other partition, in words.
fn catch_all(level: &Level) -> Option<String> {
    attached(level)
        .find(|part| part.bound == Bound::Default)
        .map(|part| format!("the default partition {}", part.table))
}

/// The partitions that rows can reach. Those of a pending detach are none.
fn attached(level: &Level) -> impl Iterator<Item = &Part> {
    level.parts.iter().filter(|part| !part.detach_pending)
}

/// A number of seconds for people: `30 days`.
pub fn spoken(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "for ever".to_owned(), |seconds| words::days(seconds as f64 / 86_400.0))
}
