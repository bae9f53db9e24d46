//! The report: advice as one document that people and programs read, and that plans are made of.
//!
//! Whatever is printed, drawn or written down is read from here, so all forms say the same.

mod made;
mod picture;
mod tree;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::advise::Advice;
use crate::columns::ColumnAdvice;
use crate::confidence::Forecast;
use crate::design::Design;
use crate::drift::Drift;
use crate::lifecycle::Lifecycle;
use crate::measure::Metrics;
use crate::missing::Hypothesis;
use crate::system::Constraints;

pub use made::{Subject, Wanted, report, what_if};
pub use picture::{Bond, Cell, Dot, Graph, LeafLoad, Matrix, MatrixRow, TreeMap};
pub use tree::{Branch, Carrier, Dimension, Family, Tree, deployed, families};

/// The form of reports that is written.
pub const FORMAT: &str = "replat-advice/1";

/// Advice on a system, as a document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// The advice itself.
    #[serde(flatten)]
    pub advice: Advice,
    /// What the advice is made of.
    pub evidence: EvidenceUsed,
    /// The tables of each context, by a name that is its most referenced table's.
    pub context_names: BTreeMap<String, Vec<String>>,
    /// What any design has to keep to.
    pub constraints: Constraints,
    /// Keys that the foreign keys suggest, where nothing was seen that could confirm or refute them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hypotheses: Vec<Hypothesis>,
    /// A design that somebody asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what_if: Option<WhatIf>,
    /// What became of a deployed design.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Tables that grow at one end of time, and how their rows grow old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifecycles: Vec<Lifecycle>,
    /// Columns that are used together, and tables that should be two.
    #[serde(default)]
    pub columns: ColumnAdvice,
    /// What deployments can take over.
    pub plan: Plan,
    /// What pictures are drawn of.
    pub pictures: Pictures,
}

/// What the advice is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EvidenceUsed {
    /// The files, or the server.
    pub sources: Vec<Source>,
    /// How sure advice of this kind can be at most, from 0 to 1.
    pub sure_at_most: f64,
    /// How many tables.
    pub tables: usize,
    /// How many statements, told apart by their text.
    pub statements: usize,
    /// How many partitions were looked for.
    pub partitions: Option<u32>,
    /// Whether values are known by their hashes only.
    pub hashed: bool,
    /// What is worth knowing about it: what could not be had, or was passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where evidence comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name, without its folder.
    pub name: String,
    /// Its SHA-256 as it lies on disk, in hexadecimal.
    pub sha256: String,
    /// Its size. Unit: bytes.
    pub bytes: u64,
}

/// A design that somebody asked about, beside the best that was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WhatIf {
    /// Where it comes from.
    pub source: String,
    /// What it costs on the evidence.
    pub metrics: Metrics,
    /// Within which bounds that lies.
    pub forecast: Forecast,
    /// The kinds of transaction that cross more or less than under the best design, with both shares.
    pub differs: Vec<(String, f64, f64)>,
    /// How much more it costs than the best design.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret: Option<f64>,
}

/// What deployments can take over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Whether it can be taken as it is.
    pub ready: bool,
    /// What stands in the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<String>,
    /// Tables that share a key, each with how its key space is cut.
    pub families: Vec<Family>,
    /// What is forecast of the trees of these families, which a spec can have; it need not be the design itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// What is to be measured after a switch, and within which bounds it has to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<Acceptance>,
}

/// What is to be measured after a switch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Acceptance {
    /// Which number, by the name that [`Metrics`] has.
    pub metric: String,
    /// Not less than this.
    pub least: f64,
    /// Not more than this.
    pub most: f64,
}

/// What pictures are drawn of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pictures {
    /// Tables, and how strongly they are bound.
    pub graph: Graph,
    /// Statements against tables.
    pub matrix: Matrix,
    /// What each partition has to do.
    pub load: Vec<LeafLoad>,
    /// The trees of the plan.
    pub trees: Vec<TreeMap>,
}

impl Report {
    /// Whether it advises to partition.
    pub fn partitions(&self) -> bool {
        self.advice.verdict == crate::advise::Verdict::Partition
    }

    /// The design with the names of the contexts, as `--design` takes it.
    pub fn design(&self) -> Option<Design> {
        let design = self.advice.design.clone()?;
        Some(Design { contexts: self.context_names.clone(), ..design })
    }
}
