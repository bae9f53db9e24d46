//! Throwaway PostgreSQL servers.
//!
//! Real servers, made fit for logical replication, that stop and vanish when their [`Server`] is dropped, when
//! the test panics, and also when the whole test process is killed.
//!
//! ```no_run
//! # async fn example() -> Result<(), replat_testkit::server::ServerError> {
//! use replat_testkit::Server;
//!
//! let server = Server::start().await?;
//! server.create_database("shop").await?;
//! server.execute("shop", "create table t (id int primary key)").await?;
//! let client = server.client("shop").await?;
//! # Ok(()) }
//! ```

pub(crate) mod account;
mod binaries;
pub(crate) mod cluster;
pub(crate) mod process;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Config, NoTls};

use account::Account;
pub use binaries::{BIN_VARIABLE, Binaries, PgVersion};
use process::Postmaster;
pub use process::Signal;

/// The environment variable that names the major release of the servers that play blue.
pub const BLUE_VARIABLE: &str = "REPLAT_TEST_BLUE";
/// The environment variable that names the major release of the servers that play green.
pub const GREEN_VARIABLE: &str = "REPLAT_TEST_GREEN";

/// How long a server may take until it accepts connections, crash recovery included.
const READY_MAX: Duration = Duration::from_secs(120);
/// How often a server is asked whether it is ready.
const READY_EVERY: Duration = Duration::from_millis(20);
/// How many ports are tried before we say that none is free.
const PORT_TRIES: u32 = 8;

/// What every server of this crate is started with.
const SETTINGS: &[(&str, &str)] = &[
    ("wal_level", "logical"),
    ("max_wal_senders", "20"),
    ("max_replication_slots", "20"),
    ("max_prepared_transactions", "10"),
    ("max_connections", "200"),
    ("max_wal_size", "4GB"),
    ("listen_addresses", "127.0.0.1"),
    ("log_line_prefix", "%m [%p] %a %d: "),
];
/// What makes a server quick and forgetful of power cuts; killing its processes loses nothing all the same. Where nothing
/// is flushed checkpoints cost little, so the log that tests leave is kept small.
const FORGETFUL: &[(&str, &str)] =
    &[("fsync", "off"), ("full_page_writes", "off"), ("max_wal_size", "256MB"), ("min_wal_size", "80MB")];

/// Why a server did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No PostgreSQL server programs on this machine.
    #[error(
        "no directory holds both postgres and initdb; install the PostgreSQL server or set {BIN_VARIABLE} (looked in {looked:?})"
    )]
    NoBinaries {
        /// The directories that were looked at.
        looked: Vec<PathBuf>,
    },
    /// No PostgreSQL server programs of the major release that was asked for.
    #[error(
        "no directory holds postgres and initdb of PostgreSQL {major}; install it or set {BIN_VARIABLE}_{major} (looked in {looked:?})"
    )]
    NoMajor {
        /// The release.
        major: u32,
        /// The directories that were looked at.
        looked: Vec<PathBuf>,
    },
    /// An environment variable does not name a major release.
    #[error("{variable} is {value:?}, which is no major release of PostgreSQL, such as 17")]
    NotAMajor {
        /// The variable.
        variable: String,
        /// What it says.
        value: String,
    },
    /// A folder, a file or a program could not be used.
    #[error("cannot use {}", path.display())]
    Prepare {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A program ran and failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Its name.
        program: String,
        /// What it printed to its standard error.
        said: String,
    },
    /// The server ended, or did not accept connections in time.
    #[error("the server on port {port} did not become ready; its log ends with:\n{log}")]
    NotReady {
        /// Its port.
        port: u16,
        /// The last lines of its log.
        log: String,
    },
    /// The operating system refused a signal or a wait.
    #[error("the process of the server on port {port} cannot be reached")]
    Process {
        /// Its port.
        port: u16,
        /// What the system says.
        source: io::Error,
    },
    /// The server refused a statement or a connection.
    #[error("the server on port {port} refused")]
    Database {
        /// Its port.
        port: u16,
        /// What it said.
        source: tokio_postgres::Error,
    },
}

/// How a server is to be; see [`Server::builder`].
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    durable: bool,
    settings: Vec<(String, String)>,
    release: Release,
}

/// Of which major release a server is to be.
#[derive(Clone, Debug, Default)]
enum Release {
    /// Of the one that [`Binaries::find`] finds.
    #[default]
    Usual,
    /// Of this one.
    Major(u32),
    /// Of the one that an environment variable names; of the usual one if it is not set.
    NamedBy(&'static str),
}

impl Release {
    fn binaries(&self) -> Result<Binaries, ServerError> {
        match self {
            Release::Usual => Binaries::find(),
            Release::Major(major) => Binaries::of_major(*major),
            Release::NamedBy(variable) => match std::env::var(variable) {
                Err(_) => Binaries::find(),
                Ok(value) => {
                    let variable = (*variable).to_owned();
                    let major = value.parse().map_err(|_| ServerError::NotAMajor { variable, value })?;
                    Binaries::of_major(major)
                }
            },
        }
    }
}

impl ServerBuilder {
    /// Every commit reaches the disk, as in production; slower.
    #[must_use]
    pub fn durable(mut self) -> ServerBuilder {
        self.durable = true;
        self
    }

    /// Sets a configuration parameter, as `postgres -c name=value`; a later one wins.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> ServerBuilder {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The server is of this major release, not of the newest that is there.
    #[must_use]
    pub fn major(mut self, major: u32) -> ServerBuilder {
        self.release = Release::Major(major);
        self
    }

    /// The server plays blue: it is of the major release that `REPLAT_TEST_BLUE` names, if that is set.
    #[must_use]
    pub fn blue(mut self) -> ServerBuilder {
        self.release = Release::NamedBy(BLUE_VARIABLE);
        self
    }

    /// The server plays green: it is of the major release that `REPLAT_TEST_GREEN` names, if that is set.
    #[must_use]
    pub fn green(mut self) -> ServerBuilder {
        self.release = Release::NamedBy(GREEN_VARIABLE);
        self
    }

    /// Makes the data directory, starts the server and waits until it accepts connections.
    ///
    /// # Errors
    ///
    /// See [`ServerError`]; whatever was made is removed again.
    pub async fn start(self) -> Result<Server, ServerError> {
        let release = self.release.clone();
        let (binaries, account, folder) = tokio::task::spawn_blocking(move || prepare(&release))
            .await
            .expect("preparing a server does not panic")?;
        let port = free_port()?;
        let mut server = Server { binaries, account, folder, port, options: self, postmaster: None };
        for _ in 1..PORT_TRIES {
            match server.run().await {
                Err(ServerError::NotReady { log, .. }) if log.contains("could not bind") => {
                    server.port = free_port()?;
                }
                other => return other.map(|()| server),
            }
        }
        server.run().await.map(|()| server)
    }

    fn arguments(&self, folder: &Path, port: u16) -> Vec<String> {
        let socket = folder.join("socket").display().to_string();
        let forgetful: &[_] = if self.durable { &[] } else { FORGETFUL };
        let fixed = SETTINGS.iter().chain(forgetful).map(|(name, value)| format!("{name}={value}"));
        let own = self.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let places = [format!("unix_socket_directories={socket}"), format!("port={port}")];
        let settings = fixed.chain(own).chain(places);
        let data = ["-D".to_owned(), folder.join("data").display().to_string()];
        data.into_iter().chain(settings.flat_map(|setting| ["-c".to_owned(), setting])).collect()
    }
}

fn prepare(release: &Release) -> Result<(Binaries, Account, PathBuf), ServerError> {
    let account =
        Account::choose().map_err(|source| ServerError::Prepare { path: "/etc/passwd".into(), source })?;
    let binaries = release.binaries()?;
    let folder = cluster::create(&binaries, account)?;
    Ok((binaries, account, folder))
}

/// A port on which nobody listens now.
pub(crate) fn free_port() -> Result<u16, ServerError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(|source| ServerError::Prepare { path: "127.0.0.1:0".into(), source })
}

/// A PostgreSQL server of our own; stopped and removed when dropped.
///
/// The superuser is `postgres`, without a password, on `127.0.0.1`.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    account: Account,
    folder: PathBuf,
    port: u16,
    options: ServerBuilder,
    /// `None` while the server is stopped.
    postmaster: Option<Postmaster>,
}

impl Server {
    /// A server with the usual settings: logical WAL level, and no wait for the disk.
    ///
    /// # Errors
    ///
    /// See [`ServerError`].
    pub async fn start() -> Result<Server, ServerError> {
        Server::builder().start().await
    }

    /// A server with settings of one's own.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// A streaming standby of this server, called `standby` there, which takes reading sessions; its settings are this
    /// one's, but for those that are given.
    ///
    /// # Errors
    ///
    /// See [`ServerError`]; whatever was made is removed again.
    pub async fn standby(&self, settings: &[(&str, &str)]) -> Result<Server, ServerError> {
        let (binaries, account, primary) = (self.binaries.clone(), self.account, self.port);
        let copied = tokio::task::spawn_blocking({
            let binaries = binaries.clone();
            move || cluster::copy_of(&binaries, account, primary)
        });
        let folder = copied.await.expect("copying a server does not panic")?;
        let own = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let settings = self.options.settings.iter().cloned().chain(own).collect();
        let options = ServerBuilder { settings, ..self.options.clone() };
        let mut server = Server { binaries, account, folder, port: free_port()?, options, postmaster: None };
        server.run().await.map(|()| server)
    }

    /// The port on `127.0.0.1`; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The release that runs.
    pub fn version(&self) -> PgVersion {
        self.binaries.version
    }

    /// The folder with the server's data, socket and log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The connection string of a database on this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new session as superuser; its connection runs as a task of the current runtime.
    ///
    /// # Errors
    ///
    /// [`ServerError::Database`] if the server does not let us in.
    pub async fn client(&self, database: &str) -> Result<Client, ServerError> {
        connect(&self.url(database)).await.map_err(|source| self.refused(source))
    }

    /// Makes an empty database.
    ///
    /// # Errors
    ///
    /// [`ServerError::Database`], for example if it is there already.
    pub async fn create_database(&self, name: &str) -> Result<(), ServerError> {
        // From 15 on a new database is written to the log, block by block, unless one says otherwise.
        let how = if self.binaries.version.major >= 15 { " strategy file_copy" } else { "" };
        self.execute("postgres", &format!("create database {}{how}", quote_identifier(name))).await
    }

    /// Runs one or more statements in a session of their own.
    ///
    /// # Errors
    ///
    /// [`ServerError::Database`] with the first error.
    pub async fn execute(&self, database: &str, statements: &str) -> Result<(), ServerError> {
        let client = self.client(database).await?;
        client.batch_execute(statements).await.map_err(|source| self.refused(source))
    }

    /// Runs the statements in a file of plain SQL (no psql commands).
    ///
    /// # Errors
    ///
    /// [`ServerError::Prepare`] if the file cannot be read, else as [`Server::execute`].
    pub async fn execute_file(&self, database: &str, path: &Path) -> Result<(), ServerError> {
        let statements = fs::read_to_string(path)
            .map_err(|source| ServerError::Prepare { path: path.to_owned(), source })?;
        self.execute(database, &statements).await
    }

    /// Stops the server in an orderly way (fast shutdown); its data stay.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`] if the system refuses.
    pub async fn stop(&mut self) -> Result<(), ServerError> {
        self.end(|postmaster| postmaster.signal(Signal::Fast)).await
    }

    /// Ends the postmaster and all its processes by SIGKILL; the next start recovers from the log.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`] if the system refuses.
    pub async fn kill(&mut self) -> Result<(), ServerError> {
        self.end(|postmaster| postmaster.signal_all(Signal::Kill)).await
    }

    /// Starts the server again on its port, after stopping it if it runs.
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::start`].
    pub async fn restart(&mut self) -> Result<(), ServerError> {
        self.stop().await?;
        self.run().await
    }

    /// Lets every process of the server stand still, as a hanging machine would.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`] if the system refuses.
    pub fn pause(&self) -> Result<(), ServerError> {
        self.signal_all(Signal::Pause)
    }

    /// Ends a [`Server::pause`].
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`] if the system refuses.
    pub fn resume(&self) -> Result<(), ServerError> {
        self.signal_all(Signal::Resume)
    }

    /// The last `lines` lines of the server's log; empty if there is none yet.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Leaves the server running after our own end, for a person to look at; its process id, by which that person
    /// stops it (`kill -INT`), or `None` if it does not run.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`] if the watchdog cannot be told; it then stops the server when we end.
    pub fn keep(mut self) -> Result<Option<u32>, ServerError> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(None) };
        let kept = postmaster.relieve().map_err(|source| self.lost(source));
        // Its drop would remove the folder.
        std::mem::forget(self);
        kept.map(|()| Some(postmaster.id()))
    }

    fn signal_all(&self, signal: Signal) -> Result<(), ServerError> {
        match &self.postmaster {
            Some(postmaster) => postmaster.signal_all(signal).map_err(|source| self.lost(source)),
            None => Ok(()),
        }
    }

    async fn end(&mut self, signal: fn(&Postmaster) -> io::Result<()>) -> Result<(), ServerError> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        let ended = tokio::task::spawn_blocking(move || {
            signal(&postmaster)?;
            postmaster.reap()
        });
        ended.await.expect("stopping a server does not panic").map_err(|source| self.lost(source))
    }

    async fn run(&mut self) -> Result<(), ServerError> {
        let arguments = self.options.arguments(&self.folder, self.port);
        let program = self.binaries.program("postgres");
        let started = Postmaster::start(self.account, &self.folder, program, &arguments);
        let postmaster = started.map_err(|source| self.lost(source))?;
        let ready = wait_until_ready(self.port, &self.folder, self.postmaster.insert(postmaster)).await;
        match ready.map_err(|source| self.lost(source))? {
            true => Ok(()),
            false => {
                self.end(|postmaster| postmaster.signal(Signal::Immediate)).await?;
                Err(ServerError::NotReady { port: self.port, log: self.log_tail(12) })
            }
        }
    }

    fn refused(&self, source: tokio_postgres::Error) -> ServerError {
        ServerError::Database { port: self.port, source }
    }

    fn lost(&self, source: io::Error) -> ServerError {
        ServerError::Process { port: self.port, source }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure here, and the watchdog would be no wiser.
        if let Some(mut postmaster) = self.postmaster.take() {
            drop(postmaster.signal_all(Signal::Resume));
            drop(postmaster.signal(Signal::Immediate));
            drop(postmaster.reap());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Whether the postmaster came to accept connections before it ended or the time was over.
async fn wait_until_ready(port: u16, folder: &Path, postmaster: &mut Postmaster) -> io::Result<bool> {
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?connect_timeout=5");
    let data = folder.join("data").display().to_string();
    let begun = Instant::now();
    while begun.elapsed() < READY_MAX {
        if postmaster.has_ended()? {
            return Ok(false);
        }
        // Somebody else's server may have got the port: then ours ends soon, and the next turn sees it.
        if data_directory(&url).await.is_some_and(|answer| answer == data) {
            return Ok(true);
        }
        tokio::time::sleep(READY_EVERY).await;
    }
    Ok(false)
}

async fn data_directory(url: &str) -> Option<String> {
    let client = connect(url).await.ok()?;
    let row = client.query_one("select current_setting('data_directory')", &[]).await.ok()?;
    row.try_get(0).ok()
}

/// A session at `url`, without TLS; its connection runs as a task of the current runtime.
///
/// # Errors
///
/// What the driver says.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = url.parse::<Config>()?.connect(NoTls).await?;
    // The client's own calls report a lost connection, so the task's result has no reader.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
