//! Reads that are run at the other home as well, and compared.

use std::time::Duration;

use crate::world::World;

/// So long is waited for what comes by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// A value that is nobody's business.
const SECRET: i64 = 7_351_994;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_other_home_would_answer_is_compared_and_the_client_notices_nothing() {
    let mut world = World::start(&["--variance-log", "variances.log"]).await;
    let runner = world.deploy().await;
    world.program.line("deploy rollback").await.succeeds();
    // As if one row had gone wrong on the way, past the guard.
    let wrong = format!(
        "set session_replication_role = replica;
         do $$ declare guard text; guards text[] := array(
           select tgname from pg_trigger where tgrelid = 'shop.accounts'::regclass and tgenabled = 'A');
         begin
           foreach guard in array guards loop
             execute format('alter table shop.accounts disable trigger %I', guard); end loop;
           update shop.accounts set sum = {SECRET} where tenant_id = 1 and id = 5;
           foreach guard in array guards loop
             execute format('alter table shop.accounts enable always trigger %I', guard); end loop;
         end $$"
    );
    world.server.execute("green", &wrong).await.expect("a wrong row");
    let words =
        ["route", "set", "acme", "--reads", "100", "--from", "green.shop", "--shadow", "--stale-max", "5s"];
    world.program.run(&words).await.succeeds();

    let client = world.client(Some("acme")).await.expect("a client of the proxy");
    let right = client.prepare("select id, sum from accounts where tenant_id = $1 and id < 5 order by id");
    let right = right.await.expect("prepared");
    let wrong = "select /* of tenant 1 */ id, sum from accounts where tenant_id = 1 and id = 5";
    let reads = async || {
        let rows = client.query(&right, &[&1_i64]).await.expect("rows of the own home");
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [1, 2, 3, 4]);
        let row = client.query_one(wrong, &[]).await.expect("a row of the own home");
        assert_eq!(row.get::<_, i64>(1), 0, "the own home answers");
        // Its settings stay what they are there and here.
        assert_eq!(client.simple_query(wrong).await.expect("rows").len(), 3);
    };
    let found = async {
        while world.file("variances.log").lines().count() < 2 {
            reads().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the wrong row is found");

    // The other home goes, and the client notices nothing.
    let gone = "alter database green allow_connections false";
    world.server.execute("postgres", gone).await.expect("nobody gets in");
    let gone = "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'green'";
    world.server.execute("postgres", gone).await.expect("nobody stays");
    for _ in 0..100 {
        reads().await;
    }
    drop(runner);
    drop(client);

    let log = world.file("variances.log");
    let tally = world.stop().await;
    assert!(!log.contains(&SECRET.to_string()), "no data: {log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        assert_eq!(line["partition"], "acme", "{line}");
        assert_eq!(line["kind"], "values", "{line}");
        let shape = "select id, sum from accounts where tenant_id = ? and id = ?";
        assert_eq!(line["shapes"], serde_json::json!([shape]), "{line}");
        assert_eq!(
            (&line["home"]["at"]["database"], &line["home"]["rows"]),
            (&"blue".into(), &1.into()),
            "{line}"
        );
        assert_eq!((&line["other"]["at"]["database"], &line["other"]["rows"]), (&"green".into(), &1.into()));
        assert!(line["home"]["took_us"].is_u64() && line["epoch"].is_u64(), "{line}");
    }
    let shadow = &tally["shadow"];
    let count = |name: &str| shadow[name].as_u64().expect("a count");
    assert!(count("differed") >= 2 && count("equal") >= 1, "{tally}");
    assert!(count("compared") >= count("differed") + count("equal"), "{tally}");
    assert_eq!((count("transient"), count("unwritten")), (0, 0), "{tally}");
    assert!(shadow["skipped"]["unreachable"].as_u64() >= Some(1), "{tally}");
    assert_eq!(tally["elsewhere"], 0, "{tally}");
}
