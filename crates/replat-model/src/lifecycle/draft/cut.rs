//! Levels of lists and hashes.

use super::super::facts::{Bound, Micros, Part};
use super::super::health::{Finding, Severity, codes};
use super::super::policy::{Grow, GrowOn};
use super::build::New;
use super::overflow::{CatchAll, known_empty};
use super::range::name;
use super::retire::Old;
use super::set::{Place, SetDraft};

/// New values that get partitions in one run at most: a column of free text must not become a flood of tables.
const APPEARANCES_MAX: usize = 100;

/// The remainders that no partition takes, of the largest modulus that there is.
///
/// A modulus divides every larger one of the same table, so the largest tells all of them apart.
pub(crate) fn missing_remainders(bounds: &[Bound]) -> Vec<Bound> {
    let there = || {
        bounds.iter().filter_map(|bound| match bound {
            Bound::Hash { modulus, remainder } => Some((*modulus, *remainder)),
            _ => None,
        })
    };
    let Some(largest) = there().map(|(modulus, _)| modulus).max() else { return Vec::new() };
    let mut taken = vec![false; largest as usize];
    for (modulus, remainder) in there().filter(|(modulus, _)| *modulus > 0) {
        taken.iter_mut().skip(remainder as usize).step_by(modulus as usize).for_each(|taken| *taken = true);
    }
    let free = (0..largest).filter(|remainder| !taken[*remainder as usize]);
    free.map(|remainder| Bound::Hash { modulus: largest, remainder }).collect()
}

impl<'a> SetDraft<'a> {
    /// A level of hashes: every remainder has a partition.
    pub(super) fn hash(&mut self, at: &Place<'a>) -> Result<(), Finding> {
        let keys: Vec<&str> = at.level.keys.iter().map(name).collect();
        let bounds: Vec<Bound> = at
            .level
            .parts
            .iter()
            .filter(|part| !part.detach_pending)
            .map(|part| part.bound.clone())
            .collect();
        let largest = bounds.iter().filter_map(modulus).max();
        let asked = self.hint(at.depth, Some(at.level.method)).and_then(|hint| hint.modulus);
        let missing = match (largest, asked) {
            (None, None) => {
                return Err(self.unclear(
                    self.about(at.parent, "it has no partition, and nothing says how many it is to have"),
                    "Say the modulus in `levels` of the policy.",
                ));
            }
            (None, Some(modulus)) => {
                (0..modulus).map(|remainder| Bound::Hash { modulus, remainder }).collect()
            }
            (Some(largest), asked) => {
                if let Some(asked) = asked.filter(|asked| *asked != largest) {
                    self.find(
                        Severity::Warning,
                        codes::CONTRADICTED,
                        self.about(at.parent, &format!("its modulus is {largest}; the policy says {asked}")),
                        "Ask for the other modulus explicitly: rows have to be moved for it.".into(),
                    );
                }
                missing_remainders(&bounds)
            }
        };
        let of = largest.or(asked).unwrap_or(0);
        self.understand(at.depth, format!("hash of {}, {of} remainders", keys.join(", ")));
        let news = missing.into_iter().map(|bound| New::plain(bound, false)).collect();
        self.make(at, None, news, CatchAll::Stay)?;
        at.level.parts.iter().for_each(|part| self.descend(at, part));
        Ok(())
    }

    /// A level of lists: the values that must be there, those that appeared, and the next of a sliding list.
    pub(super) fn list(&mut self, at: &Place<'a>) -> Result<(), Finding> {
        let hint = self.hint(at.depth, Some(at.level.method));
        let keys: Vec<&str> = at.level.keys.iter().map(name).collect();
        let parts: Vec<&'a Part> = at.level.parts.iter().filter(|part| !part.detach_pending).collect();
        let mut news: Vec<Vec<String>> = Vec::new();
        let taken = |news: &[Vec<String>], value: &str| {
            parts.iter().any(|part| holds(&part.bound, value))
                || news.iter().flatten().any(|new| new == value)
        };
        for values in hint.map_or(&[][..], |hint| &hint.values) {
            let free: Vec<String> = values.iter().filter(|value| !taken(&news, value)).cloned().collect();
            if free.len() == values.len() {
                news.push(free);
            } else if !free.is_empty() {
                self.find(
                    Severity::Warning,
                    codes::CONTRADICTED,
                    self.about(
                        at.parent,
                        &format!(
                            "the policy wants {} in one partition, and some of these values have another",
                            values.join(", ")
                        ),
                    ),
                    format!(
                        "Correct `values` in the policy, or detach what has them; without a partition: {}.",
                        free.join(", ")
                    ),
                );
            }
        }
        let grow = hint.and_then(|hint| hint.grow);
        match grow.map(|grow| grow.on) {
            Some(GrowOn::Appearance) => {
                let seen: Vec<String> =
                    self.appeared(at).into_iter().filter(|value| !taken(&news, value)).collect();
                if seen.len() > APPEARANCES_MAX {
                    self.find(
                        Severity::Warning,
                        codes::TOO_MANY,
                        self.about(
                            at.parent,
                            &format!(
                                "{} values have no partition; {APPEARANCES_MAX} get one in this run",
                                seen.len()
                            ),
                        ),
                        "If the column is free text, do not let the list grow by appearance.".into(),
                    );
                }
                news.extend(seen.into_iter().take(APPEARANCES_MAX).map(|value| vec![value]));
            }
            Some(GrowOn::Sliding) => news.extend(self.next_value(at, &parts, grow)?.map(|value| vec![value])),
            None => {}
        }
        let growing = match grow.map(|grow| grow.on) {
            Some(GrowOn::Appearance) => ", one for each value that appears",
            Some(GrowOn::Sliding) => ", sliding",
            None => "",
        };
        let ordinary = parts.iter().filter(|part| part.bound != Bound::Default).count();
        self.understand(at.depth, format!("list of {}, {ordinary} partitions{growing}", keys.join(", ")));
        let strays = at
            .level
            .default()
            .filter(|default| !known_empty(default))
            .and_then(|default| default.strays.as_ref());
        let lies_in_default = |values: &[String]| {
            strays.is_some_and(|strays| {
                strays.rows > 0
                    && (strays.more || strays.values.iter().any(|(value, _)| values.contains(value)))
            })
        };
        let news = news
            .into_iter()
            .map(|values| {
                let stray = lies_in_default(&values);
                New::plain(Bound::List(values.into_iter().map(Some).collect()), stray)
            })
            .collect();
        self.make(at, None, news, CatchAll::Stay)?;
        if at.outer.is_empty() {
            self.old_lists(at, &parts, grow);
        }
        parts.iter().for_each(|part| self.descend(at, part));
        Ok(())
    }

    /// Values in the default partition, those with the most rows first.
    fn appeared(&mut self, at: &Place<'_>) -> Vec<String> {
        let Some(default) = at.level.default() else {
            self.find(
                Severity::Warning,
                codes::CONTRADICTED,
                self.about(at.parent, "it has no default partition, so no new value can appear"),
                "Give it one, or name the values in the policy.".into(),
            );
            return Vec::new();
        };
        let mut seen = default.strays.as_ref().map_or(Vec::new(), |strays| strays.values.clone());
        seen.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        seen.into_iter().map(|(value, _)| value).collect()
    }

    /// The next whole number of a sliding list, if the newest partition is full or old.
    fn next_value(
        &mut self,
        at: &Place<'_>,
        parts: &[&Part],
        grow: Option<Grow>,
    ) -> Result<Option<String>, Finding> {
        let Some(grow) = grow else { return Ok(None) };
        let newest = parts
            .iter()
            .filter_map(|part| Some((number(&part.bound)?, *part)))
            .max_by_key(|(value, _)| *value);
        let Some((value, newest)) = newest else {
            if parts.iter().any(|part| matches!(part.bound, Bound::List(_))) {
                return Err(self.unclear(
                    self.about(
                        at.parent,
                        "its partitions are not of one whole number each, so none comes next",
                    ),
                    "Do not let this list slide.",
                ));
            }
            return Ok(Some("1".into()));
        };
        let full = grow.rows.is_some_and(|rows| newest.rows.is_some_and(|there| there >= rows));
        let old = grow.age.is_some_and(|age| {
            newest.since.is_some_and(|since| {
                i128::from(self.now) - i128::from(since) >= age.as_duration().as_micros() as i128
            })
        });
        if !full && !old {
            return Ok(None);
        }
        let Some(next) = value.checked_add(1) else { return Ok(None) };
        Ok(Some(next.to_string()))
    }

    /// Partitions of a list that are old: of a sliding list by their order, of others only by the condition.
    fn old_lists(&mut self, at: &Place<'a>, parts: &[&'a Part], grow: Option<Grow>) {
        let default = at.level.default().map(|default| default.table.clone());
        let olds = |parts: Vec<&'a Part>, ends: Vec<Option<Micros>>| -> Vec<Old<'a>> {
            let old = |(order, (part, ended))| Old {
                parent: at.parent.clone(),
                part,
                default: default.clone(),
                ended,
                keys_ago: None,
                order: order as i128,
            };
            parts.into_iter().zip(ends).enumerate().map(old).collect()
        };
        if grow.is_some_and(|grow| grow.on == GrowOn::Sliding) {
            let mut row: Vec<(i128, &'a Part)> =
                parts.iter().filter_map(|part| Some((number(&part.bound)?, *part))).collect();
            row.sort_by_key(|(value, _)| *value);
            // A partition is over when the next one began.
            let ends: Vec<Option<Micros>> = row.iter().skip(1).map(|(_, next)| next.since).collect();
            row.pop();
            let all = olds(row.into_iter().map(|(_, part)| part).collect(), ends);
            self.judge(all, true);
        } else {
            let ordinary: Vec<&'a Part> =
                parts.iter().copied().filter(|part| part.bound != Bound::Default).collect();
            let ends = vec![None; ordinary.len()];
            let all = olds(ordinary, ends);
            self.judge(all, false);
        }
    }
}

fn modulus(bound: &Bound) -> Option<u32> {
    match bound {
        Bound::Hash { modulus, .. } => Some(*modulus),
        _ => None,
    }
}

fn holds(bound: &Bound, value: &str) -> bool {
    matches!(bound, Bound::List(values) if values.iter().any(|held| held.as_deref() == Some(value)))
}

/// The only value of a list, if it is a whole number.
fn number(bound: &Bound) -> Option<i128> {
    match bound {
        Bound::List(values) => match values.as_slice() {
            [Some(value)] => value.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}
