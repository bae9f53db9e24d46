//! Processes that die in the middle.
//!
//! Dropping the future together with its session is what `kill -9` is to the server: the statement that runs is
//! finished, and nothing follows. The next process begins while it may still run.

use std::time::Duration;

use replat_engine::lifecycle::Quiet;
use replat_model::lifecycle::plan::Unit;
use replat_postgres::lifecycle::mirror::brief::Patience;
use replat_postgres::lifecycle::mirror::survey::Session;
use replat_postgres::lifecycle::mirror::undo::undo;
use replat_postgres::lifecycle::reshape;

use crate::drain::{SHAPE, drain, schema};
use crate::harness::{DATABASE, Load, Shop, limits};

/// Lets a process work on the unit for a while, and kills it. Whether it had reached its end.
async fn killed_after(shop: &Shop, unit: &Unit, time: Duration) -> bool {
    let client = shop.server.client(DATABASE).await.expect("a session");
    let session = Session { client: &client, database: DATABASE, ledger: &shop.ledger, unit, run: "test" };
    let ended = tokio::time::timeout(time, reshape::act(&session, &limits(), &Quiet)).await;
    ended.is_ok_and(|outcome| outcome.expect("a drain").done)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_killed_again_and_again_is_gone_on_with() {
    for (case, key) in [("a primary key", ", primary key (id, ts)"), ("no key", "")] {
        let shop = Shop::open(&schema(key)).await;
        let load = Load::begin(&shop, SHAPE, 20_000).await;
        let unit = drain("k1ll");
        let mut deaths: i32 = 0;
        // A little later each time, so that each stage is met whatever the machine is busy with.
        while !killed_after(&shop, &unit, Duration::from_secs_f64(0.012 * 1.25_f64.powi(deaths))).await {
            deaths += 1;
        }
        load.go_on(20).await;
        load.judge(&shop, SHAPE).await;
        assert!(deaths > 3, "{case}: it was too quick to be killed, {deaths}");
        shop.assert_clean().await;
        shop.assert_proven(&["p_03", "p_04", "p_d"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_killed_anywhere_can_be_taken_back() {
    let shop = Shop::open(&schema(", primary key (id, ts)")).await;
    let load = Load::begin(&shop, SHAPE, 20_000).await;
    for death in 0..12 {
        let unit = drain(&format!("back{death}"));
        if killed_after(&shop, &unit, Duration::from_millis(10 + 25 * death)).await {
            break;
        }
        let client = shop.server.client(DATABASE).await.expect("a session");
        let session =
            Session { client: &client, database: DATABASE, ledger: &shop.ledger, unit: &unit, run: "test" };
        undo(&session, &unit.id, &mut Patience::new(&limits())).await.expect("taken back");
        shop.assert_clean().await;
    }
    load.go_on(20).await;
    load.judge(&shop, SHAPE).await;
}
