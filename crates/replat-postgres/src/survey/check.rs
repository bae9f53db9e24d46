//! Whether both servers understand a plan's expressions: each is prepared, none is run.

use replat_engine::EngineError;
use replat_model::draft::Finding;
use replat_model::ids::Side;
use replat_model::plan::{ColumnPlan, Plan, RowFilter, TablePlan, TableShape};
use replat_model::preflight::Check;
use tokio_postgres::Client;

use super::{ddl, undone};
use crate::error::on;
use crate::merge::assigned;
use crate::slice::{satisfies, table_name};
use crate::sql::quote_ident;

/// What was being done, for errors.
const CHECKING: &str = "checking expressions";

/// What the server on `side` does not understand of the plan's expressions: of those over its own rows, which the
/// copy and the comparison use, and of those over the other side's rows as they arrive in the stream.
///
/// On green the plan's DDL is run first, and rolled back with everything else.
///
/// # Errors
///
/// [`EngineError`] if the server could not be asked at all; see also [`super::rehearse`].
pub async fn check_expressions(
    client: &Client,
    side: Side,
    plan: &Plan,
) -> Result<Vec<Finding>, EngineError> {
    let database = &plan.end(side).home.database;
    client.batch_execute("BEGIN").await.map_err(on(database, CHECKING))?;
    let outcome = check_inside(client, side, plan).await;
    undone(client, database, outcome).await
}

async fn check_inside(client: &Client, side: Side, plan: &Plan) -> Result<Vec<Finding>, EngineError> {
    let home = &plan.end(side).home;
    if side == Side::Green && !plan.ddl.is_empty() {
        ddl::run(client, &home.database, &home.schema, &plan.ddl).await?;
    }
    // As in the sessions that copy and apply.
    let path = format!("SET LOCAL search_path = {}, pg_catalog", quote_ident(&home.schema));
    client.batch_execute(&path).await.map_err(on(&home.database, CHECKING))?;
    let mut findings = Vec::new();
    for table in plan.tables.iter().chain(&plan.references) {
        for question in questions(plan, table, side) {
            if let Some(words) = refused(client, &home.database, &question.sql).await? {
                findings.push(question.finding(table, side, &words));
            }
        }
        for (from, rows, sql) in conditions(plan, table, side) {
            if let Some(words) = refused(client, &home.database, &sql).await? {
                let what = format!("{side} does not understand the condition {}: {words}", rows.condition);
                let remedy = "Correct the condition; it may use only what both servers have.";
                findings.push(Finding::new(Check::Expression, what, remedy).at(&table.shape(from).name));
            }
        }
    }
    Ok(findings)
}

/// One expression, in the place where it will be used.
struct Question<'a> {
    column: &'a ColumnPlan,
    from: Side,
    sql: String,
}

impl Question<'_> {
    fn finding(&self, table: &TablePlan, asked: Side, words: &str) -> Finding {
        let target = table.shape(self.from.other());
        let rows = if self.from == asked { "over its own rows" } else { "over rows of the stream" };
        Finding::new(
            Check::Expression,
            format!("{asked} does not understand {} {rows}: {words}", self.column.expression),
            "Correct the expression; it may use only what both servers have.",
        )
        .at(&target.name)
        .column(&self.column.target)
    }
}

fn questions<'a>(plan: &Plan, table: &'a TablePlan, asked: Side) -> Vec<Question<'a>> {
    let own = table_name(plan, table, asked);
    let sent = table.columns_from(asked).iter().map(|column| Question {
        column,
        from: asked,
        sql: question(&format!("({})::{}", column.expression, column.wire_type), &own),
    });
    let other = asked.other();
    let staged = staged(table.shape(other));
    let received = table.columns_from(other).iter().map(|column| Question {
        column,
        from: other,
        sql: question(&assigned(column), &staged),
    });
    sent.chain(received).collect()
}

/// Which rows take part, where the condition will be used.
fn conditions<'a>(
    plan: &Plan,
    table: &'a TablePlan,
    asked: Side,
) -> impl Iterator<Item = (Side, &'a RowFilter, String)> {
    let places =
        [(asked, table_name(plan, table, asked)), (asked.other(), staged(table.shape(asked.other())))];
    places.into_iter().filter_map(move |(from, rows)| {
        let filter = table.rows_on(from)?;
        Some((from, filter, format!("SELECT FROM {rows} WHERE {}", satisfies(filter, ""))))
    })
}

/// A condition can hold no aggregate, no window and no function that makes rows, so those are refused here.
fn question(value: &str, rows: &str) -> String {
    format!("SELECT {value} FROM {rows} WHERE ({value}) IS NULL")
}

/// A row of a table as it arrives in the stream: built-in types, and generated columns made again.
fn staged(shape: &TableShape) -> String {
    let carried = shape.columns.iter().filter(|column| column.generated.is_none());
    let carried: Vec<String> =
        carried.map(|c| format!("NULL::{} AS {}", c.stage_type, quote_ident(&c.name))).collect();
    let generated: Vec<String> = shape
        .columns
        .iter()
        .filter_map(|c| Some(format!(", ({}) AS {}", c.generated.as_ref()?, quote_ident(&c.name))))
        .collect();
    format!("(SELECT *{} FROM (SELECT {}) g) s", generated.concat(), carried.join(", "))
}

/// The server's words, if it refuses to prepare the statement.
async fn refused(client: &Client, database: &str, sql: &str) -> Result<Option<String>, EngineError> {
    let on = on(database, CHECKING);
    client.batch_execute("SAVEPOINT replat_try").await.map_err(&on)?;
    let prepared = client.prepare(sql).await;
    client
        .batch_execute("ROLLBACK TO SAVEPOINT replat_try; RELEASE SAVEPOINT replat_try")
        .await
        .map_err(&on)?;
    let Err(error) = prepared else { return Ok(None) };
    match error.as_db_error() {
        Some(server) => Ok(Some(server.message().to_owned())),
        None => Err(on(error)),
    }
}
