//! What has changed from one version of routes to another, as it is sent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Address, BadRoutes, Routes, Traffic};
use crate::ids::PartitionId;
use crate::map::{BadDelta, Change, MapDelta};

/// The changes from one version of [`Routes`] to a later one. [`Routes::delta`] makes it, [`Routes::after`] takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutesDelta {
    project: String,
    map: MapDelta,
    /// Addresses that are new or other ones; `null`: it is gone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    addresses: BTreeMap<String, Option<Address>>,
    /// The same of traffic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    traffic: BTreeMap<PartitionId, Option<Traffic>>,
}

/// Why a delta cannot be applied to routes. These are as they were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRoutesDelta {
    /// It is another project's.
    #[error("the delta is of project {got:?}, and the routes are of {want:?}")]
    Project {
        /// The routes' project.
        want: String,
        /// The delta's.
        got: String,
    },
    /// The map does not take its part.
    #[error(transparent)]
    Map(#[from] BadDelta),
    /// It would make routes that lead nowhere.
    #[error("the delta would damage the routes")]
    Damages(#[source] BadRoutes),
}

impl RoutesDelta {
    /// The project whose routes change.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The context.
    pub fn context(&self) -> &str {
        self.map.context()
    }

    /// The version to which it can be applied.
    pub fn from(&self) -> u64 {
        self.map.from()
    }

    /// The version that it makes of that.
    pub fn to(&self) -> u64 {
        self.map.to()
    }

    /// How many changes it is.
    pub fn changes(&self) -> usize {
        self.map.changes() + self.addresses.len() + self.traffic.len()
    }
}

impl Routes {
    /// What leads from these routes to `after`; `None` if those are of another project or context, have other
    /// dimensions, or are no later version.
    pub fn delta(&self, after: &Routes) -> Option<RoutesDelta> {
        if self.project != after.project {
            return None;
        }
        Some(RoutesDelta {
            project: self.project.clone(),
            map: self.map.delta(&after.map)?,
            addresses: differences(&self.addresses, &after.addresses),
            traffic: differences(&self.traffic, &after.traffic),
        })
    }

    /// The later version to which `delta` leads from these routes.
    ///
    /// Checks what changes, and nothing else, unless an address goes: then all is checked.
    ///
    /// # Errors
    ///
    /// [`BadRoutesDelta`].
    pub fn after(&self, delta: &RoutesDelta) -> Result<Routes, BadRoutesDelta> {
        if delta.project != self.project {
            let (want, got) = (self.project.clone(), delta.project.clone());
            return Err(BadRoutesDelta::Project { want, got });
        }
        let routes = Routes {
            project: self.project.clone(),
            map: self.map.apply(&delta.map)?,
            addresses: changed(&self.addresses, &delta.addresses),
            traffic: changed(&self.traffic, &delta.traffic),
        };
        routes.check_after(self, delta).map_err(BadRoutesDelta::Damages)?;
        Ok(routes)
    }

    fn check_after(&self, before: &Routes, delta: &RoutesDelta) -> Result<(), BadRoutes> {
        if delta.addresses.values().any(Option::is_none) {
            return self.check();
        }
        for Change { partition, after, .. } in before.map.diff(&self.map) {
            match after {
                Some(leaf) => self.check_home(&partition, &leaf.home)?,
                None if self.traffic.contains_key(&partition) => {
                    return Err(BadRoutes::NoPartition(partition));
                }
                None => {}
            }
        }
        let given = delta.traffic.keys().filter_map(|partition| self.traffic.get_key_value(partition));
        given.into_iter().try_for_each(|(partition, traffic)| self.check_traffic(partition, traffic))
    }
}

fn differences<K: Ord + Clone, V: PartialEq + Clone>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
) -> BTreeMap<K, Option<V>> {
    let gone = before.keys().filter(|key| !after.contains_key(key)).map(|key| (key.clone(), None));
    let new = after.iter().filter(|(key, value)| before.get(key) != Some(value));
    gone.chain(new.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}

fn changed<K: Ord + Clone, V: Clone>(before: &BTreeMap<K, V>, by: &BTreeMap<K, Option<V>>) -> BTreeMap<K, V> {
    let mut after = before.clone();
    for (key, value) in by {
        match value {
            Some(value) => drop(after.insert(key.clone(), value.clone())),
            None => drop(after.remove(key)),
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, Home};
    use crate::key::KeyType;
    use crate::map::{Dimension, Map, Selection, Tree};
    use crate::route::Reads;

    fn home(database: &str) -> Home {
        Home { database: database.into(), schema: "public".into() }
    }

    fn address(host: &str) -> Address {
        Address { host: host.into(), port: 5432, dbname: "shop".into(), endpoint: None }
    }

    fn id(name: &str) -> PartitionId {
        name.parse().expect(name)
    }

    /// Partitions `acme` and `rest` on `blue`; `green` has an address, too.
    fn routes() -> Routes {
        let tree: Tree = toml::from_str("split = \"tenant_id\"\n[list]\nacme = [7]").expect("it is a tree");
        let dimension = Dimension { column: "tenant_id".into(), key_type: KeyType::Integer };
        let map = Map::build("tenants", vec![dimension], Some(&tree), home("blue")).expect("it is whole");
        let addresses = ["blue", "green"].map(|name| (name.to_owned(), address(name)));
        Routes::new("shop".into(), map, addresses.into(), BTreeMap::new()).expect("they lead somewhere")
    }

    fn moved(routes: &Routes, to: &str) -> Map {
        let epoch = routes.epoch(&id("acme")).expect("it is there").next();
        routes.map().with_home(&id("acme"), home(to), epoch).expect("the epoch rises")
    }

    fn with(
        map: Map,
        addresses: BTreeMap<String, Address>,
        traffic: BTreeMap<PartitionId, Traffic>,
    ) -> Result<Routes, BadRoutes> {
        Routes::new("shop".into(), map, addresses, traffic)
    }

    #[test]
    fn a_delta_leads_from_one_version_to_the_other_also_when_it_was_sent() {
        let v1 = routes();
        let selection = Selection::parse("tenant_id=8", v1.map().dimensions()).expect("it is one");
        let carved = v1.map().carve(&selection).expect("one partition has it").0;
        let other =
            BTreeMap::from([("blue".to_owned(), address("blue2")), ("green".to_owned(), address("green"))]);
        let one = BTreeMap::from([("blue".to_owned(), address("blue"))]);
        let featured = Traffic { features: ["fast".to_owned()].into(), ..Traffic::default() };
        let traffic = BTreeMap::from([(id("acme"), featured)]);
        let (v2, same) = (moved(&v1, "green"), v1.addresses().clone());
        let rows = [
            ("a home", with(v2.clone(), same.clone(), BTreeMap::new())),
            ("an address", with(v2.clone(), other, BTreeMap::new())),
            ("an address less", with(moved(&v1, "blue"), one, BTreeMap::new())),
            ("traffic", with(v2, same.clone(), traffic)),
            ("a partition", with(carved, same, BTreeMap::new())),
        ];
        for (case, after) in rows {
            let after = after.expect(case);
            let delta = v1.delta(&after).expect(case);
            let sent = serde_json::to_string(&delta).expect(case);
            let delta: RoutesDelta = serde_json::from_str(&sent).expect(case);
            assert_eq!(
                (delta.from(), delta.to(), delta.context()),
                (1, after.version(), "tenants"),
                "{case}"
            );
            assert_eq!(v1.after(&delta), Ok(after.clone()), "{case}");
            assert!(after.delta(&v1).is_none(), "{case}: versions only rise");
            assert!(after.after(&delta).is_err(), "{case}: it goes on from elsewhere");
        }
    }

    #[test]
    fn a_delta_that_would_lead_nowhere_is_refused() {
        let v1 = routes();
        let after =
            with(moved(&v1, "green"), v1.addresses().clone(), BTreeMap::new()).expect("they lead somewhere");
        let good = v1.delta(&after).expect("it is later");
        let reads = |percent| Traffic {
            reads: Some(Reads { home: home("green"), percent, shadow: false, stale_max_ms: 1 }),
            ..Traffic::default()
        };
        let lost = [("green".to_owned(), None)];
        let acme = |traffic| BTreeMap::from([(id("acme"), Some(traffic))]);
        let no_address = BadRoutes::NoAddress { partition: id("acme"), database: "green".into() };
        let rows = [
            ("a home's address goes", RoutesDelta { addresses: lost.into(), ..good.clone() }, no_address),
            (
                "more than all",
                RoutesDelta { traffic: acme(reads(101)), ..good.clone() },
                BadRoutes::Percent { partition: id("acme"), percent: 101 },
            ),
            (
                "traffic of nobody",
                RoutesDelta { traffic: BTreeMap::from([(id("none"), Some(reads(1)))]), ..good.clone() },
                BadRoutes::NoPartition(id("none")),
            ),
        ];
        for (case, delta, want) in rows {
            assert_eq!(v1.after(&delta), Err(BadRoutesDelta::Damages(want)), "{case}");
        }
        let foreign = RoutesDelta { project: "library".into(), ..good.clone() };
        assert!(matches!(v1.after(&foreign), Err(BadRoutesDelta::Project { .. })));
        // One that leads to a home that never had an address.
        let beyond =
            v1.map().with_home(&id("acme"), home("red"), Epoch::FIRST.next()).expect("the epoch rises");
        let delta = RoutesDelta { map: v1.map().delta(&beyond).expect("it is later"), ..good };
        let want = BadRoutes::NoAddress { partition: id("acme"), database: "red".into() };
        assert_eq!(v1.after(&delta), Err(BadRoutesDelta::Damages(want)));
    }
}
