//! The text of a spec as a tree whose every node knows its bytes.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Spec;
use super::error::{Position, SpecError, line_at};
use super::nearest::nearest;
use super::secret::{SecretText, masked_if_connection};

/// A way from the top of a spec to one of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    pub(super) fn key(&self, key: impl Into<String>) -> Path {
        self.then(Segment::Key(key.into()))
    }

    pub(super) fn index(&self, index: usize) -> Path {
        self.then(Segment::Index(index))
    }

    fn then(&self, segment: Segment) -> Path {
        let mut longer = self.clone();
        longer.0.push(segment);
        longer
    }
}

/// The path of these keys.
pub(super) fn path<const N: usize>(keys: [&str; N]) -> Path {
    Path(keys.map(|key| Segment::Key(key.to_owned())).to_vec())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => write!(f, "{}{}", if at > 0 { "." } else { "" }, Key(key))?,
            }
        }
        Ok(())
    }
}

/// A key as TOML writes it: bare if it can be.
struct Key<'a>(&'a str);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if !self.0.is_empty() && self.0.bytes().all(bare) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", masked_if_connection(self.0))
        }
    }
}

/// Where one node is written: its key (or itself, in a list) and its value.
struct Node {
    key: Range<usize>,
    value: Range<usize>,
}

/// How many mistakes in TOML itself are told at once: the first few, since the rest mostly follows from them.
const SYNTAX_ERRORS_MAX: usize = 3;

/// A parsed text.
pub(super) struct Document<'a> {
    text: &'a str,
    root: Spanned<DeTable<'a>>,
    errors: Vec<toml::de::Error>,
}

impl<'a> Document<'a> {
    /// The text as a tree.
    ///
    /// # Errors
    ///
    /// Everything that keeps the text from being TOML.
    pub(super) fn parse(text: &'a str) -> Result<Document<'a>, Vec<SpecError>> {
        let document = Document::recover(text);
        if document.errors.is_empty() { Ok(document) } else { Err(document.syntax_errors()) }
    }

    /// As much of the text as can be made out.
    pub(super) fn recover(text: &'a str) -> Document<'a> {
        let (root, errors) = DeTable::parse_recoverable(text);
        Document { text, root, errors }
    }

    fn syntax_errors(&self) -> Vec<SpecError> {
        let error = |error: &toml::de::Error| SpecError {
            at: error.span().map(|span| Position::of(self.text, span)),
            path: String::new(),
            message: format!("this is not TOML: {}", error.message()),
            suggestion: None,
        };
        // A bracket that is not closed makes every line after it look wrong.
        self.errors.iter().map(error).take(SYNTAX_ERRORS_MAX).collect()
    }

    pub(super) fn root(&self) -> &DeTable<'a> {
        self.root.get_ref()
    }

    /// The spec that the tree says.
    ///
    /// # Errors
    ///
    /// The first thing in which the tree does not have the shape of a spec.
    pub(super) fn to_spec(&self) -> Result<Spec, Vec<SpecError>> {
        Spec::deserialize(toml::de::Deserializer::from(self.root.clone())).map_err(|error| {
            let at = error.span().map(|span| self.position(span));
            vec![SpecError { at, path: String::new(), message: error.message().to_owned(), suggestion: None }]
        })
    }

    pub(super) fn position(&self, span: Range<usize>) -> Position {
        Position::of(self.text, span)
    }

    /// Where the value at `path` is written; if it is left out, the table that it would be in. `None` if that is
    /// the whole text.
    pub(super) fn locate(&self, path: &Path) -> Option<Position> {
        self.trail(path).last().map(|node| self.position(node.value.clone()))
    }

    /// Where the last key of `path` is written, under the same conditions.
    pub(super) fn locate_key(&self, path: &Path) -> Option<Position> {
        self.trail(path).last().map(|node| self.position(node.key.clone()))
    }

    /// The nodes along `path`, as far as they are written.
    fn trail(&self, path: &Path) -> Vec<Node> {
        let mut trail = Vec::new();
        let (mut table, mut list) = (Some(self.root()), None);
        for segment in &path.0 {
            let step = match segment {
                Segment::Key(key) => table
                    .and_then(|table| table.get_key_value(key.as_str()))
                    .map(|(key, value)| (key.span(), value)),
                Segment::Index(index) => {
                    list.and_then(|list: &DeArray<'_>| list.get(*index)).map(|value| (value.span(), value))
                }
            };
            let Some((key, value)) = step else { break };
            trail.push(Node { key, value: value.span() });
            table = value.get_ref().as_table();
            list = value.get_ref().as_array();
        }
        trail
    }

    /// Where passwords may be written, in ascending order.
    pub(super) fn secrets(&self) -> Vec<Range<usize>> {
        let mut secrets = Vec::new();
        table_secrets(self.root(), &mut secrets);
        secrets.extend(self.errors.iter().filter_map(|error| self.unreadable_secret(error)));
        secrets.sort_by_key(|secret| secret.start);
        secrets
    }

    /// Where the text is no TOML, its strings are not known. Of a line with an error that could hold a password,
    /// nothing is shown after the first sign of one; and of a line that could hold the rest of one, nothing before
    /// its last `@`.
    fn unreadable_secret(&self, error: &toml::de::Error) -> Option<Range<usize>> {
        let (start, line) = line_at(self.text, self.position(error.span()?).span.start);
        let lower = line.to_ascii_lowercase();
        let after = |sign: &str| lower.find(sign).map(|at| start + at + sign.len()..start + line.len());
        let quoted =
            |at: usize| line[at..].find(['"', '\'']).map_or(start + at, |quote| start + at + quote + 1);
        let url = lower.find("url").map(|at| quoted(at)..start + line.len());
        let signs = ["://", "password"].into_iter().filter_map(after).chain(url);
        let rest_of_one = || line.rfind('@').map(|at| start..start + at);
        signs.min_by_key(|secret| secret.start).or_else(rest_of_one)
    }
}

fn table_secrets(table: &DeTable<'_>, secrets: &mut Vec<Range<usize>>) {
    for (key, value) in table.iter() {
        if masked_if_connection(key.get_ref()) != *key.get_ref() {
            secrets.push(inside(key.span()));
        }
        match value.get_ref() {
            DeValue::String(text) if is_secret(key.get_ref(), text) => secrets.push(inside(value.span())),
            // A list is no way to write it; whatever is in it was meant as a connection or a password.
            DeValue::Array(_) if is_secret(key.get_ref(), "") => secrets.push(inside(value.span())),
            _ => value_secrets(value, secrets),
        }
    }
}

fn value_secrets(value: &Spanned<DeValue<'_>>, secrets: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::String(text) if masked_if_connection(text) != *text => secrets.push(inside(value.span())),
        DeValue::Array(list) => list.iter().for_each(|value| value_secrets(value, secrets)),
        DeValue::Table(table) => table_secrets(table, secrets),
        _ => {}
    }
}

/// Whether `text`, the value of `key`, must not be shown. Where a connection belongs, or would but for a slip in the
/// key, a text that looks like none is not shown at all.
fn is_secret(key: &str, text: &str) -> bool {
    let url = SecretText::new(text);
    match nearest(key, ["url", "password"]) {
        Some("url") => url.masked() != text,
        Some(_) => true,
        None => key.to_ascii_lowercase().contains("password"),
    }
}

/// What lies between the quotes.
fn inside(span: Range<usize>) -> Range<usize> {
    span.start + 1..span.end.saturating_sub(1).max(span.start + 1)
}
