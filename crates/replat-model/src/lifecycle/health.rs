//! What is wrong with what is there, or stands in the way.

pub mod codes;
mod likeness;

use serde::{Deserialize, Serialize};

use super::axis::Position;
use super::draft::{Wish, cut, rows, set::Row, some};
use super::facts::{
    Bound, Facts, IndexFacts, Level, LooseState, Method, Part, Publication, SetFacts, TableName,
};
use super::runway::{Runway, runways};

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The error code that explains it: `RP3005`.
    pub code: String,
    /// The set, if it concerns one.
    pub set: Option<TableName>,
    /// One sentence: what, where.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// `what` is so of `table`, in the text of a finding about `set`: the set itself is not named, since whoever shows a
/// finding puts it in front.
pub(crate) fn about(set: &TableName, table: &TableName, what: &str) -> String {
    if table == set { what.to_owned() } else { format!("{table}: {what}") }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Not as it should be; the run goes on.
    Warning,
    /// The set is not worked on, or rows are at risk.
    Error,
}

/// What is wrong with the partitions that are there, as far as facts can tell.
///
/// What keeps a plan from being made is in the plan's own findings, and not repeated here.
pub fn check(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let mut found = Vec::new();
    // Whoever asks for one thing is told of that, and not of everything else.
    if facts.vitals.read_only || !wish.requests.is_empty() {
        return found;
    }
    for (set, row) in rows(facts, wish) {
        found.extend(unbroken(&set, &row));
    }
    for set in facts.sets.iter().filter(|set| wish.of(set).is_some()) {
        let at = About { set: &set.table };
        at.level(&set.table, &set.level, &mut found);
        set.indexes.iter().for_each(|index| at.index(index, &mut found));
        set.publications.iter().for_each(|publication| found.extend(at.publication(set, publication)));
    }
    found.extend(runways(facts, wish).into_iter().filter_map(untold));
    found.extend(loose(facts, wish));
    found
}

/// Not to know how long inserts are safe is not to be safe. Where there are partitions and only the pace is not known yet,
/// which is so of every young table, time tells.
fn untold(runway: Runway) -> Option<Finding> {
    let why = runway.unknown?;
    let severity = if runway.until.is_some() { Severity::Note } else { Severity::Warning };
    Some(About { set: &runway.set }.finding(
        severity,
        codes::RUNWAY,
        format!("it is not known how long its partitions last: {why}"),
        "Run ANALYZE on it, and let runs look at it for some days; or say how it goes on, by `levels` in the policy.",
    ))
}

/// A row of ranges has no gap from now on.
fn unbroken(set: &TableName, row: &Row) -> Vec<Finding> {
    let Some(here) = row.here else { return Vec::new() };
    let text = |at: Position| row.axis.text(at).unwrap_or_else(|_| at.to_string());
    let parent = &row.parent;
    let at = About { set };
    let mut found = Vec::new();
    let covers = row.covered.iter().any(|(from, to)| *from <= here && here < *to);
    if !covers {
        let (severity, then) = match (row.edge.is_some_and(|edge| edge <= here), row.default) {
            (true, _) => (Severity::Warning, "rows go to the range that ends in MAXVALUE"),
            (false, true) => (Severity::Warning, "rows go to the default partition"),
            (false, false) => (Severity::Error, "rows are refused"),
        };
        found.push(at.finding(
            severity,
            codes::GAP,
            about(set, parent, &format!("no partition takes what comes now ({}): {then}", text(here))),
            "Run `replat rotate`; if it did run, see what it said of this table.",
        ));
    }
    let ahead =
        row.covered.windows(2).filter(|pair| pair[0].1 < pair[1].0 && pair[1].0 > here && pair[0].1 > here);
    let gaps: Vec<String> =
        ahead.map(|pair| format!("from {} to {}", text(pair[0].1), text(pair[1].0))).collect();
    if !gaps.is_empty() {
        found.push(at.finding(
            Severity::Warning,
            codes::GAP,
            about(set, parent, &format!("no partition {}", some(gaps.into_iter()))),
            "Run `replat rotate`; a gap within the horizon is filled, and others when they are near.",
        ));
    }
    found
}

/// Tables that are attached to nothing.
fn loose(facts: &Facts, wish: &Wish) -> Vec<Finding> {
    let everything = wish.lifecycles.is_empty() && wish.overrides.tables.is_empty();
    let mut found = Vec::new();
    for loose in &facts.loose {
        let set = facts.sets.iter().find(|set| set.table == loose.set);
        let at = About { set: &loose.set };
        match (set, loose.state) {
            // What was replaced is dropped when its time is over.
            (None, LooseState::Replaced) => {}
            (None, LooseState::Staged) if everything => found.push(at.finding(
                Severity::Warning,
                codes::ORPHAN,
                format!("{} was left by the broken-off unit {}", loose.table, loose.unit),
                "Nothing: the next run removes it.",
            )),
            (None, _) if everything => found.push(at.finding(
                Severity::Warning,
                codes::ORPHAN,
                format!("{} belonged to {}, which is no longer there", loose.table, loose.set),
                "Look at its rows, and drop it if they are not needed.",
            )),
            (None, _) => {}
            (Some(set), _) if wish.of(set).is_none() => {}
            (Some(_), LooseState::Staged) => found.push(at.finding(
                Severity::Warning,
                codes::ORPHAN,
                format!("{} was left by the broken-off unit {}", loose.table, loose.unit),
                "Nothing: the next run removes it.",
            )),
            (Some(_), LooseState::Detached | LooseState::Replaced) => {
                let over = loose.drop_after.is_some_and(|after| after <= facts.vitals.now);
                if over && !loose.legal_hold {
                    found.push(at.finding(
                        Severity::Note,
                        codes::OVERDUE,
                        format!("{} was to be dropped by now, and is still there", loose.table),
                        "Let runs drop what is over: it is a switch of its own.",
                    ));
                }
            }
        }
    }
    found
}

/// Makes findings about one set.
struct About<'a> {
    set: &'a TableName,
}

impl About<'_> {
    fn finding(&self, severity: Severity, code: &str, what: String, remedy: &str) -> Finding {
        Finding { severity, code: code.into(), set: Some(self.set.clone()), what, remedy: remedy.into() }
    }

    /// One level, and all below it.
    fn level(&self, parent: &TableName, level: &Level, found: &mut Vec<Finding>) {
        self.remainders(parent, level, found);
        found.extend(likeness::unlike(self, parent, level));
        let foreign: Vec<&Part> = level.parts.iter().filter(|part| part.foreign).collect();
        if !foreign.is_empty() {
            found.push(self.finding(
                Severity::Note,
                codes::FOREIGN_TABLE,
                about(self.set, parent, &format!("on another server: {}", names(&foreign))),
                "Nothing, if that is meant: new partitions are made here, and these are left alone.",
            ));
        }
        for part in &level.parts {
            if part.detach_pending {
                found.push(self.finding(
                    Severity::Warning,
                    codes::PENDING,
                    format!(
                        "{}: its detach began and did not end; its rows are not seen through {parent}",
                        part.table
                    ),
                    "Nothing: the next run ends it, as soon as older transactions are over.",
                ));
            }
            found.extend(self.catch_all(parent, part));
            if let Some(below) = &part.below {
                self.level(&part.table, below, found);
            }
        }
    }

    fn remainders(&self, parent: &TableName, level: &Level, found: &mut Vec<Finding>) {
        if level.method != Method::Hash {
            return;
        }
        let attached = level.parts.iter().filter(|part| !part.detach_pending);
        let bounds: Vec<Bound> = attached.map(|part| part.bound.clone()).collect();
        let missing = cut::missing_remainders(&bounds);
        if !missing.is_empty() || bounds.is_empty() {
            let which = missing.iter().map(|bound| match bound {
                Bound::Hash { modulus, remainder } => format!("{remainder} of {modulus}"),
                _ => String::new(),
            });
            found.push(self.finding(
                Severity::Error,
                codes::GAP,
                match bounds.is_empty() {
                    true => about(self.set, parent, "it has no partition: rows are refused"),
                    false => about(
                        self.set,
                        parent,
                        &format!("no partition takes the remainder {}: rows are refused", some(which)),
                    ),
                },
                "Run `replat rotate`; if it did run, see what it said of this table.",
            ));
        }
    }

    /// A catch-all holds no rows.
    fn catch_all(&self, parent: &TableName, part: &Part) -> Option<Finding> {
        let strays = part.strays.as_ref().filter(|strays| part.is_catch_all() && strays.rows > 0)?;
        let span = match (&strays.low, &strays.high) {
            (Some(low), Some(high)) if low == high => format!(", all at {low}"),
            (Some(low), Some(high)) => format!(", from {low} to {high}"),
            _ => String::new(),
        };
        Some(self.finding(
            Severity::Warning,
            codes::STRAYS,
            format!("{}: {} rows belong to no other partition of {parent}{span}", part.table, strays.rows),
            match &part.bound {
                Bound::Range { from, .. } if from.first() == Some(&super::facts::Edge::Min) => {
                    "If its rows are to be retired in pieces, split it: replat rotate split."
                }
                _ => "Let runs drain it; what is beyond the horizon or has no key is for a person.",
            },
        ))
    }

    fn index(&self, index: &IndexFacts, found: &mut Vec<Finding>) {
        let lacks = [
            ("is missing on", index.missing_on.iter().map(TableName::to_string).collect::<Vec<_>>()),
            ("is there but not attached on", tables(&index.unattached_on)),
            ("is invalid on", tables(&index.invalid_on)),
        ];
        let mut said = false;
        for (how, on) in lacks {
            if !on.is_empty() {
                said = true;
                found.push(self.finding(
                    Severity::Warning,
                    codes::INDEX,
                    format!("the index {} {how} {}", index.name, some(on.into_iter())),
                    "Let runs align it: they build and attach what is missing, without a lock on writers.",
                ));
            }
        }
        if !index.valid && !said {
            found.push(self.finding(
                Severity::Warning,
                codes::INDEX,
                format!("the index {} is invalid: not every partition has it", index.name),
                "Let runs align it.",
            ));
        }
        if index.scans == Some(0) && !index.constraint {
            found.push(self.finding(
                Severity::Note,
                codes::UNUSED,
                format!("the index {} was not used on any partition since statistics began", index.name),
                "Drop it if it is not used elsewhere, such as on a replica.",
            ));
        }
    }

    /// A publication has all partitions, or the set, or none.
    fn publication(&self, set: &SetFacts, publication: &Publication) -> Option<Finding> {
        if publication.whole || publication.parts.is_empty() {
            return None;
        }
        let mut left_out = Vec::new();
        without(&set.level, &publication.parts, &mut left_out);
        if left_out.is_empty() {
            return None;
        }
        Some(self.finding(
            Severity::Warning,
            codes::PUBLICATION,
            format!(
                "the publication {} has some partitions by name, and not {}",
                publication.name,
                names(&left_out)
            ),
            "Publish the partitioned table itself, or add what is missing.",
        ))
    }
}

/// Leaves that are not in `members`, nor below one that is.
fn without<'a>(level: &'a Level, members: &[TableName], found: &mut Vec<&'a Part>) {
    for part in level.parts.iter().filter(|part| !members.contains(&part.table) && !part.foreign) {
        match &part.below {
            Some(below) => without(below, members, found),
            None => found.push(part),
        }
    }
}

fn names(parts: &[&Part]) -> String {
    some(parts.iter().map(|part| part.table.to_string()))
}

fn tables(on: &[(TableName, String)]) -> Vec<String> {
    on.iter().map(|(table, index)| format!("{table} ({index})")).collect()
}
