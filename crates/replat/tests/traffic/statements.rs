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
