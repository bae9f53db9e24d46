//! What holds a deployment up is told to everybody who looks, not only by the runner that meets it.

use std::time::Duration;

use serde_json::Value;

use crate::world::World;

const SPEC: &str = "
version = 1
project = 'people'
[databases.blue]
url = 'env:BLUE_URL'
[databases.green]
url = 'env:GREEN_URL'
[contexts.people]
dimensions = [{ column = 'tenant_id', type = 'bigint' }]
home = { database = 'blue', schema = 'public' }
[contexts.people.tables.people]
[contexts.people.rollout]
version = 'v2'
to = { database = 'green', schema = 'people' }
ddl = ['v2.sql']
[policy]
soak = '1h'
";

const TABLES: &str = "
    create table people (id bigint primary key, tenant_id bigint not null, name text not null unique, unique (id, tenant_id));
    alter table people replica identity using index people_id_tenant_id_key;
";

/// What pg_dump puts around it is for psql.
async fn people() -> World {
    let world = World::empty(SPEC).await;
    world.write("v2.sql", &format!("\\restrict tOkeN\n{TABLES}\n\\unrestrict tOkeN\n"));
    let blue = world.on_blue().await;
    let rows = "insert into people select n, n % 3, 'name ' || n from generate_series(1, 30) n";
    blue.batch_execute(&format!("{TABLES}; {rows}")).await.expect("people");
    world
}

/// Until `line` prints `text`.
async fn until_printed(world: &World, line: &str, text: &str) {
    let printed = async {
        while !world.replat(line).await.out.contains(text) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), printed).await.expect(text);
}

const KEPT: &str = "people (100): duplicate key value violates unique constraint \"people_name_key\": \
                    Key (name)=(name 3) already exists.";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_go_back_is_told_and_rollback_says_so_and_ends() {
    let world = people().await;
    world.replat("deploy -p tenant_id=1 -y --hold").await.succeeds();
    world.replat("deploy switch").await.succeeds();
    let green = world.on_green().await;
    green
        .batch_execute("insert into people.people values (100, 1, 'name 3')")
        .await
        .expect("green takes writes");
    // Nobody runs it, so rollback does.
    let refused = world.replat("deploy rollback").await.fails("RP4002", 11).remarks(KEPT);
    refused.remarks("SAFE: green.people (green)").remarks("another value").remarks("preferably on green");
    world
        .replat("deploy events")
        .await
        .succeeds()
        .prints("1 row of green cannot be stored on blue")
        .prints(KEPT);
    for line in ["deploy get", "deploy get --live"] {
        let shown =
            world.replat(line).await.succeeds().prints("kept back  1 row of green cannot be stored on blue:");
        shown.prints(KEPT).prints("trouble    RP4002 1 row of the partition on green").prints(" ago");
    }
    let shown = world.replat("deploy get --live --json").await.succeeds().json();
    assert_eq!(shown["kept_back"]["keys"], 1, "{shown:#}");
    assert_eq!(shown["parked"][0]["samples"][0], KEPT, "{shown:#}");
    assert_eq!(
        (&shown["trouble"]["code"], &shown["trouble"]["needs_a_person"]),
        (&"RP4002".into(), &true.into())
    );

    // Somebody else runs it, and goes on trying; rollback says what it hears.
    let watching = world.program.start(&["deploy", "watch"]);
    until_printed(&world, "deploy list --json", "pid ").await;
    world.replat("deploy rollback").await.fails("RP4002", 11).remarks(KEPT).remarks("another value");
    world.replat("deploy wait --for rolled-back --timeout 60s").await.fails("RP4002", 11).remarks(KEPT);
    green.batch_execute("update people.people set name = 'free' where id = 100").await.expect("mended");
    // What was asked for happens by itself.
    until_printed(&world, "deploy get", "rolled-back").await;
    let shown = world.replat("deploy get --live --json").await.succeeds().json();
    assert_eq!((&shown["kept_back"], &shown["trouble"]), (&Value::Null, &Value::Null), "{shown:#}");
    watching.signal("INT").await;
    watching.end().await.fails("RP9002", 130).remarks(KEPT).remarks("no row of green is kept back any more");
    let blue = world.on_blue().await;
    let back = "select count(*) from people where id = 100 and name = 'free'";
    assert_eq!(crate::world::number(&blue, back).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_again_and_again_is_shown_to_those_who_do_not_see_the_runner() {
    let world = people().await;
    let blue = world.on_blue().await;
    let barrier = "create function no() returns event_trigger language plpgsql as $$ begin raise 'not today'; end $$;
                   create event trigger no on ddl_command_start when tag in ('CREATE PUBLICATION') execute function no()";
    blue.batch_execute(barrier).await.expect("a barrier");
    let deploying = world.program.start(&["deploy", "-p", "tenant_id=1", "-y"]);
    until_printed(&world, "deploy get", "trouble    RP1004 blue refused publishing the tables: not today")
        .await;
    let shown = world
        .replat("deploy get")
        .await
        .succeeds()
        .prints("prepare")
        .prints(" ago")
        .prints("Grant what is missing");
    shown.prints("pid ");
    world.replat("deploy wait --for ready --timeout 60s").await.fails("RP1004", 4).remarks("not today");
    blue.batch_execute("drop event trigger no").await.expect("no barrier");
    world.replat("deploy wait --for soak --timeout 60s").await.succeeds();
    let shown = world.replat("deploy get").await.succeeds();
    assert!(!shown.out.contains("trouble"), "{}", shown.told());
    deploying.signal("INT").await;
    deploying.end().await.fails("RP9002", 130);
}
