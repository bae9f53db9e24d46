//! Which of several key columns grows.
//!
//! A range over `(tenant, day)` is compared column by column, so a partition `(1, Jan) → (1, Feb)` holds one tenant's
//! January: the day grows, within a *series* for each tenant. A partition `(Jan, MINVALUE) → (Feb, MINVALUE)` over
//! `(day, id)` holds everybody's January: the day grows, in one series, and what is behind it says nothing.

use super::super::facts::{Bound, Edge};
use super::NotLearned;

/// Partitions that differ in one component only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// What the components before it are.
    pub prefix: Vec<Edge>,
    /// Which component grows, counted from 0.
    pub component: usize,
    /// What is behind it in every bound that is a value; mostly [`Edge::Min`].
    pub behind: Vec<Edge>,
    /// The bounds of that component.
    pub bounds: Vec<(Edge, Edge)>,
    /// Which of the rows that were given these are.
    pub rows: Vec<usize>,
}

impl Series {
    /// The bound of a partition of this series.
    pub fn bound(&self, from: Edge, to: Edge) -> Bound {
        let whole = |edge: Edge| {
            // What is behind an unbounded component is unbounded on the same side.
            let behind = match &edge {
                Edge::At(_) => self.behind.clone(),
                open => vec![open.clone(); self.behind.len()],
            };
            self.prefix.iter().cloned().chain([edge]).chain(behind).collect()
        };
        Bound::Range { from: whole(from), to: whole(to) }
    }
}

/// The series that `bounds` (a component for each key column) make up, in the order of their first rows.
///
/// Rows before the first series, such as `(MINVALUE, MINVALUE) → (1, MINVALUE)`, belong to none.
///
/// # Errors
///
/// [`NotLearned::Components`] if rows grow in different columns, or differ behind the one that grows;
/// [`NotLearned::NoInterval`] if there are none.
pub fn component(bounds: &[(Vec<Edge>, Vec<Edge>)]) -> Result<Vec<Series>, NotLearned> {
    let differing = |(from, to): &(Vec<Edge>, Vec<Edge>)| from.iter().zip(to).position(|(a, b)| a != b);
    let component = bounds.iter().filter_map(differing).max().ok_or(NotLearned::NoInterval)?;
    let mut all: Vec<Series> = Vec::new();
    for (row, bound) in bounds.iter().enumerate() {
        let (from, to) = bound;
        let mixed =
            |other: usize| NotLearned::Components { one: row_text(&bounds[other]), other: row_text(bound) };
        let deepest = || bounds.iter().position(|b| differing(b) == Some(component)).unwrap_or(row);
        if from.len() != to.len() || from.len() <= component {
            return Err(mixed(deepest()));
        }
        let end = match differing(bound) {
            Some(at) if at == component => to[component].clone(),
            // Before the first series, or a row that says nothing.
            _ if from[..component].iter().any(|edge| !matches!(edge, Edge::At(_))) => continue,
            // `(1, Dec) → (2, MINVALUE)`: the end of the series, up to the next one.
            Some(at) if is_open(&to[at + 1..]) => Edge::Max,
            _ => return Err(mixed(deepest())),
        };
        let prefix = &from[..component];
        let ends = [&from[component..], if end == Edge::Max { &[] } else { &to[component..] }];
        let behind =
            ends.iter().find_map(|end| matches!(end.first(), Some(Edge::At(_))).then(|| end[1..].to_vec()));
        let open = vec![Edge::Min; from.len() - component - 1];
        let known = all.iter().position(|series| series.prefix == prefix);
        let place = known.unwrap_or_else(|| {
            let behind = behind.clone().unwrap_or_else(|| open.clone());
            all.push(Series { prefix: prefix.to_vec(), component, behind, bounds: vec![], rows: vec![] });
            all.len() - 1
        });
        let series = &mut all[place];
        if series.bounds.iter().all(|(from, to)| !matches!((from, to), (Edge::At(_), _) | (_, Edge::At(_)))) {
            // Only open ends so far: they said nothing about what is behind.
            series.behind = behind.unwrap_or(open);
        }
        let differs =
            |end: &&[Edge]| matches!(end.first(), Some(Edge::At(_))) && end[1..] != series.behind[..];
        if ends.iter().any(differs) {
            return Err(mixed(series.rows.first().copied().unwrap_or(row)));
        }
        series.bounds.push((from[component].clone(), end));
        series.rows.push(row);
    }
    Ok(all)
}

/// Whether nothing but unbounded edges is there.
fn is_open(edges: &[Edge]) -> bool {
    edges.iter().all(|edge| !matches!(edge, Edge::At(_))) && !edges.is_empty()
}

fn row_text((from, to): &(Vec<Edge>, Vec<Edge>)) -> String {
    let side = |edges: &[Edge]| {
        let texts = edges.iter().map(|edge| match edge {
            Edge::Min => "MINVALUE",
            Edge::At(text) => text,
            Edge::Max => "MAXVALUE",
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    format!("({}) → ({})", side(from), side(to))
}
