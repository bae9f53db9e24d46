//! Surveys: what a database's catalogue says, what it would say once DDL has run, and whether a plan's expressions
//! are understood.
//!
//! Nothing here changes anything: every statement runs in a transaction that is rolled back. The session that is
//! given must not be in a transaction; when a call is cancelled half-way, or fails because the connection is gone,
//! the session is left inside one and must be closed.

mod across;
mod beside;
mod check;
mod ddl;
mod measure;
mod misfits;
mod rehearsal;
mod size;

use replat_engine::EngineError;
use replat_model::facts::DatabaseFacts;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::on;

pub use across::{AtTheEdge, crossings, crossings_within};
pub use beside::is_one_database;
pub use check::check_expressions;
pub use measure::{Sampled, measure};
pub use misfits::misfits;
pub use rehearsal::{Rehearsal, Target, rehearse};
pub use size::{slice_is_occupied, slice_size};

const CATALOGUE: &str = include_str!("survey/catalogue.sql");

/// What was being done, for errors.
const SURVEYING: &str = "a survey of the catalogue";

/// What the catalogue says about the database and about tables of `schema`: those named in `only`, or all.
///
/// `database` is the database's name in the spec, for errors. A table that does not exist is just not in the answer.
///
/// # Errors
///
/// [`EngineError`] as the server's refusal means it.
pub async fn survey(
    client: &Client,
    database: &str,
    schema: &str,
    only: Option<&[String]>,
) -> Result<DatabaseFacts, EngineError> {
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    client.batch_execute(begin).await.map_err(on(database, SURVEYING))?;
    let facts = read_facts(client, database, schema, only).await;
    undone(client, database, facts).await
}

/// Ends the transaction by a rollback, and hands on what came of it.
async fn undone<T>(
    client: &Client,
    database: &str,
    outcome: Result<T, EngineError>,
) -> Result<T, EngineError> {
    let undone = client.batch_execute("ROLLBACK").await;
    let value = outcome?;
    undone.map_err(on(database, "a rollback"))?;
    Ok(value)
}

/// The facts as the transaction that is under way sees them. Leaves `pg_catalog` alone in its search path.
async fn read_facts(
    client: &Client,
    database: &str,
    schema: &str,
    only: Option<&[String]>,
) -> Result<DatabaseFacts, EngineError> {
    let on = on(database, SURVEYING);
    let can_skip_triggers = can_skip_triggers(client).await.map_err(&on)?;
    // To compile the catalogue's one large query takes many times longer than to run it.
    client.batch_execute("SET LOCAL search_path = pg_catalog; SET LOCAL jit = off").await.map_err(&on)?;
    let row = client.query_one(CATALOGUE, &[&schema, &only, &can_skip_triggers]).await.map_err(&on)?;
    let text: String = row.try_get(0).map_err(&on)?;
    let odd = |error: serde_json::Error| EngineError::Refused {
        database: database.to_owned(),
        during: SURVEYING.to_owned(),
        why: format!("its answer is not understood: {error}"),
    };
    let mut facts: DatabaseFacts = serde_json::from_str(&text).map_err(odd)?;
    beside::views_as_tables(client, &mut facts).await.map_err(&on)?;
    Ok(facts)
}

/// Whether this role may write without firing ordinary triggers. Tried, since the right has several sources.
async fn can_skip_triggers(client: &Client) -> Result<bool, tokio_postgres::Error> {
    client.batch_execute("SAVEPOINT replat_try").await?;
    let tried = client.batch_execute("SET LOCAL session_replication_role = replica").await;
    client.batch_execute("ROLLBACK TO SAVEPOINT replat_try; RELEASE SAVEPOINT replat_try").await?;
    match tried {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(error) => Err(error),
    }
}
