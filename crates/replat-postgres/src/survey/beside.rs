//! Green in blue's own database: whether it is there, and what only the server knows of views in place of tables.

use replat_engine::EngineError;
use replat_model::facts::{DatabaseFacts, TableFacts, TableKind, TableName};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{failed, on};
use crate::sql::quote_ident;

/// Whether two sessions are in one database. Proved by a lock of the one that the other one sees: a copy of a cluster has
/// its identifier and the names of its databases, too.
pub async fn is_one_database(blue: &Client, green: &Client, database: &str) -> Result<bool, EngineError> {
    let on = on(database, "finding out whether both sides are one database");
    let row = blue
        .query_one(
            "SELECT key, pg_advisory_lock(key) IS NULL FROM (SELECT hashtextextended( \
               clock_timestamp()::text || pg_backend_pid()::text || random()::text, 0) AS key OFFSET 0) once",
            &[],
        )
        .await
        .map_err(&on)?;
    let key: i64 = row.get(0);
    let seen = green
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
               WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
                 AND (l.classid::bigint << 32) | l.objid::bigint = $1 AND l.pid <> pg_backend_pid())",
            &[&key],
        )
        .await;
    blue.execute("SELECT pg_advisory_unlock($1)", &[&key]).await.map_err(&on)?;
    Ok(seen.map_err(&on)?.get(0))
}

/// What needs the tables that DDL has just made to be tables. They are dropped, and that is taken back.
pub(super) async fn tied(
    client: &Client,
    database: &str,
    facts: &DatabaseFacts,
) -> Result<Option<String>, EngineError> {
    let is_table = |table: &&TableFacts| matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned);
    let names: Vec<String> = facts
        .tables
        .iter()
        .filter(is_table)
        .map(|table| format!("{}.{}", quote_ident(&table.schema), quote_ident(&table.name)))
        .collect();
    if names.is_empty() {
        return Ok(None);
    }
    let on = on(database, "a rehearsal");
    client.batch_execute("SAVEPOINT replat_tied").await.map_err(&on)?;
    let dropped = client.batch_execute(&format!("DROP TABLE {}", names.join(", "))).await;
    client
        .batch_execute("ROLLBACK TO SAVEPOINT replat_tied; RELEASE SAVEPOINT replat_tied")
        .await
        .map_err(&on)?;
    match dropped {
        Ok(()) => Ok(None),
        Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
            let detail = error.as_db_error().and_then(|said| said.detail());
            Ok(Some(detail.and_then(|text| text.lines().next()).unwrap_or("something else").to_owned()))
        }
        Err(error) => Err(failed(database, "a rehearsal", error)),
    }
}

/// Says of views that replat made in place of tables what was said of those tables.
pub(super) async fn views_as_tables(
    client: &Client,
    facts: &mut DatabaseFacts,
) -> Result<(), tokio_postgres::Error> {
    let is_view = |table: &TableFacts| table.kind == TableKind::View;
    if !facts.tables.iter().any(is_view) {
        return Ok(());
    }
    let may_read = client
        .query_opt(
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = 'replat' AND c.relname = 'view' \
               AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')",
            &[],
        )
        .await?;
    if may_read.is_none() {
        return Ok(());
    }
    let rows = client
        .query(
            "SELECT name, base_schema, base_name, stands_for::text FROM replat.view WHERE schema_name = $1",
            &[&facts.schema],
        )
        .await?;
    for row in rows {
        let (name, text): (String, &str) = (row.get(0), row.get(3));
        // What another release wrote down and this one cannot read is a view like any other.
        let Ok(stands_for) = serde_json::from_str::<TableFacts>(text) else { continue };
        let view_of = Some(TableName { schema: row.get(1), name: row.get(2) });
        if let Some(table) = facts.tables.iter_mut().find(|table| is_view(table) && table.name == name) {
            *table = TableFacts { kind: TableKind::View, view_of, ..stands_for };
        }
    }
    Ok(())
}
