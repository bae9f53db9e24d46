//! Throwaway PgBouncer processes.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use tokio::net::TcpStream;

use crate::server::ServerError;
use crate::service::{Make, Service, ServiceError};

/// The environment variable that names the program, and ends the search.
pub const PROGRAM_VARIABLE: &str = "REPLAT_PGBOUNCER";

const MAKE: Make = Make { program: "pgbouncer", package: "pgbouncer", variable: PROGRAM_VARIABLE };

/// A PgBouncer of our own; stopped and removed when dropped.
///
/// It lets the role `postgres` in without a password, unless its settings say otherwise.
#[derive(Debug)]
pub struct Pgbouncer {
    service: Service,
}

impl Pgbouncer {
    /// Starts one. `databases` are lines of its section of that name, without the name: `("app", "host=… port=…")`;
    /// `settings` go into the other section, and a later one wins.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn start(
        databases: &[(&str, String)],
        settings: &[(&str, &str)],
    ) -> Result<Pgbouncer, ServiceError> {
        Pgbouncer::with_users("\"postgres\" \"\"\n", databases, settings).await
    }

    /// The same with an `auth_file` of one's own.
    ///
    /// # Errors
    ///
    /// See [`ServiceError`].
    pub async fn with_users(
        users: &str,
        databases: &[(&str, String)],
        settings: &[(&str, &str)],
    ) -> Result<Pgbouncer, ServiceError> {
        let service = Service::new(MAKE, false, |folder, port, _| {
            let (config, list) = (folder.join("pgbouncer.ini"), folder.join("users.txt"));
            let prepare = |path: &Path| {
                let path = path.to_owned();
                move |source| ServerError::Prepare { path, source }
            };
            fs::write(&list, users).map_err(prepare(&list))?;
            fs::write(&config, ini(databases, settings, &list, port)).map_err(prepare(&config))?;
            Ok(vec![config.display().to_string()])
        })?;
        let answers =
            |port| Box::pin(async move { TcpStream::connect(("127.0.0.1", port)).await.is_ok() }) as _;
        Ok(Pgbouncer { service: service.started(answers).await? })
    }

    /// The port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.service.port
    }

    /// Its process.
    pub fn id(&self) -> Option<u32> {
        self.service.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.service.folder.join("log")).unwrap_or_default()
    }
}

fn ini(databases: &[(&str, String)], settings: &[(&str, &str)], users: &Path, port: u16) -> String {
    let mut text = "[databases]\n".to_owned();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name} = {value}").expect("writing to a String does not fail");
    };
    databases.iter().for_each(|(name, place)| line(name, place));
    line("\n[pgbouncer]\nlisten_addr", "127.0.0.1");
    line("listen_port", &port.to_string());
    // A socket in a common folder could be another one's.
    line("unix_socket_dir", "");
    line("auth_type", "trust");
    line("auth_file", &users.display().to_string());
    settings.iter().for_each(|(name, value)| line(name, value));
    text
}
