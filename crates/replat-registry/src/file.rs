//! A SQLite file, for the processes of one machine: the registry when there is no other.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::kv::{Change, Entry, Expect, Kv, KvError, Limits, Reading, Revision, Soon};

/// How long a write waits for other processes' writes.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// How often a watcher asks whether anybody has written. It costs a few microseconds.
const ASK_EVERY: Duration = Duration::from_millis(10);
/// `rplr`: what `file` and SQLite's own tools show as the kind of the file.
const APPLICATION_ID: i64 = 0x7270_6c72;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS entry (
    key      TEXT PRIMARY KEY NOT NULL,
    value    BLOB NOT NULL,
    revision INTEGER NOT NULL CHECK (revision >= 1),
    -- Milliseconds since 1970; NULL: it stays.
    until    INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS entry_until ON entry (until) WHERE until IS NOT NULL;
CREATE TABLE IF NOT EXISTS revision (newest INTEGER NOT NULL) STRICT;
INSERT INTO revision SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM revision);
";

/// A registry's SQLite file. Any number of processes may have it open; not on a network file system.
pub struct File {
    path: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl File {
    /// Opens the file, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`KvError`] if it cannot be had or is another kind of file.
    pub fn open(path: &Path) -> Result<File, KvError> {
        let connection = open(path).map_err(sorted)?;
        Ok(File { path: path.to_owned(), connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `deed` where blocking is allowed.
    async fn run<T: Send + 'static>(
        &self,
        deed: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, KvError> {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A panic in a transaction rolls it back on its way out.
            deed(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.map_err(KvError::unreachable)?.map_err(sorted)
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_MAX)?;
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    // Another process may be making it just now: then it has either nothing yet, or the tables together with the id.
    if id != APPLICATION_ID && tables > 0 {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
        return Err(rusqlite::Error::SqliteFailure(code, Some("it is not a registry of replat".into())));
    }
    write_ahead(&connection)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF")?;
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(SCHEMA)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.commit()?;
    Ok(connection)
}

/// Of two processes that turn a new file's journal into a write-ahead log, SQLite refuses one at once, however long it was
/// told to wait.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        let asked = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
        let busy = asked.as_ref().is_err_and(|e| e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
        if !busy || begun.elapsed() >= BUSY_MAX {
            return asked.map(drop);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn sorted(error: rusqlite::Error) -> KvError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::ReadOnly | ErrorCode::TooBig,
        ) => KvError::Refused(error.to_string()),
        _ => KvError::unreachable(error),
    }
}

/// The clock of this machine, which all that use the file share. Unit: milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The first text after all that begin with `prefix`: no key has a character this high.
fn end(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}

fn revision(n: i64) -> Revision {
    // Counted from 1, as the table checks.
    Revision(n.unsigned_abs())
}

fn current(tx: &Transaction<'_>, key: &str, now: i64) -> rusqlite::Result<Option<Revision>> {
    let mut statement =
        tx.prepare_cached("SELECT revision FROM entry WHERE key = ?1 AND (until IS NULL OR until > ?2)")?;
    statement.query_row(params![key, now], |row| row.get(0).map(revision)).optional()
}

fn commit(connection: &mut Connection, expect: &[Expect], changes: &[Change]) -> rusqlite::Result<bool> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let now = now();
    for Expect { key, revision } in expect {
        if current(&tx, key, now)? != *revision {
            return Ok(false);
        }
    }
    tx.execute("DELETE FROM entry WHERE until <= ?1", [now])?;
    for change in changes {
        match change {
            Change::Put { key, value, ttl_ms } => {
                let next = "UPDATE revision SET newest = newest + 1 RETURNING newest";
                let revision: i64 = tx.query_row(next, [], |row| row.get(0))?;
                let until = ttl_ms.map(|ttl| now.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX)));
                tx.prepare_cached(
                    "INSERT INTO entry (key, value, revision, until) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE
                     SET value = excluded.value, revision = excluded.revision, until = excluded.until",
                )?
                .execute(params![key, value, revision, until])?;
            }
            Change::Delete { key } => {
                tx.execute("DELETE FROM entry WHERE key = ?1", [key])?;
            }
        }
    }
    tx.commit()?;
    Ok(true)
}

fn list(connection: &Connection, prefix: &str) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value, revision FROM entry
         WHERE key >= ?1 AND key < ?2 AND (until IS NULL OR until > ?3) ORDER BY key",
    )?;
    let rows = statement.query_map(params![prefix, end(prefix), now()], |row| {
        Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: row.get(2).map(revision)? })
    })?;
    rows.collect()
}

/// What tells one state of a few keys from another.
fn print(connection: &Connection, prefix: &str) -> rusqlite::Result<(i64, i64, i64)> {
    let mut statement = connection.prepare_cached(
        "SELECT count(*), coalesce(max(revision), 0), coalesce(sum(revision), 0) FROM entry WHERE key >= ?1 AND key < ?2",
    )?;
    statement.query_row([prefix, &end(prefix)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

impl Kv for File {
    fn name(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn limits(&self) -> Limits {
        Limits { value_bytes: 8 << 20, commit_bytes: 8 << 20, commit_parts: 10_000 }
    }

    fn clock(&self) -> Soon<'_, Reading> {
        Box::pin(async {
            let now = now().unsigned_abs();
            Ok(Reading { earliest: now, latest: now + 1 })
        })
    }

    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>> {
        let keys = keys.to_vec();
        Box::pin(self.run(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT value, revision FROM entry WHERE key = ?1 AND (until IS NULL OR until > ?2)",
            )?;
            let get = |key: &String| {
                let found = statement.query_row(params![key, now()], |row| {
                    Ok(Entry { key: key.clone(), value: row.get(0)?, revision: row.get(1).map(revision)? })
                });
                found.optional()
            };
            keys.iter().map(get).collect()
        }))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>> {
        let prefix = prefix.to_owned();
        Box::pin(self.run(move |connection| list(connection, &prefix)))
    }

    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>> {
        let prefix = prefix.to_owned();
        Box::pin(self.run(move |connection| {
            let mut statement = connection
                .prepare_cached("SELECT key FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key")?;
            let rows = statement.query_map([&prefix, &end(&prefix)], |row| row.get(0))?;
            rows.collect()
        }))
    }

    fn commit<'a>(&'a self, expect: &'a [Expect], changes: &'a [Change]) -> Soon<'a, bool> {
        let (expect, changes) = (expect.to_vec(), changes.to_vec());
        Box::pin(self.run(move |connection| commit(connection, &expect, &changes)))
    }

    fn watch<'a>(&'a self, prefix: &'a str, wake: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()> {
        Box::pin(async move {
            // Of its own, since SQLite tells a connection only what others have written.
            let connection = Connection::open(&self.path).map_err(sorted)?;
            connection.busy_timeout(BUSY_MAX).map_err(sorted)?;
            wake();
            let (mut version, mut seen) = (None, None);
            loop {
                let now: i64 =
                    connection.query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(sorted)?;
                if version != Some(now) {
                    version = Some(now);
                    let found = print(&connection, prefix).map_err(sorted)?;
                    if seen.is_some_and(|seen| seen != found) {
                        wake();
                    }
                    seen = Some(found);
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        })
    }
}
