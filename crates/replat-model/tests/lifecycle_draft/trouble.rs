//! What cannot be planned is said, and everything else goes on.

use proptest::prelude::*;
use replat_model::lifecycle::draft::{Wish, draft};
use replat_model::lifecycle::facts::{Bound, Edge, Facts, Method, Origin, Part, Refused, SetFacts};
use replat_model::lifecycle::health::{Severity, check};
use replat_model::lifecycle::plan::{Kind, Work};
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Lifecycle, Overflow};

use super::convergence::settled;
use super::world::*;

fn interval(text: &str) -> Lifecycle {
    Lifecycle {
        levels: vec![LevelPolicy { interval: Some(text.into()), ..cut("*", Cut::Range) }],
        ..ahead(3)
    }
}

/// A set that is well, and lacks a day.
fn well() -> SetFacts {
    let mut set = events(8, 13);
    set.table.name = "well".into();
    set.id = 1;
    set.level.parts.iter_mut().for_each(|part| part.table.name = part.table.name.replace("events", "well"));
    set
}

/// The partitions of `set` by bounds.
fn with_bounds(of: &str, bounds: Vec<Bound>) -> SetFacts {
    let parts = bounds.into_iter().enumerate().map(|(at, bound)| part(&format!("bad_{at}"), bound));
    set("bad", level(Method::Range, &[key("k", of)], parts.collect()))
}

#[test]
fn each_set_fails_alone() {
    let stamps = "timestamp with time zone";
    let days = |pairs: &[(i64, i64)]| pairs.iter().map(|(from, to)| range(&day(*from), &day(*to))).collect();
    let policy = |policy: &Lifecycle| policy.clone();
    let cases: Vec<(&str, SetFacts, Lifecycle, &[&str], &str)> = vec![
        (
            "bounds on no common grid",
            with_bounds(stamps, days(&[(1, 2), (2, 7), (7, 9)])),
            ahead(3),
            &["RP3003 error"],
            "common grid",
        ),
        (
            "bounds that overlap",
            with_bounds(stamps, days(&[(8, 10), (9, 11)])),
            ahead(3),
            &["RP3003 error"],
            "overlap",
        ),
        (
            "bounds that overlap, on a grid that was given",
            with_bounds("bigint", vec![range("0", "10"), range("5", "15")]),
            interval("10"),
            &["RP3003 error"],
            "overlap",
        ),
        (
            "a bound that cannot be read",
            with_bounds(stamps, vec![range("today", "tomorrow")]),
            interval("1 day"),
            &["RP3003 error"],
            "today",
        ),
        (
            "a key that is no line",
            with_bounds("point", vec![range("(0,0)", "(1,1)")]),
            interval("1 day"),
            &["RP3003 error"],
            "point",
        ),
        (
            "an interval that does not fit the key",
            with_bounds("date", vec![range("2026-03-10", "2026-03-11")]),
            interval("6 hours"),
            &["RP3003 error"],
            "whole days",
        ),
        (
            "an interval that is none",
            with_bounds(stamps, days(&[(9, 10), (10, 11)])),
            interval("sometimes"),
            &["RP3003 error"],
            "sometimes",
        ),
        (
            "a zone that is none",
            with_bounds(stamps, days(&[(9, 10), (10, 11)])),
            Lifecycle {
                levels: vec![LevelPolicy {
                    zone: Some("Europe/Atlantis".into()),
                    interval: Some("1 day".into()),
                    ..cut("*", Cut::Range)
                }],
                ..ahead(3)
            },
            &["RP3003 error"],
            "Atlantis",
        ),
        (
            "a policy that is about another key",
            with_bounds(stamps, days(&[(9, 10), (10, 11)])),
            Lifecycle { levels: vec![cut("tenant", Cut::List)], ..ahead(3) },
            &["RP3021 error"],
            "it is cut by range of k; the policy says by list of tenant",
        ),
        (
            "a horizon of far too many",
            with_bounds(stamps, vec![range("2026-03-10 12:00:00+00", "2026-03-10 12:00:01+00")]),
            Lifecycle { ahead: Some("30d".parse().expect("a duration")), ..interval("1 second") },
            &["RP3023 error"],
            "10000",
        ),
        (
            "a horizon that is no day",
            with_bounds(stamps, days(&[(9, 10), (10, 11)])),
            Lifecycle { until: Some("soon".into()), ..ahead(3) },
            &["RP3021 error"],
            "soon",
        ),
        (
            "lists among ranges",
            with_bounds(stamps, vec![list(&["a"])]),
            interval("1 day"),
            &["RP3003 error"],
            "no range",
        ),
        (
            "a privilege",
            SetFacts {
                lacking: vec!["GRANT CREATE ON SCHEMA public TO rotator".into()],
                ..with_bounds(stamps, days(&[(9, 10)]))
            },
            ahead(3),
            &["RP3002 error"],
            "may not do",
        ),
        (
            "another tool's",
            SetFacts {
                managed_by: Some("pg_partman 4.7.2".into()),
                managed_off: Some("UPDATE part_config SET automatic_maintenance = 'off'".into()),
                ..with_bounds(stamps, days(&[(9, 10)]))
            },
            ahead(3),
            &["RP3016 warning"],
            "pg_partman 4.7.2",
        ),
    ];
    for (case, bad, policy_of, want, what) in cases {
        let world = facts(vec![bad, well()]);
        let mut own = policy(&policy_of);
        own.tables = vec!["public.bad".into()];
        let other = Lifecycle { tables: vec!["public.well".into()], ..ahead(3) };
        let wish = Wish {
            lifecycles: vec![("bad".into(), own), ("well".into(), other)],
            allow: ALL.to_vec(),
            ..Wish::default()
        };
        let plan = draft(&world, &wish);
        assert_eq!(lines(&plan), ["create well: 2026-03-13..2026-03-14"], "{case}: {:?}", plan.findings);
        assert_eq!(codes(&plan.findings), want, "{case}: {:?}", plan.findings);
        let finding = &plan.findings[0];
        assert!(finding.what.contains(what), "{case}: {finding:?}");
        assert!(!finding.remedy.is_empty() && finding.set.is_some(), "{case}");
        // Whoever shows it puts the set in front; it does not stand there twice.
        let findings = plan.findings.iter().chain(&check(&world, &wish)).cloned().collect::<Vec<_>>();
        for finding in findings {
            let set = finding.set.expect("it is about a set").to_string();
            let again =
                [format!("{set}: "), format!("{set} ")].iter().any(|name| finding.what.starts_with(name));
            assert!(!again, "{case}: {}", finding.what);
        }
    }
}

#[test]
fn the_clock_and_a_standby_stop_what_depends_on_them() {
    let at = |ahead_ms: i64, read_only: bool| {
        let mut set = events(8, 12);
        set.level.parts[0].detach_pending = true;
        let mut world = facts(vec![set]);
        world.vitals.clock_ahead_ms = ahead_ms;
        world.vitals.read_only = read_only;
        let plan = plan(&world, &ahead(3));
        let kinds: Vec<Kind> = plan.units.iter().map(|unit| unit.work.kind()).collect();
        (kinds, codes(&plan.findings))
    };
    let day_ms = 86_400_000;
    let work = || vec![Kind::Repair, Kind::Create];
    assert_eq!(at(59_000, false), (work(), vec![]));
    assert_eq!(at(-61_000, false), (work(), vec!["RP3017 warning".into()]));
    assert_eq!(at(day_ms, false), (work(), vec!["RP3017 warning".into()]));
    assert_eq!(at(day_ms + 1, false), (vec![Kind::Repair], vec!["RP3017 error".into()]));
    assert_eq!(at(i64::MIN, false), (vec![Kind::Repair], vec!["RP3017 error".into()]));
    assert_eq!(at(0, true), (vec![], vec!["RP3018 note".into()]));
}

#[test]
fn refused_tables_are_said() {
    let mut world = facts(vec![well()]);
    world.refused =
        vec![Refused { table: "public.none".into(), why: "there is none".into(), remedy: "Make it.".into() }];
    let plan = plan(&world, &ahead(3));
    assert_eq!((lines(&plan).len(), codes(&plan.findings)), (1, vec!["RP3001 error".to_owned()]));
}

/// What others made is built around, named after, and never retired.
#[test]
fn partitions_of_others_are_lived_with() {
    let mut set = events(8, 12);
    set.level.parts.iter_mut().for_each(|part| part.origin = Origin::Foreign);
    // A foreign table, the newest: new ones are made like the newest of this server.
    let last = set.level.parts.last_mut().expect("the eleventh");
    last.foreign = true;
    let plan = plan(&facts(vec![set]), &ahead(3));
    assert_eq!(lines(&plan), ["create events: 2026-03-12..2026-03-13, 2026-03-13..2026-03-14"]);
    let Work::Create { parts, .. } = &plan.units[0].work else { panic!("{plan:?}") };
    assert_eq!(parts[0].like.as_ref().map(|like| like.name.as_str()), Some("events_p20260310"));
}

fn names(facts: &Facts, policy: &Lifecycle) -> Vec<String> {
    let units = plan(facts, policy).units;
    let parts = units.iter().flat_map(|unit| match &unit.work {
        Work::Create { parts, .. } => parts.clone(),
        other => panic!("{other:?}"),
    });
    parts.map(|part| part.table.name).collect()
}

#[test]
fn names_that_are_taken_long_or_hostile() {
    // Somebody else's table, index or type has the name.
    let mut world = facts(vec![events(8, 13)]);
    world.taken.entry("public".into()).or_default().insert("events_p20260313".into());
    assert_eq!(names(&world, &ahead(4)), ["events_p20260313_2", "events_p20260314"]);

    // The full 63 bytes, and a multi-byte letter where it would be cut.
    for name in ["n".repeat(63), format!("{}ä", "n".repeat(61)), "日".repeat(21)] {
        let stamps = key("ts", "timestamp with time zone");
        let world = facts(vec![set(&name, level(Method::Range, &[stamps], Vec::new()))]);
        let given = names(&world, &interval("1 day"));
        assert_eq!(given.len(), 4);
        for (at, one) in given.iter().enumerate() {
            assert!(one.len() <= 63 && !given[..at].contains(one), "{given:?}");
        }
        settled(&world, &interval("1 day"));
    }
}

#[test]
fn bounds_the_wrong_way_round_stop_their_set_alone() {
    for (from, to) in [(Edge::Max, at(&day(12))), (at(&day(12)), Edge::Min)] {
        let mut set = events(8, 12);
        let bound = Bound::Range { from: vec![from], to: vec![to] };
        set.level.parts.push(part("events_wrong", bound));
        let policy = Lifecycle { levels: vec![cut("*", Cut::Range)], ..ahead(3) };
        let plan = plan(&facts(vec![set, well()]), &policy);
        assert_eq!(codes(&plan.findings), ["RP3003 error"], "{:?}", plan.findings);
        assert!(plan.units.iter().all(|unit| unit.set.name == "well") && !plan.units.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a table, its column and its values are called: names are short, no two alike, and it comes to rest.
    #[test]
    fn hostile_identifiers_do_no_harm(
        name in "[\"'\\\\%;.A-Z ä日😀a-c_]{1,15}",
        column in "[\"'%;. Aä]{1,12}",
        values in proptest::collection::btree_set("[\"'%;, Aä|_]{0,70}", 1..5),
    ) {
        let values: Vec<Vec<String>> = values.into_iter().map(|value| vec![value]).collect();
        let policy = Lifecycle {
            levels: vec![
                LevelPolicy { values, ..cut("tenant", Cut::List) },
                LevelPolicy { interval: Some("1 day".into()), ..cut("ts", Cut::Range) },
            ],
            ..ahead(2)
        };
        let world = facts(vec![set(&name, level(Method::List, &[key("tenant", "text")], Vec::new()))]);
        settled(&world, &policy);
        let mut days = events(8, 12);
        days.table.name = name;
        days.level.keys[0].column = Some(column);
        settled(&facts(vec![days]), &ahead(5));
    }

    /// Nothing that a catalogue could hold stops the planner: it ends, and says what it cannot do.
    #[test]
    fn no_bounds_break_the_planner(
        of in prop_oneof![Just("timestamp with time zone"), Just("bigint"), Just("smallint"), Just("numeric"), Just("uuid"), Just("text"), Just("bool")],
        bounds in proptest::collection::vec((-3_i64..40, 1_i64..9, 0_u8..8), 0..8),
        high in proptest::option::of(prop_oneof![Just("9223372036854775807".to_owned()), Just("-1".into()), ".{0,9}"]),
        until in proptest::option::of(prop_oneof![Just("99999999999999999999".to_owned()), Just("9999-12-31".into()), ".{0,6}"]),
        count in proptest::option::of(prop_oneof![Just(0_u32), Just(3), Just(u32::MAX)]),
        overflow in prop_oneof![Just(None), Just(Some(Overflow::Edge)), Just(Some(Overflow::Reject))],
        length in proptest::option::of(prop_oneof![Just("1 day"), Just("7"), Just("9 weeks"), Just("170141183460469231731687303715884105727")]),
    ) {
        let edge = |value: i64, kind: u8| match kind {
            0 => Edge::Min,
            1 => Edge::Max,
            2 => at("nonsense"),
            3 => at("infinity"),
            4 | 5 => at(&day(value)),
            _ => at(&(value * 100).to_string()),
        };
        let parts: Vec<Part> = bounds
            .iter()
            .enumerate()
            .map(|(number, (from, length, kind))| {
                let to = edge(from + length, if *kind < 2 { 5 } else { *kind });
                part(&format!("p_{number}"), Bound::Range { from: vec![edge(*from, *kind)], to: vec![to] })
            })
            .collect();
        let mut set = set("x", level(Method::Range, &[key("k", of)], parts));
        set.level.high = high;
        let policy = Lifecycle {
            until,
            ahead_count: count,
            overflow,
            levels: length.map_or(Vec::new(), |length| {
                vec![LevelPolicy { interval: Some(length.into()), ..cut("*", Cut::Range) }]
            }),
            ..ahead(3)
        };
        let world = facts(vec![set, well()]);
        let plan = plan(&world, &policy);
        check(&world, &wish(policy));
        prop_assert!(plan.units.iter().any(|unit| unit.set.name == "well")
            || plan.findings.iter().any(|finding| finding.severity == Severity::Error), "{plan:?}");
    }
}
