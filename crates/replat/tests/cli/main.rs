//! The program as people and scripts meet it: the real binary against real servers.

mod deployments;
mod interrupted;
mod offline;
mod partitions;
mod plans;
mod program;
mod words;
mod world;
