//! In which partition each key is: by its hash, or by its weight where it has much.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::design::{Cut, Node};
use crate::domain::{DomainId, Domains};
use crate::residency::Zones;
use crate::schema::{Schema, TableId};
use crate::search::{Choice, Choices};
use crate::trace::{Trace, Transaction};
use crate::value::{ByNumber, Value, ValueId, Values, place_hash};

/// A key that has less than this share of one partition's fair load is hashed: so few accesses say little of tomorrow's.
const HEAVY_MIN: f64 = 0.01;

/// A key with more than this many fair loads is too much for one partition.
const HOT_MIN: f64 = 1.1;

/// Where the keys of all domains are.
#[derive(Clone, Debug)]
pub struct Assignments {
    partitions: u32,
    /// Each value's hash; the same in all domains, so that equal values meet.
    hashes: Arc<[u64]>,
    /// Of each domain, the values that are elsewhere.
    pinned: Vec<HashMap<ValueId, u32, ByNumber>>,
    /// Of each domain, the values that are too much for one partition.
    split: Vec<BTreeMap<ValueId, Split>>,
    /// Of each domain, its ranges, if its keys are placed by their order.
    ranges: Vec<Option<Arc<Ranges>>>,
    /// Which keys must be in which partitions, if any must.
    zones: Option<Arc<Zones>>,
}

/// How a key that is too much for one partition is spread further.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Split {
    /// By the keys of this domain, where a table has them.
    by: DomainId,
    /// By the keys of that one, where a table has only those.
    or_by: Option<DomainId>,
    /// The first partition; where a table has no such key, the only one.
    base: u32,
    /// How many.
    n: u32,
    /// Of the keys that it is spread by, those with much load of their own, and in which of its partitions they are.
    pinned: BTreeMap<(DomainId, ValueId), u32>,
}

impl Split {
    /// The key column by which a table's rows are spread, if it is placed by `key`.
    fn further(&self, domains: &Domains, table: TableId, key: usize) -> Option<usize> {
        [Some(self.by), self.or_by]
            .into_iter()
            .flatten()
            .find_map(|by| domains.column(table, by).filter(|further| *further != key))
    }
}

impl Assignments {
    /// Every key by its hash, within its zone if there are zones.
    pub fn by_hash(
        values: &Values,
        domains: &Domains,
        partitions: u32,
        zones: Option<Arc<Zones>>,
    ) -> Assignments {
        Assignments {
            partitions,
            hashes: values.ids().map(|id| place_hash(&values.get(id).text())).collect(),
            pinned: vec![HashMap::default(); domains.count],
            split: vec![BTreeMap::new(); domains.count],
            ranges: vec![None; domains.count],
            zones,
        }
    }

    /// The same, but with the keys of these domains placed by their order.
    pub fn with_ranges(&self, ranges: impl IntoIterator<Item = (DomainId, Ranges)>) -> Assignments {
        let mut all = self.clone();
        for (domain, ranges) in ranges {
            all.ranges[domain.0] = Some(Arc::new(ranges));
        }
        all
    }

    /// Whether keys of any domain are placed by their order.
    pub fn is_ranged_anywhere(&self) -> bool {
        self.ranges.iter().any(Option::is_some)
    }

    /// Whether keys of a domain are placed by their order.
    pub fn is_ranged(&self, domain: DomainId) -> bool {
        self.ranges[domain.0].is_some()
    }

    /// Which keys must be in which partitions, if any must.
    pub fn zones(&self) -> Option<&Zones> {
        self.zones.as_deref()
    }

    /// The same, but with these keys of a domain where they are said to be.
    pub fn with_pins(&self, pins: impl IntoIterator<Item = (DomainId, ValueId, u32)>) -> Assignments {
        let mut all = self.clone();
        for (domain, value, part) in pins {
            all.pinned[domain.0].insert(value, part);
        }
        all
    }

    /// Whether a key is spread over several partitions.
    pub fn is_split(&self, domain: DomainId, value: ValueId) -> bool {
        self.split[domain.0].contains_key(&value)
    }

    /// The partitions that a key may be in.
    fn allowed(&self, domain: DomainId, value: ValueId) -> Range<u32> {
        match &self.zones {
            Some(zones) if zones.domain == domain => zones.parts_of(value),
            _ => 0..self.partitions,
        }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The partition of a row, if its table is placed by this key column.
    pub fn part(&self, domains: &Domains, table: TableId, key: usize, row: &[ValueId]) -> u32 {
        let domain = domains.of(table, key).0;
        let value = row[key];
        if let Some(split) = self.split[domain].get(&value) {
            return split.base
                + split.further(domains, table, key).map_or(0, |further| {
                    let pinned = split.pinned.get(&(domains.of(table, further), row[further]));
                    pinned.copied().unwrap_or_else(|| self.hashed_over(row[further], split.n))
                });
        }
        if let Some(ranges) = &self.ranges[domain] {
            return ranges.part(value);
        }
        self.pinned[domain].get(&value).copied().unwrap_or_else(|| {
            let parts = self.allowed(DomainId(domain), value);
            parts.start + self.hashed_over(value, parts.end - parts.start)
        })
    }

    /// Places the keys by their weight: the heaviest first, each where least is. Keys that are too much for one partition
    /// are spread by the first of the domains `by`, or where a table has only keys of the second, by that. Where keys are
    /// placed by their order, they stay.
    pub fn balanced(
        &self,
        schema: &Schema,
        trace: &Trace,
        domains: &Domains,
        weights: &Weights<'_>,
        by: Option<(DomainId, Option<DomainId>)>,
    ) -> Assignments {
        let mut all = self.clone();
        let partitions = self.partitions;
        if let Some((by, or_by)) = by {
            let mut taken: BTreeMap<u32, u32> = BTreeMap::new();
            let spread = |domain: DomainId| domain != by && !self.is_ranged(domain);
            for (domain, value, weight) in weights.hot().filter(|(domain, ..)| spread(*domain)) {
                let allowed = self.allowed(domain, value);
                let next = taken.entry(allowed.start).or_insert(allowed.start);
                // How many partitions it takes is a small number.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let n = (weight / weights.fair).ceil() as u32;
                if *next + n <= allowed.end {
                    let split = Split { by, or_by, base: *next, n, pinned: BTreeMap::new() };
                    all.split[domain.0].insert(value, split);
                    *next += n;
                }
            }
            all.balance_splits(schema, trace, domains, weights);
        }
        // What stays where it is: the tail, and what was spread.
        let mut load = vec![0.0; partitions as usize];
        let pinned = |domain: DomainId, value: &ValueId| {
            weights.is_heavy(domain, *value)
                && !all.split[domain.0].contains_key(value)
                && !self.is_ranged(domain)
        };
        for_each_row(schema, trace, weights.choices, |table, key, row| {
            if !pinned(domains.of(table, key), &row[key]) {
                load[all.part(domains, table, key, row) as usize] += 1.0;
            }
        });
        let mut pins = Vec::new();
        for (domain, value, weight) in
            weights.heavy.iter().filter(|(domain, value, _)| pinned(*domain, value))
        {
            let least = self
                .allowed(*domain, *value)
                .min_by(|a, b| f64::total_cmp(&load[*a as usize], &load[*b as usize]))
                .expect("there is a partition");
            load[least as usize] += weight;
            pins.push((*domain, *value, least));
        }
        all.with_pins(pins)
    }

    /// Within each key that is too much for one partition, places the keys by which it is spread by their weight, the
    /// heaviest first, each where least of that key is: they are often too few for a hash to spread them evenly.
    fn balance_splits(&mut self, schema: &Schema, trace: &Trace, domains: &Domains, weights: &Weights<'_>) {
        let mut whole: BTreeMap<(usize, ValueId), f64> = BTreeMap::new();
        let mut parts: BTreeMap<(usize, ValueId), BTreeMap<(DomainId, ValueId), f64>> = BTreeMap::new();
        for_each_row(schema, trace, weights.choices, |table, key, row| {
            let of = (domains.of(table, key).0, row[key]);
            let Some(split) = self.split[of.0].get(&row[key]) else { return };
            match split.further(domains, table, key) {
                Some(further) => {
                    let part = (domains.of(table, further), row[further]);
                    *parts.entry(of).or_default().entry(part).or_default() += 1.0;
                }
                None => *whole.entry(of).or_default() += 1.0,
            }
        });
        for (of, parts) in parts {
            let split = &self.split[of.0][&of.1];
            let mut load = vec![0.0; split.n as usize];
            load[0] = whole.get(&of).copied().unwrap_or(0.0);
            let is_heavy = |part: &(DomainId, ValueId), weight: f64| {
                weight >= HEAVY_MIN * weights.fair && trace.values.get(part.1).is_known()
            };
            let (mut heavy, light): (Vec<_>, Vec<_>) =
                parts.into_iter().partition(|(part, weight)| is_heavy(part, *weight));
            for ((_, value), weight) in light {
                load[self.hashed_over(value, split.n) as usize] += weight;
            }
            // As above, neither names nor numbers decide.
            heavy.sort_by(|((d, a), m), ((e, b), n)| {
                n.total_cmp(m).then_with(|| trace.values.compare(*a, *b)).then_with(|| d.cmp(e))
            });
            let mut pinned = BTreeMap::new();
            for (part, weight) in heavy {
                let least = (0..split.n)
                    .min_by(|a, b| f64::total_cmp(&load[*a as usize], &load[*b as usize]))
                    .expect("there is a partition");
                load[least as usize] += weight;
                pinned.insert(part, least);
            }
            self.split[of.0].get_mut(&of.1).expect("it was there").pinned = pinned;
        }
    }

    /// How a table is cut that is placed by this key column.
    pub fn cut(
        &self,
        schema: &Schema,
        values: &Values,
        domains: &Domains,
        table: TableId,
        key: usize,
    ) -> Cut {
        let name = |key: usize| schema.table(table).keys[key].name.clone();
        let domain = domains.of(table, key).0;
        let (pinned, split) = (&self.pinned[domain], &self.split[domain]);
        let cols = vec![name(key)];
        if let Some(ranges) = &self.ranges[domain] {
            return Cut::Range { col: name(key), bounds: ranges.bounds.clone() };
        }
        let zones = self.zones().filter(|zones| zones.domain.0 == domain);
        if split.is_empty() && zones.is_none() {
            let pins = pinned.iter().map(|(value, part)| (values.get(*value).text(), *part)).collect();
            return Cut::Hash { cols, n: self.partitions, pins };
        }
        let mut asked = cols.clone();
        let spread = |parts: Range<u32>| Node::Spread {
            hash: cols.clone(),
            n: parts.end - parts.start,
            base: parts.start,
        };
        let mut root = spread(zones.map_or(0..self.partitions, Zones::others));
        let mut by_part: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for (value, part) in pinned {
            by_part.entry(*part).or_default().push(values.get(*value).clone());
        }
        let among =
            |among, yes, no| Node::Among { col: name(key), among, yes: Box::new(yes), no: Box::new(no) };
        for (parts, listed) in zones.into_iter().flat_map(|zones| zones.listed(values)) {
            root = among(listed, spread(parts), root);
        }
        for (part, mut listed) in by_part {
            listed.sort();
            root = among(listed, Node::Leaf { leaf: part }, root);
        }
        for (value, split) in split {
            let further = split.further(domains, table, key);
            let yes = match further {
                Some(further) => {
                    if !asked.contains(&name(further)) {
                        asked.push(name(further));
                    }
                    let of = domains.of(table, further);
                    let mut listed: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
                    for ((_, value), part) in split.pinned.iter().filter(|((domain, _), _)| *domain == of) {
                        listed.entry(split.base + part).or_default().push(values.get(*value).clone());
                    }
                    let col = name(further);
                    let tail = Node::Spread { hash: vec![col.clone()], n: split.n, base: split.base };
                    listed.into_iter().fold(tail, |no, (leaf, mut among)| {
                        among.sort();
                        let (yes, no) = (Box::new(Node::Leaf { leaf }), Box::new(no));
                        Node::Among { col: col.clone(), among, yes, no }
                    })
                }
                None => Node::Leaf { leaf: split.base },
            };
            root = among(vec![values.get(*value).clone()], yes, root);
        }
        Cut::Tree { cols: asked, n: self.partitions, root }
    }

    fn hashed_over(&self, value: ValueId, n: u32) -> u32 {
        let hash = self.hashes[value.0 as usize];
        u32::try_from(hash % u64::from(n.max(1))).expect("less than the number of parts")
    }
}

/// Where keys are that are placed by their order.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// Ascending; a bound belongs to the part above it.
    bounds: Vec<Value>,
    /// Of each value, its part.
    parts: Vec<u32>,
}

impl Ranges {
    /// Ranges with these bounds between them, which ascend.
    pub fn new(values: &Values, bounds: Vec<Value>) -> Ranges {
        let part = |value: &Value| {
            u32::try_from(bounds.partition_point(|bound| bound <= value)).expect("fewer than 2^32 ranges")
        };
        let parts = values.ids().map(|id| part(values.get(id))).collect();
        Ranges { bounds, parts }
    }

    /// The part of a value.
    pub fn part(&self, value: ValueId) -> u32 {
        self.parts[value.0 as usize]
    }
}

/// How much the keys weigh under some choices.
pub struct Weights<'a> {
    choices: &'a Choices,
    /// A partition's load if all had the same. Unit: rows handled.
    fair: f64,
    /// The keys that are worth a place of their own, the heaviest first. Unit: rows handled, as they are to be expected.
    heavy: Vec<(DomainId, ValueId, f64)>,
    is_heavy: HashSet<(DomainId, ValueId), ByNumber>,
}

type Visits = HashMap<(DomainId, ValueId), Seen, ByNumber>;

/// What was seen of one key.
#[derive(Clone, Copy, Default)]
struct Seen {
    rows: u64,
    transactions: u64,
    last: u32,
}

impl<'a> Weights<'a> {
    /// Weighs the keys under `choices`.
    pub fn of(
        schema: &Schema,
        trace: &Trace,
        domains: &Domains,
        choices: &'a Choices,
        partitions: u32,
    ) -> Weights<'a> {
        let mut seen: Visits = HashMap::default();
        for (number, transaction) in (1..).zip(&trace.transactions) {
            for_each_row_of(schema, trace, transaction, choices, |table, key, row| {
                let own = seen.entry((domains.of(table, key), row[key])).or_default();
                own.rows += 1;
                own.transactions += u64::from(own.last != number);
                own.last = number;
            });
        }
        let fair = seen.values().map(|seen| seen.rows).sum::<u64>() as f64 / f64::from(partitions);
        let spread = Spread::of(&seen, domains.count);
        let mut heavy: Vec<_> = seen
            .into_iter()
            // Nobody can say where a key goes that he does not know.
            .filter(|((_, value), _)| trace.values.get(*value).is_known())
            .map(|((domain, value), seen)| (domain, value, spread[domain.0].expected(seen)))
            .filter(|(.., weight)| *weight >= HEAVY_MIN * fair)
            .collect();
        // Equal weights in the order of their values, so that neither names nor numbers decide.
        heavy.sort_by(|(d, a, m), (e, b, n)| {
            n.total_cmp(m).then_with(|| trace.values.compare(*a, *b)).then_with(|| d.cmp(e))
        });
        let is_heavy = heavy.iter().map(|(domain, value, _)| (*domain, *value)).collect();
        Weights { choices, fair, heavy, is_heavy }
    }

    /// Whether some key is too much for one partition, and a table that is placed by it has keys of `by`, but none of
    /// `without`.
    pub fn could_split(&self, domains: &Domains, by: DomainId, without: Option<DomainId>) -> bool {
        self.hot().any(|(domain, ..)| {
            domain != by
                && self.choices.iter().enumerate().any(|(table, choice)| match choice {
                    Choice::Key(key) => {
                        let table = TableId(table);
                        domains.of(table, *key) == domain
                            && domains.column(table, by).is_some()
                            && without.is_none_or(|without| domains.column(table, without).is_none())
                    }
                    _ => false,
                })
        })
    }

    fn hot(&self) -> impl Iterator<Item = (DomainId, ValueId, f64)> {
        self.heavy.iter().copied().filter(|(.., weight)| *weight > HOT_MIN * self.fair)
    }

    fn is_heavy(&self, domain: DomainId, value: ValueId) -> bool {
        self.is_heavy.contains(&(domain, value))
    }
}

/// How much the keys of one domain differ, beyond what chance makes of equal ones.
///
/// The transactions that visit a key are taken for a Poisson count around the key's own rate, and the rates for a gamma
/// distribution with the mean and the variance that were seen. What is expected of a key then lies between what was seen
/// of it and the mean of all: near the mean if there is little evidence, or little difference.
#[derive(Clone, Copy, Debug)]
struct Spread {
    mean: f64,
    /// The gamma distribution's shape; infinite if the keys do not differ.
    shape: f64,
}

impl Spread {
    fn of(seen: &Visits, domains: usize) -> Vec<Spread> {
        let mut sums = vec![(0.0, 0.0, 0.0); domains];
        for ((domain, _), seen) in seen {
            let (keys, sum, squares) = &mut sums[domain.0];
            let count = seen.transactions as f64;
            *keys += 1.0;
            *sum += count;
            *squares += count * count;
        }
        sums.into_iter()
            .map(|(keys, sum, squares)| {
                let mean = sum / f64::max(keys, 1.0);
                let variance = (squares - sum * mean) / f64::max(keys - 1.0, 1.0);
                let more = variance - mean;
                Spread { mean, shape: if more > 0.0 { mean * mean / more } else { f64::INFINITY } }
            })
            .collect()
    }

    /// How many rows of a key are to be expected, in as much time again.
    fn expected(self, seen: Seen) -> f64 {
        let count = seen.transactions as f64;
        let rows = seen.rows as f64 / count.max(1.0);
        if self.shape.is_infinite() {
            return self.mean * rows;
        }
        rows * self.mean * (count + self.shape) / (self.mean + self.shape)
    }
}

/// Tells of each row that is placed by a key.
fn for_each_row(
    schema: &Schema,
    trace: &Trace,
    choices: &Choices,
    mut tell: impl FnMut(TableId, usize, &[ValueId]),
) {
    for transaction in &trace.transactions {
        for_each_row_of(schema, trace, transaction, choices, &mut tell);
    }
}

fn for_each_row_of(
    schema: &Schema,
    trace: &Trace,
    transaction: &Transaction,
    choices: &Choices,
    mut tell: impl FnMut(TableId, usize, &[ValueId]),
) {
    for access in trace.accesses_of(transaction) {
        let Choice::Key(key) = choices[access.table.0] else { continue };
        let rows = trace.rows_of(access, schema.table(access.table).keys.len());
        rows.into_iter().flatten().for_each(|row| tell(access.table, key, row));
    }
}
