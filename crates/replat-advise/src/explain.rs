//! Why a design is as it is: what no design avoids, what each table would cost elsewhere, which transactions cross, what
//! was turned down, and what anybody would have tried first.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::candidate::{Candidate, Task};
use crate::design::{Cut, Design, Level, Placed, Placement, Places};
use crate::measure::{Metrics, measure, reaches};
use crate::schema::{Schema, TableId};
use crate::search::{Choice, Ground, seeds};
use crate::trace::Trace;
use crate::unknown::{Crossing, crossings};
use crate::value::Value;

/// A kind of transaction stays distributed if more than this share of it crosses under every design.
const STAYS_MIN: f64 = 0.5;

/// Of a kind of fewer transactions than these it cannot be told what each design makes of it.
const RARE_MAX: u64 = 30;

/// A design whose busiest partition has so many times the load of another design's says nothing of what can be avoided:
/// with everything in one place, nothing crosses.
const SKEW_MAX: f64 = 1.5;

/// How many kinds of transaction are shown as witnesses, and how many transactions of each.
const WITNESSES: usize = 6;
const EXAMPLES: usize = 2;

/// How many rejected designs are shown.
const REJECTED: usize = 3;

/// How a table is placed, in words that need no other table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// By this column.
    By(String),
    /// Every partition has it.
    Everywhere,
    /// In one place.
    Alone,
}

impl Placing {
    /// What a choice of the search means for a table.
    pub fn of(schema: &Schema, table: TableId, choice: Choice) -> Placing {
        match choice {
            Choice::Key(key) => Placing::By(schema.table(table).keys[key].name.clone()),
            Choice::Everywhere => Placing::Everywhere,
            Choice::Alone => Placing::Alone,
        }
    }
}

/// What stays distributed whatever is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// The share of all transactions that are to be expected to cross under every design that was looked at.
    pub share: f64,
    /// The share that crosses whatever the keys are that the evidence does not show; the same if it shows all.
    #[serde(default)]
    pub least: f64,
    /// The share that crosses if all do whose keys it does not show.
    #[serde(default)]
    pub most: f64,
    /// The kinds that stay distributed.
    pub kinds: Vec<FloorKind>,
    /// How many designs were looked at.
    pub designs: u64,
}

/// A kind of transaction that stays distributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloorKind {
    /// Its name.
    pub kind: String,
    /// The share of all transactions that are of this kind.
    pub share: f64,
    /// The share of them that is to be expected to cross at least.
    pub crossing: f64,
}

/// What a table could be placed by otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counterfactual {
    /// How.
    pub placing: Placing,
    /// What the whole would cost then.
    #[serde(rename = "J")]
    pub cost: f64,
    /// The share of transactions that would cross.
    pub cross_partition_share: f64,
}

/// Transactions of one kind that cross.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// The kind.
    pub kind: String,
    /// The share of all transactions that are of this kind and cross.
    pub share: f64,
    /// The share of this kind that crosses.
    pub of_kind: f64,
    /// Some of them, as the keys of what is in different partitions.
    pub examples: Vec<Vec<Touched>>,
}

/// A row that a transaction touched, or rows of which nobody knows which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Touched {
    /// The table.
    pub table: String,
    /// The columns that place it, with its values as the evidence has them; empty if they are not known.
    pub key: BTreeMap<String, Value>,
    /// Its place: rows of the same number are together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// Whether it is written.
    pub writes: bool,
}

/// A design that was turned down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Where it differs from the best one: each table with how it is placed there.
    pub differs: BTreeMap<String, Placing>,
    /// What it costs.
    pub metrics: Metrics,
    /// What counts against it, in words for people.
    pub because: String,
    /// How much more it costs than the best one, 19 times out of 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dearer: Option<crate::confidence::Interval>,
}

/// What anybody would have tried first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// What it is.
    pub name: String,
    /// What it costs.
    pub metrics: Metrics,
}

/// What no design avoids, of those that were found and those that key everything by one domain.
pub fn floor(task: &Task<'_>, found: &[Candidate]) -> Floor {
    let hashed = crate::assignment::Assignments::by_hash(
        &task.trace.values,
        task.domains,
        task.partitions,
        task.zones.cloned(),
    );
    let ground = Ground::new(task.schema, task.trace, task.domains, &hashed);
    let mut all: Vec<Candidate> = found.to_vec();
    let mut begin = seeds(&ground, task.domains);
    begin.sort_by(|a, b| ground.cost(a).cost.total_cmp(&ground.cost(b).cost));
    all.extend(begin.into_iter().take(8).map(|choices| task.measured(choices, &hashed)));
    let limit =
        found.first().map_or(f64::INFINITY, |best| SKEW_MAX * best.metrics.load_max_over_mean.max(1.2));
    all.retain(|candidate| candidate.metrics.load_max_over_mean <= limit);
    let crossings: Vec<Vec<Crossing>> = all.iter().map(|candidate| by_kind(task, candidate)).collect();
    let n = task.trace.transactions.len().max(1) as f64;
    let mut floor = Floor { share: 0.0, least: 0.0, most: 0.0, kinds: Vec::new(), designs: all.len() as u64 };
    // Which design suits a rare kind best is chance, so rare kinds are taken together.
    let counts = crossings.first().map_or(&[][..], Vec::as_slice);
    let is_rare = |place: usize| counts[place].transactions < RARE_MAX;
    let (rare, common): (Vec<usize>, Vec<usize>) = (0..counts.len()).partition(|place| is_rare(*place));
    for places in common.iter().map(std::slice::from_ref).chain([rare.as_slice()]) {
        let of = |share: fn(&Crossing) -> f64| {
            let under = crossings.iter().map(|kinds| {
                places
                    .iter()
                    .map(|place| share(&kinds[*place]) * kinds[*place].transactions as f64)
                    .sum::<f64>()
            });
            under.fold(f64::INFINITY, f64::min)
        };
        let count: u64 = places.iter().map(|place| counts[*place].transactions).sum();
        if count == 0 {
            continue;
        }
        let crossing = of(Crossing::expected);
        floor.share += crossing / n;
        floor.least += of(Crossing::least) / n;
        floor.most += of(Crossing::most) / n;
        let (share, crossing) = (count as f64 / n, crossing / count as f64);
        if let ([kind], true) = (places, crossing >= STAYS_MIN) {
            floor.kinds.push(FloorKind { kind: task.trace.kinds[*kind].clone(), share, crossing });
        }
    }
    floor.kinds.sort_by(|a, b| (b.share * b.crossing).total_cmp(&(a.share * a.crossing)));
    floor
}

/// Of each kind of transaction, how many cross under a design.
fn by_kind(task: &Task<'_>, candidate: &Candidate) -> Vec<Crossing> {
    let known = crossings(task.schema, task.trace, &candidate.design);
    known.unwrap_or_else(|| {
        let mut kinds = vec![Crossing::default(); task.trace.kinds.len()];
        let reaches = reaches(task.schema, task.trace, &candidate.design).unwrap_or_default();
        for (transaction, reach) in task.trace.transactions.iter().zip(reaches) {
            let kind = &mut kinds[transaction.kind as usize];
            kind.transactions += 1;
            kind.surely += u64::from(reach.crosses);
        }
        kinds
    })
}

/// What each table could be placed by otherwise, cheapest first.
pub fn counterfactuals(task: &Task<'_>, best: &Candidate) -> Vec<Vec<Counterfactual>> {
    let others = task.otherwise(best);
    let named = |(table, others): (TableId, Vec<(Choice, crate::search::Cost)>)| {
        let mut others: Vec<Counterfactual> = others
            .into_iter()
            .map(|(choice, cost)| Counterfactual {
                placing: Placing::of(task.schema, table, choice),
                cost: cost.cost,
                cross_partition_share: cost.cross,
            })
            .collect();
        others.sort_by(|a, b| a.cost.total_cmp(&b.cost).then_with(|| a.placing.cmp(&b.placing)));
        others
    };
    task.schema.ids().zip(others).map(named).collect()
}

/// Transactions that cross under a design, the commonest kinds first.
pub fn witnesses(schema: &Schema, trace: &Trace, design: &Design) -> Vec<Witness> {
    let (Ok(reaches), Ok(placed)) = (reaches(schema, trace, design), Placed::new(design, schema)) else {
        return Vec::new();
    };
    let mut kinds = vec![(0_u64, Vec::new()); trace.kinds.len()];
    for (number, (transaction, reach)) in trace.transactions.iter().zip(&reaches).enumerate() {
        let kind = &mut kinds[transaction.kind as usize];
        kind.0 += 1;
        if reach.crosses {
            kind.1.push(number);
        }
    }
    let all = trace.transactions.len() as u64;
    let share = crate::measure::share;
    let mut order: Vec<usize> = (0..kinds.len()).filter(|kind| !kinds[*kind].1.is_empty()).collect();
    order.sort_by_key(|kind| std::cmp::Reverse(kinds[*kind].1.len()));
    order
        .into_iter()
        .take(WITNESSES)
        .map(|kind| {
            let (of, crossing) = &kinds[kind];
            // One from the middle and the last: the first of all may be from before things had warmed up.
            let picked: BTreeSet<usize> = [crossing.len() / 2, crossing.len() - 1].into_iter().collect();
            Witness {
                kind: trace.kinds[kind].clone(),
                share: share(crossing.len() as u64, all),
                of_kind: share(crossing.len() as u64, *of),
                examples: picked
                    .into_iter()
                    .take(EXAMPLES)
                    .map(|place| touched(schema, trace, &placed, crossing[place]))
                    .collect(),
            }
        })
        .collect()
}

/// What a transaction touches, each place and table once.
fn touched(schema: &Schema, trace: &Trace, placed: &Placed<'_>, number: usize) -> Vec<Touched> {
    let mut places = Places::default();
    let mut all: Vec<Touched> = Vec::new();
    for access in trace.accesses_of(&trace.transactions[number]) {
        let table = schema.table(access.table);
        let of = |key, place| Touched { table: table.name.clone(), key, place, writes: access.op.writes() };
        let everywhere = placed.is_everywhere(access.table);
        if everywhere && !access.op.writes() {
            continue;
        }
        let rows = trace.rows_of(access, table.keys.len()).filter(|_| !everywhere);
        let Some(rows) = rows else {
            all.push(of(BTreeMap::new(), None));
            continue;
        };
        for row in rows {
            let place = placed.place(access.table, row, &trace.values, &mut places);
            let known = all.iter_mut().find(|known| known.table == table.name && known.place == place);
            match known {
                Some(known) => known.writes |= access.op.writes(),
                None => {
                    let value = |column: &str| {
                        let key = table.key(column)?;
                        Some((column.to_owned(), trace.values.get(row[key]).clone()))
                            .filter(|(_, value)| value.is_known())
                    };
                    all.push(of(placed.columns(access.table).filter_map(value).collect(), place));
                }
            }
        }
    }
    all
}

/// Designs that were found and turned down, with what counts against them.
pub fn rejected(schema: &Schema, found: &[Candidate]) -> Vec<Rejected> {
    let Some((best, others)) = found.split_first() else { return Vec::new() };
    others
        .iter()
        .filter(|other| other.choices != best.choices)
        .take(REJECTED)
        .map(|other| {
            let differing = schema.ids().filter(|id| other.choices[id.0] != best.choices[id.0]);
            let named = differing
                .map(|id| (schema.table(id).name.clone(), Placing::of(schema, id, other.choices[id.0])));
            Rejected {
                differs: named.collect(),
                metrics: other.metrics.clone(),
                because: against(&best.metrics, &other.metrics),
                dearer: None,
            }
        })
        .collect()
}

/// What counts most against the second of two.
fn against(best: &Metrics, other: &Metrics) -> String {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let skew = |metrics: &Metrics| (metrics.load_max_over_mean - 1.2).max(0.0);
    let storage = |metrics: &Metrics| metrics.storage_factor.unwrap_or(1.0);
    let times = |value: f64| format!("{value:.2}");
    let cross = |metrics: &Metrics| percent(metrics.cross_partition_share);
    // How much it adds to the cost, what is said of it, and both numbers as they are said.
    let sides = [
        (
            other.cross_partition_share - best.cross_partition_share,
            format!("{} of the transactions cross partitions", cross(other)),
            [cross(other), cross(best)],
        ),
        (
            0.05 * (other.partitions_per_txn - best.partitions_per_txn),
            format!("a transaction needs {} partitions on average", times(other.partitions_per_txn)),
            [other, best].map(|metrics| times(metrics.partitions_per_txn)),
        ),
        (
            0.05 * (skew(other) - skew(best)),
            format!("the busiest partition has {} times the mean load", times(other.load_max_over_mean)),
            [other, best].map(|metrics| times(metrics.load_max_over_mean)),
        ),
        (
            0.10 * (storage(other) - storage(best)),
            format!("it stores everything {} times", times(storage(other))),
            [other, best].map(|metrics| times(storage(metrics))),
        ),
    ];
    let most = sides.into_iter().max_by(|(a, ..), (b, ..)| a.total_cmp(b));
    match most.filter(|(worse, ..)| *worse > 1e-6) {
        Some((_, words, [other, best])) if other != best => format!("{words}, not {best}"),
        Some((worse, ..)) => format!("it is nearly as good: it costs {worse:.5} more"),
        None => "it costs the same, and places tables less alike".to_owned(),
    }
}

/// What anybody would have tried first: keys by hash, the tables' roots, and no partitions at all.
pub fn baselines(schema: &Schema, trace: &Trace, partitions: u32) -> Vec<Baseline> {
    let written: BTreeSet<TableId> =
        trace.accesses.iter().filter(|access| access.op.writes()).map(|access| access.table).collect();
    let by = |columns: Vec<String>| {
        let cut = Cut::Hash { cols: columns, n: partitions, pins: BTreeMap::new() };
        Placement::Partition { levels: vec![Level { cut, shard: None }] }
    };
    let primary = |id: TableId| {
        let table = schema.table(id);
        let known = !table.primary_key.is_empty() && table.primary_key.iter().all(|c| table.key(c).is_some());
        match table.keys.first() {
            _ if known => by(table.primary_key.clone()),
            Some(first) => by(vec![first.name.clone()]),
            None => Placement::Single,
        }
    };
    let roots = roots(schema);
    let by_root = |id: TableId| match &roots[id.0] {
        Some(column) => by(vec![column.clone()]),
        None if written.contains(&id) => primary(id),
        None => Placement::Replicate,
    };
    let design = |place: &dyn Fn(TableId) -> Placement| Design {
        partitions,
        tables: schema.ids().map(|id| (schema.table(id).name.clone(), place(id))).collect(),
        ..Design::default()
    };
    let sought: [(&str, Design); 4] = [
        ("hash by primary key", design(&primary)),
        ("foreign-key root", design(&by_root)),
        ("everything replicated", design(&|_| Placement::Replicate)),
        ("all in one place", design(&|_| Placement::Single)),
    ];
    let measured = |(name, design): (&str, Design)| {
        let metrics = measure(schema, trace, &design).ok()?;
        Some(Baseline { name: name.to_owned(), metrics })
    };
    sought.into_iter().filter_map(measured).collect()
}

/// Of each table the column that refers to the table to which most others lead, if it has one.
fn roots(schema: &Schema) -> Vec<Option<String>> {
    // Of each root, the column of each table that holds its key.
    let mut best: Vec<Option<String>> = vec![None; schema.tables.len()];
    let mut most = 1;
    for root in schema.ids() {
        let Some(key) = schema.table(root).primary_key.first() else { continue };
        let mut columns: Vec<Option<String>> = vec![None; schema.tables.len()];
        columns[root.0] = schema.table(root).key(key).map(|_| key.clone());
        let mut grows = true;
        while grows {
            grows = false;
            for id in schema.ids().filter(|id| *id != root) {
                if columns[id.0].is_some() {
                    continue;
                }
                let table = schema.table(id);
                let referring = table.references.iter().find_map(|reference| {
                    let theirs = columns[reference.parent.0].as_ref()?;
                    let pairs = reference.columns.iter().zip(&reference.parent_columns);
                    let mut own = pairs.filter(|(_, parent)| *parent == theirs).map(|(own, _)| own);
                    own.find(|own| table.key(own).is_some()).cloned()
                });
                let derived = table.keys.iter().find_map(|column| {
                    let derived = column.derived.as_ref()?;
                    let parent = schema.find(&derived.parent)?;
                    (columns[parent.0].as_ref() == Some(&derived.column)).then(|| column.name.clone())
                });
                if let Some(column) = referring.or(derived) {
                    columns[id.0] = Some(column);
                    grows = true;
                }
            }
        }
        let reached = columns.iter().flatten().count();
        if reached > most {
            most = reached;
            best = columns;
        }
    }
    best
}
