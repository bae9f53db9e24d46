//! Rows for days that have no partition yet, while a daemon makes partitions.

use std::time::Duration;

use crate::world::World;

/// Days from now, of which each has rows before it has a partition.
const DAYS: std::ops::Range<i64> = 40..46;

const TABLE: &str = "create table visits (tenant_id bigint not null, at timestamptz not null, id bigint not null) \
                     partition by range (at)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_days_without_a_partition_see_latency_and_no_error() {
    let world = World::start(&["--missing-wait", "60s"]).await;
    world.server.execute("blue", TABLE).await.expect("a table");
    let first = "do $$ declare day text := date_trunc('day', now() at time zone 'UTC')::text; begin \
                 execute format('create table visits_0 partition of visits for values from (%L) to (%L)', \
                   day || '+00', (day::timestamp + interval '1 day')::text || '+00'); end $$";
    world.server.execute("blue", first).await.expect("a partition");
    let url = world.server.url("blue");
    let words = ["rotate", "--watch", "--json", "--velocity-every=0s", "--buffer-days=5", "--db-url", &url];
    let _daemon = world.program.start(&words);
    let partitions = async || {
        let client = world.server.client("blue").await.expect("a client");
        let sql = "select count(*) from pg_inherits where inhparent = 'visits'::regclass";
        client.query_one(sql, &[]).await.expect("a count").get::<_, i64>(0)
    };
    let begun = async {
        while partitions().await < 5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.expect("the daemon's first run");
    let writers = DAYS.map(|days| {
        let world = &world;
        async move {
            let client = world.client(Some("acme")).await.expect("a client of the proxy");
            let sql = "insert into visits values (1, now() + $1::int8 * interval '1 day', $1)";
            client.execute(sql, &[&days]).await
        }
    });
    for written in futures_util::future::join_all(writers).await {
        assert_eq!(written.expect("a row"), 1);
    }
    let client = world.client(Some("acme")).await.expect("a client of the proxy");
    let ids = client.query("select id from visits order by id", &[]).await.expect("rows");
    assert_eq!(ids.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), DAYS.collect::<Vec<_>>(), "each once");
}
