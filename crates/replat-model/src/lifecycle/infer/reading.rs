//! What the values of a key mean.

use super::super::axis::{Axis, DAY, Position, UuidStyle};
use super::super::facts::{Edge, Micros};
use super::super::grid::Interval;
use super::{Hint, NotLearned, span_text};

/// How far from the present the newest bound of a time may lie, where it is not certain that it is one: 20 years.
const NEAR: i128 = 20 * 366 * DAY;

/// The bounds on one axis.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The axis.
    pub(super) axis: Axis,
    /// Partitions with two ends, oldest first, none twice.
    pub(super) spans: Vec<Span>,
    /// The greatest bound that is a value.
    pub(super) upper: Option<Position>,
}

/// A partition with two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// Its first key.
    pub(super) from: Position,
    /// The first key after it.
    pub(super) to: Position,
    /// Whether both lie on steps of the axis; else it lies on no grid.
    pub(super) exact: bool,
}

impl Reading {
    fn of(axis: Axis, bounds: &[(Edge, Edge)]) -> Result<Reading, NotLearned> {
        let end = |edge: &Edge| match value(edge) {
            Some(text) => axis.parse(text).map(|at| Some((at, axis.bound(text).is_ok()))),
            None => Ok(None),
        };
        let (mut spans, mut upper) = (Vec::new(), None);
        let mut newest_text = None;
        for (from_edge, to_edge) in bounds {
            let (low, high) = (end(from_edge)?, end(to_edge)?);
            for (found, edge) in [(low, from_edge), (high, to_edge)] {
                if let Some((at, _)) = found
                    && upper.is_none_or(|upper| at > upper)
                {
                    (upper, newest_text) = (Some(at), value(edge));
                }
            }
            if let (Some((from, one)), Some((to, other))) = (low, high) {
                if from >= to {
                    // Two values of one step: this is not how these bounds were meant.
                    axis.bound(value(from_edge).unwrap_or_default())?;
                    axis.bound(value(to_edge).unwrap_or_default())?;
                    let one = span_text(axis, (from, to));
                    return Err(NotLearned::Mixed {
                        other: one.clone(),
                        one,
                        why: "it ends where it begins",
                    });
                }
                spans.push(Span { from, to, exact: one && other });
            }
        }
        // What goes on from here must be contiguous to the byte.
        if let Some(text) = newest_text {
            axis.bound(text)?;
        }
        spans.sort();
        spans.dedup();
        let overlap = spans.windows(2).find(|pair| pair[1].from < pair[0].to);
        match overlap {
            Some(pair) => Err(NotLearned::Mixed {
                one: span_text(axis, (pair[0].from, pair[0].to)),
                other: span_text(axis, (pair[1].from, pair[1].to)),
                why: "they overlap",
            }),
            None => Ok(Reading { axis, spans, upper }),
        }
    }

    /// The greatest bound that is a value: where new partitions begin.
    pub(super) fn newest_upper(&self) -> Option<Position> {
        self.upper
    }

    /// A position, for people.
    pub(super) fn text(&self, at: Position) -> String {
        self.axis.text(at).unwrap_or_else(|_| at.to_string())
    }

    /// Whether the newest bound, read as a time, is near the present.
    fn is_near(&self, now: Micros) -> bool {
        self.upper.is_some_and(|upper| (upper.0 - i128::from(now)).abs() <= NEAR)
    }

    /// Whether the newest bounds, read as times, are whole minutes.
    fn is_round(&self) -> bool {
        let newest = self.spans.iter().rev().take(8).flat_map(|span| [span.from, span.to]);
        newest.chain(self.upper).all(|at| at.0 % 60_000_000 == 0)
    }
}

/// The text of an edge that is a value; infinite values are none.
fn value(edge: &Edge) -> Option<&str> {
    match edge {
        Edge::At(text) if !matches!(text.as_str(), "infinity" | "-infinity") => Some(text),
        _ => None,
    }
}

/// The readings of `bounds` that are possible and that `hint` leaves: times first those that are plausible. More than one
/// only where the type's own reading is a number.
pub(super) fn readings(
    type_name: &str,
    hint: &Hint,
    bounds: &[(Edge, Edge)],
    now: Micros,
) -> Result<Vec<Reading>, NotLearned> {
    let texts: Vec<&str> = bounds.iter().flat_map(|(from, to)| [from, to]).filter_map(value).collect();
    if hint.encoding.is_some() || hint.snowflake.is_some() {
        let axis = in_the_style_of(Axis::of(type_name, hint.encoding, hint.snowflake)?, &texts);
        return Ok(vec![Reading::of(with_style(axis, bounds), bounds)?]);
    }
    let candidates = Axis::candidates(type_name);
    if candidates.is_empty() {
        Axis::of(type_name, None, None)?;
    }
    let certain = matches!(candidates.first(), Some(Axis::Date | Axis::Timestamp | Axis::TimestampTz));
    let asked = |axis: &&Axis| hint.interval.is_none_or(|interval| interval.is_time() == axis.is_time());
    let mut left: Vec<Axis> = candidates.iter().filter(asked).copied().collect();
    if left.is_empty() {
        // The interval goes with none of them; whoever makes the grid says so.
        left.extend(candidates.first());
    }
    for axis in &mut left {
        *axis = with_style(in_the_style_of(*axis, &texts), bounds);
    }
    if texts.is_empty() {
        return without_bounds(type_name, hint.interval, left);
    }
    let only = left.len() == 1;
    let mut refused = None;
    let mut readings = Vec::new();
    for axis in left {
        match Reading::of(axis, bounds) {
            Ok(reading) if certain || !axis.is_time() => readings.push(reading),
            Ok(reading) if reading.is_near(now) && reading.is_round() => readings.push(reading),
            Ok(_) => {}
            // That it is not some snowflake is no news; that it is not what the type says, or the only reading, is.
            Err(why) if only || !axis.is_time() => refused = Some(why),
            Err(_) => {}
        }
    }
    match (readings.is_empty(), refused) {
        (false, _) => Ok(readings),
        (true, Some(why)) => Err(why),
        (true, None) => Err(NotLearned::Reading {
            type_name: type_name.to_owned(),
            readings: "times, but these lie far from the present".into(),
        }),
    }
}

/// What is left when there is no bound that is a value: the one reading that goes with the interval.
fn without_bounds(
    type_name: &str,
    interval: Option<Interval>,
    left: Vec<Axis>,
) -> Result<Vec<Reading>, NotLearned> {
    let reading = |axis| Reading { axis, spans: Vec::new(), upper: None };
    match left.as_slice() {
        _ if interval.is_none() => Err(NotLearned::NoInterval),
        // Any text is in order as text; that it holds ULIDs, somebody must say.
        [Axis::Ulid] => {
            Err(Axis::of(type_name, None, None).expect_err("text has no reading of its own").into())
        }
        [axis] => Ok(vec![reading(*axis)]),
        several => {
            let readings: Vec<Reading> = several.iter().copied().map(reading).collect();
            Err(ambiguous(type_name, &readings))
        }
    }
}

/// That several readings are left.
pub(super) fn ambiguous(type_name: &str, readings: &[Reading]) -> NotLearned {
    let described: Vec<String> = readings.iter().map(|reading| reading.axis.describe()).collect();
    NotLearned::Reading { type_name: type_name.to_owned(), readings: described.join(" or ") }
}

/// `numeric` without a scale gets that of its bounds.
fn in_the_style_of(axis: Axis, texts: &[&str]) -> Axis {
    let decimals = |text: &&str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len() as u32);
    match axis {
        Axis::Numeric { digits: 0, scale } => {
            Axis::Numeric { digits: 0, scale: texts.iter().map(decimals).max().unwrap_or(0).max(scale) }
        }
        other => other,
    }
}

/// UUIDs get the style of the newest bound, so that what is new begins where it ends, to the byte.
fn with_style(axis: Axis, bounds: &[(Edge, Edge)]) -> Axis {
    let Axis::UuidV7(default) = axis else { return axis };
    let styled = |text: &str| Some((axis.parse(text).ok()?, UuidStyle::of(text)?));
    let texts = bounds.iter().flat_map(|(from, to)| [from, to]).filter_map(value);
    let newest = texts.filter_map(styled).max_by_key(|(at, _)| *at);
    Axis::UuidV7(newest.map_or(default, |(_, style)| style))
}
