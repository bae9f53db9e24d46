//! What a database is like: all that is in it, whether its records agree with it, and whether anything was left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::NewLevel;
use replat_postgres::lifecycle::bounds;
use replat_postgres::lifecycle::ledger::{Change, Placed};
use replat_postgres::sql::quote_ident;
use sha2::{Digest, Sha256};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::Failure;

/// Partitions with their parents and bounds.
pub type Bounds = BTreeMap<TableName, (TableName, Bound)>;

/// Rows as text, values separated by `|`.
pub async fn ask(client: &Client, sql: &str) -> Result<Vec<String>, Failure> {
    let answer = client.simple_query(sql).await.map_err(|error| format!("{sql}: {error:?}"))?;
    let rows = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|n| row.get(n).unwrap_or("-")).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    Ok(rows.collect())
}

/// Everything in a database that two runs have in common: tables with their parents and bounds, constraints, indexes,
/// triggers, functions, what is recorded of partitions, and a digest of the rows of each table.
///
/// # Errors
///
/// What the server says.
pub async fn content(client: &Client) -> Result<Vec<String>, Failure> {
    const OURS: &str = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'replat')";
    let mut all = Vec::new();
    for sql in [
        format!(
            "SELECT 'table', c.oid::regclass, c.relkind, i.inhparent::regclass, pg_get_expr(c.relpartbound, c.oid), \
               i.inhdetachpending FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               LEFT JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.relkind IN ('r', 'p', 'S', 'v') AND {OURS} ORDER BY 2"
        ),
        format!(
            "SELECT 'constraint', k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid), k.convalidated \
             FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE {OURS} ORDER BY 2, 3, 4"
        ),
        format!(
            "SELECT 'index', x.indrelid::regclass, pg_get_indexdef(x.indexrelid), x.indisvalid, \
               (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = x.indexrelid) \
             FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OURS} ORDER BY 2, 3"
        ),
        "SELECT 'trigger', tgrelid::regclass, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 2, 3".into(),
        format!(
            "SELECT 'function', p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
             WHERE {OURS} ORDER BY 2"
        ),
        "SELECT 'record', schema_name, table_name, set_name, parent_name, bound, origin, state, drop_after IS NULL, \
           archive_sha256 FROM replat.lifecycle_part ORDER BY 2, 3"
            .into(),
    ] {
        all.extend(ask(client, &sql).await?);
    }
    let tables = ask(
        client,
        &format!(
            "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND {OURS} ORDER BY 1"
        ),
    )
    .await?;
    for table in tables {
        let sql = format!("SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t");
        all.extend(ask(client, &sql).await?.iter().map(|row| format!("rows|{table}|{row}")));
    }
    Ok(all)
}

/// What the catalogue says of partitions now.
///
/// # Errors
///
/// If a bound is not understood.
pub async fn bounds(client: &Client) -> Result<Bounds, Failure> {
    let rows = client
        .query(
            "SELECT n.nspname::text, c.relname::text, m.nspname::text, p.relname::text, \
               pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class p ON p.oid = i.inhparent \
               JOIN pg_namespace m ON m.oid = p.relnamespace WHERE c.relispartition AND c.relkind IN ('r', 'p')",
            &[],
        )
        .await?;
    let name = |row: &tokio_postgres::Row, at: usize| {
        TableName::new(row.get::<_, String>(at), row.get::<_, String>(at + 1))
    };
    rows.iter().map(|row| Ok((name(row, 0), (name(row, 2), bounds::parse(row.get(4))?)))).collect()
}

fn added(map: &mut Bounds, parent: &TableName, part: &Placed) -> Result<(), Failure> {
    if map.insert(part.table.clone(), (parent.clone(), part.bound.clone())).is_some() {
        return Err(format!("{} is told to be new, and was there", part.table).into());
    }
    let below = |level: &NewLevel| level.parts.iter().map(Placed::from).collect::<Vec<_>>();
    part.below.iter().flat_map(below).try_for_each(|below| added(map, &part.table, &below))
}

fn removed(map: &mut Bounds, part: &Placed) -> Result<(), Failure> {
    match map.remove(&part.table) {
        Some((_, bound)) if bound == part.bound => {}
        other => return Err(format!("{} is told to be gone, and was {other:?}", part.table).into()),
    }
    let below: Vec<TableName> =
        map.iter().filter(|(_, (parent, _))| *parent == part.table).map(|(table, _)| table.clone()).collect();
    below.iter().for_each(|table| drop(map.remove(table)));
    Ok(())
}

/// Whether the records agree with the database: whoever follows the outbox from `before` has what the catalogue has,
/// no unit is open, nothing is staged, and archives are what was recorded.
///
/// # Errors
///
/// What does not agree.
pub async fn records(client: &Client, before: &Bounds, since: u64) -> Result<(), Failure> {
    let told = client
        .query(
            "SELECT version, change::text FROM replat.lifecycle_outbox WHERE version > $1 ORDER BY version",
            &[&i64::try_from(since)?],
        )
        .await?;
    let mut map = before.clone();
    for (n, row) in (1..).zip(&told) {
        if row.get::<_, i64>(0) != i64::try_from(since)? + n {
            return Err(format!("version {} comes after {}", row.get::<_, i64>(0), n - 1).into());
        }
        let change: Change = serde_json::from_str(row.get(1))?;
        change.removed.iter().try_for_each(|part| removed(&mut map, part))?;
        change.added.iter().try_for_each(|part| added(&mut map, &change.parent, part))?;
    }
    let now = bounds(client).await?;
    if map != now {
        let wrong = map.iter().filter(|(table, place)| now.get(*table) != Some(place));
        let missing = now.iter().filter(|(table, place)| map.get(*table) != Some(place));
        let (wrong, missing) = (wrong.collect::<Vec<_>>(), missing.collect::<Vec<_>>());
        return Err(format!("who follows has {wrong:?}, and lacks {missing:?}").into());
    }
    let open = ask(
        client,
        "SELECT 'unit', id, kind, state, why FROM replat.lifecycle_unit WHERE state IN ('begun', 'failed') \
         UNION ALL SELECT 'staged', table_name, unit, state, '' FROM replat.lifecycle_part WHERE state = 'staged' \
         UNION ALL SELECT 'place', p.table_name, p.unit, p.state, i.inhparent::regclass::text \
           FROM replat.lifecycle_part p LEFT JOIN pg_inherits i ON i.inhrelid = p.relation \
           WHERE (p.state = 'attached') <> (i.inhrelid IS NOT NULL) \
         UNION ALL SELECT 'gone', p.table_name, p.unit, p.state, '' FROM replat.lifecycle_part p \
           WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = p.relation AND c.relname = p.table_name)",
    )
    .await?;
    if !open.is_empty() {
        return Err(format!("records are open: {}", open.join("; ")).into());
    }
    Ok(())
}

/// The last version that was told.
///
/// # Errors
///
/// What the server says.
pub async fn version(client: &Client) -> Result<u64, Failure> {
    if ask(client, "SELECT to_regclass('replat.lifecycle_outbox') IS NOT NULL").await? != ["t"] {
        return Ok(0);
    }
    let rows = ask(client, "SELECT coalesce(max(version), 0) FROM replat.lifecycle_outbox").await?;
    Ok(rows.first().ok_or("no version")?.parse()?)
}

/// Whether the folder has the archives that are recorded, and nothing that was begun and not ended.
///
/// # Errors
///
/// What is missing or too much.
pub async fn archives(client: &Client, folder: &Path) -> Result<(), Failure> {
    let recorded = ask(
        client,
        "SELECT archive_path, archive_sha256 FROM replat.lifecycle_part WHERE archive_path IS NOT NULL",
    )
    .await?;
    for line in &recorded {
        let (path, digest) = line.rsplit_once('|').ok_or("two columns")?;
        let found = Sha256::digest(std::fs::read(path).map_err(|error| format!("{path}: {error}"))?);
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        if found != digest {
            return Err(format!("{path} is not what was recorded").into());
        }
    }
    let files: Vec<String> = match std::fs::read_dir(folder) {
        Ok(entries) => {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
        Err(_) => Vec::new(),
    };
    let halves: Vec<&String> = files.iter().filter(|name| name.ends_with(".tmp")).collect();
    if !halves.is_empty() {
        return Err(format!("left in the folder: {halves:?}").into());
    }
    Ok(())
}

/// How many rows there are, over all tables that are partitioned or were partitions.
///
/// # Errors
///
/// What the server says.
pub async fn rows(client: &Client) -> Result<u64, Failure> {
    let recorded = ask(client, "SELECT to_regclass('replat.lifecycle_part') IS NOT NULL").await? == ["t"];
    let detached = match recorded {
        true => "SELECT relation FROM replat.lifecycle_part WHERE state = 'detached'",
        false => "SELECT NULL::oid",
    };
    let sql = format!(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'public' AND (c.relkind = 'p' AND NOT c.relispartition \
           OR c.relkind = 'r' AND c.oid IN ({detached}))"
    );
    let tables = client.query(&sql, &[]).await?;
    let mut sum = 0;
    for row in &tables {
        let (schema, table): (&str, &str) = (row.get(0), row.get(1));
        let sql = format!("SELECT count(*) FROM {}.{}", quote_ident(schema), quote_ident(table));
        sum += ask(client, &sql).await?.first().ok_or("a count")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// What one of two has and the other has not, in lines.
pub fn different(wanted: &[String], found: &[String]) -> String {
    let (wanted, found): (BTreeSet<_>, BTreeSet<_>) = (wanted.iter().collect(), found.iter().collect());
    let missing = wanted.difference(&found).map(|line| format!("\n  - {line}"));
    let more = found.difference(&wanted).map(|line| format!("\n  + {line}"));
    missing.chain(more).collect()
}
