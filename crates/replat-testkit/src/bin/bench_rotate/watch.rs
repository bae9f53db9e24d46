//! Others who look on while maintenance runs: a long reader, one who counts rows, one who counts who waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use replat_testkit::random::Random;
use replat_testkit::server::connect;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::figures::ms;

/// How often it is asked who waits for a lock.
const ASK_EVERY: Duration = Duration::from_millis(4);

/// A transaction that has read all partitions and stays open, as a report or a dump does.
///
/// Returns once it has its locks; the task ends when it has committed.
///
/// # Errors
///
/// What the database says.
pub async fn read_for(url: &str, length: Duration) -> Result<JoinHandle<Result<(), Failure>>, Failure> {
    let client = connect(url).await?;
    client
        .batch_execute("set application_name = 'bench reader'; begin; select count(*) from public.events")
        .await?;
    Ok(tokio::spawn(async move {
        let sleep = format!("select pg_sleep({}); commit", length.as_secs_f64());
        Ok(client.batch_execute(&sleep).await?)
    }))
}

/// Something that goes on until it is stopped.
pub struct Watch<T> {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<T, Failure>>,
}

impl<T> Watch<T> {
    /// Stops it and hands out what it saw.
    ///
    /// # Errors
    ///
    /// What the database said to it.
    pub async fn stop(self) -> Result<T, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// How many rows were seen of those that nobody touches.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How often it was counted.
    pub counts: u64,
    /// The fewest.
    pub least: i64,
    /// The most.
    pub most: i64,
}

/// Counts some rows by their ids again and again.
///
/// # Errors
///
/// What the database says.
pub async fn count_rows(url: &str, ids: Vec<i64>) -> Result<Watch<Seen>, Failure> {
    let client = connect(url).await?;
    client.batch_execute("set application_name = 'bench counter'").await?;
    let count = client.prepare("select count(*) from public.events where id = any($1)").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let mut seen = Seen { counts: 0, least: i64::MAX, most: i64::MIN };
        while !stopped.load(Ordering::Relaxed) {
            // A count that a deadlock broke off has seen nothing.
            if let Ok(row) = client.query_one(&count, &[&ids]).await {
                let rows: i64 = row.try_get(0)?;
                seen =
                    Seen { counts: seen.counts + 1, least: seen.least.min(rows), most: seen.most.max(rows) };
            } else if client.is_closed() {
                return Err("the session that counts rows was lost".into());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(seen)
    });
    Ok(Watch { stop, task })
}

/// Adds up how long sessions of the application stood in a queue behind the maintenance, in milliseconds.
///
/// # Errors
///
/// What the database says.
pub async fn count_waiters(url: &str) -> Result<Watch<f64>, Failure> {
    let client = connect(url).await?;
    client.batch_execute("set application_name = 'bench observer'").await?;
    let waiting = client
        .prepare(
            "select count(*) from pg_stat_activity a
            where a.datname = current_database() and a.wait_event_type = 'Lock' and a.application_name like 'bench %'
            and exists (select from pg_stat_activity m where m.pid = any(pg_blocking_pids(a.pid))
                and m.backend_type = 'client backend' and m.application_name not like 'bench %')",
        )
        .await?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let task = tokio::spawn(async move {
        let (mut total, mut last) = (0.0, Instant::now());
        while !stopped.load(Ordering::Relaxed) {
            let waiters: i64 = client.query_one(&waiting, &[]).await?.try_get(0)?;
            total += waiters as f64 * ms(last.elapsed());
            last = Instant::now();
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(total)
    });
    Ok(Watch { stop, task })
}

/// Transactions that read one table after another, and keep each for a while.
///
/// # Errors
///
/// What the database says.
pub async fn read_around(
    url: &str,
    tables: Vec<String>,
    each: Duration,
    seed: u64,
) -> Result<Watch<u64>, Failure> {
    let client = connect(url).await?;
    client.batch_execute("set application_name = 'bench reader'").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let mut random = Random::new(seed);
    let task = tokio::spawn(async move {
        let mut transactions = 0;
        while !stopped.load(Ordering::Relaxed) {
            let table = &tables[random.below(tables.len() as u64) as usize];
            client.batch_execute(&format!("begin; select count(*) from public.{table}")).await?;
            tokio::time::sleep(each).await;
            client.batch_execute("commit").await?;
            transactions += 1;
        }
        Ok(transactions)
    });
    Ok(Watch { stop, task })
}
