//! Which tables refer to each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::schema::{Schema, TableId};
use crate::trace::Trace;

/// Pairs of tables, one of which holds the other's key: by a foreign key, or, where none is declared, because statements
/// join them by it, or because it is called so.
pub struct Related {
    of: Vec<BTreeSet<TableId>>,
}

impl Related {
    /// Finds them.
    pub fn of(schema: &Schema, trace: &Trace) -> Related {
        let mut related = Related { of: vec![BTreeSet::new(); schema.tables.len()] };
        for id in schema.ids() {
            for reference in &schema.table(id).references {
                related.add(id, reference.parent);
            }
        }
        let is_key = |table: TableId, column: &String| matches!(schema.table(table).primary_key.as_slice(), [only] if only == column);
        for (a, b) in trace.templates.iter().flat_map(|template| &template.joins) {
            if is_key(a.table, &a.name) || is_key(b.table, &b.name) {
                related.add(a.table, b.table);
            }
        }
        related.add_named(schema);
        related
    }

    /// Tables with columns that are called, and typed, as the primary key of just one other table is.
    fn add_named(&mut self, schema: &Schema) {
        let mut keys: BTreeMap<&[String], Vec<TableId>> = BTreeMap::new();
        for id in schema.ids() {
            keys.entry(&schema.table(id).primary_key).or_default().push(id);
        }
        for (key, tables) in keys {
            let [parent] = tables.as_slice() else { continue };
            let type_of = |table: TableId, column: &String| schema.table(table).columns.get(column);
            let has = |child: &TableId| {
                let is_same =
                    |c: &String| type_of(*child, c).is_some() && type_of(*child, c) == type_of(*parent, c);
                !key.is_empty() && key.iter().all(is_same)
            };
            for child in schema.ids().filter(has) {
                self.add(child, *parent);
            }
        }
    }

    fn add(&mut self, a: TableId, b: TableId) {
        if a != b {
            self.of[a.0].insert(b);
            self.of[b.0].insert(a);
        }
    }

    /// All tables.
    pub fn tables(&self) -> impl Iterator<Item = TableId> + use<> {
        (0..self.of.len()).map(TableId)
    }

    /// The tables that a table refers to, or that refer to it.
    pub fn to(&self, table: TableId) -> impl Iterator<Item = TableId> + '_ {
        self.of[table.0].iter().copied()
    }

    /// Whether one of two tables refers to the other.
    pub fn are(&self, a: TableId, b: TableId) -> bool {
        self.of[a.0].contains(&b)
    }
}
