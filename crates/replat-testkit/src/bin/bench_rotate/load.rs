//! The application: sessions that each repeat one class of statement at a steady pace, and note how long each took.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use replat_testkit::random::Random;
use replat_testkit::server::connect;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use crate::Failure;
use crate::shape::Ids;

/// A class of statement. What it locks decides what it may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A row of this moment.
    Insert,
    /// A query whose dates are literals: pruned when it is planned.
    SelectConst,
    /// A query with `now()`: pruned when it runs, by when all partitions are locked.
    SelectNow,
    /// A query over all partitions.
    SelectAll,
    /// One row by its id alone: looked for in all partitions.
    Update,
    /// One row by its id alone.
    Delete,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 6] =
        [Class::Insert, Class::SelectConst, Class::SelectNow, Class::SelectAll, Class::Update, Class::Delete];

    /// Two sessions insert, one updates, one deletes: four that write. Each kind of query has one more.
    fn sessions(self) -> u32 {
        if self == Class::Insert { 2 } else { 1 }
    }

    fn sql(self, table: &str) -> String {
        match self {
            Class::Insert => {
                format!(
                    "insert into public.{table} (ts, dev, payload) values (now(), $1, 'late') returning id"
                )
            }
            Class::SelectConst => format!(
                "select count(*) from public.{table} where dev = $1
                and ts >= '{{today}}'::timestamptz and ts < '{{tomorrow}}'::timestamptz"
            ),
            Class::SelectNow => format!(
                "select count(*) from public.{table} where dev = $1 and ts >= now() - interval '1 hour'"
            ),
            Class::SelectAll => format!("select count(*) from public.{table} where dev = $1"),
            Class::Update => format!("update public.{table} set kind = kind + 1 where id = $1"),
            Class::Delete => format!("delete from public.{table} where id = $1"),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Insert => "insert",
            Class::SelectConst => "select const",
            Class::SelectNow => "select now()",
            Class::SelectAll => "select all",
            Class::Update => "update",
            Class::Delete => "delete",
        })
    }
}

/// One statement that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was sent.
    pub at: Instant,
    /// How long the answer took.
    pub took: Duration,
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows: inserted less deleted.
    pub rows: i64,
    /// Their ids: inserted less deleted.
    pub ids: i64,
    /// Rows updated.
    pub updates: i64,
}

/// What a load went through.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Answers, by class.
    pub samples: BTreeMap<Class, Vec<Sample>>,
    /// Refusals, by what was said.
    pub refused: BTreeMap<String, u64>,
    /// What was acknowledged.
    pub tally: Tally,
}

/// What a load is to do.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The database's connection string.
    pub url: String,
    /// The tables, of which each statement takes one.
    pub tables: Vec<String>,
    /// Which rows it may touch.
    pub ids: Ids,
    /// The time from one statement of a session to its next one.
    pub pace: Duration,
    /// What the choices follow from.
    pub seed: u64,
}

/// A load that runs.
pub struct Load {
    stop: Arc<AtomicBool>,
    sessions: Vec<JoinHandle<Result<Heard, Failure>>>,
}

impl Load {
    /// Starts it, and returns when every session has its statements prepared.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub async fn start(plan: &LoadPlan) -> Result<Load, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut sessions = Vec::new();
        for class in Class::ALL {
            for _ in 0..class.sessions() {
                let seed = plan.seed.wrapping_add(sessions.len() as u64);
                let session = Session::open(class, plan, seed, stop.clone()).await?;
                sessions.push(tokio::spawn(session.drive()));
            }
        }
        Ok(Load { stop, sessions })
    }

    /// Stops it after the statements that are under way.
    ///
    /// # Errors
    ///
    /// If a session lost its connection.
    pub async fn stop(self) -> Result<Heard, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Heard::default();
        for session in self.sessions {
            all.add(session.await??);
        }
        Ok(all)
    }
}

impl Heard {
    fn add(&mut self, other: Heard) {
        for (class, samples) in other.samples {
            self.samples.entry(class).or_default().extend(samples);
        }
        for (words, count) in other.refused {
            *self.refused.entry(words).or_default() += count;
        }
        self.tally.rows += other.tally.rows;
        self.tally.ids += other.tally.ids;
        self.tally.updates += other.tally.updates;
    }
}

struct Session {
    class: Class,
    client: Client,
    statements: Vec<Statement>,
    ids: Ids,
    next_deleted: i64,
    pace: Duration,
    random: Random,
    stop: Arc<AtomicBool>,
}

impl Session {
    async fn open(
        class: Class,
        plan: &LoadPlan,
        seed: u64,
        stop: Arc<AtomicBool>,
    ) -> Result<Session, Failure> {
        let client = connect(&plan.url).await?;
        client.batch_execute("set application_name = 'bench load'").await?;
        let days = client.query_one("select current_date::text, (current_date + 1)::text", &[]).await?;
        let (today, tomorrow): (String, String) = (days.try_get(0)?, days.try_get(1)?);
        let mut statements = Vec::new();
        for table in &plan.tables {
            let sql = class.sql(table).replace("{today}", &today).replace("{tomorrow}", &tomorrow);
            statements.push(client.prepare(&sql).await?);
        }
        let (ids, pace) = (plan.ids.clone(), plan.pace);
        let next_deleted = ids.deleted.start;
        Ok(Session { class, client, statements, ids, next_deleted, pace, random: Random::new(seed), stop })
    }

    async fn drive(mut self) -> Result<Heard, Failure> {
        let mut heard = Heard::default();
        let mut samples = Vec::new();
        let mut next = tokio::time::Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            tokio::time::sleep_until(next).await;
            let at = Instant::now();
            let answered = self.once(&mut heard.tally).await;
            samples.push(Sample { at, took: at.elapsed() });
            if let Err(error) = answered {
                let refusal =
                    error.as_db_error().ok_or_else(|| format!("a session of the load was lost: {error}"))?;
                let words = format!("{}: {} ({})", self.class, refusal.message(), refusal.code().code());
                *heard.refused.entry(words).or_default() += 1;
            }
            next = (next + self.pace).max(tokio::time::Instant::now());
        }
        heard.samples.insert(self.class, samples);
        Ok(heard)
    }

    async fn once(&mut self, tally: &mut Tally) -> Result<(), tokio_postgres::Error> {
        let statement = &self.statements[self.random.below(self.statements.len() as u64) as usize];
        let device = self.random.below(1000) as i32;
        match self.class {
            Class::Insert => {
                let row = self.client.query_one(statement, &[&device]).await?;
                tally.rows += 1;
                tally.ids += row.try_get::<_, i64>(0)?;
            }
            Class::SelectConst | Class::SelectNow | Class::SelectAll => {
                self.client.query(statement, &[&device]).await?;
            }
            Class::Update => {
                let width = (self.ids.updated.end - self.ids.updated.start).max(1) as u64;
                let id = self.ids.updated.start + self.random.below(width) as i64;
                tally.updates += self.client.execute(statement, &[&id]).await? as i64;
            }
            Class::Delete => {
                let id = self.next_deleted;
                let next = id + 1;
                self.next_deleted = if next < self.ids.deleted.end { next } else { self.ids.deleted.start };
                let deleted = self.client.execute(statement, &[&id]).await? as i64;
                tally.rows -= deleted;
                tally.ids -= deleted * id;
            }
        }
        Ok(())
    }
}
