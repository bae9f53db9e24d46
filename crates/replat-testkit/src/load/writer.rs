//! One writer: short transactions against whatever home the map names, each repeated until it is acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::RwLock;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::holdings::{Holdings, Operation};
use super::journal::{Entry, Fact, Journal, Outcome, Rest};
use super::{Door, LoadError};
use crate::random::Random;
use crate::routes::{Routes, TenantHome};
use crate::rows::{Change, Row, Table, Version};
use crate::server::connect;

/// How long an operation is tried again before it is given up. Longer than any pause that a switch may cause.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a refused writer waits for news of another home before it tries the old one again.
const NEWS_MAX: Duration = Duration::from_millis(20);
/// How many orders and users of each tenant a writer takes over from the fill.
const ADOPTED_MAX: u32 = 60;

/// How one attempt ended.
#[derive(Debug)]
enum Attempt {
    Acknowledged,
    /// Refused without effect, for a reason that passes: a fence, a deadlock, a lost connection.
    TryAgain(String),
    Unknown,
    /// Refused without effect, for a reason that should not be.
    Fault(String),
}

/// A writer's share of the world.
pub(super) struct Writer {
    pub number: usize,
    /// Its place among the writers that share its tenants, and how many they are.
    pub share: (usize, usize),
    pub tenants: Vec<i64>,
    pub seed: u64,
    pub interval: Duration,
    pub routes: Routes,
    /// By which it reaches its rows, if not by the routes.
    pub door: Option<Door>,
    pub journal: Arc<Journal>,
    pub stop: Arc<AtomicBool>,
    /// Held for reading while an operation runs; whoever holds it for writing has the writers stand still.
    pub gate: Arc<RwLock<()>>,
}

/// What a running writer holds.
pub(super) struct Running {
    writer: Writer,
    random: Random,
    /// By connection string and schema; they are kept over switches, as an application's pools are.
    sessions: HashMap<(String, String), Client>,
    holdings: HashMap<i64, Holdings>,
}

impl Writer {
    /// Takes over its share of the rows that are there, so that changes also meet rows which are being copied.
    pub async fn prepare(self) -> Result<Running, LoadError> {
        let mut random = Random::new(self.seed);
        for _ in 0..=self.number {
            random = Random::new(random.bits());
        }
        let mut running =
            Running { random, sessions: HashMap::new(), holdings: HashMap::new(), writer: self };
        for tenant in running.writer.tenants.clone() {
            let holdings = running.adopt(tenant).await?;
            running.holdings.insert(tenant, holdings);
        }
        Ok(running)
    }
}

impl Running {
    /// Writes until it is told to stop.
    pub async fn run(mut self) -> Result<(), LoadError> {
        let mut beat = tokio::time::interval(self.writer.interval);
        // After a pause the rate is what it was; what was missed is not made up for.
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let gate = self.writer.gate.clone();
        while !self.writer.stop.load(Ordering::Relaxed) {
            beat.tick().await;
            let _open = match gate.try_read() {
                Ok(open) => open,
                Err(_) => {
                    let from = self.writer.journal.now();
                    let open = gate.read().await;
                    let to = self.writer.journal.now();
                    self.writer.journal.rested(Rest { writer: self.writer.number, from, to });
                    open
                }
            };
            self.operate().await?;
        }
        Ok(())
    }

    async fn operate(&mut self) -> Result<(), LoadError> {
        let nth = self.random.below(self.writer.tenants.len() as u64);
        let tenant = self.writer.tenants[usize::try_from(nth).expect("an index")];
        let mut holdings = self.holdings.remove(&tenant).expect("holdings of each of the writer's tenants");
        let operation = holdings.draw(self.writer.seed, &mut self.random);
        let entry = self.persist(tenant, &operation).await;
        match entry.outcome {
            Outcome::Acknowledged => holdings.settle(&operation),
            Outcome::Unknown => holdings.disown(&operation),
            Outcome::GivenUp => {}
        }
        self.holdings.insert(tenant, holdings);
        self.writer.journal.append(entry).map_err(LoadError::Journal)
    }

    /// Tries the operation at the tenant's home, wherever that is by then, until it has an outcome.
    async fn persist(&mut self, tenant: i64, operation: &Operation) -> Entry {
        let began = self.writer.journal.now();
        let mut attempts = 0;
        loop {
            let home = self.writer.routes.home_of(tenant);
            attempts += 1;
            let (ended, version) = match self.writer.door.clone() {
                None => (self.attempt(tenant, operation, &home).await, home.version),
                Some(door) => self.attempt_at(&door, tenant, operation).await,
            };
            let home = TenantHome { version, ..home };
            let outcome = match ended {
                Attempt::Acknowledged => Some(Outcome::Acknowledged),
                Attempt::Unknown => Some(Outcome::Unknown),
                Attempt::Fault(words) => {
                    let op = &operation.op;
                    self.writer.journal.fault(format!("{} ({op}) at {}: {words}", operation.kind, home.url));
                    Some(Outcome::GivenUp)
                }
                Attempt::TryAgain(words) if self.writer.journal.now() - began > PATIENCE => {
                    self.writer
                        .journal
                        .fault(format!("{} was refused for {PATIENCE:?}: {words}", operation.kind));
                    Some(Outcome::GivenUp)
                }
                Attempt::TryAgain(words) => {
                    self.writer.journal.error(format!("{}: {words}", operation.kind));
                    None
                }
            };
            if let Some(outcome) = outcome {
                return self.entry(tenant, operation, &home, outcome, attempts, began);
            }
            self.writer.routes.changed_since(tenant, home.epoch, NEWS_MAX).await;
        }
    }

    fn entry(
        &self,
        tenant: i64,
        operation: &Operation,
        home: &TenantHome,
        outcome: Outcome,
        attempts: u32,
        began: Duration,
    ) -> Entry {
        let fact =
            |change: &Change| Fact { key: change.key().clone(), row: change.after().map(|row| row.texts()) };
        Entry {
            op: operation.op.clone(),
            writer: self.writer.number,
            tenant,
            kind: operation.kind,
            outcome,
            epoch: home.epoch,
            version: home.version,
            attempts,
            began,
            ended: self.writer.journal.now(),
            facts: operation.changes.iter().map(fact).collect(),
        }
    }

    async fn attempt(&mut self, tenant: i64, operation: &Operation, home: &TenantHome) -> Attempt {
        let level = self.level();
        let client = match self.session(home).await {
            Ok(client) => client,
            Err(error) => return Attempt::TryAgain(error.to_string()),
        };
        let begin = format!("begin isolation level {level}");
        let ended = transact(client, Some(begin), tenant, operation, home.version).await;
        if client.is_closed() {
            self.sessions.remove(&session_key(home));
        }
        ended
    }

    /// One in eight runs on one snapshot: an old snapshot is what a careless fence does not see.
    fn level(&mut self) -> &'static str {
        if self.random.below(8) == 0 { "repeatable read" } else { "read committed" }
    }

    /// An attempt by a door. The transaction says whose it is, and asks in which schema it is.
    async fn attempt_at(&mut self, door: &Door, tenant: i64, operation: &Operation) -> (Attempt, Version) {
        let level = self.level();
        let key = (door.url.clone(), String::new());
        if !self.sessions.contains_key(&key) {
            match connect(&door.url).await {
                Ok(client) => drop(self.sessions.insert(key.clone(), client)),
                Err(error) => return (Attempt::TryAgain(error.to_string()), Version::V1),
            }
        }
        let client = &self.sessions[&key];
        let begin =
            format!("/* replat:key={tenant} */ begin isolation level {level}; select current_schema()");
        let ended = match client.simple_query(&begin).await {
            Err(error) => (roll_back(client, judge(&error)).await, Version::V1),
            Ok(answers) => match schema(&answers).and_then(|schema| door.versions.get(schema)) {
                None => {
                    let words = "the transaction is in a schema that nobody named".into();
                    (roll_back(client, Attempt::Fault(words)).await, Version::V1)
                }
                Some(version) => (transact(client, None, tenant, operation, *version).await, *version),
            },
        };
        if client.is_closed() {
            self.sessions.remove(&key);
        }
        ended
    }

    async fn session(&mut self, home: &TenantHome) -> Result<&Client, tokio_postgres::Error> {
        let key = session_key(home);
        if !self.sessions.contains_key(&key) {
            let client = connect(&home.url).await?;
            client.batch_execute(&format!("set search_path = {}", home.schema)).await?;
            self.sessions.insert(key.clone(), client);
        }
        Ok(&self.sessions[&key])
    }

    async fn adopt(&mut self, tenant: i64) -> Result<Holdings, LoadError> {
        let home = self.writer.routes.home_of(tenant);
        let mut holdings = Holdings::new(self.writer.number, tenant);
        let (place, of) = self.writer.share;
        let mine = format!("id % {of} = {place} and id <= {ADOPTED_MAX} * {of}");
        let parts = format!("order_id % {of} = {place} and order_id <= {ADOPTED_MAX} * {of}");
        let client = self.session(&home).await.map_err(LoadError::Adopt)?;
        for table in [Table::Users, Table::Orders, Table::OrderLines, Table::Payments] {
            let condition = if matches!(table, Table::Users | Table::Orders) { &mine } else { &parts };
            let query = table.select_facts(home.version, &home.schema, tenant, condition);
            for message in client.simple_query(&query).await.map_err(LoadError::Adopt)? {
                let SimpleQueryMessage::Row(row) = message else { continue };
                let texts = (0..row.len()).map(|column| row.get(column).unwrap_or("").to_owned());
                let texts: Vec<String> = texts.collect();
                if let (Ok(id), Some(row)) = (texts[0].parse(), Row::from_texts(table, &texts[1..])) {
                    holdings.adopt(table, id, row);
                }
            }
        }
        Ok(holdings)
    }
}

fn session_key(home: &TenantHome) -> (String, String) {
    (home.url.clone(), home.schema.clone())
}

/// One transaction, in three round trips at least, so that a fence finds writers in its midst. `begin` is absent if it
/// has begun.
///
/// Statements are sent as text, since the same value goes into columns of different types in the two versions.
async fn transact(
    client: &Client,
    begin: Option<String>,
    tenant: i64,
    operation: &Operation,
    version: Version,
) -> Attempt {
    let statements: Vec<String> =
        operation.changes.iter().map(|change| change.sql(version, tenant, &operation.op)).collect();
    let (first, rest) = statements.split_first().expect("an operation has an event at least");
    let first = begin.into_iter().chain([first.clone()]).collect::<Vec<_>>().join("; ");
    for (batch, changed) in [(first, 1), (rest.join("; "), rest.len())] {
        match client.simple_query(&batch).await.map(|answers| changed_one_each(&answers)) {
            Ok(count) if count == changed => {}
            Ok(count) => {
                let words = format!("{count} of {changed} statements found the one row they were about");
                return roll_back(client, Attempt::Fault(words)).await;
            }
            Err(error) => return roll_back(client, judge(&error)).await,
        }
    }
    match client.simple_query("commit").await {
        Ok(_) => Attempt::Acknowledged,
        Err(error) if refused_commit(&error) => roll_back(client, judge(&error)).await,
        Err(_) => Attempt::Unknown,
    }
}

/// The one value of the one row that was answered.
fn schema(answers: &[SimpleQueryMessage]) -> Option<&str> {
    answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}

/// Only an ordinary error says that a COMMIT had no effect; a FATAL one, or none at all, says nothing.
fn refused_commit(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|said| said.parsed_severity() == Some(Severity::Error))
}

/// How many of the answers say that exactly one row was changed; BEGIN says none.
fn changed_one_each(answers: &[SimpleQueryMessage]) -> usize {
    answers.iter().filter(|answer| matches!(answer, SimpleQueryMessage::CommandComplete(1))).count()
}

async fn roll_back(client: &Client, attempt: Attempt) -> Attempt {
    // If this fails, the connection is lost, and the transaction with it.
    drop(client.simple_query("rollback").await);
    attempt
}

/// What an error before COMMIT's effect means: nothing happened, and it may pass or not.
fn judge(error: &tokio_postgres::Error) -> Attempt {
    const PASSING: &[SqlState] = &[
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ];
    match error.as_db_error() {
        None => Attempt::TryAgain(error.to_string()),
        Some(said) if PASSING.contains(said.code()) => {
            Attempt::TryAgain(format!("{} {}", said.code().code(), said.message()))
        }
        Some(said) => Attempt::Fault(format!("{} {}", said.code().code(), said.message())),
    }
}
