//! A capture ends by itself: by time, by size, by number.

use crate::world::{World, sell};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_no_larger_than_it_may_be() {
    let world = World::new().await;
    let capturing = world.start("--for 10m --max-size 20kB --out small.jsonl --json").await;
    let mut client = world.client().await;
    let many = async {
        for n in 0.. {
            sell(&mut client, 1, n).await;
        }
    };
    let told = tokio::select! {
        ended = capturing.end() => ended.succeeds().json(),
        () = many => unreachable!("it goes on for ever"),
    };
    assert_eq!(told["ended"], "size", "{told}");
    let size = std::fs::metadata(world.path("small.jsonl")).expect("a file").len();
    assert!((10_000..=22_000).contains(&size), "{size}");
    assert!(!world.of_kind("small.jsonl", "writes").is_empty());
    assert!(!world.of_kind("small.jsonl", "statement").is_empty(), "there is room left for statements");
    assert_eq!(world.left_overs().await, (0, 0, "0".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_transactions_and_no_more() {
    let world = World::new().await;
    let capturing = world.start("--for 10m --max-transactions 5 --out few.jsonl --json").await;
    let mut client = world.client().await;
    let many = async {
        for n in 0.. {
            sell(&mut client, 1, n).await;
        }
    };
    let told = tokio::select! {
        ended = capturing.end() => ended.succeeds().json(),
        () = many => unreachable!("it goes on for ever"),
    };
    assert_eq!((&told["ended"], &told["evidence"]["writes"]), (&"transactions".into(), &5.into()), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_many_rows_is_cut_and_that_is_said() {
    let world = World::new().await;
    let capturing = world.start("--for 10m --out cut.jsonl").await;
    let many = "insert into visits select 1, g from generate_series(1, 5000) g";
    world.client().await.batch_execute(many).await.expect("rows");
    capturing.signal("INT").await;
    capturing.end().await.succeeds().prints("of 1 transaction only the first 1000 rows were kept");
    assert_eq!(world.of_kind("cut.jsonl", "writes")[0]["rows"].as_array().map(Vec::len), Some(1_000));
}
