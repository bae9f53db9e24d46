//! Sets that others made or manage are taken over, and left again: the real binary against a real server.

mod eject;
mod hands;
mod partman;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "another test target uses the rest of it")]
mod program;
mod told;
mod world;
