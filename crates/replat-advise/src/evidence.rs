//! Evidence: what was seen of a system, in a form that can be kept, carried and put together.
//!
//! A file has one JSON value on each line. The first is the [`Head`]; the others are [`Line`]s in any order. What ends
//! early is of use up to there. Values are hashed or put into buckets where they were seen, so a file holds nobody's data:
//! equal values are equal texts within one file, and that is all that advice needs.

mod ddl;
mod file;
mod intent;
mod lines;
mod log;
mod merge;
mod read;
mod statements;
mod wal;

pub use ddl::read_schema;
pub(crate) use ddl::{folded, name_of};
pub use file::{read_evidence, write_evidence};
pub use log::{Logged, read_log};
pub use read::{Known, Note, Source, read};
pub use statements::read_statements;
pub use wal::read_wal;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::system::Constraints;
use crate::value::Value;

/// The form of evidence files that is written and understood.
pub const FORMAT: &str = "replat-evidence/1";

/// How much is known; each tier says what those before it do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// The catalogue: tables, keys, sizes, distribution of values.
    #[serde(rename = "T0")]
    Catalogue,
    /// Statements and how often they ran; not which ran together.
    #[serde(rename = "T1")]
    Statements,
    /// Which rows were written together, from the write-ahead log.
    #[serde(rename = "T2")]
    Writes,
    /// Some whole transactions, with what they read.
    #[serde(rename = "T3")]
    Sample,
    /// All transactions with all rows.
    #[serde(rename = "T4")]
    Trace,
}

/// The first line of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`].
    pub format: String,
    /// What it is called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it began and ended. Unit: seconds since 1970; `None` for what has no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<(f64, f64)>,
    /// Names the database whose server counted, without telling which it is: what one server counted is not added up twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_by: Option<String>,
    /// Names the secret that values were hashed with, without telling it; files of one secret can be joined by value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashed: Option<String>,
    /// The share of transactions that were sampled, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<f64>,
    /// How many partitions are wished for, if somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// What any design must keep to, as somebody said.
    #[serde(default, skip_serializing_if = "Constraints::are_none")]
    pub constraints: Constraints,
    /// Groups of tables that are said to be services of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<(String, Vec<String>)>,
    /// What somebody wrote of what the system is to be, for people to weigh; no fact is taken from it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intent: Vec<String>,
    /// What could not be had, and why, in words for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
}

/// Any line but the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k", rename_all = "lowercase")]
pub enum Line {
    /// A table.
    Table(TableSeen),
    /// A statement without its values.
    Statement(StatementSeen),
    /// What a transaction wrote.
    Writes(WritesSeen),
    /// A whole transaction.
    Transaction(TransactionSeen),
}

/// A table, as the catalogue has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableSeen {
    /// Its name, with its schema unless that is `public`.
    pub name: String,
    /// Its columns.
    pub columns: BTreeMap<String, ColumnSeen>,
    /// Their names in the order in which the table has them, if that is known: an INSERT that names none means that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<String>,
    /// The names of its partitions, if it has some: who names one of them means rows of this table.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub parts: BTreeSet<String>,
    /// Its primary key; empty if it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primary_key: Vec<String>,
    /// Other unique keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<Vec<String>>,
    /// Its foreign keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<ReferenceSeen>,
    /// How many rows it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// How many bytes a row takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_bytes: Option<u64>,
    /// Scans of it that were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<u64>,
    /// Rows inserted, updated and deleted that were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<[u64; 3]>,
}

/// A column, as the catalogue has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnSeen {
    /// Its type, as `format_type` writes it.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether it may be null.
    #[serde(default)]
    pub nullable: bool,
    /// How many bytes its values take in a row, on average over all rows. What lies out of line counts as its pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many distinct values it is estimated to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distinct: Option<f64>,
    /// The share of rows that have its commonest values, in falling order. The values are not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub common: Vec<f64>,
    /// Of a column of time: the day of its earliest and of its latest value, by their statistics; of a column of days the
    /// first days of their months. Unit: days since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<(i64, i64)>,
    /// How well the order of its values is the order in which rows lie, from -1 to 1, by their statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordered: Option<f64>,
}

/// A foreign key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReferenceSeen {
    /// The columns that refer.
    pub columns: Vec<String>,
    /// The table that they refer to.
    pub parent: String,
    /// Its columns.
    pub parent_columns: Vec<String>,
}

/// A statement without its values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatementSeen {
    /// What names it within the file: the server's query identifier as text.
    pub id: String,
    /// Its text, with `$1`, `$2` for values; constants are taken out.
    pub text: String,
    /// How often it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// How many rows it gave or changed, in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// How long it ran, in all. Unit: milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<f64>,
}

impl StatementSeen {
    /// Takes in what was told of this statement later: of counters the last word counts, and the text of one that was
    /// seen running goes before that of one that was counted, since the numbers of its parameters are those of it.
    pub fn hear(&mut self, later: StatementSeen) {
        if later.calls.is_none() {
            self.text = later.text;
            return;
        }
        *self = StatementSeen { text: std::mem::take(&mut self.text), ..later };
    }
}

/// What a transaction wrote, by the write-ahead log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WritesSeen {
    /// When. Unit: seconds since 1970, or from any beginning.
    pub at: f64,
    /// The server's number of the transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<u64>,
    /// The rows.
    pub rows: Vec<RowSeen>,
}

/// A row that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowSeen {
    /// The table, named as in [`TableSeen`].
    pub table: String,
    /// `I`, `U` or `D`.
    pub op: Change,
    /// The key columns of the new row; of a deleted one, its identity.
    pub columns: BTreeMap<String, Value>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// It is new.
    #[serde(rename = "I")]
    Insert,
    /// It is another.
    #[serde(rename = "U")]
    Update,
    /// It is gone.
    #[serde(rename = "D")]
    Delete,
}

/// A whole transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TransactionSeen {
    /// When. Unit: seconds since 1970, or from any beginning.
    pub at: f64,
    /// Its kind, if somebody knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The server's number of the transaction, if it wrote: joins it to [`WritesSeen`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xid: Option<u64>,
    /// Its statements, in order.
    pub statements: Vec<Executed>,
}

/// A statement as it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Executed {
    /// Names a [`StatementSeen`].
    pub statement: String,
    /// The values of `$1`, `$2` and so on, hashed or in buckets; `None` for one that is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Option<Value>>,
}

/// All that is known of a system, put together from any number of sources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Where it comes from.
    pub head: Head,
    /// The tables.
    pub tables: Vec<TableSeen>,
    /// The statements.
    pub statements: Vec<StatementSeen>,
    /// What transactions wrote.
    pub writes: Vec<WritesSeen>,
    /// Whole transactions.
    pub transactions: Vec<TransactionSeen>,
}
