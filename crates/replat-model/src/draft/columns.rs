//! Rules about columns: how each is had from a row of the other side, and what is lost on the way.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{depends, plain_column, quoted, refusal};
use super::{Finding, Notes, Pair, meant, types};
use crate::facts::{ColumnFacts, Identity, TableFacts};
use crate::ids::Side;
use crate::plan::ColumnPlan;
use crate::preflight::Check;

/// What the way back of one table comes to.
#[derive(Default)]
pub(super) struct Backward {
    pub columns: Vec<ColumnPlan>,
    pub lossy: Vec<String>,
    pub obstacles: Vec<String>,
}

/// Green's columns from blue's row.
pub(super) fn forward(pair: &Pair, notes: &mut Notes) -> Vec<ColumnPlan> {
    check_map(pair, notes);
    let written = pair.green.columns.iter().filter(|column| column.generated.is_none());
    written.filter_map(|column| Some(plan(pair, Side::Blue, column, &up(pair, column, notes)?))).collect()
}

/// The expression for a column of green; `None` if it is left to its default, or if there is a finding.
fn up(pair: &Pair, column: &ColumnFacts, notes: &mut Notes) -> Option<String> {
    let name = &column.name;
    let find = |finding: Finding| finding.at(&pair.green.name).column(name);
    if let Some(map) = pair.map().get(name.as_str()) {
        return usable(&map.up, pair.blue)
            .map_err(|why| notes.find(find(unusable("up", &map.up, &why))))
            .ok();
    }
    match pair.blue.column(name) {
        Some(source) if types::crosses(source, column) => Some(quoted(name)),
        Some(source) => {
            let what = format!("{name} is {} on blue and {} on green", source.type_name, column.type_name);
            let remedy = format!("Write an `up` for {}.{name} in rollout.map.", pair.green.name);
            notes.find(find(Finding::new(Check::TypeDiffers, what, remedy)));
            None
        }
        None if column.can_be_left_out() => None,
        None => {
            let what = format!("{name} must not be null on green, and blue has no column of that name");
            let remedy = format!(
                "Write an `up` for {}.{name} in rollout.map, or give it a default in the DDL.",
                pair.green.name
            );
            notes.find(find(Finding::new(Check::NoSource, what, remedy)));
            None
        }
    }
}

/// The expression as it will be used, or why it cannot be.
pub(super) fn usable(expression: &str, source: &TableFacts) -> Result<String, String> {
    match refusal(expression, source) {
        Some(why) => Err(why),
        // A plain column is always written alike, so that it is recognised as unchanged everywhere.
        None => Ok(plain_column(expression, source).map_or_else(|| expression.to_owned(), quoted)),
    }
}

pub(super) fn unusable(what: &str, expression: &str, why: &str) -> Finding {
    Finding::new(
        Check::Expression,
        format!("{what} = {expression:?} cannot be used: {why}"),
        "Write an expression that is deterministic and looks at one row only.",
    )
}

/// What the spec says about columns that do not exist or cannot be written.
fn check_map(pair: &Pair, notes: &mut Notes) {
    for name in pair.map().keys() {
        match pair.green.column(name) {
            None => notes.find(unknown(pair.green, name, "green")),
            Some(column) if column.generated.is_some() => notes.find(
                Finding::new(
                    Check::GeneratedTarget,
                    format!("{name} is generated on green, so nothing can be written to it"),
                    "Remove its `up`, or make it an ordinary column in the DDL.",
                )
                .at(&pair.green.name)
                .column(name),
            ),
            Some(_) => {}
        }
    }
    for (_, column, _) in said_back(pair) {
        if pair.blue.column(column).is_none() {
            notes.find(unknown(pair.blue, column, "blue"));
        }
    }
}

/// What the spec says about the way back: under which word, for which column of blue, and the expression.
fn said_back<'a>(pair: &Pair<'a>) -> Vec<(&'static str, &'a str, &'a str)> {
    let downs = pair.map().values().filter_map(|map| map.down.as_ref());
    let downs = downs.map(|down| ("down", down.column.as_str(), down.sql.as_str()));
    let backs = pair.flow.back.into_iter().flatten();
    downs.chain(backs.map(|(column, sql)| ("back", column.as_str(), sql.as_str()))).collect()
}

pub(super) fn unknown(table: &TableFacts, column: &str, side: &str) -> Finding {
    let known = table.columns.iter().map(|c| c.name.as_str());
    let remedy = meant(column, known, "Name a column that the table has.");
    Finding::new(Check::UnknownColumn, format!("{} has no column {column} on {side}", table.name), remedy)
        .at(&table.name)
        .column(column)
}

/// The columns of blue that green's row gives back.
pub(super) fn given_back<'a>(pair: &Pair<'a>) -> BTreeSet<&'a str> {
    let said: BTreeSet<&str> = said_back(pair).into_iter().map(|(_, column, _)| column).collect();
    let written = pair.blue.columns.iter().filter(|column| column.generated.is_none());
    let given = written.filter(|c| said.contains(c.name.as_str()) || way_back(pair, c).is_some());
    given.map(|column| column.name.as_str()).collect()
}

/// Blue's columns from green's row, but for those that another part of the row gives back.
pub(super) fn backward(pair: &Pair, elsewhere: &BTreeSet<&str>, notes: &mut Notes) -> Backward {
    let mut found = Backward::default();
    let downs = downs(pair, notes);
    let written = pair.blue.columns.iter().filter(|column| column.generated.is_none());
    for column in written.filter(|column| !elsewhere.contains(column.name.as_str())) {
        let expression = match downs.get(column.name.as_str()) {
            Some((word, sql)) => usable(sql, pair.green)
                .map_err(|why| {
                    let finding = unusable(word, sql, &why);
                    notes.find(finding.at(&pair.blue.name).column(&column.name));
                })
                .ok(),
            None => way_back(pair, column).or_else(|| {
                left_behind(pair, column, &mut found);
                None
            }),
        };
        found.columns.extend(expression.map(|expression| plan(pair, Side::Green, column, &expression)));
    }
    green_only(pair, &mut found, notes);
    found
}

/// The expressions of the way back by blue's columns, each with the word of the spec that says it.
fn downs<'a>(pair: &Pair<'a>, notes: &mut Notes) -> BTreeMap<&'a str, (&'static str, &'a str)> {
    let mut downs = BTreeMap::new();
    for (word, column, sql) in said_back(pair) {
        if downs.insert(column, (word, sql)).is_some() {
            let what = format!("{column} is given back by two expressions");
            let finding = Finding::new(Check::DownTwice, what, "Keep one of them.");
            notes.find(finding.at(&pair.blue.name).column(column));
        }
    }
    downs
}

/// A column of green that holds the very values of `column`, under its own name or another.
fn way_back(pair: &Pair, column: &ColumnFacts) -> Option<String> {
    let carriers = pair.green.columns.iter().filter(|green| carries(pair, green, column));
    let mut fitting = carriers.filter(|green| types::crosses(green, column));
    fitting.next().map(|green| quoted(&green.name))
}

/// Whether `green` takes its value from `blue` and nothing else.
fn carries(pair: &Pair, green: &ColumnFacts, blue: &ColumnFacts) -> bool {
    match pair.map().get(green.name.as_str()) {
        Some(map) => plain_column(&map.up, pair.blue) == Some(blue.name.as_str()),
        None => green.name == blue.name,
    }
}

/// The column of green that holds the very values of blue's `name`; a renamed one before one of the same name.
pub(super) fn counterpart<'a>(pair: &Pair<'a>, name: &str) -> Option<&'a ColumnFacts> {
    let blue = pair.blue.column(name)?;
    let carriers = || pair.green.columns.iter().filter(|green| carries(pair, green, blue));
    carriers().find(|green| pair.map().contains_key(green.name.as_str())).or_else(|| carriers().next())
}

fn left_behind(pair: &Pair, column: &ColumnFacts, found: &mut Backward) {
    let name = format!("blue.{}.{}", pair.blue.name, column.name);
    let why = match counterpart(pair, &column.name) {
        Some(green) => {
            format!(" ({} cannot become {} without a `down`)", green.type_name, column.type_name)
        }
        None => String::new(),
    };
    if column.can_be_left_out() {
        let what = format!("{name} is not kept up to date while green is home{why}; its old value stays");
        found.lossy.push(what);
    } else {
        found.obstacles.push(format!("{name} must not be null and has no `down`{why}"));
    }
}

/// What green holds and no expression takes back.
fn green_only(pair: &Pair, found: &mut Backward, notes: &mut Notes) {
    let is_read = |name: &String| found.columns.iter().any(|column| column.depends.contains(name));
    let unread = pair.green.columns.iter().filter(|c| c.generated.is_none() && !is_read(&c.name));
    for column in unread {
        let name = format!("green.{}.{}", pair.green.name, column.name);
        if pair.map().contains_key(column.name.as_str()) {
            let what =
                format!("a value that green's application itself writes to {name} is not carried back");
            notes.warn(Check::DerivedOnly, false, what);
        } else if pair.blue.column(&column.name).is_none() {
            found.lossy.push(format!("{name} exists on green only; a rollback leaves its values behind"));
        }
    }
}

/// The plan for one column that is written on the side other than `from`.
fn plan(pair: &Pair, from: Side, target: &ColumnFacts, expression: &str) -> ColumnPlan {
    let source = pair.side(from);
    let is_same_type = plain_column(expression, source)
        .and_then(|name| source.column(name))
        .is_some_and(|column| column.type_name == target.type_name);
    // Stored values are rounded to the column's modifier, so the values they are compared with must be, too.
    let expression = match types::is_rounded(target) && !is_same_type {
        true => format!("({expression})::{}", target.type_name),
        false => expression.to_owned(),
    };
    ColumnPlan {
        target: target.name.clone(),
        target_type: target.type_name.clone(),
        wire_type: target.stage_type().to_owned(),
        depends: depends(&expression, source),
        compare: types::compare(target, pair.same_major),
        expression,
    }
}

/// Columns whose value cannot be made again after a change that left a part of it unsaid.
///
/// An out-of-line value that did not change is not in the log. A column made of it alone did not change either; a
/// column made of it and of something else may have.
pub(super) fn check_unsaid(pair: &Pair, from: Side, plans: &[ColumnPlan], key: &[&str], notes: &mut Notes) {
    let source = pair.side(from);
    if source.identity_full() {
        return;
    }
    for plan in plans {
        let carried = plan.depends.iter().filter_map(|name| source.column(name));
        let parts: Vec<_> =
            carried.filter(|c| c.generated.is_none() && !key.contains(&c.name.as_str())).collect();
        let Some(unsaid) = parts.iter().find(|column| column.toastable) else { continue };
        if parts.len() < 2 {
            continue;
        }
        let what = format!(
            "{} is made of several columns, of which {} can lie out of line on {from} and is then missing from a \
             change of the others",
            plan.target, unsaid.name
        );
        let remedy = format!("ALTER TABLE {} REPLICA IDENTITY FULL;", super::tables::qualified(source));
        notes.find(
            Finding::new(Check::UnsaidPart, what, remedy).at(&source.name).column(&plan.target).on(from),
        );
    }
}

/// Identity columns that refuse the values they are given.
pub(super) fn check_identity_always(
    target: &TableFacts,
    side: Side,
    plans: &[ColumnPlan],
    key: &[&str],
    notes: &mut Notes,
) {
    let written = plans.iter().filter(|plan| !key.contains(&plan.target.as_str()));
    let columns = written.filter_map(|plan| target.column(&plan.target));
    for column in columns.filter(|column| column.identity == Some(Identity::Always)) {
        let what = format!("{} is GENERATED ALWAYS, so it cannot be set when a row changes", column.name);
        let remedy = format!(
            "ALTER TABLE {} ALTER COLUMN {} SET GENERATED BY DEFAULT;",
            super::tables::qualified(target),
            quoted(&column.name)
        );
        let finding = Finding::new(Check::IdentityAlways, what, remedy);
        notes.find(finding.at(&target.name).column(&column.name).on(side));
    }
}
