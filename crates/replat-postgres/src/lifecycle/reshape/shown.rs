//! The statements of units that take longer than a transaction, for people: what is run, in its order, with its locks.
//!
//! Nothing is made to show them: where a statement needs what is only there once the unit is at work, a name stands for
//! it, as `:bound_of_events_p20260101`.

use replat_engine::EngineError;
use replat_engine::lifecycle::{Script, Statement, TableLock, Transaction};
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::plan::Work;

use super::convert::{self, Conversion};
use super::ties::ties;
use super::{align, unconvert};
use crate::lifecycle::bounds;
use crate::lifecycle::mirror::brief::Brief;
use crate::lifecycle::mirror::survey::{Found, Session, refuse, survey_shown};
use crate::lifecycle::mirror::{Replacement, journal, named, stage, swap};
use crate::lifecycle::script::catalog;
use crate::sql::quote_ident;

/// What stands for the pages of one batch.
const BATCH: i64 = 50;

/// The statements of a unit of these kinds. Reads only.
///
/// # Errors
///
/// [`EngineError::Precondition`] if it could not be begun as things are.
pub async fn script(session: &Session<'_>) -> Result<Script, EngineError> {
    session.settle().await?;
    let id = &session.unit.id;
    match &session.unit.work {
        Work::Drain { parent, default, parts } => {
            replacement(session, &Replacement::drain(id, parent, default, parts), &[]).await
        }
        Work::Recut { parent, old, new } => {
            let old: Vec<TableName> = old.iter().map(|(table, _, _)| table.clone()).collect();
            replacement(session, &Replacement::recut(id, parent, &old, new), &[]).await
        }
        Work::Convert { table, levels, first_name, first, others } => {
            let level = levels.first().ok_or_else(|| {
                refuse(format!("it is not said how {table} is to be cut"), "Name a column, and how.")
            })?;
            conversion(session, &Conversion { table, level, first_name, first, others }).await
        }
        Work::Unconvert { table, .. } => ordinary(session, table).await,
        Work::Align { index, .. } => aligned(session, index).await,
        _ => Err(refuse("this work moves no rows".into(), "Report this.")),
    }
}

async fn replacement(
    session: &Session<'_>,
    wanted: &Replacement,
    more: &[String],
) -> Result<Script, EngineError> {
    let found = survey_shown(session, wanted).await?;
    let mut steps = Steps::new(session);
    steps.plain("stage", &stage::stage(session, wanted, &found).await?, &[(&wanted.parent, "ACCESS SHARE")]);
    for leaf in &found.leaves {
        steps.brief(&swap::watch(session, wanted, leaf));
    }
    copied(session, wanted, &found, &mut steps);
    proven(session, wanted, &found, &mut steps).await?;
    let mut last = swap::swap(session, wanted, &found);
    last.statements.extend(more.iter().cloned());
    steps.brief(&last);
    Ok(steps.script)
}

fn copied(session: &Session<'_>, wanted: &Replacement, found: &Found, steps: &mut Steps<'_>) {
    let records = &session.ledger.schema;
    for leaf in &found.leaves {
        let batch = journal::copy(wanted, found, records, leaf, 0, BATCH);
        steps.repeated("copy", &batch, &[(&leaf.table, "ROW SHARE")]);
    }
    steps.repeated(
        "follow",
        &journal::follow(wanted, found, records, !found.references.is_empty(), None),
        &[],
    );
}

async fn proven(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    steps: &mut Steps<'_>,
) -> Result<(), EngineError> {
    if let Some(default) = &found.default {
        let relation = catalog::there(&session.kitchen(), default).await?;
        steps.brief(&swap::exclude(session, wanted, found, default, relation.id));
        let name = quote_ident(&wanted.exclusion());
        let validate = format!("ALTER TABLE {} VALIDATE CONSTRAINT {name}", named(default));
        steps.alone("prove", &validate, &[(default, "SHARE UPDATE EXCLUSIVE")]);
    }
    for target in wanted.targets.iter().filter(|_| !found.references.is_empty()) {
        steps.brief(&swap::refer(found, &target.staged));
        for key in &found.references {
            let name = quote_ident(&key.name);
            let validate = format!("ALTER TABLE {} VALIDATE CONSTRAINT {name}", named(&target.staged));
            steps.alone("prove", &validate, &[(&key.table, "ROW SHARE")]);
        }
    }
    for target in &wanted.targets {
        steps.alone("statistics", &format!("ANALYZE {}", named(&target.staged)), &[]);
    }
    Ok(())
}

async fn conversion(session: &Session<'_>, wanted: &Conversion<'_>) -> Result<Script, EngineError> {
    let old = convert::look(session, wanted).await?;
    let mut steps = Steps::new(session);
    let staged = convert::stage(session, wanted, &old).await?;
    steps.plain("stage", &staged, &[(wanted.table, "ACCESS SHARE")]);
    if let Some(build) = convert::index_shown(session, wanted, &old) {
        steps.alone("index", &build, &[(wanted.table, "SHARE UPDATE EXCLUSIVE")]);
    }
    let (table, proof) = (named(wanted.table), quote_ident(&wanted.proof(session)));
    let bound = bounds::sql(wanted.first);
    steps.brief(&Brief {
        name: "check",
        locks: vec![crate::lifecycle::mirror::brief::Lock::only(wanted.table, "ACCESS EXCLUSIVE")],
        statements: vec![format!(
            "ALTER TABLE {table} ADD CONSTRAINT {proof} CHECK (:bound) NOT VALID /* {bound} */"
        )],
    });
    let validate = format!("ALTER TABLE {table} VALIDATE CONSTRAINT {proof}");
    steps.alone("prove", &validate, &[(wanted.table, "SHARE UPDATE EXCLUSIVE")]);
    steps.brief(&convert::swap(session, wanted, &old));
    Ok(steps.script)
}

async fn ordinary(session: &Session<'_>, table: &TableName) -> Result<Script, EngineError> {
    let relation = catalog::there(&session.kitchen(), table).await?;
    if !relation.cut {
        return Ok(Script::default());
    }
    let parts = unconvert::parts(session, relation.id).await?;
    let tied = ties(session, table, relation.id).await?;
    if let [(part, bound, true)] = &parts[..] {
        let own = unconvert::index_names(session, relation.id).await?;
        let mut steps = Steps::new(session);
        steps.brief(&unconvert::give_back(session, table, part, bound, &tied, &own));
        return Ok(steps.script);
    }
    let names: Vec<TableName> = parts.iter().map(|(part, _, _)| part.clone()).collect();
    let wanted = Replacement::plain(&session.unit.id, table, &names);
    let more = unconvert::take_name(session, &wanted, &parts, &tied);
    replacement(session, &wanted, &more).await
}

async fn aligned(session: &Session<'_>, index: &str) -> Result<Script, EngineError> {
    let top = session.unit.set.beside(index);
    let mut steps = Steps::new(session);
    for gap in align::lacking(session, &top).await? {
        for statement in gap.statements() {
            steps.alone("index", &statement, &[(gap.table(), "SHARE UPDATE EXCLUSIVE")]);
        }
    }
    Ok(steps.script)
}

/// Collects what is shown.
struct Steps<'a> {
    session: &'a Session<'a>,
    script: Script,
}

type Locks<'a> = [(&'a TableName, &'a str)];

impl<'a> Steps<'a> {
    fn new(session: &'a Session<'a>) -> Steps<'a> {
        Steps { session, script: Script::default() }
    }

    /// A statement; it is about replat's own records if it names one of their tables.
    fn statement(&self, sql: &str, locks: &Locks<'_>, stall: &str) -> Statement {
        let own = ["lifecycle_part", "lifecycle_unit", "lifecycle_outbox"];
        let records = own.iter().any(|name| sql.contains(&self.session.ledger.table(name)));
        let lock = |(table, mode): &(&TableName, &str)| TableLock {
            table: (*table).clone(),
            mode: (*mode).to_owned(),
        };
        Statement {
            sql: sql.to_owned(),
            locks: locks.iter().map(lock).collect(),
            stall: if records { "replat's own records".into() } else { stall.into() },
            records,
        }
    }

    fn add(&mut self, name: &str, alone: bool, repeated: bool, statements: Vec<Statement>) {
        self.script.transactions.push(Transaction { name: name.into(), alone, repeated, statements });
    }

    fn plain(&mut self, name: &str, texts: &[String], locks: &Locks<'_>) {
        let statements = texts
            .iter()
            .enumerate()
            .map(|(n, sql)| self.statement(sql, if n == 0 { locks } else { &[] }, "in no queue"));
        let statements = statements.collect();
        self.add(name, false, false, statements);
    }

    fn repeated(&mut self, name: &str, texts: &[String], locks: &Locks<'_>) {
        self.plain(name, texts, locks);
        if let Some(last) = self.script.transactions.last_mut() {
            last.repeated = true;
        }
    }

    fn alone(&mut self, name: &str, text: &str, locks: &Locks<'_>) {
        let statement = self.statement(text, locks, "in no queue; nobody who reads or writes waits for it");
        self.add(name, true, false, vec![statement]);
    }

    fn brief(&mut self, brief: &Brief) {
        let stall = "in no queue; 5 to 50 ms in the queue if it starves, within the budget";
        let locks = brief
            .locks
            .iter()
            .map(|lock| self.statement(&lock.sql(true), &[(&lock.table, lock.mode)], stall));
        let statements =
            locks.chain(brief.statements.iter().map(|sql| self.statement(sql, &[], "in no queue")));
        let statements = statements.collect();
        self.add(brief.name, false, false, statements);
    }
}
