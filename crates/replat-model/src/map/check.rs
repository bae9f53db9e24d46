//! What a split cannot promise by itself, checked once for the whole tree when a map is built or read.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::{By, Dimension, Map, Node, REST, Split};
use crate::ids::PartitionId;
use crate::region::Region;

/// A document that is not a map, though it has a map's fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMap {
    /// Two leaves have one name.
    #[error("two leaves are named {0}")]
    Twice(PartitionId),
    /// No key can reach this leaf.
    #[error("no key belongs to {0}")]
    OutOfReach(PartitionId),
    /// A split is not one.
    #[error("a split is damaged: {0}")]
    Split(&'static str),
    /// The map as a whole is not one.
    #[error("the map is damaged: {0}")]
    Whole(&'static str),
}

/// A map as it is read, before anything is known about it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMap {
    context: String,
    version: u64,
    dimensions: Vec<Dimension>,
    root: Arc<Node>,
}

impl TryFrom<RawMap> for Map {
    type Error = BadMap;

    fn try_from(raw: RawMap) -> Result<Map, BadMap> {
        let RawMap { context, version, dimensions, root } = raw;
        let map = Map { context, version, dimensions, root };
        map.check()?;
        Ok(map)
    }
}

impl Map {
    /// Whether this is a map: total, typed, with one name for each leaf and a key for each name.
    pub(super) fn check(&self) -> Result<(), BadMap> {
        if self.version == 0 {
            return Err(BadMap::Whole("versions count from 1"));
        }
        if self.dimensions.is_empty() {
            return Err(BadMap::Whole("there is no dimension"));
        }
        check_node(&self.root, &self.dimensions, &Region::everything(), &mut BTreeSet::new())
    }
}

fn check_node<'a>(
    node: &'a Node,
    dimensions: &[Dimension],
    region: &Region,
    names: &mut BTreeSet<&'a PartitionId>,
) -> Result<(), BadMap> {
    match node {
        Node::Leaf(leaf) if region.is_empty() => Err(BadMap::OutOfReach(leaf.partition.clone())),
        Node::Leaf(leaf) if names.insert(&leaf.partition) => Ok(()),
        Node::Leaf(leaf) => Err(BadMap::Twice(leaf.partition.clone())),
        Node::Split(split) => {
            check_split(split, dimensions).map_err(BadMap::Split)?;
            split.children.iter().zip(split.constraints()).try_for_each(|(child, constraint)| {
                check_node(child, dimensions, &region.and(split.dimension, constraint), names)
            })
        }
    }
}

fn check_split(split: &Split, dimensions: &[Dimension]) -> Result<(), &'static str> {
    let key_type = dimensions.get(split.dimension).ok_or("it cuts a dimension that is not there")?.key_type;
    let typed = |all_hold: bool| match all_hold {
        true => Ok(()),
        false => Err("a value is of another type than its dimension"),
    };
    let children = split.children.len();
    match &split.by {
        By::List(places) => {
            let used: BTreeSet<usize> = places.values().copied().collect();
            if !used.into_iter().eq(REST + 1..children) {
                return Err("its values and its children do not match");
            }
            typed(places.keys().all(|value| key_type.holds(value)))
        }
        By::Hash if (1..=super::build::BUCKETS_MAX as usize).contains(&children) => Ok(()),
        By::Hash => Err("it has no bucket, or too many"),
        By::Range(cuts) if cuts.len() + 1 != children => Err("its cuts and its children do not match"),
        By::Range(cuts) if !cuts.is_sorted_by(|a, b| a < b) => Err("its cuts do not ascend"),
        By::Range(cuts) => typed(cuts.iter().all(|cut| key_type.holds(cut))),
    }
}

/// A map from values as a list of pairs, since a key in JSON is text.
pub(super) mod pairs {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::key::KeyValue;

    pub fn serialize<S: Serializer>(map: &BTreeMap<KeyValue, usize>, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(map)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Arc<BTreeMap<KeyValue, usize>>, D::Error> {
        let pairs = Vec::<(KeyValue, usize)>::deserialize(d)?;
        let count = pairs.len();
        let map: BTreeMap<KeyValue, usize> = pairs.into_iter().collect();
        if map.len() == count { Ok(Arc::new(map)) } else { Err(de::Error::custom("a value is listed twice")) }
    }
}
