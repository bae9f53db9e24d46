//! The leaves of natively partitioned tables, which come and go while a deployment runs.
//!
//! A leaf comes with its rows and goes with them, and the log says nothing of that. So whoever has compared both sides
//! remembers what their trees were then, and believes the comparison only as long as they are so. A leaf that is
//! detached is out of reach of the stream and of the guard; what is done with it is for a person to say.

use replat_engine::EngineError;
use replat_model::ids::Side;
use replat_model::plan::Plan;
use tokio_postgres::Client;

use crate::copy::copied_tables;
use crate::error::on;
use crate::slice::table_name;

/// What hangs under the plan's tables on one side. Two are equal if nothing was attached or detached in between, also
/// if it came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trees(String);

impl Trees {
    /// Whether no table is a partitioned one; that cannot change.
    pub fn are_bare(&self) -> bool {
        self.0.is_empty()
    }
}

/// The trees on `side` as they are now.
pub async fn trees(client: &Client, plan: &Plan, side: Side) -> Result<Trees, EngineError> {
    // A leaf that went and came again has a new row in the catalogue, and that another transaction.
    let row = client
        .query_one(
            "SELECT coalesce(string_agg(format('%s<%s@%s', t.relid::oid, t.parentrelid::oid, i.xmin), ' ' \
                                        ORDER BY t.relid::oid), '') \
             FROM unnest($1::text[]) AS r (name) CROSS JOIN LATERAL pg_partition_tree(r.name::regclass) t \
             LEFT JOIN pg_inherits i ON i.inhrelid = t.relid AND i.inhparent = t.parentrelid",
            &[&names(plan, side)],
        )
        .await
        .map_err(on(&plan.end(side).home.database, "looking at the leaves"))?;
    Ok(Trees(row.get(0)))
}

/// Makes sure that no leaf was detached on `side` which was there when the tables were guarded.
///
/// # Errors
///
/// [`EngineError::Precondition`] if one was, and is a table of its own now. One that was dropped is gone with its rows,
/// which a comparison finds.
pub async fn none_detached(
    client: &Client,
    plan: &Plan,
    deployment: &str,
    side: Side,
) -> Result<(), EngineError> {
    let home = &plan.end(side).home;
    let row = client
        .query_opt(
            "SELECT l.leaf::regclass::text, l.tbl::regclass::text FROM replat.leaf l \
             JOIN pg_class c ON c.oid = l.leaf \
             WHERE l.deployment = $1 AND l.tbl = ANY ($2::text[]::regclass[]) \
               AND NOT EXISTS (SELECT 1 FROM pg_partition_tree(l.tbl) t WHERE t.relid = l.leaf) \
             ORDER BY 1 LIMIT 1",
            &[&deployment, &names(plan, side)],
        )
        .await
        .map_err(on(&home.database, "looking for leaves that were detached"))?;
    let Some(row) = row else { return Ok(()) };
    let (leaf, table): (&str, &str) = (row.get(0), row.get(1));
    Err(EngineError::Precondition {
        what: format!(
            "{leaf} on {} was detached from {table} while the deployment runs: its rows are out of reach of the \
             stream and of the guard",
            home.database
        ),
        remedy: format!(
            "Attach {leaf} to {table} again, after which everything is compared anew; or abort the deployment, and plan \
             it without that table's rows."
        ),
    })
}

fn names(plan: &Plan, side: Side) -> Vec<String> {
    copied_tables(plan).map(|table| table_name(plan, table, side)).collect()
}
