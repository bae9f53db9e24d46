//! What is left of the key space on the way down, dimension by dimension: whether some key comes to a leaf.
//!
//! The same is said by [`Region`](crate::region::Region), which owns what it says and outlives the map. This
//! borrows, so that a million leaves can be checked without a copy of what the splits above them say.

use std::collections::{BTreeMap, BTreeSet};

use super::split::{By, List, REST};
use super::{Map, Node};
use crate::key::KeyValue;
use crate::region::Constraint;

/// What is left of one dimension.
#[derive(Clone, Debug, Default)]
pub(super) struct Left<'a> {
    /// The only values that are left; `None` if they cannot be counted.
    only: Option<Vec<&'a KeyValue>>,
    lower: Option<&'a KeyValue>,
    upper: Option<&'a KeyValue>,
    /// The lists of whose values none is left.
    without: Vec<&'a List>,
    /// Moduli and remainders.
    buckets: Vec<(u32, u32)>,
}

/// What is left of a split's dimension, and the split that shares it out among its children.
pub(super) struct Sides<'a> {
    before: Left<'a>,
    by: &'a By,
    /// Where only some values are left: which of them each child takes.
    shares: Option<BTreeMap<usize, Vec<&'a KeyValue>>>,
}

impl<'a> Sides<'a> {
    pub(super) fn of(before: &Left<'a>, by: &'a By) -> Sides<'a> {
        let shares = before.only.as_ref().map(|values| {
            let mut shares: BTreeMap<usize, Vec<&KeyValue>> = BTreeMap::new();
            values.iter().for_each(|value| shares.entry(by.place(value)).or_default().push(value));
            shares
        });
        Sides { before: before.clone(), by, shares }
    }

    /// What is left for the child at a place; `None` if that is nothing.
    pub(super) fn at(&self, place: usize) -> Option<Left<'a>> {
        let mut left = self.before.clone();
        if let Some(shares) = &self.shares {
            left.only = Some(shares.get(&place)?.clone());
            return Some(left);
        }
        match self.by {
            By::List(list) if place == REST => left.without.push(list),
            By::List(list) => {
                let values: Vec<_> = list.of(place).iter().filter(|value| left.admits(value)).collect();
                left.only = Some(values).filter(|values| !values.is_empty());
                left.only.as_ref()?;
            }
            By::Hash(modulus) => {
                let remainder = u32::try_from(place).ok()?;
                if left.buckets.iter().any(|(m, r)| clash((*m, *r), (*modulus, remainder))) {
                    return None;
                }
                left.buckets.push((*modulus, remainder));
            }
            By::Range(range) => {
                let (lower, upper) = range.ends(place);
                left.lower = left.lower.max(lower);
                left.upper = [left.upper, upper].into_iter().flatten().min();
                if left.lower.is_some() && left.upper.is_some_and(|upper| left.lower >= Some(upper)) {
                    return None;
                }
            }
        }
        Some(left)
    }
}

impl Left<'_> {
    fn admits(&self, value: &KeyValue) -> bool {
        self.lower.is_none_or(|lower| lower <= value)
            && self.upper.is_none_or(|upper| value < upper)
            && self.without.iter().all(|list| !list.lists(value))
            && self.buckets.iter().all(|(modulus, r)| By::Hash(*modulus).place(value) == *r as usize)
    }

    /// The ends between which values are left; `None` twice where they are counted.
    pub(super) fn ends(&self) -> (Option<KeyValue>, Option<KeyValue>) {
        if self.only.is_some() { (None, None) } else { (self.lower.cloned(), self.upper.cloned()) }
    }

    /// What every value that is left satisfies, as far as values and ends can say it.
    pub(super) fn said(&self) -> Constraint {
        match &self.only {
            Some(values) => {
                Constraint::OneOf(values.iter().map(|value| (*value).clone()).collect::<BTreeSet<_>>())
            }
            None => Constraint::Within { lower: self.lower.cloned(), upper: self.upper.cloned() },
        }
    }
}

/// Whether no number has both remainders: they differ modulo what the moduli have in common.
fn clash((m, r): (u32, u32), (n, s): (u32, u32)) -> bool {
    let common = crate::region::greatest_common_divisor(m, n);
    r % common != s % common
}

impl Map {
    /// What is left of each dimension at the end of a path; `None` if nothing is, or there is no such path.
    pub(super) fn left_at(&self, path: &[usize]) -> Option<Vec<Left<'_>>> {
        let mut left = vec![Left::default(); self.dimensions.len()];
        let mut node = &self.root;
        for &place in path {
            let Node::Split(split) = node else { return None };
            node = split.children.get(place)?;
            left[split.dimension] = Sides::of(&left[split.dimension], &split.by).at(place)?;
        }
        Some(left)
    }
}
