//! What facts alone tell about the health of sets.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Severity, codes};
use crate::lifecycle::draft::{Wish, draft};
use crate::lifecycle::facts::{Bound, Facts, Level, LooseState, Part, SetFacts, TableName};

/// Everything that is wrong with what was found, worst first: what planning finds, and what it does not look at, since it
/// stops no plan: indexes, siblings that differ, publications, foreign tables, leftovers.
pub fn check(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let mut found: BTreeSet<Finding> = draft(facts, wish).findings.into_iter().collect();
    for set in &facts.sets {
        found.extend(indexes(set));
        found.extend(publications(set));
        walk(set, &set.level, &mut found);
    }
    for loose in facts.loose.iter().filter(|table| table.state == LooseState::Staged) {
        found.insert(Finding {
            severity: Severity::Warning,
            code: codes::ORPHAN.into(),
            set: Some(loose.set.clone()),
            what: format!("{} was staged by {} and is attached to nothing", loose.table, loose.unit),
            remedy: "Run `replat rotate`: it removes what was left behind.".into(),
        });
    }
    let mut found: Vec<Finding> = found.into_iter().collect();
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    found
}

fn of(set: &SetFacts, severity: Severity, code: &str, what: String, remedy: &str) -> Finding {
    Finding { severity, code: code.into(), set: Some(set.table.clone()), what, remedy: remedy.into() }
}

fn walk(set: &SetFacts, level: &Level, found: &mut BTreeSet<Finding>) {
    for part in &level.parts {
        if part.detach_pending {
            let what = format!("{} is half detached: its rows are not seen through its parent", part.table);
            found.insert(of(
                set,
                Severity::Error,
                codes::PENDING,
                what,
                "Run `replat rotate`: it finishes the detach.",
            ));
        }
        if part.foreign {
            let what = format!("{} lives on another server", part.table);
            found.insert(of(set, Severity::Note, codes::FOREIGN_TABLE, what, "Nothing: it is left alone."));
        }
        let strays = part.strays.as_ref().map_or(0, |strays| strays.rows);
        if part.bound == Bound::Default && strays > 0 {
            let what = format!("{} holds {strays} rows that have no partition of their own", part.table);
            let remedy =
                "Run `replat rotate`: it moves those that lie within the horizon; look at the others.";
            found.insert(of(set, Severity::Warning, codes::STRAYS, what, remedy));
        }
        if let Some(below) = &part.below {
            walk(set, below, found);
        }
    }
    found.extend(unlike(set, &level.parts));
}

/// Settings in which some siblings differ from most.
fn unlike(set: &SetFacts, parts: &[Part]) -> Vec<Finding> {
    let parts: Vec<&Part> = parts.iter().filter(|part| !part.foreign).collect();
    let words: BTreeSet<&String> = parts.iter().flat_map(|part| part.settings.keys()).collect();
    let mut found = Vec::new();
    for word in words {
        let mut by_value: BTreeMap<Option<&String>, Vec<&TableName>> = BTreeMap::new();
        for part in &parts {
            by_value.entry(part.settings.get(word)).or_default().push(&part.table);
        }
        let Some(most) = by_value.values().map(Vec::len).max() else { continue };
        let others: Vec<String> = by_value
            .values()
            .filter(|tables| tables.len() < most)
            .flatten()
            .take(5)
            .map(ToString::to_string)
            .collect();
        if !others.is_empty() {
            let what = format!("{word} of {} is not that of the other partitions", others.join(", "));
            found.push(of(
                set,
                Severity::Warning,
                codes::UNLIKE,
                what,
                "Set it as it is on the other partitions.",
            ));
        }
    }
    found
}

fn indexes(set: &SetFacts) -> Vec<Finding> {
    let mut found = Vec::new();
    for index in &set.indexes {
        let name = &index.name;
        for (what, tables) in [
            ("is missing on", index.missing_on.iter().collect::<Vec<_>>()),
            ("is not attached on", index.unattached_on.iter().map(|(table, _)| table).collect()),
            ("is invalid on", index.invalid_on.iter().map(|(table, _)| table).collect()),
        ] {
            if let Some(first) = tables.first() {
                let what = format!("the index {name} {what} {} partitions, such as {first}", tables.len());
                let remedy =
                    "Build it there with CREATE INDEX CONCURRENTLY, then ALTER INDEX ... ATTACH PARTITION.";
                found.push(of(set, Severity::Warning, codes::INDEX, what, remedy));
            }
        }
        if index.scans == Some(0) && !index.constraint {
            let what = format!("the index {name} was not used since statistics began");
            found.push(of(set, Severity::Note, codes::UNUSED, what, "Ask whether it is still needed."));
        }
    }
    found
}

fn publications(set: &SetFacts) -> Vec<Finding> {
    let partial = set.publications.iter().filter(|publication| !publication.whole);
    partial
        .map(|publication| {
            let what = format!(
                "the publication {} has {} of its partitions by name, and will not have new ones by itself",
                publication.name,
                publication.parts.len()
            );
            of(set, Severity::Warning, codes::PUBLICATION, what, "Publish the partitioned table instead.")
        })
        .collect()
}
