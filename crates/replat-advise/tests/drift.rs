//! A deployed design is watched: what changed for good is found, and nothing else is.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use replat_advise::design::Design;
use replat_advise::drift::{Drift, Prices, drift};
use replat_advise::fixture::{Described, read_workload};
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).expect("a file of the workload")
}

fn lines(folder: &Path) -> Vec<String> {
    let file = std::fs::File::open(folder.join("trace.jsonl.gz")).expect("a trace");
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).expect("a compressed trace");
    text.lines().map(str::to_owned).collect()
}

fn read(folder: &Path, lines: &[String]) -> Described {
    let mut described = read_workload(&text(folder, "workload.json")).expect("a workload");
    described.read_stats(&text(folder, "stats.json")).expect("statistics");
    described.read_trace(lines.iter().map(String::as_str)).expect("a trace");
    described
}

fn deployed(folder: &Path) -> Design {
    let expected: Value = serde_json::from_str(&text(folder, "expected.json")).expect("an answer key");
    serde_json::from_value(expected["reference_design"].clone()).expect("a reference design")
}

fn watch(folder: &Path, lines: &[String]) -> Drift {
    let described = read(folder, lines);
    drift(&described.schema, &described.trace, &deployed(folder), None, &Prices::default()).expect("it fits")
}

#[test]
fn the_changes_of_a_market_are_found_where_they_are() {
    for (name, want) in [("drift_market", vec![0.4, 0.7]), ("drift_control", vec![])] {
        let folder = folder(name);
        let begin = std::time::Instant::now();
        let found = watch(&folder, &lines(&folder));
        println!("{name} {:?}", begin.elapsed());
        if let Some(out) = std::env::var_os("REPLAT_ADVISOR_OUT") {
            let path = PathBuf::from(out).join(name);
            std::fs::create_dir_all(&path).expect("a folder");
            std::fs::write(path.join("changes.json"), serde_json::to_string(&found).expect("text"))
                .expect("written");
        }
        println!("{:#?}", found.changes);
        println!("{:?} {:?} {:?}", found.passing, found.seasons, found.forecast);
        for one in found.repartitions.iter().chain(&found.considered) {
            println!(
                "{:.3} since {:.3} due {} saves {:.3} {} {:?}",
                one.at, one.since, one.due, one.saves, one.because, one.transfer.price
            );
            for step in &one.transfer.steps {
                let text = serde_json::to_string(step).expect("text");
                println!("    {}", &text[..text.len().min(300)]);
            }
        }
        let got: Vec<f64> = found.changes.iter().map(|change| change.at).collect();
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() <= 0.03, "{got} and {want}");
        }
    }
}
