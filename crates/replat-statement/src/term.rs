//! The values that a statement compares its key columns with.

use std::sync::Arc;

use replat_model::key::{KeyType, KeyValue};
use sqlparser::ast::{ArrayElemTypeDef, DataType, Expr, TimezoneInfo, UnaryOperator, Value};

use crate::keys::Why;
use crate::param::{NotRead, Param, array_text, compared, plain};

/// A value that is plain in the text, or a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    /// A string that takes the type of what it is compared with.
    Text(Box<str>),
    /// A number as it is written, sign included.
    Number(Box<str>),
    Null,
    Param(u32),
    /// Of a string, a number or a parameter.
    Cast(Box<Term>, KeyType),
    /// Of a string or a parameter that is an array of this type, or of an undeclared one.
    Array(Box<Term>, Option<KeyType>),
}

/// Values of which a row's is one. A statement may name a set in several places.
pub(crate) type Set = Arc<[Term]>;

impl Term {
    /// What an expression is, if it is a plain value.
    pub(crate) fn of(expr: &Expr) -> Option<Term> {
        match expr {
            Expr::Nested(inner) => Term::of(inner),
            Expr::Value(value) => Term::of_value(&value.value),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Term::of(expr)?.negated(),
            Expr::Cast { kind: _, expr, data_type, format: None } => Term::of(expr)?.cast(scalar(data_type)?),
            Expr::TypedString(typed) if !typed.uses_odbc_syntax => {
                Term::of_value(&typed.value.value)?.cast(scalar(&typed.data_type)?)
            }
            _ => None,
        }
    }

    /// What the right side of `= ANY (..)` is, if it is plain values.
    pub(crate) fn of_array(expr: &Expr) -> Option<Vec<Term>> {
        match expr {
            Expr::Nested(inner) => Term::of_array(inner),
            Expr::Array(array) if array.named => array.elem.iter().map(Term::of).collect(),
            Expr::Cast { kind: _, expr, data_type: DataType::Array(element), format: None } => {
                let element = match element {
                    ArrayElemTypeDef::SquareBracket(element, None) => scalar(element)?,
                    _ => return None,
                };
                match expr.as_ref() {
                    Expr::Array(_) => Term::of_array(expr)?.into_iter().map(|t| t.cast(element)).collect(),
                    expr => Some(vec![Term::of(expr)?.array(Some(element))?]),
                }
            }
            expr => Some(vec![Term::of(expr)?.array(None)?]),
        }
    }

    fn of_value(value: &Value) -> Option<Term> {
        match value {
            Value::Number(digits, false) => Some(Term::Number(digits.as_str().into())),
            Value::SingleQuotedString(text) => Some(Term::Text(text.as_str().into())),
            Value::DollarQuotedString(text) => Some(Term::Text(text.value.as_str().into())),
            Value::Null => Some(Term::Null),
            Value::Placeholder(name) => name.strip_prefix('$')?.parse().ok().map(Term::Param),
            // Their escapes are the server's affair.
            _ => None,
        }
    }

    fn negated(self) -> Option<Term> {
        match self {
            Term::Number(digits) if !digits.starts_with('-') => {
                Some(Term::Number(format!("-{digits}").into()))
            }
            // `-42::smallint` is the negative of `42::smallint`.
            Term::Cast(number, to) if matches!(*number, Term::Number(_)) && is_integer(to) => {
                number.negated()?.cast(to)
            }
            _ => None,
        }
    }

    /// Only what the server converts without rounding and by no setting.
    fn cast(self, to: KeyType) -> Option<Term> {
        match &self {
            Term::Null => Some(Term::Null),
            Term::Text(_) | Term::Param(_) => Some(Term::Cast(Box::new(self), to)),
            Term::Number(_) if is_integer(to) => Some(Term::Cast(Box::new(self), to)),
            _ => None,
        }
    }

    fn array(self, element: Option<KeyType>) -> Option<Term> {
        match self {
            Term::Text(_) | Term::Param(_) => Some(Term::Array(Box::new(self), element)),
            _ => None,
        }
    }

    /// Adds its values as ones of type `wanted`; NULL is none, since nothing equals it.
    pub(crate) fn add_values(
        &self,
        wanted: KeyType,
        column: &str,
        given: &Given<'_>,
        values: &mut Vec<KeyValue>,
    ) -> Result<(), Why> {
        let not_a_value = |_: NotRead| Why::NotAValue(column.into());
        match self {
            Term::Null => {}
            Term::Text(text) => values.push(plain(wanted, text).map_err(not_a_value)?),
            Term::Number(digits) if is_integer(wanted) => {
                values.push(plain(wanted, digits).map_err(not_a_value)?);
            }
            Term::Number(_) => return Err(not_a_value(NotRead)),
            Term::Param(number) => values.extend(given.value(*number, wanted, None)?),
            Term::Cast(inner, to) => match inner.as_ref() {
                Term::Param(number) => values.extend(given.value(*number, wanted, Some(*to))?),
                Term::Text(text) | Term::Number(text) => {
                    let value = plain(*to, text).and_then(|value| compared(value, *to, wanted));
                    values.push(value.map_err(not_a_value)?);
                }
                _ => return Err(not_a_value(NotRead)),
            },
            Term::Array(inner, element) => match inner.as_ref() {
                Term::Param(number) => values.extend(given.values(*number, wanted, *element)?),
                Term::Text(text) => {
                    let read_as = element.unwrap_or(wanted);
                    for part in array_text(text).ok_or(NotRead).map_err(not_a_value)? {
                        let value = plain(read_as, &part).and_then(|value| compared(value, read_as, wanted));
                        values.push(value.map_err(not_a_value)?);
                    }
                }
                _ => return Err(not_a_value(NotRead)),
            },
        }
        Ok(())
    }
}

/// The parameters of one execution, with what the statement's text says of their types.
pub(crate) struct Given<'a> {
    pub(crate) params: &'a [Param<'a>],
    /// By number less one; `None` where the text does not say.
    pub(crate) implied: &'a [Option<KeyType>],
}

impl Given<'_> {
    fn get(&self, number: u32) -> Result<(&Param<'_>, Option<KeyType>), Why> {
        let place = usize::try_from(number).ok().and_then(|n| n.checked_sub(1));
        let param = place.and_then(|place| self.params.get(place)).ok_or(Why::Parameter(number))?;
        Ok((param, place.and_then(|place| self.implied.get(place).copied().flatten())))
    }

    fn value(&self, number: u32, wanted: KeyType, cast: Option<KeyType>) -> Result<Option<KeyValue>, Why> {
        let (param, implied) = self.get(number)?;
        param.value(wanted, cast, implied).map_err(|_| Why::Parameter(number))
    }

    fn values(&self, number: u32, wanted: KeyType, cast: Option<KeyType>) -> Result<Vec<KeyValue>, Why> {
        let (param, _) = self.get(number)?;
        param.values(wanted, cast).map_err(|_| Why::Parameter(number))
    }
}

fn is_integer(key_type: KeyType) -> bool {
    matches!(key_type, KeyType::SmallInt | KeyType::Integer | KeyType::BigInt)
}

/// The type of a key that this is, without a modifier: those cut and round.
fn scalar(data_type: &DataType) -> Option<KeyType> {
    Some(match data_type {
        DataType::SmallInt(None) | DataType::Int2(None) => KeyType::SmallInt,
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => KeyType::Integer,
        DataType::BigInt(None) | DataType::Int8(None) => KeyType::BigInt,
        DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None) => KeyType::Text,
        DataType::Uuid => KeyType::Uuid,
        DataType::Date => KeyType::Date,
        DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => KeyType::Timestamp,
        DataType::Timestamp(None, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => KeyType::TimestampTz,
        _ => return None,
    })
}
