//! Foreign keys whose rows lie on both sides of a partition's edge.
//!
//! A foreign key that does not hold the partition key can lead from one partition into another, or from a table that
//! does not move into one that does. While all rows are in one database that is no matter; it is as soon as some of
//! them go.

use std::time::Duration;

use replat_engine::EngineError;
use replat_model::draft::Crossing;
use replat_model::ids::Side;
use replat_model::plan::{Plan, TablePlan};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row};

use crate::error::on;
use crate::slice::{dimension_column, members};
use crate::sql::quote_ident;

/// What was being done, for errors.
const LOOKING: &str = "looking for rows that refer across the partition's edge";

/// A foreign key of which at least one end is a table of the plan.
struct Link<'a> {
    name: String,
    /// Schema and table of either end.
    child: [String; 2],
    parent: [String; 2],
    child_columns: Vec<String>,
    parent_columns: Vec<String>,
    /// Whether the last of them is a period, which the other end's periods cover together.
    over_periods: bool,
    /// The tables of the plan that are its ends; `None` for one that does not move.
    child_plan: Option<&'a TablePlan>,
    parent_plan: Option<&'a TablePlan>,
}

/// What was found at the edge of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AtTheEdge {
    /// The foreign keys that lead across it.
    pub found: Vec<Crossing>,
    /// The names of those of which it was not found out in time, in one direction or both.
    pub unsettled: Vec<String>,
}

/// Every foreign key on blue by which a row of the partition refers to a row that stays, or a row that stays refers to
/// one of the partition, each with an example. Looks for one row a key and direction, for as long as it takes.
///
/// # Errors
///
/// What the server says.
pub async fn crossings(client: &Client, plan: &Plan) -> Result<Vec<Crossing>, EngineError> {
    Ok(looked_for(client, plan, None).await?.found)
}

/// The same, with so much time for each look. The session must not be in a transaction.
///
/// # Errors
///
/// What the server says.
pub async fn crossings_within(
    client: &Client,
    plan: &Plan,
    patience: Duration,
) -> Result<AtTheEdge, EngineError> {
    looked_for(client, plan, Some(patience)).await
}

async fn looked_for(
    client: &Client,
    plan: &Plan,
    patience: Option<Duration>,
) -> Result<AtTheEdge, EngineError> {
    let mut edge = AtTheEdge::default();
    for link in links(client, plan).await? {
        for leaves in [true, false] {
            match link.example(client, plan, leaves, patience).await? {
                Seen::Nothing => {}
                Seen::Row(example) => edge.found.push(Crossing {
                    key: link.name.clone(),
                    child: link.child.join("."),
                    parent: link.parent.join("."),
                    columns: link.child_columns.clone(),
                    leaves,
                    example,
                }),
                Seen::NotInTime if edge.unsettled.last() == Some(&link.name) => {}
                Seen::NotInTime => edge.unsettled.push(link.name.clone()),
            }
        }
    }
    Ok(edge)
}

/// What came of looking for a row.
enum Seen {
    Nothing,
    /// The values of the columns that refer.
    Row(String),
    NotInTime,
}

/// One row, or `Err` of a cancelled statement if the server did not find any in time.
async fn first_row(client: &Client, sql: &str, patience: Option<Duration>) -> Result<Option<Row>, Error> {
    let Some(patience) = patience else { return client.query_opt(sql, &[]).await };
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", patience.as_millis());
    client.batch_execute(&begin).await?;
    let row = client.query_opt(sql, &[]).await;
    client.batch_execute("ROLLBACK").await?;
    row
}

/// The foreign keys of the plan's tables and of those that point at them. A leaf counts as its root, also where only
/// leaves have the key.
async fn links<'a>(client: &Client, plan: &'a Plan) -> Result<Vec<Link<'a>>, EngineError> {
    let schema = &plan.blue.home.schema;
    let names: Vec<&str> = plan.tables.iter().map(|table| table.blue.name.as_str()).collect();
    let rows = client
        .query(
            "SELECT DISTINCT k.conname::text, cn.nspname::text, c.relname::text, pn.nspname::text, p.relname::text, \
               (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(k.conkey) WITH ORDINALITY u (n, place) \
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n), \
               (SELECT array_agg(a.attname::text ORDER BY u.place) FROM unnest(k.confkey) WITH ORDINALITY u (n, place) \
                  JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n), \
               coalesce((pg_catalog.to_jsonb(k) ->> 'conperiod')::boolean, false) \
             FROM pg_catalog.pg_constraint k \
             JOIN pg_catalog.pg_class c \
               ON c.oid = coalesce(pg_catalog.pg_partition_root(k.conrelid)::oid, k.conrelid) \
             JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace \
             JOIN pg_catalog.pg_class p \
               ON p.oid = coalesce(pg_catalog.pg_partition_root(k.confrelid)::oid, k.confrelid) \
             JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
             WHERE k.contype = 'f' AND k.conparentid = 0 \
               AND ((cn.nspname = $1 AND c.relname = ANY ($2)) OR (pn.nspname = $1 AND p.relname = ANY ($2))) \
             ORDER BY 2, 3, 1",
            &[schema, &names],
        )
        .await
        .map_err(on(&plan.blue.home.database, LOOKING))?;
    let planned = |table_schema: &str, name: &str| {
        plan.tables.iter().find(|table| table_schema == schema && table.blue.name == name)
    };
    Ok(rows
        .iter()
        .map(|row| {
            let text = |n: usize| row.get::<_, &str>(n);
            Link {
                name: text(0).to_owned(),
                child: [text(1).to_owned(), text(2).to_owned()],
                parent: [text(3).to_owned(), text(4).to_owned()],
                child_plan: planned(text(1), text(2)),
                parent_plan: planned(text(3), text(4)),
                child_columns: row.get(5),
                parent_columns: row.get(6),
                over_periods: row.get(7),
            }
        })
        .collect())
}

impl Link<'_> {
    /// Whether both ends have one partition, since the foreign key holds the partition key.
    fn holds_the_partition_key(&self, plan: &Plan) -> bool {
        let (Some(child), Some(parent)) = (self.child_plan, self.parent_plan) else { return false };
        if parent.blue_rows.is_some() || child.blue_rows.is_some() {
            return false;
        }
        plan.dimensions.iter().all(|dimension| {
            let name = |table| dimension_column(table, Side::Blue, &dimension.column);
            self.child_columns
                .iter()
                .zip(&self.parent_columns)
                .any(|(from, to)| from == name(child) && to == name(parent))
        })
    }

    /// A row that refers across the edge: one of the partition's that refers to one that stays if it `leaves`, else
    /// one that stays and refers to one of the partition's.
    async fn example(
        &self,
        client: &Client,
        plan: &Plan,
        leaves: bool,
        patience: Option<Duration>,
    ) -> Result<Seen, EngineError> {
        // Where the other end is no table of the plan, the catalogue alone has said it (FK_OUTSIDE, FK_INTO): rows that
        // leave go to whatever is on green.
        let (Some(inside), other) = (match leaves {
            true => (self.child_plan, self.parent_plan),
            false => (self.parent_plan, self.child_plan),
        }) else {
            return Ok(Seen::Nothing);
        };
        if self.holds_the_partition_key(plan) || (leaves && other.is_none()) {
            return Ok(Seen::Nothing);
        }
        let (own, stranger) = if leaves { ("c.", "p.") } else { ("p.", "c.") };
        let stays = match other {
            Some(table) => format!("({}) IS NOT TRUE", moving(plan, table, stranger)),
            None => "true".into(),
        };
        let matching: Vec<String> = self
            .child_columns
            .iter()
            .zip(&self.parent_columns)
            .enumerate()
            .map(|(n, (from, to))| {
                let is_period = self.over_periods && n + 1 == self.child_columns.len();
                let operator = if is_period { "OPERATOR(pg_catalog.&&)" } else { "=" };
                format!("c.{} {operator} p.{}", quote_ident(from), quote_ident(to))
            })
            .collect();
        let shown: Vec<String> =
            self.child_columns.iter().map(|column| format!("c.{}::text", quote_ident(column))).collect();
        let sql = format!(
            "SELECT ARRAY[{}] FROM {} c JOIN {} p ON {} WHERE {} AND {stays} LIMIT 1",
            shown.join(", "),
            qualified(&self.child),
            qualified(&self.parent),
            matching.join(" AND "),
            moving(plan, inside, own),
        );
        match first_row(client, &sql, patience).await {
            Ok(None) => Ok(Seen::Nothing),
            Ok(Some(row)) => Ok(Seen::Row(row.get::<_, Vec<String>>(0).join(", "))),
            Err(error) if patience.is_some() && error.code() == Some(&SqlState::QUERY_CANCELED) => {
                Ok(Seen::NotInTime)
            }
            Err(error) => Err(on(&plan.blue.home.database, LOOKING)(error)),
        }
    }
}

/// That a row of a table of blue goes over, to whichever table.
fn moving(plan: &Plan, table: &TablePlan, row: &str) -> String {
    let ways: Vec<String> = plan
        .tables
        .iter()
        .filter(|other| other.blue.name == table.blue.name)
        .map(|way| format!("({})", members(plan, way, Side::Blue, row)))
        .collect();
    format!("({})", ways.join(" OR "))
}

fn qualified([schema, table]: &[String; 2]) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(table))
}
