//! Partitions are cut anew: split, merged, or spread by another modulus.
//!
//! Every unit copies the rows of the partitions that it replaces, once. So a partition is better split into all its
//! cells at once than one by one, as long as there are not too many: more than [`PIECES`] are cut in two rounds, first
//! into stretches of cells, then these.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::axis::{Axis, Position};
use super::super::draft::build::{edge_word, named};
use super::super::draft::cut::missing_remainders;
use super::super::draft::referenced::held;
use super::super::draft::{Names, some, unit};
use super::super::facts::{Bound, Edge, Facts, Level, Method, Part, TableName};
use super::super::grid::Grid;
use super::super::health::{Finding, codes};
use super::super::infer;
use super::super::name::Pattern;
use super::super::plan::{NewLevel, NewPart, Unit, Work};
use super::super::policy::{Cut, LevelPolicy};
use super::{Found, level, part, refuse};

/// New partitions that one unit brings at most. Each has its locks, and its CHECK is tried for every row.
pub const PIECES: usize = 50;
/// The largest modulus.
const MODULUS_MAX: u32 = 4096;
/// Cells of one partition at most.
const CELLS_MAX: usize = 100_000;

/// A partition, and where it is to be cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The partition; or a set, whose longest partition is meant.
    pub table: TableName,
    /// Bounds between the pieces; of a list, the values that get a partition of their own, separated by commas.
    pub at: Vec<String>,
    /// The length of the pieces, where no bounds are given. Default: as its siblings are.
    pub interval: Option<String>,
    /// The zone whose midnights count.
    pub zone: Option<String>,
    /// Only so many pieces, from the newest end; the rest stays one partition. Default: all.
    pub pieces: Option<u32>,
}

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

/// Another modulus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modulus {
    /// The table that is cut by a hash.
    pub parent: TableName,
    /// The modulus it is to have.
    pub modulus: u32,
    /// Only these partitions now; empty for all.
    pub only: Vec<TableName>,
}

/// Gives new partitions of one parent their names.
struct Namer<'a> {
    found: Found<'a>,
    pattern: Pattern,
    names: &'a mut Names,
}

impl<'a> Namer<'a> {
    fn new(found: Found<'a>, grid: Option<&Grid>, names: &'a mut Names) -> Namer<'a> {
        let pattern = Pattern::learn(&found.parent.name, &named(found.level), grid);
        Namer { found, pattern, names }
    }

    fn part(&mut self, bound: Bound, grid: Option<&Grid>) -> Result<NewPart, Finding> {
        let parent = self.found.parent;
        // Beside the one whose place it takes.
        let schema = self.found.part.table.schema.clone();
        let taken = |name: &str| self.names.is_taken(&schema, name);
        // Remainders of several moduli are side by side for a while, so the name says of which.
        let moduli = self.found.level.parts.iter().filter_map(|part| match part.bound {
            Bound::Hash { modulus, .. } => Some(modulus),
            _ => None,
        });
        let other = |modulus: u32| moduli.clone().any(|known| known != modulus);
        let word = match &bound {
            Bound::Hash { modulus, remainder } if other(*modulus) => Some(format!("h{remainder}of{modulus}")),
            bound => edge_word(bound).map(str::to_owned),
        };
        let named = match word {
            Some(word) => {
                let plain = Pattern::learn(&parent.name, &[], None);
                plain.name(&Bound::List(vec![Some(word)]), None, &taken)
            }
            None => self.pattern.name(&bound, grid, &taken),
        };
        let name = named.map_err(|bad| Finding {
            code: codes::NAME.into(),
            ..refuse(&self.found.set.table, format!("{parent}: {bad}"), "Rename what has the name.")
        })?;
        self.called(TableName::new(schema, name), bound)
    }

    fn called(&mut self, table: TableName, bound: Bound) -> Result<NewPart, Finding> {
        self.names.take(&table.schema, &table.name);
        let below = match &self.found.part.below {
            Some(level) => Some(self.below(level, &self.found.part.table, &table)?),
            None => None,
        };
        Ok(NewPart { table, bound, like: Some(self.found.part.table.clone()), below })
    }

    /// The same cut further below another table.
    fn below(&mut self, level: &Level, of: &TableName, table: &TableName) -> Result<NewLevel, Finding> {
        let pattern = Pattern::learn(&of.name, &named(level), None).for_parent(&table.name);
        let mut parts = Vec::new();
        for part in &level.parts {
            let taken = |name: &str| self.names.is_taken(&table.schema, name);
            let name = pattern.name(&part.bound, None, &taken).map_err(|bad| Finding {
                code: codes::NAME.into(),
                ..refuse(&self.found.set.table, format!("{table}: {bad}"), "Rename what has the name.")
            })?;
            self.names.take(&table.schema, &name);
            let new = TableName::new(table.schema.clone(), name);
            let below = part.below.as_ref().map(|level| self.below(level, &part.table, &new)).transpose()?;
            parts.push(NewPart {
                table: new,
                bound: part.bound.clone(),
                like: Some(part.table.clone()),
                below,
            });
        }
        let keys = level.keys.iter().map(|key| key.text.clone()).collect();
        Ok(NewLevel { method: level.method, keys, parts })
    }
}

/// What a part is to a unit that replaces it.
fn old(part: &Part) -> (TableName, u64, Bound) {
    (part.table.clone(), part.id, part.bound.clone())
}

/// The unit that replaces partitions of one parent.
fn recut(found: Found<'_>, old: Vec<(TableName, u64, Bound)>, new: Vec<NewPart>) -> Unit {
    unit(found.set, Work::Recut { parent: found.parent.clone(), old, new })
}

/// Whether this part can be replaced at all.
fn whole(found: Found<'_>) -> Result<(), Finding> {
    let (table, part) = (&found.set.table, found.part);
    if let Some((what, remedy)) = held(found.set) {
        return Err(refuse(table, what, remedy));
    }
    if part.foreign {
        let what = format!("{} is on another server", part.table);
        return Err(refuse(table, what, "Copy its rows yourself; replat cannot follow writes to it."));
    }
    if let Some(half) = found.level.parts.iter().find(|part| part.detach_pending) {
        let what = format!("a detach of {} was broken off", half.table);
        return Err(refuse(table, what, "Let it be finished first: replat rotate"));
    }
    Ok(())
}

/// The units of a split: one, or none if it is one piece already.
pub(super) fn split(facts: &Facts, wanted: &Split, names: &mut Names) -> Result<Vec<Unit>, Finding> {
    let longest = facts.sets.iter().find(|set| set.table == wanted.table).map(|set| longest(&set.level));
    let found = match longest {
        Some(Some(longest)) => part(facts, &longest.table)?,
        Some(None) => {
            let what = format!("{} has no range that could be split", wanted.table);
            return Err(refuse(&wanted.table, what, "Name the partition."));
        }
        None => part(facts, &wanted.table)?,
    };
    whole(found)?;
    match &found.part.bound {
        Bound::Range { from, to } => ranges(facts, wanted, found, (from, to), names),
        Bound::List(values) => list(wanted, found, values, names),
        Bound::Hash { .. } => Err(refuse(
            &found.set.table,
            format!("{} is a remainder of a hash", found.part.table),
            format!("Choose another modulus: replat rotate modulus {} N", found.parent),
        )),
        Bound::Default => Err(refuse(
            &found.set.table,
            format!("{} takes what belongs to no other partition", found.part.table),
            format!(
                "Its rows move into partitions of their own by: replat rotate --table {} --only drain",
                found.set.table
            ),
        )),
    }
}

/// The range that is most in need of being split: the one that began before all others, or has most bytes.
fn longest(level: &Level) -> Option<&Part> {
    let ranges =
        || level.parts.iter().filter(|part| matches!(part.bound, Bound::Range { .. }) && !part.foreign);
    let weight = |part: &&Part| (part.bytes.unwrap_or(0), part.rows.unwrap_or(0));
    let open = ranges().find(|part| {
        matches!(&part.bound, Bound::Range { from, .. } if from.first() == Some(&Edge::Min))
            && part.empty != Some(true)
            && part.strays.as_ref().is_none_or(|strays| strays.rows > 0)
    });
    open.or_else(|| ranges().max_by_key(weight))
}

fn ranges(
    facts: &Facts,
    wanted: &Split,
    found: Found<'_>,
    (from, to): (&[Edge], &[Edge]),
    names: &mut Names,
) -> Result<Vec<Unit>, Finding> {
    let table = &found.set.table;
    let Some(key) = from.iter().zip(to).position(|(from, to)| from != to) else { return Ok(Vec::new()) };
    let cut = Cutting { facts, wanted, found, key };
    let grid = cut.grid()?;
    let axis = match &grid {
        Some(grid) => grid.axis,
        None => cut.axis()?,
    };
    let bounds = match &grid {
        None => cut.given(axis, (&from[key], &to[key]))?,
        Some(grid) => cut.cells(grid, (&from[key], &to[key]))?,
    };
    if bounds.is_empty() {
        return Ok(Vec::new());
    }
    let edge = |at: Position| {
        let text = axis.text(at).map_err(|bad| refuse(table, bad.to_string(), "Name another bound."))?;
        // The components before it stand still, those after it begin anew.
        let mut edges = from[..key].to_vec();
        edges.push(Edge::At(text));
        edges.resize(from.len(), Edge::Min);
        Ok::<_, Finding>(edges)
    };
    let mut edges = vec![from.to_vec()];
    for at in bounds {
        edges.push(edge(at)?);
    }
    edges.push(to.to_vec());
    let mut namer = Namer::new(found, grid.as_ref(), names);
    let mut new = Vec::new();
    for (n, pair) in edges.windows(2).enumerate() {
        let bound = Bound::Range { from: pair[0].clone(), to: pair[1].clone() };
        // The rest of what is only cut in part goes on under the name it has.
        new.push(match n == 0 && wanted.pieces.is_some() {
            true => namer.called(found.part.table.clone(), bound)?,
            false => namer.part(bound, grid.as_ref())?,
        });
    }
    Ok(vec![recut(found, vec![old(found.part)], new)])
}

/// Where one range is cut.
struct Cutting<'a> {
    facts: &'a Facts,
    wanted: &'a Split,
    found: Found<'a>,
    /// Which component of the key moves.
    key: usize,
}

impl Cutting<'_> {
    fn refuse(&self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        refuse(&self.found.set.table, what, remedy)
    }

    /// The grid of the pieces; `None` if bounds are given.
    fn grid(&self) -> Result<Option<Grid>, Finding> {
        if !self.wanted.at.is_empty() {
            return Ok(None);
        }
        let key = &self.found.level.keys[self.key];
        let hint = LevelPolicy {
            column: "*".into(),
            by: Cut::Range,
            interval: self.wanted.interval.clone(),
            origin: None,
            zone: self.wanted.zone.clone(),
            encoding: None,
            snowflake: None,
            modulus: None,
            values: Vec::new(),
            grow: None,
        };
        // A given interval begins where it naturally does: the siblings may be of another length.
        let siblings: Vec<(Edge, Edge)> = match self.wanted.interval {
            Some(_) => Vec::new(),
            None => self.siblings(),
        };
        let learned = infer::learn(&key.type_name, Some(&hint), &siblings, self.facts.vitals.now)
            .or_else(|why| match self.wanted.interval {
                // Numbers may be times: the siblings tell.
                Some(_) => infer::learn(&key.type_name, Some(&hint), &self.siblings(), self.facts.vitals.now),
                None => Err(why),
            })
            .map_err(|why| Finding {
                code: codes::UNCLEAR.into(),
                ..self.refuse(
                    format!("{}: {why}", self.found.parent),
                    "Say how long the pieces are to be: --interval \"1 day\"; or where to cut: --at BOUND",
                )
            })?;
        Ok(Some(learned.grid))
    }

    fn siblings(&self) -> Vec<(Edge, Edge)> {
        let others = self.found.level.parts.iter().filter(|part| part.table != self.found.part.table);
        others
            .filter_map(|part| match &part.bound {
                Bound::Range { from, to } => Some((from.get(self.key)?.clone(), to.get(self.key)?.clone())),
                _ => None,
            })
            .collect()
    }

    fn axis(&self) -> Result<Axis, Finding> {
        let of = &self.found.level.keys[self.key].type_name;
        Axis::candidates(of).first().copied().ok_or_else(|| {
            self.refuse(
                format!("keys of type {of} have no order that is known here"),
                "Cut this table by hand.",
            )
        })
    }

    fn inside(
        &self,
        axis: Axis,
        (from, to): (&Edge, &Edge),
    ) -> Result<impl Fn(&Position) -> bool + use<>, Finding> {
        let read = |edge: &Edge| match edge {
            Edge::At(text) => axis
                .bound(text)
                .map(Some)
                .map_err(|bad| self.refuse(bad.to_string(), "Cut this table by hand.")),
            _ => Ok(None),
        };
        let (from, to) = (read(from)?, read(to)?);
        Ok(move |at: &Position| from.is_none_or(|from| from < *at) && to.is_none_or(|to| *at < to))
    }

    /// The bounds that were given, in order.
    fn given(&self, axis: Axis, ends: (&Edge, &Edge)) -> Result<Vec<Position>, Finding> {
        let inside = self.inside(axis, ends)?;
        let mut bounds = Vec::new();
        for text in &self.wanted.at {
            let at =
                axis.bound(text).map_err(|bad| self.refuse(bad.to_string(), "Name a value of the key."))?;
            if !inside(&at) {
                let what = format!("{text} does not lie within {}", self.found.part.table);
                return Err(self.refuse(what, "Name a bound between its own."));
            }
            bounds.push(at);
        }
        bounds.sort();
        bounds.dedup();
        Ok(bounds)
    }

    /// The bounds of the grid within the range, as far as there are rows; of more than one unit can make, every so many.
    fn cells(&self, grid: &Grid, (from, to): (&Edge, &Edge)) -> Result<Vec<Position>, Finding> {
        let wrong = |why: String| self.refuse(why, "Choose a longer interval.");
        let read = |text: &str| grid.axis.parse(text).map_err(|bad| wrong(bad.to_string()));
        let strays = self.found.part.strays.as_ref();
        let low = match (from, strays.and_then(|strays| strays.low.as_ref())) {
            (Edge::At(text), _) | (_, Some(text)) => Some(read(text)?),
            _ => None,
        };
        let high = match (to, strays.and_then(|strays| strays.high.as_ref())) {
            (Edge::At(text), _) | (_, Some(text)) => Some(read(text)?),
            _ => None,
        };
        let (Some(low), Some(high)) = (low, high) else {
            // Nobody is in it, or nobody could look.
            let known = self.found.part.empty == Some(true) || strays.is_some_and(|strays| strays.rows == 0);
            return match known {
                true => Ok(Vec::new()),
                false => Err(self.refuse(
                    format!(
                        "it is not known from where to where there are rows in {}",
                        self.found.part.table
                    ),
                    "ANALYZE it and run again; or say where to cut: --at BOUND",
                )),
            };
        };
        let mut bounds = Vec::new();
        let cells = grid.cells(low, Position(high.0 + 1), CELLS_MAX).map_err(|bad| wrong(bad.to_string()))?;
        for (begin, end) in cells {
            bounds.extend([begin, end]);
        }
        bounds.sort();
        bounds.dedup();
        let inside = self.inside(grid.axis, (from, to))?;
        bounds.retain(inside);
        if let Some(pieces) = self.wanted.pieces {
            let first = bounds.len().saturating_sub(pieces.max(1) as usize);
            return Ok(bounds.split_off(first));
        }
        // Every so many, counted from the newest, so that what is left over is old.
        let step = bounds.len().div_ceil(PIECES).max(1);
        let mut kept: Vec<Position> = bounds.iter().rev().copied().step_by(step).collect();
        kept.reverse();
        // What lies before the first row is nobody's, and stays apart.
        if let (Edge::Min, Some(first)) = (from, bounds.first())
            && kept.first() != Some(first)
        {
            kept.insert(0, *first);
        }
        Ok(kept)
    }
}

fn list(
    wanted: &Split,
    found: Found<'_>,
    values: &[Option<String>],
    names: &mut Names,
) -> Result<Vec<Unit>, Finding> {
    let table = &found.set.table;
    let mut left = values.to_vec();
    let mut groups: Vec<Vec<Option<String>>> = Vec::new();
    let asked: Vec<Vec<Option<String>>> = match wanted.at.is_empty() {
        // Each value on its own.
        true => values.iter().skip(1).map(|value| vec![value.clone()]).collect(),
        false => wanted
            .at
            .iter()
            .map(|group| group.split(',').map(|value| Some(value.trim().to_owned())).collect())
            .collect(),
    };
    for group in asked {
        for value in &group {
            let Some(at) = left.iter().position(|own| own == value) else {
                let value = value.as_deref().unwrap_or("NULL");
                let what = format!("{value} is no value of {}, or was named twice", found.part.table);
                return Err(refuse(table, what, "Name values that it holds."));
            };
            left.remove(at);
        }
        groups.push(group);
    }
    if left.is_empty() && !groups.is_empty() {
        left = groups.remove(0);
    }
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let mut namer = Namer::new(found, None, names);
    let mut new = vec![namer.called(found.part.table.clone(), Bound::List(left))?];
    for group in groups {
        new.push(namer.part(Bound::List(group), None)?);
    }
    Ok(vec![recut(found, vec![old(found.part)], new)])
}

/// The unit of a merge.
pub(super) fn merge(facts: &Facts, wanted: &Merge, names: &mut Names) -> Result<Vec<Unit>, Finding> {
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
                parts.push(super::part(facts, &part.table)?);
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

/// The units of another modulus: one for each partition that is cut, or for each group that becomes one.
pub(super) fn modulus(facts: &Facts, wanted: &Modulus, names: &mut Names) -> Result<Vec<Unit>, Finding> {
    let parent = &wanted.parent;
    let (set, level) = level(facts, parent)?;
    if level.method != Method::Hash {
        let what = format!("{parent} is not cut by a hash");
        return Err(refuse(
            &set.table,
            what,
            "Name a table that is, or split its partitions: replat rotate split",
        ));
    }
    let target = wanted.modulus;
    if !(1..=MODULUS_MAX).contains(&target) {
        let what = format!("{target} is no modulus");
        return Err(refuse(&set.table, what, format!("Choose one from 1 to {MODULUS_MAX}.")));
    }
    let bounds: Vec<Bound> = level.parts.iter().map(|part| part.bound.clone()).collect();
    if !missing_remainders(&bounds).is_empty() {
        let what = format!("{parent} lacks a partition for some remainders");
        return Err(refuse(&set.table, what, "Let runs fill the gap first: replat rotate"));
    }
    let mut groups: BTreeMap<u32, Vec<&Part>> = BTreeMap::new();
    let mut cut: Vec<&Part> = Vec::new();
    for part in &level.parts {
        let Bound::Hash { modulus, remainder } = part.bound else { continue };
        match (modulus, target) {
            (now, then) if now == then => {}
            (now, then) if then % now == 0 => cut.push(part),
            (now, then) if now % then == 0 => groups.entry(remainder % then).or_default().push(part),
            (now, then) => {
                let (down, up) =
                    (gcd(now, then), u64::from(now) / u64::from(gcd(now, then)) * u64::from(then));
                let what = format!(
                    "{} has modulus {now}, and {then} is neither a multiple nor a divisor of it",
                    part.table
                );
                let remedy = format!("Go by way of {down} or {up}; or choose {}.", u64::from(now) * 2);
                return Err(refuse(&set.table, what, remedy));
            }
        }
    }
    let is_wanted = |part: &Part| wanted.only.is_empty() || wanted.only.contains(&part.table);
    if let Some(stranger) =
        wanted.only.iter().find(|table| !level.parts.iter().any(|part| part.table == **table))
    {
        return Err(refuse(
            &set.table,
            format!("{stranger} is no partition of {parent}"),
            "Name one of its own.",
        ));
    }
    let mut units = Vec::new();
    for source in cut.into_iter().filter(|part| is_wanted(part)) {
        let Bound::Hash { modulus, remainder } = source.bound else { continue };
        let found = part(facts, &source.table)?;
        whole(found)?;
        let mut namer = Namer::new(found, None, names);
        let mut new = Vec::new();
        for more in 0..target / modulus {
            new.push(
                namer.part(Bound::Hash { modulus: target, remainder: remainder + more * modulus }, None)?,
            );
        }
        units.push(recut(found, vec![old(source)], new));
    }
    for (remainder, group) in groups {
        if !group.iter().any(|part| is_wanted(part)) {
            continue;
        }
        let found = part(facts, &group[0].table)?;
        for source in &group {
            whole(part(facts, &source.table)?)?;
        }
        let mut namer = Namer::new(found, None, names);
        let new = namer.part(Bound::Hash { modulus: target, remainder }, None)?;
        units.push(recut(found, group.into_iter().map(old).collect(), vec![new]));
    }
    Ok(units)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
