//! Following a registry: one task for each router.
//!
//! Two loops that do not wait for each other. One reads: holds first and routes after them, so that a hold that is not
//! there any more is never ended by older routes than those which answered it. The other attends: it renews the lease,
//! tells the version, and answers holds as soon as it is quiet. A registry that fails is asked again, later each time;
//! what was taken stays, and the lease ends by itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replat_engine::BoxError;
use replat_engine::registry::{Attendance, Envelope, HoldCall, Matter, Registry, Shortly};
use replat_model::deploy::Timestamp;
use replat_model::ids::PartitionId;
use replat_model::route::{Routes, RoutesDelta};
use tokio::time::timeout;

use crate::clock::Moment;
use crate::holds::Hold;
use crate::refused::NotTaken;
use crate::router::{Loop, Router, locked};

/// How long a small call may take.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How long the registry may take to hand out routes, whole ones of a large map perhaps.
const READ_MAX: Duration = Duration::from_secs(60);
/// How long the registry may take to say that nothing has changed.
const CHANGED_MAX: Duration = Duration::from_secs(30);
/// A hold never lasts longer, whatever the registry's clock says.
const HOLD_MAX: Duration = Duration::from_secs(60);
/// A hold whose end by our clocks is not known lasts so long: the registry's list ends it earlier.
const HOLD_UNSURE: Duration = Duration::from_secs(5);
/// The first pause after an error; doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often the registry's clock is read.
const CLOCK_EVERY: Duration = Duration::from_secs(60);
/// Routes from this size on are read on a thread of their own. Unit: bytes of JSON.
const LARGE: usize = 64 * 1024;

/// Who follows, as the registry is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Drawn at random when the process started; no two followers have the same.
    pub id: String,
    /// What it is, for people: `router`, `proxy`.
    pub kind: String,
    /// Where it runs, for people.
    pub place: String,
}

/// Keeps `router` up to date from `registry`, and answers for it, until it is dropped.
///
/// Must run for as long as the router serves: as a task of its own. See [`follow_until`] for an orderly end.
pub async fn follow(router: Router, registry: Arc<dyn Registry>, who: Who) {
    follow_until(router, registry, who, std::future::pending()).await;
}

/// As [`follow()`], until `stop`: then the lease ends, and the registry is told that nobody is here any more.
pub async fn follow_until(
    router: Router,
    registry: Arc<dyn Registry>,
    who: Who,
    stop: impl Future<Output = ()>,
) {
    let follower = Follower { counted: Counted::new(router), registry, who, clock: Mutex::new(None) };
    tokio::select! {
        never = follower.read_on() => match never {},
        never = follower.attend_on() => match never {},
        () = stop => {}
    }
    // First nothing is served any more, then it is said.
    follower.router().end_lease();
    let leave = follower.registry.leave(follower.router().context(), &follower.who.id);
    // If that does not reach the registry, the attendance ends by itself.
    drop(within(CALL_MAX, leave).await);
}

/// Never.
enum Never {}

/// A router with one follower more.
struct Counted(Router);

impl Counted {
    fn new(router: Router) -> Counted {
        router.shared.followers.fetch_add(1, Ordering::SeqCst);
        Counted(router)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Follower {
    counted: Counted,
    registry: Arc<dyn Registry>,
    who: Who,
    /// What the registry's clock said, and a moment by ours before that.
    clock: Mutex<Option<(Moment, Timestamp)>>,
}

/// What the registry says, and how it could not be followed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0} did not answer in time")]
    Slow(String),
    #[error("{}", chain(.0))]
    Registry(BoxError),
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
    #[error("version {version} cannot be read: {why}")]
    Unreadable { version: u64, why: String },
    #[error("version {version} follows on {from}; {have} is here")]
    Gap { version: u64, from: u64, have: u64 },
}

/// An error with its causes.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

async fn within<T>(limit: Duration, call: Shortly<'_, T>) -> Result<T, Trouble> {
    match timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| Trouble::Registry(error.into())),
        Err(_) => Err(Trouble::Slow("the registry".to_owned())),
    }
}

/// Pauses after errors: longer each time, and not the same for all followers of a registry that comes back.
struct Pauses {
    count: u32,
    seed: u32,
}

impl Pauses {
    fn of(who: &Who) -> Pauses {
        let seed = who.id.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        Pauses { count: 0, seed }
    }

    fn over(&mut self) {
        self.count = 0;
    }

    /// Between half of the doubled pause and all of it.
    fn next(&mut self) -> Duration {
        let whole = PAUSE_FIRST.saturating_mul(1 << self.count.min(10)).min(PAUSE_MAX);
        self.count += 1;
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        whole / 2 + (whole / 2).mul_f64(f64::from(self.seed >> 8) / f64::from(1 << 24))
    }
}

impl Follower {
    fn router(&self) -> &Router {
        &self.counted.0
    }

    async fn read_on(&self) -> Never {
        let router = self.router();
        let mut asked = router.shared.asked.subscribe();
        let mut pauses = Pauses::of(&self.who);
        let mut taken = BTreeMap::new();
        let mut since = 0;
        loop {
            let question = *asked.borrow_and_update();
            let sent = router.now();
            match self.read_all(&mut taken).await {
                Ok(()) => {
                    pauses.over();
                    router.set_trouble(Loop::Reading, None);
                    router.confirmed(sent);
                    router.shared.answered.send_replace(question);
                }
                Err(trouble) => {
                    router.set_trouble(Loop::Reading, Some(format!("{}: {trouble}", self.registry.name())));
                    // A question is worth another try at once, but not more often than the first pause.
                    let pause = pauses.next();
                    tokio::time::sleep(pause.min(PAUSE_FIRST)).await;
                    drop(timeout(pause.saturating_sub(PAUSE_FIRST), asked.changed()).await);
                    continue;
                }
            }
            loop {
                tokio::select! {
                    // Its sender is the router's, so this never fails.
                    _ = asked.changed() => break,
                    changed = within(CHANGED_MAX, self.registry.changed(router.context(), Matter::Routes, since)) => match changed {
                        Ok(number) if number == since => {
                            // Nothing has changed; but that we have the newest must be read now and then.
                            if router.now().since(sent) >= router.settings().lease / 4 {
                                break;
                            }
                        }
                        Ok(number) => {
                            since = number;
                            break;
                        }
                        // Reading says what is the matter, if anything is.
                        Err(_) => {
                            tokio::time::sleep(pauses.next()).await;
                            break;
                        }
                    },
                }
            }
        }
    }

    /// Holds and routes, as of after the call.
    async fn read_all(&self, taken: &mut BTreeMap<PartitionId, HoldCall>) -> Result<(), Trouble> {
        let holds = within(CALL_MAX, self.registry.holds(self.router().context())).await?;
        self.read_routes().await?;
        self.obey(holds, taken);
        Ok(())
    }

    async fn read_routes(&self) -> Result<(), Trouble> {
        let router = self.router();
        match self.read_from(router.version()).await {
            // What does not follow on what is here is read as a whole.
            Err(Trouble::Gap { .. } | Trouble::Unreadable { .. }) if router.version() > 0 => {
                self.read_from(0).await
            }
            result => result,
        }
    }

    async fn read_from(&self, have: u64) -> Result<(), Trouble> {
        let router = self.router();
        for envelope in within(READ_MAX, self.registry.read(router.context(), have)).await? {
            let before = router.routes();
            if before.as_ref().is_some_and(|before| envelope.version <= before.version()) {
                continue;
            }
            let large = envelope.body.len() >= LARGE;
            let router = router.clone();
            let take = move || {
                routes_after(before.as_deref(), &envelope).and_then(|routes| Ok(router.take(routes)?))
            };
            if large {
                let version = self.router().version();
                let unreadable =
                    |why: tokio::task::JoinError| Trouble::Unreadable { version, why: why.to_string() };
                tokio::task::spawn_blocking(take).await.map_err(unreadable)??;
            } else {
                take()?;
            }
        }
        Ok(())
    }

    /// Takes the holds that are called for, and ends those that are not any more.
    fn obey(&self, calls: Vec<HoldCall>, taken: &mut BTreeMap<PartitionId, HoldCall>) {
        let router = self.router();
        let mut before = std::mem::take(taken);
        for call in calls {
            match before.remove(&call.partition) {
                Some(known) if known == call => {}
                known => {
                    // The registry's newest counts, also if its number is lower: then it is another deployment's.
                    if let Some(known) = known.filter(|known| known.deployment != call.deployment) {
                        router.release(&known.partition, known.attempt);
                    }
                    router.hold(&Hold {
                        partition: call.partition.clone(),
                        deployment: call.deployment.as_str().into(),
                        attempt: call.attempt,
                        epoch: call.epoch,
                        reads: call.reads,
                        to: call.to.clone().map(Arc::new),
                        lasts: self.left(&call),
                    });
                }
            }
            taken.insert(call.partition.clone(), call);
        }
        for (partition, ended) in before {
            router.release(&partition, ended.attempt);
        }
    }

    /// How long a hold lasts from now on.
    fn left(&self, call: &HoldCall) -> Duration {
        let Some((read_at, said)) = *locked(&self.clock) else { return HOLD_UNSURE };
        let since = self.router().now().since(read_at);
        let left = Duration::from_millis(call.until.since(said)).saturating_sub(since);
        left.min(HOLD_MAX)
    }

    async fn attend_on(&self) -> Never {
        let router = self.router();
        let lease = router.settings().lease;
        let mut versions = router.versions();
        let mut pauses = Pauses::of(&self.who);
        loop {
            versions.mark_unchanged();
            match self.attend(lease).await {
                Ok(()) => {
                    pauses.over();
                    router.set_trouble(Loop::Attending, None);
                    tokio::select! {
                        () = tokio::time::sleep(lease / 3) => {}
                        () = router.has_news() => {}
                        // Its sender is the router's, so this never fails.
                        _ = versions.changed() => {}
                    }
                }
                Err(trouble) => {
                    router.set_trouble(Loop::Attending, Some(format!("{}: {trouble}", self.registry.name())));
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        }
    }

    async fn attend(&self, lease: Duration) -> Result<(), Trouble> {
        let router = self.router();
        let attendance = Attendance {
            id: self.who.id.clone(),
            kind: self.who.kind.clone(),
            place: self.who.place.clone(),
            context: router.context().to_owned(),
            version: router.version(),
            // The registry's to say.
            until: Timestamp(0),
            answers: router.answers(),
            pinned: router.pinned(),
        };
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        // The lease is counted from before the request was sent, so it ends here before it ends there.
        let sent = router.now();
        within(CALL_MAX, self.registry.attend(&attendance, lease_ms)).await?;
        router.attended(sent);
        let known = *locked(&self.clock);
        if known.is_none_or(|(read_at, _)| sent.since(read_at) > CLOCK_EVERY) {
            self.read_clock().await?;
        }
        Ok(())
    }

    /// Learns what the registry's clock says. Counted from before the question, so holds end a little early.
    async fn read_clock(&self) -> Result<(), Trouble> {
        let asked = self.router().now();
        let said = within(CALL_MAX, self.registry.clock()).await?;
        *locked(&self.clock) = Some((asked, said));
        Ok(())
    }
}

/// The routes of a published version, where `before` are those that are here.
fn routes_after(before: Option<&Routes>, envelope: &Envelope) -> Result<Routes, Trouble> {
    let Envelope { version, from, body, .. } = envelope;
    let unreadable = |why: BoxError| Trouble::Unreadable { version: *version, why: chain(&why) };
    let routes: Routes = match (from, before) {
        (None, _) => serde_json::from_str(body).map_err(|error| unreadable(error.into()))?,
        (Some(from), Some(before)) if before.version() == *from => {
            let delta: RoutesDelta = serde_json::from_str(body).map_err(|error| unreadable(error.into()))?;
            before.after(&delta).map_err(|error| unreadable(error.into()))?
        }
        (Some(from), before) => {
            return Err(Trouble::Gap {
                version: *version,
                from: *from,
                have: before.map_or(0, Routes::version),
            });
        }
    };
    match routes.version() == *version {
        true => Ok(routes),
        false => Err(unreadable(format!("it says version {}", routes.version()).into())),
    }
}
