//! Every world that the rules can reach, with a crash allowed between any two moves.

#[path = "explore/fingerprint.rs"]
mod fingerprint;
#[path = "explore/moves.rs"]
mod moves;
#[path = "explore/orders.rs"]
mod orders;
#[path = "explore/plan.rs"]
mod plan;
#[path = "explore/rules.rs"]
mod rules;
#[path = "explore/world.rs"]
mod world;
#[path = "explore/worlds.rs"]
mod worlds;

use replat_model::ids::Side;

use rules::{Ask, Bounds, Flaw};
use worlds::explore;

fn env(name: &str, default: u32) -> u32 { std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default) }

#[test]
fn measure() {
    let asks: &'static [Ask] = match env("ASKS", 0) { 0 => &[], 1 => &[Ask::Switch(Side::Blue)], 2 => &[Ask::Abort], 3 => &[Ask::Switch(Side::Blue), Ask::Abort, Ask::Finish], _ => &[Ask::Switch(Side::Blue), Ask::Abort, Ask::Finish, Ask::Switch(Side::Green)] };
    let bounds = Bounds { runners: env("R", 2) as usize, writes: env("W", 2) as u8, attempts: env("A", 2), events: env("E", 12) as u8, crashes: env("C", 1) as u8, ticks: env("T", 1) as u8, late_orders: env("L", 0) == 1, blind: env("B", 0) == 1, asks };
    let flaw = match env("F", 0) { 1 => Some(Flaw::TokensIgnored), 2 => Some(Flaw::AppendUnconditional), 3 => Some(Flaw::OpenBeforeGivingUp), 4 => Some(Flaw::DrainNotAwaited), 5 => Some(Flaw::FenceStopsNobody), 6 => Some(Flaw::TermOnly), 7 => Some(Flaw::WritersInFlightForgotten), 8 => Some(Flaw::BarrierHeardFromOthers), _ => None };
    let start = std::time::Instant::now();
    let explored = explore(bounds, flaw);
    println!("{bounds:?} {flaw:?}\n {} worlds {} moves {} cut {:?}", explored.worlds, explored.moves, explored.cut, start.elapsed());
    if let Some(v) = explored.violation { println!("{}\n{}", v.promise, v.story); }
}
