//! From the tree that a spec describes to the tree that a map holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::check::DEPTH_MAX;
use super::reach::{Left, Sides};
use super::split::{By, List, REST, Range};
use super::{Dimension, Leaf, Map, Names, Node, Slots, Split, Tree};
use crate::ids::{Epoch, Home, PartitionId};
use crate::key::{KeyLiteral, KeyType, KeyValue};
use crate::region::Shown;
use crate::spec::nearest;

/// The most buckets of one hash split.
pub(super) const BUCKETS_MAX: u32 = 1 << 20;

/// Something that is wrong with the tree or the dimensions of a context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}{}", Lead(path), Meant(nearest))]
pub struct BadTree {
    /// Where: the keys that lead to it from the tree's top, as in `under`, `eu`, `list`. Empty for the whole.
    pub path: Vec<String>,
    /// What is wrong, without a full stop.
    pub what: String,
    /// The known name that was probably meant.
    pub nearest: Option<String>,
}

struct Lead<'a>(&'a [String]);

impl fmt::Display for Lead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0.join(".")) }
    }
}

/// `; did you mean …?`, where something is known.
pub(super) struct Meant<'a>(pub(super) &'a Option<String>);

impl fmt::Display for Meant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |name| write!(f, "; did you mean {name}?"))
    }
}

impl Map {
    /// The first version of a context's map: all partitions in `home`, at the first epoch.
    ///
    /// Without a tree there is one partition, named after the context.
    ///
    /// # Errors
    ///
    /// [`BadTree`] for the first thing that is wrong: a name that is unknown, illegal or used twice, a value that
    /// is not one of its dimension's type or is listed twice, cuts that do not ascend, or a leaf that no key can
    /// reach.
    pub fn build(
        context: &str,
        dimensions: Vec<Dimension>,
        tree: Option<&Tree>,
        home: Home,
    ) -> Result<Map, BadTree> {
        check_dimensions(context, &dimensions)?;
        let mut builder =
            Builder { dimensions: &dimensions, home: Arc::new(home), names: BTreeSet::new(), next_number: 1 };
        let root = match tree {
            Some(tree) => builder.split(&Place::top(), tree, &vec![Left::default(); dimensions.len()])?,
            None => builder.leaf(&Place { name: context.to_owned(), ..Place::top() })?,
        };
        let names = Names::of(&root).expect("the builder refuses a name that is there");
        Ok(Map { context: context.into(), version: 1, dimensions: dimensions.into(), root, names })
    }
}

fn check_dimensions(context: &str, dimensions: &[Dimension]) -> Result<(), BadTree> {
    let top = Place::top();
    if dimensions.is_empty() {
        return Err(top.bad(format!("context {context} has no dimension to be partitioned by")));
    }
    let mut columns = BTreeSet::new();
    match dimensions.iter().find(|dimension| !columns.insert(&dimension.column)) {
        Some(twice) => Err(top.bad(format!("context {context} has two dimensions {:?}", twice.column))),
        None => Ok(()),
    }
}

/// Where the builder is in the tree.
struct Place {
    /// The keys that lead here in the spec.
    path: Vec<String>,
    /// The names of the children on the way here, joined.
    name: String,
    /// How many splits lie above.
    depth: usize,
}

impl Place {
    fn top() -> Place {
        Place { path: Vec::new(), name: String::new(), depth: 0 }
    }

    fn child(&self, name: &str) -> Place {
        let path = [&self.path[..], &["under".to_owned(), name.to_owned()]].concat();
        let name = if self.name.is_empty() { name.to_owned() } else { format!("{}_{name}", self.name) };
        Place { path, name, depth: self.depth + 1 }
    }

    fn bad(&self, what: String) -> BadTree {
        BadTree { path: self.path.clone(), what, nearest: None }
    }

    fn bad_at(&self, key: &str, what: String) -> BadTree {
        let mut bad = self.bad(what);
        bad.path.push(key.to_owned());
        bad
    }
}

struct Builder<'a> {
    dimensions: &'a [Dimension],
    home: Arc<Home>,
    names: BTreeSet<PartitionId>,
    /// The number that the next split gets.
    next_number: u32,
}

/// The children of a split by name, each at its place, and how values find them.
struct Cut {
    names: Vec<String>,
    by: By,
}

impl Builder<'_> {
    fn leaf(&mut self, place: &Place) -> Result<Node, BadTree> {
        let partition: PartitionId = place
            .name
            .parse()
            .map_err(|why| place.bad(format!("this partition's name cannot be used: {why}")))?;
        if !self.names.insert(partition.clone()) {
            return Err(place.bad(format!("two partitions would be named {partition}")));
        }
        Ok(Node::Leaf(Leaf { partition, home: self.home.clone(), epoch: Epoch::FIRST }))
    }

    /// The split at a place, where `left` is left of each dimension.
    fn split(&mut self, place: &Place, tree: &Tree, left: &[Left]) -> Result<Node, BadTree> {
        if place.depth == DEPTH_MAX {
            return Err(place.bad(format!("splits are nested in each other more than {DEPTH_MAX} deep")));
        }
        let dimension = self.dimension(place, &tree.split)?;
        let key_type = self.dimensions[dimension].key_type;
        let Cut { names, by } = cut(place, tree, key_type)?;
        check_names(place, tree, &names)?;
        let number = self.next_number;
        self.next_number += 1;

        let sides = Sides::of(&left[dimension], &by);
        let child = |(at, name): (usize, &String)| {
            let child = place.child(name);
            let Some(side) = sides.at(at) else {
                return Err(
                    child.bad(format!("no key can reach {name}: the splits above leave nothing for it"))
                );
            };
            let Some(under) = tree.under.get(name) else { return self.leaf(&child) };
            let mut left = left.to_vec();
            left[dimension] = side;
            self.split(&child, under, &left)
        };
        let children = names.iter().enumerate().map(child).collect::<Result<Slots<Node>, BadTree>>()?;
        Ok(Node::Split(Arc::new(Split { number, dimension, by, children })))
    }

    fn dimension(&self, place: &Place, column: &str) -> Result<usize, BadTree> {
        let columns = || self.dimensions.iter().map(|dimension| dimension.column.as_str());
        columns().position(|known| known == column).ok_or_else(|| BadTree {
            nearest: nearest(column, columns()).map(str::to_owned),
            ..place.bad_at("split", format!("{column:?} is not a dimension of this context"))
        })
    }
}

fn cut(place: &Place, tree: &Tree, key_type: KeyType) -> Result<Cut, BadTree> {
    if tree.names.is_some() && tree.cuts.is_none() {
        return Err(place.bad_at("names", "names belong to cuts, which are not given".into()));
    }
    if tree.rest.is_some() && tree.list.is_none() {
        return Err(place.bad_at("rest", "a rest belongs to a list, which is not given".into()));
    }
    match (&tree.list, tree.hash, &tree.cuts) {
        (Some(list), None, None) => cut_by_list(place, list, tree.rest.as_deref(), key_type),
        (None, Some(modulus), None) => cut_by_hash(place, modulus),
        (None, None, Some(cuts)) => cut_by_range(place, cuts, tree.names.as_deref(), key_type),
        (None, None, None) => Err(place.bad("a split needs one of list, hash and cuts".into())),
        _ => Err(place.bad("a split takes only one of list, hash and cuts".into())),
    }
}

fn cut_by_list(
    place: &Place,
    list: &BTreeMap<String, Vec<KeyLiteral>>,
    rest: Option<&str>,
    key_type: KeyType,
) -> Result<Cut, BadTree> {
    let mut names = vec![rest.unwrap_or("rest").to_owned()];
    let mut places: BTreeMap<KeyValue, usize> = BTreeMap::new();
    let mut values = Vec::with_capacity(list.len());
    for (name, literals) in list {
        let bad = |what| {
            let mut bad = place.bad_at("list", what);
            bad.path.push(name.clone());
            bad
        };
        if literals.is_empty() {
            return Err(bad(format!("{name} has no values")));
        }
        let mut own = Vec::with_capacity(literals.len());
        for literal in literals {
            let value = key_type.literal(literal).map_err(|why| bad(why.to_string()))?;
            if let Some(other) = places.get(&value) {
                let other = names.get(*other).unwrap_or(name);
                return Err(bad(format!("{} is listed twice, for {other} and {name}", Shown(&value))));
            }
            places.insert(value.clone(), names.len());
            own.push(value);
        }
        names.push(name.clone());
        values.push(own);
    }
    debug_assert_eq!(REST, 0, "the rest comes first");
    let by = List::of_each(values).expect("each child has values, and none is listed twice");
    Ok(Cut { names, by: By::List(by) })
}

fn cut_by_hash(place: &Place, modulus: u32) -> Result<Cut, BadTree> {
    if !(1..=BUCKETS_MAX).contains(&modulus) {
        return Err(
            place.bad_at("hash", format!("the modulus must be from 1 to {BUCKETS_MAX}; it is {modulus}"))
        );
    }
    Ok(Cut { names: (0..modulus).map(|bucket| format!("b{bucket}")).collect(), by: By::Hash(modulus) })
}

fn cut_by_range(
    place: &Place,
    cuts: &[KeyLiteral],
    names: Option<&[String]>,
    key_type: KeyType,
) -> Result<Cut, BadTree> {
    let bad = |why: String| place.bad_at("cuts", why);
    let cuts: Vec<KeyValue> = cuts
        .iter()
        .map(|literal| key_type.literal(literal).map_err(|why| bad(why.to_string())))
        .collect::<Result<_, _>>()?;
    if cuts.is_empty() {
        return Err(bad("there is no cut".into()));
    }
    if let Some(pair) = cuts.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(bad(format!("cuts must ascend; {} is not before {}", Shown(&pair[0]), Shown(&pair[1]))));
    }
    let names = match names {
        None => (0..=cuts.len()).map(|range| format!("r{range}")).collect(),
        Some(names) if names.len() == cuts.len() + 1 => names.to_vec(),
        Some(names) => {
            let what =
                format!("{} cuts need {} names; there are {}", cuts.len(), cuts.len() + 1, names.len());
            return Err(place.bad_at("names", what));
        }
    };
    let by = Range::of_cuts(cuts, None).expect("the cuts ascend");
    Ok(Cut { names, by: By::Range(by) })
}

/// Whether the children's names are legal and different, and what is under them belongs to one of them.
fn check_names(place: &Place, tree: &Tree, names: &[String]) -> Result<(), BadTree> {
    let mut seen = BTreeSet::new();
    for name in names {
        name.parse::<PartitionId>()
            .map_err(|why| place.bad(format!("a child cannot have this name: {why}")))?;
        if !seen.insert(name.as_str()) {
            return Err(place.bad(format!("two children are named {name}")));
        }
    }
    match tree.under.keys().find(|name| !seen.contains(name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(BadTree {
            nearest: nearest(unknown, names.iter().map(String::as_str)).map(str::to_owned),
            ..place.bad_at("under", format!("there is no child {unknown:?} to be split further"))
        }),
    }
}
