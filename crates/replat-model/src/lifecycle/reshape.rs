//! What is asked for explicitly: conversions, splits, merges, other moduli, indexes completed, and the way back.
//!
//! | asked for | where |
//! |---|---|
//! | an ordinary table cut into partitions | [`convert`] |
//! | partitions cut anew | [`recut`] |
//! | what was done taken back | [`undo`] |
//!
//! A change of many partitions is many units, each of which can be the last for today: a hash from 4 to 8 is one unit
//! for each of the four, and in between the table has partitions of both moduli. A unit that was broken off is found in
//! the records and goes on as it was begun, even if the same words would mean something else by now.

pub mod convert;
pub mod recut;
pub mod undo;

use serde::{Deserialize, Serialize};

use super::draft::{Names, name};
use super::facts::{Facts, IndexFacts, Level, Part, PastUnit, SetFacts, TableName};
use super::health::{Finding, Severity, codes};
use super::plan::{Kind, Unit, Work};

pub use convert::Convert;
pub use recut::{Merge, Modulus, Split};

/// An explicit request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// An ordinary table becomes the first partition of a new partitioned table of its name.
    Convert(Convert),
    /// A partitioned table becomes ordinary again.
    Unconvert {
        /// The table.
        table: TableName,
    },
    /// A partition is cut into several.
    Split(Split),
    /// Neighbouring partitions become one.
    Merge(Merge),
    /// A hash gets another modulus.
    Modulus(Modulus),
    /// Partitions get what they lack of the set's indexes.
    Align {
        /// The set.
        table: TableName,
        /// Only this index; `None` for all.
        index: Option<String>,
    },
    /// What a unit did is taken back.
    Undo {
        /// The unit's name, or a table: then the last unit that changed its shape.
        what: String,
    },
}

impl Request {
    /// The table it is about; `None` if only a unit's name is known.
    pub fn table(&self) -> Option<&TableName> {
        match self {
            Request::Convert(convert) => Some(&convert.table),
            Request::Unconvert { table } | Request::Align { table, .. } => Some(table),
            Request::Split(split) => Some(&split.table),
            Request::Merge(merge) => merge.parts.first().or(merge.parent.as_ref()),
            Request::Modulus(modulus) => Some(&modulus.parent),
            Request::Undo { .. } => None,
        }
    }
}

/// The kinds of work that requests bring.
pub const KINDS: [Kind; 4] = [Kind::Recut, Kind::Convert, Kind::Align, Kind::Repair];

/// The units of a request, in the order in which they are to be done. None if it is fulfilled already.
///
/// # Errors
///
/// Why it cannot be carried out, and what can be done about it.
pub(super) fn units(facts: &Facts, request: &Request, names: &mut Names) -> Result<Vec<Unit>, Finding> {
    let units = match request {
        Request::Convert(convert) => convert::units(facts, convert, names),
        Request::Unconvert { table } => undo::unconvert(facts, table),
        Request::Split(split) => recut::split(facts, split, names),
        Request::Merge(merge) => recut::merge(facts, merge, names),
        Request::Modulus(modulus) => recut::modulus(facts, modulus, names),
        Request::Align { table, index } => align(facts, table, index.as_deref()),
        Request::Undo { what } => undo::undo(facts, what, names),
    }?;
    Ok(units.into_iter().map(|unit| as_begun(facts, unit)).collect())
}

/// The unit as it was begun, if one that replaces the same was broken off.
fn as_begun(facts: &Facts, unit: Unit) -> Unit {
    let same = |past: &&PastUnit| match (&past.work, &unit.work) {
        (Work::Recut { parent, old, .. }, Work::Recut { parent: now, old: these, .. }) => {
            parent == now && old == these
        }
        (Work::Convert { table, .. }, Work::Convert { table: now, .. })
        | (Work::Unconvert { table, .. }, Work::Unconvert { table: now, .. }) => table == now,
        _ => false,
    };
    let begun = facts.history.iter().filter(|past| is_open(past)).find(same);
    match begun {
        // A name that means another table by now is another unit.
        Some(past) if name(&unit.set, unit.set_id, &past.work) == past.id => {
            Unit { id: past.id.clone(), work: past.work.clone(), ..unit }
        }
        _ => unit,
    }
}

/// Whether a unit was begun and is not over.
fn is_open(past: &PastUnit) -> bool {
    matches!(past.state.as_str(), "begun" | "failed")
}

fn align(facts: &Facts, table: &TableName, index: Option<&str>) -> Result<Vec<Unit>, Finding> {
    let set = set(facts, table)?;
    let asked: Vec<_> =
        set.indexes.iter().filter(|found| index.is_none_or(|name| found.name == name)).collect();
    if let (Some(name), []) = (index, asked.as_slice()) {
        let all = set.indexes.iter().map(|index| index.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(refuse(table, format!("{table} has no index {name}"), format!("Name one of: {all}")));
    }
    Ok(lacks(set, asked))
}

/// What partitions of a set lack of its indexes, a unit each.
pub(super) fn aligned(set: &SetFacts) -> Vec<Unit> {
    lacks(set, set.indexes.iter().collect())
}

fn lacks(set: &SetFacts, asked: Vec<&IndexFacts>) -> Vec<Unit> {
    let lacking = asked.into_iter().filter(|index| {
        !index.valid
            || !index.missing_on.is_empty()
            || !index.unattached_on.is_empty()
            || !index.invalid_on.is_empty()
    });
    lacking
        .map(|index| {
            let work = Work::Align {
                index: index.name.clone(),
                missing_on: index.missing_on.clone(),
                attach: index.unattached_on.clone(),
                rebuild: index.invalid_on.clone(),
            };
            super::draft::unit(set, work)
        })
        .collect()
}

/// A request about `table` that cannot be carried out.
fn refuse(table: &TableName, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Error,
        code: codes::REQUEST.into(),
        set: Some(table.clone()),
        what: what.into(),
        remedy: remedy.into(),
    }
}

/// The partitioned table of this name, on which this session may work.
fn set<'a>(facts: &'a Facts, table: &TableName) -> Result<&'a SetFacts, Finding> {
    let found = facts.sets.iter().find(|set| set.table == *table).ok_or_else(|| missing(facts, table))?;
    may(found)
}

fn may(set: &SetFacts) -> Result<&SetFacts, Finding> {
    match set.lacking.first() {
        None => Ok(set),
        Some(grant) => Err(Finding {
            code: codes::PRIVILEGE.into(),
            ..refuse(&set.table, format!("this role may not work on {}", set.table), grant)
        }),
    }
}

/// Why there is no partitioned table of this name.
fn missing(facts: &Facts, table: &TableName) -> Finding {
    let why = facts.refused.iter().find(|refused| refused.table == table.to_string());
    match why {
        Some(refused) => refuse(table, format!("{table}: {}", refused.why), refused.remedy.clone()),
        None => refuse(
            table,
            format!("there is no partitioned table {table}"),
            "Name one as schema.table, exact and unquoted; replat runway lists them.",
        ),
    }
}

/// A partition and where it is.
#[derive(Clone, Copy)]
struct Found<'a> {
    set: &'a SetFacts,
    /// The table it is a partition of.
    parent: &'a TableName,
    level: &'a Level,
    part: &'a Part,
}

/// The partition of this name.
fn part<'a>(facts: &'a Facts, table: &TableName) -> Result<Found<'a>, Finding> {
    for set in &facts.sets {
        if let Some((parent, level, part)) = find(&set.table, &set.level, table) {
            return Ok(Found { set: may(set)?, parent, level, part });
        }
    }
    Err(refuse(
        table,
        format!("there is no partition {table}"),
        "Name one as schema.table, exact and unquoted.",
    ))
}

fn find<'a>(
    parent: &'a TableName,
    level: &'a Level,
    table: &TableName,
) -> Option<(&'a TableName, &'a Level, &'a Part)> {
    level.parts.iter().find_map(|part| match part.table == *table {
        true => Some((parent, level, part)),
        false => find(&part.table, part.below.as_ref()?, table),
    })
}

/// The set and the level whose partitions are those of `parent`, at whatever depth.
fn level<'a>(facts: &'a Facts, parent: &TableName) -> Result<(&'a SetFacts, &'a Level), Finding> {
    if let Some(set) = facts.sets.iter().find(|set| set.table == *parent) {
        return Ok((may(set)?, &set.level));
    }
    for set in &facts.sets {
        if let Some(below) = set.level.find(parent).and_then(|part| part.below.as_ref()) {
            return Ok((may(set)?, below));
        }
    }
    Err(missing(facts, parent))
}
