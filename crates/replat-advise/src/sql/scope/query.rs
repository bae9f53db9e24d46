//! Queries: what they take columns from, and which columns they give.

use sqlparser::ast::{
    Cte, Distinct, Expr, GroupByExpr, JoinConstraint, JoinOperator, NamedWindowExpr, ObjectName, OrderByExpr,
    OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias,
    TableFactor, TableWithJoins,
};

use super::expression::{last_name, simple_name};
use super::{Joined, Output, Purpose, Reader, Relation};
use crate::evidence::folded;
use crate::trace::Op;

impl Reader<'_> {
    /// Reads a query whose columns are used where it stands, and gives them.
    pub(super) fn query_in_use(&mut self, query: &Query) -> Vec<Output> {
        let outputs = self.query(query);
        self.note_all(&outputs);
        outputs
    }

    /// Reads a query, and gives its columns. Those that it takes as they are count as used only where they are used.
    pub(super) fn query(&mut self, query: &Query) -> Vec<Output> {
        self.with_purpose(Purpose::Value, |reader| reader.query_for_values(query))
    }

    fn query_for_values(&mut self, query: &Query) -> Vec<Output> {
        let named = self.named.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.cte(cte);
        }
        let order: &[OrderByExpr] = match query.order_by.as_ref().map(|order| &order.kind) {
            Some(OrderByKind::Expressions(order)) => order,
            _ => &[],
        };
        let outputs = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, order),
            other => self.body(other),
        };
        self.named.truncate(named);
        outputs
    }

    fn cte(&mut self, cte: &Cte) {
        let name = folded(&cte.alias.name);
        // A recursive query sees itself: then its columns are not known yet.
        self.named.push((name.clone(), Vec::new()));
        let place = self.named.len() - 1;
        let outer = std::mem::take(&mut self.scopes);
        let outputs = self.query(&cte.query);
        self.scopes = outer;
        self.named[place] = (name, renamed(outputs, Some(&cte.alias)));
    }

    fn body(&mut self, body: &SetExpr) -> Vec<Output> {
        match body {
            SetExpr::Select(select) => self.select(select, &[]),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let outputs = self.body(left);
                let others = self.body(right);
                self.note_all(&others);
                outputs
            }
            SetExpr::Values(values) => {
                values.rows.iter().flat_map(|row| &row.content).for_each(|expr| self.walk(expr));
                Vec::new()
            }
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => self.statement(statement),
            SetExpr::Table(_) => Vec::new(),
        }
    }

    fn select(&mut self, select: &Select, order: &[OrderByExpr]) -> Vec<Output> {
        self.scopes.push(Vec::new());
        select.from.iter().for_each(|from| self.from(from));
        if let Some(selection) = &select.selection {
            self.holds(selection);
        }
        let outputs = self.projected(&select.projection);
        if let GroupByExpr::Expressions(groups, _) = &select.group_by {
            groups.iter().for_each(|expr| self.walk(expr));
        }
        if let Some(having) = &select.having {
            self.with_purpose(Purpose::Choice, |reader| reader.walk(having));
        }
        match &select.distinct {
            Some(Distinct::On(columns)) => columns.iter().for_each(|expr| self.walk(expr)),
            Some(Distinct::Distinct) => self.note_all(&outputs),
            _ => {}
        }
        for window in &select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &window.1 {
                self.window(window);
            }
        }
        for by in order {
            // The name of a column that is given goes before those of the tables.
            let given = match &by.expr {
                Expr::Identifier(name) => {
                    let name = folded(name);
                    outputs.iter().find(|(output, _)| output.as_ref() == Some(&name))
                }
                _ => None,
            };
            match given {
                Some((_, Some(from))) => self.note(from),
                Some(_) => {}
                None => self.walk(&by.expr),
            }
        }
        self.scopes.pop();
        outputs
    }

    /// The columns that are given. Those that are something else than a column are looked into at once.
    pub(super) fn projected(&mut self, items: &[SelectItem]) -> Vec<Output> {
        let mut outputs = Vec::new();
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let column = self.projected_one(expr);
                    outputs.push((simple_name(expr), column));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let column = self.projected_one(expr);
                    outputs.push((Some(folded(alias)), column));
                }
                SelectItem::Wildcard(_) => {
                    let scope = self.scopes.last().cloned().unwrap_or_default();
                    outputs.extend(scope.iter().flat_map(|relation| self.all_of(relation)));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    outputs.extend(self.all_called(name));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                    self.walk(expr);
                    outputs.push((None, None));
                }
                SelectItem::ExprWithAliases { expr, .. } => {
                    self.walk(expr);
                    outputs.push((None, None));
                }
            }
        }
        outputs
    }

    fn projected_one(&mut self, expr: &Expr) -> Option<Joined> {
        let column = self.column(expr);
        if column.is_none() {
            self.walk(expr);
        }
        column
    }

    /// All columns of what is called so in the innermost scope.
    pub(super) fn all_called(&self, name: &ObjectName) -> Vec<Output> {
        let name = last_name(name);
        let found = self.scopes.last().into_iter().flatten();
        let found = found.filter(|relation| Some(&relation.alias) == name.as_ref());
        found.flat_map(|relation| self.all_of(relation)).collect()
    }

    pub(super) fn from(&mut self, from: &TableWithJoins) {
        self.factor(&from.relation);
        for join in &from.joins {
            self.join(join);
        }
    }

    pub(super) fn join(&mut self, join: &sqlparser::ast::Join) {
        let left: Vec<Relation> = self.scopes.last().cloned().unwrap_or_default();
        self.factor(&join.relation);
        let right: Vec<Relation> =
            self.scopes.last().map(|scope| scope[left.len()..].to_vec()).unwrap_or_default();
        match constraint(&join.join_operator) {
            Some(JoinConstraint::On(condition)) => self.holds(condition),
            Some(JoinConstraint::Using(columns)) => {
                for column in columns.iter().filter_map(last_name) {
                    self.equate(&left, &right, &column);
                }
            }
            Some(JoinConstraint::Natural) => {
                let names: Vec<String> = right
                    .iter()
                    .flat_map(|relation| self.all_of(relation))
                    .filter_map(|(name, _)| name)
                    .collect();
                for column in names {
                    self.equate(&left, &right, &column);
                }
            }
            _ => {}
        }
    }

    /// The column of this name is equal on both sides.
    fn equate(&mut self, left: &[Relation], right: &[Relation], column: &str) {
        let one = left.iter().find_map(|relation| self.of_relation(relation, column));
        let other = right.iter().find_map(|relation| self.of_relation(relation, column));
        if let (Some(one), Some(other)) = (one, other) {
            self.with_purpose(Purpose::Choice, |reader| {
                reader.note(&one);
                reader.note(&other);
            });
            self.done.joins.push((one, other));
        }
    }

    pub(super) fn factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                if let Some(args) = args {
                    args.args.iter().for_each(|arg| self.argument(arg));
                    return;
                }
                let named = last_name(name)
                    .filter(|_| name.0.len() == 1)
                    .and_then(|name| self.named.iter().rev().find(|(known, _)| *known == name).cloned());
                if let Some((known, outputs)) = named {
                    let called = alias.as_ref().map_or(known, |alias| folded(&alias.name));
                    self.see_query(called, renamed(outputs, alias.as_ref()));
                    return;
                }
                let touch = self.touch(name, Op::Read);
                self.see(touch, name, alias.as_ref());
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let outputs = self.query(subquery);
                let called = alias.as_ref().map_or_else(String::new, |alias| folded(&alias.name));
                self.see_query(called, renamed(outputs, alias.as_ref()));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => self.from(table_with_joins),
            TableFactor::Function { args, .. } => args.iter().for_each(|arg| self.argument(arg)),
            TableFactor::TableFunction { expr, .. } => self.walk(expr),
            TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().for_each(|expr| self.walk(expr)),
            _ => self.done.partly = true,
        }
    }
}

/// The condition of a join.
fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(c)
        | J::Inner(c)
        | J::Left(c)
        | J::LeftOuter(c)
        | J::Right(c)
        | J::RightOuter(c)
        | J::FullOuter(c)
        | J::CrossJoin(c)
        | J::Semi(c)
        | J::LeftSemi(c)
        | J::RightSemi(c)
        | J::Anti(c)
        | J::LeftAnti(c)
        | J::RightAnti(c) => Some(c),
        _ => None,
    }
}

/// A query's columns under the names that an alias gives them.
fn renamed(outputs: Vec<Output>, alias: Option<&TableAlias>) -> Vec<Output> {
    let names = alias.map_or(&[][..], |alias| &alias.columns);
    let mut outputs = outputs;
    for (output, name) in outputs.iter_mut().zip(names) {
        output.0 = Some(folded(&name.name));
    }
    outputs
}
