//! Maps: each context's as it was last written whole, and the switches since.
//!
//! A map's version counts all that routers are told, so between two switches there can be versions in which the tree is
//! the same and [`crate::routes`] differ. No number may be missing: a version that nobody wrote is damage.

use replat_engine::LogError;
use replat_model::deploy::Deployment;
use replat_model::ids::{Epoch, Home, PartitionId};
use replat_model::map::{FORMAT as MAP_FORMAT, Map};
use replat_model::plan::Plan;
use rusqlite::{OptionalExtension, Transaction, params};

use crate::{Fault, Layout, routes, signed, sums, unsigned};

/// A map whose changes since it was written whole are more than this is written whole again when a deployment begins.
const CHANGES_MAX: u64 = 200;

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

/// Makes `map` the stored one, which [`check_successor`] found it may be, and keeps the one that was stored whole
/// before. What is stored as it is stays so, unless too many changes have piled up.
pub(crate) fn publish(tx: &Transaction, stored: Option<&Map>, map: &Map) -> Result<(), Fault> {
    let context = map.context();
    let whole = "SELECT version FROM map WHERE context = ?1";
    let whole: Option<i64> = tx.query_row(whole, [context], |row| row.get(0)).optional()?;
    if let Some(whole) = whole {
        let is_new = stored.is_none_or(|stored| stored.version() != map.version());
        if !is_new && map.version() - unsigned(whole)? <= CHANGES_MAX {
            return Ok(());
        }
        tx.execute(
            "INSERT INTO map_before (context, version, body, sum)
             SELECT context, version, body, sum FROM map WHERE context = ?1
             ON CONFLICT (context)
             DO UPDATE SET version = excluded.version, body = excluded.body, sum = excluded.sum",
            [context],
        )?;
    }
    let body = serde_json::to_string(map).expect("a map is plain data");
    let version = signed(map.version())?;
    tx.execute(
        "INSERT INTO map (context, version, body, sum) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (context)
         DO UPDATE SET version = excluded.version, body = excluded.body, sum = excluded.sum",
        params![context, version, body, map_sum(context, version, &body)],
    )?;
    Ok(())
}

/// Gives the deployment's partition its new home and epoch in the next version of the map.
pub(crate) fn switch(tx: &Transaction, state: &Deployment) -> Result<(), Fault> {
    let plan = &state.plan;
    let newest = newest_version(tx, &plan.context)?;
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
    routes::switched(tx, state, row.version)
}

/// The newest version of what routers are told of a context; `None` if it has no map.
fn newest_version(tx: &Transaction, context: &str) -> Result<Option<i64>, Fault> {
    let newest = "SELECT max(version,
            coalesce((SELECT max(version) FROM switch WHERE context = ?1), 0),
            coalesce((SELECT max(version) FROM address WHERE context = ?1), 0),
            coalesce((SELECT max(version) FROM traffic WHERE context = ?1), 0))
        FROM map WHERE context = ?1";
    Ok(tx.prepare_cached(newest)?.query_row([context], |row| row.get(0)).optional()?)
}

/// The newest version of a context's map; `None` if it has none.
pub(crate) fn newest(tx: &Transaction, context: &str) -> Result<Option<Map>, Fault> {
    last_whole(tx, context)?.map(|map| changed(tx, map, u64::MAX)).transpose()
}

/// The map as of an earlier version; `None` if that is too old to be remembered, or never was.
pub(crate) fn at(tx: &Transaction, context: &str, version: u64) -> Result<Option<Map>, Fault> {
    let Some(mut map) = last_whole(tx, context)? else { return Ok(None) };
    if version < map.version() {
        match whole_before(tx, context)? {
            Some(before) if before.version() <= version => map = before,
            _ => return Ok(None),
        }
    }
    let map = changed(tx, map, version)?;
    Ok((map.version() == version).then_some(map))
}

/// `map` with what has changed since, if that can be told without the tree that is stored whole; `None` otherwise.
pub(crate) fn after(tx: &Transaction, map: &Map) -> Result<Option<Map>, Fault> {
    let whole = "SELECT version FROM map WHERE context = ?1";
    let whole: Option<i64> = tx.query_row(whole, [map.context()], |row| row.get(0)).optional()?;
    let is_known =
        newest_version(tx, map.context())?.is_some_and(|newest| map.version() <= newest.unsigned_abs());
    match whole {
        Some(whole) if is_known && unsigned(whole)? <= map.version() => {
            changed(tx, map.clone(), u64::MAX).map(Some)
        }
        _ => Ok(None),
    }
}

/// `map` with what has changed since, up to a version.
fn changed(tx: &Transaction, mut map: Map, upto: u64) -> Result<Map, Fault> {
    let context = map.context().to_owned();
    let upto = i64::try_from(upto).unwrap_or(i64::MAX);
    let told = routes::versions_between(tx, &context, signed(map.version())?, upto)?;
    // The same tree at a later version, if each number on the way there was given to something.
    let on_to = |map: &Map, version: u64| {
        let missing = version.checked_sub(map.version())?;
        let given = told.range(map.version() + 1..version + 1).count() as u64;
        (given == missing).then(|| map.with_version(version)).flatten()
    };
    let mut statement = tx.prepare_cached(
        "SELECT version, partition, home, epoch, sum FROM switch
         WHERE context = ?1 AND version > ?2 AND version <= ?3 ORDER BY version",
    )?;
    let mut rows = statement.query(params![context, signed(map.version())?, upto])?;
    while let Some(row) = rows.next()? {
        let sum: String = row.get(4)?;
        let row =
            SwitchRow { version: row.get(0)?, partition: row.get(1)?, home: row.get(2)?, epoch: row.get(3)? };
        let before = u64::try_from(row.version - 1).ok().and_then(|version| on_to(&map, version));
        let after = before.filter(|_| row.sum(&context) == sum).and_then(|before| row.after(&before));
        map = after.ok_or_else(|| {
            Fault::damaged(format!("the switch to version {} of map {context} cannot follow", row.version))
        })?;
    }
    match told.last() {
        Some(last) if *last > map.version() => on_to(&map, *last).ok_or_else(|| {
            Fault::damaged(format!("a version between {} and {last} of {context} is missing", map.version()))
        }),
        _ => Ok(map),
    }
}

/// A context's map as it was last written whole.
fn last_whole(tx: &Transaction, context: &str) -> Result<Option<Map>, Fault> {
    match whole(tx, context, "SELECT version, body, sum FROM map WHERE context = ?1")? {
        None => none_yet(tx, context),
        found => Ok(found),
    }
}

/// A context's map as it was written whole the time before.
fn whole_before(tx: &Transaction, context: &str) -> Result<Option<Map>, Fault> {
    whole(tx, context, "SELECT version, body, sum FROM map_before WHERE context = ?1")
}

fn whole(tx: &Transaction, context: &str, select: &str) -> Result<Option<Map>, Fault> {
    let row = tx
        .query_row(select, [context], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })
        .optional()?;
    let Some((version, body, sum)) = row else { return Ok(None) };
    if sum != map_sum(context, version, &body) {
        return Err(Fault::damaged(format!("the map of {context} is not as it was written")));
    }
    let map = serde_json::from_str(&body);
    map.map(Some).map_err(|why| match map_format(&body) {
        Some(format) if format != MAP_FORMAT => Fault::Layout(Layout { context: context.into(), format }),
        _ => Fault::damaged(format!("the map of {context} cannot be read: {why}")),
    })
}

/// The number of the format in which a map is written; `None`: it is no map of any. The first one had no number.
fn map_format(body: &str) -> Option<u32> {
    let document: serde_json::Value = serde_json::from_str(body).ok()?;
    match document.get("format") {
        Some(format) => u32::try_from(format.as_u64()?).ok(),
        None => document.get("root").map(|_| 1),
    }
}

/// `None`, if that can be: a map that is lost must not be taken for one that was never written, or all epochs
/// would begin anew.
fn none_yet(tx: &Transaction, context: &str) -> Result<Option<Map>, Fault> {
    let used = "SELECT EXISTS (SELECT 1 FROM deployment WHERE context = ?1)";
    if tx.query_row(used, [context], |row| row.get(0))? {
        return Err(Fault::damaged(format!("context {context} has deployments and no map")));
    }
    let told = "SELECT EXISTS (SELECT 1 FROM address WHERE context = ?1)";
    if tx.query_row(told, [context], |row| row.get(0))? {
        return Err(Fault::damaged(format!("context {context} has addresses and no map")));
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
