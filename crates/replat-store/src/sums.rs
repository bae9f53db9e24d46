//! The sums by which a row shows that it is as it was written.
//!
//! A flipped bit or an edited row would make replat act on something that never happened. Rows that replat acts on
//! carry a SHA-256, an event's one over the sum before it too, and none is believed whose sum does not hold.

use sha2::{Digest, Sha256};

/// The sum of these parts, in hexadecimal. Parts that are cut elsewhere come to another sum.
pub(crate) fn sum(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(format!("{} ", part.len()));
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The sum of an event. `before` is the sum of the event before it, empty for the first.
pub(crate) fn event_sum(before: &str, serial: i64, seq: i64, at: i64, body: &str) -> String {
    sum(&[before, &serial.to_string(), &seq.to_string(), &at.to_string(), body])
}
