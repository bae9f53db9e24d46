//! What runs leave for each other: what was found, how it went, how long others had to wait.

use std::time::Duration;

use replat_engine::EngineError;
use replat_engine::lifecycle::{Recalled, RunRecord};
use replat_model::lifecycle::facts::{Facts, Level, Sample, TableName};
use replat_model::lifecycle::patience::Stall;
use tokio_postgres::{Client, Transaction};

use super::ledger::{self, Ledger};
use crate::error::on;

/// How long samples are kept. Unit: days.
const SAMPLE_DAYS: u32 = 180;
/// How long runs and units are kept. Unit: days.
const RUN_DAYS: u32 = 90;
/// Two samples lie so far apart at least, however often it runs. Unit: seconds.
const SAMPLE_EVERY: u32 = 300;

/// What the last run left behind, if it converged. A later run that did not converge has work left, so then there is
/// nothing to recall.
///
/// # Errors
///
/// What the driver says.
pub async fn recall(client: &Client, database: &str) -> Result<Option<Recalled>, EngineError> {
    let Some(ledger) = ledger::readable(client).await? else { return Ok(None) };
    let micros = |moment: &str| format!("(extract(epoch FROM {moment}) * 1000000)::bigint");
    let sql = format!(
        "SELECT pg_catalog.current_database()::text, {now}, \
           pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('transaction_read_only')::boolean, \
           {at}, r.fingerprint, r.policy, (r.summary->>'steady_until')::bigint, \
           (SELECT coalesce(sum(pg_catalog.pg_relation_size(t.relid)), 0)::bigint \
            FROM pg_catalog.pg_partitioned_table p, pg_catalog.pg_partition_tree(p.partdefid) t \
            WHERE p.partdefid <> 0) \
         FROM (SELECT * FROM {runs} ORDER BY began_at DESC, id DESC LIMIT 1) r \
         WHERE r.converged AND r.ended_at IS NOT NULL AND r.fingerprint IS NOT NULL",
        now = micros("pg_catalog.clock_timestamp()"),
        at = micros("r.ended_at"),
        runs = ledger.table("lifecycle_run"),
    );
    let row = client.query_opt(&sql, &[]).await.map_err(on(database, "recalling the last run"))?;
    Ok(row.map(|row| Recalled {
        database: row.get(0),
        now: row.get(1),
        read_only: row.get(2),
        at: row.get(3),
        fingerprint: row.get(4),
        policy: row.get::<_, Option<String>>(5).unwrap_or_default(),
        steady_until: row.get(6),
        default_bytes: row.get::<_, Option<i64>>(7).and_then(|bytes| u64::try_from(bytes).ok()),
    }))
}

/// How long others had to wait for units of the last hour, with the tables that the foreign keys of each set refer to.
///
/// # Errors
///
/// What the driver says.
pub async fn stalls(client: &Client, database: &str) -> Result<Vec<Stall>, EngineError> {
    let Some(ledger) = ledger::readable(client).await? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT (extract(epoch FROM coalesce(u.ended_at, u.begun_at)) * 1000000)::bigint, u.set_schema, u.set_name, \
           (u.outcome->>'stalled_us')::bigint, r.schemas, r.names \
         FROM {} u LEFT JOIN LATERAL (SELECT pg_catalog.array_agg(n.nspname::text ORDER BY c.oid) AS schemas, \
             pg_catalog.array_agg(c.relname::text ORDER BY c.oid) AS names \
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.oid IN (SELECT k.confrelid FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid = \
             pg_catalog.to_regclass(pg_catalog.format('%I.%I', u.set_schema, u.set_name)))) r ON true \
         WHERE coalesce(u.ended_at, u.begun_at) > pg_catalog.now() - '1 hour'::interval \
           AND (u.outcome->>'stalled_us')::bigint > 0 ORDER BY 1",
        ledger.table("lifecycle_unit")
    );
    let rows = client.query(&sql, &[]).await.map_err(on(database, "reading what runs have cost"))?;
    let stall = |row: &tokio_postgres::Row| {
        let schemas = row.get::<_, Option<Vec<String>>>(4).unwrap_or_default();
        let names = row.get::<_, Option<Vec<String>>>(5).unwrap_or_default();
        Stall {
            at: row.get(0),
            set: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            referenced: schemas.into_iter().zip(names).map(|(s, n)| TableName::new(s, n)).collect(),
            stalled: Duration::from_micros(u64::try_from(row.get::<_, i64>(3)).unwrap_or(0)),
        }
    };
    Ok(rows.iter().map(stall).collect())
}

/// Keeps what was found and how the run went. Where there is no partitioned table, nothing is kept.
///
/// # Errors
///
/// [`EngineError::Precondition`] if there is no place for the records; what the driver says.
pub async fn remember(
    client: &mut Client,
    database: &str,
    facts: &Facts,
    run: &RunRecord,
) -> Result<(), EngineError> {
    if facts.vitals.read_only {
        return Ok(());
    }
    let ledger = match (ledger::readable(client).await?, facts.sets.first()) {
        (Some(ledger), _) => ledger,
        (None, Some(set)) => ledger::ensure(client, &set.table.schema).await?,
        (None, None) => return Ok(()),
    };
    let failed = on(database, "recording the run");
    let summary = serde_json::json!({
        "steady_until": run.steady_until,
        "units": run.plan.as_ref().map_or(0, |plan| plan.units.len()),
        "done": run.outcomes.iter().filter(|(_, outcome)| outcome.done).count(),
        "outcomes": run.outcomes,
        "failed": run.failed,
    });
    let tx = client.transaction().await.map_err(&failed)?;
    tx.execute(
        &format!(
            "INSERT INTO {} (id, began_at, ended_at, converged, fingerprint, policy, summary) \
             VALUES ($1, coalesce((SELECT min(begun_at) FROM {} WHERE run = $1), pg_catalog.now()), \
               pg_catalog.clock_timestamp(), $2, $3, $4, $5::text::jsonb) \
             ON CONFLICT (id) DO UPDATE SET ended_at = excluded.ended_at, converged = excluded.converged, \
               fingerprint = excluded.fingerprint, policy = excluded.policy, summary = excluded.summary",
            ledger.table("lifecycle_run"),
            ledger.table("lifecycle_unit"),
        ),
        &[&run.id, &run.converged, &facts.fingerprint, &run.policy, &summary.to_string()],
    )
    .await
    .map_err(&failed)?;
    for set in &facts.sets {
        let newest = set.samples.last();
        if let (Some(sample), Ok(id)) = (newest, u32::try_from(set.id)) {
            keep(&tx, &ledger, id, sample).await.map_err(&failed)?;
        }
        for (id, sample) in newest_below(&set.level) {
            keep(&tx, &ledger, id, sample).await.map_err(&failed)?;
        }
    }
    tx.batch_execute(&format!(
        "DELETE FROM {sample} WHERE at < pg_catalog.now() - '{SAMPLE_DAYS} days'::interval; \
         DELETE FROM {run} WHERE began_at < pg_catalog.now() - '{RUN_DAYS} days'::interval; \
         DELETE FROM {unit} u WHERE u.ended_at < pg_catalog.now() - '{RUN_DAYS} days'::interval \
           AND u.state IN ('done', 'taken-back') AND NOT EXISTS (SELECT FROM {part} p WHERE p.unit = u.id)",
        sample = ledger.table("lifecycle_sample"),
        run = ledger.table("lifecycle_run"),
        unit = ledger.table("lifecycle_unit"),
        part = ledger.table(ledger::PARTS),
    ))
    .await
    .map_err(&failed)?;
    tx.commit().await.map_err(&failed)
}

/// The newest sample of each level below, with the identity of its table.
fn newest_below(level: &Level) -> Vec<(u32, &Sample)> {
    let mut found = Vec::new();
    for part in &level.parts {
        let Some(below) = &part.below else { continue };
        if let (Some(sample), Ok(id)) = (below.samples.last(), u32::try_from(part.id)) {
            found.push((id, sample));
        }
        found.extend(newest_below(below));
    }
    found
}

async fn keep(
    tx: &Transaction<'_>,
    ledger: &Ledger,
    id: u32,
    sample: &Sample,
) -> Result<(), tokio_postgres::Error> {
    let table = ledger.table("lifecycle_sample");
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let sql = format!(
        "INSERT INTO {table} (set_id, at, inserted, rows, bytes, high) \
         SELECT $1, pg_catalog.to_timestamp(0) + $2 * '1 microsecond'::interval, $3, $4, $5, $6 \
         WHERE NOT EXISTS (SELECT FROM {table} s WHERE s.set_id = $1 AND s.at > \
           pg_catalog.to_timestamp(0) + $2 * '1 microsecond'::interval - '{SAMPLE_EVERY} seconds'::interval)"
    );
    tx.execute(
        &sql,
        &[
            &id,
            &(sample.at as f64),
            &number(sample.inserted),
            &number(sample.rows),
            &number(sample.bytes),
            &sample.high,
        ],
    )
    .await?;
    Ok(())
}
