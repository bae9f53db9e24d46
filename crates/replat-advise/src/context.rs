//! Bounded contexts: tables that are worked on together, and apart from others.

mod cutting;

use std::collections::{BTreeMap, BTreeSet};

use self::cutting::{added_along, cross_cutting, give_back};
use crate::related::Related;
use crate::schema::{Schema, TableId};
use crate::search::Dice;
use crate::trace::{Op, Trace};

/// A write binds tables twice as much as a read: reads can be served by a copy.
const WRITE_WEIGHT: f64 = 2.0;

/// What a reference binds, by the strongest bond that traffic shows. It counts for tables only that traffic binds to
/// nothing: elsewhere it would say what was declared, and not what is worked on together.
const REFERENCE_WEIGHT: f64 = 0.05;

/// Two contexts are one if this share of the transactions that write to the lesser writes to the other as well.
const ONE_UNIT_MIN: f64 = 0.5;

/// A table is on its own if so much of what touches it touches nothing else of its context, and no key refers to either.
const ON_ITS_OWN_MIN: f64 = 0.8;

/// Finer and coarser views, from which one is chosen.
const RESOLUTIONS: [f64; 5] = [0.6, 0.8, 1.0, 1.25, 1.6];

/// Tables in groups.
pub type Groups = Vec<Vec<TableId>>;

/// The contexts of a system.
#[derive(Clone, Debug, PartialEq)]
pub struct Contexts {
    /// The contexts; a table that is on its own is one as well.
    pub groups: Groups,
    /// Tables that many contexts need along with their own, such as an outbox or an audit trail; in no group.
    pub cross_cutting: Vec<TableId>,
    /// Those of them that are only added to, so that a row belongs to the transaction that writes it.
    pub added_along: Vec<TableId>,
    /// The share of transactions that touch more than one context.
    pub crossing: f64,
    /// The share of transactions that write to more than one.
    pub writes_crossing: f64,
    /// Other ways to cut that are about as good, finer or coarser.
    pub alternatives: Vec<Groups>,
}

/// Finds the contexts.
pub fn contexts(schema: &Schema, trace: &Trace) -> Contexts {
    let seen = seen(trace);
    let related = Related::of(schema, trace);
    let cross_cutting = cross_cutting(&related, &seen);
    let bonds = Bonds::of(&related, &seen, &cross_cutting);
    let mut found: Vec<Groups> = Vec::new();
    let mut chosen = None;
    for resolution in RESOLUTIONS {
        let mut groups = merged(bonds.groups(resolution), &seen, &cross_cutting);
        give_back(&mut groups, &seen, &cross_cutting);
        let groups = without_lone(&related, groups, &seen);
        if resolution == 1.0 {
            chosen = Some(groups.clone());
        }
        if !found.contains(&groups) {
            found.push(groups);
        }
    }
    let groups = chosen.unwrap_or_default();
    found.retain(|other| *other != groups);
    let (crossing, writes_crossing) = shares(&groups, &seen);
    let grouped: BTreeSet<TableId> = groups.iter().flatten().copied().collect();
    let cross_cutting: Vec<TableId> = cross_cutting.difference(&grouped).copied().collect();
    let added_along = added_along(&seen);
    Contexts {
        groups,
        added_along: cross_cutting.iter().copied().filter(|id| added_along.contains(id)).collect(),
        cross_cutting,
        crossing,
        writes_crossing,
        alternatives: found,
    }
}

/// The tables of one kind of transaction, and how often it was seen.
struct Seen {
    tables: BTreeMap<TableId, Use>,
    count: u64,
}

/// What a transaction does with a table.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    /// It writes to it.
    writes: bool,
    /// It reads, changes or removes rows that are there.
    looks: bool,
}

fn seen(trace: &Trace) -> Vec<Seen> {
    let mut all: BTreeMap<BTreeMap<TableId, Use>, u64> = BTreeMap::new();
    for transaction in &trace.transactions {
        let mut tables = BTreeMap::new();
        for access in trace.accesses_of(transaction) {
            let own: &mut Use = tables.entry(access.table).or_default();
            own.writes |= access.op.writes();
            own.looks |= access.op != Op::Insert;
        }
        *all.entry(tables).or_default() += 1;
    }
    all.into_iter().map(|(tables, count)| Seen { tables, count }).collect()
}

/// How strongly each two tables are bound.
struct Bonds {
    tables: Vec<TableId>,
    weight: Vec<Vec<f64>>,
}

impl Bonds {
    fn of(related: &Related, seen: &[Seen], without: &BTreeSet<TableId>) -> Bonds {
        let tables: Vec<TableId> = related.tables().filter(|id| !without.contains(id)).collect();
        let place: BTreeMap<TableId, usize> = tables.iter().enumerate().map(|(n, id)| (*id, n)).collect();
        let mut weight = vec![vec![0.0; tables.len()]; tables.len()];
        for kind in seen {
            let present: Vec<(usize, bool)> =
                kind.tables.iter().filter_map(|(id, own)| Some((*place.get(id)?, own.writes))).collect();
            // A transaction has one bond to give for each of its tables, however many they are.
            let others = present.len().saturating_sub(1).max(1) as f64;
            for (n, (a, a_writes)) in present.iter().enumerate() {
                for (b, b_writes) in &present[n + 1..] {
                    let strength = if *a_writes && *b_writes { WRITE_WEIGHT } else { 1.0 };
                    let bond = strength * kind.count as f64 / others;
                    weight[*a][*b] += bond;
                    weight[*b][*a] += bond;
                }
            }
        }
        let strongest = weight.iter().flatten().copied().fold(0.0, f64::max).max(1.0);
        let is_lone: Vec<bool> = weight.iter().map(|row| row.iter().all(|bond| *bond == 0.0)).collect();
        for (id, a) in &place {
            for b in related.to(*id).filter_map(|other| place.get(&other).copied()) {
                if is_lone[*a] || is_lone[b] {
                    weight[*a][b] = REFERENCE_WEIGHT * strongest;
                }
            }
        }
        Bonds { tables, weight }
    }

    /// Groups of the greatest modularity (Newman and Girvan) that moving single tables and merging groups finds, as
    /// Blondel and others do it; of several beginnings the best.
    fn groups(&self, resolution: f64) -> Groups {
        let mut dice = Dice(0xc0ffee);
        let mut best: Option<(f64, Vec<usize>)> = None;
        for _ in 0..12 {
            let group = self.louvain(resolution, &mut dice);
            let quality = self.modularity(&group, resolution);
            if best.as_ref().is_none_or(|(most, _)| quality > most + 1e-9) {
                best = Some((quality, group));
            }
        }
        let group = best.map(|(_, group)| group).unwrap_or_default();
        let mut groups: BTreeMap<usize, Vec<TableId>> = BTreeMap::new();
        for (table, group) in self.tables.iter().zip(group) {
            groups.entry(group).or_default().push(*table);
        }
        let mut groups: Groups = groups.into_values().collect();
        groups.sort();
        groups
    }

    fn modularity(&self, group: &[usize], resolution: f64) -> f64 {
        let degree: Vec<f64> = self.weight.iter().map(|row| row.iter().sum()).collect();
        let total: f64 = degree.iter().sum::<f64>().max(1e-12);
        let mut quality = 0.0;
        for (a, row) in self.weight.iter().enumerate() {
            for (b, bond) in row.iter().enumerate() {
                if group[a] == group[b] {
                    quality += bond / total - resolution * degree[a] * degree[b] / (total * total);
                }
            }
        }
        quality
    }

    fn louvain(&self, resolution: f64, dice: &mut Dice) -> Vec<usize> {
        let mut group: Vec<usize> = (0..self.tables.len()).collect();
        let mut weight = self.weight.clone();
        loop {
            let moved = move_nodes(&weight, resolution, dice);
            let mut numbers = BTreeMap::new();
            let renumbered: Vec<usize> = moved
                .iter()
                .map(|g| {
                    let next = numbers.len();
                    *numbers.entry(*g).or_insert(next)
                })
                .collect();
            for own in &mut group {
                *own = renumbered[*own];
            }
            if numbers.len() == weight.len() {
                return group;
            }
            // Groups are the nodes of the next turn.
            let mut next = vec![vec![0.0; numbers.len()]; numbers.len()];
            for (a, row) in weight.iter().enumerate() {
                for (b, bond) in row.iter().enumerate() {
                    next[renumbered[a]][renumbered[b]] += bond;
                }
            }
            weight = next;
        }
    }
}

/// Moves each node to the group where modularity gains most, until no move gains.
fn move_nodes(weight: &[Vec<f64>], resolution: f64, dice: &mut Dice) -> Vec<usize> {
    let count = weight.len();
    let degree: Vec<f64> = weight.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = degree.iter().sum::<f64>().max(1e-12);
    let mut group: Vec<usize> = (0..count).collect();
    let mut sum = degree.clone();
    let mut order: Vec<usize> = (0..count).collect();
    for n in (1..count).rev() {
        order.swap(n, dice.below(n as u64 + 1) as usize);
    }
    loop {
        let mut gained = false;
        for node in &order {
            let own = group[*node];
            let mut to: BTreeMap<usize, f64> = BTreeMap::new();
            for (other, bond) in weight[*node].iter().enumerate() {
                if other != *node && *bond > 0.0 {
                    *to.entry(group[other]).or_default() += bond;
                }
            }
            sum[own] -= degree[*node];
            let gain = |group: usize, bond: f64| bond - resolution * degree[*node] * sum[group] / total;
            let mut best = (own, gain(own, to.get(&own).copied().unwrap_or(0.0)));
            for (candidate, bond) in &to {
                let gain = gain(*candidate, *bond);
                if gain > best.1 + 1e-9 {
                    best = (*candidate, gain);
                }
            }
            gained |= best.0 != own;
            group[*node] = best.0;
            sum[best.0] += degree[*node];
        }
        if !gained {
            return group;
        }
    }
}

/// Groups that are one transactional unit are made one: what is committed together cannot be moved apart.
fn merged(mut groups: Groups, seen: &[Seen], without: &BTreeSet<TableId>) -> Groups {
    loop {
        let mut of = BTreeMap::new();
        for (number, group) in groups.iter().enumerate() {
            of.extend(group.iter().map(|id| (*id, number)));
        }
        let mut writes = vec![0_u64; groups.len()];
        let mut both: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for kind in seen {
            let written: BTreeSet<usize> = kind
                .tables
                .iter()
                .filter(|(id, own)| own.writes && !without.contains(id))
                .filter_map(|(id, _)| of.get(id).copied())
                .collect();
            for a in &written {
                writes[*a] += kind.count;
                for b in written.range(a + 1..) {
                    *both.entry((*a, *b)).or_default() += kind.count;
                }
            }
        }
        let tie = |(a, b): (usize, usize), count: u64| count as f64 / writes[a].min(writes[b]).max(1) as f64;
        let strongest = both
            .iter()
            .map(|(pair, count)| (tie(*pair, *count), *pair))
            .filter(|(tie, _)| *tie >= ONE_UNIT_MIN)
            .max_by(|(m, a), (n, b)| m.total_cmp(n).then_with(|| b.cmp(a)));
        let Some((_, (a, b))) = strongest else {
            groups.sort();
            return groups;
        };
        let joining = groups.remove(b);
        groups[a].extend(joining);
        groups[a].sort();
    }
}

/// Tables that groups have only because something is better than nothing, as modularity has it, get one of their own.
fn without_lone(related: &Related, groups: Groups, seen: &[Seen]) -> Groups {
    let mut found: Groups = Vec::new();
    for group in groups {
        let is_lone = |id: &TableId| {
            let others = || group.iter().filter(|other| *other != id);
            if others().next().is_none() || others().any(|other| related.are(*id, *other)) {
                return false;
            }
            let visits = || seen.iter().filter(|kind| kind.tables.contains_key(id));
            let all: u64 = visits().map(|kind| kind.count).sum();
            let alone = visits().filter(|kind| others().all(|other| !kind.tables.contains_key(other)));
            let alone: u64 = alone.map(|kind| kind.count).sum();
            all > 0 && crate::measure::share(alone, all) >= ON_ITS_OWN_MIN
        };
        let (lone, rest): (Vec<TableId>, Vec<TableId>) = group.iter().copied().partition(is_lone);
        found.extend(lone.into_iter().map(|id| vec![id]));
        found.extend((!rest.is_empty()).then_some(rest));
    }
    found.sort();
    found
}

/// The shares of transactions that touch, and that write to, more than one group.
fn shares(groups: &Groups, seen: &[Seen]) -> (f64, f64) {
    let mut of = BTreeMap::new();
    for (number, group) in groups.iter().enumerate() {
        of.extend(group.iter().map(|id| (*id, number)));
    }
    let (mut all, mut crossing, mut writing) = (0_u64, 0_u64, 0_u64);
    for kind in seen {
        let among = |only_writes: bool| -> BTreeSet<usize> {
            let tables = kind.tables.iter().filter(|(_, own)| own.writes || !only_writes);
            tables.filter_map(|(id, _)| of.get(id).copied()).collect()
        };
        all += kind.count;
        crossing += if among(false).len() > 1 { kind.count } else { 0 };
        writing += if among(true).len() > 1 { kind.count } else { 0 };
    }
    (crate::measure::share(crossing, all), crate::measure::share(writing, all))
}
