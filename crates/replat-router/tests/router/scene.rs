//! Small routes, and a clock that a test moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use replat_model::ids::{Epoch, Home, PartitionId};
use replat_model::key::{KeyType, KeyValue};
use replat_model::map::{Dimension, Map, Tree};
use replat_model::route::{Address, Routes, Traffic};
use replat_router::clock::{Clock, Moment};
use replat_router::{Hold, Router, Settings, Staleness};

pub fn name(text: &str) -> PartitionId {
    text.parse().expect("a legal name")
}

pub fn epoch(number: u64) -> Epoch {
    Epoch::from_number(number).expect("not zero")
}

pub fn home(database: &str) -> Home {
    Home { database: database.into(), schema: format!("app_{database}") }
}

/// A home, as destinations share it.
pub fn at(database: &str) -> Arc<Home> {
    Arc::new(home(database))
}

/// Tenants by list: `acme` (1 and 2), `globex` (3), and `rest`; all on blue.
pub fn tenants() -> Map {
    let dimension = Dimension { column: "tenant_id".into(), key_type: KeyType::BigInt };
    let tree: Tree = serde_json::from_value(serde_json::json!({
        "split": "tenant_id", "list": {"acme": [1, 2], "globex": [3]},
    }))
    .expect("a tree");
    Map::build("tenants", vec![dimension], Some(&tree), home("blue")).expect("a map")
}

pub fn addresses() -> BTreeMap<String, Address> {
    let address = |database: &str| Address {
        host: format!("{database}.internal"),
        port: 5432,
        dbname: "app".into(),
        endpoint: None,
    };
    ["blue", "green"].iter().map(|database| ((*database).to_owned(), address(database))).collect()
}

pub fn routes(map: Map) -> Routes {
    with_traffic(map, BTreeMap::new())
}

pub fn with_traffic(map: Map, traffic: BTreeMap<PartitionId, Traffic>) -> Routes {
    Routes::new("shop".into(), map, addresses(), traffic).expect("whole routes")
}

/// The next version, in which `acme` lives on `database`.
pub fn moved(routes: &Routes, database: &str) -> Routes {
    let next = routes.epoch(&name("acme")).expect("it is there").next();
    let map = routes.map().with_home(&name("acme"), home(database), next).expect("a later epoch");
    with_traffic(map, routes.traffic().clone())
}

pub fn acme() -> [KeyValue; 1] {
    [KeyValue::Int(1)]
}

pub fn globex() -> [KeyValue; 1] {
    [KeyValue::Int(3)]
}

/// A hold of `acme`, for writers, for an hour.
pub fn hold_acme(attempt: u32, at: u64) -> Hold {
    let lasts = Duration::from_secs(3600);
    Hold {
        partition: name("acme"),
        deployment: "d7".into(),
        attempt,
        epoch: epoch(at),
        reads: false,
        to: None,
        lasts,
    }
}

/// A router that needs no lease.
pub fn open(settings: Settings) -> Router {
    let router = Router::new("shop", "tenants", Settings { staleness: Staleness::All, ..settings });
    router.take(routes(tenants())).expect("the first routes");
    router
}

/// A clock that only a test moves.
#[derive(Clone)]
pub struct HandClock(Arc<Mutex<Moment>>);

impl HandClock {
    pub fn new() -> HandClock {
        let moment = Moment { running: Duration::from_secs(100), wall: Duration::from_secs(1_000_000) };
        HandClock(Arc::new(Mutex::new(moment)))
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        let mut now = self.0.lock().expect("no panic under this lock");
        now.running += time;
        now.wall += time;
    }

    /// The machine was frozen, and has had its wall clock set.
    pub fn freeze(&self, time: Duration) {
        self.0.lock().expect("no panic under this lock").wall += time;
    }

    pub fn router(&self, settings: Settings) -> Router {
        Router::with_clock("shop", "tenants", settings, Box::new(self.clone()))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        *self.0.lock().expect("no panic under this lock")
    }
}
