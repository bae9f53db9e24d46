//! Words to a deployment that is at work: pause, resume, and the background.

use std::time::Duration;

use tokio_postgres::Client;

use crate::world::World;

/// In both databases: a function that waits while somebody holds a lock, and otherwise changes nothing. An expression
/// that uses it makes the copy stand still where a test wants it to. Who plans looks at all rows, and passes.
const GATE: &str = "create function public.gate(value text) returns text language plpgsql immutable as $$
    begin
        if current_setting('application_name') = 'replat/plan' then return value; end if;
        perform pg_advisory_lock_shared(4242);
        perform pg_advisory_unlock_shared(4242);
        return value;
    end $$";

/// The example with a gate in its way; whoever holds [`close`] keeps it shut.
pub async fn gated(policy: &str) -> World {
    let world = World::example_with(|spec| {
        let up = "up = \"split_part(full_name, ' ', 1)\"";
        assert!(spec.contains(up), "the example makes first names");
        spec.replace(up, "up = \"split_part(public.gate(full_name), ' ', 1)\"")
            .replace("soak = \"1h\"", policy)
    })
    .await;
    world.on_blue().await.batch_execute(GATE).await.expect("a gate on blue");
    world.on_green().await.batch_execute(GATE).await.expect("a gate on green");
    world
}

/// Shuts the gate on blue until the session ends.
pub async fn close(world: &World) -> Client {
    let gate = world.on_blue().await;
    gate.batch_execute("select pg_advisory_lock(4242)").await.expect("the lock");
    gate
}

/// Until somebody stands before the gate.
pub async fn somebody_waits(world: &World) {
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4242 and not granted \
                   and database = (select oid from pg_database where datname = current_database())";
    until(world, waiting).await;
}

/// Until a count on blue is not zero.
pub async fn until(world: &World, count: &str) {
    let client = world.on_blue().await;
    let counted = async {
        while crate::world::number(&client, count).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.expect(count);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_stops_the_copy_and_resume_lets_it_go_on() {
    let world = gated("soak = \"0s\"").await;
    let gate = close(&world).await;
    let deploying = world.program.start(&["deploy", "-p", "tenant_id=3", "-y"]);
    somebody_waits(&world).await;
    let listed = world.replat("deploy list --json").await.succeeds().json();
    assert!(listed[0]["runner"].as_str().is_some_and(|r| r.starts_with("pid ")), "{listed:#}");
    world
        .replat("deploy pause --reason lunch")
        .await
        .succeeds()
        .prints("paused     lunch")
        .prints("deploy resume d1");
    world.replat("deploy pause").await.succeeds().remarks("Nothing needs to be done.");
    drop(gate);
    let waiting = world.replat("deploy wait --for ready --timeout 1s").await.fails("RP5003", 20);
    assert!(!waiting.err.contains("no runner"), "{}", waiting.told());
    let events = world.replat("deploy events").await.succeeds();
    assert!(!events.out.contains("copied "), "the copy went on\n{}", events.told());
    world.replat("deploy resume").await.succeeds();
    let ended = deploying.end().await.succeeds().prints("finished").remarks("paused: lunch");
    assert!(ended.err.contains("resumed") && ended.err.contains("copied "), "{}", ended.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_detached_goes_on_and_somebody_else_waits_for_it() {
    let world = gated("soak = \"0s\"").await;
    let gate = close(&world).await;
    let begun = world.replat("deploy -p tenant_id=3 -y --detach").await.succeeds();
    begun.prints("d1 is under way in the background").prints("d1.log");
    somebody_waits(&world).await;
    let shown = world.replat("deploy get --live").await.succeeds().prints("copy").prints("pid ");
    let pid = shown.out.split("pid ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a pid");
    let words =
        std::fs::read(format!("/proc/{pid}/cmdline")).expect("the runner is a process of this machine");
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    assert!(words.contains("deploy watch d1") && !words.contains("postgres"), "{words}");
    let watching = world.program.start(&["deploy", "watch", "d1"]);
    let waiting = world.program.start(&["deploy", "wait", "d1", "--for", "finished", "--timeout", "80s"]);
    drop(gate);
    waiting.end().await.succeeds().prints("finished");
    watching.end().await.succeeds().prints("finished").remarks("switched to green");
    let log = std::fs::read_to_string(world.path(".replat/d1.log")).expect("the runner's log");
    assert!(log.contains("switched to green at e2"), "{log}");
}
