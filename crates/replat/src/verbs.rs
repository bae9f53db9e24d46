//! The verbs of `deploy`: looking at deployments, and a person's words to them.

use std::time::Duration;

use replat_engine::{Engine, Listed, LogError, WorkLog};
use replat_model::deploy::{Deployment, Event, Phase};
use replat_model::ids::{CohortId, Side};
use replat_model::next::next;
use replat_model::spec::{DurationText, Policy};
use replat_postgres::engine::now;
use serde_json::{Value, json};

use crate::cli::{Because, DeployVerb};
use crate::deploy::Desk;
use crate::failure::{Exit, Failure};
use crate::render::{self, Live};
use crate::watch::{is_home, safe, stands_still, troubled};

/// How long a word waits for its turn while a runner writes one entry after the other.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// How often somebody who waits looks at the log.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Desk<'_> {
    /// Obeys a verb.
    pub async fn verb(&self, verb: &DeployVerb) -> Result<(), Failure> {
        match verb {
            DeployVerb::List => self.list(),
            DeployVerb::Get { id, live } => self.get(id.as_deref(), *live).await,
            DeployVerb::Watch { id } if self.cohort(id.as_deref())?.is_some() => {
                let cohort = self.cohort(id.as_deref())?.expect("it was just found");
                self.follow_cohort(&cohort, true).await
            }
            DeployVerb::Watch { id } => self.follow(&self.find(id.as_deref())?, true).await,
            DeployVerb::Wait { id, phase, timeout } => self.wait(id.as_deref(), phase, timeout).await,
            DeployVerb::Events { id, follow } => self.events(id.as_deref(), *follow).await,
            DeployVerb::Pause(b) => self.word(b, |why| Event::Paused { why }, |d| d.paused.is_some()).await,
            DeployVerb::Resume(b) => self.word(b, |_| Event::Resumed, |_| true).await,
            DeployVerb::Set { id, changes } => self.set(id, changes).await,
            DeployVerb::Switch(b) => {
                let asked = |why| Event::SwitchAsked { to: Side::Green, why };
                self.word(b, asked, |d| is_home(d, Side::Green)).await
            }
            DeployVerb::Rollback(b) if self.cohort(b.id.as_deref())?.is_none() => {
                let listed = self.find(b.id.as_deref())?;
                self.refuse_rollback(&listed, &self.watch().state(&listed)?)?;
                let asked = |why| Event::SwitchAsked { to: Side::Blue, why };
                self.word(b, asked, |d| is_home(d, Side::Blue)).await
            }
            DeployVerb::Rollback(b) => {
                let asked = |why| Event::SwitchAsked { to: Side::Blue, why };
                self.word(b, asked, |d| is_home(d, Side::Blue)).await
            }
            DeployVerb::Finish(b) => {
                self.word(b, |why| Event::FinishAsked { why }, |d| d.finished.is_some()).await
            }
            DeployVerb::Exchange(args) => self.exchange(args).await,
            DeployVerb::Abort(b) => self.word(b, |why| Event::AbortAsked { why }, |d| d.aborted).await,
        }
    }

    /// The cohort that somebody means, if it is one.
    fn cohort(&self, named: Option<&str>) -> Result<Option<CohortId>, Failure> {
        crate::cohort::named(&self.store, named)
    }

    /// Says why there can be no rollback, where that is so.
    fn refuse_rollback(&self, listed: &Listed, d: &Deployment) -> Result<(), Failure> {
        let no = |what: String, remedy: String| {
            Err(Failure::new("RP5002", Exit::Invalid, what).state(safe(d)).remedy(remedy))
        };
        let id = &listed.id;
        if d.aborted || d.finished.is_some() || d.finish_asked {
            return no(
                format!("the way back of {id} has ended: it is {}", d.phase().as_str()),
                format!("See what it was: replat deploy events {id}"),
            );
        }
        if !d.plan.has_way_back() {
            let why = match d.home {
                Side::Green => "it was deployed as not reversible",
                Side::Blue => "it is not reversible, and has not switched",
            };
            return no(
                format!("{id} has no way back: {why}"),
                match d.home {
                    Side::Green => {
                        "Deploy a version that mends what is wrong; blue's copy is kept read-only.".into()
                    }
                    Side::Blue => format!("To give it up: replat deploy abort {id}"),
                },
            );
        }
        if d.home == Side::Blue && d.epoch == d.plan.epoch && d.attempt.is_none() {
            return no(
                format!("{id} has not switched: blue is home"),
                format!("To give it up: replat deploy abort {id}"),
            );
        }
        Ok(())
    }

    fn list(&self) -> Result<(), Failure> {
        let all = self.store.list()?;
        let states = all.iter().map(|l| self.watch().state(l)).collect::<Result<Vec<_>, _>>()?;
        let cards = all.iter().zip(&states).map(|(l, d)| self.card(l, d)).collect::<Result<Vec<_>, _>>()?;
        let values = cards.iter().map(render::deployment_value).collect();
        self.style.result(&render::list(&cards), &Value::Array(values));
        Ok(())
    }

    /// Shows a deployment; `live` looks at both databases too.
    pub async fn get(&self, id: Option<&str>, live: bool) -> Result<(), Failure> {
        if let Some(cohort) = self.cohort(id)? {
            return self.tell_cohort(&cohort);
        }
        let listed = self.find(id)?;
        let d = self.watch().state(&listed)?;
        let mut card = self.card(&listed, &d)?;
        card.routing = self.project.routing(&self.store, &listed).await?;
        if live {
            let engine = self.watch().engine(&listed, &d, true)?;
            let step = next(&d, &engine.look(&d).await?);
            let (slots, parked) = (engine.slots().await?, engine.parked().await?);
            card.live = Some(Live { step, slots, parked });
        }
        self.style.result(&render::deployment(&card), &render::deployment_value(&card));
        Ok(())
    }

    async fn wait(&self, id: Option<&str>, phase: &str, timeout: &str) -> Result<(), Failure> {
        let cohort = self.cohort(id)?;
        let all = match &cohort {
            Some(cohort) => crate::cohort::members(&self.store, cohort)?,
            None => vec![self.find(id)?],
        };
        let wanted: Phase = serde_json::from_value(json!(phase)).map_err(|_| {
            let known = PHASES.map(Phase::as_str);
            let meant = replat_model::spec::nearest(phase, known);
            Failure::new("RP2006", Exit::Usage, format!("there is no phase {phase}{}", did_you_mean(meant)))
                .remedy(format!("One of: {}", known.join(", ")))
        })?;
        let patience: DurationText = timeout.parse().map_err(|e| {
            Failure::new("RP2006", Exit::Usage, format!("--timeout {timeout}: {e}"))
                .remedy("Write it with its unit: 90s, 15m, 2h, 7d")
        })?;
        let end = tokio::time::Instant::now() + patience.as_duration();
        let mut failed = Vec::new();
        for listed in &all {
            let failure = match tokio::time::timeout_at(end, self.reached(listed, wanted)).await {
                Ok(Ok(d)) if cohort.is_none() => return self.tell(listed, &d),
                Ok(Ok(_)) => continue,
                Ok(Err(failure)) => failure,
                Err(_) => self.too_late(listed, timeout)?,
            };
            if cohort.is_none() {
                return Err(failure);
            }
            failed.push((listed.clone(), format!("{} {}", failure.code, failure.what)));
        }
        let Some(cohort) = cohort else { return Ok(()) };
        self.tell_cohort(&cohort)?;
        match crate::cohort::failure(&cohort, &failed, all.len()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Returns when the phase is reached, or was passed on the way forward.
    async fn reached(&self, listed: &Listed, wanted: Phase) -> Result<Deployment, Failure> {
        let begun = now();
        loop {
            let d = self.watch().state(listed)?;
            if d.phase() == wanted || has_passed(d.phase(), wanted) {
                return Ok(d);
            }
            if d.aborted {
                let what = format!("{} was aborted", listed.id);
                return Err(Failure::new("RP5005", Exit::Undone, what)
                    .state(safe(&d))
                    .remedy(format!("See why: replat deploy events {}", listed.id)));
            }
            if let Some(failure) = stands_still(&d, listed) {
                return Err(failure);
            }
            let trouble = self.store.trouble(&listed.id)?;
            if let Some(trouble) = trouble.filter(|t| t.needs_a_person && t.last >= begun) {
                return Err(troubled(&trouble, &d));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn too_late(&self, listed: &Listed, timeout: &str) -> Result<Failure, Failure> {
        let d = self.watch().state(listed)?;
        let what = format!("{} is still in phase {} after {timeout}", listed.id, d.phase().as_str());
        let failure = Failure::new("RP5003", Exit::Temporary, what).state(safe(&d));
        Ok(match self.watch().other_runner(listed)? {
            Some(_) => {
                failure.remedy(format!("See what it waits for: replat deploy get {} --live", listed.id))
            }
            None => failure
                .because(["no runner is at work on it"])
                .remedy(format!("Run it: replat deploy watch {}", listed.id)),
        })
    }

    async fn events(&self, id: Option<&str>, follow: bool) -> Result<(), Failure> {
        let listed = self.find(id)?;
        let history = self.store.read(&listed.id)?;
        if !follow {
            let lines: Vec<String> = history.iter().map(render::event_line).collect();
            let values = history.iter().map(render::event_value).collect();
            self.style.result(&lines.join("\n"), &Value::Array(values));
            return Ok(());
        }
        let mut shown = 0;
        loop {
            // Asked before the history is read: what is written in between is then shown before this ends.
            let ended = self.watch().state(&listed)?.ended();
            let history = self.store.read(&listed.id)?;
            for entry in history.iter().skip(shown) {
                self.style.line(&match self.style.is_json() {
                    true => render::event_value(entry).to_string(),
                    false => render::event_line(entry),
                });
            }
            shown = history.len();
            if ended {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Writes a person's word into the log, and stays until it has come true.
    async fn word(
        &self,
        because: &Because,
        event: impl Fn(String) -> Event,
        done: impl Fn(&Deployment) -> bool + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let event = event(because.reason.clone());
        if let Some(cohort) = self.cohort(because.id.as_deref())? {
            return self.word_to_all(&cohort, &event, &done).await;
        }
        let listed = self.find(because.id.as_deref())?;
        let before = self.watch().state(&listed)?;
        if already(&before, &event) && done(&before) {
            self.style.remark("Nothing needs to be done.");
            return self.tell(&listed, &before);
        }
        if self.global.dry_run {
            return self.dry(&listed, &before, &event);
        }
        self.say(&listed, &event)?;
        let waits =
            matches!(event, Event::SwitchAsked { .. } | Event::FinishAsked { .. } | Event::AbortAsked { .. });
        if !waits {
            let d = self.watch().state(&listed)?;
            return self.tell(&listed, &d);
        }
        let d = self.watch().until(&listed, Box::new(done), false).await?;
        self.tell(&listed, &d)
    }

    fn dry(&self, listed: &Listed, before: &Deployment, event: &Event) -> Result<(), Failure> {
        let mut after = before.clone();
        after.after(event).map_err(|why| refused(listed, before, why))?;
        let text = format!(
            "{}: would be written down: {}\nNo change has been made.",
            listed.id,
            render::event_text(event)
        );
        self.style.result(&text, &json!({ "id": listed.id, "would_append": render::event_text(event) }));
        Ok(())
    }

    /// Appends, again if a runner was faster.
    pub fn say(&self, listed: &Listed, event: &Event) -> Result<(), Failure> {
        let end = std::time::Instant::now() + HEARD_WITHIN;
        loop {
            let length = self.store.read(&listed.id)?.len() as u64;
            match self.store.append(&listed.id, length, event, now()) {
                Ok(()) => return Ok(()),
                Err(LogError::Conflict { .. }) if std::time::Instant::now() < end => {}
                Err(LogError::OutOfPlace { why }) => {
                    return Err(refused(listed, &self.watch().state(listed)?, why));
                }
                Err(error) => {
                    let d = self.watch().state(listed)?;
                    return Err(Failure::from(error).state(safe(&d)));
                }
            }
        }
    }

    async fn set(&self, id: &str, changes: &[String]) -> Result<(), Failure> {
        let listed = self.find(Some(id))?;
        let d = self.watch().state(&listed)?;
        let policy = changed(&d.policy, changes)?;
        let event = Event::PolicySet { policy: Box::new(policy), what: changes.join(" ") };
        if self.global.dry_run {
            return self.dry(&listed, &d, &event);
        }
        self.say(&listed, &event)?;
        let d = self.watch().state(&listed)?;
        self.tell(&listed, &d)
    }
}

/// Whether a word changes nothing.
pub fn already(d: &Deployment, event: &Event) -> bool {
    match event {
        Event::SwitchAsked { to, .. } => d.home == *to && d.wanted_home() == *to,
        Event::FinishAsked { .. } => d.finished.is_some(),
        Event::AbortAsked { .. } => d.aborted,
        Event::Paused { .. } => d.paused.is_some(),
        Event::Resumed => stands(d),
        _ => false,
    }
}

/// Whether there is nothing that `resume` would let go on.
fn stands(d: &Deployment) -> bool {
    d.paused.is_none() && d.verify_failed.is_none() && d.contracts_broken.is_none() && d.failed_attempts == 0
}

/// A word that cannot be obeyed where the deployment is.
fn refused(listed: &Listed, d: &Deployment, why: &str) -> Failure {
    let id = &listed.id;
    let what = match d.aborted {
        true => format!("{id} was aborted: nothing more can be done with it"),
        false => format!("not possible while {id} is in phase {}: {why}", d.phase().as_str()),
    };
    Failure::new("RP5002", Exit::Invalid, what)
        .state(safe(d))
        .remedy(format!("See where it is: replat deploy get {id}"))
}

/// The phases, for those who name one.
const PHASES: [Phase; 10] = [
    Phase::Prepare,
    Phase::Copy,
    Phase::CatchUp,
    Phase::Verify,
    Phase::Ready,
    Phase::Switch,
    Phase::Soak,
    Phase::Finished,
    Phase::RolledBack,
    Phase::Aborted,
];

/// Whether `now` lies behind `wanted` on the way forward. Rolled back and aborted are on no such way.
fn has_passed(now: Phase, wanted: Phase) -> bool {
    let place = |phase| PHASES[..8].iter().position(|p| *p == phase);
    matches!((place(now), place(wanted)), (Some(now), Some(wanted)) if now > wanted)
}

/// `policy` with changes, checked together as the same lines of a spec would be.
fn changed(policy: &Policy, changes: &[String]) -> Result<Policy, Failure> {
    let mut values = serde_json::to_value(policy).expect("a policy is plain data");
    for change in changes {
        put(&mut values, change).map_err(|why| not_a_limit(change, &why))?;
    }
    // JSON's numbers and texts are TOML's, so the rules of a spec are asked rather than told again.
    let lines: String =
        values.as_object().into_iter().flatten().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let spec = replat_model::spec::parse(&format!("version = 1\nproject = \"set\"\n[policy]\n{lines}"));
    spec.map(|spec| spec.policy).map_err(|errors| {
        let why: Vec<String> = errors.into_iter().map(|e| e.message).collect();
        not_a_limit(&changes.join(" "), &why.join("; "))
    })
}

/// Puts `key=value` in its place.
fn put(values: &mut Value, change: &str) -> Result<(), String> {
    let (key, text) = change.split_once('=').ok_or("write key=value")?;
    let (key, text) = (key.trim().replace('-', "_"), text.trim());
    let names: Vec<String> = values.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default();
    let slot = values.get_mut(&key).ok_or_else(|| {
        let meant = replat_model::spec::nearest(&key, names.iter().map(String::as_str));
        format!("there is no such limit{}", did_you_mean(meant))
    })?;
    *slot = match text.parse::<u64>() {
        Ok(number) if slot.is_number() => number.into(),
        _ => text.into(),
    };
    Ok(())
}

fn not_a_limit(change: &str, why: &str) -> Failure {
    Failure::new("RP2006", Exit::Usage, format!("{change}: {why}"))
        .remedy("The keys are those of [policy]; see docs/spec.md. For example: lag_max=4MiB soak=2d")
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}
