//! Consul, by its HTTP API: `/v1/kv`, `/v1/txn`, `/v1/session` and blocking queries.
//!
//! Values that end are held by a session with a time-to-live, which Consul keeps for 10 seconds at least and for twice
//! its time at most. Written and tested by the public documentation of the API, with a stand-in for the server.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::address::{Hidden, Net};
use crate::dial::TlsError;
use crate::http::{Answer, Ask, Http, in_path};
use crate::kv::{Change, Entry, Expect, Kv, KvError, Limits, Reading, Remedies, Revision, Soon};

/// The shortest time-to-live that Consul takes. Unit: seconds.
const TTL_MIN: u64 = 10;
/// The longest one. Unit: seconds.
const TTL_MAX: u64 = 86_400;
/// How long a blocking query waits for news.
const WAIT: &str = "50s";

const REMEDIES: &Remedies = &[
    ("status 401", "put :TOKEN@ into the URL, or set CONSUL_HTTP_TOKEN"),
    ("status 403", "the token needs key_prefix read and write on the URL's prefix, and session write"),
];

/// A part of a Consul cluster's keys.
pub struct Consul {
    name: String,
    http: Http,
    /// What all keys begin with, with its slash.
    prefix: String,
    token: Option<Hidden>,
    /// The sessions by which we hold keys that end, and their time-to-live in seconds.
    sessions: Mutex<HashMap<String, (String, u64)>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    /// Absent for an empty value.
    value: Option<String>,
    modify_index: u64,
}

#[derive(Deserialize)]
struct SessionId {
    #[serde(rename = "ID")]
    id: String,
}

/// What a refused transaction says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rolled {
    #[serde(default)]
    errors: Option<Vec<RolledError>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RolledError {
    op_index: usize,
    what: String,
}

impl Consul {
    /// Connects at the first request.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the files for TLS will not do.
    pub fn new(net: &Net) -> Result<Consul, TlsError> {
        Ok(Consul {
            name: net.shown("consul"),
            http: Http::new(net)?,
            prefix: format!("{}/", net.prefix),
            token: net.secret.clone(),
            sessions: Mutex::default(),
        })
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn call(&self, method: Method, path: String, body: Bytes, again: bool) -> Result<Answer, KvError> {
        let token = self.token.as_ref().map(|token| ("x-consul-token", token.expose().to_owned()));
        let ask = Ask { method, path, headers: token.into_iter().collect(), body, again };
        let answer = self.http.call(&ask).await?;
        match answer.status {
            // Without a leader it answers by 500 and says so.
            500..=599 => Err(KvError::unreachable(said(&answer))),
            _ => Ok(answer),
        }
    }

    async fn read(&self, path: String) -> Result<Answer, KvError> {
        let answer = self.call(Method::GET, path, Bytes::new(), true).await?;
        match answer.status {
            200 | 404 => Ok(answer),
            _ => Err(KvError::refused(said(&answer), REMEDIES)),
        }
    }

    async fn pairs(&self, path: String) -> Result<Vec<Entry>, KvError> {
        let answer = self.read(path).await?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        let pairs: Vec<Pair> = parse(&answer)?;
        pairs.into_iter().map(|pair| self.entry(pair)).collect()
    }

    fn entry(&self, pair: Pair) -> Result<Entry, KvError> {
        let key =
            pair.key.strip_prefix(&self.prefix).ok_or_else(|| strange("a key that nobody asked for"))?;
        let value = BASE64.decode(pair.value.unwrap_or_default());
        let value = value.map_err(|_| strange("a value that is not base64"))?;
        Ok(Entry { key: key.to_owned(), value, revision: Revision(pair.modify_index) })
    }

    /// A session that holds `key` for this long from now: ours if there is one, with its time begun anew.
    async fn session(&self, key: &str, ttl_ms: u64) -> Result<String, KvError> {
        let ttl = ttl_ms.div_ceil(1000).clamp(TTL_MIN, TTL_MAX);
        let ours = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some((id, _)) = ours.filter(|(_, theirs)| *theirs == ttl) {
            let path = format!("/v1/session/renew/{}", in_path(&id));
            let answer = self.call(Method::PUT, path, Bytes::new(), true).await?;
            if answer.status == 200 {
                return Ok(id);
            }
        }
        // Keys go with their session, and whoever comes next need not wait.
        let wish =
            json!({ "Name": "replat", "TTL": format!("{ttl}s"), "Behavior": "delete", "LockDelay": "0s" });
        let path = "/v1/session/create".to_owned();
        let answer = self.call(Method::PUT, path, Bytes::from(wish.to_string()), true).await?;
        if answer.status != 200 {
            return Err(KvError::refused(said(&answer), REMEDIES));
        }
        let SessionId { id } = parse(&answer)?;
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(key.to_owned(), (id.clone(), ttl));
        Ok(id)
    }

    fn forget(&self, key: &str) -> Option<(String, u64)> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    async fn transact(&self, expect: &[Expect], changes: &[Change]) -> Result<bool, KvError> {
        let mut parts: Vec<Value> = expect
            .iter()
            .map(|Expect { key, revision }| match revision {
                Some(Revision(index)) => {
                    json!({ "KV": { "Verb": "check-index", "Key": self.key(key), "Index": index } })
                }
                None => json!({ "KV": { "Verb": "check-not-exists", "Key": self.key(key) } }),
            })
            .collect();
        let conditions = parts.len();
        for change in changes {
            let full = self.key(change.key());
            match change {
                Change::Put { value, ttl_ms: None, .. } => {
                    parts
                        .push(json!({ "KV": { "Verb": "set", "Key": full, "Value": BASE64.encode(value) } }));
                }
                Change::Put { key, value, ttl_ms: Some(ttl_ms) } => {
                    let session = self.session(key, *ttl_ms).await?;
                    let value = BASE64.encode(value);
                    // Without the first, a key that somebody else's session holds could not be taken.
                    parts.push(json!({ "KV": { "Verb": "delete", "Key": full } }));
                    parts.push(
                        json!({ "KV": { "Verb": "lock", "Key": full, "Value": value, "Session": session } }),
                    );
                }
                Change::Delete { .. } => parts.push(json!({ "KV": { "Verb": "delete", "Key": full } })),
            }
        }
        let body = Bytes::from(Value::Array(parts).to_string());
        let answer = self.call(Method::PUT, "/v1/txn".into(), body, false).await?;
        match answer.status {
            200 => Ok(true),
            409 => {
                let errors = parse::<Rolled>(&answer)?.errors.unwrap_or_default();
                match errors.iter().find(|error| error.op_index >= conditions) {
                    // A condition, or several, and no more than that.
                    None => Ok(false),
                    Some(error) => {
                        // A session of ours may have ended since it was renewed; the next try makes one.
                        for change in changes {
                            self.forget(change.key());
                        }
                        Err(KvError::Refused(error.what.clone()))
                    }
                }
            }
            _ => Err(KvError::refused(said(&answer), REMEDIES)),
        }
    }

    /// One long value, which a transaction would not take: its size counts there in base64.
    async fn put_alone(&self, key: &str, value: &[u8]) -> Result<(), KvError> {
        let path = format!("/v1/kv/{}", in_path(&self.key(key)));
        let answer = self.call(Method::PUT, path, Bytes::copy_from_slice(value), false).await?;
        match (answer.status, &answer.body[..]) {
            (200, b"true" | b"true\n") => Ok(()),
            _ => Err(KvError::refused(said(&answer), REMEDIES)),
        }
    }

    async fn watch_once(&self, prefix: &str, wake: &(dyn Fn() + Send + Sync)) -> Result<(), KvError> {
        let path = format!("/v1/kv/{}?keys", in_path(&self.key(prefix)));
        let mut index = 0;
        loop {
            let ask = match index {
                0 => path.clone(),
                _ => format!("{path}&index={index}&wait={WAIT}"),
            };
            let answer = self.read(ask).await?;
            let header = answer.headers.get("x-consul-index");
            let found: u64 = header
                .and_then(|index| index.to_str().ok()?.parse().ok())
                .ok_or_else(|| strange("no X-Consul-Index"))?;
            if found != index {
                wake();
            }
            // An index that goes backwards is of a restored or a new server: begun anew, as the documentation says. A
            // query with index 0 would not wait at all.
            index = if found < index { 0 } else { found.max(1) };
        }
    }
}

fn strange(what: &str) -> KvError {
    KvError::Refused(format!("Consul answered by {what}"))
}

fn said(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body).trim().chars().take(300).collect::<String>();
    format!("HTTP status {}: {text}", answer.status)
}

fn parse<T: for<'a> Deserialize<'a>>(answer: &Answer) -> Result<T, KvError> {
    serde_json::from_slice(&answer.body).map_err(|error| strange(&format!("JSON of another form: {error}")))
}

impl Kv for Consul {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn limits(&self) -> Limits {
        // 512 KiB for a value (`kv_max_value_size`) and for a transaction (`txn_max_req_len`), of 64 parts.
        Limits { value_bytes: 500 << 10, commit_bytes: 256 << 10, commit_parts: 60 }
    }

    fn clock(&self) -> Soon<'_, Reading> {
        Box::pin(async {
            self.read("/v1/status/leader".into()).await?;
            self.http.clock.read(std::time::Instant::now()).ok_or_else(|| strange("no date"))
        })
    }

    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let path = format!("/v1/kv/{}?consistent", in_path(&self.key(key)));
                found.push(self.pairs(path).await?.into_iter().next());
            }
            Ok(found)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>> {
        Box::pin(self.pairs(format!("/v1/kv/{}?recurse&consistent", in_path(&self.key(prefix)))))
    }

    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>> {
        Box::pin(async move {
            let answer = self.read(format!("/v1/kv/{}?keys", in_path(&self.key(prefix)))).await?;
            if answer.status == 404 {
                return Ok(Vec::new());
            }
            let keys: Vec<String> = parse(&answer)?;
            Ok(keys.iter().filter_map(|key| Some(key.strip_prefix(&self.prefix)?.to_owned())).collect())
        })
    }

    fn commit<'a>(&'a self, expect: &'a [Expect], changes: &'a [Change]) -> Soon<'a, bool> {
        Box::pin(async move {
            if let ([], [Change::Put { key, value, ttl_ms: None }]) = (expect, changes) {
                return self.put_alone(key, value).await.map(|()| true);
            }
            let done = self.transact(expect, changes).await?;
            if done {
                for change in changes {
                    let Change::Delete { key } = change else { continue };
                    if let Some((session, _)) = self.forget(key) {
                        let path = format!("/v1/session/destroy/{}", in_path(&session));
                        self.call(Method::PUT, path, Bytes::new(), true).await?;
                    }
                }
            }
            Ok(done)
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str, wake: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()> {
        Box::pin(self.watch_once(prefix, wake))
    }
}
