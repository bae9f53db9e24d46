//! A writer in another language: Python with SQLAlchemy and replat's client for it, in a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use replat_testkit::load::{Entry, Fact, Notes, Outcome, Rest};
use replat_testkit::rows::{Key, Row, Table, Version};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::Failure;

const SCRIPT: &str = include_str!("writer.py");
/// How long it may take to begin, to stand still, and to end.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The writer, at work. Dropping it ends it.
pub struct Sqlalchemy {
    child: Child,
    orders: ChildStdin,
    news: mpsc::Receiver<News>,
    noting: JoinHandle<Result<Notes, Failure>>,
}

/// What it says besides its notes.
#[derive(Debug, PartialEq)]
enum News {
    Ready,
    Still,
}

/// One line of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Ready {
        #[expect(dead_code, reason = "by which the line is told")]
        ready: bool,
    },
    Still {
        #[expect(dead_code, reason = "by which the line is told")]
        still: bool,
    },
    Rested {
        /// Microseconds since 1970.
        rested: (u64, u64),
    },
    Wrote(Wrote),
}

/// A transaction.
#[derive(Deserialize)]
struct Wrote {
    op: String,
    /// Unit: microseconds since 1970.
    began: u64,
    ended: u64,
    /// How often its function was run.
    runs: u32,
    schema: String,
    epoch: u64,
    outcome: String,
    why: Option<String>,
}

impl Sqlalchemy {
    /// Starts it in `folder`, where the registry lies, as writer `number` on a tenant.
    ///
    /// # Errors
    ///
    /// If it does not come to work.
    pub async fn start(
        python: &Path,
        folder: &Path,
        tenant: i64,
        rate: u32,
        number: usize,
        origin: SystemTime,
    ) -> Result<Sqlalchemy, Failure> {
        let mut command = Command::new(python);
        command.arg("-c").arg(SCRIPT).arg(folder.join(".replat").join("registry.db"));
        command.arg(tenant.to_string()).arg(rate.to_string()).current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| format!("{} cannot be run: {e}", python.display()))?;
        let orders = child.stdin.take().ok_or("its standard input is not to be had")?;
        let said = child.stdout.take().ok_or("its standard output is not to be had")?;
        let (tell, news) = mpsc::channel(4);
        let noting = tokio::spawn(async move {
            let mut notes = Notes::default();
            let mut lines = BufReader::new(said).lines();
            while let Some(line) = lines.next_line().await? {
                let since = |micros: u64| {
                    let at = UNIX_EPOCH + Duration::from_micros(micros);
                    at.duration_since(origin).unwrap_or_default()
                };
                match serde_json::from_str(&line)? {
                    // Whoever does not listen any more waits for neither.
                    Line::Ready { .. } => drop(tell.send(News::Ready).await),
                    Line::Still { .. } => drop(tell.send(News::Still).await),
                    Line::Rested { rested: (from, to) } => {
                        notes.rests.push(Rest { writer: number, from: since(from), to: since(to) });
                    }
                    Line::Wrote(wrote) => note(&mut notes, wrote, tenant, number, &since),
                }
            }
            Ok(notes)
        });
        let mut writer = Sqlalchemy { child, orders, news, noting };
        writer.hear(News::Ready).await?;
        Ok(writer)
    }

    /// Lets it finish what it is at, then stand still.
    ///
    /// # Errors
    ///
    /// If it is not there any more.
    pub async fn still(&mut self) -> Result<(), Failure> {
        self.orders.write_all(b"still\n").await?;
        self.hear(News::Still).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// If it is not there any more.
    pub async fn go(&mut self) -> Result<(), Failure> {
        Ok(self.orders.write_all(b"go\n").await?)
    }

    /// Lets it finish what it is at, and hands out what it noted.
    ///
    /// # Errors
    ///
    /// If it ended badly.
    pub async fn stop(mut self) -> Result<Notes, Failure> {
        drop(self.orders);
        let ended = tokio::time::timeout(ANSWER_MAX, self.child.wait()).await;
        let status = ended.map_err(|_| "the writer by SQLAlchemy does not end")??;
        if !status.success() {
            return Err(format!("the writer by SQLAlchemy ended with {status}").into());
        }
        self.noting.await?
    }

    async fn hear(&mut self, wanted: News) -> Result<(), Failure> {
        match tokio::time::timeout(ANSWER_MAX, self.news.recv()).await {
            Ok(Some(news)) if news == wanted => Ok(()),
            Ok(_) => Err("the writer by SQLAlchemy has ended; what it said is above".into()),
            Err(_) => Err(format!("the writer by SQLAlchemy said nothing for {ANSWER_MAX:?}").into()),
        }
    }
}

fn note(notes: &mut Notes, wrote: Wrote, tenant: i64, writer: usize, since: &dyn Fn(u64) -> Duration) {
    let outcome = match wrote.outcome.as_str() {
        "acknowledged" => Outcome::Acknowledged,
        "unknown" => Outcome::Unknown,
        _ => Outcome::GivenUp,
    };
    if wrote.runs > 1 {
        notes.errors.push(format!("sqlalchemy: run {} times", wrote.runs));
    }
    if let Some(why) = wrote.why {
        notes.errors.push(format!("sqlalchemy: {why}"));
        if outcome == Outcome::GivenUp {
            notes.faults.push(format!("sqlalchemy: {why}"));
        }
    }
    let row = Row::Event { kind: "sqlalchemy".into(), seen: 0 };
    let fact = Fact { key: Key { table: Table::Events, id: wrote.op.clone() }, row: Some(row.texts()) };
    notes.entries.push(Entry {
        op: wrote.op,
        writer,
        tenant,
        kind: "sqlalchemy",
        outcome,
        epoch: wrote.epoch,
        version: if wrote.schema == "saas" { Version::V2 } else { Version::V1 },
        attempts: wrote.runs,
        began: since(wrote.began),
        ended: since(wrote.ended),
        facts: vec![fact],
    });
}
