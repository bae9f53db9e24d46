//! What `doctor` found, for people: area by area, one line for each check and the findings below it.

use std::collections::BTreeMap;

use replat_model::doctor::keys::{Candidate, Part};
use replat_model::doctor::{Outcome, Verdict, few};
use replat_model::draft::Finding;
use replat_model::preflight::Area;

use super::counted;
use crate::doctor::{Diagnosis, Place, of_area};

/// How many findings or remarks of one check are shown, unless every one was asked for.
const SHOWN: usize = 4;

/// The whole diagnosis.
pub fn diagnosis(d: &Diagnosis, detail: bool) -> String {
    let mut t = format!("blue   {}\ngreen  {}\n", place(&d.blue), place(&d.green));
    for line in &d.left_out {
        t += &format!("       not looked at: {line}\n");
    }
    if !d.candidates.is_empty() {
        t += &candidates(&d.candidates, detail);
    }
    if !d.trouble.is_empty() {
        t += "\n";
    }
    for trouble in &d.trouble {
        t += &format!("  ✗ {:<21} {}\n", trouble.code, trouble.what);
        trouble.remedy.iter().for_each(|remedy| t += &format!("{BELOW}do: {remedy}\n"));
    }
    for area in Area::ALL {
        t += &format!("\n{}\n", area.title());
        of_area(&d.checks, area).for_each(|verdict| t += &check(verdict, detail));
    }
    for (n, line) in d.predicted.iter().flat_map(super::prediction::prediction).enumerate() {
        t += &format!("{}  {line}\n", if n == 0 { "\npredicted\n" } else { "" });
    }
    t += &format!(
        "\n{} blocking, {} to allow, {}.\n",
        d.blocking,
        d.to_allow,
        counted(d.notes, "note", "notes")
    );
    t += &format!("Next:  {}\n", d.next);
    t
}

/// Where the lines below a check begin.
const BELOW: &str = "                          ";

fn place(place: &Place) -> String {
    let version = place.version.as_ref().map(|version| format!("  PostgreSQL {version}"));
    let role = place.role.as_ref().map(|role| format!("  as {role}"));
    let database = (!place.database.is_empty() && !place.home.starts_with(&place.database))
        .then(|| format!("  database {}", place.database));
    let tables = place.version.is_some().then(|| format!("  {}", counted(place.tables, "table", "tables")));
    [Some(place.home.clone()), version, database, role, tables].into_iter().flatten().collect()
}

fn candidates(found: &[Candidate], detail: bool) -> String {
    let mut t = String::from("\npartition key\n");
    for (n, key) in found.iter().enumerate() {
        let (mark, taken) = if n == 0 { ("→", " (taken here)") } else { (" ", "") };
        t += &format!(
            "  {mark} {:<21} {}; {} of {} tables carry it, {} refer over it{taken}\n",
            key.column,
            key.key_type.postgres_name(),
            key.carried,
            key.parts.len(),
            key.leads,
        );
        for (part, name) in [(Part::Reference, "reference"), (Part::Lacks, "lack it"), (Part::Apart, "apart")]
        {
            let tables = key.tables(part);
            if !tables.is_empty() {
                let names = if detail { tables.join(", ") } else { few(&tables) };
                t += &format!("{BELOW}{name}: {names}\n");
            }
        }
    }
    t
}

fn check(verdict: &Verdict, detail: bool) -> String {
    let mark = match verdict.outcome {
        Outcome::Passed => "✓",
        Outcome::NotLooked => "·",
        Outcome::Noted | Outcome::ToAllow => "!",
        Outcome::Refused => "✗",
    };
    let code = verdict.check.code();
    let about = match verdict.outcome {
        Outcome::Passed => match &verdict.not_looked {
            Some(why) => format!("{} ({why})", verdict.check.holds()),
            None => verdict.check.holds().to_owned(),
        },
        Outcome::NotLooked => format!("not looked at: {}", verdict.not_looked.as_deref().unwrap_or_default()),
        Outcome::Noted => "to know".to_owned(),
        Outcome::ToAllow => format!("to be allowed: --allow {code}"),
        Outcome::Refused => refused(&verdict.findings, detail),
    };
    let mut t = format!("  {mark} {code:<21} {about}\n");
    t += &limited(verdict.remarks.iter().map(|remark| format!("{BELOW}{remark}\n")).collect(), detail);
    t += &limited(remedies(&verdict.findings), detail);
    t
}

/// How many tables it is about, and which.
fn refused(findings: &[Finding], detail: bool) -> String {
    let mut tables: Vec<String> = findings.iter().filter_map(|finding| finding.table.clone()).collect();
    tables.sort_unstable();
    tables.dedup();
    match (findings, tables.len()) {
        ([one], _) => one.what.clone(),
        (_, 0) => counted(findings.len(), "finding", "findings"),
        (_, n) => {
            let names = if detail { tables.join(", ") } else { few(&tables) };
            format!("{}: {names}", counted(n, "table", "tables"))
        }
    }
}

/// What is wrong and what mends it; what one remedy mends stands together.
fn remedies(findings: &[Finding]) -> Vec<String> {
    let mut order: Vec<&str> = Vec::new();
    let mut by: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        by.entry(&finding.remedy).or_insert_with(|| {
            order.push(&finding.remedy);
            Vec::new()
        });
        by.entry(&finding.remedy).or_default().push(finding);
    }
    let block = |remedy: &&str| {
        let about = &by[remedy];
        let whats: String = match findings.len() {
            1 => String::new(),
            _ => about.iter().take(SHOWN).map(|finding| format!("{BELOW}{}\n", finding.what)).collect(),
        };
        let more = about.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!("{BELOW}and {more} more\n") } else { String::new() };
        format!("{whats}{more}{BELOW}do: {remedy}\n")
    };
    order.iter().map(block).collect()
}

fn limited(blocks: Vec<String>, detail: bool) -> String {
    let more = if detail { 0 } else { blocks.len().saturating_sub(SHOWN) };
    let shown: String = blocks.iter().take(blocks.len() - more).map(String::as_str).collect();
    match more {
        0 => shown,
        more => format!("{shown}{BELOW}and {more} more; see --detail\n"),
    }
}
