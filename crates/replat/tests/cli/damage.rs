//! Rows that differ: found, named, and in the way of a switch until they are mended.

use crate::world::World;

/// Changes a row of green behind replat's back, as only a superuser can.
const DAMAGE: &str = "begin; alter table saas.users disable trigger all;
    update saas.users set first_name = first_name || '!' where tenant_id = 3 and id = 2;
    alter table saas.users enable trigger all; commit";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_on_green_is_named_and_stops_the_switch() {
    let world = World::example_with(|spec| spec).await;
    world.replat("verify -p tenant_id=3").await.fails("RP2006", 3).remarks("one side only");
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    world.replat("verify -p tenant_id=3").await.succeeds().prints("all equal").prints("digest ");
    let equal = world.replat("verify -p tenant_id=3 --json").await.succeeds().json();
    assert_eq!((&equal["equal"], &equal["id"]), (&true.into(), &"d1".into()));

    let green = world.on_green().await;
    green.batch_execute(DAMAGE).await.expect("a superuser can");
    // The guard fires for everybody, so that it must be told to fire always again.
    let ran = world.replat("verify -p tenant_id=3").await.fails("RP4003", 11);
    ran.prints("1 different")
        .remarks("1 row differs")
        .remarks("users (3, 2)")
        .remarks("SAFE: blue.public (blue)");
    let differs = world.replat("verify -p tenant_id=3 --json").await.exits(11);
    assert!(differs.out.contains("users (3, 2)"), "{}", differs.told());

    world.replat("deploy switch").await.fails("RP4003", 11).remarks("users (3, 2)");
    let shown = world.replat("deploy get").await.succeeds().prints("differs").prints("users (3, 2)");
    shown.prints("Next:  replat deploy resume d1     replat deploy abort d1");
    world.replat("deploy wait --for soak").await.fails("RP4003", 11).remarks("users (3, 2)");

    let blue = world.on_blue().await;
    blue.batch_execute("update users set full_name = full_name where tenant_id = 3 and id = 2")
        .await
        .expect("a touch");
    world.replat("deploy resume").await.succeeds();
    world.replat("deploy wait --for soak --timeout 100ms").await.fails("RP5003", 20);
    world.replat("deploy switch").await.succeeds().prints("at epoch e2");
    world.replat("verify -p tenant_id=3").await.succeeds().prints("all equal");
}
