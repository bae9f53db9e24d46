//! What-if: what a design would have cost the transactions that were seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::design::{BadDesign, Design, Lookup, Placed, Places};
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
    /// The share of statements whose rows are all in one partition.
    #[serde(default)]
    pub single_partition_statement_share: f64,
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
    /// Whether it needs more than one.
    pub crosses: bool,
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
    let mut tally = Tally::new(&placed, WINDOWS);
    let begin = trace.transactions.first().map_or(0.0, |t| t.at);
    let length = trace.transactions.last().map_or(0.0, |t| t.at - begin).max(1e-9);
    let mut kinds = vec![(0_u64, 0_u64); trace.kinds.len()];
    let (mut statements, mut unroutable, mut crossing_contexts) = (0_u64, 0_u64, 0_u64);
    for transaction in &trace.transactions {
        // The quotient is within 0 and the number of windows.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let window = (((transaction.at - begin) / length * WINDOWS as f64) as usize).min(WINDOWS - 1);
        let reach = tally.add(schema, trace, transaction, window);
        let kind = &mut kinds[transaction.kind as usize];
        kind.0 += 1;
        kind.1 += u64::from(reach.crosses);
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
    let storage = storage_factor(schema, &placed);
    let mut all = Count::default();
    tally.windows.iter().for_each(|window| all.add(window, 1));
    let partitions = placed.partitions;
    let worst = tally.windows.iter().map(|window| window.skew(partitions)).fold(1.0, f64::max);
    Ok(Metrics {
        transactions: all.transactions,
        cross_partition_share: all.cross(),
        cross_partition_write_share: all.cross_writing(),
        partitions_per_txn: all.participants(),
        single_partition_statement_share: all.pruning(),
        unroutable_statement_share: share(unroutable, statements),
        load_max_over_mean: all.skew(partitions),
        load_max_over_mean_worst_window: worst,
        write_amplification: all.write_amplification(),
        storage_factor: storage,
        per_transaction: trace
            .kinds
            .iter()
            .zip(&kinds)
            .filter(|(_, (all, _))| *all > 0)
            .map(|(name, (all, crossing))| (name.clone(), share(*crossing, *all)))
            .collect(),
        cross_context_share: (!contexts.is_empty()).then(|| share(crossing_contexts, all.transactions)),
        cost: all.cost(partitions, storage.unwrap_or(1.0)),
    })
}

/// Of each transaction, in order, what it needs of `design`.
pub fn reaches(schema: &Schema, trace: &Trace, design: &Design) -> Result<Vec<Reach>, BadDesign> {
    let placed = Placed::new(design, schema)?;
    let mut tally = Tally::new(&placed, 1);
    Ok(trace.transactions.iter().map(|t| tally.add(schema, trace, t, 0)).collect())
}

/// What is counted under `design` in each of `cells` runs of transactions that follow one another and are of one length.
pub fn counts(
    schema: &Schema,
    trace: &Trace,
    design: &Design,
    cells: usize,
) -> Result<Vec<Count>, BadDesign> {
    let placed = Placed::new(design, schema)?;
    let cells = cells.clamp(1, trace.transactions.len().max(1));
    let mut tally = Tally::new(&placed, cells);
    let all = trace.transactions.len().max(1);
    for (number, transaction) in trace.transactions.iter().enumerate() {
        tally.add(schema, trace, transaction, number * cells / all);
    }
    Ok(tally.windows)
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

/// What was counted of some transactions under a design.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many transactions.
    pub transactions: u64,
    /// How many need more than one partition.
    pub crossing: u64,
    /// How many write to more than one.
    pub writes_crossing: u64,
    /// Partitions needed, in all.
    pub fan: u64,
    /// Statements of tables that are not everywhere.
    pub statements: u64,
    /// Those of them whose rows are all in one partition.
    pub pruned: u64,
    /// Rows written, each once.
    pub writes: u64,
    /// Rows written, in all copies.
    pub copies: u64,
    /// Rows handled, by place.
    pub load: Vec<u64>,
}

impl Count {
    /// Takes in another count, so many times.
    pub fn add(&mut self, other: &Count, times: u64) {
        self.transactions += times * other.transactions;
        self.crossing += times * other.crossing;
        self.writes_crossing += times * other.writes_crossing;
        self.fan += times * other.fan;
        self.statements += times * other.statements;
        self.pruned += times * other.pruned;
        self.writes += times * other.writes;
        self.copies += times * other.copies;
        if self.load.len() < other.load.len() {
            self.load.resize(other.load.len(), 0);
        }
        self.load.iter_mut().zip(&other.load).for_each(|(own, other)| *own += times * other);
    }

    /// See [`Metrics::cross_partition_share`].
    pub fn cross(&self) -> f64 {
        share(self.crossing, self.transactions)
    }

    /// See [`Metrics::cross_partition_write_share`].
    pub fn cross_writing(&self) -> f64 {
        share(self.writes_crossing, self.transactions)
    }

    /// See [`Metrics::partitions_per_txn`].
    pub fn participants(&self) -> f64 {
        if self.transactions == 0 { 1.0 } else { share(self.fan, self.transactions) }
    }

    /// See [`Metrics::single_partition_statement_share`].
    pub fn pruning(&self) -> f64 {
        if self.statements == 0 { 1.0 } else { share(self.pruned, self.statements) }
    }

    /// See [`Metrics::write_amplification`].
    pub fn write_amplification(&self) -> f64 {
        share(self.copies, self.writes)
    }

    /// See [`Metrics::load_max_over_mean`].
    pub fn skew(&self, partitions: u32) -> f64 {
        skew_of(&self.load, partitions)
    }

    /// See [`Metrics::cost`].
    pub fn cost(&self, partitions: u32, storage: f64) -> f64 {
        cost(self.cross(), self.participants(), self.skew(partitions), storage)
    }
}

/// What is counted while transactions go by.
struct Tally<'p, 'd> {
    placed: &'p Placed<'d>,
    windows: Vec<Count>,
    places: Places,
}

impl<'p, 'd> Tally<'p, 'd> {
    fn new(placed: &'p Placed<'d>, windows: usize) -> Tally<'p, 'd> {
        Tally { placed, windows: vec![Count::default(); windows], places: Places::default() }
    }

    fn add(&mut self, schema: &Schema, trace: &Trace, transaction: &Transaction, window: usize) -> Reach {
        let placed = self.placed;
        let count = &mut self.windows[window];
        let mut places = Few::default();
        let mut written = Few::default();
        let mut everywhere = false;
        // The statement that is going on: its number, its touch, its places, and whether it may want any.
        let mut statement: Option<(u32, u32)> = None;
        let (mut own, mut any) = (Few::default(), false);
        for access in trace.accesses_of(transaction) {
            if statement.is_none_or(|(template, touch)| template != access.template || touch >= access.touch)
            {
                if statement.is_some() && (any || !own.is_empty()) {
                    count.statements += 1;
                    count.pruned += u64::from(!any && own.len() == 1);
                }
                (own, any) = (Few::default(), false);
            }
            statement = Some((access.template, access.touch));
            let width = schema.table(access.table).keys.len();
            let rows = trace.rows_of(access, width);
            if placed.is_everywhere(access.table) {
                if access.op.writes() {
                    everywhere = true;
                    any = true;
                    let rows = rows.map_or(1, |rows| rows.len() as u64);
                    count.writes += rows;
                    count.copies += rows * u64::from(placed.partitions);
                }
                continue;
            }
            let Some(rows) = rows else {
                everywhere |= placed.is_spread(access.table);
                any |= placed.is_spread(access.table);
                continue;
            };
            if access.op.writes() {
                count.writes += rows.len() as u64;
                count.copies += rows.len() as u64;
            }
            for row in rows {
                let Some(place) = placed.place(access.table, row, &trace.values, &mut self.places) else {
                    continue;
                };
                places.insert(place);
                own.insert(place);
                if access.op.writes() {
                    written.insert(place);
                }
                if count.load.len() <= place as usize {
                    count.load.resize(place as usize + 1, 0);
                }
                count.load[place as usize] += 1;
            }
        }
        if any || !own.is_empty() {
            count.statements += 1;
            count.pruned += u64::from(!any && own.len() == 1);
        }
        let needed = u32::try_from(places.len()).unwrap_or(u32::MAX).max(1);
        let reach = Reach {
            partitions: if everywhere { placed.partitions } else { needed },
            // With one partition nothing crosses, but a design that asks all of them is no better for that.
            crosses: everywhere || places.len() > 1,
            writes_cross: everywhere || written.len() > 1,
        };
        count.transactions += 1;
        count.crossing += u64::from(reach.crosses);
        count.writes_crossing += u64::from(reach.writes_cross);
        count.fan += u64::from(reach.partitions);
        reach
    }
}

/// A set of so few places that looking through them is quicker than anything else.
#[derive(Default)]
struct Few(Vec<u32>);

impl Few {
    fn insert(&mut self, place: u32) {
        if !self.0.contains(&place) {
            self.0.push(place);
        }
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
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
pub(crate) fn is_routable(
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
    // No other table has columns that are known.
    let touched: BTreeSet<TableId> = template
        .touches
        .iter()
        .map(|touch| touch.table)
        .chain(template.joins.iter().flat_map(|(a, b)| [a.table, b.table]))
        .collect();
    let lookups: Vec<(TableId, &Lookup)> = design
        .lookups
        .iter()
        .filter_map(|lookup| {
            let table = touched.iter().find(|table| schema.table(**table).name == lookup.table)?;
            Some((*table, lookup))
        })
        .collect();
    loop {
        let before = known.len();
        for (a, b) in &template.joins {
            if known.contains(a) || known.contains(b) {
                known.extend([a.clone(), b.clone()]);
            }
        }
        for (table, lookup) in &lookups {
            let table = *table;
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
