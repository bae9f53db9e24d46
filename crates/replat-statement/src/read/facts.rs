//! What the conditions of a query say of key columns, and what follows.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use sqlparser::ast::{BinaryOperator, Expr};

use super::{Kind, Reader, fold};
use crate::term::{Set, Term};

/// A place in [`Reader::ranges`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RangeId(pub(super) usize);

/// A column: of a partitioned table by its dimension, of a sub-query by its place in [`super::Outputs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Var {
    pub(super) range: RangeId,
    pub(super) column: usize,
}

/// A condition that holds. Either kind is false for NULL, so what it names is not NULL.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Is(Var, Set),
    Same(Var, Var),
}

/// The ranges whose columns can be named at a place.
pub(super) struct Scope {
    pub(super) ranges: Vec<RangeId>,
    pub(super) merged: Vec<Merged>,
    pub(super) outer: Option<Rc<Scope>>,
}

/// A column that `USING` made of two.
#[derive(Clone)]
pub(super) struct Merged {
    pub(super) name: Box<str>,
    /// A column that it equals wherever it is not NULL.
    pub(super) var: Option<Var>,
}

impl Fact {
    /// The ranges of which it says that they are not filled up with NULLs.
    pub(super) fn ranges(&self) -> impl Iterator<Item = RangeId> {
        let (one, other) = match self {
            Fact::Is(var, _) => (var.range, None),
            Fact::Same(a, b) => (a.range, Some(b.range)),
        };
        [one].into_iter().chain(other)
    }
}

pub(super) fn not_null(facts: &[Fact]) -> BTreeSet<RangeId> {
    facts.iter().flat_map(Fact::ranges).collect()
}

impl Reader<'_> {
    /// The facts that hold wherever `condition` is true: those of its outermost AND chain.
    pub(super) fn facts(&mut self, condition: &Expr, scope: &Scope) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut open = vec![condition];
        while let Some(expr) = open.pop() {
            match expr {
                Expr::Nested(inner) => open.push(inner),
                Expr::BinaryOp { left, op: BinaryOperator::And, right } => open.extend([&**right, &**left]),
                Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                    self.equal(left, right, scope, &mut facts);
                }
                Expr::InList { expr, list, negated: false } => self.among(expr, list, scope, &mut facts),
                Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, is_some: _ } => {
                    if let (Some(var), Some(terms)) = (self.var(left, scope), Term::of_array(right)) {
                        facts.push(self.is(var, terms));
                    }
                }
                _ => {}
            }
        }
        facts
    }

    fn is(&mut self, var: Var, terms: Vec<Term>) -> Fact {
        let key_type = self.key_type(var);
        for term in &terms {
            self.uses(term, key_type);
        }
        Fact::Is(var, Arc::from(terms))
    }

    fn equal(&mut self, left: &Expr, right: &Expr, scope: &Scope, facts: &mut Vec<Fact>) {
        if let (Some(left), Some(right)) = (row(left), row(right)) {
            if left.len() == right.len() {
                for (left, right) in left.iter().zip(right) {
                    self.equal(left, right, scope, facts);
                }
            }
            return;
        }
        match (self.var(left, scope), self.var(right, scope)) {
            (Some(a), Some(b)) => facts.push(Fact::Same(a, b)),
            (Some(var), None) => facts.extend(Term::of(right).map(|term| self.is(var, vec![term]))),
            (None, Some(var)) => facts.extend(Term::of(left).map(|term| self.is(var, vec![term]))),
            (None, None) => {}
        }
    }

    fn among(&mut self, expr: &Expr, list: &[Expr], scope: &Scope, facts: &mut Vec<Fact>) {
        let columns: Vec<&Expr> = match row(expr) {
            Some(columns) => columns.iter().collect(),
            None => vec![expr],
        };
        for (at, column) in columns.iter().enumerate() {
            let Some(var) = self.var(column, scope) else { continue };
            let part = |item| match row(item) {
                Some(parts) if parts.len() == columns.len() => Term::of(&parts[at]),
                None if columns.len() == 1 => Term::of(item),
                _ => None,
            };
            if let Some(terms) = list.iter().map(part).collect() {
                facts.push(self.is(var, terms));
            }
        }
    }

    /// The column that an expression is, if it is a key's column or one of a sub-query.
    pub(super) fn var(&self, expr: &Expr, scope: &Scope) -> Option<Var> {
        match expr {
            Expr::Nested(inner) => self.var(inner, scope),
            Expr::Identifier(name) => self.unqualified(&fold(&name.value, name.quote_style)?, scope),
            Expr::CompoundIdentifier(parts) => {
                let parts: Option<Vec<_>> =
                    parts.iter().map(|part| fold(&part.value, part.quote_style)).collect();
                match parts?.as_slice() {
                    [range, column] => self.qualified(None, range, column, scope),
                    [schema, range, column] => self.qualified(Some(schema), range, column, scope),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// A table's other columns are not known, so a name that is not a key's column in this scope may still be one of
    /// its columns, and is not looked for further out. If two ranges have it, the server refuses the statement.
    pub(super) fn unqualified(&self, name: &str, scope: &Scope) -> Option<Var> {
        let mut scope = scope;
        while scope.ranges.is_empty() {
            scope = scope.outer.as_deref()?;
        }
        let mut merged = scope.merged.iter().filter(|merged| &*merged.name == name);
        if let Some(first) = merged.next() {
            return if merged.next().is_none() { first.var } else { None };
        }
        let mut vars = scope.ranges.iter().filter_map(|&range| self.column(range, name));
        let first = vars.next()?;
        if vars.next().is_none() { Some(first) } else { None }
    }

    fn qualified(&self, schema: Option<&str>, name: &str, column: &str, scope: &Scope) -> Option<Var> {
        let mut next = Some(scope);
        while let Some(scope) = next {
            let mut ranges = scope.ranges.iter().filter(|range| {
                let range = &self.ranges[range.0];
                range.name.as_deref() == Some(name) && (schema.is_none() || range.schema.as_deref() == schema)
            });
            if let Some(&range) = ranges.next() {
                return if ranges.next().is_none() { self.column(range, column) } else { None };
            }
            next = scope.outer.as_deref();
        }
        None
    }

    fn column(&self, range: RangeId, name: &str) -> Option<Var> {
        let column = match &self.ranges[range.0].kind {
            Kind::Partitioned(table) => table.columns.iter().position(|column| &**column == name)?,
            Kind::Derived(outputs) => {
                outputs.columns.iter().position(|output| output.name.as_deref() == Some(name))?
            }
            Kind::Opaque => return None,
        };
        Some(Var { range, column })
    }

    /// The sets that a column's value is in, as far as `pool` tells.
    pub(super) fn sets_of(&self, var: Var, pool: &[Fact]) -> Vec<Set> {
        if let Kind::Derived(outputs) = &self.ranges[var.range.0].kind {
            return outputs.columns[var.column].sets.clone();
        }
        let mut alike = vec![var];
        let mut sets = Vec::new();
        let mut at = 0;
        while let Some(&one) = alike.get(at) {
            at += 1;
            for fact in pool {
                match fact {
                    Fact::Is(var, set) if *var == one => sets.push(set.clone()),
                    Fact::Same(a, b) if *a == one || *b == one => {
                        let other = if *a == one { *b } else { *a };
                        match &self.ranges[other.range.0].kind {
                            Kind::Partitioned(_) if !alike.contains(&other) => alike.push(other),
                            // Its type is not known, but that its values come from a key's column or a literal.
                            Kind::Derived(outputs) => {
                                sets.extend(outputs.columns[other.column].sets.iter().cloned());
                            }
                            _ => {}
                        }
                    }
                    _ => {}
                }
            }
        }
        sets
    }
}

/// The parts of a row constructor.
fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(parts) => Some(parts),
        _ => None,
    }
}
