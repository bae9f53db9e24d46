//! The walk over a statement, with the names that can be seen at each place.

mod change;
mod condition;
mod expression;
mod query;

use sqlparser::ast::{CopySource, Expr, ObjectName, Statement, TableAlias};

use super::analysis::{Analysis, Joined, Touched};
use crate::evidence::{folded, name_of};
use crate::schema::{Schema, TableId};
use crate::trace::Op;

/// A column that a query gives: its name, and which column of a touched table it is, if it is one.
type Output = (Option<String>, Option<Joined>);

/// Something that columns can be taken from.
#[derive(Clone, Debug)]
struct Relation {
    /// What it is called at this place.
    alias: String,
    from: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    /// A table, by its touch.
    Touch(usize),
    /// A query inside.
    Query(Vec<Output>),
}

/// What columns are looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be given, put in order, grouped, or made something of.
    Value,
    /// To choose rows.
    Choice,
}

/// Reads one statement.
pub(super) struct Reader<'s> {
    schema: &'s Schema,
    /// What was found.
    pub done: Analysis,
    /// What can be seen, the innermost last.
    scopes: Vec<Vec<Relation>>,
    /// Queries that have a name, the innermost last.
    named: Vec<(String, Vec<Output>)>,
    /// What columns are looked at for, at this place.
    purpose: Purpose,
}

impl<'s> Reader<'s> {
    pub(super) fn new(schema: &'s Schema) -> Reader<'s> {
        let done = Analysis::default();
        Reader { schema, done, scopes: Vec::new(), named: Vec::new(), purpose: Purpose::Value }
    }

    /// Reads a statement, and gives the columns that it gives.
    pub(super) fn statement(&mut self, statement: &Statement) -> Vec<Output> {
        match statement {
            Statement::Query(query) => return self.query_in_use(query),
            Statement::Insert(insert) => return self.insert(insert),
            Statement::Update(update) => return self.update(update),
            Statement::Delete(delete) => return self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Truncate(truncate) => {
                for target in &truncate.table_names {
                    self.touch(&target.name, Op::Delete);
                }
            }
            Statement::Copy { source: CopySource::Table { table_name, columns }, to, .. } => {
                let touch = self.touch(table_name, if *to { Op::Read } else { Op::Insert });
                let Some(touch) = touch else { return Vec::new() };
                let columns = match &columns[..] {
                    [] => self.columns_of(touch),
                    some => some.iter().map(folded).collect(),
                };
                let uses = &mut self.done.touches[touch].uses;
                if *to { uses.read.extend(columns) } else { uses.added.extend(columns) }
            }
            Statement::Copy { source: CopySource::Query(query), .. } => {
                self.query_in_use(query);
            }
            _ => {}
        }
        Vec::new()
    }

    /// Notes that a table is touched; `None` if there is no such table.
    fn touch(&mut self, name: &ObjectName, op: Op) -> Option<usize> {
        let name = name_of(name)?;
        match self.schema.find(&name) {
            Some(table) => {
                self.done.touches.push(Touched::new(table, op));
                Some(self.done.touches.len() - 1)
            }
            None => {
                self.done.strangers.push(name);
                None
            }
        }
    }

    fn table(&self, touch: usize) -> TableId {
        self.done.touches[touch].table
    }

    fn has(&self, touch: usize, column: &str) -> bool {
        self.schema.table(self.table(touch)).columns.contains_key(column)
    }

    /// All columns of a touched table.
    fn columns_of(&self, touch: usize) -> Vec<String> {
        self.schema.table(self.table(touch)).columns.keys().cloned().collect()
    }

    /// Notes that a column is looked at.
    fn note(&mut self, (touch, column): &Joined) {
        let uses = &mut self.done.touches[*touch].uses;
        let of_purpose = match self.purpose {
            Purpose::Value => &mut uses.read,
            Purpose::Choice => &mut uses.filter,
        };
        of_purpose.insert(column.clone());
    }

    /// Notes that all these columns are looked at.
    fn note_all(&mut self, outputs: &[Output]) {
        outputs.iter().filter_map(|(_, from)| from.as_ref()).for_each(|from| self.note(from));
    }

    /// Notes what a name stands for: a column, or all columns of what is called so.
    fn note_name(&mut self, expr: &Expr) {
        if let Some(column) = self.column(expr) {
            self.note(&column);
            return;
        }
        let Expr::Identifier(name) = expr else { return };
        let name = folded(name);
        let relation = self.scopes.iter().rev().flatten().find(|relation| relation.alias == name).cloned();
        if let Some(relation) = relation {
            let outputs = self.all_of(&relation);
            self.note_all(&outputs);
        }
    }

    /// Looks at something for a purpose.
    fn with_purpose<T>(&mut self, purpose: Purpose, look: impl FnOnce(&mut Reader<'s>) -> T) -> T {
        let before = std::mem::replace(&mut self.purpose, purpose);
        let seen = look(self);
        self.purpose = before;
        seen
    }

    /// Makes a touched table's columns seen in the innermost scope.
    fn see(&mut self, touch: Option<usize>, name: &ObjectName, alias: Option<&TableAlias>) {
        let Some(touch) = touch else { return };
        let alias = alias
            .map(|alias| folded(&alias.name))
            .or_else(|| name.0.last().and_then(|part| part.as_ident()).map(folded));
        if let Some(alias) = alias {
            self.see_as(touch, alias);
        }
    }

    /// Makes a touched table's columns seen in the innermost scope, by this name.
    fn see_as(&mut self, touch: usize, alias: String) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(Relation { alias, from: Origin::Touch(touch) });
        }
    }

    fn all_of(&self, relation: &Relation) -> Vec<Output> {
        match &relation.from {
            Origin::Touch(touch) => {
                let columns = self.schema.table(self.table(*touch)).columns.keys();
                columns.map(|column| (Some(column.clone()), Some((*touch, column.clone())))).collect()
            }
            Origin::Query(outputs) => outputs.clone(),
        }
    }

    fn see_query(&mut self, alias: String, outputs: Vec<Output>) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(Relation { alias, from: Origin::Query(outputs) });
        }
    }

    fn of_relation(&self, relation: &Relation, column: &str) -> Option<Joined> {
        match &relation.from {
            Origin::Touch(touch) => self.has(*touch, column).then(|| (*touch, column.to_owned())),
            Origin::Query(outputs) => outputs
                .iter()
                .find(|(name, _)| name.as_deref() == Some(column))
                .and_then(|(_, from)| from.clone()),
        }
    }

    /// The column of a touched table that an expression is.
    fn column(&self, expr: &Expr) -> Option<Joined> {
        match expr {
            Expr::Identifier(name) => {
                let name = folded(name);
                let mut all = self.scopes.iter().rev().flatten();
                all.find_map(|relation| self.of_relation(relation, &name))
            }
            Expr::CompoundIdentifier(parts) => {
                let [.., relation, column] = parts.as_slice() else { return None };
                let (alias, column) = (folded(relation), folded(column));
                let relation = self.scopes.iter().rev().flatten().find(|relation| relation.alias == alias)?;
                self.of_relation(relation, &column)
            }
            Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::Collate { expr: inner, .. } => {
                self.column(inner)
            }
            _ => None,
        }
    }
}
