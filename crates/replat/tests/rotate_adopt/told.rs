//! Sets with what pg_partman was told about them, where it need not be there: its tables as versions 4.7 and 5 make
//! them, its partitions as it makes them.

use serde_json::{Value, json};

use crate::world::World;

/// The configuration of version 4.7, without what depends on its functions.
const VERSION_4: &str = "
    create schema partman;
    create table partman.part_config (
        parent_table text not null primary key, control text not null, partition_type text not null,
        partition_interval text not null, constraint_cols text[], premake int not null default 4,
        optimize_trigger int not null default 4, optimize_constraint int not null default 30,
        epoch text not null default 'none', inherit_fk boolean not null default true, retention text,
        retention_schema text, retention_keep_table boolean not null default true,
        retention_keep_index boolean not null default true, infinite_time_partitions boolean not null default false,
        datetime_string text, automatic_maintenance text not null default 'on', jobmon boolean not null default true,
        sub_partition_set_full boolean not null default false, undo_in_progress boolean not null default false,
        trigger_exception_handling boolean default false, upsert text not null default '',
        trigger_return_null boolean not null default true, template_table text, publications text[],
        inherit_privileges boolean default false, constraint_valid boolean default true not null,
        subscription_refresh text, drop_cascade_fk boolean not null default false,
        ignore_default_data boolean not null default false);
    create table partman.part_config_sub (
        sub_parent text primary key, sub_partition_type text not null, sub_control text not null,
        sub_partition_interval text not null, sub_constraint_cols text[], sub_premake int not null default 4,
        sub_optimize_trigger int not null default 4, sub_optimize_constraint int not null default 30,
        sub_epoch text not null default 'none', sub_inherit_fk boolean not null default true, sub_retention text,
        sub_retention_schema text, sub_retention_keep_table boolean not null default true,
        sub_retention_keep_index boolean not null default true,
        sub_infinite_time_partitions boolean not null default false,
        sub_automatic_maintenance text not null default 'on', sub_jobmon boolean not null default true,
        sub_template_table text, sub_inherit_privileges boolean default false);";

/// The same of version 5.
const VERSION_5: &str = "
    create schema partman;
    create table partman.part_config (
        parent_table text not null primary key, control text not null, time_encoder text, time_decoder text,
        partition_interval text not null, partition_type text not null, premake int not null default 4,
        automatic_maintenance text not null default 'on', template_table text, retention text,
        retention_schema text, retention_keep_index boolean not null default true,
        retention_keep_table boolean not null default true, epoch text not null default 'none',
        constraint_cols text[], optimize_constraint int not null default 30,
        infinite_time_partitions boolean not null default false, datetime_string text,
        jobmon boolean not null default true, sub_partition_set_full boolean not null default false,
        undo_in_progress boolean not null default false, inherit_privileges boolean default false,
        constraint_valid boolean default true not null, ignore_default_data boolean not null default true,
        date_trunc_interval text, maintenance_order int, retention_keep_publication boolean not null default false,
        maintenance_last_run timestamptz, detach_before_drop boolean default false,
        maintenance_role text default current_user, async_partitioning_in_progress text,
        child_table_prefix text not null default '_p');
    create table partman.part_config_sub (
        sub_parent text primary key, sub_control text not null, sub_time_encoder text, sub_time_decoder text,
        sub_partition_interval text not null, sub_partition_type text not null, sub_premake int not null default 4,
        sub_automatic_maintenance text not null default 'on', sub_template_table text, sub_retention text,
        sub_retention_schema text, sub_retention_keep_index boolean not null default true,
        sub_retention_keep_table boolean not null default true, sub_epoch text not null default 'none',
        sub_constraint_cols text[], sub_optimize_constraint int not null default 30,
        sub_infinite_time_partitions boolean not null default false, sub_maintenance_order int);";

/// Partitions of days from three ago to two ahead, of names that end in `suffix`, and a default.
fn days(table: &str, kind: &str, suffix: &str) -> String {
    format!(
        "create table {table} (at {kind} not null, n int) partition by range (at);
         create table {table}_default partition of {table} default;
         do $$ begin
           set local timezone = 'UTC';
           for d in -3..2 loop
             execute format('create table %I partition of {table} for values from (%L) to (%L)',
               '{table}_p' || to_char(current_date + d, '{suffix}'),
               (current_date + d)::{kind}, (current_date + d + 1)::{kind});
           end loop;
         end $$;"
    )
}

fn set<'a>(said: &'a Value, table: &str) -> &'a Value {
    let sets = said["sets"].as_array().expect("sets");
    sets.iter().find(|set| set["table"] == table).unwrap_or_else(|| panic!("{table} is not in {said:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_say_the_same_and_new_partitions_go_on_in_step() {
    for (version, tables, suffix, word) in
        [("4", VERSION_4, "YYYY_MM_DD", "native"), ("5", VERSION_5, "YYYYMMDD", "range")]
    {
        let world = World::with(&format!(
            "{tables} {} insert into partman.part_config (parent_table, control, partition_type, partition_interval, \
             premake, retention, retention_keep_table) \
             values ('public.t', 'at', '{word}', '1 day', 5, '40 days', false)",
            days("t", "timestamptz", suffix)
        ))
        .await;
        let before = world.shape().await;
        let said = world.replat("adopt --out replat.toml --json").await.succeeds().json();
        let t = set(&said, "public.t");
        assert_eq!(t["managed_by"], format!("pg_partman {version}"), "{t:#}");
        assert_eq!(t["partitions"], 7, "{t:#}");
        let level = json!([{ "column": "at", "by": "range", "interval": "1 day" }]);
        let lifecycle = &t["lifecycle"];
        assert_eq!((&lifecycle["levels"], &lifecycle["ahead_count"]), (&level, &json!(5)), "{t:#}");
        assert_eq!(lifecycle["retire"]["keep"], "40d", "{t:#}");
        assert_eq!(lifecycle["retire"]["how"], "drop", "{t:#}");
        assert_eq!(world.shape().await, before, "adopting changes nothing of the tables");
        world.program.line("validate").await.succeeds();

        // Both would work on it: said, and nothing done, until the other is off.
        let held = world.replat("rotate").await.succeeds().prints("RP3016").prints("automatic_maintenance");
        assert_eq!(world.shape().await, before, "{}", held.told());
        world.sql(t["switch_off"].as_str().expect("a statement")).await;
        world.program.line("rotate --no-forecast --db-url env:DB_URL").await.succeeds();
        let made = world
            .text(&format!(
                "select string_agg(c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid), E'\\n' order by c.relname) \
                   from pg_inherits i join pg_class c on c.oid = i.inhrelid \
                  where i.inhparent = 't'::regclass and c.relname > 't_p' || to_char(current_date + 2, '{suffix}')"
            ))
            .await;
        let wanted = world
            .text(&format!(
                "select string_agg(format('t_p%s FOR VALUES FROM (%L) TO (%L)', to_char(d, '{suffix}'), \
                   d::timestamptz, (d + 1)::timestamptz), E'\\n' order by d) \
                   from (select current_date + n as d from generate_series(3, 5) n) days"
            ))
            .await;
        assert_eq!(made, wanted, "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_left_alone_until_it_is_taken_over_and_warned_of_while_both_are_on() {
    let world = World::with(&format!(
        "{VERSION_5} {} insert into partman.part_config (parent_table, control, partition_type, partition_interval) \
         values ('public.t', 'at', 'range', '1 day')",
        days("t", "date", "YYYYMMDD")
    ))
    .await;
    let before = world.shape().await;
    world.replat("rotate").await.succeeds().prints("replat adopt").prints("pg_partman 5");
    assert_eq!(world.shape().await, before);
    // Who takes it over in the same run is warned, and gets it.
    world
        .replat("rotate --adopt")
        .await
        .succeeds()
        .prints("RP3016")
        .prints("part_config SET automatic_maintenance");
    assert_ne!(world.shape().await, before);
    assert_eq!(
        world.text("select automatic_maintenance from partman.part_config").await,
        "on",
        "printed only"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_version_writes_are_said_and_the_other_sets_go_on() {
    let world = World::with(&format!(
        "{VERSION_5} {} {} {} alter table partman.part_config alter premake type text;
         insert into partman.part_config (parent_table, control, partition_type, partition_interval, premake) \
         values ('public.odd', 'at', 'range', '1 day', 'many');
         alter table partman.part_config alter premake drop default;
         insert into partman.part_config (parent_table, control, partition_type, partition_interval, premake) \
         values ('public.gone', 'at', 'range', '1 day', 'many')",
        days("odd", "date", "YYYYMMDD"),
        days("free", "date", "YYYYMMDD"),
        VERSION_5.replace("partman", "other"),
    ))
    .await;
    world
        .sql(
            "insert into other.part_config (parent_table, control, partition_type, partition_interval, retention) \
             values ('public.free', 'at', 'range', 'every other moon', 'long')",
        )
        .await;
    let said = world.replat("adopt --out replat.toml --json").await.succeeds().json();
    let odd = set(&said, "public.odd");
    assert!(odd["notes"][0].as_str().is_some_and(|n| n.contains("is not understood")), "{odd:#}");
    assert_eq!(odd["lifecycle"], json!({ "tables": ["public.odd"] }), "nothing is made up");
    assert!(odd["switch_off"].is_string());
    // Where only an interval is not understood, it is learned.
    let free = set(&said, "public.free");
    assert_eq!(free["lifecycle"]["levels"], json!([{ "column": "at", "by": "range" }]), "{free:#}");
    assert_eq!(free["lifecycle"]["retire"], Value::Null, "{free:#}");
    world.program.line("validate").await.succeeds();
    let spec = world.read("replat.toml");
    assert!(spec.contains("# free: the interval \"every other moon\""), "{spec}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_may_not_be_read_still_keeps_others_off() {
    let world = World::with(&format!(
        "{VERSION_5} {} create table partman.template_public_t (at date, n int);
         insert into partman.part_config (parent_table, control, partition_type, partition_interval) \
         values ('public.t', 'at', 'range', '1 day');
         create role reader_{db} login; alter table t owner to reader_{db};
         grant usage, create on schema public to reader_{db}",
        days("t", "date", "YYYYMMDD"),
        db = "partman"
    ))
    .await;
    let client = world.client().await;
    for row in client
        .query("select relname::text from pg_class where relname like 't\\_%' and relkind = 'r'", &[])
        .await
        .expect("names")
    {
        let name: String = row.get(0);
        if name.starts_with("t_") {
            world.sql(&format!("alter table \"{name}\" owner to reader_partman")).await;
        }
    }
    let url = world.server.url(&world.database).replace("postgres@", "reader_partman@");
    let program = world.program.clone().with("DB_URL", url);
    let before = world.shape().await;
    program.line("rotate --db-url env:DB_URL").await.succeeds().prints("is managed by pg_partman 5");
    assert_eq!(world.shape().await, before);
    let said = program.line("adopt --json --db-url env:DB_URL").await.succeeds().json();
    let t = set(&said, "public.t");
    assert!(
        t["notes"][0].as_str().is_some_and(|n| n.contains("GRANT SELECT ON \"partman\".part_config")),
        "{t:#}"
    );
    assert_eq!(t["lifecycle"], json!({ "tables": ["public.t"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_just_anybody_made_is_not_believed() {
    let world = World::with(&format!(
        "{} create role anybody_told; create schema partman authorization anybody_told; set role anybody_told; {}
         insert into partman.part_config (parent_table, control, partition_type, partition_interval, retention, \
         retention_keep_table) values ('public.t', 'at', 'range', '1 day', '1 day', false)",
        days("t", "date", "YYYYMMDD"),
        VERSION_5.replace("create schema partman;", ""),
    ))
    .await;
    let said = world.replat("adopt --json").await.succeeds().json();
    let t = set(&said, "public.t");
    assert_eq!(
        (&t["managed_by"], &t["lifecycle"]),
        (&Value::Null, &json!({ "tables": ["public.t"] })),
        "{t:#}"
    );
}
