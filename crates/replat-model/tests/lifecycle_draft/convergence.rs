//! A plan that was carried out leaves nothing to do: the promise on which running from cron rests.

use proptest::prelude::*;
use replat_model::lifecycle::draft::{draft, stale};
use replat_model::lifecycle::facts::{Bound, Edge, Facts, Level, LooseState, Method, Origin, Part, SetFacts};
use replat_model::lifecycle::health::Severity;
use replat_model::lifecycle::policy::{
    Cut, Grow, GrowOn, LevelPolicy, Lifecycle, Overflow, Retire, RetireHow,
};

use super::applier::{after, sort};
use super::world::*;

/// Units that go on for several runs by design: what is retired is bounded by run, and dropped after it was archived.
pub fn settled(facts: &Facts, policy: &Lifecycle) -> Facts {
    let (mut world, mut waits) = (facts.clone(), false);
    for round in 0..40 {
        let plan = plan(&world, policy);
        if plan.units.is_empty() {
            return world;
        }
        let slow = |line: &String| ["retire", "archive", "drop"].iter().any(|word| line.starts_with(word));
        // A catch-all goes when its rows were moved out by the run before, which said so.
        let emptied = |line: &String| round == 1 && waits && line.starts_with("overflow");
        assert!(
            round == 0 || lines(&plan).iter().all(|line| slow(line) || emptied(line)),
            "round {round}: {:?}",
            lines(&plan)
        );
        waits = codes(&plan.findings).contains(&"RP3006 warning".to_owned());
        world = after(&world, &plan);
    }
    panic!("it never ends: {:?}", lines(&plan(&world, policy)));
}

/// Every moment from now until the horizon has exactly one partition of the row.
fn covers(parts: &[Part], from: &str, to: &str) {
    let mut at = Edge::At(from.into());
    let mut sorted: Vec<(&Edge, &Edge)> = parts
        .iter()
        .filter_map(|part| match &part.bound {
            Bound::Range { from, to } => Some((&from[0], &to[0])),
            _ => None,
        })
        .collect();
    let text = |edge: &Edge| match edge {
        Edge::Min => String::new(),
        Edge::Max => "~".into(),
        Edge::At(text) => text.clone(),
    };
    sorted.sort_by_key(|(from, _)| text(from));
    for (begin, end) in sorted {
        if text(begin) <= text(&at) && text(&at) < text(end) {
            at = end.clone();
        }
    }
    assert!(text(&at).as_str() >= to, "nothing from {at:?} on; wanted until {to}");
}

/// Some days of March, as bits; a day may be a longer partition of somebody else's.
fn days() -> impl Strategy<Value = Vec<Part>> {
    let day = (0..4_u8, any::<bool>());
    proptest::collection::vec(day, 30).prop_map(|days| {
        let mut parts: Vec<Part> = Vec::new();
        // Two days that are surely there, so that the grid can be seen.
        for (number, (kind, foreign)) in (-12_i64..18).zip(days) {
            let known = number == -12 || number == -11;
            if kind == 0 && !known {
                continue;
            }
            let mut part = daily(number);
            if foreign && !known {
                part.origin = Origin::Foreign;
            }
            parts.push(part);
        }
        parts
    })
}

fn policies() -> impl Strategy<Value = Lifecycle> {
    let overflow = prop_oneof![
        Just(None),
        Just(Some(Overflow::Edge)),
        Just(Some(Overflow::Default)),
        Just(Some(Overflow::Reject))
    ];
    let retire = prop_oneof![
        Just(None),
        (1..20_u64, 1..4_u32, any::<bool>()).prop_map(|(days, most, drop)| Some(Retire {
            keep: Some(format!("{days}d").parse().expect("a duration")),
            max_per_run: Some(most),
            how: if drop { RetireHow::Drop } else { RetireHow::Detach },
            drop_after: drop.then(|| "0s".parse().expect("a duration")),
            ..Retire::default()
        }))
    ];
    let interval = prop_oneof![
        Just(None),
        Just(Some("1 day")),
        Just(Some("1 week")),
        Just(Some("1 month")),
        Just(Some("6 hours"))
    ];
    (0..40_u64, proptest::option::of(0..9_u32), overflow, retire, interval, any::<bool>()).prop_map(
        |(days, count, overflow, retire, interval, adopt)| Lifecycle {
            ahead_count: count,
            overflow,
            retire,
            levels: interval.map_or(Vec::new(), |interval| {
                vec![LevelPolicy { interval: Some(interval.into()), ..cut("*", Cut::Range) }]
            }),
            adopt: Some(adopt),
            ..ahead(days)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn days_in_any_state_come_to_rest(
        parts in days(),
        policy in policies(),
        default in any::<bool>(),
        strays in proptest::collection::vec(-40..60_i64, 0..5),
    ) {
        let mut set = events(0, 0);
        set.level.parts = parts;
        if default {
            let missing: Vec<String> = strays.into_iter().map(day).filter(|value| {
                !set.level.parts.iter().any(|part| super::applier::holds(&part.bound, value))
            }).collect();
            let values: Vec<(&str, u64)> = missing.iter().map(|value| (value.as_str(), 1)).collect();
            set.level.parts.push(default_part("events_default", exactly(&values)));
        }
        sort(&mut set.level);
        let foreign: Vec<_> = set.level.parts.iter().filter(|part| part.origin == Origin::Foreign).map(|part| part.id).collect();
        let world = facts(vec![set]);
        let first = plan(&world, &policy);
        prop_assert!(first.findings.iter().all(|finding| finding.severity != Severity::Error), "{:?}", first.findings);
        prop_assert!(stale(&first, &world).is_none());
        let rest = settled(&world, &policy);
        let ahead = policy.ahead.expect("days").millis() as i64 / 86_400_000;
        let noon = |number: i64| day(number).replace(" 00:", " 12:");
        covers(&rest.sets[0].level.parts, &noon(10), &noon(10 + ahead));
        if policy.adopt != Some(true) {
            for id in foreign {
                prop_assert!(rest.sets[0].level.parts.iter().any(|part| part.id == id), "a foreign partition went");
            }
        }
        // A plan is the same, word for word, when it is drafted again.
        prop_assert_eq!(first, draft(&world, &wish(policy)));
    }

    #[test]
    fn trees_in_any_state_come_to_rest(
        tenants in proptest::collection::vec((0..3_usize, -3..6_i64), 1..5),
        leaves in proptest::collection::vec(any::<bool>(), 8),
        shape in 0..5_u8,
    ) {
        let (set, policy) = tree(shape, &tenants, &leaves);
        let world = facts(vec![set]);
        let first = plan(&world, &policy);
        prop_assert!(first.findings.iter().all(|finding| finding.severity != Severity::Error), "{:?}", first.findings);
        let rest = settled(&world, &policy);
        match shape {
            0 => covers(&rest.sets[0].level.parts, &day(10), &day(15)),
            1 => for part in rest.sets[0].level.parts.iter().filter(|part| part.bound != Bound::Default) {
                covers(&part.below.as_ref().expect("days").parts, &day(10), &day(15));
            },
            _ => {}
        }
    }
}

/// Trees of several shapes with something missing.
fn tree(shape: u8, tenants: &[(usize, i64)], leaves: &[bool]) -> (SetFacts, Lifecycle) {
    let stamps = key("ts", "timestamp with time zone");
    let hashes = |name: &str, of: &[bool]| {
        let some = of.iter().enumerate().filter(|(at, there)| **there || *at == 3).map(|(at, _)| at as u32);
        let parts = some.map(|at| part(&format!("{name}_h{at}"), hash(4, at))).collect();
        level(Method::Hash, &[key("id", "bigint")], parts)
    };
    let cut_day = |number: i64, below: Level| {
        let mut part = daily(number);
        part.below = Some(below);
        part
    };
    match shape {
        // Range of hash.
        0 => {
            let parts = (7..10 + tenants.len() as i64)
                .map(|number| cut_day(number, hashes(&daily(number).table.name, &leaves[..4])))
                .collect();
            (set("events", level(Method::Range, &[stamps], parts)), ahead(5))
        }
        // List of range: tenants, each with days of its own.
        1 => {
            let parts = tenants
                .iter()
                .enumerate()
                .map(|(at, (_, days))| {
                    let name = format!("t_{at}");
                    let own = (5..10 + days)
                        .map(|number| {
                            part(&format!("{name}_{number}"), range(&day(number), &day(number + 1)))
                        })
                        .collect();
                    let below = level(Method::Range, std::slice::from_ref(&stamps), own);
                    Part { below: Some(below), ..part(&name, list(&[&name])) }
                })
                .chain([default_part("t_default", exactly(&[("new", 3), ("newer", 1)]))])
                .collect();
            let grow = Some(Grow { on: GrowOn::Appearance, rows: None, age: None });
            let policy =
                Lifecycle { levels: vec![LevelPolicy { grow, ..cut("tenant", Cut::List) }], ..ahead(5) };
            (set("t", level(Method::List, &[key("tenant", "text")], parts)), policy)
        }
        // Hash of list.
        2 => {
            let lists = |name: &str| {
                level(Method::List, &[key("tenant", "text")], vec![part(&format!("{name}_a"), list(&["a"]))])
            };
            let parts = leaves[..4]
                .iter()
                .enumerate()
                .filter(|(at, there)| **there || *at == 0)
                .map(|(at, _)| {
                    let name = format!("h_{at}");
                    Part { below: Some(lists(&name)), ..part(&name, hash(4, at as u32)) }
                })
                .collect();
            let values = vec![vec!["a".into()], vec!["b".into(), "c".into()]];
            let policy = Lifecycle {
                levels: vec![cut("id", Cut::Hash), LevelPolicy { values, ..cut("tenant", Cut::List) }],
                ..ahead(5)
            };
            (set("h", level(Method::Hash, &[key("id", "bigint")], parts)), policy)
        }
        // A range of months of ranges of days of one column.
        3 => {
            let month = |name: &str, from: &str, to: &str, days: std::ops::Range<i64>| {
                let own = days
                    .map(|number| part(&format!("{name}_{number}"), range(&day(number), &day(number + 1))))
                    .collect();
                let below = level(Method::Range, std::slice::from_ref(&stamps), own);
                Part { below: Some(below), ..part(name, range(from, to)) }
            };
            let march_until = 20 + tenants[0].1;
            let parts = vec![
                month("m_2026_02", "2026-02-01 00:00:00+00", "2026-03-01 00:00:00+00", -27..1),
                month("m_2026_03", "2026-03-01 00:00:00+00", "2026-04-01 00:00:00+00", 1..march_until),
            ];
            (set("m", level(Method::Range, &[stamps], parts)), ahead(60))
        }
        // As the policy says, from nothing: tenants, days, and hashes below.
        _ => {
            let policy = Lifecycle {
                levels: vec![
                    LevelPolicy {
                        values: vec![vec!["a".into()], vec!["b".into()]],
                        ..cut("tenant", Cut::List)
                    },
                    LevelPolicy { interval: Some("1 week".into()), ..cut("ts", Cut::Range) },
                    LevelPolicy { modulus: Some(2), ..cut("id", Cut::Hash) },
                ],
                ..ahead(20)
            };
            (set("n", level(Method::List, &[key("tenant", "text")], Vec::new())), policy)
        }
    }
}

#[test]
fn what_was_broken_off_is_settled_first() {
    let mut set = events(-5, 30);
    set.level.parts[0].detach_pending = true;
    let mut world = facts(vec![set]);
    world.loose = vec![
        loose("events", "events_p20260409", range(&day(40), &day(41)), LooseState::Staged),
        loose("events", "events_p20260410", range(&day(41), &day(42)), LooseState::Staged),
    ];
    let policy = ahead(40);
    let plan = plan(&world, &policy);
    let lines = lines(&plan);
    assert_eq!(lines[..2], ["reap u-1: 2".to_owned(), "finalize events_p20260223".to_owned()]);
    assert!(lines[2].starts_with("create events: 2026-03-30"), "{lines:?}");
    // What is reaped gives its name free.
    let names = format!("{:?}", plan.units[2]);
    assert!(names.contains("\"events_p20260409\""), "{names}");
    settled(&world, &policy);
}
