//! Tables that many contexts need along with their own, and that belong to none of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bonds, Groups, Seen, Use, merged};
use crate::measure::share;
use crate::related::Related;
use crate::schema::TableId;

/// A table is cross-cutting if no context has more than this share of its bonds…
const DEDICATED_MIN: f64 = 0.6;

/// …so many contexts, at least, have some of them…
const CUTS_MIN: usize = 3;

/// …of those that are only added to, so many…
const ADDERS_MIN: usize = 2;

/// …and some is this share…
const CUT_MIN: f64 = 0.1;

/// …and if nearly all that needs it along with other tables writes to it, as to an outbox, or nearly nothing does, as to
/// a list of countries. What some change and others look at is what the work is about, and belongs somewhere.
const ALONG_MIN: f64 = 0.9;

/// A table that was taken out goes back to the context that has so much of its bonds once contexts are merged.
const BACK_MIN: f64 = 0.9;

/// So many times tables are taken out that are cross-cutting; the last time all that still are.
const CUTS_ROUNDS: usize = 4;

/// Tables whose bonds go to many groups and belong to none. Those that everybody only adds to are found first, beside what
/// is worked on. Of others the worst ones are taken out first: what is written along with them only seems to belong to
/// many.
pub(super) fn cross_cutting(related: &Related, seen: &[Seen]) -> BTreeSet<TableId> {
    let mut found = added_by_many(related, seen);
    let along = along(seen);
    for round in 1..=CUTS_ROUNDS {
        let bonds = Bonds::of(related, seen, &found);
        let mut undedicated = undedicated(&bonds, &bonds.groups(1.0));
        undedicated.retain(|(_, id)| along.contains(id));
        if undedicated.is_empty() {
            break;
        }
        let count = if round == CUTS_ROUNDS { undedicated.len() } else { undedicated.len().div_ceil(3) };
        found.extend(undedicated.into_iter().take(count).map(|(_, id)| id));
    }
    found
}

/// Tables that are only added to, by several groups of those that more is done with. An outbox and an audit trail are bound
/// to each other more than to anything, so that groups which have them say nothing of where they belong.
fn added_by_many(related: &Related, seen: &[Seen]) -> BTreeSet<TableId> {
    let added = added_along(seen);
    let groups = merged(Bonds::of(related, seen, &added).groups(1.0), seen, &added);
    let is_of_many = |table: &TableId| {
        let along = along_with(&groups, seen, *table);
        let all: f64 = along.iter().sum();
        let most = along.iter().copied().fold(0.0, f64::max);
        let many = along.iter().filter(|along| **along >= CUT_MIN * all).count();
        most < DEDICATED_MIN * all && many >= ADDERS_MIN
    };
    added.iter().copied().filter(is_of_many).collect()
}

/// How much each of the groups is needed along with a table. Unit: transactions, shared among all that they touch.
fn along_with(groups: &Groups, seen: &[Seen], table: TableId) -> Vec<f64> {
    let mut along = vec![0.0; groups.len()];
    for kind in seen.iter().filter(|kind| kind.tables.contains_key(&table)) {
        let has = |group: &Vec<TableId>| group.iter().filter(|id| kind.tables.contains_key(id)).count();
        let touched: Vec<usize> = groups.iter().map(has).collect();
        let all: usize = touched.iter().sum();
        for (along, touched) in along.iter_mut().zip(touched).filter(|(_, touched)| *touched > 0) {
            *along += kind.count as f64 * touched as f64 / all as f64;
        }
    }
    along
}

/// Of the transactions that need a table along with others: those tables of which so many are of a kind.
fn mostly(seen: &[Seen], is_one: impl Fn(&Use) -> bool) -> BTreeSet<TableId> {
    let mut counts: BTreeMap<TableId, (u64, u64)> = BTreeMap::new();
    for kind in seen.iter().filter(|kind| kind.tables.len() > 1) {
        for (id, own) in &kind.tables {
            let counts = counts.entry(*id).or_default();
            counts.0 += if is_one(own) { kind.count } else { 0 };
            counts.1 += kind.count;
        }
    }
    let mostly = counts.into_iter().filter(|(_, (some, all))| share(*some, *all) >= ALONG_MIN);
    mostly.map(|(id, _)| id).collect()
}

/// Tables that are nearly always just added to where they are needed along with others.
pub(super) fn added_along(seen: &[Seen]) -> BTreeSet<TableId> {
    mostly(seen, |own| own.writes && !own.looks)
}

/// Tables that are nearly always written to, or nearly never, where they are needed along with others.
fn along(seen: &[Seen]) -> BTreeSet<TableId> {
    &mostly(seen, |own| own.writes) | &mostly(seen, |own| !own.writes)
}

/// Tables no group of which has most of their bonds, each with the share of the one that has most; the least first.
fn undedicated(bonds: &Bonds, groups: &Groups) -> Vec<(f64, TableId)> {
    let mut of = BTreeMap::new();
    for (number, group) in groups.iter().enumerate() {
        of.extend(group.iter().map(|id| (*id, number)));
    }
    let mut found = Vec::new();
    for (place, id) in bonds.tables.iter().enumerate() {
        let mut share = vec![0.0; groups.len()];
        for (other, bond) in bonds.weight[place].iter().enumerate() {
            share[of[&bonds.tables[other]]] += bond;
        }
        let all: f64 = share.iter().sum();
        if all <= 0.0 {
            continue;
        }
        let most = share.iter().copied().fold(0.0, f64::max) / all;
        let cuts = share.iter().filter(|s| **s >= CUT_MIN * all).count();
        if most < DEDICATED_MIN && cuts >= CUTS_MIN {
            found.push((most, *id));
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    found
}

/// Tables that are needed along with one of the groups only, now that they are merged, go there.
pub(super) fn give_back(groups: &mut Groups, seen: &[Seen], taken: &BTreeSet<TableId>) {
    let own = |table: &TableId| {
        let along = along_with(groups, seen, *table);
        let all: f64 = along.iter().sum();
        Some((along.iter().position(|along| all > 0.0 && *along >= BACK_MIN * all)?, *table))
    };
    let joining: Vec<(usize, TableId)> = taken.iter().filter_map(own).collect();
    for (group, table) in joining {
        groups[group].push(table);
        groups[group].sort();
    }
}
