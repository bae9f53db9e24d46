//! Verbs that change a table's shape: the plan is shown, a person agrees, and then it is carried out as any run is.

use replat_control::rotate::report::State;
use replat_control::rotate::{Drafted, Rotation, Settings};
use replat_engine::lifecycle::{LifecycleEngine, Look, OrdinaryLook, Script};
use replat_model::lifecycle::draft::stale;
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::health::{Severity, codes};
use replat_model::lifecycle::plan::{RotatePlan, Work};
use replat_model::lifecycle::policy::{Cut, LevelPolicy, Lifecycle, Overflow};
use replat_model::lifecycle::reshape::{self, Convert, Merge, Modulus, Request, Split};
use replat_model::spec::DurationText;
use serde_json::json;

use super::engines::{engines, hold};
use super::reach::{Place, places};
use super::teller::{Mute, Teller};
use super::{Ended, conclude, failed, wish};
use crate::ask;
use crate::cli::{ConvertArgs, Global, HoldArgs, OneDatabase, OverflowWord, Reach, RotateVerb, Run, Where};
use crate::failure::{Exit, Failure};
use crate::render::{self, Style};
use crate::tables::{Publishing, publish_after};

/// One of the verbs.
pub async fn verb(global: &Global, style: Style, verb: &RotateVerb) -> Result<Exit, Failure> {
    let (request, at) = match verb {
        RotateVerb::Hold(args) => return held(global, style, args, true).await,
        RotateVerb::Release(args) => return held(global, style, args, false).await,
        RotateVerb::Convert(args) => (Request::Convert(convert(args)?), &args.place),
        RotateVerb::Unconvert(args) => (Request::Unconvert { table: named(&args.table) }, &args.place),
        RotateVerb::Split(args) => {
            let split = Split {
                table: named(&args.table),
                at: args.at.clone(),
                interval: args.interval.clone(),
                zone: args.zone.clone(),
                pieces: args.pieces,
            };
            (Request::Split(split), &args.place)
        }
        RotateVerb::Merge(args) => {
            let merge = Merge {
                parts: args.parts.iter().map(|part| named(part)).collect(),
                parent: args.of.as_deref().map(named),
                from: args.from.clone(),
                to: args.to.clone(),
                name: args.name.clone(),
            };
            (Request::Merge(merge), &args.place)
        }
        RotateVerb::Modulus(args) => {
            let modulus = Modulus {
                parent: named(&args.table),
                modulus: args.modulus,
                only: args.only.iter().map(|part| named(part)).collect(),
            };
            (Request::Modulus(modulus), &args.place)
        }
        RotateVerb::Align(args) => {
            (Request::Align { table: named(&args.table), index: args.index.clone() }, &args.place)
        }
        RotateVerb::Undo(args) => (Request::Undo { what: args.what.clone() }, &args.place),
    };
    let place = place(global, &at.database, global.dry_run)?;
    asked(global, style, request, at, &place).await
}

/// A table's name, as people write it: `schema.table`, or a table of the schema `public`.
fn named(text: &str) -> TableName {
    match text.split_once('.') {
        Some((schema, name)) => TableName::new(schema, name),
        None => TableName::new("public", text),
    }
}

/// The one database that is meant.
fn place(global: &Global, at: &OneDatabase, read_only: bool) -> Result<Place, Failure> {
    let reach = Reach { db_url: at.db_url.clone(), database: at.database.clone(), tables: Vec::new() };
    let mut places = places(global, &reach, read_only)?;
    match (places.pop(), places.is_empty()) {
        (Some(place), true) => Ok(place),
        (last, _) => {
            let names: Vec<&str> = places.iter().chain(&last).map(|place| place.name.as_str()).collect();
            Err(Failure::new("RP2006", Exit::Usage, "this is about one database")
                .remedy(format!("Name it: --database NAME, one of {}", names.join(", "))))
        }
    }
}

fn convert(args: &ConvertArgs) -> Result<Convert, Failure> {
    let usage = |what: String, remedy: &str| Failure::new("RP2006", Exit::Usage, what).remedy(remedy);
    let how = "Write --by range:COLUMN, list:COLUMN or hash:COLUMN.";
    let Some((method, column)) = args.by.split_once(':').filter(|(_, column)| !column.trim().is_empty())
    else {
        return Err(usage(format!("--by {} names no method and column", args.by), how));
    };
    let by = match method.trim().to_ascii_lowercase().as_str() {
        "range" => Cut::Range,
        "list" => Cut::List,
        "hash" => Cut::Hash,
        other => return Err(usage(format!("--by {other}: there is no such method"), how)),
    };
    let misplaced = [
        (by != Cut::Range && args.interval.is_some(), "--interval", "a range"),
        (by != Cut::Hash && args.modulus.is_some(), "--modulus", "a hash"),
        (by != Cut::List && !args.values.is_empty(), "--values", "a list"),
    ];
    if let Some((_, option, of)) = misplaced.into_iter().find(|(wrong, ..)| *wrong) {
        return Err(usage(format!("{option} is about {of}"), "Leave it out, or choose another --by."));
    }
    if by == Cut::Range && args.interval.is_none() {
        return Err(usage(
            "a range needs to know how long its partitions are".into(),
            "Say it, such as --interval \"1 day\" or --interval 1000000",
        ));
    }
    let ahead = args.buffer_days.map(|days| format!("{days}d").parse::<DurationText>()).transpose();
    Ok(Convert {
        table: named(&args.table),
        level: LevelPolicy {
            column: column.trim().to_owned(),
            by,
            interval: args.interval.clone(),
            origin: None,
            zone: args.zone.clone(),
            encoding: args.encoding.clone(),
            snowflake: None,
            modulus: args.modulus,
            values: args.values.iter().map(|v| v.split(',').map(|v| v.trim().to_owned()).collect()).collect(),
            grow: None,
        },
        first_name: args.first.clone(),
        ahead: ahead.map_err(|e| usage(e.to_string(), "Write a number of days, such as 30."))?,
        ahead_count: args.ahead,
        overflow: match args.overflow {
            OverflowWord::Reject => Overflow::Reject,
            OverflowWord::Edge => Overflow::Edge,
            OverflowWord::Default => Overflow::Default,
        },
        extend_key: args.extend_key,
    })
}

/// What a request needs to know.
fn look(request: &Request) -> Look {
    let ordinary = |table: &TableName, columns: Vec<String>| OrdinaryLook { table: table.clone(), columns };
    let ordinary = match request {
        Request::Convert(convert) => {
            let columns = convert.level.column.split(',').map(|column| column.trim().to_owned()).collect();
            vec![ordinary(&convert.table, columns)]
        }
        Request::Unconvert { table } => vec![ordinary(table, Vec::new())],
        Request::Undo { what } => vec![ordinary(&named(what), Vec::new())],
        _ => Vec::new(),
    };
    Look {
        // The name may be that of a partition at any depth, so all sets are looked at.
        tables: Vec::new(),
        sizes: true,
        indexes: matches!(request, Request::Align { .. }),
        retiring: Vec::new(),
        ordinary,
        history: true,
    }
}

fn settings(global: &Global, request: &Request, at: &Where, place: &Place) -> Result<Settings, Failure> {
    let run = Run { care: at.care.clone(), ..Run::default() };
    let mut settings = wish::settings(&run, &place.lifecycles, global.dry_run)?;
    settings.look = look(request);
    settings.wish.overrides = Lifecycle::default();
    settings.wish.allow = reshape::KINDS.to_vec();
    settings.wish.requests = vec![request.clone()];
    settings.quick = false;
    Ok(settings)
}

async fn asked(
    global: &Global,
    style: Style,
    request: Request,
    at: &Where,
    place: &Place,
) -> Result<Exit, Failure> {
    let mut settings = settings(global, &request, at, place)?;
    let engines = engines(place, &settings, 1);
    let mut drafted = draft(&engines, &settings).await?;
    // A unit's name does not say which table it was about.
    if let (Request::Undo { what }, true) = (&request, drafted.facts.ordinary.is_empty())
        && let Some(past) = drafted.facts.history.iter().find(|past| past.id == *what)
    {
        settings.look.ordinary = vec![OrdinaryLook { table: past.set.clone(), columns: Vec::new() }];
        drafted = draft(&engines, &settings).await?;
    }
    let mut plan = drafted.plan;
    refused(&plan)?;
    let all = plan.units.len();
    plan.units.truncate(at.at_most.map_or(all, |most| most as usize));
    if plan.units.is_empty() {
        style.result(
            "Nothing to do: it is so already.",
            &json!({ "kind": "RotatePlan", "plan": plan, "scripts": [] }),
        );
        return Ok(Exit::Done);
    }
    let scripts = shown(&engines, &plan, style).await?;
    let text = render::rotate::rotate_plan(&plan, &scripts, true, global.verbose > 0);
    if global.dry_run {
        let text = format!("{text}No change has been made.");
        style.result(&text, &json!({ "kind": "RotatePlan", "plan": plan, "scripts": scripts }));
        return Ok(Exit::Done);
    }
    match style.is_json() {
        true => {}
        false => style.line(text.trim_end()),
    }
    ask::confirm(global, &question(&plan, place))?;
    let teller = Teller::new(global, style, false);
    let rotation = Rotation { engines: &engines, settings: &settings, heard: &teller };
    let fits = |drafted: &Drafted| match stale(&plan, &drafted.facts) {
        None => Ok(()),
        Some(why) => Err(why),
    };
    let publishing = Publishing::of(global, &at.publication)?;
    let applied = rotation.apply(&plan, fits).await;
    publish_after(publishing.as_ref(), place, style).await;
    let report = match applied.map_err(failed)? {
        Ok(report) => report,
        Err(why) => {
            return Err(Failure::new("RP2003", Exit::Invalid, "the plan no longer fits")
                .because([why])
                .remedy("Run it again: it looks and plans anew."));
        }
    };
    teller.ended(&report);
    for entry in report.in_state(State::Done) {
        after(style, &entry.unit.id, &entry.unit.work);
    }
    if all > plan.units.len() {
        style.remark(&format!(
            "{} are left; the same words go on.",
            render::counted(all - plan.units.len(), "unit", "units")
        ));
    }
    let ended = [Ended { place: place.name.clone(), report: Ok(report) }];
    conclude(style, &ended, false, "RotateResult")
}

async fn draft(engines: &[Box<dyn LifecycleEngine>], settings: &Settings) -> Result<Drafted, Failure> {
    Rotation { engines, settings, heard: &Mute }.draft().await.map_err(failed)
}

/// A request that cannot be carried out.
fn refused(plan: &RotatePlan) -> Result<(), Failure> {
    let Some(first) = plan.findings.iter().find(|finding| finding.severity == Severity::Error) else {
        return Ok(());
    };
    let exit = if first.code == codes::QUOTA { Exit::Throttled } else { Exit::Precondition };
    Err(Failure::new(crate::codes::known(&first.code), exit, first.what.clone()).remedy(first.remedy.clone()))
}

/// The statements of each unit. What follows a conversion is about a table that is not partitioned yet, so its
/// statements are not known before.
async fn shown(
    engines: &[Box<dyn LifecycleEngine>],
    plan: &RotatePlan,
    style: Style,
) -> Result<Vec<(String, Script)>, Failure> {
    let mut scripts = Vec::new();
    let converts = plan.units.iter().any(|unit| matches!(unit.work, Work::Convert { .. }));
    for unit in &plan.units {
        if converts && matches!(unit.work, Work::Recut { .. }) {
            style.remark(&format!("{}: its statements are made when the table is partitioned", unit.id));
            continue;
        }
        let engine = engines.first().expect("there is an engine");
        scripts.push((unit.id.clone(), engine.script(unit).await.map_err(failed)?));
    }
    Ok(scripts)
}

fn question(plan: &RotatePlan, place: &Place) -> String {
    let wal: u64 = plan.units.iter().map(|unit| unit.wal_bytes).sum();
    format!(
        "{} in {}, about {} of log. Carry it out?",
        render::counted(plan.units.len(), "unit", "units"),
        place.name,
        render::bytes(wal)
    )
}

/// What a person should know once it is done: the way back, and how long what was replaced is kept.
fn after(style: Style, id: &str, work: &Work) {
    match work {
        Work::Recut { .. } | Work::Unconvert { .. } => style.remark(&format!(
            "What was replaced is kept for an hour; then the next replat rotate drops it. The way back: \
             replat rotate undo {id}"
        )),
        Work::Convert { first_name, .. } => style.remark(&format!(
            "The table is the partition {first_name} now. The way back: replat rotate undo {id}"
        )),
        _ => {}
    }
}

/// `rotate hold` and `rotate release`.
async fn held(global: &Global, style: Style, args: &HoldArgs, on: bool) -> Result<Exit, Failure> {
    let place = place(global, &args.database, global.dry_run)?;
    let table = named(&args.table);
    if global.dry_run {
        style.result(
            "No change has been made.",
            &json!({ "kind": "Hold", "table": table, "hold": on, "partitions": [] }),
        );
        return Ok(Exit::Done);
    }
    let held = hold(&place, &table, on).await?;
    if held.is_empty() {
        return Err(Failure::new(
            codes::REQUEST,
            Exit::Precondition,
            format!("replat has no record of {table}, nor of partitions of it"),
        )
        .remedy("Nothing: what replat did not make and did not take over is never retired.")
        .remedy("Take it over first, if it is to be retired later: replat rotate --adopt"));
    }
    let word = if on { "on hold" } else { "released" };
    let lines: Vec<String> =
        held.iter().map(|table| format!("{word} {}", render::rotate::table(table))).collect();
    style.result(
        &lines.join("\n"),
        &json!({ "kind": "Hold", "table": table, "hold": on, "partitions": held }),
    );
    Ok(Exit::Done)
}
