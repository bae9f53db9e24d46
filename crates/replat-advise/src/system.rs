//! A system as advice is given on it: its tables, its transactions with their rows, and how much of that is known.

mod beside;
mod build;
mod infer;
mod keys;
mod make;
mod pairs;
mod rows;
mod weigh;

use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, Known, Note, Tier};
use crate::fixture::Described;
use crate::missing::missing;
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
    /// What somebody wrote of what it is to be, sentence by sentence; nothing was concluded from it.
    pub intent: Vec<String>,
    /// What is not known, and would change the advice.
    pub missing: Vec<Missing>,
}

impl System {
    /// The system that somebody has evidence of, and what should be known about that evidence.
    ///
    /// The highest tier counts that there is evidence of; what a lower tier says beyond it is taken in. Of rows that
    /// were not seen whole, unknown values stand for what is not known ([`crate::value::Value::is_known`]).
    pub fn of(known: Known) -> (System, Vec<Note>) {
        match known {
            Known::Described(described) => (System::described(*described), Vec::new()),
            Known::Seen(evidence) => System::seen(&evidence),
        }
    }

    fn described(described: Described) -> System {
        let tier = if described.trace.transactions.is_empty() { Tier::Statements } else { Tier::Trace };
        let mut system = System {
            name: described.name,
            schema: described.schema,
            trace: described.trace,
            partitions: described.partitions,
            constraints: described.constraints,
            services: described.services,
            tier,
            intent: Vec::new(),
            missing: Vec::new(),
        };
        system.missing = missing(&system);
        system
    }

    fn seen(evidence: &Evidence) -> (System, Vec<Note>) {
        let (mut system, notes) = make::system(evidence);
        system.missing = missing(&system);
        (system, notes)
    }
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
