//! pgbench through the proxy, in each of its modes, while its partition moves.

use std::process::Output;
use std::time::Duration;

use crate::support::{World, number};

const CLIENTS: &str = "8";
const WRITTEN: &str = "select count(*) from pgbench_history";

async fn initialised() -> World {
    let world = World::start().await;
    for server in [&world.blue, &world.green] {
        let mut pgbench = world.program("pgbench");
        pgbench.args(["-i", "-q", "-s", "1"]).env("PGPORT", server.port().to_string());
        let output = pgbench.output().await.expect("pgbench runs");
        assert!(output.status.success(), "{}", said(&output));
    }
    world
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// How many transactions pgbench says it has done, and how many have failed.
fn transactions(said: &str) -> Option<(i64, i64)> {
    let number = |after: &str| {
        let rest = said.split_once(after)?.1.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((number("number of transactions actually processed:")?, number("number of failed transactions:")?))
}

/// Runs pgbench in one mode, and moves its partition to green, back, and to green again while it runs: each time
/// once something was written where it is.
async fn moves_unnoticed(mode: &str) {
    let world = initialised().await;
    let mut pgbench = world.program("pgbench");
    pgbench.args(["-n", "-T", "5", "-c", CLIENTS, "-j", "2", "-M", mode]);
    let run = tokio::spawn(pgbench.output());
    let mut from = &world.blue;
    let mut seen = [0, 0];
    for to in [&world.green, &world.blue, &world.green] {
        let at = usize::from(std::ptr::eq(from, &world.green));
        while number(from, WRITTEN).await < seen[at] + 50 {
            assert!(!run.is_finished(), "{mode}: pgbench ended too early");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.switch(to).await;
        seen[at] = number(from, WRITTEN).await;
        let there = usize::from(std::ptr::eq(to, &world.green));
        while number(to, WRITTEN).await < seen[there] + 20 {
            assert!(!run.is_finished(), "{mode}: pgbench ended too early");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(number(from, WRITTEN).await, seen[at], "{mode}: nobody writes at the old home");
        from = to;
    }
    let output = run.await.expect("no panic").expect("pgbench runs");
    let said = said(&output);
    assert!(output.status.success(), "{mode}: {said}");
    let (done, failed) = transactions(&said).unwrap_or_else(|| panic!("{mode}: {said}"));
    let (blue, green) = (number(&world.blue, WRITTEN).await, number(&world.green, WRITTEN).await);
    assert_eq!((blue + green, failed), (done, 0), "{mode}: {said}");
    let tally = world.proxy.tally();
    assert!(tally.moves >= 8, "{tally:?}");
    println!("{mode}: {done} transactions, {blue} on blue, {green} on green; {tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_with_simple_queries_does_not_notice_that_its_partition_moves() {
    moves_unnoticed("simple").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_with_extended_queries_does_not_notice_that_its_partition_moves() {
    moves_unnoticed("extended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_with_prepared_statements_does_not_notice_that_its_partition_moves() {
    moves_unnoticed("prepared").await;
}
