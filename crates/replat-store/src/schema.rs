//! The file: how it is opened, what is in it, and how an older one is brought up to date.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::{Damage, Fault};

/// How long a write waits for other processes' writes.
const BUSY_MAX: Duration = Duration::from_secs(5);

/// How often we ask again where SQLite does not wait by itself.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// `rplt`: what `file` and SQLite's own tools show as the kind of the file.
const APPLICATION_ID: i64 = 0x7270_6c74;

/// What brings a file from each version to the next; the first makes an empty file one of version 1. A step that
/// was ever released is never edited.
const STEPS: [&str; FORMAT as usize] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
];

/// The version of the file that this program reads and writes.
const FORMAT: u32 = 4;

/// Opens the file, settles how durable it is, and brings it up to date.
pub(crate) fn open(path: &Path) -> Result<Connection, Fault> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_MAX)?;
    check_kind(&mut connection)?;
    let mode = write_ahead(&connection)?;
    if mode != "wal" {
        return Err(Fault::damaged(format!("its journal is {mode:?} and cannot be made a write-ahead log")));
    }
    // FULL, since with NORMAL a power cut takes the last commits along, and one of them may be a switch.
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF")?;
    bring_up_to_date(&mut connection)?;
    check_pages(&connection)?;
    Ok(connection)
}

/// Refuses a database that is somebody else's before anything in it is touched.
fn check_kind(connection: &mut Connection) -> Result<(), Fault> {
    // Both from one state of the file: another process may be making it just now.
    let tx = connection.transaction()?;
    let id: i64 = tx.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id == APPLICATION_ID || tables == 0 { Ok(()) } else { Err(refused("it is not a replat store")) }
}

/// Makes the journal a write-ahead log, and says what it is. Of two processes that turn a new file into one, SQLite
/// refuses one at once, however long it was told to wait.
fn write_ahead(connection: &Connection) -> Result<String, Fault> {
    let begun = Instant::now();
    loop {
        let asked = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        let busy = asked.as_ref().is_err_and(|e| e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy));
        if !busy || begun.elapsed() >= BUSY_MAX {
            return Ok(asked?);
        }
        std::thread::sleep(ASK_EVERY);
    }
}

fn bring_up_to_date(connection: &mut Connection) -> Result<(), Fault> {
    // Read under the lock, so that of two processes that open an old file one does the work.
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let format: u32 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format > FORMAT {
        return Err(refused(&format!(
            "its format is {format} and this replat knows {FORMAT}; use a newer one"
        )));
    }
    for step in STEPS.iter().skip(format as usize) {
        tx.execute_batch(step)?;
    }
    if format < FORMAT {
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", FORMAT)?;
    }
    Ok(tx.commit()?)
}

/// Whether the file hangs together. The store is small, so that this costs little next to acting on a damaged one.
fn check_pages(connection: &Connection) -> Result<(), Fault> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Fault::Damaged(Damage(verdict))) }
}

fn refused(why: &str) -> Fault {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
    Fault::Sqlite(rusqlite::Error::SqliteFailure(code, Some(why.to_owned())))
}
