//! Crashes of a rollout by views: both versions can write all the time, whatever dies.

use replat_testkit::server::connect;

use crate::Failure;
use crate::story::{DEPLOY, HELD, Way, begun, soaks};
use crate::world::{Servers, World};

const TABLES: &str = "
    create table notes (tenant_id bigint not null, id bigint not null, body text, primary key (tenant_id, id));
    insert into notes select t, n, 'note ' || n from generate_series(1, 3) t, generate_series(1, 100) n";

const NEW: &str = "
    create table notes (
      tenant_id bigint not null, id bigint not null, text text, tag text default 'none', flag boolean,
      primary key (tenant_id, id))";

const SPEC: &str = r#"
version = 1
project = "views"
[databases.blue]
url = "env:BLUE_URL"
[databases.green]
url = "env:GREEN_URL"
[contexts.saas]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "blue", schema = "public" }
[contexts.saas.tables.notes]
[contexts.saas.rollout]
version = "v2"
to = { database = "green", schema = "new" }
ddl = ["v2.sql"]
path = "views"
[contexts.saas.rollout.map.notes.text]
up = "body"
[policy]
soak = "1h"
"#;

/// Tells the story of one crash at `point`.
pub async fn tell(servers: &Servers, name: &str, way: Way, point: &str) -> Result<(), Failure> {
    let world = servers.beside(name, SPEC, TABLES, NEW).await?;
    let program = &world.program;
    let told = match way {
        Way::ViewsAbort => aborted(&world, point).await,
        Way::ViewsFinish => finished(&world, point).await,
        _ => forward(&world, point).await,
    };
    told.map_err(|failure| format!("{failure}\nwhat was said last:\n{}", program.said()).into())
}

async fn forward(world: &World, point: &str) -> Result<(), Failure> {
    let program = &world.program;
    program.start(&DEPLOY, Some(point))?.die().await?;
    old_version_writes(world).await?;
    let id = program.deployment()?;
    let watching = program.start(&["deploy", "watch", &id], None)?;
    program.reach(&id, "soak").await?;
    both_versions_write(world).await?;
    program.run(&["deploy", "rollback", &id]).await?;
    both_versions_write(world).await?;
    drop(watching.kill().await?);
    program.run(&["deploy", "abort", &id]).await?;
    nothing_is_left(world).await
}

async fn finished(world: &World, point: &str) -> Result<(), Failure> {
    let program = &world.program;
    let dying = program.start(&DEPLOY, Some(point))?;
    let id = soaks(program).await?;
    program.run(&["deploy", "finish", &id]).await?;
    dying.die().await?;
    both_versions_write(world).await
}

async fn aborted(world: &World, point: &str) -> Result<(), Failure> {
    let program = &world.program;
    program.run(&HELD).await?;
    let id = begun(program).await;
    both_versions_write(world).await?;
    program.start(&["deploy", "abort", &id], Some(point))?.die().await?;
    old_version_writes(world).await?;
    program.run(&["deploy", "abort", &id]).await?;
    nothing_is_left(world).await
}

async fn old_version_writes(world: &World) -> Result<(), Failure> {
    let client = connect(&world.program.blue_url).await?;
    client.batch_execute("update notes set body = body || '.' where tenant_id = 1 and id = 7").await?;
    Ok(())
}

async fn both_versions_write(world: &World) -> Result<(), Failure> {
    old_version_writes(world).await?;
    let client = connect(&world.program.green_url).await?;
    let before: String =
        client.query_one("select body from notes where tenant_id = 1 and id = 7", &[]).await?.get(0);
    client
        .batch_execute("update new.notes set text = text || '!', tag = 'seen' where tenant_id = 1 and id = 7")
        .await?;
    let after: String =
        client.query_one("select body from notes where tenant_id = 1 and id = 7", &[]).await?.get(0);
    if after == format!("{before}!") { Ok(()) } else { Err(format!("{before:?} became {after:?}").into()) }
}

async fn nothing_is_left(world: &World) -> Result<(), Failure> {
    let client = connect(&world.program.blue_url).await?;
    let left = client
        .query(
            "select 'schema ' || nspname from pg_namespace where nspname in ('replat', 'new')
             union all select 'column ' || attname from pg_attribute
               where attrelid = 'notes'::regclass and attnum > 0 and not attisdropped
                 and attname not in ('tenant_id', 'id', 'body')
             union all select 'trigger ' || tgname from pg_trigger",
            &[],
        )
        .await?;
    match left.first() {
        None => Ok(()),
        Some(row) => Err(format!("left behind: {}", row.get::<_, String>(0)).into()),
    }
}
