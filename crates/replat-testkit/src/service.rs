//! Throwaway servers of other makers: one process, one folder, one port.
//!
//! Like [`Server`](crate::Server) they are real, and vanish with their owner, even when the test process is killed.

use std::env;
use std::fmt;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::server::account::Account;
use crate::server::process::Postmaster;
use crate::server::{ServerError, Signal, cluster, free_port};

/// How long a server may take until it answers.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often it is asked.
const READY_EVERY: Duration = Duration::from_millis(20);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No program on this machine.
    #[error("there is no {program}; install the package {package}, or set {variable} (looked in {looked:?})")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// The package that has it, on Debian.
        package: &'static str,
        /// The environment variable that names it.
        variable: &'static str,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A folder, a port or an account could not be had.
    #[error(transparent)]
    Prepare(#[from] ServerError),
    /// The system refused a process or a signal.
    #[error("the process of {program} cannot be reached")]
    Process {
        /// The program.
        program: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// It ended, or did not answer in time.
    #[error("{program} on port {port} did not become ready; its log:\n{log}")]
    NotReady {
        /// The program.
        program: &'static str,
        /// Its port.
        port: u16,
        /// What it wrote.
        log: String,
    },
}

/// What is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Make {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    /// The environment variable that names the program, and ends the search.
    pub(crate) variable: &'static str,
}

/// Says whether the server at this port answers.
type Ready = Box<dyn Fn(u16) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// One server process, which can be stopped and started again with what it has stored; stopped and removed when
/// dropped.
pub struct Service {
    make: Make,
    path: PathBuf,
    account: Account,
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    tls_port: Option<u16>,
    arguments: Vec<String>,
    ready: Ready,
    process: Option<Postmaster>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("program", &self.make.program)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A server that is not started yet. `arguments` makes its command line from its folder, its port, and the port for
    /// TLS if it is to have one.
    pub(crate) fn new(
        make: Make,
        has_tls: bool,
        arguments: impl FnOnce(&Path, u16, Option<u16>) -> Result<Vec<String>, ServiceError>,
    ) -> Result<Service, ServiceError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let path = find(make)?;
        let prepare = |path: PathBuf| move |source| ServerError::Prepare { path, source };
        let account = Account::choose().map_err(prepare("/etc/passwd".into()))?;
        let root = cluster::folder(account);
        cluster::make_directory(&root, account)?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let folder = root.join(format!("{}-{}-{serial}", make.program, process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(prepare(folder.clone()))?;
        }
        cluster::make_directory(&folder, account)?;
        let port = free_port()?;
        let tls_port = if has_tls { Some(free_port()?) } else { None };
        let arguments = arguments(&folder, port, tls_port)?;
        let ready: Ready = Box::new(|_| Box::pin(std::future::ready(true)));
        Ok(Service { make, path, account, folder, port, tls_port, arguments, ready, process: None })
    }

    /// The same, started. `ready` says whether the server at a port answers as it should.
    pub(crate) async fn started(
        mut self,
        ready: impl Fn(u16) -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync + 'static,
    ) -> Result<Service, ServiceError> {
        self.ready = Box::new(ready);
        self.start_again().await?;
        Ok(self)
    }

    /// Where it is reached: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it is reached under TLS.
    ///
    /// # Panics
    ///
    /// If it was started without certificates.
    pub fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port.expect("it was started with certificates"))
    }

    /// Starts it with what it has stored, at the same address, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub async fn start_again(&mut self) -> Result<(), ServiceError> {
        let unreachable = |source| ServiceError::Process { program: self.make.program, source };
        let started = Postmaster::start(self.account, &self.folder, self.path.clone(), &self.arguments);
        self.process = Some(started.map_err(unreachable)?);
        let begun = Instant::now();
        while begun.elapsed() < READY_MAX {
            let ended = match &mut self.process {
                Some(process) => process.has_ended().map_err(unreachable)?,
                None => true,
            };
            if ended {
                break;
            }
            if (self.ready)(self.port).await {
                return Ok(());
            }
            tokio::time::sleep(READY_EVERY).await;
        }
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        Err(ServiceError::NotReady { program: self.make.program, port: self.port, log })
    }

    /// Ends the process without a word; what it has acknowledged stays.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Process`].
    pub fn kill(&mut self) -> Result<(), ServiceError> {
        let unreachable = |source| ServiceError::Process { program: self.make.program, source };
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::Kill).and_then(|()| process.reap()).map_err(unreachable)
    }

    /// The process; `None` while it does not run.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Postmaster::id)
    }

    /// Has the process stand still, or go on.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Process`].
    pub fn signal(&self, signal: Signal) -> Result<(), ServiceError> {
        let unreachable = |source| ServiceError::Process { program: self.make.program, source };
        self.process.as_ref().map_or(Ok(()), |process| process.signal(signal)).map_err(unreachable)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure here.
        drop(self.kill());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The program that the variable names, else the one where programs are.
fn find(make: Make) -> Result<PathBuf, ServiceError> {
    let looked: Vec<PathBuf> = match env::var_os(make.variable) {
        Some(path) => vec![path.into()],
        None => {
            let path = env::var_os("PATH").unwrap_or_default();
            let usual = ["/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
            env::split_paths(&path).chain(usual).map(|folder| folder.join(make.program)).collect()
        }
    };
    let found = looked.iter().find(|path| path.is_file()).cloned();
    let Make { program, package, variable } = make;
    found.ok_or(ServiceError::NoProgram { program, package, variable, looked })
}
