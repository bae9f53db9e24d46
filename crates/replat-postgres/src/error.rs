//! What a server's refusal means for a deployment.

use replat_engine::EngineError;
use tokio_postgres::error::SqlState;

/// Turns a driver's error into the error that has the right verdict and remedy.
///
/// `database` is its name in the spec, `during` what was being done, as a noun phrase.
pub fn failed(database: &str, during: &str, error: tokio_postgres::Error) -> EngineError {
    let database = database.to_owned();
    let during = during.to_owned();
    let Some(server) = error.as_db_error() else {
        return EngineError::Unreachable { database, during, source: Box::new(error) };
    };
    let code = server.code();
    let why = match server.detail().filter(|_| !shows_the_row(code)) {
        Some(detail) => format!("{} ({detail}; {})", server.message(), code.code()),
        None => format!("{} ({})", server.message(), code.code()),
    };
    if is_lock(code) {
        return EngineError::Locked { database, what: during, source: Box::new(error) };
    }
    if is_temporary(code) {
        return EngineError::Unreachable { database, during, source: Box::new(error) };
    }
    if is_row(code) {
        let table = server.table().unwrap_or("a table").to_owned();
        return EngineError::Row { database, table, key: None, why };
    }
    EngineError::Refused { database, during, why }
}

/// Whether a lock, or a turn, could not be had in time.
pub fn is_lock(code: &SqlState) -> bool {
    [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::QUERY_CANCELED,
        SqlState::OBJECT_IN_USE,
    ]
    .contains(code)
}

/// Connection trouble, resources and shutdowns: the same statement may do tomorrow. So it may when the server
/// ended a session of ours that stood still in a transaction.
fn is_temporary(code: &SqlState) -> bool {
    ["08", "53", "57", "58"].iter().any(|class| code.code().starts_with(class))
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

/// Whether the trouble lies in the values of a row.
fn is_row(code: &SqlState) -> bool {
    ["22", "23", "44"].iter().any(|class| code.code().starts_with(class))
}

/// Whether the server's detail is the whole row. Its values are nobody's business but the database's.
pub fn shows_the_row(code: &SqlState) -> bool {
    [SqlState::NOT_NULL_VIOLATION, SqlState::CHECK_VIOLATION].contains(code)
}

/// Whether `error` lies in the values of a row: another row, or this one after it was mended, would do.
pub fn is_of_the_row(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(is_row)
}

/// Whether `error` says that other rows are in the way, or are not there yet, which passes as they come and go: a
/// unique or exclusion constraint, or a foreign key where those act on what replat writes.
pub fn is_of_other_rows(error: &tokio_postgres::Error) -> bool {
    const PASSING: [SqlState; 3] =
        [SqlState::UNIQUE_VIOLATION, SqlState::EXCLUSION_VIOLATION, SqlState::FOREIGN_KEY_VIOLATION];
    error.code().is_some_and(|code| PASSING.contains(code))
}

/// Gives a driver's error its place: `.map_err(on("pg-a", "the copy"))`.
pub fn on<'a>(database: &'a str, during: &'a str) -> impl Fn(tokio_postgres::Error) -> EngineError + 'a {
    move |error| failed(database, during, error)
}
