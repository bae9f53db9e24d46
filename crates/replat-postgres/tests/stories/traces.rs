//! An abort leaves nothing behind: both catalogues are as they were.

use std::collections::BTreeSet;

use replat_control::Pulse;
use replat_model::deploy::{Event, Phase};
use replat_model::ids::Side;
use tokio_postgres::Client;

use crate::harness::{SHOP, Scene, Story, one_table, run, value};

/// Everything that a deployment could leave in a catalogue, by name.
const CATALOGUE: &str = "
    select 'schema ' || nspname || coalesce(nspacl::text, '') from pg_namespace where nspname !~ '^pg_toast_temp|^pg_temp'
    union all select format('class %s.%s %s %s %s', relnamespace::regnamespace, relname, relkind, relreplident, relacl)
      from pg_class where relnamespace::regnamespace::text !~ '^pg_t'
    union all select format('trigger %s %s %s %s', tgrelid::regclass, tgname, tgenabled, tgtype) from pg_trigger
      where not tgisinternal
    union all select 'publication ' || pubname from pg_publication
    union all select 'slot ' || slot_name from pg_replication_slots where database = current_database()
    union all select 'function ' || oid::regprocedure from pg_proc
    union all select 'type ' || oid::regtype from pg_type where typnamespace::regnamespace::text !~ '^pg_t'
    union all select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
      from pg_constraint
    union all select 'index ' || pg_get_indexdef(indexrelid) from pg_index
      where indrelid::regclass::text !~ '^pg_toast'
    union all select 'event trigger ' || evtname from pg_event_trigger
    union all select 'setting ' || setconfig::text from pg_db_role_setting
      where setdatabase = (select oid from pg_database where datname = current_database())
";

async fn catalogue(client: &Client) -> BTreeSet<String> {
    let rows = client.query(CATALOGUE, &[]).await.expect("the catalogue");
    rows.iter().filter_map(|r| r.get(0)).collect()
}

/// Both catalogues, and the rows on green that are somebody else's.
struct Before {
    blue: BTreeSet<String>,
    green: BTreeSet<String>,
}

impl Before {
    async fn of(story: &Story) -> Before {
        Before { blue: catalogue(&story.blue).await, green: catalogue(&story.green).await }
    }

    async fn assert_same(&self, story: &Story, when: &str) {
        for (side, before) in [(Side::Blue, &self.blue), (Side::Green, &self.green)] {
            let after = catalogue(story.side(side)).await;
            let new: Vec<_> = after.difference(before).collect();
            let gone: Vec<_> = before.difference(&after).collect();
            assert!(new.is_empty() && gone.is_empty(), "abort {when}, {side}: new {new:#?}, gone {gone:#?}");
        }
    }
}

/// How far a deployment comes before it is given up.
const MOMENTS: [&str; 6] = ["at once", "prepared", "slot", "copied", "verified", "rolled back"];

async fn go_to(story: &Story, moment: &str) {
    let until = async |wanted: fn(&Event) -> bool| {
        story.run_until(moment, |_, p| matches!(p, Pulse::Moved(event) if wanted(event))).await;
    };
    match moment {
        "at once" => {}
        "prepared" => until(|e| matches!(e, Event::Prepared)).await,
        "slot" => until(|e| matches!(e, Event::SlotOpened { .. })).await,
        "copied" => until(|e| matches!(e, Event::Copied { .. })).await,
        "verified" => until(|e| matches!(e, Event::Verified { .. })).await,
        _ => {
            story.until_phase(Phase::Ready).await;
            story.switch_to(Side::Green).await;
            run(&story.green, "insert into accounts values (2, 9001, null, 1, 'on green', null)").await;
            story.switch_to(Side::Blue).await;
        }
    }
}

async fn nothing_is_left(scene: fn() -> Scene) {
    for moment in MOMENTS {
        let story = scene().begin().await;
        let before = Before::of(&story).await;
        go_to(&story, moment).await;
        story.abort().await;
        before.assert_same(&story, moment).await;
        // And nothing stands in anybody's way.
        run(&story.blue, "update accounts set note = 'free' where tenant_id = 2; truncate moves").await;
    }
}

#[tokio::test]
async fn nothing_is_left_in_a_database_that_was_empty() {
    nothing_is_left(Scene::default).await;
}

/// Types, views, functions and sequences of the DDL go; what bears similar names stays.
#[tokio::test]
async fn nothing_is_left_in_a_schema_that_held_other_things() {
    fn scene() -> Scene {
        let green_before = "create schema shop; create type shop.mood as enum ('a', 'b'); \
            create table shop.other (id serial primary key, mood shop.mood); \
            create function shop.one() returns int language sql as 'select 1'; \
            create view shop.looks as select * from shop.other";
        let ddl = format!(
            "{SHOP} create type kind as enum ('x', 'y'); create domain cents as bigint check (value >= 0); \
             create type pair as (a int, b int); create sequence numbers; \
             create function two() returns int language sql as 'select 2'; \
             create view rich as select * from accounts where slot > 10; \
             create materialized view richer as select * from rich; \
             create index accounts_slot on accounts (slot); \
             create table extras (id int generated always as identity primary key, kind kind, cents cents, pair pair); \
             create procedure three() language sql as 'select 3'; \
             create function trigger_four() returns trigger language plpgsql as 'begin return new; end'; \
             create trigger four before insert on moves for each row execute function trigger_four()"
        );
        Scene { green_before: green_before.into(), ddl, ..Scene::default() }
    }
    nothing_is_left(scene).await;
}

#[tokio::test]
async fn nothing_is_left_in_the_schema_public() {
    fn scene() -> Scene {
        Scene {
            schema: "public",
            green_before: "create table public.other (id serial primary key)".into(),
            ..Scene::default()
        }
    }
    nothing_is_left(scene).await;
}

/// Tables that other partitions live in stay, with all their rows; only the tenant's own go.
#[tokio::test]
async fn only_the_tenants_rows_go_from_tables_that_others_live_in() {
    fn scene() -> Scene {
        let green_before = format!(
            "create schema shop; set search_path = shop; {SHOP} \
             insert into accounts select 9, n, null, n, 'note', 'body' from generate_series(1, 20) n; \
             insert into currencies values ('CHF', 'Franken'), ('JPY', 'Yen')"
        );
        Scene { green_before, ddl: String::new(), ..Scene::default() }
    }
    for moment in MOMENTS {
        let story = scene().begin().await;
        let before = Before::of(&story).await;
        go_to(&story, moment).await;
        story.abort().await;
        before.assert_same(&story, moment).await;
        let tenants = "select string_agg(distinct tenant_id::text, ',') from accounts";
        assert_eq!(value(&story.green, tenants).await, "9", "{moment}");
        assert_eq!(value(&story.green, "select count(*) from accounts").await, "20", "{moment}");
        run(&story.green, "update accounts set note = 'free'; truncate moves").await;
    }
}

/// Leaves have triggers of their own, which must not outlive the deployment even where replat's schema stays.
#[tokio::test]
async fn nothing_is_left_on_the_leaves_of_a_partitioned_table() {
    let notes = "
        create table notes (tenant_id bigint not null, id bigint not null, primary key (tenant_id, id))
          partition by range (tenant_id);
        create table notes_low partition of notes for values from (minvalue) to (3);
        create table notes_high partition of notes for values from (3) to (maxvalue);";
    let rows = "insert into notes select t, n from generate_series(1, 3) t, generate_series(1, 50) n";
    let story = one_table("notes", notes, rows).begin().await;
    let triggers = "select count(*) from pg_trigger where tgname like 'zz_replat%'";
    story.until_phase(Phase::Ready).await;
    assert_ne!(value(&story.blue, triggers).await, "0");
    // Another partition's row keeps the schema, and with it the guard's functions.
    run(
        &story.blue,
        "insert into replat.fence (partition, schema_name, deployment, epoch, open, term, seq) \
           values ('other', 'public', 'd_0', 1, true, 1, 1)",
    )
    .await;
    story.abort().await;
    assert_eq!(value(&story.blue, triggers).await, "0");
    run(&story.blue, "truncate notes_low").await;
}
