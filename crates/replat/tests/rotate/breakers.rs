//! When to stand back from a database that is not well, and for how long.

use std::sync::Arc;

use replat_testkit::Server;

use crate::world::{World, daily};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_holds_the_run_until_it_ends() {
    let world = World::with(&daily("events", -2, 1)).await;
    let other = world.client().await;
    other.batch_execute("begin; select 1").await.expect("a transaction");
    let pid = crate::world::number(&other, "select pg_backend_pid()::bigint").await;
    let ran = world.rotate("--buffer-days=5 --max-transaction=1ms --patience=1s").await.exits(22);
    let ends = format!("process {pid} ends its transaction");
    assert!(ran.out.contains(&ends) && ran.out.contains("RP3020"), "{}", ran.told());
    assert!(ran.out.contains("held=1") && ran.out.contains("created=0"), "{}", ran.told());
    assert_eq!(world.parts("events").await.len(), 4);
    // It closes by itself, and the very run goes on.
    let line = format!(
        "rotate --db-url={} --buffer-days=5 --max-transaction=1ms --patience=60s --json",
        world.url("app")
    );
    let mut run = world.program.start(&line.split(' ').collect::<Vec<_>>());
    run.remarks(&ends).await;
    other.batch_execute("commit").await.expect("the end");
    let report = run.end().await.succeeds().json();
    let run = &report["databases"][0];
    assert_eq!(report["summary"]["created"], 4, "{report:#}");
    assert_eq!(run["pauses"][0]["closed"], true, "{report:#}");
    // What takes no room is not held: retirement goes on while provisioning waits.
    other.batch_execute("begin; select 1").await.expect("a transaction");
    let ran = world
        .rotate("--buffer-days=9 --adopt --keep=1d --max-retire=1 --max-transaction=1ms --patience=1s")
        .await
        .exits(22);
    assert!(ran.out.contains("retired=1") && ran.out.contains("held=1"), "{}", ran.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_sessions_are_left_to_the_application() {
    let server = Server::builder().setting("max_connections", "103").start().await.expect("a server");
    server.execute("postgres", "create role app login").await.expect("a role");
    let world = World::on(Arc::new(server), &daily("events", -2, 1)).await;
    let mut crowd = Vec::new();
    let free = "select current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
                - (select count(*) from pg_stat_activity where backend_type = 'client backend')";
    let first = world.client().await;
    // replat itself has a few.
    while crate::world::number(&first, free).await > 4 {
        crowd.push(world.client().await);
    }
    let ran = world.rotate("--buffer-days=5 --patience=1s").await.exits(22);
    assert!(ran.out.contains("sessions are in use"), "{}", ran.told());
    let report = {
        let line = format!("rotate --db-url={} --buffer-days=5 --patience=60s --json", world.url("app"));
        let mut run = world.program.start(&line.split(' ').collect::<Vec<_>>());
        run.remarks("sessions are in use").await;
        drop(crowd);
        run.end().await.succeeds().json()
    };
    assert_eq!(report["summary"]["created"], 4, "{report:#}");
}
