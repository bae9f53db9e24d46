//! A tenant whose rows green would not take is found by planning; whether the others wait for it is the user's word.

use crate::tenants::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_go_is_named_and_stays_behind_if_one_says_so() {
    let shop = Shop::new(4, 20, 10, "soak = '1h'").await;
    let blue = shop.blue().await;
    blue.batch_execute("update moves set amount = -1 where tenant_id = 2 and id = 5")
        .await
        .expect("a misfit");

    let refused = shop.replat("plan deploy --each").await.fails("RP2002", 4);
    let refused = refused
        .remarks("1 of 4 partitions cannot go as they are")
        .remarks("tenant_id_2: CHECK_VIOLATED")
        .remarks("--leave-out-refused");
    assert!(!refused.err.contains("tenant_id_3"), "{}", refused.told());

    // Without anybody who could go there is nothing to leave out.
    let refused = shop.replat("plan deploy -p tenant_id=2 -p tenant_id=[2,3) --leave-out-refused").await;
    assert_ne!(refused.code, Some(0), "{}", refused.told());

    let planned = shop.replat("plan deploy --each --leave-out-refused --out plan.json").await.succeeds();
    let planned = planned.prints("3 partitions, each by itself").prints("left out     1 partition");
    planned.prints("tenant_id_2: CHECK_VIOLATED");
    shop.replat("apply plan.json -y --detach").await.succeeds();
    shop.replat("deploy wait c1 --for soak --timeout 80s").await.succeeds();

    // It was not touched: when it is mended, it goes by itself, between those that went before.
    blue.batch_execute("update moves set amount = 1 where tenant_id = 2 and id = 5")
        .await
        .expect("blue is home");
    shop.replat("deploy -p tenant_id=2 -y --detach").await.succeeds();
    shop.replat("deploy wait d4 --for soak --timeout 80s").await.succeeds();
    let green = shop.green().await;
    let there = green.query_one("select count(distinct tenant_id) from moves", &[]).await.expect("a count");
    assert_eq!(there.get::<_, i64>(0), 4);
    // Whoever runs them in the background ends with them.
    for one in ["c1", "d4"] {
        shop.replat(&format!("deploy finish {one}")).await.succeeds();
    }
}
