//! What captures of real systems look like: keys that the server gives, arrays, INSERT without columns, moments, tables that
//! everybody writes along.

use std::collections::{BTreeMap, BTreeSet};

use replat_advise::advise::{Wish, advise_on};
use replat_advise::context::contexts;
use replat_advise::evidence::{
    Change, ColumnSeen, Evidence, Executed, Head, Known, RowSeen, StatementSeen, TableSeen, TransactionSeen,
    WritesSeen,
};
use replat_advise::lifecycle::lifecycles;
use replat_advise::system::System;
use replat_advise::trace::Op;
use replat_advise::value::Value;

/// A table with an order of columns, of which the first are the key.
fn table(name: &str, columns: &[(&str, &str)], key: usize) -> TableSeen {
    TableSeen {
        name: name.to_owned(),
        columns: columns
            .iter()
            .map(|(name, kind)| {
                ((*name).to_owned(), ColumnSeen { data_type: (*kind).to_owned(), ..ColumnSeen::default() })
            })
            .collect(),
        order: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
        primary_key: columns[..key].iter().map(|(name, _)| (*name).to_owned()).collect(),
        rows: Some(10_000),
        row_bytes: Some(100),
        ..TableSeen::default()
    }
}

fn statement(id: &str, text: &str, calls: u64) -> StatementSeen {
    StatementSeen { id: id.to_owned(), text: text.to_owned(), calls: Some(calls), ..StatementSeen::default() }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn run(statement: &str, parameters: Vec<Value>) -> Executed {
    Executed { statement: statement.to_owned(), parameters: parameters.into_iter().map(Some).collect() }
}

fn inserted(table: &str, columns: &[(&str, &str)]) -> RowSeen {
    let columns = columns.iter().map(|(column, value)| ((*column).to_owned(), text(value))).collect();
    RowSeen { table: table.to_owned(), op: Change::Insert, columns }
}

fn system(evidence: Evidence) -> System {
    System::of(Known::Seen(Box::new(evidence))).0
}

/// The values of a column, of all rows of a table that one kind of access touched, in order.
fn values(system: &System, name: &str, op: Op, column: &str) -> Vec<Option<Value>> {
    let id = system.schema.find(name).expect("a table");
    let table = system.schema.table(id);
    let key = table.key(column).expect("a key");
    let accesses = system.trace.accesses.iter().filter(|access| access.table == id && access.op == op);
    accesses
        .flat_map(|access| system.trace.rows_of(access, table.keys.len()).into_iter().flatten())
        .map(|row| Some(system.trace.values.get(row[key]).clone()).filter(Value::is_known))
        .collect()
}

fn known(all: &[&str]) -> Vec<Option<Value>> {
    all.iter().map(|value| Some(text(value))).collect()
}

#[test]
fn rows_that_are_inserted_are_those_of_the_log_where_the_text_does_not_say() {
    let tables = || {
        vec![
            table("orders", &[("id", "bigint"), ("tenant", "bigint")], 1),
            table("lines", &[("tenant", "bigint"), ("order_id", "bigint"), ("line", "bigint")], 3),
        ]
    };
    let statements = || {
        vec![
            statement("o", "insert into orders (tenant) values ($1) returning id", 5),
            statement("l", "insert into lines values ($1, $2, $3)", 10),
            statement("two", "insert into orders (tenant) values ($1), ($2)", 5),
        ]
    };
    let transaction = TransactionSeen {
        xid: Some(7),
        statements: vec![
            run("o", vec![text("t")]),
            run("l", vec![text("t"), text("o1"), text("1")]),
            run("l", vec![text("t"), text("o1"), text("2")]),
            run("two", vec![text("t"), text("u")]),
        ],
        ..TransactionSeen::default()
    };
    let order = |id, tenant| inserted("orders", &[("id", id), ("tenant", tenant)]);
    let line = |number| inserted("lines", &[("tenant", "t"), ("order_id", "o1"), ("line", number)]);
    let rows = vec![order("o1", "t"), line("1"), line("2"), order("o2", "t"), order("o3", "u")];
    let evidence = Evidence {
        tables: tables(),
        statements: statements(),
        transactions: vec![transaction.clone()],
        writes: vec![WritesSeen { at: 0.0, xid: Some(7), rows }],
        ..Evidence::default()
    };
    let logged = system(evidence);
    assert_eq!(values(&logged, "orders", Op::Insert, "id"), known(&["o1", "o2", "o3"]));
    assert_eq!(values(&logged, "orders", Op::Insert, "tenant"), known(&["t", "t", "u"]));
    assert_eq!(values(&logged, "lines", Op::Insert, "order_id"), known(&["o1", "o1"]), "each once");

    // Without that log, the order of columns tells what an INSERT sets that names none.
    let sampled = Evidence {
        tables: tables(),
        statements: statements(),
        transactions: vec![transaction],
        ..Evidence::default()
    };
    let sampled = system(sampled);
    assert_eq!(values(&sampled, "lines", Op::Insert, "tenant"), known(&["t", "t"]));
    assert_eq!(values(&sampled, "orders", Op::Insert, "id"), vec![None; 3]);
}

#[test]
fn elements_of_an_array_are_rows_of_their_own() {
    let list = |all: &[&str]| Value::list(&all.iter().map(|one| text(one)).collect::<Vec<_>>());
    let of = |parameters: Vec<Value>| TransactionSeen {
        statements: vec![run("d", parameters)],
        ..TransactionSeen::default()
    };
    let many: Vec<String> = (0..100).map(|n| format!("d{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let evidence = Evidence {
        tables: vec![table("documents", &[("id", "uuid"), ("tenant", "uuid")], 1)],
        statements: vec![statement("d", "select * from documents where tenant = $1 and id = any($2)", 3)],
        transactions: vec![
            of(vec![text("t"), list(&["d1", "d2"])]),
            of(vec![text("t"), list(&[])]),
            of(vec![text("t"), list(&many)]),
        ],
        ..Evidence::default()
    };
    let system = system(evidence);
    let ids = values(&system, "documents", Op::Read, "id");
    assert_eq!(ids[..2], known(&["d1", "d2"]));
    assert_eq!(ids.len(), 2 + 64, "nothing is in an empty list, and of a long one the first stand for all");
    let tenants: BTreeSet<Option<Value>> =
        values(&system, "documents", Op::Read, "tenant").into_iter().collect();
    assert_eq!(tenants, BTreeSet::from([Some(text("t"))]));
}

#[test]
fn a_partition_that_is_named_is_its_table() {
    let mut readings = table("readings", &[("device", "bigint"), ("ts", "timestamptz")], 2);
    readings.parts = BTreeSet::from(["readings_1".to_owned()]);
    let evidence = Evidence {
        tables: vec![readings],
        statements: vec![statement("r", "select * from readings_1 where device = $1", 3)],
        transactions: vec![TransactionSeen {
            statements: vec![run("r", vec![text("d1")])],
            ..TransactionSeen::default()
        }],
        ..Evidence::default()
    };
    assert_eq!(values(&system(evidence), "readings", Op::Read, "device"), known(&["d1"]));
}

#[test]
fn no_table_is_placed_by_a_moment_or_by_what_wanders() {
    let carts = table(
        "carts",
        &[("id", "bigint"), ("customer", "bigint"), ("updated", "timestamptz"), ("items", "bigint")],
        1,
    );
    let evidence = Evidence {
        tables: vec![carts],
        statements: vec![
            statement("c", "update carts set updated = now(), items = $1, customer = $2 where id = $3", 100),
            statement("r", "select id from carts where customer = $1 and updated > $2", 100),
        ],
        transactions: vec![TransactionSeen {
            statements: vec![run("c", vec![text("5"), text("c1"), text("1")])],
            xid: Some(1),
            ..TransactionSeen::default()
        }],
        writes: vec![WritesSeen {
            at: 0.0,
            xid: Some(1),
            rows: vec![inserted(
                "carts",
                &[("id", "1"), ("customer", "c1"), ("items", "5"), ("updated", "20000")],
            )],
        }],
        ..Evidence::default()
    };
    let system = system(evidence);
    let unfit: Vec<&str> = system.schema.tables[0].unfit.iter().map(String::as_str).collect();
    assert_eq!(unfit, ["items", "updated"], "rows are asked for by customer, whatever sets it");
}

#[test]
fn what_is_written_along_with_an_outbox_is_not_cross_cutting_itself() {
    let names = [
        "carts",
        "cart_items",
        "orders",
        "lines",
        "invoices",
        "payments",
        "accounts",
        "ledger",
        "stock",
        "reservations",
        "shipments",
        "outbox",
        "audit",
    ];
    let tables: Vec<TableSeen> =
        names.iter().map(|name| table(name, &[("id", "bigint"), ("owner", "bigint")], 1)).collect();
    let insert =
        |name: &&str| statement(name, &format!("insert into {name} (id, owner) values ($1, $2)"), 10);
    // How many of a hundred transactions write to which tables.
    let kinds: [(usize, &[&str]); 7] = [
        (25, &["carts", "cart_items"]),
        (10, &["orders", "lines", "cart_items", "outbox", "audit"]),
        (10, &["orders", "lines", "outbox", "audit"]),
        (12, &["invoices", "outbox", "audit"]),
        (12, &["invoices", "payments", "accounts", "ledger", "outbox", "audit"]),
        (21, &["stock", "reservations", "audit"]),
        (10, &["shipments", "outbox"]),
    ];
    let every: Vec<&[&str]> =
        kinds.iter().flat_map(|(times, kind)| std::iter::repeat_n(*kind, *times)).collect();
    let transactions = every.iter().cycle().take(400).enumerate().map(|(n, kind)| TransactionSeen {
        at: n as f64,
        statements: kind.iter().map(|name| run(name, vec![text(&format!("{name}{n}")), text("o")])).collect(),
        ..TransactionSeen::default()
    });
    let evidence = Evidence {
        tables,
        statements: names.iter().map(insert).collect(),
        transactions: transactions.collect(),
        ..Evidence::default()
    };
    let system = system(evidence);
    let found = contexts(&system.schema, &system.trace);
    let name = |id: &replat_advise::schema::TableId| system.schema.table(*id).name.as_str();
    let cutting: Vec<&str> = found.cross_cutting.iter().map(name).collect();
    assert_eq!(cutting, ["outbox", "audit"]);
    let groups: Vec<Vec<&str>> = found.groups.iter().map(|group| group.iter().map(name).collect()).collect();
    let billing = ["invoices", "payments", "accounts", "ledger"];
    assert!(groups.iter().any(|group| group == &billing), "{groups:?}");
    assert!(groups.iter().any(|group| group.contains(&"orders") && group.contains(&"lines")), "{groups:?}");
}

#[test]
fn a_capture_of_one_day_tells_of_rows_that_grow_old() {
    let day = 20_000;
    let events = |days, rows| {
        let mut events = table("events", &[("id", "bigint"), ("at", "timestamptz")], 1);
        events.rows = Some(rows);
        let at = events.columns.get_mut("at").expect("a column");
        (at.days, at.ordered) = (days, Some(0.99));
        events
    };
    let evidence = |table: TableSeen, delete: &str| {
        let rows = |n: i64| RowSeen {
            table: "events".to_owned(),
            op: Change::Insert,
            columns: BTreeMap::from([("id".to_owned(), Value::Int(n)), ("at".to_owned(), Value::Int(day))]),
        };
        Evidence {
            head: Head { span: Some((0.0, 600.0)), ..Head::default() },
            tables: vec![table],
            statements: vec![
                statement("i", "insert into events (at) values ($1)", 100),
                statement("d", delete, 2),
            ],
            writes: (0..100).map(|n| WritesSeen { at: n as f64, xid: None, rows: vec![rows(n)] }).collect(),
            ..Evidence::default()
        }
    };
    let by_age = "delete from events where at < $1";
    let rows = [
        ("old rows are deleted", events(Some((day - 90, day - 1)), 9_000_000), by_age, true),
        (
            "nobody asks for rows by time",
            events(Some((day - 90, day - 1)), 9_000_000),
            "delete from events where id = $1",
            false,
        ),
        ("what comes is old", events(Some((day - 90, day + 90)), 9_000_000), by_age, false),
        ("few rows", events(Some((day - 90, day - 1)), 9_000), by_age, false),
    ];
    for (case, table, delete, is_cut) in rows {
        let found = lifecycles(&system(evidence(table, delete)), None);
        assert_eq!(
            found.iter().map(|one| one.column.as_str()).collect::<Vec<_>>(),
            if is_cut { vec!["at"] } else { vec![] },
            "{case}"
        );
    }
}

#[test]
fn what_everybody_writes_along_may_be_left_aside() {
    let names = ["orders", "lines", "stock", "moves", "users", "logins", "outbox"];
    let tables: Vec<TableSeen> =
        names.iter().map(|name| table(name, &[("id", "bigint"), ("owner", "bigint")], 1)).collect();
    let insert =
        |name: &&str| statement(name, &format!("insert into {name} (id, owner) values ($1, $2)"), 100);
    let kinds = [["orders", "lines"], ["stock", "moves"], ["users", "logins"]];
    let transactions = (0..600).map(|n: u16| {
        let kind = &kinds[usize::from(n) % 3];
        let owner = format!("o{}", n / 3 % 60);
        let mut statements: Vec<Executed> =
            kind.iter().map(|name| run(name, vec![text(&format!("{name}{n}")), text(&owner)])).collect();
        // An outbox has nobody's key.
        statements.push(run("outbox", vec![text(&format!("e{n}")), Value::Null]));
        TransactionSeen { at: f64::from(n), statements, ..TransactionSeen::default() }
    });
    let evidence = Evidence {
        tables,
        statements: names.iter().map(insert).collect(),
        transactions: transactions.collect(),
        ..Evidence::default()
    };
    let advice = advise_on(&system(evidence), &Wish::default());
    let metrics = advice.metrics.expect("a design");
    assert!(metrics.cross_partition_share > 0.3 || metrics.load_max_over_mean > 3.0, "{metrics:?}");
    let aside = advice.aside.expect("it pays");
    assert_eq!(aside.tables, ["outbox"]);
    assert!(aside.cross < 0.01 && aside.skew < 2.0, "{aside:?}");
}
