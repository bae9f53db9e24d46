//! The map: a k-d tree of splits whose leaves are a context's partitions, with their homes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::key::{KeyLiteral, KeyType};

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
