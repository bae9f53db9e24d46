//! What a proxy is told at its start.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::tls::Certificate;
use crate::variance::VarianceLog;
use crate::verifiers::Verifiers;

/// How a proxy treats its clients.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How clients prove who they are.
    pub auth: ClientAuth,
    /// Whether clients speak TLS.
    pub tls: ClientTls,
    /// The character behind which a user's name names a partition: with `+`, `app+acme` is the role `app` and the
    /// partition `acme`.
    pub user_suffix: Option<char>,
    /// What becomes of a session that should move and cannot.
    pub pinned: Pinned,
    /// What is the most of everything.
    pub limits: Limits,
    /// Where differences are written that comparing reads finds; `None`: they are only counted.
    pub variances: Option<VarianceLog>,
}

/// How clients prove who they are.
#[derive(Clone)]
pub enum ClientAuth {
    /// Not at all. Servers see the proxy's address, so they must trust it as much: for one's own machine.
    Trust,
    /// By SCRAM-SHA-256, whose key is passed on to servers.
    Scram(Arc<dyn Verifiers>),
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientAuth::Trust => "Trust",
            ClientAuth::Scram(_) => "Scram",
        })
    }
}

/// Whether clients speak TLS.
#[derive(Clone, Debug)]
pub enum ClientTls {
    /// No.
    Off,
    /// If they like.
    Offered(Certificate),
    /// They must.
    Required(Certificate),
}

/// What becomes of a session at a boundary whose partition has a new home, and which cannot follow: it has
/// temporary tables, LISTENs, holds advisory locks, or the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// It ends, with SQLSTATE 57P01. Clients that connect again on that will be at the new home.
    Disconnect,
    /// It is held for so long, in case the partition comes back; then it ends.
    Wait(Duration),
}

/// What is the most of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of clients, those that have not logged in yet included.
    pub clients_max: usize,
    /// How long a client may take to say who it is.
    pub startup_max: Duration,
    /// How long a server may take to let a session in.
    pub dial_max: Duration,
    /// For how long a session that moves tries again while the new home is not to be had.
    pub move_max: Duration,
    /// How many sessions may be connecting to one server at once when they move; the others wait for their turn.
    pub moves_at_once: usize,
    /// For how long a request is tried again whose rows have no partition yet; zero: not at all.
    pub missing_max: Duration,
    /// How long a client may say nothing while it is in no transaction; `None` for ever.
    pub idle_max: Option<Duration>,
    /// How much of one message is looked into, and so kept in memory. A statement that is prepared under a name and
    /// is longer keeps its session from moving. Unit: bytes.
    pub look_bytes: usize,
    /// How much of its prepared statements one session may have remembered. Unit: bytes.
    pub statement_bytes_max: usize,
    /// How much waits for a slow reader before its writer is made to wait. Unit: bytes for each direction.
    pub buffer_bytes: usize,
}

impl Limits {
    /// What suits most.
    pub const USUAL: Limits = Limits {
        clients_max: 10_000,
        startup_max: Duration::from_secs(15),
        dial_max: Duration::from_secs(10),
        move_max: Duration::from_secs(10),
        moves_at_once: 64,
        missing_max: Duration::from_secs(5),
        idle_max: None,
        look_bytes: 256 * 1024,
        statement_bytes_max: 16 * 1024 * 1024,
        buffer_bytes: 128 * 1024,
    };
}
