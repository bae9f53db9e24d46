//! What the catalogue says: tables, keys, sizes and how values are spread. Of values themselves nothing is read but the
//! days of the earliest and the latest moment of a column.

use std::collections::{BTreeMap, BTreeSet};

use replat_advise::evidence::{ColumnSeen, ReferenceSeen, TableSeen, Tier};
use replat_engine::EngineError;
use tokio_postgres::Client;

use super::Lacking;
use super::columns::{WatchList, Watched};
use super::secret::Kept;
use crate::error::on;
use crate::sql::quote_ident;

/// How many of a column's commonest values are told of, by their shares.
const COMMON_MAX: i32 = 20;

/// A table, with what else is to be known for reading its log.
#[derive(Clone, Debug)]
pub struct Found {
    /// What is told of it.
    pub seen: TableSeen,
    /// Its schema.
    pub schema: String,
    /// Its name there.
    pub table: String,
    /// Its partitions, by schema and name.
    pub parts: BTreeSet<(String, String)>,
    /// Its owner.
    pub owner: String,
    /// Whether the session may act as its owner.
    pub owned: bool,
    /// Whether its changes are in the log.
    pub logged: bool,
    /// Whether the log can say which row was changed or deleted. Where it cannot, to publish such changes would make
    /// the server refuse them.
    pub identified: bool,
    /// What becomes of its columns' values, in their order.
    pub columns: Vec<(String, Option<Kept>)>,
    /// Those that are kept although nothing declares them to be keys.
    pub undeclared: Vec<String>,
}

impl Found {
    /// Its name as part of SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.table))
    }
}

/// All tables, and what could not be seen of them.
pub async fn read(client: &Client, database: &str) -> Result<(Vec<Found>, Vec<Lacking>), EngineError> {
    let during = "reading the catalogue";
    let rows = client.query(TABLE_QUERY, &[]).await.map_err(on(database, during))?;
    let mut by_oid: BTreeMap<u32, Found> = BTreeMap::new();
    let mut unreadable = Vec::new();
    for row in rows {
        let (schema, table): (String, String) = (row.get("schema"), row.get("name"));
        let rows = whole(row.get("rows"));
        let bytes = whole(row.get("bytes"));
        let counted = |name: &str| whole(row.get(name));
        let writes = match (counted("inserted"), counted("updated"), counted("deleted")) {
            (Some(inserted), Some(updated), Some(deleted)) => Some([inserted, updated, deleted]),
            _ => None,
        };
        let seen = TableSeen {
            name: shown(&schema, &table),
            rows,
            row_bytes: rows
                .zip(bytes)
                .filter(|(rows, _)| *rows > 0)
                .map(|(rows, bytes)| bytes.div_ceil(rows)),
            reads: counted("reads"),
            writes,
            ..TableSeen::default()
        };
        if !row.get::<_, bool>("readable") {
            unreadable.push(format!("{}.{}", quote_ident(&schema), quote_ident(&table)));
        }
        by_oid.insert(
            row.get("oid"),
            Found {
                seen,
                schema,
                table,
                parts: BTreeSet::new(),
                owner: row.get("owner"),
                owned: row.get("owned"),
                logged: row.get("logged"),
                identified: row.get("identified"),
                columns: Vec::new(),
                undeclared: Vec::new(),
            },
        );
    }
    let oids: Vec<u32> = by_oid.keys().copied().collect();
    let columns = client.query(COLUMN_QUERY, &[&oids, &COMMON_MAX]).await.map_err(on(database, during))?;
    for row in columns {
        let Some(found) = by_oid.get_mut(&row.get("relid")) else { continue };
        let name: String = row.get("name");
        let is_key: bool = row.get("is_key");
        let kept = kept(row.get("type_name"), row.get("category"), is_key);
        // Negative: a share of the rows, for what grows with the table.
        let distinct =
            row.get::<_, Option<f32>>("distinct").map(f64::from).and_then(|distinct| match distinct {
                share if share < 0.0 => found.seen.rows.map(|rows| (-share * rows as f64).round()),
                0.0 => None,
                number => Some(number),
            });
        let common = row.get::<_, Option<Vec<f32>>>("common").unwrap_or_default();
        let seen = ColumnSeen {
            data_type: row.get("type"),
            nullable: row.get("nullable"),
            bytes: whole(row.get("bytes")),
            distinct,
            common: common.into_iter().map(|share| (f64::from(share) * 1e6).round() / 1e6).collect(),
            days: day(row.get("first_day")).zip(day(row.get("last_day"))),
            ordered: row
                .get::<_, Option<f32>>("ordered")
                .map(|ordered| (f64::from(ordered) * 1e3).round() / 1e3),
        };
        found.seen.columns.insert(name.clone(), seen);
        found.seen.order.push(name.clone());
        if !is_key && kept == Some(Kept::Hashed) {
            found.undeclared.push(name.clone());
        }
        found.columns.push((name, kept));
    }
    for row in client.query(PART_QUERY, &[&oids]).await.map_err(on(database, during))? {
        let Some(found) = by_oid.get_mut(&row.get("root")) else { continue };
        let (schema, part): (String, String) = (row.get("schema"), row.get("name"));
        found.seen.parts.insert(shown(&schema, &part));
        found.parts.insert((schema, part));
    }
    let keys = client.query(KEY_QUERY, &[&oids]).await.map_err(on(database, during))?;
    for row in keys {
        let Some(found) = by_oid.get_mut(&row.get("relid")) else { continue };
        let columns: Vec<String> = row.get("columns");
        match row.get("is_primary") {
            true => found.seen.primary_key = columns,
            false if !found.seen.unique.contains(&columns) => found.seen.unique.push(columns),
            false => {}
        }
    }
    let references = client.query(REFERENCE_QUERY, &[&oids]).await.map_err(on(database, during))?;
    for row in references {
        let Some(parent) = by_oid.get(&row.get("parent")).map(|parent| parent.seen.name.clone()) else {
            continue;
        };
        let Some(found) = by_oid.get_mut(&row.get("relid")) else { continue };
        found.seen.references.push(ReferenceSeen {
            columns: row.get("columns"),
            parent,
            parent_columns: row.get("parent_columns"),
        });
    }
    Ok((by_oid.into_values().collect(), lacking(client, database, &unreadable).await?))
}

async fn lacking(
    client: &Client,
    database: &str,
    unreadable: &[String],
) -> Result<Vec<Lacking>, EngineError> {
    if unreadable.is_empty() {
        return Ok(Vec::new());
    }
    let row = client
        .query_one("select rolname::text from pg_catalog.pg_roles where rolname = current_user", &[])
        .await
        .map_err(on(database, "asking who we are"))?;
    let role: String = row.get(0);
    let few: Vec<&str> = unreadable.iter().take(5).map(String::as_str).collect();
    let why = format!(
        "how values are spread is not shown of {} that {role} may not read, such as {}",
        super::counted(unreadable.len(), "table", "tables"),
        few.join(", ")
    );
    Ok(vec![
        Lacking::of(Tier::Catalogue, why).by(format!("GRANT pg_read_all_data TO {}", quote_ident(&role))),
    ])
}

/// What is looked at in logs.
pub fn watch_list(found: &[Found]) -> WatchList {
    let watched = |found: &Found| Watched {
        name: found.seen.name.clone(),
        schema: found.schema.clone(),
        table: found.table.clone(),
        parts: found.parts.clone(),
        columns: found.columns.clone(),
        undeclared: found.undeclared.clone(),
    };
    WatchList::of(found.iter().map(watched).collect())
}

fn shown(schema: &str, table: &str) -> String {
    match schema {
        "public" => table.to_owned(),
        _ => format!("{schema}.{table}"),
    }
}

fn whole(number: Option<f64>) -> Option<u64> {
    number.filter(|number| *number >= 0.0).map(|number| number.round() as u64)
}

/// Days since 1970, if they are some that a calendar has.
fn day(days: Option<f64>) -> Option<i64> {
    // A number of so few digits.
    #[allow(clippy::cast_possible_truncation)]
    days.filter(|days| days.abs() < 1e8).map(|days| days.floor() as i64)
}

/// What becomes of a column's values. Whole numbers and UUIDs may be keys though nobody declared them; texts and other
/// numbers are kept only where an index or a foreign key has them.
fn kept(type_name: &str, category: &str, is_key: bool) -> Option<Kept> {
    match (type_name, category) {
        ("timestamp" | "timestamptz", _) => Some(Kept::Day),
        ("date", _) => Some(Kept::Month),
        ("int2" | "int4" | "int8" | "uuid", _) => Some(Kept::Hashed),
        ("numeric", _) | (_, "S" | "E") if is_key => Some(Kept::Hashed),
        _ => None,
    }
}

/// Rows of a table that was never analysed are those that its counters know of.
///
/// Ordinary and partitioned tables of the application: no partitions, no temporary ones, none that belong to an
/// extension, none of replat's own.
const TABLE_QUERY: &str = "with chosen as (select c.oid, n.nspname::text as schema, c.relname::text as name, \
       c.relpersistence = 'p' as logged, c.relowner as owner \
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't' \
       and n.nspname not like 'pg\\_%' and n.nspname not in ('information_schema', 'replat') \
       and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass \
         and d.objid = c.oid and d.deptype = 'e')), \
     leaves as (select chosen.oid as root, chosen.oid as leaf from chosen union \
       select chosen.oid, tree.relid from chosen, pg_catalog.pg_partition_tree(chosen.oid) tree where tree.isleaf), \
     sums as (select leaves.root, \
       case when bool_or(c.reltuples >= 0 or s.n_live_tup > 0) filter (where c.relkind = 'r') \
         then sum(case when c.reltuples >= 0 then c.reltuples else s.n_live_tup end) filter (where c.relkind = 'r') \
       end::float8 as rows, \
       sum(pg_catalog.pg_table_size(c.oid)) filter (where c.relkind = 'r')::float8 as bytes, \
       coalesce(bool_and(c.relreplident = 'f' \
         or c.relreplident = 'd' and exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary) \
         or c.relreplident = 'i' and exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisreplident)) \
         , false) as identified, \
       sum(coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0))::float8 as reads, sum(s.n_tup_ins)::float8 as inserted, \
       sum(s.n_tup_upd)::float8 as updated, sum(s.n_tup_del)::float8 as deleted \
     from leaves join pg_catalog.pg_class c on c.oid = leaves.leaf \
       left join pg_catalog.pg_stat_user_tables s on s.relid = c.oid group by leaves.root) \
     select chosen.oid, chosen.schema, chosen.name, chosen.logged, \
       pg_catalog.pg_get_userbyid(chosen.owner)::text as owner, pg_catalog.pg_has_role(chosen.owner, 'usage') as owned, \
       pg_catalog.has_any_column_privilege(chosen.oid, 'select') as readable, \
       sums.rows, sums.bytes, sums.identified, sums.reads, sums.inserted, sums.updated, sums.deleted \
     from chosen join sums on sums.root = chosen.oid";

/// Which columns are part of keys is asked of all tables at once: a question for each column reads the list of all foreign
/// keys for each, which takes long where there are a thousand tables.
const COLUMN_QUERY: &str = "with keys as (\
       select i.indrelid as relid, key.attnum from pg_catalog.pg_index i \
         cross join lateral pg_catalog.unnest(i.indkey::int2[]) key (attnum) where i.indrelid = any ($1) \
       union select k.conrelid, key.attnum from pg_catalog.pg_constraint k \
         cross join lateral pg_catalog.unnest(k.conkey) key (attnum) where k.contype = 'f' and k.conrelid = any ($1) \
       union select k.confrelid, key.attnum from pg_catalog.pg_constraint k \
         cross join lateral pg_catalog.unnest(k.confkey) key (attnum) where k.contype = 'f' and k.confrelid = any ($1) \
       union select p.partrelid, key.attnum from pg_catalog.pg_partitioned_table p \
         cross join lateral pg_catalog.unnest(p.partattrs::int2[]) key (attnum) where p.partrelid = any ($1)) \
     select a.attrelid as relid, a.attname::text as name, \
       pg_catalog.format_type(a.atttypid, a.atttypmod) as type, not a.attnotnull as nullable, \
       base.typname::text as type_name, base.typcategory::text as category, \
       (a.attrelid, a.attnum) in (select relid, attnum from keys) as is_key, \
       s.avg_width * (1 - s.null_frac::float8) as bytes, s.n_distinct as distinct, s.most_common_freqs[1:$2] as common, \
       case when base.typname in ('date', 'timestamp', 'timestamptz') then s.correlation end as ordered, \
       (pg_catalog.date_part('epoch', spread.earliest) / 86400)::float8 as first_day, \
       (pg_catalog.date_part('epoch', spread.latest) / 86400)::float8 as last_day \
     from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid \
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
       join pg_catalog.pg_type t on t.oid = a.atttypid \
       join pg_catalog.pg_type base on base.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end \
       left join pg_catalog.pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname \
         and s.attname = a.attname and s.inherited = (c.relkind = 'p') \
       left join lateral (select min(known.at) as earliest, max(known.at) as latest \
         from (select case base.typname when 'date' then pg_catalog.date_trunc('month', value::timestamp) \
             else pg_catalog.date_trunc('day', value::timestamp) end as at \
           from pg_catalog.unnest(case when base.typname in ('date', 'timestamp', 'timestamptz') then \
             pg_catalog.array_cat(s.histogram_bounds::text::text[], s.most_common_vals::text::text[]) end) value \
           where pg_catalog.isfinite(value::timestamp)) known) spread on true \
     where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped order by a.attrelid, a.attnum";

const PART_QUERY: &str = "select p.partrelid as root, n.nspname::text as schema, c.relname::text as name \
     from pg_catalog.pg_partitioned_table p, pg_catalog.pg_partition_tree(p.partrelid) tree, \
       pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     where p.partrelid = any ($1) and tree.level > 0 and c.oid = tree.relid";

const KEY_QUERY: &str = "select i.indrelid as relid, i.indisprimary as is_primary, \
       array(select a.attname::text from pg_catalog.unnest(i.indkey::int2[]) with ordinality as k (attnum, place) \
         join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum \
         where k.place <= i.indnkeyatts order by k.place) as columns \
     from pg_catalog.pg_index i where i.indrelid = any ($1) and i.indisunique and i.indisvalid \
       and i.indpred is null and i.indexprs is null order by i.indrelid, i.indexrelid";

const REFERENCE_QUERY: &str = "select k.conrelid as relid, k.confrelid as parent, \
       array(select a.attname::text from pg_catalog.unnest(k.conkey) with ordinality as c (attnum, place) \
         join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = c.attnum order by c.place) as columns, \
       array(select a.attname::text from pg_catalog.unnest(k.confkey) with ordinality as c (attnum, place) \
         join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = c.attnum order by c.place) \
         as parent_columns \
     from pg_catalog.pg_constraint k where k.contype = 'f' and k.conparentid = 0 and k.conrelid = any ($1) \
     order by k.conrelid, k.conname";
