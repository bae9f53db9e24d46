//! A part of a context's key space: what one partition holds, as a conjunction of constraints.
//!
//! A region says the same thing three times: to the router (`contains`), to the fence and the copy (its
//! constraints, which others write as SQL), and to people ([`Region::describe`]).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash;
use crate::key::KeyValue;
use crate::map::Dimension;

/// What is asked of one dimension of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Constraint {
    /// The value is one of these.
    OneOf(BTreeSet<KeyValue>),
    /// The value is none of these.
    NoneOf(BTreeSet<KeyValue>),
    /// The value lies in a half-open range.
    Within {
        /// The least value, itself inside; `None` if there is none.
        lower: Option<KeyValue>,
        /// The value before which the range ends, itself outside; `None` if there is none.
        upper: Option<KeyValue>,
    },
    /// PostgreSQL's hash of the value leaves this remainder.
    Bucket {
        /// The number of buckets.
        modulus: u32,
        /// The bucket, less than the modulus.
        remainder: u32,
    },
}

impl Constraint {
    /// Whether `value` is as asked.
    pub fn admits(&self, value: &KeyValue) -> bool {
        match self {
            Constraint::OneOf(values) => values.contains(value),
            Constraint::NoneOf(values) => !values.contains(value),
            Constraint::Within { lower, upper } => {
                lower.as_ref().is_none_or(|lower| lower <= value)
                    && upper.as_ref().is_none_or(|upper| value < upper)
            }
            // A modulus of zero, which only damaged input can hold, has no buckets.
            Constraint::Bucket { modulus: 0, .. } => false,
            Constraint::Bucket { modulus, remainder } => hash::bucket(&[Some(value)], *modulus) == *remainder,
        }
    }

    /// Whether nothing can ever be as asked. A list and a range can tell; a bucket is never empty.
    fn is_empty(&self) -> bool {
        match self {
            Constraint::OneOf(values) => values.is_empty(),
            Constraint::Within { lower: Some(lower), upper: Some(upper) } => lower >= upper,
            _ => false,
        }
    }

    /// Both constraints in one, where one can say it.
    fn and(&self, other: &Constraint) -> Option<Constraint> {
        use Constraint::{NoneOf, OneOf, Within};
        match (self, other) {
            (OneOf(values), filter) | (filter, OneOf(values)) => {
                Some(OneOf(values.iter().filter(|v| filter.admits(v)).cloned().collect()))
            }
            (NoneOf(a), NoneOf(b)) => Some(NoneOf(a | b)),
            (Within { lower: a, upper: b }, Within { lower: c, upper: d }) => Some(Within {
                lower: a.max(c).clone(),
                // `None` is the end of no range, and yet it sorts first.
                upper: [b, d].into_iter().flatten().min().cloned(),
            }),
            (a, b) if a == b => Some(a.clone()),
            _ => None,
        }
    }

    /// The order of constraints on one dimension.
    fn rank(&self) -> u8 {
        match self {
            Constraint::Bucket { .. } => 0,
            Constraint::Within { .. } => 1,
            Constraint::NoneOf(_) => 2,
            Constraint::OneOf(_) => 3,
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, column: &str) -> fmt::Result {
        match self {
            Constraint::OneOf(values) => write_values(f, column, ("=", "in"), values),
            Constraint::NoneOf(values) => write_values(f, column, ("<>", "not in"), values),
            Constraint::Within { lower: None, upper: None } => write!(f, "any {column}"),
            Constraint::Within { lower: Some(lower), upper: None } => {
                write!(f, "{column} >= {}", Shown(lower))
            }
            Constraint::Within { lower: None, upper: Some(upper) } => {
                write!(f, "{column} < {}", Shown(upper))
            }
            Constraint::Within { lower: Some(lower), upper: Some(upper) } => {
                write!(f, "{column} in [{}, {})", Shown(lower), Shown(upper))
            }
            Constraint::Bucket { modulus, remainder } => {
                write!(f, "hash({column}) % {modulus} = {remainder}")
            }
        }
    }
}

/// The keys that satisfy a constraint on each of some dimensions; without any, all keys.
///
/// Kept in a normal form: in dimension order, and what two constraints on one dimension say together is said by
/// one where that is possible. A list of values absorbs everything else that is asked of its dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Clause>", into = "Vec<Clause>")]
pub struct Region {
    clauses: Vec<Clause>,
}

/// One constraint and the dimension that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    dimension: usize,
    constraint: Constraint,
}

impl Region {
    /// All keys.
    pub fn everything() -> Region {
        Region::default()
    }

    /// The part of this region that satisfies one more constraint on the dimension with this index.
    #[must_use]
    pub fn and(&self, dimension: usize, constraint: Constraint) -> Region {
        let mut merged = constraint;
        let mut clauses = Vec::with_capacity(self.clauses.len() + 1);
        for clause in &self.clauses {
            match clause.constraint.and(&merged) {
                Some(both) if clause.dimension == dimension => merged = both,
                _ => clauses.push(clause.clone()),
            }
        }
        let place = (dimension, merged.rank());
        let at = clauses.partition_point(|clause| (clause.dimension, clause.constraint.rank()) <= place);
        clauses.insert(at, Clause { dimension, constraint: merged });
        Region { clauses }
    }

    /// The constraints with the index of their dimension, in dimension order. A dimension that is free does not
    /// appear, and one can appear more than once.
    pub fn constraints(&self) -> impl Iterator<Item = (usize, &Constraint)> {
        self.clauses.iter().map(|clause| (clause.dimension, &clause.constraint))
    }

    /// The constraints on one dimension.
    pub fn constraints_on(&self, dimension: usize) -> impl Iterator<Item = &Constraint> {
        self.constraints().filter(move |(index, _)| *index == dimension).map(|(_, constraint)| constraint)
    }

    /// Whether a key, one value for each dimension of the context, lies in this region. A key that is too short
    /// for a constraint does not.
    pub fn contains(&self, key: &[KeyValue]) -> bool {
        self.constraints().all(|(index, constraint)| key.get(index).is_some_and(|v| constraint.admits(v)))
    }

    /// Whether nothing can lie in this region, as far as lists, the ends of ranges and remainders can tell.
    pub fn is_empty(&self) -> bool {
        self.clauses.iter().any(|clause| clause.constraint.is_empty()) || self.has_clashing_buckets()
    }

    /// Whether some key lies in both regions; `None` where only the hash of particular values, or the values
    /// that lie between two others, could tell.
    pub fn overlaps(&self, other: &Region) -> Option<bool> {
        let both = other
            .clauses
            .iter()
            .fold(self.clone(), |both, clause| both.and(clause.dimension, clause.constraint.clone()));
        if both.is_empty() {
            return Some(false);
        }
        // One constraint on a dimension has keys, unless it is empty. Of two, nobody knows without trying.
        let alone = both.clauses.windows(2).all(|pair| pair[0].dimension != pair[1].dimension);
        alone.then_some(true)
    }

    /// The region in words for people: `tenant_id = 42 and created_at in [2026-01-01, 2026-02-01)`.
    pub fn describe(&self, dimensions: &[Dimension]) -> String {
        Described { region: self, dimensions }.to_string()
    }

    /// Whether two buckets of one dimension exclude each other: their remainders differ modulo what their
    /// moduli have in common.
    fn has_clashing_buckets(&self) -> bool {
        let buckets = || {
            self.constraints().filter_map(|(index, constraint)| match constraint {
                Constraint::Bucket { modulus, remainder } => Some((index, *modulus, *remainder)),
                _ => None,
            })
        };
        buckets().any(|(i, m, r)| {
            buckets().any(|(j, n, s)| {
                let common = greatest_common_divisor(m, n);
                i == j && r % common != s % common
            })
        })
    }
}

impl From<Vec<Clause>> for Region {
    fn from(clauses: Vec<Clause>) -> Region {
        clauses.into_iter().fold(Region::everything(), |region, c| region.and(c.dimension, c.constraint))
    }
}

impl From<Region> for Vec<Clause> {
    fn from(region: Region) -> Vec<Clause> {
        region.clauses
    }
}

pub(crate) fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    // Zero, which only damaged input can hold, is taken for one.
    if b == 0 { a.max(1) } else { greatest_common_divisor(b, a % b) }
}

struct Described<'a> {
    region: &'a Region,
    dimensions: &'a [Dimension],
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.region.clauses.is_empty() {
            return f.write_str("everything");
        }
        for (place, (index, constraint)) in self.region.constraints().enumerate() {
            if place > 0 {
                f.write_str(" and ")?;
            }
            let column = self.dimensions.get(index).map_or("?", |dimension| dimension.column.as_str());
            constraint.write(f, column)?;
        }
        Ok(())
    }
}

/// A value among words: text in quotes, a moment at midnight as its day.
pub(crate) struct Shown<'a>(pub(crate) &'a KeyValue);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            KeyValue::Text(text) => write!(f, "'{}'", text.escape_debug()),
            value => f.write_str(value.to_string().trim_end_matches(" 00:00:00")),
        }
    }
}

/// How many values of a list are shown before the rest is only counted.
const VALUES_SHOWN_MAX: usize = 8;

fn write_values(
    f: &mut fmt::Formatter<'_>,
    column: &str,
    (one, many): (&str, &str),
    values: &BTreeSet<KeyValue>,
) -> fmt::Result {
    if let (1, Some(value)) = (values.len(), values.first()) {
        return write!(f, "{column} {one} {}", Shown(value));
    }
    write!(f, "{column} {many} (")?;
    for (place, value) in values.iter().take(VALUES_SHOWN_MAX).enumerate() {
        write!(f, "{}{}", if place > 0 { ", " } else { "" }, Shown(value))?;
    }
    match values.len().saturating_sub(VALUES_SHOWN_MAX) {
        0 => f.write_str(")"),
        more => write!(f, " and {more} more)"),
    }
}
