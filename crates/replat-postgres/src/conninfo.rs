//! Where to connect, and as whom: libpq's rules, without libpq.
//!
//! [`ConnInfo::resolve`] is a pure function of a connection string and an [`Environment`]. Sources in order of
//! precedence: the string, the service file, the `PG*` variables, the defaults; the password also comes from the
//! pass file. A parameter that libpq knows and replat does not obey is refused rather than ignored, since it
//! may be the one that keeps a connection safe.

mod environment;
mod parameters;
mod passfile;
mod resolve;
mod service;
mod syntax;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use environment::{Environment, FileSeen, ReadFile};

/// How long one address may take to let us in, unless `connect_timeout` says otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that a connection needs to know. Made by [`ConnInfo::resolve`].
///
/// Its `Display` is a URI without the password: `postgres://user@host:port/db`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// The places to try, in this order; at least one.
    pub hosts: Vec<Host>,
    /// The database.
    pub dbname: String,
    /// The role.
    pub user: String,
    /// Where the password came from.
    pub password_source: PasswordSource,
    /// Whether and how the connection is encrypted and the server checked.
    pub sslmode: SslMode,
    /// Whom to believe about the server.
    pub sslrootcert: RootCertificates,
    /// The client certificate; used if the file exists.
    pub sslcert: Option<PathBuf>,
    /// The client certificate's key.
    pub sslkey: Option<PathBuf>,
    /// Whether SCRAM must be bound to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// Which servers will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// Command-line options for the server, such as `-c geqo=off`.
    pub options: Option<String>,
    /// The name that the session shows in `pg_stat_activity`, if the user chose one.
    pub application_name: Option<String>,
    /// How long one address may take; `None` waits for as long as the system does.
    pub connect_timeout: Option<Duration>,
    /// When a silent TCP connection counts as dead.
    pub keepalive: Keepalive,
    /// What the user should know, such as a pass file that others can read; each a full sentence.
    pub warnings: Vec<String>,
}

/// One place where the server may be, and the password for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Where.
    pub place: Place,
    /// The TCP port, or the number in a Unix socket's name.
    pub port: u16,
    /// The password, if one is known. It can differ by host, since the pass file does.
    pub password: Option<Secret>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host name, or an address written as one.
    Name(String),
    /// An address that needs no look-up.
    Address {
        /// The host name to check the server's certificate against, if it was given.
        name: Option<String>,
        /// The address.
        ip: IpAddr,
    },
    /// The directory of a Unix socket.
    UnixDirectory(PathBuf),
}

impl Place {
    /// The host name, or `None` if only an address or a directory is known.
    pub fn name(&self) -> Option<&str> {
        match self {
            Place::Name(name) => Some(name),
            Place::Address { name, .. } => name.as_deref(),
            Place::UnixDirectory(_) => None,
        }
    }
}

/// A text that must not be shown. Neither `Debug` nor anything else prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where a password came from; a password in a connection string deserves a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// There is none for any host.
    Nowhere,
    /// The connection string.
    ConnectionString,
    /// The service file.
    Service,
    /// `PGPASSWORD`.
    Environment,
    /// The pass file, for at least one host.
    PassFile,
}

/// `sslmode`, with libpq's meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never encrypt.
    Disable,
    /// Encrypt only if the server will not do without.
    Allow,
    /// Encrypt if the server can.
    Prefer,
    /// Encrypt or fail; the server is checked as by `verify-ca` if a root certificate file exists.
    Require,
    /// Encrypt, and believe a server whose certificate a trusted authority signed, whatever its name.
    VerifyCa,
    /// Encrypt, and believe a server whose certificate is for this host's name.
    VerifyFull,
}

/// `sslrootcert`: which authorities may vouch for the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCertificates {
    /// Those that the operating system trusts.
    System,
    /// Those in this PEM file, if it exists.
    File(PathBuf),
    /// None, since there is no home directory to look in.
    Nowhere,
}

/// `channel_binding`: whether the password's proof must be bound to the TLS channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If server and certificate allow it.
    Prefer,
    /// Always; other ways to log in are refused.
    Require,
}

/// `target_session_attrs`: which of several servers will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSessionAttrs {
    /// The first that answers.
    Any,
    /// One whose sessions may write by default.
    ReadWrite,
    /// One whose sessions may not write by default.
    ReadOnly,
    /// One that is not in hot standby.
    Primary,
    /// One that is in hot standby.
    Standby,
    /// A standby, and if none is found, any.
    PreferStandby,
}

/// When a silent TCP connection counts as dead.
///
/// libpq leaves this to the system, which waits for two hours. replat asks sooner: a replication stream to a
/// machine that vanished would else hold WAL all that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Whether the system asks at all.
    pub enabled: bool,
    /// How long nothing arrives before it asks.
    pub idle: Duration,
    /// How long it waits between two questions.
    pub interval: Duration,
    /// How many questions may stay without an answer.
    pub count: u32,
    /// How long sent data may stay unacknowledged; `None` leaves it to the system.
    pub user_timeout: Option<Duration>,
}

impl Keepalive {
    /// Dead after about a minute of silence.
    pub const USUAL: Keepalive = Keepalive {
        enabled: true,
        idle: Duration::from_secs(30),
        interval: Duration::from_secs(10),
        count: 3,
        user_timeout: None,
    };
}

impl ConnInfo {
    /// Resolves a connection string (a URI or `key=value` pairs) against the environment. `None` stands for an
    /// empty string: everything from the environment and the defaults.
    ///
    /// # Errors
    ///
    /// [`ConnInfoError`] says which parameter from which source cannot be obeyed. It never contains a password.
    pub fn resolve(explicit: Option<&str>, environment: &Environment) -> Result<ConnInfo, ConnInfoError> {
        resolve::resolve(explicit.unwrap_or_default(), environment)
    }

    /// Whether any host has a password.
    pub fn has_password(&self) -> bool {
        self.hosts.iter().any(|host| host.password.is_some())
    }
}

impl fmt::Display for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@", syntax::percent_encode(&self.user))?;
        for (position, host) in self.hosts.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{host}")?;
        }
        write!(f, "/{}", syntax::percent_encode(&self.dbname))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Name(name) | Place::Address { name: Some(name), .. } => write_host(name, f)?,
            Place::Address { name: None, ip } => write_host(&ip.to_string(), f)?,
            Place::UnixDirectory(path) => f.write_str(&syntax::percent_encode(&path.to_string_lossy()))?,
        }
        write!(f, ":{}", self.port)
    }
}

fn write_host(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match name.parse::<std::net::Ipv6Addr>() {
        Ok(_) => write!(f, "[{name}]"),
        Err(_) => f.write_str(&syntax::percent_encode(name)),
    }
}

/// Where a parameter came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The connection string.
    ConnectionString,
    /// The service file.
    Service,
    /// An environment variable.
    Environment,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::ConnectionString => "the connection string",
            Source::Service => "the service file",
            Source::Environment => "the environment",
        })
    }
}

/// Why a connection string cannot be obeyed. No variant holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ConnInfoError {
    /// The connection string is neither a URI nor `key=value` pairs.
    #[error("byte {at} of the connection string: {problem}")]
    Syntax {
        /// Where. Unit: bytes from the start of the string.
        at: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A parameter that neither libpq nor replat knows.
    #[error("{source_name} has the unknown parameter {name:?}{}", did_you_mean(*nearest))]
    Unknown {
        /// Where it stands.
        source_name: Source,
        /// Its name.
        name: String,
        /// A parameter with almost the same name.
        nearest: Option<&'static str>,
    },
    /// A parameter of libpq that replat does not obey, with a value that matters.
    #[error("{source_name} sets {name}, which is not supported{}", only(accepted))]
    Unsupported {
        /// Where it stands.
        source_name: Source,
        /// Its name.
        name: &'static str,
        /// The values that would have been accepted, since they change nothing.
        accepted: &'static [&'static str],
    },
    /// A value that the parameter cannot have.
    #[error("{name} in {source_name} must be {expected}")]
    BadValue {
        /// Where it stands.
        source_name: Source,
        /// The parameter's name.
        name: &'static str,
        /// What it can be.
        expected: &'static str,
    },
    /// Lists of hosts, addresses and ports do not have the same length.
    #[error("{counted} has {found} entries for {hosts} hosts")]
    Count {
        /// The list that does not fit.
        counted: &'static str,
        /// How many entries it has.
        found: usize,
        /// How many hosts there are.
        hosts: usize,
    },
    /// The system's authorities vouch for names, so a weaker check than that of the name means nothing.
    #[error(
        "sslrootcert=system needs sslmode=verify-full, since anybody can get a certificate from those authorities"
    )]
    WeakSslMode,
    /// No service file has the service.
    #[error("the service {service:?} is not in {}", paths(looked))]
    NoService {
        /// The service's name.
        service: String,
        /// The files that were looked at.
        looked: Vec<PathBuf>,
    },
    /// A service file cannot be understood.
    #[error("line {line} of {}: {problem}", path.display())]
    ServiceFile {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// A file that was named cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Neither the connection string nor the system says as whom to connect.
    #[error("no user is given, and the system does not say who runs this program; add user=NAME")]
    NoUser,
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn only(accepted: &[&str]) -> String {
    match accepted {
        [] => String::new(),
        some => format!(" (except as {})", some.join(" or ")),
    }
}

fn paths(looked: &[PathBuf]) -> String {
    match looked {
        [] => "any file: there is no home directory and PGSERVICEFILE is not set".to_owned(),
        some => some.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or "),
    }
}
