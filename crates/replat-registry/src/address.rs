//! Which registry: a URL.
//!
//! | URL | registry |
//! |---|---|
//! | `file:PATH` | a SQLite file |
//! | `postgres://…`, `postgresql://…` | a PostgreSQL database, by libpq's rules |
//! | `etcd://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…][/PREFIX]` | etcd; `etcds://` under TLS |
//! | `consul://[:TOKEN@]HOST:PORT[,…][/PREFIX]` | Consul; `consuls://` under TLS |
//! | `redis://[USER:PASSWORD@]HOST:PORT[,…][/DB][/PREFIX]` | Redis; `rediss://` under TLS |
//!
//! Under TLS, `?ca=FILE` names who may vouch for the server (else the system's authorities), and `cert=FILE` and
//! `key=FILE` are ours. The prefix is `replat` unless it is given. Credentials that are not in the URL come from
//! `ETCDCTL_USER` (`USER:PASSWORD`), `CONSUL_HTTP_TOKEN` and `REDISCLI_AUTH`.

use std::fmt;
use std::path::PathBuf;

/// Where a registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A SQLite file.
    File(PathBuf),
    /// A PostgreSQL database, by a connection string as libpq takes it.
    Postgres(Hidden),
    /// etcd.
    Etcd(Net),
    /// Consul.
    Consul(Net),
    /// Redis.
    Redis(Net),
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Hidden {
        Hidden(text.into())
    }

    /// The text itself, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A server on the network, and where on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// The places to try, in turn; at least one.
    pub hosts: Vec<Host>,
    /// What all keys begin with; without slashes at its ends, and never empty.
    pub prefix: String,
    /// The number of the database; Redis alone has some.
    pub database: u32,
    /// Who logs in.
    pub user: Option<String>,
    /// The password or the token.
    pub secret: Option<Hidden>,
    /// Encryption, if it is wanted.
    pub tls: Option<TlsFiles>,
}

/// One place on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or an address.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// The files of TLS, in PEM form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who may vouch for the server; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Why a URL names no registry. It is not repeated: there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// None of the known schemes.
    #[error("a registry's URL begins with file:, postgres://, etcd://, consul:// or redis://")]
    Scheme,
    /// `file:` and nothing behind it.
    #[error("no path follows file:")]
    NoPath,
    /// No host, or one that is empty.
    #[error("the URL names no host")]
    NoHost,
    /// A port that is none.
    #[error("the port of {host:?} is not a number from 1 to 65535")]
    Port {
        /// Of which host.
        host: String,
    },
    /// A percent sign without two digits, or bytes that are no text.
    #[error("what stands before the @ is not percent-encoded as a URL's")]
    Encoding,
    /// A parameter that means nothing here.
    #[error("the URL's parameter {0:?} is not known here; there are ca, cert and key, under TLS")]
    Parameter(String),
    /// Characters that not all servers take.
    #[error("the prefix {0:?} may only have letters, digits, '-', '_', '.' and '/' between them")]
    Prefix(String),
}

/// Reads a variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Address {
    /// What `url` means. Pure but for what `variable` does.
    ///
    /// # Errors
    ///
    /// [`BadAddress`].
    pub fn parse(url: &str, variable: Variable<'_>) -> Result<Address, BadAddress> {
        let (scheme, rest) = url.split_once(':').ok_or(BadAddress::Scheme)?;
        let net = |port, tls: bool| net(rest.strip_prefix("//").ok_or(BadAddress::NoHost)?, port, tls);
        match scheme {
            "file" if rest.is_empty() => Err(BadAddress::NoPath),
            "file" => Ok(Address::File(rest.into())),
            "postgres" | "postgresql" => Ok(Address::Postgres(Hidden::new(url))),
            "etcd" | "etcds" => {
                let mut net = net(2379, scheme == "etcds")?;
                if let (None, Some(pair)) = (&net.secret, variable("ETCDCTL_USER")) {
                    let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
                    (net.user, net.secret) = (Some(user.to_owned()), Some(Hidden::new(password)));
                }
                prefix_alone(net).map(Address::Etcd)
            }
            "consul" | "consuls" => {
                let mut net = net(8500, scheme == "consuls")?;
                net.secret = net.secret.or_else(|| variable("CONSUL_HTTP_TOKEN").map(Hidden::new));
                prefix_alone(net).map(Address::Consul)
            }
            "redis" | "rediss" => {
                let mut net = net(6379, scheme == "rediss")?;
                net.secret = net.secret.or_else(|| variable("REDISCLI_AUTH").map(Hidden::new));
                let (first, rest) = net.prefix.split_once('/').unwrap_or((&net.prefix, ""));
                if let Ok(database) = first.parse() {
                    (net.database, net.prefix) = (database, rest.to_owned());
                }
                prefix_alone(net).map(Address::Redis)
            }
            _ => Err(BadAddress::Scheme),
        }
    }
}

fn net(rest: &str, port: u16, tls: bool) -> Result<Net, BadAddress> {
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let (user, secret) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (None, None),
        Some((user, secret)) => (Some(decoded(user)?), Some(decoded(secret)?)),
    };
    let hosts: Result<Vec<Host>, BadAddress> = hosts.split(',').map(|text| host(text, port)).collect();
    let mut files = tls.then(TlsFiles::default);
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = Some(PathBuf::from(decoded(value)?));
        match (name, &mut files) {
            ("ca", Some(files)) => files.ca = value,
            ("cert", Some(files)) => files.cert = value,
            ("key", Some(files)) => files.key = value,
            _ => return Err(BadAddress::Parameter(name.to_owned())),
        }
    }
    Ok(Net {
        hosts: hosts?,
        prefix: path.trim_matches('/').to_owned(),
        database: 0,
        user: user.filter(|user| !user.is_empty()),
        secret: secret.filter(|secret| !secret.is_empty()).map(Hidden::new),
        tls: files,
    })
}

fn host(text: &str, port: u16) -> Result<Host, BadAddress> {
    let bad = || BadAddress::Port { host: text.to_owned() };
    let (name, given) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix(':').ok_or_else(bad)?)),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    if name.is_empty() {
        return Err(BadAddress::NoHost);
    }
    let port = match given {
        None => port,
        Some(given) => given.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
    };
    Ok(Host { name: name.to_owned(), port })
}

/// Checks the prefix, or chooses one.
fn prefix_alone(mut net: Net) -> Result<Net, BadAddress> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if net.prefix.is_empty() {
        net.prefix = "replat".to_owned();
    }
    if net.prefix.split('/').any(|part| part.is_empty() || !part.chars().all(legal)) {
        return Err(BadAddress::Prefix(net.prefix));
    }
    Ok(net)
}

fn decoded(text: &str) -> Result<String, BadAddress> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|c| char::from(*c).to_digit(16));
        let (high, low) = (digit().ok_or(BadAddress::Encoding)?, digit().ok_or(BadAddress::Encoding)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| BadAddress::Encoding)?);
    }
    String::from_utf8(bytes).map_err(|_| BadAddress::Encoding)
}

#[cfg(any(test, feature = "net"))]
impl Net {
    /// The hosts and the prefix, for people.
    pub(crate) fn shown(&self, scheme: &str) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        let scheme = if self.tls.is_some() { format!("{scheme}s") } else { scheme.to_owned() };
        let database = if self.database == 0 { String::new() } else { format!("{}/", self.database) };
        format!("{scheme}://{}/{database}{}", hosts.join(","), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(url: &str) -> Result<Address, BadAddress> {
        Address::parse(url, &|_| None)
    }

    fn shown(url: &str) -> String {
        match parse(url).unwrap_or_else(|error| panic!("{url}: {error}")) {
            Address::File(path) => format!("file {}", path.display()),
            Address::Postgres(_) => "postgres".into(),
            Address::Etcd(net) => net.shown("etcd"),
            Address::Consul(net) => net.shown("consul"),
            Address::Redis(net) => net.shown("redis"),
        }
    }

    #[test]
    fn each_form_is_understood() {
        let cases = [
            ("file:.replat/registry.db", "file .replat/registry.db"),
            ("file:/var/lib/replat/r.db", "file /var/lib/replat/r.db"),
            ("postgres://app:secret@db/shop", "postgres"),
            ("etcd://a,b:4001,[::1]:99/shop/live", "etcd://a:2379,b:4001,[::1]:99/shop/live"),
            ("etcds://me:p%40ss@a", "etcds://a:2379/replat"),
            ("consul://:token@c", "consul://c:8500/replat"),
            ("redis://r/3", "redis://r:6379/3/replat"),
            ("redis://r/3/shop", "redis://r:6379/3/shop"),
            ("redis://r:1/shop", "redis://r:1/shop"),
            ("rediss://r?ca=/etc/ca.pem", "rediss://r:6379/replat"),
        ];
        for (url, want) in cases {
            assert_eq!(shown(url), want, "{url}");
        }
    }

    #[test]
    fn what_names_no_registry_is_refused_without_its_password() {
        let cases = [
            "",
            "registry",
            "file:",
            "http://a",
            "etcd:a",
            "etcd://",
            "etcd://a,,b",
            "etcd://a:0",
            "etcd://a:x",
            "etcd://me:hidden%zz@a",
            "etcd://me:hidden@a?ca=x",
            "etcds://me:hidden@a?pin=x",
            "etcd://me:hidden@a/sh%op",
            "etcd://me:hidden@a/a//b",
            "redis://:hidden@",
            "etcd://[::1]x",
        ];
        for url in cases {
            let error = parse(url).expect_err(url).to_string();
            assert!(!error.contains("hidden"), "{url}: {error}");
        }
    }

    #[test]
    fn credentials_come_from_the_url_or_else_the_environment_and_are_not_shown() {
        let variable = |name: &str| {
            Some(match name {
                "ETCDCTL_USER" => "root:fromenv".to_owned(),
                _ => "fromenv".to_owned(),
            })
        };
        for (url, want) in [
            ("etcd://a", "fromenv"),
            ("consul://a", "fromenv"),
            ("redis://a", "fromenv"),
            ("etcd://u:from%20url@a", "from url"),
            ("consul://:fromurl@a", "fromurl"),
            ("redis://:fromurl@a", "fromurl"),
        ] {
            let address = Address::parse(url, &variable).expect(url);
            let (Address::Etcd(net) | Address::Consul(net) | Address::Redis(net)) = &address else {
                panic!("{url} is on the network")
            };
            assert_eq!(net.secret.as_ref().map(Hidden::expose), Some(want), "{url}");
            assert!(!format!("{address:?}").contains(want), "{address:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(url in "(etcd|redis|consuls)://[ -~]{0,40}") {
            drop(parse(&url));
        }
    }
}
