//! A partitioned table becomes ordinary again.
//!
//! With one partition that has no partitions of its own, that one takes the name back: no row moves. With several their
//! rows are copied into one table while they are written, as in any other replacement.

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_model::lifecycle::facts::{Bound, TableName};

use super::convert::{aside, validate};
use super::ties::{Index, Ties, ties};
use crate::error::on;
use crate::lifecycle::bounds;
use crate::lifecycle::ledger::{Change, Entry, Placed, kind_word, oid_of};
use crate::lifecycle::mirror::brief::{Brief, Lock, Patience, briefly};
use crate::lifecycle::mirror::flow::replace;
use crate::lifecycle::mirror::survey::{Session, refuse};
use crate::lifecycle::mirror::swap::REPLACED_KEPT;
use crate::lifecycle::mirror::{Replacement, named, tag};
use crate::lifecycle::script::catalog;
use crate::lifecycle::script::settings::DEFINITION;
use crate::sql::{quote_ident, quote_literal};

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
        let own = index_names(session, relation.id).await?;
        let give_back = give_back(session, table, part, bound, &tied, &own);
        let done = briefly(session, &give_back, &mut patience).await;
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

pub(super) type Part = (TableName, Bound, bool);

pub(super) async fn parts(session: &Session<'_>, id: u32) -> Result<Vec<Part>, EngineError> {
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

/// The indexes of the only partition, and what those of the parent are called that they belong to.
pub(super) async fn index_names(
    session: &Session<'_>,
    id: u32,
) -> Result<Vec<(String, String)>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT own.relname, above.relname FROM pg_catalog.pg_index x \
             JOIN pg_catalog.pg_class above ON above.oid = x.indexrelid \
             JOIN pg_catalog.pg_inherits h ON h.inhparent = x.indexrelid \
             JOIN pg_catalog.pg_class own ON own.oid = h.inhrelid WHERE x.indrelid = $1 ORDER BY 1",
            &[&id],
        )
        .await
        .map_err(on(session.database, "looking at the indexes"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// The only partition takes the name.
pub(super) fn give_back(
    session: &Session<'_>,
    table: &TableName,
    part: &TableName,
    bound: &Bound,
    tied: &Ties,
    own: &[(String, String)],
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
    // Nothing is in it any more; and the names of its indexes are free.
    statements.push(format!("DROP TABLE {}", named(&shell)));
    statements.extend(own.iter().map(|(own, called)| {
        format!("ALTER INDEX {} RENAME TO {}", named(&table.beside(own)), quote_ident(called))
    }));
    let removed = vec![Placed { table: part.clone(), bound: bound.clone(), below: None }];
    statements.extend(end(session, table, removed, tied));
    let mut locks = vec![Lock::only(table, "ACCESS EXCLUSIVE"), Lock::only(part, "ACCESS EXCLUSIVE")];
    locks.extend(tied.locks());
    Brief { name: "unconvert", locks, statements }
}

/// The index of the filled table that is like `index` takes its name.
fn takes_name(new: &TableName, index: &Index) -> String {
    let body = format!(
        "DECLARE own pg_catalog.text; BEGIN SELECT d.relname INTO own FROM (SELECT i.relname, x.indisunique, \
         x.indisprimary, {DEFINITION} WHERE x.indrelid = {}) AS d(relname, is_unique, is_primary, rest) \
         WHERE d.rest OPERATOR(pg_catalog.=) {} AND d.is_unique = {} AND d.is_primary = {} \
         AND d.relname OPERATOR(pg_catalog.~~) 'replat\\_%' ORDER BY 1 LIMIT 1; \
         IF own IS NOT NULL THEN EXECUTE pg_catalog.format('ALTER INDEX %I.%I RENAME TO %I', {}, own, {}); END IF; END",
        oid_of(new),
        quote_literal(&index.rest),
        index.unique,
        index.primary,
        quote_literal(&new.schema),
        quote_literal(&index.name),
    );
    format!("DO {}", quote_literal(&body))
}

/// The end of a swap in which a table that was filled takes the name.
pub(super) fn take_name(
    session: &Session<'_>,
    wanted: &Replacement,
    parts: &[Part],
    tied: &Ties,
) -> Vec<String> {
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
        statements.push(takes_name(new, index));
    }
    statements.push(format!("ALTER TABLE {} RENAME TO {}", named(table), quote_ident(&shell.name)));
    statements.push(format!("ALTER TABLE {} RENAME TO {}", named(new), quote_ident(&table.name)));
    statements.extend(tied.tie(table));
    let records = session.ledger.table("lifecycle_part");
    statements.push(format!("DELETE FROM {records} WHERE relation = {}", oid_of(table)));
    let entry =
        Entry { table: &shell, parent: table, bound: &Bound::Default, origin: "made", state: "replaced" };
    statements.push(session.ledger.enters(session.unit, &entry));
    // They go with it, whoever made them.
    for (part, bound, _) in parts {
        let entry = Entry { table: part, parent: &shell, bound, origin: "made", state: "replaced" };
        statements.push(session.ledger.enters(session.unit, &entry));
    }
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
