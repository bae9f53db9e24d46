//! Routes over HTTP, for whoever has no driver of a registry: as a list, by long poll, as a stream of events; and
//! live maps for HAProxy.
//!
//! A [`Server`] follows the registry once for each context, and keeps in memory what it has to hand out: the
//! envelopes as they were published, so that a client checks the publisher's signature and need not trust the server. What a
//! client gets never depends on how many others there are, and nothing is queued for a slow one: it is told what leads from
//! its own version to the newest, when it is ready to read.
//!
//! Absent on purpose: any way to change something; TLS; any say in who may write. A server that does not hear of its registry
//! any more says so with status 503 and hands out nothing, since whoever reads from it would believe to be up to date.

mod answer;
mod board;
mod host;
mod metrics;
mod patient;
#[doc(hidden)] // For fuzzers.
pub mod query;
mod server;
mod stream;
mod token;

pub mod haproxy;

use replat_model::cohort::cohort;
use replat_model::route::Route;
use serde_json::{Value, json};

pub use host::{MayNotListen, check_address};
pub use server::{Options, Server};
pub use token::{BadToken, Tokens};

/// Where a partition is served, for programs.
pub fn route_value(route: &Route<'_>) -> Value {
    json!({
        "partition": route.leaf.partition,
        "home": *route.leaf.home,
        "epoch": route.leaf.epoch,
        "address": route.address,
        "traffic": route.traffic,
        "cohort": cohort(&route.leaf.partition),
    })
}
