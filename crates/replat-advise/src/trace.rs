//! What a system was seen doing: statements with the tables that they touch, and transactions with the rows.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::schema::TableId;
use crate::value::{ByNumber, ValueId, Values};

/// What a statement does to the rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// It reads them.
    Read,
    /// It adds them.
    Insert,
    /// It changes them.
    Update,
    /// It removes them.
    Delete,
}

impl Op {
    /// Whether rows are other ones afterwards.
    pub fn writes(self) -> bool {
        self != Op::Read
    }
}

/// A statement without its values.
#[derive(Clone, Debug)]
pub struct Template {
    /// A name for people.
    pub name: String,
    /// Its text, with `$1`, `$2` for the values.
    pub text: String,
    /// The tables that it touches.
    pub touches: Vec<Touch>,
    /// Columns that it says are equal.
    pub joins: Vec<(Column, Column)>,
    /// How often the server counted it, if it did; it may be seen in fewer transactions, or in none.
    pub calls: Option<u64>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Column {
    /// Which table.
    pub table: TableId,
    /// The column's name.
    pub name: String,
}

/// What a statement does with one table.
#[derive(Clone, Debug)]
pub struct Touch {
    /// The table.
    pub table: TableId,
    /// What happens to its rows.
    pub op: Op,
    /// Columns that are bound to one value, and the number of the parameter, from 1; `None` for a constant.
    pub equal: BTreeMap<String, Option<u32>>,
    /// Columns that are bound to one of several values.
    pub one_of: BTreeMap<String, Vec<u32>>,
    /// Columns that are bound to a range.
    pub range: BTreeMap<String, [Option<u32>; 2]>,
}

impl Template {
    /// What it is called: its name, unless that is only a number that some server gave it, or a place in a file; else its
    /// text.
    pub fn called(&self) -> &str {
        let is_number = self.name.chars().all(|c| c.is_ascii_digit() || c == '-' || c.is_whitespace());
        let is_place = is_number || self.name.starts_with("line ");
        if is_place && !self.text.trim().is_empty() { &self.text } else { &self.name }
    }

    /// The same on one short line, for pictures.
    pub fn short(&self) -> String {
        const LENGTH: usize = 60;
        let name = self.called().split_whitespace().collect::<Vec<_>>().join(" ");
        match name.char_indices().nth(LENGTH) {
            Some((end, _)) => format!("{}…", &name[..end]),
            None => name,
        }
    }
}

/// One touch of one table by one statement of one transaction.
#[derive(Clone, Debug)]
pub struct Access {
    /// The statement.
    pub template: u32,
    /// Its touch of this table, by its place.
    pub touch: u32,
    /// The table.
    pub table: TableId,
    /// What happens to its rows.
    pub op: Op,
    /// Its rows, by their cells; `None` if nothing says which: then it may be any.
    pub rows: Option<Range<u32>>,
}

/// A transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// When. Unit: seconds from any beginning.
    pub at: f64,
    /// Its kind, by its place in [`Trace::kinds`].
    pub kind: u32,
    /// Its accesses, by their places.
    pub accesses: Range<u32>,
}

/// Where an access is: its transaction and itself, by their places in the [`Trace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The transaction.
    pub transaction: u32,
    /// The access.
    pub access: u32,
}

/// Transactions, with the rows that they touched.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The statements.
    pub templates: Vec<Template>,
    /// The names of the kinds of transaction.
    pub kinds: Vec<String>,
    /// The transactions, in the order of their time.
    pub transactions: Vec<Transaction>,
    /// What they touched.
    pub accesses: Vec<Access>,
    /// The rows: for each as many values as its table has key columns.
    pub cells: Vec<ValueId>,
    /// The values.
    pub values: Values,
}

impl Trace {
    /// The accesses of a transaction.
    pub fn accesses_of(&self, transaction: &Transaction) -> &[Access] {
        &self.accesses[transaction.accesses.start as usize..transaction.accesses.end as usize]
    }

    /// The accesses of each of so many tables, in the order of time: for whoever asks about one table after another.
    pub fn by_table(&self, tables: usize) -> Vec<Vec<Spot>> {
        let mut spots = vec![Vec::new(); tables];
        for (number, transaction) in (0..).zip(&self.transactions) {
            for (access, seen) in transaction.accesses.clone().zip(self.accesses_of(transaction)) {
                spots[seen.table.0].push(Spot { transaction: number, access });
            }
        }
        spots
    }

    /// The rows of an access, each as the values of its table's `width` key columns; `None` if it is not known which.
    pub fn rows_of(
        &self,
        access: &Access,
        width: usize,
    ) -> Option<impl ExactSizeIterator<Item = &[ValueId]>> {
        let range = access.rows.clone()?;
        Some(self.cells[range.start as usize..range.end as usize].chunks_exact(width.max(1)))
    }
}

impl Trace {
    /// The same transactions, without what they do with some tables.
    pub fn without(&self, tables: &[TableId]) -> Trace {
        let mut rest = Trace {
            templates: self.templates.clone(),
            kinds: self.kinds.clone(),
            cells: self.cells.clone(),
            values: self.values.clone(),
            ..Trace::default()
        };
        let place = |at: usize| u32::try_from(at).expect("no more accesses than there were");
        for transaction in &self.transactions {
            let first = place(rest.accesses.len());
            let kept = self.accesses_of(transaction).iter().filter(|access| !tables.contains(&access.table));
            rest.accesses.extend(kept.cloned());
            rest.transactions
                .push(Transaction { accesses: first..place(rest.accesses.len()), ..transaction.clone() });
        }
        rest
    }

    /// Some of the transactions, by their places, with what they need and nothing else. One may be named several times.
    pub fn chosen(&self, places: impl IntoIterator<Item = usize>) -> Trace {
        let mut chosen =
            Trace { templates: self.templates.clone(), kinds: self.kinds.clone(), ..Trace::default() };
        let small = |n: usize| u32::try_from(n).expect("evidence is bounded to fewer than 2^32 rows");
        let mut known: HashMap<ValueId, ValueId, ByNumber> = HashMap::default();
        for place in places {
            let transaction = &self.transactions[place];
            let first = small(chosen.accesses.len());
            for access in self.accesses_of(transaction) {
                let rows = access.rows.as_ref().map(|rows| {
                    let begin = small(chosen.cells.len());
                    for cell in &self.cells[rows.start as usize..rows.end as usize] {
                        let value = *known
                            .entry(*cell)
                            .or_insert_with(|| chosen.values.id(self.values.get(*cell).clone()));
                        chosen.cells.push(value);
                    }
                    begin..small(chosen.cells.len())
                });
                chosen.accesses.push(Access { rows, ..access.clone() });
            }
            chosen.transactions.push(Transaction {
                at: transaction.at,
                kind: transaction.kind,
                accesses: first..small(chosen.accesses.len()),
            });
        }
        chosen
    }
}
