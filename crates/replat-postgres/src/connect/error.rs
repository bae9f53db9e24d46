//! Why there is no session, what to do about it, and whether to try again.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorResponseBody;

use crate::conninfo::TargetSessionAttrs;
use crate::tls::TlsError;

type BoxError = Box<dyn Error + Send + Sync>;

/// No host let us in. Never contains a password.
#[derive(Debug)]
pub struct ConnectError {
    /// The connection, as a URI without its password.
    pub target: String,
    /// What was tried, in this order; at least one.
    pub attempts: Vec<Attempt>,
}

/// One attempt at one address.
#[derive(Debug)]
pub struct Attempt {
    /// The host and port.
    pub host: String,
    /// Why it came to nothing.
    pub failure: Failure,
}

/// Why one attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host's name means no address.
    #[error("the host name cannot be resolved")]
    NotFound {
        /// What the system says.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("nobody answers")]
    Unreachable {
        /// What the system says.
        source: io::Error,
    },
    /// It took too long.
    #[error("no session after {after:?}")]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The connection was lost while logging in.
    #[error("the connection was lost while logging in")]
    Lost {
        /// What the system or the driver says.
        source: BoxError,
    },
    /// The server does without encryption, and `sslmode` does not.
    #[error("the server does not offer TLS")]
    TlsNotOffered,
    /// The server's certificate, or its TLS, will not do.
    #[error("TLS failed")]
    Tls {
        /// What the TLS library says.
        source: io::Error,
    },
    /// A certificate or key file of ours will not do.
    #[error("TLS cannot be set up")]
    TlsSettings {
        /// Which file, and why.
        source: TlsError,
    },
    /// The server said no.
    #[error("{0}")]
    Refused(ServerError),
    /// The server wants a password and there is none.
    #[error("the server asks for a password, and none is known")]
    PasswordNeeded,
    /// The server wants a proof that we cannot or must not give.
    #[error("cannot log in by {method}")]
    Method {
        /// What the server asks for, and why it will not do.
        method: &'static str,
    },
    /// The server is not of the kind that `target_session_attrs` asks for.
    #[error("the server is not {}", wanted_words(*wanted))]
    OtherKind {
        /// What was asked for.
        wanted: TargetSessionAttrs,
    },
    /// The server said something that PostgreSQL would not say, or could not prove that it knows the password.
    #[error("{what}")]
    Protocol {
        /// What it was.
        what: String,
    },
}

fn wanted_words(wanted: TargetSessionAttrs) -> &'static str {
    match wanted {
        TargetSessionAttrs::Any => "there",
        TargetSessionAttrs::ReadWrite => "read-write",
        TargetSessionAttrs::ReadOnly => "read-only",
        TargetSessionAttrs::Primary => "a primary",
        TargetSessionAttrs::Standby | TargetSessionAttrs::PreferStandby => "a standby",
    }
}

/// What the server said when it said no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Five characters from PostgreSQL's table of error codes.
    pub sqlstate: String,
    /// One sentence, in the server's language.
    pub message: String,
    /// More about it, perhaps over several lines.
    pub detail: Option<String>,
    /// What the server suggests.
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl Error for ServerError {}

impl ServerError {
    /// Whether the same request may succeed later without anybody doing anything: the server starts, stops, is
    /// full, lost its peer, or the object is still in somebody's hands.
    pub fn is_temporary(&self) -> bool {
        const IN_USE: &str = "55006";
        let class = self.sqlstate.get(..2).unwrap_or_default();
        matches!(class, "08" | "53" | "57" | "40") || self.sqlstate == IN_USE
    }

    /// Reads the fields of an ErrorResponse.
    pub(crate) fn from_response(body: &ErrorResponseBody) -> ServerError {
        let mut error =
            ServerError { sqlstate: String::new(), message: String::new(), detail: None, hint: None };
        let mut fields = body.fields();
        // A field that cannot be read ends the list: what was read before is still worth saying.
        while let Ok(Some(field)) = fields.next() {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.sqlstate = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                _ => {}
            }
        }
        error
    }
}

impl From<&tokio_postgres::error::DbError> for ServerError {
    fn from(error: &tokio_postgres::error::DbError) -> ServerError {
        ServerError {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        if let Some(said) = error.as_db_error() {
            return Failure::Refused(said.into());
        }
        if error.is_closed() {
            return Failure::Lost { source: error.into() };
        }
        let kind = error.to_string();
        match error.into_source().map(|cause| cause.downcast::<io::Error>()) {
            Some(Ok(cause)) => Failure::from(*cause),
            // The driver has no kind of its own for this.
            Some(Err(cause)) if cause.to_string() == "password missing" => Failure::PasswordNeeded,
            Some(Err(cause)) => Failure::Protocol { what: format!("{kind}: {cause}") },
            None => Failure::Protocol { what: kind },
        }
    }
}

impl From<io::Error> for Failure {
    /// Three things come as an error of the stream: what the TLS library minds (in TLS 1.3 even after the
    /// handshake, since a server looks at our certificate last), what the protocol library cannot understand or
    /// does not believe, and loss.
    fn from(source: io::Error) -> Failure {
        let tls = source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        match source.kind() {
            _ if tls => Failure::Tls { source },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                Failure::Protocol { what: source.to_string() }
            }
            _ => Failure::Lost { source: source.into() },
        }
    }
}

impl Failure {
    /// Whether the same attempt may succeed later without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Failure::NotFound { .. }
            | Failure::Unreachable { .. }
            | Failure::TimedOut { .. }
            | Failure::Lost { .. }
            // After a failover another server may be of that kind.
            | Failure::OtherKind { .. } => true,
            Failure::Refused(said) => said.is_temporary(),
            Failure::TlsNotOffered
            | Failure::Tls { .. }
            | Failure::TlsSettings { .. }
            | Failure::PasswordNeeded
            | Failure::Method { .. }
            | Failure::Protocol { .. } => false,
        }
    }

    /// Whether the remaining hosts are not asked any more: a wrong password is wrong everywhere, and trying it
    /// further may lock an account.
    pub(super) fn ends_the_search(&self) -> bool {
        match self {
            Failure::Refused(said) => !said.is_temporary(),
            Failure::PasswordNeeded | Failure::Method { .. } | Failure::TlsSettings { .. } => true,
            _ => false,
        }
    }

    /// How much this says about what is to be done, compared with other failures of the same search.
    fn weight(&self) -> u8 {
        match self {
            Failure::Refused(said) if said.sqlstate == NOT_ADMITTED => 3,
            Failure::Refused(_) | Failure::PasswordNeeded | Failure::TlsSettings { .. } => 4,
            Failure::Tls { .. } | Failure::TlsNotOffered | Failure::Method { .. } => 2,
            Failure::OtherKind { .. } | Failure::Protocol { .. } => 1,
            _ => 0,
        }
    }

    /// What the operator can do, as one imperative sentence.
    pub fn remedy(&self) -> String {
        match self {
            Failure::NotFound { .. } => "Check the spelling of the host name, and the name service.".into(),
            Failure::Unreachable { .. } => {
                "Check that the server runs, listens on that address and port, and that no firewall is between.".into()
            }
            Failure::TimedOut { .. } => {
                "Check the network and the server's load, or raise connect_timeout.".into()
            }
            Failure::Lost { .. } => "Look into the server's log for why it hung up.".into(),
            Failure::TlsNotOffered => "Set ssl = on on the server, or choose sslmode=prefer.".into(),
            Failure::Tls { .. } => {
                "Check that sslrootcert has the authority that signed the server's certificate, and that the \
                 certificate names this host among its subjectAltNames; if the server complains, check sslcert."
                    .into()
            }
            Failure::TlsSettings { .. } => "Correct the file or the parameter that names it.".into(),
            Failure::Refused(said) => refused_remedy(said),
            Failure::PasswordNeeded => {
                "Add a line for this host to ~/.pgpass (mode 0600), or set PGPASSWORD.".into()
            }
            Failure::Method { .. } => {
                "Let the role log in by scram-sha-256, md5, password, cert or trust in pg_hba.conf.".into()
            }
            Failure::OtherKind { .. } => {
                "Name the other servers in host too, or relax target_session_attrs.".into()
            }
            Failure::Protocol { .. } => {
                "Check that a PostgreSQL server, and the right one, listens there.".into()
            }
        }
    }
}

/// `invalid_authorization_specification`: mostly, no line of pg_hba.conf fits.
const NOT_ADMITTED: &str = "28000";

fn refused_remedy(said: &ServerError) -> String {
    match said.sqlstate.as_str() {
        "28P01" => "Check the user's name and password, and which source the password came from.".into(),
        NOT_ADMITTED => {
            "Add a line for this user, database and address to pg_hba.conf, and check the user.".into()
        }
        "3D000" => "Check the database's name, or create it.".into(),
        "53300" => "Wait until sessions end, or raise max_connections or the role's limit.".into(),
        "57P03" => "Wait until the server has started.".into(),
        "42501" => "Grant the role what it lacks (LOGIN, CONNECT on the database, REPLICATION).".into(),
        _ => said.hint.clone().unwrap_or_else(|| "Look into the server's log.".into()),
    }
}

impl ConnectError {
    /// Whether trying again later may help without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        let failures = || self.attempts.iter().map(|attempt| &attempt.failure);
        failures().any(Failure::is_temporary) && !failures().any(Failure::ends_the_search)
    }

    /// The attempt that says most about what is to be done.
    pub fn decisive(&self) -> &Attempt {
        let heaviest = self.attempts.iter().max_by_key(|attempt| attempt.failure.weight());
        heaviest.expect("a search makes at least one attempt")
    }

    /// What the operator can do, as one imperative sentence.
    pub fn remedy(&self) -> String {
        self.decisive().failure.remedy()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to {}", self.target)?;
        let mut last = String::new();
        for attempt in &self.attempts {
            let mut said = format!("{}: {}", attempt.host, attempt.failure);
            let mut cause = attempt.failure.source();
            // A search has many causes and `source` only one, so they are said here.
            while let Some(error) = cause {
                said += &format!(": {error}");
                cause = error.source();
            }
            // With and without encryption, a server mostly says the same.
            if said != last {
                write!(f, "; {said}")?;
            }
            last = said;
        }
        Ok(())
    }
}

impl Error for ConnectError {}
