//! Hooks: whoever caches what replat's routes and tables say is told of each change.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::secret::{MASK, masked_url};
use super::units::{DurationText, TEXT_KIND};

/// Somebody who is told of each published change: by an HTTP request, or by NOTIFY in a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Where to POST: http:// or https://, or env:NAME or file:PATH for what holds one of them. Not together with
    /// `channel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<HookUrl>,
    /// What requests are signed with: env:NAME or file:PATH. Default: they are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretRef>,
    /// The channel of NOTIFY. Not together with `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub channel: Option<String>,
    /// The database in which to notify, by its name in the spec. Together with `channel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// How long one try may take.
    #[serde(default = "Hook::usual_timeout")]
    pub timeout: DurationText,
}

impl Hook {
    fn usual_timeout() -> DurationText {
        DurationText::from_millis(5_000)
    }
}

/// Where a hook's requests go. It may hold a login, so `Debug` and `Serialize` show `***` in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(String);

/// Where a secret is kept. It is never in the spec itself.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRef(String);

/// Where a text is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextSource<'a> {
    /// It is the text itself.
    Literal(&'a str),
    /// In this variable of the environment.
    Env(&'a str),
    /// In this file; a relative path begins at the spec's directory.
    File(&'a str),
}

/// Why a text says neither where a hook is nor where a secret is kept. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHook {
    /// `env:` or `file:` with nothing behind it.
    #[error("nothing follows the colon; name a variable (env:HOOK) or a file (file:secrets/hook)")]
    NoName,
    /// It is no URL of HTTP.
    #[error("it is none of http://, https://, env:NAME and file:PATH")]
    NoUrl,
    /// A secret stands in the spec.
    #[error("a secret does not stand in the spec: write env:NAME or file:PATH, and set it there")]
    InTheOpen,
}

fn elsewhere(text: &str) -> Option<Result<TextSource<'_>, BadHook>> {
    let named = |name: &str| !name.trim().is_empty();
    if let Some(name) = text.strip_prefix("env:") {
        return Some(if named(name) { Ok(TextSource::Env(name)) } else { Err(BadHook::NoName) });
    }
    let path = text.strip_prefix("file:")?;
    Some(if named(path) { Ok(TextSource::File(path)) } else { Err(BadHook::NoName) })
}

impl HookUrl {
    /// Keeps `text`, whatever it is; [`HookUrl::source`] says whether it can be used.
    pub fn new(text: impl Into<String>) -> HookUrl {
        HookUrl(text.into())
    }

    /// Where the URL is.
    ///
    /// # Errors
    ///
    /// [`BadHook`]. What follows the scheme is not checked.
    pub fn source(&self) -> Result<TextSource<'_>, BadHook> {
        match elsewhere(&self.0) {
            Some(found) => found,
            None if ["http://", "https://"].iter().any(|scheme| self.0.starts_with(scheme)) => {
                Ok(TextSource::Literal(&self.0))
            }
            None => Err(BadHook::NoUrl),
        }
    }

    /// The text with `***` in place of a login.
    pub fn masked(&self) -> String {
        match self.source() {
            Ok(TextSource::Literal(url)) => masked_url(url),
            Ok(_) | Err(BadHook::NoName) => self.0.clone(),
            Err(_) => MASK.to_owned(),
        }
    }
}

impl SecretRef {
    /// Keeps `text`, whatever it is; [`SecretRef::source`] says whether it can be used.
    pub fn new(text: impl Into<String>) -> SecretRef {
        SecretRef(text.into())
    }

    /// Where the secret is.
    ///
    /// # Errors
    ///
    /// [`BadHook`], also if the text may be the secret itself.
    pub fn source(&self) -> Result<TextSource<'_>, BadHook> {
        elsewhere(&self.0).unwrap_or(Err(BadHook::InTheOpen))
    }

    /// The text, unless it may be the secret itself.
    pub fn masked(&self) -> String {
        if self.source() == Err(BadHook::InTheOpen) { MASK.to_owned() } else { self.0.clone() }
    }
}

macro_rules! shown_masked {
    ($type:ty, $name:literal, $kind:literal, $description:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.masked())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.masked(), f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                String::deserialize(d).map(<$type>::new)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $description,
                    "minLength": 1,
                    TEXT_KIND: $kind,
                })
            }
        }
    };
}

shown_masked!(HookUrl, "HookUrl", "hook", "Where to POST: http://, https://, env:NAME or file:PATH.");
shown_masked!(SecretRef, "SecretRef", "secret", "Where a secret is kept: env:NAME or file:PATH.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_named_and_no_secret_shown() {
        let rows = [
            (
                "http://127.0.0.1:80/x",
                Ok(TextSource::Literal("http://127.0.0.1:80/x")),
                "http://127.0.0.1:80/x",
            ),
            ("https://me:hunter2@a/x", Ok(TextSource::Literal("https://me:hunter2@a/x")), "https://***@a/x"),
            ("env:HOOK", Ok(TextSource::Env("HOOK")), "env:HOOK"),
            ("file:secrets/hook", Ok(TextSource::File("secrets/hook")), "file:secrets/hook"),
            ("env: ", Err(BadHook::NoName), "env: "),
            ("ftp://a", Err(BadHook::NoUrl), "***"),
        ];
        for (text, source, shown) in rows {
            let url = HookUrl::new(text);
            assert_eq!((url.source(), url.masked().as_str()), (source, shown), "{text}");
        }
        let secret = SecretRef::new("hunter2");
        assert_eq!(secret.source(), Err(BadHook::InTheOpen));
        assert!(!format!("{secret:?} {secret}").contains("hunter2"));
        assert_eq!(SecretRef::new("env:KEY").source(), Ok(TextSource::Env("KEY")));
    }
}
