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
