//! Rows that belong to no partition, and where they go.

use replat_model::lifecycle::draft::{Wish, draft};
use replat_model::lifecycle::facts::{Bound, Edge, Method, Part, Reference, SetFacts, Strays, TableName};
use replat_model::lifecycle::health::Severity;
use replat_model::lifecycle::plan::Kind;
use replat_model::lifecycle::policy::{Cut, Grow, GrowOn, LevelPolicy, Lifecycle, Overflow, Retire};

use super::convergence::settled;
use super::world::*;

/// Days 5 until 12 of March, with a default that holds `strays`.
fn with_default(strays: Strays) -> SetFacts {
    let mut set = events(5, 12);
    set.level.parts.push(default_part("events_default", strays));
    set
}

/// Noon of a day.
fn noon(number: i64) -> String {
    day(number).replace(" 00:", " 12:")
}

fn rows_at(days: &[i64]) -> Strays {
    let texts: Vec<String> = days.iter().map(|day| noon(*day)).collect();
    let values: Vec<(&str, u64)> = texts.iter().map(|text| (text.as_str(), 2)).collect();
    exactly(&values)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn rows_of_a_default_get_their_partitions() {
    let keep = |days: &str| Lifecycle {
        retire: Some(Retire { keep: Some(days.parse().expect("a duration")), ..Retire::default() }),
        ..ahead(3)
    };
    let off = Lifecycle { drain: Some(false), ..ahead(3) };
    let tail = "2026-03-13..2026-03-14";
    let cases: Vec<(&str, Strays, Lifecycle, Vec<String>, &[&str])> = vec![
        ("none", rows_at(&[]), ahead(3), vec![format!("create events: 2026-03-12..2026-03-13, {tail}")], &[]),
        (
            "within the horizon",
            rows_at(&[12]),
            ahead(3),
            vec!["drain events: 2026-03-12..2026-03-13".into(), format!("create events: {tail}")],
            &[],
        ),
        (
            "of the past",
            rows_at(&[1, 3]),
            ahead(2),
            vec![
                "drain events: 2026-03-01..2026-03-02, 2026-03-03..2026-03-04".into(),
                "create events: 2026-03-12..2026-03-13".into(),
            ],
            &[],
        ),
        (
            "far beyond: nobody makes partitions for it",
            rows_at(&[1000]),
            ahead(3),
            vec![format!("create events: 2026-03-12..2026-03-13, {tail}")],
            &["RP3007 warning"],
        ),
        (
            "some within, some beyond",
            rows_at(&[12, 1000]),
            ahead(3),
            vec!["drain events: 2026-03-12..2026-03-13".into(), format!("create events: {tail}")],
            &["RP3007 warning"],
        ),
        (
            "older than what is kept",
            rows_at(&[-30]),
            keep("10d"),
            vec![format!("create events: 2026-03-12..2026-03-13, {tail}")],
            &["RP3007 warning"],
        ),
        (
            "no key",
            Strays { rows: 3, ..Strays::default() },
            ahead(3),
            vec![format!("create events: 2026-03-12..2026-03-13, {tail}")],
            &["RP3007 warning"],
        ),
        (
            "switched off: what would hold them waits, and so do they",
            rows_at(&[12]),
            off,
            vec![format!("create events: {tail}")],
            &["RP3006 warning"],
        ),
        (
            "too many to know each: every cell between may hold some",
            strays(1_000_000, &noon(3), &noon(12)),
            ahead(3),
            vec![
                "drain events: 2026-03-03..2026-03-04, 2026-03-04..2026-03-05, 2026-03-12..2026-03-13".into(),
                format!("create events: {tail}"),
            ],
            &[],
        ),
    ];
    for (case, strays, policy, want, found) in cases {
        let plan = plan(&facts(vec![with_default(strays)]), &policy);
        assert_eq!(
            (lines(&plan), codes(&plan.findings)),
            (want, owned(found)),
            "{case}: {:?}",
            plan.findings
        );
    }
}

/// What is drained in one run is a bounded number of cells, the newest first, and the rest comes later.
#[test]
fn long_ago_is_drained_a_hundred_cells_at_a_time() {
    let many: Vec<i64> = (-300..0).collect();
    let plan = plan(&facts(vec![with_default(rows_at(&many))]), &ahead(1));
    let line = &lines(&plan)[0];
    assert!(line.starts_with("drain events: ") && line.contains("2026-02-27..2026-02-28"), "{line}");
    assert_eq!(line.matches("..").count(), 100);
}

#[test]
fn the_policy_for_what_is_beyond_can_change_and_comes_to_rest() {
    let edge = |from: Vec<Edge>, to: Vec<Edge>, name: &str, empty| Part {
        empty: Some(empty),
        ..part(name, Bound::Range { from, to })
    };
    let edges = |empty| {
        let mut set = events(5, 12);
        set.level.parts.insert(0, edge(vec![Edge::Min], vec![at(&day(5))], "events_before", empty));
        set.level.parts.push(edge(vec![at(&day(12))], vec![Edge::Max], "events_after", empty));
        set
    };
    let policy = |overflow| Lifecycle { overflow: Some(overflow), ..ahead(2) };
    let cases: Vec<(&str, SetFacts, Overflow, &[&str], &[&str])> = vec![
        (
            "a full default goes after its rows",
            with_default(rows_at(&[12])),
            Overflow::Edge,
            &["drain events: 2026-03-12..2026-03-13"],
            &["RP3006 warning"],
        ),
        (
            "an empty default goes at once",
            with_default(rows_at(&[])),
            Overflow::Reject,
            &["overflow events: default -> 2026-03-12..2026-03-13"],
            &[],
        ),
        (
            "what lies far beyond keeps its default",
            with_default(rows_at(&[1000])),
            Overflow::Reject,
            &["create events: 2026-03-12..2026-03-13"],
            &["RP3007 warning", "RP3006 warning"],
        ),
        (
            "empty edges give way to a default",
            edges(true),
            Overflow::Default,
            &["overflow events: min..2026-03-05, 2026-03-12..max -> 2026-03-12..2026-03-13, default"],
            &[],
        ),
        (
            "edges with rows stay",
            edges(false),
            Overflow::Reject,
            &["recut events: 2026-03-12..max -> 2026-03-12..2026-03-13, 2026-03-13..max"],
            &["RP3006 warning"],
        ),
    ];
    for (case, set, overflow, want, found) in cases {
        let world = facts(vec![set]);
        let plan = plan(&world, &policy(overflow));
        assert_eq!(
            (lines(&plan), codes(&plan.findings)),
            (owned(want), owned(found)),
            "{case}: {:?}",
            plan.findings
        );
    }
    for overflow in [Overflow::Edge, Overflow::Reject, Overflow::Default] {
        for set in [events(5, 12), with_default(rows_at(&[])), with_default(rows_at(&[12])), edges(true)] {
            settled(&facts(vec![set]), &policy(overflow));
        }
    }
}

/// Whoever is referred to keeps rows where they are, since their partition would not be let go of; all else goes on.
#[test]
fn rows_of_a_set_that_others_refer_to_stay_where_they_are() {
    let edge = |empty| {
        let mut set = events(5, 12);
        let bound = Bound::Range { from: vec![at(&day(12))], to: vec![Edge::Max] };
        set.level.parts.push(Part { empty: Some(empty), ..part("events_after", bound) });
        set
    };
    const CREATE: &str = "create events: 2026-03-13..2026-03-14";
    const BOTH: &str = "create events: 2026-03-12..2026-03-13, 2026-03-13..2026-03-14";
    const MOVED: &str =
        "create events: 2026-03-12..2026-03-13, 2026-03-13..2026-03-14 [edge 2026-03-12..2026-03-14]";
    let none = || with_default(rows_at(&[]));
    let some = || with_default(rows_at(&[12]));
    let all: &[Kind] = &[Kind::Create, Kind::Drain, Kind::Recut];
    let only: &[Kind] = &[Kind::Create];
    let cases: [(&str, SetFacts, &[Kind], &[&str], &[&str]); 6] = [
        ("a default without rows is in nobody's way", none(), all, &[BOTH], &[]),
        ("a default with rows keeps them", some(), all, &[CREATE], &["RP3007 error"]),
        ("nobody wants it drained", some(), only, &[CREATE], &["RP3026 note"]),
        ("an edge without rows gives way", edge(true), all, &[MOVED], &[]),
        ("an edge with rows stays", edge(false), all, &[], &["RP3007 error"]),
        ("nobody wants it cut", edge(false), only, &[], &["RP3026 note"]),
    ];
    for (case, mut set, kinds, want, found) in cases {
        let fk =
            Reference { name: "fk".into(), table: TableName::new("app", "lines"), definition: "…".into() };
        set.referenced_by = vec![fk];
        let plan = draft(&facts(vec![set]), &Wish { allow: kinds.to_vec(), ..wish(ahead(3)) });
        assert_eq!(
            (lines(&plan), codes(&plan.findings)),
            (owned(want), owned(found)),
            "{case}: {:?}",
            plan.findings
        );
        for finding in plan.findings.iter().filter(|finding| finding.severity == Severity::Error) {
            assert!(finding.what.contains("foreign key fk of app.lines"), "{case}: {}", finding.what);
        }
    }
}

#[test]
fn rows_of_a_lists_default_go_to_their_values() {
    let set = |strays: Strays| {
        let parts = vec![part("t_a", list(&["a"])), default_part("t_default", strays)];
        set("t", level(Method::List, &[key("tenant", "text")], parts))
    };
    let policy = |grow: bool, values: &[&str]| Lifecycle {
        levels: vec![LevelPolicy {
            values: values.iter().map(|value| vec![(*value).to_owned()]).collect(),
            grow: grow.then_some(Grow { on: GrowOn::Appearance, rows: None, age: None }),
            ..cut("tenant", Cut::List)
        }],
        ..Lifecycle::default()
    };
    let seen = || exactly(&[("b", 2), ("c", 7)]);
    let cases: Vec<(&str, Strays, Lifecycle, &[&str], &[&str])> = vec![
        ("nobody asked", seen(), policy(false, &[]), &[], &[]),
        ("by appearance, the busiest first", seen(), policy(true, &[]), &["drain t: c, b"], &[]),
        ("by name", seen(), policy(false, &["b"]), &["drain t: b"], &[]),
        ("by name, and none came", seen(), policy(false, &["d"]), &["create t: d"], &[]),
        (
            "by name, and perhaps some came",
            Strays { more: true, ..seen() },
            policy(false, &["d"]),
            &["drain t: d"],
            &[],
        ),
        ("not wanted", seen(), Lifecycle { drain: Some(false), ..policy(true, &[]) }, &[], &[]),
    ];
    for (case, strays, policy, want, found) in cases {
        let plan = plan(&facts(vec![set(strays)]), &policy);
        assert_eq!((lines(&plan), codes(&plan.findings)), (owned(want), owned(found)), "{case}");
    }
    // Free text is no reason for a flood of tables.
    let texts: Vec<String> = (0..150).map(|n| format!("v{n:03}")).collect();
    let values: Vec<(&str, u64)> = texts.iter().map(|text| (text.as_str(), 1)).collect();
    let flood = plan(&facts(vec![set(exactly(&values))]), &policy(true, &[]));
    assert_eq!(lines(&flood)[0].matches('v').count(), 100);
    assert_eq!(codes(&flood.findings), ["RP3023 warning"]);
}

/// One bad row far ahead moves the horizon by no more than its bound, whatever it is.
#[test]
fn no_outlier_pushes_the_horizon_beyond_its_bound() {
    let mut set = events(5, 12);
    for far in [noon(1000), "2999-01-01 00:00:00+00".into(), "infinity".into(), "no date".into()] {
        set.level.high = Some(far.clone());
        for (limit, days) in [(None, 8), (Some(1), 2), (Some(10), 20)] {
            let policy = Lifecycle { forecast_limit: limit, ..ahead(2) };
            let plan = plan(&facts(vec![set.clone()]), &policy);
            let until = plan.understood[0].wanted_until.clone().expect("an end");
            assert!(until <= day(10 + days + 1), "{far} {limit:?}: {until}");
            assert!(until >= day(12), "{far}: {until}");
            let still = Lifecycle { forecast: Some(false), ..policy };
            let plan = super::world::plan(&facts(vec![set.clone()]), &still);
            assert_eq!(plan.understood[0].wanted_until.as_deref(), Some(noon(12).as_str()), "{far}");
        }
    }
    // Numbers: a pace of 100 a day, and one key that is absurd.
    let parts = (0..3)
        .map(|n| part(&format!("n_{n}"), range(&(n * 1000).to_string(), &((n + 1) * 1000).to_string())));
    let mut numbers = super::world::set("n", level(Method::Range, &[key("id", "bigint")], parts.collect()));
    numbers.samples = (1..15)
        .rev()
        .map(|days| replat_model::lifecycle::facts::Sample {
            at: NOW - days * DAY,
            inserted: 0,
            rows: 0,
            bytes: 0,
            high: Some((2500 - days * 100).to_string()),
        })
        .collect();
    for high in ["2500", "9000000000000000000", "9223372036854775807"] {
        numbers.level.high = Some(high.into());
        let plan = plan(&facts(vec![numbers.clone()]), &ahead(10));
        let made: usize = lines(&plan).iter().map(|line| line.matches("..").count()).sum();
        // Ten days at a busy pace are one or two thousand; four times that is the bound.
        assert!(made <= 7, "{high}: {:?}", lines(&plan));
    }
}
