//! Partitions counted, for metrics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::draft::{Wish, draft};
use super::facts::{Bound, Facts, Level, LooseState, SetFacts};
use super::health::{Finding, codes};
use super::plan::{Kind, Work};
use super::policy::{Lifecycle, Retire};

/// How many partitions a set has, by what they are to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Attached.
    pub attached: u64,
    /// Attached, but half detached: a detach was broken off.
    pub pending: u64,
    /// Retired and kept, not archived.
    pub detached: u64,
    /// Retired, kept and archived.
    pub archived: u64,
    /// Rows in a partition for what belongs to no other; `None` where they were not looked at.
    pub overflow_rows: Option<u64>,
    /// Retirements and drops that are due and were not done.
    pub overdue: u64,
    /// Places where a partition is missing.
    pub gaps: u64,
}

/// What each set has, by its name.
pub fn census(facts: &Facts, wish: &Wish, findings: &[Finding]) -> BTreeMap<String, Census> {
    let mut all: BTreeMap<String, Census> =
        facts.sets.iter().map(|set| (set.table.to_string(), of(set, findings))).collect();
    for loose in facts.loose.iter().filter(|l| l.state == LooseState::Detached) {
        if let Some(census) = all.get_mut(&loose.set.to_string()) {
            match loose.archive {
                Some(_) => census.archived += 1,
                None => census.detached += 1,
            }
        }
    }
    for unit in draft(facts, &unbounded(wish)).units {
        if let (Work::Retire { .. } | Work::Drop { .. }, Some(census)) =
            (&unit.work, all.get_mut(&unit.set.to_string()))
        {
            census.overdue += 1;
        }
    }
    all
}

/// The same wish with no bound to what one run retires, so that what waits for later runs is seen.
fn unbounded(wish: &Wish) -> Wish {
    let retire = Retire { max_per_run: Some(u32::MAX), ..wish.overrides.retire.clone().unwrap_or_default() };
    let overrides = Lifecycle { retire: Some(retire), ..wish.overrides.clone() };
    Wish { overrides, allow: vec![Kind::Retire, Kind::Drop], requests: Vec::new(), ..wish.clone() }
}

fn of(set: &SetFacts, findings: &[Finding]) -> Census {
    let mut census = Census::default();
    count(&set.level, &mut census);
    let gaps = findings.iter().filter(|f| f.set.as_ref() == Some(&set.table));
    census.gaps = gaps.filter(|f| matches!(f.code.as_str(), codes::GAP | codes::HOLE)).count() as u64;
    census
}

fn count(level: &Level, census: &mut Census) {
    for part in &level.parts {
        census.attached += 1;
        if part.detach_pending {
            census.pending += 1;
        }
        let strays = part.strays.as_ref().map(|s| s.rows);
        if let Some(rows) = strays.or((part.bound == Bound::Default).then_some(part.rows).flatten()) {
            census.overflow_rows = Some(census.overflow_rows.unwrap_or(0).saturating_add(rows));
        }
        if let Some(below) = &part.below {
            count(below, census);
        }
    }
}
