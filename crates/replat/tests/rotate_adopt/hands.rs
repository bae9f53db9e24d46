//! Sets that were made by hand, what stands of them in replat's records, and what is refused.

use serde_json::json;

use crate::world::World;

/// Months from four ago to one ahead, named in nobody's way but this table's.
const MONTHS: &str = "
    create table \"Mess ungen\" (\"Wann\" date not null, n int) partition by range (\"Wann\");
    do $$ declare m date; begin
      for i in -4..1 loop
        m := date_trunc('month', current_date) + make_interval(months => i);
        execute format('create table %I partition of \"Mess ungen\" for values from (%L) to (%L)',
          'Mess-' || to_char(m, 'MMYYYY'), m, m + interval '1 month');
      end loop;
    end $$;";

async fn origins(world: &World) -> String {
    world
        .text(
            "select coalesce(string_agg(distinct origin || ' ' || state, ', '), 'none') || ' ' || count(*) \
               from replat.lifecycle_part",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_over_can_be_retired_and_given_back() {
    let world = World::with(MONTHS).await;
    let before = world.shape().await;
    // Nothing that somebody else made is retired.
    world.replat("rotate --keep 45d --only retire").await.succeeds();
    assert_eq!(world.shape().await, before);

    world.replat("adopt --dry-run").await.succeeds().prints("6 partitions to take over");
    let there = "select (to_regclass('replat.lifecycle_part') is null or \
                 (select count(*) = 0 from replat.lifecycle_part))::text";
    assert_eq!(world.text(there).await, "true", "a dry run records nothing");

    world.replat("adopt").await.succeeds().prints("made by hand, 6 partitions to take over");
    assert_eq!(world.shape().await, before, "adopting changes nothing of the tables");
    assert_eq!(origins(&world).await, "adopted attached 6");
    let same = world
        .text(
            "select bool_and(pg_get_expr(c.relpartbound, c.oid) = \
               format('FOR VALUES FROM (%L) TO (%L)', p.bound->'range'->'from'->0->>'at', \
                      p.bound->'range'->'to'->0->>'at'))::text \
               from replat.lifecycle_part p join pg_class c on c.oid = p.relation",
        )
        .await;
    assert_eq!(same, "true", "the records have the bounds as they are");
    let unit = "select string_agg(kind || ' ' || state, ',') from replat.lifecycle_unit";
    assert_eq!(world.text(unit).await, "adopt done");
    // Again: nothing is left to do, and nothing is recorded twice.
    world.replat("adopt").await.succeeds().prints("0 partitions to take over");
    assert_eq!(world.text(unit).await, "adopt done");

    world.replat("adopt --forget").await.succeeds().prints("give back");
    assert_eq!(world.text("select count(*)::text from replat.lifecycle_part").await, "0");
    assert_eq!(world.shape().await, before, "giving back changes nothing of the tables");
    world.replat("rotate --keep 45d --only retire").await.succeeds();
    assert_eq!(world.shape().await, before, "what was given back is not retired");
    world.replat("adopt --forget").await.succeeds();

    world.replat("adopt").await.succeeds();
    let ran = world.replat("rotate --keep 45d --only retire --max-retire 1").await.succeeds();
    assert_eq!(world.parts("\"Mess ungen\"").await.len(), 5, "{}", ran.told());
    assert_eq!(
        world.text("select string_agg(state, ',' order by state) from replat.lifecycle_part").await,
        "attached,attached,attached,attached,attached,detached"
    );
    // Names are learned, and what is made is replat's own: it is not given back.
    world.replat("rotate --ahead 2 --no-forecast").await.succeeds();
    let newest = world
        .text(
            "select ('Mess-' || to_char(date_trunc('month', current_date) + interval '2 months', 'MMYYYY'))",
        )
        .await;
    let parts = world.parts("\"Mess ungen\"").await;
    assert!(parts.contains_key(&format!("\"{newest}\"")), "{parts:#?}");
    world.replat("adopt --forget").await.succeeds();
    let left = "select string_agg(origin || ' ' || state, ',' order by origin) from replat.lifecycle_part";
    assert_eq!(world.text(left).await, "adopted detached,made attached");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pg_partsmith_was_told_is_read_from_its_document() {
    let world = World::with(
        "create table events (at timestamptz not null, n int) partition by range (at);
         create table other (at timestamptz not null, n int) partition by range (at);
         do $$ declare m timestamptz; begin
           set local timezone = 'Europe/Berlin';
           for i in -2..1 loop
             m := date_trunc('month', now()) + make_interval(months => i);
             execute format('create table %I partition of events for values from (%L) to (%L)',
               'events_' || to_char(m, 'YYYY_MM'), m, m + interval '1 month');
           end loop;
         end $$",
    )
    .await;
    let document = r#"{"version": 1, "defaults": {"schema": "public", "tz": "Europe/Berlin", "granularity": "month",
        "create_ahead_count": 4, "retention_count": 12}, "tables": [{"table_name": "events",
        "partition_column": "at"}], "runtime": {"ddl_timezone": "Europe/Berlin"}}"#;
    std::fs::write(world.path("partitions.json"), document).expect("a file");
    let ran = world.replat("adopt --partsmith partitions.json --out replat.toml --json").await.succeeds();
    let said = ran.json();
    assert_eq!(said["sets"].as_array().map(Vec::len), Some(1), "only what it speaks of: {said:#}");
    assert_eq!(said["sets"][0]["managed_by"], "pg-partsmith");
    world.program.line("validate").await.succeeds();
    world.program.line("rotate --no-forecast --db-url env:DB_URL").await.succeeds();
    let newest = world
        .text(
            "select format('%s FOR VALUES FROM (%L) TO (%L)', 'events_' || to_char(m at time zone 'Europe/Berlin', \
               'YYYY_MM'), m, (m at time zone 'Europe/Berlin' + interval '1 month') at time zone 'Europe/Berlin') \
               from (select (date_trunc('month', now() at time zone 'Europe/Berlin') + interval '3 months') \
                      at time zone 'Europe/Berlin' as m) t",
        )
        .await;
    let parts = world.parts("events").await;
    let lines: Vec<_> = parts.iter().map(|(name, (_, bound))| format!("{name} {bound}")).collect();
    assert_eq!((lines.last(), lines.len()), (Some(&newest), 6), "{lines:#?}");

    for (json, why) in [
        ("{", "no document of pg-partsmith"),
        (&document.replace("granularity", "granuality"), "granuality"),
        (&document.replace("\"version\": 1", "\"version\": 2"), "version is 2"),
    ] {
        std::fs::write(world.path("bad.json"), json).expect("a file");
        world.replat("adopt --partsmith bad.json").await.fails("RP2001", 3).remarks(why);
    }
    world.replat("adopt --partsmith none.json").await.fails("RP2001", 3).remarks("none.json");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_over_is_said() {
    let world =
        World::with(&format!("{MONTHS} create table plain (n int); create view seen as select 1")).await;
    for (table, why) in [
        ("public.none", "there is no such table"),
        ("public.plain", "it is not partitioned"),
        ("public.seen", "view"),
        ("public.no*", "no partitioned table has such a name"),
    ] {
        let ran = world.program.run(&["adopt", "--db-url", "env:DB_URL", "-t", table]).await;
        assert_eq!(ran.code, Some(4), "{}", ran.told());
        assert!(ran.err.contains(why), "{}", ran.told());
        let ran = world.program.run(&["adopt", "--forget", "--db-url", "env:DB_URL", "-t", table]).await;
        assert_eq!(ran.code, Some(4), "{}", ran.told());
        assert!(ran.err.contains(why), "{}", ran.told());
    }
    // The others of the same call are taken over all the same.
    let both = ["adopt", "--db-url", "env:DB_URL", "-t", "plain", "-t", "Mess ungen"];
    world.program.run(&both).await.exits(4);
    assert_eq!(origins(&world).await, "adopted attached 6");
    // A file that is there is not overwritten, and nothing is done.
    std::fs::write(world.path("mine.toml"), "mine").expect("a file");
    world.replat("adopt --forget --out new.toml").await.exits(2);
    world.replat("adopt --out mine.toml").await.fails("RP2006", 2).remarks("is there already");
    assert_eq!(world.read("mine.toml"), "mine");
    world.replat("adopt --out no/such/folder.toml").await.fails("RP2006", 2).remarks("taken over stays so");
    // A password is not written down.
    let url = world.server.url(&world.database).replace("postgres@", "postgres:s3cret@");
    world.program.run(&["adopt", "--out", "spec.toml", "--db-url", &url]).await.succeeds();
    let spec = world.read("spec.toml");
    assert!(!spec.contains("s3cret") && spec.contains("env:DB_URL"), "{spec}");
    let said = world.replat("adopt --json").await.succeeds().json();
    assert_eq!(said["sets"][0]["lifecycle"], json!({ "tables": ["public.Mess ungen"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_is_not_forgotten() {
    let world = World::with(MONTHS).await;
    world.replat("adopt").await.succeeds();
    world
        .sql(
            "update replat.lifecycle_part set legal_hold = true where table_name like '%' and relation = \
               (select max(relation) from replat.lifecycle_part)",
        )
        .await;
    let ran = world.replat("adopt --forget").await;
    assert_ne!(ran.code, Some(0), "{}", ran.told());
    assert!(ran.err.contains("legal hold"), "{}", ran.told());
    assert_eq!(origins(&world).await, "adopted attached 6");
}
