//! How careful a deployment is: its limits, its patience, and how long the way back stays open.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{ByteSize, DurationText};

/// How careful a deployment is. Every key has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default = "Policy::shipped")]
pub struct Policy {
    /// Green may be this far behind when a switch begins. Unit: bytes of blue's WAL. Default: 1MiB.
    pub lag_max: ByteSize,
    /// Writers of the partition are refused no longer than this in one attempt; then the fence is opened again and
    /// the stream goes on. At least `fence_timeout`. Default: 2s.
    pub pause_max: DurationText,
    /// How long one attempt waits for the partition's running writers to end before it gives up. Longer than zero.
    /// Default: 300ms.
    pub fence_timeout: DurationText,
    /// Before the fence closes, routers and proxies let new transactions of the partition wait, and the ones that run
    /// get this long to end. 0ms: nobody is asked to wait, unless `reads` is strict. Default: 50ms.
    pub hold_max: DurationText,
    /// Whether a read may be answered by the old home after the switch. Default: bounded.
    pub reads: ReadsPolicy,
    /// Switch attempts before the deployment waits for a person. At least 1. Default: 20.
    #[schemars(range(min = 1))]
    pub attempts: u32,
    /// After the switch, changes flow back to blue for this long, so that a rollback loses nothing. Default: 7d.
    pub soak: DurationText,
    /// Blue's copy is kept, read-only, for this long after the deployment is finished; then it is dropped.
    /// Default: 14d.
    pub retain: DurationText,
    /// Whether the switch comes by itself once green is ready, or when a person says so. Default: auto.
    pub switch: SwitchMode,
    /// How many chunks are copied at the same time, and so how many connections the copy takes on either side.
    /// From 1 to 32. Default: 2.
    #[schemars(range(min = 1, max = 32))]
    pub copy_parallel: u32,
    /// How many rows one chunk of the copy holds, roughly. A crash costs one chunk. From 100 to 1000000.
    /// Default: 20000.
    #[schemars(range(min = 100, max = 1_000_000))]
    pub chunk_rows: u32,
    /// `lock_timeout` of each DDL attempt while the guard is installed: writers wait behind it no longer than this.
    /// Longer than zero, which PostgreSQL would take as for ever. Default: 200ms.
    pub lock_timeout: DurationText,
    /// Numbers left free between a sequence of blue and the same one of green when green takes over, so that ids
    /// which the two sides hand out do not meet. Unit: sequence values. Default: 1000000000.
    #[schemars(range(max = 1_000_000_000_000_000_i64))]
    pub sequence_room: u64,
}

impl Policy {
    /// The values that hold where a spec says nothing. No other place sets a default.
    pub const fn shipped() -> Policy {
        const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
        Policy {
            // At some 50 MiB/s of apply, one MiB is drained within a fraction of the pause.
            lag_max: ByteSize::from_bytes(1 << 20),
            // Shorter than the timeouts that applications usually have, so a refused write can be tried again.
            pause_max: DurationText::from_millis(2000),
            // Most transactions end sooner; a longer one is met again at the next attempt instead of waited for.
            fence_timeout: DurationText::from_millis(300),
            // Twice what a statement of a web request usually takes; a longer one is the fence's to wait for.
            hold_max: DurationText::from_millis(50),
            reads: ReadsPolicy::Bounded,
            attempts: 20,
            // A week has every weekday's workload in it once.
            soak: DurationText::from_millis(7 * DAY_MILLIS),
            retain: DurationText::from_millis(14 * DAY_MILLIS),
            switch: SwitchMode::Auto,
            // Leaves most of the default of eight connections to the stream and to checks.
            copy_parallel: 2,
            chunk_rows: 20_000,
            lock_timeout: DurationText::from_millis(200),
            sequence_room: 1_000_000_000,
        }
    }
}

/// What begins the switch once green is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SwitchMode {
    /// The deployment switches by itself.
    Auto,
    /// The deployment waits for a person.
    Manual,
}

/// Whether a read may be answered by the old home after the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReadsPolicy {
    /// By way of a router that has not heard of the switch, for as long as its lease lasts. Writes never are.
    Bounded,
    /// By nobody: reads are held too, and an attempt in which somebody is not quiet, or cannot be asked, is given up.
    Strict,
}
