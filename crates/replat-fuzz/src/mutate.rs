//! Other inputs, out of known ones: blindly, and the same ones for the same seed.

/// A source of numbers that is the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The source of this seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, or 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        // Below `end`, so it fits.
        usize::try_from(self.roll() % end).unwrap_or(0)
    }
}

/// Inputs do not grow beyond this. Unit: bytes.
const LENGTH_MAX: usize = 64 * 1024;
/// Bytes at which things change.
const EDGES: [u8; 12] = [0, 1, 2, 4, 0x0a, 0x20, 0x22, 0x27, 0x5c, 0x7f, 0x80, 0xff];
/// Numbers at which things change, as lengths are written.
const LENGTHS: [u32; 10] = [0, 1, 3, 4, 5, 8, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/// Another input than `input`, with parts of `other` and of `words` perhaps.
pub fn mutated(input: &[u8], other: &[u8], words: &[&str], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=dice.below(4) {
        change(&mut bytes, other, words, dice);
    }
    bytes.truncate(LENGTH_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], dice: &mut Dice) {
    let length = bytes.len();
    let at = dice.below(length);
    match dice.below(11) {
        0 if length > 0 => bytes[at] ^= 1 << dice.below(8),
        1 if length > 0 => bytes[at] = EDGES[dice.below(EDGES.len())],
        2 if length > 0 => bytes[at] = bytes[at].wrapping_add(if dice.below(2) == 0 { 1 } else { 0xff }),
        3 => bytes.insert(at, EDGES[dice.below(EDGES.len())]),
        4 => drop(bytes.drain(at..(at + 1 + dice.below(16)).min(length).max(at))),
        5 => bytes.truncate(at),
        // A part of it again, once or many times.
        6 => {
            let part = bytes[at..(at + 1 + dice.below(32)).min(length).max(at)].to_vec();
            let times = if dice.below(8) == 0 { dice.below(400) } else { 1 };
            let more = part.repeat(times.min(LENGTH_MAX / part.len().max(1)));
            bytes.splice(at..at, more);
        }
        7 if length >= at + 4 => {
            let number = match dice.below(3) {
                0 => LENGTHS[dice.below(LENGTHS.len())],
                1 => u32::try_from(dice.below(length + 8)).unwrap_or(0),
                _ => u32::try_from(dice.roll() >> 32).unwrap_or(0),
            };
            bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        8 => {
            let from = dice.below(other.len());
            let part = &other[from..(from + 1 + dice.below(64)).min(other.len()).max(from)];
            bytes.splice(at..at, part.iter().copied());
        }
        9 if !words.is_empty() => {
            let word = words[dice.below(words.len())];
            let end = if dice.below(2) == 0 { at } else { (at + word.len()).min(length) };
            bytes.splice(at..end, word.bytes());
        }
        _ => {
            let number = (dice.roll() >> dice.below(64)).to_string();
            bytes.splice(at..at, number.into_bytes());
        }
    }
}
