//! The head of a context: the newest version, and what leads there.

use serde::{Deserialize, Serialize};

/// Deltas since the last whole routes, after which whole ones are due, unless another number is given.
pub(super) const WINDOW: u64 = 1024;
/// Their bytes, after which whole ones are due however small these are.
const WINDOW_BYTES_MIN: u64 = 64 << 10;
/// Their bytes, after which whole ones are due however large these are.
const WINDOW_BYTES_MAX: u64 = 8 << 20;
/// How far over the window a publisher may go that does not publish whole routes.
const OVER_MAX: u64 = 4;

/// What lies under a context's head. Changed by compare-and-set only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The layout; 1.
    pub(super) format: u32,
    /// Whose routes.
    pub(super) project: String,
    /// The newest version.
    pub(super) version: u64,
    /// The SHA-256 of the body by which it came.
    pub(super) body: String,
    /// From which version, if by a delta.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<u64>,
    /// The version of the newest whole routes.
    pub(super) whole: u64,
    /// The SHA-256 of their body.
    pub(super) whole_body: String,
    /// Their bytes.
    pub(super) whole_bytes: u64,
    /// Deltas lead from this version to the newest.
    pub(super) oldest: u64,
    /// Deltas since the whole routes.
    pub(super) deltas: u64,
    /// Their bytes.
    pub(super) delta_bytes: u64,
}

impl Head {
    /// The head of whole routes that do not go on from anything.
    pub(super) fn whole(project: String, version: u64, body: String, bytes: u64) -> Head {
        Head {
            format: 1,
            project,
            version,
            body: body.clone(),
            from: None,
            whole: version,
            whole_body: body,
            whole_bytes: bytes,
            oldest: version,
            deltas: 0,
            delta_bytes: 0,
        }
    }

    /// The head after a delta.
    pub(super) fn after(&self, version: u64, body: String, bytes: u64) -> Head {
        Head {
            version,
            body,
            from: Some(self.version),
            deltas: self.deltas + 1,
            delta_bytes: self.delta_bytes + bytes,
            ..self.clone()
        }
    }

    /// The head after its own version was published whole as well. The deltas since the whole routes before stay, for
    /// those who have read these.
    pub(super) fn gathered(&self, body: String, bytes: u64) -> Head {
        Head {
            whole: self.version,
            whole_body: body,
            whole_bytes: bytes,
            oldest: self.whole,
            deltas: 0,
            delta_bytes: 0,
            ..self.clone()
        }
    }

    /// Whether whole routes are due.
    pub(super) fn whole_due(&self, window: u64) -> bool {
        self.deltas >= window || self.delta_bytes >= self.window_bytes()
    }

    /// Whether they are so overdue that no more deltas are taken.
    pub(super) fn overdue(&self, window: u64) -> bool {
        self.deltas >= window.saturating_mul(OVER_MAX) || self.delta_bytes >= self.window_bytes() * OVER_MAX
    }

    fn window_bytes(&self) -> u64 {
        self.whole_bytes.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
    }
}
