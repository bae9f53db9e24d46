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
const PINNED: &str = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; \
     SET extra_float_digits = 3; SET bytea_output = 'hex'; SET xmloption = 'content'; \
     SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET statement_timeout = 0; \
     SET idle_in_transaction_session_timeout = 0; SET default_transaction_isolation = 'read committed'; \
     SET default_transaction_read_only = off; SET row_security = off";

/// The same for a replication session, which takes them as start-up options.
const PINNED_OPTIONS: &str = "-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC \
     -c extra_float_digits=3 -c bytea_output=hex -c client_encoding=UTF8 -c statement_timeout=0";

/// Both ends of one deployment.
#[derive(Clone)]
pub struct Ends {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The deployment's name.
    pub deployment: DeploymentId,
    blue: ConnInfo,
    green: ConnInfo,
}

impl Ends {
    /// Both ends of `deployment`.
    pub fn new(plan: Arc<Plan>, deployment: DeploymentId, blue: ConnInfo, green: ConnInfo) -> Ends {
        Ends { plan, deployment, blue, green }
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
        format!("replat_{}_{direction}", self.deployment)
    }

    /// The publication on either side.
    pub fn publication(&self) -> String {
        format!("replat_{}", self.deployment)
    }

    /// A connection to `side` with pinned settings and with the home's schema first in its search path.
    ///
    /// # Errors
    ///
    /// [`EngineError::Precondition`] if another cluster answers than the one that was planned for.
    pub async fn connect(&self, side: Side, purpose: &str) -> Result<Client, EngineError> {
        let database = self.database(side);
        let name = format!("replat/{purpose}/{}", self.deployment);
        let connected =
            crate::connect::connect(self.info(side), &name).await.map_err(|e| unreachable(database, e))?;
        let client = connected.client;
        let schema = quote_ident(&self.plan.end(side).home.schema);
        client
            .batch_execute(&format!("{PINNED}; SET search_path = {schema}, pg_catalog"))
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
                "SELECT set_config('replat.pass', pass, false) IS NOT NULL FROM replat.fence WHERE partition = $1",
                &[&self.plan.partition.as_str()],
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
            .map_err(|e| unreachable(database, e))
    }
}

fn unreachable(database: &str, error: impl std::error::Error + Send + Sync + 'static) -> EngineError {
    EngineError::Unreachable {
        database: database.to_owned(),
        during: "connecting".into(),
        source: Box::new(error),
    }
}
