//! Key domains: columns of different tables that hold the same keys.

use std::collections::{BTreeMap, HashMap};

use crate::schema::{Schema, TableId};
use crate::trace::{Column, Trace};
use crate::value::{ByNumber, ValueId};

/// Two columns are taken for one domain if, in this many transactions at least, both have values…
const TOGETHER_MIN: u32 = 5;

/// …and in this share of those they have one in common.
const EQUAL_MIN: f64 = 0.8;

/// …but chance alone would have made it fewer than this share: with a handful of values, everything is equal to
/// something.
const CHANCE_MAX: f64 = 0.2;

/// A key domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub usize);

/// Which domain each key column belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains {
    /// By table and place of the column.
    of: Vec<Vec<DomainId>>,
    /// How many there are.
    pub count: usize,
}

impl Domains {
    /// The domain of a table's key column.
    pub fn of(&self, table: TableId, key: usize) -> DomainId {
        self.of[table.0][key]
    }

    /// The table's first key column of this domain.
    pub fn column(&self, table: TableId, domain: DomainId) -> Option<usize> {
        self.of[table.0].iter().position(|d| *d == domain)
    }

    /// The columns of a domain.
    pub fn members(&self, domain: DomainId) -> impl Iterator<Item = (TableId, usize)> {
        self.of.iter().enumerate().flat_map(move |(table, keys)| {
            keys.iter()
                .enumerate()
                .filter(move |(_, d)| **d == domain)
                .map(move |(key, _)| (TableId(table), key))
        })
    }
}

/// Finds the domains: by foreign keys, by columns that are derived from others, by what statements join, and by equal
/// values within a transaction.
pub fn domains(schema: &Schema, trace: &Trace) -> Domains {
    let starts: Vec<usize> = schema
        .tables
        .iter()
        .scan(0, |next, table| {
            let start = *next;
            *next += table.keys.len();
            Some(start)
        })
        .collect();
    let node =
        |table: TableId, column: &str| schema.table(table).key(column).map(|key| starts[table.0] + key);
    let total: usize = schema.tables.iter().map(|table| table.keys.len()).sum();
    let mut sets = Sets::new(total);
    for id in schema.ids() {
        let table = schema.table(id);
        for reference in &table.references {
            for (own, theirs) in reference.columns.iter().zip(&reference.parent_columns) {
                sets.join_if(node(id, own), node(reference.parent, theirs));
            }
        }
        for key in &table.keys {
            let Some(derived) = &key.derived else { continue };
            let Some(parent) = schema.find(&derived.parent) else { continue };
            sets.join_if(node(id, &key.name), node(parent, &derived.column));
        }
    }
    let place = |column: &Column| node(column.table, &column.name);
    for template in &trace.templates {
        for (a, b) in &template.joins {
            sets.join_if(place(a), place(b));
        }
    }
    for (a, b) in equal_within_transactions(schema, trace, &starts, total) {
        sets.join(a, b);
    }
    let mut numbers = BTreeMap::new();
    let mut of = Vec::new();
    for (table, start) in schema.tables.iter().zip(&starts) {
        of.push(
            (0..table.keys.len())
                .map(|key| {
                    let next = numbers.len();
                    DomainId(*numbers.entry(sets.root(start + key)).or_insert(next))
                })
                .collect(),
        );
    }
    Domains { of, count: numbers.len() }
}

/// For each domain the one that stands for it: of domains whose keys name the same things, one to one, such as a number
/// and a code of the same customers, the one that statements know most often.
pub fn representatives(schema: &Schema, trace: &Trace, domains: &Domains) -> Vec<DomainId> {
    let mut known = vec![0_u64; domains.count];
    for access in trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction)) {
        let touch = &trace.templates[access.template as usize].touches[access.touch as usize];
        for column in touch.equal.keys().chain(touch.one_of.keys()) {
            if let Some(key) = schema.table(access.table).key(column) {
                known[domains.of(access.table, key).0] += 1;
            }
        }
    }
    let mut rows: Vec<Vec<&[ValueId]>> = vec![Vec::new(); schema.tables.len()];
    for access in trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction)) {
        let width = schema.table(access.table).keys.len();
        rows[access.table.0].extend(trace.rows_of(access, width).into_iter().flatten());
    }
    let mut sets = Sets::new(domains.count);
    for table in schema.ids() {
        let width = schema.table(table).keys.len();
        for a in 0..width {
            for b in a + 1..width {
                let (one, other) = (domains.of(table, a), domains.of(table, b));
                if one != other && sets.root(one.0) != sets.root(other.0) && one_to_one(&rows[table.0], a, b)
                {
                    sets.join(one.0, other.0);
                }
            }
        }
    }
    let mut best: BTreeMap<usize, usize> = BTreeMap::new();
    for domain in 0..domains.count {
        let own = best.entry(sets.root(domain)).or_insert(domain);
        if known[domain] > known[*own] {
            *own = domain;
        }
    }
    (0..domains.count).map(|domain| DomainId(best[&sets.root(domain)])).collect()
}

/// Whether two columns tell the same of these rows apart.
fn one_to_one(rows: &[&[ValueId]], a: usize, b: usize) -> bool {
    let mut of_a: HashMap<ValueId, ValueId, ByNumber> = HashMap::default();
    let mut of_b: HashMap<ValueId, ValueId, ByNumber> = HashMap::default();
    for row in rows {
        if *of_a.entry(row[a]).or_insert(row[b]) != row[b] || *of_b.entry(row[b]).or_insert(row[a]) != row[a]
        {
            return false;
        }
    }
    of_a.len() > 1
}

/// Pairs of columns, of two tables, that have equal values in one transaction too often for chance.
fn equal_within_transactions(
    schema: &Schema,
    trace: &Trace,
    starts: &[usize],
    total: usize,
) -> Vec<(usize, usize)> {
    let mut distinct = vec![std::collections::BTreeSet::new(); total];
    // What nobody saw is equal to nothing, and different from nothing.
    let known: Vec<bool> = trace.values.ids().map(|id| trace.values.get(id).is_known()).collect();
    let mut together: BTreeMap<(usize, usize), (u32, u32)> = BTreeMap::new();
    for transaction in &trace.transactions {
        let mut seen: BTreeMap<usize, Vec<ValueId>> = BTreeMap::new();
        for access in trace.accesses_of(transaction) {
            let width = schema.table(access.table).keys.len();
            let Some(rows) = trace.rows_of(access, width) else { continue };
            for row in rows {
                for (key, value) in row.iter().enumerate() {
                    if known[value.0 as usize] {
                        seen.entry(starts[access.table.0] + key).or_default().push(*value);
                    }
                }
            }
        }
        for (column, values) in &mut seen {
            values.sort_unstable();
            values.dedup();
            distinct[*column].extend(values.iter().copied());
        }
        for (a, of_a) in &seen {
            for (b, of_b) in seen.range(a + 1..) {
                let counts = together.entry((*a, *b)).or_default();
                counts.0 += 1;
                let (few, many) = if of_a.len() < of_b.len() { (of_a, of_b) } else { (of_b, of_a) };
                counts.1 += u32::from(few.iter().any(|value| many.binary_search(value).is_ok()));
            }
        }
    }
    let table_of = |column: usize| starts.partition_point(|start| *start <= column);
    together
        .into_iter()
        .filter(|((a, b), (both, equal))| {
            let chance = 1.0 / distinct[*a].len().max(distinct[*b].len()).max(1) as f64;
            table_of(*a) != table_of(*b)
                && *both >= TOGETHER_MIN
                && f64::from(*equal) >= EQUAL_MIN * f64::from(*both)
                && chance <= CHANCE_MAX
        })
        .map(|(pair, _)| pair)
        .collect()
}

/// Disjoint sets.
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn new(count: usize) -> Sets {
        Sets { parent: (0..count).collect() }
    }

    fn root(&mut self, mut node: usize) -> usize {
        while self.parent[node] != node {
            self.parent[node] = self.parent[self.parent[node]];
            node = self.parent[node];
        }
        node
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    fn join_if(&mut self, a: Option<usize>, b: Option<usize>) {
        if let (Some(a), Some(b)) = (a, b) {
            self.join(a, b);
        }
    }
}
