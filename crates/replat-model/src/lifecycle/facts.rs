//! What was found in a database: its partitioned tables, their bounds, and its vital signs.
//!
//! Bounds come from the catalogue, never from names. A fact that could not be read is `None`, and nothing treats
//! `None` as a favourable value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::Work;
use super::policy::Lifecycle;

/// Microseconds since 1970-01-01 00:00 UTC, by the database's clock.
pub type Micros = i64;

/// A table's name, as the catalogue has it: unquoted, exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The name in it.
    pub name: String,
}

impl TableName {
    /// The table `name` in `schema`.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> TableName {
        TableName { schema: schema.into(), name: name.into() }
    }

    /// Another table of the same schema.
    #[must_use]
    pub fn beside(&self, name: impl Into<String>) -> TableName {
        TableName::new(self.schema.clone(), name)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.schema, self.name))
    }
}

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The server, and the database as a whole.
    pub vitals: Vitals,
    /// Every partitioned table that is not itself a partition, in order of name.
    pub sets: Vec<SetFacts>,
    /// Tables that replat made or took over and that are not attached to anything now: staged, detached, kept.
    pub loose: Vec<LooseTable>,
    /// Tables that were asked for by name but cannot be planned for, with the reason.
    pub refused: Vec<Refused>,
    /// Ordinary tables that were asked for, as a conversion needs to know them.
    #[serde(default)]
    pub ordinary: Vec<OrdinaryTable>,
    /// Conversions, splits, merges and changes of moduli, the newest first; only where they were asked for.
    #[serde(default)]
    pub history: Vec<PastUnit>,
    /// Names that are taken, by schema: every relation and every type of each schema that holds a set or a partition.
    #[serde(default)]
    pub taken: BTreeMap<String, BTreeSet<String>>,
    /// A digest of all parents and children, cheap to read again: equal fingerprints mean that no partition came,
    /// went or changed its bounds.
    pub fingerprint: String,
}

/// A table that is not partitioned, or is something else altogether, as a conversion needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdinaryTable {
    /// It.
    pub table: TableName,
    /// Its identity in the catalogue.
    pub id: u64,
    /// What it is.
    pub kind: TableKind,
    /// What this session lacks to work on it, each with the statement that gives it. Empty if nothing.
    pub lacking: Vec<String>,
    /// Its columns.
    pub columns: BTreeMap<String, ColumnFacts>,
    /// Rows, by the statistics; `None` if it was never analysed.
    pub rows: Option<u64>,
    /// Size with indexes and TOAST, in bytes.
    pub bytes: u64,
    /// Itself, its indexes, TOAST and that table's index.
    pub relations: u32,
    /// The values of the columns that were asked about.
    pub spans: BTreeMap<String, KeySpan>,
    /// Unique indexes, those of constraints among them.
    pub unique: Vec<UniqueFacts>,
    /// Foreign keys of other tables that refer to it.
    pub referenced_by: Vec<Reference>,
    /// What keeps its name from going over to another table, each with what to do about it.
    pub hindrances: Vec<(String, String)>,
}

/// What a relation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableKind {
    /// An ordinary table that stands alone.
    Ordinary,
    /// A partitioned one.
    Partitioned,
    /// A partition of another table, or a child that inherits from it.
    Child(TableName),
    /// One that others inherit from.
    Inherited,
    /// Something else, in words: `a view`.
    Other(String),
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnFacts {
    /// Its type, as the engine formats it.
    pub type_name: String,
    /// Whether a row may have no value there.
    pub nullable: bool,
    /// Whether it is computed from others.
    pub generated: bool,
}

/// The values of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpan {
    /// The least, as the engine prints it; `None` if there is no value, or the type has no order.
    pub low: Option<String>,
    /// The greatest.
    pub high: Option<String>,
    /// Whether a row has no value there.
    pub absent: bool,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueFacts {
    /// Its name.
    pub name: String,
    /// Whether it is the primary key's.
    pub primary: bool,
    /// Its key columns; `None` if one of them is an expression.
    pub columns: Option<Vec<String>>,
}

/// A unit that was begun, by the records of the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastUnit {
    /// Its name.
    pub id: String,
    /// The set.
    pub set: TableName,
    /// What it did, or was to do.
    pub work: Work,
    /// What became of it: `begun`, `done`, `failed`, `taken-back`.
    pub state: String,
    /// When it was begun.
    pub begun: Micros,
}

/// A table that cannot be planned for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The table, as it was asked for or found.
    pub table: String,
    /// Why, for people.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
}

/// How a database is doing. Read before every unit, so it is cheap to read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// Which database this is, over restarts and renamings of hosts: the cluster's identifier and the database's.
    pub identity: String,
    /// The database's name.
    pub database: String,
    /// The engine and its version, for people: `PostgreSQL 15.18`.
    pub version: String,
    /// The database's clock.
    pub now: Micros,
    /// How far the clock of this process is ahead of the database's, in milliseconds.
    pub clock_ahead_ms: i64,
    /// Whether it is a standby, or otherwise read-only: nothing can be done here.
    pub read_only: bool,
    /// Its replicas. Empty means that there are none, `None` that they could not be seen.
    pub replicas: Option<Vec<Replica>>,
    /// The oldest open transaction of anybody else in this database.
    pub oldest_transaction: Option<OpenTransaction>,
    /// Sessions now, and how many there may be.
    pub connections: Option<(u32, u32)>,
    /// Tables, indexes, TOAST tables and so on in this database.
    pub relations: Option<u64>,
    /// Size of this database, in bytes.
    pub database_bytes: Option<u64>,
    /// Free space where the data lie, in bytes; only few servers can say.
    pub disk_free_bytes: Option<u64>,
    /// How many relations one transaction can lock with certainty.
    pub lock_room: Option<u64>,
    /// Where the log ends, in bytes since it began: two readings and their times give a rate.
    pub log_bytes: Option<u64>,
}

/// A replica, seen from its primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// What it calls itself.
    pub name: String,
    /// How far behind it is, in milliseconds; `None` if that could not be read.
    pub lag_ms: Option<u64>,
    /// How far behind it is, in bytes of log.
    pub lag_bytes: Option<u64>,
}

/// A transaction that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTransaction {
    /// The process that serves it.
    pub pid: i32,
    /// How long it has been open, in milliseconds.
    pub age_ms: u64,
    /// Who opened it, as far as may be known.
    pub who: String,
}

/// A partitioned table that is not a partition itself, with all its partitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetFacts {
    /// The table.
    pub table: TableName,
    /// Its identity in the catalogue, over renamings.
    pub id: u64,
    /// Its owner.
    pub owner: String,
    /// What this session lacks to work on it, each with the statement that gives it. Empty if nothing.
    pub lacking: Vec<String>,
    /// How it is cut.
    pub level: Level,
    /// The types of its columns, as the engine formats them.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    /// Foreign keys of this table, by the tables they refer to.
    pub references: Vec<Reference>,
    /// Foreign keys of other tables that refer to this one.
    pub referenced_by: Vec<Reference>,
    /// Its indexes, and what each partition has of them.
    pub indexes: Vec<IndexFacts>,
    /// Publications that contain it or its partitions, and whether they publish by way of the root.
    pub publications: Vec<Publication>,
    /// Earlier looks at this set, oldest first.
    pub samples: Vec<Sample>,
    /// Relations that one new partition brings: itself, its indexes, TOAST and that table's index.
    pub relations_each: u32,
    /// Who manages this set besides replat, if anybody: `pg_partman 4.7.2`.
    pub managed_by: Option<String>,
    /// What that tool was told to do, in our words; `None` if that cannot be read. It is the base of what is wanted
    /// once the set is taken over.
    #[serde(default)]
    pub managed_as: Option<Lifecycle>,
    /// What was said there that has no equal here, or needs a look, in sentences.
    #[serde(default)]
    pub managed_notes: Vec<String>,
    /// The statement that switches that tool off for this set, for a person to run. `None` if it is off, or if no
    /// statement can do it.
    #[serde(default)]
    pub managed_off: Option<String>,
}

impl SetFacts {
    /// Whether replat has made or taken over a partition of it, at whatever depth.
    pub fn is_taken_over(&self) -> bool {
        let mut own = false;
        self.level.each(&mut |part| own |= part.origin != Origin::Foreign);
        own
    }
}

/// How one partitioned table is cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// By what.
    pub method: Method,
    /// The components of its key, in order.
    pub keys: Vec<Key>,
    /// Its partitions, in order of their bounds: ranges ascending, lists and hashes by value, the default last.
    pub parts: Vec<Part>,
    /// The highest value in use of the first key, as the engine prints it; strays in a catch-all do not count.
    /// `None` if it was not cheap to find, or if there is no row.
    #[serde(default)]
    pub high: Option<String>,
    /// Earlier looks at this very level, oldest first, where it lies below another one and grows by itself: a
    /// tenant's own ranges. Those of the outermost level are the set's.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

impl Level {
    /// Visits every partition, at every depth, each before those of its own.
    pub fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a Part)) {
        for part in &self.parts {
            visit(part);
            if let Some(below) = &part.below {
                below.each(visit);
            }
        }
    }

    /// The partition `table`, at whatever depth.
    pub fn find(&self, table: &TableName) -> Option<&Part> {
        self.parts.iter().find_map(|part| {
            if part.table == *table {
                return Some(part);
            }
            part.below.as_ref().and_then(|below| below.find(table))
        })
    }

    /// The default partition of this very level.
    pub fn default(&self) -> Option<&Part> {
        self.parts.iter().find(|part| part.bound == Bound::Default)
    }
}

/// By what a table is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Half-open ranges.
    Range,
    /// Lists of values.
    List,
    /// The remainder of a hash.
    Hash,
}

/// A component of a partition key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The column; `None` if it is an expression.
    pub column: Option<String>,
    /// As the engine writes it: a quoted column, or an expression in parentheses.
    pub text: String,
    /// The type, as the engine formats it: `timestamp with time zone`, `numeric(20,0)`.
    pub type_name: String,
    /// Whether a row may have no value there.
    pub nullable: bool,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its table.
    pub table: TableName,
    /// Its identity in the catalogue.
    pub id: u64,
    /// What belongs to it.
    pub bound: Bound,
    /// How it is cut further, if it is.
    pub below: Option<Level>,
    /// Rows, by the statistics; `None` if it was never analysed.
    pub rows: Option<u64>,
    /// Size with indexes and TOAST, in bytes. `None` where it was not asked for.
    pub bytes: Option<u64>,
    /// Whether it is known to be empty: `Some(false)` if a row was seen. Only looked at where it matters.
    pub empty: Option<bool>,
    /// Who made it.
    pub origin: Origin,
    /// A detach began and was broken off: no row is visible through the parent, and `finalize` is to be done.
    pub detach_pending: bool,
    /// Whether it is a foreign table.
    pub foreign: bool,
    /// Whether somebody asked to keep it for ever.
    pub legal_hold: bool,
    /// When replat made it, or first saw it.
    pub since: Option<Micros>,
    /// The rows in it that belong to no other partition; only of defaults and of ranges that end in MINVALUE or
    /// MAXVALUE, and `None` where they were not looked at.
    #[serde(default)]
    pub strays: Option<Strays>,
    /// Whether the policy's condition `retire.when` is true of every row of it. Only looked at where there is one.
    #[serde(default)]
    pub when_true: Option<bool>,
    /// Whether one of the policy's conditions `retire.legal_hold` is true of a row of it. Only looked at where there
    /// are such conditions.
    #[serde(default)]
    pub held_by_rows: Option<bool>,
    /// Whether a row of another table refers to a row of it. Only looked at where foreign keys refer to the set.
    #[serde(default)]
    pub referenced: Option<bool>,
    /// What ought to be alike among siblings, by a word for people: `owner`, `privileges`, `replica identity`,
    /// `storage options`, `tablespace`, `persistence`, `row security`, ….
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

impl Part {
    /// Whether it takes what belongs to no other: a default, or a range that ends in MINVALUE or MAXVALUE.
    pub fn is_catch_all(&self) -> bool {
        match &self.bound {
            Bound::Default => true,
            Bound::Range { from, to } => from
                .iter()
                .zip(to)
                .find(|(from, to)| from != to)
                .is_some_and(|(from, to)| *from == Edge::Min || *to == Edge::Max),
            Bound::List(_) | Bound::Hash { .. } => false,
        }
    }
}

/// The rows of a catch-all partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strays {
    /// How many, by estimate; exact where `more` is false.
    pub rows: u64,
    /// The least value of the first key.
    pub low: Option<String>,
    /// The greatest value of the first key.
    pub high: Option<String>,
    /// Distinct values of the first key with the number of their rows: all of them, or the first so many. Of a list
    /// always looked for; of a range where there are few rows, so that two outliers are not taken for all between.
    pub values: Vec<(String, u64)>,
    /// Whether there are other values than these.
    pub more: bool,
}

/// Who made a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// replat.
    Made,
    /// Somebody else, and an operator handed it over to replat.
    Adopted,
    /// Somebody else. Never retired.
    Foreign,
}

/// What belongs to a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// From `from`, included, to `to`, excluded; a component for each key.
    Range {
        /// The first key that belongs to it.
        from: Vec<Edge>,
        /// The first key after it.
        to: Vec<Edge>,
    },
    /// These values of the only key; `None` is the absent value.
    List(Vec<Option<String>>),
    /// The keys whose hash leaves this remainder.
    Hash {
        /// Divisor.
        modulus: u32,
        /// What is left.
        remainder: u32,
    },
    /// What belongs to no other.
    Default,
}

/// One component of a range's bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// Before every value.
    Min,
    /// A value, as the engine prints it with dates in ISO order and times in UTC.
    At(String),
    /// After every value.
    Max,
}

/// A foreign key between the set and another table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// The constraint.
    pub name: String,
    /// The other table.
    pub table: TableName,
    /// The constraint, as the engine defines it.
    pub definition: String,
}

/// An index of the set, and what its partitions have of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFacts {
    /// Its name; it lies in the schema of its table.
    pub name: String,
    /// Whether it is valid: all partitions have it, attached.
    pub valid: bool,
    /// Whether it carries a constraint.
    pub constraint: bool,
    /// Leaves that lack it altogether.
    pub missing_on: Vec<TableName>,
    /// Leaves that have an equal index which is not attached to it.
    pub unattached_on: Vec<(TableName, String)>,
    /// Leaves whose part of it is invalid.
    pub invalid_on: Vec<(TableName, String)>,
    /// How often it was used over all partitions since statistics began; `None` if unknown.
    pub scans: Option<u64>,
}

/// A publication that contains the set, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Its name.
    pub name: String,
    /// Whether changes are published under the root's name.
    pub via_root: bool,
    /// Whether the set itself is a member; then its partitions are, by themselves.
    pub whole: bool,
    /// Partitions that are members by name.
    pub parts: Vec<TableName>,
}

/// One earlier look at a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, by the database's clock.
    pub at: Micros,
    /// Rows inserted into all leaves since statistics began. It falls when statistics are reset.
    pub inserted: u64,
    /// Rows, by the statistics.
    pub rows: u64,
    /// Bytes with indexes.
    pub bytes: u64,
    /// The highest key in use, as the engine prints it; `None` if it was not cheap to find.
    pub high: Option<String>,
}

/// A table that belongs to a set by replat's records, and is not attached to it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LooseTable {
    /// The table.
    pub table: TableName,
    /// Its identity in the catalogue.
    pub id: u64,
    /// The set it belongs to, or belonged to.
    pub set: TableName,
    /// The table it is, or was, a partition of.
    pub parent: TableName,
    /// Its bounds there.
    pub bound: Bound,
    /// What it is.
    pub state: LooseState,
    /// Who made it.
    pub origin: Origin,
    /// When it came into this state.
    pub since: Micros,
    /// Not to be dropped before; only of detached tables.
    pub drop_after: Option<Micros>,
    /// Where it was archived to, and the digest of that file.
    pub archive: Option<(String, String)>,
    /// Whether somebody asked to keep it for ever.
    pub legal_hold: bool,
    /// The unit that put it there.
    pub unit: String,
}

/// What a loose table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LooseState {
    /// Made, and not yet attached: its unit was broken off.
    Staged,
    /// Retired, and kept.
    Detached,
    /// What a drain, split or conversion left over, to be dropped after its grace.
    Replaced,
}
