//! How long ranges last.

use super::super::facts::{Bound, Edge, Level, Micros, Part, TableName};
use super::super::forecast::words;
use super::{End, Line, Pace, Walk, attached, catch_all};

/// Microseconds of a day.
const DAY: f64 = 86_400e6;

/// A range between two values of the component that moves.
struct Span<'a> {
    part: &'a Part,
    from: i128,
    to: i128,
    /// All components of its bounds.
    edges: (&'a [Edge], &'a [Edge]),
    /// Which component moves. Those before it are alike in a row of ranges.
    key: usize,
}

impl Span<'_> {
    /// What the components before the one that moves are.
    fn prefix(&self) -> &[Edge] {
        &self.edges.0[..self.key]
    }

    /// Whether it holds rows at `position`; of several columns after the one that moves, perhaps only some.
    fn holds(&self, position: i128) -> bool {
        let several = self.edges.0.len() > self.key + 1;
        self.from <= position && (position < self.to || (several && position == self.to))
    }

    /// Whether `next` begins where it ends.
    fn meets(&self, next: &Span<'_>) -> bool {
        if self.edges.0.len() > 1 { self.edges.1 == next.edges.0 } else { self.to == next.from }
    }

    /// The value at which it ends.
    fn end(&self) -> Option<&str> {
        match self.edges.1.get(self.key)? {
            Edge::At(text) => Some(text),
            Edge::Min | Edge::Max => None,
        }
    }
}

/// How rows move along the line: where they arrive at one moment, and when they reach a position.
struct Arrival<'a> {
    line: &'a dyn Line,
    pace: Pace,
    from: Micros,
    start: i128,
}

impl Arrival<'_> {
    /// When rows reach `position`; `None` if it is not known how fast.
    fn reach(&self, position: i128) -> Option<Micros> {
        let reached = if self.line.is_time() {
            let lead = (self.pace.lead_days.max(0.0) * DAY) as i128;
            let moment = self.line.moment(position).unwrap_or(Micros::MAX);
            i128::from(moment) - lead
        } else {
            let rate = self.pace.keys_per_day.filter(|rate| *rate > 0.0 && rate.is_finite())?;
            let days = position.saturating_sub(self.start) as f64 / rate;
            i128::from(self.from).saturating_add((days * DAY) as i128)
        };
        let least = i128::from(self.from);
        Some(Micros::try_from(reached.max(least)).unwrap_or(Micros::MAX))
    }

    /// What arrives first, in words.
    fn place(&self, now: Micros) -> String {
        match self.line.is_time() {
            false => format!("key {}", self.start),
            true if self.from <= now => "now".to_owned(),
            true => format!("what comes in {}", words::days((self.from - now) as f64 / DAY)),
        }
    }
}

/// When inserts into `table` cease to be safe that arrive from `from` on.
pub(super) fn end(table: &TableName, level: &Level, walk: &Walk<'_>, from: Micros) -> End {
    let Some(line) = walk.reading.line(table, level) else {
        return End::unknown(from, format!("what the bounds of {table} mean is not known"));
    };
    let pace = walk.reading.pace(table, level);
    let start = front(line.as_ref(), &pace, walk.now, from);
    let Some(start) = start else {
        return End::unknown(from, format!("the highest key of {table} is not known"));
    };
    let Some(spans) = spans(line.as_ref(), level) else {
        return End::unknown(from, format!("a bound of {table} cannot be read"));
    };
    let arrival = Arrival { line: line.as_ref(), pace, from, start };
    // Each row of ranges (of a tenant, of a range of (tenant, time)) lasts by itself; the first to end counts.
    let mut prefixes: Vec<&[Edge]> = Vec::new();
    for span in &spans {
        if !prefixes.contains(&span.prefix()) {
            prefixes.push(span.prefix());
        }
    }
    if prefixes.len() < 2 {
        return row(table, level, walk, &arrival, &spans.iter().collect::<Vec<_>>());
    }
    let rows = prefixes.into_iter().map(|prefix| {
        let own: Vec<&Span<'_>> = spans.iter().filter(|span| span.prefix() == prefix).collect();
        row(table, level, walk, &arrival, &own)
    });
    rows.reduce(End::min).expect("there are at least two")
}

/// When inserts into one row of ranges cease to be safe.
fn row(table: &TableName, level: &Level, walk: &Walk<'_>, arrival: &Arrival<'_>, spans: &[&Span<'_>]) -> End {
    let from = arrival.from;
    let rest = rest(level);
    let Some(first) = spans.iter().position(|span| span.holds(arrival.start)) else {
        let rows = rest.map_or("such rows are refused".to_owned(), |rest| format!("such rows go to {rest}"));
        return End::at(from, format!("{table} has no partition for {}: {rows}", arrival.place(walk.now)));
    };
    let run = &spans[first..];
    let length = 1 + run.windows(2).take_while(|pair| pair[0].meets(pair[1])).count();
    let gap = length < run.len();
    let mut begins = Some(from);
    for span in &run[..length] {
        let ends = arrival.reach(span.to);
        if let Some(early) = begins.and_then(|begins| below(span, walk, begins, ends)) {
            return early;
        }
        begins = ends;
    }
    last(table, run[length - 1], arrival, rest, gap)
}

/// The position at which rows arrive at `from`. Now they arrive from the clock on; later, at the front of the lead, or
/// as far on as a busy day's pace has brought them.
fn front(line: &dyn Line, pace: &Pace, now: Micros, from: Micros) -> Option<i128> {
    if line.is_time() {
        let lead = if from > now { (pace.lead_days.max(0.0) * DAY) as Micros } else { 0 };
        return line.at_moment(from.saturating_add(lead));
    }
    let later = (from as f64 - now as f64).max(0.0) / DAY * pace.keys_per_day.unwrap_or(0.0);
    pace.highest.map(|key| key.saturating_add(1).saturating_add(later as i128))
}

/// The end of the run, in words.
fn last(table: &TableName, span: &Span<'_>, arrival: &Arrival<'_>, rest: Option<String>, gap: bool) -> End {
    let until = span.end().unwrap_or_default().to_owned();
    let Some(at) = arrival.reach(span.to) else {
        let why =
            format!("how fast the keys of {table} rise is not known; its partitions are there until {until}");
        return End { until: Some(until), ..End::unknown(arrival.from, why) };
    };
    let mut because = format!("partitions of {table} are there until {until}");
    if arrival.line.is_time() && arrival.pace.lead_days >= 1.0 / 24.0 {
        because += &format!(", and rows come {} ahead of now", words::days(arrival.pace.lead_days));
    }
    if let Some(rate) = arrival.pace.keys_per_day.filter(|_| !arrival.line.is_time()) {
        because += &format!(", at up to {} keys a day from {}", words::count(rate), arrival.start);
    }
    because += match gap {
        true => "; then there is a gap",
        false => "",
    };
    because += &match rest {
        Some(rest) => format!("; later rows go to {rest}"),
        None => "; later rows are refused".to_owned(),
    };
    End { until: Some(until), ..End::at(at, because) }
}

/// The end of the partitions below `span`, if it comes before rows leave it.
fn below(span: &Span<'_>, walk: &Walk<'_>, begins: Micros, ends: Option<Micros>) -> Option<End> {
    let end = super::level(&span.part.table, span.part.below.as_ref()?, walk, begins);
    let at = end.at?;
    (ends.is_none_or(|ends| at < ends))
        .then(|| End { because: format!("{}: {}", span.part.table, end.because), ..end })
}

/// The ranges that end at a value, ascending; `None` if a bound cannot be read.
fn spans<'a>(line: &dyn Line, level: &'a Level) -> Option<Vec<Span<'a>>> {
    let mut spans = Vec::new();
    let key = line.key();
    for part in attached(level) {
        let Bound::Range { from, to } = &part.bound else { continue };
        // What ends at no value is a catch-all. What begins at none may be one, or hold all there was before a conversion.
        let (first, after) = match (from.get(key), to.get(key)) {
            (Some(Edge::At(first)), Some(Edge::At(after))) => (line.position(first)?, line.position(after)?),
            (Some(Edge::Min), Some(Edge::At(after))) => (i128::MIN, line.position(after)?),
            _ => continue,
        };
        spans.push(Span { part, from: first, to: after, edges: (from, to), key });
    }
    spans.sort_by_key(|span| (span.from, span.to));
    Some(spans)
}

/// What takes the rows after the last range, in words.
fn rest(level: &Level) -> Option<String> {
    let edge = attached(level).find(|part| match &part.bound {
        Bound::Range { to, .. } => to.first() == Some(&Edge::Max),
        _ => false,
    });
    edge.map(|part| format!("the edge partition {}", part.table)).or_else(|| catch_all(level))
}
