//! A server with somebody between it and us.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use replat_engine::registry::{Envelope, Registry};
use replat_registry::KvRegistry;
use replat_registry::kv::{Change, Entry, Expect, Kv, KvError, Limits, Reading, Soon};

/// The server behind it, but for this.
pub struct Meddled {
    pub kv: Arc<dyn Kv>,
    /// While it is set, commits are done and the answers lost.
    pub loses: Arc<AtomicBool>,
    /// Somebody else is quicker: this is published there, once, just before whole routes are read here.
    pub overtaken_by: Mutex<Option<(KvRegistry, Envelope)>>,
}

impl Meddled {
    /// Nothing is done to it yet.
    pub fn around(kv: Arc<dyn Kv>) -> Meddled {
        Meddled { kv, loses: Arc::default(), overtaken_by: Mutex::default() }
    }
}

impl Kv for Meddled {
    fn name(&self) -> String {
        self.kv.name()
    }
    fn limits(&self) -> Limits {
        self.kv.limits()
    }
    fn clock(&self) -> Soon<'_, Reading> {
        self.kv.clock()
    }
    fn get<'a>(&'a self, keys: &'a [String]) -> Soon<'a, Vec<Option<Entry>>> {
        Box::pin(async move {
            let reads_whole = keys.iter().any(|key| key.contains("/whole/"));
            let by = match reads_whole {
                true => self.overtaken_by.lock().expect("nobody panicked with it").take(),
                false => None,
            };
            if let Some((registry, envelope)) = by {
                registry.publish(&envelope).await.expect("it is taken");
            }
            self.kv.get(keys).await
        })
    }
    fn list<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<Entry>> {
        self.kv.list(prefix)
    }
    fn keys<'a>(&'a self, prefix: &'a str) -> Soon<'a, Vec<String>> {
        self.kv.keys(prefix)
    }
    fn commit<'a>(&'a self, expect: &'a [Expect], changes: &'a [Change]) -> Soon<'a, bool> {
        Box::pin(async move {
            let done = self.kv.commit(expect, changes).await;
            match self.loses.load(Ordering::Relaxed) {
                true => Err(KvError::Unreachable("the answer was lost".into())),
                false => done,
            }
        })
    }
    fn watch<'a>(&'a self, prefix: &'a str, wake: &'a (dyn Fn() + Send + Sync)) -> Soon<'a, ()> {
        self.kv.watch(prefix, wake)
    }
}
