//! The exchange of whole tables: once every partition of a context lives on green by views, tables and views change
//! places. Afterwards green has the tables, under its own names, and blue's names are views of them.
//!
//! No row is touched. Whoever still says blue's names reads and writes the same rows as before, so nothing that the old
//! version does is lost or silently does nothing. What could be so is a [`Refusal`]; what a person has to know and agree
//! to is a [`Hazard`].

mod check;
mod facts;

use serde::{Deserialize, Serialize};

use crate::facts::{TableFacts, TableName};
use crate::ids::Side;
use crate::plan::ViewPlan;

use check::{Notes, shown};
pub use facts::{
    Grant, Made, Relation, RelationColumn, Seen, Tree, TreeColumn, TreeComment, TreePart, TreeRule,
    TreeSequence,
};

/// The first major release in which a view can act with the rights of whoever uses it.
pub const INVOKER_MIN: u32 = 15;

/// What a role can be allowed to do to rows.
pub const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// A table that both versions know, with its name and columns for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedTable {
    /// Its name on blue.
    pub blue: TableName,
    /// Its name on green.
    pub green: TableName,
    /// Whether it is a partition of another one. It keeps its name; only blue's side has a view in its place, and its columns change
    /// their names with those of the whole table.
    pub is_leaf: bool,
    /// Its columns, in the order of the table.
    pub columns: Vec<SharedColumn>,
    /// The role that owns it.
    pub owner: String,
    /// What other roles may do to its rows.
    pub grants: Vec<Grant>,
    /// Its extended statistics, which lie in its schema.
    pub statistics: Vec<String>,
    /// What the rollout's DDL makes of it.
    pub stands_for: Option<TableFacts>,
    /// What it is made of, if its partitions are handed over to another table whose columns stand in the order of the side
    /// that gets it. `None` if it moves as it is.
    pub handed_over: Option<Tree>,
}

/// A column with its name for each version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedColumn {
    /// Its name on blue.
    pub blue: String,
    /// Its name on green; `None` if the new version does not know it.
    pub green: Option<String>,
    /// Its place among blue's columns.
    pub blue_place: usize,
    /// Its place among green's columns.
    pub green_place: Option<usize>,
    /// Its type with its modifier.
    pub type_name: String,
    /// What it is by default for the old version: an expression.
    pub blue_default: Option<String>,
    /// What it is by default for the new version.
    pub green_default: Option<String>,
    /// What roles may do to this column only.
    pub grants: Vec<Grant>,
}

impl SharedTable {
    /// Its name for `side`.
    pub fn on(&self, side: Side) -> &TableName {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    /// Whether it changes its name or its schema. A partition in a third schema stays where it is.
    pub fn moves(&self) -> bool {
        self.blue != self.green
    }

    /// Whether `side` has a view in its place while the table itself is on the other one.
    pub fn has_view_on(&self, side: Side) -> bool {
        side == Side::Blue || !self.is_leaf
    }

    /// The columns that `side` knows, in its order.
    pub fn shown_on(&self, side: Side) -> Vec<&SharedColumn> {
        let mut shown: Vec<&SharedColumn> = self.columns.iter().collect();
        match side {
            Side::Blue => shown.sort_by_key(|column| column.blue_place),
            Side::Green => {
                shown.retain(|column| column.green_place.is_some());
                shown.sort_by_key(|column| column.green_place);
            }
        }
        shown
    }

    /// All columns, those that `side` knows first and in its order.
    pub fn in_order_of(&self, side: Side) -> Vec<&SharedColumn> {
        let mut ordered = self.shown_on(side);
        let others =
            self.columns.iter().filter(|column| !ordered.iter().any(|shown| shown.blue == column.blue));
        let others: Vec<&SharedColumn> = others.collect();
        ordered.extend(others);
        ordered
    }

    /// Whether the table has the columns of `side` in its order, perhaps with others behind them.
    fn is_in_order_of(&self, side: Side) -> bool {
        self.is_leaf || self.columns.iter().eq(self.in_order_of(side))
    }

    /// The table as it is once `side` has got it.
    #[must_use]
    pub fn once_on(&self, side: Side) -> SharedTable {
        let columns = match self.handed_over {
            Some(_) => self.in_order_of(side).into_iter().cloned().collect(),
            None => self.columns.clone(),
        };
        SharedTable { columns, handed_over: None, ..self.clone() }
    }
}

impl SharedColumn {
    /// The table's name for it while the table is on `side`.
    pub fn on(&self, side: Side) -> &str {
        match (side, &self.green) {
            (Side::Green, Some(green)) => green,
            _ => &self.blue,
        }
    }

    /// What it is by default for `side`.
    pub fn default_on(&self, side: Side) -> Option<&str> {
        match side {
            Side::Blue => self.blue_default.as_deref(),
            Side::Green => self.green_default.as_deref(),
        }
    }
}

/// What is to change places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangePlan {
    /// The side that gets the tables.
    pub to: Side,
    /// The tables, each followed by its partitions.
    pub tables: Vec<SharedTable>,
    /// What a person has to agree to.
    pub hazards: Vec<Hazard>,
}

/// Why an exchange would not be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What stands in the way.
    pub what: String,
    /// What to do, as one imperative sentence.
    pub remedy: String,
}

/// Something that a person has to agree to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hazard {
    /// Of which kind it is.
    pub name: Danger,
    /// What it means here.
    pub what: String,
}

/// The kinds of hazards of an exchange, by the names that are given to `--allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Danger {
    /// The new version's columns stand in another order in the table.
    ColumnOrder,
    /// Who follows the table's changes by name gets another name.
    Published,
}

impl Danger {
    /// Its name.
    pub fn code(self) -> &'static str {
        match self {
            Danger::ColumnOrder => "COLUMN_ORDER",
            Danger::Published => "PUBLISHED",
        }
    }
}

/// Green's tables in the place of its views; or everything that stands in the way.
///
/// # Errors
///
/// Every reason why it would not be right.
pub fn forth(blue: &str, green: &str, views: &[ViewPlan], seen: &Seen) -> Result<ExchangePlan, Vec<Refusal>> {
    let mut notes = Notes::default();
    let mut tables = Vec::new();
    for view in views {
        let name = TableName { schema: blue.to_owned(), name: view.table.clone() };
        let Some(root) = notes.table(seen, &name) else { continue };
        let green_name = TableName { schema: green.to_owned(), name: view.stands_for.name.clone() };
        let mut shared = shared(view, root, green_name, seen);
        notes.keep_order(Side::Green, &mut shared, root);
        for column in &view.columns {
            let there = root.columns.iter().any(|of| of.name == column.of);
            notes.unless(
                there,
                || format!("{}.{} is gone", view.table, column.of),
                "Deploy again from the tables as they are.",
            );
        }
        let leaves = leaves_of(seen, &name, green, &shared);
        tables.push(shared);
        tables.extend(leaves);
    }
    notes.check(Side::Green, &tables, seen);
    notes.plan(Side::Green, tables)
}

/// Blue's tables in their old place again, as they were recorded; or everything that stands in the way.
///
/// # Errors
///
/// Every reason why it would not be right.
pub fn back(recorded: &[SharedTable], seen: &Seen) -> Result<ExchangePlan, Vec<Refusal>> {
    let mut notes = Notes::default();
    let mut tables = Vec::new();
    for shared in recorded {
        // A partition may have been dropped since.
        if shared.is_leaf && seen.relation(&shared.green).is_none() {
            continue;
        }
        let Some(table) = notes.table(seen, &shared.green) else { continue };
        let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let known: Vec<&str> = shared.columns.iter().map(|column| column.on(Side::Green)).collect();
        notes.unless(
            columns == known,
            || format!("{} has other columns than when it was exchanged", shown(&shared.green)),
            "Keep it where it is; what the new version has changed cannot be said with the old names.",
        );
        let mut shared = renewed(shared, table);
        notes.keep_order(Side::Blue, &mut shared, table);
        tables.push(shared);
    }
    // A partition that came since has no name on blue; it lies where the table is, and that is no harm.
    let known = |name: &TableName| recorded.iter().any(|shared| shared.green == *name);
    let came = seen.relations.iter().filter(|relation| relation.is_table && !known(&relation.name));
    for relation in came {
        let blue = recorded.first().map(|shared| shared.blue.schema.clone()).unwrap_or_default();
        let parent = relation.parent.as_ref();
        let whole = tables.iter().find(|shared| Some(&shared.green) == parent).cloned();
        if let Some(whole) = whole {
            tables.push(leaf(relation, &whole, &blue, &relation.name.schema, Side::Green));
        }
    }
    notes.check(Side::Blue, &tables, seen);
    notes.plan(Side::Blue, tables)
}

/// The table of a view.
fn shared(view: &ViewPlan, table: &Relation, green: TableName, seen: &Seen) -> SharedTable {
    let place = |name: &str| view.columns.iter().position(|column| column.of == name);
    let columns = table.columns.iter().enumerate().map(|(blue_place, column)| {
        let green_place = place(&column.name);
        let of = green_place.map(|at| &view.columns[at]);
        SharedColumn {
            blue: column.name.clone(),
            green: of.map(|of| of.name.clone()),
            blue_place,
            green_place,
            type_name: column.type_name.clone(),
            blue_default: column.default.clone(),
            green_default: of.and_then(|of| of.default.clone()).or_else(|| column.default.clone()),
            grants: column.grants.clone(),
        }
    });
    let made = seen.made.iter().find(|made| made.name == green);
    SharedTable {
        blue: table.name.clone(),
        is_leaf: false,
        columns: columns.collect(),
        owner: table.owner.clone(),
        grants: table.grants.clone(),
        statistics: table.statistics.clone(),
        stands_for: made.and_then(|made| made.stands_for.clone()),
        handed_over: None,
        green,
    }
}

/// The partitions of a table, at all levels. They keep their names and move along.
fn leaves_of(seen: &Seen, root: &TableName, green: &str, whole: &SharedTable) -> Vec<SharedTable> {
    let mut above = vec![root];
    let mut leaves = Vec::new();
    for relation in seen.relations.iter().filter(|relation| relation.is_table) {
        if relation.parent.as_ref().is_some_and(|parent| above.contains(&parent)) {
            above.push(&relation.name);
            leaves.push(leaf(relation, whole, &root.schema, green, Side::Blue));
        }
    }
    leaves
}

/// A partition of `whole`, whose columns have the names that they have on the side where the table is.
fn leaf(relation: &Relation, whole: &SharedTable, blue: &str, green: &str, at: Side) -> SharedTable {
    let columns = relation.columns.iter().enumerate().map(|(blue_place, column)| {
        let of = whole.columns.iter().find(|of| of.on(at) == column.name);
        SharedColumn {
            blue: of.map_or_else(|| column.name.clone(), |of| of.blue.clone()),
            green: of.and_then(|of| of.green.clone()),
            blue_place,
            green_place: None,
            type_name: column.type_name.clone(),
            blue_default: column.default.clone(),
            green_default: column.default.clone(),
            grants: column.grants.clone(),
        }
    });
    // A partition that lies in a third schema stays there.
    let home = match at {
        Side::Blue => blue,
        Side::Green => green,
    };
    let moves = relation.name.schema == home;
    let name = |schema: &str| TableName {
        schema: if moves { schema.to_owned() } else { relation.name.schema.clone() },
        name: relation.name.name.clone(),
    };
    SharedTable {
        blue: name(blue),
        green: name(green),
        is_leaf: true,
        columns: columns.collect(),
        owner: relation.owner.clone(),
        grants: relation.grants.clone(),
        statistics: relation.statistics.clone(),
        stands_for: None,
        handed_over: None,
    }
}

/// The record, with what may have changed since: owners, rights and statistics are the table's own.
fn renewed(shared: &SharedTable, table: &Relation) -> SharedTable {
    let mut renewed = SharedTable {
        owner: table.owner.clone(),
        grants: table.grants.clone(),
        statistics: table.statistics.clone(),
        ..shared.clone()
    };
    for (column, now) in renewed.columns.iter_mut().zip(&table.columns) {
        column.grants = now.grants.clone();
    }
    renewed
}
