//! A number for each world. The standard hasher withstands attackers; nobody attacks here, and most of the time of
//! an exploration would go into it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A map by fingerprints, which are hashes already.
pub type ByFingerprint<T> = HashMap<u128, T, BuildHasherDefault<LowHalf>>;

/// 128 bits that stand for a value: among some millions of worlds, a clash is less likely than a fault of the
/// machine.
pub fn fingerprint(value: &impl Hash) -> u128 {
    let mut mixer = Mixer(0);
    value.hash(&mut mixer);
    mixer.0
}

/// Each word is mixed in by a step that loses nothing: a multiplication by an odd number and a shift.
struct Mixer(u128);

impl Mixer {
    const ODD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

    fn mix(&mut self, word: u64) {
        let product = (self.0 ^ u128::from(word)).wrapping_mul(Mixer::ODD);
        self.0 = product ^ product >> 67;
    }
}

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.mix(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

/// Takes a fingerprint for its own hash.
#[derive(Default)]
pub struct LowHalf(u64);

impl Hasher for LowHalf {
    fn write(&mut self, bytes: &[u8]) {
        unreachable!("{bytes:?} is no fingerprint");
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
