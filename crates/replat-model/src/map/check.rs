//! What a split cannot promise by itself, checked once for the whole tree when a map is read, and for the part that
//! changes when a delta is applied.

use super::reach::{Left, Sides};
use super::{Map, Names, Node};
use crate::ids::PartitionId;

/// The most splits on the way to a leaf. A tree as a person means it has as many as there are dimensions, or one or
/// two more; the limit keeps whoever walks a tree, in any language, within its stack.
pub(super) const DEPTH_MAX: usize = 32;

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

impl Map {
    /// Whether this is a map, each of its splits being one: some key for each leaf, and one name. The names are
    /// entered.
    pub(super) fn checked(mut self) -> Result<Map, BadMap> {
        if self.version == 0 {
            return Err(BadMap::Whole("versions count from 1"));
        }
        if self.dimensions.is_empty() {
            return Err(BadMap::Whole("there is no dimension"));
        }
        check_part(&self.root, &mut vec![Left::default(); self.dimensions.len()], 0)?;
        self.names = Names::of(&self.root).map_err(BadMap::Twice)?;
        Ok(self)
    }

    /// Whether some key comes to each leaf below a path.
    pub(super) fn check_below(&self, path: &[usize]) -> Result<(), BadMap> {
        let Some(node) = self.root.at(path) else {
            return Err(BadMap::Whole("there is nothing at a path"));
        };
        let Some(mut left) = self.left_at(path) else { return Err(out_of_reach(node)) };
        check_part(node, &mut left, path.len())
    }
}

/// Whether some key comes to each leaf of `node`, if what is `left` of each dimension comes to it.
fn check_part<'a>(node: &'a Node, left: &mut Vec<Left<'a>>, depth: usize) -> Result<(), BadMap> {
    let Node::Split(split) = node else { return Ok(()) };
    if depth >= DEPTH_MAX {
        return Err(BadMap::Whole("its splits are nested too deep"));
    }
    let sides = Sides::of(&left[split.dimension], &split.by);
    let before = std::mem::take(&mut left[split.dimension]);
    for (place, child) in split.children.iter().enumerate() {
        left[split.dimension] = sides.at(place).ok_or_else(|| out_of_reach(child))?;
        check_part(child, left, depth + 1)?;
    }
    left[split.dimension] = before;
    Ok(())
}

fn out_of_reach(node: &Node) -> BadMap {
    match node.leaves().next() {
        Some(leaf) => BadMap::OutOfReach(leaf.partition.clone()),
        None => BadMap::Split("it has no child"),
    }
}
