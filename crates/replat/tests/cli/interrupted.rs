//! Ctrl-C.

use crate::words::{close, gated, somebody_waits, until};
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_the_middle_says_how_to_go_on_and_watch_does() {
    for signal in ["INT", "TERM"] {
        let world = gated("soak = \"0s\"").await;
        let gate = close(&world).await;
        let deploying = world.program.start(&["deploy", "-p", "tenant_id=3", "-y"]);
        somebody_waits(&world).await;
        deploying.signal(signal).await;
        deploying
            .end()
            .await
            .fails("RP9002", 130)
            .remarks("replat deploy watch d1")
            .remarks("Or give it up: replat deploy abort d1")
            .remarks("SAFE: blue.public (blue) owns the rows, at epoch e1.");
        drop(gate);
        let shown = world.replat("deploy get").await.succeeds();
        shown
            .prints("none: nothing goes on until `replat deploy watch d1`")
            .prints("Next:  replat deploy watch d1");
        world.replat("deploy watch").await.succeeds().prints("finished");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_the_soak_keeps_the_way_back() {
    let world = gated("soak = \"1h\"").await;
    let deploying = world.program.start(&["deploy", "-p", "tenant_id=3", "-y"]);
    world.replat("deploy list").await.succeeds();
    let begun = async { while world.replat("deploy wait --for soak --timeout 60s").await.code != Some(0) {} };
    tokio::time::timeout(std::time::Duration::from_secs(80), begun).await.expect("the soak begins");
    deploying.signal("INT").await;
    let ended = deploying.end().await.fails("RP9002", 130);
    let ended = ended.remarks("SAFE: green.saas (green) owns the rows, at epoch e2.");
    let ended = ended.remarks("Or go back: replat deploy rollback d1");
    assert!(!ended.err.contains("abort"), "green is home: {}", ended.told());
    world.replat("deploy rollback").await.succeeds().prints("rolled-back");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_a_switch_lets_it_come_to_its_end_and_a_second_one_does_not_wait() {
    for again in [false, true] {
        let world = World::example_with(|spec| spec).await;
        world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
        world.replat("deploy set d1 fence_timeout=60s pause_max=60s").await.succeeds();
        let mut writer = world.on_blue().await;
        let writing = writer.transaction().await.expect("a transaction");
        writing
            .execute("update orders set note = 'x' where tenant_id = 3", &[])
            .await
            .expect("blue takes writes");
        let mut switching = world.program.start(&["deploy", "switch"]);
        // Before it waits for the writer it may not have come to listen to signals.
        until(
            &world,
            "select count(*) from pg_stat_activity where datname = current_database() \
                       and wait_event_type = 'Lock'",
        )
        .await;
        switching.signal("INT").await;
        // Two signals at once are one: a second follows only when the first was heard.
        switching.remarks("A switch is under way").await;
        if again {
            switching.signal("INT").await;
            let ran = switching.end().await.fails("RP9002", 130).remarks("blue.public");
            assert!(ran.out.is_empty(), "{}", ran.told());
            writing.commit().await.expect("the writer ends");
            world.replat("deploy switch").await.succeeds().prints("at epoch e2");
        } else {
            writing.commit().await.expect("the writer was waited for");
            switching.end().await.succeeds().prints("at epoch e2");
        }
    }
}
