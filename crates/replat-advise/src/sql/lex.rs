//! The pieces of SQL's text: enough to cut it into statements and to take its constants out.

use crate::value::Value;

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space, or a comment.
    Blank,
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes.
    Name,
    /// A text.
    Text,
    /// A number without a sign.
    Number,
    /// `$1`.
    Parameter,
    /// Any other character.
    Sign,
}

/// A piece, and where it begins. Unit: bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub kind: Kind,
    pub text: &'t str,
    pub at: usize,
}

/// The pieces of `text`, together all of it.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let (kind, length) = first(rest)?;
        let piece = Piece { kind, text: &rest[..length], at };
        at += length;
        Some(piece)
    })
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || char == '$' || !char.is_ascii()
}

/// How much of `rest` satisfies `is`, from its beginning.
fn run(rest: &str, is: impl Fn(char) -> bool) -> usize {
    rest.find(|char| !is(char)).unwrap_or(rest.len())
}

fn first(rest: &str) -> Option<(Kind, usize)> {
    let char = rest.chars().next()?;
    let to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    Some(match char {
        _ if char.is_whitespace() => (Kind::Blank, run(rest, char::is_whitespace)),
        '-' if rest.starts_with("--") => (Kind::Blank, to("\n", 0)),
        '/' if rest.starts_with("/*") => (Kind::Blank, comment(rest)),
        '\'' => (Kind::Text, quoted(rest, 0, false)),
        '"' => (Kind::Name, quoted(rest, 0, false)),
        '$' => {
            let digits = run(&rest[1..], |char| char.is_ascii_digit());
            if digits > 0 {
                (Kind::Parameter, 1 + digits)
            } else {
                let tag = 1 + run(&rest[1..], |char| char.is_alphanumeric() || char == '_');
                if rest[tag..].starts_with('$') {
                    (Kind::Text, to(&rest[..=tag], tag + 1))
                } else {
                    (Kind::Sign, 1)
                }
            }
        }
        '0'..='9' => (Kind::Number, number(rest)),
        '.' if rest[1..].starts_with(|char: char| char.is_ascii_digit()) => (Kind::Number, number(rest)),
        _ if is_word(char) => {
            let length = run(rest, is_word);
            let prefixed =
                ["e", "b", "x", "n"].iter().any(|prefix| rest[..length].eq_ignore_ascii_case(prefix));
            if prefixed && rest[length..].starts_with('\'') {
                (Kind::Text, quoted(rest, length, rest[..length].eq_ignore_ascii_case("e")))
            } else {
                (Kind::Word, length)
            }
        }
        _ => (Kind::Sign, char.len_utf8()),
    })
}

/// The end of a comment, which may have others inside.
fn comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let inner = &rest[at..];
        if inner.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if inner.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            match inner.chars().next() {
                Some(char) => at += char.len_utf8(),
                None => return at,
            }
        }
    }
}

/// The end of what is quoted from `begin`; a doubled quote is one inside, and so is one after a backslash if that escapes.
fn quoted(rest: &str, begin: usize, escapes: bool) -> usize {
    let mut chars = rest[begin..].char_indices();
    let Some((_, quote)) = chars.next() else { return rest.len() };
    while let Some((at, char)) = chars.next() {
        let at = begin + at;
        if escapes && char == '\\' {
            chars.next();
        } else if char == quote {
            if rest[at + 1..].starts_with(quote) {
                chars.next();
            } else {
                return at + 1;
            }
        }
    }
    rest.len()
}

fn number(rest: &str) -> usize {
    let mut length = run(rest, |char| char.is_ascii_alphanumeric() || char == '.' || char == '_');
    if rest[..length].ends_with(['e', 'E']) && rest[length..].starts_with(['+', '-']) {
        length += 1 + run(&rest[length + 1..], |char| char.is_ascii_digit());
    }
    length
}

/// The statements of a text, each with its first line, from 1.
pub(crate) fn split(text: &str) -> Vec<(usize, &str)> {
    let mut all = Vec::new();
    let (mut begin, mut line, mut next_line) = (None, 1, 1);
    let mut end = 0;
    for piece in pieces(text) {
        let this_line = next_line;
        next_line += piece.text.matches('\n').count();
        if piece.kind == Kind::Sign && piece.text == ";" {
            if let Some(begin) = begin.take() {
                all.push((line, &text[begin..end]));
            }
        } else if piece.kind != Kind::Blank {
            if begin.is_none() {
                begin = Some(piece.at);
                line = this_line;
            }
            end = piece.at + piece.text.len();
        }
    }
    if let Some(begin) = begin {
        all.push((line, &text[begin..end]));
    }
    all
}

/// Whether the statement's first word is one of these.
pub(crate) fn begins_with(statement: &str, words: &[&str]) -> bool {
    pieces(statement)
        .find(|piece| piece.kind != Kind::Blank)
        .is_some_and(|piece| words.iter().any(|word| piece.text.eq_ignore_ascii_case(word)))
}

/// Whether a word is among the first few of the statement.
pub(crate) fn names(statement: &str, word: &str) -> bool {
    pieces(statement)
        .filter(|piece| piece.kind != Kind::Blank)
        .take(4)
        .any(|piece| piece.text.eq_ignore_ascii_case(word))
}

/// Words after which a minus is a number's sign.
const BEFORE_SIGN: &[&str] = &[
    "and", "between", "by", "else", "in", "limit", "not", "offset", "or", "select", "then", "values", "when",
    "where",
];

/// A statement with `$n` for its constants, numbered after those that it has, and the constants' values: what the server
/// does to the texts that it counts. White space and comments become one space.
pub fn normalise(text: &str) -> (String, Vec<Value>) {
    let mut next = 1 + pieces(text)
        .filter(|piece| piece.kind == Kind::Parameter)
        .filter_map(|piece| piece.text[1..].parse::<u32>().ok())
        .max()
        .unwrap_or(0);
    let mut out = String::with_capacity(text.len());
    let mut values = Vec::new();
    // What came last, and whether it was something that a value could follow only with an operator between.
    let (mut last, mut ends_value) = ("", false);
    let mut minus: Option<usize> = None;
    for piece in pieces(text) {
        let is_word = |words: &[&str]| words.iter().any(|word| piece.text.eq_ignore_ascii_case(word));
        let value = match piece.kind {
            Kind::Blank => {
                if !out.ends_with(' ') && !out.is_empty() {
                    out.push(' ');
                }
                continue;
            }
            Kind::Number => Some(number_value(piece.text, minus.is_some())),
            Kind::Text => Some(Value::Text(text_value(piece.text))),
            Kind::Word if is_word(&["true", "false"]) => Some(Value::Text(piece.text.to_ascii_lowercase())),
            Kind::Word
                if is_word(&["null"]) && !["is", "not"].iter().any(|w| last.eq_ignore_ascii_case(w)) =>
            {
                Some(Value::Null)
            }
            _ => None,
        };
        if let Some(value) = value {
            if let (Some(at), Kind::Number) = (minus, piece.kind) {
                out.truncate(at);
            }
            out.push('$');
            out.push_str(&next.to_string());
            next += 1;
            values.push(value);
        } else {
            out.push_str(piece.text);
        }
        let is_minus = piece.text == "-"
            && (!ends_value || BEFORE_SIGN.iter().any(|word| last.eq_ignore_ascii_case(word)));
        minus = is_minus.then(|| out.len() - 1);
        ends_value = match piece.kind {
            Kind::Sign => matches!(piece.text, ")" | "]"),
            _ => true,
        };
        last = piece.text;
    }
    while out.ends_with([' ', ';']) {
        out.pop();
    }
    (out, values)
}

fn number_value(text: &str, negative: bool) -> Value {
    let signed = if negative { format!("-{text}") } else { text.to_owned() };
    signed.parse().map_or(Value::Text(signed), Value::Int)
}

/// The text that a literal stands for.
pub(super) fn text_value(literal: &str) -> String {
    let Some(begin) = literal.find(['\'', '$']) else { return literal.to_owned() };
    if literal[begin..].starts_with('$') {
        let tag = literal[begin + 1..].find('$').map_or(begin, |at| begin + 1 + at) + 1;
        let end = literal.len().saturating_sub(tag - begin).max(tag);
        return literal.get(tag..end).unwrap_or("").to_owned();
    }
    let inner = &literal[begin + 1..];
    inner.strip_suffix('\'').unwrap_or(inner).replace("''", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_become_parameters() {
        let (int, text) = (Value::Int, |text: &str| Value::Text(text.to_owned()));
        let cases = [
            ("SELECT a FROM t WHERE b = 5", "SELECT a FROM t WHERE b = $1", vec![int(5)]),
            ("SELECT a-5 FROM t  WHERE b=-5", "SELECT a-$1 FROM t WHERE b=$2", vec![int(5), int(-5)]),
            (
                "UPDATE t SET a = 'it''s' WHERE b IN (1, -2)",
                "UPDATE t SET a = $1 WHERE b IN ($2, $3)",
                vec![text("it's"), int(1), int(-2)],
            ),
            ("SELECT 1 /* 2 */ -- 3\n+ 4;", "SELECT $1 + $2", vec![int(1), int(4)]),
            ("SELECT $2, 7 FROM t1 WHERE x IS NULL", "SELECT $2, $3 FROM t1 WHERE x IS NULL", vec![int(7)]),
            (
                "INSERT INTO \"T 1\" VALUES (NULL, true, $$a'b$$, E'x\\'y')",
                "INSERT INTO \"T 1\" VALUES ($1, $2, $3, $4)",
                vec![Value::Null, text("true"), text("a'b"), text("x\\'y")],
            ),
            ("SELECT 1.5, 2e-3", "SELECT $1, $2", vec![text("1.5"), text("2e-3")]),
        ];
        for (sql, normal, values) in cases {
            assert_eq!(normalise(sql), (normal.to_owned(), values), "{sql}");
        }
    }

    #[test]
    fn statements_are_cut_where_they_end() {
        let text = "CREATE TABLE a (x text DEFAULT ';');\n-- b;\n\nSELECT $f$;$f$; /* ; */ ;; COMMIT";
        assert_eq!(
            split(text),
            [(1, "CREATE TABLE a (x text DEFAULT ';')"), (4, "SELECT $f$;$f$"), (4, "COMMIT")]
        );
    }

    #[test]
    fn odd_texts_are_cut_into_all_their_pieces() {
        for text in
            ["'", "\"", "$", "$a", "$$", "$a$ $b$", "/*", "/* /* */", "--", "e'\\", "1e+", "é\0ß'", "-"]
        {
            assert_eq!(pieces(text).map(|piece| piece.text).collect::<String>(), text);
            normalise(text);
            split(text);
            text_value(text);
        }
    }
}
