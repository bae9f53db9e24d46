//! Sessions to a database whose partitions have a life.

use replat_control::rotate::Settings;
use replat_engine::lifecycle::{LifecycleEngine, Look};
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::tables::TablesDocument;
use replat_postgres::connect::connect;
use replat_postgres::lifecycle::engine::PostgresLifecycle;
use replat_postgres::lifecycle::ledger;

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
    ledger::removal(&session.client).await.map_err(failed)
}

/// The partitioned tables of the database as they are now, and the version of its outbox as it was just before.
pub async fn tables(place: &Place) -> Result<TablesDocument, Failure> {
    let session = connect(&place.info, "replat/tables").await.map_err(|e| unreachable(&e))?;
    let outbox = ledger::outbox_version(&session.client).await.map_err(failed)?;
    drop(session);
    let engine = PostgresLifecycle::new(place.info.clone(), place.name.clone(), "tables".to_owned());
    let facts = engine.look(&Look::default()).await.map_err(failed)?;
    Ok(TablesDocument::of(&facts.sets, outbox))
}

/// Puts a hold on partitions, or ends it; which of them.
pub async fn hold(place: &Place, table: &TableName, hold: bool) -> Result<Vec<TableName>, Failure> {
    let session = connect(&place.info, "replat/hold").await.map_err(|e| unreachable(&e))?;
    ledger::hold(&session.client, table, hold).await.map_err(failed)
}
