//! The registry, written once, over any server.
//!
//! Of each context there is one *head*, changed by compare-and-set alone; by it versions only rise. Beside it are
//! whole routes and the deltas since, each under a key with its version, written together with the head that speaks of
//! them. Readers believe none of it: each envelope proves itself, and one must go on where the other ended.

mod blob;
mod head;
mod inspect;
mod keys;
mod publish;
mod read;
mod told;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use replat_engine::BoxError;
use replat_engine::registry::{
    Attendance, Envelope, HoldCall, Matter, Published, Registry, RegistryError, Shortly,
};
use replat_model::deploy::Timestamp;
use replat_model::ids::PartitionId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::kv::{Change, Entry, Expect, Kv, KvError, Reading};
use crate::seal::Seal;
use head::Head;
pub use inspect::{Finding, Status};
use keys::Keys;
pub use told::Told;
use watch::Watches;

/// How long one request to a server may take. Unit: time.
const CALL_MAX: Duration = Duration::from_secs(10);
/// How often a change is tried that others get in the way of.
const TRIES: usize = 32;
/// The server forgets what has ended this much later, since its clock is known from here only so well. Unit: milliseconds.
const LINGER_MS: u64 = 2_000;

/// One project's registry on some server.
pub struct KvRegistry {
    kv: Arc<dyn Kv>,
    seal: Seal,
    clock: Clock,
    watches: Watches,
    /// Deltas since the last whole routes, after which whole ones are due.
    window: u64,
}

impl KvRegistry {
    /// The registry that `seal`'s project has on this server.
    pub fn new(kv: Arc<dyn Kv>, seal: Seal) -> KvRegistry {
        let (clock, watches) = (Clock::default(), Watches::default());
        KvRegistry { kv, seal, clock, watches, window: head::WINDOW }
    }

    /// The same, in which whole routes are due after this many deltas instead of 1,024.
    #[must_use]
    pub fn with_window(self, window: u64) -> KvRegistry {
        KvRegistry { window: window.max(1), ..self }
    }

    /// What is sealed here, and believed.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// A request that took `call`, within a limited time.
    async fn within<T>(
        &self,
        during: &str,
        call: impl Future<Output = Result<T, KvError>>,
    ) -> Result<T, RegistryError> {
        let late = |_| KvError::unreachable(format!("no answer within {} s", CALL_MAX.as_secs()));
        let done = tokio::time::timeout(CALL_MAX, call).await.map_err(late).flatten();
        done.map_err(|error| self.failed(during, error))
    }

    fn failed(&self, during: &str, error: KvError) -> RegistryError {
        let registry = self.kv.name();
        match error {
            KvError::Unreachable(source) => RegistryError::Unreachable { registry, source },
            KvError::Refused(why) => RegistryError::Refused { registry, during: during.to_owned(), why },
        }
    }

    fn refused(&self, during: &str, why: impl Into<String>) -> RegistryError {
        self.failed(during, KvError::Refused(why.into()))
    }

    fn damaged(&self, context: &str, why: impl Into<String>) -> RegistryError {
        let (registry, context) = (self.kv.name(), context.to_owned());
        RegistryError::Damaged { registry, context, why: why.into() }
    }

    async fn get(&self, during: &str, key: String) -> Result<Option<Entry>, RegistryError> {
        let keys = [key];
        let found = self.within(during, self.kv.get(&keys)).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// The head of a context, with what is needed to change it.
    async fn load_head(&self, context: &str) -> Result<Option<(Head, Entry)>, RegistryError> {
        let Some(entry) = self.get("reading the head", Keys::of(context).head()).await? else {
            return Ok(None);
        };
        let head: Head = self.parse(context, "its head", &entry.value)?;
        if head.format != 1 {
            let format = head.format;
            return Err(self.damaged(context, format!("its head has format {format}; use a newer replat")));
        }
        if head.project != self.seal.project {
            let (theirs, ours) = (&head.project, &self.seal.project);
            let why = format!(
                "it belongs to project {theirs:?}, not to {ours:?}; give each project a prefix of its own"
            );
            return Err(self.damaged(context, why));
        }
        if head.oldest > head.whole || head.whole > head.version || head.oldest == 0 {
            return Err(self.damaged(context, "its head says what cannot be"));
        }
        Ok(Some((head, entry)))
    }

    fn parse<T: DeserializeOwned>(
        &self,
        context: &str,
        what: &str,
        bytes: &[u8],
    ) -> Result<T, RegistryError> {
        serde_json::from_slice(bytes)
            .map_err(|error| self.damaged(context, format!("{what} cannot be read: {error}")))
    }

    /// What the server's clock shows, within bounds.
    async fn now(&self) -> Result<Reading, RegistryError> {
        if let Some(now) = self.clock.read(Instant::now()) {
            return Ok(now);
        }
        let sent = Instant::now();
        let reading = self.within("reading the clock", self.kv.clock()).await?;
        let got = Instant::now();
        self.clock.learn(sent, got, reading);
        Ok(self.clock.read(got).unwrap_or(reading))
    }

    /// Puts a document that ends after `ttl_ms`.
    async fn put_for<T: Serialize + Sync>(
        &self,
        during: &str,
        expect: &[Expect],
        key: String,
        document: &T,
        ttl_ms: u64,
    ) -> Result<bool, RegistryError> {
        let value = serde_json::to_vec(document).expect("it is plain data");
        let change = [Change::Put { key, value, ttl_ms: Some(ttl_ms.saturating_add(LINGER_MS)) }];
        self.within(during, self.kv.commit(expect, &change)).await
    }

    /// The documents below `prefix` that have not ended, by the registry's clock. While it is known badly, one may be
    /// there a little longer, never shorter.
    async fn lasting<T: DeserializeOwned>(
        &self,
        context: &str,
        prefix: String,
        until: impl Fn(&T) -> Timestamp,
    ) -> Result<Vec<T>, RegistryError> {
        let entries = self.within("listing", self.kv.list(&prefix)).await?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now().await?;
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let document = self.parse(context, &entry.key, &entry.value)?;
            if until(&document).0 > now.earliest {
                found.push(document);
            }
        }
        Ok(found)
    }

    async fn call_for_hold(&self, call: &HoldCall, hold_ms: u64) -> Result<(), RegistryError> {
        let during = "asking for a hold";
        let key = Keys::of(&call.context).hold(call.partition.as_str());
        for _ in 0..TRIES {
            let held = self.get(during, key.clone()).await?;
            if let Some(held) = &held {
                let held: HoldCall = self.parse(&call.context, "a hold", &held.value)?;
                if held.deployment == call.deployment && held.attempt > call.attempt {
                    return Err(self.refused(during, format!("attempt {} holds it already", held.attempt)));
                }
            }
            let until = Timestamp(self.now().await?.latest.saturating_add(hold_ms));
            let expect = [Expect { key: key.clone(), revision: held.map(|held| held.revision) }];
            let call = HoldCall { until, ..call.clone() };
            if self.put_for(during, &expect, key.clone(), &call, hold_ms).await? {
                return Ok(());
            }
        }
        Err(self.refused(during, "others change the same hold all the time"))
    }

    async fn end_hold(
        &self,
        context: &str,
        partition: &PartitionId,
        attempt: u32,
    ) -> Result<(), RegistryError> {
        let during = "releasing a hold";
        let key = Keys::of(context).hold(partition.as_str());
        for _ in 0..TRIES {
            let Some(held) = self.get(during, key.clone()).await? else { return Ok(()) };
            let call: HoldCall = self.parse(context, "a hold", &held.value)?;
            if call.attempt > attempt {
                return Ok(());
            }
            let expect = [Expect { key: key.clone(), revision: Some(held.revision) }];
            let change = [Change::Delete { key: key.clone() }];
            if self.within(during, self.kv.commit(&expect, &change)).await? {
                return Ok(());
            }
        }
        Err(self.refused(during, "others change the same hold all the time"))
    }
}

/// Work on bodies, which may be of a million partitions, where nobody is kept waiting by it.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BoxError> {
    tokio::task::spawn_blocking(work).await.map_err(BoxError::from)
}

impl Registry for KvRegistry {
    fn name(&self) -> String {
        self.kv.name()
    }

    fn clock(&self) -> Shortly<'_, Timestamp> {
        Box::pin(async {
            let Reading { earliest, latest } = self.now().await?;
            Ok(Timestamp(earliest.midpoint(latest)))
        })
    }

    fn head<'a>(&'a self, context: &'a str) -> Shortly<'a, u64> {
        Box::pin(async move { Ok(self.load_head(context).await?.map_or(0, |(head, _)| head.version)) })
    }

    fn read<'a>(&'a self, context: &'a str, have: u64) -> Shortly<'a, Vec<Envelope>> {
        Box::pin(self.read_from(context, have))
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> Shortly<'a, Published> {
        Box::pin(self.bring_out(envelope))
    }

    fn attend<'a>(&'a self, who: &'a Attendance, lease_ms: u64) -> Shortly<'a, ()> {
        Box::pin(async move {
            let until = Timestamp(self.now().await?.latest.saturating_add(lease_ms));
            let key = Keys::of(&who.context).attendance(&who.id);
            let who = Attendance { until, ..who.clone() };
            self.put_for("attending", &[], key, &who, lease_ms).await.map(drop)
        })
    }

    fn leave<'a>(&'a self, context: &'a str, id: &'a str) -> Shortly<'a, ()> {
        Box::pin(async move {
            let change = [Change::Delete { key: Keys::of(context).attendance(id) }];
            self.within("leaving", self.kv.commit(&[], &change)).await.map(drop)
        })
    }

    fn attending<'a>(&'a self, context: &'a str) -> Shortly<'a, Vec<Attendance>> {
        Box::pin(async move {
            self.lasting(context, Keys::of(context).attendances(), |who: &Attendance| who.until).await
        })
    }

    fn hold<'a>(&'a self, call: &'a HoldCall, hold_ms: u64) -> Shortly<'a, ()> {
        Box::pin(self.call_for_hold(call, hold_ms))
    }

    fn release<'a>(&'a self, context: &'a str, partition: &'a PartitionId, attempt: u32) -> Shortly<'a, ()> {
        Box::pin(self.end_hold(context, partition, attempt))
    }

    fn holds<'a>(&'a self, context: &'a str) -> Shortly<'a, Vec<HoldCall>> {
        Box::pin(async move {
            self.lasting(context, Keys::of(context).holds(), |call: &HoldCall| call.until).await
        })
    }

    fn changed<'a>(&'a self, context: &'a str, matter: Matter, since: u64) -> Shortly<'a, u64> {
        Box::pin(async move {
            let keys = Keys::of(context);
            let prefix = match matter {
                Matter::Routes => keys.followed(),
                Matter::Attendance => keys.attendances(),
            };
            Ok(self.watches.changed(&self.kv, context, matter, prefix, since).await)
        })
    }
}
