//! Keys placed by their order: where neighbours are needed together, ranges keep them together.
//!
//! A hash takes neighbours apart, so where statements ask for a stretch of keys, no hashed key is any good and ranges are.
//! Their bounds are such that each has the same load. Where keys grow with time that would be the load of yesterday: all
//! that is new would be in the last range. So ranges are for keys whose load is spread in every part of the time.

use std::collections::BTreeMap;

use crate::assignment::Ranges;
use crate::domain::{DomainId, Domains};
use crate::measure::share;
use crate::schema::Schema;
use crate::trace::Trace;
use crate::value::{Value, ValueId, place_hash};

/// So many keys a range has to have at least, in the mean: of fewer, each can be placed by itself.
const KEYS_MIN: usize = 4;

/// So many of the transactions that a hash takes apart have to stay together…
const KEPT_MIN: f64 = 0.5;

/// …and a hash has to take apart this share of all, or nobody needs neighbours.
const APART_MIN: f64 = 0.05;

/// The load of the busiest range by the mean, in the mean of the tenths of the time.
const SKEW_MAX: f64 = 2.0;

/// The time is looked at in so many parts.
const WINDOWS: usize = 10;

/// What was seen of a domain's keys.
#[derive(Default)]
struct Seen {
    /// How often each key was handled, by part of the time.
    load: BTreeMap<i64, [u64; WINDOWS]>,
    /// The keys of each transaction that needs several.
    together: Vec<Vec<(i64, ValueId)>>,
    /// Whether it has anything but whole numbers: these have no order that means anything.
    other: bool,
}

/// The domains whose keys keep together by their order what a hash takes apart, with the ranges.
pub fn ranges(schema: &Schema, trace: &Trace, domains: &Domains, partitions: u32) -> Vec<(DomainId, Ranges)> {
    let all = trace.transactions.len();
    let seen = seen(schema, trace, domains);
    let found = seen.into_iter().enumerate().filter_map(|(domain, seen)| {
        let bounds = bounds(&seen, partitions)?;
        let ranges = Ranges::new(&trace.values, bounds.iter().copied().map(Value::Int).collect());
        let hashed = |value: ValueId| place_hash(&trace.values.get(value).text()) % u64::from(partitions);
        let (mut by_hash, mut by_order) = (0_u64, 0_u64);
        for keys in &seen.together {
            by_hash += u64::from(keys.iter().any(|(_, id)| hashed(*id) != hashed(keys[0].1)));
            by_order += u64::from(keys.iter().any(|(_, id)| ranges.part(*id) != ranges.part(keys[0].1)));
        }
        let is_needed = share(by_hash, all as u64) >= APART_MIN;
        let is_kept = by_order as f64 <= (1.0 - KEPT_MIN) * by_hash as f64;
        (is_needed && is_kept).then_some((DomainId(domain), ranges))
    });
    found.collect()
}

/// What was seen of the keys of each domain.
fn seen(schema: &Schema, trace: &Trace, domains: &Domains) -> Vec<Seen> {
    let all = trace.transactions.len();
    let mut seen: Vec<Seen> = (0..domains.count).map(|_| Seen::default()).collect();
    for (number, transaction) in trace.transactions.iter().enumerate() {
        let window = number * WINDOWS / all;
        let mut together: BTreeMap<usize, Vec<(i64, ValueId)>> = BTreeMap::new();
        for access in trace.accesses_of(transaction) {
            let width = schema.table(access.table).keys.len();
            for row in trace.rows_of(access, width).into_iter().flatten() {
                for (key, value) in row.iter().enumerate() {
                    let domain = domains.of(access.table, key).0;
                    match trace.values.get(*value) {
                        Value::Int(number) => {
                            seen[domain].load.entry(*number).or_default()[window] += 1;
                            together.entry(domain).or_default().push((*number, *value));
                        }
                        Value::Null => {}
                        Value::Text(_) => seen[domain].other = true,
                    }
                }
            }
        }
        for (domain, mut keys) in together {
            keys.sort_unstable();
            keys.dedup();
            if keys.len() > 1 {
                seen[domain].together.push(keys);
            }
        }
    }
    seen
}

/// The bounds of ranges of equal load; `None` if the keys are not such that ranges would do.
fn bounds(seen: &Seen, partitions: u32) -> Option<Vec<i64>> {
    if seen.other || partitions < 2 || seen.load.len() < KEYS_MIN * partitions as usize {
        return None;
    }
    let of = |load: &[u64; WINDOWS]| load.iter().sum::<u64>();
    let all: u64 = seen.load.values().map(of).sum();
    let mut bounds = Vec::new();
    let mut loads = vec![[0_u64; WINDOWS]];
    let mut before = 0;
    for (key, load) in &seen.load {
        // The next range begins where this one has its part; a key that is more than that has a range for itself.
        let full = (bounds.len() as u64 + 1) * all / u64::from(partitions);
        if before + of(load) / 2 >= full && before > 0 && bounds.len() + 1 < partitions as usize {
            bounds.push(*key);
            loads.push([0; WINDOWS]);
        }
        before += of(load);
        let last = loads.last_mut().expect("there is a range");
        last.iter_mut().zip(load).for_each(|(sum, own)| *sum += own);
    }
    let skew = |window: usize| {
        let own = loads.iter().map(|load| load[window]);
        let mean = own.clone().sum::<u64>() as f64 / f64::from(partitions);
        if mean > 0.0 { own.max().unwrap_or(0) as f64 / mean } else { 1.0 }
    };
    let mean = (0..WINDOWS).map(skew).sum::<f64>() / WINDOWS as f64;
    (mean <= SKEW_MAX).then_some(bounds)
}
