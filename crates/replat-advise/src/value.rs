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

    /// The text that is hashed: empty for `Null`.
    pub fn text(&self) -> String {
        match self {
            Value::Null => String::new(),
            Value::Int(number) => number.to_string(),
            Value::Text(text) => text.clone(),
        }
    }
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
    use super::*;

    #[test]
    fn known_hashes() {
        // Test vectors of the hash's authors.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
