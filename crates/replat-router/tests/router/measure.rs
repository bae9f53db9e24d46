//! How long things take. Run by hand, in a release build:
//! `cargo test --release -p replat-router --test router -- --ignored --nocapture measure`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use replat_model::ids::PartitionId;
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::{Dimension, Map, Tree};
use replat_model::route::Routes;
use replat_router::{Intent, Router};

use crate::scene::{addresses, home, name, routes};

const TURNS: i64 = 1_000_000;

/// `outer` × `inner` hash buckets.
fn large(outer: u32, inner: u32) -> Map {
    let under: serde_json::Map<String, serde_json::Value> = (0..outer)
        .map(|n| (format!("b{n}"), serde_json::json!({"split": "user_id", "hash": inner})))
        .collect();
    let tree: Tree = serde_json::from_value(serde_json::json!({
        "split": "tenant_id", "hash": outer, "under": under,
    }))
    .expect("a tree");
    let dimension = |column: &str| Dimension { column: column.into(), key_type: KeyType::BigInt };
    let dimensions = vec![dimension("tenant_id"), dimension("user_id")];
    Map::build("tenants", dimensions, Some(&tree), home("blue")).expect("a map")
}

fn key(n: i64) -> [KeyValue; 2] {
    [KeyValue::Int(n), KeyValue::Int(n * 7)]
}

fn told(what: &str, took: Duration, times: i64) {
    let each = took.as_nanos() / u128::try_from(times).expect("more than none");
    println!("{what:<58} {each:>8} ns");
}

#[test]
#[ignore = "takes long, and says nothing in a debug build"]
fn measure_lookups_gates_and_versions() {
    for (outer, inner) in [(10, 10), (1_000, 10), (1_000, 1_000)] {
        let leaves = outer * inner;
        let map = large(outer, inner);
        let began = Instant::now();
        let router = Router::fixed(routes(map.clone()));
        println!("\n{leaves} partitions; a router of them after {:?}", began.elapsed());

        let began = Instant::now();
        for n in 0..TURNS {
            black_box(map.lookup(&key(n)).expect("a leaf"));
        }
        told("the map alone: lookup", began.elapsed(), TURNS);
        let began = Instant::now();
        (0..TURNS).for_each(|n| drop(black_box(router.find(&key(n)).expect("a route"))));
        told("find", began.elapsed(), TURNS);
        let (all, one): (Vec<PartitionId>, PartitionId) =
            (map.leaves().map(|leaf| leaf.partition.clone()).collect(), name("b1_b1"));
        let began = Instant::now();
        drop(black_box(router.find_partition(&one).expect("a route")));
        println!("one find_partition: {:?}", began.elapsed());
        let began = Instant::now();
        for n in 0..TURNS {
            let partition = &all[usize::try_from(n * 7_919).expect("positive") % all.len()];
            drop(black_box(router.find_partition(partition).expect("a route")));
        }
        told("find_partition", began.elapsed(), TURNS);
        let began = Instant::now();
        for _ in 0..TURNS {
            drop(black_box(router.try_enter(&one, Intent::Write).expect("a pass")));
        }
        told("enter and leave, one partition", began.elapsed(), TURNS);
        let began = Instant::now();
        (0..TURNS).for_each(|n| drop(black_box(router.try_enter(&key(n), Intent::Write).expect("a pass"))));
        told("enter and leave by key, all partitions", began.elapsed(), TURNS);
        println!("gates that are kept: {}", router.gates());

        let threads = 2;
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..TURNS {
                        drop(black_box(router.try_enter(&one, Intent::Write).expect("a pass")));
                    }
                });
            }
        });
        told("enter and leave, one partition, two threads, each", began.elapsed(), TURNS);

        let mut routes = Routes::clone(&router.routes().expect("routes"));
        let began = Instant::now();
        const VERSIONS: i64 = 100;
        for _ in 0..VERSIONS {
            let next = routes.epoch(&one).expect("it is there").next();
            let map = routes.map().with_home(&one, home("green"), next).expect("a later epoch");
            routes = Routes::new("shop".into(), map, addresses(), Default::default()).expect("whole routes");
        }
        told("a next version: the map's and the routes' own part", began.elapsed(), VERSIONS);
        let mut versions = Vec::new();
        for _ in 0..VERSIONS {
            let next = routes.epoch(&one).expect("it is there").next();
            let map = routes.map().with_home(&one, home("green"), next).expect("a later epoch");
            routes = Routes::new("shop".into(), map, addresses(), Default::default()).expect("whole routes");
            versions.push(routes.clone());
        }
        let began = Instant::now();
        versions.into_iter().for_each(|routes| router.take(routes).expect("newer routes"));
        told("take", began.elapsed(), VERSIONS);
    }
}

/// From the decision to the first one let go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes long, and says nothing in a debug build"]
async fn measure_release() {
    use crate::scene::{acme, hold_acme, moved, open};
    let router = open(replat_router::Settings::default());
    let mut took = Vec::new();
    for switch in 1..=200 {
        router.hold(&hold_acme(1, switch));
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let router = router.clone();
                tokio::spawn(async move {
                    drop(
                        router.enter(&acme(), Intent::Write, Duration::from_secs(60)).await.expect("a pass"),
                    );
                    Instant::now()
                })
            })
            .collect();
        while router.answers()[0].held < 50 {
            tokio::task::yield_now().await;
        }
        let now = router.routes().expect("routes");
        let next = moved(&now, if switch % 2 == 0 { "blue" } else { "green" });
        let began = Instant::now();
        router.take(next).expect("newer routes");
        let mut last = Duration::ZERO;
        for one in waiting {
            last = last.max(one.await.expect("no panic").duration_since(began));
        }
        took.push(last);
    }
    took.sort();
    println!("50 who waited, all let go: median {:?}, worst {:?}", took[100], took[199]);
}
