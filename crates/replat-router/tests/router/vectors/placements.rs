//! Keys of all types and all kinds of splits, with the edges of types.

use std::collections::BTreeMap;

use replat_model::hash::partition_hash;
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::{Dimension, Map, Tree};
use replat_model::route::Routes;
use serde_json::{Value, json};

use super::{NotPlaced, Placed, Placement};
use crate::scene::{addresses, home};

/// A context, and keys of it as text.
pub struct Table {
    pub name: String,
    pub dimensions: Vec<Dimension>,
    pub tree: Tree,
    pub keys: Vec<Vec<String>>,
    refused: Vec<NotPlaced>,
}

impl Table {
    pub fn map(&self) -> Map {
        Map::build("vectors", self.dimensions.clone(), Some(&self.tree), home("blue")).expect(&self.name)
    }

    pub fn values(&self, key: &[String]) -> Vec<KeyValue> {
        let value = |(dimension, text): (&Dimension, &String)| dimension.key_type.parse(text).expect(text);
        self.dimensions.iter().zip(key).map(value).collect()
    }

    pub fn placement(&self) -> Placement {
        let map = self.map();
        // One partition has moved, so that homes and epochs differ.
        let last = map.leaves().last().expect("a leaf").clone();
        let map = map.with_home(&last.partition, home("green"), last.epoch.next()).expect("a later epoch");
        let placed = |key: &Vec<String>| {
            let values = self.values(key);
            let leaf = map.lookup(&values).expect(&self.name);
            Placed {
                text: self.dimensions.iter().zip(&values).map(|(d, v)| d.key_type.text_of(v)).collect(),
                hash: values.iter().map(|v| format!("{:016x}", partition_hash(&[Some(v)]))).collect(),
                partition: leaf.partition.clone(),
                database: leaf.home.database.clone(),
                schema: leaf.home.schema.clone(),
                epoch: leaf.epoch.get(),
                key: values,
            }
        };
        let cases = self.keys.iter().map(placed).collect();
        let refused = self
            .refused
            .iter()
            .map(|case| NotPlaced { key: case.key.clone(), why: case.why.clone() })
            .collect();
        let routes = Routes::new("shop".into(), map, addresses(), BTreeMap::new()).expect("whole routes");
        Placement { name: self.name.clone(), routes, cases, refused }
    }
}

/// A type, values of it in ascending order, and one that is of another type.
type Kind = (KeyType, Vec<&'static str>, KeyValue);

fn kinds() -> Vec<Kind> {
    let text = KeyValue::Text("1".into());
    let int = KeyValue::Int(1);
    vec![
        (KeyType::SmallInt, vec!["-32768", "-1", "0", "1", "42", "32767"], KeyValue::Int(32_768)),
        (
            KeyType::Integer,
            vec!["-2147483648", "-32769", "-1", "0", "1", "65536", "2147483647"],
            KeyValue::Int(2_147_483_648),
        ),
        (
            KeyType::BigInt,
            vec![
                "-9223372036854775808",
                "-4294967297",
                "-1",
                "0",
                "1",
                "9007199254740993",
                "9223372036854775807",
            ],
            text.clone(),
        ),
        (
            KeyType::Text,
            vec![
                "",
                " ",
                "A",
                "O'Brien",
                "\\x41",
                "a",
                "aa",
                "abcdefghijk",
                "abcdefghijkl",
                "abcdefghijklm",
                "abcdefghijklmnopqrstuvwxyz",
                "straße",
                "tab\there",
                "zürich",
                "é",
                "e\u{301}",
                "名前",
                "日本語の名前です",
                "🦀",
                "🦀🦀🦀🦀",
            ],
            int.clone(),
        ),
        (
            KeyType::Uuid,
            vec![
                "00000000-0000-0000-0000-000000000000",
                "0f8fad5b-d9cb-469f-a165-70867728950e",
                "7fffffff-ffff-ffff-ffff-ffffffffffff",
                "80000000-0000-0000-0000-000000000000",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            ],
            text.clone(),
        ),
        (
            KeyType::Date,
            vec![
                "4713-01-01 BC",
                "0001-12-31 BC",
                "0001-01-01",
                "1969-12-31",
                "1999-12-31",
                "2000-01-01",
                "2024-02-29",
                "2026-01-31",
                "9999-12-31",
                "5874897-12-31",
            ],
            int.clone(),
        ),
        (
            KeyType::Timestamp,
            vec![
                "4713-01-01 00:00:00 BC",
                "1969-12-31 23:59:59.999999",
                "1999-12-31 23:59:59.999999",
                "2000-01-01 00:00:00",
                "2000-01-01 00:00:00.000001",
                "2026-03-29 02:30:00",
                "294276-12-31 23:59:59.999999",
            ],
            KeyValue::Date(1),
        ),
        (
            KeyType::TimestampTz,
            vec![
                "4713-01-01 00:00:00+00 BC",
                "1970-01-01 00:00:00+00",
                "2000-01-01 05:30:00+05:30",
                "2000-01-01 00:00:00.000001+00",
                "2026-03-29 01:30:00+00",
                "2026-11-01 01:30:00-04",
                "294276-12-31 23:59:59.999999+00",
            ],
            text,
        ),
    ]
}

pub fn all() -> Vec<Table> {
    let mut tables: Vec<Table> = kinds().iter().flat_map(of_kind).collect();
    tables.push(nested());
    tables.push(same_column_twice());
    tables
}

/// A list, a hash and a range of one type.
fn of_kind((key_type, texts, stranger): &Kind) -> Vec<Table> {
    // Text is ordered by its bytes, as under the collation C.
    let mut ascending: Vec<(KeyValue, &str)> =
        texts.iter().map(|text| (key_type.parse(text).expect(text), *text)).collect();
    ascending.sort();
    let at = |n: usize| ascending[n * (ascending.len() - 1) / 4].1;
    let trees = [
        ("list", json!({"split": "k", "list": {"one": [at(0), at(2)], "two": [at(4)]}})),
        ("hash", json!({"split": "k", "hash": 7})),
        ("range", json!({"split": "k", "cuts": [at(1), at(2), at(3)]})),
    ];
    let table = |(method, tree): &(&str, Value)| Table {
        name: format!("{key_type} by {method}"),
        dimensions: vec![Dimension { column: "k".into(), key_type: *key_type }],
        tree: serde_json::from_value(tree.clone()).expect("a tree"),
        keys: texts.iter().map(|text| vec![(*text).to_owned()]).collect(),
        refused: vec![
            NotPlaced { key: vec![stranger.clone()], why: "type".into() },
            NotPlaced { key: vec![], why: "arity".into() },
        ],
    };
    trees.iter().map(table).collect()
}

fn cross(columns: &[&[&str]]) -> Vec<Vec<String>> {
    columns.iter().fold(vec![vec![]], |keys, column| {
        keys.iter()
            .flat_map(|key: &Vec<String>| column.iter().map(|v| [&key[..], &[(*v).to_owned()]].concat()))
            .collect()
    })
}

fn nested() -> Table {
    let dimension = |column: &str, key_type| Dimension { column: column.into(), key_type };
    let tree = json!({
        "split": "region", "list": {"eu": ["de", "fr"], "us": ["us"]}, "rest": "elsewhere",
        "under": {
            "eu": {"split": "tenant_id", "hash": 4},
            "us": {
                "split": "at", "cuts": ["2026-01-01", "2026-07-01"], "names": ["old", "h1", "h2"],
                "under": {"h1": {"split": "tenant_id", "list": {"acme": [42]}}},
            },
        },
    });
    let key = vec![KeyValue::Text("de".into()), KeyValue::Int(1)];
    Table {
        name: "a list of hashes and of ranges with a list".into(),
        dimensions: vec![
            dimension("region", KeyType::Text),
            dimension("tenant_id", KeyType::BigInt),
            dimension("at", KeyType::Date),
        ],
        tree: serde_json::from_value(tree).expect("a tree"),
        keys: cross(&[
            &["de", "fr", "us", "日本", ""],
            &["1", "42", "-7", "9223372036854775807"],
            &["2025-12-31", "2026-01-01", "2026-06-30", "2026-07-01"],
        ]),
        refused: vec![NotPlaced { key, why: "arity".into() }],
    }
}

fn same_column_twice() -> Table {
    let tree = json!({
        "split": "tenant_id", "cuts": [1000], "names": ["small", "large"],
        "under": {"small": {"split": "tenant_id", "hash": 3}, "large": {"split": "tenant_id", "list": {"vip": [5000]}}},
    });
    Table {
        name: "one column, cut twice".into(),
        dimensions: vec![Dimension { column: "tenant_id".into(), key_type: KeyType::Integer }],
        tree: serde_json::from_value(tree).expect("a tree"),
        keys: ["-5", "0", "1", "2", "3", "999", "1000", "5000", "5001"]
            .iter()
            .map(|n| vec![(*n).to_owned()])
            .collect(),
        refused: vec![],
    }
}
