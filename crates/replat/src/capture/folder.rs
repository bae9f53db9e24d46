//! Where captures are: a folder beside the control store, or beside where one would be.
//!
//! A capture that runs holds a lock on `NAME.lock`, and keeps in `NAME.running` what whoever comes after its death has
//! to know. Its evidence is `NAME.jsonl`, and `NAME.jsonl.part` while it grows.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use replat_postgres::capture::rate::RateBefore;
use serde::{Deserialize, Serialize};

/// What the name of a file of evidence ends with.
const EVIDENCE: &str = ".jsonl";

/// What is to be known of a capture that runs, or that was killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The process.
    pub pid: u32,
    /// The database, as people call it.
    pub database: String,
    /// How it is reached: its name in the spec, `env:NAME` or `file:PATH`. `None` if a text was given, which might hold a
    /// password.
    pub from: Option<String>,
    /// Where the evidence will be.
    pub evidence: PathBuf,
    /// What a setting of the server was, if it was changed.
    pub rate: Option<RateBefore>,
}

/// How a capture stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It runs.
    Running(Record),
    /// It was killed, and may have left something behind.
    Killed(Record),
    /// It has ended.
    Ended,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// At this place; it need not be there yet.
    pub fn at(path: PathBuf) -> Folder {
        Folder(path)
    }

    /// Where the evidence of a capture is.
    pub fn evidence(&self, name: &str) -> PathBuf {
        self.file(name, EVIDENCE)
    }

    fn file(&self, name: &str, ending: &str) -> PathBuf {
        self.0.join(format!("{name}{ending}"))
    }

    /// The names of all captures, and how each stands.
    pub fn all(&self) -> io::Result<Vec<(String, Standing)>> {
        let mut names = Vec::new();
        match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => {
                for entry in entries? {
                    let file = entry?.file_name().to_string_lossy().into_owned();
                    let name =
                        [".running", ".jsonl.part", EVIDENCE].iter().find_map(|e| file.strip_suffix(e));
                    names.extend(name.map(str::to_owned));
                }
            }
        }
        names.sort_by_key(|name| (name.len(), name.clone()));
        names.dedup();
        names.into_iter().map(|name| Ok((name.clone(), self.standing(&name)?))).collect()
    }

    /// How a capture stands.
    pub fn standing(&self, name: &str) -> io::Result<Standing> {
        let record = match std::fs::read(self.file(name, ".running")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Ended),
            text => serde_json::from_slice(&text?).map_err(io::Error::other)?,
        };
        let lock = match File::open(self.file(name, ".lock")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Killed(record)),
            lock => lock?,
        };
        match lock.try_lock_shared() {
            Ok(()) => Ok(Standing::Killed(record)),
            Err(TryLockError::WouldBlock) => Ok(Standing::Running(record)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// A name that no capture has.
    pub fn free_name(&self) -> io::Result<String> {
        let all = self.all()?;
        let taken = |name: &String| all.iter().any(|(other, _)| other == name);
        Ok((1..).map(|n| format!("c{n}")).find(|name| !taken(name)).unwrap_or_default())
    }

    /// Begins one; nobody else has its name from then on.
    pub fn begin(&self, name: &str, record: Record) -> io::Result<Running> {
        std::fs::create_dir_all(&self.0)?;
        let path = self.file(name, ".lock");
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        lock.try_lock().map_err(io::Error::from)?;
        let running = Running { folder: self.clone(), name: name.to_owned(), record, _lock: lock };
        running.write()?;
        Ok(running)
    }

    /// Asks the capture to end.
    pub fn ask_to_end(&self, name: &str) -> io::Result<()> {
        File::create(self.file(name, ".stop")).map(drop)
    }

    /// Forgets what whoever comes after a death has to know.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        for ending in [".running", ".stop", ".lock"] {
            match std::fs::remove_file(self.file(name, ending)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A capture of this process.
#[derive(Debug)]
pub struct Running {
    folder: Folder,
    /// Its name.
    pub name: String,
    record: Record,
    _lock: File,
}

impl Running {
    /// Remembers how a setting was, before it is changed.
    pub fn remember(&mut self, before: &RateBefore) -> io::Result<()> {
        self.record.rate = Some(before.clone());
        self.write()
    }

    /// What was remembered.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether somebody asked it to end.
    pub fn is_asked_to_end(&self) -> bool {
        self.folder.file(&self.name, ".stop").exists()
    }

    /// It has ended, and left nothing behind.
    pub fn end(self) -> io::Result<()> {
        self.folder.forget(&self.name)
    }

    fn write(&self) -> io::Result<()> {
        let path = self.folder.file(&self.name, ".running");
        let text = serde_json::to_vec(&self.record).map_err(io::Error::other)?;
        write_whole(&path, &text)
    }
}

/// Writes a file so that it is there as a whole or not at all, also after a power cut.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// The same path with something more at its end.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_runs_for_as_long_as_its_lock_is_held() {
        let place = std::env::temp_dir().join(format!("replat-captures-{}", std::process::id()));
        let folder = Folder::at(place.clone());
        assert_eq!(folder.all().expect("no folder is an empty one"), vec![]);
        let record = Record {
            pid: 7,
            database: "blue".into(),
            from: None,
            evidence: folder.evidence("c1"),
            rate: None,
        };
        let mut running = folder.begin("c1", record.clone()).expect("it begins");
        assert!(folder.begin("c1", record.clone()).is_err(), "the name is taken");
        assert_eq!(folder.standing("c1").expect("it stands"), Standing::Running(record.clone()));
        let before = RateBefore { by_alter_system: Some("0.5".into()) };
        running.remember(&before).expect("it is written");
        folder.ask_to_end("c1").expect("it is asked");
        assert!(running.is_asked_to_end());
        drop(running);
        let killed = Standing::Killed(Record { rate: Some(before), ..record });
        assert_eq!(folder.all().expect("a list"), vec![("c1".to_owned(), killed)]);
        assert_eq!(folder.free_name().expect("a name"), "c2");
        folder.forget("c1").expect("it is forgotten");
        assert_eq!(folder.free_name().expect("a name"), "c1");
        std::fs::remove_dir_all(place).expect("the folder goes");
    }
}
