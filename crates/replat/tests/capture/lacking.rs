//! What cannot be had is said with what would give it, and what is left is captured.

use replat_testkit::Server;

use crate::world::{World, logging, sell};

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_server_has_its_catalogue_and_says_the_rest() {
    let world = World::on(
        Server::builder()
            .blue()
            .setting("wal_level", "replica")
            .setting("shared_preload_libraries", "")
            .setting("log_destination", "stderr"),
    )
    .await;
    let capturing = world.start("--for 1s --out bare.jsonl --sample-rate 0.5").await;
    sell(&mut world.client().await, 1, 1).await;
    let ended = capturing.end().await.succeeds().prints("bare.jsonl").prints("its time was over");
    for said in [
        "T1 statements: the library of pg_stat_statements is not loaded; ALTER SYSTEM SET shared_preload_libraries",
        "T2 writes: wal_level is replica; ALTER SYSTEM SET wal_level = 'logical'",
        "T3 sample: the server does not write its log to a file (logging_collector is off); ALTER SYSTEM SET",
    ] {
        assert!(ended.out.contains(said), "{said}\n{}", ended.told());
    }
    let lines = world.lines("bare.jsonl");
    assert_eq!(lines[0]["lacking"].as_array().map(Vec::len), Some(3), "{}", lines[0]);
    assert_eq!(world.of_kind("bare.jsonl", "table").len(), 5);
    assert_eq!(world.rate().await, "0");
    world.client().await.batch_execute("drop extension pg_stat_statements").await.expect("it goes");
    let told = world.program.line("capture start -n --from env:SHOP_URL").await.succeeds();
    told.prints("the extension pg_stat_statements is not there; CREATE EXTENSION");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_gets_what_its_grants_give_and_is_told_the_grants_that_are_missing() {
    let world = World::new().await;
    let root = world.client().await;
    root.batch_execute("create role feeble login").await.expect("a role");
    root.batch_execute("alter system set log_transaction_sample_rate = 1").await.expect("a setting");
    root.batch_execute("select pg_reload_conf()").await.expect("it holds");
    world.until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'").await;
    let feeble = world.server.url("shop").replace("postgres@", "feeble@");
    let program = world.program.clone().with("SHOP_URL", feeble);
    let dry = "capture start -n --from env:SHOP_URL";
    let told = program.line(dry).await.succeeds().prints("would be captured: T0 T1\n");
    let told =
        told.prints("GRANT pg_read_all_data TO \"feeble\"").prints("ALTER ROLE \"feeble\" REPLICATION");
    told.prints("GRANT pg_monitor TO \"feeble\"");
    root.batch_execute(
        "alter role feeble replication; grant pg_read_all_data, pg_monitor to feeble; \
         grant execute on function pg_catalog.pg_current_logfile(text), \
         pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) to feeble",
    )
    .await
    .expect("grants");
    let told = program.line(dry).await.succeeds().prints("T0 T1 T3\n");
    let told = told.prints("feeble owns no table that could be published");
    told.prints("CREATE PUBLICATION replat_capture FOR TABLE");
    // The owner makes it, and it is the owner's afterwards.
    root.batch_execute("create publication replat_capture for table accounts, orders, visits with (publish_via_partition_root)")
        .await
        .expect("a publication");
    program.line(dry).await.succeeds().prints("T0 T1 T2 T3\n");
    let capturing = world.start_by(&program, "--out feeble.jsonl").await;
    sell(&mut world.client().await, 1, 1).await;
    capturing.signal("INT").await;
    capturing.end().await.succeeds();
    assert_eq!(world.of_kind("feeble.jsonl", "writes")[0]["rows"].as_array().map(Vec::len), Some(2));
    assert_eq!(world.of_kind("feeble.jsonl", "transaction").len(), 1);
    assert_eq!(world.left_overs().await, (0, 1, "1".into()));
    // To set what the server logs is a right of its own.
    let told =
        world.start_by(&program, "--for 1s --out more.jsonl --sample-rate 0.5").await.end().await.succeeds();
    told.prints("GRANT ALTER SYSTEM ON PARAMETER log_transaction_sample_rate TO \"feeble\"");
    root.batch_execute(
        "grant alter system on parameter log_transaction_sample_rate to feeble; \
         grant execute on function pg_catalog.pg_reload_conf() to feeble",
    )
    .await
    .expect("grants");
    let capturing = world.start_by(&program, "--out most.jsonl --sample-rate 0.5").await;
    world.until("select setting = '0.5' from pg_settings where name = 'log_transaction_sample_rate'").await;
    capturing.signal("INT").await;
    capturing.end().await.succeeds();
    world.until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_no_slot_left_says_so_before() {
    let world = World::on(logging().setting("max_replication_slots", "1")).await;
    let taken = "select pg_create_physical_replication_slot('theirs')";
    world.client().await.batch_execute(taken).await.expect("a slot");
    let said =
        "T2 writes: all replication slots are in use (max_replication_slots); give up one that nobody needs";
    let told = world.program.line("capture start -n --from env:SHOP_URL").await.succeeds();
    told.prints("would be captured: T0 T1\n").prints(said);
    let ended = world.start("--for 1s --out noslot.jsonl").await.end().await.succeeds();
    ended.prints(said).prints("T0 T1");
    assert_eq!(world.left_overs().await, (1, 0, "0".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lies_here_needs_no_right_on_the_server() {
    let world = World::on(logging().setting("log_transaction_sample_rate", "1")).await;
    let find = "select pg_current_logfile(case when current_setting('server_version_num')::int >= 150000 \
         then 'jsonlog' else 'csvlog' end)";
    let path: String = world.client().await.query_one(find, &[]).await.expect(find).get(0);
    let log = world.server.folder().join("data").join(path);
    world.client().await.batch_execute("create role feeble login").await.expect("a role");
    let feeble = world.server.url("shop").replace("postgres@", "feeble@");
    let program = world.program.clone().with("SHOP_URL", feeble);
    let capturing = world.start_by(&program, &format!("--out here.jsonl --log {}", log.display())).await;
    sell(&mut world.client().await, 1, 1).await;
    capturing.signal("INT").await;
    capturing.end().await.succeeds();
    assert_eq!(world.of_kind("here.jsonl", "transaction").len(), 1);
    let fixed = world.start("--for 1s --out fixed.jsonl --sample-rate 0.5").await.end().await.succeeds();
    fixed.prints("is said on the server's command line");
    let told = world.program.line("capture start -n --from env:SHOP_URL --log nothere.json").await.succeeds();
    told.prints("nothere.json cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_captured_at_all_is_refused() {
    let world = World::new().await;
    let postgres = world.program.clone().with("SHOP_URL", world.server.url("postgres"));
    postgres.line("capture start --from env:SHOP_URL").await.fails("RP3101", 4);
    assert!(!world.path(".replat/captures/c1.jsonl.part").exists());
    let nobody = world.program.clone().with("SHOP_URL", "postgres://127.0.0.1:1/nobody?connect_timeout=5");
    nobody.line("capture start --from env:SHOP_URL").await.fails("RP1001", 20);
    world.program.line("capture start").await.fails("RP1005", 2).remarks("--from env:DB_URL");
    world.program.line("capture start --from env:NOTHERE").await.fails("RP1005", 3);
    world.program.line("capture start --from env:SHOP_URL --sample-rate 2").await.exits(2);
    world.program.line("capture start --from env:SHOP_URL --name a/b").await.fails("RP2006", 2);
    world.program.line("capture show c7").await.fails("RP2006", 3);
    world.program.line("capture stop c7").await.fails("RP2006", 3);
    world.program.line("capture stop").await.succeeds().prints("No capture is running.");
    world.program.line("capture list").await.succeeds().prints("There are no captures yet.");
    std::fs::write(world.path("other"), "{\"format\":\"other/1\"}\n").expect("a file");
    world.program.line("capture show other").await.fails("RP3103", 3).remarks("replat-evidence/1");
    std::fs::write(world.path("other"), "").expect("a file");
    world.program.line("capture show other").await.fails("RP3103", 3).remarks("it is empty");
    let capturing = world.start("--for 10m").await;
    world.program.line("capture start --from env:SHOP_URL").await.fails("RP3102", 21);
    capturing.signal("INT").await;
    capturing.end().await.succeeds();
}
