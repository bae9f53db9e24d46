//! A rollout by views of blue's tables, from its plan to its end, with the shipped program.

use crate::world::{World, number};

const SPEC: &str = r#"
version = 1
project = "views"
[databases.main]
url = "env:BLUE_URL"
[contexts.notes]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "main", schema = "public" }
[contexts.notes.tables.notes]
[contexts.notes.rollout]
version = "v2"
to = { database = "main", schema = "v2" }
ddl = ["v2.sql"]
[contexts.notes.rollout.map.notes.text]
up = "body"
[contexts.notes.contracts."reports/ids"]
query = "ids.sql"
parameters = ["$tenant_id"]
[policy]
soak = "1h"
"#;

const TABLES: &str = "
    create table notes (tenant_id bigint not null, id bigint not null, body text, primary key (tenant_id, id));
    insert into notes select t, n, 'note ' || n from generate_series(1, 3) t, generate_series(1, 100) n";

const NEW: &str = "
    create table notes (
      tenant_id bigint not null, id bigint not null, text text, tag text default 'none', primary key (tenant_id, id));
    create index notes_tag on notes (tag);";

async fn notes(spec: &str, ddl: &str) -> World {
    let world = World::empty(spec).await;
    world.write("v2.sql", ddl);
    world.write("ids.sql", "select id from notes where tenant_id = $1 order by id");
    world.on_blue().await.batch_execute(TABLES).await.expect("tables");
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_and_there_again_with_no_row_moved() {
    let world = notes(SPEC, NEW).await;
    let plan = world.replat("plan deploy -p tenant_id=2 --detail").await.succeeds();
    let plan = plan
        .prints("1 views of blue's tables: nothing is copied, nobody waits")
        .prints("no writer is refused");
    let plan =
        plan.prints("ROWS_SHARED").prints("notes_tag").prints("-> text  =  body").prints("new on blue: text");
    let plan = plan.prints("~ notes.body -> notes.text").prints("+ notes.tag text");
    plan.prints("old code").prints("notes.body:");
    let said = world.replat("plan deploy -p tenant_id=2 --json --out plan.json").await.succeeds().json();
    assert_eq!(said["plan"]["path"]["by"], "views", "{said}");
    world.replat("apply plan.json --dry-run").await.succeeds().prints("no row moves, nobody waits");
    let doctor = world.replat("doctor -p tenant_id=2 --json").await.succeeds().json();
    let of = |code: &str| {
        let mut checks = doctor["checks"].as_array().expect("checks").iter();
        checks.find(|check| check["check"] == code).map(|check| check["outcome"].clone())
    };
    assert_eq!(of("ROWS_SHARED").expect("the check"), "to_allow", "{doctor}");
    assert_eq!(of("WAL_LEVEL").expect("the check"), "not_looked", "{doctor}");

    world
        .replat("apply plan.json -y --hold --allow ROWS_SHARED")
        .await
        .succeeds()
        .prints("ready")
        .prints("deploy switch d1");
    world.replat("deploy events d1").await.succeeds().prints("1 contract is kept");
    let client = world.on_blue().await;
    client
        .batch_execute("update v2.notes set text = 'new', tag = 'x' where tenant_id = 2 and id = 1")
        .await
        .expect("a write");
    client
        .batch_execute("update notes set body = body || ' old' where tenant_id = 2 and id = 1")
        .await
        .expect("a write");
    world.replat("deploy switch d1").await.succeeds().prints("main.v2 (green), at epoch e2");
    let route = world.replat("route lookup tenant_id=2 --json").await.succeeds().json();
    assert!(route.to_string().contains("v2"), "{route}");
    let shown = world.replat("deploy get d1").await.succeeds();
    shown.prints("in main.public; the tables of main.v2 are views of them");
    assert_eq!(world.replat("deploy get d1 --json").await.succeeds().json()["path"], "views");
    world
        .replat("deploy rollback d1")
        .await
        .succeeds()
        .prints("rolled-back")
        .prints("main.public (blue), at epoch e3");
    world.replat("deploy switch d1").await.succeeds().prints("at epoch e4");
    world.replat("deploy finish d1").await.succeeds().prints("finished");
    let both = "select count(*) from notes n join v2.notes v using (tenant_id, id) where n.body is not distinct from v.text";
    assert_eq!(number(&client, both).await, 300);
    assert_eq!(
        number(&client, "select count(*) from v2.notes where text = 'new old' and tag = 'x'").await,
        1
    );
    assert_eq!(
        number(&client, "select count(*) from pg_replication_slots where database = current_database()")
            .await,
        0
    );

    // The next partition finds the views, and can still give up.
    world.replat("deploy -p tenant_id=3 -y --hold --allow ROWS_SHARED").await.succeeds().prints("ready");
    world.replat("deploy abort d2").await.succeeds().prints("aborted");
    assert_eq!(number(&client, "select count(*) from v2.notes").await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_view_can_say_is_copied_or_refused_as_the_spec_has_it() {
    let stricter = NEW.replace("text text,", "text text not null,");
    let world = notes(SPEC, &stricter).await;
    let plan = world.replat("plan deploy -p tenant_id=2").await.succeeds();
    plan.prints("a copy: notes.text has another say about null than blue's column").prints("NOT_NULL");
    world.write("replat.toml", &SPEC.replace("ddl =", "path = \"views\"\nddl ="));
    let refused = world.replat("plan deploy -p tenant_id=2").await.fails("RP2002", 4);
    refused.remarks("PATH_NOT_OPEN").remarks("another say about null").remarks("shortest");
    world.replat("explain PATH_NOT_OPEN").await.succeeds().prints("path = \"views\"");

    // Another database, however near, is no place for views.
    let far = SPEC
        .replace("[contexts.notes]", "[databases.other]\nurl = \"env:GREEN_URL\"\n[contexts.notes]")
        .replace("to = { database = \"main\"", "path = \"views\"\nto = { database = \"other\"");
    let world = notes(&far, NEW).await;
    let refused = world.replat("plan deploy -p tenant_id=2").await.fails("RP2002", 4);
    refused.remarks("not in one database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_says_copy_gets_a_copy_within_the_database() {
    let world =
        notes(&SPEC.replace("ddl =", "path = \"copy\"\nreversible = \"accept-lossy\"\nddl ="), NEW).await;
    world.replat("plan deploy -p tenant_id=2").await.succeeds().prints("a copy: the spec says so");
    world.replat("deploy -p tenant_id=2 -y --hold").await.succeeds().prints("ready");
    world.replat("deploy switch d1").await.succeeds().prints("main.v2 (green), at epoch e2");
    let client = world.on_blue().await;
    assert_eq!(number(&client, "select count(*) from v2.notes").await, 100);
    assert!(client.batch_execute("update notes set body = 'x' where tenant_id = 2").await.is_err());
    world.replat("deploy rollback d1").await.succeeds().prints("rolled-back");
    world.replat("deploy abort d1").await.succeeds().prints("aborted");
    assert_eq!(
        number(&client, "select count(*) from pg_namespace where nspname in ('v2', 'replat')").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_exchanged_when_the_last_partition_has_come_and_back() {
    // The column that the new version adds comes last, so that nobody's columns stand in another order.
    let world = notes(SPEC, NEW).await;
    let early = world.replat("deploy exchange").await.fails("RP5007", 4);
    early.remarks("no deployment of notes by views has finished");
    world.replat("deploy -p tenant_id=2 -y --hold --allow ROWS_SHARED").await.succeeds();
    world.replat("deploy switch d1").await.succeeds();
    world.replat("deploy finish d1").await.succeeds();
    let early = world.replat("deploy exchange -y").await.fails("RP5007", 4);
    early.remarks("not every partition of notes lives on main.v2").remarks("lives on main.public");
    world.replat("deploy -p notes -y --hold --allow ROWS_SHARED").await.succeeds();
    world.replat("deploy switch d2").await.succeeds();
    world.replat("deploy exchange -y").await.fails("RP5007", 4).remarks("d2 of notes");
    world.replat("deploy finish d2").await.succeeds();

    let plan = world.replat("-n deploy exchange").await.succeeds();
    let plan = plan.prints("public.notes -> v2.notes  (body -> text)").prints("ACCESS EXCLUSIVE");
    let plan = plan.prints("DROP VIEW IF EXISTS \"v2\".\"notes\"").prints("No change has been made.");
    plan.prints("ALTER TABLE \"public\".\"notes\" SET SCHEMA \"v2\"");
    let said = world.replat("-n deploy exchange --json").await.succeeds().json();
    assert_eq!(said["to"], "green", "{said}");
    assert_eq!(said["tables"][0]["blue"]["schema"], "public", "{said}");
    let statements = said["statements"].as_array().expect("statements").len();
    let client = world.on_blue().await;
    client.batch_execute("create publication p for table notes").await.expect("a publication");
    let refused = world.replat("deploy exchange -y").await.fails("RP2005", 3);
    refused.remarks("PUBLISHED").remarks("--allow PUBLISHED");
    client
        .batch_execute("drop publication p; create view v2.some as select id from v2.notes")
        .await
        .expect("a view");
    let refused = world.replat("deploy exchange -y").await.fails("RP5007", 4);
    refused.remarks("needs the view v2.notes").remarks("Drop it");
    client.batch_execute("drop view v2.some").await.expect("no view");
    world.replat("deploy exchange --no-input").await.fails("RP2008", 13);

    world.replat("deploy exchange -y").await.succeeds().prints("main.v2 has the tables");
    world.replat("deploy exchange -y").await.succeeds().prints("Nothing needs to be done");
    let tables = "select count(*) from pg_class where oid = 'v2.notes'::regclass and relkind = 'r'";
    assert_eq!(number(&client, tables).await, 1);
    let old = "update notes set body = 'stale' where tenant_id = 2 and id = 7";
    assert_eq!(client.execute(old, &[]).await.expect("the old version writes"), 1);
    assert_eq!(
        number(&client, "select count(*) from v2.notes where text = 'stale' and tag = 'none'").await,
        1
    );
    world.replat("explain RP5007").await.succeeds().prints("Tables cannot be exchanged yet");

    let said = world.replat("-n deploy exchange --back --json").await.succeeds().json();
    assert_eq!(said["statements"].as_array().expect("statements").len(), statements, "{said}");
    world.replat("deploy exchange --back -y --json").await.succeeds().prints("\"tables_on\": \"blue\"");
    assert_eq!(number(&client, tables).await, 0);
    assert_eq!(client.execute(old, &[]).await.expect("the old version writes"), 1);
    assert_eq!(number(&client, "select count(*) from v2.notes").await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_exchange_the_next_version_goes_on_from_tables() {
    let world = notes(SPEC, NEW).await;
    world.replat("deploy -p notes -y --hold --allow ROWS_SHARED").await.succeeds();
    world.replat("deploy switch d1").await.succeeds();
    world.replat("deploy finish d1").await.succeeds();
    world.replat("deploy exchange -y").await.succeeds();
    // Another database takes no views; it takes the tables.
    let next = SPEC
        .replace("version = \"v2\"", "version = \"v3\"")
        .replace("[contexts.notes]", "[databases.other]\nurl = \"env:GREEN_URL\"\n[contexts.notes]")
        .replace(
            "to = { database = \"main\", schema = \"v2\" }",
            "to = { database = \"other\", schema = \"v3\" }",
        )
        .replace("[contexts.notes.rollout.map.notes.text]\nup = \"body\"\n", "");
    world.write("replat.toml", &next);
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds().prints("ready");
    let under_way = world.replat("deploy exchange --back -y").await.fails("RP5007", 4);
    under_way.remarks("is being deployed");
    world.replat("deploy switch d2").await.succeeds().prints("other.v3 (green)");
}
