//! `advise`: evidence in, advice out, as a page, as a plan, as files.
//!
//! What is advised is decided by `replat-advise`. Here files are read, databases are looked at, and what came of it is
//! written.

mod deployed;
mod judged;
mod layout;
mod live;
mod moves;
mod reading;
pub mod spec;
pub mod split;

use std::path::{Path, PathBuf};

use replat_advise::advise::Wish;
use replat_advise::carry::Carried;
use replat_advise::design::Design;
use replat_advise::drift::{Means, Prices, drift};
use replat_advise::evidence::Tier;
use replat_advise::report::{Report, Subject, Wanted, report, what_if};
use replat_advise::system::System;
use serde_json::json;

use self::moves::Calling;
use self::spec::Change;
use crate::cli::{Advise, AdviseArgs, Global};
use crate::failure::{Exit, Failure};
use crate::project::Project;
use crate::render::{self, Style};
use crate::source::Source;

/// `advise`.
pub async fn advise(global: &Global, style: Style, args: &AdviseArgs) -> Result<(), Failure> {
    if args.what == Advise::Layout {
        return layout::advise(style, args);
    }
    let paths: Vec<PathBuf> =
        args.evidence.iter().map(|one| crate::capture::evidence_of(global, one)).collect::<Result<_, _>>()?;
    let live = live::sources(global, style, args)?;
    let seen = live::look(style, &live).await?;
    let read = reading::read(&paths, &seen)?;
    let wish = Wish { partitions: args.partitions, capacity: args.capacity };
    let wanted = Wanted { wish, accept_low_confidence: args.accept_low_confidence };
    let subject = Subject {
        system: &read.system,
        sources: read.sources.clone(),
        hashed: read.hashed,
        notes: read.notes.clone(),
    };
    let mut report = report(subject, &wanted);
    let project = match &args.design {
        None if matches!(args.what, Advise::WhatIf | Advise::Drift) => Some(Project::open(global)?),
        _ => None,
    };
    let deployed = match &project {
        Some(project) => Some(deployed::read(project, &read, args.context.as_deref())?),
        None => None,
    };
    let asked = match (&deployed, &args.design) {
        (Some((deployed, source)), _) => Some((deployed.design.clone(), source.clone())),
        (None, Some(file)) => Some(design(file)?),
        (None, None) => None,
    };
    report.evidence.notes.extend(deployed.iter().flat_map(|(deployed, _)| deployed.notes.clone()));
    let system = deployed.as_ref().map_or(&read.system, |(deployed, _)| &deployed.system);
    let mut carried = Vec::new();
    if let Some((design, source)) = asked {
        let System { schema, trace, .. } = system;
        if matches!(args.what, Advise::Drift | Advise::All) {
            // What is deployed is moved by deployments; a design on paper may become any other.
            let means = if deployed.is_some() { Means::Keys } else { Means::Any };
            let watched = drift(schema, trace, &design, None, &Prices::default(), means).map_err(misfit)?;
            if let (Some(project), Some((deployed, _))) = (&project, &deployed) {
                carried = moves::moves(project, deployed, &watched)?;
            }
            report.drift = Some(watched);
        }
        what_if(&mut report, system, &design, source).map_err(misfit)?;
    }
    for (file, text) in
        [(&args.markdown, render::advise::markdown(&report)), (&args.html, render::advise::page(&report))]
    {
        if let Some(file) = file {
            written(file, &text)?;
        }
    }
    if let Some(folder) = &args.out {
        judged::write(folder, &report)?;
    }
    let change = match &args.apply_to_spec {
        Some(file) if args.what == Advise::Drift && deployed.is_some() => {
            Some(first_rollout(global, file.as_deref(), &carried)?)
        }
        Some(file) => {
            let home = args.home.clone().or_else(|| live::home(&live));
            let args = AdviseArgs { home, ..args.clone() };
            Some(spec::change(global, file.as_deref(), &args, &report)?)
        }
        None => None,
    };
    let mut text = render::advise::terminal(&report, args.what, args.detail);
    let mut value = json!(report);
    let calling = Calling { spec: project.as_ref().filter(|_| global.config.is_some()), args };
    text += &calling.told(&carried);
    if !carried.is_empty() {
        value["moves"] = calling.value(&carried);
    }
    if let Some(change) = change {
        text += &change.told(global.dry_run);
        value["spec"] = change.value(global.dry_run);
        if !global.dry_run {
            change.write()?;
        }
    } else if deployed.is_none() {
        text += &next(&report, args, &live);
    }
    style.result(&text, &value);
    Ok(())
}

/// A file of ours.
fn written(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|e| {
        Failure::new("RP9001", Exit::Usage, format!("{} cannot be written: {e}", file.display()))
            .remedy("Name a file in a folder that is there and can be written.")
    })
}

/// What the first move that has paid for itself makes of the spec.
fn first_rollout(global: &Global, file: Option<&Path>, carried: &[Carried]) -> Result<Change, Failure> {
    let due = || carried.iter().filter(|one| one.recommended);
    if let Some(stage) = due().flat_map(|one| &one.stages).next() {
        return spec::rollout_change(global, file, stage);
    }
    let nothing = "no move has paid for itself: what is deployed may stay as it is".to_owned();
    let why: Vec<String> = due().flat_map(|one| one.cannot.clone()).collect();
    Err(Failure::new("RP8004", Exit::Precondition, "there is no move that can be taken as it is")
        .because(if why.is_empty() { vec![nothing] } else { why })
        .remedy("See what was found: replat advise drift --evidence …"))
}

/// A design of somebody's own, and where it comes from.
fn design(file: &Path) -> Result<(Design, String), Failure> {
    let shown = file.display().to_string();
    let bad = |why: String| {
        Failure::new("RP8003", Exit::Invalid, format!("{shown} is no design")).because([why]).remedy(
            "See one: replat advise keys --evidence … --out DIR writes DIR/design.json; docs/advise.md explains it.",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|e| bad(e.to_string()))?;
    let design = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    Ok((design, shown))
}

fn misfit(error: replat_advise::design::BadDesign) -> Failure {
    Failure::new("RP8003", Exit::Invalid, error.to_string()).remedy(
        "Name every table of the evidence, each with one of its columns; docs/advise.md explains designs.",
    )
}

fn next(report: &Report, args: &AdviseArgs, live: &[Source]) -> String {
    let asked = of_what(args, live);
    if report.plan.ready {
        format!("Next:  replat advise keys {asked} --apply-to-spec --dry-run\n")
    } else if let (true, Some(from)) = (report.advice.tier < Tier::Writes, live::to_capture(live)) {
        format!("Next:  replat capture start {from}\n")
    } else if args.html.is_none() {
        format!("Next:  replat advise {asked} --html advice.html\n")
    } else {
        String::new()
    }
}

/// The options by which this evidence is asked for again.
fn of_what(args: &AdviseArgs, live: &[Source]) -> String {
    let mut words = Vec::new();
    if !args.evidence.is_empty() {
        words.push("--evidence".to_owned());
        words.extend(args.evidence.iter().map(|path| path.display().to_string()));
    }
    words.extend(live.iter().map(live::option));
    words.join(" ")
}
