//! The way back: what a unit did is taken back by another one, online as the first was.
//!
//! The records have what was replaced by what. A way back is planned from them and from what is there: only what is still
//! as the unit left it can be taken back.

use super::super::draft::build::method;
use super::super::draft::{Names, name, unit};
use super::super::facts::{Bound, Edge, Facts, Level, LooseState, Part, PastUnit, TableName};
use super::super::health::Finding;
use super::super::plan::{NewLevel, NewPart, Unit, Work};
use super::super::policy::Cut;
use super::{is_open, level, refuse, set};

/// A partitioned table becomes ordinary.
pub(super) fn unconvert(facts: &Facts, table: &TableName) -> Result<Vec<Unit>, Finding> {
    if facts.ordinary.iter().any(|ordinary| ordinary.table == *table)
        && !facts.sets.iter().any(|s| s.table == *table)
    {
        return Ok(Vec::new());
    }
    let set = set(facts, table)?;
    if set.level.parts.is_empty() {
        let what = format!("{table} has no partition, and no rows");
        return Err(refuse(table, what, "Drop it, and make an ordinary one."));
    }
    let mut made = unit(set, Work::Unconvert { table: table.clone(), was: Some(shape(&set.level)) });
    made.wal_bytes += 2 * bytes(&set.level);
    Ok(vec![made])
}

fn bytes(level: &Level) -> u64 {
    match level.parts.as_slice() {
        // The only partition takes the name, and no row moves.
        [only] if only.below.is_none() => 0,
        parts => parts.iter().filter_map(|part| part.bytes).sum(),
    }
}

/// A level as it is, as one would make it.
fn shape(level: &Level) -> NewLevel {
    let part = |part: &Part| NewPart {
        table: part.table.clone(),
        bound: part.bound.clone(),
        like: None,
        below: part.below.as_ref().map(shape),
    };
    NewLevel {
        method: level.method,
        keys: level.keys.iter().map(|key| key.text.clone()).collect(),
        parts: level.parts.iter().map(part).collect(),
    }
}

/// The units that take back what one did.
pub(super) fn undo(facts: &Facts, what: &str, names: &mut Names) -> Result<Vec<Unit>, Finding> {
    let past = which(facts, what)?;
    if is_open(past) {
        return Ok(vec![broken_off(facts, past)]);
    }
    match &past.work {
        Work::Recut { parent, old, new } => recut(facts, past, parent, old, new),
        Work::Convert { table, .. } => unconvert(facts, table),
        Work::Unconvert { table, was: Some(was) } => convert(facts, table, was, names),
        Work::Unconvert { table, was: None } => Err(refuse(
            table,
            format!("it is not recorded how {table} was cut"),
            format!("Say it: replat rotate convert {table} --by METHOD:COLUMN"),
        )),
        other => Err(refuse(
            &past.set,
            format!("{} is work of the kind {}, which is not taken back", past.id, other.kind().word()),
            "Name a conversion, a split, a merge or a change of modulus.",
        )),
    }
}

/// The unit that is meant: by its name, or the last one that changed the shape of a table.
fn which<'a>(facts: &'a Facts, what: &str) -> Result<&'a PastUnit, Finding> {
    if let Some(past) = facts.history.iter().find(|past| past.id == what) {
        return match past.state.as_str() {
            "taken-back" => Err(refuse(
                &past.set,
                format!("{what} did not reach its end, and was taken back then"),
                "Nothing: nothing of it is left.",
            )),
            _ => Ok(past),
        };
    }
    let of = |past: &&PastUnit| {
        let parts: Vec<&TableName> = match &past.work {
            Work::Recut { parent, new, .. } => new.iter().map(|part| &part.table).chain([parent]).collect(),
            _ => Vec::new(),
        };
        [&past.set].into_iter().chain(parts).any(|table| table.to_string() == what || table.name == what)
    };
    let kinds = |past: &&PastUnit| {
        matches!(past.work, Work::Recut { .. } | Work::Convert { .. } | Work::Unconvert { .. })
            && past.state != "taken-back"
    };
    facts.history.iter().filter(kinds).find(of).ok_or_else(|| Finding {
        set: None,
        ..refuse(
            &TableName::new("", what),
            format!("no unit {what} is recorded, and none that changed the shape of a table of that name"),
            "Name a unit, as u-…, or a table as schema.table.",
        )
    })
}

/// What was broken off is removed.
fn broken_off(facts: &Facts, past: &PastUnit) -> Unit {
    let staged =
        facts.loose.iter().filter(|loose| loose.state == LooseState::Staged && loose.unit == past.id);
    let tables = staged.map(|loose| loose.table.clone()).collect();
    let work = Work::Reap { unit: past.id.clone(), tables };
    let id = facts.sets.iter().find(|set| set.table == past.set).map_or(0, |set| set.id);
    Unit {
        id: name(&past.set, id, &work),
        set: past.set.clone(),
        set_id: id,
        work,
        wal_bytes: 0,
        relations: 0,
    }
}

/// The old cut again, filled from the new one.
fn recut(
    facts: &Facts,
    past: &PastUnit,
    parent: &TableName,
    old: &[(TableName, u64, Bound)],
    new: &[NewPart],
) -> Result<Vec<Unit>, Finding> {
    let (set, now) = level(facts, parent)?;
    let mut sources = Vec::new();
    let mut below = None;
    for wanted in new {
        let found = now.parts.iter().find(|part| part.table == wanted.table && part.bound == wanted.bound);
        let Some(found) = found else {
            let what =
                format!("{} is no longer as {} left it, so that cannot be taken back", wanted.table, past.id);
            let remedy = format!("Cut {parent} anew: replat rotate split or merge");
            return Err(refuse(&set.table, what, remedy));
        };
        below = below.or_else(|| found.below.as_ref().map(|level| (&found.table, level)));
        sources.push((found.table.clone(), found.id, found.bound.clone()));
    }
    if below.is_some() {
        let what =
            format!("{} is about partitions that are cut further, whose names are not recorded", past.id);
        let remedy = format!("Cut {parent} anew: replat rotate split or merge");
        return Err(refuse(&set.table, what, remedy));
    }
    let like = sources.first().map(|(table, _, _)| table.clone());
    let back = old
        .iter()
        .map(|(table, _, bound)| NewPart {
            table: table.clone(),
            bound: bound.clone(),
            like: like.clone(),
            below: None,
        })
        .collect::<Vec<_>>();
    let taken = back.iter().find(|part| {
        let gives_way = sources.iter().any(|(table, _, _)| *table == part.table);
        !gives_way
            && facts.taken.get(&part.table.schema).is_some_and(|names| names.contains(&part.table.name))
            && !facts.loose.iter().any(|l| l.state == LooseState::Staged && l.table == part.table)
    });
    if let Some(part) = taken {
        let what = format!("{}, the name of what was replaced, is taken by now", part.table);
        return Err(refuse(&set.table, what, "Rename what has that name."));
    }
    Ok(vec![unit(set, Work::Recut { parent: parent.clone(), old: sources, new: back })])
}

/// An ordinary table is cut as it was: first as a whole, then into its parts.
fn convert(
    facts: &Facts,
    table: &TableName,
    was: &NewLevel,
    names: &mut Names,
) -> Result<Vec<Unit>, Finding> {
    let Some(now) = facts.ordinary.iter().find(|ordinary| ordinary.table == *table) else {
        return Err(refuse(table, format!("there is no ordinary table {table}"), "Look what became of it."));
    };
    let first = whole(was).ok_or_else(|| {
        let what = format!("the former partitions of {table} were no unbroken row");
        refuse(table, what, format!("Say how to cut it: replat rotate convert {table} --by METHOD:COLUMN"))
    })?;
    let schema = &table.schema;
    let first_name = (1..)
        .map(|n| if n == 1 { "replat_whole".to_owned() } else { format!("replat_whole_{n}") })
        .find(|name| !names.is_taken(schema, name))
        .unwrap_or_default();
    names.take(schema, &first_name);
    let part = table.beside(first_name.clone());
    let level = NewLevel { parts: Vec::new(), ..was.clone() };
    let made = |work: Work, set_id: u64| Unit {
        id: name(table, now.id, &work),
        set: table.clone(),
        set_id,
        wal_bytes: if matches!(work, Work::Recut { .. }) { 2 * now.bytes } else { 0 },
        relations: was.parts.len() as u64 * u64::from(now.relations.max(1)),
        work,
    };
    let convert = Work::Convert {
        table: table.clone(),
        levels: vec![level],
        first_name,
        first: first.clone(),
        others: Vec::new(),
    };
    let mut units = vec![made(convert, now.id)];
    let same = matches!(was.parts.as_slice(), [only] if only.bound == first && only.below.is_none());
    if !same {
        // What was replaced still has the old names until it is dropped.
        let mut free = |table: &TableName| {
            let name = (1..)
                .map(|n| if n == 1 { table.name.clone() } else { format!("{}_{n}", table.name) })
                .find(|name| !names.is_taken(&table.schema, name))
                .unwrap_or_default();
            names.take(&table.schema, &name);
            table.beside(name)
        };
        let parts = was.parts.iter();
        let new = parts
            .map(|was| NewPart { table: free(&was.table), like: Some(part.clone()), ..was.clone() })
            .collect();
        let recut = Work::Recut { parent: table.clone(), old: vec![(part, now.id, first)], new };
        units.push(made(recut, 0));
    }
    Ok(units)
}

/// One bound for all that belonged to some partition. `None` if there is none.
fn whole(was: &NewLevel) -> Option<Bound> {
    if was.parts.iter().any(|part| part.bound == Bound::Default) || was.method == method(Cut::List) {
        return Some(Bound::Default);
    }
    if was.method == method(Cut::Hash) {
        return Some(Bound::Hash { modulus: 1, remainder: 0 });
    }
    let mut whole: Option<(Vec<Edge>, Vec<Edge>)> = None;
    for part in &was.parts {
        let Bound::Range { from, to } = &part.bound else { return None };
        whole = match whole {
            None => Some((from.clone(), to.clone())),
            Some((begin, end)) if end == *from => Some((begin, to.clone())),
            Some(_) => return None,
        };
    }
    whole.map(|(from, to)| Bound::Range { from, to })
}
