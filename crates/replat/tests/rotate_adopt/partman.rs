//! Sets that pg_partman itself made, where the server has it.

use std::io::Write;

use crate::world::World;

/// A set, and how pg_partman was called for it.
struct Case {
    name: &'static str,
    sql: &'static str,
    /// Whether replat may know better how much is needed: it makes all that pg_partman makes, and more.
    more: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "public.by_day",
        sql: "create table by_day (at timestamptz not null, n int) partition by range (at); \
              select partman.create_parent('public.by_day', 'at', 'native', 'daily'); \
              insert into by_day values (now(), 1)",
        more: false,
    },
    Case {
        name: "public.by_date",
        sql: "create table by_date (at date not null, n int) partition by range (at); \
              select partman.create_parent('public.by_date', 'at', 'native', 'daily'); \
              insert into by_date values (current_date, 1)",
        more: false,
    },
    Case {
        name: "public.by_week",
        sql: "create table by_week (at timestamp not null, n int) partition by range (at); \
              select partman.create_parent('public.by_week', 'at', 'native', 'weekly'); \
              insert into by_week values (now(), 1)",
        more: false,
    },
    Case {
        name: "public.by_month",
        sql: "create table by_month (at date not null, n int) partition by range (at); \
              select partman.create_parent('public.by_month', 'at', 'native', 'monthly'); \
              insert into by_month values (current_date, 1)",
        more: false,
    },
    Case {
        name: "public.by_quarter",
        sql: "create table by_quarter (at timestamptz not null, n int) partition by range (at); \
              select partman.create_parent('public.by_quarter', 'at', 'native', 'quarterly'); \
              insert into by_quarter values (now(), 1)",
        more: false,
    },
    Case {
        name: "public.by_hour",
        sql: "create table by_hour (at timestamptz not null, n int) partition by range (at); \
              select partman.create_parent('public.by_hour', 'at', 'native', 'hourly'); \
              insert into by_hour values (now(), 1)",
        more: false,
    },
    Case {
        name: "public.by_quarter_hour",
        sql: "create table by_quarter_hour (at timestamptz not null, n int) partition by range (at); \
              select partman.create_parent('public.by_quarter_hour', 'at', 'native', 'quarter-hour'); \
              insert into by_quarter_hour values (now(), 1)",
        more: false,
    },
    Case {
        name: "public.by_id",
        sql: "create table by_id (id bigint primary key, n int) partition by range (id); \
              select partman.create_parent('public.by_id', 'id', 'native', '1000'); \
              insert into by_id select g, 1 from generate_series(1, 1500, 100) g",
        more: false,
    },
    Case {
        name: "public.by_epoch",
        sql: "create table by_epoch (at bigint not null, n int) partition by range (at); \
              select partman.create_parent('public.by_epoch', 'at', 'native', 'daily', p_epoch := 'seconds'); \
              insert into by_epoch values (extract(epoch from now())::bigint, 1)",
        more: false,
    },
    Case {
        name: "public.by_millisecond",
        sql: "create table by_millisecond (at bigint not null, n int) partition by range (at); \
              select partman.create_parent('public.by_millisecond', 'at', 'native', 'monthly', \
                                           p_epoch := 'milliseconds'); \
              insert into by_millisecond values ((extract(epoch from now()) * 1000)::bigint, 1)",
        more: false,
    },
    Case {
        name: "public.nested",
        sql: "create table nested (at timestamptz not null, n int) partition by range (at); \
              select partman.create_parent('public.nested', 'at', 'native', 'yearly', p_premake := 1); \
              select partman.create_sub_parent('public.nested', 'at', 'native', 'monthly', \
                                               p_native_check := 'yes', p_premake := 2); \
              insert into nested values (now(), 1)",
        more: true,
    },
    Case {
        name: "public.\"Üb er\"",
        sql: "create table \"Üb er\" (\"At, a\" timestamptz not null, n int) partition by range (\"At, a\"); \
              select partman.create_parent('public.Üb er', 'At, a', 'native', 'daily'); \
              insert into \"Üb er\" values (now(), 1)",
        more: false,
    },
];

/// The database with all sets, of which more partitions are wanted than there are; `None` without pg_partman.
async fn managed() -> Option<World> {
    let world = World::new().await;
    let there = world
        .text("select coalesce(max(default_version), '') from pg_available_extensions where name = 'pg_partman'")
        .await;
    if !there.starts_with("4.") {
        skipped(&format!("the server has no pg_partman 4 (found {there:?}); told.rs has its tables by hand"));
        return None;
    }
    world.sql("create schema partman; create extension pg_partman schema partman").await;
    for case in CASES {
        world.sql(case.sql).await;
    }
    // Counts of rows are no part of what is copied, but for these.
    world.sql("analyze; update partman.part_config set premake = premake + 3").await;
    Some(world)
}

/// Says so where nobody captures it: a test that did nothing must not look like one that held.
fn skipped(why: &str) {
    drop(writeln!(std::io::stderr(), "SKIPPED: {why}"));
}

/// The quarter of an hour it is: where it changes meanwhile, two programs may rightly do different work.
async fn quarter(world: &World) -> String {
    world.text("select date_bin('15 minutes', now(), '2000-01-01')::text").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pg_partman_would_make_is_made_with_the_same_names_and_bounds() {
    // The second time is in the same quarter of an hour, unless a run takes that long.
    for _ in 0..2 {
        let Some(theirs) = managed().await else { return };
        let ours = theirs.copy().await;
        let before = theirs.copy().await;
        if compared(&before, &theirs, &ours).await {
            return;
        }
    }
    skipped("the quarter of an hour ended twice meanwhile, so both may rightly differ");
}

/// Whether there was anything to compare; `false` where time went on between the two.
async fn compared(before: &World, theirs: &World, ours: &World) -> bool {
    let begun = quarter(ours).await;
    theirs.sql("select partman.run_maintenance(p_analyze := false)").await;

    let ran = ours.replat("adopt --out replat.toml --json").await.succeeds();
    let said = ran.json();
    assert_eq!(said["sets"].as_array().map(Vec::len), Some(CASES.len()), "{said:#}");
    ours.program.line("validate").await.succeeds();
    for set in said["sets"].as_array().expect("sets") {
        assert_eq!(set["managed_by"], "pg_partman 4.7.2", "{set:#}");
        ours.sql(set["switch_off"].as_str().expect("it is on")).await;
    }
    // With the policy that was written, without --adopt: the sets are replat's by its records.
    let ran = ours.program.line("rotate --db-url env:DB_URL --no-forecast --explain").await.succeeds();
    if quarter(ours).await != begun {
        return false;
    }
    let said_by_run = ran.prints(" failed=0 ").told();
    for case in CASES {
        let (was, made, wanted) =
            (before.parts(case.name).await, ours.parts(case.name).await, theirs.parts(case.name).await);
        let missing: Vec<_> = wanted.iter().filter(|part| !made.contains_key(part.0)).collect();
        let other: Vec<_> = wanted.iter().filter(|(name, part)| made.get(*name) != Some(part)).collect();
        assert!(
            missing.is_empty() && other.is_empty(),
            "{}: {missing:#?} {other:#?} of {made:#?}\n{}",
            case.name,
            said_by_run
        );
        assert!(wanted.len() > was.len(), "{}: pg_partman had something to do", case.name);
        assert!(case.more || made == wanted, "{}: {made:#?} are not {wanted:#?}", case.name);
    } // And then there is nothing left to do, for neither.
    let shape = ours.shape().await;
    ours.program.line("rotate --db-url env:DB_URL --no-forecast").await.succeeds().prints("created=0");
    ours.sql("select partman.run_maintenance(p_analyze := false)").await;
    assert_eq!(ours.shape().await, shape);
    true
}
