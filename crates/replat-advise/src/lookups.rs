//! Statements whose partition does not follow from their own parameters, and what would make it follow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::design::{Cut, Design, Lookup, Placed, Placement};
use crate::measure::is_routable;
use crate::schema::{Schema, TableId};
use crate::trace::{Touch, Trace, Transaction};
use crate::value::ValueId;

/// A key that is looked up has to be the only one for what is known, in this share of the rows.
const UNIQUE_MIN: f64 = 0.99;

/// Statements of one form that cannot be routed by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unrouted {
    /// The statement's name or text.
    pub statement: String,
    /// The table whose rows it wants.
    pub table: String,
    /// The columns that it would have to know.
    pub needs: Vec<String>,
    /// The share of all statements (of tables that are not everywhere) that it stands for.
    pub share: f64,
    /// What helps.
    pub remedy: Remedy,
}

/// What makes a statement find its partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "remedy", rename_all = "snake_case")]
pub enum Remedy {
    /// An index, kept beside the partitions, from what the statement knows to the key. It is in [`Design::lookups`].
    Lookup {
        /// The columns.
        index: Lookup,
        /// How many entries it has, if the table's size is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entries: Option<u64>,
    },
    /// The application knows the key when it runs this: another statement of the same transaction has it. It can say so,
    /// by a condition or by a hint.
    Hint {
        /// In what share of the transactions that was so.
        known_percent: u8,
    },
    /// It knows a part of the key, or bounds of it where keys are in ranges: it asks the partitions of that part, which
    /// are several only for keys that are spread, or for what reaches over a bound.
    AskSome,
    /// It asks all partitions.
    AskAll,
}

/// What each statement that cannot be routed needs, the most frequent first. Lookups that help are put into `design`.
pub fn unrouted(schema: &Schema, trace: &Trace, design: &mut Design) -> Vec<Unrouted> {
    let mut runs: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut all = 0_u64;
    {
        let Ok(placed) = Placed::new(design, schema) else { return Vec::new() };
        for access in trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction)) {
            if !placed.is_everywhere(access.table) {
                all += 1;
                *runs.entry((access.template, access.touch)).or_default() += 1;
            }
        }
    }
    let mut order: Vec<((u32, u32), u64)> = runs.into_iter().collect();
    order.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    let mut found = Vec::new();
    for ((template, touch), count) in order {
        let seen = &trace.templates[template as usize];
        let touched = &seen.touches[touch as usize];
        let table = touched.table;
        let before = design.lookups.len();
        let (needs, remedy) = {
            let Ok(placed) = Placed::new(design, schema) else { break };
            // Once without any lookup: what an index was added for by another statement is still needed by this one.
            let plain = Design { lookups: Vec::new(), ..design.clone() };
            if is_routable(schema, &plain, &placed, seen, touch as usize) {
                continue;
            }
            let needs: BTreeSet<String> = placed.columns(table).map(str::to_owned).collect();
            let needs: Vec<String> = needs.into_iter().collect();
            let known: Vec<String> = touched.equal.keys().chain(touched.one_of.keys()).cloned().collect();
            let index = index(schema, trace, table, &known, &needs)
                .or_else(|| by_join(schema, trace, seen, touch as usize, &needs));
            let remedy = match index {
                Some(index) => {
                    let entries = schema.find(&index.table).and_then(|table| schema.table(table).rows);
                    Remedy::Lookup { index, entries }
                }
                None => match known_before(schema, trace, template, touch, &needs) {
                    percent if percent >= 90 => Remedy::Hint { known_percent: percent },
                    _ if known.iter().any(|column| needs.contains(column)) => Remedy::AskSome,
                    _ if is_in_ranges(schema, design, table, touched) => Remedy::AskSome,
                    _ => Remedy::AskAll,
                },
            };
            (needs, remedy)
        };
        if let Remedy::Lookup { index, .. } = &remedy
            && !design.lookups.contains(index)
        {
            design.lookups.push(index.clone());
            let helps = Placed::new(design, schema)
                .is_ok_and(|placed| is_routable(schema, design, &placed, seen, touch as usize));
            if !helps {
                design.lookups.truncate(before);
            }
        }
        found.push(Unrouted {
            statement: if seen.name.is_empty() { seen.text.clone() } else { seen.name.clone() },
            table: schema.table(table).name.clone(),
            needs,
            share: crate::measure::share(count, all),
            remedy,
        });
    }
    found
}

/// Whether a statement bounds the column by whose ranges the table's rows are placed.
fn is_in_ranges(schema: &Schema, design: &Design, table: TableId, touched: &Touch) -> bool {
    match design.tables.get(&schema.table(table).name) {
        Some(Placement::Partition { levels }) => levels.first().is_some_and(
            |level| matches!(&level.cut, Cut::Range { col, .. } if touched.range.contains_key(col)),
        ),
        _ => false,
    }
}

/// The fewest of the `known` columns from which the `needed` ones can be looked up in a table, by the rows that were seen.
fn index(
    schema: &Schema,
    trace: &Trace,
    table: TableId,
    known: &[String],
    needed: &[String],
) -> Option<Lookup> {
    let described = schema.table(table);
    let to: Vec<usize> = needed.iter().map(|column| described.key(column)).collect::<Option<_>>()?;
    let from: Vec<usize> =
        known.iter().filter(|column| !needed.contains(*column)).filter_map(|c| described.key(c)).collect();
    let mut tries: Vec<Vec<usize>> = from.iter().map(|column| vec![*column]).collect();
    // The primary key's own columns first: their index is there already in every database.
    tries.sort_by_key(|columns| {
        let name = &described.keys[columns[0]].name;
        (!described.primary_key.contains(name), name.clone())
    });
    if from.len() > 1 {
        tries.push(from);
    }
    let name = |key: &usize| described.keys[*key].name.clone();
    tries.into_iter().find(|from| is_unique(schema, trace, table, from, &to)).map(|from| Lookup {
        table: described.name.clone(),
        from: from.iter().map(name).collect(),
        to: needed.to_vec(),
    })
}

/// A lookup in another table of the same statement, from where a join leads on.
fn by_join(
    schema: &Schema,
    trace: &Trace,
    template: &crate::trace::Template,
    touch: usize,
    needed: &[String],
) -> Option<Lookup> {
    let table = template.touches[touch].table;
    let [needed] = needed else { return None };
    for (a, b) in template.joins.iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
        if a.table != table || a.name != *needed {
            continue;
        }
        for other in template.touches.iter().filter(|other| other.table == b.table) {
            let known: Vec<String> = other.equal.keys().chain(other.one_of.keys()).cloned().collect();
            let found = index(schema, trace, other.table, &known, std::slice::from_ref(&b.name));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// Whether rows that are equal in `from` are equal in `to`.
fn is_unique(schema: &Schema, trace: &Trace, table: TableId, from: &[usize], to: &[usize]) -> bool {
    let width = schema.table(table).keys.len();
    let mut known: HashMap<Vec<ValueId>, Vec<ValueId>> = HashMap::new();
    let (mut rows, mut other) = (0_u64, 0_u64);
    let accesses = trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction));
    for access in accesses.filter(|access| access.table == table) {
        for row in trace.rows_of(access, width).into_iter().flatten() {
            let pick = |keys: &[usize]| keys.iter().map(|key| row[*key]).collect::<Vec<_>>();
            let (key, found) = (pick(from), pick(to));
            rows += 1;
            other += u64::from(*known.entry(key).or_insert_with(|| found.clone()) != found);
        }
    }
    rows > 0 && other as f64 <= (1.0 - UNIQUE_MIN) * rows as f64
}

/// In how many of 100 runs another statement before it, in the same transaction, had touched rows with the same keys.
fn known_before(schema: &Schema, trace: &Trace, template: u32, touch: u32, needed: &[String]) -> u8 {
    let (mut runs, mut known) = (0_u64, 0_u64);
    for transaction in &trace.transactions {
        let Some(place) = place_of(trace, transaction, template, touch) else { continue };
        let accesses = trace.accesses_of(transaction);
        let wanted = &accesses[place];
        let described = schema.table(wanted.table);
        let Some(keys) = needed.iter().map(|column| described.key(column)).collect::<Option<Vec<_>>>() else {
            return 0;
        };
        runs += 1;
        let Some(rows) = trace.rows_of(wanted, described.keys.len()) else { continue };
        let before: BTreeSet<ValueId> = accesses[..place]
            .iter()
            .filter_map(|access| trace.rows_of(access, schema.table(access.table).keys.len()))
            .flatten()
            .flatten()
            .copied()
            .collect();
        let mut rows = rows.peekable();
        known += u64::from(
            rows.peek().is_some() && rows.all(|row| keys.iter().all(|key| before.contains(&row[*key]))),
        );
    }
    // The quotient is at most 100.
    u8::try_from(known * 100 / runs.max(1)).unwrap_or(100)
}

fn place_of(trace: &Trace, transaction: &Transaction, template: u32, touch: u32) -> Option<usize> {
    let accesses = trace.accesses_of(transaction);
    accesses.iter().position(|access| access.template == template && access.touch == touch)
}
