//! How long inserts are safe, by what the bounds of a set mean and how fast its keys come.

use replat_model::lifecycle::axis::{Axis, Position};
use replat_model::lifecycle::draft::Wish;
use replat_model::lifecycle::facts::{Bound, Edge, Facts, Level, Micros, Part, SetFacts, TableName};
use replat_model::lifecycle::forecast::{self, Forecast, History};
use replat_model::lifecycle::infer;
use replat_model::lifecycle::policy::LevelPolicy;
use replat_model::lifecycle::runway::{Line, Pace, Reading, Runway, runway};

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
pub struct Read<'a> {
    /// The set.
    pub set: &'a SetFacts,
    /// What the policy says of its levels.
    pub hints: &'a [LevelPolicy],
    /// The database's clock.
    pub now: Micros,
}

impl Read<'_> {
    /// What the keys of a level mean.
    pub fn axis(&self, table: &TableName, level: &Level) -> Option<Axis> {
        let depth = if *table == self.set.table { 0 } else { depth(&self.set.level, table)? + 1 };
        let bounds: Vec<(Edge, Edge)> = level.parts.iter().filter_map(|part| ends(&part.bound)).collect();
        let learned = infer::learn(&level.keys.first()?.type_name, self.hints.get(depth), &bounds, self.now);
        learned.ok().map(|learned| learned.grid.axis)
    }

    /// How fast rows come by the earlier looks at the set alone.
    pub fn of_samples(&self) -> Forecast {
        forecast::learn(&History { samples: &self.set.samples, parts: &[], keys: &[], now: self.now })
    }

    /// How fast rows and keys come to a level, and how far ahead of now, in days.
    pub fn forecast(&self, axis: Axis, level: &Level) -> (Forecast, Option<f64>) {
        let samples = if level.samples.is_empty() { &self.set.samples } else { &level.samples };
        let known = samples.iter().filter_map(|sample| Some((sample.at, sample.high.as_deref()?)));
        let present = level.high.as_deref().map(|high| (self.now, high));
        let keys: Vec<(Micros, i128)> =
            known.chain(present).filter_map(|(at, text)| Some((at, axis.parse(text).ok()?.0))).collect();
        if !axis.is_time() {
            let history = History { samples, parts: &[], keys: &keys, now: self.now };
            return (forecast::learn(&history), None);
        }
        let at = |edge: &Edge| match edge {
            Edge::At(text) => axis.moment(axis.bound(text).ok()?),
            Edge::Min | Edge::Max => None,
        };
        let span = |part: &Part| {
            let (from, to) = ends(&part.bound)?;
            Some((at(&from)?, at(&to)?, part.rows.unwrap_or(0), part.bytes.unwrap_or(0)))
        };
        let parts: Vec<_> = level.parts.iter().filter_map(span).collect();
        let moments: Vec<(Micros, Micros)> =
            keys.iter().filter_map(|(seen, key)| Some((*seen, axis.moment(Position(*key))?))).collect();
        let learned = forecast::learn(&History { samples, parts: &parts, keys: &[], now: self.now });
        (learned, forecast::lead(&moments))
    }
}

impl Reading for Read<'_> {
    fn line(&self, table: &TableName, level: &Level) -> Option<Box<dyn Line>> {
        self.axis(table, level).map(|axis| Box::new(AxisLine(axis)) as Box<dyn Line>)
    }

    fn pace(&self, table: &TableName, level: &Level) -> Pace {
        let Some(axis) = self.axis(table, level) else { return Pace::default() };
        let (forecast, lead) = self.forecast(axis, level);
        let high = level.high.as_deref().and_then(|high| axis.parse(high).ok()).map(|at| at.0);
        Pace::of(&forecast, if axis.is_time() { None } else { high }, lead)
    }
}

struct AxisLine(Axis);

impl Line for AxisLine {
    fn position(&self, text: &str) -> Option<i128> {
        self.0.bound(text).ok().map(|at| at.0)
    }

    fn is_time(&self) -> bool {
        self.0.is_time()
    }

    fn at_moment(&self, moment: Micros) -> Option<i128> {
        self.0.at_moment(moment).map(|at| at.0)
    }

    fn moment(&self, position: i128) -> Option<Micros> {
        self.0.moment(Position(position))
    }
}

/// From where to where a range goes, by its first key.
pub fn ends(bound: &Bound) -> Option<(Edge, Edge)> {
    match bound {
        Bound::Range { from, to } => Some((from.first()?.clone(), to.first()?.clone())),
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
