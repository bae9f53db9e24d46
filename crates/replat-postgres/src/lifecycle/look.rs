//! All that planning needs to know, from the catalogue.
//!
//! A look is one read-only transaction with one snapshot, so that all facts are of one moment. The catalogue is asked
//! by a few statements about all sets at once, never one for each partition; and nothing that it asks opens or locks
//! a partition, so that a look neither waits for anybody's lock nor fills the caches with tables that nobody uses.
//! Only what must be known of rows reads tables: see `rows`; each such question has its own short timeout and its
//! locks end with it.
//!
//! Bounds and values are printed with dates in ISO order and times in UTC, whatever the role's own settings are: see
//! [`SETTINGS`]. Whoever sends a bound back to a server has to work under the same.

mod around;
mod assembly;
mod indexes;
mod keys;
mod order;
mod ordinary;
mod records;
mod rows;
mod vitals;

use std::collections::{BTreeMap, BTreeSet};

use replat_engine::EngineError;
use replat_engine::lifecycle::Look;
use replat_model::lifecycle::facts::{Facts, Refused, TableName, Vitals};
use replat_model::lifecycle::policy::matches;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

pub(super) use assembly::{Nodes, oid};

use crate::error::on;

/// What every transaction here begins with.
///
/// Nothing but `pg_catalog` is searched, so that names of types come with their schemas and no function of somebody
/// else's stands in for a known one. Plans of catalogue queries are never worth compiling.
pub const SETTINGS: &str = "\
    SET LOCAL search_path = pg_catalog; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL timezone = 'UTC'; \
    SET LOCAL intervalstyle = postgres; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = hex; \
    SET LOCAL lc_monetary = 'C'; SET LOCAL standard_conforming_strings = on; \
    SET LOCAL quote_all_identifiers = off; SET LOCAL jit = off; SET LOCAL work_mem = '32MB'; \
    SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '1s'; \
    SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// What was being done, for errors.
const LOOKING: &str = "a look at the partitions";

/// A read-only transaction that is under way.
pub(super) struct Reading<'a> {
    client: &'a Client,
    /// The database's name in the spec, for errors.
    database: &'a str,
    /// What is being done, for errors.
    during: &'a str,
}

impl<'a> Reading<'a> {
    /// Begins one with one snapshot. To be ended by [`Reading::end`]; a session that is left inside must be closed.
    pub(super) async fn begin(
        client: &'a Client,
        database: &'a str,
        during: &'a str,
    ) -> Result<Reading<'a>, EngineError> {
        let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {SETTINGS}");
        let begun = client.batch_execute(&begin).await;
        if let Err(error) = begun {
            // The block may have been opened before a setting was refused. If the connection is gone, so is it.
            drop(client.batch_execute("ROLLBACK").await);
            return Err(on(database, during)(error));
        }
        Ok(Reading { client, database, during })
    }

    /// Ends it, and hands on what came of it.
    pub(super) async fn end<T>(self, outcome: Result<T, EngineError>) -> Result<T, EngineError> {
        let ended = self.client.batch_execute("ROLLBACK").await;
        let value = outcome?;
        ended.map_err(self.failed())?;
        Ok(value)
    }

    /// The rows of a statement.
    pub(super) async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, EngineError> {
        self.client.query(sql, params).await.map_err(self.failed())
    }

    /// The only row of a statement.
    pub(super) async fn query_one(&self, sql: &str) -> Result<Row, EngineError> {
        self.client.query_one(sql, &[]).await.map_err(self.failed())
    }

    /// The rows of a statement that may read tables, within `millis`, or the server's reason why there are none. The
    /// transaction goes on in either case, and locks that the statement took are gone.
    pub(super) async fn try_query(
        &self,
        millis: u32,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Result<Vec<Row>, tokio_postgres::Error>, EngineError> {
        let begin = format!(
            "SAVEPOINT replat_try; SET LOCAL statement_timeout = {millis}; SET LOCAL lock_timeout = {}",
            millis.min(50)
        );
        self.client.batch_execute(&begin).await.map_err(self.failed())?;
        let tried = self.client.query(sql, params).await;
        if let Err(error) = &tried
            && error.as_db_error().is_none()
            && error.is_closed()
        {
            return tried.map(Ok).map_err(self.failed());
        }
        let undo = "ROLLBACK TO SAVEPOINT replat_try; RELEASE SAVEPOINT replat_try";
        self.client.batch_execute(undo).await.map_err(self.failed())?;
        Ok(tried)
    }

    /// The session, for what has statements of its own that only read.
    pub(super) fn client(&self) -> &'a Client {
        self.client
    }

    /// Gives a driver's error its place.
    pub(super) fn failed(&self) -> impl Fn(tokio_postgres::Error) -> EngineError + 'a {
        on(self.database, self.during)
    }

    /// A value of a row, where a wrong type is the server's fault and not a reason to panic.
    pub(super) fn get<T>(&self, row: &Row, name: &str) -> Result<T, EngineError>
    where
        T: for<'r> tokio_postgres::types::FromSql<'r>,
    {
        row.try_get(name).map_err(self.failed())
    }
}

/// How the database is doing. With `sizes`, its size too, which costs a system call for each of its files.
///
/// # Errors
///
/// [`EngineError`] as the server's refusal means it.
pub async fn vitals(client: &Client, database: &str, sizes: bool) -> Result<Vitals, EngineError> {
    let reading = Reading::begin(client, database, "a look at the vital signs").await?;
    let vitals = vitals::read(&reading, sizes).await;
    reading.end(vitals).await
}

/// A digest of all partitions; see [`Facts::fingerprint`].
///
/// # Errors
///
/// [`EngineError`] as the server's refusal means it.
pub async fn fingerprint(client: &Client, database: &str) -> Result<String, EngineError> {
    let reading = Reading::begin(client, database, LOOKING).await?;
    let digest = read_fingerprint(&reading).await;
    reading.end(digest).await
}

async fn read_fingerprint(reading: &Reading<'_>) -> Result<String, EngineError> {
    let row = reading.query_one(include_str!("look/fingerprint.sql")).await?;
    row.try_get(0).map_err(reading.failed())
}

/// All that planning needs to know of the sets that are wanted.
///
/// A set that cannot be understood is in [`Facts::refused`], and the others are there all the same.
///
/// # Errors
///
/// [`EngineError`] as the server's refusal means it.
pub async fn look(client: &Client, database: &str, wanted: &Look) -> Result<Facts, EngineError> {
    let reading = Reading::begin(client, database, LOOKING).await?;
    let facts = read(&reading, wanted).await;
    reading.end(facts).await
}

async fn read(reading: &Reading<'_>, wanted: &Look) -> Result<Facts, EngineError> {
    let vitals = vitals::read(reading, wanted.sizes).await?;
    let fingerprint = read_fingerprint(reading).await?;
    let all = around::sets(reading).await?;
    let records = records::read(reading).await?;
    let all = all.into_iter().filter(|root| !records.is_loose(root.id, &root.table)).collect();
    let (roots, mut refused) = chosen(reading, wanted, all).await?;
    let trees = assembly::trees(reading, &roots, &records, wanted).await?;
    refused.extend(trees.refused);
    let mut sets = trees.sets;
    around::fill(reading, &mut sets, &trees.nodes).await?;
    if wanted.indexes {
        indexes::fill(reading, &mut sets, &trees.nodes).await?;
    }
    refused.extend(rows::fill(reading, &mut sets, &trees.nodes, wanted).await?);
    for set in &mut sets {
        records.fill_samples(set, vitals.now, &trees.nodes);
    }
    let ordinary = ordinary::read(reading, &wanted.ordinary).await?;
    let history = if wanted.history { ordinary::history(reading).await? } else { Vec::new() };
    let beside = ordinary.iter().map(|table| table.table.schema.clone());
    let taken = taken(reading, &sets, beside).await?;
    let loose = records.loose(|set| is_wanted(&wanted.tables, set));
    Ok(Facts { vitals, sets, loose, refused, taken, fingerprint, ordinary, history })
}

/// Whether a set is among those asked for.
fn is_wanted(patterns: &[String], set: &TableName) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, set))
}

/// The sets that are wanted, and for each pattern that means none, why.
async fn chosen(
    reading: &Reading<'_>,
    wanted: &Look,
    all: Vec<around::Root>,
) -> Result<(Vec<around::Root>, Vec<Refused>), EngineError> {
    let unmatched = |pattern: &&String| !all.iter().any(|root| matches(pattern, &root.table));
    let mut refused = Vec::new();
    for pattern in wanted.tables.iter().filter(unmatched) {
        refused.push(around::why_not(reading, pattern).await?);
    }
    let chosen = all.into_iter().filter(|root| is_wanted(&wanted.tables, &root.table)).collect();
    Ok((chosen, refused))
}

/// The names that are taken in the schemas where sets and their partitions are.
async fn taken(
    reading: &Reading<'_>,
    sets: &[replat_model::lifecycle::facts::SetFacts],
    beside: impl Iterator<Item = String>,
) -> Result<BTreeMap<String, BTreeSet<String>>, EngineError> {
    let mut schemas: BTreeSet<String> = beside.collect();
    for set in sets {
        schemas.insert(set.table.schema.clone());
        set.level.each(&mut |part| {
            if !schemas.contains(&part.table.schema) {
                schemas.insert(part.table.schema.clone());
            }
        });
    }
    let schemas: Vec<String> = schemas.into_iter().collect();
    let rows = reading.query(include_str!("look/taken.sql"), &[&schemas]).await?;
    let mut taken = BTreeMap::new();
    for row in rows {
        let names: Vec<String> = reading.get(&row, "names")?;
        taken.insert(reading.get(&row, "schema_name")?, names.into_iter().collect());
    }
    Ok(taken)
}
