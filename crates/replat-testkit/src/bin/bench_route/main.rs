//! `replat-bench-route`: what a map costs, and how that grows with the number of partitions.
//!
//! Beside it, in the same rounds and with the same keys, stand a binary search over a sorted vector and the standard
//! library's hash map, which know neither ranges nor buckets nor versions. Exit status: 0 when all was measured,
//! whatever came out; 1 if it could not be; 2 for wrong usage.

mod figures;
mod measure;
mod shape;
mod table;

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use figures::Report;
use shape::Shape;

/// Counts what is allocated, so that bytes are exact.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Lookup, change, size and transport of maps with a hundred to a million partitions.
#[derive(Clone, Debug, Parser)]
#[command(name = "replat-bench-route", version)]
struct Arguments {
    /// Up to ten thousand partitions, fewer rounds: whether it works, not how well.
    #[arg(long)]
    quick: bool,
    /// How often each lookup is measured; the middle one counts. Default: 9, with --quick 3.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Only these: list, names, hash, range, composite.
    #[arg(long, value_delimiter = ',', value_name = "SHAPE,…")]
    shapes: Vec<Shape>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shapes = if arguments.shapes.is_empty() { Shape::ALL.to_vec() } else { arguments.shapes.clone() };
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 3 } else { 9 });
    let powers = if arguments.quick { 2..=4 } else { 2..=6 };
    let mut report = Report { rounds, cases: Vec::new() };
    for shape in shapes {
        let mut cases = Vec::new();
        for leaves in powers.clone().map(|power| 10_usize.pow(power)) {
            match measure::case(shape, leaves, rounds, ALLOCATOR) {
                Ok(case) => cases.push(case),
                Err(why) => {
                    eprintln!("replat-bench-route: {leaves} partitions by {shape}: {why}");
                    return ExitCode::FAILURE;
                }
            }
        }
        if !arguments.json {
            println!("{}", table::text(&cases));
        }
        report.cases.extend(cases);
    }
    if arguments.json {
        println!("{:#}", serde_json::json!(report));
    }
    ExitCode::SUCCESS
}
