//! `capture`: a database at work is watched for a while, and what it does is kept as evidence for advice.

mod evidence;
mod folder;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use replat_model::spec::SecretText;
use replat_postgres::capture::{Ask, Capture, CaptureError, clean_up};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::evidence::{BadFile, Counts, Growing, Summary, summary};
use self::folder::{Folder, Record, Running, Standing, beside};
use crate::cli::{CaptureArgs, CaptureVerb, Global, Progress};
use crate::failure::{Exit, Failure, causes};
use crate::render::{self, Style};
use crate::source::{self, Source};

pub use self::evidence::Summary as EvidenceSummary;

/// How often is looked whether somebody wants it to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often is told how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long `stop` waits for a capture to end: it takes in what was done before, and puts back what was set.
const STOP_MAX: Duration = Duration::from_secs(60);

/// `capture` and its verbs.
pub async fn capture(global: &Global, style: Style, verb: &CaptureVerb) -> Result<Exit, Failure> {
    match verb {
        CaptureVerb::Start(args) => start(global, style, args).await,
        CaptureVerb::Stop { name, from } => stop(global, style, name.as_deref(), from.as_ref()).await,
        CaptureVerb::List => list(global, style),
        CaptureVerb::Show { name } => show(global, style, name.as_deref()),
    }
}

fn folder(global: &Global) -> Result<Folder, Failure> {
    let place = match (source::project_if_any(global)?, &global.store) {
        (Some(project), _) => project.beside_store("captures"),
        (None, Some(store)) => store.with_file_name("captures"),
        (None, None) => PathBuf::from(".replat/captures"),
    };
    Ok(Folder::at(place))
}

/// The database that is captured: the one that was named, or the one of the spec that is meant.
fn source(
    global: &Global,
    context: Option<&str>,
    from: Option<&SecretText>,
    read_only: bool,
) -> Result<Source, Failure> {
    const OPTION: &str = "--from";
    let project = source::project_if_any(global)?;
    match (from, &project) {
        (Some(from), Some(project)) => match source::named(project, from) {
            Some(name) => Source::of_spec(project, name, read_only),
            None => Source::of_text(from, OPTION, read_only),
        },
        (Some(from), None) => Source::of_text(from, OPTION, read_only),
        (None, Some(project)) => {
            let database = source::home(project, context, OPTION)?;
            Source::of_spec(project, &database, read_only)
        }
        (None, None) => Err(source::nothing_named(OPTION)),
    }
}

async fn start(global: &Global, style: Style, args: &CaptureArgs) -> Result<Exit, Failure> {
    let source = source(global, args.context.as_deref(), args.from.as_ref(), false)?;
    let folder = folder(global)?;
    let name = match &args.name {
        Some(name) => well_named(name)?.to_owned(),
        None => folder.free_name().map_err(|e| unusable(&e, "the folder of captures cannot be read"))?,
    };
    let evidence = args.out.clone().unwrap_or_else(|| folder.evidence(&name));
    let ask = Ask {
        info: source.info.clone(),
        database: source.database.clone(),
        name: name.clone(),
        log: args.log.clone(),
        sample_rate: args.sample_rate,
        lasts: args.lasts.as_duration(),
    };
    if global.dry_run {
        return outlook(style, &ask).await;
    }
    mend(style, &folder, &ask).await?;
    let record = Record {
        pid: std::process::id(),
        database: source.database.clone(),
        from: source.from.clone(),
        evidence: evidence.clone(),
        rate: None,
    };
    let mut running = folder.begin(&name, record).map_err(|e| {
        unusable(&e, &format!("capture {name} cannot begin")).remedy("See: replat capture list")
    })?;
    let growing = Growing::create(&evidence, args.max_size.bytes(), args.max_transactions);
    let mut growing = match growing {
        Ok(growing) => growing,
        Err(error) => {
            drop(running.end());
            return Err(unusable(&error, &format!("{} cannot be written", evidence.display()))
                .remedy("Name another file: --out FILE"));
        }
    };
    // From here on a signal is heard, also one that comes before there is something to end.
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok());
    let random = secret()?;
    let begun = Capture::begin(ask.clone(), random, &mut |before| running.remember(before)).await;
    let capture = match begun {
        Ok(capture) => capture,
        Err(error) => {
            drop(growing.discard());
            let left = take_away(&ask, running).await;
            return Err(left.err().unwrap_or_else(|| failed(&source.database, error)));
        }
    };
    let tiers: Vec<String> = capture.tiers().into_iter().map(tier_name).collect();
    style.remark(&render::capture::began(&name, &source.database, &tiers, args.lasts.as_duration()));
    for lacking in capture.lacking() {
        style.remark(&format!("  lacking   {lacking}"));
    }
    let why = Cell::new("time");
    let until =
        wanted(global, style, &running, &mut signals, args.lasts.as_duration(), growing.counts(), &why);
    let run = capture.run(&mut growing, until).await;
    let mut captured = match run {
        Ok(captured) => captured,
        Err(error) => {
            let left = take_away(&ask, running).await;
            return Err(left.err().unwrap_or_else(|| failed(&source.database, error)));
        }
    };
    let not_restored = captured.not_restored.take();
    let ended = growing.full.unwrap_or(why.get());
    growing.finish(captured).map_err(|e| {
        unusable(&e, &format!("{} cannot be written", evidence.display()))
            .remedy(format!("What was captured is in {}.", beside(&evidence, ".part").display()))
    })?;
    if let Some(error) = not_restored {
        return Err(not_put_back(&name, &source.database, causes_of(&error)));
    }
    running.end().map_err(|e| unusable(&e, "the folder of captures cannot be written"))?;
    let told = summary(&evidence).map_err(bad_file)?;
    style.result(
        &render::capture::ended(&name, &evidence, &told, ended),
        &value(&name, &evidence, &told, Some(ended)),
    );
    Ok(Exit::Done)
}

fn tier_name(tier: replat_advise::evidence::Tier) -> String {
    serde_json::to_value(tier).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What could be had, without changing anything.
async fn outlook(style: Style, ask: &Ask) -> Result<Exit, Failure> {
    let outlook = replat_postgres::capture::outlook(ask).await.map_err(|e| failed(&ask.database, e))?;
    let tiers: Vec<String> = outlook.tiers.into_iter().map(tier_name).collect();
    let lacking: Vec<String> = outlook.lacking.iter().map(ToString::to_string).collect();
    let text = render::capture::outlook(&ask.database, &tiers, &lacking);
    style.result(&text, &json!({ "kind": "CaptureOutlook", "tiers": tiers, "lacking": lacking }));
    Ok(Exit::Done)
}

/// 32 bytes that nobody else knows.
fn secret() -> Result<[u8; 32], Failure> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|e| Failure::new("RP9001", Exit::Internal, format!("there is no randomness: {e}")))?;
    Ok(random)
}

fn well_named(name: &str) -> Result<&str, Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(fits) {
        true => Ok(name),
        false => {
            Err(Failure::new("RP2006", Exit::Usage, "a capture's name is made of letters, digits, - and _")
                .remedy("Name it otherwise, such as --name monday; without --name it gets a name by itself."))
        }
    }
}

/// Waits until it is time, until somebody wants the capture to end, or for ever; and tells how far it is meanwhile.
async fn wanted(
    global: &Global,
    style: Style,
    running: &Running,
    [terminate, interrupt]: &mut [Option<Signal>; 2],
    lasts: Duration,
    counts: Arc<Counts>,
    why: &Cell<&'static str>,
) {
    let begun = Instant::now();
    let mut told = begun;
    let mut timer = tokio::time::interval(LOOK_EVERY);
    loop {
        let heard = async |signal: &mut Option<Signal>| match signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        };
        tokio::select! {
            _ = timer.tick() => {}
            () = heard(terminate) => why.set("stopped"),
            () = heard(interrupt) => why.set("stopped"),
        }
        if running.is_asked_to_end() {
            why.set("stopped");
        }
        if why.get() == "stopped" {
            style.remark("ending: what was done until now is taken in");
            return;
        }
        if begun.elapsed() >= lasts {
            return;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tell(global, style, begun.elapsed(), lasts, &counts);
        }
    }
}

fn tell(global: &Global, style: Style, elapsed: Duration, lasts: Duration, counts: &Counts) {
    let read = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (writes, transactions, bytes) =
        (read(&counts.writes), read(&counts.transactions), read(&counts.bytes));
    match global.progress {
        Progress::None => {}
        Progress::Json => style.progress(&json!({
            "kind": "CaptureProgress", "seconds": elapsed.as_secs_f64(), "of": lasts.as_secs_f64(),
            "writes": writes, "transactions": transactions, "bytes": bytes,
        })),
        _ => style.remark(&render::capture::progress(elapsed, lasts, writes, transactions, bytes)),
    }
}

/// Takes away what captures left in this database that were killed.
async fn mend(style: Style, folder: &Folder, ask: &Ask) -> Result<(), Failure> {
    let all = folder.all().map_err(|e| unusable(&e, "the folder of captures cannot be read"))?;
    for (name, standing) in all {
        let Standing::Killed(record) = standing else { continue };
        if record.database != ask.database {
            continue;
        }
        clean_up(ask, record.rate.as_ref()).await.map_err(|e| failed(&ask.database, e))?;
        folder.forget(&name).map_err(|e| unusable(&e, "the folder of captures cannot be written"))?;
        style.remark(&format!("capture {name} was killed: what it left on {} is taken away", ask.database));
    }
    Ok(())
}

/// Puts back what a capture set that could not begin or go on.
async fn take_away(ask: &Ask, running: Running) -> Result<(), Failure> {
    if running.record().rate.is_none() {
        return running.end().map_err(|e| unusable(&e, "the folder of captures cannot be written"));
    }
    // The session that had the lock may take a moment to end.
    let begun = Instant::now();
    let cleaned = loop {
        match clean_up(ask, running.record().rate.as_ref()).await {
            Err(CaptureError::Busy { .. }) if begun.elapsed() < Duration::from_secs(5) => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            other => break other,
        }
    };
    match cleaned {
        Ok(()) => running.end().map_err(|e| unusable(&e, "the folder of captures cannot be written")),
        Err(error) => Err(not_put_back(&running.name, &ask.database, causes_of(&error))),
    }
}

async fn stop(
    global: &Global,
    style: Style,
    name: Option<&str>,
    from: Option<&SecretText>,
) -> Result<Exit, Failure> {
    let folder = folder(global)?;
    let unreadable = |e: std::io::Error| unusable(&e, "the folder of captures cannot be read");
    let all = folder.all().map_err(unreadable)?;
    let is_left = |standing: &Standing| !matches!(standing, Standing::Ended);
    let (name, standing) = match name {
        Some(name) => all.iter().find(|(other, _)| other == name).ok_or_else(|| nameless(name))?,
        None => {
            let mut left = all.iter().filter(|(_, standing)| is_left(standing));
            match (left.next(), left.next()) {
                (Some(one), None) => one,
                (None, _) => {
                    style
                        .result("No capture is running.", &json!({ "kind": "CaptureStopped", "name": null }));
                    return Ok(Exit::Done);
                }
                _ => {
                    return Err(Failure::new("RP2006", Exit::Invalid, "several captures can be meant")
                        .remedy("Name one; see: replat capture list"));
                }
            }
        }
    };
    match standing {
        Standing::Ended => style.remark(&format!("capture {name} has ended already")),
        Standing::Running(_) => {
            folder.ask_to_end(name).map_err(unreadable)?;
            let begun = Instant::now();
            while matches!(folder.standing(name).map_err(unreadable)?, Standing::Running(_)) {
                if begun.elapsed() > STOP_MAX {
                    return Err(Failure::new(
                        "RP5003",
                        Exit::Temporary,
                        format!("capture {name} does not end"),
                    )
                    .state("SAFE: it only reads.")
                    .remedy("Ask again, or end its process; then again: replat capture stop"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Standing::Killed(record) => {
            let known = record.from.as_deref().map(SecretText::new);
            let Some(from) = from.or(known.as_ref()) else {
                return Err(Failure::new(
                    "RP1005",
                    Exit::Usage,
                    format!("how {} is reached was not kept", record.database),
                )
                .state("A capture was killed, and may have left a setting or a publication there.")
                .remedy(format!("Say it again: replat capture stop {name} --from URL")));
            };
            let source = source(global, None, Some(from), false)?;
            let ask = Ask {
                info: source.info,
                database: source.database,
                name: name.clone(),
                log: None,
                sample_rate: None,
                lasts: Duration::ZERO,
            };
            clean_up(&ask, record.rate.as_ref())
                .await
                .map_err(|e| not_put_back(name, &ask.database, causes_of(&e)))?;
            folder.forget(name).map_err(unreadable)?;
            style.remark(&format!(
                "capture {name} was killed: what it left on {} is taken away",
                ask.database
            ));
        }
    }
    let path = match standing {
        Standing::Running(record) | Standing::Killed(record) => record.evidence.clone(),
        Standing::Ended => folder.evidence(name),
    };
    tell_file(style, name, &existing(&path))
}

fn list(global: &Global, style: Style) -> Result<Exit, Failure> {
    let folder = folder(global)?;
    let all = folder.all().map_err(|e| unusable(&e, "the folder of captures cannot be read"))?;
    let mut rows = Vec::new();
    for (name, standing) in all {
        let (state, path) = match &standing {
            Standing::Running(record) => ("running", record.evidence.clone()),
            Standing::Killed(record) => ("killed", record.evidence.clone()),
            Standing::Ended => ("ended", folder.evidence(&name)),
        };
        let path = existing(&path);
        rows.push((name, state, summary(&path).unwrap_or_default(), path));
    }
    let value: Vec<_> = rows
        .iter()
        .map(|(name, state, told, path)| {
            let mut value = value(name, path, told, None);
            value["state"] = json!(state);
            value
        })
        .collect();
    let shown: Vec<_> = rows.iter().map(|(name, state, told, _)| (name.as_str(), *state, told)).collect();
    style.result(&render::capture::list(&shown), &json!(value));
    Ok(Exit::Done)
}

/// The file of a capture that is named and is no path that is there; any other path as it is.
pub fn evidence_of(global: &Global, named: &Path) -> Result<PathBuf, Failure> {
    let text = named.to_string_lossy();
    let name = text.strip_prefix("capture:").unwrap_or(&text);
    if named.exists() || name.contains('/') {
        return Ok(named.to_owned());
    }
    let folder = folder(global)?;
    let all = folder.all().map_err(|e| unusable(&e, "the folder of captures cannot be read"))?;
    let path = match all.iter().find(|(other, _)| other == name) {
        Some((_, Standing::Running(record) | Standing::Killed(record))) => record.evidence.clone(),
        Some((name, Standing::Ended)) => folder.evidence(name),
        None => return Ok(named.to_owned()),
    };
    Ok(existing(&path))
}

fn show(global: &Global, style: Style, name: Option<&str>) -> Result<Exit, Failure> {
    let folder = folder(global)?;
    if let Some(file) = name.map(Path::new).filter(|path| path.is_file()) {
        return tell_file(style, &file.display().to_string(), file);
    }
    let all = folder.all().map_err(|e| unusable(&e, "the folder of captures cannot be read"))?;
    let (name, standing) = match name {
        Some(name) => all.iter().find(|(other, _)| other == name).ok_or_else(|| nameless(name))?,
        None => match &all[..] {
            [one] => one,
            [] => {
                return Err(Failure::new("RP2006", Exit::Invalid, "there is no capture yet")
                    .remedy("Begin with: replat capture start"));
            }
            _ => {
                return Err(Failure::new("RP2006", Exit::Invalid, "there are several captures")
                    .remedy("Name one; see: replat capture list"));
            }
        },
    };
    let path = match standing {
        Standing::Running(record) | Standing::Killed(record) => record.evidence.clone(),
        Standing::Ended => folder.evidence(name),
    };
    tell_file(style, name, &existing(&path))
}

/// The file, or what there is of it yet.
fn existing(path: &Path) -> PathBuf {
    let part = beside(path, ".part");
    if !path.exists() && part.exists() { part } else { path.to_owned() }
}

fn tell_file(style: Style, name: &str, path: &Path) -> Result<Exit, Failure> {
    let told = summary(path).map_err(bad_file)?;
    style.result(&render::capture::shown(name, path, &told), &value(name, path, &told, None));
    Ok(Exit::Done)
}

fn value(name: &str, path: &Path, told: &Summary, ended: Option<&str>) -> serde_json::Value {
    json!({
        "kind": "Capture", "name": name, "file": path, "tiers": told.tiers(), "ended": ended, "evidence": told,
    })
}

fn nameless(name: &str) -> Failure {
    Failure::new("RP2006", Exit::Invalid, format!("there is no capture {name}"))
        .remedy("See: replat capture list")
}

fn unusable(error: &std::io::Error, what: &str) -> Failure {
    Failure::new("RP3103", Exit::Invalid, format!("{what}: {error}"))
}

fn bad_file(error: BadFile) -> Failure {
    Failure::new("RP3103", Exit::Invalid, error.to_string())
        .remedy("Name a capture, or a file that replat capture wrote: replat capture list")
}

fn causes_of(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::once(error.to_string()).chain(causes(error)).collect()
}

fn not_put_back(name: &str, database: &str, because: Vec<String>) -> Failure {
    Failure::new(
        "RP3104",
        Exit::Person,
        format!("what capture {name} set on {database} could not be put back"),
    )
    .because(because)
    .state("Traffic is not touched. The server may go on logging a share of all transactions.")
    .remedy(format!("Try again when it answers: replat capture stop {name}"))
    .remedy(
        "Or by hand: ALTER SYSTEM RESET log_transaction_sample_rate; SELECT pg_reload_conf(); \
         DROP PUBLICATION IF EXISTS replat_capture, replat_capture_inserts",
    )
}

/// Why a database could not be looked at.
pub fn failed(database: &str, error: CaptureError) -> Failure {
    match error {
        CaptureError::Connect(e) => {
            let exit = if e.is_temporary() { Exit::Temporary } else { Exit::Precondition };
            Failure::new("RP1001", exit, format!("database {database}: {e}"))
                .because(causes(&e))
                .remedy(e.remedy())
        }
        CaptureError::Engine(error) => error.into(),
        CaptureError::Busy { .. } => Failure::new("RP3102", Exit::Busy, error.to_string())
            .remedy("Wait for it, or end it: replat capture list; replat capture stop NAME"),
        CaptureError::NoTables { .. } => Failure::new("RP3101", Exit::Precondition, error.to_string())
            .remedy("Name the database in which the application has its tables."),
        CaptureError::Write(error) => unusable(&error, "the evidence cannot be written")
            .remedy("Make room, or name another place: --out FILE"),
    }
}
