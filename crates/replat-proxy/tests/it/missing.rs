//! Rows for which no partition is there yet.

use std::time::Duration;

use futures_util::future::join_all;
use replat_postgres::lifecycle::listen::Listener;
use replat_postgres::lifecycle::wanted::CHANNEL;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::support::{World, conninfo, home, number};

const TABLES: &str =
    "create table events (at date not null, id bigint not null check (id >= 0)) partition by range (at);
     grant all on events to app";

/// Makes the partition of each day that is asked for, once that is heard, and says what was asked.
async fn maker(world: &World) -> tokio::task::JoinHandle<Vec<String>> {
    let mut heard = Listener::open(&conninfo(&world.blue, "app"), CHANNEL).await.expect("it can be heard");
    let client = world.blue.client("app").await.expect("a session");
    tokio::spawn(async move {
        let mut asked = Vec::new();
        while let Some(said) = heard.next().await {
            asked.push(said.clone());
            if said.contains("stop") {
                break;
            }
            let day = said.split('"').find(|word| word.starts_with("20")).expect("a day").to_owned();
            let name = day.replace('-', "");
            client
                .batch_execute(&format!(
                    "create table if not exists events_{name} partition of events \
                     for values from ('{day}') to (date '{day}' + 1)"
                ))
                .await
                .expect("a partition");
        }
        asked
    })
}

async fn rows(client: &Client) -> Vec<i64> {
    let rows = client.query("select id from events order by id", &[]).await.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_waits_for_its_partition_and_its_writer_sees_no_error() {
    let world = World::start().await;
    world.blue.execute("app", TABLES).await.expect("a table");
    let maker = maker(&world).await;
    let client = world.client().await;
    // By a Query, by a statement with a name, and by one that is prepared only then.
    client.batch_execute("insert into events values ('2031-01-01', 1)").await.expect("a row");
    let insert = client.prepare("insert into events values ($1::text::date, $2)").await.expect("prepared");
    assert_eq!(client.execute(&insert, &[&"2031-01-02", &2_i64]).await.expect("a row"), 1);
    let sql = "insert into events values ($1::text::date, $2) returning id";
    let row = client.query_one(sql, &[&"2031-01-03", &3_i64]).await.expect("a row");
    assert_eq!(row.get::<_, i64>(0), 3);
    client
        .batch_execute(
            "insert into events values ('2031-01-04', 4); insert into events values ('2031-01-03', 5)",
        )
        .await
        .expect("both or none");
    assert_eq!(rows(&client).await, [1, 2, 3, 4, 5], "each once");

    // What a client sends without waiting stays in its order.
    let ids: Vec<i64> = (10..20).collect();
    let (insert, client) = (&insert, &client);
    let sent = ids.iter().map(|id| async move {
        let day = format!("2031-02-{:02}", id - 9);
        client.execute(insert, &[&day, id]).await
    });
    for inserted in join_all(sent).await {
        assert_eq!(inserted.expect("a row"), 1);
    }
    assert_eq!(rows(client).await, [1, 2, 3, 4, 5].into_iter().chain(ids).collect::<Vec<_>>());

    client.batch_execute(&format!("notify {CHANNEL}, 'stop'")).await.expect("told");
    let asked = maker.await.expect("no panic");
    assert_eq!(asked[0], r#"{"table" : "public.events", "until" : "2031-01-01"}"#);
    assert!(world.proxy.tally().asked >= 4, "{:?}", world.proxy.tally());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_tried_again_is_an_error_at_once() {
    let world = World::with(|settings| settings.limits.missing_max = Duration::from_secs(3600)).await;
    world.blue.execute("app", TABLES).await.expect("a table");
    world
        .blue
        .execute(
            "app",
            "create table events_1 partition of events for values from ('2031-01-01') to ('2031-01-02')",
        )
        .await
        .expect("a partition");
    let mut client = world.client().await;
    let transaction = client.transaction().await.expect("begun");
    transaction.batch_execute("insert into events values ('2031-01-01', 1)").await.expect("a row");
    let error = transaction.execute("insert into events values ('2031-05-05', 2)", &[]).await;
    assert_eq!(error.expect_err("within a transaction").code(), Some(&SqlState::CHECK_VIOLATION));
    drop(transaction);
    for sql in [
        "insert into events values ('2031-01-01', -1)",
        "begin; insert into events values ('2031-05-05', 2)",
        "rollback; select 1; insert into events values ('2031-05-05', 2)",
    ] {
        let error = client.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code(), Some(&SqlState::CHECK_VIOLATION), "{sql}");
    }
    assert_eq!(rows(&client).await, Vec::<i64>::new());
    assert_eq!(world.proxy.tally().asked, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_limit_the_error_comes_with_a_hint_and_the_session_goes_on() {
    let world = World::with(|settings| settings.limits.missing_max = Duration::from_millis(300)).await;
    world.blue.execute("app", TABLES).await.expect("a table");
    let client = world.client().await;
    let insert = client.prepare("insert into events values ($1::text::date, 1)").await.expect("prepared");
    for by_query in [true, false] {
        let error = match by_query {
            true => client.batch_execute("insert into events values ('2031-05-05', 2)").await.map(|()| 0),
            false => client.execute(&insert, &[&"2031-05-05"]).await,
        };
        let error = error.expect_err("nobody makes it");
        let said = error.as_db_error().expect("the server's error");
        assert_eq!(said.code(), &SqlState::CHECK_VIOLATION);
        assert_eq!(said.table(), Some("events"));
        assert!(said.hint().is_some_and(|hint| hint.contains("rotate --watch")), "{said:?}");
    }
    assert_eq!(rows(&client).await, Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_waits_goes_with_its_partition_and_can_be_cancelled() {
    let world = World::with(|settings| settings.limits.missing_max = Duration::from_secs(3600)).await;
    for server in [&world.blue, &world.green] {
        server.execute("app", TABLES).await.expect("a table");
    }
    world
        .green
        .execute(
            "app",
            "create table events_1 partition of events for values from ('2031-01-01') to ('2031-01-02')",
        )
        .await
        .expect("a partition");
    let client = world.client().await;
    let waits = async || {
        while world.proxy.tally().asked == 0 {
            tokio::task::yield_now().await;
        }
    };
    let insert = client.execute("insert into events values ('2031-01-01', 7)", &[]);
    let (inserted, ()) = tokio::join!(insert, async {
        waits().await;
        world.switch(&world.green).await;
    });
    assert_eq!(inserted.expect("a row"), 1);
    assert_eq!(number(&world.green, "select count(*) from events where id = 7").await, 1);
    assert_eq!(number(&world.blue, "select count(*) from events").await, 0);
    world.doors.retarget(crate::support::PARTITION, home(&world.blue)).expect("it is listed");
    let cancel = client.cancel_token();
    let insert = client.execute("insert into events values ('2031-01-01', 8)", &[]);
    // A wish that comes between two tries is for a statement that has ended, as it is with a server.
    let inserted = tokio::select! {
        inserted = insert => inserted,
        never = async {
            loop {
                cancel.cancel_query(tokio_postgres::NoTls).await.expect("asked");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        } => never,
    };
    assert_eq!(inserted.expect_err("cancelled").code(), Some(&SqlState::QUERY_CANCELED));
    assert_eq!(rows(&client).await, Vec::<i64>::new());
}
