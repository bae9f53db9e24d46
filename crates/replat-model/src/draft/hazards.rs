//! What is no obstacle, but what a person should know or decide.

use std::collections::BTreeSet;

use super::expression::plain_column;
use super::{Crossing, Finding, Ground, Notes, quoted, types};
use crate::facts::{ColumnFacts, ForeignKeyFacts, TableFacts, TriggerEnabled, TriggerFacts};
use crate::ids::Side;
use crate::plan::{SequencePlan, TablePlan};
use crate::preflight::Check;
use crate::spec::{Flow, TableMode};

pub(super) fn weigh(ground: &Ground, notes: &mut Notes) {
    for table in &ground.ask.occupied {
        let home = ground.home(Side::Green);
        notes.find(
            Finding::new(
                Check::GreenNotEmpty,
                format!("green.{table} holds rows of the partition already, and whose they are is not known"),
                format!(
                    "Look at them on {}; if they are a retired copy that nobody needs, delete the rows of {}.{} for \
                     which {}.",
                    home.database,
                    quoted(&home.schema),
                    quoted(table),
                    ground.ask.region.describe(&ground.context.dimensions)
                ),
            )
            .at(table),
        );
    }
    ground.ask.crossings.iter().for_each(|crossing| cross(ground, crossing, notes));
    for key in &ground.ask.unsettled_keys {
        let what = format!(
            "foreign key {key}: whether rows refer across the partition's edge was not found out in time; if rows of the \
             partition refer to others, green's foreign key cannot be built, and nothing switches"
        );
        notes.warn(Check::FkUnsettled, false, what);
    }
    let mut seen = BTreeSet::new();
    for name in ground.tables(TableMode::Slice) {
        let blue = ground.blue.table(name);
        let flows = ground.rollout.flows_of(name);
        let greens =
            flows.iter().filter_map(|flow| ground.green.table(flow.new)).map(|table| (Side::Green, table));
        for (side, table) in blue.map(|table| (Side::Blue, table)).into_iter().chain(greens) {
            // A table of green that several become is looked at once.
            if side == Side::Green && !seen.insert(&table.name) {
                continue;
            }
            foreign_keys(ground, side, table, notes);
            triggers(side, table, notes);
            unique_across(ground, name, side, table, notes);
            odd_values(side, table, notes);
        }
        for flow in &flows {
            let (Some(blue), Some(green)) = (blue, ground.green.table(flow.new)) else { continue };
            guards_gone(blue, green, notes);
            stricter(flow, blue, green, notes);
        }
    }
}

/// A row that refers to one that stays cannot be stored where the foreign key is checked again; a row that stays and
/// refers to one that goes is left behind with its reference.
fn cross(ground: &Ground, crossing: &Crossing, notes: &mut Notes) {
    let Crossing { key, child, parent, columns, example, .. } = crossing;
    let row = format!("the row of {child} with {} = {example}", columns.join(", "));
    if !crossing.leaves {
        let what = format!(
            "{row} refers to a row of {parent} that moves, and stays itself (foreign key {key}); blue's copy is not \
             dropped while such rows are there"
        );
        return notes.warn(Check::FkEnters, true, what);
    }
    let blue = ground.blue.tables.iter().find(|table| table.foreign_keys.iter().any(|fk| fk.name == *key));
    let checked_again = |table: &TableFacts| {
        let mut greens = ground.green_names(&table.name).filter_map(|name| ground.green.table(name));
        greens.any(|green| green.foreign_keys.iter().any(|fk| fk.columns == *columns))
    };
    if blue.is_some_and(checked_again) {
        let what = format!("{row} refers to a row of {parent} that stays (foreign key {key})");
        let remedy = format!(
            "Move both in one partition, bring the referenced rows along as a reference table, or leave {key} out of \
             green's DDL."
        );
        notes.find(Finding::new(Check::FkLeaves, what, remedy));
    }
}

/// The names of the tables of some modes on one side.
fn moving<'a>(ground: &'a Ground, side: Side, modes: &'a [TableMode]) -> impl Iterator<Item = &'a str> {
    let names = modes.iter().flat_map(|mode| ground.tables(*mode));
    names.flat_map(move |blue| match side {
        Side::Blue => vec![blue],
        Side::Green => ground.green_names(blue).collect(),
    })
}

fn foreign_keys(ground: &Ground, side: Side, table: &TableFacts, notes: &mut Notes) {
    let schema = &ground.facts(side).schema;
    let modes = [TableMode::Slice, TableMode::Reference];
    let comes_along = |key: &ForeignKeyFacts| {
        key.ref_schema == *schema && moving(ground, side, &modes).any(|name| name == key.ref_table)
    };
    for key in table.foreign_keys.iter().filter(|key| !comes_along(key)) {
        let what = format!(
            "{side}.{}: foreign key {} points at {}.{}, which does not move",
            table.name, key.name, key.ref_schema, key.ref_table
        );
        notes.warn(Check::FkOutside, true, what);
    }
    for key in &table.referenced_by {
        let is_inside =
            key.schema == *schema && moving(ground, side, &[TableMode::Slice]).any(|name| name == key.table);
        if !is_inside {
            let what = format!(
                "{side}.{}: foreign key {} of {}.{} points at rows that move",
                table.name, key.name, key.schema, key.table
            );
            notes.warn(Check::FkInto, true, what);
        }
    }
}

/// Unique values that are not the key's and do not hold the partition key: each side sees only its own rows.
fn unique_across(ground: &Ground, name: &str, side: Side, table: &TableFacts, notes: &mut Notes) {
    let key =
        ground.context.tables.get(name).and_then(|spec| spec.key.as_ref()).unwrap_or(&table.primary_key);
    let dimensions: Vec<&str> =
        ground.context.dimensions.iter().map(|d| ground.context.column_of(name, &d.column)).collect();
    for index in table.indexes.iter().filter(|index| index.unique) {
        let holds = |column: &str| index.columns.iter().any(|held| held == column);
        let is_key = !index.expression && index.columns.iter().all(|column| key.contains(column));
        if is_key || dimensions.iter().any(|dimension| holds(dimension)) {
            continue;
        }
        let what = format!(
            "{side}.{}: {} keeps values apart for all partitions; while they live on two sides both can take one value, \
             and such a row waits until one of them lets it go",
            table.name, index.name
        );
        notes.warn(Check::UniqueAcross, false, what);
    }
}

fn triggers(side: Side, table: &TableFacts, notes: &mut Notes) {
    let names = |fires: fn(&&TriggerFacts) -> bool| {
        table.triggers.iter().filter(fires).map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let silent = names(|t| t.enabled == TriggerEnabled::Origin);
    let firing = names(|t| matches!(t.enabled, TriggerEnabled::Always | TriggerEnabled::Replica));
    if !silent.is_empty() && side == Side::Green {
        let what = format!("{side}.{}: {silent} do not fire for rows that replat writes", table.name);
        notes.warn(Check::Triggers, false, what);
    }
    if !firing.is_empty() {
        let what = format!("{side}.{}: {firing} fire for rows that replat writes, too", table.name);
        notes.warn(Check::TriggersFire, true, what);
    }
}

fn odd_values(side: Side, table: &TableFacts, notes: &mut Notes) {
    let is_large_object = |column: &&ColumnFacts| {
        column.stage_type() == "oid" || column.type_name == "lo" || column.type_name.ends_with(".lo")
    };
    for column in table.columns.iter().filter(is_large_object) {
        if side == Side::Blue {
            let what =
                format!("blue.{}.{} may name large objects, which do not move", table.name, column.name);
            notes.warn(Check::LargeObjects, true, what);
        }
    }
    if table.subscribed {
        let what = format!("{side}.{}: a subscription writes to it, past ordinary triggers", table.name);
        notes.warn(Check::Subscribed, true, what);
    }
}

fn guards_gone(blue: &TableFacts, green: &TableFacts, notes: &mut Notes) {
    if blue.row_security && !green.row_security {
        let what = format!("blue.{} has row level security, and green.{} has none", blue.name, green.name);
        notes.warn(Check::RowSecurityGone, true, what);
    }
    for (role, rights) in &blue.grants {
        let kept = green.grants.get(role);
        let gone: Vec<&str> = rights
            .iter()
            .filter(|right| !kept.is_some_and(|kept| kept.contains(right)))
            .map(String::as_str)
            .collect();
        if !gone.is_empty() {
            let what = format!(
                "{role} has {} on blue.{}, and not on green.{}",
                gone.join(", "),
                blue.name,
                green.name
            );
            notes.warn(Check::GrantsGone, false, what);
        }
    }
}

/// Where one side takes null and the other does not, a row that comes later can be kept back.
fn stricter(flow: &Flow, blue: &TableFacts, green: &TableFacts, notes: &mut Notes) {
    for column in &green.columns {
        let mapped = flow.map.get(column.name.as_str());
        let source = match mapped {
            Some(mapped) => plain_column(&mapped.up, blue).and_then(|name| blue.column(name)),
            None => blue.column(&column.name),
        };
        let Some(source) = source.filter(|source| source.not_null != column.not_null) else { continue };
        let (loose, strict) = if column.not_null { ("blue", "green") } else { ("green", "blue") };
        let what = format!(
            "blue.{}.{} becomes green.{}.{}, and {loose} takes null where {strict} does not; such a row is \
             kept back",
            blue.name, source.name, green.name, column.name
        );
        notes.warn(Check::NotNull, false, what);
    }
}

/// The sequences of green and the sequences of blue that they continue: those that columns draw from, then those of one
/// name that nothing but an application draws from. `room` is what is left free between them.
pub(super) fn sequences(
    ground: &Ground,
    room: u64,
    tables: &[TablePlan],
    notes: &mut Notes,
) -> Vec<SequencePlan> {
    let mut found = Vec::new();
    for table in tables {
        let (Some(blue), Some(green)) =
            (ground.blue.table(&table.blue.name), ground.green.table(&table.green.name))
        else {
            continue;
        };
        for column in green.columns.iter().filter(|column| column.sequence.is_some()) {
            let plan = table.forward.iter().find(|plan| plan.target == column.name);
            let source = plan
                .and_then(|plan| plain_column(&plan.expression, blue))
                .and_then(|name| blue.column(name))
                .filter(|source| source.sequence.is_some());
            match source {
                Some(source) => found.extend(continued(room, source, (green, column), notes)),
                None => {
                    let what =
                        format!("green.{}.{} numbers its rows from the start", green.name, column.name);
                    notes.warn(Check::SequenceNew, false, what);
                }
            }
        }
        unknown_sequences(blue, green, notes);
    }
    free(ground, &mut found, notes);
    // One sequence may serve many tables.
    let mut seen = BTreeSet::new();
    found.retain(|plan| seen.insert((plan.blue.clone(), plan.green.clone())));
    found
}

/// Defaults that draw numbers from where nobody can tell.
fn unknown_sequences(blue: &TableFacts, green: &TableFacts, notes: &mut Notes) {
    for (side, table) in [(Side::Blue, blue), (Side::Green, green)] {
        for column in table.columns.iter().filter(|column| column.sequence.is_none()) {
            if column.default.as_ref().is_some_and(|default| default.contains("nextval(")) {
                let what = format!(
                    "{side}.{}.{} draws numbers from a sequence that cannot be told from its default; both sides may \
                     hand out the same ones",
                    table.name, column.name
                );
                notes.warn(Check::SequenceUnknown, true, what);
            }
        }
    }
}

fn free(ground: &Ground, found: &mut Vec<SequencePlan>, notes: &mut Notes) {
    for blue in &ground.blue.free_sequences {
        match ground.green.free_sequences.iter().find(|green| green.name == blue.name) {
            Some(green) => found.push(SequencePlan {
                blue: blue.qualified.clone(),
                green: green.qualified.clone(),
                max: blue.max.min(green.max),
            }),
            None => {
                let what = format!(
                    "blue has a sequence {} that no column draws from, and green has none of that name; an \
                     application that draws from it needs it there",
                    blue.name
                );
                notes.warn(Check::SequenceMissing, false, what);
            }
        }
    }
}

fn continued(
    room: u64,
    source: &ColumnFacts,
    (green, column): (&TableFacts, &ColumnFacts),
    notes: &mut Notes,
) -> Option<SequencePlan> {
    // A number must fit on both sides, since a rollback takes it back.
    let max = types::id_max(column).min(types::id_max(source));
    if i64::try_from(room).map_or(true, |room| room > max / 4) {
        let what = format!(
            "{}.{} holds numbers up to {max}, and each switch leaves {room} of them free (policy.sequence_room)",
            green.name, column.name
        );
        notes.warn(Check::SequenceRoom, false, what);
    }
    Some(SequencePlan { blue: source.sequence.clone()?, green: column.sequence.clone()?, max })
}
