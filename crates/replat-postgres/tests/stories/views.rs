//! Green as views of blue's tables, in one database: there, back, and both at once, under writes.

use std::time::Duration;

use replat_control::Pulse;
use replat_engine::Engine;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;
use replat_model::next::{Action, Reason};
use replat_model::plan::Path;
use replat_postgres::survey::is_one_database;

use crate::harness::{SHOP, SHOP_ROWS, Scene, Story, run, value};

/// The new version: a table and a column with other names, a column less, a column more, and another default.
const NEW: &str = "
    create table customers (
      tenant_id bigint not null, id bigint not null, email text, slot int default 7, remark text,
      tier text not null default 'plain',
      primary key (tenant_id, id), unique (tenant_id, email)
    );
    create index customers_tier on customers (tier);
    create table moves (
      tenant_id bigint not null, id bigint not null, account_id bigint not null, amount numeric(12,2) not null,
      primary key (tenant_id, id),
      foreign key (tenant_id, account_id) references customers (tenant_id, id)
    );
    create table currencies (code text primary key, name text not null);
    create function open_moves() returns bigint language sql stable as 'select count(*) from moves';
    grant select, insert, update, delete on customers, moves to new_app;
    grant select on currencies to new_app;
    grant usage on schema \"shop v2\" to new_app;
";

const RENAMES: &str = "
    [contexts.shop.rollout.tables.customers]
    from = 'accounts'
    [contexts.shop.rollout.map.customers.remark]
    up = 'note'
";

/// The application's role has the same rights to the old tables.
const ROLE: &str = "
    do $$ begin create role new_app login; exception when duplicate_object or unique_violation then null; end $$;
    grant select, insert, update, delete on accounts, moves to new_app;
    grant select on currencies to new_app;
";

fn scene() -> Scene {
    Scene {
        blue: format!("{SHOP}; {ROLE}"),
        rows: SHOP_ROWS.into(),
        ddl: NEW.into(),
        schema: "shop v2",
        spec: RENAMES,
        one_database: true,
        path: "shortest",
        ..Scene::default()
    }
}

async fn ready(story: &Story) {
    story.until_phase(Phase::Ready).await;
}

/// Asks for a home, and runs until the switch is settled.
async fn switch(story: &Story, side: Side) {
    story.say(&Event::SwitchAsked { to: side, why: "the story goes so".into() });
    story.run_until("the switch", |d, _| d.home == side && d.settled).await;
}

/// What replat and the rollout have left in the database.
const TRACES: &str = "
    select coalesce(string_agg(what, ', ' order by what), 'nothing') from (
      select 'schema ' || nspname as what from pg_namespace where nspname in ('replat', 'shop v2')
      union all select 'column ' || attname from pg_attribute
        where attrelid = 'public.accounts'::regclass and attname = 'tier' and not attisdropped
      union all select 'trigger ' || tgname from pg_trigger where not tgisinternal
      union all select 'slot ' || slot_name from pg_replication_slots where database = current_database()
      union all select 'publication ' || pubname from pg_publication) found";

#[tokio::test]
async fn both_versions_write_the_same_rows_before_between_and_after_the_switches() {
    let story = scene().begin().await;
    assert!(matches!(story.plan.path, Path::Views { .. }), "{:?}", story.plan.path);
    ready(&story).await;
    // Somebody writes through both doors all the time; nobody is ever refused.
    let (old, new) = (story.session(Side::Blue).await, story.session(Side::Green).await);
    run(&new, "set role new_app").await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = std::sync::Arc::clone(&stop);
    let writing = tokio::spawn(async move {
        let mut n = 10_000_i64;
        while !told.load(std::sync::atomic::Ordering::Relaxed) {
            n += 1;
            old.execute("insert into accounts (tenant_id, id, note) values (2, $1, 'old')", &[&n]).await?;
            new.execute(
                "update customers set remark = 'new', tier = 'gold' where tenant_id = 2 and id = $1",
                &[&n],
            )
            .await?;
            n += 1;
            new.execute("insert into customers (tenant_id, id, remark) values (2, $1, 'new')", &[&n]).await?;
            old.execute(
                "update accounts set note = note || ' and old' where tenant_id = 2 and id = $1",
                &[&n],
            )
            .await?;
        }
        Ok::<i64, tokio_postgres::Error>(n - 10_000)
    });
    switch(&story, Side::Green).await;
    switch(&story, Side::Blue).await;
    switch(&story, Side::Green).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let written = writing.await.expect("the writer lives").expect("no write is refused");
    assert!(written > 0);

    let of = |text: &str| {
        format!("select count(*)::text from accounts where tenant_id = 2 and id > 10000 and {text}")
    };
    let (half, half_too) =
        (value(&story.blue, &of("note = 'new' and slot is null and tier = 'gold'")).await, written / 2);
    assert_eq!(half, half_too.to_string(), "each row that one door wrote, the other one changed");
    let other = value(&story.blue, &of("note = 'new and old' and slot = 7 and tier = 'plain'")).await;
    assert_eq!(other, half_too.to_string(), "the view has a default of its own");
    assert_eq!(
        value(&story.green, "select open_moves()::text").await,
        "750",
        "the DDL's function finds the view"
    );

    story.say(&Event::FinishAsked { why: "enough".into() });
    story.run_until("the end", |d, _| d.ended()).await;
    assert_eq!(value(&story.green, "select count(*)::text from customers where tenant_id = 1").await, "250");
    assert_eq!(value(&story.blue, TRACES).await, "column tier, schema replat, schema shop v2");
}

#[tokio::test]
async fn a_rule_of_blues_holds_through_the_view() {
    let story = scene().begin().await;
    ready(&story).await;
    for (sql, want) in [
        ("insert into customers (tenant_id, id, email) values (2, 9000, 'u1@t2')", "23505"),
        ("insert into moves values (2, 9000, 77777, 1)", "23503"),
        ("insert into customers (tenant_id, id, tier) values (2, 9000, null)", "23502"),
        ("insert into customers (tenant_id) values (2)", "23502"),
    ] {
        let refused = story.green.batch_execute(sql).await.expect_err(sql);
        assert_eq!(refused.code().map(|code| code.code()), Some(want), "{sql}");
    }
    // A view acts with the rights of whoever uses it, where the server can do that.
    if story.plan.green.major < 15 {
        return;
    }
    let app = story.session(Side::Green).await;
    run(&app, "set role new_app").await;
    run(&story.blue, "revoke delete on accounts from new_app").await;
    let refused =
        app.batch_execute("delete from customers where id = 250").await.expect_err("no right to blue's");
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
}

#[tokio::test]
async fn an_abort_leaves_no_trace_and_blue_as_it_was() {
    let story = scene().begin().await;
    let columns =
        "select string_agg(attname || ' ' || atttypid::regtype, ', ' order by attnum) from pg_attribute
                   where attrelid = 'public.accounts'::regclass and attnum > 0 and not attisdropped";
    let before = value(&story.blue, columns).await;
    ready(&story).await;
    assert_ne!(value(&story.blue, columns).await, before);
    switch(&story, Side::Green).await;
    switch(&story, Side::Blue).await;
    story.abort().await;
    assert_eq!(value(&story.blue, TRACES).await, "nothing");
    assert_eq!(value(&story.blue, columns).await, before);
    assert_eq!(value(&story.blue, "select count(*)::text from accounts").await, "750");
}

#[tokio::test]
async fn the_second_partition_finds_the_views_and_the_last_one_to_give_up_takes_them_away() {
    let first = scene().begin().await;
    ready(&first).await;
    let second = Scene { tenant: 3, ..scene() }.begin_in(first.database().to_owned(), Some(&first)).await;
    assert!(second.plan.ddl.is_empty(), "the DDL has run already");
    assert!(matches!(second.plan.path, Path::Views { .. }), "{:?}", second.plan.path);
    ready(&second).await;
    switch(&second, Side::Green).await;
    first.abort().await;
    assert_eq!(value(&second.green, "select count(*)::text from customers where tenant_id = 3").await, "250");
    run(&second.green, "update customers set tier = 'kept' where tenant_id = 3").await;
    switch(&second, Side::Blue).await;
    second.abort().await;
    assert_eq!(value(&second.blue, TRACES).await, "nothing");
}

#[tokio::test]
async fn nothing_switches_to_views_that_are_not_what_was_made() {
    let story = scene().begin().await;
    ready(&story).await;
    run(
        &story.green,
        "create or replace view currencies as select code, name from public.currencies where code <> 'JPY'",
    )
    .await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "the story goes so".into() });
    story
        .run_until("the attempt is given up", |_, pulse| {
            matches!(pulse, Pulse::Waiting(Reason::BackOff { .. } | Reason::AttemptsUsedUp { .. }))
        })
        .await;
    let told = story.events().into_iter().find_map(|event| match event {
        Event::FenceGivenUp { why, .. } => Some(why),
        _ => None,
    });
    assert!(told.as_deref().is_some_and(|why| why.contains("currencies")), "{told:?}");
    assert_eq!(story.state().home, Side::Blue);
}

#[tokio::test]
async fn what_needs_a_table_on_green_is_found_by_the_server() {
    let ddl = format!("{NEW}; create view rich as select * from customers where tier = 'gold';");
    let plan = Scene { ddl, ..scene() }.drafted().await.expect("both sides answer");
    let path = plan.expect("it can be copied").path;
    let Path::Copy { because: Some(because) } = path else { panic!("{path:?}") };
    assert!(because.contains("view") && because.contains("rich"), "{because}");
}

#[tokio::test]
async fn a_long_reader_of_blues_table_delays_the_new_column_and_nobody_else() {
    let story = scene().begin().await;
    let reader = story.session(Side::Blue).await;
    run(&reader, "begin; select count(*) from accounts").await;
    let running = tokio::time::timeout(Duration::from_secs(30), story.until_phase(Phase::Ready));
    let writing = async {
        for n in 0..20 {
            story
                .blue
                .execute("insert into accounts (tenant_id, id) values (1, $1)", &[&(20_000_i64 + n)])
                .await
                .expect("writers do not queue for long");
        }
        run(&reader, "commit").await;
    };
    let (ran, ()) = tokio::join!(running, writing);
    ran.expect("it goes on when the reader ends");
}

#[tokio::test]
async fn two_databases_of_one_server_are_told_from_one_database() {
    let story = scene().begin().await;
    let (one, same) = (story.session(Side::Blue).await, story.session(Side::Green).await);
    assert!(is_one_database(&one, &same, "blue").await.expect("an answer"));
    let elsewhere = Scene::default().begin().await;
    let other = elsewhere.session(Side::Blue).await;
    assert!(!is_one_database(&one, &other, "blue").await.expect("an answer"));
    let copy = elsewhere.session(Side::Green).await;
    assert!(!is_one_database(&other, &copy, "blue").await.expect("an answer"));
}

/// Everything that fills in a value by itself, in a partitioned table with a name of capitals.
const ODD: &str = "
    create table \"Odd Rows\" (
      tenant_id bigint not null, id bigint generated by default as identity, \"Long Name\" text,
      length int generated always as (length(\"Long Name\")) stored, kind text not null default 'a',
      check (kind in ('a', 'b')), primary key (tenant_id, id)
    ) partition by list (tenant_id);
    create unique index on \"Odd Rows\" (tenant_id, lower(\"Long Name\")) where kind = 'b';
";

#[tokio::test]
async fn a_partitioned_table_that_fills_in_values_is_the_same_through_its_view() {
    let parts = "create table odd_2 partition of \"Odd Rows\" for values in (2);
                 create table odd_rest partition of \"Odd Rows\" default;";
    let story = Scene {
        blue: format!("{ODD} {parts}"),
        rows: "insert into \"Odd Rows\" (tenant_id, \"Long Name\") select 2, 'n' || n from generate_series(1, 9) n"
            .into(),
        ddl: format!("{} {parts}", ODD.replace("\"Long Name\"", "\"Name\"")),
        slices: vec!["Odd Rows"],
        references: Vec::new(),
        spec: "[contexts.shop.rollout.map.\"Odd Rows\".Name]\nup = '\"Long Name\"'\n",
        ..scene()
    }
    .begin()
    .await;
    assert!(matches!(story.plan.path, Path::Views { .. }), "{:?}", story.plan.path);
    ready(&story).await;
    switch(&story, Side::Green).await;
    run(
        &story.green,
        "insert into \"Odd Rows\" (tenant_id, \"Name\", kind) values (2, 'Four', 'b'), (3, 'x', 'a')",
    )
    .await;
    let seen = "select string_agg(concat_ws(' ', tableoid::regclass, id, length, kind), ', ' order by id)
                from public.\"Odd Rows\" where id > 9";
    assert_eq!(value(&story.blue, seen).await, "odd_2 10 4 b, odd_rest 11 1 a");
    for (sql, want) in [
        ("insert into \"Odd Rows\" (tenant_id, \"Name\", kind) values (2, 'FOUR', 'b')", "23505"),
        ("insert into \"Odd Rows\" (tenant_id, kind) values (2, 'c')", "23514"),
        ("update \"Odd Rows\" set length = 1", "428C9"),
    ] {
        let refused = story.green.batch_execute(sql).await.expect_err(sql);
        assert_eq!(refused.code().map(|code| code.code()), Some(want), "{sql}");
    }
    switch(&story, Side::Blue).await;
    story.abort().await;
    assert_eq!(value(&story.blue, "select count(*) from \"Odd Rows\"").await, "11");
}

#[tokio::test]
async fn two_runners_that_prepare_and_clean_at_once_make_and_leave_one_thing() {
    let story = scene().begin().await;
    let d = story.state();
    let (one, other) = (story.another_engine().await, story.another_engine().await);
    let token = story.token();
    for action in [Action::Prepare, Action::Clean] {
        let (first, second) = tokio::join!(one.act(&d, &action, token), other.act(&d, &action, token));
        first.expect("the one");
        second.expect("the other");
    }
    assert_eq!(value(&story.blue, TRACES).await, "nothing");
}
