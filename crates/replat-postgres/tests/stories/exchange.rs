//! Whole tables change places with their views, under writes of both versions, there and back.
//!
//! The danger is silence: a statement of the old version that finds no table, and so no rows, and looks like a success.

mod trees;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use replat_engine::EngineError;
use replat_model::deploy::{Event, Phase};
use replat_model::exchange::{Danger, ExchangePlan};
use replat_model::ids::Side;
use replat_model::plan::{Path, ViewPlan};
use replat_postgres::exchange::{Drafted, Place, draft, exchange};
use tokio_postgres::{Client, Error};

use crate::harness::{SHOP, SHOP_ROWS, Scene, Story, run, value};

/// The new version: another name, a column with another name, one less, one more, and a default where there was none.
const NEW: &str = "
    create table customers (
      tenant_id bigint not null, id bigint not null, email text, slot int default 7, remark text,
      tier text not null default 'plain',
      primary key (tenant_id, id), unique (tenant_id, email)
    );
    create table moves (
      tenant_id bigint not null, id bigint not null, account_id bigint not null, amount numeric(12,2) not null,
      primary key (tenant_id, id),
      foreign key (tenant_id, account_id) references customers (tenant_id, id)
    );
    create table currencies (code text primary key, name text not null);
    grant select, insert, update, delete on customers, moves to new_app;
    grant usage on schema \"shop v2\" to new_app;
";

const RENAMES: &str = "
    [contexts.shop.rollout.tables.customers]
    from = 'accounts'
    [contexts.shop.rollout.map.customers.remark]
    up = 'note'
";

/// A role of each version, and what a table has around it.
const AROUND: &str = "
    do $$ begin create role new_app login; exception when duplicate_object or unique_violation then null; end $$;
    do $$ begin create role old_app login; exception when duplicate_object or unique_violation then null; end $$;
    grant select, insert, update, delete on accounts, moves to new_app;
    grant select, insert, update, delete on accounts to old_app;
    grant select (id, amount) on moves to old_app;
    comment on table accounts is 'who pays';
    comment on column accounts.note is 'what is said';
    create statistics accounts_both (dependencies) on tenant_id, slot from accounts;
    create table audit (of text);
    alter default privileges in schema public grant select on tables to old_app;
";

fn scene() -> Scene {
    Scene {
        blue: format!("{SHOP}; {AROUND}"),
        rows: SHOP_ROWS.into(),
        ddl: NEW.into(),
        schema: "shop v2",
        spec: RENAMES,
        one_database: true,
        path: "views",
        ..Scene::default()
    }
}

/// The tenant lives on green by views, and its deployment has ended.
async fn on_views(scene: Scene) -> Story {
    let story = scene.begin().await;
    story.until_phase(Phase::Ready).await;
    story.say(&Event::SwitchAsked { to: Side::Green, why: "the story goes so".into() });
    story.run_until("the switch", |d, _| d.home == Side::Green && d.settled).await;
    story.say(&Event::FinishAsked { why: "enough".into() });
    story.run_until("the end", |d, _| d.ended()).await;
    story
}

fn views(story: &Story) -> &[ViewPlan] {
    match &story.plan.path {
        Path::Views { views } => views,
        Path::Copy { because } => panic!("copied: {because:?}"),
    }
}

fn place(story: &Story) -> Place {
    let (blue, green) = (&story.plan.blue.home, &story.plan.green.home);
    Place { database: green.database.clone(), blue: blue.schema.clone(), green: green.schema.clone() }
}

async fn drafted(story: &Story, to: Side) -> Drafted {
    let mut client = story.session(Side::Green).await;
    draft(&mut client, &place(story), views(story), to).await.expect("a look")
}

async fn planned(story: &Story, to: Side) -> ExchangePlan {
    match drafted(story, to).await {
        Drafted::Plan { plan, .. } => plan,
        other => panic!("no plan: {other:?}"),
    }
}

async fn carry_out(story: &Story, plan: &ExchangePlan, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let mut client = story.session(Side::Green).await;
    exchange(&mut client, &place(story), views(story), plan, lock_timeout_ms).await
}

/// The tables go to `to`.
async fn exchanged(story: &Story, to: Side) {
    let plan = planned(story, to).await;
    carry_out(story, &plan, 500).await.expect("the exchange");
    assert!(matches!(drafted(story, to).await, Drafted::Done), "there is nothing more to do");
}

/// What the names of both schemas are: tables, or views.
const KINDS: &str = "
    select string_agg(nspname || '.' || relname || ' ' || relkind::text, ', ' order by nspname, relname)
    from pg_class c join pg_namespace n on n.oid = relnamespace
    where nspname in ('public', 'shop v2') and relkind in ('r', 'v', 'p') and relname <> 'audit'";

const TABLES_ON_BLUE: &str = "public.accounts r, public.currencies r, public.moves r, \
     shop v2.currencies v, shop v2.customers v, shop v2.moves v";

/// One version's client: what it does in a round, and how many rows each statement has to change.
struct Version {
    insert: &'static str,
    update: &'static str,
    select: &'static str,
    delete: &'static str,
}

const OLD: Version = Version {
    insert: "insert into accounts (tenant_id, id, note) values (2, $1, 'old')",
    update: "update accounts set note = note || '.' where tenant_id = 2 and id = $1",
    select: "select note from accounts where tenant_id = 2 and id = $1",
    delete: "delete from accounts where tenant_id = 2 and id = $1",
};

const NEWER: Version = Version {
    insert: "insert into customers (tenant_id, id, remark) values (2, $1, 'new')",
    update: "update customers set remark = remark || '!' where tenant_id = 2 and id = $1",
    select: "select remark from customers where tenant_id = 2 and id = $1",
    delete: "delete from customers where tenant_id = 2 and id = $1",
};

/// Writes until it is told to stop. Each row is changed and read, and every second one is deleted. How many stay.
async fn write(
    client: Client,
    of: Version,
    from: i64,
    stop: Arc<AtomicBool>,
    strict: bool,
) -> Result<i64, Error> {
    if strict {
        client.batch_execute("set default_transaction_isolation = 'repeatable read'").await?;
    }
    client.batch_execute("set plan_cache_mode = force_generic_plan").await?;
    let [insert, update, select, delete] = [
        client.prepare(of.insert).await?,
        client.prepare(of.update).await?,
        client.prepare(of.select).await?,
        client.prepare(of.delete).await?,
    ];
    let mut kept = 0;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) && n % 2 == 0 {
            break;
        }
        let id = from + n;
        assert_eq!(client.execute(&insert, &[&id]).await?, 1, "an insert of {id} that does nothing");
        assert_eq!(client.execute(&update, &[&id]).await?, 1, "an update of {id} that does nothing");
        assert_eq!(client.query(&select, &[&id]).await?.len(), 1, "a row that is not seen: {id}");
        kept += 1;
        if n % 2 == 1 {
            assert_eq!(client.execute(&delete, &[&id]).await?, 1, "a delete of {id} that does nothing");
            kept -= 1;
        }
    }
    Ok(kept)
}

#[tokio::test]
async fn every_write_of_either_version_is_kept_while_tables_go_there_and_back() {
    let story = on_views(scene()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing = Vec::new();
    for (n, of, side, strict) in [
        (1, OLD, Side::Blue, false),
        (2, OLD, Side::Blue, true),
        (3, NEWER, Side::Green, false),
        (4, NEWER, Side::Green, true),
    ] {
        let client = story.session(side).await;
        writing.push(tokio::spawn(write(client, of, n * 1_000_000, Arc::clone(&stop), strict)));
    }
    for to in [Side::Green, Side::Blue, Side::Green, Side::Blue, Side::Green] {
        exchanged(&story, to).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut kept = 0;
    for writer in writing {
        kept += writer.await.expect("no statement does nothing").expect("no statement is refused");
    }
    assert!(kept > 0);
    for (session, names) in [(&story.blue, ("accounts", "note")), (&story.green, ("customers", "remark"))] {
        let (table, text) = names;
        let sql = format!(
            "select count(*) from {table} where id >= 1000000 and {text} in ('old.', 'new!') and tenant_id = 2"
        );
        assert_eq!(value(session, &sql).await, kept.to_string(), "{table}");
    }
    assert_eq!(
        value(&story.blue, KINDS).await,
        "public.accounts v, public.currencies v, public.moves v, \
         shop v2.currencies r, shop v2.customers r, shop v2.moves r"
    );
}

#[tokio::test]
async fn a_session_that_began_before_acts_on_the_same_rows_after() {
    let story = on_views(scene()).await;
    let statements = [
        ("update accounts set note = 'late' where tenant_id = 1 and id = $1", 11_i64),
        ("delete from moves where tenant_id = 1 and id = $1", 12),
        ("insert into accounts (tenant_id, id) values (1, $1)", 9_001),
        ("select note, body from accounts where tenant_id = 1 and id = $1 for update", 14),
        ("select * from accounts where tenant_id = 1 and id = $1", 15),
        (
            "with gone as (delete from accounts where tenant_id = 7 and id = $1 returning id) \
          insert into moves select 1, 9002, 16, 1 from (select count(*) from gone) n",
            16,
        ),
    ];
    act_late(&story, &statements).await;
}

/// Prepares each statement and begins a transaction for it, under each level of isolation; lets the tables go to green; and
/// then runs it. Each has to find its one row.
async fn act_late(story: &Story, statements: &[(&str, i64)]) {
    let mut sessions = Vec::new();
    for level in ["read committed", "repeatable read", "serializable"] {
        for (n, (sql, id)) in (0_i64..).zip(statements.iter().copied()) {
            let client = story.session(Side::Blue).await;
            run(&client, "set plan_cache_mode = force_generic_plan").await;
            let statement = client.prepare(sql).await.expect("a statement");
            // Its snapshot is older than the exchange; it holds no lock of a table that is exchanged.
            run(&client, &format!("begin isolation level {level}; select count(*) from pg_am")).await;
            // What the levels do must not meet.
            let id = id + if id > 9_000 { 100 * n + 1_000 * i64::from(level.len() as u8) } else { 0 };
            sessions.push((client, statement, id, format!("{level}: {sql}")));
        }
    }
    exchanged(story, Side::Green).await;
    for (client, statement, id, case) in sessions {
        let rows = match client.execute(&statement, &[&id]).await {
            Ok(rows) => rows,
            Err(error) => panic!("{case}: {error:?}"),
        };
        assert_eq!(rows, 1, "{case}");
        run(&client, "rollback").await;
    }
}

#[tokio::test]
async fn a_statement_that_waits_for_the_exchange_acts_on_the_rows_and_not_on_what_was_there() {
    let story = on_views(scene()).await;
    let holder = story.session(Side::Blue).await;
    run(&holder, "begin; select count(*) from currencies").await;
    let plan = planned(&story, Side::Green).await;
    let old = story.session(Side::Blue).await;
    run(&old, "set plan_cache_mode = force_generic_plan").await;
    let update =
        old.prepare("update currencies set name = 'Fr.' where code = $1").await.expect("a statement");
    old.execute(&update, &[&"none"]).await.expect("it is planned");
    let waiting = |n: &'static str| {
        let story = &story;
        async move {
            let sql = "select count(*) from pg_locks l join pg_class c on c.oid = l.relation \
                       where c.relname = 'currencies' and not l.granted";
            while value(&story.blue, sql).await != n {
                tokio::task::yield_now().await;
            }
        }
    };
    let told = async {
        waiting("1").await;
        let late = old.execute(&update, &[&"CHF"]);
        let end = async {
            waiting("2").await;
            run(&holder, "commit").await;
        };
        tokio::join!(late, end).0
    };
    let (done, late) = tokio::join!(carry_out(&story, &plan, 30_000), told);
    done.expect("the exchange");
    assert_eq!(late.expect("the statement is not refused"), 1);
    assert_eq!(value(&story.green, "select name from currencies where code = 'CHF'").await, "Fr.");
}

#[tokio::test]
async fn a_reader_who_does_not_end_delays_the_exchange_and_nobody_for_long() {
    let story = on_views(scene()).await;
    let plan = planned(&story, Side::Green).await;
    let holder = story.session(Side::Blue).await;
    run(&holder, "begin; select count(*) from accounts").await;
    let going = tokio::time::timeout(Duration::from_secs(60), carry_out(&story, &plan, 50));
    let writing = async {
        for n in 0..20_i64 {
            let sql = "insert into accounts (tenant_id, id) values (1, $1)";
            story.blue.execute(sql, &[&(20_000 + n)]).await.expect("a writer is not refused");
        }
        run(&holder, "commit").await;
    };
    let (went, ()) = tokio::join!(going, writing);
    went.expect("it goes on when the reader ends").expect("the exchange");
    assert_eq!(value(&story.green, "select count(*) from customers where id >= 20000").await, "20");
}

#[tokio::test]
async fn what_a_table_has_around_it_stays_with_it_and_holds_for_both_versions() {
    let story = on_views(scene()).await;
    assert_eq!(value(&story.blue, KINDS).await, TABLES_ON_BLUE);
    exchanged(&story, Side::Green).await;
    // Defaults are each version's own, also where one has none.
    run(&story.blue, "insert into accounts (tenant_id, id) values (2, 5001)").await;
    run(&story.green, "insert into customers (tenant_id, id) values (2, 5002)").await;
    let seen = "select string_agg(concat_ws(' ', id, coalesce(slot::text, 'none'), tier), ', ' order by id) \
                from customers where id > 5000";
    assert_eq!(value(&story.green, seen).await, "5001 none plain, 5002 7 plain");
    assert_eq!(
        value(&story.blue, "select obj_description('\"shop v2\".customers'::regclass)").await,
        "who pays"
    );
    let column = "select col_description('\"shop v2\".customers'::regclass, 5)";
    assert_eq!(value(&story.blue, column).await, "what is said");
    let statistics =
        "select stxnamespace::regnamespace::text from pg_statistic_ext where stxname = 'accounts_both'";
    assert_eq!(value(&story.blue, statistics).await, "\"shop v2\"");
    // Keys and foreign keys refuse both versions.
    for (session, sql, want) in [
        (&story.blue, "insert into moves values (2, 9000, 77777, 1)", "23503"),
        (&story.green, "insert into moves values (2, 9000, 77777, 1)", "23503"),
        (&story.blue, "insert into accounts (tenant_id, id, email) values (2, 9000, 'u1@t2')", "23505"),
        (&story.blue, "delete from accounts where tenant_id = 2 and id = 2", "23503"),
        (&story.blue, "truncate moves", "42809"),
    ] {
        let refused = session.batch_execute(sql).await.expect_err(sql);
        assert_eq!(refused.code().map(|code| code.code()), Some(want), "{sql}");
    }
    // The rights of the old version's role are those that it had, to columns too.
    let app = story.session(Side::Blue).await;
    run(&app, "set role old_app; update accounts set note = 'x' where id = 1; select id, amount from moves")
        .await;
    for sql in ["select account_id from moves", "delete from moves", "select * from currencies"] {
        let refused = app.batch_execute(sql).await.expect_err(sql);
        assert_eq!(refused.code().map(|code| code.code()), Some("42501"), "{sql}");
    }
    let app = story.session(Side::Green).await;
    run(
        &app,
        "set role new_app; update customers set remark = 'y' where id = 1; delete from moves where id = 1",
    )
    .await;

    exchanged(&story, Side::Blue).await;
    assert_eq!(value(&story.blue, KINDS).await, TABLES_ON_BLUE);
    run(&story.blue, "insert into accounts (tenant_id, id) values (2, 5003)").await;
    run(&story.green, "insert into customers (tenant_id, id) values (2, 5004)").await;
    let seen = "select string_agg(concat_ws(' ', id, coalesce(slot::text, 'none')), ', ' order by id) \
                from customers where id > 5002";
    assert_eq!(value(&story.green, seen).await, "5003 none, 5004 7");
    let recorded = "select count(*) filter (where definition = pg_get_viewdef((quote_ident(schema_name) || '.' || name)::regclass)) \
                    || ' of ' || count(*) from replat.view";
    run(&story.blue, "set search_path = pg_catalog").await;
    assert_eq!(
        value(&story.blue, recorded).await,
        "3 of 3",
        "green's views are known again as what was made"
    );
}

#[tokio::test]
async fn what_would_not_be_right_is_refused_with_its_reason() {
    let trigger = "create function public.f() returns trigger language plpgsql as 'begin return new; end'; \
                   create trigger t before update on public.accounts for each row execute function public.f();";
    let rows: [(&str, &str, &str); 8] = [
        ("a trigger may say the old name", trigger, "trigger t"),
        ("something needs the view", "create view rich as select * from customers", "needs the view"),
        (
            "the view was replaced",
            "create or replace view currencies as select code, name from public.currencies \
          where code <> 'JPY'",
            "not the view that was made",
        ),
        ("a name is taken", "create table accounts_pkey (n int)", "accounts_pkey is taken"),
        ("a table is gone", "drop view moves; drop table public.moves", "public.moves is no table"),
        ("policies", "alter table public.moves enable row level security", "row level security"),
        (
            "an owner who may not enter",
            "create role kept_out; alter table public.moves owner to kept_out",
            "may not use the schema",
        ),
        ("a twin", "alter table public.accounts add remark int", "two columns remark"),
    ];
    for (case, sql, want) in rows {
        let story = on_views(scene()).await;
        run(&story.green, sql).await;
        match drafted(&story, Side::Green).await {
            Drafted::Refused(refusals) => {
                let said: Vec<&str> = refusals.iter().map(|refusal| refusal.what.as_str()).collect();
                assert!(said.iter().any(|what| what.contains(want)), "{case}: {said:?}");
                assert!(refusals.iter().all(|refusal| !refusal.remedy.is_empty()), "{case}");
            }
            other => panic!("{case}: {other:?}"),
        }
        run(&story.green, "reset role").await;
    }
}

#[tokio::test]
async fn what_somebody_has_to_agree_to_is_told() {
    let story = on_views(scene()).await;
    run(&story.blue, "create publication p for table public.moves").await;
    let plan = planned(&story, Side::Green).await;
    let told: Vec<(Danger, bool)> = plan
        .hazards
        .iter()
        .map(|h| (h.name, h.what.contains("body") || h.what.contains("publication p")))
        .collect();
    assert_eq!(told, [(Danger::ColumnOrder, true), (Danger::Published, true)]);
}

#[tokio::test]
async fn a_plan_that_is_not_what_there_is_any_more_changes_nothing() {
    let story = on_views(scene()).await;
    let plan = planned(&story, Side::Green).await;
    run(&story.blue, "alter table accounts add late int").await;
    let refused = carry_out(&story, &plan, 500).await.expect_err("it has changed");
    assert_eq!(refused.code(), "RP1003");
    assert_eq!(value(&story.blue, KINDS).await, TABLES_ON_BLUE);
}

#[tokio::test]
async fn two_who_exchange_at_once_do_it_once() {
    let story = on_views(scene()).await;
    for to in [Side::Green, Side::Blue] {
        let plan = planned(&story, to).await;
        let (one, other) = tokio::join!(carry_out(&story, &plan, 500), carry_out(&story, &plan, 500));
        one.expect("the one");
        other.expect("the other");
        assert!(matches!(drafted(&story, to).await, Drafted::Done));
    }
    assert_eq!(value(&story.blue, KINDS).await, TABLES_ON_BLUE);
}

#[tokio::test]
async fn columns_that_came_to_the_table_since_keep_it_where_it_is() {
    let story = on_views(scene()).await;
    exchanged(&story, Side::Green).await;
    run(&story.green, "alter table customers add later int").await;
    match drafted(&story, Side::Blue).await {
        Drafted::Refused(refusals) => assert!(refusals[0].what.contains("other columns"), "{refusals:?}"),
        other => panic!("{other:?}"),
    }
}
