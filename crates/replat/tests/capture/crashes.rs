//! A capture that is killed leaves a file that can be read, no slot, and what the next one takes away.

use crate::world::{World, sell};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_capture_leaves_what_it_had_and_no_slot() {
    let world = World::new().await;
    let capturing = world.start("--for 10m --sample-rate 1").await;
    world.until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'").await;
    sell(&mut world.client().await, 1, 1).await;
    let told = async {
        let part = ".replat/captures/c1.jsonl.part";
        // What is counted of statements is told again and again, so that the last of it is there after a death.
        let is_counted = |line: &serde_json::Value| !line["calls"].is_null();
        while world.of_kind(part, "writes").is_empty()
            || world.of_kind(part, "transaction").is_empty()
            || !world.of_kind(part, "statement").iter().any(is_counted)
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), told)
        .await
        .expect("what is read is written at once");
    capturing.signal("KILL").await;
    assert_eq!(capturing.end().await.code, None);
    world.until("select not exists (select from pg_replication_slots)").await;
    assert_eq!(world.left_overs().await, (0, 2, "1".into()), "what a killed process cannot take away");
    world.program.line("capture list").await.succeeds().prints("c1").prints("killed");
    world
        .program
        .line("capture show c1")
        .await
        .succeeds()
        .prints("T0 T1 T2 T3")
        .prints("it was never finished");
    let advice = world.program.line("advise --evidence c1 --json").await.succeeds().json();
    assert_eq!(advice["tier"], "T3", "{advice:#}");
    world.until("select not exists (select from pg_locks where locktype = 'advisory')").await;
    world.program.line("capture stop").await.succeeds().remarks("c1 was killed").prints("c1    T0");
    world.until("select setting = '0' from pg_settings where name = 'log_transaction_sample_rate'").await;
    assert_eq!(world.left_overs().await, (0, 0, "0".into()));
    world.program.line("capture stop").await.succeeds().prints("No capture is running.");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_it_dies_at_the_next_one_puts_back() {
    for (place, rate) in
        [("capture.remembered", "0.25"), ("capture.sampling", "1"), ("capture.published", "0.25")]
    {
        let world = World::new().await;
        let root = world.client().await;
        root.batch_execute("alter system set log_transaction_sample_rate = 0.25").await.expect("a setting");
        root.batch_execute("select pg_reload_conf()").await.expect("it holds");
        world
            .until("select setting = '0.25' from pg_settings where name = 'log_transaction_sample_rate'")
            .await;
        let dying = world.program.clone().with("REPLAT_CRASH_AT", place);
        let died = dying.line("capture start --from env:SHOP_URL --sample-rate 1").await;
        assert_eq!(died.code, None, "{place}: {}", died.told());
        world
            .until(&format!(
                "select setting = '{rate}' from pg_settings where name = 'log_transaction_sample_rate'"
            ))
            .await;
        world.until("select not exists (select from pg_locks where locktype = 'advisory')").await;
        let next = world.start("--for 10m --name next").await;
        next.signal("INT").await;
        next.end().await.succeeds();
        world
            .until("select setting = '0.25' from pg_settings where name = 'log_transaction_sample_rate'")
            .await;
        assert_eq!(world.left_overs().await, (0, 0, "0.25".into()), "{place}");
        let listed = world.program.line("capture list --json").await.succeeds().json();
        let states: Vec<_> =
            listed.as_array().into_iter().flatten().map(|c| (&c["name"], &c["state"])).collect();
        assert!(!format!("{states:?}").contains("killed"), "{place}: {states:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_watched_again() {
    let mut world = World::new().await;
    let capturing = world.start("--for 10m --sample-rate 1 --out gone.jsonl").await;
    world.until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'").await;
    let sent =
        "select coalesce(bool_and(pg_current_wal_flush_lsn() <= sent_lsn), false) from pg_stat_replication";
    sell(&mut world.client().await, 1, 1).await;
    world.until(sent).await;
    world.server.restart().await.expect("it comes back");
    // The session that counts, the one that reads the log for people, and the one that reads changes.
    world.until("select count(*) = 3 from pg_stat_activity where application_name = 'replat/capture'").await;
    sell(&mut world.client().await, 2, 2).await;
    world.until(sent).await;
    capturing.signal("INT").await;
    let ended = capturing.end().await.succeeds().prints("T0 T1 T2 T3");
    for tier in ["T2 writes", "T3 sample"] {
        let said = format!("{tier}: the connection was lost 1 time and made again");
        assert!(ended.out.contains(&said), "{said}\n{}", ended.told());
    }
    assert_eq!(world.of_kind("gone.jsonl", "writes").len(), 2);
    let statements = world.of_kind("gone.jsonl", "statement");
    assert!(statements.iter().any(|line| !line["calls"].is_null()), "{statements:?}");
    assert!(!world.of_kind("gone.jsonl", "transaction").is_empty());
    assert_eq!(world.left_overs().await, (0, 0, "0".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_away_is_told_and_taken_away_later() {
    let mut world = World::new().await;
    let capturing = world.start("--for 10m --name gone").await;
    sell(&mut world.client().await, 1, 1).await;
    world.until("select pg_current_wal_flush_lsn() <= sent_lsn from pg_stat_replication").await;
    world.server.stop().await.expect("it stops");
    capturing.signal("INT").await;
    capturing.end().await.fails("RP3104", 30).remarks("replat capture stop gone");
    world.program.line("capture list").await.succeeds().prints("killed");
    assert_eq!(world.of_kind(".replat/captures/gone.jsonl", "writes").len(), 1, "what was captured is kept");
    world.server.restart().await.expect("it comes back");
    assert_eq!(world.left_overs().await, (0, 2, "0".into()));
    world.program.line("capture stop").await.succeeds();
    assert_eq!(world.left_overs().await, (0, 0, "0".into()));
}
