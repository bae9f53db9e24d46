//! Queries: SELECT, VALUES, set operations, WITH.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use sqlparser::ast::{
    Cte, Distinct, Expr, GroupByExpr, GroupByWithModifier, LimitClause, NamedWindowDefinition,
    NamedWindowExpr, Offset, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier, TableAlias, Values,
    WildcardAdditionalOptions, With,
};

use super::facts::{Fact, RangeId, Scope};
use super::{Around, Kind, Output, Outputs, Reader, ident, idents};
use crate::keys::Why;
use crate::term::{Set, Term};

impl Reader<'_> {
    pub(super) fn query(&mut self, query: &Query, around: &Around) -> Result<Rc<Outputs>, Why> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() || !pipe_operators.is_empty()
        {
            return Err(Why::Unusual("a clause of another dialect"));
        }
        self.found.locks |= !locks.is_empty();
        let mut around = around.clone();
        if let Some(with) = with {
            around = self.with(with, around)?;
        }
        let (outputs, inside) = self.body(body, &around)?;
        if let Some(order_by) = order_by {
            self.order_by(order_by, &inside)?;
        }
        if let Some(limit) = limit_clause {
            self.limit(limit, &inside)?;
        }
        if let Some(quantity) = fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()) {
            self.expression(quantity, &inside)?;
        }
        Ok(outputs)
    }

    fn with(&mut self, with: &With, mut around: Around) -> Result<Around, Why> {
        let With { with_token: _, recursive, cte_tables } = with;
        if *recursive {
            // Each may name any other, also a later one.
            for cte in cte_tables {
                around = around.with_cte(ident(&cte.alias.name)?, None);
            }
        }
        for cte in cte_tables {
            let Cte { alias, query, from, materialized: _, closing_paren_token: _ } = cte;
            let TableAlias { explicit: _, name, columns, at } = alias;
            if from.is_some() || at.is_some() {
                return Err(Why::Unusual("a clause of another dialect"));
            }
            let mut outputs = self.query(query, &around)?;
            if !columns.is_empty() {
                outputs = Rc::new(outputs.renamed(columns.iter().map(|column| ident(&column.name)))?);
            }
            // What a recursive one yields follows from itself.
            let outputs = if *recursive { None } else { Some(outputs) };
            around = around.with_cte(ident(name)?, outputs);
        }
        Ok(around)
    }

    /// The columns of a query's body, and what is seen from the clauses behind it.
    fn body(&mut self, body: &SetExpr, around: &Around) -> Result<(Rc<Outputs>, Around), Why> {
        match body {
            SetExpr::Select(select) => self.select(select, around),
            SetExpr::Query(query) => Ok((self.query(query, around)?, around.clone())),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let known = matches!(op, SetOperator::Union | SetOperator::Except | SetOperator::Intersect);
                let all = matches!(
                    set_quantifier,
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None
                );
                if !known || !all {
                    return Err(Why::Unusual("a clause of another dialect"));
                }
                let (left, _) = self.body(left, around)?;
                let (right, _) = self.body(right, around)?;
                Ok((Rc::new(left.or(&right)), around.clone()))
            }
            SetExpr::Values(values) => Ok((Rc::new(self.values(values, around)?), around.clone())),
            SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
                Ok((self.statement(statement, around)?, around.clone()))
            }
            SetExpr::Merge(_) => Err(Why::Unusual("MERGE")),
            SetExpr::Table(_) => Err(Why::Unusual("TABLE")),
        }
    }

    fn values(&mut self, values: &Values, around: &Around) -> Result<Outputs, Why> {
        let Values { explicit_row, value_keyword, rows } = values;
        if *explicit_row || *value_keyword {
            return Err(Why::Unusual("a clause of another dialect"));
        }
        let mut columns: Vec<Option<Vec<Term>>> =
            vec![Some(Vec::new()); rows.first().map_or(0, |row| row.content.len())];
        for row in rows {
            self.expressions(&row.content, around)?;
            if row.content.len() != columns.len() {
                return Err(Why::NotParsed);
            }
            for (column, expr) in columns.iter_mut().zip(&row.content) {
                match (column.as_mut(), Term::of(expr)) {
                    (Some(terms), Some(term)) => terms.push(term),
                    _ => *column = None,
                }
            }
        }
        let columns = columns.into_iter().map(|terms| Output {
            name: None,
            sets: terms.map(|terms| vec![Set::from(terms)]).unwrap_or_default(),
        });
        Ok(Outputs { columns: columns.collect(), in_order: true })
    }

    fn select(&mut self, select: &Select, around: &Around) -> Result<(Rc<Outputs>, Around), Why> {
        let Select {
            select_token: _,
            optimizer_hints: _,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        let foreign = select_modifiers.is_some()
            || top.is_some()
            || exclude.is_some()
            || !lateral_views.is_empty()
            || prewhere.is_some()
            || !connect_by.is_empty()
            || !cluster_by.is_empty()
            || !distribute_by.is_empty()
            || !sort_by.is_empty()
            || qualify.is_some()
            || value_table_mode.is_some()
            || !matches!(flavor, SelectFlavor::Standard);
        if foreign {
            return Err(Why::Unusual("a clause of another dialect"));
        }
        if into.is_some() {
            return Err(Why::Whole("SELECT INTO"));
        }
        let tree = self.from(from, None, around)?;
        let inside = self.conditions(tree.as_ref(), selection.as_ref(), around)?;
        match distinct {
            Some(Distinct::On(exprs)) => self.expressions(exprs, &inside)?,
            Some(Distinct::All | Distinct::Distinct) | None => {}
        }
        match group_by {
            GroupByExpr::All(modifiers) => self.modifiers(modifiers, &inside)?,
            GroupByExpr::Expressions(exprs, modifiers) => {
                self.expressions(exprs, &inside)?;
                self.modifiers(modifiers, &inside)?;
            }
        }
        self.expressions(having, &inside)?;
        for NamedWindowDefinition(_, window) in named_window {
            match window {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(window) => self.window(window, &inside)?,
            }
        }
        let ranges = tree.map(|tree| tree.ranges).unwrap_or_default();
        let outputs = self.outputs(projection, &ranges, &inside)?;
        Ok((Rc::new(outputs), inside))
    }

    /// Reads FROM and WHERE; the result is what is seen from the other clauses.
    pub(super) fn conditions(
        &mut self,
        tree: Option<&super::from::Tree<'_>>,
        selection: Option<&Expr>,
        around: &Around,
    ) -> Result<Around, Why> {
        let scope = match tree {
            Some(tree) => tree.scope_within(around),
            None => Rc::new(Scope { ranges: Vec::new(), merged: Vec::new(), outer: around.scope.clone() }),
        };
        let mut pool: Vec<Fact> = around.pool.to_vec();
        if let Some(condition) = selection {
            pool.extend(self.facts(condition, &scope));
        }
        if let Some(tree) = tree {
            self.visit(tree, &pool, around)?;
            tree.add_all_facts(&mut pool);
        }
        let inside = Around { ctes: around.ctes.clone(), scope: Some(scope), pool: Rc::new(pool) };
        if let Some(condition) = selection {
            self.expression(condition, &inside)?;
        }
        Ok(inside)
    }

    fn modifiers(&mut self, modifiers: &[GroupByWithModifier], around: &Around) -> Result<(), Why> {
        modifiers.iter().try_for_each(|modifier| match modifier {
            GroupByWithModifier::GroupingSets(expr) => self.expression(expr, around),
            GroupByWithModifier::Rollup | GroupByWithModifier::Cube | GroupByWithModifier::Totals => {
                Err(Why::Unusual("a clause of another dialect"))
            }
        })
    }

    pub(super) fn order_by(&mut self, order_by: &OrderBy, around: &Around) -> Result<(), Why> {
        let OrderBy { kind, interpolate } = order_by;
        match kind {
            OrderByKind::Expressions(exprs) if interpolate.is_none() => self.order(exprs, around),
            _ => Err(Why::Unusual("a clause of another dialect")),
        }
    }

    pub(super) fn order(&mut self, exprs: &[OrderByExpr], around: &Around) -> Result<(), Why> {
        exprs.iter().try_for_each(|by| {
            let OrderByExpr { expr, options: _, with_fill } = by;
            match with_fill {
                None => self.expression(expr, around),
                Some(_) => Err(Why::Unusual("a clause of another dialect")),
            }
        })
    }

    fn limit(&mut self, limit: &LimitClause, around: &Around) -> Result<(), Why> {
        match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                self.expressions(limit, around)?;
                if let Some(Offset { value, rows: _ }) = offset {
                    self.expression(value, around)?;
                }
                self.expressions(limit_by, around)
            }
            LimitClause::OffsetCommaLimit { .. } => Err(Why::Unusual("a clause of another dialect")),
        }
    }

    /// Reads a select list or RETURNING, and what its columns are.
    pub(super) fn outputs(
        &mut self,
        items: &[SelectItem],
        ranges: &[RangeId],
        around: &Around,
    ) -> Result<Outputs, Why> {
        let mut outputs = Outputs { columns: Vec::new(), in_order: true };
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let name = match expr {
                        Expr::Identifier(name) => Some(ident(name)?),
                        Expr::CompoundIdentifier(parts) => parts.last().map(ident).transpose()?,
                        _ => None,
                    };
                    self.output(expr, name, around, &mut outputs)?;
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.output(expr, Some(ident(alias)?), around, &mut outputs)?;
                }
                SelectItem::ExprWithAliases { .. } => {
                    return Err(Why::Unusual("a clause of another dialect"));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    plain_wildcard(options)?;
                    let name = idents(name)?.pop();
                    let ranges = ranges.iter().filter(|range| self.ranges[range.0].name == name);
                    let ranges: Vec<RangeId> = ranges.copied().collect();
                    self.all_columns(&ranges, around, &mut outputs);
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), options) => {
                    plain_wildcard(options)?;
                    self.expression(expr, around)?;
                    outputs.in_order = false;
                }
                SelectItem::Wildcard(options) => {
                    plain_wildcard(options)?;
                    self.all_columns(ranges, around, &mut outputs);
                }
            }
        }
        // A wildcard may bring further columns of any name; but two of one name cannot be told apart by it.
        outputs.forget_double_names();
        Ok(outputs)
    }

    fn output(
        &mut self,
        expr: &Expr,
        name: Option<Box<str>>,
        around: &Around,
        outputs: &mut Outputs,
    ) -> Result<(), Why> {
        self.expression(expr, around)?;
        let var = around.scope.as_ref().and_then(|scope| self.var(expr, scope));
        let sets = match (var, Term::of(expr)) {
            (Some(var), _) => self.sets_of(var, &around.pool),
            (None, Some(term)) => vec![Set::from([term])],
            (None, None) => Vec::new(),
        };
        outputs.columns.push(Output { name, sets });
        Ok(())
    }

    /// The columns of which something is known; others stand between them.
    fn all_columns(&mut self, ranges: &[RangeId], around: &Around, outputs: &mut Outputs) {
        outputs.in_order = false;
        for &range in ranges {
            let names: Vec<Option<Box<str>>> = match &self.ranges[range.0].kind {
                Kind::Partitioned(table) => table.columns.iter().cloned().map(Some).collect(),
                Kind::Derived(inner) => inner.columns.iter().map(|column| column.name.clone()).collect(),
                Kind::Opaque => Vec::new(),
            };
            for (column, name) in names.into_iter().enumerate() {
                let var = super::facts::Var { range, column };
                outputs.columns.push(Output { name, sets: self.sets_of(var, &around.pool) });
            }
        }
    }
}

impl Outputs {
    /// The columns of a set operation, named by its first part.
    fn or(&self, other: &Outputs) -> Outputs {
        if !self.in_order || !other.in_order || self.columns.len() != other.columns.len() {
            return Outputs::default();
        }
        let columns = self.columns.iter().zip(&other.columns).map(|(a, b)| {
            let sets = match (a.sets.first(), b.sets.first()) {
                (Some(a), Some(b)) => vec![Arc::from([&a[..], &b[..]].concat())],
                _ => Vec::new(),
            };
            Output { name: a.name.clone(), sets }
        });
        Outputs { columns: columns.collect(), in_order: true }
    }

    pub(super) fn forget_double_names(&mut self) {
        let mut count: BTreeMap<Box<str>, usize> = BTreeMap::new();
        for name in self.columns.iter().filter_map(|column| column.name.clone()) {
            *count.entry(name).or_default() += 1;
        }
        for column in &mut self.columns {
            if column.name.as_ref().is_some_and(|name| count.get(name).is_some_and(|&count| count > 1)) {
                column.name = None;
            }
        }
    }
}

fn plain_wildcard(options: &WildcardAdditionalOptions) -> Result<(), Why> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude,
        opt_except,
        opt_replace,
        opt_rename,
        opt_alias,
    } = options;
    let plain = opt_ilike.is_none()
        && opt_exclude.is_none()
        && opt_except.is_none()
        && opt_replace.is_none()
        && opt_rename.is_none()
        && opt_alias.is_none();
    if plain { Ok(()) } else { Err(Why::Unusual("a clause of another dialect")) }
}
