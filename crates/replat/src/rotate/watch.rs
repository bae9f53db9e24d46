//! `rotate --watch`: what the daemon's runs are.

use replat_control::rotate::Rotation;
use replat_control::rotate::report::{Ending, Reason, RunReport, Worst};
use replat_model::lifecycle::policy::{More, matches};
use replat_model::lifecycle::velocity::{Surge, Velocity};
use replat_model::spec::SecretText;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::engines::engines;
use super::reach::{Place, places};
use super::teller::Teller;
use super::{Ended, failed, failures_of, measured, metrics, publish, value, wish};
use crate::cli::{Global, RotateArgs, Run, WatchArgs};
use crate::daemon::{Ask, Jet, JetError, JetStart, Occasion, PlaceNumber, RunEnd, Watch, Work};
use crate::failure::{Exit, Failure};
use crate::render::Style;
use crate::tables::{Publishing, publish_after};

/// When to run where nobody says: often enough for hourly partitions, and not when everybody else's jobs begin.
const HOURLY: &str = "7 * * * *";

/// `rotate --watch`.
pub async fn watch(global: &Global, style: Style, args: &RotateArgs) -> Result<Exit, Failure> {
    if global.dry_run {
        return Err(Failure::new("RP2006", Exit::Usage, "--watch and --dry-run exclude each other")
            .remedy("See what a run would do: replat rotate --dry-run"));
    }
    let daemon = &args.daemon;
    let places = places(global, &args.run.reach, false)?;
    for place in &places {
        // What is wrong with the arguments is wrong for every run.
        wish::settings(&args.run, &place.lifecycles, false)?;
    }
    let schedules = match daemon.schedules.is_empty() {
        true => HOURLY.parse().into_iter().collect(),
        false => daemon.schedules.clone(),
    };
    let (stopped, stop) = tokio::sync::oneshot::channel();
    heed_signals(style, stopped)?;
    let jet = match jet_start(daemon)? {
        Some(start) => Some(Jet::open(start).await.map_err(|error| no_messages(&error))?),
        None => None,
    };
    let every = daemon.velocity_every.as_duration();
    let watch = Watch {
        schedules,
        velocity_every: (!every.is_zero()).then_some(every),
        listen: match daemon.no_listen {
            true => Vec::new(),
            false => places.iter().map(|place| place.info.clone()).enumerate().collect(),
        },
        jet,
    };
    let several = places.len() > 1;
    let teller = |place| Teller::standing(global, style, args.run.reports.explain).at(place, several);
    let mut station = Station {
        style,
        run: &args.run,
        surge: daemon.surge,
        velocities: vec![Velocity::default(); places.len()],
        blind: vec![false; places.len()],
        tellers: places.iter().map(teller).collect(),
        publishing: Publishing::of(global, &args.run.publication)?,
        places,
        trouble: None,
        page: String::new(),
    };
    watch.run(&mut station, async { stop.await.unwrap_or_default() }).await;
    Ok(Exit::Done)
}

/// The first signal says that it is time to stop; the second one stops at once, whatever is under way.
fn heed_signals(style: Style, stopped: tokio::sync::oneshot::Sender<()>) -> Result<(), Failure> {
    let hear = |kind| {
        signal(kind)
            .map_err(|e| Failure::new("RP9001", Exit::Internal, format!("signals cannot be heard: {e}")))
    };
    let (mut terminate, mut interrupt) = (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        style.remark("stopping: a run at work is finished first; another signal stops at once");
        // Nobody waits any more if the daemon has ended meanwhile.
        stopped.send(()).unwrap_or_default();
        next().await;
        style.trouble(
            &Failure::new("RP9002", Exit::Interrupted, "stopped in the middle of a run")
                .state("SAFE: what was begun and not ended is finished or taken back by the next run.")
                .remedy("Start again: replat rotate"),
        );
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok(())
}

fn jet_start(args: &WatchArgs) -> Result<Option<JetStart>, Failure> {
    let Some(url) = &args.nats else { return Ok(None) };
    let name = |text: &str, option| match text.is_empty() || text.contains(['.', '*', '>', ' ', '\t']) {
        true => Err(bad_nats(option, format!("{text:?} is no name that JetStream takes"))),
        false => Ok(text.to_owned()),
    };
    let credentials = args.nats_creds.as_ref().map(|text| {
        kept(text, "--nats-creds").and_then(|kept| match kept {
            Kept::Here(path) => read(path, "--nats-creds"),
            Kept::Read(text) => Ok(text),
        })
    });
    Ok(Some(JetStart {
        url: match kept(url, "--nats")? {
            Kept::Here(url) => url.to_owned(),
            Kept::Read(url) => url.trim().to_owned(),
        },
        credentials: credentials.transpose()?,
        stream: name(&args.nats_stream, "--nats-stream")?,
        subject: args.nats_subject.clone(),
        consumer: name(&args.nats_durable, "--nats-durable")?,
    }))
}

/// A secret, as it was given, or from where it is kept.
enum Kept<'a> {
    Here(&'a str),
    Read(String),
}

fn kept<'a>(text: &'a SecretText, option: &str) -> Result<Kept<'a>, Failure> {
    let text = text.expose();
    if let Some(variable) = text.strip_prefix("env:") {
        let missing = |_| bad_nats(option, format!("the environment has no variable {variable}"));
        return std::env::var(variable).map(Kept::Read).map_err(missing);
    }
    match text.strip_prefix("file:") {
        Some(path) => read(path, option).map(Kept::Read),
        None => Ok(Kept::Here(text)),
    }
}

fn read(path: &str, option: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| bad_nats(option, format!("{path} cannot be read: {e}")))
}

fn bad_nats(option: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new("RP1005", Exit::Invalid, format!("{option}: {what}"))
        .remedy("Write --nats=nats://HOST:4222, or --nats=env:NAME; --nats-creds=FILE, or env:NAME.")
}

fn no_messages(error: &JetError) -> Failure {
    let exit = if error.temporary { Exit::Temporary } else { Exit::Precondition };
    Failure::new("RP1006", exit, error.to_string())
        .remedy("See whether it is there: nats --server URL stream ls")
        .remedy("Without messages: leave --nats out; the schedule, measurements and NOTIFY go on.")
}

/// The databases, and what was seen of them.
struct Station<'a> {
    style: Style,
    run: &'a Run,
    /// How many times as fast as forecast rows come in a surge.
    surge: f64,
    /// Where tables are published.
    publishing: Option<Publishing>,
    places: Vec<Place>,
    velocities: Vec<Velocity>,
    /// Which of them could not be measured the last time.
    blind: Vec<bool>,
    tellers: Vec<Teller>,
    /// What was wrong with the last run, so that it is said once.
    trouble: Option<String>,
    /// The metrics of all runs.
    page: String,
}

/// What one run over a database is to look at, and to add to the policy.
struct Errand {
    reason: Reason,
    /// The tables that the run is narrowed to; empty for all.
    tables: Vec<String>,
    more: Vec<More>,
}

impl Work for Station<'_> {
    async fn run(&mut self, occasions: &[Occasion]) -> Vec<RunEnd> {
        let mut ends: Vec<Option<RunEnd>> = vec![None; occasions.len()];
        let mut all = Vec::new();
        let mut narrowed = false;
        for (n, place) in self.places.iter().enumerate() {
            let about: Vec<&Occasion> = occasions.iter().filter(|o| o.concerns(n, &place.name)).collect();
            if about.is_empty() {
                narrowed = true;
                continue;
            }
            let errand = Errand::of(&about, self.run);
            narrowed |= !errand.tables.is_empty();
            let because = about.iter().map(|o| o.to_string()).collect::<Vec<_>>().join("; ");
            let report = self.one(place, errand, &self.tellers[n]).await;
            if let Ok(report) = &report {
                self.tellers[n].came(report, &because);
            }
            for (end, occasion) in ends.iter_mut().zip(occasions).filter(|(_, o)| o.concerns(n, &place.name))
            {
                let here = self.end(occasion, place, report.as_ref().ok());
                *end = Some(end.map_or(here, |end| end.max(here)));
            }
            all.push(Ended { place: place.name.clone(), report });
        }
        for (_, occasion) in ends.iter().zip(occasions).filter(|(end, _)| end.is_none()) {
            self.style.remark(&format!("warning: {occasion}: no such database is looked after here"));
        }
        if !all.is_empty() {
            self.tell(&all, occasions, narrowed).await;
        }
        ends.into_iter().map(|end| end.unwrap_or(RunEnd::Refused)).collect()
    }

    async fn surges(&mut self) -> Vec<(PlaceNumber, Surge)> {
        let mut found = Vec::new();
        for (n, place) in self.places.iter().enumerate() {
            let Ok(settings) = wish::settings(self.run, &place.lifecycles, true) else { continue };
            let engines = engines(place, &settings, 1);
            let mut look = settings.look.clone();
            (look.sizes, look.indexes) = (false, false);
            look.retiring.clear();
            let looked = match engines.first() {
                Some(engine) => engine.look(&look).await,
                None => continue,
            };
            match looked {
                Ok(facts) => {
                    self.blind[n] = false;
                    let surges = self.velocities[n].measure(&facts, &settings.wish, self.surge);
                    found.extend(surges.into_iter().map(|surge| (n, surge)));
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.blind[n], true) {
                        tracing::warn!(
                            "how fast rows come to {} cannot be measured now: {error}",
                            place.name
                        );
                    }
                }
            }
        }
        found
    }
}

impl Errand {
    fn of(about: &[&Occasion], run: &Run) -> Errand {
        let now = jiff::Timestamp::now();
        let mut errand = Errand { reason: Reason::Schedule, tables: Vec::new(), more: Vec::new() };
        let mut all = false;
        let mut weight = 0;
        for occasion in about {
            let (heavy, reason) = match occasion {
                Occasion::Schedule => (0, Reason::Schedule),
                Occasion::Start | Occasion::Reconnected { .. } => (1, Reason::Start),
                Occasion::Asked { by, .. } => (2, Reason::Message { from: (*by).to_owned() }),
                Occasion::Surge { surge, .. } => (3, Reason::Velocity { table: surge.set.to_string() }),
            };
            if heavy >= weight {
                (weight, errand.reason) = (heavy, reason);
            }
            let tables = match occasion {
                Occasion::Asked { ask, .. } => {
                    errand.more.extend(ask.more(now));
                    ask.all_tables()
                }
                Occasion::Surge { surge, .. } => {
                    let tables = vec![surge.set.to_string()];
                    let more = More { tables: tables.clone(), ahead: None, ahead_count: surge.ahead };
                    errand.more.extend(surge.ahead.is_some().then_some(more));
                    tables
                }
                _ => Vec::new(),
            };
            all |= tables.is_empty();
            errand.tables.extend(tables);
        }
        // Whoever asks for a table does not widen what --table allows.
        if all || !run.reach.tables.is_empty() {
            errand.tables.clear();
        }
        errand.tables.sort();
        errand.tables.dedup();
        errand
    }
}

impl Station<'_> {
    async fn one(&self, place: &Place, errand: Errand, heard: &Teller) -> Result<RunReport, Failure> {
        let mut settings = wish::settings(self.run, &place.lifecycles, false)?;
        settings.reason = errand.reason;
        settings.wish.more = errand.more;
        if !errand.tables.is_empty() {
            settings.look = wish::look(&settings.wish, &errand.tables);
        }
        settings.quick &= errand.tables.is_empty() && settings.wish.more.is_empty();
        let engines = engines(place, &settings, self.run.care.jobs);
        let rotation = Rotation { engines: &engines, settings: &settings, heard };
        let ran = rotation.run().await;
        publish_after(self.publishing.as_ref(), place, self.style).await;
        ran.map_err(failed)
    }

    /// How a run ended for one of its occasions: an ask for some tables is not kept waiting by the others.
    fn end(&self, occasion: &Occasion, place: &Place, report: Option<&RunReport>) -> RunEnd {
        // Nothing was looked at: whatever the reason, it may have gone the next time.
        let Some(report) = report else { return RunEnd::NotYet };
        let Occasion::Asked { ask, .. } = occasion else { return ended(report) };
        match report.ending {
            // Somebody waits for partitions that are not made here.
            Ending::ReadOnly => RunEnd::NotYet,
            Ending::Unchanged => RunEnd::Done,
            _ => {
                if let Some(table) = unknown(ask, report) {
                    let what =
                        format!("warning: {occasion}: {}: nothing is wanted of any such table", place.name);
                    self.style.remark(&format!("{what} as {table}"));
                    return RunEnd::Refused;
                }
                ended(&narrowed(report, &ask.all_tables()))
            }
        }
    }

    /// Says what came of a run: a line, metrics, and what is wrong, once.
    async fn tell(&mut self, all: &[Ended], occasions: &[Occasion], narrowed: bool) {
        let worst = failures_of(all, false).pop();
        // When it happened, and for how long, is no news.
        let trouble =
            worst.as_ref().map(|failure| format!("{} {} {:?}", failure.code, failure.what, failure.exit));
        let news = trouble != self.trouble;
        let began = all.iter().any(|ended| ended.report.is_ok());
        if self.style.is_json() && (began || news) {
            let because: Vec<String> = occasions.iter().map(ToString::to_string).collect();
            let mut value = value(all, "RotateRun", worst.as_ref());
            value["because"] = json!(because);
            self.style.line(&value.to_string());
        }
        match &worst {
            // Nothing is wrong: that run does the work, and ours comes after it.
            Some(failure) if news && failure.exit == Exit::Busy => self.style.remark(&failure.what),
            Some(failure) if news => self.style.trouble(failure),
            None if news => self.style.remark("all is well again"),
            _ => {}
        }
        self.trouble = trouble;
        if self.run.reports.metrics_file.is_none() && self.run.reports.metrics_push.is_none() {
            return;
        }
        let path = self.run.reports.metrics_file.as_deref();
        let before = path.and_then(|path| std::fs::read_to_string(path).ok());
        let before = before.unwrap_or_else(|| std::mem::take(&mut self.page));
        let now = jiff::Timestamp::now().as_second();
        self.page = match narrowed {
            true => metrics::text_of_part(&measured(all), &before, now),
            false => metrics::text(&measured(all), &before, now),
        };
        publish(self.run, self.style, &self.page).await;
    }
}

fn ended(report: &RunReport) -> RunEnd {
    match report.worst() {
        Worst::Fine | Worst::Warned => RunEnd::Done,
        Worst::Temporary | Worst::Throttled => RunEnd::NotYet,
        Worst::Precondition | Worst::Different => RunEnd::Refused,
    }
}

/// A table that was asked for, and of which the run knows nothing.
fn unknown(ask: &Ask, report: &RunReport) -> Option<String> {
    let known = |pattern: &String| report.runways.iter().any(|runway| matches(pattern, &runway.set));
    ask.all_tables().into_iter().find(|pattern| !known(pattern))
}

/// What a report says of some tables, and of none; all of it without any.
fn narrowed(report: &RunReport, tables: &[String]) -> RunReport {
    let mut report = report.clone();
    if !tables.is_empty() {
        let about = |set: &_| tables.iter().any(|pattern| matches(pattern, set));
        report.entries.retain(|entry| about(&entry.unit.set));
        report.findings.retain(|finding| finding.set.as_ref().is_none_or(&about));
    }
    report
}
