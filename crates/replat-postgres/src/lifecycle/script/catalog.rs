//! What recipes read from the catalogue.

use std::collections::BTreeMap;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, TableName};
use tokio_postgres::{Client, Row};

use super::{Kitchen, PLAN_AGAIN, refuse};
use crate::error::on;
use crate::lifecycle::bounds;

/// A table as the catalogue has it.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its identity.
    pub id: u32,
    /// Its name.
    pub name: TableName,
    /// Whether it is partitioned.
    pub cut: bool,
    /// Its bounds, as the catalogue prints them, if it is a partition.
    pub bound: Option<String>,
    /// The table it is a partition of.
    pub parent: Option<u32>,
    /// Whether a detach of it was broken off.
    pub pending: bool,
    /// Size of its own rows on disk and of all below it, in bytes.
    pub bytes: u64,
    /// All partitions below it, at any depth.
    pub below: Vec<TableName>,
    /// The tables above it whose partition it is, at any distance.
    pub above: Vec<TableName>,
}

impl Relation {
    /// Its bounds, if it is a partition.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precondition`] if they are not understood.
    pub fn bound(&self) -> Result<Option<Bound>, EngineError> {
        let parsed = self.bound.as_deref().map(bounds::parse).transpose();
        parsed.map_err(|error| refuse(format!("{}: {error}", self.name), "Report it with the bound."))
    }
}

const RELATION: &str = "SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', \
     pg_catalog.pg_get_expr(c.relpartbound, c.oid), i.inhparent, coalesce(i.inhdetachpending, false), \
     coalesce((SELECT sum(pg_catalog.pg_relation_size(t.relid)) FROM pg_catalog.pg_partition_tree(c.oid) t), \
       pg_catalog.pg_relation_size(c.oid))::bigint, b.schemas, b.tables, a.schemas, a.tables \
   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid AND c.relispartition \
     CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(s.nspname::text ORDER BY t.relid) AS schemas, \
         pg_catalog.array_agg(d.relname::text ORDER BY t.relid) AS tables \
       FROM pg_catalog.pg_partition_tree(c.oid) t JOIN pg_catalog.pg_class d ON d.oid = t.relid \
         JOIN pg_catalog.pg_namespace s ON s.oid = d.relnamespace WHERE t.relid <> c.oid) b \
     CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(s.nspname::text ORDER BY d.oid) AS schemas, \
         pg_catalog.array_agg(d.relname::text ORDER BY d.oid) AS tables \
       FROM pg_catalog.pg_partition_ancestors(c.oid) t(id) JOIN pg_catalog.pg_class d ON d.oid = t.id \
         JOIN pg_catalog.pg_namespace s ON s.oid = d.relnamespace WHERE t.id <> c.oid) a";

fn relation_of(row: &Row) -> Relation {
    let names = |at: usize| {
        let column = |at: usize| row.get::<_, Option<Vec<String>>>(at).unwrap_or_default();
        column(at).into_iter().zip(column(at + 1)).map(|(s, t)| TableName::new(s, t)).collect()
    };
    Relation {
        id: row.get(0),
        name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        cut: row.get(3),
        bound: row.get(4),
        parent: row.get(5),
        pending: row.get(6),
        bytes: u64::try_from(row.get::<_, i64>(7)).unwrap_or(0),
        below: names(8),
        above: names(10),
    }
}

/// The relation of this name, whatever it is; `None` if the name is free.
///
/// # Errors
///
/// What the driver says.
pub async fn by_name(kitchen: &Kitchen<'_>, name: &TableName) -> Result<Option<Relation>, EngineError> {
    let sql = format!("{RELATION} WHERE n.nspname = $1 AND c.relname = $2");
    let row = kitchen.client.query_opt(&sql, &[&name.schema, &name.name]).await;
    Ok(row.map_err(on(kitchen.database, "reading the catalogue"))?.as_ref().map(relation_of))
}

/// The relations of these names, whatever they are, in one look; names that are free have none.
///
/// # Errors
///
/// What the driver says.
pub async fn by_names(
    kitchen: &Kitchen<'_>,
    names: impl Iterator<Item = &TableName>,
) -> Result<BTreeMap<TableName, Relation>, EngineError> {
    let (schemas, tables): (Vec<&str>, Vec<&str>) =
        names.map(|name| (name.schema.as_str(), name.name.as_str())).unzip();
    let sql = format!(
        "{RELATION} WHERE (n.nspname::text, c.relname::text) IN \
           (SELECT w.s, w.t FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) w(s, t)) \
         AND c.relname = ANY ($2::text[]::name[])"
    );
    let rows = kitchen.client.query(&sql, &[&schemas, &tables]).await;
    let rows = rows.map_err(on(kitchen.database, "reading the catalogue"))?;
    Ok(rows.iter().map(relation_of).map(|found| (found.name.clone(), found)).collect())
}

/// The relation of this identity.
///
/// # Errors
///
/// What the driver says.
pub async fn by_id(kitchen: &Kitchen<'_>, id: u32) -> Result<Option<Relation>, EngineError> {
    let row = kitchen.client.query_opt(&format!("{RELATION} WHERE c.oid = $1"), &[&id]).await;
    Ok(row.map_err(on(kitchen.database, "reading the catalogue"))?.as_ref().map(relation_of))
}

/// The table that a unit speaks of, which must be there.
///
/// # Errors
///
/// [`EngineError::Precondition`] if it is not.
pub async fn there(kitchen: &Kitchen<'_>, name: &TableName) -> Result<Relation, EngineError> {
    let found = by_name(kitchen, name).await?;
    found.ok_or_else(|| refuse(format!("there is no table {name} any more"), PLAN_AGAIN))
}

/// A partitioned table of the unit's set, which must be the one that was planned for.
///
/// # Errors
///
/// [`EngineError::Precondition`] if the name means another table by now.
pub async fn parent_of_set(
    kitchen: &Kitchen<'_>,
    name: &TableName,
    set_id: u64,
) -> Result<Relation, EngineError> {
    let parent = there(kitchen, name).await?;
    let root: Option<u32> = kitchen
        .client
        .query_one(
            "SELECT pg_catalog.pg_partition_root($1::pg_catalog.oid::pg_catalog.regclass)::pg_catalog.oid",
            &[&parent.id],
        )
        .await
        .map_err(on(kitchen.database, "reading the catalogue"))?
        .get(0);
    if !parent.cut || root.map(u64::from) != Some(set_id) {
        return Err(refuse(format!("{name} is not the table that was planned for"), PLAN_AGAIN));
    }
    Ok(parent)
}

/// Tables by a query of their identities.
///
/// # Errors
///
/// What the driver says.
pub async fn tables(kitchen: &Kitchen<'_>, ids: &str, of: u32) -> Result<Vec<Relation>, EngineError> {
    let sql = format!("{RELATION} WHERE c.oid IN ({ids}) ORDER BY n.nspname, c.relname");
    let rows = kitchen.client.query(&sql, &[&of]).await;
    Ok(rows.map_err(on(kitchen.database, "reading the catalogue"))?.iter().map(relation_of).collect())
}

/// The default partition of a table.
///
/// # Errors
///
/// What the driver says.
pub async fn default_of(kitchen: &Kitchen<'_>, parent: u32) -> Result<Option<Relation>, EngineError> {
    let ids = "SELECT partdefid FROM pg_catalog.pg_partitioned_table WHERE partrelid = $1 AND partdefid <> 0";
    Ok(tables(kitchen, ids, parent).await?.pop())
}

/// All partitions below a table, at any depth, itself not.
///
/// # Errors
///
/// What the driver says.
pub async fn below(kitchen: &Kitchen<'_>, table: u32) -> Result<Vec<Relation>, EngineError> {
    tables(
        kitchen,
        "SELECT t.relid FROM pg_catalog.pg_partition_tree($1::pg_catalog.oid::pg_catalog.regclass) t \
         WHERE t.relid <> $1",
        table,
    )
    .await
}

/// The tables of a table's foreign keys.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Those it refers to.
    pub out: Vec<Relation>,
    /// Those that refer to it.
    pub into: Vec<Relation>,
}

impl Foreign {
    /// Whether there is any foreign key.
    pub fn any(&self) -> bool {
        !self.out.is_empty() || !self.into.is_empty()
    }
}

/// The foreign keys of a table, those that its parents brought included. Of a partitioned table on the other side only
/// the table itself is named; its partitions are in [`Relation::below`].
///
/// # Errors
///
/// What the driver says.
pub async fn foreign(kitchen: &Kitchen<'_>, table: u32) -> Result<Foreign, EngineError> {
    let out = "SELECT k.confrelid FROM pg_catalog.pg_constraint k WHERE k.conrelid = $1 AND k.contype = 'f' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint a WHERE a.oid = k.conparentid AND a.conrelid = k.conrelid)";
    let into = "SELECT k.conrelid FROM pg_catalog.pg_constraint k WHERE k.confrelid = $1 AND k.contype = 'f' \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint a WHERE a.oid = k.conparentid AND a.confrelid = k.confrelid)";
    Ok(Foreign { out: tables(kitchen, out, table).await?, into: tables(kitchen, into, table).await? })
}

/// Whether this role may lock `table` in a mode that keeps writers out.
///
/// # Errors
///
/// What the driver says.
pub async fn may_lock(client: &Client, database: &str, table: u32) -> Result<bool, EngineError> {
    let row = client
        .query_one(
            "SELECT pg_catalog.has_table_privilege($1::pg_catalog.oid, 'UPDATE, DELETE, TRUNCATE')",
            &[&table],
        )
        .await;
    Ok(row.map_err(on(database, "reading privileges"))?.get(0))
}
