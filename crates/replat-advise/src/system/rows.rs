//! The rows that were seen, and what is known of each.
//!
//! A row is known by its keys. What else of it was seen anywhere - in the write-ahead log, in what somebody inserted, in a
//! condition that names it whole - is known of it everywhere. What nobody saw has an unknown value of its own, the same one
//! wherever that row is met; so two tasks of one project are of one tenant, though nobody knows which.

use std::collections::HashMap;

use crate::schema::{Reference, Schema, TableId};
use crate::value::{Value, ValueId, Values};

/// A row's place among those of its table.
pub(super) type RowId = usize;

/// What is known of a row: of each of its table's own key columns, the value.
pub(super) type Cells = Vec<Option<ValueId>>;

/// All rows.
pub(super) struct Rows {
    /// All values.
    pub values: Values,
    tables: Vec<TableRows>,
    unknown: u64,
    null: ValueId,
}

/// The columns that name a row, and the rows by their values there.
type ByKey = (Vec<usize>, HashMap<Vec<ValueId>, RowId>);

struct TableRows {
    /// How many of its key columns are its own; they stand first.
    own: usize,
    cells: Vec<Cells>,
    /// Each set of columns that names a row.
    by_key: Vec<ByKey>,
    /// Of each key column that is not its own, where its value is.
    derived: Vec<Hop>,
}

/// How the value of a column is found that stands in the row that another column refers to.
#[derive(Clone, Copy)]
struct Hop {
    by: Option<usize>,
    parent: TableId,
    /// The column there that is referred to, and the one whose value it is.
    key: Option<usize>,
    column: Option<usize>,
}

impl Rows {
    pub(super) fn new(
        schema: &Schema,
        identities: &[Vec<Vec<String>>],
        references: &[Vec<Reference>],
    ) -> Rows {
        let mut values = Values::default();
        let null = values.id(Value::Null);
        let tables = schema
            .ids()
            .map(|id| {
                let table = schema.table(id);
                let key = |name: &String| table.key(name);
                let by_key = identities[id.0]
                    .iter()
                    .filter_map(|columns| columns.iter().map(key).collect::<Option<Vec<usize>>>())
                    .map(|columns| (columns, HashMap::new()))
                    .collect();
                let derived = table.keys.iter().filter_map(|key| key.derived.as_ref()).map(|derived| {
                    let parent = schema.find(&derived.parent).unwrap_or(id);
                    let reference = references[id.0].iter().find(|reference| {
                        reference.parent == parent && reference.columns == [derived.by.clone()]
                    });
                    Hop {
                        by: table.key(&derived.by),
                        parent,
                        key: reference.and_then(|r| schema.table(parent).key(&r.parent_columns[0])),
                        column: schema.table(parent).key(&derived.column),
                    }
                });
                TableRows {
                    own: table.keys.iter().filter(|key| key.derived.is_none()).count(),
                    cells: Vec::new(),
                    by_key,
                    derived: derived.collect(),
                }
            })
            .collect();
        Rows { values, tables, unknown: 0, null }
    }

    /// How many key columns of a table are its own.
    pub(super) fn own(&self, table: TableId) -> usize {
        self.tables[table.0].own
    }

    /// A value that nobody saw.
    pub(super) fn unknown(&mut self) -> ValueId {
        self.unknown += 1;
        self.values.id(Value::unknown(self.unknown))
    }

    /// Whether these cells name one row.
    pub(super) fn names_one(&self, table: TableId, cells: &Cells) -> bool {
        self.tables[table.0].by_key.iter().any(|(columns, _)| key_of(columns, cells).is_some())
    }

    /// Keeps what is known of a row, if it is known which row it is.
    pub(super) fn learn(&mut self, table: TableId, cells: &Cells) -> Option<RowId> {
        self.names_one(table, cells).then(|| self.row(table, cells))
    }

    /// The row that these cells name, with what they say of it; a new one if they name none.
    pub(super) fn row(&mut self, table: TableId, cells: &Cells) -> RowId {
        let rows = &mut self.tables[table.0];
        let known =
            rows.by_key.iter().find_map(|(columns, rows)| rows.get(&key_of(columns, cells)?).copied());
        let row = known.unwrap_or_else(|| {
            rows.cells.push(vec![None; rows.own]);
            rows.cells.len() - 1
        });
        for (cell, said) in rows.cells[row].iter_mut().zip(cells) {
            *cell = said.or(*cell);
        }
        let TableRows { cells, by_key, .. } = rows;
        for (columns, rows) in by_key {
            if let Some(key) = key_of(columns, &cells[row]) {
                rows.entry(key).or_insert(row);
            }
        }
        row
    }

    /// Keeps what else is said of a row that is known already.
    pub(super) fn say(&mut self, table: TableId, row: RowId, cells: &Cells) {
        for (cell, said) in self.tables[table.0].cells[row].iter_mut().zip(cells) {
            *cell = cell.or(*said);
        }
    }

    /// The value of a row's own key column; an unknown one, from now on its own, if nobody saw it.
    pub(super) fn cell(&mut self, table: TableId, row: RowId, column: usize) -> ValueId {
        if let Some(value) = self.tables[table.0].cells[row][column] {
            return value;
        }
        let value = self.unknown();
        self.tables[table.0].cells[row][column] = Some(value);
        value
    }

    /// The value of any of a row's key columns, its own or not.
    fn value(&mut self, table: TableId, row: RowId, key: usize) -> ValueId {
        let own = self.tables[table.0].own;
        if key < own {
            return self.cell(table, row, key);
        }
        let Hop { by: Some(by), parent, key: Some(parent_key), column: Some(column) } =
            self.tables[table.0].derived[key - own]
        else {
            return self.unknown();
        };
        let refers = self.cell(table, row, by);
        if refers == self.null {
            return self.null;
        }
        let mut cells = vec![None; self.own(parent)];
        cells[parent_key] = Some(refers);
        let parent_row = self.row(parent, &cells);
        self.value(parent, parent_row, column)
    }

    /// The values of all key columns of a row.
    pub(super) fn values_of(&mut self, table: TableId, row: RowId) -> Vec<ValueId> {
        let width = self.tables[table.0].own + self.tables[table.0].derived.len();
        (0..width).map(|key| self.value(table, row, key)).collect()
    }

    /// What is known of a row so far.
    pub(super) fn cells_of(&self, table: TableId, row: RowId) -> &Cells {
        &self.tables[table.0].cells[row]
    }

    /// How many rows of a table there are.
    pub(super) fn count(&self, table: TableId) -> usize {
        self.tables[table.0].cells.len()
    }

    /// Whether a value was seen.
    pub(super) fn is_seen(&self, value: ValueId) -> bool {
        value != self.null && self.values.get(value).is_known()
    }

    /// The column that alone names a row of this table, and the row whose value there is this one.
    pub(super) fn named_by(&self, table: TableId, column: usize, value: ValueId) -> Option<RowId> {
        let rows = self.tables[table.0].by_key.iter().find(|(columns, _)| columns == &[column]);
        rows.and_then(|(_, rows)| rows.get(&vec![value]).copied())
    }

    /// Whether this column alone names a row.
    pub(super) fn is_name(&self, table: TableId, column: usize) -> bool {
        self.tables[table.0].by_key.iter().any(|(columns, _)| columns == &[column])
    }

    /// Whether nothing that is known of one row is otherwise in the other.
    pub(super) fn could_be_one(&self, table: TableId, a: RowId, b: RowId, but: usize) -> bool {
        let (a, b) = (self.cells_of(table, a), self.cells_of(table, b));
        a.iter().zip(b).enumerate().all(|(column, pair)| match pair {
            (Some(a), Some(b)) => column == but || a == b || !self.is_seen(*a) || !self.is_seen(*b),
            _ => true,
        })
    }

    /// Puts a value in the place of unknown ones, wherever they are; and since rows may turn out to be one by that, what
    /// is known of either is known of both.
    pub(super) fn substitute(&mut self, mut same: HashMap<ValueId, ValueId>) {
        // Each round names at least one more value; the number of rounds is bounded for evidence that contradicts itself.
        for _ in 0..8 {
            let mut next: HashMap<ValueId, ValueId> = HashMap::new();
            for table in &mut self.tables {
                for cell in table.cells.iter_mut().flatten() {
                    let mut steps = 0;
                    while let Some(known) = cell.and_then(|value| same.get(&value).copied())
                        && steps < 8
                    {
                        *cell = Some(known);
                        steps += 1;
                    }
                }
                let TableRows { cells, by_key, .. } = table;
                for (columns, rows) in by_key {
                    rows.clear();
                    for row in 0..cells.len() {
                        let Some(key) = key_of(columns, &cells[row]) else { continue };
                        let first = *rows.entry(key).or_insert(row);
                        if first == row {
                            continue;
                        }
                        for column in 0..cells[row].len() {
                            let values = &self.values;
                            let is_seen = |value: ValueId| values.get(value).is_known();
                            match (cells[first][column], cells[row][column]) {
                                (Some(a), Some(b)) if a != b && !is_seen(a) => {
                                    next.insert(a, b);
                                }
                                (Some(a), Some(b)) if a != b && !is_seen(b) => {
                                    next.insert(b, a);
                                }
                                (Some(a), None) => cells[row][column] = Some(a),
                                (None, Some(b)) => cells[first][column] = Some(b),
                                _ => {}
                            }
                        }
                    }
                }
            }
            if next.is_empty() {
                return;
            }
            same = next;
        }
    }
}

/// The values of some columns, if all are known. Nothing names a row by what is absent.
fn key_of(columns: &[usize], cells: &Cells) -> Option<Vec<ValueId>> {
    columns.iter().map(|column| cells[*column]).collect()
}
