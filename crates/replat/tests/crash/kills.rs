//! SIGKILL at random times, through a whole story.

use std::time::Duration;

use replat_testkit::random::Random;

use crate::Failure;
use crate::leftovers;
use crate::live::Live;
use crate::program::{Program, Running};
use crate::story::{DEPLOY, begun};
use crate::world::Servers;

/// Kills, unless `REPLAT_KILLS` says how many.
const KILLS: u64 = 6;
/// A runner that has just taken over is done with most of its work after so long. Unit: milliseconds.
const WORK_MS: u64 = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_times_cost_time_only() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let kills = number("REPLAT_KILLS").unwrap_or(KILLS);
    let seed = number("REPLAT_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("REPLAT_SEED={seed} REPLAT_KILLS={kills}");
    tell(kills, seed).await.unwrap_or_else(|failure| panic!("with REPLAT_SEED={seed}: {failure}"));
}

async fn tell(kills: u64, seed: u64) -> Result<(), Failure> {
    let servers = Servers::start().await?;
    let world = servers.world("kills", "soak = \"1h\"").await?;
    let program = &world.program;
    let live = Live::start(&world).await?;
    let mut killer = Killer { program, random: Random::new(seed) };
    // Each part of the story gets its share of the kills.
    let share = |part: u64| kills / 4 + u64::from(part < kills % 4);
    let first = program.start(&DEPLOY, None)?;
    let id = begun(program).await;
    let watch = ["deploy", "watch", &id];
    let mut watching = killer.kill(first, &watch, share(0)).await?;
    program.reach(&id, "soak").await?;
    for (part, verb) in [(1, "rollback"), (2, "switch")] {
        live.both_sides_are_alike().await?;
        watching.kill().await?;
        let again = ["deploy", verb, &id];
        killer.kill(program.start(&again, None)?, &again, share(part)).await?.end().await?;
        // The verb has ended, and with it the streams: somebody has to run the deployment.
        watching = program.start(&watch, None)?;
    }
    live.both_sides_are_alike().await?;
    watching.kill().await?;
    let again = ["deploy", "finish", &id];
    killer.kill(program.start(&again, None)?, &again, share(3)).await?.end().await?;
    leftovers::after_finish(&world).await?;
    live.end().await
}

struct Killer<'p> {
    program: &'p Program,
    random: Random,
}

impl Killer<'_> {
    /// Kills `running` and whoever follows it, `kills` times, a random time after each has begun to work. The last
    /// one lives.
    async fn kill(&mut self, mut running: Running, again: &[&str], kills: u64) -> Result<Running, Failure> {
        for n in 1..=kills {
            self.until_at_work(&mut running).await?;
            let after = self.random.below(WORK_MS);
            tokio::time::sleep(Duration::from_millis(after)).await;
            let late = if running.kill().await? { "" } else { ", which was too late" };
            println!("`{}`: kill {n} after {after} ms{late}", again.join(" "));
            running = self.program.start(again, None)?;
        }
        Ok(running)
    }

    /// Until the process runs the deployment, or has ended.
    async fn until_at_work(&self, running: &mut Running) -> Result<(), Failure> {
        while !running.has_ended()? && self.program.runner()? != Some(running.pid) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}
