//! Until when nothing becomes due.

use replat_model::lifecycle::draft::Wish;
use replat_model::lifecycle::facts::{Bound, Edge, Facts, Method, Micros};
use replat_model::lifecycle::policy::{Lifecycle, Retire};
use replat_model::lifecycle::steady::until;

use super::given::{level, part, set};

const HOUR: Micros = 3_600_000_000;

/// Noon of 2026-03-10, UTC.
const NOON: Micros = 1_773_144_000_000_000;

fn days(interval_hours: i64) -> Facts {
    let edge = |hours: i64| {
        let at = jiff::Timestamp::from_second(NOON / 1_000_000 + hours * 3_600).expect("a moment");
        vec![Edge::At(at.strftime("%Y-%m-%d %H:%M:%S+00").to_string())]
    };
    let parts = (-3..6).map(|n| {
        let from = n * interval_hours - 12 % interval_hours;
        let bound = Bound::Range { from: edge(from), to: edge(from + interval_hours) };
        part(&format!("events_{}", n + 3), bound)
    });
    let mut set = set(level(Method::Range, parts.collect()));
    set.level.keys[0].type_name = "timestamp with time zone".into();
    let mut facts = Facts { sets: vec![set], ..Facts::default() };
    facts.vitals.now = NOON + 60_000_000;
    facts
}

#[test]
fn what_the_clock_makes_due_ends_the_rest_and_what_rows_make_due_allows_none() {
    let by_rows = Retire { keep_rows: Some(1), ..Retire::default() };
    let by_rows =
        Wish { overrides: Lifecycle { retire: Some(by_rows), ..Lifecycle::default() }, ..Wish::default() };
    let edge = |facts: &mut Facts| {
        let bound =
            Bound::Range { from: vec![Edge::At("2026-04-01 00:00:00+00".into())], to: vec![Edge::Max] };
        facts.sets[0].level.parts.push(part("rest", bound));
    };
    let default = |facts: &mut Facts| {
        facts.sets[0].level.parts.push(part("rest", Bound::Default));
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
