//! Values of partition keys and their types.
//!
//! A value is held in the form in which PostgreSQL compares and hashes it, so that order, equality and
//! [`hash`](crate::hash) are the server's. Text comes in from specs, command lines and the replication stream
//! ([`KeyType::parse`]) and goes out in the form that every PostgreSQL reads back as the same value
//! ([`KeyType::text_of`]).

pub(crate) mod time;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use time::Zone;

/// The types that a dimension can have, named as PostgreSQL names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// Two bytes, signed.
    SmallInt,
    /// Four bytes, signed.
    Integer,
    /// Eight bytes, signed.
    BigInt,
    /// Text under a deterministic collation (`text` or `varchar`).
    Text,
    /// A UUID.
    Uuid,
    /// A day.
    Date,
    /// A moment without a zone, to the microsecond.
    Timestamp,
    /// A moment, to the microsecond.
    TimestampTz,
}

/// A key value as somebody wrote it in a spec; what it means depends on the dimension's [`KeyType`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum KeyLiteral {
    /// A whole number.
    Int(i64),
    /// Anything else, in quotes.
    Text(String),
}

/// A value of one dimension, never NULL.
///
/// Order and equality are PostgreSQL's for values of one type; text is ordered by its bytes, as under the
/// collation `C`. In JSON a number is a number, text is text, and the others say their type, so that they can be
/// read without the dimension: `{"date":"2026-01-31"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum KeyValue {
    /// Of `smallint`, `integer` or `bigint`.
    Int(i64),
    /// Of `text` or `varchar`.
    Text(Box<str>),
    /// Of `uuid`.
    Uuid([u8; 16]),
    /// Of `date`; unit: days since 2000-01-01.
    Date(i32),
    /// Of `timestamp` or `timestamptz`; unit: microseconds since 2000-01-01 00:00, for `timestamptz` in UTC.
    Timestamp(i64),
}

/// A text that is not a value of the type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a value of type {}: {why}", key_type.postgres_name())]
pub struct BadKeyValue {
    /// The type that was asked for.
    pub key_type: KeyType,
    /// What was given.
    pub text: Box<str>,
    /// What is wrong with it.
    pub why: &'static str,
}

impl KeyType {
    /// Reads a value in PostgreSQL's text output (ISO date style).
    ///
    /// Somewhat wider than the output: a UUID may be in capitals or without hyphens, a moment may have `T` in
    /// its middle, `Z` at its end or no time of day, and a `timestamptz` without an offset is in UTC.
    ///
    /// # Errors
    ///
    /// [`BadKeyValue`] if the text is not a value of this type, is out of its range, or is infinite.
    pub fn parse(self, text: &str) -> Result<KeyValue, BadKeyValue> {
        let value = match self {
            KeyType::SmallInt => whole(text, i16::MIN.into(), i16::MAX.into()),
            KeyType::Integer => whole(text, i32::MIN.into(), i32::MAX.into()),
            KeyType::BigInt => whole(text, i64::MIN, i64::MAX),
            KeyType::Text if text.contains('\0') => Err("PostgreSQL's text holds no NUL character"),
            KeyType::Text => Ok(KeyValue::Text(text.into())),
            KeyType::Uuid => uuid(text).map(KeyValue::Uuid).ok_or("a UUID has 32 hexadecimal digits"),
            KeyType::Date => time::parse_date(text).map(KeyValue::Date),
            KeyType::Timestamp => time::parse_timestamp(text, Zone::None).map(KeyValue::Timestamp),
            KeyType::TimestampTz => time::parse_timestamp(text, Zone::Offset).map(KeyValue::Timestamp),
        };
        value.map_err(|why| BadKeyValue { key_type: self, text: text.into(), why })
    }

    /// The value that a spec's literal means in this type.
    ///
    /// # Errors
    ///
    /// As [`KeyType::parse`]; also for a bare number where the type is not a number, since `0042` and `42` would
    /// be the same number but are not the same text.
    pub fn literal(self, literal: &KeyLiteral) -> Result<KeyValue, BadKeyValue> {
        match literal {
            KeyLiteral::Text(text) => self.parse(text),
            KeyLiteral::Int(n) if self.is_integer() => self.parse(&n.to_string()),
            KeyLiteral::Int(n) => Err(BadKeyValue {
                key_type: self,
                text: n.to_string().into(),
                why: "it is a bare number; put the value in quotes",
            }),
        }
    }

    /// The text that PostgreSQL, under any setting of `DateStyle` and `TimeZone`, reads as `value`.
    ///
    /// Quoting it for SQL is left to whoever writes the SQL.
    pub fn text_of(self, value: &KeyValue) -> String {
        match value {
            KeyValue::Timestamp(at) if self == KeyType::TimestampTz => {
                time::timestamp_text(*at, Zone::Offset)
            }
            other => other.to_string(),
        }
    }

    /// Whether `value` is one of this type's, its range included.
    pub fn holds(self, value: &KeyValue) -> bool {
        match (self, value) {
            (KeyType::SmallInt, KeyValue::Int(n)) => i16::try_from(*n).is_ok(),
            (KeyType::Integer, KeyValue::Int(n)) => i32::try_from(*n).is_ok(),
            (KeyType::BigInt, KeyValue::Int(_))
            | (KeyType::Text, KeyValue::Text(_))
            | (KeyType::Uuid, KeyValue::Uuid(_))
            | (KeyType::Date, KeyValue::Date(_))
            | (KeyType::Timestamp | KeyType::TimestampTz, KeyValue::Timestamp(_)) => true,
            _ => false,
        }
    }

    /// The type with this name in PostgreSQL, with or without a modifier: `int4`, `character varying(40)`,
    /// `timestamp(3) with time zone`. `None` for every type that cannot be a dimension.
    pub fn from_postgres(name: &str) -> Option<KeyType> {
        match without_modifier(name.trim()).to_ascii_lowercase().as_str() {
            "smallint" | "int2" => Some(KeyType::SmallInt),
            "integer" | "int" | "int4" => Some(KeyType::Integer),
            "bigint" | "int8" => Some(KeyType::BigInt),
            "text" | "varchar" | "character varying" => Some(KeyType::Text),
            "uuid" => Some(KeyType::Uuid),
            "date" => Some(KeyType::Date),
            "timestamp" | "timestamp without time zone" => Some(KeyType::Timestamp),
            "timestamptz" | "timestamp with time zone" => Some(KeyType::TimestampTz),
            _ => None,
        }
    }

    /// The type's name in SQL.
    pub fn postgres_name(self) -> &'static str {
        match self {
            KeyType::SmallInt => "smallint",
            KeyType::Integer => "integer",
            KeyType::BigInt => "bigint",
            KeyType::Text => "text",
            KeyType::Uuid => "uuid",
            KeyType::Date => "date",
            KeyType::Timestamp => "timestamp",
            KeyType::TimestampTz => "timestamptz",
        }
    }

    fn is_integer(self) -> bool {
        matches!(self, KeyType::SmallInt | KeyType::Integer | KeyType::BigInt)
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.postgres_name())
    }
}

impl KeyValue {
    /// The next value of the same type, where the type is discrete and there is one: `42` after `41`.
    pub(crate) fn successor(&self) -> Option<KeyValue> {
        match self {
            KeyValue::Int(n) => n.checked_add(1).map(KeyValue::Int),
            KeyValue::Date(days) => days.checked_add(1).map(KeyValue::Date),
            KeyValue::Timestamp(at) => at.checked_add(1).map(KeyValue::Timestamp),
            KeyValue::Text(_) | KeyValue::Uuid(_) => None,
        }
    }
}

/// The value's bare text; a moment without a zone. [`KeyType::text_of`] gives the text for a server.
impl fmt::Display for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyValue::Int(n) => n.fmt(f),
            KeyValue::Text(text) => f.pad(text),
            KeyValue::Uuid(bytes) => f.pad(&uuid_text(bytes)),
            KeyValue::Date(days) => f.pad(&time::date_text(*days)),
            KeyValue::Timestamp(at) => f.pad(&time::timestamp_text(*at, Zone::None)),
        }
    }
}

fn whole(text: &str, min: i64, max: i64) -> Result<KeyValue, &'static str> {
    let n: i64 = text.parse().map_err(|_| "it is not a whole number of at most eight bytes")?;
    if (min..=max).contains(&n) { Ok(KeyValue::Int(n)) } else { Err("it is out of range") }
}

pub(crate) fn uuid(text: &str) -> Option<[u8; 16]> {
    let hyphens = [8, 13, 18, 23];
    let digits: String = match text.len() {
        32 => text.into(),
        36 if hyphens.iter().all(|&at| text.as_bytes()[at] == b'-') => text.replace('-', ""),
        _ => return None,
    };
    let legal = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    legal.then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(u128::to_be_bytes)
}

pub(crate) fn uuid_text(bytes: &[u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(*bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// `timestamp(3) with time zone` without its `(3)`.
pub(crate) fn without_modifier(name: &str) -> String {
    match (name.find('('), name.find(')')) {
        (Some(open), Some(close)) if open < close => {
            format!("{}{}", name[..open].trim_end(), &name[close + 1..])
        }
        _ => name.to_owned(),
    }
}

/// How a [`KeyValue`] is written in JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Int(i64),
    Text(Box<str>),
    Typed(Typed),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Typed {
    Uuid(String),
    Date(String),
    Timestamp(String),
}

impl From<KeyValue> for Written {
    fn from(value: KeyValue) -> Written {
        let text = value.to_string();
        match value {
            KeyValue::Int(n) => Written::Int(n),
            KeyValue::Text(text) => Written::Text(text),
            KeyValue::Uuid(_) => Written::Typed(Typed::Uuid(text)),
            KeyValue::Date(_) => Written::Typed(Typed::Date(text)),
            KeyValue::Timestamp(_) => Written::Typed(Typed::Timestamp(text)),
        }
    }
}

impl TryFrom<Written> for KeyValue {
    type Error = BadKeyValue;

    fn try_from(written: Written) -> Result<KeyValue, BadKeyValue> {
        match written {
            Written::Int(n) => Ok(KeyValue::Int(n)),
            Written::Text(text) => Ok(KeyValue::Text(text)),
            Written::Typed(Typed::Uuid(text)) => KeyType::Uuid.parse(&text),
            Written::Typed(Typed::Date(text)) => KeyType::Date.parse(&text),
            Written::Typed(Typed::Timestamp(text)) => KeyType::Timestamp.parse(&text),
        }
    }
}
