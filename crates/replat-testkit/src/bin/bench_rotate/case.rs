//! The cases: what is done to what, under what load, and what is to come of it.

mod fleet;
mod sessions;
mod stall;

use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Client;

use crate::Failure;
use crate::arm::{Arm, Job, Program};
use crate::figures::{Better, Measure, Number};
use crate::place::{Database, Place};
use crate::shape::{Shape, Stray};

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Such as `N1`.
    pub id: &'static str,
    /// In one line.
    pub title: String,
    /// The tables that it begins with.
    pub shape: Shape,
    /// What is done.
    pub job: Job,
    /// What is to come of it.
    pub wanted: Wanted,
    /// How it is measured.
    pub how: How,
    /// The numbers that it gives beside the waits.
    pub numbers: Vec<Number>,
    /// Who takes part.
    pub arms: &'static [Arm],
}

/// How a case is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The waits of an application while maintenance runs; `reader`: a transaction that has read all partitions
    /// stays open for so long.
    Stall {
        /// That long; `None`: there is no such transaction.
        reader: Option<Duration>,
    },
    /// Nothing is to be done: how long it takes to see that.
    NoOp,
    /// Many tables at once, and nobody else: how fast, and at what cost.
    Throughput,
    /// What a session pays at its next statements, since all that it knew of the table is void.
    Sessions,
    /// How long an application on many tables stands in queues behind the maintenance, added up.
    Queues,
}

/// What is to come of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// New partitions.
    pub created: usize,
    /// Partitions detached or dropped.
    pub retired: usize,
    /// No row of the last days is left in the default partition.
    pub drained: bool,
    /// The table is partitioned.
    pub converted: bool,
}

/// What all rounds of all cases share.
pub struct Bench {
    /// The cluster.
    pub place: Place,
    /// The program under test.
    pub program: Program,
    /// The time between two statements of one session of the load.
    pub pace: Duration,
}

fn less(key: &'static str, unit: &'static str) -> Number {
    Number { key, unit, better: Better::Less }
}

fn more(key: &'static str, unit: &'static str) -> Number {
    Number { key, unit, better: Better::More }
}

fn neither(key: &'static str, unit: &'static str) -> Number {
    Number { key, unit, better: Better::Neither }
}

const TOOK: Number = Number { key: "took", unit: "s", better: Better::Neither };
const EVERYONE: &[Arm] = &Arm::ALL;
const MAINTAINERS: &[Arm] = &[Arm::Partman, Arm::Replat];

/// Sizes of the cases.
struct Scale {
    long_reader: u64,
    reader: u64,
    stray_old: u32,
    stray_recent: u32,
    fleet: u32,
    wide: u32,
    live: u32,
}

/// All cases, at full size or small.
pub fn all(quick: bool) -> Vec<Case> {
    let scale = if quick {
        Scale {
            long_reader: 8,
            reader: 4,
            stray_old: 200_000,
            stray_recent: 60_000,
            fleet: 20,
            wide: 300,
            live: 100_000,
        }
    } else {
        Scale {
            long_reader: 20,
            reader: 8,
            stray_old: 1_000_000,
            stray_recent: 200_000,
            fleet: 100,
            wide: 960,
            live: 500_000,
        }
    };
    let mut cases = stall_cases(&scale);
    cases.extend(other_cases(&scale));
    cases
}

fn stall_cases(scale: &Scale) -> Vec<Case> {
    let one = Shape { name: "n1", tables: 1, past: 30, default: true, rows: 60_000, stray: Stray::None };
    let ahead = |ahead, keep| Job::Maintain { ahead, keep };
    let (long, reader) =
        (Some(Duration::from_secs(scale.long_reader)), Some(Duration::from_secs(scale.reader)));
    let stall = |id, title: String, shape, job, wanted, reader| Case {
        id,
        title,
        shape,
        job,
        wanted,
        how: How::Stall { reader },
        numbers: vec![TOOK, neither("stalled", "ms"), neither("held", "ms")],
        arms: EVERYONE,
    };
    let created = Wanted { created: 30, ..Wanted::default() };
    let retired = Wanted { retired: 2, ..Wanted::default() };
    let both = Wanted { created: 30, retired: 2, ..Wanted::default() };
    let drained = Wanted { drained: true, ..Wanted::default() };
    let (long_s, reader_s) = (scale.long_reader, scale.reader);
    let rows = |rows: u32| format!("{} rows", thousands(rows));
    vec![
        stall(
            "N1",
            format!("create 30; DEFAULT there; a reader of {long_s} s"),
            one,
            ahead(34, None),
            created,
            long,
        ),
        stall(
            "N2",
            format!("retire 2; no DEFAULT; a reader of {reader_s} s"),
            Shape { name: "n2", default: false, ..one },
            ahead(4, Some(28)),
            retired,
            reader,
        ),
        stall(
            "N2d",
            format!("retire 2; DEFAULT there; a reader of {reader_s} s"),
            one,
            ahead(4, Some(28)),
            retired,
            reader,
        ),
        stall(
            "N3",
            format!("create 30 and retire 2 in one run; DEFAULT there; a reader of {reader_s} s"),
            one,
            ahead(34, Some(28)),
            both,
            reader,
        ),
        stall(
            "N4",
            format!("create 30; {} in DEFAULT; no reader", rows(scale.stray_old)),
            Shape { name: "n4", stray: Stray::Old(scale.stray_old), ..one },
            ahead(34, None),
            created,
            None,
        ),
        Case {
            numbers: vec![
                TOOK,
                neither("held", "ms"),
                less("left in DEFAULT", ""),
                less("rows lost or doubled", ""),
                less("rows out of sight", ""),
            ],
            ..stall(
                "N5",
                format!("drain {} from DEFAULT; late writers go on; no reader", rows(scale.stray_recent)),
                Shape { name: "n5", stray: Stray::Recent(scale.stray_recent), ..one },
                Job::Drain,
                drained,
                None,
            )
        },
    ]
}

fn other_cases(scale: &Scale) -> Vec<Case> {
    let fleet = scale.fleet;
    let many = Shape { name: "n6", tables: fleet, past: 31, default: true, rows: 0, stray: Stray::None };
    let few = Shape { name: "n7", past: 5, ..many };
    let busy = Shape { name: "n11", past: 5, rows: 400, ..many };
    let wide =
        Shape { name: "n8", tables: 1, past: scale.wide, default: false, rows: 60_000, stray: Stray::None };
    let live = Shape {
        name: "n10",
        tables: 1,
        past: 0,
        default: false,
        rows: 0,
        stray: Stray::Ordinary(scale.live),
    };
    let ahead = |ahead| Job::Maintain { ahead, keep: None };
    let created = |created| Wanted { created, ..Wanted::default() };
    vec![
        Case {
            id: "N6",
            title: format!("nothing to do; {fleet} tables, {} partitions", fleet * 36),
            shape: many,
            job: ahead(4),
            wanted: Wanted::default(),
            how: How::NoOp,
            numbers: vec![less("whole command", "ms"), less("by its own clock", "ms")],
            arms: MAINTAINERS,
        },
        Case {
            id: "N7",
            title: format!("create 26 x {fleet} tables; nobody else"),
            shape: few,
            job: ahead(30),
            wanted: created(26 * fleet as usize),
            how: How::Throughput,
            numbers: vec![
                TOOK,
                more("partitions per second", ""),
                less("backend CPU, each", "ms"),
                neither("log, each", "KB"),
            ],
            arms: MAINTAINERS,
        },
        Case {
            id: "N8",
            title: format!("create 30; {} partitions there; no DEFAULT; no reader", scale.wide + 5),
            shape: wide,
            job: ahead(34),
            wanted: created(30),
            how: How::Sessions,
            numbers: vec![
                TOOK,
                less("commits that attach", ""),
                less("first INSERT", "ms"),
                less("first generic SELECT", "ms"),
                less("planning, added up", "ms"),
            ],
            arms: EVERYONE,
        },
        Case {
            id: "N10",
            title: format!("a live table of {} rows becomes partitioned", thousands(scale.live)),
            shape: live,
            job: Job::Convert,
            wanted: Wanted { converted: true, ..Wanted::default() },
            how: How::Stall { reader: None },
            numbers: vec![TOOK, neither("held", "ms"), less("rows lost or doubled", "")],
            arms: &[Arm::Noise, Arm::Replat],
        },
        Case {
            id: "N11",
            title: format!(
                "create 4 x {fleet} tables that are in use; twelve readers of 0.5 s each, here and there"
            ),
            shape: busy,
            job: ahead(8),
            wanted: created(4 * fleet as usize),
            how: How::Queues,
            numbers: vec![TOOK, less("queued, as seen", "ms"), neither("stalled", "ms")],
            arms: EVERYONE,
        },
    ]
}

fn thousands(number: u32) -> String {
    match (number / 1_000_000, number / 1000) {
        (millions, _) if millions > 0 && number.is_multiple_of(1_000_000) => format!("{millions} M"),
        (_, thousands) => format!("{thousands} k"),
    }
}

impl Case {
    /// What is wanted, in words.
    pub fn wanted_words(&self) -> String {
        let wanted = self.wanted;
        let mut words = Vec::new();
        if wanted.created > 0 {
            words.push(format!("{} created", wanted.created));
        }
        if wanted.retired > 0 {
            words.push(format!("{} retired", wanted.retired));
        }
        if wanted.drained {
            words.push("all rows in partitions, none lost, none out of sight".to_owned());
        }
        if wanted.converted {
            words.push("partitioned, no row lost".to_owned());
        }
        words.join(", ")
    }

    /// One arm in one round, on a database of its own.
    ///
    /// # Errors
    ///
    /// If the measuring fails; that the maintenance fails is a result.
    pub async fn measure(&self, bench: &mut Bench, arm: Arm, round: u32) -> Result<Measure, Failure> {
        let database = bench.place.database(&self.shape, arm.finds()).await?;
        let measured = match self.how {
            How::Stall { reader } => stall::measure(self, bench, &database, arm, round, reader).await,
            How::NoOp => fleet::no_op(self, bench, &database, arm, round).await,
            How::Throughput => fleet::throughput(self, bench, &database, arm, round).await,
            How::Sessions => sessions::measure(self, bench, &database, arm, round).await,
            How::Queues => fleet::queues(self, bench, &database, arm, round).await,
        };
        let measured = measured.map_err(|failure| format!("{}, {arm}, round {round}: {failure}", self.id))?;
        bench.place.remove(database).await?;
        Ok(measured)
    }
}

/// The partitions of all tables of a database, without default ones and those whose detach is not finished.
pub struct Standing {
    /// Their identities.
    parts: std::collections::BTreeSet<u32>,
}

impl Standing {
    /// As they are now.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn of(client: &Client) -> Result<Standing, Failure> {
        let rows = client
            .query(
                "select c.oid from pg_inherits i join pg_class c on c.oid = i.inhrelid
                where c.relkind in ('r', 'p') and not i.inhdetachpending
                and pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'",
                &[],
            )
            .await?;
        let parts = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(Standing { parts })
    }

    /// How many there are now that were not there before.
    pub fn created(&self, before: &Standing) -> usize {
        self.parts.difference(&before.parts).count()
    }

    /// How many were there before that are not there now.
    pub fn retired(&self, before: &Standing) -> usize {
        before.parts.difference(&self.parts).count()
    }
}

/// An arm's empty result, to be filled in.
fn blank(arm: Arm, round: u32) -> Measure {
    Measure {
        arm,
        round,
        took_ms: 0.0,
        came_to: String::new(),
        achieved: true,
        failures: Vec::new(),
        refused: Default::default(),
        classes: Default::default(),
        numbers: Default::default(),
        said: None,
    }
}

/// What partitions came and went, and whether that is what was wanted.
async fn settle(
    case: &Case,
    bench: &Bench,
    database: &Database,
    before: &Standing,
    measure: &mut Measure,
) -> Result<(), Failure> {
    if measure.arm == Arm::Noise {
        return Ok(());
    }
    let after = Standing::of(&bench.place.server.client(&database.name).await?).await?;
    let (created, retired) = (after.created(before), after.retired(before));
    let wanted = case.wanted;
    let mut words = Vec::new();
    if wanted.created > 0 {
        words.push(format!("{created} of {} created", wanted.created));
        // One partition more at the far end is another reading of "ahead", not a fault.
        measure.achieved &= created >= wanted.created;
    }
    if wanted.retired > 0 {
        words.push(format!("{retired} of {} retired", wanted.retired));
        measure.achieved &= retired == wanted.retired;
    }
    measure.came_to = words.join(", ");
    Ok(())
}

/// Adds the numbers that the program reports of itself: queueing, and the longest time under a lock.
fn heed(measure: &mut Measure) {
    let Some(said) = &measure.said else { return };
    let stalled = said.pointer("/summary/stalled_us").and_then(Value::as_f64);
    let entries = said.pointer("/databases/0/entries").and_then(Value::as_array);
    let held = entries.into_iter().flatten().filter_map(|entry| entry.pointer("/outcome/held_us")?.as_f64());
    let held = held.reduce(f64::max);
    measure.numbers.extend(stalled.map(|us| ("stalled", us / 1000.0)));
    measure.numbers.extend(held.map(|us| ("held", us / 1000.0)));
}
