//! What the process's surroundings say, as a value: so that resolving stays pure and a test can say it too.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Reads a small file.
pub type ReadFile = Box<dyn Fn(&Path) -> io::Result<FileSeen> + Send + Sync>;

/// A file's content and who may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSeen {
    /// The content; bytes that are not UTF-8 have been replaced.
    pub text: String,
    /// Whether it is a plain file: a directory or a pipe is no place for passwords.
    pub plain: bool,
    /// The permission bits, such as `0o600`.
    pub mode: u32,
}

/// Everything outside the connection string that resolving it may ask for.
pub struct Environment {
    /// The environment variables.
    pub vars: BTreeMap<String, String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// The user's name in the operating system.
    pub user: Option<String>,
    /// The directory where local servers have their Unix sockets; without it the default host is `localhost`.
    pub socket_directory: Option<PathBuf>,
    /// How files are read.
    pub read_file: ReadFile,
}

impl Environment {
    /// Where PostgreSQL's packages and PostgreSQL's own builds put their sockets.
    const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

    /// The surroundings of this process.
    pub fn of_process() -> Environment {
        let directories = Environment::SOCKET_DIRECTORIES.map(PathBuf::from);
        // Variables that are not UTF-8 cannot be one of ours with a meaning.
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Environment {
            vars: vars.collect(),
            home: std::env::home_dir().filter(|home| !home.as_os_str().is_empty()),
            user: whoami::username().ok(),
            socket_directory: directories.into_iter().find(|directory| directory.is_dir()),
            read_file: Box::new(read_file),
        }
    }

    /// Surroundings that say nothing: no variables, no home, no user, no files.
    pub fn empty() -> Environment {
        Environment {
            vars: BTreeMap::new(),
            home: None,
            user: None,
            socket_directory: None,
            read_file: Box::new(|_| Err(io::ErrorKind::NotFound.into())),
        }
    }

    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Environment {
    /// Says nothing of the variables: one of them may be `PGPASSWORD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("home", &self.home)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

fn read_file(path: &Path) -> io::Result<FileSeen> {
    let metadata = std::fs::metadata(path)?;
    let plain = metadata.is_file();
    // Reading a pipe could wait for ever.
    let bytes = if plain { std::fs::read(path)? } else { Vec::new() };
    Ok(FileSeen { text: String::from_utf8_lossy(&bytes).into_owned(), plain, mode: mode(&metadata) })
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o7777
}

/// Elsewhere the home directory's own protection has to do, as it does for libpq.
#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> u32 {
    0o600
}
