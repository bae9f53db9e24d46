//! What a spec says about the queries of consumers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationText;

/// A query that somebody relies on. Before the first switch, and before each that comes much later, both sides answer
/// it, and nothing is switched if the promise is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Who relies on it. Default: the contract's name up to the first slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
    /// A file with one query, which begins at the spec's directory. It is run in a transaction that cannot write, with
    /// the schema of the home as the search path.
    pub query: String,
    /// The values of `$1`, `$2` and so on, as text. `$COLUMN` stands for the partition's own value of a dimension. Default:
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<String>,
    /// What is promised of the columns. Default: exact.
    #[serde(default = "ColumnsPromise::shipped")]
    pub columns: ColumnsPromise,
    /// What is promised of the rows. Default: equal.
    #[serde(default = "RowsPromise::shipped")]
    pub rows: RowsPromise,
    /// What is promised of their order. Default: ignore.
    #[serde(default = "OrderPromise::shipped")]
    pub order: OrderPromise,
    /// How long green may take to answer. Default: only not for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<DurationText>,
}

impl Contract {
    /// Who relies on the contract of this name.
    pub fn consumer<'a>(&'a self, name: &'a str) -> &'a str {
        self.consumer.as_deref().unwrap_or_else(|| name.split('/').next().unwrap_or(name))
    }
}

/// What a contract promises of its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnsPromise {
    /// The same names and types, in the same order.
    Exact,
    /// All that there were, and perhaps more.
    Superset,
}

impl ColumnsPromise {
    fn shipped() -> ColumnsPromise {
        ColumnsPromise::Exact
    }
}

/// What a contract promises of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RowsPromise {
    /// The same rows.
    Equal,
    /// Nothing.
    Ignore,
}

impl RowsPromise {
    fn shipped() -> RowsPromise {
        RowsPromise::Equal
    }
}

/// What a contract promises of the order of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderPromise {
    /// Nothing.
    Ignore,
    /// The same order.
    Exact,
}

impl OrderPromise {
    fn shipped() -> OrderPromise {
        OrderPromise::Ignore
    }
}
