//! What stands in the way of an exchange, and what a person has to agree to.

use super::facts::{Grant, Relation, Seen};
use super::{Danger, ExchangePlan, Hazard, INVOKER_MIN, RIGHTS, Refusal, SharedTable};
use crate::facts::TableName;
use crate::ids::Side;

/// What stands in the way, and what somebody has to agree to.
#[derive(Default)]
pub(super) struct Notes {
    refusals: Vec<Refusal>,
    hazards: Vec<Hazard>,
}

impl Notes {
    pub(super) fn unless(&mut self, holds: bool, what: impl FnOnce() -> String, remedy: &str) {
        if !holds {
            self.refusals.push(Refusal { what: what(), remedy: remedy.to_owned() });
        }
    }

    pub(super) fn table<'s>(&mut self, seen: &'s Seen, name: &TableName) -> Option<&'s Relation> {
        let found = seen.relation(name).filter(|relation| relation.is_table);
        self.unless(
            found.is_some(),
            || format!("{} is no table", shown(name)),
            "See who has dropped or replaced it; there is nothing to exchange without it.",
        );
        found
    }

    pub(super) fn check(&mut self, to: Side, tables: &[SharedTable], seen: &Seen) {
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
            self.check_columns(table);
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

    fn check_columns(&mut self, table: &SharedTable) {
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
    }

    /// Columns keep the order that their side is used to: what says none must go on to mean the same. The rows of a table
    /// cannot be put in another order; but partitions can be handed over to a table that has it.
    pub(super) fn keep_order(&mut self, to: Side, table: &mut SharedTable, now: &Relation) {
        if table.is_in_order_of(to) {
            return;
        }
        let why_not = match &now.tree {
            Some(tree) if tree.ties.is_empty() => {
                table.handed_over = Some(tree.clone());
                return;
            }
            Some(tree) => format!(" (its partitions cannot be handed over: {})", tree.ties.join(", ")),
            None => String::new(),
        };
        let order: Vec<&str> = table.columns.iter().map(|column| column.on(to)).collect();
        let what = format!(
            "the columns of {} will be ({}): a SELECT * and an INSERT without a list of columns mean something \
             else{why_not}",
            shown(table.on(to)),
            order.join(", ")
        );
        self.hazards.push(Hazard { name: Danger::ColumnOrder, what });
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

    pub(super) fn plan(self, to: Side, tables: Vec<SharedTable>) -> Result<ExchangePlan, Vec<Refusal>> {
        match self.refusals.is_empty() {
            true => Ok(ExchangePlan { to, tables, hazards: self.hazards }),
            false => Err(self.refusals),
        }
    }
}

pub(super) fn shown(name: &TableName) -> String {
    format!("{}.{}", name.schema, name.name)
}
