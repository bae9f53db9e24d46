//! The grid that the newest partitions lie on.

use jiff::tz::TimeZone;

use super::super::axis::{DAY, Position};
use super::super::grid::{BadGrid, Grid, Interval, civil, named_zone, natural_origin};
use super::reading::{Reading, Span};
use super::{NotLearned, span_text, zones};

/// How many of the newest partitions may be the model for the interval: the newest may have been merged.
const MODELS: usize = 4;

/// A grid, and what lies on it.
#[derive(Clone, Debug)]
pub(super) struct Regime {
    /// The grid.
    pub(super) grid: Grid,
    /// Of the unbroken row of newest partitions on the grid: how many are exactly one cell.
    pub(super) single: usize,
    /// How many there are in that row, with those that are several cells.
    pub(super) row: usize,
    /// How many partitions there are.
    pub(super) all: usize,
    /// Whether cells begin at natural places.
    pub(super) natural: bool,
}

impl Regime {
    /// How it is known, for people.
    pub(super) fn because(&self) -> String {
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        let learned = format!("learned from {} partition{}", self.single, plural(self.single));
        match self.all - self.single {
            0 => learned,
            others => format!(
                "{learned}; {others} other{} cut differently",
                if others == 1 { " is" } else { "s are" }
            ),
        }
    }
}

/// The newest regime of `reading`, in `zone` if one is asked for.
pub(super) fn newest(reading: &Reading, zone: Option<&str>) -> Result<Regime, NotLearned> {
    if reading.spans.is_empty() {
        return Err(NotLearned::NoInterval);
    }
    let asked = zone.map(|name| named_zone(name).ok_or_else(|| BadGrid::Zone(name.into()))).transpose()?;
    if !reading.axis.is_instant() {
        // The calendar has no zone; one that is asked for says what is today.
        return accepted(reading, best(reading, &asked.unwrap_or(TimeZone::UTC)));
    }
    match asked {
        Some(zone) => {
            let regime = accepted(reading, best(reading, &zone))?;
            let by_days = matches!(regime.grid.interval, Interval::Days(_) | Interval::Months(_));
            match by_days && !regime.natural {
                false => Ok(regime),
                true => Err(NotLearned::Misfit {
                    given: format!("the zone {}", zone.iana_name().unwrap_or("UTC")),
                    bound: reading.newest_upper().map_or_else(String::new, |upper| reading.text(upper)),
                }),
            }
        }
        None => zones::newest(reading),
    }
}

/// `regime` if it says enough, or why not.
pub(super) fn accepted(reading: &Reading, regime: Option<Regime>) -> Result<Regime, NotLearned> {
    let mixed = |newer: usize, why| {
        let spans = &reading.spans;
        let text = |span: Span| span_text(reading.axis, (span.from, span.to));
        let at = spans.len() - 1 - newer;
        NotLearned::Mixed { one: text(spans[at - 1]), other: text(spans[at]), why }
    };
    let newest = reading.spans[reading.spans.len() - 1];
    let several = reading.spans.len() > 1;
    let Some(regime) = regime else {
        return Err(match several {
            true => mixed(0, "their lengths have nothing in common"),
            false => NotLearned::Unnatural { span: span_text(reading.axis, (newest.from, newest.to)) },
        });
    };
    let natural_alone = |span: Span| is_natural_alone(reading, span, &regime.grid.zone);
    let newest_is_single = regime.grid.next(newest.from).ok() == Some(newest.to);
    match (several, regime.single) {
        (false, _) if natural_alone(newest) => Ok(regime),
        (false, _) => Err(NotLearned::Unnatural { span: span_text(reading.axis, (newest.from, newest.to)) }),
        (true, 2..) if newest_is_single || !natural_alone(newest) => Ok(regime),
        (true, 2..) => Err(mixed(0, "the newest has another natural length than those before it")),
        // What came before was no grid, such as a first partition with all of history.
        (true, _) if newest_is_single && reading.spans.len() == 2 && natural_alone(newest) => {
            match natural_alone(reading.spans[0]) {
                true => Err(mixed(0, "both have natural lengths, and they differ")),
                false => Ok(regime),
            }
        }
        (true, _) => Err(mixed(0, "their lengths differ, and there is no third that settles it")),
    }
}

/// The grid in `zone` on which most of the newest partitions are exactly one cell.
pub(super) fn best(reading: &Reading, zone: &TimeZone) -> Option<Regime> {
    let mut best: Option<Regime> = None;
    for model in reading.spans.iter().rev().filter(|span| span.exact).take(MODELS) {
        for interval in lengths(reading, *model, zone) {
            let Some(regime) = regime(reading, *model, interval, zone) else { continue };
            if best.as_ref().is_none_or(|best| regime.single > best.single) {
                best = Some(regime);
            }
        }
    }
    best
}

/// What a partition's length may be called, most natural first.
fn lengths(reading: &Reading, span: Span, zone: &TimeZone) -> Vec<Interval> {
    let axis = reading.axis;
    if let super::super::axis::Axis::Numeric { scale, .. } = axis {
        return vec![Interval::decimal(span.to.0 - span.from.0, scale)];
    }
    if !axis.is_time() {
        return vec![Interval::Number(span.to.0 - span.from.0)];
    }
    let wall = |at: Position| match axis.is_instant() {
        true => super::super::grid::wall(zone, at.0),
        false => Some(at.0),
    };
    let mut lengths = Vec::new();
    if let (Some(from), Some(to)) = (wall(span.from), wall(span.to)) {
        let (first, last) = (civil(from), civil(to));
        let same_clock = from.rem_euclid(DAY) == to.rem_euclid(DAY);
        let months = (last.year - first.year) * 12 + last.month - first.month;
        if same_clock && first.day == last.day && first.day <= 28 {
            lengths.extend(u32::try_from(months).ok().filter(|&n| n > 0).map(Interval::Months));
        }
        // A midnight that does not exist is late by the hour that does not.
        if same_clock || axis.is_instant() && *zone != TimeZone::UTC && shifted(zone, span) {
            let days = (to.div_euclid(DAY) - from.div_euclid(DAY)).try_into().ok();
            lengths.extend(days.filter(|&n| n > 0).map(Interval::Days));
        }
    }
    if lengths.is_empty() {
        lengths.extend(i64::try_from(span.to.0 - span.from.0).ok().map(Interval::Fixed));
    }
    lengths
}

/// Whether an end of `span` is where clocks were set forward.
fn shifted(zone: &TimeZone, span: Span) -> bool {
    let wall = |at: i128| super::super::grid::wall(zone, at);
    let jumps = |at: Position| matches!((wall(at.0 - 1), wall(at.0)), (Some(a), Some(b)) if b - a > 1);
    jumps(span.from) || jumps(span.to)
}

/// The newest row of partitions on the grid of `interval` through `model`; `None` if the newest is not in it.
fn regime(reading: &Reading, model: Span, interval: Interval, zone: &TimeZone) -> Option<Regime> {
    let axis = reading.axis;
    let natural = natural_origin(axis, interval, zone).ok();
    let natural = natural.and_then(|origin| Grid::through(axis, interval, origin, zone.clone()).ok());
    let on_natural = |grid: &Grid| grid.on_grid(model.from) && grid.on_grid(model.to);
    let grid = match natural.filter(on_natural) {
        Some(grid) => grid,
        None => {
            let length = model.to.0 - model.from.0;
            let origin = if axis.is_time() { model.from.0 } else { model.from.0.rem_euclid(length) };
            Grid::through(axis, interval, Position(origin), zone.clone()).ok()?
        }
    };
    let (mut single, mut row) = (0, 0);
    for span in reading.spans.iter().rev() {
        if !span.exact || !grid.on_grid(span.from) || !grid.on_grid(span.to) {
            break;
        }
        row += 1;
        single += usize::from(grid.next(span.from).ok() == Some(span.to));
    }
    let natural = is_natural(&grid);
    (row > 0 && single > 0).then_some(Regime { grid, single, row, all: reading.spans.len(), natural })
}

/// Whether cells begin at natural places: at midnight, on the first of a month, hours at whole hours of the day. A week
/// may begin on any day, and a number of days with any day.
pub(super) fn is_natural(grid: &Grid) -> bool {
    let Ok(wall) = grid.wall(grid.origin.0) else { return false };
    let starts_day = grid.begins_with_day();
    match grid.interval {
        Interval::Months(_) => starts_day && civil(wall).day == 1,
        Interval::Days(_) => starts_day,
        Interval::Fixed(micros) => {
            DAY % i128::from(micros) == 0 && wall.rem_euclid(DAY) % i128::from(micros) == 0
        }
        Interval::Number(_) | Interval::Decimal { .. } => grid.origin.0 == 0 || grid.origin.0 == 1,
    }
}

/// Whether one partition alone tells the interval: a minute to a day that divides a day, a day, a week, a month or some
/// that divide or make years; of numbers, a round one, or one that is counted from zero or one.
fn is_natural_alone(reading: &Reading, span: Span, zone: &TimeZone) -> bool {
    let Some(&interval) = lengths(reading, span, zone).first() else { return false };
    let Ok(grid) = Grid::through(reading.axis, interval, span.from, zone.clone()) else { return false };
    let telling = match interval {
        Interval::Months(n) => 12 % n == 0 || n % 12 == 0,
        Interval::Days(n) => n == 1 || n == 7,
        Interval::Fixed(micros) => micros >= 60_000_000,
        Interval::Number(_) | Interval::Decimal { .. } => {
            let length = (span.to.0 - span.from.0).to_string();
            return is_natural(&grid) || length.trim_end_matches('0').len() == 1;
        }
    };
    telling && is_natural(&grid) && span.exact
}
