//! How far ahead partitions are wanted.

use super::super::facts::Micros;
use super::words::{count, days};
use super::{DAY, Forecast, robust};

/// How far ahead of the clock rows come, in days, from the highest key at some moments; at least zero.
///
/// Only looks between which the highest key moved count, since one row with a date far ahead stays the highest and
/// does not move. A single look is taken as it is: [`horizon`] bounds what it may do. `None` without a look, or if
/// the highest key never moved.
pub fn lead(moments: &[(Micros, Micros)]) -> Option<f64> {
    let mut moments = moments.to_vec();
    moments.sort_unstable();
    let ahead = |(at, highest): &(Micros, Micros)| ((*highest as f64 - *at as f64) / DAY).max(0.0);
    if let [only] = moments.as_slice() {
        return Some(ahead(only));
    }
    let moved = moments.windows(2).filter(|pair| pair[0].1 < pair[1].1 && pair[0].0 < pair[1].0);
    robust::lower_median(&moved.map(|pair| ahead(&pair[1])).collect::<Vec<_>>())
}

/// For how many days partitions over time are wanted, and why.
///
/// The rate of rows does not matter for a key that is a time: what matters is how far ahead of now rows come. `lead`
/// is that in days ([`lead`]), or `None` if it is unknown or the forecast is switched off. The answer is never less
/// than `asked_days`, and never more than `limit` times that.
pub fn horizon(asked_days: f64, lead: Option<f64>, limit: u32) -> (f64, String) {
    let asked = if asked_days.is_finite() { asked_days.max(0.0) } else { 0.0 };
    let lead = lead.filter(|lead| lead.is_finite() && *lead >= 1.0 / 24.0).unwrap_or(0.0);
    let most = asked * f64::from(limit.max(1));
    let said = format!("{} asked", days(asked));
    if lead == 0.0 {
        (asked, said)
    } else if asked + lead <= most {
        (asked + lead, format!("{said}, and rows come {} ahead of now", days(lead)))
    } else {
        let why =
            format!("{said}; rows come {} ahead of now, bounded to {limit} times what was asked", days(lead));
        (most, why)
    }
}

/// Until which key partitions are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHorizon {
    /// The first key that need not have a partition.
    pub until: i128,
    /// Why: `30 days asked, at up to 1.8 M keys a day from 41.0 M`.
    pub because: String,
}

/// Until which key partitions of keys that are numbers are wanted: for `asked_days` days of busy days, from the
/// highest key in use.
///
/// `highest` is that key. It is believed as far as the line of earlier keys allows: the answer is never more than
/// `limit` times the asked days beyond [`Forecast::key_now`], so that one bad key, however far, makes few partitions.
/// `None` if the forecast knows no pace; then a number of partitions has to do.
pub fn key_horizon(
    asked_days: f64,
    forecast: &Forecast,
    limit: u32,
    highest: Option<i128>,
) -> Option<KeyHorizon> {
    let (_, reach) = forecast.keys(asked_days)?;
    let line = forecast.key_now?;
    let wanted = highest.map_or(line, |highest| highest.max(line)).saturating_add(reach.ceil() as i128);
    let most = line.saturating_add((reach * f64::from(limit.max(1))).ceil() as i128);
    let burst = forecast.keys_per_day_burst?;
    let mut because = format!(
        "{} asked, at up to {} keys a day from {}",
        days(asked_days),
        count(burst),
        count(line as f64)
    );
    if wanted > most {
        because +=
            &format!("; the highest key in use is not believed, bounded to {limit} times what was asked");
    }
    Some(KeyHorizon { until: wanted.min(most), because })
}
