//! A text as tokens, cut into statements, with the hints in its comments; and what is not to be parsed.

use replat_model::ids::PartitionId;
use replat_model::key::KeyValue;
use replat_model::map::Dimension;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use crate::keys::Why;

/// How deep a statement may be. Parsing, walking and dropping its tree take that much of the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many tokens may follow upon each other, in brackets within brackets, without a comma: a chain such as
    /// `a + b + c` becomes a tree as deep as it is long.
    pub(crate) chain: usize,
    /// How many joins and set operations may be linked, in brackets within brackets; commas do not separate these.
    pub(crate) links: usize,
    /// How deep the parser may go into brackets, operands and sub-queries.
    pub(crate) nesting: usize,
}
/// What a comment for us begins with.
const MARK: &str = "replat:";

/// What a comment before or after all statements of a text says: `/* replat:partition=acme */`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// `partition=NAME`.
    Partition(PartitionId),
    /// `key=VALUE`; see [`Hint::key`].
    Key(Box<str>),
    /// It begins with `replat:`, and what follows is not understood; or there are several that differ. Not to be
    /// passed over, since somebody meant something by it.
    Bad,
}

impl Hint {
    fn of(comment: &str) -> Option<Hint> {
        // Where `:name` stands for a parameter, as in pgbench and in SQLAlchemy's text(), a space keeps it from being one.
        let said = comment.trim().strip_prefix(MARK)?.trim_start();
        Some(match said.split_once('=') {
            Some(("partition", name)) => name.parse().map_or(Hint::Bad, Hint::Partition),
            Some(("key", key)) if !key.is_empty() => Hint::Key(key.into()),
            _ => Hint::Bad,
        })
    }

    /// The key that `key=..` names: one value for each dimension, separated by commas. A context with one dimension
    /// takes the whole text as its value. `None` for another hint, or if a value is not one of its dimension.
    pub fn key(&self, dimensions: &[Dimension]) -> Option<Vec<KeyValue>> {
        let Hint::Key(text) = self else { return None };
        let parts: Vec<&str> = match dimensions {
            [_] => vec![text],
            _ => text.split(',').collect(),
        };
        if parts.len() != dimensions.len() {
            return None;
        }
        let values = parts.iter().zip(dimensions);
        values.map(|(part, dimension)| crate::param::plain(dimension.key_type, part).ok()).collect()
    }
}

/// A text, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    /// The tokens of each statement, without white space, comments and semicolons.
    pub(crate) statements: Vec<Vec<Token>>,
    pub(crate) hint: Option<Hint>,
}

/// Takes `sql` apart, or says that PostgreSQL's own lexer would read it otherwise.
pub(crate) fn lex(sql: &str) -> Result<Lexed, Why> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().map_err(|_| Why::NotParsed)?;
    let mut lexed = Lexed { hint: hint(&tokens), ..Lexed::default() };
    let mut statement = Vec::new();
    let mut depth = 0usize;
    for token in tokens {
        match token {
            Token::Whitespace(_) | Token::EOF => continue,
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            Token::SemiColon if depth == 0 && !has_body(&statement) => {
                close(&mut lexed.statements, std::mem::take(&mut statement));
                continue;
            }
            _ => {}
        }
        if is_string(&token) && statement.last().is_some_and(is_string) {
            // Joined by the server if they stand on two lines, and an alias to the parser.
            return Err(Why::Unusual("two strings side by side"));
        }
        statement.push(token);
    }
    close(&mut lexed.statements, statement);
    Ok(lexed)
}

fn close(statements: &mut Vec<Vec<Token>>, statement: Vec<Token>) {
    if !statement.is_empty() {
        statements.push(statement);
    }
}

/// The body of an SQL function, `BEGIN ATOMIC .. END`, has semicolons of its own; it is not looked into.
fn has_body(statement: &[Token]) -> bool {
    let atomic = statement.iter().any(|token| is_word(token, "ATOMIC"));
    atomic && statement.first().is_some_and(|token| is_word(token, "CREATE"))
}

fn is_string(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
    )
}

/// Whether it is this unquoted word; `word` is in capitals.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

fn hint(tokens: &[Token]) -> Option<Hint> {
    let outside = |token: &&Token| matches!(token, Token::Whitespace(_) | Token::SemiColon);
    let before = tokens.iter().take_while(outside);
    let after = tokens.iter().rev().take_while(outside);
    let said = before.chain(after).filter_map(|token| match token {
        Token::Whitespace(Whitespace::MultiLineComment(comment)) => Hint::of(comment),
        _ => None,
    });
    said.fold(None, |sofar, hint| match sofar {
        Some(other) if other != hint => Some(Hint::Bad),
        _ => Some(hint),
    })
}

/// Refuses what would make too deep a tree, or too deep a recursion in the parser.
pub(crate) fn check_depth(statement: &[Token], limits: Limits) -> Result<(), Why> {
    let mut chains = Depth::new(limits.chain);
    let mut links = Depth::new(limits.links);
    for token in statement {
        match token {
            Token::LParen | Token::LBracket => {
                chains.open();
                links.open();
            }
            Token::RParen | Token::RBracket => {
                chains.close();
                links.close();
            }
            Token::Comma => chains.part(),
            token => {
                chains.step()?;
                if is_link(token) {
                    links.step()?;
                }
            }
        }
    }
    Ok(())
}

/// An upper bound of how deep the tree of a text is, as it is read.
struct Depth {
    max: usize,
    /// One for each open bracket, and one for the text itself.
    levels: Vec<Level>,
    /// Of all open levels, their chains and what is below these.
    sum: usize,
}

#[derive(Clone, Copy, Default)]
struct Level {
    /// Steps in the present part.
    chain: usize,
    /// The deepest bracket in the present part that is closed again; the chain may lie above it.
    below: usize,
    /// The deepest part that is over.
    deepest: usize,
}

impl Depth {
    fn new(max: usize) -> Depth {
        Depth { max, levels: vec![Level::default()], sum: 0 }
    }

    fn top(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the text's own level is never closed")
    }

    fn open(&mut self) {
        self.levels.push(Level::default());
    }

    fn close(&mut self) {
        if self.levels.len() == 1 {
            return;
        }
        self.part();
        let deepest = self.top().deepest;
        self.levels.pop();
        let top = self.top();
        let more = deepest.saturating_sub(top.below);
        top.below += more;
        self.sum += more;
    }

    /// A comma: what follows lies beside what was.
    fn part(&mut self) {
        let top = self.top();
        let depth = top.chain + top.below;
        *top = Level { chain: 0, below: 0, deepest: top.deepest.max(depth) };
        self.sum -= depth;
    }

    fn step(&mut self) -> Result<(), Why> {
        self.top().chain += 1;
        self.sum += 1;
        if self.sum > self.max { Err(Why::TooDeep) } else { Ok(()) }
    }
}

fn is_link(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::JOIN | Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS
        ),
        _ => false,
    }
}
