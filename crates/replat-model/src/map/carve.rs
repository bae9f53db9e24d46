//! Cutting a partition out of the one that holds it.
//!
//! The partition that gives up keys keeps its name, home and epoch; the carved one inherits home and epoch, since
//! its rows are where they were. Nothing is moved by carving: it only makes something that can be moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::build::Meant;
use super::check::DEPTH_MAX;
use super::names::Spot;
use super::selection::{Name, carved_name, name_above};
use super::split::{By, List, Point, REST, Range};
use super::{BadKey, Leaf, Map, Node, Pick, Probe, Selection, Slots, Split};
use crate::ids::PartitionId;
use crate::key::KeyValue;
use crate::spec::nearest;

/// Why a partition cannot be cut out of a map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotCarve {
    /// There is no partition with this name.
    #[error("{context} has no partition {partition}{}", Meant(nearest))]
    NoSuch {
        /// The context.
        context: String,
        /// The name given.
        partition: PartitionId,
        /// The name of a partition that was probably meant.
        nearest: Option<String>,
    },
    /// The selection takes in keys of more than one partition, so there is no one home that the carved partition
    /// could inherit.
    #[error("{selection} takes in keys of {} partitions: {}", among.len(), some(among))]
    Spans {
        /// The selection, in words.
        selection: String,
        /// The partitions that hold keys of it.
        among: Vec<PartitionId>,
    },
    /// The names that the new partition could have belong to others.
    #[error("the name {0} is taken by another partition")]
    NameTaken(PartitionId),
    /// The partition lies below so many splits that there is no room for one more.
    #[error("{0} lies below {DEPTH_MAX} splits already, and no more can be nested")]
    TooDeep(PartitionId),
    /// The selection was made for other dimensions than this map's.
    #[error("the selection is not for this map: {0}")]
    Foreign(BadKey),
}

/// A few names, and how many more there are.
fn some(names: &[PartitionId]) -> String {
    const SHOWN_MAX: usize = 6;
    let shown: Vec<_> = names.iter().take(SHOWN_MAX).map(PartitionId::as_str).collect();
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl Map {
    /// The next version, in which the selected keys are a partition of their own, and that partition's name.
    ///
    /// If they are one already, that is this very map, at its version. A value is cut out as a child of a list; a
    /// range by one or two cuts, and what then lies above a range with keys on both sides gets a name of its own
    /// (`rest_from_200`). Where several dimensions are picked they are cut one after the other, and what is left
    /// between the cuts is named too (`tenant_id_42_rest`).
    ///
    /// # Errors
    ///
    /// [`CannotCarve`] if there is no such partition, or the selected keys belong to more than one.
    pub fn carve(&self, selection: &Selection) -> Result<(Map, PartitionId), CannotCarve> {
        match selection {
            Selection::Named(partition) if self.leaf(partition).is_some() => {
                Ok((self.clone(), partition.clone()))
            }
            Selection::Named(partition) => Err(self.no_such(partition)),
            Selection::Keys(picks) => self.carve_keys(picks),
        }
    }

    fn carve_keys(&self, picks: &BTreeMap<usize, Pick>) -> Result<(Map, PartitionId), CannotCarve> {
        self.check_picks(picks)?;
        let holder = self.holder(picks)?.partition.clone();
        let path = self.path_to(&holder).expect("the leaf was just found");
        let side = self.left_at(&path).expect("some key comes to every leaf");
        let follows = |(dimension, pick): &(&usize, &Pick)| pick.follows_from(&side[**dimension].said());
        let left: Vec<(usize, &Pick)> =
            picks.iter().filter(|pick| !follows(pick)).map(|(dimension, pick)| (*dimension, pick)).collect();
        let Some((&(last, _), _)) = left.split_last() else {
            return Ok((self.clone(), holder));
        };
        let mut map = self.clone();
        let mut holder = holder;
        for (dimension, pick) in left {
            let name = if dimension == last {
                carved_name(picks, &self.dimensions, "")
            } else {
                let so_far = picks.range(..=dimension).map(|(i, pick)| (*i, pick.clone())).collect();
                carved_name(&so_far, &self.dimensions, "_rest")
            };
            let name = map.free(name)?;
            map.carve_one(&holder, dimension, pick, &name)?;
            holder = name;
        }
        map.version += 1;
        Ok((map, holder))
    }

    /// The one leaf that holds all keys that are picked.
    fn holder(&self, picks: &BTreeMap<usize, Pick>) -> Result<&Leaf, CannotCarve> {
        let probe = |index: usize| match picks.get(&index) {
            None => Probe::Any,
            Some(Pick::Is(value)) => Probe::Is(value),
            Some(Pick::Within { lower, upper }) => {
                Probe::Within { lower: lower.as_ref(), upper: upper.as_ref() }
            }
        };
        let probes: Vec<Probe> = (0..self.dimensions.len()).map(probe).collect();
        let mut found = Vec::new();
        self.root.collect(&probes, &mut found);
        match found[..] {
            [leaf] => Ok(leaf),
            _ => Err(CannotCarve::Spans {
                selection: Selection::Keys(picks.clone())
                    .region()
                    .map_or_else(String::new, |region| region.describe(&self.dimensions)),
                among: found.iter().map(|leaf| leaf.partition.clone()).collect(),
            }),
        }
    }

    /// Makes what is picked of one dimension of `holder` a leaf of its own.
    fn carve_one(
        &mut self,
        holder: &PartitionId,
        dimension: usize,
        pick: &Pick,
        name: &PartitionId,
    ) -> Result<(), CannotCarve> {
        let path = self.path_to(holder).expect("the holder is a leaf of this map");
        let leaf = self.leaf(holder).expect("the holder is a leaf of this map").clone();
        let left = self.left_at(&path).expect("some key comes to every leaf");
        let ends = left[dimension].ends();
        let above = match pick {
            Pick::Within { lower: Some(lower), upper: Some(upper) }
                if ends.0.as_ref() != Some(lower) && ends.1.as_ref() != Some(upper) =>
            {
                Some(self.free(name_above(holder, upper))?)
            }
            _ => None,
        };
        let named =
            |partition: &PartitionId| Node::Leaf(Leaf { partition: partition.clone(), ..leaf.clone() });

        let Site { path, place, mut split } = self.site(&path, dimension, pick)?;
        let next = u32::try_from(split.children.len()).expect("a split has fewer than 2^32 children");
        let points = points(pick, ends, (split.by.start(place), place), next);
        let new: Vec<&PartitionId> = std::iter::once(name).chain(&above).collect();
        split.grow(points, new.iter().map(|name| named(name)).collect()).expect("the holder has these keys");
        for (name, place) in new.into_iter().zip(next..) {
            self.names.add(name, Spot { split: split.number, place });
        }
        self.root = self.root.replaced(&path, Node::Split(Arc::new(split)));
        Ok(())
    }

    /// Where to cut the leaf at `path`: in the split above it if that can take one more child, else in a new
    /// split in its place. So the thousandth tenant is a sibling of the first, not a thousand levels below.
    fn site(&mut self, path: &[usize], dimension: usize, pick: &Pick) -> Result<Site, CannotCarve> {
        if let Some((&place, above)) = path.split_last()
            && let Some(Node::Split(split)) = self.root.at(above)
            && split.dimension == dimension
            && match (&split.by, pick) {
                (By::List(_), Pick::Is(_)) => place == REST,
                (By::Range(_), Pick::Within { .. }) => true,
                _ => false,
            }
        {
            return Ok(Site { path: above.to_vec(), place, split: Split::clone(split) });
        }
        let Some(Node::Leaf(leaf)) = self.root.at(path) else { unreachable!("the path leads to the holder") };
        let leaf = leaf.clone();
        if path.len() == DEPTH_MAX {
            return Err(CannotCarve::TooDeep(leaf.partition));
        }
        let by = match pick {
            Pick::Is(_) => By::List(List::of_each(Vec::new()).expect("a list of nothing is a list")),
            Pick::Within { .. } => By::Range(Range::of_cuts(Vec::new(), None).expect("no cuts are in order")),
        };
        let (number, spot) = (self.names.next_number(), self.root.spot(path).expect("the leaf is there"));
        self.names.add_split(number, spot);
        self.names.remove(&leaf.partition, spot);
        self.names.add(&leaf.partition, Spot::new(number, 0));
        let children: Slots<Node> = [Node::Leaf(leaf)].into_iter().collect();
        Ok(Site { path: path.to_vec(), place: 0, split: Split { number, dimension, by, children } })
    }

    /// The plain name if no leaf has it, else the one with a digest.
    fn free(&self, name: Name) -> Result<PartitionId, CannotCarve> {
        if self.leaf(&name.plain).is_none() {
            Ok(name.plain)
        } else if self.leaf(&name.digested).is_none() {
            Ok(name.digested)
        } else {
            Err(CannotCarve::NameTaken(name.digested))
        }
    }

    fn no_such(&self, partition: &PartitionId) -> CannotCarve {
        let names = self.leaves().map(|leaf| leaf.partition.as_str());
        let nearest = nearest(partition.as_str(), names).map(str::to_owned);
        CannotCarve::NoSuch {
            context: self.context.as_ref().to_owned(),
            partition: partition.clone(),
            nearest,
        }
    }

    /// Whether the picks speak of this map's dimensions, in values of their types.
    fn check_picks(&self, picks: &BTreeMap<usize, Pick>) -> Result<(), CannotCarve> {
        let (context, want) = (self.context.as_ref().to_owned(), self.dimensions.len());
        if let Some((&beyond, _)) = picks.last_key_value().filter(|(last, _)| **last >= want) {
            return Err(CannotCarve::Foreign(BadKey::Arity { context, want, got: beyond + 1 }));
        }
        for (dimension, pick) in picks {
            let dimension = &self.dimensions[*dimension];
            let values: [Option<&KeyValue>; 2] = match pick {
                Pick::Is(value) => [Some(value), None],
                Pick::Within { lower, upper } => [lower.as_ref(), upper.as_ref()],
            };
            if let Some(value) = values.into_iter().flatten().find(|value| !dimension.key_type.holds(value)) {
                let (column, key_type) = (dimension.column.clone(), dimension.key_type);
                return Err(CannotCarve::Foreign(BadKey::Type {
                    column,
                    key_type,
                    value: value.to_string(),
                }));
            }
        }
        Ok(())
    }
}

/// A split to be changed, where it is, and the place in it of the leaf that gives up keys.
struct Site {
    path: Vec<usize>,
    place: usize,
    split: Split,
}

/// What leads to the carved child, which is the `next`, and to the one after it, which takes what is above a range
/// that has keys of the holder on both sides. The holder, at `place`, keeps what is below, or else what is above.
///
/// `ends` are those of the keys that the holder has; the split itself may begin it earlier.
fn points(
    pick: &Pick,
    ends: (Option<KeyValue>, Option<KeyValue>),
    (start, place): (Option<KeyValue>, usize),
    next: u32,
) -> Vec<Point> {
    let (lower, upper) = match pick {
        Pick::Is(value) => return vec![(Some(value.clone()), next)],
        Pick::Within { lower, upper } => (lower.clone(), upper.clone()),
    };
    let place = u32::try_from(place).expect("a split has fewer than 2^32 children");
    // An end that the holder has too needs no cut.
    let (starts_alike, ends_alike) = (lower == ends.0, upper == ends.1);
    match (starts_alike || lower.is_none(), ends_alike || upper.is_none()) {
        (false, true) => vec![(lower, next)],
        (false, false) => vec![(lower, next), (upper, next + 1)],
        (true, _) => vec![(start, next), (upper, place)],
    }
}
