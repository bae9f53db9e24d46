//! A crash at every durable step that only a cohort takes.

use crate::tenants::{Shop, Writers, sums};

/// The tenant with a row that green does not take.
const MISFIT: i64 = 2;

/// These tests are about what is lost, not about how long anybody waits, and run beside others.
const PATIENT: &str = "soak = '1h'\nfence_timeout = '20s'\npause_max = '30s'";

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_a_scan_of_many_converges() {
    for point in ["scan.reference_copied", "scan.before_commit", "scan.after_commit"] {
        // Of many members some ask at once, and those are copied together.
        let shop = Shop::new(16, 20, 10, PATIENT).await;
        shop.replat("plan deploy --each --out plan.json").await.succeeds();
        let writers = Writers::start(&shop, 2).await;
        dying(&shop, point).await;
        until_dead(&shop, 16, point).await;
        let runner = shop.program.start(&["-q", "--progress", "none", "deploy", "watch", "c1"]);
        shop.replat("deploy wait c1 --for soak --timeout 80s").await.succeeds();
        shop.replat("deploy finish c1").await.succeeds();
        nothing_is_lost(&shop, writers, point, |_| false).await;
        drop(runner);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_log_or_beside_it_converges() {
    for point in ["hub.recorded", "hub.recorded:9", "apart.slot_copied", "cohort.left", "cohort.left:3"] {
        let shop = Shop::new(4, 20, 10, PATIENT).await;
        let blue = shop.blue().await;
        // What planning sees is refused by planning. It does not see this, and no row is copied before it is committed.
        shop.replat("plan deploy --each --out plan.json").await.succeeds();
        let spoilt = format!("begin; update moves set amount = -1 where tenant_id = {MISFIT} and id = 5");
        blue.batch_execute(&spoilt).await.expect("a row that does not fit");
        let writers = Writers::start(&shop, 2).await;
        dying(&shop, point).await;
        blue.batch_execute("commit").await.expect("nobody is in its way");
        // Whoever dies at its end dies when it is asked to finish.
        let at_the_end = point.starts_with("cohort.");
        if at_the_end {
            let waited = shop.replat("deploy wait c1 --for soak --timeout 80s").await;
            assert_eq!(waited.code, Some(30), "{point}: {}", waited.told());
            shop.replat("deploy abort c1").await;
        } else {
            until_dead(&shop, 4, point).await;
        }
        let mended = format!("update moves set amount = 1 where tenant_id = {MISFIT} and id = 5");
        blue.batch_execute(&mended).await.expect("a row that fits");
        let runner = shop.program.start(&["-q", "--progress", "none", "deploy", "watch", "c1"]);
        if !at_the_end {
            shop.replat("deploy wait c1 --for soak --timeout 80s").await.succeeds();
        }
        shop.replat("deploy finish c1").await.succeeds();
        nothing_is_lost(&shop, writers, point, |tenant| at_the_end && tenant == MISFIT).await;
        drop(runner);
    }
}

/// Begins the deployment that was planned, by a runner that dies at `point`.
async fn dying(shop: &Shop, point: &str) {
    let dying = shop.program.clone().with("REPLAT_CRASH_AT", point);
    dying.line("-q apply plan.json -y --detach").await.succeeds();
}

/// Every acknowledged write is where its tenant lives now, once, and no slot is left.
async fn nothing_is_lost(shop: &Shop, writers: Writers, point: &str, is_on_blue: impl Fn(i64) -> bool) {
    let acknowledged = writers.end().await;
    let blue = shop.blue().await;
    let (on_blue, on_green) = (sums(&blue).await, sums(&shop.green().await).await);
    for (tenant, n) in &acknowledged {
        let home = if is_on_blue(*tenant) { &on_blue } else { &on_green };
        assert_eq!(home.get(tenant), Some(n), "{point}: tenant {tenant} lost or doubled a write");
    }
    assert_eq!(shop.slots(&blue).await, Vec::<String>::new(), "{point}");
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
