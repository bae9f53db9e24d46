//! The daemon under test, and what it says.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// What takes longer hangs. Far beyond what anything takes, since a busy machine is no failure.
pub const WITHIN: Duration = Duration::from_secs(120);

type Lines = Arc<Mutex<Vec<String>>>;

/// The binary with these arguments, in an environment of its own.
pub fn replat(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replat"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var("PATH").expect("there is a PATH"))
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, found).await.unwrap_or_else(|_| panic!("it never came: {what}"))
}

/// `replat rotate --watch --json`.
pub struct Daemon {
    child: Child,
    out: Lines,
    err: Lines,
    /// How many of its runs were waited for.
    seen: usize,
}

impl Daemon {
    /// Starts it over a database.
    pub fn start(url: &str, more: &[&str]) -> Daemon {
        Daemon::with(&[&["--db-url", url], more].concat())
    }

    /// Starts it with these arguments, over the databases that they name.
    pub fn with(arguments: &[&str]) -> Daemon {
        let arguments = [&["rotate", "--watch", "--json"], arguments].concat();
        let mut child = replat(&arguments).spawn().expect("the binary starts");
        let out = gather(child.stdout.take().expect("a pipe"));
        let err = gather(child.stderr.take().expect("a pipe"));
        Daemon { child, out, err, seen: 0 }
    }

    fn said(&self) -> String {
        let all = |lines: &Lines| lines.lock().expect("lines").join("\n");
        format!("-- out\n{}\n-- err\n{}", all(&self.out), all(&self.err))
    }

    /// The next run, among those that were not waited for yet, one of whose reasons has `because` in it.
    pub async fn run(&mut self, because: &str) -> Value {
        let (out, mut seen) = (self.out.clone(), self.seen);
        let found = tokio::time::timeout(WITHIN, async {
            loop {
                let next = out.lock().expect("lines").get(seen).cloned();
                let Some(line) = next else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                seen += 1;
                let run: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
                let reasons = run["because"].as_array().expect("reasons").clone();
                if reasons.iter().any(|reason| reason.as_str().is_some_and(|r| r.contains(because))) {
                    return run;
                }
            }
        });
        let found = found.await.unwrap_or_else(|_| panic!("no run because of {because:?}\n{}", self.said()));
        self.seen = seen;
        found
    }

    /// The next run for that reason that ended with 0.
    pub async fn good_run(&mut self, because: &str) -> Value {
        loop {
            let run = self.run(because).await;
            if run["exit"] == 0 {
                return run;
            }
        }
    }

    /// Waits until its standard error has `text` in it.
    pub async fn remarks(&self, text: &str) {
        let said = async || self.remarked(text).checked_sub(1);
        until(&format!("{text:?} in\n{}", self.said()), said).await;
    }

    /// How many lines of its standard error have `text` in them.
    pub fn remarked(&self, text: &str) -> usize {
        self.err.lock().expect("lines").iter().filter(|line| line.contains(text)).count()
    }

    /// Sends it a signal by name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().unwrap_or_else(|| panic!("it has ended\n{}", self.said())).to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.expect("kill runs");
        assert!(sent.success(), "no SIG{name} could be sent");
    }

    /// Waits for its end, and for its exit code.
    pub async fn ends_with(mut self, code: i32) {
        let status = tokio::time::timeout(WITHIN, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end\n{}", self.said())).expect("a status");
        assert_eq!(status.code(), Some(code), "{}", self.said());
    }

    /// Stops it as a service manager does.
    pub async fn stop(self) {
        self.signal("TERM").await;
        self.ends_with(0).await;
    }
}

fn gather(pipe: impl AsyncRead + Unpin + Send + 'static) -> Lines {
    let lines = Lines::default();
    let gathered = lines.clone();
    tokio::spawn(async move {
        let mut pipe = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = pipe.next_line().await {
            gathered.lock().expect("lines").push(line);
        }
    });
    lines
}
