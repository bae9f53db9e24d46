//! Clients that people use, through the real proxy, while their partition moves there and back.
//!
//! They are programs of other makers: psql and pgbench, drivers of Python's and Java's, PgBouncer. Where one is missing
//! its test fails and says what to install; `./x test` does it beforehand.

mod bench;
mod crowd;
mod drivers;
mod poolers;
#[path = "../cli/program.rs"]
#[allow(dead_code)]
mod program;
mod shell;
#[path = "../traffic/world.rs"]
#[allow(dead_code)]
mod world;
mod writers;
