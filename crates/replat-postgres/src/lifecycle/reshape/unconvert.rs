//! A partitioned table becomes ordinary again.
//!
//! With one partition that has no partitions of its own, that one takes the name back: no row moves. With several their
//! rows are copied into one table while they are written, as in any other replacement.

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_model::lifecycle::facts::{Bound, TableName};

use super::convert::{aside, validate};
use super::ties::{Ties, ties};
use crate::error::on;
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::{Change, Entry, Placed, kind_word, oid_of};
use crate::lifecycle::mirror::brief::{Brief, Lock, Patience, briefly};
use crate::lifecycle::mirror::flow::replace;
use crate::lifecycle::mirror::survey::{Session, refuse};
use crate::lifecycle::mirror::swap::REPLACED_KEPT;
use crate::lifecycle::mirror::{Replacement, named, tag};
use crate::lifecycle::script::catalog;
use crate::sql::quote_ident;

/// Makes `table` ordinary, or leaves it as it was.
///
/// # Errors
///
/// As [`replace`].
pub async fn unconvert(
    session: &Session<'_>,
    table: &TableName,
    limits: &Limits,
    heard: &(dyn Hear + '_),
) -> Result<Outcome, EngineError> {
    session.settle().await?;
    let mut patience = Patience::new(limits);
    let relation = catalog::there(&session.kitchen(), table).await?;
    if !relation.cut {
        validate(session).await?;
        return Ok(patience.outcome(Vec::new(), 0, session.version().await?));
    }
    let parts = parts(session, relation.id).await?;
    if parts.is_empty() {
        return Err(refuse(
            format!("{table} has no partition"),
            "Drop it, or give it a partition, then run again.",
        ));
    }
    let tied = ties(session, table, relation.id).await?;
    if let [(part, bound, true)] = &parts[..] {
        session.alone(&session.unit.id).await?;
        session.run("recording the unit", &session.ledger.begin(session.unit, session.run)).await?;
        let done = briefly(session, &give_back(session, table, part, bound, &tied), &mut patience).await;
        session.not_alone(&session.unit.id).await;
        done?;
        validate(session).await?;
        return Ok(patience.outcome(Vec::new(), 0, session.version().await?));
    }
    let names: Vec<TableName> = parts.iter().map(|(part, _, _)| part.clone()).collect();
    let wanted = Replacement::plain(&session.unit.id, table, &names);
    let outcome =
        replace(session, &wanted, limits, heard, &take_name(session, &wanted, &parts, &tied)).await?;
    validate(session).await?;
    Ok(outcome)
}

type Part = (TableName, Bound, bool);

async fn parts(session: &Session<'_>, id: u32) -> Result<Vec<Part>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT n.nspname, c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid), c.relkind = 'r' \
             FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE i.inhparent = $1 ORDER BY c.oid",
            &[&id],
        )
        .await
        .map_err(on(session.database, "looking at the partitions"))?;
    rows.iter()
        .map(|row| {
            let bound = bounds::parse(row.get(2)).map_err(|e| refuse(e.to_string(), "Report this bound."))?;
            Ok((TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), bound, row.get(3)))
        })
        .collect()
}

/// The only partition takes the name.
fn give_back(
    session: &Session<'_>,
    table: &TableName,
    part: &TableName,
    bound: &Bound,
    tied: &Ties,
) -> Brief {
    let shell = table.beside(format!("replat_{}_old_0", tag(&session.unit.id)));
    let mut statements = tied.untie(table);
    statements.push(format!("ALTER TABLE {} DETACH PARTITION {}", named(table), named(part)));
    statements.extend(tied.move_identities(table, part));
    statements.push(format!("ALTER TABLE {} RENAME TO {}", named(table), quote_ident(&shell.name)));
    if part.schema != table.schema {
        statements.push(format!("ALTER TABLE {} SET SCHEMA {}", named(part), quote_ident(&table.schema)));
    }
    statements.push(format!(
        "ALTER TABLE {} RENAME TO {}",
        named(&table.beside(&part.name)),
        quote_ident(&table.name)
    ));
    statements.extend(tied.tie(table));
    let records = session.ledger.table("lifecycle_part");
    statements.push(format!("DELETE FROM {records} WHERE relation = {}", oid_of(table)));
    // Nothing is in it any more.
    statements.push(format!("DROP TABLE {}", named(&shell)));
    let removed = vec![Placed { table: part.clone(), bound: bound.clone(), below: None }];
    statements.extend(end(session, table, removed, tied));
    let mut locks = vec![Lock::only(table, "ACCESS EXCLUSIVE"), Lock::only(part, "ACCESS EXCLUSIVE")];
    locks.extend(tied.locks());
    Brief { name: "unconvert", locks, statements }
}

/// The end of a swap in which a table that was filled takes the name.
fn take_name(session: &Session<'_>, wanted: &Replacement, parts: &[Part], tied: &Ties) -> Vec<String> {
    let table = &wanted.parent;
    let new = &wanted.targets[0].staged;
    let shell = wanted.aside(table, 0);
    let mut statements = tied.untie(table);
    statements.extend(tied.move_identities(table, new));
    for (at, index) in tied.indexes.iter().enumerate() {
        statements.push(format!(
            "ALTER INDEX {} RENAME TO {}",
            named(&table.beside(&index.name)),
            quote_ident(&aside(&shell.name, &index.name, at))
        ));
    }
    statements.push(format!("ALTER TABLE {} RENAME TO {}", named(table), quote_ident(&shell.name)));
    statements.push(format!("ALTER TABLE {} RENAME TO {}", named(new), quote_ident(&table.name)));
    statements.extend(tied.tie(table));
    let records = session.ledger.table("lifecycle_part");
    statements.push(format!("DELETE FROM {records} WHERE relation = {}", oid_of(table)));
    let entry =
        Entry { table: &shell, parent: table, bound: &Bound::Default, origin: "made", state: "replaced" };
    statements.push(session.ledger.enters(session.unit, &entry));
    statements.push(format!(
        "UPDATE {records} SET drop_after = pg_catalog.clock_timestamp() + '{REPLACED_KEPT}'::pg_catalog.interval \
         WHERE relation = {}",
        oid_of(&shell)
    ));
    let removed = parts
        .iter()
        .map(|(part, bound, _)| Placed { table: part.clone(), bound: bound.clone(), below: None })
        .collect();
    statements.extend(end(session, table, removed, tied));
    statements
}

fn end(session: &Session<'_>, table: &TableName, removed: Vec<Placed>, tied: &Ties) -> Vec<String> {
    let change = Change { kind: kind_word(session.unit), parent: table.clone(), removed, added: Vec::new() };
    let mut statements =
        vec![super::to_validate(session, tied), session.ledger.ended(&session.unit.id, None, "done", None)];
    statements.extend(session.ledger.tells(session.unit, &change));
    statements
}
