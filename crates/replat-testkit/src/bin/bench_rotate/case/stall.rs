//! What an application feels while maintenance runs.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::{Bench, Case, Standing, blank, heed, settle};
use crate::Failure;
use crate::arm::{Arm, Job, Ready};
use crate::figures::{Measure, Waits, Window, ms};
use crate::load::{Heard, Load, LoadPlan};
use crate::place::Database;
use crate::watch::{Seen, count_rows, read_for};

/// How long the load runs before anything else happens; and the reader, before maintenance begins.
const WARM: Duration = Duration::from_secs(1);
/// What belongs to the window after maintenance, and the reader, have ended.
const TAIL: Duration = Duration::from_millis(300);
/// How long the noise arm does nothing where no reader says how long.
const IDLE: Duration = Duration::from_secs(4);
/// How many rows are watched for being in sight.
const WATCHED: usize = 100;

/// One arm in one round.
pub async fn measure(
    case: &Case,
    bench: &Bench,
    database: &Database,
    arm: Arm,
    round: u32,
    reader: Option<Duration>,
) -> Result<Measure, Failure> {
    let mut measure = blank(arm, round);
    let client = bench.place.server.client(&database.name).await?;
    client.batch_execute("set application_name = 'bench'").await?;
    let before = Standing::of(&client).await?;
    let began_with = Content::of(&client).await?;
    let idle = reader.map_or(IDLE, |reader| reader - WARM);
    let ready = Ready::new(arm, case.job, idle, &bench.place, database, &bench.program).await?;

    let load = Load::start(&load_plan(case, bench, database, round)).await?;
    let watch = match case.job {
        Job::Drain | Job::Convert => Some(count_rows(&database.url, watched(case)).await?),
        Job::Maintain { .. } => None,
    };
    tokio::time::sleep(WARM).await;
    let reading = match reader {
        Some(length) => Some(read_for(&database.url, length).await?),
        None => None,
    };
    tokio::time::sleep(WARM).await;
    let done = ready.go().await?;
    if let Some(reading) = reading {
        reading.await??;
    }
    tokio::time::sleep(TAIL).await;
    let window = Window { from: done.began, to: Instant::now() };
    let heard = load.stop().await?;
    let seen = match watch {
        Some(watch) => Some(watch.stop().await?),
        None => None,
    };

    let took = done.ended - done.began;
    measure.took_ms = ms(took);
    measure.numbers.insert("took", took.as_secs_f64());
    measure.failures = done.failures;
    measure.said = done.said;
    measure.achieved = measure.failures.is_empty();
    fill(&mut measure, &heard, window, bench.pace);
    heed(&mut measure);
    settle(case, bench, database, &before, &mut measure).await?;
    let ended_with = Content::of(&client).await?;
    check_rows(case, &client, &began_with, &ended_with, &heard, seen, &mut measure).await?;
    Ok(measure)
}

/// What the load is to do to this case's tables.
pub fn load_plan(case: &Case, bench: &Bench, database: &Database, round: u32) -> LoadPlan {
    LoadPlan {
        url: database.url.clone(),
        tables: case.shape.tables(),
        ids: case.shape.ids(),
        pace: bench.pace,
        seed: u64::from(round) * 1000,
    }
}

/// Takes the waits of the window, and what was refused at any time.
pub fn fill(measure: &mut Measure, heard: &Heard, window: Window, pace: Duration) {
    for (class, samples) in &heard.samples {
        measure.classes.insert(*class, Waits::within(samples, window, pace));
    }
    measure.refused = heard.refused.clone();
}

fn watched(case: &Case) -> Vec<i64> {
    let kept = case.shape.ids().kept;
    let step = ((kept.end - kept.start) as usize / WATCHED).max(1);
    kept.step_by(step).take(WATCHED).collect()
}

/// The rows of the table, as sums that tell a lost, a doubled and an outdated row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    rows: i64,
    ids: i64,
    updates: i64,
}

impl Content {
    async fn of(client: &Client) -> Result<Content, Failure> {
        let sums = "select count(*), coalesce(sum(id), 0)::bigint, coalesce(sum(kind), 0)::bigint from public.events";
        let row = client.query_one(sums, &[]).await?;
        Ok(Content { rows: row.try_get(0)?, ids: row.try_get(1)?, updates: row.try_get(2)? })
    }
}

/// Holds the rows against what was acknowledged. In every case: maintenance loses nothing, whatever it was to do.
async fn check_rows(
    case: &Case,
    client: &Client,
    before: &Content,
    after: &Content,
    heard: &Heard,
    seen: Option<Seen>,
    measure: &mut Measure,
) -> Result<(), Failure> {
    let tally = heard.tally;
    // What was retired is gone from the table, as it should be, and is no loss.
    if case.wanted.retired == 0 {
        let wrong = (after.rows - before.rows - tally.rows).abs();
        let exact = wrong == 0
            && after.ids - before.ids == tally.ids
            && after.updates - before.updates == tally.updates;
        measure.numbers.insert("rows lost or doubled", wrong as f64);
        if !exact {
            measure.achieved = false;
            measure.failures.push(format!(
                "the rows are not those that were acknowledged: {} rows too many, ids off by {}, updates by {}",
                after.rows - before.rows - tally.rows,
                after.ids - before.ids - tally.ids,
                after.updates - before.updates - tally.updates
            ));
        }
    }
    if let Some(seen) = seen {
        let hidden = WATCHED as i64 - seen.least;
        measure.numbers.insert("rows out of sight", hidden as f64);
        if hidden != 0 || seen.most != WATCHED as i64 {
            measure.achieved = false;
            let Seen { counts, least, most } = seen;
            measure
                .failures
                .push(format!("of {WATCHED} rows that nobody touched {counts} counts saw {least} to {most}"));
        }
    }
    if measure.arm == Arm::Noise {
        return Ok(());
    }
    if case.wanted.drained {
        let left = left_in_default(client).await?;
        measure.numbers.insert("left in DEFAULT", left as f64);
        measure.came_to = format!("{left} rows left in DEFAULT");
        measure.achieved &= left == 0;
    }
    if case.wanted.converted {
        let kind = "select relkind = 'p' from pg_class where oid = 'public.events'::regclass";
        let converted: bool = client.query_one(kind, &[]).await?.try_get(0)?;
        measure.came_to = if converted { "partitioned" } else { "not partitioned" }.to_owned();
        measure.achieved &= converted;
    }
    Ok(())
}

async fn left_in_default(client: &Client) -> Result<i64, Failure> {
    let find = "select i.inhrelid::regclass::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'public.events'::regclass and pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'";
    let Some(row) = client.query_opt(find, &[]).await? else { return Ok(0) };
    let count = format!("select count(*) from {}", row.try_get::<_, String>(0)?);
    Ok(client.query_one(&count, &[]).await?.try_get(0)?)
}
