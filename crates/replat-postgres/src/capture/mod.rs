//! Evidence of what a system does, from a server at work: its catalogue, its statements, its log of changes, and whole
//! transactions from its log for people.
//!
//! Statements of users are never run. Values are hashed or put into buckets as they are read ([`secret`]), texts lose
//! their literals and comments ([`text`]), and what is not certain to hold no value is not kept. What cannot be had is
//! said with the reason and with the statement that would give it ([`Lacking`]).
//!
//! | tier | what | where |
//! |---|---|---|
//! | T0 | the catalogue | [`catalogue`] |
//! | T1 | `pg_stat_statements`, what came between two looks | [`statements`] |
//! | T2 | the log of changes, by a temporary slot | [`writes`] |
//! | T3 | the log for people, with a share of all transactions | [`log_file`], [`log_line`], [`sample`] |
//!
//! T0 and T1 can be had at once as well, without a capture: [`look()`].
//!
//! Absent on purpose: the file (the program writes lines as they come), and any setting that stays behind ([`rate`]).

pub mod catalogue;
pub mod columns;
mod course;
pub mod log_file;
pub mod log_line;
mod look;
pub mod pace;
pub mod rate;
pub mod sample;
pub mod secret;
pub mod statements;
pub mod text;
pub mod writes;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use replat_advise::evidence::{FORMAT, Head, Line, StatementSeen, Tier};
use replat_engine::EngineError;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use self::catalogue::Found;
use self::columns::WatchList;
use self::log_file::Following;
pub use self::look::look;
use self::pace::{Pace, Share};
use self::rate::RateBefore;
use self::secret::Secret;
use self::writes::Reading;
use crate::connect::{ConnectError, connect};
use crate::conninfo::ConnInfo;
use crate::error::on;
use crate::failpoint::crash_at;

/// What our sessions are called.
pub const APPLICATION: &str = "replat/capture";
/// The advisory lock of the one capture of a database.
const LOCK: [i32; 2] = [0x7265_706c, 0x6361_7074];

/// What could not be had, and how it could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// Of which tier.
    pub tier: Tier,
    /// Why not.
    pub why: String,
    /// The statement, setting or word that would give it, if there is one.
    pub by: Option<String>,
}

impl Lacking {
    fn of(tier: Tier, why: impl Into<String>) -> Lacking {
        Lacking { tier, why: why.into(), by: None }
    }

    fn by(self, by: impl Into<String>) -> Lacking {
        Lacking { by: Some(by.into()), ..self }
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tier = match self.tier {
            Tier::Catalogue => "T0 catalogue",
            Tier::Statements => "T1 statements",
            Tier::Writes => "T2 writes",
            Tier::Sample => "T3 sample",
            Tier::Trace => "T4 trace",
        };
        write!(f, "{tier}: {}", self.why)?;
        self.by.as_ref().map_or(Ok(()), |by| write!(f, "; {by}"))
    }
}

/// The server's own words, without what may be of a row.
fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => format!("{} ({})", server.message(), server.code().code()),
        None => error.to_string(),
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The database cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Another capture is at work there.
    #[error("another capture is at work on {database}")]
    Busy {
        /// The database's name.
        database: String,
    },
    /// There is no table to look at.
    #[error("{database} has no table of an application")]
    NoTables {
        /// The database's name.
        database: String,
    },
    /// What the server says.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A line could not be written.
    #[error("the evidence cannot be written")]
    Write(#[source] std::io::Error),
}

/// What is to be captured.
#[derive(Clone, Debug)]
pub struct Ask {
    /// How the database is reached.
    pub info: ConnInfo,
    /// What people call it.
    pub database: String,
    /// What the evidence is called.
    pub name: String,
    /// The server's log as a file of this machine, if it is to be read there.
    pub log: Option<PathBuf>,
    /// The share of transactions that the server is asked to log while this lasts; `None` to leave its setting alone.
    pub sample_rate: Option<Share>,
    /// How long it is to last.
    pub lasts: Duration,
}

/// Takes lines as they come.
pub trait Sink {
    /// Takes the first line, as far as it is known yet.
    ///
    /// # Errors
    ///
    /// If it could not be written.
    fn begin(&mut self, head: &Head) -> std::io::Result<()>;

    /// Takes a line; whether there is room for more.
    ///
    /// # Errors
    ///
    /// If it could not be written.
    fn take(&mut self, line: &Line) -> std::io::Result<Room>;
}

/// Whether more can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// More can be.
    Left,
    /// Nothing more.
    Full,
}

/// A capture under way.
pub struct Capture {
    client: Client,
    ask: Ask,
    database_there: String,
    counted_by: Option<String>,
    secret: Secret,
    found: Vec<Found>,
    list: WatchList,
    statements: Option<statements::Before>,
    reading: Option<Reading>,
    following: Option<Following>,
    sampled: Option<f64>,
    rate: Option<RateBefore>,
    /// What keeps the share at what is needed, if it is left to us.
    pace: Option<Pace>,
    lacking: Vec<Lacking>,
    /// When it began by the server's clock, and by ours.
    since: f64,
    began: Instant,
}

/// What a capture came to.
#[derive(Debug)]
pub struct Captured {
    /// The file's first line.
    pub head: Head,
    /// Statements with their counts.
    pub statements: Vec<StatementSeen>,
    /// Why the server's setting could not be put back, or a publication not be dropped, if it could not.
    pub not_restored: Option<EngineError>,
}

/// Whatever the text that reaches the database calls its sessions, ours have our name: lines of the log are told by it.
async fn session(info: &ConnInfo) -> Result<Client, ConnectError> {
    let info = ConnInfo { application_name: None, ..info.clone() };
    Ok(connect(&info, APPLICATION).await?.client)
}

/// The only session of its kind in the database, until it ends.
async fn alone(ask: &Ask) -> Result<Client, CaptureError> {
    let client = session(&ask.info).await?;
    let during = "beginning a capture";
    let settings = "SET lock_timeout = '5s'; SET statement_timeout = '60s'; SET idle_session_timeout = 0; \
         SET default_transaction_read_only = off";
    client.batch_execute(settings).await.map_err(on(&ask.database, during))?;
    let lock = "select pg_catalog.pg_try_advisory_lock($1, $2)";
    let row = client.query_one(lock, &[&LOCK[0], &LOCK[1]]).await.map_err(on(&ask.database, during))?;
    match row.get(0) {
        true => Ok(client),
        false => Err(CaptureError::Busy { database: ask.database.clone() }),
    }
}

/// Takes away what a capture that was killed left in the database: publications, and the setting if it is told.
///
/// # Errors
///
/// [`CaptureError::Busy`] while a capture is at work there; else what the server says.
pub async fn clean_up(ask: &Ask, rate: Option<&RateBefore>) -> Result<(), CaptureError> {
    let client = alone(ask).await?;
    if let Some(before) = rate {
        rate::restore(&client, &ask.database, before).await?;
    }
    writes::drop_publications(&client).await.map_err(on(&ask.database, "dropping publications"))?;
    Ok(())
}

/// Names the database to which a session belongs, without telling which it is; `None` if the server does not say.
async fn counted_by(client: &Client) -> Option<String> {
    // A standby counts for itself.
    let query = "select system_identifier::text || '/' || (select oid from pg_catalog.pg_database \
         where datname = pg_catalog.current_database())::text || '/' || pg_catalog.pg_is_in_recovery()::text \
         from pg_catalog.pg_control_system()";
    let row = client.query_one(query, &[]).await.ok()?;
    let digest = Sha256::digest(row.get::<_, String>(0).as_bytes());
    Some(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// What could be captured.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// The tiers that could be had.
    pub tiers: Vec<Tier>,
    /// What could not.
    pub lacking: Vec<Lacking>,
}

/// A session that only reads, and waits for nothing for long.
async fn reading(info: &ConnInfo, application: &str, database: &str) -> Result<Client, CaptureError> {
    let info = ConnInfo { application_name: None, ..info.clone() };
    let client = connect(&info, application).await?.client;
    let settings =
        "SET default_transaction_read_only = on; SET statement_timeout = '30s'; SET lock_timeout = '5s'";
    client.batch_execute(settings).await.map_err(on(database, "looking"))?;
    Ok(client)
}

/// Looks at what could be captured, and changes nothing.
///
/// # Errors
///
/// See [`CaptureError`].
pub async fn outlook(ask: &Ask) -> Result<Outlook, CaptureError> {
    let database = &ask.database;
    let client = reading(&ask.info, APPLICATION, database).await?;
    let (found, mut lacking) = catalogue::read(&client, database).await?;
    if found.is_empty() {
        return Err(CaptureError::NoTables { database: database.clone() });
    }
    let mut tiers = vec![Tier::Catalogue];
    let mut tell = |tier, there: Result<Vec<Lacking>, Lacking>| match there {
        Ok(but) => {
            tiers.push(tier);
            lacking.extend(but);
        }
        Err(why) => lacking.push(why),
    };
    tell(Tier::Statements, statements::begin(&client).await.map(|_| Vec::new()));
    tell(Tier::Writes, writes::outlook(&client, &found).await);
    let log = log_file::begin(session(&ask.info).await?, ask.log.as_deref()).await;
    let settings = log_file::Settings::read(&client).await.map_err(on(database, "reading its settings"))?;
    tell(
        Tier::Sample,
        log.and_then(|_| match ask.sample_rate.is_some() || settings.has_any() {
            true => Ok(settings.lacking()),
            false => Err(log_file::no_sample()),
        }),
    );
    Ok(Outlook { tiers, lacking })
}

impl Capture {
    /// Looks at everything for the first time and begins to read. What cannot be had is noted.
    ///
    /// `random` is the secret that values are hashed with. `remember` is told how the server's setting was, before it is
    /// changed; what it keeps is for [`clean_up`].
    ///
    /// # Errors
    ///
    /// See [`CaptureError`].
    pub async fn begin(
        ask: Ask,
        random: [u8; 32],
        remember: &mut dyn FnMut(&RateBefore) -> std::io::Result<()>,
    ) -> Result<Capture, CaptureError> {
        let client = alone(&ask).await?;
        let database = ask.database.clone();
        let who = "select pg_catalog.current_database()::text, \
             extract(epoch from pg_catalog.clock_timestamp())::float8";
        let row = client.query_one(who, &[]).await.map_err(on(&database, "beginning a capture"))?;
        let (database_there, since): (String, f64) = (row.get(0), row.get(1));
        let (found, mut lacking) = catalogue::read(&client, &database).await?;
        if found.is_empty() {
            return Err(CaptureError::NoTables { database });
        }
        let mut list = catalogue::watch_list(&found);
        let mut note = |why: Lacking| lacking.push(why);
        let statements = statements::begin(&client).await.map_err(&mut note).ok();
        if let Some(before) = &statements {
            statements::setting(&client, before).await.iter().for_each(|statement| list.hear(statement));
        }
        let following = match session(&ask.info).await {
            Ok(client) => log_file::begin(client, ask.log.as_deref()).await.map_err(&mut note).ok(),
            Err(error) => return Err(error.into()),
        };
        let mut capture = Capture {
            counted_by: counted_by(&client).await,
            client,
            database_there,
            secret: Secret::new(random),
            found,
            list,
            statements,
            reading: None,
            following,
            sampled: None,
            rate: None,
            pace: None,
            lacking,
            since,
            began: Instant::now(),
            ask,
        };
        capture.begin_to_read().await;
        capture.begin_sample(remember).await?;
        Ok(capture)
    }

    async fn begin_to_read(&mut self) {
        match writes::begin(&self.client, &self.ask.info, &self.found).await {
            Ok((reading, lacking)) => {
                self.reading = Some(reading);
                self.lacking.extend(lacking);
            }
            Err(why) => self.lacking.push(why),
        }
    }

    /// The log was found; whether there is something in it.
    async fn begin_sample(
        &mut self,
        remember: &mut dyn FnMut(&RateBefore) -> std::io::Result<()>,
    ) -> Result<(), CaptureError> {
        if self.following.is_none() {
            return Ok(());
        }
        let database = &self.ask.database;
        if let Some(share) = self.ask.sample_rate {
            match rate::before(&self.client, database).await {
                Ok(before) => {
                    let rate = match share {
                        Share::Fixed(rate) => rate,
                        Share::Needed => {
                            self.pace = Pace::begin(&self.client, self.ask.lasts).await;
                            self.pace.as_ref().map_or(pace::CAUTIOUS, Pace::share)
                        }
                    };
                    self.sampled = Some(rate);
                    remember(&before).map_err(CaptureError::Write)?;
                    crash_at("capture.remembered");
                    let set = rate::set(&self.client, database, rate).await;
                    crash_at("capture.sampling");
                    self.rate = Some(before);
                    set?;
                }
                Err(EngineError::Precondition { what, remedy }) => {
                    self.lacking.push(Lacking::of(Tier::Sample, what).by(remedy));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let settings =
            log_file::Settings::read(&self.client).await.map_err(on(database, "reading its settings"))?;
        let rate = self.sampled.filter(|_| self.rate.is_some()).unwrap_or(settings.rate);
        self.sampled = (!settings.is_all).then_some(rate);
        if rate == 0.0 && !settings.is_all {
            self.lacking.push(log_file::no_sample());
            self.following = None;
            self.sampled = None;
            return Ok(());
        }
        self.lacking.extend(settings.lacking());
        Ok(())
    }

    fn open(&self, sink: &mut dyn Sink) -> std::io::Result<Room> {
        sink.begin(&self.head(self.since))?;
        for found in &self.found {
            if sink.take(&Line::Table(found.seen.clone()))? == Room::Full {
                return Ok(Room::Full);
            }
        }
        Ok(Room::Left)
    }

    /// The tiers that are captured.
    pub fn tiers(&self) -> Vec<Tier> {
        let tiers = [
            (Tier::Catalogue, true),
            (Tier::Statements, self.statements.is_some()),
            (Tier::Writes, self.reading.is_some()),
            (Tier::Sample, self.following.is_some()),
        ];
        tiers.into_iter().filter_map(|(tier, there)| there.then_some(tier)).collect()
    }

    /// What cannot be had.
    pub fn lacking(&self) -> &[Lacking] {
        &self.lacking
    }

    fn head(&self, until: f64) -> Head {
        Head {
            format: FORMAT.to_owned(),
            name: self.ask.name.clone(),
            span: Some((self.since, until)),
            counted_by: self.counted_by.clone(),
            hashed: Some(self.secret.name()),
            sampled: self.sampled,
            lacking: self.lacking.iter().map(Lacking::to_string).collect(),
            ..Head::default()
        }
    }
}
