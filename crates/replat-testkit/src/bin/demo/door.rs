//! `replat proxy`, the one address that the demo's writers know.

use std::process::Stdio;
use std::time::Duration;

use replat_testkit::report::Held;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::Failure;
use crate::program::Program;

/// How long it may take to begin, and to end.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A proxy that runs. Dropping it ends it.
pub struct Proxy {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// Its address and port.
    pub address: String,
}

impl Proxy {
    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub async fn start(program: &Program) -> Result<Proxy, Failure> {
        let words = ["proxy", "-C", "saas", "--trust", "--listen", "127.0.0.1:0", "--json"];
        let mut command = program.command(&words);
        command.stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let said = child.stdout.take().ok_or("the proxy's standard output is not to be had")?;
        let mut said = BufReader::new(said).lines();
        let first = next(&mut said).await?;
        let address =
            first["listening"].as_str().ok_or("the proxy does not say where it listens")?.to_owned();
        Ok(Proxy { child, said, address })
    }

    /// Stops it as a service manager would, and hands out its own account of what it held.
    ///
    /// # Errors
    ///
    /// If it does not end, or not well.
    pub async fn stop(mut self) -> Result<Held, Failure> {
        let pid = self.child.id().ok_or("the proxy has ended before its time")?;
        Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status().await?;
        let last = next(&mut self.said).await?;
        let ended = tokio::time::timeout(ANSWER_MAX, self.child.wait()).await;
        let status = ended.map_err(|_| "the proxy does not end")??;
        if !status.success() {
            return Err(format!("the proxy ended with {status}").into());
        }
        let number = |name: &str| last[name].as_u64().ok_or(format!("the proxy does not say {name}"));
        Ok(Held {
            transactions: number("transactions")?,
            held: number("waits")?,
            longest_ms: number("wait_max_ms")?,
            moves: number("moves")?,
            refused: number("refused")?,
        })
    }
}

/// The next object, which may be written over several lines.
async fn next(said: &mut Lines<BufReader<ChildStdout>>) -> Result<Value, Failure> {
    let mut text = String::new();
    loop {
        let line = tokio::time::timeout(ANSWER_MAX, said.next_line()).await;
        let line = line.map_err(|_| "the proxy says nothing")??;
        text += &line.ok_or("the proxy has ended; see its words above")?;
        if let Ok(value) = serde_json::from_str(&text) {
            return Ok(value);
        }
    }
}
