//! The boundary behind which the servers are: a few verbs that a file, PostgreSQL, etcd, Consul and Redis all have.
//!
//! A [`Kv`] keeps bytes under keys. It decides nothing, repeats nothing and knows nothing of routes; what is
//! promised here is all that the registry relies on.

use std::future::Future;
use std::pin::Pin;

use replat_engine::BoxError;

/// A future of a key-value server.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = Result<T, KvError>> + Send + 'a>>;

/// How far a key's value has come: another one at each change, never used again for the same key.
///
/// Unit: none; it means something only to the server that gave it. "No value" is `None`, not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision(pub u64);

/// A value that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Under which key, without the server's prefix.
    pub key: String,
    /// The bytes.
    pub value: Vec<u8>,
    /// Which of the values under this key it is.
    pub revision: Revision,
}

/// What must be so for a commit to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// The key.
    pub key: String,
    /// Which value it has; `None`: none.
    pub revision: Option<Revision>,
}

/// One part of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key has this value from now on.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Vec<u8>,
        /// After this time the server removes it, or a while later; never before. Unit: milliseconds. `None`: it stays.
        ttl_ms: Option<u64>,
    },
    /// A key has no value any more.
    Delete {
        /// The key.
        key: String,
    },
}

impl Change {
    /// A value that stays.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Change {
        Change::Put { key: key.into(), value: value.into(), ttl_ms: None }
    }

    /// The key that it is about.
    pub fn key(&self) -> &str {
        match self {
            Change::Put { key, .. } | Change::Delete { key } => key,
        }
    }
}

/// What a server takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest value that may be put alone. Unit: bytes.
    pub value_bytes: usize,
    /// The values of one commit together. Unit: bytes.
    pub commit_bytes: usize,
    /// Changes and expectations of one commit together.
    pub commit_parts: usize,
}

/// What the server's clock showed when it answered: some moment from `earliest` to `latest`.
///
/// Unit: milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Not before this.
    pub earliest: u64,
    /// Not after this.
    pub latest: u64,
}

/// Why a server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// It cannot be reached, broke off or did not answer in time. A commit may or may not have happened.
    #[error("no answer")]
    Unreachable(#[source] BoxError),
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

/// What a server said by which it means each of these, and what to do about it.
#[cfg(any(feature = "postgres", feature = "etcd", feature = "consul", feature = "redis"))]
pub(crate) type Remedies = [(&'static str, &'static str)];

impl KvError {
    /// A server said no in these words; to what is known of them, the remedy is added.
    #[cfg(any(feature = "postgres", feature = "etcd", feature = "consul", feature = "redis"))]
    pub(crate) fn refused(said: String, remedies: &Remedies) -> KvError {
        let remedy = remedies.iter().find(|(words, _)| said.contains(words));
        KvError::Refused(match remedy {
            Some((_, remedy)) => format!("{said}; {remedy}"),
            None => said,
        })
    }

    /// It was not there, in words.
    pub(crate) fn unreachable(cause: impl Into<BoxError>) -> KvError {
        KvError::Unreachable(cause.into())
    }
}

/// A server that keeps values under keys.
pub trait Kv: Send + Sync {
    /// Which one, for people; without secrets.
    fn name(&self) -> String;

    /// What it takes at once.
    fn limits(&self) -> Limits;

    /// What its clock shows.
    fn clock(&self) -> Soon<'_, Reading>;

    /// The values under these keys, in the order of `keys`. Each was there at some moment of the call.
    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>>;

    /// All values whose keys begin with `prefix`, by key. Each was there at some moment of the call.
    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>>;

    /// The keys that begin with `prefix`, in order. Some may have lost their value to time.
    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>>;

    /// Brings all changes about, or none: `true` if all that is expected was so, `false` if not. Each key occurs in at
    /// most one change. Durable, and seen by every later call of anybody, when it returns.
    fn commit<'a>(&'a self, expect: &'a [Expect], changes: &'a [Change]) -> Soon<'a, bool>;

    /// Calls `wake` once as soon as nothing can be missed any more, then after each change under a key that begins
    /// with `prefix`, perhaps once for several and perhaps for nothing; values that time removes need not wake anybody.
    /// Returns only by an error: when the connection breaks, whoever watches begins anew.
    fn watch<'a>(&'a self, prefix: &'a str, wake: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()>;
}
