//! SQL text as tokens: as much of PostgreSQL's lexical rules as it takes to find names and ends of statements.
//!
//! It assumes `standard_conforming_strings = on`, the server's default since 9.1. It reads any text without
//! panicking; whether the text means something is for the server to say.

/// A piece of SQL text. Blanks and comments are not tokens, except that [`Token::Comment`] says where one was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// An unquoted word, folded to lower case as the server does (ASCII only): a keyword or a name.
    Word(String),
    /// A quoted name, exact.
    Quoted(String),
    /// A string literal's content, before escapes are resolved.
    Literal(String),
    /// A number.
    Number(String),
    /// `$1`.
    Parameter,
    /// `::`.
    Cast,
    /// Any other character.
    Symbol(char),
    /// A comment.
    Comment,
    /// A string, a quoted name or a comment that does not end, or a spelling that is not understood
    /// (`U&"…"` names). Always the last token.
    Broken,
}

impl Token {
    /// The name that this token can stand for.
    pub fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            _ => None,
        }
    }

    /// Whether this is the unquoted word `word`, given in lower case.
    pub fn is_word(&self, word: &str) -> bool {
        matches!(self, Token::Word(w) if w == word)
    }
}

/// The tokens of `text`, in order.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text };
    let mut found = Vec::new();
    while let Some(token) = lexer.next() {
        let broken = token == Token::Broken;
        found.push(token);
        if broken {
            break;
        }
    }
    found
}

/// `text` without the lines `\\restrict …` and `\\unrestrict …` that pg_dump puts around what it writes. They tell psql to
/// take no other command of its own, have another word each time, and say nothing about the schema. The lines stay, empty.
pub fn without_restrictions(text: &str) -> String {
    let mut lexer = Lexer { rest: text };
    let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
    while let Some(token) = lexer.next() {
        let end = text.len() - lexer.rest.len();
        let command = lexer.rest.split(|c: char| !c.is_ascii_alphanumeric()).next();
        match token {
            Token::Broken => break,
            Token::Symbol('\\') if matches!(command, Some("restrict" | "unrestrict")) => {
                let start = end - 1;
                let line = text[..start].rfind('\n').map_or(0, |at| at + 1);
                if text[line..start].trim().is_empty() {
                    kept += &text[from..start];
                    lexer.take_while(|c| c != '\n');
                    from = text.len() - lexer.rest.len();
                }
            }
            _ => {}
        }
    }
    kept + &text[from..]
}

/// The longest name that the server keeps, in bytes; it cuts longer ones.
const NAME_BYTES_MAX: usize = 63;

struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Option<Token> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        let first = self.rest.chars().next()?;
        let token = match first {
            '-' if self.rest.starts_with("--") => {
                self.take_while(|c| c != '\n');
                Some(Token::Comment)
            }
            '/' if self.rest.starts_with("/*") => self.block_comment(),
            '\'' => self.string(false),
            '"' => self.quoted_name(),
            '$' => self.dollar(),
            ':' if self.rest.starts_with("::") => {
                self.skip(2);
                Some(Token::Cast)
            }
            c if c.is_ascii_digit() => Some(Token::Number(self.number().to_owned())),
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                Some(Token::Number(self.number().to_owned()))
            }
            c if starts_name(c) => self.word(),
            c => {
                self.skip(c.len_utf8());
                Some(Token::Symbol(c))
            }
        };
        Some(token.unwrap_or(Token::Broken))
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// A number, with what may follow it without a blank: `1e5`, `0xFF`, `1_000`.
    fn number(&mut self) -> &'a str {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_')
    }

    /// A word, or the letter that begins a special string: `E'…'`, `B'…'`, `X'…'`, `N'…'`, `U&'…'`.
    fn word(&mut self) -> Option<Token> {
        let special = self.rest.as_bytes()[0].to_ascii_lowercase();
        let follows = |prefix: usize, quote: char| self.rest[prefix..].starts_with(quote);
        match special {
            b'e' if follows(1, '\'') => {
                self.skip(1);
                return self.string(true);
            }
            b'b' | b'x' | b'n' if follows(1, '\'') => {
                self.skip(1);
                return self.string(false);
            }
            b'u' if self.rest[1..].starts_with("&'") => {
                self.skip(2);
                return self.string(false);
            }
            // Which name a Unicode escape stands for is not worked out here.
            b'u' if self.rest[1..].starts_with("&\"") => return None,
            _ => {}
        }
        let word = self.take_while(continues_name);
        Some(Token::Word(cut(word).to_ascii_lowercase()))
    }

    fn quoted_name(&mut self) -> Option<Token> {
        let name = self.until_quote('"', false)?;
        Some(Token::Quoted(cut(&name.replace("\"\"", "\"")).to_owned()))
    }

    fn string(&mut self, backslashes: bool) -> Option<Token> {
        let content = self.until_quote('\'', backslashes)?;
        Some(Token::Literal(content.replace("''", "'")))
    }

    /// What stands between a pair of quotes; a doubled quote does not end it.
    fn until_quote(&mut self, quote: char, backslashes: bool) -> Option<&'a str> {
        let text = &self.rest[1..];
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == '\\' && backslashes {
                chars.next();
            } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
                self.rest = &text[at + 1..];
                return Some(&text[..at]);
            }
        }
        None
    }

    /// `$1`, `$$…$$`, `$tag$…$tag$`, or a lone dollar sign.
    fn dollar(&mut self) -> Option<Token> {
        let after = &self.rest[1..];
        if after.starts_with(|c: char| c.is_ascii_digit()) {
            self.skip(1);
            self.take_while(|c| c.is_ascii_digit());
            return Some(Token::Parameter);
        }
        let tag_end = after.find(|c| !(continues_name(c) && c != '$')).unwrap_or(after.len());
        if !after[tag_end..].starts_with('$') {
            self.skip(1);
            return Some(Token::Symbol('$'));
        }
        let (tag, body) = self.rest.split_at(tag_end + 2);
        let end = body.find(tag)?;
        self.rest = &body[end + tag.len()..];
        Some(Token::Literal(body[..end].to_owned()))
    }

    /// Block comments nest.
    fn block_comment(&mut self) -> Option<Token> {
        let mut depth = 0_usize;
        loop {
            let at = self.rest.find(['/', '*'])?;
            self.skip(at);
            if self.rest.starts_with("/*") {
                depth += 1;
                self.skip(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return Some(Token::Comment);
                }
            } else {
                self.skip(1);
            }
        }
    }
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn continues_name(c: char) -> bool {
    starts_name(c) || c.is_ascii_digit() || c == '$'
}

fn cut(name: &str) -> &str {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::Token::*;
    use super::*;

    #[test]
    fn names_are_told_from_everything_that_looks_like_one() {
        let word = |w: &str| Word(w.into());
        let rows: [(&str, Vec<Token>); 16] = [
            ("Full_Name", vec![word("full_name")]),
            ("a$b ä", vec![word("a$b"), word("ä")]),
            ("\"Full \"\"Name\"\"\"", vec![Quoted("Full \"Name\"".into())]),
            ("'it''s note'", vec![Literal("it's note".into())]),
            (r"E'a\' b' c", vec![Literal(r"a\' b".into()), word("c")]),
            (r"'a\' b", vec![Literal(r"a\".into()), word("b")]),
            ("$$ a $$ b", vec![Literal(" a ".into()), word("b")]),
            ("$x$ $$ $x$", vec![Literal(" $$ ".into())]),
            ("1e5 .5 2.5", vec![Number("1e5".into()), Number(".5".into()), Number("2.5".into())]),
            ("a::text", vec![word("a"), Cast, word("text")]),
            ("a --b\n c", vec![word("a"), Comment, word("c")]),
            ("/* a /* b */ c */ d", vec![Comment, word("d")]),
            ("$1+b", vec![Parameter, Symbol('+'), word("b")]),
            ("'open", vec![Broken]),
            ("U&\"d\\0061t\" x", vec![Broken]),
            ("X'1F' e", vec![Literal("1F".into()), word("e")]),
        ];
        for (text, want) in rows {
            assert_eq!(tokens(text), want, "{text}");
        }
    }

    #[test]
    fn what_pg_dump_tells_psql_is_left_out_and_nothing_else() {
        let rows = [
            ("\\restrict aZ09\ncreate table t ();\n\\unrestrict aZ09\n", "\ncreate table t ();\n\n"),
            ("-- a\n\n  \\restrict it's\nselect 1", "-- a\n\n  \nselect 1"),
            ("\\restrict", ""),
            ("\\connect other", "\\connect other"),
            ("\\restricted a", "\\restricted a"),
            ("select 1 \\restrict a", "select 1 \\restrict a"),
            ("select $$\n\\restrict a\n$$", "select $$\n\\restrict a\n$$"),
            ("/*\n\\restrict a\n*/ '\n\\unrestrict a'", "/*\n\\restrict a\n*/ '\n\\unrestrict a'"),
            ("\\restrict a\nselect 'open", "\nselect 'open"),
        ];
        for (text, want) in rows {
            assert_eq!(without_restrictions(text), want, "{text}");
        }
    }

    #[test]
    fn a_name_is_cut_where_the_server_cuts_it() {
        let long = "é".repeat(40);
        assert_eq!(tokens(&long), [Word("é".repeat(31))]);
    }
}
