//! What a router knows, and how new that is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use replat_model::ids::{Epoch, Home, PartitionId};
use replat_model::key::KeyValue;
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::tables::{NoTable, Tables};
use replat_model::map::Leaf;
use replat_model::route::{Address, Routes, Traffic};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::Intent;
use crate::clock::{Clock, MachineClock, Moment};
use crate::enter::Target;
use crate::gate::{Gate, Gates};
use crate::refused::{NotTaken, Refused};
use crate::settings::{Settings, Staleness};

/// Where one partition's requests go, as of a version of the routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The partition.
    pub partition: PartitionId,
    /// The database and the schema that own its rows.
    pub home: Arc<Home>,
    /// Where that database can be reached.
    pub address: Address,
    /// The generation of this home.
    pub epoch: Epoch,
    /// What is special about its traffic; `None`: nothing.
    pub traffic: Option<Traffic>,
    /// The version of the routes that say so.
    pub version: u64,
}

impl Destination {
    /// The version of the schema that the home has, if the routes say.
    pub fn schema_version(&self) -> Option<&str> {
        self.traffic.as_ref()?.schema_version.as_deref()
    }

    /// Whether a feature is switched on for this partition.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.traffic.as_ref().is_some_and(|traffic| traffic.features.contains(feature))
    }
}

/// What came of asking for the newest routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// What the router has is the newest as of a moment after the question.
    Newest,
    /// Nobody answered in time.
    NotInTime,
    /// Nobody follows a registry for this router.
    Nobody,
}

/// What leads from routes to the answers that are asked of them.
pub(crate) trait Ask {
    /// A leaf as a destination; `None` if its home's database has no address.
    fn reachable(&self, leaf: &Leaf) -> Option<Destination>;

    /// A leaf of these very routes as a destination.
    fn destination(&self, leaf: &Leaf) -> Destination {
        self.reachable(leaf).expect("by construction each home has an address")
    }

    /// The leaf of a target.
    fn target(&self, target: Target<'_>) -> Result<&Leaf, Refused>;
}

impl Ask for Routes {
    fn reachable(&self, leaf: &Leaf) -> Option<Destination> {
        Some(Destination {
            partition: leaf.partition.clone(),
            home: leaf.home.clone(),
            address: self.addresses().get(&leaf.home.database)?.clone(),
            epoch: leaf.epoch,
            traffic: self.traffic().get(&leaf.partition).cloned(),
            version: self.version(),
        })
    }

    fn target(&self, target: Target<'_>) -> Result<&Leaf, Refused> {
        match target {
            Target::Key(key) => Ok(self.map().lookup(key)?),
            Target::Partition(partition) => self.map().leaf(partition).ok_or_else(|| {
                Refused::UnknownPartition { context: self.context().to_owned(), partition: partition.clone() }
            }),
        }
    }
}

/// The two loops of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loop {
    Reading,
    Attending,
}

/// When the registry last heard of us, and we of it; both from before the question was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    attended: Option<Moment>,
    read: Option<Moment>,
}

/// Follows one context. Cheap to clone; clones are the same router.
#[derive(Clone)]
pub struct Router {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    project: String,
    context: String,
    pub(crate) settings: Settings,
    clock: Box<dyn Clock>,
    now: RwLock<Option<Arc<Routes>>>,
    /// The version of `now`, or of a moment ago.
    stored: AtomicU64,
    /// Serialises [`Router::take`].
    taking: Mutex<()>,
    lease: RwLock<Lease>,
    pub(crate) gates: Gates,
    /// The partitions that are held.
    pub(crate) held: Mutex<BTreeMap<PartitionId, Arc<Gate>>>,
    /// Epochs that were heard of and are not in the routes yet.
    ahead: Mutex<BTreeMap<PartitionId, Epoch>>,
    ahead_count: AtomicUsize,
    /// The version that was taken last.
    version: watch::Sender<u64>,
    /// How often the newest routes were asked for out of turn, and how many of these questions are answered.
    pub(crate) asked: watch::Sender<u64>,
    pub(crate) answered: watch::Sender<u64>,
    pub(crate) followers: AtomicUsize,
    /// A lease was renewed, or routes were taken: whoever was refused may try again.
    pub(crate) renewed: Notify,
    /// What keeps a follower from following, in words.
    trouble: Mutex<BTreeMap<Loop, String>>,
    pinned: AtomicU64,
    /// By database, for code that names partitions.
    tables: RwLock<BTreeMap<String, Arc<Tables>>>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { project, context, settings, .. } = &*self.shared;
        let mut debug = f.debug_struct("Router");
        debug.field("project", project).field("context", context).field("settings", settings);
        debug.field("version", &self.version()).finish_non_exhaustive()
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is kept under these locks is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Router {
    /// A router that has no routes yet, by the machine's clocks.
    pub fn new(project: &str, context: &str, settings: Settings) -> Router {
        Router::with_clock(project, context, settings, Box::new(MachineClock))
    }

    /// A router with a clock of one's own, for tests.
    pub fn with_clock(project: &str, context: &str, settings: Settings, clock: Box<dyn Clock>) -> Router {
        let shared = Shared {
            project: project.to_owned(),
            context: context.to_owned(),
            settings,
            clock,
            now: RwLock::new(None),
            stored: AtomicU64::new(0),
            taking: Mutex::new(()),
            lease: RwLock::new(Lease::default()),
            gates: Gates::new(),
            held: Mutex::new(BTreeMap::new()),
            ahead: Mutex::new(BTreeMap::new()),
            ahead_count: AtomicUsize::new(0),
            version: watch::Sender::new(0),
            asked: watch::Sender::new(0),
            answered: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
            renewed: Notify::new(),
            trouble: Mutex::new(BTreeMap::new()),
            pinned: AtomicU64::new(0),
            tables: RwLock::new(BTreeMap::new()),
        };
        Router { shared: Arc::new(shared) }
    }

    /// A router of routes that nobody changes, from a file say. It needs no lease.
    pub fn fixed(routes: Routes) -> Router {
        let settings = Settings { staleness: Staleness::All, ..Settings::default() };
        let router = Router::new(routes.project(), routes.context(), settings);
        router.take(routes).expect("the first routes of a router of their own project and context");
        router
    }

    /// Whose routes it follows.
    pub fn project(&self) -> &str {
        &self.shared.project
    }

    /// The context that it follows.
    pub fn context(&self) -> &str {
        &self.shared.context
    }

    /// How it behaves.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The version that it has; 0: none.
    pub fn version(&self) -> u64 {
        *self.shared.version.borrow()
    }

    /// Whoever wants to hear of each version. It may be the newest or not; see [`Router::is_current`].
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// The routes that it has, for people and exports: whether they are new enough to serve by is not asked.
    pub fn routes(&self) -> Option<Arc<Routes>> {
        self.shared.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes routes if they are newer than what it has; ends the holds that they are the answer to.
    ///
    /// # Errors
    ///
    /// [`NotTaken`] if they are not newer, or not of this project and context.
    pub fn take(&self, routes: Routes) -> Result<(), NotTaken> {
        self.store(routes)?;
        // Gates are opened after the routes are there: who comes in by an opened gate reads them.
        self.end_answered_holds();
        Ok(())
    }

    /// The first half of [`Router::take`].
    pub(crate) fn store(&self, routes: Routes) -> Result<(), NotTaken> {
        let Shared { project, context, .. } = &*self.shared;
        if routes.project() != project {
            return Err(NotTaken::Project { want: project.clone(), got: routes.project().to_owned() });
        }
        if routes.context() != context {
            return Err(NotTaken::Context { want: context.clone(), got: routes.context().to_owned() });
        }
        let _one_at_a_time = locked(&self.shared.taking);
        let (have, version) = (self.version(), routes.version());
        if version <= have {
            return Err(NotTaken::Version { have, got: version });
        }
        let routes = Arc::new(routes);
        // The old ones are put away outside the lock: to drop a large map takes a while.
        let before = self.shared.now.write().unwrap_or_else(PoisonError::into_inner).replace(routes.clone());
        drop(before);
        self.shared.stored.store(version, Ordering::SeqCst);
        // Last: whoever finds nothing here that was heard of must find the newer version above.
        self.forget_what_is_known(&routes);
        self.shared.version.send_replace(version);
        self.shared.renewed.notify_waiters();
        Ok(())
    }

    /// Where the requests for `key` go.
    ///
    /// # Errors
    ///
    /// [`Refused`] as for a write: without a current lease, unless the settings permit everything.
    pub fn find(&self, key: &[KeyValue]) -> Result<Destination, Refused> {
        self.destination(Target::Key(key), Intent::Write)
    }

    /// Where the requests of a partition go.
    ///
    /// # Errors
    ///
    /// As [`Router::find`].
    pub fn find_partition(&self, partition: &PartitionId) -> Result<Destination, Refused> {
        self.destination(Target::Partition(partition), Intent::Write)
    }

    /// Where a target's requests go now, if they may be served.
    pub(crate) fn destination(&self, target: Target<'_>, intent: Intent) -> Result<Destination, Refused> {
        loop {
            let routes = self.serving(intent)?;
            let leaf = routes.target(target)?;
            self.check_epoch(leaf)?;
            // If newer routes came meanwhile, what was heard of may have been forgotten because of them.
            if routes.version() >= self.shared.stored.load(Ordering::SeqCst) {
                return Ok(routes.destination(leaf));
            }
        }
    }

    /// The partition that a target is in, if it may be served.
    pub(crate) fn partition_of(&self, target: Target<'_>, intent: Intent) -> Result<PartitionId, Refused> {
        Ok(self.serving(intent)?.target(target)?.partition.clone())
    }

    /// The newest routes that may be served by.
    pub(crate) fn serving(&self, intent: Intent) -> Result<Arc<Routes>, Refused> {
        let context = || self.shared.context.clone();
        let routes = self.routes().ok_or_else(|| Refused::NoRoutes { context: context() })?;
        if self.settings().staleness.permits(intent) || self.is_current() {
            return Ok(routes);
        }
        Err(Refused::Stale { context: context(), version: routes.version() })
    }

    /// The epoch at which the routes have a partition.
    pub(crate) fn epoch(&self, partition: &PartitionId) -> Option<Epoch> {
        self.routes()?.epoch(partition)
    }

    /// Whether there are routes, of a version or none, that have this partition at a later epoch, or not at all.
    pub(crate) fn is_past(&self, partition: &PartitionId, epoch: Epoch) -> bool {
        self.routes().is_some_and(|routes| routes.epoch(partition).is_none_or(|have| have > epoch))
    }

    /// The time by the router's clock; what leases are counted from.
    pub fn now(&self) -> Moment {
        self.shared.clock.now()
    }

    /// Whether the lease lasts: the registry knows of us, and we have its newest routes, both as of less than
    /// [`Settings::lease`] ago.
    pub fn is_current(&self) -> bool {
        let Lease { attended, read } = *self.shared.lease.read().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let lasts =
            |since: Option<Moment>| since.is_some_and(|since| now.since(since) < self.settings().lease);
        lasts(attended) && lasts(read)
    }

    /// The registry has written down that we are there, asked at the moment `sent` or later.
    pub fn attended(&self, sent: Moment) {
        self.shared.lease.write().unwrap_or_else(PoisonError::into_inner).attended = Some(sent);
        self.shared.renewed.notify_waiters();
    }

    /// What we have is the newest version as of the moment `sent` or later.
    pub fn confirmed(&self, sent: Moment) {
        self.shared.lease.write().unwrap_or_else(PoisonError::into_inner).read = Some(sent);
        self.shared.renewed.notify_waiters();
    }

    /// Ends the lease: nothing more is served until it is renewed, but by the settings.
    pub fn end_lease(&self) {
        *self.shared.lease.write().unwrap_or_else(PoisonError::into_inner) = Lease::default();
    }

    /// Somebody who knows says that a partition has this epoch: a database in an error's detail, or a hold. Until the
    /// routes say so, too, nothing of the partition is served.
    pub fn heard(&self, partition: &PartitionId, epoch: Epoch) {
        let mut ahead = locked(&self.shared.ahead);
        if self.epoch(partition).is_some_and(|have| have >= epoch) {
            return;
        }
        let known = ahead.entry(partition.clone()).or_insert(epoch);
        *known = epoch.max(*known);
        self.shared.ahead_count.store(ahead.len(), Ordering::SeqCst);
    }

    fn check_epoch(&self, leaf: &Leaf) -> Result<(), Refused> {
        if self.shared.ahead_count.load(Ordering::SeqCst) == 0 {
            return Ok(());
        }
        match locked(&self.shared.ahead).get(&leaf.partition) {
            Some(known) if *known > leaf.epoch => {
                Err(Refused::Behind { partition: leaf.partition.clone(), have: leaf.epoch, known: *known })
            }
            _ => Ok(()),
        }
    }

    fn forget_what_is_known(&self, routes: &Routes) {
        let mut ahead = locked(&self.shared.ahead);
        // What is not in the map any more will not come back: names are not used again.
        ahead.retain(|partition, epoch| routes.epoch(partition).is_some_and(|have| have < *epoch));
        self.shared.ahead_count.store(ahead.len(), Ordering::SeqCst);
    }

    /// Asks whoever follows a registry for this router for the newest routes, and waits for them, for `limit` and
    /// [`Settings::refresh_max`] at most.
    pub async fn refresh(&self, limit: Duration) -> Refreshed {
        if self.shared.followers.load(Ordering::SeqCst) == 0 {
            return Refreshed::Nobody;
        }
        let mut answered = self.shared.answered.subscribe();
        let mut mine = 0;
        self.shared.asked.send_modify(|asked| {
            *asked += 1;
            mine = *asked;
        });
        let answer = answered.wait_for(|answered| *answered >= mine);
        match tokio::time::timeout(limit.min(self.settings().refresh_max), answer).await {
            Ok(Ok(_)) => Refreshed::Newest,
            // The sender is ours, so it is not gone.
            Ok(Err(_)) | Err(_) => Refreshed::NotInTime,
        }
    }

    /// Waits until the routes have a partition at a later epoch than `epoch`, or not any more; asks for them. Whether
    /// they have it before `deadline`.
    pub async fn later_than(&self, partition: &PartitionId, epoch: Epoch, deadline: Instant) -> bool {
        let mut versions = self.versions();
        loop {
            versions.mark_unchanged();
            if self.is_past(partition, epoch) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.refresh(left).await;
            if self.is_past(partition, epoch) {
                return true;
            }
            if tokio::time::timeout_at(deadline, versions.changed()).await.is_err() {
                return self.is_past(partition, epoch);
            }
        }
    }

    /// Makes known which tables a database has, for [`Router::table_for`].
    pub fn take_tables(&self, database: &str, tables: Arc<Tables>) {
        let mut known = self.shared.tables.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(database.to_owned(), tables);
    }

    /// The table that holds the rows of `entity` with these values at a destination, by what its database tells of its
    /// partitions.
    ///
    /// # Errors
    ///
    /// [`Refused::Table`] if none is known, so that nobody writes to a table by a guessed name.
    pub fn table_for(
        &self,
        to: &Destination,
        entity: &str,
        key: &[(&str, KeyValue)],
    ) -> Result<TableName, Refused> {
        let entity = TableName::new(to.home.schema.clone(), entity);
        let known = self.shared.tables.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tables) = known.get(&to.home.database) else { return Err(NoTable::Unknown(entity).into()) };
        Ok(tables.find(&entity, key)?.clone())
    }

    /// What keeps the router from being up to date, for people; `None`: nothing that is known.
    pub fn trouble(&self) -> Option<String> {
        let trouble = locked(&self.shared.trouble);
        let all: Vec<&str> = trouble.values().map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// What one of a follower's loops is hindered by.
    pub(crate) fn set_trouble(&self, of: Loop, trouble: Option<String>) {
        let mut all = locked(&self.shared.trouble);
        match trouble {
            Some(trouble) => drop(all.insert(of, trouble)),
            None => drop(all.remove(&of)),
        }
    }

    /// How many sessions cannot move, as whoever owns them said last.
    pub fn pinned(&self) -> u64 {
        self.shared.pinned.load(Ordering::Relaxed)
    }

    /// Says how many sessions cannot move; the registry is told with the next sign of life.
    pub fn set_pinned(&self, sessions: u64) {
        self.shared.pinned.store(sessions, Ordering::Relaxed);
    }

    /// How many gates are there: as many as partitions are in use, and some that were until lately.
    pub fn gates(&self) -> usize {
        self.shared.gates.count()
    }
}
