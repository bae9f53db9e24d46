//! Keys placed one by one, by the company they keep.
//!
//! Where no column keeps transactions together, single keys may: the buyers and the sellers of one town, the authors and
//! the readers of one subject. The keys are the nodes of a graph and transactions bind them; groups are found by
//! modularity, packed into partitions, and improved by moving single keys. It is a last resort, since every placed key has
//! to be stored and looked up: it is taken only if the groups are more than chance makes of as many bonds, and if keys
//! placed by the first half of the evidence do better on the second half, which they have not seen.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::candidate::{Candidate, Task};
use crate::domain::DomainId;
use crate::measure::measure;
use crate::search::{Choice, Dice};
use crate::value::ValueId;

/// Placing single keys has to be better by this, on transactions that it has not seen.
const GAIN_MIN: f64 = 0.02;

/// Groups have to be so much more modular than those of a random graph with the same degrees.
const BEYOND_CHANCE: f64 = 1.25;

/// What binds the keys of one row, by what binds those of one transaction: rows that exist are read together some day.
const ROW_WEIGHT: f64 = 1.0;

/// A partition may have so many times the mean load.
const LOAD_MAX: f64 = 1.15;

/// What one more partition costs a transaction that crosses anyway, by what crossing costs.
const FURTHER: f64 = 0.05;

/// Groups are found by bonds of so many keys at most.
const MEMBERS_MAX: usize = 64;

/// How often all keys are looked at again.
const PASSES: usize = 12;

/// Keys and the partitions where they should be.
pub type Pins = Vec<(DomainId, ValueId, u32)>;

/// Where the keys of `best` should be, if placing them one by one is worth it.
pub fn pins(task: &Task<'_>, best: &Candidate) -> Option<Pins> {
    let all = task.trace.transactions.len();
    if task.zones.is_some() || all < 400 || task.partitions < 2 {
        return None;
    }
    let graph = Graph::of(task, best, 0..all / 2);
    let found = graph.groups();
    let chance = graph.shuffled();
    if graph.modularity(&found) < BEYOND_CHANCE * chance.modularity(&chance.groups()) {
        return None;
    }
    let early = graph.pins(&graph.placed(&found));
    let early = task.measured(best.choices.clone(), &best.assignments.with_pins(early));
    let unseen = task.trace.chosen(all / 2..all);
    let cost = |candidate: &Candidate| {
        measure(task.schema, &unseen, &candidate.design).map_or(f64::INFINITY, |metrics| metrics.cost)
    };
    if cost(&early) > cost(best) - GAIN_MIN {
        return None;
    }
    Some(learned(task, best))
}

/// Where the keys of `best` are together most on this evidence, whether that is worth it or not.
pub fn learned(task: &Task<'_>, best: &Candidate) -> Pins {
    let graph = Graph::of(task, best, 0..task.trace.transactions.len());
    graph.pins(&graph.placed(&graph.groups()))
}

/// Keys and what binds them.
struct Graph {
    nodes: Vec<(DomainId, ValueId)>,
    /// Rows handled, by node.
    load: Vec<f64>,
    /// Rows handled of keys that stay where they are, by partition.
    fixed: Vec<f64>,
    /// Sets of keys that are needed together, and how much that counts.
    edges: Vec<(Vec<u32>, f64)>,
    /// Of each node, its edges.
    of: Vec<Vec<u32>>,
    /// Each node's neighbours.
    near: Vec<Vec<(u32, f64)>>,
}

impl Graph {
    fn of(task: &Task<'_>, best: &Candidate, transactions: Range<usize>) -> Graph {
        let (choices, assignments) = (&best.choices, &best.assignments);
        let mut fixed = vec![0.0; task.partitions as usize];
        let mut places = vec![false; task.domains.count];
        for (table, choice) in task.schema.ids().zip(choices) {
            if let Choice::Key(key) = choice {
                places[task.domains.of(table, *key).0] = true;
            }
        }
        let mut numbers: HashMap<(DomainId, ValueId), u32> = HashMap::new();
        let mut nodes = Vec::new();
        let mut load: Vec<f64> = Vec::new();
        let mut bonds: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
        let mut rows_seen: BTreeMap<Vec<u32>, ()> = BTreeMap::new();
        for transaction in &task.trace.transactions[transactions] {
            let mut together = Vec::new();
            for access in task.trace.accesses_of(transaction) {
                let Choice::Key(own) = choices[access.table.0] else { continue };
                let width = task.schema.table(access.table).keys.len();
                for row in task.trace.rows_of(access, width).into_iter().flatten() {
                    let mut in_row = Vec::new();
                    for (key, value) in row.iter().enumerate() {
                        let domain = task.domains.of(access.table, key);
                        if !places[domain.0] || !task.trace.values.get(*value).is_known() {
                            continue;
                        }
                        let node = *numbers.entry((domain, *value)).or_insert_with(|| {
                            nodes.push((domain, *value));
                            load.push(0.0);
                            u32::try_from(nodes.len() - 1).expect("fewer than 2^32 keys")
                        });
                        in_row.push(node);
                        if key != own {
                            continue;
                        }
                        // A key that is too much for one partition stays spread, wherever its company is.
                        if assignments.is_split(domain, *value) {
                            fixed[assignments.part(task.domains, access.table, key, row) as usize] += 1.0;
                        } else {
                            together.push(node);
                            load[node as usize] += 1.0;
                        }
                    }
                    in_row.sort_unstable();
                    in_row.dedup();
                    if in_row.len() > 1 {
                        rows_seen.insert(in_row, ());
                    }
                }
            }
            together.sort_unstable();
            together.dedup();
            if together.len() > 1 {
                *bonds.entry(together).or_default() += 1.0;
            }
        }
        for row in rows_seen.into_keys() {
            *bonds.entry(row).or_default() += ROW_WEIGHT;
        }
        Graph::new(nodes, load, fixed, bonds.into_iter().collect())
    }

    fn new(
        nodes: Vec<(DomainId, ValueId)>,
        load: Vec<f64>,
        fixed: Vec<f64>,
        edges: Vec<(Vec<u32>, f64)>,
    ) -> Graph {
        let mut of = vec![Vec::new(); nodes.len()];
        let mut near: Vec<HashMap<u32, f64>> = vec![HashMap::new(); nodes.len()];
        for (number, (members, weight)) in edges.iter().enumerate() {
            let bond = weight / (members.len() - 1) as f64;
            for a in members {
                of[*a as usize].push(u32::try_from(number).expect("fewer than 2^32 bonds"));
                // What needs this many keys binds none of them to any other in particular.
                if members.len() > MEMBERS_MAX {
                    continue;
                }
                for b in members.iter().filter(|b| *b != a) {
                    *near[*a as usize].entry(*b).or_default() += bond;
                }
            }
        }
        let near = near
            .into_iter()
            .map(|near| {
                let mut near: Vec<(u32, f64)> = near.into_iter().collect();
                near.sort_by_key(|(node, _)| *node);
                near
            })
            .collect();
        Graph { nodes, load, fixed, edges, of, near }
    }

    /// A random graph in which every key is in as many bonds as here.
    fn shuffled(&self) -> Graph {
        let mut dice = Dice(0xd1ce);
        let mut slots: Vec<u32> =
            self.edges.iter().flat_map(|(members, _)| members.iter().copied()).collect();
        for n in (1..slots.len()).rev() {
            let other = usize::try_from(dice.below(n as u64 + 1)).expect("a place in memory");
            slots.swap(n, other);
        }
        let mut slots = slots.into_iter();
        let edges = self.edges.iter().filter_map(|(members, weight)| {
            let mut drawn: Vec<u32> = slots.by_ref().take(members.len()).collect();
            drawn.sort_unstable();
            drawn.dedup();
            (drawn.len() > 1).then_some((drawn, *weight))
        });
        let edges = edges.collect();
        Graph::new(self.nodes.clone(), self.load.clone(), self.fixed.clone(), edges)
    }

    /// Groups of great modularity, as Blondel and others find them.
    fn groups(&self) -> Vec<usize> {
        let mut dice = Dice(0x97a9);
        let mut group: Vec<usize> = (0..self.nodes.len()).collect();
        let mut near = self.near.clone();
        let mut own: Vec<f64> = vec![0.0; near.len()];
        loop {
            let moved = moved(&near, &own, &mut dice);
            let mut numbers = HashMap::new();
            let renumbered: Vec<usize> = moved
                .iter()
                .map(|group| {
                    let next = numbers.len();
                    *numbers.entry(*group).or_insert(next)
                })
                .collect();
            group.iter_mut().for_each(|group| *group = renumbered[*group]);
            if numbers.len() == near.len() {
                return group;
            }
            let mut joined: Vec<BTreeMap<u32, f64>> = vec![BTreeMap::new(); numbers.len()];
            let mut inner = vec![0.0; numbers.len()];
            for (node, near) in near.iter().enumerate() {
                inner[renumbered[node]] += own[node];
                for (other, bond) in near {
                    let (a, b) = (renumbered[node], renumbered[*other as usize]);
                    if a == b {
                        inner[a] += bond;
                    } else {
                        let b = u32::try_from(b).expect("fewer than 2^32 groups");
                        *joined[a].entry(b).or_default() += bond;
                    }
                }
            }
            near = joined.into_iter().map(|near| near.into_iter().collect()).collect();
            own = inner;
        }
    }

    /// How much more is bound within groups than chance would bind (Newman and Girvan).
    fn modularity(&self, group: &[usize]) -> f64 {
        let mut degree = HashMap::<usize, f64>::new();
        let (mut within, mut total) = (0.0, 0.0);
        for (node, near) in self.near.iter().enumerate() {
            for (other, bond) in near {
                total += bond;
                *degree.entry(group[node]).or_default() += bond;
                within += if group[node] == group[*other as usize] { *bond } else { 0.0 };
            }
        }
        if total == 0.0 {
            return 0.0;
        }
        let mut degrees: Vec<f64> = degree.into_values().collect();
        degrees.sort_by(f64::total_cmp);
        within / total - degrees.into_iter().map(|degree| (degree / total).powi(2)).sum::<f64>()
    }

    /// The partition of each key: whole groups first, the heaviest where least is; then single keys are moved where they
    /// are needed, as far as the load allows.
    fn placed(&self, group: &[usize]) -> Vec<u32> {
        let fair = self.load.iter().chain(&self.fixed).sum::<f64>() / self.fixed.len() as f64;
        let mut weight: BTreeMap<usize, f64> = BTreeMap::new();
        for (node, group) in group.iter().enumerate() {
            *weight.entry(*group).or_default() += self.load[node];
        }
        let mut order: Vec<(usize, f64)> = weight.into_iter().collect();
        order.sort_by(|(a, m), (b, n)| n.total_cmp(m).then_with(|| a.cmp(b)));
        let mut load = self.fixed.clone();
        let mut home = HashMap::new();
        for (group, weight) in order {
            let least = (0..load.len()).min_by(|a, b| f64::total_cmp(&load[*a], &load[*b])).unwrap_or(0);
            load[least] += weight;
            home.insert(group, u32::try_from(least).expect("fewer than 2^32 partitions"));
        }
        let mut part: Vec<u32> = group.iter().map(|group| home[group]).collect();
        // Of each bond, how many of its keys are in which partition.
        let mut spread: Vec<Vec<(u32, u32)>> = self
            .edges
            .iter()
            .map(|(members, _)| {
                let mut spread = Vec::new();
                members.iter().for_each(|node| change(&mut spread, part[*node as usize], true));
                spread
            })
            .collect();
        let price = |parts: usize| {
            if parts < 2 { 0.0 } else { 1.0 + FURTHER * (parts - 1) as f64 }
        };
        let max = LOAD_MAX * fair;
        let mut dice = Dice(0x90e5);
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        for _ in 0..PASSES {
            for n in (1..order.len()).rev() {
                order.swap(n, usize::try_from(dice.below(n as u64 + 1)).expect("a place in memory"));
            }
            let mut moves = 0;
            for node in &order {
                let own = part[*node];
                let mut gain: BTreeMap<u32, f64> = BTreeMap::new();
                let mut stay = 0.0;
                for edge in &self.of[*node] {
                    let (spread, weight) = (&spread[*edge as usize], self.edges[*edge as usize].1);
                    let leaves = spread.iter().any(|(at, count)| *at == own && *count == 1);
                    let without = spread.len() - usize::from(leaves);
                    // Wherever it goes, it is one more partition, unless others are there already.
                    stay += weight * (price(without + 1) - price(spread.len()));
                    for (at, _) in spread.iter().filter(|(at, _)| *at != own) {
                        *gain.entry(*at).or_default() += weight * (price(without + 1) - price(without));
                    }
                }
                let heavy = self.load[*node];
                let overfull = load[own as usize] > max;
                if overfull {
                    let least = (0..load.len()).min_by(|a, b| f64::total_cmp(&load[*a], &load[*b]));
                    gain.entry(u32::try_from(least.unwrap_or(0)).expect("a partition")).or_default();
                }
                let best = gain
                    .into_iter()
                    .filter(|(to, _)| {
                        *to != own
                            && (load[*to as usize] + heavy <= max
                                || load[*to as usize] + heavy < load[own as usize])
                    })
                    .max_by(|(a, m), (b, n)| m.total_cmp(n).then_with(|| b.cmp(a)));
                let Some((to, gained)) = best else { continue };
                // What is too much somewhere has to go, at the price of some bonds.
                let relief = if overfull { 0.05 * heavy } else { 0.0 };
                if gained - stay + relief <= 1e-9 {
                    continue;
                }
                for edge in &self.of[*node] {
                    let spread = &mut spread[*edge as usize];
                    change(spread, own, false);
                    change(spread, to, true);
                }
                load[own as usize] -= heavy;
                load[to as usize] += heavy;
                part[*node] = to;
                moves += 1;
            }
            if moves == 0 {
                break;
            }
        }
        part
    }

    fn pins(&self, part: &[u32]) -> Pins {
        let pins = self.nodes.iter().zip(part);
        pins.map(|((domain, value), part)| (*domain, *value, *part)).collect()
    }
}

fn change(spread: &mut Vec<(u32, u32)>, part: u32, more: bool) {
    match spread.iter().position(|(at, _)| *at == part) {
        Some(place) if more => spread[place].1 += 1,
        Some(place) if spread[place].1 == 1 => {
            spread.swap_remove(place);
        }
        Some(place) => spread[place].1 -= 1,
        None => spread.push((part, 1)),
    }
}

/// Moves each node to the group where modularity gains most, until hardly any move gains. `own` is what binds the nodes
/// within each.
fn moved(near: &[Vec<(u32, f64)>], own: &[f64], dice: &mut Dice) -> Vec<usize> {
    let degree: Vec<f64> = near
        .iter()
        .zip(own)
        .map(|(near, own)| own + near.iter().map(|(_, bond)| bond).sum::<f64>())
        .collect();
    let total = degree.iter().sum::<f64>().max(1e-12);
    let mut group: Vec<usize> = (0..near.len()).collect();
    let mut sum = degree.clone();
    let mut order: Vec<usize> = (0..near.len()).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, usize::try_from(dice.below(n as u64 + 1)).expect("a place in memory"));
    }
    for _ in 0..20 {
        let mut moves = 0;
        for node in &order {
            let was = group[*node];
            let mut to: BTreeMap<usize, f64> = BTreeMap::new();
            for (other, bond) in &near[*node] {
                *to.entry(group[*other as usize]).or_default() += bond;
            }
            sum[was] -= degree[*node];
            let gain = |group: usize, bond: f64| bond - degree[*node] * sum[group] / total;
            let mut best = (was, gain(was, to.get(&was).copied().unwrap_or(0.0)));
            for (candidate, bond) in to {
                let gain = gain(candidate, bond);
                if gain > best.1 + 1e-9 {
                    best = (candidate, gain);
                }
            }
            moves += usize::from(best.0 != was);
            group[*node] = best.0;
            sum[best.0] += degree[*node];
        }
        if moves * 1000 <= near.len() {
            break;
        }
    }
    group
}
