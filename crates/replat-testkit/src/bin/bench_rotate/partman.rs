//! pg_partman: found by its control file, in whichever version the system has.

use tokio_postgres::Client;

use crate::Failure;

/// The schema that it is installed into.
const SCHEMA: &str = "partman";

/// There is no pg_partman to compare with.
#[derive(Debug, thiserror::Error)]
#[error(
    "this server has no extension pg_partman, and there is nothing to compare replat with.\n\
     Install it for PostgreSQL {major}: on Debian and Ubuntu the package postgresql-{major}-partman, elsewhere \
     pg_partman_{major} or pg_partman; `./x bench rotate` does that by itself where it can"
)]
pub struct NoPartman {
    /// The server's major release.
    pub major: u32,
}

/// The extension as the system has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partman {
    /// Such as `4.7.2`.
    pub version: String,
}

impl Partman {
    /// The version whose control file lies in the server's share directory.
    ///
    /// # Errors
    ///
    /// [`NoPartman`] if there is none; else what the database says.
    pub async fn find(client: &Client, major: u32) -> Result<Partman, Failure> {
        let wanted = "select default_version from pg_available_extensions where name = 'pg_partman'";
        let found = client.query_opt(wanted, &[]).await?.ok_or(NoPartman { major })?;
        Ok(Partman { version: found.try_get(0)? })
    }

    /// From 5 on the kinds of partitioning are `range` and `list`; before, `native` was one of them.
    fn kind(&self) -> &'static str {
        let major = self.version.split('.').next().and_then(|number| number.parse::<u32>().ok());
        if major.is_some_and(|major| major < 5) { "native" } else { "range" }
    }

    /// Installs it.
    pub fn install(&self) -> String {
        format!("create schema {SCHEMA}; create extension pg_partman schema {SCHEMA}")
    }

    /// Removes it, and what it made beside the partitions.
    pub fn remove(&self) -> String {
        format!("drop extension pg_partman cascade; drop schema {SCHEMA} cascade")
    }

    /// Makes an empty table a set of daily partitions.
    pub fn create_parent(&self, table: &str, past: u32, ahead: u32) -> String {
        let kind = self.kind();
        format!(
            "select {SCHEMA}.create_parent(p_parent_table := 'public.{table}', p_control := 'ts', p_type := '{kind}',
                p_interval := '1 day', p_premake := {ahead}, p_start_partition := (current_date - {past})::text);
            update {SCHEMA}.part_config set infinite_time_partitions = true where parent_table = 'public.{table}'"
        )
    }

    /// Says how far ahead all sets are wanted, and for how long partitions are kept.
    pub fn configure(&self, ahead: u32, keep_days: Option<u32>) -> String {
        let retention = keep_days.map_or("null".to_owned(), |days| format!("'{days} days'"));
        format!("update {SCHEMA}.part_config set premake = {ahead}, retention = {retention}")
    }

    /// What its users call from cron.
    pub fn maintain(&self) -> String {
        format!("call {SCHEMA}.run_maintenance_proc()")
    }

    /// What its users call when rows lie in the default partition.
    pub fn drain(&self, table: &str) -> String {
        format!("call {SCHEMA}.partition_data_proc('public.{table}', p_wait := 0)")
    }
}
