//! The share of transactions that the server logs as a whole: set for a capture, and put back behind it.

use replat_engine::EngineError;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::error::on;
use crate::sql::{quote_ident, quote_literal};

const SETTING: &str = "log_transaction_sample_rate";

/// What the setting was before, as it has to be put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateBefore {
    /// What ALTER SYSTEM had set; `None` if it had not set anything.
    pub by_alter_system: Option<String>,
}

/// Reads what it is, to be remembered before it is set.
///
/// # Errors
///
/// [`EngineError::Precondition`] if the role may not set it, or not see how it was set.
pub async fn before(client: &Client, database: &str) -> Result<RateBefore, EngineError> {
    let query = "select setting, sourcefile, current_user::text, \
         (select rolsuper from pg_catalog.pg_roles where rolname = current_user), \
         current_setting('server_version_num')::int4, source from pg_catalog.pg_settings where name = $1";
    let row = client.query_one(query, &[&SETTING]).await.map_err(on(database, "reading its settings"))?;
    let (setting, file, role): (String, Option<String>, String) = (row.get(0), row.get(1), row.get(2));
    let (is_superuser, version): (bool, i32) = (row.get(3), row.get(4));
    if row.get::<_, String>(5) == "command line" {
        return Err(EngineError::Precondition {
            what: format!(
                "{SETTING} of {database} is said on the server's command line, which outranks ALTER SYSTEM"
            ),
            remedy: "Take it from there, or capture with what it says.".into(),
        });
    }
    if !is_superuser {
        may_set(client, database, &role, version).await?;
    }
    let by_alter_system = file.filter(|file| file.ends_with("postgresql.auto.conf")).map(|_| setting);
    Ok(RateBefore { by_alter_system })
}

async fn may_set(client: &Client, database: &str, role: &str, version: i32) -> Result<(), EngineError> {
    let quoted = quote_ident(role);
    let needed = |remedy: String| EngineError::Precondition {
        what: format!("{role} may not set {SETTING} on {database}"),
        remedy,
    };
    if version < 150_000 {
        return Err(needed(format!(
            "Set it as a superuser: ALTER SYSTEM SET {SETTING} = 0.01; SELECT pg_reload_conf()"
        )));
    }
    let query = "select pg_catalog.has_parameter_privilege($1, 'alter system'), \
         pg_catalog.has_function_privilege('pg_catalog.pg_reload_conf()', 'execute'), \
         pg_catalog.pg_has_role('pg_read_all_settings', 'usage')";
    let row = client.query_one(query, &[&SETTING]).await.map_err(on(database, "reading its rights"))?;
    match (row.get(0), row.get(1), row.get(2)) {
        (true, true, true) => Ok(()),
        _ => Err(needed(format!(
            "GRANT ALTER SYSTEM ON PARAMETER {SETTING} TO {quoted}; GRANT EXECUTE ON FUNCTION \
             pg_catalog.pg_reload_conf() TO {quoted}; GRANT pg_monitor TO {quoted}"
        ))),
    }
}

/// Sets it, for all sessions of the server.
///
/// # Errors
///
/// What the server says.
pub async fn set(client: &Client, database: &str, rate: f64) -> Result<(), EngineError> {
    alter(client, database, &format!("SET {SETTING} = {}", quote_literal(&rate.to_string()))).await
}

/// Puts back what was before. To do so twice changes nothing.
///
/// # Errors
///
/// What the server says.
pub async fn restore(client: &Client, database: &str, before: &RateBefore) -> Result<(), EngineError> {
    match &before.by_alter_system {
        Some(setting) => {
            alter(client, database, &format!("SET {SETTING} = {}", quote_literal(setting))).await
        }
        None => alter(client, database, &format!("RESET {SETTING}")).await,
    }
}

async fn alter(client: &Client, database: &str, what: &str) -> Result<(), EngineError> {
    let during = "setting how much it logs";
    client.batch_execute(&format!("ALTER SYSTEM {what}")).await.map_err(on(database, during))?;
    client.batch_execute("SELECT pg_catalog.pg_reload_conf()").await.map_err(on(database, during))
}
