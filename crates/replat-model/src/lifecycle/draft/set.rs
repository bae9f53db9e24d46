//! One set, level by level.

use std::collections::BTreeMap;

use super::super::axis::{Axis, Position};
use super::super::facts::{
    Bound, Edge, Facts, Key, Level, Method, Micros, Origin, Part, SetFacts, TableName,
};
use super::super::forecast::{self, Forecast, History, PartSpan};
use super::super::health::{Finding, Severity, about, codes};
use super::super::plan::{Understood, Unit, Work};
use super::super::policy::{LevelPolicy, Lifecycle};
use super::range::name;
use super::retire::Due;
use super::{Names, unit};

/// What came of one set.
#[derive(Default)]
pub(super) struct Drafted {
    pub(super) units: Vec<Unit>,
    pub(super) findings: Vec<Finding>,
    pub(super) understood: Option<Understood>,
    /// How fast rows come to the set as a whole.
    pub(super) forecast: Forecast,
    /// The same of tables below it that grow by themselves, such as a tenant's.
    pub(super) paces: BTreeMap<TableName, Forecast>,
    /// Until when partitions are wanted.
    pub(super) until: Option<Micros>,
    /// The rows of ranges as they are.
    pub(super) rows: Vec<Row>,
}

/// A set while its units are thought out.
pub(super) struct SetDraft<'a> {
    pub(super) set: &'a SetFacts,
    pub(super) policy: &'a Lifecycle,
    pub(super) now: Micros,
    /// How many relations one transaction can lock.
    pub(super) lock_room: Option<u64>,
    pub(super) names: &'a mut Names,
    pub(super) works: Vec<Work>,
    pub(super) findings: Vec<Finding>,
    /// How each level was understood, from the outermost; one sentence for all siblings.
    pub(super) levels: Vec<String>,
    /// Until where it grows, and why; of the level that ends first.
    pub(super) until: Option<Until>,
    /// Partitions that are old by the policy, whatever may keep them.
    pub(super) old: Vec<Due<'a>>,
    /// Partitions over time, of all levels that are over time.
    pub(super) evidence: Vec<PartSpan>,
    /// What the outermost level showed of the pace of rows or keys.
    pub(super) forecast: Option<Forecast>,
    /// What each level below showed of it, by the table that is cut.
    pub(super) paces: BTreeMap<TableName, Forecast>,
    /// The rows of ranges, for whoever looks whether they are unbroken.
    pub(super) rows: Vec<Row>,
}

/// A row of ranges as it is.
pub(crate) struct Row {
    /// The table whose partitions it is.
    pub(crate) parent: TableName,
    /// Where rows come now; `None` where that is not known.
    pub(crate) here: Option<Position>,
    /// What the ordinary partitions cover, ascending.
    pub(crate) covered: Vec<(Position, Position)>,
    /// Where the range up to MAXVALUE begins.
    pub(crate) edge: Option<Position>,
    /// The text of a position.
    pub(crate) axis: Axis,
    /// Whether there is a default partition.
    pub(crate) default: bool,
}

/// Until where a level grows.
pub(super) struct Until {
    pub(super) text: String,
    pub(super) moment: Option<Micros>,
    pub(super) because: String,
}

/// A partitioned table in the tree of a set.
#[derive(Clone)]
pub(super) struct Place<'a> {
    /// It.
    pub(super) parent: &'a TableName,
    pub(super) level: &'a Level,
    /// Levels above it.
    pub(super) depth: usize,
    /// The ranges that it lies in, from the outermost.
    pub(super) outer: Vec<Within>,
}

/// A range that a level lies in.
#[derive(Clone, Debug)]
pub(super) struct Within {
    /// The key it is a range of.
    pub(super) key: String,
    pub(super) from: Edge,
    pub(super) to: Edge,
}

impl Place<'_> {
    /// The range of the same key that it lies in: its own partitions must fill that, and no more.
    pub(super) fn contained_in(&self, key: &Key) -> Option<&Within> {
        self.outer.iter().rev().find(|within| within.key == name(key))
    }

    /// The outer ranges of partitions of the part `bound`.
    pub(super) fn within(&self, keys: &[Key], bound: &Bound) -> Vec<Within> {
        within(&self.outer, keys, bound)
    }
}

/// `outer`, and what `bound` adds to it.
pub(super) fn within(outer: &[Within], keys: &[Key], bound: &Bound) -> Vec<Within> {
    let mut all = outer.to_vec();
    if let Bound::Range { from, to } = bound {
        let moved = keys.iter().zip(from.iter().zip(to)).find(|(_, (from, to))| from != to);
        if let Some((key, (from, to))) = moved {
            all.push(Within { key: name(key).to_owned(), from: from.clone(), to: to.clone() });
        }
    }
    all
}

/// What is to be done about `set`. With `stopped`, only repair.
pub(super) fn draft<'a>(
    facts: &'a Facts,
    set: &'a SetFacts,
    policy: &'a Lifecycle,
    names: &'a mut Names,
    stopped: bool,
) -> Drafted {
    let mut draft = SetDraft {
        set,
        policy,
        now: facts.vitals.now,
        lock_room: facts.vitals.lock_room,
        names,
        works: Vec::new(),
        findings: Vec::new(),
        levels: Vec::new(),
        until: None,
        old: Vec::new(),
        evidence: Vec::new(),
        forecast: None,
        paces: BTreeMap::new(),
        rows: Vec::new(),
    };
    let top = Place { parent: &set.table, level: &set.level, depth: 0, outer: Vec::new() };
    if !set.lacking.is_empty() {
        draft.find(
            Severity::Error,
            codes::PRIVILEGE,
            "this role may not do what the work needs".into(),
            set.lacking.join("; "),
        );
        draft.understand_only(&top);
        return draft.finish();
    }
    draft.repair(facts);
    if stopped {
        draft.understand_only(&top);
        return draft.finish();
    }
    if let Some(tool) = &set.managed_by {
        let off = "switch the other tool off for it";
        let off = set.managed_off.as_ref().map_or(off.to_owned(), |sql| format!("{off}: {sql}"));
        let both = "two tools would work on its partitions";
        let what = format!("it is managed by {tool}: {both}");
        match (policy.adopt, set.is_taken_over(), &set.managed_off) {
            // Whoever asks for it again and again knows, but the other tool goes on all the same.
            (Some(true), _, Some(_)) => {
                draft.find(Severity::Warning, codes::MANAGED, what, format!("{}.", capital(&off)));
            }
            (Some(true), ..) | (_, true, None) => {}
            (_, taken_over, _) => {
                let first = if taken_over { "" } else { "take it over with `replat adopt`, and " };
                let remedy = capital(&format!("{first}{off}; or leave it out."));
                draft.find(Severity::Warning, codes::MANAGED, what, remedy);
                draft.understand_only(&top);
                return draft.finish();
            }
        }
    }
    draft.level(&top);
    draft.adopt();
    draft.retire();
    draft.loose(facts);
    draft.finish()
}

impl<'a> SetDraft<'a> {
    pub(super) fn find(&mut self, severity: Severity, code: &str, what: String, remedy: String) {
        let finding = self.finding(severity, code, what, remedy);
        // Many siblings say the same; once is enough.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    pub(super) fn finding(&self, severity: Severity, code: &str, what: String, remedy: String) -> Finding {
        Finding { severity, code: code.into(), set: Some(self.set.table.clone()), what, remedy }
    }

    /// `what` is so of `table`.
    pub(super) fn about(&self, table: &TableName, what: &str) -> String {
        about(&self.set.table, table, what)
    }

    /// What is wanted of one level and of all below it.
    pub(super) fn level(&mut self, at: &Place<'a>) {
        if let Err(finding) = self.agreed(at) {
            self.findings.push(finding);
            return;
        }
        let done = match at.level.method {
            Method::Range => self.range(at),
            Method::List => self.list(at),
            Method::Hash => self.hash(at),
        };
        if let Err(finding) = done
            && !self.findings.contains(&finding)
        {
            self.findings.push(finding);
        }
    }

    /// Reads the levels for those who only look, and plans nothing for them.
    fn understand_only(&mut self, top: &Place<'a>) {
        let (works, findings) = (self.works.len(), self.findings.len());
        self.level(top);
        self.works.truncate(works);
        self.findings.truncate(findings);
    }

    /// The levels below `part`.
    pub(super) fn descend(&mut self, at: &Place<'a>, part: &'a Part) {
        if let Some(below) = &part.below {
            let outer = at.within(&at.level.keys, &part.bound);
            self.level(&Place { parent: &part.table, level: below, depth: at.depth + 1, outer });
        }
    }

    /// Missing remainders below a part that gets nothing else any more.
    pub(super) fn mend(&mut self, at: &Place<'a>, part: &'a Part) {
        let Some(below) = &part.below else { return };
        let outer = at.within(&at.level.keys, &part.bound);
        let place = Place { parent: &part.table, level: below, depth: at.depth + 1, outer };
        if below.method == Method::Hash {
            self.level(&place);
        } else {
            below.parts.iter().for_each(|part| self.mend(&place, part));
        }
    }

    /// What the policy says of the level at `depth`, if that is cut by `method`: a level for whatever column there is
    /// (`--interval` for all tables) says nothing of levels that are cut by something else.
    pub(super) fn hint(&self, depth: usize, method: Option<Method>) -> Option<&'a LevelPolicy> {
        let said = self.policy.levels.get(depth)?;
        (said.column != "*" || method.is_none_or(|method| method == super::build::method(said.by)))
            .then_some(said)
    }

    /// The policy says what is there.
    fn agreed(&self, at: &Place<'_>) -> Result<(), Finding> {
        let Some(hint) = self.hint(at.depth, Some(at.level.method)) else { return Ok(()) };
        let by = super::build::method;
        let there: Vec<&str> =
            at.level.keys.iter().map(|key| key.column.as_deref().unwrap_or(&key.text)).collect();
        let asked: Vec<&str> = columns(hint);
        if by(hint.by) == at.level.method && (asked == ["*"] || asked == there) {
            return Ok(());
        }
        Err(self.finding(
            Severity::Error,
            codes::CONTRADICTED,
            self.about(
                at.parent,
                &format!(
                    "it is cut by {} of {}; the policy says by {} of {}",
                    word(at.level.method),
                    there.join(", "),
                    word(by(hint.by)),
                    asked.join(", "),
                ),
            ),
            "Correct `levels` in the policy, or leave them out; to cut the table otherwise, ask for a conversion.".into(),
        ))
    }

    /// Says how a level was understood, once for all siblings.
    pub(super) fn understand(&mut self, depth: usize, sentence: String) {
        if self.levels.len() <= depth {
            self.levels.resize(depth + 1, String::new());
        }
        if self.levels[depth].is_empty() {
            self.levels[depth] = sentence;
        }
    }

    /// Says until where a level grows; the one that ends first counts.
    pub(super) fn reach(&mut self, until: Until) {
        let sooner = |before: &Until| until.moment.is_some() && until.moment < before.moment;
        if self.until.as_ref().is_none_or(sooner) {
            self.until = Some(until);
        }
    }

    /// Partitions of others are taken over, if that is wanted.
    fn adopt(&mut self) {
        if self.policy.adopt != Some(true) {
            return;
        }
        let mut parts = Vec::new();
        self.set.level.each(&mut |part| {
            if part.origin == Origin::Foreign && !part.detach_pending {
                parts.push((part.table.clone(), part.id));
            }
        });
        if !parts.is_empty() {
            self.works.push(Work::Adopt { parts });
        }
    }

    fn finish(self) -> Drafted {
        let set = self.set;
        let history = History { samples: &set.samples, parts: &self.evidence, keys: &[], now: self.now };
        let forecast = self.forecast.unwrap_or_else(|| forecast::learn(&history));
        let sentence: Vec<String> = self.levels.into_iter().filter(|level| !level.is_empty()).collect();
        let until = self.until.as_ref().and_then(|until| until.moment);
        let understood = (!sentence.is_empty()).then(|| Understood {
            table: set.table.clone(),
            grid: sentence.join("; below it "),
            wanted_until: self.until.as_ref().map(|until| until.text.clone()),
            because: self.until.map_or("it does not grow by itself".into(), |until| until.because),
        });
        let units = self.works.into_iter().map(|work| unit(set, work)).collect();
        let SetDraft { findings, paces, rows, .. } = self;
        Drafted { units, findings, understood, forecast, paces, until, rows }
    }
}

/// As a sentence begins.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// The columns that a level of the policy names.
pub(super) fn columns(hint: &LevelPolicy) -> Vec<&str> {
    hint.column.split(',').map(str::trim).collect()
}

pub(super) fn word(method: Method) -> &'static str {
    match method {
        Method::Range => "range",
        Method::List => "list",
        Method::Hash => "hash",
    }
}
