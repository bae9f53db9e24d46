//! Writers through the proxy while their partition moves there and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::Failure;
use crate::figures::Switches;
use crate::place::{Place, Proxy};

/// Writers on the partition that moves, and on another.
const WRITERS: usize = 8;
const OTHERS: usize = 4;
/// For how long writers go on after a switch, and in peace before the next.
const AFTER: Duration = Duration::from_millis(100);
const REST: Duration = Duration::from_millis(300);
/// How often each writes. What is measured is how long a write waits, not how far changes can run ahead of their copy.
const PACE: Duration = Duration::from_millis(5);
/// How long a writer waits before it comes again after an error.
const AGAIN: Duration = Duration::from_millis(50);
/// How many ids one writer may use.
const IDS: i64 = 1_000_000_000;

/// What all writers look at.
#[derive(Debug, Default)]
pub struct Stage {
    /// Which part of the story it is: odd during a switch, even between.
    slot: AtomicUsize,
    over: AtomicBool,
}

impl Stage {
    /// The next part begins.
    pub fn turn(&self) {
        self.slot.fetch_add(1, Ordering::SeqCst);
    }

    /// Writers stop.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// What one writer saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The tenant whose rows it writes.
    pub tenant: i64,
    /// Ids of the rows that were acknowledged.
    pub acknowledged: Vec<i64>,
    /// Ids of rows whose write ended with an error: they may be there or not.
    pub unknown: BTreeSet<i64>,
    /// The longest that one write waited for its acknowledgement, by the part of the story in which that came. Unit: milliseconds.
    pub longest_ms: Vec<f64>,
    /// How many errors, and the first.
    pub errors: u64,
    /// The first of them.
    pub example: Option<String>,
}

/// Writes one row after the other until the stage is over; every third in a transaction of three statements.
pub fn writer(
    proxy: &Arc<Proxy>,
    stage: &Arc<Stage>,
    tenant: i64,
    partition: &'static str,
    at: usize,
    pace: Duration,
) -> JoinHandle<Seen> {
    let (proxy, stage) = (proxy.clone(), stage.clone());
    tokio::spawn(async move {
        let mut seen = Seen { tenant, ..Seen::default() };
        let mut id = at as i64 * IDS;
        while !stage.over.load(Ordering::SeqCst) {
            // Whoever saw an error comes again with a new session.
            if let Err(error) = write(&proxy, &stage, (partition, pace), &mut id, &mut seen).await {
                seen.errors += 1;
                seen.unknown.insert(id);
                seen.example.get_or_insert_with(|| said(&error));
                id += 1;
                tokio::time::sleep(AGAIN).await;
            }
        }
        seen
    })
}

fn said(error: &tokio_postgres::Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |db| format!("{}: {}", db.code().code(), db.message()))
}

async fn write(
    proxy: &Proxy,
    stage: &Stage,
    (partition, pace): (&str, Duration),
    id: &mut i64,
    seen: &mut Seen,
) -> Result<(), tokio_postgres::Error> {
    let mut client = proxy.client(partition).await?;
    let insert = client.prepare("insert into entries values ($1, $2)").await?;
    let mut pace = tokio::time::interval(pace);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stage.over.load(Ordering::SeqCst) {
        pace.tick().await;
        let begun = Instant::now();
        if *id % 3 == 0 {
            let transaction = client.transaction().await?;
            transaction.execute(&insert, &[&seen.tenant, id]).await?;
            let sql = "update accounts set abalance = abalance + 1 where tenant_id = $1 and aid = $2";
            transaction.execute(sql, &[&seen.tenant, &(*id % 1000 + 1)]).await?;
            transaction.commit().await?;
        } else {
            client.execute(&insert, &[&seen.tenant, id]).await?;
        }
        let slot = stage.slot.load(Ordering::SeqCst);
        if seen.longest_ms.len() <= slot {
            seen.longest_ms.resize(slot + 1, 0.0);
        }
        let waited = begun.elapsed().as_secs_f64() * 1000.0;
        seen.longest_ms[slot] = seen.longest_ms[slot].max(waited);
        seen.acknowledged.push(*id);
        *id += 1;
    }
    Ok(())
}

/// Moves the partition so often, and asks its writers.
pub async fn measure(place: &Place, times: u32) -> Result<Switches, Failure> {
    let proxy = Arc::new(place.proxy(&[]).await?);
    let stage = Arc::new(Stage::default());
    let start = |tenant, partition, at| writer(&proxy, &stage, tenant, partition, at, PACE);
    let writers: Vec<_> = (0..WRITERS)
        .map(|at| start(1, "acme", at))
        .chain((WRITERS..WRITERS + OTHERS).map(|at| start(2, "zeta", at)))
        .collect();
    let _deploying = place.deploy().await?;
    let (commands_ms, home) = switch(place, &stage, times).await?;
    stage.end();
    let mut all = Vec::new();
    for writer in writers {
        all.push(writer.await?);
    }
    // The first part is the copy, and the first switch of all.
    let (of_partition, of_others): (Vec<Seen>, Vec<Seen>) = all.iter().cloned().partition(|s| s.tenant == 1);
    let (acknowledged, lost, unexpected) = account(place, &all, home).await?;
    Ok(Switches {
        writers: WRITERS,
        others: OTHERS,
        pauses_ms: longest(&of_partition, 1, times),
        others_ms: longest(&of_others, 1, times),
        rests_ms: longest(&of_partition, 2, times),
        commands_ms,
        errors: all.iter().map(|seen| seen.errors).sum(),
        example: all.iter().find_map(|seen| seen.example.clone()),
        acknowledged,
        lost,
        unexpected,
    })
}

/// There and back, so often; how long each command took (unit: milliseconds), and which database is home in the end.
pub async fn switch(place: &Place, stage: &Stage, times: u32) -> Result<(Vec<f64>, &'static str), Failure> {
    let mut commands_ms = Vec::new();
    let mut home = "green";
    for _ in 0..times {
        let (verb, next) = if home == "green" { ("rollback", "blue") } else { ("switch", "green") };
        stage.turn();
        let begun = Instant::now();
        place.run(&["deploy", verb]).await?;
        commands_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(AFTER).await;
        stage.turn();
        tokio::time::sleep(REST).await;
        home = next;
    }
    Ok((commands_ms, home))
}

/// The longest of any writer in every second part of the story, from `first` on.
pub fn longest(writers: &[Seen], first: usize, times: u32) -> Vec<f64> {
    let of = |slot: usize| {
        writers.iter().filter_map(|seen| seen.longest_ms.get(slot)).copied().fold(0.0, f64::max)
    };
    (0..times as usize).map(|at| of(first + 2 * at)).collect()
}

/// How many writes were acknowledged, how many of those are not where they belong, and how many rows nobody wrote.
pub async fn account(place: &Place, all: &[Seen], home: &str) -> Result<(u64, u64, u64), Failure> {
    let (mut acknowledged, mut lost, mut unexpected) = (0, 0, 0);
    for (tenant, database) in [(1_i64, home), (2, "blue")] {
        let client = place.server.client(database).await?;
        let rows = client.query("select id from entries where tenant_id = $1", &[&tenant]).await?;
        let there: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        let of = || all.iter().filter(|seen| seen.tenant == tenant);
        let wanted: BTreeSet<i64> = of().flat_map(|seen| seen.acknowledged.iter().copied()).collect();
        let unknown: BTreeSet<i64> = of().flat_map(|seen| seen.unknown.iter().copied()).collect();
        acknowledged += wanted.len() as u64;
        lost += wanted.difference(&there).count() as u64;
        unexpected += there.difference(&wanted).filter(|id| !unknown.contains(id)).count() as u64;
    }
    Ok((acknowledged, lost, unexpected))
}
