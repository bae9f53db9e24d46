//! A partition moves there and back while clients work on it through the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::world::World;

/// There and back, so often. Each is a switch of its own.
const SWITCHES: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_partition_that_moves_see_no_error_and_lose_nothing() {
    let world = Arc::new(World::start(&[]).await);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = [(1, "acme"), (1, "acme"), (1, "acme"), (2, "zeta"), (3, "rest")]
        .into_iter()
        .enumerate()
        .map(|(at, (tenant, partition))| {
            let (world, stop) = (world.clone(), stop.clone());
            tokio::spawn(async move { write(&world, &stop, at as i64, tenant, partition).await })
        })
        .collect();
    let _runner = world.deploy().await;
    for _ in 0..SWITCHES / 2 {
        world.program.line("deploy rollback").await.succeeds();
        world.program.line("deploy switch").await.succeeds();
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for writer in writers {
        let (tenant, ids) = writer.await.expect("no panic");
        assert!(!ids.is_empty(), "a writer of tenant {tenant} wrote nothing");
        acknowledged.extend(ids.into_iter().map(|id| (tenant, id)));
    }
    for (tenant, database, schema) in [(1, "green", "shop"), (2, "blue", "public"), (3, "blue", "public")] {
        let mut wanted: Vec<i64> =
            acknowledged.iter().filter(|(of, _)| *of == tenant).map(|(_, id)| *id).collect();
        wanted.sort_unstable();
        assert_eq!(world.entries(database, schema, tenant).await, wanted, "tenant {tenant}");
    }
    let clients = world.program.line("route clients --json").await.succeeds();
    assert_eq!(clients.json()["clients"][0]["version"], clients.json()["version"], "the proxy is up to date");
}

/// Writes until it is told to stop: single statements, prepared ones and transactions. What was acknowledged.
async fn write(world: &World, stop: &AtomicBool, at: i64, tenant: i64, partition: &str) -> (i64, Vec<i64>) {
    let mut client = world.client(Some(partition)).await.expect("a client of the proxy");
    let insert = client.prepare("insert into entries values ($1, $2)").await.expect("a statement");
    let mut written = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = at * 1_000_000_000 + written.len() as i64;
        if id % 3 == 0 {
            let transaction = client.transaction().await.expect("a transaction begins");
            transaction.execute(&insert, &[&tenant, &id]).await.expect("a row");
            let account = id % 200 + 1;
            let sql = "update accounts set sum = sum + 1 where tenant_id = $1 and id = $2";
            let changed = transaction.execute(sql, &[&tenant, &account]).await.expect("a change");
            assert_eq!(changed, 1, "account {account} of tenant {tenant} is out of sight");
            transaction.commit().await.expect("it commits");
        } else {
            client.execute(&insert, &[&tenant, &id]).await.expect("a row");
        }
        written.push(id);
    }
    (tenant, written)
}
