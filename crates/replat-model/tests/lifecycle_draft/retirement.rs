//! What is old goes, and what must not go stays.

use replat_model::lifecycle::draft::{Wish, draft};
use replat_model::lifecycle::facts::{
    Facts, LooseState, Method, Origin, Part, Reference, SetFacts, TableName,
};
use replat_model::lifecycle::plan::{Kind, Work};
use replat_model::lifecycle::policy::{Cut, Grow, GrowOn, LevelPolicy, Lifecycle, Retire, RetireHow};

use super::convergence::settled;
use super::world::*;

fn retire(retire: Retire) -> Lifecycle {
    Lifecycle { retire: Some(retire), ..ahead(1) }
}

fn keep(days: u64) -> Retire {
    Retire { keep: Some(format!("{days}d").parse().expect("a duration")), ..Retire::default() }
}

/// Days 1 until 12 of March; today is the tenth.
fn march() -> SetFacts {
    events(1, 12)
}

fn retired(facts: &Facts, policy: &Lifecycle) -> Vec<String> {
    let units = plan(facts, policy).units;
    let parts = units.iter().filter_map(|unit| match &unit.work {
        Work::Retire { part, .. } => Some(part.name.trim_start_matches("events_p202603").to_owned()),
        _ => None,
    });
    parts.collect()
}

#[test]
fn what_is_old_goes_the_oldest_first() {
    let bytes = |text: &str| Some(text.parse().expect("a size"));
    let many = |retire: Retire| Retire { max_per_run: Some(99), ..retire };
    // Each day has 1000 rows and a mebibyte.
    let cases: Vec<(&str, Retire, &[&str])> = vec![
        ("by age", many(keep(7)), &["01", "02"]),
        ("to the moment: the third ended seven days and a half ago", many(keep(6)), &["01", "02", "03"]),
        ("three in one run, where nobody said", keep(0), &["01", "02", "03"]),
        ("one in one run", Retire { max_per_run: Some(1), ..keep(0) }, &["01"]),
        ("not the one in use", many(keep(0)), &["01", "02", "03", "04", "05", "06", "07", "08", "09"]),
        ("by size", many(Retire { keep_bytes: bytes("8MiB"), ..Retire::default() }), &["01", "02", "03"]),
        ("by rows", many(Retire { keep_rows: Some(10_000), ..Retire::default() }), &["01"]),
        (
            "by size, never what is in use",
            many(Retire { keep_bytes: bytes("1B"), ..Retire::default() }),
            &["01", "02", "03", "04", "05", "06", "07", "08", "09"],
        ),
        (
            "by the first reason of several",
            many(Retire { keep_rows: Some(10_000), ..keep(7) }),
            &["01", "02"],
        ),
        ("nothing said", many(Retire::default()), &[]),
    ];
    for (case, policy, want) in cases {
        let world = facts(vec![march()]);
        assert_eq!(retired(&world, &retire(policy.clone())), want, "{case}");
        settled(&world, &retire(policy));
    }
}

#[test]
fn sizes_that_nobody_knows_keep_what_is_older() {
    let mut set = march();
    set.level.parts[5].rows = None;
    let world = facts(vec![set]);
    let policy = retire(Retire { keep_rows: Some(2000), max_per_run: Some(99), ..Retire::default() });
    // From the newest on: the 11th, 10th and 9th are more than 2000 rows before the gap in what is known.
    assert_eq!(retired(&world, &policy).len(), 9);
    let larger = retire(Retire { keep_rows: Some(7000), max_per_run: Some(99), ..Retire::default() });
    let plan = plan(&world, &larger);
    assert_eq!((lines(&plan).len(), codes(&plan.findings)), (0, vec!["RP3014 warning".to_owned()]));
}

#[test]
fn keys_and_conditions_make_partitions_old_too() {
    let parts =
        (0..6).map(|n| part(&format!("n_p{n}"), range(&(n * 100).to_string(), &((n + 1) * 100).to_string())));
    let mut numbers = set("n", level(Method::Range, &[key("id", "bigint")], parts.collect()));
    let policy = Lifecycle {
        ahead_count: Some(0),
        retire: Some(Retire { keep_keys: Some(250), ..Retire::default() }),
        ..Lifecycle::default()
    };
    // Nobody knows where keys are.
    numbers.level.parts.iter_mut().for_each(|part| part.rows = None);
    assert!(lines(&plan(&facts(vec![numbers.clone()]), &policy)).is_empty());
    numbers.level.high = Some("555".into());
    let by_keys = plan(&facts(vec![numbers.clone()]), &policy);
    assert_eq!(lines(&by_keys), ["retire n_p0", "retire n_p1", "retire n_p2"]);
    let Work::Retire { because, .. } = &by_keys.units[2].work else { panic!("{by_keys:?}") };
    assert_eq!(because, "its upper bound is 255 keys below the highest, 250 are kept");

    let when = retire(Retire { when: Some("closed".into()), ..Retire::default() });
    let mut set = march();
    for (at, holds) in [(0, Some(true)), (1, Some(false)), (2, None), (3, Some(true)), (10, Some(true))] {
        set.level.parts[at].when_true = holds;
    }
    assert_eq!(retired(&facts(vec![set]), &when), ["01", "04"], "not what is unknown, nor what is in use");

    // Lists have no age, unless they slide; the condition may end any of them.
    let parts = ["1", "2", "3"].map(|value| part(&format!("l_{value}"), list(&[value])));
    let mut lists = super::world::set("l", level(Method::List, &[key("id", "bigint")], parts.to_vec()));
    lists.level.parts[1].since = Some(NOW - 20 * DAY);
    lists.level.parts[2].since = Some(NOW - 5 * DAY);
    assert!(lines(&plan(&facts(vec![lists.clone()]), &retire(keep(3)))).is_empty());
    let grow = Some(Grow { on: GrowOn::Sliding, rows: None, age: None });
    let sliding =
        Lifecycle { levels: vec![LevelPolicy { grow, ..cut("id", Cut::List) }], ..retire(keep(10)) };
    // The first was over when the second began, the second when the third did, five days ago.
    assert_eq!(lines(&plan(&facts(vec![lists.clone()]), &sliding)), ["retire l_1"]);
    lists.level.parts[2].when_true = Some(true);
    assert_eq!(lines(&plan(&facts(vec![lists]), &when)), ["retire l_3"]);
}

#[test]
fn what_must_not_go_stays_and_the_others_go() {
    let base = || Retire { max_per_run: Some(2), ..keep(5) };
    let held = || Retire { legal_hold: vec!["hold".into()], ..base() };
    type Change = fn(&mut SetFacts);
    let cases: Vec<(&str, Retire, Change, &[&str], &[&str])> = vec![
        ("nothing", base(), |_| (), &["01", "02"], &["RP3013 note"]),
        (
            "legal hold of a partition",
            base(),
            |set| set.level.parts[0].legal_hold = true,
            &["02", "03"],
            &["RP3014 note", "RP3013 note"],
        ),
        (
            "legal hold of rows: seen, free, and not looked at",
            held(),
            |set| {
                set.level.parts[0].held_by_rows = Some(true);
                set.level.parts[2].held_by_rows = Some(false);
            },
            &["03"],
            &["RP3014 note", "RP3014 warning", "RP3014 warning"],
        ),
        (
            "rows that refer to it, and a reference that nobody looked at",
            base(),
            |set| {
                let table = TableName::new("public", "orders");
                set.referenced_by = vec![Reference { name: "fk".into(), table, definition: "…".into() }];
                set.level.parts[0].referenced = Some(true);
                set.level.parts[1].referenced = Some(false);
            },
            &["02"],
            &["RP3014 warning", "RP3014 warning", "RP3014 warning"],
        ),
        (
            "of others",
            base(),
            |set| set.level.parts[0].origin = Origin::Foreign,
            &["02", "03"],
            &["RP3014 note", "RP3013 note"],
        ),
        (
            "taken over",
            base(),
            |set| set.level.parts[0].origin = Origin::Adopted,
            &["01", "02"],
            &["RP3013 note"],
        ),
    ];
    for (case, policy, change, want, found) in cases {
        let mut set = march();
        change(&mut set);
        let world = facts(vec![set]);
        assert_eq!(retired(&world, &retire(policy.clone())), want, "{case}");
        let plan = plan(&world, &retire(policy));
        assert_eq!(codes(&plan.findings), found, "{case}: {:?}", plan.findings);
    }
    // Asked to take them over, it does, and retires them in the same breath.
    let mut set = march();
    set.level.parts.iter_mut().for_each(|part: &mut Part| part.origin = Origin::Foreign);
    let adopting = Lifecycle { adopt: Some(true), ..retire(base()) };
    assert_eq!(
        lines(&plan(&facts(vec![set]), &adopting)),
        ["adopt 11", "retire events_p20260301", "retire events_p20260302"]
    );
}

#[test]
fn what_was_retired_is_archived_kept_and_dropped() {
    let folder = || Some("/archive".to_owned());
    let week = || Some("7d".parse().expect("a duration"));
    let detach = || Retire { max_per_run: Some(1), ..keep(8) };
    let of = |how, archive: Option<String>, drop_after| Retire { how, archive, drop_after, ..detach() };
    let now_and_week = Some(NOW + 7 * DAY);
    let cases: Vec<(&str, Retire, Option<(Option<&str>, Option<i64>)>, &[&str])> = vec![
        ("detach", detach(), Some((None, None)), &[]),
        (
            "detach keeps, whatever else is said",
            of(RetireHow::Detach, folder(), week()),
            Some((None, None)),
            &[],
        ),
        ("drop, not yet said when", of(RetireHow::Drop, None, None), Some((None, None)), &[]),
        ("drop after a week", of(RetireHow::Drop, None, week()), Some((None, now_and_week)), &[]),
        ("archive", of(RetireHow::Archive, folder(), None), Some((Some("/archive"), None)), &[]),
        ("archive without a folder", of(RetireHow::Archive, None, None), None, &["RP3021 error"]),
        ("both", of(RetireHow::Drop, folder(), week()), Some((Some("/archive"), now_and_week)), &[]),
    ];
    for (case, policy, want, found) in cases {
        let plan = plan(&facts(vec![march()]), &retire(policy));
        let got = plan.units.iter().find_map(|unit| match &unit.work {
            Work::Retire { archive, drop_after, .. } => Some((archive.clone(), *drop_after)),
            _ => None,
        });
        let want = want.map(|(archive, after)| (archive.map(str::to_owned), after));
        assert_eq!(
            (got, codes(&plan.findings)),
            (want, found.iter().map(|f| (*f).to_owned()).collect()),
            "{case}"
        );
    }

    let mut world = facts(vec![march()]);
    let table = |name: &str, state| loose("events", name, range(&day(-9), &day(-8)), state);
    let mut due = table("due", LooseState::Detached);
    due.drop_after = Some(NOW);
    let mut young = table("young", LooseState::Detached);
    young.drop_after = Some(NOW + 1);
    let mut held = table("held", LooseState::Detached);
    (held.drop_after, held.legal_hold) = (Some(NOW), true);
    let mut replaced = table("replaced", LooseState::Replaced);
    replaced.drop_after = Some(NOW);
    world.loose = vec![due, young, held, replaced, table("kept", LooseState::Detached)];
    let plain = plan(&world, &retire(keep(99)));
    assert_eq!(lines(&plain), ["drop due", "drop replaced"]);
    assert_eq!(codes(&plain.findings), ["RP3014 note"]);
    // With a folder, everything is written to it before it goes.
    let archiving = plan(&world, &retire(Retire { how: RetireHow::Archive, archive: folder(), ..keep(99) }));
    assert_eq!(
        lines(&archiving),
        ["archive due", "archive young", "archive held", "archive kept", "drop replaced"]
    );
}

/// Every kind of work has a switch, and what a switch leaves out is said.
#[test]
fn kinds_of_work_are_switched_one_by_one() {
    let mut set = march();
    set.level.parts.push(default_part("events_default", exactly(&[("2026-03-12 12:00:00+00", 1)])));
    set.level.parts[0].detach_pending = true;
    set.level.parts[5].origin = Origin::Foreign;
    let mut world = facts(vec![set]);
    let mut due = loose("events", "due", range(&day(-9), &day(-8)), LooseState::Detached);
    due.drop_after = Some(NOW);
    world.loose = vec![due];
    let policy = Lifecycle { adopt: Some(true), ..ahead(4) };
    let policy = Lifecycle { retire: Some(Retire { max_per_run: Some(1), ..keep(5) }), ..policy };
    let kinds = |allow: &[Kind]| {
        let wish = Wish { overrides: policy.clone(), allow: allow.to_vec(), ..Wish::default() };
        let plan = draft(&world, &wish);
        let kinds: Vec<&str> = plan.units.iter().map(|unit| unit.work.kind().word()).collect();
        let off = plan.findings.iter().filter(|finding| finding.code == "RP3026").count();
        (kinds, off)
    };
    assert_eq!(kinds(&ALL), (vec!["repair", "drain", "create", "adopt", "retire", "drop"], 0));
    assert_eq!(kinds(&[]), (vec!["repair"], 5), "what was broken off is always settled");
    for kind in [Kind::Create, Kind::Drain, Kind::Adopt, Kind::Retire, Kind::Drop] {
        assert_eq!(kinds(&[kind]), (vec!["repair", kind.word()], 4));
    }
}
