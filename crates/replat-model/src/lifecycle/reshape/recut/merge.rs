//! Several partitions become one.

use serde::{Deserialize, Serialize};

use super::super::{Found, level, part, refuse};
use super::split::{Cutting, Split};
use super::{Namer, old, recut, whole};
use crate::lifecycle::axis::Axis;
use crate::lifecycle::draft::{Names, some};
use crate::lifecycle::facts::{Bound, Edge, Facts, TableName};
use crate::lifecycle::health::Finding;
use crate::lifecycle::infer;
use crate::lifecycle::plan::Unit;
use crate::lifecycle::policy::{Cut, LevelPolicy};

/// Partitions that are to become one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// They, of one parent; or none, and the parent and a range say which.
    pub parts: Vec<TableName>,
    /// The parent.
    pub parent: Option<TableName>,
    /// Ranges from here on.
    pub from: Option<String>,
    /// Up to here.
    pub to: Option<String>,
    /// What the new partition is called. Default: as its siblings are.
    pub name: Option<String>,
}

/// The unit of a merge.
pub(in super::super) fn merge(
    facts: &Facts,
    wanted: &Merge,
    names: &mut Names,
) -> Result<Vec<Unit>, Finding> {
    let parts = chosen(facts, wanted)?;
    let Some(first) = parts.first().copied() else { return Ok(Vec::new()) };
    let table = &first.set.table;
    if let Some(other) = parts.iter().find(|found| found.parent != first.parent) {
        let what =
            format!("{} and {} are partitions of different tables", first.part.table, other.part.table);
        return Err(refuse(table, what, "Name partitions of one table."));
    }
    for found in &parts {
        whole(*found)?;
    }
    if parts.len() < 2 {
        return Err(refuse(
            table,
            "only one partition is named, and one is one already",
            "Name two or more.",
        ));
    }
    let shape = |found: &Found<'_>| -> Option<Vec<Bound>> {
        let below = found.part.below.as_ref()?;
        Some(below.parts.iter().map(|part| part.bound.clone()).collect())
    };
    if let Some(other) = parts.iter().find(|found| shape(found) != shape(&first)) {
        let what = format!("{} and {} are not cut further alike", first.part.table, other.part.table);
        return Err(refuse(table, what, "Cut them alike first, or name others."));
    }
    let bound = joined(table, &parts)?;
    let grid = match &bound {
        Bound::Range { from, .. } => {
            let one = LevelPolicy {
                column: "*".into(),
                by: Cut::Range,
                interval: None,
                origin: None,
                zone: None,
                encoding: None,
                snowflake: None,
                modulus: None,
                values: Vec::new(),
                grow: None,
            };
            let cut = Cutting { facts, wanted: &Split::default(), found: first, key: 0 };
            // Only for its name; without a grid it is named by its bounds.
            (from.len() == 1)
                .then(|| {
                    infer::learn(
                        &first.level.keys[0].type_name,
                        Some(&one),
                        &cut.siblings(),
                        facts.vitals.now,
                    )
                    .ok()
                })
                .flatten()
                .map(|learned| learned.grid)
        }
        _ => None,
    };
    let mut namer = Namer::new(first, grid.as_ref(), names);
    let new = match &wanted.name {
        None => namer.part(bound, grid.as_ref())?,
        Some(name) => {
            let called = first.part.table.beside(name.clone());
            let own = parts.iter().any(|found| found.part.table == called);
            if !own && namer.names.is_taken(&called.schema, &called.name) {
                return Err(refuse(table, format!("there is a {called} already"), "Choose another name."));
            }
            namer.called(called, bound)?
        }
    };
    Ok(vec![recut(first, parts.iter().map(|found| old(found.part)).collect(), vec![new])])
}

/// The partitions that are to become one, in order of their bounds.
fn chosen<'a>(facts: &'a Facts, wanted: &Merge) -> Result<Vec<Found<'a>>, Finding> {
    let mut parts = Vec::new();
    for table in &wanted.parts {
        parts.push(part(facts, table)?);
    }
    if let (Some(parent), true) = (&wanted.parent, parts.is_empty()) {
        let (set, level) = level(facts, parent)?;
        let of = level.keys.first().map_or("", |key| key.type_name.as_str());
        let axis = Axis::candidates(of).first().copied().ok_or_else(|| {
            refuse(
                &set.table,
                format!("keys of type {of} have no order that is known here"),
                "Name the partitions.",
            )
        })?;
        let read = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => axis
                .parse(text)
                .map(Some)
                .map_err(|bad| refuse(&set.table, bad.to_string(), "Write the bounds as values of the key.")),
        };
        let (from, to) = (read(&wanted.from)?, read(&wanted.to)?);
        let position = |edge: &Edge| match edge {
            Edge::At(text) => axis.bound(text).ok(),
            _ => None,
        };
        for part in &level.parts {
            let Bound::Range { from: begin, to: end } = &part.bound else { continue };
            let (begin, end) = (begin.first().and_then(position), end.first().and_then(position));
            let (Some(begin), Some(end)) = (begin, end) else { continue };
            if from.is_none_or(|from| from <= begin) && to.is_none_or(|to| end <= to) {
                parts.push(super::super::part(facts, &part.table)?);
            }
        }
        if parts.len() < 2 {
            let what = format!("fewer than two partitions of {parent} lie within these bounds");
            return Err(refuse(&set.table, what, "Choose wider bounds, or name the partitions."));
        }
    }
    // As the level has them, so that neighbours are side by side.
    let place = |found: &Found<'_>| found.level.parts.iter().position(|part| part.table == found.part.table);
    parts.sort_by_key(place);
    parts.dedup_by(|a, b| a.part.table == b.part.table);
    Ok(parts)
}

/// What belongs to all of them together.
fn joined(table: &TableName, parts: &[Found<'_>]) -> Result<Bound, Finding> {
    let names = || some(parts.iter().map(|found| found.part.table.to_string()));
    let bounds: Vec<&Bound> = parts.iter().map(|found| &found.part.bound).collect();
    match bounds[0] {
        Bound::Range { from, .. } => {
            let mut end: Option<&Vec<Edge>> = None;
            for (found, bound) in parts.iter().zip(&bounds) {
                let Bound::Range { from, to } = bound else { break };
                if end.is_some_and(|end| end != from) {
                    let what = format!("{} does not begin where the one before it ends", found.part.table);
                    return Err(refuse(table, what, "Name neighbours."));
                }
                end = Some(to);
            }
            match end {
                Some(to) if bounds.iter().all(|bound| matches!(bound, Bound::Range { .. })) => {
                    Ok(Bound::Range { from: from.clone(), to: to.clone() })
                }
                _ => Err(refuse(table, format!("{} are not all ranges", names()), "Name neighbours.")),
            }
        }
        Bound::List(_) => {
            let mut all = Vec::new();
            for bound in &bounds {
                match bound {
                    Bound::List(values) => all.extend(values.iter().cloned()),
                    _ => return Err(refuse(table, format!("{} are not all lists", names()), "Name lists.")),
                }
            }
            Ok(Bound::List(all))
        }
        Bound::Hash { modulus, remainder } => {
            let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            let less = modulus / count;
            let fits = modulus % count == 0
                && bounds.iter().all(|bound| {
                    matches!(bound, Bound::Hash { modulus: m, remainder: r } if m == modulus && r % less == remainder % less)
                });
            match fits {
                true => Ok(Bound::Hash { modulus: less, remainder: remainder % less }),
                false => Err(refuse(
                    table,
                    format!("{} are not all the remainders of one smaller modulus", names()),
                    format!("Change the modulus of the whole: replat rotate modulus {} N", parts[0].parent),
                )),
            }
        }
        Bound::Default => Err(refuse(
            table,
            format!("{} takes what belongs to no other partition", parts[0].part.table),
            "Name ordinary partitions.",
        )),
    }
}
