//! What cannot be done to a set because other tables refer to it.
//!
//! To let go of a partition, PostgreSQL locks and reads every table that refers to it, and refuses if one of its rows
//! is referred to, deferred or not. Where rows move, the partition that they move out of is replaced, so it would be
//! let go of; and whoever reads that table would wait for all of it.

use super::super::facts::SetFacts;
use super::super::health::{Finding, Severity, codes};
use super::super::plan::{Unit, Work};
use super::{Wish, some};

/// Why rows of this set stay in the partitions that they are in, and what to do about it; `None` if they need not.
pub(crate) fn held(set: &SetFacts) -> Option<(String, &'static str)> {
    let key = set.referenced_by.first()?;
    let what = format!(
        "foreign key {} of {} refers to {}, and would refuse to let go of any partition",
        key.name, key.table, set.table
    );
    Some((what, "Drop it, run again, and add it again NOT VALID, then VALIDATE it."))
}

/// The units that can be done, and what is wrong where one cannot. One that is switched off anyway stays.
pub(super) fn possible(set: &SetFacts, wish: &Wish, units: Vec<Unit>) -> (Vec<Unit>, Vec<Finding>) {
    let Some((why, remedy)) = held(set) else { return (units, Vec::new()) };
    let stuck = |unit: &Unit| match &unit.work {
        Work::Drain { default, .. } => Some(format!("{default} keeps rows of other partitions: {why}")),
        Work::Recut { old, .. } => {
            let old = some(old.iter().map(|(table, ..)| table.to_string()));
            Some(format!("{old} cannot be cut into the partitions that are wanted: {why}"))
        }
        _ => None,
    };
    let (mut possible, mut findings) = (Vec::new(), Vec::new());
    for unit in units {
        match stuck(&unit).filter(|_| wish.allows(unit.work.kind())) {
            None => possible.push(unit),
            Some(what) => findings.push(Finding {
                severity: Severity::Error,
                code: codes::STUCK.into(),
                set: Some(set.table.clone()),
                what,
                remedy: remedy.into(),
            }),
        }
    }
    (possible, findings)
}
