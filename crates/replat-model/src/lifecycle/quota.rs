//! Whether there is room for what is planned, before any of it is done.
//!
//! Sizes are judged with what the forecast lets come until the horizon. A quota whose fact could not be read is an
//! error as well: a size that nobody knows is not a size within bounds.

use std::collections::BTreeMap;

use super::facts::{Level, Method, Micros, Part, SetFacts, TableName, Vitals};
use super::forecast::{Forecast, words};
use super::health::{Finding, Severity, codes};
use super::plan::{Kind, NewPart, Unit, Work};
use super::policy::Quota;

/// A table has at most so many partitions unless a quota says otherwise: planning a query looks at each.
pub const PARTITIONS_MAX: u32 = 10_000;

/// A partition takes at least so many locks of the transaction that attaches it: itself, TOAST, a few indexes.
const LOCKS_EACH: u64 = 6;

/// Microseconds of a day.
const DAY: f64 = 86_400e6;

/// What a quota forbids to `set`. Errors forbid the units that create or copy; warnings are only said.
///
/// `units` are those of the whole plan, since relations of all sets count for the database. `until` is the horizon:
/// what the forecast lets come until then counts as if it were there. Growth of other sets does not. Quotas for
/// single tenants are [`tenants`].
pub fn room(
    quota: &Quota,
    vitals: &Vitals,
    set: &SetFacts,
    units: &[Unit],
    forecast: &Forecast,
    until: Option<Micros>,
) -> Vec<Finding> {
    let judge = Judge { set: &set.table };
    let making = |unit: &&Unit| makes(unit.work.kind());
    let own: Vec<&Unit> = units.iter().filter(making).filter(|unit| unit.set == set.table).collect();
    let written = own.iter().fold(0_u64, |sum, unit| sum.saturating_add(unit.wal_bytes));
    let growth = Growth::until(forecast, vitals.now, until);
    let comes = growth.bytes.saturating_add(written);
    let mut found = Vec::new();

    if let Some(limit) = quota.database.map(|size| size.bytes()) {
        found.extend(judge.size("the database", vitals.database_bytes, comes, limit, &growth));
    }
    if let Some(limit) = quota.disk_free.map(|size| size.bytes()) {
        found.extend(judge.disk(vitals.disk_free_bytes, comes, limit, &growth));
    }
    if let Some(limit) = quota.table.map(|size| size.bytes()) {
        found.extend(judge.size("the table", level_bytes(&set.level), comes, limit, &growth));
    }
    if let Some(limit) = quota.relations {
        let more = units.iter().filter(making).fold(0_u64, |sum, unit| sum.saturating_add(unit.relations));
        found.extend(judge.relations(vitals.relations, more, limit));
    }
    let more: u64 = own.iter().map(|unit| new_parts(&unit.work)).sum();
    let limit = u64::from(quota.partitions.unwrap_or(PARTITIONS_MAX));
    found.extend(judge.partitions(level_parts(&set.level), more, limit));
    if growth.unknown && (quota.database.or(quota.disk_free).or(quota.table)).is_some() {
        found.push(judge.unknown_growth(forecast));
    }
    found.extend(own.iter().filter_map(|unit| judge.locks(unit, set, vitals.lock_room)));
    found
}

/// Tenants, which are partitions of the outermost level, that have used up [`Quota::tenant`], each with an error about
/// it. Units below such a tenant are not to be done; the other tenants go on.
///
/// Where the outermost level is a list or a hash, each tenant grows until the horizon by its own pace, if `own` has it
/// for a table below it; what else comes to the set is shared out by size among the others. So one that surges takes
/// nothing from the rest. Ranges over time do not grow, since it is new ones that do.
pub fn tenants(
    quota: &Quota,
    set: &SetFacts,
    forecast: &Forecast,
    own: &BTreeMap<TableName, Forecast>,
    now: Micros,
    until: Option<Micros>,
) -> Vec<(TableName, Finding)> {
    let Some(limit) = quota.tenant.map(|size| size.bytes()) else { return Vec::new() };
    let judge = Judge { set: &set.table };
    let grows = set.level.method != Method::Range;
    let growth = match grows {
        false => Growth { bytes: 0, unknown: false, days: 0.0 },
        true => Growth::until(forecast, now, until),
    };
    let by_pace = |part: &Part| -> Option<u64> {
        let mut paces = own.iter().filter(|(table, _)| {
            part.table == **table || part.below.as_ref().is_some_and(|below| below.find(table).is_some())
        });
        let first = paces.next().filter(|_| grows)?.1.bytes(now, growth.days)?;
        Some(paces.filter_map(|(_, pace)| pace.bytes(now, growth.days)).fold(first, u64::saturating_add))
    };
    let parts: Vec<(&Part, Option<u64>)> = set.level.parts.iter().map(|part| (part, by_pace(part))).collect();
    let known = parts.iter().filter_map(|(_, comes)| *comes).fold(0, u64::saturating_add);
    let rest = growth.bytes.saturating_sub(known) as f64;
    let others = parts.iter().filter(|(_, comes)| comes.is_none());
    let whole = others.filter_map(|(part, _)| part_bytes(part)).fold(0, u64::saturating_add).max(1) as f64;
    let over = |(part, comes): (&Part, Option<u64>)| {
        let bytes = part_bytes(part);
        let comes = comes.unwrap_or_else(|| (rest * (bytes.unwrap_or(0) as f64 / whole)) as u64);
        let finding = judge.size(&format!("{}", part.table), bytes, comes, limit, &growth)?;
        Some((part.table.clone(), finding))
    };
    parts.into_iter().filter_map(over).collect()
}

/// How many relations the biggest transaction of a unit locks, by estimate.
pub fn locks(unit: &Unit, set: &SetFacts) -> u64 {
    let each = LOCKS_EACH.max(u64::from(set.relations_each).saturating_add(1));
    let around = set.indexes.len() + set.references.len() + set.referenced_by.len();
    new_parts(&unit.work).saturating_mul(each).saturating_add(around as u64 + 4)
}

/// Whether work of this kind takes room.
fn makes(kind: Kind) -> bool {
    match kind {
        Kind::Create | Kind::Drain | Kind::Recut | Kind::Convert => true,
        Kind::Repair | Kind::Retire | Kind::Drop | Kind::Adopt | Kind::Align => false,
    }
}

/// What comes until the horizon.
struct Growth {
    bytes: u64,
    unknown: bool,
    days: f64,
}

impl Growth {
    fn until(forecast: &Forecast, now: Micros, until: Option<Micros>) -> Growth {
        let days = until.map_or(0.0, |until| ((until as f64 - now as f64) / DAY).max(0.0));
        match forecast.bytes(now, days) {
            Some(bytes) => Growth { bytes, unknown: false, days },
            None => Growth { bytes: 0, unknown: days > 0.0, days },
        }
    }

    /// `with 12.0 GB until the horizon in 30 days`, as a part of a sentence.
    fn said(&self, comes: u64) -> String {
        match comes {
            0 => String::new(),
            comes if self.days > 0.0 => {
                format!(", and {} come until the horizon in {}", words::bytes(comes), words::days(self.days))
            }
            comes => format!(", and {} are about to be written", words::bytes(comes)),
        }
    }
}

/// Findings about one set.
struct Judge<'a> {
    set: &'a TableName,
}

impl Judge<'_> {
    fn finding(&self, severity: Severity, what: String, remedy: String) -> Finding {
        Finding { severity, code: codes::QUOTA.to_owned(), set: Some(self.set.clone()), what, remedy }
    }

    fn error(&self, what: String, remedy: &str) -> Option<Finding> {
        Some(self.finding(Severity::Error, what, remedy.to_owned()))
    }

    fn size(
        &self,
        whose: &str,
        now: Option<u64>,
        comes: u64,
        limit: u64,
        growth: &Growth,
    ) -> Option<Finding> {
        let quota = words::bytes(limit);
        let Some(now) = now else {
            return self.error(
                format!("the size of {whose} could not be read, and its quota is {quota}"),
                "Let sizes be read, or remove the quota.",
            );
        };
        if now.saturating_add(comes) <= limit {
            return None;
        }
        self.error(
            format!("{whose} has {}{}; its quota is {quota}", words::bytes(now), growth.said(comes)),
            "Retire partitions, keep fewer days ready, or raise the quota.",
        )
    }

    fn disk(&self, free: Option<u64>, comes: u64, limit: u64, growth: &Growth) -> Option<Finding> {
        let quota = words::bytes(limit);
        let Some(free) = free else {
            return self.error(
                format!("this server cannot say how much disk is free, and {quota} must stay free"),
                "Give a limit for the size of the database instead, or remove disk_free.",
            );
        };
        if free.saturating_sub(comes) >= limit {
            return None;
        }
        self.error(
            format!("{} of disk are free{}; {quota} must stay free", words::bytes(free), growth.said(comes)),
            "Make room on the disk, retire partitions, or keep fewer days ready.",
        )
    }

    fn relations(&self, now: Option<u64>, more: u64, limit: u64) -> Option<Finding> {
        let Some(now) = now else {
            return self.error(
                format!("the number of relations could not be read, and the quota is {limit}"),
                "Let the catalogue be read, or remove the quota.",
            );
        };
        if now.saturating_add(more) <= limit {
            return None;
        }
        self.error(
            format!("the database has {now} relations, and the plan adds {more}; the quota is {limit}"),
            "Drop retired tables, choose a longer interval, or raise the quota.",
        )
    }

    fn partitions(&self, now: u64, more: u64, limit: u64) -> Option<Finding> {
        // A table that has too many already and gets none is a matter of taste, not of room.
        if more == 0 || now.saturating_add(more) <= limit {
            return None;
        }
        self.error(
            format!("the table has {now} partitions, and the plan adds {more}; the quota is {limit}"),
            "Retire partitions, choose a longer interval, or raise quota.partitions.",
        )
    }

    fn locks(&self, unit: &Unit, set: &SetFacts, room: Option<u64>) -> Option<Finding> {
        let needed = locks(unit, set);
        match room {
            _ if new_parts(&unit.work) == 0 => None,
            Some(room) if needed <= room => None,
            Some(room) => self.error(
                format!(
                    "unit {} locks about {needed} relations at once, and there is room for {room}",
                    unit.id
                ),
                "Raise max_locks_per_transaction, or keep fewer partitions ready at once.",
            ),
            None => Some(self.finding(
                Severity::Warning,
                format!(
                    "unit {} locks about {needed} relations at once; how many can be is not known",
                    unit.id
                ),
                "Let the server's settings be read.".to_owned(),
            )),
        }
    }

    fn unknown_growth(&self, forecast: &Forecast) -> Finding {
        self.finding(
            Severity::Warning,
            format!(
                "the table is judged by its size now, since its growth is not known: {}",
                forecast.because
            ),
            "Analyse its partitions, or let replat look at it for some days.".to_owned(),
        )
    }
}

/// How many partitions a piece of work makes, at every depth.
fn new_parts(work: &Work) -> u64 {
    match work {
        Work::Create { parts, .. } | Work::Drain { parts, .. } => parts.iter().map(new_tables).sum(),
        Work::Recut { new, .. } | Work::Overflow { new, .. } => new.iter().map(new_tables).sum(),
        Work::Convert { others, .. } => others.iter().map(new_tables).sum::<u64>() + 1,
        _ => 0,
    }
}

fn new_tables(part: &NewPart) -> u64 {
    1 + part.below.iter().flat_map(|below| &below.parts).map(new_tables).sum::<u64>()
}

/// All partitions of a level and below it.
fn level_parts(level: &Level) -> u64 {
    level.parts.iter().map(|part| 1 + part.below.as_ref().map_or(0, level_parts)).sum()
}

/// The bytes of all leaves of a level; `None` if one's are not known.
fn level_bytes(level: &Level) -> Option<u64> {
    level.parts.iter().try_fold(0_u64, |sum, part| Some(sum.saturating_add(part_bytes(part)?)))
}

fn part_bytes(part: &Part) -> Option<u64> {
    part.below.as_ref().map_or(part.bytes, level_bytes)
}
