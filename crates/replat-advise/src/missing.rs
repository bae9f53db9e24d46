//! What is not known of a system, and would change the advice.

use crate::system::{Missing, System};

/// What is not known, the most decisive first.
pub fn missing(_system: &System) -> Vec<Missing> {
    Vec::new()
}
