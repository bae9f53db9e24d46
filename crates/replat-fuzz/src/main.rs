//! `replat-fuzz`: tries mutated inputs, blindly and repeatably. Coverage is libFuzzer's affair (`fuzz/`).

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use replat_fuzz::mutate::{Dice, mutated};
use replat_fuzz::{TARGETS, Target, target};

const USAGE: &str = "usage: replat-fuzz list | seeds FOLDER | run [TARGET] [--seconds=N] [--seed=N]

  list    the targets
  seeds   writes each target's known inputs to FOLDER/TARGET/
  run     tries each target, or one, for N seconds (10); the same seed (1) tries the same inputs in the same order.
          An input that is too much is written to the folder of regressions, and the exit code is 1.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => {
            TARGETS.iter().for_each(|target| println!("{:14} {}", target.name, target.reads));
            ExitCode::SUCCESS
        }
        ["seeds", folder] => match write_seeds(Path::new(folder)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("replat-fuzz: {folder}: {error}");
                ExitCode::from(2)
            }
        },
        ["run", rest @ ..] => run(rest),
        _ => wrong(),
    }
}

fn wrong() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn write_seeds(folder: &Path) -> std::io::Result<()> {
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (name, input) in target.known()? {
            fs::write(folder.join(name), input)?;
        }
    }
    Ok(())
}

fn run(arguments: &[&str]) -> ExitCode {
    let (mut chosen, mut seconds, mut seed) = (None, 10, 1);
    for argument in arguments {
        let number = |text: &str| text.parse::<u64>().ok();
        match (argument.split_once('='), target(argument)) {
            (Some(("--seconds", text)), _) if number(text).is_some() => {
                seconds = number(text).unwrap_or(seconds)
            }
            (Some(("--seed", text)), _) if number(text).is_some() => seed = number(text).unwrap_or(seed),
            (None, Some(target)) => chosen = Some(target),
            _ => return wrong(),
        }
    }
    let targets = TARGETS.iter().filter(|target| chosen.is_none_or(|chosen| chosen.name == target.name));
    let mut failed = false;
    for target in targets {
        match fuzz(target, Duration::from_secs(seconds), seed) {
            Ok(tries) => println!("{:14} {tries} inputs, nothing found", target.name),
            Err(why) => {
                println!("{:14} {why}", target.name);
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Tries a target for so long; how many inputs that were, or what was found.
fn fuzz(target: &Target, time: Duration, seed: u64) -> Result<u64, String> {
    let mut pool: Vec<Vec<u8>> =
        target.known().map_err(|error| error.to_string())?.into_iter().map(|(_, input)| input).collect();
    for input in &pool {
        attempt(target, input)?;
    }
    let (seeds, begun, mut dice, mut tries) = (pool.len(), Instant::now(), Dice::new(seed), 0);
    while begun.elapsed() < time {
        let (one, other) = (dice.below(pool.len()), dice.below(pool.len()));
        let input = mutated(&pool[one], &pool[other], target.words, &mut dice);
        attempt(target, &input)?;
        tries += 1;
        // Some of what was tried is gone on from, so that changes add up.
        if dice.below(20) == 0 {
            match pool.len() < seeds + 200 {
                true => pool.push(input),
                false => {
                    let place = seeds + dice.below(200);
                    pool[place] = input;
                }
            }
        }
    }
    Ok(tries)
}

fn attempt(target: &Target, input: &[u8]) -> Result<(), String> {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok() {
        return Ok(());
    }
    let folder = target.regressions();
    let sum = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let file = folder.join(format!("found-{sum:016x}"));
    let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, input));
    Err(match kept {
        Ok(()) => format!("panicked; the input is {}", file.display()),
        Err(error) => format!("panicked, and {} could not be written: {error}", file.display()),
    })
}
