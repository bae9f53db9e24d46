//! Keys that could not be applied when their turn came are copied once more from the side that has the rows.

use bytes::Bytes;
use replat_engine::EngineError;
use replat_model::ids::Side;
use replat_model::plan::TablePlan;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::apply::{Applier, STRANGER, side_text};
use crate::changes::{Cell, Change};
use crate::copy::{copied_table, copied_tables};
use crate::ends::Ends;
use crate::error::on;
use crate::follow::{Shared, TouchedKey};
use crate::merge::keys;
use crate::slice::{key_name, key_text, predicate, table_name};
use crate::sql::quote_ident;

/// Keys that are copied at once.
const AT_ONCE: i64 = 1_000;

/// Copies the parked keys of the stream from `from` once more. What still cannot be had stays parked.
///
/// # Errors
///
/// [`EngineError::Precondition`] if a key is that of another partition's row on the receiving side: only a person can
/// say which of the two rows is to have another.
pub async fn copy_parked(ends: &Ends, from: Side, shared: &Shared) -> Result<(), EngineError> {
    let source = ends.connect(from, "parked").await?;
    let target = ends.connect_to_write(from.other(), "parked").await?;
    let parked = read(ends, &target, from).await?;
    let mut applier = Applier::new(&ends.plan, ends.deployment.as_str(), from, target).await?;
    for (n, table) in copied_tables(&ends.plan).enumerate() {
        let wanted: Vec<&Vec<String>> = parked.iter().filter(|(t, _)| *t == n).map(|(_, k)| k).collect();
        if wanted.is_empty() {
            continue;
        }
        shared.touch(wanted.iter().map(|k| (n, (*k).clone())));
        applier.apply_copied(current(ends, &source, n, table, from, &wanted)).await?;
    }
    let left = crate::follow::count_parked(applier.client(), ends, from).await?;
    shared.set_parked(from, left);
    refuse_strangers(ends, from, applier.client()).await
}

/// How many keys a message names.
const NAMED_MAX: i64 = 3;

async fn refuse_strangers(ends: &Ends, from: Side, target: &Client) -> Result<(), EngineError> {
    let rows = target
        .query(
            "SELECT tbl, key, count(*) OVER () FROM replat.parked \
             WHERE deployment = $1 AND source = $2 AND why = $3 ORDER BY tbl, key LIMIT $4",
            &[&ends.deployment.as_str(), &side_text(from), &STRANGER, &NAMED_MAX],
        )
        .await
        .map_err(on(ends.database(from.other()), "reading the parked keys"))?;
    let Some(first) = rows.first() else { return Ok(()) };
    let named: Vec<String> = rows
        .iter()
        .map(|row| {
            let table = usize::try_from(row.get::<_, i32>(0)).ok().and_then(|n| copied_table(&ends.plan, n));
            let name = table.map_or("?", |table| table.shape(from).name.as_str());
            format!("{name} ({})", row.get::<_, Vec<String>>(1).join(", "))
        })
        .collect();
    let (to, count) = (from.other(), first.get::<_, i64>(2));
    Err(EngineError::Precondition {
        what: format!(
            "{count} rows of the partition on {from} have keys that rows of other partitions have on {to}: {}{}",
            named.join("; "),
            if count > NAMED_MAX { "; …" } else { "" }
        ),
        remedy: "Neither row was changed. Give the rows on one of the two sides other keys; and let ids be handed out so \
             that both sides never give the same one: a sequence that replat knows of, or ranges of their own."
            .into(),
    })
}

async fn read(ends: &Ends, target: &Client, from: Side) -> Result<Vec<TouchedKey>, EngineError> {
    let rows = target
        .query(
            "SELECT tbl, key FROM replat.parked WHERE deployment = $1 AND source = $2 LIMIT $3",
            &[&ends.deployment.as_str(), &side_text(from), &AT_ONCE],
        )
        .await
        .map_err(on(ends.database(from.other()), "reading the parked keys"))?;
    Ok(rows.iter().map(|r| (usize::try_from(r.get::<_, i32>(0)).unwrap_or_default(), r.get(1))).collect())
}

/// The rows with these keys as they are now; a key without a row is a row that is gone.
async fn current(
    ends: &Ends,
    source: &Client,
    n: usize,
    table: &TablePlan,
    from: Side,
    wanted: &[&Vec<String>],
) -> Result<Vec<Change>, EngineError> {
    let shape = table.shape(from);
    let carried: Vec<String> = shape
        .columns
        .iter()
        .filter(|c| c.generated.is_none())
        .map(|c| match (c.stage_type.as_str(), quote_ident(&c.name)) {
            // A cast to text takes trailing blanks off.
            ("bpchar", name) => format!("textin(bpcharout(t.{name}))"),
            (_, name) => format!("t.{name}::text"),
        })
        .collect();
    let matching: Vec<String> = table
        .key
        .iter()
        .enumerate()
        .map(|(i, k)| format!("t.{} = e.replat_k{i}", quote_ident(key_name(k, from))))
        .collect();
    let sql = format!(
        "SELECT ARRAY[{}], ARRAY[{}] FROM {} t JOIN {} ON {} WHERE {}",
        key_text(table, from, "t."),
        carried.join(", "),
        table_name(&ends.plan, table, from),
        keys(table, 1),
        matching.join(" AND "),
        predicate(&ends.plan, table, from, "t."),
    );
    let columns: Vec<Vec<&str>> =
        (0..table.key.len()).map(|i| wanted.iter().map(|key| key[i].as_str()).collect()).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as _).collect();
    let rows =
        source.query(&sql, &parameters).await.map_err(on(ends.database(from), "copying parked rows"))?;
    let bytes = |key: &[String]| key.iter().map(|v| Bytes::from(v.clone())).collect::<Vec<_>>();
    let mut found = std::collections::HashSet::new();
    let mut there = Vec::new();
    for row in rows {
        let key: Vec<String> = row.get(0);
        let cells = row
            .get::<_, Vec<Option<String>>>(1)
            .into_iter()
            .map(|v| v.map_or(Cell::Null, |v| Cell::Text(Bytes::from(v))))
            .collect();
        there.push(Change::Put { table: n, old_key: None, key: bytes(&key), cells, arrived: false });
        found.insert(key);
    }
    // First what is gone: its key may be another way to write that of a row that is there.
    let gone = wanted.iter().filter(|key| !found.contains(**key));
    let mut changes: Vec<Change> = gone.map(|key| Change::Remove { table: n, key: bytes(key) }).collect();
    changes.append(&mut there);
    Ok(changes)
}
