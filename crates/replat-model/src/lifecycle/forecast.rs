//! How fast rows come.
//!
//! A [`Forecast`] is learned from what the catalogue says of past partitions and from replat's own earlier looks. It
//! has a level, a trend, a factor for each day of the week, and a burst: how much busier than expected a bad day is.
//!
//! # What one outlier may do
//!
//! A far-future row, a day with a thousand times the rows, a reset of the statistics, a partition that was never
//! analysed or is still being filled: none of them may move the forecast by more than a bound. Let *others* be the
//! daily rates of all observations but one, of at least three. Whatever that one says,
//!
//! - `rows_per_day` is at least half of the lowest and at most twice the highest of the others;
//! - `rows_per_day_burst` is at most four times the highest of the others;
//! - each factor of [`week`](Forecast::week) stays between 1/16 and 16, and is 1 with fewer than three such days;
//! - `keys_per_day` is at most the highest of the other steps; one highest key that is far beyond its line does not
//!   move [`key_now`](Forecast::key_now).
//!
//! No evidence gives `None`, never zero.

mod days;
mod horizon;
mod keys;
mod length;
mod robust;
pub(crate) mod words;

pub use horizon::{KeyHorizon, horizon, key_horizon, lead};
pub use length::Length;

use super::facts::{Micros, Sample};
use days::Observed;
use words::{count, plain};

/// Microseconds of a day.
const DAY: f64 = 86_400e6;

/// One past partition over time: its bounds as moments, its rows by the statistics, its bytes.
///
/// Several with the same bounds (those of many tenants) are added up. Zero rows mean that nothing is known of it.
pub type PartSpan = (Micros, Micros, u64, u64);

/// What a forecast is learned from. In any order; what is after `now` is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct History<'a> {
    /// Earlier looks at the set.
    pub samples: &'a [Sample],
    /// Its partitions over time.
    pub parts: &'a [PartSpan],
    /// The highest key at a moment, of keys that are numbers.
    pub keys: &'a [(Micros, i128)],
    /// The database's clock.
    pub now: Micros,
}

/// How fast rows come to one set.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// Rows that are expected each day, on average over the week, as of now.
    pub rows_per_day: Option<f64>,
    /// Rows of a day that is as busy as one in a hundred.
    pub rows_per_day_burst: Option<f64>,
    /// Bytes with indexes of one row.
    pub bytes_per_row: Option<f64>,
    /// By how much the highest key rises each day.
    pub keys_per_day: Option<f64>,
    /// By how much it rises on a day that is as busy as one in a hundred.
    pub keys_per_day_burst: Option<f64>,
    /// Where the highest key should be now, by the line of the earlier ones: one key far beyond does not move it.
    pub key_now: Option<i128>,
    /// By which part the daily rows grow each day: 0.004 is +0.4 % a day.
    pub trend_per_day: Option<f64>,
    /// How much busier than the average each day of the week is, from Monday, in UTC. Their mean is 1.
    pub week: [f64; 7],
    /// How many days of rows were looked at, in days.
    pub days_of_evidence: f64,
    /// A sentence for people: `1.2 M rows a day over 41 days, +0.4 % a day, busiest day 1.7 times the mean`.
    pub because: String,
}

/// What a forecast knows that knows nothing.
impl Default for Forecast {
    fn default() -> Forecast {
        Forecast {
            rows_per_day: None,
            rows_per_day_burst: None,
            bytes_per_row: None,
            keys_per_day: None,
            keys_per_day_burst: None,
            key_now: None,
            trend_per_day: None,
            week: [1.0; 7],
            days_of_evidence: 0.0,
            because: "no evidence of how fast rows come: no past partition has rows by the statistics, \
                      and too few earlier looks are recorded"
                .to_owned(),
        }
    }
}

/// Learns how fast rows come. Never fails: what cannot be learned is `None`.
pub fn learn(history: &History<'_>) -> Forecast {
    let mut forecast = Forecast { bytes_per_row: days::bytes_per_row(history), ..Forecast::default() };
    let mut words = Vec::new();
    let observed = days::observe(history);
    if let Some(fit) = Fit::of(&observed, history.now as f64 / DAY) {
        forecast.days_of_evidence = observed.iter().map(|day| day.length).sum();
        forecast.rows_per_day = Some(fit.level);
        forecast.rows_per_day_burst = Some(fit.burst);
        forecast.trend_per_day = fit.trend;
        forecast.week = fit.week;
        words.push(format!(
            "{} rows a day over {}",
            count(fit.level),
            words::days(forecast.days_of_evidence)
        ));
        words.extend(fit.trend.map(|b| format!("{:+.1} % a day", b * 100.0)));
        words.push(format!("busiest day {:.1} times the mean", fit.burst / fit.level));
    }
    if let Some(pace) = keys::pace(history.keys, history.now) {
        forecast.keys_per_day = Some(pace.per_day);
        forecast.keys_per_day_burst = Some(pace.burst);
        forecast.key_now = Some(pace.key_now);
        words.push(format!(
            "{} keys a day over {}, busiest {} times that",
            count(pace.per_day),
            words::days(pace.days),
            plain(pace.burst / pace.per_day)
        ));
    }
    if !words.is_empty() {
        forecast.because = words.join(", ");
    }
    forecast
}

impl Forecast {
    /// How many rows come in `days` days from `from`, which is about now: expected, and with bursts. A later `from`
    /// changes the days of the week, and nothing else.
    ///
    /// The trend is followed as far ahead as it was seen behind, no further. Bursts even out over many days, down to
    /// a quarter of what they are on one.
    pub fn rows(&self, from: Micros, days: f64) -> Option<(f64, f64)> {
        let (level, burst) = (self.rows_per_day?, self.rows_per_day_burst?);
        if !days.is_finite() || days <= 0.0 {
            return Some((0.0, 0.0));
        }
        let expected = level * self.busy_days(from, days);
        let ratio = (burst / level).max(1.0) - 1.0;
        let evened = ratio * (1.0 / days.max(1.0).sqrt()).max(0.25);
        Some((expected, expected * (1.0 + evened)))
    }

    /// By how much the highest key rises in `days` days: expected, and with bursts.
    pub fn keys(&self, days: f64) -> Option<(f64, f64)> {
        let days = if days.is_finite() { days.max(0.0) } else { 0.0 };
        Some((self.keys_per_day? * days, self.keys_per_day_burst? * days))
    }

    /// How many bytes come in `days` days from `from`, with bursts.
    pub fn bytes(&self, from: Micros, days: f64) -> Option<u64> {
        let (_, rows) = self.rows(from, days)?;
        Some((rows * self.bytes_per_row?).ceil() as u64)
    }

    /// How much faster rows came since `last` than was forecast: 1 is as forecast, 3 is three times as fast.
    ///
    /// `inserted` is the counter of [`Sample::inserted`] at `now`. With few rows it is drawn towards 1, so that five
    /// rows in place of one are no surge. The forecast knows days, not hours: a ratio is worth an alarm only above
    /// what a day's busiest hour has, say 4. `None` if there is no forecast, the counter fell, or no time passed.
    pub fn surge(&self, last: &Sample, inserted: u64, now: Micros) -> Option<f64> {
        /// Rows that count as no evidence.
        const NOISE: f64 = 100.0;
        let days = (now as f64 - last.at as f64) / DAY;
        if days <= 0.0 {
            return None;
        }
        let came = inserted.checked_sub(last.inserted)? as f64;
        let (expected, _) = self.rows(last.at, days)?;
        Some((came + NOISE) / (expected + NOISE))
    }

    /// The days from `from` on, each counted by its trend and its place in the week.
    fn busy_days(&self, from: Micros, days: f64) -> f64 {
        let trend = self.trend_per_day.unwrap_or(0.0);
        let begin = from as f64 / DAY;
        // Beyond a year single days no longer matter: whole weeks have the mean of one.
        let (near, far) = (days.min(371.0), (days - 371.0).max(0.0));
        let mut sum = 0.0;
        let mut at = begin;
        let end = begin + near;
        while at < end {
            let until = (at.floor() + 1.0).min(end);
            sum +=
                (until - at) * self.week[days::weekday(at)] * self.grown(trend, (at + until) / 2.0 - begin);
            at = until;
        }
        sum + far * self.grown(trend, near)
    }

    /// How much more comes on a day that lies `ahead` days ahead, by the trend.
    fn grown(&self, trend: f64, ahead: f64) -> f64 {
        (trend * ahead.min(self.days_of_evidence)).exp().clamp(0.25, 4.0)
    }
}

/// Level, trend, week and burst of some observations.
struct Fit {
    level: f64,
    burst: f64,
    trend: Option<f64>,
    week: [f64; 7],
}

impl Fit {
    fn of(observed: &[Observed], now: f64) -> Option<Fit> {
        let centre = robust::median(observed.iter().map(|day| day.middle))?;
        let trend = trend(observed, now - centre);
        let slope = trend.unwrap_or(0.0);
        let flat = |day: &Observed| day.rate.ln() - slope * (day.middle - centre);
        let rough = robust::median(observed.iter().map(flat))?;
        let week = week(observed, |day| (flat(day) - rough).exp());
        let seasonless = |day: &Observed| flat(day) - day.season(&week).ln();
        let steady = robust::median(observed.iter().map(seasonless))?;
        let mut level = (steady + slope * (now - centre)).exp();
        let mut rates: Vec<f64> = observed.iter().map(|day| day.rate).collect();
        rates.sort_by(f64::total_cmp);
        // The bound of the module's text: the second lowest and the second highest, so that one value sets neither.
        let second = (rates.len() >= 3).then(|| (rates[1], rates[rates.len() - 2]));
        if let Some((low, high)) = second {
            level = level.clamp(low / 2.0, high * 2.0);
        }
        let ratio = robust::burst(observed.iter().map(|day| (seasonless(day) - steady).exp()));
        let mut burst = level * ratio;
        if let Some((_, high)) = second {
            burst = burst.min(high * 4.0);
        }
        Some(Fit { level, burst: burst.max(level), trend, week })
    }
}

/// By which part rows grow each day; `None` with fewer than eight observations or 14 days.
///
/// Bounded so that it at most doubles or halves the rows in 14 days, and between the middle of what was seen and now.
fn trend(observed: &[Observed], to_now: f64) -> Option<f64> {
    let middles = observed.iter().map(|day| day.middle);
    let span = middles.clone().fold(f64::MIN, f64::max) - middles.fold(f64::MAX, f64::min);
    if observed.len() < 8 || span < 13.0 {
        return None;
    }
    let points: Vec<(f64, f64)> = observed.iter().map(|day| (day.middle, day.rate.ln())).collect();
    let limit = std::f64::consts::LN_2 / to_now.max(14.0);
    robust::slope(&points).map(|slope| slope.clamp(-limit, limit))
}

/// How busy each day of the week is; 1 where fewer than three such days were seen.
fn week(observed: &[Observed], ratio: impl Fn(&Observed) -> f64) -> [f64; 7] {
    /// So many days' worth of doubt draw each factor towards 1.
    const DOUBT: f64 = 2.0;
    let mut week = [1.0; 7];
    for (weekday, factor) in week.iter_mut().enumerate() {
        let days = observed.iter().filter(|day| day.weekday() == Some(weekday));
        let ratios: Vec<f64> = days.map(|day| ratio(day).clamp(0.25, 4.0)).collect();
        if ratios.len() >= 3 {
            let n = ratios.len() as f64;
            let middle = robust::median(ratios.into_iter()).unwrap_or(1.0);
            *factor = (n * middle + DOUBT) / (n + DOUBT);
        }
    }
    let mean = week.iter().sum::<f64>() / 7.0;
    week.map(|factor| factor / mean)
}
