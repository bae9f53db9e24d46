//! `proxy`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

/// Options of `proxy`.
#[derive(Clone, Debug, Args)]
pub struct ProxyArgs {
    /// Which context; may be left out where the spec has one.
    #[arg(short = 'C', long)]
    pub context: Option<String>,
    /// Where clients are heard; may be given several times.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6432")]
    pub listen: Vec<SocketAddr>,
    /// Roles and their SCRAM verifiers, as PgBouncer's auth_file has them: "role" "SCRAM-SHA-256$…".
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users_from", "trust"])]
    pub users: Option<PathBuf>,
    /// Look verifiers up on this database of the spec, with the role that the spec connects with.
    #[arg(long, value_name = "DATABASE", conflicts_with = "trust")]
    pub users_from: Option<String>,
    /// By this query, whose $1 is the role, and not in pg_authid.
    #[arg(long, value_name = "SQL", requires = "users_from")]
    pub users_query: Option<String>,
    /// Ask nobody who they are. Only for addresses of this machine.
    #[arg(long)]
    pub trust: bool,
    /// The certificate that clients are shown, in PEM; with it they may speak TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Clients must speak TLS.
    #[arg(long, requires = "tls_cert")]
    pub tls_required: bool,
    /// The character after which a user's name names a partition: with +, app+acme is role app, partition acme.
    #[arg(long, value_name = "CHARACTER")]
    pub user_suffix: Option<char>,
    /// Where statements go whose partition is not known: DATABASE.SCHEMA; without it they are refused.
    #[arg(long, value_name = "HOME")]
    pub otherwise: Option<String>,
    /// Do not read statements for keys: sessions choose their partition.
    #[arg(long)]
    pub no_statements: bool,
    /// How long a transaction may wait while its partition is switched.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub wait_max: String,
    /// How many sessions may connect to one server at once when they move, and how many of those that waited go on each
    /// millisecond.
    #[arg(long, value_name = "NUMBER", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub moves_at_once: u32,
    /// For how long a row is tried again for which no partition is there yet; 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub missing_wait: String,
    /// What becomes of sessions that cannot move: disconnect, or the time for which they are held before that.
    #[arg(long, value_name = "POLICY", default_value = "disconnect")]
    pub pinned: String,
    /// What a proxy does that has not heard of the registry for so long that its routes may be old.
    #[arg(long, value_enum, default_value_t = Stale::Closed)]
    pub stale: Stale,
    /// How long sessions may finish when the proxy is stopped.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub drain: String,
    /// Reach a database of the spec through a PgBouncer in session mode, which has it by its own name; may be given
    /// several times.
    #[arg(long, value_name = "DATABASE=HOST:PORT")]
    pub through: Vec<Through>,
    /// Where differences are written that shadow reads find, as lines of JSON (route set … --shadow); without it they are only
    /// counted.
    #[arg(long, value_name = "FILE")]
    pub variance_log: Option<PathBuf>,
    /// Write the differing rows and the statements into it, too. Else it holds no data.
    #[arg(long, requires = "variance_log")]
    pub variance_data: bool,
    /// How many clients there may be.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub clients_max: usize,
}

/// Where a pooler listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Through {
    /// The database of the spec that it stands before.
    pub database: String,
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl FromStr for Through {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Through, &'static str> {
        let read = || {
            let (database, place) = text.split_once('=')?;
            let (host, port) = place.rsplit_once(':')?;
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let port = port.parse().ok()?;
            (!database.is_empty() && !host.is_empty()).then(|| Through {
                database: database.to_owned(),
                host: host.to_owned(),
                port,
            })
        };
        read().ok_or("write DATABASE=HOST:PORT, such as blue=127.0.0.1:6433")
    }
}

/// What is served by routes that may be old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Stale {
    /// Nothing.
    Closed,
    /// Statements that only read.
    Reads,
    /// Everything: the databases refuse writes that come too late.
    All,
}
