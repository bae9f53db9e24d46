//! What a deployment may leave behind, and what not.

use replat_testkit::server::connect;
use tokio_postgres::error::SqlState;

use crate::Failure;
use crate::world::{TENANT, World};

/// Slots and publications, wherever; a slot that nobody reads keeps its server's log for ever.
const STREAMS: &str =
    "select 'slot ' || slot_name from pg_replication_slots where database = current_database()
    union all select 'publication ' || pubname from pg_publication";
/// Guards, by table.
const GUARDS: &str = "select 'guard ' || tgrelid::regclass || ' ' || tgname from pg_trigger
    where tgname like 'zz\\_replat%'";
/// Anything of replat's own.
const SCHEMAS: &str = "select 'schema ' || nspname from pg_namespace where nspname = 'replat'";
/// What replat notes down for a deployment that runs.
const RECORDS: &str = "select 'record of a stream' from replat.stream union all
    select 'record of a chunk' from replat.chunk union all
    select 'parked key' from replat.parked union all select 'deferred index' from replat.deferred";

/// After a finish: nothing but blue's closed guard, and what says which version green's schema has.
pub async fn after_finish(world: &World) -> Result<(), Failure> {
    let guards_that_should_not_be = format!("{GUARDS} and tgrelid = 'currencies'::regclass");
    none(&world.program.blue_url, &[STREAMS, RECORDS, &guards_that_should_not_be]).await?;
    none(&world.program.green_url, &[STREAMS, GUARDS, RECORDS]).await?;
    blue_refuses(world).await
}

/// After an abort: nothing.
pub async fn after_abort(world: &World) -> Result<(), Failure> {
    none(&world.program.blue_url, &[STREAMS, GUARDS, SCHEMAS]).await?;
    let tables = "select 'schema ' || nspname from pg_namespace where nspname = 'saas'";
    none(&world.program.green_url, &[STREAMS, GUARDS, SCHEMAS, tables]).await
}

/// After the retired copy was dropped: none of the tenant's rows on blue, and the guard still closed.
pub async fn after_drop(world: &World) -> Result<(), Failure> {
    let rows: Vec<String> = replat_testkit::saas::TABLES
        .iter()
        .map(|table| format!("select 'row of {table}' from {table} where tenant_id = {TENANT}"))
        .collect();
    none(&world.program.blue_url, &rows.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    blue_refuses(world).await
}

async fn none(url: &str, queries: &[&str]) -> Result<(), Failure> {
    let client = connect(url).await?;
    for query in queries {
        let found = client.query(*query, &[]).await?;
        if let Some(first) = found.first() {
            return Err(format!("left behind at {url}: {}", first.get::<_, String>(0)).into());
        }
    }
    Ok(())
}

/// A stale writer must be refused as long as blue's tables are there.
async fn blue_refuses(world: &World) -> Result<(), Failure> {
    let client = connect(&world.program.blue_url).await?;
    let stale =
        format!("insert into events (tenant_id, op_id, kind) values ({TENANT}, gen_random_uuid(), 'stale')");
    match client.execute(&stale, &[]).await {
        Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Err("blue let a stale writer through after the finish".into()),
    }
}
