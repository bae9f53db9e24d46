//! What a session takes along when its partition moves, and what it cannot.

use std::time::Duration;

use replat_proxy::Pinned;
use replat_testkit::Server;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::support::{PARTITION, World, home, number};

async fn port(client: &Client) -> u16 {
    let row = client.query_one("select current_setting('port')::int", &[]).await.expect("an answer");
    u16::try_from(row.get::<_, i32>(0)).expect("a port")
}

async fn text(client: &Client, query: &str) -> String {
    client.query_one(query, &[]).await.expect("an answer").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_and_settings_come_along() {
    let world = World::start().await;
    let client = world.client().await;
    let statement = client.prepare("select current_setting('port')::int + $1::int").await.expect("prepared");
    client
        .batch_execute(
            "set search_path = pg_catalog, \"it's\"; set app.tenant = 'a''b\\c'; set timezone = 'Asia/Tokyo';
             set work_mem = '12345kB'; select set_config('app.other', 'x', false); set role app",
        )
        .await
        .expect("settings");
    client.batch_execute("begin; set statement_timeout = 1; rollback").await.expect("taken back");
    world.switch(&world.green).await;
    let sum: i32 = client.query_one(&statement, &[&1]).await.expect("prepared again").get(0);
    assert_eq!(sum, i32::from(world.green.port()) + 1);
    for (setting, want) in [
        ("search_path", "pg_catalog, \"it's\""),
        ("app.tenant", "a'b\\c"),
        ("app.other", "x"),
        ("timezone", "Asia/Tokyo"),
        ("work_mem", "12345kB"),
        ("statement_timeout", "0"),
        ("role", "app"),
    ] {
        assert_eq!(text(&client, &format!("select current_setting('{setting}')")).await, want, "{setting}");
    }
    // And once more, from where all of it was only replayed.
    world.switch(&world.blue).await;
    let sum: i32 = client.query_one(&statement, &[&1]).await.expect("prepared again").get(0);
    assert_eq!(sum, i32::from(world.blue.port()) + 1);
    assert_eq!(text(&client, "select current_setting('app.tenant')").await, "a'b\\c");
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_finds_statements_that_the_protocol_prepared_even_after_a_move() {
    let world = World::start().await;
    let client = world.client().await;
    let statement = client.prepare("select 7").await.expect("prepared");
    let name = text(&client, "select name from pg_prepared_statements where statement = 'select 7'").await;
    world.switch(&world.green).await;
    client.batch_execute(&format!("execute {name}")).await.expect("it is there");
    world.switch(&world.blue).await;
    client.batch_execute(&format!("deallocate {name}")).await.expect("it is there");
    drop(statement);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_answered_in_order_through_a_switch() {
    let world = World::start().await;
    let client = world.client().await;
    let statement = client.prepare("select $1::int").await.expect("prepared");
    let ask = async || {
        for round in 0..40 {
            let numbers: Vec<i32> = (round * 50..round * 50 + 50).collect();
            let asked =
                numbers.iter().map(|number| {
                    let (client, statement) = (&client, &statement);
                    async move {
                        client.query_one(statement, &[number]).await.expect("an answer").get::<_, i32>(0)
                    }
                });
            assert_eq!(futures_util::future::join_all(asked).await, numbers);
        }
    };
    tokio::join!(ask(), async {
        for to in [&world.green, &world.blue, &world.green] {
            world.switch(to).await;
        }
    });
    assert_eq!(port(&client).await, world.green.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_ends_where_it_began_and_the_switch_waits_for_it() {
    let world = World::start().await;
    let client = world.client().await;
    client.batch_execute("begin").await.expect("begun");
    let hold = world.doors.hold(PARTITION, Some(home(&world.green)));
    let mut hold = std::pin::pin!(hold);
    let patience = tokio::time::timeout(Duration::from_millis(50), &mut hold);
    assert!(patience.await.is_err(), "the transaction is open");
    assert_eq!(port(&client).await, world.blue.port());
    client.batch_execute("commit").await.expect("committed");
    hold.await.expect("it is listed");
    let (answer, ()) = tokio::join!(port(&client), async {
        while world.proxy.tally().held == 0 {
            tokio::task::yield_now().await;
        }
        world.doors.retarget(PARTITION, home(&world.green)).expect("it is listed");
        world.doors.release(PARTITION).expect("it is listed");
    });
    assert_eq!(answer, world.green.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lives_in_a_servers_process_pins_its_session() {
    let world = World::start().await;
    let rows = [
        ("create temp table t (a int)", "temporary tables", "drop table t"),
        ("listen news", "LISTEN", "unlisten *"),
        ("select pg_advisory_lock_shared(1)", "advisory locks", "select pg_advisory_unlock_shared(1)"),
        ("begin; declare c cursor with hold for select 1; commit", "cursors WITH HOLD", "close c"),
        ("prepare p as select 1", "statements of PREPARE", "deallocate p"),
    ];
    for (begin, what, end) in rows {
        let (pinned, freed) = (world.client().await, world.client().await);
        pinned.batch_execute(begin).await.expect(begin);
        freed.batch_execute(begin).await.expect(begin);
        freed.batch_execute(end).await.expect(end);
        world.proxy.survey();
        let pins = async || {
            let sessions = world.proxy.sessions();
            let known: Option<Vec<_>> = sessions.into_iter().map(|session| session.pins).collect();
            known.map(|pins| pins.concat())
        };
        let pins = loop {
            match pins().await {
                Some(pins) => break pins,
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!(pins, [what], "known before the switch");
        world.switch(&world.green).await;
        assert_eq!(port(&freed).await, world.green.port(), "{end} sets the session free");
        let error = pinned.query_one("select 1", &[]).await.expect_err(begin);
        let said = error.as_db_error().unwrap_or_else(|| panic!("{begin}: {error:?}"));
        assert_eq!(said.code(), &SqlState::ADMIN_SHUTDOWN);
        assert!(said.detail().is_some_and(|detail| detail.contains(what)), "{said:?}");
        drop((pinned, freed));
        world.switch(&world.blue).await;
        while !world.proxy.sessions().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_session_may_wait_for_its_partition_to_come_back() {
    let world = World::with(|settings| settings.pinned = Pinned::Wait(Duration::from_secs(60))).await;
    let client = world.client().await;
    client.batch_execute("create temp table t as select 1 a").await.expect("a table");
    world.switch(&world.green).await;
    let (count, ()) = tokio::join!(client.query_one("select count(*) from t", &[]), async {
        while world.proxy.sessions().iter().all(|session| session.pins.is_none()) {
            tokio::task::yield_now().await;
        }
        world.switch(&world.blue).await;
    });
    assert_eq!(count.expect("the table is there").get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_statement_can_be_cancelled_and_its_session_goes_on() {
    let world = World::start().await;
    let client = world.client().await;
    // A wish that also went to the server, which has nothing to cancel, would be late and hit what comes next. That
    // does not happen every time. Plain queries, since the end of a prepared one is a request of its own.
    for _ in 0..30 {
        world.doors.hold(PARTITION, None).await.expect("it is listed");
        let (answer, cancelled) = tokio::join!(client.simple_query("select 1"), async {
            while world.proxy.tally().held == 0 {
                tokio::task::yield_now().await;
            }
            client.cancel_token().cancel_query(tokio_postgres::NoTls).await
        });
        cancelled.expect("asked");
        assert_eq!(answer.expect_err("cancelled").code(), Some(&SqlState::QUERY_CANCELED));
        world.doors.release(PARTITION).expect("it is listed");
        client.simple_query("select 1").await.expect("nobody wishes that it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_server_where_the_session_is_now() {
    let world = World::start().await;
    let client = world.client().await;
    world.switch(&world.green).await;
    let (answer, cancelled) = tokio::join!(client.batch_execute("select pg_sleep(60)"), async {
        let running = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
        while number(&world.green, running).await == 0 {
            tokio::task::yield_now().await;
        }
        client.cancel_token().cancel_query(tokio_postgres::NoTls).await
    });
    cancelled.expect("asked");
    assert_eq!(answer.expect_err("cancelled").code(), Some(&SqlState::QUERY_CANCELED));
    assert_eq!(port(&client).await, world.green.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_home_that_is_not_there_yet_is_waited_for() {
    let mut world = World::start().await;
    let client = world.client().await;
    world.green.stop().await.expect("stopped");
    world.switch(&world.green).await;
    let asked = tokio::spawn(async move { port(&client).await });
    world.green.restart().await.expect("started");
    assert_eq!(asked.await.expect("an answer"), world.green.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_home_that_stays_away_is_an_error_that_the_session_survives() {
    let mut world = World::with(|settings| settings.limits.move_max = Duration::from_millis(200)).await;
    let client = world.client().await;
    world.green.stop().await.expect("stopped");
    world.switch(&world.green).await;
    let error = client.query_one("select 1", &[]).await.expect_err("green is not there");
    assert_eq!(error.code().map(SqlState::code), Some("08001"), "{error:?}");
    world.switch(&world.blue).await;
    assert_eq!(port(&client).await, world.blue.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_transactions_end_and_tells_everybody_why() {
    let world = World::start().await;
    let (resting, busy, stubborn) = (world.client().await, world.client().await, world.client().await);
    for client in [&busy, &stubborn] {
        client.batch_execute("begin").await.expect("begun");
    }
    world.proxy.stop(Duration::from_secs(2));
    let code = |error: tokio_postgres::Error| error.code().cloned();
    while !resting.is_closed() {
        tokio::task::yield_now().await;
    }
    let row = busy.query_one("select 1", &[]).await.expect("the transaction goes on");
    assert_eq!(row.get::<_, i32>(0), 1);
    busy.batch_execute("commit").await.expect("to its end");
    let error = stubborn.batch_execute("select pg_sleep(60)").await.expect_err("patience has an end");
    assert_eq!(code(error), Some(SqlState::ADMIN_SHUTDOWN));
    assert!(crate::support::session(&world.pairs("app+acme", crate::support::PASSWORD)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_is_told_and_the_proxy_lives() {
    let mut world = World::start().await;
    let client = world.client().await;
    let asked = tokio::spawn(async move { client.batch_execute("select pg_sleep(60)").await });
    let running = "select count(*) from pg_stat_activity where query like 'select pg_sleep%'";
    while number(&world.blue, running).await == 0 {
        tokio::task::yield_now().await;
    }
    world.blue.kill().await.expect("killed");
    let error = asked.await.expect("no panic").expect_err("its server is gone");
    assert_eq!(error.code().map(SqlState::code), Some("08006"), "{error:?}");
    world.blue.restart().await.expect("started");
    assert_eq!(port(&world.client().await).await, world.blue.port());
}

/// How many sessions of the role `app` a server has.
async fn sessions(server: &Server) -> i64 {
    number(server, "select count(*) from pg_stat_activity where usename = 'app'").await
}

async fn until_sessions(server: &Server, count: i64) {
    while sessions(server).await != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_at_the_new_home_before_the_release_and_not_if_it_comes_to_nothing() {
    let world = World::start().await;
    let client = world.client().await;
    let statement = client.prepare("select current_setting('port')::int + $1::int").await.expect("prepared");
    client.batch_execute("set app.tenant = 'seven'").await.expect("a setting");
    let sum = async || client.query_one(&statement, &[&1]).await.expect("an answer").get::<_, i32>(0);

    // The switch is given up: what was opened is left, and nothing of the session is lost.
    world.doors.hold(PARTITION, Some(home(&world.green))).await.expect("it is listed");
    let (got, ()) = tokio::join!(sum(), async {
        until_sessions(&world.green, 1).await;
        world.doors.release(PARTITION).expect("it is listed");
    });
    assert_eq!(got, i32::from(world.blue.port()) + 1);
    until_sessions(&world.green, 0).await;
    assert_eq!(text(&client, "select current_setting('app.tenant')").await, "seven");
    assert_eq!(world.proxy.tally().moves, 0);

    world.doors.hold(PARTITION, Some(home(&world.green))).await.expect("it is listed");
    let (got, ()) = tokio::join!(sum(), async {
        until_sessions(&world.green, 1).await;
        world.doors.retarget(PARTITION, home(&world.green)).expect("it is listed");
        world.doors.release(PARTITION).expect("it is listed");
    });
    assert_eq!(got, i32::from(world.green.port()) + 1, "prepared again");
    assert_eq!(text(&client, "select current_setting('app.tenant')").await, "seven");
    let tally = world.proxy.tally();
    assert_eq!((tally.moves, tally.warm), (1, 1));
    until_sessions(&world.blue, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_gets_ready_can_be_cancelled_and_has_all_it_had() {
    let world = World::start().await;
    let client = world.client().await;
    client.batch_execute("set app.tenant = 'seven'").await.expect("a setting");
    world.doors.hold(PARTITION, Some(home(&world.green))).await.expect("it is listed");
    let (answer, cancelled) = tokio::join!(client.query_one("select 1", &[]), async {
        until_sessions(&world.green, 1).await;
        client.cancel_token().cancel_query(tokio_postgres::NoTls).await
    });
    cancelled.expect("asked");
    assert_eq!(answer.expect_err("cancelled").code(), Some(&SqlState::QUERY_CANCELED));
    world.doors.release(PARTITION).expect("it is listed");
    assert_eq!(text(&client, "select current_setting('app.tenant')").await, "seven");
    assert_eq!(port(&client).await, world.blue.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_come_to_a_new_home_one_after_the_other_if_it_may_be_no_more() {
    let world = World::with(|settings| settings.limits.moves_at_once = 1).await;
    let clients = futures_util::future::join_all((0..8).map(|_| world.client())).await;
    world.doors.hold(PARTITION, Some(home(&world.green))).await.expect("it is listed");
    let asked = futures_util::future::join_all(clients.iter().map(port));
    let (ports, ()) = tokio::join!(asked, async {
        until_sessions(&world.green, 8).await;
        world.doors.retarget(PARTITION, home(&world.green)).expect("it is listed");
        world.doors.release(PARTITION).expect("it is listed");
    });
    assert_eq!(ports, [world.green.port(); 8]);
    // Those who come later find the line empty, too.
    world.switch(&world.blue).await;
    let ports = futures_util::future::join_all(clients.iter().map(port)).await;
    assert_eq!(ports, [world.blue.port(); 8]);
}
