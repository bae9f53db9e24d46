//! Traffic follows the partition: the real binary as proxy and as runner, real clients, real servers.

mod missing;
#[path = "../cli/program.rs"]
#[allow(dead_code)]
mod program;
mod reads;
mod shadows;
mod statements;
mod switches;
mod tables;
mod told;
mod world;
