//! What a statement does with which rows, as far as its text tells.
//!
//! Nothing here is a proof: advice may be wrong about a statement, a router may not. What cannot be read is said to be
//! unread, and never guessed.

mod analysis;
mod lex;
mod scope;

pub use analysis::{Analysis, Joined, Operand, Touched, Unread, Uses, analyse};
pub use lex::{Kind, Piece, normalise, pieces};
pub(crate) use lex::{begins_with, names, split};

/// Statements that are nested deeper are not read.
pub(crate) const NESTING_MAX: usize = 60;

/// Longer statements are not read. Unit: bytes.
pub(crate) const TEXT_MAX: usize = 64 * 1024;
