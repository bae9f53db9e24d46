//! Runways by what the bounds of a set mean and how fast its keys come.

use super::super::axis::Position;
use super::super::draft::{Wish, lines};
use super::super::facts::{Bound, Edge, Facts, Level, Micros, Part, SetFacts, TableName};
use super::super::forecast::{self, Forecast, History};
use super::super::grid::Grid;
use super::super::infer;
use super::super::policy::{Cut, LevelPolicy};
use super::{Line, Pace, Reading, Runway, runway};

/// The runways of all sets of which something is wanted, the shortest first.
pub fn runways(facts: &Facts, wish: &Wish) -> Vec<Runway> {
    let now = facts.vitals.now;
    let wanted = facts.sets.iter().filter_map(|set| Some((set, wish.of(set)?.1.levels)));
    let mut all: Vec<Runway> =
        wanted.map(|(set, hints)| runway(set, &Read { set, hints: &hints, now }, now)).collect();
    all.sort_by_key(|r| r.seconds.unwrap_or(u64::MAX));
    all
}

/// A set as the policy's words and its own bounds say that it is read.
#[derive(Clone, Copy)]
pub struct Read<'a> {
    /// The set.
    pub set: &'a SetFacts,
    /// What the policy says of its levels.
    pub hints: &'a [LevelPolicy],
    /// The database's clock.
    pub now: Micros,
}

impl Read<'_> {
    /// The component of the key that moves, and the grid it is on.
    pub fn grid(&self, table: &TableName, level: &Level) -> Option<Moving> {
        let depth = if *table == self.set.table { 0 } else { depth(&self.set.level, table)? + 1 };
        // Where bounds are no rows, the first component has to do.
        let key = lines(level).ok().and_then(|lines| Some(lines.first()?.key)).unwrap_or(0);
        let bounds: Vec<(Edge, Edge)> =
            level.parts.iter().filter_map(|part| ends(&part.bound, key)).collect();
        let hint = self.hints.get(depth).filter(|hint| hint.column != "*" || hint.by == Cut::Range);
        let learned = infer::learn(&level.keys.get(key)?.type_name, hint, &bounds, self.now);
        learned.ok().map(|learned| Moving { key, grid: learned.grid })
    }

    /// How fast rows and keys come to a level that is on a grid, and how far ahead of now, in days.
    pub fn forecast(&self, Moving { key, grid }: &Moving, level: &Level) -> (Forecast, Option<f64>) {
        let axis = grid.axis;
        let samples = if level.samples.is_empty() { &self.set.samples } else { &level.samples };
        let known = samples.iter().filter_map(|sample| Some((sample.at, sample.high.as_deref()?)));
        let present = level.high.as_deref().map(|high| (self.now, high));
        let known = known.chain(present).filter(|_| *key == 0);
        let keys: Vec<(Micros, i128)> =
            known.filter_map(|(at, text)| Some((at, axis.parse(text).ok()?.0))).collect();
        if !axis.is_time() {
            let history = History { samples, parts: &[], keys: &keys, now: self.now };
            return (forecast::learn(&history), None);
        }
        let at = |edge: &Edge| match edge {
            Edge::At(text) => grid.moment(axis.parse(text).ok()?),
            Edge::Min | Edge::Max => None,
        };
        let span = |part: &Part| {
            let (from, to) = ends(&part.bound, *key)?;
            Some((at(&from)?, at(&to)?, part.rows.unwrap_or(0), part.bytes.unwrap_or(0)))
        };
        let parts: Vec<_> = level.parts.iter().filter_map(span).collect();
        let moments: Vec<(Micros, Micros)> =
            keys.iter().filter_map(|(seen, key)| Some((*seen, grid.moment(Position(*key))?))).collect();
        let learned = forecast::learn(&History { samples, parts: &parts, keys: &[], now: self.now });
        (learned, forecast::lead(&moments))
    }

    /// How fast rows come to the set, by the earlier looks at it alone.
    pub fn of_samples(&self) -> Forecast {
        forecast::learn(&History { samples: &self.set.samples, parts: &[], keys: &[], now: self.now })
    }
}

impl Reading for Read<'_> {
    fn line(&self, table: &TableName, level: &Level) -> Option<Box<dyn Line>> {
        self.grid(table, level).map(|moving| Box::new(moving) as Box<dyn Line>)
    }

    fn pace(&self, table: &TableName, level: &Level) -> Pace {
        let Some(moving) = self.grid(table, level) else { return Pace::default() };
        let axis = moving.grid.axis;
        let (forecast, lead) = self.forecast(&moving, level);
        // The highest value is one of the first component.
        let high = level.high.as_deref().filter(|_| moving.key == 0 && !axis.is_time());
        Pace::of(&forecast, high.and_then(|high| axis.parse(high).ok()).map(|at| at.0), lead)
    }
}

/// A component of a key, and the grid that its bounds are on.
pub struct Moving {
    /// Which component, from 0 on.
    pub key: usize,
    /// The grid.
    pub grid: Grid,
}

/// Bounds are read loosely: one that lies between two steps is early by less than one.
impl Line for Moving {
    fn key(&self) -> usize {
        self.key
    }

    fn position(&self, text: &str) -> Option<i128> {
        self.grid.axis.parse(text).ok().map(|at| at.0)
    }

    fn is_time(&self) -> bool {
        self.grid.axis.is_time()
    }

    fn at_moment(&self, moment: Micros) -> Option<i128> {
        self.grid.at_moment(moment).map(|at| at.0)
    }

    fn moment(&self, position: i128) -> Option<Micros> {
        self.grid.moment(Position(position))
    }
}

fn ends(bound: &Bound, key: usize) -> Option<(Edge, Edge)> {
    match bound {
        Bound::Range { from, to } => Some((from.get(key)?.clone(), to.get(key)?.clone())),
        _ => None,
    }
}

/// How deep the partition `table` lies.
fn depth(level: &Level, table: &TableName) -> Option<usize> {
    level.parts.iter().find_map(|part| match part.table == *table {
        true => Some(0),
        false => depth(part.below.as_ref()?, table).map(|depth| depth + 1),
    })
}
