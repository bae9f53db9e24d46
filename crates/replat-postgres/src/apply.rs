//! Changes into the other side: many source transactions in one target transaction, coalesced by key, merged as
//! sets, with the position of the stream in the same transaction.
//!
//! What must stay true: the target is closed while this writes; the position moves only from the value that was
//! known; a change is applied in full or its key is parked, never dropped. One row that cannot be stored holds none of
//! the others up.

use std::collections::HashMap;

use replat_engine::EngineError;
use replat_model::ids::{Lsn, Side};
use replat_model::plan::Plan;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement, Transaction};

use crate::changes::{Cell, Change, Key};
use crate::coalesce::{Last, coalesce, unsaid};
use crate::copy::{copied_table, copied_tables};
use crate::error::{failed, is_of_the_row, on, shows_the_row};
use crate::guard::{self, Mark, emit};
use crate::merge::Merge;
use crate::pool::Session;

/// Why a key is parked if, on the receiving side, it is that of a row of another partition. That does not pass by
/// itself, and the row there is somebody's.
pub const STRANGER: &str = "its key is that of a row of another partition";

/// The same where several tables become one.
pub const OF_ANOTHER_TABLE: &str = "its key is that of a row of another table or partition";

/// Why a row is parked of which the log does not say enough to know whether it takes part, or to make it anew.
const HALF_SAID: &str = "it came to take part, or may have, and is not said in full";

/// Why a part of a row is parked that has no main part yet.
const NO_MAIN_PART: &str = "the row that it is a part of is not there";

/// Where a stream stands, as the target knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything before it is on the target.
    pub at: Lsn,
    /// The newest barrier that is on the target.
    pub barrier: u32,
    /// Whether the source was open at that position.
    pub open: bool,
}

/// What is applied at once.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Changes, in the order of the log.
    pub changes: Vec<Change>,
    /// Where source transactions end among them.
    pub ends: Vec<usize>,
    /// Writes that reached the source while it was closed.
    pub incidents: Vec<(Lsn, Change)>,
    /// The stream's position afterwards; `None` in the middle of a long source transaction.
    pub reached: Option<Position>,
}

/// Applies batches of one direction.
pub struct Applier<'a> {
    plan: &'a Plan,
    deployment: &'a str,
    from: Side,
    lane: Lane,
    position: Position,
}

/// A connection to the target, with what is prepared in it.
pub struct Lane {
    client: Session,
    statements: HashMap<String, Statement>,
}

/// Statements that are prepared on one connection at most: each member of a cohort has its own.
const STATEMENTS_MAX: usize = 1_000;

impl Lane {
    /// A lane over a connection that fires no ordinary triggers.
    pub fn new(client: Session) -> Lane {
        Lane { client, statements: HashMap::new() }
    }
}

/// Text arrays, one for each column.
type Columns<'b> = Vec<Vec<Option<&'b str>>>;

impl<'a> Applier<'a> {
    /// Takes a connection to the target that holds the pass, and reads where the stream stands.
    pub async fn new(
        plan: &'a Plan,
        deployment: &'a str,
        from: Side,
        client: Session,
    ) -> Result<Applier<'a>, EngineError> {
        let database = &plan.end(from.other()).home.database;
        let position = recorded(&client, database, deployment, from).await?;
        Ok(Applier { plan, deployment, from, lane: Lane::new(client), position })
    }

    /// Where the stream stands, as far as this runner knows.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where the stream stands at the target now: another runner may have moved it on.
    pub async fn recorded(&self) -> Result<Position, EngineError> {
        recorded(&self.lane.client, self.database(), self.deployment, self.from).await
    }

    /// The connection to the target.
    pub fn client(&self) -> &Client {
        &self.lane.client
    }

    fn database(&self) -> &'a str {
        &self.plan.end(self.from.other()).home.database
    }

    /// Brings a batch about, in one transaction. Returns how many keys were parked.
    ///
    /// # Errors
    ///
    /// [`EngineError::Superseded`] if another runner moved the stream on, or the target is open.
    pub async fn apply(&mut self, batch: &Batch) -> Result<u64, EngineError> {
        let (next, parked) =
            self.lane.apply(self.plan, self.deployment, self.from, self.position, batch).await?;
        self.position = next;
        Ok(parked)
    }

    /// Applies the rows that `read` reads from the source, outside the stream, and takes their keys off the list of
    /// parked ones.
    ///
    /// The stream stands still from before they are read until they are there: a change that it applied in between
    /// would be overwritten by an older row.
    pub async fn apply_copied(
        &mut self,
        read: impl Future<Output = Result<Vec<Change>, EngineError>>,
    ) -> Result<u64, EngineError> {
        let (database, from) = (self.database(), self.from);
        let (plan, deployment) = (self.plan, self.deployment);
        let on = on(database, "copying parked rows");
        let tx = self.lane.client.transaction().await.map_err(&on)?;
        tx.execute(
            "SELECT 1 FROM replat.stream WHERE deployment = $1 AND source = $2 FOR UPDATE",
            &[&deployment, &side_text(from)],
        )
        .await
        .map_err(&on)?;
        let changes = read.await?;
        let mut work =
            Work { plan, deployment, from, tx: &tx, statements: &mut self.lane.statements, parked: 0 };
        work.enter().await?;
        for change in &changes {
            for key in change.keys() {
                let key = texts(key)?;
                tx.execute(
                    "DELETE FROM replat.parked WHERE deployment = $1 AND source = $2 AND tbl = $3 AND key = $4",
                    &[&deployment, &side_text(from), &table_number(change.table()), &key],
                )
                .await
                .map_err(&on)?;
            }
        }
        work.replace(&changes).await?;
        let parked = work.parked;
        tx.commit().await.map_err(&on)?;
        Ok(parked)
    }
}

impl Lane {
    /// Brings a batch about for one deployment, whose stream is at `known`, in one transaction. Returns where the stream
    /// is then, and how many keys were parked.
    ///
    /// # Errors
    ///
    /// As [`Applier::apply`].
    pub async fn apply(
        &mut self,
        plan: &Plan,
        deployment: &str,
        from: Side,
        known: Position,
        batch: &Batch,
    ) -> Result<(Position, u64), EngineError> {
        if self.statements.len() > STATEMENTS_MAX {
            self.statements.clear();
        }
        let on = on(&plan.end(from.other()).home.database, "applying changes");
        let tx = self.client.transaction().await.map_err(&on)?;
        // First of all, so that whoever applies rows from outside the stream can hold it still: `apply_copied`.
        let next = batch.reached.unwrap_or(known);
        let moved = tx
            .execute(
                "UPDATE replat.stream SET position = $1::text::pg_lsn, barrier = $2, open = $3 \
                 WHERE deployment = $4 AND source = $5 AND position = $6::text::pg_lsn",
                &[
                    &next.at.to_string(),
                    &i32::try_from(next.barrier).expect("few attempts"),
                    &next.open,
                    &deployment,
                    &side_text(from),
                    &known.at.to_string(),
                ],
            )
            .await
            .map_err(&on)?;
        if moved != 1 {
            return Err(EngineError::Superseded { what: format!("the stream from {from}") });
        }
        let mut work = Work { plan, deployment, from, tx: &tx, statements: &mut self.statements, parked: 0 };
        if !batch.changes.is_empty() {
            work.enter().await?;
            work.merge(batch).await?;
        }
        work.keep_incidents(&batch.incidents).await?;
        let parked = work.parked;
        crate::failpoint::crash_at("apply.before_commit");
        tx.commit().await.map_err(&on)?;
        crate::failpoint::crash_at("apply.after_commit");
        Ok((next, parked))
    }
}

async fn recorded(
    client: &Client,
    database: &str,
    deployment: &str,
    from: Side,
) -> Result<Position, EngineError> {
    let row = client
        .query_opt(
            "SELECT position::text, barrier, open FROM replat.stream WHERE deployment = $1 AND source = $2",
            &[&deployment, &side_text(from)],
        )
        .await
        .map_err(on(database, "reading the stream's position"))?
        .ok_or_else(|| EngineError::Precondition {
            what: format!("{database} does not know where the stream from {from} stands"),
            remedy: "Abort the deployment and start it again.".into(),
        })?;
    Ok(Position {
        at: crate::guard::parse_lsn(row.get(0), database)?,
        barrier: u32::try_from(row.get::<_, i32>(1)).unwrap_or_default(),
        open: row.get(2),
    })
}

/// One transaction of an applier.
struct Work<'w, 'a> {
    plan: &'a Plan,
    deployment: &'a str,
    from: Side,
    tx: &'w Transaction<'w>,
    statements: &'w mut HashMap<String, Statement>,
    parked: u64,
}

impl<'a> Work<'_, 'a> {
    fn database(&self) -> &'a str {
        &self.plan.end(self.from.other()).home.database
    }

    fn table_of(&self, n: usize) -> Merge<'a> {
        let table = copied_table(self.plan, n).expect("a change names a table of the plan");
        Merge { plan: self.plan, table, from: self.from }
    }

    /// Marks the transaction as replat's own, before its first change, and makes sure that the target is closed
    /// and stays so until the commit.
    async fn enter(&self) -> Result<(), EngineError> {
        let on = on(self.database(), "entering the target");
        let side = self.from.other();
        emit(self.tx, self.plan, side, &Mark::Own { deployment: self.deployment.to_owned() })
            .await
            .map_err(&on)?;
        // A connection that was lent serves one partition after the other.
        self.tx
            .execute(
                "SELECT set_config('replat.pass', pass, true) IS NOT NULL FROM replat.fence \
                 WHERE partition = $1 AND schema_name = $2",
                &[&self.plan.partition.as_str(), &self.plan.end(side).home.schema],
            )
            .await
            .map_err(&on)?;
        guard::hold_closed(self.tx, self.plan, self.deployment, side).await
    }

    /// As sets first; if a unique key other than the row key is in the way, once more by source transaction, and
    /// within a transaction that is refused, row by row in the order of the log.
    async fn merge(&mut self, batch: &Batch) -> Result<(), EngineError> {
        if self.sets(&batch.changes, "replat_batch").await? {
            return Ok(());
        }
        let mut start = 0;
        for end in batch.ends.iter().copied().chain([batch.changes.len()]) {
            let group = &batch.changes[start..end];
            start = end;
            if group.is_empty() || self.sets(group, "replat_group").await? {
                continue;
            }
            for change in group {
                self.one(change).await?;
            }
        }
        Ok(())
    }

    /// Puts rows that are known in full in the place of whatever has their keys. Rows that hold each other's unique
    /// values cannot be put there one after the other, so if one is in the way, all of them are taken off first.
    async fn replace(&mut self, changes: &[Change]) -> Result<(), EngineError> {
        if self.sets(changes, "replat_batch").await? {
            return Ok(());
        }
        self.command("SAVEPOINT replat_anew").await?;
        if self.take_off(changes).await? && self.sets(changes, "replat_batch").await? {
            return self.command("RELEASE SAVEPOINT replat_anew").await;
        }
        self.command("ROLLBACK TO SAVEPOINT replat_anew").await?;
        for change in changes {
            self.one(change).await?;
        }
        Ok(())
    }

    /// Deletes the rows with the keys of `changes`. False, and nothing is deleted, where that could fire a trigger:
    /// a foreign key might take other rows along.
    async fn take_off(&mut self, changes: &[Change]) -> Result<bool, EngineError> {
        let on = on(self.database(), "applying changes");
        let quiet = "SELECT current_setting('session_replication_role') = 'replica'";
        if !self.tx.query_one(quiet, &[]).await.map_err(&on)?.get::<_, bool>(0) {
            return Ok(false);
        }
        for n in 0..copied_tables(self.plan).count() {
            let keys: Vec<&Key> = changes.iter().filter(|c| c.table() == n).flat_map(Change::keys).collect();
            match self.delete(&self.table_of(n), &keys).await {
                Ok(()) => {}
                Err(Merging::Refused(_)) => return Ok(false),
                Err(Merging::Failed(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Merges `changes` as sets under a savepoint. False if they have to be taken one by one.
    async fn sets(&mut self, changes: &[Change], savepoint: &str) -> Result<bool, EngineError> {
        let Some(last) = coalesce(self.plan, changes) else { return Ok(false) };
        self.command(&format!("SAVEPOINT {savepoint}")).await?;
        for (table, rows) in last.into_iter().enumerate() {
            match self.set(table, rows).await {
                Ok(()) => {}
                Err(Merging::Refused(_)) => {
                    self.command(&format!("ROLLBACK TO SAVEPOINT {savepoint}")).await?;
                    return Ok(false);
                }
                Err(Merging::Failed(error)) => return Err(error),
            }
        }
        self.command(&format!("RELEASE SAVEPOINT {savepoint}")).await?;
        Ok(true)
    }

    /// The changes of one table: what is gone first, so that its unique values are free.
    async fn set(&mut self, table: usize, rows: HashMap<Key, Last>) -> Result<(), Merging> {
        let merge = self.table_of(table);
        let gone: Vec<&Key> = rows.iter().filter(|(_, l)| **l == Last::Removed).map(|(k, _)| k).collect();
        self.delete(&merge, &gone).await?;
        let mut by_unsaid: HashMap<Vec<usize>, Vec<&Vec<Cell>>> = HashMap::new();
        for last in rows.values() {
            if let Last::Put(cells) = last {
                by_unsaid.entry(unsaid(cells)).or_default().push(cells);
            }
        }
        for (unsaid, rows) in by_unsaid {
            self.put(&merge, &unsaid, &rows).await?;
        }
        Ok(())
    }

    async fn delete(&mut self, merge: &Merge<'a>, keys: &[&Key]) -> Result<(), Merging> {
        if keys.is_empty() {
            return Ok(());
        }
        let columns: Columns<'_> = (0..merge.table.key.len())
            .map(|n| keys.iter().map(|key| text(&key[n]).map(Some)).collect::<Result<_, _>>())
            .collect::<Result<_, _>>()?;
        self.run(merge.delete(), &columns).await?;
        // What was filled into these rows is gone with them; should they come again, it has to come again, too.
        for part in merge.parts() {
            for key in keys {
                self.park(part, key, "the row that it is a part of was taken away").await?;
            }
        }
        Ok(())
    }

    async fn put(&mut self, merge: &Merge<'a>, unsaid: &[usize], rows: &[&Vec<Cell>]) -> Result<(), Merging> {
        let names: Vec<&str> = merge.carried().collect();
        let columns: Columns<'_> = (0..names.len())
            .map(|n| rows.iter().map(|cells| cell_text(&cells[n])).collect::<Result<_, _>>())
            .collect::<Result<_, _>>()?;
        let is_whole = unsaid.is_empty();
        let unsaid: Vec<&str> = unsaid.iter().map(|n| names[*n]).collect();
        let mut taking_part = rows.len() as u64;
        if merge.filter().is_some() {
            if merge.is_filtered_by(&unsaid) {
                return Err(Merging::Refused(HALF_SAID.into()));
            }
            self.run(merge.delete_others(), &columns).await?;
            taking_part = self.count(merge.count(), &columns).await?;
        }
        let sql = match (is_whole && !merge.fills_in(), merge.update(&unsaid)) {
            (true, _) => merge.upsert(),
            (false, Some(sql)) => sql,
            (false, None) => return Ok(()),
        };
        let written = self.run(sql, &columns).await?;
        match written < taking_part {
            true if merge.fills_in() => Err(Merging::Refused(NO_MAIN_PART.into())),
            true if is_whole && merge.shares_its_table() => Err(Merging::Refused(OF_ANOTHER_TABLE.into())),
            true if is_whole && merge.may_meet_strangers() => Err(Merging::Refused(STRANGER.into())),
            // It came to take part by this change.
            true if !is_whole && merge.filter().is_some() => Err(Merging::Refused(HALF_SAID.into())),
            _ => Ok(()),
        }
    }

    /// One change in its turn. If a unique key is in the way, which passes while rows are copied, the key is
    /// parked: it will be copied once more.
    async fn one(&mut self, change: &Change) -> Result<(), EngineError> {
        self.command("SAVEPOINT replat_row").await?;
        match self.one_unguarded(change).await {
            Ok(()) => self.command("RELEASE SAVEPOINT replat_row").await,
            Err(Merging::Refused(why)) => {
                self.command("ROLLBACK TO SAVEPOINT replat_row").await?;
                let why = self.without_value(change).await?.unwrap_or(why);
                for key in change.keys() {
                    self.park(change.table(), key, &why).await?;
                }
                Ok(())
            }
            Err(Merging::Failed(error)) => Err(error),
        }
    }

    async fn one_unguarded(&mut self, change: &Change) -> Result<(), Merging> {
        let merge = self.table_of(change.table());
        match change {
            Change::Remove { key, .. } => self.delete(&merge, &[key]).await,
            Change::Empty { .. } => self.empty(&merge).await,
            Change::Put { table, old_key, key, cells, arrived } => {
                let unsaid = unsaid(cells);
                if let Some(old) = old_key {
                    self.delete(&merge, &[old]).await?;
                }
                // What lies under the old key here may be another row by now: a chunk, or a parked key, that was
                // copied later than this change. So nothing is carried over from it.
                if !unsaid.is_empty() && (*arrived || old_key.is_some()) {
                    self.park(*table, key, "it has a new key and is not said in full").await?;
                    return Ok(());
                }
                self.put(&merge, &unsaid, &[cells]).await
            }
        }
    }

    /// Which expression has no value for the row of `change`, and why. `None` if all have one, or if not all of the row
    /// is said.
    async fn without_value(&self, change: &Change) -> Result<Option<String>, EngineError> {
        let Change::Put { table, cells, .. } = change else { return Ok(None) };
        if cells.contains(&Cell::Unsaid) {
            return Ok(None);
        }
        let merge = self.table_of(*table);
        let values: Columns<'_> =
            cells.iter().map(|cell| Ok(vec![cell_text(cell)?])).collect::<Result<_, EngineError>>()?;
        let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|c| c as _).collect();
        for column in merge.columns() {
            self.command("SAVEPOINT replat_value").await?;
            let tried = self.tx.query(&merge.value(column), &parameters).await;
            self.command("ROLLBACK TO SAVEPOINT replat_value; RELEASE SAVEPOINT replat_value").await?;
            if let Some(server) = tried.as_ref().err().and_then(tokio_postgres::Error::as_db_error) {
                let why = format!("{} = {}: {}", column.target, column.expression, server.message());
                return Ok(Some(why.chars().take(WHY_MAX).collect()));
            }
        }
        Ok(None)
    }

    async fn empty(&self, merge: &Merge<'a>) -> Result<(), Merging> {
        self.command(&merge.empty()).await.map_err(Merging::Failed)
    }

    async fn park(&mut self, table: usize, key: &Key, why: &str) -> Result<(), EngineError> {
        self.parked += 1;
        self.tx
            .execute(
                "INSERT INTO replat.parked (deployment, source, tbl, key, why) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (deployment, source, tbl, key) DO UPDATE SET why = excluded.why",
                &[&self.deployment, &side_text(self.from), &table_number(table), &texts(key)?, &why],
            )
            .await
            .map(drop)
            .map_err(on(self.database(), "parking a key"))
    }

    /// Keeps what somebody wrote to the closed side past its guard.
    async fn keep_incidents(&self, incidents: &[(Lsn, Change)]) -> Result<(), EngineError> {
        for (at, change) in incidents {
            let merge = self.table_of(change.table());
            let (op, key, row) = match change {
                Change::Put { key, cells, .. } => ("put", texts(key)?, Some(as_json(&merge, cells)?)),
                Change::Remove { key, .. } => ("remove", texts(key)?, None),
                Change::Empty { .. } => ("truncate", Vec::new(), None),
            };
            self.tx
                .execute(
                    "INSERT INTO replat.incident (deployment, source, at, tbl, op, key, row_kept) \
                     VALUES ($1, $2, $3::text::pg_lsn, $4, $5, $6, $7::text::jsonb) ON CONFLICT DO NOTHING",
                    &[
                        &self.deployment,
                        &side_text(self.from),
                        &at.to_string(),
                        &merge.table.shape(self.from).name,
                        &op,
                        &key,
                        &row,
                    ],
                )
                .await
                .map_err(on(self.database(), "keeping a row that was written past the guard"))?;
        }
        Ok(())
    }

    /// How many rows were written.
    async fn run(&mut self, sql: String, columns: &Columns<'_>) -> Result<u64, Merging> {
        let statement = self.prepared(sql).await?;
        let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as _).collect();
        self.tx.execute(&statement, &parameters).await.map_err(|e| merging(self.database(), e))
    }

    /// The number that a statement says.
    async fn count(&mut self, sql: String, columns: &Columns<'_>) -> Result<u64, Merging> {
        let statement = self.prepared(sql).await?;
        let parameters: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|c| c as _).collect();
        let row = self.tx.query_one(&statement, &parameters).await;
        let row = row.map_err(|e| merging(self.database(), e))?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
    }

    async fn prepared(&mut self, sql: String) -> Result<Statement, Merging> {
        let database = self.database();
        Ok(match self.statements.get(&sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.tx.prepare(&sql).await.map_err(|e| merging(database, e))?;
                self.statements.insert(sql, statement.clone());
                statement
            }
        })
    }

    async fn command(&self, sql: &str) -> Result<(), EngineError> {
        self.tx.batch_execute(sql).await.map_err(on(self.database(), "applying changes"))
    }
}

/// Why a merge did not happen.
enum Merging {
    /// A row cannot be stored as things are: a unique key is in the way, or it has a value that does not fit.
    Refused(String),
    /// Something else.
    Failed(EngineError),
}

impl From<EngineError> for Merging {
    fn from(error: EngineError) -> Merging {
        Merging::Failed(error)
    }
}

fn merging(database: &str, error: tokio_postgres::Error) -> Merging {
    if is_of_the_row(&error) {
        return Merging::Refused(error.as_db_error().map_or_else(String::new, words));
    }
    Merging::Failed(failed(database, "applying changes", error))
}

/// The longest reason that is kept for a key. Unit: characters.
const WHY_MAX: usize = 300;

/// Which constraint, and where another row is in the way also which value: without it nobody finds the other row.
fn words(error: &tokio_postgres::error::DbError) -> String {
    let whole = match error.detail().filter(|_| !shows_the_row(error.code())) {
        Some(detail) => format!("{}: {detail}", error.message()),
        None => error.message().to_owned(),
    };
    whole.chars().take(WHY_MAX).collect()
}

fn cell_text(cell: &Cell) -> Result<Option<&str>, EngineError> {
    match cell {
        Cell::Null | Cell::Unsaid => Ok(None),
        Cell::Text(bytes) => text(bytes).map(Some),
    }
}

fn text(bytes: &bytes::Bytes) -> Result<&str, EngineError> {
    std::str::from_utf8(bytes).map_err(|_| EngineError::Precondition {
        what: "the log holds a value that is not UTF-8".into(),
        remedy: "Convert the database to UTF-8; SQL_ASCII databases cannot be deployed.".into(),
    })
}

/// A key as an array of texts.
pub fn texts(key: &Key) -> Result<Vec<String>, EngineError> {
    key.iter().map(|v| text(v).map(str::to_owned)).collect()
}

fn as_json(merge: &Merge<'_>, cells: &[Cell]) -> Result<String, EngineError> {
    let mut row = serde_json::Map::new();
    for (name, cell) in merge.carried().zip(cells) {
        let value = cell_text(cell)?.map_or(serde_json::Value::Null, Into::into);
        row.insert(name.to_owned(), value);
    }
    Ok(serde_json::Value::Object(row).to_string())
}

/// `blue` or `green`, as replat's tables have it.
pub fn side_text(side: Side) -> &'static str {
    match side {
        Side::Blue => "blue",
        Side::Green => "green",
    }
}

fn table_number(table: usize) -> i32 {
    i32::try_from(table).expect("fewer than 2^31 tables")
}
