//! What quotas forbid.

use std::collections::BTreeMap;

use replat_model::lifecycle::facts::{Bound, Method, SetFacts, TableName, Vitals};
use replat_model::lifecycle::forecast::{Forecast, History, learn};
use replat_model::lifecycle::health::Severity;
use replat_model::lifecycle::plan::{NewPart, Unit, Work};
use replat_model::lifecycle::policy::Quota;
use replat_model::lifecycle::quota::{locks, room, tenants};
use replat_model::spec::ByteSize;

use super::given::*;

const GB: u64 = 1_000_000_000;

fn size(text: &str) -> Option<ByteSize> {
    Some(text.parse().expect(text))
}

fn vitals() -> Vitals {
    Vitals {
        now: NOW,
        relations: Some(10_000),
        database_bytes: Some(100 * GB),
        disk_free_bytes: Some(50 * GB),
        lock_room: Some(6_400),
        ..Vitals::default()
    }
}

/// Two tenants of 60 and 20 GB.
fn facts() -> SetFacts {
    let parts = vec![sized(Some(60 * GB), list("big")), sized(Some(20 * GB), list("small"))];
    set(level(Method::List, parts))
}

/// 10 M rows and 1 GB a day, 1.2 GB on a busy one.
fn gigabyte_a_day() -> Forecast {
    learn(&History { parts: &days(&[10_000_000; 41]), now: NOW, ..History::default() })
}

fn create(set: &TableName, parts: usize) -> Unit {
    let part = |n| NewPart { table: table(&format!("n{n}")), bound: Bound::Default, like: None, below: None };
    let parts = (0..parts).map(part).collect();
    let work = Work::Create { parent: set.clone(), parts, default: None, edge: None };
    Unit { id: "u-1".into(), set: set.clone(), set_id: 7, work, wal_bytes: 1_000_000, relations: 150 }
}

fn drop_one(set: &TableName) -> Unit {
    let work = Work::Drop { table: table("old"), table_id: 9, because: "old".into() };
    Unit { work, ..create(set, 0) }
}

#[test]
fn quotas_are_judged_with_what_comes_and_unknown_is_no_consent() {
    let (quota, events) = (Quota::default(), table("events"));
    let known = || (vitals(), facts(), vec![create(&events, 30)], gigabyte_a_day());
    let blind = |vitals: Vitals| (vitals, facts(), vec![create(&events, 30)], gigabyte_a_day());
    let error = Some(Severity::Error);
    let month = Some(NOW + 30 * DAY);
    let database = |text| Quota { database: size(text), ..quota.clone() };
    let table_of = |text| Quota { table: size(text), ..quota.clone() };
    let disk = |text| Quota { disk_free: size(text), ..quota.clone() };
    let mut unsized_part = facts();
    unsized_part.level.parts[1].bytes = None;
    let cases = [
        ("no quota", quota.clone(), known(), month, None, ""),
        ("room in the database", database("140GB"), known(), month, None, ""),
        ("full in a month", database("120GB"), known(), month, error, "come until the horizon in 30 days"),
        ("full in a month, asked for now", database("120GB"), known(), None, None, ""),
        ("full now", database("99GB"), known(), None, error, "the database has 100 GB"),
        (
            "database unknown",
            database("1TB"),
            blind(Vitals { database_bytes: None, ..vitals() }),
            month,
            error,
            "could not be read",
        ),
        ("disk", disk("10GB"), known(), month, None, ""),
        ("disk in a month", disk("30GB"), known(), month, error, "30 GB must stay free"),
        (
            "disk unknown",
            disk("1GB"),
            blind(Vitals { disk_free_bytes: None, ..vitals() }),
            month,
            error,
            "cannot say how much disk is free",
        ),
        ("table", table_of("130GB"), known(), month, None, ""),
        ("table in a month", table_of("100GB"), known(), month, error, "the table has 80 GB"),
        (
            "a partition of unknown size",
            table_of("1TB"),
            (vitals(), unsized_part, vec![], gigabyte_a_day()),
            month,
            error,
            "size of the table could not be read",
        ),
        (
            "growth unknown",
            table_of("1TB"),
            (vitals(), facts(), vec![], Forecast::default()),
            month,
            Some(Severity::Warning),
            "its growth is not known",
        ),
        ("relations", Quota { relations: Some(10_150), ..quota.clone() }, known(), None, None, ""),
        (
            "relations, over",
            Quota { relations: Some(10_149), ..quota.clone() },
            known(),
            None,
            error,
            "the plan adds 150",
        ),
        (
            "relations of other sets",
            Quota { relations: Some(10_200), ..quota.clone() },
            (vitals(), facts(), vec![create(&events, 1), create(&table("other"), 1)], gigabyte_a_day()),
            None,
            error,
            "the plan adds 300",
        ),
        (
            "what is dropped takes no room",
            Quota { relations: Some(10_000), ..quota.clone() },
            (vitals(), facts(), vec![drop_one(&events)], gigabyte_a_day()),
            None,
            None,
            "",
        ),
        (
            "relations unknown",
            Quota { relations: Some(1_000_000), ..quota.clone() },
            blind(Vitals { relations: None, ..vitals() }),
            None,
            error,
            "number of relations could not be read",
        ),
        ("partitions", Quota { partitions: Some(32), ..quota.clone() }, known(), None, None, ""),
        (
            "partitions, over",
            Quota { partitions: Some(31), ..quota.clone() },
            known(),
            None,
            error,
            "has 2 partitions, and the plan adds 30",
        ),
        (
            "partitions of other sets",
            Quota { partitions: Some(31), ..quota.clone() },
            (vitals(), facts(), vec![create(&events, 1), create(&table("other"), 5_000)], gigabyte_a_day()),
            None,
            None,
            "",
        ),
        (
            "partitions without a quota",
            quota.clone(),
            (
                Vitals { lock_room: Some(1_000_000), ..vitals() },
                facts(),
                vec![create(&events, 9_999)],
                gigabyte_a_day(),
            ),
            None,
            error,
            "the quota is 10000",
        ),
        (
            "locks",
            quota.clone(),
            (vitals(), facts(), vec![create(&events, 2_000)], gigabyte_a_day()),
            None,
            error,
            "locks about 12004 relations at once, and there is room for 6400",
        ),
        (
            "lock room unknown",
            quota.clone(),
            blind(Vitals { lock_room: None, ..vitals() }),
            None,
            Some(Severity::Warning),
            "how many can be is not known",
        ),
    ];
    for (case, quota, (vitals, set, units, forecast), until, severity, what) in cases {
        let found = room(&quota, &vitals, &set, &units, &forecast, until);
        let Some(severity) = severity else {
            assert_eq!(found, [], "{case}");
            continue;
        };
        assert_eq!(found.len(), 1, "{case}: {found:?}");
        assert_eq!(found[0].severity, severity, "{case}: {found:?}");
        assert!(found[0].what.contains(what), "{case}: {}", found[0].what);
        assert_eq!(found[0].set, Some(events.clone()), "{case}");
        assert!(!found[0].remedy.is_empty(), "{case}");
    }
}

#[test]
fn one_tenants_quota_is_no_other_tenants() {
    let quota = |text| Quota { tenant: size(text), ..Quota::default() };
    let month = Some(NOW + 30 * DAY);
    let forecast = gigabyte_a_day();
    let over = |quota: &Quota, set: &SetFacts, until| -> Vec<String> {
        tenants(quota, set, &forecast, &BTreeMap::new(), NOW, until)
            .into_iter()
            .map(|(table, _)| table.name)
            .collect()
    };
    let mut blind = facts();
    blind.level.parts[1].bytes = None;
    let mut ranges = facts();
    ranges.level.method = Method::Range;
    // 31.5 GB come in a month, 23.6 of them to the big one.
    for (case, quota, set, until, want) in [
        ("no quota", Quota::default(), facts(), month, vec![]),
        ("room for both", quota("90GB"), facts(), month, vec![]),
        ("the big one, in a month", quota("70GB"), facts(), month, vec!["l_big"]),
        ("the big one, not yet", quota("70GB"), facts(), None, vec![]),
        ("both", quota("15GB"), facts(), month, vec!["l_big", "l_small"]),
        ("unknown size", quota("1TB"), blind, None, vec!["l_small"]),
        ("ranges do not grow", quota("70GB"), ranges, month, vec![]),
    ] {
        assert_eq!(over(&quota, &set, until), want, "{case}");
    }
}

#[test]
fn locks_count_every_depth() {
    let mut set = facts();
    set.relations_each = 9;
    let mut unit = create(&set.table, 3);
    assert_eq!(locks(&unit, &set), 3 * 10 + 4);
    if let Work::Create { parts, .. } = &mut unit.work {
        let inner = parts[1].clone();
        parts[0].below = Some(replat_model::lifecycle::plan::NewLevel {
            method: Method::Hash,
            keys: vec!["id".into()],
            parts: vec![inner.clone(), inner],
        });
    }
    assert_eq!(locks(&unit, &set), 5 * 10 + 4);
}
