//! `replat-demo`: two throwaway servers, live writers before a proxy, and the real program, driven as a user would.
//!
//! A tenant goes to green, back to blue, and to green again, while every acknowledged write is noted down. In the
//! end the databases themselves are asked what became of it. Exit status: 0 if every promise was kept, 1 if one
//! was broken or the demo could not be carried out, 130 after Ctrl-C.

mod door;
mod follow;
mod program;
mod sqlalchemy;
mod stage;
mod story;
mod summary;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use replat_testkit::report::Report;

use stage::Stage;

/// Two throwaway PostgreSQL servers, live writes, and a tenant that goes to green, back, and to green again.
#[derive(Clone, Debug, Parser)]
#[command(name = "replat-demo", version)]
struct Arguments {
    /// Tenants in the database; tenant 1 is the largest.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tenants: u32,
    /// Rows to fill in, over all tables and tenants.
    #[arg(long, default_value_t = 200_000)]
    rows: u64,
    /// Which tenant to move.
    #[arg(long, default_value_t = 1)]
    tenant: u32,
    /// Writers; half of them write on the tenant that is moved.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    writers: u16,
    /// Transactions a second that each writer aims at.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How long to write altogether between the switches.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// How often to go back and forth after the first switch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    turns: u32,
    /// What the rows and the writes follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the servers running and say how to connect.
    #[arg(long)]
    keep: bool,
    /// Print the report as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// The program under test; the one beside this one by default.
    #[arg(long)]
    replat: Option<PathBuf>,
    /// A Python that has replat-sqlalchemy and psycopg, for one more writer; without it there is none.
    #[arg(long)]
    python: Option<PathBuf>,
    /// A directory for report.md, report.json, journal.jsonl and replat.log.
    #[arg(long)]
    out: Option<PathBuf>,
}

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Dropping the future drops the servers and the program in it, wherever they are.
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
            print_failure(failure.as_ref());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    if arguments.tenant == 0 || arguments.tenant > arguments.tenants {
        return Err(format!("tenant {} is not one of 1 to {}", arguments.tenant, arguments.tenants).into());
    }
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out)?;
    }
    let mut stage = Stage::set(arguments).await?;
    let told = story::tell(arguments, &mut stage).await;
    // On a failure, too: what a person wants to look at then is the servers as they are.
    if arguments.keep {
        stage.keep()?;
    }
    let report = told?;
    print_report(&report, arguments)?;
    Ok(report.kept)
}

fn print_report(report: &Report, arguments: &Arguments) -> Result<(), Failure> {
    if let Some(out) = &arguments.out {
        write(&out.join("report.md"), &report.markdown())?;
        write(&out.join("report.json"), &report.json()?)?;
    }
    if arguments.json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.terminal());
    }
    if let Some(out) = &arguments.out {
        eprintln!("The report, the journal and the program's own log are in {}.", out.display());
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|source| format!("cannot write {}: {source}", path.display()).into())
}

fn print_failure(failure: &(dyn Error + Send + Sync)) {
    eprintln!("replat-demo: {failure}");
    let mut cause = failure.source();
    while let Some(because) = cause {
        eprintln!("  because {because}");
        cause = because.source();
    }
}
