//! Sessions that choose no partition: their statements do, or are refused with the reason.

use futures_util::future::join;
use tokio_postgres::error::SqlState;

use crate::world::World;

#[tokio::test]
async fn a_statement_goes_where_its_key_lives_and_nothing_is_guessed() {
    let world = World::start(&[]).await;
    let _runner = world.deploy().await;
    let client = world.client(None).await.expect("a client of the proxy");
    let place = "select current_database()::text from accounts where tenant_id = $1 limit 1";
    for (tenant, database) in [(1_i64, "green"), (2, "blue"), (1, "green"), (3, "blue")] {
        let row = client.query_one(place, &[&tenant]).await.expect("a row");
        assert_eq!(row.get::<_, String>(0), database, "tenant {tenant}");
    }
    let hinted = "/* replat:partition=acme */ select current_database()::text";
    assert_eq!(client.query_one(hinted, &[]).await.expect("a row").get::<_, String>(0), "green");
    let refused = [
        ("select count(*) from accounts", "3D000"),
        ("select count(*) from accounts where tenant_id in (1, 2)", "0A000"),
        ("select count(*) from accounts where tenant_id = 1 or id = 3", "3D000"),
        ("begin", "3D000"),
        ("/* replat:partition=nobody */ select 1", "3D000"),
        ("/* replat:planet=mars */ select 1", "22023"),
        ("update accounts set sum = 0", "3D000"),
        ("select * from somewhere_else where tenant_id = 1", "3D000"),
    ];
    for (sql, state) in refused {
        let error = client.batch_execute(sql).await.expect_err(sql);
        assert_eq!(error.code().map(SqlState::code), Some(state), "{sql}: {error}");
    }
    let explained =
        world.program.run(&["route", "explain", "select count(*) from accounts"]).await.succeeds();
    assert!(explained.out.contains("the key of public.accounts is not restricted"), "{}", explained.out);
}

#[tokio::test]
async fn statements_that_are_sent_together_concern_one_partition() {
    let world = World::start(&[]).await;
    let client = world.client(None).await.expect("a client of the proxy");
    let insert =
        client.prepare("insert into entries (tenant_id, id) values ($1, $2)").await.expect("only prepared");
    // Each has a Sync of its own, so each is asked about alone, also where they arrive together.
    let (one, other) =
        join(client.execute(&insert, &[&1_i64, &1_i64]), client.execute(&insert, &[&2_i64, &1_i64])).await;
    assert_eq!((one.expect("a row"), other.expect("a row")), (1, 1));
    assert_eq!(world.entries("blue", "public", 1).await, [1]);
    assert_eq!(world.entries("blue", "public", 2).await, [1]);
    let both = "insert into entries (tenant_id, id) values (1, 2); insert into entries (tenant_id, id) values (2, 2)";
    let error = client.batch_execute(both).await.expect_err("two partitions in one message");
    assert_eq!(error.code().map(SqlState::code), Some("0A000"), "{error}");
    assert_eq!(world.entries("blue", "public", 1).await, [1]);
}

/// What is proved of a statement is proved by the home's `search_path` and the usual quoting. A session that sets others
/// is not guessed at, wherever it sets them, until it is back where it was.
#[tokio::test]
async fn a_session_that_reads_names_or_texts_otherwise_is_not_guessed_at() {
    let world = World::start(&[]).await;
    let decoy = "create schema other; create table other.accounts (tenant_id bigint, id bigint); \
         create function public.wander(path text) returns bigint language sql as \
         $$ select set_config('search_path', path, false); select 1::bigint $$; \
         create function public.dwell() returns bigint language sql as 'select 1::bigint'";
    world.server.execute("blue", decoy).await.expect("a decoy");
    let client = world.client(None).await.expect("a client of the proxy");
    let read = "select count(*) from accounts where tenant_id = 2";
    let qualified = "select count(*) from public.accounts where tenant_id = 2";
    client.batch_execute(read).await.expect("nothing was set yet");
    let wandering = "select public.wander('other, public') from public.accounts where tenant_id = 2 limit 1";
    let rows = [
        ("set search_path = other, public", "reset search_path"),
        ("set schema 'other'", "set search_path to default"),
        ("set names 'latin1'; set search_path = other", "reset all"),
        (wandering, "reset search_path"),
    ];
    for (leave, come_back) in rows {
        client.batch_execute(leave).await.expect(leave);
        let error = client.batch_execute(read).await.expect_err(leave);
        assert_eq!(error.code().map(SqlState::code), Some("3D000"), "{leave}: {error}");
        client.batch_execute(qualified).await.expect("a name with its schema means the same");
        client.batch_execute(come_back).await.expect(come_back);
        client.batch_execute(read).await.unwrap_or_else(|error| panic!("after {come_back}: {error}"));
    }
    // A function that leaves it alone costs a question, and no refusal.
    client
        .batch_execute("select public.dwell() from accounts where tenant_id = 2 limit 1")
        .await
        .expect("a row");
    client.batch_execute(read).await.expect("the path is as it was");
    // Prepared once, it may change it each time that it is run.
    let prepared =
        client.prepare("select public.wander($1) from public.accounts where tenant_id = 2 limit 1");
    let prepared = prepared.await.expect("it is prepared");
    for _ in 0..2 {
        client.query(&prepared, &[&"other"]).await.expect("it is run");
        let error = client.batch_execute(read).await.expect_err("another path");
        assert_eq!(error.code().map(SqlState::code), Some("3D000"), "{error}");
        client.batch_execute("reset search_path").await.expect("it is back");
        client.batch_execute(read).await.expect("the path is as it was");
    }
    // Strings: the server reads one here, and a reader with the usual rules another.
    client.batch_execute("set standard_conforming_strings = off").await.expect("it is set");
    let escaped = r"select count(*) from public.accounts where tenant_id = 2 and 'a\' or true --' = 'b'";
    let error = client.batch_execute(escaped).await.expect_err("strings are read otherwise");
    assert_eq!(error.code().map(SqlState::code), Some("3D000"), "{error}");
    client.batch_execute(qualified).await.expect("without a backslash, both rules read the same");
    client.batch_execute("reset standard_conforming_strings").await.expect("it is back");
    client.batch_execute("set client_encoding = latin1").await.expect("it is set");
    client.batch_execute(qualified).await.expect("ASCII means the same");
    let error = client.batch_execute(&format!("{qualified} and 'ä' = 'ä'")).await.expect_err("other bytes");
    assert_eq!(error.code().map(SqlState::code), Some("3D000"), "{error}");
    client.batch_execute("reset client_encoding").await.expect("it is back");
    // In one message.
    let error =
        client.batch_execute(&format!("set search_path = other; {read}")).await.expect_err("one message");
    assert_eq!(error.code().map(SqlState::code), Some("3D000"), "{error}");
    // With a partition chosen nobody reads; afterwards somebody does again.
    client.batch_execute("set replat.partition = 'zeta'").await.expect("chosen");
    client.batch_execute("set search_path = other").await.expect("set");
    client.batch_execute("reset replat.partition").await.expect("not chosen");
    let error = client.batch_execute(read).await.expect_err("another path");
    assert_eq!(error.code().map(SqlState::code), Some("3D000"), "{error}");
}
