//! Crashes where green is another schema of blue's own database: by views, when both versions can write all the time,
//! whatever dies; and by a copy, when one transaction opens the one side and seals the other.

use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream;
use replat_testkit::server::connect;

use crate::Failure;
use crate::story::{DEPLOY, HELD, begun, soaks};
use crate::world::{Servers, World};

/// Which part of a deployment's life a failpoint lies in.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// By a copy, from the beginning to the soak.
    Copy,
    /// By views, from the beginning to the soak.
    Views,
    /// By views, an end that a person asks for.
    Finish,
    /// By views, an abort that a person asks for.
    Abort,
    /// After an end by views, the exchange that a person asks for.
    Exchange,
}

const POINTS: [(&str, Way); 19] = [
    ("hand_over.before_commit", Way::Copy),
    ("hand_over.after_commit", Way::Copy),
    ("append.after.switched", Way::Copy),
    ("append.before.settled", Way::Copy),
    ("views.registered", Way::Views),
    ("views.column_added", Way::Views),
    ("views.before_commit", Way::Views),
    ("views.created", Way::Views),
    ("append.after.prepared", Way::Views),
    ("append.after.switch_intended", Way::Views),
    ("append.before.switched", Way::Views),
    ("append.after.switched", Way::Views),
    ("append.before.finished", Way::Finish),
    ("views.dropped", Way::Abort),
    ("views.column_dropped", Way::Abort),
    ("append.before.aborted", Way::Abort),
    ("exchange.proved", Way::Exchange),
    ("exchange.before_commit", Way::Exchange),
    ("exchange.after_commit", Way::Exchange),
];

/// The failpoints that are visited here.
pub fn points() -> impl Iterator<Item = String> {
    POINTS.iter().map(|(point, _)| (*point).to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_within_one_database_costs_time_only() {
    let servers = Servers::start().await.expect("two servers start");
    // Most of each one's time is waiting for a dead runner's heartbeat to be over.
    let stories = POINTS.iter().enumerate().map(|(n, (point, way))| {
        let servers = &servers;
        async move {
            let told = tell(servers, &format!("b{n}"), *way, point).await;
            told.inspect_err(|failure| println!("{point} ({way:?}): {failure}")).is_err().then_some(*point)
        }
    });
    let failed: Vec<&str> = stream::iter(stories).buffer_unordered(4).filter_map(ready).collect().await;
    assert!(failed.is_empty(), "a crash did harm at: {}", failed.join(", "));
}

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

async fn tell(servers: &Servers, name: &str, way: Way, point: &str) -> Result<(), Failure> {
    let spec = match way {
        Way::Copy => SPEC.replace("path = \"views\"", "path = \"copy\"\nreversible = \"accept-lossy\""),
        Way::Views | Way::Finish | Way::Abort | Way::Exchange => SPEC.to_owned(),
    };
    let world = servers.beside(name, &spec, TABLES, NEW).await?;
    let told = match way {
        Way::Copy => copied(&world, point).await,
        Way::Views => forward(&world, point).await,
        Way::Finish => finished(&world, point).await,
        Way::Abort => aborted(&world, point).await,
        Way::Exchange => exchanged(&world, point).await,
    };
    told.map_err(|failure| format!("{failure}\nwhat was said last:\n{}", world.program.said()).into())
}

async fn copied(world: &World, point: &str) -> Result<(), Failure> {
    let program = &world.program;
    program.start(&DEPLOY, Some(point))?.die().await?;
    let client = connect(&program.blue_url).await?;
    let old = "update notes set body = body || '.' where tenant_id = 1 and id = 7";
    let new = "update new.notes set text = text || '!' where tenant_id = 1 and id = 7";
    // The decision was recorded, so blue is never opened again; that green opens may be the next runner's to do.
    if client.batch_execute(old).await.is_ok() {
        return Err("blue let a writer through after the decision".into());
    }
    let id = program.deployment()?;
    let watching = program.start(&["deploy", "watch", &id], None)?;
    program.reach(&id, "soak").await?;
    client.batch_execute(new).await?;
    program.run(&["deploy", "rollback", &id]).await?;
    client.batch_execute(old).await?;
    let body: String =
        client.query_one("select body from notes where tenant_id = 1 and id = 7", &[]).await?.get(0);
    watching.kill().await?;
    program.run(&["deploy", "abort", &id]).await?;
    nothing_is_left(world).await?;
    if body == "note 7!." { Ok(()) } else { Err(format!("the row came back as {body:?}").into()) }
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
    watching.kill().await?;
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

/// Every partition lives on green by views; tables and views change places, and back.
async fn exchanged(world: &World, point: &str) -> Result<(), Failure> {
    let program = &world.program;
    // The context is one partition.
    program.run(&["deploy", "-p", "saas", "--yes", "--hold", "--quiet"]).await?;
    let id = program.deployment()?;
    program.run(&["deploy", "switch", &id]).await?;
    program.run(&["deploy", "finish", &id]).await?;
    both_versions_write(world).await?;
    for (back, tables) in [(&[][..], "new"), (&["--back"][..], "public")] {
        let asked = [&["-y", "deploy", "exchange"], back].concat();
        program.start(&asked, Some(point))?.die().await?;
        both_versions_write(world).await?;
        program.run(&asked).await?;
        both_versions_write(world).await?;
        let client = connect(&program.blue_url).await?;
        let sql =
            "select relnamespace::regnamespace::text from pg_class where relname = 'notes' and relkind = 'r'";
        let place: String = client.query_one(sql, &[]).await?.get(0);
        if place != tables {
            return Err(format!("the table is in {place}").into());
        }
    }
    Ok(())
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
