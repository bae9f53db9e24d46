//! Replicas: one that is behind holds the run, and one that is asked to work says that it does not.

use std::sync::Arc;

use replat_testkit::Server;

use crate::world::{World, daily};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_holds_what_writes_log() {
    let server =
        Server::builder().setting("wal_receiver_status_interval", "1s").start().await.expect("a server");
    server.execute("postgres", "create role app login").await.expect("a role");
    let world = World::on(Arc::new(server), &daily("events", -2, 1)).await;
    let standby = world.server.standby(&[]).await.expect("a standby");

    // On the standby there is nothing to do, whatever is asked, and it is said.
    let port = standby.port();
    let at = format!("--db-url=postgres://app@127.0.0.1:{port}/{}", world.database);
    for verb in [&["rotate"][..], &["rotate", "--check"], &["rotate", "--dry-run"]] {
        let ran = world.program.run(&[verb, &[&at, "--buffer-days=5"]].concat()).await.succeeds();
        assert!(ran.out.contains("read-only") && ran.out.contains(&world.database), "{}", ran.told());
    }
    let json = world.program.run(&["rotate", &at, "--json"]).await.succeeds().json();
    assert_eq!(json["databases"][0]["ending"], "read-only");

    // It keeps up: nothing is held. An ordinary role does not see how far behind it is, and is told so.
    world.admin("grant pg_monitor to app").await;
    world.rotate("--buffer-days=2").await.succeeds().prints("created=1");

    let replica = standby.client("postgres").await.expect("a session");
    replica.batch_execute("select pg_wal_replay_pause()").await.expect("it stands still");
    world
        .app("insert into events (ts, v) select now(), repeat('x', 100) from generate_series(1, 20000)")
        .await;
    let behind = async {
        let lag =
            "select coalesce(extract(epoch from max(replay_lag)) * 1000, 0)::bigint from pg_stat_replication";
        while world.number(lag).await < 1_100 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), behind).await.expect("its lag is seen to grow");
    let ran = world.rotate("--buffer-days=5 --max-lag=1s --patience=1s").await.exits(22);
    assert!(ran.out.contains("replica standby is") && ran.out.contains("held=1"), "{}", ran.told());
    assert!(ran.out.contains("goes on when replica standby is at most 1.0 s behind"), "{}", ran.told());
    assert_eq!(world.parts("events").await.len(), 5);

    let line =
        format!("rotate --db-url={} --buffer-days=5 --max-lag=1s --patience=90s --json", world.url("app"));
    let mut run = world.program.start(&line.split(' ').collect::<Vec<_>>());
    run.remarks("replica standby").await;
    replica.batch_execute("select pg_wal_replay_resume()").await.expect("it goes on");
    let report = run.end().await.succeeds().json();
    assert_eq!(report["summary"]["created"], 3, "{report:#}");

    // Who may not see the lag is not kept from all work by that, but is told; unless a bound was asked for.
    world.admin("revoke pg_monitor from app").await;
    replica.batch_execute("select pg_wal_replay_pause()").await.expect("it stands still");
    world.app("insert into events (ts) values (now())").await;
    let ran = world.rotate("--buffer-days=6").await.succeeds().prints("created=1");
    assert!(ran.out.contains("pg_monitor"), "{}", ran.told());
    let ran = world.rotate("--buffer-days=7 --max-lag=5s --patience=1s").await.exits(22);
    assert!(ran.out.contains("cannot be read"), "{}", ran.told());
}
