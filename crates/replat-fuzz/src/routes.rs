//! Documents of maps, routes and what changed.

use std::collections::BTreeMap;

use replat_model::ids::Home;
use replat_model::key::{KeyLiteral, KeyType};
use replat_model::map::{Dimension, Map, Tree};
use replat_model::route::{Address, Routes, RoutesDelta};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Target;

/// Leaves of a map that are gone through; more are only counted.
const LEAVES: usize = 200;

fn home(database: &str) -> Home {
    Home { database: database.to_owned(), schema: "public".to_owned() }
}

fn tree(split: &str) -> Tree {
    let split = split.to_owned();
    Tree { split, list: None, hash: None, cuts: None, names: None, rest: None, under: BTreeMap::new() }
}

fn map(key_type: KeyType, tree: &Tree) -> Map {
    let column = tree.split.clone();
    let dimensions = vec![Dimension { column, key_type }];
    Map::build("tenants", dimensions, Some(tree), home("blue")).expect("it is a tree")
}

fn maps() -> Vec<Map> {
    let cuts = Some([10, 20, 30].map(KeyLiteral::Int).to_vec());
    vec![
        map(KeyType::Integer, &Tree { hash: Some(4), ..tree("tenant_id") }),
        map(KeyType::BigInt, &Tree { cuts, ..tree("tenant_id") }),
    ]
}

fn routes(map: Map) -> Routes {
    let address = |database: &str| {
        let host = format!("{database}.internal");
        (database.to_owned(), Address { host, port: 5432, dbname: "shop".into(), endpoint: None })
    };
    let addresses = BTreeMap::from([address("blue"), address("green")]);
    Routes::new("shop".into(), map, addresses, BTreeMap::new()).expect("they lead somewhere")
}

fn next(routes: &Routes) -> Routes {
    let leaf = routes.map().leaves().next().expect("there is one");
    let map = routes.map().with_home(&leaf.partition, home("green"), leaf.epoch.next()).expect("it rises");
    Routes::new("shop".into(), map, routes.addresses().clone(), routes.traffic().clone()).expect("as before")
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it is plain data")
}

/// What was read, after it was written and read again; it must say the same.
fn read_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let written = json(&read);
    let again: T = serde_json::from_slice(&written).expect("written again, it is read");
    assert_eq!(json(&again), written, "written again, it says the same");
    Some(read)
}

fn look_over(map: &Map) {
    for leaf in map.leaves().take(LEAVES) {
        assert!(map.leaf(&leaf.partition).is_some(), "a leaf is found by its name");
    }
    let values: Vec<_> =
        map.dimensions().iter().map(|dimension| dimension.key_type.parse("7").ok()).collect();
    drop(map.lookup_partial(&values));
    if let Some(key) = values.into_iter().collect::<Option<Vec<_>>>() {
        drop(map.lookup(&key));
    }
}

pub(crate) const MAP: Target = Target {
    name: "map",
    reads: "a map's document",
    run: |bytes| {
        if let Some(map) = read_again::<Map>(bytes) {
            look_over(&map);
        }
    },
    seeds: || maps().iter().map(json).collect(),
    words: WORDS,
};

const WORDS: &[&str] = &[
    "\"hash\":",
    "\"cuts\":[",
    "\"list\":[",
    "\"under\":{",
    "\"rest\":",
    "\"names\":",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "4294967295",
    "-1",
    "\"version\":",
    "\"epoch\":",
    "\"home\":",
];

pub(crate) const ROUTES: Target = Target {
    name: "routes",
    reads: "routes as they are published whole",
    run: |bytes| {
        if let Some(routes) = read_again::<Routes>(bytes) {
            look_over(routes.map());
            assert_eq!(routes.version(), routes.map().version());
        }
    },
    seeds: || maps().into_iter().map(|map| json(&routes(map))).collect(),
    words: WORDS,
};

pub(crate) const DELTA: Target = Target {
    name: "delta",
    reads: "what changed of routes, and what becomes of routes by it",
    run: |bytes| {
        let Some(delta) = read_again::<RoutesDelta>(bytes) else { return };
        for map in maps() {
            if let Ok(after) = routes(map).after(&delta) {
                assert_eq!(after.version(), delta.to());
                look_over(after.map());
                let written = json(&after);
                let again: Routes = serde_json::from_slice(&written).expect("what came of it is sound");
                assert_eq!(json(&again), written);
            }
        }
    },
    seeds: || {
        let pairs = maps().into_iter().map(routes);
        pairs.map(|first| json(&first.delta(&next(&first)).expect("it is the next version"))).collect()
    },
    words: WORDS,
};
