//! What-if: what a design would have cost the transactions that were seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::design::{BadDesign, Design, Placed};
use crate::schema::{Schema, TableId};
use crate::trace::{Column, Template, Trace, Transaction};

/// Time is cut into this many windows, for the load of the worst one.
const WINDOWS: usize = 10;

/// Imbalance up to here costs nothing: a maximum of 1.2 times the mean is what hashing many keys gives anyway.
const SKEW_FREE: f64 = 1.2;

/// What one more partition in each transaction costs, in shares of transactions that cross.
const PARTICIPANT_PRICE: f64 = 0.05;

/// What it costs that the busiest partition has once more the mean load.
const SKEW_PRICE: f64 = 0.05;

/// What it costs to store everything once more.
const STORAGE_PRICE: f64 = 0.10;

/// What a design costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// How many transactions it was measured on.
    pub transactions: u64,
    /// The share of transactions that need more than one partition.
    pub cross_partition_share: f64,
    /// The share of transactions that write to more than one.
    pub cross_partition_write_share: f64,
    /// How many partitions a transaction needs, on average.
    pub partitions_per_txn: f64,
    /// The share of statements whose partition does not follow from their own parameters.
    pub unroutable_statement_share: f64,
    /// The rows that the busiest partition handles, by the mean.
    pub load_max_over_mean: f64,
    /// The same in the worst of ten windows of time.
    pub load_max_over_mean_worst_window: f64,
    /// Rows written, by rows written without replication.
    pub write_amplification: f64,
    /// Bytes stored, by bytes stored without replication; `None` if no size is known.
    pub storage_factor: Option<f64>,
    /// Of each kind of transaction, the share that crosses.
    pub per_transaction: BTreeMap<String, f64>,
    /// The share of transactions that need more than one context; `None` if the design has no contexts.
    pub cross_context_share: Option<f64>,
    /// All of it in one number, by which designs are ranked; less is better. Share alone can be had for nothing by
    /// replicating all that is mostly read, so the other terms have a price too.
    #[serde(rename = "J")]
    pub cost: f64,
}

/// The number by which designs are ranked.
pub fn cost(cross: f64, participants: f64, skew: f64, storage: f64) -> f64 {
    cross
        + PARTICIPANT_PRICE * (participants - 1.0)
        + SKEW_PRICE * (skew - SKEW_FREE).max(0.0)
        + STORAGE_PRICE * (storage - 1.0)
}

/// What one transaction needs of a design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Partitions that it needs.
    pub partitions: u32,
    /// Whether it writes to more than one.
    pub writes_cross: bool,
}

/// Measures `design` on all transactions of `trace`.
pub fn measure(schema: &Schema, trace: &Trace, design: &Design) -> Result<Metrics, BadDesign> {
    let placed = Placed::new(design, schema)?;
    let routable: Vec<Vec<bool>> = trace
        .templates
        .iter()
        .map(|template| {
            (0..template.touches.len())
                .map(|touch| is_routable(schema, design, &placed, template, touch))
                .collect()
        })
        .collect();
    let contexts: BTreeMap<TableId, usize> = design
        .contexts
        .values()
        .enumerate()
        .flat_map(|(number, tables)| tables.iter().filter_map(move |t| Some((schema.find(t)?, number))))
        .collect();
    let mut tally = Tally::new(placed.partitions);
    let begin = trace.transactions.first().map_or(0.0, |t| t.at);
    let length = trace.transactions.last().map_or(0.0, |t| t.at - begin).max(1e-9);
    let mut kinds = vec![(0_u64, 0_u64); trace.kinds.len()];
    let (mut statements, mut unroutable, mut crossing_contexts) = (0_u64, 0_u64, 0_u64);
    for transaction in &trace.transactions {
        // The quotient is within 0 and the number of windows.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let window = (((transaction.at - begin) / length * WINDOWS as f64) as usize).min(WINDOWS - 1);
        let reach = tally.add(schema, trace, &placed, transaction, window);
        let kind = &mut kinds[transaction.kind as usize];
        kind.0 += 1;
        kind.1 += u64::from(reach.partitions > 1);
        let mut touched: BTreeSet<usize> = BTreeSet::new();
        for access in trace.accesses_of(transaction) {
            touched.extend(contexts.get(&access.table).copied());
            if !placed.is_everywhere(access.table) {
                statements += 1;
                unroutable += u64::from(!routable[access.template as usize][access.touch as usize]);
            }
        }
        crossing_contexts += u64::from(touched.len() > 1);
    }
    let n = tally.transactions;
    let storage = storage_factor(schema, &placed);
    Ok(Metrics {
        transactions: n,
        cross_partition_share: share(tally.crossing, n),
        cross_partition_write_share: share(tally.writes_crossing, n),
        partitions_per_txn: tally.participants(),
        unroutable_statement_share: share(unroutable, statements),
        load_max_over_mean: tally.skew(),
        load_max_over_mean_worst_window: tally.worst_skew(),
        write_amplification: if tally.writes == 0 { 0.0 } else { share(tally.copies, tally.writes) },
        storage_factor: storage,
        per_transaction: trace
            .kinds
            .iter()
            .zip(&kinds)
            .filter(|(_, (all, _))| *all > 0)
            .map(|(name, (all, crossing))| (name.clone(), share(*crossing, *all)))
            .collect(),
        cross_context_share: (!contexts.is_empty()).then(|| share(crossing_contexts, n)),
        cost: cost(share(tally.crossing, n), tally.participants(), tally.skew(), storage.unwrap_or(1.0)),
    })
}

/// Of each transaction, in order, what it needs of `design`.
pub fn reaches(schema: &Schema, trace: &Trace, design: &Design) -> Result<Vec<Reach>, BadDesign> {
    let placed = Placed::new(design, schema)?;
    let mut tally = Tally::new(placed.partitions);
    Ok(trace.transactions.iter().map(|t| tally.add(schema, trace, &placed, t, 0)).collect())
}

/// Bytes stored under a design, by bytes stored once; `None` if no size is known.
pub fn storage_factor(schema: &Schema, placed: &Placed<'_>) -> Option<f64> {
    let all = schema.bytes();
    if all == 0 {
        return None;
    }
    let stored: f64 = schema
        .ids()
        .map(|id| {
            let copies = if placed.is_everywhere(id) { placed.partitions } else { 1 };
            schema.table(id).bytes() as f64 * f64::from(copies)
        })
        .sum();
    Some(stored / all as f64)
}

/// A share of a whole; zero of nothing.
pub(crate) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What is counted while transactions go by.
struct Tally {
    partitions: u32,
    transactions: u64,
    crossing: u64,
    writes_crossing: u64,
    fan: u64,
    writes: u64,
    copies: u64,
    /// Rows handled, by window and place.
    load: Vec<Vec<u64>>,
    numbers: BTreeMap<Vec<u32>, u32>,
}

impl Tally {
    fn new(partitions: u32) -> Tally {
        Tally {
            partitions,
            transactions: 0,
            crossing: 0,
            writes_crossing: 0,
            fan: 0,
            writes: 0,
            copies: 0,
            load: vec![Vec::new(); WINDOWS],
            numbers: BTreeMap::new(),
        }
    }

    fn add(
        &mut self,
        schema: &Schema,
        trace: &Trace,
        placed: &Placed<'_>,
        transaction: &Transaction,
        window: usize,
    ) -> Reach {
        let mut places = BTreeSet::new();
        let mut written = BTreeSet::new();
        let mut everywhere = false;
        for access in trace.accesses_of(transaction) {
            let width = schema.table(access.table).keys.len();
            let rows = trace.rows_of(access, width);
            if placed.is_everywhere(access.table) {
                if access.op.writes() {
                    everywhere = true;
                    let count = rows.map_or(1, |rows| rows.len() as u64);
                    self.writes += count;
                    self.copies += count * u64::from(self.partitions);
                }
                continue;
            }
            let Some(rows) = rows else {
                everywhere |= placed.is_spread(access.table);
                continue;
            };
            if access.op.writes() {
                self.writes += rows.len() as u64;
                self.copies += rows.len() as u64;
            }
            for row in rows {
                let Some(place) = placed.place(access.table, row, &trace.values, &mut self.numbers) else {
                    continue;
                };
                places.insert(place);
                if access.op.writes() {
                    written.insert(place);
                }
                let load = &mut self.load[window];
                if load.len() <= place as usize {
                    load.resize(place as usize + 1, 0);
                }
                load[place as usize] += 1;
            }
        }
        let reach = Reach {
            partitions: if everywhere {
                self.partitions
            } else {
                u32::try_from(places.len()).unwrap_or(u32::MAX).max(1)
            },
            writes_cross: everywhere || written.len() > 1,
        };
        self.transactions += 1;
        // With one partition nothing crosses, but a design that asks all of them is no better for that.
        self.crossing += u64::from(everywhere || places.len() > 1);
        self.writes_crossing += u64::from(reach.writes_cross);
        self.fan += u64::from(reach.partitions);
        reach
    }

    fn participants(&self) -> f64 {
        if self.transactions == 0 { 1.0 } else { self.fan as f64 / self.transactions as f64 }
    }

    fn skew(&self) -> f64 {
        let mut total = vec![0_u64; self.numbers.len()];
        for window in &self.load {
            for (place, rows) in window.iter().enumerate() {
                total[place] += rows;
            }
        }
        skew_of(&total, self.partitions)
    }

    fn worst_skew(&self) -> f64 {
        self.load.iter().map(|window| skew_of(window, self.partitions)).fold(1.0, f64::max)
    }
}

/// The busiest place's load by the mean over all that have some, or over all partitions if those are more.
pub(crate) fn skew_of(load: &[u64], partitions: u32) -> f64 {
    let busy = load.iter().filter(|rows| **rows > 0).count();
    let total: u64 = load.iter().sum();
    let places = busy.max(partitions as usize);
    match load.iter().max() {
        Some(max) if total > 0 => *max as f64 * places as f64 / total as f64,
        _ => 1.0,
    }
}

/// Whether the place of the rows that a statement wants follows from its own parameters: by what it binds, by what it
/// says is equal, and by what can be looked up.
fn is_routable(
    schema: &Schema,
    design: &Design,
    placed: &Placed<'_>,
    template: &Template,
    touch: usize,
) -> bool {
    let table = template.touches[touch].table;
    if !placed.is_spread(table) && placed.columns(table).next().is_none() {
        return true;
    }
    let column = |table: TableId, name: &str| Column { table, name: name.to_owned() };
    let mut known: BTreeSet<Column> = template
        .touches
        .iter()
        .flat_map(|t| t.equal.keys().chain(t.one_of.keys()).map(|name| column(t.table, name)))
        .collect();
    loop {
        let before = known.len();
        for (a, b) in &template.joins {
            if known.contains(a) || known.contains(b) {
                known.extend([a.clone(), b.clone()]);
            }
        }
        for lookup in &design.lookups {
            let Some(table) = schema.find(&lookup.table) else { continue };
            if lookup.from.iter().all(|name| known.contains(&column(table, name))) {
                known.extend(lookup.to.iter().map(|name| column(table, name)));
            }
        }
        if known.len() == before {
            break;
        }
    }
    placed.columns(table).all(|name| known.contains(&column(table, name)))
}
