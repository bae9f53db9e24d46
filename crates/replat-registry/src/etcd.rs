//! etcd, 3.4 and later, by its JSON gateway (`/v3/…`).
//!
//! Keys and values travel as base64, numbers as text. A request may be 1.5 MiB (`--max-request-bytes`) and a commit
//! 128 parts (`--max-txn-ops`), as etcd is delivered.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::address::Net;
use crate::dial::TlsError;
use crate::http::{Answer, Ask, Http};
use crate::kv::{Change, Entry, Expect, Kv, KvError, Limits, Reading, Remedies, Revision, Soon};

/// How many values are asked for at once; each may be as long as a commit.
const PAGE: u64 = 128;
/// The shortest lease that etcd gives does not lie below this, whatever its heartbeat. Unit: seconds.
const LEASE_MIN: u64 = 2;

const REMEDIES: &Remedies = &[
    ("user name is empty", "put USER:PASSWORD@ into the URL, or set ETCDCTL_USER"),
    ("invalid user ID or password", "look at USER:PASSWORD in the URL, or at ETCDCTL_USER"),
    (
        "permission denied",
        "grant a role of the user read and write on all keys that begin with the URL's prefix and a slash",
    ),
    ("authentication is not enabled", "leave user and password out: this etcd asks for none"),
];

/// A part of an etcd cluster's keys.
pub struct Etcd {
    name: String,
    http: Http,
    /// What all keys begin with, with its slash.
    prefix: String,
    login: Option<(String, crate::address::Hidden)>,
    /// What the server gave us for name and password.
    token: Mutex<Option<String>>,
}

/// An answer of `range`, or what a watch says of a key.
#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<KeyValue>,
    #[serde(default)]
    more: bool,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    #[serde(default)]
    value: String,
    mod_revision: Number,
}

/// A number, which the gateway writes as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u64),
}

impl Number {
    fn get(&self) -> Option<u64> {
        match self {
            Number::Text(text) => text.parse().ok(),
            Number::Plain(number) => Some(*number),
        }
    }
}

#[derive(Deserialize)]
struct Txn {
    #[serde(default)]
    succeeded: bool,
}

#[derive(Deserialize)]
struct Lease {
    #[serde(rename = "ID")]
    id: Number,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

/// A line of a watch.
#[derive(Deserialize)]
struct Seen {
    #[serde(default)]
    result: Option<SeenResult>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct SeenResult {
    #[serde(default)]
    created: bool,
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    events: Vec<Value>,
}

impl Etcd {
    /// Connects at the first request.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the files for TLS will not do.
    pub fn new(net: &Net) -> Result<Etcd, TlsError> {
        let login = net.user.clone().zip(net.secret.clone());
        Ok(Etcd {
            name: net.shown("etcd"),
            http: Http::new(net)?,
            prefix: format!("{}/", net.prefix),
            login,
            token: Mutex::default(),
        })
    }

    fn key(&self, key: &str) -> String {
        BASE64.encode(format!("{}{key}", self.prefix))
    }

    /// The first key after all that begin with `prefix`.
    fn range_end(&self, prefix: &str) -> String {
        let mut end = format!("{}{prefix}", self.prefix).into_bytes();
        // Keys are ASCII, so that the last byte can be raised.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        BASE64.encode(end)
    }

    fn ask(&self, path: &str, body: &Value, again: bool) -> Ask {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ask {
            method: Method::POST,
            path: path.to_owned(),
            headers: token.map(|token| ("authorization", token)).into_iter().collect(),
            body: Bytes::from(body.to_string()),
            again,
        }
    }

    async fn call<T: for<'a> Deserialize<'a>>(
        &self,
        path: &str,
        body: &Value,
        again: bool,
    ) -> Result<T, KvError> {
        if self.login.is_some() && self.token.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.log_in().await?;
        }
        let mut answer = self.http.call(&self.ask(path, body, again)).await?;
        if answer.status != 200 && self.login.is_some() && refusal(&answer).contains("auth token") {
            // Tokens end after a while, and with the server that gave them. Such a request was not looked at.
            self.log_in().await?;
            answer = self.http.call(&self.ask(path, body, again)).await?;
        }
        read(&answer)
    }

    async fn log_in(&self) -> Result<(), KvError> {
        let Some((user, password)) = &self.login else { return Ok(()) };
        let body = json!({ "name": user, "password": password.expose() });
        let mut ask = self.ask("/v3/auth/authenticate", &body, true);
        ask.headers.clear();
        let Token { token } = read(&self.http.call(&ask).await?)?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(())
    }

    /// Pages of a range, until there are no more.
    async fn range(&self, prefix: &str, keys_only: bool) -> Result<Vec<Entry>, KvError> {
        let end = self.range_end(prefix);
        let mut from = self.key(prefix);
        let mut found = Vec::new();
        loop {
            let body = json!({
                "key": from, "range_end": end, "limit": PAGE.to_string(), "keys_only": keys_only,
                "sort_order": "ASCEND", "sort_target": "KEY",
            });
            let page: Range = self.call("/v3/kv/range", &body, true).await?;
            let last = page.kvs.last().map(|kv| kv.key.clone());
            for kv in page.kvs {
                found.push(self.entry(kv)?);
            }
            let (true, Some(last)) = (page.more, last) else { return Ok(found) };
            // The first key behind the last one.
            let mut next = decoded(&last)?;
            next.push(0);
            from = BASE64.encode(next);
        }
    }

    fn entry(&self, kv: KeyValue) -> Result<Entry, KvError> {
        let key = String::from_utf8(decoded(&kv.key)?).map_err(|_| strange("a key that is no text"))?;
        let key = key.strip_prefix(&self.prefix).ok_or_else(|| strange("a key that nobody asked for"))?;
        let revision = kv.mod_revision.get().ok_or_else(|| strange("a revision that is no number"))?;
        Ok(Entry { key: key.to_owned(), value: decoded(&kv.value)?, revision: Revision(revision) })
    }

    /// A lease that lasts this long at least.
    async fn lease(&self, ttl_ms: u64) -> Result<String, KvError> {
        let seconds = ttl_ms.div_ceil(1000).max(LEASE_MIN);
        // One that is granted twice ends by itself.
        let lease: Lease = self.call("/v3/lease/grant", &json!({ "TTL": seconds.to_string() }), true).await?;
        lease.id.get().map(|id| id.to_string()).ok_or_else(|| strange("a lease without a number"))
    }

    async fn watch_once(&self, prefix: &str, wake: &(dyn Fn() + Send + Sync)) -> Result<(), KvError> {
        // Also logs in.
        let _: Range = self.call("/v3/kv/range", &json!({ "key": self.key("\0") }), true).await?;
        let request =
            json!({ "create_request": { "key": self.key(prefix), "range_end": self.range_end(prefix) } });
        let mut stream = self.http.stream(&self.ask("/v3/watch", &request, true)).await?;
        if stream.status != 200 {
            return Err(KvError::Refused(format!("the watch was answered by HTTP status {}", stream.status)));
        }
        while let Some(line) = stream.line().await? {
            let seen: Seen = serde_json::from_slice(&line).map_err(KvError::unreachable)?;
            match seen {
                Seen { error: Some(error), .. } => {
                    return Err(KvError::unreachable(format!("the watch ended: {error}")));
                }
                // Compacted away, or the server goes: begun anew, a watch misses nothing, since all is read then.
                Seen { result: Some(result), .. } if result.canceled => break,
                Seen { result: Some(result), .. } if result.created || !result.events.is_empty() => wake(),
                Seen { .. } => {}
            }
        }
        Err(KvError::unreachable("the watch was ended by the server"))
    }
}

fn strange(what: &str) -> KvError {
    KvError::Refused(format!("etcd answered by {what}"))
}

fn decoded(text: &str) -> Result<Vec<u8>, KvError> {
    BASE64.decode(text).map_err(|_| strange("something that is not base64"))
}

/// What the server says when it says no.
fn refusal(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        error: Option<Value>,
        #[serde(default)]
        message: Option<String>,
    }
    let said = serde_json::from_slice::<Refusal>(&answer.body).ok();
    let text = said.and_then(|said| match said {
        Refusal { message: Some(message), .. } => Some(message),
        Refusal { error: Some(Value::String(error)), .. } => Some(error),
        Refusal { error, .. } => error.map(|error| error.to_string()),
    });
    text.unwrap_or_else(|| {
        let said = String::from_utf8_lossy(&answer.body).trim().chars().take(200).collect::<String>();
        format!("HTTP status {}: {said}", answer.status)
    })
}

fn read<T: for<'a> Deserialize<'a>>(answer: &Answer) -> Result<T, KvError> {
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map_err(|error| strange(&format!("JSON of another form: {error}"))),
        // Unavailable, deadline exceeded: there is no leader now, or it changes.
        503 | 504 => Err(KvError::unreachable(refusal(answer))),
        _ => Err(KvError::refused(refusal(answer), REMEDIES)),
    }
}

impl Kv for Etcd {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn limits(&self) -> Limits {
        // Far enough below the limit of 1.5 MiB that keys and framing never matter.
        Limits { value_bytes: 1 << 20, commit_bytes: 256 << 10, commit_parts: 100 }
    }

    fn clock(&self) -> Soon<'_, Reading> {
        Box::pin(async {
            let _: Value = self.call("/v3/maintenance/status", &json!({}), true).await?;
            // The answer has brought it.
            self.http.clock.read(Instant::now()).ok_or_else(|| strange("no date"))
        })
    }

    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let range: Range = self.call("/v3/kv/range", &json!({ "key": self.key(key) }), true).await?;
                found.push(range.kvs.into_iter().next().map(|kv| self.entry(kv)).transpose()?);
            }
            Ok(found)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>> {
        Box::pin(self.range(prefix, false))
    }

    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>> {
        Box::pin(async move {
            let found = self.range(prefix, true).await?;
            Ok(found.into_iter().map(|entry| entry.key).collect())
        })
    }

    fn commit<'a>(&'a self, expect: &'a [Expect], changes: &'a [Change]) -> Soon<'a, bool> {
        Box::pin(async move {
            let compare: Vec<Value> = expect
                .iter()
                .map(|Expect { key, revision }| {
                    let revision = revision.map_or(0, |Revision(revision)| revision).to_string();
                    json!({ "key": self.key(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision })
                })
                .collect();
            let mut success = Vec::with_capacity(changes.len());
            for change in changes {
                success.push(match change {
                    Change::Put { key, value, ttl_ms } => {
                        let lease = match ttl_ms {
                            Some(ttl_ms) => self.lease(*ttl_ms).await?,
                            None => "0".to_owned(),
                        };
                        let value = BASE64.encode(value);
                        json!({ "request_put": { "key": self.key(key), "value": value, "lease": lease } })
                    }
                    Change::Delete { key } => json!({ "request_delete_range": { "key": self.key(key) } }),
                });
            }
            let body = json!({ "compare": compare, "success": success });
            let Txn { succeeded } = self.call("/v3/kv/txn", &body, false).await?;
            Ok(succeeded)
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str, wake: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()> {
        Box::pin(self.watch_once(prefix, wake))
    }
}
