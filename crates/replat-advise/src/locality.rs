//! Whether transactions keep to a few keys at all, and what can be done about rows that everybody writes.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::candidate::Task;
use crate::design::Design;
use crate::measure::{Metrics, measure};
use crate::schema::{Schema, TableId};
use crate::search::{Choice, Dice};
use crate::trace::{Op, Trace};

/// A table is hot if this share of all transactions writes to it…
const HOT_MIN: f64 = 0.3;

/// …and its rows are so few, by partition: then no key of it keeps its writers apart.
const HOT_ROWS: f64 = 16.0;

/// What is to be done about them is told where so many fewer transactions cross then. Unit: share of all.
const WORTH_MIN: f64 = 0.05;

/// How local transactions are under a design, by how local they would be if chance dealt out the rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Locality {
    /// The share that crosses.
    pub cross_partition_share: f64,
    /// The share that would cross if each transaction touched as many rows of the same tables, but drawn at random.
    pub by_chance: f64,
    /// Of what would cross by chance, the share that does not. Zero is no locality at all.
    pub kept_together: f64,
}

/// Compares a design's share of crossing transactions with what chance makes of the same rows.
pub fn locality(schema: &Schema, trace: &Trace, design: &Design) -> Locality {
    let cross =
        |trace: &Trace| measure(schema, trace, design).map_or(0.0, |metrics| metrics.cross_partition_share);
    Locality::of(cross(trace), cross(&dealt(schema, trace)))
}

impl Locality {
    fn of(own: f64, by_chance: f64) -> Locality {
        let kept_together = if by_chance > 0.0 { (1.0 - own / by_chance).max(0.0) } else { 1.0 };
        Locality { cross_partition_share: own, by_chance, kept_together }
    }

    /// The same, if the design crosses by so much more, or less.
    pub fn corrected(self, more: f64) -> Locality {
        Locality::of((self.cross_partition_share + more).clamp(0.0, 1.0), self.by_chance)
    }
}

/// The same transactions, with the rows of each table dealt out anew among them.
fn dealt(schema: &Schema, trace: &Trace) -> Trace {
    let mut dice = Dice(0xca5d);
    let mut mixed = trace.chosen(0..trace.transactions.len());
    for id in schema.ids() {
        let width = schema.table(id).keys.len();
        if width == 0 {
            continue;
        }
        let of_table = mixed.accesses.iter().filter(|access| access.table == id);
        let rows: Vec<usize> = of_table
            .filter_map(|access| access.rows.clone())
            .flat_map(|rows| (rows.start as usize..rows.end as usize).step_by(width))
            .collect();
        for n in (1..rows.len()).rev() {
            let other = usize::try_from(dice.below(n as u64 + 1)).expect("a place in memory");
            let (a, b) = (rows[n], rows[other]);
            (0..width).for_each(|key| mixed.cells.swap(a + key, b + key));
        }
    }
    mixed
}

/// Tables with so few rows, written by so many transactions, that they tie everything together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotRows {
    /// The tables.
    pub tables: Vec<HotTable>,
    /// What can be done, and what it would come to.
    pub ways: Vec<Way>,
}

/// A table with rows that everybody writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotTable {
    /// Its name.
    pub table: String,
    /// How many of its rows were seen written.
    pub rows: u64,
    /// The share of transactions that write to it.
    pub writers: f64,
}

/// A way to deal with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// Which.
    pub way: WayKind,
    /// What the design would cost then.
    pub metrics: Metrics,
    /// What it means, in words for people.
    pub means: String,
}

/// The ways to deal with rows that everybody writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayKind {
    /// Every partition has them, and every write goes to all.
    Replicate,
    /// Every partition counts for itself, and readers add up.
    Counter,
    /// The write is left in a queue and done later.
    Later,
}

/// Finds hot tables, and what could be done about them. `best` is the best design with them.
pub fn hot_rows(task: &Task<'_>, best: &Design) -> Option<HotRows> {
    let Task { schema, trace, .. } = *task;
    let mut rows: BTreeMap<TableId, HashMap<&[crate::value::ValueId], u64>> = BTreeMap::new();
    let mut writers: BTreeMap<TableId, u64> = BTreeMap::new();
    let mut inserts: BTreeMap<TableId, u64> = BTreeMap::new();
    for transaction in &trace.transactions {
        let mut written = std::collections::BTreeSet::new();
        for access in trace.accesses_of(transaction).iter().filter(|access| access.op.writes()) {
            let width = schema.table(access.table).keys.len();
            written.insert(access.table);
            *inserts.entry(access.table).or_default() += u64::from(access.op == Op::Insert);
            for row in trace.rows_of(access, width).into_iter().flatten() {
                *rows.entry(access.table).or_default().entry(row).or_default() += 1;
            }
        }
        written.into_iter().for_each(|table| *writers.entry(table).or_default() += 1);
    }
    let n = trace.transactions.len() as u64;
    // Tables that much is written to, each row of which, as far as is known, again and again.
    let known = |table: &TableId| rows.get(table).map_or(0, HashMap::len) as f64;
    let worn: Vec<TableId> = writers
        .iter()
        .filter(|(table, count)| {
            crate::measure::share(**count, n) >= HOT_MIN
                && **count as f64 >= 10.0 * known(table)
                && inserts.get(table).copied().unwrap_or(0) == 0
        })
        .map(|(table, _)| *table)
        .collect();
    let is_few = |table: &TableId| known(table) <= HOT_ROWS * f64::from(task.partitions);
    let mut hot: Vec<TableId> = worn.iter().copied().filter(is_few).collect();
    let with = measure(schema, trace, best).ok()?;
    if hot.is_empty() || with.cross_partition_share < WORTH_MIN {
        return None;
    }
    // Without them, what is left may be best by other keys.
    let apart_from = |hot: &[TableId]| {
        let without = trace.without(hot);
        let rest = Task { trace: &without, groups: &[], zones: None, ..*task };
        let best = rest.again(&vec![Choice::Alone; schema.tables.len()]);
        let partitions = best.partitions();
        (best, partitions)
    };
    let (mut apart, partitions) = apart_from(&hot);
    // What has some more rows, such as the tellers beside the branches, may tie as much together.
    if worn.len() > hot.len() && (!partitions || apart.metrics.cross_partition_share >= WORTH_MIN) {
        let (other, partitions) = apart_from(&worn);
        if partitions
            && other.metrics.cross_partition_share + WORTH_MIN <= apart.metrics.cross_partition_share
        {
            (apart, hot) = (other, worn);
        }
    }
    if with.cross_partition_share - apart.metrics.cross_partition_share < WORTH_MIN {
        return None;
    }
    let mut replicated = apart.design.clone();
    let tables: Vec<HotTable> = hot
        .iter()
        .map(|id| {
            let name = schema.table(*id).name.clone();
            replicated.tables.insert(name.clone(), crate::design::Placement::Replicate);
            HotTable {
                table: name,
                rows: rows.get(id).map_or(0, HashMap::len) as u64,
                writers: crate::measure::share(writers[id], n),
            }
        })
        .collect();
    let names = tables.iter().map(|table| table.table.as_str()).collect::<Vec<_>>().join(", ");
    let mut ways = Vec::new();
    if let Ok(metrics) = measure(schema, trace, &replicated) {
        ways.push(Way {
            way: WayKind::Replicate,
            means: format!(
                "{names}: in every partition; {:.0} % of the transactions then write to all of them",
                100.0 * metrics.cross_partition_write_share
            ),
            metrics,
        });
    }
    let percent = 100.0 * apart.metrics.cross_partition_share;
    ways.push(Way {
        way: WayKind::Counter,
        means: format!(
            "{names}: every partition keeps its own row and adds to it, readers add them up; only right where the \
             writes commute, such as sums; {percent:.1} % of the transactions then cross partitions"
        ),
        metrics: apart.metrics.clone(),
    });
    ways.push(Way {
        way: WayKind::Later,
        means: format!(
            "{names}: the change is left in a queue of the writer's partition and made later; whoever reads sees it \
             late; {percent:.1} % of the transactions then cross partitions"
        ),
        metrics: apart.metrics,
    });
    Some(HotRows { tables, ways })
}
