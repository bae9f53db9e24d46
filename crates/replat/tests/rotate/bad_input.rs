//! What cannot be looked after: each table fails alone, and it is said of each why.

use crate::world::{PASSWORD, World, daily};

/// A table that cannot be looked after, and what is said of it.
struct Bad {
    table: &'static str,
    /// How the application made it.
    made: &'static str,
    code: &'static str,
    says: &'static str,
}

const fn bad(table: &'static str, made: &'static str, code: &'static str, says: &'static str) -> Bad {
    Bad { table, made, code, says }
}

const BAD: &[Bad] = &[
    bad(
        "mixed",
        "create table mixed (d date not null) partition by range (d); \
         create table mixed_1 partition of mixed for values from ('2026-01-01') to ('2026-01-04'); \
         create table mixed_2 partition of mixed for values from ('2026-01-04') to ('2026-01-05'); \
         create table mixed_3 partition of mixed for values from ('2026-01-05') to ('2026-02-11'); \
         create table mixed_4 partition of mixed for values from ('2026-02-11') to ('2026-02-23')",
        "RP3003",
        "",
    ),
    bad("empty", "create table empty (d date not null) partition by range (d)", "RP3003", "--interval"),
    bad(
        "future",
        "create table future (d date not null) partition by range (d); \
         create table future_1 partition of future for values from ('4026-01-01') to ('4026-01-02'); \
         create table future_2 partition of future for values from ('4026-01-02') to ('4026-01-03')",
        "",
        "",
    ),
    bad(
        "past",
        "create table past (ts timestamptz not null) partition by range (ts); \
         create table past_1 partition of past for values from ('1926-01-01') to ('1926-01-02'); \
         create table past_2 partition of past for values from ('1926-01-02') to ('1926-01-03')",
        "",
        "",
    ),
    bad(
        "expr",
        "create table expr (ts timestamptz not null, k int) partition by range ((k % 7), (lower(k::text))); \
         create table expr_1 partition of expr for values from (1, 'a') to (2, 'b')",
        "RP3003",
        "",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_table_fails_alone() {
    let mut sql = daily("good", -2, 1);
    for one in BAD {
        sql += one.made;
        sql += ";";
    }
    let world = World::with(&sql).await;
    let ran = world.rotate("--buffer-days=5 --json").await.exits(4);
    let report = ran.json();
    assert_eq!(world.parts("good").await.len(), 8, "{}", ran.told());
    let findings = report["databases"][0]["findings"].as_array().expect("findings").clone();
    for one in BAD {
        let of: Vec<_> = findings.iter().filter(|f| f["set"]["name"] == one.table).collect();
        if one.code.is_empty() {
            continue;
        }
        let found = of.iter().any(|f| {
            f["code"] == one.code
                && f["severity"] == "error"
                && (f["remedy"].as_str().unwrap_or_default().contains(one.says)
                    || f["what"].as_str().unwrap_or_default().contains(one.says))
        });
        assert!(found, "{}: {of:#?}", one.table);
    }
    // What is far off is no reason to make a thousand partitions.
    for table in ["future", "past"] {
        let parts = world.parts(table).await.len();
        assert!(parts < 60, "{table}: {parts}: {}", ran.told());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_by_name_must_be_there_and_be_fit() {
    let world = World::with(&format!(
        "{} create table plain (id int); create view seen as select 1; \
         create table old (id int); create table old_child () inherits (old)",
        daily("events", -2, 1)
    ))
    .await;
    let today = world.column("select 'events_' || to_char(current_date, 'YYYYMMDD')").await.remove(0);
    let before = world.mark().await;
    for (table, says) in [
        ("nothing", "there is no such table"),
        ("public.nothing*", "no partitioned table has such a name"),
        ("plain", "it is not partitioned"),
        ("seen", "it is a view"),
        ("old", "inherit"),
        (today.as_str(), "it is a partition of public.events"),
    ] {
        let ran = world.rotate(&format!("-t {table} --buffer-days=5")).await.exits(4);
        assert!(ran.err.contains(says) && ran.err.contains("RP3001"), "{table}: {}", ran.told());
        assert!(ran.err.contains("\n  do "), "{table}: {}", ran.told());
    }
    // One bad name keeps nothing from the others.
    assert_eq!(world.parts("events").await.len(), 4);
    world.rotate("-t nothing -t events --buffer-days=5").await.exits(4).prints("created=4");
    let _ = before;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_or_a_key_that_does_not_fit_changes_nothing() {
    let world = World::with(&format!(
        "{} create table small (id smallint not null) partition by range (id); \
         create table small_1 partition of small for values from (20000) to (30000); \
         insert into small values (29999)",
        daily("events", -2, 1)
    ))
    .await;
    for interval in ["1 parsec", "-1 day", "0 days", "1000", ""] {
        let flag = format!("--interval={interval}");
        let url = format!("--db-url={}", world.url("app"));
        let ran = world.program.run(&["rotate", &url, "-t", "events", &flag]).await;
        assert!(matches!(ran.code, Some(2..=4)), "{interval:?}: {}", ran.told());
        assert_eq!(world.parts("events").await.len(), 4, "{interval:?}");
    }
    // Weeks do not begin where the last day ended; nothing overlaps, whatever comes of it.
    let ran = world
        .program
        .run(&[
            "rotate",
            &format!("--db-url={}", world.url("app")),
            "-t",
            "events",
            "--interval=1 week",
            "--buffer-days=20",
        ])
        .await;
    assert!(matches!(ran.code, Some(0 | 4)), "{}", ran.told());
    assert_eq!(world.number("select count(*) from events where false").await, 0);
    // The type of the key ends before the horizon does.
    let ran = world.rotate("-t small --ahead=5").await;
    assert!(matches!(ran.code, Some(0)), "{}", ran.told());
    let last = world
        .column("select max(pg_get_expr(relpartbound, oid)) from pg_class where relname like 'small\\_%'")
        .await;
    assert!(
        last[0].contains("TO ('32767')") || last[0].contains("MAXVALUE") || last[0].contains("TO ('30000')"),
        "{last:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_clash_are_long_or_hostile_are_no_obstacle() {
    let long = "x".repeat(63);
    let hostile = "ro\"bert'); drop table good; --$$ \\ ü\t%s";
    let ident = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let make = |name: &str, part: &str| {
        format!(
            "create table {0} (\"Ts \"\"\" timestamptz not null) partition by range (\"Ts \"\"\"); \
             do $do$ declare d date := current_date; begin \
               execute format($f$create table {1} partition of {2} for values from (%L) to (%L)$f$, d, d + 1); end $do$;",
            ident(name),
            ident(part),
            ident(name).replace('%', "%%")
        )
    };
    let sql = format!(
        "{}{}{} do $$ begin execute format('create table good_%s (id int)', to_char(current_date + 3, 'YYYYMMDD')); end $$; \
         create type good_x as (i int)",
        daily("good", -2, 1),
        make(&long, "long_first"),
        make(hostile, "hostile_first"),
    );
    let world = World::with(&sql).await;
    let ran = world.rotate("--buffer-days=5 --interval=1d").await;
    assert!(matches!(ran.code, Some(0)), "{}", ran.told());
    // The name that was taken belongs to somebody else still.
    let clash = "select count(*) from pg_class where relname = 'good_' || to_char(current_date + 3, 'YYYYMMDD') \
                 and not relispartition";
    assert_eq!(world.number(clash).await, 1, "{}", ran.told());
    assert_eq!(world.parts("good").await.len(), 8, "{}", ran.told());
    assert_eq!(world.parts(&ident(&long)).await.len(), 6, "{}", ran.told());
    assert_eq!(world.parts(&ident(hostile)).await.len(), 6, "{}", ran.told());
    let names = world
        .number("select count(distinct relname) from pg_class where relispartition and relkind = 'r'")
        .await;
    assert_eq!(names, 8 + 6 + 6);
    world.rotate("--buffer-days=5 --interval=1d").await.succeeds().prints("nothing to do");
    world.rotate("--buffer-days=5 --interval=1d --check --strict").await.succeeds();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_partitions_are_left_alone() {
    let world = World::with(&daily("events", -1, 1).replace(", primary key (id, ts)", "")).await;
    world
        .admin(&format!(
            "create extension postgres_fdw; create server away foreign data wrapper postgres_fdw \
               options (host '127.0.0.1', port '{}', dbname 'postgres'); \
             create user mapping for app server away options (user 'app'); grant usage on foreign server away to app; \
             set role app; do $$ begin execute format('create foreign table events_away partition of events \
               for values from (%L) to (%L) server away', current_date - 40, current_date - 30); end $$",
            world.server.port()
        ))
        .await;
    let ran = world
        .rotate("--buffer-days=5 --adopt --keep=20d --retire=drop --drop-after=0s --explain")
        .await
        .succeeds();
    assert!(ran.out.contains("RP3029"), "{}", ran.told());
    let there =
        "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid where c.relkind = 'f'";
    assert!(world.number(there).await <= 1);
    assert_eq!(world.number("select count(*) from pg_foreign_table").await, 1, "{}", ran.told());
    assert!(world.parts("events").await.len() >= 7, "{}", ran.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_is_told_which_it_needs() {
    let world = World::with(&format!("{} create schema mine", daily("events", -2, 1))).await;
    let url = format!("--db-url={}", world.url("stranger"));
    let before = world.mark().await;
    let ran = world.program.run(&["rotate", &url, "--buffer-days=5"]).await.exits(4);
    assert!(ran.err.contains("GRANT \"app\" TO \"stranger\""), "{}", ran.told());
    assert!(ran.err.contains("RP3002 public.events"), "{}", ran.told());
    assert_eq!(world.mark().await, before, "{}", ran.told());
    // A look needs no more than to be let in.
    let ran = world.program.run(&["runway", &url]).await.succeeds();
    assert!(ran.out.contains("public.events"), "{}", ran.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_hears_why_and_no_secret_is_told() {
    let world = World::with(&daily("events", -2, 1)).await;
    let port = world.server.port();
    let wrong = "wr0ngS3cret";
    for (url, exit, says) in [
        (format!("postgres://locked:{wrong}@127.0.0.1:{port}/{}", world.database), 4, "password"),
        (format!("postgres://locked@127.0.0.1:{port}/{}", world.database), 4, "password"),
        (format!("postgres://app@127.0.0.1:{port}/nowhere"), 4, "nowhere"),
        (format!("postgres://locked:{PASSWORD}@127.0.0.1:1/x"), 20, "127.0.0.1"),
        ("postgres://app@127.0.0.1:99999/x".to_owned(), 3, "port"),
        ("env:NOT_THERE".to_owned(), 3, "NOT_THERE"),
    ] {
        for verb in
            [&["rotate"][..], &["rotate", "--json"], &["runway"], &["plan", "rotate"], &["rotate", "--check"]]
        {
            let flag = format!("--db-url={url}");
            let ran = world.program.run(&[verb, &[&flag, "-v"]].concat()).await;
            assert_eq!(ran.code, Some(exit), "{says}: {}", ran.told().replace(wrong, "…"));
            assert!(ran.err.contains(says), "{says}: {}", ran.told());
            let all = format!("{}{}", ran.out, ran.err);
            assert!(!all.contains(wrong) && !all.contains(PASSWORD), "a secret was told: {verb:?}");
        }
    }
    world.program.line("rotate").await.exits(2).remarks("--db-url");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_partitions_has_nothing_to_do_and_gets_nothing() {
    let world = World::with("create table plain (id int)").await;
    let before = world.mark().await;
    for line in
        ["--buffer-days=5", "--buffer-days=5 --check", "--buffer-days=5 --dry-run", "--buffer-days=5 --json"]
    {
        world.rotate(line).await.succeeds();
    }
    world.rotate("--buffer-days=5").await.prints("nothing to do");
    world.verb("runway", "").await.succeeds();
    assert_eq!(world.mark().await, before, "something was left behind");
}
