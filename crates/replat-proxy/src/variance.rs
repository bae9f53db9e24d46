//! The log of differences between two homes: what they look like, never what is in them unless that is asked for.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a log grows before it is put aside as `FILE.1`, whose older one goes. Unit: bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Where differences between two homes are written: a file of lines in JSON. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct VarianceLog {
    /// The rows that differ and the statements' text are written, too.
    pub(crate) with_data: bool,
    file: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: File,
    bytes: u64,
    most: u64,
}

impl VarianceLog {
    /// Opens the log at `path`, or begins it, for its owner alone. With `with_data` it will hold data of the databases.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn open(path: &Path, with_data: bool) -> io::Result<VarianceLog> {
        let file = opened(path)?;
        let bytes = file.metadata()?.len();
        let kept = Kept { path: path.to_owned(), file, bytes, most: FILE_MAX };
        Ok(VarianceLog { with_data, file: Arc::new(Mutex::new(kept)) })
    }

    /// Writes a line.
    pub(crate) fn write(&self, line: &serde_json::Value) -> io::Result<()> {
        let mut kept = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let line = format!("{line}\n");
        let bytes = line.len() as u64;
        if kept.bytes > 0 && kept.bytes + bytes > kept.most {
            let mut aside = kept.path.clone().into_os_string();
            aside.push(".1");
            std::fs::rename(&kept.path, aside)?;
            kept.file = opened(&kept.path)?;
            kept.bytes = 0;
        }
        kept.file.write_all(line.as_bytes())?;
        kept.bytes += bytes;
        Ok(())
    }
}

fn opened(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_put_aside_once() {
        let folder = std::env::temp_dir().join(format!("replat-variances-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("log");
        let log = VarianceLog::open(&path, false).expect("it can be written");
        log.file.lock().expect("nobody panicked").most = 20;
        for number in 0..5 {
            log.write(&serde_json::json!({ "n": number })).expect("a line");
        }
        let read = |path: &Path| std::fs::read_to_string(path).expect("it is there");
        assert_eq!(read(&path), "{\"n\":4}\n");
        assert_eq!(read(&folder.join("log.1")), "{\"n\":2}\n{\"n\":3}\n");
        // What is there is gone on with.
        let log = VarianceLog::open(&path, false).expect("it can be written");
        log.write(&serde_json::json!({ "n": 5 })).expect("a line");
        assert_eq!(read(&path), "{\"n\":4}\n{\"n\":5}\n");
        std::fs::remove_dir_all(&folder).expect("the folder");
    }
}
