//! Whether rows come faster than forecast, and whether partitions will last at the pace of this minute.
//!
//! Two looks some seconds apart show a pace. For keys that are times a burst needs no further partitions, since the
//! clock moves no faster; a run is called for all the same, once, since sizes, sliding lists and samples follow rows.
//! For keys that are numbers what counts is how long the partitions last at that pace: the forecast of days may be
//! right, and the partitions gone by noon.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::Wish;
use super::facts::{Bound, Edge, Facts, Level, Micros, Sample, SetFacts, TableName};
use super::policy::Lifecycle;
use super::runway::Read;

const DAY: f64 = 86_400e6;

/// For how long partitions of numbers have to last at the pace just seen, in days: an hour. No forecast is needed to
/// see that less is too little.
const LEAST: f64 = 1.0 / 24.0;

/// The same while rows come faster than forecast: a day, since nobody knows how long it goes on.
const LEAST_IN_SURGE: f64 = 1.0;

/// How many partitions one surge asks for at most. If that does not last, the next look asks again.
const MOST: u32 = 100;

/// Keys that count as no evidence.
const NOISE: f64 = 100.0;

/// A set that grows faster than it should for what it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Surge {
    /// The set.
    pub set: TableName,
    /// Its pace since the last measurement, by its forecast; `None` without a forecast.
    pub ratio: Option<f64>,
    /// How many partitions after the one in use are enough for a while; `None` if the policy is to say.
    pub ahead: Option<u32>,
}

impl std::fmt::Display for Surge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ratio {
            Some(ratio) => write!(f, "{} grows {ratio:.1} times as fast as forecast", self.set)?,
            None => write!(f, "{} grows fast", self.set)?,
        }
        match self.ahead {
            Some(ahead) => write!(f, "; {ahead} partitions ahead are needed at this pace"),
            None => Ok(()),
        }
    }
}

/// What was measured last in one database.
#[derive(Clone, Debug, Default)]
pub struct Velocity {
    rows: BTreeMap<u64, Sample>,
    keys: BTreeMap<u64, (Micros, i128)>,
    /// What a surge was told of, until it has passed: sets and partitioned tables below them.
    told: BTreeSet<u64>,
}

/// How one level of numbers stands.
struct Standing {
    /// Keys a day since the last measurement.
    per_day: f64,
    /// The same by the forecast.
    ratio: Option<f64>,
    /// Keys left until the end of the unbroken partitions.
    left: f64,
    /// Keys of one partition.
    width: f64,
    /// Whole partitions after the one in use.
    ahead: u32,
}

impl Velocity {
    /// Sets that have begun to grow faster than `least` times their forecast since the last call, or whose partitions
    /// will not last at the pace since then. The first call only remembers.
    pub fn measure(&mut self, facts: &Facts, wish: &Wish, least: f64) -> Vec<Surge> {
        if facts.vitals.read_only {
            return Vec::new();
        }
        let wanted = facts.sets.iter().filter_map(|set| Some((set, wish.of(set)?.1)));
        wanted.filter_map(|(set, policy)| self.of_set(set, &policy, facts.vitals.now, least)).collect()
    }

    fn of_set(&mut self, set: &SetFacts, policy: &Lifecycle, now: Micros, least: f64) -> Option<Surge> {
        let read = Read { set, hints: &policy.levels, now };
        let rows = self.of_rows(set, &read, now);
        let numbers = self.of_level(set.id, &set.table, &set.level, &read, now);
        let ratio = rows.into_iter().chain(numbers.as_ref().and_then(|n| n.ratio)).reduce(f64::max);
        let fast = ratio.is_some_and(|ratio| ratio >= least);
        let ahead = numbers.and_then(|standing| standing.short(fast));
        let below = self.below(&set.level, &read, now, fast);
        let begins = self.begins(set.id, fast, ratio.is_none_or(|ratio| ratio < least / 2.0));
        (begins || below || ahead.is_some()).then(|| Surge { set: set.table.clone(), ratio, ahead })
    }

    /// Whether what is `on` was not so before; it is over when it is `off`, and what is neither stays as it is.
    fn begins(&mut self, id: u64, on: bool, off: bool) -> bool {
        if off {
            self.told.remove(&id);
        }
        on && self.told.insert(id)
    }

    /// The pace of rows by the forecast.
    fn of_rows(&mut self, set: &SetFacts, read: &Read<'_>, now: Micros) -> Option<f64> {
        let newest = set.samples.last()?;
        let last = self.rows.insert(set.id, newest.clone())?;
        let forecast = match read.grid(&set.table, &set.level) {
            Some(moving) => read.forecast(&moving, &set.level).0,
            None => read.of_samples(),
        };
        forecast.surge(&last, newest.inserted, now)
    }

    /// How a level stands whose keys are numbers; `None` of others, and the first time.
    fn of_level(
        &mut self,
        id: u64,
        table: &TableName,
        level: &Level,
        read: &Read<'_>,
        now: Micros,
    ) -> Option<Standing> {
        // The highest key in use is known of the first component alone.
        let moving = read.grid(table, level).filter(|moving| moving.key == 0)?;
        let axis = Some(moving.grid.axis).filter(|axis| !axis.is_time())?;
        let high = axis.parse(level.high.as_deref()?).ok()?.0;
        let (at, before) = self.keys.insert(id, (now, high))?;
        let days = (now - at) as f64 / DAY;
        let came = (high - before) as f64;
        if days <= 0.0 || came < 0.0 {
            return None;
        }
        let (forecast, _) = read.forecast(&moving, level);
        let ratio = forecast.keys(days).map(|(expected, _)| (came + NOISE) / (expected + NOISE));
        let at = |edge: &Edge| match edge {
            Edge::At(text) => axis.bound(text).ok().map(|at| at.0),
            Edge::Min | Edge::Max => None,
        };
        let mut spans: Vec<(i128, i128)> = level
            .parts
            .iter()
            .filter_map(|part| match &part.bound {
                Bound::Range { from, to } => Some((at(from.first()?)?, at(to.first()?)?)),
                _ => None,
            })
            .collect();
        spans.sort_unstable();
        let (_, mut end) = *spans.iter().find(|(from, to)| *from <= high && high < *to).or(spans.last())?;
        let mut ahead = 0;
        let width = spans.last().map_or(1, |(from, to)| to - from).max(1) as f64;
        while let Some((_, to)) = spans.iter().find(|(from, _)| *from == end) {
            (end, ahead) = (*to, ahead + 1);
        }
        Some(Standing { per_day: came / days, ratio, left: (end - high).max(0) as f64, width, ahead })
    }

    /// Whether the partitions of some level below have begun not to last. Their policy knows how far they are to
    /// grow; a number of partitions for all siblings would be too many.
    fn below(&mut self, level: &Level, read: &Read<'_>, now: Micros, fast: bool) -> bool {
        let mut any = false;
        for part in &level.parts {
            let Some(below) = &part.below else { continue };
            if let Some(standing) = self.of_level(part.id, &part.table, below, read, now) {
                let short = standing.short(fast).is_some();
                any |= self.begins(part.id, short, !short);
            }
            any |= self.below(below, read, now, fast);
        }
        any
    }
}

impl Standing {
    /// How many partitions there should be after the one in use, if those that are there do not last.
    fn short(&self, fast: bool) -> Option<u32> {
        let least = if fast { LEAST_IN_SURGE } else { LEAST };
        if self.per_day * least <= self.left {
            return None;
        }
        // Twice as many as would just do, so that the next measurement need not ask again.
        let enough = (2.0 * self.per_day * least / self.width).ceil();
        let enough = if enough < f64::from(MOST) { enough as u32 } else { MOST };
        (enough > self.ahead).then_some(enough)
    }
}
