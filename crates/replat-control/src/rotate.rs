//! A run over the partitions of one database: look, draft, act unit by unit, look again, remember.
//!
//! ```text
//!   unchanged since a run that found nothing to do? ── yes ──▶ nothing to do
//!        │ no
//!   read-only? ── yes ──▶ said so
//!        │ no
//!   alone in this database ─▶ look ─▶ draft ─▶ for each unit: quota, veto, breaker, budget ─▶ act
//!                                                                                            │
//!                                      remember ◀── findings, runways ◀── look again ◀───────┘
//! ```
//!
//! A unit fails alone: the other sets go on, and so do other kinds of work of the same set. Plans that were made and
//! shown before, such as those of explicit requests, are carried out in the same way, if they still fit. Nothing here
//! knows a database or prints a line: whoever calls it gives the engines, and hears of everything as it happens. It can
//! be called again and again for one database, by a schedule or a message; runs that overlap do no harm.
//!
//! | what | where |
//! |---|---|
//! | what came of it | [`report`] |
//! | breakers, budgets, vetoes | `gate` |
//! | units, side by side and one by one | `work` |
//! | the order of units | `queue` |
//! | whether the catalogue says what was done | `confirm` |
//! | how long inserts are safe | [`replat_model::lifecycle::runway`] |
//! | until when nothing becomes due | [`steady`] |
//! | partitions counted | [`census`](replat_model::lifecycle::census) |

mod confirm;
mod gate;
mod queue;
pub mod report;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, LifecycleEngine, Look};
use replat_model::lifecycle::breaker::{self, BreakerLimits};
use replat_model::lifecycle::census::{Census, census};
use replat_model::lifecycle::draft::{Wish, draft};
use replat_model::lifecycle::facts::{Facts, Micros, Vitals};
use replat_model::lifecycle::health::{self, Finding, Severity, codes};
use replat_model::lifecycle::patience::{Budgets, Spent};
use replat_model::lifecycle::plan::{RotatePlan, Unit};
use replat_model::lifecycle::runway::short;
use replat_model::lifecycle::steady;

pub use replat_model::lifecycle::runway::runways;

use gate::{Gate, Stand, Vetoes, provisions};
use report::{Ending, Entry, Reason, RunReport, State};

/// What a run is to do, and how carefully.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, as [`name`] makes one: that under which its engines record what they do.
    pub run: String,
    /// Why it is begun.
    pub reason: Reason,
    /// Which sets are looked at.
    pub look: Look,
    /// What is wanted of them, and which kinds of work are on.
    pub wish: Wish,
    /// How much the application may feel.
    pub budgets: Budgets,
    /// When provisioning stands back.
    pub breaker: BreakerLimits,
    /// How long the run waits for locks and breakers.
    pub patience: Duration,
    /// Sets whose inserts are safe for less than this are found fault with; `None`: as health says.
    pub runway_min: Option<Duration>,
    /// Whether nothing is looked at where nothing has changed since a run that found nothing to do.
    pub quick: bool,
    /// Whether the statements of all units are shown, and none is begun.
    pub dry_run: bool,
}

impl Settings {
    /// A digest of what is wanted: the same wish of the same sets has the same one.
    fn digest(&self) -> String {
        let wanted = (&self.wish, &self.look.tables, self.runway_min);
        let wanted = serde_json::to_vec(&wanted).unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        // A newer program may want something else of the same words.
        (env!("CARGO_PKG_VERSION"), wanted).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// What a run tells while it is under way.
#[derive(Debug)]
pub enum News<'a> {
    /// It has looked, and knows what is to be done.
    Began {
        /// Its name.
        run: &'a str,
        /// What it found.
        facts: &'a Facts,
        /// What it will do.
        plan: &'a RotatePlan,
    },
    /// A unit begins.
    Begins(&'a Unit),
    /// A unit has ended, or was not begun.
    Ended(&'a Entry),
    /// A breaker is open: provisioning waits.
    Held {
        /// Why.
        reason: &'a str,
        /// What would end it.
        closes_when: &'a str,
    },
    /// The breaker has closed.
    GoesOn,
    /// Something is wrong, or worth knowing.
    Finding(&'a Finding),
}

/// Hears of a run.
pub trait Watch: Hear {
    /// This happened just now.
    fn told(&self, news: &News<'_>);
}

/// A database and what it takes to run over it.
pub struct Rotation<'a> {
    /// Its engines: a session each. The first looks, keeps other runs out, and remembers; as many units are worked on
    /// at the same time as there are engines. There is at least one.
    pub engines: &'a [Box<dyn LifecycleEngine>],
    /// What is to be done.
    pub settings: &'a Settings,
    /// Who hears of it.
    pub heard: &'a dyn Watch,
}

/// What was found, and what follows.
#[derive(Clone, Debug)]
pub struct Drafted {
    /// What was found.
    pub facts: Facts,
    /// What is to be done.
    pub plan: RotatePlan,
    /// What is wrong with what is there.
    pub health: Vec<Finding>,
}

impl Rotation<'_> {
    fn leader(&self) -> &dyn LifecycleEngine {
        self.engines.first().expect("a rotation has an engine").as_ref()
    }

    /// Runs once.
    ///
    /// # Errors
    ///
    /// [`Superseded`](EngineError::Superseded) if another run is at work in the database, which is harmless; and
    /// whatever keeps the run from looking at all. What goes wrong with a unit is in the report.
    pub async fn run(&self) -> Result<RunReport, EngineError> {
        let begun = Instant::now();
        if self.settings.quick
            && !self.settings.dry_run
            && let Some(report) = self.unchanged(begun).await?
        {
            return Ok(report);
        }
        let vitals = self.leader().vitals().await?;
        if vitals.read_only {
            return Ok(self.read_only(&vitals, begun));
        }
        // Whoever only shows keeps nobody out.
        let _alone = match self.settings.dry_run {
            true => None,
            false => Some(self.leader().alone().await?),
        };
        let drafted = self.draft().await?;
        self.carry_out(drafted, begun).await
    }

    /// Looks, and says what follows. Reads only.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from looking.
    pub async fn draft(&self) -> Result<Drafted, EngineError> {
        let facts = self.leader().look(&self.settings.look).await?;
        let plan = draft(&facts, &self.settings.wish);
        let health = health::check(&facts, &self.settings.wish);
        Ok(Drafted { facts, plan, health })
    }

    /// Says what is wrong with what is there. Reads only; units are neither begun nor shown.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from looking.
    pub async fn check(&self) -> Result<RunReport, EngineError> {
        let begun = Instant::now();
        let Drafted { facts, plan, health } = self.draft().await?;
        let mut report = self.blank(&facts.vitals, begun);
        self.heard.told(&News::Began { run: &report.run, facts: &facts, plan: &plan });
        let mut findings: BTreeSet<Finding> = plan.findings.iter().chain(&health).cloned().collect();
        // Vetoes are findings here: nothing is to be made.
        self.vetoes(&facts, &mut findings).await;
        report.ending = if facts.vitals.read_only { Ending::ReadOnly } else { Ending::Checked };
        self.conclude(&mut report, &facts, &plan, findings, begun);
        Ok(report)
    }

    /// What each set has, by its name.
    pub fn census(&self, drafted: &Drafted) -> BTreeMap<String, Census> {
        census(&drafted.facts, &self.settings.wish, &drafted.health)
    }

    /// Carries out a plan that was made before, if it `fits` what is there now; else the reason why it does not.
    ///
    /// # Errors
    ///
    /// As [`Rotation::run`].
    pub async fn apply(
        &self,
        plan: &RotatePlan,
        fits: impl Fn(&Drafted) -> Result<(), String>,
    ) -> Result<Result<RunReport, String>, EngineError> {
        let begun = Instant::now();
        let vitals = self.leader().vitals().await?;
        if vitals.read_only {
            return Ok(Ok(self.read_only(&vitals, begun)));
        }
        let _alone = match self.settings.dry_run {
            true => None,
            false => Some(self.leader().alone().await?),
        };
        let drafted = self.draft().await?;
        match fits(&drafted) {
            Err(why) => Ok(Err(why)),
            Ok(()) => self.carry_out(Drafted { plan: plan.clone(), ..drafted }, begun).await.map(Ok),
        }
    }

    /// A report that nothing has changed since a run that found nothing to do, if that is so.
    async fn unchanged(&self, begun: Instant) -> Result<Option<RunReport>, EngineError> {
        let Some(last) = self.leader().recall().await? else { return Ok(None) };
        let steady = last.steady_until.is_some_and(|until| last.now < until) && last.now >= last.at;
        let empty = last.default_bytes == Some(0);
        if !steady || !empty || last.read_only || last.policy != self.settings.digest() {
            return Ok(None);
        }
        if self.leader().fingerprint().await? != last.fingerprint {
            return Ok(None);
        }
        Ok(Some(RunReport {
            run: self.settings.run.clone(),
            reason: self.settings.reason.clone(),
            database: last.database,
            ending: Ending::Unchanged,
            began: last.now,
            took_ms: millis(begun.elapsed()),
            converged: true,
            fingerprint: last.fingerprint,
            ..RunReport::default()
        }))
    }

    fn read_only(&self, vitals: &Vitals, begun: Instant) -> RunReport {
        let finding = Finding {
            severity: Severity::Note,
            code: codes::READ_ONLY.into(),
            set: None,
            what: format!("{} takes no writes now: nothing can be done here", vitals.database),
            remedy: "Nothing, if it is a standby; the run on the primary does the work.".into(),
        };
        self.heard.told(&News::Finding(&finding));
        RunReport { ending: Ending::ReadOnly, findings: vec![finding], ..self.blank(vitals, begun) }
    }

    fn blank(&self, vitals: &Vitals, begun: Instant) -> RunReport {
        RunReport {
            run: self.settings.run.clone(),
            reason: self.settings.reason.clone(),
            database: vitals.database.clone(),
            identity: vitals.identity.clone(),
            version: vitals.version.clone(),
            began: vitals.now.saturating_sub(micros(begun.elapsed())),
            took_ms: millis(begun.elapsed()),
            ..RunReport::default()
        }
    }

    async fn carry_out(&self, drafted: Drafted, begun: Instant) -> Result<RunReport, EngineError> {
        let Drafted { facts, plan, health } = drafted;
        let mut report = self.blank(&facts.vitals, begun);
        self.heard.told(&News::Began { run: &report.run, facts: &facts, plan: &plan });
        let mut findings: BTreeSet<Finding> = plan.findings.iter().cloned().collect();
        report.entries = match self.settings.dry_run {
            true => self.show(&plan, begun, facts.vitals.now).await,
            false => {
                if plan.units.iter().any(|unit| provisions(unit.work.kind())) {
                    findings.extend(breaker::unseen(&facts.vitals, &self.settings.breaker));
                }
                let vetoes = self.vetoes(&facts, &mut findings).await;
                let history = self.leader().stalls().await?;
                let spent = Spent::within_the_hour(&history, facts.vitals.now);
                let gate = Gate::new(self.settings, self.heard, facts.vitals.clone(), spent);
                let entries = self.act(&facts, &plan, &gate, &vetoes, &report.run, begun).await?;
                report.pauses = gate.pauses().await;
                entries
            }
        };
        let worked = report.in_state(State::Done).next().is_some();
        let after = match worked {
            // A look that fails now takes nothing back; what was done stays done, and the next run looks.
            true => match self.leader().look(&self.settings.look).await {
                Ok(after) => {
                    findings.extend(confirm::confirm(&report.entries, &after));
                    Some(after)
                }
                Err(error) => {
                    findings.insert(no_look(&error));
                    None
                }
            },
            false => Some(facts.clone()),
        };
        match &after {
            // What units put right is wrong no longer.
            Some(after) if worked => findings.extend(health::check(after, &self.settings.wish)),
            // What the units that are shown would put right is no reason to call them wrong.
            _ if self.settings.dry_run => {}
            _ => findings.extend(health),
        }
        let seen = after.as_ref().unwrap_or(&facts);
        self.conclude(&mut report, seen, &plan, findings, begun);
        report.converged &= after.is_some() && plan.units.is_empty();
        if self.settings.dry_run {
            report.ending = Ending::Shown;
        } else {
            let mut record = report.record(&plan);
            record.policy = self.settings.digest();
            record.steady_until =
                report.is_quiet().then(|| steady::until(seen, &self.settings.wish)).flatten();
            if let Err(error) = self.leader().remember(seen, &record).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the run could not be recorded");
                report.findings.push(not_remembered(&error));
            }
        }
        report.took_ms = millis(begun.elapsed());
        Ok(report)
    }

    /// Fills in what a look found at the end.
    fn conclude(
        &self,
        report: &mut RunReport,
        seen: &Facts,
        plan: &RotatePlan,
        mut findings: BTreeSet<Finding>,
        begun: Instant,
    ) {
        report.sets = seen.sets.len() as u64;
        report.understood = plan.understood.clone();
        report.runways = runways(seen, &self.settings.wish);
        let least = self.settings.runway_min;
        findings.extend(least.into_iter().flat_map(|least| short(&report.runways, least)));
        report.fingerprint = seen.fingerprint.clone();
        report.findings = findings.into_iter().collect();
        report.findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
        report.census = census(seen, &self.settings.wish, &report.findings);
        report.converged =
            plan.units.is_empty() && report.findings.iter().all(|f| f.severity < Severity::Error);
        for finding in &report.findings {
            self.heard.told(&News::Finding(finding));
        }
        report.took_ms = millis(begun.elapsed());
    }

    /// The statements of all units.
    async fn show(&self, plan: &RotatePlan, begun: Instant, now: Micros) -> Vec<Entry> {
        let mut entries = Vec::new();
        for unit in &plan.units {
            let shown = self.leader().script(unit).await;
            let (script, why, code) = match shown {
                Ok(script) => (Some(script), None, None),
                Err(error) => (None, Some(error.to_string()), Some(error.code().to_owned())),
            };
            let state = if why.is_some() { State::Refused } else { State::Shown };
            let at = now.saturating_add(micros(begun.elapsed()));
            let entry = Entry {
                unit: unit.clone(),
                state,
                outcome: None,
                why,
                code,
                again: false,
                at,
                took_ms: 0,
                script,
            };
            self.heard.told(&News::Ended(&entry));
            entries.push(entry);
        }
        entries
    }

    /// Sets that get no partitions in this run, and why. What is over a quota is in no plan, and needs no veto.
    async fn vetoes(&self, facts: &Facts, findings: &mut BTreeSet<Finding>) -> Vetoes {
        let mut vetoes = Vetoes::new();
        for set in &facts.sets {
            let Some((_, lifecycle)) = self.settings.wish.of(set) else { continue };
            if lifecycle.prune.is_empty() {
                continue;
            }
            match self.leader().prunes(&set.table, &lifecycle.prune).await {
                Ok(found) => {
                    for finding in found {
                        if finding.severity == Severity::Error {
                            let stand = Stand { code: codes::PRUNING, why: finding.what.clone() };
                            vetoes.entry(set.table.clone()).or_insert(stand);
                        }
                        findings.insert(finding);
                    }
                }
                // What could not be asked is no permission, if the policy made it a condition.
                Err(error) if lifecycle.prune.iter().any(|q| q.veto) => {
                    let why = format!("whether queries are pruned could not be asked: {error}");
                    vetoes.entry(set.table.clone()).or_insert(Stand { code: codes::PRUNING, why });
                }
                Err(error) => {
                    findings.insert(Finding {
                        severity: Severity::Warning,
                        code: codes::PRUNING.into(),
                        set: Some(set.table.clone()),
                        what: format!("whether queries are pruned could not be asked: {error}"),
                        remedy: error.remedy(),
                    });
                }
            }
        }
        vetoes
    }
}

fn no_look(error: &EngineError) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: codes::NOT_AS_PLANNED.into(),
        set: None,
        what: format!("what was done could not be looked at afterwards: {error}"),
        remedy: "Look again: replat rotate --check".into(),
    }
}

fn not_remembered(error: &EngineError) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: error.code().into(),
        set: None,
        what: format!("the run could not be recorded for the next one's forecast: {error}"),
        remedy: error.remedy(),
    }
}

/// A name for a run that begins at `now`, by the clock of this process. No two runs of this computer have the same.
pub fn name(now: Micros) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = DefaultHasher::new();
    (now, std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)).hash(&mut hasher);
    format!("r-{:012x}", hasher.finish() >> 16)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
