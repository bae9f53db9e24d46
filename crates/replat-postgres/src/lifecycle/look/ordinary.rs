//! Ordinary tables, as a conversion needs to know them, and what was done to shapes before.

use std::collections::{BTreeMap, HashSet};

use replat_engine::EngineError;
use replat_engine::lifecycle::OrdinaryLook;
use replat_model::lifecycle::facts::{
    ColumnFacts, KeySpan, OrdinaryTable, PastUnit, Reference, TableKind, TableName, UniqueFacts,
};
use tokio_postgres::Row;

use super::{Reading, records};
use crate::lifecycle::mirror::named;
use crate::lifecycle::reshape::ties::HINDRANCES;
use crate::sql::quote_ident;

/// How long a look at the least and the greatest key may take: without an index it reads the table.
const SPAN_MS: u32 = 10 * 60 * 1000;
/// How many units are remembered.
const HISTORY: i64 = 2_000;

/// The tables that were asked for, as far as they are there.
pub(super) async fn read(
    reading: &Reading<'_>,
    wanted: &[OrdinaryLook],
) -> Result<Vec<OrdinaryTable>, EngineError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = wanted.iter().map(|look| look.table.to_string()).collect();
    let mut tables = Vec::new();
    for row in reading.query(include_str!("ordinary.sql"), &[&names]).await? {
        let mut table = table(reading, &row).await?;
        let asked = wanted.iter().find(|look| look.table == table.table);
        if table.kind == TableKind::Ordinary && table.lacking.is_empty() {
            for column in asked.map_or(&[][..], |look| &look.columns) {
                if table.columns.contains_key(column) {
                    let span = span(reading, &table.table, column).await?;
                    table.spans.insert(column.clone(), span);
                }
            }
        }
        tables.push(table);
    }
    Ok(tables)
}

async fn table(reading: &Reading<'_>, row: &Row) -> Result<OrdinaryTable, EngineError> {
    let id: u32 = reading.get(row, "oid")?;
    let name =
        TableName::new(reading.get::<String>(row, "schema_name")?, reading.get::<String>(row, "table_name")?);
    let parent: Option<Vec<String>> = reading.get(row, "parent")?;
    let parent = parent.and_then(|parent| match parent.as_slice() {
        [schema, name] => Some(TableName::new(schema.clone(), name.clone())),
        _ => None,
    });
    let kind: String = reading.get(row, "kind")?;
    let kind = match (kind.as_str(), parent) {
        (_, Some(parent)) => TableKind::Child(parent),
        ("p", None) => TableKind::Partitioned,
        ("v", _) => TableKind::Other("a view".into()),
        ("m", _) => TableKind::Other("a materialized view".into()),
        ("f", _) => TableKind::Other("a foreign table".into()),
        _ if reading.get::<bool>(row, "inherited")? => TableKind::Inherited,
        _ if reading.get::<bool>(row, "temporary")? => TableKind::Other("a temporary table".into()),
        _ => TableKind::Ordinary,
    };
    let me = quote_ident(&reading.get::<String>(row, "me")?);
    let mut lacking = Vec::new();
    if !reading.get::<bool>(row, "owns")? {
        lacking.push(format!("GRANT {} TO {me}", quote_ident(&reading.get::<String>(row, "owner")?)));
    }
    if !reading.get::<bool>(row, "may_create")? {
        lacking.push(format!("GRANT CREATE ON SCHEMA {} TO {me}", quote_ident(&name.schema)));
    }
    let rows: Option<i64> = reading.get(row, "rows")?;
    Ok(OrdinaryTable {
        id: u64::from(id),
        lacking,
        columns: columns(reading, id).await?,
        rows: rows.and_then(|rows| u64::try_from(rows).ok()),
        bytes: u64::try_from(reading.get::<i64>(row, "bytes")?).unwrap_or(0),
        relations: u32::try_from(reading.get::<i32>(row, "relations")?).unwrap_or(1),
        spans: BTreeMap::new(),
        unique: unique(reading, id).await?,
        referenced_by: referenced_by(reading, id).await?,
        hindrances: match kind {
            TableKind::Ordinary => hindrances(reading, id).await?,
            _ => Vec::new(),
        },
        kind,
        table: name,
    })
}

async fn columns(reading: &Reading<'_>, id: u32) -> Result<BTreeMap<String, ColumnFacts>, EngineError> {
    let sql = "
        select attname::text as name, format_type(atttypid, atttypmod) as type_name, not attnotnull as nullable,
               attgenerated <> '' as generated
          from pg_attribute
         where attrelid = $1 and attnum > 0 and not attisdropped";
    let mut columns = BTreeMap::new();
    for row in reading.query(sql, &[&id]).await? {
        let column = ColumnFacts {
            type_name: reading.get(&row, "type_name")?,
            nullable: reading.get(&row, "nullable")?,
            generated: reading.get(&row, "generated")?,
        };
        columns.insert(reading.get(&row, "name")?, column);
    }
    Ok(columns)
}

async fn unique(reading: &Reading<'_>, id: u32) -> Result<Vec<UniqueFacts>, EngineError> {
    // What a conversion that was broken off has built is its own.
    let sql = "
        select i.relname::text as name, x.indisprimary as main,
               case when not exists (select from generate_series(0, x.indnkeyatts - 1) at where x.indkey[at] = 0)
                    then array(select a.attname::text
                                 from generate_series(0, x.indnkeyatts - 1) at
                                 join pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[at]
                                order by at) end as columns
          from pg_index x
          join pg_class i on i.oid = x.indexrelid
         where x.indrelid = $1 and x.indisunique and i.relname !~ '^replat_.*_key$'
         order by x.indisprimary desc, i.relname";
    let mut found = Vec::new();
    for row in reading.query(sql, &[&id]).await? {
        found.push(UniqueFacts {
            name: reading.get(&row, "name")?,
            primary: reading.get(&row, "main")?,
            columns: reading.get(&row, "columns")?,
        });
    }
    Ok(found)
}

async fn referenced_by(reading: &Reading<'_>, id: u32) -> Result<Vec<Reference>, EngineError> {
    let sql = "
        select k.conname::text as name, n.nspname::text as schema_name, c.relname::text as table_name,
               pg_get_constraintdef(k.oid) as definition
          from pg_constraint k
          join pg_class c on c.oid = k.conrelid
          join pg_namespace n on n.oid = c.relnamespace
         where k.confrelid = $1 and k.contype = 'f' and k.conparentid = 0
         order by 2, 3, 1";
    let mut found = Vec::new();
    for row in reading.query(sql, &[&id]).await? {
        found.push(Reference {
            name: reading.get(&row, "name")?,
            table: TableName::new(
                reading.get::<String>(&row, "schema_name")?,
                reading.get::<String>(&row, "table_name")?,
            ),
            definition: reading.get(&row, "definition")?,
        });
    }
    Ok(found)
}

async fn hindrances(reading: &Reading<'_>, id: u32) -> Result<Vec<(String, String)>, EngineError> {
    let rows = reading.query(HINDRANCES, &[&id]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0).map_err(reading.failed())?, row.try_get(1).map_err(reading.failed())?)))
        .collect()
}

/// The least and the greatest value of a column, and whether a row has none. With an index on it that is quick.
async fn span(reading: &Reading<'_>, table: &TableName, column: &str) -> Result<KeySpan, EngineError> {
    let (table, column) = (named(table), quote_ident(column));
    let absent = format!("SELECT EXISTS (SELECT FROM {table} WHERE {column} IS NULL)");
    let absent = reading.try_query(SPAN_MS, &absent, &[]).await?.map_err(reading.failed())?;
    let absent = absent.first().is_some_and(|row| row.get(0));
    let ends = format!("SELECT pg_catalog.min({column})::text, pg_catalog.max({column})::text FROM {table}");
    // Not every type has an order; then nobody asks for ranges of it.
    let ends = reading.try_query(SPAN_MS, &ends, &[]).await?;
    match ends {
        Ok(rows) => {
            let row = rows.first();
            Ok(KeySpan { low: row.and_then(|row| row.get(0)), high: row.and_then(|row| row.get(1)), absent })
        }
        Err(error) if error.code() == Some(&tokio_postgres::error::SqlState::UNDEFINED_FUNCTION) => {
            Ok(KeySpan { absent, ..KeySpan::default() })
        }
        Err(error) => Err(reading.failed()(error)),
    }
}

/// Units that changed shapes, the newest first, each once: as its last try left it.
pub(super) async fn history(reading: &Reading<'_>) -> Result<Vec<PastUnit>, EngineError> {
    let Some(ledger) = records::ledger(reading).await? else { return Ok(Vec::new()) };
    let sql = format!(
        "select id, set_schema, set_name, work::text as work, state,
                (extract(epoch from begun_at) * 1000000)::bigint as begun
           from {}
          where kind in ('recut', 'convert', 'drain', 'align')
          order by begun_at desc limit {HISTORY}",
        ledger.table("lifecycle_unit")
    );
    let mut seen: HashSet<String> = HashSet::new();
    let mut units = Vec::new();
    for row in reading.query(&sql, &[]).await? {
        let id: String = reading.get(&row, "id")?;
        // What a newer version wrote and this one cannot read cannot be taken back by it either.
        let Ok(work) = serde_json::from_str(&reading.get::<String>(&row, "work")?) else { continue };
        if !seen.insert(id.clone()) {
            continue;
        }
        units.push(PastUnit {
            id,
            set: TableName::new(
                reading.get::<String>(&row, "set_schema")?,
                reading.get::<String>(&row, "set_name")?,
            ),
            work,
            state: reading.get(&row, "state")?,
            begun: reading.get(&row, "begun")?,
        });
    }
    Ok(units)
}
