//! Stories of a throwaway server: it is there when it should be, and gone when it should be.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use replat_testkit::Server;

async fn count(server: &Server) -> i64 {
    let client = server.client("shop").await.expect("a session");
    client.query_one("select count(*) from t", &[]).await.expect("a count").get(0)
}

async fn shop() -> Server {
    let server = Server::start().await.expect("a server");
    server.create_database("shop").await.expect("a database");
    server
        .execute("shop", "create table t (id int primary key); insert into t values (1)")
        .await
        .expect("a row");
    server
}

#[tokio::test]
async fn a_new_server_is_ready_for_logical_replication() {
    let server = shop().await;
    let client = server.client("shop").await.expect("a session");
    let level: String = client.query_one("show wal_level", &[]).await.expect("a setting").get(0);
    assert_eq!(level, "logical");
    client
        .query_one("select pg_create_logical_replication_slot('s', 'pgoutput')", &[])
        .await
        .expect("a logical slot");
}

#[tokio::test]
async fn what_was_committed_survives_a_restart_and_a_kill() {
    let mut server = shop().await;
    let port = server.port();
    server.restart().await.expect("a restart");
    assert_eq!(count(&server).await, 1);
    server.execute("shop", "insert into t values (2)").await.expect("a second row");
    server.kill().await.expect("a kill");
    assert!(server.client("shop").await.is_err(), "a killed server answers nobody");
    server.restart().await.expect("a recovery");
    assert_eq!(count(&server).await, 2);
    assert_eq!(server.port(), port);
    assert!(server.log_tail(200).contains("was not properly shut down"), "{}", server.log_tail(200));
}

#[tokio::test]
async fn a_paused_server_goes_on_where_it_stood() {
    let server = shop().await;
    server.pause().expect("a pause");
    server.resume().expect("an end of the pause");
    assert_eq!(count(&server).await, 1);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing_behind() {
    let server = shop().await;
    let (folder, url) = (server.folder().to_owned(), server.url("shop"));
    assert!(folder.exists());
    drop(server);
    assert!(!folder.exists());
    assert!(replat_testkit::server::connect(&url).await.is_err());
}

#[tokio::test]
async fn settings_of_ones_own_win() {
    let server = Server::builder().durable().setting("max_wal_senders", "7").start().await.expect("a server");
    let client = server.client("postgres").await.expect("a session");
    for (name, wanted) in [("fsync", "on"), ("max_wal_senders", "7")] {
        let value: String = client.query_one(&format!("show {name}"), &[]).await.expect(name).get(0);
        assert_eq!(value, wanted, "{name}");
    }
}

/// Not a story of its own: the process that the next test kills.
#[tokio::test]
#[ignore = "run by a_server_does_not_outlive_a_killed_test_process"]
async fn hold_a_server_until_killed() {
    let server = shop().await;
    println!("\nholding {}", server.folder().display());
    std::future::pending::<()>().await;
}

#[test]
fn a_server_does_not_outlive_a_killed_test_process() {
    let mut holder = Command::new(std::env::current_exe().expect("our own program"))
        .args(["--exact", "hold_a_server_until_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second test process");
    let lines = BufReader::new(holder.stdout.take().expect("its output")).lines();
    let folder = lines
        .map(|line| line.expect("a line"))
        .find_map(|line| line.strip_prefix("holding ").map(PathBuf::from))
        .expect("the folder of its server");
    assert!(folder.exists());
    holder.kill().expect("a kill");
    holder.wait().expect("its end");
    let since = Instant::now();
    while folder.exists() {
        assert!(since.elapsed() < Duration::from_secs(60), "{} is still there", folder.display());
        std::thread::yield_now();
    }
}
