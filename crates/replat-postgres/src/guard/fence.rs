//! The fence row of a partition at one home: opened, closed, and read.

use replat_engine::EngineError;
use replat_model::deploy::Token;
use replat_model::ids::{Epoch, Lsn, PartitionId, Side};
use replat_model::next::FenceSeen;
use replat_model::plan::Plan;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};

use super::{Mark, current_lsn, emit, lock_of, schema_of, superseded};
use crate::error::{failed, is_lock, on};
use crate::failpoint::crash_at;

/// The advisory lock of a partition at one home: a schema, since a database can hold both sides.
pub fn lock_key(partition: &PartitionId, schema: &str) -> i64 {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("replat/{partition}/{schema}"));
    i64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

/// The partition's fence row on `side`; `None` if there is none, or no schema of replat's at all.
pub async fn read(client: &Client, plan: &Plan, side: Side) -> Result<Option<FenceSeen>, EngineError> {
    let row = client
        .query_opt(
            "SELECT open, epoch FROM replat.fence WHERE partition = $1 AND schema_name = $2",
            &[&plan.partition.as_str(), &schema_of(plan, side)],
        )
        .await;
    match row {
        Ok(None) => Ok(None),
        Ok(Some(row)) => Ok(Some(FenceSeen { open: row.get(0), epoch: epoch_of(row.get(1)) })),
        Err(e) if is_missing(&e) => Ok(None),
        Err(e) => Err(failed(&plan.end(side).home.database, "reading the fence row", e)),
    }
}

/// Whether a table, schema or function is not there.
pub fn is_missing(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    error.code().is_some_and(|c| {
        [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME, SqlState::UNDEFINED_FUNCTION].contains(c)
    })
}

/// What closing the fence came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// It stands; the position after its commit.
    Stands(Lsn),
    /// A running transaction of the partition did not end in time; nothing was changed. Who it was.
    Blocked(String),
}

/// Closes the home for one partition and sends the barrier.
///
/// Waits for this partition's running writers, at most `timeout_ms`. The position is read after the commit: a
/// position read before can lie before an acknowledged write.
pub async fn close(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
    attempt: u32,
    timeout_ms: u64,
) -> Result<Closing, EngineError> {
    let database = &plan.end(side).home.database;
    let on = on(database, "closing the fence");
    let tx = client.transaction().await.map_err(&on)?;
    match lock_exclusively(&tx, lock_of(plan, side), timeout_ms).await {
        Ok(()) => {}
        Err(e) if e.code().is_some_and(is_lock) => {
            drop(tx);
            return Ok(Closing::Blocked(blockers(client, lock_of(plan, side)).await));
        }
        Err(e) => return Err(on(e)),
    }
    let closed = tx
        .execute(
            "UPDATE replat.fence SET open = false, home = NULL, term = $2, seq = $3 \
             WHERE partition = $1 AND schema_name = $5 AND (term, seq) <= ($2, $3) AND epoch = $4",
            &[
                &plan.partition.as_str(),
                &number(token.term),
                &number(token.seq),
                &number(epoch.get()),
                &schema_of(plan, side),
            ],
        )
        .await
        .map_err(&on)?;
    if closed != 1 {
        return Err(superseded(plan, side));
    }
    crash_at("fence.before_commit");
    emit(&tx, plan, side, &Mark::Barrier { partition: plan.partition.clone(), attempt })
        .await
        .map_err(&on)?;
    tx.commit().await.map_err(&on)?;
    crash_at("fence.after_commit");
    current_lsn(client, database).await.map(Closing::Stands)
}

/// Lets writers through at `epoch`. What the log says after this is written by them.
pub async fn open(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
) -> Result<(), EngineError> {
    set(client, plan, side, token, epoch, true).await
}

/// Makes sure that writers are refused and are told the home, at `epoch`.
pub async fn seal(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
) -> Result<(), EngineError> {
    set(client, plan, side, token, epoch, false).await
}

async fn set(
    client: &mut Client,
    plan: &Plan,
    side: Side,
    token: Token,
    epoch: Epoch,
    opens: bool,
) -> Result<(), EngineError> {
    let database = &plan.end(side).home.database;
    let on = on(database, if opens { "opening the fence" } else { "sealing the old home" });
    let home = (!opens).then(|| plan.end(side.other()).home.to_string());
    let tx = client.transaction().await.map_err(&on)?;
    lock_exclusively(&tx, lock_of(plan, side), 5_000).await.map_err(&on)?;
    let changed = tx
        .execute(
            "UPDATE replat.fence SET open = $5, epoch = $4, home = $6, term = $2, seq = $3 \
             WHERE partition = $1 AND schema_name = $7 AND (term, seq) <= ($2, $3)",
            &[
                &plan.partition.as_str(),
                &number(token.term),
                &number(token.seq),
                &number(epoch.get()),
                &opens,
                &home,
                &schema_of(plan, side),
            ],
        )
        .await
        .map_err(&on)?;
    if changed != 1 {
        return Err(superseded(plan, side));
    }
    if opens {
        emit(&tx, plan, side, &Mark::Opened { partition: plan.partition.clone() }).await.map_err(&on)?;
    }
    crash_at(if opens { "open.before_commit" } else { "seal.before_commit" });
    tx.commit().await.map_err(&on)?;
    crash_at(if opens { "open.after_commit" } else { "seal.after_commit" });
    Ok(())
}

/// Opens `to` at `epoch` and seals the other side, which is in the same database: both or neither.
///
/// The other side is closed by its fence, so nobody's writes wait for this; its row is changed without its lock. Only if
/// it is found open, which a failover can have made of it, its running writers are waited for.
pub async fn hand_over(
    client: &mut Client,
    plan: &Plan,
    to: Side,
    token: Token,
    epoch: Epoch,
) -> Result<(), EngineError> {
    let on = on(&plan.end(to).home.database, "handing the partition over");
    let from = to.other();
    let (term, seq) = (number(token.term), number(token.seq));
    let home = plan.end(to).home.to_string();
    let tx = client.transaction().await.map_err(&on)?;
    lock_exclusively(&tx, lock_of(plan, to), 5_000).await.map_err(&on)?;
    let seal = "UPDATE replat.fence SET open = false, epoch = $4, home = $5, term = $2, seq = $3 \
                WHERE partition = $1 AND schema_name = $6 AND (term, seq) <= ($2, $3)";
    let whose = plan.partition.as_str();
    let sealing: [&(dyn ToSql + Sync); 6] =
        [&whose, &term, &seq, &number(epoch.get()), &home, &schema_of(plan, from)];
    let mut sealed = tx.execute(&format!("{seal} AND NOT open"), &sealing).await.map_err(&on)?;
    if sealed == 0 {
        lock_exclusively(&tx, lock_of(plan, from), 5_000).await.map_err(&on)?;
        sealed = tx.execute(seal, &sealing).await.map_err(&on)?;
    }
    if sealed != 1 {
        return Err(superseded(plan, from));
    }
    let opened = tx
        .execute(
            "UPDATE replat.fence SET open = true, epoch = $4, home = NULL, term = $2, seq = $3 \
             WHERE partition = $1 AND schema_name = $5 AND (term, seq) <= ($2, $3)",
            &[&whose, &term, &seq, &number(epoch.get()), &schema_of(plan, to)],
        )
        .await
        .map_err(&on)?;
    if opened != 1 {
        return Err(superseded(plan, to));
    }
    emit(&tx, plan, to, &Mark::Opened { partition: plan.partition.clone() }).await.map_err(&on)?;
    crash_at("hand_over.before_commit");
    tx.commit().await.map_err(&on)?;
    crash_at("hand_over.after_commit");
    Ok(())
}

/// The exclusive lock of the partition, in a transaction that is flushed when it commits: a crash right after a
/// COMMIT under `synchronous_commit = off` forgets the fence. The partition's writers wait behind the lock, so a
/// process that stands still while it has it loses it soon.
async fn lock_exclusively(
    tx: &Transaction<'_>,
    lock: i64,
    timeout_ms: u64,
) -> Result<(), tokio_postgres::Error> {
    tx.batch_execute(&format!(
        "SET LOCAL lock_timeout = {timeout_ms}; SET LOCAL idle_in_transaction_session_timeout = '2s'; \
         SELECT set_config('synchronous_commit', 'on', true) \
         WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
         SELECT pg_advisory_xact_lock({lock})"
    ))
    .await
}

/// Who holds the partition's lock, for people. Prepared transactions hold it with no process.
async fn blockers(client: &Client, lock: i64) -> String {
    let rows = client
        .query(
            "SELECT l.pid, a.application_name, a.state, \
               extract(epoch FROM now() - a.xact_start)::bigint \
             FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) \
             WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
               AND (l.classid::bigint << 32) | l.objid::bigint = $1 AND l.pid IS DISTINCT FROM pg_backend_pid() \
             LIMIT 5",
            &[&lock],
        )
        .await
        .unwrap_or_default();
    let who: Vec<String> = rows
        .iter()
        .map(|r| match r.get::<_, Option<i32>>(0) {
            None => "a prepared transaction".into(),
            Some(pid) => format!(
                "pid {pid} ({}, {}, in its transaction for {} s)",
                r.get::<_, Option<String>>(1).unwrap_or_default(),
                r.get::<_, Option<String>>(2).unwrap_or_default(),
                r.get::<_, Option<i64>>(3).unwrap_or_default()
            ),
        })
        .collect();
    if who.is_empty() {
        return "a transaction of this partition did not end in time".into();
    }
    format!("a transaction of this partition did not end in time: {}", who.join(", "))
}

/// Makes sure that `side` is closed for the partition, and this deployment's, until `tx` ends.
///
/// # Errors
///
/// [`EngineError::Superseded`] if it is open, or another deployment's.
pub async fn hold_closed(
    tx: &Transaction<'_>,
    plan: &Plan,
    deployment: &str,
    side: Side,
) -> Result<(), EngineError> {
    let on = on(&plan.end(side).home.database, "making sure that the side is closed");
    tx.execute("SELECT pg_advisory_xact_lock_shared($1)", &[&lock_of(plan, side)]).await.map_err(&on)?;
    let closed = tx
        .query_opt(
            "SELECT 1 FROM replat.fence WHERE partition = $1 AND schema_name = $3 AND NOT open AND deployment = $2",
            &[&plan.partition.as_str(), &deployment, &schema_of(plan, side)],
        )
        .await
        .map_err(&on)?;
    match closed {
        Some(_) => Ok(()),
        None => Err(EngineError::Superseded { what: format!("{} on {side}", plan.partition) }),
    }
}

/// A counter as the databases hold it.
pub fn number(n: u64) -> i64 {
    i64::try_from(n).expect("counters stay below 2^63")
}

fn epoch_of(n: i64) -> Epoch {
    u64::try_from(n).ok().and_then(Epoch::from_number).unwrap_or(Epoch::FIRST)
}
