//! Every shape of a set: keys of every type, cut in every way, from nothing and with holes.

use proptest::prelude::*;
use replat_model::lifecycle::draft::draft;
use replat_model::lifecycle::facts::{Bound, Edge, Facts, Level, Method, Part, Sample, SetFacts};
use replat_model::lifecycle::health::{Finding, Severity, check, codes as code};
use replat_model::lifecycle::plan::{NewPart, Work};
use replat_model::lifecycle::policy::{Cut, Grow, GrowOn, LevelPolicy, Lifecycle, Overflow};

use super::applier::after;
use super::convergence::settled;
use super::world::*;

/// A key, how it is cut, and the partition that holds 2026-03-10 12:00 UTC, or zero.
#[derive(Clone, Copy, Debug)]
struct Shape {
    of: &'static str,
    encoding: Option<&'static str>,
    interval: &'static str,
    origin: Option<&'static str>,
    zone: Option<&'static str>,
    first: (&'static str, &'static str),
}

const fn shape(of: &'static str, interval: &'static str, first: (&'static str, &'static str)) -> Shape {
    Shape { of, encoding: None, interval, origin: None, zone: None, first }
}

const fn coded(
    of: &'static str,
    encoding: &'static str,
    interval: &'static str,
    first: (&'static str, &'static str),
) -> Shape {
    Shape { encoding: Some(encoding), ..shape(of, interval, first) }
}

const TZ: &str = "timestamp with time zone";

const SHAPES: &[Shape] = &[
    shape("date", "1 day", ("2026-03-10", "2026-03-11")),
    shape("date", "1 week", ("2026-03-09", "2026-03-16")),
    shape("date", "1 year", ("2026-01-01", "2027-01-01")),
    shape("timestamp without time zone", "6 hours", ("2026-03-10 12:00:00", "2026-03-10 18:00:00")),
    shape("timestamp without time zone", "1 month", ("2026-03-01 00:00:00", "2026-04-01 00:00:00")),
    shape(TZ, "1 hour", ("2026-03-10 12:00:00+00", "2026-03-10 13:00:00+00")),
    shape(TZ, "15 minutes", ("2026-03-10 12:00:00+00", "2026-03-10 12:15:00+00")),
    shape(TZ, "1 day", ("2026-03-10 00:00:00+00", "2026-03-11 00:00:00+00")),
    shape(TZ, "9 weeks", ("2026-03-09 00:00:00+00", "2026-05-11 00:00:00+00")),
    shape(TZ, "1 quarter", ("2026-01-01 00:00:00+00", "2026-04-01 00:00:00+00")),
    // Clocks go forward on 2026-03-29.
    Shape {
        zone: Some("Europe/Berlin"),
        ..shape(TZ, "1 day", ("2026-03-09 23:00:00+00", "2026-03-10 23:00:00+00"))
    },
    Shape {
        zone: Some("Europe/Berlin"),
        ..shape(TZ, "1 month", ("2026-02-28 23:00:00+00", "2026-03-31 22:00:00+00"))
    },
    Shape {
        origin: Some("2026-01-01 06:00:00+00"),
        ..shape(TZ, "1 day", ("2026-03-10 06:00:00+00", "2026-03-11 06:00:00+00"))
    },
    Shape { origin: Some("2026-01-07"), ..shape("date", "1 week", ("2026-03-04", "2026-03-11")) },
    shape("smallint", "1000", ("0", "1000")),
    shape("integer", "1000000", ("0", "1000000")),
    shape("bigint", "250000", ("0", "250000")),
    Shape { origin: Some("1"), ..shape("bigint", "100", ("1", "101")) },
    shape("numeric", "1000", ("0", "1000")),
    shape("numeric(10,2)", "0.5", ("0.00", "0.50")),
    coded("integer", "epoch-s", "1 day", ("1773100800", "1773187200")),
    coded("bigint", "epoch-s", "6 hours", ("1773144000", "1773165600")),
    coded("bigint", "epoch-ms", "1 day", ("1773100800000", "1773187200000")),
    coded("bigint", "epoch-us", "1 day", ("1773100800000000", "1773187200000000")),
    coded("bigint", "epoch-ns", "1 day", ("1773100800000000000", "1773187200000000000")),
    coded("numeric(20,0)", "epoch-ms", "1 day", ("1773100800000", "1773187200000")),
    shape("uuid", "1 day", ("019cd50b-1800-0000-0000-000000000000", "019cda31-7400-0000-0000-000000000000")),
    coded("text", "ulid", "1 day", ("01KKAGP6000000000000000000", "01KKD32X000000000000000000")),
    coded("bigint", "snowflake", "1 day", ("2031158088299446272", "2031520476165046272")),
];

impl Shape {
    fn policy(&self) -> Lifecycle {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let cut = LevelPolicy {
            interval: Some(self.interval.into()),
            origin: own(self.origin),
            zone: own(self.zone),
            encoding: own(self.encoding),
            ..cut("k", Cut::Range)
        };
        Lifecycle { levels: vec![cut], ahead_count: Some(2), ..Lifecycle::default() }
    }

    fn empty(&self) -> SetFacts {
        set("s", level(Method::Range, &[key("k", self.of)], Vec::new()))
    }
}

fn made(facts: &Facts, policy: &Lifecycle) -> Vec<NewPart> {
    let plan = plan(facts, policy);
    let severe: Vec<_> = plan.findings.iter().filter(|found| found.severity == Severity::Error).collect();
    assert!(severe.is_empty(), "{severe:?}");
    let parts = plan.units.into_iter().flat_map(|unit| match unit.work {
        Work::Create { parts, .. } => parts,
        other => panic!("{other:?}"),
    });
    parts.collect()
}

#[test]
fn an_empty_table_of_any_key_begins_where_it_is_natural() {
    for shape in SHAPES {
        let world = facts(vec![shape.empty()]);
        let parts = made(&world, &shape.policy());
        assert_eq!(short(&parts[0].bound), short(&range(shape.first.0, shape.first.1)), "{shape:?}");
        assert_eq!(parts.len(), 3, "{shape:?}: what is in use and two ahead");
        for pair in parts.windows(2) {
            let (Bound::Range { to, .. }, Bound::Range { from, .. }) = (&pair[0].bound, &pair[1].bound)
            else {
                panic!("{shape:?}")
            };
            assert_eq!(to, from, "{shape:?}");
        }
        settled(&world, &shape.policy());
    }
}

#[test]
fn an_empty_table_without_an_interval_is_refused_with_what_to_say() {
    for of in ["date", TZ, "bigint", "numeric", "uuid"] {
        let world = facts(vec![set("s", level(Method::Range, &[key("k", of)], Vec::new()))]);
        let plan = plan(&world, &ahead(3));
        assert_eq!((plan.units.len(), codes(&plan.findings)), (0, vec!["RP3003 error".into()]), "{of}");
        assert!(plan.findings[0].remedy.contains("--interval"), "{of}: {}", plan.findings[0].remedy);
    }
    // A day of numbers may be one of five things, and text is no time unless somebody says so.
    for of in ["bigint", "text"] {
        let shape = shape(of, "1 day", ("", ""));
        let plan = plan(&facts(vec![shape.empty()]), &shape.policy());
        assert_eq!((plan.units.len(), codes(&plan.findings)), (0, vec!["RP3003 error".into()]), "{of}");
        assert!(plan.findings[0].remedy.contains("encoding"), "{of}: {}", plan.findings[0].remedy);
    }
}

#[test]
fn a_pinned_zone_keeps_its_midnights_when_clocks_change() {
    let berlin = SHAPES.iter().find(|shape| shape.zone.is_some()).expect("one of them is");
    let policy = Lifecycle { ahead_count: Some(20), ..berlin.policy() };
    let parts = made(&facts(vec![berlin.empty()]), &policy);
    let bounds: Vec<String> = parts.iter().map(|part| short(&part.bound)).collect();
    let short_day = "2026-03-28 23:00:00+00..2026-03-29 22:00:00+00";
    assert!(bounds.contains(&short_day.to_owned()), "{bounds:?}");
    assert!(bounds.contains(&"2026-03-29 22:00:00+00..2026-03-30 22:00:00+00".to_owned()), "{bounds:?}");
}

/// The last keys of a type have no bound after them: nothing overflows, and what is before them is made.
#[test]
fn the_end_of_the_keys_type_is_said_and_the_rest_is_made() {
    let of = |type_name: &str, overflow, high: &str| {
        let shape = shape("smallint", "10000", ("", ""));
        let mut set = shape.empty();
        set.level.keys[0].type_name = type_name.into();
        set.level.high = Some(high.into());
        let policy = Lifecycle { overflow, ahead_count: Some(9), ..shape.policy() };
        let world = facts(vec![set]);
        let plan = plan(&world, &policy);
        settled(&world, &policy);
        (lines(&plan), codes(&plan.findings))
    };
    let (lines, found) = of("smallint", None, "15000");
    assert_eq!(lines, ["create s: 10000..20000, 20000..30000"]);
    assert_eq!(found, ["RP3035 warning"]);
    let (lines, found) = of("smallint", Some(Overflow::Edge), "15000");
    assert_eq!(lines, ["create s: 10000..20000, 20000..30000, min..10000, 30000..max"]);
    assert!(found.is_empty(), "{found:?}");
    let (lines, found) = of("smallint", Some(Overflow::Reject), "32767");
    assert_eq!((lines.len(), found), (0, vec!["RP3035 warning".to_owned()]));
    let (lines, found) = of("integer", None, "2147483000");
    assert_eq!((lines.len(), found), (0, vec!["RP3035 warning".to_owned()]));
    let (lines, _) = of("bigint", None, "9223372036854770000");
    assert!(lines.is_empty(), "{lines:?}");
}

/// Old bounds that lie between two steps, as of identifiers with random bits, do not stop the set; what is made beside
/// them touches them to the byte.
#[test]
fn odd_old_bounds_are_met_to_the_byte() {
    let uuid = |day: u64, tail: &str| {
        let millis = format!("{:012x}", 1_773_100_800_000 + day * 86_400_000);
        format!("{}-{}-{tail}", &millis[..8], &millis[8..])
    };
    let plain = |day| uuid(day, "0000-0000-000000000000");
    let odd = uuid(3, "7abc-8def-0123456789ab");
    let mut parts: Vec<Part> =
        (4..8).map(|day| part(&format!("s_p2026031{day}"), range(&plain(day), &plain(day + 1)))).collect();
    parts.insert(0, part("s_odd", range(&plain(2), &odd)));
    parts.insert(0, part("s_p20260310", range(&plain(0), &plain(1))));
    let set = set("s", level(Method::Range, &[key("k", "uuid")], parts));
    let world = facts(vec![set]);
    let plan = plan(&world, &ahead(6));
    let want = range(&odd, &plain(4));
    assert_eq!(
        lines(&plan),
        [format!("create s: {}, {}", short(&range(&plain(1), &plain(2))), short(&want))],
        "{:?}",
        plan.findings
    );
    settled(&world, &ahead(6));
}

#[test]
fn lists_and_hashes_get_what_is_missing() {
    let hashes = |bounds: &[(u32, u32)]| {
        let parts = bounds.iter().map(|(m, r)| part(&format!("h_{m}_{r}"), hash(*m, *r))).collect();
        set("h", level(Method::Hash, &[key("id", "bigint")], parts))
    };
    let lists = |values: &[&str]| {
        let parts = values.iter().map(|value| part(&format!("l_{value}"), list(&[value]))).collect();
        set("l", level(Method::List, &[key("tenant", "text")], parts))
    };
    let slide = |rows: Option<u64>, age: Option<&str>| {
        let age = age.map(|age| age.parse().expect("a duration"));
        Some(Grow { on: GrowOn::Sliding, rows, age })
    };
    let growing = |grow| Lifecycle {
        levels: vec![LevelPolicy { grow, ..cut("tenant", Cut::List) }],
        ..Lifecycle::default()
    };
    let fixed = |values: &[&[&str]]| Lifecycle {
        levels: vec![LevelPolicy {
            values: values.iter().map(|list| list.iter().map(|v| (*v).to_owned()).collect()).collect(),
            ..cut("tenant", Cut::List)
        }],
        ..Lifecycle::default()
    };
    let modulus = |modulus| Lifecycle {
        levels: vec![LevelPolicy { modulus, ..cut("id", Cut::Hash) }],
        ..Lifecycle::default()
    };
    let appearing = |values: &[(&str, u64)]| {
        let mut set = lists(&["a"]);
        set.level.parts.push(default_part("l_default", exactly(values)));
        set
    };
    let appearance = growing(Some(Grow { on: GrowOn::Appearance, rows: None, age: None }));
    let none = Lifecycle::default();
    let rows: Vec<(&str, SetFacts, Lifecycle, &[&str], &[&str])> = vec![
        ("whole", hashes(&[(2, 0), (2, 1)]), none.clone(), &[], &[]),
        ("one is missing", hashes(&[(4, 0), (4, 1), (4, 3)]), none.clone(), &["create h: 4:2"], &[]),
        ("of two moduli", hashes(&[(2, 0), (4, 1)]), none.clone(), &["create h: 4:3"], &[]),
        ("from nothing", hashes(&[]), modulus(Some(2)), &["create h: 2:0, 2:1"], &[]),
        ("from nothing, unsaid", hashes(&[]), none.clone(), &[], &["RP3003 error"]),
        ("another modulus is no gap", hashes(&[(2, 0), (2, 1)]), modulus(Some(4)), &[], &["RP3021 warning"]),
        ("values that are there", lists(&["a", "b"]), none.clone(), &[], &[]),
        ("a value that must be", lists(&["a"]), fixed(&[&["a"], &["b", "c"]]), &["create l: b|c"], &[]),
        ("half of a list", lists(&["b"]), fixed(&[&["b", "c"]]), &[], &["RP3021 warning"]),
        ("appeared", appearing(&[("x", 1), ("y", 9)]), appearance.clone(), &["drain l: y, x"], &[]),
        ("appeared, unsaid", appearing(&[("x", 1)]), none.clone(), &[], &[]),
        ("none can appear", lists(&["a"]), appearance, &[], &["RP3021 warning"]),
        ("full", lists(&["1", "2"]), growing(slide(Some(1000), None)), &["create l: 3"], &[]),
        ("not full", lists(&["1", "2"]), growing(slide(Some(1001), None)), &[], &[]),
        ("old", lists(&["1", "2"]), growing(slide(None, Some("100d"))), &["create l: 3"], &[]),
        ("not old", lists(&["1", "2"]), growing(slide(None, Some("101d"))), &[], &[]),
        ("the first", lists(&[]), growing(slide(Some(5), None)), &["create l: 1"], &[]),
        ("no numbers", lists(&["a"]), growing(slide(Some(5), None)), &[], &["RP3003 error"]),
    ];
    for (case, set, policy, want, found) in rows {
        let world = facts(vec![set]);
        let plan = plan(&world, &policy);
        assert_eq!((lines(&plan), codes(&plan.findings)), (owned(want), owned(found)), "{case}");
        settled(&world, &policy);
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn trees_are_made_whole_from_nothing() {
    let days = || LevelPolicy { interval: Some("1 week".into()), ..cut("ts", Cut::Range) };
    let tenants =
        || LevelPolicy { values: vec![vec!["a".into()], vec!["b".into()]], ..cut("tenant", Cut::List) };
    let hashes = || LevelPolicy { modulus: Some(2), ..cut("id", Cut::Hash) };
    let ids = || LevelPolicy { interval: Some("100".into()), ..cut("id", Cut::Range) };
    let stamp = key("ts", TZ);
    let (tenant, id) = (key("tenant", "text"), key("id", "bigint"));
    let rows: Vec<(&str, Method, _, Vec<LevelPolicy>, &str)> = vec![
        (
            "range of hash",
            Method::Range,
            &stamp,
            vec![days(), hashes()],
            "2026-03-09..2026-03-16 (2:0 2:1), 2026-03-16..2026-03-23 (2:0 2:1)",
        ),
        (
            "list of range",
            Method::List,
            &tenant,
            vec![tenants(), days()],
            "a (2026-03-09..2026-03-16 2026-03-16..2026-03-23), b (2026-03-09..2026-03-16 2026-03-16..2026-03-23)",
        ),
        (
            "hash of range",
            Method::Hash,
            &id,
            vec![hashes(), days()],
            "2:0 (2026-03-09..2026-03-16 2026-03-16..2026-03-23), 2:1 (2026-03-09..2026-03-16 2026-03-16..2026-03-23)",
        ),
        (
            "range of list",
            Method::Range,
            &stamp,
            vec![days(), tenants()],
            "2026-03-09..2026-03-16 (a b), 2026-03-16..2026-03-23 (a b)",
        ),
        (
            "list of range of hash",
            Method::List,
            &tenant,
            vec![tenants(), days(), hashes()],
            "a (2026-03-09..2026-03-16 (2:0 2:1) 2026-03-16..2026-03-23 (2:0 2:1)), b (2026-03-09..2026-03-16 (2:0 2:1) 2026-03-16..2026-03-23 (2:0 2:1))",
        ),
        (
            "list of numbers",
            Method::List,
            &tenant,
            vec![tenants(), ids()],
            "a (0..100 100..200 200..300 300..400 400..500), b (0..100 100..200 200..300 300..400 400..500)",
        ),
    ];
    for (case, method, key, levels, want) in rows {
        let world = facts(vec![set("n", level(method, std::slice::from_ref(key), Vec::new()))]);
        let policy = Lifecycle { levels, ..ahead(8) };
        let plan = plan(&world, &policy);
        assert_eq!(lines(&plan), [format!("create n: {want}")], "{case}: {:?}", plan.findings);
        settled(&world, &policy);
    }
}

/// Tenants with numbers of their own: each has a buffer by its own pace.
#[test]
fn one_tenants_surge_is_its_own() {
    let tenant = |name: &str, per_day: i64, quota_bytes: u64| {
        let parts = (0..3)
            .map(|at| {
                let (from, to) = (at * 1000, (at + 1) * 1000);
                part(&format!("t_{name}_p{from}"), range(&from.to_string(), &to.to_string()))
            })
            .collect();
        let mut own = level(Method::Range, &[key("id", "bigint")], parts);
        own.high = Some("2500".into());
        let sample = |days: i64| Sample {
            at: NOW - days * DAY,
            inserted: (1_000_000 - days * per_day) as u64,
            rows: 3000,
            bytes: 300_000,
            high: Some((2500 - days * per_day).to_string()),
        };
        own.samples = (1..10).rev().map(sample).collect();
        own.parts.iter_mut().for_each(|part| part.bytes = Some(quota_bytes / 3));
        Part { below: Some(own), ..part(&format!("t_{name}"), list(&[name])) }
    };
    let of =
        |tenants: Vec<Part>| facts(vec![set("t", level(Method::List, &[key("tenant", "text")], tenants))]);
    let count = |world: &Facts, policy: &Lifecycle, name: &str| -> usize {
        let units = draft(world, &wish(policy.clone())).units;
        let parts = units.iter().filter_map(|unit| match &unit.work {
            Work::Create { parent, parts, .. } if parent.name == name => Some(parts.len()),
            _ => None,
        });
        parts.sum()
    };
    let calm = of(vec![tenant("a", 30, 3000), tenant("b", 30, 3000)]);
    let surge = of(vec![tenant("a", 200, 3000), tenant("b", 30, 3000)]);
    let policy = ahead(30);
    assert_eq!(count(&calm, &policy, "t_a"), count(&calm, &policy, "t_b"));
    assert_eq!(count(&surge, &policy, "t_b"), count(&calm, &policy, "t_b"), "b is as it was");
    assert!(count(&surge, &policy, "t_a") > 3 * count(&calm, &policy, "t_a").max(1));

    // A quota of the whole table goes to those that need least, and the surging one is said.
    let quota = replat_model::lifecycle::policy::Quota { partitions: Some(12), ..Default::default() };
    let bounded = Lifecycle { quota: Some(quota), ..ahead(30) };
    assert_eq!(count(&surge, &bounded, "t_a"), 0);
    assert_eq!(count(&surge, &bounded, "t_b"), count(&calm, &policy, "t_b"));
    let found = draft(&surge, &wish(bounded)).findings;
    assert!(found.iter().any(|f| f.code == code::QUOTA && f.what.contains("t_a are left out")), "{found:?}");

    // A quota for each tenant is judged by its own pace: the surge of one does not make the other one's size grow.
    let quota = |size: &str| replat_model::lifecycle::policy::Quota {
        tenant: Some(size.parse().expect("a size")),
        ..Default::default()
    };
    let single = Lifecycle { quota: Some(quota("200kB")), until: Some("2026-05-01".into()), ..ahead(30) };
    let full: Vec<String> = draft(&surge, &wish(single))
        .findings
        .into_iter()
        .filter(|finding| finding.code == code::QUOTA)
        .map(|finding| finding.what)
        .collect();
    assert!(full.iter().all(|what| !what.contains("public.t_b")), "{full:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any key, any of its partitions gone, any policy for what is beyond: one plan, and nothing is left to do.
    #[test]
    fn sets_of_any_key_come_to_rest(
        which in 0..SHAPES.len(),
        gone in proptest::collection::vec(any::<bool>(), 12),
        first in 2_u32..9,
        then in 0_u32..12,
        overflow in prop_oneof![
            Just(None), Just(Some(Overflow::Edge)), Just(Some(Overflow::Default)), Just(Some(Overflow::Reject))
        ],
    ) {
        let shape = &SHAPES[which];
        let begun = Lifecycle { ahead_count: Some(first), ..shape.policy() };
        let mut world = facts(vec![shape.empty()]);
        world = after(&world, &plan(&world, &begun));
        let mut gone = gone.into_iter();
        world.sets[0].level.parts.retain(|_| !gone.next().unwrap_or(false));
        let policy = Lifecycle { ahead_count: Some(then), overflow, ..shape.policy() };
        let rest = settled(&world, &policy);
        // A gap beyond the horizon is no harm yet.
        let harm = |found: &Finding| found.code == code::GAP && found.severity == Severity::Error;
        let gaps: Vec<_> = check(&rest, &wish(policy)).into_iter().filter(harm).collect();
        prop_assert!(gaps.is_empty(), "{shape:?}: {gaps:?}");
    }

    /// Rows of ranges of several columns, some tenants with holes, some without a partition of now.
    #[test]
    fn composite_keys_come_to_rest(
        tenants in proptest::collection::vec((0_i64..4, 0_i64..6), 1..5),
        days in 0_u64..9,
    ) {
        let two = |tenant: &str, from: i64| Bound::Range {
            from: vec![at(tenant), at(&day(from))],
            to: vec![at(tenant), at(&day(from + 1))],
        };
        let keys = [key("tenant", "text"), key("ts", TZ)];
        let parts = tenants.iter().enumerate().flat_map(|(number, (before, after))| {
            let tenant = format!("t{number}");
            let span = 9 - before..12 + after;
            span.filter(|day| *day != 11).map(move |from| part(&format!("c_{tenant}_{from}"), two(&tenant, from)))
        });
        let level: Level = level(Method::Range, &keys, parts.collect());
        let world = facts(vec![set("c", level)]);
        let rest = settled(&world, &ahead(days));
        for number in 0..tenants.len() {
            let own = format!("t{number}");
            let of = |part: &&Part| matches!(&part.bound, Bound::Range { from, .. } if from[0] == Edge::At(own.clone()));
            let count = rest.sets[0].level.parts.iter().filter(of).count();
            prop_assert!(count > days as usize, "{own}: {count}");
        }
    }
}
