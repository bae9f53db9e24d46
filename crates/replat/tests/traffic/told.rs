//! A switch is told to hooks, whatever these do, and they cost it nothing.

use replat_testkit::HookServer;
use replat_testkit::hook::Reply;
use serde_json::Value;

use crate::world::World;

#[tokio::test]
async fn a_switch_is_told_to_hooks_and_a_lost_word_repeated() {
    let server = HookServer::start("127.0.0.1:0".parse().expect("an address")).await.expect("a server");
    let hooks = format!(
        "[hooks.cache]\nurl = \"http://{}/\"\nsecret = \"env:HOOK_SECRET\"\n\
         [hooks.gone]\nurl = \"http://127.0.0.1:1/\"\n",
        server.address()
    );
    let world = World::start_with(&hooks, &[]).await;
    world.program.line("registry publish").await.succeeds().prints("hook gone is behind");
    assert_eq!(server.seen(1).await.len(), 1);
    // The first word of the switch is lost.
    server.answer(&[Reply::Status(503)]);
    let deploying = world.deploy().await;
    let told = async {
        for count in 2.. {
            let seen = server.seen(count).await;
            let last: Value = serde_json::from_slice(&seen[count - 1].body).expect("JSON");
            let switched = |one: &Value| one["partition"] == "acme" && one["kind"] == "switched";
            if last["partitions"].as_array().is_some_and(|all| all.iter().any(switched)) {
                assert!(seen[count - 1].fields["replat-signature"].starts_with("sha256="));
                return last;
            }
        }
        unreachable!("there is always one more");
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(120), told).await.expect("it is told");
    assert_eq!((&told["project"], &told["context"]), (&"shop".into(), &"shop".into()));
    let moved =
        told["partitions"].as_array().and_then(|all| all.iter().find(|one| one["partition"] == "acme"));
    assert_eq!(moved.expect("acme")["home"]["database"], "green");
    let status = world.program.line("registry status").await.succeeds();
    status.prints("hook gone is behind");
    drop(deploying);
}
