//! What a statement does, and what it leaves behind in its session.
//!
//! Read from the tokens alone, so that it is known of statements that the parser does not understand as well.

use sqlparser::tokenizer::Token;

use crate::lex::is_word;

/// What a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects {
    /// What kind of work it is.
    pub verb: Verb,
    /// What it changes in the session, in order.
    pub session: Vec<SessionChange>,
}

/// Kinds of statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads, and calls no function but harmless ones. May run on a server that is only read.
    Read,
    /// Reads, and may write: it calls other functions, locks rows, or is not understood.
    MayWrite,
    /// Changes rows.
    Write,
    /// Changes tables or other objects.
    Ddl,
    /// Begins, ends or divides a transaction.
    Transaction(Transaction),
    /// Concerns the session: `SET`, `SHOW`, `LISTEN`, `PREPARE`, a cursor.
    Session,
    /// Looks after the database: `VACUUM`, `CHECKPOINT`.
    Upkeep,
    /// Not known.
    Opaque,
}

/// What happens to the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// `BEGIN` or `START TRANSACTION`.
    Begin {
        /// Whether it said `READ ONLY` (`Some(true)`) or `READ WRITE`.
        read_only: Option<bool>,
    },
    /// `SET TRANSACTION` or `SET CONSTRAINTS`.
    Set,
    /// `COMMIT` or `END`.
    Commit,
    /// `ROLLBACK` or `ABORT`.
    Rollback,
    /// `SAVEPOINT`.
    Savepoint,
    /// `ROLLBACK TO`.
    RollbackTo,
    /// `RELEASE`.
    Release,
    /// `PREPARE TRANSACTION`: it lives on in the server, without the session.
    Prepare,
    /// `COMMIT PREPARED`; it belongs on the server where it was prepared.
    CommitPrepared,
    /// `ROLLBACK PREPARED`, likewise.
    RollbackPrepared,
}

/// A change of a session's state. Names are folded as PostgreSQL folds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// `SET name = value`; also `SET ROLE`, `SET TIME ZONE` and the like, under the setting's own name.
    Set {
        /// The setting's name, in small letters.
        name: Box<str>,
        /// Its new value.
        value: SettingValue,
        /// For how long.
        scope: Scope,
    },
    /// `RESET name`.
    Reset(Box<str>),
    /// `RESET ALL`.
    ResetAll,
    /// `DISCARD ALL`: nothing of the session is left.
    DiscardAll,
    /// `DISCARD TEMP`.
    DiscardTemporary,
    /// A temporary table, view, sequence or function is made.
    Temporary,
    /// `LISTEN channel`.
    Listen(Box<str>),
    /// `UNLISTEN`; `None` is all channels.
    Unlisten(Option<Box<str>>),
    /// A function that takes an advisory lock of the session is called.
    AdvisoryLock,
    /// A function that gives up such a lock is called.
    AdvisoryUnlock,
    /// A cursor is declared `WITH HOLD`, so that it outlives its transaction.
    HeldCursor(Box<str>),
    /// `CLOSE`; `None` is all cursors.
    CloseCursor(Option<Box<str>>),
    /// `PREPARE name AS`.
    Prepare(Box<str>),
    /// `DEALLOCATE`; `None` is all statements.
    Deallocate(Option<Box<str>>),
    /// `LOAD`ed a library.
    Library,
    /// Something of the session is changed, and it is not known how it could be done again elsewhere.
    Untracked,
}

impl SessionChange {
    /// Whether the session has something now that cannot be had again on another server, so that it has to stay.
    pub fn pins(&self) -> bool {
        match self {
            SessionChange::Temporary
            | SessionChange::Listen(_)
            | SessionChange::AdvisoryLock
            | SessionChange::HeldCursor(_)
            | SessionChange::Prepare(_)
            | SessionChange::Library
            | SessionChange::Untracked => true,
            SessionChange::Set { .. }
            | SessionChange::Reset(_)
            | SessionChange::ResetAll
            | SessionChange::DiscardAll
            | SessionChange::DiscardTemporary
            | SessionChange::Unlisten(_)
            | SessionChange::AdvisoryUnlock
            | SessionChange::CloseCursor(_)
            | SessionChange::Deallocate(_) => false,
        }
    }
}

/// Settings by which the session's later statements may be read otherwise.
const READ_BY: [&str; 3] = ["search_path", "standard_conforming_strings", "client_encoding"];

impl SessionChange {
    /// Whether later statements of the session may mean something else by it: names without a schema are looked up
    /// elsewhere, or a text is another text.
    pub fn unsettles(&self) -> bool {
        match self {
            SessionChange::Set { name, .. } | SessionChange::Reset(name) => READ_BY.contains(&&**name),
            SessionChange::ResetAll | SessionChange::DiscardAll | SessionChange::Untracked => true,
            SessionChange::Temporary
            | SessionChange::DiscardTemporary
            | SessionChange::Listen(_)
            | SessionChange::Unlisten(_)
            | SessionChange::AdvisoryLock
            | SessionChange::AdvisoryUnlock
            | SessionChange::HeldCursor(_)
            | SessionChange::CloseCursor(_)
            | SessionChange::Prepare(_)
            | SessionChange::Deallocate(_)
            | SessionChange::Library => false,
        }
    }
}

/// For how long a setting is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Until the session ends, or its transaction is rolled back.
    Session,
    /// Until the transaction ends.
    Local,
}

/// What a setting is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// `DEFAULT`.
    Default,
    /// The values as they are meant, without quotes; most settings have one.
    Values(Vec<Box<str>>),
}

impl Effects {
    pub(crate) fn opaque() -> Effects {
        Effects { verb: Verb::Opaque, session: vec![SessionChange::Untracked] }
    }

    /// Of one statement. A query is [`Verb::MayWrite`] here; whether it only reads is found out by reading it.
    pub(crate) fn of(statement: &[Token]) -> Effects {
        let words = Words { tokens: statement, at: 0 };
        let mut session = Vec::new();
        let verb = verb(words, &mut session);
        calls(statement, &mut session);
        Effects { verb, session }
    }
}

fn verb(mut words: Words<'_>, session: &mut Vec<SessionChange>) -> Verb {
    let Some(first) = words.keyword() else {
        let is_query = matches!(words.tokens.first(), Some(Token::LParen));
        return if is_query { query(words, session) } else { Verb::Opaque };
    };
    match first.as_str() {
        "SELECT" | "VALUES" | "TABLE" | "WITH" => query(words, session),
        "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => Verb::Write,
        "EXPLAIN" | "CALL" | "DO" | "EXECUTE" | "NOTIFY" | "LOCK" => Verb::MayWrite,
        "COPY" if words.has("FROM") && !matches!(words.rest().first(), Some(Token::LParen)) => Verb::Write,
        "COPY" => Verb::MayWrite,
        "BEGIN" | "START" => Verb::Transaction(Transaction::Begin { read_only: words.read_only() }),
        "COMMIT" | "END" if words.next_is("PREPARED") => Verb::Transaction(Transaction::CommitPrepared),
        "COMMIT" | "END" => Verb::Transaction(Transaction::Commit),
        "ROLLBACK" if words.next_is("PREPARED") => Verb::Transaction(Transaction::RollbackPrepared),
        "ROLLBACK" | "ABORT" if words.has("TO") => Verb::Transaction(Transaction::RollbackTo),
        "ROLLBACK" | "ABORT" => Verb::Transaction(Transaction::Rollback),
        "SAVEPOINT" => Verb::Transaction(Transaction::Savepoint),
        "RELEASE" => Verb::Transaction(Transaction::Release),
        "PREPARE" if words.next_is("TRANSACTION") => Verb::Transaction(Transaction::Prepare),
        "PREPARE" => {
            session.push(words.name().map_or(SessionChange::Untracked, SessionChange::Prepare));
            Verb::Session
        }
        "DEALLOCATE" => {
            words.skip("PREPARE");
            session.push(SessionChange::Deallocate(words.name_or_all("ALL")));
            Verb::Session
        }
        "SET" => set(words, session),
        "RESET" => {
            session.push(reset(words));
            Verb::Session
        }
        "DISCARD" => {
            session.push(match words.keyword().as_deref() {
                Some("ALL") => SessionChange::DiscardAll,
                Some("TEMP" | "TEMPORARY") => SessionChange::DiscardTemporary,
                Some("PLANS" | "SEQUENCES") => return Verb::Session,
                _ => SessionChange::Untracked,
            });
            Verb::Session
        }
        "LISTEN" => {
            session.push(words.name().map_or(SessionChange::Untracked, SessionChange::Listen));
            Verb::Session
        }
        "UNLISTEN" => {
            session.push(SessionChange::Unlisten(words.name_or_all("*")));
            Verb::Session
        }
        "DECLARE" => {
            let name = words.name();
            // Whatever stands behind FOR is the query, and its own affair.
            let head =
                words.rest().iter().take_while(|token| !is_word(token, "FOR")).cloned().collect::<Vec<_>>();
            let held = head.windows(2).any(|two| is_word(&two[0], "WITH") && is_word(&two[1], "HOLD"));
            if held {
                session.push(name.map_or(SessionChange::Untracked, SessionChange::HeldCursor));
            }
            Verb::MayWrite
        }
        "CLOSE" => {
            session.push(SessionChange::CloseCursor(words.name_or_all("ALL")));
            Verb::Session
        }
        "FETCH" | "MOVE" | "SHOW" => Verb::Session,
        "CREATE" => {
            for before in ["OR", "REPLACE", "LOCAL", "GLOBAL"] {
                words.skip(before);
            }
            if words.next_is("TEMP") || words.next_is("TEMPORARY") {
                session.push(SessionChange::Temporary);
            }
            Verb::Ddl
        }
        "ALTER" | "DROP" | "COMMENT" | "GRANT" | "REVOKE" | "REINDEX" | "REFRESH" | "SECURITY" | "IMPORT"
        | "REASSIGN" => Verb::Ddl,
        "LOAD" => {
            session.push(SessionChange::Library);
            Verb::Session
        }
        "VACUUM" | "ANALYZE" | "ANALYSE" | "CLUSTER" | "CHECKPOINT" => Verb::Upkeep,
        _ => {
            session.push(SessionChange::Untracked);
            Verb::Opaque
        }
    }
}

/// `SELECT .. INTO TEMP t` makes a table, and `WITH` may be followed by a change or contain one.
fn query(words: Words<'_>, session: &mut Vec<SessionChange>) -> Verb {
    let temporary = words
        .tokens
        .windows(2)
        .any(|two| is_word(&two[0], "INTO") && (is_word(&two[1], "TEMP") || is_word(&two[1], "TEMPORARY")));
    if temporary {
        session.push(SessionChange::Temporary);
    }
    let changes = |two: &[Token]| {
        let is_update = is_word(&two[1], "UPDATE") && !is_word(&two[0], "FOR") && !is_word(&two[0], "KEY");
        is_update || ["INSERT", "DELETE", "MERGE"].iter().any(|word| is_word(&two[1], word))
    };
    let is_with = words.tokens.first().is_some_and(|first| is_word(first, "WITH"));
    if is_with && words.tokens.windows(2).any(changes) { Verb::Write } else { Verb::MayWrite }
}

fn set(mut words: Words<'_>, session: &mut Vec<SessionChange>) -> Verb {
    if words.next_is("TRANSACTION") || words.next_is("CONSTRAINTS") {
        return Verb::Transaction(Transaction::Set);
    }
    let scope = if words.skip("LOCAL") { Scope::Local } else { Scope::Session };
    let said_session = scope == Scope::Session && words.skip("SESSION");
    let name: Option<Box<str>> = if words.skip("ROLE") {
        Some("role".into())
    } else if words.skip("NAMES") {
        Some("client_encoding".into())
    } else if words.skip("SCHEMA") {
        Some("search_path".into())
    } else if words.next_is("TIME") {
        words.skip("TIME");
        words.skip("ZONE").then(|| "timezone".into())
    } else if said_session && words.skip("AUTHORIZATION") {
        Some("session_authorization".into())
    } else {
        words.setting().filter(|_| words.assigns())
    };
    let change = match (name, words.values()) {
        (Some(name), Some(value)) => SessionChange::Set { name, value, scope },
        _ => SessionChange::Untracked,
    };
    session.push(change);
    Verb::Session
}

fn reset(mut words: Words<'_>) -> SessionChange {
    let name: Option<Box<str>> = if words.skip("ALL") {
        return SessionChange::ResetAll;
    } else if words.skip("TIME") {
        words.skip("ZONE").then(|| "timezone".into())
    } else if words.next_is("SESSION") {
        words.skip("SESSION");
        words.skip("AUTHORIZATION").then(|| "session_authorization".into())
    } else {
        words.setting()
    };
    name.map_or(SessionChange::Untracked, SessionChange::Reset)
}

/// Functions and schemas that change the session wherever they stand.
fn calls(statement: &[Token], session: &mut Vec<SessionChange>) {
    for (at, token) in statement.iter().enumerate() {
        let Token::Word(word) = token else { continue };
        let name = word.value.to_ascii_lowercase();
        let change = match (name.as_str(), statement.get(at + 1)) {
            ("pg_temp", Some(Token::Period)) => SessionChange::Temporary,
            (
                "pg_advisory_unlock" | "pg_advisory_unlock_shared" | "pg_advisory_unlock_all",
                Some(Token::LParen),
            ) => SessionChange::AdvisoryUnlock,
            (name, Some(Token::LParen)) if is_session_lock(name) => SessionChange::AdvisoryLock,
            ("set_config", Some(Token::LParen)) => set_config(statement).unwrap_or(SessionChange::Untracked),
            _ => continue,
        };
        session.push(change);
    }
}

/// Locks of the transaction have `_xact_` in their names, and end with it.
fn is_session_lock(name: &str) -> bool {
    matches!(
        name,
        "pg_advisory_lock"
            | "pg_advisory_lock_shared"
            | "pg_try_advisory_lock"
            | "pg_try_advisory_lock_shared"
    )
}

/// `SELECT set_config('name', 'value', false)`, and nothing more.
fn set_config(statement: &[Token]) -> Option<SessionChange> {
    use Token::{Comma, LParen, RParen, SingleQuotedString};
    let statement = match statement {
        [select, schema, Token::Period, rest @ ..]
            if is_word(select, "SELECT") && is_word(schema, "PG_CATALOG") =>
        {
            rest
        }
        [select, rest @ ..] if is_word(select, "SELECT") => rest,
        _ => return None,
    };
    match statement {
        [_, LParen, SingleQuotedString(name), Comma, SingleQuotedString(value), Comma, local, RParen] => {
            let scope = match local {
                local if is_word(local, "TRUE") => Scope::Local,
                local if is_word(local, "FALSE") => Scope::Session,
                _ => return None,
            };
            let value = SettingValue::Values(vec![value.as_str().into()]);
            Some(SessionChange::Set { name: name.to_ascii_lowercase().into(), value, scope })
        }
        _ => None,
    }
}

/// A place in a statement.
#[derive(Clone, Copy)]
struct Words<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Words<'a> {
    fn rest(&self) -> &'a [Token] {
        self.tokens.get(self.at..).unwrap_or_default()
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        Some(token)
    }

    /// The next word in capitals, if it is an unquoted one.
    fn keyword(&mut self) -> Option<String> {
        match self.rest().first()? {
            Token::Word(word) if word.quote_style.is_none() => {
                self.at += 1;
                Some(word.value.to_ascii_uppercase())
            }
            _ => None,
        }
    }

    fn next_is(&self, word: &str) -> bool {
        self.rest().first().is_some_and(|token| is_word(token, word))
    }

    fn has(&self, word: &str) -> bool {
        self.rest().iter().any(|token| is_word(token, word))
    }

    fn skip(&mut self, word: &str) -> bool {
        let is = self.next_is(word);
        self.at += usize::from(is);
        is
    }

    fn read_only(&self) -> Option<bool> {
        self.rest().windows(2).filter(|two| is_word(&two[0], "READ")).find_map(|two| {
            match (is_word(&two[1], "ONLY"), is_word(&two[1], "WRITE")) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            }
        })
    }

    /// A name, folded.
    fn name(&mut self) -> Option<Box<str>> {
        match self.next()? {
            Token::Word(word) => crate::read::fold(&word.value, word.quote_style),
            _ => None,
        }
    }

    /// A name; `None` for `all`.
    fn name_or_all(&mut self, all: &str) -> Option<Box<str>> {
        if self.next_is(all) || matches!(self.rest().first(), Some(Token::Mul)) { None } else { self.name() }
    }

    /// The name of a setting, `a` or `a.b`, in small letters.
    fn setting(&mut self) -> Option<Box<str>> {
        let mut name = self.name()?.to_string();
        while matches!(self.rest().first(), Some(Token::Period)) {
            self.at += 1;
            name.push('.');
            name.push_str(&self.name()?);
        }
        Some(name.to_ascii_lowercase().into())
    }

    fn assigns(&mut self) -> bool {
        let is = self.next_is("TO") || matches!(self.rest().first(), Some(Token::Eq));
        self.at += usize::from(is);
        is
    }

    /// What a setting is set to, up to the end.
    fn values(&mut self) -> Option<SettingValue> {
        if self.rest().len() == 1 && (self.next_is("DEFAULT") || self.next_is("LOCAL")) {
            return Some(SettingValue::Default);
        }
        let mut values = Vec::new();
        loop {
            values.push(match self.next()? {
                Token::SingleQuotedString(text) => text.as_str().into(),
                Token::DollarQuotedString(text) => text.value.as_str().into(),
                Token::Number(digits, false) => digits.as_str().into(),
                Token::Minus => match self.next()? {
                    Token::Number(digits, false) => format!("-{digits}").into(),
                    _ => return None,
                },
                Token::Word(word) => crate::read::fold(&word.value, word.quote_style)?,
                _ => return None,
            });
            match self.next() {
                None => return Some(SettingValue::Values(values)),
                Some(Token::Comma) => {}
                Some(_) => return None,
            }
        }
    }
}
