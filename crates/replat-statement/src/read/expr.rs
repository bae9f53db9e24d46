//! Expressions: the sub-queries and functions in them, and whether AND, OR and NOT stand where PostgreSQL sees them.
//!
//! The parser's idea of precedence is not trusted. AND, OR and NOT bind less tightly than all else, so wherever one
//! of them is an operand of another operator without brackets around it, the parser has read the text otherwise than
//! PostgreSQL does, and the reading ends. With that, the AND chain from which the facts are taken is the real one.

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CeilFloorKind, DuplicateTreatment, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Interval,
    Subscript, UnaryOperator, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

use super::{Around, Reader};
use crate::keys::Why;

/// Which of the loosest operators may stand at a place without brackets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// All: between brackets, commas or keywords.
    Free,
    /// AND, NOT: an operand of OR.
    InOr,
    /// NOT: an operand of AND or NOT.
    InAnd,
    /// None: an operand of anything else.
    Operand,
}

impl Reader<'_> {
    /// Reads an expression that stands between brackets, commas or keywords.
    pub(super) fn expression(&mut self, expr: &Expr, around: &Around) -> Result<(), Why> {
        self.walk(expr, Place::Free, around)
    }

    pub(super) fn expressions<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        around: &Around,
    ) -> Result<(), Why> {
        exprs.into_iter().try_for_each(|expr| self.expression(expr, around))
    }

    fn operands<'e>(
        &mut self,
        exprs: impl IntoIterator<Item = &'e Expr>,
        around: &Around,
    ) -> Result<(), Why> {
        exprs.into_iter().try_for_each(|expr| self.walk(expr, Place::Operand, around))
    }

    fn walk(&mut self, expr: &Expr, place: Place, around: &Around) -> Result<(), Why> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) | Expr::TypedString(_) => {
                Ok(())
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(_, _) => Ok(()),
            Expr::Nested(inner) => self.expression(inner, around),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, place, around),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                if place > Place::InAnd {
                    return Err(PRECEDENCE);
                }
                self.walk(expr, Place::InAnd, around)
            }
            Expr::UnaryOp { op: UnaryOperator::BangNot, expr: _ } => Err(OTHER),
            Expr::UnaryOp { op: _, expr }
            | Expr::IsFalse(expr)
            | Expr::IsNotFalse(expr)
            | Expr::IsTrue(expr)
            | Expr::IsNotTrue(expr)
            | Expr::IsNull(expr)
            | Expr::IsNotNull(expr)
            | Expr::IsUnknown(expr)
            | Expr::IsNotUnknown(expr) => self.operands([&**expr], around),
            Expr::IsJson { expr, kind: _, unique_keys: _, negated: _ }
            | Expr::IsNormalized { expr, form: _, negated: _ } => self.operands([&**expr], around),
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.operands([&**left, &**right], around)
            }
            Expr::InList { expr, list, negated: _ } => {
                self.operands([&**expr], around)?;
                self.expressions(list, around)
            }
            Expr::InSubquery { expr, subquery, negated: _ } => {
                self.operands([&**expr], around)?;
                self.query(subquery, around).map(drop)
            }
            Expr::Between { expr, negated: _, low, high } => {
                self.operands([&**expr, &**low, &**high], around)
            }
            Expr::Like { negated: _, any: false, expr, pattern, escape_char }
            | Expr::ILike { negated: _, any: false, expr, pattern, escape_char }
            | Expr::SimilarTo { negated: _, expr, pattern, escape_char } => {
                self.operands([&**expr, &**pattern], around)?;
                self.operands(escape_char.as_deref(), around)
            }
            Expr::AnyOp { left, compare_op: _, right, is_some: _ }
            | Expr::AllOp { left, compare_op: _, right } => self.operands([&**left, &**right], around),
            Expr::Cast { kind: _, expr, data_type: _, format: None } => self.operands([&**expr], around),
            Expr::AtTimeZone { timestamp, time_zone } => self.operands([&**timestamp, &**time_zone], around),
            Expr::Collate { expr, collation: _ } => self.operands([&**expr], around),
            Expr::Extract { field: _, syntax: _, expr } => self.expression(expr, around),
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => match field {
                CeilFloorKind::DateTimeField(_) => self.expression(expr, around),
                CeilFloorKind::Scale(_) => Err(OTHER),
            },
            Expr::Position { expr, r#in } => self.expressions([&**expr, &**r#in], around),
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                self.expression(expr, around)?;
                self.expressions(substring_from.as_deref(), around)?;
                self.expressions(substring_for.as_deref(), around)
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                self.expression(expr, around)?;
                self.expressions(trim_what.as_deref(), around)?;
                self.expressions(trim_characters.iter().flatten(), around)
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                self.expressions([&**expr, &**overlay_what, &**overlay_from], around)?;
                self.expressions(overlay_for.as_deref(), around)
            }
            Expr::Function(function) => self.call(function, around),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.expressions(operand.as_deref(), around)?;
                for CaseWhen { condition, result } in conditions {
                    self.expressions([condition, result], around)?;
                }
                self.expressions(else_result.as_deref(), around)
            }
            Expr::Exists { subquery, negated: _ } | Expr::Subquery(subquery) => {
                self.query(subquery, around).map(drop)
            }
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                self.expressions(sets.iter().flatten(), around)
            }
            Expr::Tuple(parts) => self.expressions(parts, around),
            Expr::Array(Array { elem, named: _ }) => self.expressions(elem, around),
            Expr::Interval(Interval {
                value,
                leading_field: _,
                leading_precision: _,
                last_field: _,
                fractional_seconds_precision: _,
            }) => self.operands([&**value], around),
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.operands([&**root], around)?;
                access_chain.iter().try_for_each(|access| match access {
                    AccessExpr::Dot(expr) => self.operands([expr], around),
                    AccessExpr::Subscript(Subscript::Index { index }) => self.expression(index, around),
                    AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                        self.expressions(lower_bound.iter().chain(upper_bound).chain(stride), around)
                    }
                })
            }
            _ => Err(OTHER),
        }
    }

    /// A chain of operators leans to the left and can be long, so that it is followed in a loop.
    fn binary(
        &mut self,
        left: &Expr,
        op: &BinaryOperator,
        right: &Expr,
        place: Place,
        around: &Around,
    ) -> Result<(), Why> {
        let (mut left, mut op, mut right, mut place) = (left, op, right, place);
        loop {
            let (for_left, for_right) = match op {
                BinaryOperator::Or if place > Place::Free => return Err(PRECEDENCE),
                BinaryOperator::Or => (Place::Free, Place::InOr),
                BinaryOperator::And if place > Place::InOr => return Err(PRECEDENCE),
                BinaryOperator::And => (Place::InOr, Place::InAnd),
                BinaryOperator::Xor
                | BinaryOperator::Assignment
                | BinaryOperator::MyIntegerDivide
                | BinaryOperator::DuckIntegerDivide
                | BinaryOperator::Match
                | BinaryOperator::Regexp
                | BinaryOperator::Glob => return Err(OTHER),
                _ => (Place::Operand, Place::Operand),
            };
            self.walk(right, for_right, around)?;
            match left {
                Expr::BinaryOp { left: further, op: next, right: nearer } => {
                    (left, op, right, place) = (further, next, nearer, for_left);
                }
                other => return self.walk(other, for_left, around),
            }
        }
    }

    fn call(&mut self, function: &Function, around: &Around) -> Result<(), Why> {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function;
        if *uses_odbc_syntax || !matches!(parameters, FunctionArguments::None) {
            return Err(OTHER);
        }
        self.function(name)?;
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => self.query(query, around).map(drop)?,
            FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args, clauses }) => {
                match duplicate_treatment {
                    Some(DuplicateTreatment::All | DuplicateTreatment::Distinct) | None => {}
                }
                args.iter().try_for_each(|argument| self.argument(argument, around))?;
                clauses.iter().try_for_each(|clause| match clause {
                    FunctionArgumentClause::OrderBy(exprs) => self.order(exprs, around),
                    FunctionArgumentClause::IgnoreOrRespectNulls(_) => Ok(()),
                    _ => Err(OTHER),
                })?;
            }
        }
        self.order(within_group, around)?;
        self.expressions(filter.as_deref(), around)?;
        match over {
            Some(WindowType::WindowSpec(window)) => self.window(window, around),
            Some(WindowType::NamedWindow(_)) | None => Ok(()),
        }
    }

    pub(super) fn argument(&mut self, argument: &FunctionArg, around: &Around) -> Result<(), Why> {
        let arg = match argument {
            FunctionArg::Named { name: _, arg, operator: _ } | FunctionArg::Unnamed(arg) => arg,
            FunctionArg::ExprNamed { name, arg, operator: _ } => {
                self.expression(name, around)?;
                arg
            }
        };
        match arg {
            FunctionArgExpr::Expr(expr) => self.expression(expr, around),
            FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_) => Ok(()),
            FunctionArgExpr::WildcardWithOptions(_) => Err(OTHER),
        }
    }

    pub(super) fn window(&mut self, window: &WindowSpec, around: &Around) -> Result<(), Why> {
        let WindowSpec { window_name: _, partition_by, order_by, window_frame } = window;
        self.expressions(partition_by, around)?;
        self.order(order_by, around)?;
        let Some(WindowFrame { units: _, start_bound, end_bound }) = window_frame else { return Ok(()) };
        [start_bound].into_iter().chain(end_bound).try_for_each(|bound| match bound {
            WindowFrameBound::CurrentRow => Ok(()),
            WindowFrameBound::Preceding(expr) | WindowFrameBound::Following(expr) => {
                self.operands(expr.as_deref(), around)
            }
        })
    }
}

const OTHER: Why = Why::Unusual("an expression of another kind");
const PRECEDENCE: Why = Why::Unusual("AND, OR or NOT beside another operator without brackets");
