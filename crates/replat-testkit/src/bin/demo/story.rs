//! The story: to green, back to blue, to green again, under live writes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use replat_testkit::check::{Comparison, check_journal, compare_tenant};
use replat_testkit::load::{Door, Load, LoadOptions, Notes};
use replat_testkit::report::{Compared, Errors, Phase, Report, Setting};
use replat_testkit::routes::{self, Routes};
use replat_testkit::rows::Version;

use crate::door::Proxy;
use crate::follow::follow;
use crate::program::{Deploying, Program};
use crate::sqlalchemy::Sqlalchemy;
use crate::stage::{Stage, elapsed_ms};
use crate::summary::{self, Evidence};
use crate::{Arguments, Failure};

/// How long the stream may take to catch up while the moved tenant's writers stand still.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// How long to wait before comparing once more.
const COMPARE_EVERY: Duration = Duration::from_millis(200);

/// What is at hand while the story runs.
struct Scene<'a> {
    arguments: &'a Arguments,
    stage: &'a Stage,
    load: &'a Load,
    /// The writer in Python, if there is one.
    python: Option<Sqlalchemy>,
    phases: Vec<Phase>,
    comparisons: Vec<Compared>,
}

/// Tells the story and reports what came of it.
///
/// # Errors
///
/// If it could not be carried out. A broken promise is no error but a report that says so.
pub async fn tell(arguments: &Arguments, stage: &mut Stage) -> Result<Report, Failure> {
    let (publisher, routes) = routes::channel(stage.first_homes());
    eprintln!("== replat registry init; replat proxy -C saas");
    stage.program.run(&["registry", "init"]).await?;
    let proxy = Proxy::start(&stage.program).await?;
    let options = load_options(arguments, &proxy);
    eprintln!("== {} writers at {}", options.writers, proxy.address);
    let load = Load::start(&options, routes.clone()).await?;
    let python = start_python(arguments, stage, &load, &options).await?;
    let has_python = python.is_some();
    let (phases, comparisons) = (stage.phases.clone(), Vec::new());
    let mut scene = Scene { arguments, stage, load: &load, python, phases, comparisons };
    scene.write_on("before the deployment").await;
    scene.validate().await?;
    let begun = Instant::now();
    eprintln!("== replat deploy -C saas -p tenant_id={} --yes", arguments.tenant);
    let deploying = stage.program.deploy(arguments.tenant).await?;
    let ends = (stage.blue_home(0), stage.green_home(0));
    let tenant = i64::from(arguments.tenant);
    let store = stage.program.folder.join(".replat").join("control.db");
    let following = follow(store, tenant, publisher, stage.first_homes(), ends);
    deploying.reach(&stage.program, "soak").await?;
    scene.phases.push(Phase { name: "deploy, up to the soak".into(), ms: elapsed_ms(begun) });
    scene.there_and_back(&deploying, &routes).await?;
    let events = stage.program.json(&["deploy", "events", &deploying.id]).await?;
    deploying.end(&stage.program).await?;
    scene.write_on("after the finish").await;
    let Scene { phases, comparisons, python, .. } = scene;
    let others = match python {
        Some(python) => python.stop().await?,
        None => Notes::default(),
    };
    let journal = load.stop().await?;
    journal.take(others)?;
    journal.flush()?;
    let held = proxy.stop().await?;
    eprintln!("== every acknowledged write is looked for");
    let notes = journal.notes();
    let durability = check_journal(&notes, &routes.all()).await?;
    drop(following);
    let evidence = Evidence { notes: &notes, begun_at: journal.begun_at(), events: &events };
    let errors = Errors {
        count: notes.errors.len() as u64,
        examples: notes.errors.iter().take(10).cloned().collect(),
    };
    Ok(Report {
        kept: durability.holds()
            && errors.count == 0
            && comparisons
                .iter()
                .all(|compared| compared.comparison.different == 0 && compared.comparison.rows > 0),
        setting: setting(stage, arguments, &options, has_python),
        errors,
        held,
        phases: [phases, summary::phases(&evidence)].concat(),
        clients: summary::clients(&evidence, options.moved_writers(), options.writers),
        waits: summary::waits(&evidence, &|writer| {
            writer < options.moved_writers() || writer == options.writers
        }),
        comparisons,
        durability,
    })
}

impl Scene<'_> {
    async fn validate(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        eprintln!("== replat validate");
        self.stage.program.run(&["validate"]).await?;
        self.phases.push(Phase { name: "validate".into(), ms: elapsed_ms(begun) });
        Ok(())
    }

    /// From the first soak to the finish.
    async fn there_and_back(&mut self, deploying: &Deploying, routes: &Routes) -> Result<(), Failure> {
        self.settle_on(routes, "green", "on green, after the first switch").await?;
        self.turn(deploying, "rollback", "rolled-back").await?;
        self.settle_on(routes, "blue", "on blue, after the rollback").await?;
        self.turn(deploying, "switch", "soak").await?;
        self.settle_on(routes, "green", "on green, after the second switch").await?;
        for turn in 2..=self.arguments.turns {
            self.turn(deploying, "rollback", "rolled-back").await?;
            self.write_on(&format!("on blue, turn {turn}")).await;
            self.turn(deploying, "switch", "soak").await?;
            self.write_on(&format!("on green, turn {turn}")).await;
        }
        self.turn(deploying, "finish", "finished").await
    }

    /// One more command to the running deployment.
    async fn turn(&mut self, deploying: &Deploying, verb: &str, phase: &str) -> Result<(), Failure> {
        let program: &Program = &self.stage.program;
        eprintln!("== replat deploy {verb} {}", deploying.id);
        let begun = Instant::now();
        program.run(&["deploy", verb, &deploying.id]).await?;
        deploying.reach(program, phase).await?;
        self.phases.push(Phase { name: format!("{verb}, until {phase}"), ms: elapsed_ms(begun) });
        Ok(())
    }

    /// Writes for a while, then compares all rows while the moved tenant's writers stand still.
    async fn settle_on(&mut self, routes: &Routes, side: &str, when: &str) -> Result<(), Failure> {
        let tenant = i64::from(self.arguments.tenant);
        let wanted = if side == "green" { self.stage.green_home(0) } else { self.stage.blue_home(0) };
        let known = routes.home_of(tenant);
        if known.url != wanted.url {
            routes.changed_since(tenant, known.epoch, CATCH_UP_MAX).await;
        }
        self.write_on(when).await;
        let stillness = self.load.still_moved().await;
        if let Some(python) = &mut self.python {
            python.still().await?;
        }
        let begun = Instant::now();
        let comparison = self.compare_until_equal(tenant).await?;
        eprintln!("   {} rows compared, {} different", comparison.rows, comparison.different);
        self.phases.push(Phase { name: format!("compare {when}"), ms: elapsed_ms(begun) });
        self.comparisons.push(Compared { when: when.to_owned(), comparison });
        drop(stillness);
        if let Some(python) = &mut self.python {
            python.go().await?;
        }
        Ok(())
    }

    /// The last comparison; equal as soon as the stream has caught up.
    async fn compare_until_equal(&self, tenant: i64) -> Result<Comparison, Failure> {
        let (blue, green) = (self.stage.blue_home(0), self.stage.green_home(0));
        let begun = Instant::now();
        loop {
            let comparison = compare_tenant(&blue, &green, tenant).await?;
            if comparison.different == 0 || begun.elapsed() > CATCH_UP_MAX {
                return Ok(comparison);
            }
            tokio::time::sleep(COMPARE_EVERY).await;
        }
    }

    /// A fifth of the time that there is for writing: there are five such scenes.
    async fn write_on(&self, when: &str) {
        let begun = self.load.journal().acknowledged();
        tokio::time::sleep(Duration::from_secs(self.arguments.seconds.into()) / 5).await;
        let written = self.load.journal().acknowledged() - begun;
        eprintln!("== {when}: {written} transactions acknowledged");
    }
}

async fn start_python(
    arguments: &Arguments,
    stage: &Stage,
    load: &Load,
    options: &LoadOptions,
) -> Result<Option<Sqlalchemy>, Failure> {
    let Some(python) = &arguments.python else {
        eprintln!("== no writer by SQLAlchemy: no --python was given");
        return Ok(None);
    };
    eprintln!("== one writer by SQLAlchemy, with replat's client");
    let (folder, begun_at) = (&stage.program.folder, load.journal().begun_at());
    let writer =
        Sqlalchemy::start(python, folder, options.moved, options.rate, options.writers, begun_at).await?;
    Ok(Some(writer))
}

fn load_options(arguments: &Arguments, proxy: &Proxy) -> LoadOptions {
    let versions = BTreeMap::from([("public".to_owned(), Version::V1), ("saas".to_owned(), Version::V2)]);
    LoadOptions {
        door: Some(Door { url: format!("postgres://postgres@{}/saas", proxy.address), versions }),
        writers: arguments.writers.into(),
        moved: arguments.tenant.into(),
        tenants: arguments.tenants,
        rate: arguments.rate,
        seed: arguments.seed,
        journal: arguments.out.as_ref().map(|out| out.join("journal.jsonl")),
    }
}

fn setting(stage: &Stage, arguments: &Arguments, options: &LoadOptions, sqlalchemy: bool) -> Setting {
    let version = stage.blue.version();
    Setting {
        postgres: format!("{}.{}", version.major, version.minor),
        tenants: arguments.tenants,
        rows: arguments.rows,
        moved: options.moved,
        moved_writers: options.moved_writers(),
        other_writers: options.writers - options.moved_writers(),
        rate: options.rate,
        sqlalchemy,
    }
}
