//! Which cells of a grid are free.

use super::super::axis::Position;
use super::super::grid::Grid;

/// Cells that one draft makes for one parent at most. More is a mistake in the interval or in the horizon.
pub(super) const CELLS_MAX: usize = 10_000;

/// From a position on, up to another, which is not included.
pub(super) type Stretch = (Position, Position);

/// Why cells cannot be had.
pub(super) enum NoCells {
    /// More than [`CELLS_MAX`].
    TooMany,
    /// The grid does not reach there.
    Grid(String),
}

/// What nothing covers between `from` and `to`, cut along the grid.
///
/// `covered` is ascending and without overlaps. A cell that reaches into something covered is cut there, so the new
/// bounds touch those that are there, whatever grid they are on: where an interval has changed, a bridge. The first
/// one begins at the beginning of its cell, the last one ends at the end of its own, both only as far as that is free.
pub(super) fn free(
    grid: &Grid,
    covered: &[Stretch],
    from: Position,
    to: Position,
) -> Result<Vec<Stretch>, NoCells> {
    let mut found = Vec::new();
    let mut at = from;
    while at < to {
        let before = covered.partition_point(|(begin, _)| *begin <= at);
        if let Some((_, end)) = before.checked_sub(1).map(|last| covered[last]).filter(|(_, end)| at < *end) {
            at = end;
            continue;
        }
        if found.len() == CELLS_MAX {
            return Err(NoCells::TooMany);
        }
        let stretch = around(grid, covered, at)?;
        at = stretch.1;
        found.push(stretch);
    }
    Ok(found)
}

/// The cell that holds `at`, as far as it is free around `at`, which nothing covers.
pub(super) fn around(grid: &Grid, covered: &[Stretch], at: Position) -> Result<Stretch, NoCells> {
    let (begin, end) = grid.cell(at).map_err(|bad| NoCells::Grid(bad.to_string()))?;
    let next = covered.partition_point(|(begin, _)| *begin <= at);
    let begin = next.checked_sub(1).map_or(begin, |last| covered[last].1.max(begin));
    let end = covered.get(next).map_or(end, |(after, _)| (*after).min(end));
    Ok((begin, end))
}
