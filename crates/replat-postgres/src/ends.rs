//! Both ends of one deployment: how they are reached, and what their objects are called.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use replat_engine::EngineError;
use replat_model::ids::{DeploymentId, Side};
use replat_model::plan::Plan;
use tokio_postgres::Client;

use crate::conninfo::ConnInfo;
use crate::error::on;
use crate::guard::is_missing;
use crate::pool::{Kind, Pool, Session};
use crate::sql::quote_ident;

/// Session settings under which a value always has the same text, on whatever server.
///
/// No transaction of replat's is idle but for an instant: one that is for ten seconds belongs to a process that
/// stands still, and gives its locks back to those that do not.
pub(crate) const PINNED: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; \
     SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmloption = 'content'; \
     SET lc_monetary = 'C'; SET array_nulls = on; SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET statement_timeout = 0; \
     SET idle_in_transaction_session_timeout = '10s'; SET default_transaction_isolation = 'read committed'; \
     SET row_security = off";

/// The same for a replication session, which takes them as start-up options. A reader that stands still holds its
/// slot until the server gives it up, by default after a minute; it reports every five seconds while it is alive.
const PINNED_OPTIONS: &str = "-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC \
     -c extra_float_digits=3 -c bytea_output=hex -c lc_monetary=C -c client_encoding=UTF8 -c statement_timeout=0 \
     -c wal_sender_timeout=10s";

/// Both ends of one deployment.
#[derive(Clone)]
pub struct Ends {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The deployment's name.
    pub deployment: DeploymentId,
    /// What its slots and its publication are called by.
    label: String,
    blue: ConnInfo,
    green: ConnInfo,
    /// Whether its SQL sessions refuse to write.
    reads_only: bool,
    /// What it shares with the other members of its cohort.
    shared: Option<Shared>,
}

/// What the members of a cohort share.
#[derive(Clone)]
struct Shared {
    /// What the slots and the publication of the cohort are called by.
    label: String,
    /// The connections.
    pool: Option<Arc<Pool>>,
    /// Whether the stream from blue, and the one from green, has left the cohort's slot for one of its own.
    apart: Arc<[AtomicBool; 2]>,
}

impl Ends {
    /// Both ends of `deployment`.
    pub fn new(plan: Arc<Plan>, deployment: DeploymentId, blue: ConnInfo, green: ConnInfo) -> Ends {
        // Slots are named once in a cluster, and each control store counts its deployments from d1.
        let label = format!("{deployment}_{}", &plan.digest()[..8]);
        Ends { plan, deployment, label, blue, green, reads_only: false, shared: None }
    }

    /// The same ends, for a member of the cohort that is called by `label` on both sides.
    #[must_use]
    pub fn in_cohort(self, label: &str, pool: Option<Arc<Pool>>) -> Ends {
        Ends { shared: Some(Shared { label: label.to_owned(), pool, apart: Arc::default() }), ..self }
    }

    /// The cohort's name on both sides, if this is a member.
    pub fn cohort(&self) -> Option<&str> {
        self.shared.as_ref().map(|shared| shared.label.as_str())
    }

    /// Whether the stream from `side` reads a slot that no other member reads.
    pub fn is_apart(&self, side: Side) -> bool {
        let apart = |shared: &Shared| shared.apart[usize::from(side == Side::Green)].load(Ordering::Relaxed);
        self.shared.as_ref().is_none_or(apart)
    }

    /// From now on, the stream from `side` reads a slot of its own.
    pub fn set_apart(&self, side: Side) {
        if let Some(shared) = &self.shared {
            shared.apart[usize::from(side == Side::Green)].store(true, Ordering::Relaxed);
        }
    }

    /// Whoever is written down as the maker of what is made on green for all members.
    pub fn maker(&self) -> &str {
        self.cohort().unwrap_or(self.deployment.as_str())
    }

    /// The same ends, for those who only look: the servers themselves refuse every write of their SQL sessions.
    #[must_use]
    pub fn reading_only(self) -> Ends {
        Ends { reads_only: true, ..self }
    }

    fn info(&self, side: Side) -> &ConnInfo {
        match side {
            Side::Blue => &self.blue,
            Side::Green => &self.green,
        }
    }

    /// The name of `side`'s database in the spec.
    pub fn database(&self, side: Side) -> &str {
        &self.plan.end(side).home.database
    }

    /// The replication slot on `side`.
    pub fn slot(&self, side: Side) -> String {
        match self.cohort().filter(|_| !self.is_apart(side)) {
            Some(label) => slot_name(label, side),
            None => self.own_slot(side),
        }
    }

    /// The slot on `side` that no other deployment reads. A member has one only if it is apart.
    pub fn own_slot(&self, side: Side) -> String {
        slot_name(&self.label, side)
    }

    /// The publication on `side`. Each has a name of its own, since one database can hold both.
    pub fn publication(&self, side: Side) -> String {
        format!("replat_{}_{}", self.cohort().unwrap_or(&self.label), crate::apply::side_text(side))
    }

    /// A connection to `side` with pinned settings and with the home's schema first in its search path.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precondition`] if another cluster answers than the one that was planned for.
    pub async fn connect(&self, side: Side, purpose: &str) -> Result<Session, EngineError> {
        let Some((place, used)) = self.lent(side, Kind::Plain).await? else {
            return Ok(self.dial(side, purpose).await?.into());
        };
        match used {
            Some(client) => Ok(place.with(client)),
            None => Ok(place.with(self.dial(side, "cohort").await?)),
        }
    }

    /// A place in the cohort's pool, and the connection that was used there before; `None` if there is no pool.
    async fn lent(
        &self,
        side: Side,
        kind: Kind,
    ) -> Result<Option<(crate::pool::Place, Option<Client>)>, EngineError> {
        let Some(pool) = self.shared.as_ref().and_then(|shared| shared.pool.as_ref()) else {
            return Ok(None);
        };
        let mut place = pool.place(side, kind).await.ok_or_else(|| EngineError::Unreachable {
            database: self.database(side).to_owned(),
            during: "waiting for one of the cohort's connections".into(),
            source: "all of them are in use; max_connections of the database in the spec allows no more"
                .into(),
        })?;
        let used = place.free().await;
        Ok(Some((place, used)))
    }

    async fn dial(&self, side: Side, purpose: &str) -> Result<Client, EngineError> {
        let database = self.database(side);
        let name = format!("replat/{purpose}/{}", self.maker());
        let connected = crate::connect::connect(self.info(side), &name)
            .await
            .map_err(|e| unreachable(database, e.is_temporary(), e))?;
        let client = connected.client;
        let schema = quote_ident(&self.plan.end(side).home.schema);
        let read_only = if self.reads_only { "on" } else { "off" };
        client
            .batch_execute(&format!(
                "{PINNED}; SET default_transaction_read_only = {read_only}; SET search_path = {schema}, pg_catalog"
            ))
            .await
            .map_err(on(database, "preparing a session"))?;
        self.check_identity(&client, side).await?;
        Ok(client)
    }

    /// An address that suddenly answers with another cluster, or a standby, must not be written to.
    async fn check_identity(&self, client: &Client, side: Side) -> Result<(), EngineError> {
        let (database, end) = (self.database(side), self.plan.end(side));
        let row = client
            .query_one(
                "SELECT system_identifier::text, current_database()::text, pg_is_in_recovery() \
                 FROM pg_control_system()",
                &[],
            )
            .await
            .map_err(on(database, "checking which cluster answers"))?;
        let (system, name, standby): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        if standby {
            return Err(EngineError::Precondition {
                what: format!("{database} answers as a standby"),
                remedy: "Point it at the primary, for instance with target_session_attrs=primary.".into(),
            });
        }
        if system != end.system_id || name != end.database_name {
            return Err(EngineError::Precondition {
                what: format!(
                    "{database} answers as database {name} of cluster {system}; the plan is for {} of {}",
                    end.database_name, end.system_id
                ),
                remedy: format!("Point {database} at the cluster that was planned for, or plan again."),
            });
        }
        Ok(())
    }

    /// A connection whose writes pass the partition's closed guard, and fire no ordinary trigger where the server
    /// lets us say so.
    pub async fn connect_to_write(&self, side: Side, purpose: &str) -> Result<Session, EngineError> {
        let session = match self.lent(side, Kind::Writing).await? {
            None => self.dial(side, purpose).await?.into(),
            Some((place, Some(client))) => place.with(client),
            Some((place, None)) => place.with(self.dial(side, "cohort").await?),
        };
        self.take_pass(&session, side).await?;
        Ok(session)
    }

    /// Lets the session's writes through. The secret never leaves the server.
    pub async fn take_pass(&self, client: &Client, side: Side) -> Result<(), EngineError> {
        let database = self.database(side);
        let taken = client
            .query(
                "SELECT set_config('replat.pass', pass, false) IS NOT NULL FROM replat.fence \
                 WHERE partition = $1 AND schema_name = $2",
                &[&self.plan.partition.as_str(), &self.plan.end(side).home.schema],
            )
            .await;
        match taken {
            Ok(_) => {}
            Err(e) if is_missing(&e) => {}
            Err(e) => return Err(on(database, "taking the pass")(e)),
        }
        // Needs superuser, or a grant since PostgreSQL 15. Without it, ordinary triggers of the target fire.
        if let Err(error) = client.batch_execute("SET session_replication_role = replica").await {
            tracing::warn!(database, %error, "ordinary triggers of the target will fire for replat's writes");
        }
        Ok(())
    }

    /// A replication connection to `side`.
    pub async fn connect_to_read_log(
        &self,
        side: Side,
    ) -> Result<crate::replication::ReplicationConnection, EngineError> {
        let database = self.database(side);
        let mut info = self.info(side).clone();
        info.options = Some(match info.options.take() {
            Some(options) => format!("{options} {PINNED_OPTIONS}"),
            None => PINNED_OPTIONS.to_owned(),
        });
        let name = format!("replat/log/{}", self.maker());
        crate::replication::ReplicationConnection::connect(&info, &name)
            .await
            .map_err(|e| unreachable(database, e.is_temporary(), e))
    }
}

/// What a slot on `side` is called.
pub(crate) fn slot_name(label: &str, side: Side) -> String {
    let direction = match side {
        Side::Blue => "forward",
        Side::Green => "reverse",
    };
    format!("replat_{label}_{direction}")
}

/// A refusal that will not pass by itself, such as a wrong password, is for a person; anything else is tried again.
fn unreachable(
    database: &str,
    is_temporary: bool,
    error: impl std::error::Error + Send + Sync + 'static,
) -> EngineError {
    let (database, during) = (database.to_owned(), "connecting".to_owned());
    if is_temporary {
        return EngineError::Unreachable { database, during, source: Box::new(error) };
    }
    EngineError::Refused { database, during, why: error.to_string() }
}
