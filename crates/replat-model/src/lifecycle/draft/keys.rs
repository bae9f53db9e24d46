//! Which component of a key moves from partition to partition.
//!
//! A range over several components is a line only if one of them moves and the others stand still: those before it
//! are alike within a group (`(tenant, day)` with one tenant's days in a row), those after it are alike everywhere
//! (mostly MINVALUE). Each group is a line of its own, with a buffer of its own.

use super::super::facts::{Bound, Edge, Level, Part};

/// Partitions in a row.
#[derive(Clone, Debug)]
pub(in super::super) struct Line<'a> {
    /// The component that moves.
    pub(in super::super) key: usize,
    /// What the components before it are.
    pub(super) prefix: Vec<Edge>,
    /// What the components after it are.
    pub(super) tail: Vec<Edge>,
    /// The ordinary partitions, in the order in which they were given.
    pub(super) spans: Vec<Raw<'a>>,
    /// The range from MINVALUE on.
    pub(super) lower: Option<Raw<'a>>,
    /// The range up to MAXVALUE.
    pub(super) upper: Option<Raw<'a>>,
}

/// One partition's bounds in the component that moves.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Raw<'a> {
    pub(super) from: &'a Edge,
    pub(super) to: &'a Edge,
    pub(super) part: &'a Part,
}

impl Line<'_> {
    /// The bound from `from` to `to` on this line.
    pub(super) fn bound(&self, from: Edge, to: Edge) -> Bound {
        let whole = |edge: Edge| {
            let tail = match edge {
                // After an infinite component the others must be infinite the same way.
                Edge::Min | Edge::Max => vec![edge.clone(); self.tail.len()],
                Edge::At(_) => self.tail.clone(),
            };
            self.prefix.iter().cloned().chain([edge]).chain(tail).collect()
        };
        Bound::Range { from: whole(from), to: whole(to) }
    }
}

/// The lines of a level of ranges; at least one. A detach that was broken off is finished before anything else, so
/// such a partition counts as gone.
///
/// # Errors
///
/// Why the bounds are no lines.
pub(in super::super) fn lines(level: &Level) -> Result<Vec<Line<'_>>, String> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for part in level.parts.iter().filter(|part| !part.detach_pending) {
        let (from, to) = match &part.bound {
            Bound::Range { from, to } => (from, to),
            Bound::Default => continue,
            other => return Err(format!("{} has the bound {other:?}, which is no range", part.table)),
        };
        if from.len() != level.keys.len() || to.len() != level.keys.len() {
            return Err(format!("the bounds of {} do not have a component for each key", part.table));
        }
        let Some(key) = from.iter().zip(to).position(|(from, to)| from != to) else {
            return Err(format!("the bounds of {} are equal", part.table));
        };
        let raw = Raw { from: &from[key], to: &to[key], part };
        if *raw.from == Edge::Max || *raw.to == Edge::Min {
            return Err(format!("{} ends before it begins", part.table));
        }
        let tail = match (raw.from, raw.to) {
            (Edge::At(_), Edge::At(_)) if from[key + 1..] == to[key + 1..] => Some(&from[key + 1..]),
            (Edge::At(_), Edge::At(_)) => {
                return Err(format!(
                    "the bounds of {} move in more than one component of the key",
                    part.table
                ));
            }
            (Edge::At(_), _) => Some(&from[key + 1..]),
            (_, Edge::At(_)) => Some(&to[key + 1..]),
            _ => None,
        };
        let known = lines.iter_mut().find(|line| line.key == key && line.prefix == from[..key]);
        let line = match known {
            Some(line) => line,
            None => {
                let tail = tail.map_or(vec![Edge::Min; level.keys.len() - key - 1], <[Edge]>::to_vec);
                let prefix = from[..key].to_vec();
                lines.push(Line { key, prefix, tail, spans: Vec::new(), lower: None, upper: None });
                lines.last_mut().expect("it was pushed")
            }
        };
        if tail.is_some_and(|tail| tail != line.tail) {
            return Err(format!(
                "the bounds of {} differ from its siblings' in a component that stands still",
                part.table
            ));
        }
        match (raw.from, raw.to) {
            (Edge::Min, _) => line.lower = Some(raw),
            (_, Edge::Max) => line.upper = Some(raw),
            _ => line.spans.push(raw),
        }
    }
    if lines.windows(2).any(|pair| pair[0].key != pair[1].key) {
        return Err("some bounds move in one component of the key, and some in another".into());
    }
    if lines.is_empty() {
        let tail = vec![Edge::Min; level.keys.len().saturating_sub(1)];
        lines.push(Line { key: 0, prefix: Vec::new(), tail, spans: Vec::new(), lower: None, upper: None });
    }
    Ok(lines)
}
