//! Rows that come faster than anybody expected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::daemon::{Daemon, replat};
use crate::place::Place;

/// Keys that are numbers, by a sequence, which rose by 100 a day for twelve days.
const NUMBERS: &str = "
    create table orders (id bigint generated always as identity primary key, note text) partition by range (id);
    create table orders_0 partition of orders for values from (0) to (1000);
    insert into orders (note) select 'old' from generate_series(1, 900);
    analyze;";

const HISTORY: &str = "
    insert into replat.lifecycle_sample (set_id, at, inserted, rows, bytes, high)
    select 'orders'::regclass, now() - (12 - d) * interval '1 day', d * 75, d * 75, 8192, (d * 75)::text
    from generate_series(1, 11) d;";

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_gets_partitions_before_it_needs_them() {
    let place = Place::empty().await;
    place.client.batch_execute(NUMBERS).await.expect("a table");
    let first = replat(&["rotate", "--ahead=12", "--db-url", &place.url]).output().await.expect("it runs");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    place.client.batch_execute(HISTORY).await.expect("earlier looks");
    let mut daemon = Daemon::start(&place.url, &["--ahead=12", "--velocity-every=1s", "--no-listen"]);
    daemon.good_run("start").await;
    let calm = place.partitions("orders").await;
    assert!((13..=16).contains(&calm), "{calm}");
    // So many keys as there are partitions for at the beginning last for some twelve seconds of this.
    let (over, writer) = (Arc::new(AtomicBool::new(false)), place.session().await);
    let stop = over.clone();
    let writes = tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let rows = "insert into orders (note) select 'new' from generate_series(1, 200)";
            writer.execute(rows, &[]).await.expect("every row has a partition");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let run = daemon.good_run("public.orders grows").await;
    over.store(true, Ordering::Relaxed);
    writes.await.expect("no row was refused");
    assert_eq!(run["databases"][0]["reason"]["by"], "velocity", "{run}");
    assert_eq!(run["databases"][0]["reason"]["table"], "public.orders", "{run}");
    let more = place.partitions("orders").await;
    assert!(more >= 100, "{calm} partitions, and {more} now");
    let rest = "insert into orders (note) select 'rest' from generate_series(1, 90000)";
    place.client.execute(rest, &[]).await.expect("there is room for the rest of the burst");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_as_forecast_start_no_run() {
    let place = Place::empty().await;
    place.client.batch_execute(NUMBERS).await.expect("a table");
    let first = replat(&["rotate", "--ahead=12", "--db-url", &place.url]).output().await.expect("it runs");
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    place.client.batch_execute(HISTORY).await.expect("earlier looks");
    // What this session counted would else be told to the others some seconds later, as if it were a burst.
    place.client.batch_execute("select pg_stat_force_next_flush()").await.expect("counts are told");
    let mut daemon = Daemon::start(
        &place.url,
        &["--ahead=12", "--velocity-every=1s", "--no-listen", "--schedule=*/6 * * * * *"],
    );
    daemon.good_run("start").await;
    place.client.batch_execute("insert into orders (note) values ('one')").await.expect("a row");
    // Between two of the schedule's runs it is measured several times.
    for _ in 0..2 {
        let run = daemon.run("").await;
        assert_eq!(run["databases"][0]["reason"]["by"], "schedule", "{run}");
    }
    daemon.stop().await;
}
