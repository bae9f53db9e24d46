//! Transactions with their rows, from statements with their parameters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::rows::{Cells, RowId, Rows};
use crate::evidence::{Change, RowSeen};
use crate::schema::{Schema, TableId};
use crate::sql::{Analysis, Operand, Touched};
use crate::trace::{Access, Op, Template, Touch, Trace, Transaction};
use crate::value::{Value, ValueId, Values};

/// A statement that finds so many rows, or more, is taken to find so many.
const ROWS_MAX: usize = 32;

/// So many combinations of listed values are followed at most.
const COMBINED_MAX: usize = 64;

/// A statement that can be executed.
pub(super) struct Executable {
    /// What it does.
    pub analysis: Analysis,
    /// Its place among the templates.
    pub template: u32,
    /// How many rows it finds, where its parameters do not say.
    pub rows: usize,
}

/// Makes a trace.
pub(super) struct Builder<'s> {
    schema: &'s Schema,
    pub rows: Rows,
    /// What was made so far; its accesses count their rows in `touched`, and there are no cells yet.
    pub trace: Trace,
    /// The rows of all accesses.
    pub touched: Vec<RowId>,
    kinds: HashMap<String, u32>,
    /// Templates for what the write-ahead log shows.
    logged: BTreeMap<(TableId, Op), u32>,
}

/// What one transaction did, by the write-ahead log, and has not been told by its statements yet.
#[derive(Default)]
pub(super) struct Written(BTreeMap<(TableId, Op), Vec<RowId>>);

/// The values of a statement's parameters.
struct Bound<'p> {
    parameters: &'p [Option<Value>],
    /// One unknown value for each that was not kept.
    unknown: BTreeMap<u32, ValueId>,
}

impl<'s> Builder<'s> {
    pub(super) fn new(schema: &'s Schema, rows: Rows) -> Builder<'s> {
        Builder {
            schema,
            rows,
            trace: Trace::default(),
            touched: Vec::new(),
            kinds: HashMap::new(),
            logged: BTreeMap::new(),
        }
    }

    /// Adds a statement.
    pub(super) fn template(&mut self, template: Template) -> u32 {
        self.trace.templates.push(template);
        place(self.trace.templates.len() - 1)
    }

    /// The own key columns of a row as the write-ahead log shows it.
    fn cells_of_log(&mut self, row: &RowSeen) -> Option<(TableId, Cells)> {
        let table = self.schema.find(&row.table)?;
        let mut cells: Cells = vec![None; self.rows.own(table)];
        for (column, value) in &row.columns {
            if let Some(key) = self.schema.table(table).key(column).filter(|key| *key < cells.len()) {
                cells[key] = Some(self.rows.values.id(value.clone()));
            }
        }
        Some((table, cells))
    }

    /// Keeps what a row of the write-ahead log shows.
    pub(super) fn learn_row(&mut self, row: &RowSeen) {
        if let Some((table, cells)) = self.cells_of_log(row) {
            self.rows.learn(table, &cells);
        }
    }

    /// Keeps what a statement says of rows that it names.
    pub(super) fn learn_statement(&mut self, analysis: &Analysis, parameters: &[Option<Value>]) {
        for touch in &analysis.touches {
            let known = |builder: &mut Builder<'s>, cells: &mut Cells, said: &BTreeMap<String, Operand>| {
                for (column, operand) in said {
                    let value = match operand {
                        Operand::Parameter(number) => parameters.get(*number as usize - 1).cloned().flatten(),
                        Operand::Constant(value) => Some(value.clone()),
                    };
                    let key = builder.schema.table(touch.table).key(column).filter(|key| *key < cells.len());
                    if let (Some(value), Some(key)) = (value, key) {
                        cells[key] = Some(builder.rows.values.id(value));
                    }
                }
            };
            let mut cells: Cells = vec![None; self.rows.own(touch.table)];
            known(self, &mut cells, &touch.equal);
            if self.rows.names_one(touch.table, &cells) {
                known(self, &mut cells, &touch.set);
                self.rows.learn(touch.table, &cells);
            }
            for row in &touch.added {
                let mut cells: Cells = vec![None; self.rows.own(touch.table)];
                known(self, &mut cells, row);
                self.rows.learn(touch.table, &cells);
            }
        }
    }

    /// What a transaction wrote, by the write-ahead log.
    pub(super) fn written(&mut self, rows: &[RowSeen]) -> Written {
        let mut written = Written::default();
        for row in rows {
            let Some((table, cells)) = self.cells_of_log(row) else { continue };
            let op = match row.op {
                Change::Insert => Op::Insert,
                Change::Update => Op::Update,
                Change::Delete => Op::Delete,
            };
            let row = self.rows.row(table, &cells);
            written.0.entry((table, op)).or_default().push(row);
        }
        written
    }

    /// Adds a transaction of statements, and of what the write-ahead log shows beyond them.
    pub(super) fn transaction(
        &mut self,
        at: f64,
        kind: Option<&str>,
        statements: &[(&Executable, &[Option<Value>])],
        mut written: Written,
    ) {
        let first = place(self.trace.accesses.len());
        let mut told: BTreeSet<TableId> = BTreeSet::new();
        for (statement, parameters) in statements {
            self.execute(statement, parameters, &mut written, &mut told);
        }
        for ((table, op), rows) in written.0 {
            if !told.contains(&table) {
                let template = self.logged(table, op);
                self.access(template, 0, table, op, Some(rows));
            }
        }
        if self.trace.accesses.len() == first as usize {
            return;
        }
        let name = kind.map_or_else(|| self.name_of(first as usize), str::to_owned);
        let next = place(self.kinds.len());
        let kind = *self.kinds.entry(name.clone()).or_insert(next);
        if kind == next {
            self.trace.kinds.push(name);
        }
        let accesses = first..place(self.trace.accesses.len());
        self.trace.transactions.push(Transaction { at, kind, accesses });
    }

    /// What a transaction is called that nobody gave a name: by what it writes, or else by what it reads.
    fn name_of(&self, first: usize) -> String {
        let mut written: BTreeSet<&str> = BTreeSet::new();
        let mut read: BTreeSet<&str> = BTreeSet::new();
        for access in &self.trace.accesses[first..] {
            let name = self.schema.table(access.table).name.as_str();
            if access.op.writes() {
                written.insert(name)
            } else {
                read.insert(name)
            };
        }
        let (verb, tables) = if written.is_empty() { ("reads", read) } else { ("writes", written) };
        format!("{verb} {}", tables.into_iter().collect::<Vec<_>>().join(", "))
    }

    /// The statement that stands for rows of the write-ahead log.
    fn logged(&mut self, table: TableId, op: Op) -> u32 {
        if let Some(template) = self.logged.get(&(table, op)) {
            return *template;
        }
        let seen = self.schema.table(table);
        let columns: Vec<&String> = match op {
            Op::Insert => seen.keys.iter().filter(|k| k.derived.is_none()).map(|k| &k.name).collect(),
            _ => seen.primary_key.iter().collect(),
        };
        let verb = match op {
            Op::Read => "read",
            Op::Insert => "insert into",
            Op::Update => "update",
            Op::Delete => "delete from",
        };
        let touch = Touch {
            table,
            op,
            equal: columns.into_iter().map(|column| (column.clone(), None)).collect(),
            one_of: BTreeMap::new(),
            range: BTreeMap::new(),
        };
        let name = format!("{verb} {}", seen.name);
        let text = format!("-- the write-ahead log: {name}");
        let template =
            self.template(Template { name, text, touches: vec![touch], joins: Vec::new(), calls: None });
        self.logged.insert((table, op), template);
        template
    }

    /// Adds an access of these rows; of any, if they are not known.
    fn access(&mut self, template: u32, touch: usize, table: TableId, op: Op, rows: Option<Vec<RowId>>) {
        let rows = rows.map(|rows| {
            let begin = place(self.touched.len());
            self.touched.extend(rows);
            begin..place(self.touched.len())
        });
        self.trace.accesses.push(Access { template, touch: place(touch), table, op, rows });
    }

    /// The trace, with what is known of its rows by now.
    pub(super) fn shown(&mut self) -> Trace {
        let mut trace = Trace { values: Values::default(), ..self.trace.clone() };
        for access in &mut trace.accesses {
            let Some(rows) = &access.rows else { continue };
            let begin = place(trace.cells.len());
            for row in &self.touched[rows.start as usize..rows.end as usize] {
                trace.cells.extend(self.rows.values_of(access.table, *row));
            }
            access.rows = Some(begin..place(trace.cells.len()));
        }
        trace.values.clone_from(&self.rows.values);
        trace
    }

    fn execute(
        &mut self,
        statement: &Executable,
        parameters: &[Option<Value>],
        written: &mut Written,
        told: &mut BTreeSet<TableId>,
    ) {
        let touches = &statement.analysis.touches;
        let mut bound = Bound { parameters, unknown: BTreeMap::new() };
        let mut found: Vec<Option<Option<Vec<RowId>>>> = vec![None; touches.len()];
        let mut left: Vec<usize> = (0..touches.len()).collect();
        while !left.is_empty() {
            // What names its rows comes before what is joined to it.
            let known = |touch: usize| -> (bool, bool, bool, std::cmp::Reverse<usize>) {
                let joined = statement.analysis.joins.iter().any(|(a, b)| {
                    (a.0 == touch && found[b.0].is_some()) || (b.0 == touch && found[a.0].is_some())
                });
                let it = &touches[touch];
                let equal = it.equal.keys().map(|column| self.schema.table(it.table).key(column));
                let mut cells: Cells = vec![None; self.rows.own(it.table)];
                let any = ValueId(0);
                equal
                    .flatten()
                    .filter(|key| *key < cells.len())
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|key| cells[key] = Some(any));
                let names_one = self.rows.names_one(it.table, &cells) || !it.added.is_empty();
                (
                    names_one,
                    joined,
                    cells.iter().any(Option::is_some) || !it.one_of.is_empty(),
                    std::cmp::Reverse(touch),
                )
            };
            let (at, _) =
                left.iter().enumerate().max_by_key(|(_, touch)| known(**touch)).expect("something is left");
            let touch = left.swap_remove(at);
            let it = &touches[touch];
            let rows = match it.op == Op::Insert && !it.added.is_empty() {
                true => Some(self.added(it, &mut bound, written)),
                false => self.find(statement, touch, &found, &mut bound),
            };
            found[touch] = Some(rows);
        }
        for (number, (touch, rows)) in touches.iter().zip(found).enumerate() {
            let mut rows = rows.expect("all touches were found");
            if touch.op.writes() {
                told.insert(touch.table);
                // Where the text does not say which rows were written, the log does.
                let named = rows.as_ref().is_some_and(|rows| {
                    touch.op == Op::Insert && !touch.added.is_empty()
                        || rows.iter().all(|row| {
                            let cells = self.rows.cells_of(touch.table, *row).clone();
                            self.is_whole(touch.table, &cells)
                        })
                });
                if !named && let Some(logged) = written.0.get(&(touch.table, touch.op)) {
                    let mut said: Cells = vec![None; self.rows.own(touch.table)];
                    for (column, operand) in &touch.equal {
                        if let Some(key) = self.key(touch, column) {
                            said[key] = Some(self.value(operand, &mut bound));
                        }
                    }
                    logged.iter().for_each(|row| self.rows.say(touch.table, *row, &said));
                    rows = Some(logged.clone());
                }
            }
            self.access(statement.template, number, touch.table, touch.op, rows);
        }
    }

    /// Whether these cells name a row by values that were seen.
    fn is_whole(&self, table: TableId, cells: &Cells) -> bool {
        let seen: Cells =
            cells.iter().map(|cell| cell.filter(|value| self.rows.values.get(*value).is_known())).collect();
        self.rows.names_one(table, &seen)
    }

    /// The rows that a statement adds. What the text does not say of them, such as a number that the server gives, the
    /// write-ahead log does, which has them in the same order.
    fn added(&mut self, touch: &Touched, bound: &mut Bound<'_>, written: &mut Written) -> Vec<RowId> {
        let mut rows = Vec::new();
        for added in &touch.added {
            let mut cells: Cells = vec![None; self.rows.own(touch.table)];
            for (column, operand) in added {
                if let Some(key) = self.key(touch, column) {
                    cells[key] = Some(self.value(operand, bound));
                }
            }
            let mut logged = written.0.get_mut(&(touch.table, Op::Insert));
            if self.is_whole(touch.table, &cells) {
                let row = self.rows.row(touch.table, &cells);
                if let Some(logged) = &mut logged
                    && let Some(at) = logged.iter().position(|other| *other == row)
                {
                    logged.remove(at);
                }
                rows.push(row);
            } else if let Some(logged) = logged.filter(|logged| !logged.is_empty()) {
                let row = logged.remove(0);
                self.rows.say(touch.table, row, &cells);
                rows.push(row);
            } else {
                rows.push(self.rows.row(touch.table, &cells));
            }
        }
        rows
    }

    /// The rows of one touch; `None` if it may be any.
    fn find(
        &mut self,
        statement: &Executable,
        touch: usize,
        found: &[Option<Option<Vec<RowId>>>],
        bound: &mut Bound<'_>,
    ) -> Option<Vec<RowId>> {
        let it = &statement.analysis.touches[touch];
        let own = self.rows.own(it.table);
        let mut partial: Vec<Cells> = vec![vec![None; own]];
        for (column, operand) in &it.equal {
            if let Some(key) = self.key(it, column) {
                let value = self.value(operand, bound);
                partial[0][key] = Some(value);
            }
        }
        for (column, operands) in &it.one_of {
            let Some(key) = self.key(it, column) else { continue };
            if operands.is_empty() {
                continue;
            }
            let mut values = self.listed(operands, bound);
            if values.is_empty() {
                // It is known to be none of any.
                return Some(Vec::new());
            }
            // Of a long list the first ones stand for all.
            values.truncate(COMBINED_MAX / partial.len());
            partial = partial
                .iter()
                .flat_map(|cells| {
                    values.iter().map(|value| {
                        let mut cells = cells.clone();
                        cells[key] = Some(*value);
                        cells
                    })
                })
                .collect();
        }
        self.join(statement, touch, found, &mut partial);
        if partial.iter().all(|cells| cells.iter().all(Option::is_none)) {
            return None;
        }
        let each = (statement.rows / partial.len()).clamp(1, ROWS_MAX);
        let mut rows = Vec::new();
        for cells in partial {
            let count = if self.rows.names_one(it.table, &cells) { 1 } else { each };
            rows.extend((0..count).map(|_| self.rows.row(it.table, &cells)));
        }
        Some(rows)
    }

    /// Gives each partial row what it has in common with the rows that it is joined to.
    fn join(
        &mut self,
        statement: &Executable,
        touch: usize,
        found: &[Option<Option<Vec<RowId>>>],
        partial: &mut Vec<Cells>,
    ) {
        let it = &statement.analysis.touches[touch];
        let mut by_other: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (a, b) in &statement.analysis.joins {
            for (own, other) in [(a, b), (b, a)] {
                let theirs = &statement.analysis.touches[other.0];
                if own.0 == touch
                    && other.0 != touch
                    && let (Some(own), Some(key)) = (self.key(it, &own.1), self.key(theirs, &other.1))
                {
                    by_other.entry(other.0).or_default().push((own, key));
                }
            }
        }
        for (other, columns) in by_other {
            let table = statement.analysis.touches[other].table;
            let Some(Some(Some(rows))) = found.get(other) else { continue };
            if rows.is_empty() || rows.len() > ROWS_MAX || (rows.len() > 1 && partial.len() > 1) {
                continue;
            }
            let base = partial.clone();
            partial.clear();
            for row in rows {
                for cells in &base {
                    let mut cells = cells.clone();
                    for (own, key) in &columns {
                        if cells[*own].is_none() {
                            cells[*own] = Some(self.rows.cell(table, *row, *key));
                        }
                    }
                    if !partial.contains(&cells) {
                        partial.push(cells);
                    }
                }
            }
        }
    }

    /// The place of an own key column.
    fn key(&self, touch: &Touched, column: &str) -> Option<usize> {
        self.schema.table(touch.table).key(column).filter(|key| *key < self.rows.own(touch.table))
    }

    fn value(&mut self, operand: &Operand, bound: &mut Bound<'_>) -> ValueId {
        match operand {
            Operand::Constant(value) => self.rows.values.id(value.clone()),
            Operand::Parameter(number) => {
                if let Some(Some(value)) = bound.parameters.get(*number as usize - 1) {
                    return self.rows.values.id(value.clone());
                }
                let rows = &mut self.rows;
                *bound.unknown.entry(*number).or_insert_with(|| rows.unknown())
            }
        }
    }

    /// The values of a list, of which some may be arrays.
    fn listed(&mut self, operands: &[Operand], bound: &mut Bound<'_>) -> Vec<ValueId> {
        let mut values = Vec::new();
        for operand in operands {
            let said = match operand {
                Operand::Parameter(number) => bound.parameters.get(*number as usize - 1).cloned().flatten(),
                Operand::Constant(value) => Some(value.clone()),
            };
            match said.as_ref().and_then(Value::elements) {
                // Nothing equals what is absent.
                Some(elements) => values.extend(
                    elements
                        .into_iter()
                        .filter(|element| *element != Value::Null)
                        .map(|element| self.rows.values.id(element)),
                ),
                None => values.push(self.value(operand, bound)),
            }
        }
        values.sort_unstable();
        values.dedup();
        values
    }
}

fn place(n: usize) -> u32 {
    u32::try_from(n).expect("evidence is bounded to fewer than 2^32 rows")
}
