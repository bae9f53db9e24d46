//! Where deployments meet those who route requests.
//!
//! A gate asks routers and proxies to let new transactions of one partition wait, and tells them where a partition
//! lives. Nothing depends on it for safety: the databases refuse whoever was not reached. So none of its verbs can fail,
//! and only [`Gate::hold`] takes time, at most as long as it is given.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use replat_model::ids::{DeploymentId, Epoch, Home, PartitionId};
use replat_model::next::Held;

/// A future of a gate.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// "Let new transactions of this partition wait."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The context.
    pub context: String,
    /// The partition.
    pub partition: PartitionId,
    /// The deployment that asks.
    pub deployment: DeploymentId,
    /// Its attempt.
    pub attempt: u32,
    /// The epoch that the partition has until the switch.
    pub epoch: Epoch,
    /// Whether reads wait as well.
    pub reads: bool,
    /// Where the partition is about to go.
    pub to: Home,
    /// How long it is waited until all is quiet. Unit: milliseconds.
    pub wait_ms: u64,
    /// How long the hold lasts if nobody ends it: whoever asked is gone then. Unit: milliseconds.
    pub last_ms: u64,
}

/// Those who route requests for one context.
pub trait Gate: Send + Sync {
    /// Asks for a hold, and returns as soon as it is quiet everywhere, or when [`Hold::wait_ms`] are over. The hold stays
    /// until it is released, until routes with a higher epoch are published, or until it ends by itself.
    fn hold<'a>(&'a self, hold: &'a Hold) -> Soon<'a, Held>;

    /// Asks for the end of the holds of this attempt and earlier ones. Returns at once.
    fn release(&self, partition: &PartitionId, attempt: u32);

    /// Asks that everybody be told the newest routes. Returns at once.
    fn publish(&self);

    /// Brings about what was asked for, again and again until it succeeds. Has to be polled while the deployment runs.
    fn tend(&self) -> Soon<'_, Infallible>;

    /// Returns when nothing is left of what was asked for, or when the newest try failed. [`Gate::tend`] has to be polled
    /// meanwhile.
    fn flushed(&self) -> Soon<'_, ()>;
}

/// The gate of a project without a registry: nobody is asked, nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGate;

impl Gate for NoGate {
    fn hold<'a>(&'a self, _: &'a Hold) -> Soon<'a, Held> {
        Box::pin(std::future::ready(Held::default()))
    }

    fn release(&self, _: &PartitionId, _: u32) {}

    fn publish(&self) {}

    fn tend(&self) -> Soon<'_, Infallible> {
        Box::pin(std::future::pending())
    }

    fn flushed(&self) -> Soon<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// The gate of a project whose registry cannot be used: nobody can be asked, and that is known.
#[derive(Clone, Debug)]
pub struct UnusableGate {
    /// Why, in words for people.
    pub why: String,
}

impl Gate for UnusableGate {
    fn hold<'a>(&'a self, _: &'a Hold) -> Soon<'a, Held> {
        Box::pin(std::future::ready(Held { trouble: Some(self.why.clone()), ..Held::default() }))
    }

    fn release(&self, _: &PartitionId, _: u32) {}

    fn publish(&self) {}

    fn tend(&self) -> Soon<'_, Infallible> {
        Box::pin(std::future::pending())
    }

    fn flushed(&self) -> Soon<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
