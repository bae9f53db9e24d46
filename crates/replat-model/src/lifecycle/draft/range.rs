//! A level of ranges: what it lacks, and what is old.

use super::super::axis::Position;
use super::super::facts::{Bound, Edge, Key, Micros, Part, Sample, TableName};
use super::super::forecast::Forecast;
use super::super::grid::Grid;
use super::super::health::{Finding, Severity, codes};
use super::super::infer;
use super::super::policy::Overflow;
use super::build::New;
use super::cells::{self, CELLS_MAX, NoCells, Stretch};
use super::horizon::spans;
use super::keys::{Line, lines};
use super::overflow::{CatchAll, known_empty};
use super::set::{Place, Row, SetDraft, Within, columns};

/// Cells of the past that are made for stray rows in one run at most.
const STRAY_CELLS_MAX: usize = 100;

/// A row of ranges on its grid.
pub(super) struct Drawn<'a> {
    pub(super) grid: Grid,
    /// The ordinary partitions, ascending, without overlaps.
    pub(super) spans: Vec<Span<'a>>,
    /// Where the range from MINVALUE on ends. After a conversion the rows of now are in it.
    pub(super) lower: Option<Position>,
}

/// One partition on the grid's axis.
#[derive(Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) from: Position,
    pub(super) to: Position,
    pub(super) part: &'a Part,
    /// Its bounds as they are written, which may lie between two steps of the axis.
    edges: (&'a Edge, &'a Edge),
}

impl Drawn<'_> {
    /// The grid, where there is no partition yet.
    pub(super) fn empty(grid: Grid) -> Self {
        Drawn { grid, spans: Vec::new(), lower: None }
    }

    pub(super) fn covered(&self) -> Vec<Stretch> {
        let lower = self.lower.map(|end| (Position(i128::MIN), end));
        lower.into_iter().chain(self.spans.iter().map(|span| (span.from, span.to))).collect()
    }

    /// What ends at `at`, as it is written: what begins there must touch it to the byte.
    pub(super) fn end_at(&self, line: &Line<'_>, at: Position) -> Option<Edge> {
        let lower = line.lower.map(|raw| raw.to).filter(|edge| self.reads(edge, at));
        let span = || self.spans.iter().find(|span| span.to == at).map(|span| span.edges.1);
        lower.or_else(span).cloned()
    }

    /// What begins at `at`, as it is written.
    pub(super) fn begin_at(&self, line: &Line<'_>, at: Position) -> Option<Edge> {
        let upper = line.upper.map(|raw| raw.from).filter(|edge| self.reads(edge, at));
        let span = || self.spans.iter().find(|span| span.from == at).map(|span| span.edges.0);
        upper.or_else(span).cloned()
    }

    fn reads(&self, edge: &Edge, at: Position) -> bool {
        position(&self.grid, edge) == Some(at)
    }
}

/// Where an edge lies; `None` if it is no value, or cannot be read. One that lies between two steps counts as the
/// first of them.
pub(super) fn position(grid: &Grid, edge: &Edge) -> Option<Position> {
    match edge {
        Edge::At(text) => grid.axis.parse(text).ok(),
        Edge::Min | Edge::Max => None,
    }
}

impl<'a> SetDraft<'a> {
    /// One level of ranges, and all below it.
    pub(super) fn range(&mut self, at: &Place<'a>) -> Result<(), Finding> {
        let lines = lines(&at.level).map_err(|why| {
            self.unclear(self.about(at.parent, &why), "Make the bounds alike, or leave the table out.")
        })?;
        // A group that is too new to show its grid has that of the one with the longest row.
        let longest = lines.iter().max_by_key(|line| line.spans.len()).expect("there is a line").clone();
        let single = lines.len() == 1;
        for line in &lines {
            let mut drawn = self.draw(at, line, &longest)?;
            let news = match at.contained_in(&at.level.keys[line.key]) {
                Some(within) => self.filling(at, &drawn, line, within)?,
                None => self.growing(at, &mut drawn, line, single)?,
            };
            self.rows.push(row(at, line, &drawn, self.now));
            if at.outer.is_empty() {
                self.old_ranges(at, line, &drawn);
            }
            let catch_all = match single && at.outer.is_empty() {
                true => self.catch_all(at, line, &drawn, &news)?,
                false => CatchAll::Stay,
            };
            self.make(at, Some(line), news, catch_all)?;
            for span in &drawn.spans {
                let past = drawn.grid.moment(span.to).is_some_and(|end| end <= self.now);
                if past { self.mend(at, span.part) } else { self.descend(at, span.part) }
            }
            for raw in line.lower.iter().chain(&line.upper) {
                self.mend(at, raw.part);
            }
        }
        if let Some(default) = at.level.default() {
            self.mend(at, default);
        }
        Ok(())
    }

    /// The line on its grid.
    pub(super) fn draw<'p>(
        &mut self,
        at: &Place<'_>,
        line: &Line<'p>,
        longest: &Line<'p>,
    ) -> Result<Drawn<'p>, Finding> {
        let key = &at.level.keys[line.key];
        let bounds = |line: &Line<'_>| -> Vec<(Edge, Edge)> {
            line.spans.iter().map(|raw| (raw.from.clone(), raw.to.clone())).collect()
        };
        let hint = self.hint(at.depth, Some(at.level.method));
        let own = infer::learn(&key.type_name, hint, &bounds(line), self.now);
        let learned = own
            .or_else(|own| infer::learn(&key.type_name, hint, &bounds(longest), self.now).map_err(|_| own));
        let learned =
            learned.map_err(|why| self.unclear(self.about(at.parent, &why.to_string()), &why.remedy()))?;
        let axis = learned.grid.axis;
        let mut spans = Vec::new();
        for raw in &line.spans {
            let read = |edge: &Edge| match edge {
                Edge::At(text) => axis.parse(text).map_err(|bad| {
                    self.unclear(
                        format!("{}: {bad}", raw.part.table),
                        "Say with `encoding` what the key's values mean, or leave the table out.",
                    )
                }),
                _ => unreachable!("a line's spans are bounded on both sides"),
            };
            let (from, to) = (read(raw.from)?, read(raw.to)?);
            spans.push(Span { from, to, part: raw.part, edges: (raw.from, raw.to) });
        }
        spans.sort_by_key(|span| (span.from, span.to));
        if let Some(pair) = spans.windows(2).find(|pair| pair[0].to > pair[1].from) {
            return Err(self.finding(
                Severity::Error,
                codes::OVERLAP,
                format!("{} and {} overlap", pair[0].part.table, pair[1].part.table),
                "Detach one of them and look at its rows.".into(),
            ));
        }
        self.understand(
            at.depth,
            format!("range of {}, {} ({})", name(key), learned.grid.describe(), learned.because),
        );
        let lower = line.lower.and_then(|raw| match raw.to {
            Edge::At(text) => axis.bound(text).ok(),
            _ => None,
        });
        Ok(Drawn { grid: learned.grid, spans, lower })
    }

    /// What a row of ranges lacks that grows by itself.
    fn growing(
        &mut self,
        at: &Place<'_>,
        drawn: &mut Drawn<'_>,
        line: &Line<'_>,
        single: bool,
    ) -> Result<Vec<New>, Finding> {
        let samples: &[Sample] = match at.depth {
            0 if line.prefix.is_empty() => &self.set.samples,
            0 => &[],
            _ => &at.level.samples,
        };
        let high = line.prefix.is_empty().then(|| at.level.high.as_deref()).flatten();
        let high = high.and_then(|high| drawn.grid.axis.parse(high).ok());
        let forecast = self.forecast(drawn, samples, high);
        self.evidence(at, drawn, &forecast, single);
        if let Some(resized) = self.resized(&drawn.grid, &forecast) {
            drawn.grid = resized;
        }
        let Some(horizon) = self.horizon(drawn, &forecast, samples, high)? else { return Ok(Vec::new()) };
        let grid = drawn.grid.clone();
        let covered = drawn.covered();
        // What an edge holds has to have a partition from the edge on: a hole would take no rows at all.
        let edge = line.upper.and_then(|raw| position(&grid, raw.from));
        let wanted = match edge {
            None => self.cells(at, cells::free(&grid, &covered, horizon.here, horizon.end))?,
            Some(edge) => {
                let before: Vec<Stretch> =
                    covered.iter().copied().chain([(edge, Position(i128::MAX))]).collect();
                let mut wanted =
                    self.cells(at, cells::free(&grid, &before, horizon.here, edge.min(horizon.end)))?;
                let after = [(Position(i128::MIN), edge)];
                wanted.extend(self.cells(at, cells::free(&grid, &after, edge, horizon.end))?);
                wanted
            }
        };
        let taken = line.upper.is_some()
            || at.level.default().is_some()
            || self.policy.overflow.is_some_and(|overflow| overflow != Overflow::Reject);
        let wanted = self.within_type(at.parent, taken, &grid, wanted);
        self.holes(at, drawn, horizon.here);
        let strays = Strays::of(at.level.default(), &drawn.grid, single);
        let past = self.past_strays(at, drawn, &strays, &horizon)?;
        let past = self.within_type(at.parent, true, &grid, past);
        self.reach(horizon.until);
        let to_new = |stretch: Stretch, stray: bool| -> Result<New, Finding> {
            Ok(New {
                bound: self.bound(drawn, line, stretch)?,
                stray,
                grid: Some(grid.clone()),
                stretch: Some(stretch),
            })
        };
        let mut news = Vec::new();
        for stretch in past {
            news.push(to_new(stretch, true)?);
        }
        for stretch in wanted {
            news.push(to_new(stretch, strays.may_lie_in(stretch))?);
        }
        Ok(news)
    }

    /// What a row of ranges lacks that fills a range of an outer level.
    fn filling(
        &mut self,
        at: &Place<'_>,
        drawn: &Drawn<'_>,
        line: &Line<'_>,
        within: &Within,
    ) -> Result<Vec<New>, Finding> {
        // A catch-all above has no end to fill up to.
        let (low, high) = drawn.grid.axis.range();
        let from = position(&drawn.grid, &within.from).unwrap_or(high);
        let to = position(&drawn.grid, &within.to).unwrap_or(low);
        if drawn.grid.moment(to).is_some_and(|end| end <= self.now) || line.upper.is_some() {
            return Ok(Vec::new());
        }
        let here = drawn.grid.at_moment(self.now).unwrap_or(from).max(from);
        let wanted = self.cells(at, cells::free(&drawn.grid, &drawn.covered(), here, to))?;
        let strays = Strays::of(at.level.default(), &drawn.grid, true);
        wanted
            .into_iter()
            .map(|(begin, end)| (begin.max(from), end.min(to)))
            .map(|stretch| {
                let stray = strays.may_lie_in(stretch);
                let bound = self.bound_within(drawn, line, stretch, Some(within))?;
                Ok(New { bound, stray, grid: Some(drawn.grid.clone()), stretch: Some(stretch) })
            })
            .collect()
    }

    /// The bound of a stretch on a line.
    pub(super) fn bound(
        &self,
        drawn: &Drawn<'_>,
        line: &Line<'_>,
        stretch: Stretch,
    ) -> Result<Bound, Finding> {
        self.bound_within(drawn, line, stretch, None)
    }

    /// The bound of a stretch on a line that fills an outer range. Where it touches what is there, it does so to the
    /// byte.
    pub(super) fn bound_within(
        &self,
        drawn: &Drawn<'_>,
        line: &Line<'_>,
        (from, to): Stretch,
        within: Option<&Within>,
    ) -> Result<Bound, Finding> {
        let grid = &drawn.grid;
        let text = |at: Position| {
            let text = grid.axis.text(at).map_err(|bad| self.no_grid(bad.to_string()))?;
            Ok(Edge::At(text))
        };
        let outer =
            |edge: Option<&Edge>, at: Position| edge.filter(|edge| position(grid, edge) == Some(at)).cloned();
        let begin = drawn.end_at(line, from).or_else(|| outer(within.map(|within| &within.from), from));
        let end = drawn.begin_at(line, to).or_else(|| outer(within.map(|within| &within.to), to));
        Ok(line.bound(begin.map_or_else(|| text(from), Ok)?, end.map_or_else(|| text(to), Ok)?))
    }

    /// Those of `stretches` that the key's type can hold. The last cell before its end has no upper bound that could
    /// be written; unless its rows are `taken` by a catch-all, that is said.
    pub(super) fn within_type(
        &mut self,
        parent: &TableName,
        taken: bool,
        grid: &Grid,
        stretches: Vec<Stretch>,
    ) -> Vec<Stretch> {
        let (least, greatest) = grid.axis.range();
        let (held, beyond): (Vec<Stretch>, Vec<Stretch>) =
            stretches.into_iter().partition(|(from, to)| *from >= least && *to <= greatest);
        if let Some((from, _)) = beyond.into_iter().find(|(_, to)| *to > greatest && !taken) {
            let from = grid.axis.text(from).unwrap_or_else(|_| from.to_string());
            self.find(
                Severity::Warning,
                codes::TYPE_END,
                self.about(
                    parent,
                    &format!(
                        "keys of {} end before the partition from {from} on would: it is not made",
                        grid.axis.describe()
                    ),
                ),
                "Widen the key's type; or let the last keys have a catch-all: `overflow = \"edge\"`.".into(),
            );
        }
        held
    }

    /// Holes between bounds that are over. They take no rows of now, and may be wanted.
    fn holes(&mut self, at: &Place<'_>, drawn: &Drawn<'_>, here: Position) {
        if at.level.default().is_some() {
            return;
        }
        let old = |pair: &&[Span<'_>]| pair[0].to < pair[1].from && pair[1].from <= here;
        let holes: Vec<String> = drawn
            .spans
            .windows(2)
            .filter(old)
            .map(|pair| format!("between {} and {}", pair[0].part.table, pair[1].part.table))
            .collect();
        if !holes.is_empty() {
            self.find(
                Severity::Note,
                codes::HOLE,
                self.about(at.parent, &format!("nothing takes rows {}", super::some(holes.into_iter()))),
                "Nothing, if such rows no longer come; or attach what was there.".into(),
            );
        }
    }

    /// Cells of the past that stray rows lie in, to be made. What lies elsewhere, and stays, is said.
    fn past_strays(
        &mut self,
        at: &Place<'_>,
        drawn: &Drawn<'_>,
        strays: &Strays,
        horizon: &super::horizon::Horizon,
    ) -> Result<Vec<Stretch>, Finding> {
        if strays.rows == 0 {
            return Ok(Vec::new());
        }
        if strays.lost > 0 {
            self.stuck(at, format!("{} rows without a value, or with one that cannot be read", strays.lost));
        }
        if self.policy.drain == Some(false) {
            self.find(
                Severity::Warning,
                codes::STRAYS,
                self.about(
                    at.parent,
                    &format!("{} rows lie in its default partition, and draining is off", strays.rows),
                ),
                "Let rows be moved: `drain = true`.".into(),
            );
            return Ok(Vec::new());
        }
        let covered = drawn.covered();
        // The last partition that is wanted ends where its cell does, which the horizon may lie within.
        let last = Position(horizon.end.0 - 1);
        let end = match cells::around(&drawn.grid, &covered, last) {
            Ok((_, end)) => end.max(horizon.end),
            Err(_) => horizon.end,
        };
        if strays.reaches(end) {
            let (rows, text) = (strays.count_from(end), drawn.grid.axis.text(end));
            let from = text.unwrap_or_else(|_| horizon.until.text.clone());
            self.stuck(at, format!("{rows} rows from {from} on, where no partitions are wanted"));
        }
        let now_cell = self.cells(at, cells::around(&drawn.grid, &covered, horizon.here))?.0;
        let kept = self.kept_from(drawn, horizon.here);
        if strays.reaches_below(kept) {
            self.stuck(at, "rows that are older than what is kept".into());
        }
        let found = match &strays.exactly {
            Some(values) => {
                let wanted =
                    values.iter().map(|(at, _)| *at).filter(|at| kept.is_none_or(|kept| *at >= kept));
                let mut past: Vec<Position> = wanted.filter(|at| *at < now_cell).collect();
                past.sort_unstable();
                self.cells(at, each_cell(&drawn.grid, &covered, &past))?
            }
            None => {
                let Some(low) = strays.low else { return Ok(Vec::new()) };
                // Every cell between may hold some, so only so many are tried.
                let begin = self.cells(at, back(&drawn.grid, now_cell, STRAY_CELLS_MAX))?;
                if low < begin && kept.is_none_or(|kept| kept < begin) {
                    self.stuck(at, "rows that are too old to look for their partitions".into());
                }
                let from = kept.map_or(low, |kept| kept.max(low)).max(begin);
                self.cells(at, cells::free(&drawn.grid, &covered, from, now_cell))?
            }
        };
        // The newest first; the others come in the next run.
        Ok(found[found.len().saturating_sub(STRAY_CELLS_MAX)..].to_vec())
    }

    /// The first position that is not too old to have a partition; `None` if nothing is too old.
    fn kept_from(&self, drawn: &Drawn<'_>, here: Position) -> Option<Position> {
        let retire = self.policy.retire.as_ref()?;
        let by_age = retire.keep.and_then(|keep| {
            let moment = self.now.checked_sub(Micros::try_from(keep.as_duration().as_micros()).ok()?)?;
            drawn.grid.at_moment(moment)
        });
        let by_keys = retire
            .keep_keys
            .filter(|_| !drawn.grid.axis.is_time())
            .map(|keys| Position(here.0 - i128::from(keys)));
        by_age.max(by_keys)
    }

    fn stuck(&mut self, at: &Place<'_>, what: String) {
        self.find(
            Severity::Warning,
            codes::STUCK,
            self.about(at.parent, &format!("its default partition holds {what}")),
            "Look at these rows, and correct or delete them; or widen the horizon.".into(),
        );
    }

    /// Cells, or the finding that says why there are none.
    pub(super) fn cells<T>(&self, at: &Place<'_>, found: Result<T, NoCells>) -> Result<T, Finding> {
        found.map_err(|why| match why {
            NoCells::Grid(why) => self.no_grid(why),
            NoCells::TooMany => self.finding(
                Severity::Error,
                codes::TOO_MANY,
                self.about(at.parent, &format!("more than {CELLS_MAX} partitions would be needed at once")),
                "Choose a longer interval or a nearer horizon.".into(),
            ),
        })
    }

    pub(super) fn no_grid(&self, why: String) -> Finding {
        self.unclear(why, "Correct the interval or the horizon.")
    }

    pub(super) fn unclear(&self, what: String, remedy: &str) -> Finding {
        self.finding(Severity::Error, codes::UNCLEAR, what, remedy.into())
    }

    /// Keeps what a level showed of the pace of rows, for the quotas of the whole set and of the tenant it is of.
    fn evidence(&mut self, at: &Place<'_>, drawn: &Drawn<'_>, forecast: &Forecast, single: bool) {
        self.evidence.extend(spans(drawn));
        match at.depth {
            0 => self.forecast = Some(forecast.clone()),
            _ if single => {
                self.paces.insert(at.parent.clone(), forecast.clone());
            }
            _ => {}
        }
    }
}

/// A line as it is, for whoever looks whether it is unbroken.
fn row(at: &Place<'_>, line: &Line<'_>, drawn: &Drawn<'_>, now: Micros) -> Row {
    let axis = drawn.grid.axis;
    let high =
        at.level.high.as_deref().filter(|_| line.prefix.is_empty()).and_then(|high| axis.parse(high).ok());
    let inside = at.contained_in(&at.level.keys[line.key]);
    let here = drawn.grid.at_moment(now).or(high).filter(|here| match inside {
        None => true,
        Some(within) => {
            position(&drawn.grid, &within.from).is_none_or(|from| from <= *here)
                && position(&drawn.grid, &within.to).is_none_or(|to| *here < to)
        }
    });
    let edge = line.upper.and_then(|raw| position(&drawn.grid, raw.from));
    Row {
        parent: at.parent.clone(),
        here,
        covered: drawn.covered(),
        edge,
        axis,
        default: at.level.default().is_some(),
    }
}

/// The free cells that hold `points`, which ascend and which nothing covers.
fn each_cell(grid: &Grid, covered: &[Stretch], points: &[Position]) -> Result<Vec<Stretch>, NoCells> {
    let mut found: Vec<Stretch> = Vec::new();
    for point in points {
        if found.last().is_none_or(|(_, end)| point >= end) {
            found.extend(cells::free(grid, covered, *point, Position(point.0 + 1))?);
        }
    }
    Ok(found)
}

/// The beginning of the cell that comes `count` cells before `at`, or as far back as the grid goes.
fn back(grid: &Grid, at: Position, count: usize) -> Result<Position, NoCells> {
    let mut begin = at;
    for _ in 0..count {
        match grid.previous(begin) {
            Ok(before) => begin = before,
            Err(_) => break,
        }
    }
    Ok(begin)
}

/// A key, as a person calls it.
pub(super) fn name(key: &Key) -> &str {
    key.column.as_deref().unwrap_or(&key.text)
}

/// Whether a level of the policy is about the columns of `keys`.
pub(super) fn is_about(hint: &super::super::policy::LevelPolicy, keys: &[Key]) -> bool {
    let asked = columns(hint);
    asked == ["*"] || asked.iter().copied().eq(keys.iter().map(name))
}

/// The rows of a default partition on the axis of the line.
struct Strays {
    rows: u64,
    /// Rows that have no place on the axis.
    lost: u64,
    low: Option<Position>,
    high: Option<Position>,
    /// All values there are, with their rows, where they are few.
    exactly: Option<Vec<(Position, u64)>>,
    /// Nothing is known of where they lie.
    anywhere: bool,
}

impl Strays {
    /// `single` if the default's first key is the one that moves.
    fn of(default: Option<&Part>, grid: &Grid, single: bool) -> Strays {
        let none = Strays { rows: 0, lost: 0, low: None, high: None, exactly: None, anywhere: false };
        let Some(default) = default.filter(|default| !known_empty(default)) else { return none };
        // Nobody looked: the attach will prove it, or be given up.
        let Some(strays) = &default.strays else { return none };
        if !single {
            return Strays { rows: strays.rows, anywhere: true, ..none };
        }
        let read = |text: &String| grid.axis.parse(text).ok();
        let low = strays.low.as_ref().and_then(read);
        let high = strays.high.as_ref().and_then(read);
        let mut lost = if strays.low.is_none() { strays.rows } else { 0 };
        let exactly = (!strays.more && !strays.values.is_empty()).then(|| {
            let mut values = Vec::new();
            for (text, rows) in &strays.values {
                match grid.axis.parse(text) {
                    Ok(at) => values.push((at, *rows)),
                    Err(_) => lost += rows,
                }
            }
            values
        });
        Strays { rows: strays.rows, lost, low, high, exactly, anywhere: false }
    }

    fn may_lie_in(&self, (from, to): Stretch) -> bool {
        match (&self.exactly, self.low, self.high) {
            _ if self.rows == 0 => false,
            _ if self.anywhere => true,
            (Some(values), ..) => values.iter().any(|(at, _)| from <= *at && *at < to),
            (None, Some(low), Some(high)) => low < to && from <= high,
            (None, ..) => false,
        }
    }

    fn reaches(&self, end: Position) -> bool {
        match &self.exactly {
            Some(values) => values.iter().any(|(at, _)| *at >= end),
            None => self.high.is_some_and(|high| high >= end),
        }
    }

    fn reaches_below(&self, kept: Option<Position>) -> bool {
        let Some(kept) = kept else { return false };
        match &self.exactly {
            Some(values) => values.iter().any(|(at, _)| *at < kept),
            None => self.low.is_some_and(|low| low < kept),
        }
    }

    fn count_from(&self, end: Position) -> String {
        match &self.exactly {
            Some(values) => {
                values.iter().filter(|(at, _)| *at >= end).map(|(_, rows)| rows).sum::<u64>().to_string()
            }
            None => "some".into(),
        }
    }
}
