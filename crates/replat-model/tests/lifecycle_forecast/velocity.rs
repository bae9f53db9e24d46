//! Whether rows come faster than forecast, and whether partitions will last.

use replat_model::lifecycle::draft::Wish;
use replat_model::lifecycle::facts::{Facts, Method, Micros, Sample, SetFacts};
use replat_model::lifecycle::policy::Lifecycle;
use replat_model::lifecycle::velocity::Velocity;

use super::given::{level, range, set};

const NOW: Micros = 1_773_144_000_000_000;
const SECOND: Micros = 1_000_000;

/// A table of numbers with so many partitions of `width` keys, whose highest key rose by 1,000 a day until a day
/// ago.
fn numbers(parts: i64, width: i64, known: bool) -> SetFacts {
    let parts = (0..parts).map(|n| range(n * width, (n + 1) * width)).collect();
    let mut set = set(level(Method::Range, parts));
    if known {
        set.samples = (0..12).map(|day| sample(NOW - (12 - day) * 86_400 * SECOND, day * 1_000)).collect();
    }
    set
}

fn sample(at: Micros, high: i64) -> Sample {
    let inserted = u64::try_from(high).expect("no less than nothing");
    Sample { at, inserted, rows: inserted, bytes: 0, high: Some(high.to_string()) }
}

/// What is measured `after` seconds from the first measurement, when the highest key has come to `high`.
fn look(set: &SetFacts, after: i64, high: i64) -> Facts {
    let mut set = set.clone();
    let now = NOW + after * SECOND;
    set.samples.push(sample(now, high));
    set.level.high = Some(high.to_string());
    let mut facts = Facts { sets: vec![set], ..Facts::default() };
    facts.vitals.now = now;
    facts
}

#[test]
fn partitions_of_numbers_have_to_last_at_the_pace_that_is_seen() {
    // What is there, the highest key after ten seconds from 12,000 on, and what is asked for.
    let cases: [(&str, SetFacts, i64, Option<Option<u32>>); 6] = [
        ("as forecast", numbers(10, 10_000, true), 12_001, None),
        ("hardly more than nothing", numbers(10, 10_000, true), 12_090, None),
        // 10,000 in ten seconds are 86.4 million a day: two days of them in partitions of 10 million.
        ("a surge", numbers(4, 10_000_000, true), 22_000, Some(Some(18))),
        ("a surge for which there is room", numbers(40, 10_000_000, true), 22_000, Some(None)),
        // Without a forecast an hour counts, and two are asked for: 7.2 million.
        ("no forecast, and no hour left", numbers(3, 1_000_000, false), 22_000, Some(Some(8))),
        ("no forecast, and hours left", numbers(9, 1_000_000, false), 22_000, None),
    ];
    for (what, set, high, wanted) in cases {
        let mut velocity = Velocity::default();
        let wish = Wish::default();
        assert_eq!(velocity.measure(&look(&set, 0, 12_000), &wish, 4.0), [], "{what}: the first look");
        let found = velocity.measure(&look(&set, 10, high), &wish, 4.0);
        assert_eq!(found.first().map(|surge| surge.ahead), wanted, "{what}: {found:?}");
    }
}

#[test]
fn no_more_than_a_bound_is_asked_for_at_once() {
    let set = numbers(3, 100, false);
    let mut velocity = Velocity::default();
    velocity.measure(&look(&set, 0, 10), &Wish::default(), 4.0);
    let found = velocity.measure(&look(&set, 10, 290), &Wish::default(), 4.0);
    assert_eq!(found.first().and_then(|surge| surge.ahead), Some(100));
}

#[test]
fn a_surge_with_room_is_told_once_until_it_has_passed() {
    let set = numbers(1_000, 10_000_000, true);
    let mut velocity = Velocity::default();
    let wish = Wish::default();
    let mut told = Vec::new();
    for (after, high) in [(0, 12_000), (10, 22_000), (20, 32_000), (30, 32_001), (40, 42_001)] {
        told.push(velocity.measure(&look(&set, after, high), &wish, 4.0).len());
    }
    assert_eq!(told, [0, 1, 0, 0, 1]);
}

#[test]
fn a_set_of_which_nothing_is_wanted_and_a_standby_are_not_measured() {
    let set = numbers(1, 1_000, true);
    let other = Lifecycle { tables: vec!["app.other".into()], ..Lifecycle::default() };
    let others = Wish { lifecycles: vec![("other".into(), other)], ..Wish::default() };
    let standby = |mut facts: Facts| {
        facts.vitals.read_only = true;
        facts
    };
    let (mut elsewhere, mut standing_by) = (Velocity::default(), Velocity::default());
    for (after, high) in [(0, 12_000), (10, 90_000)] {
        let facts = look(&set, after, high);
        assert_eq!(elsewhere.measure(&facts, &others, 4.0), []);
        assert_eq!(standing_by.measure(&standby(facts), &Wish::default(), 4.0), []);
    }
}
