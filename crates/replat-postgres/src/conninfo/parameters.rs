//! The parameters of a connection string: which there are, and what becomes of each.

use std::collections::BTreeMap;

use super::{ConnInfoError, Environment, Source};

/// What becomes of a parameter.
enum Support {
    /// It is obeyed.
    Obeyed,
    /// It is accepted with these values (in any case), which change nothing here, and refused with others.
    Only(&'static [&'static str]),
}

struct Parameter {
    name: &'static str,
    /// The environment variable that libpq reads for it.
    variable: Option<&'static str>,
    support: Support,
}

const fn obeyed(name: &'static str, variable: &'static str) -> Parameter {
    Parameter { name, variable: Some(variable), support: Support::Obeyed }
}

const fn written(name: &'static str) -> Parameter {
    Parameter { name, variable: None, support: Support::Obeyed }
}

const fn only(name: &'static str, variable: &'static str, values: &'static [&'static str]) -> Parameter {
    Parameter { name, variable: Some(variable), support: Support::Only(values) }
}

const fn written_only(name: &'static str, values: &'static [&'static str]) -> Parameter {
    Parameter { name, variable: None, support: Support::Only(values) }
}

const PARAMETERS: [Parameter; 43] = [
    obeyed("service", "PGSERVICE"),
    obeyed("host", "PGHOST"),
    obeyed("hostaddr", "PGHOSTADDR"),
    obeyed("port", "PGPORT"),
    obeyed("dbname", "PGDATABASE"),
    obeyed("user", "PGUSER"),
    obeyed("password", "PGPASSWORD"),
    obeyed("passfile", "PGPASSFILE"),
    obeyed("sslmode", "PGSSLMODE"),
    obeyed("sslrootcert", "PGSSLROOTCERT"),
    obeyed("sslcert", "PGSSLCERT"),
    obeyed("sslkey", "PGSSLKEY"),
    obeyed("channel_binding", "PGCHANNELBINDING"),
    obeyed("target_session_attrs", "PGTARGETSESSIONATTRS"),
    obeyed("connect_timeout", "PGCONNECT_TIMEOUT"),
    obeyed("options", "PGOPTIONS"),
    obeyed("application_name", "PGAPPNAME"),
    written("fallback_application_name"),
    written("keepalives"),
    written("keepalives_idle"),
    written("keepalives_interval"),
    written("keepalives_count"),
    written("tcp_user_timeout"),
    // Sessions always speak UTF-8; the variable is about psql's terminal.
    written_only("client_encoding", &["UTF8", "UTF-8", "unicode", "auto"]),
    // A replication connection is made where one is needed, not because a string asks for it.
    written_only("replication", &["false", "off", "no", "0"]),
    only("gssencmode", "PGGSSENCMODE", &["disable", "prefer"]),
    only("krbsrvname", "PGKRBSRVNAME", &["postgres"]),
    only("gsslib", "PGGSSLIB", &[]),
    only("gssdelegation", "PGGSSDELEGATION", &["0"]),
    only("sslnegotiation", "PGSSLNEGOTIATION", &["postgres"]),
    only("sslcompression", "PGSSLCOMPRESSION", &["0"]),
    only("sslcertmode", "PGSSLCERTMODE", &["allow"]),
    written_only("sslpassword", &[]),
    only("sslcrl", "PGSSLCRL", &[]),
    only("sslcrldir", "PGSSLCRLDIR", &[]),
    only("sslsni", "PGSSLSNI", &["1"]),
    only("requirepeer", "PGREQUIREPEER", &[]),
    only("require_auth", "PGREQUIREAUTH", &[]),
    // TLS 1.2 and 1.3 are all there is.
    only("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    only("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION", &["TLSv1.3"]),
    only("min_protocol_version", "PGMINPROTOCOLVERSION", &["3.0"]),
    only("max_protocol_version", "PGMAXPROTOCOLVERSION", &["3.0", "latest"]),
    only("load_balance_hosts", "PGLOADBALANCEHOSTS", &["disable"]),
];

/// A parameter's value and where it came from.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) source: Source,
}

/// The parameters that were set, by name. What is set first stays.
#[derive(Default)]
pub(super) struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// Adds what one source says; of two equal names in the source, the later wins, as in libpq.
    pub(super) fn add(&mut self, pairs: Vec<(String, String)>, source: Source) -> Result<(), ConnInfoError> {
        let mut fresh = BTreeMap::new();
        for (name, value) in pairs {
            let parameter = find(&name, source)?;
            check_support(parameter, &value, source)?;
            fresh.insert(parameter.name, Setting { value, source });
        }
        for (name, setting) in fresh {
            self.0.entry(name).or_insert(setting);
        }
        Ok(())
    }

    /// Adds what the `PG*` variables say.
    pub(super) fn add_environment(&mut self, environment: &Environment) -> Result<(), ConnInfoError> {
        let said = PARAMETERS.iter().filter_map(|parameter| {
            let value = environment.var(parameter.variable?)?;
            Some((parameter.name.to_owned(), value.to_owned()))
        });
        self.add(said.collect(), Source::Environment)
    }

    /// The value and its source; an empty value counts as none, but keeps weaker sources out.
    pub(super) fn get(&self, name: &'static str) -> Option<&Setting> {
        debug_assert!(PARAMETERS.iter().any(|parameter| parameter.name == name), "{name} is in the table");
        self.0.get(name).filter(|setting| !setting.value.is_empty())
    }

    /// The value alone.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.get(name).map(|setting| setting.value.as_str())
    }

    /// Reads a value by `read`; `None` from it means that the value is not `expected`.
    pub(super) fn read<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConnInfoError> {
        let Some(setting) = self.get(name) else { return Ok(None) };
        let bad = ConnInfoError::BadValue { source_name: setting.source, name, expected };
        read(setting.value.trim()).map(Some).ok_or(bad)
    }
}

fn find(name: &str, source_name: Source) -> Result<&'static Parameter, ConnInfoError> {
    let unknown = || ConnInfoError::Unknown { source_name, name: name.to_owned(), nearest: nearest(name) };
    PARAMETERS.iter().find(|parameter| parameter.name == name).ok_or_else(unknown)
}

fn check_support(parameter: &Parameter, value: &str, source_name: Source) -> Result<(), ConnInfoError> {
    match parameter.support {
        Support::Obeyed => Ok(()),
        Support::Only(_) if value.is_empty() => Ok(()),
        Support::Only(accepted) if accepted.iter().any(|word| word.eq_ignore_ascii_case(value)) => Ok(()),
        Support::Only(accepted) => {
            Err(ConnInfoError::Unsupported { source_name, name: parameter.name, accepted })
        }
    }
}

/// The parameter that `name` most likely was meant to be, if it is near enough.
fn nearest(name: &str) -> Option<&'static str> {
    // Names from other tools, which no spelling distance would find.
    let alias = match name {
        "database" | "db" => Some("dbname"),
        "username" => Some("user"),
        "hostname" | "server" => Some("host"),
        "pass" => Some("password"),
        _ => None,
    };
    let spelled = || {
        let distances =
            PARAMETERS.iter().map(|parameter| (edit_distance(name, parameter.name), parameter.name));
        distances.min().filter(|(distance, _)| *distance <= 1 + name.len() / 4).map(|(_, name)| name)
    };
    alias.or_else(spelled)
}

/// How many letters must be put in, taken out or changed to make `b` of `a`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
