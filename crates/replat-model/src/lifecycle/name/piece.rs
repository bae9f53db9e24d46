//! What names consist of, and how a bound is written in them.

use super::super::axis::{Axis, DAY, Position, SECOND};
use super::super::facts::{Bound, Edge};
use super::super::grid::{Grid, Interval, first_with_wall, wall};
use super::clock::{FORMS, Level, TimeForm};
use super::{cut, digest};

/// A value longer than this is cut in a name.
const VALUE_MAX: usize = 40;

/// A part of a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// The parent's name.
    Parent,
    /// The same in every name.
    Text(String),
    /// The value of a key component before the one that grows.
    Prefix(usize),
    /// The key.
    Key(Side, Form),
}

/// Which key stands for a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Its first. Of lists and hashes, all there is.
    Lower,
    /// The first after it.
    Upper,
    /// The last: the number, or the day, before the upper bound.
    Last,
}

/// How a key is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// As a time on the wall clock, of UTC or the grid's zone.
    Time { form: TimeForm, utc: bool },
    /// As a number of seconds, or of a fraction of one, since 1970.
    Epoch { per_second: i128 },
    /// As the number itself, with zeros in front up to a width.
    Number { width: usize },
    /// By counting cells from one that has a known number.
    Ordinal { from: Position, number: i128, width: usize },
    /// As a list's values, in capitals or small letters, or as they are.
    Values(Case),
    /// As the remainder plus something, with zeros in front up to a width.
    Remainder { plus: u32, width: usize },
}

/// How letters of a value are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// In small letters, other characters than `[a-z0-9_]` replaced.
    Lower,
    /// The same in capitals.
    Upper,
    /// As they are.
    Exact,
}

/// A bound that is to be written.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    grid: Option<&'a Grid>,
    prefix: &'a [Edge],
    key: Key<'a>,
}

#[derive(Clone, Debug)]
enum Key<'a> {
    Range { from: End<'a>, to: End<'a> },
    List(&'a [Option<String>]),
    Hash { remainder: u32 },
}

/// One end of a range.
#[derive(Clone, Debug)]
struct End<'a> {
    edge: &'a Edge,
    /// Where it is, if it is a value that could be read.
    at: Option<Position>,
    /// What it was read as.
    axis: Axis,
}

impl<'a> End<'a> {
    fn of(edge: &'a Edge, grid: Option<&Grid>) -> End<'a> {
        let guesses = [Axis::TimestampTz, Axis::Numeric { scale: 0, digits: 0 }];
        let axes = grid.map_or(guesses.to_vec(), |grid| vec![grid.axis]);
        let read = |axis: &Axis| match edge {
            Edge::At(text) => Some((axis.parse(text).ok()?, *axis)),
            _ => None,
        };
        let found = axes.iter().find_map(read);
        End { edge, at: found.map(|(at, _)| at), axis: found.map_or(axes[0], |(_, axis)| axis) }
    }
}

impl<'a> Subject<'a> {
    /// `bound`, of which `component` grows. `None` of a default.
    pub(super) fn of(
        bound: &'a Bound,
        component: Option<usize>,
        grid: Option<&'a Grid>,
    ) -> Option<Subject<'a>> {
        match bound {
            Bound::Range { from, to } => {
                let differs = || from.iter().zip(to).position(|(from, to)| from != to);
                let at = component.filter(|&at| at < from.len().min(to.len())).or_else(differs)?;
                let key = Key::Range { from: End::of(&from[at], grid), to: End::of(&to[at], grid) };
                Some(Subject { grid, prefix: &from[..at], key })
            }
            Bound::List(values) => Some(Subject { grid: None, prefix: &[], key: Key::List(values) }),
            Bound::Hash { remainder, .. } => {
                Some(Subject { grid: None, prefix: &[], key: Key::Hash { remainder: *remainder } })
            }
            Bound::Default => None,
        }
    }

    /// The components before the one that grows.
    pub(super) fn prefix(&self) -> &[Edge] {
        self.prefix
    }

    /// Whether it is a range without a beginning or an end.
    pub(super) fn is_open(&self) -> bool {
        let open = |end: &End| !matches!(end.edge, Edge::At(_));
        matches!(&self.key, Key::Range { from, to } if open(from) || open(to))
    }

    /// One of them, as it is written in names.
    pub(super) fn prefix_text(&self, component: usize) -> Option<String> {
        self.prefix.get(component).map(edge_text)
    }

    /// Every way that the key could be written in `name`, the likelier first.
    pub(super) fn forms(&self, name: &str) -> Vec<(Side, Form)> {
        let mut forms = Vec::new();
        match &self.key {
            Key::List(_) => {
                forms.extend(
                    [Case::Lower, Case::Exact, Case::Upper].map(|case| (Side::Lower, Form::Values(case))),
                );
            }
            Key::Hash { remainder } => {
                for (width, number) in numbers(name) {
                    let plus =
                        number.checked_sub(i128::from(*remainder)).filter(|plus| (0..=1).contains(plus));
                    forms
                        .extend(plus.map(|plus| (Side::Lower, Form::Remainder { plus: plus as u32, width })));
                }
            }
            Key::Range { from, .. } => {
                for side in [Side::Lower, Side::Upper, Side::Last] {
                    let zoned = self.grid.is_some_and(|grid| grid.axis.is_instant());
                    let clocks: &[bool] = if zoned { &[false, true] } else { &[true] };
                    if from.axis.is_time() {
                        for &utc in clocks {
                            let written = |form: &TimeForm| (side, Form::Time { form: form.clone(), utc });
                            forms.extend(FORMS.iter().map(written));
                        }
                        forms.extend([1, 1_000].map(|per_second| (side, Form::Epoch { per_second })));
                    }
                    forms.extend(numbers(name).map(|(width, _)| (side, Form::Number { width })));
                }
                if let (Some(at), Some(_)) = (from.at, self.grid) {
                    forms.extend(
                        numbers(name)
                            .map(|(width, number)| (Side::Lower, Form::Ordinal { from: at, number, width })),
                    );
                }
            }
        }
        forms
    }

    /// The sides that may stand behind `first` in a name that has both ends.
    pub(super) fn second(&self, first: Side) -> &'static [Side] {
        match (&self.key, first) {
            (Key::Range { .. }, Side::Lower) => &[Side::Upper, Side::Last],
            _ => &[],
        }
    }

    /// The key, so written; `None` if it cannot be.
    pub(super) fn text(&self, side: Side, form: &Form) -> Option<String> {
        match (&self.key, form) {
            (Key::List(values), Form::Values(case)) => Some(values_text(values, *case)),
            (Key::Hash { remainder }, Form::Remainder { plus, width }) => {
                Some(format!("{:0>width$}", remainder + plus))
            }
            (Key::Range { .. }, form) => self.range_text(side, form),
            _ => None,
        }
    }

    fn range_text(&self, side: Side, form: &Form) -> Option<String> {
        let (at, axis) = self.at(side)?;
        match form {
            Form::Time { form, utc } => {
                let mut wall = self.wall(at, *utc)?;
                if side == Side::Last {
                    wall -= DAY;
                }
                Some(form.text(wall))
            }
            Form::Epoch { per_second } if side != Side::Last => {
                let count = at.0 * per_second;
                (count % SECOND == 0).then(|| (count / SECOND).to_string())
            }
            Form::Number { width } => {
                let last = Position(at.0 - if side == Side::Last { axis.step() } else { 0 });
                let text = axis.text(last).ok()?;
                // Among times only those that are written as numbers.
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                (digits || !axis.is_time()).then(|| format!("{:0>width$}", number_text(&text)))
            }
            Form::Ordinal { from, number, width } if side == Side::Lower => {
                let grid = self.grid.filter(|grid| grid.on_grid(at))?;
                let number = number + grid.steps(*from, at).ok()?;
                (number >= 0).then(|| format!("{number:0>width$}"))
            }
            _ => None,
        }
    }

    /// Whether the next partition on the grid would be written otherwise.
    pub(super) fn distinguishes(&self, side: Side, form: &Form) -> bool {
        let Some((next, before)) = self.neighbours() else { return true };
        let text = self.text(side, form);
        [next, before].iter().all(|other| other.text(side, form) != text)
    }

    /// A piece of a name, with more of the key where the piece would blur it.
    pub(super) fn faithful(&self, piece: &Piece) -> Option<String> {
        match piece {
            Piece::Parent => None,
            Piece::Text(text) => Some(text.clone()),
            Piece::Prefix(component) => self.prefix_text(*component),
            Piece::Key(side, form) => {
                let (at, _) = match (&self.key, self.at(*side)) {
                    (Key::Range { .. }, Some(at)) => at,
                    (Key::Range { .. }, None) => return None,
                    _ => return self.text(*side, form),
                };
                let Form::Time { form: time, utc } = form else { return self.text(*side, form) };
                let wall = self.wall(at, *utc)?;
                let clear = match self.grid {
                    Some(grid) if grid.on_grid(at) => self.distinguishes(*side, form),
                    _ => time.level.holds(wall),
                };
                let text = match clear {
                    true => self.text(*side, form)?,
                    false => {
                        let form = time.finer(self.level(at, wall));
                        self.text(*side, &Form::Time { form, utc: *utc })?
                    }
                };
                Some(format!("{text}{}", self.fold_mark(at, *utc)))
            }
        }
    }

    /// What is written where there is no pattern.
    pub(super) fn plain(&self) -> String {
        let prefix: Vec<String> = (0..self.prefix.len()).filter_map(|at| self.prefix_text(at)).collect();
        let key = match &self.key {
            Key::Range { from, .. } => self.plain_range(from),
            Key::List(values) => list_text(values),
            Key::Hash { remainder } => remainder.to_string(),
        };
        prefix.into_iter().chain([key]).collect::<Vec<_>>().join("_")
    }

    fn plain_range(&self, from: &End) -> String {
        let open = matches!(&self.key, Key::Range { to, .. } if *to.edge == Edge::Max);
        match from.at {
            // A partition without an upper end stands beside one that begins there, once it gives way.
            _ if open => "max".into(),
            Some(at) if from.axis.is_time() => {
                let Some(wall) = self.wall(at, false) else { return edge_text(from.edge) };
                let form = TimeForm::plain(self.level(at, wall), ("", "_", ""));
                format!("{}{}", form.text(wall), self.fold_mark(at, false))
            }
            _ => edge_text(from.edge),
        }
    }

    /// How finely a lower bound must be written, so that all on the grid are told apart and this one wholly.
    fn level(&self, at: Position, wall: i128) -> Level {
        let of_grid = self.grid.map_or(Level::Year, |grid| {
            let origin = self.wall(grid.origin, false).unwrap_or(wall);
            let every =
                |unit: i128| Level::PLAIN.into_iter().find(|level| level.holds(unit) && level.holds(origin));
            let level = match grid.interval {
                Interval::Months(n) if n % 12 == 0 => every(0),
                Interval::Months(_) => every(0).map(|level| level.max(Level::Month)),
                Interval::Days(_) => every(0).map(|level| level.max(Level::Day)),
                Interval::Fixed(micros) => every(i128::from(micros)).map(|level| level.max(Level::Hour)),
                Interval::Number(_) | Interval::Decimal { .. } => None,
            };
            level.unwrap_or(Level::Year)
        });
        let day_begins = self.grid.is_some_and(|grid| grid.begins_with_day() && grid.on_grid(at));
        // A day whose midnight does not exist is still that day.
        let holds = |level: &Level| level.holds(wall) || *level == Level::Day && day_begins;
        Level::PLAIN.into_iter().find(|level| *level >= of_grid && holds(level)).unwrap_or(Level::Micros)
    }

    /// What tells the second of two equal wall clocks from the first, where clocks were set back.
    fn fold_mark(&self, at: Position, utc: bool) -> &'static str {
        let second = self.grid.filter(|grid| !utc && grid.axis.is_instant()).is_some_and(|grid| {
            wall(&grid.zone, at.0)
                .and_then(|shown| first_with_wall(&grid.zone, shown))
                .is_some_and(|first| first < at.0)
        });
        if second { "_2" } else { "" }
    }

    fn wall(&self, at: Position, utc: bool) -> Option<i128> {
        match self.grid {
            Some(grid) if !utc => grid.wall(at.0).ok(),
            _ => Some(at.0),
        }
    }

    fn at(&self, side: Side) -> Option<(Position, Axis)> {
        let Key::Range { from, to } = &self.key else { return None };
        let end = if side == Side::Lower { from } else { to };
        Some((end.at?, end.axis))
    }

    /// The partitions after and before this one on the grid; `None` where there is no grid.
    fn neighbours(&self) -> Option<(Subject<'a>, Subject<'a>)> {
        let (Key::Range { from, to }, Some(grid)) = (&self.key, self.grid) else { return None };
        let low = from.at?;
        let high = to.at.or_else(|| grid.next(low).ok())?;
        let moved = |from_at: Position, to_at: Position| {
            let end = |end: &End<'a>, at| End { at: Some(at), ..end.clone() };
            Subject { key: Key::Range { from: end(from, from_at), to: end(to, to_at) }, ..self.clone() }
        };
        Some((moved(high, grid.next(high).ok()?), moved(grid.previous(low).ok()?, low)))
    }
}

/// An edge, as it is written in names.
pub(super) fn edge_text(edge: &Edge) -> String {
    match edge {
        Edge::Min => "min".into(),
        Edge::Max => "max".into(),
        Edge::At(text) => value_text(text, Case::Lower),
    }
}

/// A list's values, as they are written where there is no pattern.
pub(super) fn list_text(values: &[Option<String>]) -> String {
    values_text(values, Case::Lower)
}

fn values_text(values: &[Option<String>], case: Case) -> String {
    let one =
        |value: &Option<String>| value.as_deref().map_or("null".into(), |value| value_text(value, case));
    let joined = values.iter().map(one).collect::<Vec<_>>().join("_");
    match joined.len() <= VALUE_MAX {
        true => joined,
        false => format!("{}_{}", cut(&joined, VALUE_MAX - 9), digest(&joined)),
    }
}

/// A value in characters that need no quotes. Where it loses more than case and the kind of a separator, a digest keeps
/// it apart from others.
fn value_text(value: &str, case: Case) -> String {
    if case == Case::Exact {
        return value.to_owned();
    }
    let (sign, rest) = match value.strip_prefix('-') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => ("n", rest),
        _ => ("", value),
    };
    let mut text = String::from(sign);
    for c in rest.chars() {
        match c.is_ascii_alphanumeric() {
            true => text.push(c.to_ascii_lowercase()),
            false if !text.ends_with('_') => text.push('_'),
            false => {}
        }
    }
    let trimmed = text.trim_matches('_');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.' | '/' | ':' | '+');
    let text = match (rest.chars().all(plain), trimmed.is_empty()) {
        (true, false) => trimmed.to_owned(),
        (false, false) => format!("{trimmed}_{}", digest(value)),
        (_, true) => format!("v{}", digest(value)),
    };
    if case == Case::Upper { text.to_ascii_uppercase() } else { text }
}

/// A number as it is written in names: `n` for a minus, `_` for a point.
fn number_text(text: &str) -> String {
    text.replace('-', "n").replace('.', "_")
}

/// The numbers in a name, the last first, each without a width and with that of its digits.
fn numbers(name: &str) -> impl Iterator<Item = (usize, i128)> {
    let runs = name.rsplit(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty());
    runs.filter_map(|run| Some((run.len(), run.parse().ok()?)))
        .flat_map(|(width, number)| [(0, number), (width, number)])
}
