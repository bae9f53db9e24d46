//! Wall clocks, and the months on them.
//!
//! A wall clock's time is held like an instant: in microseconds since its own 1970-01-01 00:00.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use super::super::axis::{DAY, SECOND};
use crate::key::time::{Civil, EPOCH_DAYS};

/// The zones that were compiled in: the same on every machine.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The zone of that name in the IANA database, in any case of letters.
pub(crate) fn named_zone(name: &str) -> Option<TimeZone> {
    match name {
        "UTC" | "Etc/UTC" | "Z" => Some(TimeZone::UTC),
        _ => ZONES.get(name).ok(),
    }
}

/// What the wall clock in `zone` shows at an instant; `None` beyond the years that zones are kept for.
pub(crate) fn wall(zone: &TimeZone, instant: i128) -> Option<i128> {
    if *zone == TimeZone::UTC {
        return Some(instant);
    }
    Some(instant + east(zone.to_offset(timestamp(instant)?)))
}

/// The first instant at which the wall clock in `zone` shows `wall` or later; `None` beyond the years that zones are
/// kept for.
pub(crate) fn first_with_wall(zone: &TimeZone, wall: i128) -> Option<i128> {
    if *zone == TimeZone::UTC {
        return Some(wall);
    }
    let shown = Offset::UTC.to_datetime(timestamp(wall)?);
    match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => Some(wall - east(offset)),
        AmbiguousOffset::Fold { before, .. } => Some(wall - east(before)),
        // By the offset after the gap, the missing time would lie before the gap: what follows is the gap itself.
        AmbiguousOffset::Gap { after, .. } => {
            let gap = zone.following(timestamp(wall - east(after))?).next()?;
            Some(gap.timestamp().as_microsecond().into())
        }
    }
}

fn timestamp(micros: i128) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros.try_into().ok()?).ok()
}

fn east(offset: Offset) -> i128 {
    i128::from(offset.seconds()) * SECOND
}

/// The day of a wall clock.
pub(crate) fn civil(wall: i128) -> Civil {
    // Positions go up to the end of a type; beyond it, any day is as wrong as another.
    let days = i64::try_from(wall.div_euclid(DAY)).unwrap_or(i64::MAX / DAY as i64);
    Civil::of_days(days - EPOCH_DAYS)
}

/// A place in a month.
pub(super) struct Months {
    /// Which month, counted from January 2000.
    pub(super) since_2000: i128,
    /// 1 to 31.
    pub(super) day: i64,
    /// Microseconds since midnight.
    in_day: i128,
}

impl Months {
    pub(super) fn of(wall: i128) -> Months {
        let day = civil(wall);
        Months {
            since_2000: i128::from((day.year - 2000) * 12 + day.month - 1),
            day: day.day,
            in_day: wall.rem_euclid(DAY),
        }
    }
}

/// Which month a wall clock shows, counted from January 2000.
pub(super) fn months_since_2000(wall: i128) -> i128 {
    Months::of(wall).since_2000
}

/// The same day and time of the month that comes so many months later.
pub(super) fn month_start(origin: &Months, months: i128) -> i128 {
    let month = origin.since_2000 + months;
    let year = i64::try_from(month.div_euclid(12)).unwrap_or(i64::from(i32::MAX)) + 2000;
    let day = Civil { year, month: month.rem_euclid(12) as i64 + 1, day: origin.day };
    i128::from(day.days() + EPOCH_DAYS) * DAY + origin.in_day
}

/// `06:00`, with seconds where there are some.
pub(super) fn clock_text(wall: i128) -> String {
    let seconds = wall.rem_euclid(DAY) / SECOND;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (hour, minute, 0) => format!("{hour:02}:{minute:02}"),
        (hour, minute, second) => format!("{hour:02}:{minute:02}:{second:02}"),
    }
}

/// `2026-01-31 06:00`.
pub(super) fn wall_text(wall: i128) -> String {
    format!("{} {}", civil(wall), clock_text(wall))
}
