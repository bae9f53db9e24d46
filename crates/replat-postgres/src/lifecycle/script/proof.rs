//! What a default partition has to prove, so that an attach need not read it under a lock.
//!
//! An attach asks whether a row of the default belongs to the new partition. A CHECK that says "none does" in the very
//! form in which PostgreSQL writes the new partition's constraint answers that without reading. It is validated
//! beforehand, under a lock that lets readers and writers by. Literals only: what is not immutable proves nothing.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Bound, Edge};

use super::{Kitchen, refuse};
use crate::error::on;
use crate::sql::{quote_ident, quote_literal};

/// A component of a partition key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPart {
    /// A quoted column, or an expression in parentheses.
    pub text: String,
    /// The type of its values, as the engine formats it.
    pub type_name: String,
}

/// The partition key of a table.
///
/// # Errors
///
/// [`EngineError::Precondition`] if the table is not partitioned.
pub async fn keys(kitchen: &Kitchen<'_>, table: u32) -> Result<Vec<KeyPart>, EngineError> {
    let rows = kitchen
        .client
        .query(
            "SELECT a.attname::text, pg_catalog.format_type(coalesce(a.atttypid, o.opcintype), a.atttypmod), \
               pg_catalog.pg_get_expr(p.partexprs, p.partrelid) \
             FROM pg_catalog.pg_partitioned_table p \
               CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(p.partattrs), pg_catalog.unnest(p.partclass)) \
                 WITH ORDINALITY AS k(attnum, opclass, n) \
               JOIN pg_catalog.pg_opclass o ON o.oid = k.opclass \
               LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.attnum AND k.attnum <> 0 \
             WHERE p.partrelid = $1 ORDER BY k.n",
            &[&table],
        )
        .await
        .map_err(on(kitchen.database, "reading a partition key"))?;
    let mut expressions = match rows.first().and_then(|row| row.get::<_, Option<String>>(2)) {
        Some(text) => split_list(&text),
        None => Vec::new(),
    }
    .into_iter();
    rows.iter()
        .map(|row| {
            let text = match row.get::<_, Option<String>>(0) {
                Some(column) => quote_ident(&column),
                None => format!(
                    "({})",
                    expressions.next().ok_or_else(|| {
                        refuse(
                            "a partition key has fewer expressions than it says",
                            "Report it with the table.",
                        )
                    })?
                ),
            };
            Ok(KeyPart { text, type_name: row.get(1) })
        })
        .collect()
}

/// The expressions of a list that the catalogue prints, cut at the commas that are in no parentheses and no quotes.
fn split_list(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote, mut part) = (Vec::new(), 0_u32, None, String::new());
    for c in text.chars() {
        match (quote, c) {
            (Some(q), _) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            (None, _) => {}
        }
        part.push(c);
    }
    parts.push(part.trim().to_owned());
    parts
}

/// The condition that a row is in none of `bounds`; `None` if one of them is of a kind that has no default beside it.
pub fn outside(keys: &[KeyPart], bounds: &[&Bound]) -> Option<String> {
    let each = bounds.iter().map(|bound| inside(keys, bound).map(|inside| format!("(NOT ({inside}))")));
    Some(each.collect::<Option<Vec<_>>>()?.join(" AND "))
}

/// The condition that a row is within `bound`, in the form in which PostgreSQL writes a partition's constraint.
pub fn inside(keys: &[KeyPart], bound: &Bound) -> Option<String> {
    match bound {
        Bound::Range { from, to } if from.len() == keys.len() && to.len() == keys.len() => {
            Some(range(keys, from, to))
        }
        Bound::List(values) => match keys {
            [key] => Some(list(key, values)),
            _ => None,
        },
        Bound::Range { .. } | Bound::Hash { .. } | Bound::Default => None,
    }
}

fn value(key: &KeyPart, text: &str) -> String {
    format!("{}::{}", quote_literal(text), key.type_name)
}

fn list(key: &KeyPart, values: &[Option<String>]) -> String {
    let some: Vec<String> = values.iter().flatten().map(|text| value(key, text)).collect();
    let any = match some.as_slice() {
        [] => None,
        [one] => Some(format!("{} = {one}", key.text)),
        many => Some(format!("{} = ANY (ARRAY[{}])", key.text, many.join(", "))),
    };
    match (any, values.iter().any(Option::is_none)) {
        (Some(any), true) => format!("({} IS NULL) OR ({any})", key.text),
        (Some(any), false) => format!("({} IS NOT NULL) AND ({any})", key.text),
        (None, _) => format!("{} IS NULL", key.text),
    }
}

fn range(keys: &[KeyPart], from: &[Edge], to: &[Edge]) -> String {
    let mut all: Vec<String> = keys.iter().map(|key| format!("({} IS NOT NULL)", key.text)).collect();
    // Leading components that both ends share are plain equalities.
    let shared = from.iter().zip(to).take_while(|(a, b)| a == b && matches!(a, Edge::At(_))).count();
    for (key, edge) in keys.iter().zip(from).take(shared) {
        if let Edge::At(text) = edge {
            all.push(format!("({} = {})", key.text, value(key, text)));
        }
    }
    all.extend(end(&keys[shared..], &from[shared..], Edge::Min, [">", ">="]));
    all.extend(end(&keys[shared..], &to[shared..], Edge::Max, ["<", "<="]));
    all.join(" AND ")
}

/// One end of a range over several keys: `(a > 1) OR (a = 1 AND b >= 2)`; `None` if it is open. `open` is the edge
/// before (or after) every value, `than` the operators without and with equality.
fn end(keys: &[KeyPart], edges: &[Edge], open: Edge, than: [&str; 2]) -> Option<String> {
    let lower = open == Edge::Min;
    let mut arms = Vec::new();
    for n in 0..keys.len() {
        let Edge::At(text) = &edges[n] else { break };
        let next = edges.get(n + 1);
        // `(5, MINVALUE)` begins at 5; `(5, MAXVALUE)` ends after 5. The last component of a lower end is included.
        let equal = match next {
            None => lower,
            Some(next) => *next == open,
        };
        let mut arm: Vec<String> = keys[..n]
            .iter()
            .zip(edges)
            .filter_map(|(key, edge)| match edge {
                Edge::At(text) => Some(format!("({} = {})", key.text, value(key, text))),
                Edge::Min | Edge::Max => None,
            })
            .collect();
        arm.push(format!("({} {} {})", keys[n].text, than[usize::from(equal)], value(&keys[n], text)));
        arms.push(match arm.len() {
            1 => arm.remove(0),
            _ => format!("({})", arm.join(" AND ")),
        });
        if equal || matches!(next, Some(Edge::Min | Edge::Max)) {
            break;
        }
    }
    match arms.len() {
        0 => None,
        1 => arms.pop(),
        _ => Some(format!("({})", arms.join(" OR "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> KeyPart {
        KeyPart { text: text.into(), type_name: "integer".into() }
    }

    #[test]
    fn a_bound_reads_as_the_engine_writes_it() {
        let at = |n: i32| Edge::At(n.to_string());
        let (one, two) = (vec![key("a")], vec![key("a"), key("b")]);
        let both = "(a IS NOT NULL) AND (b IS NOT NULL)";
        let rows = [
            (
                &one,
                Bound::Range { from: vec![at(1)], to: vec![at(2)] },
                "(a IS NOT NULL) AND (a >= '1'::integer) AND (a < '2'::integer)".to_owned(),
            ),
            (
                &one,
                Bound::Range { from: vec![Edge::Min], to: vec![at(2)] },
                "(a IS NOT NULL) AND (a < '2'::integer)".to_owned(),
            ),
            (
                &two,
                Bound::Range { from: vec![at(1), at(5)], to: vec![at(1), at(9)] },
                format!("{both} AND (a = '1'::integer) AND (b >= '5'::integer) AND (b < '9'::integer)"),
            ),
            (
                &two,
                Bound::Range { from: vec![at(1), at(5)], to: vec![at(2), Edge::Min] },
                format!(
                    "{both} AND ((a > '1'::integer) OR ((a = '1'::integer) AND (b >= '5'::integer))) AND (a < '2'::integer)"
                ),
            ),
            (
                &two,
                Bound::Range { from: vec![at(1), Edge::Min], to: vec![at(2), Edge::Max] },
                format!("{both} AND (a >= '1'::integer) AND (a <= '2'::integer)"),
            ),
            (&one, Bound::List(vec![None]), "a IS NULL".to_owned()),
            (
                &one,
                Bound::List(vec![Some("1".into()), Some("2".into())]),
                "(a IS NOT NULL) AND (a = ANY (ARRAY['1'::integer, '2'::integer]))".to_owned(),
            ),
        ];
        for (keys, bound, want) in rows {
            assert_eq!(inside(keys, &bound), Some(want));
        }
        assert_eq!(inside(&one, &Bound::Hash { modulus: 2, remainder: 0 }), None);
    }

    #[test]
    fn expressions_are_cut_where_they_end() {
        assert_eq!(split_list("lower(a), (b + 1)"), ["lower(a)", "(b + 1)"]);
        assert_eq!(split_list("f(a, ','), \"x,y\""), ["f(a, ',')", "\"x,y\""]);
    }
}
