//! `plan`, `apply`, `deploy` and its verbs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use replat_engine::{Engine, Listed, LogError, WorkLog};
use replat_model::deploy::{Deployment, Event, Phase};
use replat_model::ids::Side;
use replat_model::next::next;
use replat_model::spec::{DurationText, Policy};
use replat_postgres::engine::now;
use replat_store::Store;
use serde_json::{Value, json};

use crate::ask;
use crate::cli::{ApplyArgs, Because, DeployArgs, DeployVerb, Global, Progress, RunArgs, Target};
use crate::failure::{Exit, Failure};
use crate::planning::{self, PlanFile, Planned};
use crate::project::Project;
use crate::render::{self, Style};
use crate::watch::{Watch, is_home, safe};

/// How long a runner that has just heard of a word may take to write its first entry.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// Everything a verb needs.
pub struct Desk<'a> {
    /// The project.
    pub project: Project,
    /// Its store.
    pub store: Store,
    /// The options of every command.
    pub global: &'a Global,
    /// How to print.
    pub style: Style,
}

impl<'a> Desk<'a> {
    /// Opens the project and its store.
    pub fn open(global: &'a Global, style: Style) -> Result<Desk<'a>, Failure> {
        let project = Project::open(global)?;
        let store = project.store()?;
        Ok(Desk { project, store, global, style })
    }

    fn watch(&self) -> Watch<'_> {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let progress = match self.global.progress {
            Progress::Auto if self.global.quiet => Progress::None,
            Progress::Auto if terminal => Progress::Tty,
            Progress::Auto => Progress::Plain,
            chosen => chosen,
        };
        Watch { project: &self.project, store: &self.store, style: self.style, progress }
    }

    fn find(&self, named: Option<&str>) -> Result<Listed, Failure> {
        self.project.deployment(&self.store, named)
    }

    /// `plan deploy`.
    pub async fn plan(&self, target: &Target, out: Option<&Path>, detail: bool) -> Result<(), Failure> {
        if self.global.dry_run {
            return self.outlook(target).await;
        }
        let planned = self.planned(target).await?;
        if let Some(out) = out {
            let text = serde_json::to_string_pretty(&planned.file).expect("a plan is plain data");
            std::fs::write(out, text + "\n").map_err(|e| {
                Failure::new("RP2004", Exit::Invalid, format!("{} cannot be written: {e}", out.display()))
            })?;
        }
        let mut text = render::plan(&planned.file, detail);
        text += "No change has been made.\n";
        text += &match out {
            Some(out) => format!("Next:  replat apply {}", out.display()),
            None => "Next:  replat plan deploy … --out plan.json, or replat deploy …".to_owned(),
        };
        self.style.result(&text, &json!(planned.file));
        Ok(())
    }

    async fn planned(&self, target: &Target) -> Result<Planned, Failure> {
        let partition = target.partition.as_deref().unwrap_or_default();
        planning::plan(&self.project, &self.store, target.context.as_deref(), partition).await
    }

    /// What can be said without writing anywhere, not even in a transaction that is rolled back.
    async fn outlook(&self, target: &Target) -> Result<(), Failure> {
        let partition = target.partition.as_deref().unwrap_or_default();
        let outlook =
            planning::outlook(&self.project, &self.store, target.context.as_deref(), partition).await?;
        self.style.result(&render::outlook(&outlook), &json!(outlook));
        Ok(())
    }

    /// `apply`.
    pub async fn apply(&self, args: &ApplyArgs) -> Result<(), Failure> {
        let file = planning::read_file(&args.plan)?;
        let Some(planned) = self.fresh(&file).await? else { return Ok(()) };
        if self.global.dry_run {
            self.style.result(
                &format!("{}{}", render::plan(&file, false), render::steps(&file.plan)),
                &json!(file),
            );
            return Ok(());
        }
        self.begin(planned, &args.run).await
    }

    /// The plan that is in the file, if it still fits. `None` if it was carried out already, which is said.
    async fn fresh(&self, file: &PlanFile) -> Result<Option<Planned>, Failure> {
        if let Some(listed) = self.carried_out(file)? {
            let text = format!("This plan was carried out already, as {}.", listed.id);
            self.style.result(&text, &json!({ "id": listed.id, "already": true }));
            return Ok(None);
        }
        let selection = &file.selection;
        let current = planning::plan(&self.project, &self.store, Some(&file.plan.context), selection).await?;
        let stale = planning::what_changed(file, &current.file);
        if !stale.is_empty() {
            return Err(Failure::new(
                "RP2003",
                Exit::Invalid,
                format!("plan {} no longer fits", &file.digest[..12]),
            )
            .because(stale)
            .remedy(format!(
                "Plan again: replat plan deploy -C {} -p {selection} --out FILE",
                file.plan.context
            )));
        }
        Ok(Some(Planned { file: file.clone(), map: current.map }))
    }

    /// The deployment that was begun with exactly this plan.
    fn carried_out(&self, file: &PlanFile) -> Result<Option<Listed>, Failure> {
        for listed in self.store.list()? {
            let history = self.store.read(&listed.id)?;
            if let Some(Event::Asked { plan }) = history.first().map(|r| &r.event)
                && **plan == file.plan
                && plan.digest() == file.digest
            {
                return Ok(Some(listed));
            }
        }
        Ok(None)
    }

    /// `deploy` without a verb.
    pub async fn deploy(&self, args: &DeployArgs) -> Result<(), Failure> {
        if let Some(verb) = &args.verb {
            return self.verb(verb).await;
        }
        if self.global.dry_run {
            return self.outlook(&args.target).await;
        }
        let planned = self.planned(&args.target).await?;
        self.style.remark(&render::plan(&planned.file, false));
        self.begin(planned, &args.run).await
    }

    /// Confirms, records and runs.
    async fn begin(&self, planned: Planned, run: &RunArgs) -> Result<(), Failure> {
        let plan = &planned.file.plan;
        let missing: Vec<String> = plan
            .hazards
            .iter()
            .filter(|h| h.must_allow && !run.allow.contains(&h.name))
            .map(|h| format!("{}: {}", h.name, h.what))
            .collect();
        if !missing.is_empty() {
            let names: Vec<&str> =
                plan.hazards.iter().filter(|h| h.must_allow).map(|h| h.name.as_str()).collect();
            return Err(Failure::new(
                "RP2005",
                Exit::Invalid,
                "the plan has hazards that nobody has allowed",
            )
            .because(missing)
            .remedy(format!("If they are acceptable: --allow {}", names.join(","))));
        }
        ask::confirm(self.global, &format!("Deploy {} to {}?", plan.partition, plan.green.home))?;
        let asked = Event::Asked { plan: Box::new(plan.clone()) };
        let listed = self.store.begin(&asked, &planned.map, now())?;
        if run.hold {
            let hold = Event::SwitchAsked { to: Side::Blue, why: "held until asked".into() };
            self.say(&listed, &hold)?;
        }
        if run.detach {
            return self.detach(&listed);
        }
        self.follow(&listed, !run.hold).await
    }

    /// Runs until the end, or, if a person is to say when, until it is ready.
    async fn follow(&self, listed: &Listed, to_the_end: bool) -> Result<(), Failure> {
        let goal = move |d: &Deployment| {
            is_kept(d) || !to_the_end && d.phase() == Phase::Ready && d.wanted == Some(Side::Blue)
        };
        let d = self.watch().until(listed, Box::new(goal), to_the_end).await?;
        self.tell(listed, &d)
    }

    /// Leaves the work to a process of its own, whose log lies beside the store.
    fn detach(&self, listed: &Listed) -> Result<(), Failure> {
        use std::os::unix::process::CommandExt;
        let failed = |e: std::io::Error| {
            Failure::new("RP9001", Exit::Internal, format!("no background process could be started: {e}"))
                .remedy(format!("Run it here: replat deploy watch {}", listed.id))
        };
        let folder = self.project.folder().join(".replat");
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let log = std::fs::File::create(folder.join(format!("{}.log", listed.id))).map_err(failed)?;
        let mut command = std::process::Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("-c").arg(&self.project.file);
        if let Some(store) = &self.global.store {
            command.arg("--store").arg(store);
        }
        command
            .args(["--progress", "plain", "deploy", "watch", listed.id.as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A group of its own: Ctrl-C in this terminal is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let text = format!("{} is under way.\nNext:  replat deploy watch {0}", listed.id);
        self.style.result(&text, &json!({ "id": listed.id, "detached": true }));
        Ok(())
    }

    /// Shows a deployment as the result of a command.
    fn tell(&self, listed: &Listed, d: &Deployment) -> Result<(), Failure> {
        let length = self.store.read(&listed.id)?.len() as u64;
        let mut text = render::deployment(listed, d, length, None);
        if d.home == Side::Green && d.finished.is_none() {
            text += &format!("Next:  replat deploy rollback {0}     replat deploy finish {0}\n", listed.id);
        }
        self.style.result(&text, &render::deployment_value(listed, d, length, None));
        Ok(())
    }

    async fn verb(&self, verb: &DeployVerb) -> Result<(), Failure> {
        match verb {
            DeployVerb::List => self.list(),
            DeployVerb::Get { id, live } => self.get(id.as_deref(), *live).await,
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
            DeployVerb::Rollback(b) => {
                let listed = self.find(b.id.as_deref())?;
                let d = self.watch().state(&listed)?;
                if d.home == Side::Blue && d.attempt.is_none() {
                    return Err(Failure::new(
                        "RP5002",
                        Exit::Invalid,
                        format!("{} has not switched: blue is home", listed.id),
                    )
                    .state(safe(&d))
                    .remedy(format!("To give it up: replat deploy abort {}", listed.id)));
                }
                let asked = |why| Event::SwitchAsked { to: Side::Blue, why };
                self.word(b, asked, |d| is_home(d, Side::Blue)).await
            }
            DeployVerb::Finish(b) => {
                self.word(b, |why| Event::FinishAsked { why }, |d| d.finished.is_some()).await
            }
            DeployVerb::Abort(b) => self.word(b, |why| Event::AbortAsked { why }, |d| d.aborted).await,
        }
    }

    fn list(&self) -> Result<(), Failure> {
        let mut text = String::new();
        let mut values = Vec::new();
        for listed in self.store.list()? {
            let history = self.store.read(&listed.id)?;
            let d = self.watch().state(&listed)?;
            text += &format!(
                "{:<8} {:<32} {:<12} {:<6} {:<5} {}\n",
                listed.id,
                format!("{}/{}", listed.context, listed.partition),
                d.phase().as_str(),
                d.home,
                d.epoch,
                render::moment(listed.created)
            );
            values.push(render::deployment_value(&listed, &d, history.len() as u64, None));
        }
        if text.is_empty() {
            text = "no deployments yet\nNext:  replat plan deploy -p …".into();
        }
        self.style.result(&text, &Value::Array(values));
        Ok(())
    }

    async fn get(&self, id: Option<&str>, live: bool) -> Result<(), Failure> {
        let listed = self.find(id)?;
        let d = self.watch().state(&listed)?;
        let step = if live {
            let engine = self.watch().engine(&listed, &d, true)?;
            Some(next(&d, &engine.look(&d).await?))
        } else {
            None
        };
        let length = self.store.read(&listed.id)?.len() as u64;
        self.style.result(
            &render::deployment(&listed, &d, length, step.as_ref()),
            &render::deployment_value(&listed, &d, length, step.as_ref()),
        );
        Ok(())
    }

    async fn wait(&self, id: Option<&str>, phase: &str, timeout: &str) -> Result<(), Failure> {
        let listed = self.find(id)?;
        let wanted: Phase = serde_json::from_value(json!(phase)).map_err(|_| {
            Failure::new("RP2006", Exit::Usage, format!("there is no phase {phase}")).remedy(
                "One of: prepare, copy, catch-up, verify, ready, switch, soak, finished, rolled-back, aborted",
            )
        })?;
        let patience: DurationText = timeout
            .parse()
            .map_err(|e| Failure::new("RP2006", Exit::Usage, format!("--timeout {timeout}: {e}")))?;
        let watch = self.watch();
        let reached = async {
            loop {
                let d = watch.state(&listed)?;
                if d.phase() == wanted {
                    return Ok(d);
                }
                if d.aborted {
                    return Err(Failure::new("RP5005", Exit::Undone, format!("{} was aborted", listed.id))
                        .state(safe(&d)));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(patience.as_duration(), reached).await {
            Ok(d) => self.tell(&listed, &d?),
            Err(_) => {
                let d = watch.state(&listed)?;
                Err(Failure::new(
                    "RP5003",
                    Exit::Temporary,
                    format!("{} is still in phase {} after {timeout}", listed.id, d.phase().as_str()),
                )
                .state(safe(&d))
                .remedy(format!("See what it waits for: replat deploy get {} --live", listed.id)))
            }
        }
    }

    async fn events(&self, id: Option<&str>, follow: bool) -> Result<(), Failure> {
        let listed = self.find(id)?;
        let history = self.store.read(&listed.id)?;
        if !follow {
            let text: String = history
                .iter()
                .map(|r| {
                    format!("{:>4}  {}  {}\n", r.seq, render::moment(r.at), render::event_text(&r.event))
                })
                .collect();
            self.style.result(&text, &render::events_value(&history));
            return Ok(());
        }
        let mut watch = self.watch();
        if self.style.is_json() {
            watch.progress = Progress::Json;
        }
        let mut shown = 0;
        loop {
            shown = watch.show_new(&listed, shown)?;
            if watch.state(&listed)?.ended() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Writes a person's word into the log, and stays until it has come true.
    async fn word(
        &self,
        because: &Because,
        event: impl Fn(String) -> Event,
        done: impl Fn(&Deployment) -> bool + Send + Sync + 'static,
    ) -> Result<(), Failure> {
        let listed = self.find(because.id.as_deref())?;
        let event = event(because.reason.clone());
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
        after.after(event).map_err(|why| LogError::OutOfPlace { why })?;
        let text = format!(
            "{}: would be written down: {}\nNo change has been made.",
            listed.id,
            render::event_text(event)
        );
        self.style.result(&text, &json!({ "id": listed.id, "would_append": render::event_text(event) }));
        Ok(())
    }

    /// Appends, again if a runner was faster.
    fn say(&self, listed: &Listed, event: &Event) -> Result<(), Failure> {
        let end = std::time::Instant::now() + HEARD_WITHIN;
        loop {
            let length = self.store.read(&listed.id)?.len() as u64;
            match self.store.append(&listed.id, length, event, now()) {
                Ok(()) => return Ok(()),
                Err(LogError::Conflict { .. }) if std::time::Instant::now() < end => {}
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
        let mut policy = serde_json::to_value(&d.policy).expect("a policy is plain data");
        for change in changes {
            let bad = |why: String| {
                Failure::new("RP2006", Exit::Usage, format!("{change}: {why}"))
                    .remedy("The keys are those of [policy]; see docs/spec.md.")
            };
            let (key, text) = change.split_once('=').ok_or_else(|| bad("write key=value".into()))?;
            let key = key.replace('-', "_");
            let slot = policy
                .get_mut(&key)
                .ok_or_else(|| bad(format!("there is no such limit{}", meant(&key, &d.policy))))?;
            *slot = if slot.is_number() {
                text.parse::<u64>().map(Value::from).map_err(|e| bad(e.to_string()))?
            } else {
                Value::from(text)
            };
            // One at a time, so that the message names the one that is wrong.
            serde_json::from_value::<Policy>(policy.clone()).map_err(|e| bad(e.to_string()))?;
        }
        let policy: Policy =
            serde_json::from_value(policy).map_err(|e| Failure::new("RP2006", Exit::Usage, e.to_string()))?;
        let event = Event::PolicySet { policy: Box::new(policy), what: changes.join(" ") };
        if self.global.dry_run {
            return self.dry(&listed, &d, &event);
        }
        self.say(&listed, &event)?;
        let d = self.watch().state(&listed)?;
        self.tell(&listed, &d)
    }

    /// `show`: a plan file, or a deployment.
    pub async fn show(&self, what: &str) -> Result<(), Failure> {
        let path = Path::new(what);
        if path.is_file() {
            let file = planning::read_file(path)?;
            self.style.result(&render::plan(&file, true), &json!(file));
            return Ok(());
        }
        self.get(Some(what), false).await
    }

    /// `verify`: compares both sides of the partition's deployment.
    pub async fn verify(&self, target: &Target) -> Result<(), Failure> {
        let (name, context) = self.project.context(target.context.as_deref())?;
        let partition = target.partition.as_deref().unwrap_or_default();
        let map = self.project.map(&self.store, name, context)?;
        let wrong = |e: &dyn std::fmt::Display| Failure::new("RP2006", Exit::Invalid, e.to_string());
        let selection =
            replat_model::map::Selection::parse(partition, map.dimensions()).map_err(|e| wrong(&e))?;
        let (_, id) = map.carve(&selection).map_err(|e| wrong(&e))?;
        let mut open = None;
        for listed in self.store.list()? {
            let d = self.watch().state(&listed)?;
            if listed.partition == id && d.copied.is_some() && !d.ended() && d.finished.is_none() {
                open = Some((listed, d));
            }
        }
        let (listed, d) = open.ok_or_else(|| {
            Failure::new(
                "RP2006",
                Exit::Invalid,
                format!("{id} is on one side only: there is nothing to compare"),
            )
            .remedy("A partition is on two sides from the copy of a deployment until its finish.")
        })?;
        let engine = self.watch().engine(&listed, &d, true)?;
        let certificate = engine.compare(&d).await?;
        let text = format!(
            "{}/{}  {}  digest {}",
            listed.context,
            id,
            render::certificate_text(&certificate),
            certificate.digest
        );
        let equal = certificate.different == 0;
        self.style.result(
            &text,
            &json!({ "id": listed.id, "partition": id, "equal": equal, "certificate": certificate }),
        );
        if equal {
            return Ok(());
        }
        Err(Failure::new("RP4003", Exit::Different, format!("{} rows differ", certificate.different))
            .because(certificate.samples)
            .state(safe(&d))
            .remedy(format!("See whether the streams run: replat deploy get {} --live", listed.id)))
    }
}

/// Whether it is finished and blue's copy is still to be kept; once it need not be, a runner drops it.
fn is_kept(d: &Deployment) -> bool {
    d.finished.is_some_and(|at| now().since(at) < d.policy.retain.millis())
}

fn already(d: &Deployment, event: &Event) -> bool {
    match event {
        Event::SwitchAsked { to, .. } => d.home == *to,
        Event::FinishAsked { .. } => d.finished.is_some(),
        Event::AbortAsked { .. } => d.aborted,
        Event::Paused { .. } => d.paused.is_some(),
        _ => false,
    }
}

/// A hint at the limit that was meant.
fn meant(key: &str, policy: &Policy) -> String {
    let known = serde_json::to_value(policy).unwrap_or(Value::Null);
    let names: Vec<String> = known.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default();
    replat_model::spec::nearest(key, names.iter().map(String::as_str))
        .map_or_else(String::new, |n| format!("; did you mean {n}?"))
}
