//! The program under test, as a user runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::Failure;

/// How long one call may take; waiting for a phase has its own, shorter limit.
const CALL_MAX: Duration = Duration::from_secs(600);
/// How often we look whether a deployment has appeared.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a deployment may take until it is listed.
const LISTED_MAX: Duration = Duration::from_secs(60);

/// `replat` with its spec and the two databases in its environment.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Where `replat.toml` lies.
    pub folder: PathBuf,
    /// `BLUE_URL`.
    pub blue_url: String,
    /// `GREEN_URL`.
    pub green_url: String,
    /// Everything that it says about its progress goes here.
    pub log: PathBuf,
}

/// A deployment that runs in the foreground of another process.
pub struct Deploying {
    child: Child,
    /// Its name.
    pub id: String,
}

impl Program {
    /// It with these arguments, to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("-c").arg(self.folder.join("replat.toml")).args(arguments);
        command.env("BLUE_URL", &self.blue_url).env("GREEN_URL", &self.green_url);
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end and hands out what it printed.
    ///
    /// # Errors
    ///
    /// If it cannot be run, takes too long, or exits with anything but 0.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        let said = arguments.join(" ");
        let output = tokio::time::timeout(CALL_MAX, self.command(arguments).output())
            .await
            .map_err(|_| format!("`replat {said}` took longer than {CALL_MAX:?}"))?
            .map_err(|source| format!("cannot run {}: {source}", self.path.display()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let status = output.status;
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("`replat {said}` ended with {status}:\n{words}").into())
    }

    /// Runs it with `--json` and reads its answer.
    ///
    /// # Errors
    ///
    /// As [`Program::run`], or if the answer is not JSON.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let answer = self.run(&[arguments, &["--json"]].concat()).await?;
        serde_json::from_str(&answer)
            .map_err(|source| format!("`replat {}` printed no JSON: {source}", arguments.join(" ")).into())
    }

    /// Starts the deployment of a tenant in the background and waits until it has a name.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or ends before it is listed.
    pub async fn deploy(&self, tenant: u32) -> Result<Deploying, Failure> {
        let partition = format!("tenant_id={tenant}");
        let mut command = self.command(&["deploy", "-C", "saas", "-p", &partition, "--yes"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let words = child.stderr.take().ok_or("the program's standard error is not to be had")?;
        tokio::spawn(relay(words, self.log.clone()));
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                let words = tail(&self.log);
                return Err(
                    format!("`replat deploy` ended with {status} before it was listed:\n{words}").into()
                );
            }
            // The control store may not be there yet, so a refusal means no more than "not yet".
            let listed = self.json(&["deploy", "list"]).await.ok();
            if let Some(id) = listed.as_ref().and_then(first_id) {
                return Ok(Deploying { child, id });
            }
            if begun.elapsed() > LISTED_MAX {
                return Err(format!("`replat deploy list` was empty for {LISTED_MAX:?}").into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Deploying {
    /// Waits until the deployment is in `phase`, or says why it is not.
    ///
    /// # Errors
    ///
    /// If it does not come to that in time.
    pub async fn reach(&self, program: &Program, phase: &str) -> Result<(), Failure> {
        let wait = ["deploy", "wait", &self.id, "--for", phase, "--timeout", "300s"];
        match program.run(&wait).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(format!("{failure}\nits log ends with:\n{}", tail(&program.log)).into()),
        }
    }

    /// Waits until the program has ended by itself.
    ///
    /// # Errors
    ///
    /// If it ends with anything but 0, or does not end.
    pub async fn end(mut self, program: &Program) -> Result<(), Failure> {
        let ended = tokio::time::timeout(CALL_MAX, self.child.wait()).await;
        let status = ended.map_err(|_| "`replat deploy` does not end")??;
        if status.success() {
            return Ok(());
        }
        Err(format!("`replat deploy` ended with {status}:\n{}", tail(&program.log)).into())
    }
}

/// The id of the first deployment in a list, whether the list stands alone or in an object.
fn first_id(listed: &Value) -> Option<String> {
    let list = listed.as_array().or_else(|| listed.as_object()?.values().find_map(Value::as_array))?;
    let id = &list.first()?["id"];
    id.as_str().map(str::to_owned).or_else(|| id.as_u64().map(|number| number.to_string()))
}

/// Shows the program's progress as it comes, and keeps it.
async fn relay(words: tokio::process::ChildStderr, log: PathBuf) {
    let mut lines = BufReader::new(words).lines();
    let mut kept = tokio::fs::File::create(&log).await.ok();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("   replat | {line}");
        if let Some(file) = &mut kept {
            // A log that cannot be written is no reason to stop showing.
            drop(file.write_all(format!("{line}\n").as_bytes()).await);
            drop(file.flush().await);
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
