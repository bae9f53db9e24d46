//! Where requests go, while partitions move.
//!
//! A [`Router`] holds the newest [`Routes`](replat_model::route::Routes) of one context. It finds a key's partition and
//! that partition's home; it lets requests in by a gate per partition ([`Router::enter`]) that a switch can close for a
//! moment ([`Router::hold`]), so that clients see latency and not errors; and it serves only while it knows that what it
//! has is new ([`Staleness`]). [`follow()`] keeps it up to date from a registry.
//!
//! ```text
//!   registry ── read, holds ──▶ follow ── take, hold, renew ──▶ Router ── find, enter ──▶ the application, the proxy
//!      ▲                          │
//!      └── attend: version, answers
//! ```
//!
//! Invariant: once a hold of a partition at epoch e is quiet, nobody is let in at e until that hold is over. It is
//! kept by `gate.rs`'s one word and by one order: routes are read *after* one has been counted, and stored *before* a
//! gate is opened.
//!
//! No write is ever safe because of a router: the databases decide who may write. A router that is wrong costs an
//! error, and [`retry`] says what to do about it.

pub mod clock;
mod enter;
pub mod follow;
mod gate;
mod holds;
mod reads;
mod refused;
pub mod retry;
mod router;
mod settings;
mod tables;
#[cfg(feature = "tokio-postgres")]
pub mod transaction;

pub use enter::{Pass, Target};
pub use follow::{Who, follow, follow_until};
pub use holds::{Hold, HoldOutcome, NotHeld};
pub use reads::ReadRoute;
pub use refused::{NotTaken, Refused};
pub use router::{Destination, Refreshed, Router};
pub use settings::{Pace, Settings, Staleness};
pub use tables::follow_tables;

/// What a request is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Nothing but reading. A hold lets it pass unless it asks for readers, too.
    Read,
    /// Writing, or perhaps writing.
    Write,
}
