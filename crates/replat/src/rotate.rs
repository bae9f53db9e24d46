//! `rotate` and the verbs around it: the life of partitions.
//!
//! | what | where |
//! |---|---|
//! | a run, a look, a plan | here |
//! | verbs that change a table's shape | `reshape` |
//! | the daemon's runs | `watch` |
//! | partitions of others taken over, and the way out | `adopt`, `eject` |
//! | which databases, and what is wanted of them | `reach`, `wish` |
//! | what is told of a run | `teller`, `metrics`, `push` |

mod adopt;
mod eject;
mod engines;
mod metrics;
mod plan_file;
mod push;
mod reach;
mod reshape;
mod teller;
mod watch;
mod wish;

use std::path::Path;

use replat_control::rotate::report::{Ending, RunReport, Worst};
use replat_control::rotate::{Drafted, Rotation, runways};
use replat_engine::EngineError;
use replat_engine::lifecycle::Look;
use replat_model::lifecycle::draft::stale;
use replat_model::lifecycle::health::{Finding, Severity, codes};
use replat_model::lifecycle::plan::Kind;
use replat_model::spec::DurationText;
use replat_postgres::connect::ConnectError;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{ApplyArgs, Global, PlanRotateArgs, Reach, RotateArgs, Run, RunwayArgs};
use crate::failure::{Exit, Failure};
use crate::render::{self, Style};
use crate::tables::{Publishing, publish_after};
use engines::engines;
pub use engines::tables as tables_of;
use plan_file::RotatePlanFile;
pub use reach::{Place, places};
use teller::Teller;

pub use adopt::adopt;
pub use eject::eject;
pub use plan_file::is_one as is_plan;

/// What came of one database.
struct Ended {
    place: String,
    report: Result<RunReport, Failure>,
}

/// `rotate`.
pub async fn rotate(global: &Global, style: Style, args: &RotateArgs) -> Result<Exit, Failure> {
    if args.daemon.watch {
        return watch::watch(global, style, args).await;
    }
    unless_stopped("replat rotate", async {
        match &args.verb {
            Some(verb) => reshape::verb(global, style, verb).await,
            None if args.check => check(global, style, &args.run).await,
            None => once(global, style, &args.run).await,
        }
    })
    .await
}

/// Does it, unless a signal ends it first; `again` is how it is begun again then. The first process of a container hears
/// no signal that it does not ask for, and would go on until it is killed.
async fn unless_stopped(
    again: &str,
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    let hear = |kind| signal(kind).ok();
    let (mut terminate, mut interrupt) = (hear(SignalKind::terminate()), hear(SignalKind::interrupt()));
    let heard = async |signal: &mut Option<Signal>| match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    };
    tokio::select! {
        done = work => return done,
        () = heard(&mut terminate) => {}
        () = heard(&mut interrupt) => {}
    }
    Err(Failure::new("RP9002", Exit::Interrupted, "stopped in the middle of a run")
        .state("SAFE: what was begun and not ended is finished or taken back by the next run.")
        .remedy(format!("Start again: {again}")))
}

/// A run over every database.
async fn once(global: &Global, style: Style, run: &Run) -> Result<Exit, Failure> {
    let places = places(global, &run.reach, global.dry_run)?;
    let mut all = Vec::new();
    for place in &places {
        let teller = Teller::new(global, style, run.reports.explain).at(place, places.len() > 1);
        let report = one(global, style, run, place, &teller).await;
        report.as_ref().inspect_err(|failure| teller.broke_off(failure)).ok();
        all.push(Ended { place: place.name.clone(), report });
    }
    tell_metrics(run, style, &all).await;
    conclude(style, &all, run.reports.strict, "RotateResult")
}

/// A run over one database.
async fn one(
    global: &Global,
    style: Style,
    run: &Run,
    place: &Place,
    teller: &Teller,
) -> Result<RunReport, Failure> {
    let settings = wish::settings(run, &place.lifecycles, global.dry_run)?;
    let jobs = if global.dry_run { 1 } else { run.care.jobs };
    let engines = engines(place, &settings, jobs);
    let rotation = Rotation { engines: &engines, settings: &settings, heard: teller };
    let publishing = Publishing::of(global, &run.publication)?;
    let ran = rotation.run().await;
    if !global.dry_run {
        publish_after(publishing.as_ref(), place, style).await;
    }
    let report = ran.map_err(failed)?;
    if global.dry_run && !style.is_json() {
        for entry in &report.entries {
            if let Some(script) = &entry.script {
                let text = render::rotate::script(&entry.unit, script, global.verbose > 0);
                style.line(text.trim_end());
            }
        }
    }
    teller.ended(&report);
    if global.dry_run && !style.is_json() {
        style.remark("No change has been made.");
    }
    Ok(report)
}

/// What keeps a run from beginning, or ends it.
fn failed(error: EngineError) -> Failure {
    match error {
        EngineError::Superseded { .. } => {
            Failure::new(codes::ANOTHER_RUN, Exit::Busy, "another run is at work in this database")
                .remedy("Nothing: that one does the work. Runs that overlap do no harm.")
        }
        EngineError::Unreachable { source, .. } if source.is::<ConnectError>() => {
            match source.downcast::<ConnectError>() {
                Ok(error) => unreachable(&error),
                Err(source) => Failure::new("RP1001", Exit::Temporary, source.to_string()),
            }
        }
        error => error.into(),
    }
}

/// A database that let nobody in: some reasons pass by themselves, and others do not.
fn unreachable(error: &ConnectError) -> Failure {
    let exit = if error.is_temporary() { Exit::Temporary } else { Exit::Precondition };
    Failure::new("RP1001", exit, error.to_string())
        .because(crate::failure::causes(error))
        .remedy(error.remedy())
}

/// The end of a command: one JSON object where it was asked for, and what failed on standard error.
fn conclude(style: Style, all: &[Ended], strict: bool, kind: &str) -> Result<Exit, Failure> {
    conclude_with(style, all, strict, kind, &Value::Null)
}

/// The same, with `more` in the JSON object where that is not null.
fn conclude_with(
    style: Style,
    all: &[Ended],
    strict: bool,
    kind: &str,
    more: &Value,
) -> Result<Exit, Failure> {
    let failures = failures_of(all, strict);
    let worst = failures.last();
    if style.is_json() {
        let mut value = value(all, kind, worst);
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more.clone());
        }
        style.result("", &value);
    }
    // The worst last, where eyes are.
    for failure in &failures {
        style.trouble(failure);
    }
    Ok(worst.map_or(Exit::Done, |failure| failure.exit))
}

/// The worst of each database, the worst of all last; none if all is well.
fn failures_of(all: &[Ended], strict: bool) -> Vec<Failure> {
    let mut failures: Vec<Failure> = all.iter().filter_map(|ended| worst(ended, strict)).collect();
    failures.sort_by_key(|failure| weight(failure.exit));
    failures
}

/// What came of a run, as a value.
fn value(all: &[Ended], kind: &str, worst: Option<&Failure>) -> Value {
    let databases: Vec<Value> = all
        .iter()
        .map(|ended| match &ended.report {
            Ok(report) => {
                let mut value = json!(report);
                value["place"] = json!(ended.place);
                value
            }
            Err(failure) => json!({ "place": ended.place, "database": ended.place, "error": failure }),
        })
        .collect();
    json!({
        "kind": kind,
        "exit": worst.map_or(Exit::Done, |failure| failure.exit) as u8,
        "summary": summary(all),
        "databases": databases,
        "error": worst,
    })
}

/// How bad an exit is: a person's business is worse than what a later run puts right by itself.
fn weight(exit: Exit) -> u8 {
    match exit {
        Exit::Done => 0,
        Exit::Warnings | Exit::Changes => 1,
        Exit::Busy => 2,
        Exit::Temporary => 3,
        Exit::Throttled => 4,
        Exit::Usage | Exit::Invalid | Exit::Precondition => 5,
        Exit::Different | Exit::Undone | Exit::NotApproved => 6,
        Exit::Internal | Exit::Person | Exit::Interrupted => 7,
    }
}

fn summary(all: &[Ended]) -> Value {
    let done = |kind: Kind| -> usize { reports(all).map(|r| r.done(kind)).sum() };
    let failed: usize =
        reports(all).map(|r| r.in_state(replat_control::rotate::report::State::Failed).count()).sum();
    json!({
        "created": done(Kind::Create),
        "drained": done(Kind::Drain),
        "retired": done(Kind::Retire),
        "dropped": done(Kind::Drop),
        "repaired": done(Kind::Repair),
        "adopted": done(Kind::Adopt),
        "reshaped": done(Kind::Recut) + done(Kind::Convert) + done(Kind::Align),
        "failed": failed,
        "databases_failed": all.iter().filter(|e| e.report.is_err()).count(),
        "stalled_us": reports(all).map(RunReport::stalled_us).sum::<u64>(),
    })
}

fn reports(all: &[Ended]) -> impl Iterator<Item = &RunReport> {
    all.iter().filter_map(|ended| ended.report.as_ref().ok())
}

/// The worst of one database; `None` if all is well.
fn worst(ended: &Ended, strict: bool) -> Option<Failure> {
    let report = match &ended.report {
        Err(failure) => return Some(failure.clone()),
        Ok(report) => report,
    };
    let exit = match report.worst() {
        Worst::Fine => return None,
        Worst::Warned if !strict => return None,
        Worst::Warned => Exit::Warnings,
        Worst::Temporary => Exit::Temporary,
        Worst::Throttled => Exit::Throttled,
        Worst::Precondition => Exit::Precondition,
        Worst::Different => Exit::Different,
    };
    let entries = report.not_done();
    let least = if exit == Exit::Warnings { Severity::Warning } else { Severity::Error };
    let findings: Vec<&Finding> = report.findings.iter().filter(|f| f.severity >= least).collect();
    let code = entries
        .iter()
        .find_map(|e| e.code.as_deref())
        .or_else(|| findings.first().map(|f| f.code.as_str()))
        .unwrap_or(codes::TAKEN_BACK);
    let found = |n| match exit {
        Exit::Warnings => render::counted(n, "warning", "warnings"),
        _ => render::counted(n, "error", "errors"),
    };
    let what = match (entries.len(), findings.len()) {
        (0, n) => format!("{}: {}", ended.place, found(n)),
        (n, 0) => format!("{}: {} not done", ended.place, render::counted(n, "unit was", "units were")),
        (n, m) => format!(
            "{}: {} not done, {}",
            ended.place,
            render::counted(n, "unit was", "units were"),
            found(m)
        ),
    };
    let mut failure = Failure::new(crate::codes::known(code), exit, what)
        .because(entries.iter().map(|e| {
            let why = e.why.as_deref().unwrap_or("no reason was given");
            format!("{} {}: {why}", e.code.as_deref().unwrap_or("-"), render::rotate::work(&e.unit))
        }))
        .because(findings.iter().map(|f| format!("{} {}", f.code, render::rotate::sentence(f))));
    if matches!(report.ending, Ending::Through) {
        failure = failure
            .state("SAFE: what was begun and not ended was taken back; the other tables were worked on.");
    }
    for finding in &findings {
        if !failure.remedy.contains(&finding.remedy) {
            failure = failure.remedy(finding.remedy.clone());
        }
    }
    if failure.remedy.is_empty() {
        failure = failure.remedy(match exit {
            Exit::Temporary | Exit::Throttled => "Run again later; what was done stays done.",
            _ => "Look closer: replat rotate --check",
        });
    }
    Some(failure)
}

async fn tell_metrics(run: &Run, style: Style, all: &[Ended]) {
    if run.reports.metrics_file.is_none() && run.reports.metrics_push.is_none() {
        return;
    }
    let path = run.reports.metrics_file.as_deref();
    let before = path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let text = metrics::text(&measured(all), &before, jiff::Timestamp::now().as_second());
    publish(run, style, &text).await;
}

fn measured(all: &[Ended]) -> Vec<(&str, Option<&RunReport>)> {
    all.iter().map(|e| (e.place.as_str(), e.report.as_ref().ok())).collect()
}

/// The run is over; that nobody hears of it is said, and is no reason to call it failed.
async fn publish(run: &Run, style: Style, page: &str) {
    if let Some(path) = &run.reports.metrics_file
        && let Err(why) = metrics::write(path, page)
    {
        style.remark(&format!("warning: {} cannot be written: {why}", path.display()));
    }
    if let Some(url) = &run.reports.metrics_push
        && let Err(why) = push::push(url, page).await
    {
        style.remark(&format!("warning: metrics could not be pushed: {why}"));
    }
}

/// `rotate --check`: what is wrong with what is there. Sessions cannot write.
async fn check(global: &Global, style: Style, run: &Run) -> Result<Exit, Failure> {
    let mut all = Vec::new();
    let places = places(global, &run.reach, true)?;
    for place in &places {
        let teller = Teller::new(global, style, run.reports.explain).at(place, places.len() > 1);
        let report = check_one(run, place, &teller).await;
        report.as_ref().inspect_err(|failure| teller.broke_off(failure)).ok();
        all.push(Ended { place: place.name.clone(), report });
    }
    tell_metrics(run, style, &all).await;
    conclude(style, &all, run.reports.strict, "RotateCheck")
}

async fn check_one(run: &Run, place: &Place, teller: &Teller) -> Result<RunReport, Failure> {
    let mut settings = wish::settings(run, &place.lifecycles, true)?;
    settings.look.indexes = true;
    settings.look.sizes = true;
    let engines = engines(place, &settings, 1);
    let rotation = Rotation { engines: &engines, settings: &settings, heard: teller };
    let report = rotation.check().await.map_err(failed)?;
    teller.ended(&report);
    Ok(report)
}

/// `runway`.
pub async fn runway(global: &Global, style: Style, args: &RunwayArgs) -> Result<Exit, Failure> {
    let mut text = String::new();
    let mut values = Vec::new();
    let mut short = Vec::new();
    let least = args.runway_min.map(DurationText::as_duration);
    for place in &places(global, &args.reach, true)? {
        let run = Run { reach: args.reach.clone(), ..Run::default() };
        let settings = wish::settings(&run, &place.lifecycles, true)?;
        let engines = engines(place, &settings, 1);
        let rotation = Rotation { engines: &engines, settings: &settings, heard: &teller::Mute };
        let drafted = rotation.draft().await.map_err(failed)?;
        let all = runways(&drafted.facts, &settings.wish);
        text += &render::rotate::runways(&all);
        let census = rotation.census(&drafted);
        let overdue: Vec<String> = census
            .iter()
            .filter(|(_, census)| census.overdue > 0)
            .map(|(table, census)| {
                let n = render::counted(census.overdue as usize, "retirement is", "retirements are");
                format!("{}: {n} overdue", render::rotate::word(table))
            })
            .collect();
        text += &overdue.join("\n");
        short.extend(
            all.iter()
                .filter(|r| least.is_some_and(|least| r.seconds.is_some_and(|s| s < least.as_secs())))
                .map(|r| format!("{}: {}", r.set, render::rotate::lasts(r))),
        );
        values.push(json!({
            "database": place.name,
            "runways": all,
            "overdue": census.iter().map(|(t, c)| (t.clone(), c.overdue)).collect::<std::collections::BTreeMap<_, _>>(),
            "refused": drafted.facts.refused,
        }));
        for refused in &drafted.facts.refused {
            style.remark(&format!("{}: {}; {}", refused.table, refused.why, refused.remedy));
        }
    }
    style.result(&text, &json!({ "kind": "Runway", "databases": values }));
    if short.is_empty() {
        return Ok(Exit::Done);
    }
    style.trouble(
        &Failure::new(codes::RUNWAY, Exit::Warnings, "the partitions will not last as long as they should")
            .because(short)
            .remedy("Make some: replat rotate --buffer-days=N"),
    );
    Ok(Exit::Warnings)
}

/// `plan rotate`.
pub async fn plan(global: &Global, style: Style, args: &PlanRotateArgs) -> Result<Exit, Failure> {
    let places = places(global, &args.run.reach, true)?;
    let [place] = places.as_slice() else {
        let names: Vec<&str> = places.iter().map(|p| p.name.as_str()).collect();
        return Err(Failure::new("RP2006", Exit::Usage, "a plan is about one database")
            .remedy(format!("Name it: --database NAME, one of {}", names.join(", "))));
    };
    let file = planned(&args.run, place).await?;
    if let Some(out) = &args.out {
        file.write(out)?;
    }
    let detail = global.verbose > 0 || global.dry_run || args.run.reports.explain;
    let mut text = render::rotate::rotate_plan(&file.plan, &file.scripts, detail, global.verbose > 0);
    if args.run.reports.explain {
        for set in &file.plan.understood {
            text += &format!("{}: {}; {}\n", set.table, set.grid, set.because);
        }
    }
    text += "No change has been made.\n";
    if let Some(out) = &args.out {
        text += &format!("Next:  replat apply {}\n", out.display());
    }
    style.result(&text, &json!(file));
    Ok(if args.exit_code && !file.plan.units.is_empty() { Exit::Changes } else { Exit::Done })
}

async fn planned(run: &Run, place: &Place) -> Result<RotatePlanFile, Failure> {
    let settings = wish::settings(run, &place.lifecycles, true)?;
    let engines = engines(place, &settings, 1);
    let rotation = Rotation { engines: &engines, settings: &settings, heard: &teller::Mute };
    let drafted = rotation.draft().await.map_err(failed)?;
    let mut scripts = Vec::new();
    for unit in &drafted.plan.units {
        let script = engines[0].script(unit).await.map_err(failed)?;
        scripts.push((unit.id.clone(), script));
    }
    let tables = settings.look.tables.clone();
    Ok(RotatePlanFile::new(place.name.clone(), tables, settings.wish, drafted.plan, scripts))
}

/// `apply` of a plan of a run.
pub async fn apply(global: &Global, style: Style, args: &ApplyArgs) -> Result<Exit, Failure> {
    // What was done of a plan makes it stale.
    let again = format!("replat plan rotate … --out {0}, and replat apply {0}", args.plan.display());
    unless_stopped(&again, async {
        let file = RotatePlanFile::read(&args.plan)?;
        let mut reach =
            Reach { db_url: args.db_url.clone(), tables: file.tables.clone(), ..Reach::default() };
        if reach.db_url.is_none() && crate::project::find_spec(global).is_ok() {
            reach.database = Some(file.database.clone());
        }
        let places = places(global, &reach, global.dry_run)?;
        let place = places.first().expect("one database was named");
        let teller = Teller::new(global, style, false);
        let publishing = Publishing::of(global, &args.publication)?;
        let report = carried_out(global, &file, place, &args.plan, &args.care, &teller).await;
        if !global.dry_run {
            publish_after(publishing.as_ref(), place, style).await;
        }
        let all = [Ended { place: place.name.clone(), report }];
        conclude(style, &all, false, "RotateResult")
    })
    .await
}

async fn carried_out(
    global: &Global,
    file: &RotatePlanFile,
    place: &Place,
    path: &Path,
    care: &crate::cli::Care,
    teller: &Teller,
) -> Result<RunReport, Failure> {
    let run = Run { care: care.clone(), ..Run::default() };
    let mut settings = wish::settings(&run, &[], global.dry_run)?;
    settings.look = Look { tables: file.tables.clone(), ..wish::look(&file.wish, &file.tables) };
    settings.wish = file.wish.clone();
    let jobs = if global.dry_run { 1 } else { care.jobs };
    let engines = engines(place, &settings, jobs);
    let rotation = Rotation { engines: &engines, settings: &settings, heard: teller };
    let fits = |drafted: &Drafted| match stale(&file.plan, &drafted.facts) {
        None => Ok(()),
        Some(why) => Err(why),
    };
    let report = match rotation.apply(&file.plan, fits).await.map_err(failed)? {
        Ok(report) => report,
        Err(why) => {
            let short = file.digest.get(..12).unwrap_or(&file.digest);
            return Err(Failure::new("RP2003", Exit::Invalid, format!("plan {short} no longer fits"))
                .because([why])
                .remedy(format!("Plan again: replat plan rotate … --out {}", path.display())));
        }
    };
    teller.ended(&report);
    Ok(report)
}

/// `show` of a plan of a run.
pub fn show(style: Style, path: &Path) -> Result<Exit, Failure> {
    let file = RotatePlanFile::read(path)?;
    style.result(&render::rotate::rotate_plan(&file.plan, &file.scripts, true, false), &json!(file));
    Ok(Exit::Done)
}
