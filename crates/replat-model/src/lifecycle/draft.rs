//! What follows from what was found and what is wanted: the units of a run.
//!
//! Total: whatever cannot be planned is a [`Finding`], and the other sets go on. Idempotent: in a world in which the
//! plan was carried out, the next draft has nothing to do. Nothing is guessed in favour of a change: an unknown fact
//! keeps a partition, and a bound that does not fit stops its set.

pub(super) mod build;
mod cells;
pub(super) mod cut;
mod horizon;
mod keys;
mod loose;
mod overflow;
mod range;
pub(super) mod referenced;
mod retire;
pub(super) mod set;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::facts::{Facts, LooseState, LooseTable, Micros, Origin, Part, SetFacts, TableName};
use super::forecast::Forecast;
use super::health::{Finding, Severity, codes};
use super::plan::{Kind, NewPart, RotatePlan, Unit, Work};
use super::policy::{Lifecycle, More, Quota};
use super::quota;
use super::reshape::{self, Request};

pub(super) use keys::lines;

/// How far the clock of this process may be from the database's before it is said, and before nothing is done.
const CLOCK_SAID_MS: u64 = 60_000;
const CLOCK_REFUSED_MS: u64 = 24 * 60 * 60 * 1000;

/// What log one new relation costs: about 30 KiB for a partition with its six relations.
pub(super) const WAL_PER_RELATION: u64 = 5 * 1024;

/// What is wanted of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// The spec's lifecycles, by name. The first whose tables match a set is the set's. With none, every set is
    /// looked after, by `overrides` alone.
    pub lifecycles: Vec<(String, Lifecycle)>,
    /// What the command line says; it wins.
    pub overrides: Lifecycle,
    /// The kinds of work that are switched on. Repair always is.
    pub allow: Vec<Kind>,
    /// Explicit requests: splits, merges, conversions.
    pub requests: Vec<Request>,
    /// What is wanted of some sets beyond their policy, this time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<More>,
}

impl Wish {
    /// What is wanted of `set`: the name of the spec's lifecycle, if one speaks of it, and the lifecycle itself.
    /// `None` if nothing is wanted of it. Of a set that is taken over, what its former tool was told holds where
    /// nobody says otherwise.
    pub fn of(&self, set: &SetFacts) -> Option<(Option<&str>, Lifecycle)> {
        let (name, wanted) = self.said_of(set)?;
        let wanted = match &set.managed_as {
            Some(told) if wanted.adopt == Some(true) || set.is_taken_over() => wanted.over(told),
            _ => wanted,
        };
        let more = self.more.iter().filter(|more| more.covers(&set.table));
        Some((name, more.fold(wanted, Lifecycle::at_least)))
    }

    fn said_of(&self, set: &SetFacts) -> Option<(Option<&str>, Lifecycle)> {
        let spoken = self.lifecycles.iter().find(|(_, lifecycle)| lifecycle.covers(&set.table));
        match spoken {
            Some((name, lifecycle)) => Some((Some(name), self.overrides.over(lifecycle))),
            None if self.lifecycles.is_empty() => {
                let asked = self.overrides.tables.is_empty() || self.overrides.covers(&set.table);
                asked.then(|| (None, self.overrides.clone()))
            }
            None => None,
        }
    }

    fn allows(&self, kind: Kind) -> bool {
        kind == Kind::Repair || self.allow.contains(&kind)
    }
}

/// The plan that brings what was found to what is wanted.
pub fn draft(facts: &Facts, wish: &Wish) -> RotatePlan {
    let mut plan = RotatePlan {
        format: 1,
        identity: facts.vitals.identity.clone(),
        fingerprint: facts.fingerprint.clone(),
        at: facts.vitals.now,
        units: Vec::new(),
        findings: facts.refused.iter().filter(|_| wish.requests.is_empty()).map(refused).collect(),
        understood: Vec::new(),
    };
    if facts.vitals.read_only {
        plan.findings.push(read_only());
        return plan;
    }
    let clock = clock(facts);
    let stopped = clock.iter().any(|finding| finding.severity == Severity::Error);
    plan.findings.extend(clock);
    let mut names = Names::of(facts);
    // Whoever asks for one thing gets that, and nothing else besides.
    for set in facts.sets.iter().filter(|_| wish.requests.is_empty()) {
        let Some((_, policy)) = wish.of(set) else { continue };
        let drafted = set::draft(facts, set, &policy, &mut names, stopped);
        plan.findings.extend(drafted.findings);
        plan.understood.extend(drafted.understood);
        let quota = policy.quota.clone().unwrap_or_default();
        let (forecast, paces, until) = (&drafted.forecast, &drafted.paces, drafted.until);
        let within = Room { facts, set, quota: &quota, forecast, paces, until };
        let (units, stuck) = referenced::possible(set, wish, drafted.units);
        plan.findings.extend(stuck);
        within.take(&mut plan, units);
        if !stopped && wish.allow.contains(&Kind::Align) {
            plan.units.extend(reshape::aligned(set));
        }
    }
    if wish.requests.is_empty() {
        plan.units.extend(ownerless(facts, wish));
    }
    if !stopped {
        for request in &wish.requests {
            match reshape::units(facts, request, &mut names) {
                Ok(units) => requested(facts, wish, &mut plan, units),
                Err(finding) => plan.findings.push(finding),
            }
        }
    }
    go_on(&mut plan);
    plan.units.sort_by_key(|unit| rank(&unit.work));
    switch_off(&mut plan, wish);
    plan
}

/// What is left of tables that are not partitioned: what was replaced is dropped as any other when its time is over, and a
/// conversion that was broken off is taken back, since a table is not to wait for anybody in between.
fn ownerless(facts: &Facts, wish: &Wish) -> Vec<Unit> {
    let asked = |table: &TableName| match wish.lifecycles.is_empty() {
        true => wish.overrides.tables.is_empty() || wish.overrides.covers(table),
        false => wish.lifecycles.iter().any(|(_, lifecycle)| lifecycle.covers(table)),
    };
    let over = |loose: &&LooseTable| {
        loose.state == LooseState::Replaced
            && !loose.legal_hold
            && loose.drop_after.is_some_and(|after| after <= facts.vitals.now)
            && !facts.sets.iter().any(|set| set.table == loose.set)
            && asked(&loose.set)
    };
    let gone = |loose: &&LooseTable| {
        loose.state == LooseState::Staged
            && !facts.sets.iter().any(|set| set.table == loose.set)
            && asked(&loose.set)
    };
    let mut staged: BTreeMap<(&TableName, &str), Vec<TableName>> = BTreeMap::new();
    for loose in facts.loose.iter().filter(gone) {
        staged.entry((&loose.set, &loose.unit)).or_default().push(loose.table.clone());
    }
    let reaped = staged.into_iter().map(|((set, unit), tables)| {
        let work = Work::Reap { unit: unit.to_owned(), tables };
        Unit {
            id: name(set, 0, &work),
            set: set.clone(),
            set_id: 0,
            work,
            wal_bytes: WAL_PER_RELATION,
            relations: 0,
        }
    });
    let made = |loose: &LooseTable| {
        let because = "what replaced it has proved itself".to_owned();
        let work = Work::Drop { table: loose.table.clone(), table_id: loose.id, because };
        Unit {
            id: name(&loose.set, 0, &work),
            set: loose.set.clone(),
            set_id: 0,
            work,
            wal_bytes: WAL_PER_RELATION,
            relations: 0,
        }
    };
    reaped.chain(facts.loose.iter().filter(over).map(made)).collect()
}

/// Takes the units of a request into the plan, if the quota of their set has room for what they copy.
fn requested(facts: &Facts, wish: &Wish, plan: &mut RotatePlan, units: Vec<Unit>) {
    let before = plan.units.len();
    let set = units.first().and_then(|unit| facts.sets.iter().find(|set| set.table == unit.set));
    plan.units.extend(units);
    let Some((set, (_, policy))) = set.and_then(|set| Some((set, wish.of(set)?))) else { return };
    let quota = policy.quota.unwrap_or_default();
    let found = quota::room(&quota, &facts.vitals, set, &plan.units[before..], &Forecast::default(), None);
    if found.iter().any(|finding| finding.severity == Severity::Error) {
        plan.units.truncate(before);
    }
    plan.findings.extend(found);
}

/// What was broken off and is in the plan again goes on where it was, so it is not taken back first.
fn go_on(plan: &mut RotatePlan) {
    let again: BTreeSet<String> = plan
        .units
        .iter()
        .filter(|unit| matches!(unit.work.kind(), Kind::Drain | Kind::Recut | Kind::Convert))
        .map(|unit| unit.id.clone())
        .collect();
    plan.units.retain(|unit| !matches!(&unit.work, Work::Reap { unit, .. } if again.contains(unit)));
}

/// The rows of ranges of all sets of which something is wanted, with their sets.
pub(super) fn rows(facts: &Facts, wish: &Wish) -> Vec<(TableName, set::Row)> {
    let mut names = Names::of(facts);
    let mut found = Vec::new();
    for set in &facts.sets {
        let Some((_, policy)) = wish.of(set) else { continue };
        let drafted = set::draft(facts, set, &policy, &mut names, false);
        found.extend(drafted.rows.into_iter().map(|row| (set.table.clone(), row)));
    }
    found
}

/// A digest of what a plan would do and of what it was made from; not of when. What was shown and what is applied
/// have the same digest, or are not the same.
pub fn digest(plan: &RotatePlan) -> String {
    let mut timeless = plan.clone();
    timeless.at = 0;
    timeless.findings.clear();
    timeless.understood.clear();
    hex(&serde_json::to_vec(&timeless).expect("a plan has no map with keys that are not text"), 32)
}

/// Why `plan` may not be carried out in the world of `facts`, if so.
pub fn stale(plan: &RotatePlan, facts: &Facts) -> Option<String> {
    if plan.format != 1 {
        return Some(format!("the plan is of format {}, and this program reads format 1", plan.format));
    }
    if plan.identity != facts.vitals.identity {
        return Some(format!(
            "the plan was made for the database {}, and this is {} ({})",
            plan.identity, facts.vitals.identity, facts.vitals.database
        ));
    }
    let gone = plan.units.iter().find(|unit| {
        unit.set_id != 0 && facts.sets.iter().any(|set| set.table == unit.set && set.id != unit.set_id)
    });
    if let Some(unit) = gone {
        return Some(format!("{} is another table by now", unit.set));
    }
    (plan.fingerprint != facts.fingerprint)
        .then(|| "partitions came, went or changed their bounds since the plan was made".to_owned())
}

/// The units that give back what was taken over and is still attached: it is somebody else's again. What replat made
/// stays its own.
pub fn disown(facts: &Facts) -> Vec<Unit> {
    let mut units = Vec::new();
    for set in &facts.sets {
        let mut parts = Vec::new();
        set.level.each(&mut |part| {
            if part.origin == Origin::Adopted {
                parts.push((part.table.clone(), part.id));
            }
        });
        if !parts.is_empty() {
            units.push(unit(set, Work::Disown { parts }));
        }
    }
    units
}

/// The unit that does `work` on `set`.
pub(super) fn unit(set: &SetFacts, work: Work) -> Unit {
    let relations = relations(set, &work);
    Unit {
        id: name(&set.table, set.id, &work),
        set: set.table.clone(),
        set_id: set.id,
        wal_bytes: wal_bytes(set, &work, relations),
        relations,
        work,
    }
}

/// The same work has the same name, on whatever day it was planned: reasons and dates do not count.
pub(super) fn name(set: &TableName, set_id: u64, work: &Work) -> String {
    let mut timeless = work.clone();
    match &mut timeless {
        Work::Retire { because, drop_after, .. } => {
            because.clear();
            *drop_after = None;
        }
        Work::Drop { because, .. } => because.clear(),
        _ => {}
    }
    let text = serde_json::to_vec(&(set, set_id, timeless)).expect("work has no map with odd keys");
    format!("u-{}", hex(&text, 16))
}

/// The first `digits` hexadecimal digits of the digest of `bytes`.
fn hex(bytes: &[u8], digits: usize) -> String {
    let all: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    all[..digits].to_owned()
}

/// Tables in a tree of new partitions.
pub(super) fn tables(part: &NewPart) -> u64 {
    1 + part.below.iter().flat_map(|level| &level.parts).map(tables).sum::<u64>()
}

fn relations(set: &SetFacts, work: &Work) -> u64 {
    let new: &[NewPart] = match work {
        Work::Create { parts, .. } | Work::Drain { parts, .. } => parts,
        Work::Overflow { new, .. } | Work::Recut { new, .. } => new,
        Work::Convert { others, .. } => others,
        _ => &[],
    };
    new.iter().map(tables).sum::<u64>() * u64::from(set.relations_each.max(1))
}

fn wal_bytes(set: &SetFacts, work: &Work, relations: u64) -> u64 {
    let copied = match work {
        // What is moved is written once where it goes, and mirrored once at most beside it.
        Work::Drain { default, .. } => {
            let part = set.level.find(default);
            2 * part.and_then(|part| part.bytes).unwrap_or(0)
        }
        Work::Recut { old, .. } => old
            .iter()
            .filter_map(|(table, ..)| set.level.find(table))
            .filter_map(|part| part.bytes)
            .map(|bytes| 2 * bytes)
            .sum(),
        Work::Finalize { .. } | Work::Retire { .. } | Work::Drop { .. } | Work::Reap { .. } => {
            u64::from(set.relations_each.max(1)) * WAL_PER_RELATION
        }
        _ => 0,
    };
    relations * WAL_PER_RELATION + copied
}

/// What comes first. What was broken off blocks other work on its parent; then what inserts wait for; then the rest.
fn rank(work: &Work) -> u8 {
    match work {
        Work::Reap { .. } => 0,
        Work::Finalize { .. } => 1,
        Work::Convert { .. } | Work::Unconvert { .. } | Work::Recut { .. } => 2,
        Work::Drain { .. } => 3,
        Work::Overflow { .. } => 4,
        Work::Create { .. } => 5,
        Work::Align { .. } => 6,
        Work::Adopt { .. } | Work::Disown { .. } => 7,
        Work::Retire { .. } => 8,
        Work::Archive { .. } => 9,
        Work::Drop { .. } => 10,
    }
}

/// Takes out what is switched off, and says so: what is wanted and not done must never go unseen.
fn switch_off(plan: &mut RotatePlan, wish: &Wish) {
    let mut off: BTreeMap<Kind, (usize, BTreeSet<String>)> = BTreeMap::new();
    plan.units.retain(|unit| {
        let kind = unit.work.kind();
        let on = wish.allows(kind);
        if !on {
            let (count, sets) = off.entry(kind).or_default();
            *count += 1;
            sets.insert(unit.set.to_string());
        }
        on
    });
    for (kind, (count, sets)) in off {
        plan.findings.push(Finding {
            severity: Severity::Note,
            code: codes::SWITCHED_OFF.into(),
            set: None,
            what: format!(
                "work of the kind {} is switched off: {count} units were left out, on {}",
                kind.word(),
                some(sets.into_iter())
            ),
            remedy: format!("Switch {} on if it is wanted.", kind.word()),
        });
    }
}

fn refused(refused: &super::facts::Refused) -> Finding {
    Finding {
        severity: Severity::Error,
        code: codes::REFUSED.into(),
        set: None,
        what: format!("{}: {}", refused.table, refused.why),
        remedy: refused.remedy.clone(),
    }
}

pub(super) fn read_only() -> Finding {
    Finding {
        severity: Severity::Note,
        code: codes::READ_ONLY.into(),
        set: None,
        what: "the database is a standby or read-only: nothing to do here".into(),
        remedy: "Nothing: the run on the primary does the work.".into(),
    }
}

pub(super) fn clock(facts: &Facts) -> Option<Finding> {
    let ahead = facts.vitals.clock_ahead_ms;
    let far = ahead.unsigned_abs();
    let severity = match far {
        0..=CLOCK_SAID_MS => return None,
        far if far <= CLOCK_REFUSED_MS => Severity::Warning,
        _ => Severity::Error,
    };
    let then = if severity == Severity::Error {
        "nothing is created or retired until one of them is set right"
    } else {
        "the database's counts"
    };
    Some(Finding {
        severity,
        code: codes::CLOCK.into(),
        set: None,
        what: format!(
            "this computer's clock is {} s {} the database's: {then}",
            far / 1000,
            if ahead > 0 { "ahead of" } else { "behind" }
        ),
        remedy: "Set the clocks of both computers by a time server.".into(),
    })
}

/// The first few of `names`, and how many there are besides.
pub(super) fn some(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let all: Vec<String> = names.collect();
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN { format!("{shown} and {} more", all.len() - SHOWN) } else { shown }
}

/// What may be spent on one set.
struct Room<'a> {
    facts: &'a Facts,
    set: &'a SetFacts,
    quota: &'a Quota,
    forecast: &'a Forecast,
    paces: &'a BTreeMap<TableName, Forecast>,
    until: Option<Micros>,
}

impl Room<'_> {
    /// Takes `units` into the plan, except those that create and for which there is no room. Sets before this one have
    /// taken what they need.
    fn take(&self, plan: &mut RotatePlan, units: Vec<Unit>) {
        let vitals = &self.facts.vitals;
        let (mut creating, other): (Vec<Unit>, Vec<Unit>) = units
            .into_iter()
            .partition(|unit| matches!(unit.work.kind(), Kind::Create | Kind::Drain | Kind::Recut));
        plan.units.extend(other);
        if creating.is_empty() {
            return;
        }
        let full = quota::tenants(self.quota, self.set, self.forecast, self.paces, vitals.now, self.until);
        for (tenant, finding) in full {
            let part = self.set.level.find(&tenant);
            creating.retain(|unit| !part.is_some_and(|part| concerns(&unit.work, part)));
            plan.findings.push(finding);
        }
        let before = plan.units.len();
        plan.units.extend(creating.iter().cloned());
        let found = self.judge(plan);
        if is_refused(&found) {
            plan.units.truncate(before);
            let some = self.take_some(plan, creating);
            plan.findings.extend(some);
        }
        plan.findings.extend(found);
    }

    /// Takes what there is room for, where there is not enough for all: tenant by tenant, the one that needs least
    /// first, so that no surge of one takes the room of the others.
    fn take_some(&self, plan: &mut RotatePlan, creating: Vec<Unit>) -> Option<Finding> {
        let mut by_tenant: BTreeMap<Option<&TableName>, Vec<Unit>> = BTreeMap::new();
        for unit in creating {
            let tenant = self.set.level.parts.iter().find(|part| concerns(&unit.work, part));
            by_tenant.entry(tenant.map(|part| &part.table)).or_default().push(unit);
        }
        if by_tenant.len() < 2 {
            return None;
        }
        let mut groups: Vec<(Option<&TableName>, Vec<Unit>)> = by_tenant.into_iter().collect();
        groups.sort_by_key(|(_, units)| units.iter().map(|unit| unit.relations).sum::<u64>());
        let (mut taken, mut left_out) = (0, Vec::new());
        for (tenant, units) in groups {
            let before = plan.units.len();
            plan.units.extend(units);
            if is_refused(&self.judge(plan)) {
                plan.units.truncate(before);
                left_out.push(tenant.unwrap_or(&self.set.table).to_string());
            } else {
                taken += 1;
            }
        }
        (taken > 0).then(|| Finding {
            severity: Severity::Note,
            code: codes::QUOTA.into(),
            set: Some(self.set.table.clone()),
            what: format!(
                "there is room for some: {taken} of its tables get their partitions, and those of {} are left out",
                some(left_out.into_iter())
            ),
            remedy: "See the quota that is used up.".into(),
        })
    }

    fn judge(&self, plan: &RotatePlan) -> Vec<Finding> {
        quota::room(self.quota, &self.facts.vitals, self.set, &plan.units, self.forecast, self.until)
    }
}

fn is_refused(found: &[Finding]) -> bool {
    found.iter().any(|finding| finding.severity == Severity::Error)
}

/// Whether `work` makes something below `part`.
fn concerns(work: &Work, part: &Part) -> bool {
    let parent = match work {
        Work::Create { parent, .. }
        | Work::Drain { parent, .. }
        | Work::Overflow { parent, .. }
        | Work::Recut { parent, .. } => parent,
        _ => return false,
    };
    part.table == *parent || part.below.as_ref().is_some_and(|below| below.find(parent).is_some())
}

/// The names that are taken, those of this plan included.
pub(super) struct Names {
    taken: BTreeMap<String, BTreeSet<String>>,
}

impl Names {
    pub(super) fn of(facts: &Facts) -> Names {
        let mut taken = facts.taken.clone();
        for set in &facts.sets {
            taken.entry(set.table.schema.clone()).or_default().insert(set.table.name.clone());
            set.level.each(&mut |part| {
                taken.entry(part.table.schema.clone()).or_default().insert(part.table.name.clone());
            });
        }
        for loose in &facts.loose {
            let names = taken.entry(loose.table.schema.clone()).or_default();
            // What a broken-off unit left is removed before anything else, so its name is free by then.
            if loose.state == LooseState::Staged {
                names.remove(&loose.table.name);
            } else {
                names.insert(loose.table.name.clone());
            }
        }
        Names { taken }
    }

    pub(super) fn is_taken(&self, schema: &str, name: &str) -> bool {
        self.taken.get(schema).is_some_and(|names| names.contains(name))
    }

    pub(super) fn take(&mut self, schema: &str, name: &str) {
        self.taken.entry(schema.to_owned()).or_default().insert(name.to_owned());
    }
}
