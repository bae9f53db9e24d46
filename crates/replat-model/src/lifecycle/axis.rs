//! What a key's values mean, as positions on a line.
//!
//! A range key is a line with an order, and each of its values is a [`Position`] on it. An [`Axis`] is one way to read
//! a type's values: a `bigint` may count things, seconds or the time in a snowflake. Whatever the reading, the order
//! of positions is the order in which the engine compares the values.
//!
//! | reading | types | one step |
//! |---|---|---|
//! | [`Axis::Date`], [`Axis::Timestamp`], [`Axis::TimestampTz`] | the type of that name | a day; a microsecond |
//! | [`Axis::Integer`], [`Axis::Numeric`] | integers; `numeric` | one; the last decimal |
//! | [`Axis::Epoch`] | `integer`, `bigint`, `numeric` | the unit, at least a microsecond |
//! | [`Axis::UuidV7`] | `uuid`, whose first 48 bits are milliseconds since 1970 | a millisecond |
//! | [`Axis::Ulid`] | `text`, 26 characters, the first ten are such milliseconds | a millisecond |
//! | [`Axis::Snowflake`] | `bigint`, milliseconds since some epoch above a number of bits | a millisecond |
//!
//! A value that lies between two steps, such as an identifier with random bits, is read as the step before it
//! ([`Axis::parse`]); where that would not do, as in a bound, [`Axis::bound`] refuses it. [`Axis::text`] writes the
//! *first* value of a step. For identifiers with a time in front, that is the least one of its millisecond: not
//! greater than any made then or later, and greater than any made before.

mod decimal;
mod identifier;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::facts::Micros;
use super::policy::Snowflake;
use crate::key::time::{self, Zone};
use crate::key::without_modifier;

pub use identifier::UuidStyle;

/// Microseconds in a second, a day.
pub(crate) const SECOND: i128 = time::SECOND as i128;
pub(crate) const DAY: i128 = time::DAY as i128;
const MILLI: i128 = 1_000;
/// From PostgreSQL's epoch, 2000, to that of positions, 1970.
const SINCE_1970: i128 = time::EPOCH_DAYS as i128 * DAY;
/// The days that PostgreSQL's `date` can hold, since 2000-01-01: from 4714-11-24 BC to 5874897-12-31.
const DATES: std::ops::RangeInclusive<i128> = -2_451_545..=2_145_031_948;
/// Milliseconds that 48 bits can hold.
const MILLIS_48: i128 = 1 << 48;
/// Of a `numeric` whose type does not bound them, so many digits are counted at most; more do not fit a position.
const DIGITS_MAX: u32 = 36;

/// A point on an axis.
///
/// Unit on axes of time: microseconds since 1970-01-01 00:00 UTC; of a `date` its midnight, of a `timestamp` its wall
/// clock, both read as UTC. On axes of numbers: the number, of a `numeric` times ten to the power of its scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub i128);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a number that is a time counts, since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EpochUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds. Positions do not go below a microsecond.
    Nanos,
}

impl EpochUnit {
    const ALL: [EpochUnit; 4] = [EpochUnit::Seconds, EpochUnit::Millis, EpochUnit::Micros, EpochUnit::Nanos];

    /// How many there are in a second.
    pub fn per_second(self) -> i128 {
        match self {
            EpochUnit::Seconds => 1,
            EpochUnit::Millis => 1_000,
            EpochUnit::Micros => 1_000_000,
            EpochUnit::Nanos => 1_000_000_000,
        }
    }

    fn word(self) -> &'static str {
        match self {
            EpochUnit::Seconds => "seconds",
            EpochUnit::Millis => "milliseconds",
            EpochUnit::Micros => "microseconds",
            EpochUnit::Nanos => "nanoseconds",
        }
    }
}

/// One reading of a key's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// `date`.
    Date,
    /// `timestamp without time zone`: a wall clock of no zone.
    Timestamp,
    /// `timestamp with time zone`.
    TimestampTz,
    /// `smallint`, `integer`, `bigint`: numbers.
    Integer {
        /// 16, 32 or 64.
        bits: u8,
    },
    /// `numeric`: numbers.
    Numeric {
        /// Decimals after the point.
        scale: u32,
        /// Digits altogether; 0 if the type does not bound them.
        digits: u32,
    },
    /// A number that counts since 1970.
    Epoch {
        /// What it counts.
        unit: EpochUnit,
        /// 16, 32 or 64; 0 for `numeric`.
        bits: u8,
    },
    /// `uuid` of version 7, or any other whose first 48 bits are milliseconds since 1970, such as a ULID.
    UuidV7(UuidStyle),
    /// `text` that holds ULIDs, in capitals.
    Ulid,
    /// `bigint` that holds snowflakes.
    Snowflake(Snowflake),
}

/// A type that cannot be read as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys of type {type_name} cannot be {}: {why}", asked.as_deref().map_or("ranges on a grid".into(), |e| format!("read as {e}")))]
pub struct BadAxis {
    /// The type.
    pub type_name: String,
    /// The encoding that was asked for.
    pub asked: Option<String>,
    /// What is wrong, and what would do.
    pub why: String,
}

/// A text that is no position on an axis, or a position that has no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a bound of {axis}: {why}")]
pub struct BadPosition {
    /// The axis, described.
    pub axis: String,
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl Axis {
    /// The reading of `type_name` (as an engine formats it) that `encoding` names; without one, the type's own.
    ///
    /// Encodings: `number`, `epoch-s`, `epoch-ms`, `epoch-us`, `epoch-ns`, `uuidv7`, `ulid`, `snowflake`. A
    /// `snowflake` layout implies that encoding; without a layout it is Twitter's.
    ///
    /// # Errors
    ///
    /// [`BadAxis`] if the type has no such reading, or none without an encoding.
    pub fn of(
        type_name: &str,
        encoding: Option<&str>,
        snowflake: Option<Snowflake>,
    ) -> Result<Axis, BadAxis> {
        let bad = |why: &str| BadAxis {
            type_name: type_name.to_owned(),
            asked: encoding.map(str::to_owned),
            why: why.to_owned(),
        };
        let family = Family::of(type_name)
            .ok_or_else(|| bad("only dates, timestamps, integers, numeric, uuid and text can"))?;
        let encoding =
            encoding.map(|word| word.trim().to_ascii_lowercase()).map(|word| word.replace('_', "-"));
        match (encoding.as_deref(), snowflake) {
            (None | Some("snowflake"), Some(layout)) => family.snowflake(layout),
            (Some("snowflake"), None) => family.snowflake(Snowflake::TWITTER),
            (None, None) => family.own(),
            (Some("number"), _) => family.number(),
            (Some("epoch-s"), _) => family.epoch(EpochUnit::Seconds),
            (Some("epoch-ms"), _) => family.epoch(EpochUnit::Millis),
            (Some("epoch-us"), _) => family.epoch(EpochUnit::Micros),
            (Some("epoch-ns"), _) => family.epoch(EpochUnit::Nanos),
            (Some("uuidv7"), _) => family.uuid(UuidStyle::Bare),
            (Some("ulid"), _) => family.ulid(),
            (Some(_), _) => Err(
                "there is no such encoding; there are number, epoch-s, epoch-ms, epoch-us, epoch-ns, uuidv7, ulid and snowflake",
            ),
        }
        .map_err(bad)
    }

    /// Every reading that a type allows, likeliest first; none if it cannot be cut by a grid.
    pub fn candidates(type_name: &str) -> Vec<Axis> {
        let Some(family) = Family::of(type_name) else { return Vec::new() };
        let own = family.own().or_else(|_| family.ulid());
        let epochs = EpochUnit::ALL.iter().map(|&unit| family.epoch(unit));
        let snowflakes = Snowflake::KNOWN.iter().map(|&layout| family.snowflake(layout));
        std::iter::once(own).chain(epochs).chain(snowflakes).flatten().collect()
    }

    /// Where `text` lies, as an engine prints it (dates in ISO order). A value between two steps is read as the step
    /// before it.
    ///
    /// # Errors
    ///
    /// [`BadPosition`] if it is no value of the type, or an infinite one.
    pub fn parse(&self, text: &str) -> Result<Position, BadPosition> {
        self.read(text).map(|(at, _)| at)
    }

    /// Where the bound `text` lies.
    ///
    /// # Errors
    ///
    /// As [`Axis::parse`]; also if it lies between two steps, so that it would be written differently.
    pub fn bound(&self, text: &str) -> Result<Position, BadPosition> {
        match self.read(text)? {
            (at, true) => Ok(at),
            (_, false) => Err(self.bad(text, "it lies between two steps of this reading")),
        }
    }

    /// The first value of the step `at`, as text that the engine accepts as a bound.
    ///
    /// # Errors
    ///
    /// [`BadPosition`] if the type cannot hold it, or if `at` lies between two steps, as six o'clock among dates.
    pub fn text(&self, at: Position) -> Result<String, BadPosition> {
        if at.0.rem_euclid(self.step()) != 0 {
            return Err(self.bad(&self.loosely(at), "it lies between two values of the type"));
        }
        self.write(at.0).ok_or_else(|| self.bad(&self.loosely(at), "it is beyond what the type can hold"))
    }

    /// Whether positions are moments.
    pub fn is_time(&self) -> bool {
        !matches!(self, Axis::Integer { .. } | Axis::Numeric { .. })
    }

    /// Whether positions are instants, so that a zone says where days begin: times, but not dates and wall clocks.
    pub fn is_instant(&self) -> bool {
        self.is_time() && !matches!(self, Axis::Date | Axis::Timestamp)
    }

    /// The step that holds a moment. `None` on axes of numbers. Of dates and wall clocks: as they are in UTC.
    pub fn at_moment(&self, moment: Micros) -> Option<Position> {
        let moment = i128::from(moment);
        self.is_time().then(|| Position(moment - moment.rem_euclid(self.step())))
    }

    /// The moment of a position. `None` on axes of numbers, and beyond 292,000 years from 1970.
    pub fn moment(&self, at: Position) -> Option<Micros> {
        if self.is_time() { at.0.try_into().ok() } else { None }
    }

    /// The distance of two neighbouring positions that have texts.
    pub fn step(&self) -> i128 {
        match self {
            Axis::Date => DAY,
            Axis::Epoch { unit, .. } => (SECOND / unit.per_second()).max(1),
            Axis::UuidV7(_) | Axis::Ulid | Axis::Snowflake(_) => MILLI,
            Axis::Timestamp | Axis::TimestampTz | Axis::Integer { .. } | Axis::Numeric { .. } => 1,
        }
    }

    /// The least and the greatest position that have a text.
    pub fn range(&self) -> (Position, Position) {
        let (first, last) = match *self {
            Axis::Date => (DATES.start() * DAY + SINCE_1970, DATES.end() * DAY + SINCE_1970),
            Axis::Timestamp | Axis::TimestampTz => {
                let (first, end) = (i128::from(time::MOMENTS.start), i128::from(time::MOMENTS.end));
                (first + SINCE_1970, end - 1 + SINCE_1970)
            }
            Axis::Integer { bits } => whole_range(bits),
            Axis::Numeric { digits, .. } => {
                let end = 10i128.pow(if digits == 0 { DIGITS_MAX } else { digits.min(DIGITS_MAX) });
                (1 - end, end - 1)
            }
            Axis::Epoch { unit, bits } => {
                let (first, last) = whole_range(if bits == 0 { 80 } else { bits });
                // Rounded inwards: a microsecond of which only a part can be held has no text.
                let micros = |count: i128| count * SECOND / unit.per_second();
                (micros(first), micros(last))
            }
            Axis::UuidV7(_) | Axis::Ulid => (0, (MILLIS_48 - 1) * MILLI),
            Axis::Snowflake(layout) => {
                let (first, last) = whole_range(64);
                let micros = |id: i128| ((id >> layout.bits()) + i128::from(layout.epoch_ms)) * MILLI;
                (micros(first), micros(last))
            }
        };
        (Position(first), Position(last))
    }

    /// The reading, for people: `bigint as milliseconds since 1970`.
    pub fn describe(&self) -> String {
        let of = |bits: u8| match bits {
            0 => "numeric",
            16 => "smallint",
            32 => "integer",
            _ => "bigint",
        };
        match self {
            Axis::Date => "date".into(),
            Axis::Timestamp => "timestamp".into(),
            Axis::TimestampTz => "timestamptz".into(),
            Axis::Integer { bits } => of(*bits).into(),
            Axis::Numeric { digits: 0, .. } => "numeric".into(),
            Axis::Numeric { scale, digits } => format!("numeric({digits},{scale})"),
            Axis::Epoch { unit, bits } => format!("{} as {} since 1970", of(*bits), unit.word()),
            Axis::UuidV7(_) => "uuid of version 7".into(),
            Axis::Ulid => "text as ULID".into(),
            Axis::Snowflake(layout) => {
                format!("bigint as snowflake (epoch {} ms, {} bits)", layout.epoch_ms, layout.shift)
            }
        }
    }

    /// The position, and whether nothing was lost.
    fn read(&self, text: &str) -> Result<(Position, bool), BadPosition> {
        let exact = |at: i128| (at, true);
        let read: Result<(i128, bool), &str> = match *self {
            Axis::Date => time::parse_date(text).map(|days| exact(i128::from(days) * DAY + SINCE_1970)),
            Axis::Timestamp => {
                time::parse_timestamp(text, Zone::None).map(|at| exact(i128::from(at) + SINCE_1970))
            }
            Axis::TimestampTz => {
                time::parse_timestamp(text, Zone::Offset).map(|at| exact(i128::from(at) + SINCE_1970))
            }
            Axis::Integer { bits } => whole(text, bits).map(exact),
            Axis::Numeric { scale, .. } => decimal::parse(text, scale),
            Axis::Epoch { unit, bits: 0 } => {
                // Read with nine decimals more, so that fractions of any unit survive down to the microsecond.
                decimal::parse(text, 9).map(|(count, exact)| {
                    let scaled = unit.per_second() * 1_000_000_000 / SECOND;
                    (count.div_euclid(scaled), exact && count.rem_euclid(scaled) == 0)
                })
            }
            Axis::Epoch { unit, bits } => whole(text, bits).map(|count| {
                let micros = count * SECOND;
                (micros.div_euclid(unit.per_second()), micros.rem_euclid(unit.per_second()) == 0)
            }),
            Axis::UuidV7(_) => identifier::uuid(text).map(|(millis, exact)| (millis * MILLI, exact)),
            Axis::Ulid => identifier::ulid(text).map(|(millis, exact)| (millis * MILLI, exact)),
            Axis::Snowflake(layout) => whole(text, 64).map(|id| {
                let millis = (id >> layout.bits()) + i128::from(layout.epoch_ms);
                (millis * MILLI, id.trailing_zeros() >= layout.bits())
            }),
        };
        read.map(|(at, exact)| (Position(at), exact && at.rem_euclid(self.step()) == 0))
            .map_err(|why| self.bad(text, why))
    }

    /// The text of `at`, which is on a step; `None` beyond the type.
    fn write(&self, at: i128) -> Option<String> {
        let (first, last) = self.range();
        if !(first.0..=last.0).contains(&at) {
            return None;
        }
        let since_2000 = || i64::try_from(at - SINCE_1970).ok();
        Some(match *self {
            Axis::Date => time::date_text(i32::try_from((at - SINCE_1970) / DAY).ok()?),
            Axis::Timestamp => time::timestamp_text(since_2000()?, Zone::None),
            Axis::TimestampTz => time::timestamp_text(since_2000()?, Zone::Offset),
            Axis::Integer { .. } => at.to_string(),
            Axis::Numeric { scale, .. } => decimal::text(at, scale),
            Axis::Epoch { unit, .. } => (at * unit.per_second() / SECOND).to_string(),
            Axis::UuidV7(style) => identifier::uuid_text(at / MILLI, style),
            Axis::Ulid => identifier::ulid_text(at / MILLI),
            Axis::Snowflake(layout) => {
                let id = (at / MILLI - i128::from(layout.epoch_ms)) << layout.bits();
                i64::try_from(id).ok()?.to_string()
            }
        })
    }

    /// The position for people, where it may have no text.
    fn loosely(&self, at: Position) -> String {
        match (self.is_time(), i64::try_from(at.0 - SINCE_1970)) {
            (true, Ok(at)) if time::MOMENTS.contains(&at) => time::timestamp_text(at, Zone::Offset),
            _ => at.to_string(),
        }
    }

    fn bad(&self, text: &str, why: &str) -> BadPosition {
        BadPosition { axis: self.describe(), text: text.to_owned(), why: why.to_owned() }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.describe())
    }
}

impl Snowflake {
    /// Twitter's, the first.
    pub const TWITTER: Snowflake = Snowflake { epoch_ms: 1_288_834_974_657, shift: 22 };
    /// Discord's.
    pub const DISCORD: Snowflake = Snowflake { epoch_ms: 1_420_070_400_000, shift: 22 };
    /// Instagram's, with 23 bits below the time.
    pub const INSTAGRAM: Snowflake = Snowflake { epoch_ms: 1_314_220_021_721, shift: 23 };
    /// Mastodon's: since 1970, with 16 bits below the time.
    pub const MASTODON: Snowflake = Snowflake { epoch_ms: 0, shift: 16 };

    /// The layouts that bounds are tried with when the policy does not name one.
    const KNOWN: [Snowflake; 4] =
        [Snowflake::TWITTER, Snowflake::DISCORD, Snowflake::INSTAGRAM, Snowflake::MASTODON];

    /// Bits below the time, as many as make sense.
    fn bits(self) -> u32 {
        self.shift.min(62)
    }
}

/// The types, by what readings they have.
#[derive(Clone, Copy)]
enum Family {
    Date,
    Timestamp,
    TimestampTz,
    Integer { bits: u8 },
    Numeric { scale: u32, digits: u32 },
    Uuid,
    Text,
}

impl Family {
    fn of(type_name: &str) -> Option<Family> {
        let bare = without_modifier(type_name.trim()).to_ascii_lowercase();
        Some(match bare.as_str() {
            "date" => Family::Date,
            "timestamp" | "timestamp without time zone" => Family::Timestamp,
            "timestamptz" | "timestamp with time zone" => Family::TimestampTz,
            "smallint" | "int2" => Family::Integer { bits: 16 },
            "integer" | "int" | "int4" => Family::Integer { bits: 32 },
            "bigint" | "int8" => Family::Integer { bits: 64 },
            "numeric" | "decimal" => {
                let (digits, scale) = decimal::modifier(type_name)?;
                Family::Numeric { scale, digits }
            }
            "uuid" => Family::Uuid,
            "text" | "varchar" | "character varying" | "character" | "char" | "bpchar" => Family::Text,
            _ => return None,
        })
    }

    fn own(self) -> Result<Axis, &'static str> {
        match self {
            Family::Date => Ok(Axis::Date),
            Family::Timestamp => Ok(Axis::Timestamp),
            Family::TimestampTz => Ok(Axis::TimestampTz),
            Family::Integer { .. } | Family::Numeric { .. } => self.number(),
            Family::Uuid => self.uuid(UuidStyle::Bare),
            Family::Text => Err("text has no distances; if it holds ULIDs, say encoding = \"ulid\""),
        }
    }

    fn number(self) -> Result<Axis, &'static str> {
        match self {
            Family::Integer { bits } => Ok(Axis::Integer { bits }),
            Family::Numeric { scale, digits } => Ok(Axis::Numeric { scale, digits }),
            _ => Err("only integers and numeric are numbers"),
        }
    }

    fn epoch(self, unit: EpochUnit) -> Result<Axis, &'static str> {
        match self {
            Family::Integer { bits: 16 } => Err("a smallint holds no moment of our time"),
            Family::Integer { bits: 32 } if unit != EpochUnit::Seconds => {
                Err("an integer holds no moment of our time in this unit")
            }
            Family::Integer { bits } => Ok(Axis::Epoch { unit, bits }),
            Family::Numeric { .. } => Ok(Axis::Epoch { unit, bits: 0 }),
            _ => Err("only integer, bigint and numeric count since 1970"),
        }
    }

    fn uuid(self, style: UuidStyle) -> Result<Axis, &'static str> {
        match self {
            Family::Uuid => Ok(Axis::UuidV7(style)),
            _ => Err("only uuid holds UUIDs with an order in time"),
        }
    }

    fn ulid(self) -> Result<Axis, &'static str> {
        match self {
            Family::Text => Ok(Axis::Ulid),
            // The same 48 bits in front; a ULID has no version to respect.
            Family::Uuid => Ok(Axis::UuidV7(UuidStyle::Bare)),
            _ => Err("only text and uuid hold ULIDs"),
        }
    }

    fn snowflake(self, layout: Snowflake) -> Result<Axis, &'static str> {
        match self {
            Family::Integer { bits: 64 } if (1..=40).contains(&layout.shift) => Ok(Axis::Snowflake(layout)),
            Family::Integer { bits: 64 } => Err("a snowflake has 1 to 40 bits below its time"),
            _ => Err("only bigint holds snowflakes"),
        }
    }
}

fn whole_range(bits: u8) -> (i128, i128) {
    let end = 1i128 << (bits - 1);
    (-end, end - 1)
}

fn whole(text: &str, bits: u8) -> Result<i128, &'static str> {
    let n: i128 = text.parse().map_err(|_| "it is not a whole number")?;
    let (first, last) = whole_range(bits);
    if (first..=last).contains(&n) { Ok(n) } else { Err("it is beyond what the type can hold") }
}
