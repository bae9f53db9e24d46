//! How fast keys that are numbers are used up.

use super::super::facts::Micros;
use super::{DAY, robust};

/// How many times as fast as its busiest day a key may rise and still be believed.
const BELIEVED: f64 = 8.0;

/// So many risers in a row make a jump believed: a sequence was set forward. One bad row does not rise.
const RISES: u32 = 3;

/// The line on which the highest key rises.
pub(super) struct Pace {
    /// Keys each day; more than zero.
    pub(super) per_day: f64,
    /// Keys on a day that is as busy as one in a hundred.
    pub(super) burst: f64,
    /// Where the highest key should be now.
    pub(super) key_now: i128,
    /// Over how many days.
    pub(super) days: f64,
}

/// The line through the highest keys at some moments; `None` with fewer than two steps upwards.
///
/// One key far beyond the others leaves one huge step and then none, since the highest key stays where it is: the
/// lower median of the steps upwards sees neither.
pub(super) fn pace(points: &[(Micros, i128)], now: Micros) -> Option<Pace> {
    let mut points: Vec<(f64, i128)> =
        points.iter().filter(|point| point.0 <= now).map(|(at, key)| (*at as f64 / DAY, *key)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    points.dedup_by(|later, earlier| {
        later.0 == earlier.0 && {
            earlier.1 = later.1;
            true
        }
    });
    // Days where there are some, or hours, or minutes.
    let strides = [20.0 / 24.0, 1.0 / 24.0, 5.0 / 1440.0];
    let rates = strides.into_iter().map(|stride| rises(&points, stride)).find(|rates| rates.len() >= 2)?;
    let per_day = robust::lower_median(&rates)?;
    let burst = per_day * robust::burst(rates.iter().map(|rate| rate / per_day));
    let (at, key) = believed(&points, burst)?;
    let ahead = per_day * (now as f64 / DAY - at).max(0.0);
    let days = points.last()?.0 - points.first()?.0;
    Some(Pace { per_day, burst, key_now: key.saturating_add(ahead as i128), days })
}

/// Keys a day over each stride in which they rose.
fn rises(points: &[(f64, i128)], stride: f64) -> Vec<f64> {
    let mut found = Vec::new();
    let Some(mut from) = points.first() else { return found };
    for point in &points[1..] {
        let days = point.0 - from.0;
        if days >= stride {
            let keys = point.1.saturating_sub(from.1);
            found.extend((keys > 0).then(|| keys as f64 / days));
            from = point;
        }
    }
    found
}

/// The newest point that could be where the ones before it lead.
fn believed(points: &[(f64, i128)], burst: f64) -> Option<(f64, i128)> {
    let reach = |days: f64| (burst * BELIEVED * (days + 1.0)) as i128;
    let within = |from: &(f64, i128), to: &(f64, i128)| to.1.saturating_sub(from.1) <= reach(to.0 - from.0);
    let mut last = *points.first()?;
    let mut aside: Option<((f64, i128), u32)> = None;
    for point in &points[1..] {
        if within(&last, point) {
            (last, aside) = (*point, None);
            continue;
        }
        let rises = match &aside {
            Some((before, rises)) if point.1 > before.1 && within(before, point) => rises + 1,
            Some((before, rises)) if point.1 == before.1 => *rises,
            _ => 0,
        };
        aside = Some((*point, rises));
        if rises >= RISES {
            (last, aside) = (*point, None);
        }
    }
    Some(last)
}
