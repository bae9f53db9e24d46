//! The pieces of SQL's text: enough to cut it into statements and to take its constants out.

use crate::value::Value;

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// White space, or a comment.
    Blank,
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes.
    Name,
    /// A text, however it is written: `'a'`, `E'a'`, `$$a$$`, `U&'a'`, `X'ff'`.
    Text,
    /// A number without a sign.
    Number,
    /// `$1`.
    Parameter,
    /// One operator or other sign.
    Sign,
}

/// A piece, and where it begins.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'t> {
    /// What it is.
    pub kind: Kind,
    /// All of it, as written.
    pub text: &'t str,
    /// Where it begins. Unit: bytes.
    pub at: usize,
    /// Whether it ends where its text does: a quote or a comment that nothing closes does not.
    pub is_closed: bool,
}

impl Piece<'_> {
    /// What a text or a name in quotes says, without its quotes and escapes; anything else as written.
    pub fn value(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Name => unquoted(self.text),
            _ => self.text.to_owned(),
        }
    }
}

/// Signs of several characters; longer ones stand before those that they begin with.
const LONG_SIGNS: [&str; 13] =
    ["->>", "#>>", "::", "<=", ">=", "<>", "!=", "||", "->", "#>", "@>", "<@", "=>"];
/// What may stand before the quote of a text.
const PREFIXES: [&str; 5] = ["e", "b", "x", "n", "u&"];

/// The pieces of `text`, together all of it.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &text[at..];
        let (kind, length, is_closed) = first(rest)?;
        let piece = Piece { kind, text: &rest[..length], at, is_closed };
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

/// The kind of the first piece, its length, and whether it is closed.
fn first(rest: &str) -> Option<(Kind, usize, bool)> {
    let char = rest.chars().next()?;
    if let Some((prefix, quote)) = quoted_at(rest) {
        let (length, is_closed) = quoted(rest, prefix, rest[..prefix].eq_ignore_ascii_case("e"));
        return Some((if quote == '"' { Kind::Name } else { Kind::Text }, length, is_closed));
    }
    let whole = |kind, length| (kind, length, true);
    Some(match char {
        _ if char.is_whitespace() => whole(Kind::Blank, run(rest, char::is_whitespace)),
        '-' if rest.starts_with("--") => {
            whole(Kind::Blank, rest.find('\n').map_or(rest.len(), |end| end + 1))
        }
        '/' if rest.starts_with("/*") => {
            let (length, is_closed) = comment(rest);
            (Kind::Blank, length, is_closed)
        }
        '$' => dollar(rest),
        '0'..='9' => whole(Kind::Number, number(rest)),
        '.' if rest[1..].starts_with(|char: char| char.is_ascii_digit()) => whole(Kind::Number, number(rest)),
        _ if is_word(char) => whole(Kind::Word, run(rest, is_word)),
        _ => {
            let long = LONG_SIGNS.iter().find(|sign| rest.starts_with(**sign));
            whole(Kind::Sign, long.map_or(char.len_utf8(), |sign| sign.len()))
        }
    })
}

/// Where the quote is that a text or a name begins with, and which.
fn quoted_at(rest: &str) -> Option<(usize, char)> {
    let at = rest.find(['\'', '"']).filter(|at| *at <= 2)?;
    let (prefix, quote) = (&rest[..at], rest[at..].chars().next()?);
    let is_prefix = match quote {
        '"' => prefix.eq_ignore_ascii_case("u&"),
        _ => PREFIXES.iter().any(|known| prefix.eq_ignore_ascii_case(known)),
    };
    (at == 0 || is_prefix).then_some((at, quote))
}

/// A parameter, a text between two tags, or a sign.
fn dollar(rest: &str) -> (Kind, usize, bool) {
    let digits = run(&rest[1..], |char| char.is_ascii_digit());
    if digits > 0 {
        return (Kind::Parameter, 1 + digits, true);
    }
    let tag = 1 + run(&rest[1..], |char| char.is_alphanumeric() || char == '_');
    if !rest[tag..].starts_with('$') {
        return (Kind::Sign, 1, true);
    }
    let end = rest[tag + 1..].find(&rest[..=tag]).map(|at| 2 * (tag + 1) + at);
    (Kind::Text, end.unwrap_or(rest.len()), end.is_some())
}

/// The end of a comment, which may have others inside, and whether it is one.
fn comment(rest: &str) -> (usize, bool) {
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
                return (at, true);
            }
        } else {
            match inner.chars().next() {
                Some(char) => at += char.len_utf8(),
                None => return (at, false),
            }
        }
    }
}

/// The end of what is quoted from `begin`, and whether it is one; a doubled quote is one inside, and so is one after a
/// backslash if that escapes.
fn quoted(rest: &str, begin: usize, escapes: bool) -> (usize, bool) {
    let mut chars = rest[begin..].char_indices();
    let Some((_, quote)) = chars.next() else { return (rest.len(), false) };
    while let Some((at, char)) = chars.next() {
        let at = begin + at;
        if escapes && char == '\\' {
            chars.next();
        } else if char == quote {
            if rest[at + 1..].starts_with(quote) {
                chars.next();
            } else {
                return (at + 1, true);
            }
        }
    }
    (rest.len(), false)
}

fn number(rest: &str) -> usize {
    let mut length = run(rest, |char| char.is_ascii_alphanumeric() || char == '.' || char == '_');
    let is_decimal = !rest.starts_with("0x") && !rest.starts_with("0X");
    if is_decimal && rest[..length].ends_with(['e', 'E']) && rest[length..].starts_with(['+', '-']) {
        length += 1 + run(&rest[length + 1..], |char| char.is_ascii_digit());
    }
    length
}

/// What a quoted piece says.
fn unquoted(text: &str) -> String {
    let Some(begin) = text.find(['\'', '"', '$']) else { return text.to_owned() };
    let body = &text[begin + 1..];
    if text[begin..].starts_with('$') {
        let tag = body.find('$').map_or(text.len(), |end| end + 2);
        let end = text.len().saturating_sub(tag).max(tag);
        return text.get(tag..end).unwrap_or_default().to_owned();
    }
    let quote = if text[begin..].starts_with('"') { '"' } else { '\'' };
    let escapes = text[..begin].eq_ignore_ascii_case("e");
    let mut value = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(char) = chars.next() {
        match char {
            // What a letter after a backslash stands for is not looked up: two such texts are equal if they are written so.
            '\\' if escapes => value.extend(chars.next()),
            char if char == quote => value.extend(chars.next()),
            char => value.push(char),
        }
    }
    value
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
            Kind::Text => Some(Value::Text(piece.value())),
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
                vec![Value::Null, text("true"), text("a'b"), text("x'y")],
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
            assert!(pieces(text).all(|piece| piece.value().len() <= text.len()));
        }
    }
}
