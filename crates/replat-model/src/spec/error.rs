//! What is wrong with a spec, where, and how it is shown to whoever wrote it.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::document::Document;
use super::secret::MASK;

/// One thing that is wrong with a spec. It never repeats a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}{message}", Lead(path))]
pub struct SpecError {
    /// Where in the text; `None` if it is about the text as a whole, such as a key that is missing at its top.
    pub at: Option<Position>,
    /// Where in the spec: keys joined by dots, as in `contexts.saas.rollout`. Empty for the spec as a whole and for
    /// text that is not TOML.
    pub path: String,
    /// What is wrong and what would be right; without a full stop.
    pub message: String,
    /// What was probably meant, or what to do: a clause such as "did you mean `tables`?".
    pub suggestion: Option<String>,
}

/// A place in the text of a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted in characters from 1.
    pub column: usize,
    /// The bytes of the text that are meant; empty if something is missing there.
    pub span: Range<usize>,
}

impl Position {
    /// The place of `span` in `text`; a span that reaches outside is cut to what there is.
    pub(super) fn of(text: &str, span: Range<usize>) -> Position {
        let start = boundary(text, span.start);
        let end = boundary(text, span.end).max(start);
        let (line_start, _) = line_at(text, start);
        Position {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            span: start..end,
        }
    }
}

/// The largest character boundary that is not after `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The line around the byte `at`, without its end, and its first byte.
pub(super) fn line_at(text: &str, at: usize) -> (usize, &str) {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    (start, text[start..].lines().next().unwrap_or_default())
}

/// `contexts.saas: ` before a message, nothing where there is no path.
struct Lead<'a>(&'a str);

impl fmt::Display for Lead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// The errors as a person reads them: each with its line of `text` and carets under what is meant, without colours.
///
/// `file` is the name to show. Passwords in the lines that are shown are masked, and control characters are
/// replaced, so that a file cannot speak to the terminal.
pub fn render_errors(file: &str, text: &str, errors: &[SpecError]) -> String {
    let secrets = Document::recover(text).secrets();
    let mut page: String = errors.iter().map(|error| render(file, text, &secrets, error) + "\n").collect();
    let count = match errors.len() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    page += &format!("{count} in {}\n", printable(file));
    page
}

fn render(file: &str, text: &str, secrets: &[Range<usize>], error: &SpecError) -> String {
    let mut page = format!("error: {}\n", printable(&error.message));
    let number = error.at.as_ref().map(|at| at.line.to_string());
    let gutter = " ".repeat(number.as_ref().map_or(1, String::len));
    match &error.at {
        Some(at) => {
            let shown = ShownLine::of(text, at, secrets);
            page += &format!("{gutter}--> {}:{}:{}\n", printable(file), at.line, at.column);
            page += &format!("{gutter} |\n");
            page += &format!("{} | {}\n", at.line, shown.line);
            page += &format!("{gutter} | {}{}\n", " ".repeat(shown.before), "^".repeat(shown.carets));
        }
        None => page += &format!("{gutter}--> {}\n", printable(file)),
    }
    if !error.path.is_empty() {
        page += &format!("{gutter} = at: {}\n", printable(&error.path));
    }
    if let Some(suggestion) = &error.suggestion {
        page += &format!("{gutter} = help: {}\n", printable(suggestion));
    }
    page
}

/// One line of the text as it is shown, and where the carets go under it. Unit: characters.
struct ShownLine {
    line: String,
    before: usize,
    carets: usize,
}

impl ShownLine {
    fn of(text: &str, at: &Position, secrets: &[Range<usize>]) -> ShownLine {
        // The text may be another than the one that was parsed.
        let span = boundary(text, at.span.start)..boundary(text, at.span.end);
        let (start, line) = line_at(text, span.start);
        let (mut shown, mut before, mut carets) = (String::new(), 0, 0);
        for (offset, character) in line.char_indices() {
            let here = start + offset;
            let new = match secrets.iter().find(|secret| secret.contains(&here)) {
                Some(secret) if here == secret.start.max(start) => MASK.to_owned(),
                Some(_) => continue,
                None => visible(character).to_string(),
            };
            let width = new.chars().count();
            if here < span.start {
                before += width;
            } else if here < span.end {
                carets += width;
            }
            shown += &new;
        }
        ShownLine { line: shown.trim_end().to_owned(), before, carets: carets.max(1) }
    }
}

fn printable(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// A blank for a tab, which would push the carets off, and a mark for every other control character.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}
