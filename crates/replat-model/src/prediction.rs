//! What a deployment will take, as far as a short look tells: how long the copy and the comparison last, and the pause.
//!
//! [`predict`] is pure: [`Measured`] comes in with the look. What was not measured, or too little to say anything, is
//! absent, and so is what would follow from it. Each figure is a range, since a look of a fraction of a second cannot
//! know how full the caches are, what else runs, or how fast green writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draft::SliceSize;

/// What was measured when the plan was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// A question to blue and its answer.
    pub blue: Option<RoundTrip>,
    /// The same to green.
    pub green: Option<RoundTrip>,
    /// Some rows of the partition, read.
    pub read: Option<Sample>,
    /// What blue writes to its log, for everybody. Unit: bytes a second.
    pub log_rate: Option<u64>,
}

/// How long a server takes to answer a question about nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoundTrip {
    /// The quickest of some. Unit: microseconds.
    pub least_us: u64,
    /// The slowest of them. Unit: microseconds.
    pub most_us: u64,
}

/// Rows that were read to see how fast they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The table on blue: the largest of those that move.
    pub table: String,
    /// How much of it belongs to the partition, estimated.
    pub of: SliceSize,
    /// Rows that were read.
    pub rows: u64,
    /// How long it took. Unit: microseconds.
    pub took_us: u64,
}

impl Sample {
    /// Fewer rows than these say how long a question takes, and not how fast rows come.
    pub const ROWS_MIN: u64 = 1_000;

    /// Bytes on disk that are read in a second; `None` if the sample was too small to tell.
    pub fn bytes_per_second(&self) -> Option<u64> {
        if self.rows < Sample::ROWS_MIN || self.of.rows == 0 {
            return None;
        }
        let bytes = u128::from(self.of.bytes) * u128::from(self.rows) / u128::from(self.of.rows);
        let rate = bytes * 1_000_000 / u128::from(self.took_us.max(1));
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }
}

/// A time that is expected to lie between two. Unit: milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// If all goes well.
    pub low: u64,
    /// If much is in the way.
    pub high: u64,
}

/// What a deployment will take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// What it follows from.
    pub measured: Measured,
    /// From the plan of the copy to its end; `None` if it cannot be told.
    pub copy_ms: Option<Span>,
    /// From the indexes to the first comparison that finds both sides equal.
    pub verify_ms: Option<Span>,
    /// From the fence until the new home is open.
    pub pause_ms: Option<Span>,
    /// What blue's log grows by during the copy, and keeps for the slot at least, at the longer of both times. Unit: bytes.
    pub log_kept: Option<u64>,
}

/// What has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Bytes on disk of all tables that are copied.
    pub bytes: u64,
    /// How many lanes the copy has.
    pub lanes: u32,
    /// How many sequences are continued.
    pub sequences: usize,
    /// The longest that a pause may be. Unit: milliseconds.
    pub pause_max_ms: u64,
}

/// Questions that a switch asks blue between the fence and the opening, one after the other.
const PAUSE_TRIPS_BLUE: u64 = 8;

/// The same for green, with the batch that is applied.
const PAUSE_TRIPS_GREEN: u64 = 16;

/// Commits in a pause that wait for a disk: the fence, what is applied, the opening, and replat's own.
const PAUSE_COMMITS: u64 = 6;

/// What such a commit takes on a good disk and on a slow or busy one. Unit: microseconds.
const COMMIT_US: [u64; 2] = [500, 25_000];

/// By how much longer than reading a copy takes at worst: green writes, builds keys, and writes its log.
const COPY_WORST: u64 = 6;

/// By how much a comparison exceeds one reading at worst: values are hashed, ranges that differ are read again, and what
/// was changed meanwhile is caught up with before.
const VERIFY_WORST: u64 = 6;

/// What neither rows nor bytes explain. Unit: milliseconds.
const OVERHEAD_MS: [u64; 2] = [50, 2_000];

/// What follows from a look.
pub fn predict(measured: Measured, load: Load) -> Prediction {
    let rate = measured.read.as_ref().and_then(Sample::bytes_per_second);
    // One reading of everything by one reader.
    let reading =
        rate.map(|rate| u64::try_from(u128::from(load.bytes) * 1_000 / u128::from(rate)).unwrap_or(u64::MAX));
    let over = |low: u64, high: u64| Span {
        low: low.saturating_add(OVERHEAD_MS[0]),
        high: high.saturating_add(OVERHEAD_MS[1]),
    };
    let copy_ms = reading.map(|ms| over(ms / u64::from(load.lanes.max(1)), ms.saturating_mul(COPY_WORST)));
    let verify_ms = reading.map(|ms| over(ms / 2, ms.saturating_mul(VERIFY_WORST)));
    let pause_ms = measured.blue.zip(measured.green).map(|(blue, green)| pause(blue, green, load));
    let log_kept = measured.log_rate.zip(copy_ms).map(|(rate, copy)| {
        u64::try_from(u128::from(rate) * u128::from(copy.high) / 1_000).unwrap_or(u64::MAX)
    });
    Prediction { measured, copy_ms, verify_ms, pause_ms, log_kept }
}

fn pause(blue: RoundTrip, green: RoundTrip, load: Load) -> Span {
    let sequences = u64::try_from(load.sequences).unwrap_or(u64::MAX);
    let trips = |blue: u64, green: u64, commit: u64| {
        let blue = blue.saturating_mul(PAUSE_TRIPS_BLUE.saturating_add(sequences));
        // Each sequence is read, and may be lifted.
        let green = green.saturating_mul(PAUSE_TRIPS_GREEN.saturating_add(sequences.saturating_mul(2)));
        blue.saturating_add(green).saturating_add(commit * PAUSE_COMMITS) / 1_000
    };
    let low = trips(blue.least_us, green.least_us, COMMIT_US[0]);
    // A switch that takes longer is given up.
    let high = trips(blue.most_us.max(1_000), green.most_us.max(1_000), COMMIT_US[1]).min(load.pause_max_ms);
    Span { low: low.max(1).min(high), high }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load { bytes: 1 << 30, lanes: 4, sequences: 2, pause_max_ms: 2_000 };

    fn measured() -> Measured {
        let trip = |least_us| Some(RoundTrip { least_us, most_us: least_us * 3 });
        let of = SliceSize { rows: 1_000_000, bytes: 100_000_000 };
        Measured {
            blue: trip(200),
            green: trip(10_000),
            read: Some(Sample { table: "events".into(), of, rows: 20_000, took_us: 100_000 }),
            log_rate: Some(1_000_000),
        }
    }

    #[test]
    fn times_follow_from_how_fast_rows_come_and_how_far_servers_are() {
        let of = predict(measured(), LOAD);
        assert_eq!(of.measured.read.as_ref().and_then(Sample::bytes_per_second), Some(20_000_000));
        assert_eq!(of.copy_ms, Some(Span { low: 13_421 + 50, high: 53_687 * 6 + 2_000 }));
        assert_eq!(of.verify_ms, Some(Span { low: 26_843 + 50, high: 53_687 * 6 + 2_000 }));
        assert_eq!(of.pause_ms, Some(Span { low: 205, high: 760 }));
        assert_eq!(of.log_kept, Some(324_122_000));
    }

    #[test]
    fn what_was_not_measured_is_not_predicted() {
        type Change = fn(&mut Measured);
        // What is missing; whether the copy, the pause and the log are predicted all the same.
        let cases: &[(&str, Change, [bool; 3])] = &[
            ("nothing", |_| {}, [true, true, true]),
            ("few rows", |m| m.read.as_mut().expect("one").rows = 999, [false, true, false]),
            ("no rows", |m| m.read = None, [false, true, false]),
            (
                "rows that the statistics do not know",
                |m| m.read.as_mut().expect("one").of.rows = 0,
                [false, true, false],
            ),
            ("green", |m| m.green = None, [true, false, true]),
            ("blue", |m| m.blue = None, [true, false, true]),
            ("the log", |m| m.log_rate = None, [true, true, false]),
            ("all", |m| *m = Measured::default(), [false; 3]),
        ];
        for (case, change, want) in cases {
            let mut seen = measured();
            change(&mut seen);
            let of = predict(seen, LOAD);
            assert_eq!([of.copy_ms.is_some(), of.pause_ms.is_some(), of.log_kept.is_some()], *want, "{case}");
            assert_eq!(of.copy_ms.is_some(), of.verify_ms.is_some(), "{case}");
        }
    }

    #[test]
    fn figures_beyond_all_measure_are_no_panic() {
        let mut seen = measured();
        seen.blue = Some(RoundTrip { least_us: u64::MAX, most_us: u64::MAX });
        let of = predict(seen, Load { bytes: u64::MAX, lanes: 0, sequences: usize::MAX, pause_max_ms: 7 });
        assert_eq!(of.pause_ms, Some(Span { low: 7, high: 7 }));
        assert!(of.copy_ms.is_some_and(|copy| copy.low <= copy.high));
    }
}
