//! Conditions: what is equal, one of several values, or in a range, in all rows.

use sqlparser::ast::{BinaryOperator, Expr};

use super::expression::{bare, operand};
use super::{Joined, Purpose, Reader};

impl Reader<'_> {
    /// Takes in a condition that holds for all rows.
    pub(super) fn holds(&mut self, condition: &Expr) {
        self.with_purpose(Purpose::Choice, |reader| reader.holds_of_chosen(condition));
    }

    fn holds_of_chosen(&mut self, condition: &Expr) {
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
                    [expr, low, high].into_iter().for_each(|inside| self.walk(inside));
                }
                Expr::InList { expr, list, negated: false } => self.in_list(expr, list),
                Expr::InSubquery { expr, subquery, negated: false } => {
                    let outputs = self.query_in_use(subquery);
                    self.walk(expr);
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
        self.walk(expr);
        let Some((touch, column)) = self.column(expr) else { return self.walk(right) };
        let operands = match right {
            Expr::Array(array) => array.elem.iter().filter_map(operand).collect(),
            Expr::Subquery(query) => {
                let outputs = self.query_in_use(query);
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
        self.walk(expr);
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
                    let outputs = self.query_in_use(query);
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
}
