//! From one design to another: which rows move from where to where, and what that costs.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::design::{BadDesign, Design, Level, Placed, Placement, Places};
use crate::schema::{Derived, Schema, TableId};
use crate::trace::{Access, Trace};
use crate::value::{Value, ValueId};

/// So many keys are listed for a step; where there are more, their number has to do, and the design says which.
const LISTED_MAX: usize = 1000;

/// What moving is reckoned to cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// What it costs to read and write a row in bulk, by what a transaction pays for a row.
    pub bulk_row: f64,
    /// How long writers wait when a partition is switched. Unit: seconds.
    pub pause: f64,
    /// How many transactions one of the trace stands for: 100 if one in a hundred was sampled.
    pub stands_for: f64,
}

impl Default for Prices {
    /// A row that is copied costs a twentieth of one that a transaction handles, for it is parsed, planned and sent in
    /// company; a switch takes half a second.
    fn default() -> Prices {
        Prices { bulk_row: 0.05, pause: 0.5, stands_for: 1.0 }
    }
}

/// What a move costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Rows that are somewhere else afterwards.
    pub rows: f64,
    /// Their size. Unit: bytes.
    pub bytes: f64,
    /// How long writers of the partitions that take part wait in all. Unit: seconds.
    pub stall: f64,
    /// All of it as work. Unit: transactions within one partition.
    pub transactions: f64,
}

/// What is done to get from one design to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// The steps.
    pub steps: Vec<TransferStep>,
    /// What they cost.
    pub price: Price,
}

impl Transfer {
    /// Whether nothing is done but that whole keys, all of which are listed, go from one partition to another.
    pub fn is_of_whole_keys(&self) -> bool {
        self.steps.iter().all(|step| match step {
            TransferStep::Move(keys) | TransferStep::Split(keys) | TransferStep::Merge(keys) => {
                !keys.partly && !keys.keys.is_empty()
            }
            TransferStep::Rekey { .. } | TransferStep::Copies { .. } => false,
        })
    }
}

/// A step from one design to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum TransferStep {
    /// A table is placed by other columns.
    Rekey {
        /// The table.
        table: String,
        /// By these so far.
        from: Vec<String>,
        /// By these from now on.
        to: Vec<String>,
        /// Columns that have to be added and filled first.
        add: Vec<(String, Derived)>,
        /// Rows that move.
        rows: f64,
        /// Their size. Unit: bytes.
        bytes: f64,
    },
    /// Every partition gets all rows of a table, or ceases to.
    Copies {
        /// The table.
        table: String,
        /// Whether every partition has them from now on.
        everywhere: bool,
        /// Rows that are written.
        rows: f64,
        /// Their size. Unit: bytes.
        bytes: f64,
    },
    /// Keys go from one partition to another that is there already.
    Move(Keys),
    /// Keys go from one partition to a new one.
    Split(Keys),
    /// What is left of a partition goes to another, and the partition goes.
    Merge(Keys),
}

/// Keys that go from one partition to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// The tables, which all have these keys.
    pub tables: Vec<String>,
    /// The column of each.
    pub columns: Vec<String>,
    /// From this partition.
    pub from: u32,
    /// To this one.
    pub to: u32,
    /// The keys that were seen; empty if there are too many to list.
    pub keys: Vec<Value>,
    /// How many keys were seen.
    pub count: usize,
    /// Whether only a part of the rows of these keys moves: the design says which.
    pub partly: bool,
    /// Rows that move.
    pub rows: f64,
    /// Their size. Unit: bytes.
    pub bytes: f64,
}

/// What one flow of one table is, before tables are put together.
#[derive(Default)]
struct Flow {
    keys: BTreeSet<Value>,
    partly: bool,
    seen: usize,
}

/// Plans the way from one design to another. Rows are reckoned from those that were seen: their share of a table's seen rows
/// is taken for the share of all its rows.
pub fn transfer(
    schema: &Schema,
    trace: &Trace,
    from: &Design,
    to: &Design,
    prices: &Prices,
) -> Result<Transfer, BadDesign> {
    let placed = [Placed::new(from, schema)?, Placed::new(to, schema)?];
    let seen = seen_rows(schema, trace);
    let mut steps = Vec::new();
    // Flows of the same keys between the same partitions are one step, whatever the table.
    type Way = (u32, u32, BTreeSet<Value>, bool);
    let mut ways: BTreeMap<Way, Keys> = BTreeMap::new();
    let mut touched: BTreeSet<u32> = BTreeSet::new();
    let everyone = from.partitions.max(to.partitions);
    let mut numbers = [Places::default(), Places::default()];
    for table in schema.ids() {
        let name = &schema.table(table).name;
        let (before, after) = (&from.tables[name], &to.tables[name]);
        if before == after {
            continue;
        }
        let size = |rows: f64| rows * schema.table(table).row_bytes.unwrap_or(0) as f64;
        let all = schema.table(table).rows.unwrap_or(seen[table.0].len() as u64) as f64;
        let others = 1.0 - 1.0 / f64::from(to.partitions.max(1));
        match (before, after) {
            (_, Placement::Replicate) => {
                let rows = all * f64::from(to.partitions.saturating_sub(1));
                let bytes = size(rows);
                steps.push(TransferStep::Copies { table: name.clone(), everywhere: true, rows, bytes });
                touched.extend(0..everyone);
            }
            (Placement::Replicate, _) => {
                steps.push(TransferStep::Copies {
                    table: name.clone(),
                    everywhere: false,
                    rows: 0.0,
                    bytes: 0.0,
                });
            }
            (Placement::Partition { levels: old }, Placement::Partition { levels: new })
                if sharded(old) == sharded(new) || first(old) == first(new) =>
            {
                let mut flows: BTreeMap<(u32, u32), Flow> = BTreeMap::new();
                let key = first(new).and_then(|column| schema.table(table).key(column));
                let mut ends: BTreeMap<&Value, BTreeSet<u32>> = BTreeMap::new();
                let mut moving = Vec::new();
                for row in &seen[table.0] {
                    let [a, b] = [0, 1].map(|n| label(&placed[n], table, row, trace, &mut numbers[n]));
                    let (Some(a), Some(b), Some(key)) = (a, b, key) else { continue };
                    let value = trace.values.get(row[key]);
                    ends.entry(value).or_default().insert(b);
                    if a != b {
                        moving.push((a, b, value));
                    }
                }
                for (a, b, value) in moving {
                    let flow = flows.entry((a, b)).or_default();
                    flow.seen += 1;
                    flow.partly |= ends[value].len() > 1;
                    flow.keys.insert(value.clone());
                }
                for ((a, b), flow) in flows {
                    let rows = all * flow.seen as f64 / seen[table.0].len().max(1) as f64;
                    touched.extend([a, b]);
                    let count = flow.keys.len();
                    let listed = if count > LISTED_MAX { BTreeSet::new() } else { flow.keys };
                    let keys = ways.entry((a, b, listed.clone(), flow.partly)).or_insert_with(|| Keys {
                        tables: Vec::new(),
                        columns: Vec::new(),
                        from: a,
                        to: b,
                        keys: listed.into_iter().collect(),
                        count,
                        partly: flow.partly,
                        rows: 0.0,
                        bytes: 0.0,
                    });
                    keys.tables.push(name.clone());
                    keys.columns.push(first(new).unwrap_or_default().to_owned());
                    keys.rows += rows;
                    keys.bytes += size(rows);
                }
            }
            (before, after) => {
                let to_columns = columns(after);
                let derived = |column: &String| {
                    let key = schema.table(table).keys.iter().find(|key| key.name == *column)?;
                    Some((column.clone(), key.derived.clone()?))
                };
                let add = to_columns.iter().filter_map(derived).collect();
                let rows = all * others;
                steps.push(TransferStep::Rekey {
                    table: name.clone(),
                    from: columns(before),
                    to: to_columns,
                    add,
                    rows,
                    bytes: size(rows),
                });
                touched.extend(0..everyone);
            }
        }
    }
    let (old, new) = (from.partitions, to.partitions);
    steps.extend(ways.into_values().map(|keys| match keys {
        keys if keys.to >= old => TransferStep::Split(keys),
        keys if keys.from >= new => TransferStep::Merge(keys),
        keys => TransferStep::Move(keys),
    }));
    let price = price(schema, trace, &steps, touched.len(), from.partitions, prices);
    Ok(Transfer { steps, price })
}

/// What steps cost that `touched` partitions take part in.
fn price(
    schema: &Schema,
    trace: &Trace,
    steps: &[TransferStep],
    touched: usize,
    partitions: u32,
    prices: &Prices,
) -> Price {
    let mut price = Price { stall: touched as f64 * prices.pause, ..Price::default() };
    for step in steps {
        let (rows, bytes) = match step {
            TransferStep::Rekey { rows, bytes, .. } | TransferStep::Copies { rows, bytes, .. } => {
                (*rows, *bytes)
            }
            TransferStep::Move(keys) | TransferStep::Split(keys) | TransferStep::Merge(keys) => {
                (keys.rows, keys.bytes)
            }
        };
        price.rows += rows;
        price.bytes += bytes;
    }
    let n = trace.transactions.len().max(1) as f64;
    let rows_of = |access: &Access| {
        let width = schema.table(access.table).keys.len();
        trace.rows_of(access, width).map_or(1, |rows| rows.len())
    };
    let handled: usize = trace.accesses.iter().map(rows_of).sum();
    let per_transaction = (handled as f64 / n).max(1.0);
    let span = match (trace.transactions.first(), trace.transactions.last()) {
        (Some(first), Some(last)) if last.at > first.at => last.at - first.at,
        _ => f64::INFINITY,
    };
    let rate = n * prices.stands_for / span;
    let waiting = price.stall * rate / f64::from(partitions.max(1));
    price.transactions = price.rows * prices.bulk_row / per_transaction + waiting;
    price
}

fn sharded(levels: &[Level]) -> Vec<&[String]> {
    levels
        .iter()
        .enumerate()
        .filter(|(number, level)| level.shard.unwrap_or(*number == 0))
        .map(|(_, level)| level.cut.columns())
        .collect()
}

fn first(levels: &[Level]) -> Option<&str> {
    levels.first().and_then(|level| level.cut.columns().first()).map(String::as_str)
}

fn columns(placement: &Placement) -> Vec<String> {
    match placement {
        Placement::Partition { levels } => sharded(levels).concat(),
        Placement::Replicate | Placement::Single => Vec::new(),
    }
}

/// The number of the partition that a row is in.
fn label(
    placed: &Placed<'_>,
    table: TableId,
    row: &[ValueId],
    trace: &Trace,
    numbers: &mut Places,
) -> Option<u32> {
    let place = placed.place(table, row, &trace.values, numbers)?;
    let (parts, _) = numbers.parts().find(|(_, number)| *number == place)?;
    Some(if let [part] = parts { *part } else { place })
}

/// The rows of each table that were seen, each once.
fn seen_rows<'t>(schema: &Schema, trace: &'t Trace) -> Vec<HashSet<&'t [ValueId]>> {
    let mut seen = vec![HashSet::new(); schema.tables.len()];
    for access in &trace.accesses {
        let width = schema.table(access.table).keys.len();
        if width > 0 {
            seen[access.table.0].extend(trace.rows_of(access, width).into_iter().flatten());
        }
    }
    seen
}
