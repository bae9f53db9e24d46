//! The map: a k-d tree of splits whose leaves are a context's partitions, with their homes.
//!
//! Invariant: every key has exactly one leaf. A split cannot be written that leaves a key out or gives it to two:
//! a list has a rest, a range has a child before its first cut and one after its last, a hash has a child for
//! each remainder. What cannot be seen from one split alone (names are unique, no leaf is out of reach of every
//! key) is checked when a map is [built](Map::build) or read.
//!
//! A map never changes. [`Map::with_home`] and [`Map::carve`] give a new version that shares all subtrees off the
//! path to the leaf that they concern.

mod build;
mod carve;
mod check;
mod selection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use build::BadTree;
pub use carve::CannotCarve;
pub use check::BadMap;
pub use selection::{BadSelection, Pick, Selection};

use crate::hash;
use crate::ids::{Epoch, Home, PartitionId};
use crate::key::{KeyLiteral, KeyType, KeyValue};
use crate::region::{Constraint, Region};

/// One component of a context's partition key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dimension {
    /// The column that every table of the context carries.
    pub column: String,
    /// Its type, as PostgreSQL names it.
    #[serde(rename = "type")]
    pub key_type: KeyType,
}

/// How a context is cut into partitions, as written in a spec.
///
/// Exactly one of `list`, `hash` and `cuts` is given. Leaves are named after the path of child names, joined
/// by `_`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// The column of the dimension that is split here.
    pub split: String,
    /// By list: the values of each named child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<BTreeMap<String, Vec<KeyLiteral>>>,
    /// By hash: the modulus; children are named `b0`, `b1` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<u32>,
    /// By range: ascending cut points; n cuts make n + 1 children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuts: Option<Vec<KeyLiteral>>,
    /// By range: the children's names, one more than there are cuts; `r0`, `r1` and so on by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// By list: the name of the child that takes every value that is not listed; `rest` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
    /// Children that are split further, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub under: BTreeMap<String, Tree>,
}

/// One version of how a context is partitioned, and where each partition lives.
///
/// Cheap to clone: the tree is shared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "check::RawMap")]
pub struct Map {
    context: String,
    version: u64,
    dimensions: Vec<Dimension>,
    root: Arc<Node>,
}

/// A part of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// A partition.
    Leaf(Leaf),
    /// A cut along one dimension.
    Split(Split),
}

/// A partition as the map knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// Its name.
    pub partition: PartitionId,
    /// Where its rows are.
    pub home: Home,
    /// The generation of that home.
    pub epoch: Epoch,
}

/// A cut along one dimension, and what lies on its sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    dimension: usize,
    by: By,
    children: Vec<Arc<Node>>,
}

/// How a split tells its children apart. Which child that is, is a place in the list of children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    /// By value. Values that are not here go to the child at [`REST`].
    List(#[serde(with = "check::pairs")] Arc<BTreeMap<KeyValue, usize>>),
    /// By PostgreSQL's hash of the value, modulo the number of children.
    Hash,
    /// By ascending cut points, each the first value of the child after it; one less than there are children.
    Range(Arc<Vec<KeyValue>>),
}

/// The place of a list's rest.
const REST: usize = 0;

/// A key that cannot be looked up in a map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It has more or fewer values than the context has dimensions.
    #[error("the key has {got} values, but {context} is partitioned by {want}")]
    Arity {
        /// The context.
        context: String,
        /// The number of dimensions.
        want: usize,
        /// The number of values given.
        got: usize,
    },
    /// A value is not one of its dimension's type.
    #[error("{value} is not a value of {column}, whose type is {key_type}")]
    Type {
        /// The dimension.
        column: String,
        /// Its type.
        key_type: KeyType,
        /// The value given.
        value: String,
    },
}

/// What became of one partition between two maps. Exactly one side is `None` if it appeared or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The partition.
    pub partition: PartitionId,
    /// The leaf in the first map.
    pub before: Option<Leaf>,
    /// The leaf in the second map.
    pub after: Option<Leaf>,
}

/// What is known about one dimension of the keys that are asked about.
#[derive(Clone, Copy)]
enum Probe<'a> {
    Any,
    Is(&'a KeyValue),
    Within { lower: Option<&'a KeyValue>, upper: Option<&'a KeyValue> },
}

impl Map {
    /// The context that it partitions.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Counts the changes of what routers are told of this context, from 1; the map is most of that. Routers take only
    /// a higher version than they have.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The components of the key, in the order in which keys list their values.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The whole tree.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// The leaf that holds `key`, one value for each dimension.
    ///
    /// Takes a few comparisons for each level of the tree, or one hash, and allocates nothing.
    ///
    /// # Errors
    ///
    /// [`BadKey`] if a value is missing, too many, or of another type than its dimension.
    pub fn lookup(&self, key: &[KeyValue]) -> Result<&Leaf, BadKey> {
        self.check_key(key.len(), key.iter().map(Some))?;
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return Ok(leaf),
                Node::Split(split) => node = &split.children[split.place(&key[split.dimension])],
            }
        }
    }

    /// The leaves that can hold a key of which only some values are known, in the order of the tree.
    ///
    /// # Errors
    ///
    /// As [`Map::lookup`].
    pub fn lookup_partial(&self, key: &[Option<KeyValue>]) -> Result<Vec<&Leaf>, BadKey> {
        self.check_key(key.len(), key.iter().map(Option::as_ref))?;
        let probes: Vec<Probe> =
            key.iter().map(|value| value.as_ref().map_or(Probe::Any, Probe::Is)).collect();
        let mut found = Vec::new();
        self.root.collect(&probes, &mut found);
        Ok(found)
    }

    /// The leaf with this name. Walks the tree.
    pub fn leaf(&self, partition: &PartitionId) -> Option<&Leaf> {
        self.leaves().find(|leaf| leaf.partition == *partition)
    }

    /// All leaves, in the order of the tree; a list's rest comes before its other children.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.root.leaves()
    }

    /// The keys that belong to a partition; `None` if the map does not have it. Walks the tree.
    pub fn region(&self, partition: &PartitionId) -> Option<Region> {
        Some(self.region_at(&self.path_to(partition)?))
    }

    /// The next version, in which a partition lives in `home` at `epoch`. All subtrees off the path to its leaf
    /// are shared with this map.
    ///
    /// `None` if the map does not have the partition, or has it at this epoch or a later one.
    #[must_use]
    pub fn with_home(&self, partition: &PartitionId, home: Home, epoch: Epoch) -> Option<Map> {
        let path = self.path_to(partition)?;
        if epoch <= self.leaf(partition)?.epoch {
            return None;
        }
        let leaf = Leaf { partition: partition.clone(), home, epoch };
        Some(self.with_root(self.root.replaced(&path, Arc::new(Node::Leaf(leaf)))))
    }

    /// This map as a later version, or as its own: routers are told more than the map, and all of it is counted by
    /// one number. `None` if the map is further than that: a version is never used twice.
    #[must_use]
    pub fn with_version(&self, version: u64) -> Option<Map> {
        (version >= self.version).then(|| Map { version, ..self.clone() })
    }

    /// What became of each leaf on the way from this map to `after`, ordered by name: home or epoch changed,
    /// appeared, or went. A leaf that only gave up keys to a carved one is not listed.
    pub fn diff(&self, after: &Map) -> Vec<Change> {
        let mut changes = BTreeMap::new();
        self.root.diff(&after.root, &mut changes);
        let changed = |(partition, (before, after)): (&PartitionId, (Option<&Leaf>, Option<&Leaf>))| {
            (before != after).then(|| Change {
                partition: partition.clone(),
                before: before.cloned(),
                after: after.cloned(),
            })
        };
        changes.into_iter().filter_map(changed).collect()
    }

    fn with_root(&self, root: Arc<Node>) -> Map {
        Map {
            version: self.version + 1,
            root,
            context: self.context.clone(),
            dimensions: self.dimensions.clone(),
        }
    }

    fn check_key<'a>(
        &self,
        len: usize,
        values: impl Iterator<Item = Option<&'a KeyValue>>,
    ) -> Result<(), BadKey> {
        if len != self.dimensions.len() {
            let (context, want) = (self.context.clone(), self.dimensions.len());
            return Err(BadKey::Arity { context, want, got: len });
        }
        for (value, dimension) in values.zip(&self.dimensions) {
            if let Some(value) = value.filter(|value| !dimension.key_type.holds(value)) {
                let (column, key_type) = (dimension.column.clone(), dimension.key_type);
                return Err(BadKey::Type { column, key_type, value: value.to_string() });
            }
        }
        Ok(())
    }

    /// The places to go from the root to a leaf.
    fn path_to(&self, partition: &PartitionId) -> Option<Vec<usize>> {
        let mut path = Vec::new();
        self.root.find(partition, &mut path).then_some(path)
    }

    fn region_at(&self, path: &[usize]) -> Region {
        let mut region = Region::everything();
        let mut node = &*self.root;
        for &place in path {
            let Node::Split(split) = node else { break };
            region = region.and(split.dimension, split.constraints().swap_remove(place));
            node = &split.children[place];
        }
        region
    }
}

impl Node {
    /// All leaves of this part, in the order of the tree.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            loop {
                match left.pop()? {
                    Node::Leaf(leaf) => return Some(leaf),
                    Node::Split(split) => left.extend(split.children.iter().rev().map(Arc::as_ref)),
                }
            }
        })
    }

    /// Adds the leaves that can hold a key of which `probes` is known.
    fn collect<'a>(&'a self, probes: &[Probe], found: &mut Vec<&'a Leaf>) {
        match self {
            Node::Leaf(leaf) => found.push(leaf),
            Node::Split(split) => {
                for place in split.places(probes[split.dimension]) {
                    split.children[place].collect(probes, found);
                }
            }
        }
    }

    /// Extends `path` to the leaf with this name and says whether it is here; if not, leaves `path` as it was.
    fn find(&self, partition: &PartitionId, path: &mut Vec<usize>) -> bool {
        match self {
            Node::Leaf(leaf) => leaf.partition == *partition,
            Node::Split(split) => split.children.iter().enumerate().any(|(place, child)| {
                path.push(place);
                let found = child.find(partition, path);
                if !found {
                    path.pop();
                }
                found
            }),
        }
    }

    /// This tree with what is at `path` replaced. Copies the splits on the path and shares all others.
    fn replaced(&self, path: &[usize], new: Arc<Node>) -> Arc<Node> {
        match (self, path) {
            (Node::Split(split), [place, rest @ ..]) => {
                let mut split = split.clone();
                split.children[*place] = split.children[*place].replaced(rest, new);
                Arc::new(Node::Split(split))
            }
            _ => new,
        }
    }

    /// Puts each leaf of the parts that the two trees do not share under its name. Only what is shared at the
    /// same place is passed over.
    fn diff<'a>(
        self: &'a Arc<Node>,
        after: &'a Arc<Node>,
        changes: &mut BTreeMap<&'a PartitionId, (Option<&'a Leaf>, Option<&'a Leaf>)>,
    ) {
        match (&**self, &**after) {
            _ if Arc::ptr_eq(self, after) => {}
            (Node::Split(a), Node::Split(b)) => {
                let longest = a.children.len().max(b.children.len());
                for place in 0..longest {
                    match (a.children.get(place), b.children.get(place)) {
                        (Some(a), Some(b)) => a.diff(b, changes),
                        (a, b) => Node::note(a, b, changes),
                    }
                }
            }
            _ => Node::note(Some(self), Some(after), changes),
        }
    }

    fn note<'a>(
        before: Option<&'a Arc<Node>>,
        after: Option<&'a Arc<Node>>,
        changes: &mut BTreeMap<&'a PartitionId, (Option<&'a Leaf>, Option<&'a Leaf>)>,
    ) {
        for leaf in before.iter().flat_map(|node| node.leaves()) {
            changes.entry(&leaf.partition).or_default().0 = Some(leaf);
        }
        for leaf in after.iter().flat_map(|node| node.leaves()) {
            changes.entry(&leaf.partition).or_default().1 = Some(leaf);
        }
    }
}

impl Split {
    /// The index of the dimension that is cut.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// What lies on the sides of the cut.
    pub fn children(&self) -> &[Arc<Node>] {
        &self.children
    }

    /// The place of the child that takes `value`.
    fn place(&self, value: &KeyValue) -> usize {
        match &self.by {
            By::List(places) => places.get(value).copied().unwrap_or(REST),
            By::Hash => hash::bucket(&[Some(value)], modulus(self.children.len())) as usize,
            By::Range(cuts) => cuts.partition_point(|cut| cut <= value),
        }
    }

    /// The places of the children that can take a value of which `probe` is known, ascending.
    fn places(&self, probe: Probe) -> Vec<usize> {
        let all = || (0..self.children.len()).collect();
        match (probe, &self.by) {
            (Probe::Any, _) | (Probe::Within { .. }, By::Hash) => all(),
            (Probe::Is(value), _) => vec![self.place(value)],
            (Probe::Within { lower, upper }, By::Range(cuts)) => {
                let first = lower.map_or(0, |lower| cuts.partition_point(|cut| cut <= lower));
                let last = upper.map_or(cuts.len(), |upper| cuts.partition_point(|cut| cut < upper));
                (first..=last).collect()
            }
            (Probe::Within { lower, upper }, By::List(places)) => {
                let inside =
                    |value: &&KeyValue| lower.is_none_or(|l| l <= value) && upper.is_none_or(|u| *value < u);
                let listed = places.iter().filter(|(value, _)| inside(value)).map(|(_, place)| *place);
                let mut found: Vec<usize> = std::iter::once(REST).chain(listed).collect();
                found.sort_unstable();
                found.dedup();
                found
            }
        }
    }

    /// What a value must satisfy to be taken by each child.
    fn constraints(&self) -> Vec<Constraint> {
        self.by.constraints(self.children.len())
    }
}

impl By {
    /// What a value must satisfy to be taken by each of so many children.
    fn constraints(&self, children: usize) -> Vec<Constraint> {
        match self {
            By::List(places) => {
                let mut values = vec![BTreeSet::new(); children];
                for (value, place) in &**places {
                    values[*place].insert(value.clone());
                }
                let mut constraints: Vec<_> = values.into_iter().map(Constraint::OneOf).collect();
                constraints[REST] = Constraint::NoneOf(places.keys().cloned().collect());
                constraints
            }
            By::Hash => {
                let modulus = modulus(children);
                (0..modulus).map(|remainder| Constraint::Bucket { modulus, remainder }).collect()
            }
            By::Range(cuts) => {
                let ends = || std::iter::once(None).chain(cuts.iter().cloned().map(Some)).chain([None]);
                ends().zip(ends().skip(1)).map(|(lower, upper)| Constraint::Within { lower, upper }).collect()
            }
        }
    }
}

fn modulus(children: usize) -> u32 {
    u32::try_from(children).expect("a hash split was checked to have few buckets")
}
