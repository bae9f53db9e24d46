//! Where the proxy learns by what a client's password is checked.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use replat_postgres::connect::{self, Connected};
use replat_postgres::conninfo::ConnInfo;
use replat_postgres::session::VERIFIER_QUERY;
use replat_wire::scram::Verifier;
use tokio::sync::Mutex;

/// A look-up under way.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Option<Verifier>, LookupError>> + Send + 'a>>;

/// Knows the SCRAM verifiers of roles.
pub trait Verifiers: Send + Sync + 'static {
    /// The verifier of `user`; `None` if nobody of that name may log in by SCRAM-SHA-256.
    fn verifier<'a>(&'a self, user: &'a str) -> Lookup<'a>;
}

/// A verifier could not be looked up, so nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The database that knows them cannot be reached.
    #[error("the database of roles cannot be reached")]
    Connect(#[source] Box<connect::ConnectError>),
    /// It refused the question.
    #[error("the database of roles refused the question for a verifier")]
    Query(#[source] tokio_postgres::Error),
}

/// Asks a database at every login, over one connection that is kept.
///
/// The connection's role must be able to read `pg_authid`, or `query` must be a function that is, such as
/// `select verifier from replat_login($1)`.
pub struct AuthQuery {
    info: ConnInfo,
    query: String,
    session: Mutex<Option<Connected>>,
}

impl AuthQuery {
    /// Asks the database at `info`; with `query`, or `pg_authid` itself. The query has one parameter, the role, and
    /// answers with one text or none.
    pub fn new(info: ConnInfo, query: Option<String>) -> AuthQuery {
        AuthQuery {
            info,
            query: query.unwrap_or_else(|| VERIFIER_QUERY.to_owned()),
            session: Mutex::new(None),
        }
    }

    async fn ask(&self, user: &str) -> Result<Option<Verifier>, LookupError> {
        let mut place = self.session.lock().await;
        // A connection that was kept may have died meanwhile; then there is one more try.
        if let Some(session) = place.as_ref().filter(|session| !session.client.is_closed()) {
            match session.client.query_opt(&self.query, &[&user]).await {
                Err(error) if error.is_closed() => {}
                answer => return read(answer),
            }
        }
        let session = connect::connect(&self.info, "replat proxy").await;
        let session = place.insert(session.map_err(|error| LookupError::Connect(Box::new(error)))?);
        read(session.client.query_opt(&self.query, &[&user]).await)
    }
}

fn read(
    answer: Result<Option<tokio_postgres::Row>, tokio_postgres::Error>,
) -> Result<Option<Verifier>, LookupError> {
    let text = match answer.map_err(LookupError::Query)? {
        Some(row) => row.try_get::<_, Option<String>>(0).map_err(LookupError::Query)?,
        None => None,
    };
    // An MD5 hash, or none: such a role cannot log in here, like one that is not there.
    Ok(text.and_then(|text| text.parse().ok()))
}

impl Verifiers for AuthQuery {
    fn verifier<'a>(&'a self, user: &'a str) -> Lookup<'a> {
        Box::pin(self.ask(user))
    }
}

/// A list of roles and their verifiers, as PgBouncer keeps it: `"role" "SCRAM-SHA-256$…"` line by line.
#[derive(Debug)]
pub struct UserList(HashMap<String, Verifier>);

/// A line of a user list cannot be read. Its text is not shown: it is a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the user list is not of the form \"role\" \"SCRAM-SHA-256$...\"")]
pub struct BadUserList {
    /// Which line, from 1.
    pub line: usize,
}

impl UserList {
    /// Reads the text of a list. Empty lines, and lines that begin with `;` or `#`, say nothing.
    ///
    /// # Errors
    ///
    /// [`BadUserList`] names the first line that is neither that nor an entry.
    pub fn parse(text: &str) -> Result<UserList, BadUserList> {
        let mut roles = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            let (role, verifier) = entry(line).ok_or(BadUserList { line: at + 1 })?;
            roles.insert(role, verifier);
        }
        Ok(UserList(roles))
    }
}

fn entry(line: &str) -> Option<(String, Verifier)> {
    let (role, rest) = quoted(line)?;
    let (verifier, rest) = quoted(rest.trim_start())?;
    rest.trim().is_empty().then_some(())?;
    Some((role, verifier.parse().ok()?))
}

/// A text in double quotes, in which two of them stand for one; and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut found = String::new();
    let mut rest = text.strip_prefix('"')?;
    loop {
        let (part, after) = rest.split_once('"')?;
        found.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                found.push('"');
                rest = more;
            }
            None => return Some((found, after)),
        }
    }
}

impl Verifiers for UserList {
    fn verifier<'a>(&'a self, user: &'a str) -> Lookup<'a> {
        Box::pin(std::future::ready(Ok(self.0.get(user).cloned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_list_is_read_line_by_line() {
        let verifier = Verifier::of_password("secret", b"some salt", 1);
        let text = format!("; roles\n\n\"app\" \"{0}\"\n  \"a \"\"b\"\"\"\t\"{0}\"\n", verifier.expose());
        let list = UserList::parse(&text).expect("a legal list");
        for (user, known) in [("app", true), ("a \"b\"", true), ("other", false)] {
            assert_eq!(list.verifier(user).await.expect("no look-up").is_some(), known, "{user}");
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_named_but_not_shown() {
        for line in ["app secret", "\"app\" \"secret\"", "\"app\"", "\"app", "\"a\" \"md5abc\" \"x\""] {
            let error = UserList::parse(&format!("# fine\n{line}\n")).expect_err(line);
            assert_eq!(error, BadUserList { line: 2 });
        }
    }
}
