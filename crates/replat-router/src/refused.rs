//! What a router says when it must not serve, or does not take what it is offered.

use replat_model::ids::{Epoch, PartitionId};
use replat_model::lifecycle::tables::NoTable;
use replat_model::map::BadKey;

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No routes were ever taken.
    #[error("no routes of {context} are known yet")]
    NoRoutes {
        /// The context.
        context: String,
    },
    /// Nobody knows whether the routes are the newest.
    #[error("the routes of {context} (version {version}) may be old: the lease on them is over")]
    Stale {
        /// The context.
        context: String,
        /// The version that is there.
        version: u64,
    },
    /// The key cannot be looked up.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// There is no such partition.
    #[error("{context} has no partition {partition}")]
    UnknownPartition {
        /// The context.
        context: String,
        /// The partition.
        partition: PartitionId,
    },
    /// The partition has a later epoch than the routes say, by the word of a database or of whoever asked for a hold.
    #[error("{partition} is at {known} by now; the routes say {have}")]
    Behind {
        /// The partition.
        partition: PartitionId,
        /// The epoch in the routes.
        have: Epoch,
        /// The epoch that was heard of.
        known: Epoch,
    },
    /// The partition was being switched for longer than the request may wait.
    #[error("{partition} is being switched, and this request may wait no longer")]
    Held {
        /// The partition.
        partition: PartitionId,
    },
    /// No table is known that the key's rows are in.
    #[error(transparent)]
    Table(#[from] NoTable),
}

impl Refused {
    /// Whether the same request may be served a moment later, without anybody's doing.
    pub fn may_pass(&self) -> bool {
        match self {
            Refused::NoRoutes { .. } | Refused::Stale { .. } => true,
            Refused::Behind { .. } | Refused::Held { .. } => true,
            Refused::Key(_) | Refused::UnknownPartition { .. } | Refused::Table(_) => false,
        }
    }

    /// What can be done, as one imperative sentence.
    pub fn remedy(&self) -> &'static str {
        match self {
            Refused::NoRoutes { .. } => {
                "Publish the context's routes, or check that the registry is reachable."
            }
            Refused::Stale { .. } => {
                "Check that the registry is reachable; or allow stale reads by the router's setting `staleness`."
            }
            Refused::Key(_) => "Give one value of the right type for each dimension of the context.",
            Refused::UnknownPartition { .. } => {
                "Ask with a partition of the map: replat route lookup shows them."
            }
            Refused::Behind { .. } => "Nothing: the router asks for newer routes by itself.",
            Refused::Held { .. } => "Try again; or let requests wait longer than a switch takes.",
            Refused::Table(_) => {
                "Create the partition, or read the database's outbox up to its newest version."
            }
        }
    }
}

/// Why routes were not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// They are of another project.
    #[error("these are routes of project {got}; this router is of {want}")]
    Project {
        /// The router's.
        want: String,
        /// The routes'.
        got: String,
    },
    /// They are of another context.
    #[error("these are routes of {got}; this router is of {want}")]
    Context {
        /// The router's.
        want: String,
        /// The routes'.
        got: String,
    },
    /// They are not newer.
    #[error("version {got} is not newer than {have}, which is there")]
    Version {
        /// The router's.
        have: u64,
        /// The routes'.
        got: u64,
    },
}
