//! What a session pays after maintenance: each commit that attaches voids what it knew of the table.

use std::time::{Duration, Instant};

use replat_testkit::server::connect;
use tokio_postgres::{Client, Statement};

use super::{Bench, Case, Standing, blank, heed, settle};
use crate::Failure;
use crate::arm::{Arm, Ready};
use crate::figures::{Measure, ms};
use crate::place::Database;

/// How long the noise arm does nothing.
const IDLE: Duration = Duration::from_secs(3);
/// How often the busy session plans.
const PLAN_EVERY: Duration = Duration::from_millis(20);
/// How often a session runs its statements before it counts as warm.
const WARM_TIMES: usize = 8;

/// A session with its statements prepared, and planned for all partitions.
struct Session {
    client: Client,
    insert: Statement,
    select: Statement,
}

impl Session {
    async fn open(url: &str) -> Result<Session, Failure> {
        let client = connect(url).await?;
        client
            .batch_execute("set application_name = 'bench session'; set plan_cache_mode = force_generic_plan")
            .await?;
        let insert = "insert into public.events (ts, dev, payload) values (now(), 1, 'probe')";
        let select = "select count(*) from public.events where dev = $1 and ts >= $2::timestamptz
            and ts < $2::timestamptz + interval '1 hour'";
        let (insert, select) = (client.prepare(insert).await?, client.prepare(select).await?);
        let session = Session { client, insert, select };
        for _ in 0..WARM_TIMES {
            session.insert().await?;
            session.select().await?;
        }
        Ok(session)
    }

    async fn insert(&self) -> Result<Duration, Failure> {
        let begun = Instant::now();
        self.client.execute(&self.insert, &[]).await?;
        Ok(begun.elapsed())
    }

    async fn select(&self) -> Result<Duration, Failure> {
        let begun = Instant::now();
        self.client.query(&self.select, &[&1i32, &std::time::SystemTime::now()]).await?;
        Ok(begun.elapsed())
    }
}

/// One arm in one round.
pub async fn measure(
    case: &Case,
    bench: &Bench,
    database: &Database,
    arm: Arm,
    round: u32,
) -> Result<Measure, Failure> {
    let mut measure = blank(arm, round);
    let client = bench.place.server.client(&database.name).await?;
    let before = Standing::of(&client).await?;
    let ready = Ready::new(arm, case.job, IDLE, &bench.place, database, &bench.program).await?;
    let inserting = Session::open(&database.url).await?;
    let selecting = Session::open(&database.url).await?;
    let busy = Session::open(&database.url).await?;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let planning = tokio::spawn(async move {
        let mut waits = Vec::new();
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            waits.push(busy.select().await?);
            tokio::time::sleep(PLAN_EVERY).await;
        }
        Ok::<_, Failure>(waits)
    });
    let newest: String =
        client.query_one("select pg_snapshot_xmax(pg_current_snapshot())::text", &[]).await?.try_get(0)?;
    let done = ready.go().await?;
    // The first statements of sessions that were at rest all the while.
    let first_insert = inserting.insert().await?;
    let first_select = selecting.select().await?;
    tokio::time::sleep(PLAN_EVERY * 3).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut waits = planning.await??;
    waits.sort_unstable();
    let usual = waits.get(waits.len() / 2).copied().unwrap_or_default();
    let extra: Duration = waits.iter().map(|wait| wait.saturating_sub(usual)).sum();

    let took = done.ended - done.began;
    measure.took_ms = ms(took);
    measure.failures = done.failures;
    measure.said = done.said;
    measure.achieved = measure.failures.is_empty();
    // By the time of the commit: one transaction has many numbers if it has savepoints.
    let commits = "select count(distinct pg_xact_commit_timestamp(xmin)) from pg_inherits
        where inhparent = 'public.events'::regclass and xmin::text::bigint >= $1::text::bigint";
    let commits: i64 = client.query_one(commits, &[&newest]).await?.try_get(0)?;
    let numbers = [
        ("took", took.as_secs_f64()),
        ("commits that attach", commits as f64),
        ("first INSERT", ms(first_insert)),
        ("first generic SELECT", ms(first_select)),
        ("planning, added up", ms(extra)),
    ];
    measure.numbers.extend(numbers);
    heed(&mut measure);
    settle(case, bench, database, &before, &mut measure).await?;
    Ok(measure)
}
