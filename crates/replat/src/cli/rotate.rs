//! `rotate` and the verbs around it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use replat_model::lifecycle::plan::Kind;
use replat_model::lifecycle::policy::{Overflow, RetireHow};
use replat_model::spec::{DurationText, SecretText};

/// Which database, and which of its tables.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which tables")]
pub struct Reach {
    /// The database: a postgres:// URI, key=value pairs, env:NAME or file:PATH. Without it the spec says which, or the
    /// PG* variables. Others on this machine can read arguments: prefer env:NAME where the text holds a password.
    #[arg(long, env = "REPLAT_DB_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub db_url: Option<SecretText>,
    /// The database, by its name in the spec; without it, every one that a lifecycle names.
    #[arg(long, value_name = "NAME", conflicts_with = "db_url")]
    pub database: Option<String>,
    /// Only these partitioned tables; * stands for any characters. Can be given several times.
    #[arg(short = 't', long = "table", value_name = "SCHEMA.TABLE")]
    pub tables: Vec<String>,
}

pub(super) fn secret(text: &str) -> Result<SecretText, std::convert::Infallible> {
    Ok(SecretText::new(text))
}

/// What is wanted of partitions; what is not said here is the spec's word, or learned from the bounds that are there.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What is wanted")]
pub struct Wanted {
    /// For how many days partitions are kept ready.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub buffer_days: Option<u32>,
    /// How many partitions are kept ready after the one in use.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub ahead: Option<u32>,
    /// Until which day partitions are kept ready.
    #[arg(long, value_name = "DATE")]
    pub until: Option<String>,
    /// The length of new partitions, such as "1 day", "6 hours", "9 weeks", "1 month" or 1000000.
    #[arg(long, value_name = "INTERVAL")]
    pub interval: Option<String>,
    /// The zone whose midnights are bounds, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Do not let the forecast of ingestion extend the horizon.
    #[arg(long)]
    pub no_forecast: bool,
    /// Where rows go that belong to no partition.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub overflow: Option<OverflowWord>,
    /// Retire partitions older than this, such as 90d.
    #[arg(long, value_name = "SPAN")]
    pub keep: Option<DurationText>,
    /// What is done with partitions that are older than --keep.
    #[arg(long, value_enum, value_name = "HOW")]
    pub retire: Option<RetireWord>,
    /// Write retired partitions into this folder, on this machine.
    #[arg(long, value_name = "DIR")]
    pub archive: Option<String>,
    /// Drop a retired partition after this long, such as 14d.
    #[arg(long, value_name = "SPAN")]
    pub drop_after: Option<DurationText>,
    /// How many partitions of a table are retired in one run at most.
    #[arg(long, value_name = "N")]
    pub max_retire: Option<u32>,
    /// Take partitions over that others made, so that they can be retired.
    #[arg(long)]
    pub adopt: bool,
}

/// Where rows go that belong to no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OverflowWord {
    /// Nowhere: the database refuses them.
    Reject,
    /// Into two ordinary ranges before the first partition and after the last.
    Edge,
    /// Into a default partition.
    Default,
}

impl From<OverflowWord> for Overflow {
    fn from(word: OverflowWord) -> Overflow {
        match word {
            OverflowWord::Reject => Overflow::Reject,
            OverflowWord::Edge => Overflow::Edge,
            OverflowWord::Default => Overflow::Default,
        }
    }
}

/// What is done with an old partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RetireWord {
    /// Detached; it stays as a table.
    Detach,
    /// Detached, and written to a file that is read back.
    Archive,
    /// Detached, kept for --drop-after, and dropped.
    Drop,
}

impl From<RetireWord> for RetireHow {
    fn from(word: RetireWord) -> RetireHow {
        match word {
            RetireWord::Detach => RetireHow::Detach,
            RetireWord::Archive => RetireHow::Archive,
            RetireWord::Drop => RetireHow::Drop,
        }
    }
}

/// Kinds of work that can be switched on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindWord {
    /// What was broken off is finished or undone.
    Repair,
    /// New partitions.
    Create,
    /// Rows out of the default partition.
    Drain,
    /// Old partitions detached and archived.
    Retire,
    /// Retired partitions dropped.
    Drop,
    /// Partitions of others taken over.
    Adopt,
    /// Indexes completed.
    Align,
}

impl From<KindWord> for Kind {
    fn from(word: KindWord) -> Kind {
        match word {
            KindWord::Repair => Kind::Repair,
            KindWord::Create => Kind::Create,
            KindWord::Drain => Kind::Drain,
            KindWord::Retire => Kind::Retire,
            KindWord::Drop => Kind::Drop,
            KindWord::Adopt => Kind::Adopt,
            KindWord::Align => Kind::Align,
        }
    }
}

/// Which kinds of work are done. Each has a switch of its own, so that trouble with one does not stop the others.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Switches")]
pub struct Switches {
    /// Only these kinds of work; what was broken off is repaired in any case.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,…")]
    pub only: Vec<KindWord>,
    /// Make no partitions.
    #[arg(long)]
    pub no_create: bool,
    /// Leave rows in the default partition.
    #[arg(long)]
    pub no_drain: bool,
    /// Detach and archive nothing.
    #[arg(long)]
    pub no_retire: bool,
    /// Drop nothing.
    #[arg(long)]
    pub no_drop: bool,
}

impl Switches {
    /// The kinds that are on. Conversions and other cuts have verbs of their own.
    pub fn allow(&self) -> Vec<Kind> {
        let mut kinds = match self.only.is_empty() {
            true => vec![Kind::Create, Kind::Drain, Kind::Retire, Kind::Drop, Kind::Adopt],
            false => self.only.iter().map(|k| Kind::from(*k)).collect(),
        };
        kinds.retain(|kind| match kind {
            Kind::Create => !self.no_create,
            Kind::Drain => !self.no_drain,
            Kind::Retire => !self.no_retire,
            Kind::Drop => !self.no_drop,
            _ => true,
        });
        kinds.push(Kind::Repair);
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

/// How careful a run is.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Care")]
pub struct Care {
    /// Make no partitions while a replica is further behind than this. Default: 5s.
    #[arg(long, value_name = "SPAN")]
    pub max_lag: Option<DurationText>,
    /// Make no partitions while somebody's transaction is older than this. Default: no bound.
    #[arg(long, value_name = "SPAN")]
    pub max_transaction: Option<DurationText>,
    /// How long one try may stand in a queue for a lock. Default: 50ms.
    #[arg(long, value_name = "SPAN")]
    pub stall_each: Option<DurationText>,
    /// How long all tries for one table may. Default: 200ms.
    #[arg(long, value_name = "SPAN")]
    pub stall_table: Option<DurationText>,
    /// How long all tries of the run may. Default: 200ms.
    #[arg(long, value_name = "SPAN")]
    pub stall_run: Option<DurationText>,
    /// How long the run waits for locks and for breakers before it leaves the rest to the next run.
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    pub patience: Option<DurationText>,
    /// How many tables are worked on at the same time, each over a connection of its own.
    #[arg(short = 'j', long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub jobs: u16,
}

/// Where a run tells of itself.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Reports")]
pub struct Reports {
    /// Exit with 14 where there are warnings.
    #[arg(long)]
    pub strict: bool,
    /// Warn of tables whose inserts are safe for less than this. Default: 7d.
    #[arg(long, value_name = "SPAN")]
    pub runway_min: Option<DurationText>,
    /// Write metrics into this file, in the exposition format of Prometheus.
    #[arg(long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,
    /// Push metrics to this Pushgateway: http://HOST:PORT, or with a path of its own.
    #[arg(long, value_name = "URL")]
    pub metrics_push: Option<String>,
    /// Say how each table was understood, and why so many partitions are wanted.
    #[arg(long)]
    pub explain: bool,
}

/// All that says what a run is to do.
#[derive(Clone, Debug, Default, Args)]
pub struct Run {
    /// Which tables.
    #[command(flatten)]
    pub reach: Reach,
    /// What is wanted of them.
    #[command(flatten)]
    pub wanted: Wanted,
    /// Which kinds of work are done.
    #[command(flatten)]
    pub switches: Switches,
    /// How careful the run is.
    #[command(flatten)]
    pub care: Care,
    /// Where it tells of itself.
    #[command(flatten)]
    pub reports: Reports,
}

/// `rotate` and its verbs.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RotateArgs {
    /// A verb.
    #[command(subcommand)]
    pub verb: Option<RotateVerb>,
    /// The run.
    #[command(flatten)]
    pub run: Run,
    /// Only look: is everything as it should be? Nothing is changed.
    #[arg(long)]
    pub check: bool,
    /// When runs begin by themselves.
    #[command(flatten)]
    pub daemon: super::WatchArgs,
}

/// Changes of a table's shape: each shows its plan first, and asks.
#[derive(Debug, Subcommand)]
pub enum RotateVerb {}

/// Options of `runway`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunwayArgs {
    /// Which tables.
    #[command(flatten)]
    pub reach: Reach,
    /// Exit with 14 where a table's inserts are safe for less than this.
    #[arg(long, value_name = "SPAN")]
    pub runway_min: Option<DurationText>,
}

/// Options of `plan rotate`.
#[derive(Clone, Debug, Args)]
pub struct PlanRotateArgs {
    /// The run.
    #[command(flatten)]
    pub run: Run,
    /// Write the plan here.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 10 where there is something to do.
    #[arg(long)]
    pub exit_code: bool,
}

/// Options of `adopt`.
#[derive(Clone, Debug, Default, Args)]
pub struct AdoptArgs {
    /// Which tables.
    #[command(flatten)]
    pub reach: Reach,
    /// Write what was read of their policy as [lifecycles] of a spec into this file.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Options of `eject`.
#[derive(Clone, Debug, Default, Args)]
pub struct EjectArgs {
    /// Which tables.
    #[command(flatten)]
    pub reach: Reach,
    /// For how many days statements are written.
    #[arg(long, value_name = "N", default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(1..=3_660))]
    pub days: u32,
}
