//! The server, the load, and what the server computes and logs meanwhile.

use std::fs;
use std::path::{Path, PathBuf};

use replat_testkit::Server;
use replat_testkit::server::Binaries;
use tokio::process::Command;

use crate::Failure;
use crate::figures::Run;
use crate::watch::{Watch, Watching};

/// How many sessions pgbench has.
const CLIENTS: u32 = 4;
/// How many branches, of 100,000 accounts each.
const SCALE: &str = "10";
/// What one of the kernel's ticks is. Unit: microseconds.
const TICK_US: f64 = 10_000.0;

/// A throwaway server with pgbench's tables.
pub struct Place {
    /// The server.
    pub server: Server,
    /// The program under test.
    pub replat: PathBuf,
    /// The share of transactions that is logged for a capture that samples, or `auto`.
    pub sample_rate: String,
    pgbench: PathBuf,
}

impl Place {
    /// Starts a server that logs as JSON and counts statements, as captures want it, and fills it.
    pub async fn start(replat: PathBuf, sample_rate: String) -> Result<Place, Failure> {
        let builder = Server::builder()
            .setting("shared_preload_libraries", "pg_stat_statements")
            .setting("compute_query_id", "on")
            .setting("logging_collector", "on")
            .setting("log_destination", "stderr,jsonlog")
            .setting("log_checkpoints", "off")
            .setting("shared_buffers", "256MB")
            // What is measured is what the server computes, not its disk; and nothing that comes and goes by itself.
            .setting("synchronous_commit", "off")
            .setting("autovacuum", "off")
            .setting("checkpoint_timeout", "1h")
            .setting("max_wal_size", "16GB");
        let server = builder.start().await?;
        server.create_database("bench").await?;
        server.execute("bench", "create extension pg_stat_statements").await?;
        let pgbench = Binaries::find()?.program("pgbench");
        let place = Place { server, replat, sample_rate, pgbench };
        fs::create_dir_all(place.folder())?;
        place.pgbench(&["-i", "-q", "-s", SCALE]).await?;
        place.server.execute("bench", "create publication bench_cdc for all tables").await?;
        Ok(place)
    }

    /// Where files of a measurement may go; it vanishes with the place.
    pub fn folder(&self) -> PathBuf {
        self.server.folder().join("replat")
    }

    async fn pgbench(&self, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = Command::new(&self.pgbench);
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.server.port().to_string()]);
        let output = command.args(arguments).arg("bench").kill_on_drop(true).output().await;
        let output = output.map_err(|e| format!("cannot run {}: {e}", self.pgbench.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
    }

    /// Runs so many transactions while somebody watches.
    pub async fn run(&self, way: Watch, round: u32, transactions: u32) -> Result<Run, Failure> {
        let evidence = self.folder().join(format!("{round}-{way:?}.jsonl"));
        let watching = Watching::begin(way, self, &evidence).await?;
        let (cpu_before, log_before) = (self.computed_us()?, self.logged_bytes()?);
        let each = (transactions / CLIENTS).max(1).to_string();
        let clients = CLIENTS.to_string();
        let said = self.pgbench(&["-n", "-M", "prepared", "-c", &clients, "-j", "2", "-t", &each]).await?;
        watching.catch_up(self).await?;
        let (cpu_after, log_after) = (self.computed_us()?, self.logged_bytes()?);
        watching.end(self).await?;
        let done = f64::from((transactions / CLIENTS).max(1) * CLIENTS);
        let tps =
            said.split_once("tps = ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        Ok(Run {
            way,
            round,
            cpu_us: (cpu_after - cpu_before) / done,
            log_bytes: log_after.saturating_sub(log_before) as f64 / done,
            evidence_bytes: fs::metadata(&evidence).map_or(0.0, |file| file.len() as f64) / done,
            tps: tps.ok_or("pgbench does not say how quick it was")?,
        })
    }

    /// What all processes of the server have computed, those that ended too. Unit: microseconds.
    fn computed_us(&self) -> Result<f64, Failure> {
        let path = self.server.folder().join("data/postmaster.pid");
        let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let postmaster: u32 = text.lines().next().unwrap_or("").trim().parse()?;
        let own = Ticks::of(postmaster).ok_or("this system does not tell what a process computes")?;
        let mut ticks = own.own + own.ended;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            // It may have ended meanwhile; then it is none of the running.
            if let Some(child) = Ticks::of(process).filter(|child| child.parent == postmaster) {
                ticks += child.own + child.ended;
            }
        }
        Ok(ticks as f64 * TICK_US)
    }

    /// How long the server's logs are, in all. Unit: bytes.
    fn logged_bytes(&self) -> Result<u64, Failure> {
        folder_bytes(&self.server.folder().join("data/log"))
    }
}

fn folder_bytes(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// What the kernel counts of a process.
struct Ticks {
    parent: u32,
    /// In its own code and in the system's.
    own: u64,
    /// The same of its children that ended.
    ended: u64,
}

impl Ticks {
    /// `None` if there is no such process, or the system does not tell.
    fn of(process: u32) -> Option<Ticks> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name in parentheses may have anything in it; what comes behind it begins with the third field.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Ticks {
            parent: fields.get(1)?.parse().ok()?,
            own: number(14)? + number(15)?,
            ended: number(16)? + number(17)?,
        })
    }
}
