//! Expressions: the columns and queries inside them, and the values that they are.

use sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    ObjectName, Subscript, UnaryOperator, Value as Literal, WindowSpec, WindowType,
};

use super::Reader;
use crate::evidence::folded;
use crate::sql::analysis::Operand;
use crate::value::Value;

impl Reader<'_> {
    /// Notes the columns inside an expression, and reads the queries inside.
    pub(super) fn walk(&mut self, expr: &Expr) {
        // Chains can be long, so they are not descended into one by one.
        let mut left = vec![expr];
        while let Some(expr) = left.pop() {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.note_name(expr),
                Expr::Subquery(query) => {
                    let outputs = self.query(query);
                    self.note_all(&outputs);
                }
                // Of what is only asked to be there, no column is needed.
                Expr::Exists { subquery: query, .. } => {
                    self.query(query);
                }
                Expr::InSubquery { expr, subquery, .. } => {
                    let outputs = self.query(subquery);
                    self.note_all(&outputs);
                    left.push(expr);
                }
                Expr::Function(function) => self.function(function),
                other => match inside(other) {
                    Some(inside) => left.extend(inside),
                    None => self.done.partly = true,
                },
            }
        }
    }

    fn function(&mut self, function: &Function) {
        match &function.args {
            FunctionArguments::List(list) => {
                list.args.iter().for_each(|arg| self.argument(arg));
                for clause in &list.clauses {
                    if let FunctionArgumentClause::OrderBy(order) = clause {
                        order.iter().for_each(|by| self.walk(&by.expr));
                    }
                }
            }
            FunctionArguments::Subquery(query) => {
                let outputs = self.query(query);
                self.note_all(&outputs);
            }
            FunctionArguments::None => {}
        }
        function.within_group.iter().for_each(|by| self.walk(&by.expr));
        if let Some(filter) = &function.filter {
            self.walk(filter);
        }
        if let Some(WindowType::WindowSpec(window)) = &function.over {
            self.window(window);
        }
    }

    /// What rows are put together and in order by, for a function that looks at several.
    pub(super) fn window(&mut self, window: &WindowSpec) {
        window.partition_by.iter().for_each(|expr| self.walk(expr));
        window.order_by.iter().for_each(|by| self.walk(&by.expr));
    }

    pub(super) fn argument(&mut self, arg: &FunctionArg) {
        let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) =
            arg;
        match arg {
            FunctionArgExpr::Expr(expr) => self.walk(expr),
            FunctionArgExpr::QualifiedWildcard(name) => {
                let outputs = self.all_called(name);
                self.note_all(&outputs);
            }
            // It counts rows.
            FunctionArgExpr::Wildcard => {}
            _ => self.done.partly = true,
        }
    }
}

/// The expressions that an expression is made of; `None` if it is of a kind that is not understood.
fn inside(expr: &Expr) -> Option<Vec<&Expr>> {
    Some(match expr {
        Expr::BinaryOp { left: a, right: b, .. }
        | Expr::AnyOp { left: a, right: b, .. }
        | Expr::AllOp { left: a, right: b, .. }
        | Expr::IsDistinctFrom(a, b)
        | Expr::IsNotDistinctFrom(a, b)
        | Expr::AtTimeZone { timestamp: a, time_zone: b }
        | Expr::Position { expr: a, r#in: b }
        | Expr::InUnnest { expr: a, array_expr: b, .. }
        | Expr::Like { expr: a, pattern: b, .. }
        | Expr::ILike { expr: a, pattern: b, .. }
        | Expr::SimilarTo { expr: a, pattern: b, .. }
        | Expr::RLike { expr: a, pattern: b, .. } => vec![a, b],
        Expr::Nested(inner)
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::Cast { expr: inner, .. }
        | Expr::Collate { expr: inner, .. }
        | Expr::Extract { expr: inner, .. }
        | Expr::Ceil { expr: inner, .. }
        | Expr::Floor { expr: inner, .. }
        | Expr::Prefixed { value: inner, .. }
        | Expr::Named { expr: inner, .. }
        | Expr::IsJson { expr: inner, .. }
        | Expr::IsNormalized { expr: inner, .. }
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner) => vec![inner],
        Expr::Between { expr, low, high, .. } => vec![expr, low, high],
        Expr::InList { expr, list, .. } => std::iter::once(expr.as_ref()).chain(list).collect(),
        Expr::Tuple(all) => all.iter().collect(),
        Expr::Array(array) => array.elem.iter().collect(),
        Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => sets.iter().flatten().collect(),
        Expr::Interval(interval) => vec![&interval.value],
        Expr::Case { operand, conditions, else_result, .. } => {
            let of_whens = conditions.iter().flat_map(|when| [&when.condition, &when.result]);
            operand.iter().chain(else_result).map(AsRef::as_ref).chain(of_whens).collect()
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let places = [substring_from, substring_for].into_iter().flatten();
            std::iter::once(expr).chain(places).map(AsRef::as_ref).collect()
        }
        Expr::Trim { expr, trim_what, trim_characters, .. } => {
            let what = trim_what.iter().map(AsRef::as_ref);
            std::iter::once(expr.as_ref()).chain(what).chain(trim_characters.iter().flatten()).collect()
        }
        Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
            let all = [expr, overlay_what, overlay_from].into_iter().chain(overlay_for);
            all.map(AsRef::as_ref).collect()
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut all = vec![root.as_ref()];
            for access in access_chain {
                match access {
                    // A field's name is no column's.
                    AccessExpr::Dot(_) => {}
                    AccessExpr::Subscript(Subscript::Index { index }) => all.push(index),
                    AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                        all.extend([lower_bound, upper_bound, stride].into_iter().flatten());
                    }
                }
            }
            all
        }
        Expr::Value(_) | Expr::TypedString(_) | Expr::Wildcard(_) => Vec::new(),
        _ => return None,
    })
}

/// A name without what it is qualified by.
pub(super) fn last_name(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(folded)
}

/// The name by which an expression's column is known outside.
pub(super) fn simple_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(folded),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => simple_name(inner),
        _ => None,
    }
}

/// An expression without brackets and casts.
pub(super) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => bare(inner),
        other => other,
    }
}

/// The value that an expression is, if it is a parameter or a constant.
pub(super) fn operand(expr: &Expr) -> Option<Operand> {
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
