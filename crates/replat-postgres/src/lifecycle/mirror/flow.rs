//! A replacement from its beginning to its end, or back.

use std::time::{Duration, Instant};

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_model::lifecycle::facts::{Bound, TableName};
use replat_model::lifecycle::plan::NewLevel;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::brief::{Brief, Patience, Tried, briefly, try_once};
use super::survey::{Found, Session, refuse, survey};
use super::{Ending, Replacement, journal, named, stage, swap, undo};
use crate::error::{failed, on};
use crate::failpoint::crash_at;
use crate::lifecycle::bounds;
use crate::sql::quote_literal;

/// Pages that are copied in one transaction.
const PAGES: i64 = 50;
/// So few entries may be left to the swap.
const FEW: u64 = 200;
/// After so many entries the journal is cleaned, so that reading it stays quick.
const CLEAN_AFTER: u64 = 2_000;
/// A row that another session holds is waited for so long; the session that would find a deadlock is not to be a writer.
const ROW_WAIT_MS: u32 = 50;
/// How many entries of the journal are followed at once where writers change the very rows.
const SLICE: u64 = 64;
/// How often one entry is tried in a row.
const FOLLOW_TRIES: u32 = 1_000;
/// How often the copy starts anew when somebody rewrites a source under it.
const COPIES_MAX: u32 = 3;
/// A replica that is further behind than this is waited for.
const LAG_MAX: Duration = Duration::from_secs(5);

/// Brings a replacement about, or takes it back.
///
/// A process that died is gone on with: what was staged is found by its name, and the copy goes on after the last page that
/// it committed.
///
/// # Errors
///
/// What stood in the way, after all was taken back; or, if the server is gone, [`EngineError::Unreachable`], and the next
/// call goes on.
pub async fn replace(
    session: &Session<'_>,
    wanted: &Replacement,
    limits: &Limits,
    heard: &(dyn Hear + '_),
    before_swap: &[String],
) -> Result<Outcome, EngineError> {
    let mut patience = Patience::new(limits);
    session.settle().await?;
    session.alone(&session.unit.id).await?;
    let outcome = in_peace(session, wanted, limits, &mut patience, heard, before_swap).await;
    session.not_alone(&session.unit.id).await;
    outcome
}

async fn in_peace(
    session: &Session<'_>,
    wanted: &Replacement,
    limits: &Limits,
    patience: &mut Patience,
    heard: &(dyn Hear + '_),
    before_swap: &[String],
) -> Result<Outcome, EngineError> {
    if is_done(session, wanted).await? {
        return Ok(patience.outcome(Vec::new(), 0, session.version().await?));
    }
    match run(session, wanted, patience, heard, before_swap).await {
        Ok(rows) => {
            let proofs = vec!["check".into(); wanted.targets.len()];
            Ok(patience.outcome(proofs, rows, session.version().await?))
        }
        Err(error) if matches!(error, EngineError::Unreachable { .. }) => Err(error),
        Err(error) => {
            let mut patience = Patience::new(limits);
            undo::undo(session, &wanted.unit, &mut patience).await?;
            Err(error)
        }
    }
}

async fn run(
    session: &Session<'_>,
    wanted: &Replacement,
    patience: &mut Patience,
    heard: &(dyn Hear + '_),
    more: &[String],
) -> Result<u64, EngineError> {
    let found = survey(session, wanted).await?;
    session.run("recording the unit", &session.ledger.begin(session.unit, session.run)).await?;
    begin(session, wanted, &found).await?;
    crash_at("mirror.staged");
    watch(session, wanted, &found, patience).await?;
    crash_at("mirror.watched");
    let mut rows = 0;
    let mut copies = 0;
    loop {
        rows += copy(session, wanted, &found, heard).await?;
        crash_at("mirror.copied");
        rows += catch_up(session, wanted, &found).await?;
        patience.anew();
        prove(session, wanted, &found, patience).await?;
        crash_at("mirror.proved");
        patience.anew();
        settle(session, wanted, &found, patience).await?;
        crash_at("mirror.waited");
        if swap_in(session, wanted, &found, patience, more).await? {
            crash_at("mirror.swapped");
            return Ok(rows);
        }
        copies += 1;
        if copies == COPIES_MAX {
            let what = format!("partitions of {} are rewritten while they are copied", wanted.parent);
            return Err(refuse(
                what,
                "Let TRUNCATE, VACUUM FULL or CLUSTER of that table end, then run again.",
            ));
        }
        start_over(session, wanted).await?;
    }
}

/// Whether the targets are where they are wanted.
async fn is_done(session: &Session<'_>, wanted: &Replacement) -> Result<bool, EngineError> {
    if wanted.ending == Ending::Plain {
        let row = session
            .client
            .query_opt(
                "SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass($1) AND relkind = 'r'",
                &[&named(&wanted.parent)],
            )
            .await;
        return row.map(|row| row.is_some()).map_err(on(session.database, "looking at the set"));
    }
    // Of a default only the name is known, which is the old one's.
    let mut wanted: Vec<(TableName, TableName, Bound, Option<NewLevel>)> = wanted
        .targets
        .iter()
        .filter(|target| target.bound != Bound::Default)
        .map(|t| (wanted.parent.clone(), t.called.clone(), t.bound.clone(), t.below.clone()))
        .collect();
    while let Some((parent, table, bound, below)) = wanted.pop() {
        let row = session
            .client
            .query_opt(
                "SELECT pg_catalog.pg_get_expr(c.relpartbound, c.oid), c.relkind = 'p' FROM pg_catalog.pg_inherits i \
                 JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE i.inhrelid = pg_catalog.to_regclass($1) \
                 AND i.inhparent = pg_catalog.to_regclass($2)",
                &[&named(&table), &named(&parent)],
            )
            .await
            .map_err(on(session.database, "looking at the set"))?;
        let there = row.and_then(|row| Some((bounds::parse(row.get(0)).ok()?, row.get::<_, bool>(1))));
        if there != Some((bound, below.is_some())) {
            return Ok(false);
        }
        let parts = below.map(|level| level.parts).unwrap_or_default();
        wanted.extend(parts.into_iter().map(|part| (table.clone(), part.table, part.bound, part.below)));
    }
    Ok(true)
}

/// Stages what is not staged yet.
async fn begin(session: &Session<'_>, wanted: &Replacement, found: &Found) -> Result<(), EngineError> {
    let position = named(&journal::position(wanted, &session.ledger.schema));
    let row = session
        .client
        .query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&position])
        .await
        .map_err(on(session.database, "looking for staged tables"))?;
    if !row.get::<_, bool>(0) {
        let statements = stage::stage(session, wanted, found).await?;
        return session.commit("staging", &statements).await;
    }
    let row = session
        .client
        .query_one(&format!("SELECT pg_catalog.min(signature) FROM {position}"), &[])
        .await
        .map_err(on(session.database, "looking for staged tables"))?;
    match row.get::<_, Option<String>>(0).as_deref() == Some(&found.signature) {
        true => Ok(()),
        false => Err(changed(wanted)),
    }
}

/// Sees to it that every write from now on is in the journal, and that the copy knows how far it has to go.
async fn watch(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    patience: &mut Patience,
) -> Result<(), EngineError> {
    let trigger = journal::journal(wanted, &session.ledger.schema).name;
    for leaf in &found.leaves {
        let there = session
            .client
            .query_opt(
                "SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND tgname = $2 AND tgenabled = 'A'",
                &[&leaf.id, &trigger],
            )
            .await
            .map_err(on(session.database, "looking for triggers"))?;
        if there.is_none() {
            briefly(session, &swap::watch(session, wanted, leaf), patience).await?;
        }
    }
    // Only now: rows of writers who were there before the triggers lie within these pages.
    let position = named(&journal::position(wanted, &session.ledger.schema));
    session.run("measuring the partitions", &measure(&position, "WHERE pages IS NULL")).await
}

fn measure(position: &str, which: &str) -> String {
    format!(
        "UPDATE {position} SET page = 0, node = pg_catalog.pg_relation_filenode(leaf::pg_catalog.regclass), \
         pages = pg_catalog.pg_relation_size(leaf::pg_catalog.regclass) \
         / pg_catalog.current_setting('block_size')::pg_catalog.int8 {which}"
    )
}

/// Copies what is left to copy; how many rows that were.
async fn copy(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    heard: &(dyn Hear + '_),
) -> Result<u64, EngineError> {
    let records = &session.ledger.schema;
    let position = named(&journal::position(wanted, records));
    let mut rows = 0;
    let mut looked = Instant::now();
    for leaf in &found.leaves {
        let row = session
            .client
            .query_one(&format!("SELECT page, pages FROM {position} WHERE leaf = $1"), &[&leaf.id])
            .await
            .map_err(on(session.database, "looking how far the copy is"))?;
        let (mut page, pages): (i64, i64) = (row.get(0), row.get(1));
        while page < pages {
            let to = (page + PAGES).min(pages);
            let statements = journal::copy(wanted, found, records, leaf, page, to);
            // What is lost by a crash of the server is lost with the record of it, so that nobody need wait for the disk.
            let text =
                format!("BEGIN; SET LOCAL synchronous_commit = off; {}; COMMIT", statements.join("; "));
            rows += in_transaction(session, "the copy", &text).await?;
            crash_at("mirror.batch");
            page = to;
            heard.progress(
                &format!("pages of {}", leaf.table),
                to.unsigned_abs(),
                Some(pages.unsigned_abs()),
            );
            if looked.elapsed() > Duration::from_secs(1) {
                // The journal is kept short, and replicas are not outrun.
                follow(session, wanted, found).await?;
                let_replicas_catch_up(session).await?;
                looked = Instant::now();
            }
        }
    }
    Ok(rows)
}

/// Follows the journal until little is left; how many entries it had.
async fn catch_up(session: &Session<'_>, wanted: &Replacement, found: &Found) -> Result<u64, EngineError> {
    let mut all = 0;
    // Each pass is shorter than the one before, unless writers are quicker than we are; the swap then does the rest.
    for _ in 0..20 {
        let entries = follow(session, wanted, found).await?;
        all += entries;
        if entries < FEW {
            break;
        }
    }
    Ok(all)
}

/// Follows the journal as far as it is now; how many entries it had.
///
/// All of it at once, if nobody changes those very rows meanwhile; else in slices, so that each has little time to be
/// too late.
async fn follow(session: &Session<'_>, wanted: &Replacement, found: &Found) -> Result<u64, EngineError> {
    let journal = named(&journal::journal(wanted, &session.ledger.schema));
    let count = format!("SELECT pg_catalog.count(*) FROM {journal}");
    let row = session.client.query_one(&count, &[]).await;
    let entries: i64 = row.map_err(on(session.database, "reading the journal"))?.get(0);
    let entries = entries.unsigned_abs();
    let (mut left, mut slice, mut tries) = (entries, None, 0);
    while left > 0 {
        match follow_some(session, wanted, found, slice).await {
            Ok(0) => break,
            Ok(followed) => {
                left = left.saturating_sub(followed);
                slice = slice.map(|some: u64| (some * 2).min(SLICE));
                tries = 0;
            }
            // A row was changed by a writer, or one of a target by a foreign key's action, or by a writer's trigger.
            Err(EngineError::Locked { .. }) if tries < FOLLOW_TRIES => {
                tries += 1;
                if slice.is_none() {
                    // Rows that are changed again and again are many entries of few rows. This needs one snapshot, or an
                    // entry that comes meanwhile would count as a double of one that goes.
                    let compact = journal::compact(wanted, found, &session.ledger.schema);
                    in_transaction(session, "the journal", &compact).await?;
                    let row = session.client.query_one(&count, &[]).await;
                    left = row
                        .map_err(on(session.database, "reading the journal"))?
                        .get::<_, i64>(0)
                        .unsigned_abs();
                }
                slice = Some(slice.map_or(SLICE, |some| (some / 4).max(1)));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            // A writer has brought that very row himself meanwhile; or, in a slice, a row that has yet to go is in the way.
            Err(error) if tries < FOLLOW_TRIES && is_double(&error) => {
                tries += 1;
                slice = (tries % 8 != 0).then(|| slice.map_or(SLICE, |some| (some / 4).max(1)));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(error) => return Err(error),
        }
    }
    if entries > CLEAN_AFTER {
        session.run("cleaning the journal", &format!("VACUUM {journal}")).await?;
    }
    Ok(entries)
}

/// Whether a row is there already, by a unique index.
fn is_double(error: &EngineError) -> bool {
    matches!(error, EngineError::Row { why, .. } if why.trim_end_matches(')').ends_with(SqlState::UNIQUE_VIOLATION.code()))
}

/// Follows so many entries of the journal, or all of it; how many that were, or more than there can be.
async fn follow_some(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    some: Option<u64>,
) -> Result<u64, EngineError> {
    let records = &session.ledger.schema;
    let during = "following the journal";
    let journal = named(&journal::journal(wanted, records));
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = {ROW_WAIT_MS}; \
         SET LOCAL synchronous_commit = off; {}",
        journal::BY_INDEX,
    );
    let holding = !found.references.is_empty();
    let Some(some) = some else {
        let statements = journal::follow(wanted, found, records, holding, None).join("; ");
        in_transaction(session, during, &format!("{begin}; {statements}; COMMIT")).await?;
        return Ok(u64::MAX);
    };
    let slice = format!("{begin}; SELECT ctid FROM {journal} LIMIT {some}");
    let answer = match session.client.simple_query(&slice).await {
        Ok(answer) => answer,
        Err(error) => {
            drop(session.client.batch_execute("ROLLBACK").await);
            return Err(failed(session.database, during, error));
        }
    };
    let places: Vec<String> = answer
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    let statements = journal::follow(wanted, found, records, holding, Some(&places)).join("; ");
    in_transaction(session, during, &format!("{statements}; COMMIT")).await?;
    Ok(places.len() as u64)
}

/// Runs the text of a transaction; how many rows its INSERTs brought.
async fn in_transaction(session: &Session<'_>, during: &str, text: &str) -> Result<u64, EngineError> {
    match session.client.simple_query(text).await {
        Ok(messages) => Ok(messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                _ => None,
            })
            .sum()),
        Err(error) => {
            drop(session.client.batch_execute("ROLLBACK").await);
            Err(failed(session.database, during, error))
        }
    }
}

/// Foreign keys, exclusion from a default that stays, and statistics: all that the swap must not have to read for.
async fn prove(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    patience: &mut Patience,
) -> Result<(), EngineError> {
    if let Some(default) = &found.default {
        if !has_constraint(session, default, &wanted.exclusion(), false).await? {
            let id = session
                .client
                .query_one("SELECT pg_catalog.to_regclass($1)::pg_catalog.oid", &[&named(default)])
                .await
                .map_err(on(session.database, "looking at the default partition"))?
                .get(0);
            briefly(session, &swap::exclude(session, wanted, found, default, id), patience).await?;
        }
        let validate = format!(
            "ALTER TABLE {} VALIDATE CONSTRAINT {}",
            named(default),
            crate::sql::quote_ident(&wanted.exclusion())
        );
        session.run("proving the default partition", &validate).await?;
        crash_at("mirror.excluded");
    }
    if !found.references.is_empty() {
        let records = &session.ledger.schema;
        // From here a row that is gone from its source must be gone from the targets as well.
        session
            .run("the trigger", &journal::function(wanted, found, records, journal::Pace::GoneAtOnce))
            .await?;
        wait_for_writers(session, found, patience).await?;
        for target in &wanted.targets {
            for leaf in leaves(session, &target.staged).await? {
                if !has_constraint(session, &leaf, &found.references[0].name, false).await? {
                    catch_up(session, wanted, found).await?;
                    briefly(session, &swap::refer(found, &leaf), patience).await?;
                }
                for key in &found.references {
                    let name = crate::sql::quote_ident(&key.name);
                    let validate = format!("ALTER TABLE {} VALIDATE CONSTRAINT {name}", named(&leaf));
                    session.run("proving a foreign key", &validate).await?;
                    crash_at("mirror.referred");
                }
            }
        }
    }
    for target in &wanted.targets {
        session.run("gathering statistics", &format!("ANALYZE {}", named(&target.staged))).await?;
    }
    catch_up(session, wanted, found).await.map(drop)
}

/// Waits for the transactions that write to the sources now: what they deleted already, they deleted there alone.
async fn wait_for_writers(
    session: &Session<'_>,
    found: &Found,
    patience: &Patience,
) -> Result<(), EngineError> {
    let leaves: Vec<u32> = found.leaves.iter().map(|leaf| leaf.id).collect();
    let mut left: Option<Vec<String>> = None;
    loop {
        let rows = session
            .client
            .query(
                "SELECT DISTINCT virtualtransaction FROM pg_catalog.pg_locks WHERE locktype = 'relation' AND granted \
                 AND relation = ANY ($1) AND mode = 'RowExclusiveLock' AND pid <> pg_catalog.pg_backend_pid() \
                 AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
                &[&leaves],
            )
            .await
            .map_err(on(session.database, "looking for writers"))?;
        let now: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let before = left.take().unwrap_or_else(|| now.clone());
        let still: Vec<String> = before.into_iter().filter(|writer| now.contains(writer)).collect();
        if still.is_empty() {
            return Ok(());
        }
        if patience.is_over() {
            return Err(busy(session, "a transaction that writes to the partitions does not end"));
        }
        left = Some(still);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn has_constraint(
    session: &Session<'_>,
    table: &TableName,
    name: &str,
    validated: bool,
) -> Result<bool, EngineError> {
    let row = session
        .client
        .query_opt(
            "SELECT FROM pg_catalog.pg_constraint WHERE conrelid = pg_catalog.to_regclass($1) AND conname = $2 \
             AND (convalidated OR NOT $3)",
            &[&named(table), &name, &validated],
        )
        .await;
    row.map(|row| row.is_some()).map_err(on(session.database, "looking for a constraint"))
}

async fn leaves(session: &Session<'_>, table: &TableName) -> Result<Vec<TableName>, EngineError> {
    let rows = session
        .client
        .query(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.oid IN ( \
             SELECT pg_catalog.to_regclass($1)::pg_catalog.oid UNION \
             SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1))) ORDER BY c.oid",
            &[&named(table)],
        )
        .await
        .map_err(on(session.database, "looking at a staged table"))?;
    Ok(rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect())
}

/// Lets every write reach the targets in its own transaction from now on, brings the rest, and waits until no snapshot is
/// left that is older than what was brought: its transaction would not find those rows after the swap.
async fn settle(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    patience: &Patience,
) -> Result<(), EngineError> {
    let records = &session.ledger.schema;
    let at_once = journal::function(wanted, found, records, journal::Pace::AtOnce);
    session.run("the trigger", &at_once).await?;
    wait_for_writers(session, found, patience).await?;
    loop {
        while follow(session, wanted, found).await? > 0 {}
        wait_for_snapshots(session, patience).await?;
        if follow(session, wanted, found).await? == 0 {
            return Ok(());
        }
        if patience.is_over() {
            return Err(busy(session, "its writers leave no moment for the swap"));
        }
    }
}

/// Nothing is wrong but the moment.
fn busy(session: &Session<'_>, why: &str) -> EngineError {
    EngineError::Locked {
        database: session.database.to_owned(),
        what: format!("{} ({why})", session.unit.set),
        source: "it was waited for as long as the run may wait".into(),
    }
}

/// Waits until every transaction is over that has a snapshot now, or may have one that this role may not see.
async fn wait_for_snapshots(session: &Session<'_>, patience: &Patience) -> Result<(), EngineError> {
    let mut then: Option<Vec<String>> = None;
    loop {
        let rows = session.client.query(journal::SNAPSHOTS, &[]).await;
        let rows = rows.map_err(on(session.database, "looking for old snapshots"))?;
        let open: Vec<(String, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let seen = then.get_or_insert_with(|| open.iter().map(|(one, _)| one.clone()).collect());
        let Some((_, pid)) = open.iter().find(|(transaction, _)| seen.contains(transaction)) else {
            return Ok(());
        };
        if patience.is_over() {
            return Err(busy(
                session,
                &format!(
                    "the transaction of process {pid} began before its rows were copied, and would not see them"
                ),
            ));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Swaps; `false` if a source was rewritten, so that the copy has to start anew.
async fn swap_in(
    session: &Session<'_>,
    wanted: &Replacement,
    found: &Found,
    patience: &mut Patience,
    more: &[String],
) -> Result<bool, EngineError> {
    let mut brief: Brief = swap::swap(session, wanted, found);
    brief.statements.extend(more.iter().cloned());
    patience.anew();
    let mut nth = 0;
    loop {
        match try_once(session, &brief, nth, patience).await {
            Ok(Tried::Done) => return Ok(true),
            Ok(Tried::Locked(error)) if patience.is_over() => return Err(error),
            Ok(Tried::Locked(_)) => tokio::time::sleep(patience.pause(nth)).await,
            Err(EngineError::Refused { why, .. }) if why.contains(journal::MOVED) => return Ok(false),
            Err(EngineError::Refused { why, .. }) if why.contains(journal::CHANGED) => {
                return Err(refuse(why, "Look what changed the table, then run again."));
            }
            Err(EngineError::Refused { why, .. }) if why.contains(journal::LATE) => {
                settle(session, wanted, found, patience).await?;
            }
            Err(error) => return Err(error),
        }
        nth += 1;
    }
}

/// Empties the targets and the journal, and copies from the first page.
async fn start_over(session: &Session<'_>, wanted: &Replacement) -> Result<(), EngineError> {
    let records = &session.ledger.schema;
    let position = named(&journal::position(wanted, records));
    let mut statements: Vec<String> = vec![measure(&position, "")];
    statements.extend(wanted.targets.iter().map(|target| format!("TRUNCATE {}", named(&target.staged))));
    // Entries of the journal stay: they are of rows that the copy may yet read in an old state.
    session.commit("starting the copy anew", &statements).await
}

/// Waits for replicas that are far behind. Where they cannot be seen there is nothing to wait for.
async fn let_replicas_catch_up(session: &Session<'_>) -> Result<(), EngineError> {
    let lag = format!(
        "SELECT COALESCE(pg_catalog.bool_or(replay_lag > {}::pg_catalog.interval), false) \
         FROM pg_catalog.pg_stat_replication",
        quote_literal(&format!("{} seconds", LAG_MAX.as_secs()))
    );
    for _ in 0..600 {
        let row = session.client.query_one(&lag, &[]).await;
        if !row.map_err(on(session.database, "looking at replicas"))?.get::<_, bool>(0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(refuse("a replica stays more than 5 seconds behind".into(), "Let it catch up, then run again."))
}

fn changed(wanted: &Replacement) -> EngineError {
    refuse(format!("{} was altered meanwhile", wanted.parent), "Run again.")
}
