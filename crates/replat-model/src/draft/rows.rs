//! Rules about rows: which of them take part, and what becomes of the others.

use std::collections::BTreeSet;

use super::columns::{Backward, unusable, usable};
use super::expression::depends;
use super::{Finding, Notes, Pair, quoted};
use crate::facts::TableFacts;
use crate::plan::{RowFilter, TablePlan};
use crate::preflight::Check;

/// Which rows of blue's table and of green's take part.
pub(super) fn filters(
    pair: &Pair,
    back: &mut Backward,
    notes: &mut Notes,
) -> (Option<RowFilter>, Option<RowFilter>) {
    let Some(rows) = pair.flow.rows else { return (None, None) };
    let up = rows.up.as_deref().and_then(|condition| said("up", condition, pair.blue, notes));
    let down = match (&rows.down, &up) {
        (Some(condition), _) => said("down", condition, pair.green, notes),
        (None, Some(up)) => as_it_would_be(pair, up, back, notes),
        (None, None) => None,
    };
    if let Some(down) = &down {
        back.lossy.push(format!(
            "rows of green.{} for which {} is not true are not on blue; a rollback leaves them behind",
            pair.green.name,
            rows.down.as_deref().or(rows.up.as_deref()).unwrap_or(&down.condition)
        ));
    }
    (up, down)
}

fn said(word: &str, condition: &str, table: &TableFacts, notes: &mut Notes) -> Option<RowFilter> {
    match usable(condition, table) {
        Ok(condition) => Some(RowFilter { depends: depends(&condition, table), condition }),
        Err(why) => {
            notes.find(unusable(&format!("rows.{word}"), condition, &why).at(&table.name));
            None
        }
    }
}

/// The condition on green that blue's `up` comes to: whether the row that goes back satisfies it.
fn as_it_would_be(pair: &Pair, up: &RowFilter, back: &Backward, notes: &mut Notes) -> Option<RowFilter> {
    let sources: Vec<_> = back.columns.iter().filter(|plan| up.depends.contains(&plan.target)).collect();
    // What blue does not get from green, it fills by itself, for all rows alike.
    if sources.is_empty() {
        return None;
    }
    let generated = |name: &String| pair.blue.column(name).is_some_and(|column| column.generated.is_some());
    let is_had = |name: &&String| sources.iter().any(|plan| plan.target == **name);
    if let Some(missing) = up.depends.iter().find(|name| !is_had(name)) {
        let why = if generated(missing) { "is generated" } else { "is not had from green" };
        let what =
            format!("rows.up looks at {missing}, which {why}, so that it does not say which rows go back");
        let remedy = format!("Write `rows.down` for {}, over green's columns.", pair.green.name);
        notes.find(Finding::new(Check::Expression, what, remedy).at(&pair.green.name));
        return None;
    }
    let looks_at: BTreeSet<&String> = sources.iter().flat_map(|plan| &plan.depends).collect();
    let is_same = sources.iter().all(|plan| plan.expression == quoted(&plan.target));
    let condition = match is_same {
        true => up.condition.clone(),
        false => {
            let values: Vec<String> = sources
                .iter()
                .map(|plan| format!("({})::{} AS {}", plan.expression, plan.wire_type, quoted(&plan.target)))
                .collect();
            format!("(SELECT {} FROM (SELECT {}) AS replat_row)", up.condition, values.join(", "))
        }
    };
    Some(RowFilter { condition, depends: looks_at.into_iter().cloned().collect() })
}

/// What is said of the rows of a table of blue that go nowhere.
pub(super) fn stay(name: &str, flows: &[TablePlan], notes: &mut Notes) {
    let conditions: Option<Vec<&str>> = flows
        .iter()
        .filter(|flow| !flow.is_part)
        .map(|flow| flow.blue_rows.as_ref().map(|rows| rows.condition.as_str()))
        .collect();
    let Some(conditions) = conditions.filter(|conditions| !conditions.is_empty()) else { return };
    let what = format!(
        "rows of blue.{name} for which {} is not true stay on blue as they are; while green is home they cannot be \
         changed there, and they are not dropped with the retired copy",
        conditions.join(" or ")
    );
    notes.warn(Check::RowsStay, false, what);
}
