//! `plan`, `show`, `apply` and `deploy`: from a wish to a deployment that runs.

use std::path::Path;
use std::process::Stdio;

use replat_engine::{Listed, WorkLog};
use replat_model::deploy::{Deployment, Event, Phase};
use replat_model::ids::Side;
use replat_model::plan::Plan;
use replat_model::spec::{Policy, SwitchMode};
use replat_postgres::engine::now;
use replat_store::Store;
use serde_json::json;

use crate::ask;
use crate::cli::{ApplyArgs, DeployArgs, Global, Progress, RunArgs, Target, Targets};
use crate::cohort;
use crate::failure::{Exit, Failure};
use crate::planning::{self, PlanFile, Planned};
use crate::project::Project;
use crate::render::{self, Card, Style};
use crate::watch::{Watch, is_kept};

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

    /// How the deployments of this project are run and followed.
    pub fn watch(&self) -> Watch<'_> {
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let progress = match self.global.progress {
            Progress::Auto if self.global.quiet => Progress::None,
            Progress::Auto if terminal => Progress::Tty,
            Progress::Auto => Progress::Plain,
            chosen => chosen,
        };
        Watch { project: &self.project, store: &self.store, style: self.style, progress }
    }

    /// The deployment that was named, or the only one under way.
    pub fn find(&self, named: Option<&str>) -> Result<Listed, Failure> {
        self.project.deployment(&self.store, named)
    }

    /// `plan deploy`.
    pub async fn plan(&self, targets: &Targets, out: Option<&Path>, detail: bool) -> Result<(), Failure> {
        let Some(target) = &targets.one() else {
            return self.plan_cohort(targets, out, detail).await;
        };
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
        text += &render::plan_next(&planned.file, out.map(|o| o.display().to_string()).as_deref());
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
        if cohort::is_cohort_file(&args.plan) {
            return self.apply_cohort(args).await;
        }
        let file = planning::read_file(&args.plan)?;
        if let Some(listed) = self.carried_out(&file)? {
            let text = format!(
                "This plan was carried out already, as {0}.\nNext:  replat deploy get {0}",
                listed.id
            );
            self.style.result(&text, &json!({ "id": listed.id, "already": true }));
            return Ok(());
        }
        planning::refuse_if_busy(&self.store, &file.plan.context, &file.plan.partition)?;
        if self.global.dry_run {
            refuse_if_stale(&file, planning::outdated(&self.project, &self.store, &file).await?)?;
            let text = format!(
                "{}{}No change has been made.\n",
                render::plan(&file, false),
                render::steps(&file.plan)
            );
            self.style.result(&text, &json!(file));
            return Ok(());
        }
        let context = Some(file.plan.context.as_str());
        let current = planning::plan(&self.project, &self.store, context, &file.selection).await?;
        refuse_if_stale(&file, planning::what_changed(&file, &current.file))?;
        self.begin(Planned { file, map: current.map }, &args.run).await
    }

    /// The deployment that was begun with exactly this plan. What was aborted may be begun anew.
    fn carried_out(&self, file: &PlanFile) -> Result<Option<Listed>, Failure> {
        for listed in self.store.list()? {
            let history = self.store.read(&listed.id)?;
            if let Some(Event::Asked { plan }) = history.first().map(|r| &r.event)
                && **plan == file.plan
                && plan.digest() == file.digest
                && !history.iter().any(|r| r.event == Event::Aborted)
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
        let Some(target) = &args.target.one() else {
            return self.deploy_cohort(&args.target, &args.run).await;
        };
        if self.global.dry_run {
            return self.outlook(target).await;
        }
        let asked = planning::wanted(&self.project, &self.store, target)?;
        planning::refuse_if_busy(&self.store, asked.name, &asked.id)?;
        let planned = self.planned(target).await?;
        match self.watch().progress {
            Progress::Json => {
                self.style.progress(&json!({ "plan": planned.file.digest, "partition": asked.id }))
            }
            _ => self.style.remark(&render::plan(&planned.file, false)),
        }
        self.begin(planned, &args.run).await
    }

    /// Confirms, records and runs.
    async fn begin(&self, planned: Planned, run: &RunArgs) -> Result<(), Failure> {
        let plan = &planned.file.plan;
        refuse_unless_allowed(plan, &run.allow)?;
        ask::confirm(self.global, &format!("Deploy {} to {}?", plan.partition, plan.green.home))?;
        let asked = Event::Asked { plan: Box::new(plan.clone()) };
        let listed = self.store.begin(&asked, &planned.map, now())?;
        if run.hold {
            let policy = Policy { switch: SwitchMode::Manual, ..plan.policy.clone() };
            let held = Event::PolicySet { policy: Box::new(policy), what: "switch=manual (held)".into() };
            self.say(&listed, &held)?;
        }
        if run.detach {
            return self.detach(listed.id.as_str());
        }
        self.follow(&listed, !run.hold).await
    }

    /// Runs until the end, or, if a person is to say when, until it is ready.
    pub async fn follow(&self, listed: &Listed, to_the_end: bool) -> Result<(), Failure> {
        let goal = move |d: &Deployment| {
            is_kept(d) || !to_the_end && d.phase() == Phase::Ready && d.wanted_home() == Side::Blue
        };
        let d = self.watch().until(listed, Box::new(goal), to_the_end).await?;
        self.tell(listed, &d)
    }

    /// Leaves the work to a process of its own, whose log lies beside the store.
    pub fn detach(&self, id: &str) -> Result<(), Failure> {
        use std::os::unix::process::CommandExt;
        let failed = |e: std::io::Error| {
            Failure::new("RP9001", Exit::Internal, format!("no background process could be started: {e}"))
                .remedy(format!("Run it here: replat deploy watch {id}"))
        };
        let path = self.project.beside_store(&format!("{id}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        let mut command = std::process::Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("-c").arg(&self.project.file);
        if let Some(store) = &self.global.store {
            command.arg("--store").arg(store);
        }
        command
            .args(["--progress", "plain", "deploy", "watch", id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A group of its own: Ctrl-C in this terminal is not meant for it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let text = format!(
            "{0} is under way in the background, and tells of it in {1}.\n\
             Next:  replat deploy watch {0}     replat deploy wait {0} --for soak",
            id,
            path.display()
        );
        self.style.result(&text, &json!({ "id": id, "detached": true, "log": path }));
        Ok(())
    }

    /// A deployment and what is known around it without a look at its databases.
    pub fn card<'c>(&self, listed: &'c Listed, d: &'c Deployment) -> Result<Card<'c>, Failure> {
        let history = self.store.read(&listed.id)?;
        let (length, happened) = (history.len() as u64, render::Happened::of(&history));
        let runner = self.watch().other_runner(listed)?;
        let trouble = self.store.trouble(&listed.id)?.filter(|_| !d.ended());
        Ok(Card { listed, d, length, happened, runner, trouble, routing: None, live: None })
    }

    /// Shows a deployment as the result of a command.
    pub fn tell(&self, listed: &Listed, d: &Deployment) -> Result<(), Failure> {
        let card = self.card(listed, d)?;
        self.style.result(&render::deployment(&card), &render::deployment_value(&card));
        Ok(())
    }

    /// `show`: a plan file, or a deployment.
    pub async fn show(&self, what: &str) -> Result<(), Failure> {
        let path = Path::new(what);
        if path.is_file() {
            if cohort::is_cohort_file(path) {
                return self.show_cohort_file(path);
            }
            let file = planning::read_file(path)?;
            self.style.result(&render::plan(&file, true), &json!(file));
            return Ok(());
        }
        self.get(Some(what), false).await
    }
}

fn refuse_if_stale(file: &PlanFile, changes: Vec<String>) -> Result<(), Failure> {
    if changes.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        "RP2003",
        Exit::Invalid,
        format!("plan {} no longer fits", planning::short(&file.digest)),
    )
    .because(changes)
    .remedy(format!(
        "Plan again: replat plan deploy -C {} -p '{}' --out FILE",
        file.plan.context, file.selection
    )))
}

/// Refuses a plan with hazards that were not allowed.
pub fn refuse_unless_allowed(plan: &Plan, allowed: &[String]) -> Result<(), Failure> {
    let must = plan.hazards.iter().filter(|h| h.must_allow);
    let missing = must.filter(|h| !allowed.iter().any(|name| name == h.name.code()));
    let missing: Vec<String> = render::by_check(missing)
        .iter()
        .map(|alike| format!("{}: {}", alike[0].name, render::told_once(alike)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new("RP2005", Exit::Invalid, "the plan has hazards that nobody has allowed")
        .because(missing)
        .remedy(format!("If they are acceptable: --allow {}", planning::to_be_allowed(plan).join(","))))
}
