//! Files of one JSON value on each line.

use super::Note;

/// The lines of a file that are not empty, with their numbers from 1. A last line without an end that is no whole JSON
/// value is left out: the file was cut off there.
pub(super) fn whole_lines<'t>(name: &str, text: &'t str, notes: &mut Vec<Note>) -> Vec<(usize, &'t str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<(usize, &str)> = text
        .split('\n')
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim_matches(['\r', ' ', '\t', '\0'])))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    if !text.ends_with('\n')
        && let Some((number, line)) = lines.last()
        && serde_json::from_str::<serde::de::IgnoredAny>(line).is_err()
    {
        notes.push(Note::new(name, format!("it ends in the middle of line {number}, which was left out")));
        lines.pop();
    }
    lines
}
