//! Which table of a partitioned one holds a key, for code that must name partitions.
//!
//! [`Tables`] begin with what a look found and go on by what `rotate` tells of each change, so they know what a
//! database knew at one version of its outbox. A key for which no partition is known has no table: nothing is guessed
//! from names. Absent on purpose: keys that are expressions, ranges of text (their order is the collation's) and types
//! that no map has; a lookup that meets one says so.

mod document;

use std::collections::BTreeMap;

pub use document::{TableKey, TableLevel, TablePart, TableSet, TablesDocument};

use super::change::{Change, Placed};
use super::facts::{Bound, Edge, Method, SetFacts, TableName};
use super::plan::{NewLevel, NewPart};
use crate::hash;
use crate::key::{KeyType, KeyValue};

/// The partitions of one database, as of a version of its outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    version: u64,
    /// Every table that is cut, also those that are partitions themselves.
    cuts: BTreeMap<TableName, Cut>,
}

/// Why a key has no table here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTable {
    /// Nothing is known of such a partitioned table.
    #[error("{0} is not known as a partitioned table")]
    Unknown(TableName),
    /// The table is partitioned by a column of which no value was given.
    #[error("{table} is partitioned by {column:?}, of which no value was given")]
    NoValue {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// The value is of another type than the column.
    #[error("{value} is not a value of {column:?} of {table}, whose type is {key_type}")]
    Type {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Its type.
        key_type: KeyType,
        /// The value.
        value: String,
    },
    /// No partition takes the key, and there is no default.
    #[error("no partition of {0} takes this key")]
    Missing(TableName),
    /// The table is cut in a way that is not understood here.
    #[error("the partitions of {table} cannot be told apart here: {why}")]
    Unreadable {
        /// The table.
        table: TableName,
        /// What is in the way.
        why: String,
    },
}

/// A change that does not follow on what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("change {told} does not follow on {have}; read the ones between")]
pub struct OutOfOrder {
    /// The version that is known.
    pub have: u64,
    /// The version that was told.
    pub told: u64,
}

/// How one table is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    /// The types of the set's columns, for parts that are cut further later on.
    columns: BTreeMap<String, String>,
    /// What it is cut by, or why that is not understood.
    keys: Result<Vec<(String, KeyType)>, String>,
    ranges: BTreeMap<Vec<Point>, (Vec<Point>, TableName)>,
    values: BTreeMap<KeyValue, TableName>,
    buckets: BTreeMap<(u32, u32), TableName>,
    default: Option<TableName>,
}

/// A component of a range's end. Infinite values are no keys, so what ends at one ends before or after every key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    Before,
    At(KeyValue),
    After,
}

impl Tables {
    /// What was looked at, at a version of the outbox that was read before.
    pub fn of(sets: &[SetFacts], version: u64) -> Tables {
        Tables::from(&TablesDocument::of(sets, version))
    }

    /// The same key with values read as the types of the columns that tables of `entity` are cut by, at whatever depth;
    /// other columns are left out.
    ///
    /// # Errors
    ///
    /// [`NoTable`] if nothing is known of such a table, or a text is no value of its column.
    pub fn key<'a>(
        &self,
        entity: &TableName,
        texts: &[(&'a str, &str)],
    ) -> Result<Vec<(&'a str, KeyValue)>, NoTable> {
        let mut types = BTreeMap::new();
        let top = self.cuts.get(entity).ok_or_else(|| NoTable::Unknown(entity.clone()))?;
        self.types(top, &mut types);
        let mut key = Vec::new();
        for (column, text) in texts {
            let Some(key_type) = types.get(column) else { continue };
            let value = key_type.parse(text).map_err(|_| NoTable::Type {
                table: entity.clone(),
                column: (*column).to_owned(),
                key_type: *key_type,
                value: (*text).to_owned(),
            })?;
            key.push((*column, value));
        }
        Ok(key)
    }

    fn types<'a>(&'a self, cut: &'a Cut, found: &mut BTreeMap<&'a str, KeyType>) {
        found.extend(cut.keys.iter().flatten().map(|(column, key_type)| (column.as_str(), *key_type)));
        for below in cut.parts().filter_map(|part| self.cuts.get(part)) {
            self.types(below, found);
        }
    }

    /// The version of the outbox that this is.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Goes on by one change of the outbox; one that is known already changes nothing.
    ///
    /// # Errors
    ///
    /// [`OutOfOrder`] if changes are missing between.
    pub fn take(&mut self, version: u64, change: &Change) -> Result<(), OutOfOrder> {
        if version <= self.version {
            return Ok(());
        }
        if version != self.version + 1 {
            return Err(OutOfOrder { have: self.version, told: version });
        }
        self.version = version;
        for gone in &change.removed {
            if let Some(cut) = self.cuts.get_mut(&change.parent) {
                cut.forget(&gone.table);
            }
            self.forget(&gone.table);
        }
        for Placed { table, bound, below } in &change.added {
            self.add_part(&change.parent, table, bound, below.as_ref());
        }
        Ok(())
    }

    /// The table that holds the row with these values, at whatever depth; other columns than keys do not matter.
    ///
    /// # Errors
    ///
    /// [`NoTable`] if nothing of the kind is known, or the key does not say enough.
    pub fn find(&self, entity: &TableName, key: &[(&str, KeyValue)]) -> Result<&TableName, NoTable> {
        let (mut at, mut cut) = match self.cuts.get_key_value(entity) {
            Some(found) => found,
            None => return Err(NoTable::Unknown(entity.clone())),
        };
        loop {
            let part = cut.find(at, key)?;
            match self.cuts.get(part) {
                Some(below) => (at, cut) = (part, below),
                None => return Ok(part),
            }
        }
    }

    fn add_part(&mut self, parent: &TableName, table: &TableName, bound: &Bound, below: Option<&NewLevel>) {
        self.add_bound(parent, table, bound);
        let (Some(below), Some(above)) = (below, self.cuts.get(parent)) else { return };
        let columns = above.columns.clone();
        let keys = below.keys.iter().map(|text| {
            let column = column_of(text).ok_or_else(|| format!("it is cut by the expression {text}"))?;
            let type_name =
                columns.get(&column).ok_or_else(|| format!("the type of {column} is not known"))?;
            key_column(&column, type_name, below.method)
        });
        let keys = keys.collect();
        self.cuts.insert(table.clone(), Cut::new(columns, keys));
        for NewPart { table: part, bound, below, .. } in &below.parts {
            self.add_part(table, part, bound, below.as_ref());
        }
    }

    fn add_bound(&mut self, parent: &TableName, table: &TableName, bound: &Bound) {
        // A table that was converted since the look: what it is cut by was not told.
        let cut = self.cuts.entry(parent.clone()).or_insert_with(|| {
            Cut::new(BTreeMap::new(), Err("it was partitioned after the last look".to_owned()))
        });
        cut.add(table, bound);
    }

    /// A table that is gone, and what it was cut into.
    fn forget(&mut self, table: &TableName) {
        let Some(cut) = self.cuts.remove(table) else { return };
        cut.parts().for_each(|part| self.forget(part));
    }
}

impl Cut {
    fn new(columns: BTreeMap<String, String>, keys: Result<Vec<(String, KeyType)>, String>) -> Cut {
        Cut {
            columns,
            keys,
            ranges: BTreeMap::new(),
            values: BTreeMap::new(),
            buckets: BTreeMap::new(),
            default: None,
        }
    }

    fn parts(&self) -> impl Iterator<Item = &TableName> {
        let ranges = self.ranges.values().map(|(_, table)| table);
        ranges.chain(self.values.values()).chain(self.buckets.values()).chain(&self.default)
    }

    fn forget(&mut self, table: &TableName) {
        self.ranges.retain(|_, (_, part)| part != table);
        self.values.retain(|_, part| part != table);
        self.buckets.retain(|_, part| part != table);
        self.default.take_if(|part| part == table);
    }

    fn add(&mut self, table: &TableName, bound: &Bound) {
        let Ok(keys) = &self.keys else { return };
        let added = match bound {
            Bound::Default => {
                self.default = Some(table.clone());
                Ok(())
            }
            Bound::Hash { modulus: 0, .. } => Err("a modulus is zero".to_owned()),
            Bound::Hash { modulus, remainder } => {
                self.buckets.insert((*modulus, *remainder), table.clone());
                Ok(())
            }
            // NULL is no key of a context, so nobody asks for it.
            Bound::List(listed) => listed.iter().flatten().try_for_each(|text| {
                let [(_, key_type)] = &keys[..] else { return Err("a list has one key".to_owned()) };
                let value = key_type.parse(text).map_err(|bad| bad.to_string())?;
                self.values.insert(value, table.clone());
                Ok(())
            }),
            Bound::Range { from, to } => points(keys, from).and_then(|from| {
                let to = points(keys, to)?;
                if from < to {
                    self.ranges.insert(from, (to, table.clone()));
                }
                Ok(())
            }),
        };
        if let Err(why) = added {
            self.keys = Err(why);
        }
    }

    fn find(&self, table: &TableName, key: &[(&str, KeyValue)]) -> Result<&TableName, NoTable> {
        let columns = self
            .keys
            .as_ref()
            .map_err(|why| NoTable::Unreadable { table: table.clone(), why: why.clone() })?;
        let mut values = Vec::with_capacity(columns.len());
        for (column, key_type) in columns {
            let given = key.iter().find(|(name, _)| name == column).map(|(_, value)| value);
            let value =
                given.ok_or_else(|| NoTable::NoValue { table: table.clone(), column: column.clone() })?;
            if !key_type.holds(value) {
                let (table, column, value) = (table.clone(), column.clone(), value.to_string());
                return Err(NoTable::Type { table, column, key_type: *key_type, value });
            }
            values.push(value);
        }
        let found = self.range(&values).or_else(|| self.listed(&values)).or_else(|| self.bucket(&values));
        found.or(self.default.as_ref()).ok_or_else(|| NoTable::Missing(table.clone()))
    }

    fn range(&self, values: &[&KeyValue]) -> Option<&TableName> {
        if self.ranges.is_empty() {
            return None;
        }
        let key: Vec<Point> = values.iter().map(|value| Point::At((*value).clone())).collect();
        let (_, (to, table)) = self.ranges.range::<Vec<Point>, _>(..=&key).next_back()?;
        (key < *to).then_some(table)
    }

    fn listed(&self, values: &[&KeyValue]) -> Option<&TableName> {
        let [value] = values else { return None };
        self.values.get(value)
    }

    /// Moduli can differ within a table; each divides the next.
    fn bucket(&self, values: &[&KeyValue]) -> Option<&TableName> {
        let values: Vec<Option<&KeyValue>> = values.iter().copied().map(Some).collect();
        let mut last = 0;
        self.buckets.keys().find_map(|&(modulus, _)| {
            if modulus == last {
                return None;
            }
            last = modulus;
            self.buckets.get(&(modulus, hash::bucket(&values, modulus)))
        })
    }
}

/// A key column with its type, if keys of this type can be told apart by this method.
fn key_column(column: &str, type_name: &str, method: Method) -> Result<(String, KeyType), String> {
    match (KeyType::from_postgres(type_name), method) {
        (None, _) => Err(format!("{column} has the type {type_name}")),
        (Some(KeyType::Text), Method::Range) => {
            Err(format!("{column} is text, and ranges of text depend on its collation"))
        }
        (Some(key_type), _) => Ok((column.to_owned(), key_type)),
    }
}

/// The column that a key is, as the engine writes it; `None` for an expression.
fn column_of(text: &str) -> Option<String> {
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => Some(quoted.replace("\"\"", "\"")),
        None => (!text.contains(['(', '"'])).then(|| text.to_owned()),
    }
}

fn points(keys: &[(String, KeyType)], edges: &[Edge]) -> Result<Vec<Point>, String> {
    if keys.len() != edges.len() {
        return Err("a bound has not as many components as the key".to_owned());
    }
    let point = |((_, key_type), edge): (&(String, KeyType), &Edge)| match edge {
        Edge::Min => Ok(Point::Before),
        Edge::Max => Ok(Point::After),
        Edge::At(text) if text == "-infinity" => Ok(Point::Before),
        Edge::At(text) if text == "infinity" => Ok(Point::After),
        Edge::At(text) => key_type.parse(text).map(Point::At).map_err(|bad| bad.to_string()),
    };
    keys.iter().zip(edges).map(point).collect()
}
