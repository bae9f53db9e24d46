//! Sessions to a database whose partitions have a life.

use replat_control::rotate::Settings;
use replat_engine::EngineError;
use replat_engine::lifecycle::LifecycleEngine;
use replat_model::lifecycle::facts::TableName;
use replat_postgres::connect::connect;
use replat_postgres::lifecycle::engine::PostgresLifecycle;
use replat_postgres::lifecycle::ledger;
use replat_postgres::sql::quote_ident;

use super::reach::Place;
use super::{failed, unreachable};
use crate::failure::Failure;

/// As many engines as there are to be units at work at the same time. Nothing is connected yet.
pub fn engines(place: &Place, settings: &Settings, jobs: u16) -> Vec<Box<dyn LifecycleEngine>> {
    let engine = || PostgresLifecycle::new(place.info.clone(), place.name.clone(), settings.run.clone());
    (0..jobs.max(1)).map(|_| Box::new(engine()) as Box<dyn LifecycleEngine>).collect()
}

/// The statements that remove replat's own records from the database, in order; none if there are none.
pub async fn records(place: &Place) -> Result<Vec<String>, Failure> {
    let session = connect(&place.info, "replat/eject").await.map_err(|e| unreachable(&e))?;
    let Some(ledger) = ledger::find(&session.client).await.map_err(failed)? else { return Ok(Vec::new()) };
    let rows = session
        .client
        .query(
            "SELECT c.relname::text, NOT EXISTS (SELECT FROM pg_catalog.pg_proc f WHERE f.pronamespace = n.oid) \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_class o WHERE o.relnamespace = n.oid \
                 AND o.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') \
                 AND pg_catalog.obj_description(o.oid, 'pg_class') IS DISTINCT FROM $2) FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind = 'r' \
               AND pg_catalog.obj_description(c.oid, 'pg_class') = $2 ORDER BY 1",
            &[&ledger.schema, &ledger::MARK],
        )
        .await
        .map_err(|e| {
            failed(EngineError::Refused {
                database: place.name.clone(),
                during: "looking for replat's own tables".into(),
                why: e.to_string(),
            })
        })?;
    let mut statements: Vec<String> =
        rows.iter().map(|row| format!("DROP TABLE IF EXISTS {}", ledger.table(row.get(0)))).collect();
    // What deployments keep there is theirs.
    if ledger.schema == "replat" && rows.iter().all(|row| row.get(1)) {
        statements.push(format!("DROP SCHEMA IF EXISTS {}", quote_ident(&ledger.schema)));
    }
    Ok(statements)
}

/// Puts a hold on partitions, or ends it; which of them.
pub async fn hold(place: &Place, table: &TableName, hold: bool) -> Result<Vec<TableName>, Failure> {
    let session = connect(&place.info, "replat/hold").await.map_err(|e| unreachable(&e))?;
    ledger::hold(&session.client, table, hold).await.map_err(failed)
}
