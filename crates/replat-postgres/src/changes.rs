//! From the log's messages to what changed in one partition, or in each of several.
//!
//! Pure: bytes in, changes out. Rows of other partitions are dropped here, by the very region that the map holds;
//! so are transactions that replat itself wrote for a deployment, which carry a mark as their first entry.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use replat_engine::EngineError;
use replat_model::ids::{Lsn, PartitionId, Side};
use replat_model::key::KeyValue;
use replat_model::plan::{Plan, TablePlan};
use replat_model::region::{Constraint, Region};
use replat_wire::pgoutput::{Message, OldRow, Relation, Tuple, TupleValue};

use crate::guard::Mark;
use crate::slice::dimension_column;

/// One value of a changed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Null.
    Null,
    /// It lies out of line and did not change, so the log does not say it.
    Unsaid,
    /// The value as text.
    Text(Bytes),
}

/// The values of a row's key, as text.
pub type Key = Vec<Bytes>;

/// What happened to one row, or to a whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The row with this key is now so.
    Put {
        /// The table's place in the plan.
        table: usize,
        /// The key it had, if that was another one.
        old_key: Option<Key>,
        /// Its key.
        key: Key,
        /// The values of the carried columns.
        cells: Vec<Cell>,
        /// Whether the row came from another partition: then nothing of it is on the other side yet.
        arrived: bool,
    },
    /// The row with this key is gone from the partition.
    Remove {
        /// The table's place in the plan.
        table: usize,
        /// Its key.
        key: Key,
    },
    /// All rows of the table are gone.
    Empty {
        /// The table's place in the plan.
        table: usize,
    },
}

impl Change {
    /// The table's place in the plan.
    pub fn table(&self) -> usize {
        match self {
            Change::Put { table, .. } | Change::Remove { table, .. } | Change::Empty { table } => *table,
        }
    }

    /// The keys that it touches.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let (one, two) = match self {
            Change::Put { old_key, key, .. } => (Some(key), old_key.as_ref()),
            Change::Remove { key, .. } => (Some(key), None),
            Change::Empty { .. } => (None, None),
        };
        one.into_iter().chain(two)
    }

    /// An estimate of the memory it takes. Unit: bytes.
    pub fn size(&self) -> usize {
        match self {
            Change::Put { cells, .. } => cells
                .iter()
                .map(|c| match c {
                    Cell::Text(text) => text.len() + 32,
                    _ => 32,
                })
                .sum(),
            _ => 64,
        }
    }
}

/// What a message of the log comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A row of the partition changed, at this position.
    Changed(Lsn, Change),
    /// The partition was closed, or opened.
    Mark(Mark),
    /// A transaction ends; everything before this position has been said.
    Committed(Lsn),
}

/// Where a table's columns are in the log's tuples.
#[derive(Clone, Debug)]
struct Layout {
    table: usize,
    carried: Vec<usize>,
    key: Vec<usize>,
    /// One place for each dimension that the region speaks of.
    dimensions: Vec<usize>,
}

/// A deployment whose changes are looked for.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its partition.
    pub partition: PartitionId,
    /// Its keys.
    pub region: Region,
    /// Its name.
    pub deployment: String,
    /// What replat's marks for it begin with in this log.
    pub secret: String,
}

impl Part {
    /// What a plan says of it.
    pub fn of(plan: &Plan, deployment: &str, secret: String) -> Part {
        Part {
            partition: plan.partition.clone(),
            region: plan.region.clone(),
            deployment: deployment.to_owned(),
            secret,
        }
    }
}

/// Whose a key is, of several parts that exclude each other.
#[derive(Debug)]
struct Owners {
    /// Parts that are lists of values of one dimension, if all are.
    by_value: Option<(usize, HashMap<KeyValue, usize>)>,
}

impl Owners {
    fn of(parts: &[Part]) -> Owners {
        let mut by_value = HashMap::new();
        let mut dimension = None;
        for (n, part) in parts.iter().enumerate() {
            let mut constraints = part.region.constraints();
            let (Some((at, Constraint::OneOf(values))), None) = (constraints.next(), constraints.next())
            else {
                return Owners { by_value: None };
            };
            if *dimension.get_or_insert(at) != at {
                return Owners { by_value: None };
            }
            by_value.extend(values.iter().map(|value| (value.clone(), n)));
        }
        Owners { by_value: dimension.map(|at| (at, by_value)) }
    }

    fn of_key(&self, parts: &[Part], key: &[KeyValue]) -> Option<usize> {
        match &self.by_value {
            Some((dimension, owners)) => owners.get(key.get(*dimension)?).copied(),
            None => parts.iter().position(|part| part.region.contains(key)),
        }
    }
}

/// Reads one side's log for one deployment, or for several that differ in nothing but their keys.
pub struct Changes<'a> {
    /// The plan of any of them: all have the same tables.
    plan: &'a Plan,
    from: Side,
    parts: Vec<Part>,
    owners: Owners,
    by_secret: HashMap<String, usize>,
    /// A table may have several: its rows become rows of several tables.
    layouts: HashMap<u32, Vec<Layout>>,
    /// The parts for which replat wrote the transaction that is being read.
    own: HashSet<usize>,
}

/// A change, and the place of the part that it is of.
type Parted = (usize, Change);

impl<'a> Changes<'a> {
    /// A reader that has seen nothing yet. The plan is that of any of the parts.
    pub fn new(plan: &'a Plan, from: Side, parts: Vec<Part>) -> Changes<'a> {
        let owners = Owners::of(&parts);
        let by_secret = parts.iter().enumerate().map(|(n, part)| (part.secret.clone(), n)).collect();
        Changes { plan, from, parts, owners, by_secret, layouts: HashMap::new(), own: HashSet::new() }
    }

    /// What `message`, found at `at`, comes to where there is one part only: the end of a transaction is told as well.
    ///
    /// # Errors
    ///
    /// As [`Changes::take_all`].
    pub fn take(&mut self, at: Lsn, message: Message) -> Result<Vec<Entry>, EngineError> {
        if let Message::Commit(commit) = &message {
            return Ok(vec![Entry::Committed(commit.end_lsn)]);
        }
        Ok(self.take_all(at, message)?.into_iter().map(|(_, entry)| entry).collect())
    }

    /// What `message`, found at `at`, comes to, and for which part.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precondition`] if a table no longer has the shape that was planned, or a row's identity does
    /// not say which partition it belongs to.
    pub fn take_all(&mut self, at: Lsn, message: Message) -> Result<Vec<(usize, Entry)>, EngineError> {
        let changes = match message {
            Message::Begin(_) => {
                self.own.clear();
                return Ok(Vec::new());
            }
            Message::Relation(relation) => {
                let layouts = self.layouts_of(&relation)?;
                self.layouts.insert(relation.id, layouts);
                return Ok(Vec::new());
            }
            Message::Message(m) => return Ok(self.mark(&m.prefix, &m.content).into_iter().collect()),
            // Where there is no other part, nobody asks whose the rows are.
            _ if self.own.len() == self.parts.len() => return Ok(Vec::new()),
            Message::Insert(m) => self.each(m.relation, |l| self.insert(l, &m.new))?,
            Message::Update(m) => self.each(m.relation, |l| self.update(l, m.old.as_ref(), &m.new))?,
            Message::Delete(m) => self.each(m.relation, |l| self.delete(l, &m.old))?,
            Message::Truncate(m) => {
                let tables = m.relations.iter().filter_map(|r| self.layouts.get(r)).flatten();
                let emptied = |l: &Layout| {
                    let table = l.table;
                    (0..self.parts.len()).map(move |part| (part, Change::Empty { table }))
                };
                tables.flat_map(emptied).collect()
            }
            Message::Commit(_) | Message::Origin(_) | Message::Type(_) => return Ok(Vec::new()),
        };
        let others = changes.into_iter().filter(|(part, _)| !self.own.contains(part));
        Ok(others.map(|(part, change)| (part, Entry::Changed(at, change))).collect())
    }

    fn mark(&mut self, prefix: &str, content: &[u8]) -> Option<(usize, Entry)> {
        let end = content.iter().position(|b| *b == b' ')?;
        let secret = std::str::from_utf8(&content[..end]).ok()?;
        let part = *self.by_secret.get(secret)?;
        match Mark::decode(prefix, content, secret)? {
            Mark::Own { deployment } => {
                if deployment == self.parts[part].deployment {
                    self.own.insert(part);
                }
                None
            }
            mark @ (Mark::Barrier { .. } | Mark::Opened { .. }) => {
                let (Mark::Barrier { partition, .. } | Mark::Opened { partition }) = &mark else {
                    return None;
                };
                (*partition == self.parts[part].partition).then_some((part, Entry::Mark(mark)))
            }
        }
    }

    fn layouts_of(&self, relation: &Relation) -> Result<Vec<Layout>, EngineError> {
        if relation.namespace != self.plan.end(self.from).home.schema {
            return Ok(Vec::new());
        }
        let tables = self.plan.tables.iter().enumerate();
        let found = tables.filter(|(_, t)| t.shape(self.from).name == relation.name);
        found.map(|(n, table)| self.layout(n, table, relation)).collect()
    }

    fn layout(&self, table: usize, shape: &TablePlan, relation: &Relation) -> Result<Layout, EngineError> {
        self.check_columns(shape, relation)?;
        let place = |name: &str| {
            relation
                .columns
                .iter()
                .position(|c| c.name == name)
                .ok_or_else(|| reshaped(&relation.name, &format!("its column {name} is not in the log")))
        };
        let shape_columns = &shape.shape(self.from).columns;
        Ok(Layout {
            table,
            carried: shape_columns
                .iter()
                .filter(|c| c.generated.is_none())
                .map(|c| place(&c.name))
                .collect::<Result<_, _>>()?,
            key: shape.key_on(self.from).map(place).collect::<Result<_, _>>()?,
            dimensions: self
                .plan
                .dimensions
                .iter()
                .map(|d| place(dimension_column(shape, self.from, &d.column)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// A column that came after the plan would be lost without a word.
    fn check_columns(&self, table: &TablePlan, relation: &Relation) -> Result<(), EngineError> {
        let planned = &table.shape(self.from).columns;
        match relation.columns.iter().find(|c| planned.iter().all(|p| p.name != c.name)) {
            Some(new) => Err(reshaped(&relation.name, &format!("it got a column {}", new.name))),
            None => Ok(()),
        }
    }

    /// What a message about `relation` comes to for each table that its rows become.
    fn each(
        &self,
        relation: u32,
        change: impl Fn(&Layout) -> Result<Vec<Parted>, EngineError>,
    ) -> Result<Vec<Parted>, EngineError> {
        let mut changes = Vec::new();
        for layout in self.layouts.get(&relation).into_iter().flatten() {
            changes.append(&mut change(layout)?);
        }
        Ok(changes)
    }

    fn insert(&self, l: &Layout, new: &Tuple) -> Result<Vec<Parted>, EngineError> {
        let Some(part) = self.owner(l, new)? else { return Ok(Vec::new()) };
        let put = Change::Put {
            table: l.table,
            old_key: None,
            key: self.key(l, new)?,
            cells: cells(l, new, None),
            arrived: false,
        };
        Ok(vec![(part, put)])
    }

    fn update(&self, l: &Layout, old: Option<&OldRow>, new: &Tuple) -> Result<Vec<Parted>, EngineError> {
        // The partition's dimensions are part of the identity, so an update without an old tuple leaves them alone.
        let was = match old {
            Some(old) => self.owner(l, old.tuple())?,
            None => self.owner(l, new)?,
        };
        let is = self.owner(l, &said(new, old))?;
        // A row of no partition may have no key either.
        let old_key = match old.filter(|_| was.is_some()) {
            Some(old) => Some(self.key(l, old.tuple())?),
            None => None,
        };
        let mut changes = Vec::new();
        if let Some(left) = was.filter(|_| was != is) {
            let key = old_key.clone().map_or_else(|| self.key(l, new), Ok)?;
            changes.push((left, Change::Remove { table: l.table, key }));
        }
        if let Some(part) = is {
            let key = self.key(l, &said(new, old))?;
            let put = Change::Put {
                table: l.table,
                old_key: old_key.filter(|old| was == is && *old != key),
                key,
                cells: cells(l, new, old),
                arrived: was != is,
            };
            changes.push((part, put));
        }
        Ok(changes)
    }

    fn delete(&self, l: &Layout, old: &OldRow) -> Result<Vec<Parted>, EngineError> {
        let Some(part) = self.owner(l, old.tuple())? else { return Ok(Vec::new()) };
        Ok(vec![(part, Change::Remove { table: l.table, key: self.key(l, old.tuple())? })])
    }

    /// Whose the row is; `None` if it is of none of the parts.
    fn owner(&self, l: &Layout, row: &Tuple) -> Result<Option<usize>, EngineError> {
        let mut key = Vec::with_capacity(l.dimensions.len());
        for (place, dimension) in l.dimensions.iter().zip(&self.plan.dimensions) {
            let text = match row.0.get(*place) {
                Some(TupleValue::Text(text)) => std::str::from_utf8(text).ok(),
                // A row without a value for a dimension belongs to no partition that a constraint names.
                Some(TupleValue::Null) => return Ok(None),
                _ => None,
            };
            let value = text.and_then(|t| dimension.key_type.parse(t).ok()).ok_or_else(|| {
                reshaped(
                    &self.plan.tables[l.table].shape(self.from).name,
                    &format!("the log does not say its {}", dimension.column),
                )
            })?;
            key.push(value);
        }
        Ok(self.owners.of_key(&self.parts, &key))
    }

    fn key(&self, l: &Layout, row: &Tuple) -> Result<Key, EngineError> {
        l.key
            .iter()
            .map(|place| match row.0.get(*place) {
                Some(TupleValue::Text(text)) => Ok(text.clone()),
                _ => Err(reshaped(
                    &self.plan.tables[l.table].shape(self.from).name,
                    "the log does not say its key",
                )),
            })
            .collect()
    }
}

/// A value of the new row. What it leaves unsaid is taken from the old one: from all of it where that came along whole,
/// else from its identity, which comes along where it lies out of line.
fn value<'a>(new: &'a Tuple, old: Option<&'a OldRow>, place: usize) -> Option<&'a TupleValue> {
    let said = new.0.get(place);
    let (Some(TupleValue::Unchanged), Some(old)) = (said, old) else { return said };
    match (old, old.tuple().0.get(place)) {
        // What is not of the identity is null here, whatever it was; what is of it never is.
        (OldRow::Key(_), None | Some(TupleValue::Null)) | (OldRow::Full(_), None) => said,
        (_, kept) => kept,
    }
}

fn said(new: &Tuple, old: Option<&OldRow>) -> Tuple {
    Tuple((0..new.0.len()).filter_map(|place| value(new, old, place).cloned()).collect())
}

fn cells(l: &Layout, new: &Tuple, old: Option<&OldRow>) -> Vec<Cell> {
    let cell = |place: &usize| match value(new, old, *place) {
        Some(TupleValue::Text(text) | TupleValue::Binary(text)) => Cell::Text(text.clone()),
        Some(TupleValue::Unchanged) => Cell::Unsaid,
        Some(TupleValue::Null) | None => Cell::Null,
    };
    l.carried.iter().map(cell).collect()
}

fn reshaped(table: &str, why: &str) -> EngineError {
    EngineError::Precondition {
        what: format!("{table} no longer has the shape that was planned: {why}"),
        // Undoing it does not help: the log keeps what was written meanwhile.
        remedy: "Abort the deployment and plan it again; after a switch, finish it.".into(),
    }
}
