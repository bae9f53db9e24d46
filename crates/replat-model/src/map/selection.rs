//! What a person names when asking for a partition: `acme`, `tenant_id=42`, `tenant_id=[100,200),region=eu`.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Dimension;
use super::build::Meant;
use crate::ids::PartitionId;
use crate::key::{KeyType, KeyValue};
use crate::region::{Constraint, Region, Shown};
use crate::spec::nearest;

/// The keys that a person means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those of the partition with this name.
    Named(PartitionId),
    /// Those for which each of these dimensions, by its index, is as picked. Other dimensions are free.
    Keys(BTreeMap<usize, Pick>),
}

/// What is picked of one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// One value.
    Is(KeyValue),
    /// A half-open range, bounded on one side at least.
    Within {
        /// The least value, itself inside.
        lower: Option<KeyValue>,
        /// The value before which the range ends, itself outside.
        upper: Option<KeyValue>,
    },
}

/// A text that does not say which keys are meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} does not say which partition: {what}{}", Meant(nearest))]
pub struct BadSelection {
    /// The whole text.
    pub text: String,
    /// What is wrong, without a full stop.
    pub what: String,
    /// The known name that was probably meant.
    pub nearest: Option<String>,
}

impl Selection {
    /// Reads a partition's name, or `column=value` and `column=[lower,upper)` joined by commas.
    ///
    /// Either end of a range may be missing. A value with a comma, a bracket or a quote in it, or with blanks
    /// that count, is written in double quotes, with quotes inside it doubled.
    ///
    /// # Errors
    ///
    /// [`BadSelection`] if a column is unknown or given twice, a value is not of its type, a range is empty, or
    /// the text is none of those forms.
    pub fn parse(text: &str, dimensions: &[Dimension]) -> Result<Selection, BadSelection> {
        let at_fault = |fault: Fault| {
            let nearest = fault.nearest;
            BadSelection { text: text.to_owned(), what: fault.what, nearest }
        };
        if text.contains('=') {
            picks(text, dimensions).map(Selection::Keys).map_err(at_fault)
        } else {
            text.trim().parse().map(Selection::Named).map_err(|why| at_fault(Fault::of(format!("{why}"))))
        }
    }

    /// The keys as a region; `None` for a name, which only a map can resolve.
    pub fn region(&self) -> Option<Region> {
        let Selection::Keys(picks) = self else { return None };
        let clause =
            |region: Region, (dimension, pick): (&usize, &Pick)| region.and(*dimension, pick.constraint());
        Some(picks.iter().fold(Region::everything(), clause))
    }
}

impl Pick {
    /// What the values that are picked satisfy.
    pub(super) fn constraint(&self) -> Constraint {
        match self {
            Pick::Is(value) => Constraint::OneOf([value.clone()].into()),
            Pick::Within { lower, upper } => {
                Constraint::Within { lower: lower.clone(), upper: upper.clone() }
            }
        }
    }

    /// Whether `constraint` alone lets through nothing but what is picked.
    pub(super) fn follows_from(&self, constraint: &Constraint) -> bool {
        match (self, constraint) {
            (pick, Constraint::OneOf(values)) => values.iter().all(|value| pick.constraint().admits(value)),
            (Pick::Is(only), Constraint::Within { lower: Some(lower), upper }) => {
                lower == only && upper.is_some() && lower.successor() == *upper
            }
            (Pick::Within { lower: from, upper: to }, Constraint::Within { lower, upper }) => {
                // Nothing sorts before every value, and so does `None`.
                let ends = to.as_ref().is_none_or(|to| upper.as_ref().is_some_and(|upper| upper <= to));
                lower >= from && ends
            }
            _ => false,
        }
    }

    /// Its part of a carved leaf's name.
    fn words(&self, column: &str) -> Words {
        let named = Words::of_text(column);
        match self {
            Pick::Is(value) => named.then("_").and(Words::of_value(value)),
            Pick::Within { lower: Some(lower), upper: None } => {
                named.then("_from_").and(Words::of_value(lower))
            }
            Pick::Within { lower: None, upper: Some(upper) } => {
                named.then("_before_").and(Words::of_value(upper))
            }
            Pick::Within { lower: Some(lower), upper: Some(upper) } => {
                named.then("_").and(Words::of_value(lower)).then("_to_").and(Words::of_value(upper))
            }
            Pick::Within { lower: None, upper: None } => named,
        }
    }
}

/// The name of the leaf that is carved out for `picks`: `tenant_id_42`, `tenant_id_100_to_200_region_eu`.
///
/// `tail` is added as it is, for the leaf that takes what is left of the picks.
pub(super) fn carved_name(picks: &BTreeMap<usize, Pick>, dimensions: &[Dimension], tail: &str) -> Name {
    let mut words = picks.iter().map(|(index, pick)| pick.words(&dimensions[*index].column));
    let first = words.next().unwrap_or_else(|| Words::of_text(""));
    words.fold(first, |name, more| name.then("_").and(more)).then(tail).into_name()
}

/// The name of what is left above a carved range of `leaf`: `rest_from_200`.
pub(super) fn name_above(leaf: &PartitionId, upper: &KeyValue) -> Name {
    Words::of_text(leaf.as_str()).then("_from_").and(Words::of_value(upper)).into_name()
}

/// A derived name: the plain one, and the one with a digest for when the plain one is taken.
pub(super) struct Name {
    pub(super) plain: PartitionId,
    pub(super) digested: PartitionId,
}

/// The makings of a name.
struct Words {
    /// What the name shows: characters of an id only.
    shown: String,
    /// What the name stands for, exactly.
    meant: String,
    /// Whether two meanings could have come to show the same.
    blurred: bool,
}

impl Words {
    /// Capitals become small and whatever an id cannot hold becomes `_`; both blur.
    fn of_text(text: &str) -> Words {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let small = |c: char| c.to_ascii_lowercase();
        let shown: String = text.chars().map(small).map(|c| if legal(c) { c } else { '_' }).collect();
        Words { blurred: shown != text, meant: format!("{text:?}"), shown }
    }

    /// Types with one way of writing do not blur: no two days or numbers come to the same letters.
    fn of_value(value: &KeyValue) -> Words {
        let shown = match value {
            KeyValue::Text(text) => return Words::of_text(text),
            KeyValue::Int(n) => format!("{}{}", if *n < 0 { "minus_" } else { "" }, n.unsigned_abs()),
            KeyValue::Uuid(_) => value.to_string().replace('-', ""),
            KeyValue::Date(_) | KeyValue::Timestamp(_) => {
                let text = Shown(value).to_string().to_ascii_lowercase();
                text.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
            }
        };
        Words { meant: shown.clone(), shown, blurred: false }
    }

    fn then(mut self, link: &str) -> Words {
        self.shown += link;
        self.meant += link;
        self
    }

    fn and(self, more: Words) -> Words {
        Words {
            shown: self.shown + &more.shown,
            meant: self.meant + &more.meant,
            blurred: self.blurred || more.blurred,
        }
    }

    fn into_name(self) -> Name {
        // Bytes of a `PartitionId`, and hexadecimal digits of the digest at its end.
        const ID_MAX: usize = 48;
        const DIGITS: usize = 8;
        let legal =
            |text: &str| text.parse::<PartitionId>().expect("only legal characters, and not too many");
        let digest: String = Sha256::digest(&self.meant).iter().map(|b| format!("{b:02x}")).collect();
        let kept = &self.shown[..self.shown.len().min(ID_MAX - DIGITS - 1)];
        let digested = legal(&format!("{kept}_{}", &digest[..DIGITS]));
        let exact = !self.blurred && (1..=ID_MAX).contains(&self.shown.len());
        Name { plain: if exact { legal(&self.shown) } else { digested.clone() }, digested }
    }
}

/// What is wrong, while the text as a whole is not at hand.
struct Fault {
    what: String,
    nearest: Option<String>,
}

impl Fault {
    fn of(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), nearest: None }
    }
}

fn picks(text: &str, dimensions: &[Dimension]) -> Result<BTreeMap<usize, Pick>, Fault> {
    let mut picks = BTreeMap::new();
    let mut scan = Scan { rest: text.trim() };
    loop {
        let column = scan.until(&['=']).trim();
        scan.expect('=')?;
        let index = dimension(column, dimensions)?;
        let pick = pick(&mut scan, &dimensions[index])?;
        if picks.insert(index, pick).is_some() {
            return Err(Fault::of(format!("{column} is given twice")));
        }
        if scan.rest.is_empty() {
            return Ok(picks);
        }
        scan.expect(',')?;
    }
}

fn dimension(column: &str, dimensions: &[Dimension]) -> Result<usize, Fault> {
    let columns = || dimensions.iter().map(|dimension| dimension.column.as_str());
    columns().position(|known| known == column).ok_or_else(|| Fault {
        what: format!(
            "{column:?} is not a dimension; there are {}",
            columns().collect::<Vec<_>>().join(", ")
        ),
        nearest: nearest(column, columns()).map(str::to_owned),
    })
}

fn pick(scan: &mut Scan, dimension: &Dimension) -> Result<Pick, Fault> {
    let Dimension { column, key_type } = dimension;
    if !scan.skip('[') {
        let text = scan.value(&[','])?;
        let text = text.ok_or_else(|| Fault::of(format!("{column} has no value; empty text is \"\"")))?;
        return typed(*key_type, &text).map(Pick::Is);
    }
    let lower = scan.value(&[',', ')'])?;
    scan.expect(',')?;
    let upper = scan.value(&[')', ','])?;
    scan.expect(')')?;
    let typed_end = |end: Option<String>| end.map(|text| typed(*key_type, &text)).transpose();
    range(typed_end(lower)?, typed_end(upper)?)
}

fn typed(key_type: KeyType, text: &str) -> Result<KeyValue, Fault> {
    key_type.parse(text).map_err(|why| Fault::of(why.to_string()))
}

/// A range that holds one value is that value, so that it is asked for in one way only.
fn range(lower: Option<KeyValue>, upper: Option<KeyValue>) -> Result<Pick, Fault> {
    match (lower, upper) {
        (None, None) => Err(Fault::of("a range without ends is everything; leave it out")),
        (Some(lower), Some(upper)) if lower >= upper => {
            Err(Fault::of(format!("the range from {} to before {} is empty", Shown(&lower), Shown(&upper))))
        }
        (Some(lower), upper @ Some(_)) if lower.successor() == upper => Ok(Pick::Is(lower)),
        (lower, upper) => Ok(Pick::Within { lower, upper }),
    }
}

/// The text that is still to be read.
struct Scan<'a> {
    rest: &'a str,
}

impl<'a> Scan<'a> {
    fn until(&mut self, ends: &[char]) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn skip(&mut self, wanted: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), Fault> {
        if self.skip(wanted) {
            self.rest = self.rest.trim_start();
            return Ok(());
        }
        let found = self.rest.trim_start().chars().next().map_or("the end".to_owned(), |c| format!("{c:?}"));
        Err(Fault::of(format!("{wanted:?} was expected, not {found}")))
    }

    /// A value: in quotes, or bare up to one of `ends`; `None` if there is nothing.
    fn value(&mut self, ends: &[char]) -> Result<Option<String>, Fault> {
        if !self.skip('"') {
            let bare = self.until(ends).trim();
            return Ok((!bare.is_empty()).then(|| bare.to_owned()));
        }
        let mut value = String::new();
        loop {
            value += self.until(&['"']);
            let Some(rest) = self.rest.strip_prefix('"') else {
                return Err(Fault::of("a quote is opened and not closed"));
            };
            self.rest = rest;
            if !self.rest.starts_with('"') {
                self.rest = self.rest.trim_start();
                return Ok(Some(value));
            }
            self.rest = &self.rest[1..];
            value.push('"');
        }
    }
}
