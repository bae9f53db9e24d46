//! A postmaster that cannot outlive us.
//!
//! The shell below leaves a watchdog behind and becomes the postmaster. The watchdog reads a pipe that we hold:
//! when we are gone, whatever ended us, the pipe closes, and the watchdog stops the postmaster and removes its
//! folder. A word on the pipe relieves it of that duty.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::account::Account;

/// `$1` is the folder to remove, `$2` the log; the rest is the command. `$$` is the shell, hence the postmaster.
/// The double fork keeps the watchdog from being a child of the postmaster, which counts its children.
const WATCHDOG: &str = r#"
folder=$1; log=$2; shift 2
exec 3<&0 0</dev/null 1>>"$log" 2>&1
(
  (
    read -r word
    [ "$word" = relieved ] && exit 0
    kill -s QUIT $$
    tries=0
    while kill -0 $$ && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.1; done
    rm -rf "$folder"
  ) <&3 >/dev/null 2>&1 &
)
exec 3<&-
exec "$@"
"#;

/// Signals that a server understands, or suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Fast shutdown: sessions are ended, a checkpoint is written.
    Fast,
    /// Immediate shutdown: no checkpoint; the next start recovers.
    Immediate,
    /// The end, without a word.
    Kill,
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Signal::Fast => "INT",
            Signal::Immediate => "QUIT",
            Signal::Kill => "KILL",
            Signal::Pause => "STOP",
            Signal::Resume => "CONT",
        }
    }
}

/// A running postmaster and the pipe that keeps its watchdog quiet.
#[derive(Debug)]
pub struct Postmaster {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Postmaster {
    /// Starts `program` under `account`; `folder` is removed if we die before [`Postmaster::reap`].
    pub fn start(
        account: Account,
        folder: &Path,
        program: PathBuf,
        arguments: &[String],
    ) -> io::Result<Postmaster> {
        let mut command = account.command("sh");
        command.args(["-c", WATCHDOG, "replat-watchdog"]).arg(folder).arg(folder.join("log"));
        command.arg(program).args(arguments);
        // Its own process group: Ctrl-C at a terminal is for us, and we decide what to stop.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let pipe = child.stdin.take();
        Ok(Postmaster { child, pipe })
    }

    /// Whether the postmaster has ended by itself.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Sends `signal` to the postmaster alone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        send(signal, &[self.child.id()])
    }

    /// Sends `signal` to the postmaster and to every process that it has started.
    pub fn signal_all(&self, signal: Signal) -> io::Result<()> {
        let postmaster = self.child.id();
        let mut pids = vec![postmaster];
        pids.extend(children_of(postmaster)?);
        send(signal, &pids)
    }

    /// The postmaster's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the postmaster and relieves the watchdog, so that the folder stays.
    pub fn reap(&mut self) -> io::Result<()> {
        self.child.wait()?;
        self.relieve()
    }

    /// Sends the watchdog away: from now on nobody stops the postmaster or removes its folder.
    pub fn relieve(&mut self) -> io::Result<()> {
        match self.pipe.take() {
            Some(mut pipe) => pipe.write_all(b"relieved\n"),
            None => Ok(()),
        }
    }
}

/// Signals go through the system's own `kill`: the standard library has none, and `unsafe` is not allowed here.
fn send(signal: Signal, pids: &[u32]) -> io::Result<()> {
    let mut kill = Command::new("sh");
    kill.args(["-c", r#"name=$1; shift; kill -s "$name" "$@""#, "replat-kill", signal.name()]);
    kill.args(pids.iter().map(u32::to_string)).stdout(Stdio::null()).stderr(Stdio::null());
    // A process that ended meanwhile is no fault, so the answer does not matter; that `sh` ran at all does.
    kill.status().map(drop)
}

fn children_of(parent: u32) -> io::Result<Vec<u32>> {
    if Path::new("/proc/self/stat").exists() {
        return children_in_proc(parent);
    }
    let output = Command::new("ps").args(["-A", "-o", "pid=", "-o", "ppid="]).output()?;
    let pairs =
        String::from_utf8_lossy(&output.stdout).lines().filter_map(pid_and_parent).collect::<Vec<_>>();
    Ok(pairs.into_iter().filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| pid).collect())
}

fn pid_and_parent(line: &str) -> Option<(u32, u32)> {
    let mut words = line.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

fn children_in_proc(parent: u32) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if parent_in_stat(&stat) == Some(parent) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// The fourth field of `/proc/<pid>/stat`; the second is a name in parentheses that may hold anything.
fn parent_in_stat(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_past_any_process_name() {
        assert_eq!(parent_in_stat("12 (postgres) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in_stat("12 (od) d) 9) R 8 12"), Some(8));
        assert_eq!(parent_in_stat("12 (postgres"), None);
    }
}
