//! Where routes are published, and where routers and deployments meet.
//!
//! A registry keeps, for each context of a project, the newest routes; who follows them (attendance, with a lease);
//! and the holds that a switch asks for. Nothing that is kept there decides who may write: the databases do
//! that. A registry that is down, slow or old costs freshness, never rows.

use std::future::Future;
use std::pin::Pin;

use replat_model::deploy::Timestamp;
use replat_model::ids::{Epoch, Home, PartitionId};
use serde::{Deserialize, Serialize};

use crate::BoxError;

/// A future of a registry.
pub type Shortly<'a, T> = Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// One published version of a context's routes: whole, or what changed since an earlier one.
///
/// `body` is JSON: of `replat_model::route::Routes` if `from` is absent, of its delta otherwise. `digest` is SHA-256
/// over project, context, version, from, time and body; `mac` is HMAC-SHA-256 over the same with the project's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The layout of this document; 1.
    pub format: u32,
    /// Whose routes.
    pub project: String,
    /// Of which context.
    pub context: String,
    /// The version that a follower has afterwards.
    pub version: u64,
    /// The version that a follower must have; absent for whole routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// When it was published, by the publisher's clock.
    pub at: Timestamp,
    /// The routes or the delta, as JSON text.
    pub body: String,
    /// SHA-256, in hexadecimal.
    pub digest: String,
    /// HMAC-SHA-256, in hexadecimal, if the project has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is the newest now.
    Accepted {
        /// So many deltas have come since the last whole routes that the same version should be published whole, too.
        whole_due: bool,
    },
    /// The very same was there already.
    Already,
    /// The registry has this version, from which the publication does not go on.
    Behind {
        /// What the registry has; 0: nothing.
        head: u64,
    },
}

/// A router, proxy or exporter that follows a context, as of its last sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attendance {
    /// Drawn at random when it started.
    pub id: String,
    /// What it is, for people: `proxy`, `router`, `haproxy`.
    pub kind: String,
    /// Where it runs, for people.
    pub place: String,
    /// The context that it follows.
    pub context: String,
    /// The version that it goes by.
    pub version: u64,
    /// Its lease: after this moment, by the registry's clock, it serves nothing more until it has renewed it.
    pub until: Timestamp,
    /// Its answers to the holds that are asked for.
    #[serde(default)]
    pub answers: Vec<HoldAnswer>,
    /// Sessions that cannot move, by reason, for people.
    #[serde(default)]
    pub pinned: u64,
}

/// What somebody waits for news of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matter {
    /// Routes and holds: what followers go by.
    Routes,
    /// Who follows, and their answers: what a deployment goes by.
    Attendance,
}

/// "Let new transactions of this partition wait."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldCall {
    /// The context.
    pub context: String,
    /// The partition.
    pub partition: PartitionId,
    /// The deployment that asks. Answers name it: another one's attempts have the same numbers.
    pub deployment: String,
    /// Its attempt.
    pub attempt: u32,
    /// The epoch that the partition has until the switch; routes with a higher one end the hold.
    pub epoch: Epoch,
    /// Whether reads wait as well.
    pub reads: bool,
    /// Where the partition is about to go, so that a proxy can be there already; absent if that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Home>,
    /// After this moment, by the registry's clock, nobody waits any more: whoever called is gone.
    pub until: Timestamp,
}

/// What a follower has to say about a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldAnswer {
    /// The partition.
    pub partition: PartitionId,
    /// The deployment that asked; empty if the follower is too old to say, and then it is nobody's answer.
    #[serde(default)]
    pub deployment: String,
    /// Its attempt.
    pub attempt: u32,
    /// Transactions of the partition that are still running; 0: it is quiet here, and stays so while the hold lasts.
    pub busy: u64,
    /// Requests that wait.
    pub held: u64,
}

/// Why a registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or did not answer in time.
    #[error("{registry} cannot be reached")]
    Unreachable {
        /// Which one, without secrets.
        registry: String,
        /// The driver's error.
        source: BoxError,
    },
    /// It said no: rights, quota, a limit on sizes.
    #[error("{registry} refused {during}: {why}")]
    Refused {
        /// Which one.
        registry: String,
        /// What was being done.
        during: String,
        /// Its words.
        why: String,
    },
    /// What it keeps is not what was published, or is another project's.
    #[error("what {registry} keeps for {context} cannot be used: {why}")]
    Damaged {
        /// Which one.
        registry: String,
        /// Of which context.
        context: String,
        /// What is wrong.
        why: String,
    },
}

/// A registry, by whatever server it is kept. All implementations pass one contract.
pub trait Registry: Send + Sync {
    /// Which one, for people; without secrets.
    fn name(&self) -> String;

    /// What the registry's clock shows, by which leases and holds end; right within a few milliseconds, or within a second
    /// where the server tells seconds.
    fn clock(&self) -> Shortly<'_, Timestamp>;

    /// The newest version of a context's routes; 0 if there are none.
    fn head<'a>(&'a self, context: &'a str) -> Shortly<'a, u64>;

    /// What takes a follower that has version `have` (0: nothing) to the newest one: nothing, deltas in order, or
    /// whole routes and deltas in order. Digests and the project are checked, and `mac` if there is a key.
    fn read<'a>(&'a self, context: &'a str, have: u64) -> Shortly<'a, Vec<Envelope>>;

    /// Makes `envelope` the newest, in one compare-and-set: a delta only where the registry has exactly `from`,
    /// whole routes only over a lower version, or over the same one if they say what it says. To publish the same once
    /// more is no error; to publish something else by a version that is there is [`RegistryError::Damaged`].
    fn publish<'a>(&'a self, envelope: &'a Envelope) -> Shortly<'a, Published>;

    /// Says that a follower is alive, for `lease_ms` from now by the registry's clock, and what it has to say. What
    /// `who.until` says does not matter. Who wants to be sure counts the lease from before the call.
    fn attend<'a>(&'a self, who: &'a Attendance, lease_ms: u64) -> Shortly<'a, ()>;

    /// Ends an attendance.
    fn leave<'a>(&'a self, context: &'a str, id: &'a str) -> Shortly<'a, ()>;

    /// The followers of a context whose lease has not ended.
    fn attending<'a>(&'a self, context: &'a str) -> Shortly<'a, Vec<Attendance>>;

    /// Asks all followers for a hold that lasts `hold_ms` at most; one for each partition, the newest counts. What
    /// `call.until` says does not matter. Refused if the same deployment holds the partition by a later attempt.
    fn hold<'a>(&'a self, call: &'a HoldCall, hold_ms: u64) -> Shortly<'a, ()>;

    /// Ends a hold of this attempt or an earlier one.
    fn release<'a>(&'a self, context: &'a str, partition: &'a PartitionId, attempt: u32) -> Shortly<'a, ()>;

    /// The holds of a context that have not ended.
    fn holds<'a>(&'a self, context: &'a str) -> Shortly<'a, Vec<HoldCall>>;

    /// Returns once something of the matter may have changed since the call that gave `since`, with a number to wait
    /// from next time; at the latest after a second or so, with the same number then. The first call (`since` 0)
    /// returns at once. A restart of the server is survived. That time ends an attendance or a hold wakes nobody.
    fn changed<'a>(&'a self, context: &'a str, matter: Matter, since: u64) -> Shortly<'a, u64>;
}
