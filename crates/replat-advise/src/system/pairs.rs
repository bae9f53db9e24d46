//! Reads that probably run together: their counts are equal.
//!
//! Counters do not say which statements share a transaction. But statements of one kind of transaction that is nothing else's
//! ran exactly as often as one another, and others hardly ever do. Where such reads also name rows by keys of one domain, they
//! are taken to run together, for the same key.

use std::collections::BTreeMap;

use super::build::{Builder, Executable};
use crate::domain::{DomainId, Domains};
use crate::schema::Schema;
use crate::value::Value;

/// Fewer calls are too easily the same by chance.
const CALLS_MIN: u64 = 100;

/// Counters that were read while statements ran may differ by so much, and by this share.
const CALLS_OFF: u64 = 1;
const SHARE_OFF: f64 = 0.001;

/// Reads that run together, for keys that they share.
pub(super) struct Together<'s> {
    /// Of each statement, the domain that each of its parameters is a key of.
    pub members: Vec<(&'s Executable, Vec<Option<DomainId>>)>,
    /// How often they ran, in the mean.
    pub calls: f64,
}

/// Of reads with their calls, those that run together; and the places of those that stand for themselves. What ran as
/// often as one of the `written` is no matter of reads alone.
pub(super) fn together<'s>(
    schema: &Schema,
    domains: &Domains,
    reads: &[(&'s Executable, u64)],
    written: &[u64],
) -> (Vec<Together<'s>>, Vec<usize>) {
    let mut order: Vec<usize> = (0..reads.len()).collect();
    order.sort_by_key(|place| (reads[*place].1, *place));
    let (mut groups, mut single) = (Vec::new(), Vec::new());
    let mut rest = order.as_slice();
    while let Some(first) = rest.first() {
        let calls = reads[*first].1;
        let (alike, others) = rest.split_at(rest.partition_point(|place| equal(reads[*place].1, calls)));
        rest = others;
        if calls < CALLS_MIN || alike.len() < 2 || written.iter().any(|other| equal(*other, calls)) {
            single.extend_from_slice(alike);
            continue;
        }
        for group in of_one_domain(schema, domains, reads, alike) {
            if let [one] = group.as_slice() {
                single.push(*one);
                continue;
            }
            let calls = group.iter().map(|place| reads[*place].1 as f64).sum::<f64>() / group.len() as f64;
            let members = group.iter().map(|place| {
                let executable = reads[*place].0;
                (executable, keys_of(schema, domains, executable))
            });
            groups.push(Together { members: members.collect(), calls });
        }
    }
    single.sort_unstable();
    (groups, single)
}

fn equal(a: u64, b: u64) -> bool {
    a.abs_diff(b) as f64 <= CALLS_OFF as f64 + SHARE_OFF * a.max(b) as f64
}

/// Of each parameter, the domain of the column that it is compared with.
fn keys_of(schema: &Schema, domains: &Domains, executable: &Executable) -> Vec<Option<DomainId>> {
    let mut keys = Vec::new();
    for touch in &executable.analysis.touches {
        for (column, operand) in &touch.equal {
            let (Some(number), Some(key)) = (operand.parameter(), schema.table(touch.table).key(column))
            else {
                continue;
            };
            let place = number as usize;
            if keys.len() < place {
                keys.resize(place, None);
            }
            keys[place - 1] = Some(domains.of(touch.table, key));
        }
    }
    keys
}

/// Those of the places that are bound to each other by keys of one domain.
fn of_one_domain(
    schema: &Schema,
    domains: &Domains,
    reads: &[(&Executable, u64)],
    places: &[usize],
) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Vec<DomainId>, Vec<usize>)> = Vec::new();
    for place in places {
        let mut own: Vec<DomainId> =
            keys_of(schema, domains, reads[*place].0).into_iter().flatten().collect();
        let mut members = vec![*place];
        groups.retain(|(theirs, others)| {
            let is_bound = theirs.iter().any(|domain| own.contains(domain));
            if is_bound {
                own.extend(theirs);
                members.extend(others);
            }
            !is_bound
        });
        groups.push((own, members));
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

impl<'s> Together<'s> {
    /// The statements with parameters: of each domain, the first key of each statement is the same, and nobody knows which.
    pub(super) fn run(&self, builder: &mut Builder<'_>) -> Vec<(&'s Executable, Vec<Option<Value>>)> {
        let mut shared: BTreeMap<DomainId, Value> = BTreeMap::new();
        let mut runs = Vec::new();
        for (executable, keys) in &self.members {
            let mut taken = Vec::new();
            let mut parameters = Vec::new();
            for key in keys {
                let first = key.filter(|domain| !taken.contains(domain));
                taken.extend(first);
                parameters.push(first.map(|domain| {
                    let new = || {
                        let unknown = builder.rows.unknown();
                        builder.rows.values.get(unknown).clone()
                    };
                    shared.entry(domain).or_insert_with(new).clone()
                }));
            }
            runs.push((*executable, parameters));
        }
        runs
    }
}
