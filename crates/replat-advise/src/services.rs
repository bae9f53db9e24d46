//! Declared services held against what transactions do: services that commit together are one, whatever they are called.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::schema::{Schema, TableId};
use crate::trace::Trace;

/// Two services are one unit if this share of the writing transactions of the lesser one writes to the other as well.
const ONE_UNIT_MIN: f64 = 0.3;

/// What was found about services that somebody declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Services {
    /// The share of transactions that touch more than one.
    pub crossing: f64,
    /// The share that writes to more than one.
    pub writes_crossing: f64,
    /// The same shares if the services are merged as advised.
    pub crossing_if_merged: f64,
    /// See [`Services::crossing_if_merged`].
    pub writes_crossing_if_merged: f64,
    /// Services that write together, the strongest tie first.
    pub ties: Vec<Tie>,
    /// Services that should be one: each group with all of its tables.
    pub merge: Vec<Merge>,
}

/// Two services that write in the same transactions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tie {
    /// Their names.
    pub services: [String; 2],
    /// The share of all transactions that write to both.
    pub share: f64,
    /// Of those that write to the lesser one, the share that writes to the other as well.
    pub of_lesser: f64,
}

/// Services that should be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// Their names.
    pub services: Vec<String>,
    /// Their tables.
    pub tables: Vec<String>,
}

/// Holds declared services against the transactions; `None` if fewer than two were declared or nothing was seen.
pub fn services(schema: &Schema, trace: &Trace, declared: &[(String, Vec<String>)]) -> Option<Services> {
    if declared.len() < 2 || trace.transactions.is_empty() {
        return None;
    }
    let of: BTreeMap<TableId, usize> = declared
        .iter()
        .enumerate()
        .flat_map(|(number, (_, tables))| {
            tables.iter().filter_map(move |name| Some((schema.find(name)?, number)))
        })
        .collect();
    let mut seen: BTreeMap<(BTreeSet<usize>, BTreeSet<usize>), u64> = BTreeMap::new();
    for transaction in &trace.transactions {
        let (mut touched, mut written) = (BTreeSet::new(), BTreeSet::new());
        for access in trace.accesses_of(transaction) {
            let Some(service) = of.get(&access.table) else { continue };
            touched.insert(*service);
            if access.op.writes() {
                written.insert(*service);
            }
        }
        *seen.entry((touched, written)).or_default() += 1;
    }
    let mut writers = vec![0_u64; declared.len()];
    let mut both: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for ((_, written), count) in &seen {
        for a in written {
            writers[*a] += count;
            written.range(a + 1..).for_each(|b| *both.entry((*a, *b)).or_default() += count);
        }
    }
    let all = trace.transactions.len() as u64;
    let share = crate::measure::share;
    let mut group: Vec<usize> = (0..declared.len()).collect();
    let mut ties = Vec::new();
    for ((a, b), count) in &both {
        let of_lesser = share(*count, writers[*a].min(writers[*b]));
        ties.push(Tie {
            services: [declared[*a].0.clone(), declared[*b].0.clone()],
            share: share(*count, all),
            of_lesser,
        });
        if of_lesser >= ONE_UNIT_MIN {
            let (from, to) = (group[*b], group[*a]);
            group.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
        }
    }
    ties.sort_by(|a, b| b.of_lesser.total_cmp(&a.of_lesser));
    let crossing = |group: &[usize]| {
        let more = |services: &BTreeSet<usize>| {
            services.iter().map(|service| group[*service]).collect::<BTreeSet<_>>().len() > 1
        };
        let sum = |only_writes: bool| -> u64 {
            let counted = seen
                .iter()
                .filter(|((touched, written), _)| more(if only_writes { written } else { touched }));
            counted.map(|(_, count)| count).sum()
        };
        (share(sum(false), all), share(sum(true), all))
    };
    let apart: Vec<usize> = (0..declared.len()).collect();
    let ((now, now_writing), (merged, merged_writing)) = (crossing(&apart), crossing(&group));
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    group.iter().enumerate().for_each(|(service, group)| members.entry(*group).or_default().push(service));
    Some(Services {
        crossing: now,
        writes_crossing: now_writing,
        crossing_if_merged: merged,
        writes_crossing_if_merged: merged_writing,
        ties,
        merge: members
            .into_values()
            .filter(|members| members.len() > 1)
            .map(|members| Merge {
                services: members.iter().map(|service| declared[*service].0.clone()).collect(),
                tables: members.iter().flat_map(|service| declared[*service].1.clone()).collect(),
            })
            .collect(),
    })
}
