//! Until when a catalogue that stays as it is has nothing to do.
//!
//! A run that found nothing to do need not be repeated while nothing can have become due. What becomes due by the
//! clock is known beforehand: the next bound, the end of a grace, the next day. What becomes due by rows is not; a
//! set that depends on rows is looked at every time. Rows in a default partition are asked about separately.

use super::draft::Wish;
use super::facts::{Bound, Facts, Level, Method, Micros, SetFacts};
use super::infer;
use super::policy::{LevelPolicy, Lifecycle};

const HOUR: Micros = 3_600_000_000;
const DAY: Micros = 24 * HOUR;

/// How long a set rests whose next bound is not told by its first key alone: one with several keys.
const COMPOSITE: Micros = HOUR / 6;

/// Until when, by the database's clock; `None` if rows, and not the clock, say what is due.
pub fn until(facts: &Facts, wish: &Wish) -> Option<Micros> {
    let now = facts.vitals.now;
    // Horizons are counted in days, and samples for forecasts are taken once a day at least.
    let mut until = now - now.rem_euclid(DAY) + DAY;
    for set in &facts.sets {
        let Some((_, lifecycle)) = wish.of(set) else { continue };
        until = until.min(of_set(set, &lifecycle, now)?);
    }
    let drops = facts.loose.iter().filter_map(|loose| loose.drop_after).filter(|at| *at > now);
    Some(drops.fold(until, Micros::min))
}

fn of_set(set: &SetFacts, lifecycle: &Lifecycle, now: Micros) -> Option<Micros> {
    // What another tool is told, or whether it is on, changes without a trace in the catalogue.
    if set.managed_by.is_some() {
        return None;
    }
    let retire = lifecycle.retire.clone().unwrap_or_default();
    let by_rows = retire.keep_bytes.is_some() || retire.keep_rows.is_some() || retire.when.is_some();
    let grows = lifecycle.levels.iter().any(|level| level.grow.is_some());
    if by_rows || grows || lifecycle.partition_size.is_some() {
        return None;
    }
    of_level(&set.level, &lifecycle.levels, now)
}

fn of_level(level: &Level, hints: &[LevelPolicy], now: Micros) -> Option<Micros> {
    // The ranges of the edge policy are catch-alls whose rows nobody asks about.
    if level.parts.iter().any(|part| part.is_catch_all() && part.bound != Bound::Default) {
        return None;
    }
    let mut until = match level.method {
        Method::Range => of_ranges(level, hints.first(), now)?,
        Method::List | Method::Hash => now + DAY,
    };
    for below in level.parts.iter().filter_map(|part| part.below.as_ref()) {
        until = until.min(of_level(below, hints.get(1..).unwrap_or_default(), now)?);
    }
    Some(until)
}

/// The end of the partition in use, since the next one is wanted from then on.
fn of_ranges(level: &Level, hint: Option<&LevelPolicy>, now: Micros) -> Option<Micros> {
    let bounds: Vec<_> = level
        .parts
        .iter()
        .filter_map(|part| match &part.bound {
            Bound::Range { from, to } => Some((from.first()?.clone(), to.first()?.clone())),
            _ => None,
        })
        .collect();
    // A set that nobody can plan for is found fault with, and never rests; so this one has a range behind other keys.
    let Ok(learned) = infer::learn(&level.keys.first()?.type_name, hint, &bounds, now) else {
        return Some(now + COMPOSITE);
    };
    let grid = learned.grid;
    match grid.at_moment(now) {
        Some(here) => grid.moment(grid.cell(here).ok()?.1),
        // Numbers come at a pace that is forecast in days, so an hour changes little.
        None => Some(now + HOUR),
    }
}
