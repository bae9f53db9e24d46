//! How the server, and the database as a whole, are doing.

use std::time::{SystemTime, UNIX_EPOCH};

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Micros, OpenTransaction, Replica, Vitals};
use tokio_postgres::Row;

use super::Reading;

/// Reads all of it. What a role may not see is `None`.
pub(super) async fn read(reading: &Reading<'_>, sizes: bool) -> Result<Vitals, EngineError> {
    let before = clock();
    let row = reading.query_one(include_str!("vitals.sql")).await?;
    let after = clock();
    let now: Micros = reading.get(&row, "now")?;
    let count =
        |name: &str| reading.get::<Option<i64>>(&row, name).map(|n| n.and_then(|n| u64::try_from(n).ok()));
    let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let connections = count("sessions")?.zip(count("sessions_max")?).map(|(n, max)| (short(n), short(max)));
    let database_bytes = if sizes { database_bytes(reading).await? } else { None };
    Ok(Vitals {
        identity: identity(reading, &row).await?,
        database: reading.get(&row, "database")?,
        version: format!("PostgreSQL {}", reading.get::<String>(&row, "version")?),
        now,
        // The server read its clock at some moment between the two readings here: half-way is wrong by half of the
        // round trip at most.
        clock_ahead_ms: ((before + after) / 2 - now) / 1000,
        read_only: reading.get(&row, "read_only")?,
        replicas: replicas(reading).await?,
        oldest_transaction: oldest(reading).await?,
        connections,
        relations: count("relations")?,
        database_bytes,
        // No function of the server tells it to any role.
        disk_free_bytes: None,
        lock_room: count("lock_room")?,
        log_bytes: count("log_bytes")?,
    })
}

/// This process's clock, in microseconds since 1970.
fn clock() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros::try_from(since.as_micros()).unwrap_or(Micros::MAX)
}

/// The cluster's identifier and the database's, as `pg-7412…-16384`.
///
/// The cluster's is open to every role unless somebody revoked it; then it is `unknown`, and a plan can be told from
/// one of another cluster only by the database's name and number.
async fn identity(reading: &Reading<'_>, row: &Row) -> Result<String, EngineError> {
    let database: u32 = reading.get(row, "database_oid")?;
    if !reading.get::<bool>(row, "may_identify")? {
        return Ok(format!("pg-unknown-{database}-{}", reading.get::<String>(row, "database")?));
    }
    let system = reading.query_one("select system_identifier::text from pg_control_system()").await?;
    Ok(format!("pg-{}-{database}", reading.get::<String>(&system, "system_identifier")?))
}

async fn database_bytes(reading: &Reading<'_>) -> Result<Option<u64>, EngineError> {
    let sql = "select pg_database_size(current_database())";
    let Ok(rows) = reading.try_query(20_000, sql, &[]).await? else { return Ok(None) };
    Ok(rows.first().and_then(|row| row.try_get::<_, i64>(0).ok()).and_then(|n| u64::try_from(n).ok()))
}

/// The replicas; `None` if the server does not say.
///
/// A replica that is nothing behind has no lag, though the server measures none while nothing happens. One that is
/// behind and was not measured has an unknown lag, and so has one that this role may not see into.
async fn replicas(reading: &Reading<'_>) -> Result<Option<Vec<Replica>>, EngineError> {
    let Ok(rows) = reading.try_query(5_000, include_str!("replicas.sql"), &[]).await? else {
        return Ok(None);
    };
    rows.iter().map(|row| replica(reading, row)).collect::<Result<_, _>>().map(Some)
}

fn replica(reading: &Reading<'_>, row: &Row) -> Result<Replica, EngineError> {
    let number =
        |name: &str| reading.get::<Option<i64>>(row, name).map(|n| n.and_then(|n| u64::try_from(n).ok()));
    let lag_bytes = number("lag_bytes")?;
    let hidden: bool = reading.get(row, "hidden")?;
    let measured: bool = reading.get(row, "measured")?;
    let lag_ms = match lag_bytes {
        _ if hidden => None,
        Some(0) => Some(0),
        _ => number("busy_lag_ms")?.filter(|ms| measured || *ms > 0),
    };
    Ok(Replica { name: reading.get(row, "name")?, lag_ms, lag_bytes: lag_bytes.filter(|_| !hidden) })
}

async fn oldest(reading: &Reading<'_>) -> Result<Option<OpenTransaction>, EngineError> {
    let rows = reading.query(include_str!("oldest.sql"), &[]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let age: i64 = reading.get(row, "age_ms")?;
    Ok(Some(OpenTransaction {
        pid: reading.get(row, "pid")?,
        age_ms: u64::try_from(age).unwrap_or(0),
        who: reading.get(row, "who")?,
    }))
}
