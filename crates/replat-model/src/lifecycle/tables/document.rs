//! The partitions of a database as they are published: what a lookup needs, and nothing else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cut, Tables, key_column};
use crate::lifecycle::facts::{Bound, Key, Level, Method, SetFacts, TableName};

/// All partitioned tables of one database, as of a version of its outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablesDocument {
    /// The version of the outbox in the database; 0 if `rotate` has changed nothing there yet.
    pub outbox: u64,
    /// The tables that are no partitions themselves, in order of name.
    pub sets: Vec<TableSet>,
}

/// A partitioned table with all that lies below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSet {
    /// The table.
    pub table: TableName,
    /// The types of its columns, as the engine formats them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// How it is cut.
    pub level: TableLevel,
}

/// How one table is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableLevel {
    /// By what.
    pub method: Method,
    /// The components of its key, in order.
    pub keys: Vec<TableKey>,
    /// Its partitions.
    pub parts: Vec<TablePart>,
}

/// One component of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableKey {
    /// The column, or the expression as the engine writes it.
    pub text: String,
    /// Whether it is an expression.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expression: bool,
    /// The type, as the engine formats it.
    #[serde(rename = "type")]
    pub type_name: String,
}

/// One partition that rows are in by way of its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePart {
    /// Its table.
    pub table: TableName,
    /// What belongs to it.
    pub bound: Bound,
    /// How it is cut further, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<TableLevel>,
}

impl TablesDocument {
    /// What was looked at, at a version of the outbox that was read before.
    pub fn of(sets: &[SetFacts], outbox: u64) -> TablesDocument {
        let mut sets: Vec<TableSet> = sets
            .iter()
            .map(|set| TableSet {
                table: set.table.clone(),
                columns: set.columns.clone(),
                level: TableLevel::of(&set.level),
            })
            .collect();
        sets.sort_by(|one, other| one.table.cmp(&other.table));
        TablesDocument { outbox, sets }
    }

    /// How many partitions it names, those that are cut further included.
    pub fn partitions(&self) -> usize {
        self.sets.iter().map(|set| set.level.partitions()).sum()
    }
}

impl TableLevel {
    fn of(level: &Level) -> TableLevel {
        let key = |key: &Key| TableKey {
            text: key.column.clone().unwrap_or_else(|| key.text.clone()),
            expression: key.column.is_none(),
            type_name: key.type_name.clone(),
        };
        // Rows of a partition that is being detached are not visible through the parent any more.
        let parts = level.parts.iter().filter(|part| !part.detach_pending).map(|part| TablePart {
            table: part.table.clone(),
            bound: part.bound.clone(),
            below: part.below.as_ref().map(TableLevel::of),
        });
        TableLevel {
            method: level.method,
            keys: level.keys.iter().map(key).collect(),
            parts: parts.collect(),
        }
    }

    fn partitions(&self) -> usize {
        self.parts.iter().map(|part| 1 + part.below.as_ref().map_or(0, TableLevel::partitions)).sum()
    }
}

impl From<&TablesDocument> for Tables {
    fn from(document: &TablesDocument) -> Tables {
        let mut tables = Tables { version: document.outbox, cuts: BTreeMap::new() };
        for set in &document.sets {
            tables.add_level(&set.table, &set.level, &set.columns);
        }
        tables
    }
}

impl Tables {
    fn add_level(&mut self, parent: &TableName, level: &TableLevel, columns: &BTreeMap<String, String>) {
        let keys = level.keys.iter().map(|key| match key.expression {
            false => key_column(&key.text, &key.type_name, level.method),
            true => Err(format!("it is cut by the expression {}", key.text)),
        });
        self.cuts.insert(parent.clone(), Cut::new(columns.clone(), keys.collect()));
        for part in &level.parts {
            self.add_bound(parent, &part.table, &part.bound);
            if let Some(below) = &part.below {
                self.add_level(&part.table, below, columns);
            }
        }
    }
}
