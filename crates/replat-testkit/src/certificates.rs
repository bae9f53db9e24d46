//! Certificates for one test run, made by the openssl program: an authority, and a server at `127.0.0.1` that it
//! vouches for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::server::account::Account;
use crate::server::{ServerError, cluster};

const CONFIG: &str = "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = replat\n\
                      [authority]\nbasicConstraints = critical, CA:TRUE\n\
                      [server]\nsubjectAltName = IP:127.0.0.1, DNS:localhost\nbasicConstraints = critical, CA:FALSE\n";

/// The files, which belong to the account of servers; removed when dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// [`ServerError`] if a folder cannot be made, or openssl is not there or fails.
    pub fn make() -> Result<Certificates, ServerError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let prepare = |path: PathBuf| move |source| ServerError::Prepare { path, source };
        let account = Account::choose().map_err(prepare("/etc/passwd".into()))?;
        let root = cluster::folder(account);
        cluster::make_directory(&root, account)?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let folder = root.join(format!("tls-{}-{serial}", process::id()));
        cluster::make_directory(&folder, account)?;
        let made = Certificates { folder: folder.clone() };
        let config = folder.join("config");
        fs::write(&config, CONFIG).map_err(prepare(config.clone()))?;
        account.own(&config).map_err(prepare(config))?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        for arguments in [
            format!("req -x509 -config config -extensions authority {key} -keyout ca.key -out ca.crt"),
            format!("req -config config {key} -keyout server.key -out server.csr"),
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -set_serial 2 -days 2 -extfile config \
             -extensions server -out server.crt"
                .to_owned(),
        ] {
            openssl(account, &folder, &arguments)?;
        }
        Ok(made)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The server's.
    pub fn cert(&self) -> PathBuf {
        self.folder.join("server.crt")
    }

    /// The server's key.
    pub fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // Nobody is left to hear that a folder stays behind.
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn openssl(account: Account, folder: &Path, arguments: &str) -> Result<(), ServerError> {
    let output = account.command("openssl").current_dir(folder).args(arguments.split_whitespace()).output();
    let output = output.map_err(|source| ServerError::Prepare { path: "openssl".into(), source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(ServerError::Program {
            program: "openssl".into(),
            said: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}
