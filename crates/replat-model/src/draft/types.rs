//! What types have to do with each other: which values cross without loss, and how they compare.

use crate::facts::{ColumnFacts, TypeKind};
use crate::key::KeyType;
use crate::plan::Compare;

/// A type's name in its parts: `numeric(14,2)[]` is `numeric`, `[14, 2]`, `[]`.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    base: String,
    modifier: Vec<i64>,
    array: &'a str,
}

fn parts(type_name: &str) -> Parts<'_> {
    let (name, array) = match type_name.find("[]") {
        Some(at) => type_name.split_at(at),
        None => (type_name, ""),
    };
    let Some((before, after)) = name.split_once('(') else {
        return Parts { base: name.to_owned(), modifier: Vec::new(), array };
    };
    let (inside, behind) = after.split_once(')').unwrap_or((after, ""));
    let modifier = inside.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    Parts { base: format!("{}{behind}", before.trim_end()), modifier, array }
}

/// Whether every value of `from` can stand in `to` and be read back as the same value, by assignment alone.
///
/// Labels that only one of two enums has, and texts that are no label, are found out row by row.
pub fn crosses(from: &ColumnFacts, to: &ColumnFacts) -> bool {
    match (&from.type_kind, &to.type_kind) {
        (TypeKind::Enum(labels), TypeKind::Enum(known)) => labels.iter().all(|label| known.contains(label)),
        (TypeKind::Enum(_), _) => is_unlimited_text(to),
        (_, TypeKind::Enum(_)) => is_text(from),
        (TypeKind::Other, TypeKind::Other) => {
            let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
            last(&from.type_name) == last(&to.type_name)
        }
        (TypeKind::Other, _) | (_, TypeKind::Other) => false,
        _ => builtin_crosses(&builtin_name(from), &builtin_name(to)),
    }
}

/// The type with its modifier, or of a domain what lies beneath, whose modifier is the domain's own matter.
fn builtin_name(column: &ColumnFacts) -> String {
    match column.type_kind {
        TypeKind::Domain => column.stage_type().to_owned(),
        _ => column.type_name.clone(),
    }
}

fn builtin_crosses(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    let (from, to) = (parts(from), parts(to));
    if from.array != to.array {
        return false;
    }
    let (before, after) = (from.modifier.as_slice(), to.modifier.as_slice());
    match (from.base.as_str(), to.base.as_str()) {
        ("smallint", "integer" | "bigint") | ("integer", "bigint") => true,
        ("smallint" | "integer" | "bigint", "numeric") => after.is_empty(),
        ("real", "double precision") => true,
        ("numeric", "numeric") => numeric_fits(before, after),
        ("smallint" | "integer" | "bigint" | "uuid" | "character varying", "text") => true,
        ("smallint" | "integer" | "bigint" | "uuid" | "text", "character varying") => after.is_empty(),
        ("character varying", "character varying") => width_fits(before, after),
        ("character", "character") | ("bit varying", "bit varying") => width_fits(before, after),
        ("date", "timestamp without time zone") => true,
        (a, b) if a == b && rounds(a) => width_fits(before, after),
        _ => false,
    }
}

/// No number means no limit.
fn width_fits(before: &[i64], after: &[i64]) -> bool {
    match (before, after) {
        (_, []) => true,
        ([], _) => false,
        (before, after) => before.iter().zip(after).all(|(b, a)| b <= a),
    }
}

fn numeric_fits(before: &[i64], after: &[i64]) -> bool {
    match (before, after) {
        (_, []) => true,
        ([precision, scale], [to_precision, to_scale]) => {
            scale <= to_scale && precision - scale <= to_precision - to_scale
        }
        _ => false,
    }
}

/// Whether a value that is given to a column of this type with a modifier is rounded, and not refused or cut.
fn rounds(base: &str) -> bool {
    [
        "numeric",
        "timestamp without time zone",
        "timestamp with time zone",
        "time without time zone",
        "time with time zone",
        "interval",
    ]
    .contains(&base)
}

/// Whether storing a value in `column` rounds it, so that it can be compared only after it was rounded.
pub fn is_rounded(column: &ColumnFacts) -> bool {
    let parts = parts(&column.type_name);
    column.type_kind == TypeKind::Builtin && !parts.modifier.is_empty() && rounds(&parts.base)
}

fn is_text(column: &ColumnFacts) -> bool {
    matches!(column.base_type.as_deref(), Some("text" | "character varying"))
}

fn is_unlimited_text(column: &ColumnFacts) -> bool {
    is_text(column) && parts(&column.type_name).modifier.is_empty()
}

/// The dimension type that a column's values are of.
pub fn key_type(column: &ColumnFacts) -> Option<KeyType> {
    KeyType::from_postgres(column.base_type.as_deref()?)
}

/// Whether the column's values stand for objects or roles of their server: as numbers that mean something else on
/// another one, as names that another one may not know.
pub fn is_of_the_catalogue(column: &ColumnFacts) -> bool {
    let known = [
        "aclitem",
        "regclass",
        "regcollation",
        "regconfig",
        "regdictionary",
        "regnamespace",
        "regoper",
        "regoperator",
        "regproc",
        "regprocedure",
        "regrole",
        "regtype",
    ];
    known.contains(&parts(column.stage_type()).base.as_str())
}

/// Whether equal values of the column are always written alike.
pub fn is_bytes_comparable(column: &ColumnFacts) -> bool {
    let known = [
        "smallint",
        "integer",
        "bigint",
        "text",
        "character varying",
        "uuid",
        "date",
        "bytea",
        "boolean",
        "timestamp without time zone",
        "timestamp with time zone",
    ];
    column.deterministic && column.base_type.as_deref().is_some_and(|base| known.contains(&base))
}

/// How values of the receiving column are to be compared.
pub fn compare(target: &ColumnFacts, same_major: bool) -> Compare {
    let is_identity = is_bytes_comparable(target) || target.stage_type() == "time without time zone";
    if target.type_kind == TypeKind::Builtin && is_identity && same_major {
        Compare::Native
    } else {
        Compare::Text
    }
}

/// The largest number that an id column can hold.
pub fn id_max(column: &ColumnFacts) -> i64 {
    match column.stage_type() {
        "smallint" => i16::MAX.into(),
        "integer" => i32::MAX.into(),
        _ => i64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::builtin_crosses;

    #[test]
    fn a_type_crosses_only_where_no_value_is_lost() {
        let yes = [
            ("integer", "integer"),
            ("smallint", "bigint"),
            ("integer", "numeric"),
            ("numeric(14,2)", "numeric"),
            ("numeric(14,2)", "numeric(16,4)"),
            ("numeric(12,2)[]", "numeric(14,2)[]"),
            ("character varying(40)", "character varying(41)"),
            ("character varying(40)", "text"),
            ("text", "character varying"),
            ("uuid", "text"),
            ("date", "timestamp without time zone"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
        ];
        let no = [
            ("bigint", "integer"),
            ("integer", "numeric(5,0)"),
            ("numeric", "numeric(14,2)"),
            ("numeric(14,4)", "numeric(14,2)"),
            ("numeric(14,2)", "numeric(14,4)"),
            ("text", "character varying(40)"),
            ("character varying(40)", "character varying(39)"),
            ("character(3)", "text"),
            ("integer[]", "integer"),
            ("timestamp with time zone", "timestamp without time zone"),
            ("timestamp with time zone", "timestamp(3) with time zone"),
            ("json", "jsonb"),
            ("double precision", "real"),
        ];
        for (from, to) in yes {
            assert!(builtin_crosses(from, to), "{from} to {to}");
        }
        for (from, to) in no {
            assert!(!builtin_crosses(from, to), "{from} to {to}");
        }
    }
}
