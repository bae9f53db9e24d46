//! The server's log as it grows: over SQL, or from a file of this machine.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use replat_advise::evidence::{Line, Tier};
use tokio::sync::{mpsc, watch};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::columns::WatchList;
use super::log_line::{Form, Records};
use super::pace::Progress;
use super::sample::Sampled;
use super::secret::Secret;
use super::writes::{AGAIN_EVERY, AGAIN_MAX};
use super::{Lacking, session};
use crate::conninfo::ConnInfo;
use crate::sql::quote_ident;

/// How often is looked for more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How much is read at once. Unit: bytes.
const PIECE: i64 = 1 << 20;
/// How long what was logged before the end may take to come.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// A server that goes away answers with an error before the connection ends, which takes so long at most…
const CLOSED_MAX: Duration = Duration::from_secs(2);
/// …and is looked at so often.
const CLOSED_EVERY: Duration = Duration::from_millis(10);
/// The server writes its log in its own time: after the end, it is looked at until it has not grown for so many looks.
const QUIET_LOOKS: u32 = 2;

/// Where the log is.
#[derive(Debug)]
enum Place {
    /// On the server, by the name that the server gives it.
    Server {
        client: Client,
        path: String,
    },
    Here(PathBuf),
}

/// What is read as the log grows.
#[derive(Debug)]
pub struct Following {
    place: Place,
    form: Form,
    at: u64,
    /// How far the log's clock is from UTC. Unit: seconds.
    offset: f64,
}

/// What the server's settings say of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The share of transactions that are logged as a whole.
    pub rate: f64,
    /// Whether all statements are logged anyway.
    pub is_all: bool,
    /// Whether slow statements of other transactions are logged as well.
    pub slow_ones: bool,
    /// Whether lines tell the parameters of statements.
    pub has_parameters: bool,
}

impl Settings {
    /// As they are now.
    pub async fn read(client: &Client) -> Result<Settings, tokio_postgres::Error> {
        let query = "select current_setting('log_transaction_sample_rate')::float8, current_setting('log_statement'), \
             (select setting::int8 from pg_catalog.pg_settings where name = 'log_min_duration_statement'), \
             (select setting::int8 from pg_catalog.pg_settings where name = 'log_parameter_max_length')";
        let row = client.query_one(query, &[]).await?;
        let (rate, statements, slow, parameters): (f64, String, Option<i64>, Option<i64>) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        Ok(Settings {
            rate,
            is_all: statements == "all" || slow == Some(0),
            slow_ones: slow.is_some_and(|ms| ms > 0),
            has_parameters: parameters != Some(0),
        })
    }
}

impl Settings {
    /// Whether any transaction is logged as a whole.
    pub fn has_any(&self) -> bool {
        self.is_all || self.rate > 0.0
    }

    /// What makes the sample worse than it could be.
    pub fn lacking(&self) -> Vec<Lacking> {
        let slow = lacks(
            "slow statements of other transactions are in the log as well, and pass for whole transactions",
        )
        .by("ALTER SYSTEM SET log_min_duration_statement = -1; SELECT pg_reload_conf()");
        let untold = lacks("the log does not tell parameters, so that it is not known which rows were read")
            .by("ALTER SYSTEM SET log_parameter_max_length = -1; SELECT pg_reload_conf()");
        let is_so = [(self.slow_ones, slow), (!self.has_parameters, untold)];
        is_so.into_iter().filter_map(|(is_so, lacking)| is_so.then_some(lacking)).collect()
    }
}

/// There is a log, and nothing in it.
pub(super) fn no_sample() -> Lacking {
    lacks("the server logs no transactions (log_transaction_sample_rate is 0)").by(
        "begin with --sample-rate auto, or ALTER SYSTEM SET log_transaction_sample_rate = 0.01; SELECT pg_reload_conf()",
    )
}

fn lacks(why: impl Into<String>) -> Lacking {
    Lacking::of(Tier::Sample, why)
}

/// Finds the end of the log, from where on it is read; the reason why not, if that is not possible. `client` is used
/// for nothing else from then on.
pub async fn begin(client: Client, here: Option<&Path>) -> Result<Following, Lacking> {
    // How far the local time of the log is from that of UTC.
    let query = "select extract(epoch from (pg_catalog.now() at time zone current_setting('log_timezone')) \
         - (pg_catalog.now() at time zone 'UTC'))::float8";
    let row = client.query_one(query, &[]).await.map_err(|e| lacks(super::said(&e)))?;
    let offset: f64 = row.get(0);
    if let Some(path) = here {
        let failed = |e: std::io::Error| lacks(format!("{} cannot be read: {e}", path.display()));
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let mut beginning = [0];
        let form = match file.read(&mut beginning).map_err(failed)? {
            0 if path.extension().is_some_and(|extension| extension == "json") => Form::Json,
            length => Form::of(&beginning[..length]),
        };
        let at = file.seek(SeekFrom::End(0)).map_err(failed)?;
        return Ok(Following { place: Place::Here(path.to_owned()), form, at, offset });
    }
    let (path, form) = on_server(&client).await?;
    let at = size(&client, &path).await?;
    let mut following = Following { place: Place::Server { client, path }, form, at, offset };
    // Whether it may be read is known only when it was.
    following.piece().await?;
    following.at = at;
    Ok(following)
}

/// The log file of the server, and its form.
async fn on_server(client: &Client) -> Result<(String, Form), Lacking> {
    let query = "select current_setting('logging_collector')::bool, current_setting('log_destination'), \
         current_user::text";
    let row = client.query_one(query, &[]).await.map_err(|e| lacks(super::said(&e)))?;
    let (collects, destination, role): (bool, String, String) = (row.get(0), row.get(1), row.get(2));
    // Every release has it, and where fields have no names lines are shorter by two fifths.
    let wanted = "csvlog";
    // Before release 17, pg_monitor may not ask where the log is.
    let may = || {
        let role = quote_ident(&role);
        format!(
            "GRANT pg_monitor TO {role}; GRANT EXECUTE ON FUNCTION pg_catalog.pg_current_logfile(text), \
                 pg_catalog.{READ_FUNCTION} TO {role}; or name its file with --log"
        )
    };
    let set = format!("ALTER SYSTEM SET log_destination = '{wanted}'; SELECT pg_reload_conf()");
    if !collects {
        return Err(lacks("the server does not write its log to a file (logging_collector is off)")
            .by(format!("ALTER SYSTEM SET logging_collector = on; {set}; and restart the server")));
    }
    for (name, form) in [("jsonlog", Form::Json), ("csvlog", Form::Csv)] {
        if !destination.split(',').any(|part| part.trim().eq_ignore_ascii_case(name)) {
            continue;
        }
        let row = client.query_one("select pg_catalog.pg_current_logfile($1)", &[&name]).await;
        match row.map(|row| row.get::<_, Option<String>>(0)) {
            Ok(Some(path)) => return Ok((path, form)),
            Ok(None) => {}
            Err(error) if is_forbidden(&error) => {
                return Err(lacks(format!("{role} may not ask where the log is")).by(may()));
            }
            Err(error) => return Err(lacks(super::said(&error))),
        }
    }
    Err(lacks(format!("the log is written as {destination}, which cannot be read for sure")).by(set))
}

const READ_FUNCTION: &str = "pg_read_binary_file(text, bigint, bigint, boolean)";

fn is_forbidden(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| *code == SqlState::INSUFFICIENT_PRIVILEGE)
}

async fn size(client: &Client, path: &str) -> Result<u64, Lacking> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let query = "select size from pg_catalog.pg_ls_logdir() where name = $1";
    match client.query_opt(query, &[&name]).await {
        Ok(row) => Ok(row.map_or(0, |row| row.get::<_, i64>(0)).max(0) as u64),
        Err(error) if is_forbidden(&error) => {
            Err(lacks("the log's folder may not be looked at")
                .by("GRANT pg_monitor TO the role that captures"))
        }
        Err(error) => Err(lacks(super::said(&error))),
    }
}

impl Following {
    /// What has come since the last time; empty if nothing has.
    async fn piece(&mut self) -> Result<Vec<u8>, Lacking> {
        let piece = match &self.place {
            Place::Server { client, path } => server_piece(client, path, self.at).await?,
            Place::Here(path) => {
                let failed = |e: std::io::Error| lacks(format!("{} cannot be read: {e}", path.display()));
                let mut file = std::fs::File::open(path).map_err(failed)?;
                // Another file took its place.
                if file.metadata().map_err(failed)?.len() < self.at {
                    self.at = 0;
                }
                file.seek(SeekFrom::Start(self.at)).map_err(failed)?;
                let mut piece = Vec::new();
                file.take(PIECE as u64).read_to_end(&mut piece).map_err(failed)?;
                piece
            }
        };
        self.at += piece.len() as u64;
        Ok(piece)
    }

    /// Goes on to the server's next file, if there is one; whether it did.
    async fn turn(&mut self) -> Result<bool, Lacking> {
        let Place::Server { client, path } = &mut self.place else { return Ok(false) };
        let name = match self.form {
            Form::Json => "jsonlog",
            Form::Csv => "csvlog",
        };
        let row = client.query_one("select pg_catalog.pg_current_logfile($1)", &[&name]).await;
        match row.map_err(|e| lacks(super::said(&e)))?.get::<_, Option<String>>(0) {
            Some(next) if next != *path => {
                *path = next;
                self.at = 0;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

impl Following {
    /// Whether the connection, if it is lost, could be made again before the end.
    async fn is_made_again(&mut self, info: &ConnInfo, end: &mut watch::Receiver<bool>) -> bool {
        let Place::Server { client, .. } = &mut self.place else { return false };
        let closed = async {
            while !client.is_closed() {
                tokio::time::sleep(CLOSED_EVERY).await;
            }
        };
        if tokio::time::timeout(CLOSED_MAX, closed).await.is_err() {
            return false;
        }
        loop {
            tokio::select! {
                _ = end.wait_for(|end| *end) => return false,
                () = tokio::time::sleep(AGAIN_EVERY) => {}
            }
            if let Ok(again) = session(info).await {
                *client = again;
                return true;
            }
        }
    }
}

async fn server_piece(client: &Client, path: &str, at: u64) -> Result<Vec<u8>, Lacking> {
    let at = i64::try_from(at).unwrap_or(i64::MAX);
    let read = "select pg_catalog.pg_read_binary_file($1, $2, $3, true)";
    match client.query_one(read, &[&path, &at, &PIECE]).await {
        Ok(row) => Ok(row.get::<_, Option<Vec<u8>>>(0).unwrap_or_default()),
        Err(error) if is_forbidden(&error) => Err(lacks("the log may not be read").by(format!(
            "GRANT EXECUTE ON FUNCTION pg_catalog.{READ_FUNCTION} TO the role that captures; or name its file with --log"
        ))),
        Err(error) => Err(lacks(format!("the log cannot be read: {}", super::said(&error)))),
    }
}

/// What became of a sample.
#[derive(Debug, Default)]
pub struct Followed {
    /// Statements and lines of the log that were not understood.
    pub passed_over: u64,
    /// Statements without their parameters.
    pub untold: u64,
    /// How often the connection was lost and made again.
    pub gaps: u64,
    /// Why it ended early.
    pub broke: Option<Lacking>,
}

/// What a log is read for.
pub struct Reader<'a> {
    /// How the server is reached once more, if the connection is lost.
    pub info: &'a ConnInfo,
    /// The tables that are looked at.
    pub list: &'a WatchList,
    /// What values are hashed with.
    pub secret: &'a Secret,
    /// The database, as the server calls it.
    pub database: &'a str,
    /// Told how much was read.
    pub progress: &'a Progress,
}

/// Reads until told to end, and tells each transaction. A connection that is lost is made again.
pub async fn follow(
    mut following: Following,
    reader: Reader<'_>,
    lines: mpsc::Sender<Line>,
    mut end: watch::Receiver<bool>,
) -> Followed {
    let Reader { info, list, secret, database, progress } = reader;
    let mut gaps = 0;
    let mut records = Records::new(following.form);
    let mut sampled = Sampled::new(list, secret, database, following.offset);
    let mut timer = tokio::time::interval(LOOK_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut give_up: Option<tokio::time::Instant> = None;
    let mut quiet = 0;
    let broke = 'all: loop {
        let mut grew = false;
        loop {
            let read = match following.piece().await {
                // At the end of a file it may go on in another one.
                Ok(piece) if piece.is_empty() => following.turn().await.map(|turned| turned.then_some(piece)),
                read => read.map(Some),
            };
            let piece = match read {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(why) => {
                    if gaps >= u64::from(AGAIN_MAX) || !following.is_made_again(info, &mut end).await {
                        break 'all Some(why);
                    }
                    gaps += 1;
                    sampled.lose();
                    continue;
                }
            };
            grew = true;
            progress.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
            for record in records.take(&piece) {
                for line in sampled.take(&record) {
                    if matches!(line, Line::Transaction(_)) {
                        progress.transactions.fetch_add(1, Ordering::Relaxed);
                    }
                    if lines.send(line).await.is_err() {
                        break 'all None;
                    }
                }
            }
        }
        quiet = if grew { 0 } else { quiet + 1 };
        if let Some(limit) = give_up
            && (quiet >= QUIET_LOOKS || tokio::time::Instant::now() >= limit)
        {
            break None;
        }
        tokio::select! {
            _ = timer.tick() => {}
            changed = end.changed(), if give_up.is_none() => {
                if changed.is_err() {
                    break None;
                }
            }
        }
        if give_up.is_none() && *end.borrow_and_update() {
            give_up = Some(tokio::time::Instant::now() + DRAIN_MAX);
            quiet = 0;
        }
    };
    for line in sampled.finish() {
        // Nobody listens any more if the file is full.
        drop(lines.send(line).await);
    }
    let passed_over = sampled.passed_over + records.passed_over;
    Followed { passed_over, untold: sampled.untold, gaps, broke }
}
