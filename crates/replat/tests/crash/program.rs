//! The program under test, as a user runs it.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use replat_engine::WorkLog;
use replat_model::deploy::Event;
use replat_store::Store;
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::Failure;

/// How long one call may take. Nothing here is measured by it: it ends a test that would hang.
const CALL_MAX: Duration = Duration::from_secs(90);
/// How often the work log is looked at while something in it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What `abort` sends to its own process.
const SIGABRT: i32 = 6;

/// `replat` with its spec and the two databases in its environment.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where `replat.toml` lies.
    pub folder: PathBuf,
    /// `BLUE_URL`.
    pub blue_url: String,
    /// `GREEN_URL`.
    pub green_url: String,
}

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replat"));
        command.arg("-c").arg(self.folder.join("replat.toml")).args(arguments);
        command.env("BLUE_URL", &self.blue_url).env("GREEN_URL", &self.green_url);
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end and hands out what it printed.
    ///
    /// # Errors
    ///
    /// If it takes too long or exits with anything but 0.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, Failure> {
        let said = arguments.join(" ");
        let output = tokio::time::timeout(CALL_MAX, self.command(arguments).output())
            .await
            .map_err(|_| format!("`replat {said}` took longer than {CALL_MAX:?}; {}", self.state()))??;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("`replat {said}` ended with {}:\n{words}", output.status).into())
    }

    /// Starts it and lets it run; with `crash_at`, until it comes to that failpoint.
    pub fn start(&self, arguments: &[&str], crash_at: Option<&str>) -> Result<Running, Failure> {
        let mut command = self.command(arguments);
        if let Some(point) = crash_at {
            command.env("REPLAT_CRASH_AT", point);
        }
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let child = command.args(["-v", "-v"]).stdout(Stdio::null()).stderr(log).spawn()?;
        let pid = child.id().ok_or("a process that has just begun has an id")?;
        Ok(Running { child, pid, said: arguments.join(" ") })
    }

    /// What processes that were started say on their standard error.
    fn log(&self) -> PathBuf {
        self.folder.join("replat.log")
    }

    /// The end of what they said.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Waits until the deployment is in `phase`.
    pub async fn reach(&self, id: &str, phase: &str) -> Result<(), Failure> {
        let wait = ["deploy", "wait", id, "--for", phase, "--timeout", "80s"];
        self.run(&wait).await.map(drop).map_err(|failure| format!("{failure}\n{}", self.state()).into())
    }

    /// The control store, which another process may have made.
    pub fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.folder.join(".replat").join("control.db"))?)
    }

    /// The name of the only deployment.
    pub fn deployment(&self) -> Result<String, Failure> {
        let listed = self.store()?.list()?;
        Ok(listed.first().ok_or("no deployment was begun")?.id.to_string())
    }

    /// Everything that has happened to the only deployment.
    pub fn events(&self) -> Result<Vec<Event>, Failure> {
        let store = self.store()?;
        let listed = store.list()?;
        let first = listed.first().ok_or("no deployment was begun")?;
        Ok(store.read(&first.id)?.into_iter().map(|recorded| recorded.event).collect())
    }

    /// Waits until the work log has `count` events for which `wanted` holds.
    pub async fn until_logged(&self, count: usize, wanted: impl Fn(&Event) -> bool) -> Result<(), Failure> {
        let store = self.store()?;
        let listed = store.list()?;
        let first = listed.first().ok_or("no deployment was begun")?;
        let logged = async {
            let mut seen = None;
            loop {
                let now = store.data_version()?;
                if seen.replace(now) != Some(now)
                    && store.read(&first.id)?.iter().filter(|recorded| wanted(&recorded.event)).count()
                        >= count
                {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let waited = tokio::time::timeout(CALL_MAX, logged).await;
        waited.map_err(|_| format!("the work log did not come to say it; {}", self.state()))?
    }

    /// The process that said last that it runs the deployment.
    pub fn runner(&self) -> Result<Option<u32>, Failure> {
        let store = self.store()?;
        let Some(first) = store.list()?.into_iter().next() else { return Ok(None) };
        let runner = store.runner(&first.id)?;
        Ok(runner.and_then(|(name, _)| name.strip_prefix("pid ")?.parse().ok()))
    }

    /// The end of the work log, for people.
    fn state(&self) -> String {
        let kinds = |events: Vec<Event>| {
            let names = events.iter().map(replat_control::kind).collect::<Vec<_>>();
            names[names.len().saturating_sub(30)..].join(", ")
        };
        self.events()
            .map_or_else(|failure| failure.to_string(), |events| format!("its log: {}", kinds(events)))
    }

    /// What `deploy events --json` prints.
    pub async fn events_printed(&self, id: &str) -> Result<Vec<Value>, Failure> {
        Ok(serde_json::from_str(&self.run(&["deploy", "events", id, "--json"]).await?)?)
    }
}

/// A process that was started; it is killed when this is dropped.
pub struct Running {
    child: Child,
    /// Its process id.
    pub pid: u32,
    said: String,
}

impl Running {
    async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let ended = tokio::time::timeout(CALL_MAX, self.child.wait()).await;
        Ok(ended.map_err(|_| format!("`replat {}` does not end", self.said))??)
    }

    /// Waits until it has ended well.
    pub async fn end(mut self) -> Result<(), Failure> {
        let status = self.ended().await?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`replat {}` ended with {status}", self.said).into())
        }
    }

    /// Waits until it has died at its failpoint, and nowhere else.
    pub async fn die(mut self) -> Result<(), Failure> {
        let status = self.ended().await?;
        if status.signal() == Some(SIGABRT) {
            return Ok(());
        }
        Err(format!("`replat {}` ended with {status}; it never came to its failpoint", self.said).into())
    }

    /// Ends it by SIGKILL; false if it had ended before.
    pub async fn kill(mut self) -> Result<bool, Failure> {
        if self.has_ended()? {
            return Ok(false);
        }
        self.child.kill().await?;
        Ok(true)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool, Failure> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Has it stand still.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.signal("STOP").await
    }

    /// Has it go on, as if no time had passed.
    pub async fn wake(&self) -> Result<(), Failure> {
        self.signal("CONT").await
    }

    async fn signal(&self, name: &str) -> Result<(), Failure> {
        let sent = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status().await?;
        if sent.success() {
            Ok(())
        } else {
            Err(format!("`replat {}` is not there any more", self.said).into())
        }
    }
}
