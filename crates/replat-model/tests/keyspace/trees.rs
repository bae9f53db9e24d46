//! Random trees and keys over three dimensions whose values are few, so that keys often meet a split's values.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use replat_model::key::{KeyLiteral, KeyType, KeyValue};
use replat_model::map::{Dimension, Map, Pick, Selection, Tree};

use crate::{dimension, epoch, home};

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

/// What a person may pick of random dimensions.
pub fn selection() -> impl Strategy<Value = Selection> {
    let pick = |dimension: usize| {
        (0..16_i64, 1..16_i64, 0..4_u8).prop_map(move |(from, length, form)| {
            let (lower, upper) = (value(dimension, from), value(dimension, from + length));
            let pick = match form {
                0 => Pick::Is(lower),
                1 => Pick::Within { lower: Some(lower), upper: None },
                2 => Pick::Within { lower: None, upper: Some(upper) },
                _ => Pick::Within { lower: Some(lower), upper: Some(upper) },
            };
            (dimension, pick)
        })
    };
    (proptest::option::of(pick(0)), proptest::option::of(pick(1)), proptest::option::of(pick(2)))
        .prop_map(|(a, b, c)| Selection::Keys([a, b, c].into_iter().flatten().collect()))
}

/// Something that happens to a map.
#[derive(Clone, Debug)]
pub enum Deed {
    /// The partition at this index moves on to the home with this number.
    Switch(Index, u8),
    Carve(Selection),
}

pub fn deeds(count: usize) -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (any::<Index>(), 0..3_u8).prop_map(|(which, home)| Deed::Switch(which, home)),
        selection().prop_map(Deed::Carve),
    ];
    proptest::collection::vec(deed, 0..count)
}

/// The map after all that, but for what it refuses.
pub fn after(map: &Map, deeds: &[Deed]) -> Map {
    deeds.iter().fold(map.clone(), |map, deed| match deed {
        Deed::Switch(which, number) => {
            let leaves: Vec<_> = map.leaves().collect();
            let leaf = which.get(&leaves);
            let home = home(&format!("green{number}"));
            map.with_home(&leaf.partition, home, epoch(leaf.epoch.get() + 1)).expect("the epoch is higher")
        }
        Deed::Carve(selection) => map.carve(selection).map_or(map, |(map, _)| map),
    })
}

/// A map to which things have happened.
pub fn changed_map() -> impl Strategy<Value = Map> {
    (map(), deeds(8)).prop_map(|(map, deeds)| after(&map, &deeds))
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

/// The same tree as a first version: every leaf in one home at the first epoch.
pub fn built_anew(map: &Map) -> Map {
    let mut document = serde_json::to_value(map).expect("a map is plain data");
    document["version"] = 1.into();
    document["homes"] = serde_json::json!([["blue", "public"]]);
    fn anew(node: &mut serde_json::Value) {
        match node {
            serde_json::Value::Array(leaf) => (leaf[1], leaf[2]) = (0.into(), 1.into()),
            split => split["children"].as_array_mut().into_iter().flatten().for_each(anew),
        }
    }
    anew(&mut document["root"]);
    serde_json::from_value(document).expect("the tree is as it was")
}
