//! From what a spec says and what two catalogues say to a plan, or to everything that stands in its way.
//!
//! [`draft`] is pure: it looks at [`DatabaseFacts`] and never at a database, so that a plan can be drafted again
//! from the same facts and every rule can be tried without a server. What only a server can tell (whether an
//! expression is SQL, whether a row fits) is asked elsewhere. Absent on purpose: mercy. A finding is a reason not
//! to begin; what a person may decide is a hazard.

mod columns;
mod difference;
mod ends;
mod expression;
mod hazards;
mod misfits;
mod parts;
mod rows;
mod tables;
pub mod tokens;
mod types;
mod versions;
mod views;

pub(crate) use difference::without_schema;
pub(crate) use expression::{plain_column as plain_source, quoted};
pub(crate) use types::crosses;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::contract::ContractPlan;
use crate::facts::{DatabaseFacts, TableFacts};
use crate::ids::{Epoch, Home, PartitionId, Side};
use crate::plan::{DdlFile, End, FORMAT, Hazard, Path, Plan, Reversibility, SequencePlan, TablePlan};
use crate::prediction::{Load, Measured, predict};
use crate::preflight::Check;
use crate::region::Region;
use crate::spec::{ColumnMap, Context, Flow, Policy, Reversible, Rollout, Spec, TableMode};

pub use difference::{changed, schema_difference};
pub use ends::MAJOR_MIN;
pub use misfits::{Misfit, Unfit};

/// Something that must be mended before a deployment can begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The check that did not pass, such as `NO_KEY`.
    pub code: Check,
    /// The table that it is about.
    pub table: Option<String>,
    /// The column that it is about.
    pub column: Option<String>,
    /// The side on which it is mended; `None` if that is in the spec, or on either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// What is wrong, as one sentence without its full stop.
    pub what: String,
    /// What mends it: an SQL statement where there is one, else one imperative sentence.
    pub remedy: String,
}

impl Finding {
    /// A finding that is about no table in particular.
    pub fn new(code: Check, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { code, table: None, column: None, side: None, what: what.into(), remedy: remedy.into() }
    }

    /// The same, about a table.
    #[must_use]
    pub fn at(mut self, table: &str) -> Finding {
        self.table = Some(table.into());
        self
    }

    /// The same, about a column.
    #[must_use]
    pub fn column(mut self, column: &str) -> Finding {
        self.column = Some(column.into());
        self
    }

    /// The same, to be mended on a side.
    #[must_use]
    pub fn on(mut self, side: Side) -> Finding {
        self.side = Some(side);
        self
    }

    /// The remedy, if it is SQL and not a sentence. Statements begin with a word in capitals.
    pub fn statement(&self) -> Option<&str> {
        let verb = self.remedy.split(' ').next().unwrap_or_default();
        let is_sql = verb.len() > 1 && verb.chars().all(|c| c.is_ascii_uppercase());
        is_sql.then_some(self.remedy.as_str())
    }
}

/// How much of a table belongs to the partition, estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SliceSize {
    /// Rows.
    pub rows: u64,
    /// Bytes on disk, with their share of indexes and out-of-line values.
    pub bytes: u64,
}

/// A foreign key on blue of which one row is of the partition and the other is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The foreign key's name.
    pub key: String,
    /// The table that refers, as `schema.table`.
    pub child: String,
    /// The table that is referred to, as `schema.table`.
    pub parent: String,
    /// The columns that refer.
    pub columns: Vec<String>,
    /// Whether the row that refers is of the partition; else the row that is referred to is.
    pub leaves: bool,
    /// The values of the columns that refer, of one such row.
    pub example: String,
}

/// One partition's wish to move, with what was measured for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The name of its context in the spec.
    pub context: String,
    /// Its name.
    pub partition: PartitionId,
    /// Its key space.
    pub region: Region,
    /// Its epoch now.
    pub epoch: Epoch,
    /// The schema version that it is at; `None` if nobody ever said.
    pub version: Option<String>,
    /// Its home now: blue.
    pub home: Home,
    /// The DDL that green still needs; empty if its tables are there.
    pub ddl: Vec<DdlFile>,
    /// The partition's share of each table, by blue's name; a table that is not named counts as empty.
    pub sizes: BTreeMap<String, SliceSize>,
    /// The tables of green, by green's name, that hold rows of the partition already.
    pub occupied: Vec<String>,
    /// The queries that consumers rely on, with the values that they are asked with.
    pub contracts: Vec<ContractPlan>,
    /// The foreign keys on blue that lead across the partition's edge.
    pub crossings: Vec<Crossing>,
    /// What is known of green if it is in blue's very database; `None` if it is in another.
    pub beside: Option<Beside>,
    /// What was measured for a prediction; nothing, if nobody looked.
    pub measured: Measured,
    /// The foreign keys on blue of which nobody knows whether they do, since it took too long to look.
    pub unsettled_keys: Vec<String>,
    /// The rows on blue that green would not take.
    pub misfits: Vec<Misfit>,
}

/// What only the server knows of green in blue's own database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// What else the rollout's DDL makes that needs green's tables to be tables, as the server says it.
    pub tied: Option<String>,
}

/// What comes to light while a plan is drafted.
#[derive(Default)]
struct Notes {
    findings: Vec<Finding>,
    hazards: Vec<Hazard>,
    lossy: Vec<String>,
    obstacles: Vec<String>,
}

impl Notes {
    fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn warn(&mut self, name: Check, must_allow: bool, what: String) {
        self.hazards.push(Hazard { name, what, must_allow });
    }
}

/// Everything that a rule may look at.
struct Ground<'a> {
    ask: &'a Ask,
    context: &'a Context,
    rollout: &'a Rollout,
    blue: &'a DatabaseFacts,
    green: &'a DatabaseFacts,
}

impl<'a> Ground<'a> {
    fn facts(&self, side: Side) -> &'a DatabaseFacts {
        match side {
            Side::Blue => self.blue,
            Side::Green => self.green,
        }
    }

    fn home(&self, side: Side) -> &Home {
        match side {
            Side::Blue => &self.ask.home,
            Side::Green => &self.rollout.to,
        }
    }

    /// The names on green of what becomes of a table of blue.
    fn green_names<'n>(&'n self, blue: &'n str) -> impl Iterator<Item = &'n str> {
        self.rollout.flows_of(blue).into_iter().map(|flow| flow.new)
    }

    /// The tables of some mode, by their names on blue.
    fn tables(&self, mode: TableMode) -> impl Iterator<Item = &'a str> {
        self.context.tables.iter().filter(move |(_, table)| table.mode == mode).map(|(name, _)| name.as_str())
    }

    fn same_major(&self) -> bool {
        self.blue.major == self.green.major
    }
}

/// One table as it is on both sides.
struct Pair<'a> {
    blue: &'a TableFacts,
    green: &'a TableFacts,
    /// What the spec says about them.
    flow: Flow<'a>,
    same_major: bool,
}

impl<'a> Pair<'a> {
    /// What the spec says about green's columns.
    fn map(&self) -> &BTreeMap<&'a str, &'a ColumnMap> {
        &self.flow.map
    }

    fn side(&self, side: Side) -> &'a TableFacts {
        match side {
            Side::Blue => self.blue,
            Side::Green => self.green,
        }
    }
}

/// What all rules say at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Examined {
    /// Everything that stands in the way, in the order in which it was met: the servers first, then table by table.
    pub findings: Vec<Finding>,
    /// The plan; where something stands in the way, with those tables only about which nothing was found. It says
    /// what can still be looked at, and is not to be carried out.
    pub plan: Plan,
    /// The tables, by blue's name, that were not there or could not take part, so that nothing was asked of their
    /// columns.
    pub unseen: Vec<String>,
}

/// The plan by which the partition gets to the new version of its context's schema and to its new home.
///
/// `green` is what green's catalogue says once the DDL has run, which a rehearsal finds out.
///
/// # Errors
///
/// Everything that stands in the way, in the order in which it was met: the servers first, then table by table.
pub fn draft(
    spec: &Spec,
    ask: &Ask,
    blue: &DatabaseFacts,
    green: &DatabaseFacts,
) -> Result<Plan, Vec<Finding>> {
    let examined = examine(spec, ask, blue, green).map_err(|finding| vec![*finding])?;
    if examined.findings.is_empty() { Ok(examined.plan) } else { Err(examined.findings) }
}

/// What all rules say, whether or not something stands in the way. See [`draft`].
///
/// # Errors
///
/// That the spec has no such context, or that the context has no rollout: then there is nothing to ask about.
pub fn examine(
    spec: &Spec,
    ask: &Ask,
    blue: &DatabaseFacts,
    green: &DatabaseFacts,
) -> Result<Examined, Box<Finding>> {
    let (context, rollout) = asked(spec, ask).map_err(Box::new)?;
    let ground = Ground { ask, context, rollout, blue, green };
    let mut notes = Notes::default();

    versions::check(&ground, &mut notes);
    let path = views::choose(&ground, &mut notes);
    if path.shares_rows() {
        let drafted = Drafted {
            path,
            tables: Vec::new(),
            references: Vec::new(),
            sequences: Vec::new(),
            reversible: Reversibility::Lossless,
            hazards: notes.hazards,
        };
        let plan = assemble(spec, &ground, drafted);
        return Ok(Examined { plan, findings: notes.findings, unseen: Vec::new() });
    }
    ends::check(&ground, &mut notes);
    tables::check_names(&ground, &mut notes);
    let mut tables = tables::of_mode(&ground, TableMode::Slice, &mut notes);
    let mut references = tables::of_mode(&ground, TableMode::Reference, &mut notes);
    hazards::weigh(&ground, &mut notes);
    misfits::weigh(&ask.misfits, &mut notes);
    let sequences = hazards::sequences(&ground, spec.policy.sequence_room, &tables, &mut notes);
    let reversible = reversibility(rollout.reversible, &mut notes);
    if matches!(reversible, Reversibility::No(_)) {
        tables.iter_mut().for_each(|table| table.backward.clear());
    }
    let moving = [TableMode::Slice, TableMode::Reference].into_iter().flat_map(|mode| ground.tables(mode));
    let unseen = moving
        .filter(|name| tables.iter().chain(&references).all(|table| table.blue.name != **name))
        .map(str::to_owned)
        .collect();
    let is_sound = |table: &TablePlan| {
        let names = [&table.blue.name, &table.green.name];
        notes.findings.iter().all(|f| f.table.as_ref().is_none_or(|name| !names.contains(&name)))
    };
    tables.retain(is_sound);
    references.retain(is_sound);
    let drafted = Drafted { path, tables, references, sequences, reversible, hazards: notes.hazards };
    Ok(Examined { plan: assemble(spec, &ground, drafted), findings: notes.findings, unseen })
}

fn asked<'a>(spec: &'a Spec, ask: &Ask) -> Result<(&'a Context, &'a Rollout), Finding> {
    let context = spec.contexts.get(&ask.context).ok_or_else(|| {
        let remedy =
            meant(&ask.context, spec.contexts.keys().map(String::as_str), "Name a context of the spec.");
        Finding::new(Check::UnknownContext, format!("the spec has no context {}", ask.context), remedy)
    })?;
    let rollout = context.rollout.as_ref().ok_or_else(|| {
        Finding::new(
            Check::NoRollout,
            format!("context {} has no rollout", ask.context),
            format!("Write [contexts.{}.rollout] in the spec.", ask.context),
        )
    })?;
    Ok((context, rollout))
}

struct Drafted {
    path: Path,
    tables: Vec<TablePlan>,
    references: Vec<TablePlan>,
    sequences: Vec<SequencePlan>,
    reversible: Reversibility,
    hazards: Vec<Hazard>,
}

fn assemble(spec: &Spec, ground: &Ground, drafted: Drafted) -> Plan {
    let ask = ground.ask;
    let policy = policy_within(spec, ground.home(Side::Blue), ground.home(Side::Green));
    let load = Load {
        bytes: drafted.tables.iter().chain(&drafted.references).map(|table| table.bytes).sum(),
        lanes: policy.copy_parallel,
        sequences: drafted.sequences.len(),
        pause_max_ms: policy.pause_max.millis(),
    };
    Plan {
        format: FORMAT,
        context: ask.context.clone(),
        partition: ask.partition.clone(),
        region: ask.region.clone(),
        dimensions: ground.context.dimensions.clone(),
        epoch: ask.epoch,
        blue: end(ground, Side::Blue),
        green: end(ground, Side::Green),
        version_before: ask.version.clone(),
        version: ground.rollout.version.clone(),
        ddl: ask.ddl.clone(),
        one_database: ask.beside.is_some(),
        path: drafted.path,
        tables: drafted.tables,
        references: drafted.references,
        rebuild: ground.tables(TableMode::Rebuild).map(str::to_owned).collect(),
        sequences: drafted.sequences,
        contracts: ask.contracts.clone(),
        reversible: drafted.reversible,
        hazards: drafted.hazards,
        policy,
        prediction: predict(ask.measured.clone(), load),
    }
}

fn end(ground: &Ground, side: Side) -> End {
    let facts = ground.facts(side);
    End {
        home: ground.home(side).clone(),
        system_id: facts.system_id.clone(),
        database_name: facts.database_name.clone(),
        major: facts.major,
    }
}

/// What a rollback would keep, and what of that a person has to allow.
fn reversibility(wanted: Reversible, notes: &mut Notes) -> Reversibility {
    let (lossy, obstacles) = (std::mem::take(&mut notes.lossy), std::mem::take(&mut notes.obstacles));
    if !obstacles.is_empty() {
        notes.warn(Check::Irreversible, true, format!("there is no way back: {}", obstacles.join("; ")));
        return Reversibility::No(obstacles);
    }
    if lossy.is_empty() {
        return Reversibility::Lossless;
    }
    let must_allow = wanted == Reversible::Required;
    notes.warn(Check::LossyRollback, must_allow, format!("a rollback loses values: {}", lossy.join("; ")));
    Reversibility::Lossy(lossy)
}

/// "Did you mean", or else what to do when nothing comes near.
fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    match crate::spec::nearest(word, known) {
        Some(near) => format!("Did you mean {near}?"),
        None => otherwise.to_owned(),
    }
}

/// The connections of a copy that are not its lanes: the runner's own, and the one that asks which chunks are there.
const BESIDE_THE_LANES: u32 = 2;

/// The spec's policy, with no more lanes of the copy than both databases have connections for.
fn policy_within(spec: &Spec, blue: &Home, green: &Home) -> Policy {
    let room = [blue, green]
        .into_iter()
        .filter_map(|home| spec.databases.get(&home.database))
        .map(|database| database.max_connections.saturating_sub(BESIDE_THE_LANES).max(1))
        .min();
    let mut policy = spec.policy.clone();
    policy.copy_parallel = policy.copy_parallel.min(room.unwrap_or(policy.copy_parallel));
    policy
}

/// The SHA-256 of the DDL's texts in their order, in hexadecimal: what `replat.schema_version` keeps. The files'
/// names do not matter, since they do not change what is run.
pub fn ddl_digest(ddl: &[DdlFile]) -> String {
    let digest = ddl.iter().fold(Sha256::new(), |digest, file| digest.chain_update(&file.text));
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
