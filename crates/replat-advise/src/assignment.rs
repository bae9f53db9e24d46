//! In which partition each key is: by its hash, or by its weight where it has much.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::design::{Cut, Node};
use crate::domain::{DomainId, Domains};
use crate::schema::{Schema, TableId};
use crate::search::{Choice, Choices};
use crate::trace::Trace;
use crate::value::{ValueId, Values, place_hash};

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
    pinned: Vec<BTreeMap<ValueId, u32>>,
    /// Of each domain, the values that are too much for one partition.
    split: Vec<BTreeMap<ValueId, Split>>,
}

/// How a key that is too much for one partition is spread further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Split {
    /// By the keys of this domain, where a table has them.
    by: DomainId,
    /// The first partition; where a table has no such key, the only one.
    base: u32,
    /// How many.
    n: u32,
}

impl Assignments {
    /// Every key by its hash.
    pub fn by_hash(values: &Values, domains: &Domains, partitions: u32) -> Assignments {
        Assignments {
            partitions,
            hashes: values.ids().map(|id| place_hash(&values.get(id).text())).collect(),
            pinned: vec![BTreeMap::new(); domains.count],
            split: vec![BTreeMap::new(); domains.count],
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
            let further = domains.column(table, split.by).filter(|further| *further != key);
            return split.base + further.map_or(0, |further| self.hashed_over(row[further], split.n));
        }
        self.pinned[domain].get(&value).copied().unwrap_or_else(|| self.hashed_over(value, self.partitions))
    }

    /// Places the keys by their weight: the heaviest first, each where least is. Keys that are too much for one partition
    /// are spread by the domain `by`, if there is one.
    pub fn balanced(
        &self,
        schema: &Schema,
        trace: &Trace,
        domains: &Domains,
        weights: &Weights<'_>,
        by: Option<DomainId>,
    ) -> Assignments {
        let mut all = self.clone();
        let partitions = self.partitions;
        if let Some(by) = by {
            let mut next = 0;
            for (domain, value, weight) in weights.hot().filter(|(domain, ..)| *domain != by) {
                // How many partitions it takes is a small number.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let n = (weight as f64 / weights.fair).ceil() as u32;
                if next + n <= partitions {
                    all.split[domain.0].insert(value, Split { by, base: next, n });
                    next += n;
                }
            }
        }
        // What stays where it is: the tail, and what was spread.
        let mut load = vec![0_u64; partitions as usize];
        let pinned = |domain: DomainId, value: &ValueId| {
            weights.is_heavy(domain, *value) && !all.split[domain.0].contains_key(value)
        };
        for_each_row(schema, trace, weights.choices, |table, key, row| {
            if !pinned(domains.of(table, key), &row[key]) {
                load[all.part(domains, table, key, row) as usize] += 1;
            }
        });
        let mut pins = Vec::new();
        for (domain, value, weight) in
            weights.heavy.iter().filter(|(domain, value, _)| pinned(*domain, value))
        {
            let (least, _) =
                load.iter().enumerate().min_by_key(|(_, load)| **load).expect("there is a partition");
            load[least] += weight;
            pins.push((*domain, *value, u32::try_from(least).expect("fewer than 2^32 partitions")));
        }
        for (domain, value, part) in pins {
            all.pinned[domain.0].insert(value, part);
        }
        all
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
        if split.is_empty() {
            let pins = pinned.iter().map(|(value, part)| (values.get(*value).text(), *part)).collect();
            return Cut::Hash { cols, n: self.partitions, pins };
        }
        let mut asked = cols.clone();
        let mut root = Node::Spread { hash: cols.clone(), n: self.partitions, base: 0 };
        let mut by_part: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for (value, part) in pinned {
            by_part.entry(*part).or_default().push(values.get(*value).clone());
        }
        let among =
            |among, yes, no| Node::Among { col: name(key), among, yes: Box::new(yes), no: Box::new(no) };
        for (part, mut listed) in by_part {
            listed.sort();
            root = among(listed, Node::Leaf { leaf: part }, root);
        }
        for (value, split) in split {
            let further = domains.column(table, split.by).filter(|further| *further != key);
            let yes = match further {
                Some(further) => {
                    if !asked.contains(&name(further)) {
                        asked.push(name(further));
                    }
                    Node::Spread { hash: vec![name(further)], n: split.n, base: split.base }
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

/// How much the keys weigh under some choices.
pub struct Weights<'a> {
    choices: &'a Choices,
    /// A partition's load if all had the same. Unit: rows handled.
    fair: f64,
    /// The keys that are worth a place of their own, the heaviest first.
    heavy: Vec<(DomainId, ValueId, u64)>,
    is_heavy: HashSet<(DomainId, ValueId)>,
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
        let mut weight: HashMap<(DomainId, ValueId), u64> = HashMap::new();
        for_each_row(schema, trace, choices, |table, key, row| {
            *weight.entry((domains.of(table, key), row[key])).or_default() += 1;
        });
        let fair = weight.values().sum::<u64>() as f64 / f64::from(partitions);
        let mut heavy: Vec<_> = weight
            .into_iter()
            .filter(|(_, weight)| *weight as f64 >= HEAVY_MIN * fair)
            .map(|((domain, value), weight)| (domain, value, weight))
            .collect();
        // Equal weights in the order of their values, so that neither names nor numbers decide.
        heavy.sort_by(|(d, a, m), (e, b, n)| {
            n.cmp(m).then_with(|| trace.values.compare(*a, *b)).then_with(|| d.cmp(e))
        });
        let is_heavy = heavy.iter().map(|(domain, value, _)| (*domain, *value)).collect();
        Weights { choices, fair, heavy, is_heavy }
    }

    /// Whether some key is too much for one partition, and a table that is placed by it has keys of `by`.
    pub fn could_split(&self, domains: &Domains, by: DomainId) -> bool {
        self.hot().any(|(domain, ..)| {
            domain != by
                && self.choices.iter().enumerate().any(|(table, choice)| match choice {
                    Choice::Key(key) => {
                        let table = TableId(table);
                        domains.of(table, *key) == domain && domains.column(table, by).is_some()
                    }
                    _ => false,
                })
        })
    }

    fn hot(&self) -> impl Iterator<Item = (DomainId, ValueId, u64)> {
        self.heavy.iter().copied().filter(|(.., weight)| *weight as f64 > HOT_MIN * self.fair)
    }

    fn is_heavy(&self, domain: DomainId, value: ValueId) -> bool {
        self.is_heavy.contains(&(domain, value))
    }
}

/// Tells of each row that is placed by a key.
fn for_each_row(
    schema: &Schema,
    trace: &Trace,
    choices: &Choices,
    mut tell: impl FnMut(TableId, usize, &[ValueId]),
) {
    for access in &trace.accesses {
        let Choice::Key(key) = choices[access.table.0] else { continue };
        let rows = trace.rows_of(access, schema.table(access.table).keys.len());
        rows.into_iter().flatten().for_each(|row| tell(access.table, key, row));
    }
}
