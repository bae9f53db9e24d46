//! Where routes are published.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::secret::{MASK, masked_url};
use super::units::TEXT_KIND;

/// The registry: where routes are published, and where routers, proxies and deployments meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistrySpec {
    /// Which one: file:PATH, postgres://, etcd://, consul:// or redis:// (etcds://, consuls:// and rediss:// under
    /// TLS), or env:NAME for a variable that holds one of them.
    pub url: RegistryUrl,
    /// The project's key: what is published is signed by it, and routers that have it believe nothing else. Default:
    /// nothing is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyFile>,
}

/// Where a key is kept. It is never in the spec itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// A file that its owner alone may read. A relative path begins at the spec's directory.
    #[schemars(length(min = 1))]
    pub file: String,
}

/// A registry's URL, or the name of a variable that holds one.
///
/// It may hold a password, so `Debug`, `Display` and `Serialize` show `***` in place of what stands before an `@`;
/// [`RegistryUrl::source`] is the one way to the whole.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryUrl(String);

/// Where a registry's URL is to be found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RegistrySource<'a> {
    /// In the text itself.
    Url(&'a str),
    /// In this variable of the environment.
    Env(&'a str),
}

/// Why a text names no registry. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRegistryUrl {
    /// `env:` or `file:` with nothing behind it.
    #[error("nothing follows the colon; name a variable (env:REGISTRY_URL) or a file (file:registry.db)")]
    NoName,
    /// None of the known forms.
    #[error("it is none of file:PATH, postgres://, etcd://, consul://, redis:// and env:NAME")]
    UnknownForm,
}

/// What a URL of a registry on the network begins with.
const SCHEMES: [&str; 8] = [
    "postgres://",
    "postgresql://",
    "etcd://",
    "etcds://",
    "consul://",
    "consuls://",
    "redis://",
    "rediss://",
];

impl RegistryUrl {
    /// Keeps `text`, whatever it is; [`RegistryUrl::source`] says whether it can be used.
    pub fn new(text: impl Into<String>) -> RegistryUrl {
        RegistryUrl(text.into())
    }

    /// Where the URL is.
    ///
    /// # Errors
    ///
    /// [`BadRegistryUrl`] if the text has none of the known forms. What follows the scheme is not checked.
    pub fn source(&self) -> Result<RegistrySource<'_>, BadRegistryUrl> {
        let is_blank = |text: &str| text.trim().is_empty();
        if let Some(variable) = self.0.strip_prefix("env:") {
            return if is_blank(variable) {
                Err(BadRegistryUrl::NoName)
            } else {
                Ok(RegistrySource::Env(variable))
            };
        }
        match self.0.strip_prefix("file:") {
            Some(path) if is_blank(path) => Err(BadRegistryUrl::NoName),
            None if !SCHEMES.iter().any(|scheme| self.0.starts_with(scheme)) => {
                Err(BadRegistryUrl::UnknownForm)
            }
            _ => Ok(RegistrySource::Url(&self.0)),
        }
    }

    /// The text with `***` in place of every password.
    pub fn masked(&self) -> String {
        match self.source() {
            Ok(RegistrySource::Url(url)) if url.contains("://") => masked_url(url),
            Ok(_) | Err(BadRegistryUrl::NoName) => self.0.clone(),
            Err(BadRegistryUrl::UnknownForm) => MASK.to_owned(),
        }
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.masked())
    }
}

impl fmt::Debug for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.masked(), f)
    }
}

impl Serialize for RegistryUrl {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RegistryUrl {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<RegistryUrl, D::Error> {
        String::deserialize(d).map(RegistryUrl)
    }
}

impl JsonSchema for RegistryUrl {
    fn schema_name() -> Cow<'static, str> {
        "RegistryUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Which registry: file:PATH, postgres://, etcd://, consul://, redis:// or env:NAME.",
            "minLength": 1,
            TEXT_KIND: "registry",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_named_and_its_password_never_shown() {
        let rows = [
            ("file:.replat/registry.db", ".replat/registry.db", "file:.replat/registry.db"),
            ("env:REGISTRY_URL", "variable REGISTRY_URL", "env:REGISTRY_URL"),
            ("etcd://a:2379,b/shop", "a:2379,b/shop", "etcd://a:2379,b/shop"),
            ("etcds://me:hunter2@a/shop", "me:hunter2@a/shop", "etcds://***@a/shop"),
            ("consul://:hunter2@c", ":hunter2@c", "consul://***@c"),
            ("redis://u:p@ss@r/3", "u:p@ss@r/3", "redis://***@r/3"),
            ("postgres://app:hunter2@h/db", "app:hunter2@h/db", "postgres://***@h/db"),
            ("postgres:///db?password=hunter2", "/db?password=hunter2", "postgres:///db?password=***"),
            ("env:", "NoName", "env:"),
            ("file: ", "NoName", "file: "),
            ("http://me:hunter2@a", "UnknownForm", "***"),
            ("registry.db", "UnknownForm", "***"),
            ("", "UnknownForm", "***"),
        ];
        for (text, source, shown) in rows {
            let url = RegistryUrl::new(text);
            let found = match url.source() {
                Ok(RegistrySource::Url(whole)) => {
                    assert_eq!(whole, text);
                    whole.split_once(':').map_or("", |(_, rest)| rest.trim_start_matches("//")).to_owned()
                }
                Ok(RegistrySource::Env(name)) => format!("variable {name}"),
                Err(error) => format!("{error:?}"),
            };
            assert_eq!(found.trim_start_matches('/'), source.trim_start_matches('/'), "{text}");
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(format!("{url:?}"), format!("{shown:?}"), "{text}");
            assert_eq!(serde_json::to_value(&url).expect(text), shown, "{text}");
        }
    }
}
