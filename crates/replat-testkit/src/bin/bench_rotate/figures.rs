//! What was measured, as it goes into the JSON file: nothing here is an average of averages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::arm::Arm;
use crate::load::{Class, Sample};

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// On what it ran, with which versions and settings.
    pub setting: BTreeMap<String, String>,
    /// The load of the machine, as the system tells it, before and after.
    pub busy: [String; 2],
    /// The cases, in order.
    pub cases: Vec<CaseReport>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    /// Such as `N1`.
    pub id: &'static str,
    /// What is done to what, in one line.
    pub title: String,
    /// What is to come of it, such as `30 created`.
    pub wanted: String,
    /// The numbers beside the classes, in the order in which they are shown.
    pub numbers: Vec<Number>,
    /// One for each arm and round, in the order in which they were taken.
    pub measures: Vec<Measure>,
}

/// A number that is measured in each round.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Number {
    /// Its key in [`Measure::numbers`].
    pub key: &'static str,
    /// Its unit; empty if it is a count.
    pub unit: &'static str,
    /// Whether more is better, less is, or it is for information.
    pub better: Better,
}

/// In which direction a number is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Less of it.
    Less,
    /// More of it.
    More,
    /// Neither.
    Neither,
}

/// One arm in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Measure {
    /// Which arm.
    pub arm: Arm,
    /// Which round, from 1.
    pub round: u32,
    /// How long the maintenance took, in milliseconds; of the noise arm, how long nothing was done.
    pub took_ms: f64,
    /// What it came to, such as `30 created`; empty if there was nothing to do.
    pub came_to: String,
    /// Whether that is what was wanted.
    pub achieved: bool,
    /// What the maintenance failed with, or warned of.
    pub failures: Vec<String>,
    /// Statements of the load that were refused, by what was said, with how often.
    pub refused: BTreeMap<String, u64>,
    /// How long the statements of each class took, around the maintenance.
    pub classes: BTreeMap<Class, Waits>,
    /// Other numbers, by their keys.
    pub numbers: BTreeMap<&'static str, f64>,
    /// What the program said of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<Value>,
}

/// How long the statements of a class took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Waits {
    /// How many there were.
    pub statements: usize,
    /// 99 of 100 took less, in milliseconds; statements that could not be sent because the one before was not
    /// answered count as if they had been sent in time.
    pub p99_ms: f64,
    /// The longest, in milliseconds.
    pub worst_ms: f64,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

impl Waits {
    /// The waits of the statements of which some part lies in the window.
    pub fn within(samples: &[Sample], window: Window, pace: Duration) -> Waits {
        let inside = samples.iter().filter(|s| s.at < window.to && s.at + s.took > window.from);
        let mut waits: Vec<Duration> = Vec::new();
        let mut statements = 0;
        for sample in inside {
            statements += 1;
            let mut wait = sample.took;
            waits.push(wait);
            while wait > pace * 2 {
                wait -= pace;
                waits.push(wait);
            }
        }
        waits.sort_unstable();
        let at = |share: f64| {
            let index = (waits.len() as f64 * share).ceil() as usize;
            waits.get(index.saturating_sub(1)).map_or(0.0, |&wait| ms(wait))
        };
        Waits { statements, p99_ms: at(0.99), worst_ms: at(1.0) }
    }
}

/// A duration in milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The middle one of some numbers; the upper one of two.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_hangs_counts_for_those_that_it_kept_from_being_sent() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let sample = |from, took| Sample { at: at(from), took: Duration::from_millis(took) };
        let quick: Vec<Sample> = (0..100).map(|n| sample(n * 10, 1)).collect();
        let hung: Vec<Sample> = quick.iter().copied().chain([sample(1000, 500)]).collect();
        let pace = Duration::from_millis(10);
        let cases = [
            ("quick ones", &quick, (0, 1000), (100, 1.0, 1.0)),
            ("one hangs", &hung, (0, 2000), (101, 490.0, 500.0)),
            ("the one that hangs began before", &hung, (1400, 2000), (1, 500.0, 500.0)),
            ("it ended before", &hung, (1600, 2000), (0, 0.0, 0.0)),
        ];
        for (name, samples, (from, to), (statements, p99, worst)) in cases {
            let waits = Waits::within(samples, Window { from: at(from), to: at(to) }, pace);
            assert_eq!((waits.statements, waits.worst_ms), (statements, worst), "{name}");
            assert!((waits.p99_ms - p99).abs() <= 10.0, "{name}: {}", waits.p99_ms);
        }
    }
}
