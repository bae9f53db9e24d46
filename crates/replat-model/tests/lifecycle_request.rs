//! What is asked for explicitly, as units: tables of cases.

#[path = "lifecycle_draft/world.rs"]
#[allow(dead_code)]
mod world;

use std::collections::BTreeMap;

use replat_model::lifecycle::draft::{Wish, draft};
use replat_model::lifecycle::facts::{
    Bound, ColumnFacts, Edge, Facts, IndexFacts, KeySpan, Method, OrdinaryTable, Part, PastUnit, Reference,
    Strays, TableKind, TableName, UniqueFacts,
};
use replat_model::lifecycle::plan::{NewPart, RotatePlan, Unit, Work};
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Overflow};
use replat_model::lifecycle::reshape::{Convert, KINDS, Merge, Modulus, Request, Split};
use world::{at, facts, hash, key, level, list, part, range, set};

fn table(name: &str) -> TableName {
    TableName::new("public", name)
}

fn plan(facts: &Facts, request: Request) -> RotatePlan {
    let wish = Wish { allow: KINDS.to_vec(), requests: vec![request], ..Wish::default() };
    draft(facts, &wish)
}

/// The units, or what was found fault with.
fn units(facts: &Facts, request: Request) -> Result<Vec<Unit>, String> {
    let plan = plan(facts, request);
    match plan.findings.first() {
        Some(finding) => {
            assert!(!finding.remedy.is_empty(), "{finding:?}");
            assert!(plan.units.is_empty(), "{plan:?}");
            Err(finding.what.clone())
        }
        None => Ok(plan.units),
    }
}

fn short(bound: &Bound) -> String {
    let edge = |edge: &Edge| match edge {
        Edge::Min => "min".to_owned(),
        Edge::Max => "max".to_owned(),
        Edge::At(text) => text.replace(" 00:00:00+00", ""),
    };
    match bound {
        Bound::Range { from, to } => format!("{}..{}", edge(&from[0]), edge(&to[0])),
        Bound::List(values) => {
            values.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join("+")
        }
        Bound::Hash { modulus, remainder } => format!("{remainder}/{modulus}"),
        Bound::Default => "default".into(),
    }
}

fn news(parts: &[NewPart]) -> String {
    parts
        .iter()
        .map(|part| format!("{}={}", part.table.name, short(&part.bound)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Units in short: `old old -> new=bound new=bound`, and of conversions `first=bound | other=bound`.
fn said(units: &[Unit]) -> String {
    let one = |unit: &Unit| match &unit.work {
        Work::Recut { old, new, .. } => {
            let old = old.iter().map(|(table, _, _)| table.name.as_str()).collect::<Vec<_>>().join(" ");
            format!("{old} -> {}", news(new))
        }
        Work::Convert { first_name, first, others, .. } => {
            format!("{first_name}={} | {}", short(first), news(others))
        }
        other => format!("{:?}", other.kind()),
    };
    units.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn hint(column: &str, by: Cut, interval: Option<&str>) -> LevelPolicy {
    LevelPolicy {
        column: column.into(),
        by,
        interval: interval.map(str::to_owned),
        origin: None,
        zone: None,
        encoding: None,
        snowflake: None,
        modulus: None,
        values: Vec::new(),
        grow: None,
    }
}

fn ordinary() -> OrdinaryTable {
    let column = |type_name: &str, nullable, generated| ColumnFacts {
        type_name: type_name.into(),
        nullable,
        generated,
    };
    OrdinaryTable {
        table: table("events"),
        id: 77,
        kind: TableKind::Ordinary,
        lacking: Vec::new(),
        columns: [
            ("id", column("bigint", false, false)),
            ("ts", column("timestamp with time zone", true, false)),
            ("g", column("bigint", true, true)),
            ("what", column("text", true, false)),
        ]
        .map(|(name, column)| (name.to_owned(), column))
        .into(),
        rows: Some(1000),
        bytes: 1 << 20,
        relations: 4,
        spans: BTreeMap::from([
            (
                "ts".to_owned(),
                KeySpan {
                    low: Some("2026-02-01 03:00:00+00".into()),
                    high: Some("2026-03-10 11:00:00+00".into()),
                    absent: false,
                },
            ),
            ("id".to_owned(), KeySpan { low: Some("1".into()), high: Some("2500".into()), absent: false }),
        ]),
        unique: vec![UniqueFacts {
            name: "events_pkey".into(),
            primary: true,
            columns: Some(vec!["id".into(), "ts".into()]),
        }],
        referenced_by: Vec::new(),
        hindrances: Vec::new(),
    }
}

fn convert(level: LevelPolicy) -> Convert {
    Convert {
        table: table("events"),
        level,
        first_name: None,
        ahead: None,
        ahead_count: Some(2),
        overflow: Overflow::Reject,
        extend_key: false,
    }
}

type Change = fn(&mut OrdinaryTable, &mut Convert);

#[test]
fn an_ordinary_table_becomes_the_first_partition_or_it_is_said_why_not() {
    let day = || hint("ts", Cut::Range, Some("1 day"));
    // What is different from an ordinary table that is cut by days; what follows.
    let rows: Vec<(&str, LevelPolicy, Change, Result<&str, &str>)> = vec![
        (
            "days: one more than is in use",
            day(),
            |_, _| {},
            Ok("events_first=min..2026-03-12 | events_p20260312=2026-03-12..2026-03-13 \
                events_p20260313=2026-03-13..2026-03-14"),
        ),
        (
            "rows of the future are in the first",
            day(),
            |table, _| table.spans.get_mut("ts").expect("ts").high = Some("2026-03-20 01:00:00+00".into()),
            Ok("events_first=min..2026-03-22 | events_p20260322=2026-03-22..2026-03-23 \
                events_p20260323=2026-03-23..2026-03-24"),
        ),
        (
            "an empty table",
            day(),
            |table, _| table.spans.clear(),
            Ok("events_first=min..2026-03-12 | events_p20260312=2026-03-12..2026-03-13 \
                events_p20260313=2026-03-13..2026-03-14"),
        ),
        (
            "an edge takes what belongs nowhere",
            day(),
            |_, wanted| {
                wanted.overflow = Overflow::Edge;
                wanted.ahead_count = Some(1);
                wanted.first_name = Some("old".into());
            },
            Ok("old=min..2026-03-12 | events_p20260312=2026-03-12..2026-03-13 events_after=2026-03-13..max"),
        ),
        (
            "as many days as asked",
            day(),
            |_, wanted| {
                wanted.ahead_count = None;
                wanted.ahead = Some("3d".parse().expect("a span"));
                wanted.overflow = Overflow::Default;
            },
            Ok("events_first=min..2026-03-12 | events_p20260312=2026-03-12..2026-03-13 \
                events_p20260313=2026-03-13..2026-03-14 events_default=default"),
        ),
        (
            "numbers",
            hint("id", Cut::Range, Some("1000")),
            |_, _| {},
            Ok("events_first=min..4000 | events_p4000=4000..5000 events_p5000=5000..6000"),
        ),
        (
            "a hash, and its modulus right afterwards",
            LevelPolicy { modulus: Some(2), ..hint("id", Cut::Hash, None) },
            |_, _| {},
            Ok("events_first=0/1 | ; events_first -> events_h0=0/2 events_h1=1/2"),
        ),
        (
            "a list, and its values right afterwards",
            LevelPolicy {
                values: vec![vec!["a".into(), "b".into()], vec!["c".into()]],
                ..hint("what", Cut::List, None)
            },
            |table, _| table.unique.clear(),
            Ok("events_first=default | ; events_first -> events_a_b=a+b events_c=c events_default=default"),
        ),
        (
            "a primary key that lacks the column",
            day(),
            |table, _| table.unique[0].columns = Some(vec!["id".into()]),
            Err("does not contain ts"),
        ),
        (
            "which may be extended",
            day(),
            |table, wanted| {
                table.unique[0].columns = Some(vec!["id".into()]);
                wanted.extend_key = true;
                wanted.ahead_count = Some(1);
            },
            Ok("events_first=min..2026-03-12 | events_p20260312=2026-03-12..2026-03-13"),
        ),
        (
            "unless somebody refers to it",
            day(),
            |table, wanted| {
                table.unique[0].columns = Some(vec!["id".into()]);
                wanted.extend_key = true;
                table.referenced_by.push(Reference {
                    name: "fk".into(),
                    table: TableName::new("public", "lines"),
                    definition: "FOREIGN KEY (e) REFERENCES events(id)".into(),
                });
            },
            Err("refers to it"),
        ),
        (
            "another unique index",
            day(),
            |table, wanted| {
                wanted.extend_key = true;
                table.unique.push(UniqueFacts {
                    name: "u".into(),
                    primary: false,
                    columns: Some(vec!["what".into()]),
                });
            },
            Err("the unique index u on (what)"),
        ),
        (
            "a unique expression",
            day(),
            |table, _| table.unique.push(UniqueFacts { name: "u".into(), primary: false, columns: None }),
            Err("an expression"),
        ),
        (
            "rows without a key",
            day(),
            |table, _| table.spans.get_mut("ts").expect("ts").absent = true,
            Err("without a value in ts"),
        ),
        ("no such column", hint("x", Cut::Range, Some("1 day")), |_, _| {}, Err("has no column x")),
        ("a computed column", hint("g", Cut::Range, Some("1")), |_, _| {}, Err("computed from others")),
        (
            "two columns of a range",
            hint("id,ts", Cut::Range, Some("1")),
            |_, _| {},
            Err("2 columns to cut by"),
        ),
        ("no grid of text", hint("what", Cut::Range, Some("1 day")), |_, _| {}, Err("public.events: ")),
        ("no interval", hint("ts", Cut::Range, None), |_, _| {}, Err("public.events: ")),
        (
            "a name that is taken",
            day(),
            |_, wanted| wanted.first_name = Some("taken".into()),
            Err("there is a public.taken already"),
        ),
        (
            "a view",
            day(),
            |table, _| table.kind = TableKind::Other("a view".into()),
            Err("is a view, not a table"),
        ),
        ("partitioned", day(), |table, _| table.kind = TableKind::Partitioned, Err("is partitioned already")),
        (
            "a child",
            day(),
            |table, _| table.kind = TableKind::Child(TableName::new("public", "p")),
            Err("is a partition of public.p"),
        ),
        ("inherited", day(), |table, _| table.kind = TableKind::Inherited, Err("other tables inherit")),
        (
            "something that cannot follow the name",
            day(),
            |table, _| table.hindrances.push(("a rule is on it".into(), "Drop it.".into())),
            Err("a rule is on it"),
        ),
        (
            "no privilege",
            day(),
            |table, _| table.lacking.push("GRANT app TO me".into()),
            Err("may not work on public.events"),
        ),
        (
            "another table",
            day(),
            |_, wanted| wanted.table.name = "e".into(),
            Err("there is no table public.e"),
        ),
        (
            "a hash that others refer to",
            LevelPolicy { modulus: Some(2), ..hint("id", Cut::Hash, None) },
            |table, _| {
                table.referenced_by.push(Reference {
                    name: "fk".into(),
                    table: TableName::new("public", "lines"),
                    definition: "FOREIGN KEY (e) REFERENCES events(id)".into(),
                });
            },
            Err("not be cut into several"),
        ),
    ];
    for (case, level, change, wanted) in rows {
        let mut table = ordinary();
        let mut request = convert(level);
        change(&mut table, &mut request);
        let mut facts = facts(Vec::new());
        facts.taken.entry("public".into()).or_default().extend(["events".to_owned(), "taken".to_owned()]);
        facts.ordinary.push(table);
        let found = units(&facts, Request::Convert(request));
        match (&found, wanted) {
            (Ok(units), Ok(wanted)) => assert_eq!(said(units), wanted, "{case}"),
            (Err(why), Err(wanted)) => assert!(why.contains(wanted), "{case}: {why}"),
            _ => panic!("{case}: {found:?}"),
        }
    }
}

#[test]
fn a_conversion_that_was_broken_off_goes_on_as_it_was_begun() {
    let mut facts = facts(Vec::new());
    facts.ordinary.push(ordinary());
    let day = convert(hint("ts", Cut::Range, Some("1 day")));
    let first = units(&facts, Request::Convert(day.clone())).expect("a plan").remove(0);
    let begun = PastUnit {
        id: first.id.clone(),
        set: first.set.clone(),
        work: first.work.clone(),
        state: "begun".into(),
        begun: 1,
    };
    // The next day the same words mean another bound, and what was begun counts.
    facts.vitals.now += world::DAY;
    let fresh = units(&facts, Request::Convert(day.clone())).expect("a plan").remove(0);
    assert_ne!(fresh.id, first.id);
    facts.history.push(begun);
    let again = units(&facts, Request::Convert(day)).expect("a plan").remove(0);
    assert_eq!((again.id, again.work), (first.id, first.work));
    // And it can be taken back.
    let back = units(&facts, Request::Undo { what: "public.events".into() }).expect("a plan");
    assert!(matches!(&back[0].work, Work::Reap { unit, .. } if *unit == facts.history[0].id), "{back:?}");
}

fn days() -> Facts {
    let strays = Strays {
        rows: 9,
        low: Some("2026-03-01 05:00:00+00".into()),
        high: Some("2026-03-03 05:00:00+00".into()),
        ..Strays::default()
    };
    let first = Part {
        strays: Some(strays),
        ..part("e_first", Bound::Range { from: vec![Edge::Min], to: vec![at("2026-03-04 00:00:00+00")] })
    };
    let day = |n: u32| {
        let bound = range(&format!("2026-03-0{n} 00:00:00+00"), &format!("2026-03-0{} 00:00:00+00", n + 1));
        part(&format!("e_p2026030{n}"), bound)
    };
    let parts = vec![first, day(4), day(5), day(6)];
    facts(vec![set("e", level(Method::Range, &[key("ts", "timestamp with time zone")], parts))])
}

fn hashes(modulus: u32) -> Facts {
    let parts = (0..modulus).map(|r| part(&format!("h_h{r}"), hash(modulus, r))).collect();
    facts(vec![set("h", level(Method::Hash, &[key("id", "bigint")], parts))])
}

fn lists() -> Facts {
    let parts =
        vec![part("l_ab", list(&["a", "b"])), part("l_c", list(&["c"])), part("l_default", Bound::Default)];
    facts(vec![set("l", level(Method::List, &[key("tenant", "text")], parts))])
}

#[test]
fn partitions_are_cut_anew() {
    let split = |name: &str| Split { table: table(name), ..Split::default() };
    let merge =
        |names: &[&str]| Merge { parts: names.iter().map(|name| table(name)).collect(), ..Merge::default() };
    let modulus = |n: u32| Modulus { parent: table("h"), modulus: n, only: Vec::new() };
    let rows: Vec<(&str, Facts, Request, Result<&str, &str>)> = vec![
        (
            "the first partition, into all its days",
            days(),
            Request::Split(split("e")),
            Ok("e_first -> e_before=min..2026-03-01 e_p20260301=2026-03-01..2026-03-02 \
                e_p20260302=2026-03-02..2026-03-03 e_p20260303=2026-03-03..2026-03-04"),
        ),
        (
            "only one piece of it",
            days(),
            Request::Split(Split { pieces: Some(1), ..split("e_first") }),
            Ok("e_first -> e_first=min..2026-03-03 e_p20260303=2026-03-03..2026-03-04"),
        ),
        (
            "by another interval",
            days(),
            Request::Split(Split { interval: Some("12 hours".into()), ..split("e_p20260304") }),
            Ok("e_p20260304 -> e_p20260304_00=2026-03-04..2026-03-04 12:00:00+00 \
                e_p20260304_12=2026-03-04 12:00:00+00..2026-03-05"),
        ),
        (
            "at a bound",
            days(),
            Request::Split(Split { at: vec!["2026-03-02 00:00:00+00".into()], ..split("e_first") }),
            Ok("e_first -> e_before=min..2026-03-02 e_pfrom_2026_03_02=2026-03-02..2026-03-04"),
        ),
        ("one day is one day", days(), Request::Split(split("e_p20260304")), Ok("")),
        (
            "a bound outside",
            days(),
            Request::Split(Split { at: vec!["2026-04-02 00:00:00+00".into()], ..split("e_first") }),
            Err("does not lie within"),
        ),
        ("no such partition", days(), Request::Split(split("x")), Err("there is no partition public.x")),
        ("a hash", hashes(2), Request::Split(split("h_h0")), Err("a remainder of a hash")),
        ("a default", lists(), Request::Split(split("l_default")), Err("takes what belongs to no other")),
        (
            "a list",
            lists(),
            Request::Split(Split { at: vec!["b".into()], ..split("l_ab") }),
            Ok("l_ab -> l_ab=a l_b=b"),
        ),
        (
            "a value it has not",
            lists(),
            Request::Split(Split { at: vec!["z".into()], ..split("l_ab") }),
            Err("z is no value"),
        ),
        (
            "neighbours, in whatever order",
            days(),
            Request::Merge(merge(&["e_p20260305", "e_p20260304"])),
            Ok("e_p20260304 e_p20260305 -> e_p20260304_2=2026-03-04..2026-03-06"),
        ),
        (
            "a range of them",
            days(),
            Request::Merge(Merge {
                parent: Some(table("e")),
                from: Some("2026-03-04".into()),
                to: Some("2026-03-07".into()),
                name: Some("e_p20260304".into()),
                ..Merge::default()
            }),
            Ok("e_p20260304 e_p20260305 e_p20260306 -> e_p20260304=2026-03-04..2026-03-07"),
        ),
        (
            "not neighbours",
            days(),
            Request::Merge(merge(&["e_p20260304", "e_p20260306"])),
            Err("does not begin where"),
        ),
        ("one alone", days(), Request::Merge(merge(&["e_p20260304"])), Err("only one partition")),
        ("lists", lists(), Request::Merge(merge(&["l_ab", "l_c"])), Ok("l_ab l_c -> l_a_b_c=a+b+c")),
        (
            "half of the remainders",
            hashes(4),
            Request::Merge(merge(&["h_h1", "h_h3"])),
            Ok("h_h1 h_h3 -> h_h1of2=1/2"),
        ),
        (
            "remainders of no common one",
            hashes(4),
            Request::Merge(merge(&["h_h1", "h_h2"])),
            Err("smaller modulus"),
        ),
        (
            "twice the modulus, one partition at a time",
            hashes(2),
            Request::Modulus(modulus(4)),
            Ok("h_h0 -> h_h0of4=0/4 h_h2of4=2/4; h_h1 -> h_h1of4=1/4 h_h3of4=3/4"),
        ),
        (
            "only one partition now",
            hashes(2),
            Request::Modulus(Modulus { only: vec![table("h_h1")], ..modulus(4) }),
            Ok("h_h1 -> h_h1of4=1/4 h_h3of4=3/4"),
        ),
        (
            "half the modulus",
            hashes(4),
            Request::Modulus(modulus(2)),
            Ok("h_h0 h_h2 -> h_h0of2=0/2; h_h1 h_h3 -> h_h1of2=1/2"),
        ),
        ("as it is", hashes(4), Request::Modulus(modulus(4)), Ok("")),
        (
            "no divisor and no multiple",
            hashes(4),
            Request::Modulus(modulus(6)),
            Err("neither a multiple nor a divisor"),
        ),
        (
            "no hash",
            days(),
            Request::Modulus(Modulus { parent: table("e"), ..modulus(4) }),
            Err("not cut by a hash"),
        ),
        ("nothing", hashes(4), Request::Modulus(modulus(0)), Err("0 is no modulus")),
    ];
    let mut wrong = Vec::new();
    for (case, facts, request, wanted) in rows {
        let found = units(&facts, request).map(|units| said(&units));
        let fits = match (&found, wanted) {
            (Ok(found), Ok(wanted)) => found == wanted,
            (Err(why), Err(wanted)) => why.contains(wanted),
            _ => false,
        };
        if !fits {
            wrong.push(format!("{case}: {found:?}, not {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn many_cells_are_cut_in_two_rounds() {
    let mut facts = days();
    let first = &mut facts.sets[0].level.parts[0];
    first.strays.as_mut().expect("rows").low = Some("2024-03-01 05:00:00+00".into());
    let units =
        units(&facts, Request::Split(Split { table: table("e"), ..Split::default() })).expect("a plan");
    let Work::Recut { new, .. } = &units[0].work else { panic!("{units:?}") };
    assert!((20..=52).contains(&new.len()), "{}", new.len());
    assert_eq!(short(&new[0].bound), "min..2024-03-01");
    let Bound::Range { to, .. } = &new.last().expect("parts").bound else { panic!("{new:?}") };
    assert_eq!(to, &[at("2026-03-04 00:00:00+00")]);
    for pair in new.windows(2) {
        let (Bound::Range { to, .. }, Bound::Range { from, .. }) = (&pair[0].bound, &pair[1].bound) else {
            panic!()
        };
        assert_eq!(to, from, "no hole");
    }
}

#[test]
fn what_was_done_is_taken_back_if_it_is_still_so() {
    // A modulus that was doubled for one partition.
    let before = hashes(2);
    let asked = Modulus { parent: table("h"), modulus: 4, only: vec![table("h_h1")] };
    let unit = units(&before, Request::Modulus(asked)).expect("a plan").remove(0);
    let done = PastUnit {
        id: unit.id.clone(),
        set: unit.set.clone(),
        work: unit.work.clone(),
        state: "done".into(),
        begun: 1,
    };
    let parts = vec![part("h_h0", hash(2, 0)), part("h_h1of4", hash(4, 1)), part("h_h3of4", hash(4, 3))];
    let mut after = facts(vec![set("h", level(Method::Hash, &[key("id", "bigint")], parts))]);
    after.history.push(done);
    for what in [unit.id.as_str(), "public.h", "h", "public.h_h3of4"] {
        let back = units(&after, Request::Undo { what: what.into() }).expect("a plan");
        assert_eq!(said(&back), "h_h1of4 h_h3of4 -> h_h1=1/2", "{what}");
    }
    let refused = [("public.x", "no unit public.x is recorded"), ("u-0", "no unit u-0 is recorded")];
    for (what, why) in refused {
        let found = units(&after, Request::Undo { what: what.into() }).expect_err(what);
        assert!(found.contains(why), "{found}");
    }
    after.sets[0].level.parts[1].bound = hash(8, 1);
    let found = units(&after, Request::Undo { what: unit.id.clone() }).expect_err("changed since");
    assert!(found.contains("no longer as"), "{found}");
}

#[test]
fn an_ordinary_table_is_cut_again_as_it_was() {
    let before = days();
    let unit = units(&before, Request::Unconvert { table: table("e") }).expect("a plan").remove(0);
    let done = PastUnit {
        id: unit.id.clone(),
        set: unit.set.clone(),
        work: unit.work.clone(),
        state: "done".into(),
        begun: 1,
    };
    let mut after = facts(Vec::new());
    after.ordinary.push(OrdinaryTable { table: table("e"), ..ordinary() });
    after.history.push(done);
    // What was replaced has the old names for an hour.
    after.taken.entry("public".into()).or_default().insert("e_first".into());
    let back = units(&after, Request::Undo { what: "e".into() }).expect("a plan");
    assert_eq!(
        said(&back),
        "replat_whole=min..2026-03-07 | ; replat_whole -> e_first_2=min..2026-03-04 \
         e_p20260304=2026-03-04..2026-03-05 e_p20260305=2026-03-05..2026-03-06 e_p20260306=2026-03-06..2026-03-07"
    );
}

#[test]
fn only_what_lacks_something_is_aligned() {
    let index = |name: &str, valid: bool, missing: &[&str]| IndexFacts {
        name: name.into(),
        valid,
        constraint: false,
        missing_on: missing.iter().map(|name| table(name)).collect(),
        unattached_on: Vec::new(),
        invalid_on: Vec::new(),
        scans: None,
    };
    let mut facts = days();
    facts.sets[0].indexes =
        vec![index("a", true, &[]), index("b", false, &["e_first"]), index("c", false, &[])];
    let align = |name: Option<&str>| Request::Align { table: table("e"), index: name.map(str::to_owned) };
    assert_eq!(units(&facts, align(None)).expect("a plan").len(), 2);
    assert_eq!(units(&facts, align(Some("a"))).expect("a plan").len(), 0);
    assert!(units(&facts, align(Some("x"))).expect_err("none").contains("has no index x"));
}

#[test]
fn rows_of_now_in_the_first_partition_are_covered() {
    // After a conversion the first partition reaches from MINVALUE beyond now.
    let bound = Bound::Range { from: vec![Edge::Min], to: vec![at("2026-03-12 00:00:00+00")] };
    let parts = vec![
        part("e_first", bound),
        part("e_p20260312", range("2026-03-12 00:00:00+00", "2026-03-13 00:00:00+00")),
    ];
    let facts = facts(vec![set("e", level(Method::Range, &[key("ts", "timestamp with time zone")], parts))]);
    let wish = Wish { allow: world::ALL.to_vec(), ..Wish::default() };
    let made: Vec<String> = draft(&facts, &wish)
        .units
        .iter()
        .filter_map(|unit| match &unit.work {
            Work::Create { parts, .. } => Some(parts),
            _ => None,
        })
        .flatten()
        .map(|part| short(&part.bound))
        .collect();
    assert_eq!(made.first().map(String::as_str), Some("2026-03-13..2026-03-14"), "{made:?}");
    let found = replat_model::lifecycle::health::check(&facts, &wish);
    assert!(found.iter().all(|finding| finding.code != "RP3005"), "{found:?}");
}
