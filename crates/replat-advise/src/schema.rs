//! The tables that advice is asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A table's place in its [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub usize);

/// All tables.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The tables, in an order that means nothing.
    pub tables: Vec<Table>,
}

/// A table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The names of its partitions.
    pub parts: BTreeSet<String>,
    /// Its primary key's columns, in order; empty if it has none.
    pub primary_key: Vec<String>,
    /// Its foreign keys.
    pub references: Vec<Reference>,
    /// Its columns and their types, as the catalogue writes them.
    pub columns: BTreeMap<String, String>,
    /// Their names in the table's own order; empty if that is not known.
    pub order: Vec<String>,
    /// The columns whose values the evidence shows, in the order in which a row of the evidence has them.
    pub keys: Vec<KeyColumn>,
    /// Columns that say nothing of where a row belongs, though values of them are known: moments, and what is changed
    /// while nobody asks for rows by it.
    pub unfit: BTreeSet<String>,
    /// What statistics say of its columns of time.
    pub times: BTreeMap<String, Times>,
    /// How many rows it has; `None` if that is not known.
    pub rows: Option<u64>,
    /// How many bytes a row takes; `None` if that is not known.
    pub row_bytes: Option<u64>,
    /// How many bytes the values of a column take in a row, on average; of columns of which statistics tell it.
    pub column_bytes: BTreeMap<String, u64>,
    /// Columns that are known not to be null.
    pub required: BTreeSet<String>,
    /// Its unique keys besides the primary key, as far as they are known.
    pub unique: Vec<Vec<String>>,
}

impl Table {
    /// The place of a key column among [`Table::keys`].
    pub fn key(&self, column: &str) -> Option<usize> {
        self.keys.iter().position(|key| key.name == column)
    }

    /// Its size. Unit: bytes. Zero if it is not known.
    pub fn bytes(&self) -> u64 {
        self.rows.unwrap_or(0).saturating_mul(self.row_bytes.unwrap_or(0))
    }
}

/// The values of a column of time, as statistics tell of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// From the day of the earliest to that of the latest. Unit: days since 1970.
    pub days: (i64, i64),
    /// How well their order is the order in which rows lie, from -1 to 1; `None` if that is not known.
    pub ordered: Option<f64>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The columns that refer.
    pub columns: Vec<String>,
    /// The table that they refer to.
    pub parent: TableId,
    /// Its columns.
    pub parent_columns: Vec<String>,
}

/// A column that a table could be partitioned by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its name.
    pub name: String,
    /// If the table has no such column: how its value is found.
    pub derived: Option<Derived>,
}

/// A column that a table has not got, but could get: the value stands in the row that it refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derived {
    /// The table's own column that refers.
    pub by: String,
    /// The table that it refers to.
    pub parent: String,
    /// The column there.
    pub column: String,
}

impl Schema {
    /// The table of this name, or the one that has a partition of this name.
    pub fn find(&self, name: &str) -> Option<TableId> {
        let own = self.tables.iter().position(|table| table.name == name);
        own.or_else(|| self.tables.iter().position(|table| table.parts.contains(name))).map(TableId)
    }

    /// A table.
    pub fn table(&self, id: TableId) -> &Table {
        &self.tables[id.0]
    }

    /// All places.
    pub fn ids(&self) -> impl Iterator<Item = TableId> + use<> {
        (0..self.tables.len()).map(TableId)
    }

    /// The size of all tables. Unit: bytes.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(Table::bytes).sum()
    }
}
