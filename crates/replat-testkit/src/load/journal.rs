//! What writers were told: the evidence that a checker holds a database to.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::rows::{Key, Version};

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The database acknowledged its COMMIT.
    Acknowledged,
    /// The answer to COMMIT never came: it may or may not have happened.
    Unknown,
    /// It was refused for good, without effect.
    GivenUp,
}

/// What a row must be after an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Which row of the entry's tenant.
    pub key: Key,
    /// What it says, as [`crate::rows::Row::texts`]; `None` if it must be absent.
    pub row: Option<Vec<String>>,
}

/// One operation's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The operation's id, unique over all writers; it stands in `events.op_id`.
    pub op: String,
    /// Which writer, counted from 0.
    pub writer: usize,
    /// Whose rows.
    pub tenant: i64,
    /// What it was, in words.
    pub kind: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// The epoch of the home that had the last word.
    pub epoch: u64,
    /// The version of that home.
    pub version: Version,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first tried; since the journal's origin.
    #[serde(serialize_with = "as_micros", rename = "began_us")]
    pub began: Duration,
    /// When its outcome was known; since the journal's origin.
    #[serde(serialize_with = "as_micros", rename = "ended_us")]
    pub ended: Duration,
    /// What must hold afterwards.
    pub facts: Vec<Fact>,
}

fn as_micros<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// A time in which a writer stood still because it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Which writer.
    pub writer: usize,
    /// Since the journal's origin.
    pub from: Duration,
    /// Since the journal's origin.
    pub to: Duration,
}

/// Everything that writers noted down.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// In the order in which outcomes became known; in particular in order for each writer.
    pub entries: Vec<Entry>,
    /// When writers were asked to stand still.
    pub rests: Vec<Rest>,
    /// Answers of the database that a correct one does not give, in words.
    pub faults: Vec<String>,
    /// Errors of whatever kind that a writer met, also where it tried again and was then acknowledged.
    pub errors: Vec<String>,
}

/// The journal that all writers share.
#[derive(Debug)]
pub struct Journal {
    origin: Instant,
    begun_at: SystemTime,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    notes: Notes,
    file: Option<BufWriter<File>>,
}

impl Journal {
    /// An empty journal whose origin is now; with `path`, entries also go to that file, one JSON object a line.
    ///
    /// # Errors
    ///
    /// If the file cannot be made.
    pub fn open(path: Option<&Path>) -> io::Result<Journal> {
        let file = path.map(File::create).transpose()?.map(BufWriter::new);
        let inner = Mutex::new(Inner { notes: Notes::default(), file });
        Ok(Journal { origin: Instant::now(), begun_at: SystemTime::now(), inner })
    }

    /// Time since the origin.
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// The origin on the wall clock, to lay other people's times beside ours.
    pub fn begun_at(&self) -> SystemTime {
        self.begun_at
    }

    /// How many operations were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        let notes = self.notes();
        notes.entries.iter().filter(|entry| entry.outcome == Outcome::Acknowledged).count()
    }

    /// Everything noted so far.
    pub fn notes(&self) -> Notes {
        self.lock().notes.clone()
    }

    /// Writes what is still in memory to the file.
    ///
    /// # Errors
    ///
    /// If the disk refuses, now or at an earlier entry.
    pub fn flush(&self) -> io::Result<()> {
        self.lock().file.as_mut().map_or(Ok(()), Write::flush)
    }

    /// Adds what a writer outside of this process has noted.
    ///
    /// # Errors
    ///
    /// If the disk refuses.
    pub fn take(&self, notes: Notes) -> io::Result<()> {
        for entry in notes.entries {
            self.append(entry)?;
        }
        let mut inner = self.lock();
        inner.notes.rests.extend(notes.rests);
        inner.notes.faults.extend(notes.faults);
        inner.notes.errors.extend(notes.errors);
        Ok(())
    }

    pub(super) fn append(&self, entry: Entry) -> io::Result<()> {
        let mut inner = self.lock();
        if let Some(file) = &mut inner.file {
            serde_json::to_writer(&mut *file, &entry)?;
            file.write_all(b"\n")?;
        }
        inner.notes.entries.push(entry);
        Ok(())
    }

    pub(super) fn rested(&self, rest: Rest) {
        self.lock().notes.rests.push(rest);
    }

    pub(super) fn error(&self, words: String) {
        self.lock().notes.errors.push(words);
    }

    pub(super) fn fault(&self, words: String) {
        self.lock().notes.faults.push(words);
    }

    /// A writer that panicked has not left a half-written entry, so its poison is no concern.
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
