//! The copy: a partition's rows in key ranges, many at once, each in its own short transaction.
//!
//! A chunk and the record that it is there commit together on green, so a crash costs the chunks that were under
//! way, and a chunk is never there twice. No long snapshot is held: what changes while the copy runs is in the
//! stream, and the whole stream is replayed afterwards.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use replat_engine::EngineError;
use replat_model::deploy::Chunk;
use replat_model::ids::Side;
use replat_model::plan::{Plan, TablePlan};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::culprit::{Rows, named};
use crate::error::{failed, is_of_other_rows, on};
use crate::guard::{Mark, emit};
use crate::merge::is_foreign;
use crate::pool::Session;
use crate::slice::{key_order, key_range, key_text, members, table_name};
use crate::sql::quote_ident;

/// Rows are gathered to this many bytes before they are passed on: a message for each row would cost more than
/// the row.
const GATHER_BYTES: usize = 64 * 1024;

/// How far a copy is, for those who watch. Shared between the copy and its watchers.
#[derive(Debug, Default)]
pub struct CopyProgress {
    /// Chunks there.
    pub chunks: AtomicU64,
    /// Chunks in all.
    pub chunks_total: AtomicU64,
    /// Rows there.
    pub rows: AtomicU64,
    /// Bytes sent.
    pub bytes: AtomicU64,
}

/// All tables whose rows are copied: slices first, then references. A chunk's `table` counts in this order.
pub fn copied_tables(plan: &Plan) -> impl Iterator<Item = &TablePlan> {
    plan.tables.iter().chain(&plan.references)
}

/// The table that `n` of a chunk means.
pub fn copied_table(plan: &Plan, n: usize) -> Option<&TablePlan> {
    copied_tables(plan).nth(n)
}

/// The key ranges in which the partition is copied, covering it exactly.
///
/// A reference table that has rows on green was copied by an earlier deployment; it is not copied again, only
/// compared.
pub async fn plan_chunks(
    blue: &Client,
    green: &Client,
    plan: &Plan,
    rows: u32,
) -> Result<Vec<Chunk>, EngineError> {
    let mut chunks = Vec::new();
    for (n, table) in copied_tables(plan).enumerate() {
        if n >= plan.tables.len() && has_rows(green, plan, table).await? {
            continue;
        }
        let cuts = boundaries(blue, plan, table, Side::Blue, "true", rows).await?;
        let mut after = None;
        for upto in cuts {
            chunks.push(Chunk { table: n, after: after.replace(upto.clone()), upto: Some(upto) });
        }
        chunks.push(Chunk { table: n, after, upto: None });
    }
    Ok(chunks)
}

pub(crate) async fn has_rows(green: &Client, plan: &Plan, table: &TablePlan) -> Result<bool, EngineError> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", table_name(plan, table, Side::Green));
    let row = green
        .query_one(&sql, &[])
        .await
        .map_err(on(&plan.green.home.database, "looking into a reference table"))?;
    Ok(row.get(0))
}

/// Every `rows`-th key of the partition's rows that satisfy `and`, in key order.
pub async fn boundaries(
    client: &Client,
    plan: &Plan,
    table: &TablePlan,
    side: Side,
    and: &str,
    rows: u32,
) -> Result<Vec<Vec<String>>, EngineError> {
    let database = &plan.end(side).home.database;
    let names: Vec<String> = table.key_on(side).map(quote_ident).collect();
    let sql = format!(
        "SELECT {} FROM (SELECT {}, row_number() OVER (ORDER BY {order}) AS replat_n FROM {} \
         WHERE {} AND {and}) s WHERE replat_n % {rows} = 0 ORDER BY replat_n",
        key_text(table, side, ""),
        names.join(", "),
        table_name(plan, table, side),
        members(plan, table, side, ""),
        order = key_order(table, side, ""),
    );
    let found = client.query(&sql, &[]).await.map_err(on(database, "cutting a table into ranges"))?;
    Ok(found.iter().map(|row| (0..names.len()).map(|i| row.get(i)).collect()).collect())
}

/// How the rows of a table travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As the types' binary form, which needs no parsing.
    Binary,
    /// As text, where a type has no binary form that both servers share.
    Text,
}

impl Format {
    /// Binary, if every value's binary form is understood by the receiving column: a label that travels as text
    /// is, since an enum's binary form is its label.
    pub(crate) fn of(table: &TablePlan, from: Side, enums: &[String]) -> Format {
        let fits = |c: &&replat_model::plan::ColumnPlan| !is_foreign(c) || enums.contains(&c.target);
        if table.columns_from(from).iter().filter(|c| !fits(c)).count() == 0 {
            Format::Binary
        } else {
            Format::Text
        }
    }

    fn option(self) -> &'static str {
        match self {
            Format::Binary => "(FORMAT binary)",
            Format::Text => "(FORMAT text)",
        }
    }
}

/// Copies one chunk, unless it is there already. Returns rows and bytes.
///
/// In a table that has its indexes, rows of different ages can be in each other's way. Then the chunk's keys are
/// parked: their rows are copied once more when the stream has caught up.
pub async fn copy_chunk(
    blue: &Client,
    green: &mut Client,
    plan: &Plan,
    deployment: &str,
    n: usize,
    chunk: &Chunk,
) -> Result<(u64, u64), EngineError> {
    let table = copied_table(plan, chunk.table).ok_or_else(|| EngineError::Precondition {
        what: format!("chunk {n} speaks of a table that the plan does not have"),
        remedy: "Abort the deployment and start it again.".into(),
    })?;
    let on = on(&plan.green.home.database, "copying a chunk");
    let from = Side::Blue;
    let format = Format::of(table, from, &enum_columns(green, plan, table, from.other()).await?);
    let tx = green.transaction().await.map_err(&on)?;
    // Taken first: of two runners with the same chunk, the second waits here and then finds it done.
    let number = i32::try_from(n).expect("fewer than 2^31 chunks");
    let mine = tx
        .execute(
            "INSERT INTO replat.chunk (deployment, n, rows, bytes) VALUES ($1, $2, 0, 0) ON CONFLICT DO NOTHING",
            &[&deployment, &number],
        )
        .await
        .map_err(&on)?;
    if mine == 0 {
        return Ok((0, 0));
    }
    // The way back of a cohort may be read already, and these are nobody's writes.
    emit(&tx, plan, Side::Green, &Mark::Own { deployment: deployment.to_owned() }).await.map_err(&on)?;
    let wanted = in_range(plan, table, chunk.after.as_ref(), chunk.upto.as_ref());
    let (rows, bytes) =
        match carry(blue, tx.client(), Carrying { plan, table, wanted: &wanted, format }).await {
            Ok(done) => done,
            Err(Pumping::Failed(error @ EngineError::Row { .. })) => {
                tx.rollback().await.map_err(&on)?;
                return Err(culprit_of(blue, green, plan, table, chunk, format, error).await?);
            }
            Err(Pumping::Failed(error)) => return Err(error),
            Err(Pumping::Duplicate(why)) => {
                tx.rollback().await.map_err(&on)?;
                park_chunk(blue, green, plan, deployment, number, chunk, table, &why).await?;
                return Ok((0, 0));
            }
        };
    tx.execute(
        "UPDATE replat.chunk SET rows = $3, bytes = $4 WHERE deployment = $1 AND n = $2",
        &[&deployment, &number, &crate::guard::number(rows), &crate::guard::number(bytes)],
    )
    .await
    .map_err(&on)?;
    crate::failpoint::crash_at("copy.before_commit");
    tx.commit().await.map_err(&on)?;
    crate::failpoint::crash_at("copy.after_commit");
    Ok((rows, bytes))
}

/// Why rows did not get through.
pub(crate) enum Pumping {
    /// A unique key is in the way.
    Duplicate(String),
    /// Something else.
    Failed(EngineError),
}

impl Pumping {
    /// The same where nothing can be made of it.
    pub(crate) fn into_error(self, plan: &Plan, table: &TablePlan) -> EngineError {
        match self {
            Pumping::Failed(error) => error,
            Pumping::Duplicate(why) => EngineError::Row {
                database: plan.green.home.database.clone(),
                table: table.green.name.clone(),
                key: None,
                why,
            },
        }
    }
}

/// Rows that go over by one COPY.
#[derive(Clone, Copy)]
pub(crate) struct Carrying<'a> {
    /// The plan.
    pub(crate) plan: &'a Plan,
    /// Their table.
    pub(crate) table: &'a TablePlan,
    /// What they satisfy on blue.
    pub(crate) wanted: &'a str,
    /// How they travel.
    pub(crate) format: Format,
}

/// Pipes COPY out of blue into COPY on green. Returns rows and bytes.
pub(crate) async fn carry(
    blue: &Client,
    green: &Client,
    carrying: Carrying<'_>,
) -> Result<(u64, u64), Pumping> {
    let Carrying { plan, table, format, .. } = carrying;
    let (source, target) = (&plan.blue.home.database, &plan.green.home.database);
    let columns: Vec<String> = table.forward.iter().map(|c| quote_ident(&c.target)).collect();
    let into = format!(
        "COPY {} ({}) FROM STDIN {}",
        table_name(plan, table, Side::Green),
        columns.join(", "),
        format.option()
    );
    let sink = green.copy_in::<_, Bytes>(&into).await.map_err(pumping(target, "copying a chunk"))?;
    let reading = format!("reading {}", table.blue.name);
    let rows = blue.copy_out(&copy_query(carrying)).await.map_err(pumping(source, &reading))?;
    pump(rows, sink, source, target, table).await
}

/// What a server's refusal means for rows under way.
fn pumping<'a>(database: &'a str, during: &'a str) -> impl Fn(tokio_postgres::Error) -> Pumping + 'a {
    move |error| {
        if is_of_other_rows(&error) {
            return Pumping::Duplicate(error.to_string());
        }
        Pumping::Failed(failed(database, during, error))
    }
}

/// Copies the rows of a key range, in whatever transaction `green` is in. Returns rows and bytes.
///
/// # Errors
///
/// [`EngineError::Row`] if a row has no value for some column, or cannot be stored.
pub async fn copy_range(
    blue: &Client,
    green: &Client,
    plan: &Plan,
    table: &TablePlan,
    after: Option<&Vec<String>>,
    upto: Option<&Vec<String>>,
    format: Format,
) -> Result<(u64, u64), EngineError> {
    let wanted = in_range(plan, table, after, upto);
    match carry(blue, green, Carrying { plan, table, wanted: &wanted, format }).await {
        Ok(done) => Ok(done),
        Err(Pumping::Failed(error)) => Err(error),
        // Other rows are in the way, which is not this row's fault.
        Err(Pumping::Duplicate(_)) => Ok((0, 0)),
    }
}

/// The error with the row that it is about, which is looked for.
async fn culprit_of(
    blue: &Client,
    green: &Client,
    plan: &Plan,
    table: &TablePlan,
    chunk: &Chunk,
    format: Format,
    error: EngineError,
) -> Result<EngineError, EngineError> {
    let rows = Rows { plan, table, side: Side::Blue, client: blue };
    let range = (chunk.after.as_ref(), chunk.upto.as_ref());
    let columns: Vec<_> = table.forward.iter().collect();
    let culprit = match rows.without_value(&columns, range).await? {
        Some(culprit) => Some(culprit),
        None => rows.not_storable(green, format, range).await?,
    };
    Ok(named(error, &table.blue.name, culprit))
}

async fn pump(
    rows: tokio_postgres::CopyOutStream,
    sink: tokio_postgres::CopyInSink<Bytes>,
    source: &str,
    target: &str,
    table: &TablePlan,
) -> Result<(u64, u64), Pumping> {
    let reading = format!("reading {}", table.blue.name);
    let writing = format!("filling {}", table.green.name);
    tokio::pin!(rows, sink);
    let mut gathered = BytesMut::with_capacity(2 * GATHER_BYTES);
    let mut bytes = 0_u64;
    while let Some(row) = rows.next().await {
        let row = row.map_err(pumping(source, &reading))?;
        gathered.extend_from_slice(&row);
        if gathered.len() >= GATHER_BYTES {
            bytes += gathered.len() as u64;
            sink.send(gathered.split().freeze()).await.map_err(pumping(target, &writing))?;
        }
    }
    bytes += gathered.len() as u64;
    if !gathered.is_empty() {
        sink.send(gathered.freeze()).await.map_err(pumping(target, &writing))?;
    }
    let rows = sink.as_mut().finish().await.map_err(pumping(target, &writing))?;
    Ok((rows, bytes))
}

/// Parks the keys of a chunk, and writes the chunk down as done, in one transaction.
#[expect(clippy::too_many_arguments, reason = "they are what copy_chunk was given and found")]
async fn park_chunk(
    blue: &Client,
    green: &mut Client,
    plan: &Plan,
    deployment: &str,
    number: i32,
    chunk: &Chunk,
    table: &TablePlan,
    why: &str,
) -> Result<(), EngineError> {
    let keys = blue
        .query(
            &format!(
                "SELECT {} FROM {} WHERE {} AND {}",
                key_text(table, Side::Blue, ""),
                table_name(plan, table, Side::Blue),
                members(plan, table, Side::Blue, ""),
                key_range(table, Side::Blue, chunk.after.as_ref(), chunk.upto.as_ref())
            ),
            &[],
        )
        .await
        .map_err(on(&plan.blue.home.database, "reading the keys of a chunk"))?;
    let on = on(&plan.green.home.database, "parking a chunk");
    let tx = green.transaction().await.map_err(&on)?;
    tx.execute(
        "INSERT INTO replat.chunk (deployment, n, rows, bytes) VALUES ($1, $2, 0, 0) ON CONFLICT DO NOTHING",
        &[&deployment, &number],
    )
    .await
    .map_err(&on)?;
    let columns: Vec<Vec<&str>> =
        (0..table.key.len()).map(|i| keys.iter().map(|row| row.get(i)).collect()).collect();
    let names: Vec<String> = (0..table.key.len()).map(|i| format!("c{i}")).collect();
    let arrays: Vec<String> = (0..table.key.len()).map(|i| format!("${}::text[]", i + 4)).collect();
    let n = i32::try_from(chunk.table).expect("fewer than 2^31 tables");
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&deployment, &n, &why];
    parameters.extend(columns.iter().map(|c| c as &(dyn ToSql + Sync)));
    tx.execute(
        &format!(
            "INSERT INTO replat.parked (deployment, source, tbl, key, why) \
             SELECT $1, 'blue', $2, ARRAY[{names}], $3 FROM unnest({}) AS u({names}) ON CONFLICT DO NOTHING",
            arrays.join(", "),
            names = names.join(", ")
        ),
        &parameters,
    )
    .await
    .map_err(&on)?;
    tx.commit().await.map_err(&on)
}

/// The rows of a key range that take part, as SQL on blue.
fn in_range(
    plan: &Plan,
    table: &TablePlan,
    after: Option<&Vec<String>>,
    upto: Option<&Vec<String>>,
) -> String {
    format!("{} AND {}", members(plan, table, Side::Blue, ""), key_range(table, Side::Blue, after, upto))
}

fn copy_query(Carrying { plan, table, wanted, format }: Carrying<'_>) -> String {
    let values: Vec<String> = table
        .forward
        .iter()
        .map(|c| match format {
            Format::Text if is_foreign(c) => format!("({})::text", c.expression),
            _ => format!("({})::{}", c.expression, c.wire_type),
        })
        .collect();
    format!(
        "COPY (SELECT {} FROM {} WHERE {wanted}) TO STDOUT {}",
        values.join(", "),
        table_name(plan, table, Side::Blue),
        format.option()
    )
}

/// The columns of a table that are enums: their binary form is their label.
pub(crate) async fn enum_columns(
    client: &Client,
    plan: &Plan,
    table: &TablePlan,
    side: Side,
) -> Result<Vec<String>, EngineError> {
    let rows = client
        .query(
            "SELECT a.attname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped AND t.typtype = 'e'",
            &[&table_name(plan, table, side)],
        )
        .await
        .map_err(on(&plan.end(side).home.database, "reading column types"))?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

/// The numbers of the chunks that are on green, with rows and bytes in all.
pub async fn chunks_done(
    green: &Client,
    plan: &Plan,
    deployment: &str,
) -> Result<(std::collections::BTreeSet<usize>, u64, u64), EngineError> {
    let rows = green
        .query("SELECT n, rows, bytes FROM replat.chunk WHERE deployment = $1", &[&deployment])
        .await
        .map_err(on(&plan.green.home.database, "reading which chunks are there"))?;
    let mut done = std::collections::BTreeSet::new();
    let (mut total_rows, mut total_bytes) = (0, 0);
    for row in rows {
        done.insert(usize::try_from(row.get::<_, i32>(0)).unwrap_or_default());
        total_rows += u64::try_from(row.get::<_, i64>(1)).unwrap_or_default();
        total_bytes += u64::try_from(row.get::<_, i64>(2)).unwrap_or_default();
    }
    Ok((done, total_rows, total_bytes))
}

/// A pair of connections that copies chunks.
pub struct Lane {
    /// Reads.
    pub blue: Session,
    /// Writes, with the pass that lets replat through.
    pub green: Session,
}

/// Copies every chunk that is not there yet, on as many lanes as there are.
pub async fn copy_all(
    lanes: Vec<Lane>,
    plan: &Plan,
    deployment: &str,
    chunks: &[Chunk],
    todo: Vec<usize>,
    progress: &CopyProgress,
) -> Result<(), EngineError> {
    let todo = Mutex::new(todo.into());
    let work: FuturesUnordered<_> = lanes
        .into_iter()
        .map(|lane| Box::pin(drain(lane, plan, deployment, chunks, &todo, progress)))
        .collect();
    work.try_collect::<Vec<()>>().await.map(drop)
}

/// One lane takes chunks until none is left.
async fn drain(
    mut lane: Lane,
    plan: &Plan,
    deployment: &str,
    chunks: &[Chunk],
    todo: &Mutex<VecDeque<usize>>,
    progress: &CopyProgress,
) -> Result<(), EngineError> {
    loop {
        let next = todo.lock().expect("no lane panics while it takes a chunk").pop_front();
        let Some(n) = next else { return Ok(()) };
        let (rows, bytes) = copy_chunk(&lane.blue, &mut lane.green, plan, deployment, n, &chunks[n]).await?;
        progress.chunks.fetch_add(1, Ordering::Relaxed);
        progress.rows.fetch_add(rows, Ordering::Relaxed);
        progress.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}
