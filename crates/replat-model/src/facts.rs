//! What a database's catalogue says, as plain values: the ground on which a plan is drafted.
//!
//! Names are exact, as the catalogue has them, never quoted or folded. Types of users are written with their
//! schema (`saas.order_status`), built-in ones without. Statistics (`rows_estimate`, `bytes`, `slots_used`, …) are
//! of the moment; [`crate::draft::changed`] ignores them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One database, and in it the tables of one schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseFacts {
    /// The cluster's system identifier, in decimal.
    pub system_id: String,
    /// The database's name on its server.
    pub database_name: String,
    /// The schema that was looked at.
    pub schema: String,
    /// Whether that schema exists.
    pub schema_exists: bool,
    /// The server's version as a number, such as 150018 for 15.18.
    pub version_num: u32,
    /// The major version, such as 15.
    pub major: u32,
    /// The encoding that text is kept in, such as `UTF8`.
    pub encoding: String,
    /// `minimal`, `replica` or `logical`.
    pub wal_level: String,
    /// How many replication slots the server can have.
    pub max_replication_slots: u32,
    /// How many it has.
    pub slots_used: u32,
    /// How many processes the server can have that send its log.
    pub max_wal_senders: u32,
    /// How many of them are busy.
    pub senders_used: u32,
    /// After how long the server gives a slot up that nobody reads; 0: never, or it is too old to do so. Unit: seconds.
    pub slot_idle_max_s: u64,
    /// How many slots standbys read the server's log by.
    pub standbys: u32,
    /// The role that asked.
    pub role: String,
    /// Whether that role is a superuser.
    pub is_superuser: bool,
    /// Whether it may read the log: the attribute REPLICATION, or a managed service's word for it.
    pub can_replicate: bool,
    /// The role whose members may read the log without that attribute, on services that have one.
    pub log_readers: Option<String>,
    /// Whether it may look into the schema; true if there is none yet.
    pub can_use_schema: bool,
    /// Whether it may create schemas and publications in this database.
    pub can_create: bool,
    /// Whether it may write without firing ordinary triggers (`session_replication_role`).
    pub can_skip_triggers: bool,
    /// How many prepared transactions of this database wait for their second phase.
    pub prepared_transactions: u32,
    /// The names of all tables and views of the schema, also of those that were not asked for.
    pub relations: Vec<String>,
    /// Sequences of the schema that no column draws from, and that this role may read and set.
    pub free_sequences: Vec<SequenceFacts>,
    /// The tables that were asked for and exist, by name.
    pub tables: Vec<TableFacts>,
}

/// A sequence that belongs to no column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceFacts {
    /// Its name.
    pub name: String,
    /// Its name with its schema, quoted where that is needed.
    pub qualified: String,
    /// The largest number that it hands out.
    pub max: i64,
}

impl DatabaseFacts {
    /// The table of that name; `None` if it does not exist or was not asked for.
    pub fn table(&self, name: &str) -> Option<&TableFacts> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// One table, view or foreign table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFacts {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What kind of relation it is.
    pub kind: TableKind,
    /// The table that it is a view of, if replat made it so in place of a table. All else is then said of the table that
    /// it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view_of: Option<TableName>,
    /// The topmost table that it is a partition of; `None` if it is not one.
    pub partition_root: Option<String>,
    /// Whether it is not logged, so that its changes are in no stream.
    pub unlogged: bool,
    /// Whether it has parents or children by plain inheritance.
    pub inherits: bool,
    /// The role that owns it.
    pub owner: String,
    /// Whether the role that asked owns it, or is a member of its owner.
    pub owned: bool,
    /// Whether row level security is enabled.
    pub row_security: bool,
    /// Whether row level security hides rows from the role that asked.
    pub rows_hidden: bool,
    /// Whether a subscription writes to it.
    pub subscribed: bool,
    /// What each role may do to its rows, the owner too; superusers are left out, since they may do everything.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<String>>,
    /// Its columns, by number.
    pub columns: Vec<ColumnFacts>,
    /// The columns of its primary key, in order; empty if there is none.
    pub primary_key: Vec<String>,
    /// What of the old row comes with a change. For a partitioned table, what all its leaves have in common.
    pub replica_identity: ReplicaIdentity,
    /// All its indexes, by name.
    pub indexes: Vec<IndexFacts>,
    /// Its CHECK and EXCLUDE constraints, by name.
    pub constraints: Vec<ConstraintFacts>,
    /// The foreign keys that it has, by name.
    pub foreign_keys: Vec<ForeignKeyFacts>,
    /// The foreign keys of others that point at it, by schema, table and name.
    pub referenced_by: Vec<ReferenceFacts>,
    /// The triggers that users made, by name; replat's own guards are left out.
    pub triggers: Vec<TriggerFacts>,
    /// Rows, as of the last ANALYZE; 0 if there was none.
    pub rows_estimate: u64,
    /// Bytes on disk, with indexes and out-of-line values.
    pub bytes: u64,
}

impl TableFacts {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnFacts> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns whose old values come with every change.
    pub fn identity_columns(&self) -> Vec<&str> {
        match &self.replica_identity {
            ReplicaIdentity::Default => self.primary_key.iter().map(String::as_str).collect(),
            ReplicaIdentity::Nothing => Vec::new(),
            ReplicaIdentity::Full => self.columns.iter().map(|column| column.name.as_str()).collect(),
            ReplicaIdentity::Index(columns) => columns.iter().map(String::as_str).collect(),
        }
    }

    /// Whether the old values of all columns come with every change.
    pub fn identity_full(&self) -> bool {
        self.replica_identity == ReplicaIdentity::Full
    }

    /// Whether no two rows can have the same values, none of them null, in exactly these columns, checked at once.
    pub fn is_unique_over(&self, columns: &[&str]) -> bool {
        self.is_unique_over_rows_with(&[], columns)
    }

    /// The same among the rows in which none of `said` is null.
    pub fn is_unique_over_rows_with(&self, said: &[&str], columns: &[&str]) -> bool {
        let same =
            |of: &[String]| of.len() == columns.len() && columns.iter().all(|c| of.iter().any(|o| o == c));
        let never_null =
            columns.iter().all(|c| self.column(c).is_some_and(|column| column.not_null || said.contains(c)));
        never_null && self.indexes.iter().any(|index| index.is_plain_unique() && same(&index.columns))
    }
}

/// A table by its whole name, exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// What kind of relation a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// A table with rows of its own.
    Ordinary,
    /// The root, or an inner node, of a tree of partitions.
    Partitioned,
    /// A foreign table: its rows are elsewhere.
    Foreign,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
}

/// What of the old row is written to the log with a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaIdentity {
    /// The primary key; nothing if there is none.
    Default,
    /// Nothing.
    Nothing,
    /// All columns.
    Full,
    /// The columns of an index.
    Index(Vec<String>),
}

/// One column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// Its number; numbers of dropped columns are not used again.
    pub number: i32,
    /// Its type with its modifier: `numeric(14,2)`.
    pub type_name: String,
    /// The built-in type that its values can be had as, without modifier: of a built-in type itself, of a domain
    /// the type beneath. `None` for types that only this database knows.
    pub base_type: Option<String>,
    /// What kind of type it is.
    pub type_kind: TypeKind,
    /// Whether it must not be null.
    pub not_null: bool,
    /// The expression of its default.
    pub default: Option<String>,
    /// The expression that it is generated by.
    pub generated: Option<String>,
    /// Whether it is an identity column, and of what kind.
    pub identity: Option<Identity>,
    /// The sequence that belongs to it, with its schema.
    pub sequence: Option<String>,
    /// Whether values can lie out of line, so that a change may leave them unsaid.
    pub toastable: bool,
    /// Whether its values sort by a collation.
    pub collated: bool,
    /// Whether that collation tells all different texts apart; true where there is no collation.
    pub deterministic: bool,
}

impl ColumnFacts {
    /// The type in which the other server can hold its values: a built-in one, else `text`.
    pub fn stage_type(&self) -> &str {
        self.base_type.as_deref().unwrap_or("text")
    }

    /// Whether a row can be stored that does not say a value for it.
    pub fn can_be_left_out(&self) -> bool {
        !self.not_null || self.default.is_some() || self.identity.is_some() || self.generated.is_some()
    }
}

/// What kind of type a column has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypeKind {
    /// Every PostgreSQL server has it.
    Builtin,
    /// An enumeration, with its labels in their order.
    Enum(Vec<String>),
    /// A domain.
    Domain,
    /// Composite, from an extension, an array of those, and so on.
    Other,
}

/// What an identity column does with a value that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// It is refused.
    Always,
    /// It is taken.
    ByDefault,
}

/// One index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexFacts {
    /// Its name.
    pub name: String,
    /// The columns that it orders by, in order; expressions are left out.
    pub columns: Vec<String>,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether it covers only some rows.
    pub partial: bool,
    /// Whether it has expressions.
    pub expression: bool,
    /// Whether uniqueness may be checked as late as at the commit.
    pub deferrable: bool,
    /// Whether it is complete and in use.
    pub valid: bool,
    /// Whether a constraint needs it.
    pub backs_constraint: bool,
    /// Its definition from the access method on: `btree (tenant_id, user_id)`.
    pub definition: String,
}

impl IndexFacts {
    /// Whether it proves each row's columns unique, at every moment.
    pub fn is_plain_unique(&self) -> bool {
        self.unique && self.valid && !self.partial && !self.expression && !self.deferrable
    }
}

/// A CHECK or EXCLUDE constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConstraintFacts {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub definition: String,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKeyFacts {
    /// Its name.
    pub name: String,
    /// The columns that point.
    pub columns: Vec<String>,
    /// The schema of the table that they point at.
    pub ref_schema: String,
    /// The table that they point at.
    pub ref_table: String,
    /// The columns there, in the same order.
    pub ref_columns: Vec<String>,
    /// Whether rows are deleted with the row that they point at.
    pub on_delete_cascade: bool,
    /// Whether they follow when the key there changes.
    pub on_update_cascade: bool,
}

/// A foreign key, seen from the table that it points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceFacts {
    /// Its name.
    pub name: String,
    /// The schema of the table that has it.
    pub schema: String,
    /// The table that has it.
    pub table: String,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggerFacts {
    /// Its name.
    pub name: String,
    /// For which sessions it fires.
    pub enabled: TriggerEnabled,
    /// Its whole definition.
    pub definition: String,
}

/// For which sessions a trigger fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerEnabled {
    /// For ordinary ones, not for those that replicate.
    Origin,
    /// For those that replicate only.
    Replica,
    /// For all.
    Always,
    /// For none.
    Disabled,
}
