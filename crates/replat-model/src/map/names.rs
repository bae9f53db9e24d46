//! Where each name is in the tree.
//!
//! A leaf is found by a hash of its name, which gives its split and its place there; splits know where they hang.
//! So a name costs twelve bytes, a leaf is found in a few steps, and neither a switch nor a partition that is
//! carved elsewhere changes a word of it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::sorted::Sorted;
use super::{Leaf, Map, Node};
use crate::ids::PartitionId;

/// A place in a split; for the root, the first place of a split that is not there, number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) split: u32,
    pub(super) place: u32,
}

impl Spot {
    pub(super) const ROOT: Spot = Spot { split: 0, place: 0 };

    pub(super) fn new(split: u32, place: usize) -> Spot {
        Spot { split, place: u32::try_from(place).expect("a split has fewer than 2^32 children") }
    }
}

/// All leaves by their names.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// By a hash of the name. Two names can have one hash: the leaf itself says which it is.
    leaves: Sorted<(u32, Spot), ()>,
    /// Where each split hangs, by its number.
    splits: Sorted<u32, Spot>,
}

/// The leaves and splits of a part of the tree, each with the spot where it is.
#[derive(Default)]
pub(super) struct Roll<'a> {
    pub(super) leaves: Vec<(&'a Leaf, Spot)>,
    pub(super) splits: Vec<(u32, Spot)>,
}

impl<'a> Roll<'a> {
    /// Adds all that is in `node`.
    pub(super) fn call(&mut self, node: &'a Node, spot: Spot) {
        match node {
            Node::Leaf(leaf) => self.leaves.push((leaf, spot)),
            Node::Split(split) => {
                self.splits.push((split.number, spot));
                for (place, child) in split.children.iter().enumerate() {
                    self.call(child, Spot::new(split.number, place));
                }
            }
        }
    }
}

impl Names {
    /// The names of a whole tree.
    ///
    /// # Errors
    ///
    /// The name that two leaves have.
    pub(super) fn of(root: &Node) -> Result<Names, PartitionId> {
        let mut roll = Roll::default();
        roll.call(root, Spot::ROOT);
        let mut leaves: Vec<_> = roll
            .leaves
            .into_iter()
            .map(|(leaf, spot)| (hash(&leaf.partition), &leaf.partition, spot))
            .collect();
        leaves.sort_unstable();
        if let Some(pair) = leaves.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            return Err(pair[0].1.clone());
        }
        let mut leaves: Vec<_> = leaves.into_iter().map(|(hash, _, spot)| ((hash, spot), ())).collect();
        leaves.sort_unstable();
        roll.splits.sort_unstable();
        Ok(Names { leaves: Sorted::of_ascending(leaves), splits: Sorted::of_ascending(roll.splits) })
    }

    /// A number that no split has, nor any greater one.
    pub(super) fn next_number(&self) -> u32 {
        self.splits.at_or_below(&u32::MAX).map_or(1, |(last, _)| last + 1)
    }

    pub(super) fn add(&mut self, name: &PartitionId, spot: Spot) {
        self.leaves.insert((hash(name), spot), ());
    }

    pub(super) fn remove(&mut self, name: &PartitionId, spot: Spot) {
        self.leaves.remove(&(hash(name), spot));
    }

    pub(super) fn add_split(&mut self, number: u32, spot: Spot) {
        self.splits.insert(number, spot);
    }

    pub(super) fn remove_split(&mut self, number: u32) {
        self.splits.remove(&number);
    }

    /// The places to go from the root to a spot.
    fn path(&self, mut spot: Spot) -> Option<Vec<usize>> {
        let mut path = Vec::new();
        while spot.split != Spot::ROOT.split {
            path.push(spot.place as usize);
            spot = *self.splits.get(&spot.split)?;
        }
        path.reverse();
        Some(path)
    }
}

/// The same in every run of one program, and nowhere written.
fn hash(name: &PartitionId) -> u32 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

impl Map {
    /// The places to go from the root to a leaf.
    pub(super) fn path_to(&self, partition: &PartitionId) -> Option<Vec<usize>> {
        let hash = hash(partition);
        let from = (hash, Spot::ROOT);
        let same_hash = self.names.leaves.from(&from).take_while(|((other, _), ())| *other == hash);
        same_hash
            .filter_map(|((_, spot), ())| self.names.path(*spot))
            .find(|path| matches!(self.root.at(path), Some(Node::Leaf(leaf)) if leaf.partition == *partition))
    }
}
