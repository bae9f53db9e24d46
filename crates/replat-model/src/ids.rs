//! The names and numbers that everything else speaks in.
//!
//! A bare `u64` or `String` stops at the border; inside, the type says what it is and its one constructor is
//! the proof that it is legal.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The generation of one partition's home.
///
/// Unit: completed switches, forward and back, counted from 1. Only the transaction that appends a switch to
/// the work log raises it. The larger epoch always wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Epoch(NonZeroU64);

impl Epoch {
    /// The epoch of a partition that was never switched.
    pub const FIRST: Epoch = Epoch(NonZeroU64::MIN);

    /// The epoch after one more switch.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0.checked_add(1).expect("fewer than 2^64 switches in the life of a partition"))
    }

    /// The number itself, for a column or a message.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The epoch with this number; `None` for zero.
    pub fn from_number(number: u64) -> Option<Epoch> {
        NonZeroU64::new(number).map(Epoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// A position in the write-ahead log of one PostgreSQL server.
///
/// Unit: bytes since that server's log began. Text form: two hexadecimal halves, `16/B374D848`. "No position
/// yet" is `None`, never a zero; positions of two servers do not compare, so name them after their server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// How many bytes `self` lies beyond `earlier`; `None` if it does not.
    pub fn since(self, earlier: Lsn) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text is not a log position such as `16/B374D848`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log position such as 16/B374D848")]
pub struct BadLsn(pub String);

impl FromStr for Lsn {
    type Err = BadLsn;

    fn from_str(text: &str) -> Result<Lsn, BadLsn> {
        let bad = || BadLsn(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(bad)?;
        let half = |part: &str| match part.len() {
            1..=8 if part.bytes().all(|b| b.is_ascii_hexdigit()) => u64::from_str_radix(part, 16).ok(),
            _ => None,
        };
        Ok(Lsn(half(high).ok_or_else(bad)? << 32 | half(low).ok_or_else(bad)?))
    }
}

impl Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Lsn, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a text is not a legal id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// There is nothing.
    #[error("an id must not be empty")]
    Empty,
    /// Something else than `a-z`, `0-9` and `_`.
    #[error("{text:?} has a character at byte {at} that an id must not have; use only a-z, 0-9 and _")]
    Character {
        /// The whole text.
        text: Box<str>,
        /// Byte position of the first illegal character.
        at: usize,
    },
    /// More than fits.
    #[error("{text:?} is longer than {max} bytes")]
    TooLong {
        /// The whole text.
        text: Box<str>,
        /// The most that fits, in bytes.
        max: usize,
    },
}

fn legal_id(text: &str, max: usize) -> Result<Arc<str>, BadId> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    match text.bytes().position(|b| !legal(b)) {
        Some(at) => Err(BadId::Character { text: text.into(), at }),
        None if text.is_empty() => Err(BadId::Empty),
        None if text.len() > max => Err(BadId::TooLong { text: text.into(), max }),
        None => Ok(text.into()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<$name, BadId> {
                legal_id(text, $max).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<$name, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A partition's name for its whole life: it outlives splits, moves and switches.
    ///
    /// Only `a-z`, `0-9` and `_`, at most 48 bytes. The one way in is [`FromStr`], so holding one is the proof.
    PartitionId, 48
}

id! {
    /// A deployment's name: derived from its serial number in the control store, so it is never drawn at random.
    ///
    /// At most 40 bytes, so that `replat_<id>_forward` is always a legal replication-slot name.
    DeploymentId, 40
}

id! {
    /// A cohort's name: derived from its serial number in the control store, like a deployment's.
    ///
    /// At most 40 bytes, for the same reason.
    CohortId, 40
}

/// The two roles in one deployment: blue gives up, green receives. Never the name of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The side that had the partition when the deployment began.
    Blue,
    /// The side that is to have it.
    Green,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Blue => Side::Green,
            Side::Green => Side::Blue,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Side::Blue => "blue",
            Side::Green => "green",
        })
    }
}

/// The database, and the schema in it, that owns a partition's rows at an epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// The name of a database in the spec.
    pub database: String,
    /// The schema that holds the tables there.
    pub schema: String,
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_position_reads_as_it_is_written() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().expect(text).to_string(), text);
        }
        for text in ["", "/", "16", "16/", "16/G", "1/123456789", "+1/2", "1/2/3"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_is_a_legal_slot_name() {
        assert!("acme_2026_03".parse::<PartitionId>().is_ok());
        for text in ["", "Acme", "a-b", "a b", "é", &"a".repeat(49)] {
            assert!(text.parse::<PartitionId>().is_err(), "{text}");
        }
    }
}
