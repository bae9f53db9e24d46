//! The life of partitions, behind the boundary.
//!
//! An engine has three sessions, opened when they are first needed: one reads, one works, one sees who is in the way of
//! the one that works. The lock that keeps other runs out is held by a fourth, for as long as its guard lives. It is a
//! lock of the session: a pooler that gives each transaction to another session would lose it, so rotate connects to
//! the server itself. Two runs that did not see each other would do no harm, but for wasted work: units are recorded,
//! names are looked at again under locks, and the outbox is written under a lock of its own.

use replat_engine::lifecycle::{Hear, LifecycleEngine, Limits, Look, Outcome, Recalled, RunRecord, Script};
use replat_engine::{EngineError, Soon};
use replat_model::lifecycle::facts::{Facts, TableName, Vitals};
use replat_model::lifecycle::health::Finding;
use replat_model::lifecycle::patience::Stall;
use replat_model::lifecycle::plan::Unit;
use replat_model::lifecycle::policy::PruneQuery;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use super::act::{self, Bench};
use super::ledger::{self, Ledger};
use super::script::{self, Kitchen};
use super::{look, memory, mirror, reshape};
use crate::connect::{Connected, connect};
use crate::conninfo::ConnInfo;
use crate::error::on;

/// What sessions call themselves.
pub const APPLICATION: &str = "replat rotate";
/// The advisory lock of a run; advisory locks are each database's own.
pub const RUN_LOCK: i64 = 7_311_340_948_554;

/// What a session is set to from its beginning. Transactions set what they rely on again.
const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
     SET IntervalStyle = 'postgres'; SET extra_float_digits = 1; SET standard_conforming_strings = on; \
     SET quote_all_identifiers = off; SET statement_timeout = 0; SET lock_timeout = '5s'; \
     SET idle_in_transaction_session_timeout = '60s'; SET default_transaction_isolation = 'read committed'; \
     SET jit = off";

/// One database whose partitions have a life.
pub struct PostgresLifecycle {
    info: ConnInfo,
    database: String,
    run: String,
    reads: Slot,
    works: Slot,
    watches: Slot,
}

type Slot = Mutex<Option<Connected>>;
type Held<'a> = MappedMutexGuard<'a, Connected>;

impl PostgresLifecycle {
    /// The database that `info` leads to. `database` is its name in errors, `run` the name of the run in the records.
    ///
    /// Nothing is connected yet.
    pub fn new(info: ConnInfo, database: impl Into<String>, run: impl Into<String>) -> PostgresLifecycle {
        let slot = || Mutex::new(None);
        let (reads, works, watches) = (slot(), slot(), slot());
        PostgresLifecycle { info, database: database.into(), run: run.into(), reads, works, watches }
    }

    /// A new session with safe settings.
    async fn open(&self) -> Result<Connected, EngineError> {
        let connected = connect(&self.info, APPLICATION).await.map_err(|error| EngineError::Unreachable {
            database: self.database.clone(),
            during: "connecting".into(),
            source: Box::new(error),
        })?;
        let set = connected.client.batch_execute(SESSION).await;
        set.map_err(on(&self.database, "setting a session up"))?;
        Ok(connected)
    }

    /// The session of a slot, for this call alone; another one if the last was lost.
    async fn session<'a>(&'a self, slot: &'a Slot) -> Result<Held<'a>, EngineError> {
        let mut held = slot.lock().await;
        if held.as_ref().is_none_or(|connected| connected.client.is_closed()) {
            *held = Some(self.open().await?);
        }
        // Filled just now, under the same lock.
        MutexGuard::try_map(held, Option::as_mut)
            .map_err(|_| EngineError::Superseded { what: format!("a session of {}", self.database) })
    }

    async fn act_on(&self, unit: &Unit, limits: &Limits, heard: &dyn Hear) -> Result<Outcome, EngineError> {
        let work = self.session(&self.works).await?;
        let watch = self.session(&self.watches).await?;
        let bench = Bench { work: &work, watch: &watch.client, database: &self.database, run: &self.run };
        act::act(&bench, unit, limits, heard).await
    }

    async fn shown(&self, unit: &Unit) -> Result<Script, EngineError> {
        let session = self.session(&self.reads).await?;
        // What is shown before there are records says where they will be.
        let ledger = match ledger::find(&session.client).await? {
            Some(ledger) => ledger,
            None => Ledger { schema: "replat".into() },
        };
        if reshape::is_its(&unit.work) {
            let session = mirror::survey::Session {
                client: &session.client,
                database: &self.database,
                ledger: &ledger,
                unit,
                run: &self.run,
            };
            return reshape::shown::script(&session).await;
        }
        let kitchen = Kitchen {
            client: &session.client,
            database: &self.database,
            ledger: &ledger,
            run: &self.run,
            shown: true,
        };
        Ok(script::recipe(&kitchen, unit).await?.script())
    }

    async fn locked(&self) -> Result<Box<dyn Send>, EngineError> {
        let session = self.open().await?;
        let row = session
            .client
            .query_one("SELECT pg_catalog.pg_try_advisory_lock($1)", &[&RUN_LOCK])
            .await
            .map_err(on(&self.database, "taking the lock of rotate"))?;
        if !row.get::<_, bool>(0) {
            return Err(EngineError::Superseded { what: format!("the rotation of {}", self.database) });
        }
        // Nobody else is at work now, so what the records have wrong was broken off.
        if let Some(ledger) = ledger::readable(&session.client).await? {
            let watch = self.session(&self.watches).await?;
            let bench =
                Bench { work: &session, watch: &watch.client, database: &self.database, run: &self.run };
            act::settle(&bench, &ledger).await?;
            act::close(&bench, &ledger).await?;
        }
        Ok(Box::new(session))
    }
}

impl LifecycleEngine for PostgresLifecycle {
    fn vitals(&self) -> Soon<'_, Vitals> {
        Box::pin(async {
            let session = self.session(&self.reads).await?;
            look::vitals(&session.client, &self.database, false).await
        })
    }

    fn look<'a>(&'a self, wanted: &'a Look) -> Soon<'a, Facts> {
        Box::pin(async {
            let session = self.session(&self.reads).await?;
            look::look(&session.client, &self.database, wanted).await
        })
    }

    fn fingerprint(&self) -> Soon<'_, String> {
        Box::pin(async {
            let session = self.session(&self.reads).await?;
            look::fingerprint(&session.client, &self.database).await
        })
    }

    fn script<'a>(&'a self, unit: &'a Unit) -> Soon<'a, Script> {
        Box::pin(self.shown(unit))
    }

    fn act<'a>(
        &'a self,
        unit: &'a Unit,
        limits: &'a Limits,
        heard: &'a (dyn Hear + 'a),
    ) -> Soon<'a, Outcome> {
        Box::pin(self.act_on(unit, limits, heard))
    }

    fn prunes<'a>(&'a self, set: &'a TableName, queries: &'a [PruneQuery]) -> Soon<'a, Vec<Finding>> {
        Box::pin(async {
            let session = self.session(&self.reads).await?;
            super::prune::prunes(&session.client, &self.database, set, queries).await
        })
    }

    fn alone(&self) -> Soon<'_, Box<dyn Send>> {
        Box::pin(self.locked())
    }

    fn recall(&self) -> Soon<'_, Option<Recalled>> {
        Box::pin(async {
            let session = self.session(&self.reads).await?;
            memory::recall(&session.client, &self.database).await
        })
    }

    fn stalls(&self) -> Soon<'_, Vec<Stall>> {
        Box::pin(async {
            let session = self.session(&self.reads).await?;
            memory::stalls(&session.client, &self.database).await
        })
    }

    fn remember<'a>(&'a self, facts: &'a Facts, run: &'a RunRecord) -> Soon<'a, ()> {
        Box::pin(async {
            let mut session = self.session(&self.works).await?;
            memory::remember(&mut session.client, &self.database, facts, run).await
        })
    }
}
