//! One throwaway server with two databases, a project whose partition can move between them, and proxies before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use replat_testkit::Server;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::{Client, NoTls};

use crate::Failure;

/// How long one call of the program may take.
const CALL_MAX: Duration = Duration::from_secs(120);
/// The accounts, tellers and branches of pgbench at scale 4.
pub const BRANCHES: u32 = 4;

const TABLES: &str = "
create table branches (tenant_id bigint, bid bigint, bbalance bigint not null default 0, filler char(88),
    primary key (tenant_id, bid)) with (fillfactor = 50);
create table tellers (tenant_id bigint, tid bigint, bid bigint, tbalance bigint not null default 0, filler char(84),
    primary key (tenant_id, tid)) with (fillfactor = 50);
create table accounts (tenant_id bigint, aid bigint, bid bigint, abalance bigint not null default 0, filler char(84),
    primary key (tenant_id, aid)) with (fillfactor = 90);
create table history (tenant_id bigint, id uuid default gen_random_uuid(), tid bigint, bid bigint, aid bigint,
    delta bigint, mtime timestamptz, primary key (tenant_id, id));
create table entries (tenant_id bigint, id bigint, primary key (tenant_id, id));
";

const SPEC: &str = r#"
version = 1
project = "bench"
[registry]
url = "file:registry.db"
[databases.blue]
url = "env:BLUE_URL"
[databases.green]
url = "env:GREEN_URL"
[contexts.bench]
dimensions = [{ column = "tenant_id", type = "bigint" }]
home = { database = "blue", schema = "public" }
[contexts.bench.tree]
split = "tenant_id"
list = { acme = [1], zeta = [2] }
[contexts.bench.tables]
branches = {}
tellers = {}
accounts = {}
history = {}
entries = {}
[contexts.bench.rollout]
version = "v2"
to = { database = "green", schema = "public" }
ddl = ["v2.sql"]
[policy]
soak = "1h"
"#;

/// The executable under test.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
}

/// The server and the project.
pub struct Place {
    /// It has the databases blue and green.
    pub server: Server,
    program: Program,
    folder: PathBuf,
}

/// A proxy that runs.
pub struct Proxy {
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

/// A deployment that runs.
pub struct Deploying {
    _child: Child,
}

impl Place {
    /// Starts a server with room for `connections`, and fills it.
    pub async fn start(program: &Program, connections: usize) -> Result<Place, Failure> {
        let builder = Server::builder()
            .setting("max_connections", &connections.to_string())
            .setting("shared_buffers", "256MB")
            // What is measured is the way to the server, not its disk.
            .setting("synchronous_commit", "off")
            .setting("autovacuum", "off")
            .setting("checkpoint_timeout", "1h");
        let server = builder.start().await?;
        for database in ["blue", "green"] {
            server.create_database(database).await?;
        }
        server.execute("blue", TABLES).await?;
        for (tenant, branches) in [(1, 1), (2, BRANCHES)] {
            server.execute("blue", &rows(tenant, branches)).await?;
        }
        server.execute("blue", "vacuum analyze").await?;
        let folder = server.folder().join("replat");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("replat.toml"), SPEC)?;
        fs::write(folder.join("v2.sql"), TABLES)?;
        let place = Place { server, program: program.clone(), folder };
        place.run(&["registry", "init"]).await?;
        Ok(place)
    }

    /// Where files of a measurement may go; it vanishes with the place.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program.path);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command.env("BLUE_URL", self.server.url("blue")).env("GREEN_URL", self.server.url("green"));
        command
    }

    /// Runs the program to its end, and hands out what it printed.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        let said = arguments.join(" ");
        let output = tokio::time::timeout(CALL_MAX, self.command(arguments).output()).await;
        let output = output.map_err(|_| format!("`replat {said}` took longer than {CALL_MAX:?}"))?;
        let output = output.map_err(|e| format!("cannot run {}: {e}", self.program.path.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("`replat {said}` ended with {}:\n{words}", output.status).into())
    }

    /// Starts a proxy with these further arguments.
    pub async fn proxy(&self, arguments: &[&str]) -> Result<Proxy, Failure> {
        let words = ["proxy", "--listen", "127.0.0.1:0", "--trust", "--json"];
        let mut command = self.command(&words.iter().chain(arguments).copied().collect::<Vec<_>>());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("the proxy's standard output is not to be had")?;
        let mut lines = BufReader::new(out).lines();
        let mut text = String::new();
        while let Some(line) = lines.next_line().await? {
            text += &line;
            let Ok(said) = serde_json::from_str::<Value>(&text) else { continue };
            let address = said["listening"].as_str().unwrap_or_default();
            let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
            return Ok(Proxy { child, port: port.ok_or_else(|| format!("the proxy said {text}"))? });
        }
        Err(format!("the proxy ended: {text}").into())
    }

    /// Has the partition of tenant 1 moved to green; the way back stays open.
    pub async fn deploy(&self) -> Result<Deploying, Failure> {
        let mut command = self.command(&["deploy", "-p", "acme", "--yes"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let begun = async {
            while !self.run(&["deploy", "get"]).await.is_ok_and(|said| said.contains("acme")) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(CALL_MAX, begun).await.map_err(|_| "the deployment does not begin")?;
        self.run(&["deploy", "wait", "--for", "soak"]).await?;
        Ok(Deploying { _child: child })
    }
}

impl Proxy {
    /// Its process.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// A client that chooses a partition at its start.
    pub async fn client(&self, partition: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).dbname("bench").user("postgres");
        config.options(format!("-c replat.partition={partition}"));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

/// Everything that pgbench would fill in for so many branches, for one tenant.
fn rows(tenant: u32, branches: u32) -> String {
    format!(
        "insert into branches (tenant_id, bid) select {tenant}, i from generate_series(1, {branches}) i;
         insert into tellers (tenant_id, tid, bid) select {tenant}, i, (i - 1) / 10 + 1
             from generate_series(1, {branches} * 10) i;
         insert into accounts (tenant_id, aid, bid, filler) select {tenant}, i, (i - 1) / 100000 + 1, ''
             from generate_series(1, {branches} * {}) i;",
        if tenant == 1 { 1000 } else { 100_000 }
    )
}

/// On what it ran.
pub async fn setting(program: &Program) -> BTreeMap<String, String> {
    let version = Command::new(&program.path).arg("--version").output().await;
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let pgbouncer = std::env::var("REPLAT_PGBOUNCER").unwrap_or_else(|_| "pgbouncer".into());
    let pgbouncer = Command::new(pgbouncer).arg("--version").output().await;
    let pgbouncer = pgbouncer.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    BTreeMap::from([
        ("replat".to_owned(), version.unwrap_or_default()),
        ("pgbouncer".to_owned(), pgbouncer.unwrap_or_default().lines().next().unwrap_or("none").to_owned()),
        (
            "processors".to_owned(),
            format!("{processors}, {}", cpu.map_or("unknown", |(_, name)| name.trim())),
        ),
        ("load average before".to_owned(), load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")),
        ("when".to_owned(), jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
        ("build".to_owned(), if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
    ])
}

/// How long a process has computed, in its own code and in the system's. Unit: microseconds; `None` where `/proc` is not.
pub fn computed_us(process: Option<u32>) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{}/stat", process?)).ok()?;
    // The name in parentheses may have spaces in it; what comes behind it has none.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks * 10_000.0)
}

/// How much memory a process has of its own. Unit: bytes; `None` where `/proc` is not.
pub fn memory_bytes(process: Option<u32>) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/status", process?)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}
