//! The ends of a deployment: finishing, dropping the retired copy, and giving up without a trace.
//!
//! Each function can be run again after a crash anywhere in it, and each removes only what the deployment's own
//! records name.

use replat_engine::EngineError;
use replat_model::ids::Side;
use replat_model::plan::TablePlan;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::copy::copied_tables;
use crate::ends::{Ends, slot_name};
use crate::error::on;
use crate::failpoint::crash_at;
use crate::guard::{self, Earlier, is_missing};
use crate::prepare::drop_slot;
use crate::slice::{members, predicate, table_name};
use crate::sql::quote_ident;
use crate::survey::crossings;

/// Rows that are deleted in one transaction.
const DELETE_ROWS: u32 = 5_000;

/// Ends the way back: no stream, no publication, no guard on green. Blue's copy and blue's guard stay.
pub async fn retire(ends: &Ends, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let mut blue = ends.connect_to_write(Side::Blue, "finish").await?;
    let mut green = ends.connect_to_write(Side::Green, "finish").await?;
    stop_streams(ends, &blue, &green).await?;
    crash_at("retire.streams_stopped");
    disarm(ends, &mut green, copied_tables(&ends.plan), (Side::Green, Earlier::Goes), lock_timeout_ms)
        .await?;
    disarm(ends, &mut blue, &ends.plan.references, (Side::Blue, Earlier::Goes), lock_timeout_ms).await?;
    crash_at("retire.green_free");
    // Without a guard the row has no say any more; without the row the schema may be nobody's.
    forget(ends, &green, Side::Green, true).await?;
    crash_at("retire.green_forgotten");
    forget(ends, &blue, Side::Blue, false).await
}

/// Deletes the copy that blue was left with. Its guard stays, so that a stale writer is still refused.
///
/// # Errors
///
/// [`EngineError::Precondition`] if a row that stays refers to the copy: nothing is deleted then.
pub async fn drop_copy(ends: &Ends) -> Result<(), EngineError> {
    let mut blue = ends.connect_to_write(Side::Blue, "drop").await?;
    refuse_referenced(&blue, ends).await?;
    delete_rows(ends, &mut blue, Side::Blue).await
}

/// Rows that stay may refer to the copy. It is deleted without a look at foreign keys, so the look is taken here.
async fn refuse_referenced(blue: &Client, ends: &Ends) -> Result<(), EngineError> {
    let crossings = crossings(blue, &ends.plan).await?;
    let Some(entering) = crossings.iter().find(|crossing| !crossing.leaves) else { return Ok(()) };
    Err(EngineError::Precondition {
        what: format!(
            "the row of {} with {} = {} refers to the retired copy in {} (foreign key {}), which is kept",
            entering.child,
            entering.columns.join(", "),
            entering.example,
            entering.parent,
            entering.key
        ),
        remedy: "Change or delete the rows that refer to it; it is dropped when nothing does.".into(),
    })
}

/// Leaves nothing behind: streams, guards, fence rows, green's rows and whatever was created there.
pub async fn clean(ends: &Ends, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let mut blue = ends.connect_to_write(Side::Blue, "abort").await?;
    let mut green = ends.connect_to_write(Side::Green, "abort").await?;
    stop_streams(ends, &blue, &green).await?;
    crash_at("clean.streams_stopped");
    disarm(ends, &mut blue, copied_tables(&ends.plan), (Side::Blue, Earlier::Goes), lock_timeout_ms).await?;
    crash_at("clean.blue_free");
    clean_green(ends, &mut green, lock_timeout_ms).await?;
    crash_at("clean.green_free");
    forget(ends, &green, Side::Green, true).await?;
    crash_at("clean.green_forgotten");
    forget(ends, &blue, Side::Blue, true).await
}

/// Takes this deployment's guard off tables of one side.
async fn disarm<'t>(
    ends: &Ends,
    client: &mut Client,
    tables: impl IntoIterator<Item = &'t TablePlan>,
    (side, earlier): (Side, Earlier),
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    for table in tables {
        let deployment = ends.deployment.as_str();
        guard::disarm(client, &ends.plan, deployment, table, (side, earlier), lock_timeout_ms).await?;
    }
    Ok(())
}

/// Slots and publications. What a cohort shares goes with its last member.
async fn stop_streams(ends: &Ends, blue: &Client, green: &Client) -> Result<(), EngineError> {
    for (client, side) in [(blue, Side::Blue), (green, Side::Green)] {
        drop_slot(ends, client, side, &ends.own_slot(side)).await?;
        if let Some(cohort) = ends.cohort() {
            if !is_last(ends, client, side).await? {
                continue;
            }
            drop_slot(ends, client, side, &slot_name(cohort, side)).await?;
        }
        client
            .batch_execute(&format!("DROP PUBLICATION IF EXISTS {}", quote_ident(&ends.publication(side))))
            .await
            .map_err(on(ends.database(side), "dropping the publication"))?;
    }
    Ok(())
}

/// Whether no other member of the cohort is known on `side` any more. From then on this one is not, either.
async fn is_last(ends: &Ends, client: &Client, side: Side) -> Result<bool, EngineError> {
    let on = on(ends.database(side), "leaving the cohort");
    let left =
        client.execute("DELETE FROM replat.cohort WHERE deployment = $1", &[&ends.deployment.as_str()]).await;
    match left {
        Ok(_) => crash_at("cohort.left"),
        Err(e) if is_missing(&e) => return Ok(true),
        Err(e) => return Err(on(e)),
    }
    let others = client
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM replat.cohort WHERE cohort = $1)",
            &[&ends.cohort().unwrap_or_default()],
        )
        .await
        .map_err(&on)?;
    Ok(!others.get::<_, bool>(0))
}

/// What this deployment made on green goes whole, unless another partition has come to live in it; its rows go in
/// any case. Where the partition lived before, it is guarded as it was: who still writes there is still refused.
async fn clean_green(ends: &Ends, green: &mut Client, lock_timeout_ms: u64) -> Result<(), EngineError> {
    if made_alone(ends, green).await? {
        return drop_created(ends, green).await;
    }
    // Without its fence row it has written nothing yet, or all of it is gone already.
    if !is_installed(ends, green).await? || !has_tables(ends, green).await? {
        return Ok(());
    }
    delete_rows(ends, green, Side::Green).await?;
    disarm(ends, green, copied_tables(&ends.plan), (Side::Green, Earlier::Stays), lock_timeout_ms).await?;
    Ok(())
}

async fn is_installed(ends: &Ends, green: &Client) -> Result<bool, EngineError> {
    let row = green
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM replat.fence \
             WHERE partition = $1 AND schema_name = $3 AND deployment = $2)",
            &[
                &ends.plan.partition.as_str(),
                &ends.deployment.as_str(),
                &ends.plan.end(Side::Green).home.schema,
            ],
        )
        .await;
    match row {
        Ok(row) => Ok(row.get(0)),
        Err(e) if is_missing(&e) => Ok(false),
        Err(e) => Err(on(ends.database(Side::Green), "looking for the fence row")(e)),
    }
}

async fn has_tables(ends: &Ends, green: &Client) -> Result<bool, EngineError> {
    for table in copied_tables(&ends.plan) {
        let there = green
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table_name(&ends.plan, table, Side::Green)])
            .await
            .map_err(on(ends.database(Side::Green), "looking for green's tables"))?;
        if !there.get::<_, bool>(0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether green's tables were made by this deployment and hold no rows but the partition's.
async fn made_alone(ends: &Ends, green: &Client) -> Result<bool, EngineError> {
    let database = ends.database(Side::Green);
    let created = green
        .query_one("SELECT EXISTS (SELECT 1 FROM replat.created WHERE deployment = $1)", &[&ends.maker()])
        .await;
    match created {
        Ok(row) if row.get::<_, bool>(0) => {}
        Ok(_) => return Ok(false),
        Err(e) if is_missing(&e) => return Ok(false),
        Err(e) => return Err(on(database, "reading what was created")(e)),
    }
    if ends.cohort().is_some() && !is_last(ends, green, Side::Green).await? {
        return Ok(false);
    }
    if !has_tables(ends, green).await? {
        return Ok(true);
    }
    for table in &ends.plan.tables {
        let strangers = green
            .query_one(
                &format!(
                    "SELECT EXISTS (SELECT 1 FROM {} WHERE ({}) IS NOT TRUE)",
                    table_name(&ends.plan, table, Side::Green),
                    predicate(&ends.plan, table, Side::Green, "")
                ),
                &[],
            )
            .await
            .map_err(on(database, "looking for rows of other partitions"))?;
        if strangers.get(0) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn drop_created(ends: &Ends, green: &mut Client) -> Result<(), EngineError> {
    let on = on(ends.database(Side::Green), "dropping what was created");
    let tx = green.transaction().await.map_err(&on)?;
    let rows = tx
        .query(
            "SELECT kind, identity, schema_name, whole FROM replat.created WHERE deployment = $1 ORDER BY ord DESC",
            &[&ends.maker()],
        )
        .await
        .map_err(&on)?;
    let Some(first) = rows.first() else { return Ok(()) };
    let (schema, whole): (String, bool) = (first.get(2), first.get(3));
    if whole {
        tx.batch_execute(&format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_ident(&schema)))
            .await
            .map_err(&on)?;
    } else {
        for row in &rows {
            let (kind, identity): (&str, &str) = (row.get(0), row.get(1));
            // Row types and the indexes of a table go with the table.
            if ["index", "composite type"].contains(&kind) {
                continue;
            }
            tx.batch_execute(&format!("DROP {kind} IF EXISTS {identity} CASCADE")).await.map_err(&on)?;
        }
    }
    tx.execute("DELETE FROM replat.schema_version WHERE schema_name = $1", &[&schema]).await.map_err(&on)?;
    tx.execute("DELETE FROM replat.created WHERE deployment = $1", &[&ends.maker()]).await.map_err(&on)?;
    tx.commit().await.map_err(&on)
}

/// Deletes the partition's rows in short transactions, tables that point to others first.
///
/// Each transaction makes sure that this side is closed and still this deployment's: a partition that has come back
/// meanwhile, by another deployment, is not to be deleted by an old one.
async fn delete_rows(ends: &Ends, client: &mut Client, side: Side) -> Result<(), EngineError> {
    let on = on(ends.database(side), "deleting the partition's rows");
    for table in ends.plan.tables.iter().rev() {
        let name = table_name(&ends.plan, table, side);
        // Rows that never went over are nobody's copy.
        let slice = match side {
            Side::Blue => members(&ends.plan, table, side, ""),
            Side::Green => predicate(&ends.plan, table, side, ""),
        };
        let keys: Vec<String> = table.key_on(side).map(quote_ident).collect();
        let sql = format!(
            "DELETE FROM {name} WHERE {slice} AND ({keys}) IN \
             (SELECT {keys} FROM {name} WHERE {slice} LIMIT {DELETE_ROWS})",
            keys = keys.join(", "),
        );
        loop {
            let tx = client.transaction().await.map_err(&on)?;
            guard::hold_closed(&tx, &ends.plan, ends.deployment.as_str(), side).await?;
            let deleted = tx.execute(&sql, &[]).await.map_err(&on)?;
            tx.commit().await.map_err(&on)?;
            crash_at("drop.rows_deleted");
            if deleted == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// How often that is tried if other runners do the same at once.
const FORGET_TRIES: u32 = 5;

/// Removes the deployment from replat's own tables, and replat's schema with the last partition. Incidents stay
/// as long as the schema: they are rows that somebody wrote. A closed fence row stays with a guard that needs it.
pub(crate) async fn forget(
    ends: &Ends,
    client: &Client,
    side: Side,
    fence_row_too: bool,
) -> Result<(), EngineError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_to_forget(ends, client, side, fence_row_too).await {
            Ok(()) => return Ok(()),
            // Another runner was faster, and has taken away all there was.
            Err(error) if is_missing(&error) => return Ok(()),
            // Or it is at it: whoever drops the schema and whoever deletes a row of it can wait for each other.
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) && tries < FORGET_TRIES => {}
            Err(error) => {
                return Err(on(ends.database(side), "removing the deployment's records")(error));
            }
        }
    }
}

async fn try_to_forget(
    ends: &Ends,
    client: &Client,
    side: Side,
    fence_row_too: bool,
) -> Result<(), tokio_postgres::Error> {
    for table in ["stream", "chunk", "parked", "deferred", "leaf"] {
        client
            .execute(
                &format!("DELETE FROM replat.{table} WHERE deployment = $1"),
                &[&ends.deployment.as_str()],
            )
            .await?;
    }
    if let Some(cohort) = ends.cohort() {
        for table in ["chunk", "deferred"] {
            let sql = format!(
                "DELETE FROM replat.{table} WHERE deployment = $1 \
                 AND NOT EXISTS (SELECT 1 FROM replat.cohort WHERE cohort = $1)"
            );
            client.execute(&sql, &[&cohort]).await?;
        }
    }
    guard::forget_tables(client).await?;
    if !fence_row_too {
        return Ok(());
    }
    client
        .execute(
            "DELETE FROM replat.fence f WHERE f.partition = $1 AND f.schema_name = $3 AND f.deployment = $2 \
             AND (f.open OR NOT EXISTS (SELECT 1 FROM replat.guarded g \
                                        WHERE g.partition = f.partition AND g.schema_name = f.schema_name))",
            &[&ends.plan.partition.as_str(), &ends.deployment.as_str(), &ends.plan.end(side).home.schema],
        )
        .await?;
    // Under the lock of whoever installs the schema, so that it is not taken from under them.
    client
        .batch_execute(
            "DO $$ BEGIN \
               PERFORM pg_advisory_xact_lock(7311340948551); \
               IF to_regclass('replat.fence') IS NULL THEN RETURN; END IF; \
               IF NOT EXISTS (SELECT 1 FROM replat.fence) AND NOT EXISTS (SELECT 1 FROM replat.incident) \
                  AND NOT EXISTS (SELECT 1 FROM replat.schema_version) AND NOT EXISTS (SELECT 1 FROM replat.viewer) \
                  AND NOT EXISTS (SELECT 1 FROM replat.added_column) THEN \
                 DROP SCHEMA replat CASCADE; \
               END IF; \
             END $$",
        )
        .await
}
