//! `registry` and `route`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Options of `registry`.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: RegistryVerb,
}

/// Looks after the registry that the spec names.
#[derive(Debug, Subcommand)]
pub enum RegistryVerb {
    /// Make the project's key if the spec names a file for it, and publish the first routes.
    Init,
    /// What is published, who follows it, and what is held.
    Status,
    /// Publish what the registry does not have; deployments do so by themselves.
    Publish,
    /// Read all that followers may have to read, compare it with the store, and say what does not hold.
    Fsck,
}

/// Options of `route`.
#[derive(Debug, Args)]
pub struct RouteArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: RouteVerb,
}

/// Says where requests go.
#[derive(Debug, Subcommand)]
pub enum RouteVerb {
    /// Where a key, or a part of the key space, is served.
    Lookup {
        /// Such as tenant_id=42, tenant_id=[100,200), or the name of a partition.
        #[arg(required_unless_present = "database")]
        what: Option<String>,
        /// The physical table of this partitioned one that holds --key there, as rotate has published it: TABLE, or
        /// SCHEMA.TABLE where it is not in the schema of the partition's home.
        #[arg(long, value_name = "TABLE", requires = "key")]
        table: Option<String>,
        /// The columns that the table is partitioned by: COLUMN=VALUE, separated by commas.
        #[arg(long, value_name = "KEY", requires = "table")]
        key: Option<String>,
        /// The database, where no partition says it.
        #[arg(long, value_name = "NAME", requires = "table")]
        database: Option<String>,
        /// From where.
        #[command(flatten)]
        source: RouteSource,
    },
    /// Which partition a statement names, by the same rules as the proxy's, and why none if none.
    Explain {
        /// The statement, in SQL.
        sql: String,
        /// From where.
        #[command(flatten)]
        source: RouteSource,
    },
    /// Change how the requests for one partition are shared out, and what applications can ask of it.
    Set {
        /// Which context; may be left out where the spec has one.
        #[arg(short = 'C', long)]
        context: Option<String>,
        /// The partition.
        partition: String,
        /// The version of its schema, as applications know it; empty: as deployments say.
        #[arg(long, value_name = "VERSION")]
        schema_version: Option<String>,
        /// Switch a feature on.
        #[arg(long, value_name = "NAME")]
        feature: Vec<String>,
        /// Switch a feature off.
        #[arg(long, value_name = "NAME")]
        no_feature: Vec<String>,
        /// How many of a hundred reads another home answers, such as 20; 0: none any more.
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
        reads: Option<u8>,
        /// That home, as DATABASE.SCHEMA.
        #[arg(long, value_name = "HOME", requires = "reads")]
        from: Option<String>,
        /// Ask both homes, let the partition's own one answer, and write differences down.
        #[arg(long, requires = "reads")]
        shadow: bool,
        /// How far the other home may be behind.
        #[arg(long, value_name = "DURATION", default_value = "5s", requires = "reads")]
        stale_max: String,
    },
    /// Tell of each change as the registry has it, until it is stopped.
    Watch {
        /// Which context.
        #[arg(short = 'C', long)]
        context: Option<String>,
    },
    /// The routers and proxies that follow, and how far behind they are.
    Clients {
        /// Which context.
        #[arg(short = 'C', long)]
        context: Option<String>,
    },
    /// Print the routes for something else that routes.
    Export {
        /// For what.
        #[arg(value_enum)]
        form: ExportForm,
        /// From where.
        #[command(flatten)]
        source: RouteSource,
        /// Write here instead, in one step.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Where routes are read.
#[derive(Clone, Debug, Args)]
pub struct RouteSource {
    /// Which context; may be left out where the spec has one.
    #[arg(short = 'C', long)]
    pub context: Option<String>,
    /// As the registry has them, and not as replat's own store has them.
    #[arg(long)]
    pub published: bool,
}

/// For what routes are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// The routes themselves, as routers read them.
    Json,
    /// A map file of HAProxy: partition, and the name of the backend that its database's services are.
    Haproxy,
    /// A `map` block of nginx: partition, and the address of the service.
    Nginx,
    /// Routes of Envoy, as it reads them from a file: by the field x-partition, to the cluster named as the database.
    Envoy,
}
