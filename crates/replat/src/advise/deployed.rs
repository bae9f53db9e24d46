//! The design that is deployed: how the spec cuts its contexts, and where the store says that each partition lives by now.
//!
//! Two partitions that live in one database are together: a transaction within one server needs no other. So the parts of
//! this design are databases, as soon as partitions live in several. Before that they are the partitions, as if each had
//! a database of its own: that is what the spec's trees are for.

use std::collections::{BTreeMap, BTreeSet};

use replat_advise::design::{Cut, Design, Level, Placement};
use replat_advise::system::System;
use replat_advise::value::{Value, ValueId, place_hash};
use replat_engine::WorkLog;
use replat_model::key::KeyValue;
use replat_model::map::{Leaf, Map, Node};
use replat_model::region::Constraint;
use replat_model::spec::{Context, TableMode};

use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::render::counted;

/// What the parts of a deployed design are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// The databases in which partitions live.
    Databases,
    /// The partitions, since all of them live in one database.
    Partitions,
}

/// A context, as it is deployed.
pub struct Placed {
    /// Its map: the stored one, or the spec's before anything was deployed.
    pub map: Map,
    /// Whether the store has it.
    pub is_stored: bool,
}

/// The deployed design.
pub struct Deployed {
    /// It.
    pub design: Design,
    /// What its parts are.
    pub parts: Parts,
    /// What the parts are called, by their numbers.
    pub names: Vec<String>,
    /// Whether keys are known by their hashes only.
    pub hashed: bool,
    /// The contexts that it is made of.
    pub contexts: BTreeMap<String, Placed>,
    /// Where it comes from, for people.
    pub source: String,
    /// What is worth knowing about it.
    pub notes: Vec<String>,
}

/// What is deployed of `system`, in the context that was named or in all of them.
///
/// # Errors
///
/// [`Failure`] if the store cannot be read, or the spec has none of the tables that the evidence shows.
pub fn deployed(
    project: &Project,
    system: &System,
    hashed: bool,
    context: Option<&str>,
) -> Result<Deployed, Failure> {
    let chosen: Vec<(&str, &Context)> = match context {
        Some(_) => vec![project.context(context)?],
        None => project.spec.contexts.iter().map(|(name, context)| (name.as_str(), context)).collect(),
    };
    let store = project.store_so_far()?;
    let mut contexts = BTreeMap::new();
    for (name, context) in &chosen {
        let stored = match &store {
            Some(store) => store.map(name)?,
            None => None,
        };
        let is_stored = stored.is_some();
        let map = match stored {
            Some(map) => map,
            None => project.first_map(name, context)?,
        };
        if hashed && knows_by_value(map.root()) {
            return Err(untellable(name));
        }
        contexts.insert((*name).to_owned(), Placed { map, is_stored });
    }
    let (parts, names) = names(&contexts);
    let mut made = Deployed {
        design: Design { partitions: u32::try_from(names.len()).unwrap_or(u32::MAX), ..Design::default() },
        parts,
        hashed,
        source: source(project, &contexts, &names, parts),
        names,
        contexts,
        notes: Vec::new(),
    };
    for table in &system.schema.tables {
        made.design.tables.insert(table.name.clone(), Placement::Single);
    }
    let mut any = false;
    for (name, context) in chosen {
        any |= made.place(name, context, system);
    }
    if !any {
        return Err(Failure::new(
            "RP8003",
            Exit::Invalid,
            "the spec cuts none of the tables of the evidence",
        )
        .because([format!("of {}, the evidence shows no table of mode slice", made.source)])
        .remedy("Name the design: --design FILE; or the spec of this system: -c FILE"));
    }
    Ok(made)
}

/// Where a key lives follows from its value, and the values are not known.
fn untellable(context: &str) -> Failure {
    Failure::new(
        "RP8003",
        Exit::Invalid,
        format!("where the keys of {context} live cannot be told from this evidence"),
    )
    .because([
        "its partitions are made of listed keys or ranges, and this evidence knows keys by their hashes only"
            .to_owned(),
    ])
    .remedy("Take evidence with values, such as a recorded workload; docs/advise.md lists the forms.")
    .remedy("Or say how its keys are spread, without their values: --design FILE")
}

/// The parts of a design: databases where there are several, else partitions.
fn names(contexts: &BTreeMap<String, Placed>) -> (Parts, Vec<String>) {
    let leaves = || contexts.values().flat_map(|placed| placed.map.leaves());
    let databases: BTreeSet<&str> = leaves().map(|leaf| leaf.home.database.as_str()).collect();
    if databases.len() > 1 {
        return (Parts::Databases, databases.into_iter().map(str::to_owned).collect());
    }
    // Contexts begin at the same number each: what has one number would be in one place.
    let mut names: Vec<Vec<&str>> = Vec::new();
    for placed in contexts.values() {
        for (number, leaf) in placed.map.leaves().enumerate() {
            if names.len() <= number {
                names.push(Vec::new());
            }
            names[number].push(leaf.partition.as_str());
        }
    }
    (Parts::Partitions, names.into_iter().map(|all| all.join(", ")).collect())
}

fn source(project: &Project, contexts: &BTreeMap<String, Placed>, names: &[String], parts: Parts) -> String {
    let file = project.file.display();
    let leaves: usize = contexts.values().map(|placed| placed.map.leaves().count()).sum();
    let leaves = counted(leaves, "partition", "partitions");
    let stored: Vec<String> = contexts
        .iter()
        .filter(|(_, placed)| placed.is_stored)
        .map(|(name, placed)| format!("{name} at version {}", placed.map.version()))
        .collect();
    let from = match &stored[..] {
        [] => format!("{file}, of which nothing was deployed yet"),
        stored => format!("{file} and the maps of {}", stored.join(", ")),
    };
    match parts {
        Parts::Databases => format!("{from}: {leaves} in {}", names.join(", ")),
        Parts::Partitions => format!("{from}: {leaves}, as if each had a database of its own"),
    }
}

impl Deployed {
    /// Says where the tables of a context are; whether the evidence shows any of them that is cut.
    fn place(&mut self, name: &str, context: &Context, system: &System) -> bool {
        let schema = &system.schema;
        let seen_as = |table: &str| {
            let names = [table.to_owned(), format!("{}.{table}", context.home.schema)];
            names.into_iter().find(|name| schema.find(name).is_some())
        };
        for (table, _) in context.tables.iter().filter(|(_, said)| said.mode == TableMode::Reference) {
            self.design.tables.extend(seen_as(table).map(|seen| (seen, Placement::Replicate)));
        }
        let tables: Vec<(String, Vec<String>)> = context
            .tables
            .iter()
            .filter(|(_, said)| said.mode == TableMode::Slice)
            .filter_map(|(table, said)| {
                let columns = context.dimensions.iter().map(|d| said.column_of(&d.column).to_owned());
                Some((seen_as(table)?, columns.collect()))
            })
            .collect();
        let keys = keys(system, &tables);
        let map = &self.contexts[name].map;
        let numbers = self.numbers(map);
        let places: BTreeMap<String, u32> = keys
            .iter()
            .map(|key| {
                let text: Vec<String> = key.iter().map(|value| value.text()).collect();
                (text.join("\u{1f}"), numbers[&leaf_of(map, key).partition])
            })
            .collect();
        let parts = self.design.partitions;
        for (table, columns) in &tables {
            let cut = match &columns[..] {
                [col] => Cut::List { col: col.clone(), map: places.clone(), default: 0, n: parts },
                _ => Cut::Hash { cols: columns.clone(), n: parts, pins: places.clone() },
            };
            let levels = vec![Level { cut, shard: None }];
            self.design.tables.insert(table.clone(), Placement::Partition { levels });
        }
        if self.hashed && !tables.is_empty() {
            self.notes.push(format!(
                "This evidence knows keys by their hashes only, so in which bucket a key of {name} is is drawn by chance"
            ));
        }
        if columns_of(&tables) > 1 {
            self.notes.push(format!(
                "{name} has a key of several columns: what it costs is told, and no moves are looked for"
            ));
        }
        !tables.is_empty()
    }

    /// The number of the part that each partition is of.
    fn numbers<'m>(&self, map: &'m Map) -> BTreeMap<&'m replat_model::ids::PartitionId, u32> {
        let number = |at: usize| u32::try_from(at).expect("fewer partitions than 2^32");
        map.leaves()
            .enumerate()
            .map(|(at, leaf)| {
                let of_database = || self.names.iter().position(|name| *name == leaf.home.database);
                let part = match self.parts {
                    Parts::Databases => of_database().expect("every home was counted"),
                    Parts::Partitions => at,
                };
                (&leaf.partition, number(part))
            })
            .collect()
    }
}

fn columns_of(tables: &[(String, Vec<String>)]) -> usize {
    tables.iter().map(|(_, columns)| columns.len()).max().unwrap_or(0)
}

/// The keys that the evidence shows in these tables, a value for each of the columns.
fn keys<'s>(system: &'s System, tables: &[(String, Vec<String>)]) -> BTreeSet<Vec<&'s Value>> {
    let (schema, trace) = (&system.schema, &system.trace);
    let places: BTreeMap<usize, Vec<usize>> = tables
        .iter()
        .filter_map(|(table, columns)| {
            let id = schema.find(table)?;
            let places = columns.iter().map(|column| schema.table(id).key(column));
            Some((id.0, places.collect::<Option<Vec<usize>>>()?))
        })
        .collect();
    let mut seen: BTreeSet<Vec<ValueId>> = BTreeSet::new();
    for access in &trace.accesses {
        let Some(columns) = places.get(&access.table.0) else { continue };
        let width = schema.table(access.table).keys.len();
        for row in trace.rows_of(access, width).into_iter().flatten() {
            seen.insert(columns.iter().map(|column| row[*column]).collect());
        }
    }
    seen.into_iter().map(|key| key.into_iter().map(|value| trace.values.get(value)).collect()).collect()
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
