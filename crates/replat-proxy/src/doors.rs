//! The seam to routing: who may go where, and when.
//!
//! A relay knows no partitions. At every transaction boundary it *knocks*, and [`Doors`] answers: go on there, wait,
//! or no. What lets a transaction through is a [`Pass`]; as long as it lives, whoever wants to hold the partition
//! has to wait for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use replat_postgres::conninfo::ConnInfo;
use replat_wire::backend::Complaint;
use replat_wire::frontend::Value;

/// An answer that takes its time.
pub type Soon<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where the rows are that a session works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The server: hosts, TLS, time-outs. Neither user nor password in it are used: the client's own login is
    /// passed on.
    pub server: Arc<ConnInfo>,
    /// The database on it.
    pub database: String,
    /// Settings that every session there begins with, such as `search_path` for the partition's schema. They take
    /// the place of what the client said at start-up, not of what it sets later.
    pub settings: Vec<(String, String)>,
    /// A pooler stands before the server. It takes no settings at start-up, and keeps no server for a client that has
    /// asked nothing yet: sessions are given theirs when their first transaction begins.
    pub pooled: bool,
    /// The partition; `None` for a place that is no partition's.
    pub partition: Option<String>,
    /// How often the partition has changed its home. Only for people: sessions are moved if their place differs.
    pub epoch: u64,
}

impl Home {
    /// Whether a session that is at `other` is where it should be.
    pub fn is_place_of(&self, other: &Home) -> bool {
        let same_server = Arc::ptr_eq(&self.server, &other.server) || self.server == other.server;
        same_server
            && self.database == other.database
            && self.settings == other.settings
            && self.pooled == other.pooled
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.database)?;
        for (position, host) in self.server.hosts.iter().enumerate() {
            write!(f, "{}{host}", if position == 0 { " on " } else { ", " })?;
        }
        match &self.partition {
            Some(partition) => write!(f, " (partition {partition}, epoch e{})", self.epoch),
            None => Ok(()),
        }
    }
}

/// The right of one transaction to run at a home; ends when it is dropped.
pub struct Pass {
    /// Where to.
    pub home: Arc<Home>,
    /// It was proved that nothing is changed, neither rows nor the session.
    pub only_reads: bool,
    /// Another home answers as well, or instead.
    pub share: Option<Share>,
    ticket: Box<dyn Ticket>,
}

/// The part that another home has in a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The other home.
    pub home: Arc<Home>,
    /// How far it may be behind. A session that has written reads at its own home for so long.
    pub stale_max: Duration,
    /// The other home answers as well, for comparison; otherwise instead.
    pub shadow: bool,
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Pass {
    /// A pass to `home` that counts as used until `ticket` is dropped.
    pub fn new(home: Arc<Home>, ticket: impl Ticket) -> Pass {
        Pass { home, only_reads: false, share: None, ticket: Box::new(ticket) }
    }

    /// The same for a transaction that was proved to change nothing.
    #[must_use]
    pub fn reading(self, share: Option<Share>) -> Pass {
        Pass { only_reads: true, share, ..self }
    }

    /// Whether somebody waits for this pass to be given back. Its transaction may end, but no further one should
    /// begin on it.
    pub fn is_recalled(&self) -> bool {
        self.ticket.is_recalled()
    }
}

/// What keeps a pass counted. Giving it back is its `Drop`.
pub trait Ticket: Send + Sync + 'static {
    /// Whether somebody waits for it.
    fn is_recalled(&self) -> bool {
        false
    }
}

impl Ticket for () {}

/// Who knocks, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The role, without the suffix that may name a partition.
    pub user: &'a str,
    /// The database that the client asked for.
    pub database: &'a str,
    /// What the client said at start-up, in its order.
    pub parameters: &'a [(String, String)],
    /// The partition that the session has chosen, at start-up or by `SET replat.partition`.
    pub partition: Option<&'a str>,
    /// Where the session is now; `None` at login.
    pub current: Option<&'a Arc<Home>>,
    /// All that it is about to do before it asks again; `None` if that is of no use, or it logs in, or nothing can be
    /// said of it.
    pub statements: Option<&'a [Statement<'a>]>,
    /// How the session's server reads them.
    pub reading: Reading,
}

/// How a session's server reads statements, as far as it matters to who else reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Names without a schema are looked up where the home's own `search_path` says. Otherwise it was set by the session,
    /// and they may mean anything.
    pub names: bool,
    /// A backslash in a plain string is a backslash (`standard_conforming_strings`).
    pub strings: bool,
    /// Texts are UTF-8, or bytes that nobody converts. Otherwise only ASCII means the same to both.
    pub utf8: bool,
}

impl Reading {
    /// That of a session which has set none of these.
    pub const USUAL: Reading = Reading { names: true, strings: true, utf8: true };
}

/// One statement of a transaction that begins.
#[derive(Clone, Copy, Debug)]
pub struct Statement<'a> {
    /// Its text; perhaps several statements.
    pub sql: &'a str,
    /// Values for `$1`, `$2`, …, and the oids of their types as far as the client told (0: not). `None` if it has not
    /// told the values.
    pub values: Option<(&'a [Value<'a>], &'a [u32])>,
    /// Whether it is run, or may be before anybody asks again; otherwise it is only prepared.
    pub is_run: bool,
}

/// The answer to an [`Ask`].
pub enum Knock {
    /// Go on.
    Open(Pass),
    /// Wait for the answer. If it is known where the partition is about to go, a relay may get ready to be there.
    Held {
        /// Comes when the wait is over.
        answer: Soon<Result<Pass, Complaint>>,
        /// Where to, probably.
        next: Option<Arc<Home>>,
    },
    /// No, and why; a fatal complaint ends the session.
    Refused(Complaint),
}

/// Knows where sessions go. Answers without waiting itself, since it is asked at every transaction.
pub trait Doors: Send + Sync + 'static {
    /// Where, and whether now.
    ///
    /// An implementation that can be held must count the pass *before* it looks whether it is held: whoever holds
    /// does it the other way round, and so either sees the pass or is seen.
    fn knock(&self, ask: &Ask<'_>) -> Knock;

    /// Whether [`Ask::statements`] is of any use; reading ahead for it costs a little.
    fn reads_statements(&self) -> bool {
        false
    }

    /// Whether the server may read what follows in the session otherwise, once it has run `sql`: by another
    /// `search_path`. If in doubt, it may; then the server is asked before the next statement is read.
    fn unsettles(&self, _sql: &str) -> bool {
        false
    }

    /// Whether `own` is still the home, and the copy that has the share no further behind than is allowed.
    fn share_stands(&self, _own: &Home, _share: &Share) -> bool {
        true
    }

    /// Whether another home has a part in the reads of a session that has chosen this partition.
    fn shares_reads(&self, partition: &str) -> bool {
        let _nobody = partition;
        false
    }
}
