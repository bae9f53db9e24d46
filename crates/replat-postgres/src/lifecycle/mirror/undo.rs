//! Taking back a replacement that did not reach its swap.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::TableName;

use super::brief::{Brief, Lock, Patience, briefly};
use super::survey::Session;
use super::{named, tag};
use crate::error::on;
use crate::lifecycle::ledger::oid_of;
use crate::sql::quote_ident;

/// Removes whatever the unit of this name made and did not put into place: triggers and checks on tables in use, the
/// journal, staged tables. Looks for them in the catalogue and in the records; what is not there is done already.
///
/// # Errors
///
/// [`EngineError`] if a lock is not to be had in time, or the server refuses; then it can be tried again.
pub async fn undo(session: &Session<'_>, unit: &str, patience: &mut Patience) -> Result<(), EngineError> {
    session.settle().await?;
    session.alone(unit).await?;
    let undone = undo_alone(session, unit, patience).await;
    session.not_alone(unit).await;
    undone
}

async fn undo_alone(session: &Session<'_>, unit: &str, patience: &mut Patience) -> Result<(), EngineError> {
    let tag = tag(unit);
    let journal = TableName::new(session.ledger.schema.clone(), format!("replat_mirror_{tag}"));
    for table in watched(session, &journal).await? {
        let drop = format!("DROP TRIGGER IF EXISTS {} ON {}", quote_ident(&journal.name), named(&table));
        let brief = Brief {
            name: "unwatch",
            locks: vec![Lock::only(&table, "ACCESS EXCLUSIVE")],
            statements: vec![drop],
        };
        briefly(session, &brief, patience).await?;
    }
    let staged = session.ledger.own(session.client, "p.state = 'staged'").await?;
    for own in staged.iter().filter(|own| own.unit == unit && !own.attached) {
        drop_staged(session, &own.table, patience).await?;
    }
    // What is left with these names is on tables in use.
    let mut checks = checked(session, &format!("replat_{tag}_not")).await?;
    checks.extend(checked(session, &format!("replat_{tag}_bound")).await?);
    for (table, check) in checks {
        let drop = format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}", named(&table), quote_ident(&check));
        let brief = Brief {
            name: "unexclude",
            locks: vec![Lock::only(&table, "ACCESS EXCLUSIVE")],
            statements: vec![drop],
        };
        briefly(session, &brief, patience).await?;
    }
    for index in indexes(session, &format!("replat_{tag}_key")).await? {
        session.run("dropping an index", &format!("DROP INDEX CONCURRENTLY {}", named(&index))).await?;
    }
    session.run("dropping a function", &format!("DROP FUNCTION IF EXISTS {}()", named(&journal))).await?;
    session
        .run(
            "forgetting what was staged",
            &format!(
                "DELETE FROM {} WHERE unit = {} AND state = 'staged'; {}",
                session.ledger.table("lifecycle_part"),
                crate::sql::quote_literal(unit),
                session.ledger.ended(unit, None, "taken-back", None)
            ),
        )
        .await
}

/// Drops one staged table. Nobody uses it, but the tables that it refers to are in use.
async fn drop_staged(
    session: &Session<'_>,
    table: &TableName,
    patience: &mut Patience,
) -> Result<(), EngineError> {
    let rows = session
        .client
        .query(
            "SELECT DISTINCT n.nspname, c.relname FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) t \
             JOIN pg_catalog.pg_constraint k ON k.conrelid = t.relid AND k.contype = 'f' \
             JOIN pg_catalog.pg_class c ON c.oid = k.confrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             UNION SELECT n.nspname, c.relname FROM pg_catalog.pg_constraint k \
             JOIN pg_catalog.pg_class c ON c.oid = k.confrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE k.contype = 'f' AND k.conrelid = pg_catalog.to_regclass($1) ORDER BY 1, 2",
            &[&named(table)],
        )
        .await
        .map_err(on(session.database, "looking at foreign keys"))?;
    let lock = |row: &tokio_postgres::Row| {
        Lock::only(&TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), "ACCESS EXCLUSIVE")
    };
    let brief = Brief {
        name: "unstage",
        locks: rows.iter().map(lock).collect(),
        statements: vec![
            format!(
                "DELETE FROM {} WHERE relation = {}",
                session.ledger.table("lifecycle_part"),
                oid_of(table)
            ),
            format!("DROP TABLE {}", named(table)),
        ],
    };
    briefly(session, &brief, patience).await
}

async fn watched(session: &Session<'_>, journal: &TableName) -> Result<Vec<TableName>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
             JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.proname = $1 AND f.nspname = $2 \
             ORDER BY c.oid",
            &[&journal.name, &journal.schema],
        )
        .await
        .map_err(on(session.database, "looking for triggers"))?;
    Ok(rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect())
}

async fn checked(session: &Session<'_>, check: &str) -> Result<Vec<(TableName, String)>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.conname = $1 AND k.contype = 'c'",
            &[&check],
        )
        .await
        .map_err(on(session.database, "looking for checks"))?;
    let found = |row: &tokio_postgres::Row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Ok(rows.iter().map(|row| (found(row), check.to_owned())).collect())
}

async fn indexes(session: &Session<'_>, name: &str) -> Result<Vec<TableName>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
             ON n.oid = c.relnamespace WHERE c.relname = $1 AND c.relkind = 'i'",
            &[&name],
        )
        .await
        .map_err(on(session.database, "looking for an index"))?;
    Ok(rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect())
}
