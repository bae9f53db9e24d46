//! Drift: a deployed design is watched while transactions go by, against what was forecast of it.
//!
//! A change is a level that lasts. What comes back within a tenth of the time is no change, nor is what comes back each
//! day. Moving rows is recommended as one buys instead of renting: when what the deployed design has cost more than
//! another would have, since the change, exceeds the price of moving.

mod level;
mod moves;
mod regret;
mod transfer;
mod watch;

use serde::{Deserialize, Serialize};

use crate::design::{BadDesign, Design};
use crate::domain::domains;
use crate::schema::Schema;
use crate::trace::Trace;
use crate::value::Value;
use level::{Course, LASTING_MIN, PASSING_MAX, Step};
use watch::{Watched, watched, window};

pub use regret::Move;
pub use transfer::{Keys, Price, Prices, Transfer, TransferStep, transfer};

/// A share that changes by less has not changed to people. Unit: share of transactions.
const SHARE_MIN: f64 = 0.02;

/// A skew or a rate that changes by a smaller factor has not changed to people.
const SKEW_MIN: f64 = 1.5;

/// Changes of several statistics that are no farther apart are one. Unit: share of the trace.
const TOGETHER_MAX: f64 = 0.04;

/// A forecast is learned from so many windows, if none is given.
const BASELINE: usize = 20;

/// What comes back less often may be chance, and is not told of.
const CYCLES_TOLD: usize = 4;

/// Effects have settled after this part of the windows.
const SETTLED: usize = 5;

/// The sums of Page's test: what a window may be off, and how much may add up. Unit: standard deviations.
const SLACK: f64 = 0.75;
const LIMIT: f64 = 8.0;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "statistic", rename_all = "snake_case")]
pub enum Statistic {
    /// The share of transactions that need several partitions.
    CrossShare,
    /// The share of transactions of a kind.
    MixShare {
        /// The kind.
        kind: String,
    },
    /// The share of transactions that need a key.
    KeyShare {
        /// A column that holds such keys, with its table.
        column: String,
        /// The key.
        value: Value,
    },
    /// The load of the busiest partition, by the mean.
    LoadSkew,
    /// Transactions per second.
    Growth,
}

/// A statistic before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shift {
    /// Which.
    #[serde(flatten)]
    pub statistic: Statistic,
    /// Before.
    pub from: f64,
    /// After.
    pub to: f64,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Other things are done, or in other proportions.
    Mix,
    /// A key is needed more, or less, than it was.
    HotKey,
    /// The same things are done, and need more or fewer partitions.
    Cross,
    /// The partitions' loads are otherwise uneven, without one key to blame.
    Skew,
    /// There is more to do, or less.
    Growth,
}

/// A change for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When it began. Unit: share of the trace.
    pub at: f64,
    /// When it was complete; the same for a sudden one. Unit: share of the trace.
    pub until: f64,
    /// When it could be told from chance. Unit: share of the trace.
    pub noticed: f64,
    /// When it began. Unit: the trace's seconds.
    pub time: f64,
    /// What kind of change.
    pub kind: ChangeKind,
    /// The statistics that changed, the clearest first.
    pub shifts: Vec<Shift>,
}

/// A time when a statistic was elsewhere and came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passing {
    /// From here. Unit: share of the trace.
    pub from: f64,
    /// To here. Unit: share of the trace.
    pub to: f64,
    /// Which.
    #[serde(flatten)]
    pub statistic: Statistic,
}

/// A statistic that does the same again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Season {
    /// After how long. Unit: share of the trace.
    pub period: f64,
    /// Which.
    #[serde(flatten)]
    pub statistic: Statistic,
}

/// What share of transactions was forecast to need several partitions, with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The share.
    pub share: f64,
    /// From here.
    pub low: f64,
    /// To here.
    pub high: f64,
}

/// What became of the forecast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The forecast.
    #[serde(flatten)]
    pub forecast: Forecast,
    /// Whether it was learned from the first windows, since none was given.
    pub learned: bool,
    /// When it was left for good; `None` if it was kept. Unit: share of the trace.
    pub left: Option<f64>,
    /// The share at the end.
    pub now: f64,
}

/// What a move may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// Anything: other columns, copies in every partition, keys elsewhere.
    Any,
    /// Whole keys that go from one partition to another, as deployments move them: every table keeps its columns.
    Keys,
}

/// What became of a deployed design.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// How many transactions were watched.
    pub transactions: usize,
    /// How many a window has; `None` if there are too few to say anything.
    pub window: Option<usize>,
    /// Changes for good, in the order of time.
    pub changes: Vec<Change>,
    /// What came and went.
    pub passing: Vec<Passing>,
    /// What comes back again and again.
    pub seasons: Vec<Season>,
    /// Whether the forecast was kept.
    pub forecast: Option<Kept>,
    /// Moves that have paid for themselves: these are recommended.
    pub repartitions: Vec<Move>,
    /// Moves that would pay, but have not yet.
    pub considered: Vec<Move>,
}

/// Watches `design` while the transactions of `trace` go by, and looks for better ones within reach of `means`.
pub fn drift(
    schema: &Schema,
    trace: &Trace,
    design: &Design,
    forecast: Option<Forecast>,
    prices: &Prices,
    means: Means,
) -> Result<Drift, BadDesign> {
    let n = trace.transactions.len();
    crate::design::Placed::new(design, schema)?;
    let Some(window) = window(n) else {
        return Ok(Drift {
            transactions: n,
            window: None,
            changes: Vec::new(),
            passing: Vec::new(),
            seasons: Vec::new(),
            forecast: None,
            repartitions: Vec::new(),
            considered: Vec::new(),
        });
    };
    let domains = domains(schema, trace);
    let watched = watched(schema, trace, design, &domains, window)?;
    let courses: Vec<Course> = watched.iter().map(course).collect();
    let share = |at: usize| (at * window).min(n) as f64 / n as f64;
    let mut passing = Vec::new();
    let mut seasons = Vec::new();
    for (watched, course) in watched.iter().zip(&courses) {
        for (from, to) in &course.passing {
            passing.push(Passing {
                from: share(*from),
                to: share(*to),
                statistic: watched.statistic.clone(),
            });
        }
        seasons.extend(
            course
                .period
                .filter(|period| period * CYCLES_TOLD <= watched.series.values.len())
                .map(|period| Season { period: share(period), statistic: watched.statistic.clone() }),
        );
    }
    passing.sort_by(|a, b| a.from.total_cmp(&b.from));
    let changes = changes(trace, &watched, &courses, window);
    let ends: Vec<usize> = changes.iter().map(|change| (change.until * n as f64) as usize).collect();
    let moves = regret::moves(schema, trace, design, &domains, &ends, window, (prices, means))?;
    let (repartitions, considered) = moves.into_iter().partition(|one| one.due);
    let forecast = kept(&watched[0], forecast, window, n);
    Ok(Drift {
        transactions: n,
        window: Some(window),
        changes,
        passing,
        seasons,
        forecast,
        repartitions,
        considered,
    })
}

/// What became of a statistic. What transactions find depends on what those before them have left, and a trace often
/// begins with nothing, so effects are watched only after a while; what transactions are, from the beginning.
fn course(watched: &Watched) -> Course {
    let skipped = match watched.statistic {
        Statistic::CrossShare | Statistic::LoadSkew => watched.series.values.len() / SETTLED,
        _ => 0,
    };
    let mut course = watched.series.after(skipped).course();
    for step in &mut course.steps {
        step.at += skipped;
        step.until += skipped;
    }
    course.passing.iter_mut().for_each(|(from, to)| (*from, *to) = (*from + skipped, *to + skipped));
    // A level that was hardly seen is none that could be left.
    course.steps.retain(|step| step.at >= BASELINE / 2);
    course
}

/// Puts together what changed at one time.
fn changes(trace: &Trace, watched: &[Watched], courses: &[Course], window: usize) -> Vec<Change> {
    let n = trace.transactions.len();
    let apart = (TOGETHER_MAX * n as f64 / window as f64).ceil() as usize;
    let mut steps: Vec<(usize, &Step)> = courses
        .iter()
        .enumerate()
        .flat_map(|(number, course)| course.steps.iter().map(move |step| (number, step)))
        .collect();
    steps.sort_by(|a, b| b.1.worth.total_cmp(&a.1.worth));
    // The clearest change takes with it whatever happens during it or near it.
    let mut groups: Vec<Vec<(usize, &Step)>> = Vec::new();
    for (number, step) in steps {
        let near = |group: &&mut Vec<(usize, &Step)>| {
            let first = group[0].1;
            let apart = apart + step.blur + first.blur;
            step.at <= first.until + apart && first.at <= step.until + apart
        };
        match groups.iter_mut().find(near) {
            Some(group) => group.push((number, step)),
            None => groups.push(vec![(number, step)]),
        }
    }
    let mut changes: Vec<Change> = groups
        .into_iter()
        .map(|group| {
            let (number, first) = group[0];
            let is_sudden = first.at == first.until;
            let (at, until) = if is_sudden {
                let at = refined(&watched[number], first, window);
                (at, at)
            } else {
                let [at, until] = slope(&group).map(|place| (place * window as f64) as usize);
                (at, until.min(n))
            };
            let noticed = noticed(&watched[number], first) * window;
            Change {
                at: at as f64 / n as f64,
                until: until as f64 / n as f64,
                noticed: noticed.clamp(at, n) as f64 / n as f64,
                time: trace.transactions[at.min(n - 1)].at,
                kind: kind(&group.iter().map(|(number, _)| &watched[*number].statistic).collect::<Vec<_>>()),
                shifts: shifts(watched, &group),
            }
        })
        .collect();
    changes.sort_by(|a, b| a.at.total_cmp(&b.at));
    changes
}

/// What is to blame: the clearest cause, or else the clearest effect.
fn kind(statistics: &[&Statistic]) -> ChangeKind {
    let causes = statistics.iter().filter_map(|statistic| match statistic {
        Statistic::MixShare { .. } => Some(ChangeKind::Mix),
        Statistic::KeyShare { .. } => Some(ChangeKind::HotKey),
        _ => None,
    });
    let effects = statistics.iter().map(|statistic| match statistic {
        Statistic::LoadSkew => ChangeKind::Skew,
        Statistic::Growth => ChangeKind::Growth,
        _ => ChangeKind::Cross,
    });
    causes.chain(effects).next().unwrap_or(ChangeKind::Cross)
}

/// The beginning and the end of a slow change, by all that changed slowly, each by its clarity. Unit: windows.
fn slope(group: &[(usize, &Step)]) -> [f64; 2] {
    let slow = || group.iter().map(|(_, step)| *step).filter(|step| step.until > step.at);
    let clarity: f64 = slow().map(|step| step.worth).sum();
    let mean =
        |of: fn(&Step) -> usize| slow().map(|step| of(step) as f64 * step.worth).sum::<f64>() / clarity;
    [mean(|step| step.at), mean(|step| step.until)]
}

/// What changed, each statistic once: from before its first step to after its last.
fn shifts(watched: &[Watched], group: &[(usize, &Step)]) -> Vec<Shift> {
    let mut told: Vec<usize> = Vec::new();
    let mut all = Vec::new();
    for (number, _) in group {
        if told.contains(number) {
            continue;
        }
        told.push(*number);
        let own = || group.iter().filter(|(other, _)| other == number).map(|(_, step)| *step);
        let (first, last) = (own().min_by_key(|step| step.at), own().max_by_key(|step| step.at));
        let (Some(first), Some(last)) = (first, last) else { continue };
        let statistic = watched[*number].statistic.clone();
        let value = |level: f64| match statistic {
            Statistic::LoadSkew | Statistic::Growth => level.exp(),
            _ => level.clamp(0.0, 1.0),
        };
        all.push(Shift { from: value(first.from), to: value(last.to), statistic });
    }
    all
}

/// The transaction at which a sudden change began: where the levels before and after explain most.
fn refined(watched: &Watched, step: &Step, window: usize) -> usize {
    let at = step.at * window;
    let Some(adds) = &watched.adds else { return at };
    let [before, after] = [step.from, step.to].map(|share| share.clamp(1e-3, 1.0 - 1e-3));
    let (from, to) = (at.saturating_sub(2 * window), (at + 2 * window).min(adds.len()));
    let mut best = (0.0, from);
    let mut sum = 0.0;
    for (number, adds) in adds[from..to].iter().enumerate() {
        sum += if *adds { (before / after).ln() } else { ((1.0 - before) / (1.0 - after)).ln() };
        if sum > best.0 {
            best = (sum, from + number + 1);
        }
    }
    best.1
}

/// The window after which a change could be told from chance: by Page's test, and when it had lasted.
fn noticed(watched: &Watched, step: &Step) -> usize {
    let from = step.at.saturating_sub(BASELINE);
    let before = &watched.series.values[from..step.at];
    let spread =
        before.iter().map(|value| (value - step.from).powi(2)).sum::<f64>() / before.len().max(1) as f64;
    let deviation = spread.max(watched.series.chance).max(1e-12).sqrt();
    let direction = (step.to - step.from).signum();
    let mut sum: f64 = 0.0;
    for (number, value) in watched.series.values.iter().enumerate().skip(step.at) {
        sum = (sum + direction * (value - step.from) / deviation - SLACK).max(0.0);
        if sum > LIMIT && number + 1 >= step.at + LASTING_MIN {
            return number + 1;
        }
    }
    watched.series.values.len()
}

/// Whether the share of transactions that cross stayed where it was forecast.
fn kept(cross: &Watched, given: Option<Forecast>, window: usize, n: usize) -> Option<Kept> {
    let values = &cross.series.values;
    let first = &values[..BASELINE.min(values.len())];
    let mean = first.iter().sum::<f64>() / first.len().max(1) as f64;
    let spread =
        first.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / first.len().saturating_sub(1).max(1) as f64;
    let deviation = spread.max(mean * (1.0 - mean) / window as f64).max(1e-6).sqrt();
    let learned = || {
        let reach = 1.96 * deviation / (first.len() as f64).sqrt();
        Forecast { share: mean, low: (mean - reach).max(0.0), high: (mean + reach).min(1.0) }
    };
    let forecast = given.unwrap_or_else(learned);
    let lasting = ((values.len() as f64 * PASSING_MAX) as usize).max(LASTING_MIN);
    let mut left = None;
    for direction in [1.0, -1.0] {
        let edge = if direction > 0.0 { forecast.high } else { forecast.low };
        let (mut sum, mut begin): (f64, usize) = (0.0, 0);
        for (at, value) in values.iter().enumerate() {
            sum = (sum + direction * (value - edge) / deviation - SLACK).max(0.0);
            if sum == 0.0 {
                begin = at + 1;
            }
            if sum > LIMIT && at + 1 >= begin + LASTING_MIN {
                let stretch = &values[begin..(begin + lasting).min(values.len())];
                let mut sorted = stretch.to_vec();
                sorted.sort_by(f64::total_cmp);
                let off = direction * (sorted[sorted.len() / 2] - edge);
                if off >= SHARE_MIN {
                    let at = (begin * window) as f64 / n as f64;
                    left = Some(left.map_or(at, |other: f64| other.min(at)));
                    break;
                }
                (sum, begin) = (0.0, at + 1);
            }
        }
    }
    let last = &values[values.len().saturating_sub(lasting)..];
    let now = last.iter().sum::<f64>() / last.len().max(1) as f64;
    Some(Kept { forecast, learned: given.is_none(), left, now })
}
