//! `replat-bench-proxy`: what the proxy costs, what a switch costs its clients, and how many clients it carries.
//!
//! Beside it, in the same rounds, on the same server and with the same statements, stand a direct connection and
//! PgBouncer. Exit status: 0 when all was measured, whatever came out, and nothing was lost; 1 otherwise; 2 for wrong
//! usage.

mod crowd;
mod figures;
mod place;
mod speed;
mod switches;
mod table;

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use figures::Report;
use place::{Place, Program};
use speed::{Mode, Script};

/// The proxy beside PgBouncer and a direct connection, its clients while their partition moves, and a crowd of them.
#[derive(Clone, Debug, Parser)]
#[command(name = "replat-bench-proxy", version)]
struct Arguments {
    /// One short round, few switches, a small crowd: whether it works, not how well.
    #[arg(long)]
    quick: bool,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_name = "PART,…")]
    parts: Vec<Part>,
    /// How often each path takes its turn. Default: 3, with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// How long one run of pgbench is. Unit: seconds. Default: 4, with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// How many clients pgbench has.
    #[arg(long, value_delimiter = ',', value_name = "NUMBER,…", default_values_t = [1, 16, 64])]
    clients: Vec<usize>,
    /// Only these scripts.
    #[arg(long, value_delimiter = ',', value_name = "SCRIPT,…")]
    scripts: Vec<Script>,
    /// Only these modes of pgbench's.
    #[arg(long, value_delimiter = ',', value_name = "MODE,…")]
    modes: Vec<Mode>,
    /// How often the partition moves. Default: 50, with --quick 6.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    switches: Option<u32>,
    /// How many clients log in for the crowd. Default: 3000, with --quick 300.
    #[arg(long)]
    crowd: Option<usize>,
    /// The crowd's proxy goes through a PgBouncer in session mode, so that who is idle has no process of the server's.
    #[arg(long)]
    crowd_pooled: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Write JSON into this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The program under test; the one beside this one by default.
    #[arg(long)]
    replat: Option<PathBuf>,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Throughput and latency beside a direct connection and PgBouncer.
    Speed,
    /// What writers see while their partition moves there and back.
    Switches,
    /// Many clients that are logged in, most of them idle, and a switch.
    Crowd,
}

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Dropping the future drops the servers and the programs in it, wherever they are.
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            eprintln!("{}", if interrupted.is_ok() { "interrupted" } else { "no signals to be had" });
            return ExitCode::from(130);
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("replat-bench-proxy: {failure}");
            let mut cause = failure.source();
            while let Some(because) = cause {
                eprintln!("  because {because}");
                cause = because.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing was lost and nobody saw an error.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let path = match &arguments.replat {
        Some(path) => path.clone(),
        None => env::current_exe()?.with_file_name(format!("replat{}", env::consts::EXE_SUFFIX)),
    };
    let program = Program { path };
    let wanted = |part: Part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let mut report = Report { setting: place::setting(&program).await, ..Report::default() };
    if wanted(Part::Speed) {
        let place = Place::start(&program, 300).await?;
        let plan = speed::Plan {
            rounds: arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 3 }),
            seconds: arguments.seconds.unwrap_or(if arguments.quick { 1 } else { 4 }),
            clients: arguments.clients.clone(),
            scripts: chosen(&arguments.scripts, Script::value_variants()),
            modes: chosen(&arguments.modes, Mode::value_variants()),
        };
        report.speed = speed::measure(&place, &plan).await?;
        show(arguments, || table::speed(&report.speed));
    }
    if wanted(Part::Switches) {
        let place = Place::start(&program, 300).await?;
        let times = arguments.switches.unwrap_or(if arguments.quick { 6 } else { 50 });
        let switches = report.switches.insert(switches::measure(&place, times).await?);
        show(arguments, || table::switches(switches));
    }
    if wanted(Part::Crowd) {
        let size = arguments.crowd.unwrap_or(if arguments.quick { 300 } else { 3000 });
        let crowd = report.crowd.insert(crowd::measure(&program, size, arguments.crowd_pooled).await?);
        show(arguments, || table::crowd(crowd));
    }
    let json = serde_json::to_string_pretty(&report)?;
    if let Some(path) = &arguments.out {
        std::fs::write(path, &json).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    if arguments.json {
        println!("{json}");
    }
    show(arguments, || table::setting(&report.setting));
    Ok(report.kept())
}

fn show(arguments: &Arguments, text: impl FnOnce() -> String) {
    if !arguments.json {
        println!("{}", text());
    }
}

fn chosen<T: Copy>(named: &[T], all: &[T]) -> Vec<T> {
    if named.is_empty() { all.to_vec() } else { named.to_vec() }
}
