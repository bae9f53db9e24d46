//! What a deployment is going to do, as a value: a person reads it, a digest seals it, the engine carries it out.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::contract::ContractPlan;
use crate::facts::TableFacts;
use crate::ids::{Epoch, Home, PartitionId, Side};
use crate::map::Dimension;
use crate::prediction::Prediction;
use crate::preflight::Check;
use crate::region::Region;
use crate::spec::Policy;

/// The format of plans that this program writes and reads.
pub const FORMAT: u32 = 3;

/// One partition's way from blue to green.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format of this document, [`FORMAT`].
    pub format: u32,
    /// The context that the partition belongs to.
    pub context: String,
    /// The partition that moves.
    pub partition: PartitionId,
    /// Its key space: which rows of each table belong to it.
    pub region: Region,
    /// The dimensions that the region speaks of.
    pub dimensions: Vec<Dimension>,
    /// The partition's epoch when the plan was made; a plan for another epoch is stale.
    pub epoch: Epoch,
    /// Where the partition lives now.
    pub blue: End,
    /// Where it is to live.
    pub green: End,
    /// The schema version that the partition is at on blue; `None` if nobody ever said.
    pub version_before: Option<String>,
    /// The schema version that green gets.
    pub version: String,
    /// The DDL that makes green's schema; empty if it is there already.
    pub ddl: Vec<DdlFile>,
    /// Whether both ends are schemas of one database, so that one transaction can be about both.
    pub one_database: bool,
    /// How green comes to its rows.
    pub path: Path,
    /// The tables whose rows move; none where rows stay where they are.
    pub tables: Vec<TablePlan>,
    /// The tables that are copied whole and stay read-only during the deployment; none where rows stay where they are.
    pub references: Vec<TablePlan>,
    /// The tables that are not copied.
    pub rebuild: Vec<String>,
    /// Generated ids on green and the sequence on blue whose numbers they continue.
    pub sequences: Vec<SequencePlan>,
    /// The queries that consumers rely on.
    pub contracts: Vec<ContractPlan>,
    /// Whether the way back keeps every value.
    pub reversible: Reversibility,
    /// What a person should know before saying yes.
    pub hazards: Vec<Hazard>,
    /// The limits and times in force.
    pub policy: Policy,
    /// What it will take, from what was measured when the plan was made. A plan is not stale because it changes.
    pub prediction: Prediction,
}

/// How green comes to its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Path {
    /// Rows are copied, and changes follow them until the switch.
    Copy {
        /// Why not by a shorter way; `None` where there is none, since the sides are in two databases.
        because: Option<String>,
    },
    /// Rows stay where they are. Green's tables are views of blue's, so both versions of the application can work at once,
    /// and a switch says no more than which of them is used.
    Views {
        /// Each table of green, the ones that the spec names first come first.
        views: Vec<ViewPlan>,
    },
}

impl Path {
    /// Whether both sides are one set of rows: then nothing is copied, compared, fenced or dropped.
    pub fn shares_rows(&self) -> bool {
        matches!(self, Path::Views { .. })
    }

    /// The way's name in the spec.
    pub fn name(&self) -> &'static str {
        match self {
            Path::Copy { .. } => "copy",
            Path::Views { .. } => "views",
        }
    }
}

/// A table of green as a view of a table of blue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewPlan {
    /// Blue's table.
    pub table: String,
    /// The table that the rollout's DDL makes, as the catalogue has it then: the view has its name, and stands for it.
    pub stands_for: TableFacts,
    /// The view's columns, in order.
    pub columns: Vec<ViewColumn>,
}

impl ViewPlan {
    /// The columns that blue's table gets for it.
    pub fn added(&self) -> impl Iterator<Item = &ViewColumn> {
        self.columns.iter().filter(|column| column.added.is_some())
    }
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewColumn {
    /// Its name on green.
    pub name: String,
    /// The column of blue's table that it is.
    pub of: String,
    /// What it is by default if that is not what blue's column is by default: an expression.
    pub default: Option<String>,
    /// What blue's table gets for it; `None` if it has the column.
    pub added: Option<AddedColumn>,
}

/// A column that blue's table gets. It is one that can be added without a look at the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedColumn {
    /// Its type with its modifier.
    pub type_name: String,
    /// Its default, a constant; that is also what the rows have that are there.
    pub default: Option<String>,
    /// Whether it must not be null.
    pub not_null: bool,
}

/// One end of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The database and schema.
    pub home: Home,
    /// The cluster's system identifier. Pinned: an address that suddenly answers with another one is refused.
    pub system_id: String,
    /// The database's name on that server.
    pub database_name: String,
    /// The server's major version, such as 15.
    pub major: u32,
}

/// A DDL file, carried whole so that what was read is what is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DdlFile {
    /// Its name as the spec has it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// How one table's rows go over, and back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePlan {
    /// The table as it is on blue.
    pub blue: TableShape,
    /// The table as it will be on green.
    pub green: TableShape,
    /// The columns that name a row, in order; they cross unchanged.
    pub key: Vec<KeyColumn>,
    /// Green's columns from blue's row.
    pub forward: Vec<ColumnPlan>,
    /// Blue's columns from green's row; empty if there is no way back.
    pub backward: Vec<ColumnPlan>,
    /// Whether green's table holds a part of blue's rows only, beside the table of an earlier plan that holds the main
    /// part. On the way back it changes rows of blue, and neither makes nor removes any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_part: bool,
    /// Which rows of blue's table take part; `None` if all of the partition's do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_rows: Option<RowFilter>,
    /// Which rows of green's table take part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub green_rows: Option<RowFilter>,
    /// Rows of the partition, estimated from statistics.
    pub rows: u64,
    /// Bytes of the partition on disk, estimated from statistics.
    pub bytes: u64,
    /// Blue's columns that carry components of the partition key under other names than the plan's dimensions, by the
    /// dimension's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
}

impl TablePlan {
    /// The table as it is on `side`.
    pub fn shape(&self, side: Side) -> &TableShape {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    /// How rows get from `from` to the other side.
    pub fn columns_from(&self, from: Side) -> &[ColumnPlan] {
        match from {
            Side::Blue => &self.forward,
            Side::Green => &self.backward,
        }
    }

    /// Which rows of the table on `side` take part; `None` if all of the partition's do.
    pub fn rows_on(&self, side: Side) -> Option<&RowFilter> {
        match side {
            Side::Blue => self.blue_rows.as_ref(),
            Side::Green => self.green_rows.as_ref(),
        }
    }

    /// The key's column names on `side`.
    pub fn key_on(&self, side: Side) -> impl Iterator<Item = &str> {
        self.key.iter().map(move |k| match side {
            Side::Blue => k.blue.as_str(),
            Side::Green => k.green.as_str(),
        })
    }
}

/// One side's view of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableShape {
    /// The table's name, without its schema.
    pub name: String,
    /// Its columns, in the order of their numbers.
    pub columns: Vec<ColumnShape>,
    /// Whether its replica identity is FULL, so that old values come with every change.
    pub identity_full: bool,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnShape {
    /// Its name.
    pub name: String,
    /// Its type as the catalogue writes it, with its modifier: `numeric(14,2)`.
    pub type_name: String,
    /// The type in which the *other* side stages its values: a built-in type, or `text`.
    pub stage_type: String,
    /// The expression of a generated column, else `None`.
    pub generated: Option<String>,
    /// Whether values can lie out of line, so that a change may leave them unsaid.
    pub toastable: bool,
    /// Whether it must not be null.
    pub not_null: bool,
}

/// One column of the row key. It has the same type and value on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyColumn {
    /// Its name on blue.
    pub blue: String,
    /// Its name on green.
    pub green: String,
    /// Its type.
    pub type_name: String,
    /// Whether equal values are always written alike, so that keys can be compared as bytes.
    pub bytes_comparable: bool,
    /// Whether it sorts by a collation, which may differ between two servers.
    pub collated: bool,
}

/// How a column of the receiving side is had from a row of the sending side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnPlan {
    /// The receiving column.
    pub target: String,
    /// Its full type there.
    pub target_type: String,
    /// The type that the value travels in, known to both servers.
    pub wire_type: String,
    /// The expression over the sending row.
    pub expression: String,
    /// The sending columns that the expression may look at.
    pub depends: Vec<String>,
    /// Whether its values are hashed as they are or as text when the sides are compared.
    pub compare: Compare,
}

/// Which rows of a table take part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowFilter {
    /// A condition over one row. A row takes part if it is true.
    pub condition: String,
    /// The columns that the condition may look at.
    pub depends: Vec<String>,
}

/// How values are compared between the sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compare {
    /// By the type's own hash: equality is identity.
    Native,
    /// By the hash of its text: the type's equality is looser than its value, it has no hash, or its hash may
    /// differ between the servers.
    Text,
}

/// A generated id on green.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequencePlan {
    /// Its name on blue, with its schema and quoted.
    pub blue: String,
    /// Its name on green, with its schema and quoted.
    pub green: String,
    /// The largest number that both sides can hold.
    pub max: i64,
}

/// Whether a rollback keeps every value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "because")]
pub enum Reversibility {
    /// Every value of blue can be had from green, and nothing that green alone holds is lost.
    Lossless,
    /// Rows go back, but some values do not; each with its reason.
    Lossy(Vec<String>),
    /// There is no way back; each obstacle.
    No(Vec<String>),
}

/// Something that a person should know, and may have to allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hazard {
    /// The check that did not pass, by the name that is given to `--allow`.
    pub name: Check,
    /// What it means here.
    pub what: String,
    /// Whether the plan is refused unless it is allowed.
    pub must_allow: bool,
}

impl Plan {
    /// The SHA-256 of the plan's JSON, in hexadecimal: what was approved is what is run.
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).expect("a plan is plain data");
        Sha256::digest(&text).iter().map(|b| format!("{b:02x}")).collect()
    }

    /// One end.
    pub fn end(&self, side: Side) -> &End {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    /// Whether changes can be carried from green back to blue.
    pub fn has_way_back(&self) -> bool {
        !matches!(self.reversible, Reversibility::No(_))
    }

    /// Rows of the partition in all tables, estimated.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|t| t.rows).sum()
    }

    /// Bytes of the partition in all tables, estimated.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|t| t.bytes).sum()
    }
}
