//! Statements whose partition does not follow from their own parameters, and what would make it follow.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::design::{Cut, Design, Lookup, Placed, Placement};
use crate::measure::is_routable;
use crate::schema::{Schema, TableId};
use crate::trace::{Spot, Template, Touch, Trace};
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
    // Without any lookup: what an index was added for by another statement is still needed by this one. Where rows are
    // is the same with lookups.
    let plain = Design { lookups: Vec::new(), ..design.clone() };
    let Ok(placed) = Placed::new(&plain, schema) else { return Vec::new() };
    let spots = trace.by_table(schema.tables.len());
    let seen = Seen { schema, trace, spots: &spots };
    let mut runs: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    let mut all = 0_u64;
    for access in trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction)) {
        if !placed.is_everywhere(access.table) {
            all += 1;
            *runs.entry((access.template, access.touch)).or_default() += 1;
        }
    }
    let mut order: Vec<((u32, u32), u64)> = runs.into_iter().collect();
    order.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    let mut found = Vec::new();
    for ((template, touch), count) in order {
        let statement = &trace.templates[template as usize];
        let touched = &statement.touches[touch as usize];
        let table = touched.table;
        let before = design.lookups.len();
        if is_routable(schema, &plain, &placed, statement, touch as usize) {
            continue;
        }
        let needs: BTreeSet<String> = placed.columns(table).map(str::to_owned).collect();
        let needs: Vec<String> = needs.into_iter().collect();
        let known: Vec<String> = touched.equal.keys().chain(touched.one_of.keys()).cloned().collect();
        let index = seen
            .index(table, &known, &needs)
            .or_else(|| seen.index_by_join(statement, touch as usize, &needs));
        let remedy = match index {
            Some(index) => {
                let entries = schema.find(&index.table).and_then(|table| schema.table(table).rows);
                Remedy::Lookup { index, entries }
            }
            None => match seen.known_before((template, touch), table, &needs) {
                percent if percent >= 90 => Remedy::Hint { known_percent: percent },
                _ if known.iter().any(|column| needs.contains(column)) => Remedy::AskSome,
                _ if is_in_ranges(schema, design, table, touched) => Remedy::AskSome,
                _ => Remedy::AskAll,
            },
        };
        if let Remedy::Lookup { index, .. } = &remedy
            && !design.lookups.contains(index)
        {
            design.lookups.push(index.clone());
            if !is_routable(schema, design, &placed, statement, touch as usize) {
                design.lookups.truncate(before);
            }
        }
        found.push(Unrouted {
            statement: statement.called().to_owned(),
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

/// What the evidence shows of rows, table by table.
struct Seen<'a> {
    schema: &'a Schema,
    trace: &'a Trace,
    /// The accesses of each table.
    spots: &'a [Vec<Spot>],
}

impl Seen<'_> {
    /// The fewest of the `known` columns from which the `needed` ones can be looked up in a table, by the rows that were seen.
    fn index(&self, table: TableId, known: &[String], needed: &[String]) -> Option<Lookup> {
        let described = self.schema.table(table);
        let to: Vec<usize> = needed.iter().map(|column| described.key(column)).collect::<Option<_>>()?;
        let from: Vec<usize> = known
            .iter()
            .filter(|column| !needed.contains(*column))
            .filter_map(|c| described.key(c))
            .collect();
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
        tries.into_iter().find(|from| self.is_unique(table, from, &to)).map(|from| Lookup {
            table: described.name.clone(),
            from: from.iter().map(name).collect(),
            to: needed.to_vec(),
        })
    }

    /// A lookup in another table of the same statement, from where a join leads on.
    fn index_by_join(&self, template: &Template, touch: usize, needed: &[String]) -> Option<Lookup> {
        let table = template.touches[touch].table;
        let [needed] = needed else { return None };
        for (a, b) in template.joins.iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
            if a.table != table || a.name != *needed {
                continue;
            }
            for other in template.touches.iter().filter(|other| other.table == b.table) {
                let known: Vec<String> = other.equal.keys().chain(other.one_of.keys()).cloned().collect();
                let found = self.index(other.table, &known, std::slice::from_ref(&b.name));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Whether rows that are equal in `from` are equal in `to`.
    fn is_unique(&self, table: TableId, from: &[usize], to: &[usize]) -> bool {
        let width = self.schema.table(table).keys.len();
        let mut known: HashMap<Vec<ValueId>, Vec<ValueId>> = HashMap::new();
        let (mut rows, mut other) = (0_u64, 0_u64);
        for spot in &self.spots[table.0] {
            let access = &self.trace.accesses[spot.access as usize];
            for row in self.trace.rows_of(access, width).into_iter().flatten() {
                let pick = |keys: &[usize]| keys.iter().map(|key| row[*key]).collect::<Vec<_>>();
                let (key, found) = (pick(from), pick(to));
                rows += 1;
                other += u64::from(*known.entry(key).or_insert_with(|| found.clone()) != found);
            }
        }
        rows > 0 && other as f64 <= (1.0 - UNIQUE_MIN) * rows as f64
    }

    /// In how many of 100 runs of a statement another one before it, in the same transaction, had touched rows with the
    /// same keys. Of several runs in one transaction the first counts.
    fn known_before(&self, statement: (u32, u32), table: TableId, needed: &[String]) -> u8 {
        let (schema, trace) = (self.schema, self.trace);
        let described = schema.table(table);
        let Some(keys) = needed.iter().map(|column| described.key(column)).collect::<Option<Vec<_>>>() else {
            return 0;
        };
        let (mut runs, mut known) = (0_u64, 0_u64);
        let mut last = None;
        for spot in &self.spots[table.0] {
            let wanted = &trace.accesses[spot.access as usize];
            if (wanted.template, wanted.touch) != statement
                || last.replace(spot.transaction) == Some(spot.transaction)
            {
                continue;
            }
            runs += 1;
            let Some(rows) = trace.rows_of(wanted, described.keys.len()) else { continue };
            let first = trace.transactions[spot.transaction as usize].accesses.start;
            let before: BTreeSet<ValueId> = trace.accesses[first as usize..spot.access as usize]
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
}
