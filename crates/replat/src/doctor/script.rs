//! `doctor --fix=print`: the statements that mend what was found, a part for each side. Nothing of it is run.

use std::collections::BTreeMap;

use replat_model::doctor::Verdict;
use replat_model::draft::Finding;
use replat_model::ids::Side;
use replat_model::preflight::Area;

use super::{Diagnosis, Place};

/// The script.
pub fn of(d: &Diagnosis) -> String {
    let mut t = String::from(
        "-- What replat doctor found, and what mends it. Nothing of this was run.\n\
         -- Read it first. CREATE INDEX CONCURRENTLY and ALTER SYSTEM cannot be part of a transaction.\n",
    );
    t += &part(d, Side::Blue, &d.blue);
    t += &part(d, Side::Green, &d.green);
    let sentences: Vec<&Finding> = all(d).filter(|finding| finding.statement().is_none()).collect();
    if !sentences.is_empty() || !d.trouble.is_empty() {
        t += "\n-- No statement mends these:\n";
    }
    for trouble in &d.trouble {
        t += &format!("--   {} {}\n", trouble.code, comment(&trouble.what));
    }
    for finding in sentences {
        t += &format!("--   {} {}: {}\n", finding.code, comment(&finding.what), comment(&finding.remedy));
    }
    t
}

fn all(d: &Diagnosis) -> impl Iterator<Item = &Finding> {
    d.checks.iter().flat_map(|verdict: &Verdict| &verdict.findings)
}

fn part(d: &Diagnosis, side: Side, place: &Place) -> String {
    // What neither side is named for is about blue, which is there.
    let here = |finding: &&Finding| finding.side.unwrap_or(Side::Blue) == side;
    let found: Vec<&Finding> = all(d).filter(here).filter(|finding| finding.statement().is_some()).collect();
    if found.is_empty() {
        return String::new();
    }
    let mut t = format!("\n-- {side}: {}", comment(&place.home));
    if !place.database.is_empty() {
        t += &format!(", database {}", comment(&place.database));
    }
    t.push('\n');
    let of = |areas: &[Area]| {
        found.iter().copied().filter(|finding| areas.contains(&finding.code.area())).collect::<Vec<_>>()
    };
    let rest = of(&[Area::Spec, Area::Tables, Area::Keys, Area::Columns, Area::Effects]);
    t += &section("The server", &of(&[Area::Servers]), "");
    t += &rights(&of(&[Area::Rights]));
    t += &match side == Side::Green && d.ddl_pending {
        // Its tables are not there yet, so the statements are for the file that makes them.
        true => section("For the rollout's DDL, behind what makes the tables", &rest, "-- in the DDL: "),
        false => section("The tables", &rest, ""),
    };
    t
}

/// What replat's role must be given.
fn rights(found: &[&Finding]) -> String {
    section("Rights of replat's role", found, "")
}

/// Statements, each once, with what they are for above them.
fn section(title: &str, found: &[&Finding], before: &str) -> String {
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    let mut statements: Vec<(&str, Vec<String>)> = Vec::new();
    for finding in found {
        let Some(statement) = finding.statement() else { continue };
        let n = *place.entry(statement).or_insert_with(|| {
            statements.push((statement, Vec::new()));
            statements.len() - 1
        });
        statements[n].1.push(format!("-- {} {}", finding.code, comment(&finding.what)));
    }
    if statements.is_empty() {
        return String::new();
    }
    let mut t = format!("-- {title}\n");
    for (statement, reasons) in statements {
        for reason in reasons {
            t += &format!("{reason}\n");
        }
        let statement = statement.strip_suffix(" -- in the DDL").unwrap_or(statement);
        t += &format!("{before}{statement}\n");
    }
    t
}

/// Text as a part of a comment: on one line.
fn comment(text: &str) -> String {
    text.split(['\n', '\r']).collect::<Vec<_>>().join(" ")
}
