//! Statements that change rows.

use std::collections::BTreeMap;

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, FromTable, Insert, Merge, MergeAction,
    MergeInsertKind, MergeUpdateKind, ObjectName, OnConflict, OnConflictAction, OnInsert, SelectItem,
    SetExpr, TableFactor, TableObject, Update, UpdateTableFromKind,
};

use super::expression::{last_name, operand};
use super::{Output, Purpose, Reader};
use crate::evidence::folded;
use crate::trace::Op;

impl Reader<'_> {
    /// Reads an insert, and gives the columns that it returns.
    pub(super) fn insert(&mut self, insert: &Insert) -> Vec<Output> {
        let TableObject::TableName(name) = &insert.table else { return Vec::new() };
        let Some(touch) = self.touch(name, Op::Insert) else {
            if let Some(source) = &insert.source {
                self.query_in_use(source);
            }
            return Vec::new();
        };
        let mut columns: Vec<String> = insert.columns.iter().filter_map(last_name).collect();
        if columns.is_empty() {
            columns.clone_from(&self.schema.table(self.table(touch)).order);
        }
        self.adds(touch, &columns);
        match &insert.source {
            None => self.done.touches[touch].added.push(BTreeMap::new()),
            Some(source) => match source.body.as_ref() {
                SetExpr::Values(values) => {
                    for row in &values.rows {
                        let set = columns
                            .iter()
                            .zip(&row.content)
                            .filter_map(|(column, expr)| Some((column.clone(), operand(expr)?)));
                        let set = set.collect();
                        self.done.touches[touch].added.push(set);
                        row.content.iter().for_each(|expr| self.walk(expr));
                    }
                }
                _ => {
                    let outputs = self.query_in_use(source);
                    for (column, (_, from)) in columns.into_iter().zip(outputs) {
                        if let Some(from) = from {
                            self.done.joins.push(((touch, column), from));
                        }
                    }
                }
            },
        }
        self.scopes.push(Vec::new());
        self.see(Some(touch), name, None);
        if let Some(alias) = &insert.table_alias {
            self.see_as(touch, folded(&alias.alias));
        }
        if let Some(OnInsert::OnConflict(conflict)) = &insert.on {
            self.conflict(touch, conflict);
        }
        let outputs = self.returning(insert.returning.as_deref());
        self.scopes.pop();
        outputs
    }

    /// Which columns an insert gives a value: all of them if it does not say.
    fn adds(&mut self, touch: usize, columns: &[String]) {
        let columns = if columns.is_empty() { self.columns_of(touch) } else { columns.to_vec() };
        self.done.touches[touch].uses.added.extend(columns);
    }

    /// What it does instead if a row is there. What it sets then is no key of the new row, so it is only noted as set.
    fn conflict(&mut self, touch: usize, conflict: &OnConflict) {
        if let Some(ConflictTarget::Columns(columns)) = &conflict.conflict_target {
            self.done.touches[touch].uses.filter.extend(columns.iter().map(folded));
        }
        let OnConflictAction::DoUpdate(update) = &conflict.action else { return };
        for assignment in &update.assignments {
            self.sets(Some(touch), assignment);
        }
        if let Some(selection) = &update.selection {
            self.with_purpose(Purpose::Choice, |reader| reader.walk(selection));
        }
    }

    /// The columns that a changing statement returns.
    fn returning(&mut self, items: Option<&[SelectItem]>) -> Vec<Output> {
        let outputs = self.projected(items.unwrap_or_default());
        self.note_all(&outputs);
        outputs
    }

    /// Reads an update, and gives the columns that it returns.
    pub(super) fn update(&mut self, update: &Update) -> Vec<Output> {
        let TableFactor::Table { name, alias, .. } = &update.table.relation else { return Vec::new() };
        let touch = self.touch(name, Op::Update);
        self.scopes.push(Vec::new());
        self.see(touch, name, alias.as_ref());
        for join in &update.table.joins {
            self.join(join);
        }
        if let Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) = &update.from
        {
            from.iter().for_each(|from| self.from(from));
        }
        self.assign(touch, &update.assignments);
        if let Some(selection) = &update.selection {
            self.holds(selection);
        }
        let outputs = self.returning(update.returning.as_deref());
        self.scopes.pop();
        outputs
    }

    fn assign(&mut self, touch: Option<usize>, assignments: &[Assignment]) {
        for assignment in assignments {
            if let (Some(touch), AssignmentTarget::ColumnName(name)) = (touch, &assignment.target)
                && let (Some(column), Some(operand)) = (last_name(name), operand(&assignment.value))
            {
                self.done.touches[touch].set.insert(column, operand);
            }
            self.sets(touch, assignment);
        }
    }

    /// Notes the columns that are set, and what they are made of.
    fn sets(&mut self, touch: Option<usize>, assignment: &Assignment) {
        let names: &[ObjectName] = match &assignment.target {
            AssignmentTarget::ColumnName(name) => std::slice::from_ref(name),
            AssignmentTarget::Tuple(names) => names,
        };
        if let Some(touch) = touch {
            let columns: Vec<String> = names.iter().filter_map(first_name).collect();
            let known: Vec<String> = columns.into_iter().filter(|column| self.has(touch, column)).collect();
            self.done.touches[touch].uses.set.extend(known);
        }
        self.walk(&assignment.value);
    }

    /// Reads a delete, and gives the columns that it returns.
    pub(super) fn delete(&mut self, delete: &Delete) -> Vec<Output> {
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        self.scopes.push(Vec::new());
        for table in tables {
            if let TableFactor::Table { name, alias, .. } = &table.relation {
                let touch = self.touch(name, Op::Delete);
                self.see(touch, name, alias.as_ref());
            }
        }
        delete.using.iter().flatten().for_each(|from| self.from(from));
        if let Some(selection) = &delete.selection {
            self.holds(selection);
        }
        let outputs = self.returning(delete.returning.as_deref());
        self.scopes.pop();
        outputs
    }

    /// Reads a merge.
    pub(super) fn merge(&mut self, merge: &Merge) {
        let TableFactor::Table { name, alias, .. } = &merge.table else { return };
        let touch = self.touch(name, Op::Update);
        self.scopes.push(Vec::new());
        self.see(touch, name, alias.as_ref());
        self.factor(&merge.source);
        self.holds(&merge.on);
        for clause in &merge.clauses {
            if let Some(predicate) = &clause.predicate {
                self.with_purpose(Purpose::Choice, |reader| reader.walk(predicate));
            }
            match &clause.action {
                MergeAction::Update(update) => match &update.kind {
                    MergeUpdateKind::Set(assignments) => {
                        assignments.iter().for_each(|assignment| self.sets(touch, assignment));
                    }
                    MergeUpdateKind::Wildcard => self.done.partly = true,
                },
                MergeAction::Insert(insert) => {
                    let columns: Vec<String> = insert.columns.iter().filter_map(last_name).collect();
                    if let Some(touch) = touch {
                        self.adds(touch, &columns);
                    }
                    if let MergeInsertKind::Values(values) = &insert.kind {
                        values.rows.iter().flat_map(|row| &row.content).for_each(|expr| self.walk(expr));
                    }
                }
                MergeAction::Delete { .. } | MergeAction::DoNothing { .. } => {}
            }
        }
        self.scopes.pop();
    }
}

/// The column that is set: of `a.b`, a field of a composite, it is the first name.
fn first_name(name: &ObjectName) -> Option<String> {
    name.0.first().and_then(|part| part.as_ident()).map(folded)
}
