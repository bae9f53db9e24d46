//! What a look at a database says about every check, one by one: what `replat doctor` shows.
//!
//! [`diagnose`] goes through the whole table of [`crate::preflight`], so a check that nobody asked is said to be
//! that, and never counts as passed. [`copy_of`] stands in for a green that is not there yet; [`keys`] finds what a
//! schema could be partitioned by, and [`sketch`] writes a first spec.

pub mod keys;
pub mod sketch;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::draft::Finding;
use crate::facts::{DatabaseFacts, TableFacts};
use crate::ids::Side;
use crate::plan::Hazard;
use crate::preflight::{Area, Check};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// What it is about holds.
    Passed,
    /// It could not be asked.
    NotLooked,
    /// Something is worth knowing.
    Noted,
    /// A person has to allow something by name.
    ToAllow,
    /// Something stands in the way.
    Refused,
}

/// One check and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The check.
    pub check: Check,
    /// What it looks at.
    pub area: Area,
    /// What it came to, at its worst.
    pub outcome: Outcome,
    /// What stands in the way.
    pub findings: Vec<Finding>,
    /// What should be known or allowed, one sentence each.
    pub remarks: Vec<String>,
    /// Why it was not asked, or about which tables not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_looked: Option<String>,
}

/// Every check of the table with what was found. `unlooked` says of some why they could not be asked; what was found
/// all the same counts.
pub fn diagnose(
    findings: &[Finding],
    hazards: &[Hazard],
    unlooked: &BTreeMap<Check, String>,
    unseen: &[String],
) -> Vec<Verdict> {
    let verdict = |check: Check| {
        let findings: Vec<Finding> = findings.iter().filter(|f| f.code == check).cloned().collect();
        let about: Vec<&Hazard> = hazards.iter().filter(|hazard| hazard.name == check).collect();
        let area = check.area();
        let mut not_looked = unlooked.get(&check).cloned();
        let outcome = if !findings.is_empty() {
            Outcome::Refused
        } else if about.iter().any(|hazard| hazard.must_allow) {
            Outcome::ToAllow
        } else if !about.is_empty() {
            Outcome::Noted
        } else if not_looked.is_some() {
            Outcome::NotLooked
        } else {
            Outcome::Passed
        };
        let is_of_tables = matches!(area, Area::Keys | Area::Columns | Area::Effects);
        if is_of_tables && not_looked.is_none() && !unseen.is_empty() {
            not_looked = Some(format!("not asked of {}, which cannot take part yet", few(unseen)));
        }
        let remarks = about.iter().map(|hazard| hazard.what.clone()).collect();
        Verdict { check, area, outcome, findings, remarks, not_looked }
    };
    Check::ALL.iter().copied().map(verdict).collect()
}

/// A few names, and how many more there are.
pub fn few(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Green as it would be if it had blue's tables, empty, and a role that may do everything there: what is found then is
/// blue's own. `server` is what is known of green's server; without it, it is taken to be like blue's.
pub fn copy_of(blue: &DatabaseFacts, server: Option<&DatabaseFacts>, schema: &str) -> DatabaseFacts {
    let mut green = server.unwrap_or(blue).clone();
    if server.is_none() {
        // Another server, of which nothing is asked.
        green.system_id = String::new();
        green.wal_level = "logical".into();
        (green.slots_used, green.max_replication_slots) = (0, 1);
        (green.senders_used, green.max_wal_senders) = (0, 1);
        (green.can_replicate, green.can_create, green.can_skip_triggers) = (true, true, true);
        green.major = green.major.max(crate::draft::MAJOR_MIN);
        (green.prepared_transactions, green.slot_idle_max_s, green.standbys) = (0, 0, 0);
    }
    green.schema = schema.to_owned();
    green.relations.clone_from(&blue.relations);
    green.free_sequences.clone_from(&blue.free_sequences);
    green.tables = blue.tables.iter().map(|table| copied(table, &blue.schema, schema)).collect();
    green
}

fn copied(table: &TableFacts, from: &str, to: &str) -> TableFacts {
    let mut table = table.clone();
    table.schema = to.to_owned();
    (table.owned, table.rows_hidden, table.unlogged, table.subscribed) = (true, false, false, false);
    table.foreign_keys.iter_mut().filter(|key| key.ref_schema == from).for_each(|key| {
        key.ref_schema = to.to_owned();
    });
    table.referenced_by.iter_mut().filter(|key| key.schema == from).for_each(|key| {
        key.schema = to.to_owned();
    });
    table
}

/// Leaves what is said of green alone, whose database has this name in the spec, where blue was made up from it.
pub fn of_the_copy(findings: &mut Vec<Finding>, hazards: &mut Vec<Hazard>, database: &str) {
    findings.retain(|finding| finding.side == Some(Side::Green));
    let (first, later) = (format!("{database} "), format!(" on {database}"));
    hazards.retain(|hazard| {
        let what = &hazard.what;
        what.starts_with("green.") || what.starts_with(&first) || what.contains(&later)
    });
}

/// Leaves out what is said of a copy and of its original alike.
pub fn of_the_original(findings: &mut Vec<Finding>, hazards: &mut Vec<Hazard>) {
    let said = |of: &Finding| (of.code, of.table.clone());
    let blue: Vec<_> = findings.iter().filter(|f| f.side != Some(Side::Green)).map(said).collect();
    let blue: std::collections::BTreeSet<_> = blue.into_iter().collect();
    findings.retain(|f| f.side != Some(Side::Green) || !blue.contains(&said(f)));
    let blue: std::collections::BTreeSet<(Check, String)> = hazards
        .iter()
        .filter_map(|hazard| Some((hazard.name, hazard.what.strip_prefix("blue.")?.to_owned())))
        .collect();
    hazards.retain(|hazard| {
        let rest = hazard.what.strip_prefix("green.");
        rest.is_none_or(|rest| !blue.contains(&(hazard.name, rest.to_owned())))
    });
}
