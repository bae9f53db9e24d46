//! A switch and those who route: who is asked to hold, when they are told, and what a registry that fails costs.
//!
//! Runner, rules, store, publisher and gate are the real ones. The databases are values ([`ends`]), and so is the
//! registry ([`registry`]), so that each can be made to fail where it matters; both write into one journal.

mod ends;
mod registry;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use replat_control::{Pulse, Runner};
use replat_engine::gate::{Gate, NoGate};
use replat_engine::registry::Registry;
use replat_engine::{Listed, WorkLog};
use replat_model::deploy::{Certificate, Deployment, Event, Timestamp};
use replat_model::ids::{Epoch, Home, Lsn, Side};
use replat_model::key::KeyType;
use replat_model::map::{Dimension, Map};
use replat_model::next::Action;
use replat_model::plan::{End, FORMAT, Path, Plan, Reversibility};
use replat_model::prediction::Prediction;
use replat_model::region::Region;
use replat_model::route::Address;
use replat_model::spec::{Policy, ReadsPolicy};
use replat_registry::{LogOutbox, Publisher, RegistryGate, Seal, Telling};
use replat_store::Store;

use ends::Ends;
use registry::{Follower, Memory, Mood};

/// What happened, in order, as ends and registry saw it.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A deployment that is ready to switch, in a store of its own.
struct Story {
    journal: Journal,
    store: Arc<Store>,
    listed: Listed,
    ends: Ends,
    registry: Arc<Memory>,
    folder: PathBuf,
}

impl Drop for Story {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Story {
    fn new(policy: impl FnOnce(&mut Policy)) -> Story {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("replat-gate-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary directory can be made");
        let store = Arc::new(Store::open(&folder.join("control.db")).expect("a store"));
        let dimensions = vec![Dimension { column: "tenant_id".into(), key_type: KeyType::Integer }];
        let map = Map::build("shop", dimensions, None, home("old")).expect("a map");
        let mut plan = plan(&map);
        policy(&mut plan.policy);
        let listed = store.begin(&Event::Asked { plan: Box::new(plan) }, &map, now()).expect("nobody has it");
        let journal = Journal::default();
        let story = Story {
            ends: Ends::new(journal.clone()),
            registry: Arc::new(Memory::new(journal.clone())),
            journal,
            store,
            listed,
            folder,
        };
        let slot = |side| Event::SlotOpened { side, at: Lsn(1), xid_horizon: 1 };
        let verified = |from| Event::Verified { from, certificate: Certificate::default() };
        for event in [
            Event::Prepared,
            slot(Side::Blue),
            Event::CopyPlanned { chunks: Vec::new() },
            Event::Copied { at: Lsn(1), rows: 0, bytes: 0 },
            Event::Indexed,
            slot(Side::Green),
            verified(Side::Blue),
            verified(Side::Green),
        ] {
            story.say(event);
        }
        story
    }

    fn say(&self, event: Event) {
        let length = self.store.read(&self.listed.id).expect("a log").len() as u64;
        self.store.append(&self.listed.id, length, &event, now()).expect("it can stand there");
    }

    fn gate(&self) -> RegistryGate {
        let address = |name: &str| Address {
            host: format!("{name}.example"),
            port: 5432,
            dbname: name.into(),
            endpoint: None,
        };
        let databases = ["old", "new"].map(|name| (name.to_owned(), Some(address(name))));
        let contexts = [("shop".to_owned(), databases.into())].into();
        let outbox = LogOutbox::new(self.store.clone(), Telling { project: "shop".into(), contexts });
        let registry: Arc<dyn Registry> = self.registry.clone();
        let seal = Seal { project: "shop".into(), key: None };
        let publisher = Publisher::new(Arc::clone(&registry), Arc::new(outbox), seal, now);
        RegistryGate::new(registry, publisher, "shop")
    }

    /// Runs the deployment until `enough`, and returns what happened.
    async fn run_with(&self, gate: &dyn Gate, enough: impl Fn(&Deployment, &Pulse) -> bool) -> Vec<String> {
        let runner = Runner {
            listed: self.listed.clone(),
            log: &*self.store,
            engine: &self.ends,
            gate,
            clock: now,
            name: "story".into(),
            turns: None,
        };
        runner.run(|d, pulse| enough(d, pulse)).await.expect("a log that folds");
        self.journal.take()
    }

    async fn run(&self, enough: impl Fn(&Deployment, &Pulse) -> bool) -> Vec<String> {
        self.run_with(&self.gate(), enough).await
    }

    /// Has a gate do what it was asked for; what is left of it, it is asked for no more.
    async fn flush(gate: &dyn Gate) {
        tokio::select! {
            () = gate.flushed() => {}
            never = gate.tend() => match never {},
        }
    }

    /// The routes are published before anything else happens.
    async fn published(self) -> Story {
        let gate = self.gate();
        gate.publish();
        Story::flush(&gate).await;
        assert_eq!(self.journal.take(), ["publish 2"]);
        self
    }

    async fn switch(&self, to: Side) -> Vec<String> {
        self.run(|d, _| d.home == to && d.settled && d.attempt.is_none()).await
    }

    /// The version that the registry has, and the one that the store has.
    fn versions(&self) -> (u64, u64) {
        (self.registry.version(), self.store.map("shop").expect("a map").expect("shop has one").version())
    }

    fn reasons(&self) -> Vec<String> {
        let why = |event| match event {
            Event::FenceGivenUp { why, .. } => Some(why),
            _ => None,
        };
        self.store.read(&self.listed.id).expect("a log").into_iter().filter_map(|r| why(r.event)).collect()
    }
}

fn home(database: &str) -> Home {
    Home { database: database.into(), schema: "public".into() }
}

fn plan(map: &Map) -> Plan {
    let end = |database: &str| End {
        home: home(database),
        system_id: database.into(),
        database_name: database.into(),
        major: 15,
    };
    Plan {
        format: FORMAT,
        context: "shop".into(),
        partition: "shop".parse().expect("a legal id"),
        region: Region::everything(),
        dimensions: map.dimensions().to_vec(),
        epoch: Epoch::FIRST,
        blue: end("old"),
        green: end("new"),
        version_before: None,
        version: "2".into(),
        ddl: Vec::new(),
        one_database: false,
        path: Path::Copy { because: None },
        tables: Vec::new(),
        references: Vec::new(),
        rebuild: Vec::new(),
        sequences: Vec::new(),
        contracts: Vec::new(),
        reversible: Reversibility::Lossless,
        hazards: Vec::new(),
        policy: Policy::shipped(),
        prediction: Prediction::default(),
    }
}

/// Enough time for a loaded machine; what is shown by that is not how long it takes.
fn patient(policy: &mut Policy) {
    policy.hold_max = "20s".parse().expect("a duration");
}

fn strict(policy: &mut Policy) {
    policy.reads = ReadsPolicy::Strict;
}

/// The journal without those entries whose moment is not promised.
fn told<'a>(journal: &'a [String], kinds: &[&str]) -> Vec<&'a str> {
    let is_one = |entry: &&str| kinds.iter().any(|kind| entry.starts_with(kind));
    journal.iter().map(String::as_str).filter(is_one).collect()
}

#[tokio::test]
async fn clients_are_held_before_the_fence_and_let_go_when_the_new_home_is_open_and_known() {
    let story = Story::new(patient).published().await;
    story.registry.follow(Follower::quiet("proxy"));
    story.registry.follow(Follower::quiet_after("router", 3));
    let journal = story.switch(Side::Green).await;
    let want = ["hold 1", "fence blue", "open green", "publish 3", "release 1"];
    assert_eq!(told(&journal, &["publish", "hold", "fence", "open", "release"]), want, "{journal:?}");
    assert_eq!(story.versions(), (3, 3));
    assert_eq!(story.registry.newest().epoch(&story.listed.partition), Some(Epoch::FIRST.next()));

    story.say(Event::SwitchAsked { to: Side::Blue, why: "slow".into() });
    let journal = story.switch(Side::Blue).await;
    let want = ["hold 2", "fence green", "open blue", "publish 4", "release 2"];
    assert_eq!(told(&journal, &["publish", "hold", "fence", "open", "release"]), want, "{journal:?}");
    assert_eq!(story.versions(), (4, 4));
}

#[tokio::test]
async fn a_follower_that_is_not_quiet_is_the_fences_to_wait_for() {
    let story = Story::new(|_| {}).published().await;
    story.registry.follow(Follower::busy("proxy", 2));
    story.registry.follow(Follower::mute("router"));
    let journal = story.switch(Side::Green).await;
    let want = ["hold 1", "fence blue", "open green", "publish 3", "release 1"];
    assert_eq!(told(&journal, &["publish", "hold", "fence", "open", "release"]), want, "{journal:?}");
    assert_eq!(story.reasons(), Vec::<String>::new());
}

#[tokio::test]
async fn with_strict_reads_nobody_is_fenced_until_all_are_quiet() {
    let story = Story::new(strict);
    story.registry.follow(Follower::busy("proxy", 2));
    story.registry.follow(Follower::mute("router"));
    story.registry.follow(Follower::astray("cache"));
    let journal = story.run(|_, pulse| matches!(pulse, Pulse::Moved(Event::Unfenced { .. }))).await;
    assert_eq!(told(&journal, &["hold", "fence", "release"]), ["hold 1", "release 1"], "{journal:?}");
    let why = "reads are strict, and not quiet within 50ms: proxy at a: 2 running; router at a: no answer; \
               cache at a: no answer";
    assert_eq!(story.reasons(), [why]);

    story.registry.only(Follower::quiet("proxy"));
    story.run(|d, _| d.home == Side::Green && d.settled).await;
    assert_eq!(story.registry.newest().epoch(&story.listed.partition), Some(Epoch::FIRST.next()));
    assert!(story.registry.last_hold().expect("it was asked for").reads);
}

#[tokio::test]
async fn a_registry_that_is_down_stops_no_switch_and_is_told_by_the_next_runner() {
    for mood in [Mood::Down, Mood::Silent] {
        let story = Story::new(|_| {});
        story.registry.follow(Follower::quiet("proxy"));
        story.registry.is(mood);
        let journal = story.switch(Side::Green).await;
        assert_eq!(told(&journal, &["fence", "open"]), ["fence blue", "open green"], "{mood:?}: {journal:?}");
        assert_eq!(story.versions(), (0, 2), "{mood:?}");
        assert_eq!(story.reasons(), Vec::<String>::new(), "{mood:?}");

        story.registry.is(Mood::Up);
        story.run(|_, _| true).await;
        assert_eq!(story.versions(), (3, 3), "{mood:?}");
    }
}

#[tokio::test]
async fn a_publication_that_is_lost_is_repeated_and_never_amid_a_switch() {
    let story = Story::new(patient);
    story.registry.follow(Follower::quiet_after("proxy", 400));
    // Once now, and once when the deployment begins to run.
    story.registry.is(Mood::Fails(2));
    let gate = story.gate();
    gate.publish();
    Story::flush(&gate).await;
    assert_eq!(story.journal.take(), Vec::<String>::new());
    // Next it would be tried while the follower is waited for, which takes longer than the pause between two tries.
    // On a busy machine the try that fails may be the one after the opening; the next one follows after its pause.
    let is_home =
        |d: &Deployment, _: &Pulse| d.home == Side::Green && d.settled && story.versions() == (3, 3);
    let mut journal = story.run_with(&gate, is_home).await;
    Story::flush(&gate).await;
    journal.extend(story.journal.take());
    let want = ["hold 1", "fence blue", "open green", "publish 3", "release 1"];
    assert_eq!(told(&journal, &["publish", "hold", "fence", "open", "release"]), want, "{journal:?}");

    // Its answer is lost: it is done once more, and found done.
    story.registry.is(Mood::Forgets(1));
    story.say(Event::SwitchAsked { to: Side::Blue, why: "slow".into() });
    story.switch(Side::Blue).await;
    story.run(|_, _| true).await;
    assert_eq!(story.versions(), (4, 4));
}

#[tokio::test]
async fn with_strict_reads_a_registry_that_is_down_is_no_permission() {
    let story = Story::new(strict);
    story.registry.is(Mood::Down);
    let journal = story.run(|_, pulse| matches!(pulse, Pulse::Moved(Event::Unfenced { .. }))).await;
    assert_eq!(told(&journal, &["fence"]), Vec::<&str>::new());
    let why = "reads are strict, and it is not known who reads: memory cannot be reached: it is down";
    assert_eq!(story.reasons(), [why]);
}

#[tokio::test]
async fn an_attempt_that_is_given_up_lets_clients_go_where_they_were() {
    let story = Story::new(patient).published().await;
    story.registry.follow(Follower::quiet("proxy"));
    story.ends.refuse_fences(1);
    let journal = story.switch(Side::Green).await;
    let want = ["hold 1", "release 1", "hold 2", "fence blue", "open green", "publish 3", "release 2"];
    assert_eq!(told(&journal, &["publish", "hold", "fence", "open", "release"]), want, "{journal:?}");
}

/// Whoever came between the decision and the opening, or between that and the publication, publishes after the opening.
#[tokio::test]
async fn a_runner_that_died_after_the_decision_has_its_routes_published_by_the_next() {
    for opened in [false, true] {
        let story = Story::new(patient);
        story.run(|_, pulse| matches!(pulse, Pulse::Waiting(_) | Pulse::Moved(_))).await;
        // What the first runner did of the switch, by hand: it tells nobody.
        story
            .run_with(&NoGate, |_, pulse| match opened {
                false => matches!(pulse, Pulse::Moved(Event::Switched { .. })),
                true => matches!(pulse, Pulse::Acted(Action::Open { .. })),
            })
            .await;
        let before = story.versions();
        assert_eq!(before, (2, 3), "opened: {opened}");
        let journal = story.switch(Side::Green).await;
        let want = if opened { vec!["publish 3"] } else { vec!["open green", "publish 3"] };
        assert_eq!(told(&journal, &["publish", "open"]), want, "opened: {opened}: {journal:?}");
    }
}

#[tokio::test]
async fn without_a_registry_nobody_is_asked() {
    let story = Story::new(|_| {});
    let is_home = |d: &Deployment, _: &Pulse| d.home == Side::Green && d.settled;
    let journal = story.run_with(&NoGate, is_home).await;
    assert_eq!(journal, ["fence blue", "open green", "seal blue"]);
}
