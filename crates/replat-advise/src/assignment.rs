//! In which partition each key is: by its hash, or by its weight where it has much.

use std::collections::{BTreeMap, BTreeSet};
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

    /// Places the keys by their weight under `choices`: the heaviest first, each where least is. Keys that are too much
    /// for one partition are spread by the domain `by`, if there is one.
    pub fn balanced(
        schema: &Schema,
        trace: &Trace,
        domains: &Domains,
        choices: &Choices,
        partitions: u32,
        by: Option<DomainId>,
    ) -> Assignments {
        let mut all = Assignments::by_hash(&trace.values, domains, partitions);
        let mut weight: BTreeMap<(DomainId, ValueId), u64> = BTreeMap::new();
        for_each_row(schema, trace, choices, |table, key, row| {
            *weight.entry((domains.of(table, key), row[key])).or_default() += 1;
        });
        let total: u64 = weight.values().sum();
        let fair = total as f64 / f64::from(partitions);
        let mut heavy: Vec<_> =
            weight.into_iter().filter(|(_, weight)| *weight as f64 >= HEAVY_MIN * fair).collect();
        // Equal weights in the order of their values, so that neither names nor numbers decide.
        heavy.sort_by(|((_, a), m), ((_, b), n)| n.cmp(m).then_with(|| trace.values.compare(*a, *b)));
        if let Some(by) = by {
            let mut next = 0;
            for ((domain, value), weight) in &heavy {
                // How many partitions it takes is a small number.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let n = (*weight as f64 / fair).ceil() as u32;
                if *weight as f64 > HOT_MIN * fair && *domain != by && next + n <= partitions {
                    all.split[domain.0].insert(*value, Split { by, base: next, n });
                    next += n;
                }
            }
        }
        heavy.retain(|((domain, value), _)| !all.split[domain.0].contains_key(value));
        // What stays where it is: the tail, and what was spread.
        let mut load = vec![0_u64; partitions as usize];
        let is_heavy: BTreeSet<_> = heavy.iter().map(|(key, _)| *key).collect();
        for_each_row(schema, trace, choices, |table, key, row| {
            if !is_heavy.contains(&(domains.of(table, key), row[key])) {
                load[all.part(domains, table, key, row) as usize] += 1;
            }
        });
        for ((domain, value), weight) in heavy {
            let (least, _) =
                load.iter().enumerate().min_by_key(|(_, load)| **load).expect("there is a partition");
            load[least] += weight;
            all.pinned[domain.0].insert(value, u32::try_from(least).expect("fewer than 2^32 partitions"));
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

    /// Whether some key is spread over several partitions.
    pub fn has_split(&self) -> bool {
        self.split.iter().any(|split| !split.is_empty())
    }

    fn hashed_over(&self, value: ValueId, n: u32) -> u32 {
        let hash = self.hashes[value.0 as usize];
        u32::try_from(hash % u64::from(n.max(1))).expect("less than the number of parts")
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
