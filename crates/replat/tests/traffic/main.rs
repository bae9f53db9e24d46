//! Traffic follows the partition: the real binary as proxy and as runner, real clients, real servers.

#[path = "../cli/program.rs"]
#[allow(dead_code)]
mod program;
mod statements;
mod switches;
mod tables;
mod told;
mod world;
