//! What green's catalogue will say once the rollout's DDL has run: it is run, and taken back.

use replat_engine::EngineError;
use replat_model::draft::ddl_digest;
use replat_model::facts::DatabaseFacts;
use replat_model::plan::DdlFile;
use tokio_postgres::Client;

use super::{beside, ddl, read_facts, undone};
use crate::error::on;

/// The schema that a rollout brings, and where.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The database's name in the spec, for errors.
    pub database: &'a str,
    /// The schema that holds the tables there.
    pub schema: &'a str,
    /// The schema version.
    pub version: &'a str,
    /// The files that make it, in this order.
    pub ddl: &'a [DdlFile],
}

/// What a rehearsal found.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsal {
    /// What the catalogue says once the DDL has run.
    pub facts: DatabaseFacts,
    /// The DDL that is still needed; empty if an earlier deployment ran it.
    pub ddl: Vec<DdlFile>,
    /// What the DDL makes beside its tables and needs them to be tables, as the server says it: with that, they cannot be
    /// views.
    pub tied: Option<String>,
}

/// Runs the DDL, surveys `tables`, and rolls back.
///
/// No DDL is run where `replat.schema_version` says that the schema has this very version already.
///
/// # Errors
///
/// [`EngineError::Precondition`] if the schema holds something else under that name, or if the DDL cannot run as a
/// part of a transaction; else what the server says to the DDL.
pub async fn rehearse(
    client: &Client,
    target: Target<'_>,
    tables: &[String],
) -> Result<Rehearsal, EngineError> {
    client.batch_execute("BEGIN").await.map_err(on(target.database, "a rehearsal"))?;
    let outcome = rehearse_inside(client, target, tables).await;
    undone(client, target.database, outcome).await
}

async fn rehearse_inside(
    client: &Client,
    target: Target<'_>,
    tables: &[String],
) -> Result<Rehearsal, EngineError> {
    let Target { database, schema, .. } = target;
    let needed = match installed(client, target).await? {
        true => &[],
        false => target.ddl,
    };
    if !needed.is_empty() {
        is_free(client, target, tables).await?;
        ddl::run(client, database, schema, needed).await?;
    }
    let facts = read_facts(client, database, schema, Some(tables)).await?;
    let tied = match needed.is_empty() {
        true => None,
        false => beside::tied(client, database, &facts).await?,
    };
    Ok(Rehearsal { facts, ddl: needed.to_vec(), tied })
}

/// Whether an earlier deployment made this very version of the schema.
async fn installed(client: &Client, target: Target<'_>) -> Result<bool, EngineError> {
    let on = on(target.database, "reading which version the schema has");
    let known = client.query_one("SELECT to_regclass('replat.schema_version') IS NOT NULL", &[]);
    if !known.await.and_then(|row| row.try_get(0)).map_err(&on)? {
        return Ok(false);
    }
    let wanted = "SELECT version, digest FROM replat.schema_version WHERE schema_name = $1";
    let Some(row) = client.query_opt(wanted, &[&target.schema]).await.map_err(&on)? else {
        return Ok(false);
    };
    let version: String = row.try_get(0).map_err(&on)?;
    let digest: String = row.try_get(1).map_err(&on)?;
    if target.ddl.is_empty() || (version == target.version && digest == ddl_digest(target.ddl)) {
        return Ok(true);
    }
    let Target { database, schema, .. } = target;
    let (what, remedy) = if version == target.version {
        (
            format!("{database}.{schema} has version {version}, made by other DDL than the spec has now"),
            "Give the rollout another version and another schema, or restore the DDL.",
        )
    } else {
        (format!("{database}.{schema} has version {version}"), "Name another schema in rollout.to.")
    };
    Err(EngineError::Precondition { what, remedy: remedy.to_owned() })
}

/// The DDL would trip over tables of the same names, and say less clearly why.
async fn is_free(client: &Client, target: Target<'_>, tables: &[String]) -> Result<(), EngineError> {
    let taken = "SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1::text AND c.relname::text = ANY ($2::text[])";
    let on = on(target.database, "a rehearsal");
    let row = client.query_one(taken, &[&target.schema, &tables]).await.map_err(&on)?;
    let Some(names) = row.try_get::<_, Option<String>>(0).map_err(&on)? else {
        return Ok(());
    };
    let Target { database, schema, version, .. } = target;
    Err(EngineError::Precondition {
        what: format!(
            "{database}.{schema} has {names} already, and nothing says that they are of version {version}"
        ),
        remedy: "Name another schema in rollout.to, or, if they are meant, leave out rollout.ddl.".to_owned(),
    })
}
