//! How sure a forecast and a decision are.
//!
//! The evidence is cut into cells of transactions that follow one another, and cells are drawn again and again: one by
//! one, and in short and long blocks of neighbours (the moving-block bootstrap of Künsch), so that bursts, and times that
//! differ, stay together. What varies most counts: single cells hide bursts, and of few blocks it is hardly known how much
//! they vary. The interval of a forecast is one for as many transactions again: it says what can be measured after the
//! change, not only what the evidence is worth, so it has the chance of both stretches in it. Shares are bounded as Wilson
//! does, for two samples, and vary no less than those of transactions that have nothing to do with one another.

use serde::{Deserialize, Serialize};

use crate::design::{BadDesign, Design, Placed};
use crate::evidence::Tier;
use crate::measure::{Count, counts, storage_factor};
use crate::schema::Schema;
use crate::search::Dice;
use crate::trace::Trace;

/// The evidence is cut into so many cells, if it has as many transactions.
const CELLS: usize = 240;

/// All cells are drawn in so many blocks. Short blocks know best how much they vary, long ones what lasts.
const BLOCKS: [usize; 3] = [CELLS, 40, 10];

/// The correction for what the design has learned by heart is off by this share of itself.
const SHIFT_UNSURE: f64 = 0.25;

/// Within so many deviations of a normal distribution are 19 of 20.
const NORMAL: f64 = 1.96;

/// How often all of it is drawn.
const DRAWS: usize = 600;

/// An event that was not seen in n transactions has a share of less than this by n (with 95 % confidence).
pub const UNSEEN: f64 = 3.0;

/// A number with the interval where it will be, 19 times out of 20, when as many transactions are measured again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// What is to be expected.
    pub value: f64,
    /// No less than this.
    pub low: f64,
    /// No more than this.
    pub high: f64,
}

impl Interval {
    /// Whether a number lies within.
    pub fn covers(&self, number: f64) -> bool {
        self.low - 1e-9 <= number && number <= self.high + 1e-9
    }

    /// Half of its width.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    fn within(self, low: f64, high: f64) -> Interval {
        Interval {
            value: self.value.clamp(low, high),
            low: self.low.clamp(low, high),
            high: self.high.clamp(low, high),
        }
    }
}

/// What a design is to be expected to cost, with intervals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// How many transactions it is made from.
    pub transactions: u64,
    /// See [`crate::measure::Metrics::cross_partition_share`].
    pub cross_partition_share: Interval,
    /// See [`crate::measure::Metrics::cross_partition_write_share`].
    pub cross_partition_write_share: Interval,
    /// See [`crate::measure::Metrics::partitions_per_txn`].
    pub partitions_per_txn: Interval,
    /// See [`crate::measure::Metrics::single_partition_statement_share`].
    pub single_partition_statement_share: Interval,
    /// See [`crate::measure::Metrics::load_max_over_mean`].
    pub load_max_over_mean: Interval,
    /// See [`crate::measure::Metrics::write_amplification`].
    pub write_amplification: Interval,
    /// See [`crate::measure::Metrics::storage_factor`]. Sizes come from the catalogue, so it has no spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_factor: Option<f64>,
    /// See [`crate::measure::Metrics::cost`].
    #[serde(rename = "J")]
    pub cost: Interval,
    /// A statement that was not seen has a smaller share of all transactions than this.
    pub unseen_share_max: f64,
}

/// What a design costs beyond what it costs on the evidence: on evidence that it was not made from, and if more were known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Optimism {
    /// Of the share that crosses.
    pub cross: f64,
    /// Of the share that crosses in writing.
    pub cross_writing: f64,
    /// Of the partitions that a transaction needs.
    pub participants: f64,
    /// Of the busiest partition's load by the mean.
    pub skew: f64,
    /// The share that seems to cross only because keys are not known, and of which nothing tells whether it does. It is in
    /// none of the others.
    pub open: f64,
}

impl std::ops::Add for Optimism {
    type Output = Optimism;

    fn add(self, other: Optimism) -> Optimism {
        Optimism {
            cross: self.cross + other.cross,
            cross_writing: self.cross_writing + other.cross_writing,
            participants: self.participants + other.participants,
            skew: self.skew + other.skew,
            open: self.open + other.open,
        }
    }
}

/// What one design costs in each cell of the evidence.
pub struct Measured {
    cells: Vec<Count>,
    all: Count,
    partitions: u32,
    storage: Option<f64>,
}

impl Measured {
    /// Measures a design.
    pub fn new(schema: &Schema, trace: &Trace, design: &Design) -> Result<Measured, BadDesign> {
        let cells = counts(schema, trace, design, CELLS)?;
        let mut all = Count::default();
        cells.iter().for_each(|cell| all.add(cell, 1));
        let storage = storage_factor(schema, &Placed::new(design, schema)?);
        Ok(Measured { cells, all, partitions: design.partitions, storage })
    }

    /// How many rows are handled, in all.
    pub fn rows(&self) -> u64 {
        self.all.load.iter().sum()
    }

    /// What is to be expected of it.
    pub fn forecast(&self, optimism: Optimism) -> Forecast {
        let n = self.all.transactions;
        let chance = Chance::new(&self.cells);
        let spread = |number: &dyn Fn(&Count) -> f64, shift: f64| {
            let (value, unsure) = (number(&self.all) + shift, SHIFT_UNSURE * shift.abs());
            // What lies between this evidence and the next has the chance of both.
            let spread = 2.0_f64.sqrt() * chance.reach(number) + unsure;
            Interval { value, low: value - spread, high: value + spread }
        };
        let share = |number: &dyn Fn(&Count) -> f64, shift: f64| {
            let (seen, reach) = (number(&self.all), chance.reach(number));
            let of_one = seen * (1.0 - seen);
            // So many transactions that have nothing to do with one another would tell as much.
            let worth = if of_one * reach > 0.0 { of_one * (NORMAL / reach).powi(2) } else { n as f64 };
            let within = next_share((seen + shift).clamp(0.0, 1.0), worth.min(n as f64).max(1.0));
            // How much evidence helps is itself only known roughly.
            let unsure = SHIFT_UNSURE * shift.abs();
            Interval { low: within.low - unsure, high: within.high + unsure, ..within }.within(0.0, 1.0)
        };
        // What may cross or not is in the evidence as if it did.
        let open = |interval: Interval| Interval { low: (interval.low - optimism.open).max(0.0), ..interval };
        let cross = open(share(&Count::cross, optimism.cross));
        // Each that crosses needs so many partitions besides its own.
        let more = (self.all.fan - n) as f64 / self.all.crossing.max(1) as f64;
        let more = if self.all.crossing == 0 { 1.0 } else { more };
        let rises = |interval: Interval, by: f64| Interval {
            high: interval.high.max(interval.value + by * (cross.high - cross.value)),
            low: interval.low.min(interval.value - by * optimism.open),
            ..interval
        };
        let storage = self.storage.unwrap_or(1.0);
        let price = optimism.cross + 0.05 * (optimism.participants + optimism.skew);
        let cost = spread(&|count| count.cost(self.partitions, storage), price);
        let participants = rises(spread(&Count::participants, optimism.participants), more);
        Forecast {
            transactions: n,
            cross_partition_share: cross,
            cross_partition_write_share: open(share(&Count::cross_writing, optimism.cross_writing)),
            partitions_per_txn: participants.within(1.0, f64::from(self.partitions.max(1))),
            single_partition_statement_share: share(&Count::pruning, 0.0),
            load_max_over_mean: spread(&|count| count.skew(self.partitions), optimism.skew)
                .within(1.0, f64::INFINITY),
            write_amplification: spread(&Count::write_amplification, 0.0).within(0.0, f64::INFINITY),
            storage_factor: self.storage,
            cost: rises(cost, 1.0 + 0.05 * more).within(0.0, f64::INFINITY),
            unseen_share_max: (UNSEEN / n.max(1) as f64).min(1.0),
        }
    }

    /// How much more `other`, measured on the same evidence, costs than this, with the interval of what it would be on
    /// other evidence of this length.
    pub fn dearer(&self, other: &Measured) -> Interval {
        let draws = Draws::new(self.cells.len(), BLOCKS[1]);
        let (own, others) = (draws.counts(&self.cells), draws.counts(&other.cells));
        let cost = |measured: &Measured, count: &Count| {
            count.cost(measured.partitions, measured.storage.unwrap_or(1.0))
        };
        let value = cost(other, &other.all) - cost(self, &self.all);
        let mut differences: Vec<f64> = own
            .iter()
            .zip(&others)
            .map(|(own, theirs)| cost(other, theirs) - cost(self, own) - value)
            .collect();
        let spread = quantile(&mut differences);
        Interval { value, low: value - spread, high: value + spread }
    }
}

/// Where a share of as many transactions again will be, if the evidence is worth `worth` transactions that have nothing to
/// do with one another: every share from which this one differs by no more than 19 of 20 samples of their common share do
/// (the score interval of Wilson, for two samples). What was never seen may be seen three times (Hanley and
/// Lippman-Hand): to that it comes, counts being whole.
fn next_share(seen: f64, worth: f64) -> Interval {
    if seen <= 0.0 || seen >= 1.0 {
        let least = (UNSEEN / worth).min(1.0);
        let (low, high) = if seen <= 0.0 { (0.0, least) } else { (1.0 - least, 1.0) };
        return Interval { value: seen, low, high };
    }
    // With s, the sum of both shares, (s - 2 seen)^2 = quarter s (2 - s).
    let quarter = NORMAL * NORMAL / (2.0 * worth);
    let middle = (2.0 * seen + quarter) / (1.0 + quarter);
    let half = (middle * middle - 4.0 * seen * seen / (1.0 + quarter)).max(0.0).sqrt();
    Interval { value: seen, low: middle - half - seen, high: middle + half - seen }
}

/// How much numbers vary by chance.
struct Chance(Vec<Scale>);

/// Draws of blocks of one length.
struct Scale {
    drawn: Vec<Count>,
    /// Within so many deviations of the drawn are 19 of 20, as far as can be known by so many blocks.
    times: f64,
}

impl Chance {
    fn new(cells: &[Count]) -> Chance {
        let scales = BLOCKS.map(|blocks| {
            let draws = Draws::new(cells.len(), blocks);
            let blocks = (cells.len() as f64 / draws.block as f64).max(2.0);
            // Blocks differ from the mean of all less than from what it stands for.
            let few = 1.0 / (1.0 - 1.0 / blocks).sqrt();
            // Overlapping blocks tell as much as half as many again that do not overlap. Student's quantile, by its series.
            let freedom = 1.5 * blocks;
            let student = NORMAL + 2.4 / freedom + 2.8 / (freedom * freedom);
            Scale { drawn: draws.counts(cells), times: few * student }
        });
        Chance(scales.into())
    }

    /// How far a number lies, 19 times out of 20, from what it stands for.
    fn reach(&self, number: &dyn Fn(&Count) -> f64) -> f64 {
        let of = |scale: &Scale| {
            let numbers: Vec<f64> = scale.drawn.iter().map(number).collect();
            let n = numbers.len().max(1) as f64;
            let mean = numbers.iter().sum::<f64>() / n;
            scale.times * (numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / n).sqrt()
        };
        self.0.iter().map(of).fold(0.0, f64::max)
    }
}

/// What 95 of 100 deviations do not exceed, to either side.
fn quantile(deviations: &mut [f64]) -> f64 {
    deviations.iter_mut().for_each(|deviation| *deviation = deviation.abs());
    deviations.sort_by(f64::total_cmp);
    let place = (deviations.len() * 95).div_ceil(100);
    deviations.get(place.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Which cells are drawn, and how often.
struct Draws {
    times: Vec<Vec<u64>>,
    /// So many neighbours are drawn at once.
    block: usize,
}

impl Draws {
    fn new(cells: usize, blocks: usize) -> Draws {
        let mut dice = Dice(0xb007);
        let block = cells.div_ceil(blocks).max(1);
        let draw = |_| {
            let mut times = vec![0; cells];
            for _ in 0..cells.div_ceil(block) {
                let first = usize::try_from(dice.below(cells as u64)).expect("a place in memory");
                (first..first + block).for_each(|cell| times[cell % cells] += 1);
            }
            times
        };
        Draws { times: (0..if cells == 0 { 0 } else { DRAWS }).map(draw).collect(), block }
    }

    fn counts(&self, cells: &[Count]) -> Vec<Count> {
        let drawn = |times: &Vec<u64>| {
            let mut all = Count::default();
            let cells = cells.iter().zip(times).filter(|(_, times)| **times > 0);
            cells.for_each(|(cell, times)| all.add(cell, *times));
            all
        };
        self.times.iter().map(drawn).collect()
    }
}

/// The places of the transactions of one draw of `all`, in order of their blocks; `seed` tells draws apart.
pub fn resample(all: usize, wanted: usize, seed: u64) -> Vec<usize> {
    let mut dice = Dice(seed);
    let block = (all / 50).clamp(1, 50);
    let mut places = Vec::new();
    while places.len() < wanted && all > 0 {
        let first = usize::try_from(dice.below(all as u64)).expect("a place in memory");
        places.extend((first..first + block).map(|place| place % all));
    }
    places.truncate(wanted);
    places.sort_unstable();
    places
}

/// However clear it looks: with this evidence nobody can be surer.
pub fn cap(tier: Tier) -> f64 {
    match tier {
        Tier::Catalogue => 0.4,
        Tier::Statements => 0.6,
        Tier::Writes => 0.75,
        Tier::Sample => 0.9,
        Tier::Trace => 0.97,
    }
}

/// How sure it is, from 0 to the cap of the evidence: less if other draws of the evidence decide otherwise
/// (`stability` is the share that does not), if the forecast is wide, and if few transactions were seen.
pub fn confidence(tier: Tier, stability: f64, cross: &Interval, transactions: u64) -> f64 {
    let n = transactions as f64;
    let width = 1.0 - (cross.half_width() / 0.25).min(1.0);
    cap(tier) * stability * width * (n / (n + 20.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(crossing: &[u64]) -> Measured {
        let cells: Vec<Count> = crossing
            .iter()
            .map(|crossing| Count {
                transactions: 50,
                crossing: *crossing,
                fan: 50 + crossing,
                load: vec![50, 50],
                ..Count::default()
            })
            .collect();
        let mut all = Count::default();
        cells.iter().for_each(|cell| all.add(cell, 1));
        Measured { cells, all, partitions: 2, storage: None }
    }

    #[test]
    fn what_never_crossed_may_cross_three_times_in_as_many_transactions() {
        let forecast = cells(&[0; 100]).forecast(Optimism::default());
        assert_eq!(forecast.cross_partition_share.value, 0.0);
        assert!((forecast.cross_partition_share.high - 3.0 / 5000.0).abs() < 1e-12);
        assert!((forecast.unseen_share_max - 3.0 / 5000.0).abs() < 1e-12);
    }

    #[test]
    fn bursts_make_it_less_sure_than_the_same_share_spread_evenly() {
        let even: Vec<u64> = (0..100).map(|n| if n % 2 == 0 { 4 } else { 6 }).collect();
        let bursts: Vec<u64> = (0..100).map(|n| if n % 20 < 4 { 25 } else { 0 }).collect();
        let wide = |crossing: &[u64]| {
            cells(crossing).forecast(Optimism::default()).cross_partition_share.half_width()
        };
        assert!(wide(&bursts) > 3.0 * wide(&even), "{} {}", wide(&bursts), wide(&even));
    }

    #[test]
    fn what_is_not_the_same_all_along_makes_it_less_sure() {
        let even: Vec<u64> = (0..240).map(|n| if n % 2 == 0 { 4 } else { 6 }).collect();
        // The same share in all, but nothing crosses at first.
        let warming: Vec<u64> =
            even.iter().enumerate().map(|(n, c)| if n < 60 { 0 } else { c * 4 / 3 }).collect();
        let share = |crossing: &[u64]| cells(crossing).forecast(Optimism::default()).cross_partition_share;
        let (even, warming) = (share(&even), share(&warming));
        // Chance alone makes transactions that have nothing to do with one another differ by so much.
        let chance = 1.96 * (2.0 * 0.1 * 0.9 / 12_000.0_f64).sqrt();
        assert!(even.half_width() >= chance, "{even:?}");
        assert!(warming.half_width() > 2.0 * even.half_width(), "{warming:?} {even:?}");
        assert!(warming.covers(6.0 * 4.0 / 3.0 / 50.0), "{warming:?}");
    }

    #[test]
    fn a_small_share_may_rather_be_more_than_less() {
        for (seen, worth) in [(1.0 / 200.0, 200.0), (0.02, 1000.0), (0.5, 100.0), (0.99, 400.0)] {
            let within = next_share(seen, worth);
            let (below, above) = (seen - within.low, within.high - seen);
            assert!(below > 0.0 && above > 0.0 && within.value == seen, "{within:?}");
            assert_eq!(below < above, seen < 0.5, "{within:?}");
            // The ends are where two samples of their common share just differ by so much.
            for end in [within.low, within.high] {
                let common = (seen + end) / 2.0;
                let deviation = (2.0 * common * (1.0 - common) / worth).sqrt();
                assert!(((end - seen).abs() / deviation - NORMAL).abs() < 1e-6, "{within:?}");
            }
        }
    }

    #[test]
    fn what_may_cross_or_not_is_within() {
        let measured = cells(&[5; 100]);
        let open = Optimism { open: 0.04, ..Optimism::default() };
        let (sure, open) = (measured.forecast(Optimism::default()), measured.forecast(open));
        assert!((sure.cross_partition_share.low - open.cross_partition_share.low - 0.04).abs() < 1e-9);
        assert_eq!(sure.cross_partition_share.high, open.cross_partition_share.high);
        assert!(open.cost.low < sure.cost.low && open.cost.high == sure.cost.high);
    }

    #[test]
    fn a_difference_is_surer_than_its_sides() {
        let one: Vec<u64> = (0..100).map(|n| (n * 7) % 20).collect();
        let other: Vec<u64> = one.iter().map(|crossing| crossing + 2).collect();
        let difference = cells(&one).dearer(&cells(&other));
        assert!(difference.low > 0.0 && difference.half_width() < 0.005, "{difference:?}");
        assert!(cells(&one).forecast(Optimism::default()).cost.half_width() > 0.02);
    }

    #[test]
    fn no_evidence_makes_surer_than_its_tier_allows() {
        let sure = Interval { value: 0.1, low: 0.1, high: 0.1 };
        let tiers = [Tier::Catalogue, Tier::Statements, Tier::Writes, Tier::Sample, Tier::Trace];
        let all: Vec<f64> = tiers.iter().map(|tier| confidence(*tier, 1.0, &sure, 1_000_000)).collect();
        assert!(all.windows(2).all(|two| two[0] < two[1]), "{all:?}");
        assert!(tiers.iter().zip(&all).all(|(tier, sure)| *sure <= cap(*tier)));
        let vague = Interval { value: 0.1, low: 0.0, high: 0.3 };
        assert!(confidence(Tier::Trace, 1.0, &vague, 1_000_000) < all[4]);
        assert!(confidence(Tier::Trace, 0.5, &sure, 1_000_000) < all[4]);
        assert!(confidence(Tier::Trace, 1.0, &sure, 50) < all[4]);
    }
}
