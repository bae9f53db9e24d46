//! The walk over a statement, with the names that can be seen at each place.

use std::collections::BTreeMap;

use sqlparser::ast::{
    Assignment, AssignmentTarget, BinaryOperator, CopySource, Cte, Delete, Expr, FromTable, FunctionArg,
    FunctionArgExpr, FunctionArguments, Insert, JoinConstraint, JoinOperator, Merge, ObjectName, Query,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement, TableAlias, TableFactor,
    TableObject, TableWithJoins, UnaryOperator, Update, UpdateTableFromKind, Value as Literal,
};

use super::analysis::{Analysis, Joined, Operand, Touched};
use crate::evidence::{folded, name_of};
use crate::schema::{Schema, TableId};
use crate::trace::Op;
use crate::value::Value;

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

/// Reads one statement.
pub(super) struct Reader<'s> {
    schema: &'s Schema,
    /// What was found.
    pub done: Analysis,
    /// What can be seen, the innermost last.
    scopes: Vec<Vec<Relation>>,
    /// Queries that have a name, the innermost last.
    named: Vec<(String, Vec<Output>)>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(schema: &'s Schema) -> Reader<'s> {
        Reader { schema, done: Analysis::default(), scopes: Vec::new(), named: Vec::new() }
    }

    pub(super) fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                self.query(query);
            }
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            Statement::Truncate(truncate) => {
                for target in &truncate.table_names {
                    self.touch(&target.name, Op::Delete);
                }
            }
            Statement::Copy { source: CopySource::Table { table_name, .. }, to, .. } => {
                self.touch(table_name, if *to { Op::Read } else { Op::Insert });
            }
            Statement::Copy { source: CopySource::Query(query), .. } => {
                self.query(query);
            }
            _ => {}
        }
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

    /// Makes a touched table's columns seen in the innermost scope.
    fn see(&mut self, touch: Option<usize>, name: &ObjectName, alias: Option<&TableAlias>) {
        let Some(touch) = touch else { return };
        let alias = alias
            .map(|alias| folded(&alias.name))
            .or_else(|| name.0.last().and_then(|part| part.as_ident()).map(folded));
        if let (Some(scope), Some(alias)) = (self.scopes.last_mut(), alias) {
            scope.push(Relation { alias, from: Origin::Touch(touch) });
        }
    }

    fn insert(&mut self, insert: &Insert) {
        let TableObject::TableName(name) = &insert.table else { return };
        let Some(touch) = self.touch(name, Op::Insert) else {
            if let Some(source) = &insert.source {
                self.query(source);
            }
            return;
        };
        let columns: Vec<String> = insert.columns.iter().filter_map(last_name).collect();
        let Some(source) = &insert.source else {
            self.done.touches[touch].added.push(BTreeMap::new());
            return;
        };
        if let SetExpr::Values(values) = source.body.as_ref() {
            for row in &values.rows {
                // Without a list, the columns are in the table's order, which evidence does not keep.
                let set = columns
                    .iter()
                    .zip(&row.content)
                    .filter_map(|(column, expr)| Some((column.clone(), operand(expr)?)));
                let set = set.collect();
                self.done.touches[touch].added.push(set);
                row.content.iter().for_each(|expr| self.walk(expr));
            }
            return;
        }
        let outputs = self.query(source);
        for (column, (_, from)) in columns.into_iter().zip(outputs) {
            if let Some(from) = from {
                self.done.joins.push(((touch, column), from));
            }
        }
    }

    fn update(&mut self, update: &Update) {
        let TableFactor::Table { name, alias, .. } = &update.table.relation else { return };
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
        self.scopes.pop();
    }

    fn assign(&mut self, touch: Option<usize>, assignments: &[Assignment]) {
        for assignment in assignments {
            if let (Some(touch), AssignmentTarget::ColumnName(name)) = (touch, &assignment.target)
                && let (Some(column), Some(operand)) = (last_name(name), operand(&assignment.value))
            {
                self.done.touches[touch].set.insert(column, operand);
            }
            self.walk(&assignment.value);
        }
    }

    fn delete(&mut self, delete: &Delete) {
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
        self.scopes.pop();
    }

    fn merge(&mut self, merge: &Merge) {
        let TableFactor::Table { name, alias, .. } = &merge.table else { return };
        let touch = self.touch(name, Op::Update);
        self.scopes.push(Vec::new());
        self.see(touch, name, alias.as_ref());
        self.factor(&merge.source);
        self.holds(&merge.on);
        self.scopes.pop();
    }

    /// Reads a query, and gives its columns.
    fn query(&mut self, query: &Query) -> Vec<Output> {
        let named = self.named.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.cte(cte);
        }
        let outputs = self.body(&query.body);
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
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let outputs = self.body(left);
                self.body(right);
                outputs
            }
            SetExpr::Values(values) => {
                values.rows.iter().flat_map(|row| &row.content).for_each(|expr| self.walk(expr));
                Vec::new()
            }
            SetExpr::Insert(statement)
            | SetExpr::Update(statement)
            | SetExpr::Delete(statement)
            | SetExpr::Merge(statement) => {
                let before = self.done.touches.len();
                self.statement(statement);
                self.returned(statement, before)
            }
            SetExpr::Table(_) => Vec::new(),
        }
    }

    /// The columns that a changing statement returns, of the table that it changes.
    fn returned(&self, statement: &Statement, touch: usize) -> Vec<Output> {
        let returning = match statement {
            Statement::Insert(insert) => &insert.returning,
            Statement::Update(update) => &update.returning,
            Statement::Delete(delete) => &delete.returning,
            _ => return Vec::new(),
        };
        if touch >= self.done.touches.len() {
            return Vec::new();
        }
        let own = |column: &String| (Some(column.clone()), Some((touch, column.clone())));
        let mut outputs = Vec::new();
        for item in returning.iter().flatten() {
            match item {
                SelectItem::Wildcard(_) => {
                    outputs.extend(self.schema.table(self.table(touch)).columns.keys().map(own));
                }
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    let column = simple_name(expr).filter(|column| self.has(touch, column));
                    let called = match item {
                        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                        _ => column.clone(),
                    };
                    outputs.push((called, column.map(|column| (touch, column))));
                }
                _ => outputs.push((None, None)),
            }
        }
        outputs
    }

    fn select(&mut self, select: &Select) -> Vec<Output> {
        self.scopes.push(Vec::new());
        select.from.iter().for_each(|from| self.from(from));
        if let Some(selection) = &select.selection {
            self.holds(selection);
        }
        let mut outputs = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    let column = self.column(expr);
                    outputs.push((simple_name(expr), column));
                    self.walk(expr);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let column = self.column(expr);
                    outputs.push((Some(folded(alias)), column));
                    self.walk(expr);
                }
                SelectItem::Wildcard(_) => {
                    let scope = self.scopes.last().cloned().unwrap_or_default();
                    outputs.extend(scope.iter().flat_map(|relation| self.all_of(relation)));
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let name = last_name(name);
                    let found = self.scopes.last().into_iter().flatten();
                    let found: Vec<Relation> =
                        found.filter(|relation| Some(&relation.alias) == name.as_ref()).cloned().collect();
                    outputs.extend(found.iter().flat_map(|relation| self.all_of(relation)));
                }
                _ => outputs.push((None, None)),
            }
        }
        if let Some(having) = &select.having {
            self.walk(having);
        }
        self.scopes.pop();
        outputs
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

    fn from(&mut self, from: &TableWithJoins) {
        self.factor(&from.relation);
        for join in &from.joins {
            self.join(join);
        }
    }

    fn join(&mut self, join: &sqlparser::ast::Join) {
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
            self.done.joins.push((one, other));
        }
    }

    fn factor(&mut self, factor: &TableFactor) {
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
            _ => {}
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

    /// Takes in a condition that holds for all rows.
    fn holds(&mut self, condition: &Expr) {
        // Chains of conditions can be long, so they are not descended into one by one.
        let mut left = vec![condition];
        while let Some(condition) = left.pop() {
            match condition {
                Expr::Nested(inner) => left.push(inner),
                Expr::BinaryOp { left: a, op: BinaryOperator::And, right: b } => left.extend([a.as_ref(), b]),
                Expr::BinaryOp { left: a, op: BinaryOperator::Or, right: b } => {
                    self.one_of_these(condition);
                    self.walk(a);
                    self.walk(b);
                }
                Expr::BinaryOp { left: a, op, right: b } => {
                    // A query that a column equals is read with the comparison.
                    let is_read = |query: &Expr, column: &Expr| {
                        *op == BinaryOperator::Eq
                            && matches!(bare(query), Expr::Subquery(_))
                            && self.column(column).is_some()
                    };
                    let (a_is_read, b_is_read) = (is_read(a, b), is_read(b, a));
                    self.compares(a, op, b);
                    for side in [(!a_is_read).then_some(a), (!b_is_read).then_some(b)].into_iter().flatten() {
                        self.walk(side);
                    }
                }
                Expr::Between { expr, negated: false, low, high } => {
                    self.ranges(expr, 0, low);
                    self.ranges(expr, 1, high);
                }
                Expr::InList { expr, list, negated: false } => self.in_list(expr, list),
                Expr::InSubquery { expr, subquery, negated: false } => {
                    let outputs = self.query(subquery);
                    let columns: Vec<&Expr> = match expr.as_ref() {
                        Expr::Tuple(all) => all.iter().collect(),
                        one => vec![one],
                    };
                    for (column, (_, from)) in columns.into_iter().zip(outputs) {
                        if let (Some(column), Some(from)) = (self.column(column), from) {
                            self.done.joins.push((column, from));
                        }
                    }
                }
                Expr::AnyOp { left: expr, compare_op: BinaryOperator::Eq, right, .. } => {
                    self.any(expr, right)
                }
                other => self.walk(other),
            }
        }
    }

    fn any(&mut self, expr: &Expr, right: &Expr) {
        let right = bare(right);
        let Some((touch, column)) = self.column(expr) else { return self.walk(right) };
        let operands = match right {
            Expr::Array(array) => array.elem.iter().filter_map(operand).collect(),
            Expr::Subquery(query) => {
                let outputs = self.query(query);
                if let Some((_, Some(from))) = outputs.into_iter().next() {
                    self.done.joins.push(((touch, column), from));
                }
                return;
            }
            other => operand(other).into_iter().collect(),
        };
        self.done.touches[touch].one_of.entry(column).or_insert(operands);
    }

    fn in_list(&mut self, expr: &Expr, list: &[Expr]) {
        let columns: Vec<&Expr> = match bare(expr) {
            Expr::Tuple(all) => all.iter().collect(),
            one => vec![one],
        };
        for (place, column) in columns.iter().enumerate() {
            let Some((touch, column)) = self.column(column) else { continue };
            let operands = list.iter().filter_map(|item| match bare(item) {
                Expr::Tuple(all) => all.get(place).and_then(operand),
                one => operand(one).filter(|_| columns.len() == 1),
            });
            let operands = operands.collect();
            self.done.touches[touch].one_of.entry(column).or_insert(operands);
        }
        list.iter().for_each(|item| self.walk(item));
    }

    /// Alternatives: of use if each compares the same column for equality.
    fn one_of_these(&mut self, condition: &Expr) {
        let mut left = vec![condition];
        let mut found: Option<Joined> = None;
        let mut operands = Vec::new();
        while let Some(condition) = left.pop() {
            let (a, b) = match condition {
                Expr::Nested(inner) => {
                    left.push(inner);
                    continue;
                }
                Expr::BinaryOp { left: a, op: BinaryOperator::Or, right: b } => {
                    left.extend([a.as_ref(), b]);
                    continue;
                }
                Expr::BinaryOp { left: a, op: BinaryOperator::Eq, right: b } => (a, b),
                _ => return,
            };
            let pair = self.column(a).zip(operand(b)).or_else(|| self.column(b).zip(operand(a)));
            let Some((column, value)) = pair else { return };
            if found.get_or_insert_with(|| column.clone()) != &column {
                return;
            }
            operands.push(value);
        }
        if let Some((touch, column)) = found {
            operands.reverse();
            self.done.touches[touch].one_of.entry(column).or_insert(operands);
        }
    }

    fn compares(&mut self, a: &Expr, op: &BinaryOperator, b: &Expr) {
        match op {
            BinaryOperator::Eq => self.equals(a, b),
            BinaryOperator::Gt | BinaryOperator::GtEq => {
                self.ranges(a, 0, b);
                self.ranges(b, 1, a);
            }
            BinaryOperator::Lt | BinaryOperator::LtEq => {
                self.ranges(a, 1, b);
                self.ranges(b, 0, a);
            }
            _ => {}
        }
    }

    fn equals(&mut self, a: &Expr, b: &Expr) {
        let (a, b) = (bare(a), bare(b));
        if let (Expr::Tuple(own), Expr::Tuple(others)) = (a, b) {
            own.iter().zip(others).for_each(|(a, b)| self.equals(a, b));
            return;
        }
        match (self.column(a), self.column(b)) {
            (Some(one), Some(other)) if one != other => self.done.joins.push((one, other)),
            (Some((touch, column)), None) | (None, Some((touch, column))) => {
                let value = if self.column(a).is_some() { b } else { a };
                if let Expr::Subquery(query) = value {
                    let outputs = self.query(query);
                    if let Some((_, Some(from))) = outputs.into_iter().next() {
                        self.done.joins.push(((touch, column), from));
                    }
                } else if let Some(operand) = operand(value) {
                    self.done.touches[touch].equal.entry(column).or_insert(operand);
                }
            }
            _ => {}
        }
    }

    /// A column is not below (`end` 0) or not above (`end` 1) a value.
    fn ranges(&mut self, expr: &Expr, end: usize, value: &Expr) {
        if let (Some((touch, column)), None) = (self.column(expr), self.column(value)) {
            let ends = self.done.touches[touch].range.entry(column).or_default();
            if ends[end].is_none() {
                ends[end] = operand(value);
            }
        }
    }

    /// Looks for queries inside an expression of which nothing else is used.
    fn walk(&mut self, expr: &Expr) {
        let mut left = vec![expr];
        while let Some(expr) = left.pop() {
            match expr {
                Expr::Subquery(query) | Expr::Exists { subquery: query, .. } => {
                    self.query(query);
                }
                Expr::InSubquery { expr, subquery, .. } => {
                    self.query(subquery);
                    left.push(expr);
                }
                Expr::BinaryOp { left: a, right: b, .. }
                | Expr::AnyOp { left: a, right: b, .. }
                | Expr::AllOp { left: a, right: b, .. }
                | Expr::IsDistinctFrom(a, b)
                | Expr::IsNotDistinctFrom(a, b) => left.extend([a.as_ref(), b]),
                Expr::Nested(inner)
                | Expr::UnaryOp { expr: inner, .. }
                | Expr::Cast { expr: inner, .. }
                | Expr::IsNull(inner)
                | Expr::IsNotNull(inner) => left.push(inner),
                Expr::Between { expr, low, high, .. } => left.extend([expr.as_ref(), low, high]),
                Expr::InList { expr, list, .. } => {
                    left.push(expr);
                    left.extend(list);
                }
                Expr::Tuple(all) => left.extend(all),
                Expr::Array(array) => left.extend(&array.elem),
                Expr::Case { operand, conditions, else_result, .. } => {
                    left.extend(operand.iter().chain(else_result).map(AsRef::as_ref));
                    left.extend(conditions.iter().flat_map(|when| [&when.condition, &when.result]));
                }
                Expr::Function(function) => match &function.args {
                    FunctionArguments::List(list) => list.args.iter().for_each(|arg| self.argument(arg)),
                    FunctionArguments::Subquery(query) => {
                        self.query(query);
                    }
                    FunctionArguments::None => {}
                },
                _ => {}
            }
        }
    }

    fn argument(&mut self, arg: &FunctionArg) {
        let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) =
            arg;
        if let FunctionArgExpr::Expr(expr) = arg {
            self.walk(expr);
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

fn last_name(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

/// The name by which an expression's column is known outside.
fn simple_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => simple_name(inner),
        _ => None,
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => bare(inner),
        other => other,
    }
}

/// The value that an expression is, if it is a parameter or a constant.
fn operand(expr: &Expr) -> Option<Operand> {
    let literal = match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::Collate { expr: inner, .. } => {
            return operand(inner);
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            return match operand(expr)? {
                Operand::Constant(Value::Int(number)) => Some(Operand::Constant(Value::Int(-number))),
                Operand::Constant(Value::Text(text)) => {
                    Some(Operand::Constant(Value::Text(format!("-{text}"))))
                }
                _ => None,
            };
        }
        Expr::Value(literal) => &literal.value,
        Expr::TypedString(typed) => &typed.value.value,
        _ => return None,
    };
    Some(match literal {
        Literal::Placeholder(name) => {
            // The protocol counts parameters in 16 bits.
            let number = name.strip_prefix('$')?.parse::<u16>().ok().filter(|number| *number > 0)?;
            Operand::Parameter(number.into())
        }
        Literal::Number(text, _) => {
            Operand::Constant(text.parse().map_or_else(|_| Value::Text(text.clone()), Value::Int))
        }
        Literal::Boolean(is) => Operand::Constant(Value::Text(is.to_string())),
        Literal::Null => Operand::Constant(Value::Null),
        Literal::SingleQuotedString(text)
        | Literal::EscapedStringLiteral(text)
        | Literal::NationalStringLiteral(text) => Operand::Constant(Value::Text(text.clone())),
        _ => return None,
    })
}
