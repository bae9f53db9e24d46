//! The search for keys: which column each table is partitioned by, and which tables every partition has.
//!
//! Moves re-key one table, or a whole key domain at once; a part of the tables is taken back and placed anew until
//! nothing gets better. Everything is decided by [`cost`] on the transactions that were seen, and all chance comes from a
//! fixed seed, so the same evidence gives the same answer.

use crate::assignment::Assignments;
use crate::domain::{DomainId, Domains};
use crate::measure::{cost, skew_of};
use crate::schema::{Schema, TableId};
use crate::trace::Trace;

/// How a table is placed, for the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Choice {
    /// By this key column, by its place.
    Key(usize),
    /// Every partition has it.
    Everywhere,
    /// In one place.
    Alone,
}

/// How all tables are placed, by table.
pub type Choices = Vec<Choice>;

/// What a set of choices costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The number by which designs are ranked.
    pub cost: f64,
    /// See [`crate::measure::Metrics::cross_partition_share`].
    pub cross: f64,
    /// See [`crate::measure::Metrics::partitions_per_txn`].
    pub participants: f64,
    /// See [`crate::measure::Metrics::load_max_over_mean`].
    pub skew: f64,
}

/// What the search looks at: the transactions, with the partition of each value of each row.
pub struct Ground<'a> {
    schema: &'a Schema,
    trace: &'a Trace,
    partitions: u32,
    /// The partition of each cell of the trace.
    parts: Vec<u32>,
    bytes: Vec<f64>,
    /// The transactions that are looked at.
    sample: Vec<usize>,
}

/// At most this many transactions decide while moves are tried; all of them decide in the end.
const SAMPLE: usize = 3_000;

/// How often a part of the tables is taken back.
const ROUNDS: usize = 40;

impl<'a> Ground<'a> {
    /// Prepares the search. `assignments` say in which partition a key is.
    pub fn new(
        schema: &'a Schema,
        trace: &'a Trace,
        domains: &Domains,
        assignments: &Assignments,
    ) -> Ground<'a> {
        let partitions = assignments.partitions();
        let mut parts = vec![0; trace.cells.len()];
        for access in &trace.accesses {
            let Some(range) = access.rows.clone() else { continue };
            let width = schema.table(access.table).keys.len().max(1);
            for row in range.step_by(width) {
                let first = row as usize;
                let cells = &trace.cells[first..first + width];
                for key in 0..width {
                    parts[first + key] = assignments.part(domains, access.table, key, cells);
                }
            }
        }
        let all = schema.bytes().max(1) as f64;
        let bytes = schema.tables.iter().map(|table| table.bytes() as f64 / all).collect();
        let stride = trace.transactions.len().div_ceil(SAMPLE).max(1);
        let sample = (0..trace.transactions.len()).step_by(stride).collect();
        Ground { schema, trace, partitions, parts, bytes, sample }
    }

    /// What `choices` cost on the sample.
    pub fn estimate(&self, choices: &[Choice]) -> Cost {
        self.cost_of(choices, self.sample.iter().copied())
    }

    /// What `choices` cost on all transactions.
    pub fn cost(&self, choices: &[Choice]) -> Cost {
        self.cost_of(choices, 0..self.trace.transactions.len())
    }

    fn cost_of(&self, choices: &[Choice], transactions: impl Iterator<Item = usize>) -> Cost {
        let partitions = self.partitions as usize;
        // One more place, for tables that are alone.
        let mut load = vec![0_u64; partitions + 1];
        let mut stamp = vec![0_u32; partitions + 1];
        let (mut count, mut crossing, mut fan) = (0_u32, 0_u64, 0_u64);
        for number in transactions {
            count += 1;
            let mut places = 0_u64;
            let mut everywhere = false;
            for access in self.trace.accesses_of(&self.trace.transactions[number]) {
                let mut at = |place: usize| {
                    load[place] += 1;
                    if stamp[place] != count {
                        stamp[place] = count;
                        places += 1;
                    }
                };
                match (choices[access.table.0], &access.rows) {
                    (Choice::Everywhere, _) => everywhere |= access.op.writes(),
                    (Choice::Alone, None) => {}
                    (Choice::Key(_), None) => everywhere |= partitions > 1,
                    (Choice::Alone, Some(rows)) => {
                        let width = self.schema.table(access.table).keys.len().max(1);
                        (rows.start..rows.end).step_by(width).for_each(|_| at(partitions));
                    }
                    (Choice::Key(key), Some(rows)) => {
                        let width = self.schema.table(access.table).keys.len().max(1);
                        (rows.start..rows.end)
                            .step_by(width)
                            .for_each(|row| at(self.parts[row as usize + key] as usize));
                    }
                }
            }
            crossing += u64::from(everywhere || places > 1);
            fan += if everywhere { u64::from(self.partitions) } else { places.max(1) };
        }
        let n = f64::from(count.max(1));
        let (cross, participants) = (crossing as f64 / n, if count == 0 { 1.0 } else { fan as f64 / n });
        let skew = skew_of(&load, self.partitions);
        let copied: f64 = choices
            .iter()
            .zip(&self.bytes)
            .filter(|(choice, _)| **choice == Choice::Everywhere)
            .map(|(_, share)| share * f64::from(self.partitions - 1))
            .sum();
        Cost { cost: cost(cross, participants, skew, 1.0 + copied), cross, participants, skew }
    }

    fn options(&self, table: TableId) -> Vec<Choice> {
        (0..self.schema.table(table).keys.len())
            .map(Choice::Key)
            .chain([Choice::Everywhere, Choice::Alone])
            .collect()
    }
}

/// The best choices that were found, and others that were nearly as good, best first.
pub fn search(ground: &Ground<'_>, domains: &Domains, seeds: Vec<Choices>) -> Vec<(Choices, Cost)> {
    let schema = ground.schema;
    let mut found: Vec<(Choices, Cost)> = Vec::new();
    let mut keep = |choices: Choices| {
        if !found.iter().any(|(known, _)| *known == choices) {
            let cost = ground.cost(&choices);
            found.push((choices, cost));
        }
    };
    let mut climbed: Vec<(Choices, Cost)> = Vec::new();
    for seed in seeds {
        let cost = ground.estimate(&seed);
        climbed.push((seed, cost));
    }
    climbed.sort_by(|a, b| a.1.cost.total_cmp(&b.1.cost));
    climbed.truncate(6);
    for (choices, cost) in &mut climbed {
        climb(ground, domains, choices, cost, None);
        keep(choices.clone());
    }
    climbed.sort_by(|a, b| a.1.cost.total_cmp(&b.1.cost));
    let Some((mut best, mut best_cost)) = climbed.into_iter().next() else { return found };
    let mut dice = Dice(0x5eed);
    for round in 0..ROUNDS {
        let mut trial = best.clone();
        let share = if round % 2 == 0 { 4 } else { 2 };
        let freed: Vec<TableId> = schema.ids().filter(|_| dice.below(share) == 0).collect();
        for table in &freed {
            let options = ground.options(*table);
            trial[table.0] = options[dice.below(options.len() as u64) as usize];
        }
        let mut trial_cost = ground.estimate(&trial);
        climb(ground, domains, &mut trial, &mut trial_cost, Some(&freed));
        climb(ground, domains, &mut trial, &mut trial_cost, None);
        keep(trial.clone());
        if trial_cost.cost < best_cost.cost {
            (best, best_cost) = (trial, trial_cost);
        }
    }
    found.sort_by(|a, b| a.1.cost.total_cmp(&b.1.cost));
    found
}

/// Where a search can begin: each domain everywhere that it reaches, and nowhere in particular.
pub fn seeds(ground: &Ground<'_>, domains: &Domains) -> Vec<Choices> {
    let ids = || ground.schema.ids();
    let by_domain = |domain: usize| {
        let place = |table| domains.column(table, DomainId(domain)).map(Choice::Key);
        ids().map(|table| place(table).unwrap_or_else(|| fallback(ground, table))).collect()
    };
    let mut seeds: Vec<Choices> = (0..domains.count).map(by_domain).collect();
    seeds.push(ids().map(|table| fallback(ground, table)).collect());
    seeds
}

/// Where a table goes that nothing is known of yet.
fn fallback(ground: &Ground<'_>, table: TableId) -> Choice {
    let written = ground.trace.accesses.iter().any(|access| access.table == table && access.op.writes());
    if !written && ground.bytes[table.0] < 0.02 {
        return Choice::Everywhere;
    }
    if ground.schema.table(table).keys.is_empty() { Choice::Alone } else { Choice::Key(0) }
}

/// Takes the best move, again and again, until none is better: one table elsewhere, or a whole domain.
fn climb(
    ground: &Ground<'_>,
    domains: &Domains,
    choices: &mut Choices,
    cost: &mut Cost,
    only: Option<&[TableId]>,
) {
    loop {
        let before = cost.cost;
        let tables: Vec<TableId> = only.map_or_else(|| ground.schema.ids().collect(), <[TableId]>::to_vec);
        for table in tables {
            let was = choices[table.0];
            let mut best = (was, *cost);
            for option in ground.options(table) {
                if option == was {
                    continue;
                }
                choices[table.0] = option;
                let tried = ground.estimate(choices);
                if tried.cost < best.1.cost - 1e-9 {
                    best = (option, tried);
                }
            }
            choices[table.0] = best.0;
            *cost = best.1;
        }
        if only.is_none() {
            for domain in 0..domains.count {
                let mut tried = choices.clone();
                for (table, key) in domains.members(DomainId(domain)) {
                    tried[table.0] = Choice::Key(key);
                }
                if tried == *choices {
                    continue;
                }
                let tried_cost = ground.estimate(&tried);
                if tried_cost.cost < cost.cost - 1e-9 {
                    *choices = tried;
                    *cost = tried_cost;
                }
            }
        }
        if cost.cost > before - 1e-9 {
            return;
        }
    }
}

/// A small generator of numbers (splitmix64, by Steele, Lea and Flood), whose seed is fixed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}
