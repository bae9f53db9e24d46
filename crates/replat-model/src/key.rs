//! Values of partition keys and their types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The types that a dimension can have, named as PostgreSQL names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Two bytes, signed.
    SmallInt,
    /// Four bytes, signed.
    Integer,
    /// Eight bytes, signed.
    BigInt,
    /// Text under a deterministic collation (`text` or `varchar`).
    Text,
    /// A UUID.
    Uuid,
    /// A day.
    Date,
    /// A moment without a zone, to the microsecond.
    Timestamp,
    /// A moment, to the microsecond.
    TimestampTz,
}

/// A key value as somebody wrote it in a spec; what it means depends on the dimension's [`KeyType`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeyLiteral {
    /// A whole number.
    Int(i64),
    /// Anything else, in quotes.
    Text(String),
}
