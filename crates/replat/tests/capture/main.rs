//! `replat capture`, and advice on what is captured or looked at: the real binary against real servers at work.

mod bounds;
mod crashes;
mod deployed;
mod lacking;
mod live;
mod privacy;
#[path = "../cli/program.rs"]
#[allow(dead_code)]
mod program;
mod releases;
mod whole;
mod world;
