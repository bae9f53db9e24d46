//! A crash at every durable step that only a cohort takes.

use crate::tenants::{Shop, Writers, sums};

/// Where the runner dies.
const POINTS: [&str; 8] = [
    "scan.reference_copied",
    "scan.before_commit",
    "scan.after_commit",
    "hub.recorded",
    "hub.recorded:9",
    "apart.slot_copied",
    "cohort.left",
    "cohort.left:3",
];

/// The tenant with a row that green does not take.
const MISFIT: i64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_anywhere_converges() {
    for point in POINTS {
        // Of many members some ask at once, and those are copied together.
        let tenants = if point.starts_with("scan.") { 16 } else { 4 };
        let shop = Shop::new(tenants, 20, 10, "soak = '1h'").await;
        let blue = shop.blue().await;
        // What planning sees is refused by planning. It does not see this, and no row is copied before it is committed.
        shop.replat("plan deploy --each --out plan.json").await.succeeds();
        let spoilt = format!("begin; update moves set amount = -1 where tenant_id = {MISFIT} and id = 5");
        // Members that had to wait for a lock come one after the other, and are not copied together.
        let spoils = !point.starts_with("scan.");
        if spoils {
            blue.batch_execute(&spoilt).await.expect("a row that does not fit");
        }
        let writers = Writers::start(&shop, 2).await;
        let dying = shop.program.clone().with("REPLAT_CRASH_AT", point);
        dying.line("-q apply plan.json -y --detach").await.succeeds();
        if spoils {
            blue.batch_execute("commit").await.expect("nobody is in its way");
        }
        // Whoever dies at its end dies when it is asked to finish.
        let at_the_end = point.starts_with("cohort.");
        if at_the_end {
            let waited = shop.replat("deploy wait c1 --for soak --timeout 60s").await;
            assert_eq!(waited.code, Some(30), "{point}: {}", waited.told());
            shop.replat("deploy abort c1").await;
        } else {
            until_dead(&shop, tenants, point).await;
        }
        let runner = shop.program.start(&["-q", "--progress", "none", "deploy", "watch", "c1"]);
        let mended = format!("update moves set amount = 1 where tenant_id = {MISFIT} and id = 5");
        blue.batch_execute(&mended).await.expect("a row that fits");
        if !at_the_end {
            shop.replat("deploy wait c1 --for soak --timeout 60s").await.succeeds();
        }
        shop.replat("deploy finish c1").await.succeeds();
        let acknowledged = writers.end().await;
        drop(runner);
        let (on_blue, on_green) = (sums(&blue).await, sums(&shop.green().await).await);
        for (tenant, n) in &acknowledged {
            let home = if at_the_end && *tenant == MISFIT { &on_blue } else { &on_green };
            assert_eq!(home.get(tenant), Some(n), "{point}: tenant {tenant} lost or doubled a write");
        }
        assert_eq!(shop.slots(&blue).await, Vec::<String>::new(), "{point}");
    }
}

/// Waits until nobody says to be running the cohort.
async fn until_dead(shop: &Shop, tenants: i64, point: &str) {
    for _ in 0..300 {
        let cohort = shop.replat("deploy get c1 --json").await.succeeds().json();
        if cohort["runner"].is_null() && cohort["phases"]["prepare"] != tenants {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{point}: nobody died there");
}
