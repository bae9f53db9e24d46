//! A system from evidence of any tier.

use std::collections::{BTreeMap, BTreeSet};

use super::System;
use super::beside;
use super::build::{Builder, Executable, Written};
use super::infer;
use super::keys;
use super::rows::Rows;
use super::weigh;
use crate::evidence::{Evidence, Note, RowSeen, StatementSeen, Tier, TransactionSeen, WritesSeen};
use crate::schema::Schema;
use crate::sql::{self, Analysis};
use crate::trace::Template;
use crate::value::Value;

/// Statements that ran alone are shown so many times in all, each as often as its share says.
const ALONE_MAX: u64 = 4_000;

/// The system that this is evidence of.
pub(super) fn system(evidence: &Evidence) -> (System, Vec<Note>) {
    let mut notes = Vec::new();
    let mut schema = keys::tables(evidence, &mut notes);
    let analyses = analyse_all(&schema, &evidence.statements, &mut notes);
    let identities = keys::identities(&schema, evidence);
    let counted: Vec<(Analysis, u64)> = evidence
        .statements
        .iter()
        .zip(&analyses)
        .filter_map(|(statement, analysis)| Some((analysis.clone()?, statement.calls.unwrap_or(1))))
        .collect();
    let mut references: Vec<_> = schema.tables.iter().map(|table| table.references.clone()).collect();
    for (child, reference) in keys::undeclared(&schema, &identities, &counted) {
        references[child.0].push(reference);
    }
    keys::choose(&mut schema, evidence, &identities, &references, &counted);
    tell_unknown_tables(&schema, &evidence.writes, &mut notes);
    let rows = Rows::new(&schema, &identities, &references);
    let mut builder = Builder::new(&schema, rows);
    let statements = executables(&mut builder, evidence, analyses);
    let tier = if evidence.transactions.iter().any(|t| is_readable(t, &statements)) {
        sampled(&mut builder, evidence, &statements, &mut notes);
        Tier::Sample
    } else if !evidence.writes.is_empty() {
        beside::written(&mut builder, &schema, &references, evidence, &statements);
        Tier::Writes
    } else if !statements.is_empty() {
        alone(&mut builder, evidence, &statements);
        Tier::Statements
    } else {
        Tier::Catalogue
    };
    if tier == Tier::Sample || tier == Tier::Writes {
        infer::infer(&mut builder, &schema);
    }
    let mut trace = builder.shown();
    trace.transactions.sort_by(|a, b| a.at.total_cmp(&b.at));
    let head = &evidence.head;
    let system = System {
        name: head.name.clone(),
        schema,
        trace,
        partitions: head.partitions,
        constraints: head.constraints.clone(),
        services: head.services.clone(),
        tier,
        intent: head.intent.clone(),
        missing: Vec::new(),
    };
    (system, notes)
}

pub(super) type Statements = BTreeMap<String, Executable>;

/// What each statement does; `None` if it cannot be read, or touches no table.
fn analyse_all(
    schema: &Schema,
    statements: &[StatementSeen],
    notes: &mut Vec<Note>,
) -> Vec<Option<Analysis>> {
    let mut strangers: BTreeSet<String> = BTreeSet::new();
    let (mut unread, mut why) = (0_usize, String::new());
    let analyses = statements
        .iter()
        .map(|statement| match sql::analyse(&statement.text, schema) {
            Ok(analysis) => {
                // What the server asks itself is nobody's workload.
                let own = |name: &String| {
                    name.starts_with("pg_")
                        || name.contains("pg_catalog.")
                        || name.contains("information_schema.")
                };
                strangers.extend(analysis.strangers.iter().filter(|name| !own(name)).cloned());
                Some(analysis).filter(|analysis| !analysis.touches.is_empty())
            }
            Err(error) => {
                unread += 1;
                why = error.to_string();
                None
            }
        })
        .collect();
    if unread > 0 {
        notes.push(Note::new(
            "statements",
            format!("{unread} of {} could not be read: {why}", statements.len()),
        ));
    }
    if !strangers.is_empty() {
        let names: Vec<&str> = strangers.iter().take(5).map(String::as_str).collect();
        notes.push(Note::new(
            "statements",
            format!("they read from {} that are no known tables: {}", strangers.len(), names.join(", ")),
        ));
    }
    analyses
}

fn tell_unknown_tables(schema: &Schema, writes: &[WritesSeen], notes: &mut Vec<Note>) {
    let unknown: BTreeSet<&str> = writes
        .iter()
        .flat_map(|writes| &writes.rows)
        .map(|row| row.table.as_str())
        .filter(|name| schema.find(name).is_none())
        .collect();
    for name in unknown {
        notes.push(Note::new(
            name,
            "it was written to, but no file says that there is such a table; its rows were left out",
        ));
    }
}

fn executables(
    builder: &mut Builder<'_>,
    evidence: &Evidence,
    analyses: Vec<Option<Analysis>>,
) -> Statements {
    let mut all = Statements::new();
    for (statement, analysis) in evidence.statements.iter().zip(analyses) {
        let Some(analysis) = analysis else { continue };
        // The server counts the rows of all that a statement touches, or those that it gives.
        let rows = match (statement.rows, statement.calls) {
            (Some(rows), Some(calls)) if calls > 0 => {
                let found = rows as f64 / calls as f64 / analysis.touches.len() as f64;
                // A count of rows; what is too much is cut off later.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let found = found.round().clamp(1.0, 1e6) as usize;
                found
            }
            _ => 1,
        };
        let template = analysis.template(statement.id.clone(), statement.text.clone());
        let template = builder.template(Template { calls: statement.calls, ..template });
        all.insert(statement.id.clone(), Executable { analysis, template, rows });
    }
    all
}

fn is_readable(transaction: &TransactionSeen, statements: &Statements) -> bool {
    transaction.at.is_finite()
        && transaction.statements.iter().any(|run| statements.contains_key(&run.statement))
}

/// Whole transactions, completed by what else is known of their rows.
fn sampled(builder: &mut Builder<'_>, evidence: &Evidence, statements: &Statements, notes: &mut Vec<Note>) {
    for transaction in &evidence.transactions {
        for run in &transaction.statements {
            if let Some(statement) = statements.get(&run.statement) {
                builder.learn_statement(&statement.analysis, &run.parameters);
            }
        }
    }
    for row in evidence.writes.iter().flat_map(|writes| &writes.rows) {
        builder.learn_row(row);
    }
    let mut by_xid: BTreeMap<u64, &[RowSeen]> = BTreeMap::new();
    for writes in &evidence.writes {
        by_xid.extend(writes.xid.map(|xid| (xid, writes.rows.as_slice())));
    }
    let mut unread = 0_usize;
    let repeated = weigh::repeated(evidence);
    if repeated.is_some() {
        notes.push(Note::new(
            "transactions",
            "their sample is uneven, and was weighed by how often statements ran",
        ));
    }
    for (number, transaction) in evidence.transactions.iter().enumerate() {
        let runs: Vec<(&Executable, &[Option<Value>])> = transaction
            .statements
            .iter()
            .filter_map(|run| Some((statements.get(&run.statement)?, run.parameters.as_slice())))
            .collect();
        unread += usize::from(runs.len() < transaction.statements.len());
        for _ in 0..repeated.as_ref().map_or(1, |times| times[number]) {
            let written = transaction.xid.and_then(|xid| by_xid.get(&xid)).map(|rows| builder.written(rows));
            builder.transaction(
                transaction.at,
                transaction.kind.as_deref(),
                &runs,
                written.unwrap_or_default(),
            );
        }
    }
    if unread > 0 {
        notes.push(Note::new(
            "transactions",
            format!(
                "{unread} of {} have statements that touch no known table or could not be read",
                evidence.transactions.len()
            ),
        ));
    }
}

/// Each statement as a transaction of its own, as often as its share of the calls says, and as fast as all of them ran.
fn alone(builder: &mut Builder<'_>, evidence: &Evidence, statements: &Statements) {
    let own = |statement: &StatementSeen| statement.calls.unwrap_or(1);
    let calls = evidence.statements.iter().map(own).fold(0, u64::saturating_add);
    let times = |statement: &StatementSeen| match calls <= ALONE_MAX {
        true => own(statement),
        // No more than all that are shown.
        false => (u128::from(own(statement)) * u128::from(ALONE_MAX)).div_ceil(u128::from(calls)) as u64,
    };
    let shown: u64 = evidence.statements.iter().map(times).sum();
    let ran_within = evidence.head.span.map(|(from, until)| until - from).filter(|all| *all > 0.0);
    // Where nobody says for how long they were counted, no time means anything.
    let within = ran_within.map_or(1.0, |all| all * shown as f64 / calls.max(1) as f64);
    for statement in &evidence.statements {
        let Some(executable) = statements.get(&statement.id) else { continue };
        let times = times(statement);
        for number in 0..times {
            let at = within * number as f64 / times as f64;
            builder.transaction(at, None, &[(executable, &[])], Written::default());
        }
    }
}
