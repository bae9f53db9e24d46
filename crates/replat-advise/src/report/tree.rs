//! From a design to what a spec says: tables that share a key, and how its key space is cut.
//!
//! A spec's tree is of one kind of question at a time, has a leaf for each partition, and can only ask for columns that
//! every table of its context carries, under one name. What a design has beyond that is left out, and said.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::design::{Cut, Design, Level, Node, Placement};
use crate::domain::{DomainId, Domains};
use crate::schema::{Derived, Schema, TableId};
use crate::trace::Trace;
use crate::value::Value;

/// A leaf's name is the path to it, so what one child is called is kept short.
const NAME_MAX: usize = 20;

/// Tables that share a key: what a spec calls a context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Family {
    /// What it is called: the table whose key it is, else the key.
    pub name: String,
    /// The columns of the key, the outermost first.
    pub dimensions: Vec<Dimension>,
    /// The tables that are cut, and the column of each that has the key now.
    pub tables: BTreeMap<String, Carrier>,
    /// The tables that every partition has, and that work together with these.
    pub everywhere: Vec<String>,
    /// How the key space is cut; `None` if it is one partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// What of the design was left out, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A column of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    /// Its name, in every table.
    pub column: String,
    /// Its type, as the catalogue writes it; `None` if that is not known.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub data_type: Option<String>,
}

/// How a table carries the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// In the column of that name.
    Itself,
    /// In a column of another name.
    Under(String),
    /// In a row that it refers to.
    Through(Derived),
}

/// How a key space is cut, as a spec has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// The column.
    pub split: String,
    /// By list: the values of each named child.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub list: BTreeMap<String, Vec<Value>>,
    /// By hash: the number of children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<u32>,
    /// By range: ascending cut points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<Value>,
    /// By list: the child that has all other values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
    /// Children that are cut further.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub under: BTreeMap<String, Tree>,
}

/// A way to a leaf.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Branch(pub String);

impl Tree {
    /// The names of its children, in order.
    pub fn children(&self) -> Vec<String> {
        match (self.hash, self.cuts.len()) {
            (Some(n), _) => (0..n).map(|n| format!("b{n}")).collect(),
            (None, 0) => self.list.keys().cloned().chain([self.rest_name()]).collect(),
            (None, cuts) => (0..=cuts).map(|n| format!("r{n}")).collect(),
        }
    }

    fn rest_name(&self) -> String {
        self.rest.clone().unwrap_or_else(|| "rest".to_owned())
    }

    /// The paths to its leaves, in order.
    pub fn leaves(&self) -> Vec<Branch> {
        self.children()
            .into_iter()
            .flat_map(|child| match self.under.get(&child) {
                Some(below) => {
                    below.leaves().into_iter().map(|b| Branch(format!("{child}_{}", b.0))).collect()
                }
                None => vec![Branch(child)],
            })
            .collect()
    }

    /// The same as a node of a design, with the leaves numbered from `next` on. `name` says what a dimension is called
    /// in the table at hand.
    fn node(&self, name: &dyn Fn(&str) -> String, next: &mut u32) -> Node {
        if let (Some(n), true) = (self.hash, self.under.is_empty()) {
            let base = *next;
            *next += n;
            return Node::Spread { hash: vec![name(&self.split)], n, base };
        }
        let mut below: Vec<Node> = Vec::new();
        for child in self.children() {
            below.push(match self.under.get(&child) {
                Some(tree) => tree.node(name, next),
                None => {
                    *next += 1;
                    Node::Leaf { leaf: *next - 1 }
                }
            });
        }
        let mut rest = below.pop().expect("a tree has children");
        if self.cuts.is_empty() {
            for ((_, values), yes) in self.list.iter().zip(below).rev() {
                let (col, among) = (name(&self.split), values.clone());
                rest = Node::Among { col, among, yes: Box::new(yes), no: Box::new(rest) };
            }
        } else {
            for (cut, yes) in self.cuts.iter().zip(below).rev() {
                let (col, lt) = (name(&self.split), cut.clone());
                rest = Node::Less { col, lt, yes: Box::new(yes), no: Box::new(rest) };
            }
        }
        rest
    }
}

/// What a cut becomes.
#[derive(Default)]
struct Cutting {
    /// The tree; `None` if it is one partition.
    tree: Option<Tree>,
    /// What was left out, and why.
    left_out: BTreeSet<String>,
}

/// A table of a family, how it is cut, and the place of its key among its columns.
type Member<'d> = (TableId, &'d [Level], usize);

/// The trees of a design, with all that a spec wants to know of them. `hashed` says that values are known by their
/// hashes only, so that none can be written down.
pub fn families(
    schema: &Schema,
    trace: &Trace,
    domains: &Domains,
    design: &Design,
    hashed: bool,
) -> Vec<Family> {
    let mut groups: BTreeMap<(DomainId, u32), Vec<Member<'_>>> = BTreeMap::new();
    for (name, placement) in &design.tables {
        let Placement::Partition { levels } = placement else { continue };
        let Some(table) = schema.find(name) else { continue };
        let Some(first) = levels.first() else { continue };
        let key = first.cut.columns().first().and_then(|column| schema.table(table).key(column));
        if let Some(key) = key {
            let family = (domains.of(table, key), first.cut.parts());
            groups.entry(family).or_default().push((table, levels, key));
        }
    }
    let everywhere: BTreeSet<TableId> = design
        .tables
        .iter()
        .filter(|(_, placement)| matches!(placement, Placement::Replicate))
        .filter_map(|(name, _)| schema.find(name))
        .collect();
    let beside = used_with(trace, &everywhere);
    let mut taken = BTreeSet::new();
    let mut all: Vec<Family> =
        groups.into_values().map(|members| family(schema, &members, &beside, hashed, &mut taken)).collect();
    all.sort_by(|a, b| b.tables.len().cmp(&a.tables.len()).then_with(|| a.name.cmp(&b.name)));
    all
}

fn family(
    schema: &Schema,
    members: &[Member<'_>],
    beside: &BTreeMap<TableId, BTreeSet<TableId>>,
    hashed: bool,
    taken: &mut BTreeSet<String>,
) -> Family {
    let column_of = |(table, _, key): &Member<'_>| &schema.table(*table).keys[*key];
    // Most tables need no change if the key is called what most of them call it.
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members {
        *names.entry(column_of(member).name.as_str()).or_default() += 1;
    }
    let root = members.iter().find(|member| {
        let table = schema.table(member.0);
        matches!(&table.primary_key[..], [only] if *only == column_of(member).name)
    });
    let key = names
        .iter()
        .max_by_key(|(name, count)| (**count, std::cmp::Reverse(name.len())))
        .map_or("", |(name, _)| name);
    let types: Vec<&String> =
        members.iter().filter_map(|m| schema.table(m.0).columns.get(&column_of(m).name)).collect();
    let tables: BTreeMap<String, Carrier> = members
        .iter()
        .map(|member| {
            let column = column_of(member);
            let carrier = match &column.derived {
                Some(derived) => Carrier::Through(derived.clone()),
                None if column.name == key => Carrier::Itself,
                None => Carrier::Under(column.name.clone()),
            };
            (schema.table(member.0).name.clone(), carrier)
        })
        .collect();
    // The table that says most of how the space is cut.
    let speaker = members.iter().max_by_key(|(_, levels, _)| {
        let size = serde_json::to_string(&levels[0].cut).map_or(0, |text| text.len());
        (levels[0].cut.columns().len(), size)
    });
    let mut cutting = Cutting::default();
    if let Some((table, levels, own)) = speaker {
        let own = schema.table(*table).keys[*own].name.as_str();
        let carried = |column: &str| {
            if column == own {
                return Some(key.to_owned());
            }
            let everyone = members.iter().all(|(table, ..)| {
                schema
                    .table(*table)
                    .key(column)
                    .is_some_and(|at| schema.table(*table).keys[at].derived.is_none())
            });
            everyone.then(|| column.to_owned())
        };
        cutting.tree = of_cut(&levels[0].cut, &carried, hashed, &mut cutting.left_out);
        for level in levels[1..].iter().filter(|level| level.shard == Some(true)) {
            cutting.left_out.insert(format!(
                "a further level by {}: cut single leaves further when they need it",
                level.cut.columns().join(", ")
            ));
        }
    }
    let mut dimensions =
        vec![Dimension { column: key.to_owned(), data_type: types.first().map(|t| (*t).clone()) }];
    if let Some(tree) = &cutting.tree {
        let mut asked = BTreeSet::new();
        columns(tree, &mut asked);
        for column in asked.into_iter().filter(|column| column != key) {
            let data_type = schema.table(members[0].0).columns.get(&column).cloned();
            dimensions.push(Dimension { column, data_type });
        }
    }
    let ours: BTreeSet<TableId> = members.iter().map(|(table, ..)| *table).collect();
    let name = root.map_or(key, |root| schema.table(root.0).name.as_str());
    Family {
        name: unused(&plain(name, 40), taken),
        dimensions,
        tables,
        everywhere: worked_with(schema, &ours, beside),
        tree: cutting.tree,
        left_out: cutting.left_out.into_iter().collect(),
    }
}

/// Each table of which every partition has all rows, with the tables that transactions use together with it.
fn used_with(trace: &Trace, everywhere: &BTreeSet<TableId>) -> BTreeMap<TableId, BTreeSet<TableId>> {
    let mut found: BTreeMap<TableId, BTreeSet<TableId>> =
        everywhere.iter().map(|id| (*id, BTreeSet::new())).collect();
    let mut whole = Vec::new();
    for transaction in &trace.transactions {
        let accesses = trace.accesses_of(transaction);
        whole.clear();
        whole.extend(accesses.iter().map(|access| access.table).filter(|table| everywhere.contains(table)));
        for table in &whole {
            let others = found.entry(*table).or_default();
            others.extend(accesses.iter().map(|access| access.table));
        }
    }
    found
}

/// Those of the tables `beside` that transactions use together with `ours`, or that these refer to.
fn worked_with(
    schema: &Schema,
    ours: &BTreeSet<TableId>,
    beside: &BTreeMap<TableId, BTreeSet<TableId>>,
) -> Vec<String> {
    let referred: BTreeSet<TableId> = ours
        .iter()
        .flat_map(|id| schema.table(*id).references.iter().map(|reference| reference.parent))
        .collect();
    let is_used =
        |(id, others): &(&TableId, &BTreeSet<TableId>)| referred.contains(id) || !others.is_disjoint(ours);
    beside.iter().filter(is_used).map(|(id, _)| schema.table(*id).name.clone()).collect()
}

fn columns(tree: &Tree, all: &mut BTreeSet<String>) {
    all.insert(tree.split.clone());
    tree.under.values().for_each(|below| columns(below, all));
}

/// A cut as a tree. `carried` gives the name of a column that every table carries.
fn of_cut(
    cut: &Cut,
    carried: &dyn Fn(&str) -> Option<String>,
    hashed: bool,
    left_out: &mut BTreeSet<String>,
) -> Option<Tree> {
    let split = |column: &str, left_out: &mut BTreeSet<String>| {
        let name = carried(column);
        if name.is_none() {
            left_out.insert(format!("splits by {column}, which not every table carries"));
        }
        name
    };
    let by_hash = |cols: &[String], n: u32, left_out: &mut BTreeSet<String>| {
        let split = split(cols.first()?, left_out)?;
        (n > 1).then(|| Tree { split, hash: Some(n), ..Tree::default() })
    };
    match cut {
        Cut::Mod { cols, n } => by_hash(cols, *n, left_out),
        Cut::Hash { cols, n, pins } => {
            let spread = by_hash(cols, *n, left_out);
            if pins.is_empty() || spread.is_none() {
                return spread;
            }
            if hashed {
                left_out.insert(unnamed(pins.len()));
                return spread;
            }
            let mut by_part: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
            for (text, part) in pins {
                by_part.entry(*part).or_default().push(of_text(text));
            }
            let split = split(&cols[0], left_out)?;
            let list = by_part.into_iter().map(|(part, values)| (format!("p{part}"), values)).collect();
            let under = spread.map(|spread| ("rest".to_owned(), spread)).into_iter().collect();
            Some(Tree { split, list, rest: Some("rest".to_owned()), under, ..Tree::default() })
        }
        Cut::Range { col, bounds } => {
            if hashed {
                left_out.insert(unnamed(bounds.len()));
                return None;
            }
            let split = split(col, left_out)?;
            (!bounds.is_empty()).then(|| Tree { split, cuts: bounds.clone(), ..Tree::default() })
        }
        Cut::List { col, map, n, .. } => {
            if hashed {
                left_out.insert(unnamed(map.len()));
                return by_hash(std::slice::from_ref(col), *n, left_out);
            }
            let mut by_part: BTreeMap<u32, Vec<Value>> = BTreeMap::new();
            for (text, part) in map {
                by_part.entry(*part).or_default().push(of_text(text));
            }
            let split = split(col, left_out)?;
            let list = by_part.into_iter().map(|(part, values)| (format!("p{part}"), values)).collect();
            Some(Tree { split, list, rest: Some("rest".to_owned()), ..Tree::default() })
        }
        Cut::Tree { root, .. } => of_node(root, carried, hashed, left_out),
    }
}

fn unnamed(count: usize) -> String {
    match count {
        1 => "1 key that deserves a place of its own: the evidence knows it by hash, so it cannot be named here".to_owned(),
        _ => format!(
            "{count} keys that deserve a place of their own: the evidence knows them by hash, so they cannot be named here"
        ),
    }
}

/// A value whose text alone is known.
fn of_text(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Int)
}

fn of_node(
    node: &Node,
    carried: &dyn Fn(&str) -> Option<String>,
    hashed: bool,
    left_out: &mut BTreeSet<String>,
) -> Option<Tree> {
    match node {
        Node::Leaf { .. } => None,
        Node::Spread { hash, n, .. } => {
            let column = hash.first()?;
            let Some(split) = carried(column) else {
                left_out.insert(format!("splits by {column}, which not every table carries"));
                return None;
            };
            (*n > 1).then(|| Tree { split, hash: Some(*n), ..Tree::default() })
        }
        Node::Among { col, .. } => {
            let mut children: Vec<(&[Value], &Node)> = Vec::new();
            let mut rest = node;
            while let Node::Among { col: next, among, yes, no } = rest {
                if next != col {
                    break;
                }
                children.push((among, yes));
                rest = no;
            }
            let further = of_node(rest, carried, hashed, left_out);
            if hashed {
                left_out.insert(unnamed(children.iter().map(|(values, _)| values.len()).sum()));
                return further;
            }
            let Some(split) = carried(col) else {
                left_out.insert(format!("splits by {col}, which not every table carries"));
                return further;
            };
            let mut tree = Tree { split, rest: Some("rest".to_owned()), ..Tree::default() };
            let mut taken: BTreeSet<String> = BTreeSet::from(["rest".to_owned()]);
            for (values, yes) in children {
                let values: Vec<Value> =
                    values.iter().filter(|value| **value != Value::Null).cloned().collect();
                let name = match (&values[..], yes) {
                    ([], _) => continue,
                    ([one], _) => plain(&format!("v{}", one.text()), NAME_MAX),
                    (_, Node::Leaf { leaf }) => format!("p{leaf}"),
                    _ => "some".to_owned(),
                };
                let name = unused(&name, &mut taken);
                if let Some(below) = of_node(yes, carried, hashed, left_out) {
                    tree.under.insert(name.clone(), below);
                }
                tree.list.insert(name, values);
            }
            if tree.list.is_empty() {
                return further;
            }
            tree.under.extend(further.map(|further| ("rest".to_owned(), further)));
            Some(tree)
        }
        Node::Less { col, .. } => {
            if hashed {
                left_out.insert(format!("ranges of {col}: the evidence knows its values by hash only"));
                return None;
            }
            let Some(split) = carried(col) else {
                left_out.insert(format!("splits by {col}, which not every table carries"));
                return None;
            };
            let (mut cuts, mut below) = (Vec::new(), Vec::new());
            ranges(node, col, &mut cuts, &mut below);
            let mut tree = Tree { split, cuts, ..Tree::default() };
            for (n, node) in below.into_iter().enumerate() {
                if let Some(further) = of_node(node, carried, hashed, left_out) {
                    tree.under.insert(format!("r{n}"), further);
                }
            }
            Some(tree)
        }
    }
}

/// The cut points of nested questions about one column, and what lies between them.
fn ranges<'n>(node: &'n Node, column: &str, cuts: &mut Vec<Value>, between: &mut Vec<&'n Node>) {
    match node {
        Node::Less { col, lt, yes, no } if col == column => {
            ranges(yes, column, cuts, between);
            cuts.push(lt.clone());
            ranges(no, column, cuts, between);
        }
        other => between.push(other),
    }
}

/// A name that a spec takes: `a-z`, `0-9` and `_`.
fn plain(name: &str, length_max: usize) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = name.chars().map(legal).take(length_max).collect();
    if name.is_empty() { "part".to_owned() } else { name }
}

/// `name`, or one like it that nobody has.
fn unused(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut unused = name.to_owned();
    let mut number = 2;
    while !taken.insert(unused.clone()) {
        unused = format!("{name}_{number}");
        number += 1;
    }
    unused
}

/// The design that a spec with these families makes of `design`: what is deployed, and what its forecast is about.
pub fn deployed(schema: &Schema, design: &Design, families: &[Family]) -> Design {
    let mut made =
        Design { lookups: design.lookups.clone(), contexts: design.contexts.clone(), ..Design::default() };
    for (name, placement) in &design.tables {
        let placed = match placement {
            Placement::Partition { .. } => Placement::Single,
            other => other.clone(),
        };
        made.tables.insert(name.clone(), placed);
    }
    for family in families {
        let Some(tree) = &family.tree else { continue };
        let leaves = u32::try_from(tree.leaves().len()).unwrap_or(u32::MAX);
        made.partitions = made.partitions.max(leaves);
        for name in family.tables.keys() {
            let Some(Placement::Partition { levels }) = design.tables.get(name) else { continue };
            let Some(own) = levels.first().and_then(|level| level.cut.columns().first()) else { continue };
            let Some(table) = schema.find(name) else { continue };
            let called = |dimension: &str| match dimension == family.dimensions[0].column {
                true => own.clone(),
                false => dimension.to_owned(),
            };
            let mut next = 0;
            let root = tree.node(&called, &mut next);
            let cols: Vec<String> = family
                .dimensions
                .iter()
                .map(|dimension| called(&dimension.column))
                .filter(|column| schema.table(table).key(column).is_some())
                .collect();
            let level = Level { cut: Cut::Tree { cols, n: leaves, root }, shard: None };
            made.tables.insert(name.clone(), Placement::Partition { levels: vec![level] });
        }
    }
    made.partitions = made.partitions.max(1);
    made
}
