//! What a text of SQL looks like without its values: for logs that must not hold data.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};

/// What stands for a value.
const VALUE: &str = "?";
/// What stands for a text that is not understood.
const UNREADABLE: &str = "(not understood)";
/// The longest shape. Unit: bytes.
const SHAPE_MAX: usize = 4 * 1024;
/// Functions and words whose answer is another one each time, or at each place, though the rows are the same.
const UNSTEADY: &[&str] = &[
    "clock_timestamp",
    "ctid",
    "current_catalog",
    "current_database",
    "current_schema",
    "current_schemas",
    "current_time",
    "current_timestamp",
    "gen_random_uuid",
    "localtime",
    "localtimestamp",
    "now",
    "pg_backend_pid",
    "random",
    "random_normal",
    "statement_timestamp",
    "tableoid",
    "tablesample",
    "timeofday",
    "transaction_timestamp",
    "uuidv4",
    "uuidv7",
    "version",
    "xmax",
    "xmin",
];

/// A text of SQL, perhaps several statements, without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    text: String,
    is_ordered: bool,
    is_steady: bool,
}

impl Shape {
    /// The shape of `sql`. What is not understood becomes no text at all, since a value might be in it.
    pub fn of(sql: &str) -> Shape {
        match Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() {
            Ok(tokens) => of_tokens(tokens),
            Err(_) => Shape { text: UNREADABLE.to_owned(), is_ordered: false, is_steady: false },
        }
    }

    /// Its tokens with single spaces: literals are `?`, a list of them one `?, …`, comments are gone. Names are kept.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// It is one statement with ORDER BY at its top, so that the order of its rows means something.
    pub fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Nothing is named in it whose answer is another one each time or at each place, such as `now()`.
    pub fn is_steady(&self) -> bool {
        self.is_steady
    }
}

fn of_tokens(tokens: Vec<Token>) -> Shape {
    let tokens = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_) | Token::EOF));
    let mut words: Vec<String> = tokens.map(|token| word(&token)).collect();
    while words.last().is_some_and(|word| word == ";") {
        words.pop();
    }
    let (mut depth, mut is_ordered, mut is_steady) = (0_i32, false, true);
    for (at, word) in words.iter().enumerate() {
        match word.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            _ => {
                let next = words.get(at + 1).map_or("", String::as_str);
                is_ordered |=
                    depth == 0 && word.eq_ignore_ascii_case("order") && next.eq_ignore_ascii_case("by");
            }
        }
    }
    for word in &words {
        let word = word.trim_matches('"').to_ascii_lowercase();
        is_steady &= UNSTEADY.binary_search(&word.as_str()).is_err();
    }
    // Of which statement it is said is not told.
    is_ordered &= !words.iter().any(|word| word == ";");
    Shape { text: joined(&words), is_ordered, is_steady }
}

/// A token as it is shown. What is not known to hold no value is shown as one.
fn word(token: &Token) -> String {
    match token {
        Token::Word(word) if matches!(word.quote_style, None | Some('"')) => {
            match word.quote_style.is_none()
                && ["true", "false"].iter().any(|is| word.value.eq_ignore_ascii_case(is))
            {
                true => VALUE.to_owned(),
                false => token.to_string(),
            }
        }
        Token::Placeholder(name) if name.strip_prefix('$').is_some_and(is_number) => name.clone(),
        other => {
            let shown = other.to_string();
            let is_sign = !shown.is_empty() && shown.chars().all(|c| c.is_ascii_punctuation());
            let may_be_text = shown.contains(['\'', '"', '$', '`', '\\']);
            if is_sign && !may_be_text { shown } else { VALUE.to_owned() }
        }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// With spaces between them, and lists of values in short.
fn joined(words: &[String]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let glued = matches!(word.as_str(), "," | ")" | ";" | "." | "]" | "::" | "[")
            || text.is_empty()
            || text.ends_with(['(', '.', '['])
            || text.ends_with("::");
        if !glued {
            text.push(' ');
        }
        text.push_str(word);
        at += 1;
        if word == VALUE
            && words.get(at).is_some_and(|sign| sign == ",")
            && words.get(at + 1).is_some_and(|next| next == VALUE)
        {
            while words.get(at).is_some_and(|sign| sign == ",")
                && words.get(at + 1).is_some_and(|next| next == VALUE)
            {
                at += 2;
            }
            text.push_str(", …");
        }
        if text.len() > SHAPE_MAX {
            let end = (0..=SHAPE_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
            text.push_str(" …");
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_comments_are_gone_and_names_are_kept() {
        let rows = [
            ("select 1", "select ?"),
            ("SELECT a,\n\tb -- why\nFROM t /* x='y' */ WHERE a='secret';", "SELECT a, b FROM t WHERE a = ?"),
            ("select * from \"My T\" where id in (1, 2,3)", "select * from \"My T\" where id in (?, …)"),
            ("select $1::int, E'a\\'b', $x$it's$x$, X'ff', N'n', U&'d'", "select $1::int, ?, …"),
            ("select s.t.a from s.t where b and true", "select s.t.a from s.t where b and ?"),
            ("select -1.5e3 + a[2]", "select - ? + a[?]"),
            ("select a; select 'b'", "select a; select ?"),
            ("select 'never ended", "(not understood)"),
            ("", ""),
        ];
        for (sql, want) in rows {
            assert_eq!(Shape::of(sql).text(), want, "{sql}");
        }
    }

    #[test]
    fn an_order_counts_at_the_top_of_one_statement() {
        let rows = [
            ("select a from t order by a", true),
            ("select a from t ORDER  BY a limit 3", true),
            ("select a from t union select b from u order by 1", true),
            ("select a from t", false),
            ("select array_agg(a order by a) from t", false),
            ("select a from (select a from t order by a) x", false),
            ("select a from t order by a; select 1", false),
            ("select 1; select a from t order by a", false),
            ("select \"order\" by", false),
        ];
        for (sql, want) in rows {
            assert_eq!(Shape::of(sql).is_ordered(), want, "{sql}");
        }
    }

    #[test]
    fn what_differs_each_time_or_at_each_place_is_known() {
        assert!(UNSTEADY.is_sorted());
        for (sql, want) in [
            ("select a from t where b = 'now()'", true),
            ("select Now()", false),
            ("select current_database()", false),
            ("select 1; select random()", false),
            ("select 'never ended", false),
        ] {
            assert_eq!(Shape::of(sql).is_steady(), want, "{sql}");
        }
    }

    #[test]
    fn a_shape_has_an_end() {
        let sql = format!("select {}", "größe, ".repeat(10_000));
        assert!(Shape::of(&sql).text().len() <= SHAPE_MAX + 8);
    }

    proptest! {
        /// Whatever stands in quotes or in a comment, or is a number, is not in the shape.
        #[test]
        fn no_value_is_shown(secret in "[a-z]{3,12}", number in 1000_u32..) {
            let secret = format!("zz{secret}");
            for sql in [
                format!("select a from t where b = '{secret}' and c = {number}"),
                format!("select a from t where b = E'{secret}\\n' and c = -{number}.5"),
                format!("select ${secret}${number}${secret}$"),
                format!("select a /* {secret} {number} */ -- {secret}"),
                format!("select U&'{secret}', B'{number}', '{secret}"),
            ] {
                let shape = Shape::of(&sql);
                prop_assert!(!shape.text().contains(&secret), "{}", shape.text());
                prop_assert!(!shape.text().contains(&number.to_string()), "{}", shape.text());
            }
        }

        #[test]
        fn no_text_makes_it_panic(sql in "\\PC{0,80}") {
            drop(Shape::of(&sql));
        }
    }
}
