//! Bytes to messages and back: pgoutput, the streaming replication protocol, and what a relay of PostgreSQL's
//! protocol looks into or says itself.
//!
//! Everything here is a pure function over bytes. Values stay slices of the buffer that they arrived in.
//! Absent on purpose: sockets, waiting, clocks, and any opinion on what a message means for a deployment.

pub mod backend;
pub mod conversation;
pub mod error;
pub mod frame;
pub mod frontend;
pub mod pgoutput;
pub mod scram;
pub mod startup;
pub mod stream;

mod reader;

pub use error::{DecodeError, Problem};

/// A moment as PostgreSQL's protocols write it.
///
/// Unit: microseconds since 2000-01-01 00:00 UTC, by the clock of whoever wrote it. Two servers' moments do not
/// order events; log positions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PgTimestamp(pub i64);

impl PgTimestamp {
    /// 2000-01-01 00:00 UTC, in microseconds since 1970-01-01 00:00 UTC.
    const EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

    /// Microseconds since 1970-01-01 00:00 UTC; at the far ends of the range, the nearest that fits.
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(Self::EPOCH_UNIX_MICROS)
    }

    /// The moment that lies `micros` microseconds after 1970-01-01 00:00 UTC.
    pub fn from_unix_micros(micros: i64) -> PgTimestamp {
        PgTimestamp(micros.saturating_sub(Self::EPOCH_UNIX_MICROS))
    }
}
