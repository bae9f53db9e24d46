//! `capture`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use replat_model::spec::{ByteSize, DurationText, SecretText};
use replat_postgres::capture::pace::Share;

use super::rotate::secret;

/// What is done with captures.
#[derive(Debug, Subcommand)]
pub enum CaptureVerb {
    /// Watch a database at work for a while, and keep what it does as evidence for advice: no values, no texts with values.
    Start(Box<CaptureArgs>),
    /// End a capture that runs in another terminal, or take away what a killed one left behind.
    Stop {
        /// Which; may be left out while there is one.
        name: Option<String>,
        /// How its database is reached, where it was told with --from and neither by a name of the spec nor by env:NAME.
        #[arg(long, value_name = "DATABASE|URL", value_parser = secret)]
        from: Option<SecretText>,
    },
    /// List captures.
    List,
    /// Show what a capture has: tiers, span, counts, and what could not be had.
    Show {
        /// A capture, or a file of evidence; may be left out while there is one.
        name: Option<String>,
    },
}

/// Options of `capture start`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    replat capture start --for 10m\n  \
    replat capture start --from env:DB_URL --sample-rate auto --out evidence.jsonl\n  \
    replat capture start --log /var/log/postgresql/postgresql.json\n  \
    replat capture start --dry-run\n\n\
    Ctrl-C ends it and keeps what was captured. Exit codes: 0 there is a file, 4 nothing can be captured there,\n\
    20 the database does not answer, 21 another capture is at work there, 30 a setting could not be put back.")]
pub struct CaptureArgs {
    /// The context whose database is captured; may be left out where all contexts have one database.
    #[arg(short = 'C', long, conflicts_with = "from")]
    pub context: Option<String>,
    /// The database: its name in the spec, or a postgres:// URI, key=value pairs, env:NAME or file:PATH, for which no spec is
    /// needed. Others on this machine can read arguments: prefer env:NAME where the text holds a password.
    #[arg(long, value_name = "DATABASE|URL", value_parser = secret)]
    pub from: Option<SecretText>,
    /// What it is called; c1, c2 and so on by itself.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// End after this long.
    #[arg(long = "for", value_name = "DURATION", default_value = "10m")]
    pub lasts: DurationText,
    /// End when the file is this large.
    #[arg(long, value_name = "SIZE", default_value = "64MB")]
    pub max_size: ByteSize,
    /// End after so many transactions of the log of changes and of the sample together.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_transactions: u64,
    /// Write the evidence here; by default beside the control store, in captures/NAME.jsonl.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Read the server's log (jsonlog or csvlog) from this file of this machine.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Let the server log a share of all transactions as long as this lasts: auto for as much as advice needs, by how many
    /// there are and how long this lasts, or a share such as 0.01. Sets log_transaction_sample_rate by ALTER SYSTEM and puts
    /// it back afterwards. Without it no setting is touched.
    #[arg(long, value_name = "auto|SHARE", value_parser = share)]
    pub sample_rate: Option<Share>,
}

fn share(text: &str) -> Result<Share, String> {
    match text.parse::<f64>() {
        _ if text == "auto" => Ok(Share::Needed),
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(Share::Fixed(share)),
        _ => Err("it is auto, or a number above 0 and at most 1, such as 0.01".to_owned()),
    }
}
