//! A file of evidence: written line by line, named when it is whole, and told about.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use replat_advise::evidence::{FORMAT, Head, Line, StatementSeen};
use replat_postgres::capture::{Captured, Room, Sink};
use serde::Serialize;

use super::folder::beside;

/// The share of a file that lines of transactions leave to statements, which are written at its end.
const FOR_STATEMENTS: u64 = 8;
/// The longest line that is read. Unit: bytes.
const LINE_MAX: usize = 16 << 20;

/// What was counted while it was written, for whoever watches.
#[derive(Debug, Default)]
pub struct Counts {
    /// Transactions of the log of changes.
    pub writes: AtomicU64,
    /// Transactions of the sample.
    pub transactions: AtomicU64,
    /// Bytes of the file.
    pub bytes: AtomicU64,
}

/// A file that is being written.
pub struct Growing {
    path: PathBuf,
    part: PathBuf,
    file: File,
    max_bytes: u64,
    max_transactions: u64,
    counts: Arc<Counts>,
    /// What was told of each statement: it is written once at the end.
    statements: BTreeMap<String, StatementSeen>,
    /// How much of the file tells what was counted of statements meanwhile. Unit: bytes.
    counted_bytes: u64,
    /// Which bound it has come to.
    pub full: Option<&'static str>,
}

impl Growing {
    /// An empty file beside `path`, which must not be there yet.
    pub fn create(path: &Path, max_bytes: u64, max_transactions: u64) -> io::Result<Growing> {
        if path.exists() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already"));
        }
        let part = beside(path, ".part");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        Ok(Growing {
            path: path.to_owned(),
            part,
            file,
            max_bytes,
            max_transactions,
            counts: Arc::default(),
            statements: BTreeMap::new(),
            counted_bytes: 0,
            full: None,
        })
    }

    /// What is counted.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Takes the file away, where nothing was captured.
    pub fn discard(self) -> io::Result<()> {
        std::fs::remove_file(self.part)
    }

    fn write(&mut self, value: &impl Serialize, most: u64) -> io::Result<Room> {
        let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
        line.push(b'\n');
        let length = line.len() as u64;
        if self.counts.bytes.load(Ordering::Relaxed) + length > most {
            self.full = Some("size");
            return Ok(Room::Full);
        }
        self.file.write_all(&line)?;
        self.counts.bytes.fetch_add(length, Ordering::Relaxed);
        Ok(Room::Left)
    }

    fn hear(&mut self, seen: StatementSeen) {
        match self.statements.get_mut(&seen.id) {
            Some(known) => known.hear(seen),
            None => drop(self.statements.insert(seen.id.clone(), seen)),
        }
    }

    /// What was counted until now, for those who come after a death. It has a share of the file and no more: at the end
    /// all of it is written again.
    fn write_counted(&mut self, line: &Line) -> io::Result<Room> {
        let before = self.counts.bytes.load(Ordering::Relaxed);
        if self.counted_bytes >= self.max_bytes / FOR_STATEMENTS {
            return Ok(Room::Left);
        }
        let room = self.write(line, self.max_bytes - self.max_bytes / FOR_STATEMENTS)?;
        self.counted_bytes += self.counts.bytes.load(Ordering::Relaxed) - before;
        Ok(room)
    }

    /// Writes the whole file under its name: the last word on who it is of, all lines, and each statement once.
    pub fn finish(mut self, captured: Captured) -> io::Result<Head> {
        let mut head = captured.head;
        captured.statements.into_iter().for_each(|seen| self.hear(seen));
        let mut statements: Vec<&StatementSeen> = self.statements.values().collect();
        statements.sort_by_key(|seen| std::cmp::Reverse(seen.calls));
        // What was counted meanwhile is not written again.
        let lasting = self.counts.bytes.load(Ordering::Relaxed) - self.counted_bytes;
        let mut room = self.max_bytes.saturating_sub(lasting);
        let mut lines = Vec::new();
        let mut left_out = 0_usize;
        for seen in statements {
            let mut line = serde_json::to_vec(&Line::Statement(seen.clone())).map_err(io::Error::other)?;
            line.push(b'\n');
            // What the sample told of stands in its lines; it was counted when it was written there.
            let is_new = seen.calls.is_some() && line.len() as u64 > room;
            match is_new {
                true => left_out += 1,
                false => {
                    room = room.saturating_sub(line.len() as u64);
                    lines.push(line);
                }
            }
        }
        if left_out > 0 {
            head.lacking
                .push(format!("T1 statements: {left_out} were left out, since the file is full; --max-size"));
        }
        let new = beside(&self.path, ".new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let mut out = BufWriter::new(file);
        serde_json::to_writer(&mut out, &head).map_err(io::Error::other)?;
        out.write_all(b"\n")?;
        for line in BufReader::new(File::open(&self.part)?).split(b'\n').skip(1) {
            let line = line?;
            if !line.starts_with(br#"{"k":"statement""#) {
                out.write_all(&line)?;
                out.write_all(b"\n")?;
            }
        }
        for line in lines {
            out.write_all(&line)?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        std::fs::remove_file(&self.part)?;
        Ok(head)
    }
}

impl Sink for Growing {
    fn begin(&mut self, head: &Head) -> io::Result<()> {
        self.write(head, u64::MAX).map(drop)
    }

    fn take(&mut self, line: &Line) -> io::Result<Room> {
        let counted = match line {
            Line::Writes(_) => Some(&self.counts.writes),
            Line::Transaction(_) => Some(&self.counts.transactions),
            Line::Statement(seen) => {
                self.hear(seen.clone());
                if seen.calls.is_some() {
                    return self.write_counted(line);
                }
                None
            }
            Line::Table(_) | Line::Place(_) => None,
        };
        if let Some(counted) = counted {
            let all = [&self.counts.writes, &self.counts.transactions].map(|n| n.load(Ordering::Relaxed));
            if all.iter().sum::<u64>() >= self.max_transactions {
                self.full = Some("transactions");
                return Ok(Room::Full);
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
        self.write(line, self.max_bytes - self.max_bytes / FOR_STATEMENTS)
    }
}

/// What a file of evidence has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Its first line.
    #[serde(flatten)]
    pub head: Head,
    /// Tables.
    pub tables: u64,
    /// Statements.
    pub statements: u64,
    /// Transactions of the log of changes.
    pub writes: u64,
    /// Rows that those wrote.
    pub rows_written: u64,
    /// Transactions of the sample.
    pub transactions: u64,
    /// Statements that those ran.
    pub executed: u64,
    /// Keys of which it is known in which partition they are.
    #[serde(skip_serializing_if = "is_none")]
    pub places: u64,
    /// Its size.
    pub bytes: u64,
    /// Whether it ends in the middle of a line, or was never finished.
    pub is_broken_off: bool,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Summary {
    /// The tiers that it holds.
    pub fn tiers(&self) -> Vec<&'static str> {
        let counts =
            [("T0", self.tables), ("T1", self.statements), ("T2", self.writes), ("T3", self.transactions)];
        counts.into_iter().filter_map(|(tier, count)| (count > 0).then_some(tier)).collect()
    }
}

/// Why a file cannot be told about.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no evidence: {what}", path.display())]
    Other {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Reads what a file has; one that ends early is told about up to there.
pub fn summary(path: &Path) -> Result<Summary, BadFile> {
    let unreadable = |source| BadFile::Unreadable { path: path.to_owned(), source };
    let other = |what: String| BadFile::Other { path: path.to_owned(), what };
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    let mut lines = BufReader::new(file);
    let mut summary = Summary { bytes, ..Summary::default() };
    let mut statements = BTreeSet::new();
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        let read =
            io::Read::take(&mut lines, LINE_MAX as u64).read_until(b'\n', &mut line).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        number += 1;
        let is_whole = line.ends_with(b"\n");
        if number == 1 {
            summary.head = serde_json::from_slice(&line)
                .map_err(|_| other("its first line is not understood".into()))?;
            if summary.head.format != FORMAT {
                return Err(other(format!("its form is not {FORMAT}")));
            }
            continue;
        }
        match serde_json::from_slice(&line) {
            // While a capture runs, it tells of a statement each time that it looks.
            Ok(Line::Statement(seen)) => drop(statements.insert(seen.id)),
            Ok(line) => summary.count(&line),
            Err(_) if !is_whole => summary.is_broken_off = true,
            // The error might repeat a piece of the line.
            Err(_) => return Err(other(format!("line {number} is not understood"))),
        }
    }
    if number == 0 {
        return Err(other("it is empty".into()));
    }
    summary.statements = statements.len() as u64;
    summary.is_broken_off |= path.extension().is_some_and(|extension| extension == "part");
    Ok(summary)
}

impl Summary {
    fn count(&mut self, line: &Line) {
        match line {
            Line::Table(_) => self.tables += 1,
            Line::Statement(_) => {}
            Line::Place(_) => self.places += 1,
            Line::Writes(writes) => {
                self.writes += 1;
                self.rows_written += writes.rows.len() as u64;
            }
            Line::Transaction(transaction) => {
                self.transactions += 1;
                self.executed += transaction.statements.len() as u64;
            }
        }
    }
}
