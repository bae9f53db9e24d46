//! How fast both servers answer, and how fast rows of the partition come. Briefly, and by reading alone.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use replat_model::draft::SliceSize;
use replat_model::prediction::{Measured, RoundTrip, Sample};
use tokio_postgres::{Client, Error};

/// Questions from whose answers the way to a server is known.
const TRIPS: usize = 5;

/// After this long, no larger sample is read.
const SAMPLE_ENOUGH: Duration = Duration::from_millis(50);

/// The server gives a sample up after this. Unit: milliseconds.
const SAMPLE_MAX_MS: u64 = 200;

/// The first sample; each next one is this many times as large.
const SAMPLE_ROWS: u64 = 1_000;
const SAMPLE_STEP: u64 = 8;

/// The growth of a log is looked at for this long at least.
const LOG_LOOK: Duration = Duration::from_millis(100);

/// The rows of which some are read.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// The table's name on blue.
    pub table: String,
    /// The same with its schema, quoted.
    pub qualified: String,
    /// Which of its rows belong to the partition, as SQL.
    pub predicate: String,
    /// How much that is.
    pub size: SliceSize,
}

/// Measures, for less than half a second. What could not be measured is absent: a prediction is never in the way of a
/// plan. The sessions must not be in a transaction.
pub async fn measure(blue: &Client, green: &Client, sampled: Option<Sampled>) -> Measured {
    let begun = Instant::now();
    let before = log_position(blue).await;
    let trips = (round_trip(blue).await.ok(), round_trip(green).await.ok());
    let read = match sampled {
        Some(sampled) => sample(blue, sampled).await,
        None => None,
    };
    tokio::time::sleep(LOG_LOOK.saturating_sub(begun.elapsed())).await;
    let (after, took) = (log_position(blue).await, begun.elapsed());
    let grown = before.zip(after).map(|(before, after)| after.saturating_sub(before));
    let log_rate =
        grown.and_then(|bytes| u64::try_from(u128::from(bytes) * 1_000_000 / took.as_micros().max(1)).ok());
    Measured { blue: trips.0, green: trips.1, read, log_rate }
}

async fn round_trip(client: &Client) -> Result<RoundTrip, Error> {
    let (mut least_us, mut most_us) = (u64::MAX, 0);
    for _ in 0..TRIPS {
        let begun = Instant::now();
        client.simple_query("SELECT 1").await?;
        let took = micros(begun.elapsed());
        (least_us, most_us) = (least_us.min(took), most_us.max(took));
    }
    Ok(RoundTrip { least_us, most_us })
}

/// Bytes of the log so far; `None` where the role may not know, or the server is a standby.
async fn log_position(client: &Client) -> Option<u64> {
    let asked = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::text";
    let row = client.query_one(asked, &[]).await.ok()?;
    row.get::<_, &str>(0).parse().ok()
}

/// Reads more and more rows until it has taken long enough to tell. What takes too long is given up, and the sample
/// before it counts.
async fn sample(client: &Client, sampled: Sampled) -> Option<Sample> {
    let Sampled { table, qualified, predicate, size } = sampled;
    let (mut best, mut rows) = (None, SAMPLE_ROWS);
    loop {
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {SAMPLE_MAX_MS}");
        client.batch_execute(&begin).await.ok()?;
        let sql = format!("COPY (SELECT * FROM {qualified} WHERE {predicate} LIMIT {rows}) TO STDOUT");
        let begun = Instant::now();
        let read = lines(client, &sql).await;
        let took = begun.elapsed();
        client.batch_execute("ROLLBACK").await.ok()?;
        let Ok(read) = read else { return best };
        best = Some(Sample { table: table.clone(), of: size, rows: read, took_us: micros(took) });
        if read < rows || took >= SAMPLE_ENOUGH {
            return best;
        }
        rows *= SAMPLE_STEP;
    }
}

/// How many lines a COPY in text gives: one for each row, since line breaks in values are written otherwise.
async fn lines(client: &Client, sql: &str) -> Result<u64, Error> {
    let mut stream = pin!(client.copy_out(sql).await?);
    let mut lines = 0;
    while let Some(bytes) = stream.try_next().await? {
        lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    Ok(lines)
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
