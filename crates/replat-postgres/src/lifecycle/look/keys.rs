//! By what tables are cut.

use std::collections::HashMap;

use replat_engine::EngineError;
use replat_model::lifecycle::facts::{Key, Method};

use super::Reading;
use crate::sql::quote_ident;

/// How one table is cut, before its partitions are known.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) method: Method,
    pub(super) keys: Vec<Key>,
    /// How values of each key are compared; `None` where they are not, as in a hash.
    pub(super) orders: Vec<Option<Comparison>>,
}

/// How values of a key are compared, in SQL: a type to cast them to, a collation, an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Comparison {
    pub(super) cast: String,
    pub(super) collation: Option<String>,
    pub(super) less: String,
}

/// How the tables with these identities are cut; an error is a reason for people, and concerns that table alone.
pub(super) async fn read(
    reading: &Reading<'_>,
    tables: &[u32],
) -> Result<HashMap<u32, Result<Cut, String>>, EngineError> {
    let rows = reading.query(include_str!("keys.sql"), &[&tables]).await?;
    let mut cuts: HashMap<u32, Result<Cut, String>> = HashMap::new();
    // Of the table that is being read: its expressions that were not given out yet.
    let mut expressions = Vec::new().into_iter();
    for row in rows {
        let table: u32 = reading.get(&row, "partrelid")?;
        if reading.get::<i64>(&row, "place")? == 1 {
            let printed: Option<String> = reading.get(&row, "expressions")?;
            expressions = split(printed.as_deref().unwrap_or_default()).into_iter();
            let method = match reading.get::<String>(&row, "strategy")?.as_str() {
                "r" => Ok(Method::Range),
                "l" => Ok(Method::List),
                "h" => Ok(Method::Hash),
                other => Err(format!("it is cut in a way that is not known: {other:?}")),
            };
            cuts.insert(table, method.map(|method| Cut { method, keys: Vec::new(), orders: Vec::new() }));
        }
        let column: Option<String> = reading.get(&row, "column_name")?;
        let text = match &column {
            Some(column) => Some(quote_ident(column)),
            None => expressions.next().map(|expression| format!("({expression})")),
        };
        let less: Option<String> = reading.get(&row, "less")?;
        let order = match less {
            Some(less) => Some(Comparison {
                cast: reading.get(&row, "cast_type")?,
                collation: reading.get(&row, "collation")?,
                less,
            }),
            None => None,
        };
        let Some(Ok(cut)) = cuts.get_mut(&table) else { continue };
        let Some(text) = text else {
            cuts.insert(table, Err("its key's expressions cannot be told apart".to_owned()));
            continue;
        };
        cut.keys.push(Key {
            column,
            text,
            type_name: reading.get(&row, "type_name")?,
            nullable: reading.get(&row, "nullable")?,
        });
        cut.orders.push(order);
    }
    Ok(cuts)
}

/// The expressions of a list, as `pg_get_expr` prints it.
///
/// They are apart by commas outside of quotes and brackets: no expression of SQL has a comma that is not inside a
/// pair of brackets or quotes, or a list could not be read at all.
fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    let mut quote = None;
    for c in list.chars() {
        match c {
            '\'' | '"' if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            _ if quote.is_some() => {}
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("there is a part from the start").push(c);
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn expressions_are_told_apart() {
        let rows: [(&str, &[&str]); 5] = [
            ("", &[]),
            ("(a + 1)", &["(a + 1)"]),
            ("(a + 1), lower(b, 'x,y'), ARRAY[a, b]", &["(a + 1)", "lower(b, 'x,y')", "ARRAY[a, b]"]),
            (
                "CASE WHEN (a > 1) THEN 'it''s, (so'::text ELSE b END, c",
                &["CASE WHEN (a > 1) THEN 'it''s, (so'::text ELSE b END", "c"],
            ),
            ("lower(\"o'd,(d\"\"\"), b", &["lower(\"o'd,(d\"\"\")", "b"]),
        ];
        for (list, parts) in rows {
            assert_eq!(split(list), parts, "{list}");
        }
    }
}
