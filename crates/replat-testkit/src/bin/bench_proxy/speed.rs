//! pgbench over each way to the same server, taking turns.

use std::fmt;
use std::fs;
use std::path::Path as FilePath;

use clap::ValueEnum;
use replat_testkit::Pgbouncer;
use replat_testkit::server::Binaries;
use serde::Serialize;
use tokio::process::Command;

use crate::Failure;
use crate::figures::{Run, quantile};
use crate::place::{BRANCHES, Place, Proxy, computed_us};

/// A way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// None between.
    Direct,
    /// One server connection for each client.
    PgbouncerSession,
    /// A server connection for each transaction.
    PgbouncerTransaction,
    /// Sessions choose their partition at start-up; statements are not read.
    Replat,
    /// Sessions choose nothing: each transaction says by itself where it belongs.
    ReplatStatements,
}

impl Path {
    /// Direct first: the others are told beside it.
    pub const ALL: [Path; 5] = [
        Path::Direct,
        Path::PgbouncerSession,
        Path::PgbouncerTransaction,
        Path::Replat,
        Path::ReplatStatements,
    ];
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Path::Direct => "direct",
            Path::PgbouncerSession => "PgBouncer, session",
            Path::PgbouncerTransaction => "PgBouncer, transaction",
            Path::Replat => "replat, partition chosen",
            Path::ReplatStatements => "replat, by statement",
        })
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Script {
    /// One row by its key.
    SelectOnly,
    /// A transaction of seven round trips: three updates, a select, an insert.
    TpcbLike,
}

impl Script {
    fn text(self) -> String {
        let accounts = format!("\\set aid random(1, {})\n", BRANCHES * 100_000);
        let others = format!(
            "\\set bid random(1, {BRANCHES})\n\\set tid random(1, {})\n\\set delta random(-5000, 5000)\n",
            BRANCHES * 10
        );
        let select = "SELECT abalance FROM accounts WHERE tenant_id = 2 AND aid = :aid;\n";
        match self {
            Script::SelectOnly => accounts + select,
            // The comment says whose rows the transaction is about, where a session has not; to others it is one.
            Script::TpcbLike => {
                accounts
                    + &others
                    + "/* replat: key=2 */ BEGIN;\n\
                       UPDATE accounts SET abalance = abalance + :delta WHERE tenant_id = 2 AND aid = :aid;\n"
                    + select
                    + "UPDATE tellers SET tbalance = tbalance + :delta WHERE tenant_id = 2 AND tid = :tid;\n\
                       UPDATE branches SET bbalance = bbalance + :delta WHERE tenant_id = 2 AND bid = :bid;\n\
                       INSERT INTO history (tenant_id, tid, bid, aid, delta, mtime) \
                       VALUES (2, :tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);\nEND;\n"
            }
        }
    }
}

/// Which protocol pgbench speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Query.
    Simple,
    /// Parse, Bind, Execute each time.
    Extended,
    /// Parse once.
    Prepared,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each path takes its turn.
    pub rounds: u32,
    /// Unit: seconds for each run.
    pub seconds: u32,
    /// How many clients there are.
    pub clients: Vec<usize>,
    /// What is asked.
    pub scripts: Vec<Script>,
    /// How.
    pub modes: Vec<Mode>,
}

/// What stands between the clients and the server.
struct Ways {
    session: Pgbouncer,
    transaction: Pgbouncer,
    chosen: Proxy,
    statements: Proxy,
    pgbench: std::path::PathBuf,
    /// Whether PgBouncer can keep prepared statements in transaction mode: since 1.21.
    pools_prepared: bool,
}

impl Ways {
    async fn open(place: &Place, clients: usize) -> Result<Ways, Failure> {
        let database = format!("host=127.0.0.1 port={} dbname=blue user=postgres", place.server.port());
        let pool = clients.to_string();
        let settings = [("default_pool_size", pool.as_str()), ("max_client_conn", "1000"), ("logfile", "")];
        let of = |mode, more: &[(&'static str, &'static str)]| {
            let mut settings = settings.to_vec();
            settings.push(("pool_mode", mode));
            settings.extend_from_slice(more);
            let database = database.clone();
            async move { Pgbouncer::start(&[("bench", database)], &settings).await }
        };
        let pools_prepared = pgbouncer_version().await.is_some_and(|version| version >= (1, 21));
        let prepared: &[_] = if pools_prepared { &[("max_prepared_statements", "100")] } else { &[] };
        Ok(Ways {
            session: of("session", &[]).await?,
            transaction: of("transaction", prepared).await?,
            chosen: place.proxy(&["--no-statements"]).await?,
            statements: place.proxy(&[]).await?,
            pgbench: Binaries::find()?.program("pgbench"),
            pools_prepared,
        })
    }

    fn has(&self, path: Path, mode: Mode) -> bool {
        path != Path::PgbouncerTransaction || mode != Mode::Prepared || self.pools_prepared
    }

    /// Its port, its process if there is one between, and the database's name there.
    fn at(&self, path: Path, place: &Place) -> (u16, Option<u32>, &'static str) {
        match path {
            Path::Direct => (place.server.port(), None, "blue"),
            Path::PgbouncerSession => (self.session.port(), self.session.id(), "bench"),
            Path::PgbouncerTransaction => (self.transaction.port(), self.transaction.id(), "bench"),
            Path::Replat => (self.chosen.port, self.chosen.id(), "bench"),
            Path::ReplatStatements => (self.statements.port, self.statements.id(), "bench"),
        }
    }
}

async fn pgbouncer_version() -> Option<(u32, u32)> {
    let program = std::env::var("REPLAT_PGBOUNCER").unwrap_or_else(|_| "pgbouncer".into());
    let output = Command::new(program).arg("--version").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Every script in every mode by every number of clients over every path, in rounds.
pub async fn measure(place: &Place, plan: &Plan) -> Result<Vec<Run>, Failure> {
    let most = plan.clients.iter().copied().max().unwrap_or(1);
    let ways = Ways::open(place, most).await?;
    let mut runs = Vec::new();
    let mut paths = Path::ALL;
    for &script in &plan.scripts {
        for &mode in &plan.modes {
            for &clients in &plan.clients {
                for round in 1..=plan.rounds {
                    eprintln!("{script:?}, {mode:?}, {clients} clients, round {round} of {}", plan.rounds);
                    for path in paths.into_iter().filter(|path| ways.has(*path, mode)) {
                        runs.push(run(place, &ways, plan, (path, script, mode, clients, round)).await?);
                    }
                    // Another one begins each time, so that none has the warm cache for itself.
                    paths.rotate_left(1);
                }
            }
        }
    }
    Ok(runs)
}

type Case = (Path, Script, Mode, usize, u32);

async fn run(place: &Place, ways: &Ways, plan: &Plan, case: Case) -> Result<Run, Failure> {
    let (path, script, mode, clients, round) = case;
    let folder = place.folder().join("pgbench");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder)?;
    let file = folder.join("script.sql");
    fs::write(&file, script.text())?;
    let (port, process, database) = ways.at(path, place);
    let mut command = Command::new(&ways.pgbench);
    command.args(["-n", "-l", "--log-prefix=run", "-h", "127.0.0.1", "-U", "postgres"]);
    command.args(["-p", &port.to_string(), "-c", &clients.to_string(), "-j", &clients.min(2).to_string()]);
    command.args(["-T", &plan.seconds.to_string()]);
    command.args(["-M", mode.to_possible_value().as_ref().map_or("", |value| value.get_name())]);
    command.arg("-f").arg(&file).arg(database).current_dir(&folder).kill_on_drop(true);
    if path == Path::Replat {
        command.env("PGOPTIONS", "-c replat.partition=zeta");
    }
    let before = computed_us(process);
    let output = command.output().await.map_err(|e| format!("cannot run {}: {e}", ways.pgbench.display()))?;
    let after = computed_us(process);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = |after: &str| {
        let rest = said.split_once(after)?.1.trim_start();
        rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?.parse::<f64>().ok()
    };
    let counted = number("number of transactions actually processed:").zip(number("\ntps ="));
    let Some((done, tps)) = counted.filter(|_| output.status.success()) else {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{path}, {script:?}, {mode:?}, {clients} clients: {}", words.trim()).into());
    };
    let times = latencies_ms(&folder)?;
    Ok(Run {
        path,
        script,
        mode,
        clients,
        round,
        tps,
        avg_ms: times.iter().sum::<f64>() / times.len() as f64,
        p50_ms: quantile(&times, 0.5),
        p95_ms: quantile(&times, 0.95),
        p99_ms: quantile(&times, 0.99),
        failed: number("number of failed transactions:").map_or(0, |failed| failed as u64),
        cpu_us: before.zip(after).map(|(before, after)| (after - before) / done),
    })
}

/// What pgbench wrote of each transaction: client, number, microseconds.
fn latencies_ms(folder: &FilePath) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run.")) {
            let text = fs::read_to_string(&path)?;
            let of = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
            times.extend(text.lines().filter_map(of).map(|us| us / 1000.0));
        }
    }
    Ok(times)
}
