//! Rules about tables: that both sides have them, that their rows can be found again, and what of the old row comes
//! with a change.

use super::{Finding, Ground, Notes, Pair, columns, meant, parts, quoted, rows, types};
use crate::facts::{ColumnFacts, DatabaseFacts, TableFacts, TableKind};
use crate::ids::Side;
use crate::map::Dimension;
use crate::plan::{ColumnShape, KeyColumn, TablePlan, TableShape};
use crate::preflight::{self, Check};
use crate::region::Constraint;
use crate::spec::{Flow, TableMode};

/// A table's schema and name, quoted.
pub(super) fn qualified(table: &TableFacts) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

/// What the rollout says about tables that are not there.
pub(super) fn check_names(ground: &Ground, notes: &mut Notes) {
    let moving: Vec<&str> = [TableMode::Slice, TableMode::Reference]
        .into_iter()
        .flat_map(|mode| ground.tables(mode))
        .flat_map(|blue| ground.green_names(blue))
        .collect();
    for name in ground.rollout.map.keys().filter(|name| !moving.contains(&name.as_str())) {
        let remedy =
            meant(name, moving.iter().copied(), "Name a table of the context as it is called on green.");
        let what = format!("rollout.map speaks of {name}, which is not a table that moves");
        notes.find(Finding::new(Check::UnknownTable, what, remedy).at(name));
    }
}

/// The plans of all tables of a mode that copies rows: one for each table of blue and what becomes of its rows.
pub(super) fn of_mode(ground: &Ground, mode: TableMode, notes: &mut Notes) -> Vec<TablePlan> {
    let mut plans = Vec::new();
    for name in ground.tables(mode) {
        let flows = ground.rollout.flows_of(name);
        let before = plans.len();
        let given = parts::given_back(ground, &flows);
        let drafted = flows.into_iter().zip(&given);
        plans.extend(drafted.filter_map(|(flow, given)| table(ground, flow, given, mode, notes)));
        rows::stay(name, &plans[before..], notes);
    }
    plans
}

fn table<'a>(
    ground: &Ground<'a>,
    flow: Flow<'a>,
    given: &parts::Given<'a>,
    mode: TableMode,
    notes: &mut Notes,
) -> Option<TablePlan> {
    let name = flow.old;
    let blue = found(ground, Side::Blue, name, notes);
    let green = found(ground, Side::Green, flow.new, notes);
    let pair = Pair { blue: blue?, green: green?, flow, same_major: ground.same_major() };
    let key = key(ground, &pair, name, mode, notes);
    let forward = columns::forward(&pair, notes);
    let mut back = columns::backward(&pair, &given.elsewhere, notes);
    parts::check(&pair, given, &key, notes);
    let (blue_rows, green_rows) = rows::filters(&pair, &mut back, notes);
    let size = ground.ask.sizes.get(name).copied().unwrap_or_default();
    let plan = TablePlan {
        blue: shape(pair.blue),
        green: shape(pair.green),
        key,
        forward,
        backward: back.columns,
        is_part: pair.flow.is_part,
        blue_rows,
        green_rows,
        rows: size.rows,
        bytes: size.bytes,
        dimensions: ground.context.tables.get(name).map(|table| table.dimensions.clone()).unwrap_or_default(),
    };
    let (blue_key, green_key): (Vec<&str>, Vec<&str>) =
        (plan.key_on(Side::Blue).collect(), plan.key_on(Side::Green).collect());
    columns::check_identity_always(pair.green, Side::Green, &plan.forward, &green_key, notes);
    // A reference table is not written while it is copied, so nothing about it has to go back.
    if mode == TableMode::Slice {
        notes.lossy.extend(back.lossy);
        notes.obstacles.extend(back.obstacles);
        columns::check_identity_always(pair.blue, Side::Blue, &plan.backward, &blue_key, notes);
        columns::check_unsaid(&pair, Side::Blue, &plan.forward, &blue_key, notes);
        columns::check_unsaid(&pair, Side::Green, &plan.backward, &green_key, notes);
        dimensions(ground, &pair, &blue_key, notes);
        identity(ground, &pair, Side::Blue, &blue_key, notes);
        identity(ground, &pair, Side::Green, &green_key, notes);
    }
    Some(plan)
}

/// The table on one side, if it is there and can take part.
fn found<'a>(ground: &Ground<'a>, side: Side, name: &str, notes: &mut Notes) -> Option<&'a TableFacts> {
    let facts = ground.facts(side);
    let Some(table) = facts.table(name) else {
        notes.find(missing(ground, facts, side, name));
        return None;
    };
    let findings = unfit(facts, table, side);
    let fits = findings.is_empty();
    notes.findings.extend(findings);
    fits.then_some(table)
}

fn missing(ground: &Ground, facts: &DatabaseFacts, side: Side, name: &str) -> Finding {
    let otherwise = match side {
        Side::Blue => "Remove it from the context, or correct its name.",
        Side::Green => "Create it in the rollout's DDL, or say in rollout.tables how it is called there.",
    };
    let remedy = meant(name, facts.relations.iter().map(String::as_str), otherwise);
    Finding::new(Check::UnknownTable, format!("{} has no table {name}", ground.home(side)), remedy).at(name)
}

/// Why a table cannot take part.
fn unfit(facts: &DatabaseFacts, table: &TableFacts, side: Side) -> Vec<Finding> {
    let (name, full, role) = (&table.name, qualified(table), &facts.role);
    let mut findings = Vec::new();
    let mut find = |code: Check, what: String, remedy: String| {
        findings.push(Finding::new(code, format!("{name} {what} on {side}"), remedy).at(name).on(side));
    };
    let kind = match table.kind {
        TableKind::Ordinary | TableKind::Partitioned => None,
        TableKind::Foreign => Some("is a foreign table"),
        TableKind::View => Some("is a view"),
        TableKind::MaterializedView => Some("is a materialized view"),
    };
    if let Some(kind) = kind {
        let remedy = match table.view_of {
            Some(_) => {
                "Make tables of the views first; docs/decisions/0030-one-set-of-rows.md has the statements."
            }
            None => "Take it out of the context.",
        };
        find(Check::NotATable, kind.into(), remedy.into());
    }
    if let Some(root) = &table.partition_root {
        find(Check::PartitionLeaf, format!("is a partition of {root}"), format!("Name {root} in its place."));
    }
    if table.inherits {
        let remedy = "Take it out of the context, or make it a partitioned table.";
        find(Check::Inheritance, "has parents or children by inheritance".into(), remedy.into());
    }
    if table.unlogged {
        find(
            Check::Unlogged,
            "is unlogged, so its changes are in no stream".into(),
            format!("ALTER TABLE {full} SET LOGGED;"),
        );
    }
    for column in table.columns.iter().filter(|column| is_reserved(&column.name)) {
        let remedy = format!("ALTER TABLE {full} RENAME COLUMN {} TO …;", quoted(&column.name));
        find(
            Check::ReservedName,
            format!("has a column {}, which replat calls its own", column.name),
            remedy,
        );
    }
    let pointing = |column: &&ColumnFacts| column.generated.is_none() && types::is_of_the_catalogue(column);
    for column in table.columns.iter().filter(pointing) {
        let (column, kind) = (&column.name, &column.type_name);
        let array = if kind.ends_with("[]") { "[]" } else { "" };
        let remedy = format!(
            "ALTER TABLE {full} ALTER COLUMN {0} TYPE text{array} USING {0}::text{array}; -- names, not numbers",
            quoted(column)
        );
        let what =
            format!("has the column {column} of type {kind}, which means something on its own server only,");
        find(Check::CatalogueNumbers, what, remedy);
    }
    if table.rows_hidden {
        let remedy = format!("ALTER ROLE {} BYPASSRLS;", quoted(role));
        find(Check::RowsHidden, format!("hides rows from {role} by row level security"), remedy);
    }
    if !table.owned {
        let remedy = preflight::membership(facts.major, &table.owner, role);
        find(Check::NotOwner, format!("does not belong to {role}"), remedy);
    }
    findings
}

/// Whether queries of replat's give this name to a column of their own, beside those of the table.
fn is_reserved(name: &str) -> bool {
    let number = name.strip_prefix("replat_k");
    name == "replat_n" || number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The columns that name a row on both sides; what is found wrong with them is left out.
fn key(ground: &Ground, pair: &Pair, name: &str, mode: TableMode, notes: &mut Notes) -> Vec<KeyColumn> {
    let said = match mode {
        TableMode::Slice => said_by_the_partition(ground, name),
        _ => Vec::new(),
    };
    let asked = ground.context.tables.get(name).and_then(|table| table.key.as_ref());
    let names = asked.unwrap_or(&pair.blue.primary_key);
    if names.is_empty() {
        let remedy = key_remedy(pair.blue, &said);
        let what = format!("{name} has no primary key, so a changed row cannot be found again");
        notes.find(Finding::new(Check::NoKey, what, remedy).at(name).on(Side::Blue));
        return Vec::new();
    }
    let before = notes.findings.len();
    let key: Vec<KeyColumn> = names.iter().filter_map(|column| key_column(pair, column, notes)).collect();
    if notes.findings.len() == before {
        for (side, table) in [(Side::Blue, pair.blue), (Side::Green, pair.green)] {
            let columns: Vec<&str> = match side {
                Side::Blue => key.iter().map(|k| k.blue.as_str()).collect(),
                Side::Green => key.iter().map(|k| k.green.as_str()).collect(),
            };
            let said: Vec<&str> = match side {
                Side::Blue => said.clone(),
                Side::Green => {
                    key.iter().filter(|k| said.contains(&k.blue.as_str())).map(|k| k.green.as_str()).collect()
                }
            };
            notes.findings.extend(not_unique(table, side, &said, &columns));
        }
    }
    key
}

/// The columns of the partition key that no row of a table of this partition leaves null: one that does belongs to no
/// partition.
fn said_by_the_partition<'a>(ground: &Ground<'a>, table: &str) -> Vec<&'a str> {
    let says = |constraint: &Constraint| match constraint {
        Constraint::OneOf(_) | Constraint::Bucket { .. } => true,
        Constraint::NoneOf(values) => !values.is_empty(),
        Constraint::Within { lower, upper } => lower.is_some() || upper.is_some(),
    };
    let said = ground.ask.region.constraints().filter(|(_, constraint)| says(constraint));
    said.map(|(n, _)| ground.context.column_of(table, &ground.context.dimensions[n].column)).collect()
}

/// The columns that could be the key, or else a column that can.
fn key_remedy(table: &TableFacts, said: &[&str]) -> String {
    let fit = table.indexes.iter().find(|index| {
        let columns: Vec<&str> = index.columns.iter().map(String::as_str).collect();
        table.is_unique_over_rows_with(said, &columns)
    });
    match fit {
        Some(index) => {
            let list: Vec<String> = index.columns.iter().map(|column| format!("{column:?}")).collect();
            format!(
                "Say in the spec which columns name a row: key = [{}] (index {}).",
                list.join(", "),
                index.name
            )
        }
        None => format!(
            "ALTER TABLE {} ADD COLUMN {} bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY;",
            qualified(table),
            quoted(&format!("{}_id", table.name))
        ),
    }
}

fn key_column(pair: &Pair, name: &str, notes: &mut Notes) -> Option<KeyColumn> {
    let Some(blue) = pair.blue.column(name) else {
        notes.find(columns::unknown(pair.blue, name, "blue"));
        return None;
    };
    let green = unchanged(pair, blue, notes)?;
    Some(KeyColumn {
        blue: blue.name.clone(),
        green: green.name.clone(),
        type_name: blue.stage_type().to_owned(),
        bytes_comparable: types::is_bytes_comparable(blue) && types::is_bytes_comparable(green),
        collated: blue.collated,
    })
}

/// The column of green that `blue` crosses to unchanged, as a column of the key or of the partition key must.
fn unchanged<'a>(pair: &Pair<'a>, blue: &ColumnFacts, notes: &mut Notes) -> Option<&'a ColumnFacts> {
    let find = |what, remedy: &str| {
        Finding::new(Check::KeyChanges, what, remedy).at(&pair.blue.name).column(&blue.name)
    };
    let Some(green) = columns::counterpart(pair, &blue.name) else {
        let what = format!("no column of green takes {} unchanged, and it is part of the key", blue.name);
        notes.find(find(what, "Keep the column; it may be renamed by an `up` that is its old name alone."));
        return None;
    };
    if blue.base_type.is_none() || blue.base_type != green.base_type {
        let what = format!(
            "{} is part of the key and is {} on blue and {} on green",
            blue.name, blue.type_name, green.type_name
        );
        notes.find(find(what, "Give it the same built-in type on both sides."));
        return None;
    }
    Some(green)
}

fn not_unique(table: &TableFacts, side: Side, said: &[&str], columns: &[&str]) -> Option<Finding> {
    if table.is_unique_over_rows_with(said, columns) {
        return None;
    }
    let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    let what = format!(
        "{} on {side} has no valid, immediate, full unique index over exactly the columns {} that are not null",
        table.name,
        columns.join(", ")
    );
    let remedy = match side {
        Side::Blue => format!("CREATE UNIQUE INDEX CONCURRENTLY ON {} ({list});", qualified(table)),
        Side::Green => format!("ALTER TABLE {} ADD PRIMARY KEY ({list}); -- in the DDL", qualified(table)),
    };
    Some(Finding::new(Check::KeyNotUnique, what, remedy).at(&table.name).on(side))
}

/// Every table of mode `slice` carries the partition key, with the types that the context says.
fn dimensions(ground: &Ground, pair: &Pair, key: &[&str], notes: &mut Notes) {
    for dimension in &ground.context.dimensions {
        let carried = ground.context.column_of(pair.flow.old, &dimension.column);
        let Some(column) = pair.blue.column(carried) else {
            notes.find(no_dimension(ground, pair.blue, dimension, carried));
            continue;
        };
        if types::key_type(column) != Some(dimension.key_type) || !column.deterministic {
            let what = format!(
                "{} is {}{}, and the context says {}",
                column.name,
                column.type_name,
                if column.deterministic { "" } else { " under a nondeterministic collation" },
                dimension.key_type
            );
            let remedy = "Correct the dimension's type in the spec, or the column.";
            notes.find(
                Finding::new(Check::DimensionType, what, remedy).at(&pair.blue.name).column(&column.name),
            );
        }
        if column.generated.is_some() {
            let what = format!(
                "{} is generated, so it is in no change, and a trigger cannot look at it before it is made",
                column.name
            );
            let remedy = "Make it an ordinary column, kept equal by a CHECK constraint and filled by a trigger or a default.";
            notes.find(
                Finding::new(Check::DimensionGenerated, what, remedy)
                    .at(&pair.blue.name)
                    .column(&column.name),
            );
        }
        if !column.not_null {
            let what = format!(
                "blue.{}.{} can be null; such rows belong to no partition and stay",
                pair.blue.name, column.name
            );
            notes.warn(Check::NullKeys, false, what);
        }
        // What is in the key was looked at there.
        if !key.contains(&column.name.as_str()) {
            unchanged(pair, column, notes);
        }
    }
}

/// A table without the partition key gets it from a table that it refers to, where there is one.
fn no_dimension(ground: &Ground, table: &TableFacts, dimension: &Dimension, called: &str) -> Finding {
    let known = table.columns.iter().map(|c| c.name.as_str());
    let (full, column) = (qualified(table), quoted(called));
    let adding = format!("ALTER TABLE {full} ADD COLUMN {column} {};", dimension.key_type.postgres_name());
    let leads = table.foreign_keys.iter().find_map(|key| {
        let parent = ground.blue.table(&key.ref_table).filter(|parent| parent.schema == key.ref_schema)?;
        let carried = ground.context.column_of(&parent.name, &dimension.column);
        parent.column(carried).map(|_| (key, parent, quoted(carried)))
    });
    let otherwise = match leads {
        Some((key, parent, carried)) => {
            let matching: Vec<String> = key
                .columns
                .iter()
                .zip(&key.ref_columns)
                .map(|(from, to)| format!("c.{} = p.{}", quoted(from), quoted(to)))
                .collect();
            format!(
                "{adding} UPDATE {full} c SET {column} = p.{carried} FROM {} p WHERE {}; ALTER TABLE {full} ALTER COLUMN \
                 {column} SET NOT NULL; -- a large table in batches; or declare it as reference or rebuild",
                qualified(parent),
                matching.join(" AND "),
            )
        }
        None => {
            format!(
                "{adding} -- then fill it, SET NOT NULL; or name the column that carries it under `dimensions` of the \
                 table; or declare the table as reference or rebuild"
            )
        }
    };
    let what = format!("{} has no column {called}, which is part of the partition key", table.name);
    Finding::new(Check::NoDimension, what, meant(called, known, &otherwise)).at(&table.name).column(called)
}

/// The old values that come with a change must name the row and its partition.
fn identity<'a>(ground: &Ground<'a>, pair: &Pair<'a>, side: Side, key: &[&str], notes: &mut Notes) {
    // What names no row has been said, and an index over the partition key alone would not.
    if key.is_empty() {
        return;
    }
    let table = pair.side(side);
    let identity = table.identity_columns();
    let carried = |dimension: &'a Dimension| ground.context.column_of(pair.flow.old, &dimension.column);
    let dimensions = ground.context.dimensions.iter().filter_map(|dimension| match side {
        Side::Blue => Some(carried(dimension)),
        Side::Green => columns::counterpart(pair, carried(dimension)).map(|column| column.name.as_str()),
    });
    let mut needed: Vec<&str> = Vec::new();
    for name in key.iter().copied().chain(dimensions) {
        if table.column(name).is_some() && !needed.contains(&name) {
            needed.push(name);
        }
    }
    let missing: Vec<&str> = needed.iter().copied().filter(|name| !identity.contains(name)).collect();
    if !missing.is_empty() {
        let what =
            format!("a change of {} on {side} does not say the old {}", table.name, missing.join(", "));
        let finding =
            Finding::new(Check::ReplicaIdentity, what, identity_remedy(ground, side, table, &needed));
        notes.find(finding.at(&table.name).on(side));
    }
    let is_generated = |name: &&str| table.column(name).is_some_and(|column| column.generated.is_some());
    // From 18 on, an UPDATE is refused if its identity has columns that are not published.
    if ground.facts(side).major >= 18 && identity.iter().any(is_generated) {
        let what = format!("the replica identity of {} on {side} has generated columns", table.name);
        let remedy = format!("ALTER TABLE {} REPLICA IDENTITY DEFAULT;", qualified(table));
        notes.find(Finding::new(Check::GeneratedIdentity, what, remedy).at(&table.name).on(side));
    }
}

/// The cheapest identity that says all of `needed`: an index where one can be, else the whole row.
fn identity_remedy(ground: &Ground, side: Side, table: &TableFacts, needed: &[&str]) -> String {
    let full = qualified(table);
    let can_be_index = needed.iter().all(|name| table.column(name).is_some_and(|column| column.not_null));
    if !can_be_index {
        return format!("ALTER TABLE {full} REPLICA IDENTITY FULL;");
    }
    if needed.iter().all(|name| table.primary_key.iter().any(|key| key == name)) {
        return format!("ALTER TABLE {full} REPLICA IDENTITY DEFAULT;");
    }
    let index = quoted(&format!("{}_replat_identity", table.name));
    let list = needed.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    // The DDL is run in one transaction, on tables that nobody uses yet.
    let (how, place) = match side == Side::Green && !ground.ask.ddl.is_empty() {
        true => ("", " -- in the DDL"),
        false => (" CONCURRENTLY", ""),
    };
    format!(
        "CREATE UNIQUE INDEX{how} {index} ON {full} ({list}); \
         ALTER TABLE {full} REPLICA IDENTITY USING INDEX {index};{place}"
    )
}

fn shape(table: &TableFacts) -> TableShape {
    TableShape {
        name: table.name.clone(),
        columns: table.columns.iter().map(column_shape).collect(),
        identity_full: table.identity_full(),
    }
}

fn column_shape(column: &ColumnFacts) -> ColumnShape {
    ColumnShape {
        name: column.name.clone(),
        type_name: column.type_name.clone(),
        stage_type: column.stage_type().to_owned(),
        generated: column.generated.clone(),
        toastable: column.toastable,
        not_null: column.not_null,
    }
}
