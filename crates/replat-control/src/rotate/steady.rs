//! Until when a catalogue that stays as it is has nothing to do.
//!
//! A run that found nothing to do need not be repeated while nothing can have become due. What becomes due by the
//! clock is known beforehand: the next bound, the end of a grace, the next day. What becomes due by rows is not; a
//! set that depends on rows is looked at every time. Rows in a default partition are asked about separately.

use replat_model::lifecycle::draft::Wish;
use replat_model::lifecycle::facts::{Bound, Facts, Level, Method, Micros, SetFacts};
use replat_model::lifecycle::infer;
use replat_model::lifecycle::policy::{LevelPolicy, Lifecycle};

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

#[cfg(test)]
mod tests {
    use super::super::tests::{part, range, set};
    use super::*;
    use replat_model::lifecycle::facts::{Edge, TableName};
    use replat_model::lifecycle::policy::Retire;

    /// Noon of 2026-03-10, UTC.
    const NOON: Micros = 1_773_144_000_000_000;

    fn days(interval_hours: i64) -> Facts {
        let mut set = set("events");
        set.level.keys[0].type_name = "timestamp with time zone".into();
        let text = |hours: i64| {
            let at = jiff::Timestamp::from_second(NOON / 1_000_000 + hours * 3_600).expect("a moment");
            at.strftime("%Y-%m-%d %H:%M:%S+00").to_string()
        };
        set.level.parts = (-3..6)
            .map(|n| {
                let table = TableName::new("app", format!("events_{}", n + 3));
                let from = n * interval_hours - 12 % interval_hours;
                part(&table, range(&text(from), &text(from + interval_hours)))
            })
            .collect();
        let mut facts = Facts { sets: vec![set], ..Facts::default() };
        facts.vitals.now = NOON + 60_000_000;
        facts
    }

    #[test]
    fn what_the_clock_makes_due_ends_the_rest_and_what_rows_make_due_allows_none() {
        let by_rows = Retire { keep_rows: Some(1), ..Retire::default() };
        let by_rows = Wish {
            overrides: Lifecycle { retire: Some(by_rows), ..Lifecycle::default() },
            ..Wish::default()
        };
        let edge = |facts: &mut Facts| {
            let bound =
                Bound::Range { from: vec![Edge::At("2026-04-01 00:00:00+00".into())], to: vec![Edge::Max] };
            let table = TableName::new("app", "rest");
            facts.sets[0].level.parts.push(part(&table, bound));
        };
        let default = |facts: &mut Facts| {
            let table = TableName::new("app", "rest");
            facts.sets[0].level.parts.push(part(&table, Bound::Default));
        };
        let nothing = |_: &mut Facts| {};
        type Change<'a> = &'a dyn Fn(&mut Facts);
        let cases: [(&str, i64, Wish, Change<'_>, Option<i64>); 5] = [
            ("daily: until midnight", 24, Wish::default(), &nothing, Some(12)),
            ("hourly: until the hour is over", 1, Wish::default(), &nothing, Some(1)),
            ("a default is asked about separately", 24, Wish::default(), &default, Some(12)),
            ("an edge is not", 24, Wish::default(), &edge, None),
            ("rows decide", 24, by_rows, &nothing, None),
        ];
        for (what, hours, wish, change, wanted) in cases {
            let mut facts = days(hours);
            change(&mut facts);
            let found = until(&facts, &wish).map(|until| (until - NOON) / HOUR);
            assert_eq!(found, wanted, "{what}");
        }
    }
}
