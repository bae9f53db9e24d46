//! `replat-bench-rotate`: replat beside pg_partman, and beside nothing, on one throwaway cluster under one load.
//!
//! Every arm of every round has a database of its own, with the same tables: made by pg_partman, which is then
//! removed again for the others. The arms take turns. What an arm fails with is a result. Exit status: 0 when all
//! was measured, whatever came out; 1 if it could not be; 2 for wrong usage; 4 if there is no pg_partman to compare
//! with; 130 after Ctrl-C.

mod arm;
mod case;
mod figures;
mod load;
mod partman;
mod place;
mod shape;
mod table;
mod watch;

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use arm::{Arm, Program};
use case::{Bench, Case};
use figures::{CaseReport, Report};
use partman::NoPartman;
use place::Place;

/// Partition maintenance by replat and by pg_partman, measured on one throwaway cluster under one load.
#[derive(Clone, Debug, Parser)]
#[command(name = "replat-bench-rotate", version)]
struct Arguments {
    /// Small cases, one round: whether it works, not how well.
    #[arg(long)]
    quick: bool,
    /// How often each arm takes its turn. Default: 5, with --quick 1.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Only these cases, such as N1,N4.
    #[arg(long, value_delimiter = ',', value_name = "CASE,…")]
    cases: Vec<String>,
    /// Only these arms: noise, pg_partman, replat.
    #[arg(long, value_delimiter = ',', value_name = "ARM,…")]
    arms: Vec<String>,
    /// Statements a second that each session of the load aims at.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
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

type Failure = Box<dyn Error + Send + Sync>;

/// Arguments that make no sense together with what there is.
#[derive(Debug, thiserror::Error)]
#[error("there is no {what} \"{word}\"; there are {there}")]
struct Unknown {
    what: &'static str,
    word: String,
    there: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Dropping the future drops the cluster and the program in it, wherever they are.
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        interrupted = tokio::signal::ctrl_c() => {
            eprintln!("{}", if interrupted.is_ok() { "interrupted" } else { "no signals to be had" });
            return ExitCode::from(130);
        }
    };
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    eprintln!("replat-bench-rotate: {failure}");
    let mut cause = failure.source();
    while let Some(because) = cause {
        eprintln!("  because {because}");
        cause = because.source();
    }
    match failure {
        failure if failure.is::<NoPartman>() => ExitCode::from(4),
        failure if failure.is::<Unknown>() => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (cases, arms) = (chosen_cases(arguments)?, chosen_arms(arguments)?);
    let path = match &arguments.replat {
        Some(path) => path.clone(),
        None => env::current_exe()?.with_file_name(format!("replat{}", env::consts::EXE_SUFFIX)),
    };
    let program = Program { path };
    if arms.contains(&Arm::Replat) && !program.rotates().await? {
        return Err(format!("{} does not know `rotate`", program.path.display()).into());
    }
    let place = Place::start().await?;
    let setting = setting(&place, &program, arguments).await?;
    let mut bench = Bench { place, program, pace: Duration::from_secs(1) / arguments.rate };
    let before = busy();
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { 5 });
    let mut reports = Vec::new();
    for case in &cases {
        let report = take(case, &mut bench, &arms, rounds).await?;
        if !arguments.json {
            print!("{}", table::case_text(&report));
        }
        reports.push(report);
    }
    let report = Report { setting, busy: [before, busy()], cases: reports };
    hand_out(&report, arguments)
}

fn chosen_cases(arguments: &Arguments) -> Result<Vec<Case>, Unknown> {
    let all = case::all(arguments.quick);
    let there = || all.iter().map(|case| case.id).collect::<Vec<_>>().join(", ");
    for word in &arguments.cases {
        if !all.iter().any(|case| case.id.eq_ignore_ascii_case(word)) {
            return Err(Unknown { what: "case", word: word.clone(), there: there() });
        }
    }
    let wanted = |case: &Case| arguments.cases.iter().any(|word| case.id.eq_ignore_ascii_case(word));
    Ok(all.clone().into_iter().filter(|case| arguments.cases.is_empty() || wanted(case)).collect())
}

fn chosen_arms(arguments: &Arguments) -> Result<Vec<Arm>, Unknown> {
    let find = |word: &String| {
        Arm::ALL.into_iter().find(|arm| arm.to_string() == *word).ok_or_else(|| Unknown {
            what: "arm",
            word: word.clone(),
            there: Arm::ALL.map(|arm| arm.to_string()).join(", "),
        })
    };
    if arguments.arms.is_empty() { Ok(Arm::ALL.to_vec()) } else { arguments.arms.iter().map(find).collect() }
}

/// All rounds of one case. The arms take turns, and another one begins in each round.
async fn take(case: &Case, bench: &mut Bench, arms: &[Arm], rounds: u32) -> Result<CaseReport, Failure> {
    let mut arms: Vec<Arm> = case.arms.iter().copied().filter(|arm| arms.contains(arm)).collect();
    let mut measures = Vec::new();
    for round in 1..=rounds {
        for &arm in &arms {
            eprintln!("{}, round {round} of {rounds}, {arm}", case.id);
            measures.push(case.measure(bench, arm, round).await?);
        }
        if !arms.is_empty() {
            arms.rotate_left(1);
        }
    }
    let wanted = case.wanted_words();
    Ok(CaseReport { id: case.id, title: case.title.clone(), wanted, numbers: case.numbers.clone(), measures })
}

async fn setting(
    place: &Place,
    program: &Program,
    arguments: &Arguments,
) -> Result<BTreeMap<String, String>, Failure> {
    let client = place.server.client("postgres").await?;
    let version: String =
        client.query_one("select current_setting('server_version')", &[]).await?.try_get(0)?;
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let settings = place::SETTINGS.iter().map(|(name, value)| format!("{name}={value}"));
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let mut setting = BTreeMap::from([
        ("PostgreSQL".to_owned(), version),
        ("pg_partman".to_owned(), place.partman.version.clone()),
        ("processors".to_owned(), format!("{processors}, {}", processor_name())),
        ("settings".to_owned(), settings.collect::<Vec<_>>().join(" ")),
        (
            "load".to_owned(),
            format!(
                "7 sessions (2 insert, 1 each of the others), {} statements a second each",
                arguments.rate
            ),
        ),
        ("when".to_owned(), jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
    ]);
    if let Ok(version) = program.version().await {
        setting.insert("replat".to_owned(), format!("{version}, {build} build"));
    }
    Ok(setting)
}

fn processor_name() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("unknown", |(_, name)| name.trim()).to_owned()
}

fn busy() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn hand_out(report: &Report, arguments: &Arguments) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(report)?;
    if let Some(path) = &arguments.out {
        fs::write(path, &json).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    if arguments.json {
        println!("{json}");
    } else {
        println!("\n{}", table::head(report));
    }
    Ok(())
}
