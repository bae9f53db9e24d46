//! From the log's messages to what changed in one partition.
//!
//! Pure: bytes in, changes out. Rows of other partitions are dropped here, by the very region that the map holds;
//! so are transactions that replat itself wrote for this deployment, which carry a mark as their first entry.

use std::collections::HashMap;

use bytes::Bytes;
use replat_engine::EngineError;
use replat_model::ids::{Lsn, Side};
use replat_model::plan::{Plan, TablePlan};
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

/// Reads one side's log for one deployment.
pub struct Changes<'a> {
    plan: &'a Plan,
    deployment: &'a str,
    from: Side,
    secret: String,
    /// A table may have several: its rows become rows of several tables.
    layouts: HashMap<u32, Vec<Layout>>,
    own: bool,
}

impl<'a> Changes<'a> {
    /// A reader that has seen nothing yet; `secret` is what replat's marks in this log begin with.
    pub fn new(plan: &'a Plan, deployment: &'a str, from: Side, secret: String) -> Changes<'a> {
        Changes { plan, deployment, from, secret, layouts: HashMap::new(), own: false }
    }

    /// What `message`, found at `at`, comes to for this partition.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precondition`] if a table no longer has the shape that was planned, or a row's identity does
    /// not say which partition it belongs to.
    pub fn take(&mut self, at: Lsn, message: Message) -> Result<Vec<Entry>, EngineError> {
        let changed = |changes: Vec<Change>| changes.into_iter().map(|c| Entry::Changed(at, c)).collect();
        Ok(match message {
            Message::Begin(_) => {
                self.own = false;
                Vec::new()
            }
            Message::Commit(commit) => vec![Entry::Committed(commit.end_lsn)],
            Message::Relation(relation) => {
                let layouts = self.layouts_of(&relation)?;
                self.layouts.insert(relation.id, layouts);
                Vec::new()
            }
            Message::Message(m) => self.mark(&m.prefix, &m.content),
            _ if self.own => Vec::new(),
            Message::Insert(m) => changed(self.each(m.relation, |l| self.insert(l, &m.new))?),
            Message::Update(m) => changed(self.each(m.relation, |l| self.update(l, m.old.as_ref(), &m.new))?),
            Message::Delete(m) => changed(self.each(m.relation, |l| self.delete(l, &m.old))?),
            Message::Truncate(m) => {
                let tables = m.relations.iter().filter_map(|r| self.layouts.get(r)).flatten();
                changed(tables.map(|l| Change::Empty { table: l.table }).collect())
            }
            Message::Origin(_) | Message::Type(_) => Vec::new(),
        })
    }

    fn mark(&mut self, prefix: &str, content: &[u8]) -> Vec<Entry> {
        match Mark::decode(prefix, content, &self.secret) {
            Some(Mark::Own { deployment }) if deployment == self.deployment => {
                self.own = true;
                Vec::new()
            }
            Some(Mark::Own { .. }) | None => Vec::new(),
            Some(mark @ (Mark::Barrier { .. } | Mark::Opened { .. })) => {
                let (Mark::Barrier { partition, .. } | Mark::Opened { partition }) = &mark else {
                    return Vec::new();
                };
                if *partition == self.plan.partition { vec![Entry::Mark(mark)] } else { Vec::new() }
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
        change: impl Fn(&Layout) -> Result<Vec<Change>, EngineError>,
    ) -> Result<Vec<Change>, EngineError> {
        let mut changes = Vec::new();
        for layout in self.layouts.get(&relation).into_iter().flatten() {
            changes.append(&mut change(layout)?);
        }
        Ok(changes)
    }

    fn insert(&self, l: &Layout, new: &Tuple) -> Result<Vec<Change>, EngineError> {
        if !self.belongs(l, new)? {
            return Ok(Vec::new());
        }
        Ok(vec![Change::Put {
            table: l.table,
            old_key: None,
            key: self.key(l, new)?,
            cells: cells(l, new, None),
            arrived: false,
        }])
    }

    fn update(&self, l: &Layout, old: Option<&OldRow>, new: &Tuple) -> Result<Vec<Change>, EngineError> {
        // The partition's dimensions are part of the identity, so an update without an old tuple leaves them alone.
        let was = match old {
            Some(old) => self.belongs(l, old.tuple())?,
            None => self.belongs(l, new)?,
        };
        let is = self.belongs_after(l, new, old)?;
        // A row of no partition may have no key either.
        let old_key = match old.filter(|_| was) {
            Some(old) => Some(self.key(l, old.tuple())?),
            None => None,
        };
        match (was, is) {
            (false, false) => Ok(Vec::new()),
            (true, false) => {
                let key = old_key.map_or_else(|| self.key(l, new), Ok)?;
                Ok(vec![Change::Remove { table: l.table, key }])
            }
            (was, true) => {
                let key = self.key_after(l, new, old)?;
                Ok(vec![Change::Put {
                    table: l.table,
                    old_key: old_key.filter(|old| *old != key),
                    key,
                    cells: cells(l, new, old),
                    arrived: !was,
                }])
            }
        }
    }

    fn delete(&self, l: &Layout, old: &OldRow) -> Result<Vec<Change>, EngineError> {
        if !self.belongs(l, old.tuple())? {
            return Ok(Vec::new());
        }
        Ok(vec![Change::Remove { table: l.table, key: self.key(l, old.tuple())? }])
    }

    fn belongs_after(&self, l: &Layout, new: &Tuple, old: Option<&OldRow>) -> Result<bool, EngineError> {
        self.belongs(l, &said(new, old))
    }

    fn key_after(&self, l: &Layout, new: &Tuple, old: Option<&OldRow>) -> Result<Key, EngineError> {
        self.key(l, &said(new, old))
    }

    fn belongs(&self, l: &Layout, row: &Tuple) -> Result<bool, EngineError> {
        let mut key = Vec::with_capacity(l.dimensions.len());
        for (place, dimension) in l.dimensions.iter().zip(&self.plan.dimensions) {
            let text = match row.0.get(*place) {
                Some(TupleValue::Text(text)) => std::str::from_utf8(text).ok(),
                // A row without a value for a dimension belongs to no partition that a constraint names.
                Some(TupleValue::Null) => return Ok(false),
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
        Ok(self.plan.region.contains(&key))
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
