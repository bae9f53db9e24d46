//! Partitions counted, for metrics.

use std::collections::BTreeMap;

use replat_model::lifecycle::draft::{Wish, draft};
use replat_model::lifecycle::facts::{Bound, Facts, Level, LooseState, SetFacts};
use replat_model::lifecycle::health::{Finding, codes};
use replat_model::lifecycle::plan::{Kind, Work};
use replat_model::lifecycle::policy::{Lifecycle, Retire};

use super::report::Census;

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
