//! Ctrl-C.

use crate::words::{close, gated, somebody_waits};

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
    deploying
        .end()
        .await
        .fails("RP9002", 130)
        .remarks("SAFE: green.saas (green) owns the rows, at epoch e2.");
    world.replat("deploy rollback").await.succeeds().prints("rolled-back");
}
