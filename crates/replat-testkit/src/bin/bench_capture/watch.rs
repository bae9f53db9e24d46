//! Those who watch the server, and the processes that do it.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use replat_testkit::server::Binaries;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Failure;
use crate::load::Place;

/// How long somebody who watches may take to begin, to catch up, or to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked whether it has.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// The slot and the publication of the follower.
const SLOT: &str = "bench_cdc";

/// Who watches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Nobody.
    Nobody,
    /// PostgreSQL's own follower of changes, which drops what it reads.
    Cdc,
    /// A capture that touches no setting: catalogue, statements, log of changes.
    Capture,
    /// A capture that has the server log some whole transactions besides.
    Sample,
}

impl Watch {
    /// All of them.
    pub const ALL: [Watch; 4] = [Watch::Nobody, Watch::Cdc, Watch::Capture, Watch::Sample];
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Watch::Nobody => "nobody",
            Watch::Cdc => "pg_recvlogical",
            Watch::Capture => "capture, no setting",
            Watch::Sample => "capture with a sample",
        })
    }
}

/// A process that watches; nobody's has none.
pub struct Watching {
    way: Watch,
    child: Option<Child>,
    /// Reads what it says, so that it never waits for us.
    _said: Option<tokio::task::JoinHandle<()>>,
}

impl Watching {
    /// Begins, and comes back when changes are read.
    pub async fn begin(way: Watch, place: &Place, evidence: &std::path::Path) -> Result<Watching, Failure> {
        let command = match way {
            Watch::Nobody => return Ok(Watching { way, child: None, _said: None }),
            Watch::Cdc => follower(place).await?,
            Watch::Capture | Watch::Sample => {
                let mut command = Command::new(&place.replat);
                command.args([
                    "capture",
                    "start",
                    "--from",
                    "env:BENCH_URL",
                    "--for",
                    "10m",
                    "--max-size",
                    "4GB",
                ]);
                command.arg("--out").arg(evidence).env("BENCH_URL", place.server.url("bench"));
                if way == Watch::Sample {
                    command.args(["--sample-rate", &place.sample_rate]);
                }
                command
            }
        };
        let mut command = command;
        command.current_dir(place.folder()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().map_err(|e| format!("cannot start {way}: {e}"))?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
        let mut said = Vec::new();
        let begun = async {
            while let Some(line) = lines.next_line().await? {
                // The capture says that it reads; the follower, asked to, that it streams.
                let reads = line.contains("ends it") || line.contains("streaming initiated");
                said.push(line);
                if reads {
                    return Ok(());
                }
            }
            Err::<(), Failure>(format!("{way} ended before it began: {}", said.join("; ")).into())
        };
        tokio::time::timeout(PATIENCE, begun).await.map_err(|_| format!("{way} does not begin"))??;
        let _said = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Watching { way, child: Some(child), _said: Some(_said) })
    }

    /// Comes back when all that was written is read.
    pub async fn catch_up(&self, place: &Place) -> Result<(), Failure> {
        if self.way == Watch::Nobody {
            return Ok(());
        }
        let client = place.server.client("bench").await?;
        let until: String = client.query_one("select pg_current_wal_lsn()::text", &[]).await?.try_get(0)?;
        let read = "select coalesce(bool_and(sent_lsn >= $1::text::pg_lsn), false) from pg_stat_replication";
        let reached = async {
            while !client.query_one(read, &[&until]).await?.try_get::<_, bool>(0)? {
                tokio::time::sleep(ASK_EVERY).await;
            }
            Ok::<(), tokio_postgres::Error>(())
        };
        let late = |_| format!("{} does not catch up", self.way);
        Ok(tokio::time::timeout(PATIENCE, reached).await.map_err(late)??)
    }

    /// Ends, as on Ctrl-C, and takes away what it left.
    pub async fn end(self, place: &Place) -> Result<(), Failure> {
        let Some(mut child) = self.child else { return Ok(()) };
        let number = child.id().ok_or_else(|| format!("{} has ended by itself", self.way))?;
        let kill = Command::new("kill").args(["-INT", &number.to_string()]).status().await?;
        if !kill.success() {
            return Err(format!("{} cannot be ended", self.way).into());
        }
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        let status = status.map_err(|_| format!("{} does not end", self.way))??;
        if !status.success() {
            return Err(format!("{} failed: {status}", self.way).into());
        }
        if self.way == Watch::Cdc {
            let drop = format!("select pg_drop_replication_slot('{SLOT}')");
            place.server.execute("bench", &drop).await?;
        }
        Ok(())
    }
}

async fn follower(place: &Place) -> Result<Command, Failure> {
    let make = format!("select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')");
    place.server.execute("bench", &make).await?;
    let mut command = Command::new(Binaries::find()?.program("pg_recvlogical"));
    command.args(["--start", "--verbose", "--no-loop", "-f", "/dev/null", "--slot", SLOT]);
    command.args(["-d", &place.server.url("bench"), "-o", "proto_version=1"]);
    command.args(["-o", &format!("publication_names={SLOT}")]);
    Ok(command)
}
