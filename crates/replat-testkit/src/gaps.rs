//! How long writers waited for an acknowledgement: what a switch costs those who write.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::load::{Notes, Outcome};

/// A time between two acknowledgements of one writer, in the journal's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Which writer.
    pub writer: usize,
    /// The acknowledgement before it, or the end of a rest that was asked for.
    pub from: Duration,
    /// The acknowledgement after it.
    pub to: Duration,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    /// Whether it has a moment in common with the time between `from` and `to`.
    pub fn touches(&self, (from, to): (Duration, Duration)) -> bool {
        self.from <= to && from <= self.to
    }
}

/// All gaps of the writers that `of` names. Times in which a writer stood still because it was asked to are no
/// gaps.
pub fn gaps(notes: &Notes, of: impl Fn(usize) -> bool) -> Vec<Gap> {
    // True for an acknowledgement, which ends a gap; false for a rest, which only parts one from the next.
    let mut marks: BTreeMap<usize, Vec<(Duration, Duration, bool)>> = BTreeMap::new();
    for entry in notes.entries.iter().filter(|entry| entry.outcome == Outcome::Acknowledged) {
        marks.entry(entry.writer).or_default().push((entry.ended, entry.ended, true));
    }
    for rest in &notes.rests {
        marks.entry(rest.writer).or_default().push((rest.from, rest.to, false));
    }
    let mut found = Vec::new();
    for (writer, mut marks) in marks.into_iter().filter(|(writer, _)| of(*writer)) {
        marks.sort();
        for pair in marks.windows(2) {
            if pair[1].2 {
                found.push(Gap { writer, from: pair[0].1, to: pair[1].0 });
            }
        }
    }
    found
}

/// The longest of `gaps` that `wanted` lets through.
pub fn longest(gaps: &[Gap], wanted: impl Fn(&Gap) -> bool) -> Option<Gap> {
    gaps.iter().copied().filter(|gap| wanted(gap)).max_by_key(Gap::length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Entry, Rest};
    use crate::rows::Version;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn acknowledged(writer: usize, seconds: u64, outcome: Outcome) -> Entry {
        Entry {
            op: String::new(),
            writer,
            tenant: 1,
            kind: "pay",
            outcome,
            epoch: 1,
            version: Version::V1,
            attempts: 1,
            began: at(seconds),
            ended: at(seconds),
            facts: Vec::new(),
        }
    }

    #[test]
    fn a_gap_lies_between_acknowledgements_of_one_writer_and_not_in_a_rest() {
        let entries = vec![
            acknowledged(0, 1, Outcome::Acknowledged),
            acknowledged(1, 2, Outcome::Acknowledged),
            acknowledged(0, 3, Outcome::GivenUp),
            acknowledged(0, 5, Outcome::Acknowledged),
            acknowledged(0, 90, Outcome::Acknowledged),
        ];
        let rests = vec![Rest { writer: 0, from: at(6), to: at(89) }];
        let notes = Notes { entries, rests, ..Notes::default() };
        let found = gaps(&notes, |_| true);
        assert_eq!(
            found,
            [Gap { writer: 0, from: at(1), to: at(5) }, Gap { writer: 0, from: at(89), to: at(90) }]
        );
        assert_eq!(longest(&found, |_| true).map(|gap| gap.length()), Some(at(4)));
        assert_eq!(longest(&found, |gap| gap.touches((at(10), at(20)))), None);
        assert!(gaps(&notes, |writer| writer == 1).is_empty());
    }
}
