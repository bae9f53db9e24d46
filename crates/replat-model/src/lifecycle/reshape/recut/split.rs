//! One partition becomes several.

use serde::{Deserialize, Serialize};

use super::super::{Found, part, refuse};
use super::{Namer, PIECES, old, recut, whole};
use crate::lifecycle::axis::{Axis, Position};
use crate::lifecycle::draft::Names;
use crate::lifecycle::facts::{Bound, Edge, Facts, Level, Part, TableName};
use crate::lifecycle::grid::Grid;
use crate::lifecycle::health::{Finding, codes};
use crate::lifecycle::infer;
use crate::lifecycle::plan::Unit;
use crate::lifecycle::policy::{Cut, LevelPolicy};

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

/// The units of a split: one, or none if it is one piece already.
pub(in super::super) fn split(
    facts: &Facts,
    wanted: &Split,
    names: &mut Names,
) -> Result<Vec<Unit>, Finding> {
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
pub(super) struct Cutting<'a> {
    pub(super) facts: &'a Facts,
    pub(super) wanted: &'a Split,
    pub(super) found: Found<'a>,
    /// Which component of the key moves.
    pub(super) key: usize,
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

    pub(in super::super) fn siblings(&self) -> Vec<(Edge, Edge)> {
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
