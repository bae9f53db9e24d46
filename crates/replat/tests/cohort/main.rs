//! Many tenants in one deployment, with the shipped program against real servers.

mod crashes;
mod many;
mod measure;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "another test target uses the rest of it")]
mod program;
mod refused;
mod tenants;
