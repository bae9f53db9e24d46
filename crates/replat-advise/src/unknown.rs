//! What is not known of rows, and what that does to a forecast.
//!
//! A row whose key nobody saw has a value of its own that meets no other, so a transaction seems to cross that may well
//! not. What becomes of such transactions is guessed from those of their kind of which everything is known.

use crate::confidence::Optimism;
use crate::design::{Design, Placed};
use crate::measure::reaches;
use crate::schema::Schema;
use crate::trace::{Access, Trace};
use crate::value::ValueId;

/// With fewer transactions of which all is known, nothing is guessed.
const KNOWN_MIN: u64 = 20;

/// A kind's own share counts as much as that of all kinds when so many of it are known.
const KIND_MIN: f64 = 3.0;

/// What was seen of transactions of which everything is known.
#[derive(Clone, Copy, Default)]
struct Seen {
    transactions: u64,
    crossing: u64,
}

/// How far what `design` costs on this evidence is off because keys of some rows are not known.
pub fn unknown_rows(schema: &Schema, trace: &Trace, design: &Design) -> Optimism {
    let unknown: Vec<bool> = trace.values.ids().map(|id| !trace.values.get(id).is_known()).collect();
    if !unknown.contains(&true) {
        return Optimism::default();
    }
    let Some((known, is_whole)) = known_rows(schema, trace, design, &unknown) else {
        return Optimism::default();
    };
    let (Ok(all), Ok(known)) = (reaches(schema, trace, design), reaches(schema, &known, design)) else {
        return Optimism::default();
    };
    let mut kinds = vec![Seen::default(); trace.kinds.len()];
    let mut every = Seen::default();
    for ((transaction, reach), _) in
        trace.transactions.iter().zip(&all).zip(&is_whole).filter(|(_, is_whole)| **is_whole)
    {
        for seen in [&mut kinds[transaction.kind as usize], &mut every] {
            seen.transactions += 1;
            seen.crossing += u64::from(reach.crosses);
        }
    }
    if every.transactions < KNOWN_MIN {
        return Optimism::default();
    }
    let usual = every.crossing as f64 / every.transactions as f64;
    let n = trace.transactions.len() as f64;
    let mut off = Optimism::default();
    for (transaction, (reach, known)) in trace.transactions.iter().zip(all.iter().zip(&known)) {
        // Only what crosses because of what is not known may not cross.
        if !reach.crosses || known.crosses {
            continue;
        }
        let kind = kinds[transaction.kind as usize];
        let crosses =
            (kind.crossing as f64 + KIND_MIN * usual) / (kind.transactions as f64 + KIND_MIN);
        off.cross -= (1.0 - crosses) / n;
        off.participants -= (1.0 - crosses) * f64::from(reach.partitions - 1) / n;
        if reach.writes_cross {
            off.cross_writing -= (1.0 - crosses) / n;
        }
    }
    off
}

/// The same transactions without rows whose place is not known, and of each whether it is whole; `None` if the design is
/// none for this schema.
fn known_rows(
    schema: &Schema,
    trace: &Trace,
    design: &Design,
    unknown: &[bool],
) -> Option<(Trace, Vec<bool>)> {
    let placed = Placed::new(design, schema).ok()?;
    let columns: Vec<Vec<usize>> = schema
        .ids()
        .map(|id| placed.columns(id).filter_map(|name| schema.table(id).key(name)).collect())
        .collect();
    let mut known = Trace {
        templates: trace.templates.clone(),
        kinds: trace.kinds.clone(),
        values: trace.values.clone(),
        ..Trace::default()
    };
    let small = |n: usize| u32::try_from(n).expect("evidence is bounded to fewer than 2^32 rows");
    let mut is_whole = Vec::new();
    for transaction in &trace.transactions {
        let (first, mut whole) = (small(known.accesses.len()), true);
        for access in trace.accesses_of(transaction) {
            let table = access.table;
            let begin = small(known.cells.len());
            let is_known =
                |row: &&[ValueId]| !columns[table.0].iter().any(|key| unknown[row[*key].0 as usize]);
            let rows = trace.rows_of(access, schema.table(table).keys.len()).map(|rows| {
                let all = rows.len();
                let mut kept = 0;
                for row in rows.filter(is_known) {
                    known.cells.extend_from_slice(row);
                    kept += 1;
                }
                whole &= kept == all;
                begin..small(known.cells.len())
            });
            known.accesses.push(Access { rows, ..access.clone() });
        }
        is_whole.push(whole);
        let accesses = first..small(known.accesses.len());
        known.transactions.push(crate::trace::Transaction { accesses, ..transaction.clone() });
    }
    Some((known, is_whole))
}
