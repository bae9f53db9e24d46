//! What routers are told of a context: its map, where its databases can be reached, and how requests are shared out.
//!
//! The version of [`Routes`] is the version of their map: whatever routers should know of, also a new address, is a
//! new version. Routers take only a higher one than they have.

mod delta;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, Home, PartitionId};
use crate::key::KeyValue;
use crate::map::{BadKey, Leaf, Map};
pub use delta::{BadRoutesDelta, RoutesDelta};

/// Where a database can be reached. Who may log in, and how, is the matter of whoever connects: no secret is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// A name or an address, or the folder of a Unix socket.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database's name on that server.
    pub dbname: String,
    /// Where the application's own service for this database listens, such as `http://green.internal:8080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// How requests for one partition are shared out, beyond "all go to its home".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// The version of the schema that the home has, as deployments name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// Features that are switched on for this partition. Their meaning is the application's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// A share of the reads goes to another home than the writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Reads>,
}

/// A share of one partition's reads that another home answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reads {
    /// Who answers.
    pub home: Home,
    /// How many of a hundred; with `shadow`, how many are asked there too.
    pub percent: u8,
    /// Both homes are asked, the partition's own one answers, and differences are written down.
    #[serde(default)]
    pub shadow: bool,
    /// How far that home may be behind before it is not asked. Unit: milliseconds.
    pub stale_max_ms: u64,
}

/// Everything that a router needs for one context, at one version. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Routes {
    project: String,
    map: Map,
    addresses: BTreeMap<String, Address>,
    traffic: BTreeMap<PartitionId, Traffic>,
}

/// Routes as they are written, before anything is known of them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    project: String,
    map: Map,
    addresses: BTreeMap<String, Address>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    traffic: BTreeMap<PartitionId, Traffic>,
}

impl From<Routes> for Raw {
    fn from(Routes { project, map, addresses, traffic }: Routes) -> Raw {
        Raw { project, map, addresses, traffic }
    }
}

impl TryFrom<Raw> for Routes {
    type Error = BadRoutes;

    fn try_from(Raw { project, map, addresses, traffic }: Raw) -> Result<Routes, BadRoutes> {
        Routes::new(project, map, addresses, traffic)
    }
}

/// Routes that would lead nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRoutes {
    /// A home's database has no address.
    #[error("partition {partition} lives on {database}, which has no address")]
    NoAddress {
        /// The partition.
        partition: PartitionId,
        /// The database.
        database: String,
    },
    /// Traffic is shared out for a partition that is not there.
    #[error("the map has no partition {0}, whose traffic is described")]
    NoPartition(PartitionId),
    /// A share is not one.
    #[error("{partition}: {percent} of a hundred reads is no share")]
    Percent {
        /// The partition.
        partition: PartitionId,
        /// What was given.
        percent: u8,
    },
}

/// Where one key's requests go.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The partition, its home and epoch.
    pub leaf: &'a Leaf,
    /// Where that home can be reached.
    pub address: &'a Address,
    /// How its requests are shared out; `None`: all go to the home.
    pub traffic: Option<&'a Traffic>,
}

impl Routes {
    /// Routes that are whole.
    ///
    /// # Errors
    ///
    /// [`BadRoutes`] if a home has no address, or traffic is described that cannot be.
    pub fn new(
        project: String,
        map: Map,
        addresses: BTreeMap<String, Address>,
        traffic: BTreeMap<PartitionId, Traffic>,
    ) -> Result<Routes, BadRoutes> {
        let routes = Routes { project, map, addresses, traffic };
        routes.check()?;
        Ok(routes)
    }

    fn check(&self) -> Result<(), BadRoutes> {
        self.map.leaves().try_for_each(|leaf| self.check_home(&leaf.partition, &leaf.home))?;
        self.traffic.iter().try_for_each(|(partition, traffic)| self.check_traffic(partition, traffic))
    }

    fn check_home(&self, partition: &PartitionId, home: &Home) -> Result<(), BadRoutes> {
        if self.addresses.contains_key(&home.database) {
            return Ok(());
        }
        Err(BadRoutes::NoAddress { partition: partition.clone(), database: home.database.clone() })
    }

    fn check_traffic(&self, partition: &PartitionId, traffic: &Traffic) -> Result<(), BadRoutes> {
        if self.map.leaf(partition).is_none() {
            return Err(BadRoutes::NoPartition(partition.clone()));
        }
        let Some(reads) = &traffic.reads else { return Ok(()) };
        self.check_home(partition, &reads.home)?;
        match reads.percent {
            0..=100 => Ok(()),
            percent => Err(BadRoutes::Percent { partition: partition.clone(), percent }),
        }
    }

    /// The project that these routes are of. A router of another one refuses them.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The context.
    pub fn context(&self) -> &str {
        self.map.context()
    }

    /// The version, which is the map's.
    pub fn version(&self) -> u64 {
        self.map.version()
    }

    /// The map.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Where the databases can be reached, by their names in the spec.
    pub fn addresses(&self) -> &BTreeMap<String, Address> {
        &self.addresses
    }

    /// What is special about the traffic of some partitions.
    pub fn traffic(&self) -> &BTreeMap<PartitionId, Traffic> {
        &self.traffic
    }

    /// Where the requests for `key` go.
    ///
    /// # Errors
    ///
    /// As [`Map::lookup`].
    pub fn find(&self, key: &[KeyValue]) -> Result<Route<'_>, BadKey> {
        Ok(self.route(self.map.lookup(key)?))
    }

    /// Where the requests for a partition go; `None` if the map does not have it.
    pub fn partition(&self, partition: &PartitionId) -> Option<Route<'_>> {
        self.map.leaf(partition).map(|leaf| self.route(leaf))
    }

    fn route<'a>(&'a self, leaf: &'a Leaf) -> Route<'a> {
        Route {
            leaf,
            // By construction each home has an address.
            address: &self.addresses[&leaf.home.database],
            traffic: self.traffic.get(&leaf.partition),
        }
    }

    /// The epoch at which a partition lives where it does; `None` if the map does not have it.
    pub fn epoch(&self, partition: &PartitionId) -> Option<Epoch> {
        self.map.leaf(partition).map(|leaf| leaf.epoch)
    }
}
