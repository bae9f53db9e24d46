//! What routers are told besides the map: where databases can be reached, and how requests are shared out.

use std::collections::{BTreeMap, BTreeSet};

use replat_engine::LogError;
use replat_model::deploy::Deployment;
use replat_model::ids::{PartitionId, Side};
use replat_model::map::Map;
use replat_model::route::{Address, BadRoutes, Routes, Traffic};
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::{Fault, maps, signed, sums};

/// Whose routes these are, and where the databases of a context can be reached.
#[derive(PartialEq, Eq)]
struct Reach {
    project: String,
    addresses: BTreeMap<String, Address>,
}

/// What is special about the traffic of some partitions; `None` for what is not any more.
type Changes = BTreeMap<PartitionId, Option<Traffic>>;

/// The versions after one and up to another in which something was told.
pub(crate) fn versions_between(
    tx: &Transaction,
    context: &str,
    after: i64,
    upto: i64,
) -> Result<BTreeSet<u64>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT version FROM address WHERE context = ?1 AND version > ?2 AND version <= ?3
         UNION SELECT version FROM traffic WHERE context = ?1 AND version > ?2 AND version <= ?3",
    )?;
    let versions = statement.query_map(params![context, after, upto], |row| row.get::<_, i64>(0))?;
    versions.map(|version| crate::unsigned(version?)).collect()
}

/// The routes at the version of `map`; `None` if nobody had said where the databases are.
pub(crate) fn at(tx: &Transaction, map: Map) -> Result<Option<Routes>, Fault> {
    let (context, version) = (map.context().to_owned(), signed(map.version())?);
    let Some(reach) = reach(tx, &context, 0, version)? else { return Ok(None) };
    let traffic = special(traffic(tx, &context, 0, version)?);
    whole(reach, map, traffic).map(Some)
}

/// The newest routes: `known` with what has changed since.
pub(crate) fn after(tx: &Transaction, known: &Routes) -> Result<Routes, Fault> {
    let context = known.context();
    let Some(map) = maps::after(tx, known.map())? else {
        let newest = maps::newest(tx, context)?.filter(|newest| newest.version() >= known.version());
        let gone = || LogError::Stale { why: format!("{context} is not at version {} yet", known.version()) };
        return at(tx, newest.ok_or_else(gone)?)?.ok_or_else(|| gone().into());
    };
    let (from, upto) = (signed(known.version())?, signed(map.version())?);
    let reach = reach(tx, context, from, upto)?.unwrap_or_else(|| Reach {
        project: known.project().to_owned(),
        addresses: known.addresses().clone(),
    });
    let mut changes: Changes = known
        .traffic()
        .iter()
        .map(|(partition, traffic)| (partition.clone(), Some(traffic.clone())))
        .collect();
    changes.extend(traffic(tx, context, from, upto)?);
    whole(reach, map, special(changes))
}

/// Makes this what is told, as the next version, unless it is told already.
pub(crate) fn tell(
    tx: &Transaction,
    context: &str,
    project: &str,
    addresses: &BTreeMap<String, Address>,
    wanted: &Changes,
) -> Result<Routes, Fault> {
    let map = maps::newest(tx, context)?.ok_or_else(|| LogError::NoMap(context.to_owned()))?;
    let version = signed(map.version())?;
    let now = Reach { project: project.to_owned(), addresses: addresses.clone() };
    let mut all = traffic(tx, context, 0, version)?;
    let plain = |traffic: &Option<Traffic>| traffic.clone().filter(|traffic| !traffic.is_plain());
    let news: Changes = wanted
        .iter()
        .map(|(partition, traffic)| (partition.clone(), plain(traffic)))
        .filter(|(partition, traffic)| all.get(partition).unwrap_or(&None) != traffic)
        .collect();
    let moved = reach(tx, context, 0, version)?.is_none_or(|before| before != now);
    if !moved && news.is_empty() {
        return whole(now, map, special(all));
    }
    all.extend(news.clone());
    let map = map.with_version(map.version() + 1).expect("one more is more");
    // Refused before it is written if it leads nowhere.
    let routes = whole(now, map, special(all))?;
    if moved {
        insert_reach(tx, context, version + 1, routes.project(), routes.addresses())?;
    }
    for (partition, traffic) in &news {
        insert_traffic(tx, context, version + 1, partition, traffic.as_ref())?;
    }
    Ok(routes)
}

/// What a switch to `version` changes for its partition's traffic: the home's schema, and that shares of reads end.
pub(crate) fn switched(tx: &Transaction, state: &Deployment, version: i64) -> Result<(), Fault> {
    let (context, partition) = (&state.plan.context, &state.plan.partition);
    let before = traffic_before(tx, context, partition, version)?.unwrap_or_default();
    let schema_version = match state.home {
        Side::Green => Some(state.plan.version.clone()),
        Side::Blue if state.plan.version_before.is_some() => state.plan.version_before.clone(),
        // What blue's schema is called was known before the first switch, if ever.
        Side::Blue => {
            let first = "SELECT version FROM switch WHERE context = ?1 AND partition = ?2 AND epoch = ?3";
            let epoch = signed(state.plan.epoch.next().get())?;
            let first = tx
                .query_row(first, params![context, partition.as_str(), epoch], |row| row.get(0))
                .optional()?;
            match first {
                Some(first) => traffic_before(tx, context, partition, first)?.and_then(|t| t.schema_version),
                None => None,
            }
        }
    };
    let after = before.after_switch(schema_version);
    if after == before {
        return Ok(());
    }
    insert_traffic(tx, context, version, partition, Some(after).filter(|t| !t.is_plain()).as_ref())
}

/// What is special at the newest version.
pub(crate) fn newest_traffic(
    tx: &Transaction,
    context: &str,
) -> Result<BTreeMap<PartitionId, Traffic>, Fault> {
    Ok(special(traffic(tx, context, 0, i64::MAX)?))
}

/// The version of the schema that a partition's home has.
pub(crate) fn schema_version(
    tx: &Transaction,
    context: &str,
    partition: &PartitionId,
) -> Result<Option<String>, Fault> {
    Ok(traffic_before(tx, context, partition, i64::MAX)?.and_then(|traffic| traffic.schema_version))
}

/// Partitions that were carved out of one inherit what is special about its traffic: their rows are where they were.
pub(crate) fn carved(tx: &Transaction, stored: &Map, map: &Map) -> Result<(), Fault> {
    let (context, version) = (map.context(), signed(map.version())?);
    for change in stored.diff(map).into_iter().filter(|change| change.before.is_none()) {
        let Some(holder) = stored.carved_from(map, &change.partition) else { continue };
        if let Some(traffic) = traffic_before(tx, context, &holder.partition, version)? {
            insert_traffic(tx, context, version, &change.partition, Some(&traffic))?;
        }
    }
    Ok(())
}

fn whole(reach: Reach, map: Map, traffic: BTreeMap<PartitionId, Traffic>) -> Result<Routes, Fault> {
    let context = map.context().to_owned();
    let nowhere = |source: BadRoutes| LogError::Routes { context, source }.into();
    Routes::new(reach.project, map, reach.addresses, traffic).map_err(nowhere)
}

fn special(changes: Changes) -> BTreeMap<PartitionId, Traffic> {
    changes.into_iter().filter_map(|(partition, traffic)| Some((partition, traffic?))).collect()
}

/// The last word on addresses, of those after one version and up to another.
fn reach(tx: &Transaction, context: &str, after: i64, upto: i64) -> Result<Option<Reach>, Fault> {
    let last = "SELECT version, project, body, sum FROM address
                WHERE context = ?1 AND version > ?2 AND version <= ?3 ORDER BY version DESC LIMIT 1";
    let row = tx
        .prepare_cached(last)?
        .query_row(params![context, after, upto], |row| {
            let (version, project, body, sum): (i64, String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((version, project, body, sum))
        })
        .optional()?;
    let Some((version, project, body, sum)) = row else { return Ok(None) };
    let damaged =
        || Fault::damaged(format!("version {version} of {context}'s addresses is not as it was written"));
    if sum != reach_sum(context, version, &project, &body) {
        return Err(damaged());
    }
    let addresses = serde_json::from_str(&body).map_err(|_| damaged())?;
    Ok(Some(Reach { project, addresses }))
}

fn insert_reach(
    tx: &Transaction,
    context: &str,
    version: i64,
    project: &str,
    addresses: &BTreeMap<String, Address>,
) -> Result<(), Fault> {
    let body = serde_json::to_string(addresses).expect("addresses are plain data");
    tx.execute(
        "INSERT INTO address (context, version, project, body, sum) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![context, version, project, body, reach_sum(context, version, project, &body)],
    )?;
    Ok(())
}

fn reach_sum(context: &str, version: i64, project: &str, body: &str) -> String {
    sums::sum(&["address", context, &version.to_string(), project, body])
}

/// The last word on each partition's traffic, of those after one version and up to another.
fn traffic(tx: &Transaction, context: &str, after: i64, upto: i64) -> Result<Changes, Fault> {
    // Of the other columns, SQLite takes those of the row that has the greatest version.
    let mut statement = tx.prepare_cached(
        "SELECT partition, max(version), body, sum FROM traffic
         WHERE context = ?1 AND version > ?2 AND version <= ?3 GROUP BY partition",
    )?;
    let mut rows = statement.query(params![context, after, upto])?;
    let mut all = Changes::new();
    while let Some(row) = rows.next()? {
        let (partition, traffic) = checked_traffic(context, row)?;
        all.insert(partition, traffic);
    }
    Ok(all)
}

/// The last word on one partition's traffic before a version.
fn traffic_before(
    tx: &Transaction,
    context: &str,
    partition: &PartitionId,
    version: i64,
) -> Result<Option<Traffic>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT partition, version, body, sum FROM traffic
         WHERE context = ?1 AND partition = ?2 AND version < ?3 ORDER BY version DESC LIMIT 1",
    )?;
    let mut rows = statement.query(params![context, partition.as_str(), version])?;
    match rows.next()? {
        Some(row) => Ok(checked_traffic(context, row)?.1),
        None => Ok(None),
    }
}

fn checked_traffic(context: &str, row: &Row) -> Result<(PartitionId, Option<Traffic>), Fault> {
    let (partition, version, body, sum): (String, i64, String, String) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    let damaged = || {
        Fault::damaged(format!(
            "version {version} of the traffic of {context}/{partition} is not as it was written"
        ))
    };
    if sum != traffic_sum(context, version, &partition, &body) {
        return Err(damaged());
    }
    let traffic = serde_json::from_str(&body).map_err(|_| damaged())?;
    Ok((partition.parse().map_err(|_| damaged())?, traffic))
}

fn insert_traffic(
    tx: &Transaction,
    context: &str,
    version: i64,
    partition: &PartitionId,
    traffic: Option<&Traffic>,
) -> Result<(), Fault> {
    let body = serde_json::to_string(&traffic).expect("traffic is plain data");
    let sum = traffic_sum(context, version, partition.as_str(), &body);
    tx.execute(
        "INSERT INTO traffic (context, version, partition, body, sum) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![context, version, partition.as_str(), body, sum],
    )?;
    Ok(())
}

fn traffic_sum(context: &str, version: i64, partition: &str, body: &str) -> String {
    sums::sum(&["traffic", context, &version.to_string(), partition, body])
}
