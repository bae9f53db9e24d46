//! New partitions: their names, what they are like, and what they are cut into.

use super::super::axis::Position;
use super::super::facts::{Bound, Edge, Key, Level, Method, Part, TableName};
use super::super::grid::Grid;
use super::super::health::{Finding, Severity, codes};
use super::super::infer;
use super::super::name::Pattern;
use super::super::plan::{EdgeMove, NewLevel, NewPart, Work};
use super::super::policy::{Cut, LevelPolicy};
use super::cells::{self, Stretch};
use super::keys::{Line, Raw, lines};
use super::overflow::{CatchAll, known_empty};
use super::range::{Drawn, is_about, name, position};
use super::set::{Place, SetDraft, Within, columns, within};
use super::tables;

/// Tables that one unit attaches at most. Each costs a millisecond or two under the locks of its parent.
const TABLES_EACH: u64 = 100;

/// Locks of one table of usual shape, with indexes and TOAST.
const LOCKS_EACH: u64 = 6;

/// Partitions of numbers that a new table begins with, where nothing says how many.
const FIRST_NUMBERS: u32 = 4;

/// A partition that is wanted.
pub(super) struct New {
    pub(super) bound: Bound,
    /// Whether rows of it lie, or may lie, in the default partition.
    pub(super) stray: bool,
    /// The grid it is on, for its name.
    pub(super) grid: Option<Grid>,
    /// Where it lies on that grid's axis.
    pub(super) stretch: Option<Stretch>,
}

impl New {
    pub(super) fn catch_all(bound: Bound) -> New {
        New { bound, stray: false, grid: None, stretch: None }
    }

    pub(super) fn plain(bound: Bound, stray: bool) -> New {
        New { bound, stray, grid: None, stretch: None }
    }
}

impl<'a> SetDraft<'a> {
    /// Plans the partitions `news` of one parent, of the line they lie on if they are ranges.
    pub(super) fn make(
        &mut self,
        at: &Place<'a>,
        line: Option<&Line<'a>>,
        news: Vec<New>,
        catch_all: CatchAll,
    ) -> Result<(), Finding> {
        let (stray, clear): (Vec<New>, Vec<New>) = news.into_iter().partition(|new| new.stray);
        let parent = at.parent.clone();
        let default = at.level.default().map(|default| default.table.clone());
        if let Some(default) = default.clone().filter(|_| !stray.is_empty()) {
            self.drain(at, &default, stray)?;
        }
        // An edge that goes away in this plan has not to give way first.
        let goes = |raw: &Raw<'_>| match &catch_all {
            CatchAll::Swap { old, .. } => old.iter().any(|(table, ..)| *table == raw.part.table),
            CatchAll::Stay | CatchAll::Add(_) => false,
        };
        let edge = line.and_then(|line| line.upper).filter(|raw| !goes(raw));
        let (inside, outside) = match edge {
            Some(edge) => clear.into_iter().partition(|new| lies_in(new, edge)),
            None => (Vec::new(), clear),
        };
        let outside = self.parts(at, outside)?;
        match catch_all {
            CatchAll::Stay => self.create(&parent, outside, default.clone()),
            CatchAll::Add(new) => {
                let parts = outside.into_iter().chain(self.parts(at, new)?).collect();
                let default = default.clone();
                self.works.push(Work::Create { parent, parts, default, edge: None });
            }
            CatchAll::Swap { old, new } => {
                let new = outside.into_iter().chain(self.parts(at, new)?).collect();
                self.works.push(Work::Overflow { parent, old, new });
            }
        }
        match edge {
            Some(edge) if !inside.is_empty() => self.replace_edge(at, edge.part, default, inside),
            _ => Ok(()),
        }
    }

    /// Rows move out of the default partition into new ones.
    fn drain(&mut self, at: &Place<'a>, default: &TableName, stray: Vec<New>) -> Result<(), Finding> {
        if self.policy.drain == Some(false) {
            return Ok(());
        }
        let parts = self.parts(at, stray)?;
        if parts.iter().any(|part| depth(part) > 2) {
            self.find(
                Severity::Warning,
                codes::STUCK,
                format!("{default}: its rows belong to partitions that are cut three levels deep, which is not drained"),
                "Move these rows by hand, or simplify the levels.".into(),
            );
            return Ok(());
        }
        self.works.push(Work::Drain { parent: at.parent.clone(), default: default.clone(), parts });
        Ok(())
    }

    /// New partitions where an edge is: it gives way if it is empty, and is cut up if it is not known to be.
    fn replace_edge(
        &mut self,
        at: &Place<'a>,
        edge: &Part,
        default: Option<TableName>,
        inside: Vec<New>,
    ) -> Result<(), Finding> {
        let Bound::Range { from, .. } = &edge.bound else { return Ok(()) };
        let Some(Bound::Range { to: end, .. }) = inside.last().map(|new| new.bound.clone()) else {
            return Ok(());
        };
        let parts = self.parts(at, inside)?;
        if known_empty(edge) {
            let mut from = from.clone();
            for parts in self.batches(parts) {
                let Some(Bound::Range { to, .. }) = parts.last().map(|part| part.bound.clone()) else {
                    continue;
                };
                let edge = EdgeMove { table: edge.table.clone(), from, to: to.clone() };
                let (parent, default) = (at.parent.clone(), default.clone());
                self.works.push(Work::Create { parent, parts, default, edge: Some(edge) });
                from = to;
            }
            return Ok(());
        }
        let Bound::Range { to: max, .. } = edge.bound.clone() else { return Ok(()) };
        let rest = self.parts(at, vec![New::catch_all(Bound::Range { from: end, to: max })])?;
        self.works.push(Work::Recut {
            parent: at.parent.clone(),
            old: vec![(edge.table.clone(), edge.id, edge.bound.clone())],
            new: parts.into_iter().chain(rest).collect(),
        });
        Ok(())
    }

    fn create(&mut self, parent: &TableName, parts: Vec<NewPart>, default: Option<TableName>) {
        for parts in self.batches(parts) {
            self.works.push(Work::Create {
                parent: parent.clone(),
                parts,
                default: default.clone(),
                edge: None,
            });
        }
    }

    /// As many at once as one transaction can lock.
    fn batches(&self, parts: Vec<NewPart>) -> Vec<Vec<NewPart>> {
        let each = LOCKS_EACH.max(u64::from(self.set.relations_each));
        let most = self.lock_room.map_or(TABLES_EACH, |room| (room / 2 / each).clamp(1, TABLES_EACH));
        let mut batches: Vec<(u64, Vec<NewPart>)> = Vec::new();
        for part in parts {
            let size = tables(&part);
            match batches.last_mut() {
                Some((sum, batch)) if *sum + size <= most => {
                    *sum += size;
                    batch.push(part);
                }
                _ => batches.push((size, vec![part])),
            }
        }
        batches.into_iter().map(|(_, batch)| batch).collect()
    }

    /// The tables of new partitions, with all that is below them.
    fn parts(&mut self, at: &Place<'a>, news: Vec<New>) -> Result<Vec<NewPart>, Finding> {
        // Learning how partitions are called is the dearest thing here, and mostly nothing is to be made.
        if news.is_empty() {
            return Ok(Vec::new());
        }
        let newest = newest(at.level);
        let like = newest.map(|part| part.table.clone());
        let schema = like.as_ref().map_or(&at.parent.schema, |like| &like.schema).clone();
        let grid = news.iter().find_map(|new| new.grid.clone());
        let pattern = Pattern::learn(&at.parent.name, &named(at.level), grid.as_ref());
        news.into_iter()
            .map(|new| {
                let table = self.name(&pattern, &schema, &new.bound, new.grid.as_ref())?;
                let outer = at.within(&at.level.keys, &new.bound);
                let below = match new.bound {
                    // What belongs to no other is not worth cutting further, unless it was before.
                    _ if new.grid.is_none() && is_open(&new.bound) => None,
                    _ => self.below(at.depth + 1, newest, &outer, &table)?,
                };
                Ok(NewPart { table, bound: new.bound, like: like.clone(), below })
            })
            .collect()
    }

    /// A free name for a partition, which is taken from now on.
    fn name(
        &mut self,
        pattern: &Pattern,
        schema: &str,
        bound: &Bound,
        grid: Option<&Grid>,
    ) -> Result<TableName, Finding> {
        let taken = |name: &str| self.names.is_taken(schema, name);
        let found = match edge_word(bound) {
            // An edge moves, so its name does not say where it is.
            Some(word) => pattern.name(&Bound::List(vec![Some(word.into())]), None, &taken),
            None => pattern.name(bound, grid, &taken),
        };
        let name = found.map_err(|bad| {
            self.finding(
                Severity::Error,
                codes::NAME,
                bad.to_string(),
                "Rename what has the name, or shorten the table's own.".into(),
            )
        })?;
        self.names.take(schema, &name);
        Ok(TableName::new(schema, name))
    }

    /// How the new partition `table` is cut: as the policy says, or as `template` is.
    fn below(
        &mut self,
        depth: usize,
        template: Option<&Part>,
        outer: &[Within],
        table: &TableName,
    ) -> Result<Option<NewLevel>, Finding> {
        let known = template.and_then(|part| Some((part, part.below.as_ref()?)));
        let hint = self.hint(depth, known.map(|(_, level)| level.method));
        let fits = |level: &Level, hint: &LevelPolicy| {
            method(hint.by) == level.method && is_about(hint, &level.keys)
        };
        let known = known.filter(|(_, level)| hint.is_none_or(|hint| fits(level, hint)));
        let (method, keys) = match (known, hint) {
            (None, None) => return Ok(None),
            (Some((_, level)), _) => (level.method, level.keys.clone()),
            (None, Some(hint)) => (method(hint.by), self.keys(hint)?),
        };
        let level = known.map(|(_, level)| level);
        let bounds = match method {
            Method::Hash => hashes(level, hint).ok_or_else(|| self.unsaid(table, "modulus"))?,
            Method::List => lists(level, hint),
            Method::Range => self.ranges(&keys, level, hint, outer, table)?,
        };
        let grid = bounds.iter().find_map(|(_, grid)| grid.clone());
        // As the partitions of a sister are called, and as if there were none where there is no sister.
        let pattern = match known {
            Some((part, level)) => {
                Pattern::learn(&part.table.name, &named(level), grid.as_ref()).for_parent(&table.name)
            }
            None => Pattern::learn(&table.name, &[], grid.as_ref()),
        };
        let newest = level.and_then(newest);
        let mut parts = Vec::new();
        for (bound, grid) in bounds {
            let like = level.and_then(|level| level.parts.iter().find(|part| part.bound == bound)).or(newest);
            let name = self.name(&pattern, &table.schema, &bound, grid.as_ref())?;
            let outer = within(outer, &keys, &bound);
            let below = if is_open(&bound) { None } else { self.below(depth + 1, like, &outer, &name)? };
            parts.push(NewPart { table: name, bound, like: like.map(|part| part.table.clone()), below });
        }
        Ok(Some(NewLevel { method, keys: keys.into_iter().map(|key| key.text).collect(), parts }))
    }

    /// The ranges of a new table.
    fn ranges(
        &mut self,
        keys: &[Key],
        level: Option<&Level>,
        hint: Option<&LevelPolicy>,
        outer: &[Within],
        table: &TableName,
    ) -> Result<Vec<(Bound, Option<Grid>)>, Finding> {
        let known = level.map(lines).transpose().map_err(|why| {
            self.unclear(format!("{table}: {why}"), "Make the bounds of its siblings alike.")
        })?;
        let line = match known.as_deref() {
            // Groups by an outer component are that table's own; here they are taken over as they are.
            Some([_, _, ..]) => return Ok(level.map_or(Vec::new(), as_they_are)),
            Some([line]) => line.clone(),
            _ => Line {
                key: 0,
                prefix: Vec::new(),
                tail: vec![Edge::Min; keys.len() - 1],
                spans: Vec::new(),
                lower: None,
                upper: None,
            },
        };
        let key = &keys[line.key];
        let bounds: Vec<(Edge, Edge)> =
            line.spans.iter().map(|raw| (raw.from.clone(), raw.to.clone())).collect();
        let learned = infer::learn(&key.type_name, hint, &bounds, self.now)
            .map_err(|why| self.unclear(self.about(table, &why.to_string()), &why.remedy()))?;
        let grid = learned.grid;
        let inside = outer.iter().rev().find(|within| within.key == name(key));
        let stretches = match inside {
            Some(within) => self.inside(&grid, within)?,
            None if grid.axis.is_time() => {
                let drawn = Drawn::empty(grid.clone());
                let forecast = Default::default();
                let horizon = self.horizon(&drawn, &forecast, &[], None)?;
                horizon.map_or(Ok(Vec::new()), |horizon| self.stretches(&grid, horizon.here, horizon.end))?
            }
            None if !line.spans.is_empty() => return Ok(level.map_or(Vec::new(), as_they_are)),
            None => {
                let count = self.policy.ahead_count.unwrap_or(FIRST_NUMBERS);
                let end = self.counted(&grid, grid.origin, count)?;
                self.stretches(&grid, grid.origin, end)?
            }
        };
        let mut found = Vec::new();
        let drawn = Drawn::empty(grid.clone());
        let taken = line.upper.is_some() || level.is_some_and(|level| level.default().is_some());
        // The bounds of a sister are none of its own.
        let apart = Line { spans: Vec::new(), lower: None, upper: None, ..line.clone() };
        for stretch in self.within_type(table, taken, &grid, stretches) {
            found.push((self.bound_within(&drawn, &apart, stretch, inside)?, Some(grid.clone())));
        }
        if let (Some(Bound::Range { from, .. }), true) =
            (found.first().map(|(bound, _)| bound.clone()), line.lower.is_some())
        {
            let low = Bound::Range { from: vec![Edge::Min; from.len()], to: from };
            found.insert(0, (low, None));
        }
        if let (Some(Bound::Range { to, .. }), true) =
            (found.last().map(|(bound, _)| bound.clone()), line.upper.is_some())
        {
            let high = Bound::Range { to: vec![Edge::Max; to.len()], from: to };
            found.push((high, None));
        }
        if level.is_some_and(|level| level.default().is_some()) {
            found.push((Bound::Default, None));
        }
        Ok(found)
    }

    fn stretches(&self, grid: &Grid, from: Position, to: Position) -> Result<Vec<Stretch>, Finding> {
        cells::free(grid, &[], from, to).map_err(|why| match why {
            cells::NoCells::Grid(why) => self.no_grid(why),
            cells::NoCells::TooMany => self.no_grid("too many partitions would be needed in one".into()),
        })
    }

    /// The cells that fill a range of an outer level exactly.
    fn inside(&self, grid: &Grid, within: &Within) -> Result<Vec<Stretch>, Finding> {
        let read = |edge: &Edge| match position(grid, edge) {
            Some(at) => Ok(at),
            None => Err(self.no_grid("an open range cannot be filled with partitions".into())),
        };
        let (from, to) = (read(&within.from)?, read(&within.to)?);
        let cut = |(begin, end): Stretch| (begin.max(from), end.min(to));
        Ok(self.stretches(grid, from, to)?.into_iter().map(cut).collect())
    }

    /// The keys that a level of the policy names.
    fn keys(&self, hint: &LevelPolicy) -> Result<Vec<Key>, Finding> {
        let known = |column: &str| {
            let of_set = self.set.columns.get(column).cloned();
            let mut of_level = self.set.level.keys.iter();
            of_set.or_else(|| {
                of_level.find(|key| key.column.as_deref() == Some(column)).map(|key| key.type_name.clone())
            })
        };
        columns(hint)
            .into_iter()
            .map(|column| {
                let type_name = known(column).ok_or_else(|| {
                    self.finding(
                        Severity::Error,
                        codes::CONTRADICTED,
                        format!("there is no column {column:?}, by which the policy cuts it"),
                        "Correct `levels` in the policy.".into(),
                    )
                })?;
                Ok(Key { column: Some(column.into()), text: quoted(column), type_name, nullable: true })
            })
            .collect()
    }

    fn unsaid(&self, table: &TableName, what: &str) -> Finding {
        self.finding(
            Severity::Error,
            codes::UNCLEAR,
            format!("{table}: neither its siblings nor the policy say the {what}"),
            format!("Say the {what} in `levels` of the policy."),
        )
    }
}

/// The newest ordinary partition of this server: what new ones are made like.
pub(crate) fn newest(level: &Level) -> Option<&Part> {
    let ordinary = |part: &&Part| !part.is_catch_all() && !part.foreign && !part.detach_pending;
    level.parts.iter().rfind(ordinary)
}

/// The names of the ordinary partitions.
pub(crate) fn named(level: &Level) -> Vec<(String, Bound)> {
    let ordinary = level.parts.iter().filter(|part| !part.is_catch_all());
    ordinary.map(|part| (part.table.name.clone(), part.bound.clone())).collect()
}

fn as_they_are(level: &Level) -> Vec<(Bound, Option<Grid>)> {
    level.parts.iter().map(|part| (part.bound.clone(), None)).collect()
}

fn hashes(level: Option<&Level>, hint: Option<&LevelPolicy>) -> Option<Vec<(Bound, Option<Grid>)>> {
    let there = level.map(|level| level.parts.iter().map(|part| part.bound.clone()).collect::<Vec<_>>());
    let bounds = match there {
        Some(mut there) if !there.is_empty() => {
            there.extend(super::cut::missing_remainders(&there));
            there
        }
        _ => {
            let modulus = hint?.modulus?;
            (0..modulus).map(|remainder| Bound::Hash { modulus, remainder }).collect()
        }
    };
    Some(bounds.into_iter().map(|bound| (bound, None)).collect())
}

fn lists(level: Option<&Level>, hint: Option<&LevelPolicy>) -> Vec<(Bound, Option<Grid>)> {
    let mut found = level.map_or(Vec::new(), as_they_are);
    for values in hint.map_or(&[][..], |hint| &hint.values) {
        let taken = |value: &String| {
            let holds =
                |bound: &Bound| matches!(bound, Bound::List(held) if held.contains(&Some(value.clone())));
            found.iter().any(|(bound, _)| holds(bound))
        };
        let free: Vec<Option<String>> =
            values.iter().filter(|value| !taken(value)).cloned().map(Some).collect();
        if !free.is_empty() {
            found.push((Bound::List(free), None));
        }
    }
    // The default comes last, as everywhere.
    found.sort_by_key(|(bound, _)| *bound == Bound::Default);
    found
}

pub(crate) fn method(cut: Cut) -> Method {
    match cut {
        Cut::Range => Method::Range,
        Cut::List => Method::List,
        Cut::Hash => Method::Hash,
    }
}

/// Levels of a new partition, its own included.
fn depth(part: &NewPart) -> usize {
    1 + part.below.iter().flat_map(|level| &level.parts).map(depth).max().unwrap_or(0)
}

/// Whether a new partition lies where the upper edge is.
fn lies_in(new: &New, edge: Raw<'_>) -> bool {
    match (&new.grid, new.stretch, edge.from) {
        (Some(grid), Some((from, _)), edge) => position(grid, edge).is_some_and(|edge| from >= edge),
        _ => false,
    }
}

/// Whether a bound is that of a catch-all.
fn is_open(bound: &Bound) -> bool {
    *bound == Bound::Default || edge_word(bound).is_some()
}

/// What an edge is called.
pub(crate) fn edge_word(bound: &Bound) -> Option<&'static str> {
    let Bound::Range { from, to } = bound else { return None };
    match from.iter().zip(to).find(|(from, to)| from != to)? {
        (Edge::Min, _) => Some("before"),
        (_, Edge::Max) => Some("after"),
        _ => None,
    }
}

/// A column in quotes, as a statement has it.
pub(crate) fn quoted(column: &str) -> String {
    format!("\"{}\"", column.replace('"', "\"\""))
}
