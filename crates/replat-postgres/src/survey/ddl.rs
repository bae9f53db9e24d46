//! A rollout's DDL, run inside a transaction that is not its own.

use replat_engine::EngineError;
use replat_model::draft::tokens::{Token, tokens};
use replat_model::plan::DdlFile;
use tokio_postgres::Client;
use tokio_postgres::error::{ErrorPosition, SqlState};

use crate::error::{failed, on};
use crate::sql::quote_ident;

/// Longer than any lock of DDL on new tables takes; shorter than a person's patience.
const TIMEOUTS: &str = "SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = '60s'";
/// A setting that lasts as long as the transaction, and so says whether it still does.
const MARK: &str = "SET LOCAL replat.rehearsal = 'on'";

/// Makes `schema` if it is not there, and runs the files in it. The transaction must have begun.
///
/// # Errors
///
/// [`EngineError::Precondition`] if a file could end the transaction or cannot run in one; else what the server
/// says, with the file and the line.
pub(super) async fn run(
    client: &Client,
    database: &str,
    schema: &str,
    files: &[DdlFile],
) -> Result<(), EngineError> {
    for file in files {
        if let Some(word) = unfit(&file.text) {
            return Err(refused(file, &format!("has {word}"), &format!("Remove {word} from {}.", file.name)));
        }
    }
    let quoted = quote_ident(schema);
    let prepare = format!(
        "{TIMEOUTS}; {MARK}; CREATE SCHEMA IF NOT EXISTS {quoted}; SET LOCAL search_path = {quoted}, public"
    );
    client.batch_execute(&prepare).await.map_err(|error| no_schema(database, schema, error))?;
    for file in files {
        client.batch_execute(&file.text).await.map_err(|error| said_no(database, file, error))?;
        still_inside(client, database, file).await?;
    }
    Ok(())
}

/// Of all that can be lacking on green, the right to make its schema shows before the facts can be read.
fn no_schema(database: &str, schema: &str, error: tokio_postgres::Error) -> EngineError {
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return failed(database, "making the schema in a rehearsal", error);
    }
    EngineError::Precondition {
        what: format!("PRIVILEGE: replat's role may not make the schema {schema} on {database}"),
        remedy: "GRANT CREATE ON DATABASE … TO …; -- by the database's owner".to_owned(),
    }
}

/// No file can have ended the transaction, unless it did so in a way that was not recognised.
async fn still_inside(client: &Client, database: &str, file: &DdlFile) -> Result<(), EngineError> {
    let row = client
        .query_one("SELECT current_setting('replat.rehearsal', true) IS NOT DISTINCT FROM 'on'", &[])
        .await
        .map_err(on(database, "a rehearsal"))?;
    if row.try_get(0).map_err(on(database, "a rehearsal"))? {
        return Ok(());
    }
    let remedy = format!("See what {} left on {database}, and remove its transaction control.", file.name);
    Err(refused(file, "ended the transaction of the rehearsal", &remedy))
}

fn said_no(database: &str, file: &DdlFile, error: tokio_postgres::Error) -> EngineError {
    let Some(server) = error.as_db_error() else {
        return failed(database, "a rehearsal", error);
    };
    if *server.code() == SqlState::ACTIVE_SQL_TRANSACTION {
        let remedy = format!("Write {} so that it can run as one transaction.", file.name);
        return refused(file, &format!("cannot run in a transaction: {}", server.message()), &remedy);
    }
    let line = match server.position() {
        Some(ErrorPosition::Original(at)) => format!(", line {}", line_of(&file.text, *at)),
        _ => String::new(),
    };
    let why = format!("{} ({})", server.message(), server.code().code());
    EngineError::Refused { database: database.to_owned(), during: format!("{}{line}", file.name), why }
}

fn refused(file: &DdlFile, what: &str, remedy: &str) -> EngineError {
    EngineError::Precondition { what: format!("{} {what}", file.name), remedy: remedy.to_owned() }
}

/// The line, from 1, of a character's place, from 1.
fn line_of(text: &str, at: u32) -> usize {
    let before = usize::try_from(at).unwrap_or(usize::MAX).saturating_sub(1);
    1 + text.chars().take(before).filter(|c| *c == '\n').count()
}

/// What in the text would end the transaction or talk to psql.
fn unfit(text: &str) -> Option<&'static str> {
    let tokens = tokens(text);
    if tokens.contains(&Token::Symbol('\\')) {
        return Some("a command for psql");
    }
    let mut rest = tokens.as_slice();
    while let Some(start) =
        rest.iter().position(|token| !matches!(token, Token::Comment | Token::Symbol(';')))
    {
        let length = statement_length(&rest[start..]);
        let words: Vec<&Token> =
            rest[start..start + length].iter().filter(|token| **token != Token::Comment).collect();
        if let Some(word) = ends_transaction(&words) {
            return Some(word);
        }
        rest = &rest[start + length..];
    }
    None
}

fn ends_transaction(statement: &[&Token]) -> Option<&'static str> {
    let is = |at: usize, word: &str| statement.get(at).is_some_and(|token| token.is_word(word));
    const CONTROL: [&str; 8] =
        ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];
    if let Some(word) = CONTROL.into_iter().find(|word| is(0, &word.to_ascii_lowercase())) {
        return Some(word);
    }
    if is(0, "prepare") && is(1, "transaction") {
        return Some("PREPARE TRANSACTION");
    }
    // The server would wait for rows that nobody sends.
    if is(0, "copy") && statement.iter().any(|token| token.is_word("stdin")) {
        return Some("COPY FROM STDIN");
    }
    None
}

/// How many tokens the first statement has. A body `BEGIN ATOMIC … END` has semicolons of its own.
fn statement_length(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        let follows_begin = at > 0 && tokens[at - 1].is_word("begin");
        match token {
            Token::Word(word) if word == "atomic" && follows_begin => depth += 1,
            Token::Word(word) if word == "case" && depth > 0 => depth += 1,
            Token::Word(word) if word == "end" && depth > 0 => depth -= 1,
            Token::Symbol(';') if depth == 0 => return at,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_the_transaction_is_seen_and_nothing_else() {
        let rows = [
            ("create table t (\"begin\" int, \"commit\" int);", None),
            ("create table t (a int); commit;", Some("COMMIT")),
            ("-- begin\nBegin; create table t (a int); end", Some("BEGIN")),
            ("/* x */ ;; ROLLBACK", Some("ROLLBACK")),
            ("create table t (a int); prepare transaction 'x'", Some("PREPARE TRANSACTION")),
            ("prepare p as select 1", None),
            ("do $$ begin perform 1; commit; end $$", None),
            (
                "create function f() returns int begin atomic select case when true then 1 end; select 2; end;",
                None,
            ),
            ("create function f() returns int begin atomic select 1; end; end", Some("END")),
            ("create function f() returns int language plpgsql as 'begin return 1; end'", None),
            ("comment on table t is 'x; commit; y'", None),
            ("\\connect other\ncreate table t (a int)", Some("a command for psql")),
            ("copy t from /* rows */ STDIN;", Some("COPY FROM STDIN")),
            ("", None),
        ];
        for (text, want) in rows {
            assert_eq!(unfit(text), want, "{text}");
        }
    }
}
