//! Identifiers that begin with a time: UUIDs of version 7 and ULIDs.
//!
//! Both have 48 bits of milliseconds since 1970 in front of 80 others, and are compared from the front.

use serde::{Deserialize, Serialize};

use super::MILLIS_48;
use crate::key;

/// What a bound among UUIDs has behind its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UuidStyle {
    /// Zeros: the least UUID of its millisecond, of whatever version.
    #[default]
    Bare,
    /// The version, 7, and the variant, `8`: the least UUID of version 7 of its millisecond.
    Marked,
}

/// The version and the variant of the least UUID of version 7, in their places.
const MARKS: u128 = 0x7000_8000_0000_0000_0000;
const RANDOM: u32 = 80;
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl UuidStyle {
    /// The style of a bound; `None` if it is neither.
    pub fn of(text: &str) -> Option<UuidStyle> {
        match behind(u128::from_be_bytes(key::uuid(text)?)) {
            0 => Some(UuidStyle::Bare),
            MARKS => Some(UuidStyle::Marked),
            _ => None,
        }
    }
}

/// The milliseconds, and whether what is behind them is a bound's.
pub(super) fn uuid(text: &str) -> Result<(i128, bool), &'static str> {
    let bits = u128::from_be_bytes(key::uuid(text).ok_or("a UUID has 32 hexadecimal digits")?);
    Ok((millis(bits), matches!(behind(bits), 0 | MARKS)))
}

/// The bound at `millis`, which fit in 48 bits.
pub(super) fn uuid_text(millis: i128, style: UuidStyle) -> String {
    let marks = if style == UuidStyle::Marked { MARKS } else { 0 };
    key::uuid_text(&(bits(millis) | marks).to_be_bytes())
}

/// The milliseconds, and whether zeros are behind them.
pub(super) fn ulid(text: &str) -> Result<(i128, bool), &'static str> {
    if text.len() != 26 {
        return Err("a ULID has 26 characters");
    }
    let value = text.bytes().try_fold(0u128, |value, b| {
        let digit = CROCKFORD
            .iter()
            .position(|&c| c == b)
            .ok_or("a ULID has digits and capitals other than I, L, O, U")?;
        // 26 characters are 130 bits: the first one has room for three.
        if value >> 123 != 0 {
            return Err("its time is beyond what a ULID can hold");
        }
        Ok((value << 5) | digit as u128)
    })?;
    Ok((millis(value), behind(value) == 0))
}

/// The bound at `millis`, which fit in 48 bits.
pub(super) fn ulid_text(millis: i128) -> String {
    let value = bits(millis);
    (0..26).rev().map(|place| char::from(CROCKFORD[(value >> (5 * place)) as usize & 31])).collect()
}

fn millis(bits: u128) -> i128 {
    (bits >> RANDOM) as i128
}

fn behind(bits: u128) -> u128 {
    bits & ((1 << RANDOM) - 1)
}

fn bits(millis: i128) -> u128 {
    debug_assert!((0..MILLIS_48).contains(&millis));
    (millis as u128) << RANDOM
}
