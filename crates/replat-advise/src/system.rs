//! A system as advice is given on it: its tables, its transactions with their rows, and how much of that is known.

use serde::{Deserialize, Serialize};

use crate::evidence::Tier;
use crate::schema::Schema;
use crate::trace::Trace;

/// A system, made of whatever evidence there was.
#[derive(Clone, Debug)]
pub struct System {
    /// What it is called.
    pub name: String,
    /// Its tables.
    pub schema: Schema,
    /// Its statements and transactions. Below [`Tier::Writes`] no two accesses are known to belong together.
    pub trace: Trace,
    /// How many partitions are wished for, if the evidence says so.
    pub partitions: Option<u32>,
    /// What any design must keep to.
    pub constraints: Constraints,
    /// Groups of tables that are said to be services of their own, if any are.
    pub services: Vec<(String, Vec<String>)>,
    /// How much is known.
    pub tier: Tier,
    /// What is not known, and would change the advice.
    pub missing: Vec<Missing>,
}

/// What any design must keep to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Constraints {
    /// Rows of different values must not share a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<Residency>,
    /// Rows are kept for so long only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

impl Constraints {
    /// Whether nothing is asked.
    pub fn are_none(&self) -> bool {
        self.residency.is_none() && self.retention.is_none()
    }
}

/// Where rows may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Residency {
    /// The table that says it.
    pub table: String,
    /// The column that says it.
    pub column: String,
}

/// For how long rows are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// The table.
    pub table: String,
    /// The column that says how old a row is.
    pub column: String,
    /// For how long. Unit: days.
    pub days: u32,
}

/// Something that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// What it would decide.
    pub decides: String,
    /// How it can be had: a command, a setting, a question to somebody.
    pub how: String,
}
