//! How far the members of a cohort are: counts by phase, and by name only those that are slow or fail.

use std::collections::BTreeMap;

use replat_engine::{Listed, Trouble};
use replat_model::deploy::{Deployment, Phase, Timestamp};
use replat_model::ids::{CohortId, Side};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::render::{bytes, count, counted, span};

/// How many are named for one reason at most.
const NAMED_MAX: usize = 12;

/// A member as it is told of.
pub struct Row {
    /// Which one.
    pub listed: Listed,
    /// Its state.
    pub d: Deployment,
    /// What its runner fails at, or waits for that only a person can bring.
    pub stuck: Option<String>,
    /// When its log grew last.
    pub since: Timestamp,
}

impl Row {
    /// A member as the store has it.
    pub fn of(listed: Listed, d: Deployment, trouble: Option<Trouble>, since: Timestamp) -> Row {
        let trouble = trouble.filter(|t| t.needs_a_person && !d.ended());
        let stuck = trouble.map(|t| format!("{} {}", t.code, t.what)).or_else(|| waits(&d));
        Row { listed, d, stuck, since }
    }
}

/// What a deployment waits for that can be told from its log and that only a person can bring.
fn waits(d: &Deployment) -> Option<String> {
    if d.ended() {
        return None;
    }
    if let Some((from, certificate)) = &d.verify_failed {
        let sample = certificate.samples.first().map(|s| format!(": {s}")).unwrap_or_default();
        return Some(format!(
            "RP4003 {} differ, seen from {from}{sample}",
            counted(certificate.different as usize, "row", "rows")
        ));
    }
    if let Some(why) = &d.paused {
        return Some(format!("paused: {why}"));
    }
    if d.contracts_broken.is_some() {
        return Some("RP4004 a consumer's query has another answer on green".into());
    }
    (d.failed_attempts >= d.policy.attempts)
        .then(|| format!("RP5001 {} attempts to switch were given up", d.failed_attempts))
}

/// How many members are in each phase, in the order of the phases.
pub fn phases<'a>(states: impl IntoIterator<Item = &'a Deployment>) -> BTreeMap<Phase, usize> {
    let mut phases = BTreeMap::new();
    for d in states {
        *phases.entry(d.phase()).or_default() += 1;
    }
    phases
}

/// One line: `40 members: 2 copy, 37 soak, 1 finished`.
pub fn line(phases: &BTreeMap<Phase, usize>, stuck: usize) -> String {
    let all: usize = phases.values().sum();
    let mut parts: Vec<String> = phases.iter().map(|(phase, n)| format!("{n} {}", phase.as_str())).collect();
    if stuck > 0 {
        parts.push(format!("{stuck} need a person"));
    }
    format!("{}: {}", counted(all, "member", "members"), parts.join(", "))
}

/// A cohort for people.
pub fn text(cohort: &CohortId, rows: &[Row], runner: Option<&str>, now: Timestamp) -> String {
    let mut t = String::new();
    let Some(first) = rows.first() else { return t };
    let plan = &first.d.plan;
    t += &format!(
        "{cohort}  {}  {} -> {}   {}\n",
        plan.context,
        plan.blue.home,
        plan.green.home,
        counted(rows.len(), "member", "members")
    );
    let mut of_phase: BTreeMap<Phase, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        of_phase.entry(row.d.phase()).or_default().push(row);
    }
    for (phase, members) in &of_phase {
        let rows: u64 = members.iter().map(|row| row.d.plan.rows()).sum();
        let size: u64 = members.iter().map(|row| row.d.plan.bytes()).sum();
        let share = members.len() * 20 / all(&of_phase);
        t += &format!(
            "  {:<12} {:>5}  {:<20}  about {} rows, {}\n",
            phase.as_str(),
            members.len(),
            "#".repeat(share.max(1)),
            count(rows),
            bytes(size)
        );
    }
    let stuck: Vec<&Row> = rows.iter().filter(|row| row.stuck.is_some()).collect();
    if !stuck.is_empty() {
        t += &format!("  {} a person:\n", if stuck.len() == 1 { "1 needs" } else { "Some need" });
        for row in stuck.iter().take(NAMED_MAX) {
            let why = row.stuck.as_deref().unwrap_or_default();
            t += &format!("    {:<6} {:<24} {why}\n", row.listed.id, row.listed.partition);
        }
        t += &more(stuck.len());
    }
    // Most of a cohort is where most of it is; who is behind that is worth a name.
    let usual = of_phase.iter().max_by_key(|(_, members)| members.len()).map(|(phase, _)| *phase);
    let mut slow: Vec<&Row> = rows
        .iter()
        .filter(|row| row.stuck.is_none() && Some(row.d.phase()) < usual && !row.d.ended())
        .collect();
    slow.sort_by_key(|row| row.since);
    if !slow.is_empty() {
        t += "  behind the others:\n";
        for row in slow.iter().take(NAMED_MAX) {
            t += &format!(
                "    {:<6} {:<24} {}, its last entry {} ago\n",
                row.listed.id,
                row.listed.partition,
                row.d.phase().as_str(),
                span(now.since(row.since))
            );
        }
        t += &more(slow.len());
    }
    t += &format!("  {:<10} {}\n", "runner", runner.unwrap_or("none"));
    let commands: Vec<String> =
        next_commands(rows).iter().map(|verb| format!("replat deploy {verb} {cohort}")).collect();
    if !commands.is_empty() {
        t += &format!("Next:  {}\n", commands.join("     "));
    }
    t
}

fn all(of_phase: &BTreeMap<Phase, Vec<&Row>>) -> usize {
    of_phase.values().map(Vec::len).sum::<usize>().max(1)
}

fn more(n: usize) -> String {
    match n.saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("    and {more} more\n"),
    }
}

fn next_commands(rows: &[Row]) -> &'static [&'static str] {
    let open: Vec<&Deployment> =
        rows.iter().map(|row| &row.d).filter(|d| !d.ended() && d.finished.is_none()).collect();
    match open.first() {
        None => &[],
        Some(_) if open.iter().all(|d| d.phase() == Phase::Soak) => &["rollback", "finish"],
        Some(_) if open.iter().all(|d| d.phase() == Phase::RolledBack) => &["switch", "abort"],
        Some(_) if open.iter().all(|d| d.phase() == Phase::Ready && d.wanted_home() == Side::Blue) => {
            &["switch", "abort"]
        }
        Some(_) => &["watch"],
    }
}

/// A cohort as a JSON object.
pub fn value(cohort: &CohortId, rows: &[Row], runner: Option<&str>) -> Value {
    let phases: BTreeMap<&str, usize> =
        phases(rows.iter().map(|row| &row.d)).into_iter().map(|(phase, n)| (phase.as_str(), n)).collect();
    let members: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "id": row.listed.id,
                "partition": row.listed.partition,
                "phase": row.d.phase(),
                "home": row.d.home,
                "epoch": row.d.epoch,
                "attempts": row.d.attempts,
                "needs_a_person": row.stuck,
                "predicted": { "rows": row.d.plan.rows(), "bytes": row.d.plan.bytes() },
            })
        })
        .collect();
    json!({
        "kind": "Cohort",
        "id": cohort,
        "context": rows.first().map(|row| row.d.plan.context.clone()),
        "phases": phases,
        "needs_a_person": rows.iter().filter(|row| row.stuck.is_some()).count(),
        "runner": runner,
        "members": members,
    })
}

/// That some members did not get as far as was asked; `None` if all did.
pub fn failure(cohort: &CohortId, failed: &[(Listed, String)], all: usize) -> Option<Failure> {
    if failed.is_empty() {
        return None;
    }
    let what = format!("{} of {} did not get through", failed.len(), counted(all, "member", "members"));
    let mut because: Vec<String> = failed
        .iter()
        .take(NAMED_MAX)
        .map(|(listed, why)| format!("{} {}: {why}", listed.id, listed.partition))
        .collect();
    if failed.len() > NAMED_MAX {
        because.push(format!("and {} more", failed.len() - NAMED_MAX));
    }
    Some(
        Failure::new("RP5006", Exit::Person, what)
            .because(because)
            .state("SAFE: each partition is owned by one side; the other members were not held up.")
            .remedy(format!("See each: replat deploy get {cohort}"))
            .remedy(format!("Go on with all: replat deploy watch {cohort}")),
    )
}
