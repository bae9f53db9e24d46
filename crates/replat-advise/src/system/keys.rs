//! The tables of some evidence, and the columns that each could be partitioned by.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::{Evidence, Note, TableSeen};
use crate::schema::{Derived, KeyColumn, Reference, Schema, Table, TableId, Times};
use crate::sql::Analysis;

/// So many columns of a table's own are weighed at most; those of its keys come first.
const OWN_MAX: usize = 16;

/// So many columns are weighed that the table has not got but could get.
const DERIVED_MAX: usize = 4;

/// A table of fewer rows is a list of what there is to choose from.
const LIST_MAX: u64 = 64;

/// The value of a row is looked for over so many foreign keys.
const HOPS_MAX: usize = 2;

/// The tables, without columns to partition by.
pub(super) fn tables(evidence: &Evidence, notes: &mut Vec<Note>) -> Schema {
    let mut places: BTreeMap<&str, TableId> = BTreeMap::new();
    for table in &evidence.tables {
        let next = TableId(places.len());
        places.entry(&table.name).or_insert(next);
    }
    let mut schema = Schema { tables: vec![Table::default(); places.len()] };
    for seen in &evidence.tables {
        let id = places[seen.name.as_str()];
        if !schema.tables[id.0].name.is_empty() {
            continue;
        }
        let mut references: Vec<Reference> = Vec::new();
        for reference in &seen.references {
            let whole = !reference.columns.is_empty()
                && reference.columns.len() == reference.parent_columns.len()
                && reference.columns.iter().all(|column| seen.columns.contains_key(column));
            match places.get(reference.parent.as_str()) {
                Some(parent) if whole => references.push(Reference {
                    columns: reference.columns.clone(),
                    parent: *parent,
                    parent_columns: reference.parent_columns.clone(),
                }),
                Some(_) => notes.push(Note::new(&seen.name, "one of its foreign keys has no such columns")),
                None => notes.push(Note::new(
                    &seen.name,
                    format!("it refers to table {}, which is not there", reference.parent),
                )),
            }
        }
        schema.tables[id.0] = Table {
            name: seen.name.clone(),
            parts: seen.parts.clone(),
            primary_key: seen.primary_key.clone(),
            references,
            columns: seen
                .columns
                .iter()
                .map(|(name, column)| (name.clone(), column.data_type.clone()))
                .collect(),
            order: seen.order.clone(),
            keys: Vec::new(),
            unfit: BTreeSet::new(),
            times: seen
                .columns
                .iter()
                .filter_map(|(name, c)| Some((name.clone(), Times { days: c.days?, ordered: c.ordered })))
                .collect(),
            rows: seen.rows,
            row_bytes: seen.row_bytes,
            column_bytes: seen
                .columns
                .iter()
                .filter_map(|(name, column)| Some((name.clone(), column.bytes?)))
                .collect(),
            required: seen
                .columns
                .iter()
                .filter(|(_, column)| !column.nullable)
                .map(|(name, _)| name.clone())
                .collect(),
            unique: seen.unique.clone(),
        };
    }
    schema
}

/// What names a row: of each table, the sets of columns of which no two rows have the same values.
pub(super) fn identities(schema: &Schema, evidence: &Evidence) -> Vec<Vec<Vec<String>>> {
    let seen: BTreeMap<&str, &TableSeen> =
        evidence.tables.iter().map(|table| (table.name.as_str(), table)).collect();
    let mut all: Vec<Vec<Vec<String>>> = schema
        .tables
        .iter()
        .map(|table| {
            let unique = seen.get(table.name.as_str()).map_or(&[][..], |seen| &seen.unique);
            let mut keys: Vec<Vec<String>> = Vec::new();
            for key in std::iter::once(&table.primary_key).chain(unique) {
                if !key.is_empty() && !keys.contains(key) {
                    keys.push(key.clone());
                }
            }
            keys
        })
        .collect();
    // What is referred to is unique.
    for table in &schema.tables {
        for reference in &table.references {
            if !all[reference.parent.0].contains(&reference.parent_columns) {
                all[reference.parent.0].push(reference.parent_columns.clone());
            }
        }
    }
    all
}

/// Foreign keys that nobody declared: a column that statements join to the whole key of another table.
pub(super) fn undeclared(
    schema: &Schema,
    identities: &[Vec<Vec<String>>],
    analyses: &[(Analysis, u64)],
) -> Vec<(TableId, Reference)> {
    let mut found: BTreeSet<(TableId, String, TableId, String)> = BTreeSet::new();
    for (analysis, _) in analyses {
        for (a, b) in &analysis.joins {
            for ((child, column), (parent, key)) in [(a, b), (b, a)] {
                let (child, parent) = (analysis.touches[*child].table, analysis.touches[*parent].table);
                let identity = |table: TableId, name: &String| {
                    identities[table.0].iter().any(|key| key.len() == 1 && key[0] == *name)
                };
                // Two keys that are joined are two halves of one row: none is the other's parent.
                if child != parent && identity(parent, key) && !identity(child, column) {
                    found.insert((child, column.clone(), parent, key.clone()));
                }
            }
        }
    }
    found
        .into_iter()
        .filter(|(child, column, ..)| {
            !schema.table(*child).references.iter().any(|r| r.columns.len() == 1 && r.columns[0] == *column)
        })
        .map(|(child, column, parent, key)| {
            (child, Reference { columns: vec![column], parent, parent_columns: vec![key] })
        })
        .collect()
}

/// Gives each table its columns to partition by: its keys, those that refer, those that statements bind, those that the
/// evidence shows; and, over foreign keys, those of the rows that it refers to.
pub(super) fn choose(
    schema: &mut Schema,
    evidence: &Evidence,
    identities: &[Vec<Vec<String>>],
    references: &[Vec<Reference>],
    analyses: &[(Analysis, u64)],
) {
    let mut bound: Vec<BTreeMap<&str, u64>> = vec![BTreeMap::new(); schema.tables.len()];
    let mut ranged = bound.clone();
    let mut set: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); schema.tables.len()];
    for (analysis, calls) in analyses {
        for touch in &analysis.touches {
            set[touch.table.0].extend(touch.uses.set.iter().map(String::as_str));
            for column in touch.equal.keys().chain(touch.one_of.keys()) {
                *bound[touch.table.0].entry(column).or_default() += calls + 1;
            }
            for column in touch.range.keys() {
                *ranged[touch.table.0].entry(column).or_default() += calls + 1;
            }
        }
        for (touch, column) in analysis.joins.iter().flat_map(|(a, b)| [a, b]) {
            *bound[analysis.touches[*touch].table.0].entry(column).or_default() += calls + 1;
        }
    }
    let mut shown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in evidence.writes.iter().flat_map(|writes| &writes.rows) {
        let columns = shown.entry(&row.table).or_default();
        columns.extend(row.columns.keys().map(String::as_str));
    }
    let seen: BTreeMap<&str, &TableSeen> =
        evidence.tables.iter().map(|table| (table.name.as_str(), table)).collect();
    let nothing = BTreeSet::new();
    for id in schema.ids() {
        let table = schema.table(id);
        let by_calls = |of: &BTreeMap<&str, u64>| {
            let mut all: Vec<(u64, String)> =
                of.iter().map(|(column, calls)| (*calls, (*column).to_owned())).collect();
            all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            all.into_iter().map(|(_, column)| column)
        };
        let mut names: Vec<String> = Vec::new();
        let candidates = identities[id.0]
            .iter()
            .flatten()
            .cloned()
            .chain(references[id.0].iter().flat_map(|reference| reference.columns.clone()))
            .chain(by_calls(&bound[id.0]))
            .chain(
                shown.get(table.name.as_str()).unwrap_or(&nothing).iter().map(|column| (*column).to_owned()),
            )
            .chain(by_calls(&ranged[id.0]));
        for name in candidates {
            let fits = table.columns.get(&name).is_some_and(|data_type| is_placeable(data_type));
            if fits && !names.contains(&name) {
                names.push(name);
            }
        }
        names.truncate(OWN_MAX);
        let declared: BTreeSet<&String> = identities[id.0]
            .iter()
            .flatten()
            .chain(references[id.0].iter().flat_map(|r| &r.columns))
            .collect();
        // Some libraries set all columns whatever was changed: what rows are asked for by is a key all the same.
        let wanders = |name: &String| {
            set[id.0].contains(name.as_str())
                && !declared.contains(name)
                && !bound[id.0].contains_key(name.as_str())
        };
        let is_moment = |name: &String| table.columns.get(name).is_some_and(|kind| is_moment(kind));
        let unfit = names.iter().filter(|name| is_moment(name) || wanders(name)).cloned().collect();
        schema.tables[id.0].unfit = unfit;
        schema.tables[id.0].keys = names.into_iter().map(|name| KeyColumn { name, derived: None }).collect();
    }
    for _ in 0..HOPS_MAX {
        let reached: Vec<Vec<KeyColumn>> = schema
            .ids()
            .map(|id| reached_by(schema, id, references, seen.get(schema.table(id).name.as_str()).copied()))
            .collect();
        for (table, reached) in schema.tables.iter_mut().zip(reached) {
            table.keys.extend(reached);
        }
    }
}

/// Columns of the rows that a table's rows belong to, which themselves refer to others: by them, rows of several levels
/// could be kept together. A row that belongs to several rows is given what all of these have.
fn reached_by(
    schema: &Schema,
    id: TableId,
    references: &[Vec<Reference>],
    seen: Option<&TableSeen>,
) -> Vec<KeyColumn> {
    let table = schema.table(id);
    let had = table.keys.iter().filter(|key| key.derived.is_some()).count();
    let owners = owners(schema, id, references, seen);
    let reached: Vec<Vec<&KeyColumn>> =
        owners.iter().map(|owner| reachable(schema, owner.parent, references)).collect();
    let (Some(owner), Some((first, others))) = (owners.first(), reached.split_first()) else {
        return Vec::new();
    };
    first
        .iter()
        .filter(|key| !table.columns.contains_key(&key.name) && table.key(&key.name).is_none())
        .filter(|key| others.iter().all(|other| other.iter().any(|theirs| theirs.name == key.name)))
        .take(DERIVED_MAX.saturating_sub(had))
        .map(|key| KeyColumn {
            name: key.name.clone(),
            derived: Some(Derived {
                by: owner.columns[0].clone(),
                parent: schema.table(owner.parent).name.clone(),
                column: key.name.clone(),
            }),
        })
        .collect()
}

/// The rows that a table's rows belong to: the one that their own key begins with, or those that they must refer to, or, if
/// there are none, those that they may refer to.
fn owners<'r>(
    schema: &Schema,
    id: TableId,
    references: &'r [Vec<Reference>],
    seen: Option<&TableSeen>,
) -> Vec<&'r Reference> {
    let single: Vec<&Reference> =
        references[id.0].iter().filter(|r| r.columns.len() == 1 && r.parent != id).collect();
    let first_of_key = schema.table(id).primary_key.first();
    if let Some(owner) = single.iter().find(|reference| Some(&reference.columns[0]) == first_of_key) {
        return vec![owner];
    }
    let nullable = |column: &str| seen.and_then(|seen| seen.columns.get(column)).is_some_and(|c| c.nullable);
    let large: Vec<&Reference> =
        single.into_iter().filter(|reference| !is_list(schema, reference.parent)).collect();
    let must: Vec<&Reference> = large.iter().filter(|r| !nullable(&r.columns[0])).copied().collect();
    if must.is_empty() { large } else { must }
}

/// The columns of a table that refer to others, of more than a few rows.
fn reachable<'s>(schema: &'s Schema, id: TableId, references: &[Vec<Reference>]) -> Vec<&'s KeyColumn> {
    let parent_of = |table: TableId, column: &str| {
        references[table.0].iter().find(|r| r.columns.len() == 1 && r.columns[0] == column).map(|r| r.parent)
    };
    schema
        .table(id)
        .keys
        .iter()
        .filter(|key| match &key.derived {
            Some(_) => true,
            None => parent_of(id, &key.name).is_some_and(|parent| !is_list(schema, parent)),
        })
        .collect()
}

/// Whether a table has so few rows that spreading others by them spreads nothing.
fn is_list(schema: &Schema, id: TableId) -> bool {
    schema.table(id).rows.is_some_and(|rows| rows < LIST_MAX)
}

/// Whether a type is one of points in time. Rows of one time are rows of nobody in particular: time is for ranges inside a
/// partition.
fn is_moment(data_type: &str) -> bool {
    let name = data_type.to_ascii_lowercase();
    ["date", "time"].iter().any(|moment| name.starts_with(moment))
}

/// Whether rows can be placed by values of this type.
fn is_placeable(data_type: &str) -> bool {
    let name = data_type.to_ascii_lowercase();
    !["bool", "json", "xml", "bytea", "float", "double", "real", "point", "polygon", "tsvector", "[]"]
        .iter()
        .any(|not| name.contains(not))
}
