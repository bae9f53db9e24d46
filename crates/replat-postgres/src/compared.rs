//! What is compared of a row: on one side the expressions, on the other side the columns that they became.

use replat_model::ids::Side;
use replat_model::plan::{ColumnPlan, Compare, TablePlan};

use crate::merge::is_foreign;
use crate::sql::quote_ident;

/// One value that both sides can tell.
#[derive(Clone, Copy)]
pub struct Compared<'a> {
    /// The column, and how it is had.
    pub column: &'a ColumnPlan,
    /// The side whose row it is had from.
    from: Side,
}

impl Compared<'_> {
    /// The value on `side`, as SQL over a row there; of one type and one spelling on both.
    pub fn on(&self, side: Side) -> String {
        if side == self.from { transformed(self.column) } else { stored(self.column) }
    }

    /// The column that it is about, for people.
    pub fn describe(&self) -> String {
        format!("{}.{}", self.from.other(), self.column.target)
    }
}

/// All that is compared of a row of `table` with `from` as the original.
///
/// What blue has must be on green as `up` says, and `down` must make it again of what is on green: otherwise a rollback
/// would change rows that nobody touched. With green as the original its rows are the only truth, and `up` may add to it.
pub fn compared(table: &TablePlan, from: Side) -> Vec<Compared<'_>> {
    let there = table.columns_from(from).iter().map(|column| Compared { column, from });
    let back = table
        .columns_from(from.other())
        .iter()
        .filter(|column| from == Side::Blue && !is_mirrored(table, column))
        .map(|column| Compared { column, from: from.other() });
    there.chain(back).collect()
}

/// Whether `back` takes back the very column that went over as it was, so that the way there has proved it.
fn is_mirrored(table: &TablePlan, back: &ColumnPlan) -> bool {
    table.forward.iter().any(|there| {
        there.expression == quote_ident(&back.target)
            && back.expression == quote_ident(&there.target)
            && there.compare == back.compare
            && there.target_type == back.target_type
    })
}

/// The value that the receiving column should hold, in the type in which it is hashed.
fn transformed(column: &ColumnPlan) -> String {
    let e = &column.expression;
    match (is_foreign(column), column.compare) {
        (true, _) => as_text(&format!("({e})")),
        (false, Compare::Native) => format!("({e})::{}", column.target_type),
        (false, Compare::Text) => written(column, &format!("({e})::{}", shared_type(column))),
    }
}

/// A value as it is hashed where its type's own hash will not do: as bytes, whatever its collation takes for equal.
fn as_text(value: &str) -> String {
    format!("{value}::text COLLATE \"C\"")
}

/// The same for a value of the receiving type. A document is written without its declaration wherever it crosses, and
/// only a cast would show the one that was stored.
fn written(column: &ColumnPlan, value: &str) -> String {
    match column.wire_type.as_str() {
        "xml" => format!("textin(xml_out({value}))"),
        _ => as_text(value),
    }
}

/// The receiving type, or what stands for it on a server that does not have it: for a domain, which the catalogue
/// names with its schema, the built-in type that it is made of.
fn shared_type(column: &ColumnPlan) -> &str {
    if column.target_type.contains('.') { &column.wire_type } else { &column.target_type }
}

/// The value that it does hold.
fn stored(column: &ColumnPlan) -> String {
    let name = quote_ident(&column.target);
    match (is_foreign(column), column.compare) {
        (false, Compare::Native) => name,
        (true, _) => as_text(&name),
        (false, Compare::Text) => written(column, &name),
    }
}
