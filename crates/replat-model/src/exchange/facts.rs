//! What a database says about tables and views that are to change places.

use serde::{Deserialize, Serialize};

use crate::facts::{TableFacts, TableName};

/// A table or a view as the catalogue has it now. Names are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// Its name.
    pub name: TableName,
    /// The table that it is a partition of.
    pub parent: Option<TableName>,
    /// Whether it is a view.
    pub is_view: bool,
    /// Whether it holds rows, or is a partitioned table.
    pub is_table: bool,
    /// The definition of a view, with full names.
    pub definition: Option<String>,
    /// The role that owns it.
    pub owner: String,
    /// Whether the role that asked may alter it.
    pub owned: bool,
    /// Whether its owner may use the schema that it is to move to. Foreign keys are checked as the owner.
    pub owner_may_enter: bool,
    /// Whether row level security is enabled.
    pub row_security: bool,
    /// Whether a deployment guards it.
    pub guarded: bool,
    /// Its columns, in order.
    pub columns: Vec<RelationColumn>,
    /// What roles other than the owner may do to its rows.
    pub grants: Vec<Grant>,
    /// The triggers that users made.
    pub triggers: Vec<String>,
    /// The publications that it is in.
    pub published: Vec<String>,
    /// Of a view: what needs it, in the server's words.
    pub dependents: Vec<String>,
    /// The names of its indexes and sequences, which move with it.
    pub parts: Vec<String>,
    /// The names of its extended statistics in its own schema.
    pub statistics: Vec<String>,
    /// Of the topmost table of a tree of partitions: what it is made of.
    pub tree: Option<Tree>,
}

/// The topmost table of a tree of partitions: all that it takes to put another one in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// How it is cut, such as `LIST (tenant_id)`.
    pub key: String,
    /// Its columns: what stands behind the name where it is created.
    pub columns: Vec<TreeColumn>,
    /// Its constraints, foreign keys last.
    pub constraints: Vec<TreeRule>,
    /// The statements that create its other indexes.
    pub indexes: Vec<String>,
    /// The partitions right below it, a default one last.
    pub partitions: Vec<TreePart>,
    /// The sequences that belong to columns.
    pub sequences: Vec<TreeSequence>,
    /// What is said about it and its columns.
    pub comments: Vec<TreeComment>,
    /// Why no other table can take its place; empty if one can.
    pub ties: Vec<String>,
}

/// A column of such a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeColumn {
    /// Its name.
    pub name: String,
    /// Its type and all else.
    pub definition: String,
}

/// A constraint of such a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeRule {
    /// Its name.
    pub name: String,
    /// Its definition, with full names.
    pub definition: String,
}

/// A partition right below such a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreePart {
    /// Its name.
    pub name: TableName,
    /// Which rows it is for, such as `FOR VALUES IN ('2')`.
    pub bound: String,
    /// The same as a condition over a row.
    pub condition: String,
}

/// A sequence that belongs to a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeSequence {
    /// Its name.
    pub name: TableName,
    /// The column.
    pub column: String,
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeComment {
    /// The column that it is about; `None` if it is about the table.
    pub column: Option<String>,
    /// What it says.
    pub text: String,
}

/// A column of a table or a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type with its modifier.
    pub type_name: String,
    /// Its default, with full names; none for generated columns.
    pub default: Option<String>,
    /// What roles may do to this column only.
    pub grants: Vec<Grant>,
}

/// Something that a role may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The role; `None` for everybody.
    pub role: Option<String>,
    /// Such as `SELECT`.
    pub right: String,
    /// Whether it may pass that on.
    pub grantable: bool,
}

/// A view that replat made, as it wrote it down.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Its name.
    pub name: TableName,
    /// Its definition, with full names.
    pub definition: String,
    /// The table of the rollout's DDL that it stands for; none for a view of blue's names.
    pub stands_for: Option<TableFacts>,
}

/// What the database says about all that would be exchanged.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The tables, each followed by its partitions, and the views.
    pub relations: Vec<Relation>,
    /// The views as they were made.
    pub made: Vec<Made>,
    /// All names that are taken in the schema that the tables are to move to.
    pub taken: Vec<String>,
    /// Whether the role that asked may create in both schemas.
    pub may_create: bool,
    /// The server's major version.
    pub major: u32,
}

impl Seen {
    /// The relation of that name.
    pub fn relation(&self, name: &TableName) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.name == *name)
    }

    /// Whether a view is the one that was made.
    pub(super) fn stands_as_made(&self, view: &Relation) -> bool {
        let made = self.made.iter().find(|made| made.name == view.name);
        made.is_some_and(|made| view.definition.as_ref() == Some(&made.definition))
    }
}
