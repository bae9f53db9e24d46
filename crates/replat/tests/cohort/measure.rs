//! What a cohort saves, measured in one run: many small tenants together, and some of the same one by one.

use std::time::{Duration, Instant};

use crate::tenants::Shop;

/// Tenants that go together.
const TOGETHER: i64 = 300;

/// Tenants that go one by one; the others would take as long each.
const ALONE: i64 = 10;

/// `cargo test --workspace --test cohort -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, of some minutes"]
async fn three_hundred_small_tenants_together_and_one_by_one() {
    let policy = "soak = '0s'\n";
    let shop = Shop::new(TOGETHER + ALONE, 100, 20, policy).await;
    let begun = Instant::now();
    for tenant in 1..=ALONE {
        shop.replat(&format!("-q deploy -p tenant_id={tenant} -y")).await.succeeds();
    }
    let alone = begun.elapsed().as_secs_f64() / ALONE as f64;
    let begun = Instant::now();
    let end = TOGETHER + ALONE + 1;
    let range = format!("tenant_id=[{},{end})", ALONE + 1);
    let patient = shop.program.clone().within(Duration::from_secs(900));
    patient.run(&["-y", "-q", "deploy", "--each", "-p", &range]).await.succeeds();
    let together = begun.elapsed().as_secs_f64() / TOGETHER as f64;
    println!(
        "a tenant alone: {alone:.2} s; a tenant of {TOGETHER} together: {together:.3} s; {:.0} times",
        alone / together
    );
    assert!(together < alone, "together is no slower than alone");
}
