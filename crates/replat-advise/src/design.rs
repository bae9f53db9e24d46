//! A design: where each row of each table is, and how it is found.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::schema::{Schema, TableId};
use crate::value::{ByNumber, Value, ValueId, Values, place_hash};

/// A design, as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// How many partitions there are.
    pub partitions: u32,
    /// Each table's place.
    pub tables: BTreeMap<String, Placement>,
    /// What can be looked up on the way to a partition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lookups: Vec<Lookup>,
    /// The tables of each context.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, Vec<String>>,
}

/// How the rows of a table are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum Placement {
    /// By their keys, level by level.
    Partition {
        /// The levels, the outermost first.
        levels: Vec<Level>,
    },
    /// Every partition has all of them.
    Replicate,
    /// They are in one place, together with all other tables of this kind.
    Single,
}

/// One cut of a table's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// The cut.
    #[serde(flatten)]
    pub cut: Cut,
    /// Whether rows of different parts may be in different places. Without it, that is so of the first level alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<bool>,
}

/// How a level finds a row's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Cut {
    /// A whole number's remainder.
    Mod {
        /// The column, in a list.
        cols: Vec<String>,
        /// The number of parts.
        n: u32,
    },
    /// [`place_hash`] of the columns' texts, joined by the byte 31.
    Hash {
        /// The columns.
        cols: Vec<String>,
        /// The number of parts.
        n: u32,
        /// Texts with a part of their own choice.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pins: BTreeMap<String, u32>,
    },
    /// Ranges; a bound belongs to the part above it.
    Range {
        /// The column.
        col: String,
        /// Ascending.
        bounds: Vec<Value>,
    },
    /// Listed values.
    List {
        /// The column.
        col: String,
        /// The part of each value, by its text.
        map: BTreeMap<String, u32>,
        /// The part of all others.
        #[serde(default)]
        default: u32,
        /// The number of parts.
        n: u32,
    },
    /// A k-d tree.
    Tree {
        /// The columns that it asks about.
        cols: Vec<String>,
        /// The number of parts.
        n: u32,
        /// Its root.
        root: Node,
    },
}

/// A node of a tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Written")]
pub enum Node {
    /// Is the value less?
    Less {
        /// The column.
        col: String,
        /// Than this.
        lt: Value,
        /// If so.
        yes: Box<Node>,
        /// If not.
        no: Box<Node>,
    },
    /// Is the value one of these?
    Among {
        /// The column.
        col: String,
        /// The values.
        #[serde(rename = "in")]
        among: Vec<Value>,
        /// If so.
        yes: Box<Node>,
        /// If not.
        no: Box<Node>,
    },
    /// Spread by hash over parts that follow one another.
    Spread {
        /// The columns.
        hash: Vec<String>,
        /// Over how many.
        n: u32,
        /// The first of them.
        #[serde(default)]
        base: u32,
    },
    /// One part.
    Leaf {
        /// Its number.
        leaf: u32,
    },
}

/// A node as it is written: its kind shows from what it has. To try one kind after another would read what is below once
/// for each, and what is below that again: a deep tree would never be read.
#[derive(Deserialize)]
struct Written {
    leaf: Option<u32>,
    hash: Option<Vec<String>>,
    n: Option<u32>,
    #[serde(default)]
    base: u32,
    col: Option<String>,
    lt: Option<Value>,
    #[serde(rename = "in")]
    among: Option<Vec<Value>>,
    yes: Option<Box<Node>>,
    no: Option<Box<Node>>,
}

impl TryFrom<Written> for Node {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Node, &'static str> {
        let Written { leaf, hash, n, base, col, lt, among, yes, no } = written;
        Ok(match (leaf, hash, n, col, lt, among, yes, no) {
            (Some(leaf), None, None, None, None, None, None, None) => Node::Leaf { leaf },
            (None, Some(hash), Some(n), None, None, None, None, None) => Node::Spread { hash, n, base },
            (None, None, None, Some(col), Some(lt), None, Some(yes), Some(no)) => {
                Node::Less { col, lt, yes, no }
            }
            (None, None, None, Some(col), None, Some(among), Some(yes), Some(no)) => {
                Node::Among { col, among, yes, no }
            }
            _ => {
                return Err("a node of a tree has leaf; or hash and n; or col, yes, no, and either lt or in");
            }
        })
    }
}

/// Columns from whose values others can be looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The table that has both.
    pub table: String,
    /// What is known.
    pub from: Vec<String>,
    /// What is found.
    pub to: Vec<String>,
}

/// Why a design does not fit a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDesign {
    /// It says nothing of a table.
    #[error("the design does not say where the rows of {0} are")]
    Unplaced(String),
    /// It speaks of a table that is not there.
    #[error("the design speaks of table {0}, which the schema has not got")]
    NoTable(String),
    /// It uses a column that the evidence does not show.
    #[error("the design uses {table}.{column}, of which the evidence shows no value")]
    NoColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// It has no partitions, or a cut into none.
    #[error("the design cuts {0} into nothing")]
    Empty(String),
    /// Its tree names a part that it has not got.
    #[error("the tree of {table} names part {part} of {of}")]
    NoPart {
        /// The table.
        table: String,
        /// The part.
        part: u32,
        /// How many there are.
        of: u32,
    },
}

impl Cut {
    /// The columns that it looks at.
    pub fn columns(&self) -> &[String] {
        match self {
            Cut::Mod { cols, .. } | Cut::Hash { cols, .. } | Cut::Tree { cols, .. } => cols,
            Cut::Range { col, .. } | Cut::List { col, .. } => std::slice::from_ref(col),
        }
    }

    /// How many parts it makes.
    pub fn parts(&self) -> u32 {
        match self {
            Cut::Mod { n, .. } | Cut::Hash { n, .. } | Cut::List { n, .. } | Cut::Tree { n, .. } => *n,
            Cut::Range { bounds, .. } => u32::try_from(bounds.len()).unwrap_or(u32::MAX - 1) + 1,
        }
    }
}

impl Node {
    fn columns<'n>(&'n self, all: &mut Vec<&'n str>) {
        match self {
            Node::Less { col, yes, no, .. } | Node::Among { col, yes, no, .. } => {
                all.push(col);
                yes.columns(all);
                no.columns(all);
            }
            Node::Spread { hash, .. } => all.extend(hash.iter().map(String::as_str)),
            Node::Leaf { .. } => {}
        }
    }

    /// The highest part that it names, plus one; `None` if it spreads over nothing.
    fn parts(&self) -> Option<u32> {
        match self {
            Node::Less { yes, no, .. } | Node::Among { yes, no, .. } => Some(yes.parts()?.max(no.parts()?)),
            Node::Spread { n: 0, .. } => None,
            Node::Spread { n, base, .. } => base.checked_add(*n),
            Node::Leaf { leaf } => leaf.checked_add(1),
        }
    }
}

fn joined(key: &[&Value]) -> String {
    key.iter().map(|value| value.text()).collect::<Vec<_>>().join("\u{1f}")
}

fn hash_part(text: &str, n: u32) -> u32 {
    u32::try_from(place_hash(text) % u64::from(n.max(1))).expect("less than the number of parts")
}

/// The place where rows are together: an equal place means the same partition.
pub type Place = u32;

/// The places that were met so far, and the keys that are known to be there: most keys are met again and again.
#[derive(Clone, Debug, Default)]
pub struct Places {
    numbers: HashMap<Vec<u32>, Place>,
    known: HashMap<(TableId, ValueId), Place, ByNumber>,
}

impl Places {
    /// How many places were met.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Of each place, the part of each level that it is of; `u32::MAX` for where tables are that are not cut.
    pub fn parts(&self) -> impl Iterator<Item = (&[u32], Place)> {
        self.numbers.iter().map(|(parts, place)| (parts.as_slice(), *place))
    }

    fn number(&mut self, parts: Vec<u32>) -> Place {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(parts).or_insert(next)
    }
}

/// A design, made ready to place the rows of some evidence.
pub struct Placed<'a> {
    /// How many partitions there are.
    pub partitions: u32,
    tables: Vec<TablePlace<'a>>,
}

/// How one table's rows are placed.
enum TablePlace<'a> {
    Everywhere,
    Alone,
    Cut { levels: Vec<Ready<'a>>, parts: u32 },
}

/// A level, made ready.
struct Ready<'a> {
    cut: &'a Cut,
    /// The places of its columns among the table's key columns.
    columns: Vec<usize>,
    /// The tree, if it is one.
    root: Option<ReadyNode<'a>>,
}

impl Ready<'_> {
    /// The part of a row; `key` has the values of the columns.
    fn part(&self, key: &[&Value]) -> u32 {
        match (self.cut, &self.root) {
            (_, Some(root)) => root.part(key),
            (Cut::Mod { n, .. }, None) => match key[0] {
                Value::Int(number) => {
                    u32::try_from(number.rem_euclid(i64::from(*n))).expect("less than the number of parts")
                }
                other => hash_part(&other.text(), *n),
            },
            (Cut::Hash { n, pins, .. }, None) => {
                let text = joined(key);
                pins.get(&text).copied().unwrap_or_else(|| hash_part(&text, *n))
            }
            (Cut::Range { bounds, .. }, None) => {
                u32::try_from(bounds.partition_point(|bound| bound <= key[0])).unwrap_or(u32::MAX)
            }
            (Cut::List { map, default, .. }, None) => map.get(&key[0].text()).copied().unwrap_or(*default),
            (Cut::Tree { .. }, None) => unreachable!("a tree was made ready"),
        }
    }
}

/// The same as a [`Node`], whose columns are places in a key, and whose lists are sets: they may be of all keys there are.
enum ReadyNode<'a> {
    Less { column: usize, lt: &'a Value, yes: Box<ReadyNode<'a>>, no: Box<ReadyNode<'a>> },
    Among { column: usize, among: HashSet<&'a Value>, yes: Box<ReadyNode<'a>>, no: Box<ReadyNode<'a>> },
    Spread { columns: Vec<usize>, n: u32, base: u32 },
    Leaf { leaf: u32 },
}

impl<'a> ReadyNode<'a> {
    /// The node was checked, so each of its columns is one of `cols`.
    fn new(node: &'a Node, cols: &[String]) -> ReadyNode<'a> {
        let column = |name: &String| cols.iter().position(|col| col == name).expect("it was checked");
        let ready = |node: &'a Node| Box::new(ReadyNode::new(node, cols));
        match node {
            Node::Less { col, lt, yes, no } => {
                ReadyNode::Less { column: column(col), lt, yes: ready(yes), no: ready(no) }
            }
            Node::Among { col, among, yes, no } => ReadyNode::Among {
                column: column(col),
                among: among.iter().collect(),
                yes: ready(yes),
                no: ready(no),
            },
            Node::Spread { hash, n, base } => {
                ReadyNode::Spread { columns: hash.iter().map(column).collect(), n: *n, base: *base }
            }
            Node::Leaf { leaf } => ReadyNode::Leaf { leaf: *leaf },
        }
    }

    fn part(&self, key: &[&Value]) -> u32 {
        match self {
            ReadyNode::Less { column, lt, yes, no } => if key[*column] < *lt { yes } else { no }.part(key),
            ReadyNode::Among { column, among, yes, no } => {
                if among.contains(key[*column]) { yes } else { no }.part(key)
            }
            ReadyNode::Spread { columns, n, base } => {
                let key: Vec<&Value> = columns.iter().map(|column| key[*column]).collect();
                base + hash_part(&joined(&key), *n)
            }
            ReadyNode::Leaf { leaf } => *leaf,
        }
    }
}

impl<'a> Placed<'a> {
    /// Checks `design` against `schema`.
    pub fn new(design: &'a Design, schema: &Schema) -> Result<Placed<'a>, BadDesign> {
        if design.partitions == 0 {
            return Err(BadDesign::Empty("the tables".to_owned()));
        }
        let names: HashSet<&str> = schema.tables.iter().map(|table| table.name.as_str()).collect();
        if let Some(name) = design.tables.keys().find(|name| !names.contains(name.as_str())) {
            return Err(BadDesign::NoTable(name.clone()));
        }
        let mut tables = Vec::new();
        for table in &schema.tables {
            let placement =
                design.tables.get(&table.name).ok_or_else(|| BadDesign::Unplaced(table.name.clone()))?;
            tables.push(match placement {
                Placement::Replicate => TablePlace::Everywhere,
                Placement::Single => TablePlace::Alone,
                Placement::Partition { levels } => {
                    let mut cuts = Vec::new();
                    let mut parts = 1_u32;
                    for (number, level) in levels.iter().enumerate() {
                        let mut places = Vec::new();
                        for column in level.cut.columns() {
                            places.push(table.key(column).ok_or_else(|| BadDesign::NoColumn {
                                table: table.name.clone(),
                                column: column.clone(),
                            })?);
                        }
                        check_cut(&level.cut, &table.name)?;
                        if level.shard.unwrap_or(number == 0) {
                            parts = parts.saturating_mul(level.cut.parts());
                            let root = match &level.cut {
                                Cut::Tree { cols, root, .. } => Some(ReadyNode::new(root, cols)),
                                _ => None,
                            };
                            cuts.push(Ready { cut: &level.cut, columns: places, root });
                        }
                    }
                    TablePlace::Cut { levels: cuts, parts }
                }
            });
        }
        Ok(Placed { partitions: design.partitions, tables })
    }

    /// Whether every partition has all rows of a table.
    pub fn is_everywhere(&self, table: TableId) -> bool {
        matches!(self.tables[table.0], TablePlace::Everywhere)
    }

    /// Whether a table's rows are in more than one place, so that a row that is not known may be anywhere.
    pub fn is_spread(&self, table: TableId) -> bool {
        matches!(self.tables[table.0], TablePlace::Cut { parts, .. } if parts > 1)
    }

    /// The columns that a row's place follows from.
    pub fn columns(&self, table: TableId) -> impl Iterator<Item = &str> {
        let levels = match &self.tables[table.0] {
            TablePlace::Cut { levels, .. } => levels.as_slice(),
            _ => &[],
        };
        levels.iter().flat_map(|level| level.cut.columns()).map(String::as_str)
    }

    /// Where a row is; `None` if it is everywhere. `places` gives each combination of parts its number.
    pub fn place(
        &self,
        table: TableId,
        row: &[ValueId],
        values: &Values,
        places: &mut Places,
    ) -> Option<Place> {
        let levels = match &self.tables[table.0] {
            TablePlace::Everywhere => return None,
            // One more part than any other place has, so that it is none of those.
            TablePlace::Alone => return Some(places.number(vec![u32::MAX])),
            TablePlace::Cut { levels, .. } => levels,
        };
        let only = match levels.as_slice() {
            [level] if level.columns.len() == 1 => Some((table, row[level.columns[0]])),
            _ => None,
        };
        if let Some(place) = only.and_then(|key| places.known.get(&key)) {
            return Some(*place);
        }
        let parts = levels
            .iter()
            .map(|level| {
                let key: Vec<_> = level.columns.iter().map(|column| values.get(row[*column])).collect();
                level.part(&key)
            })
            .collect();
        let place = places.number(parts);
        if let Some(key) = only {
            places.known.insert(key, place);
        }
        Some(place)
    }
}

fn check_cut(cut: &Cut, table: &str) -> Result<(), BadDesign> {
    if cut.parts() == 0 || cut.columns().is_empty() {
        return Err(BadDesign::Empty(table.to_owned()));
    }
    let Cut::Tree { cols, n, root } = cut else { return Ok(()) };
    let mut named = Vec::new();
    root.columns(&mut named);
    if let Some(column) = named.iter().find(|column| !cols.iter().any(|c| c == *column)) {
        return Err(BadDesign::NoColumn { table: table.to_owned(), column: (*column).to_owned() });
    }
    match root.parts() {
        None => Err(BadDesign::Empty(table.to_owned())),
        Some(parts) if parts > *n => {
            Err(BadDesign::NoPart { table: table.to_owned(), part: parts - 1, of: *n })
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_tree_is_read_as_it_was_written() {
        let mut root = Node::Leaf { leaf: 0 };
        for leaf in 1..100 {
            let yes = Box::new(Node::Leaf { leaf });
            let col = "c".to_owned();
            root = match leaf % 2 {
                0 => Node::Less { col, lt: Value::Int(5), yes, no: Box::new(root) },
                _ => Node::Among { col, among: vec![Value::Null], yes, no: Box::new(root) },
            };
        }
        let text = serde_json::to_string(&root).expect("text");
        assert_eq!(serde_json::from_str::<Node>(&text).expect("the same"), root);
        for odd in
            ["{}", r#"{"leaf":1,"hash":["a"]}"#, r#"{"hash":["a"]}"#, r#"{"col":"a","yes":{"leaf":0}}"#]
        {
            assert!(serde_json::from_str::<Node>(odd).is_err(), "{odd}");
        }
    }
}
