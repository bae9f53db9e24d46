//! What is wrong with what is there, or stands in the way.

mod check;
pub mod codes;

pub use check::check;

use serde::{Deserialize, Serialize};

use super::facts::TableName;

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The error code that explains it: `RP3005`.
    pub code: String,
    /// The set, if it concerns one.
    pub set: Option<TableName>,
    /// One sentence: what, where.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Not as it should be; the run goes on.
    Warning,
    /// The set is not worked on, or rows are at risk.
    Error,
}
