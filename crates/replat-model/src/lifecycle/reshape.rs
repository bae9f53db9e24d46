//! Conversions, splits, merges and other moduli, as units.

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::health::Finding;
use super::plan::Unit;

/// An explicit request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {}

/// The units of a request.
///
/// # Errors
///
/// Why it cannot be carried out.
pub fn unit(_facts: &Facts, request: &Request) -> Result<Vec<Unit>, Finding> {
    match *request {}
}
