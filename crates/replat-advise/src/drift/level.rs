//! One statistic over time: where its level changed for good, and where it only wandered off and came back.

/// Two levels are told apart if that explains so much more. Unit: natural logarithms of likelihood. Twelve is chance
/// once in about a million, for there are many statistics and many moments.
const WORTH: f64 = 12.0;

/// A slope is told from one step if it explains so much more. Unit: as above.
const SLOPE_WORTH: f64 = 3.0;

/// No step is misplaced by more windows than this.
const BLUR_MAX: usize = 10;

/// A level lasts for so many windows at least.
pub(super) const LASTING_MIN: usize = 3;

/// What takes no more than this share of the time and is over then was no change.
pub(super) const PASSING_MAX: f64 = 0.11;

/// A season returns at least so often.
const CYCLES_MIN: usize = 2;

/// A season is one if the series is like itself one period later by so much more than in between.
const LIKENESS_MIN: f64 = 0.3;

/// A statistic, window by window.
pub(super) struct Series {
    /// Its values.
    pub values: Vec<f64>,
    /// The variance that chance alone gives a window's value.
    pub chance: f64,
    /// Levels that differ by less are the same to people.
    pub effect_min: f64,
}

/// A change of level.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// The first window of the new level.
    pub at: usize,
    /// The first window at which it has got there; the same for a sudden change.
    pub until: usize,
    /// The level before.
    pub from: f64,
    /// The level after.
    pub to: f64,
    /// How much better two levels explain the values than one does.
    pub worth: f64,
    /// So many windows it may have been earlier or later.
    pub blur: usize,
}

/// What became of a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Course {
    /// Changes for good.
    pub steps: Vec<Step>,
    /// Times when it was elsewhere and came back: from this window until before that one.
    pub passing: Vec<(usize, usize)>,
    /// After how many windows it does the same again, if it does.
    pub period: Option<usize>,
}

/// A stretch of one level.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: usize,
    to: usize,
    level: f64,
}

impl Stretch {
    fn length(&self) -> usize {
        self.to - self.from
    }
}

impl Series {
    /// The same without the first windows.
    pub fn after(&self, windows: usize) -> Series {
        Series { values: self.values[windows..].to_vec(), chance: self.chance, effect_min: self.effect_min }
    }

    /// Finds what became of it.
    pub fn course(&self) -> Course {
        if self.values.len() < 4 * LASTING_MIN {
            return Course::default();
        }
        let period = self.period();
        let (values, variance) = match period {
            None => (self.values.clone(), self.variance(&self.values)),
            Some(period) => {
                let rest = without_season(&self.values, period);
                let variance = self.variance(&rest);
                (rest, variance)
            }
        };
        let sums = Sums::of(&values);
        let mut stretches = stretches(&sums, variance);
        let mut passing = Vec::new();
        self.settle(&sums, variance, &mut stretches, &mut passing);
        if returns(&stretches, self.effect_min) {
            let ends = [stretches[1].from, stretches[stretches.len() - 1].to];
            return Course {
                steps: Vec::new(),
                passing: vec![(ends[0], ends[1])],
                period: Some(stretches[1].length() * 2),
            };
        }
        let steps = self.steps(&sums, variance, &stretches);
        Course { steps, passing, period }
    }

    /// The variance of what is left when levels are taken out: by differences of windows and of groups of them, since what
    /// hangs together over time varies more in groups. A few big differences are changes and do not count.
    fn variance(&self, values: &[f64]) -> f64 {
        let mut most = self.chance;
        for size in [1, 2, 4] {
            let groups: Vec<f64> =
                values.chunks_exact(size).map(|group| group.iter().sum::<f64>() / size as f64).collect();
            let mut squares: Vec<f64> =
                groups.windows(2).map(|pair| (pair[1] - pair[0]).powi(2) / 2.0).collect();
            if squares.len() < 8 {
                continue;
            }
            squares.sort_by(f64::total_cmp);
            let kept = squares.len() - squares.len().div_ceil(10);
            // The smaller nine tenths of squares of normal values have 0.64 times the mean of all.
            let mean = squares[..kept].iter().sum::<f64>() / kept as f64 / 0.64;
            most = most.max(mean * size as f64);
        }
        most.max(1e-12)
    }

    /// Takes out what passed, and joins what is the same level.
    fn settle(&self, sums: &Sums, variance: f64, all: &mut Vec<Stretch>, passing: &mut Vec<(usize, usize)>) {
        let most = (self.values.len() as f64 * PASSING_MAX) as usize;
        let same = |a: &Stretch, b: &Stretch| {
            (a.level - b.level).abs() < self.effect_min
                || sums.worth(a.from..a.to, b.from..b.to) / variance < WORTH
        };
        loop {
            let mut found = None;
            'pairs: for first in 0..all.len() {
                for last in first + 1..all.len() {
                    let between = all[last].from - all[first].to;
                    if between <= most && same(&all[first], &all[last]) {
                        found = Some((first, last));
                        break 'pairs;
                    }
                }
            }
            let Some((first, last)) = found else { return };
            if all[last].from > all[first].to {
                passing.push((all[first].to, all[last].from));
            }
            let lengths = [all[first].length() as f64, all[last].length() as f64];
            let level =
                (all[first].level * lengths[0] + all[last].level * lengths[1]) / (lengths[0] + lengths[1]);
            let joined = Stretch { from: all[first].from, to: all[last].to, level };
            all.splice(first..=last, [joined]);
        }
    }

    fn steps(&self, sums: &Sums, variance: f64, stretches: &[Stretch]) -> Vec<Step> {
        let steps: Vec<Step> = stretches
            .windows(2)
            .map(|pair| Step {
                at: pair[1].from,
                until: pair[1].from,
                from: pair[0].level,
                to: pair[1].level,
                worth: sums.worth(pair[0].from..pair[0].to, pair[1].from..pair[1].to) / variance,
                blur: blur(variance, pair[1].level - pair[0].level),
            })
            .collect();
        // Steps that follow one another in one direction are a slope, if a slope explains them as well.
        let mut all: Vec<Step> = Vec::new();
        let mut begin = 0;
        while begin < steps.len() {
            let up = steps[begin].to > steps[begin].from;
            let mut end = begin + 1;
            while end < steps.len() && (steps[end].to > steps[end].from) == up {
                end += 1;
            }
            let mut taken = begin + 1;
            for last in (begin..end).rev() {
                let (from, to) = (stretches[begin].from, stretches[last + 1].to);
                let stairs: f64 = stretches[begin..=last + 1].iter().map(|s| sums.spread(s.from..s.to)).sum();
                let (start, stop, slope, levels) = sloped(&sums.values, from, to);
                // Fewer steps are a simpler explanation; a slope instead of one step is not.
                let saved = if last > begin { (last - begin) as f64 * WORTH / 2.0 } else { -SLOPE_WORTH };
                if slope / (2.0 * variance) <= stairs / (2.0 * variance) + saved && stop > start + LASTING_MIN
                {
                    let worth = (sums.spread(from..to) - slope) / (2.0 * variance);
                    let blur = blur(variance, levels[1] - levels[0]);
                    all.push(Step { at: start, until: stop, from: levels[0], to: levels[1], worth, blur });
                    taken = last + 1;
                    break;
                }
            }
            if taken == begin + 1 {
                all.push(steps[begin].clone());
            }
            begin = taken;
        }
        all
    }

    /// After how many windows the series does the same again.
    fn period(&self) -> Option<usize> {
        let n = self.values.len();
        let mean = self.values.iter().sum::<f64>() / n as f64;
        let all: Vec<f64> = self.values.iter().map(|value| value - mean).collect();
        let whole: f64 = all.iter().map(|value| value * value).sum::<f64>() / n as f64;
        // What is chance has no season.
        if whole < 1.5 * self.chance.max(1e-12) {
            return None;
        }
        let likeness = |lag: usize| {
            all.iter().zip(&all[lag..]).map(|(a, b)| a * b).sum::<f64>() / (n - lag) as f64 / whole
        };
        let most = n / CYCLES_MIN;
        let likenesses: Vec<f64> = (0..=most).map(likeness).collect();
        let mut least: f64 = 1.0;
        let mut best: Option<(f64, usize)> = None;
        for lag in 1..most {
            least = least.min(likenesses[lag]);
            let is_peak = likenesses[lag] >= likenesses[lag - 1] && likenesses[lag] >= likenesses[lag + 1];
            let is_like = likenesses[lag] > LIKENESS_MIN && likenesses[lag] - least > 2.0 * LIKENESS_MIN;
            if lag >= 4 && is_peak && is_like && best.is_none_or(|(most, _)| likenesses[lag] > most + 0.1) {
                best = Some((likenesses[lag], lag));
            }
        }
        best.map(|(_, lag)| lag)
    }
}

/// By how many windows a step may be misplaced: the smaller it is, the farther.
fn blur(variance: f64, step: f64) -> usize {
    // Where two levels are told apart by less than about six logarithms of likelihood, the step may be anywhere.
    ((12.0 * variance / (step * step).max(1e-12)).ceil() as usize).min(BLUR_MAX)
}

/// Whether levels go back and forth: to where they were, and again to where they had gone.
fn returns(stretches: &[Stretch], effect_min: f64) -> bool {
    if stretches.len() < 4 {
        return false;
    }
    let level = |n: usize| stretches[n].level;
    let (low, high) =
        stretches.iter().fold((f64::MAX, f64::MIN), |(low, high), s| (low.min(s.level), high.max(s.level)));
    let near = (0.35 * (high - low)).max(effect_min);
    let turns =
        (1..stretches.len() - 1).filter(|n| (level(*n) > level(n - 1)) != (level(n + 1) > level(*n))).count();
    let back =
        (2..stretches.len()).filter(|n| (0..n - 1).any(|m| (level(m) - level(*n)).abs() < near)).count();
    turns >= 2 && back >= stretches.len() - 2
}

/// The series without what returns each period.
fn without_season(values: &[f64], period: usize) -> Vec<f64> {
    let n = values.len();
    let trend: Vec<f64> = (0..n)
        .map(|at| {
            // A whole period around, so that its season evens out; at the ends the nearest whole one.
            let from = at.saturating_sub(period / 2).min(n - period);
            values[from..from + period].iter().sum::<f64>() / period as f64
        })
        .collect();
    let mut season: Vec<f64> = (0..period)
        .map(|phase| {
            let mut all: Vec<f64> = (phase..n).step_by(period).map(|at| values[at] - trend[at]).collect();
            all.sort_by(f64::total_cmp);
            let middle = all.len() / 2;
            if all.len() % 2 == 1 { all[middle] } else { f64::midpoint(all[middle - 1], all[middle]) }
        })
        .collect();
    let mean = season.iter().sum::<f64>() / period as f64;
    season.iter_mut().for_each(|value| *value -= mean);
    values.iter().enumerate().map(|(at, value)| value - season[at % period]).collect()
}

/// Sums, so that any stretch's mean and spread are at hand.
struct Sums {
    values: Vec<f64>,
    plain: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn of(values: &[f64]) -> Sums {
        let mut sums = Sums { values: values.to_vec(), plain: vec![0.0], squares: vec![0.0] };
        for value in values {
            sums.plain.push(sums.plain[sums.plain.len() - 1] + value);
            sums.squares.push(sums.squares[sums.squares.len() - 1] + value * value);
        }
        sums
    }

    fn mean(&self, range: std::ops::Range<usize>) -> f64 {
        (self.plain[range.end] - self.plain[range.start]) / range.len().max(1) as f64
    }

    /// The sum of squares around the mean.
    fn spread(&self, range: std::ops::Range<usize>) -> f64 {
        let sum = self.plain[range.end] - self.plain[range.start];
        let squares = self.squares[range.end] - self.squares[range.start];
        (squares - sum * sum / range.len().max(1) as f64).max(0.0)
    }

    /// How much better two levels explain two stretches than one does, by the variance.
    fn worth(&self, a: std::ops::Range<usize>, b: std::ops::Range<usize>) -> f64 {
        let (m, n) = (a.len() as f64, b.len() as f64);
        (self.mean(a) - self.mean(b)).powi(2) * m * n / (m + n) / 2.0
    }
}

/// The stretches that explain a series best, where each more has to be worth it.
fn stretches(sums: &Sums, variance: f64) -> Vec<Stretch> {
    let n = sums.plain.len() - 1;
    let mut least = vec![f64::INFINITY; n + 1];
    let mut before = vec![0; n + 1];
    least[0] = -WORTH;
    for end in LASTING_MIN..=n {
        for begin in 0..=end - LASTING_MIN {
            let cost = least[begin] + WORTH + sums.spread(begin..end) / (2.0 * variance);
            if cost < least[end] {
                least[end] = cost;
                before[end] = begin;
            }
        }
    }
    let mut all = Vec::new();
    let mut end = n;
    while end > 0 {
        let from = before[end];
        all.push(Stretch { from, to: end, level: sums.mean(from..end) });
        end = from;
    }
    all.reverse();
    all
}

/// The slope between two levels that explains a stretch best: where it begins and ends, what it leaves, and the levels.
fn sloped(values: &[f64], from: usize, to: usize) -> (usize, usize, f64, [f64; 2]) {
    let n = to - from;
    let step = (n / 60).max(1);
    let mut best = (from, to, f64::INFINITY, [0.0; 2]);
    for start in (0..n).step_by(step) {
        for stop in (start + step..=n).step_by(step) {
            // Each value is a mixture of both levels: the least squares of two unknowns.
            let share =
                |at: usize| ((at as f64 + 0.5 - start as f64) / (stop - start) as f64).clamp(0.0, 1.0);
            let (mut aa, mut ab, mut bb, mut ay, mut by, mut yy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
            for at in 0..n {
                let (b, y) = (share(at), values[from + at]);
                let a = 1.0 - b;
                aa += a * a;
                ab += a * b;
                bb += b * b;
                ay += a * y;
                by += b * y;
                yy += y * y;
            }
            let whole = aa * bb - ab * ab;
            if whole < 1e-9 {
                continue;
            }
            let (low, high) = ((ay * bb - by * ab) / whole, (by * aa - ay * ab) / whole);
            let left = yy - low * ay - high * by;
            if left < best.2 {
                best = (from + start, from + stop, left, [low, high]);
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Dice;

    /// A share over time, seen in windows of 140.
    fn seen(seed: u64, windows: usize, share: impl Fn(f64) -> f64) -> Series {
        let mut dice = Dice(seed);
        let size = 140;
        let values = (0..windows)
            .map(|window| {
                let p = (share(window as f64 / windows as f64) * 1e6) as u64;
                (0..size).filter(|_| dice.below(1_000_000) < p).count() as f64 / size as f64
            })
            .collect::<Vec<_>>();
        let mean = values.iter().sum::<f64>() / windows as f64;
        Series { values, chance: mean * (1.0 - mean) / size as f64, effect_min: 0.02 }
    }

    #[test]
    fn levels_that_change_for_good_are_found_and_nothing_else_is() {
        type Share = fn(f64) -> f64;
        let wave = |t: f64, cycles: f64| (t * cycles * std::f64::consts::TAU).sin();
        let cases: [(&str, Share, &[f64]); 12] = [
            ("always the same", |_| 0.2, &[]),
            ("rare", |_| 0.01, &[]),
            ("never", |_| 0.0, &[]),
            ("a step", |t| if t < 0.4 { 0.05 } else { 0.5 }, &[0.4]),
            ("a small step", |t| if t < 0.5 { 0.20 } else { 0.28 }, &[0.5]),
            (
                "two steps",
                |t| {
                    if t < 0.3 {
                        0.1
                    } else if t < 0.6 {
                        0.3
                    } else {
                        0.5
                    }
                },
                &[0.3, 0.6],
            ),
            ("there and back", |t| if (0.3..0.6).contains(&t) { 0.4 } else { 0.1 }, &[0.3, 0.6]),
            ("a festival", |t| if (0.5..0.55).contains(&t) { 0.6 } else { 0.1 }, &[]),
            ("two festivals", |t| if (t * 10.0) as u64 % 5 == 2 { 0.5 } else { 0.1 }, &[]),
            ("a slope", |t| 0.1 + 0.4 * ((t - 0.3) / 0.4).clamp(0.0, 1.0), &[0.3]),
            ("days and nights", |t| if ((t * 8.0) as u64).is_multiple_of(2) { 0.1 } else { 0.3 }, &[]),
            ("a step near the end", |t| if t < 0.9 { 0.1 } else { 0.3 }, &[0.9]),
        ];
        for seed in 1..=10 {
            for (case, share, want) in cases {
                let course = seen(seed, 100, share).course();
                let got: Vec<f64> = course.steps.iter().map(|step| step.at as f64 / 100.0).collect();
                let near = got.len() == want.len()
                    && got
                        .iter()
                        .zip(want)
                        .all(|(got, want)| (got - want).abs() <= if case == "a slope" { 0.06 } else { 0.03 });
                assert!(near, "{case}, seed {seed}: {got:?} {course:?}");
            }
            for cycles in [2.0, 3.0, 4.0, 7.0, 10.0] {
                let course = seen(seed, 100, |t| 0.3 + 0.15 * wave(t, cycles)).course();
                assert!(course.steps.is_empty(), "{cycles} waves, seed {seed}: {course:?}");
            }
            let course =
                seen(seed, 100, |t| 0.3 + 0.1 * wave(t, 5.0) + if t < 0.6 { 0.0 } else { 0.3 }).course();
            let got: Vec<usize> = course.steps.iter().map(|step| step.at).collect();
            assert!(got.len() == 1 && got[0].abs_diff(60) <= 6, "waves and a step, seed {seed}: {course:?}");
        }
    }
}
