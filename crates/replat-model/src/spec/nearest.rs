//! "Did you mean": the known word that is closest to a mistyped one.

use super::secret::masked_if_connection;

/// The candidate closest to `word`, if one is close enough to have been meant.
///
/// Close enough is a third of the word's length in edits (a letter more, less, other, or two swapped), at least
/// one; case does not count. Of several that are equally close, the first.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (word.chars().count() / 3).max(1);
    let near = candidates.into_iter().map(|candidate| (edits(word, candidate), candidate));
    let (distance, candidate) = near.min_by_key(|(distance, _)| *distance)?;
    (distance <= edits_max).then_some(candidate)
}

/// The optimal string alignment distance, ignoring case.
fn edits(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.to_lowercase().chars().collect();
    let other: Vec<char> = other.to_lowercase().chars().collect();
    // A word of any length may come from a file, a candidate never: rows are as long as the candidate.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut row = vec![i];
        for j in 1..=other.len() {
            let same = one[i - 1] == other[j - 1];
            let mut best = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[other.len()]
}

/// A suggestion in words, if there is one to make.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// A word out of the text: cut if it is long, masked if it is a connection text in the wrong place.
pub(super) fn quoted(word: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let word = masked_if_connection(word);
    match word.char_indices().nth(SHOWN_MAX) {
        Some((cut, _)) => format!("`{}...`", &word[..cut]),
        None => format!("`{word}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found() {
        let known = ["tables", "rollout", "dimensions", "home", "tree", "pause_max"];
        let rows = [
            ("table", Some("tables")),
            ("Rollout", Some("rollout")),
            ("hmoe", Some("home")),
            ("dimension", Some("dimensions")),
            ("pause-max", Some("pause_max")),
            ("key", None),
            ("", None),
        ];
        for (word, want) in rows {
            assert_eq!(nearest(word, known), want, "{word}");
        }
    }
}
