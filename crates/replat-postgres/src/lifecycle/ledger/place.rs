//! Where the tables lie: how they are found, made and removed.

use replat_engine::EngineError;
use tokio_postgres::Client;

use super::{Ledger, MARK, PARTS};
use crate::error::on;
use crate::sql::{quote_ident, quote_literal};

/// The schema that is replat's own, where it may be had.
const OWN: &str = "replat";
/// Serialises the making of the tables.
const MAKING: i64 = 7_311_340_948_553;

/// Finds the tables, if they are there, whether or not this role may read them.
///
/// Only tables of a role that this session already trusts count: its own role or one it is a member of, the database's
/// owner, or a superuser. Anybody else's table of that name could run their code as ours.
///
/// # Errors
///
/// [`EngineError`] if the catalogue cannot be read.
pub async fn find(client: &Client) -> Result<Option<Ledger>, EngineError> {
    Ok(located(client).await?.map(|(ledger, _)| ledger))
}

/// Finds the tables, if they are there, to read them.
///
/// # Errors
///
/// [`EngineError`] if the catalogue cannot be read; [`EngineError::Precondition`] if this role may not read them.
pub async fn readable(client: &Client) -> Result<Option<Ledger>, EngineError> {
    match located(client).await? {
        None => Ok(None),
        Some((ledger, None)) => Ok(Some(ledger)),
        Some((ledger, Some(role))) => {
            let (schema, role) = (quote_ident(&ledger.schema), quote_ident(&role));
            Err(EngineError::Precondition {
                what: format!("the role {role} may not read replat's own records in the schema {schema}"),
                remedy: format!(
                    "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO \
                     {role}; or use the role that made them, which may also write them."
                ),
            })
        }
    }
}

/// The tables, and this role if it may not read them.
async fn located(client: &Client) -> Result<Option<(Ledger, Option<String>)>, EngineError> {
    let row = client
        .query_opt(
            "SELECT n.nspname::text, pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                 AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), current_user::text \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_catalog.pg_roles o ON o.oid = c.relowner \
               JOIN pg_catalog.pg_roles me ON me.rolname = current_user \
             WHERE c.relname = $1 AND c.relkind = 'r' \
               AND pg_catalog.obj_description(c.oid, 'pg_class') = $2 \
               AND (o.oid = me.oid OR o.rolsuper \
                 OR o.oid = (SELECT datdba FROM pg_catalog.pg_database \
                             WHERE datname = pg_catalog.current_database()) \
                 OR (NOT me.rolsuper AND pg_catalog.pg_has_role(o.oid, 'MEMBER'))) \
             ORDER BY n.nspname <> 'replat', c.oid LIMIT 1",
            &[&PARTS, &MARK],
        )
        .await
        .map_err(on("the database", "looking for replat's own tables"))?;
    Ok(row.map(|row| {
        let role = (!row.get::<_, bool>(1)).then(|| row.get(2));
        (Ledger { schema: row.get(0) }, role)
    }))
}

/// Finds the tables or makes them: in the schema `replat` if this role can have it, else in `fallback`.
///
/// # Errors
///
/// [`EngineError::Precondition`] if the role may make tables in neither.
pub async fn ensure(client: &Client, fallback: &str) -> Result<Ledger, EngineError> {
    if let Some(ledger) = readable(client).await? {
        return Ok(ledger);
    }
    let failed = on("the database", "making replat's own tables");
    let rights = client
        .query_one(
            "SELECT CASE WHEN pg_catalog.to_regnamespace('replat') IS NULL \
                      THEN pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
                      ELSE pg_catalog.has_schema_privilege('replat', 'CREATE') END, \
                    pg_catalog.to_regnamespace('replat') IS NULL, \
                    coalesce((SELECT pg_catalog.has_schema_privilege(oid, 'CREATE') \
                              FROM pg_catalog.pg_namespace WHERE nspname = $1), false)",
            &[&fallback],
        )
        .await
        .map_err(&failed)?;
    let (own, missing, beside): (bool, bool, bool) = (rights.get(0), rights.get(1), rights.get(2));
    let schema = match (own, beside) {
        (true, _) => OWN,
        (false, true) => fallback,
        (false, false) => {
            return Err(EngineError::Precondition {
                what: format!(
                    "this role may make tables neither in a schema replat nor in schema {fallback}"
                ),
                remedy: format!("GRANT CREATE ON SCHEMA {} to the role of replat.", quote_ident(fallback)),
            });
        }
    };
    let make = if own && missing { "CREATE SCHEMA IF NOT EXISTS replat;" } else { "" };
    let ledger = Ledger { schema: schema.to_owned() };
    // Two runs may begin at once; CREATE … IF NOT EXISTS alone can then fail on the catalogue's indexes.
    client
        .batch_execute(&format!(
            "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock({MAKING}); {make} {} COMMIT",
            ledger.tables()
        ))
        .await
        .map_err(&failed)?;
    Ok(ledger)
}

/// The statements that remove the tables, in order, and the schema `replat` if nothing else is in it; none if there
/// are no tables. Whether this role may run them is not asked.
///
/// # Errors
///
/// [`EngineError`] if the catalogue cannot be read.
pub async fn removal(client: &Client) -> Result<Vec<String>, EngineError> {
    let Some(ledger) = find(client).await? else { return Ok(Vec::new()) };
    // What deployments keep in the schema is theirs.
    let rows = client
        .query(
            "SELECT c.relname::text, NOT EXISTS (SELECT FROM pg_catalog.pg_proc f WHERE f.pronamespace = n.oid) \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_class o WHERE o.relnamespace = n.oid \
                 AND o.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') \
                 AND pg_catalog.obj_description(o.oid, 'pg_class') IS DISTINCT FROM $2) FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relkind = 'r' \
               AND pg_catalog.obj_description(c.oid, 'pg_class') = $2 ORDER BY 1",
            &[&ledger.schema, &MARK],
        )
        .await
        .map_err(on("the database", "looking for replat's own tables"))?;
    let mut statements: Vec<String> =
        rows.iter().map(|row| format!("DROP TABLE IF EXISTS {}", ledger.table(row.get(0)))).collect();
    if ledger.schema == OWN && rows.iter().all(|row| row.get(1)) {
        statements.push(format!("DROP SCHEMA IF EXISTS {}", quote_ident(&ledger.schema)));
    }
    Ok(statements)
}

impl Ledger {
    /// The statements that make the tables. Running them again changes nothing.
    pub fn tables(&self) -> String {
        let table = |name: &str, columns: &str| {
            let full = self.table(name);
            format!(
                "CREATE TABLE IF NOT EXISTS {full} ({columns}); REVOKE ALL ON {full} FROM PUBLIC; \
                 COMMENT ON TABLE {full} IS {};",
                quote_literal(MARK)
            )
        };
        [
            table(
                PARTS,
                "relation oid PRIMARY KEY, schema_name text NOT NULL, table_name text NOT NULL, \
                 set_id oid NOT NULL, set_schema text NOT NULL, set_name text NOT NULL, parent_id oid NOT NULL, \
                 parent_schema text NOT NULL, parent_name text NOT NULL, bound jsonb NOT NULL, \
                 origin text NOT NULL, state text NOT NULL, since timestamptz NOT NULL, drop_after timestamptz, \
                 archive_path text, archive_sha256 text, legal_hold boolean NOT NULL DEFAULT false, unit text NOT NULL",
            ),
            table(
                "lifecycle_unit",
                "id text, run text, set_schema text NOT NULL, set_name text NOT NULL, kind text NOT NULL, \
                 work jsonb NOT NULL, state text NOT NULL, begun_at timestamptz NOT NULL, ended_at timestamptz, \
                 outcome jsonb, why text, progress jsonb, PRIMARY KEY (id, run)",
            ),
            table(
                "lifecycle_outbox",
                "version bigint PRIMARY KEY, at timestamptz NOT NULL, unit text NOT NULL, \
                 set_schema text NOT NULL, set_name text NOT NULL, change jsonb NOT NULL",
            ),
            table(
                "lifecycle_sample",
                "set_id oid NOT NULL, at timestamptz NOT NULL, inserted bigint NOT NULL, rows bigint NOT NULL, \
                 bytes bigint NOT NULL, high text",
            ),
            table(
                "lifecycle_run",
                "id text PRIMARY KEY, began_at timestamptz NOT NULL, ended_at timestamptz, converged boolean, \
                 fingerprint text, policy text, summary jsonb",
            ),
        ]
        .concat()
    }
}
