//! When to stand back from a database that is not well.
//!
//! ```text
//!   Closed ── a reading is over its limit ──▶ Open ── its pause is over, all readings are within ──▶ HalfOpen
//!     ▲                                        │ ▲                                                      │
//!     │                                        └─┘ still over: a longer pause                           │
//!     └──────────────── within, after one unit was let through ─────────────────────────────────────────┤
//!                                              Open, with a longer pause ◀── over its limit again ──────┘
//! ```
//!
//! Pure: readings and time come in. What could not be read is over its limit, unless the limits say otherwise.

use std::time::Duration;

use super::facts::{Micros, Replica, Vitals};
use super::forecast::words;
use super::health::{Finding, Severity, codes};

/// The first pause of an open breaker. It doubles with each time that it has to stay open.
const PAUSE: Micros = 5_000_000;

/// The longest pause, 5 minutes.
const PAUSE_MAX: Micros = 300_000_000;

/// Beyond these a database is not well enough for work that can wait.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerLimits {
    /// How far a replica may be behind, with the log that is about to be written. Default: 5 s.
    pub replica_lag: Duration,
    /// How many bytes of log a replica may be behind, with the log that is about to be written. Default: none.
    pub replica_log: Option<u64>,
    /// How many bytes of log a replica replays in a second at least, by which the log that is about to be written
    /// becomes a time. Default: 16 MiB.
    pub replay_per_second: u64,
    /// Whether a lag that cannot be read counts as none. Default: no.
    pub replica_unknown_ok: bool,
    /// How old the oldest open transaction of others may be. Default: 24 hours; tries that do not queue stand in
    /// nobody's way, so this is about transactions that were forgotten.
    pub transaction_age: Option<Duration>,
    /// Which part of the sessions that there may be are in use at most; `None` for no limit. Default: 0.95.
    pub connections_share: Option<f64>,
    /// How many bytes of disk must be free, after the log that is about to be written. Default: none.
    pub disk_free: Option<u64>,
}

impl Default for BreakerLimits {
    fn default() -> BreakerLimits {
        BreakerLimits {
            replica_lag: Duration::from_secs(5),
            replica_log: None,
            replay_per_second: 16 << 20,
            replica_unknown_ok: false,
            transaction_age: Some(Duration::from_secs(24 * 3600)),
            connections_share: Some(0.95),
            disk_free: None,
        }
    }
}

/// Whether work goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// It does.
    #[default]
    Closed,
    /// It does not.
    Open {
        /// Since when, by the database's clock.
        since: Micros,
        /// What was read, and its limit: `replica r1 is 7.2 s behind, 5.0 s are allowed`.
        reason: String,
        /// What would close it: `replica r1 is at most 5.0 s behind`.
        closes_when: String,
        /// Not looked at again before, by the database's clock.
        probe_after: Micros,
        /// How often it has been open in a row, from 1; its pause grows with it.
        times: u32,
    },
    /// One unit may be done. Then it is judged again.
    HalfOpen {
        /// How often it was open before.
        times: u32,
    },
}

impl BreakerState {
    /// Whether the next unit may begin.
    pub fn lets_through(&self) -> bool {
        !matches!(self, BreakerState::Open { .. })
    }
}

/// A reading that is over its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trip {
    /// What was read, and its limit.
    pub reason: String,
    /// What would close the breaker.
    pub closes_when: String,
}

/// The state before the next unit, by what was read at `now`.
///
/// To be called before every unit with fresh vitals. `planned_wal` is the log, in bytes, that is written before vitals
/// are read again: of a short unit all of it, of a long one that of a batch.
pub fn step(
    state: &BreakerState,
    vitals: &Vitals,
    planned_wal: u64,
    limits: &BreakerLimits,
    now: Micros,
) -> BreakerState {
    let (since, times) = match state {
        BreakerState::Open { since, probe_after, times, .. } => {
            // A clock that was set back may not keep it open for longer than its longest pause.
            if now < *probe_after && *probe_after <= now.saturating_add(PAUSE_MAX) {
                return state.clone();
            }
            (*since, *times)
        }
        BreakerState::HalfOpen { times } => (now, *times),
        BreakerState::Closed => (now, 0),
    };
    let trips = trips(vitals, planned_wal, limits);
    match (state, trips.is_empty()) {
        (BreakerState::Open { .. }, true) => BreakerState::HalfOpen { times },
        (_, true) => BreakerState::Closed,
        (_, false) => open(&trips, since, times.saturating_add(1), now),
    }
}

fn open(trips: &[Trip], since: Micros, times: u32, now: Micros) -> BreakerState {
    let all = |part: fn(&Trip) -> &str| trips.iter().map(part).collect::<Vec<_>>();
    let doubled = 1_i64.checked_shl(times.saturating_sub(1)).filter(|n| *n > 0).unwrap_or(i64::MAX);
    BreakerState::Open {
        since,
        reason: all(|trip| &trip.reason).join("; "),
        closes_when: all(|trip| &trip.closes_when).join(", and "),
        probe_after: now.saturating_add(PAUSE.saturating_mul(doubled).min(PAUSE_MAX)),
        times,
    }
}

/// The readings that are over their limits.
pub fn trips(vitals: &Vitals, planned_wal: u64, limits: &BreakerLimits) -> Vec<Trip> {
    let mut trips = Vec::new();
    match &vitals.replicas {
        Some(replicas) => trips.extend(replicas.iter().filter_map(|r| replica(r, planned_wal, limits))),
        None if limits.replica_unknown_ok => {}
        None => trips.push(Trip {
            reason: "replicas cannot be seen by this role".to_owned(),
            closes_when: "their lag can be read (grant pg_monitor), or an unknown lag is allowed".to_owned(),
        }),
    }
    trips.extend(transaction(vitals, limits));
    trips.extend(connections(vitals, limits));
    trips.extend(disk(vitals, planned_wal, limits));
    trips
}

/// Replicas whose lag this role may not see, where that keeps nothing from being done.
pub fn unseen(vitals: &Vitals, limits: &BreakerLimits) -> Option<Finding> {
    let unseen: Vec<&str> = match &vitals.replicas {
        Some(all) => all.iter().filter(|r| r.lag_ms.is_none()).map(|r| r.name.as_str()).collect(),
        None => vec!["all replicas"],
    };
    (limits.replica_unknown_ok && !unseen.is_empty()).then(|| Finding {
        severity: Severity::Warning,
        code: codes::BREAKER.into(),
        set: None,
        what: format!(
            "how far {} is behind cannot be read, and partitions are made all the same",
            unseen.join(", ")
        ),
        remedy:
            "Let the role see it: GRANT pg_monitor TO it; or make a lag that cannot be seen hold the run: \
                 --max-lag."
                .into(),
    })
}

fn replica(replica: &Replica, planned_wal: u64, limits: &BreakerLimits) -> Option<Trip> {
    let name = &replica.name;
    let allowed = seconds(limits.replica_lag);
    let Some(lag) = replica.lag_ms.map(Duration::from_millis) else {
        return (!limits.replica_unknown_ok).then(|| Trip {
            reason: format!("how far replica {name} is behind cannot be read, {allowed} are allowed"),
            closes_when: format!("the lag of replica {name} can be read, or an unknown lag is allowed"),
        });
    };
    if lag > limits.replica_lag {
        return Some(Trip {
            reason: format!("replica {name} is {} behind, {allowed} are allowed", seconds(lag)),
            closes_when: format!("replica {name} is at most {allowed} behind"),
        });
    }
    let plan = Duration::from_secs_f64(planned_wal as f64 / limits.replay_per_second.max(1) as f64);
    if lag.saturating_add(plan) > limits.replica_lag {
        let (log, rate) = (words::bytes(planned_wal), words::bytes(limits.replay_per_second));
        return Some(Trip {
            reason: format!(
                "replica {name} is {} behind, and {log} of log that are about to be written take it {} more at {rate} \
                 a second, {allowed} are allowed",
                seconds(lag),
                seconds(plan),
            ),
            closes_when: if plan > limits.replica_lag {
                format!("less is done at once, or more than {allowed} of lag or {rate} a second are allowed")
            } else {
                format!(
                    "replica {name} is at most {} behind",
                    seconds(limits.replica_lag.saturating_sub(plan))
                )
            },
        });
    }
    replica_log(replica, planned_wal, limits)
}

fn replica_log(replica: &Replica, planned_wal: u64, limits: &BreakerLimits) -> Option<Trip> {
    let limit = limits.replica_log?;
    let name = &replica.name;
    let allowed = words::bytes(limit);
    let Some(behind) = replica.lag_bytes else {
        return (!limits.replica_unknown_ok).then(|| Trip {
            reason: format!("how much log replica {name} is behind cannot be read, {allowed} are allowed"),
            closes_when: format!("the lag of replica {name} can be read, or an unknown lag is allowed"),
        });
    };
    (behind.saturating_add(planned_wal) > limit).then(|| Trip {
        reason: format!(
            "replica {name} is {} of log behind, and {} are about to be written, {allowed} are allowed",
            words::bytes(behind),
            words::bytes(planned_wal)
        ),
        closes_when: match limit.checked_sub(planned_wal) {
            Some(room) => format!("replica {name} is at most {} of log behind", words::bytes(room)),
            None => format!("less is done at once, or more than {allowed} of log are allowed"),
        },
    })
}

fn transaction(vitals: &Vitals, limits: &BreakerLimits) -> Option<Trip> {
    let (oldest, limit) = (vitals.oldest_transaction.as_ref()?, limits.transaction_age?);
    let age = Duration::from_millis(oldest.age_ms);
    (age > limit).then(|| Trip {
        reason: format!(
            "process {} of {} has a transaction open for {}, {} are allowed",
            oldest.pid,
            oldest.who,
            seconds(age),
            seconds(limit)
        ),
        closes_when: format!("process {} ends its transaction", oldest.pid),
    })
}

fn connections(vitals: &Vitals, limits: &BreakerLimits) -> Option<Trip> {
    let share = limits.connections_share?;
    let allowed = format!("{:.0} % are allowed", share * 100.0);
    let Some((now, most)) = vitals.connections else {
        return Some(Trip {
            reason: format!("how many sessions there are cannot be read, {allowed}"),
            closes_when: "the number of sessions can be read, or no limit is set".to_owned(),
        });
    };
    (f64::from(now) > f64::from(most) * share).then(|| Trip {
        reason: format!("{now} of {most} sessions are in use, {allowed}"),
        closes_when: format!("at most {:.0} sessions are in use", (f64::from(most) * share).floor()),
    })
}

fn disk(vitals: &Vitals, planned_wal: u64, limits: &BreakerLimits) -> Option<Trip> {
    let limit = limits.disk_free?;
    let wanted = words::bytes(limit);
    let Some(free) = vitals.disk_free_bytes else {
        return Some(Trip {
            reason: format!("how much disk is free cannot be read, {wanted} must be"),
            closes_when: "the server can say how much disk is free, or no limit is set".to_owned(),
        });
    };
    (free.saturating_sub(planned_wal) < limit).then(|| Trip {
        reason: format!(
            "{} of disk are free, {} of log are about to be written, {wanted} must stay free",
            words::bytes(free),
            words::bytes(planned_wal)
        ),
        closes_when: format!("at least {} of disk are free", words::bytes(limit.saturating_add(planned_wal))),
    })
}

/// A time for people: `7.2 s`, `90 min`.
fn seconds(span: Duration) -> String {
    match span.as_secs_f64() {
        s if s < 600.0 => format!("{s:.1} s"),
        s if s < 48.0 * 3600.0 => format!("{:.0} min", s / 60.0),
        s => words::days(s / 86_400.0),
    }
}
