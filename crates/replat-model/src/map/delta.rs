//! What has changed from one version of a map to another, as it is sent.
//!
//! A switch is one small array. A carved partition is the child that a split got, and the values that lead to it.
//! Whatever is neither is sent as the part of the tree that took the place of another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::document::{Reader, Writer, WrittenHome, WrittenLeaf, WrittenNode, literal_of};
use super::names::{Roll, Spot};
use super::split::Point;
use super::{BadMap, Leaf, Map, Node, Split};
use crate::ids::{Epoch, PartitionId};
use crate::key::KeyLiteral;

/// The changes from one version of a map to a later one. `docs/map-format.md` describes how it is written.
///
/// [`Map::delta`] makes it, [`Map::apply`] takes it. Until then it is only what somebody has written: it is checked
/// when it is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapDelta {
    context: String,
    from: u64,
    to: u64,
    homes: Vec<WrittenHome>,
    changes: Vec<Part>,
}

/// One change. An array is a leaf that lives elsewhere now, an object is a change of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Home(WrittenLeaf),
    Tree(TreePart),
}

/// What is at a path is replaced by a node, or is a split that grows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TreePart {
    at: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<WrittenNode>,
    /// Values or cuts, with the places of the children that they lead to; null for what is below all cuts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    points: Option<Vec<(Option<KeyLiteral>, u32)>>,
    /// Children that are added at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    children: Option<Vec<WrittenNode>>,
}

/// Why a delta cannot be applied to a map. The map is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDelta {
    /// It is for another context.
    #[error("the delta is for context {got}, and the map is of {want}")]
    Context {
        /// The map's context.
        want: String,
        /// The delta's.
        got: String,
    },
    /// It begins at another version, or does not lead to a later one.
    #[error("the delta leads from version {from} to {to}, and the map is at version {at}")]
    Version {
        /// The map's version.
        at: u64,
        /// The version at which the delta begins.
        from: u64,
        /// The version to which it leads.
        to: u64,
    },
    /// It speaks of a partition that the map does not have.
    #[error("the delta speaks of partition {0}, which the map does not have")]
    NoSuch(PartitionId),
    /// It would take a partition back to where it was.
    #[error("the delta has {partition} at {given}, and the map has it at {has}")]
    Epoch {
        /// The partition.
        partition: PartitionId,
        /// Its epoch in the map.
        has: Epoch,
        /// The epoch in the delta, which is not higher.
        given: Epoch,
    },
    /// What it says of the tree cannot be.
    #[error("the delta cannot be applied: {0}")]
    Tree(&'static str),
    /// It would make something of the map that is none.
    #[error("the delta would damage the map")]
    Damages(#[source] BadMap),
}

impl From<BadMap> for BadDelta {
    fn from(bad: BadMap) -> BadDelta {
        BadDelta::Damages(bad)
    }
}

impl MapDelta {
    /// The context whose map changes.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The version to which it can be applied.
    pub fn from(&self) -> u64 {
        self.from
    }

    /// The version that it makes of that.
    pub fn to(&self) -> u64 {
        self.to
    }

    /// How many changes it is.
    pub fn changes(&self) -> usize {
        self.changes.len()
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Part::Home(leaf) => leaf.serialize(s),
            Part::Tree(part) => part.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Part, D::Error> {
        struct ArrayOrObject;

        impl<'de> Visitor<'de> for ArrayOrObject {
            type Value = Part;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a leaf's new home, which is an array, or a change of the tree, which is an object",
                )
            }

            fn visit_seq<A: SeqAccess<'de>>(self, leaf: A) -> Result<Part, A::Error> {
                WrittenLeaf::deserialize(SeqAccessDeserializer::new(leaf)).map(Part::Home)
            }

            fn visit_map<A: MapAccess<'de>>(self, part: A) -> Result<Part, A::Error> {
                TreePart::deserialize(MapAccessDeserializer::new(part)).map(Part::Tree)
            }
        }

        d.deserialize_any(ArrayOrObject)
    }
}

impl Map {
    /// What leads from this map to `after`; `None` if that is of another context, has other dimensions, or is no
    /// later version.
    ///
    /// Takes as long as there is to say: what the two maps share is passed over.
    pub fn delta(&self, after: &Map) -> Option<MapDelta> {
        let same = self.context == after.context && self.dimensions == after.dimensions;
        if !same || after.version <= self.version {
            return None;
        }
        let mut found = Comparison { writer: Writer::new(&after.dimensions), changes: Vec::new() };
        found.compare(&self.root, &after.root, &mut Vec::new());
        let (changes, homes) = (found.changes, found.writer.homes());
        let context = after.context.as_ref().to_owned();
        Some(MapDelta { context, from: self.version, to: after.version, homes, changes })
    }

    /// The later version to which `delta` leads from this map. Shares with this map what does not change.
    ///
    /// Checks what changes, and nothing else.
    ///
    /// # Errors
    ///
    /// [`BadDelta`] if it begins elsewhere, takes a partition back to an earlier epoch, or would leave no map.
    pub fn apply(&self, delta: &MapDelta) -> Result<Map, BadDelta> {
        let MapDelta { context, from, to, homes, changes } = delta;
        if *context != *self.context {
            return Err(BadDelta::Context { want: self.context.as_ref().to_owned(), got: context.clone() });
        }
        if *from != self.version || to <= from {
            return Err(BadDelta::Version { at: self.version, from: *from, to: *to });
        }
        let reader = Reader::new(&self.dimensions, homes, self.names.next_number());
        let mut edit = Edit {
            before: self,
            map: Map { version: *to, ..self.clone() },
            reader,
            gone: BTreeMap::new(),
            come: BTreeMap::new(),
            splits: BTreeMap::new(),
            changed: Vec::new(),
        };
        for change in changes {
            match change {
                Part::Home(leaf) => edit.home(leaf)?,
                Part::Tree(part) => edit.tree(part)?,
            }
        }
        edit.finish()
    }
}

struct Comparison<'a> {
    writer: Writer<'a>,
    changes: Vec<Part>,
}

impl<'a> Comparison<'a> {
    fn compare(&mut self, before: &'a Node, after: &'a Node, path: &mut Vec<usize>) {
        match (before, after) {
            (Node::Leaf(a), Node::Leaf(b)) if a == b => {}
            (Node::Leaf(a), Node::Leaf(b)) if a.partition == b.partition => {
                let leaf = self.writer.leaf(b);
                self.changes.push(Part::Home(leaf));
            }
            (Node::Split(a), Node::Split(b)) if Arc::ptr_eq(a, b) => {}
            (Node::Split(a), Node::Split(b)) => match grown(a, b) {
                Some(points) => self.compare_children((a, b), points, path),
                None => self.replace(after, path),
            },
            _ => self.replace(after, path),
        }
    }

    fn compare_children(
        &mut self,
        (before, after): (&'a Split, &'a Split),
        points: Vec<Point>,
        path: &mut Vec<usize>,
    ) {
        before.children.each_unshared(&after.children, &mut |place, before, after| {
            path.push(place);
            self.compare(before, after, path);
            path.pop();
        });
        let new = before.children.len()..after.children.len();
        if points.is_empty() && new.is_empty() {
            return;
        }
        let key_type = self.writer.key_type(after.dimension);
        let points = points
            .into_iter()
            .map(|(value, place)| (value.map(|value| literal_of(key_type, &value)), place))
            .collect();
        let children = new.map(|place| self.writer.node(after.child(place))).collect();
        let (points, children) = (Some(points), Some(children));
        self.changes.push(Part::Tree(TreePart { at: path.clone(), node: None, points, children }));
    }

    fn replace(&mut self, after: &'a Node, path: &[usize]) {
        let node = Some(self.writer.node(after));
        self.changes.push(Part::Tree(TreePart { at: path.to_vec(), node, points: None, children: None }));
    }
}

/// The points that `after` has more than `before`, if it is `before` with children added.
fn grown(before: &Split, after: &Split) -> Option<Vec<Point>> {
    let more = before.dimension == after.dimension && before.children.len() <= after.children.len();
    more.then(|| before.by.points_to(&after.by)).flatten()
}

/// A map to which one change after the other is applied. Names are entered at the end, when all that go are known.
struct Edit<'a> {
    before: &'a Map,
    map: Map,
    reader: Reader<'a>,
    /// Leaves that are no longer where they were, and leaves that are somewhere now.
    gone: BTreeMap<Spot, Leaf>,
    come: BTreeMap<Spot, Leaf>,
    /// Splits that go, and splits that come with the spot where they are.
    splits: BTreeMap<u32, Option<Spot>>,
    /// Where it must be looked whether some key comes to each leaf.
    changed: Vec<Vec<usize>>,
}

impl Edit<'_> {
    fn home(&mut self, written: &WrittenLeaf) -> Result<(), BadDelta> {
        let given = self.reader.leaf(written.clone())?;
        let path = self.before.path_to(&given.partition);
        let now = path.as_ref().and_then(|path| self.map.root.at(path));
        let (Some(path), Some(Node::Leaf(has))) = (&path, now) else {
            return Err(BadDelta::NoSuch(given.partition));
        };
        if has.partition != given.partition {
            return Err(BadDelta::NoSuch(given.partition));
        }
        if given.epoch <= has.epoch {
            return Err(BadDelta::Epoch { partition: given.partition, has: has.epoch, given: given.epoch });
        }
        self.map.root = self.map.root.replaced(path, Node::Leaf(given));
        Ok(())
    }

    fn tree(&mut self, part: &TreePart) -> Result<(), BadDelta> {
        match part {
            TreePart { at, node: Some(node), points: None, children: None } => self.replace(at, node),
            TreePart { at, node: None, points: Some(points), children: Some(children) } => {
                self.grow(at, points, children)
            }
            _ => Err(BadDelta::Tree("a change is neither a new node nor a split that grows")),
        }
    }

    fn replace(&mut self, at: &[usize], written: &WrittenNode) -> Result<(), BadDelta> {
        let node = self.reader.node(written.clone())?;
        let (old, spot) = self.map.root.at(at).zip(self.map.root.spot(at)).ok_or(NOTHING_THERE)?;
        let old = old.clone();
        self.goes(&old, spot);
        self.comes(&node, spot);
        self.map.root = self.map.root.replaced(at, node);
        self.changed.push(at.to_vec());
        Ok(())
    }

    fn grow(
        &mut self,
        at: &[usize],
        points: &[(Option<KeyLiteral>, u32)],
        children: &[WrittenNode],
    ) -> Result<(), BadDelta> {
        let Some(Node::Split(split)) = self.map.root.at(at) else { return Err(NOTHING_THERE) };
        let mut split = Split::clone(split);
        let before = split.children.len();
        let key_type = self.map.dimensions[split.dimension].key_type;
        let value = |literal: &KeyLiteral| Reader::value(key_type, literal);
        let points = points
            .iter()
            .map(|(literal, place)| Ok((literal.as_ref().map(value).transpose()?, *place)))
            .collect::<Result<Vec<Point>, BadMap>>()?;
        let children =
            children.iter().map(|child| self.reader.node(child.clone())).collect::<Result<Vec<_>, _>>()?;
        for (place, child) in children.iter().enumerate() {
            self.comes(child, Spot::new(split.number, before + place));
        }
        // Before the cut was there, what is on its left had keys on both sides.
        let mut narrowed: Vec<usize> = split.by.narrowed_by(&points);
        split.grow(points, children).map_err(BadMap::Split)?;
        narrowed.extend(before..split.children.len());
        self.changed.extend(narrowed.into_iter().map(|place| [at, &[place]].concat()));
        self.map.root = self.map.root.replaced(at, Node::Split(Arc::new(split)));
        Ok(())
    }

    fn goes(&mut self, node: &Node, spot: Spot) {
        let mut roll = Roll::default();
        roll.call(node, spot);
        for (leaf, spot) in roll.leaves {
            // What came in this very delta was nowhere before.
            if self.come.remove(&spot).is_none() {
                self.gone.insert(spot, leaf.clone());
            }
        }
        self.splits.extend(roll.splits.into_iter().map(|(number, _)| (number, None)));
    }

    fn comes(&mut self, node: &Node, spot: Spot) {
        let mut roll = Roll::default();
        roll.call(node, spot);
        self.come.extend(roll.leaves.into_iter().map(|(leaf, spot)| (spot, leaf.clone())));
        self.splits.extend(roll.splits.into_iter().map(|(number, spot)| (number, Some(spot))));
    }

    fn finish(self) -> Result<Map, BadDelta> {
        let Edit { mut map, gone, come, splits, changed, .. } = self;
        for (number, spot) in splits {
            match spot {
                Some(spot) => map.names.add_split(number, spot),
                None => map.names.remove_split(number),
            }
        }
        let mut were: BTreeMap<&PartitionId, &Leaf> = BTreeMap::new();
        for (spot, leaf) in &gone {
            map.names.remove(&leaf.partition, *spot);
            were.insert(&leaf.partition, leaf);
        }
        for (spot, leaf) in &come {
            let Leaf { partition, home, epoch } = leaf;
            if let Some(was) = were.get(partition)
                && (*epoch < was.epoch || *epoch == was.epoch && *home != was.home)
            {
                return Err(BadDelta::Epoch { partition: partition.clone(), has: was.epoch, given: *epoch });
            }
            if map.path_to(partition).is_some() {
                return Err(BadMap::Twice(partition.clone()).into());
            }
            map.names.add(partition, *spot);
        }
        changed.iter().try_for_each(|path| map.check_below(path))?;
        Ok(map)
    }
}

const NOTHING_THERE: BadDelta = BadDelta::Tree("there is nothing, or nothing that could grow, at a path");
