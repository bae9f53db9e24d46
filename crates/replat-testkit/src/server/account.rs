//! Under whose name a server runs: `postgres` refuses to be root.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The operating-system account of a server: ours, or an unprivileged one if we are root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    /// `None` if it is our own account, so that nothing needs to change hands.
    group: Option<u32>,
}

impl Account {
    /// Our own account; for root, `postgres` if that exists and else `nobody`.
    ///
    /// # Errors
    ///
    /// If `id` cannot be run, or root finds neither account.
    pub fn choose() -> io::Result<Account> {
        let answer = Command::new("id").arg("-u").output()?;
        let uid = String::from_utf8_lossy(&answer.stdout);
        let uid = uid.trim().parse().map_err(|_| io::Error::other("`id -u` printed no number"))?;
        if uid != 0 {
            return Ok(Account { uid, group: None });
        }
        let passwd = fs::read_to_string("/etc/passwd")?;
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| entry_of(&passwd, name))
            .ok_or_else(|| io::Error::other("/etc/passwd has neither postgres nor nobody"))
    }

    /// Distinguishes the folders of different accounts.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// `program`, to be run under this account.
    pub fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(gid) = self.group {
            command.uid(self.uid).gid(gid);
        }
        // Our own directory may be closed to that account.
        command.current_dir("/");
        command
    }

    /// Makes `path` belong to this account.
    pub fn own(self, path: &Path) -> io::Result<()> {
        match self.group {
            Some(gid) => lchown(path, Some(self.uid), Some(gid)),
            None => Ok(()),
        }
    }
}

fn entry_of(passwd: &str, name: &str) -> Option<Account> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { uid, group: Some(gid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd = "postgresql:x:1:2::/:/bin/sh\npostgres:x:101:103:,,:/var/lib:/bin/bash\n";
        assert_eq!(entry_of(passwd, "postgres"), Some(Account { uid: 101, group: Some(103) }));
        assert_eq!(entry_of(passwd, "nobody"), None);
    }
}
