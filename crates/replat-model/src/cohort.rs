//! Cohorts: every partition's fixed place in a line from which shares are taken.
//!
//! "Five of a hundred" means so many partitions, counted, and always the same ones: whoever is in a share is also in
//! every larger share. A partition's place is drawn from its name alone, so that every process in every language
//! draws the same.

use sha2::{Digest, Sha256};

use crate::ids::PartitionId;

/// How many cohorts there are.
pub const COHORTS: u16 = 10_000;

/// The cohort of a partition: `0..10_000`.
///
/// The first eight bytes of the SHA-256 of `replat/cohort/` and the name, big-endian, modulo [`COHORTS`].
pub fn cohort(partition: &PartitionId) -> u16 {
    u16::try_from(place(partition) % u64::from(COHORTS)).expect("a remainder is less than its modulus")
}

/// The share of these partitions that comes first: exactly `hundredths` of a hundred of them, rounded up, in the order
/// in which shares take them (by cohort, then by name).
///
/// `hundredths` counts in hundredths of a percent, up to 10,000, which is all of them.
pub fn first<'a>(
    partitions: impl IntoIterator<Item = &'a PartitionId>,
    hundredths: u16,
) -> Vec<&'a PartitionId> {
    let mut line: Vec<(u16, &PartitionId)> = partitions.into_iter().map(|p| (cohort(p), p)).collect();
    let wanted = line.len() * usize::from(hundredths.min(COHORTS));
    line.sort_unstable();
    line.truncate(wanted.div_ceil(usize::from(COHORTS)));
    line.into_iter().map(|(_, partition)| partition).collect()
}

fn place(partition: &PartitionId) -> u64 {
    let digest = Sha256::digest(format!("replat/cohort/{partition}"));
    u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(count: usize) -> Vec<PartitionId> {
        (0..count).map(|n| format!("p{n}").parse().expect("a name")).collect()
    }

    #[test]
    fn a_share_is_counted_and_larger_ones_take_in_smaller_ones() {
        let all = partitions(1_000);
        let mut before: Vec<&PartitionId> = Vec::new();
        for (hundredths, count) in
            [(0, 0), (1, 1), (10, 1), (500, 50), (501, 51), (5_000, 500), (10_000, 1_000)]
        {
            let share = first(&all, hundredths);
            assert_eq!(share.len(), count, "{hundredths}");
            assert!(share.starts_with(&before), "{hundredths}");
            before = share;
        }
        assert_eq!(first(&all, 20_000).len(), 1_000);
        assert!(first([], 10_000).is_empty());
    }

    #[test]
    fn cohorts_are_spread_evenly() {
        let mut tenths = [0; 10];
        partitions(10_000).iter().for_each(|p| tenths[usize::from(cohort(p) / 1_000)] += 1);
        assert!(tenths.iter().all(|count| (850..1_150).contains(count)), "{tenths:?}");
    }
}
