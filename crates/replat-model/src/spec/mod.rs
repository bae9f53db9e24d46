//! The spec: what a project says it wants, in one TOML file.
//!
//! [`parse`] is the one way from text to a [`Spec`]. It reports everything that is wrong at once, with places and
//! with what was probably meant; a [`Spec`] that came from it is consistent in itself. Whether it fits the
//! databases is for others to see. Absent on purpose: reading files and the environment; a `url` of `env:NAME` is
//! carried as it is.

mod check;
mod contract;
mod document;
mod error;
mod flows;
mod hook;
mod nearest;
mod policy;
mod registry;
mod schema;
mod secret;
mod shape;
mod units;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Home;
use crate::lifecycle::policy::Lifecycle;
use crate::map::{Dimension, Tree};

pub use contract::{ColumnsPromise, Contract, OrderPromise, RowsPromise};
pub use error::{Position, SpecError, render_errors};
pub use flows::{Flow, NewTable, Rows, Source};
pub use hook::{BadHook, Hook, HookUrl, SecretRef, TextSource};
pub use nearest::nearest;
pub use policy::{Policy, ReadsPolicy, SwitchMode};
pub use registry::{BadRegistryUrl, KeyFile, RegistrySource, RegistrySpec, RegistryUrl};
pub use schema::json_schema;
pub use secret::{BadConnection, SecretText, UrlSource};
pub use units::{BadQuantity, ByteSize, DurationText};

use document::Document;

/// What a project wants: its databases, its bounded contexts, and how careful to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "replat spec")]
pub struct Spec {
    /// The version of the spec's format; 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// The project's name, for people. Opaque text.
    #[schemars(length(min = 1))]
    pub project: String,
    /// The databases that can hold partitions, by names of your choice.
    #[serde(default)]
    pub databases: BTreeMap<String, Database>,
    /// Where routes are published. Default: nowhere; nobody is asked to hold clients during a switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistrySpec>,
    /// Who is told of each published change, by names of your choice. Default: nobody.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<String, Hook>,
    /// The bounded contexts, by name. Default: none.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
    /// How careful a deployment is. Default: every key's own default.
    #[serde(default = "Policy::shipped")]
    pub policy: Policy,
    /// What is wanted of partitioned tables, by names of your choice; `replat rotate` sees to it. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lifecycles: BTreeMap<String, Lifecycle>,
}

/// A named endpoint that can hold partitions.
///
/// With neither `url` nor `service`, the `PG*` variables of the environment say how to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// How to connect: a postgres:// URI, key=value pairs, env:NAME for a variable that holds one of them, or
    /// file:PATH for a file that does. Not together with `service`. Default: the `PG*` variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretText>,
    /// The name of a service in `pg_service.conf`. Not together with `url`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub service: Option<String>,
    /// How many connections a copy opens there at most, its runner's two included; one lane is always kept. Streams
    /// and comparisons, which come after the copy, take about six. At least 1. Default: 8.
    #[serde(default = "Database::shipped_connections")]
    #[schemars(range(min = 1))]
    pub max_connections: u32,
    /// Where the application's own service for this database listens, such as `http://green.internal:8080`. Routers are
    /// told; so it must not hold a password. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub endpoint: Option<String>,
}

impl Database {
    fn shipped_connections() -> u32 {
        8
    }
}

/// A bounded context: the tables that one service owns and that share a partition key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The components of the partition key: columns that every table of mode `slice` carries, under this name or one of
    /// its own. At least one.
    #[schemars(length(min = 1))]
    pub dimensions: Vec<Dimension>,
    /// Where the partitions live that were never moved.
    pub home: Home,
    /// How the key space is cut into partitions. Default: it is one partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// Where this context's own services listen, by the name of the database that each works with. Default: the
    /// `endpoint` of the database.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, String>,
    /// Every table of the context, by its name in the home schema. An empty table takes all defaults. At least one
    /// is of mode `slice`.
    pub tables: BTreeMap<String, Table>,
    /// The versions of the context's schema in their order; the first is that of `home`. A partition goes from each to the
    /// next, and a rollout that would pass one over is refused. Default: versions have no order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub versions: Vec<String>,
    /// The queries that consumers rely on, by names of your choice, such as `billing/open_items`. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contracts: BTreeMap<String, Contract>,
    /// The change that is being rolled out. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}

/// One table of a context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The columns that identify a row. Default: the primary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub key: Option<Vec<String>>,
    /// What a deployment does with the table's rows. Default: slice.
    #[serde(default = "TableMode::shipped")]
    pub mode: TableMode,
    /// The columns of this table that carry components of the partition key under other names, by the context's names
    /// for them. Default: the columns of the context's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
}

impl Table {
    /// A table of a mode, of which nothing more is said.
    pub fn of_mode(mode: TableMode) -> Table {
        Table { key: None, mode, dimensions: BTreeMap::new() }
    }

    /// The column that carries a component of the partition key here; `dimension` is the context's name for it.
    pub fn column_of<'a>(&'a self, dimension: &'a str) -> &'a str {
        self.dimensions.get(dimension).map_or(dimension, String::as_str)
    }
}

impl Context {
    /// The column of a table that carries a component of the partition key; `dimension` is the context's name for it.
    pub fn column_of<'a>(&'a self, table: &str, dimension: &'a str) -> &'a str {
        self.tables.get(table).map_or(dimension, |table| table.column_of(dimension))
    }
}

/// What a deployment does with the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TableMode {
    /// The table carries the partition key, and the rows of the partition move.
    Slice,
    /// The table is copied whole, and is read-only during a deployment.
    Reference,
    /// The table is not copied; the application fills it again.
    Rebuild,
}

impl TableMode {
    fn shipped() -> TableMode {
        TableMode::Slice
    }
}

/// A change that is brought to a context's partitions: a schema version, a new home, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The schema version that the rollout brings. Opaque text.
    #[schemars(length(min = 1))]
    pub version: String,
    /// The version that a partition must be at, since `map` is written for it. Default: the one before `version` in
    /// `versions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub after: Option<String>,
    /// Where the partitions are to live. Another database or another schema than they live in now; it may be the context's
    /// home, for partitions that come back to it.
    pub to: Home,
    /// SQL files that create the new tables, in this order, with the schema of `to` as the search path. Paths
    /// begin at the spec's directory. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub ddl: Vec<String>,
    /// By which way green comes to its rows. Default: shortest.
    #[serde(default = "PathWish::shipped")]
    pub path: PathWish,
    /// Whether there must be a way back. Default: required.
    #[serde(default = "Reversible::shipped")]
    pub reversible: Reversible,
    /// What the columns of the new version are made of: table, column, expressions. Default: a column takes the
    /// value of the column of the same name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, BTreeMap<String, ColumnMap>>,
    /// The tables of the new version of which more is to be said, by their new names. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, NewTable>,
}

/// By which way green comes to its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PathWish {
    /// By views where that means the same, else by a copy.
    Shortest,
    /// Its rows are copied, also where views would do.
    Copy,
    /// Green's tables are views of blue's; what cannot be a view is not deployed.
    Views,
}

impl PathWish {
    fn shipped() -> PathWish {
        PathWish::Shortest
    }
}

/// What a rollout says about the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reversible {
    /// A rollback must lose nothing; what cannot go back is not deployed unless its hazard is allowed by name.
    Required,
    /// A way back is kept where there is one; where there is none, the plan says so.
    Preferred,
    /// A rollback may lose what the old version cannot hold.
    AcceptLossy,
}

impl Reversible {
    fn shipped() -> Reversible {
        Reversible::Required
    }
}

/// What one column of the new version is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnMap {
    /// The column's value: an SQL expression over one row of the old version. It must be deterministic and look at
    /// nothing but that row.
    #[schemars(length(min = 1))]
    pub up: String,
    /// How a column of the old version is had from a row of the new one. Default: this column says nothing about
    /// the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Down>,
}

/// How a column of the old version is had from a row of the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Down {
    /// The column of the old version.
    #[schemars(length(min = 1))]
    pub column: String,
    /// Its value: an SQL expression over one row of the new version, with the same limits as `up`.
    #[schemars(length(min = 1))]
    pub sql: String,
}

/// The spec that `text` says.
///
/// # Errors
///
/// Everything that is wrong with it, in the order of the text. There are three rounds, since each makes sense only
/// when the one before found nothing: TOML, shape (keys, kinds, limits), and what values mean together.
pub fn parse(text: &str) -> Result<Spec, Vec<SpecError>> {
    let document = Document::parse(text)?;
    sound(shape::differences(&document, &schema::SCHEMA))?;
    let spec = document.to_spec()?;
    sound(check::contradictions(&spec, &document))?;
    Ok(spec)
}

fn sound(mut errors: Vec<SpecError>) -> Result<(), Vec<SpecError>> {
    errors.sort_by_key(|error| error.at.as_ref().map(|at| (at.span.start, at.span.end)));
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}
