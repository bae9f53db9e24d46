//! What `rotate` tells of a change of bounds, in the transaction that makes it.

use serde::{Deserialize, Serialize};

use super::facts::{Bound, TableName};
use super::plan::{NewLevel, NewPart};

/// A change of the map, enough to replay it: what went, then what came. What was replaced is in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The kind of work that made it.
    pub kind: String,
    /// The table whose partitions changed.
    pub parent: TableName,
    /// Partitions that are gone, or whose bounds are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<Placed>,
    /// Partitions that are there now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Placed>,
}

/// A partition and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The partition.
    pub table: TableName,
    /// What belongs to it.
    pub bound: Bound,
    /// How it is cut further, if it is new and is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<NewLevel>,
}

impl From<&NewPart> for Placed {
    fn from(part: &NewPart) -> Placed {
        Placed { table: part.table.clone(), bound: part.bound.clone(), below: part.below.clone() }
    }
}
