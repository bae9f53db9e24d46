//! Partitions by their names: an index over a map's leaves that follows from version to version.
//!
//! The map finds leaves by keys; by name it would walk the tree. So the leaves of one version are put in a table, and
//! later versions keep what differs beside it, until that is enough for a table of its own.

use std::collections::HashMap;
use std::sync::Arc;

use replat_model::ids::PartitionId;
use replat_model::map::{Leaf, Map};

/// So many differences are always kept beside the table.
const BESIDE_LEAST: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Leaves {
    table: Arc<HashMap<PartitionId, Leaf>>,
    /// What became of leaves since; `None`: they went.
    beside: HashMap<PartitionId, Option<Leaf>>,
}

impl Leaves {
    pub(crate) fn of(map: &Map) -> Leaves {
        let table = map.leaves().map(|leaf| (leaf.partition.clone(), leaf.clone())).collect();
        Leaves { table: Arc::new(table), beside: HashMap::new() }
    }

    /// The leaves of `after`, where these are those of `before`.
    pub(crate) fn follow(&self, before: &Map, after: &Map) -> Leaves {
        let changes = before.diff(after);
        if self.beside.len() + changes.len() > BESIDE_LEAST.max(self.table.len() / 8) {
            return Leaves::of(after);
        }
        let mut beside = self.beside.clone();
        beside.extend(changes.into_iter().map(|change| (change.partition, change.after)));
        Leaves { table: self.table.clone(), beside }
    }

    pub(crate) fn get(&self, partition: &PartitionId) -> Option<&Leaf> {
        match self.beside.get(partition) {
            Some(became) => became.as_ref(),
            None => self.table.get(partition),
        }
    }
}
