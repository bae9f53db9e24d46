//! Bounds to what is spent, and queries that forbid new partitions.

use crate::world::{World, daily, spec};

/// A lifecycle for one table, with these lines.
fn lifecycle(table: &str, lines: &str) -> String {
    format!("[lifecycles.{table}]\ntables = [\"public.{table}\"]\nahead = \"5d\"\n{lines}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn over_quota_nothing_is_done_and_the_others_go_on() {
    const TABLES: [&str; 6] = ["fine", "by_parts", "by_relations", "by_size", "by_database", "by_disk"];
    let world = World::with(&TABLES.map(|table| daily(table, -2, 1)).concat()).await;
    world
        .app("insert into by_size (ts, v) select now(), repeat('x', 200) from generate_series(1, 2000)")
        .await;
    let quota = |line: &str| format!("quota = {{ {line} }}");
    let wanted = spec(
        &[
            lifecycle("fine", &quota("partitions = 100, relations = 1000000, table = \"1GiB\"")),
            lifecycle("by_parts", &quota("partitions = 5")),
            lifecycle("by_relations", &quota("relations = 10")),
            lifecycle("by_size", &quota("table = \"64KiB\"")),
            lifecycle("by_database", &quota("database = \"1MiB\"")),
            // No server tells how much disk is free; what is not known is not enough.
            lifecycle("by_disk", &quota("disk_free = \"1B\"")),
        ]
        .concat(),
    );
    let mut before = Vec::new();
    for table in TABLES {
        before.push(world.parts(table).await);
    }
    let ran =
        world.rotate_with(&wanted, "").await.exits(22).prints("create public.fine +4").prints("created=4");
    for (table, before) in TABLES.into_iter().zip(&before).skip(1) {
        assert_eq!(world.parts(table).await, *before, "{table}: {}", ran.told());
        assert!(ran.err.contains(&format!("RP3019 public.{table}: ")), "{table}: {}", ran.told());
    }
    assert!(ran.err.contains("\n  do "), "{}", ran.told());
    let metrics = "-c wanted.toml --metrics-file m.prom --json";
    let ran = world.rotate(metrics).await.exits(22);
    assert_eq!(ran.json()["exit"], 22);
    let text = std::fs::read_to_string(world.path("m.prom")).expect("metrics");
    let alert = format!(
        "replat_lifecycle_findings{{database=\"{}\",severity=\"error\",code=\"RP3019\"}} 5",
        world.database
    );
    assert!(text.contains(&alert), "{alert}\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_surge_takes_nothing_from_another() {
    let mut sql =
        "create table events (tenant text, ts timestamptz not null, v text) partition by list (tenant);"
            .to_owned();
    for tenant in ["acme", "zeta"] {
        sql += &format!(
            "create table events_{tenant} partition of events for values in ('{tenant}') partition by range (ts); \
             do $$ declare d date; begin for i in -2..0 loop d := current_date + i; \
               execute format('create table events_{tenant}_%s partition of events_{tenant} for values from (%L) to (%L)', \
                 to_char(d, 'YYYYMMDD'), d, d + 1); end loop; end $$;"
        );
    }
    sql += "insert into events select 'acme', now(), repeat('x', 500) from generate_series(1, 4000)";
    let world = World::with(&sql).await;
    let wanted = spec(&lifecycle("events", "quota = { tenant = \"512KiB\" }"));
    let ran = world.rotate_with(&wanted, "").await.exits(22).remarks("events_acme").remarks("RP3019");
    assert_eq!(world.parts("events_acme").await.len(), 3, "{}", ran.told());
    assert_eq!(world.parts("events_zeta").await.len(), 8, "{}", ran.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_would_read_all_partitions_can_forbid_more_of_them() {
    let world = World::with(&format!("{}{}", daily("events", -2, 1), daily("other", -2, 1))).await;
    let prune = |query: &str, veto: bool| {
        let one =
            lifecycle("events", &format!("[[lifecycles.events.prune]]\nsql = \"{query}\"\nveto = {veto}"));
        spec(&(one + &lifecycle("other", "")))
    };
    let all = "select count(*) from public.events where v = 'x'";
    let ran = world.rotate_with(&prune(all, true), "").await.exits(11).prints("create public.other +4");
    assert!(ran.out.contains("refused create public.events") && ran.err.contains("RP3028"), "{}", ran.told());
    assert!(ran.err.contains("touches 4 of 4 partitions, 1 are allowed"), "{}", ran.told());
    assert_eq!(world.parts("events").await.len(), 4);
    // It is found by a look as well.
    world.rotate("-c wanted.toml --check").await.exits(11).remarks("RP3028");
    // A query that touches one partition forbids nothing.
    let one = "select count(*) from public.events where ts >= current_date and ts < current_date + interval '1 hour' and id = 1";
    let one = one.replace("current_date", "'2020-01-01'::timestamptz");
    world.rotate_with(&prune(&one, true), "").await.succeeds().prints("create public.events +4");
    // One that means no table at all is no proof of anything.
    let ran = world.rotate_with(&prune("select 1 from events", true), "--ahead=9").await.exits(11);
    assert!(ran.err.contains("Tables need their schemas"), "{}", ran.told());
    // Without a veto it is a warning.
    world.rotate_with(&prune(all, false), "").await.succeeds();
    world.rotate_with(&prune(all, false), "--strict").await.exits(14).remarks("RP3028");
}
