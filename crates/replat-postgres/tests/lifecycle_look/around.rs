//! What surrounds a set: privileges, foreign keys, indexes, publications, settings, records, broken-off detaches.

use replat_engine::lifecycle::Look;
use replat_model::lifecycle::facts::{LooseState, Origin, TableName};
use replat_postgres::lifecycle::bounds;
use replat_postgres::lifecycle::ledger::{self, Ledger};
use replat_postgres::lifecycle::look::{fingerprint, look};

use super::support::{all, database, part, server, session, set};

#[tokio::test]
async fn a_role_is_told_what_it_lacks() {
    let (name, admin) = database(
        r#"create role "own'er"; create role "wor""ker" login; create role other;
           grant usage, create on schema public to "wor""ker";
           create schema "Be side"; grant all on schema "Be side" to "own'er";
           create table mine (t date) partition by range (t); alter table mine owner to "wor""ker";
           create table "Be side".theirs (t date) partition by range (t);
           create table "Be side".theirs_1 partition of "Be side".theirs for values from ('2026-01-01') to (maxvalue);
           create table "Be side".rest partition of "Be side".theirs default;
           alter table "Be side".rest owner to other;
           alter table "Be side".theirs owner to "own'er""#,
    )
    .await;
    let worker = session(&name, "wor%22ker").await;
    let facts = all(&worker).await;
    assert_eq!(set(&facts, "mine").lacking, [""; 0]);
    assert_eq!(set(&facts, "theirs").owner, "own'er");
    let lacking = set(&facts, "theirs").lacking.clone();
    assert_eq!(
        lacking,
        [
            r#"GRANT "own'er" TO "wor""ker""#,
            r#"GRANT USAGE ON SCHEMA "Be side" TO "wor""ker""#,
            r#"GRANT CREATE ON SCHEMA "Be side" TO "wor""ker""#,
            r#"GRANT "other" TO "wor""ker""#,
        ]
    );
    // Rows that may not be read are not guessed at.
    assert_eq!(part(set(&facts, "theirs"), "rest").empty, None);
    for statement in lacking {
        admin.batch_execute(&statement).await.expect("the statement is complete");
    }
    let facts = all(&worker).await;
    assert_eq!(set(&facts, "theirs").lacking, [""; 0]);
    assert_eq!(part(set(&facts, "theirs"), "rest").empty, Some(true));
}

#[tokio::test]
async fn foreign_keys_are_seen_in_both_directions_once() {
    let (_, client) = database(
        "create table users (id int primary key);
         create table orders (id int, day date, user_id int references users, primary key (id, day),
           unique (day, id)) partition by range (day);
         create table orders_1 partition of orders for values from ('2026-01-01') to ('2026-02-01');
         create table orders_2 partition of orders for values from ('2026-02-01') to ('2026-03-01')
           partition by hash (id);
         create table orders_2_0 partition of orders_2 for values with (modulus 1, remainder 0);
         create schema other; create table other.lines (id int, order_id int, day date,
           constraint \"to an order\" foreign key (order_id, day) references orders (id, day));
         create table notes (order_id int, day date, foreign key (order_id, day) references orders_1 (id, day))",
    )
    .await;
    let facts = all(&client).await;
    let orders = set(&facts, "orders");
    let seen = |references: &[replat_model::lifecycle::facts::Reference]| -> Vec<String> {
        references.iter().map(|r| format!("{} {}: {}", r.name, r.table, r.definition)).collect()
    };
    assert_eq!(
        seen(&orders.references),
        ["orders_user_id_fkey public.users: FOREIGN KEY (user_id) REFERENCES public.users(id)"]
    );
    assert_eq!(
        seen(&orders.referenced_by),
        [
            "notes_order_id_day_fkey public.notes: FOREIGN KEY (order_id, day) REFERENCES public.orders_1(id, day)",
            "to an order other.lines: FOREIGN KEY (order_id, day) REFERENCES public.orders(id, day)",
        ]
    );
}

#[tokio::test]
async fn what_partitions_lack_of_an_index_is_told_by_partition() {
    let (name, client) = database(
        r#"create table t (id int, day date, body text, primary key (id, day)) partition by range (day);
           create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
           create table t_2 partition of t for values from ('2026-02-01') to ('2026-03-01');
           create table t_3 partition of t for values from ('2026-03-01') to ('2026-04-01') partition by hash (id);
           create table t_3_0 partition of t_3 for values with (modulus 1, remainder 0);
           create index "by ""body" on only t (lower(body) desc) where id > 0;
           create index only_here on only t (body);
           create index complete on t (day);
           -- Equal, and attached to nothing.
           create index equal_1 on t_1 (lower(body) desc) where id > 0;
           -- Nearly equal.
           create index other_order on t_2 (lower(body)) where id > 0;
           create index other_rows on t_2 (lower(body) desc) where id > 1"#,
    )
    .await;
    // An index whose building was broken off.
    client
        .batch_execute("insert into t values (1, '2026-02-03', 'x'), (2, '2026-02-03', 'x')")
        .await
        .expect("rows");
    client
        .batch_execute("create unique index concurrently broken on t_2 (body)")
        .await
        .expect_err("not unique");
    client.batch_execute("create index only_unique on only t (body)").await.expect("an index");
    drop(name);
    let facts = all(&client).await;
    let index =
        |name: &str| set(&facts, "t").indexes.iter().find(|index| index.name == name).expect("an index");
    let table = |name: &str| TableName::new("public", name);

    let complete = index("complete");
    assert!(complete.valid && !complete.constraint);
    assert_eq!(
        (complete.missing_on.len(), complete.unattached_on.len(), complete.invalid_on.len()),
        (0, 0, 0)
    );
    let key = index("t_pkey");
    assert!(key.valid && key.constraint);
    assert_eq!((key.missing_on.len(), key.scans), (0, Some(0)));
    let partial = index("by \"body");
    assert!(!partial.valid);
    assert_eq!(partial.unattached_on, [(table("t_1"), "equal_1".to_owned())]);
    assert_eq!(partial.missing_on, [table("t_2"), table("t_3"), table("t_3_0")]);
    assert_eq!(index("only_here").missing_on, [table("t_1"), table("t_2"), table("t_3"), table("t_3_0")]);

    client
        .batch_execute("update pg_index set indisvalid = false where indexrelid = 'equal_1'::regclass")
        .await
        .expect("a superuser may");
    let facts = all(&client).await;
    let partial = set(&facts, "t").indexes.iter().find(|index| index.name == "by \"body").expect("it");
    assert_eq!(partial.invalid_on, [(table("t_1"), "equal_1".to_owned())]);
}

#[tokio::test]
async fn publications_of_every_kind_are_seen() {
    let (_, client) = database(
        "create table whole (t date) partition by range (t);
         create table whole_1 partition of whole for values from ('2026-01-01') to ('2026-02-01');
         create table several (t date) partition by range (t);
         create table some_1 partition of several for values from ('2026-01-01') to ('2026-02-01');
         create table some_2 partition of several for values from ('2026-02-01') to ('2026-03-01');
         create schema apart; create table apart.some_3 partition of several for values from ('2026-03-01') to (maxvalue);
         create publication everything for all tables;
         create publication \"by name\" for table whole, some_2 with (publish_via_partition_root = true)",
    )
    .await;
    if server().await.version().major >= 15 {
        client
            .batch_execute("create publication by_schema for tables in schema apart")
            .await
            .expect("a publication");
    }
    let facts = all(&client).await;
    let seen = |name: &str| -> Vec<String> {
        let publications = set(&facts, name).publications.iter();
        let parts = |parts: &[TableName]| parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        publications
            .map(|p| format!("{} root={} whole={} [{}]", p.name, p.via_root, p.whole, parts(&p.parts)))
            .collect()
    };
    assert_eq!(seen("whole"), ["by name root=true whole=true []", "everything root=false whole=true []"]);
    let mut some =
        vec!["by name root=true whole=false [public.some_2]", "everything root=false whole=true []"];
    if server().await.version().major >= 15 {
        some.insert(1, "by_schema root=false whole=false [apart.some_3]");
    }
    assert_eq!(seen("several"), some);
}

#[tokio::test]
async fn what_siblings_should_share_is_read() {
    let (_, client) = database(
        "create role reader; create role writer; create table t (id int, t date) partition by range (t);
         create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create unlogged table t_2 partition of t for values from ('2026-02-01') to ('2026-03-01')
           with (fillfactor = 70, autovacuum_enabled = off);
         alter table t_2 replica identity full; grant select on t_2 to reader; grant insert on t_2 to writer;
         alter table t_2 enable row level security",
    )
    .await;
    let facts = all(&client).await;
    let plain = &part(set(&facts, "t"), "t_1").settings;
    let other = &part(set(&facts, "t"), "t_2").settings;
    let cases = [
        ("owner", Some("postgres"), Some("postgres")),
        (
            "privileges",
            Some("default"),
            Some("postgres=arwdDxt/postgres, reader=r/postgres, writer=a/postgres"),
        ),
        ("replica identity", Some("primary key"), Some("full")),
        ("storage options", None, Some("autovacuum_enabled=off, fillfactor=70")),
        ("tablespace", Some("default"), Some("default")),
        ("persistence", Some("logged"), Some("unlogged")),
        ("row security", Some("off"), Some("on")),
    ];
    for (word, of_plain, of_other) in cases {
        let of_other = match (word, server().await.version().major) {
            // MAINTAIN came with 17.
            ("privileges", 17..) => Some("postgres=arwdDxtm/postgres, reader=r/postgres, writer=a/postgres"),
            _ => of_other,
        };
        assert_eq!(
            (plain.get(word).map(String::as_str), other.get(word).map(String::as_str)),
            (of_plain, of_other)
        );
    }
}

#[tokio::test]
async fn foreign_tables_columns_and_taken_names_are_seen() {
    let (_, client) = database(
        "create extension file_fdw; create server files foreign data wrapper file_fdw;
         create table t (id int, day timestamp(0), primary key (id, day)) partition by range (day);
         create table cold partition of t for values from ('2025-01-01') to ('2026-01-01');
         create table u (id int, day date) partition by range (day);
         create foreign table far partition of u for values from ('2025-01-01') to ('2026-01-01')
           server files options (filename '/dev/null');
         create table near partition of u for values from ('2026-01-01') to ('2027-01-01');
         create type a_type as enum ('x'); create sequence a_sequence; create view \"A View\" as select 1 as one",
    )
    .await;
    let facts = all(&client).await;
    assert!(part(set(&facts, "u"), "far").foreign && !part(set(&facts, "u"), "near").foreign);
    let columns: Vec<(&str, &str)> =
        set(&facts, "t").columns.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(columns, [("day", "timestamp(0) without time zone"), ("id", "integer")]);
    let taken = &facts.taken["public"];
    for name in ["t", "t_pkey", "cold", "far", "a_type", "a_sequence", "A View"] {
        assert!(taken.contains(name), "{name}");
    }
    assert!(!taken.contains("free"));
}

#[tokio::test]
async fn records_count_only_for_the_table_that_was_recorded() {
    let (name, client) = database(
        "create role planter login; grant all on schema public to planter;
         create table t (id int, day date) partition by range (day);
         create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create table t_2 partition of t for values from ('2026-02-01') to ('2026-03-01');
         create table t_3 partition of t for values from ('2026-03-01') to ('2026-04-01');
         create table staged (id int, day date); create table kept (id int, day date);
         create table renamed (id int, day date)",
    )
    .await;
    // Somebody's own table that calls itself the record is none.
    let planter = session(&name, "planter").await;
    let planted = Ledger { schema: "public".into() };
    planter.batch_execute(&planted.tables()).await.expect("a planted record");
    let record = |ledger: &Ledger, table: &str, was: &str, origin: &str, state: &str| {
        format!(
            "insert into {} values ('{table}'::regclass, 'public', '{was}', 't'::regclass, 'public', 't',
               't'::regclass, 'public', 't', '{{\"range\": {{\"from\": [{{\"at\": \"2026-01-01\"}}], \"to\": [\"max\"]}}}}',
               '{origin}', '{state}', '2026-05-01 00:00Z', '2026-06-01 00:00Z', '/a/file', 'digest', true, 'u-1');",
            ledger.table("lifecycle_part")
        )
    };
    planter.batch_execute(&record(&planted, "t_3", "t_3", "made", "attached")).await.expect("a planted row");
    let facts = all(&client).await;
    assert_eq!(part(set(&facts, "t"), "t_3").origin, Origin::Foreign);

    planter.batch_execute("drop owned by planter").await.expect("it is gone");
    let ledger = ledger::ensure(&client, "public").await.expect("the record");
    let rows = [
        record(&ledger, "t_1", "t_1", "made", "attached"),
        record(&ledger, "t_2", "t_2", "adopted", "attached"),
        record(&ledger, "t_3", "t_3_as_it_was", "made", "attached"),
        record(&ledger, "staged", "staged", "made", "staged"),
        record(&ledger, "kept", "kept", "made", "detached"),
        record(&ledger, "renamed", "as_it_was", "made", "detached"),
        format!(
            "insert into {} select 't'::regclass, now() - n * interval '100 days', 10 - n, 1, 8192, n::text
               from generate_series(1, 3) n",
            ledger.table("lifecycle_sample")
        ),
    ];
    client.batch_execute(&rows.concat()).await.expect("rows");
    let facts = all(&client).await;
    let seen = |name: &str| {
        let part = part(set(&facts, "t"), name);
        (part.origin, part.legal_hold, part.since)
    };
    let may = Some(1_777_593_600_000_000);
    assert_eq!(seen("t_1"), (Origin::Made, true, may));
    assert_eq!(seen("t_2"), (Origin::Adopted, true, may));
    assert_eq!(seen("t_3"), (Origin::Foreign, false, None));
    let loose: Vec<_> = facts.loose.iter().map(|table| (table.table.name.as_str(), table.state)).collect();
    assert_eq!(loose, [("kept", LooseState::Detached), ("staged", LooseState::Staged)]);
    let kept = &facts.loose[0];
    assert_eq!(kept.archive, Some(("/a/file".into(), "digest".into())));
    assert_eq!((kept.drop_after, kept.unit.as_str()), (Some(1_780_272_000_000_000), "u-1"));
    assert_eq!(bounds::sql(&kept.bound), "FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)");
    // What is older than half a year is left out; the last is of now.
    let samples: Vec<_> = set(&facts, "t").samples.iter().map(|sample| sample.high.as_deref()).collect();
    assert_eq!(samples, [Some("1"), None]);
    // A role that may not read the record takes everything for somebody else's.
    client.batch_execute("create role stranger login").await.expect("a role");
    let facts = all(&session(&name, "stranger").await).await;
    assert_eq!(part(set(&facts, "t"), "t_1").origin, Origin::Foreign);
}

/// Begins to detach `child` beside its readers, and breaks off when the detach has begun to show.
async fn break_off_a_detach(database: &str, parent: &str, child: &str) {
    let reader = session(database, "postgres").await;
    reader.batch_execute(&format!("begin; select * from {parent}")).await.expect("a reader");
    let worker = session(database, "postgres").await;
    let pid: i32 = worker.query_one("select pg_backend_pid()", &[]).await.expect("a pid").get(0);
    let sql = format!("alter table {parent} detach partition {child} concurrently");
    let detach = tokio::spawn(async move { worker.batch_execute(&sql).await });
    let pending = "select exists (select from pg_inherits where inhdetachpending)";
    let watcher = session(database, "postgres").await;
    while !watcher.query_one(pending, &[]).await.expect("an answer").get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    watcher.execute("select pg_terminate_backend($1)", &[&pid]).await.expect("it ends");
    detach.await.expect("no panic").expect_err("it was broken off");
    reader.batch_execute("commit").await.expect("the reader ends");
}

#[tokio::test]
async fn a_detach_that_was_broken_off_is_seen() {
    let (name, client) = database(
        "create table t (day date) partition by range (day);
         create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create table t_2 partition of t for values from ('2026-02-01') to ('2026-03-01')",
    )
    .await;
    let before = fingerprint(&client, "test").await.expect("a fingerprint");
    break_off_a_detach(&name, "t", "t_1").await;
    let facts = all(&client).await;
    assert!(part(set(&facts, "t"), "t_1").detach_pending);
    assert!(!part(set(&facts, "t"), "t_2").detach_pending);
    assert_ne!(facts.fingerprint, before);
}

#[tokio::test]
async fn the_fingerprint_changes_with_partitions_and_with_nothing_else() {
    let (_, client) = database(
        "create table t (id int, day date) partition by range (day);
         create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create table u (id int, day date) partition by range (day);
         create table plain (id int, day date); create schema other;
         create table v (id int, day date) partition by range (day)",
    )
    .await;
    let cases = [
        ("insert into t values (1, '2026-01-03')", false),
        ("analyze t", false),
        ("vacuum t_1", false),
        ("create table another (id int)", false),
        ("create index on t (id)", false),
        ("grant select on t to public", false),
        ("truncate t_1", false),
        ("create table t_2 partition of t for values from ('2026-02-01') to ('2026-03-01')", true),
        ("alter table t_2 rename to t_two", true),
        ("alter table t detach partition t_two", true),
        ("alter table t attach partition t_two for values from ('2026-02-01') to ('2026-03-02')", true),
        (
            "alter table t detach partition t_two; alter table u attach partition t_two
            for values from ('2026-02-01') to ('2026-03-02')",
            true,
        ),
        ("alter table t set schema other", true),
        ("alter schema other rename to elsewhere", true),
        ("drop table t_two", true),
        ("drop table v", true),
    ];
    let mut last = fingerprint(&client, "test").await.expect("a fingerprint");
    for (sql, changes) in cases {
        client.batch_execute(sql).await.expect(sql);
        let now = fingerprint(&client, "test").await.expect("a fingerprint");
        assert_eq!(now != last, changes, "{sql}");
        last = now;
    }
}

#[tokio::test]
async fn a_locked_partition_does_not_hold_a_look_up() {
    let (name, client) = database(
        "create table t (day date) partition by range (day);
         create table t_1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create table t_default partition of t default",
    )
    .await;
    let holder = session(&name, "postgres").await;
    holder.batch_execute("begin; lock table t_1, t_default in access exclusive mode").await.expect("locks");
    let facts = look(&client, "test", &Look::default()).await.expect("a look all the same");
    assert_eq!(set(&facts, "t").level.parts.len(), 2);
    // What would have had to wait is not known.
    assert_eq!(part(set(&facts, "t"), "t_default").empty, None);
    // The look left nothing behind that the holder would meet.
    holder.batch_execute("commit").await.expect("it ends");
    let left: i64 = client
        .query_one("select count(*) from pg_locks where relation in ('t'::regclass, 't_1'::regclass)", &[])
        .await
        .expect("an answer")
        .get(0);
    assert_eq!(left, 0);
}
