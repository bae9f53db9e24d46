//! Whose midnights the bounds are.
//!
//! Instants are kept in UTC, so a set that is cut at midnights of Berlin has bounds at 22:00 and 23:00. What is tried is
//! a list with one zone for each way in which clocks are set today; that it was another with the same clocks makes no
//! difference to any bound.

use std::sync::LazyLock;

use jiff::tz::TimeZone;

use super::super::axis::{DAY, Position};
use super::super::grid::{Grid, Interval, named_zone};
use super::NotLearned;
use super::reading::Reading;
use super::regime::{Regime, accepted, best};

/// One zone for each way in which clocks are set today, those with most people first.
const NAMES: [&str; 77] = [
    "Europe/Berlin",
    "America/New_York",
    "Europe/London",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "America/Los_Angeles",
    "America/Chicago",
    "America/Denver",
    "America/Sao_Paulo",
    "Europe/Athens",
    "Europe/Moscow",
    "Europe/Istanbul",
    "Australia/Sydney",
    "Asia/Jakarta",
    "Asia/Dubai",
    "Asia/Karachi",
    "Asia/Dhaka",
    "Africa/Cairo",
    "Africa/Lagos",
    "Africa/Johannesburg",
    "Africa/Nairobi",
    "America/Mexico_City",
    "America/Bogota",
    "America/Phoenix",
    "America/Halifax",
    "America/Caracas",
    "America/Santiago",
    "America/Havana",
    "America/St_Johns",
    "America/Anchorage",
    "America/Adak",
    "Pacific/Honolulu",
    "America/Asuncion",
    "America/Nuuk",
    "America/Noronha",
    "America/Miquelon",
    "Atlantic/Azores",
    "Atlantic/Cape_Verde",
    "Africa/Casablanca",
    "Africa/Abidjan",
    "Europe/Chisinau",
    "Asia/Jerusalem",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Riyadh",
    "Asia/Tehran",
    "Asia/Baku",
    "Asia/Kabul",
    "Asia/Tashkent",
    "Asia/Colombo",
    "Asia/Kathmandu",
    "Asia/Omsk",
    "Asia/Yangon",
    "Asia/Bangkok",
    "Asia/Singapore",
    "Asia/Manila",
    "Asia/Seoul",
    "Asia/Vladivostok",
    "Asia/Magadan",
    "Asia/Kamchatka",
    "Australia/Brisbane",
    "Australia/Perth",
    "Australia/Adelaide",
    "Australia/Darwin",
    "Australia/Eucla",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Norfolk",
    "Pacific/Fiji",
    "Pacific/Tongatapu",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Marquesas",
    "Pacific/Pago_Pago",
    "Antarctica/Troll",
];

static ZONES: LazyLock<Vec<TimeZone>> =
    LazyLock::new(|| NAMES.iter().filter_map(|name| named_zone(name)).collect());

/// More partitions than this say nothing more about the zone: more than a year of days.
const ENOUGH: usize = 800;
/// How far zones must agree: a year and a month.
const AHEAD: i128 = 400 * DAY;

/// The newest regime of `reading`, in UTC or whatever zone fits.
pub(super) fn newest(reading: &Reading) -> Result<Regime, NotLearned> {
    let utc = best(reading, &TimeZone::UTC);
    // Anything at midnight UTC is of UTC: it could be a winter in London, but then a summer has to show it, or somebody
    // has to say so. Hours go on by the clock of no country.
    let is_whole = |fit: &Regime| fit.row == fit.all;
    let settled = |fit: &Regime| match fit.grid.interval {
        Interval::Fixed(_) => is_whole(fit) && (fit.natural || fit.all > 1),
        Interval::Number(_) | Interval::Decimal { .. } => true,
        Interval::Days(_) | Interval::Months(_) => is_whole(fit) && fit.natural,
    };
    if utc.as_ref().is_some_and(settled) {
        return accepted(reading, utc);
    }
    let newest = Reading { spans: last(&reading.spans, ENOUGH), ..reading.clone() };
    let mut fits: Vec<Regime> = ZONES
        .iter()
        .filter_map(|zone| accepted(&newest, best(&newest, zone).filter(|fit| fit.natural)).ok())
        .filter(|fit| matches!(fit.grid.interval, Interval::Days(_) | Interval::Months(_)))
        .collect();
    let most = fits.iter().map(|fit| fit.single).max().unwrap_or(0);
    let in_utc = utc.as_ref().map_or(0, |fit| fit.single + usize::from(fit.natural));
    if most == 0 || in_utc > most {
        return accepted(reading, utc);
    }
    fits.retain(|fit| fit.single == most);
    for fit in &mut fits {
        fit.all = reading.spans.len();
    }
    agreed(reading, fits, utc.filter(|utc| utc.single >= most && utc.single > 1))
}

/// The first of several fits, if all go on alike.
fn agreed(reading: &Reading, fits: Vec<Regime>, utc: Option<Regime>) -> Result<Regime, NotLearned> {
    let Some(upper) = reading.newest_upper() else { return Err(NotLearned::NoInterval) };
    let mut ways: Vec<(Vec<Position>, &Regime)> = Vec::new();
    for fit in fits.iter().chain(&utc) {
        let next = ahead(&fit.grid, upper);
        if !ways.iter().any(|(way, _)| *way == next) {
            ways.push((next, fit));
        }
    }
    match ways.as_slice() {
        [(_, fit)] => Ok((*fit).clone()),
        several => Err(NotLearned::Zone {
            bound: reading.text(upper),
            zones: several
                .iter()
                .take(4)
                .map(|(_, fit)| fit.grid.zone.iana_name().unwrap_or("UTC").to_owned())
                .collect(),
        }),
    }
}

/// The bounds after `upper`, as far as zones must agree.
fn ahead(grid: &Grid, upper: Position) -> Vec<Position> {
    let end = Position(upper.0 + AHEAD);
    let mut bounds = Vec::new();
    let mut at = upper;
    while at < end
        && let Ok(next) = grid.next(at)
    {
        bounds.push(next);
        at = next;
    }
    bounds
}

fn last<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    all[all.len().saturating_sub(count)..].to_vec()
}
