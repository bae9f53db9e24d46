//! The report: advice as one document that people and programs read, and that plans are made of.
//!
//! Whatever is printed, drawn or written down is read from here, so all forms say the same.

mod made;
mod picture;
mod tree;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::design::{Design, Lookup};
use crate::evidence::Tier;
use crate::measure::Metrics;
use crate::schema::Derived;
use crate::system::Missing;

pub use made::{Subject, Wanted, report, what_if};
pub use picture::{Bond, Cell, Dot, Graph, LeafLoad, Matrix, MatrixRow, TreeMap};
pub use tree::{Branch, Carrier, Dimension, Family, Tree, deployed, families};

/// The form of reports that is written.
pub const FORMAT: &str = "replat-advice/1";

/// How sure advice can be at most, by what it is made of.
pub fn sure_at_most(tier: Tier) -> f64 {
    match tier {
        Tier::Catalogue => 0.4,
        Tier::Statements => 0.6,
        Tier::Writes => 0.75,
        Tier::Sample => 0.9,
        Tier::Trace => 0.97,
    }
}

/// Advice on a system, as a document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: String,
    /// What the system is called.
    pub system: String,
    /// What the advice is made of.
    pub evidence: EvidenceUsed,
    /// What should be done.
    pub verdict: Verdict,
    /// How many partitions it is about.
    pub partitions: u32,
    /// Tables that are worked on together; absent where nothing was seen working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contexts: Option<ContextsSaid>,
    /// How each table is placed.
    pub tables: Vec<TableSaid>,
    /// The best design in full, as `--design` takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
    /// What it is forecast to cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// What it costs to leave everything in one place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<Metrics>,
    /// The keys that were weighed against each other, the best first.
    pub candidates: Vec<Candidate>,
    /// Keys that the catalogue alone suggests, where nothing was seen working.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hypotheses: Vec<Hypothesis>,
    /// The share of transactions that cross partitions whatever is done, as far as was searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// What else each table could be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counterfactuals: Vec<Counterfactual>,
    /// Transactions that show it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<Witness>,
    /// Ways around what stands in the way, where nothing should be partitioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<String>,
    /// Statements that do not say where their rows are, and what helps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unrouted: Vec<Unrouted>,
    /// Columns that tables have to get before they can be partitioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns_to_add: Vec<ColumnToAdd>,
    /// What any design has to keep to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// What is to be done about rows that grow old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifecycles: Vec<LifecycleSaid>,
    /// What is not known and would change the advice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// A design that somebody asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what_if: Option<WhatIf>,
    /// Whether a deployed design still does what was forecast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftSaid>,
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
    /// How much is known.
    pub tier: Tier,
    /// How sure advice of this kind can be at most, from 0 to 1.
    pub sure_at_most: f64,
    /// How many tables.
    pub tables: usize,
    /// How many statements, told apart by their text.
    pub statements: usize,
    /// How many transactions.
    pub transactions: u64,
    /// How long it was looked at. Unit: seconds; `None` if nothing has a time.
    pub seconds: Option<f64>,
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

/// What should be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// Partition.
    Partition,
    /// Leave it as it is.
    DoNotPartition,
    /// Find out more first.
    NotEnoughEvidence,
}

/// What should be done, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub verdict: Word,
    /// Why, in words for people.
    pub because: String,
    /// How sure that is, from 0 to 1; `None` if it was not found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
}

/// The contexts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextsSaid {
    /// The tables of each, by a name that is its most referenced table's.
    pub contexts: BTreeMap<String, Vec<String>>,
    /// Tables that many write to along with their own.
    pub cross_cutting: Vec<String>,
    /// The share of transactions that touch more than one.
    pub crossing: f64,
    /// The share that write to more than one.
    pub writes_crossing: f64,
    /// Other cuts that are about as good.
    pub alternatives: Vec<Vec<Vec<String>>>,
    /// Services that are said to be apart, and are not: they share transactions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merge: Vec<Merge>,
}

/// Services that are one unit of work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Merge {
    /// Which.
    pub services: Vec<String>,
    /// The share of their writing transactions that write to several of them.
    pub share: f64,
}

/// How a table is placed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TableSaid {
    /// Which.
    pub table: String,
    /// Its context; `None` if it is cross-cutting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where its rows are.
    pub place: PlaceSaid,
    /// How many rows it has; `None` if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The share of all rows handled that are this table's.
    pub load: f64,
    /// How sure that is, from 0 to 1; `None` if it was not found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// If it is a tie: with what, and what would break it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tie: Option<String>,
}

/// Where the rows of a table are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum PlaceSaid {
    /// With their keys.
    By {
        /// The columns.
        columns: Vec<String>,
        /// How the first of them is had, where the table has no such column.
        #[serde(skip_serializing_if = "Option::is_none")]
        derived: Option<Derived>,
    },
    /// In every partition.
    Everywhere,
    /// In one place.
    Alone,
    /// Nobody knows.
    Open,
}

/// What a design is forecast to cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forecast {
    /// The numbers.
    pub metrics: Metrics,
    /// Within which bounds each lies, at 95 %, by the names that [`Metrics`] has.
    pub intervals: BTreeMap<String, [f64; 2]>,
}

/// A set of keys that was weighed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// The keys, by the tables that they are of: `customers.id + sellers.id`.
    pub keys: String,
    /// How many tables are placed by them.
    pub keyed: usize,
    /// How many tables are everywhere.
    pub everywhere: usize,
    /// What it costs.
    pub metrics: Metrics,
    /// How much more it costs than the best.
    pub regret: f64,
    /// How it stands.
    pub standing: Standing,
    /// Why, if it was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// A key that the catalogue suggests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hypothesis {
    /// The key: `clinics.clinic_id`.
    pub key: String,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// Why.
    pub because: String,
}

/// How a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Take it.
    Recommended,
    /// It is as good as the one that is recommended, as far as the evidence goes.
    Tie,
    /// It can be had.
    Possible,
    /// It does not pay.
    No,
}

/// What crosses whatever is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// The share of all transactions.
    pub share: f64,
    /// The kinds of transaction that make it up, with their share of all transactions.
    pub kinds: Vec<(String, f64)>,
}

/// What a table could be else, and what the design would cost then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counterfactual {
    /// Which.
    pub table: String,
    /// What it would be: `by bid`, `everywhere`, `in one place`.
    pub instead: String,
    /// The design's cost then.
    pub cost: f64,
    /// The share of transactions that would cross, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross: Option<f64>,
}

/// Transactions of one kind that cross.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Witness {
    /// Which kind.
    pub kind: String,
    /// Its share of all transactions.
    pub share: f64,
    /// The share of its own that crosses.
    pub crossing: f64,
    /// Some of them, as the keys that they work on.
    pub examples: Vec<String>,
}

/// A statement that does not say where its rows are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unrouted {
    /// Its name or its text.
    pub statement: String,
    /// Its share of all statements.
    pub share: f64,
    /// The lookup that leads to its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// What to do, in words.
    pub advice: String,
}

/// A column that a table has to get.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ColumnToAdd {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// Its type, as the catalogue writes it; `None` if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// Where its values come from.
    pub from: Carrier,
    /// What has to be done, in order; empty until somebody who knows SQL has written it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// A step of work that comes before a deployment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// What it does.
    pub what: String,
    /// The statement; `None` where the application has to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// What is to be done about rows that grow old.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LifecycleSaid {
    /// The table.
    pub table: String,
    /// The column that says how old a row is.
    pub column: String,
    /// How wide each range is: `day`, `week` or `month`.
    pub every: String,
    /// For how long rows are kept. Unit: days; `None` if nothing says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
    /// Why.
    pub because: String,
}

/// A design that somebody asked about, beside the best that was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WhatIf {
    /// Where it comes from.
    pub source: String,
    /// What it costs.
    pub forecast: Forecast,
    /// The kinds of transaction that it makes worse or better than the best design, with both shares that cross.
    pub differs: Vec<(String, f64, f64)>,
    /// How much more it costs than the best design.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regret: Option<f64>,
}

/// Whether a deployed design still does what was forecast.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DriftSaid {
    /// When something changed, and what.
    pub changes: Vec<ChangeSaid>,
    /// Moves that pay.
    pub repartitions: Vec<MoveSaid>,
    /// The cost that another design would have saved so far. Unit: transactions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regret: Option<f64>,
    /// What it would cost to move, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<f64>,
    /// In words.
    pub summary: String,
}

/// A change that was seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeSaid {
    /// When, as a share of the evidence.
    pub at: f64,
    /// What kind of change.
    pub kind: String,
    /// In words.
    pub what: String,
}

/// A move that pays.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MoveSaid {
    /// When it began to pay, as a share of the evidence.
    pub at: f64,
    /// What is to be moved.
    pub what: String,
    /// The design afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub design: Option<Design>,
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
    /// What is forecast of the trees of these families, which a spec can have, where that is not the design itself.
    #[serde(skip_serializing_if = "Option::is_none")]
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
