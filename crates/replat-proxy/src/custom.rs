//! Settings with names of the application's own, such as `app.tenant`.
//!
//! A server does not list them, so their names are read from the statements that may set them. Too many names cost
//! a glance each when a session moves; values come from the server.

use std::collections::BTreeSet;

/// More names than this are not remembered.
const NAMES_MAX: usize = 64;

/// The names seen so far in one session.
#[derive(Debug, Default)]
pub(crate) struct CustomNames {
    names: BTreeSet<String>,
    /// Names were seen that were too many.
    pub(crate) overflown: bool,
}

impl CustomNames {
    /// Looks for `SET [SESSION|LOCAL] a.b` and `set_config('a.b'` in a statement.
    pub(crate) fn read(&mut self, sql: &str) {
        // Nearly every statement ends here.
        let mut rest = sql;
        while let Some(at) = find_set(rest) {
            rest = &rest[at + 3..];
            if let Some(name) = name_behind(rest) {
                let is_known = self.names.contains(&name);
                match self.names.len() < NAMES_MAX || is_known {
                    true => drop(self.names.insert(name)),
                    false => self.overflown = true,
                }
            }
        }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }
}

/// Where the letters `set` stand next, in any case.
fn find_set(text: &str) -> Option<usize> {
    text.as_bytes().windows(3).position(|three| three.eq_ignore_ascii_case(b"set"))
}

/// The dotted name behind `set`, if one is there.
fn name_behind(text: &str) -> Option<String> {
    if let Some(rest) = strip_word(text, "_config") {
        let rest = rest.trim_start().strip_prefix('(')?.trim_start().strip_prefix('\'')?;
        let (name, _) = rest.split_once('\'')?;
        return is_custom(name).then(|| name.to_ascii_lowercase());
    }
    let mut rest = text.strip_prefix(|c: char| c.is_whitespace())?.trim_start();
    for word in ["session", "local"] {
        if let Some(after) = strip_word(rest, word)
            && after.starts_with(char::is_whitespace)
        {
            rest = after.trim_start();
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '"')));
    let name = rest[..end.unwrap_or(rest.len())].replace('"', "");
    is_custom(&name).then(|| name.to_ascii_lowercase())
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then_some(rest)
}

fn is_custom(name: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    name.len() < 64 && name.contains('.') && name.split('.').all(part)
}

/// What a statement does to the session's choice of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `SET replat.partition = 'acme'`.
    This(String),
    /// `RESET replat.partition`, `RESET ALL`, `DISCARD ALL`: back to what was said at start-up.
    AsAtStart,
}

/// The choice that a statement makes, if it is one of those few and nothing else.
pub(crate) fn choice(sql: &str) -> Option<Choice> {
    let sql = sql.trim().trim_end_matches(';').trim_end();
    let first = sql.split(char::is_whitespace).next()?;
    let rest = sql[first.len()..].trim();
    match first {
        _ if first.eq_ignore_ascii_case("discard") && rest.eq_ignore_ascii_case("all") => {
            Some(Choice::AsAtStart)
        }
        _ if first.eq_ignore_ascii_case("reset") => {
            (rest.eq_ignore_ascii_case("all") || is_partition(rest)).then_some(Choice::AsAtStart)
        }
        _ if first.eq_ignore_ascii_case("set") => {
            let rest = strip_word(rest, "session ").unwrap_or(rest).trim_start();
            let end = rest.find(|c: char| c == '=' || c.is_whitespace())?;
            is_partition(&rest[..end]).then_some(())?;
            let rest = rest[end..].trim_start();
            let value = rest.strip_prefix('=').or_else(|| strip_word(rest, "to "))?.trim();
            match value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
                Some(quoted) => Some(Choice::This(quoted.replace("''", "'"))),
                None if value.eq_ignore_ascii_case("default") => Some(Choice::AsAtStart),
                None => is_word(value).then(|| Choice::This(value.to_owned())),
            }
        }
        _ => None,
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn is_partition(name: &str) -> bool {
    name.eq_ignore_ascii_case(PARTITION)
}

/// The setting by which a session chooses its partition.
pub(crate) const PARTITION: &str = "replat.partition";

/// The partition in the command-line options of a start-up packet: `-c replat.partition=acme`. A backslash takes the
/// next character as it is.
pub(crate) fn in_options(options: &str) -> Option<String> {
    let mut words = words(options).into_iter();
    let mut found = None;
    while let Some(word) = words.next() {
        let setting = match word.as_str() {
            "-c" => words.next(),
            _ => word.strip_prefix("-c").or_else(|| word.strip_prefix("--")).map(str::to_owned),
        };
        if let Some((name, value)) = setting.as_deref().and_then(|setting| setting.split_once('='))
            && is_partition(name)
        {
            found = Some(value.to_owned());
        }
    }
    found
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_are_set() {
        let rows: [(&str, &[&str]); 9] = [
            ("set app.tenant = '5'", &["app.tenant"]),
            ("begin; SET LOCAL App.Tenant TO 5; set session a.b to c", &["a.b", "app.tenant"]),
            (
                "select set_config('app.user', $1, false), pg_catalog.SET_CONFIG( 'x.y','',true)",
                &["app.user", "x.y"],
            ),
            ("set \"app\".\"tenant\" = 1", &["app.tenant"]),
            ("set search_path = a, b", &[]),
            ("update t set a = 1", &[]),
            ("select * from sets.t offset 3", &[]),
            ("set", &[]),
            ("sEt É.é = 1", &["É.é"]),
        ];
        for (sql, want) in rows {
            let mut names = CustomNames::default();
            names.read(sql);
            assert_eq!(names.list(), want, "{sql}");
        }
    }

    #[test]
    fn a_choice_is_read_only_if_it_is_nothing_else() {
        let this = |name: &str| Some(Choice::This(name.to_owned()));
        let rows = [
            ("SET replat.partition = 'acme'", this("acme")),
            ("set session Replat.Partition to acme ;", this("acme")),
            ("set replat.partition='it''s'", this("it's")),
            ("set replat.partition to default", Some(Choice::AsAtStart)),
            ("reset replat.partition", Some(Choice::AsAtStart)),
            ("RESET ALL", Some(Choice::AsAtStart)),
            ("discard all;", Some(Choice::AsAtStart)),
            ("discard temp", None),
            ("set local replat.partition = 'acme'", None),
            ("set replat.partitions = 'acme'", None),
            ("set replat.partition = a, b", None),
            ("select 1", None),
            ("", None),
            ("set", None),
        ];
        for (sql, want) in rows {
            assert_eq!(choice(sql), want, "{sql}");
        }
    }

    #[test]
    fn options_are_read_as_the_server_reads_them() {
        let rows = [
            ("-c replat.partition=acme", Some("acme")),
            ("-c geqo=off  --replat.partition=a\\ b", Some("a b")),
            ("-creplat.partition=a -c replat.partition=b", Some("b")),
            ("-c replat.partition", None),
            ("-c", None),
            ("", None),
        ];
        for (options, want) in rows {
            assert_eq!(in_options(options).as_deref(), want, "{options}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_statement_is_too_strange(text in ".*", with in "(?i)set .*|set_config\\('.*") {
            for sql in [text, with] {
                CustomNames::default().read(&sql);
                drop((choice(&sql), in_options(&sql)));
            }
        }
    }
}
