//! Vertical cuts: columns that are used together, and tables whose rows would better lie in two.
//!
//! A row lies in one piece, so whoever wants one column passes over all of it, and whoever changes one writes all of it. Where
//! statements keep to some columns, the others can go to a table of their own with the same key. That has its price: who wants
//! both has to join, and a new row is made twice. [`cost`] weighs the two, [`group`] looks for the cheapest pieces, and what
//! does not clearly pay is not advised.

mod apart;
pub mod cost;
pub mod group;
mod matrix;
mod split;
mod use_of;
mod width;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::confidence::{Interval, resample};
use crate::design::{Design, Placement};
use crate::schema::{Schema, Table, TableId};
use crate::system::System;
use crate::trace::{Op, Trace};

pub use matrix::{ColumnMatrix, MatrixColumn, Run};
pub use use_of::{Usage, Uses};
pub use width::{HEADER, Widths};

/// A table of fewer columns besides its key is not looked at.
const COLUMNS_MIN: usize = 6;

/// A row that takes less is not looked at: fifty of them lie in one page. Unit: bytes.
const ROW_MIN: f64 = 160.0;

/// A table that takes less is in memory as a whole, and there is nothing to save. Unit: bytes.
const TABLE_MIN: f64 = 128.0 * 1024.0 * 1024.0;

/// A table that was used less often says nothing.
const RUNS_MIN: f64 = 30.0;

/// So many draws of the evidence tell how sure it is, of so many transactions each at most.
const DRAWS: u64 = 24;
const DRAWN_MAX: usize = 4_000;

/// What is said of columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnAdvice {
    /// Tables with wide rows: whether they should be two, and why.
    pub tables: Vec<TableColumns>,
    /// Columns that nobody was seen looking at or changing. Evidence is a sample, so they need not be without use.
    pub cold: Vec<Cold>,
}

/// Columns of a table that nobody was seen looking at or changing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cold {
    /// The table.
    pub table: String,
    /// Its columns that are cold.
    pub columns: Vec<String>,
    /// How often statements were seen using the table, in transactions of the evidence.
    pub runs: u64,
}

/// What is said of a table with wide rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableColumns {
    /// The table.
    pub table: String,
    /// How many columns it has.
    pub columns: usize,
    /// What a row takes, with its header and without what lies out of line. Unit: bytes.
    pub row_bytes: f64,
    /// How often statements were seen using it.
    pub runs: u64,
    /// The share of those that look at it which read whole rows.
    pub whole_rows: f64,
    /// Into which tables it should be cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Why it should be left as it is, in words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// Its statements against its columns.
    pub matrix: ColumnMatrix,
}

/// A table as several with the same key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The tables. The first keeps the name, and is the one that is used most.
    pub pieces: Vec<Piece>,
    /// The columns that each of them has: the key, and what the table is partitioned by.
    pub carried: Vec<PieceColumn>,
    /// The primary key.
    pub key: Vec<String>,
    /// What a partition of it is told by: the column that the table is partitioned by, else the first of its key.
    pub dimension: String,
    /// The share of the costs that is saved, joins and second rows counted.
    pub saved: Interval,
    /// What statements look through and write, before and after. Unit: bytes of rows for each run.
    pub bytes: Saving,
    /// How often a draw of the evidence finds no better split.
    pub stability: f64,
    /// How sure it is, from 0 to 1.
    pub confidence: f64,
    /// Statements that would need several of the tables.
    pub joins: Vec<Joining>,
    /// The share of transactions that use the table which write to several of them; `None` where the evidence does not say what
    /// is done together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_several: Option<f64>,
    /// Columns that have to be able to be null in the table as it is before a deployment can bring them back from a second
    /// table.
    pub nullable_first: Vec<String>,
    /// Why, in words for people.
    pub because: Vec<String>,
    /// What it costs, in words for people.
    pub price: Vec<String>,
    /// What is not known and was assumed.
    pub assumed: Vec<String>,
}

/// A table of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name.
    pub table: String,
    /// Its own columns, besides those that all carry.
    pub columns: Vec<PieceColumn>,
    /// What its row takes, with its header and what it carries. Unit: bytes.
    pub row_bytes: f64,
    /// The share of the runs that look at its columns or set them.
    pub used: f64,
    /// The tables that its columns are used with in one transaction, with the share of its transactions.
    pub used_with: Vec<(String, f64)>,
    /// The other tables of the context that it would be in.
    pub context: Vec<String>,
    /// Unique keys that it has to itself, besides the key that all carry.
    pub unique: Vec<Vec<String>>,
    /// Its foreign keys, in words: the columns, the table, its columns.
    pub references: Vec<(Vec<String>, String, Vec<String>)>,
}

/// A column of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceColumn {
    /// Its name.
    pub name: String,
    /// Its type, as the catalogue writes it.
    pub data_type: String,
    /// Whether it is known not to be null.
    pub required: bool,
}

/// What a split saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    /// What is looked through: before, after.
    pub looked: (f64, f64),
    /// What is written: before, after.
    pub written: (f64, f64),
}

/// A statement that would need several tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Joining {
    /// The statement's name, or the beginning of its text.
    pub statement: String,
    /// Its share of the runs that use the table.
    pub share: f64,
    /// Whether it changes rows.
    pub writes: bool,
    /// The tables.
    pub tables: Vec<String>,
}

/// What is known of the surroundings of a table.
struct Around<'a> {
    system: &'a System,
    uses: &'a Uses,
    /// How often each statement ran in each of some draws of the evidence.
    draws: Vec<Vec<f64>>,
}

/// Looks at all tables. `design` says by which keys tables are placed.
pub fn columns(system: &System, design: Option<&Design>) -> ColumnAdvice {
    let (schema, trace) = (&system.schema, &system.trace);
    if trace.transactions.is_empty() {
        return ColumnAdvice::default();
    }
    let uses = Uses::of(schema, trace);
    let wide: Vec<TableId> = schema.ids().filter(|id| is_wide(schema.table(*id))).collect();
    let draws = if wide.is_empty() { Vec::new() } else { draws(trace) };
    let around = Around { system, uses: &uses, draws };
    let mut tables: Vec<TableColumns> = wide
        .into_iter()
        .filter(|id| !uses.of[id.0].is_empty())
        .map(|id| split::table(&around, id, &Carried::of(schema.table(id), design)))
        .collect();
    let gain = |table: &TableColumns| table.split.as_ref().map_or(0.0, |split| split.saved.value);
    tables.sort_by(|a, b| gain(b).total_cmp(&gain(a)).then_with(|| a.table.cmp(&b.table)));
    let cold = schema.ids().filter_map(|id| cold(schema.table(id), &uses.of[id.0], &uses.runs)).collect();
    ColumnAdvice { tables, cold }
}

fn is_wide(table: &Table) -> bool {
    let own = table.columns.keys().filter(|column| !table.primary_key.contains(column)).count();
    own >= COLUMNS_MIN && Widths::of(table).of.values().sum::<f64>() + HEADER >= ROW_MIN
}

/// The columns that every piece of a table has.
struct Carried {
    /// The key, and what the design places the table by.
    columns: BTreeSet<String>,
    /// What a partition is told by.
    dimension: String,
}

impl Carried {
    fn of(table: &Table, design: Option<&Design>) -> Carried {
        let placed: Vec<&String> = match design.and_then(|design| design.tables.get(&table.name)) {
            Some(Placement::Partition { levels }) => {
                levels.iter().flat_map(|level| level.cut.columns()).collect()
            }
            _ => Vec::new(),
        };
        let placed: Vec<&String> =
            placed.into_iter().filter(|column| table.columns.contains_key(*column)).collect();
        let first = placed.first().copied().or(table.primary_key.first());
        Carried {
            dimension: first.cloned().unwrap_or_default(),
            columns: table.primary_key.iter().chain(placed).cloned().collect(),
        }
    }
}

/// How often each statement runs in draws of the evidence.
fn draws(trace: &Trace) -> Vec<Vec<f64>> {
    let all = trace.transactions.len();
    (0..DRAWS)
        .map(|seed| {
            let mut runs = vec![0.0; trace.templates.len()];
            for place in resample(all, all.min(DRAWN_MAX), 0xc01 + seed) {
                let accesses = trace.accesses_of(&trace.transactions[place]);
                for access in accesses.iter().filter(|access| access.touch == 0) {
                    runs[access.template as usize] += 1.0;
                }
            }
            runs
        })
        .collect()
}

/// The columns of a table that nobody looks at or changes; `None` if there are none, or too little is known.
fn cold(table: &Table, usages: &[Usage], runs: &[f64]) -> Option<Cold> {
    let looks = |usage: &&Usage| matches!(usage.op, Op::Read | Op::Update);
    let is_known = usages.iter().filter(looks).all(|usage| usage.known);
    let all: f64 = usages.iter().map(|usage| usage.runs(runs)).sum();
    if !is_known || all < RUNS_MIN || !usages.iter().any(|usage| usage.op == Op::Read) {
        return None;
    }
    let is_cold = |column: &&String| {
        !table.primary_key.contains(column)
            && !usages.iter().any(|usage| usage.looks_at(column) || usage.set.contains(*column))
    };
    let columns: Vec<String> = table.columns.keys().filter(is_cold).cloned().collect();
    // Counts are small and whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let runs = all.round() as u64;
    (!columns.is_empty()).then(|| Cold { table: table.name.clone(), columns, runs })
}

/// What a table is called without its schema.
pub fn bare(table: &str) -> &str {
    table.split_once('.').map_or(table, |(_, name)| name)
}

/// Whether no table has this name.
fn is_free(schema: &Schema, name: &str) -> bool {
    schema.find(name).is_none()
}
