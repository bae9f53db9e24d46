//! A registry in memory, with faults that a test switches on. The real ones pass a contract of their own.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use replat_engine::registry::{
    Attendance, Envelope, HoldCall, Matter, Published, Registry, RegistryError, Shortly,
};
use replat_model::deploy::Timestamp;
use replat_model::ids::PartitionId;
use replat_model::route::Routes;
use tokio::sync::watch;

/// What the registry has.
#[derive(Default)]
pub struct Kept {
    pub envelopes: Vec<Envelope>,
    pub holds: BTreeMap<PartitionId, HoldCall>,
    pub attending: BTreeMap<String, Attendance>,
    /// Its clock, which is far from ours on purpose. Unit: milliseconds.
    pub clock: u64,
    /// Nobody can reach it.
    pub down: bool,
    /// It can be read, and takes nothing.
    pub read_only: bool,
    pub reads: u64,
    /// Whoever has something gets no whole routes.
    pub deltas_only: bool,
}

pub struct Memory {
    kept: Mutex<Kept>,
    number: watch::Sender<u64>,
}

impl Memory {
    pub fn new() -> Arc<Memory> {
        let kept = Kept { clock: 5_000_000, ..Kept::default() };
        Arc::new(Memory { kept: Mutex::new(kept), number: watch::Sender::new(1) })
    }

    pub fn with(routes: &Routes) -> Arc<Memory> {
        let memory = Memory::new();
        memory.put(routes);
        memory
    }

    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no panic under this lock")
    }

    /// Publishes whole routes.
    pub fn put(&self, routes: &Routes) {
        self.put_body(routes.version(), None, serde_json::to_string(routes).expect("routes are text"));
    }

    /// Publishes what has changed.
    pub fn put_delta(&self, before: &Routes, after: &Routes) {
        let delta = before.delta(after).expect("a later version");
        let body = serde_json::to_string(&delta).expect("a delta is text");
        self.put_body(after.version(), Some(before.version()), body);
    }

    pub fn put_body(&self, version: u64, from: Option<u64>, body: String) {
        let envelope = Envelope {
            format: 1,
            project: "shop".into(),
            context: "tenants".into(),
            version,
            from,
            at: Timestamp(0),
            body,
            digest: String::new(),
            mac: None,
        };
        self.kept().envelopes.push(envelope);
        self.stir();
    }

    pub fn call(&self, call: HoldCall) {
        self.kept().holds.insert(call.partition.clone(), call);
        self.stir();
    }

    /// Something may have changed.
    pub fn stir(&self) {
        self.number.send_modify(|number| *number += 1);
    }

    /// Waits until what is kept is as `wanted`.
    pub async fn until(&self, wanted: impl Fn(&Kept) -> bool) {
        while !wanted(&self.kept()) {
            tokio::task::yield_now().await;
        }
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        writes: bool,
        work: impl FnOnce(&mut Kept) -> T + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let mut kept = self.kept();
            if kept.down || (kept.read_only && writes) {
                let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
                return Err(RegistryError::Unreachable { registry: "memory".into(), source });
            }
            Ok(work(&mut kept))
        })
    }
}

impl Registry for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn clock(&self) -> Shortly<'_, Timestamp> {
        self.answer(false, |kept| Timestamp(kept.clock))
    }

    fn head<'a>(&'a self, _context: &'a str) -> Shortly<'a, u64> {
        self.answer(false, |kept| kept.envelopes.last().map_or(0, |envelope| envelope.version))
    }

    fn read<'a>(&'a self, _context: &'a str, have: u64) -> Shortly<'a, Vec<Envelope>> {
        self.answer(false, move |kept| {
            kept.reads += 1;
            let follows = kept.envelopes.iter().position(|envelope| envelope.from == Some(have) && have > 0);
            let whole = || kept.envelopes.iter().rposition(|envelope| envelope.from.is_none());
            let from = follows.or_else(whole).unwrap_or(kept.envelopes.len());
            let wanted = |envelope: &&Envelope| {
                envelope.version > have && (envelope.from.is_some() || have == 0 || !kept.deltas_only)
            };
            kept.envelopes[from..].iter().filter(wanted).cloned().collect()
        })
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> Shortly<'a, Published> {
        self.answer(true, |kept| {
            kept.envelopes.push(envelope.clone());
            Published::Accepted { whole_due: false }
        })
    }

    fn attend<'a>(&'a self, who: &'a Attendance, lease_ms: u64) -> Shortly<'a, ()> {
        self.answer(true, move |kept| {
            let until = Timestamp(kept.clock + lease_ms);
            kept.attending.insert(who.id.clone(), Attendance { until, ..who.clone() });
        })
    }

    fn leave<'a>(&'a self, _context: &'a str, id: &'a str) -> Shortly<'a, ()> {
        self.answer(true, |kept| drop(kept.attending.remove(id)))
    }

    fn attending<'a>(&'a self, _context: &'a str) -> Shortly<'a, Vec<Attendance>> {
        self.answer(false, |kept| kept.attending.values().cloned().collect())
    }

    fn hold<'a>(&'a self, call: &'a HoldCall, _hold_ms: u64) -> Shortly<'a, ()> {
        self.answer(true, |kept| drop(kept.holds.insert(call.partition.clone(), call.clone())))
    }

    fn release<'a>(&'a self, _: &'a str, partition: &'a PartitionId, _: u32) -> Shortly<'a, ()> {
        self.answer(true, |kept| drop(kept.holds.remove(partition)))
    }

    fn holds<'a>(&'a self, _context: &'a str) -> Shortly<'a, Vec<HoldCall>> {
        self.answer(false, |kept| {
            let now = Timestamp(kept.clock);
            kept.holds.values().filter(|call| call.until > now).cloned().collect()
        })
    }

    fn changed<'a>(&'a self, _context: &'a str, _: Matter, since: u64) -> Shortly<'a, u64> {
        Box::pin(async move {
            let mut number = self.number.subscribe();
            let news = number.wait_for(|number| *number > since);
            drop(tokio::time::timeout(std::time::Duration::from_secs(1), news).await);
            self.answer(false, |_| *self.number.borrow()).await
        })
    }
}
