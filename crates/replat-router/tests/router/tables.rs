//! Physical tables: what was looked at, then change by change, and the same as PostgreSQL itself says.

use std::collections::BTreeMap;
use std::sync::Arc;

use replat_model::key::{KeyType, KeyValue};
use replat_model::lifecycle::change::{Change, Placed};
use replat_model::lifecycle::facts::{Bound, Edge, TableName};
use replat_model::lifecycle::plan::NewLevel;
use replat_model::lifecycle::tables::{NoTable, Tables};
use replat_router::{Refused, Router};
use replat_testkit::Server;
use serde_json::json;

use crate::scene::{acme, routes, tenants};

fn table(name: &str) -> TableName {
    TableName::new("app_blue", name)
}

/// `events` by range of `at`, `notes` by list of `kind`, both with a look's columns and no partition yet.
fn empty() -> Tables {
    let set = |name: &str, method: &str, column: &str, type_name: &str| {
        json!({
            "table": {"schema": "app_blue", "name": name}, "id": 1, "owner": "postgres", "lacking": [],
            "level": {"method": method, "parts": [], "keys": [
                {"column": column, "text": format!("\"{column}\""), "type_name": type_name, "nullable": false},
            ]},
            "columns": {"at": "timestamp with time zone", "tenant id": "bigint", "kind": "text"},
            "references": [], "referenced_by": [], "indexes": [], "publications": [], "samples": [],
            "relations_each": 1, "managed_by": null,
        })
    };
    let sets = [
        set("events", "range", "at", "timestamp with time zone"),
        set("notes", "list", "kind", "text"),
        set("words", "range", "kind", "text"),
        set("odd", "list", "kind", "interval"),
    ];
    let sets: Vec<_> = sets.into_iter().map(|set| serde_json::from_value(set).expect("a set")).collect();
    Tables::of(&sets, 10)
}

fn range(from: &str, to: &str) -> Bound {
    Bound::Range { from: vec![Edge::At(from.into())], to: vec![Edge::At(to.into())] }
}

fn list(values: &[&str]) -> Bound {
    Bound::List(values.iter().map(|value| Some((*value).to_owned())).collect())
}

fn placed(name: &str, bound: Bound) -> Placed {
    Placed { table: table(name), bound, below: None }
}

fn change(parent: &str, removed: Vec<Placed>, added: Vec<Placed>) -> Change {
    Change { kind: "create".into(), parent: table(parent), removed, added }
}

fn hashed(parent: &str) -> NewLevel {
    let part = |remainder: u32| {
        json!({"table": {"schema": "app_blue", "name": format!("{parent}_{remainder}")},
               "bound": {"hash": {"modulus": 3, "remainder": remainder}}, "like": null, "below": null})
    };
    serde_json::from_value(json!({
        "method": "hash", "keys": ["\"tenant id\""], "parts": [part(0), part(1), part(2)],
    }))
    .expect("a level")
}

fn january() -> Placed {
    let bound = range("2026-01-01 00:00:00+00", "2026-02-01 00:00:00+00");
    Placed { below: Some(hashed("events_jan")), ..placed("events_jan", bound) }
}

fn find(tables: &Tables, entity: &str, key: &[(&str, KeyValue)]) -> Result<String, NoTable> {
    tables.find(&table(entity), key).map(|found| found.name.clone())
}

fn kind(text: &str) -> [(&'static str, KeyValue); 1] {
    [("kind", KeyValue::Text(text.into()))]
}

fn at(text: &str, tenant: i64) -> [(&'static str, KeyValue); 2] {
    [("tenant id", KeyValue::Int(tenant)), ("at", KeyType::TimestampTz.parse(text).expect(text))]
}

#[test]
fn changes_are_followed_in_order() {
    let mut tables = empty();
    let missing = NoTable::Missing(table("notes"));
    assert_eq!(find(&tables, "notes", &kind("a")), Err(missing.clone()));

    let first = change(
        "notes",
        vec![],
        vec![placed("notes_ab", list(&["a", "b"])), placed("notes_rest", Bound::Default)],
    );
    assert!(tables.take(12, &first).is_err(), "one is missing between");
    tables.take(11, &first).expect("it follows");
    tables
        .take(11, &change("notes", vec![placed("notes_ab", list(&["a", "b"]))], vec![]))
        .expect("known already");
    assert_eq!(find(&tables, "notes", &kind("b")).as_deref(), Ok("notes_ab"));
    assert_eq!(find(&tables, "notes", &kind("z")).as_deref(), Ok("notes_rest"));

    let split = change(
        "notes",
        vec![placed("notes_ab", list(&["a", "b"])), placed("notes_rest", Bound::Default)],
        vec![placed("notes_a", list(&["a"])), placed("notes_b", list(&["b"]))],
    );
    tables.take(12, &split).expect("it follows");
    assert_eq!(find(&tables, "notes", &kind("b")).as_deref(), Ok("notes_b"));
    assert_eq!(find(&tables, "notes", &kind("z")), Err(missing));

    tables.take(13, &change("events", vec![], vec![january()])).expect("it follows");
    let found = find(&tables, "events", &at("2026-01-15 12:00:00+00", 5)).expect("a table");
    assert!(found.starts_with("events_jan_"), "{found}");
    assert!(find(&tables, "events", &at("2026-02-01 00:00:00+00", 5)).is_err(), "the upper end is outside");
    tables.take(14, &change("events", vec![january()], vec![])).expect("it follows");
    assert_eq!(
        find(&tables, "events", &at("2026-01-15 12:00:00+00", 5)),
        Err(NoTable::Missing(table("events")))
    );
    assert_eq!(
        find(&tables, "events_jan", &at("2026-01-15 12:00:00+00", 5)),
        Err(NoTable::Unknown(table("events_jan")))
    );
}

#[test]
fn what_is_not_understood_has_no_table() {
    let mut tables = empty();
    let rows = [
        change("words", vec![], vec![placed("words_am", range("a", "m"))]),
        change("odd", vec![], vec![placed("odd_1", list(&["1 day"]))]),
        change("late", vec![], vec![placed("late_1", list(&["1"]))]),
        change("notes", vec![], vec![placed("notes_1", list(&["a"]))]),
    ];
    for (n, change) in rows.iter().enumerate() {
        tables.take(11 + n as u64, change).expect("it follows");
    }
    for entity in ["words", "odd", "late"] {
        let refused = find(&tables, entity, &kind("b"));
        assert!(matches!(refused, Err(NoTable::Unreadable { .. })), "{entity}: {refused:?}");
    }
    assert_eq!(find(&tables, "nothing", &kind("b")), Err(NoTable::Unknown(table("nothing"))));
    let no_value = find(&tables, "notes", &[("other", KeyValue::Int(1))]);
    assert!(matches!(no_value, Err(NoTable::NoValue { .. })), "{no_value:?}");
    let wrong = find(&tables, "notes", &[("kind", KeyValue::Int(1))]);
    assert!(matches!(wrong, Err(NoTable::Type { .. })), "{wrong:?}");
}

#[test]
fn a_router_names_tables_by_what_their_database_tells() {
    let router = Router::fixed(routes(tenants()));
    let to = router.find(&acme()).expect("a route");
    let unknown = router.table_for(&to, "notes", &kind("a"));
    assert_eq!(unknown, Err(Refused::Table(NoTable::Unknown(table("notes")))));
    let mut tables = empty();
    tables.take(11, &change("notes", vec![], vec![placed("notes_a", list(&["a"]))])).expect("it follows");
    router.take_tables("blue", Arc::new(tables.clone()));
    assert_eq!(router.table_for(&to, "notes", &kind("a")), Ok(table("notes_a")));
    let missing = router.table_for(&to, "notes", &kind("b")).expect_err("nobody takes it");
    assert_eq!(missing, Refused::Table(NoTable::Missing(table("notes"))));
    assert!(!missing.may_pass());
}

/// Ranges of two columns with open ends, lists, hashes of two moduli: PostgreSQL puts rows where `Tables` says.
#[tokio::test]
async fn postgresql_has_each_row_where_it_was_said_to_be() {
    let server = Server::start().await.expect("a server");
    let client = server.client("postgres").await.expect("a session");
    client
        .batch_execute(
            "CREATE TABLE pair (a int, b date) PARTITION BY RANGE (a, b);
             CREATE TABLE pair_low PARTITION OF pair FOR VALUES FROM (MINVALUE, MINVALUE) TO (1, '2026-01-01');
             CREATE TABLE pair_mid PARTITION OF pair FOR VALUES FROM (1, '2026-01-01') TO (5, MINVALUE);
             CREATE TABLE pair_inf PARTITION OF pair FOR VALUES FROM (5, MINVALUE) TO (5, 'infinity');
             CREATE TABLE pair_top PARTITION OF pair FOR VALUES FROM (7, '-infinity') TO (MAXVALUE, MAXVALUE);
             CREATE TABLE bits (a int, b date) PARTITION BY HASH (a, b);
             CREATE TABLE bits_0 PARTITION OF bits FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE bits_1 PARTITION OF bits FOR VALUES WITH (MODULUS 6, REMAINDER 1);
             CREATE TABLE bits_3 PARTITION OF bits FOR VALUES WITH (MODULUS 6, REMAINDER 3);
             CREATE TABLE bits_5 PARTITION OF bits FOR VALUES WITH (MODULUS 6, REMAINDER 5);",
        )
        .await
        .expect("tables");
    let edge = |text: &str| match text {
        "min" => Edge::Min,
        "max" => Edge::Max,
        at => Edge::At(at.into()),
    };
    let range = |from: [&str; 2], to: [&str; 2]| Bound::Range {
        from: from.map(edge).into(),
        to: to.map(edge).into(),
    };
    let pair = vec![
        placed("pair_low", range(["min", "min"], ["1", "2026-01-01"])),
        placed("pair_mid", range(["1", "2026-01-01"], ["5", "min"])),
        placed("pair_inf", range(["5", "min"], ["5", "infinity"])),
        placed("pair_top", range(["7", "-infinity"], ["max", "max"])),
    ];
    let bits = vec![
        placed("bits_0", Bound::Hash { modulus: 2, remainder: 0 }),
        placed("bits_1", Bound::Hash { modulus: 6, remainder: 1 }),
        placed("bits_3", Bound::Hash { modulus: 6, remainder: 3 }),
        placed("bits_5", Bound::Hash { modulus: 6, remainder: 5 }),
    ];
    let set = |name: &str, method: &str| {
        let key = |column: &str, type_name: &str| json!({"column": column, "text": column, "type_name": type_name, "nullable": false});
        serde_json::from_value(json!({
            "table": {"schema": "app_blue", "name": name}, "id": 1, "owner": "postgres", "lacking": [],
            "level": {"method": method, "parts": [], "keys": [key("a", "integer"), key("b", "date")]},
            "columns": {}, "references": [], "referenced_by": [], "indexes": [], "publications": [],
            "samples": [], "relations_each": 1, "managed_by": null,
        }))
        .expect("a set")
    };
    let mut tables = Tables::of(&[set("pair", "range"), set("bits", "hash")], 0);
    tables.take(1, &change("pair", vec![], pair)).expect("it follows");
    tables.take(2, &change("bits", vec![], bits)).expect("it follows");
    let mut seen = BTreeMap::new();
    for a in -1..10_i64 {
        for b in ["0001-01-01 BC", "2025-12-31", "2026-01-01", "5874897-12-31"] {
            let key = [("a", KeyValue::Int(a)), ("b", KeyType::Date.parse(b).expect(b))];
            for entity in ["pair", "bits"] {
                let sql =
                    format!("INSERT INTO {entity} VALUES ({a}, '{b}') RETURNING tableoid::regclass::text");
                let theirs = client.query_one(&sql, &[]).await.map(|row| row.get::<_, String>(0));
                let ours = find(&tables, entity, &key);
                match (&theirs, &ours) {
                    (Ok(theirs), Ok(ours)) => assert_eq!(theirs, ours, "{sql}"),
                    (Err(error), Err(NoTable::Missing(_))) => {
                        assert_eq!(error.code().map(|code| code.code()), Some("23514"), "{sql}");
                    }
                    other => panic!("{sql}: {other:?}"),
                }
                *seen.entry(ours.ok()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen.len(), 9, "every table, and none: {seen:?}");
}
