//! What is true and what follows: keys, map, spec, deployments.
//!
//! Everything here is a pure function of its arguments. Absent on purpose: I/O, waiting, clocks, randomness and
//! SQL. What is decided here is done by the engine crates and joined by `replat-control`.

pub mod cohort;
pub mod compatibility;
pub mod contract;
pub mod deploy;
pub mod doctor;
pub mod draft;
pub mod exchange;
pub mod facts;
pub mod hash;
pub mod ids;
pub mod key;
pub mod lifecycle;
pub mod map;
pub mod next;
pub mod plan;
pub mod prediction;
pub mod preflight;
pub mod region;
pub mod route;
pub mod spec;
