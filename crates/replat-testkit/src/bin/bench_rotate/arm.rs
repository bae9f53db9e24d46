//! The arms: nothing at all, pg_partman's procedures, and the program `replat` as a user runs it.

use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

use crate::Failure;
use crate::place::{Database, Managed, Place};

/// How long maintenance may take before it is broken off, which is a result as well.
const MAINTENANCE_MAX: Duration = Duration::from_secs(300);
/// How often pg_partman is asked again to move rows after it failed, as a user would who waits for the next hour.
const DRAIN_CALLS: u32 = 3;

/// Who maintains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// Nobody: what the machine and the load themselves cost.
    Noise,
    /// pg_partman.
    Partman,
    /// replat.
    Replat,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Partitions for so many days ahead, and those retired that are older than so many days.
    Maintain {
        /// Days ahead.
        ahead: u32,
        /// Days that are kept; `None`: nothing is retired.
        keep: Option<u32>,
    },
    /// The rows in the default partition get partitions of their own.
    Drain,
    /// The ordinary table becomes partitioned.
    Convert,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct Done {
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What it failed with, or warned of.
    pub failures: Vec<String>,
    /// What it said of itself.
    pub said: Option<Value>,
}

impl Arm {
    /// All of them, in the order of the tables.
    pub const ALL: [Arm; 3] = [Arm::Noise, Arm::Partman, Arm::Replat];

    /// Whose tables it finds.
    pub fn finds(self) -> Managed {
        if self == Arm::Partman { Managed::ByPartman } else { Managed::ByNobody }
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arm::Noise => "noise",
            Arm::Partman => "pg_partman",
            Arm::Replat => "replat",
        })
    }
}

/// One arm, ready to begin: what it needs was set up, outside of what is measured.
pub struct Ready {
    kind: Kind,
    database: Database,
}

enum Kind {
    Noise(Duration),
    Partman(Partman),
    Replat { program: PathBuf, folder: PathBuf, arguments: Vec<String> },
}

struct Partman {
    client: Client,
    warnings: Arc<Mutex<Vec<String>>>,
    call: String,
    calls: u32,
}

impl Ready {
    /// Sets the arm up for a job. Of the noise arm, `idle` says how long it is to do nothing.
    ///
    /// # Errors
    ///
    /// What the database says, or the program.
    pub async fn new(
        arm: Arm,
        job: Job,
        idle: Duration,
        place: &Place,
        database: &Database,
        program: &Program,
    ) -> Result<Ready, Failure> {
        let kind = match arm {
            Arm::Noise => Kind::Noise(idle),
            Arm::Partman => Kind::Partman(Partman::ready(job, place, database).await?),
            Arm::Replat => {
                let folder = place.folder()?;
                program.adopt(job, database, &folder).await?;
                let (program, arguments) = (program.path.clone(), arguments(job));
                Kind::Replat { program, folder, arguments }
            }
        };
        Ok(Ready { kind, database: database.clone() })
    }

    /// Does the job. A failure of the maintenance is in the result; it is what is measured.
    ///
    /// # Errors
    ///
    /// If the maintenance could not even be begun.
    pub async fn go(self) -> Result<Done, Failure> {
        let began = Instant::now();
        let (failures, said) = match self.kind {
            Kind::Noise(idle) => {
                tokio::time::sleep(idle).await;
                (Vec::new(), None)
            }
            Kind::Partman(partman) => (partman.go().await?, None),
            Kind::Replat { program, folder, arguments } => {
                let mut command = Command::new(&program);
                command.args(&arguments).current_dir(folder).env("DB_URL", &self.database.url);
                let ran = run(command).await?;
                (ran.failure.into_iter().collect(), ran.said)
            }
        };
        Ok(Done { began, ended: Instant::now(), failures, said })
    }
}

impl Partman {
    async fn ready(job: Job, place: &Place, database: &Database) -> Result<Partman, Failure> {
        let (client, warnings) = connect_and_listen(&database.url).await?;
        let (call, calls) = match job {
            Job::Maintain { ahead, keep } => {
                client.batch_execute(&place.partman.configure(ahead, keep)).await?;
                (place.partman.maintain(), 1)
            }
            Job::Drain => (place.partman.drain("events"), DRAIN_CALLS),
            Job::Convert => return Err("pg_partman has no conversion in place to compare with".into()),
        };
        Ok(Partman { client, warnings, call, calls })
    }

    async fn go(self) -> Result<Vec<String>, Failure> {
        let mut failures = Vec::new();
        for _ in 0..self.calls {
            let Ok(answer) =
                tokio::time::timeout(MAINTENANCE_MAX, self.client.batch_execute(&self.call)).await
            else {
                self.client.cancel_token().cancel_query(NoTls).await?;
                failures.push(format!("not done after {} s, and broken off", MAINTENANCE_MAX.as_secs()));
                break;
            };
            match answer {
                Ok(()) => break,
                Err(error) => {
                    let said = error
                        .as_db_error()
                        .ok_or_else(|| format!("the maintenance lost its session: {error}"))?;
                    failures.push(format!("{} ({})", said.message(), said.code().code()));
                }
            }
        }
        let warnings = self.warnings.lock().map_err(|_| "a task of the session broke")?;
        failures.extend(warnings.iter().cloned());
        Ok(failures)
    }
}

/// A session whose warnings are kept: pg_partman reports some failures in no other way.
async fn connect_and_listen(url: &str) -> Result<(Client, Arc<Mutex<Vec<String>>>), Failure> {
    let (client, mut connection) = url.parse::<Config>()?.connect(NoTls).await?;
    let warnings = Arc::new(Mutex::new(Vec::new()));
    let heard = warnings.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message
                && notice.severity() == "WARNING"
                && let Ok(mut kept) = heard.lock()
            {
                kept.push(format!("warned: {}", notice.message()));
            }
        }
    });
    Ok((client, warnings))
}

/// The program under test.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
}

/// What came of one call of it.
pub struct Ran {
    /// How it failed, if it did.
    pub failure: Option<String>,
    /// Its answer.
    pub said: Option<Value>,
}

impl Program {
    /// Whether it has the verb at all.
    ///
    /// # Errors
    ///
    /// If it cannot be run.
    pub async fn rotates(&self) -> Result<bool, Failure> {
        let mut command = Command::new(&self.path);
        command.args(["rotate", "--help"]).stdin(Stdio::null()).kill_on_drop(true);
        let output =
            command.output().await.map_err(|e| format!("cannot run {}: {e}", self.path.display()))?;
        Ok(output.status.success())
    }

    /// What it calls itself.
    ///
    /// # Errors
    ///
    /// If it cannot be run.
    pub async fn version(&self) -> Result<String, Failure> {
        let output = Command::new(&self.path).arg("--version").kill_on_drop(true).output().await;
        let output = output.map_err(|e| format!("cannot run {}: {e}", self.path.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").trim().to_owned())
    }

    /// Runs `rotate` for a job to its end.
    ///
    /// # Errors
    ///
    /// If it cannot be run.
    pub async fn rotate(&self, job: Job, database: &Database, folder: &PathBuf) -> Result<Ran, Failure> {
        let mut command = Command::new(&self.path);
        command.args(arguments(job)).current_dir(folder).env("DB_URL", &database.url);
        run(command).await
    }

    /// Retires nothing that it did not make: partitions that are to be retired are taken over first.
    async fn adopt(&self, job: Job, database: &Database, folder: &PathBuf) -> Result<(), Failure> {
        if !matches!(job, Job::Maintain { keep: Some(_), .. }) {
            return Ok(());
        }
        let mut command = Command::new(&self.path);
        command.args(["rotate", "--adopt", "--only", "adopt", "--db-url", "env:DB_URL", "--json"]);
        command.current_dir(folder).env("DB_URL", &database.url);
        match run(command).await?.failure {
            None => Ok(()),
            Some(failure) => Err(format!("`replat rotate --adopt` failed: {failure}").into()),
        }
    }
}

/// The arguments of `replat` for a job.
fn arguments(job: Job) -> Vec<String> {
    let mut arguments = vec!["rotate".to_owned()];
    match job {
        Job::Maintain { ahead, keep } => {
            // As many as pg_partman makes, whatever the load may look like; to move rows is a case of its own. With
            // `infinite_time_partitions` pg_partman keeps one more ahead than `premake` says.
            arguments.push(format!("--ahead={}", ahead + 1));
            arguments.extend(["--no-forecast", "--no-drain"].map(str::to_owned));
            if let Some(days) = keep {
                arguments.push(format!("--keep={days}d"));
            }
        }
        Job::Drain => arguments.extend(["--buffer-days=4", "--no-forecast"].map(str::to_owned)),
        Job::Convert => arguments.extend(
            ["convert", "public.events", "--by", "range:ts", "--interval", "1 day", "--extend-key", "--yes"]
                .map(str::to_owned),
        ),
    }
    arguments.extend(["--db-url", "env:DB_URL", "--json"].map(str::to_owned));
    arguments
}

async fn run(mut command: Command) -> Result<Ran, Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child =
        command.spawn().map_err(|e| format!("cannot run {:?}: {e}", command.as_std().get_program()))?;
    let Ok(output) = tokio::time::timeout(MAINTENANCE_MAX, child.wait_with_output()).await else {
        let failure = format!("not done after {} s, and killed", MAINTENANCE_MAX.as_secs());
        return Ok(Ran { failure: Some(failure), said: None });
    };
    let output = output?;
    let said = serde_json::from_slice(&output.stdout).ok();
    let failure = (!output.status.success()).then(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        format!("{}: {}", output.status, words.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    Ok(Ran { failure, said })
}
