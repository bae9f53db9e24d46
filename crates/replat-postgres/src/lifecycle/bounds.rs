//! Partition bounds: as the catalogue prints them, and as statements want them.
//!
//! [`parse`] reads what `pg_get_expr(relpartbound, 0)` prints; [`sql`] is the one place that writes a bound. Every
//! value is text here, whatever its type: PostgreSQL reads `'5'` as a bound of any type of which `5` is a value, so
//! nothing has to know the type. Both sides must run with dates in ISO order, times in UTC, and
//! `standard_conforming_strings` on, as [`super::look`] sets them; then a bound means the same whoever asks.

use std::fmt;

use replat_model::lifecycle::facts::{Bound, Edge};

use crate::sql::quote_literal;

/// A bound that is not understood.
///
/// The set that has it is refused alone: a bound that was guessed could let two partitions claim one row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bound {text:?} is not understood at byte {at}: {why}")]
pub struct BadBound {
    /// The whole of it.
    pub text: String,
    /// Where reading stopped, in bytes.
    pub at: usize,
    /// What was found there, or missed.
    pub why: String,
}

/// A bound, as the catalogue prints it.
///
/// # Errors
///
/// [`BadBound`] if it is of a form that PostgreSQL 14 to 18 do not print.
pub fn parse(text: &str) -> Result<Bound, BadBound> {
    let mut reader = Reader { text, at: 0 };
    reader.bound().map_err(|why| BadBound { text: text.to_owned(), at: reader.at, why })
}

/// The bound as a statement wants it: `FOR VALUES FROM ('1') TO (MAXVALUE)`, `DEFAULT`, …
pub fn sql(bound: &Bound) -> String {
    match bound {
        Bound::Range { from, to } => {
            format!("FOR VALUES FROM ({}) TO ({})", list(from, edge), list(to, edge))
        }
        Bound::List(values) => format!("FOR VALUES IN ({})", list(values, value)),
        Bound::Hash { modulus, remainder } => {
            format!("FOR VALUES WITH (modulus {modulus}, remainder {remainder})")
        }
        Bound::Default => "DEFAULT".to_owned(),
    }
}

fn list<T>(items: &[T], text: fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn edge(edge: &Edge) -> String {
    match edge {
        Edge::Min => "MINVALUE".to_owned(),
        Edge::At(value) => quote_literal(value),
        Edge::Max => "MAXVALUE".to_owned(),
    }
}

fn value(value: &Option<String>) -> String {
    value.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal)
}

/// One item of a list of values, before it is known where it stands.
enum Item {
    Min,
    Max,
    Null,
    Value(String),
}

/// Reads a bound from left to right. Errors are words for [`BadBound::why`].
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn bound(&mut self) -> Result<Bound, String> {
        let bound = match self.word().as_str() {
            "DEFAULT" => Bound::Default,
            "FOR" => {
                self.expect_word("VALUES")?;
                self.values()?
            }
            other => return Err(format!("FOR VALUES or DEFAULT was expected, not {other:?}")),
        };
        self.space();
        match self.rest() {
            "" => Ok(bound),
            rest => Err(format!("nothing was expected, not {rest:?}")),
        }
    }

    fn values(&mut self) -> Result<Bound, String> {
        match self.word().as_str() {
            "FROM" => {
                let from = self.edges()?;
                self.expect_word("TO")?;
                let to = self.edges()?;
                match from.len() == to.len() {
                    true => Ok(Bound::Range { from, to }),
                    false => Err(format!("{} values to {} values", from.len(), to.len())),
                }
            }
            "IN" => self.items()?.into_iter().map(listed).collect::<Result<_, _>>().map(Bound::List),
            "WITH" => self.hash(),
            other => Err(format!("FROM, IN or WITH was expected, not {other:?}")),
        }
    }

    fn edges(&mut self) -> Result<Vec<Edge>, String> {
        self.items()?.into_iter().map(edged).collect()
    }

    fn hash(&mut self) -> Result<Bound, String> {
        self.expect('(')?;
        self.expect_word("MODULUS")?;
        let modulus = self.number()?;
        self.expect(',')?;
        self.expect_word("REMAINDER")?;
        let remainder = self.number()?;
        self.expect(')')?;
        match remainder < modulus {
            true => Ok(Bound::Hash { modulus, remainder }),
            false => Err(format!("a remainder of {remainder} by {modulus}")),
        }
    }

    fn number(&mut self) -> Result<u32, String> {
        self.space();
        let digits = self.take_while(|c| c.is_ascii_digit());
        digits.parse().map_err(|_| format!("a number was expected, not {digits:?}"))
    }

    /// A list in parentheses, of at least one item.
    fn items(&mut self) -> Result<Vec<Item>, String> {
        self.expect('(')?;
        let mut items = vec![self.item()?];
        loop {
            self.space();
            match self.next() {
                Some(',') => items.push(self.item()?),
                Some(')') => return Ok(items),
                other => return Err(format!("a comma or a parenthesis was expected, not {}", Seen(other))),
            }
        }
    }

    fn item(&mut self) -> Result<Item, String> {
        self.space();
        let item = match self.peek() {
            Some('\'') => Item::Value(self.quoted(false)?),
            Some('E' | 'e') if self.rest()[1..].starts_with('\'') => {
                self.next();
                Item::Value(self.quoted(true)?)
            }
            // A bit string.
            Some('B' | 'b') if self.rest()[1..].starts_with('\'') => {
                self.next();
                Item::Value(self.quoted(false)?)
            }
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => Item::Value(self.bare_number()?),
            Some(c) if c.is_ascii_alphabetic() => self.keyword()?,
            other => return Err(format!("a value was expected, not {}", Seen(other))),
        };
        self.cast()?;
        Ok(item)
    }

    fn bare_number(&mut self) -> Result<String, String> {
        let text = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
        let is_number = text.bytes().any(|b| b.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'));
        match is_number {
            true => Ok(text),
            false => Err(format!("a number was expected, not {text:?}")),
        }
    }

    fn keyword(&mut self) -> Result<Item, String> {
        match self.word().as_str() {
            "MINVALUE" => Ok(Item::Min),
            "MAXVALUE" => Ok(Item::Max),
            "NULL" => Ok(Item::Null),
            "TRUE" => Ok(Item::Value("true".to_owned())),
            "FALSE" => Ok(Item::Value("false".to_owned())),
            other => Err(format!("a value was expected, not {other:?}")),
        }
    }

    /// A string, from its first quote to its last. With `escapes`, a backslash is not itself.
    fn quoted(&mut self, escapes: bool) -> Result<String, String> {
        self.next();
        let mut value = String::new();
        loop {
            match self.next() {
                Some('\'') if self.peek() == Some('\'') => {
                    self.next();
                    value.push('\'');
                }
                Some('\'') => return Ok(value),
                Some('\\') if escapes => value.push(self.escaped()?),
                Some(c) => value.push(c),
                None => return Err("a string does not end".to_owned()),
            }
        }
    }

    /// What follows a backslash in an `E'…'` string.
    fn escaped(&mut self) -> Result<char, String> {
        let c = self.next().ok_or("a string does not end")?;
        let code = match c {
            'b' => return Ok('\u{8}'),
            'f' => return Ok('\u{c}'),
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            'x' => self.digits(16, 2),
            'u' => self.digits(16, 4),
            'U' => self.digits(16, 8),
            '0'..='7' => {
                self.at -= 1;
                self.digits(8, 3)
            }
            other => return Ok(other),
        };
        // A byte above 127 would be part of a character in the server's encoding, which is not known here.
        let readable = |code: &u32| matches!(c, 'u' | 'U') || *code < 128;
        code.filter(readable)
            .and_then(char::from_u32)
            .filter(|c| *c != '\0')
            .ok_or_else(|| format!("an escape \\{c} that is no character"))
    }

    fn digits(&mut self, radix: u32, most: usize) -> Option<u32> {
        let digits: String = self.rest().chars().take(most).take_while(|c| c.is_digit(radix)).collect();
        self.at += digits.len();
        u32::from_str_radix(&digits, radix).ok()
    }

    /// Steps over casts, `::numeric(20,0)`: the type is the key's, and known from there.
    fn cast(&mut self) -> Result<(), String> {
        self.space();
        while self.rest().starts_with("::") {
            self.at += 2;
            self.type_name()?;
        }
        Ok(())
    }

    fn type_name(&mut self) -> Result<(), String> {
        let begin = self.at;
        let mut depth = 0_u32;
        let mut in_quotes = false;
        while let Some(c) = self.peek() {
            match c {
                '"' => in_quotes = !in_quotes,
                _ if in_quotes => {}
                '(' | '[' => depth += 1,
                ')' | ']' if depth > 0 => depth -= 1,
                ')' | ',' | ':' if depth == 0 => break,
                '\'' => return Err("a type was expected, not a string".to_owned()),
                _ => {}
            }
            self.next();
        }
        match self.text[begin..self.at].trim().is_empty() || in_quotes || depth > 0 {
            true => Err("a type was expected".to_owned()),
            false => Ok(()),
        }
    }

    /// The next word, in capitals; empty if something else follows.
    fn word(&mut self) -> String {
        self.space();
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_').to_ascii_uppercase()
    }

    fn expect_word(&mut self, wanted: &str) -> Result<(), String> {
        let word = self.word();
        match word == wanted {
            true => Ok(()),
            false => Err(format!("{wanted} was expected, not {word:?}")),
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.space();
        match self.next() {
            Some(c) if c == wanted => Ok(()),
            other => Err(format!("{wanted:?} was expected, not {}", Seen(other))),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let taken: String = self.rest().chars().take_while(|c| wanted(*c)).collect();
        self.at += taken.len();
        taken
    }

    fn space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }
}

/// What was met instead, for people.
struct Seen(Option<char>);

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(c) => write!(f, "{c:?}"),
            None => f.write_str("the end"),
        }
    }
}

fn edged(item: Item) -> Result<Edge, String> {
    match item {
        Item::Min => Ok(Edge::Min),
        Item::Max => Ok(Edge::Max),
        Item::Value(value) => Ok(Edge::At(value)),
        Item::Null => Err("NULL cannot bound a range".to_owned()),
    }
}

fn listed(item: Item) -> Result<Option<String>, String> {
    match item {
        Item::Null => Ok(None),
        Item::Value(value) => Ok(Some(value)),
        Item::Min | Item::Max => Err("MINVALUE and MAXVALUE are of ranges only".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Edge {
        Edge::At(text.to_owned())
    }

    fn range(from: &[Edge], to: &[Edge]) -> Bound {
        Bound::Range { from: from.to_vec(), to: to.to_vec() }
    }

    fn in_list(values: &[Option<&str>]) -> Bound {
        Bound::List(values.iter().map(|v| v.map(str::to_owned)).collect())
    }

    #[test]
    fn what_servers_print_is_understood() {
        let rows = [
            ("DEFAULT", Bound::Default),
            ("FOR VALUES WITH (modulus 4, remainder 3)", Bound::Hash { modulus: 4, remainder: 3 }),
            (
                "FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
                range(&[at("2026-01-01")], &[at("2026-02-01")]),
            ),
            (
                "FOR VALUES FROM ('-5.00', MINVALUE) TO (1.50, MAXVALUE)",
                range(&[at("-5.00"), Edge::Min], &[at("1.50"), Edge::Max]),
            ),
            // The word as a value is not the keyword.
            ("FOR VALUES FROM (MINVALUE) TO ('MINVALUE')", range(&[Edge::Min], &[at("MINVALUE")])),
            ("FOR VALUES IN (true, NULL)", in_list(&[Some("true"), None])),
            ("FOR VALUES IN ('NULL', '', NULL)", in_list(&[Some("NULL"), Some(""), None])),
            (
                "FOR VALUES IN ('a\\b''c\n', '(1,\"a,\"\"b)\")')",
                in_list(&[Some("a\\b'c\n"), Some("(1,\"a,\"\"b)\")")]),
            ),
            ("FOR VALUES IN (E'a\\\\b\\'c\\n\\x41\\u00e9\\101')", in_list(&[Some("a\\b'c\nAéA")])),
            ("FOR VALUES IN (B'101')", in_list(&[Some("101")])),
            ("FOR VALUES IN ('{1,2}', '{}')", in_list(&[Some("{1,2}"), Some("{}")])),
            (
                "FOR VALUES IN ('x'::text, '1'::numeric(20,0), 'y'::\"od,d \"\"t)ype\"[])",
                in_list(&[Some("x"), Some("1"), Some("y")]),
            ),
            (
                "FOR VALUES FROM ('2026-01-01'::timestamp(3) without time zone) TO (1e+30)",
                range(&[at("2026-01-01")], &[at("1e+30")]),
            ),
        ];
        for (text, bound) in rows {
            assert_eq!(parse(text), Ok(bound), "{text}");
        }
    }

    #[test]
    fn what_is_no_bound_is_refused_where_it_fails() {
        let rows = [
            ("", 0),
            ("FOR VALUES", 10),
            ("FOR VALUES IN ()", 15),
            ("FOR VALUES IN ('a', 'b'", 23),
            ("FOR VALUES IN ('a)", 18),
            ("FOR VALUES IN (now())", 18),
            ("FOR VALUES IN (MINVALUE)", 24),
            ("FOR VALUES IN ('a'::)", 20),
            ("FOR VALUES IN (1x)", 17),
            ("FOR VALUES IN (E'\\x')", 19),
            ("FOR VALUES IN (é)", 15),
            ("FOR VALUES FROM (1) TO (2, 3)", 29),
            ("FOR VALUES FROM (NULL) TO (2)", 22),
            ("FOR VALUES WITH (modulus 4, remainder 4)", 40),
            ("FOR VALUES WITH (modulus 99999999999, remainder 4)", 36),
            ("DEFAULT x", 8),
        ];
        for (text, at) in rows {
            let refused = parse(text).expect_err(text);
            assert_eq!((refused.text.as_str(), refused.at), (text, at), "{refused}");
        }
    }

    fn any_edge() -> impl Strategy<Value = Edge> {
        prop_oneof![
            Just(Edge::Min),
            Just(Edge::Max),
            ".*".prop_map(Edge::At),
            "[-+'\\\\\"(),:E0-9]*".prop_map(Edge::At)
        ]
    }

    fn any_bound() -> impl Strategy<Value = Bound> {
        let edges = (1..4_usize).prop_flat_map(|n| {
            let side = || proptest::collection::vec(any_edge(), n);
            (side(), side()).prop_map(|(from, to)| Bound::Range { from, to })
        });
        let list = proptest::collection::vec(proptest::option::of(".*"), 1..5).prop_map(Bound::List);
        let hash =
            (1_u32.., any::<u32>()).prop_map(|(modulus, n)| Bound::Hash { modulus, remainder: n % modulus });
        prop_oneof![edges, list, hash, Just(Bound::Default)]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(bound in any_bound()) {
            prop_assert_eq!(parse(&sql(&bound)), Ok(bound));
        }

        #[test]
        fn nothing_makes_it_panic(text in "(FOR VALUES )?(FROM|IN|WITH)? ?\\(?[-'E\\\\:\"(),a-zé0-9 ]*\\)?") {
            if let Ok(bound) = parse(&text) {
                prop_assert_eq!(parse(&sql(&bound)), Ok(bound));
            }
        }
    }
}
