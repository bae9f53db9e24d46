//! The trees that are measured, and keys for them.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use replat_model::key::{KeyLiteral, KeyType, KeyValue};
use replat_model::map::{Dimension, Pick, Selection, Tree};
use serde::Serialize;

/// How a context is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A list of numbers.
    List,
    /// A list of texts.
    Names,
    /// Buckets of numbers.
    Hash,
    /// Ranges of numbers.
    Range,
    /// Buckets of numbers, each in ten ranges of days.
    Composite,
}

/// How many ranges of days each bucket of [`Shape::Composite`] has.
const DAYS: usize = 10;
/// How many numbers each range of [`Shape::Range`] has.
const SPAN: i64 = 10;

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Shape::List => "list",
            Shape::Names => "names",
            Shape::Hash => "hash",
            Shape::Range => "range",
            Shape::Composite => "composite",
        })
    }
}

impl Shape {
    pub const ALL: [Shape; 5] = [Shape::List, Shape::Names, Shape::Hash, Shape::Range, Shape::Composite];

    pub fn dimensions(self) -> Vec<Dimension> {
        let dimension = |column: &str, key_type| Dimension { column: column.into(), key_type };
        match self {
            Shape::Names => vec![dimension("tenant", KeyType::Text)],
            Shape::Composite => vec![dimension("tenant", KeyType::BigInt), dimension("day", KeyType::Date)],
            _ => vec![dimension("tenant", KeyType::BigInt)],
        }
    }

    /// The tree with so many leaves.
    pub fn tree(self, leaves: usize) -> Tree {
        let mut tree = empty("tenant");
        match self {
            Shape::List | Shape::Names => {
                let child = |n: usize| (format!("t{n}"), vec![self.literal(n)]);
                tree.list = Some((1..leaves).map(child).collect());
            }
            Shape::Hash => tree.hash = u32::try_from(leaves).ok(),
            Shape::Range => {
                let cut = |n: usize| KeyLiteral::Int(number(n) * SPAN);
                tree.cuts = Some((1..leaves).map(cut).collect());
            }
            Shape::Composite => {
                let buckets = leaves / DAYS;
                tree.hash = u32::try_from(buckets).ok();
                let cuts = (1..DAYS).map(|n| KeyLiteral::Text(day(n).to_string())).collect();
                let days = Tree { cuts: Some(cuts), ..empty("day") };
                tree.under = (0..buckets).map(|bucket| (format!("b{bucket}"), days.clone())).collect();
            }
        }
        tree
    }

    /// The key number `n`: of the leaf with that number, where leaves have keys that can be told beforehand.
    pub fn key(self, n: usize) -> Vec<KeyValue> {
        match self {
            Shape::Composite => vec![KeyValue::Int(number(n)), day(n % DAYS)],
            Shape::Range => vec![KeyValue::Int(number(n) * SPAN)],
            _ => vec![self.flat_key(n)],
        }
    }

    /// The key number `n` for a table of keys, which has one component.
    pub fn flat_key(self, n: usize) -> KeyValue {
        match self {
            Shape::Names => KeyValue::Text(format!("customer-{n:07}").into()),
            _ => KeyValue::Int(number(n)),
        }
    }

    /// A part of a key: the tenant, where there is also a day; nothing otherwise.
    pub fn part(self, n: usize) -> Vec<Option<KeyValue>> {
        match self {
            Shape::Composite => vec![Some(KeyValue::Int(number(n))), None],
            _ => vec![None],
        }
    }

    /// Something to be carved that differs for each `n`, where there are so many leaves.
    pub fn selection(self, n: usize, leaves: usize) -> Selection {
        let range = |from: KeyValue, to: KeyValue| Pick::Within { lower: Some(from), upper: Some(to) };
        let picks = match self {
            Shape::List | Shape::Names | Shape::Hash => vec![Pick::Is(self.flat_key(leaves + n))],
            Shape::Range => {
                let from = number(n % leaves) * SPAN + 2;
                vec![range(KeyValue::Int(from), KeyValue::Int(from + 3))]
            }
            Shape::Composite => {
                vec![Pick::Is(KeyValue::Int(number(n))), range(days_on(n % DAYS, 5), days_on(n % DAYS, 9))]
            }
        };
        Selection::Keys(picks.into_iter().enumerate().collect())
    }

    fn literal(self, n: usize) -> KeyLiteral {
        match self.flat_key(n) {
            KeyValue::Int(n) => KeyLiteral::Int(n),
            other => KeyLiteral::Text(other.to_string()),
        }
    }
}

fn empty(split: &str) -> Tree {
    Tree {
        split: split.into(),
        list: None,
        hash: None,
        cuts: None,
        names: None,
        rest: None,
        under: BTreeMap::new(),
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).expect("there are few keys")
}

/// The first day of a range.
fn day(n: usize) -> KeyValue {
    days_on(n, 0)
}

fn days_on(n: usize, more: i32) -> KeyValue {
    KeyValue::Date(9_000 + 30 * i32::try_from(n).expect("there are few ranges") + more)
}
