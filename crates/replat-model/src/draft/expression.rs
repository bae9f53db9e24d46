//! What an expression of a spec looks at, and why it may not be used.
//!
//! An expression is evaluated three times for a row, on two servers and at different moments: in the copy, in the
//! stream and in the comparison. So it must be deterministic and look at one row only. The words that are refused
//! here catch the mistakes; the server, asked to prepare it, catches what is not SQL.

use std::collections::BTreeSet;

use super::tokens::{Token, tokens};
use crate::facts::TableFacts;

/// Functions and keywords whose value depends on more than the row, or that make several rows or values.
const REFUSED_CALLS: &[&str] = &[
    "age",
    "clock_timestamp",
    "currval",
    "current_database",
    "current_schemas",
    "current_setting",
    "gen_random_bytes",
    "gen_random_uuid",
    "inet_client_addr",
    "inet_server_addr",
    "lastval",
    "nextval",
    "now",
    "pg_backend_pid",
    "pg_current_snapshot",
    "pg_current_xact_id",
    "pg_sleep",
    "random",
    "random_normal",
    "set_config",
    "setval",
    "statement_timestamp",
    "timeofday",
    "transaction_timestamp",
    "txid_current",
    "txid_current_snapshot",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
    "version",
];
const REFUSED_AGGREGATES: &[&str] = &[
    "any_value",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "count",
    "cume_dist",
    "dense_rank",
    "every",
    "first_value",
    "generate_series",
    "generate_subscripts",
    "json_agg",
    "json_array_elements",
    "json_each",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_array_elements",
    "jsonb_each",
    "jsonb_object_agg",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "ntile",
    "rank",
    "regexp_matches",
    "regexp_split_to_table",
    "row_number",
    "stddev",
    "string_agg",
    "string_to_table",
    "sum",
    "unnest",
    "variance",
];
const REFUSED_WORDS: &[&str] = &[
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "over",
    "select",
    "session_user",
    "system_user",
    "table",
    "user",
];
/// Literals that the server reads as a moment of its own clock.
const MOMENTS: &[&str] = &["now", "today", "tomorrow", "yesterday"];
/// Words after which a literal is read as a moment: `date 'today'`, `timestamp with time zone 'now'`.
const MOMENT_TYPES: &[&str] = &["date", "time", "timestamp", "timestamptz", "timetz", "zone"];

/// Why `expression`, over rows of `source`, may not be used; `None` if nothing speaks against it.
pub fn refusal(expression: &str, source: &TableFacts) -> Option<String> {
    let tokens = tokens(expression);
    if tokens.is_empty() {
        return Some("it is empty".into());
    }
    if !is_balanced(&tokens) {
        return Some("its parentheses are not balanced".into());
    }
    (0..tokens.len()).find_map(|at| refused_at(&tokens, at, source))
}

fn refused_at(tokens: &[Token], at: usize, source: &TableFacts) -> Option<String> {
    match &tokens[at] {
        Token::Broken => Some("a quote in it is not closed, or it has a U&\"…\" name".into()),
        Token::Comment => Some("it has a comment, which could hide the text around it".into()),
        Token::Parameter => Some("it has a parameter, and there is nothing to put in its place".into()),
        Token::Symbol(';') => Some("it has a semicolon; it must be one expression".into()),
        Token::Literal(text) if is_moment(text) && is_read_as_moment(tokens, at) => {
            Some(format!("'{text}' is another moment each time it is looked at"))
        }
        token => refused_name(token, tokens.get(at + 1) == Some(&Token::Symbol('(')), source),
    }
}

fn refused_name(token: &Token, is_call: bool, source: &TableFacts) -> Option<String> {
    let name = token.name()?;
    if is_call && REFUSED_AGGREGATES.contains(&name) {
        return Some(format!("{name}() looks at more than one row, or makes more than one"));
    }
    if is_call && REFUSED_CALLS.contains(&name) {
        return Some(format!("{name}() gives another answer on another server or at another time"));
    }
    let is_plain_word = matches!(token, Token::Word(_)) && REFUSED_WORDS.contains(&name);
    // OVER is no reserved word: a column may be called that, and is then no window.
    let is_column = name == "over" && !is_call && source.column(name).is_some();
    (is_plain_word && !is_column).then(|| match name {
        "select" | "table" => "it has a sub-select; it must look at one row only".into(),
        "over" => "it has a window; it must look at one row only".into(),
        _ => format!("{} gives another answer on another server or at another time", name.to_uppercase()),
    })
}

fn is_moment(text: &str) -> bool {
    let text = text.trim();
    MOMENTS.iter().any(|moment| text.eq_ignore_ascii_case(moment))
}

fn is_read_as_moment(tokens: &[Token], at: usize) -> bool {
    let next = tokens.get(at + 1);
    let before = at.checked_sub(1).map(|before| &tokens[before]);
    next == Some(&Token::Cast)
        || next.is_some_and(|token| token.is_word("as"))
        || before.and_then(Token::name).is_some_and(|name| MOMENT_TYPES.contains(&name))
}

fn is_balanced(tokens: &[Token]) -> bool {
    let mut open = Vec::new();
    tokens.iter().all(|token| match token {
        Token::Symbol('(') => {
            open.push(')');
            true
        }
        Token::Symbol('[') => {
            open.push(']');
            true
        }
        Token::Symbol(c @ (')' | ']')) => open.pop() == Some(*c),
        _ => true,
    }) && open.is_empty()
}

/// The columns of `source` that `expression` may look at, in the table's order. A generated column brings those
/// that it is made of with it, since they are what a change in the log carries.
///
/// Too many rather than too few: a function or a type with the name of a column counts as the column.
pub fn depends(expression: &str, source: &TableFacts) -> Vec<String> {
    let mut found: BTreeSet<i32> = BTreeSet::new();
    let mut texts = vec![expression];
    while let Some(text) = texts.pop() {
        for token in tokens(text) {
            let Some(column) = token.name().and_then(|name| source.column(name)) else { continue };
            if found.insert(column.number) {
                texts.extend(column.generated.as_deref());
            }
        }
    }
    source.columns.iter().filter(|c| found.contains(&c.number)).map(|c| c.name.clone()).collect()
}

/// The column of `source` that `expression` is, and nothing else.
pub fn plain_column<'a>(expression: &str, source: &'a TableFacts) -> Option<&'a str> {
    match tokens(expression).as_slice() {
        [token] => source.column(token.name()?).map(|column| column.name.as_str()),
        _ => None,
    }
}

/// A name as an expression that means exactly it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
