//! How long bounds last, over every shape.

use std::collections::BTreeMap;

use proptest::prelude::*;
use replat_model::lifecycle::facts::{Bound, Edge, Level, Method, Micros, TableName};
use replat_model::lifecycle::forecast::Forecast;
use replat_model::lifecycle::runway::{Line, Pace, Reading, Runway, runway};

use super::given::*;

/// Positions are days since [`NOW`], which is day 0.
struct Days;

impl Line for Days {
    fn position(&self, text: &str) -> Option<i128> {
        text.parse::<i64>().ok().map(|day| i128::from(NOW + day * DAY))
    }
    fn is_time(&self) -> bool {
        true
    }
    fn at_moment(&self, moment: Micros) -> Option<i128> {
        Some(moment.into())
    }
    fn moment(&self, position: i128) -> Option<Micros> {
        position.try_into().ok()
    }
}

/// Positions are numbers.
struct Numbers;

impl Line for Numbers {
    fn position(&self, text: &str) -> Option<i128> {
        text.parse().ok()
    }
    fn is_time(&self) -> bool {
        false
    }
    fn at_moment(&self, _: Micros) -> Option<i128> {
        None
    }
    fn moment(&self, _: i128) -> Option<Micros> {
        None
    }
}

/// Tables with a pace have numbers; others have days. One called `app.riddle` has nothing.
#[derive(Default)]
struct Read {
    lead: f64,
    paces: BTreeMap<TableName, (Option<i128>, Option<f64>)>,
}

impl Reading for Read {
    fn line(&self, table: &TableName, _: &Level) -> Option<Box<dyn Line>> {
        if self.paces.contains_key(table) {
            Some(Box::new(Numbers))
        } else if table.name == "riddle" {
            None
        } else {
            Some(Box::new(Days))
        }
    }
    fn pace(&self, table: &TableName, _: &Level) -> Pace {
        let (highest, keys_per_day) = self.paces.get(table).copied().unwrap_or_default();
        Pace { lead_days: self.lead, highest, keys_per_day }
    }
}

fn numbers(name: &str, highest: Option<i128>, per_day: Option<f64>) -> Read {
    Read { paces: BTreeMap::from([(table(name), (highest, per_day))]), ..Read::default() }
}

fn of(level: Level, read: &Read) -> Runway {
    runway(&set(level), read, NOW)
}

fn days_of(found: &Runway) -> Option<f64> {
    found.seconds.map(|seconds| seconds as f64 / 86_400.0)
}

fn ranges(bounds: &[(i64, i64)]) -> Vec<replat_model::lifecycle::facts::Part> {
    bounds.iter().map(|(from, to)| range(*from, *to)).collect()
}

#[test]
fn a_run_over_time_ends_at_its_first_gap() {
    let with = |bounds: &[(i64, i64)], more| [ranges(bounds), more].concat();
    let mut pending = ranges(&[(-1, 1), (1, 5), (5, 9)]);
    pending[1].detach_pending = true;
    let cases = [
        (
            "ten days",
            with(&[(-3, 0), (0, 1), (1, 10)], vec![]),
            0.0,
            Some(10.0),
            Some("10"),
            "later rows are refused",
        ),
        ("a gap", with(&[(-1, 2), (3, 10)], vec![]), 0.0, Some(2.0), Some("2"), "then there is a gap"),
        ("an old gap", with(&[(-9, -8), (-1, 2)], vec![]), 0.0, Some(2.0), Some("2"), "refused"),
        (
            "in the gap",
            with(&[(-9, -1), (3, 10)], vec![]),
            0.0,
            Some(0.0),
            None,
            "has no partition for now: such rows are refused",
        ),
        (
            "in the gap, over a default",
            with(&[(-9, -1)], vec![rest()]),
            0.0,
            Some(0.0),
            None,
            "go to the default partition app.p_default",
        ),
        ("all over", with(&[(-9, 0)], vec![]), 0.0, Some(0.0), None, "no partition for now"),
        ("nothing", vec![], 0.0, Some(0.0), None, "no partition for now"),
        (
            "a default does not make it longer",
            with(&[(-1, 4)], vec![rest()]),
            0.0,
            Some(4.0),
            Some("4"),
            "later rows go to the default partition app.p_default",
        ),
        (
            "nor does an edge",
            with(&[(-1, 4)], vec![edge(4)]),
            0.0,
            Some(4.0),
            Some("4"),
            "later rows go to the edge partition app.p_edge",
        ),
        ("only an edge", vec![edge(-9)], 0.0, Some(0.0), None, "such rows go to the edge partition"),
        (
            "rows ahead of now",
            with(&[(-1, 10)], vec![]),
            3.0,
            Some(7.0),
            Some("10"),
            "rows come 3 days ahead of now",
        ),
        ("rows ahead of all", with(&[(-1, 2)], vec![]), 3.0, Some(0.0), Some("2"), "3 days ahead"),
        ("a detach that was broken off", pending, 0.0, Some(1.0), Some("1"), "then there is a gap"),
        ("in no order", ranges(&[(5, 8), (-1, 5)]), 0.0, Some(8.0), Some("8"), "refused"),
    ];
    for (case, parts, lead, days, until, because) in cases {
        let found = of(level(Method::Range, parts), &Read { lead, ..Read::default() });
        assert_eq!(days_of(&found), days, "{case}: {found:?}");
        assert_eq!(found.until.as_deref(), until, "{case}");
        assert!(found.because.contains(because), "{case}: {}", found.because);
        assert_eq!(found.unknown, None, "{case}");
    }
}

#[test]
fn numbers_last_as_long_as_the_pace_lets_them() {
    let parts = || ranges(&[(0, 1_000), (1_000, 2_000), (3_000, 4_000)]);
    let cases = [
        ("to the gap", Some(499), Some(100.0), Some(15.0), None),
        ("slow", Some(499), Some(1.0), Some(1_500.0), None),
        ("full", Some(1_999), Some(100.0), Some(0.0), None),
        ("before the first", Some(-500), Some(100.0), Some(0.0), None),
        ("in the gap", Some(2_500), None, Some(0.0), None),
        (
            "no pace",
            Some(499),
            None,
            Some(0.0),
            Some("how fast the keys of app.events rise is not known; its partitions are there until 2000"),
        ),
        ("a pace of nothing", Some(499), Some(0.0), Some(0.0), Some("how fast")),
        ("no highest key", None, Some(100.0), Some(0.0), Some("the highest key of app.events is not known")),
    ];
    for (case, highest, pace, days, unknown) in cases {
        let found = of(level(Method::Range, parts()), &numbers("events", highest, pace));
        assert_eq!(days_of(&found), days, "{case}: {found:?}");
        match (&found.unknown, unknown) {
            (None, None) => {}
            (Some(found), Some(want)) => assert!(found.contains(want), "{case}: {found}"),
            (found, want) => panic!("{case}: {found:?}, not {want:?}"),
        }
    }
}

#[test]
fn hashes_last_for_ever_if_none_is_missing() {
    let cases = [
        ("all four", vec![hash(4, 0), hash(4, 1), hash(4, 2), hash(4, 3)], None, "every remainder"),
        ("mixed moduli", vec![hash(2, 0), hash(4, 1), hash(8, 3), hash(8, 7)], None, "every remainder"),
        ("one is missing", vec![hash(4, 0), hash(4, 1), hash(4, 3)], Some(0), "remainder 2 of modulus 4"),
        (
            "mixed, one is missing",
            vec![hash(2, 0), hash(4, 1), hash(8, 3)],
            Some(0),
            "remainder 7 of modulus 8",
        ),
        ("only one, of one", vec![hash(1, 0)], None, "every remainder"),
        ("none", vec![], Some(0), "has no partition"),
    ];
    for (case, parts, seconds, because) in cases {
        let found = of(level(Method::Hash, parts), &Read::default());
        assert_eq!((found.seconds, found.until), (seconds, None), "{case}");
        assert!(found.because.contains(because), "{case}: {}", found.because);
    }
}

#[test]
fn lists_do_not_run_out() {
    for (case, parts, seconds, because) in [
        ("listed", vec![list("a")], None, "not listed are refused"),
        ("with a default", vec![list("a"), rest()], None, "not listed go to the default partition"),
        ("only a default", vec![rest()], None, "all rows go to"),
        ("none", vec![], Some(0), "has no partition"),
    ] {
        let found = of(level(Method::List, parts), &Read::default());
        assert_eq!(found.seconds, seconds, "{case}");
        assert!(found.because.contains(because), "{case}: {}", found.because);
    }
}

#[test]
fn nested_sets_last_as_long_as_the_first_that_rows_reach() {
    let both = || level(Method::Hash, vec![hash(2, 0), hash(2, 1)]);
    let half = || level(Method::Hash, vec![hash(2, 0)]);
    let until = |day: i64| level(Method::Range, ranges(&[(-1, day)]));
    let within = |from: i64, to: i64| level(Method::Range, ranges(&[(from, to)]));
    let range_of = |parts| level(Method::Range, parts);
    let list_of = |parts| level(Method::List, parts);
    let mut gone = below(range(1, 2), half());
    gone.detach_pending = true;
    let cases = [
        (
            "range of hash",
            range_of(vec![below(range(-1, 1), both()), below(range(1, 9), both())]),
            0.0,
            Some(9.0),
        ),
        (
            "a past hash is broken",
            range_of(vec![below(range(-5, -1), half()), below(range(-1, 9), both())]),
            0.0,
            Some(9.0),
        ),
        (
            "today's hash is broken",
            range_of(vec![below(range(-1, 1), half()), below(range(1, 9), both())]),
            0.0,
            Some(0.0),
        ),
        (
            "a later hash is broken",
            range_of(vec![below(range(-1, 3), both()), below(range(3, 9), half())]),
            0.0,
            Some(3.0),
        ),
        (
            "a later hash is broken, rows are ahead",
            range_of(vec![below(range(-1, 3), both()), below(range(3, 9), half())]),
            2.0,
            Some(1.0),
        ),
        (
            "the least tenant",
            list_of(vec![below(list("a"), until(30)), below(list("b"), until(7))]),
            0.0,
            Some(7.0),
        ),
        (
            "the default's below as well",
            list_of(vec![below(list("a"), until(30)), below(rest(), until(2))]),
            0.0,
            Some(2.0),
        ),
        ("a tenant without cuts", list_of(vec![below(list("a"), until(30)), list("b")]), 0.0, Some(30.0)),
        (
            "hash of range",
            level(Method::Hash, vec![below(hash(2, 0), until(5)), below(hash(2, 1), until(4))]),
            0.0,
            Some(4.0),
        ),
        (
            "hash of range, one is missing",
            level(Method::Hash, vec![below(hash(2, 0), until(5))]),
            0.0,
            Some(0.0),
        ),
        (
            "months of days, all there",
            range_of(vec![below(range(-9, 20), within(-9, 20)), below(range(20, 50), within(20, 50))]),
            0.0,
            Some(50.0),
        ),
        (
            "months of days, the second is short",
            range_of(vec![below(range(-9, 20), within(-9, 20)), below(range(20, 50), within(20, 30))]),
            0.0,
            Some(30.0),
        ),
        (
            "months of days, rows are ahead",
            range_of(vec![below(range(-9, 20), within(-9, 20)), below(range(20, 50), within(20, 30))]),
            5.0,
            Some(25.0),
        ),
        (
            "months of days, the second is empty",
            range_of(vec![below(range(-9, 20), within(-9, 20)), below(range(20, 50), range_of(vec![]))]),
            0.0,
            Some(20.0),
        ),
        (
            "three deep",
            list_of(vec![below(
                list("a"),
                range_of(vec![below(range(-1, 6), both()), below(range(6, 9), half())]),
            )]),
            0.0,
            Some(6.0),
        ),
        ("a pending detach takes no rows", range_of(vec![below(range(-1, 1), both()), gone]), 0.0, Some(1.0)),
    ];
    for (case, level, lead, days) in cases {
        let found = of(level, &Read { lead, ..Read::default() });
        assert_eq!(days_of(&found), days, "{case}: {found:?}");
    }
    let tenants = list_of(vec![below(list("a"), until(30)), below(list("b"), until(7))]);
    let found = of(tenants, &Read::default());
    assert!(found.because.starts_with("app.l_b of app.events: partitions of app.l_b"), "{}", found.because);
    assert_eq!(found.until.as_deref(), Some("7"));
}

#[test]
fn tenants_with_numbers_have_paces_of_their_own() {
    let ids = |to: i64| level(Method::Range, ranges(&[(0, to)]));
    let sets = level(Method::List, vec![below(list("a"), ids(1_000)), below(list("b"), ids(1_000))]);
    let mut read = numbers("l_a", Some(99), Some(10.0));
    read.paces.insert(table("l_b"), (Some(899), Some(10.0)));
    assert_eq!(days_of(&of(sets, &read)), Some(10.0));
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_for_ever() {
    let mut riddle = set(level(Method::Range, ranges(&[(-1, 9)])));
    riddle.table = table("riddle");
    let found = runway(&riddle, &Read::default(), NOW);
    assert_eq!(found.seconds, Some(0));
    assert!(found.unknown.is_some_and(|why| why.contains("what the bounds of app.riddle mean is not known")));
    let odd = Bound::Range { from: vec![Edge::At("soon".into())], to: vec![Edge::At("later".into())] };
    let found = of(level(Method::Range, vec![part("p_odd", odd)]), &Read::default());
    assert!(found.unknown.is_some_and(|why| why.contains("cannot be read")));
}

#[test]
fn a_bad_key_is_not_where_rows_arrive() {
    let forecast = Forecast {
        keys_per_day: Some(80.0),
        keys_per_day_burst: Some(100.0),
        key_now: Some(5_000),
        ..Forecast::default()
    };
    for (case, highest, want) in [
        ("on its line", Some(5_050), Some(5_050)),
        ("some days ahead", Some(7_900), Some(7_900)),
        ("far beyond", Some(10_i128.pow(15)), Some(5_000)),
        ("not looked for", None, Some(5_000)),
    ] {
        let pace = Pace::of(&forecast, highest, None);
        assert_eq!((pace.highest, pace.keys_per_day), (want, Some(100.0)), "{case}");
    }
    assert_eq!(Pace::of(&Forecast::default(), Some(7), Some(2.0)).highest, Some(7));
}

proptest! {
    /// The runway is the first day from now on that no partition covers, however they lie.
    #[test]
    fn a_runway_ends_at_the_first_uncovered_day(mut cuts in prop::collection::btree_set(-20_i64..40, 2..20), drop in prop::collection::vec(any::<bool>(), 20)) {
        let cuts: Vec<i64> = std::mem::take(&mut cuts).into_iter().collect();
        let kept: Vec<(i64, i64)> =
            cuts.windows(2).zip(&drop).filter(|(_, drop)| !**drop).map(|(pair, _)| (pair[0], pair[1])).collect();
        let covered = |day: i64| kept.iter().any(|(from, to)| *from <= day && day < *to);
        let first = (0..60).find(|day| !covered(*day)).unwrap();
        let found = of(level(Method::Range, ranges(&kept)), &Read::default());
        prop_assert_eq!(days_of(&found), Some(first as f64), "{:?}", kept);
    }

    /// A further partition never makes it shorter.
    #[test]
    fn more_partitions_never_shorten_it(cuts in prop::collection::btree_set(-20_i64..40, 3..20), without in any::<prop::sample::Index>()) {
        let cuts: Vec<i64> = cuts.into_iter().collect();
        let all: Vec<(i64, i64)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
        let mut fewer = all.clone();
        fewer.remove(without.index(all.len()));
        let seconds = |bounds: &[(i64, i64)]| of(level(Method::Range, ranges(bounds)), &Read::default()).seconds;
        prop_assert!(seconds(&fewer) <= seconds(&all));
    }
}
