//! Running a deployment here, or following the runner that has it, and telling how far it is.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use replat_control::{Pulse, Runner};
use replat_engine::{Listed, Recorded, Trouble, Verdict, WorkLog};
use replat_model::deploy::{Deployment, Phase, Timestamp};
use replat_model::ids::Side;
use replat_model::next::Reason;
use replat_postgres::copy::CopyProgress;
use replat_postgres::engine::{PostgresEngine, now};
use replat_postgres::verify::VerifyProgress;
use replat_store::Store;
use serde_json::json;

use crate::cli::Progress;
use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::render::{self, Style};

/// How often a follower looks at the log.
const FOLLOW_EVERY: Duration = Duration::from_millis(30);

/// How often progress is redrawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// How often a plain line tells of progress at most.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What somebody waits for.
pub type Goal = Box<dyn Fn(&Deployment) -> bool + Send + Sync>;

/// A deployment to look after, and how to tell of it.
pub struct Watch<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its store.
    pub store: &'a Store,
    /// How to print.
    pub style: Style,
    /// How progress is shown.
    pub progress: Progress,
}

impl Watch<'_> {
    /// Until `goal` holds: runs the deployment here unless somebody else does, and takes over when they are gone.
    ///
    /// # Errors
    ///
    /// A failure if it waits for a person before the goal is reached and `patient` is false.
    pub async fn until(&self, listed: &Listed, goal: Goal, patient: bool) -> Result<Deployment, Failure> {
        let mut shown = self.store.read(&listed.id)?.len();
        let begun = now();
        let mut said = String::new();
        loop {
            let d = self.state(listed)?;
            if goal(&d) || d.ended() {
                return Ok(d);
            }
            match self.other_runner(listed)? {
                Some(_) => {
                    shown = self.show_new(listed, shown)?;
                    // What the runner failed at before may be mended by now; it tries again soon.
                    if let Some(trouble) = self.store.trouble(&listed.id)?.filter(|t| t.last >= begun) {
                        if trouble.needs_a_person && !patient {
                            return Err(troubled(&trouble, &d));
                        }
                        if said != trouble.what {
                            said.clone_from(&trouble.what);
                            self.tell(listed, &render::trouble_text(&trouble));
                        }
                    }
                    tokio::time::sleep(FOLLOW_EVERY).await;
                }
                None if listed.cohort.is_some() => return self.run_member(listed, &goal).await,
                None => {
                    if let Some(d) = self.run(listed, &goal, patient).await? {
                        return Ok(d);
                    }
                    shown = self.store.read(&listed.id)?.len();
                }
            }
        }
    }

    /// A member is run with its whole cohort: what they share cannot be had by one of them.
    async fn run_member(&self, listed: &Listed, goal: &Goal) -> Result<Deployment, Failure> {
        let cohort = listed.cohort.as_ref().expect("it was just looked at");
        let watched = [listed.id.clone()].into();
        let mut outcome = self.until_all(cohort, &crate::cohort::Goal { watched, reached: &**goal }).await?;
        match outcome.failures.remove(&listed.id) {
            Some(failure) => Err(failure),
            None => self.state(listed),
        }
    }

    /// The deployment as its log has it.
    pub fn state(&self, listed: &Listed) -> Result<Deployment, Failure> {
        let history = self.store.read(&listed.id)?;
        let events = history.iter().map(|r| &r.event);
        Ok(Deployment::fold(events).map_err(replat_control::ControlError::from)?)
    }

    /// Whoever runs the deployment in another process.
    pub fn other_runner(&self, listed: &Listed) -> Result<Option<String>, Failure> {
        let alive = self.store.runner(&listed.id)?.filter(|(name, until)| *until > now() && *name != me());
        Ok(alive.map(|(name, _)| name))
    }

    /// Prints the entries from `shown` on, and returns how many there are.
    pub fn show_new(&self, listed: &Listed, shown: usize) -> Result<usize, Failure> {
        let news = self.store.read_from(&listed.id, shown as u64)?;
        for entry in &news {
            self.show(listed, entry);
        }
        Ok(shown + news.len())
    }

    fn show(&self, listed: &Listed, entry: &Recorded) {
        match self.progress {
            Progress::None => {}
            Progress::Json => self.style.progress(&json!({
                "deployment": listed.id, "partition": listed.partition, "entry": render::event_value(entry)
            })),
            _ => self.style.remark(&format!(
                "{} {} {}",
                render::moment(entry.at),
                listed.id,
                render::event_text(&entry.event)
            )),
        }
    }

    /// Says something that is no entry of the log.
    fn tell(&self, listed: &Listed, text: &str) {
        match self.progress {
            Progress::None => {}
            Progress::Json => self.style.progress(&json!({ "deployment": listed.id, "says": text })),
            _ => self.style.remark(&format!("{} {} {text}", render::moment(now()), listed.id)),
        }
    }

    /// The engine for a deployment.
    pub fn engine(
        &self,
        listed: &Listed,
        d: &Deployment,
        read_only: bool,
    ) -> Result<PostgresEngine, Failure> {
        if let Some(cohort) = &listed.cohort {
            let all = crate::cohort::members(self.store, cohort)?.into_iter();
            let all = all.map(|listed| Ok((listed.clone(), self.state(&listed)?)));
            let shared = self.shared(cohort, &all.collect::<Result<Vec<_>, Failure>>()?, read_only)?;
            if let Some(engine) = PostgresEngine::of_member(&shared, &listed.id) {
                return Ok(if read_only { engine.reading_only() } else { engine });
            }
        }
        let plan = Arc::new(d.plan.clone());
        let blue = self.project.connection(&plan.blue.home, read_only)?;
        let green = self.project.connection(&plan.green.home, read_only)?;
        let engine = PostgresEngine::new(plan, listed.id.clone(), blue, green);
        Ok(if read_only { engine.reading_only() } else { engine })
    }

    /// Runs the deployment here; `None` if somebody else turned out to run it.
    async fn run(&self, listed: &Listed, goal: &Goal, patient: bool) -> Result<Option<Deployment>, Failure> {
        let d = self.state(listed)?;
        let engine = self.engine(listed, &d, false)?;
        let gate = self.project.gate(&listed.context)?;
        let runner = Runner {
            listed: listed.clone(),
            log: self.store,
            engine: &engine,
            gate: &*gate,
            clock: now,
            name: me(),
            turns: None,
        };
        let told = RefCell::new(Told::new(self, listed, &engine));
        let stopping = Cell::new(false);
        let enough = |d: &Deployment| goal(d) || stopping.get() && at_rest(d);
        let mut running = pin!(runner.run(|d, pulse| told.borrow_mut().hear(d, pulse, &enough, patient)));
        let mut ended = tokio::select! {
            ended = &mut running => Some(ended),
            () = interrupted() => None,
        };
        if ended.is_none() && !at_rest(&self.state(listed)?) {
            // Writers are held. Bringing the switch to its end, or undoing it, takes no longer than the policy lets
            // them wait; leaving now would let them wait for the next runner.
            self.style
                .remark("A switch is under way; it is brought to its end first. Ctrl-C again stops at once.");
            stopping.set(true);
            ended = tokio::select! {
                ended = &mut running => Some(ended),
                () = interrupted() => None,
            };
        }
        let was_interrupted = ended.is_none() || stopping.get();
        let outcome = told.borrow_mut().outcome.take();
        let gave_way = told.borrow().gave_way;
        told.borrow_mut().stop_drawing();
        self.leave(listed);
        ended.transpose()?;
        let d = self.state(listed)?;
        match outcome {
            Some(failure) => Err(failure),
            None if was_interrupted && !goal(&d) => Err(stopped(listed, &d)),
            None if gave_way && !goal(&d) => Ok(None),
            None => Ok(Some(d)),
        }
    }

    /// Says that this runner is gone, so that the next one need not wait until it falls silent.
    fn leave(&self, listed: &Listed) {
        let gone = match self.store.runner(&listed.id) {
            Ok(Some((name, _))) if name == me() => {
                self.store.heartbeat(&listed.id, &me(), Timestamp::default())
            }
            _ => Ok(()),
        };
        if let Err(error) = gone {
            // Others find out by themselves, some seconds later.
            tracing::debug!(%error, "could not say that this runner is gone");
        }
    }
}

/// Whether no writer is held and no decision is half done: a runner can stop here.
pub fn at_rest(d: &Deployment) -> bool {
    d.attempt.is_none() && d.settled
}

fn stopped(listed: &Listed, d: &Deployment) -> Failure {
    let failure = Failure::new("RP9002", Exit::Interrupted, "stopped from the keyboard")
        .state(format!("{} Nothing is lost: the work log knows how far it is.", safe(d)))
        .remedy(format!("Go on: replat deploy watch {}", listed.id));
    let id = &listed.id;
    match (d.home, d.finish_asked) {
        (Side::Blue, false) => failure.remedy(format!("Or give it up: replat deploy abort {id}")),
        (Side::Green, false) if d.plan.has_way_back() => {
            failure.remedy(format!("Or go back: replat deploy rollback {id}"))
        }
        _ => failure,
    }
}

/// Ctrl-C, or a polite request to end.
pub async fn interrupted() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

/// This runner's name.
pub fn me() -> String {
    format!("pid {}", std::process::id())
}

/// Whose rows are safe, and where.
pub fn safe(d: &Deployment) -> String {
    let home = &d.plan.end(d.home).home;
    match &d.attempt {
        Some(a) if a.fence.is_some() => format!(
            "ATTENTION: {} is fenced on {home}; its writers are refused until a runner goes on.",
            d.plan.partition
        ),
        _ => format!("SAFE: {home} ({}) owns the rows, at epoch {}.", d.home, d.epoch),
    }
}

/// Tells of what a runner does.
struct Told<'a> {
    watch: &'a Watch<'a>,
    listed: &'a Listed,
    shown: usize,
    said: String,
    bars: Option<tokio::task::JoinHandle<()>>,
    drawing: Option<&'static str>,
    copying: Arc<CopyProgress>,
    comparing: Arc<VerifyProgress>,
    outcome: Option<Failure>,
    gave_way: bool,
}

impl<'a> Told<'a> {
    fn new(watch: &'a Watch<'a>, listed: &'a Listed, engine: &PostgresEngine) -> Told<'a> {
        let mut told = Told {
            watch,
            listed,
            shown: watch.store.read(&listed.id).map_or(0, |h| h.len()),
            said: String::new(),
            bars: None,
            drawing: None,
            copying: engine.copy_progress(),
            comparing: engine.verify_progress(),
            outcome: None,
            gave_way: false,
        };
        if let Ok(d) = watch.state(listed) {
            told.draw(&d);
        }
        told
    }

    /// True when it is enough.
    fn hear(
        &mut self,
        d: &Deployment,
        pulse: &Pulse,
        goal: &dyn Fn(&Deployment) -> bool,
        patient: bool,
    ) -> bool {
        if matches!(pulse, Pulse::Moved(_) | Pulse::Overtaken | Pulse::Interrupted) {
            self.stop_drawing();
            self.shown = self.watch.show_new(self.listed, self.shown).unwrap_or(self.shown);
        }
        match pulse {
            Pulse::GaveWay => self.gave_way = true,
            Pulse::Waiting(reason) => {
                self.stop_drawing();
                // Numbers in a reason change all the time; its kind is what is new.
                let kind = format!("{:?}", std::mem::discriminant(reason));
                self.say(&kind, &render::reason_text(reason));
                if reason.needs_a_person() && !patient && !goal(d) {
                    self.outcome = Some(waits(d, reason, self.listed));
                    return true;
                }
            }
            Pulse::Failed(error) => {
                self.stop_drawing();
                let mut text = format!("{} {error}", error.code());
                for cause in crate::failure::causes(error) {
                    text += &format!(": {cause}");
                }
                self.say(&text.clone(), &format!("{text}. {} {}", safe(d), error.remedy()));
                if error.verdict() == Verdict::AskAPerson && !patient {
                    self.outcome = Some(Failure::from(error).state(safe(d)));
                    return true;
                }
            }
            _ => {}
        }
        self.draw(d);
        goal(d)
    }

    fn say(&mut self, kind: &str, text: &str) {
        if self.said == kind {
            return;
        }
        self.said = kind.to_owned();
        self.watch.tell(self.listed, text);
    }

    /// Shows how far a long action is, from now until it is over.
    fn draw(&mut self, d: &Deployment) {
        let what = match (d.phase(), d.chunks.is_some()) {
            (Phase::Copy, true) => "copy",
            (Phase::Verify, _) => "verify",
            _ => return self.stop_drawing(),
        };
        if self.drawing == Some(what) || self.watch.progress == Progress::None {
            return;
        }
        self.stop_drawing();
        self.drawing = Some(what);
        let (copying, comparing) = (Arc::clone(&self.copying), Arc::clone(&self.comparing));
        let (style, id) = (self.watch.style, self.listed.id.to_string());
        let total = d.plan.rows();
        let progress = self.watch.progress;
        self.bars = Some(tokio::spawn(async move {
            let draw =
                |rows: u64| format!("{what} {} of about {} rows", render::count(rows), render::count(total));
            let rows = || match what {
                "copy" => copying.rows.load(Ordering::Relaxed),
                _ => comparing.rows.load(Ordering::Relaxed),
            };
            if progress == Progress::Tty {
                let bar = ProgressBar::new(total.max(1)).with_style(bar_style()).with_prefix(what);
                loop {
                    bar.set_position(rows().min(total));
                    tokio::time::sleep(DRAW_EVERY).await;
                }
            }
            let mut last = None;
            loop {
                tokio::time::sleep(LINE_EVERY).await;
                let now = rows();
                if last.replace(now) == Some(now) {
                    continue;
                }
                match progress {
                    Progress::Json => style.progress(&json!({
                        "deployment": id, "progress": { "what": what, "rows": now, "about": total }
                    })),
                    _ => style.remark(&format!("{} {id} {}", render::moment(self::now()), draw(now))),
                }
            }
        }));
    }

    fn stop_drawing(&mut self) {
        self.drawing = None;
        if let Some(bars) = self.bars.take() {
            bars.abort();
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.stop_drawing();
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{prefix:>8} {bar:30} {percent:>3} %  {human_pos} rows  {per_sec}  {eta} left",
    )
    .expect("the template is a constant")
}

/// The failure of somebody who does not want to wait for what only a person can do.
pub fn waits(d: &Deployment, reason: &Reason, listed: &Listed) -> Failure {
    let (code, exit) = match reason {
        Reason::Different => ("RP4003", Exit::Different),
        Reason::ContractBroken => ("RP4004", Exit::Different),
        Reason::AttemptsUsedUp { .. } => ("RP5001", Exit::Undone),
        _ => ("RP5004", Exit::Temporary),
    };
    let mut failure =
        Failure::new(code, exit, format!("{}: {}", listed.id, render::reason_text(reason))).state(safe(d));
    if let Some((_, certificate)) = &d.verify_failed {
        failure = failure.because(certificate.samples.clone());
    }
    if let Some(kept) = &d.contracts_broken {
        failure = failure.because(render::broken_contracts(kept));
    }
    failure.remedy(format!("See: replat deploy get {}", listed.id))
}

/// The failure of somebody who does not want to wait until somebody helps a runner elsewhere.
pub fn troubled(trouble: &Trouble, d: &Deployment) -> Failure {
    let exit = match trouble.code.as_str() {
        "RP4001" => Exit::Person,
        "RP4002" => Exit::Different,
        _ => Exit::Precondition,
    };
    // The runner's words have the code's own name only.
    let code = crate::codes::CODES.iter().find(|code| code.code == trouble.code);
    Failure::new(code.map_or("RP1004", |code| code.code), exit, trouble.what.clone())
        .state(safe(d))
        .remedy(trouble.remedy.clone())
}

/// Why waiting for more is in vain until a person does something, if that is so and can be told from the log.
pub fn stands_still(d: &Deployment, listed: &Listed) -> Option<Failure> {
    let reason = match &d.verify_failed {
        Some(_) => Reason::Different,
        None if d.contracts_broken.is_some() => Reason::ContractBroken,
        None if d.failed_attempts >= d.policy.attempts => {
            Reason::AttemptsUsedUp { attempts: d.failed_attempts }
        }
        None => return None,
    };
    Some(waits(d, &reason, listed))
}

/// Whether the deployment has come to rest with `side` as home.
pub fn is_home(d: &Deployment, side: Side) -> bool {
    d.home == side && d.settled && d.attempt.is_none()
}

/// Whether it is finished and blue's copy is still to be kept; once it need not be, a runner drops it.
pub fn is_kept(d: &Deployment) -> bool {
    d.finished.is_some_and(|at| now().since(at) < d.policy.retain.millis())
}
