//! New partitions: as their siblings are, with the bounds that were asked for, or not at all.

use replat_model::lifecycle::facts::{Bound, Edge, Method, TableName};
use replat_model::lifecycle::plan::{EdgeMove, NewLevel, NewPart, Work};

use crate::world::{EVENTS, World, at, create, day, range, table};

#[tokio::test]
async fn new_partitions_are_attached_and_told_once() {
    let world = World::with(EVENTS).await;
    let unit = world.unit(&table("events"), create(vec![day(2), day(3)])).await;
    let outcome = world.done(&unit).await;
    assert_eq!(outcome.version, Some(1));
    assert_eq!(outcome.proofs, ["empty", "empty"]);
    assert_eq!(
        world.parts("events").await,
        "events_2030_01_01|FOR VALUES FROM ('2030-01-01 00:00:00+00') TO ('2030-01-02 00:00:00+00')\n\
         events_2030_01_02|FOR VALUES FROM ('2030-01-02 00:00:00+00') TO ('2030-01-03 00:00:00+00')\n\
         events_2030_01_03|FOR VALUES FROM ('2030-01-03 00:00:00+00') TO ('2030-01-04 00:00:00+00')"
    );
    assert_eq!(
        world.ask("SELECT table_name, origin, state FROM replat.lifecycle_part ORDER BY 1").await,
        "events_2030_01_02|made|attached\nevents_2030_01_03|made|attached"
    );
    assert_eq!(
        world.ask("SELECT version, change->'added'->1->'table'->>'name' FROM replat.lifecycle_outbox").await,
        "1|events_2030_01_03"
    );
    world.has_no_orphan().await;

    let again = world.done(&unit).await;
    assert_eq!((again.version, again.tries), (None, 0), "what is done is found done");
    assert_eq!(world.ask("SELECT count(*) FROM replat.lifecycle_outbox").await, "1");
}

/// Each default, the proof that follows, and whether its rows are read under the lock.
#[tokio::test]
async fn a_default_proves_that_it_has_no_row_of_theirs() {
    let rows = [
        ("none", "", "empty"),
        ("empty", "CREATE TABLE events_rest PARTITION OF events DEFAULT", "empty"),
        (
            "a page",
            "CREATE TABLE events_rest PARTITION OF events DEFAULT; INSERT INTO events VALUES (1, '2031-01-01', 'x')",
            "scanned",
        ),
        (
            "many rows",
            "CREATE TABLE events_rest PARTITION OF events DEFAULT;
             INSERT INTO events SELECT n, '2031-01-01', repeat('x', 200) FROM generate_series(1, 30000) n",
            "check",
        ),
        (
            "many rows, in partitions of its own",
            "CREATE TABLE events_rest PARTITION OF events DEFAULT PARTITION BY HASH (id);
             CREATE TABLE events_rest_0 PARTITION OF events_rest FOR VALUES WITH (modulus 2, remainder 0);
             CREATE TABLE events_rest_1 PARTITION OF events_rest FOR VALUES WITH (modulus 2, remainder 1);
             INSERT INTO events SELECT n, '2031-01-01', repeat('x', 200) FROM generate_series(1, 30000) n",
            "check",
        ),
    ];
    for (what, schema, proof) in rows {
        let world = World::with(&format!("{EVENTS} {schema}")).await;
        let read = "SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables WHERE relname LIKE 'events_rest%'";
        let before: i64 = world.ask(read).await.parse().expect("a number");
        let unit = world.unit(&table("events"), create((2..8).map(day).collect())).await;
        let outcome = world.done(&unit).await;
        assert!(
            outcome.proofs.iter().all(|p| p == proof) && outcome.proofs.len() == 6,
            "{what}: {:?}",
            outcome.proofs
        );
        if proof == "check" {
            // VALIDATE reads them once; each attach would read all of them again.
            world.run("SELECT pg_stat_clear_snapshot()").await;
            let after: i64 = world.ask(read).await.parse().expect("a number");
            assert!(after - before <= 30_000, "{what}: {} rows were read", after - before);
        }
        world.has_no_orphan().await;
    }
}

/// Keys, new bounds, and a default with many rows that must not be read again under the lock.
#[tokio::test]
async fn any_key_is_proved_by_a_check() {
    let list = |values: &[&str]| Bound::List(values.iter().map(|v| Some((*v).to_owned())).collect());
    let rows: [(&str, &str, Vec<Bound>); 8] = [
        ("RANGE (n)", "n bigint", vec![range("100", "200"), range("200", "300")]),
        ("RANGE (n)", "n numeric(20,3)", vec![range("100.000", "200.000")]),
        ("RANGE (n)", "n date", vec![range("2030-01-01", "2030-02-01")]),
        (
            "RANGE (n, m)",
            "n integer, m text",
            vec![
                Bound::Range { from: vec![at("100"), at("a")], to: vec![at("100"), at("m")] },
                Bound::Range { from: vec![at("100"), at("m")], to: vec![at("200"), Edge::Min] },
            ],
        ),
        ("LIST (n)", "n text", vec![list(&["x"]), list(&["y", "it's"])]),
        ("LIST (n)", "n varchar(30)", vec![list(&["x"]), list(&["y", "z"])]),
        ("LIST (n)", "n integer", vec![list(&["7"]), list(&["8", "9"])]),
        ("LIST (lower(n))", "n text", vec![list(&["x"]), list(&["y", "z"])]),
    ];
    for (by, columns, bounds) in rows {
        let value = match columns {
            text if text.contains("date") => "'2020-01-01'::date",
            text if text.contains("n text") || text.contains("varchar") => "'other'",
            _ => "1",
        };
        let world = World::with(&format!(
            "CREATE TABLE events ({columns}, filler text) PARTITION BY {by};
             CREATE TABLE events_rest PARTITION OF events DEFAULT;
             INSERT INTO events (n, filler) SELECT {value}, repeat('x', 300) FROM generate_series(1, 20000);"
        ))
        .await;
        let part = |n: usize, bound: &Bound| NewPart {
            table: table(&format!("events_{n}")),
            bound: bound.clone(),
            like: None,
            below: None,
        };
        let parts: Vec<NewPart> = bounds.iter().enumerate().map(|(n, bound)| part(n, bound)).collect();
        let read =
            "SELECT coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables WHERE relname = 'events_rest'";
        let before: i64 = world.ask(read).await.parse().expect("a number");
        let unit = world.unit(&table("events"), create(parts)).await;
        let outcome = world.done(&unit).await;
        assert!(outcome.proofs.iter().all(|p| p == "check"), "{by} of {columns}: {:?}", outcome.proofs);
        let after: i64 = world.ask(read).await.parse().expect("a number");
        assert!(after - before <= 20_000, "{by} of {columns}: {} rows were read", after - before);
        world.has_no_orphan().await;
    }
}

#[tokio::test]
async fn a_row_that_belongs_to_a_new_partition_stops_it_and_nothing_is_left() {
    for rows in [1, 30_000] {
        let world = World::with(&format!(
            "{EVENTS} CREATE TABLE events_rest PARTITION OF events DEFAULT;
             INSERT INTO events SELECT n, '2031-01-01', repeat('x', 200) FROM generate_series(1, {rows}) n;
             INSERT INTO events VALUES (0, '2030-01-03 01:00+00', 'late');"
        ))
        .await;
        let before = world.parts("events").await;
        let outcome = world.act(&world.unit(&table("events"), create(vec![day(2), day(3)])).await).await;
        assert!(!outcome.done);
        let why = outcome.why.expect("a reason");
        assert!(why.contains("violated by some row"), "{why}");
        assert_eq!(world.parts("events").await, before);
        assert_eq!(outcome.version, None);
        world.has_no_orphan().await;
        assert_eq!(world.ask("SELECT state FROM replat.lifecycle_unit").await, "taken-back");
    }
}

#[tokio::test]
async fn a_name_that_is_taken_stops_it_and_stays_as_it_is() {
    let world = World::with(&format!("{EVENTS} CREATE TABLE events_2030_01_03 (precious int)")).await;
    let outcome = world.act(&world.unit(&table("events"), create(vec![day(2), day(3)])).await).await;
    let why = outcome.why.expect("a reason");
    assert!(!outcome.done && why.contains("events_2030_01_03 is there already"), "{why}");
    assert_eq!(world.ask("SELECT count(*) FROM events_2030_01_03").await, "0");
    assert_eq!(world.ask("SELECT count(*) FROM replat.lifecycle_part").await, "0");
}

#[tokio::test]
async fn a_set_that_was_replaced_is_not_touched() {
    let world = World::with(EVENTS).await;
    let unit = world.unit(&table("events"), create(vec![day(2)])).await;
    world.run("ALTER TABLE events RENAME TO events_before").await;
    world.run("CREATE TABLE events (id bigint, ts timestamptz) PARTITION BY RANGE (ts)").await;
    let outcome = world.act(&unit).await;
    assert!(outcome.why.is_some_and(|why| why.contains("not the table that was planned for")));
}

/// Everything that can differ between a partition and its parent.
const PARTICULAR: &str = r#"
    CREATE ROLE "Owner ""x""";
    CREATE ROLE reader; CREATE ROLE "we ird"; CREATE ROLE stranger;
    CREATE SCHEMA "S c";
    GRANT USAGE, CREATE ON SCHEMA "S c" TO "Owner ""x""";
    CREATE TABLE "S c"."Ev ""ents" (
      id bigint GENERATED ALWAYS AS IDENTITY, "T s" timestamptz NOT NULL, body text DEFAULT 'x', n numeric NOT NULL,
      twice numeric GENERATED ALWAYS AS (n * 2) STORED, CHECK (n > 0)) PARTITION BY RANGE ("T s");
    ALTER TABLE "S c"."Ev ""ents" ADD PRIMARY KEY (id, "T s");
    CREATE INDEX ON "S c"."Ev ""ents" (lower(body));
    CREATE UNIQUE INDEX "for replica" ON "S c"."Ev ""ents" (n, "T s");
    CREATE STATISTICS "S c".extended (dependencies) ON id, n FROM "S c"."Ev ""ents";
    CREATE TABLE "S c"."Ev ""ents_1" PARTITION OF "S c"."Ev ""ents" FOR VALUES FROM ('2030-01-01+00') TO ('2030-01-02+00')
      WITH (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false);
    CREATE UNIQUE INDEX ON "S c"."Ev ""ents_1" (id) WHERE n > 5;
    ALTER TABLE "S c"."Ev ""ents_1" ALTER body SET STORAGE EXTERNAL, ALTER body SET STATISTICS 321,
      ALTER n SET (n_distinct = 50);
    ALTER TABLE "S c"."Ev ""ents_1" OWNER TO "Owner ""x""";
    GRANT SELECT, INSERT ON "S c"."Ev ""ents_1" TO reader;
    GRANT UPDATE ON "S c"."Ev ""ents_1" TO "we ird" WITH GRANT OPTION;
    GRANT SELECT ("T s") ON "S c"."Ev ""ents_1" TO PUBLIC;
    ALTER TABLE "S c"."Ev ""ents_1" ENABLE ROW LEVEL SECURITY;
    CREATE POLICY "p 1" ON "S c"."Ev ""ents_1" FOR SELECT TO reader, "we ird" USING (n < 100);
    ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO stranger;
    CREATE PUBLICATION "pub 1" FOR TABLE "S c"."Ev ""ents_1" (id, "T s", n) WHERE (n > 1);
"#;

#[tokio::test]
async fn a_new_partition_is_as_its_sibling_is() {
    let world = World::with(PARTICULAR).await;
    let sibling = TableName::new("S c", "Ev \"ents_1");
    world
        .run(
            r#"DO $$ DECLARE i text; BEGIN
                SELECT c.relname INTO i FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
                 WHERE x.indrelid = '"S c"."Ev ""ents_1"'::regclass AND NOT x.indisprimary AND x.indpred IS NULL AND x.indisunique;
                EXECUTE format('ALTER TABLE "S c"."Ev ""ents_1" REPLICA IDENTITY USING INDEX "S c".%I', i);
              EXCEPTION WHEN syntax_error THEN
                EXECUTE format('ALTER TABLE "S c"."Ev ""ents_1" REPLICA IDENTITY USING INDEX %I', i);
              END $$"#,
        )
        .await;
    let parent = TableName::new("S c", "Ev \"ents");
    let part = NewPart {
        table: TableName::new("S c", "Ev \"ents_2"),
        bound: range("2030-01-02 00:00:00+00", "2030-01-03 00:00:00+00"),
        like: Some(sibling),
        below: None,
    };
    let work = Work::Create { parent: parent.clone(), parts: vec![part], default: None, edge: None };
    world.done(&world.unit(&parent, work).await).await;

    // Each question is asked of both, with its own name taken out of the answer.
    let questions = [
        "SELECT pg_get_userbyid(relowner), relpersistence, reloptions, relreplident, relrowsecurity FROM pg_class WHERE oid = T",
        "SELECT reloptions FROM pg_class WHERE oid = (SELECT reltoastrelid FROM pg_class WHERE oid = T)",
        "SELECT grantee::regrole, privilege_type, is_grantable FROM pg_class, aclexplode(relacl) WHERE oid = T \
         ORDER BY 1, 2",
        "SELECT attname, atttypid, attnotnull, attstorage, attcompression, attstattarget, attoptions, attacl, attgenerated \
         FROM pg_attribute WHERE attrelid = T AND attnum > 0 ORDER BY attnum",
        "SELECT substr(pg_get_indexdef(indexrelid), strpos(pg_get_indexdef(indexrelid), ' USING ')), indisunique, indisreplident, \
         indisvalid, EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexrelid) FROM pg_index WHERE indrelid = T ORDER BY 1",
        "SELECT pg_get_constraintdef(oid), contype FROM pg_constraint WHERE conrelid = T ORDER BY 1",
        "SELECT polname, polcmd, polpermissive, polroles, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = T",
        "SELECT prpubid, prattrs, pg_get_expr(prqual, prrelid) FROM pg_publication_rel WHERE prrelid = T",
        "SELECT stxkeys, stxkind FROM pg_statistic_ext WHERE stxrelid = T",
    ];
    for question in questions {
        let one = world.ask(&question.replace(" T", " '\"S c\".\"Ev \"\"ents_1\"'::regclass")).await;
        let two = world.ask(&question.replace(" T", " '\"S c\".\"Ev \"\"ents_2\"'::regclass")).await;
        // Only the parent's statistics are taken over, and partitions made in place have none.
        if question.contains("pg_statistic_ext") {
            assert_ne!(two, "", "{question}");
            continue;
        }
        assert_eq!(two, one, "{question}");
        assert_ne!(two, "", "{question}");
    }
    world.run("INSERT INTO \"S c\".\"Ev \"\"ents\" (\"T s\", n) VALUES ('2030-01-02 10:00+00', 7)").await;
    assert_eq!(world.ask("SELECT id > 0, body, twice FROM \"S c\".\"Ev \"\"ents_2\"").await, "t|x|14");
}

#[tokio::test]
async fn a_role_without_privileges_of_its_own_makes_partitions_of_its_tables() {
    let world = World::with(&format!(
        "CREATE ROLE app LOGIN; CREATE SCHEMA own AUTHORIZATION app; SET ROLE app; SET search_path = own;
         {EVENTS} RESET ROLE; RESET search_path"
    ))
    .await;
    let mut part = day(2);
    part.table.schema = "own".into();
    let parent = TableName::new("own", "events");
    let work = Work::Create { parent: parent.clone(), parts: vec![part], default: None, edge: None };
    let unit = world.unit(&parent, work).await;
    let outcome = crate::world::act(&world.engine_as("app"), &unit, &crate::world::limits()).await;
    assert!(outcome.done, "{:?}", outcome.why);
    assert_eq!(world.ask("SELECT table_name FROM own.lifecycle_part").await, "events_2030_01_02");
    assert_eq!(
        world.ask("SELECT tableowner FROM pg_tables WHERE tablename = 'events_2030_01_02'").await,
        "app"
    );
    let again = crate::world::act(&world.engine_as("app"), &unit, &crate::world::limits()).await;
    assert!(again.done && again.version.is_none(), "its records are found again: {:?}", again.why);
}

#[tokio::test]
async fn a_tree_is_made_whole() {
    let world = World::with(
        "CREATE TABLE ref (id int PRIMARY KEY); INSERT INTO ref VALUES (1);
         CREATE TABLE events (id bigint NOT NULL, tenant text NOT NULL, ts timestamptz NOT NULL, r int REFERENCES ref, note text,
           PRIMARY KEY (id, tenant, ts)) PARTITION BY LIST (tenant);
         CREATE INDEX ON events (r);
         CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'seen'; RETURN NEW; END $$;
         CREATE TRIGGER t BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION seen();",
    )
    .await;
    let hash = |n: u32| NewPart {
        table: table(&format!("events_acme_2030_{n}")),
        bound: Bound::Hash { modulus: 2, remainder: n },
        like: None,
        below: None,
    };
    let year = NewPart {
        table: table("events_acme_2030"),
        bound: range("2030-01-01 00:00:00+00", "2031-01-01 00:00:00+00"),
        like: None,
        below: Some(NewLevel {
            method: Method::Hash,
            keys: vec!["id".into()],
            parts: vec![hash(0), hash(1)],
        }),
    };
    let tenant = NewPart {
        table: table("events_acme"),
        bound: Bound::List(vec![Some("acme".into())]),
        like: None,
        below: Some(NewLevel { method: Method::Range, keys: vec!["ts".into()], parts: vec![year] }),
    };
    world.done(&world.unit(&table("events"), create(vec![tenant])).await).await;
    world.run("INSERT INTO events SELECT n, 'acme', '2030-05-05', 1 FROM generate_series(1, 50) n").await;
    assert_eq!(world.ask("SELECT count(*), min(note) FROM events").await, "50|seen");
    assert_ne!(world.ask("SELECT count(*) FROM events_acme_2030_1").await, "0");
    assert_eq!(world.ask("SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, "0");
    assert!(
        world.client.batch_execute("INSERT INTO events VALUES (1, 'acme', '2030-05-05', 2)").await.is_err()
    );
    assert_eq!(
        world
            .ask("SELECT count(*) FROM replat.lifecycle_part WHERE state = 'attached' AND origin = 'made'")
            .await,
        "4"
    );
    world.has_no_orphan().await;
}

#[tokio::test]
async fn an_edge_gives_way() {
    for filled in [0, 20_000] {
        let world = World::with(&format!(
            "{EVENTS} CREATE TABLE events_after PARTITION OF events FOR VALUES FROM ('2030-01-02+00') TO (MAXVALUE);
             INSERT INTO events SELECT n, '2040-01-01', repeat('x', 200) FROM generate_series(1, {filled}) n;"
        ))
        .await;
        let edge = EdgeMove {
            table: table("events_after"),
            from: vec![at("2030-01-02 00:00:00+00")],
            to: vec![at("2030-01-04 00:00:00+00")],
        };
        let work = Work::Create {
            parent: table("events"),
            parts: vec![day(2), day(3)],
            default: None,
            edge: Some(edge),
        };
        let unit = world.unit(&table("events"), work).await;
        world.done(&unit).await;
        assert!(
            world
                .parts("events")
                .await
                .contains("events_after|FOR VALUES FROM ('2030-01-04 00:00:00+00') TO (MAXVALUE)")
        );
        assert_eq!(world.ask("SELECT count(*) FROM events_after").await, filled.to_string());
        assert_eq!(
            world
                .ask("SELECT jsonb_array_length(change->'removed'), jsonb_array_length(change->'added') FROM replat.lifecycle_outbox")
                .await,
            "1|3"
        );
        world.has_no_orphan().await;
        assert!(world.done(&unit).await.version.is_none(), "done is found done");
    }
}

#[tokio::test]
async fn the_policy_for_rows_of_no_partition_can_change() {
    let world = World::with(&format!(
        "CREATE TABLE ref (id int PRIMARY KEY); {EVENTS} ALTER TABLE events ADD r int REFERENCES ref;
         CREATE TABLE events_rest PARTITION OF events DEFAULT"
    ))
    .await;
    let open = |name: &str, from: Edge, to: Edge| NewPart {
        table: table(name),
        bound: Bound::Range { from: vec![from], to: vec![to] },
        like: None,
        below: None,
    };
    let edges = vec![
        open("events_before", Edge::Min, at("2030-01-01 00:00:00+00")),
        open("events_after", at("2030-01-02 00:00:00+00"), Edge::Max),
    ];
    let rest = (table("events_rest"), world.id(&table("events_rest")).await, Bound::Default);
    let to_edges = Work::Overflow { parent: table("events"), old: vec![rest], new: edges.clone() };
    let unit = world.unit(&table("events"), to_edges).await;
    world.done(&unit).await;
    assert_eq!(world.ask("SELECT to_regclass('events_rest') IS NULL").await, "t");
    world.run("INSERT INTO events VALUES (500, '2000-01-01', 'x'), (600, '2050-01-01', 'x')").await;
    assert!(world.done(&unit).await.version.is_none(), "done is found done");

    let mut old = Vec::new();
    for edge in &edges {
        old.push((edge.table.clone(), world.id(&edge.table).await, edge.bound.clone()));
    }
    let mut to_nothing =
        world.unit(&table("events"), Work::Overflow { parent: table("events"), old, new: Vec::new() }).await;
    to_nothing.id = "u-nothing".into();
    let outcome = world.act(&to_nothing).await;
    assert!(outcome.why.is_some_and(|why| why.contains("has a row by now")), "rows are not dropped");
    assert_eq!(world.ask("SELECT count(*) FROM events WHERE id IN (500, 600)").await, "2");
    world.run("DELETE FROM events WHERE id IN (500, 600)").await;
    world.done(&to_nothing).await;
    assert_eq!(world.parts("events").await.lines().count(), 1);
    world.has_no_orphan().await;
}

/// What is beside the set, how many partitions it gets, and in how many transactions: each holds locks for a while.
#[tokio::test]
async fn many_partitions_are_divided_where_others_may_wait() {
    let default = "CREATE TABLE events_rest PARTITION OF events DEFAULT;";
    let foreign = "CREATE TABLE ref (id int PRIMARY KEY); ALTER TABLE events ADD r int REFERENCES ref;";
    let many =
        "INSERT INTO events SELECT n, '2031-01-01', repeat('x', 200) FROM generate_series(1, 30000) n;";
    let rows = [
        ("".to_owned(), 28, 1),
        (default.to_owned(), 12, 1),
        (default.to_owned(), 13, 2),
        (foreign.to_owned(), 28, 3),
        (format!("{default}{foreign}{many}"), 28, 3),
    ];
    for (more, days, transactions) in rows {
        let world = World::with(&format!("{EVENTS} {more}")).await;
        let unit = world.unit(&table("events"), create((2..2 + days).map(day).collect())).await;
        let outcome = world.done(&unit).await;
        assert_eq!(outcome.version, Some(transactions), "{more}");
        assert_eq!(outcome.proofs.len(), days as usize, "{more}");
        let told = "SELECT count(*) FROM replat.lifecycle_outbox, jsonb_array_elements(change->'added')";
        assert_eq!(world.ask(told).await, days.to_string(), "{more}");
        let spread = "SELECT max(jsonb_array_length(change->'added')) <= 14 OR count(*) = 1 FROM replat.lifecycle_outbox";
        assert_eq!(world.ask(spread).await, "t", "{more}");
        println!("{days} in {transactions}: held {} us at most", outcome.held_us);
        world.has_no_orphan().await;
    }
}
