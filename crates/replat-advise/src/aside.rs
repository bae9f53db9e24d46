//! What would be if tables that everybody writes along, such as an outbox or an audit trail, were left aside: each partition
//! can have one of its own, since a row of it belongs to the transaction that writes it.

use serde::{Deserialize, Serialize};

use crate::candidate::{Candidate, Task};
use crate::explain::Placing;
use crate::schema::TableId;

/// A share of crossing transactions below which nothing is worth being left aside for. It has to fall by as much, too.
const CROSS_MIN: f64 = 0.05;

/// Designs are sought a second time for systems of so many tables at most.
const TABLES_MAX: usize = 200;

/// The best design without the tables that everybody writes along.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aside {
    /// Those tables.
    pub tables: Vec<String>,
    /// The share of all transactions that cross then.
    pub cross: f64,
    /// The share of those that write across.
    pub writes_cross: f64,
    /// The load of the busiest partition by the mean.
    pub skew: f64,
    /// Tables that would be placed otherwise, and how.
    pub otherwise: Vec<(String, Placing)>,
}

/// What leaving `tables` aside comes to, to which many only add, if it pays; `best` is the best design with them.
pub(crate) fn aside(task: &Task<'_>, tables: &[TableId], best: &Candidate) -> Option<Aside> {
    let schema = task.schema;
    let worth_it = best.metrics.cross_partition_share > CROSS_MIN && schema.tables.len() <= TABLES_MAX;
    if tables.is_empty() || !worth_it {
        return None;
    }
    let trace = task.trace.without(tables);
    let found = Task { trace: &trace, ..*task }.designs().into_iter().find(Candidate::partitions)?;
    let metrics = &found.metrics;
    if metrics.cross_partition_share > best.metrics.cross_partition_share - CROSS_MIN {
        return None;
    }
    let differs = |id: &TableId| !tables.contains(id) && found.choices[id.0] != best.choices[id.0];
    Some(Aside {
        tables: tables.iter().map(|id| schema.table(*id).name.clone()).collect(),
        cross: metrics.cross_partition_share,
        writes_cross: metrics.cross_partition_write_share,
        skew: metrics.load_max_over_mean,
        otherwise: schema
            .ids()
            .filter(differs)
            .map(|id| (schema.table(id).name.clone(), Placing::of(schema, id, found.choices[id.0])))
            .collect(),
    })
}
