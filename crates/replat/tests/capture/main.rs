//! `replat capture`: the real binary against real servers at work.

mod bounds;
mod crashes;
mod lacking;
mod privacy;
#[path = "../cli/program.rs"]
#[allow(dead_code)]
mod program;
mod whole;
mod world;
