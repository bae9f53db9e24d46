//! Days and moments as PostgreSQL writes and reads them in its ISO date style.
//!
//! Absent on purpose: time zones by name. PostgreSQL writes numeric offsets, and a name would need a database of
//! zones.

use std::fmt;
use std::ops::{Range, RangeInclusive};

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
pub(crate) const EPOCH_DAYS: i64 = 10_957;
pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const DAY: i64 = 86_400 * SECOND;
/// The moments that PostgreSQL's `timestamp` can hold: from 4714-11-24 BC to before 294277-01-01.
pub(crate) const MOMENTS: Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;
/// The years that PostgreSQL's `date` can hold, counted without a gap (year 0 is 1 BC).
const YEARS: RangeInclusive<i64> = -4_713..=5_874_897;

/// Whether a moment is read with an offset from UTC.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    /// There is none, and none may be given.
    None,
    /// There is one; a moment without one is UTC.
    Offset,
}

/// Days since 2000-01-01, or what is wrong with `text`.
pub(crate) fn parse_date(text: &str) -> Result<i32, &'static str> {
    refuse_infinity(text)?;
    let (text, era) = split_era(text);
    i32::try_from(days(text, era)?).map_err(|_| OUT_OF_RANGE)
}

/// Microseconds since 2000-01-01 00:00 (UTC with [`Zone::Offset`]), or what is wrong with `text`.
pub(crate) fn parse_timestamp(text: &str, zone: Zone) -> Result<i64, &'static str> {
    refuse_infinity(text)?;
    let (text, era) = split_era(text);
    let (date, rest) = match text.find([' ', 'T']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, "00:00:00"),
    };
    let (clock, offset) = split_offset(rest);
    if zone == Zone::None && offset.is_some() {
        return Err("a timestamp has no offset from UTC; the type with one is timestamptz");
    }
    let seconds_east = offset.map_or(Ok(0), parse_offset)?;
    days(date, era)?
        .checked_mul(DAY)
        .and_then(|day| day.checked_add(parse_clock(clock)?))
        .ok_or("the time of day is not HH:MM:SS, or the moment is out of range")?
        .checked_sub(seconds_east * SECOND)
        .filter(|at| MOMENTS.contains(at))
        .ok_or(OUT_OF_RANGE)
}

/// A day, as PostgreSQL writes it.
pub(crate) fn date_text(days: i32) -> String {
    let day = Civil::of_days(i64::from(days));
    format!("{day}{}", day.era())
}

/// A moment, as PostgreSQL writes it; with [`Zone::Offset`] always in UTC, `+00`.
pub(crate) fn timestamp_text(at: i64, zone: Zone) -> String {
    let day = Civil::of_days(at.div_euclid(DAY));
    let in_day = at.rem_euclid(DAY);
    let (seconds, micros) = (in_day / SECOND, in_day % SECOND);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match micros {
        0 => String::new(),
        _ => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    };
    let offset = if zone == Zone::Offset { "+00" } else { "" };
    format!("{day} {hour:02}:{minute:02}:{second:02}{fraction}{offset}{}", day.era())
}

const OUT_OF_RANGE: &str = "it is out of range";

fn refuse_infinity(text: &str) -> Result<(), &'static str> {
    match text {
        "infinity" | "-infinity" => Err("an infinite key has no place among partitions"),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
enum Era {
    Common,
    Before,
}

fn split_era(text: &str) -> (&str, Era) {
    text.strip_suffix(" BC").map_or((text, Era::Common), |text| (text, Era::Before))
}

/// The clock, and the offset with its sign.
fn split_offset(text: &str) -> (&str, Option<&str>) {
    match text.find(['+', '-', 'Z']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    }
}

/// `+05`, `+05:30`, `-03:30:15` or `Z`, in seconds east of UTC.
fn parse_offset(text: &str) -> Result<i64, &'static str> {
    const BAD: &str = "the offset from UTC is not like +02 or +05:30";
    let (sign, text) = match text.split_at_checked(1) {
        Some(("Z", "")) => return Ok(0),
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(BAD),
    };
    let mut parts = text.split(':');
    let mut part = |range| parts.next().map_or(Some(0), |part| number(part, 2, range));
    let (hours, minutes, seconds) = (part(0..=15), part(0..=59), part(0..=59));
    match (hours, minutes, seconds, parts.next()) {
        (Some(h), Some(m), Some(s), None) => Ok(sign * (h * 3600 + m * 60 + s)),
        _ => Err(BAD),
    }
}

/// `HH:MM[:SS[.ffffff]]` in microseconds. `24:00:00` is the next midnight, as in PostgreSQL.
fn parse_clock(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2, 0..=24)?;
    let minute = number(parts.next()?, 2, 0..=59)?;
    let second = parts.next().map_or(Some(0), |part| number(part, 2, 0..=59))?;
    if parts.next().is_some() || !(1..=6).contains(&fraction.len()) {
        return None;
    }
    let micros = number(&format!("{fraction:0<6}"), 6, 0..=999_999)?;
    let in_day = ((hour * 60 + minute) * 60 + second) * SECOND + micros;
    (in_day <= DAY).then_some(in_day)
}

/// Days since 2000-01-01 of `YYYY-MM-DD`.
fn days(text: &str, era: Era) -> Result<i64, &'static str> {
    const BAD: &str = "it is not a day like 2026-01-31";
    let mut parts = text.split('-');
    let mut part = |width: RangeInclusive<usize>, range: RangeInclusive<i64>| {
        parts.next().filter(|p| width.contains(&p.len())).and_then(|p| number(p, p.len(), range))
    };
    let written = part(4..=7, 1..=*YEARS.end()).ok_or(BAD)?;
    let month = part(2..=2, 1..=12).ok_or(BAD)?;
    let day = part(2..=2, 1..=31).ok_or(BAD)?;
    if parts.next().is_some() {
        return Err(BAD);
    }
    let year = match era {
        Era::Common => written,
        Era::Before => 1 - written,
    };
    if !YEARS.contains(&year) {
        return Err(OUT_OF_RANGE);
    }
    let civil = Civil { year, month, day };
    let days = civil.days();
    // A day that the month does not have comes back as another one.
    if Civil::of_days(days) == civil { Ok(days) } else { Err("the month does not have that day") }
}

/// Exactly `width` digits, in `range`.
fn number(text: &str, width: usize, range: RangeInclusive<i64>) -> Option<i64> {
    let digits = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|n| range.contains(n))
}

/// A day of the proleptic Gregorian calendar; year 0 is 1 BC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    /// The year.
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: i64,
    /// 1 to 31.
    pub(crate) day: i64,
}

impl Civil {
    /// Days since 2000-01-01. Counts years from March, so that the leap day is the last of its year.
    pub(crate) fn days(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468 - EPOCH_DAYS
    }

    /// The inverse of [`Civil::days`].
    pub(crate) fn of_days(days: i64) -> Civil {
        let shifted = days + EPOCH_DAYS + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + of_era + i64::from(month <= 2);
        Civil { year, month, day: day_of_year - (153 * from_march + 2) / 5 + 1 }
    }

    fn era(self) -> &'static str {
        if self.year > 0 { "" } else { " BC" }
    }
}

impl fmt::Display for Civil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written = if self.year > 0 { self.year } else { 1 - self.year };
        write!(f, "{written:04}-{:02}-{:02}", self.month, self.day)
    }
}
