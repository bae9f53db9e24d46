//! What can be concluded of rows that were not seen whole.
//!
//! Three conclusions, each only where the evidence itself bears it out:
//! - a table has two columns, and one decides the other: then so it does in the table that the first refers to;
//! - a value that a transaction uses for the first time is one that it read just before, where it read one of the kind;
//! - two places of transactions have equal values wherever both are known: then also where one is not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::build::Builder;
use crate::domain::{DomainId, Domains, domains};
use crate::schema::{Schema, TableId};
use crate::trace::{Op, Trace};
use crate::value::ValueId;

/// So many cases are needed at least…
const CASES_MIN: u32 = 5;

/// …of which this share agrees.
const AGREE_MIN: f64 = 0.9;

/// A column of so many values that are nearly all values of a domain may belong to that domain.
const MANY_MIN: usize = 12;

/// So unlikely it has to be that cases agree by chance.
const CHANCE_MAX: f64 = 0.01;

/// A column decides another if this share of its values goes with one value of the other only.
const DECIDES_MIN: f64 = 0.95;

/// Chance makes columns of few values agree: so many are needed.
const DISTINCT_MIN: usize = 3;

/// Concludes what can be concluded.
pub(super) fn infer(builder: &mut Builder<'_>, schema: &Schema) {
    for _ in 0..3 {
        let trace = builder.shown();
        let domains = domains(schema, &trace);
        let known = known_values(builder, schema, &domains);
        let decided = decided(builder, schema, &domains, &known);
        builder.rows.substitute(decided);
        let read_before = read_before(builder, schema, &domains);
        builder.rows.substitute(read_before);
    }
    let trace = builder.shown();
    let domains = domains(schema, &trace);
    let agreed = agreed(builder, schema, &domains, &trace);
    builder.rows.substitute(agreed);
}

/// What rows of one table say of the rows that they refer to: an event has a project and a tenant, so the project has that
/// tenant; and so has every other event of that project.
fn decided(
    builder: &mut Builder<'_>,
    schema: &Schema,
    domains: &Domains,
    known: &[BTreeSet<ValueId>],
) -> HashMap<ValueId, ValueId> {
    let mut same = HashMap::new();
    for child in schema.ids() {
        let own = builder.rows.own(child);
        for by in 0..own {
            for parent in schema.ids().filter(|parent| *parent != child) {
                let Some(key) = (0..builder.rows.own(parent)).find(|key| {
                    builder.rows.is_name(parent, *key) && domains.of(parent, *key) == domains.of(child, by)
                }) else {
                    continue;
                };
                for column in (0..builder.rows.own(parent)).filter(|column| *column != key) {
                    for of_child in (0..own).filter(|of_child| *of_child != by) {
                        let domain = domains.of(parent, column);
                        let alike = domains.of(child, of_child) == domain
                            || is_within(builder, child, of_child, &known[domain.0]);
                        decide(builder, (child, by, of_child), (parent, key, column), alike, &mut same);
                    }
                }
            }
        }
    }
    same
}

/// The values of each domain that were seen.
fn known_values(builder: &Builder<'_>, schema: &Schema, domains: &Domains) -> Vec<BTreeSet<ValueId>> {
    let mut all = vec![BTreeSet::new(); domains.count];
    let rows = &builder.rows;
    for table in schema.ids() {
        for row in 0..rows.count(table) {
            for (key, cell) in rows.cells_of(table, row).iter().enumerate() {
                all[domains.of(table, key).0].extend(cell.filter(|value| rows.is_seen(*value)));
            }
        }
    }
    all
}

/// Whether a column has many values, and nearly none but those.
fn is_within(builder: &Builder<'_>, table: TableId, column: usize, values: &BTreeSet<ValueId>) -> bool {
    let rows = &builder.rows;
    let own: BTreeSet<ValueId> = (0..rows.count(table))
        .filter_map(|row| rows.cells_of(table, row)[column].filter(|value| rows.is_seen(*value)))
        .collect();
    let within = own.intersection(values).count();
    own.len() >= MANY_MIN && within as f64 >= AGREE_MIN * own.len() as f64
}

/// Takes the values of a child's column for those of its parent's, if they are. Of columns that are not known to be
/// `alike`, only cases that agree tell.
fn decide(
    builder: &mut Builder<'_>,
    (child, by, of_child): (TableId, usize, usize),
    (parent, key, column): (TableId, usize, usize),
    alike: bool,
    same: &mut HashMap<ValueId, ValueId>,
) {
    let rows = &builder.rows;
    let mut said: BTreeMap<ValueId, BTreeMap<ValueId, u32>> = BTreeMap::new();
    for row in 0..rows.count(child) {
        let cells = rows.cells_of(child, row);
        if let (Some(by), Some(value)) = (cells[by], cells[of_child])
            && rows.is_seen(by)
            && rows.is_seen(value)
        {
            *said.entry(by).or_default().entry(value).or_default() += 1;
        }
    }
    let distinct: BTreeSet<ValueId> = said.values().flat_map(BTreeMap::keys).copied().collect();
    let (mut both, mut agree, mut repeated, mut steady) = (0_u32, 0_u32, 0_u32, 0_u32);
    for (by, values) in &said {
        let known = rows.named_by(parent, key, *by).and_then(|row| rows.cells_of(parent, row)[column]);
        if let Some(known) = known.filter(|known| rows.is_seen(*known)) {
            both += 1;
            agree += u32::from(values.contains_key(&known));
        }
        if values.values().sum::<u32>() > 1 {
            repeated += 1;
            steady += u32::from(values.len() == 1);
        }
    }
    // How likely it is by chance that a case agrees: that two rows have the same value.
    let mut times: BTreeMap<ValueId, u32> = BTreeMap::new();
    for (value, count) in said.values().flatten() {
        *times.entry(*value).or_default() += count;
    }
    let all = f64::from(times.values().sum::<u32>().max(1));
    let chance: f64 = times.values().map(|count| (f64::from(*count) / all).powi(2)).sum();
    let steady = f64::from(steady) >= DECIDES_MIN * f64::from(repeated);
    let is_so = distinct.len() >= DISTINCT_MIN
        && if agree > 0 && chance.powf(f64::from(agree)) <= CHANCE_MAX {
            f64::from(agree) >= AGREE_MIN * f64::from(both)
        } else {
            alike && both == agree && repeated >= CASES_MIN && steady
        };
    if !is_so {
        return;
    }
    let own = builder.rows.own(parent);
    let mut decided: HashMap<ValueId, ValueId> = HashMap::new();
    for (by, values) in said {
        let (value, _) = values.into_iter().max_by_key(|(_, times)| *times).expect("a value was said");
        decided.insert(by, value);
        let mut cells = vec![None; own];
        cells[key] = Some(by);
        let row = builder.rows.row(parent, &cells);
        match builder.rows.cells_of(parent, row)[column] {
            None => {
                cells[column] = Some(value);
                builder.rows.row(parent, &cells);
            }
            Some(unknown) if !builder.rows.values.get(unknown).is_known() => {
                same.insert(unknown, value);
            }
            Some(_) => {}
        }
    }
    // And so it is in rows of the child that were not seen whole, such as those that the log shows by their key alone.
    for row in 0..builder.rows.count(child) {
        let rows = &builder.rows;
        let cells = rows.cells_of(child, row);
        let Some(by) = cells[by].filter(|by| rows.is_seen(*by)) else { continue };
        let of_parent = || {
            let known = rows.cells_of(parent, rows.named_by(parent, key, by)?)[column];
            known.filter(|known| rows.is_seen(*known))
        };
        let Some(value) = decided.get(&by).copied().or_else(of_parent) else { continue };
        match cells[of_child] {
            None => {
                let mut said = vec![None; cells.len()];
                said[of_child] = Some(value);
                builder.rows.say(child, row, &said);
            }
            Some(unknown) if !rows.values.get(unknown).is_known() => {
                same.insert(unknown, value);
            }
            Some(_) => {}
        }
    }
}

/// A value that a transaction uses for the first time is one that a row had which it read before.
fn read_before(builder: &Builder<'_>, schema: &Schema, domains: &Domains) -> HashMap<ValueId, ValueId> {
    let rows = &builder.rows;
    let mut same: HashMap<ValueId, ValueId> = HashMap::new();
    for transaction in &builder.trace.transactions {
        let mut used: BTreeSet<(DomainId, ValueId)> = BTreeSet::new();
        // Unknown values that were read, by their domain, in the order of reading.
        let mut read: BTreeMap<DomainId, Vec<(TableId, usize, usize, ValueId)>> = BTreeMap::new();
        for access in builder.trace.accesses_of(transaction) {
            let Some(range) = &access.rows else { continue };
            let touched = &builder.touched[range.start as usize..range.end as usize];
            for row in touched {
                let cells = rows.cells_of(access.table, *row);
                for (key, cell) in cells.iter().enumerate() {
                    let Some(value) = cell.filter(|value| rows.is_seen(*value)) else { continue };
                    let domain = domains.of(access.table, key);
                    if !used.insert((domain, value)) {
                        continue;
                    }
                    let Some(candidates) = read.get_mut(&domain) else { continue };
                    let fits = |(table, column, row, unknown): &(TableId, usize, usize, ValueId)| {
                        !same.contains_key(unknown)
                            && rows
                                .named_by(*table, *column, value)
                                .is_none_or(|known| rows.could_be_one(*table, known, *row, *column))
                    };
                    let places: BTreeSet<(TableId, usize)> = candidates.iter().map(|c| (c.0, c.1)).collect();
                    let place = candidates
                        .iter()
                        .position(|c| rows.is_name(c.0, c.1) && fits(c))
                        .or_else(|| (places.len() == 1).then(|| candidates.iter().position(fits)).flatten());
                    if let Some(place) = place {
                        let (.., unknown) = candidates.remove(place);
                        same.insert(unknown, value);
                    }
                }
            }
            if access.op != Op::Read {
                continue;
            }
            for row in touched {
                let cells = rows.cells_of(access.table, *row);
                // A cell that nobody asked for yet has no value, not even an unknown one; then it is none that matters.
                for (key, cell) in cells.iter().enumerate().take(schema.table(access.table).keys.len()) {
                    let Some(value) = cell.filter(|value| !rows.values.get(*value).is_known()) else {
                        continue;
                    };
                    read.entry(domains.of(access.table, key)).or_default().push((
                        access.table,
                        key,
                        *row,
                        value,
                    ));
                }
            }
        }
    }
    same
}

/// Values of places that agree wherever both are known.
fn agreed(
    builder: &Builder<'_>,
    schema: &Schema,
    domains: &Domains,
    trace: &Trace,
) -> HashMap<ValueId, ValueId> {
    type Place = (u32, u32, usize);
    let is_known: Vec<bool> = trace.values.ids().map(|id| trace.values.get(id).is_known()).collect();
    // Of each transaction, the one value at each place that has one.
    let of_all: Vec<BTreeMap<Place, ValueId>> = builder
        .trace
        .transactions
        .iter()
        .map(|transaction| {
            let mut at: BTreeMap<Place, Option<ValueId>> = BTreeMap::new();
            for access in trace.accesses_of(transaction) {
                let width = schema.table(access.table).keys.len();
                for row in trace.rows_of(access, width).into_iter().flatten() {
                    for (key, value) in row.iter().enumerate() {
                        let one = at.entry((access.template, access.touch, key)).or_insert(Some(*value));
                        *one = one.filter(|one| one == value);
                    }
                }
            }
            at.into_iter().filter_map(|(place, value)| Some((place, value?))).collect()
        })
        .collect();
    let domain = |place: &Place| {
        let touch = &trace.templates[place.0 as usize].touches[place.1 as usize];
        domains.of(touch.table, place.2)
    };
    let mut pairs: BTreeMap<(Place, Place), (u32, u32)> = BTreeMap::new();
    for places in &of_all {
        let known: Vec<(&Place, ValueId, DomainId)> = places
            .iter()
            .filter(|(_, value)| is_known[value.0 as usize])
            .map(|(place, value)| (place, *value, domain(place)))
            .collect();
        for (a, of_a, in_a) in &known {
            for (b, of_b, in_b) in &known {
                if a != b && in_a == in_b {
                    let counts = pairs.entry((**a, **b)).or_default();
                    counts.0 += 1;
                    counts.1 += u32::from(of_a == of_b);
                }
            }
        }
    }
    let mut same = HashMap::new();
    for places in &of_all {
        for (place, unknown) in places.iter().filter(|(_, value)| !is_known[value.0 as usize]) {
            let best = places
                .iter()
                .filter(|(_, value)| is_known[value.0 as usize])
                .filter_map(|(other, value)| {
                    let (both, equal) = *pairs.get(&(*place, *other))?;
                    let share = f64::from(equal) / f64::from(both.max(1));
                    (both >= CASES_MIN && share >= AGREE_MIN).then_some((share, *value))
                })
                .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            if let Some((_, value)) = best {
                same.entry(*unknown).or_insert(value);
            }
        }
    }
    same
}
