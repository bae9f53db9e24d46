//! What is put in place before rows move, and what is built after they did: green's tables, guards, publications,
//! slots, indexes.
//!
//! Each step is its own short transaction, checks what is there already, and can be run again. What is created on
//! green is written down in the same transaction, so that giving up removes that and nothing else.

use std::time::Duration;

use replat_engine::EngineError;
use replat_model::deploy::Token;
use replat_model::draft::ddl_digest;
use replat_model::ids::{Lsn, Side};
use replat_model::plan::TablePlan;
use tokio_postgres::{Client, Row, Transaction};

use crate::copy::copied_tables;
use crate::ends::Ends;
use crate::error::{is_lock, on};
use crate::failpoint::crash_at;
use crate::guard::{self, Closed, Fenced};
use crate::slice::table_name;
use crate::sql::{quote_ident, quote_literal};

/// How often arming is tried before the runner is told that a lock cannot be had.
const ARM_TRIES: u32 = 25;

/// Prepares both ends.
pub async fn prepare(ends: &Ends, token: Token, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let plan = &ends.plan;
    let mut blue = ends.connect(Side::Blue, "prepare").await?;
    let mut green = ends.connect(Side::Green, "prepare").await?;
    let fenced = [Fenced { plan, deployment: ends.deployment.as_str(), token }];
    guard::install(&mut blue, &fenced, None, Side::Blue).await?;
    crash_at("prepare.blue_installed");
    guard::install(&mut green, &fenced, None, Side::Green).await?;
    ends.take_pass(&green, Side::Green).await?;
    crash_at("prepare.green_installed");
    create_tables(ends, &mut green).await?;
    crash_at("prepare.green_tables");
    close_green(ends, &mut green, lock_timeout_ms).await?;
    crash_at("prepare.green_closed");
    publish(ends, &mut blue, Side::Blue).await?;
    crash_at("prepare.blue_published");
    arm_side(ends, &mut blue, Side::Blue, lock_timeout_ms).await?;
    crash_at("prepare.blue_armed");
    if plan.has_way_back() {
        publish(ends, &mut green, Side::Green).await?;
    }
    Ok(())
}

/// Green's schema, unless it is there: one transaction that also writes down what it made.
pub(crate) async fn create_tables(ends: &Ends, green: &mut Client) -> Result<(), EngineError> {
    let plan = &ends.plan;
    if plan.ddl.is_empty() {
        return Ok(());
    }
    let (database, schema) = (ends.database(Side::Green), &plan.green.home.schema);
    let on = on(database, "creating green's tables");
    let digest = ddl_digest(&plan.ddl);
    let tx = green.transaction().await.map_err(&on)?;
    tx.batch_execute("SELECT pg_advisory_xact_lock(7311340948552)").await.map_err(&on)?;
    let views = tx
        .query_opt("SELECT 1 FROM replat.view WHERE schema_name = $1 LIMIT 1", &[schema])
        .await
        .map_err(&on)?;
    if views.is_some() {
        return Err(EngineError::Precondition {
            what: format!(
                "schema {schema} on {database} holds views by now, and rows cannot be copied into them"
            ),
            remedy: "Plan again.".into(),
        });
    }
    let there = tx
        .query_opt("SELECT version, digest FROM replat.schema_version WHERE schema_name = $1", &[schema])
        .await
        .map_err(&on)?;
    match there {
        Some(row) if row.get::<_, &str>(0) == plan.version && row.get::<_, &str>(1) == digest => {
            return Ok(());
        }
        Some(row) => {
            return Err(EngineError::Precondition {
                what: format!("schema {schema} on {database} has version {} already", row.get::<_, &str>(0)),
                remedy: "Choose another schema for the new version, or plan again.".into(),
            });
        }
        None => {}
    }
    let fresh = tx
        .query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[schema])
        .await
        .map_err(&on)?
        .is_none();
    tx.batch_execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", quote_ident(schema))).await.map_err(&on)?;
    let before = objects(&tx, schema).await.map_err(&on)?;
    // The DDL runs as a person would run it: with its own schema first in the path.
    tx.batch_execute(&format!("SET LOCAL search_path = {}, public", quote_ident(schema)))
        .await
        .map_err(&on)?;
    for file in &plan.ddl {
        tx.batch_execute(&file.text).await.map_err(crate::error::on(database, &file.name))?;
    }
    tx.batch_execute("SET LOCAL search_path = pg_catalog").await.map_err(&on)?;
    let made: Vec<_> =
        objects(&tx, schema).await.map_err(&on)?.into_iter().filter(|o| !before.contains(o)).collect();
    write_down(ends, &tx, &made, fresh).await.map_err(&on)?;
    defer_indexes(ends, &tx).await?;
    tx.commit().await.map_err(&on)
}

/// What was made of green's schema, and that it has this version now.
pub(crate) async fn write_down(
    ends: &Ends,
    tx: &Transaction<'_>,
    made: &[(String, String)],
    fresh: bool,
) -> Result<(), tokio_postgres::Error> {
    let plan = &ends.plan;
    let schema = &plan.green.home.schema;
    for (n, (kind, identity)) in made.iter().enumerate() {
        tx.execute(
            "INSERT INTO replat.created (deployment, schema_name, whole, ord, kind, identity) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[&ends.maker(), schema, &fresh, &i32::try_from(n).expect("few objects"), kind, identity],
        )
        .await?;
    }
    tx.execute(
        "INSERT INTO replat.schema_version (schema_name, version, digest) VALUES ($1, $2, $3)",
        &[schema, &plan.version, &ddl_digest(&plan.ddl)],
    )
    .await
    .map(drop)
}

/// The objects of a schema: kind and identity, as the server names them.
pub(crate) async fn objects(
    tx: &Transaction<'_>,
    schema: &str,
) -> Result<Vec<(String, String)>, tokio_postgres::Error> {
    let rows = tx
        .query(
            "SELECT o.type, o.identity FROM pg_depend d \
             CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) o \
             WHERE d.refclassid = 'pg_namespace'::regclass AND d.deptype = 'n' \
               AND d.refobjid = (SELECT oid FROM pg_namespace WHERE nspname = $1) \
             ORDER BY d.classid, d.objid",
            &[&schema],
        )
        .await?;
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

/// Takes secondary indexes and foreign keys off the empty tables and writes them down: built after the load they
/// cost half, and while rows of different ages lie side by side a unique one could not hold.
async fn defer_indexes(ends: &Ends, tx: &Transaction<'_>) -> Result<(), EngineError> {
    let plan = &ends.plan;
    let on = on(ends.database(Side::Green), "deferring indexes");
    let mut ord = 0_i32;
    for is_foreign in [true, false] {
        // The rows of a cohort's members are not all consistent at one moment, so what can be broken stays in place.
        if is_foreign && ends.cohort().is_some() {
            continue;
        }
        for table in copied_tables(plan) {
            let target = table_name(plan, table, Side::Green);
            for Deferrable { name, is_constraint, definition, before, after } in
                deferrable(tx, &target, table, is_foreign).await.map_err(&on)?
            {
                if ends.cohort().is_some() && (is_constraint || definition.starts_with("CREATE UNIQUE")) {
                    continue;
                }
                let (drop, build) = if is_constraint {
                    let quoted = quote_ident(&name);
                    (
                        format!("ALTER TABLE {target} DROP CONSTRAINT {quoted}"),
                        format!("ALTER TABLE {target} ADD CONSTRAINT {quoted} {definition}"),
                    )
                } else {
                    let schema = quote_ident(&plan.green.home.schema);
                    (format!("DROP INDEX {schema}.{}", quote_ident(&name)), definition)
                };
                tx.batch_execute(&drop).await.map_err(&on)?;
                // A foreign key is added and checked in two steps, so what is said about it is an entry of its own.
                let builds = match is_foreign {
                    true => vec![build, after],
                    false => vec![joined([before, build, after])],
                };
                for build in builds.into_iter().filter(|build| !build.is_empty()) {
                    tx.execute(
                        "INSERT INTO replat.deferred (deployment, ord, name, is_foreign, definition) \
                         VALUES ($1, $2, $3, $4, $5)",
                        &[&ends.maker(), &ord, &name, &is_foreign, &build],
                    )
                    .await
                    .map_err(&on)?;
                    ord += 1;
                }
            }
        }
    }
    Ok(())
}

/// Statements as one text.
fn joined<const N: usize>(statements: [String; N]) -> String {
    statements.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What is taken off a table and built again.
struct Deferrable {
    name: String,
    is_constraint: bool,
    /// As the server writes it, which leaves out some of what was said about it.
    definition: String,
    /// The statement that says where an index lies; empty if where everything does.
    before: String,
    /// The statements that say what else was said about it.
    after: String,
}

/// The index over the row key stays: chunks and changes find their rows by it; so does one that is the replica identity,
/// and one that a foreign key of another table needs (those of the plan's own tables are off by then).
async fn deferrable(
    tx: &Transaction<'_>,
    target: &str,
    table: &TablePlan,
    foreign: bool,
) -> Result<Vec<Deferrable>, tokio_postgres::Error> {
    let rows = if foreign {
        tx.query(
            "SELECT conname::text, true, pg_get_constraintdef(oid), '', \
               coalesce(format('COMMENT ON CONSTRAINT %I ON %s IS ', conname, $1::text) \
                        || quote_literal(obj_description(oid, 'pg_constraint')), '') \
             FROM pg_constraint \
             WHERE conrelid = $1::text::regclass AND contype = 'f' AND conparentid = 0 ORDER BY conname",
            &[&target],
        )
        .await?
    } else {
        let mut key: Vec<String> = table.key_on(Side::Green).map(str::to_owned).collect();
        key.sort();
        tx.query(
            "SELECT i.relname::text, c.oid IS NOT NULL, coalesce(pg_get_constraintdef(c.oid), \
               pg_get_indexdef(x.indexrelid)), \
               coalesce('SET LOCAL default_tablespace = ' || quote_literal(p.spcname), ''), \
               concat_ws('; ', \
                 CASE WHEN obj_description(i.oid, 'pg_class') <> '' THEN \
                   format('COMMENT ON INDEX %I.%I IS %L', n.nspname, i.relname, obj_description(i.oid, 'pg_class')) END, \
                 CASE WHEN obj_description(c.oid, 'pg_constraint') <> '' THEN \
                   format('COMMENT ON CONSTRAINT %I ON %s IS %L', c.conname, $1::text, \
                          obj_description(c.oid, 'pg_constraint')) END, \
                 CASE WHEN c.oid IS NOT NULL AND i.reloptions IS NOT NULL THEN \
                   format('ALTER INDEX %I.%I SET (%s)', n.nspname, i.relname, array_to_string(i.reloptions, ', ')) END, \
                 CASE WHEN x.indisclustered THEN format('ALTER TABLE %s CLUSTER ON %I', $1::text, i.relname) END, \
                 (SELECT string_agg(format('ALTER INDEX %I.%I ALTER COLUMN %s SET STATISTICS %s', \
                                           n.nspname, i.relname, a.attnum, a.attstattarget), '; ') \
                    FROM pg_attribute a WHERE a.attrelid = i.oid AND a.attstattarget >= 0)) \
             FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace \
             LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.contype IN ('u', 'x', 'p') \
             LEFT JOIN pg_tablespace p ON p.oid = i.reltablespace \
             WHERE x.indrelid = $1::text::regclass AND NOT x.indisprimary AND NOT x.indisreplident \
               AND NOT (x.indisunique AND x.indpred IS NULL AND x.indexprs IS NULL AND \
                 (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\") FROM pg_attribute a \
                  WHERE a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)) = $2::text[]) \
               AND NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhrelid = x.indexrelid) \
               AND NOT EXISTS (SELECT 1 FROM pg_constraint f WHERE f.contype = 'f' AND f.conindid = x.indexrelid) \
             ORDER BY i.relname",
            &[&target, &key],
        )
        .await?
    };
    let deferrable = |r: &Row| Deferrable {
        name: r.get(0),
        is_constraint: r.get(1),
        definition: r.get(2),
        before: r.get(3),
        after: r.get(4),
    };
    Ok(rows.iter().map(deferrable).collect())
}

/// Green refuses everybody's writes from the beginning. Tables that this deployment made are closed as a whole
/// while they are filled, since a row trigger would slow the load down; tables with other partitions in them are
/// closed for this partition's rows.
async fn close_green(ends: &Ends, green: &mut Client, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let plan = &ends.plan;
    if !made_here(ends, green).await? {
        return arm_side(ends, green, Side::Green, lock_timeout_ms).await;
    }
    for table in &plan.tables {
        arm(ends, green, table, Side::Green, Some(Closed::Loading), lock_timeout_ms).await?;
    }
    arm_references(ends, green, Side::Green, lock_timeout_ms).await
}

async fn made_here(ends: &Ends, green: &Client) -> Result<bool, EngineError> {
    let row = green
        .query_one(
            "SELECT EXISTS (SELECT 1 FROM replat.created WHERE deployment = $1)",
            &[&ends.deployment.as_str()],
        )
        .await
        .map_err(on(ends.database(Side::Green), "reading what was created"))?;
    Ok(row.get(0))
}

/// The full guard on one side.
async fn arm_side(
    ends: &Ends,
    client: &mut Client,
    side: Side,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let plan = &ends.plan;
    for table in &plan.tables {
        arm(ends, client, table, side, None, lock_timeout_ms).await?;
    }
    arm_references(ends, client, side, lock_timeout_ms).await
}

/// The full guard on both sides, where anything of it is missing: leaves may have come.
pub async fn guard_anew(ends: &Ends, lock_timeout_ms: u64) -> Result<(), EngineError> {
    for side in [Side::Blue, Side::Green] {
        let mut client = ends.connect(side, "guard").await?;
        arm_side(ends, &mut client, side, lock_timeout_ms).await?;
    }
    Ok(())
}

/// A reference table is read-only on both sides while the deployment lasts.
async fn arm_references(
    ends: &Ends,
    client: &mut Client,
    side: Side,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    for table in &ends.plan.references {
        arm(ends, client, table, side, Some(Closed::Reference), lock_timeout_ms).await?;
    }
    Ok(())
}

/// Guards the partition's rows of a table, or closes it as a whole.
async fn arm(
    ends: &Ends,
    client: &mut Client,
    table: &TablePlan,
    side: Side,
    whole: Option<Closed>,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let (plan, deployment) = (&ends.plan, ends.deployment.as_str());
    let mut patience = Patience::default();
    loop {
        let done = match whole {
            None => guard::arm(client, &[(plan, deployment)], table, side, lock_timeout_ms).await,
            Some(why) => {
                guard::close_table(client, plan, deployment, table, side, why, lock_timeout_ms).await
            }
        };
        if !patience.is_worth_another_try(&done).await {
            return done;
        }
    }
}

/// Asks for a lock in short turns with growing pauses, so that writers do not queue behind it for long.
pub(crate) struct Patience {
    tries: u32,
    pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { tries: 1, pause: Duration::from_millis(50) }
    }
}

impl Patience {
    /// Whether a lock stood in the way and there is patience left; waits before it says yes.
    pub(crate) async fn is_worth_another_try(&mut self, done: &Result<(), EngineError>) -> bool {
        if !matches!(done, Err(EngineError::Locked { .. })) || self.tries >= ARM_TRIES {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.tries += 1;
        self.pause = (self.pause * 2).min(Duration::from_secs(2));
        true
    }
}

/// The publication of the partition's tables; made again if it does not name exactly them.
pub(crate) async fn publish(ends: &Ends, client: &mut Client, side: Side) -> Result<(), EngineError> {
    let plan = &ends.plan;
    let on = on(ends.database(side), "publishing the tables");
    let name = ends.publication(side);
    let tables: Vec<String> = plan.tables.iter().map(|t| table_name(plan, t, side)).collect();
    let there =
        client.query_opt("SELECT 1 FROM pg_publication WHERE pubname = $1", &[&name]).await.map_err(&on)?;
    if there.is_some() {
        return Ok(());
    }
    client
        .batch_execute(&format!(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
            quote_ident(&name),
            tables.join(", ")
        ))
        .await
        .map_err(&on)
}

/// The slot on `side`, and the record on the other side of where its stream begins.
///
/// The slot is for all of `deployments`, of which `ends` are one's. Returns the position, and the first transaction id that
/// did not exist yet.
pub async fn open_slot(ends: &Ends, side: Side, deployments: &[&str]) -> Result<(Lsn, u64), EngineError> {
    let source = ends.connect(side, "slot").await?;
    let other = ends.connect(side.other(), "slot").await?;
    one_at_a_time(ends, &other, side).await?;
    let opened = open_first(ends, side, deployments, &source, &other).await;
    // A connection that was lent goes back with nothing held.
    other
        .batch_execute("SELECT pg_advisory_unlock_all()")
        .await
        .map_err(on(ends.database(side.other()), "letting other runners open the slot"))?;
    opened
}

async fn open_first(
    ends: &Ends,
    side: Side,
    deployments: &[&str],
    source: &Client,
    other: &Client,
) -> Result<(Lsn, u64), EngineError> {
    let (database, slot) = (ends.database(side), ends.slot(side));
    let on_source = on(database, "creating the slot");
    // A slot from before a crash has no record on the other side yet, so nothing was ever read from it; it is
    // made anew rather than trusted.
    let known = other
        .query_opt(
            "SELECT position::text FROM replat.stream WHERE deployment = $1 AND source = $2",
            &[&ends.deployment.as_str(), &crate::apply::side_text(side)],
        )
        .await
        .map_err(on(ends.database(side.other()), "reading the stream's position"))?;
    let there = source
        .query_opt("SELECT active FROM pg_replication_slots WHERE slot_name = $1", &[&slot])
        .await
        .map_err(&on_source)?;
    if let (Some(row), Some(_)) = (&known, &there) {
        return Ok((guard::parse_lsn(row.get(0), database)?, horizon(source, database).await?));
    }
    if there.is_some() {
        drop_slot(ends, source, side, &slot).await?;
    }
    crash_at("slot.absent");
    let row = source
        .query_one("SELECT lsn::text FROM pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot])
        .await
        .map_err(&on_source)?;
    let at = guard::parse_lsn(row.get(0), database)?;
    crash_at("slot.created");
    other
        .execute(
            "INSERT INTO replat.stream (deployment, source, schema_name, position, open) \
             SELECT d, $2, $5, $3::text::pg_lsn, $4 FROM unnest($1::text[]) AS d \
             ON CONFLICT (deployment, source) DO UPDATE SET position = excluded.position, open = excluded.open",
            &[
                &deployments,
                &crate::apply::side_text(side),
                &at.to_string(),
                // Blue's log begins with blue open, green's with green closed.
                &(side == Side::Blue),
                &ends.plan.end(side.other()).home.schema,
            ],
        )
        .await
        .map_err(on(ends.database(side.other()), "recording where the stream begins"))?;
    crash_at("slot.recorded");
    Ok((at, horizon(source, database).await?))
}

/// Of two runners that open one slot, the second waits here until the first has recorded it, and then finds it: it
/// must not take it for one from before a crash. The lock goes with the session.
async fn one_at_a_time(ends: &Ends, other: &Client, side: Side) -> Result<(), EngineError> {
    other
        .batch_execute(&format!(
            "SET lock_timeout = '5s'; SELECT pg_advisory_lock(hashtextextended({}, 0))",
            quote_literal(&ends.slot(side))
        ))
        .await
        .map_err(on(ends.database(side.other()), "waiting for another runner that opens the slot"))
}

async fn horizon(client: &Client, database: &str) -> Result<u64, EngineError> {
    let row = client
        .query_one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text", &[])
        .await
        .map_err(on(database, "reading the running transactions"))?;
    Ok(row.get::<_, &str>(0).parse().unwrap_or(u64::MAX))
}

/// Whether every transaction that ran at `horizon` has ended, as other sessions see it.
pub async fn is_settled(client: &Client, database: &str, horizon: u64) -> Result<bool, EngineError> {
    let row = client
        .query_one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text", &[])
        .await
        .map_err(on(database, "reading the running transactions"))?;
    Ok(row.get::<_, &str>(0).parse::<u64>().is_ok_and(|xmin| xmin >= horizon))
}

/// Drops a slot on `side`, ending a reader that still holds it.
pub async fn drop_slot(ends: &Ends, client: &Client, side: Side, slot: &str) -> Result<(), EngineError> {
    let database = ends.database(side);
    let on = on(database, "dropping the slot");
    for _ in 0..50 {
        client
            .query(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
                 WHERE slot_name = $1 AND active_pid IS NOT NULL",
                &[&slot],
            )
            .await
            .map_err(&on)?;
        let dropped = client
            .query(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
                &[&slot],
            )
            .await;
        match dropped {
            Ok(_) => return Ok(()),
            Err(e) if e.code().is_some_and(is_lock) => {}
            Err(e) => return Err(on(e)),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(EngineError::Precondition {
        what: format!("slot {slot} on {database} is held by a reader that does not end"),
        remedy: format!("End it: SELECT pg_drop_replication_slot({});", quote_literal(slot)),
    })
}

/// Builds what was deferred, arms green's full guard, gathers statistics.
pub async fn build_indexes(ends: &Ends, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let plan = &ends.plan;
    let mut green = ends.connect_to_write(Side::Green, "indexes").await?;
    arm_side(ends, &mut green, Side::Green, lock_timeout_ms).await?;
    crash_at("indexes.armed");
    for table in &plan.tables {
        guard::reopen_table(&green, plan, table, Side::Green, Closed::Loading).await?;
    }
    crash_at("indexes.loading_over");
    build_deferred(ends, &mut green).await?;
    analyze(ends, &green).await
}

/// Builds what was deferred for all members of a cohort, and gathers statistics.
pub(crate) async fn build_for_all(ends: &Ends) -> Result<(), EngineError> {
    let mut green = ends.connect_to_write(Side::Green, "indexes").await?;
    build_deferred(ends, &mut green).await?;
    analyze(ends, &green).await
}

async fn analyze(ends: &Ends, green: &Client) -> Result<(), EngineError> {
    let on = on(ends.database(Side::Green), "building indexes");
    for table in copied_tables(&ends.plan) {
        let table = table_name(&ends.plan, table, Side::Green);
        green.batch_execute(&format!("ANALYZE {table}")).await.map_err(&on)?;
    }
    Ok(())
}

/// Foreign keys last: they need the unique keys that they point to.
async fn build_deferred(ends: &Ends, green: &mut Client) -> Result<(), EngineError> {
    let on = on(ends.database(Side::Green), "building indexes");
    let deferred = green
        .query(
            "SELECT ord, name, is_foreign FROM replat.deferred WHERE deployment = $1 ORDER BY is_foreign, ord",
            &[&ends.maker()],
        )
        .await
        .map_err(&on)?;
    for row in deferred {
        let (ord, name, is_foreign): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
        if is_foreign {
            begin_foreign_key(ends, green, ord, &name).await?;
        }
        let building = format!("building {name}");
        let on = crate::error::on(ends.database(Side::Green), &building);
        let tx = green.transaction().await.map_err(&on)?;
        let gone = tx
            .query_opt(
                "DELETE FROM replat.deferred WHERE deployment = $1 AND ord = $2 RETURNING definition",
                &[&ends.maker(), &ord],
            )
            .await
            .map_err(&on)?;
        if let Some(row) = gone {
            tx.batch_execute(row.get(0)).await.map_err(&on)?;
        }
        tx.commit().await.map_err(&on)?;
        crash_at("indexes.built");
    }
    Ok(())
}

/// Adds a foreign key whose rows are still to be checked, and leaves the check to be built.
///
/// Adding one locks two tables against writers, one after the other, and the stream takes the same locks in an order of
/// its own. So the stream stands still for that instant. The check takes long, and locks nobody out.
async fn begin_foreign_key(ends: &Ends, green: &mut Client, ord: i32, name: &str) -> Result<(), EngineError> {
    let building = format!("building {name}");
    let on = crate::error::on(ends.database(Side::Green), &building);
    let deployment = ends.maker();
    let tx = green.transaction().await.map_err(&on)?;
    hold_stream(&tx, deployment).await.map_err(&on)?;
    let row = tx
        .query_opt(
            "SELECT definition, definition LIKE 'ALTER TABLE % ADD CONSTRAINT %' AND definition NOT LIKE '% NOT VALID' \
             FROM replat.deferred WHERE deployment = $1 AND ord = $2 FOR UPDATE",
            &[&deployment, &ord],
        )
        .await
        .map_err(&on)?;
    let Some(row) = row.filter(|row| row.get(1)) else { return Ok(()) };
    let definition: &str = row.get(0);
    // Between whole tables of partitions, servers before 18 only have keys that are checked at once.
    tx.batch_execute("SAVEPOINT replat_key").await.map_err(&on)?;
    let table = definition.split(" ADD CONSTRAINT ").next().unwrap_or_default();
    let rest = match tx.batch_execute(&format!("{definition} NOT VALID")).await {
        Ok(()) => Some(format!("{table} VALIDATE CONSTRAINT {}", quote_ident(name))),
        Err(error) if is_not_for_partitions(&error) => {
            tx.batch_execute("ROLLBACK TO SAVEPOINT replat_key").await.map_err(&on)?;
            tx.batch_execute(definition).await.map_err(&on)?;
            None
        }
        Err(error) => return Err(on(error)),
    };
    match rest {
        Some(rest) => {
            tx.execute(
                "UPDATE replat.deferred SET definition = $3 WHERE deployment = $1 AND ord = $2",
                &[&deployment, &ord, &rest],
            )
            .await
        }
        None => {
            let gone = "DELETE FROM replat.deferred WHERE deployment = $1 AND ord = $2";
            tx.execute(gone, &[&deployment, &ord]).await
        }
    }
    .map_err(&on)?;
    tx.commit().await.map_err(&on)?;
    crash_at("indexes.foreign_key_begun");
    Ok(())
}

fn is_not_for_partitions(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    error
        .code()
        .is_some_and(|code| [SqlState::WRONG_OBJECT_TYPE, SqlState::FEATURE_NOT_SUPPORTED].contains(code))
}

/// Waits for what blue's stream is applying, and lets it apply nothing more before the transaction ends: that is the first
/// row that it changes each time.
async fn hold_stream(tx: &Transaction<'_>, deployment: &str) -> Result<(), tokio_postgres::Error> {
    tx.execute(
        "SELECT 1 FROM replat.stream WHERE deployment = $1 AND source = $2 FOR UPDATE",
        &[&deployment, &crate::apply::side_text(Side::Blue)],
    )
    .await
    .map(drop)
}
