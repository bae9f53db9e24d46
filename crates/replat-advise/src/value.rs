//! Values of key columns, each known by a small number.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// The value of a key column.
///
/// Numbers sort before text, and `Null` before both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number.
    Int(i64),
    /// Everything else, as text. What was hashed where it was seen is text as well.
    Text(String),
}

impl Value {
    /// A value as JSON has it. What is neither a whole number nor text is kept as its JSON text.
    pub fn of_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::String(text) => Value::Text(text.clone()),
            other => other.as_i64().map_or_else(|| Value::Text(other.to_string()), Value::Int),
        }
    }

    /// Stands for a value that nobody saw, another one for each `number`: the same unknown value is the same, wherever it
    /// is, and differs from all others. No text of PostgreSQL begins with a zero character, as these do.
    pub fn unknown(number: u64) -> Value {
        Value::Text(format!("\0?{number}"))
    }

    /// Whether it is the value itself, and does not only stand for one that nobody saw.
    pub fn is_known(&self) -> bool {
        !matches!(self, Value::Text(text) if text.starts_with("\0?"))
    }

    /// Several values as one, in the form of an array: what [`Value::elements`] takes apart again.
    pub fn list(elements: &[Value]) -> Value {
        let shown = |value: &Value| match value {
            Value::Null => "NULL".to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Text(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        Value::Text(format!("{{{}}}", elements.iter().map(shown).collect::<Vec<_>>().join(",")))
    }

    /// The elements of an array of one dimension, as PostgreSQL writes it; `None` if it is none. What is in quotes is text,
    /// and what is not may be a number.
    pub fn elements(&self) -> Option<Vec<Value>> {
        let Value::Text(text) = self else { return None };
        let inside = text.strip_prefix('{')?.strip_suffix('}')?;
        let mut all = Vec::new();
        let mut rest = inside;
        while !rest.is_empty() {
            let (element, behind) = match rest.strip_prefix('"') {
                Some(quoted) => quoted_element(quoted)?,
                None => plain_element(rest)?,
            };
            all.push(element);
            rest = match behind.strip_prefix(',') {
                // After a comma there is one more.
                Some("") => return None,
                Some(more) => more,
                None if behind.is_empty() => behind,
                None => return None,
            };
        }
        Some(all)
    }

    /// The text that is hashed: empty for `Null`.
    pub fn text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Int(number) => number.to_string(),
            Value::Text(text) => text.clone(),
        }
    }
}

/// An element up to its closing quote, and what comes behind that.
fn quoted_element(quoted: &str) -> Option<(Value, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((Value::Text(text), &quoted[at + 1..])),
            '\\' => text.push(chars.next()?.1),
            other => text.push(other),
        }
    }
    None
}

/// An element without quotes, and what comes behind it.
fn plain_element(rest: &str) -> Option<(Value, &str)> {
    let end = rest.find(',').unwrap_or(rest.len());
    let text = rest[..end].trim();
    if text.is_empty() || text.contains(['{', '}', '"', '\\']) {
        return None;
    }
    let value = match text.parse::<i64>() {
        _ if text.eq_ignore_ascii_case("null") => Value::Null,
        Ok(number) if number.to_string() == text => Value::Int(number),
        _ => Value::Text(text.to_owned()),
    };
    Some((value, &rest[end..]))
}

/// A value's number in its [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueId(pub u32);

/// All values of some evidence, each once.
#[derive(Clone, Debug, Default)]
pub struct Values {
    all: Vec<Value>,
    ids: HashMap<Value, ValueId>,
}

impl Values {
    /// The number of `value`, which is new if it was not seen before.
    pub fn id(&mut self, value: Value) -> ValueId {
        if let Some(id) = self.ids.get(&value) {
            return *id;
        }
        let id = ValueId(u32::try_from(self.all.len()).expect("fewer than 2^32 values"));
        self.all.push(value.clone());
        self.ids.insert(value, id);
        id
    }

    /// The value with this number.
    pub fn get(&self, id: ValueId) -> &Value {
        &self.all[id.0 as usize]
    }

    /// The number of `value`, if it was seen.
    pub fn find(&self, value: &Value) -> Option<ValueId> {
        self.ids.get(value).copied()
    }

    /// The numbers of all of them.
    pub fn ids(&self) -> impl Iterator<Item = ValueId> + use<> {
        (0..u32::try_from(self.all.len()).expect("fewer than 2^32 values")).map(ValueId)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Two values in their order.
    pub fn compare(&self, a: ValueId, b: ValueId) -> Ordering {
        self.get(a).cmp(self.get(b))
    }
}

/// Hashing for maps whose keys are small numbers that this crate gave out itself, such as [`ValueId`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbered(u64);

/// See [`Numbered`].
pub(crate) type ByNumber = std::hash::BuildHasherDefault<Numbered>;

impl std::hash::Hasher for Numbered {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // Knuth's multiplicative hashing; the upper half, where the bits are mixed, is folded into the lower one.
        let mixed = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// The hash by which designs place keys: the 64-bit FNV-1a of Fowler, Noll and Vo, its upper half folded into the lower
/// one, since FNV's low bits alone are uneven for short keys.
pub fn place_hash(text: &str) -> u64 {
    let hash = fnv1a(text.as_bytes());
    hash ^ (hash >> 32)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn arrays_are_taken_apart_as_they_are_written() {
        let (int, text) = (Value::Int, |text: &str| Value::Text(text.to_owned()));
        let rows = [
            ("{1,-2,NULL}", Some(vec![int(1), int(-2), Value::Null])),
            ("{}", Some(Vec::new())),
            ("{a,b c,007}", Some(vec![text("a"), text("b c"), text("007")])),
            (
                r#"{"12","a,b","it\"s \\ }",NULL}"#,
                Some(vec![text("12"), text("a,b"), text("it\"s \\ }"), Value::Null]),
            ),
            ("{{1,2},{3,4}}", None),
            ("[0:1]={1,2}", None),
            ("{1,}", None),
            ("{,1}", None),
            (r#"{"a}"#, None),
            (r#"{"a"b}"#, None),
            ("1", None),
            ("", None),
        ];
        for (array, want) in rows {
            assert_eq!(text(array).elements(), want, "{array}");
        }
        assert_eq!(int(5).elements(), None);
    }

    proptest! {
        #[test]
        fn a_list_has_the_elements_that_it_was_made_of(
            all in proptest::collection::vec(
                prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::Int), "\\PC{0,8}".prop_map(Value::Text)],
                0..6,
            ),
        ) {
            prop_assert_eq!(Value::list(&all).elements(), Some(all));
        }

        #[test]
        fn no_text_makes_elements_panic(text in "[{},\"\\\\a1 ]{0,16}") {
            drop(Value::Text(text).elements());
        }
    }

    #[test]
    fn known_hashes() {
        // Test vectors of the hash's authors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
