//! Ranges are made ahead of need.

use replat_model::lifecycle::facts::{Bound, Edge, Method, Part, Sample, SetFacts};
use replat_model::lifecycle::plan::Work;
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Lifecycle, Overflow};

use super::world::*;

#[test]
fn what_is_wanted_and_missing_is_made() {
    let policy = ahead(4);
    // What is there, from and until which day of March, and what is made; today is the tenth.
    let rows: &[(&str, Vec<Part>, &[&str])] = &[
        ("enough", (1..15).map(daily).collect(), &[]),
        (
            "the end is short",
            (1..13).map(daily).collect(),
            &["create events: 2026-03-13..2026-03-14, 2026-03-14..2026-03-15"],
        ),
        (
            "today has none",
            (1..10).map(daily).collect(),
            &[
                "create events: 2026-03-10..2026-03-11, 2026-03-11..2026-03-12, 2026-03-12..2026-03-13, 2026-03-13..2026-03-14, 2026-03-14..2026-03-15",
            ],
        ),
        (
            "a gap ahead",
            (1..15).filter(|day| *day != 12).map(daily).collect(),
            &["create events: 2026-03-12..2026-03-13"],
        ),
        ("a gap behind", (1..15).filter(|day| *day != 5).map(daily).collect(), &[]),
        (
            "stopped long ago",
            (-20..-10).map(daily).collect(),
            &[
                "create events: 2026-03-10..2026-03-11, 2026-03-11..2026-03-12, 2026-03-12..2026-03-13, 2026-03-13..2026-03-14, 2026-03-14..2026-03-15",
            ],
        ),
    ];
    for (case, parts, want) in rows {
        let mut set = events(0, 0);
        set.level.parts = parts.clone();
        let plan = plan(&facts(vec![set]), &policy);
        assert_eq!(lines(&plan), *want, "{case}: {:?}", plan.findings);
    }
}

#[test]
fn names_and_settings_follow_the_newest() {
    let plan = plan(&facts(vec![events(1, 14)]), &ahead(4));
    let [unit] = plan.units.as_slice() else { panic!("{:?}", plan.units) };
    let Work::Create { parts, .. } = &unit.work else { panic!("{unit:?}") };
    let names: Vec<(&str, Option<&str>)> = parts
        .iter()
        .map(|part| (part.table.name.as_str(), part.like.as_ref().map(|like| like.name.as_str())))
        .collect();
    assert_eq!(names, [("events_p20260314", Some("events_p20260313"))]);
    assert_eq!((unit.relations, unit.wal_bytes), (6, 6 * 5 * 1024));
}

#[test]
fn the_farthest_wish_counts() {
    let of = |policy: Lifecycle| {
        let plan = plan(&facts(vec![events(1, 11)]), &policy);
        plan.understood[0].wanted_until.clone().expect("an end")[..10].to_owned()
    };
    let rows = [
        ("nothing said is 30 days", Lifecycle::default(), "2026-04-09"),
        ("days", ahead(4), "2026-03-14"),
        ("a count", Lifecycle { ahead_count: Some(3), ..Lifecycle::default() }, "2026-03-14"),
        ("a day", Lifecycle { until: Some("2026-05-01".into()), ..Lifecycle::default() }, "2026-05-01"),
        ("days before a count", Lifecycle { ahead_count: Some(1), ..ahead(4) }, "2026-03-14"),
        ("a count before days", Lifecycle { ahead_count: Some(9), ..ahead(4) }, "2026-03-20"),
    ];
    for (case, policy, want) in rows {
        assert_eq!(of(policy), want, "{case}");
    }
}

#[test]
fn odd_bounds_ahead_are_left_alone_and_met() {
    // Somebody made the week from the 13th until the 20th.
    let mut set = events(1, 12);
    set.level.parts.push(part("by_hand", range(&day(13), &day(20))));
    let policy = Lifecycle {
        levels: vec![LevelPolicy { interval: Some("1 day".into()), ..cut("ts", Cut::Range) }],
        ..ahead(12)
    };
    let plan = plan(&facts(vec![set]), &policy);
    assert_eq!(
        lines(&plan),
        [
            "create events: 2026-03-12..2026-03-13, 2026-03-20..2026-03-21, 2026-03-21..2026-03-22, 2026-03-22..2026-03-23"
        ],
        "{:?}",
        plan.findings
    );
}

#[test]
fn a_new_interval_begins_with_a_bridge() {
    let policy = Lifecycle {
        levels: vec![LevelPolicy { interval: Some("1 month".into()), ..cut("*", Cut::Range) }],
        ..ahead(30)
    };
    let plan = plan(&facts(vec![events(1, 13)]), &policy);
    assert_eq!(
        lines(&plan),
        ["create events: 2026-03-13..2026-04-01, 2026-04-01..2026-05-01"],
        "{:?}",
        plan.findings
    );
}

#[test]
fn a_table_without_partitions_needs_an_interval() {
    let without = plan(&facts(vec![events(1, 1)]), &ahead(2));
    assert_eq!((lines(&without).len(), codes(&without.findings)), (0, vec!["RP3003 error".to_owned()]));
    assert!(without.findings[0].remedy.contains("--interval"));
    let policy = Lifecycle {
        levels: vec![LevelPolicy { interval: Some("1 day".into()), ..cut("*", Cut::Range) }],
        ..ahead(2)
    };
    let with = plan(&facts(vec![events(1, 1)]), &policy);
    assert_eq!(
        lines(&with),
        ["create events: 2026-03-10..2026-03-11, 2026-03-11..2026-03-12, 2026-03-12..2026-03-13"],
        "{:?}",
        with.findings
    );
}

fn ids(from: i64, to: i64) -> SetFacts {
    let parts = (from..to)
        .map(|million| {
            let (low, high) = (million * 1_000_000, (million + 1) * 1_000_000);
            part(&format!("ids_p{low}"), range(&low.to_string(), &high.to_string()))
        })
        .collect();
    set("ids", level(Method::Range, &[key("id", "bigint")], parts))
}

#[test]
fn numbers_are_made_ahead_by_their_pace() {
    let mut set = ids(0, 3);
    set.level.high = Some("2300000".into());
    let sample = |days: i64, high: i64| Sample {
        at: NOW - days * DAY,
        inserted: 0,
        rows: 0,
        bytes: 0,
        high: Some(high.to_string()),
    };
    set.samples = (1..10).rev().map(|days| sample(days, 2_300_000 - days * 100_000)).collect();
    let plan = plan(&facts(vec![set]), &ahead(30));
    // 100,000 a day, a third more on a busy one, for 30 days, from 2.3 million on.
    assert_eq!(
        lines(&plan),
        ["create ids: 3000000..4000000, 4000000..5000000, 5000000..6000000, 6000000..7000000"],
        "{:?}",
        plan.understood
    );
    assert!(plan.findings.is_empty(), "{:?}", plan.findings);
}

#[test]
fn numbers_of_unknown_pace_get_four_partitions_and_a_note() {
    let mut set = ids(0, 3);
    set.level.high = Some("2300000".into());
    let made = plan(&facts(vec![set.clone()]), &ahead(30));
    assert_eq!(
        lines(&made),
        ["create ids: 3000000..4000000, 4000000..5000000, 5000000..6000000, 6000000..7000000"]
    );
    assert_eq!(codes(&made.findings), ["RP3024 note"]);
    // By count there is nothing to guess.
    let counted =
        plan(&facts(vec![set.clone()]), &Lifecycle { ahead_count: Some(2), ..Lifecycle::default() });
    assert_eq!(lines(&counted), ["create ids: 3000000..4000000, 4000000..5000000"]);
    assert!(counted.findings.is_empty(), "{:?}", counted.findings);
    // Without a highest key, rows by the statistics say where it is.
    set.level.high = None;
    set.level.parts[2].rows = Some(0);
    let by_rows =
        plan(&facts(vec![set.clone()]), &Lifecycle { ahead_count: Some(2), ..Lifecycle::default() });
    assert_eq!(lines(&by_rows), ["create ids: 3000000..4000000"]);
    // And without those, nothing is done.
    set.level.parts.iter_mut().for_each(|part| part.rows = None);
    let blind = plan(&facts(vec![set]), &Lifecycle { ahead_count: Some(2), ..Lifecycle::default() });
    assert_eq!((lines(&blind).len(), codes(&blind.findings)), (0, vec!["RP3024 warning".to_owned()]));
}

/// An upper edge takes what lies beyond; new partitions push it on, in one unit.
#[test]
fn an_empty_edge_gives_way() {
    let mut set = events(8, 12);
    let edge = Bound::Range { from: vec![at(&day(12))], to: vec![Edge::Max] };
    set.level.parts.push(Part { empty: Some(true), ..part("events_after", edge) });
    let moved = plan(&facts(vec![set.clone()]), &ahead(3));
    assert_eq!(
        lines(&moved),
        ["create events: 2026-03-12..2026-03-13, 2026-03-13..2026-03-14 [edge 2026-03-12..2026-03-14]"]
    );
    // With rows it is cut up instead; nobody knows is as good as rows.
    for empty in [Some(false), None] {
        set.level.parts.last_mut().expect("the edge").empty = empty;
        let cut = plan(&facts(vec![set.clone()]), &ahead(3));
        assert_eq!(
            lines(&cut),
            [
                "recut events: 2026-03-12..max -> 2026-03-12..2026-03-13, 2026-03-13..2026-03-14, 2026-03-14..max"
            ]
        );
    }
}

#[test]
fn the_catch_all_is_changed_in_one_unit_if_it_is_empty() {
    let overflow = |overflow| Lifecycle { overflow: Some(overflow), ..ahead(2) };
    let default = |rows| {
        let mut set = events(9, 12);
        let strays = if rows == 0 { exactly(&[]) } else { strays(rows, &day(1), &day(2)) };
        set.level.parts.push(default_part("events_default", strays));
        set
    };
    let rows: [(&str, _, _, &[&str]); 6] = [
        (
            "default to edges",
            default(0),
            Overflow::Edge,
            &["overflow events: default -> 2026-03-12..2026-03-13, min..2026-03-09, 2026-03-13..max"],
        ),
        (
            "default to none",
            default(0),
            Overflow::Reject,
            &["overflow events: default -> 2026-03-12..2026-03-13"],
        ),
        ("default stays", default(0), Overflow::Default, &["create events: 2026-03-12..2026-03-13"]),
        (
            "none to default",
            events(9, 12),
            Overflow::Default,
            &["create events: 2026-03-12..2026-03-13, default"],
        ),
        (
            "none to edges",
            events(9, 12),
            Overflow::Edge,
            &["create events: 2026-03-12..2026-03-13, min..2026-03-09, 2026-03-13..max"],
        ),
        ("none stays", events(9, 12), Overflow::Reject, &["create events: 2026-03-12..2026-03-13"]),
    ];
    for (case, set, wanted, want) in rows {
        let plan = plan(&facts(vec![set]), &overflow(wanted));
        assert_eq!(lines(&plan), want, "{case}: {:?}", plan.findings);
    }
    let full =
        plan(&facts(vec![default(5)]), &Lifecycle { drain: Some(false), ..overflow(Overflow::Reject) });
    assert_eq!(lines(&full), ["create events: 2026-03-12..2026-03-13"]);
    assert!(codes(&full.findings).contains(&"RP3006 warning".to_owned()), "{:?}", full.findings);
}

/// The tenant stands still, the day moves: every tenant has a row of its own, with a buffer of its own.
#[test]
fn composite_keys_grow_in_the_component_that_moves() {
    let two = |tenant: &str, from: i64| Bound::Range {
        from: vec![at(tenant), at(&day(from))],
        to: vec![at(tenant), at(&day(from + 1))],
    };
    let keys = [key("tenant", "text"), key("ts", "timestamp with time zone")];
    let parts: Vec<Part> = [("a", 9), ("a", 10), ("a", 11), ("b", 9), ("b", 10)]
        .into_iter()
        .map(|(tenant, from)| part(&format!("t_{tenant}_{from}"), two(tenant, from)))
        .collect();
    let plan_of = |set| plan(&facts(vec![set]), &ahead(2));
    let grouped = plan_of(set("t", level(Method::Range, &keys, parts)));
    assert_eq!(
        lines(&grouped),
        [
            "create t: a,2026-03-12..a,2026-03-13",
            "create t: b,2026-03-11..b,2026-03-12, b,2026-03-12..b,2026-03-13"
        ],
        "{:?}",
        grouped.findings
    );
    // The day first, and the rest at its least.
    let keys = [key("ts", "timestamp with time zone"), key("id", "bigint")];
    let tail = |from: i64| Bound::Range {
        from: vec![at(&day(from)), Edge::Min],
        to: vec![at(&day(from + 1)), Edge::Min],
    };
    let parts = (8..12).map(|from| part(&format!("t_{from}"), tail(from))).collect();
    let tailed = plan_of(set("t", level(Method::Range, &keys, parts)));
    assert_eq!(lines(&tailed), ["create t: 2026-03-12,min..2026-03-13,min"], "{:?}", tailed.findings);
    // Both move: nobody knows how that goes on.
    let both = Bound::Range { from: vec![at(&day(8)), at("1")], to: vec![at(&day(9)), at("7")] };
    let lost = plan_of(set("t", level(Method::Range, &keys, vec![part("t_1", both)])));
    assert_eq!((lines(&lost).len(), codes(&lost.findings)), (0, vec!["RP3003 error".to_owned()]));
}
