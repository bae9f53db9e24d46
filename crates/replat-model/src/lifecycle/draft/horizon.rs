//! How far a row of ranges is wanted.

use super::super::axis::Position;
use super::super::facts::{Micros, Part, Sample};
use super::super::forecast::{self, Forecast, History, PartSpan};
use super::super::grid::{Grid, Interval};
use super::super::health::{Finding, Severity, codes};
use super::super::policy::AHEAD_DAYS;
use super::cells::CELLS_MAX;
use super::range::Drawn;
use super::set::{SetDraft, Until};

const DAY: i128 = 86_400_000_000;

/// How far a forecast may extend what was asked for, as a multiple of it, where nobody said.
const FORECAST_LIMIT: u32 = 4;

/// How many partitions are kept ready for keys whose pace is not known.
const AHEAD_UNKNOWN: u32 = 4;

/// From where to where partitions are wanted.
pub(super) struct Horizon {
    /// Where rows come now.
    pub(super) here: Position,
    /// The first position that need not have a partition.
    pub(super) end: Position,
    pub(super) until: Until,
}

impl SetDraft<'_> {
    /// What is known of how fast rows come to a row of ranges.
    ///
    /// `samples` are earlier looks, whose highest key is one of `drawn`'s axis; `high` is the highest now.
    pub(super) fn forecast(&self, drawn: &Drawn<'_>, samples: &[Sample], high: Option<Position>) -> Forecast {
        let mut keys = Vec::new();
        if !drawn.grid.axis.is_time() {
            keys.extend(highest(drawn, samples).map(|(at, key)| (at, key.0)));
            keys.extend(high.map(|high| (self.now, high.0)));
        }
        let parts = spans(drawn);
        forecast::learn(&History { samples, parts: &parts, keys: &keys, now: self.now })
    }

    /// How far partitions are wanted. `None` if that cannot be said; then a finding says why.
    pub(super) fn horizon(
        &mut self,
        drawn: &Drawn<'_>,
        forecast: &Forecast,
        samples: &[Sample],
        high: Option<Position>,
    ) -> Result<Option<Horizon>, Finding> {
        let (here, mut end, mut because) = match drawn.grid.at_moment(self.now) {
            Some(here) => {
                let (end, because) = self.over_time(drawn, here, samples, high);
                (here, end, because)
            }
            None => match self.over_keys(drawn, forecast, high)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if let Some(count) = self.policy.ahead_count {
            let counted = self.counted(&drawn.grid, here, count)?;
            if counted > end {
                (end, because) = (counted, format!("{count} partitions asked"));
            }
        }
        if let Some(until) = &self.policy.until {
            let asked = self.until_asked(&drawn.grid, forecast, here, until)?;
            if asked > end {
                (end, because) = (asked, format!("until {until} asked"));
            }
        }
        // What comes now has a partition, however little was asked.
        end = end.max(Position(here.0.saturating_add(drawn.grid.axis.step())));
        // The last key of the type has no bound after it, and wants a partition all the same.
        let last = drawn.grid.axis.range().1;
        if end > last {
            let after = Position(last.0 + drawn.grid.axis.step());
            (end, because) = (after, format!("{because}; {} ends there", drawn.grid.axis.describe()));
        }
        let text = drawn.grid.axis.text(end.min(last)).unwrap_or_else(|_| end.to_string());
        let moment = drawn.grid.moment(end);
        Ok(Some(Horizon { here, end, until: Until { text, moment, because } }))
    }

    /// Over times: so many days from now, and as much further as rows come ahead of now.
    fn over_time(
        &self,
        drawn: &Drawn<'_>,
        here: Position,
        samples: &[Sample],
        high: Option<Position>,
    ) -> (Position, String) {
        let asked = self.days_asked();
        let lead = self.policy.forecast.unwrap_or(true).then(|| {
            let known = highest(drawn, samples).chain(high.map(|high| (self.now, high)));
            let moments: Vec<(Micros, Micros)> =
                known.filter_map(|(at, key)| Some((at, drawn.grid.moment(key)?))).collect();
            forecast::lead(&moments)
        });
        let limit = self.policy.forecast_limit.unwrap_or(FORECAST_LIMIT);
        let (days, because) = forecast::horizon(asked, lead.flatten(), limit);
        let ahead = (days * DAY as f64).ceil() as i128;
        // A position that has a text: the end is compared, printed and cut by.
        let step = drawn.grid.axis.step();
        let end = here.0 + ahead;
        (Position(end + (step - end.rem_euclid(step)) % step), because)
    }

    /// Over numbers: as many as come in so many days, or so many partitions where that is not known.
    fn over_keys(
        &mut self,
        drawn: &Drawn<'_>,
        forecast: &Forecast,
        high: Option<Position>,
    ) -> Result<Option<(Position, Position, String)>, Finding> {
        let Some(here) = high.or_else(|| in_use(drawn)).or_else(|| first(drawn)) else {
            self.find(
                Severity::Warning,
                codes::RATE,
                "it is not known which partition the newest rows lie in".into(),
                "Run ANALYZE on the table, so that rows are counted.".into(),
            );
            return Ok(None);
        };
        let limit = self.policy.forecast_limit.unwrap_or(FORECAST_LIMIT);
        let days = self.days_asked();
        let known = self
            .policy
            .forecast
            .unwrap_or(true)
            .then(|| forecast::key_horizon(days, forecast, limit, high.map(|high| high.0)));
        if let Some(horizon) = known.flatten() {
            return Ok(Some((here, Position(horizon.until).max(here), horizon.because)));
        }
        if self.policy.ahead_count.is_some() || self.policy.until.is_some() {
            return Ok(Some((here, here, "nothing asked".into())));
        }
        self.find(
            Severity::Note,
            codes::RATE,
            format!(
                "it is not known how fast keys come, so {AHEAD_UNKNOWN} partitions are kept ready instead of {days} days"
            ),
            "Nothing: every run remembers the highest key, and a few days of runs are enough; or ask for a count.".into(),
        );
        let end = self.counted(&drawn.grid, here, AHEAD_UNKNOWN)?;
        Ok(Some((here, end, format!("{AHEAD_UNKNOWN} partitions, since the pace is unknown"))))
    }

    /// The days that were asked for, or the default where nothing else says how far.
    fn days_asked(&self) -> f64 {
        match self.policy.ahead {
            Some(ahead) => ahead.millis() as f64 / 86_400_000.0,
            None if self.policy.ahead_count.is_some() || self.policy.until.is_some() => 0.0,
            None => f64::from(AHEAD_DAYS),
        }
    }

    /// The end of the cell that comes `count` cells after the one that holds `here`.
    pub(super) fn counted(&self, grid: &Grid, here: Position, count: u32) -> Result<Position, Finding> {
        if count as usize > CELLS_MAX {
            return Err(self.finding(
                Severity::Error,
                codes::TOO_MANY,
                format!("{count} partitions are asked for, and more than {CELLS_MAX} are not made at once"),
                "Ask for fewer, by `ahead_count`.".into(),
            ));
        }
        let bad = |bad: super::super::grid::BadGrid| self.no_grid(bad.to_string());
        let mut end = grid.cell(here).map_err(bad)?.1;
        for _ in 0..count {
            end = grid.next(end).map_err(bad)?;
        }
        Ok(end)
    }

    /// The position that `until` means: a day, or a key.
    fn until_asked(
        &self,
        grid: &Grid,
        forecast: &Forecast,
        here: Position,
        until: &str,
    ) -> Result<Position, Finding> {
        let wrong = |why: String| {
            self.finding(
                Severity::Error,
                codes::CONTRADICTED,
                format!("`until` is {until:?}: {why}"),
                "Write a day, as 2027-01-01.".into(),
            )
        };
        let day: Option<jiff::civil::Date> = until.trim().parse().ok();
        let midnight = day.and_then(|day| day.to_zoned(grid.zone.clone()).ok());
        match midnight.map(|midnight| midnight.timestamp().as_microsecond()) {
            Some(moment) => match grid.at_moment(moment) {
                Some(at) => Ok(at),
                None => {
                    let days = (i128::from(moment) - i128::from(self.now)).max(0) as f64 / DAY as f64;
                    let (_, keys) = forecast
                        .keys(days)
                        .ok_or_else(|| wrong("it is not known how many keys come until then".into()))?;
                    Ok(Position(here.0.saturating_add(keys.ceil() as i128)))
                }
            },
            None => grid.axis.parse(until).map_err(|_| wrong("it is no day, and no value of the key".into())),
        }
    }

    /// The grid for new partitions: by the size they should have, if that is wanted and known.
    pub(super) fn resized(&self, grid: &Grid, forecast: &Forecast) -> Option<Grid> {
        let size = self.policy.partition_size?;
        let now = length(grid)?;
        let chosen = forecast.interval_for(size.bytes(), now)?;
        let interval = match chosen {
            _ if chosen == now => return None,
            forecast::Length::Months(months) => Interval::Months(months),
            forecast::Length::Days(days) => Interval::Days(days),
            forecast::Length::Fixed(micros) => Interval::Fixed(micros),
            forecast::Length::Number(keys) => Interval::Number(keys),
        };
        // An interval that the key cannot have, such as hours of a date, is passed over: the present one stays.
        Grid::through(grid.axis, interval, grid.origin, grid.zone.clone()).ok()
    }
}

fn length(grid: &Grid) -> Option<forecast::Length> {
    match grid.interval {
        Interval::Months(months) => Some(forecast::Length::Months(months)),
        Interval::Days(days) => Some(forecast::Length::Days(days)),
        Interval::Fixed(micros) => Some(forecast::Length::Fixed(micros)),
        Interval::Number(keys) => Some(forecast::Length::Number(keys)),
        Interval::Decimal { .. } => None,
    }
}

/// The highest keys of earlier looks, as far as they can be read.
fn highest<'s>(drawn: &'s Drawn<'_>, samples: &'s [Sample]) -> impl Iterator<Item = (Micros, Position)> + 's {
    samples.iter().filter_map(|sample| {
        let high = sample.high.as_deref()?;
        Some((sample.at, drawn.grid.axis.parse(high).ok()?))
    })
}

/// Partitions over time, for forecasts.
pub(super) fn spans(drawn: &Drawn<'_>) -> Vec<PartSpan> {
    let span = |span: &super::range::Span<'_>| {
        let (from, to) = (drawn.grid.moment(span.from)?, drawn.grid.moment(span.to)?);
        Some((from, to, span.part.rows.unwrap_or(0), span.part.bytes.unwrap_or(0)))
    };
    drawn.spans.iter().filter_map(span).collect()
}

/// The beginning of the last partition that has rows.
fn in_use(drawn: &Drawn<'_>) -> Option<Position> {
    let used = |part: &Part| {
        part.empty == Some(false) || part.empty.is_none() && part.rows.is_some_and(|rows| rows > 0)
    };
    drawn.spans.iter().rev().find(|span| used(span.part)).map(|span| span.from)
}

/// The beginning of the first partition, if all are known to be empty; where the grid begins, if there is none.
fn first(drawn: &Drawn<'_>) -> Option<Position> {
    let empty = |part: &Part| part.empty == Some(true) || part.empty.is_none() && part.rows == Some(0);
    match drawn.spans.first() {
        None => Some(drawn.grid.origin),
        Some(first) => drawn.spans.iter().all(|span| empty(span.part)).then_some(first.from),
    }
}
