//! How much of a table belongs to a partition.

use replat_engine::EngineError;
use replat_model::draft::SliceSize;
use replat_model::facts::TableFacts;
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::error::on;
use crate::sql::quote_ident;

/// The rows of `table` that satisfy `predicate`, as the server's planner estimates them, and their share of the
/// table's bytes. Reads statistics only.
///
/// `database` is the database's name in the spec, for errors.
///
/// # Errors
///
/// What the server says, for example to a predicate that it does not understand.
pub async fn slice_size(
    client: &Client,
    database: &str,
    table: &TableFacts,
    predicate: &str,
) -> Result<SliceSize, EngineError> {
    let during = format!("estimating the size of {}", table.name);
    let explain = format!("EXPLAIN (FORMAT JSON) SELECT FROM {} WHERE {predicate}", name_of(table));
    let answer = client.simple_query(&explain).await.map_err(on(database, &during))?;
    let rows = estimated_rows(&answer).ok_or_else(|| EngineError::Refused {
        database: database.to_owned(),
        during,
        why: "its plan says no number of rows".to_owned(),
    })?;
    Ok(SliceSize { rows, bytes: share(table, rows) })
}

fn estimated_rows(answer: &[SimpleQueryMessage]) -> Option<u64> {
    let text: String = answer
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    let plan: Value = serde_json::from_str(&text).ok()?;
    // The planner writes whole numbers, far below where a floating-point number loses one.
    plan.get(0)?.get("Plan")?.get("Plan Rows")?.as_f64().map(|rows| rows.max(0.0) as u64)
}

/// `rows` times the table's bytes a row.
fn share(table: &TableFacts, rows: u64) -> u64 {
    if table.rows_estimate == 0 {
        // Never analyzed: the whole table is the only bound that there is.
        return table.bytes;
    }
    let share = u128::from(table.bytes) * u128::from(rows) / u128::from(table.rows_estimate);
    u64::try_from(share).unwrap_or(u64::MAX).min(table.bytes)
}

/// Whether any row of `table` satisfies `predicate`. Looks for one row; without an index that is a whole scan.
///
/// `database` is the database's name in the spec, for errors.
///
/// # Errors
///
/// What the server says.
pub async fn slice_is_occupied(
    client: &Client,
    database: &str,
    table: &TableFacts,
    predicate: &str,
) -> Result<bool, EngineError> {
    let during = format!("looking for rows in {}", table.name);
    let query = format!("SELECT EXISTS (SELECT FROM {} WHERE {predicate})", name_of(table));
    let row = client.query_one(&query, &[]).await;
    row.and_then(|row| row.try_get(0)).map_err(on(database, &during))
}

fn name_of(table: &TableFacts) -> String {
    format!("{}.{}", quote_ident(&table.schema), quote_ident(&table.name))
}
