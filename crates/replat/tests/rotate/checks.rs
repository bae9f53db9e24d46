//! `rotate --check`: what is wrong with what is there.

use std::collections::BTreeMap;

use crate::world::{World, daily};

/// What breaks a set, and what is to be found of it.
struct Case {
    set: &'static str,
    /// What the application, or a person at its table, did; `$d` are partitions of today and the days after.
    by: &'static str,
    code: &'static str,
    severity: &'static str,
    says: &'static str,
}

const fn case(
    set: &'static str,
    by: &'static str,
    code: &'static str,
    severity: &'static str,
    says: &'static str,
) -> Case {
    Case { set, by, code, severity, says }
}

const CASES: &[Case] = &[
    case("gap_now", "drop table gap_now_$0", "RP3005", "error", "rows are refused"),
    case(
        "gap_now_default",
        "drop table gap_now_default_$0; create table gap_now_default_rest partition of gap_now_default default",
        "RP3005",
        "warning",
        "rows go to the default partition",
    ),
    case("gap_later", "drop table gap_later_$2", "RP3005", "warning", "no partition from"),
    case("hash_gap", "", "RP3005", "error", "remainder 1 of 3"),
    case("index_missing", "create index im on only index_missing (v)", "RP3009", "warning", "is missing on"),
    case(
        "index_loose",
        "create index on index_loose_$1 (v); create index on index_loose_$2 (v); \
         create index il on only index_loose (v)",
        "RP3009",
        "warning",
        "not attached on",
    ),
    case(
        "index_broken",
        "create index ib on index_broken (v); \
         update pg_index set indisvalid = false where indexrelid = 'index_broken_$1_v_idx'::regclass",
        "RP3009",
        "warning",
        "invalid on",
    ),
    case("owner", "alter table owner_$1 owner to stranger", "RP3010", "warning", "owner"),
    case("granted", "grant select on granted_$1 to stranger", "RP3010", "warning", "privileges"),
    case("stored", "alter table stored_$1 set (fillfactor = 50)", "RP3010", "note", "storage"),
    case(
        "identity",
        "alter table identity_$1 replica identity full",
        "RP3010",
        "warning",
        "replica identity",
    ),
    case("published", "create publication a_few for table published_$1", "RP3011", "warning", "by name"),
    case(
        "strays",
        "create table strays_rest partition of strays default; \
         insert into strays (ts) values (now() + interval '20 days')",
        "RP3006",
        "warning",
        "1 row",
    ),
    case("pending", "", "RP3008", "warning", "its detach began"),
    case("sound", "", "", "", ""),
];

async fn broken() -> World {
    let mut sql = String::from(
        "create table hash_gap (id bigint) partition by hash (id); \
         create table hash_gap_0 partition of hash_gap for values with (modulus 3, remainder 0); \
         create table hash_gap_2 partition of hash_gap for values with (modulus 3, remainder 2);",
    );
    for case in CASES.iter().filter(|case| case.set != "hash_gap") {
        sql += &daily(case.set, -1, 3);
    }
    let world = World::with(&sql).await;
    let days =
        world.column("select to_char(current_date + i, 'YYYYMMDD') from generate_series(0, 3) i").await;
    for case in CASES {
        let by = (0..=3).fold(case.by.to_owned(), |sql, n| sql.replace(&format!("${n}"), &days[n]));
        match by.contains("pg_index") || by.contains("owner to") {
            true => world.admin(&by).await,
            false => world.app(&by).await,
        }
    }
    half_detached(&world, &format!("pending_{}", days[1])).await;
    world
}

/// Leaves a detach broken off, as one that was killed while it waited for a reader.
async fn half_detached(world: &World, part: &str) {
    let reader = world.client().await;
    reader.batch_execute("begin; select count(*) from pending").await.expect("a reader");
    let other = world.client().await;
    other.batch_execute("set statement_timeout = '300ms'").await.expect("a timeout");
    let detach = format!("alter table pending detach partition {part} concurrently");
    other.batch_execute(&detach).await.expect_err("it waits for the reader, and is broken off");
    reader.batch_execute("commit").await.expect("the end");
    let pending = "select count(*) from pg_inherits where inhdetachpending";
    assert_eq!(world.number(pending).await, 1, "the detach was not broken off half-way");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_found_where_it_is_and_nowhere_else() {
    let world = broken().await;
    let before = world.mark().await;
    let ran = world.rotate("--check --json").await;
    assert_eq!(world.mark().await, before, "a check wrote something");
    let report = ran.json();
    let mut found: BTreeMap<String, Vec<(String, String, String)>> = BTreeMap::new();
    for finding in report["databases"][0]["findings"].as_array().expect("findings") {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
        let set = finding["set"]["name"].as_str().unwrap_or_default().to_owned();
        assert!(!text("remedy").is_empty(), "{finding:#}");
        found.entry(set).or_default().push((text("code"), text("severity"), text("what")));
    }
    for case in CASES {
        let of = found.remove(case.set).unwrap_or_default();
        if case.code.is_empty() {
            assert!(of.is_empty(), "{}: {of:?}", case.set);
            continue;
        }
        let one = of.iter().find(|(code, severity, what)| {
            code == case.code && severity == case.severity && what.contains(case.says)
        });
        assert!(one.is_some(), "{}: {of:#?}", case.set);
        let others: Vec<_> = of.iter().filter(|(code, _, _)| code != case.code && code != "RP3033").collect();
        assert!(others.is_empty(), "{}: {others:#?}", case.set);
    }
    assert!(found.is_empty(), "{found:#?}");
    ran.exits(4);
    for (line, exit) in [
        ("--check -t sound --strict", 0),
        ("--check -t gap_later", 0),
        ("--check -t gap_later --strict", 14),
        ("--check -t gap_now", 4),
        ("--check -t hash_gap", 4),
        ("--check -t owner --strict", 14),
    ] {
        let ran = world.rotate(line).await;
        assert_eq!(ran.code, Some(exit), "{line}: {}", ran.told());
        assert!(ran.out.contains("rotate check tables=1"), "{line}: {}", ran.told());
        assert!(exit == 0 || ran.err.contains("SAFE: nothing was changed."), "{line}: {}", ran.told());
    }

    // What a run puts right is right afterwards; what is a person's business is said again.
    world.rotate("--buffer-days=5").await.succeeds();
    for (table, exit) in
        [("gap_now", 0), ("gap_later", 0), ("hash_gap", 0), ("pending", 0), ("strays", 14), ("owner", 14)]
    {
        let ran = world.rotate(&format!("--check --strict -t {table}")).await;
        assert_eq!(ran.code, Some(exit), "{table}: {}", ran.told());
    }
    // An index is a kind of work of its own, that is to be asked for.
    world.rotate("--only=align").await.succeeds();
    for table in ["index_missing", "index_loose", "index_broken"] {
        let ran = world.rotate(&format!("--check --strict -t {table}")).await;
        assert_eq!(ran.code, Some(0), "{table}: {}", ran.told());
    }
}
