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
mod lacking;
pub mod log_file;
pub mod log_line;
mod look;
pub mod places;
pub mod rate;
pub mod sample;
pub mod secret;
pub mod statements;
pub mod text;
pub mod writes;

use std::path::PathBuf;
use std::pin::pin;

use replat_advise::evidence::{FORMAT, Head, Line, StatementSeen, Tier};
use replat_engine::EngineError;
use replat_model::ids::Lsn;
use tokio::sync::{mpsc, watch};
use tokio_postgres::Client;

use self::catalogue::Found;
use self::columns::WatchList;
pub use self::lacking::Lacking;
use self::log_file::{Followed, Following};
pub use self::look::look;
pub use self::places::{Placing, place_name};
use self::rate::RateBefore;
use self::secret::Secret;
use self::writes::{Read, Reading};
use crate::connect::{ConnectError, connect};
use crate::conninfo::ConnInfo;
use crate::error::on;
use crate::failpoint::crash_at;

/// What our sessions are called.
pub const APPLICATION: &str = "replat/capture";
/// The advisory lock of the one capture of a database.
const LOCK: [i32; 2] = [0x7265_706c, 0x6361_7074];
/// How many lines may wait to be written.
const QUEUE: usize = 1_024;

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
    pub sample_rate: Option<f64>,
    /// The contexts of whose keys it is told in which partition they are.
    pub placings: Vec<Placing>,
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
    secret: Secret,
    found: Vec<Found>,
    list: WatchList,
    statements: Option<statements::Before>,
    reading: Option<Reading>,
    following: Option<Following>,
    sampled: Option<f64>,
    rate: Option<RateBefore>,
    lacking: Vec<Lacking>,
    since: f64,
}

/// What a capture came to.
#[derive(Debug)]
pub struct Captured {
    /// The file's first line.
    pub head: Head,
    /// Statements with their counts.
    pub statements: Vec<StatementSeen>,
    /// Why the server's setting could not be put back, if it could not.
    pub not_restored: Option<EngineError>,
}

async fn session(ask: &Ask) -> Result<Client, ConnectError> {
    let info = ConnInfo { application_name: None, ..ask.info.clone() };
    Ok(connect(&info, APPLICATION).await?.client)
}

/// The only session of its kind in the database, until it ends.
async fn alone(ask: &Ask) -> Result<Client, CaptureError> {
    let client = session(ask).await?;
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
    let log = log_file::begin(session(ask).await?, ask.log.as_deref()).await;
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
        for (number, placing) in ask.placings.iter().enumerate() {
            if let Some(lacking) = placing.watch(number, &mut list) {
                note(lacking);
            }
        }
        let statements = statements::begin(&client).await.map_err(&mut note).ok();
        if let Some(before) = &statements {
            statements::setting(&client, before).await.iter().for_each(|statement| list.hear(statement));
        }
        let following = match session(&ask).await {
            Ok(client) => log_file::begin(client, ask.log.as_deref()).await.map_err(&mut note).ok(),
            Err(error) => return Err(error.into()),
        };
        let mut capture = Capture {
            client,
            database_there,
            secret: Secret::new(random).placing(ask.placings.clone()),
            found,
            list,
            statements,
            reading: None,
            following,
            sampled: None,
            rate: None,
            lacking,
            since,
            ask,
        };
        capture.begin_to_read().await;
        capture.begin_sample(remember).await?;
        Ok(capture)
    }

    async fn begin_to_read(&mut self) {
        let slot = format!("replat_capture_{}", std::process::id());
        let info = ConnInfo { application_name: None, ..self.ask.info.clone() };
        match writes::begin(&self.client, &info, &self.found, &slot).await {
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
        if let Some(rate) = self.ask.sample_rate {
            match rate::before(&self.client, database).await {
                Ok(before) => {
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
        let rate = self.ask.sample_rate.filter(|_| self.rate.is_some()).unwrap_or(settings.rate);
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
            hashed: Some(self.secret.name()),
            sampled: self.sampled,
            lacking: self.lacking.iter().map(Lacking::to_string).collect(),
            ..Head::default()
        }
    }

    /// Hands lines to `sink` until `until` comes true or there is no more room; then takes in what was done before that,
    /// puts back what was set, and looks for the last time.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Write`]; what was set is put back all the same. What else fails is told as lacking.
    pub async fn run(
        mut self,
        sink: &mut dyn Sink,
        until: impl Future<Output = ()>,
    ) -> Result<Captured, CaptureError> {
        let opened = self.open(sink);
        let (lines, mut came) = mpsc::channel(QUEUE);
        let (end_writes, writes_end) = watch::channel(None);
        let (end_sample, sample_end) = watch::channel(false);
        let (reading, following) = (self.reading.take(), self.following.take());
        let has_writes = reading.is_some();
        let written = {
            let (for_sample, for_statements) = (lines.clone(), lines.clone());
            let statements_end = end_sample.subscribe();
            let (list, secret) = (&self.list, &self.secret);
            let reading = async {
                match reading {
                    Some(reading) => writes::read(reading, list, secret, lines, writes_end).await,
                    None => Read::default(),
                }
            };
            let database = &self.database_there;
            let following = async {
                match following {
                    Some(following) => {
                        log_file::follow(following, list, secret, database, for_sample, sample_end).await
                    }
                    None => Followed::default(),
                }
            };
            let counting = async {
                if let Some(before) = &self.statements {
                    statements::tell(&self.client, before, for_statements, statements_end).await;
                }
            };
            let mut tiers = pin!(async {
                let (read, followed, ()) = tokio::join!(reading, following, counting);
                (read, followed)
            });
            let mut until = pin!(until);
            let (mut done, mut ending) = (None, false);
            let mut taking = Taking { sink, full: false, failed: None };
            taking.note(opened);
            let mut over = false;
            loop {
                if (over || taking.is_over()) && !ending {
                    ending = true;
                    end_sample.send_replace(true);
                    let last = if has_writes { now(&self.client).await } else { None };
                    end_writes.send_replace(Some(last.unwrap_or(Lsn(0))));
                }
                if ending && done.is_some() {
                    break;
                }
                if taking.is_over() {
                    // Who sends learns of it at once.
                    came.close();
                }
                tokio::select! {
                    both = &mut tiers, if done.is_none() => done = Some(both),
                    Some(line) = came.recv() => taking.take_with(&line, secret),
                    () = &mut until, if !ending => over = true,
                }
            }
            while let Ok(line) = came.try_recv() {
                taking.take_with(&line, secret);
            }
            let failed = taking.failed;
            (done, failed)
        };
        let (done, failed) = written;
        let not_restored = self.restore().await;
        drop(writes::drop_publications(&self.client).await);
        if let Some(error) = failed {
            return Err(CaptureError::Write(error));
        }
        self.note(done.unwrap_or_default());
        Ok(self.captured(not_restored).await)
    }

    async fn restore(&mut self) -> Option<EngineError> {
        let before = self.rate.as_ref()?;
        // The session may have been lost with the server.
        let first = rate::restore(&self.client, &self.ask.database, before).await;
        match first {
            Ok(()) => None,
            Err(first) => match session(&self.ask).await {
                Ok(client) => rate::restore(&client, &self.ask.database, before).await.err(),
                Err(_) => Some(first),
            },
        }
    }

    fn note(&mut self, (read, followed): (Read, Followed)) {
        if read.cut > 0 {
            let why =
                format!("of {} transactions only the first {} rows were kept", read.cut, writes::ROWS_MAX);
            self.lacking.push(Lacking::of(Tier::Writes, why));
        }
        if followed.passed_over > 0 {
            let why =
                format!("{} lines of the log were not understood, and passed over", followed.passed_over);
            self.lacking.push(Lacking::of(Tier::Sample, why));
        }
        if followed.untold > 0 {
            let why = format!("the log does not tell the parameters of {} statements", followed.untold);
            self.lacking.push(Lacking::of(Tier::Sample, why));
        }
        self.lacking.extend(read.broke.into_iter().chain(followed.broke));
    }

    async fn captured(mut self, not_restored: Option<EngineError>) -> Captured {
        let mut statements = Vec::new();
        if let Some(before) = self.statements.take() {
            match statements::end(&self.client, &before).await {
                Ok((seen, lacking)) => {
                    statements = seen;
                    self.lacking.extend(lacking);
                }
                Err(why) => self.lacking.push(why),
            }
        }
        let clock = "select extract(epoch from pg_catalog.clock_timestamp())::float8";
        let until = self.client.query_one(clock, &[]).await.map_or(self.since, |row| row.get(0));
        Captured { head: self.head(until), statements, not_restored }
    }
}

/// Lines on their way to a sink, for as long as it takes them.
struct Taking<'a> {
    sink: &'a mut dyn Sink,
    full: bool,
    failed: Option<std::io::Error>,
}

impl Taking<'_> {
    fn is_over(&self) -> bool {
        self.full || self.failed.is_some()
    }

    fn take(&mut self, line: &Line) {
        if !self.is_over() {
            let taken = self.sink.take(line);
            self.note(taken);
        }
    }

    /// Takes a line, and what was learned with it of where keys are.
    fn take_with(&mut self, line: &Line, secret: &Secret) {
        self.take(line);
        secret.places().fresh().into_iter().for_each(|place| self.take(&Line::Place(place)));
    }

    fn note(&mut self, taken: std::io::Result<Room>) {
        match taken {
            Ok(Room::Left) => {}
            Ok(Room::Full) => self.full = true,
            Err(error) => self.failed = Some(error),
        }
    }
}

/// How far the log is now. What was written last is a message of ours, so that the stream gets there even if nobody
/// else writes.
async fn now(client: &Client) -> Option<Lsn> {
    let message = "select pg_catalog.pg_logical_emit_message(true, 'replat.capture', 'end')::text";
    client.query_one(message, &[]).await.ok()?.get::<_, String>(0).parse().ok()
}
