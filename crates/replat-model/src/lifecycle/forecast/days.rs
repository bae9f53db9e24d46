//! Days of rows, from past partitions and from earlier looks.

use std::collections::BTreeMap;

use super::super::facts::{Micros, Sample};
use super::{DAY, History, PartSpan, robust};

/// At most so many observations are used, the newest: eight weeks of days.
const OBSERVED_MAX: usize = 56;

/// Two looks that lie closer together than this, in days, are no day's worth: 20 hours, since cron is not exact.
const STRIDE: f64 = 20.0 / 24.0;

/// With so many days the earlier looks are preferred to the statistics of partitions, which deletions shrink.
const SAMPLES_ENOUGH: f64 = 21.0;

/// Rows that came in some time of about a day or more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// Its middle, in days since 1970.
    pub(super) middle: f64,
    /// How long it is, in days.
    pub(super) length: f64,
    /// Rows for each day of it; more than zero.
    pub(super) rate: f64,
}

impl Observed {
    fn new(from: f64, to: f64, rows: f64) -> Observed {
        Observed { middle: f64::midpoint(from, to), length: to - from, rate: rows / (to - from) }
    }

    /// The day of the week that it is, if it is one day.
    pub(super) fn weekday(&self) -> Option<usize> {
        (self.length <= 1.2).then(|| weekday(self.middle))
    }

    /// The factor of its day of the week; 1 if it is longer than a day.
    pub(super) fn season(&self, week: &[f64; 7]) -> f64 {
        self.weekday().map_or(1.0, |day| week[day])
    }
}

/// The day of the week, 0 for Monday, of a moment in days since 1970, which began on a Thursday.
pub(super) fn weekday(days: f64) -> usize {
    (days.floor() as i64 + 3).rem_euclid(7) as usize
}

/// The newest observations, from the source that has more days.
pub(super) fn observe(history: &History<'_>) -> Vec<Observed> {
    let newest = |mut observed: Vec<Observed>| {
        observed.sort_by(|a, b| a.middle.total_cmp(&b.middle));
        observed.split_off(observed.len().saturating_sub(OBSERVED_MAX))
    };
    let parts = newest(of_parts(history.parts, history.now));
    let samples = newest(of_samples(history.samples, history.now));
    let days = |observed: &[Observed]| observed.iter().map(|day| day.length).sum::<f64>();
    let by_samples = days(&samples);
    if by_samples >= SAMPLES_ENOUGH || by_samples > days(&parts) { samples } else { parts }
}

/// Bytes of one row: the middle of past partitions that have at least a page's worth, else of earlier looks.
pub(super) fn bytes_per_row(history: &History<'_>) -> Option<f64> {
    let closed = history.parts.iter().filter(|part| part.1 <= history.now && part.2 > 0 && part.3 > 0);
    let ratio = |rows: u64, bytes: u64| bytes as f64 / rows as f64;
    let full = robust::median(closed.clone().filter(|part| part.2 >= 1000).map(|part| ratio(part.2, part.3)));
    let looked = history.samples.iter().filter(|sample| sample.rows > 0 && sample.bytes > 0);
    full.or_else(|| robust::median(looked.map(|sample| ratio(sample.rows, sample.bytes))))
        .or_else(|| robust::median(closed.map(|part| ratio(part.2, part.3))))
}

/// One for each past partition of a day or more; shorter ones are put together by days.
///
/// Left out: what is not over yet, and what has no rows, since a partition that was never analysed looks the same. So
/// a table with idle days is taken for a busier one, which errs towards more room.
fn of_parts(parts: &[PartSpan], now: Micros) -> Vec<Observed> {
    let mut spans: BTreeMap<(Micros, Micros), f64> = BTreeMap::new();
    for (from, to, rows, _) in parts.iter().filter(|part| part.0 < part.1 && part.1 <= now && part.2 > 0) {
        *spans.entry((*from, *to)).or_default() += *rows as f64;
    }
    let mut whole = Vec::new();
    let mut short: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for ((from, to), rows) in spans {
        let (from, to) = (from as f64 / DAY, to as f64 / DAY);
        if to - from >= 0.9 {
            whole.push(Observed::new(from, to, rows));
        } else {
            let day = short.entry(from.floor() as i64).or_default();
            *day = (day.0 + to - from, day.1 + rows);
        }
    }
    let over = |day: i64| (day + 1) as f64 <= now as f64 / DAY;
    // Half of a day's hours stand for the day; fewer might all be of the night.
    let days = short.into_iter().filter(|(day, (covered, _))| over(*day) && *covered >= 0.5);
    whole.extend(days.map(|(day, (covered, rows))| Observed {
        middle: day as f64 + 0.5,
        length: 1.0,
        rate: rows / covered,
    }));
    whole
}

/// One for each stride between earlier looks; a counter that fell begins anew.
fn of_samples(samples: &[Sample], now: Micros) -> Vec<Observed> {
    let mut samples: Vec<&Sample> = samples.iter().filter(|sample| sample.at <= now).collect();
    samples.sort_by_key(|sample| sample.at);
    let rises = |stride: f64| {
        let mut found = Vec::new();
        let Some(mut from) = samples.first() else { return found };
        let mut last = from;
        for sample in &samples[1..] {
            // Statistics were reset, or partitions were dropped with what had been counted for them.
            if sample.inserted < last.inserted {
                from = sample;
            }
            last = sample;
            let (begin, end) = (from.at as f64 / DAY, sample.at as f64 / DAY);
            if end - begin >= stride {
                let rows = (sample.inserted - from.inserted) as f64;
                found.extend((rows > 0.0).then(|| Observed::new(begin, end, rows)));
                from = sample;
            }
        }
        found
    };
    let days = rises(STRIDE);
    if days.is_empty() { rises(1.0 / 24.0) } else { days }
}
