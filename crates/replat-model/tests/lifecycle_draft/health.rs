//! What is wrong with what is there.

use replat_model::lifecycle::facts::{
    Bound, Edge, Facts, IndexFacts, LooseState, Method, Part, Publication, Sample, SetFacts, TableName,
};
use replat_model::lifecycle::health::{Finding, check, codes as code};
use replat_model::lifecycle::policy::Lifecycle;
use replat_model::lifecycle::runway::runways;

use super::world::*;

fn checked(facts: &Facts) -> Vec<Finding> {
    check(facts, &wish(Lifecycle::default()))
}

/// Days of March, the tenth is today.
fn days(numbers: impl IntoIterator<Item = i64>) -> SetFacts {
    let mut set = events(0, 0);
    set.level.parts = numbers.into_iter().map(daily).collect();
    set
}

fn edge(from: i64) -> Part {
    part("events_after", Bound::Range { from: vec![at(&day(from))], to: vec![Edge::Max] })
}

type Change = fn(&mut SetFacts);

#[test]
fn rows_of_ranges_are_unbroken_from_now_on() {
    let cases: Vec<(&str, SetFacts, Change, &[&str], &str)> = vec![
        ("whole", days(1..14), |_| (), &[], ""),
        ("a hole of the past", days([1, 2, 5, 9, 10, 11]), |_| (), &[], ""),
        ("today has none", days(1..10), |_| (), &["RP3005 error"], "rows are refused"),
        (
            "today has none, and there is a default",
            days(1..10),
            |set| set.level.parts.push(default_part("events_default", exactly(&[]))),
            &["RP3005 warning"],
            "rows go to the default partition",
        ),
        (
            "today is in the edge",
            days(1..10),
            |set| set.level.parts.push(edge(10)),
            &["RP3005 warning"],
            "rows go to the range that ends in MAXVALUE",
        ),
        ("a gap ahead", days([9, 10, 11, 13]), |_| (), &["RP3005 warning"], "no partition from 2026-03-12"),
        (
            "a detach that was broken off takes no rows",
            days(8..12),
            |set| set.level.parts[2].detach_pending = true,
            &["RP3005 error", "RP3008 warning"],
            "rows are refused",
        ),
        (
            "rows in a default",
            days(8..12),
            |set| set.level.parts.push(default_part("events_default", strays(7, "a", "b"))),
            &["RP3006 warning"],
            "7 rows belong to no other partition of public.events, from a to b",
        ),
        (
            "rows in an edge",
            days(8..12),
            |set| set.level.parts.push(Part { strays: Some(strays(7, "a", "a")), ..edge(12) }),
            &["RP3006 warning"],
            "all at a",
        ),
        (
            "on another server",
            days(8..12),
            |set| set.level.parts[0].foreign = true,
            &["RP3029 note"],
            "public.events_p20260308",
        ),
    ];
    for (case, mut set, change, want, what) in cases {
        change(&mut set);
        let found = checked(&facts(vec![set]));
        assert_eq!(codes(&found), want, "{case}: {found:?}");
        assert!(found.iter().all(|one| !one.remedy.is_empty()), "{case}: {found:?}");
        assert!(want.is_empty() || found[0].what.contains(what), "{case}: {found:?}");
    }
}

#[test]
fn every_remainder_of_a_hash_has_a_partition_at_every_depth() {
    let of = |name: &str, bounds: &[(u32, u32)]| {
        let parts = bounds.iter().map(|(m, r)| part(&format!("{name}_{m}_{r}"), hash(*m, *r)));
        level(Method::Hash, &[key("id", "bigint")], parts.collect())
    };
    for (bounds, want, what) in [
        (&[(2, 0), (2, 1)][..], vec![], ""),
        (&[(2, 0), (4, 1), (4, 3)], vec![], ""),
        (&[(4, 0), (4, 2)], vec!["RP3005 error"], "no partition takes the remainder 1 of 4, 3 of 4"),
        (&[], vec!["RP3005 error"], "it has no partition"),
    ] {
        let found = checked(&facts(vec![set("h", of("h", bounds))]));
        assert_eq!(codes(&found), want, "{bounds:?}");
        assert!(found.iter().all(|one| one.what.starts_with(what)), "{found:?}");
        let mut nested = days(8..12);
        nested.level.parts[3].below = Some(of("n", bounds));
        let found = checked(&facts(vec![nested]));
        assert_eq!(codes(&found), want, "below: {bounds:?}");
        assert!(found.iter().all(|one| one.what.starts_with("public.events_p20260311: ")), "{found:?}");
    }
}

#[test]
fn indexes_publications_and_settings_are_compared() {
    let index = || IndexFacts {
        name: "events_ts".into(),
        valid: true,
        constraint: false,
        missing_on: Vec::new(),
        unattached_on: Vec::new(),
        invalid_on: Vec::new(),
        scans: Some(5),
    };
    let leaf = || TableName::new("public", "events_p20260308");
    let on = || vec![(leaf(), "leaf_idx".to_owned())];
    for (case, index, want) in [
        ("fine", index(), vec![]),
        ("missing", IndexFacts { valid: false, missing_on: vec![leaf()], ..index() }, vec!["RP3009 warning"]),
        ("loose", IndexFacts { valid: false, unattached_on: on(), ..index() }, vec!["RP3009 warning"]),
        ("broken", IndexFacts { valid: false, invalid_on: on(), ..index() }, vec!["RP3009 warning"]),
        ("invalid, and nobody knows why", IndexFacts { valid: false, ..index() }, vec!["RP3009 warning"]),
        ("unused", IndexFacts { scans: Some(0), ..index() }, vec!["RP3033 note"]),
        ("unused, and a constraint", IndexFacts { scans: Some(0), constraint: true, ..index() }, vec![]),
        ("unknown use", IndexFacts { scans: None, ..index() }, vec![]),
    ] {
        let mut set = days(8..12);
        set.indexes = vec![index];
        assert_eq!(codes(&checked(&facts(vec![set]))), want, "{case}");
    }

    let all: Vec<TableName> = (8..12).map(|number| daily(number).table).collect();
    for (case, whole, parts, want) in [
        ("whole", true, vec![], vec![]),
        ("each by name", false, all.clone(), vec![]),
        ("some by name", false, all[..2].to_vec(), vec!["RP3011 warning"]),
        ("none", false, vec![], vec![]),
    ] {
        let mut set = days(8..12);
        set.publications = vec![Publication { name: "pub".into(), via_root: false, whole, parts }];
        assert_eq!(codes(&checked(&facts(vec![set]))), want, "{case}");
    }

    for (word, odd, want) in [
        ("owner", Some("mallory"), vec!["RP3010 warning"]),
        ("owner", None, vec!["RP3010 warning"]),
        ("tablespace", Some("slow"), vec!["RP3010 note"]),
        ("owner", Some("app"), vec![]),
    ] {
        let mut set = days(8..12);
        for part in &mut set.level.parts {
            part.settings.insert(word.into(), "app".into());
        }
        match odd {
            Some(value) => set.level.parts[1].settings.insert(word.into(), value.into()),
            None => set.level.parts[1].settings.remove(word),
        };
        let found = checked(&facts(vec![set]));
        assert_eq!(codes(&found), want, "{word} {odd:?}");
        assert!(found.iter().all(|one| one.what.contains("events_p20260309")), "{found:?}");
    }
}

#[test]
fn tables_that_are_attached_to_nothing_are_said() {
    let bound = || range(&day(-9), &day(-8));
    let of = |set: &str, state, change: fn(&mut replat_model::lifecycle::facts::LooseTable)| {
        let mut table = loose(set, "lost", bound(), state);
        change(&mut table);
        let mut world = facts(vec![days(8..12)]);
        world.loose = vec![table];
        codes(&checked(&world))
    };
    assert_eq!(of("gone", LooseState::Detached, |_| ()), ["RP3015 warning"]);
    assert_eq!(of("events", LooseState::Staged, |_| ()), ["RP3015 warning"]);
    assert!(of("events", LooseState::Detached, |_| ()).is_empty());
    assert_eq!(of("events", LooseState::Detached, |table| table.drop_after = Some(NOW)), ["RP3013 note"]);
    assert!(of("events", LooseState::Detached, |table| table.drop_after = Some(NOW + 1)).is_empty());
    let held = of("events", LooseState::Detached, |table| {
        (table.drop_after, table.legal_hold) = (Some(NOW), true);
    });
    assert!(held.is_empty(), "{held:?}");
}

/// Not to know how long partitions last is not to be safe.
#[test]
fn a_runway_that_cannot_be_told_is_a_warning() {
    let numbers = |high: Option<&str>, days: i64| {
        let parts = (0..3)
            .map(|n| part(&format!("n_{n}"), range(&(n * 1000).to_string(), &((n + 1) * 1000).to_string())));
        let mut set = set("n", level(Method::Range, &[key("id", "bigint")], parts.collect()));
        set.level.high = high.map(str::to_owned);
        let sample = |ago: i64| Sample {
            at: NOW - ago * DAY,
            inserted: 0,
            rows: 0,
            bytes: 0,
            high: Some((2500 - ago * 100).to_string()),
        };
        set.samples = (1..=days).rev().map(sample).collect();
        set
    };
    let empty = || set("e", level(Method::Range, &[key("ts", "date")], Vec::new()));
    for (case, set, unknown, want) in [
        ("a pace", numbers(Some("2500"), 9), false, vec![]),
        ("no pace", numbers(Some("2500"), 0), true, vec!["RP3012 note"]),
        ("no highest key", numbers(None, 0), true, vec!["RP3012 warning"]),
        ("no partition", empty(), true, vec!["RP3012 warning"]),
        ("times", days(8..12), false, vec![]),
    ] {
        let world = facts(vec![set]);
        assert_eq!(codes(&checked(&world)), want, "{case}");
        let all = runways(&world, &wish(Lifecycle::default()));
        assert_eq!(all[0].unknown.is_some(), unknown, "{case}: {all:?}");
    }
}

/// Of several columns the one that moves counts, and the row that ends first.
#[test]
fn composite_keys_last_as_long_as_their_shortest_row() {
    let two = |tenant: &str, from: i64| {
        let bound =
            Bound::Range { from: vec![at(tenant), at(&day(from))], to: vec![at(tenant), at(&day(from + 1))] };
        part(&format!("c_{tenant}_{from}"), bound)
    };
    let keys = [key("tenant", "text"), key("ts", "timestamp with time zone")];
    let of = |until: [i64; 2]| {
        let parts = ["a", "b"]
            .into_iter()
            .zip(until)
            .flat_map(|(tenant, until)| (8..until).map(move |d| (tenant, d)));
        let parts = parts.map(|(tenant, day)| two(tenant, day)).collect();
        let world = facts(vec![set("c", level(Method::Range, &keys, parts))]);
        let runway = runways(&world, &wish(Lifecycle::default())).remove(0);
        assert_eq!(runway.unknown, None);
        runway.seconds.map(|seconds| seconds as f64 / 86_400.0)
    };
    assert_eq!(of([20, 14]), Some(3.5));
    assert_eq!(of([13, 14]), Some(2.5));
    assert_eq!(of([13, 10]), Some(0.0));
}

#[test]
fn a_standby_and_what_nobody_asked_for_are_not_judged() {
    let mut world = facts(vec![days(1..5)]);
    assert_eq!(codes(&checked(&world)), ["RP3005 error"]);
    let others = Lifecycle { tables: vec!["public.other".into()], ..Lifecycle::default() };
    assert!(check(&world, &wish(others)).is_empty());
    world.vitals.read_only = true;
    assert!(checked(&world).is_empty());
}

/// Each code is there once, so that a page can be written for each.
#[test]
fn codes_are_told_apart() {
    let all: std::collections::BTreeSet<&str> = code::CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(all.len(), code::CODES.len());
}
