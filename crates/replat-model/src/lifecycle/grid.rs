//! The raster of bounds on an axis.
//!
//! A [`Grid`] cuts an [`Axis`] into half-open cells of one [`Interval`], counted from an origin in both directions.
//! Its cells tile: each begins where the one before it ends, whatever clocks do.
//!
//! | interval | counted |
//! |---|---|
//! | months, days | on the calendar of the zone: a day is from midnight to midnight, be it 23, 24 or 25 hours |
//! | hours and below | in elapsed time from the origin: a cell is always as long, and wanders against the wall clock when clocks change |
//! | numbers | from the origin |
//!
//! On the calendar, a cell begins with the first instant at which the wall clock shows its beginning *or a later
//! time*. So where a midnight is left out because clocks go forward, the day begins with the first instant there is;
//! where it comes twice, with the first; and a day that a country left out altogether has no cell.
//!
//! Dates and timestamps without a zone lie on the bare calendar; a zone then says only which of its days is today
//! ([`Grid::at_moment`]).
//!
//! Unless an origin is given, cells begin at the natural places: at midnight, weeks on Monday, months on the first,
//! quarters and years in January, numbers at zero.

mod calendar;
mod interval;

use std::fmt;

use jiff::tz::TimeZone;

use super::axis::{Axis, BadPosition, DAY, EpochUnit, Position, SECOND};
use super::facts::Micros;

pub(crate) use calendar::{civil, first_with_wall, named_zone, wall};
pub use interval::{BadInterval, Interval};

use calendar::{Months, month_start, months_since_2000};

/// Midnight of 2000-01-01, where months and single days are counted from; a Saturday.
const ORIGIN_2000: i128 = 946_684_800 * SECOND;
/// Midnight of 2001-01-01, where weeks are counted from; a Monday.
const ORIGIN_2001: i128 = 978_307_200 * SECOND;
const WEEK: i128 = 7 * DAY;

/// An axis, cut into cells of one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// What is cut.
    pub axis: Axis,
    /// Into pieces of what length.
    pub interval: Interval,
    /// Where one of them begins.
    pub origin: Position,
    /// Whose calendar counts; UTC where none was named.
    pub zone: TimeZone,
}

/// Why there is no such grid, or no such cell on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadGrid {
    /// The text of the interval.
    #[error(transparent)]
    Interval(#[from] BadInterval),
    /// The interval does not go with the axis.
    #[error("an interval of {interval} does not fit keys of {axis}: {why}")]
    Misfit {
        /// The interval.
        interval: String,
        /// The axis, described.
        axis: String,
        /// Why not.
        why: String,
    },
    /// The origin.
    #[error("the grid cannot begin at {origin}: {why}")]
    Origin {
        /// As it was given.
        origin: String,
        /// Why not.
        why: String,
    },
    /// The zone.
    #[error("there is no time zone {0:?}; zones are named like Europe/Berlin")]
    Zone(String),
    /// The position lies beyond the years that calendars are kept for.
    #[error("{0} is beyond the calendar")]
    Calendar(String),
    /// There are more cells than may be asked for.
    #[error("there are more than {limit} partitions of {interval} between {from} and {to}")]
    TooMany {
        /// How many there may be.
        limit: usize,
        /// The interval.
        interval: String,
        /// From where.
        from: String,
        /// To where.
        to: String,
    },
    /// A text is no position, or a position has no text.
    #[error(transparent)]
    Position(#[from] BadPosition),
}

impl Grid {
    /// The grid of `interval` over `axis`, through `origin` (a value of the key; on axes of time also a day or a
    /// moment, which without an offset is the zone's), in the zone of that name.
    ///
    /// # Errors
    ///
    /// [`BadGrid`] if the zone is unknown, the interval does not go with the axis (six hours among dates, a number
    /// among times), or the origin is no position, or none at which every month begins.
    pub fn new(
        axis: Axis,
        interval: Interval,
        origin: Option<&str>,
        zone: Option<&str>,
    ) -> Result<Grid, BadGrid> {
        let zone = zone
            .map_or(Ok(TimeZone::UTC), |name| named_zone(name).ok_or_else(|| BadGrid::Zone(name.into())))?;
        let interval = fitting(axis, interval)?;
        let origin = match origin {
            Some(text) => read_origin(axis, text, &zone)?,
            None => natural_origin(axis, interval, &zone)?,
        };
        Grid::through(axis, interval, origin, zone)
    }

    /// The grid of `interval` over `axis` of which one cell begins at `origin`.
    ///
    /// # Errors
    ///
    /// As [`Grid::new`].
    pub fn through(
        axis: Axis,
        interval: Interval,
        origin: Position,
        zone: TimeZone,
    ) -> Result<Grid, BadGrid> {
        let grid = Grid { axis, interval: fitting(axis, interval)?, origin, zone };
        if origin.0.rem_euclid(axis.step()) != 0 {
            return Err(grid.bad_origin("it lies between two values of the key"));
        }
        if let Interval::Months(_) = interval
            && Months::of(grid.wall(origin.0)?).day > 28
        {
            return Err(grid.bad_origin("not every month has that day; begin on the 28th at the latest"));
        }
        Ok(grid)
    }

    /// The half-open cell that holds `at`.
    ///
    /// # Errors
    ///
    /// [`BadGrid::Calendar`] beyond the years that calendars are kept for.
    pub fn cell(&self, at: Position) -> Result<(Position, Position), BadGrid> {
        let base = self.base()?;
        let mut index = self.index_near(base, at)?;
        let mut from = self.start(base, index)?;
        // The wall clock may have been set back since the cell began, or forward: at most a few steps.
        while from > at {
            index -= 1;
            from = self.start(base, index)?;
        }
        loop {
            let to = self.start(base, index + 1)?;
            if to > at {
                return Ok((from, to));
            }
            index += 1;
            from = to;
        }
    }

    /// The first bound of the grid after `upper`.
    ///
    /// # Errors
    ///
    /// As [`Grid::cell`].
    pub fn next(&self, upper: Position) -> Result<Position, BadGrid> {
        Ok(self.cell(upper)?.1)
    }

    /// The last bound of the grid before `lower`.
    ///
    /// # Errors
    ///
    /// As [`Grid::cell`].
    pub fn previous(&self, lower: Position) -> Result<Position, BadGrid> {
        Ok(self.cell(Position(lower.0 - 1))?.0)
    }

    /// Whether a cell begins at `at`.
    pub fn on_grid(&self, at: Position) -> bool {
        self.cell(at).is_ok_and(|(from, _)| from == at)
    }

    /// The cells that hold `[from, to)`, in order. The first begins at or before `from`.
    ///
    /// # Errors
    ///
    /// As [`Grid::cell`]; [`BadGrid::TooMany`] if there are more than `limit`.
    pub fn cells(
        &self,
        from: Position,
        to: Position,
        limit: usize,
    ) -> Result<Vec<(Position, Position)>, BadGrid> {
        let mut cells = Vec::new();
        let mut at = from;
        while at < to {
            if cells.len() == limit {
                let text = |at| self.axis.text(at).unwrap_or_else(|_| at.to_string());
                let (interval, from, to) = (self.interval.to_string(), text(from), text(to));
                return Err(BadGrid::TooMany { limit, interval, from, to });
            }
            let cell = self.cell(at)?;
            at = cell.1;
            cells.push(cell);
        }
        Ok(cells)
    }

    /// The shorter cell that leads from a bound that is not on the grid to the next that is. `None` if it is, or
    /// where there is none.
    pub fn bridge(&self, upper: Position) -> Option<(Position, Position)> {
        let (from, to) = self.cell(upper).ok()?;
        (from != upper).then_some((upper, to))
    }

    /// How many cells lie between the one that holds `from` and the one that holds `to`; negative if `to` is before.
    /// Days that a zone left out are counted.
    ///
    /// # Errors
    ///
    /// As [`Grid::cell`].
    pub fn steps(&self, from: Position, to: Position) -> Result<i128, BadGrid> {
        Ok(self.index(to)? - self.index(from)?)
    }

    /// The position of a moment: of dates and wall clocks, as they are in the grid's zone. `None` on axes of numbers.
    pub fn at_moment(&self, moment: Micros) -> Option<Position> {
        if self.axis.is_instant() {
            return self.axis.at_moment(moment);
        }
        let wall = wall(&self.zone, moment.into())?;
        self.axis.at_moment(wall.try_into().ok()?)
    }

    /// The moment of a position: of dates and wall clocks, in the grid's zone. `None` on axes of numbers.
    pub fn moment(&self, at: Position) -> Option<Micros> {
        let at = Position(self.axis.moment(at)?.into());
        match self.axis.is_instant() {
            true => at.0.try_into().ok(),
            false => first_with_wall(&self.zone, at.0)?.try_into().ok(),
        }
    }

    /// Whether its cells begin with the days of the zone, where that of the origin has no midnight.
    pub(crate) fn begins_with_day(&self) -> bool {
        let first_of_day = || {
            let wall = self.wall(self.origin.0).ok()?;
            self.instant(wall - wall.rem_euclid(DAY)).ok()
        };
        first_of_day() == Some(self.origin.0)
    }

    /// The wall clock at `at`, in microseconds since 1970-01-01 00:00 of that clock.
    ///
    /// # Errors
    ///
    /// [`BadGrid::Calendar`] beyond the years that calendars are kept for.
    pub(crate) fn wall(&self, at: i128) -> Result<i128, BadGrid> {
        match self.axis.is_instant() {
            true => wall(&self.zone, at).ok_or_else(|| self.beyond(at)),
            false => Ok(at),
        }
    }

    /// The grid, for people: `1 day from midnight Europe/Berlin`.
    pub fn describe(&self) -> String {
        let origin = || self.axis.text(self.origin).unwrap_or_else(|_| self.origin.to_string());
        let natural = natural_origin(self.axis, self.interval, &self.zone).ok();
        let from = match (self.interval, self.wall(self.origin.0)) {
            (Interval::Number(_) | Interval::Decimal { .. }, _) | (_, Err(_)) => origin(),
            _ if self.unit_is_natural() && natural.is_some_and(|at| self.on_grid(at)) => {
                match self.interval {
                    Interval::Days(days) if days % 7 == 0 => "Monday, midnight".into(),
                    Interval::Months(_) => "the 1st, midnight".into(),
                    _ => "midnight".into(),
                }
            }
            (Interval::Days(1), Ok(wall)) => calendar::clock_text(wall),
            (_, Ok(wall)) => calendar::wall_text(wall),
        };
        let zone = match (self.axis.is_instant(), self.zone.iana_name()) {
            (true, name) => format!(" {}", name.unwrap_or("UTC")),
            (false, _) => String::new(),
        };
        format!("{} from {from}{zone}", self.interval)
    }

    /// Whether its natural origin goes without saying: one day, a week, months that divide or make years, hours.
    fn unit_is_natural(&self) -> bool {
        match self.interval {
            Interval::Days(days) => days == 1 || days == 7,
            Interval::Months(months) => months == 1 || months == 12 || 12 % months == 0,
            Interval::Fixed(micros) => DAY % i128::from(micros) == 0,
            Interval::Number(_) | Interval::Decimal { .. } => true,
        }
    }

    /// The number of the cell that holds `at`, counted from the origin.
    fn index(&self, at: Position) -> Result<i128, BadGrid> {
        let base = self.base()?;
        let mut index = self.index_near(base, at)?;
        while self.start(base, index)? > at {
            index -= 1;
        }
        while self.start(base, index + 1)? <= at {
            index += 1;
        }
        Ok(index)
    }

    /// What cells are counted from: the wall clock at the origin, or the origin itself.
    fn base(&self) -> Result<i128, BadGrid> {
        match self.interval {
            Interval::Days(_) | Interval::Months(_) => self.wall(self.origin.0),
            _ => Ok(self.origin.0),
        }
    }

    /// The number of the cell that holds `at`, as the wall clock has it: near the truth, and mostly it.
    fn index_near(&self, base: i128, at: Position) -> Result<i128, BadGrid> {
        Ok(match self.interval {
            Interval::Number(_) | Interval::Decimal { .. } => (at.0 - base).div_euclid(self.length()),
            Interval::Fixed(micros) => (at.0 - base).div_euclid(micros.into()),
            Interval::Days(days) => (self.wall(at.0)? - base).div_euclid(i128::from(days) * DAY),
            Interval::Months(months) => {
                let (at, origin) = (self.wall(at.0)?, Months::of(base));
                let since = months_since_2000(at) - origin.since_2000;
                (since - i128::from(at < month_start(&origin, since))).div_euclid(months.into())
            }
        })
    }

    /// Where the cell of that number begins.
    fn start(&self, base: i128, index: i128) -> Result<Position, BadGrid> {
        let at = match self.interval {
            Interval::Number(_) | Interval::Decimal { .. } => base + index * self.length(),
            Interval::Fixed(micros) => base + index * i128::from(micros),
            Interval::Days(days) => self.instant(base + index * i128::from(days) * DAY)?,
            Interval::Months(months) => {
                self.instant(month_start(&Months::of(base), index * i128::from(months)))?
            }
        };
        Ok(Position(at))
    }

    /// The first position at which the wall clock shows `wall` or later.
    fn instant(&self, wall: i128) -> Result<i128, BadGrid> {
        match self.axis.is_instant() {
            true => first_with_wall(&self.zone, wall).ok_or_else(|| self.beyond(wall)),
            false => Ok(wall),
        }
    }

    /// The length of a cell on an axis of numbers, in positions.
    fn length(&self) -> i128 {
        positions(self.axis, self.interval).expect("a grid's interval fits its axis")
    }

    fn beyond(&self, at: i128) -> BadGrid {
        BadGrid::Calendar(self.axis.text(Position(at)).unwrap_or_else(|_| at.to_string()))
    }

    fn bad_origin(&self, why: &str) -> BadGrid {
        let origin = self.axis.text(self.origin).unwrap_or_else(|_| self.origin.to_string());
        BadGrid::Origin { origin, why: why.to_owned() }
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.describe())
    }
}

/// `interval` in the form that cells of `axis` are counted in.
fn fitting(axis: Axis, interval: Interval) -> Result<Interval, BadGrid> {
    let misfit = |why: &str| {
        Err(BadGrid::Misfit { interval: interval.to_string(), axis: axis.describe(), why: why.to_owned() })
    };
    match (interval, axis) {
        (Interval::Number(_) | Interval::Decimal { .. }, Axis::Integer { .. } | Axis::Numeric { .. }) => {
            let (first, last) = axis.range();
            match positions(axis, interval) {
                Some(length) if length <= last.0 - first.0 => Ok(interval),
                Some(_) => misfit("it is longer than all keys there can be"),
                None => misfit("it is empty, too long, or has more decimals than they have"),
            }
        }
        (_, Axis::Integer { .. } | Axis::Numeric { .. }) => {
            misfit("they are numbers; if they are times, say which encoding they have")
        }
        // A number among numbers that count since 1970 is a number of what they count.
        (Interval::Number(count), Axis::Epoch { unit, .. }) => match micros_of(count, unit) {
            Some(micros) => Ok(Interval::Fixed(micros)),
            None => misfit("it is not a whole number of microseconds"),
        },
        (Interval::Number(_) | Interval::Decimal { .. }, _) => {
            misfit("they are times; give a time such as \"1 day\"")
        }
        (Interval::Fixed(micros), Axis::Date) => match u32::try_from(i128::from(micros) / DAY) {
            Ok(days) if i128::from(micros) % DAY == 0 => Ok(Interval::Days(days)),
            _ => misfit("dates are whole days"),
        },
        (Interval::Fixed(micros), _) if i128::from(micros) % axis.step() != 0 => {
            misfit("it is not a whole number of their steps")
        }
        (Interval::Months(0) | Interval::Days(0), _) => misfit("it is empty"),
        (Interval::Fixed(micros), _) if micros <= 0 => misfit("it is empty"),
        _ => Ok(interval),
    }
}

fn micros_of(count: i128, unit: EpochUnit) -> Option<i64> {
    let micros = count.checked_mul(SECOND)?;
    (micros % unit.per_second() == 0)
        .then(|| (micros / unit.per_second()).try_into().ok())?
        .filter(|&n| n > 0)
}

/// The length of an interval of numbers, in positions of `axis`; `None` if it has none, or is empty.
fn positions(axis: Axis, interval: Interval) -> Option<i128> {
    let scale = if let Axis::Numeric { scale, .. } = axis { scale } else { 0 };
    let (units, below) = match interval {
        Interval::Number(units) => (units, 0),
        Interval::Decimal { units, scale } => (units, scale),
        _ => return None,
    };
    units.checked_mul(10i128.checked_pow(scale.checked_sub(below)?)?).filter(|&length| length > 0)
}

/// A value of the key, or on axes of time a day or a moment, in `zone` where it does not say otherwise.
fn read_origin(axis: Axis, text: &str, zone: &TimeZone) -> Result<Position, BadGrid> {
    let as_wall = Axis::Timestamp.parse(text).ok().filter(|_| axis.is_instant());
    match as_wall {
        Some(at) => first_with_wall(zone, at.0).map(Position).ok_or_else(|| BadGrid::Calendar(text.into())),
        None => match (axis.bound(text), Axis::TimestampTz.parse(text)) {
            (Ok(at), _) => Ok(at),
            (Err(_), Ok(at)) if axis.is_instant() => Ok(at),
            (Err(bad), _) => Err(BadGrid::Origin { origin: text.into(), why: bad.to_string() }),
        },
    }
}

/// Where cells begin when nobody said.
pub(crate) fn natural_origin(axis: Axis, interval: Interval, zone: &TimeZone) -> Result<Position, BadGrid> {
    let wall = match interval {
        Interval::Number(_) | Interval::Decimal { .. } => return Ok(Position(0)),
        Interval::Days(days) if days % 7 == 0 => ORIGIN_2001,
        Interval::Fixed(micros) if i128::from(micros) % WEEK == 0 => ORIGIN_2001,
        Interval::Days(_) | Interval::Fixed(_) | Interval::Months(_) => ORIGIN_2000,
    };
    match axis.is_instant() {
        true => {
            first_with_wall(zone, wall).map(Position).ok_or_else(|| BadGrid::Calendar("2000-01-01".into()))
        }
        false => Ok(Position(wall)),
    }
}
