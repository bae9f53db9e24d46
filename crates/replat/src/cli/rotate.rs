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

/// Where the partitions that there are then are published.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Who is told")]
pub struct Publication {
    /// The registry in which tables are published after the run, as in docs/registry.md, or env:NAME. Without it the one
    /// of the spec, if there is one.
    #[arg(long, env = "REPLAT_REGISTRY", hide_env_values = true, value_name = "URL")]
    pub registry: Option<String>,
    /// Whose registry it is, where no spec says so.
    #[arg(long = "registry-project", value_name = "NAME", requires = "registry")]
    pub project: Option<String>,
    /// The project's key, by which publications are signed.
    #[arg(long = "registry-key", value_name = "FILE", requires = "registry")]
    pub key: Option<PathBuf>,
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
        // Rows that an edge holds are moved by a cut of that edge.
        if kinds.contains(&Kind::Drain) {
            kinds.push(Kind::Recut);
        }
        kinds.retain(|kind| match kind {
            Kind::Create => !self.no_create,
            Kind::Drain | Kind::Recut => !self.no_drain,
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
    /// Make no partitions while a replica is further behind than this. Default: 5s, where the role may see it; once it
    /// is said, also not while it cannot be seen.
    #[arg(long, value_name = "SPAN")]
    pub max_lag: Option<DurationText>,
    /// Make no partitions while somebody's transaction is older than this. Default: 24h.
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
    /// Warn of tables whose inserts are safe for less than this. Default: no warning.
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
    /// Where it tells of partitions.
    #[command(flatten)]
    pub publication: Publication,
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
pub enum RotateVerb {
    /// Cut an ordinary table that is in use into partitions. It becomes the first of them, and no row is copied.
    Convert(ConvertArgs),
    /// Make a partitioned table ordinary again.
    Unconvert(TableArgs),
    /// Cut a partition that is in use into several. Rows stay visible.
    Split(SplitArgs),
    /// Make one partition of several that are in use. Rows stay visible.
    Merge(MergeArgs),
    /// Give a hash another modulus, one partition at a time. Rows stay visible.
    Modulus(ModulusArgs),
    /// Build on partitions what they lack of the table's indexes.
    Align(AlignArgs),
    /// Take back what a unit did, online; or what is left of one that was broken off.
    Undo(UndoArgs),
    /// Keep a partition, or all of a table, from being retired and dropped.
    Hold(HoldArgs),
    /// End a hold.
    Release(HoldArgs),
}

/// Which database, of those that a spec has.
#[derive(Clone, Debug, Default, Args)]
pub struct OneDatabase {
    /// The database: a postgres:// URI, key=value pairs, env:NAME or file:PATH. Without it the spec says which, or the
    /// PG* variables.
    #[arg(long, env = "REPLAT_DB_URL", hide_env_values = true, value_name = "URL", value_parser = secret)]
    pub db_url: Option<SecretText>,
    /// The database, by its name in the spec.
    #[arg(long, value_name = "NAME", conflicts_with = "db_url")]
    pub database: Option<String>,
}

/// Which database, and how careful.
#[derive(Clone, Debug, Default, Args)]
pub struct Where {
    /// Where it tells of partitions.
    #[command(flatten)]
    pub publication: Publication,
    /// Which database.
    #[command(flatten)]
    pub database: OneDatabase,
    /// Only so many units now; the same words go on with the rest another time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_most: Option<u32>,
    /// How careful it is.
    #[command(flatten)]
    pub care: Care,
}

/// Options of `rotate convert`.
#[derive(Clone, Debug, Args)]
pub struct ConvertArgs {
    /// The table, as schema.table; without a schema it is public.
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// By what it is cut: range:COLUMN, list:COLUMN or hash:COLUMN,….
    #[arg(long, value_name = "METHOD:COLUMN")]
    pub by: String,
    /// Of a range: the length of partitions, such as "1 day" or 1000000.
    #[arg(long, value_name = "INTERVAL")]
    pub interval: Option<String>,
    /// Of a range over times: the zone whose midnights are bounds.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Of a range: what its values mean where the type does not say: epoch-ms, uuidv7, number, ….
    #[arg(long, value_name = "ENCODING")]
    pub encoding: Option<String>,
    /// Of a hash: how many partitions there are to be in the end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub modulus: Option<u32>,
    /// Of a list: values that get a partition of their own, separated by commas. Can be given several times.
    #[arg(long, value_name = "VALUE,…")]
    pub values: Vec<String>,
    /// Of a range over times: for how many days partitions are made ready. Default: 30.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub buffer_days: Option<u32>,
    /// Of a range: how many partitions are made ready.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub ahead: Option<u32>,
    /// Of a range: where rows go that belong to no partition. Before, the table took every row; edge keeps it so.
    #[arg(long, value_enum, value_name = "WHERE", default_value = "edge")]
    pub overflow: OverflowWord,
    /// What the table is called as a partition. Default: TABLE_first.
    #[arg(long, value_name = "NAME")]
    pub first: Option<String>,
    /// Let the primary key be extended by the column to cut by, if it lacks it. What it was is then no longer kept
    /// unique by itself.
    #[arg(long)]
    pub extend_key: bool,
    /// Where, and how.
    #[command(flatten)]
    pub place: Where,
}

/// Options of verbs that need only a table.
#[derive(Clone, Debug, Args)]
pub struct TableArgs {
    /// The table, as schema.table; without a schema it is public.
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Where, and how.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `rotate split`.
#[derive(Clone, Debug, Args)]
pub struct SplitArgs {
    /// The partition; or a table, whose first partition is meant if it began before all others, else the largest.
    #[arg(value_name = "PARTITION")]
    pub table: String,
    /// A bound between two pieces; of a list, values that get a partition of their own. Can be given several times.
    #[arg(long, value_name = "BOUND", conflicts_with = "interval")]
    pub at: Vec<String>,
    /// The length of the pieces. Default: as the other partitions are.
    #[arg(long, value_name = "INTERVAL")]
    pub interval: Option<String>,
    /// The zone whose midnights are bounds.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Cut off only so many pieces from the newest end, and leave the rest in one. Every time the rest is copied as
    /// well, so all at once costs less. Default: all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pieces: Option<u32>,
    /// Where, and how.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `rotate merge`.
#[derive(Clone, Debug, Args)]
pub struct MergeArgs {
    /// The partitions, which lie side by side.
    #[arg(value_name = "PARTITION", required_unless_present = "of")]
    pub parts: Vec<String>,
    /// Or the table whose ranges from --from to --to become one.
    #[arg(long, value_name = "TABLE", conflicts_with = "parts")]
    pub of: Option<String>,
    /// From this bound on.
    #[arg(long, value_name = "BOUND", requires = "of")]
    pub from: Option<String>,
    /// Up to this bound.
    #[arg(long, value_name = "BOUND", requires = "of")]
    pub to: Option<String>,
    /// What the new partition is called. Default: as the others are.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where, and how.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `rotate modulus`.
#[derive(Clone, Debug, Args)]
pub struct ModulusArgs {
    /// The table that is cut by a hash.
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// How many partitions it is to have: a multiple, or a divisor, of what it has.
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub modulus: u32,
    /// Only this partition now. Can be given several times.
    #[arg(long, value_name = "PARTITION")]
    pub only: Vec<String>,
    /// Where, and how.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `rotate align`.
#[derive(Clone, Debug, Args)]
pub struct AlignArgs {
    /// The table, as schema.table; without a schema it is public.
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Only this index.
    #[arg(long, value_name = "NAME")]
    pub index: Option<String>,
    /// Where, and how.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `rotate undo`.
#[derive(Clone, Debug, Args)]
pub struct UndoArgs {
    /// The unit, as u-…; or a table, whose last change of shape is meant.
    #[arg(value_name = "UNIT|TABLE")]
    pub what: String,
    /// Where, and how.
    #[command(flatten)]
    pub place: Where,
}

/// Options of `rotate hold` and `rotate release`.
#[derive(Clone, Debug, Args)]
pub struct HoldArgs {
    /// The partition, or a table with all its partitions.
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// Which database.
    #[command(flatten)]
    pub database: OneDatabase,
}

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
    /// What pg-partsmith was told: its document, as JSON. Only its tables are taken over.
    #[arg(long, value_name = "FILE", conflicts_with = "forget")]
    pub partsmith: Option<PathBuf>,
    /// Write what was read of their policy as lifecycles of a spec into this file, which must not be there yet.
    #[arg(long, value_name = "FILE", conflicts_with = "forget")]
    pub out: Option<PathBuf>,
    /// Give back what was taken over and is still attached: replat retires it no more.
    #[arg(long)]
    pub forget: bool,
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
