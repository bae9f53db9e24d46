//! Bringing a unit about, or taking back what it began.
//!
//! A unit is recorded before its first statement, and what it stages is recorded by the transaction that stages it. So
//! whoever comes after a crash finds by the records what to take back ([`settle`], [`script::reap`]); and a unit that
//! fails takes itself back by the same way.

use std::time::{Duration, Instant};

use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_engine::{EngineError, Verdict};
use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::{Kind, Unit, Work};
use tokio_postgres::Client;

use super::archive;
use super::ledger::{self, Change, Ledger, PARTS, Placed};
use super::mirror::{self, survey::Session};
use super::quiet::{self, Pair, Spent, Stop};
use super::reshape;
use super::script::{self, Kitchen, Recipe, Step, Txn};
use crate::connect::Connected;
use crate::error::on;
use crate::sql::quote_literal;

/// How long taking back may go on trying, however little patience the unit had: what it began is worse than nothing.
const TAKE_BACK_PATIENCE: Duration = Duration::from_secs(10);

/// Two sessions, and what a unit is brought about with.
#[derive(Clone, Copy)]
pub struct Bench<'a> {
    /// The session that works.
    pub work: &'a Connected,
    /// The session that sees who is in the way.
    pub watch: &'a Client,
    /// The database's name, for errors.
    pub database: &'a str,
    /// The name of the run, for the records.
    pub run: &'a str,
}

/// Brings a unit about, or takes back what it began.
///
/// # Errors
///
/// [`EngineError`] if a session was lost or the records cannot be kept; then the next run settles what was begun. What
/// stands in the way of the unit itself is in [`Outcome::why`].
pub async fn act(
    bench: &Bench<'_>,
    unit: &Unit,
    limits: &Limits,
    heard: &dyn Hear,
) -> Result<Outcome, EngineError> {
    let since = Instant::now();
    let ledger = ledger::ensure(&bench.work.client, &unit.set.schema).await?;
    settle(bench, &ledger).await?;
    let kitchen = Kitchen {
        client: &bench.work.client,
        database: bench.database,
        ledger: &ledger,
        run: bench.run,
        shown: false,
    };
    let pair = bench.pair(limits, since, heard);
    let mut spent = Spent::default();
    // What a unit that moves rows left on tables in use is found by name, and takes more than one transaction.
    if let Work::Reap { unit: broken, .. } = &unit.work
        && !ledger.kinds(&bench.work.client, broken).await?.iter().all(|kind| is_scripted(kind))
    {
        let session = Session {
            client: &bench.work.client,
            database: bench.database,
            ledger: &ledger,
            unit,
            run: bench.run,
        };
        if let Err(error) =
            mirror::undo::undo(&session, broken, &mut mirror::brief::Patience::new(limits)).await
        {
            let stop = stopped(&error);
            return over(&kitchen, unit, &spent, Vec::new(), Some(stop), true).await;
        }
    }
    // Rows move there, which goes on where it was broken off.
    if reshape::is_its(&unit.work) {
        let session = Session {
            client: &bench.work.client,
            database: bench.database,
            ledger: &ledger,
            unit,
            run: bench.run,
        };
        return match reshape::act(&session, limits, heard).await {
            Ok(outcome) => {
                let spent = Spent {
                    tries: outcome.tries,
                    stalled: Duration::from_micros(outcome.stalled_us),
                    held: Duration::from_micros(outcome.held_us),
                    rows: outcome.rows,
                    version: outcome.version,
                };
                over(&kitchen, unit, &spent, outcome.proofs, None, true).await
            }
            Err(error @ EngineError::Unreachable { .. }) => Err(error),
            Err(error) => {
                let stop = stopped(&error);
                over(&kitchen, unit, &spent, Vec::new(), Some(stop), true).await
            }
        };
    }
    // A partition stays where it is if it cannot be archived.
    if let Work::Retire { archive: Some(folder), .. } | Work::Archive { folder, .. } = &unit.work
        && let Err(error) = archive::usable(folder).await
    {
        let stop = stopped(&error);
        return over(&kitchen, unit, &spent, Vec::new(), Some(stop), true).await;
    }
    // An earlier try of the same work that was broken off is in the way of its own names.
    if has_remains(&kitchen, &unit.id).await? {
        let back = script::reap::reap(&kitchen, None, &unit.id, Some("broken off")).await?;
        if let Err(stop) = run(&pair, &back, &mut spent).await {
            return over(&kitchen, unit, &spent, Vec::new(), Some(stop), false).await;
        }
    }
    let recipe = match script::recipe(&kitchen, unit).await {
        Ok(recipe) => recipe,
        Err(error @ EngineError::Unreachable { .. }) => return Err(error),
        Err(error) => {
            let stop = stopped(&error);
            return over(&kitchen, unit, &spent, Vec::new(), Some(stop), false).await;
        }
    };
    match run(&pair, &recipe, &mut spent).await {
        Ok(()) => over(&kitchen, unit, &spent, recipe.proofs, None, true).await,
        Err(Stop::Lost(error)) => Err(error),
        Err(stop) => {
            let back = take_back(bench, &kitchen, unit, &stop, heard).await?;
            over(&kitchen, unit, &spent, Vec::new(), Some(stop), back).await
        }
    }
}

/// What an error means for the unit: some pass by themselves.
fn stopped(error: &EngineError) -> Stop {
    match error.verdict() {
        Verdict::TryAgain => Stop::Busy { why: error.to_string() },
        Verdict::AskAPerson | Verdict::StandDown => {
            Stop::Refused { why: error.to_string(), remedy: Some(error.remedy()) }
        }
    }
}

impl<'a> Bench<'a> {
    /// The two sessions within limits, whose patience counts from `since`.
    pub fn pair(&self, limits: &'a Limits, since: Instant, heard: &'a (dyn Hear + 'a)) -> Pair<'a> {
        Pair { work: self.work, watch: self.watch, database: self.database, limits, since, heard }
    }
}

/// Runs all transactions of a recipe.
///
/// # Errors
///
/// [`Stop`] of the first that did not reach its end.
pub async fn run(pair: &Pair<'_>, recipe: &Recipe, spent: &mut Spent) -> Result<(), Stop> {
    let of = Some(recipe.transactions.len() as u64);
    for (n, txn) in (0_u64..).zip(&recipe.transactions) {
        pair.heard.progress(txn.name, n, of);
        quiet::run(pair, txn, spent).await?;
    }
    Ok(())
}

/// Whether units of a kind, by its word in the records, are statements alone, so that a script takes them back.
fn is_scripted(kind: &str) -> bool {
    let all = [Kind::Repair, Kind::Create, Kind::Retire, Kind::Drop, Kind::Adopt];
    all.iter().any(|scripted| scripted.word() == kind)
}

/// Closes the records of units that were broken off and of which nothing is left: nobody else is at work now, and what
/// they were to do is planned anew, under another name where a moment is part of it.
///
/// # Errors
///
/// [`EngineError`] if the records cannot be kept.
pub async fn close(bench: &Bench<'_>, ledger: &Ledger) -> Result<(), EngineError> {
    let sql = format!(
        "UPDATE {units} u SET state = 'taken-back', ended_at = pg_catalog.clock_timestamp(), \
           why = coalesce(u.why, 'broken off, with nothing of it left') \
         WHERE u.state IN ('begun', 'failed') AND u.progress IS NULL \
           AND u.kind IN ('create', 'retire', 'drop', 'adopt', 'repair') \
           AND NOT EXISTS (SELECT FROM {parts} p WHERE p.unit = u.id AND p.state = 'staged')",
        units = ledger.table("lifecycle_unit"),
        parts = ledger.table(PARTS),
    );
    let failed = on(bench.database, "settling replat's own records");
    bench.work.client.batch_execute(&sql).await.map_err(failed)
}

/// Whether an earlier try of a unit has left something that is not over.
async fn has_remains(kitchen: &Kitchen<'_>, unit: &str) -> Result<bool, EngineError> {
    let which = format!("p.unit = {} AND p.state = 'staged'", quote_literal(unit));
    Ok(!kitchen.ledger.own(kitchen.client, &which).await?.is_empty()
        || !kitchen.ledger.leftovers(kitchen.client, unit).await?.is_empty())
}

/// Takes back what a unit began. Whether nothing is left of it.
async fn take_back(
    bench: &Bench<'_>,
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    stop: &Stop,
    heard: &dyn Hear,
) -> Result<bool, EngineError> {
    let recipe = script::reap::reap(kitchen, None, &unit.id, Some(&stop.why())).await?;
    // The stalls of taking back are not the unit's to choose: without it, rows would go on being refused.
    let limits = Limits {
        wait_each: Duration::from_millis(50),
        wait_total: Duration::from_millis(200),
        patience: TAKE_BACK_PATIENCE,
        seed: 1,
    };
    let pair = bench.pair(&limits, Instant::now(), heard);
    match run(&pair, &recipe, &mut Spent::default()).await {
        Ok(()) => Ok(true),
        Err(Stop::Lost(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// Writes down what came of a unit. `back`: whether nothing of it is left, if it did not reach its end.
async fn over(
    kitchen: &Kitchen<'_>,
    unit: &Unit,
    spent: &Spent,
    proofs: Vec<String>,
    stop: Option<Stop>,
    back: bool,
) -> Result<Outcome, EngineError> {
    if let Some(Stop::Lost(error)) = stop {
        return Err(error);
    }
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let why = stop.as_ref().map(Stop::why);
    let outcome = Outcome {
        done: stop.is_none(),
        refused: matches!(stop, Some(Stop::Refused { .. })),
        why: match (&why, back) {
            (Some(why), false) if !matches!(stop, Some(Stop::Refused { .. })) => {
                Some(format!("{why}; what it began is taken back by the next run"))
            }
            _ => why.clone(),
        },
        tries: spent.tries,
        stalled_us: micros(spent.stalled),
        held_us: micros(spent.held),
        proofs,
        rows: spent.rows,
        version: spent.version,
    };
    let text = serde_json::to_string(&outcome).expect("an outcome is texts and numbers");
    let mut record = kitchen.ledger.outcome(&unit.id, kitchen.run, &text);
    if !outcome.done && !back {
        let failed = kitchen.ledger.ended(&unit.id, Some(kitchen.run), "failed", why.as_deref());
        record = format!("{failed}; {record}");
    }
    let failed = on(kitchen.database, "writing down what came of a unit");
    kitchen.client.batch_execute(&record).await.map_err(failed)?;
    Ok(outcome)
}

/// Brings the records up to what is there, after a run that was broken off between a statement that stands alone and
/// its record: partitions that are recorded as attached and are not, and tables that are gone.
///
/// # Errors
///
/// [`EngineError`] if the records cannot be read or kept.
pub async fn settle(bench: &Bench<'_>, ledger: &Ledger) -> Result<(), EngineError> {
    let client = &bench.work.client;
    let failed = on(bench.database, "settling replat's own records");
    let parts = ledger.table(PARTS);
    let sql = format!(
        "SELECT p.relation, p.schema_name, p.table_name, p.set_id, p.set_schema, p.set_name, p.parent_schema, \
           p.parent_name, p.bound::text, \
           (SELECT (u.work->>'drop_after')::bigint FROM {units} u WHERE u.kind = 'retire' AND u.state = 'begun' \
              AND (u.work->>'part_id')::bigint = p.relation::bigint ORDER BY u.begun_at DESC LIMIT 1), \
           (SELECT u.id FROM {units} u WHERE u.kind = 'retire' AND u.state = 'begun' \
              AND (u.work->>'part_id')::bigint = p.relation::bigint ORDER BY u.begun_at DESC LIMIT 1) \
         FROM {parts} p JOIN pg_catalog.pg_class c ON c.oid = p.relation AND c.relname = p.table_name \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = p.schema_name \
         WHERE p.state = 'attached' AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = p.relation)",
        units = ledger.table("lifecycle_unit")
    );
    let found = client.query(&sql, &[]).await.map_err(&failed)?;
    for row in &found {
        let table = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
        let set = TableName::new(row.get::<_, String>(4), row.get::<_, String>(5));
        let parent = TableName::new(row.get::<_, String>(6), row.get::<_, String>(7));
        let Ok(bound) = serde_json::from_str::<Bound>(row.get(8)) else { continue };
        let unit_id: Option<String> = row.get(10);
        let unit = Unit {
            id: unit_id.clone().unwrap_or_else(|| "settled".to_owned()),
            set,
            set_id: u64::from(row.get::<_, u32>(3)),
            // Only its name is kept.
            work: replat_model::lifecycle::plan::Work::Adopt { parts: Vec::new() },
            wal_bytes: 0,
            relations: 0,
        };
        let removed = vec![Placed { table: table.clone(), bound, below: None }];
        let change = Change { kind: "retire".into(), parent, removed, added: Vec::new() };
        let mut txn = Txn::plain("settle");
        txn.push(Step::record(ledger.becomes(&unit, &[&table], "detached")));
        txn.push(Step::record(ledger.drop_after(&table, row.get(9))));
        let [lock, tell] = ledger.tells(&unit, &change);
        txn.push(Step::record(lock));
        txn.push(Step::record(tell));
        if let Some(id) = &unit_id {
            txn.push(Step::record(ledger.ended(id, None, "done", None)));
        }
        let limits = Limits {
            wait_each: Duration::ZERO,
            wait_total: Duration::ZERO,
            patience: TAKE_BACK_PATIENCE,
            seed: 1,
        };
        let pair = bench.pair(&limits, Instant::now(), &replat_engine::lifecycle::Quiet);
        quiet::run(&pair, &txn, &mut Spent::default()).await.map_err(|stop| match stop {
            Stop::Lost(error) => error,
            other => EngineError::Refused {
                database: bench.database.to_owned(),
                during: "settling replat's own records".into(),
                why: other.why(),
            },
        })?;
    }
    client
        .batch_execute(&format!(
            "DELETE FROM {parts} p WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = p.relation)"
        ))
        .await
        .map_err(&failed)
}
