//! Redis (or Valkey), 5 and later: one server, or one that Sentinel keeps at one address.
//!
//! Redis is no consensus store: what it has acknowledged can be lost when another server takes over, and versions may
//! then go backwards there. Routers refuse older versions and publishers repeat what is lost, so that this costs
//! freshness; who may write is said by the databases alone.
//!
//! A value lies under `{PREFIX}KEY`, as its revision, a line feed and its bytes. `{PREFIX}#keys` is a sorted set of all
//! keys, `{PREFIX}#revision` the newest revision; changed keys are told on the channel `{PREFIX}#changed`.

#[doc(hidden)] // For fuzzers.
pub mod resp;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::sync::Mutex;

use crate::address::Net;
use crate::dial::{Dial, Duplex, TlsError};
use crate::kv::{Change, Entry, Expect, Kv, KvError, Limits, Reading, Remedies, Revision, Soon};
use resp::Reply;

/// `KEYS`: revision, set of keys, then those of all conditions and changes. `ARGV`: the channel, what is before a key's own name,
/// how many conditions, for each its revision or nothing; then for each change `put`, value and time, or `delete`.
const COMMIT: &str = r#"
local conditions = tonumber(ARGV[3])
for n = 1, conditions do
  local value = redis.call('GET', KEYS[2 + n])
  local wanted = ARGV[3 + n]
  if wanted == '' then
    if value then return 0 end
  elseif not value or string.match(value, '^%d+') ~= wanted then
    return 0
  end
end
local at = 4 + conditions
local key = 3 + conditions
while at <= #ARGV do
  local full = KEYS[key]
  local own = string.sub(full, #ARGV[2] + 1)
  if ARGV[at] == 'put' then
    local revision = redis.call('INCR', KEYS[1])
    local value = string.format('%d', revision) .. '\n' .. ARGV[at + 1]
    if ARGV[at + 2] == '' then
      redis.call('SET', full, value)
    else
      redis.call('SET', full, value, 'PX', ARGV[at + 2])
    end
    redis.call('ZADD', KEYS[2], 0, own)
    at = at + 3
  else
    redis.call('DEL', full)
    redis.call('ZREM', KEYS[2], own)
    at = at + 1
  end
  redis.call('PUBLISH', ARGV[1], own)
  key = key + 1
end
return 1
"#;

/// `KEYS`: the set of keys. `ARGV`: what is before a key's own name, the first key, the first behind the last one. Gives keys and
/// values in turn, and forgets the keys that time has removed.
const LIST: &str = r#"
local found = {}
for _, own in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. ARGV[2], '(' .. ARGV[3])) do
  local value = redis.call('GET', ARGV[1] .. own)
  if value then
    found[#found + 1] = own
    found[#found + 1] = value
  else
    redis.call('ZREM', KEYS[1], own)
  end
end
return found
"#;

const REMEDIES: &Remedies = &[
    ("NOAUTH", "put :PASSWORD@ or USER:PASSWORD@ into the URL, or set REDISCLI_AUTH"),
    ("WRONGPASS", "look at USER:PASSWORD in the URL, or at REDISCLI_AUTH"),
    ("without any password configured", "leave the password out: this Redis asks for none"),
    (
        "NOPERM",
        "the user needs the keys ~{PREFIX}*, the channel &{PREFIX}#changed, and +@read +@write +@scripting +@pubsub \
         +@connection +time +select",
    ),
];

/// A part of a Redis server's keys.
pub struct Redis {
    name: String,
    net: Net,
    dial: Dial,
    /// `{PREFIX}`: in braces, so that a cluster would keep all of it at one place.
    base: String,
    /// Kept while nobody uses it. Taken out by whoever does, so that a call that is given up takes its connection along.
    idle: Mutex<Option<Connection>>,
}

struct Connection {
    stream: BufReader<Box<dyn Duplex>>,
}

impl Connection {
    async fn send(&mut self, parts: &[&[u8]]) -> Result<(), KvError> {
        self.stream.write_all(&resp::command(parts)).await.map_err(KvError::unreachable)?;
        self.stream.flush().await.map_err(KvError::unreachable)
    }

    async fn reply(&mut self) -> Result<Reply, KvError> {
        match resp::reply(&mut self.stream).await.map_err(KvError::unreachable)? {
            // It starts, or is not the one that writes: another one may be, or this one later.
            Reply::Error(said)
                if ["LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN"]
                    .iter()
                    .any(|word| said.starts_with(word)) =>
            {
                Err(KvError::unreachable(said))
            }
            Reply::Error(said) => Err(KvError::refused(said, REMEDIES)),
            reply => Ok(reply),
        }
    }

    async fn call(&mut self, parts: &[&[u8]]) -> Result<Reply, KvError> {
        self.send(parts).await?;
        self.reply().await
    }
}

impl Redis {
    /// Connects at the first request.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the files for TLS will not do.
    pub fn new(net: &Net) -> Result<Redis, TlsError> {
        Ok(Redis {
            name: net.shown("redis"),
            dial: Dial::new(net.tls.as_ref())?,
            base: format!("{{{}}}", net.prefix),
            net: net.clone(),
            idle: Mutex::default(),
        })
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    async fn connect(&self) -> Result<Connection, KvError> {
        let mut last = None;
        for host in &self.net.hosts {
            let tried = async {
                let mut connection = Connection { stream: BufReader::new(self.dial.connect(host).await?) };
                if let Some(secret) = &self.net.secret {
                    let password = secret.expose().as_bytes();
                    match &self.net.user {
                        Some(user) => connection.call(&[b"AUTH", user.as_bytes(), password]).await?,
                        None => connection.call(&[b"AUTH", password]).await?,
                    };
                }
                if self.net.database > 0 {
                    connection.call(&[b"SELECT", self.net.database.to_string().as_bytes()]).await?;
                }
                Ok(connection)
            };
            match tried.await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| KvError::unreachable("there is no server")))
    }

    /// The reply to a command. One that changes nothing is sent again if a kept connection turns out to be dead.
    async fn call(&self, parts: &[&[u8]], again: bool) -> Result<Reply, KvError> {
        let kept = self.idle.lock().await.take();
        if let Some(mut connection) = kept {
            match connection.call(parts).await {
                Err(KvError::Unreachable(_)) if again => {}
                Err(error @ KvError::Unreachable(_)) => return Err(error),
                done => {
                    *self.idle.lock().await = Some(connection);
                    return done;
                }
            }
        }
        let mut connection = self.connect().await?;
        let done = connection.call(parts).await;
        if !matches!(done, Err(KvError::Unreachable(_))) {
            *self.idle.lock().await = Some(connection);
        }
        done
    }

    async fn watch_once(&self, prefix: &str, wake: &(dyn Fn() + Send + Sync)) -> Result<(), KvError> {
        let mut connection = self.connect().await?;
        connection.send(&[b"SUBSCRIBE", self.full("#changed").as_bytes()]).await?;
        loop {
            let Reply::Array(parts) = connection.reply().await? else {
                return Err(strange("something that nobody asked for"));
            };
            match parts.as_slice() {
                [Reply::Bulk(Some(kind)), _, Reply::Bulk(Some(key))] if kind == b"message" => {
                    if key.starts_with(prefix.as_bytes()) {
                        wake();
                    }
                }
                [Reply::Bulk(Some(kind)), _, _] if kind == b"subscribe" => wake(),
                _ => return Err(strange("another message than those of a subscription")),
            }
        }
    }
}

fn strange(what: &str) -> KvError {
    KvError::Refused(format!("Redis answered by {what}"))
}

/// A value with its revision before it.
fn entry(key: &str, stored: &[u8]) -> Result<Entry, KvError> {
    let end = stored.iter().position(|byte| *byte == b'\n');
    let parsed = end.and_then(|end| {
        let revision = std::str::from_utf8(&stored[..end]).ok()?.parse().ok()?;
        Some(Entry { key: key.to_owned(), value: stored[end + 1..].to_vec(), revision: Revision(revision) })
    });
    parsed.ok_or_else(|| strange(&format!("a value of {key} that replat has not written")))
}

impl Kv for Redis {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn limits(&self) -> Limits {
        // A script blocks everybody else while it runs, so that values stay small enough not to matter.
        Limits { value_bytes: 1 << 20, commit_bytes: 1 << 20, commit_parts: 500 }
    }

    fn clock(&self) -> Soon<'_, Reading> {
        Box::pin(async {
            let Reply::Array(parts) = self.call(&[b"TIME"], true).await? else {
                return Err(strange("no time"));
            };
            let number = |reply: Option<&Reply>| match reply {
                Some(Reply::Bulk(Some(digits))) => std::str::from_utf8(digits).ok()?.parse::<u64>().ok(),
                _ => None,
            };
            let both = number(parts.first()).zip(number(parts.get(1)));
            let (seconds, micros) = both.ok_or_else(|| strange("no time"))?;
            let earliest = seconds.saturating_mul(1000) + micros / 1000;
            Ok(Reading { earliest, latest: earliest + 1 })
        })
    }

    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let full: Vec<String> = keys.iter().map(|key| self.full(key)).collect();
            let parts: Vec<&[u8]> =
                [&b"MGET"[..]].into_iter().chain(full.iter().map(|key| key.as_bytes())).collect();
            let Reply::Array(values) = self.call(&parts, true).await? else {
                return Err(strange("no values"));
            };
            let pairs = keys.iter().zip(values);
            pairs
                .map(|(key, value)| match value {
                    Reply::Bulk(value) => value.map(|value| entry(key, &value)).transpose(),
                    _ => Err(strange("a value that is none")),
                })
                .collect()
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>> {
        Box::pin(async move {
            let set = self.full("#keys");
            // No key has a byte of this kind.
            let mut end = prefix.as_bytes().to_vec();
            end.push(0xff);
            let parts: [&[u8]; 7] = [
                b"EVAL",
                LIST.as_bytes(),
                b"1",
                set.as_bytes(),
                self.base.as_bytes(),
                prefix.as_bytes(),
                &end,
            ];
            let Reply::Array(found) = self.call(&parts, true).await? else { return Err(strange("no list")) };
            let pairs = found.chunks_exact(2);
            pairs
                .map(|pair| match pair {
                    [Reply::Bulk(Some(key)), Reply::Bulk(Some(value))] => {
                        let key = std::str::from_utf8(key).map_err(|_| strange("a key that is no text"))?;
                        entry(key, value)
                    }
                    _ => Err(strange("a list of another form")),
                })
                .collect()
        })
    }

    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>> {
        Box::pin(async move {
            let (first, set) = ([b"[", prefix.as_bytes()].concat(), self.full("#keys"));
            let end = [b"(", prefix.as_bytes(), b"\xff"].concat();
            let parts: [&[u8]; 4] = [b"ZRANGEBYLEX", set.as_bytes(), &first, &end];
            let Reply::Array(found) = self.call(&parts, true).await? else { return Err(strange("no list")) };
            let key = |reply| match reply {
                Reply::Bulk(Some(key)) => String::from_utf8(key).ok(),
                _ => None,
            };
            found.into_iter().map(|reply| key(reply).ok_or_else(|| strange("a key that is none"))).collect()
        })
    }

    fn commit<'a>(&'a self, expect: &'a [Expect], changes: &'a [Change]) -> Soon<'a, bool> {
        Box::pin(async move {
            let mut keys = vec![self.full("#revision"), self.full("#keys")];
            keys.extend(expect.iter().map(|expect| self.full(&expect.key)));
            keys.extend(changes.iter().map(|change| self.full(change.key())));
            let mut parts: Vec<Vec<u8>> =
                vec![b"EVAL".to_vec(), COMMIT.into(), keys.len().to_string().into()];
            parts.extend(keys.into_iter().map(String::into_bytes));
            parts.extend([
                self.full("#changed").into(),
                self.base.clone().into(),
                expect.len().to_string().into(),
            ]);
            for Expect { revision, .. } in expect {
                parts.push(revision.map(|Revision(n)| n.to_string()).unwrap_or_default().into());
            }
            for change in changes {
                match change {
                    Change::Put { value, ttl_ms, .. } => {
                        let ttl = ttl_ms.map(|ttl| ttl.max(1).to_string()).unwrap_or_default();
                        parts.extend([b"put".to_vec(), value.clone(), ttl.into()]);
                    }
                    Change::Delete { .. } => parts.push(b"delete".to_vec()),
                }
            }
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            match self.call(&parts, false).await? {
                Reply::Integer(done) => Ok(done == 1),
                _ => Err(strange("no word on a commit")),
            }
        })
    }

    fn watch<'a>(&'a self, prefix: &'a str, wake: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()> {
        Box::pin(self.watch_once(prefix, wake))
    }
}
