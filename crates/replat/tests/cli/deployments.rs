//! A deployment from its beginning to its end, as `deploy` and its verbs show it.

use serde_json::Value;

use crate::world::{World, number};

/// The example with a soak that nobody waits for.
async fn soaking() -> World {
    World::example_with(|spec| spec).await
}

/// How many rows of a tenant a table has.
async fn rows(client: &tokio_postgres::Client, table: &str, tenant: i64) -> i64 {
    number(client, &format!("select count(*) from {table} where tenant_id = {tenant}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn to_green_and_back_and_to_green_again_and_finished() {
    let world = soaking().await;
    let held = world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    let held = held.prints("ready").prints("replat deploy switch d1     replat deploy abort d1");
    assert!(held.err.contains("copied ") && !held.err.contains("switched"), "{}", held.told());

    world
        .replat("deploy rollback")
        .await
        .fails("RP5002", 3)
        .remarks("has not switched")
        .remarks("deploy abort d1");
    world.replat("deploy finish").await.fails("RP5002", 3).remarks("green");
    world.replat("deploy switch --dry-run").await.succeeds().prints("No change has been made.");
    world
        .replat("deploy switch d1")
        .await
        .succeeds()
        .prints("at epoch e2")
        .remarks("switched to green at e2");
    world.replat("deploy switch d1").await.succeeds().remarks("Nothing needs to be done.");
    world.replat("deploy abort d1").await.fails("RP5002", 3).remarks("roll back first");

    let green = world.on_green().await;
    let paid = "insert into saas.payments (tenant_id, order_id, amount_minor, reference) \
                select 3, min(id), 4242, gen_random_uuid() from saas.orders where tenant_id = 3";
    green.batch_execute(paid).await.expect("green takes writes");
    let blue = world.on_blue().await;
    let refused = blue.batch_execute("update orders set note = 'x' where tenant_id = 3").await;
    let refused = refused.expect_err("blue is closed for the tenant");
    assert_eq!(refused.code().map(|c| c.code()), Some("25006"), "{refused}");
    blue.batch_execute("update orders set note = 'x' where tenant_id = 4").await.expect("others go on");

    world
        .replat("deploy rollback d1 --reason slow")
        .await
        .succeeds()
        .prints("rolled-back")
        .prints("at epoch e3");
    assert_eq!(
        number(&blue, "select count(*) from payments where tenant_id = 3 and amount = 42.42").await,
        1
    );
    world.replat("deploy switch").await.succeeds().prints("at epoch e4");
    let finished = world.replat("deploy finish").await.succeeds().prints("finished");
    let finished = finished.prints("then `replat deploy watch d1` drops it");
    assert!(!finished.out.contains("Next:"), "{}", finished.told());
    world.replat("deploy rollback d1").await.fails("RP5002", 3).remarks("the way back of d1 has ended");
    assert_eq!(rows(&green, "saas.payments", 3).await, rows(&blue, "payments", 3).await);
    let mine = format!(
        "select count(*) from pg_replication_slots where database in ('{}', '{}')",
        world.blue, world.green
    );
    assert_eq!(number(&blue, &mine).await, 0, "no slot is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_aborted_leaves_nothing_behind_and_can_be_begun_anew() {
    let world = World::example().await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    world.replat("deploy abort --reason why-not").await.succeeds().prints("aborted");
    let green = world.on_green().await;
    let left = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                where n.nspname = 'saas' and c.relkind = 'r'";
    assert_eq!(number(&green, left).await, 0);
    for (line, said) in [
        ("deploy switch d1", "d1 was aborted"),
        ("deploy pause d1", "d1 was aborted"),
        ("deploy rollback d1", "the way back of d1 has ended"),
    ] {
        world.replat(line).await.fails("RP5002", 3).remarks(said);
    }
    world.replat("deploy abort d1").await.succeeds().remarks("Nothing needs to be done.");
    world.replat("deploy wait d1 --for soak").await.fails("RP5005", 12);
    world
        .replat("deploy -p tenant_id=3 -y")
        .await
        .succeeds()
        .prints("d2  saas/tenant_id_3")
        .prints("finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_are_listed_and_shown_and_their_history_is_read() {
    let world = soaking().await;
    world.replat("deploy list").await.succeeds().prints("no deployments yet").prints("Next:");
    world.replat("deploy get").await.fails("RP2006", 3).remarks("no deployment yet");
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    world.replat("deploy switch").await.succeeds();
    world.replat("deploy list").await.succeeds().prints("PARTITION").prints("saas/tenant_id_3");
    let listed = world.replat("deploy list --json").await.succeeds().json();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["home"], &listed[0]["phase"]),
        (&"d1".into(), &"green".into(), &"soak".into())
    );

    let shown = world.replat("deploy get").await.succeeds();
    let shown = shown.prints("soak").prints("green.saas (green), at epoch e2").prints("way back");
    let shown =
        shown.prints("none: what is written on green does not flow back until `replat deploy watch d1`");
    for line in ["deploy get d1", "deploy get deployment/d1", "show d1", "show deployment/d1"] {
        assert_eq!(world.replat(line).await.succeeds().out, shown.out, "{line}");
    }
    let live = world.replat("deploy get --live").await.succeeds();
    live.prints("green -> blue: does not run, ").prints("follow what is written on green");
    let live = world.replat("deploy get --live --json").await.succeeds().json();
    assert_eq!(live["streams"].as_array().map(Vec::len), Some(2), "{live:#}");
    assert_eq!(live["reversible"], true);

    let events = world.replat("deploy events").await.succeeds();
    for part in ["asked: tenant_id_3 from blue.public to green.saas", "attempt 1: fenced", "settled at e2"] {
        assert!(events.out.contains(part), "{part}\n{}", events.told());
    }
    let values = world.replat("deploy events --json").await.succeeds().json();
    let values = values.as_array().expect("a list");
    assert_eq!(values.len(), events.out.lines().count());
    assert!(values.iter().enumerate().all(|(n, v)| v["seq"] == n as u64), "{values:#?}");
    for line in ["deploy get d9", "show d9", "deploy watch d9", "deploy events d9"] {
        world.replat(line).await.fails("RP2006", 3).remarks("there is no deployment d9");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_followed_to_its_end_one_object_a_line() {
    let world = World::example_with(|spec| spec.replace("1h", "0s") + "retain = \"0s\"\n").await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    let text = world.program.start(&["deploy", "events", "-f"]);
    let json = world.program.start(&["deploy", "events", "-f", "--json", "--quiet"]);
    world.replat("deploy abort").await.succeeds();
    let text = text.end().await.succeeds().prints("aborted: nothing is left behind");
    let lines: Vec<Value> =
        json.end().await.succeeds().out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), text.out.lines().count());
    assert_eq!(lines.last().expect("entries")["event"]["event"], "aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_deployment_of_a_partition_is_refused_and_names_the_first() {
    let world = soaking().await;
    world.replat("plan deploy -p tenant_id=3 --out plan.json").await.succeeds();
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    world.write("replat.toml", &spec.replace("[policy]", "[policy]\nlag_max = \"2MiB\""));
    world.replat("plan deploy -p tenant_id=3 --out other.json").await.succeeds();
    world.replat("apply plan.json -y --hold").await.succeeds();
    for line in ["deploy -p tenant_id=3 -y", "apply other.json -y", "apply other.json -n"] {
        let ran = world.replat(line).await.fails("RP6002", 21);
        ran.remarks("is being deployed by d1").remarks("replat deploy get d1");
    }
    world.replat("apply plan.json -y").await.succeeds().prints("carried out already, as d1");
    world.replat("deploy -p tenant_id=4 -y --hold").await.succeeds().prints("d2  saas/tenant_id_4");
    world.replat("deploy get").await.fails("RP2006", 3).remarks("several deployments can be meant: d1, d2");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_while_it_runs_and_a_slip_is_forgiven() {
    let world = soaking().await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    world.replat("deploy set d1 lag-max=4MiB soak=2d attempts=7").await.succeeds();
    let policy = world.replat("deploy get --json").await.succeeds().json()["policy"].clone();
    assert_eq!(
        (&policy["lag_max"], &policy["soak"], &policy["attempts"]),
        (&"4MiB".into(), &"2d".into(), &7.into())
    );
    for (change, said) in [
        ("lagmax=4MiB", "did you mean lag_max?"),
        ("pauze_max=1s", "did you mean pause_max?"),
        ("soak", "write key=value"),
        ("soak=soon", "unit"),
        ("copy_parallel=0", "1 to 32"),
        ("attempts=many", "attempts"),
        ("pause_max=1ms", "fence_timeout"),
        ("lock_timeout=0s", "longer than zero"),
    ] {
        world.program.run(&["deploy", "set", "d1", change]).await.fails("RP2006", 2).remarks(said);
    }
    assert_eq!(world.replat("deploy get --json").await.json()["policy"], policy);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_when_the_phase_is_reached_or_passed_or_time_is_up() {
    let world = soaking().await;
    world.replat("deploy -p tenant_id=3 -y --hold").await.succeeds();
    for phase in ["prepare", "copy", "verify", "ready"] {
        world.replat(&format!("deploy wait --for {phase}")).await.succeeds().prints("ready");
    }
    world
        .replat("deploy wait --for soak --timeout 200ms")
        .await
        .fails("RP5003", 20)
        .remarks("no runner is at work")
        .remarks("replat deploy watch d1");
    world.replat("deploy wait --for sok").await.fails("RP2006", 2).remarks("did you mean soak?");
    world.replat("deploy wait --timeout soon").await.fails("RP2006", 2).remarks("15m");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_back_it_says_so_asks_for_it_and_goes_on_to_the_end() {
    let world = World::example_with(|spec| {
        let down = "down = { column = \"amount\", sql = \"amount_minor::numeric / 100\" }\n";
        assert!(spec.contains(down), "payments has a way back in the example");
        spec.replace(down, "").replace("\"accept-lossy\"", "\"preferred\"")
    })
    .await;
    let planned = world.replat("plan deploy -p tenant_id=3").await.succeeds().prints("reversible   no:");
    let planned = planned.prints("payments.amount").prints("needs --allow IRREVERSIBLE");
    assert!(planned.out.contains("--allow IRREVERSIBLE\n"), "the next command allows it\n{}", planned.told());
    world.replat("deploy -p tenant_id=3 -y").await.fails("RP2005", 3).remarks("--allow IRREVERSIBLE");

    world.replat("deploy -p tenant_id=3 -y --hold --allow IRREVERSIBLE").await.succeeds().prints("ready");
    world.replat("deploy rollback").await.fails("RP5002", 3).remarks("d1 has no way back");
    world.replat("deploy switch").await.succeeds().prints("Next:  replat deploy finish d1");
    assert_eq!(world.replat("deploy get --json").await.json()["reversible"], false);
    world.replat("deploy rollback").await.fails("RP5002", 3).remarks("deployed as not reversible");
    world.replat("deploy finish").await.succeeds().prints("finished");
    let (blue, green) = (world.on_blue().await, world.on_green().await);
    assert_eq!(rows(&green, "saas.payments", 3).await, rows(&blue, "payments", 3).await);
}
