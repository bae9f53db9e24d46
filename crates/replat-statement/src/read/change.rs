//! INSERT, UPDATE and DELETE.

use std::rc::Rc;

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, DoUpdate, FromTable, Insert, ObjectName,
    OnConflict, OnConflictAction, OnInsert, SelectItem, TableFactor, TableObject, TableWithJoins, Update,
    UpdateTableFromKind,
};

use super::facts::{Fact, RangeId, Scope, Var};
use super::from::{Node, Tree};
use super::{Around, Kind, Mention, Outputs, Range, Reader, ident, idents};
use crate::keys::Why;
use crate::tables::Partitioned;
use crate::term::Set;

impl Reader<'_> {
    pub(super) fn insert(&mut self, insert: &Insert, around: &Around) -> Result<Rc<Outputs>, Why> {
        let Insert {
            insert_token: _,
            optimizer_hints: _,
            or,
            ignore,
            into,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        let foreign = or.is_some()
            || *ignore
            || !*into
            || *overwrite
            || !assignments.is_empty()
            || partitioned.is_some()
            || !after_columns.is_empty()
            || *has_table_keyword
            || output.is_some()
            || *replace_into
            || priority.is_some()
            || insert_alias.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        if foreign {
            return Err(FOREIGN);
        }
        let TableObject::TableName(name) = table else { return Err(FOREIGN) };
        let alias = table_alias.as_ref().map(|alias| ident(&alias.alias)).transpose()?;
        let target = self.changed(name, alias, around)?;
        let rows = match source {
            Some(query) => self.query(query, around)?,
            None => Rc::default(),
        };
        let columns: Vec<Vec<Box<str>>> = columns.iter().map(idents).collect::<Result<_, _>>()?;
        let mut pool = around.pool.to_vec();
        if let Kind::Partitioned(table) = &self.ranges[target.0].kind {
            let table = table.clone();
            let sets = self.inserted(&table, &columns, &rows);
            if sets.iter().all(Vec::is_empty) {
                return Err(Why::NoKey(table.to_string().into()));
            }
            for (column, sets) in sets.iter().enumerate() {
                let var = Var { range: target, column };
                pool.extend(sets.iter().map(|set| Fact::Is(var, set.clone())));
                let key_type = self.key_type(var);
                // The server gives a bare parameter in VALUES the column's type; elsewhere that is not certain.
                let is_values = source.as_ref().is_some_and(|query| is_values(query));
                for term in sets.iter().flat_map(|set| set.iter()) {
                    self.uses(term, key_type.filter(|_| is_values));
                }
            }
            self.found.mentions.push(Mention { table, sets, inserted: true });
        }
        match on {
            None => {}
            Some(OnInsert::DuplicateKeyUpdate(_)) => return Err(FOREIGN),
            Some(OnInsert::OnConflict(conflict)) => self.conflict(conflict, target, &pool, around)?,
            Some(_) => return Err(FOREIGN),
        }
        let scope = Scope { ranges: vec![target], merged: Vec::new(), outer: around.scope.clone() };
        self.returning(returning.as_deref(), &[target], &around.within(scope, pool))
    }

    /// The sets of the values that each key column gets.
    fn inserted(&self, table: &Partitioned, columns: &[Vec<Box<str>>], rows: &Outputs) -> Vec<Vec<Set>> {
        let place = |column: &str| {
            let mut places =
                (0..columns.len()).filter(|&at| columns[at].first().is_some_and(|first| **first == *column));
            let place = places.next().filter(|_| places.next().is_none())?;
            rows.columns.get(place).filter(|_| rows.in_order)
        };
        let columns = table.columns.iter();
        columns.map(|column| place(column).map(|output| output.sets.clone()).unwrap_or_default()).collect()
    }

    fn conflict(
        &mut self,
        conflict: &OnConflict,
        target: RangeId,
        pool: &[Fact],
        around: &Around,
    ) -> Result<(), Why> {
        let OnConflict { conflict_target, action } = conflict;
        let DoUpdate { assignments, selection } = match action {
            OnConflictAction::DoNothing => return Ok(()),
            OnConflictAction::DoUpdate(update) => update,
        };
        if let Kind::Partitioned(table) = &self.ranges[target.0].kind {
            let named = match conflict_target {
                Some(ConflictTarget::Columns(columns)) => {
                    columns.iter().map(ident).collect::<Result<Vec<_>, _>>()?
                }
                Some(ConflictTarget::OnConstraint(_)) | None => Vec::new(),
            };
            if !table.columns.iter().all(|column| named.contains(column)) {
                return Err(Why::Conflict(table.to_string().into()));
            }
        }
        let excluded =
            self.range(Range { name: Some("excluded".into()), schema: None, kind: Kind::Opaque })?;
        let outer = around.scope.clone();
        let scope = Scope { ranges: vec![target, excluded], merged: Vec::new(), outer };
        let inside = around.within(scope, pool.to_vec());
        self.assign(assignments, target, &inside)?;
        self.expressions(selection, &inside)
    }

    pub(super) fn update(&mut self, update: &Update, around: &Around) -> Result<Rc<Outputs>, Why> {
        let Update {
            update_token: _,
            optimizer_hints: _,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        if output.is_some() || or.is_some() || !order_by.is_empty() || limit.is_some() {
            return Err(FOREIGN);
        }
        let from = match from {
            None => &[][..],
            Some(UpdateTableFromKind::AfterSet(from)) => from,
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(FOREIGN),
        };
        let target = self.target(table, around)?;
        let tree = self.from(from, Some(Tree::of(Node::Range(target), target)), around)?;
        let inside = self.conditions(tree.as_ref(), selection.as_ref(), around)?;
        self.assign(assignments, target, &inside)?;
        let ranges = tree.map(|tree| tree.ranges).unwrap_or_default();
        self.returning(returning.as_deref(), &ranges, &inside)
    }

    pub(super) fn delete(&mut self, delete: &Delete, around: &Around) -> Result<Rc<Outputs>, Why> {
        let Delete {
            delete_token: _,
            optimizer_hints: _,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        if !tables.is_empty() || output.is_some() || !order_by.is_empty() || limit.is_some() {
            return Err(FOREIGN);
        }
        let FromTable::WithFromKeyword(from) = from else { return Err(FOREIGN) };
        let [table] = from.as_slice() else { return Err(FOREIGN) };
        let target = self.target(table, around)?;
        let using = using.as_deref().unwrap_or_default();
        let tree = self.from(using, Some(Tree::of(Node::Range(target), target)), around)?;
        let inside = self.conditions(tree.as_ref(), selection.as_ref(), around)?;
        let ranges = tree.map(|tree| tree.ranges).unwrap_or_default();
        self.returning(returning.as_deref(), &ranges, &inside)
    }

    /// The table of an UPDATE or DELETE.
    fn target(&mut self, table: &TableWithJoins, around: &Around) -> Result<RangeId, Why> {
        let TableWithJoins { relation, joins } = table;
        let TableFactor::Table { name, alias, args: None, with_hints, version: None, .. } = relation else {
            return Err(FOREIGN);
        };
        let TableFactor::Table {
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
            ..
        } = relation
        else {
            return Err(FOREIGN);
        };
        let plain = with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty();
        let alias_is_plain =
            alias.as_ref().is_none_or(|alias| alias.columns.is_empty() && alias.at.is_none());
        if !plain || !alias_is_plain || !joins.is_empty() {
            return Err(FOREIGN);
        }
        let alias = alias.as_ref().map(|alias| ident(&alias.name)).transpose()?;
        self.changed(name, alias, around)
    }

    /// Takes note of a table that is changed. It is never a CTE, even if one has its name.
    fn changed(
        &mut self,
        name: &ObjectName,
        alias: Option<Box<str>>,
        around: &Around,
    ) -> Result<RangeId, Why> {
        self.found.changes = true;
        let named = std::mem::take(&mut self.found.names_reference);
        let range = self.table(name, alias, &Around { ctes: None, ..around.clone() })?;
        let is_partitioned = matches!(self.ranges[range.0].kind, Kind::Partitioned(_));
        if !is_partitioned && !self.found.names_reference {
            return Err(Why::Whole("a change of the catalogue"));
        }
        self.found.changes_reference |= !is_partitioned;
        self.found.names_reference |= named;
        Ok(range)
    }

    fn assign(&mut self, assignments: &[Assignment], target: RangeId, around: &Around) -> Result<(), Why> {
        for Assignment { target: to, value } in assignments {
            match to {
                AssignmentTarget::ColumnName(name) => self.check_assigned(name, target)?,
                AssignmentTarget::Tuple(names) => {
                    names.iter().try_for_each(|name| self.check_assigned(name, target))?;
                }
            }
            self.expression(value, around)?;
        }
        Ok(())
    }

    fn check_assigned(&self, name: &ObjectName, target: RangeId) -> Result<(), Why> {
        let Kind::Partitioned(table) = &self.ranges[target.0].kind else { return Ok(()) };
        let names = idents(name)?;
        if names.iter().any(|name| table.columns.contains(name)) {
            return Err(Why::KeyAssigned(table.to_string().into()));
        }
        Ok(())
    }

    fn returning(
        &mut self,
        items: Option<&[SelectItem]>,
        ranges: &[RangeId],
        around: &Around,
    ) -> Result<Rc<Outputs>, Why> {
        Ok(Rc::new(self.outputs(items.unwrap_or_default(), ranges, around)?))
    }
}

fn is_values(query: &sqlparser::ast::Query) -> bool {
    matches!(*query.body, sqlparser::ast::SetExpr::Values(_))
}

const FOREIGN: Why = Why::Unusual("a clause of another dialect");
