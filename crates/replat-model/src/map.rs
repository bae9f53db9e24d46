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
mod delta;
mod document;
mod names;
mod reach;
mod selection;
mod slots;
mod sorted;
mod split;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use build::BadTree;
pub use carve::CannotCarve;
pub use check::BadMap;
pub use delta::{BadDelta, MapDelta};
pub use document::FORMAT;
pub use selection::{BadSelection, Pick, Selection};
pub use split::Split;

use names::{Names, Spot};
use slots::Slots;

use crate::ids::{Epoch, Home, PartitionId};
use crate::key::{KeyLiteral, KeyType, KeyValue};
use crate::region::Region;

/// One component of a context's partition key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dimension {
    /// The column that the tables of the context carry; one that calls it otherwise says so.
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
/// Cheap to clone: the tree is shared. `docs/map-format.md` describes how it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "document::Written", try_from = "document::Written")]
pub struct Map {
    context: Arc<str>,
    version: u64,
    dimensions: Arc<[Dimension]>,
    root: Node,
    names: Names,
}

/// A part of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A partition.
    Leaf(Leaf),
    /// A cut along one dimension.
    Split(Arc<Split>),
}

/// A partition as the map knows it.
///
/// Cheap to clone: its name and its home are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its name.
    pub partition: PartitionId,
    /// Where its rows are. Leaves that were built, read or switched together share it.
    pub home: Arc<Home>,
    /// The generation of that home.
    pub epoch: Epoch,
}

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
    pub fn root(&self) -> &Node {
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
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(leaf) => return Ok(leaf),
                Node::Split(split) => node = split.child(split.by.place(&key[split.dimension])),
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

    /// The leaf with this name; `None` if the map does not have it. Takes about as long as a lookup.
    pub fn leaf(&self, partition: &PartitionId) -> Option<&Leaf> {
        match self.root.at(&self.path_to(partition)?)? {
            Node::Leaf(leaf) => Some(leaf),
            Node::Split(_) => None,
        }
    }

    /// All leaves, in the order of the tree; a list's rest comes before its other children.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        self.root.leaves()
    }

    /// The keys that belong to a partition; `None` if the map does not have it.
    ///
    /// A region says what it takes: that of a list's rest names all values that are listed.
    pub fn region(&self, partition: &PartitionId) -> Option<Region> {
        Some(self.region_at(&self.path_to(partition)?))
    }

    /// The next version, in which a partition lives in `home` at `epoch`. All subtrees off the path to its leaf
    /// are shared with this map.
    ///
    /// `None` if the map does not have the partition, or has it at this epoch or a later one.
    #[must_use]
    pub fn with_home(
        &self,
        partition: &PartitionId,
        home: impl Into<Arc<Home>>,
        epoch: Epoch,
    ) -> Option<Map> {
        let path = self.path_to(partition)?;
        let Node::Leaf(leaf) = self.root.at(&path)? else { return None };
        if epoch <= leaf.epoch {
            return None;
        }
        let leaf = Leaf { partition: leaf.partition.clone(), home: home.into(), epoch };
        Some(self.with_root(self.root.replaced(&path, Node::Leaf(leaf))))
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

    /// The next version, in which leaves stand for others of their names.
    fn with_root(&self, root: Node) -> Map {
        Map { version: self.version + 1, root, ..self.clone() }
    }

    fn check_key<'a>(
        &self,
        len: usize,
        values: impl Iterator<Item = Option<&'a KeyValue>>,
    ) -> Result<(), BadKey> {
        if len != self.dimensions.len() {
            let (context, want) = (self.context.as_ref().to_owned(), self.dimensions.len());
            return Err(BadKey::Arity { context, want, got: len });
        }
        for (value, dimension) in values.zip(&*self.dimensions) {
            if let Some(value) = value.filter(|value| !dimension.key_type.holds(value)) {
                let (column, key_type) = (dimension.column.clone(), dimension.key_type);
                return Err(BadKey::Type { column, key_type, value: value.to_string() });
            }
        }
        Ok(())
    }

    fn region_at(&self, path: &[usize]) -> Region {
        let mut region = Region::everything();
        let mut node = &self.root;
        for &place in path {
            let Node::Split(split) = node else { break };
            region = region.and(split.dimension, split.by.constraint(place));
            node = split.child(place);
        }
        region
    }
}

/// Two maps are equal if they say the same, however they came about.
impl PartialEq for Map {
    fn eq(&self, other: &Map) -> bool {
        let Map { context, version, dimensions, root, names: _ } = self;
        *context == other.context
            && *version == other.version
            && *dimensions == other.dimensions
            && *root == other.root
    }
}

impl Eq for Map {}

impl Node {
    /// All leaves of this part, in the order of the tree.
    pub fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        let (mut next, mut above) = (Some(self), Vec::new());
        std::iter::from_fn(move || {
            loop {
                match next.take() {
                    Some(Node::Leaf(leaf)) => return Some(leaf),
                    Some(Node::Split(split)) => above.push(split.in_order()),
                    None => {}
                }
                next = above.last_mut()?.next();
                if next.is_none() {
                    above.pop();
                }
            }
        })
    }

    /// What is at a path; `None` if there is no such path.
    fn at(&self, path: &[usize]) -> Option<&Node> {
        path.iter().try_fold(self, |node, place| match node {
            Node::Split(split) => split.children.get(*place),
            Node::Leaf(_) => None,
        })
    }

    /// The spot to which a path leads from the root; `None` if there is no such path.
    fn spot(&self, path: &[usize]) -> Option<Spot> {
        let Some((&last, above)) = path.split_last() else { return Some(Spot::ROOT) };
        match self.at(above)? {
            Node::Split(split) => Some(Spot::new(split.number, last)),
            Node::Leaf(_) => None,
        }
    }

    /// Adds the leaves that can hold a key of which `probes` is known.
    fn collect<'a>(&'a self, probes: &[Probe], found: &mut Vec<&'a Leaf>) {
        match self {
            Node::Leaf(leaf) => found.push(leaf),
            Node::Split(split) => {
                split.each_child(probes[split.dimension], &mut |child| child.collect(probes, found));
            }
        }
    }

    /// This tree with what is at `path` replaced. Copies the splits on the path and shares all others.
    fn replaced(&self, path: &[usize], new: Node) -> Node {
        match (self, path) {
            (Node::Split(split), [place, rest @ ..]) => {
                let mut split = Split::clone(split);
                let changed = split.child(*place).replaced(rest, new);
                split.children.put(*place, changed);
                Node::Split(Arc::new(split))
            }
            _ => new,
        }
    }

    /// Puts each leaf of the parts that the two trees do not share under its name. Only what is shared at the
    /// same place is passed over.
    fn diff<'a>(&'a self, after: &'a Node, changes: &mut Changes<'a>) {
        match (self, after) {
            (Node::Split(a), Node::Split(b)) if Arc::ptr_eq(a, b) => {}
            (Node::Split(a), Node::Split(b)) => {
                a.children.each_unshared(&b.children, &mut |_, a, b| a.diff(b, changes));
                let (a_len, b_len) = (a.children.len(), b.children.len());
                (b_len..a_len).for_each(|place| note(Some(a.child(place)), None, changes));
                (a_len..b_len).for_each(|place| note(None, Some(b.child(place)), changes));
            }
            _ => note(Some(self), Some(after), changes),
        }
    }
}

/// Leaves by their names: in the first map, and in the second.
type Changes<'a> = BTreeMap<&'a PartitionId, (Option<&'a Leaf>, Option<&'a Leaf>)>;

fn note<'a>(before: Option<&'a Node>, after: Option<&'a Node>, changes: &mut Changes<'a>) {
    for leaf in before.iter().flat_map(|node| node.leaves()) {
        changes.entry(&leaf.partition).or_default().0 = Some(leaf);
    }
    for leaf in after.iter().flat_map(|node| node.leaves()) {
        changes.entry(&leaf.partition).or_default().1 = Some(leaf);
    }
}
