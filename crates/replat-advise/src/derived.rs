//! Columns that tables need before they can be placed as a design says, and keys that no longer hold by themselves.

use serde::{Deserialize, Serialize};

use crate::design::{Design, Placement};
use crate::schema::{Schema, Table};

/// A column that a table has not got yet, and the way to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewColumn {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// Its type, as the catalogue writes that of the column it is taken from; `None` if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
    /// What has to be done, in order. Columns that are taken from this one come after it in the list of all.
    pub steps: Vec<Step>,
}

/// A step on the way to a new column. Each can be done again without harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The column is added, and may be null.
    Add,
    /// New and changed rows get it by a trigger, unless the application writes it.
    Keep {
        /// The table's own column that refers.
        by: String,
        /// The table that it refers to.
        parent: String,
        /// What identifies a row there.
        parent_key: String,
        /// The column there.
        value: String,
    },
    /// Old rows get it, a range of keys at a time.
    BackFill {
        /// The columns by whose ranges it goes on; empty if the table has no primary key.
        ranges_of: Vec<String>,
        /// The table's own column that refers.
        by: String,
        /// The table that it refers to.
        parent: String,
        /// What identifies a row there.
        parent_key: String,
        /// The column there.
        value: String,
    },
    /// No row is without it, and none differs from the row that it refers to.
    Verify {
        /// The table's own column that refers.
        by: String,
        /// The table that it refers to.
        parent: String,
        /// What identifies a row there.
        parent_key: String,
        /// The column there.
        value: String,
    },
    /// It may not be null any more.
    NotNull,
}

/// A unique key that does not contain the columns that place its table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LooseKey {
    /// The table.
    pub table: String,
    /// The key.
    pub key: Vec<String>,
    /// The columns that it would have to contain for a partition to see to it alone.
    pub lacks: Vec<String>,
    /// How its values come to differ without anybody who sees to it, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Drawn>,
}

/// Where values of a key come from that differ by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drawn {
    /// From a sequence: it is enough that each partition has a range of its own.
    Sequence,
    /// They are UUIDs, of which no two meet.
    Uuid,
}

/// The columns that have to be added before a design can be deployed, each after those that it is taken from.
pub fn new_columns(schema: &Schema, design: &Design) -> Vec<NewColumn> {
    let mut found: Vec<NewColumn> = Vec::new();
    for (name, placement) in &design.tables {
        let Placement::Partition { levels } = placement else { continue };
        let Some(table) = schema.find(name) else { continue };
        for column in levels.iter().flat_map(|level| level.cut.columns()) {
            add(schema, schema.table(table), column, &mut found, 0);
        }
    }
    found
}

fn add(schema: &Schema, table: &Table, column: &str, found: &mut Vec<NewColumn>, depth: usize) {
    let known = found.iter().any(|new| new.table == table.name && new.column == column);
    let derived = table.keys.iter().find(|key| key.name == column).and_then(|key| key.derived.as_ref());
    let Some(derived) = derived.filter(|_| !known && depth <= schema.tables.len()) else { return };
    let Some(parent) = schema.find(&derived.parent).map(|parent| schema.table(parent)) else { return };
    // The column may be one that the parent has not got either.
    add(schema, parent, &derived.column, found, depth + 1);
    let reference = table.references.iter().find(|reference| {
        schema.table(reference.parent).name == derived.parent && reference.columns.contains(&derived.by)
    });
    let parent_key = reference
        .and_then(|reference| {
            let place = reference.columns.iter().position(|own| *own == derived.by)?;
            reference.parent_columns.get(place).cloned()
        })
        .or_else(|| parent.primary_key.first().cloned())
        .unwrap_or_else(|| derived.by.clone());
    let (by, value) = (derived.by.clone(), derived.column.clone());
    let parent_name = derived.parent.clone();
    found.push(NewColumn {
        table: table.name.clone(),
        column: column.to_owned(),
        data_type: type_of(schema, parent, &derived.column, 0),
        steps: vec![
            Step::Add,
            Step::Keep {
                by: by.clone(),
                parent: parent_name.clone(),
                parent_key: parent_key.clone(),
                value: value.clone(),
            },
            Step::BackFill {
                ranges_of: table.primary_key.clone(),
                by: by.clone(),
                parent: parent_name.clone(),
                parent_key: parent_key.clone(),
                value: value.clone(),
            },
            Step::Verify { by, parent: parent_name, parent_key, value },
            Step::NotNull,
        ],
    });
}

/// A column's type; of one that is derived itself, that of the column which it is taken from in the end.
fn type_of(schema: &Schema, table: &Table, column: &str, depth: usize) -> Option<String> {
    if let Some(own) = table.columns.get(column) {
        // What counts up in its own table is only a number elsewhere.
        return Some(match own.to_ascii_lowercase().as_str() {
            "serial" => "integer".to_owned(),
            "bigserial" => "bigint".to_owned(),
            "smallserial" => "smallint".to_owned(),
            _ => own.clone(),
        });
    }
    let derived = table.keys.iter().find(|key| key.name == column)?.derived.as_ref()?;
    let parent = schema.find(&derived.parent).filter(|_| depth <= schema.tables.len())?;
    type_of(schema, schema.table(parent), &derived.column, depth + 1)
}

/// Primary keys that a partition cannot see to alone under a design.
pub fn loose_keys(schema: &Schema, design: &Design) -> Vec<LooseKey> {
    let mut found = Vec::new();
    for table in &schema.tables {
        let Some(Placement::Partition { levels }) = design.tables.get(&table.name) else { continue };
        let mut lacks: Vec<String> = Vec::new();
        for column in levels.iter().flat_map(|level| level.cut.columns()) {
            if !table.primary_key.contains(column) && !lacks.contains(column) {
                lacks.push(column.clone());
            }
        }
        if lacks.is_empty() || table.primary_key.is_empty() {
            continue;
        }
        let drawn = match table.primary_key.as_slice() {
            [only] => table.columns.get(only).and_then(|own| match own.to_ascii_lowercase() {
                own if own.contains("serial") => Some(Drawn::Sequence),
                own if own.contains("uuid") => Some(Drawn::Uuid),
                _ => None,
            }),
            _ => None,
        };
        found.push(LooseKey { table: table.name.clone(), key: table.primary_key.clone(), lacks, drawn });
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::design::{Cut, Level};
    use crate::schema::{Derived, KeyColumn, Reference, TableId};

    fn table(name: &str, own: &[(&str, &str)], parent: Option<usize>) -> Table {
        let refers = |parent| Reference {
            columns: vec![own[1].0.to_owned()],
            parent: TableId(parent),
            parent_columns: vec!["id".to_owned()],
        };
        Table {
            name: name.to_owned(),
            primary_key: vec!["id".to_owned()],
            references: parent.map(refers).into_iter().collect(),
            columns: own.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect(),
            ..Table::default()
        }
    }

    #[test]
    fn a_column_that_is_taken_from_a_new_one_comes_after_it() {
        let tenant = |by: &str, parent: &str| KeyColumn {
            name: "tenant".to_owned(),
            derived: Some(Derived {
                by: by.to_owned(),
                parent: parent.to_owned(),
                column: "tenant".to_owned(),
            }),
        };
        let mut projects = table("projects", &[("id", "bigserial"), ("tenant", "bigserial")], None);
        projects.keys.push(KeyColumn { name: "tenant".to_owned(), derived: None });
        let mut tasks = table("tasks", &[("id", "uuid"), ("project", "bigint")], Some(0));
        tasks.keys.push(tenant("project", "projects"));
        let mut comments = table("comments", &[("id", "bigint"), ("task", "uuid")], Some(1));
        comments.keys.push(tenant("task", "tasks"));
        let schema = Schema { tables: vec![projects, tasks, comments] };
        let cut = Cut::Hash { cols: vec!["tenant".to_owned()], n: 4, pins: BTreeMap::new() };
        let placed = Placement::Partition { levels: vec![Level { cut, shard: None }] };
        let tables = ["comments", "projects", "tasks"];
        let design = Design {
            partitions: 4,
            tables: tables.into_iter().map(|name| (name.to_owned(), placed.clone())).collect(),
            ..Design::default()
        };
        let new = new_columns(&schema, &design);
        let order: Vec<&str> = new.iter().map(|new| new.table.as_str()).collect();
        assert_eq!(order, ["tasks", "comments"]);
        assert!(new.iter().all(|new| new.data_type.as_deref() == Some("bigint")), "{new:?}");
        assert!(matches!(new[1].steps[0], Step::Add) && matches!(new[1].steps[4], Step::NotNull));
        assert!(matches!(&new[1].steps[1], Step::Keep { by, parent, parent_key, value }
            if by == "task" && parent == "tasks" && parent_key == "id" && value == "tenant"));
        let loose = loose_keys(&schema, &design);
        let drawn: Vec<Option<Drawn>> = loose.iter().map(|loose| loose.drawn).collect();
        assert_eq!(drawn, [Some(Drawn::Sequence), Some(Drawn::Uuid), None]);
        assert!(loose.iter().all(|loose| loose.lacks == ["tenant"]));
    }
}
