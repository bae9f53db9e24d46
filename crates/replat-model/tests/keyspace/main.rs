//! Keys, their hash, regions and the map, seen from outside.

mod build;
mod carve;
mod delta;
mod document;
mod hash;
mod key;
mod map;
mod region;
mod trees;

use replat_model::ids::{Epoch, Home, PartitionId};
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::{Dimension, Map, Tree};

fn dimension(column: &str, key_type: KeyType) -> Dimension {
    Dimension { column: column.into(), key_type }
}

/// A tenant and a day: the key of most tests.
fn tenant_and_day() -> Vec<Dimension> {
    vec![dimension("tenant_id", KeyType::Integer), dimension("created_at", KeyType::Date)]
}

fn home(name: &str) -> Home {
    Home { database: name.into(), schema: "public".into() }
}

fn id(text: &str) -> PartitionId {
    text.parse().expect(text)
}

fn epoch(number: u64) -> Epoch {
    Epoch::from_number(number).expect("tests count epochs from 1")
}

fn int(n: i64) -> KeyValue {
    KeyValue::Int(n)
}

fn text(text: &str) -> KeyValue {
    KeyValue::Text(text.into())
}

fn day(text: &str) -> KeyValue {
    KeyType::Date.parse(text).expect(text)
}

fn tree(toml: &str) -> Tree {
    toml::from_str(toml).expect(toml)
}

fn map(dimensions: Vec<Dimension>, toml: &str) -> Map {
    Map::build("saas", dimensions, Some(&tree(toml)), home("blue")).expect(toml)
}

fn names(map: &Map) -> Vec<String> {
    map.leaves().map(|leaf| leaf.partition.to_string()).collect()
}
