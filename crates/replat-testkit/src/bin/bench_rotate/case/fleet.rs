//! Many tables: nothing to do on them, much to do on them, and something to do while they are in use.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use replat_testkit::server::Binaries;
use tokio::process::Command;

use super::{Bench, Case, Standing, blank, heed, settle};
use crate::Failure;
use crate::arm::{Arm, Ready};
use crate::case::stall;
use crate::figures::{Measure, Window, median, ms};
use crate::load::Load;
use crate::place::Database;
use crate::watch::{count_waiters, read_around};

/// How often nothing is done in one round.
const NO_OPS: usize = 7;
/// How long the noise arm does nothing.
const IDLE: Duration = Duration::from_secs(6);
/// How many transactions read here and there while tables are in use, and for how long each.
const READERS: u64 = 12;
const READ_FOR: Duration = Duration::from_millis(500);
/// A clock tick of the system, in which it tells the time that processes used; 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// How long a session's process may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(5);

/// Nothing to do: the whole command as a user calls it, and the time it reports of itself.
pub async fn no_op(
    case: &Case,
    bench: &Bench,
    database: &Database,
    arm: Arm,
    round: u32,
) -> Result<Measure, Failure> {
    let mut measure = blank(arm, round);
    // The first run remembers that there is nothing to do, or, for both, fills caches.
    let first = Ready::new(arm, case.job, Duration::ZERO, &bench.place, database, &bench.program).await?;
    measure.failures = first.go().await?.failures;
    let before = Standing::of(&bench.place.server.client(&database.name).await?).await?;
    let (mut whole, mut own) = (Vec::new(), Vec::new());
    for _ in 0..NO_OPS {
        let begun = Instant::now();
        match arm {
            Arm::Noise => {}
            Arm::Partman => {
                psql(&bench.place.partman.maintain(), database).await?;
                whole.push(ms(begun.elapsed()));
                let ready =
                    Ready::new(arm, case.job, Duration::ZERO, &bench.place, database, &bench.program).await?;
                let done = ready.go().await?;
                own.push(ms(done.ended - done.began));
            }
            Arm::Replat => {
                let folder = bench.place.folder()?;
                let ran = bench.program.rotate(case.job, database, &folder).await?;
                whole.push(ms(begun.elapsed()));
                measure.failures.extend(ran.failure);
                let clock = ran.said.as_ref().and_then(own_clock);
                own.extend(clock);
                measure.said = ran.said;
            }
        }
    }
    let after = Standing::of(&bench.place.server.client(&database.name).await?).await?;
    let (created, retired) = (after.created(&before), after.retired(&before));
    measure.achieved = measure.failures.is_empty() && created + retired == 0;
    measure.came_to = if measure.achieved { "nothing".to_owned() } else { format!("{created} created") };
    measure.took_ms = median(whole.clone()).unwrap_or(0.0);
    measure.numbers.extend(median(whole).map(|value| ("whole command", value)));
    measure.numbers.extend(median(own).map(|value| ("by its own clock", value)));
    Ok(measure)
}

/// The time that the program says it took, in milliseconds.
fn own_clock(said: &serde_json::Value) -> Option<f64> {
    said.pointer("/databases/0/took_ms").and_then(serde_json::Value::as_f64)
}

/// A statement in a process of its own, as cron runs it.
async fn psql(statement: &str, database: &Database) -> Result<(), Failure> {
    let program: PathBuf = Binaries::find()?.program("psql");
    let mut command = Command::new(&program);
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &database.url, "-c", statement]);
    let output = command.kill_on_drop(true).output().await;
    let output = output.map_err(|e| format!("cannot run {}: {e}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("psql failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Many partitions on many tables, and nobody else.
pub async fn throughput(
    case: &Case,
    bench: &Bench,
    database: &Database,
    arm: Arm,
    round: u32,
) -> Result<Measure, Failure> {
    let mut measure = blank(arm, round);
    let place = &bench.place;
    let client = place.server.client(&database.name).await?;
    // Its workers are children of the same process, whose time could not be told apart.
    client.batch_execute("alter system set autovacuum = off").await?;
    client.batch_execute("select pg_reload_conf()").await?;
    let before = Standing::of(&client).await?;
    let ready = Ready::new(arm, case.job, Duration::ZERO, place, database, &bench.program).await?;
    let log = "select pg_current_wal_insert_lsn()::text";
    let log_before: String = client.query_one(log, &[]).await?.try_get(0)?;
    let cpu_before = reaped_cpu(place.postmaster()?);
    let sessions_before = sessions(&client).await?;
    let done = ready.go().await?;
    // A process counts when it is gone.
    let begun = Instant::now();
    while sessions(&client).await? > sessions_before.saturating_sub(1).max(1) && begun.elapsed() < GONE_MAX {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let cpu = reaped_cpu(place.postmaster()?).zip(cpu_before).map(|(after, before)| after - before);
    let bytes = client
        .query_one(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::text::pg_lsn)::bigint",
            &[&log_before],
        )
        .await?;
    let bytes: i64 = bytes.try_get(0)?;
    client.batch_execute("alter system reset autovacuum").await?;
    client.batch_execute("select pg_reload_conf()").await?;

    let took = done.ended - done.began;
    measure.took_ms = ms(took);
    measure.numbers.insert("took", took.as_secs_f64());
    measure.failures = done.failures;
    measure.said = done.said;
    measure.achieved = measure.failures.is_empty();
    heed(&mut measure);
    settle(case, bench, database, &before, &mut measure).await?;
    let created = Standing::of(&client).await?.created(&before);
    if created > 0 {
        let each = created as f64;
        measure.numbers.insert("partitions per second", each / took.as_secs_f64());
        measure.numbers.extend(cpu.map(|cpu| ("backend CPU, each", ms(cpu) / each)));
        measure.numbers.insert("log, each", bytes as f64 / 1024.0 / each);
    }
    Ok(measure)
}

async fn sessions(client: &tokio_postgres::Client) -> Result<i64, Failure> {
    let count = "select count(*) from pg_stat_activity where datname = current_database()";
    Ok(client.query_one(count, &[]).await?.try_get(0)?)
}

/// The time that ended children of a process used, and their children; `None` where the system does not tell.
fn reaped_cpu(process: u32) -> Option<Duration> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; what follows it begins with the third field.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
    Some(TICK * (ticks(16)? + ticks(17)?))
}

/// New partitions for tables that are in use: how long the application queues.
pub async fn queues(
    case: &Case,
    bench: &Bench,
    database: &Database,
    arm: Arm,
    round: u32,
) -> Result<Measure, Failure> {
    let mut measure = blank(arm, round);
    let client = bench.place.server.client(&database.name).await?;
    client.batch_execute("set application_name = 'bench'").await?;
    let before = Standing::of(&client).await?;
    let ready = Ready::new(arm, case.job, IDLE, &bench.place, database, &bench.program).await?;
    let load = Load::start(&stall::load_plan(case, bench, database, round)).await?;
    let mut readers = Vec::new();
    for reader in 0..READERS {
        let seed = u64::from(round) * 100 + reader;
        readers.push(read_around(&database.url, case.shape.tables(), READ_FOR, seed).await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiters = count_waiters(&database.url).await?;
    let done = ready.go().await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let queued = waiters.stop().await?;
    let window = Window { from: done.began, to: Instant::now() };
    for reader in readers {
        reader.stop().await?;
    }
    let heard = load.stop().await?;

    let took = done.ended - done.began;
    measure.took_ms = ms(took);
    measure.numbers.insert("took", took.as_secs_f64());
    measure.numbers.insert("queued, as seen", queued);
    measure.failures = done.failures;
    measure.said = done.said;
    measure.achieved = measure.failures.is_empty();
    stall::fill(&mut measure, &heard, window, bench.pace);
    heed(&mut measure);
    settle(case, bench, database, &before, &mut measure).await?;
    Ok(measure)
}
