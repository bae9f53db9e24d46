//! Rows that are there, and would not be what green takes: found before anything begins, by a look at all of them.

use super::{Finding, Notes};
use crate::ids::Side;
use crate::preflight::Check;

/// Rows of blue's slice that green would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The table, by its name on green.
    pub table: String,
    /// The table, by its name on blue.
    pub blue: String,
    /// What is wrong with them.
    pub what: Unfit,
    /// How many rows; 0 if that was not counted.
    pub rows: u64,
    /// The key of one of them on blue, or the keys of two that are in each other's way; empty if it is not known.
    pub example: String,
}

/// Why green would not take a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A column must not be null, and would be.
    Null {
        /// The column on green.
        column: String,
    },
    /// An expression has no value.
    Valueless {
        /// The column on green.
        column: Option<String>,
        /// The server's words.
        why: String,
    },
    /// A value is no label of the enumeration.
    NoLabel {
        /// The column on green.
        column: String,
        /// The labels that it takes.
        labels: Vec<String>,
    },
    /// A text is longer than the column.
    TooLong {
        /// The column on green.
        column: String,
        /// Characters that it takes.
        max: u64,
    },
    /// A CHECK constraint says no.
    Violates {
        /// The constraint's name.
        constraint: String,
        /// Its definition.
        definition: String,
    },
    /// It would go to two tables.
    GoesTwice {
        /// The other table of green.
        other: String,
    },
    /// Two rows would be one for a unique index.
    Twice {
        /// The index's name.
        index: String,
        /// What must be unique.
        over: String,
    },
    /// Nobody could look.
    Unseen {
        /// Why not, and at what.
        why: String,
    },
}

/// What the look at the rows says.
pub(super) fn weigh(misfits: &[Misfit], notes: &mut Notes) {
    for misfit in misfits {
        if let Unfit::Unseen { why } = &misfit.what {
            let blue = &misfit.blue;
            let what =
                format!("whether green takes all rows of {blue} is not known before they are there: {why}");
            notes.warn(Check::RowsUnseen, false, what);
        }
        notes.findings.extend(finding(misfit));
    }
}

fn finding(misfit: &Misfit) -> Option<Finding> {
    let Misfit { table, blue, .. } = misfit;
    let rows = match (misfit.rows, misfit.example.as_str()) {
        (0, "") => format!("a row of {blue}"),
        (0 | 1, key) => format!("the row of {blue} ({key})"),
        (n, key) => format!("{n} rows of {blue}, such as ({key}),"),
    };
    let has = if misfit.rows > 1 { "have" } else { "has" };
    let (check, column, what, remedy) = match &misfit.what {
        Unfit::Null { column } => (
            Check::NullValues,
            Some(column),
            format!("{rows} {has} no value for {column}, which must not be null on green"),
            format!(
                "Write `up = \"coalesce({column}, …)\"` for {table}.{column} in rollout.map, or give these rows a value."
            ),
        ),
        Unfit::Valueless { column, why } => (
            Check::ValueUnfit,
            column.as_ref(),
            format!("{rows} cannot be carried over: {why}"),
            "Mend the rows, or correct the `up`.".to_owned(),
        ),
        Unfit::NoLabel { column, labels } => (
            Check::ValueUnfit,
            Some(column),
            format!("{rows} {has} a value for {column} that is none of {}", labels.join(", ")),
            format!("Write an `up` for {table}.{column} in rollout.map that says what becomes of it."),
        ),
        Unfit::TooLong { column, max } => (
            Check::ValueUnfit,
            Some(column),
            format!("{rows} {has} a value for {column} of more than {max} characters"),
            format!("Make {table}.{column} longer in the DDL, or write an `up` that makes it shorter."),
        ),
        Unfit::Violates { constraint, definition } => (
            Check::CheckViolated,
            None,
            format!(
                "{rows} {} {constraint}, {definition}",
                if misfit.rows > 1 { "violate" } else { "violates" }
            ),
            "Mend the rows, write an `up` that does, or leave the constraint out of the DDL.".to_owned(),
        ),
        Unfit::GoesTwice { other } => (
            Check::GoesTwice,
            None,
            format!(
                "{rows} would go to {table} and to {other}, since both conditions are true of {}",
                if misfit.rows > 1 { "them" } else { "it" }
            ),
            format!("Let `rows.up` of {table} and {other} exclude each other."),
        ),
        Unfit::Twice { index, over } => (
            Check::Duplicates,
            None,
            format!("{rows} {has} the same {over} as another, which {index} keeps apart on green"),
            "Give one of the two another value, or leave the index out of the DDL.".to_owned(),
        ),
        Unfit::Unseen { .. } => return None,
    };
    let finding = Finding::new(check, what, remedy).at(table).on(Side::Blue);
    Some(match column {
        Some(column) => finding.column(column),
        None => finding,
    })
}
