//! The runner over a database in memory: the boundary is ours, and its engine here does what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use replat_engine::Soon;
use replat_engine::lifecycle::{Limits, Outcome, Recalled, RunRecord, Script};
use replat_model::lifecycle::facts::{
    Bound, Edge, Key, Level, Method, Origin, Part, Replica, SetFacts, TableName,
};
use replat_model::lifecycle::plan::{NewPart, Work};
use replat_model::lifecycle::policy::{Lifecycle, PruneQuery};

use super::report::Worst;
use super::*;

/// What acting on a unit comes to.
#[derive(Clone)]
enum Deed {
    Done {
        stalled_us: u64,
    },
    /// Says that it is done, and has done nothing.
    Lies,
    Fails,
    Refused,
}

#[derive(Default)]
struct World {
    facts: Mutex<Facts>,
    /// Lags of the only replica, in milliseconds, reading by reading; the last one stays.
    lags: Mutex<Vec<u64>>,
    deeds: BTreeMap<String, Deed>,
    pruning: Vec<Finding>,
    recalled: Option<Recalled>,
    taken: bool,
    acted: Mutex<Vec<(String, Duration)>>,
    busy: Mutex<BTreeSet<TableName>>,
    together: AtomicUsize,
    most: AtomicUsize,
    looks: AtomicUsize,
    records: Mutex<Vec<RunRecord>>,
}

struct Engine(Arc<World>);

fn ready<'a, T: Send + 'a>(value: Result<T, EngineError>) -> Soon<'a, T> {
    Box::pin(std::future::ready(value))
}

impl LifecycleEngine for Engine {
    fn vitals(&self) -> Soon<'_, Vitals> {
        let mut facts = self.0.facts.lock().expect("facts");
        // The database's clock goes by ten seconds with each reading.
        facts.vitals.now += 10_000_000;
        let mut lags = self.0.lags.lock().expect("lags");
        let lag = if lags.len() > 1 { lags.remove(0) } else { lags.first().copied().unwrap_or(0) };
        let replica = Replica { name: "r1".into(), lag_ms: Some(lag), lag_bytes: Some(0) };
        ready(Ok(Vitals { replicas: Some(vec![replica]), ..facts.vitals.clone() }))
    }

    fn look<'a>(&'a self, _wanted: &'a Look) -> Soon<'a, Facts> {
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        let mut facts = self.0.facts.lock().expect("facts").clone();
        let lag = self.0.lags.lock().expect("lags").first().copied().unwrap_or(0);
        facts.vitals.replicas =
            Some(vec![Replica { name: "r1".into(), lag_ms: Some(lag), lag_bytes: Some(0) }]);
        ready(Ok(facts))
    }

    fn fingerprint(&self) -> Soon<'_, String> {
        ready(Ok(self.0.facts.lock().expect("facts").fingerprint.clone()))
    }

    fn script<'a>(&'a self, _unit: &'a Unit) -> Soon<'a, Script> {
        ready(Ok(Script::default()))
    }

    fn act<'a>(
        &'a self,
        unit: &'a Unit,
        limits: &'a Limits,
        _heard: &'a (dyn Hear + 'a),
    ) -> Soon<'a, Outcome> {
        Box::pin(async move {
            let world = &self.0;
            world.acted.lock().expect("acted").push((unit.id.clone(), limits.wait_total));
            assert!(world.busy.lock().expect("busy").insert(unit.set.clone()), "two units of {}", unit.set);
            let together = world.together.fetch_add(1, Ordering::SeqCst) + 1;
            world.most.fetch_max(together, Ordering::SeqCst);
            // Whoever else may begin has begun after some turns of the loop.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            world.together.fetch_sub(1, Ordering::SeqCst);
            world.busy.lock().expect("busy").remove(&unit.set);
            match world.deeds.get(&unit.id).cloned().unwrap_or(Deed::Done { stalled_us: 0 }) {
                Deed::Done { stalled_us } => {
                    bring_about(&mut world.facts.lock().expect("facts"), unit);
                    Ok(Outcome { done: true, tries: 1, stalled_us, ..Outcome::default() })
                }
                Deed::Lies => Ok(Outcome { done: true, ..Outcome::default() }),
                Deed::Fails => {
                    Ok(Outcome { why: Some("somebody holds a lock".into()), ..Outcome::default() })
                }
                Deed::Refused => Err(EngineError::Refused {
                    database: "db".into(),
                    during: "an attach".into(),
                    why: "permission denied".into(),
                }),
            }
        })
    }

    fn prunes<'a>(&'a self, _set: &'a TableName, _queries: &'a [PruneQuery]) -> Soon<'a, Vec<Finding>> {
        ready(Ok(self.0.pruning.clone()))
    }

    fn alone(&self) -> Soon<'_, Box<dyn Send>> {
        match self.0.taken {
            true => ready(Err(EngineError::Superseded { what: "the lock".into() })),
            false => ready(Ok(Box::new(()) as Box<dyn Send>)),
        }
    }

    fn recall(&self) -> Soon<'_, Option<Recalled>> {
        ready(Ok(self.0.recalled.clone()))
    }

    fn remember<'a>(&'a self, _facts: &'a Facts, run: &'a RunRecord) -> Soon<'a, ()> {
        self.0.records.lock().expect("records").push(run.clone());
        ready(Ok(()))
    }
}

fn bring_about(facts: &mut Facts, unit: &Unit) {
    let set = facts.sets.iter_mut().find(|s| s.table == unit.set).expect("a known set");
    match &unit.work {
        Work::Create { parts, .. } => {
            set.level.parts.extend(parts.iter().map(|new| part(&new.table, new.bound.clone())))
        }
        Work::Retire { part, .. } => set.level.parts.retain(|p| p.table != *part),
        other => panic!("{other:?} is not done here"),
    }
}

fn part(table: &TableName, bound: Bound) -> Part {
    Part {
        table: table.clone(),
        id: 7,
        bound,
        below: None,
        rows: None,
        bytes: None,
        empty: None,
        strays: None,
        when_true: None,
        held_by_rows: None,
        referenced: None,
        settings: BTreeMap::new(),
        origin: Origin::Made,
        detach_pending: false,
        foreign: false,
        legal_hold: false,
        since: None,
    }
}

fn range(from: &str, to: &str) -> Bound {
    Bound::Range { from: vec![Edge::At(from.into())], to: vec![Edge::At(to.into())] }
}

/// A set with a partition that is over, and one that rows arrive in.
fn set(name: &str) -> SetFacts {
    let table = TableName::new("app", name);
    let old = part(&table.beside(format!("{name}_old")), range("0", "10"));
    let used = part(&table.beside(format!("{name}_used")), range("10", "20"));
    SetFacts {
        table,
        id: name.bytes().map(u64::from).sum(),
        owner: "app".into(),
        lacking: Vec::new(),
        level: Level {
            method: Method::Range,
            keys: vec![Key {
                column: Some("id".into()),
                text: "id".into(),
                type_name: "bigint".into(),
                nullable: false,
            }],
            parts: vec![old, used],
            high: Some("12".into()),
            samples: Vec::new(),
        },
        columns: BTreeMap::new(),
        references: Vec::new(),
        referenced_by: Vec::new(),
        indexes: Vec::new(),
        publications: Vec::new(),
        samples: Vec::new(),
        relations_each: 3,
        managed_by: None,
        managed_as: None,
        managed_notes: Vec::new(),
        managed_off: None,
    }
}

fn create(set: &SetFacts) -> Unit {
    let new = NewPart {
        table: set.table.beside(format!("{}_new", set.table.name)),
        bound: range("20", "30"),
        like: None,
        below: None,
    };
    let work = Work::Create { parent: set.table.clone(), parts: vec![new], default: None, edge: None };
    unit(set, "create", work)
}

fn retire(set: &SetFacts) -> Unit {
    let old = &set.level.parts[0];
    let work = Work::Retire {
        parent: set.table.clone(),
        part: old.table.clone(),
        part_id: old.id,
        bound: old.bound.clone(),
        default: None,
        archive: None,
        drop_after: None,
        because: "it is old".into(),
    };
    unit(set, "retire", work)
}

fn unit(set: &SetFacts, kind: &str, work: Work) -> Unit {
    let id = format!("{kind}-{}", set.table.name);
    Unit { id, set: set.table.clone(), set_id: set.id, work, wal_bytes: 1_000, relations: 3 }
}

fn plan(units: Vec<Unit>) -> RotatePlan {
    RotatePlan {
        format: 1,
        identity: "i".into(),
        fingerprint: "f".into(),
        at: 0,
        units,
        findings: Vec::new(),
        understood: Vec::new(),
    }
}

/// A world with two sets, and a plan that makes a partition of each and retires one of each.
fn two() -> (World, RotatePlan) {
    let (a, b) = (set("a"), set("b"));
    let units = vec![create(&a), create(&b), retire(&a), retire(&b)];
    let vitals = Vitals {
        identity: "i".into(),
        database: "db".into(),
        connections: Some((1, 100)),
        ..Vitals::default()
    };
    let facts = Facts { vitals, sets: vec![a, b], fingerprint: "f".into(), ..Facts::default() };
    (World { facts: Mutex::new(facts), ..World::default() }, plan(units))
}

fn settings(patience_ms: u64) -> Settings {
    let breaker = BreakerLimits { transaction_age: None, ..BreakerLimits::default() };
    Settings {
        run: name(0),
        reason: Reason::Call,
        look: Look::default(),
        wish: Wish::default(),
        budgets: Budgets::default(),
        breaker,
        patience: Duration::from_millis(patience_ms),
        runway_min: None,
        quick: true,
        dry_run: false,
    }
}

struct Deaf;

impl Hear for Deaf {
    fn progress(&self, _what: &str, _done: u64, _of: Option<u64>) {}
}

impl Watch for Deaf {
    fn told(&self, _news: &News<'_>) {}
}

async fn carried_out(world: &Arc<World>, plan: &RotatePlan, settings: &Settings, jobs: usize) -> RunReport {
    let engines: Vec<Box<dyn LifecycleEngine>> =
        (0..jobs).map(|_| Box::new(Engine(world.clone())) as Box<dyn LifecycleEngine>).collect();
    let rotation = Rotation { engines: &engines, settings, heard: &Deaf };
    rotation.apply(plan, |_| Ok(())).await.expect("it runs").expect("it fits")
}

fn states(report: &RunReport) -> Vec<(&str, State)> {
    report.entries.iter().map(|e| (e.unit.id.as_str(), e.state)).collect()
}

#[tokio::test]
async fn units_fail_alone_and_the_worst_of_them_is_told() {
    use State::{Done, Failed};
    let cases = [
        // That the pace of these sets is not known yet is a note.
        (None, [Done, Done], Worst::Fine),
        (Some(Deed::Fails), [Failed, Done], Worst::Temporary),
        (Some(Deed::Refused), [Failed, Done], Worst::Precondition),
        (Some(Deed::Lies), [Done, Done], Worst::Different),
    ];
    for (deed, [a, b], worst) in cases {
        let (mut world, plan) = two();
        world.deeds.extend(deed.map(|deed| ("create-a".to_owned(), deed)));
        let world = Arc::new(world);
        let report = carried_out(&world, &plan, &settings(100), 1).await;
        let wanted = [("create-a", a), ("create-b", b), ("retire-a", State::Done), ("retire-b", State::Done)];
        assert_eq!(states(&report), wanted);
        assert_eq!(report.worst(), worst, "{:?}", report.findings);
        let records = world.records.lock().expect("records");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].failed.len(), usize::from(a == State::Failed));
        assert!(!records[0].converged, "something was done, so the next run looks again");
    }
}

#[tokio::test]
async fn a_lagging_replica_holds_provisioning_back_and_nothing_else() {
    let (world, plan) = two();
    *world.lags.lock().expect("lags") = vec![9_000];
    let world = Arc::new(world);
    let report = carried_out(&world, &plan, &settings(20), 1).await;
    assert_eq!(
        states(&report),
        [
            ("create-a", State::Held),
            ("create-b", State::Held),
            ("retire-a", State::Done),
            ("retire-b", State::Done)
        ]
    );
    assert_eq!(report.worst(), Worst::Throttled);
    let held = &report.entries[0];
    assert_eq!(held.code.as_deref(), Some(codes::BREAKER));
    let why = held.why.as_deref().expect("a reason");
    assert!(why.contains("r1") && why.contains("goes on when"), "{why}");
    assert!(!report.pauses.is_empty() && report.pauses.iter().all(|p| !p.closed));
}

#[tokio::test]
async fn a_breaker_that_closes_within_patience_lets_the_run_go_on() {
    let (world, plan) = two();
    // The look and the first reading see the lag, the next one does not.
    *world.lags.lock().expect("lags") = vec![9_000, 0];
    let world = Arc::new(world);
    let report = carried_out(&world, &plan, &settings(300), 1).await;
    assert!(states(&report).iter().all(|(_, state)| *state == State::Done), "{report:?}");
    assert_eq!(report.worst(), Worst::Fine, "{:?}", report.findings);
}

#[tokio::test]
async fn a_spent_stall_budget_leaves_only_tries_that_do_not_queue() {
    let (mut world, plan) = two();
    world.deeds.insert("create-a".into(), Deed::Done { stalled_us: 400_000 });
    world.deeds.insert("create-b".into(), Deed::Fails);
    let world = Arc::new(world);
    let report = carried_out(&world, &plan, &settings(100), 1).await;
    let acted = world.acted.lock().expect("acted").clone();
    assert_eq!(acted[0], ("create-a".to_owned(), Budgets::default().per_run));
    assert!(acted[1..].iter().all(|(_, total)| total.is_zero()), "{acted:?}");
    assert_eq!(report.entries[1].state, State::Held);
    assert_eq!(report.entries[1].code.as_deref(), Some(codes::STALL));
    assert_eq!(report.entries[2].state, State::Done, "it needed no queue");
    assert_eq!(report.worst(), Worst::Throttled);
    assert_eq!(report.stalled_us(), 400_000);
}

#[tokio::test]
async fn a_query_that_reads_too_much_vetoes_new_partitions_of_its_set() {
    let (mut world, plan) = two();
    world.pruning = vec![Finding {
        severity: Severity::Error,
        code: codes::PRUNING.into(),
        set: Some(TableName::new("app", "a")),
        what: "it reads 31 partitions, 1 is allowed".into(),
        remedy: "Give it a condition on the key.".into(),
    }];
    let mut settings = settings(100);
    let query = PruneQuery { sql: "select 1".into(), at_most: None, veto: true };
    settings.wish.lifecycles = vec![(
        "a".into(),
        Lifecycle { tables: vec!["app.a".into()], prune: vec![query], ..Lifecycle::default() },
    )];
    let world = Arc::new(world);
    let report = carried_out(&world, &plan, &settings, 1).await;
    assert_eq!(
        states(&report),
        [
            ("create-a", State::Refused),
            ("create-b", State::Done),
            ("retire-a", State::Done),
            ("retire-b", State::Done)
        ]
    );
    assert_eq!(report.worst(), Worst::Different);
}

#[tokio::test]
async fn sets_are_worked_on_side_by_side_and_units_of_one_set_never() {
    for (jobs, most) in [(1, 1), (2, 2), (8, 2)] {
        let (world, plan) = two();
        let world = Arc::new(world);
        let report = carried_out(&world, &plan, &settings(100), jobs).await;
        assert_eq!(report.in_state(State::Done).count(), 4);
        assert_eq!(world.most.load(Ordering::SeqCst), most, "{jobs} jobs");
    }
}

#[tokio::test]
async fn sets_that_refer_to_the_same_table_wait_for_each_other() {
    let (world, plan) = two();
    for set in &mut world.facts.lock().expect("facts").sets {
        set.references.push(replat_model::lifecycle::facts::Reference {
            name: "fk".into(),
            table: TableName::new("app", "shared"),
            definition: "FOREIGN KEY (x) REFERENCES app.shared(id)".into(),
        });
    }
    let world = Arc::new(world);
    carried_out(&world, &plan, &settings(100), 2).await;
    assert_eq!(world.most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn another_run_is_told_apart_and_nothing_is_done() {
    let (mut world, plan) = two();
    world.taken = true;
    let world = Arc::new(world);
    let engines: Vec<Box<dyn LifecycleEngine>> = vec![Box::new(Engine(world.clone()))];
    let rotation = Rotation { engines: &engines, settings: &settings(100), heard: &Deaf };
    let error = rotation.apply(&plan, |_| Ok(())).await.expect_err("it is taken");
    assert!(matches!(error, EngineError::Superseded { .. }));
    assert!(world.acted.lock().expect("acted").is_empty());
}

#[tokio::test]
async fn a_read_only_database_is_left_alone() {
    let (world, plan) = two();
    world.facts.lock().expect("facts").vitals.read_only = true;
    let world = Arc::new(world);
    let report = carried_out(&world, &plan, &settings(100), 1).await;
    assert_eq!(report.ending, Ending::ReadOnly);
    assert_eq!(report.worst(), Worst::Fine);
    assert!(world.acted.lock().expect("acted").is_empty());
    assert!(world.records.lock().expect("records").is_empty());
}

#[tokio::test]
async fn nothing_is_looked_at_where_nothing_can_have_changed() {
    let settings = settings(100);
    let good = Recalled {
        database: "db".into(),
        now: 50,
        read_only: false,
        at: 10,
        fingerprint: "f".into(),
        policy: settings.digest(),
        steady_until: Some(100),
        default_bytes: Some(0),
    };
    let cases: [(&str, Recalled, bool); 8] = [
        ("as it was", good.clone(), true),
        ("its time is over", Recalled { now: 100, ..good.clone() }, false),
        ("no time was given", Recalled { steady_until: None, ..good.clone() }, false),
        ("the clock went back", Recalled { now: 5, ..good.clone() }, false),
        ("another wish", Recalled { policy: "other".into(), ..good.clone() }, false),
        ("another catalogue", Recalled { fingerprint: "g".into(), ..good.clone() }, false),
        ("rows in a default", Recalled { default_bytes: Some(8_192), ..good.clone() }, false),
        ("read-only", Recalled { read_only: true, ..good }, false),
    ];
    for (what, recalled, unchanged) in cases {
        let (mut world, _) = two();
        world.recalled = Some(recalled);
        let world = Arc::new(world);
        let engines: Vec<Box<dyn LifecycleEngine>> = vec![Box::new(Engine(world.clone()))];
        let rotation = Rotation { engines: &engines, settings: &settings, heard: &Deaf };
        let report = rotation.run().await.expect("it runs");
        assert_eq!(report.ending == Ending::Unchanged, unchanged, "{what}");
        assert_eq!(world.looks.load(Ordering::Relaxed) == 0, unchanged, "{what}");
    }
}
