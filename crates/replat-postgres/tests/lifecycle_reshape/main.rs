//! Rows that move to other partitions while they are read and written.

mod crash;
mod drain;
mod harness;
mod recut;
