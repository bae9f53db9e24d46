//! The command line.

mod advise;
mod capture;
mod doctor;
mod proxy;
mod rotate;
mod route;
mod serve;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use replat_model::spec::SecretText;

pub use advise::{Advise, AdviseArgs};
pub use capture::{CaptureArgs, CaptureVerb};
pub use doctor::DoctorArgs;
pub use proxy::{ProxyArgs, Stale, Through};
pub use rotate::*;
pub use route::*;
pub use serve::ServeArgs;
pub use watch::WatchArgs;

/// Makes the partitions of a relational database deployable.
#[derive(Debug, Parser)]
#[command(name = "replat", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    replat validate\n  \
    replat plan deploy -p tenant_id=42 --out plan.json\n  \
    replat apply plan.json\n  \
    replat rotate --buffer-days=30 --db-url=env:DB_URL\n\n\
    Exit codes: 0 done, 2 usage, 3 spec or plan invalid or stale, 4 precondition missing, 11 rows differ,\n\
    12 switch undone, 14 warnings with --strict, 20 to 22 try again, 30 a person is needed now.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The spec; by default replat.toml, looked for upwards from here.
    #[arg(short = 'c', long, global = true, env = "REPLAT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// replat's own state; by default .replat/control.db beside the spec.
    #[arg(long, global = true, env = "REPLAT_STORE", value_name = "FILE")]
    pub store: Option<PathBuf>,
    /// Print JSON on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Show what would happen; every database session is read-only.
    #[arg(short = 'n', long, global = true)]
    pub dry_run: bool,
    /// Answer yes to what is asked.
    #[arg(short = 'y', long, global = true)]
    pub yes: bool,
    /// Ask nothing; fail where an answer is needed.
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Colour.
    #[arg(long, global = true, value_enum, default_value_t = When::Auto)]
    pub color: When,
    /// How progress is shown.
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto)]
    pub progress: Progress,
    /// Say less.
    #[arg(short = 'q', long, global = true)]
    pub quiet: bool,
    /// Log more: -v information, -vv everything.
    #[arg(short = 'v', long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// The form of the log on standard error.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Write the log to this file instead.
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// When to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal that can.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// Bars.
    Tty,
    /// A line for each change.
    Plain,
    /// A JSON object for each change.
    Json,
    /// Not at all.
    None,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the spec without touching a database.
    Validate,
    /// Go through everything that could stand in the way of a deployment; changes nothing.
    Doctor(DoctorArgs),
    /// Say how a system could be cut, from what it was seen doing: contexts, keys, trees, and what each choice costs.
    Advise(Box<AdviseArgs>),
    /// Say what would be done, as a plan that can be kept and applied.
    Plan {
        /// What is planned.
        #[command(subcommand)]
        what: PlanWhat,
    },
    /// Show a plan file or a deployment.
    Show {
        /// A plan file, or the name of a deployment.
        what: String,
    },
    /// Carry out a plan file.
    Apply(ApplyArgs),
    /// Move a partition, or many together: plan, confirm, apply, watch; or look after a deployment.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Deploy(DeployArgs),
    /// Make partitions before they are needed, and retire old ones, so that nobody notices.
    Rotate(Box<RotateArgs>),
    /// How long inserts are safe if nothing ever runs again: one number for each table, the shortest first.
    Runway(RunwayArgs),
    /// Take partitions over that others made, and read what pg_partman was told about them.
    Adopt(AdoptArgs),
    /// Print the plain SQL to live without replat.
    Eject(EjectArgs),
    /// Compare both sides of a partition's deployment, row by row as transformed.
    Verify(VerifyArgs),
    /// The queries that consumers rely on: list them, try them, ask both sides.
    Contracts {
        /// What is done with them.
        #[command(subcommand)]
        verb: ContractsVerb,
    },
    /// What a database does, kept as evidence for advice: without values, bounded in time and size.
    Capture {
        /// What is done with captures.
        #[command(subcommand)]
        verb: CaptureVerb,
    },
    /// A door for PostgreSQL clients: each session is where its partition is, also while that moves.
    Proxy(Box<ProxyArgs>),
    /// Where requests go, who follows, and what others that route are told.
    Route(RouteArgs),
    /// Where routes are published, and how that stands.
    Registry(RegistryArgs),
    /// Hand out routes over HTTP, as lists and as streams, and keep the map of an HAProxy.
    Serve(ServeArgs),
    /// Explain an error code, or a check of the preflight.
    Explain {
        /// Such as RP4003 or NO_KEY; without it, all codes are listed.
        code: Option<String>,
    },
    /// Print a machine-readable description.
    Schema {
        /// Of what.
        #[arg(value_enum, default_value_t = SchemaWhat::JsonSchema)]
        what: SchemaWhat,
    },
    /// Print a completion script.
    Completion {
        /// For which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write all pages into a folder.
    Man {
        /// The folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What can be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaWhat {
    /// The spec, for editors.
    JsonSchema,
    /// The error codes.
    Errors,
}

/// What is done with contracts.
#[derive(Debug, Subcommand)]
pub enum ContractsVerb {
    /// List them.
    List {
        /// The context; may be left out where the spec has one.
        #[arg(short = 'C', long)]
        context: Option<String>,
    },
    /// Run each where the context lives, with the values of some row: are they understood, and in time?
    Check {
        /// The context; may be left out where the spec has one.
        #[arg(short = 'C', long)]
        context: Option<String>,
    },
    /// Ask both sides, of a partition that was copied.
    Test {
        /// Which partition.
        #[command(flatten)]
        target: Target,
    },
}

/// What can be planned.
#[derive(Debug, Subcommand)]
pub enum PlanWhat {
    /// A deployment of one partition, or of many together.
    Deploy {
        /// Which partitions.
        #[command(flatten)]
        target: Targets,
        /// Write the plan here.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Show every table and column.
        #[arg(long)]
        detail: bool,
    },
    /// A run over the partitions of a database.
    Rotate(Box<PlanRotateArgs>),
}

/// Which partition.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The context; may be left out where the spec has one.
    #[arg(short = 'C', long)]
    pub context: Option<String>,
    /// The partition: its name, or a part of the key space such as tenant_id=42 or tenant_id=[100,200).
    #[arg(short = 'p', long, required = true)]
    pub partition: Option<String>,
}

/// Which partitions.
#[derive(Clone, Debug, Args)]
pub struct Targets {
    /// The context; may be left out where the spec has one.
    #[arg(short = 'C', long)]
    pub context: Option<String>,
    /// A partition: its name, or a part of the key space such as tenant_id=42 or tenant_id=[100,200). Given several
    /// times, or as @FILE with one on each line: all of them together, each a deployment of its own.
    #[arg(short = 'p', long = "partition", required_unless_present = "each", value_name = "PARTITION")]
    pub partitions: Vec<String>,
    /// Every tenant by itself: each value of the dimension that the home has in these parts of the key space, or anywhere,
    /// becomes a partition of its own.
    #[arg(long)]
    pub each: bool,
    /// Of several partitions, those whose rows cannot go as they are stay behind and are named; without it, nobody goes.
    #[arg(long)]
    pub leave_out_refused: bool,
}

impl Targets {
    /// The one partition that was named, if it is one.
    pub fn one(&self) -> Option<Target> {
        match &self.partitions[..] {
            [one] if !self.each && !one.starts_with('@') => {
                Some(Target { context: self.context.clone(), partition: Some(one.clone()) })
            }
            _ => None,
        }
    }
}

/// Options of `apply`.
#[derive(Clone, Debug, Args)]
pub struct ApplyArgs {
    /// The plan file.
    pub plan: PathBuf,
    /// Options of carrying out.
    #[command(flatten)]
    pub run: RunArgs,
    /// Of a plan of a run: how its database is reached, as for rotate. Which one it is stands in the plan.
    #[arg(long, env = "REPLAT_DB_URL", hide_env_values = true, value_name = "URL", value_parser = rotate::secret)]
    pub db_url: Option<SecretText>,
    /// Of a plan of a run: where it tells of partitions.
    #[command(flatten)]
    pub publication: Publication,
    /// Of a plan of a run: how careful it is.
    #[command(flatten)]
    pub care: Care,
}

/// Options of carrying out a plan.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Allow hazards of the plan, by name.
    #[arg(long, value_name = "HAZARD", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Begin, and leave the work to a background process.
    #[arg(long)]
    pub detach: bool,
    /// Stop at ready; the switch waits for `deploy switch`.
    #[arg(long)]
    pub hold: bool,
}

/// `deploy` and its verbs.
#[derive(Debug, Args)]
pub struct DeployArgs {
    /// A verb.
    #[command(subcommand)]
    pub verb: Option<DeployVerb>,
    /// Which partitions.
    #[command(flatten)]
    pub target: Targets,
    /// Options of carrying out.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Looks after a deployment.
#[derive(Debug, Subcommand)]
pub enum DeployVerb {
    /// List deployments.
    List,
    /// Show one.
    Get {
        /// Which; may be left out while there is one.
        id: Option<String>,
        /// Also look at both databases, and say what comes next.
        #[arg(long)]
        live: bool,
    },
    /// Run it here, or follow the runner that has it, until it ends.
    Watch {
        /// Which.
        id: Option<String>,
    },
    /// Wait for a phase.
    Wait {
        /// Which.
        id: Option<String>,
        /// prepare, copy, catch-up, verify, ready, switch, soak, finished, rolled-back or aborted.
        #[arg(long = "for", value_name = "PHASE", default_value = "soak")]
        phase: String,
        /// Give up after this long.
        #[arg(long, default_value = "1h")]
        timeout: String,
    },
    /// Its history.
    Events {
        /// Which.
        id: Option<String>,
        /// Go on with what comes.
        #[arg(short = 'f', long)]
        follow: bool,
    },
    /// Stop before the next thing that was not begun; streams go on.
    Pause(Because),
    /// Go on; a failed comparison is tried again.
    Resume(Because),
    /// Change limits while it runs: lag_max=4MiB soak=2d …
    Set {
        /// Which.
        id: String,
        /// key=value.
        #[arg(required = true)]
        changes: Vec<String>,
    },
    /// Make green the home.
    Switch(Because),
    /// Make blue the home again, with everything written since. Possible until finish.
    Rollback(Because),
    /// End the way back; blue's copy is kept read-only for `retain`.
    Finish(Because),
    /// Give it up before the switch, or after a rollback; nothing is left behind.
    Abort(Because),
    /// Once every partition of a context lives on green by views: green gets the tables, and the old names become views.
    Exchange(ExchangeArgs),
}

/// What is exchanged.
#[derive(Clone, Debug, Args)]
pub struct ExchangeArgs {
    /// The context; may be left out where the spec has one.
    #[arg(short = 'C', long)]
    pub context: Option<String>,
    /// The other way: blue gets its tables back, and green's names become views.
    #[arg(long)]
    pub back: bool,
    /// Allow hazards, by name.
    #[arg(long, value_name = "HAZARD", value_delimiter = ',')]
    pub allow: Vec<String>,
}

/// A deployment, and why.
#[derive(Clone, Debug, Args)]
pub struct Because {
    /// Which; may be left out while there is one.
    pub id: Option<String>,
    /// Why, for the record.
    #[arg(long, default_value = "asked by an operator")]
    pub reason: String,
}

/// Options of `verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Which partition.
    #[command(flatten)]
    pub target: Target,
}
