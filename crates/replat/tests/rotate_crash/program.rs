//! The program under test.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::Failure;

/// How long one call may take. Nothing is measured by it: it ends a test that would hang.
const CALL_MAX: Duration = Duration::from_secs(120);
/// What `abort` sends to its own process.
const SIGABRT: i32 = 6;

/// `replat rotate` on one database.
#[derive(Clone, Debug)]
pub struct Program {
    /// The database.
    pub url: String,
    /// A folder for archives; it stands for `{folder}` in arguments.
    pub folder: PathBuf,
}

impl Program {
    async fn output(
        &self,
        arguments: &[&str],
        crash_at: Option<&str>,
    ) -> Result<std::process::Output, Failure> {
        let folder = self.folder.display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_replat"));
        command.args(["rotate", "--json", "--db-url", &self.url]);
        command.args(arguments.iter().map(|text| text.replace("{folder}", &folder)));
        command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
        match crash_at {
            Some(place) => command.env("REPLAT_CRASH_AT", place),
            None => command.env_remove("REPLAT_CRASH_AT"),
        };
        let output = tokio::time::timeout(CALL_MAX, command.output()).await;
        Ok(output.map_err(|_| format!("`rotate {}` does not end", arguments.join(" ")))??)
    }

    /// Runs it to its end, which must be a good one.
    ///
    /// # Errors
    ///
    /// If it exits with anything but 0.
    pub async fn run(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let mut output = self.output(arguments, None).await?;
        // The server may not have noticed yet that the one before is dead, whose lock it is.
        for _ in 0..50 {
            if output.status.code() != Some(21) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            output = self.output(arguments, None).await?;
        }
        if !output.status.success() {
            return Err(format!(
                "`rotate {}` ended with {}:\n{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs it to its end, whatever that is: how it exits, and what it says to people and programs.
    ///
    /// # Errors
    ///
    /// If it does not exit by itself.
    pub async fn ends(&self, arguments: &[&str]) -> Result<(i32, String), Failure> {
        let output = self.output(arguments, None).await?;
        let code = output.status.code().ok_or("it was killed")?;
        let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        Ok((code, texts.concat()))
    }

    /// What it would do.
    ///
    /// # Errors
    ///
    /// If it says nothing.
    pub async fn shown(&self, arguments: &[&str]) -> Result<Value, Failure> {
        let output = self.output(&[arguments, &["--dry-run"]].concat(), None).await?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs it until it dies at `place`; whether it ever came there.
    ///
    /// # Errors
    ///
    /// If it ends otherwise than by dying there, or well.
    pub async fn dies(&self, arguments: &[&str], place: &str) -> Result<bool, Failure> {
        let output = self.output(arguments, Some(place)).await?;
        match (output.status.signal(), output.status.success()) {
            (Some(SIGABRT), _) => Ok(true),
            (None, true) => Ok(false),
            _ => Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into()),
        }
    }
}
