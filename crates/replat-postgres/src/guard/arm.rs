//! The triggers of a table, put up and taken down.
//!
//! Who is guarded is written down in `replat.guarded`, and triggers and functions are made of that. Both happen in one
//! short transaction that holds the table's own advisory lock, so of two deployments the second finds what the first
//! has written, and a crash leaves either both or neither.

use replat_engine::EngineError;
use replat_model::ids::{Home, PartitionId, Side};
use replat_model::plan::{Plan, TablePlan};
use tokio_postgres::{Client, Row, Transaction};

use super::rows::{Guarded, TRIGGERS, guard_sql};
use super::whole::{Closed, trigger_on};
use super::{is_missing, schema_of, superseded};
use crate::error::on;
use crate::failpoint::crash_at;
use crate::slice::table_name;
use crate::sql::quote_ident;

/// The trigger that refuses TRUNCATE.
const TRUNCATE: &str = "zz_replat_truncate";

/// A table and everything below it; a writer may name any of them.
pub(super) const TREE: &str =
    "SELECT $1::text::regclass UNION SELECT relid FROM pg_partition_tree($1::text::regclass)";

/// Makes sure that the partitions of some deployments, which have the same ends, are guarded on a table, for replication
/// sessions, too. The triggers are replaced once for all of them.
///
/// One short transaction; waits for its locks no longer than the policy says, so that writers never queue behind it for
/// longer. It waits for all who have written to the table, so whoever writes afterwards meets the guard.
///
/// # Errors
///
/// [`EngineError::Superseded`] if a partition's fence row is not its deployment's: a runner that slept while the
/// deployment ended must not close what nobody would open again.
pub async fn arm(
    client: &mut Client,
    deployments: &[(&Plan, &str)],
    table: &TablePlan,
    side: Side,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let Some((first, _)) = deployments.first() else { return Ok(()) };
    let database = &first.end(side).home.database;
    let on = on(database, "arming the guard");
    let target = table_name(first, table, side);
    let mut missing = Vec::new();
    for (plan, deployment) in deployments {
        let guarded = Guarded::of(plan, table, side);
        if !is_armed(client, &target, deployment, &guarded).await.map_err(&on)? {
            missing.push((*deployment, guarded));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("SET LOCAL lock_timeout = {lock_timeout_ms}")).await.map_err(&on)?;
    add(&tx, database, &target, &missing).await?;
    let (names, partitions): (Vec<&str>, Vec<&str>) =
        missing.iter().map(|(deployment, guarded)| (*deployment, guarded.partition.as_str())).unzip();
    let mine = tx
        .query(
            "SELECT 1 FROM replat.fence f JOIN unnest($1::text[], $2::text[]) AS m (deployment, partition) \
             USING (deployment, partition) WHERE f.schema_name = $3 FOR KEY SHARE OF f",
            &[&names, &partitions, &schema_of(first, side)],
        )
        .await
        .map_err(&on)?;
    if mine.len() != missing.len() {
        return Err(superseded(first, side));
    }
    crash_at("arm.before_commit");
    tx.commit().await.map_err(&on)?;
    crash_at("arm.after_commit");
    Ok(())
}

/// Whether the partition is guarded as it should be, and every trigger is where it should be.
async fn is_armed(
    client: &Client,
    target: &str,
    deployment: &str,
    guarded: &Guarded,
) -> Result<bool, tokio_postgres::Error> {
    let names: Vec<&str> = TRIGGERS.into_iter().chain([TRUNCATE]).collect();
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM replat.guarded WHERE tbl = $1::text::regclass AND partition = $2 \
                          AND schema_name = $3 AND deployment = $4 AND region = $5 AND columns = $6) \
           AND NOT EXISTS (SELECT 1 FROM ({TREE}) AS r (id) CROSS JOIN unnest($7::text[]) AS n (name) \
                           WHERE NOT EXISTS (SELECT 1 FROM pg_trigger t \
                                             WHERE t.tgrelid = r.id AND t.tgname = n.name AND t.tgenabled = 'A'))"
    );
    let (region, columns) = written(guarded);
    let (partition, schema) = (guarded.partition.as_str(), &guarded.schema);
    let row = client
        .query_one(&sql, &[&target, &partition, schema, &deployment, &region, &columns, &names])
        .await?;
    Ok(row.get(0))
}

/// Region and columns as the table of guards keeps them.
fn written(guarded: &Guarded) -> (String, String) {
    let region = serde_json::to_string(&guarded.region).expect("a region is plain data");
    (region, serde_json::to_string(&guarded.columns).expect("columns are plain data"))
}

/// Adds partitions to a table's guard, each with its deployment's name; `target` is the table's quoted name.
///
/// # Errors
///
/// [`EngineError::Locked`] if the table cannot be locked against writers within the transaction's `lock_timeout`.
pub async fn add(
    tx: &Transaction<'_>,
    database: &str,
    target: &str,
    new: &[(&str, Guarded)],
) -> Result<(), EngineError> {
    let on = on(database, "arming the guard");
    one_at_a_time(tx, target).await.map_err(&on)?;
    for (deployment, guarded) in new {
        write_down(tx, target, deployment, guarded).await.map_err(&on)?;
    }
    // Whoever writes to the table has ended before the guard is there, also if only a function is replaced.
    tx.batch_execute(&format!("LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE")).await.map_err(&on)?;
    rebuild(tx, database, target).await
}

/// Who is guarded, and on which leaves. The guard of an earlier deployment, after which the partition lives elsewhere, is
/// kept beside it: it is put back if this one is given up.
async fn write_down(
    tx: &Transaction<'_>,
    target: &str,
    deployment: &str,
    guarded: &Guarded,
) -> Result<(), tokio_postgres::Error> {
    let (region, columns) = written(guarded);
    tx.execute(
        "INSERT INTO replat.guarded AS guarded (tbl, partition, schema_name, deployment, region, columns) \
         VALUES ($1::text::regclass, $2, $3, $4, $5, $6) \
         ON CONFLICT (tbl, partition) DO UPDATE SET schema_name = excluded.schema_name, \
           deployment = excluded.deployment, region = excluded.region, columns = excluded.columns, \
           kept = CASE WHEN guarded.deployment = excluded.deployment THEN guarded.kept ELSE jsonb_build_object(\
             'schema_name', guarded.schema_name, 'deployment', guarded.deployment, 'region', guarded.region, \
             'columns', guarded.columns) END",
        &[&target, &guarded.partition.as_str(), &guarded.schema, &deployment, &region, &columns],
    )
    .await?;
    tx.execute(
        "INSERT INTO replat.leaf (deployment, tbl, leaf) \
         SELECT $2, $1::text::regclass, relid FROM pg_partition_tree($1::text::regclass) WHERE level > 0 \
         ON CONFLICT DO NOTHING",
        &[&target, &deployment],
    )
    .await
    .map(drop)
}

/// Takes one partition out of a table's guard, and with the last one the guard away.
///
/// # Errors
///
/// [`EngineError::Locked`] as [`add`].
pub async fn remove(
    tx: &Transaction<'_>,
    database: &str,
    target: &str,
    partition: &PartitionId,
) -> Result<(), EngineError> {
    let on = on(database, "removing the guard");
    one_at_a_time(tx, target).await.map_err(&on)?;
    let gone = tx
        .execute(
            "DELETE FROM replat.guarded WHERE tbl = $1::text::regclass AND partition = $2",
            &[&target, &partition.as_str()],
        )
        .await
        .map_err(&on)?;
    match gone {
        0 => Ok(()),
        _ => rebuild(tx, database, target).await,
    }
}

/// Puts back the guard that an earlier deployment left on a table; without one, the partition is taken out as by
/// [`remove`]. Doing it again changes nothing.
async fn put_back(
    tx: &Transaction<'_>,
    database: &str,
    target: &str,
    partition: &PartitionId,
    deployment: &str,
) -> Result<(), EngineError> {
    let on = on(database, "putting back the guard");
    one_at_a_time(tx, target).await.map_err(&on)?;
    let mine = "tbl = $1::text::regclass AND partition = $2 AND deployment = $3";
    let restore = format!(
        "UPDATE replat.guarded SET schema_name = kept->>'schema_name', deployment = kept->>'deployment', \
           region = kept->>'region', columns = kept->>'columns', kept = NULL WHERE {mine} AND kept IS NOT NULL"
    );
    let delete = format!("DELETE FROM replat.guarded WHERE {mine} AND kept IS NULL");
    let mut changed = 0;
    for sql in [delete, restore] {
        changed += tx.execute(&sql, &[&target, &partition.as_str(), &deployment]).await.map_err(&on)?;
    }
    match changed {
        0 => Ok(()),
        _ => rebuild(tx, database, target).await,
    }
}

/// Of two who change a table's guard, the second waits until the first has ended, and then reads what that wrote.
async fn one_at_a_time(tx: &Transaction<'_>, target: &str) -> Result<(), tokio_postgres::Error> {
    let lock =
        "SELECT pg_advisory_xact_lock(hashtextextended('replat guard ' || $1::text::regclass::oid, 0))";
    tx.execute(lock, &[&target]).await.map(drop)
}

/// Makes the triggers be what is written down.
async fn rebuild(tx: &Transaction<'_>, database: &str, target: &str) -> Result<(), EngineError> {
    let on = on(database, "changing the guard");
    let guards = guarded_on(tx, database, target).await?;
    let Some(first) = guards.first() else { return tear_down(tx, target).await.map_err(&on) };
    let n: i32 = tx
        .query_one(
            "INSERT INTO replat.guarded_table (tbl) VALUES ($1::text::regclass) \
             ON CONFLICT (tbl) DO UPDATE SET tbl = excluded.tbl RETURNING n",
            &[&target],
        )
        .await
        .map_err(&on)?
        .get(0);
    let sql = guard_sql(n, target, &guards);
    let mut statements = vec![sql.functions];
    statements.extend(sql.triggers.iter().map(|(_, create)| create.clone()));
    let tree = tx
        .query(&format!("SELECT id::regclass::text FROM ({TREE}) AS r (id)"), &[&target])
        .await
        .map_err(&on)?;
    for row in tree {
        // A statement trigger does not fire for a statement that names a leaf.
        statements.push(trigger_on(row.get(0), TRUNCATE, &first.partition, Closed::Truncate));
    }
    tx.batch_execute(&statements.join("; ")).await.map_err(&on)?;
    enable_always(tx, target).await.map_err(&on)?;
    drop_functions(tx, n, &sql.signatures).await.map_err(&on)
}

/// Who is guarded on a table.
async fn guarded_on(tx: &Transaction<'_>, database: &str, target: &str) -> Result<Vec<Guarded>, EngineError> {
    let rows = tx
        .query(
            "SELECT partition, schema_name, region, columns FROM replat.guarded \
             WHERE tbl = $1::text::regclass ORDER BY partition",
            &[&target],
        )
        .await
        .map_err(on(database, "reading who is guarded"))?;
    read_back(&rows, database)
}

/// What [`write_down`] wrote.
fn read_back(rows: &[Row], database: &str) -> Result<Vec<Guarded>, EngineError> {
    let damaged = |why: String| EngineError::Refused {
        database: database.to_owned(),
        during: "reading who is guarded".into(),
        why,
    };
    rows.iter()
        .map(|row| {
            Ok(Guarded {
                partition: row.get::<_, &str>(0).parse().map_err(|e| damaged(format!("{e}")))?,
                schema: row.get(1),
                region: serde_json::from_str(row.get(2)).map_err(|e| damaged(e.to_string()))?,
                columns: serde_json::from_str(row.get(3)).map_err(|e| damaged(e.to_string()))?,
            })
        })
        .collect()
}

/// The closed guards on tables of a home: who left it, or is on its way there. None where nothing is guarded at all.
///
/// # Errors
///
/// What the server says, and a record that cannot be read.
pub async fn closed_at(client: &Client, home: &Home, tables: &[String]) -> Result<Vec<Guarded>, EngineError> {
    let rows = client
        .query(
            "SELECT DISTINCT g.partition, g.schema_name, g.region, g.columns FROM replat.guarded g \
             JOIN replat.fence f USING (partition, schema_name) \
             JOIN pg_class c ON c.oid = g.tbl JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT f.open AND n.nspname = $1 AND c.relname = ANY ($2::text[]) ORDER BY g.partition",
            &[&home.schema, &tables],
        )
        .await;
    match rows {
        Ok(rows) => read_back(&rows, &home.database),
        Err(e) if is_missing(&e) => Ok(Vec::new()),
        Err(e) => Err(on(&home.database, "reading who is guarded")(e)),
    }
}

/// A trigger that is made, or replaced, does not fire for replication sessions until it is told to; nor do the clones
/// that leaves have of it.
async fn enable_always(tx: &Transaction<'_>, target: &str) -> Result<(), tokio_postgres::Error> {
    let names: Vec<&str> = TRIGGERS.into_iter().chain([TRUNCATE]).collect();
    let sql = format!(
        "SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', t.tgrelid::regclass, t.tgname) FROM pg_trigger t \
         WHERE t.tgname = ANY ($2::text[]) AND t.tgenabled <> 'A' AND t.tgrelid IN ({TREE})"
    );
    let rows = tx.query(&sql, &[&target, &names]).await?;
    let statements: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    tx.batch_execute(&statements.join("; ")).await
}

/// Drops what a table's guard no longer calls.
async fn drop_functions(tx: &Transaction<'_>, n: i32, but: &[String]) -> Result<(), tokio_postgres::Error> {
    let rows = tx
        .query(
            "SELECT 'DROP FUNCTION ' || p.oid::regprocedure FROM pg_proc p \
             WHERE p.pronamespace = 'replat'::regnamespace \
               AND p.proname IN ('guard_' || $1::int, 'is_guarded_' || $1::int) \
               AND p.oid <> ALL (ARRAY(SELECT s::regprocedure::oid FROM unnest($2::text[]) s))",
            &[&n, &but],
        )
        .await?;
    let statements: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    tx.batch_execute(&statements.join("; ")).await
}

async fn tear_down(tx: &Transaction<'_>, target: &str) -> Result<(), tokio_postgres::Error> {
    let names: Vec<&str> = TRIGGERS.into_iter().chain([TRUNCATE]).collect();
    let sql = format!(
        "SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) FROM pg_trigger t \
         WHERE t.tgname = ANY ($2::text[]) AND t.tgparentid = 0 AND t.tgrelid IN ({TREE})"
    );
    let rows = tx.query(&sql, &[&target, &names]).await?;
    let statements: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    tx.batch_execute(&statements.join("; ")).await?;
    let table = tx
        .query_opt("DELETE FROM replat.guarded_table WHERE tbl = $1::text::regclass RETURNING n", &[&target])
        .await?;
    match table {
        Some(row) => drop_functions(tx, row.get(0), &[]).await,
        None => Ok(()),
    }
}

/// A leaf that was detached has kept the trigger that was its own.
async fn drop_strays(
    tx: &Transaction<'_>,
    target: &str,
    deployment: &str,
) -> Result<(), tokio_postgres::Error> {
    let strays = tx
        .query(
            "SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) \
             FROM replat.leaf l JOIN pg_trigger t ON t.tgrelid = l.leaf AND t.tgname = $3 \
             WHERE l.deployment = $2 AND l.tbl = $1::text::regclass \
               AND NOT EXISTS (SELECT 1 FROM replat.guarded g \
                               WHERE g.tbl = l.leaf OR g.tbl IN (SELECT relid FROM pg_partition_ancestors(l.leaf)))",
            &[&target, &deployment, &TRUNCATE],
        )
        .await?;
    let statements: Vec<&str> = strays.iter().map(|row| row.get(0)).collect();
    tx.batch_execute(&statements.join("; ")).await
}

/// What becomes of the guard that an earlier deployment of the partition left on a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// It goes: the partition lives here now.
    Goes,
    /// It is put back: the partition does not come to live here.
    Stays,
}

/// Takes the plan's partition out of the guard of a table that may be gone already, and opens the table if this
/// deployment has closed it as a whole.
///
/// # Errors
///
/// [`EngineError::Superseded`] if the guard is another deployment's by now.
pub async fn disarm(
    client: &mut Client,
    plan: &Plan,
    deployment: &str,
    table: &TablePlan,
    (side, earlier): (Side, Earlier),
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let database = &plan.end(side).home.database;
    let on = on(database, "removing the guard");
    let target = table_name(plan, table, side);
    let there = client
        .query_one(
            "SELECT to_regclass($1) IS NOT NULL AND to_regclass('replat.guarded') IS NOT NULL",
            &[&target],
        )
        .await
        .map_err(&on)?;
    if !there.get::<_, bool>(0) {
        return Ok(());
    }
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("SET LOCAL lock_timeout = {lock_timeout_ms}")).await.map_err(&on)?;
    match earlier {
        Earlier::Goes => remove(&tx, database, &target, &plan.partition).await?,
        Earlier::Stays => put_back(&tx, database, &target, &plan.partition, deployment).await?,
    }
    let of_whole = tx
        .query(
            &format!(
                "SELECT tgname::text, tgrelid::regclass::text FROM pg_trigger \
                 WHERE tgrelid IN ({TREE}) AND tgname::text = ANY ($2::text[]) AND tgparentid = 0"
            ),
            &[&target, &Closed::names(&plan.partition)],
        )
        .await
        .map_err(&on)?;
    for row in of_whole {
        let (name, relation): (&str, &str) = (row.get(0), row.get(1));
        tx.batch_execute(&format!("DROP TRIGGER {} ON {relation}", quote_ident(name))).await.map_err(&on)?;
    }
    drop_strays(&tx, &target, deployment).await.map_err(&on)?;
    let others = tx
        .query_opt(
            "SELECT 1 FROM replat.fence WHERE partition = $1 AND schema_name = $3 AND deployment <> $2",
            &[&plan.partition.as_str(), &deployment, &schema_of(plan, side)],
        )
        .await
        .map_err(&on)?;
    if others.is_some() {
        return Err(superseded(plan, side));
    }
    tx.commit().await.map_err(&on)?;
    crash_at("disarm.after_commit");
    Ok(())
}
