//! An ordinary table becomes the first partition of a new partitioned table of its name.
//!
//! The first partition takes all rows that are there, and all that may come until it is attached: of a range everything
//! up to the end of the cell after the one in use. It is cut into smaller ones later, or retired as a whole when it is old.
//! Of a hash it has the modulus 1, and is cut anew right afterwards; of a list it is the default, out of which the
//! values that were named are taken right afterwards.

use serde::{Deserialize, Serialize};

use super::super::axis::Position;
use super::super::draft::build::{edge_word, method, quoted};
use super::super::draft::{Names, WAL_PER_RELATION, name, tables};
use super::super::facts::{Bound, Edge, Facts, OrdinaryTable, TableKind, TableName};
use super::super::grid::Grid;
use super::super::health::{Finding, codes};
use super::super::infer;
use super::super::name::Pattern;
use super::super::plan::{NewLevel, NewPart, Unit, Work};
use super::super::policy::{Cut, LevelPolicy, Overflow};
use super::refuse;
use crate::spec::DurationText;

/// Partitions of numbers that are kept ready where nothing says how many.
const AHEAD_NUMBERS: usize = 4;
/// For how long partitions of times are kept ready where nothing says how long, in microseconds: 30 days.
const AHEAD: i64 = 30 * 86_400_000_000;
/// New partitions at most.
const MOST: usize = 10_000;

/// An ordinary table, and how it is to be cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convert {
    /// The table.
    pub table: TableName,
    /// How it is to be cut.
    pub level: LevelPolicy,
    /// What the table is called as a partition. Default: its name with `_first`.
    pub first_name: Option<String>,
    /// Of a range over times: for how long partitions are made ready. Default: 30 days.
    pub ahead: Option<DurationText>,
    /// Of a range: how many partitions are made ready. Default: as long as `ahead`, of numbers 4.
    pub ahead_count: Option<u32>,
    /// Of a range: where rows go that belong to no partition.
    pub overflow: Overflow,
    /// Whether the primary key may be extended by the column to cut by, if it lacks it.
    pub extend_key: bool,
}

/// The units of a conversion.
pub(super) fn units(facts: &Facts, wanted: &Convert, names: &mut Names) -> Result<Vec<Unit>, Finding> {
    if let Some(units) = go_on(facts, wanted, names)? {
        return Ok(units);
    }
    let table = ordinary(facts, &wanted.table)?;
    let columns = columns(table, wanted)?;
    keys(table, wanted, &columns)?;
    let again = wanted.level.by == Cut::Hash && wanted.level.modulus.is_some_and(|modulus| modulus > 1)
        || wanted.level.by == Cut::List && !wanted.level.values.is_empty();
    if let Some(key) = table.referenced_by.first().filter(|_| again) {
        let what = format!(
            "foreign key {} of {} refers to {}: it can be converted, but not be cut into several partitions then",
            key.name, key.table, table.table
        );
        let remedy = "Drop that foreign key, run again, and add it again NOT VALID, then VALIDATE it.";
        return Err(refuse(&table.table, what, remedy));
    }
    let job = Job { facts, table, wanted, columns };
    let (first, others) = match wanted.level.by {
        Cut::Range => job.ranges(names)?,
        Cut::Hash => (Bound::Hash { modulus: 1, remainder: 0 }, Vec::new()),
        Cut::List => (Bound::Default, Vec::new()),
    };
    let first_name = job.first_name(names)?;
    let level = NewLevel {
        method: method(wanted.level.by),
        keys: job.columns.iter().map(|column| quoted(column)).collect(),
        parts: Vec::new(),
    };
    let part = table.table.beside(first_name.clone());
    let convert = job.unit(Work::Convert {
        table: table.table.clone(),
        levels: vec![level],
        first_name,
        first: first.clone(),
        others,
    });
    let then = job.then(&part, &first, names)?;
    Ok([convert].into_iter().chain(then).collect())
}

/// What is left of a conversion that was broken off after the table got its new shape; `None` if there was none.
fn go_on(facts: &Facts, wanted: &Convert, names: &mut Names) -> Result<Option<Vec<Unit>>, Finding> {
    let Some(set) = facts.sets.iter().find(|set| set.table == wanted.table) else { return Ok(None) };
    let past = facts.history.iter().find_map(|past| match &past.work {
        Work::Convert { table, levels, .. } if *table == wanted.table && past.state == "done" => {
            Some((past, levels.first()?))
        }
        _ => None,
    });
    let Some((past, level)) = past else { return Ok(None) };
    let asked: Vec<String> = wanted.level.column.split(',').map(|column| quoted(column.trim())).collect();
    if level.method != method(wanted.level.by) || level.keys != asked {
        return Ok(None);
    }
    let ordinary = facts.ordinary.iter().find(|table| table.table == wanted.table);
    let unproven = ordinary
        .is_some_and(|table| table.referenced_by.iter().any(|key| key.definition.ends_with("NOT VALID")));
    if unproven {
        let unit = Unit {
            id: past.id.clone(),
            set: set.table.clone(),
            set_id: set.id,
            work: past.work.clone(),
            wal_bytes: 0,
            relations: 0,
        };
        return Ok(Some(vec![unit]));
    }
    match (wanted.level.by, wanted.level.modulus) {
        (Cut::Hash, Some(modulus)) => {
            let wanted = super::Modulus { parent: set.table.clone(), modulus, only: Vec::new() };
            super::recut::modulus(facts, &wanted, names).map(Some)
        }
        _ => Ok(Some(Vec::new())),
    }
}

/// The table, if it can be converted at all.
fn ordinary<'a>(facts: &'a Facts, name: &TableName) -> Result<&'a OrdinaryTable, Finding> {
    let Some(table) = facts.ordinary.iter().find(|table| table.table == *name) else {
        let remedy = "Name one as schema.table, exact and unquoted.";
        return Err(refuse(name, format!("there is no table {name}"), remedy));
    };
    let (what, remedy) = match &table.kind {
        TableKind::Ordinary => {
            if let Some(grant) = table.lacking.first() {
                let what = format!("this role may not work on {name}");
                return Err(Finding { code: codes::PRIVILEGE.into(), ..refuse(name, what, grant) });
            }
            return match table.hindrances.first() {
                None => Ok(table),
                Some((what, remedy)) => {
                    let what = format!("another table cannot take over the name of {name}: {what}");
                    Err(refuse(name, what, remedy.clone()))
                }
            };
        }
        TableKind::Partitioned => (
            format!("{name} is partitioned already"),
            format!(
                "Cut its partitions anew: replat rotate split PARTITION, or replat rotate modulus {name} N"
            ),
        ),
        TableKind::Child(parent) => (
            format!("{name} is a partition of {parent}, or inherits from it"),
            format!("Name {parent} instead."),
        ),
        TableKind::Inherited => (
            format!("other tables inherit from {name}"),
            "End the inheritance of its children, or attach them as partitions by hand.".into(),
        ),
        TableKind::Other(what) => {
            (format!("{name} is {what}, not a table"), "Name an ordinary table.".into())
        }
    };
    Err(refuse(name, what, remedy))
}

/// The columns to cut by.
fn columns(table: &OrdinaryTable, wanted: &Convert) -> Result<Vec<String>, Finding> {
    let name = &table.table;
    let columns: Vec<String> =
        wanted.level.column.split(',').map(|column| column.trim().to_owned()).collect();
    for column in &columns {
        let Some(found) = table.columns.get(column) else {
            let all = table.columns.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(refuse(
                name,
                format!("{name} has no column {column}"),
                format!("Name one of: {all}"),
            ));
        };
        if found.generated {
            let what =
                format!("the column {column} of {name} is computed from others, and cannot cut a table");
            return Err(refuse(name, what, "Cut by a column that is stored as it is given."));
        }
    }
    if columns.len() > 1 && wanted.level.by != Cut::Hash {
        let what =
            format!("{name}: {} columns to cut by, where only a hash can have more than one", columns.len());
        return Err(refuse(name, what, "Cut by one column; partitions can be cut further by another."));
    }
    let absent = |column: &&String| table.spans.get(*column).is_some_and(|span| span.absent);
    if let Some(column) = columns.iter().find(absent).filter(|_| wanted.level.by == Cut::Range) {
        let what = format!("{name} has rows without a value in {column}, and they belong to no range");
        let remedy = format!(
            "Give them one (UPDATE … WHERE {} IS NULL), and ALTER COLUMN {0} SET NOT NULL; or cut by another column.",
            quoted(column)
        );
        return Err(refuse(name, what, remedy));
    }
    Ok(columns)
}

/// A partitioned table keeps unique only what contains the columns it is cut by.
fn keys(table: &OrdinaryTable, wanted: &Convert, columns: &[String]) -> Result<(), Finding> {
    let name = &table.table;
    let by = columns.join(", ");
    for index in &table.unique {
        let holds =
            index.columns.as_ref().is_some_and(|own| columns.iter().all(|column| own.contains(column)));
        if holds {
            continue;
        }
        let own = index.columns.as_ref().map_or("an expression".to_owned(), |own| own.join(", "));
        let what = format!("the unique index {} on ({own}) does not contain {by}", index.name);
        if !index.primary {
            let remedy = format!(
                "Drop it, or make one that contains {by} in its place; or cut by what all unique keys contain, as \
                 hash:{}",
                index.columns.as_ref().and_then(|own| own.first()).map_or("COLUMN", String::as_str)
            );
            return Err(refuse(name, format!("{name}: {what}"), remedy));
        }
        if let Some(key) = table.referenced_by.first() {
            let what = format!(
                "{name}: its primary key ({own}) lacks {by}, and foreign key {} of {} refers to it",
                key.name, key.table
            );
            let remedy = format!("Cut by hash:{own}; or extend that foreign key by {by} first, or drop it.");
            return Err(refuse(name, what, remedy));
        }
        if !wanted.extend_key {
            let what = format!("{name}: its primary key ({own}) does not contain {by}");
            let remedy = format!(
                "Let it become ({own}, {by}): --extend-key; ({own}) alone is then no longer kept unique by the \
                 database. Or cut by hash:{own}."
            );
            return Err(refuse(name, what, remedy));
        }
    }
    Ok(())
}

struct Job<'a> {
    facts: &'a Facts,
    table: &'a OrdinaryTable,
    wanted: &'a Convert,
    columns: Vec<String>,
}

impl Job<'_> {
    fn unit(&self, work: Work) -> Unit {
        let table = self.table;
        let new: u64 = match &work {
            Work::Convert { others, .. } => others.iter().map(tables).sum(),
            Work::Recut { new, .. } => new.iter().map(tables).sum(),
            _ => 0,
        };
        let relations = new * u64::from(table.relations.max(1));
        let copied = if matches!(work, Work::Recut { .. }) { 2 * table.bytes } else { 0 };
        Unit {
            id: name(&table.table, table.id, &work),
            set: table.table.clone(),
            // The partitioned table of this name is not there yet.
            set_id: if matches!(work, Work::Convert { .. }) { table.id } else { 0 },
            wal_bytes: relations * WAL_PER_RELATION + copied,
            relations,
            work,
        }
    }

    fn first_name(&self, names: &mut Names) -> Result<String, Finding> {
        let schema = &self.table.table.schema;
        let taken = |name: &str| names.is_taken(schema, name);
        let name = match &self.wanted.first_name {
            Some(name) if taken(name) => {
                let what = format!("there is a {schema}.{name} already");
                return Err(refuse(
                    &self.table.table,
                    what,
                    "Give the first partition another name: --first NAME",
                ));
            }
            Some(name) => name.clone(),
            None => self.named(&Bound::List(vec![Some("first".into())]), None, names)?,
        };
        names.take(schema, &name);
        Ok(name)
    }

    /// A free name for a partition.
    fn named(&self, bound: &Bound, grid: Option<&Grid>, names: &Names) -> Result<String, Finding> {
        let table = &self.table.table;
        let taken = |name: &str| names.is_taken(&table.schema, name);
        let pattern = Pattern::learn(&table.name, &[], grid);
        let found = match edge_word(bound) {
            Some(word) => pattern.name(&Bound::List(vec![Some(word.into())]), None, &taken),
            None => pattern.name(bound, grid, &taken),
        };
        found.map_err(|bad| Finding {
            code: codes::NAME.into(),
            ..refuse(table, format!("{table}: {bad}"), "Rename what has the name.")
        })
    }

    fn new(&self, bound: Bound, grid: Option<&Grid>, names: &mut Names) -> Result<NewPart, Finding> {
        let name = self.named(&bound, grid, names)?;
        names.take(&self.table.table.schema, &name);
        Ok(NewPart { table: self.table.table.beside(name), bound, like: None, below: None })
    }

    /// The bounds of the first partition, and the partitions beside it.
    fn ranges(&self, names: &mut Names) -> Result<(Bound, Vec<NewPart>), Finding> {
        let table = &self.table.table;
        let unclear = |what: String, remedy: String| Finding {
            code: codes::UNCLEAR.into(),
            ..refuse(table, format!("{table}: {what}"), remedy)
        };
        let column = &self.columns[0];
        let of = &self.table.columns[column].type_name;
        let now = self.facts.vitals.now;
        let learned = infer::learn(of, Some(&self.wanted.level), &[], now)
            .map_err(|why| unclear(why.to_string(), why.remedy()))?;
        let grid = learned.grid;
        let wrong =
            |why: String| unclear(why, "Correct the interval, or how far partitions are made ready.".into());
        let span = self.table.spans.get(column).cloned().unwrap_or_default();
        let high = match &span.high {
            Some(text) => Some(grid.axis.parse(text).map_err(|bad| wrong(bad.to_string()))?),
            None => None,
        };
        let here = grid.at_moment(now);
        let anchor = here.into_iter().chain(high).max().unwrap_or(grid.origin);
        let cell = |at: Position| grid.cell(at).map_err(|bad| wrong(bad.to_string()));
        // One cell more than is in use: rows go on coming until it is attached.
        let begin = cell(cell(anchor)?.1)?.1;
        let ahead = self
            .wanted
            .ahead
            .map_or(AHEAD, |span| i64::try_from(span.as_duration().as_micros()).unwrap_or(i64::MAX));
        let count = match (self.wanted.ahead_count, grid.axis.is_time()) {
            (Some(count), _) => Some(count as usize),
            (None, true) => None,
            (None, false) => Some(AHEAD_NUMBERS),
        };
        let end = grid.at_moment(now.saturating_add(ahead)).unwrap_or(begin);
        let mut bounds = Vec::new();
        let mut at = begin;
        while count.map_or(bounds.is_empty() || at < end, |count| bounds.len() < count) {
            if bounds.len() == MOST {
                let what = format!("{table}: more than {MOST} partitions would be needed");
                let remedy = "Choose a longer interval or a nearer horizon.";
                return Err(Finding { code: codes::TOO_MANY.into(), ..refuse(table, what, remedy) });
            }
            let next = cell(at)?.1;
            bounds.push((at, next));
            at = next;
        }
        let text = |at: Position| grid.axis.text(at).map(Edge::At).map_err(|bad| wrong(bad.to_string()));
        let first = Bound::Range { from: vec![Edge::Min], to: vec![text(begin)?] };
        let mut others = Vec::new();
        for (from, to) in bounds {
            let bound = Bound::Range { from: vec![text(from)?], to: vec![text(to)?] };
            others.push(self.new(bound, Some(&grid), names)?);
        }
        match self.wanted.overflow {
            Overflow::Reject => {}
            Overflow::Edge => {
                let bound = Bound::Range { from: vec![text(at)?], to: vec![Edge::Max] };
                others.push(self.new(bound, None, names)?);
            }
            Overflow::Default => others.push(self.new(Bound::Default, None, names)?),
        }
        Ok((first, others))
    }

    /// What follows right after the conversion: the first partition keeps the table's identity, so it can be planned.
    fn then(&self, part: &TableName, first: &Bound, names: &mut Names) -> Result<Option<Unit>, Finding> {
        let level = &self.wanted.level;
        let mut new = Vec::new();
        match level.by {
            Cut::Range => return Ok(None),
            Cut::Hash => {
                let Some(modulus) = level.modulus.filter(|modulus| *modulus > 1) else { return Ok(None) };
                for remainder in 0..modulus {
                    new.push(self.new(Bound::Hash { modulus, remainder }, None, names)?);
                }
            }
            Cut::List => {
                if level.values.is_empty() {
                    return Ok(None);
                }
                for values in &level.values {
                    let bound = Bound::List(values.iter().cloned().map(Some).collect());
                    new.push(self.new(bound, None, names)?);
                }
                new.push(self.new(Bound::Default, None, names)?);
            }
        }
        // What the table has, its parts have too.
        new.iter_mut().for_each(|new| new.like = Some(part.clone()));
        let old = vec![(part.clone(), self.table.id, first.clone())];
        Ok(Some(self.unit(Work::Recut { parent: self.table.table.clone(), old, new })))
    }
}
