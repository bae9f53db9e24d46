//! Programs that write one row after the other and print each that was acknowledged, until their standard input ends.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::world::World;

/// A program that prints nothing for so long hangs. Far beyond what any takes.
const SAYS_WITHIN: Duration = Duration::from_secs(90);
/// How many rows each writes in each place, at least.
const ROWS: usize = 20;
/// How many ids one writer may use.
pub const IDS: i64 = 1_000_000_000;

/// Makes the line that asks a program for the row with this id.
pub type Asking = fn(i64) -> String;

/// A program that writes.
pub struct Writer {
    name: String,
    child: Child,
    stop: watch::Sender<bool>,
    reading: JoinHandle<Vec<i64>>,
    count: watch::Receiver<usize>,
}

impl Writer {
    /// Starts it. `next` makes the line with which it is asked for the next row, where it has to be asked.
    pub fn start(name: &str, mut command: Command, next: Option<Asking>, first: i64) -> Writer {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{name} cannot be run: {e}"));
        let (stdin, out) = (child.stdin.take(), child.stdout.take().expect("standard output is read"));
        let ((stop, stopped), (counting, count)) = (watch::channel(false), watch::channel(0));
        let reading = tokio::spawn(read(out, stdin, next.map(|next| (next, first)), stopped, counting));
        Writer { name: name.to_owned(), child, stop, reading, count }
    }

    /// Waits until it has written so many rows more.
    pub async fn writes(&mut self, more: usize) {
        let wanted = *self.count.borrow() + more;
        let come = tokio::time::timeout(SAYS_WITHIN, self.count.wait_for(|count| *count >= wanted)).await;
        if come.is_ok_and(|come| come.is_ok()) {
            return;
        }
        let mut said = String::new();
        drop(self.child.start_kill());
        if let Some(mut words) = self.child.stderr.take() {
            drop(words.read_to_string(&mut said).await);
        }
        panic!("{} writes no more: {said}", self.name);
    }

    /// Has it end, and without an error; what it has written.
    pub async fn ends(self) -> Vec<i64> {
        self.stop.send_replace(true);
        let ids = tokio::time::timeout(SAYS_WITHIN, self.reading).await.expect("it ends").expect("no panic");
        let output = tokio::time::timeout(SAYS_WITHIN, self.child.wait_with_output()).await;
        let output = output.expect("it ends").expect("it can be waited for");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{} ended with {}: {said}", self.name, output.status);
        ids
    }
}

/// Reads ids until there are no more; closes the standard input when it is to stop, but not in the midst of a question.
async fn read(
    out: ChildStdout,
    stdin: Option<ChildStdin>,
    next: Option<(Asking, i64)>,
    mut stopped: watch::Receiver<bool>,
    counting: watch::Sender<usize>,
) -> Vec<i64> {
    let (mut lines, mut stdin, mut ids) = (BufReader::new(out).lines(), stdin, Vec::new());
    loop {
        if *stopped.borrow() {
            stdin = None;
        }
        if let (Some((next, first)), Some(stdin)) = (next, &mut stdin) {
            let line = next(first + ids.len() as i64);
            // Whoever has ended is found out about by what it says.
            drop(stdin.write_all(line.as_bytes()).await);
        }
        let line = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped), if next.is_none() && stdin.is_some() => continue,
            line = lines.next_line() => line.expect("its output can be read"),
        };
        match line {
            Some(line) => ids.push(line.trim().parse().unwrap_or_else(|_| panic!("it said {line:?}"))),
            None => return ids,
        }
        counting.send_replace(ids.len());
    }
}

/// Has all of them write while acme moves to green, back, and to green again; then every row is there once, and no
/// other.
pub async fn follow(world: &World, mut writers: Vec<Writer>) {
    let all_write = async |writers: &mut Vec<Writer>| {
        for writer in writers {
            writer.writes(ROWS).await;
        }
    };
    all_write(&mut writers).await;
    let _runner = world.deploy().await;
    for verb in ["rollback", "switch"] {
        all_write(&mut writers).await;
        world.program.line(&format!("deploy {verb}")).await.succeeds();
    }
    all_write(&mut writers).await;
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.ends().await);
    }
    acknowledged.sort_unstable();
    assert_eq!(world.entries("green", "shop", 1).await, acknowledged);
}
