//! Parameters as a client sends them with Bind, and their values as keys.

use replat_model::key::{KeyType, KeyValue};

/// One parameter of a Bind message.
#[derive(Clone, Copy, Debug)]
pub struct Param<'a> {
    /// Its bytes; `None` is NULL.
    pub bytes: Option<&'a [u8]>,
    /// How the bytes are to be read.
    pub format: Format,
    /// The oid of its type: from the Parse message, or better from the server's ParameterDescription. 0 if neither
    /// is known; then a binary value is read only where its type follows from the statement.
    pub oid: u32,
}

/// How a parameter is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As text, in the type's input syntax.
    Text,
    /// As the type's binary form.
    Binary,
}

const UNSPECIFIED: [u32; 2] = [0, 705];

impl<'a> Param<'a> {
    /// A parameter in text format whose type is left to the server.
    pub fn text(text: &'a str) -> Param<'a> {
        Param { bytes: Some(text.as_bytes()), format: Format::Text, oid: 0 }
    }

    /// NULL.
    pub fn null() -> Param<'static> {
        Param { bytes: None, format: Format::Text, oid: 0 }
    }

    /// What was said of its type; `Err` if that is a type which no key has.
    fn declared(&self) -> Result<Option<KeyType>, NotRead> {
        match self.oid {
            oid if UNSPECIFIED.contains(&oid) => Ok(None),
            oid => scalar(oid).map(Some).ok_or(NotRead),
        }
    }

    /// Its value where the statement has `col = $n` (`cast` is `None`) or `col = $n::cast`, for a column of type
    /// `wanted`. `implied` is the type that the server gives to an undeclared parameter, if that can be told.
    /// `None` is NULL.
    pub(crate) fn value(
        &self,
        wanted: KeyType,
        cast: Option<KeyType>,
        implied: Option<KeyType>,
    ) -> Result<Option<KeyValue>, NotRead> {
        let declared = self.declared()?;
        let Some(bytes) = self.bytes else { return Ok(None) };
        let value = match (self.format, declared) {
            // Read by the type of the column, or by the cast, as the server does.
            (Format::Text, None) => plain(cast.unwrap_or(wanted), text(bytes)?)?,
            (Format::Text, Some(declared)) => plain(declared, text(bytes)?)?,
            (Format::Binary, declared) => {
                let read_as = declared.or(implied).ok_or(NotRead)?;
                // An undeclared number may be of any width that the statement's operators know.
                binary(read_as, bytes, declared.is_none())?
            }
        };
        let read_as = declared.or(cast).unwrap_or(wanted);
        let cast_to = cast.unwrap_or(read_as);
        compared(cast_from(value, read_as, cast_to)?, cast_to, wanted).map(Some)
    }

    /// The values of an array parameter, where the statement has `col = ANY($n)`; NULLs are left out.
    pub(crate) fn values(&self, wanted: KeyType, cast: Option<KeyType>) -> Result<Vec<KeyValue>, NotRead> {
        let declared = match self.oid {
            oid if UNSPECIFIED.contains(&oid) => None,
            oid => Some(element(oid).ok_or(NotRead)?),
        };
        let Some(bytes) = self.bytes else { return Ok(Vec::new()) };
        let (read_as, values) = match self.format {
            Format::Text => {
                let read_as = declared.or(cast).unwrap_or(wanted);
                let parts = array_text(text(bytes)?).ok_or(NotRead)?;
                let values: Result<Vec<_>, _> = parts.iter().map(|part| plain(read_as, part)).collect();
                (read_as, values?)
            }
            Format::Binary => array_binary(bytes).ok_or(NotRead)?,
        };
        let cast_to = cast.unwrap_or(read_as);
        let values =
            values.into_iter().map(|value| compared(cast_from(value, read_as, cast_to)?, cast_to, wanted));
        values.collect()
    }
}

/// The value cannot be told, or not for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotRead;

/// A value of `from` after a cast to `to`, where that depends on no setting of the server.
fn cast_from(value: KeyValue, from: KeyType, to: KeyType) -> Result<KeyValue, NotRead> {
    match &value {
        KeyValue::Text(text) if from == KeyType::Text => plain(to, text),
        _ => compared(value, from, to),
    }
}

/// A value of `from` as the one of `to` that equals it, where the server compares the two exactly.
pub(crate) fn compared(value: KeyValue, from: KeyType, to: KeyType) -> Result<KeyValue, NotRead> {
    use KeyType::{BigInt, Integer, SmallInt};
    match (from, to) {
        _ if from == to => Ok(value),
        (SmallInt | Integer | BigInt, SmallInt | Integer | BigInt) if to.holds(&value) => Ok(value),
        _ => Err(NotRead),
    }
}

/// A value as the server reads it under any of its settings.
pub(crate) fn plain(key_type: KeyType, text: &str) -> Result<KeyValue, NotRead> {
    match key_type {
        // The server would take it to be in the session's time zone.
        KeyType::TimestampTz if KeyType::Timestamp.parse(text).is_ok() => Err(NotRead),
        // varchar(n) drops spaces at the end that are too many.
        KeyType::Text if text.ends_with(' ') => Err(NotRead),
        _ => key_type.parse(text).map_err(|_| NotRead),
    }
}

fn text(bytes: &[u8]) -> Result<&str, NotRead> {
    std::str::from_utf8(bytes).map_err(|_| NotRead)
}

fn scalar(oid: u32) -> Option<KeyType> {
    Some(match oid {
        20 => KeyType::BigInt,
        21 => KeyType::SmallInt,
        23 => KeyType::Integer,
        25 | 1043 => KeyType::Text,
        1082 => KeyType::Date,
        1114 => KeyType::Timestamp,
        1184 => KeyType::TimestampTz,
        2950 => KeyType::Uuid,
        _ => return None,
    })
}

fn element(array_oid: u32) -> Option<KeyType> {
    Some(match array_oid {
        1005 => KeyType::SmallInt,
        1007 => KeyType::Integer,
        1009 | 1015 => KeyType::Text,
        1016 => KeyType::BigInt,
        1115 => KeyType::Timestamp,
        1182 => KeyType::Date,
        1185 => KeyType::TimestampTz,
        2951 => KeyType::Uuid,
        _ => return None,
    })
}

fn binary(key_type: KeyType, bytes: &[u8], any_width: bool) -> Result<KeyValue, NotRead> {
    let width = match key_type {
        KeyType::SmallInt => 2,
        KeyType::Integer | KeyType::Date => 4,
        KeyType::BigInt | KeyType::Timestamp | KeyType::TimestampTz => 8,
        KeyType::Uuid => 16,
        KeyType::Text => bytes.len(),
    };
    let is_number = matches!(key_type, KeyType::SmallInt | KeyType::Integer | KeyType::BigInt);
    if bytes.len() != width && !(is_number && any_width && matches!(bytes.len(), 2 | 4 | 8)) {
        return Err(NotRead);
    }
    let number = || {
        let first = bytes.first().copied().unwrap_or_default();
        let sign = if first & 0x80 == 0 { 0 } else { -1 };
        bytes.iter().fold(sign, |n: i64, byte| n << 8 | i64::from(*byte))
    };
    match key_type {
        KeyType::SmallInt | KeyType::Integer | KeyType::BigInt => Ok(KeyValue::Int(number())),
        KeyType::Text => plain(key_type, text(bytes)?),
        KeyType::Uuid => bytes.try_into().map(KeyValue::Uuid).map_err(|_| NotRead),
        // The ends stand for infinity, which no key is.
        KeyType::Date => match i32::try_from(number()) {
            Ok(days) if days != i32::MIN && days != i32::MAX => Ok(KeyValue::Date(days)),
            _ => Err(NotRead),
        },
        KeyType::Timestamp | KeyType::TimestampTz => match number() {
            i64::MIN | i64::MAX => Err(NotRead),
            at => Ok(KeyValue::Timestamp(at)),
        },
    }
}

/// The parts of `{a,"b c",NULL}`, without the NULLs; `None` if it is anything but a plain list.
pub(crate) fn array_text(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut parts = Vec::new();
    let mut rest = inner.chars().peekable();
    if inner.is_empty() {
        return Some(parts);
    }
    loop {
        let mut part = String::new();
        let quoted = rest.next_if_eq(&'"').is_some();
        if quoted {
            loop {
                match rest.next()? {
                    '"' => break,
                    '\\' => part.push(rest.next()?),
                    other => part.push(other),
                }
            }
        } else {
            while let Some(other) = rest.next_if(|c| *c != ',') {
                // Spaces around a part are dropped by the server; leave such cases to it.
                if matches!(other, '{' | '}' | '"' | '\\') || other.is_whitespace() {
                    return None;
                }
                part.push(other);
            }
        }
        match (quoted, part.as_str()) {
            (false, "") => return None,
            (false, null) if null.eq_ignore_ascii_case("null") => {}
            _ => parts.push(part),
        }
        match rest.next() {
            None => return Some(parts),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// The type and the values of an array in binary form, without the NULLs.
fn array_binary(bytes: &[u8]) -> Option<(KeyType, Vec<KeyValue>)> {
    let mut rest = bytes;
    let word = |rest: &mut &[u8]| -> Option<i32> {
        let (head, tail) = rest.split_first_chunk::<4>()?;
        *rest = tail;
        Some(i32::from_be_bytes(*head))
    };
    let (ranks, _has_nulls) = (word(&mut rest)?, word(&mut rest)?);
    let key_type = scalar(u32::try_from(word(&mut rest)?).ok()?)?;
    if ranks == 0 {
        return rest.is_empty().then(|| (key_type, Vec::new()));
    }
    let (length, _lower) = (word(&mut rest)?, word(&mut rest)?);
    if ranks != 1 || length < 0 {
        return None;
    }
    let mut values = Vec::new();
    for _ in 0..length {
        let size = word(&mut rest)?;
        if size == -1 {
            continue;
        }
        let (value, tail) = rest.split_at_checked(usize::try_from(size).ok()?)?;
        rest = tail;
        values.push(binary(key_type, value, false).ok()?);
    }
    rest.is_empty().then_some((key_type, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bin(oid: u32, bytes: &[u8]) -> Param<'_> {
        Param { bytes: Some(bytes), format: Format::Binary, oid }
    }

    #[allow(clippy::type_complexity, reason = "a table of cases is a list of tuples")]
    #[test]
    fn binary_values_are_read_by_their_type_and_within_their_bounds() {
        use KeyType::*;
        let int = |n| Ok(Some(KeyValue::Int(n)));
        let uuid = [7u8; 16];
        let cases: Vec<(&str, u32, Vec<u8>, KeyType, Result<Option<KeyValue>, NotRead>)> = vec![
            ("int8", 20, 42i64.to_be_bytes().into(), BigInt, int(42)),
            ("int8 below zero", 20, (-42i64).to_be_bytes().into(), BigInt, int(-42)),
            ("int4 for bigint", 23, (-7i32).to_be_bytes().into(), BigInt, int(-7)),
            ("int2 for bigint", 21, (-7i16).to_be_bytes().into(), BigInt, int(-7)),
            ("int8 that integer cannot hold", 20, i64::MAX.to_be_bytes().into(), Integer, Err(NotRead)),
            ("too short", 20, vec![0, 1], BigInt, Err(NotRead)),
            ("empty", 20, Vec::new(), BigInt, Err(NotRead)),
            ("too long", 23, 42i64.to_be_bytes().into(), BigInt, Err(NotRead)),
            ("undeclared", 0, 42i64.to_be_bytes().into(), BigInt, Err(NotRead)),
            ("text", 25, b"acme".into(), Text, Ok(Some(KeyValue::Text("acme".into())))),
            ("varchar", 1043, b"acme".into(), Text, Ok(Some(KeyValue::Text("acme".into())))),
            ("not UTF-8", 25, b"\xff".into(), Text, Err(NotRead)),
            ("bpchar", 1042, b"acme".into(), Text, Err(NotRead)),
            ("text for bigint", 25, b"x".into(), BigInt, Err(NotRead)),
            ("uuid", 2950, uuid.into(), Uuid, Ok(Some(KeyValue::Uuid(uuid)))),
            ("half a uuid", 2950, uuid[..8].into(), Uuid, Err(NotRead)),
            ("date", 1082, 3i32.to_be_bytes().into(), Date, Ok(Some(KeyValue::Date(3)))),
            ("infinity", 1082, i32::MAX.to_be_bytes().into(), Date, Err(NotRead)),
            ("timestamp", 1114, 5i64.to_be_bytes().into(), Timestamp, Ok(Some(KeyValue::Timestamp(5)))),
            ("another zone", 1114, 5i64.to_be_bytes().into(), TimestampTz, Err(NotRead)),
            ("timestamptz", 1184, 5i64.to_be_bytes().into(), TimestampTz, Ok(Some(KeyValue::Timestamp(5)))),
            ("ends of time", 1184, i64::MIN.to_be_bytes().into(), TimestampTz, Err(NotRead)),
            ("numeric", 1700, 42i64.to_be_bytes().into(), BigInt, Err(NotRead)),
        ];
        for (name, oid, bytes, wanted, expected) in cases {
            assert_eq!(bin(oid, &bytes).value(wanted, None, None), expected, "{name}");
        }
        assert_eq!(
            Param { bytes: None, format: Format::Binary, oid: 20 }.value(BigInt, None, None),
            Ok(None)
        );
        let undeclared = bin(0, &[0, 0, 0, 9]);
        assert_eq!(undeclared.value(BigInt, None, Some(BigInt)), int(9), "a narrower number");
        assert_eq!(undeclared.value(Date, None, Some(Date)), Ok(Some(KeyValue::Date(9))));
    }

    #[test]
    fn text_values_are_read_by_their_cast_then_by_the_column() {
        let text = |text, oid| Param { bytes: Some(text), format: Format::Text, oid };
        let (big, tz) = (KeyType::BigInt, KeyType::TimestampTz);
        assert_eq!(text(b"42", 0).value(big, None, None), Ok(Some(KeyValue::Int(42))));
        assert_eq!(text(b"42", 20).value(big, None, None), Ok(Some(KeyValue::Int(42))));
        assert_eq!(text(b"42", 25).value(big, Some(big), None), Ok(Some(KeyValue::Int(42))));
        assert_eq!(text(b"70000", 0).value(big, Some(KeyType::SmallInt), None), Err(NotRead));
        assert_eq!(text(b"x", 0).value(big, None, None), Err(NotRead));
        assert_eq!(text(b"2026-01-31 10:00", 0).value(tz, None, None), Err(NotRead), "no offset");
        assert!(text(b"2026-01-31 10:00+00", 0).value(tz, None, None).is_ok());
        assert_eq!(text(b"acme ", 0).value(KeyType::Text, None, None), Err(NotRead));
    }

    #[test]
    fn arrays_are_read_in_both_forms() {
        let ints = |bytes: &[u8], format, oid| {
            Param { bytes: Some(bytes), format, oid }
                .values(KeyType::BigInt, None)
                .map(|values| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("{1,2,3}", Ok("1 2 3".to_owned())),
            ("{}", Ok(String::new())),
            ("{1,NULL,2}", Ok("1 2".to_owned())),
            ("{\"1\",2}", Ok("1 2".to_owned())),
            ("{{1},{2}}", Err(NotRead)),
            ("[0:1]={1,2}", Err(NotRead)),
            ("{1,}", Err(NotRead)),
            ("{1", Err(NotRead)),
            ("{\"1", Err(NotRead)),
            ("1", Err(NotRead)),
            ("", Err(NotRead)),
            ("{x}", Err(NotRead)),
        ] {
            assert_eq!(ints(text.as_bytes(), Format::Text, 1016), expected, "{text}");
        }
        let header = |ranks: i32, oid: i32, length: i32| {
            [ranks, 0, oid, length, 1].iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>()
        };
        let mut two = header(1, 20, 2);
        for n in [5i64, -6] {
            two.extend(8i32.to_be_bytes());
            two.extend(n.to_be_bytes());
        }
        assert_eq!(ints(&two, Format::Binary, 1016), Ok("5 -6".to_owned()));
        for cut in 0..two.len() {
            assert_eq!(ints(&two[..cut], Format::Binary, 1016), Err(NotRead), "{cut}");
        }
        assert_eq!(ints(&header(1, 20, i32::MAX), Format::Binary, 1016), Err(NotRead));
        assert_eq!(ints(&header(2, 20, 0), Format::Binary, 1016), Err(NotRead));
        assert_eq!(ints(&header(1, 701, 0), Format::Binary, 1022), Err(NotRead), "float8");
        assert_eq!(ints(&header(0, 20, 0)[..12], Format::Binary, 1016), Ok(String::new()));
    }
}
