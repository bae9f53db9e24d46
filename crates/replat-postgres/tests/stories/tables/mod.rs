//! Tables as they are found: their keys, what hangs on them, what they are called, and how large they are.

mod effects;
mod keys;
mod names;
mod sizes;
