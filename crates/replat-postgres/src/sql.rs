//! Names and values as parts of SQL text.

/// `name` as a quoted identifier: `"it""s"`.
///
/// A zero byte cannot be part of a name; the server refuses the statement that contains one.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `value` as a string literal: `'it''s'`, or `E'..'` if it has a backslash, so that it means the same whatever
/// `standard_conforming_strings` is.
pub fn quote_literal(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    match value.contains('\\') {
        true => format!("E'{}'", doubled.replace('\\', "\\\\")),
        false => format!("'{doubled}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_left() {
        let rows = [
            ("plain", "\"plain\"", "'plain'"),
            ("", "\"\"", "''"),
            ("a\"b", "\"a\"\"b\"", "'a\"b'"),
            ("it's", "\"it's\"", "'it''s'"),
            ("a\\'; drop", "\"a\\'; drop\"", "E'a\\\\''; drop'"),
        ];
        for (text, ident, literal) in rows {
            assert_eq!(quote_ident(text), ident);
            assert_eq!(quote_literal(text), literal);
        }
    }
}
