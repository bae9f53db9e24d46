//! What a schema could be partitioned by: a column that many tables carry under one name and with one type.
//!
//! A guess, and shown as one: what a key means only the people know whose schema it is. Absent on purpose: moments and
//! days, which are what rows are retired by and not whose rows they are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::facts::{DatabaseFacts, TableFacts, TableKind};
use crate::key::KeyType;
use crate::spec::TableMode;

/// A column that could be the partition key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Its name.
    pub column: String,
    /// Its type.
    #[serde(rename = "type")]
    pub key_type: KeyType,
    /// How many tables carry it.
    pub carried: usize,
    /// In how many of those a foreign key leads over it.
    pub leads: usize,
    /// What would become of each table.
    pub parts: BTreeMap<String, Part>,
}

/// What would become of a table under some partition key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// It carries the key.
    Slice,
    /// It lacks the key, and tables that carry it refer to it.
    Reference,
    /// It lacks the key, and refers to tables that carry it: its rows belong to partitions.
    Lacks,
    /// It has nothing to do with tables that carry the key.
    Apart,
}

impl Part {
    /// The mode in which such a table would take part.
    pub fn mode(self) -> TableMode {
        match self {
            Part::Slice | Part::Lacks => TableMode::Slice,
            Part::Reference | Part::Apart => TableMode::Reference,
        }
    }
}

impl Candidate {
    /// The tables of some part, in the order of their names.
    pub fn tables(&self, part: Part) -> Vec<String> {
        self.parts.iter().filter(|(_, is)| **is == part).map(|(name, _)| name.clone()).collect()
    }
}

/// The tables that a deployment could be about: with rows of their own, and not a leaf of another one.
pub fn movable(facts: &DatabaseFacts) -> impl Iterator<Item = &TableFacts> {
    facts.tables.iter().filter(|table| {
        matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned) && table.partition_root.is_none()
    })
}

/// The columns that could be the partition key, the most likely first.
///
/// A column that names single rows in most of the tables that carry it, as `id` does, is none: it is unique, or drawn
/// from a sequence.
pub fn candidates(facts: &DatabaseFacts) -> Vec<Candidate> {
    let mut carriers: BTreeMap<(&str, KeyType), Vec<&TableFacts>> = BTreeMap::new();
    for table in movable(facts) {
        for column in &table.columns {
            let found = column.base_type.as_deref().and_then(KeyType::from_postgres);
            let Some(key_type) = found.filter(|key_type| !is_moment(*key_type)) else { continue };
            if column.generated.is_none() && column.deterministic {
                carriers.entry((&column.name, key_type)).or_default().push(table);
            }
        }
    }
    let likely = carriers.into_iter().filter(|((column, _), tables)| {
        let numbered =
            |table: &TableFacts| table.column(column).is_some_and(|column| column.sequence.is_some());
        let names_rows =
            tables.iter().filter(|table| numbered(table) || table.is_unique_over(&[column])).count();
        tables.len() > 1 && names_rows * 2 <= tables.len()
    });
    let mut found: Vec<(usize, &str, KeyType)> =
        likely.map(|((column, key_type), tables)| (score(&tables, column), column, key_type)).collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    found.into_iter().take(SHOWN).map(|(_, column, key_type)| chosen(facts, column, key_type)).collect()
}

/// How many candidates are worth a look.
const SHOWN: usize = 3;

fn is_moment(key_type: KeyType) -> bool {
    matches!(key_type, KeyType::Date | KeyType::Timestamp | KeyType::TimestampTz)
}

/// How likely it is that the column says whose rows they are. Whoever made the schema said so most clearly with a
/// foreign key; then by making it mandatory and a part of the primary key.
fn score(tables: &[&TableFacts], column: &str) -> usize {
    let count = |holds: &dyn Fn(&TableFacts) -> bool| tables.iter().filter(|table| holds(table)).count();
    let in_keys = count(&|table| table.primary_key.iter().any(|key| key == column));
    let mandatory = count(&|table| table.column(column).is_some_and(|column| column.not_null));
    tables.len() + 2 * count(&|table| leads(table, column)) + in_keys + mandatory
}

fn leads(table: &TableFacts, column: &str) -> bool {
    table.foreign_keys.iter().any(|key| key.columns.iter().any(|from| from == column))
}

/// What would become of the tables if `column` were the partition key.
pub fn chosen(facts: &DatabaseFacts, column: &str, key_type: KeyType) -> Candidate {
    let carries = |table: &&TableFacts| {
        let found = table.column(column).and_then(|column| column.base_type.as_deref());
        found.and_then(KeyType::from_postgres) == Some(key_type)
    };
    let carriers: Vec<&TableFacts> = movable(facts).filter(carries).collect();
    let slices: BTreeSet<&str> = carriers.iter().map(|table| table.name.as_str()).collect();
    let mut refers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut referred: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for table in movable(facts) {
        for key in table.foreign_keys.iter().filter(|key| key.ref_schema == facts.schema) {
            refers.entry(&table.name).or_default().push(&key.ref_table);
            referred.entry(&key.ref_table).or_default().push(&table.name);
        }
    }
    let (above, below) = (reached(&slices, &refers), reached(&slices, &referred));
    // What refers and is referred to, as in a cycle, is rather one table for all than one of a partition's.
    let part = |name: &str| match name {
        name if slices.contains(name) => Part::Slice,
        name if above.contains(name) => Part::Reference,
        name if below.contains(name) => Part::Lacks,
        _ => Part::Apart,
    };
    Candidate {
        column: column.to_owned(),
        key_type,
        carried: carriers.len(),
        leads: carriers.iter().filter(|table| leads(table, column)).count(),
        parts: movable(facts).map(|table| (table.name.clone(), part(&table.name))).collect(),
    }
}

/// Everything to which `steps` lead from `from`, in any number of steps.
fn reached<'a>(from: &BTreeSet<&'a str>, steps: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&str> = from.iter().copied().collect();
    while let Some(name) = open.pop() {
        for next in steps.get(name).into_iter().flatten() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}
