//! What follows from the bounds that are there, when nobody said.
//!
//! [`learn`] takes the bounds of one range key and whatever the policy says, and gives the [`Grid`] that new
//! partitions continue. Three questions are answered in turn, and each that the policy answers is not asked:
//!
//! 1. **What do the values mean?** A `bigint` is read as a time only if its bounds are, in exactly one reading, near the
//!    present and on a sane calendar grid; else it is a number, and its bounds must be evenly spaced.
//! 2. **How long is a cell?** The newest bounds decide, in a *regime*: the unbroken row of newest partitions that lie on
//!    one grid. Older ones may be cut otherwise; that is said. One partition alone is enough if its length is a natural
//!    one, such as a day that begins at midnight.
//! 3. **Whose midnights?** UTC where that fits, else the zones of the world are tried. Several may fit; that is no
//!    matter as long as they agree on the next year.
//!
//! The policy's own words win, but they must fit: its origin must lead to the newest bound. An interval without an
//! origin need not: where the newest bound is not on the new grid, a shorter cell leads there ([`Grid::bridge`]), or
//! the grid begins at that bound where no place is more natural than another.
//!
//! [`component`] finds out which of several key columns it is that grows.

mod reading;
mod regime;
mod series;
mod zones;

use super::axis::{Axis, BadAxis, BadPosition, DAY};
use super::facts::{Edge, Micros};
use super::grid::{BadGrid, BadInterval, Grid, Interval, natural_origin};
use super::policy::LevelPolicy;

use reading::Reading;
pub use series::{Series, component};

/// The grid of a set, and how it came to be known.
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The grid that new partitions lie on.
    pub grid: Grid,
    /// For people: `given`, `learned from 31 partitions`, …
    pub because: String,
}

/// Why the grid of a set is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLearned {
    /// The type has no such reading.
    #[error(transparent)]
    Axis(#[from] BadAxis),
    /// A bound that cannot be read.
    #[error(transparent)]
    Bound(#[from] BadPosition),
    /// The policy's interval, origin or zone.
    #[error(transparent)]
    Grid(#[from] BadGrid),
    /// There is nothing to learn from.
    #[error("there is no partition with two ends to learn an interval from, and none is given")]
    NoInterval,
    /// The values can be read in several ways, or in none.
    #[error("keys of type {type_name} may be {readings}; their bounds do not tell")]
    Reading {
        /// The type.
        type_name: String,
        /// The readings, described.
        readings: String,
    },
    /// Two partitions that are on no common grid.
    #[error("the partitions {one} and {other} are on no common grid: {why}")]
    Mixed {
        /// The older one.
        one: String,
        /// The newer one.
        other: String,
        /// What is wrong with them.
        why: &'static str,
    },
    /// One partition, and its length says nothing.
    #[error("the only partition is {span}, which is no natural length")]
    Unnatural {
        /// It.
        span: String,
    },
    /// Several zones fit the bounds and differ within a year.
    #[error("the bounds, such as {bound}, fit the days of {}, which differ within the next year", zones.join(" and of "))]
    Zone {
        /// The newest bound.
        bound: String,
        /// A zone for each way to go on.
        zones: Vec<String>,
    },
    /// What was given leads past the bounds that are there.
    #[error("{given} does not fit the existing bounds: the newest is {bound}")]
    Misfit {
        /// What was given: the interval does not fit existing bounds, or the zone.
        given: String,
        /// The newest bound.
        bound: String,
    },
    /// More than one key component grows, or none.
    #[error("the bounds {one} and {other} do not grow in the same key column")]
    Components {
        /// A row of bounds.
        one: String,
        /// Another.
        other: String,
    },
}

impl NotLearned {
    /// What to do about it, as one imperative sentence.
    pub fn remedy(&self) -> String {
        match self {
            NotLearned::Axis(_) => "Name another encoding, or leave this table out.".into(),
            NotLearned::Reading { .. } => "Say what the values mean: the level's `encoding`, such as \"epoch-ms\" or \"number\".".into(),
            NotLearned::Bound(_) => "Give the level's `encoding`, or repair that bound.".into(),
            NotLearned::Grid(_) => "Correct the level's `interval`, `origin` or `zone`.".into(),
            NotLearned::NoInterval => "Say how long a partition is: --interval=\"1 day\", or `interval` of the level in the policy.".into(),
            NotLearned::Mixed { .. } | NotLearned::Unnatural { .. } => {
                "Give an interval (--interval, or `interval` of the level); new partitions then follow it from the newest bound on."
                    .into()
            }
            NotLearned::Zone { .. } => "Give the level's `zone`, such as \"Europe/Berlin\".".into(),
            NotLearned::Misfit { bound, .. } => {
                format!("Leave `origin` out or choose one that leads to {bound}; leave `zone` out, or give `interval` too.")
            }
            NotLearned::Components { .. } => "Cut the table by hand, or split it into one set for each column.".into(),
        }
    }
}

/// The grid that `hint` and `bounds` (of the one key component that grows) say together.
///
/// `type_name` is the component's type, as the engine formats it, and `now` tells what times are plausible. Bounds may
/// come in any order, with gaps, and may be unbounded or infinite on either side; such sides are left out.
///
/// # Errors
///
/// [`NotLearned`] says what is missing, mixed or ambiguous, and what would settle it.
pub fn learn(
    type_name: &str,
    hint: Option<&LevelPolicy>,
    bounds: &[(Edge, Edge)],
    now: Micros,
) -> Result<Learned, NotLearned> {
    let hint = Hint::of(hint)?;
    let readings = reading::readings(type_name, &hint, bounds, now)?;
    if let [reading] = readings.as_slice() {
        return settle(reading, &hint);
    }
    // Several readings are possible. A time that is near the present and on a calendar's grid is one by design.
    let (times, numbers): (Vec<&Reading>, Vec<&Reading>) = readings.iter().partition(|r| r.axis.is_time());
    let mut sane: Vec<Learned> =
        times.into_iter().filter_map(|reading| settle(reading, &hint).ok().filter(is_sane)).collect();
    match (sane.len(), numbers.as_slice()) {
        (1, _) => Ok(sane.remove(0)),
        (0, [number]) => settle(number, &hint),
        _ => Err(reading::ambiguous(type_name, &readings)),
    }
}

/// What the policy says about the grid.
#[derive(Clone, Copy, Debug, Default)]
struct Hint<'a> {
    encoding: Option<&'a str>,
    snowflake: Option<super::policy::Snowflake>,
    interval: Option<Interval>,
    origin: Option<&'a str>,
    zone: Option<&'a str>,
}

impl<'a> Hint<'a> {
    fn of(policy: Option<&'a LevelPolicy>) -> Result<Hint<'a>, NotLearned> {
        let Some(policy) = policy else { return Ok(Hint::default()) };
        let interval = policy.interval.as_deref().map(str::parse);
        Ok(Hint {
            encoding: policy.encoding.as_deref(),
            snowflake: policy.snowflake,
            interval: interval.transpose().map_err(|bad: BadInterval| BadGrid::from(bad))?,
            origin: policy.origin.as_deref(),
            zone: policy.zone.as_deref(),
        })
    }
}

/// Whether a reading that is one of several has a grid that nobody makes by accident.
fn is_sane(learned: &Learned) -> bool {
    learned.grid.interval.micros().is_some_and(|micros| micros >= 60_000_000)
        && regime::is_natural(&learned.grid)
}

/// The grid, once it is known what the values mean.
fn settle(reading: &Reading, hint: &Hint) -> Result<Learned, NotLearned> {
    match hint.interval {
        Some(interval) => asked(reading, hint, interval),
        None => learned(reading, hint),
    }
}

/// The grid of the newest regime.
fn learned(reading: &Reading, hint: &Hint) -> Result<Learned, NotLearned> {
    let regime = regime::newest(reading, hint.zone)?;
    let because = regime.because();
    let Some(origin) = hint.origin else { return Ok(Learned { grid: regime.grid, because }) };
    let zone = regime.grid.zone.iana_name().map(str::to_owned);
    let grid = Grid::new(reading.axis, regime.grid.interval, Some(origin), zone.as_deref())?;
    match reading.newest_upper() {
        Some(upper) if !grid.on_grid(upper) => {
            Err(NotLearned::Misfit { given: format!("origin {origin}"), bound: reading.text(upper) })
        }
        _ => Ok(Learned { grid, because }),
    }
}

/// The grid of an interval that the policy names.
fn asked(reading: &Reading, hint: &Hint, interval: Interval) -> Result<Learned, NotLearned> {
    let axis = reading.axis;
    let given = |grid| Learned { grid, because: "given".into() };
    let natural = Grid::new(axis, interval, hint.origin, hint.zone)?;
    let Some(upper) = reading.newest_upper() else { return Ok(given(natural)) };
    if hint.origin.is_some() {
        return match natural.on_grid(upper) {
            true => Ok(given(natural)),
            false => Err(NotLearned::Misfit {
                given: format!("an interval of {}", natural.describe()),
                bound: reading.text(upper),
            }),
        };
    }
    // The interval goes on as it is: where its cells begin is not to be changed.
    let zone = match regime::newest(reading, hint.zone) {
        Ok(regime) if regime.grid.interval == natural.interval => {
            return Ok(Learned { because: format!("given, and {}", regime.because()), grid: regime.grid });
        }
        Ok(regime) => regime.grid.zone,
        Err(unclear @ NotLearned::Zone { .. })
            if matches!(interval, Interval::Days(_) | Interval::Months(_)) =>
        {
            return Err(unclear);
        }
        Err(_) => natural.zone.clone(),
    };
    let origin = natural_origin(axis, natural.interval, &zone)?;
    let natural = Grid::through(axis, natural.interval, origin, zone.clone())?;
    if natural.on_grid(upper) {
        return Ok(given(natural));
    }
    if has_natural_places(natural.interval) {
        let because = match natural.bridge(upper) {
            Some((from, to)) => {
                format!("given; one from {} to {} leads to it", reading.text(from), reading.text(to))
            }
            None => "given".into(),
        };
        return Ok(Learned { grid: natural, because });
    }
    let grid = Grid::through(axis, natural.interval, upper, zone)?;
    Ok(Learned { grid, because: format!("given, from the newest bound {} on", reading.text(upper)) })
}

/// Whether cells of this length belong at certain places, so that a shorter one should lead there.
fn has_natural_places(interval: Interval) -> bool {
    match interval {
        Interval::Months(_) => true,
        Interval::Days(days) => days == 1 || days % 7 == 0,
        Interval::Fixed(micros) => DAY % i128::from(micros) == 0,
        Interval::Number(_) | Interval::Decimal { .. } => false,
    }
}

/// `[from, to)`, for people.
fn span_text(axis: Axis, (from, to): (super::axis::Position, super::axis::Position)) -> String {
    let text = |at| axis.text(at).unwrap_or_else(|_| at.to_string());
    format!("[{}, {})", text(from), text(to))
}
