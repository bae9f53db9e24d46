//! Changed rows into a table, as sets: the statements, and the arrays that feed them.
//!
//! Rows arrive as the text that the log carries, one array a column. A statement turns them into rows of the
//! sending table (typed, with its generated columns), evaluates the same expressions that the copy uses, and merges
//! the result by key. Nothing is written but the rows themselves: no staging table, no catalogue churn.

use replat_model::ids::Side;
use replat_model::plan::{ColumnPlan, Plan, RowFilter, TablePlan};

use crate::slice::{dimension_column, key_name, members, predicate, satisfies, table_name};
use crate::sql::quote_ident;

/// One direction of one table.
#[derive(Clone, Copy)]
pub struct Merge<'a> {
    /// The whole plan.
    pub plan: &'a Plan,
    /// The table.
    pub table: &'a TablePlan,
    /// The side that the rows come from.
    pub from: Side,
}

impl<'a> Merge<'a> {
    /// The sending columns that a change carries: all but the generated ones.
    pub fn carried(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.table.shape(self.from).columns.iter().filter(|c| c.generated.is_none()).map(|c| c.name.as_str())
    }

    fn target(&self) -> String {
        table_name(self.plan, self.table, self.from.other())
    }

    /// The receiving columns.
    pub fn columns(&self) -> &'a [ColumnPlan] {
        self.table.columns_from(self.from)
    }

    fn is_key(&self, column: &ColumnPlan) -> bool {
        self.table.key_on(self.from.other()).any(|k| k == column.target)
    }

    fn key_list(&self, side: Side) -> String {
        self.table.key_on(side).map(quote_ident).collect::<Vec<_>>().join(", ")
    }

    /// Whether a row of the receiving side can have a key of this partition and belong to another. Where the key says
    /// the partition it cannot; elsewhere, both sides may have given one number to two rows.
    pub fn may_meet_strangers(&self) -> bool {
        let other = self.from.other();
        let is_slice = self.plan.tables.iter().any(|table| std::ptr::eq(table, self.table));
        let says = |column: &str| {
            let name = dimension_column(self.table, other, column);
            self.table.key_on(other).any(|key| key == name)
        };
        self.shares_its_table()
            || is_slice && !self.plan.dimensions.iter().all(|dimension| says(&dimension.column))
    }

    /// Whether the receiving table has rows of the partition that do not take part here: those of another table, perhaps.
    pub fn shares_its_table(&self) -> bool {
        self.table.rows_on(self.from.other()).is_some()
    }

    /// Which of the sending rows take part.
    pub fn filter(&self) -> Option<&'a RowFilter> {
        self.table.rows_on(self.from)
    }

    /// Whether these columns are needed to know whether a row takes part.
    pub fn is_filtered_by(&self, columns: &[&str]) -> bool {
        self.filter().is_some_and(|rows| rows.depends.iter().any(|name| columns.contains(&name.as_str())))
    }

    /// `rows()`, of those that take part.
    fn taking_part(&self) -> String {
        match self.filter() {
            None => self.rows(),
            Some(filter) => format!("{} WHERE {}", self.rows(), satisfies(filter, "")),
        }
    }

    /// Whether the rows are parts of rows that others make and remove: they only fill columns in.
    pub fn fills_in(&self) -> bool {
        self.table.is_part && self.from == Side::Green
    }

    /// Whether other tables of the sending side hold parts of these rows.
    pub fn parts(&self) -> impl Iterator<Item = usize> + use<'a> {
        let (table, is_green) = (self.table, self.from == Side::Green);
        let tables = self.plan.tables.iter().enumerate();
        tables
            .filter(move |(_, part)| {
                is_green && part.is_part && !table.is_part && part.blue.name == table.blue.name
            })
            .map(|(n, _)| n)
    }

    /// What a row `t` of the receiving side must satisfy to be changed: that it is the partition's own.
    fn own(&self, before: &str) -> String {
        if self.fills_in() {
            // Whether it takes part is a matter of the columns that are filled in.
            return format!("{before} {}", predicate(self.plan, self.table, self.from.other(), "t."));
        }
        match self.may_meet_strangers() {
            true => format!("{before} {}", members(self.plan, self.table, self.from.other(), "t.")),
            false => String::new(),
        }
    }

    /// `unnest($1::text[], …)` as rows of the sending table, under the alias `s`.
    fn rows(&self) -> String {
        let shape = self.table.shape(self.from);
        let carried: Vec<_> = shape.columns.iter().filter(|c| c.generated.is_none()).collect();
        let arrays: Vec<String> = (1..=carried.len()).map(|n| format!("${n}::text[]")).collect();
        let names: Vec<String> = (1..=carried.len()).map(|n| format!("c{n}")).collect();
        let typed: Vec<String> = carried
            .iter()
            .enumerate()
            .map(|(n, c)| format!("c{}::{} AS {}", n + 1, c.stage_type, quote_ident(&c.name)))
            .collect();
        let plain = format!(
            "SELECT {} FROM unnest({}) AS u({})",
            typed.join(", "),
            arrays.join(", "),
            names.join(", ")
        );
        let generated: Vec<String> = shape
            .columns
            .iter()
            .filter_map(|c| Some(format!("({}) AS {}", c.generated.as_ref()?, quote_ident(&c.name))))
            .collect();
        if generated.is_empty() {
            return format!("({plain}) s");
        }
        format!("(SELECT *, {} FROM ({plain}) g) s", generated.join(", "))
    }

    /// The value of one receiving column, of rows that are said in full.
    pub fn value(&self, column: &ColumnPlan) -> String {
        format!("SELECT {} FROM {}", assigned(column), self.rows())
    }

    /// Full rows: inserted, or put in the place of the partition's row with that key. A row of another partition is left
    /// as it is, and then fewer rows are written than were given.
    pub fn upsert(&self) -> String {
        let columns = self.columns();
        let names: Vec<String> = columns.iter().map(|c| quote_ident(&c.target)).collect();
        let values: Vec<String> = columns.iter().map(assigned).collect();
        let sets: Vec<String> = columns
            .iter()
            .filter(|c| !self.is_key(c))
            .map(|c| format!("{0} = excluded.{0}", quote_ident(&c.target)))
            .collect();
        let resolve = if sets.is_empty() {
            "NOTHING".into()
        } else {
            format!("UPDATE SET {}{}", sets.join(", "), self.own(" WHERE"))
        };
        format!(
            "INSERT INTO {} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} ON CONFLICT ({}) DO {resolve}",
            self.target(),
            names.join(", "),
            values.join(", "),
            self.taking_part(),
            self.key_list(self.from.other()),
        )
    }

    /// Rows of which the `unsaid` columns did not come along, since they did not change: what depends on them
    /// stays as it is. `None` if nothing is left to set.
    pub fn update(&self, unsaid: &[&str]) -> Option<String> {
        let known: Vec<&ColumnPlan> = self
            .columns()
            .iter()
            .filter(|c| !self.is_key(c) && !c.depends.iter().any(|d| unsaid.contains(&d.as_str())))
            .collect();
        if known.is_empty() {
            return None;
        }
        let sets: Vec<String> =
            known.iter().enumerate().map(|(n, c)| format!("{} = e.v{n}", quote_ident(&c.target))).collect();
        let values: Vec<String> =
            known.iter().enumerate().map(|(n, c)| format!("{} AS v{n}", assigned(c))).collect();
        let keys = self.sent_keys();
        Some(format!(
            "UPDATE {} t SET {} FROM (SELECT {}, {} FROM {}) e WHERE {}{}",
            self.target(),
            sets.join(", "),
            keys.join(", "),
            values.join(", "),
            self.taking_part(),
            self.key_match("t.", "e.replat_k"),
            self.own(" AND"),
        ))
    }

    fn sent_keys(&self) -> Vec<String> {
        let keys = self.table.key.iter().enumerate();
        keys.map(|(n, k)| format!("{} AS replat_k{n}", quote_ident(key_name(k, self.from)))).collect()
    }

    /// How many of the rows take part.
    pub fn count(&self) -> String {
        format!("SELECT count(*) FROM {}", self.taking_part())
    }

    /// Deletes what is there of those rows that do not take part, or no longer.
    pub fn delete_others(&self) -> String {
        let others =
            self.filter().map_or_else(|| "false".into(), |rows| format!("NOT ({})", satisfies(rows, "")));
        self.remove(&format!(
            "(SELECT {} FROM {} WHERE {others}) e",
            self.sent_keys().join(", "),
            self.rows()
        ))
    }

    /// Rows that are gone, by key: one array for each key column.
    pub fn delete(&self) -> String {
        self.remove(&keys(self.table, 1))
    }

    /// Takes rows off the receiving table, by a relation `e` of keys; of a part, what it filled in.
    fn remove(&self, keys: &str) -> String {
        let (target, own) = (self.target(), self.own(" AND"));
        let matching = self.key_match("t.", "e.replat_k");
        match self.fills_in() {
            false => format!("DELETE FROM {target} t USING {keys} WHERE {matching}{own}"),
            true => format!("UPDATE {target} t SET {} FROM {keys} WHERE {matching}{own}", self.emptied()),
        }
    }

    /// The columns of a part as they are where the part is not there.
    fn emptied(&self) -> String {
        let columns = self.columns().iter().filter(|column| !self.is_key(column));
        let nulls: Vec<String> = columns.map(|c| format!("{} = NULL", quote_ident(&c.target))).collect();
        // A part of keys alone has nothing to take back.
        let first = || self.key_list(self.from.other()).split(", ").next().unwrap_or_default().to_owned();
        if nulls.is_empty() { format!("{0} = t.{0}", first()) } else { nulls.join(", ") }
    }

    /// All rows of the partition are gone.
    pub fn empty(&self) -> String {
        let (target, other) = (self.target(), self.from.other());
        let members = members(self.plan, self.table, other, "");
        match self.fills_in() {
            false => format!("DELETE FROM {target} WHERE {members}"),
            true => format!("UPDATE {target} t SET {} WHERE {members}", self.emptied()),
        }
    }

    fn key_match(&self, row: &str, values: &str) -> String {
        let other = self.from.other();
        self.table
            .key
            .iter()
            .enumerate()
            .map(|(n, k)| format!("{row}{} = {values}{n}", quote_ident(key_name(k, other))))
            .collect::<Vec<_>>()
            .join(" AND ")
    }
}

/// Key arrays as a typed relation `e(replat_k0, replat_k1, …)`; parameters begin at `first`.
pub fn keys(table: &TablePlan, first: usize) -> String {
    let n = table.key.len();
    let arrays: Vec<String> = (0..n).map(|i| format!("${}::text[]", first + i)).collect();
    let names: Vec<String> = (0..n).map(|i| format!("c{i}")).collect();
    let typed: Vec<String> =
        table.key.iter().enumerate().map(|(i, k)| format!("c{i}::{} AS replat_k{i}", k.type_name)).collect();
    format!("(SELECT {} FROM unnest({}) AS u({})) e", typed.join(", "), arrays.join(", "), names.join(", "))
}

/// An expression with the type that the receiving column takes it in.
///
/// A built-in type without its modifier, so that a value which is too long is refused and not cut; any other type
/// by way of text, since the sending server may not have it.
pub fn assigned(column: &ColumnPlan) -> String {
    if is_foreign(column) {
        format!("({})::text::{}", column.expression, column.target_type)
    } else {
        format!("({})::{}", column.expression, column.wire_type)
    }
}

/// Whether the receiving type is one that only the receiving server has.
pub fn is_foreign(column: &ColumnPlan) -> bool {
    let textual = ["text", "character varying", "varchar"];
    column.wire_type == "text" && !textual.iter().any(|t| column.target_type.starts_with(t))
}
