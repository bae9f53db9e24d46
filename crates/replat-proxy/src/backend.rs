//! Sessions at a home: dialled in the client's name, asked what they have, and left again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use replat_postgres::connect::{ConnectError, Way, reach};
use replat_postgres::session::{Belonging, PATH_QUERY, census_query, defaults_query, settings_query};
use replat_wire::backend::{self, Authentication, Complaint, TxStatus, tag};
use replat_wire::frame::put_frame;
use replat_wire::frontend;
use replat_wire::scram::{Credential, Hello, Login, MECHANISM, ScramError};
use replat_wire::startup::{CancelKey, put_startup};

use crate::doors::Home;
use crate::side::Side;

/// So often a question of the proxy's own is put again that a client's late wish to cancel has hit.
const ASK_AGAIN: u32 = 5;

/// The SQLSTATE of a statement that was cancelled.
const CANCELLED: &str = "57014";

/// The longest message that a server may send while it lets somebody in, or answers a question of the proxy's own.
const OWN_ANSWER_MAX: usize = 1 << 20;

/// In whose name sessions are opened.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) user: String,
    /// What the client said at start-up, but for user and database.
    pub(crate) parameters: Vec<(String, String)>,
    /// The client's own proof, passed on; `None` if it gave none, for servers that trust the proxy.
    pub(crate) login: Option<Login>,
}

/// A session at a home that waits for its first request.
pub(crate) struct Backend {
    pub(crate) side: Side,
    pub(crate) home: Arc<Home>,
    pub(crate) way: Way,
    pub(crate) key: Option<CancelKey>,
    /// The settings that the server tells of, as it told them at login.
    pub(crate) parameters: BTreeMap<String, String>,
    /// The session has the settings of its home, as far as nobody has changed them.
    pub(crate) settled: bool,
    /// Frames that the server sent by itself while the proxy asked it something; they are the client's.
    pub(crate) overheard: BytesMut,
}

/// What a session has besides transactions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Belongings {
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) pins: Vec<String>,
}

/// Why there is no session at a home.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the server cannot be reached")]
    Unreachable(#[source] Box<ConnectError>),
    #[error("the connection to the server was lost")]
    Lost(#[source] io::Error),
    #[error("the server refused: {0}")]
    Refused(Complaint),
    #[error("the client's login could not be passed on")]
    Scram(#[source] ScramError),
    #[error("the server asks for {0}, which cannot be passed on")]
    Method(&'static str),
    #[error("the server took too long")]
    Slow,
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> DialError {
        DialError::Lost(error)
    }
}

impl DialError {
    /// Whether another try may succeed without anybody changing anything.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            DialError::Unreachable(error) => error.is_temporary(),
            DialError::Lost(_) | DialError::Slow => true,
            // Starting, stopping, or full.
            DialError::Refused(said) => said.sqlstate.starts_with("57P") || said.sqlstate == "53300",
            DialError::Scram(_) | DialError::Method(_) => false,
        }
    }

    /// Whether the server said no, and the session is as it was.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, DialError::Refused(said) if !said.fatal)
    }

    /// What the client is told.
    pub(crate) fn complaint(&self, home: &Home, user: &str) -> Complaint {
        let at = format!("no session for role \"{user}\" in {home}");
        match self {
            DialError::Refused(said) => Complaint { fatal: true, ..said.clone() },
            DialError::Scram(ScramError::OtherVerifier) => Complaint::fatal("28P01", at)
                .detail("The server keeps another password verifier for this role than the proxy's list.")
                .hint(
                    "Copy the verifier itself (rolpassword, by ALTER ROLE ... PASSWORD 'SCRAM-SHA-256$...') to \
                     every server; the same password set twice gives two verifiers.",
                ),
            DialError::Scram(error) => Complaint::fatal("28P01", at).detail(format!("{error}.")),
            DialError::Method(_) => Complaint::fatal("28000", at)
                .detail(format!("{self}."))
                .hint("Let pg_hba.conf of the server ask the proxy's address for scram-sha-256."),
            DialError::Unreachable(error) => Complaint::fatal("08001", at).detail(format!("{error}.")),
            DialError::Lost(_) | DialError::Slow => Complaint::fatal("08006", at).detail(format!("{self}.")),
        }
    }
}

impl Backend {
    /// Opens a session at `home` in the name of `identity`, within `limit`.
    pub(crate) async fn dial(
        home: Arc<Home>,
        identity: &Identity,
        limit: Duration,
    ) -> Result<Backend, DialError> {
        tokio::time::timeout(limit, dial(home, identity)).await.unwrap_or(Err(DialError::Slow))
    }

    /// Asks the session, which must be at a boundary, what it has.
    pub(crate) async fn census(&mut self, user: &str, custom: &[String]) -> Result<Belongings, DialError> {
        let mut found = Belongings::default();
        let query = census_query(user, custom);
        let own = if self.home.pooled { self.home.settings.clone() } else { Vec::new() };
        self.ask(&query, |row| {
            let text =
                |at: usize| row.get(at).copied().flatten().and_then(|bytes| std::str::from_utf8(bytes).ok());
            match Belonging::from_row([text(0), text(1), text(2)]) {
                // The home's own; another home has others.
                Some(Belonging::Setting(name, value)) if own.contains(&(name.clone(), value.clone())) => {}
                Some(Belonging::Setting(name, value)) => found.settings.push((name, value)),
                Some(Belonging::Pin(what)) => found.pins.push(what),
                None => {}
            }
        })
        .await?;
        Ok(found)
    }

    /// Runs a query of the proxy's own, at a boundary, for what it does.
    pub(crate) async fn tell(&mut self, query: &str) -> Result<(), DialError> {
        self.ask(query, |_| {}).await
    }

    /// Gives the session settings that another one had.
    pub(crate) async fn replay(&mut self, settings: &[(String, String)]) -> Result<(), DialError> {
        match settings_query(settings) {
            Some(query) => self.ask(&query, |_| {}).await,
            None => Ok(()),
        }
    }

    /// Gives the session the settings of its home that it could not be given at start-up, but for those that the client
    /// has set itself.
    pub(crate) async fn settle(&mut self) -> Result<(), DialError> {
        if !self.settled {
            if let Some(query) = defaults_query(&self.home.settings) {
                self.ask(&query, |_| {}).await?;
            }
            self.settled = true;
        }
        Ok(())
    }

    /// Whether the session, which must be at a boundary, has set its `search_path` itself.
    pub(crate) async fn has_own_path(&mut self) -> Result<bool, DialError> {
        let mut own = true;
        self.ask(PATH_QUERY, |row| own = row.first() != Some(&Some(b"f"))).await?;
        Ok(own)
    }

    /// Asks the server something in the proxy's own name. A client's wish to cancel that comes late can hit it; it was
    /// for a statement that has ended, so the question is put again.
    async fn ask(&mut self, query: &str, mut take: impl FnMut(&[Option<&[u8]>])) -> Result<(), DialError> {
        let mut tries = ASK_AGAIN;
        loop {
            let mut any = false;
            let asked = self.ask_once(query, |row| {
                any = true;
                take(row);
            });
            match asked.await {
                Err(DialError::Refused(said)) if said.sqlstate == CANCELLED && !any && tries > 0 => {
                    tries -= 1
                }
                done => return done,
            }
        }
    }

    async fn ask_once(
        &mut self,
        query: &str,
        mut take: impl FnMut(&[Option<&[u8]>]),
    ) -> Result<(), DialError> {
        frontend::put_query(&mut self.side.output, query);
        self.side.drain().await?;
        let mut refused = None;
        loop {
            let (tag, body) = self.side.message(OWN_ANSWER_MAX).await?;
            match tag {
                tag::DATA_ROW => take(&backend::row(&body).unwrap_or_default()),
                tag::PARAMETER => self.learn(&body),
                tag::NOTIFICATION => put_frame(&mut self.overheard, tag, &body),
                tag::ERROR => {
                    let said = Complaint::read(&body);
                    match said.fatal {
                        true => return Err(DialError::Refused(said)),
                        false => refused = Some(said),
                    }
                }
                tag::READY if TxStatus::read(&body) == Some(TxStatus::Idle) => {
                    return refused.map_or(Ok(()), |said| Err(DialError::Refused(said)));
                }
                tag::READY => return Err(DialError::Lost(io::ErrorKind::InvalidData.into())),
                _ => {}
            }
        }
    }

    pub(crate) fn learn(&mut self, body: &[u8]) {
        if let Some((name, value)) = backend::parameter(body) {
            self.parameters.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Says good-bye, in the background: the client need not wait for it.
    pub(crate) fn leave(mut self) {
        frontend::put_terminate(&mut self.side.output);
        tokio::spawn(tokio::time::timeout(Duration::from_secs(5), self.side.close()));
    }
}

async fn dial(home: Arc<Home>, identity: &Identity) -> Result<Backend, DialError> {
    let reached = reach(&home.server).await;
    let (stream, way) = reached.map_err(|error| DialError::Unreachable(Box::new(error)))?;
    let mut side = Side::new(Box::new(stream));
    let own = [("user", identity.user.as_str()), ("database", home.database.as_str())];
    let at_start: &[_] = if home.pooled { &[] } else { &home.settings };
    let fixed = at_start.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let said = identity.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let said = said.filter(|(name, _)| home.settings.iter().all(|(fixed, _)| fixed != name));
    put_startup(&mut side.output, own.into_iter().chain(said).chain(fixed));
    side.drain().await?;
    log_in(&mut side, identity).await?;
    let settled = !home.pooled;
    let mut backend = Backend {
        side,
        home,
        way,
        key: None,
        parameters: BTreeMap::new(),
        settled,
        overheard: BytesMut::new(),
    };
    loop {
        let (tag, body) = backend.side.message(OWN_ANSWER_MAX).await?;
        match tag {
            tag::PARAMETER => backend.learn(&body),
            tag::KEY_DATA => backend.key = backend::key_data(&body),
            tag::READY => return Ok(backend),
            tag::ERROR => return Err(DialError::Refused(Complaint::read(&body))),
            _ => {}
        }
    }
}

/// Proves to the server who it is, until it says so. A server that asked for SCRAM must have proved itself, too.
async fn log_in(side: &mut Side, identity: &Identity) -> Result<(), DialError> {
    let mut hello = None;
    let mut proof = None;
    let mut unproved = false;
    loop {
        let body = expect_authentication(side).await?;
        let message = Authentication::read(&body).ok_or(DialError::Method("something unreadable"))?;
        match message {
            Authentication::Ok if unproved => return Err(DialError::Scram(ScramError::WrongSignature)),
            Authentication::Ok => return Ok(()),
            Authentication::Sasl(offered) if hello.is_none() && proof.is_none() && !unproved => {
                if identity.login.is_none() {
                    return Err(DialError::Method("a password, and the client gave the proxy none"));
                }
                if !offered.contains(&MECHANISM.as_bytes()) {
                    return Err(DialError::Method("another SASL mechanism than SCRAM-SHA-256"));
                }
                let nonce = nonce().map_err(|error| DialError::Lost(io::Error::other(error)))?;
                let said = hello.insert(Hello::new("", &nonce)).message();
                frontend::put_sasl_initial(&mut side.output, MECHANISM, said.as_bytes());
                unproved = true;
            }
            Authentication::SaslContinue(challenge) => {
                let (Some(hello), Some(login)) = (hello.take(), &identity.login) else {
                    return Err(DialError::Scram(ScramError::Malformed("order")));
                };
                let answer = hello.answer(challenge, Credential::Login(login)).map_err(DialError::Scram)?;
                frontend::put_sasl(&mut side.output, answer.message().as_bytes());
                proof = Some(answer);
            }
            Authentication::SaslFinal(said) => {
                let proof = proof.take().ok_or(DialError::Scram(ScramError::Malformed("order")))?;
                proof.check(said).map_err(DialError::Scram)?;
                unproved = false;
            }
            Authentication::Cleartext => return Err(DialError::Method("the password in the clear")),
            Authentication::Md5(_) => return Err(DialError::Method("the password's MD5")),
            _ => return Err(DialError::Method("a way to log in that is not known")),
        }
        side.drain().await?;
    }
}

async fn expect_authentication(side: &mut Side) -> Result<BytesMut, DialError> {
    loop {
        let (tag, body) = side.message(OWN_ANSWER_MAX).await?;
        match tag {
            tag::AUTHENTICATION => return Ok(body),
            tag::ERROR => return Err(DialError::Refused(Complaint::read(&body))),
            // A minor version that is not ours, or a notice: nothing to do.
            tag::NEGOTIATE | tag::NOTICE => {}
            _ => return Err(DialError::Method("something before the login that is not known")),
        }
    }
}

/// Eighteen bytes of randomness in letters, as PostgreSQL has.
pub(crate) fn nonce() -> Result<String, getrandom::Error> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect())
}
