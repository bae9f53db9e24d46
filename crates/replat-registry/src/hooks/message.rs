//! What a hook is told.

use std::collections::BTreeSet;

use replat_model::deploy::Timestamp;
use replat_model::ids::{Epoch, Home, PartitionId};
use replat_model::lifecycle::facts::TableName;
use replat_model::route::Routes;
use serde::{Deserialize, Serialize};

/// More partitions than this are not told one by one.
const PARTITIONS_MAX: usize = 1_000;

/// One message. The same change has the same `id`, however often it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The layout; 1.
    pub format: u32,
    /// `PROJECT/CONTEXT/VERSION`.
    pub id: String,
    /// Whose routes or tables.
    pub project: String,
    /// Of which context; `tables/DATABASE` for the tables of a database.
    pub context: String,
    /// What kind of change.
    pub kind: MessageKind,
    /// The version that the hook was told of before; 0: none.
    pub from: u64,
    /// The version that is published now.
    pub version: u64,
    /// When this was sent.
    pub at: Timestamp,
    /// What it is about.
    #[serde(flatten)]
    pub concerned: Concerned,
}

/// What kind of change a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// Partitions have changed, those that are listed.
    Routes,
    /// Anything of the context may have changed.
    Reset,
    /// Partitions of tables in a database have changed.
    Tables,
}

/// What a message is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concerned {
    /// Of [`MessageKind::Routes`]: the partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionChange>,
    /// Of [`MessageKind::Tables`]: the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Of [`MessageKind::Tables`]: its partitioned tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableName>,
}

/// What has become of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionChange {
    /// The partition.
    pub partition: PartitionId,
    /// `switched`: it has another home; `added` and `removed`; `changed`: its traffic or its database's address.
    pub kind: String,
    /// Its epoch; absent if it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Its home; absent if it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
}

impl Message {
    pub(super) fn new(
        project: &str,
        context: &str,
        from: u64,
        version: u64,
        at: Timestamp,
        kind: MessageKind,
        concerned: Concerned,
    ) -> Message {
        let (project, context) = (project.to_owned(), context.to_owned());
        let id = format!("{project}/{context}/{version}");
        Message { format: 1, id, project, context, kind, from, version, at, concerned }
    }

    /// The same, shorter: whoever hears it takes it that anything has changed.
    pub(super) fn without_details(&self) -> Message {
        let kind = if self.kind == MessageKind::Routes { MessageKind::Reset } else { self.kind };
        let concerned = Concerned { database: self.concerned.database.clone(), ..Concerned::default() };
        Message { kind, concerned, ..self.clone() }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a message is plain data")
    }
}

/// The partitions that are not the same in two versions; `None` if these are too many to be told.
pub(super) fn difference(before: &Routes, after: &Routes) -> Option<Vec<PartitionChange>> {
    let changes = before.map().diff(after.map());
    if changes.len() > PARTITIONS_MAX {
        return None;
    }
    let mut told: BTreeSet<PartitionId> = BTreeSet::new();
    let mut all: Vec<PartitionChange> = Vec::new();
    for change in changes {
        let kind = match (&change.before, &change.after) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(before), Some(after)) if before.home == after.home && before.epoch == after.epoch => {
                "changed"
            }
            _ => "switched",
        };
        told.insert(change.partition.clone());
        let (epoch, home) = change.after.map(|leaf| (leaf.epoch, (*leaf.home).clone())).unzip();
        all.push(PartitionChange { partition: change.partition, kind: kind.to_owned(), epoch, home });
    }
    let moved: Vec<&String> = after
        .addresses()
        .iter()
        .filter(|(name, address)| before.addresses().get(*name) != Some(address))
        .map(|(name, _)| name)
        .collect();
    let of_traffic = before.traffic().keys().chain(after.traffic().keys());
    let of_traffic =
        of_traffic.filter(|one| before.traffic().get(*one) != after.traffic().get(*one)).cloned();
    let of_address = after.map().leaves().filter(|leaf| moved.contains(&&leaf.home.database));
    let none = moved.is_empty();
    let others = of_traffic.chain(of_address.filter(|_| !none).map(|leaf| leaf.partition.clone()));
    for partition in others {
        if told.insert(partition.clone())
            && let Some(route) = after.partition(&partition)
        {
            let (epoch, home) = (Some(route.leaf.epoch), Some((*route.leaf.home).clone()));
            all.push(PartitionChange { partition, kind: "changed".into(), epoch, home });
        }
        if all.len() > PARTITIONS_MAX {
            return None;
        }
    }
    Some(all)
}
