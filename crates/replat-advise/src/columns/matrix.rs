//! Statements against the columns of one table.

use serde::{Deserialize, Serialize};

use super::Usage;
use crate::schema::Table;
use crate::trace::Trace;

/// So many statements and columns are drawn at most; a picture of more shows nothing.
const RUNS_MAX: usize = 24;
const COLUMNS_MAX: usize = 48;

/// Statements against columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ColumnMatrix {
    /// The columns, piece by piece.
    pub columns: Vec<MatrixColumn>,
    /// The statements, the most frequent first.
    pub runs: Vec<Run>,
    /// How many statements and columns are not drawn.
    pub left_out: (usize, usize),
}

/// A column of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MatrixColumn {
    /// Its name.
    pub name: String,
    /// What it takes in the row. Unit: bytes.
    pub bytes: f64,
    /// The piece that it would be in, by its place; `None` if every piece carries it.
    pub piece: Option<usize>,
}

/// A statement of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name, or the beginning of its text.
    pub statement: String,
    /// Its share of all runs that use the table.
    pub share: f64,
    /// What it does with each column, in their order: `w` sets it, `r` reads it, `f` chooses rows by it, `a` gives it to new
    /// rows, a space does nothing.
    pub marks: String,
}

/// The matrix of a table whose columns are in these pieces.
pub(super) fn matrix(
    table: &Table,
    trace: &Trace,
    usages: &[(&Usage, f64)],
    mut columns: Vec<MatrixColumn>,
) -> ColumnMatrix {
    columns.sort_by(|a, b| {
        let key = |column: &MatrixColumn| table.primary_key.iter().position(|key| *key == column.name);
        let place = |column: &MatrixColumn| (column.piece.map_or(0, |piece| piece + 1), key(column));
        place(a).cmp(&place(b)).then_with(|| a.name.cmp(&b.name))
    });
    let too_many = columns.len().saturating_sub(COLUMNS_MAX);
    columns.truncate(COLUMNS_MAX);
    let all: f64 = usages.iter().map(|(_, runs)| runs).sum();
    let mut order: Vec<&(&Usage, f64)> = usages.iter().filter(|(_, runs)| *runs > 0.0).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.template.cmp(&b.0.template)));
    let left_out = (order.len().saturating_sub(RUNS_MAX), too_many);
    let run = |(usage, runs): &&(&Usage, f64)| Run {
        statement: trace.templates[usage.template].short(),
        share: runs / all.max(1e-9),
        marks: columns.iter().map(|column| mark(usage, &column.name)).collect(),
    };
    let runs = order.iter().take(RUNS_MAX).map(run).collect();
    ColumnMatrix { columns, runs, left_out }
}

fn mark(usage: &Usage, column: &str) -> char {
    match () {
        () if usage.set.contains(column) => 'w',
        () if usage.read.contains(column) => 'r',
        () if usage.filter.contains(column) => 'f',
        () if usage.added.contains(column) => 'a',
        () => ' ',
    }
}
