//! `advise`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use replat_model::spec::SecretText;

use super::rotate::secret;

/// Options of `advise`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    replat advise\n  \
    replat advise keys --database blue --accept-low-confidence\n  \
    replat advise --url env:DB_URL --html advice.html\n  \
    replat advise --evidence c1\n  \
    replat advise keys --evidence capture.jsonl.gz --partitions 16 --html advice.html\n  \
    replat advise what-if --evidence capture.jsonl.gz --design mine.json\n  \
    replat advise keys --evidence capture.jsonl.gz --apply-to-spec --dry-run\n\n\
    Exit codes: 0 advice was given (also if it is to leave things alone), 3 the evidence or the design is no good,\n\
    4 a plan was wanted, and there is none that is ready, 20 a database does not answer.")]
pub struct AdviseArgs {
    /// On what; without it, on everything.
    #[arg(value_enum, default_value_t = Advise::All)]
    pub what: Advise,
    /// What is known of the system: a capture by its name, a file of one, or a folder of a recorded workload; several are
    /// put together. Without it and without a database, the spec's home is looked at as it is now.
    #[arg(short = 'e', long, value_name = "PATH", num_args = 1..)]
    pub evidence: Vec<PathBuf>,
    /// A database of the spec that is looked at as it is now: its catalogue and its counters of statements. Nothing is
    /// written there. It may be given several times, and beside --evidence; all of it is put together.
    #[arg(long, value_name = "DATABASE")]
    pub database: Vec<String>,
    /// The same for a database without a spec: a postgres:// URI, key=value pairs, env:NAME or file:PATH. Others on this
    /// machine can read arguments: prefer env:NAME where the text holds a password.
    #[arg(long, visible_alias = "db-url", value_name = "URL", value_parser = secret)]
    pub url: Option<SecretText>,
    /// How many partitions there are to be; by default what the evidence wishes for, else 16.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub partitions: Option<u32>,
    /// How many rows one partition can handle in a second; from it follows the least number of partitions.
    #[arg(long, value_name = "ROWS", conflicts_with = "partitions")]
    pub capacity: Option<f64>,
    /// A design of your own to be measured, as JSON; without it, what-if and drift take the spec's deployed maps.
    #[arg(long, value_name = "FILE")]
    pub design: Option<PathBuf>,
    /// Of a layout: into how many blocks.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub blocks: u32,
    /// The context of the spec that a plan is for, or whose map is meant.
    #[arg(short = 'C', long)]
    pub context: Option<String>,
    /// Write the advice as Markdown.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write the advice as one HTML page with pictures; it loads nothing and runs no script.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write design, contexts, verdict and forecast into a folder, a JSON file each.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write the plan into a spec, the project's own or another: contexts, and the lifecycles of rows that grow old (with
    /// lifecycle only those, with keys none, with columns tables that should be two). What is there stays, with its comments.
    /// With --dry-run the difference is shown and nothing is written.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub apply_to_spec: Option<Option<PathBuf>>,
    /// Of what is new in the spec: the database that holds the tables, by its name in the spec. Without it, the one that was
    /// looked at, or the only one.
    #[arg(long, value_name = "DATABASE", requires = "apply_to_spec")]
    pub home: Option<String>,
    /// Take a plan although the evidence says little.
    #[arg(long)]
    pub accept_low_confidence: bool,
    /// Show every table, statement and candidate.
    #[arg(long)]
    pub detail: bool,
}

/// What advice is wanted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Advise {
    /// Everything.
    All,
    /// Which column each table is partitioned by, and what that costs.
    Keys,
    /// Which tables belong together.
    Contexts,
    /// Which columns are used together, and which tables should be two.
    Columns,
    /// Rows that grow old.
    Lifecycle,
    /// What a design would cost: yours, or the deployed one.
    WhatIf,
    /// Whether a design still does what it did: yours, or the deployed one.
    Drift,
    /// In which blocks rows should lie for the queries that read them.
    Layout,
}
