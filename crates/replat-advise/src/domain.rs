//! Key domains: columns of different tables that hold the same keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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

/// Columns of one name are two domains all the same if fewer than this share of those transactions have a value in common.
const DIFFERENT_MAX: f64 = 0.5;

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

/// Finds the domains: by foreign keys, by columns that are derived from others, by what statements join, by equal values
/// within a transaction, and by names that are those of one primary key only.
pub fn domains(schema: &Schema, trace: &Trace) -> Domains {
    let nodes = Nodes::of(schema);
    let mut sets = nodes.seen(trace);
    nodes.join_declared(&mut sets);
    nodes.domains(sets)
}

/// The domains that show by themselves, whatever is declared: by what statements join, by equal values, and by names.
pub fn seen_domains(schema: &Schema, trace: &Trace) -> Domains {
    let nodes = Nodes::of(schema);
    nodes.domains(nodes.seen(trace))
}

/// The key columns of all tables, numbered.
struct Nodes<'a> {
    schema: &'a Schema,
    /// Of each table, the number of its first one.
    starts: Vec<usize>,
    total: usize,
}

impl<'a> Nodes<'a> {
    fn of(schema: &'a Schema) -> Nodes<'a> {
        let mut total = 0;
        let mut starts = Vec::new();
        for table in &schema.tables {
            starts.push(total);
            total += table.keys.len();
        }
        Nodes { schema, starts, total }
    }

    fn node(&self, table: TableId, column: &str) -> Option<usize> {
        self.schema.table(table).key(column).map(|key| self.starts[table.0] + key)
    }

    fn seen(&self, trace: &Trace) -> Sets {
        let mut sets = Sets::new(self.total);
        let place = |column: &Column| self.node(column.table, &column.name);
        for template in &trace.templates {
            for (a, b) in &template.joins {
                sets.join_if(place(a), place(b));
            }
        }
        let meetings = meetings(self.schema, trace, &self.starts, self.total);
        let equal = meetings
            .iter()
            .filter(|meeting| meeting.are_equal && self.table_of(meeting.a) != self.table_of(meeting.b));
        equal.for_each(|meeting| sets.join(meeting.a, meeting.b));
        let different: BTreeSet<(usize, usize)> = meetings
            .iter()
            .filter(|meeting| meeting.are_different)
            .map(|meeting| (meeting.a, meeting.b))
            .collect();
        for (a, b) in self.named_alike() {
            if !different.contains(&(a.min(b), a.max(b))) {
                sets.join(a, b);
            }
        }
        sets
    }

    fn table_of(&self, node: usize) -> usize {
        self.starts.partition_point(|start| *start <= node)
    }

    /// Columns that are called as the whole primary key of just one other table is, and have its type.
    fn named_alike(&self) -> Vec<(usize, usize)> {
        let mut keys: BTreeMap<&str, Vec<TableId>> = BTreeMap::new();
        for id in self.schema.ids() {
            if let [only] = self.schema.table(id).primary_key.as_slice() {
                keys.entry(only).or_default().push(id);
            }
        }
        let mut alike = Vec::new();
        for (name, tables) in keys {
            let [parent] = tables.as_slice() else { continue };
            let Some(of_parent) = self.node(*parent, name) else { continue };
            let type_of = |table: TableId| self.schema.table(table).columns.get(name);
            for child in
                self.schema.ids().filter(|child| child != parent && type_of(*child) == type_of(*parent))
            {
                alike.extend(
                    self.node(child, name).filter(|_| type_of(child).is_some()).map(|own| (own, of_parent)),
                );
            }
        }
        alike
    }

    fn join_declared(&self, sets: &mut Sets) {
        for id in self.schema.ids() {
            let table = self.schema.table(id);
            for reference in &table.references {
                for (own, theirs) in reference.columns.iter().zip(&reference.parent_columns) {
                    sets.join_if(self.node(id, own), self.node(reference.parent, theirs));
                }
            }
            for key in &table.keys {
                let Some(derived) = &key.derived else { continue };
                let Some(parent) = self.schema.find(&derived.parent) else { continue };
                sets.join_if(self.node(id, &key.name), self.node(parent, &derived.column));
            }
        }
    }

    fn domains(&self, mut sets: Sets) -> Domains {
        let mut numbers = BTreeMap::new();
        let mut of = Vec::new();
        for (table, start) in self.schema.tables.iter().zip(&self.starts) {
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

/// What transactions show of two columns.
struct Meeting {
    a: usize,
    b: usize,
    /// Their values are equal too often for chance.
    are_equal: bool,
    /// Their values are mostly different.
    are_different: bool,
}

/// Pairs of columns that have values in the same transactions.
fn meetings(schema: &Schema, trace: &Trace, starts: &[usize], total: usize) -> Vec<Meeting> {
    let mut distinct = vec![BTreeSet::new(); total];
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
    let meeting = |((a, b), (both, equal)): ((usize, usize), (u32, u32))| {
        let chance = 1.0 / distinct[a].len().max(distinct[b].len()).max(1) as f64;
        let (share, is_often) = (f64::from(equal) / f64::from(both), both >= TOGETHER_MIN);
        let are_equal = is_often && share >= EQUAL_MIN && chance <= CHANCE_MAX;
        Meeting { a, b, are_equal, are_different: is_often && share < DIFFERENT_MAX }
    };
    together.into_iter().map(meeting).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::read_workload;

    /// Two tables that both call a column as the key of one of them, and ten transactions that read a row of each.
    fn domains_of(rows: impl Fn(u32) -> (u32, u32)) -> Domains {
        let mut described = read_workload(
            r#"{"format": "advisor-workload/1", "tables": {
                "a": {"pk": ["a_id"], "columns": {"a_id": "int"}, "key_columns": ["a_id"]},
                "b": {"pk": ["b_id"], "columns": {"b_id": "int", "a_id": "int"}, "key_columns": ["b_id", "a_id"]}},
                "statements": [{"id": 0, "touch": [{"table": "a", "op": "r"}]}, {"id": 1, "touch": [{"table": "b", "op": "r"}]}]}"#,
        )
        .expect("a workload");
        let line = |n: u32| {
            let (of_a, of_b) = rows(n);
            format!(r#"{{"t": {n}, "s": [[0, [], [[[{of_a}]]]], [1, [], [[[{}, {of_b}]]]]]}}"#, n + 1000)
        };
        let lines: Vec<String> = (0..10).map(line).collect();
        described.read_trace(lines.iter().map(String::as_str)).expect("a trace");
        domains(&described.schema, &described.trace)
    }

    #[test]
    fn columns_called_as_one_key_hold_it_unless_transactions_show_otherwise() {
        let (a, b) = (TableId(0), TableId(1));
        // Rows that are seen together say it, and so does the name where they are not; but not against them.
        for (case, rows, want) in [
            ("equal", (|n| (n, n)) as fn(u32) -> (u32, u32), true),
            ("mostly", |n| (n, if n < 6 { n } else { n + 500 }), true),
            ("different", |n| (n, n + 500), false),
        ] {
            let domains = domains_of(rows);
            assert_eq!(domains.of(a, 0) == domains.of(b, 1), want, "{case}");
            assert_ne!(domains.of(a, 0), domains.of(b, 0), "{case}");
        }
    }
}
