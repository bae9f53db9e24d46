//! The exchange of whole tables: once every partition of a context lives on green by views, tables and views change
//! places. Afterwards green has the tables, under its own names, and blue's names are views of them.
//!
//! No row is touched. Whoever still says blue's names reads and writes the same rows as before, so nothing that the old
//! version does is lost or silently does nothing. What could be so is a [`Refusal`]; what a person has to know and agree
//! to is a [`Hazard`].

use serde::{Deserialize, Serialize};

use crate::facts::{TableFacts, TableName};
use crate::ids::Side;
use crate::plan::ViewPlan;

/// The first major release in which a view can act with the rights of whoever uses it.
pub const INVOKER_MIN: u32 = 15;

/// What a role can be allowed to do to rows.
pub const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// A table or a view as the catalogue has it now. Names are exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relation {
    /// Its name.
    pub name: TableName,
    /// The table that it is a partition of.
    pub parent: Option<TableName>,
    /// Whether it is a view.
    pub is_view: bool,
    /// Whether it holds rows, or is a partitioned table.
    pub is_table: bool,
    /// The definition of a view, with full names.
    pub definition: Option<String>,
    /// The role that owns it.
    pub owner: String,
    /// Whether the role that asked may alter it.
    pub owned: bool,
    /// Whether its owner may use the schema that it is to move to. Foreign keys are checked as the owner.
    pub owner_may_enter: bool,
    /// Whether row level security is enabled.
    pub row_security: bool,
    /// Whether a deployment guards it.
    pub guarded: bool,
    /// Its columns, in order.
    pub columns: Vec<RelationColumn>,
    /// What roles other than the owner may do to its rows.
    pub grants: Vec<Grant>,
    /// The triggers that users made.
    pub triggers: Vec<String>,
    /// The publications that it is in.
    pub published: Vec<String>,
    /// Of a view: what needs it, in the server's words.
    pub dependents: Vec<String>,
    /// The names of its indexes and sequences, which move with it.
    pub parts: Vec<String>,
    /// The names of its extended statistics in its own schema.
    pub statistics: Vec<String>,
}

/// A column of a table or a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type with its modifier.
    pub type_name: String,
    /// Its default, with full names; none for generated columns.
    pub default: Option<String>,
    /// What roles may do to this column only.
    pub grants: Vec<Grant>,
}

/// Something that a role may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The role; `None` for everybody.
    pub role: Option<String>,
    /// Such as `SELECT`.
    pub right: String,
    /// Whether it may pass that on.
    pub grantable: bool,
}

/// A view that replat made, as it wrote it down.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Its name.
    pub name: TableName,
    /// Its definition, with full names.
    pub definition: String,
    /// The table of the rollout's DDL that it stands for; none for a view of blue's names.
    pub stands_for: Option<TableFacts>,
}

/// What the database says about all that would be exchanged.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The tables, each followed by its partitions, and the views.
    pub relations: Vec<Relation>,
    /// The views as they were made.
    pub made: Vec<Made>,
    /// All names that are taken in the schema that the tables are to move to.
    pub taken: Vec<String>,
    /// Whether the role that asked may create in both schemas.
    pub may_create: bool,
    /// The server's major version.
    pub major: u32,
}

impl Seen {
    /// The relation of that name.
    pub fn relation(&self, name: &TableName) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.name == *name)
    }

    fn stands_as_made(&self, view: &Relation) -> bool {
        let made = self.made.iter().find(|made| made.name == view.name);
        made.is_some_and(|made| view.definition.as_ref() == Some(&made.definition))
    }
}

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
}

/// A column with its name for each version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedColumn {
    /// Its name on blue.
    pub blue: String,
    /// Its name on green; `None` if the new version does not know it.
    pub green: Option<String>,
    /// Its place among green's columns.
    pub place: Option<usize>,
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
        if side == Side::Green && !self.is_leaf {
            shown.retain(|column| column.place.is_some());
            shown.sort_by_key(|column| column.place);
        }
        shown
    }

    /// Whether the table has green's columns in green's order, perhaps with others behind them.
    fn is_in_greens_order(&self) -> bool {
        let shown = self.shown_on(Side::Green);
        self.columns.iter().zip(&shown).all(|(of, is)| of.blue == is.blue)
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
        let shared = shared(view, root, green_name, seen);
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
        tables.push(renewed(shared, table));
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
    let columns = table.columns.iter().map(|column| {
        let place = place(&column.name);
        let of = place.map(|at| &view.columns[at]);
        SharedColumn {
            blue: column.name.clone(),
            green: of.map(|of| of.name.clone()),
            place,
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
    let columns = relation.columns.iter().map(|column| {
        let of = whole.columns.iter().find(|of| of.on(at) == column.name);
        SharedColumn {
            blue: of.map_or_else(|| column.name.clone(), |of| of.blue.clone()),
            green: of.and_then(|of| of.green.clone()),
            place: None,
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

fn shown(name: &TableName) -> String {
    format!("{}.{}", name.schema, name.name)
}

/// What stands in the way, and what somebody has to agree to.
#[derive(Default)]
struct Notes {
    refusals: Vec<Refusal>,
    hazards: Vec<Hazard>,
}

impl Notes {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String, remedy: &str) {
        if !holds {
            self.refusals.push(Refusal { what: what(), remedy: remedy.to_owned() });
        }
    }

    fn table<'s>(&mut self, seen: &'s Seen, name: &TableName) -> Option<&'s Relation> {
        let found = seen.relation(name).filter(|relation| relation.is_table);
        self.unless(
            found.is_some(),
            || format!("{} is no table", shown(name)),
            "See who has dropped or replaced it; there is nothing to exchange without it.",
        );
        found
    }

    fn check(&mut self, to: Side, tables: &[SharedTable], seen: &Seen) {
        self.unless(
            seen.may_create,
            || "replat's role may not create in both schemas".into(),
            "GRANT CREATE on both schemas to the role that replat connects as.",
        );
        for table in tables {
            if let Some(now) = seen.relation(table.on(to.other())) {
                self.check_table(to, table, now);
            }
            if table.has_view_on(to) && table.moves() {
                self.check_view(to, table, seen);
            }
            self.check_columns(to, table);
        }
        self.check_names(to, tables, seen);
    }

    fn check_table(&mut self, to: Side, table: &SharedTable, now: &Relation) {
        let name = shown(&now.name);
        self.unless(
            now.owned,
            || format!("{name} belongs to {}, and replat's role may not move it", now.owner),
            "Let replat connect as its owner, or as a member of that role.",
        );
        self.unless(
            now.owner_may_enter,
            || format!("{} owns {name} and may not use the schema that it moves to", now.owner),
            "GRANT USAGE on that schema to the owner: foreign keys are checked as that role.",
        );
        self.unless(
            !now.row_security,
            || format!("{name} has row level security"),
            "Leave it as it is; a view would not ask the policies for everybody.",
        );
        self.unless(
            !now.guarded,
            || format!("{name} is guarded for a deployment"),
            "Wait until that deployment has finished and its copy is dropped, or give it up.",
        );
        let renamed = table.columns.iter().any(|column| column.on(to) != column.on(to.other()));
        self.unless(
            now.triggers.is_empty() || !renamed,
            || {
                let triggers = now.triggers.join(", ");
                format!("{name} has the trigger {triggers}, which may say names of columns that change")
            },
            "Drop the trigger, or keep the names of the columns.",
        );
        if !now.published.is_empty() {
            let what = format!(
                "{name} is in the publication {}: whoever follows it gets the rows of {} from then on",
                now.published.join(", "),
                shown(table.on(to))
            );
            self.hazards.push(Hazard { name: Danger::Published, what });
        }
    }

    /// The view that gives way.
    fn check_view(&mut self, to: Side, table: &SharedTable, seen: &Seen) {
        let name = table.on(to);
        let view = seen.relation(name).filter(|relation| relation.is_view);
        // A partition that came since the exchange has no view.
        if view.is_none() && table.is_leaf && !seen.taken.contains(&name.name) {
            return;
        }
        let stands = view.is_some_and(|view| seen.stands_as_made(view));
        self.unless(
            stands,
            || format!("{} is not the view that was made", shown(name)),
            "See who has replaced it; what it does now would be lost.",
        );
        let Some(view) = view else { return };
        for dependent in &view.dependents {
            self.unless(
                false,
                || format!("{dependent} needs the view {}", shown(name)),
                "Drop it, and create it again after the exchange.",
            );
        }
        if seen.major < INVOKER_MIN {
            self.check_rights(table, view);
        }
    }

    /// Before release 15 a view acts with its owner's rights, so roles may lack those to the table.
    fn check_rights(&mut self, table: &SharedTable, view: &Relation) {
        let has = |grant: &&Grant| {
            table.grants.iter().any(|had| (&had.role, &had.right) == (&grant.role, &grant.right))
        };
        let rows = |grant: &&Grant| RIGHTS.contains(&grant.right.as_str());
        for grant in view.grants.iter().filter(rows).filter(|grant| !has(grant)) {
            let role = grant.role.as_deref().unwrap_or("PUBLIC");
            self.unless(
                false,
                || format!("{role} may {} on {}, and not on the table", grant.right, shown(&view.name)),
                "GRANT the same right on the table.",
            );
        }
    }

    fn check_columns(&mut self, to: Side, table: &SharedTable) {
        for column in table.columns.iter().filter(|column| column.green.is_none()) {
            let twin = table.columns.iter().any(|other| other.green.as_ref() == Some(&column.blue));
            self.unless(
                !twin || table.is_leaf,
                || {
                    format!(
                        "{}.{} would have two columns {}",
                        table.green.schema, table.green.name, column.blue
                    )
                },
                "Rename blue's column, which the new version does not know.",
            );
        }
        if to == Side::Green && !table.is_leaf && !table.is_in_greens_order() {
            let order: Vec<&str> = table.columns.iter().map(|column| column.on(Side::Green)).collect();
            let what = format!(
                "the columns of {} will be ({}): a SELECT * and an INSERT without a list of columns mean something else",
                shown(&table.green),
                order.join(", ")
            );
            self.hazards.push(Hazard { name: Danger::ColumnOrder, what });
        }
    }

    /// Whether every name is free where it goes.
    fn check_names(&mut self, to: Side, tables: &[SharedTable], seen: &Seen) {
        let moving = || tables.iter().filter(|table| table.moves());
        let gives_way = |name: &str| {
            let mut views = moving().filter(|table| table.has_view_on(to));
            views.any(|table| table.on(to).name == name)
        };
        let mut names: Vec<&str> = Vec::new();
        for table in moving() {
            names.push(&table.on(to).name);
            let now = seen.relation(table.on(to.other()));
            names.extend(now.into_iter().flat_map(|now| now.parts.iter().map(String::as_str)));
        }
        for (at, name) in names.iter().enumerate() {
            let is_free = !seen.taken.iter().any(|taken| taken == name) || gives_way(name);
            self.unless(
                is_free && !names[..at].contains(name),
                || format!("the name {name} is taken in the schema that the tables move to"),
                "Rename one of the two.",
            );
        }
    }

    fn plan(self, to: Side, tables: Vec<SharedTable>) -> Result<ExchangePlan, Vec<Refusal>> {
        match self.refusals.is_empty() {
            true => Ok(ExchangePlan { to, tables, hazards: self.hazards }),
            false => Err(self.refusals),
        }
    }
}
