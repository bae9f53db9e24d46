//! Deployments and their events.

use std::collections::BTreeMap;

use replat_engine::{Listed, LogError, Recorded};
use replat_model::deploy::{Deployment, Event, Timestamp};
use replat_model::ids::{CohortId, DeploymentId, PartitionId};
use replat_model::map::Map;
use replat_model::plan::Plan;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::{Fault, signed, sums, unsigned};

/// Refuses if a deployment that is not over has the partition.
pub(crate) fn refuse_if_busy(tx: &Transaction, context: &str, partition: &PartitionId) -> Result<(), Fault> {
    match under_way(tx, context)?.into_iter().find(|listed| listed.partition == *partition) {
        Some(listed) => Err(LogError::Busy { partition: listed.partition, by: listed.id }.into()),
        None => Ok(()),
    }
}

/// Refuses a map in which a partition under way has other keys than its plan says: rows would be left out of its
/// copy, its fence and its proof.
pub(crate) fn refuse_to_cut_what_moves(tx: &Transaction, stored: &Map, map: &Map) -> Result<(), Fault> {
    for listed in under_way(tx, map.context())? {
        if stored.region(&listed.partition) != map.region(&listed.partition) {
            return Err(LogError::Busy { partition: listed.partition, by: listed.id }.into());
        }
    }
    Ok(())
}

/// Writes a deployment and its first event.
pub(crate) fn begin(
    tx: &Transaction,
    plan: &Plan,
    event: &Event,
    now: Timestamp,
    cohort: Option<i64>,
) -> Result<Listed, Fault> {
    let listed = tx.query_row(
        "INSERT INTO deployment (context, partition, created, cohort) VALUES (?1, ?2, ?3, ?4)
         RETURNING serial, context, partition, created, cohort",
        params![plan.context, plan.partition.as_str(), signed(now.0)?, cohort],
        raw_listed,
    )?;
    let serial = listed.0;
    insert(tx, serial, 0, event, now)?;
    checked_listed(listed)
}

/// Makes a cohort that has no members yet.
pub(crate) fn gather(tx: &Transaction, now: Timestamp) -> Result<i64, Fault> {
    let made = "INSERT INTO cohort (created) VALUES (?1) RETURNING serial";
    Ok(tx.query_row(made, [signed(now.0)?], |row| row.get(0))?)
}

/// How long the logs of a cohort's members are.
pub(crate) fn lengths(tx: &Transaction, cohort: &CohortId) -> Result<BTreeMap<DeploymentId, u64>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT d.id, coalesce((SELECT max(seq) + 1 FROM event e WHERE e.deployment = d.serial), 0)
         FROM deployment d JOIN cohort c ON c.serial = d.cohort WHERE c.id = ?1",
    )?;
    let rows = statement
        .query_map([cohort.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| {
        let (id, length) = row?;
        let id = id.parse().map_err(|why| Fault::damaged(format!("deployment {id}: {why}")))?;
        Ok((id, unsigned(length)?))
    })
    .collect()
}

/// The serial number of a deployment that exists.
pub(crate) fn serial(tx: &Transaction, id: &DeploymentId) -> Result<i64, Fault> {
    let found = tx
        .query_row("SELECT serial FROM deployment WHERE id = ?1", [id.as_str()], |row| row.get(0))
        .optional()?;
    found.ok_or_else(|| LogError::NoSuch(id.to_string()).into())
}

/// How many events a log has.
pub(crate) fn length(tx: &Transaction, serial: i64) -> Result<u64, Fault> {
    let next = "SELECT coalesce(max(seq) + 1, 0) FROM event WHERE deployment = ?1";
    unsigned(tx.query_row(next, [serial], |row| row.get(0))?)
}

/// The events of a log from entry `from` on, if every sum holds.
pub(crate) fn read(tx: &Transaction, serial: i64, from: u64) -> Result<Vec<Recorded>, Fault> {
    let last = "SELECT sum FROM event WHERE deployment = ?1 AND seq = ?2 - 1";
    let before: Option<String> =
        tx.prepare_cached(last)?.query_row(params![serial, signed(from)?], |row| row.get(0)).optional()?;
    let mut before = before.unwrap_or_default();
    let mut statement = tx.prepare_cached(
        "SELECT seq, at, body, sum FROM event WHERE deployment = ?1 AND seq >= ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![serial, signed(from)?])?;
    let mut events: Vec<Recorded> = Vec::new();
    while let Some(row) = rows.next()? {
        let (seq, at, body, sum): (i64, i64, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let damaged = |what: &str| Fault::damaged(format!("event {seq} of deployment d{serial} {what}"));
        if unsigned(seq)? != from + events.len() as u64 {
            return Err(damaged("follows a gap"));
        }
        if sum != sums::event_sum(&before, serial, seq, at, &body) {
            return Err(damaged("is not as it was written"));
        }
        let event = serde_json::from_str(&body).map_err(|why| damaged(&format!("cannot be read: {why}")))?;
        events.push(Recorded { seq: unsigned(seq)?, at: Timestamp(unsigned(at)?), event });
        before = sum;
    }
    Ok(events)
}

/// What a log adds up to.
pub(crate) fn fold(tx: &Transaction, serial: i64) -> Result<Deployment, Fault> {
    let events = read(tx, serial, 0)?;
    Deployment::fold(events.iter().map(|recorded| &recorded.event))
        .map_err(|why| Fault::damaged(format!("deployment d{serial}: {why}")))
}

/// Writes an event at the end of a log of this length.
pub(crate) fn insert(
    tx: &Transaction,
    serial: i64,
    length: u64,
    event: &Event,
    now: Timestamp,
) -> Result<(), Fault> {
    let (seq, at) = (signed(length)?, signed(now.0)?);
    let body = serde_json::to_string(event).expect("an event is plain data");
    let last = "SELECT sum FROM event WHERE deployment = ?1 ORDER BY seq DESC LIMIT 1";
    let before: Option<String> = tx.query_row(last, [serial], |row| row.get(0)).optional()?;
    let sum = sums::event_sum(&before.unwrap_or_default(), serial, seq, at, &body);
    tx.execute(
        "INSERT INTO event (deployment, seq, at, body, sum) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![serial, seq, at, body, sum],
    )?;
    Ok(())
}

/// Frees the partition for another deployment.
pub(crate) fn let_go(tx: &Transaction, serial: i64) -> Result<(), Fault> {
    tx.execute("UPDATE deployment SET over = 1 WHERE serial = ?1", [serial])?;
    Ok(())
}

/// All deployments, oldest first.
pub(crate) fn list(tx: &Transaction) -> Result<Vec<Listed>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT serial, context, partition, created, cohort FROM deployment ORDER BY serial",
    )?;
    statement.query_map([], raw_listed)?.map(|row| checked_listed(row?)).collect()
}

/// A context's deployments that are not over.
fn under_way(tx: &Transaction, context: &str) -> Result<Vec<Listed>, Fault> {
    let mut statement = tx.prepare_cached(
        "SELECT serial, context, partition, created, cohort FROM deployment WHERE context = ?1 AND over = 0",
    )?;
    statement.query_map([context], raw_listed)?.map(|row| checked_listed(row?)).collect()
}

type RawListed = (i64, String, String, i64, Option<i64>);

fn raw_listed(row: &Row) -> rusqlite::Result<RawListed> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

fn checked_listed((serial, context, partition, created, cohort): RawListed) -> Result<Listed, Fault> {
    let bad_id = |why| Fault::damaged(format!("deployment d{serial}: {why}"));
    Ok(Listed {
        id: format!("d{serial}").parse().map_err(bad_id)?,
        serial: unsigned(serial)?,
        context,
        partition: partition.parse().map_err(bad_id)?,
        created: Timestamp(unsigned(created)?),
        cohort: cohort.map(|serial| format!("c{serial}").parse()).transpose().map_err(bad_id)?,
    })
}
