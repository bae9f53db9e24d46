//! Lengths of cells.

use std::fmt;
use std::str::FromStr;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// The length of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interval {
    /// Months of the calendar; a quarter is three, a year twelve.
    Months(u32),
    /// Days of the calendar; a week is seven.
    Days(u32),
    /// Elapsed time, in microseconds.
    Fixed(i64),
    /// A number of whole keys.
    Number(i128),
    /// A number of keys with decimals.
    Decimal {
        /// It, times ten to the power of `scale`. Its last digit is not zero.
        units: i128,
        /// How many decimals it has; at least one.
        scale: u32,
    },
}

/// A text that is no interval.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not the length of a partition: {why}; it is written like 1 day, 6 hours, 9 weeks, 1 month or 1000000"
)]
pub struct BadInterval {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Interval {
    /// An interval of numbers of `units` divided by ten to the power of `scale`.
    pub fn decimal(mut units: i128, mut scale: u32) -> Interval {
        while scale > 0 && units % 10 == 0 {
            (units, scale) = (units / 10, scale - 1);
        }
        if scale == 0 { Interval::Number(units) } else { Interval::Decimal { units, scale } }
    }

    /// Whether it is a length of time.
    pub fn is_time(&self) -> bool {
        !matches!(self, Interval::Number(_) | Interval::Decimal { .. })
    }

    /// How long it is on average, in microseconds; `None` for numbers.
    pub fn micros(&self) -> Option<i64> {
        match *self {
            // A Gregorian year has 365.2425 days.
            Interval::Months(months) => i64::from(months).checked_mul(2_629_746 * SECOND),
            Interval::Days(days) => i64::from(days).checked_mul(24 * HOUR),
            Interval::Fixed(micros) => Some(micros),
            Interval::Number(_) | Interval::Decimal { .. } => None,
        }
    }
}

/// Units that an interval can be written in: names, and how much each is.
const UNITS: [(&[&str], Unit); 14] = [
    (&["millennium", "millennia", "millenniums"], Unit::Months(12_000)),
    (&["century", "centuries"], Unit::Months(1_200)),
    (&["decade", "decades", "decennial"], Unit::Months(120)),
    (&["year", "years", "y", "yr", "yrs", "yearly", "annual", "annually"], Unit::Months(12)),
    (&["quarter", "quarters", "quarterly"], Unit::Months(3)),
    (&["month", "months", "mon", "mons", "mo", "monthly"], Unit::Months(1)),
    (&["week", "weeks", "w", "weekly"], Unit::Days(7)),
    (&["day", "days", "d", "daily"], Unit::Days(1)),
    (&["hour", "hours", "h", "hr", "hrs", "hourly"], Unit::Fixed(HOUR)),
    (&["minute", "minutes", "min", "mins", "m"], Unit::Fixed(60 * SECOND)),
    (&["second", "seconds", "sec", "secs", "s"], Unit::Fixed(SECOND)),
    (&["millisecond", "milliseconds", "ms", "msec", "msecs"], Unit::Fixed(1_000)),
    (&["microsecond", "microseconds", "us", "µs", "usec", "usecs"], Unit::Fixed(1)),
    (&["half-hour"], Unit::Fixed(HOUR / 2)),
];

#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Days(i64),
    Fixed(i64),
}

/// What was added up so far.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
}

impl Sum {
    fn add(&mut self, count: i64, unit: Unit) -> Option<()> {
        let (field, each) = match unit {
            Unit::Months(each) => (&mut self.months, each),
            Unit::Days(each) => (&mut self.days, each),
            Unit::Fixed(each) => (&mut self.micros, each),
        };
        *field = field.checked_add(count.checked_mul(each)?)?;
        Some(())
    }

    fn interval(&self) -> Result<Interval, &'static str> {
        let small = |n: i64| u32::try_from(n).map_err(|_| "it is too long");
        match (self.months, self.days, self.micros) {
            (0, 0, 0) => Err("it is empty"),
            (months, 0, 0) => small(months).map(Interval::Months),
            (0, days, 0) => small(days).map(Interval::Days),
            (0, 0, micros) => Ok(Interval::Fixed(micros)),
            _ => {
                Err("months, days and hours cannot be mixed, since their lengths differ from one to the next")
            }
        }
    }
}

impl FromStr for Interval {
    type Err = BadInterval;

    /// Reads `1 day`, `6 hours`, `9 weeks`, `1 year 6 months`, `monthly`, `01:30:00`, `6h`, `1000000`, `1_000_000` or
    /// `0.25`.
    fn from_str(text: &str) -> Result<Interval, BadInterval> {
        let bad = |why| BadInterval { text: text.to_owned(), why };
        let trimmed = text.trim();
        if trimmed.starts_with(|c: char| c.is_ascii_digit())
            && trimmed.chars().all(|c| c.is_ascii_digit() || c == '_' || c == '.')
        {
            return number(&trimmed.replace('_', "")).map_err(bad);
        }
        let mut sum = Sum::default();
        let mut count: Option<i64> = None;
        for word in words(trimmed) {
            if word.contains(':') {
                let micros = clock(&word).ok_or_else(|| bad("its clock is not like 01:30:00"))?;
                sum.add(micros, Unit::Fixed(1)).ok_or_else(|| bad("it is too long"))?;
            } else if word.starts_with(|c: char| c.is_ascii_digit()) {
                if count.is_some() {
                    return Err(bad("a number has no unit"));
                }
                count = Some(word.parse().map_err(|_| bad("its number is not a whole one"))?);
            } else {
                let unit =
                    UNITS.iter().find(|(names, _)| names.contains(&word.as_str())).map(|(_, unit)| *unit);
                let unit = unit.ok_or_else(|| bad("there is no such unit"))?;
                sum.add(count.take().unwrap_or(1), unit).ok_or_else(|| bad("it is too long"))?;
            }
        }
        if count.is_some() {
            return Err(bad("a number has no unit"));
        }
        sum.interval().map_err(bad)
    }
}

/// Numbers, clocks and units, in small letters; `6h` is two of them.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for chunk in text.to_lowercase().split_whitespace() {
        let mut rest = chunk;
        while !rest.is_empty() {
            let numeric = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | '_');
            let first = rest.starts_with(numeric);
            let end = rest.find(|c| numeric(c) != first).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    words
}

/// `HH:MM[:SS]` in microseconds, with any number of hours.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let mut part = |max: i64| parts.next().map(|p| p.parse::<i64>().ok().filter(|n| *n <= max));
    let (hours, minutes, seconds) = (part(1_000_000)??, part(59)??, part(59).unwrap_or(Some(0))?);
    if parts.next().is_some() {
        return None;
    }
    Some(((hours * 60 + minutes) * 60 + seconds) * SECOND)
}

fn number(text: &str) -> Result<Interval, &'static str> {
    const BAD: &str = "it is not a number that can be counted with";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.contains('.') || fraction.len() > 30 {
        return Err(BAD);
    }
    match format!("{whole}{fraction}").parse::<i128>() {
        Ok(0) => Err("it is empty"),
        Ok(units) => Ok(Interval::decimal(units, fraction.len() as u32)),
        Err(_) => Err(BAD),
    }
}

/// As [`Interval::from_str`] reads it, in the largest unit that it is a whole number of.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |f: &mut fmt::Formatter<'_>, count: i64, unit: &str| {
            f.pad(&format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
        };
        match *self {
            Interval::Months(n) if n % 12 == 0 => counted(f, i64::from(n / 12), "year"),
            Interval::Months(n) => counted(f, n.into(), "month"),
            Interval::Days(n) if n % 7 == 0 => counted(f, i64::from(n / 7), "week"),
            Interval::Days(n) => counted(f, n.into(), "day"),
            Interval::Fixed(n) if n % HOUR == 0 => counted(f, n / HOUR, "hour"),
            Interval::Fixed(n) if n % (60 * SECOND) == 0 => counted(f, n / (60 * SECOND), "minute"),
            Interval::Fixed(n) if n % SECOND == 0 => counted(f, n / SECOND, "second"),
            Interval::Fixed(n) if n % 1_000 == 0 => counted(f, n / 1_000, "millisecond"),
            Interval::Fixed(n) => counted(f, n, "microsecond"),
            Interval::Number(n) => f.pad(&n.to_string()),
            Interval::Decimal { units, scale } => {
                let scale = scale as usize;
                let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                f.pad(&format!("{whole}.{fraction}"))
            }
        }
    }
}
