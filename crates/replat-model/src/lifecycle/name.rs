//! What partitions are called.
//!
//! A [`Pattern`] is learned from the names that are there, each with the bound it stands for: what surrounds the key
//! (`events_p…`), how the key is written (`20260131`, `2026w05`, `1000000`, `17`), by which end, and by whose wall
//! clock. The newest names weigh most. Names only ever give *names*: nothing is concluded from them about bounds.
//!
//! | cut by | without a pattern |
//! |---|---|
//! | times | `PARENT_p20260131`, with as many fields as the interval needs |
//! | numbers | `PARENT_p1000000`, `PARENT_pn5` below zero |
//! | list | `PARENT_value`, in small letters, digits and `_` |
//! | hash | `PARENT_h3`; `PARENT_h3of8` beside partitions of another modulus |
//! | default | `PARENT_default` |
//! | several columns | what comes before the growing column, then as above: `PARENT_p17_20260131` |
//!
//! Different bounds get different names: a key that the pattern's fields would blur (a day, among names of months; the
//! second three o'clock of a night in October) gets more of them. Whatever is taken already gets `_2`, `_3`, ….
//!
//! A name has at most 63 bytes. What is too long is cut in its parent part, and a digest of the whole stands for what
//! was cut; the key is never cut unless it is too long alone.

mod clock;
mod piece;

use sha2::{Digest, Sha256};

use super::facts::{Bound, Edge};
use super::grid::Grid;
use super::infer;

use piece::{Form, Piece, Side, Subject};

/// The longest name that PostgreSQL keeps, in bytes.
const LONGEST: usize = 63;
/// How many of the newest names may be the model.
const MODELS: usize = 8;
/// How many of the newest names are compared with a model.
const COMPARED: usize = 256;
/// What a name weighs against the next newer one: two new names outweigh all old ones.
const WEIGHT: f64 = 0.7;
/// How many names are tried for one bound before giving up.
const TRIES: usize = 10_000;

/// How the partitions of one table are called.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    parent: String,
    /// What a name consists of; `None` if no pattern was found.
    pieces: Option<Vec<Piece>>,
    /// Which key component grows.
    component: Option<usize>,
    /// What the components before it are in the names that the pattern was learned from, if they are the same.
    prefix: Option<Vec<Edge>>,
    /// The modulus of the newest partition.
    modulus: Option<u32>,
}

/// There is no free name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every name for this partition is taken, from {first} on")]
pub struct NoName {
    /// The first that was tried.
    pub first: String,
}

impl Pattern {
    /// The pattern of the names of `parent`'s partitions, which are in order of their bounds. `grid` is the one their
    /// bounds lie on, if they are ranges.
    pub fn learn(parent: &str, parts: &[(String, Bound)], grid: Option<&Grid>) -> Pattern {
        let ranges: Vec<_> = parts.iter().filter_map(|(_, bound)| ends(bound)).collect();
        let series = infer::component(&ranges).unwrap_or_default();
        let component = series.first().map(|series| series.component);
        let modulus = parts.iter().rev().find_map(|(_, bound)| match bound {
            Bound::Hash { modulus, .. } => Some(*modulus),
            _ => None,
        });
        let mut pattern =
            Pattern { parent: parent.to_owned(), pieces: None, component, prefix: None, modulus };
        let known: Vec<(&str, Subject)> = parts
            .iter()
            .rev()
            .filter_map(|(name, bound)| Some((name.as_str(), Subject::of(bound, component, grid)?)))
            .take(COMPARED)
            .collect();
        pattern.pieces = best(parent, &known);
        pattern.prefix = match series.as_slice() {
            [only] => Some(only.prefix.clone()),
            _ => None,
        };
        pattern
    }

    /// The same pattern for another table, cut in the same way: a sister of the one it was learned from.
    #[must_use]
    pub fn for_parent(&self, parent: &str) -> Pattern {
        Pattern { parent: parent.to_owned(), ..self.clone() }
    }

    /// Whether it was found in names that are there.
    pub fn is_learned(&self) -> bool {
        self.pieces.is_some()
    }

    /// A name for the partition of `bound`.
    ///
    /// Names that were given before and are not in the database yet must be `taken` as well; [`Pattern::names`] sees to
    /// it.
    ///
    /// # Errors
    ///
    /// [`NoName`] if it is taken, and so are thousands of variations.
    pub fn name(
        &self,
        bound: &Bound,
        grid: Option<&Grid>,
        taken: &dyn Fn(&str) -> bool,
    ) -> Result<String, NoName> {
        let parts = self.parts(bound, grid);
        (1..=TRIES)
            .map(|nth| parts.join(nth))
            .find(|name| !taken(name))
            .ok_or_else(|| NoName { first: parts.join(1) })
    }

    /// Names for several partitions, no two alike.
    ///
    /// # Errors
    ///
    /// As [`Pattern::name`].
    pub fn names(
        &self,
        bounds: &[Bound],
        grid: Option<&Grid>,
        taken: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, NoName> {
        let mut names: Vec<String> = Vec::with_capacity(bounds.len());
        for bound in bounds {
            let name =
                self.name(bound, grid, &|name| taken(name) || names.iter().any(|given| given == name))?;
            names.push(name);
        }
        Ok(names)
    }

    /// The name of `bound` by the pattern, in pieces.
    fn parts(&self, bound: &Bound, grid: Option<&Grid>) -> Parts {
        let learned = || {
            // An open end is no key to be called by: another partition will begin or end where the other end is.
            let subject = Subject::of(bound, self.component, grid).filter(|subject| !subject.is_open())?;
            if matches!(bound, Bound::Hash { modulus, .. } if self.modulus.is_some_and(|known| known != *modulus))
            {
                return None;
            }
            let mut pieces = self.pieces.clone()?;
            let names_prefix = pieces.iter().any(|piece| matches!(piece, Piece::Prefix(_)));
            if !names_prefix
                && !subject.prefix().is_empty()
                && self.prefix.as_deref() != Some(subject.prefix())
            {
                let key = pieces.iter().position(|piece| matches!(piece, Piece::Key(..)))?;
                for component in (0..subject.prefix().len()).rev() {
                    pieces.insert(key, Piece::Text("_".into()));
                    pieces.insert(key, Piece::Prefix(component));
                }
            }
            let texts = pieces.iter().map(|piece| match piece {
                Piece::Parent => Some(self.parent.clone()),
                piece => subject.faithful(piece),
            });
            Some((texts.collect::<Option<Vec<String>>>()?, front(&pieces)))
        };
        match learned() {
            Some((texts, front)) => Parts { texts, front },
            None => Parts { texts: vec![self.parent.clone(), self.plain(bound, grid)], front: 0 },
        }
    }

    /// What follows the parent's name where there is no pattern.
    fn plain(&self, bound: &Bound, grid: Option<&Grid>) -> String {
        let by_modulus = |modulus: u32| self.modulus.is_some_and(|known| known != modulus);
        match bound {
            Bound::Default => "_default".into(),
            Bound::Hash { modulus, remainder } if by_modulus(*modulus) => format!("_h{remainder}of{modulus}"),
            Bound::Hash { remainder, .. } => format!("_h{remainder}"),
            Bound::List(values) => format!("_{}", piece::list_text(values)),
            Bound::Range { from, to } => match Subject::of(bound, self.component, grid) {
                Some(subject) => format!("_p{}", subject.plain()),
                None => format!("_p{}", open_text(from, to)),
            },
        }
    }
}

/// A name, before it is cut to its length.
struct Parts {
    texts: Vec<String>,
    /// Which of them is shortened.
    front: usize,
}

impl Parts {
    /// The name, the `nth` that is tried.
    fn join(&self, nth: usize) -> String {
        let mark = if nth == 1 { String::new() } else { format!("_{nth}") };
        let room = LONGEST - mark.len();
        let whole = self.texts.concat();
        if whole.len() <= room {
            return format!("{whole}{mark}");
        }
        let front = &self.texts[self.front];
        let digest = digest(front);
        let around = whole.len() - front.len() + 1 + digest.len();
        if around >= room {
            // The key alone is too long: a digest of everything keeps it apart from others.
            return format!("{}{mark}", shortened(&whole, room));
        }
        let (before, after) = (self.texts[..self.front].concat(), self.texts[self.front + 1..].concat());
        format!("{before}{}_{digest}{after}{mark}", cut(front, room - around))
    }
}

/// `text` in at most `room` bytes, with a digest of what it was.
fn shortened(text: &str, room: usize) -> String {
    let digest = digest(text);
    format!("{}_{digest}", cut(text, room.saturating_sub(digest.len() + 1)))
}

/// At most the first `bytes` bytes, in whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Eight hexadecimal digits that stand for `text`.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The piece that is shortened: the parent's name, or else the longest text.
fn front(pieces: &[Piece]) -> usize {
    let length = |piece: &Piece| match piece {
        Piece::Parent => usize::MAX,
        Piece::Text(text) => text.len(),
        Piece::Prefix(_) | Piece::Key(..) => 0,
    };
    // The first of the longest: `max_by_key` would give the last.
    (0..pieces.len()).rev().max_by_key(|&at| length(&pieces[at])).unwrap_or(0)
}

/// What speaks for some pieces: the weight of the names that they give again, how many that are, whether they tell
/// neighbours apart, and how long the key is that they explain.
type Merit = (f64, usize, bool, usize);

/// The pieces that give most of the names again, the newest first.
fn best(parent: &str, known: &[(&str, Subject)]) -> Option<Vec<Piece>> {
    let mut best: Option<(Merit, Vec<Piece>)> = None;
    let mut tried: Vec<Vec<Piece>> = Vec::new();
    for (name, subject) in known.iter().take(MODELS) {
        for pieces in candidates(parent, name, subject) {
            if tried.contains(&pieces) {
                continue;
            }
            let gives =
                |(name, subject): &(&str, Subject)| text(&pieces, parent, subject).as_deref() == Some(name);
            let given: Vec<usize> = (0..known.len()).filter(|&at| gives(&known[at])).collect();
            let weight: f64 = given.iter().map(|&at| WEIGHT.powi(at as i32)).sum();
            let key_length =
                keys(&pieces).filter_map(|(side, form)| subject.text(side, form)).map(|t| t.len()).sum();
            // One name of several may be anything, unless its key can hardly be an accident.
            let telling = given.len() > 1 || known.len() == 1 || key_length >= 6;
            let distinct = keys(&pieces).any(|(side, form)| subject.distinguishes(side, form));
            let merit = (weight, given.len(), distinct, key_length);
            if telling && best.as_ref().is_none_or(|(known, _)| *known < merit) {
                best = Some((merit, pieces.clone()));
            }
            tried.push(pieces);
        }
    }
    best.map(|(_, pieces)| pieces)
}

fn keys(pieces: &[Piece]) -> impl Iterator<Item = (Side, &Form)> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Key(side, form) => Some((*side, form)),
        _ => None,
    })
}

/// The name that `pieces` give.
fn text(pieces: &[Piece], parent: &str, subject: &Subject) -> Option<String> {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Parent => Some(parent.to_owned()),
            Piece::Text(text) => Some(text.clone()),
            Piece::Prefix(component) => subject.prefix_text(*component),
            Piece::Key(side, form) => subject.text(*side, form),
        })
        .collect()
}

/// Every way to take `name` apart around the key of `subject`.
fn candidates(parent: &str, name: &str, subject: &Subject) -> Vec<Vec<Piece>> {
    let mut all = Vec::new();
    for (side, form) in subject.forms(name) {
        let Some(found) = subject.text(side, &form) else { continue };
        let Some(at) = find(name, &found) else { continue };
        let (before, after) = (&name[..at], &name[at + found.len()..]);
        let mut pieces = fronted(parent, before, subject);
        pieces.push(Piece::Key(side, form.clone()));
        let second = subject.second(side).iter().find_map(|&other| {
            let found = subject.text(other, &form)?;
            let at = find(after, &found).filter(|_| other != side)?;
            Some((other, at, found.len()))
        });
        match second {
            Some((other, at, length)) => {
                push_text(&mut pieces, &after[..at]);
                pieces.push(Piece::Key(other, form));
                push_text(&mut pieces, &after[at + length..]);
            }
            None => push_text(&mut pieces, after),
        }
        all.push(pieces);
    }
    all
}

/// What comes before the key: the parent's name, and the values of the components before the growing one.
fn fronted(parent: &str, before: &str, subject: &Subject) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = before;
    if let Some(behind) = before.strip_prefix(parent)
        && !parent.is_empty()
    {
        pieces.push(Piece::Parent);
        rest = behind;
    }
    for component in 0..subject.prefix().len() {
        if let Some(text) = subject.prefix_text(component)
            && let Some(at) = find(rest, &text)
        {
            push_text(&mut pieces, &rest[..at]);
            pieces.push(Piece::Prefix(component));
            rest = &rest[at + text.len()..];
        }
    }
    push_text(&mut pieces, rest);
    pieces
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where `text` stands last in `name`, not as a part of a longer number or, if it is one, of a longer word.
fn find(name: &str, text: &str) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    let joined = |a: Option<char>, b: Option<char>| match (a, b) {
        (Some(a), Some(b)) => {
            a.is_ascii_digit() && b.is_ascii_digit() || a.is_alphabetic() && b.is_alphabetic()
        }
        _ => false,
    };
    let free = |at: &usize| {
        let (before, after) = (&name[..*at], &name[at + text.len()..]);
        !joined(before.chars().next_back(), text.chars().next())
            && !joined(text.chars().next_back(), after.chars().next())
    };
    name.rmatch_indices(text).map(|(at, _)| at).find(free)
}

/// The edges of a range.
fn ends(bound: &Bound) -> Option<(Vec<Edge>, Vec<Edge>)> {
    match bound {
        Bound::Range { from, to } => Some((from.clone(), to.clone())),
        _ => None,
    }
}

/// A range that has no end that is a value, or none that can be read.
fn open_text(from: &[Edge], to: &[Edge]) -> String {
    let text = |edges: &[Edge]| edges.iter().map(piece::edge_text).collect::<Vec<_>>().join("_");
    match from.iter().any(|edge| matches!(edge, Edge::At(_))) {
        true => text(from),
        false => format!("{}_{}", text(from), text(to)),
    }
}
