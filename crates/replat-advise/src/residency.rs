//! Residency: rows of one region, country or class never share a partition with rows of another.
//!
//! The partitions are dealt out to the regions first, by the load of each; everything else is decided within them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::domain::{DomainId, Domains};
use crate::schema::{Schema, TableId};
use crate::search::Choice;
use crate::system::Residency;
use crate::trace::Trace;
use crate::value::{Value, ValueId, Values};

/// Which keys must be in which partitions.
#[derive(Clone, Debug)]
pub struct Zones {
    /// The domain whose keys say where a row must be.
    pub domain: DomainId,
    zones: Vec<Zone>,
    of: HashMap<ValueId, usize>,
    /// The zone of keys of which nobody knows where they must be: the one with most load.
    others: usize,
    /// Of each table, the columns that it may be placed by; `None` if it is free.
    bound: Vec<Option<Vec<Choice>>>,
}

#[derive(Clone, Debug)]
struct Zone {
    value: Value,
    parts: Range<u32>,
    keys: Vec<ValueId>,
}

/// How residency is kept, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// What says where a row must be: `table.column`.
    pub by: String,
    /// The regions.
    pub zones: Vec<KeptZone>,
    /// The tables whose rows must be in their region.
    pub tables: Vec<String>,
    /// Tables that refer to the one that says it, but whose rows the evidence does not connect to it: they need the column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconnected: Vec<String>,
    /// How many keys were seen of which the evidence does not say where they must be. They are placed with
    /// [`Kept::default_zone`]; whoever deploys this has to complete the list from the table first.
    pub unknown_keys: u64,
    /// The share of rows handled that they stand for.
    pub unknown_share: f64,
    /// The zone where keys go that nothing is known of.
    pub default_zone: String,
}

/// A region and its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptZone {
    /// Its value.
    pub value: String,
    /// Its first partition.
    pub first: u32,
    /// How many it has.
    pub partitions: u32,
    /// How many of its keys were seen.
    pub keys: u64,
}

/// Why residency cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unkept {
    /// The constraint speaks of what is not there.
    #[error("residency is said by {0}, which the schema has not got")]
    NoColumn(String),
    /// No row shows which key belongs where.
    #[error(
        "no transaction shows a value of {0}: record some that read it, or make it a key column of the evidence"
    )]
    Unseen(String),
    /// There are more regions than partitions.
    #[error("{regions} values of {column} need a partition each, and there are {partitions}")]
    TooFew {
        /// What says where a row must be.
        column: String,
        /// How many values it has.
        regions: usize,
        /// How many partitions there are.
        partitions: u32,
    },
}

impl Zones {
    /// Deals out `partitions` to the values of the column that says where rows must be.
    pub fn new(
        schema: &Schema,
        trace: &Trace,
        domains: &Domains,
        residency: &Residency,
        partitions: u32,
    ) -> Result<Zones, Unkept> {
        let name = format!("{}.{}", residency.table, residency.column);
        let table = schema.find(&residency.table).ok_or_else(|| Unkept::NoColumn(name.clone()))?;
        let seen = schema.table(table);
        let unseen = || Unkept::Unseen(name.clone());
        let own = seen.key(&residency.column).ok_or_else(unseen)?;
        // Rows are told apart by the table's primary key; where nothing else is its key, by the column itself.
        let key = seen.primary_key.iter().find_map(|column| seen.key(column)).unwrap_or(own);
        let domain = domains.of(table, key);
        let mut of: HashMap<ValueId, ValueId> = HashMap::new();
        for row in rows_of(schema, trace, table) {
            if trace.values.get(row[key]).is_known() && trace.values.get(row[own]).is_known() {
                of.insert(row[key], row[own]);
            }
        }
        let mut numbers: BTreeMap<&Value, usize> =
            of.values().map(|region| (trace.values.get(*region), 0)).collect();
        if numbers.is_empty() {
            return Err(unseen());
        }
        if numbers.len() > partitions as usize {
            return Err(Unkept::TooFew { column: name, regions: numbers.len(), partitions });
        }
        for (next, number) in numbers.values_mut().enumerate() {
            *number = next;
        }
        let of: HashMap<ValueId, usize> =
            of.into_iter().map(|(key, region)| (key, numbers[trace.values.get(region)])).collect();
        let bound: Vec<Option<Vec<Choice>>> = schema
            .ids()
            .map(|id| {
                let keys = 0..schema.table(id).keys.len();
                let by: Vec<Choice> =
                    keys.filter(|key| domains.of(id, *key) == domain).map(Choice::Key).collect();
                (!by.is_empty()).then_some(by)
            })
            .collect();
        let mut load = vec![0_u64; numbers.len()];
        let mut unknown = 0;
        for (_, value) in keyed_rows(schema, trace, &bound) {
            match of.get(&value) {
                Some(zone) => load[*zone] += 1,
                None => unknown += 1,
            }
        }
        let others = (0..load.len()).max_by_key(|zone| (load[*zone], usize::MAX - zone)).unwrap_or(0);
        load[others] += unknown;
        let mut zones: Vec<Zone> = Vec::new();
        let mut first = 0;
        for (value, parts) in numbers.into_keys().zip(dealt(&load, partitions)) {
            zones.push(Zone { value: value.clone(), parts: first..first + parts, keys: Vec::new() });
            first += parts;
        }
        let mut keys: Vec<(ValueId, usize)> = of.iter().map(|(key, zone)| (*key, *zone)).collect();
        keys.sort_by(|(a, _), (b, _)| trace.values.compare(*a, *b));
        for (key, zone) in keys {
            zones[zone].keys.push(key);
        }
        Ok(Zones { domain, zones, of, others, bound })
    }

    /// The partitions where a key may be.
    pub fn parts_of(&self, value: ValueId) -> Range<u32> {
        self.zones[self.of.get(&value).copied().unwrap_or(self.others)].parts.clone()
    }

    /// The partitions of keys of which nothing is known.
    pub fn others(&self) -> Range<u32> {
        self.zones[self.others].parts.clone()
    }

    /// The known keys of each region but that of [`Zones::others`], with its partitions.
    pub fn listed(&self, values: &Values) -> Vec<(Range<u32>, Vec<Value>)> {
        let listed = self.zones.iter().enumerate().filter(|(number, _)| *number != self.others);
        let value = |key: &ValueId| values.get(*key).clone();
        listed.map(|(_, zone)| (zone.parts.clone(), zone.keys.iter().map(value).collect())).collect()
    }

    /// How a table may be placed; `None` if it is free.
    pub fn bound(&self, table: TableId) -> Option<&[Choice]> {
        self.bound[table.0].as_deref()
    }

    /// How it is kept, for people.
    pub fn kept(&self, schema: &Schema, trace: &Trace, residency: &Residency) -> Kept {
        let (mut rows, mut unknown) = (0_u64, BTreeMap::new());
        for (_, value) in keyed_rows(schema, trace, &self.bound) {
            rows += 1;
            if !self.of.contains_key(&value) {
                *unknown.entry(value).or_insert(0_u64) += 1;
            }
        }
        let name = |id: TableId| schema.table(id).name.clone();
        let reaches = schema.find(&residency.table).map(|table| referring(schema, table)).unwrap_or_default();
        Kept {
            by: format!("{}.{}", residency.table, residency.column),
            zones: self
                .zones
                .iter()
                .map(|zone| KeptZone {
                    value: zone.value.text(),
                    first: zone.parts.start,
                    partitions: zone.parts.end - zone.parts.start,
                    keys: zone.keys.len() as u64,
                })
                .collect(),
            tables: schema.ids().filter(|id| self.bound(*id).is_some()).map(name).collect(),
            unconnected: reaches.into_iter().filter(|id| self.bound(*id).is_none()).map(name).collect(),
            unknown_keys: unknown.len() as u64,
            unknown_share: crate::measure::share(unknown.values().sum(), rows),
            default_zone: self.zones[self.others].value.text(),
        }
    }
}

/// The tables that refer to one, directly or by others.
fn referring(schema: &Schema, to: TableId) -> Vec<TableId> {
    let mut found = vec![to];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        next += 1;
        for id in schema.ids() {
            let refers = schema.table(id).references.iter().any(|reference| reference.parent == parent);
            if refers && !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found.sort();
    found
}

/// The rows of one table.
fn rows_of<'t>(schema: &'t Schema, trace: &'t Trace, table: TableId) -> impl Iterator<Item = &'t [ValueId]> {
    let width = schema.table(table).keys.len();
    let accesses = trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction));
    accesses
        .filter(move |access| access.table == table)
        .filter_map(move |access| trace.rows_of(access, width))
        .flatten()
}

/// The rows of bound tables, by the key that binds them.
fn keyed_rows<'t>(
    schema: &'t Schema,
    trace: &'t Trace,
    bound: &'t [Option<Vec<Choice>>],
) -> impl Iterator<Item = (TableId, ValueId)> {
    let accesses = trace.transactions.iter().flat_map(|transaction| trace.accesses_of(transaction));
    accesses.flat_map(move |access| {
        let key = bound[access.table.0].as_ref().and_then(|by| match by.first() {
            Some(Choice::Key(key)) => Some(*key),
            _ => None,
        });
        let rows = trace.rows_of(access, schema.table(access.table).keys.len());
        let rows = key.and_then(|key| rows.map(|rows| rows.map(move |row| (access.table, row[key]))));
        rows.into_iter().flatten()
    })
}

/// Deals out `parts` by load: everybody gets one, and each further one goes to whoever has most for each of his.
fn dealt(load: &[u64], parts: u32) -> Vec<u32> {
    let mut dealt = vec![1_u32; load.len()];
    let given = u32::try_from(load.len()).unwrap_or(u32::MAX);
    for _ in given..parts {
        let burden = |zone: usize| load[zone] as f64 / f64::from(dealt[zone]);
        let most = (0..load.len()).max_by(|a, b| burden(*a).total_cmp(&burden(*b)).then(b.cmp(a)));
        if let Some(most) = most {
            dealt[most] += 1;
        }
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_dealt_out_by_load() {
        for (load, parts, want) in [
            (vec![1, 1], 4, vec![2, 2]),
            (vec![100, 1, 1], 5, vec![3, 1, 1]),
            (vec![60, 30, 10], 10, vec![6, 3, 1]),
            (vec![0, 0], 2, vec![1, 1]),
            (vec![5], 3, vec![3]),
        ] {
            assert_eq!(dealt(&load, parts), want, "{load:?}");
        }
    }
}
