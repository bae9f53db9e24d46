//! What differs between two catalogues, in words for people.

use std::collections::BTreeMap;

use super::expression::plain_column;
use crate::facts::{ColumnFacts, DatabaseFacts, ForeignKeyFacts, IndexFacts, ReplicaIdentity, TableFacts};
use crate::plan::{Path, Plan, ViewPlan};

/// What green's schema has that blue's has not, and the other way round: one line each, `+`, `-` or `~` first.
///
/// Tables that are neither moved nor new are left out, since they are not the plan's concern.
pub fn schema_difference(blue: &DatabaseFacts, green: &DatabaseFacts, plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    let planned = pairs(blue, plan);
    for pair in &planned {
        let (Some(before), Some(after)) = (blue.table(pair.blue), green.table(pair.green)) else {
            continue;
        };
        if before.name != after.name {
            lines.push(format!("~ {} -> {}", before.name, after.name));
        }
        lines.extend(columns_apart(pair, before, after));
        lines.extend(rest_apart(before, after));
    }
    let is_known =
        |name: &&String| planned.iter().any(|pair| pair.green == **name) || blue.relations.contains(name);
    lines.extend(green.relations.iter().filter(|name| !is_known(name)).map(|name| format!("+ {name}")));
    lines
}

/// A table by its names on both sides, and the columns of green that are columns of blue.
struct Paired<'a> {
    blue: &'a str,
    green: &'a str,
    columns: BTreeMap<&'a str, &'a str>,
}

fn pairs<'a>(blue: &'a DatabaseFacts, plan: &'a Plan) -> Vec<Paired<'a>> {
    let copied = plan.tables.iter().chain(&plan.references).map(|table| {
        let before = blue.table(&table.blue.name);
        let plain = table.forward.iter().filter_map(|forward| {
            Some((forward.target.as_str(), plain_column(&forward.expression, before?)?))
        });
        Paired { blue: &table.blue.name, green: &table.green.name, columns: plain.collect() }
    });
    let views: &[ViewPlan] = match &plan.path {
        Path::Views { views } => views,
        Path::Copy { .. } => &[],
    };
    let shown = views.iter().map(|view| {
        let columns = view.columns.iter().map(|column| (column.name.as_str(), column.of.as_str()));
        Paired { blue: &view.table, green: &view.stands_for.name, columns: columns.collect() }
    });
    copied.chain(shown).collect()
}

fn columns_apart(pair: &Paired<'_>, before: &TableFacts, after: &TableFacts) -> Vec<String> {
    let origin = |column: &ColumnFacts| {
        let name = column.name.as_str();
        before.column(pair.columns.get(name).copied().unwrap_or(name))
    };
    let mut lines = Vec::new();
    for column in &after.columns {
        let says = column_says(column, &after.schema);
        match origin(column).map(|old| (old, column_says(old, &before.schema))) {
            None => lines.push(format!("+ {}.{} {says}", after.name, column.name)),
            Some((old, said)) if old.name != column.name => {
                let name = format!("{}.{}", before.name, old.name);
                let change = if said == says { String::new() } else { format!(" {said} -> {says}") };
                lines.push(format!("~ {name} -> {}.{}{change}", after.name, column.name));
            }
            Some((_, said)) if said != says => {
                lines.push(format!("~ {}.{} {said} -> {says}", after.name, column.name));
            }
            Some(_) => {}
        }
    }
    let is_kept = |old: &&ColumnFacts| {
        after.columns.iter().any(|column| origin(column).is_some_and(|o| o.name == old.name))
    };
    let gone = before.columns.iter().filter(|old| !is_kept(old));
    lines.extend(
        gone.map(|old| format!("- {}.{} {}", before.name, old.name, column_says(old, &before.schema))),
    );
    lines
}

fn rest_apart(before: &TableFacts, after: &TableFacts) -> Vec<String> {
    let (old, new) = (traits(before), traits(after));
    let mut lines = Vec::new();
    for (label, says) in new.iter().filter(|(label, _)| !label.starts_with("column ")) {
        match old.get(label) {
            None => lines.push(format!("+ {} {label} {says}", after.name)),
            Some(said) if said != says => lines.push(format!("~ {} {label} {said} -> {says}", after.name)),
            Some(_) => {}
        }
    }
    for (label, said) in old.iter().filter(|(label, _)| !label.starts_with("column ")) {
        if !new.contains_key(label) {
            lines.push(format!("- {} {label} {said}", before.name));
        }
    }
    lines
}

/// What differs between two surveys of one database, in words: this is how a stale plan says what changed.
/// Statistics, and what else is of the moment, are ignored.
pub fn changed(then: &DatabaseFacts, now: &DatabaseFacts) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, was, is) in [
        ("the system identifier", &then.system_id, &now.system_id),
        ("the database", &then.database_name, &now.database_name),
        ("the schema", &then.schema, &now.schema),
        ("the encoding", &then.encoding, &now.encoding),
        ("wal_level", &then.wal_level, &now.wal_level),
        ("the major version", &then.major.to_string(), &now.major.to_string()),
    ] {
        if was != is {
            lines.push(format!("{what} is {is}, and was {was}"));
        }
    }
    for table in &then.tables {
        match now.table(&table.name) {
            None => lines.push(format!("{} is gone", table.name)),
            Some(after) => lines.extend(table_changed(table, after)),
        }
    }
    let fresh = now.tables.iter().filter(|table| then.table(&table.name).is_none());
    lines.extend(fresh.map(|table| format!("{} is new", table.name)));
    lines
}

fn table_changed(then: &TableFacts, now: &TableFacts) -> Vec<String> {
    let (old, new) = (traits(then), traits(now));
    let mut lines = Vec::new();
    for (label, says) in &new {
        match old.get(label) {
            None => lines.push(format!("{} got {} {says}", now.name, with_article(label))),
            Some(said) if said != says => {
                lines.push(format!("{}: {label} is now {says}, and was {said}", now.name));
            }
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|label| !new.contains_key(*label));
    lines.extend(gone.map(|label| format!("{} lost its {label}", now.name)));
    lines
}

fn with_article(label: &str) -> String {
    match label {
        "primary key" | "replica identity" | "kind" | "row level security" => format!("the {label}"),
        _ if label.starts_with("index") => format!("an {label}"),
        _ => format!("a {label}"),
    }
}

/// What there is to say about a table, by what it is about: `column fee`, `index orders_open`. Names of the table's
/// own schema are left out, so that two schemas can be compared.
fn traits(table: &TableFacts) -> BTreeMap<String, String> {
    let own = |text: &str| without_schema(text, &table.schema);
    let columns = table.columns.iter().map(|c| (format!("column {}", c.name), column_says(c, &table.schema)));
    let indexes = table.indexes.iter().filter(|index| index.columns != table.primary_key || !index.unique);
    let indexes = indexes.map(|index| (format!("index {}", index.name), own(&index_says(index))));
    let constraints = table.constraints.iter();
    let constraints = constraints.map(|c| (format!("constraint {}", c.name), own(&c.definition)));
    let foreign = table.foreign_keys.iter();
    let foreign = foreign.map(|key| (format!("foreign key {}", key.name), key_says(key, &table.schema)));
    let triggers = table.triggers.iter().map(|trigger| {
        let says = format!("{} ({:?})", own(&trigger.definition), trigger.enabled);
        (format!("trigger {}", trigger.name), says)
    });
    let mut found: BTreeMap<String, String> =
        columns.chain(indexes).chain(constraints).chain(foreign).chain(triggers).collect();
    if !table.primary_key.is_empty() {
        found.insert("primary key".into(), format!("({})", table.primary_key.join(", ")));
    }
    found.insert("replica identity".into(), identity_says(&table.replica_identity));
    found.insert("kind".into(), kind_says(table));
    found.insert("row level security".into(), if table.row_security { "on" } else { "off" }.into());
    found
}

fn column_says(column: &ColumnFacts, schema: &str) -> String {
    let own = |text: &str| without_schema(text, schema);
    let mut says = own(&column.type_name);
    if column.not_null {
        says.push_str(" not null");
    }
    if let Some(generated) = &column.generated {
        says.push_str(&format!(" generated ({})", own(generated)));
    } else if column.identity.is_some() {
        says.push_str(" identity");
    } else if let Some(default) = &column.default {
        says.push_str(&format!(" default {}", own(default)));
    }
    says
}

fn index_says(index: &IndexFacts) -> String {
    let unique = if index.unique { "unique " } else { "" };
    let valid = if index.valid { "" } else { " (not valid)" };
    format!("{unique}{}{valid}", index.definition)
}

fn key_says(key: &ForeignKeyFacts, schema: &str) -> String {
    let table = match key.ref_schema == schema {
        true => key.ref_table.clone(),
        false => format!("{}.{}", key.ref_schema, key.ref_table),
    };
    let delete = if key.on_delete_cascade { " on delete cascade" } else { "" };
    let update = if key.on_update_cascade { " on update cascade" } else { "" };
    format!("({}) -> {table} ({}){delete}{update}", key.columns.join(", "), key.ref_columns.join(", "))
}

fn identity_says(identity: &ReplicaIdentity) -> String {
    match identity {
        ReplicaIdentity::Default => "default".into(),
        ReplicaIdentity::Nothing => "nothing".into(),
        ReplicaIdentity::Full => "full".into(),
        ReplicaIdentity::Index(columns) => format!("index ({})", columns.join(", ")),
    }
}

fn kind_says(table: &TableFacts) -> String {
    let logged = if table.unlogged { "unlogged " } else { "" };
    format!("{logged}{:?}", table.kind).to_lowercase()
}

/// `text` without the schema's name before other names.
pub(crate) fn without_schema(text: &str, schema: &str) -> String {
    text.replace(&format!("{schema}."), "").replace(&format!("\"{schema}\"."), "")
}
