//! What was broken off, and what was retired.

use std::collections::BTreeMap;

use super::super::facts::{Facts, Level, LooseState, LooseTable, TableName};
use super::super::health::{Severity, codes};
use super::super::plan::Work;
use super::super::policy::RetireHow;
use super::set::SetDraft;

impl SetDraft<'_> {
    /// Ends detaches that were broken off, and removes what broken-off units left.
    pub(super) fn repair(&mut self, facts: &Facts) {
        let mut staged: BTreeMap<&str, Vec<TableName>> = BTreeMap::new();
        for loose in self.own(facts).filter(|loose| loose.state == LooseState::Staged) {
            staged.entry(&loose.unit).or_default().push(loose.table.clone());
        }
        for (unit, tables) in staged {
            self.works.push(Work::Reap { unit: unit.into(), tables });
        }
        self.finalize(&self.set.table, &self.set.level);
    }

    fn finalize(&mut self, parent: &TableName, level: &Level) {
        for part in &level.parts {
            if part.detach_pending {
                self.works.push(Work::Finalize {
                    parent: parent.clone(),
                    part: part.table.clone(),
                    bound: part.bound.clone(),
                });
            } else if let Some(below) = &part.below {
                self.finalize(&part.table, below);
            }
        }
    }

    /// Archives what is to be archived, and drops what was kept long enough.
    pub(super) fn loose(&mut self, facts: &Facts) {
        let retire = self.policy.retire.as_ref();
        let folder =
            retire.filter(|retire| retire.how != RetireHow::Detach).and_then(|retire| retire.archive.clone());
        let mut later = Vec::new();
        for loose in self.own(facts).filter(|loose| loose.state != LooseState::Staged) {
            let detached = loose.state == LooseState::Detached;
            if let (true, None, Some(folder)) = (detached, &loose.archive, &folder) {
                self.works.push(Work::Archive {
                    table: loose.table.clone(),
                    table_id: loose.id,
                    folder: folder.clone(),
                });
                // Dropped by the next run, which sees that it was archived.
                continue;
            }
            if loose.drop_after.is_none_or(|after| after > self.now) {
                continue;
            }
            if loose.legal_hold {
                later.push(loose.table.to_string());
                continue;
            }
            let because = match loose.state {
                LooseState::Replaced => "what replaced it has proved itself".to_owned(),
                _ => format!(
                    "it was retired {} days ago, and kept as long as asked",
                    days(self.now, loose.since)
                ),
            };
            self.works.push(Work::Drop { table: loose.table.clone(), table_id: loose.id, because });
        }
        if !later.is_empty() {
            self.find(
                Severity::Note,
                codes::KEPT,
                format!("on legal hold, and not dropped: {}", super::some(later.into_iter())),
                "Nothing, as long as the hold is wanted.".into(),
            );
        }
    }

    fn own<'f>(&self, facts: &'f Facts) -> impl Iterator<Item = &'f LooseTable> + use<'f> {
        let set = self.set.table.clone();
        facts.loose.iter().filter(move |loose| loose.set == set)
    }
}

fn days(now: i64, since: i64) -> i64 {
    now.saturating_sub(since) / 86_400_000_000
}
