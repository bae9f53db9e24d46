//! The verbs of `plan` and `deploy` for cohorts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use replat_engine::{Listed, WorkLog};
use replat_model::deploy::{Deployment, Event, Phase, Timestamp};
use replat_model::ids::{CohortId, Side};
use replat_model::plan::Plan;
use replat_model::spec::{Policy, SwitchMode};
use replat_postgres::engine::now;
use serde_json::json;

use super::board::{self, Row};
use super::plan::{CohortFile, LeftOut, PlannedCohort, Refused};
use super::run::Goal;
use super::{members, plan};
use crate::ask;
use crate::cli::{ApplyArgs, Progress, RunArgs, Targets};
use crate::deploy::{Desk, refuse_unless_allowed};
use crate::failure::{Exit, Failure};
use crate::planning;
use crate::render::{self, bytes, count, counted};
use crate::watch::is_kept;

/// Members that a plan shows by name.
const SHOWN_MAX: usize = 20;

impl Desk<'_> {
    /// `plan deploy` for many.
    pub async fn plan_cohort(
        &self,
        targets: &Targets,
        out: Option<&Path>,
        detail: bool,
    ) -> Result<(), Failure> {
        let planned = plan::plan(&self.project, &self.store, targets).await?;
        if let Some(out) = out {
            let text = serde_json::to_string_pretty(&planned.file).expect("a plan is plain data");
            std::fs::write(out, text + "\n").map_err(|e| {
                Failure::new("RP2004", Exit::Invalid, format!("{} cannot be written: {e}", out.display()))
            })?;
        }
        let mut text = plan_text(&planned.file, detail);
        text += "No change has been made.\n";
        let allow = match to_be_allowed(&planned.file).join(",") {
            names if names.is_empty() => String::new(),
            names => format!(" --allow {names}"),
        };
        if let Some(out) = out {
            text += &format!("Next:  replat show {0}     replat apply {0}{allow}\n", out.display());
        }
        self.style.result(&text, &json!(planned.file));
        Ok(())
    }

    /// `deploy` for many.
    pub async fn deploy_cohort(&self, targets: &Targets, run: &RunArgs) -> Result<(), Failure> {
        if self.global.dry_run {
            return self.plan_cohort(targets, None, false).await;
        }
        let planned = plan::plan(&self.project, &self.store, targets).await?;
        match self.watch().progress {
            Progress::Json => self
                .style
                .progress(&json!({ "plan": planned.file.digest, "members": planned.file.members.len() })),
            _ => self.style.remark(&plan_text(&planned.file, false)),
        }
        self.begin_cohort(planned, run).await
    }

    /// `apply` of a cohort's plan.
    pub async fn apply_cohort(&self, args: &ApplyArgs) -> Result<(), Failure> {
        let file = plan::read_file(&args.plan)?;
        for member in &file.members {
            planning::refuse_if_busy(&self.store, &file.plan.context, &member.partition)?;
        }
        let (name, context) = self.project.context(Some(&file.plan.context))?;
        let map = self.project.map(&self.store, name, context)?;
        let selections = file.members.iter().map(|member| member.selection.clone()).collect();
        let wished = (selections, Refused::StopAll);
        let current = plan::plan_these(&self.project, &self.store, (name, context), map, wished).await?;
        let mut changes: Vec<String> = Vec::new();
        for (then, now) in file.plans().zip(current.file.plans()) {
            let one = |plan: Plan, of: &CohortFile| planning::PlanFile {
                kind: String::new(),
                selection: String::new(),
                digest: String::new(),
                plan,
                blue: of.blue.clone(),
                green: of.green.clone(),
                difference: Vec::new(),
                compatibility: of.compatibility.clone(),
            };
            changes.extend(planning::what_changed(&one(then, &file), &one(now, &current.file)));
        }
        let mut said = BTreeSet::new();
        changes.retain(|change| said.insert(change.clone()));
        if !changes.is_empty() {
            let digest = planning::short(&file.digest);
            return Err(Failure::new("RP2003", Exit::Invalid, format!("plan {digest} no longer fits"))
                .because(changes)
                .remedy("Plan again: replat plan deploy … --out FILE"));
        }
        if self.global.dry_run {
            let text = format!("{}No change has been made.\n", plan_text(&file, false));
            self.style.result(&text, &json!(file));
            return Ok(());
        }
        self.begin_cohort(PlannedCohort { file, maps: current.maps }, &args.run).await
    }

    /// `show` of a cohort's plan file.
    pub fn show_cohort_file(&self, path: &Path) -> Result<(), Failure> {
        let file = plan::read_file(path)?;
        self.style.result(&plan_text(&file, true), &json!(file));
        Ok(())
    }

    async fn begin_cohort(&self, planned: PlannedCohort, run: &RunArgs) -> Result<(), Failure> {
        let PlannedCohort { file, maps } = planned;
        let all = Plan {
            hazards: file.members.iter().flat_map(|m| m.hazards.iter().cloned()).collect(),
            ..file.plan.clone()
        };
        refuse_unless_allowed(&all, &run.allow)?;
        for member in &file.members {
            planning::refuse_if_busy(&self.store, &file.plan.context, &member.partition)?;
        }
        let question = format!(
            "Deploy {} to {}?",
            counted(file.members.len(), "partition", "partitions"),
            file.plan.green.home
        );
        ask::confirm(self.global, &question)?;
        let asked: Vec<_> =
            file.plans().map(|plan| Event::Asked { plan: Box::new(plan) }).zip(maps).collect();
        let begun = self.store.begin_all(&asked, now())?;
        let cohort = begun.iter().find_map(|listed| listed.cohort.clone()).ok_or_else(|| {
            Failure::new("RP6004", Exit::Person, "the store made no cohort").remedy("See: replat deploy list")
        })?;
        if run.hold {
            for listed in &begun {
                let policy = Policy { switch: SwitchMode::Manual, ..file.plan.policy.clone() };
                let held = Event::PolicySet { policy: Box::new(policy), what: "switch=manual (held)".into() };
                self.say(listed, &held)?;
            }
        }
        if run.detach {
            return self.detach(cohort.as_str());
        }
        self.follow_cohort(&cohort, !run.hold).await
    }

    /// Runs a cohort until the end, or, if a person is to say when, until all are ready.
    pub async fn follow_cohort(&self, cohort: &CohortId, to_the_end: bool) -> Result<(), Failure> {
        let reached = move |d: &Deployment| {
            is_kept(d) || !to_the_end && d.phase() == Phase::Ready && d.wanted_home() == Side::Blue
        };
        let watched = members(&self.store, cohort)?.into_iter().map(|listed| listed.id).collect();
        self.pursue(cohort, &Goal { watched, reached: &reached }).await
    }

    /// Runs a cohort until its goal is reached by all that can, tells of it, and fails if some cannot.
    async fn pursue(&self, cohort: &CohortId, goal: &Goal<'_>) -> Result<(), Failure> {
        let outcome = self.watch().until_all(cohort, goal).await?;
        self.tell_cohort(cohort)?;
        match board::failure(cohort, &outcome.failed, goal.watched.len()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn rows(&self, cohort: &CohortId) -> Result<Vec<Row>, Failure> {
        members(&self.store, cohort)?
            .into_iter()
            .map(|listed| {
                let history = self.store.read(&listed.id)?;
                let since = history.last().map_or(Timestamp::default(), |entry| entry.at);
                let d = self.watch().state(&listed)?;
                let trouble = self.store.trouble(&listed.id)?;
                Ok(Row::of(listed, d, trouble, since))
            })
            .collect()
    }

    /// Shows a cohort as the result of a command.
    pub fn tell_cohort(&self, cohort: &CohortId) -> Result<(), Failure> {
        let rows = self.rows(cohort)?;
        let runner = match rows.first() {
            Some(row) => self.watch().other_runner(&row.listed)?,
            None => None,
        };
        let text = board::text(cohort, &rows, runner.as_deref(), now());
        self.style.result(&text, &board::value(cohort, &rows, runner.as_deref()));
        Ok(())
    }

    /// Writes a person's word into the logs of all members that can obey it, and stays until it has come true.
    pub async fn word_to_all(
        &self,
        cohort: &CohortId,
        event: &Event,
        done: &(dyn Fn(&Deployment) -> bool + Send + Sync),
    ) -> Result<(), Failure> {
        let mut watched = BTreeSet::new();
        let mut refused: Vec<(Listed, String)> = Vec::new();
        for listed in members(&self.store, cohort)? {
            let d = self.watch().state(&listed)?;
            if d.ended() || done(&d) && crate::verbs::already(&d, event) {
                continue;
            }
            let mut after = d.clone();
            if let Err(why) = after.after(event) {
                refused.push((listed, format!("not possible in phase {}: {why}", d.phase().as_str())));
                continue;
            }
            if !self.global.dry_run {
                self.say(&listed, event)?;
            }
            watched.insert(listed.id);
        }
        let mut alike: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, why) in &refused {
            *alike.entry(why).or_default() += 1;
        }
        for (why, n) in alike {
            self.style.remark(&format!("{}: {why}", counted(n, "member", "members")));
        }
        if watched.is_empty() {
            if let Some((listed, why)) = refused.first() {
                return Err(Failure::new(
                    "RP5002",
                    Exit::Invalid,
                    format!("no member of {cohort} can do that"),
                )
                .because([format!("{} {}: {why}", listed.id, listed.partition)])
                .remedy(format!("See where they are: replat deploy get {cohort}")));
            }
            self.style.remark("Nothing needs to be done.");
            return self.tell_cohort(cohort);
        }
        if self.global.dry_run {
            let text = format!(
                "{cohort}: would be written down for {}: {}\nNo change has been made.",
                counted(watched.len(), "member", "members"),
                render::event_text(event)
            );
            self.style.result(
                &text,
                &json!({ "id": cohort, "members": watched, "would_append": render::event_text(event) }),
            );
            return Ok(());
        }
        let waits =
            matches!(event, Event::SwitchAsked { .. } | Event::FinishAsked { .. } | Event::AbortAsked { .. });
        if !waits {
            return self.tell_cohort(cohort);
        }
        self.pursue(cohort, &Goal { watched, reached: done }).await
    }
}

fn to_be_allowed(file: &CohortFile) -> Vec<&str> {
    let hazards = file.members.iter().flat_map(|member| &member.hazards).filter(|h| h.must_allow);
    let names: BTreeSet<&str> = hazards.map(|h| h.name.code()).collect();
    names.into_iter().collect()
}

/// A cohort's plan for people: what all have in common once, and the members in a table.
fn plan_text(file: &CohortFile, detail: bool) -> String {
    let of_first = planning::PlanFile {
        kind: String::new(),
        selection: String::new(),
        digest: file.digest.clone(),
        plan: Plan {
            hazards: file.members.iter().flat_map(|m| m.hazards.iter().cloned()).collect(),
            ..file.plan.clone()
        },
        blue: file.blue.clone(),
        green: file.green.clone(),
        difference: file.difference.clone(),
        compatibility: file.compatibility.clone(),
    };
    let mut t = render::cohort_plan(&of_first, file.members.len(), detail);
    let size = |of: fn(&replat_model::draft::SliceSize) -> u64| -> u64 {
        file.members.iter().flat_map(|member| &member.sizes).map(of).sum()
    };
    t += &format!(
        "  {:<12} {}, about {} rows, {}\n",
        "members",
        counted(file.members.len(), "partition", "partitions"),
        count(size(|s| s.rows)),
        bytes(size(|s| s.bytes))
    );
    let mut by_size: Vec<_> = file.members.iter().collect();
    by_size.sort_by_key(|member| std::cmp::Reverse(member.sizes.iter().map(|s| s.rows).sum::<u64>()));
    let shown = if detail { by_size.len() } else { SHOWN_MAX };
    for member in by_size.iter().take(shown) {
        let rows: u64 = member.sizes.iter().map(|s| s.rows).sum();
        let size: u64 = member.sizes.iter().map(|s| s.bytes).sum();
        t += &format!(
            "    {:<32} {:<6} about {} rows, {}\n",
            member.partition,
            member.epoch.to_string(),
            count(rows),
            bytes(size)
        );
    }
    if by_size.len() > shown {
        t += &format!("    and {} that are no larger\n", by_size.len() - shown);
    }
    if !file.left_out.is_empty() {
        t += &format!("  {:<12} {}\n", "left out", counted(file.left_out.len(), "partition", "partitions"));
        let shown = if detail { file.left_out.len() } else { SHOWN_MAX };
        for line in file.left_out.iter().take(shown).map(LeftOut::line) {
            t += &format!("    {line}\n");
        }
        if file.left_out.len() > shown {
            t += &format!("    and {} more\n", file.left_out.len() - shown);
        }
    }
    t
}
