//! Data directories: made once by `initdb`, then copied.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ServerError;
use super::account::Account;
use super::binaries::Binaries;

/// The folder under which everything of this crate lives for `account`; it may be removed at any time that no
/// server runs.
pub fn folder(account: Account) -> PathBuf {
    std::env::temp_dir().join(format!("replat-testkit-{}", account.uid()))
}

/// One server's own folder: `data`, `socket` and `log` lie in it.
///
/// # Errors
///
/// [`ServerError::Prepare`] if the folder cannot be made, [`ServerError::Program`] if `initdb` or `cp` fails.
pub fn create(binaries: &Binaries, account: Account) -> Result<PathBuf, ServerError> {
    let own = empty(account)?;
    let template = template(binaries, account, &folder(account))?;
    run(account.command("cp").arg("-Rp").arg(&template).arg(own.join("data")))?;
    Ok(own)
}

/// The folder of a standby that follows the server at `port` on `127.0.0.1`, with a copy of its data.
///
/// # Errors
///
/// As [`create`], for `pg_basebackup`.
pub fn copy_of(binaries: &Binaries, account: Account, port: u16) -> Result<PathBuf, ServerError> {
    let own = empty(account)?;
    let mut backup = account.command(binaries.program("pg_basebackup"));
    let from = format!("host=127.0.0.1 port={port} user=postgres application_name=standby");
    backup.arg("-d").arg(from).arg("-D").arg(own.join("data")).args(["-R", "-c", "fast", "-X", "stream"]);
    run(backup.arg("--no-sync"))?;
    Ok(own)
}

/// One server's own folder, with no data in it yet.
fn empty(account: Account) -> Result<PathBuf, ServerError> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let root = folder(account);
    make_directory(&root, account)?;
    let own = root.join(format!("server-{}-{serial}", process::id()));
    // A process with our number may have died without its watchdog.
    if own.exists() {
        fs::remove_dir_all(&own).map_err(|source| ServerError::Prepare { path: own.clone(), source })?;
    }
    make_directory(&own, account)?;
    make_directory(&own.join("socket"), account)?;
    Ok(own)
}

/// The data directory that new ones are copied from, made if it is not there yet.
fn template(binaries: &Binaries, account: Account, root: &Path) -> Result<PathBuf, ServerError> {
    let version = binaries.version;
    let name = format!("template-{}.{}", version.major, version.minor);
    let template = root.join(&name);
    let lock_path = root.join(format!("{name}.lock"));
    let prepare = |source| ServerError::Prepare { path: lock_path.clone(), source };
    // The lock ends with its holder, so a process that dies here leaves nothing in the way of the next.
    let lock = File::create(&lock_path).map_err(prepare)?;
    lock.lock().map_err(prepare)?;
    if !template.exists() {
        let unfinished = root.join(format!("{name}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(prepare)?;
        }
        init(binaries, account, &unfinished)?;
        fs::rename(&unfinished, &template).map_err(prepare)?;
    }
    Ok(template)
}

fn init(binaries: &Binaries, account: Account, data: &Path) -> Result<(), ServerError> {
    let mut initdb = account.command(binaries.program("initdb"));
    initdb.arg("-D").arg(data).args(["-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    run(initdb.arg("--no-sync"))
}

/// Makes a folder that only `account` may enter, unless it is there.
pub fn make_directory(path: &Path, account: Account) -> Result<(), ServerError> {
    let made = match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    made.and_then(|()| account.own(path))
        .map_err(|source| ServerError::Prepare { path: path.to_owned(), source })
}

fn run(command: &mut process::Command) -> Result<(), ServerError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.output().map_err(|source| ServerError::Prepare { path: PathBuf::from(&program), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServerError::Program { program, said })
}
