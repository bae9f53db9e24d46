//! What is not known of rows, and what that does to a forecast.
//!
//! A row whose key nobody saw has a value of its own that meets no other, so a transaction seems to cross that may well
//! not. How likely it does is guessed from what the same statements found where the keys of their rows are known: whether
//! those were where the transaction was already.

use std::collections::{BTreeSet, HashMap};

use crate::confidence::Optimism;
use crate::design::{Design, Placed, Places};
use crate::measure::reaches;
use crate::schema::Schema;
use crate::trace::{Trace, Transaction};
use crate::value::ValueId;

/// With fewer cases that tell, nothing is guessed.
const CASES_MIN: u64 = 20;

/// A statement's own share counts as much as that of all statements when it has so many cases.
const OWN_MIN: f64 = 3.0;

/// How often rows were where their transaction was already.
#[derive(Clone, Copy, Default)]
struct Cases {
    all: u64,
    together: u64,
}

/// Of transactions, how many cross under a design, as far as the keys of their rows are known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Crossing {
    /// How many transactions.
    pub transactions: u64,
    /// How many cross, whatever the keys are that nobody saw.
    pub surely: u64,
    /// How many others have rows of which it is not known where they are: they may cross or not.
    pub open: u64,
    /// How many of the open ones are to be expected to cross; `None` if too few cases tell.
    pub of_open: Option<f64>,
}

impl Crossing {
    /// The share that crosses, as is to be expected; what nothing tells of is taken not to cross.
    pub fn expected(&self) -> f64 {
        (self.surely as f64 + self.of_open.unwrap_or(0.0)) / self.transactions.max(1) as f64
    }

    /// The share that crosses at least.
    pub fn least(&self) -> f64 {
        crate::measure::share(self.surely, self.transactions)
    }

    /// The share that crosses at most.
    pub fn most(&self) -> f64 {
        crate::measure::share(self.surely + self.open, self.transactions)
    }
}

/// What is known of the transactions of each kind under `design`, by the place of the kind; `None` if every key is known.
pub fn crossings(schema: &Schema, trace: &Trace, design: &Design) -> Option<Vec<Crossing>> {
    Some(judged(schema, trace, design)?.kinds)
}

/// How far what `design` costs on this evidence is off because keys of some rows are not known.
pub fn unknown_rows(schema: &Schema, trace: &Trace, design: &Design) -> Optimism {
    judged(schema, trace, design).map_or_else(Optimism::default, |judged| judged.off)
}

/// What a design does to transactions of which not everything is known.
struct Judged {
    /// By kind.
    kinds: Vec<Crossing>,
    /// How far the cost is off if unknown keys are taken for keys that are apart.
    off: Optimism,
}

fn judged(schema: &Schema, trace: &Trace, design: &Design) -> Option<Judged> {
    let unknown: Vec<bool> = trace.values.ids().map(|id| !trace.values.get(id).is_known()).collect();
    if !unknown.contains(&true) {
        return None;
    }
    let (placed, reaches) = (Placed::new(design, schema).ok()?, reaches(schema, trace, design).ok()?);
    let columns = schema.ids().map(|id| {
        let keys = placed.columns(id).filter_map(|name| schema.table(id).key(name));
        keys.collect::<Vec<_>>()
    });
    let mut rows = Rows {
        schema,
        trace,
        placed: &placed,
        columns: columns.collect(),
        unknown,
        places: Places::default(),
    };
    let mut kinds = vec![Crossing::default(); trace.kinds.len()];
    let mut own: HashMap<(u32, u32), Cases> = HashMap::new();
    let mut every = Cases::default();
    let mut open = Vec::new();
    for (transaction, reach) in trace.transactions.iter().zip(reaches) {
        let found = rows.found(transaction);
        for (statement, is_together) in &found.cases {
            for cases in [own.entry(*statement).or_default(), &mut every] {
                cases.all += 1;
                cases.together += u64::from(*is_together);
            }
        }
        let kind = &mut kinds[transaction.kind as usize];
        kind.transactions += 1;
        kind.surely += u64::from(found.crosses);
        // What crosses because of what is known crosses, whatever else it does.
        if !found.crosses && !found.open.is_empty() {
            kind.open += 1;
            open.push((transaction.kind, reach, found.open));
        }
    }
    let n = trace.transactions.len() as f64;
    let mut off = Optimism::default();
    if every.all < CASES_MIN {
        off.open = open.iter().filter(|(_, reach, _)| reach.crosses).count() as f64 / n;
        return Some(Judged { kinds, off });
    }
    let usual = every.together as f64 / every.all as f64;
    for kind in kinds.iter_mut() {
        kind.of_open = Some(0.0);
    }
    for (kind, reach, statements) in open {
        let together: f64 = statements
            .iter()
            .map(|statement| {
                let own = own.get(statement).copied().unwrap_or_default();
                (own.together as f64 + OWN_MIN * usual) / (own.all as f64 + OWN_MIN)
            })
            .product();
        *kinds[kind as usize].of_open.get_or_insert(0.0) += 1.0 - together;
        // Keys of which nothing is known are apart, but a few meet by the chance of their hashes.
        if reach.crosses {
            off.cross -= together / n;
            off.participants -= together * f64::from(reach.partitions - 1) / n;
        } else {
            off.cross += (1.0 - together) / n;
            off.participants += (1.0 - together) / n;
        }
        if reach.writes_cross {
            off.cross_writing -= together / n;
        }
    }
    Some(Judged { kinds, off })
}

/// The rows of transactions, and which of them have a place.
struct Rows<'a> {
    schema: &'a Schema,
    trace: &'a Trace,
    placed: &'a Placed<'a>,
    /// Of each table, the key columns that place it.
    columns: Vec<Vec<usize>>,
    unknown: Vec<bool>,
    places: Places,
}

/// What one transaction found.
#[derive(Default)]
struct Found {
    /// It crosses whatever is not known.
    crosses: bool,
    /// Of statements with rows that are known: whether all of those are where the first of the transaction is.
    cases: Vec<((u32, u32), bool)>,
    /// Statements with rows of which it is not known where they are.
    open: Vec<(u32, u32)>,
}

impl Rows<'_> {
    fn found(&mut self, transaction: &Transaction) -> Found {
        let mut found = Found::default();
        let mut first = None;
        // The first statement of all whose rows are not known may be where the transaction begins.
        let mut begins = None;
        for access in self.trace.accesses_of(transaction) {
            let (table, statement) = (access.table, (access.template, access.touch));
            if self.placed.is_everywhere(table) {
                found.crosses |= access.op.writes();
                continue;
            }
            let Some(rows) = self.trace.rows_of(access, self.schema.table(table).keys.len()) else {
                found.crosses |= self.placed.is_spread(table);
                continue;
            };
            let mut unknown: BTreeSet<ValueId> = BTreeSet::new();
            let (mut known, mut is_first, mut is_together) = (0, false, true);
            for row in rows {
                let missing = self.columns[table.0].iter().map(|key| row[*key]);
                if let Some(value) = missing.into_iter().find(|value| self.unknown[value.0 as usize]) {
                    unknown.insert(value);
                    continue;
                }
                let place = self.placed.place(table, row, &self.trace.values, &mut self.places);
                known += 1;
                is_first |= first.is_none();
                is_together &= *first.get_or_insert(place) == place;
            }
            found.crosses |= !is_together;
            // A row alone is where itself is.
            if known > usize::from(is_first) {
                found.cases.push((statement, is_together));
            }
            if !unknown.is_empty() {
                if unknown.len() == 1 && found.open.is_empty() && begins.is_none() {
                    begins = Some(statement);
                } else {
                    found.open.push(statement);
                }
            }
        }
        // Where some row is known, that one says where the transaction is.
        if first.is_some() {
            found.open.extend(begins);
        }
        found
    }
}
