//! Rows that move to other partitions while they are read and written.

mod align;
mod convert;
mod crash;
mod drain;
mod harness;
mod recut;
