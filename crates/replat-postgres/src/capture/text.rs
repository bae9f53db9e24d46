//! A statement's text without its values, and the values.
//!
//! Every literal becomes a parameter, comments and needless spaces go. What cannot be read with certainty becomes no
//! text at all, since a value might be in it. As in `pg_stat_statements`, literals are numbered behind the parameters
//! that the text has itself.

use replat_advise::sql::{self, Kind};

/// The longest text that is read. Unit: bytes.
const TEXT_MAX: usize = 256 * 1024;

/// First words of statements that are about rows. Of others nothing is kept: their words may be values, such as the
/// name after SET, and advice does not need them.
const ABOUT_ROWS: [&str; 10] =
    ["select", "insert", "update", "delete", "merge", "with", "values", "copy", "call", "truncate"];

/// What a text is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A name or key word without quotes, as written.
    Word(String),
    /// A name in quotes, without them.
    Quoted(String),
    /// `$1`, a literal's own number included.
    Parameter(usize),
    /// One or more signs that belong together.
    Sign(String),
}

impl Token {
    /// Whether it is this key word; `word` is in small letters.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own.eq_ignore_ascii_case(word))
    }

    /// Whether it is this sign.
    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self, Token::Sign(own) if own == sign)
    }

    /// The name that it may be, as the catalogue has it.
    pub fn name(&self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word.to_lowercase()),
            Token::Quoted(name) => Some(name.clone()),
            _ => None,
        }
    }
}

/// One statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Normal {
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// The number of its first literal; those before it are parameters of its own.
    pub first_literal: usize,
    /// The literals as text, from `$first_literal` on; of a number, with its digits only.
    pub literals: Vec<String>,
}

impl Normal {
    /// Whether it begins with this word; `word` is in small letters.
    pub fn begins(&self, word: &str) -> bool {
        self.tokens.first().is_some_and(|token| token.is(word))
    }

    /// Whether it is about rows, so that its text is kept.
    pub fn is_about_rows(&self) -> bool {
        let first = self.tokens.iter().find(|token| !token.is_sign("("));
        ABOUT_ROWS.iter().any(|word| first.is_some_and(|token| token.is(word)))
    }

    /// Whether it reads a catalogue: it is somebody's tool, or ours.
    pub fn is_of_the_catalogue(&self) -> bool {
        self.tokens.iter().any(|token| match token.name() {
            Some(name) => name == "pg_catalog" || name == "information_schema" || name.starts_with("pg_"),
            None => false,
        })
    }

    /// Its text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for token in &self.tokens {
            let shown = match token {
                Token::Word(word) => word.clone(),
                Token::Quoted(name) => format!("\"{}\"", name.replace('"', "\"\"")),
                Token::Parameter(number) => format!("${number}"),
                Token::Sign(sign) => sign.clone(),
            };
            let glued = matches!(shown.as_str(), "," | ")" | "." | "]" | "::" | "[")
                || text.is_empty()
                || text.ends_with(['(', '.', '['])
                || text.ends_with("::");
            if !glued {
                text.push(' ');
            }
            text += &shown;
        }
        text
    }
}

/// The statements of a text; `None` if it is not understood for sure.
pub fn normal(sql: &str) -> Option<Vec<Normal>> {
    if sql.len() > TEXT_MAX {
        return None;
    }
    let pieces = pieces(sql)?;
    let mut statements = Vec::new();
    for part in pieces.split(|piece| *piece == Piece::Sign(";".into())) {
        if part.is_empty() {
            continue;
        }
        let highest = part.iter().filter_map(Piece::parameter).max().unwrap_or(0);
        let mut normal = Normal { first_literal: highest + 1, ..Normal::default() };
        for piece in part {
            normal.tokens.push(match piece {
                Piece::Word(word) => Token::Word(word.clone()),
                Piece::Quoted(name) => Token::Quoted(name.clone()),
                Piece::Parameter(number) => Token::Parameter(*number),
                Piece::Sign(sign) => Token::Sign(sign.clone()),
                Piece::Literal(value) => {
                    normal.literals.push(value.clone());
                    Token::Parameter(highest + normal.literals.len())
                }
            });
        }
        statements.push(normal);
    }
    Some(statements)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Word(String),
    Quoted(String),
    Parameter(usize),
    Sign(String),
    Literal(String),
}

impl Piece {
    fn parameter(&self) -> Option<usize> {
        match self {
            Piece::Parameter(number) => Some(*number),
            _ => None,
        }
    }
}

fn pieces(sql: &str) -> Option<Vec<Piece>> {
    let is_kept = |piece: &sql::Piece<'_>| piece.kind != Kind::Blank || !piece.is_closed;
    sql::pieces(sql).filter(is_kept).map(|piece| of(&piece)).collect()
}

/// A piece as it is kept; `None` if it may not be what the server takes it for.
fn of(piece: &sql::Piece<'_>) -> Option<Piece> {
    let text = piece.text;
    if !piece.is_closed {
        return None;
    }
    Some(match piece.kind {
        Kind::Blank => return None,
        Kind::Word if ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)) => {
            Piece::Literal(text.to_owned())
        }
        Kind::Word => Piece::Word(text.to_owned()),
        Kind::Name => Piece::Quoted(piece.value()),
        Kind::Number => Piece::Literal(text.to_owned()),
        // What is escaped by a backslash where standard strings are off would end elsewhere.
        Kind::Text if !text.starts_with(['e', 'E']) && text.ends_with("\\'") => return None,
        Kind::Text => Piece::Literal(piece.value()),
        Kind::Parameter => {
            let number = text[1..].parse().ok().filter(|number| *number <= usize::from(u16::MAX))?;
            Piece::Parameter(number)
        }
        // The beginning of a text whose end is not seen.
        Kind::Sign if text == "$" => return None,
        Kind::Sign => Piece::Sign(text.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(sql: &str) -> Option<Vec<(String, Vec<String>)>> {
        Some(normal(sql)?.into_iter().map(|n| (n.text(), n.literals)).collect())
    }

    #[test]
    fn literals_become_parameters_and_comments_go() {
        let rows: [(&str, &str, &[&str]); 14] = [
            ("select 1", "select $1", &["1"]),
            ("SELECT a FROM t WHERE b = 'it''s' -- why", "SELECT a FROM t WHERE b = $1", &["it's"]),
            ("select /* a /* nested */ 'x' */ a", "select a", &[]),
            ("select $2, 'x', $1", "select $2, $3, $1", &["x"]),
            ("select E'a\\'b', $x$it's$x$, $$y$$", "select $1, $2, $3", &["a'b", "it's", "y"]),
            ("select X'ff', b'1', N'n', U&'d'", "select $1, $2, $3, $4", &["ff", "1", "n", "d"]),
            ("select \"A b\".\"c\"\"d\" from s.t", "select \"A b\".\"c\"\"d\" from s.t", &[]),
            ("select -1.5e-3 + a[2]", "select - $1 + a[$2]", &["1.5e-3", "2"]),
            ("select a::int from t where b>=.5", "select a::int from t where b >= $1", &[".5"]),
            ("select true", "select $1", &["true"]),
            ("select a from t1 where b in (1,2)", "select a from t1 where b in ($1, $2)", &["1", "2"]),
            ("select a || 'x'", "select a || $1", &["x"]),
            ("select größe from t where ä='ö'", "select größe from t where ä = $1", &["ö"]),
            ("select interval '1 day'", "select interval $1", &["1 day"]),
        ];
        for (sql, text, literals) in rows {
            let literals: Vec<String> = literals.iter().map(|l| (*l).to_owned()).collect();
            assert_eq!(texts(sql), Some(vec![(text.to_owned(), literals)]), "{sql}");
        }
    }

    #[test]
    fn several_statements_are_told_apart_and_doubt_is_no_text() {
        let several = normal("begin; update t set a = 1;; commit;").expect("it is understood");
        assert_eq!(
            several.iter().map(Normal::text).collect::<Vec<_>>(),
            ["begin", "update t set a = $1", "commit"]
        );
        for doubt in
            ["select 'a", "select 'a\\' b'", "select /* a", "select $x$ a", "select $99999999999", "\"a"]
        {
            assert_eq!(normal(doubt), None, "{doubt}");
        }
        assert_eq!(normal(&format!("select '{}'", "x".repeat(TEXT_MAX))), None);
        assert_eq!(normal(" ; "), Some(Vec::new()));
    }

    #[test]
    fn only_what_is_about_rows_is_kept() {
        let rows = [
            ("select 1", true),
            ("(select a) union (select b)", true),
            ("with x as (select 1) select * from x", true),
            ("copy t from stdin", true),
            ("set app.tenant = secret", false),
            ("alter role a password 'x'", false),
            ("begin", false),
            ("explain select 1", false),
        ];
        for (sql, want) in rows {
            let normal = normal(sql).expect(sql);
            assert_eq!(normal[0].is_about_rows(), want, "{sql}");
        }
    }

    proptest! {
        /// Whatever stands in quotes or in a comment, or is a number, is not in the text.
        #[test]
        fn no_value_is_shown(secret in "[a-z]{3,12}", number in 1000_u32..) {
            let secret = format!("zz{secret}");
            for sql in [
                format!("select a from t where b = '{secret}' and c = {number}"),
                format!("select a from t where b = E'\\'{secret}\\n' and c = -{number}.5"),
                format!("select $tag${number}${secret}$tag$"),
                format!("select a /* {secret} {number} */ -- {secret}"),
                format!("select U&'{secret}', B'{number}', '{secret}"),
                format!("select 'a\\', '{secret}', '\\'"),
            ] {
                let text: String = normal(&sql).unwrap_or_default().iter().map(Normal::text).collect();
                prop_assert!(!text.contains(&secret), "{}", text);
                prop_assert!(!text.contains(&number.to_string()), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(sql in "\\PC{0,80}", signs in "['\"$/*;eEuU&x0-9. \\\\\n-]{0,40}") {
            drop(normal(&sql));
            drop(normal(&signs));
        }

        #[test]
        fn a_text_of_ours_reads_as_itself(words in proptest::collection::vec("[a-z_]{1,8}", 1..8)) {
            let sql = format!("select {} from t where a = 5", words.join(", "));
            let once = normal(&sql).expect("it is understood");
            let again = normal(&once[0].text()).expect("it is understood");
            prop_assert_eq!(once[0].text(), again[0].text());
        }
    }
}
