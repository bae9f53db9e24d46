//! Captures of each release of PostgreSQL that is at hand, of logs in each form that it writes.
//!
//! Others than the usual one are named by `REPLAT_PG_BIN_14` and so on; `./x test` brings the oldest and the newest.

use std::collections::BTreeSet;

use replat_testkit::Server;
use replat_testkit::server::Binaries;
use serde_json::Value;

use crate::world::{World, logging_as, sell};

/// Releases that captures are meant for.
const MAJORS: std::ops::RangeInclusive<u32> = 14..=18;

/// The values of `$2` of a statement, each list as its elements.
fn elements(world: &World, file: &str, begins: &str) -> Vec<Vec<String>> {
    let statements = world.of_kind(file, "statement");
    let is_meant = |line: &&Value| line["text"].as_str().is_some_and(|text| text.starts_with(begins));
    let ids: BTreeSet<&str> =
        statements.iter().filter(is_meant).filter_map(|line| line["id"].as_str()).collect();
    let transactions = world.of_kind(file, "transaction");
    let executed = transactions.iter().flat_map(|line| line["statements"].as_array()).flatten();
    executed
        .filter(|run| run["statement"].as_str().is_some_and(|id| ids.contains(id)))
        .filter_map(|run| run["parameters"][1].as_str())
        .map(|list| {
            list.trim_matches(['{', '}']).split(',').map(|one| one.trim_matches('"').to_owned()).collect()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_release_and_every_form_of_log_gives_all_tiers() {
    let mut seen = 0;
    for major in MAJORS {
        if Binaries::of_major(major).is_err() {
            continue;
        }
        // Logs are written as JSON from release 15 on.
        let forms: &[&str] = if major < 15 { &["csvlog"] } else { &["csvlog", "jsonlog"] };
        for form in forms {
            let case = format!("{major}, {form}");
            let world = World::on(logging_as(Server::builder().major(major), form)).await;
            let capturing = world.start("--for 10m --sample-rate 1 --out all.jsonl").await;
            world
                .until("select setting = '1' from pg_settings where name = 'log_transaction_sample_rate'")
                .await;
            let mut client = world.client().await;
            for n in 0..8 {
                sell(&mut client, 1 + n % 4, n.into()).await;
            }
            let find = "select email from accounts where tenant = $1 and id = any($2)";
            client.query(find, &[&1, &vec![1_i64, 2, 3]]).await.expect(find);
            capturing.signal("INT").await;
            capturing.end().await.succeeds().prints("T0 T1 T2 T3");
            let file = "all.jsonl";
            let writes = world.of_kind(file, "writes");
            assert_eq!(writes.len(), 8, "{case}");
            let numbers: BTreeSet<u64> = writes.iter().filter_map(|line| line["xid"].as_u64()).collect();
            let transactions = world.of_kind(file, "transaction");
            let sales: Vec<&Value> = transactions
                .iter()
                .filter(|line| line["statements"].as_array().is_some_and(|all| all.len() == 4))
                .collect();
            assert_eq!(sales.len(), 8, "{case}: {transactions:?}");
            assert!(
                sales.iter().all(|sale| numbers.contains(&sale["xid"].as_u64().unwrap_or(0))),
                "{case}: {sales:?}"
            );
            let counted = world.of_kind(file, "statement");
            let insert = counted.iter().find(|line| line["text"].to_string().contains("insert into orders"));
            assert_eq!(insert.expect("it is counted")["calls"], 8, "{case}");
            // One account is read by its key in each sale, and is the first of those that are read by a list.
            let first = &sales[0]["statements"][0]["parameters"][1];
            let lists = elements(&world, file, "select email from accounts where tenant = $1 and id = any");
            assert_eq!(lists.len(), 1, "{case}: {lists:?}");
            assert_eq!((lists[0].len(), lists[0].first().map(String::as_str)), (3, first.as_str()), "{case}");
            assert_eq!(world.left_overs().await, (0, 0, "0".into()), "{case}");
            seen += 1;
        }
    }
    assert!(seen > 0, "there is a release at hand");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_is_left_to_the_capture_is_set_and_put_back() {
    let world = World::new().await;
    let capturing = world.start("--for 10m --sample-rate auto --out auto.jsonl").await;
    let first = "select setting::float8 > 0 and setting::float8 <= 0.01 from pg_settings \
         where name = 'log_transaction_sample_rate'";
    world.until(first).await;
    let mut client = world.client().await;
    let many = async {
        for n in 0.. {
            sell(&mut client, 1, n).await;
        }
    };
    let sampled = async {
        while world.of_kind("auto.jsonl.part", "transaction").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        seen = tokio::time::timeout(std::time::Duration::from_secs(120), sampled) => seen.expect("some are sampled"),
        () = many => unreachable!("it goes on for ever"),
    }
    capturing.signal("INT").await;
    capturing.end().await.succeeds().prints("T0 T1 T2 T3");
    let head = &world.lines("auto.jsonl")[0];
    assert!(head["sampled"].as_f64().is_some_and(|share| share > 0.0 && share < 1.0), "{head}");
    assert_eq!(world.left_overs().await, (0, 0, "0".into()));
    world.program.line("capture start --from env:SHOP_URL --sample-rate some").await.exits(2);
}
