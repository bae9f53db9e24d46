//! Whether siblings are alike.

use std::collections::BTreeMap;

use super::super::draft::some;
use super::super::facts::{Level, Part, TableName};
use super::{About, Finding, Severity, about, codes};

/// Settings in which old partitions often differ by intent: they lie elsewhere, or are stored otherwise.
const OF_STORAGE: [&str; 3] = ["tablespace", "storage options", "storage options of its TOAST table"];

/// Partitions of `level` that differ in a setting from most of their siblings: one finding for each setting.
///
/// Where two values are as frequent, that of the newest partition counts: new ones are made like it.
pub(super) fn unlike(at: &About<'_>, parent: &TableName, level: &Level) -> Vec<Finding> {
    let ordinary: Vec<&Part> =
        level.parts.iter().filter(|part| !part.foreign && !part.detach_pending).collect();
    let mut found = Vec::new();
    // Tables that are cut further have no storage, so each kind is compared with its own.
    for group in [true, false] {
        let group: Vec<&Part> =
            ordinary.iter().copied().filter(|part| part.below.is_some() == group).collect();
        for word in words(&group) {
            let value = |part: &Part| part.settings.get(word).cloned();
            let usual = most_frequent(group.iter().map(|part| value(part)));
            let odd: Vec<&Part> = group.iter().copied().filter(|part| Some(value(part)) != usual).collect();
            if odd.is_empty() {
                continue;
            }
            let severity = if OF_STORAGE.contains(&word) { Severity::Note } else { Severity::Warning };
            let shown = |value: Option<String>| value.map_or("none".to_owned(), |value| format!("{value:?}"));
            let which = odd.iter().map(|part| format!("{} ({})", part.table, shown(value(part))));
            found.push(at.finding(
                severity,
                codes::UNLIKE,
                about(
                    at.set,
                    parent,
                    &format!("{word} is mostly {}, but not of {}", shown(usual.flatten()), some(which)),
                ),
                "Make them alike, or leave it if that is meant; new partitions take after the newest.",
            ));
        }
    }
    found
}

/// All settings that one of `parts` has.
fn words<'a>(parts: &[&'a Part]) -> Vec<&'a str> {
    let mut words: Vec<&str> =
        parts.iter().flat_map(|part| part.settings.keys().map(String::as_str)).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The value that is there most often; of several, the one that comes last.
fn most_frequent(values: impl Iterator<Item = Option<String>>) -> Option<Option<String>> {
    let mut counts: BTreeMap<Option<String>, (usize, usize)> = BTreeMap::new();
    for (place, value) in values.enumerate() {
        let (count, last) = counts.entry(value).or_default();
        *count += 1;
        *last = place;
    }
    counts.into_iter().max_by_key(|(_, rank)| *rank).map(|(value, _)| value)
}
