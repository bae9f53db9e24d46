//! Whether queries touch as few partitions as they may, by EXPLAIN.

use std::collections::BTreeSet;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::health::{Finding, Severity, codes};
use replat_model::lifecycle::policy::PruneQuery;
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::ledger::quoted;
use super::quiet::SETTINGS;
use crate::error::on;

/// How long a query may take to plan. Unit: milliseconds.
const PLAN_MS: u32 = 10_000;

/// What is wrong with the queries that the policy names. Nothing is run: EXPLAIN without ANALYZE, read-only.
///
/// # Errors
///
/// What the driver says; a query that the server refuses is a finding.
pub async fn prunes(
    client: &Client,
    database: &str,
    set: &TableName,
    queries: &[PruneQuery],
) -> Result<Vec<Finding>, EngineError> {
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let failed = on(database, "explaining the policy's queries");
    let leaves = leaves(client, set).await.map_err(&failed)?;
    let mut findings = Vec::new();
    for query in queries {
        let begin = format!(
            "BEGIN READ ONLY; {SETTINGS} SET LOCAL statement_timeout = {PLAN_MS}; SET LOCAL lock_timeout = 50"
        );
        client.batch_execute(&begin).await.map_err(&failed)?;
        let explained = explain(client, query).await;
        client.batch_execute("ROLLBACK").await.map_err(&failed)?;
        let touched = match explained {
            Ok(plan) => touched(&plan).intersection(&leaves).count(),
            Err(error) => match error.as_db_error() {
                Some(server) => {
                    let remedy = format!(
                        "Correct the query. Tables need their schemas, as in {}, since nothing else says which are meant.",
                        quoted(set)
                    );
                    let what = format!("cannot be explained: {}", server.message());
                    findings.push(Finding { remedy, ..finding(set, query, what) });
                    continue;
                }
                None => return Err(failed(error)),
            },
        };
        let at_most = query.at_most.unwrap_or(1) as usize;
        if touched > at_most {
            let what = format!("touches {touched} of {} partitions, {at_most} are allowed", leaves.len());
            findings.push(finding(set, query, what));
        }
    }
    Ok(findings)
}

fn finding(set: &TableName, query: &PruneQuery, what: String) -> Finding {
    Finding {
        severity: if query.veto { Severity::Error } else { Severity::Warning },
        code: codes::PRUNING.into(),
        set: Some(set.clone()),
        what: format!("the query `{}` {what}", query.sql),
        remedy: "Compare the partition key with constants of its own type; a function of it prunes nothing."
            .into(),
    }
}

async fn leaves(
    client: &Client,
    set: &TableName,
) -> Result<BTreeSet<(String, String)>, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) t \
               JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE t.isleaf",
            &[&quoted(set)],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn explain(client: &Client, query: &PruneQuery) -> Result<Value, tokio_postgres::Error> {
    // A prepared statement is one statement: a second one behind a semicolon is refused.
    let sql = format!("EXPLAIN (VERBOSE, FORMAT JSON) {}", query.sql.trim().trim_end_matches(';'));
    client.prepare(&sql).await?;
    let answer = client.simple_query(&sql).await?;
    let text = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null))
}

/// The tables that a plan reads or writes.
fn touched(plan: &Value) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut left = vec![plan];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(all) => left.extend(all),
            Value::Object(fields) => {
                let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
                found.extend(text("Schema").zip(text("Relation Name")));
                left.extend(fields.values());
            }
            _ => {}
        }
    }
    found
}
