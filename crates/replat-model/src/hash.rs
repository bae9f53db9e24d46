//! PostgreSQL's own hash for partition keys, bit for bit.
//!
//! A hash split must put a row where `PARTITION BY HASH` puts it, or a router and the database would disagree on
//! who owns the row. The function is Jenkins' lookup3 with a fixed seed, as `satisfies_hash_partition` uses it on
//! a little-endian server, for the default hash operator class of each [`KeyType`](crate::key::KeyType) and, for
//! text, a deterministic collation in UTF-8.

use crate::key::KeyValue;

/// The seed that PostgreSQL fixes for partitioning, so that a dump restores into the same partitions.
const SEED: u64 = 0x7A5B_2236_7996_DCFD;

/// The hash by which PostgreSQL chooses the partition of a row with these key columns, in key order.
///
/// `None` stands for NULL, which does not contribute. The width of an integer does not matter: PostgreSQL hashes
/// equal numbers alike in all three integer types, which is why no types are asked for.
pub fn partition_hash(values: &[Option<&KeyValue>]) -> u64 {
    values.iter().flatten().fold(0, |hash, value| combine(hash, value_hash(value)))
}

/// Which of `modulus` hash partitions takes a row with these key columns: `0..modulus`.
///
/// # Panics
///
/// If `modulus` is zero; a map never holds such a split.
pub fn bucket(values: &[Option<&KeyValue>], modulus: u32) -> u32 {
    assert!(modulus > 0, "a hash split has at least one bucket");
    u32::try_from(partition_hash(values) % u64::from(modulus)).expect("a remainder is less than its modulus")
}

fn value_hash(value: &KeyValue) -> u64 {
    match value {
        KeyValue::Int(n) | KeyValue::Timestamp(n) => hash_i64(*n),
        KeyValue::Date(days) => hash_i64(i64::from(*days)),
        KeyValue::Text(text) => hash_bytes(text.as_bytes()),
        KeyValue::Uuid(bytes) => hash_bytes(bytes),
    }
}

/// `hash_combine64`.
fn combine(a: u64, b: u64) -> u64 {
    a ^ b.wrapping_add(0x49a0_f4dd_15e5_a8e3).wrapping_add(a << 54).wrapping_add(a >> 7)
}

/// `hashint8extended`. The halves are folded so that a number hashes like the same number in four bytes.
#[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
fn hash_i64(n: i64) -> u64 {
    let (low, high) = (n as u32, (n >> 32) as u32);
    hash_u32(low ^ if n >= 0 { high } else { !high })
}

/// `hash_uint32_extended`.
fn hash_u32(word: u32) -> u64 {
    let mut state = Lookup3::seeded(4);
    state.a = state.a.wrapping_add(word);
    state.finish()
}

/// `hash_bytes_extended`.
fn hash_bytes(bytes: &[u8]) -> u64 {
    // PostgreSQL keeps the length in 32 bits; a value is at most 1 GiB.
    #[expect(clippy::cast_possible_truncation, reason = "a PostgreSQL value is at most 1 GiB")]
    let mut state = Lookup3::seeded(bytes.len() as u32);
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        state.add(word(&block[0..4]), word(&block[4..8]), word(&block[8..12]));
        state.mix();
    }
    let tail = blocks.remainder();
    let part = |from: usize, to: usize| tail.get(from..tail.len().min(to)).map_or(0, word);
    // The lowest byte of the last word is reserved for the length, so its three bytes stand one higher.
    state.add(part(0, 4), part(4, 8), part(8, 12) << 8);
    state.finish()
}

/// Up to four bytes, little-endian.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// The three words that Jenkins' lookup3 stirs.
struct Lookup3 {
    a: u32,
    b: u32,
    c: u32,
}

impl Lookup3 {
    fn seeded(len: u32) -> Lookup3 {
        let start = 0x9e37_79b9_u32.wrapping_add(len).wrapping_add(3_923_095);
        let mut state = Lookup3 { a: start, b: start, c: start };
        state.add((SEED >> 32) as u32, (SEED & 0xFFFF_FFFF) as u32, 0);
        state.mix();
        state
    }

    fn add(&mut self, a: u32, b: u32, c: u32) {
        self.a = self.a.wrapping_add(a);
        self.b = self.b.wrapping_add(b);
        self.c = self.c.wrapping_add(c);
    }

    fn mix(&mut self) {
        let Lookup3 { a, b, c } = self;
        stir(a, c, b, 4);
        stir(b, a, c, 6);
        stir(c, b, a, 8);
        stir(a, c, b, 16);
        stir(b, a, c, 19);
        stir(c, b, a, 4);
    }

    fn finish(self) -> u64 {
        let Lookup3 { mut a, mut b, mut c } = self;
        settle(&mut c, b, 14);
        settle(&mut a, c, 11);
        settle(&mut b, a, 25);
        settle(&mut c, b, 16);
        settle(&mut a, c, 4);
        settle(&mut b, a, 14);
        settle(&mut c, b, 24);
        u64::from(b) << 32 | u64::from(c)
    }
}

/// One line of lookup3's `mix`: `x -= y; x ^= rot(y, k); y += z`.
fn stir(x: &mut u32, y: &mut u32, z: &u32, k: u32) {
    *x = x.wrapping_sub(*y) ^ y.rotate_left(k);
    *y = y.wrapping_add(*z);
}

/// One line of lookup3's `final`: `x ^= y; x -= rot(y, k)`.
fn settle(x: &mut u32, y: u32, k: u32) {
    *x = (*x ^ y).wrapping_sub(y.rotate_left(k));
}
