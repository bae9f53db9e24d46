//! `doctor`: every check, one by one, at both ends of a deployment or at a database that no spec describes yet.
//!
//! Nothing is changed: what is looked at is looked at in read-only sessions, but for the rollout's DDL, which is run in
//! a transaction that is rolled back, as `plan` does.

mod first;
mod script;

use std::collections::BTreeMap;

use replat_model::doctor::keys::Candidate;
use replat_model::doctor::{self, Outcome, Verdict};
use replat_model::draft::{Ask, Beside, Examined, Finding, examine};
use replat_model::facts::DatabaseFacts;
use replat_model::ids::{Epoch, Home, Side};
use replat_model::plan::Hazard;
use replat_model::prediction::{Measured, Prediction};
use replat_model::preflight::{Area, Check};
use replat_model::region::Region;
use replat_model::spec::{Context, PathWish, Reversible, Rollout, Spec};
use replat_postgres::survey::{Target, check_expressions, is_one_database, rehearse, survey};
use serde::Serialize;
use serde_json::json;

use crate::cli::{DoctorArgs, Global};
use crate::failure::{Exit, Failure};
use crate::planning::{self, Ends, green_tables};
use crate::project::Project;
use crate::render::{self, Style};

/// Everything that a look came to.
#[derive(Serialize)]
pub struct Diagnosis {
    /// `Diagnosis`.
    pub kind: &'static str,
    /// What was looked at.
    pub blue: Place,
    /// The other side.
    pub green: Place,
    /// Every check of the table.
    pub checks: Vec<Verdict>,
    /// What stands in the way and is no check's: the server's own words.
    pub trouble: Vec<Trouble>,
    /// What the schema could be partitioned by; empty with a spec.
    pub candidates: Vec<Candidate>,
    /// What was left out of the look, as sentences.
    pub left_out: Vec<String>,
    /// What a deployment of the partition will take; `None` if none was named or it could not be looked at.
    pub predicted: Option<Prediction>,
    /// What makes sense now.
    pub next: String,
    /// How many things stand in the way.
    pub blocking: usize,
    /// How many have to be allowed.
    pub to_allow: usize,
    /// How many are worth knowing.
    pub notes: usize,
    /// Whether green's tables come from DDL that was not run yet.
    #[serde(skip)]
    pub ddl_pending: bool,
}

/// A database as it was found.
#[derive(Serialize)]
pub struct Place {
    /// Its name and schema in the spec; or the database's own name.
    pub home: String,
    /// The database's name on its server.
    pub database: String,
    /// The server's version, such as 16.4; `None` if it was not looked at.
    pub version: Option<String>,
    /// The role that looked.
    pub role: Option<String>,
    /// How many tables were looked at.
    pub tables: usize,
}

impl Place {
    fn of(home: String, facts: &DatabaseFacts) -> Place {
        Place {
            home,
            database: facts.database_name.clone(),
            version: Some(format!("{}.{}", facts.major, facts.version_num % 10_000)),
            role: Some(facts.role.clone()),
            tables: facts.tables.len(),
        }
    }
}

/// What stands in the way and has a code of its own.
#[derive(Serialize)]
pub struct Trouble {
    /// Its code, for `replat explain`.
    pub code: &'static str,
    /// What it is.
    pub what: String,
    /// What to do.
    pub remedy: Vec<String>,
}

impl Trouble {
    fn of(failure: Failure) -> Trouble {
        Trouble { code: failure.code, what: failure.what.to_string(), remedy: failure.remedy }
    }
}

/// What was found, before it is put into the order of the table.
#[derive(Default)]
struct Found {
    findings: Vec<Finding>,
    hazards: Vec<Hazard>,
    unlooked: BTreeMap<Check, String>,
    unseen: Vec<String>,
    predicted: Option<Prediction>,
}

impl Found {
    fn of(examined: Examined) -> Found {
        Found {
            findings: examined.findings,
            hazards: examined.plan.hazards,
            unseen: examined.unseen,
            unlooked: BTreeMap::new(),
            predicted: None,
        }
    }

    fn not_asked(&mut self, checks: impl IntoIterator<Item = Check>, why: &str) {
        for check in checks {
            self.unlooked.entry(check).or_insert_with(|| why.to_owned());
        }
    }

    fn verdicts(&self) -> Vec<Verdict> {
        doctor::diagnose(&self.findings, &self.hazards, &self.unlooked, &self.unseen)
    }
}

impl Diagnosis {
    fn counted(mut self) -> Diagnosis {
        let of = |outcome| self.checks.iter().filter(|verdict| verdict.outcome == outcome).count();
        let (refused, to_allow, notes) = (of(Outcome::Refused), of(Outcome::ToAllow), of(Outcome::Noted));
        (self.blocking, self.to_allow, self.notes) = (refused + self.trouble.len(), to_allow, notes);
        self
    }

    fn exit(&self, strict: bool) -> Exit {
        match (self.blocking, self.to_allow + self.notes) {
            (0, 0) => Exit::Done,
            (0, _) if strict => Exit::Warnings,
            (0, _) => Exit::Done,
            _ => Exit::Precondition,
        }
    }
}

/// `doctor`.
pub async fn doctor(global: &Global, style: Style, args: &DoctorArgs) -> Result<Exit, Failure> {
    let diagnosis = match &args.db_url {
        Some(url) => first::look(url, args).await?,
        None => look(global, args).await?,
    };
    match args.fix {
        Some(_) => {
            let script = script::of(&diagnosis);
            style.result(&script, &json!({ "script": script }));
        }
        None => style.result(&render::doctor::diagnosis(&diagnosis, args.detail), &json!(diagnosis)),
    }
    Ok(diagnosis.exit(args.strict))
}

/// What is asked about: one partition, or all that a context has.
struct Subject {
    ask: Ask,

    whole: bool,
}

fn subject(
    project: &Project,
    store: &dyn replat_engine::WorkLog,
    args: &DoctorArgs,
) -> Result<(String, Subject), Failure> {
    let (name, context) = project.context(args.context.as_deref())?;
    let ask = |partition, region, epoch, version, home| Ask {
        context: name.to_owned(),
        partition,
        region,
        epoch,
        version,
        home,
        ddl: Vec::new(),
        sizes: BTreeMap::new(),
        occupied: Vec::new(),
        contracts: Vec::new(),
        crossings: Vec::new(),
        beside: None,
        measured: Measured::default(),
        unsettled_keys: Vec::new(),
        misfits: Vec::new(),
    };
    if let Some(partition) = &args.partition {
        let wanted = planning::find(project, store, Some(name), partition)?;
        let home = Home::clone(&wanted.leaf.home);
        let ask = ask(wanted.id, wanted.region, wanted.leaf.epoch, wanted.version, home);
        return Ok((name.to_owned(), Subject { ask, whole: false }));
    }
    let all = "all".parse().map_err(|e| Failure::new("RP9001", Exit::Internal, format!("{e}")))?;
    // Each partition has a version of its own, so that of all is none that a rule could find fault with.
    let version = context.rollout.as_ref().map(|rollout| rollout.version.clone());
    let ask = ask(all, Region::everything(), Epoch::FIRST, version, context.home.clone());
    Ok((name.to_owned(), Subject { ask, whole: true }))
}

/// The checks of a place that no rollout goes to.
const OF_A_ROLLOUT: [Check; 13] = [
    Check::PathNotOpen,
    Check::RowsShared,
    Check::VersionGap,
    Check::SameHome,
    Check::DownTwice,
    Check::Expression,
    Check::NoSource,
    Check::TypeDiffers,
    Check::GeneratedTarget,
    Check::GreenNotEmpty,
    Check::RowSecurityGone,
    Check::SequenceMissing,
    Check::NotNull,
];

/// The checks that are about the rows of one partition.
const OF_A_PARTITION: [Check; 11] = [
    Check::VersionGap,
    Check::GreenNotEmpty,
    Check::NullValues,
    Check::ValueUnfit,
    Check::CheckViolated,
    Check::Duplicates,
    Check::GoesTwice,
    Check::RowsUnseen,
    Check::FkLeaves,
    Check::FkEnters,
    Check::FkUnsettled,
];

/// The checks of a rollout whose rows stay where they are.
const OF_VIEWS: [Check; 6] = [
    Check::UnknownContext,
    Check::NoRollout,
    Check::SameHome,
    Check::VersionGap,
    Check::PathNotOpen,
    Check::RowsShared,
];

/// A rollout to a copy: as if nothing but the place changed.
fn to_a_copy(database: &str, schema: &str) -> Rollout {
    Rollout {
        version: "as it is".into(),
        after: None,
        to: Home { database: database.to_owned(), schema: schema.to_owned() },
        ddl: Vec::new(),
        path: PathWish::Copy,
        reversible: Reversible::Required,
        map: BTreeMap::new(),
        tables: BTreeMap::new(),
    }
}

fn examined(
    spec: &Spec,
    ask: &Ask,
    blue: &DatabaseFacts,
    green: &DatabaseFacts,
) -> Result<Examined, Failure> {
    examine(spec, ask, blue, green)
        .map_err(|finding| Failure::new("RP2002", Exit::Invalid, finding.what).remedy(finding.remedy))
}

/// A look at both ends, as the spec has them.
async fn look(global: &Global, args: &DoctorArgs) -> Result<Diagnosis, Failure> {
    let project = Project::open(global)?;
    let store = project.store()?;
    let (name, mut subject) = subject(&project, &store, args)?;
    let context = &project.spec.contexts[&name];
    let home = subject.ask.home.clone();
    let command =
        format!("-C {name} -p {}", args.partition.as_deref().map_or("…".into(), |p| format!("'{p}'")));
    let blue = match (planning::session(&project, &home, true).await, &context.rollout) {
        (Ok(blue), _) => blue,
        (Err(failure), Some(rollout)) => {
            return green_alone(&project, context, &subject.ask, rollout, failure, &command).await;
        }
        (Err(failure), None) => return Err(failure),
    };
    let tables: Vec<String> = context.tables.keys().cloned().collect();
    let blue_facts = survey(&blue.client, &home.database, &home.schema, Some(&tables)).await?;
    let mut trouble = Vec::new();

    let Some(rollout) = &context.rollout else {
        let copy = doctor::copy_of(&blue_facts, None, &home.schema);
        let mut found = against_a_copy(&project.spec, &subject.ask, &blue_facts, &copy)?;
        found.findings.insert(
            0,
            Finding::new(
                Check::NoRollout,
                format!("context {name} has no rollout, so green was taken to be an empty copy of blue"),
                format!("Write [contexts.{name}.rollout] in the spec."),
            ),
        );
        found.not_asked(OF_A_ROLLOUT.into_iter().chain(OF_A_PARTITION), "there is no rollout");
        let green = unseen_place("an empty copy of blue");
        return Ok(told(found, trouble, Place::of(home.to_string(), &blue_facts), green, &command, false));
    };

    let to = &rollout.to;
    let green = match planning::session(&project, to, global.dry_run).await {
        Ok(green) => green,
        Err(failure) => {
            let copy = doctor::copy_of(&blue_facts, None, &to.schema);
            let mut found = against_a_copy(&project.spec, &subject.ask, &blue_facts, &copy)?;
            let why = "green was not reached, and was taken to be an empty copy of blue";
            found.not_asked(OF_A_ROLLOUT.into_iter().chain(OF_A_PARTITION), why);
            let trouble = vec![Trouble::of(failure)];
            let blue = Place::of(home.to_string(), &blue_facts);
            let told = told(found, trouble, blue, unseen_place(&to.to_string()), &command, false);
            return Ok(Diagnosis { left_out: vec!["green, which was not reached".into()], ..told });
        }
    };
    let rehearsed = match (global.dry_run, planning::read_ddl(project.folder(), rollout)) {
        (true, _) => Err("the DDL is not rehearsed in a dry run".to_owned()),
        (false, Err(failure)) => {
            let why = failure.what.to_string();
            trouble.push(Trouble { code: failure.code, what: why.clone(), remedy: failure.remedy });
            Err(why)
        }
        (false, Ok(ddl)) => {
            let target =
                Target { database: &to.database, schema: &to.schema, version: &rollout.version, ddl: &ddl };
            rehearse(&green.client, target, &green_tables(context, rollout)).await.map_err(|error| {
                let failure = Failure::from(error);
                let said = failure.because.iter().fold(failure.what.to_string(), |all, why| {
                    match all.contains(why) {
                        true => all,
                        false => format!("{all}: {why}"),
                    }
                });
                trouble.push(Trouble { code: failure.code, what: said, remedy: failure.remedy });
                "green's DDL could not be rehearsed, and its tables were taken to be like blue's".to_owned()
            })
        }
    };
    let ends = Ends { blue, green };
    let places =
        |green: &DatabaseFacts| (Place::of(home.to_string(), &blue_facts), Place::of(to.to_string(), green));
    match rehearsed {
        Err(why) => {
            let nothing: &[String] = &[];
            let server = survey(&ends.green.client, &to.database, &to.schema, Some(nothing)).await?;
            let copy = doctor::copy_of(&blue_facts, Some(&server), &to.schema);
            let is_one = is_one_database(&ends.blue.client, &ends.green.client, &to.database).await?;
            if is_one && home.schema == to.schema {
                subject.ask.beside = Some(Beside { tied: None });
            }
            let mut found = against_a_copy(&project.spec, &subject.ask, &blue_facts, &copy)?;
            found.not_asked(OF_A_ROLLOUT.into_iter().filter(|check| *check != Check::SameHome), &why);
            found.not_asked(OF_A_PARTITION, &why);
            let (blue, green) = places(&server);
            Ok(told(found, trouble, blue, green, &command, true))
        }
        Ok(rehearsal) => {
            let green_facts = rehearsal.facts;
            subject.ask.ddl = rehearsal.ddl;
            if is_one_database(&ends.blue.client, &ends.green.client, &to.database).await? {
                subject.ask.beside = Some(Beside { tied: rehearsal.tied });
            }
            let found = against_green(&project.spec, &mut subject, &ends, &blue_facts, &green_facts).await?;
            let pending = !subject.ask.ddl.is_empty();
            let (blue, green) = places(&green_facts);
            Ok(told(found, trouble, blue, green, &command, pending))
        }
    }
}

/// Blue was not reached: what can be said of green alone, as it is now. It is taken to be a copy of a blue that has
/// nothing against it.
async fn green_alone(
    project: &Project,
    context: &Context,
    ask: &Ask,
    rollout: &Rollout,
    failure: Failure,
    command: &str,
) -> Result<Diagnosis, Failure> {
    let to = &rollout.to;
    let Ok(green) = planning::session(project, to, true).await else { return Err(failure) };
    let names = green_tables(context, rollout);
    let facts = survey(&green.client, &to.database, &to.schema, Some(&names)).await?;
    let mut spec = project.spec.clone();
    if let Some(context) = spec.contexts.get_mut(&ask.context) {
        context.rollout = Some(to_a_copy(&to.database, &to.schema));
        context.versions.clear();
        let there = |name: &str| rollout.flows_of(name).into_iter().find_map(|flow| facts.table(flow.new));
        context.tables = std::mem::take(&mut context.tables)
            .into_iter()
            .filter_map(|(name, table)| Some((there(&name)?.name.clone(), table)))
            .collect();
    }
    let blue = doctor::copy_of(&facts, None, &ask.home.schema);
    let mut found = Found::of(examined(&spec, ask, &blue, &facts)?);
    doctor::of_the_copy(&mut found.findings, &mut found.hazards, &to.database);
    let why = "blue was not reached, and only green was looked at, as it is now";
    let of_a_server = |check: &Check| matches!(check.area(), Area::Servers | Area::Rights);
    found.not_asked(Check::ALL.iter().copied().filter(|check| !of_a_server(check)), why);
    let place = Place::of(to.to_string(), &facts);
    let told =
        told(found, vec![Trouble::of(failure)], unseen_place(&ask.home.to_string()), place, command, false);
    Ok(Diagnosis { left_out: vec!["blue, which was not reached".into()], ..told })
}

/// All rules against what green will be, with a look at the rows where a partition was named.
async fn against_green(
    spec: &Spec,
    subject: &mut Subject,
    ends: &Ends,
    blue: &DatabaseFacts,
    green: &DatabaseFacts,
) -> Result<Found, Failure> {
    let first = examined(spec, &subject.ask, blue, green)?;
    if !subject.whole {
        planning::measure(ends, &first.plan, blue, green, &mut subject.ask).await?;
    }
    let last = examined(spec, &subject.ask, blue, green)?;
    let mut expressions = Vec::new();
    for (side, session) in [(Side::Blue, &ends.blue), (Side::Green, &ends.green)] {
        expressions.extend(check_expressions(&session.client, side, &last.plan).await?);
    }
    let shares_rows = last.plan.path.shares_rows();
    let predicted = (!subject.whole && !shares_rows).then(|| last.plan.prediction.clone());
    let mut found = Found { predicted, ..Found::of(last) };
    found.findings.extend(expressions);
    if shares_rows {
        let others = Check::ALL.iter().copied().filter(|check| !OF_VIEWS.contains(check));
        found.not_asked(others, "green's tables are views of blue's, so no row moves");
        return Ok(found);
    }
    if subject.whole {
        found.not_asked(OF_A_PARTITION, "no partition was named; name one with -p");
    }
    Ok(found)
}

/// All rules against a green that is like blue.
fn against_a_copy(
    spec: &Spec,
    ask: &Ask,
    blue: &DatabaseFacts,
    copy: &DatabaseFacts,
) -> Result<Found, Failure> {
    let mut spec = spec.clone();
    if let Some(context) = spec.contexts.get_mut(&ask.context) {
        context.versions.clear();
        let to = context.rollout.as_ref().map(|rollout| rollout.to.clone());
        let to = to.unwrap_or_else(|| Home { database: "green".into(), schema: copy.schema.clone() });
        context.rollout = Some(to_a_copy(&to.database, &to.schema));
    }
    let mut found = Found::of(examined(&spec, ask, blue, copy)?);
    doctor::of_the_original(&mut found.findings, &mut found.hazards);
    Ok(found)
}

fn unseen_place(home: &str) -> Place {
    Place { home: home.to_owned(), database: String::new(), version: None, role: None, tables: 0 }
}

fn told(
    found: Found,
    trouble: Vec<Trouble>,
    blue: Place,
    green: Place,
    command: &str,
    ddl_pending: bool,
) -> Diagnosis {
    let checks = found.verdicts();
    let allow: Vec<&str> =
        checks.iter().filter(|v| v.outcome == Outcome::ToAllow).map(|v| v.check.code()).collect();
    let has_sql = found.findings.iter().any(|finding| finding.statement().is_some());
    let next = if has_sql {
        "replat doctor --fix=print > fix.sql     (the SQL that mends it; nothing is run)".to_owned()
    } else if !found.findings.is_empty() || !trouble.is_empty() {
        "mend what is marked, then replat doctor".to_owned()
    } else if allow.is_empty() {
        format!("replat plan deploy {command}")
    } else {
        format!("replat plan deploy {command}; then deploy with --allow {}", allow.join(","))
    };
    Diagnosis {
        kind: "Diagnosis",
        blue,
        green,
        checks,
        trouble,
        candidates: Vec::new(),
        left_out: Vec::new(),
        predicted: found.predicted,
        next,
        blocking: 0,
        to_allow: 0,
        notes: 0,
        ddl_pending,
    }
    .counted()
}

/// The checks of an area, for those who show them.
pub fn of_area(checks: &[Verdict], area: Area) -> impl Iterator<Item = &Verdict> {
    checks.iter().filter(move |verdict| verdict.area == area)
}
