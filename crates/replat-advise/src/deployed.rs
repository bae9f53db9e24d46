//! The design that is deployed: how the spec cuts its contexts, and where each partition lives by now.
//!
//! Two partitions that live in one database are together: a transaction within one server needs no other. So the parts of
//! this design are databases, as soon as partitions live in several. Before that they are the partitions, as if each had
//! a database of its own: that is what the spec's trees are for.
//!
//! A key is where the map says. Where a key's value is not known, or where it takes several columns to tell its partition,
//! the partition stands for it: [`Deployed::system`] then has the partition's name wherever the evidence has such a key,
//! and what is said of keys is said of whole partitions.

use std::collections::{BTreeMap, BTreeSet};

use replat_model::ids::{Home, PartitionId};
use replat_model::key::KeyValue;
use replat_model::map::{Leaf, Map, Node};
use replat_model::region::Constraint;
use replat_model::spec::{Context, TableMode};

use crate::design::{Cut, Design, Level, Placement};
use crate::schema::TableId;
use crate::system::System;
use crate::value::{Value, ValueId, place_hash};

/// What the parts of a deployed design are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The databases in which partitions live.
    Databases,
    /// The partitions, since all of them live in one database.
    Partitions,
}

/// A context, as it is deployed.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What the spec says of it.
    pub context: Context,
    /// Its map: the stored one, or the spec's before anything was deployed.
    pub map: Map,
    /// Whether the store has it.
    pub is_stored: bool,
    /// The schema version at each home where partitions live, as far as it is known.
    pub versions: BTreeMap<Home, String>,
}

/// How the evidence knows keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// By their values.
    Values,
    /// By hashes of them; of some it is known in which partition they are.
    Hashes(BTreeMap<String, PartitionOf>),
}

/// The partition of each hash, of one context.
pub type PartitionOf = BTreeMap<String, PartitionId>;

/// What a key of a context is called by in [`Deployed::system`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// By its value.
    Itself,
    /// By the name of its partition.
    Partition,
    /// By its hash, and nobody knows more.
    Hash,
}

/// The deployed design.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// It.
    pub design: Design,
    /// The system that it is measured on.
    pub system: System,
    /// What its parts are.
    pub parts: Parts,
    /// What the parts are called, by their numbers.
    pub names: Vec<String>,
    /// What keys are called, by context.
    pub called: BTreeMap<String, Called>,
    /// The contexts that it is made of.
    pub contexts: BTreeMap<String, Standing>,
    /// What is worth knowing about it.
    pub notes: Vec<String>,
}

/// Why what is deployed cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotTell {
    /// Where a key lives follows from its value, and the values are not known.
    #[error("where the keys of {context} live cannot be told from this evidence")]
    Places {
        /// The context.
        context: String,
        /// Whether a capture could tell.
        is_of_several_columns: bool,
    },
    /// The spec is of other tables.
    #[error("the spec cuts none of the tables of the evidence")]
    NothingCut,
}

/// What is deployed of `system`: these contexts.
///
/// # Errors
///
/// See [`CannotTell`].
pub fn deployed(
    system: &System,
    contexts: BTreeMap<String, Standing>,
    keys: &Keys,
) -> Result<Deployed, CannotTell> {
    let (parts, names) = names(&contexts);
    let mut called = BTreeMap::new();
    for (name, standing) in &contexts {
        called.insert(name.clone(), keys.called(name, standing)?);
    }
    let mut made = Deployed {
        design: Design { partitions: u32::try_from(names.len()).unwrap_or(u32::MAX), ..Design::default() },
        system: system.clone(),
        parts,
        names,
        called,
        contexts,
        notes: Vec::new(),
    };
    for table in &system.schema.tables {
        made.design.tables.insert(table.name.clone(), Placement::Single);
    }
    let mut any = false;
    for name in made.contexts.keys().cloned().collect::<Vec<_>>() {
        any |= made.place(&name, keys);
    }
    if any { Ok(made) } else { Err(CannotTell::NothingCut) }
}

impl Keys {
    fn called(&self, context: &str, standing: &Standing) -> Result<Called, CannotTell> {
        let is_of_several_columns = standing.map.dimensions().len() > 1;
        match self {
            Keys::Values if is_of_several_columns => Ok(Called::Partition),
            Keys::Values => Ok(Called::Itself),
            Keys::Hashes(told) if told.contains_key(context) && !is_of_several_columns => {
                Ok(Called::Partition)
            }
            Keys::Hashes(_) if knows_by_value(standing.map.root()) => {
                Err(CannotTell::Places { context: context.to_owned(), is_of_several_columns })
            }
            Keys::Hashes(_) => Ok(Called::Hash),
        }
    }

    fn partition_of(&self, context: &str, key: &[&Value]) -> Option<&PartitionId> {
        match (self, key) {
            (Keys::Hashes(told), [Value::Text(hash)]) => told.get(context)?.get(hash),
            _ => None,
        }
    }
}

/// The parts of a design: databases where there are several, else partitions.
fn names(contexts: &BTreeMap<String, Standing>) -> (Parts, Vec<String>) {
    let leaves = || contexts.values().flat_map(|standing| standing.map.leaves());
    let databases: BTreeSet<&str> = leaves().map(|leaf| leaf.home.database.as_str()).collect();
    if databases.len() > 1 {
        return (Parts::Databases, databases.into_iter().map(str::to_owned).collect());
    }
    // Contexts begin at the same number each: what has one number would be in one place.
    let mut names: Vec<Vec<&str>> = Vec::new();
    for standing in contexts.values() {
        for (number, leaf) in standing.map.leaves().enumerate() {
            if names.len() <= number {
                names.push(Vec::new());
            }
            names[number].push(leaf.partition.as_str());
        }
    }
    (Parts::Partitions, names.into_iter().map(|all| all.join(", ")).collect())
}

/// A table that a context cuts, as the evidence has it.
struct Sliced {
    table: TableId,
    name: String,
    /// Its columns of the partition key.
    columns: Vec<String>,
    /// Their places among the table's key columns.
    places: Vec<usize>,
}

impl Deployed {
    /// Says where the tables of a context are; whether the evidence shows any of them that is cut.
    fn place(&mut self, name: &str, keys: &Keys) -> bool {
        let (tables, everywhere) = self.tables_of(name);
        for table in everywhere {
            self.design.tables.insert(table, Placement::Replicate);
        }
        let numbers = self.numbers(name);
        let map = self.contexts[name].map.clone();
        let called = self.called[name];
        let mut untold = BTreeSet::new();
        // The part of each key, by what the key is called from now on.
        let mut places: BTreeMap<String, u32> = BTreeMap::new();
        let mut new_names: BTreeMap<Vec<ValueId>, Value> = BTreeMap::new();
        for key in seen_keys(&self.system, &tables) {
            let values: Vec<&Value> = key.iter().map(|id| self.system.trace.values.get(*id)).collect();
            let told = keys.partition_of(name, &values).and_then(|id| map.leaf(id));
            let leaf = told.unwrap_or_else(|| leaf_of(&map, &values));
            let part = numbers[&leaf.partition];
            let is_known = values.iter().all(|value| value.is_known() && **value != Value::Null);
            if called == Called::Partition && (told.is_some() || (is_known && *keys == Keys::Values)) {
                places.insert(leaf.partition.to_string(), part);
                new_names.insert(key, Value::Text(leaf.partition.to_string()));
                continue;
            }
            if called == Called::Partition && is_known {
                untold.insert(key.clone());
            }
            let own = if called == Called::Partition { &values[..1] } else { &values[..] };
            let text: Vec<String> = own.iter().map(|value| value.text()).collect();
            places.insert(text.join("\u{1f}"), part);
        }
        if called == Called::Partition {
            self.call(&tables, &new_names);
        }
        let n = self.design.partitions;
        for Sliced { name, columns, .. } in &tables {
            let cut = match (called, &columns[..]) {
                (Called::Partition, [col, ..]) | (_, [col]) => {
                    Cut::List { col: col.clone(), map: places.clone(), default: 0, n }
                }
                _ => Cut::Hash { cols: columns.clone(), n, pins: places.clone() },
            };
            let levels = vec![Level { cut, shard: None }];
            self.design.tables.insert(name.clone(), Placement::Partition { levels });
        }
        if !tables.is_empty() {
            self.note(name, called, keys, untold.len());
        }
        !tables.is_empty()
    }

    /// The tables that a context cuts, and those that every database has copies of.
    fn tables_of(&self, name: &str) -> (Vec<Sliced>, Vec<String>) {
        let context = &self.contexts[name].context;
        let schema = &self.system.schema;
        let seen_as = |table: &str| {
            let names = [table.to_owned(), format!("{}.{table}", context.home.schema)];
            names.into_iter().find(|name| schema.find(name).is_some())
        };
        let of_mode = |mode: TableMode| context.tables.iter().filter(move |(_, said)| said.mode == mode);
        let everywhere = of_mode(TableMode::Reference).filter_map(|(table, _)| seen_as(table)).collect();
        let sliced = of_mode(TableMode::Slice).filter_map(|(table, said)| {
            let name = seen_as(table)?;
            let table = schema.find(&name)?;
            let columns: Vec<String> =
                context.dimensions.iter().map(|d| said.column_of(&d.column).to_owned()).collect();
            let places: Option<Vec<usize>> =
                columns.iter().map(|column| schema.table(table).key(column)).collect();
            Some(Sliced { table, name, columns, places: places.unwrap_or_default() })
        });
        (sliced.collect(), everywhere)
    }

    /// Calls keys by other names: in the first column of each, which is the one that the design then cuts by.
    fn call(&mut self, tables: &[Sliced], new_names: &BTreeMap<Vec<ValueId>, Value>) {
        let System { schema, trace, .. } = &mut self.system;
        let ids: BTreeMap<&Vec<ValueId>, ValueId> =
            new_names.iter().map(|(key, name)| (key, trace.values.id(name.clone()))).collect();
        for access in &trace.accesses {
            let Some(Sliced { places, .. }) = tables.iter().find(|sliced| sliced.table == access.table)
            else {
                continue;
            };
            let (Some(first), Some(rows)) = (places.first(), access.rows.clone()) else { continue };
            let width = schema.table(access.table).keys.len().max(1);
            for row in trace.cells[rows.start as usize..rows.end as usize].chunks_exact_mut(width) {
                let key: Vec<ValueId> = places.iter().map(|place| row[*place]).collect();
                if let Some(id) = ids.get(&key) {
                    row[*first] = *id;
                }
            }
        }
    }

    fn note(&mut self, name: &str, called: Called, keys: &Keys, untold: usize) {
        match (called, keys) {
            (Called::Hash, _) => self.notes.push(format!(
                "This evidence knows keys by their hashes only, so in which bucket a key of {name} is is drawn by chance; a \
                 capture that began with --with-partitions knows it"
            )),
            (Called::Partition, Keys::Hashes(_)) => self.notes.push(format!(
                "This evidence knows of each key of {name} in which partition it is, and not its value: what is said of keys \
                 is said of whole partitions"
            )),
            (Called::Partition, Keys::Values) => self.notes.push(format!(
                "{name} has a key of several columns: what is said of keys is said of whole partitions, and only those are \
                 looked at for moves; a part of one can be named with -p"
            )),
            (Called::Itself, _) => {}
        }
        if untold > 0 {
            self.notes.push(format!(
                "Of {untold} keys of {name} it is not known in which partition they are; they are counted with one by chance"
            ));
        }
    }

    /// The number of the part that each partition of a context is of.
    fn numbers(&self, name: &str) -> BTreeMap<PartitionId, u32> {
        let number = |at: usize| u32::try_from(at).expect("fewer partitions than 2^32");
        self.contexts[name]
            .map
            .leaves()
            .enumerate()
            .map(|(at, leaf)| {
                let of_database = || self.names.iter().position(|name| *name == leaf.home.database);
                let part = match self.parts {
                    Parts::Databases => of_database().expect("every home was counted"),
                    Parts::Partitions => at,
                };
                (leaf.partition.clone(), number(part))
            })
            .collect()
    }
}

/// The keys that the evidence shows in these tables, a value for each of the columns.
fn seen_keys(system: &System, tables: &[Sliced]) -> BTreeSet<Vec<ValueId>> {
    let (schema, trace) = (&system.schema, &system.trace);
    let mut seen: BTreeSet<Vec<ValueId>> = BTreeSet::new();
    for access in &trace.accesses {
        let Some(sliced) = tables.iter().find(|sliced| sliced.table == access.table) else { continue };
        if sliced.places.is_empty() {
            continue;
        }
        let width = schema.table(access.table).keys.len();
        for row in trace.rows_of(access, width).into_iter().flatten() {
            seen.insert(sliced.places.iter().map(|place| row[*place]).collect());
        }
    }
    seen
}

/// Where a key lives. A value that cannot be read as one of its dimension's type, or that nobody saw, stands for some key:
/// one that is not listed, in the lowest range, in a bucket by chance, but always the same.
fn leaf_of<'m>(map: &'m Map, key: &[&Value]) -> &'m Leaf {
    let dimensions = map.dimensions();
    let read = |(value, at): (&&Value, usize)| {
        if !value.is_known() || **value == Value::Null {
            return None;
        }
        dimensions.get(at)?.key_type.parse(&value.text()).ok()
    };
    let values: Vec<Option<KeyValue>> = key.iter().zip(0..).map(read).collect();
    let all: Option<Vec<KeyValue>> = values.iter().cloned().collect();
    if let Some(leaf) = all.and_then(|all| map.lookup(&all).ok()) {
        return leaf;
    }
    let mut node = map.root();
    loop {
        let split = match node {
            Node::Leaf(leaf) => return leaf,
            Node::Split(split) => split,
        };
        let at = split.dimension();
        let text = key.get(at).map(|value| value.text()).unwrap_or_default();
        let takes = |constraint: &Constraint| match (constraint, values.get(at).and_then(Option::as_ref)) {
            (constraint, Some(value)) => constraint.admits(value),
            (Constraint::Bucket { modulus, remainder }, None) => {
                place_hash(&text) % u64::from(*modulus) == u64::from(*remainder)
            }
            (Constraint::NoneOf(_), None) => true,
            (Constraint::Within { lower, .. }, None) => lower.is_none(),
            (Constraint::OneOf(_), None) => false,
        };
        let found = split.parts().find_map(|(constraint, child)| takes(&constraint).then_some(child));
        node = found.expect("the children of a split take every value");
    }
}

/// Whether a map tells keys apart otherwise than by their hashes.
fn knows_by_value(node: &Node) -> bool {
    match node {
        Node::Leaf(_) => false,
        Node::Split(split) => split.parts().any(|(constraint, child)| {
            !matches!(constraint, Constraint::Bucket { .. }) || knows_by_value(child)
        }),
    }
}
