//! Many clients that are logged in and idle.

use futures_util::future::{join_all, try_join_all};

use crate::world::World;

/// How many there are. `./x bench proxy` has thousands.
const CROWD: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_is_idle_follows_when_it_wakes_up() {
    let world = World::start(&["--no-statements"]).await;
    let crowd = try_join_all((0..CROWD).map(|_| world.client(Some("acme")))).await.expect("all log in");
    let place = async |wanted: &str| {
        let ask = crowd.iter().map(|client| client.query_one("select current_database()::text", &[]));
        for row in join_all(ask).await {
            assert_eq!(row.expect("an answer").get::<_, String>(0), wanted);
        }
    };
    let _runner = world.deploy().await;
    place("green").await;
    world.program.line("deploy rollback").await.succeeds();
    place("blue").await;
}
