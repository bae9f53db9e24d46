//! Where the PostgreSQL programs are.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ServerError;

/// The environment variable that names a directory with `postgres` and `initdb`, and ends the search.
///
/// With a major release behind it, as in `REPLAT_PG_BIN_18`, it names the one with that release, for tests that ask
/// for it.
pub const BIN_VARIABLE: &str = "REPLAT_PG_BIN";

/// A release of PostgreSQL; the larger one is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PgVersion {
    /// The major release, such as 17.
    pub major: u32,
    /// The minor release; 0 for a development or beta version.
    pub minor: u32,
}

/// A directory that holds `postgres` and `initdb`, and what release they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// What `postgres --version` says.
    pub version: PgVersion,
    /// The directory.
    pub directory: PathBuf,
}

impl Binaries {
    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The programs that `REPLAT_PG_BIN` names, else the newest ones on this machine.
    ///
    /// # Errors
    ///
    /// [`ServerError::NoBinaries`] if no directory that was looked at holds both programs.
    pub fn find() -> Result<Binaries, ServerError> {
        let looked = match env::var_os(BIN_VARIABLE) {
            Some(directory) => vec![PathBuf::from(directory)],
            None => usual_directories(),
        };
        newest(&looked, |_| true).ok_or(ServerError::NoBinaries { looked })
    }

    /// The programs of one major release: those that `REPLAT_PG_BIN_<MAJOR>` names, else the newest ones of that
    /// release on this machine.
    ///
    /// # Errors
    ///
    /// [`ServerError::NoMajor`] if no directory that was looked at holds them.
    pub fn of_major(major: u32) -> Result<Binaries, ServerError> {
        let looked = match env::var_os(format!("{BIN_VARIABLE}_{major}")) {
            Some(directory) => vec![PathBuf::from(directory)],
            None => {
                env::var_os(BIN_VARIABLE).map(PathBuf::from).into_iter().chain(usual_directories()).collect()
            }
        };
        newest(&looked, |version| version.major == major).ok_or(ServerError::NoMajor { major, looked })
    }
}

/// The first of equals wins: the packager's own directory stands before links in PATH.
fn newest(looked: &[PathBuf], fits: impl Fn(PgVersion) -> bool) -> Option<Binaries> {
    let found = looked.iter().rev().filter_map(|directory| inspect(directory));
    found.filter(|binaries| fits(binaries.version)).max_by_key(|binaries| binaries.version)
}

fn inspect(directory: &Path) -> Option<Binaries> {
    if !directory.join("initdb").exists() {
        return None;
    }
    let answer = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    let version = parse_version(&String::from_utf8_lossy(&answer.stdout))?;
    Some(Binaries { version, directory: directory.to_owned() })
}

/// Reads `postgres (PostgreSQL) 17.2 (Debian …)`, `18beta1` and the like.
fn parse_version(answer: &str) -> Option<PgVersion> {
    let word = answer.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let major = digits(word);
    let rest = word[major.len()..].strip_prefix('.').unwrap_or("");
    Some(PgVersion { major: major.parse().ok()?, minor: digits(rest).parse().unwrap_or(0) })
}

fn usual_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    directories.extend(told_by_pg_config());
    directories.extend(children_with_bin("/usr/lib/postgresql", ""));
    directories.extend(children_with_bin("/usr/libexec", "postgresql"));
    directories.extend(children_with_bin("/usr", "pgsql-"));
    for homebrew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
        directories.extend(children_with_bin(homebrew, "postgresql"));
    }
    if let Some(path) = env::var_os("PATH") {
        directories.extend(env::split_paths(&path));
    }
    directories
}

fn told_by_pg_config() -> Option<PathBuf> {
    let answer = Command::new("pg_config").arg("--bindir").output().ok()?;
    let directory = String::from_utf8(answer.stdout).ok()?;
    Some(PathBuf::from(directory.trim()))
}

/// `parent/<prefix>…/bin` and `parent/<prefix>…` itself, since Alpine has no `bin` below it.
fn children_with_bin(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .flat_map(|entry| [entry.path().join("bin"), entry.path()])
        .filter(|directory| directory.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_every_form_that_packagers_print() {
        let cases = [
            ("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", Some((15, 13))),
            ("postgres (PostgreSQL) 18beta1", Some((18, 0))),
            ("postgres (PostgreSQL) 17.2\n", Some((17, 2))),
            ("postgres (EnterpriseThing) 17.2", None),
            ("postgres (PostgreSQL) devel", None),
            ("", None),
        ];
        for (answer, wanted) in cases {
            let wanted = wanted.map(|(major, minor)| PgVersion { major, minor });
            assert_eq!(parse_version(answer), wanted, "{answer}");
        }
    }
}
