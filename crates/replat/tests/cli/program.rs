//! The binary, run with an environment of its own, and what came of it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// A run that takes longer hangs. Far beyond what any takes, since a busy machine is no failure.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

/// The binary, its folder and its environment.
#[derive(Clone)]
pub struct Program {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    ends_within: Duration,
}

impl Program {
    /// To be run in `folder`, which is its home as well, with nothing else in its environment.
    pub fn in_folder(folder: &Path) -> Program {
        let path = std::env::var("PATH").expect("there is a PATH");
        let home = folder.display().to_string();
        Program {
            folder: folder.to_owned(),
            variables: vec![("PATH".into(), path), ("HOME".into(), home)],
            ends_within: ENDS_WITHIN,
        }
    }

    /// The same for runs that take longer than others.
    #[must_use]
    #[allow(dead_code, reason = "not every test target has such runs")]
    pub fn within(self, ends_within: Duration) -> Program {
        Program { ends_within, ..self }
    }

    /// The same with one more variable; a later one wins.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Program {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The same without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Program {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_replat"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts it and comes back at once.
    pub fn start<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Started {
        let said = shown(arguments);
        Started {
            child: self.command(arguments).spawn().expect("the binary starts"),
            said,
            ends_within: self.ends_within,
        }
    }

    /// Runs it to its end.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        self.start(arguments).end().await
    }

    /// Runs a line of words to its end; no word has a space in it.
    pub async fn line(&self, line: &str) -> Ran {
        self.run(&line.split_whitespace().collect::<Vec<_>>()).await
    }
}

fn shown<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    let words: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
    format!("replat {}", words.join(" "))
}

/// A run under way.
pub struct Started {
    child: Child,
    said: String,
    ends_within: Duration,
}

impl Started {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal by name, such as `INT`.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await.expect("kill runs");
        assert!(sent.success(), "{}: no SIG{name} could be sent", self.said);
    }

    /// Waits until a line of its standard error has `text` in it; what was read is no part of the end's.
    pub async fn remarks(&mut self, text: &str) {
        let lines = self.child.stderr.as_mut().expect("standard error is read");
        let read = async {
            let mut said = Vec::new();
            while !String::from_utf8_lossy(&said).contains(text) {
                let byte = lines.read_u8().await.unwrap_or_else(|e| {
                    panic!("{}: {text:?} never came ({e}): {}", self.said, String::from_utf8_lossy(&said))
                });
                said.push(byte);
            }
        };
        tokio::time::timeout(self.ends_within, read).await.expect("the remark comes in time");
    }

    /// Waits for a JSON object on its standard output; what was read is no part of the end's.
    pub async fn prints_json(&mut self) -> Value {
        let lines = self.child.stdout.as_mut().expect("standard output is read");
        let read = async {
            let mut said = Vec::new();
            loop {
                said.push(lines.read_u8().await.unwrap_or_else(|e| {
                    panic!("{}: no object came ({e}): {}", self.said, String::from_utf8_lossy(&said))
                }));
                if let Ok(object) = serde_json::from_slice(&said) {
                    return object;
                }
            }
        };
        tokio::time::timeout(self.ends_within, read).await.expect("the object comes in time")
    }

    /// Waits for its end.
    pub async fn end(self) -> Ran {
        let said = self.said;
        let ended = tokio::time::timeout(self.ends_within, self.child.wait_with_output()).await;
        let Output { status, stdout, stderr } =
            ended.unwrap_or_else(|_| panic!("{said} does not end")).expect("its output can be read");
        Ran {
            said,
            code: status.code(),
            out: String::from_utf8(stdout).expect("stdout is UTF-8"),
            err: String::from_utf8(stderr).expect("stderr is UTF-8"),
        }
    }
}

/// A run that has ended.
pub struct Ran {
    said: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

impl Ran {
    /// Everything about it, for a failed assertion.
    pub fn told(&self) -> String {
        format!("$ {}\n{}\n-- stderr\n{}\n-- exit {:?}", self.said, self.out, self.err, self.code)
    }

    /// It ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }

    /// It did what it was to do.
    #[track_caller]
    pub fn succeeds(self) -> Ran {
        self.exits(0)
    }

    /// It failed with this error code and this exit code.
    #[track_caller]
    pub fn fails(self, error: &str, exit: i32) -> Ran {
        let ran = self.exits(exit);
        assert!(ran.err.contains(&format!("error[{error}]: ")), "{}", ran.told());
        for part in ["\n  state ", "\n  do ", &format!("\n  more      replat explain {error}\n")] {
            assert!(ran.err.contains(part), "{part:?} is missing\n{}", ran.told());
        }
        ran
    }

    /// Standard output has `text` in it.
    #[track_caller]
    pub fn prints(self, text: &str) -> Ran {
        assert!(self.out.contains(text), "{text:?} is missing\n{}", self.told());
        self
    }

    /// Standard error has `text` in it.
    #[track_caller]
    pub fn remarks(self, text: &str) -> Ran {
        assert!(self.err.contains(text), "{text:?} is missing\n{}", self.told());
        self
    }

    /// Standard output, as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}\n{}", self.told()))
    }
}
