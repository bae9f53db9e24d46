//! Reads that the new home answers while the old one still has the writes.

use std::time::Duration;

use tokio_postgres::Client;

use crate::world::World;

/// So long is waited for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a read of tenant 1 is answered.
async fn place(client: &Client) -> String {
    let sql = "select current_database()::text from accounts where tenant_id = 1 limit 1";
    client.query_one(sql, &[]).await.expect("a row").get(0)
}

/// The share of acme's reads that green answers.
async fn share(world: &World, percent: &str, further: &[&str]) {
    let words = ["route", "set", "acme", "--reads", percent, "--from", "green.shop"];
    world.program.run(&[&words[..], further].concat()).await.succeeds();
}

async fn until_answered_by(client: &Client, database: &str) {
    let answered = async {
        while place(client).await != database {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("{database} answers no read"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_of_the_reads_goes_to_the_other_home_while_that_is_fresh() {
    let world = World::start(&[]).await;
    let runner = world.deploy().await;
    world.program.line("deploy rollback").await.succeeds();
    share(&world, "25", &[]).await;
    for partition in [None, Some("acme")] {
        let client = world.client(partition).await.expect("a client of the proxy");
        until_answered_by(&client, "green").await;
        let mut green = 0;
        for _ in 0..200 {
            green += usize::from(place(&client).await == "green");
        }
        assert_eq!(green, 50, "of 200, {partition:?}");
    }

    share(&world, "100", &["--stale-max", "30s"]).await;
    let client = world.client(Some("acme")).await.expect("a client of the proxy");
    until_answered_by(&client, "green").await;
    // Prepared statements, and the session's settings.
    let by_name = "select current_database()::text || current_setting('app.x', true) from accounts \
                   where tenant_id = $1 and id = $2";
    // What is not proved to read stays at home, and so do the reads that follow it.
    let other = world.client(Some("acme")).await.expect("a client of the proxy");
    other.batch_execute("set app.x = '!'").await.expect("a setting");
    let statement = other.prepare(by_name).await.expect("prepared");
    let row = other.query_one(&statement, &[&1_i64, &1_i64]).await.expect("a row");
    assert_eq!(row.get::<_, String>(0), "blue!", "read your writes");
    for sql in [
        "select current_database()::text from accounts where tenant_id = 1 limit 1 for update",
        "select current_database()::text from accounts limit 1",
    ] {
        let row = client.query_one(sql, &[]).await.expect("a row");
        assert_eq!(row.get::<_, String>(0), "blue", "{sql}");
    }
    let fresh = world.client(Some("acme")).await.expect("a client of the proxy");
    let id = "select id from accounts where tenant_id = $1 and id <= $2 order by id";
    let rows = fresh.query(id, &[&1_i64, &3_i64]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [1, 2, 3]);
    assert_eq!(place(&fresh).await, "green");

    // Nobody brings changes to green any more: it is not asked after that.
    drop(runner);
    share(&world, "100", &["--stale-max", "500ms"]).await;
    let client = world.client(Some("acme")).await.expect("a client of the proxy");
    until_answered_by(&client, "blue").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..20 {
        assert_eq!(place(&client).await, "blue");
    }
}
