//! Both ends of one deployment: how they are reached, and what their objects are called.

use std::sync::Arc;

use replat_engine::EngineError;
use replat_model::ids::{DeploymentId, Side};
use replat_model::plan::Plan;
use tokio_postgres::Client;

use crate::conninfo::ConnInfo;
use crate::error::on;
use crate::guard::is_missing;
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
}

impl Ends {
    /// Both ends of `deployment`.
    pub fn new(plan: Arc<Plan>, deployment: DeploymentId, blue: ConnInfo, green: ConnInfo) -> Ends {
        // Slots are named once in a cluster, and each control store counts its deployments from d1.
        let label = format!("{deployment}_{}", &plan.digest()[..8]);
        Ends { plan, deployment, label, blue, green, reads_only: false }
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
        let direction = match side {
            Side::Blue => "forward",
            Side::Green => "reverse",
        };
        format!("replat_{}_{direction}", self.label)
    }

    /// The publication on `side`. Each has a name of its own, since one database can hold both.
    pub fn publication(&self, side: Side) -> String {
        format!("replat_{}_{}", self.label, crate::apply::side_text(side))
    }

    /// A connection to `side` with pinned settings and with the home's schema first in its search path.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precondition`] if another cluster answers than the one that was planned for.
    pub async fn connect(&self, side: Side, purpose: &str) -> Result<Client, EngineError> {
        let database = self.database(side);
        let name = format!("replat/{purpose}/{}", self.deployment);
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
    pub async fn connect_to_write(&self, side: Side, purpose: &str) -> Result<Client, EngineError> {
        let client = self.connect(side, purpose).await?;
        self.take_pass(&client, side).await?;
        Ok(client)
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
        let name = format!("replat/log/{}", self.deployment);
        crate::replication::ReplicationConnection::connect(&info, &name)
            .await
            .map_err(|e| unreachable(database, e.is_temporary(), e))
    }
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
