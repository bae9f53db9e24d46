//! `replat-bench-capture`: what a capture costs the server that it watches.
//!
//! Beside it, in the same rounds, on the same server and under the same load (pgbench), stand a server that nobody watches
//! and one whose changes are followed by PostgreSQL's own `pg_recvlogical`: that is what any change data capture costs.
//! Exit status: 0 when all was measured, whatever came out; 1 if it could not be; 2 for wrong usage.

mod figures;
mod load;
mod watch;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use figures::{Report, summary};
use load::Place;
use watch::Watch;

/// Processor time and log of a server with and without a capture.
#[derive(Clone, Debug, Parser)]
#[command(name = "replat-bench-capture", version)]
struct Arguments {
    /// One short round: whether it works, not how well.
    #[arg(long)]
    quick: bool,
    /// How often each way takes its turn; the middle of what rounds differ by counts. Default: 5, with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How many transactions pgbench runs each time. Default: 16000, with --quick 2000.
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    transactions: Option<u32>,
    /// The share of transactions that the server logs for the capture that samples: a number, or what the capture takes for
    /// enough.
    #[arg(long, default_value = "auto")]
    sample_rate: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// The program under test; the one beside this one by default.
    #[arg(long)]
    replat: Option<PathBuf>,
}

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Dropping the future drops the server and the programs in it.
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
    };
    match ended {
        Ok(report) if arguments.json => println!("{:#}", serde_json::json!(report)),
        Ok(report) => print!("{}", figures::table(&report)),
        Err(failure) => {
            eprintln!("replat-bench-capture: {failure}");
            let mut cause = failure.source();
            while let Some(because) = cause {
                eprintln!("  because {because}");
                cause = because.source();
            }
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let replat = match &arguments.replat {
        Some(path) => std::path::absolute(path)?,
        None => env::current_exe()?.with_file_name(format!("replat{}", env::consts::EXE_SUFFIX)),
    };
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 5 });
    let transactions = arguments.transactions.unwrap_or(if arguments.quick { 2_000 } else { 16_000 });
    let place = Place::start(replat, arguments.sample_rate.clone()).await?;
    // The first run fills caches, and counts for nobody.
    place.run(Watch::Nobody, 0, transactions / 4).await?;
    let mut ways = Watch::ALL;
    let mut runs = Vec::new();
    for round in 1..=rounds {
        for way in ways {
            eprintln!("round {round} of {rounds}: {way}");
            runs.push(place.run(way, round, transactions).await?);
        }
        // Another one begins each time.
        ways.rotate_left(1);
    }
    let version = place.server.version();
    let server = format!("{}.{}", version.major, version.minor);
    Ok(Report { server, transactions, summary: summary(&runs)?, runs })
}
