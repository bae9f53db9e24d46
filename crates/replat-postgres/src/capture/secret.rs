//! Values as they are kept: hashed with a secret that dies with the capture, or put into a bucket.

use hmac::{Hmac, KeyInit, Mac};
use replat_advise::value::Value;
use sha2::Sha256;

use super::places::{Places, Placing};

/// How much of a hash is kept. Unit: bytes. Two of a million values fall together once in about 37 million captures.
const KEPT: usize = 8;

/// What is hashed is told apart by its first byte, so that the secret's name is no value's hash.
const VALUE: u8 = 1;
const NAME: u8 = 2;

/// The secret of one capture. It is in memory only: nobody can hash a guess once the capture has ended.
pub struct Secret {
    mac: Hmac<Sha256>,
    places: Places,
}

impl Secret {
    /// A secret of 32 random bytes.
    pub fn new(random: [u8; 32]) -> Secret {
        let mac = Hmac::<Sha256>::new_from_slice(&random).expect("HMAC takes keys of any length");
        Secret { mac, places: Places::default() }
    }

    /// The same, with contexts of whose keys it is told in which partition they are.
    #[must_use]
    pub fn placing(self, placings: Vec<Placing>) -> Secret {
        Secret { places: Places::of(placings), ..self }
    }

    /// What was seen of where keys are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What names it without telling it.
    pub fn name(&self) -> String {
        self.hash(NAME, b"replat capture")
    }

    /// A value of a key column as it is kept: equal for values that are equal as text in their canonical form.
    pub fn hashed(&self, text: &str) -> Value {
        Value::Text(self.hash(VALUE, canonical(text).as_bytes()))
    }

    fn hash(&self, kind: u8, text: &[u8]) -> String {
        let mut mac = self.mac.clone();
        mac.update(&[kind]);
        mac.update(text);
        let digest = mac.finalize().into_bytes();
        digest.iter().take(KEPT).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What becomes of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// They are hashed.
    Hashed,
    /// They are hashed, and it is told in which partition of a context they are: of that with this number.
    Placed(usize),
    /// Of a moment, its day: the number of days since 1970.
    Day,
    /// Of a day, its month: the number of days since 1970 of its first day. A day alone may be somebody's birthday.
    Month,
}

impl Kept {
    /// What becomes of a value that is in both of two columns; `None` if they do not agree.
    pub fn both(self, other: Kept) -> Option<Kept> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            (Kept::Placed(placing), Kept::Hashed) | (Kept::Hashed, Kept::Placed(placing)) => {
                Some(Kept::Placed(placing))
            }
            (Kept::Placed(_), Kept::Placed(_)) => Some(Kept::Hashed),
            _ => None,
        }
    }

    /// What becomes of a value that is in one of two columns; `None` if they do not agree.
    pub fn either(self, other: Kept) -> Option<Kept> {
        let is_hashed = |kept| matches!(kept, Kept::Hashed | Kept::Placed(_));
        match (self, other) {
            (one, other) if one == other => Some(one),
            (one, other) if is_hashed(one) && is_hashed(other) => Some(Kept::Hashed),
            _ => None,
        }
    }

    /// A value's text as it is kept; `None` if nothing of it is.
    pub fn keep(self, secret: &Secret, text: &str) -> Option<Value> {
        match self {
            Kept::Hashed => Some(secret.hashed(text)),
            Kept::Placed(placing) => {
                let key = secret.hashed(text);
                secret.places.see(placing, text, &key, &secret.name());
                Some(key)
            }
            Kept::Day => day(text).map(|(year, month, day)| Value::Int(days(year, month, day))),
            Kept::Month => day(text).map(|(year, month, _)| Value::Int(days(year, month, 1))),
        }
    }
}

/// One text for all that are the same value: whole numbers without zeros and signs in front, identifiers in small
/// letters, no spaces behind, which `char(n)` is filled with.
fn canonical(text: &str) -> String {
    let text = text.trim_end_matches(' ');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = digits.trim_start_matches('0');
        return match (digits, text.starts_with('-')) {
            ("", _) => "0".to_owned(),
            (digits, true) => format!("-{digits}"),
            (digits, false) => digits.to_owned(),
        };
    }
    if is_uuid(text) { text.to_ascii_lowercase() } else { text.to_owned() }
}

fn is_uuid(text: &str) -> bool {
    let dash = |at| matches!(at, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| if dash(at) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// Year, month and day that a text in ISO form begins with.
pub(super) fn day(text: &str) -> Option<(i64, i64, i64)> {
    if text.ends_with("BC") {
        return None;
    }
    let mut parts = text.splitn(3, '-');
    let number = |part: &str| part.parse::<i64>().ok().filter(|n| *n > 0);
    let (year, month, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = (number(year)?, number(month)?, number(rest.get(..2)?)?);
    let behind = rest.as_bytes().get(2).is_none_or(|byte| matches!(byte, b' ' | b'T'));
    (year <= 300_000 && month <= 12 && day <= 31 && behind).then_some((year, month, day))
}

/// Days since 1970 by the Gregorian calendar.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the day that not all have is their last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let in_era = year.rem_euclid(400);
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_values_are_equal_texts_and_secrets_differ() {
        let (one, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let same = [
            ("42", "0042"),
            ("42", "+42"),
            ("-7", "-07"),
            ("0", "-0"),
            ("ab", "ab   "),
            ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ];
        for (a, b) in same {
            assert_eq!(one.hashed(a), one.hashed(b), "{a} {b}");
            assert_ne!(one.hashed(a), other.hashed(a), "{a}");
        }
        for (a, b) in [("42", "-42"), ("42", "43"), ("a", "A"), ("1.0", "1"), ("", "0")] {
            assert_ne!(one.hashed(a), one.hashed(b), "{a} {b}");
        }
        assert_ne!(one.name(), other.name());
        assert_ne!(Value::Text(one.name()), one.hashed("replat capture"));
        let Value::Text(hash) = one.hashed("42") else { panic!("a hash is text") };
        assert_eq!(hash.len(), 16);
    }

    #[test]
    fn moments_become_days_and_days_months() {
        let secret = Secret::new([0; 32]);
        let rows = [
            ("1970-01-01 00:00:00+00", Kept::Day, Some(0)),
            ("1970-01-02T12:00:00", Kept::Day, Some(1)),
            ("2000-03-01", Kept::Day, Some(11_017)),
            ("2024-02-29 23:59:59.9", Kept::Day, Some(19_782)),
            ("1969-12-31", Kept::Day, Some(-1)),
            ("1970-02-14", Kept::Month, Some(31)),
            ("infinity", Kept::Day, None),
            ("0044-03-15 BC", Kept::Day, None),
            ("now", Kept::Day, None),
            ("2024-13-01", Kept::Day, None),
            ("2024-01-012", Kept::Day, None),
            ("", Kept::Month, None),
        ];
        for (text, kept, want) in rows {
            assert_eq!(kept.keep(&secret, text), want.map(Value::Int), "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_day_follows_the_last(year in 1_i64..9_999, month in 1_i64..=12) {
            let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            let length = days(next_year, next, 1) - days(year, month, 1);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let want = match month { 2 if leap => 29, 2 => 28, 4 | 6 | 9 | 11 => 30, _ => 31 };
            prop_assert_eq!(length, want);
        }

        #[test]
        fn no_text_makes_it_panic_or_shows_itself(text in "\\PC{4,40}") {
            let secret = Secret::new([3; 32]);
            for kept in [Kept::Hashed, Kept::Day, Kept::Month] {
                let shown = kept.keep(&secret, &text).map(|value| value.text()).unwrap_or_default();
                prop_assert!(!shown.contains(text.trim_end_matches(' ')) || text.trim().is_empty());
            }
        }
    }
}
