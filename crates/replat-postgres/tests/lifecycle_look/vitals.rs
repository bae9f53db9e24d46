//! How a server is doing, as each role may see it.

use replat_model::lifecycle::facts::Vitals;
use replat_postgres::lifecycle::look::vitals;
use tokio_postgres::Client;

use super::support::{database, session};

async fn read(client: &Client, sizes: bool) -> Vitals {
    vitals(client, "test", sizes).await.expect("vital signs")
}

#[tokio::test]
async fn an_ordinary_role_sees_what_it_may() {
    let (name, admin) = database("create role plain login").await;
    let plain = session(&name, "plain").await;
    for (who, client) in [("admin", &admin), ("plain", &plain)] {
        let seen = read(client, false).await;
        assert_eq!(seen.database, name, "{who}");
        assert!(seen.version.starts_with("PostgreSQL 1"), "{who}: {}", seen.version);
        assert!(
            seen.identity.starts_with("pg-") && !seen.identity.contains("unknown"),
            "{who}: {}",
            seen.identity
        );
        assert!(!seen.read_only, "{who}");
        assert_eq!(seen.database_bytes, None, "{who}");
        let (now, most) = seen.connections.expect("connections");
        assert!(now >= 1 && most == 197, "{who}: {now} of {most}");
        // 64 locks each for 200 connections and 10 prepared transactions.
        assert_eq!(seen.lock_room, Some(64 * 210), "{who}");
        assert!(seen.relations.is_some_and(|n| n > 300) && seen.log_bytes.is_some_and(|n| n > 0), "{who}");
        // Both are on one machine.
        assert!(seen.clock_ahead_ms.abs() < 5_000, "{who}: {}", seen.clock_ahead_ms);
        assert!(read(client, true).await.database_bytes.is_some_and(|n| n > 1_000_000), "{who}");
    }
    assert_eq!(read(&admin, false).await.identity, read(&plain, false).await.identity);
    let (_, other) = database("select 1").await;
    assert_ne!(read(&admin, false).await.identity, read(&other, false).await.identity);
}

#[tokio::test]
async fn a_database_that_cannot_be_identified_has_a_name_all_the_same() {
    let (name, _admin) =
        database("create role nameless login; revoke execute on function pg_control_system() from public")
            .await;
    let seen = read(&session(&name, "nameless").await, false).await;
    assert!(seen.identity.starts_with("pg-unknown-") && seen.identity.ends_with(&name), "{}", seen.identity);
}

#[tokio::test]
async fn read_only_is_said() {
    let (name, admin) = database("create role careful login").await;
    admin
        .batch_execute(&format!(
            "alter role careful in database {name} set default_transaction_read_only = on"
        ))
        .await
        .expect("a setting");
    assert!(read(&session(&name, "careful").await, false).await.read_only);
    assert!(!read(&admin, false).await.read_only);
}

#[tokio::test]
async fn the_oldest_transaction_of_others_is_seen() {
    let (name, client) = database("create table t (id int); create role alone login").await;
    assert_eq!(read(&client, false).await.oldest_transaction, None);
    let other = session(&name, "postgres").await;
    other.batch_execute("set application_name = 'reports'; begin; select 1").await.expect("a transaction");
    let pid: i32 = other.query_one("select pg_backend_pid()", &[]).await.expect("a pid").get(0);
    let oldest = read(&client, false).await.oldest_transaction.expect("it");
    assert_eq!((oldest.pid, oldest.who.as_str()), (pid, "postgres reports 127.0.0.1"));
    // A role that may not see the times of others is told nothing, rather than something wrong.
    assert_eq!(read(&session(&name, "alone").await, false).await.oldest_transaction, None);
    other
        .batch_execute("insert into t values (1); prepare transaction 'the job'")
        .await
        .expect("it is prepared");
    let seen =
        read(&session(&name, "alone").await, false).await.oldest_transaction.expect("everybody sees it");
    assert_eq!((seen.pid, seen.who.as_str()), (0, "postgres prepared transaction the job"));
    other.batch_execute("rollback prepared 'the job'").await.expect("it is gone");
    assert_eq!(read(&client, false).await.oldest_transaction, None);
}

#[tokio::test]
async fn logical_readers_are_no_replicas() {
    // The server is shared with other tests, none of which has a standby.
    let (_, client) = database("select pg_create_logical_replication_slot('look_slot', 'pgoutput')").await;
    assert_eq!(read(&client, false).await.replicas, Some(Vec::new()));
    client.batch_execute("select pg_drop_replication_slot('look_slot')").await.expect("it is gone");
}
