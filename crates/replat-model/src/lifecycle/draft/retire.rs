//! Which partitions are old, and which of these may go.

use super::super::facts::{Micros, Origin, Part, TableName};
use super::super::health::{Severity, codes};
use super::super::plan::Work;
use super::super::policy::{Retire, RetireHow};
use super::keys::Line;
use super::range::Drawn;
use super::set::{Place, SetDraft};

/// How many are retired in one run at most, where nobody said.
const RETIRE_MAX: u32 = 3;

const DAY: i64 = 86_400_000_000;

/// A partition that came before the one in use.
pub(super) struct Old<'a> {
    pub(super) parent: TableName,
    pub(super) part: &'a Part,
    pub(super) default: Option<TableName>,
    /// When its time was over; `None` if it has none.
    pub(super) ended: Option<Micros>,
    /// How far its end lies below the highest key in use; `None` if its keys are no numbers.
    pub(super) keys_ago: Option<i128>,
    /// Its place among all of the set: the least goes first.
    pub(super) order: i128,
}

/// An old partition with the reason.
pub(super) struct Due<'a> {
    pub(super) old: Old<'a>,
    pub(super) because: String,
}

impl<'a> SetDraft<'a> {
    /// The ranges that are old. Neither the one that holds now, nor any after it, is looked at.
    pub(super) fn old_ranges(&mut self, at: &Place<'a>, line: &Line<'a>, drawn: &Drawn<'a>) {
        let axis = drawn.grid.axis;
        let high = at
            .level
            .high
            .as_deref()
            .filter(|_| line.prefix.is_empty())
            .and_then(|high| axis.parse(high).ok());
        // Where rows come now. Of numbers, the highest key; without it nothing is known to be over.
        let Some(here) = drawn.grid.at_moment(self.now).or(high) else { return };
        let default = at.level.default().map(|default| default.table.clone());
        let over = drawn.spans.iter().filter(|span| span.to <= here);
        // The last one is in use, even if its time is over: what comes late has no other.
        let newest = drawn.spans.last().map(|span| span.part.id);
        let all = over
            .filter(|span| Some(span.part.id) != newest)
            .map(|span| Old {
                parent: at.parent.clone(),
                part: span.part,
                default: default.clone(),
                ended: drawn.grid.moment(span.to),
                keys_ago: (!axis.is_time()).then(|| here.0 - span.to.0),
                order: span.to.0,
            })
            .collect();
        self.judge_with(all, drawn.spans.iter().map(|span| span.part).collect(), true);
    }

    /// Those of `row`, oldest first, that are old by the policy. `ordered` if their order is that of their age.
    pub(super) fn judge(&mut self, row: Vec<Old<'a>>, ordered: bool) {
        let all = row.iter().map(|old| old.part).collect();
        self.judge_with(row, all, ordered);
    }

    /// `all` are all partitions of the row, the newest last: sizes are counted from there.
    fn judge_with(&mut self, row: Vec<Old<'a>>, all: Vec<&'a Part>, ordered: bool) {
        let Some(retire) = &self.policy.retire else { return };
        let by_size = if ordered { self.too_much(retire, &all) } else { 0 };
        for (place, old) in row.into_iter().enumerate() {
            let size = (place < by_size).then(|| "the newest ones alone fill what may be kept".to_owned());
            if let Some(because) = reason(retire, &old, self.now).or(size) {
                self.old.push(Due { old, because });
            }
        }
    }

    /// How many of the oldest are too much by `keep_bytes` or `keep_rows`. What has no size keeps all older ones.
    fn too_much(&mut self, retire: &Retire, all: &[&Part]) -> usize {
        let counts: [(Option<u64>, fn(&Part) -> Option<u64>, &str); 2] = [
            (retire.keep_bytes.map(|size| size.bytes()), |part| part.bytes, "keep_bytes"),
            (retire.keep_rows, |part| part.rows, "keep_rows"),
        ];
        let mut most = 0;
        for (limit, count, word) in counts {
            let Some(limit) = limit else { continue };
            let mut sum = 0_u64;
            for (place, part) in all.iter().enumerate().rev() {
                let Some(own) = count(part) else {
                    self.find(
                        Severity::Warning,
                        codes::KEPT,
                        format!("{}: its size is not known, so {word} retires nothing", part.table),
                        "Run ANALYZE on the table.".into(),
                    );
                    break;
                };
                sum = sum.saturating_add(own);
                if sum > limit {
                    most = most.max(place + 1);
                    break;
                }
            }
        }
        most
    }

    /// Units for those that are old and may go, the oldest first.
    pub(super) fn retire(&mut self) {
        let Some(retire) = self.policy.retire.clone() else { return };
        let mut due = std::mem::take(&mut self.old);
        due.sort_by(|one, other| {
            (one.old.order, &one.old.part.table).cmp(&(other.old.order, &other.old.part.table))
        });
        let most = retire.max_per_run.unwrap_or(RETIRE_MAX) as usize;
        if retire.how == RetireHow::Archive && retire.archive.is_none() && !due.is_empty() {
            self.find(
                Severity::Error,
                codes::CONTRADICTED,
                "partitions are to be archived, and no folder is named".into(),
                "Name one: `retire.archive`.".into(),
            );
            return;
        }
        let mut done = 0;
        let mut foreign = Vec::new();
        let mut later = 0;
        for Due { old, because } in due {
            if old.part.origin == Origin::Foreign && self.policy.adopt != Some(true) {
                foreign.push(old.part);
                continue;
            }
            // Whatever comes after those of this run is the next one's to look at.
            if done == most {
                later += 1;
                continue;
            }
            if let Some(why) = self.kept(&retire, old.part) {
                self.find(
                    why.0,
                    codes::KEPT,
                    format!("{} is old ({because}) and stays: {}", old.part.table, why.1),
                    why.2.into(),
                );
                continue;
            }
            done += 1;
            let drops = retire.drop_after.filter(|_| retire.how != RetireHow::Detach);
            self.works.push(Work::Retire {
                parent: old.parent,
                part: old.part.table.clone(),
                part_id: old.part.id,
                bound: old.part.bound.clone(),
                default: old.default,
                archive: retire.archive.clone().filter(|_| retire.how != RetireHow::Detach),
                drop_after: drops.map(|after| {
                    self.now
                        .saturating_add(i64::try_from(after.as_duration().as_micros()).unwrap_or(i64::MAX))
                }),
                because,
            });
        }
        if !foreign.is_empty() {
            self.find(
                Severity::Note,
                codes::KEPT,
                format!(
                    "{} old partitions were not made by replat and stay: {}",
                    foreign.len(),
                    super::some(foreign.iter().map(|part| part.table.to_string()))
                ),
                "Take them over with `adopt`, if they are to be retired.".into(),
            );
        }
        if later > 0 {
            self.find(
                Severity::Note,
                codes::OVERDUE,
                format!("{later} more old partitions are left for later runs"),
                "Nothing; or raise `retire.max_per_run`.".into(),
            );
        }
    }

    /// What forbids that an old partition goes: how bad that is, why, and what to do.
    fn kept(&self, retire: &Retire, part: &Part) -> Option<(Severity, &'static str, &'static str)> {
        if part.detach_pending {
            return Some((Severity::Note, "its detach is being finished", "Nothing: the next run goes on."));
        }
        if part.legal_hold {
            return Some((Severity::Note, "it is on legal hold", "Nothing, as long as the hold is wanted."));
        }
        if !retire.legal_hold.is_empty() {
            match part.held_by_rows {
                Some(false) => {}
                Some(true) => {
                    return Some((
                        Severity::Note,
                        "a row of it is on legal hold by a condition of the policy",
                        "Nothing, as long as the hold is wanted.",
                    ));
                }
                None => {
                    return Some((
                        Severity::Warning,
                        "it could not be looked at for rows on legal hold",
                        "Correct the conditions in `retire.legal_hold` if they cannot be asked; if they took too long, \
                         the next run asks again.",
                    ));
                }
            }
        }
        if !self.set.referenced_by.is_empty() && part.referenced != Some(false) {
            let known = part.referenced.is_some();
            return Some((
                Severity::Warning,
                if known {
                    "rows of another table refer to rows of it"
                } else {
                    "it is not known whether rows of another table refer to it"
                },
                "Delete or move the rows that refer to it, or retire their partition first.",
            ));
        }
        None
    }
}

/// Why a partition is old, if it is by its own age or rows.
fn reason(retire: &Retire, old: &Old<'_>, now: Micros) -> Option<String> {
    if let (Some(keep), Some(ended)) = (retire.keep, old.ended) {
        let age = i128::from(now) - i128::from(ended);
        if age >= keep.as_duration().as_micros() as i128 {
            let days = age / i128::from(DAY);
            return Some(format!("its upper bound is {days} days ago, {keep} are kept"));
        }
    }
    if let (Some(keep), Some(ago)) = (retire.keep_keys, old.keys_ago)
        && ago >= i128::from(keep)
    {
        return Some(format!("its upper bound is {ago} keys below the highest, {keep} are kept"));
    }
    (retire.when.is_some() && old.part.when_true == Some(true))
        .then(|| "the condition is true of all its rows".into())
}
