//! What a registry's server answers with, and what an address of one says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use replat_engine::registry::{Matter, Registry};
use replat_model::deploy::Timestamp;
use replat_registry::address::{Address, Hidden};
use replat_registry::kv::{Change, Entry, Expect, Kv, KvError, Limits, Reading, Revision, Soon};
use replat_registry::redis::resp;
use replat_registry::seal::{from_bytes, to_bytes};
use replat_registry::{KvRegistry, ProjectKey, Seal};

use crate::Target;

/// What separates the answers of a server in an input.
const BETWEEN: &[u8] = b"\n--\n";

fn seal() -> Seal {
    Seal { project: "shop".to_owned(), key: Some(ProjectKey::new([7; 32])) }
}

fn envelope(body: &str) -> Vec<u8> {
    let sealed = seal().envelope("tenants", 2, Some(1), Timestamp(5), body.to_owned());
    to_bytes(&sealed)
}

pub(crate) const ENVELOPE: Target = Target {
    name: "envelope",
    reads: "an envelope as it is stored",
    run: |bytes| {
        let Ok(read) = from_bytes(bytes.to_vec()) else { return };
        let again = from_bytes(to_bytes(&read)).expect("written again, it is read");
        assert_eq!(again, read);
        if seal().check("tenants", &read).is_ok() {
            let (project, context, version) = (read.project.as_str(), read.context.as_str(), read.version);
            assert_eq!((project, context, version), ("shop", "tenants", 2), "the only one that was sealed");
            assert_eq!(read.body, "{}");
        }
    },
    seeds: || vec![envelope("{}")],
    words: &[
        "\"format\":1",
        "\"version\":",
        "\"from\":",
        "\"mac\":",
        "\"digest\":",
        "\n",
        "18446744073709551615",
    ],
};

/// A server that answers everything by the next of these.
struct Invented(Mutex<VecDeque<Vec<u8>>>);

impl Invented {
    fn next(&self, key: &str) -> Option<Entry> {
        let value = self.0.lock().expect("nobody panicked with it").pop_front()?;
        Some(Entry { key: key.to_owned(), value, revision: Revision(1) })
    }

    fn list_of(&self, prefix: &str) -> Vec<Entry> {
        (0..3).filter_map(|n| self.next(&format!("{prefix}{n:020}"))).collect()
    }
}

impl Kv for Invented {
    fn name(&self) -> String {
        "invented".into()
    }
    fn limits(&self) -> Limits {
        Limits { value_bytes: 64, commit_bytes: 64, commit_parts: 8 }
    }
    fn clock(&self) -> Soon<'_, Reading> {
        Box::pin(async { Ok(Reading { earliest: 1, latest: 2 }) })
    }
    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>> {
        Box::pin(async { Ok(keys.iter().map(|key| self.next(key)).collect()) })
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>> {
        Box::pin(async { Ok(self.list_of(prefix)) })
    }
    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>> {
        Box::pin(async { Ok(self.list_of(prefix).into_iter().map(|entry| entry.key).collect()) })
    }
    fn commit<'a>(&'a self, _: &'a [Expect], _: &'a [Change]) -> Soon<'a, bool> {
        Box::pin(async { Ok(self.next("").is_some()) })
    }
    fn watch<'a>(&'a self, _: &'a str, _: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()> {
        Box::pin(async { Err(KvError::Refused("nothing changes".into())) })
    }
}

pub(crate) const REGISTRY: Target = Target {
    name: "registry",
    reads: "heads, stubs, pieces, envelopes, attendances and holds: all that a registry's server may answer",
    run: |bytes| {
        let (which, bytes) = bytes.split_first().unwrap_or((&0, &[]));
        let mut answers = VecDeque::new();
        let mut rest = bytes;
        while let Some(at) = rest.windows(BETWEEN.len()).position(|part| part == BETWEEN) {
            answers.push_back(rest[..at].to_vec());
            rest = &rest[at + BETWEEN.len()..];
        }
        answers.push_back(rest.to_vec());
        let registry = KvRegistry::new(Arc::new(Invented(Mutex::new(answers))), seal());
        // Nothing of it waits for anything; what would is given up. Its limits of time need a runtime all the same.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime without I/O needs nothing");
        let _inside = runtime.enter();
        match which % 7 {
            0 => drop(registry.read("tenants", 1).now_or_never()),
            1 => drop(registry.read("tenants", 0).now_or_never()),
            2 => drop(registry.status("tenants").now_or_never()),
            3 => drop(registry.check("tenants").now_or_never()),
            4 => drop(registry.holds("tenants").now_or_never()),
            5 => drop(registry.attending("tenants").now_or_never()),
            _ => {
                drop(registry.contexts().now_or_never());
                drop(registry.changed("tenants", Matter::Routes, 0).now_or_never());
            }
        }
    },
    seeds: || {
        let head = br#"{"format":1,"project":"shop","version":2,"body":"00","from":1,"whole":1,"whole_body":"00","whole_bytes":3,"oldest":1,"deltas":1,"delta_bytes":4}"#;
        let stub = format!(r#"{{"pieces":2,"bytes":90,"sha256":"{}"}}"#, "0".repeat(64));
        let hold = br#"{"context":"tenants","partition":"acme","deployment":"d","attempt":1,"epoch":1,"reads":true,"until":9}"#;
        let present = br#"{"id":"a","kind":"proxy","place":"here","context":"tenants","version":2,"until":9,"answers":[],"pinned":0}"#;
        let said = |which: u8, answers: &[&[u8]]| [&[which][..], &answers.join(BETWEEN)].concat();
        let sealed = envelope("{}");
        vec![
            said(0, &[head, &sealed]),
            said(1, &[head, stub.as_bytes(), b"one", b"two"]),
            said(2, &[head]),
            said(3, &[head, &sealed, stub.as_bytes()]),
            said(4, &[hold]),
            said(5, &[present]),
            said(6, &[b""]),
        ]
    },
    words: &[
        "\n--\n",
        "\"format\":1",
        "\"pieces\":",
        "\"bytes\":",
        "18446744073709551615",
        "\"oldest\":",
        "\"whole\":",
    ],
};

pub(crate) const REDIS: Target = Target {
    name: "redis",
    reads: "replies of Redis",
    run: |bytes| {
        let mut rest = bytes;
        while let Some(Ok(_)) = resp::reply(&mut rest).now_or_never() {}
    },
    seeds: || {
        let texts =
            ["+OK\r\n", "-NOAUTH no\r\n", ":12\r\n", "$3\r\nabc\r\n$-1\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n"];
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    },
    words: &["\r\n", "*1\r\n", "$-1\r\n", "$536870912\r\n", "*4194304\r\n"],
};

pub(crate) const ADDRESS: Target = Target {
    name: "address",
    reads: "the URL of a registry, which may hold a password",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match Address::parse(text, &|_| None) {
            Ok(Address::Etcd(net) | Address::Consul(net) | Address::Redis(net)) => {
                let secret = net.secret.as_ref().map_or("", Hidden::expose);
                let shown = format!("{net:?}");
                // Short ones, and parts of other words, may stand there by chance.
                assert!(
                    secret.len() < 12
                        || !secret.chars().all(char::is_alphanumeric)
                        || text.matches(secret).count() > 1
                        || !shown.contains(secret)
                );
            }
            Ok(_) => {}
            Err(error) => drop(error.to_string()),
        }
    },
    seeds: || {
        let texts = [
            "etcds://me:p%40ss@a:1,[::1]:99/shop/live?ca=/etc/ca.pem&cert=a&key=b",
            "redis://:averylongsecret@r/3/shop",
            "consul://:token@c",
            "postgres://app:secret@db/shop",
            "file:/var/lib/replat/r.db",
        ];
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    },
    words: &["etcd://", "rediss://", "consul://", "@", ":", "/", "?ca=", "%", ","],
};
