//! Times and sizes as people write them: a whole number and a unit.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The schema's extension key that names which text a string must be; the parser reads it, editors ignore it.
pub(super) const TEXT_KIND: &str = "x-replat-text";

/// Largest first, so that text is written with the largest unit that divides it.
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

/// A hundred years: beyond any sensible setting, and far from where sums of milliseconds overflow.
const TIME_MAX_MILLIS: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// A span of time, written as a whole number and a unit: `300ms`, `90s`, `15m`, `2h`, `7d`.
///
/// Unit inside: milliseconds; at most a hundred years. A day is 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurationText(Duration);

impl DurationText {
    /// The span as the standard library has it.
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// The span in milliseconds.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).expect("a duration is at most a hundred years")
    }

    /// So many days; no more than the longest span there is.
    pub fn days(days: u32) -> DurationText {
        DurationText::from_millis((u64::from(days) * 86_400_000).min(TIME_MAX_MILLIS))
    }

    pub(super) const fn from_millis(millis: u64) -> DurationText {
        assert!(millis <= TIME_MAX_MILLIS);
        DurationText(Duration::from_millis(millis))
    }
}

/// Why a text is not a duration or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuantity {
    /// It does not begin with a digit.
    #[error("it must be a whole number and a unit, such as {example}")]
    NoNumber {
        /// A text that would do.
        example: &'static str,
    },
    /// A fraction, such as `1.5s`.
    #[error("fractions are not read; use a smaller unit, such as {example}")]
    Fraction {
        /// A text that would do.
        example: &'static str,
    },
    /// A number without a unit or with one that is not known.
    #[error("its unit is missing or unknown; use one of {units}")]
    Unit {
        /// The units that are known.
        units: &'static str,
    },
    /// More than can be held.
    #[error("it is too large; the most is {max}")]
    TooLarge {
        /// The largest legal value.
        max: &'static str,
    },
}

/// How one kind of quantity is written.
struct Notation {
    units: &'static [(&'static str, u64)],
    names: &'static str,
    example: &'static str,
    max: u64,
    max_text: &'static str,
}

const TIME: Notation = Notation {
    units: &TIME_UNITS,
    names: "ms, s, m, h, d",
    example: "300ms or 7d",
    max: TIME_MAX_MILLIS,
    max_text: "36500d",
};

const SIZE: Notation = Notation {
    units: &SIZE_UNITS,
    names: "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB",
    example: "1MiB or 10GB",
    // The largest whole number that a spec can hold, so that a size is never larger than a count of bytes.
    max: i64::MAX as u64,
    max_text: "9223372036854775807B",
};

impl Notation {
    fn read(&self, text: &str) -> Result<u64, BadQuantity> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(BadQuantity::NoNumber { example: self.example });
        }
        if unit.starts_with(['.', ',']) {
            return Err(BadQuantity::Fraction { example: self.example });
        }
        let unit = unit.trim_start_matches(' ');
        let factor = self.units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let factor = factor.ok_or(BadQuantity::Unit { units: self.names })?;
        let whole = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
        whole.filter(|n| *n <= self.max).ok_or(BadQuantity::TooLarge { max: self.max_text })
    }

    /// With the unit that makes the shortest number and loses nothing.
    fn write(&self, value: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.units.iter().filter(|(_, factor)| value.is_multiple_of(*factor));
        let (unit, factor) =
            exact.max_by_key(|(_, factor)| *factor).expect("every quantity has a unit of one");
        f.pad(&format!("{}{unit}", value / factor))
    }
}

impl FromStr for DurationText {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<DurationText, BadQuantity> {
        TIME.read(text).map(DurationText::from_millis)
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.millis() {
            0 => f.pad("0s"),
            millis => TIME.write(millis, f),
        }
    }
}

/// A number of bytes, written as a whole number and a unit: `500kB`, `1MiB`, `10GB`.
///
/// `kB`, `MB`, `GB` and `TB` are powers of 1000; `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024. Note that
/// PostgreSQL's own settings write `kB` for 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bytes(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }
}

impl FromStr for ByteSize {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<ByteSize, BadQuantity> {
        SIZE.read(text).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.pad("0B"),
            bytes => SIZE.write(bytes, f),
        }
    }
}

/// Both quantities travel as their text, and are described to editors by a pattern.
macro_rules! travels_as_text {
    ($name:ident, $kind:literal, $pattern:literal, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                let text = Cow::<str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $description,
                    "pattern": $pattern,
                    TEXT_KIND: $kind,
                })
            }
        }
    };
}

travels_as_text!(
    DurationText,
    "duration",
    "^[0-9]+ *(ms|s|m|h|d)$",
    "A span of time: a whole number and a unit, such as 300ms, 90s, 15m, 2h or 7d."
);
travels_as_text!(
    ByteSize,
    "size",
    "^[0-9]+ *(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
    "A number of bytes: a whole number and a unit, such as 500kB, 1MiB or 10GB."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_as_they_are_written() {
        for (text, millis, shortest) in [
            ("300ms", 300, "300ms"),
            ("90s", 90_000, "90s"),
            ("120s", 120_000, "2m"),
            ("15m", 900_000, "15m"),
            ("2h", 7_200_000, "2h"),
            ("24h", 86_400_000, "1d"),
            ("7d", 604_800_000, "7d"),
            ("2 s", 2000, "2s"),
            ("0ms", 0, "0s"),
            ("36500d", 3_153_600_000_000, "36500d"),
        ] {
            let duration: DurationText = text.parse().expect(text);
            assert_eq!((duration.millis(), duration.to_string().as_str()), (millis, shortest));
            assert_eq!(duration.as_duration().as_millis(), u128::from(millis));
        }
        for (text, bytes, shortest) in [
            ("500kB", 500_000, "500kB"),
            ("1MiB", 1 << 20, "1MiB"),
            ("10GB", 10_000_000_000, "10GB"),
            ("2TiB", 2 << 40, "2TiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("0B", 0, "0B"),
        ] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, shortest));
        }
        for text in [
            "",
            "s",
            "7",
            "-1s",
            "1.5s",
            "1,5s",
            "7 days",
            "7D",
            "36501d",
            "99999999999999999999s",
            "1s2",
            "１s",
        ] {
            assert!(text.parse::<DurationText>().is_err(), "{text:?}");
        }
        for text in ["", "MiB", "7", "-1B", "1.5GB", "1K", "1mb", "9223372036854775808B", "8388608TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?}");
        }
    }
}
