//! The control store on real files: what it promises, and what it refuses to believe.

mod damage;
mod deployments;
mod files;
mod maps;
mod routes;
mod runners;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use replat_engine::{Listed, LogError, WorkLog};
use replat_model::deploy::{Certificate, Event, Timestamp};
use replat_model::ids::{DeploymentId, Epoch, Home, Lsn, PartitionId, Side};
use replat_model::key::KeyType;
use replat_model::map::{Dimension, Map, Selection};
use replat_model::plan::{End, FORMAT, Plan, Reversibility};
use replat_model::prediction::Prediction;
use replat_model::spec::Policy;
use replat_store::Store;

const T0: Timestamp = Timestamp(1_700_000_000_000);

/// A directory of a test's own, gone when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("replat-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Directory(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("control.db")
    }

    fn store(&self) -> Store {
        open(&self.file())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn open(path: &Path) -> Store {
    Store::open(path).expect("the store opens")
}

fn home(database: &str) -> Home {
    Home { database: database.into(), schema: "public".into() }
}

fn id(text: &str) -> PartitionId {
    text.parse().expect(text)
}

fn epoch(number: u64) -> Epoch {
    Epoch::from_number(number).expect("tests count epochs from 1")
}

/// Context `shop` by tenant: acme has 1, bolt has 2, the rest has the rest.
fn shop() -> Map {
    let dimensions = vec![Dimension { column: "tenant_id".into(), key_type: KeyType::Integer }];
    let tree = serde_json::json!({ "split": "tenant_id", "list": { "acme": [1], "bolt": [2] } });
    let tree = serde_json::from_value(tree).expect("a tree");
    Map::build("shop", dimensions, Some(&tree), home("old")).expect("a map")
}

fn carved(map: &Map, selection: &str) -> (Map, PartitionId) {
    let selection = Selection::parse(selection, map.dimensions()).expect(selection);
    map.carve(&selection).expect("it lies in one partition")
}

/// A plan to move a partition from where `map` has it to `green`.
fn plan(map: &Map, partition: &str, green: &str) -> Plan {
    let leaf = map.leaf(&id(partition)).expect(partition);
    Plan {
        format: FORMAT,
        context: map.context().into(),
        partition: leaf.partition.clone(),
        region: map.region(&leaf.partition).expect(partition),
        dimensions: map.dimensions().to_vec(),
        epoch: leaf.epoch,
        blue: end((*leaf.home).clone()),
        green: end(home(green)),
        version_before: None,
        version: "2".into(),
        ddl: Vec::new(),
        one_database: false,
        path: replat_model::plan::Path::Copy { because: None },
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

fn end(home: Home) -> End {
    End { system_id: home.database.clone(), database_name: home.database.clone(), major: 15, home }
}

fn asked(plan: Plan) -> Event {
    Event::Asked { plan: Box::new(plan) }
}

fn begin(store: &Store, map: &Map, partition: &str) -> Result<Listed, LogError> {
    store.begin(&asked(plan(map, partition, "new")), map, T0)
}

fn append(store: &Store, deployment: &DeploymentId, event: &Event) -> Result<(), LogError> {
    let length = store.read(deployment)?.len() as u64;
    store.append(deployment, length, event, T0)
}

/// The events of one attempt that ends in a switch to `to`.
fn switch(attempt: u32, to: Side, at: u64) -> [Event; 3] {
    [
        Event::SwitchIntended { attempt, since: T0 },
        Event::Fenced { attempt, at: Lsn(0), since: T0 },
        Event::Switched { attempt, to, epoch: epoch(at), at: T0, proof: Certificate::default() },
    ]
}

/// Appends events, each of which must be taken.
fn append_all(store: &Store, deployment: &DeploymentId, events: &[Event]) {
    for event in events {
        append(store, deployment, event).unwrap_or_else(|why| panic!("{event:?}: {why}"));
    }
}
