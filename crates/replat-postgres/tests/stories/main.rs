//! Stories: one hazard each, on two real servers, with the real engine under the real runner.
//!
//! Each story ends with the same question: are the partition's rows the same on both sides, and was every write that
//! was acknowledged kept?

mod advised;
mod closed_sides;
mod edges;
mod exchange;
mod fence;
mod foreign_keys;
mod guards;
mod harness;
mod kept_back;
mod known_traps;
mod leaks;
mod leaves;
mod moments;
mod moving_rows;
mod newer_servers;
mod nullable_keys;
mod one_database;
mod parked_rows;
mod random_rows;
mod rights;
mod shapes;
mod strangers;
mod stream_breaks;
mod tables;
mod tokens;
mod traces;
mod unique_values;
mod unsaid_values;
mod values;
mod views;
