//! How a map is written: each home once, each leaf as an array of three. `docs/map-format.md` describes it.
//!
//! A map is written by way of [`Written`], which is what the document says and no more, and read by way of it too:
//! the values of a split mean something only when the dimensions are known, and members of an object come in any
//! order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::build::BUCKETS_MAX;
use super::check::DEPTH_MAX;
use super::split::{By, List, Range};
use super::{BadMap, Dimension, Leaf, Map, Names, Node, Slots, Split};
use crate::ids::{Epoch, Home, PartitionId};
use crate::key::{KeyLiteral, KeyType, KeyValue};

/// The number of the format in which maps are written. The first one was written without a number.
pub const FORMAT: u32 = 2;

/// A map as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    format: u32,
    context: String,
    version: u64,
    dimensions: Vec<Dimension>,
    homes: Vec<WrittenHome>,
    root: WrittenNode,
}

/// A database and a schema in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenHome(String, String);

/// An array is a leaf, an object is a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WrittenNode {
    Leaf(WrittenLeaf),
    Split(Box<WrittenSplit>),
}

/// A name, the place of its home among the homes, and its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WrittenLeaf(pub(super) PartitionId, pub(super) u32, pub(super) Epoch);

/// Which members it has is told by `split`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenSplit {
    split: Kind,
    dimension: usize,
    /// Of a list: the values of each child but the rest, which comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Vec<KeyLiteral>>>,
    /// Of a range: its cuts, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cuts: Option<Vec<KeyLiteral>>,
    /// Of a range: the places of its children in the order of their keys, where that is not their own order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Vec<u32>>,
    children: Vec<WrittenNode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    List,
    Hash,
    Range,
}

impl Serialize for WrittenNode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            WrittenNode::Leaf(leaf) => leaf.serialize(s),
            WrittenNode::Split(split) => split.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for WrittenNode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<WrittenNode, D::Error> {
        struct ArrayOrObject;

        impl<'de> Visitor<'de> for ArrayOrObject {
            type Value = WrittenNode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a leaf, which is an array, or a split, which is an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, leaf: A) -> Result<WrittenNode, A::Error> {
                WrittenLeaf::deserialize(SeqAccessDeserializer::new(leaf)).map(WrittenNode::Leaf)
            }

            fn visit_map<A: MapAccess<'de>>(self, split: A) -> Result<WrittenNode, A::Error> {
                let split = WrittenSplit::deserialize(MapAccessDeserializer::new(split))?;
                Ok(WrittenNode::Split(Box::new(split)))
            }
        }

        d.deserialize_any(ArrayOrObject)
    }
}

impl From<Map> for Written {
    fn from(map: Map) -> Written {
        let mut writer = Writer::new(&map.dimensions);
        let root = writer.node(&map.root);
        Written {
            format: FORMAT,
            context: map.context.as_ref().to_owned(),
            version: map.version,
            homes: writer.homes(),
            dimensions: map.dimensions.to_vec(),
            root,
        }
    }
}

impl TryFrom<Written> for Map {
    type Error = BadMap;

    fn try_from(written: Written) -> Result<Map, BadMap> {
        let Written { format, context, version, dimensions, homes, root } = written;
        if format != FORMAT {
            return Err(BadMap::Whole("it is of another format than this program writes"));
        }
        let root = Reader::new(&dimensions, &homes, 1).node(root)?;
        let (context, dimensions) = (context.into(), dimensions.into());
        Map { context, version, dimensions, root, names: Names::default() }.checked()
    }
}

/// Writes nodes, and remembers their homes.
pub(super) struct Writer<'a> {
    dimensions: &'a [Dimension],
    homes: BTreeMap<&'a Home, u32>,
    /// The last leaf's home. Most leaves have the home of the one before.
    last: Option<(&'a Arc<Home>, u32)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(dimensions: &'a [Dimension]) -> Writer<'a> {
        Writer { dimensions, homes: BTreeMap::new(), last: None }
    }

    /// The homes of all that was written, at the places that were given to them.
    pub(super) fn homes(self) -> Vec<WrittenHome> {
        let mut homes: Vec<_> = self.homes.into_iter().map(|(home, place)| (place, home)).collect();
        homes.sort_unstable_by_key(|(place, _)| *place);
        let written = |home: &Home| WrittenHome(home.database.clone(), home.schema.clone());
        homes.into_iter().map(|(_, home)| written(home)).collect()
    }

    pub(super) fn key_type(&self, dimension: usize) -> KeyType {
        self.dimensions[dimension].key_type
    }

    pub(super) fn node(&mut self, node: &'a Node) -> WrittenNode {
        match node {
            Node::Leaf(leaf) => WrittenNode::Leaf(self.leaf(leaf)),
            Node::Split(split) => WrittenNode::Split(Box::new(self.split(split))),
        }
    }

    pub(super) fn leaf(&mut self, leaf: &'a Leaf) -> WrittenLeaf {
        let place = match self.last {
            Some((home, place)) if Arc::ptr_eq(home, &leaf.home) => place,
            _ => {
                let next = u32::try_from(self.homes.len()).expect("fewer homes than leaves");
                *self.homes.entry(&leaf.home).or_insert(next)
            }
        };
        self.last = Some((&leaf.home, place));
        WrittenLeaf(leaf.partition.clone(), place, leaf.epoch)
    }

    fn split(&mut self, split: &'a Split) -> WrittenSplit {
        let key_type = self.key_type(split.dimension);
        let literal = |value: &KeyValue| literal_of(key_type, value);
        let (mut values, mut cuts, mut order) = (None, None, None);
        let kind = match &split.by {
            By::List(list) => {
                let of = |place| list.of(place).iter().map(literal).collect();
                values = Some((1..split.children.len()).map(of).collect());
                Kind::List
            }
            By::Hash(_) => Kind::Hash,
            By::Range(range) => {
                cuts = Some(range.cuts().map(literal).collect());
                let places = range.order();
                order = (!places.clone().eq(0..split.children.len()))
                    .then(|| places.map(|place| u32::try_from(place).expect("a place is small")).collect());
                Kind::Range
            }
        };
        let children = split.children.iter().map(|child| self.node(child)).collect();
        WrittenSplit { split: kind, dimension: split.dimension, values, cuts, order, children }
    }
}

/// Reads nodes: each split for itself. What they are together is not its concern, but for how deep they are.
pub(super) struct Reader<'a> {
    dimensions: &'a [Dimension],
    homes: Vec<Arc<Home>>,
    /// The number that the next split gets.
    number: u32,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(dimensions: &'a [Dimension], homes: &[WrittenHome], number: u32) -> Reader<'a> {
        let home = |WrittenHome(database, schema): &WrittenHome| Home {
            database: database.clone(),
            schema: schema.clone(),
        };
        let homes = homes.iter().map(|written| Arc::new(home(written))).collect();
        Reader { dimensions, homes, number, depth: 0 }
    }

    pub(super) fn node(&mut self, written: WrittenNode) -> Result<Node, BadMap> {
        match written {
            WrittenNode::Leaf(leaf) => self.leaf(leaf).map(Node::Leaf),
            WrittenNode::Split(split) => Ok(Node::Split(Arc::new(self.split(*split)?))),
        }
    }

    pub(super) fn leaf(&self, written: WrittenLeaf) -> Result<Leaf, BadMap> {
        let WrittenLeaf(partition, home, epoch) = written;
        let home = self.homes.get(home as usize).ok_or(BadMap::Whole("a leaf's home is not there"))?.clone();
        Ok(Leaf { partition, home, epoch })
    }

    /// A value of a dimension; a bare number only where the type is one.
    pub(super) fn value(key_type: KeyType, written: &KeyLiteral) -> Result<KeyValue, BadMap> {
        let value = key_type.literal(written).ok();
        value
            .filter(|value| matches!(value, KeyValue::Int(_)) == matches!(written, KeyLiteral::Int(_)))
            .ok_or(BadMap::Split("a value is of another type than its dimension"))
    }

    fn split(&mut self, written: WrittenSplit) -> Result<Split, BadMap> {
        let (by, dimension, children) = self.cut(written)?;
        if by.count() != children.len() {
            return Err(BadMap::Split("its values and its children do not match"));
        }
        if self.depth >= DEPTH_MAX {
            return Err(BadMap::Whole("its splits are nested too deep"));
        }
        let number = self.number;
        self.number += 1;
        self.depth += 1;
        let children: Slots<Node> =
            children.into_iter().map(|child| self.node(child)).collect::<Result<_, _>>()?;
        self.depth -= 1;
        Ok(Split { number, dimension, by, children })
    }

    /// How a split tells its children apart, its dimension, and the children, which are still to be read.
    fn cut(&self, written: WrittenSplit) -> Result<(By, usize, Vec<WrittenNode>), BadMap> {
        let WrittenSplit { split: kind, dimension, values, cuts, order, children } = written;
        let known = self.dimensions.get(dimension);
        let key_type = known.ok_or(BadMap::Split("it cuts a dimension that is not there"))?.key_type;
        let typed = |written: Vec<KeyLiteral>| {
            written.iter().map(|literal| Reader::value(key_type, literal)).collect::<Result<Vec<_>, _>>()
        };
        let by = match (kind, values, cuts, order) {
            (Kind::List, Some(values), None, None) => {
                let values = values.into_iter().map(typed).collect::<Result<_, _>>()?;
                By::List(List::of_each(values).map_err(BadMap::Split)?)
            }
            (Kind::Hash, None, None, None) => match u32::try_from(children.len()) {
                Ok(modulus) if (1..=BUCKETS_MAX).contains(&modulus) => By::Hash(modulus),
                _ => return Err(BadMap::Split("it has no bucket, or too many")),
            },
            (Kind::Range, None, Some(cuts), order) => {
                By::Range(Range::of_cuts(typed(cuts)?, order).map_err(BadMap::Split)?)
            }
            _ => return Err(BadMap::Split("its members are not those of its kind")),
        };
        Ok((by, dimension, children))
    }
}

pub(super) fn literal_of(key_type: KeyType, value: &KeyValue) -> KeyLiteral {
    match value {
        KeyValue::Int(n) => KeyLiteral::Int(*n),
        other => KeyLiteral::Text(key_type.text_of(other)),
    }
}
