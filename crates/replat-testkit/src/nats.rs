//! Throwaway NATS servers with JetStream.
//!
//! Like [`Server`](crate::Server) they are real, and vanish with their owner, even when the test process is killed.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use crate::server::account::Account;
use crate::server::process::{Postmaster, Signal};
use crate::server::{ServerError, cluster, free_port};

/// The environment variable that names the program, and ends the search.
pub const PROGRAM_VARIABLE: &str = "REPLAT_NATS_SERVER";

/// How long a server may take until JetStream is there.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often it is asked.
const READY_EVERY: Duration = Duration::from_millis(20);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// No program on this machine.
    #[error(
        "there is no nats-server; install the package nats-server, or set {PROGRAM_VARIABLE} (looked in {looked:?})"
    )]
    NoProgram {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A folder, a port or an account could not be had.
    #[error(transparent)]
    Prepare(#[from] ServerError),
    /// The system refused a process or a signal.
    #[error("the process of the NATS server cannot be reached")]
    Process(#[from] io::Error),
    /// It ended, or offered no JetStream in time.
    #[error("the NATS server on port {port} did not become ready; its log:\n{log}")]
    NotReady {
        /// Its port.
        port: u16,
        /// What it wrote.
        log: String,
    },
}

/// A NATS server of our own, with JetStream; stopped and removed when dropped. Anybody may come in, on `127.0.0.1`.
#[derive(Debug)]
pub struct Nats {
    folder: PathBuf,
    port: u16,
    process: Option<Postmaster>,
}

impl Nats {
    /// Starts one, and waits until JetStream is there.
    ///
    /// # Errors
    ///
    /// See [`NatsError`].
    pub async fn start() -> Result<Nats, NatsError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let program = program()?;
        let prepare = |path: PathBuf| move |source| ServerError::Prepare { path, source };
        let account = Account::choose().map_err(prepare("/etc/passwd".into()))?;
        let root = cluster::folder(account);
        cluster::make_directory(&root, account)?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let folder = root.join(format!("nats-{}-{serial}", process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(prepare(folder.clone()))?;
        }
        cluster::make_directory(&folder, account)?;
        let port = free_port()?;
        let store = folder.join("store").display().to_string();
        let arguments = ["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd", &store].map(str::to_owned);
        let process = Postmaster::start(account, &folder, program, &arguments)?;
        let mut nats = Nats { folder, port, process: Some(process) };
        nats.wait_until_ready().await?;
        Ok(nats)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    async fn wait_until_ready(&mut self) -> Result<(), NatsError> {
        let begun = Instant::now();
        while begun.elapsed() < READY_MAX {
            let ended = match &mut self.process {
                Some(process) => process.has_ended()?,
                None => true,
            };
            if ended {
                break;
            }
            if self.greeting().await.is_some_and(|line| line.contains("\"jetstream\":true")) {
                return Ok(());
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        Err(NatsError::NotReady { port: self.port, log: String::from_utf8_lossy(&log).into_owned() })
    }

    /// The line with which it greets whoever connects.
    async fn greeting(&self) -> Option<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        Some(line)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure here.
        if let Some(mut process) = self.process.take() {
            drop(process.signal(Signal::Kill));
            drop(process.reap());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The program that `REPLAT_NATS_SERVER` names, else the one where programs are.
fn program() -> Result<PathBuf, NatsError> {
    let looked: Vec<PathBuf> = match env::var_os(PROGRAM_VARIABLE) {
        Some(program) => vec![PathBuf::from(program)],
        None => {
            let path = env::var_os("PATH").unwrap_or_default();
            let usual = ["/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
            env::split_paths(&path).chain(usual).map(|folder| folder.join("nats-server")).collect()
        }
    };
    let found = looked.iter().find(|program| program.is_file()).cloned();
    found.ok_or(NatsError::NoProgram { looked })
}
