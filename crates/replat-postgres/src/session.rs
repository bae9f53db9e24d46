//! What a session has in its server besides transactions: what can be taken along to another server, and what
//! cannot.
//!
//! The server itself is asked, at the moment of the move. What a client set within functions, took back by a
//! rollback or dropped again is right in the answer; reading the client's statements would have to guess it.

use crate::sql::quote_literal;

/// The role that logs in, by the name that the server knows it by, and its verifier; no row for who may not log in.
pub const VERIFIER_QUERY: &str = "select rolpassword from pg_catalog.pg_authid where rolname = $1 and rolcanlogin \
     and (rolvaliduntil is null or rolvaliduntil > pg_catalog.now())";

/// One thing that a session has; a row of the answer to [`census_query`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// A setting that was set in the session: its name and value.
    Setting(String, String),
    /// Something that lives and dies with its server's process, in words.
    Pin(String),
}

impl Belonging {
    /// Reads a row: kind, name, value. `None` if it is none of ours.
    pub fn from_row(row: [Option<&str>; 3]) -> Option<Belonging> {
        match row {
            [Some("setting"), Some(name), Some(value)] => {
                Some(Belonging::Setting(name.to_owned(), value.to_owned()))
            }
            [Some("pin"), Some(what), _] => Some(Belonging::Pin(what.to_owned())),
            _ => None,
        }
    }
}

/// Asks a session that is in no transaction what it has. `user` logged in; `custom` are settings with names of the
/// application's own, which the server does not list.
pub fn census_query(user: &str, custom: &[String]) -> String {
    let custom: Vec<_> = custom.iter().map(|name| quote_literal(name)).collect();
    let user = quote_literal(user);
    let custom = custom.join(",");
    format!(
        "select 'setting', name, pg_catalog.current_setting(name) from pg_catalog.pg_settings \
         where source = 'session' and name not in ('role', 'session_authorization', 'seed') \
         and name not like 'transaction\\_%' \
         union all select 'setting', n, pg_catalog.current_setting(n, true) \
         from pg_catalog.unnest(array[{custom}]::pg_catalog.text[]) n \
         where pg_catalog.current_setting(n, true) is not null \
         union all select 'setting', 'role', pg_catalog.current_setting('role') \
         where pg_catalog.current_setting('role') <> 'none' \
         union all select 'pin', 'a changed session authorization', null where session_user <> {user} \
         union all select 'pin', 'temporary tables', null where exists \
         (select from pg_catalog.pg_class where relnamespace = pg_catalog.pg_my_temp_schema()) \
         union all select 'pin', 'LISTEN', null where exists (select from pg_catalog.pg_listening_channels()) \
         union all select 'pin', 'advisory locks', null where exists (select from pg_catalog.pg_locks \
         where locktype = 'advisory' and pid = pg_catalog.pg_backend_pid()) \
         union all select 'pin', 'cursors WITH HOLD', null where exists \
         (select from pg_catalog.pg_cursors where is_holdable) \
         union all select 'pin', 'statements of PREPARE', null where exists \
         (select from pg_catalog.pg_prepared_statements where from_sql)"
    )
}

/// Whether a session has set its `search_path` since it began: one boolean.
pub const PATH_QUERY: &str =
    "select source = 'session' from pg_catalog.pg_settings where name = 'search_path'";

/// Sets settings for the rest of a session; `None` if there are none. The role comes last, since it may not be
/// allowed to set the others.
pub fn settings_query(settings: &[(String, String)]) -> Option<String> {
    let (roles, others): (Vec<_>, Vec<_>) = settings.iter().partition(|(name, _)| name == "role");
    let set = |(name, value): &(String, String)| {
        format!("pg_catalog.set_config({}, {}, false)", quote_literal(name), quote_literal(value))
    };
    let all: Vec<_> = others.into_iter().chain(roles).map(set).collect();
    (!all.is_empty()).then(|| format!("select {}", all.join(", ")))
}

/// Sets settings for the rest of a session, but for those that were set in it; `None` if there are none.
pub fn defaults_query(settings: &[(String, String)]) -> Option<String> {
    let row =
        |(name, value): &(String, String)| format!("({}, {})", quote_literal(name), quote_literal(value));
    let rows: Vec<_> = settings.iter().map(row).collect();
    (!rows.is_empty()).then(|| {
        format!(
            "select pg_catalog.set_config(d.name, d.value, false) from (values {}) d (name, value) where not exists \
             (select from pg_catalog.pg_settings s where s.name = d.name and s.source = 'session')",
            rows.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_set_last_and_values_are_quoted() {
        let pairs = [("role", "a"), ("search_path", "\"it's\", public"), ("app.tenant", "\\")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            settings_query(&pairs).as_deref(),
            Some(
                "select pg_catalog.set_config('search_path', '\"it''s\", public', false), \
                 pg_catalog.set_config('app.tenant', E'\\\\', false), pg_catalog.set_config('role', 'a', false)"
            )
        );
        assert_eq!(settings_query(&[]), None);
    }
}
