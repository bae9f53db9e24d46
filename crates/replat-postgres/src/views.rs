//! Green's tables as views of blue's: how they are made, proved and taken away.
//!
//! The rollout's DDL runs as it would for a copy, so that all else that it makes is there; then its empty tables give way
//! to views of the same names, in the same transaction. Columns that blue's table gets are added before, each in a short
//! transaction of its own, since writers wait for its lock.
//!
//! Views serve every partition that comes to this schema. Each deployment is written down as a viewer before anything is
//! made, and what was made goes with the last of those that were given up.

use replat_engine::EngineError;
use replat_model::deploy::Certificate;
use replat_model::draft::ddl_digest;
use replat_model::facts::TableFacts;
use replat_model::ids::Side;
use replat_model::plan::{AddedColumn, ViewColumn, ViewPlan};
use tokio_postgres::{Client, Transaction};

use crate::ends::Ends;
use crate::error::on;
use crate::failpoint::crash_at;
use crate::guard;
use crate::prepare::{Patience, objects, write_down};
use crate::retire::forget;
use crate::sql::{quote_ident, quote_literal};
use crate::survey::is_one_database;

/// The first major release in which a view can act with the rights of whoever uses it.
const INVOKER_MIN: u32 = 15;

/// Whoever makes or takes away views does it alone. The lock is that of green's tables, which are made under it, too.
pub(crate) const ALONE: &str = "SELECT pg_advisory_xact_lock(7311340948552)";

/// What a role can be allowed to do to the rows of a view.
const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Makes green's views, and the columns that they need.
///
/// # Errors
///
/// [`EngineError::Precondition`] if blue and green are not one database, or if the schema or a column is somebody else's
/// by now.
pub async fn prepare(ends: &Ends, views: &[ViewPlan], lock_timeout_ms: u64) -> Result<(), EngineError> {
    let blue = ends.connect(Side::Blue, "prepare").await?;
    let mut green = ends.connect(Side::Green, "prepare").await?;
    if !is_one_database(&blue, &green, ends.database(Side::Green)).await? {
        return Err(EngineError::Precondition {
            what: format!(
                "{} and {} are not one database",
                ends.database(Side::Blue),
                ends.database(Side::Green)
            ),
            remedy: "Plan again; a view cannot show the rows of another database.".into(),
        });
    }
    register(ends, &mut green).await?;
    crash_at("views.registered");
    for view in views {
        for column in view.added() {
            add_column(ends, &mut green, view, column, lock_timeout_ms).await?;
            crash_at("views.column_added");
        }
    }
    create(ends, &mut green, views).await?;
    crash_at("views.created");
    Ok(())
}

/// Writes the deployment down as one that needs the schema's views.
async fn register(ends: &Ends, green: &mut Client) -> Result<(), EngineError> {
    let on = on(ends.database(Side::Green), "writing down who needs the views");
    let tx = green.transaction().await.map_err(&on)?;
    tx.batch_execute("SELECT pg_advisory_xact_lock(7311340948551)").await.map_err(&on)?;
    tx.batch_execute(guard::SCHEMA).await.map_err(&on)?;
    tx.execute(
        "INSERT INTO replat.viewer (schema_name, deployment, partition) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        &[&ends.plan.green.home.schema, &ends.deployment.as_str(), &ends.plan.partition.as_str()],
    )
    .await
    .map_err(&on)?;
    tx.commit().await.map_err(&on)
}

fn blue_table(ends: &Ends, table: &str) -> String {
    format!("{}.{}", quote_ident(&ends.plan.blue.home.schema), quote_ident(table))
}

fn green_view(ends: &Ends, view: &ViewPlan) -> String {
    format!("{}.{}", quote_ident(&ends.plan.green.home.schema), quote_ident(&view.stands_for.name))
}

/// Adds one column to blue's table. A column of that name that is there and not written down is somebody else's.
async fn add_column(
    ends: &Ends,
    client: &mut Client,
    view: &ViewPlan,
    column: &ViewColumn,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let Some(added) = &column.added else { return Ok(()) };
    let mut patience = Patience::default();
    loop {
        let done = try_to_add(ends, client, view, (&column.of, added), lock_timeout_ms).await;
        if !patience.is_worth_another_try(&done).await {
            return done;
        }
    }
}

async fn try_to_add(
    ends: &Ends,
    client: &mut Client,
    view: &ViewPlan,
    (name, added): (&str, &AddedColumn),
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let database = ends.database(Side::Blue);
    let on = on(database, "adding a column");
    let (green, blue) = (&ends.plan.green.home.schema, &ends.plan.blue.home.schema);
    let table = blue_table(ends, &view.table);
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("{ALONE}; SET LOCAL lock_timeout = {lock_timeout_ms}")).await.map_err(&on)?;
    let is_new = tx
        .execute(
            "INSERT INTO replat.added_column (schema_name, base_schema, base_name, name) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
            &[green, blue, &view.table, &name],
        )
        .await
        .map_err(&on)?;
    let there = tx
        .query_opt(
            "SELECT 1 FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = $2::text \
             AND NOT attisdropped",
            &[&table, &name],
        )
        .await
        .map_err(&on)?;
    match (is_new > 0, there) {
        (false, Some(_)) => return Ok(()),
        (true, Some(_)) => {
            return Err(EngineError::Precondition {
                what: format!("{table} on {database} has a column {name} by now"),
                remedy: "Plan again.".into(),
            });
        }
        (_, None) => {}
    }
    let default = added.default.as_ref().map(|default| format!(" DEFAULT {default}")).unwrap_or_default();
    let not_null = if added.not_null { " NOT NULL" } else { "" };
    tx.batch_execute(&format!(
        "ALTER TABLE {table} ADD COLUMN {} {}{default}{not_null}",
        quote_ident(name),
        added.type_name
    ))
    .await
    .map_err(&on)?;
    tx.commit().await.map_err(&on)
}

/// Runs the DDL and puts views in the place of its tables, unless an earlier deployment has done so.
async fn create(ends: &Ends, green: &mut Client, views: &[ViewPlan]) -> Result<(), EngineError> {
    let plan = &ends.plan;
    let (database, schema) = (ends.database(Side::Green), &plan.green.home.schema);
    let on = on(database, "creating green's views");
    let tx = green.transaction().await.map_err(&on)?;
    tx.batch_execute(ALONE).await.map_err(&on)?;
    if stands(ends, &tx).await? {
        return Ok(());
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
    let tables: Vec<String> = views.iter().map(|view| green_view(ends, view)).collect();
    if !tables.is_empty() {
        tx.batch_execute(&format!("DROP TABLE {}", tables.join(", "))).await.map_err(&on)?;
    }
    for view in views {
        create_view(ends, &tx, view).await?;
    }
    let made: Vec<_> =
        objects(&tx, schema).await.map_err(&on)?.into_iter().filter(|o| !before.contains(o)).collect();
    write_down(ends, &tx, &made, fresh).await.map_err(&on)?;
    crash_at("views.before_commit");
    tx.commit().await.map_err(&on)
}

/// Whether the schema's views were made by an earlier deployment or an earlier try of this one.
async fn stands(ends: &Ends, tx: &Transaction<'_>) -> Result<bool, EngineError> {
    let plan = &ends.plan;
    let (database, schema) = (ends.database(Side::Green), &plan.green.home.schema);
    let on = on(database, "looking for green's views");
    let row = tx
        .query_opt(
            "SELECT version, digest, EXISTS (SELECT 1 FROM replat.view v WHERE v.schema_name = s.schema_name) \
             FROM replat.schema_version s WHERE schema_name = $1",
            &[schema],
        )
        .await
        .map_err(&on)?;
    let changed = |what: String| EngineError::Precondition {
        what,
        remedy: "Plan again, or name another schema in rollout.to.".into(),
    };
    match row {
        None if plan.ddl.is_empty() => Err(changed(format!("the views of {schema} on {database} are gone"))),
        None => Ok(false),
        Some(row) if !row.get::<_, bool>(2) => {
            Err(changed(format!("schema {schema} on {database} has tables of its own by now")))
        }
        Some(row) => {
            let same = row.get::<_, &str>(0) == plan.version
                && (plan.ddl.is_empty() || row.get::<_, &str>(1) == ddl_digest(&plan.ddl));
            match same {
                true => Ok(true),
                false => Err(changed(format!("schema {schema} on {database} has another version by now"))),
            }
        }
    }
}

async fn create_view(ends: &Ends, tx: &Transaction<'_>, view: &ViewPlan) -> Result<(), EngineError> {
    let making = format!("creating the view {}", view.stands_for.name);
    let on = on(ends.database(Side::Green), &making);
    let name = green_view(ends, view);
    let mut statements = vec![view_text(ends, view)];
    for column in &view.columns {
        if let Some(default) = &column.default {
            statements.push(format!(
                "ALTER VIEW {name} ALTER COLUMN {} SET DEFAULT {default}",
                quote_ident(&column.name)
            ));
        }
    }
    statements.extend(grants(&name, &view.stands_for));
    tx.batch_execute(&statements.join("; ")).await.map_err(&on)?;
    // Whoever owned the table owns the view; last, since an owner who is another may not let us do the rest.
    tx.batch_execute(&format!(
        "DO $$ BEGIN IF current_user <> {owner} THEN ALTER VIEW {name} OWNER TO {ident}; END IF; END $$",
        owner = quote_literal(&view.stands_for.owner),
        ident = quote_ident(&view.stands_for.owner),
    ))
    .await
    .map_err(&on)?;
    let stands_for = serde_json::to_string(&view.stands_for).expect("facts are plain data");
    tx.execute(
        "INSERT INTO replat.view (schema_name, name, base_schema, base_name, definition, stands_for) \
         VALUES ($1, $2, $3, $4, pg_get_viewdef($5::text::regclass), $6::text::jsonb)",
        &[
            &ends.plan.green.home.schema,
            &view.stands_for.name,
            &ends.plan.blue.home.schema,
            &view.table,
            &name,
            &stands_for,
        ],
    )
    .await
    .map_err(&on)?;
    let writable = tx
        .query_one("SELECT pg_relation_is_updatable($1::text::regclass, false) & 28 = 28", &[&name])
        .await
        .map_err(&on)?;
    if writable.get::<_, bool>(0) {
        return Ok(());
    }
    Err(EngineError::Precondition {
        what: format!("{name} cannot be written as a view"),
        remedy: "Write path = \"copy\" in the rollout.".into(),
    })
}

fn view_text(ends: &Ends, view: &ViewPlan) -> String {
    let invoker = if ends.plan.green.major >= INVOKER_MIN { " WITH (security_invoker = true)" } else { "" };
    let columns: Vec<String> = view
        .columns
        .iter()
        .map(|column| format!("t.{} AS {}", quote_ident(&column.of), quote_ident(&column.name)))
        .collect();
    format!(
        "CREATE VIEW {}{invoker} AS SELECT {} FROM {} t",
        green_view(ends, view),
        columns.join(", "),
        blue_table(ends, &view.table)
    )
}

/// What roles may do to the table's rows, they may do to the view's.
fn grants(name: &str, table: &TableFacts) -> Vec<String> {
    let others = table.grants.iter().filter(|(role, _)| **role != table.owner);
    others
        .filter_map(|(role, rights)| {
            let rights: Vec<&str> =
                RIGHTS.into_iter().filter(|right| rights.iter().any(|given| given == right)).collect();
            let role = if role == "PUBLIC" { role.clone() } else { quote_ident(role) };
            (!rights.is_empty()).then(|| format!("GRANT {} ON {name} TO {role}", rights.join(", ")))
        })
        .collect()
}

/// Whether the side that is to be home can be: to green, that its views are those that were made; to blue, that its tables
/// are there. No row is read, since the rows are the same ones.
pub async fn prove(ends: &Ends, views: &[ViewPlan], to: Side) -> Result<Certificate, EngineError> {
    let mut client = ends.connect(to, "prove").await?;
    let on = on(ends.database(to), "looking at the views");
    let tx = client.transaction().await.map_err(&on)?;
    // A definition is written as the search path has it.
    tx.batch_execute("SET LOCAL search_path = pg_catalog").await.map_err(&on)?;
    let mut proof = Certificate::default();
    for view in views {
        let name = match to {
            Side::Blue => blue_table(ends, &view.table),
            Side::Green => green_view(ends, view),
        };
        let stands = match to {
            Side::Blue => tx.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]).await.map_err(&on)?,
            Side::Green => tx
                .query_one(
                    "SELECT EXISTS (SELECT 1 FROM replat.view WHERE schema_name = $2 AND name = $3 \
                       AND definition = pg_get_viewdef(to_regclass($1)) \
                       AND pg_relation_is_updatable(to_regclass($1), false) & 28 = 28)",
                    &[&name, &ends.plan.green.home.schema, &view.stands_for.name],
                )
                .await
                .map_err(&on)?,
        };
        if !stands.get::<_, bool>(0) {
            proof.different += 1;
            proof.samples.push(format!("{name} is gone, or is not what was made"));
        }
    }
    Ok(proof)
}

/// Leaves nothing behind: views and columns go, unless another deployment needs them.
pub async fn clean(ends: &Ends, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let mut green = ends.connect(Side::Green, "abort").await?;
    if !is_recorded(ends, &green).await? {
        return Ok(());
    }
    match clean_up(ends, &mut green, lock_timeout_ms).await {
        // Another runner was faster, and has taken away all there was, its records last.
        Err(_) if !is_recorded(ends, &green).await? => Ok(()),
        done => done,
    }
}

/// Whether this database knows of any views.
async fn is_recorded(ends: &Ends, green: &Client) -> Result<bool, EngineError> {
    let row = green
        .query_one("SELECT to_regclass('replat.viewer') IS NOT NULL", &[])
        .await
        .map_err(on(ends.database(Side::Green), "removing the views"))?;
    Ok(row.get(0))
}

async fn clean_up(ends: &Ends, green: &mut Client, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let mut patience = Patience::default();
    loop {
        let done = drop_views(ends, green, lock_timeout_ms).await;
        if !patience.is_worth_another_try(&done).await {
            done?;
            break;
        }
    }
    crash_at("views.dropped");
    drop_columns(ends, green, lock_timeout_ms).await?;
    forget(ends, green, Side::Green, true).await
}

async fn drop_views(ends: &Ends, green: &mut Client, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let schema = &ends.plan.green.home.schema;
    let on = on(ends.database(Side::Green), "removing the views");
    let tx = green.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("{ALONE}; SET LOCAL lock_timeout = {lock_timeout_ms}")).await.map_err(&on)?;
    tx.execute(
        "DELETE FROM replat.viewer WHERE schema_name = $1 AND deployment = $2",
        &[schema, &ends.deployment.as_str()],
    )
    .await
    .map_err(&on)?;
    let made = tx
        .query(
            "SELECT kind, identity, whole FROM replat.created WHERE schema_name = $1 \
               AND EXISTS (SELECT 1 FROM replat.view WHERE schema_name = $1) ORDER BY deployment, ord DESC",
            &[schema],
        )
        .await
        .map_err(&on)?;
    if made.is_empty() || is_needed(&tx, schema).await.map_err(&on)? {
        return tx.commit().await.map_err(&on);
    }
    if made.iter().any(|row| row.get::<_, bool>(2)) {
        tx.batch_execute(&format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_ident(schema)))
            .await
            .map_err(&on)?;
    } else {
        for row in &made {
            let (kind, identity): (&str, &str) = (row.get(0), row.get(1));
            // Row types and the indexes of a table go with the table.
            if !["index", "composite type"].contains(&kind) {
                tx.batch_execute(&format!("DROP {kind} IF EXISTS {identity} CASCADE")).await.map_err(&on)?;
            }
        }
    }
    for table in ["schema_version", "created", "view"] {
        tx.execute(&format!("DELETE FROM replat.{table} WHERE schema_name = $1"), &[schema])
            .await
            .map_err(&on)?;
    }
    tx.commit().await.map_err(&on)
}

async fn is_needed(tx: &Transaction<'_>, schema: &str) -> Result<bool, tokio_postgres::Error> {
    let row = tx
        .query_one("SELECT EXISTS (SELECT 1 FROM replat.viewer WHERE schema_name = $1)", &[&schema])
        .await?;
    Ok(row.get(0))
}

/// The columns that were added for the schema's views go when nobody needs those any more, with what was written to them.
async fn drop_columns(ends: &Ends, client: &mut Client, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let mut patience = Patience::default();
    loop {
        let done = drop_column(ends, client, lock_timeout_ms).await;
        if let Ok(true) = done {
            crash_at("views.column_dropped");
            continue;
        }
        let done = done.map(drop);
        if !patience.is_worth_another_try(&done).await {
            return done;
        }
    }
}

/// Drops one of the columns; false if there is none left to drop.
async fn drop_column(ends: &Ends, client: &mut Client, lock_timeout_ms: u64) -> Result<bool, EngineError> {
    let schema = &ends.plan.green.home.schema;
    let on = on(ends.database(Side::Blue), "removing an added column");
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("{ALONE}; SET LOCAL lock_timeout = {lock_timeout_ms}")).await.map_err(&on)?;
    if is_needed(&tx, schema).await.map_err(&on)? {
        return Ok(false);
    }
    let one = tx
        .query_opt(
            "DELETE FROM replat.added_column WHERE ctid = \
               (SELECT ctid FROM replat.added_column WHERE schema_name = $1 ORDER BY base_name, name LIMIT 1) \
             RETURNING base_schema, base_name, name",
            &[schema],
        )
        .await
        .map_err(&on)?;
    let Some(row) = one else { return Ok(false) };
    let (base_schema, base, name): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
    tx.batch_execute(&format!(
        "ALTER TABLE IF EXISTS {}.{} DROP COLUMN IF EXISTS {}",
        quote_ident(base_schema),
        quote_ident(base),
        quote_ident(name)
    ))
    .await
    .map_err(&on)?;
    tx.commit().await.map_err(&on)?;
    Ok(true)
}
