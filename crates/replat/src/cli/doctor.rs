//! `doctor`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use replat_model::spec::SecretText;

use super::rotate::secret;

/// Options of `doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    replat doctor\n  \
    replat doctor -p tenant_id=42 --fix=print > fix.sql\n  \
    replat doctor --db-url=env:DB_URL --schema public --write-spec replat.toml\n\n\
    Exit codes: 0 nothing stands in the way, 4 something does, 14 something is noted with --strict.")]
pub struct DoctorArgs {
    /// The context; may be left out where the spec has one.
    #[arg(short = 'C', long, conflicts_with = "db_url")]
    pub context: Option<String>,
    /// The partition, as for plan deploy; without it, what can be said of all of them.
    #[arg(short = 'p', long, conflicts_with = "db_url")]
    pub partition: Option<String>,
    /// Look at a database without a spec: a postgres:// URI, key=value pairs, env:NAME or file:PATH. Others on this
    /// machine can read arguments: prefer env:NAME where the text holds a password.
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub db_url: Option<SecretText>,
    /// The schema there.
    #[arg(long, default_value = "public", requires = "db_url")]
    pub schema: String,
    /// The column that is the partition key, instead of the likeliest.
    #[arg(long, value_name = "COLUMN", requires = "db_url")]
    pub key: Option<String>,
    /// Write a first spec for the schema; the file must not be there yet.
    #[arg(long, value_name = "FILE", requires = "db_url")]
    pub write_spec: Option<PathBuf>,
    /// Print the SQL that mends what was found, a part for each side; nothing of it is run.
    #[arg(long, value_enum, value_name = "HOW")]
    pub fix: Option<Fix>,
    /// Exit with 14 if there is anything to allow or to know.
    #[arg(long)]
    pub strict: bool,
    /// Show every table and every finding.
    #[arg(long)]
    pub detail: bool,
}

/// What is done with the SQL that mends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fix {
    /// It is printed.
    Print,
}
