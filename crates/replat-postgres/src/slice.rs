//! A partition as SQL: the predicate that its rows satisfy, and the key ranges that cut it.

use std::collections::BTreeSet;

use replat_model::ids::Side;
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::Dimension;
use replat_model::plan::{KeyColumn, Plan, RowFilter, TablePlan};
use replat_model::region::{Constraint, Region};

use crate::sql::{quote_ident, quote_literal};

/// The seed that PostgreSQL hashes partition keys with, `HASH_PARTITION_SEED`.
const SEED: i64 = 0x7A5B_2236_7996_DCFD;

/// What `hash_combine64` adds to the hash of the first key.
const COMBINE: i64 = 0x49A0_F4DD_15E5_A8E3;

/// The name of the schema and table on `side`, quoted.
pub fn table_name(plan: &Plan, table: &TablePlan, side: Side) -> String {
    format!("{}.{}", quote_ident(&plan.end(side).home.schema), quote_ident(&table.shape(side).name))
}

/// What a row of `table` on `side` must satisfy to belong to the partition.
///
/// `row` is put before each column: empty, an alias with its dot, `NEW.` or `OLD.`.
pub fn predicate(plan: &Plan, table: &TablePlan, side: Side, row: &str) -> String {
    if plan.references.iter().any(|r| std::ptr::eq(r, table)) {
        return "true".into();
    }
    region_predicate(&plan.region, &plan.dimensions, |column| {
        format!("{row}{}", quote_ident(dimension_column(table, side, column)))
    })
}

/// What a row of `table` on `side` must satisfy to take part: that it belongs to the partition, and what the rollout says
/// of the table's rows. `row` as for [`predicate`].
pub fn members(plan: &Plan, table: &TablePlan, side: Side, row: &str) -> String {
    let slice = predicate(plan, table, side, row);
    match table.rows_on(side) {
        None => slice,
        Some(rows) => format!("{slice} AND {}", satisfies(rows, row)),
    }
}

/// That a condition of the spec is true of a row; `row` is an alias with its dot, or empty.
pub fn satisfies(rows: &RowFilter, row: &str) -> String {
    match row {
        "" => format!("({}) IS TRUE", rows.condition),
        // The condition names columns as they are, which could be those of another table of the statement.
        row => format!("(SELECT ({}) IS TRUE FROM (SELECT {row}*) AS replat_member)", rows.condition),
    }
}

/// What [`predicate`] says, for a region by itself; `column` writes the column of a dimension.
pub fn region_predicate(
    region: &Region,
    dimensions: &[Dimension],
    column: impl Fn(&str) -> String,
) -> String {
    let terms: Vec<String> = region
        .constraints()
        .map(|(dimension, constraint)| {
            let at = &dimensions[dimension];
            constraint_predicate(&column(&at.column), at.key_type, constraint)
        })
        .collect();
    if terms.is_empty() { "true".into() } else { terms.join(" AND ") }
}

/// The name on `side` of the column that carries a dimension; a table may call it otherwise than the context does, and a
/// rollout may rename it.
pub fn dimension_column<'a>(table: &'a TablePlan, side: Side, dimension: &'a str) -> &'a str {
    let blue = table.dimensions.get(dimension).map_or(dimension, String::as_str);
    if side == Side::Blue {
        return blue;
    }
    let plain = quote_ident(blue);
    table
        .forward
        .iter()
        .find(|c| c.expression == blue || c.expression == plain)
        .map_or(blue, |c| c.target.as_str())
}

/// The same for one constraint on `column`.
pub(crate) fn constraint_predicate(column: &str, key_type: KeyType, constraint: &Constraint) -> String {
    let literal = |value: &KeyValue| {
        format!("{}::{}", quote_literal(&key_type.text_of(value)), key_type.postgres_name())
    };
    let list = |values: &BTreeSet<KeyValue>| values.iter().map(literal).collect::<Vec<_>>().join(", ");
    match constraint {
        Constraint::OneOf(values) if values.is_empty() => "false".into(),
        Constraint::OneOf(values) if values.len() == 1 => format!("{column} = {}", list(values)),
        Constraint::OneOf(values) => format!("{column} IN ({})", list(values)),
        // A row without a value is in no partition that asks for one, whichever.
        Constraint::NoneOf(values) if values.is_empty() => format!("{column} IS NOT NULL"),
        Constraint::NoneOf(values) => format!("{column} NOT IN ({})", list(values)),
        Constraint::Within { lower, upper } => {
            // A range of texts is one of their bytes, as for whoever reads the map: languages sort otherwise.
            let collate = if key_type == KeyType::Text { " COLLATE \"C\"" } else { "" };
            let lower = lower.as_ref().map(|v| format!("{column}{collate} >= {}", literal(v)));
            let upper = upper.as_ref().map(|v| format!("{column}{collate} < {}", literal(v)));
            match (lower, upper) {
                (Some(a), Some(b)) => format!("({a} AND {b})"),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => format!("{column} IS NOT NULL"),
            }
        }
        Constraint::Bucket { modulus, remainder } => bucket(column, key_type, *modulus, *remainder),
    }
}

/// PostgreSQL's own partition hash, spelled with built-in functions, so that no hash-partitioned table is needed:
/// the key's extended hash under the partitioning seed, folded once, as an unsigned number, modulo `modulus`.
fn bucket(column: &str, key_type: KeyType, modulus: u32, remainder: u32) -> String {
    let function = match key_type {
        KeyType::SmallInt => "hashint2extended",
        KeyType::Integer | KeyType::Date => "hashint4extended",
        KeyType::BigInt => "hashint8extended",
        KeyType::Text => "hashtextextended",
        KeyType::Uuid => "uuid_hash_extended",
        KeyType::Timestamp | KeyType::TimestampTz => "timestamp_hash_extended",
    };
    // A day is hashed as its number, a zoned moment as the plain one; both are the same bits.
    let value = match key_type {
        KeyType::Date => format!("({column} - date '2000-01-01')"),
        KeyType::TimestampTz => format!("({column} AT TIME ZONE 'UTC')"),
        _ => column.to_owned(),
    };
    // 2^65 is added before the remainder is taken, since mod() keeps the sign of a negative hash.
    format!(
        "mod(mod(pg_catalog.{function}({value}, {SEED})::numeric + {COMBINE} + 36893488147419103232, \
         18446744073709551616), {modulus}) = {remainder}"
    )
}

/// The key columns of `table` on `side` as a list for ORDER BY and row comparison.
///
/// A collated column is compared by its bytes: two servers need not sort alike.
pub fn key_order(table: &TablePlan, side: Side, row: &str) -> String {
    table
        .key
        .iter()
        .map(|k| {
            let collate = if k.collated { " COLLATE \"C\"" } else { "" };
            format!("{row}{}{collate}", quote_ident(key_name(k, side)))
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// The key columns as text, for people and for programs.
pub fn key_text(table: &TablePlan, side: Side, row: &str) -> String {
    table
        .key
        .iter()
        .map(|k| format!("{row}{}::text", quote_ident(key_name(k, side))))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A key column's name on `side`.
pub fn key_name(key: &KeyColumn, side: Side) -> &str {
    match side {
        Side::Blue => &key.blue,
        Side::Green => &key.green,
    }
}

/// The condition for `after < key <= upto`.
pub fn key_range(
    table: &TablePlan,
    side: Side,
    after: Option<&Vec<String>>,
    upto: Option<&Vec<String>>,
) -> String {
    let columns = key_order(table, side, "");
    let bound = |values: &Vec<String>| {
        table
            .key
            .iter()
            .zip(values)
            .map(|(k, v)| format!("{}::{}", quote_literal(v), k.type_name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut terms = Vec::new();
    if let Some(values) = after {
        terms.push(format!("ROW({columns}) > ROW({})", bound(values)));
    }
    if let Some(values) = upto {
        terms.push(format!("ROW({columns}) <= ROW({})", bound(values)));
    }
    if terms.is_empty() { "true".into() } else { terms.join(" AND ") }
}
