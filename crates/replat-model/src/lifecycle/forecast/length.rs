//! How long a partition should be to have a wanted size.

use super::Forecast;

/// Microseconds of an hour.
const HOUR: i64 = 3_600_000_000;

/// Fewer days of evidence change no interval.
const DAYS_MIN: f64 = 3.0;

/// The length of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many months.
    Months(u32),
    /// So many days of the calendar.
    Days(u32),
    /// So many microseconds.
    Fixed(i64),
    /// So many keys.
    Number(i128),
}

impl Length {
    /// Lengths whose bounds fit those of this one, ascending, itself among them.
    ///
    /// Each divides this one or is a multiple of it; a month, whose days differ, is also cut into days and hours.
    pub fn fitting(self) -> Vec<Length> {
        let fits = |of: i128, n: i128| n > 0 && of > 0 && (of % n == 0 || n % of == 0);
        let hours = [1, 2, 3, 4, 6, 8, 12].map(|n| Length::Fixed(n * HOUR));
        match self {
            Length::Months(m) => {
                let months = [1, 2, 3, 4, 6, 12, 24, m];
                let mut found: Vec<Length> = hours.into_iter().chain([Length::Days(1)]).collect();
                found.extend(sorted(months, |n| fits(m.into(), n.into())).into_iter().map(Length::Months));
                found
            }
            Length::Days(d) => {
                let mut found = hours.to_vec();
                let few = [1, 2, 7, 14, 28, d, d.saturating_mul(2), d.saturating_mul(4)];
                found.extend(sorted(few, |n| fits(d.into(), n.into())).into_iter().map(Length::Days));
                found
            }
            Length::Fixed(f) => {
                let factors = [2, 3, 4, 6, 8, 12, 24, 168];
                let shorter = factors.map(|n| if f % n == 0 { f / n } else { f });
                let longer = factors.map(|n| f.checked_mul(n).unwrap_or(f));
                let all = shorter.into_iter().chain(longer).chain([f]);
                // Below a minute partitions cost more than they are worth.
                sorted(all, |n| n == f || n >= HOUR / 60).into_iter().map(Length::Fixed).collect()
            }
            Length::Number(n) => {
                let factors = [2, 4, 5, 10, 20, 50, 100, 1000];
                let shorter = factors.map(|k| if n % k == 0 { n / k } else { n });
                let longer = factors.map(|k| n.checked_mul(k).unwrap_or(n));
                sorted(shorter.into_iter().chain(longer).chain([n]), |k| k == n || k >= 1000)
                    .into_iter()
                    .map(Length::Number)
                    .collect()
            }
        }
    }

    /// How many days or keys it is; a month is as long as the longest.
    fn measure(self) -> f64 {
        match self {
            Length::Months(m) => f64::from(m) * 31.0,
            Length::Days(d) => f64::from(d),
            Length::Fixed(micros) => micros as f64 / super::DAY,
            Length::Number(n) => n as f64,
        }
    }
}

fn sorted<T: Ord + Copy>(values: impl IntoIterator<Item = T>, keep: impl Fn(T) -> bool) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().filter(|value| keep(*value)).collect();
    values.sort_unstable();
    values.dedup();
    values
}

impl Forecast {
    /// How long new partitions should be so that a busy one has at most `size` bytes: the longest that fits the bounds
    /// of `now`, or the shortest if all are too large.
    ///
    /// The length stays if a busy partition of it has between a third of the size and the size, so that it does not
    /// swing. `None` if it is not known how many bytes come, or by fewer than three days.
    pub fn interval_for(&self, size: u64, now: Length) -> Option<Length> {
        let bytes = |length: Length| self.bytes_of(length);
        if self.days_of_evidence < DAYS_MIN {
            return None;
        }
        let size = size as f64;
        let present = bytes(now)?;
        if present <= size && present * 3.0 >= size {
            return Some(now);
        }
        let lengths = now.fitting();
        let fits = lengths.iter().rev().find(|length| bytes(**length).is_some_and(|bytes| bytes <= size));
        fits.or(lengths.first()).copied()
    }

    /// Bytes of a busy partition of this length.
    fn bytes_of(&self, length: Length) -> Option<f64> {
        let per_row = self.bytes_per_row?;
        match length {
            Length::Number(keys) => {
                let rows_per_key = self.rows_per_day? / self.keys_per_day?;
                Some(keys as f64 * rows_per_key * per_row)
            }
            // Not from today on but on average: where in the week a partition begins does not matter.
            time => {
                let days = time.measure();
                let (level, burst) = (self.rows_per_day?, self.rows_per_day_burst?);
                let evened = (burst - level).max(0.0) * (1.0 / days.max(1.0).sqrt()).max(0.25);
                Some((level + evened) * days * per_row)
            }
        }
    }
}
