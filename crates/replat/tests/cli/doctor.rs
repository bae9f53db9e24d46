//! `doctor`: each check has a state, what stands in the way is said with what mends it, and nothing is changed.

use serde_json::Value;

use crate::world::World;

fn outcome<'a>(said: &'a Value, check: &str) -> &'a str {
    let checks = said["checks"].as_array().expect("checks");
    let found = checks.iter().find(|verdict| verdict["check"] == check);
    found.and_then(|verdict| verdict["outcome"].as_str()).expect(check)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_has_a_state_and_a_sound_project_passes() {
    let world = World::example().await;
    let ran = world.replat("doctor -p tenant_id=3").await.succeeds();
    ran.prints("✓ NO_KEY").prints("0 blocking, 0 to allow").prints("Next:  replat plan deploy");
    let said = world.replat("doctor -p tenant_id=3 --json").await.succeeds().json();
    let checks = said["checks"].as_array().expect("checks");
    assert!(checks.iter().all(|verdict| verdict["outcome"] != "not_looked"), "{said}");
    assert_eq!(outcome(&said, "LOSSY_ROLLBACK"), "noted");
    world.replat("doctor -p tenant_id=3 --strict").await.exits(14);
    // Without a partition nobody looks at its rows, and that is no pass.
    let said = world.replat("doctor --json").await.succeeds().json();
    assert_eq!(outcome(&said, "FK_LEAVES"), "not_looked");
    assert_eq!(outcome(&said, "NO_KEY"), "passed");
    world.replat("deploy list").await.succeeds().prints("no deployments yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_at_once_and_its_script_mends_it() {
    let world = World::example().await;
    let blue = world.on_blue().await;
    blue.batch_execute(
        "alter table payments set unlogged; alter table orders replica identity nothing; \
         alter table users replica identity nothing",
    )
    .await
    .expect("trouble");
    let ran = world.replat("doctor").await.exits(4);
    let ran = ran.prints("✗ UNLOGGED").prints("✗ REPLICA_IDENTITY").prints("2 tables: orders, users");
    ran.prints("2 blocking");
    let script = world.replat("doctor --fix=print").await.exits(4).out;
    let statements: Vec<&str> = script.lines().filter(|line| !line.starts_with("--")).collect();
    assert!(statements.contains(&"ALTER TABLE \"public\".\"payments\" SET LOGGED;"), "{script}");
    assert!(script.contains(&format!("database {}", world.blue)), "{script}");
    world.replat("doctor --fix=print").await.exits(4);
    for statement in statements.iter().flat_map(|line| line.split_inclusive("; ")) {
        blue.batch_execute(statement).await.expect(statement);
    }
    world.replat("doctor").await.succeeds().prints("0 blocking");
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_that_cannot_run_leaves_the_checks_of_blue() {
    let world = World::example().await;
    world.write("schema_v2.sql", "create table nonsense (x no_such_type);");
    let ran = world.replat("doctor").await.exits(4).prints("no_such_type").prints("✓ NO_KEY");
    ran.prints("· TYPE_DIFFERS").prints("1 blocking");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_a_spec_is_surveyed_and_its_first_spec_is_valid() {
    let world = World::example().await;
    let blue = world.on_blue().await;
    blue.batch_execute("create table \"Odd \"\"one\" (tenant_id bigint not null, note text)")
        .await
        .expect("a table");
    let url = world.server.url(&world.blue);
    let line = format!("doctor --db-url={url} --write-spec first/replat.toml");
    world.replat(&line).await.fails("RP2001", 3);
    std::fs::create_dir(world.path("first")).expect("a folder");
    let ran = world.replat(&line).await.exits(4).prints("→ tenant_id").prints("reference: currencies");
    ran.prints("✗ NO_KEY").prints("ADD COLUMN").prints("1 blocking");
    world.replat("validate -c first/replat.toml").await.succeeds().prints("1 context");
    let text = std::fs::read_to_string(world.path("first/replat.toml")).expect("a spec");
    assert!(text.contains("tables.\"Odd \\\"one\"]") && text.contains("env:BLUE_URL"), "{text}");
    // A file that is there is somebody's work.
    world.replat(&line).await.fails("RP2001", 3);
    let line = format!("doctor --db-url={url} --key tenant_ids");
    world.replat(&line).await.fails("RP2002", 4).remarks("Did you mean tenant_id?");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_shows_what_it_took_beside_what_was_predicted() {
    let world = World::example().await;
    world.replat("deploy -p tenant_id=3 -y").await.succeeds().prints(" predicted").prints("pause");
    let said = world.replat("deploy get --json").await.succeeds().json();
    for place in ["/happened/rows", "/happened/bytes", "/predicted/rows", "/predicted/bytes"] {
        assert!(said.pointer(place).and_then(Value::as_u64).is_some_and(|n| n > 0), "{place} {said}");
    }
    for place in ["/happened/copy_ms", "/happened/verify_ms", "/happened/pauses_ms/0"] {
        assert!(said.pointer(place).is_some_and(Value::is_u64), "{place} {said}");
    }
    // A few hundred rows do not say how fast rows come; how far the servers are is known all the same.
    assert_eq!(said.pointer("/predicted/copy_ms"), Some(&Value::Null), "{said}");
    assert!(said.pointer("/predicted/pause_ms/high").is_some_and(Value::is_u64), "{said}");
    let got = world.replat("deploy get").await.succeeds().prints("predicted unknown");
    assert!(
        got.out.lines().any(|line| line.contains("pause") && line.contains("predicted")),
        "{}",
        got.told()
    );
    world.replat("plan deploy -p tenant_id=4").await.succeeds().prints("too few to tell how fast they come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_rows_says_how_long_the_copy_will_take() {
    let world = World::example().await;
    let blue = world.on_blue().await;
    blue.batch_execute(
        "insert into events select 3, g, gen_random_uuid(), 'seen', '{}', now() from generate_series(1000000, 1008000) g; analyze events",
    )
    .await
    .expect("rows");
    let ran = world.replat("plan deploy -p tenant_id=3").await.succeeds();
    ran.prints("rows of events, read in").prints("blue answers in").prints("of log a second");
    let outlook = world.replat("plan deploy -p tenant_id=3 --dry-run --json").await.succeeds().json();
    for place in ["/prediction/copy_ms/low", "/prediction/pause_ms/high", "/prediction/measured/read/rows"] {
        assert!(outlook.pointer(place).and_then(Value::as_u64).is_some_and(|n| n > 0), "{place} {outlook}");
    }
    world.replat("doctor -p tenant_id=3").await.prints("predicted").prints("rows of events, read in");
    world.replat("deploy -p tenant_id=3 -y").await.succeeds();
    let said = world.replat("deploy get --json").await.succeeds().json();
    for place in ["/predicted/copy_ms/low", "/predicted/verify_ms/high", "/happened/copy_ms"] {
        assert!(said.pointer(place).is_some_and(Value::is_u64), "{place} {said}");
    }
    let got = world.replat("deploy get").await.succeeds();
    let compared = |name: &str| {
        got.out
            .lines()
            .any(|line| line.contains(name) && line.contains("predicted") && !line.contains("unknown"))
    };
    assert!(compared("copy took") && compared("equal took") && compared("pause"), "{}", got.told());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_side_that_answers_is_looked_at_although_the_other_does_not() {
    let world = World::example().await;
    let spec = std::fs::read_to_string(world.path("replat.toml")).expect("the spec");
    let nobody = "postgres://127.0.0.1:1/nobody?connect_timeout=5";
    let without = |side: &str| world.write("replat.toml", &spec.replace(&format!("env:{side}"), nobody));
    without("GREEN_URL");
    let ran = world.replat("doctor").await.exits(4).prints("✗ RP1001").prints("green, which was not reached");
    ran.prints("green was not reached, and was taken to be an empty copy of blue").prints("7 tables");
    without("BLUE_URL");
    let ran = world.replat("doctor").await.exits(4).prints("✗ RP1001").prints("blue, which was not reached");
    ran.prints("blue was not reached, and only green was looked at").prints("PostgreSQL 1");
    let green = world.on_green().await;
    green.batch_execute("create role feeble login").await.expect("a role");
    let url = world.server.url(&world.green).replace("postgres@", "feeble@");
    let feeble = spec.replace("env:BLUE_URL", nobody).replace("env:GREEN_URL", &url);
    world.write("replat.toml", &feeble);
    world
        .replat("doctor")
        .await
        .exits(4)
        .prints("✗ PRIVILEGE")
        .prints("feeble may not read the log on green");
    world.write("replat.toml", &spec.replace("env:BLUE_URL", nobody).replace("env:GREEN_URL", nobody));
    world.replat("doctor").await.fails("RP1001", 20);
}
