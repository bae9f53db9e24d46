//! Connection texts, which may hold a password: they are carried, and never shown.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::nearest::nearest;
use super::units::TEXT_KIND;

/// What stands where a password was.
pub(super) const MASK: &str = "***";

/// A connection text: a URI, a `key=value` string, or a reference to where one is kept.
///
/// It may hold a password, so `Debug`, `Display` and `Serialize` show `***` in its place; [`SecretText::expose`]
/// is the one way to the whole. A text that is none of the known forms is masked whole. What was serialised
/// therefore does not connect when it is read back.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// Where the connection parameters of a [`SecretText`] are to be found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum UrlSource<'a> {
    /// In the text itself: a URI or a `key=value` string, with its password.
    Literal(&'a str),
    /// In this variable of the environment.
    Env(&'a str),
    /// In this file; a relative path begins at the spec's directory.
    File(&'a str),
}

/// Why a text does not say how to connect. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConnection {
    /// `env:` or `file:` with nothing behind it.
    #[error("nothing follows the colon; name a variable (env:BLUE_URL) or a file (file:secrets/blue)")]
    NoName,
    /// None of the known forms.
    #[error(
        "it is neither a URI (postgres://host/db) nor key=value pairs (host=... dbname=...) nor env:NAME nor file:PATH"
    )]
    UnknownForm,
}

impl SecretText {
    /// Keeps `text`, whatever it is; [`SecretText::source`] says whether it can be used.
    pub fn new(text: impl Into<String>) -> SecretText {
        SecretText(text.into())
    }

    /// The whole text, with its password. Only for those who connect.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Where the connection parameters are.
    ///
    /// # Errors
    ///
    /// [`BadConnection`] if the text has none of the known forms. The parameters themselves are not checked.
    pub fn source(&self) -> Result<UrlSource<'_>, BadConnection> {
        let name = |name| if is_blank(name) { Err(BadConnection::NoName) } else { Ok(name) };
        if let Some(variable) = self.0.strip_prefix("env:") {
            return name(variable).map(UrlSource::Env);
        }
        if let Some(path) = self.0.strip_prefix("file:") {
            return name(path).map(UrlSource::File);
        }
        match Form::of(&self.0) {
            Form::Unknown => Err(BadConnection::UnknownForm),
            Form::Uri { .. } | Form::Pairs(_) => Ok(UrlSource::Literal(&self.0)),
        }
    }

    /// The text with `***` in place of every password.
    pub fn masked(&self) -> String {
        match self.source() {
            Ok(UrlSource::Env(_) | UrlSource::File(_)) | Err(BadConnection::NoName) => self.0.clone(),
            Ok(UrlSource::Literal(text)) => masked_literal(text),
            Err(BadConnection::UnknownForm) => MASK.to_owned(),
        }
    }
}

impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.masked())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.masked(), f)
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<SecretText, D::Error> {
        String::deserialize(d).map(SecretText)
    }
}

impl JsonSchema for SecretText {
    fn schema_name() -> Cow<'static, str> {
        "ConnectionText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "How to connect: a postgres:// URI, key=value pairs, env:NAME or file:PATH.",
            "minLength": 1,
            TEXT_KIND: "connection",
        })
    }
}

/// The text with `***` in place of every password; the text as it is if it looks like no connection at all.
pub(super) fn masked_if_connection(text: &str) -> String {
    match Form::of(text) {
        Form::Unknown if !text.contains("://") && !mentions_password(text) => text.to_owned(),
        _ => masked_literal(text),
    }
}

/// Whether the text may be pairs that are not well-formed, for instance since a quote is not closed.
fn mentions_password(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.find("pass").is_some_and(|at| lower[at..].contains('='))
}

fn masked_literal(text: &str) -> String {
    let secrets = match Form::of(text) {
        Form::Uri { after_scheme } => uri_secrets(text, after_scheme),
        Form::Pairs(pairs) => pair_secrets(text, pairs),
        Form::Unknown => return MASK.to_owned(),
    };
    without(text, secrets)
}

/// The two forms of connection text that can hold a password.
enum Form {
    Uri { after_scheme: usize },
    Pairs(Vec<Pair>),
    Unknown,
}

/// Where one `key = value` lies in the text.
struct Pair {
    key: Range<usize>,
    value: Range<usize>,
}

impl Form {
    fn of(text: &str) -> Form {
        let scheme = ["postgres://", "postgresql://"].into_iter().find(|scheme| text.starts_with(scheme));
        match (scheme, pairs(text)) {
            (Some(scheme), _) => Form::Uri { after_scheme: scheme.len() },
            (None, Some(pairs)) if !pairs.is_empty() => Form::Pairs(pairs),
            _ => Form::Unknown,
        }
    }
}

/// Everything that could be a password, rather too much than too little: passwords are pasted unescaped, so that
/// `@`, `/` and `?` may be part of them.
fn uri_secrets(text: &str, after_scheme: usize) -> Vec<Range<usize>> {
    let rest = &text[after_scheme..];
    let colon = rest.find(':').map(|at| after_scheme + at + 1);
    let user_info = match (colon, text.rfind('@')) {
        (Some(from), Some(to)) if from <= to => Some(from..to),
        (Some(from), None) => port_that_is_none(text, from),
        _ => None,
    };
    user_info.into_iter().chain(query_secrets(text)).collect()
}

/// Without an `@` a colon announces a port; what is not one is a password whose host was forgotten.
fn port_that_is_none(text: &str, from: usize) -> Option<Range<usize>> {
    let to = text[from..].find(['/', '?']).map_or(text.len(), |at| from + at);
    let port =
        |host: &str| host.rsplit(':').next().is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    (!text[from..to].split(',').all(port)).then_some(from..to)
}

/// A URL with `***` in place of whatever stands before its last `@`, and of parameters that are passwords.
pub(super) fn masked_url(text: &str) -> String {
    let login = text.find("://").map(|at| at + 3).zip(text.rfind('@')).filter(|(from, to)| from <= to);
    let login = login.map(|(from, to)| from..to);
    without(text, login.into_iter().chain(query_secrets(text)).collect())
}

fn query_secrets(text: &str) -> Vec<Range<usize>> {
    let Some(query) = text.find('?').map(|at| at + 1) else { return Vec::new() };
    let mut secrets = Vec::new();
    let mut from = query;
    for parameter in text[query..].split('&') {
        let to = from + parameter.len();
        if let Some(equals) = parameter.find('=')
            && is_secret_key(&parameter[..equals])
        {
            secrets.push(from + equals + 1..to);
        }
        from = to + 1;
    }
    secrets
}

fn pair_secrets(text: &str, pairs: Vec<Pair>) -> Vec<Range<usize>> {
    pairs.into_iter().filter(|p| is_secret_key(&text[p.key.clone()])).map(|p| p.value).collect()
}

/// A key with a percent sign may spell anything, and one that is misspelt is a password's all the same.
fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let is_like_one = key.contains("pass") || nearest(&key, ["password", "sslpassword"]).is_some();
    key.contains('%') || (is_like_one && key != "passfile")
}

fn without(text: &str, mut secrets: Vec<Range<usize>>) -> String {
    secrets.retain(|secret| !secret.is_empty());
    secrets.sort_by_key(|secret| secret.start);
    let mut shown = String::new();
    let mut at = 0;
    for secret in secrets {
        if secret.end <= at {
            continue;
        }
        if secret.start >= at {
            shown += &text[at..secret.start];
            shown += MASK;
        }
        at = secret.end;
    }
    shown + &text[at..]
}

/// The pairs of a libpq connection string (`key = value`, values in `'` if they hold spaces, `\` escapes);
/// `None` if it is not one.
fn pairs(text: &str) -> Option<Vec<Pair>> {
    let mut found = Vec::new();
    let mut at = skip_blanks(text, 0);
    while at < text.len() {
        let key_end = at + text[at..].find(|c: char| c == '=' || c.is_whitespace())?;
        let equals = skip_blanks(text, key_end);
        let is_key = text[at..key_end].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !text[equals..].starts_with('=') || key_end == at || !is_key {
            return None;
        }
        let from = skip_blanks(text, equals + 1);
        let to = value_end(text, from)?;
        found.push(Pair { key: at..key_end, value: from..to });
        at = skip_blanks(text, to);
    }
    Some(found)
}

fn skip_blanks(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start().len()
}

/// Where the value that begins at `from` ends; `None` if its quote is never closed.
fn value_end(text: &str, from: usize) -> Option<usize> {
    let quoted = text[from..].starts_with('\'');
    let mut chars = text[from..].char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\'' if quoted => return Some(from + at + 1),
            c if !quoted && c.is_whitespace() => return Some(from + at),
            _ => {}
        }
    }
    (!quoted).then_some(text.len())
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let rows = [
            ("no password", "postgres://app@h:5432/db", "postgres://app@h:5432/db"),
            ("in the user info", "postgres://app:pw@h/db", "postgres://app:***@h/db"),
            ("several hosts", "postgresql://app:pw@h1:1,h2:2/db", "postgresql://app:***@h1:1,h2:2/db"),
            ("an unescaped @ and /", "postgres://app:p@w/x@h/db", "postgres://app:***@h/db"),
            ("as a parameter", "postgres://h/db?password=p@w&x=1", "postgres://h/db?password=***&x=1"),
            ("a port before, an @ within", "postgres://u@h:5432/d?password=p@w", "postgres://u@h:***"),
            (
                "of the key",
                "postgres://h/d?sslmode=require&sslpassword=pw",
                "postgres://h/d?sslmode=require&sslpassword=***",
            ),
            (
                "misspelt",
                "postgres://h/d?pasword=pw&sslmode=require",
                "postgres://h/d?pasword=***&sslmode=require",
            ),
            ("misspelt among pairs", "host=h PASWORD=pw passfile=p", "host=h PASWORD=*** passfile=p"),
            ("spelled with percent", "postgres://h/d?pass%77ord=pw", "postgres://h/d?pass%77ord=***"),
            ("no host", "postgres://app:pw", "postgres://app:***"),
            ("no host, a path", "postgres://app:pw/db", "postgres://app:***/db"),
            ("only ports", "postgres://h1:5432,h2:5433/db", "postgres://h1:5432,h2:5433/db"),
            ("pairs", "host=h password=pw dbname=d", "host=h password=*** dbname=d"),
            (
                "pairs with blanks and quotes",
                "host = h password = 'p w' user=u",
                "host = h password = *** user=u",
            ),
            ("an escaped quote", r"password='p\'w' user=u", "password=*** user=u"),
            ("an escaped blank", r"password=p\ w user=u", "password=*** user=u"),
            ("a quote that stays open", "host=h password='pw", "***"),
            ("anything else", "hunter2", "***"),
            ("another scheme", "mysql://app:pw@h/db", "***"),
            ("a variable", "env:BLUE_URL", "env:BLUE_URL"),
            ("a file", "file:secrets/blue", "file:secrets/blue"),
        ];
        for (case, text, shown) in rows {
            let secret = SecretText::new(text);
            assert_eq!(secret.to_string(), shown, "{case}");
            assert_eq!(format!("{secret:?}"), format!("{shown:?}"), "{case}");
            assert_eq!(serde_json::to_value(&secret).expect(case), shown, "{case}");
            assert_eq!(secret.expose(), text, "{case}");
        }
    }

    #[test]
    fn a_connection_text_says_where_its_parameters_are() {
        let source = |text: &str| match SecretText::new(text).source() {
            Ok(UrlSource::Literal(text)) => format!("literal {text}"),
            Ok(UrlSource::Env(name)) => format!("env {name}"),
            Ok(UrlSource::File(path)) => format!("file {path}"),
            Err(error) => format!("{error:?}"),
        };
        let rows = [
            ("postgres://h/d", "literal postgres://h/d"),
            ("postgresql:///d", "literal postgresql:///d"),
            ("host=h", "literal host=h"),
            ("env:BLUE_URL", "env BLUE_URL"),
            ("file:secrets/blue", "file secrets/blue"),
            ("env:", "NoName"),
            ("file: ", "NoName"),
            ("", "UnknownForm"),
            ("localhost", "UnknownForm"),
            ("http://h/d", "UnknownForm"),
        ];
        for (text, want) in rows {
            assert_eq!(source(text), want, "{text:?}");
        }
    }
}
