//! Whether the catalogue says what the units said they did.

use replat_model::lifecycle::facts::{Bound, Facts, Level, SetFacts, TableName};
use replat_model::lifecycle::health::{Finding, Severity, codes};
use replat_model::lifecycle::plan::{NewPart, Work};

use super::report::{Entry, State};

/// What is not as the done units left it. `facts` were looked at after they ended.
pub fn confirm(entries: &[Entry], facts: &Facts) -> Vec<Finding> {
    let done = entries.iter().filter(|e| e.state == State::Done);
    done.flat_map(|entry| {
        let set = facts.sets.iter().find(|s| s.id == entry.unit.set_id);
        differences(&entry.unit.work, set).into_iter().map(|what| Finding {
            severity: Severity::Error,
            code: codes::NOT_AS_PLANNED.into(),
            set: Some(entry.unit.set.clone()),
            what: format!("{}: {what}", entry.unit.id),
            remedy: "Look who else changes these partitions; then run replat rotate --check.".into(),
        })
    })
    .collect()
}

fn differences(work: &Work, set: Option<&SetFacts>) -> Vec<String> {
    let Some(set) = set else {
        // The set itself is gone or was never one: conversions change what a set is, and a look that was bounded
        // to some tables does not find others.
        return Vec::new();
    };
    match work {
        Work::Create { parent, parts, .. } | Work::Drain { parent, parts, .. } => present(set, parent, parts),
        Work::Recut { parent, old, new } | Work::Overflow { parent, old, new } => {
            let mut lines = present(set, parent, new);
            lines.extend(old.iter().flat_map(|(table, id, _)| absent(set, table, *id)));
            lines
        }
        Work::Retire { part, part_id, .. } => absent(set, part, *part_id),
        Work::Finalize { part, .. } => match set.level.find(part) {
            Some(part) if part.detach_pending => vec![format!("{} is still half detached", part.table)],
            _ => Vec::new(),
        },
        Work::Reap { .. }
        | Work::Archive { .. }
        | Work::Drop { .. }
        | Work::Adopt { .. }
        | Work::Disown { .. }
        | Work::Convert { .. }
        | Work::Unconvert { .. }
        | Work::Align { .. } => Vec::new(),
    }
}

fn present(set: &SetFacts, parent: &TableName, parts: &[NewPart]) -> Vec<String> {
    let level = if *parent == set.table { Some(&set.level) } else { below(&set.level, parent) };
    let Some(level) = level else {
        return vec![format!("{parent} is no partitioned table of {}", set.table)];
    };
    let mut lines = Vec::new();
    for new in parts {
        match level.parts.iter().find(|p| p.table == new.table) {
            None => lines.push(format!("{} is not attached to {parent}", new.table)),
            Some(found) if !same(&found.bound, &new.bound) => {
                lines.push(format!("{} is attached with other bounds than planned", new.table));
            }
            Some(found) if found.detach_pending => {
                lines.push(format!("{} is half detached", new.table));
            }
            Some(found) => {
                if let Some(wanted) = &new.below {
                    lines.extend(match &found.below {
                        None => vec![format!("{} is not cut further", new.table)],
                        Some(_) => present(set, &new.table, &wanted.parts),
                    });
                }
            }
        }
    }
    lines
}

fn absent(set: &SetFacts, table: &TableName, id: u64) -> Vec<String> {
    match set.level.find(table) {
        Some(part) if part.id == id => vec![format!("{table} is still attached")],
        _ => Vec::new(),
    }
}

/// Equal bounds; values of a list may stand in any order.
fn same(a: &Bound, b: &Bound) -> bool {
    match (a, b) {
        (Bound::List(a), Bound::List(b)) => {
            let sorted = |values: &[Option<String>]| {
                let mut values = values.to_vec();
                values.sort();
                values
            };
            sorted(a) == sorted(b)
        }
        (a, b) => a == b,
    }
}

fn below<'a>(level: &'a Level, parent: &TableName) -> Option<&'a Level> {
    level.parts.iter().find_map(|part| {
        let level = part.below.as_ref()?;
        if part.table == *parent { Some(level) } else { below(level, parent) }
    })
}
