//! Routes to publish, and a store that has them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use replat_engine::BoxError;
use replat_model::ids::{Home, PartitionId};
use replat_model::key::{KeyLiteral, KeyType};
use replat_model::map::{Dimension, Map, Tree};
use replat_model::route::{Address, Routes, RoutesDelta, Traffic};
use replat_registry::Outbox;

pub const CONTEXT: &str = "tenants of /shop";

fn home(database: &str) -> Home {
    Home { database: database.to_owned(), schema: "public".to_owned() }
}

fn hash(modulus: u32, under: BTreeMap<String, Tree>) -> Tree {
    let split = "tenant_id".to_owned();
    Tree { split, list: None, hash: Some(modulus), cuts: None, names: None, rest: None, under }
}

/// Version 1, with `leaves` partitions by hash.
pub fn first(project: &str, leaves: u32) -> Routes {
    whole(project, &hash(leaves, BTreeMap::new()))
}

/// Version 1, with a thousand times a thousand partitions.
pub fn million(project: &str) -> Routes {
    let ranges = |first: i64, step: i64, under| {
        let cuts = (1..1000).map(|n| KeyLiteral::Int(first + n * step)).collect();
        Tree { hash: None, cuts: Some(cuts), ..hash(1, under) }
    };
    let million = 1_000_000;
    let under = (0..1000).map(|n| (format!("r{n}"), ranges(n * million, 1, BTreeMap::new()))).collect();
    whole(project, &ranges(0, million, under))
}

fn whole(project: &str, tree: &Tree) -> Routes {
    let dimension = Dimension { column: "tenant_id".to_owned(), key_type: KeyType::Integer };
    let map = Map::build(CONTEXT, vec![dimension], Some(tree), home("blue")).expect("it is a tree");
    let address = |database: &str| {
        let host = format!("{database}.internal");
        (database.to_owned(), Address { host, port: 5432, dbname: "shop".into(), endpoint: None })
    };
    let addresses = BTreeMap::from([address("blue"), address("green")]);
    Routes::new(project.to_owned(), map, addresses, BTreeMap::new()).expect("they lead somewhere")
}

pub fn partition(number: u32) -> PartitionId {
    format!("b{number}").parse().expect("it is a name")
}

/// The next version, in which some partition has moved and one has a feature.
pub fn next(routes: &Routes) -> Routes {
    let count = u32::try_from(routes.map().leaves().count()).expect("there are not so many");
    let moved = partition(u32::try_from(routes.version()).expect("it is small") % count);
    let leaf = routes.map().leaf(&moved).expect("it is there");
    let to = if leaf.home.database == "blue" { "green" } else { "blue" };
    let map = routes.map().with_home(&moved, home(to), leaf.epoch.next()).expect("the epoch rises");
    let mut traffic = routes.traffic().clone();
    let feature = format!("since_{}", map.version());
    traffic.insert(moved, Traffic { features: [feature].into(), ..Traffic::default() });
    Routes::new(routes.project().to_owned(), map, routes.addresses().clone(), traffic)
        .expect("they lead somewhere")
}

/// A store in memory: all versions so far.
pub struct Versions(Mutex<Vec<Routes>>);

impl Versions {
    pub fn new(first: Routes) -> Versions {
        Versions(Mutex::new(vec![first]))
    }

    pub fn all(&self) -> std::sync::MutexGuard<'_, Vec<Routes>> {
        self.0.lock().expect("nobody panicked with it")
    }

    /// Makes this many versions more; returns the newest.
    pub fn advance(&self, versions: u64) -> Routes {
        let mut all = self.all();
        for _ in 0..versions {
            let next = next(all.last().expect("there is a first"));
            all.push(next);
        }
        all.last().expect("there is a first").clone()
    }

    pub fn newest(&self) -> Routes {
        self.advance(0)
    }

    /// The version of this number.
    pub fn at(&self, version: u64) -> Routes {
        self.all().iter().find(|routes| routes.version() == version).expect("it was made").clone()
    }
}

impl Outbox for Versions {
    fn newest(&self, _: &str) -> Result<Option<u64>, BoxError> {
        Ok(Some(self.newest().version()))
    }

    fn routes(&self, _: &str) -> Result<Routes, BoxError> {
        Ok(self.newest())
    }

    fn since(&self, _: &str, version: u64) -> Result<Option<Vec<RoutesDelta>>, BoxError> {
        let all = self.all();
        let Some(at) = all.iter().position(|routes| routes.version() == version) else { return Ok(None) };
        let pairs = all[at..].windows(2);
        Ok(Some(pairs.map(|pair| pair[0].delta(&pair[1]).expect("it is the next version")).collect()))
    }

    fn at(&self, _: &str, version: u64) -> Result<Option<Routes>, BoxError> {
        Ok(self.all().iter().find(|routes| routes.version() == version).cloned())
    }
}
