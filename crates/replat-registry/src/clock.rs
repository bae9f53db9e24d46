//! The registry's own clock, as it can be known from here.
//!
//! Leases end by the clock of the server, since those who hold them and those who wait for their end have clocks that
//! may differ. A reading tells it as an interval (etcd and Consul tell whole seconds), and is as old as its way here
//! took. Several readings together tell it better: the true difference lies in all the intervals.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::kv::Reading;

/// How much clocks may run apart: parts of a million.
const DRIFT_PPM: i128 = 200;
/// What is known this well need not be known better. Unit: milliseconds.
const GOOD_MS: i128 = 20;
/// A good reading is taken again after this long, another one after that.
const AGAIN_GOOD: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(150);

/// What is known of a server's clock.
#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Option<Known>>);

/// The server's clock less ours, which runs from `anchor`. Unit: milliseconds.
#[derive(Clone, Copy, Debug)]
struct Known {
    anchor: Instant,
    low: i128,
    high: i128,
    as_of: Instant,
}

impl Known {
    /// The same somewhat later, when the clocks may have run apart.
    fn at(self, now: Instant) -> Known {
        let apart = millis(now.saturating_duration_since(self.as_of)) * DRIFT_PPM / 1_000_000;
        Known { low: self.low - apart, high: self.high + apart, as_of: now, ..self }
    }
}

impl Clock {
    /// Takes a reading that was asked for at `sent` and was there at `got`.
    pub(crate) fn learn(&self, sent: Instant, got: Instant, reading: Reading) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let anchor = known.map_or(sent, |known| known.anchor);
        let since = |moment: Instant| millis(moment.saturating_duration_since(anchor));
        let low = i128::from(reading.earliest) - since(got) - 1;
        let high = i128::from(reading.latest) - since(sent) + 1;
        let both = known.map(|known| known.at(got)).map(|old| (old.low.max(low), old.high.min(high)));
        // Intervals that do not meet: somebody has set a clock, or another member of a cluster answers.
        let (low, high) = both.filter(|(low, high)| low <= high).unwrap_or((low, high));
        *known = Some(Known { anchor, low, high, as_of: got });
    }

    /// What the server's clock shows at `now`; `None` if it is to be asked (again).
    pub(crate) fn read(&self, now: Instant) -> Option<Reading> {
        let known = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let good = known.high - known.low <= GOOD_MS;
        let age = now.saturating_duration_since(known.as_of);
        if age > if good { AGAIN_GOOD } else { AGAIN } {
            return None;
        }
        let known = known.at(now);
        let elapsed = millis(now.saturating_duration_since(known.anchor));
        let moment = |difference: i128| u64::try_from(difference + elapsed).unwrap_or(0);
        Some(Reading { earliest: moment(known.low), latest: moment(known.high) })
    }
}

fn millis(time: Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn whole_seconds_come_to_a_good_clock_when_asked_often() {
        let (clock, start) = (Clock::default(), Instant::now());
        // The server's clock shows 5,000,300 at our `start`; each answer takes 4 ms and is cut to the second.
        for n in 0..40 {
            let sent = start + ms(n * 187);
            let server = 5_000_300 + n * 187 + 2;
            let reading = Reading { earliest: server / 1000 * 1000, latest: server / 1000 * 1000 + 1000 };
            clock.learn(sent, sent + ms(4), reading);
            let now = sent + ms(4);
            let shown = clock.read(now).expect("it was read just now");
            let truth = 5_000_300 + n * 187 + 4;
            assert!(shown.earliest <= truth && truth <= shown.latest, "{shown:?} does not hold {truth}");
        }
        let last = start + ms(39 * 187 + 4);
        let shown = clock.read(last).expect("it was read just now");
        assert!(shown.latest - shown.earliest < 60, "{shown:?}");
    }

    #[test]
    fn a_clock_that_was_set_is_learnt_anew() {
        let (clock, start) = (Clock::default(), Instant::now());
        clock.learn(start, start, Reading { earliest: 9_000, latest: 9_001 });
        clock.learn(start + ms(5), start + ms(6), Reading { earliest: 2_000, latest: 2_001 });
        let shown = clock.read(start + ms(6)).expect("it was read just now");
        assert!((1_990..2_010).contains(&shown.earliest), "{shown:?}");
        assert_eq!(clock.read(start + Duration::from_secs(11)), None, "an old reading is asked for again");
    }
}
