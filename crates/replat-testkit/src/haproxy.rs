//! Throwaway HAProxy processes.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::net::TcpStream;

use crate::server::ServerError;
use crate::service::{Make, Service, ServiceError};

/// The environment variable that names the program, and ends the search.
pub const PROGRAM_VARIABLE: &str = "REPLAT_HAPROXY";

const MAKE: Make = Make { program: "haproxy", package: "haproxy", variable: PROGRAM_VARIABLE };

/// A HAProxy of our own; stopped and removed when dropped.
#[derive(Debug)]
pub struct Haproxy {
    service: Service,
}

impl Haproxy {
    /// Starts one in a folder of its own. `frontends` makes of that folder and the port to listen at all of its
    /// configuration but the `global` section, which opens the runtime socket; it may write files into the folder.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn start(frontends: impl FnOnce(&Path, u16) -> String) -> Result<Haproxy, ServiceError> {
        let service = Service::new(MAKE, false, |folder, port, _| {
            let (config, socket) = (folder.join("haproxy.cfg"), socket(folder));
            let global = format!("global\n  stats socket {} mode 600 level admin\n", socket.display());
            let written = fs::write(&config, global + &frontends(folder, port));
            written.map_err(|source| ServerError::Prepare { path: config.clone(), source })?;
            Ok(vec!["-db".into(), "-f".into(), config.display().to_string()])
        })?;
        let accepts = async |port| TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        let service = service.started(move |port| Box::pin(accepts(port))).await?;
        Ok(Haproxy { service })
    }

    /// Where its frontend is reached: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.service.address()
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.service.folder
    }

    /// Its runtime socket.
    pub fn socket(&self) -> PathBuf {
        socket(&self.service.folder)
    }

    /// Ends it without a word.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Process`].
    pub fn kill(&mut self) -> Result<(), ServiceError> {
        self.service.kill()
    }

    /// Starts it at the same address.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub async fn start_again(&mut self) -> Result<(), ServiceError> {
        self.service.start_again().await
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}
