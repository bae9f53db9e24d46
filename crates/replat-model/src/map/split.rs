//! One cut of the key space: which child takes a value, and which values a child takes.
//!
//! A child keeps its place for as long as the split stands. Carving only adds children at the end, also where a
//! range is cut in the middle, so that nothing that knows a child by its place needs to hear of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slots::{self, Slots};
use super::sorted::{self, Sorted};
use super::{Node, Probe};
use crate::hash;
use crate::key::KeyValue;
use crate::region::Constraint;

/// The place of a list's rest.
pub(super) const REST: usize = 0;

/// A cut along one dimension, and what lies on its sides.
#[derive(Clone, Debug)]
pub struct Split {
    /// Tells it from all other splits of the map. Not part of what it is: it is not written.
    pub(super) number: u32,
    pub(super) dimension: usize,
    pub(super) by: By,
    pub(super) children: Slots<Node>,
}

/// How a split tells its children apart. Which child that is, is a place among the children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By value. Values that are not here go to the child at [`REST`].
    List(List),
    /// By PostgreSQL's hash of the value, modulo this number, which is the number of children.
    Hash(u32),
    /// By cut points.
    Range(Range),
}

/// The listed values, both ways: a place of a value, and the values of a place.
#[derive(Clone, Debug, Default)]
pub(super) struct List {
    places: Sorted<KeyValue, u32>,
    /// Those of [`REST`], which has none, are there too.
    values: Slots<Values>,
}

/// Most children of a list have one value, and there can be a million of them.
#[derive(Clone, Debug)]
enum Values {
    One(KeyValue),
    Any(Arc<[KeyValue]>),
}

/// The cut points, both ways: each is the first value of a child.
#[derive(Clone, Debug)]
pub(super) struct Range {
    /// The place of the child below all cuts.
    first: u32,
    cuts: Sorted<KeyValue, u32>,
    /// Where each child begins; `None` for the first.
    lower: Slots<Option<KeyValue>>,
}

/// A value that leads to a child: for a range a cut, or `None` for what is below all cuts.
pub(super) type Point = (Option<KeyValue>, u32);

impl Split {
    /// The index of the dimension that is cut.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// What lies on the sides of the cut: a list's rest first, the children of a range in the order of their keys.
    pub fn children(&self) -> impl Iterator<Item = &Node> {
        self.in_order()
    }

    /// The same, each with what a value must satisfy to be taken by it.
    pub fn parts(&self) -> impl Iterator<Item = (Constraint, &Node)> {
        let places: Vec<usize> = match &self.by {
            By::Range(range) => range.order().collect(),
            By::List(_) | By::Hash(_) => (0..self.children.len()).collect(),
        };
        places.into_iter().map(|place| (self.by.constraint(place), self.child(place)))
    }

    pub(super) fn child(&self, place: usize) -> &Node {
        self.children.get(place).expect("a split has a child at each place that it leads to")
    }

    pub(super) fn in_order(&self) -> InOrder<'_> {
        match &self.by {
            By::Range(range) => InOrder::Ranges { split: self, order: range.order() },
            By::List(_) | By::Hash(_) => InOrder::Places(self.children.iter()),
        }
    }

    /// Calls `with` for the child at each place that can take a value of which `probe` is known, in the order of
    /// the tree.
    pub(super) fn each_child<'a>(&'a self, probe: Probe, with: &mut impl FnMut(&'a Node)) {
        match (probe, &self.by) {
            (Probe::Any, _) | (Probe::Within { .. }, By::Hash(_)) => self.in_order().for_each(with),
            (Probe::Is(value), by) => with(self.child(by.place(value))),
            (Probe::Within { lower, upper }, By::Range(range)) => {
                range.within(lower, upper).for_each(|place| with(self.child(place)));
            }
            (Probe::Within { lower, upper }, By::List(list)) => {
                let listed = match lower {
                    Some(lower) => list.places.from(lower),
                    None => list.places.iter(),
                };
                let listed = listed.take_while(|(value, _)| upper.is_none_or(|upper| value < upper));
                let mut found: Vec<usize> = std::iter::once(REST).chain(listed.map(at)).collect();
                found.sort_unstable();
                found.dedup();
                found.into_iter().for_each(|place| with(self.child(place)));
            }
        }
    }

    /// Adds children at the end, and points that lead to them. A range's point can also lead elsewhere than it did.
    ///
    /// # Errors
    ///
    /// What is wrong, if it would be no split any more.
    pub(super) fn grow(&mut self, points: Vec<Point>, children: Vec<Node>) -> Result<(), &'static str> {
        let before = self.children.len();
        children.into_iter().for_each(|child| self.children.push(child));
        match &mut self.by {
            By::List(list) => list.grow(points, before, self.children.len()),
            By::Range(range) => range.grow(points, before, self.children.len()),
            By::Hash(_) => Err("the buckets of a hash cannot be more"),
        }
    }
}

/// However the numbers were given.
impl PartialEq for Split {
    fn eq(&self, other: &Split) -> bool {
        self.dimension == other.dimension && self.by == other.by && self.children == other.children
    }
}

impl Eq for Split {}

/// The children of a split in the order of the tree.
#[derive(Clone, Debug)]
pub(super) enum InOrder<'a> {
    Places(slots::Iter<'a, Node>),
    Ranges { split: &'a Split, order: Order<'a> },
}

impl<'a> Iterator for InOrder<'a> {
    type Item = &'a Node;

    fn next(&mut self) -> Option<&'a Node> {
        match self {
            InOrder::Places(children) => children.next(),
            InOrder::Ranges { split, order } => order.next().map(|place| split.child(place)),
        }
    }
}

impl By {
    /// The place of the child that takes `value`.
    pub(super) fn place(&self, value: &KeyValue) -> usize {
        match self {
            By::List(list) => list.places.get(value).map_or(REST, |place| *place as usize),
            By::Hash(modulus) => hash::bucket(&[Some(value)], *modulus) as usize,
            By::Range(range) => range.place(value),
        }
    }

    /// How many children there must be.
    pub(super) fn count(&self) -> usize {
        match self {
            By::List(list) => list.values.len(),
            By::Hash(modulus) => *modulus as usize,
            By::Range(range) => range.lower.len(),
        }
    }

    /// What a value must satisfy to be taken by the child at a place.
    pub(super) fn constraint(&self, place: usize) -> Constraint {
        match self {
            By::List(list) if place == REST => {
                Constraint::NoneOf(list.places.iter().map(|(value, _)| value.clone()).collect())
            }
            By::List(list) => Constraint::OneOf(list.of(place).iter().cloned().collect()),
            By::Hash(modulus) => {
                let remainder = u32::try_from(place).expect("there are few buckets");
                Constraint::Bucket { modulus: *modulus, remainder }
            }
            By::Range(range) => {
                let (lower, upper) = range.ends(place);
                Constraint::Within { lower: lower.cloned(), upper: upper.cloned() }
            }
        }
    }

    /// The cut that leads to a place; `None` if there is no such cut.
    pub(super) fn start(&self, place: usize) -> Option<KeyValue> {
        match self {
            By::Range(range) => range.ends(place).0.cloned(),
            By::List(_) | By::Hash(_) => None,
        }
    }

    /// The places of the children that have other keys once these points are there, but for what is new.
    pub(super) fn narrowed_by(&self, points: &[Point]) -> Vec<usize> {
        let mut places: Vec<usize> = match self {
            By::Hash(_) => Vec::new(),
            By::List(_) => vec![REST],
            By::Range(range) => {
                let hit = |cut: &Option<KeyValue>| {
                    cut.as_ref().map_or(range.first as usize, |cut| range.place(cut))
                };
                points.iter().flat_map(|(cut, place)| [hit(cut), *place as usize]).collect()
            }
        };
        places.retain(|place| *place < self.count());
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The points that lead elsewhere, or to something, in `after`. `None` if `after` is something else than this
    /// with more children.
    pub(super) fn points_to(&self, after: &By) -> Option<Vec<Point>> {
        match (self, after) {
            (By::Hash(a), By::Hash(b)) => (a == b).then(Vec::new),
            (By::List(a), By::List(b)) => {
                let (gone, new) = a.places.difference(&b.places);
                gone.is_empty().then(|| new.into_iter().map(point).collect())
            }
            (By::Range(a), By::Range(b)) => {
                let (gone, new) = a.cuts.difference(&b.cuts);
                let stays = |(cut, _): &&(KeyValue, u32)| b.cuts.get(cut).is_some();
                let first = (a.first != b.first).then_some((None, b.first));
                gone.iter().all(stays).then(|| first.into_iter().chain(new.into_iter().map(point)).collect())
            }
            _ => None,
        }
    }
}

fn point((value, place): &(KeyValue, u32)) -> Point {
    (Some(value.clone()), *place)
}

fn at((_, place): &(KeyValue, u32)) -> usize {
    *place as usize
}

impl List {
    /// Of the values of each child but the rest.
    ///
    /// # Errors
    ///
    /// What is wrong, if a value is listed twice or a child has none.
    pub(super) fn of_each(values: Vec<Vec<KeyValue>>) -> Result<List, &'static str> {
        let mut places = Vec::with_capacity(values.len());
        for (values, place) in values.iter().zip(1_u32..) {
            places.extend(values.iter().map(|value| (value.clone(), place)));
        }
        places.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if !places.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("a value is listed twice");
        }
        if values.iter().any(Vec::is_empty) {
            return Err("a child of a list has no value");
        }
        let rest = std::iter::once(Vec::new());
        Ok(List {
            places: Sorted::of_ascending(places),
            values: rest.chain(values).map(Values::from).collect(),
        })
    }

    pub(super) fn lists(&self, value: &KeyValue) -> bool {
        self.places.get(value).is_some()
    }

    /// The values of the child at a place.
    pub(super) fn of(&self, place: usize) -> &[KeyValue] {
        self.values.get(place).map_or(&[], Values::as_slice)
    }

    fn grow(&mut self, points: Vec<Point>, before: usize, after: usize) -> Result<(), &'static str> {
        (before..after).for_each(|_| self.values.push(Values::from(Vec::new())));
        let mut by_place: BTreeMap<u32, Vec<KeyValue>> = BTreeMap::new();
        for (value, place) in points {
            let value = value.ok_or("a list has no cuts")?;
            if self.places.insert(value.clone(), place).is_some() {
                return Err("a value is listed twice");
            }
            by_place.entry(place).or_default().push(value);
        }
        for (place, mut values) in by_place {
            let known = self.values.get(place as usize).filter(|_| place as usize != REST);
            values.extend_from_slice(known.ok_or("a value leads to no child")?.as_slice());
            self.values.put(place as usize, Values::from(values));
        }
        match (before.max(1)..after).all(|place| !self.of(place).is_empty()) {
            true => Ok(()),
            false => Err("a child of a list has no value"),
        }
    }
}

impl PartialEq for List {
    fn eq(&self, other: &List) -> bool {
        self.places == other.places && self.values.len() == other.values.len()
    }
}

impl Eq for List {}

impl From<Vec<KeyValue>> for Values {
    fn from(mut values: Vec<KeyValue>) -> Values {
        match (values.len(), values.pop()) {
            (1, Some(only)) => Values::One(only),
            (_, last) => {
                values.extend(last);
                values.sort_unstable();
                Values::Any(values.into())
            }
        }
    }
}

impl Values {
    fn as_slice(&self) -> &[KeyValue] {
        match self {
            Values::One(value) => std::slice::from_ref(value),
            Values::Any(values) => values,
        }
    }
}

impl Range {
    /// Of ascending cuts, and the places of the children in the order of their keys: one more than there are cuts.
    ///
    /// # Errors
    ///
    /// What is wrong, if the cuts do not ascend or a place is missing.
    pub(super) fn of_cuts(cuts: Vec<KeyValue>, order: Option<Vec<u32>>) -> Result<Range, &'static str> {
        if !cuts.is_sorted_by(|a, b| a < b) {
            return Err("its cuts do not ascend");
        }
        let count = u32::try_from(cuts.len() + 1).map_err(|_| "it has too many cuts")?;
        let order = order.unwrap_or_else(|| (0..count).collect());
        let mut seen = order.clone();
        seen.sort_unstable();
        if !seen.into_iter().eq(0..count) {
            return Err("its order does not name each child once");
        }
        let mut lower = vec![None; cuts.len() + 1];
        for (cut, place) in cuts.iter().zip(&order[1..]) {
            lower[*place as usize] = Some(cut.clone());
        }
        let first = order[0];
        let cuts = Sorted::of_ascending(cuts.into_iter().zip(order.into_iter().skip(1)).collect());
        Ok(Range { first, cuts, lower: lower.into_iter().collect() })
    }

    pub(super) fn cuts(&self) -> impl Iterator<Item = &KeyValue> {
        self.cuts.iter().map(|(cut, _)| cut)
    }

    /// The places of all children in the order of their keys.
    pub(super) fn order(&self) -> Order<'_> {
        Order { first: Some(self.first), cuts: self.cuts.iter() }
    }

    /// Where the child at a place begins, and where it ends.
    pub(super) fn ends(&self, place: usize) -> (Option<&KeyValue>, Option<&KeyValue>) {
        let lower = self.lower.get(place).and_then(Option::as_ref);
        let upper = match lower {
            Some(lower) => self.cuts.from(lower).nth(1),
            None => self.cuts.iter().next(),
        };
        (lower, upper.map(|(cut, _)| cut))
    }

    fn place(&self, value: &KeyValue) -> usize {
        self.cuts.at_or_below(value).map_or(self.first as usize, at)
    }

    /// The places of the children that have keys from `lower` to before `upper`.
    fn within<'a>(
        &'a self,
        lower: Option<&'a KeyValue>,
        upper: Option<&'a KeyValue>,
    ) -> impl Iterator<Item = usize> + 'a {
        let first = lower.map_or(self.first as usize, |lower| self.place(lower));
        let cuts = lower.map_or_else(|| self.cuts.iter(), |lower| self.cuts.from(lower));
        let inside = cuts
            .skip_while(move |(cut, _)| Some(cut) == lower)
            .take_while(move |(cut, _)| upper.is_none_or(|upper| cut < upper));
        std::iter::once(first).chain(inside.map(at))
    }

    fn grow(&mut self, points: Vec<Point>, before: usize, after: usize) -> Result<(), &'static str> {
        let mut touched: Vec<u32> = (before..after).filter_map(|place| u32::try_from(place).ok()).collect();
        touched.iter().for_each(|_| self.lower.push(None));
        for (cut, place) in points {
            if place as usize >= after {
                return Err("a cut leads to no child");
            }
            let was = match &cut {
                Some(cut) => self.cuts.insert(cut.clone(), place),
                None => Some(std::mem::replace(&mut self.first, place)),
            };
            self.lower.put(place as usize, cut);
            touched.extend(was);
        }
        // Each child begins at the cut that leads to it: then no two cuts lead to one, and none leads nowhere else.
        let leads_back = |place: &u32| match self.lower.get(*place as usize) {
            Some(Some(cut)) => self.cuts.get(cut) == Some(place),
            Some(None) => self.first == *place,
            None => false,
        };
        match self.cuts.len() + 1 == after && touched.iter().all(leads_back) {
            true => Ok(()),
            false => Err("its cuts and its children do not match"),
        }
    }
}

impl PartialEq for Range {
    fn eq(&self, other: &Range) -> bool {
        self.first == other.first && self.cuts == other.cuts
    }
}

impl Eq for Range {}

/// The places of a range's children in the order of their keys.
#[derive(Clone, Debug)]
pub(super) struct Order<'a> {
    first: Option<u32>,
    cuts: sorted::Iter<'a, KeyValue, u32>,
}

impl Iterator for Order<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.first.take().map(|first| first as usize).or_else(|| self.cuts.next().map(at))
    }
}
