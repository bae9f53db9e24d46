//! `replat rotate` as people, cron and Kubernetes run it: the real binary against real servers.
//!
//! Expected bounds are computed by the server itself, from its clock, with `generate_series`: never by the code under
//! test.

mod bad_input;
mod breakers;
mod checks;
mod overflow;
mod plans;
#[path = "../cli/program.rs"]
#[allow(dead_code)]
mod program;
mod quotas;
mod reports;
mod retiring;
mod rivals;
mod shapes;
mod standby;
mod world;
mod zones;
