//! Maps: each context's as it was last written whole, and the switches since.

use replat_engine::LogError;
use replat_model::deploy::Deployment;
use replat_model::ids::{Epoch, Home, PartitionId};
use replat_model::map::Map;
use replat_model::plan::Plan;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::{Fault, signed, sums};

fn stale(why: String) -> Fault {
    LogError::Stale { why }.into()
}

/// Whether a plan speaks of the partition as `map` has it.
pub(crate) fn check_plan(plan: &Plan, map: &Map) -> Result<(), Fault> {
    let partition = &plan.partition;
    if plan.context != map.context() || plan.dimensions != map.dimensions() {
        return Err(stale(format!("it is for context {}, by other dimensions than the map's", plan.context)));
    }
    let Some(leaf) = map.leaf(partition) else {
        return Err(stale(format!("the map has no partition {partition}")));
    };
    if leaf.epoch != plan.epoch {
        return Err(stale(format!("{partition} is at {}, and the plan is for {}", leaf.epoch, plan.epoch)));
    }
    if *leaf.home != plan.blue.home {
        return Err(stale(format!(
            "{partition} is on {}, and the plan is for {}",
            leaf.home, plan.blue.home
        )));
    }
    if map.region(partition).as_ref() != Some(&plan.region) {
        return Err(stale(format!("{partition} has other keys now than when the plan was made")));
    }
    Ok(())
}

/// Whether `map` is the stored one, or the stored one with partitions carved out and nothing else changed.
pub(crate) fn check_successor(stored: &Map, map: &Map) -> Result<(), Fault> {
    let (now, then) = (stored.version(), map.version());
    if then == now && map == stored {
        return Ok(());
    }
    let only_carved = || stored.diff(map).iter().all(|change| change.before.is_none());
    if then == now + 1 && map.dimensions() == stored.dimensions() && only_carved() {
        return Ok(());
    }
    Err(stale(format!(
        "the map is at version {now} now, and the plan was made with another map, version {then}"
    )))
}

/// Writes a map whole.
pub(crate) fn publish(tx: &Transaction, map: &Map) -> Result<(), Fault> {
    let body = serde_json::to_string(map).expect("a map is plain data");
    let version = signed(map.version())?;
    tx.execute(
        "INSERT INTO map (context, version, body, sum) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (context)
         DO UPDATE SET version = excluded.version, body = excluded.body, sum = excluded.sum",
        params![map.context(), version, body, map_sum(map.context(), version, &body)],
    )?;
    Ok(())
}

/// Gives the deployment's partition its new home and epoch in the next version of the map.
pub(crate) fn switch(tx: &Transaction, state: &Deployment) -> Result<(), Fault> {
    let plan = &state.plan;
    let newest = "SELECT max(map.version, coalesce(max(switch.version), 0))
                  FROM map LEFT JOIN switch USING (context) WHERE map.context = ?1 GROUP BY map.context";
    let newest: Option<i64> = tx.query_row(newest, [&plan.context], |row| row.get(0)).optional()?;
    let newest = newest.ok_or_else(|| Fault::damaged(format!("context {} has no map", plan.context)))?;
    let row = SwitchRow {
        version: newest + 1,
        partition: plan.partition.to_string(),
        home: serde_json::to_string(&plan.end(state.home).home).expect("a home is plain data"),
        epoch: signed(state.epoch.get())?,
    };
    tx.execute(
        "INSERT INTO switch (context, version, partition, home, epoch, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![plan.context, row.version, row.partition, row.home, row.epoch, row.sum(&plan.context)],
    )?;
    Ok(())
}

/// The newest version of a context's map; `None` if it has none.
pub(crate) fn newest(tx: &Transaction, context: &str) -> Result<Option<Map>, Fault> {
    let Some(mut map) = last_whole(tx, context)? else {
        return Ok(None);
    };
    let mut statement = tx.prepare_cached(
        "SELECT version, partition, home, epoch, sum FROM switch
         WHERE context = ?1 AND version > ?2 ORDER BY version",
    )?;
    let mut rows = statement.query(params![context, signed(map.version())?])?;
    while let Some(row) = rows.next()? {
        let sum: String = row.get(4)?;
        let row =
            SwitchRow { version: row.get(0)?, partition: row.get(1)?, home: row.get(2)?, epoch: row.get(3)? };
        map = Some(&row).filter(|row| row.sum(context) == sum).and_then(|row| row.after(&map)).ok_or_else(
            || {
                Fault::damaged(format!(
                    "the switch to version {} of map {context} cannot follow",
                    row.version
                ))
            },
        )?;
    }
    Ok(Some(map))
}

/// A context's map as it was last written whole.
fn last_whole(tx: &Transaction, context: &str) -> Result<Option<Map>, Fault> {
    let row = tx
        .query_row("SELECT version, body, sum FROM map WHERE context = ?1", [context], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((version, body, sum)) = row else { return none_yet(tx, context) };
    if sum != map_sum(context, version, &body) {
        return Err(Fault::damaged(format!("the map of {context} is not as it was written")));
    }
    let map = serde_json::from_str(&body);
    map.map(Some).map_err(|why| Fault::damaged(format!("the map of {context} cannot be read: {why}")))
}

/// `None`, if that can be: a map that is lost must not be taken for one that was never written, or all epochs
/// would begin anew.
fn none_yet(tx: &Transaction, context: &str) -> Result<Option<Map>, Fault> {
    let used = "SELECT EXISTS (SELECT 1 FROM deployment WHERE context = ?1)";
    if tx.query_row(used, [context], |row| row.get(0))? {
        return Err(Fault::damaged(format!("context {context} has deployments and no map")));
    }
    Ok(None)
}

fn map_sum(context: &str, version: i64, body: &str) -> String {
    sums::sum(&[context, &version.to_string(), body])
}

/// A switch as the file has it.
struct SwitchRow {
    version: i64,
    partition: String,
    home: String,
    epoch: i64,
}

impl SwitchRow {
    fn sum(&self, context: &str) -> String {
        let (version, epoch) = (self.version.to_string(), self.epoch.to_string());
        sums::sum(&[context, &version, &self.partition, &self.home, &epoch])
    }

    /// The map's next version; `None` if this switch cannot lead to it.
    fn after(&self, map: &Map) -> Option<Map> {
        let partition: PartitionId = self.partition.parse().ok()?;
        let home: Home = serde_json::from_str(&self.home).ok()?;
        let epoch = Epoch::from_number(u64::try_from(self.epoch).ok()?)?;
        let after = map.with_home(&partition, home, epoch)?;
        (u64::try_from(self.version) == Ok(after.version())).then_some(after)
    }
}
