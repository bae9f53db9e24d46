//! Random trees and keys over three dimensions whose values are few, so that keys often meet a split's values.

use std::collections::BTreeMap;

use proptest::prelude::*;
use replat_model::key::{KeyLiteral, KeyType, KeyValue};
use replat_model::map::{Dimension, Map, Tree};

use crate::{dimension, home};

pub fn dimensions() -> Vec<Dimension> {
    vec![
        dimension("tenant_id", KeyType::Integer),
        dimension("region", KeyType::Text),
        dimension("created_at", KeyType::Date),
    ]
}

/// The value of each dimension for a small number.
pub fn value(dimension: usize, n: i64) -> KeyValue {
    let Dimension { key_type, .. } = &dimensions()[dimension];
    key_type.literal(&literal(dimension, n)).expect("every small number has a value in each dimension")
}

fn literal(dimension: usize, n: i64) -> KeyLiteral {
    match dimension {
        0 => KeyLiteral::Int(n),
        1 => KeyLiteral::Text(format!("r{n:02}")),
        _ => KeyLiteral::Text(format!("2026-01-{:02}", n + 1)),
    }
}

pub fn key() -> impl Strategy<Value = Vec<KeyValue>> {
    (0..16_i64, 0..16_i64, 0..16_i64).prop_map(|(a, b, c)| vec![value(0, a), value(1, b), value(2, c)])
}

/// Maps whose trees are up to three splits deep. Splits below others can leave nothing for a leaf, which is
/// refused; those trees are thrown away.
pub fn map() -> impl Strategy<Value = Map> {
    tree(3).prop_filter_map("every leaf can be reached", |tree| {
        Map::build("saas", dimensions(), tree.as_ref(), home("blue")).ok()
    })
}

fn tree(depth: u32) -> BoxedStrategy<Option<Tree>> {
    if depth == 0 {
        return Just(None).boxed();
    }
    let under = proptest::collection::vec(tree(depth - 1), 4);
    prop_oneof![1 => Just(None), 3 => (0..3_usize, cut(), under).prop_map(|(at, cut, under)| Some(split(at, cut, under)))]
        .boxed()
}

#[derive(Clone, Debug)]
enum Cut {
    List(Vec<Vec<i64>>),
    Hash(u32),
    Range(Vec<i64>),
}

fn cut() -> impl Strategy<Value = Cut> {
    let list = proptest::collection::btree_set(0..16_i64, 1..5)
        .prop_map(|values| values.into_iter().collect::<Vec<_>>().chunks(2).map(<[i64]>::to_vec).collect());
    prop_oneof![
        list.prop_map(Cut::List),
        (1..5_u32).prop_map(Cut::Hash),
        proptest::collection::btree_set(0..16_i64, 1..4)
            .prop_map(|cuts| Cut::Range(cuts.into_iter().collect())),
    ]
}

fn split(at: usize, cut: Cut, under: Vec<Option<Tree>>) -> Tree {
    let mut tree = Tree {
        split: dimensions()[at].column.clone(),
        list: None,
        hash: None,
        cuts: None,
        names: None,
        rest: None,
        under: BTreeMap::new(),
    };
    let literals = |values: &[i64]| values.iter().map(|n| literal(at, *n)).collect::<Vec<_>>();
    let children: Vec<String> = match &cut {
        Cut::List(lists) => {
            let named = |(n, values): (usize, &Vec<i64>)| (format!("l{n}"), literals(values));
            tree.list = Some(lists.iter().enumerate().map(named).collect());
            std::iter::once("rest".to_owned()).chain((0..lists.len()).map(|n| format!("l{n}"))).collect()
        }
        Cut::Hash(modulus) => {
            tree.hash = Some(*modulus);
            (0..*modulus).map(|n| format!("b{n}")).collect()
        }
        Cut::Range(cuts) => {
            tree.cuts = Some(literals(cuts));
            (0..=cuts.len()).map(|n| format!("r{n}")).collect()
        }
    };
    tree.under = children.into_iter().zip(under).filter_map(|(name, tree)| Some((name, tree?))).collect();
    tree
}
