//! Tables that are closed as a whole, to everybody but replat.

use replat_engine::EngineError;
use replat_model::ids::{PartitionId, Side};
use replat_model::plan::{Plan, TablePlan};
use tokio_postgres::Client;

use super::arm::TREE;
use super::{schema_of, superseded};
use crate::error::on;
use crate::slice::table_name;
use crate::sql::{quote_ident, quote_literal};

/// Why a whole table refuses statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// TRUNCATE does not fire row triggers and knows no partitions.
    Truncate,
    /// A reference table is read-only during a deployment.
    Reference,
    /// A table that was made for this deployment and is being filled.
    Loading,
}

impl Closed {
    /// What a partition's triggers of this kind are called.
    fn name(self, partition: &PartitionId) -> String {
        let letter = match self {
            Closed::Truncate => 't',
            Closed::Reference => 'r',
            Closed::Loading => 'l',
        };
        format!("zz_replat_{partition}_{letter}")
    }

    /// What a partition's triggers on tables that are closed as a whole can be called.
    pub(super) fn names(partition: &PartitionId) -> Vec<String> {
        [Closed::Reference, Closed::Loading].map(|why| why.name(partition)).into()
    }

    fn events(self) -> &'static str {
        match self {
            Closed::Truncate => "TRUNCATE",
            Closed::Reference | Closed::Loading => "INSERT OR UPDATE OR DELETE OR TRUNCATE",
        }
    }

    fn state(self) -> &'static str {
        match self {
            Closed::Truncate => "armed",
            Closed::Reference => "reference",
            Closed::Loading => "loading",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Closed::Truncate => "Delete the rows instead: TRUNCATE knows no partitions.",
            Closed::Reference => {
                "A reference table is read-only until the deployment is finished or aborted."
            }
            Closed::Loading => "The table is being filled and belongs to nobody yet.",
        }
    }
}

/// What makes a trigger on one relation, whose name is quoted, refuse statements.
pub(super) fn trigger_on(relation: &str, name: &str, partition: &PartitionId, why: Closed) -> String {
    format!(
        "CREATE OR REPLACE TRIGGER {} BEFORE {} ON {relation} FOR EACH STATEMENT \
         EXECUTE FUNCTION replat.guard_statement({}, '{}', {})",
        quote_ident(name),
        why.events(),
        quote_literal(partition.as_str()),
        why.state(),
        quote_literal(why.hint()),
    )
}

/// Makes sure that a table, and each of its leaves, is closed, for replication sessions, too.
///
/// # Errors
///
/// [`EngineError::Superseded`] if the partition's fence row is not this deployment's.
pub async fn close_table(
    client: &mut Client,
    plan: &Plan,
    deployment: &str,
    table: &TablePlan,
    side: Side,
    why: Closed,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let on = on(&plan.end(side).home.database, "closing a table");
    let (target, name) = (table_name(plan, table, side), why.name(&plan.partition));
    let missing = format!(
        "SELECT id::regclass::text FROM ({TREE}) AS r (id) WHERE NOT EXISTS \
           (SELECT 1 FROM pg_trigger t WHERE t.tgrelid = r.id AND t.tgname = $2 AND t.tgenabled = 'A')"
    );
    let missing = client.query(&missing, &[&target, &name]).await.map_err(&on)?;
    if missing.is_empty() {
        return Ok(());
    }
    let tx = client.transaction().await.map_err(&on)?;
    tx.batch_execute(&format!("SET LOCAL lock_timeout = {lock_timeout_ms}")).await.map_err(&on)?;
    for row in missing {
        let relation: &str = row.get(0);
        tx.batch_execute(&format!(
            "{}; ALTER TABLE {relation} ENABLE ALWAYS TRIGGER {}",
            trigger_on(relation, &name, &plan.partition, why),
            quote_ident(&name)
        ))
        .await
        .map_err(&on)?;
    }
    let mine = tx
        .query_opt(
            "SELECT 1 FROM replat.fence WHERE partition = $1 AND schema_name = $3 AND deployment = $2 FOR KEY SHARE",
            &[&plan.partition.as_str(), &deployment, &schema_of(plan, side)],
        )
        .await
        .map_err(&on)?;
    if mine.is_none() {
        return Err(superseded(plan, side));
    }
    tx.commit().await.map_err(&on)
}

/// Opens a table, and each of its leaves, that was closed for a reason which is over.
pub async fn reopen_table(
    client: &Client,
    plan: &Plan,
    table: &TablePlan,
    side: Side,
    why: Closed,
) -> Result<(), EngineError> {
    let on = on(&plan.end(side).home.database, "opening a table");
    let closed = format!(
        "SELECT t.tgrelid::regclass::text FROM pg_trigger t WHERE t.tgname = $2 AND t.tgrelid IN ({TREE})"
    );
    let name = why.name(&plan.partition);
    for row in client.query(&closed, &[&table_name(plan, table, side), &name]).await.map_err(&on)? {
        let relation: &str = row.get(0);
        client
            .batch_execute(&format!("DROP TRIGGER IF EXISTS {} ON {relation}", quote_ident(&name)))
            .await
            .map_err(&on)?;
    }
    Ok(())
}
