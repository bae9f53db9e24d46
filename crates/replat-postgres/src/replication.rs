//! Replication connections: the commands of a walsender, and the stream of a logical slot.
//!
//! A stream is read with [`ReplicationStream::next`], which may be cancelled at any time: a frame that has come
//! half-way stays in the buffer. Nothing is confirmed by itself; [`ReplicationStream::status`] says what is
//! durable elsewhere, and only then may the server forget it. Absent on purpose: reconnecting, and any clock but
//! the one that status updates carry.

mod auth;
mod wire;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use replat_model::ids::Lsn;
use replat_wire::stream::{Frame, StandbyStatusUpdate};
use replat_wire::{DecodeError, PgTimestamp};

use crate::connect::{
    ConnectError, Entrance, Failure, Login, PgStream, ROLE_QUERY, Role, ServerError, enter,
};
use crate::conninfo::{ConnInfo, Host, Secret};
use crate::sql::quote_ident;
use wire::{Incoming, Wire};

/// How long a server may take to end its side of a stream before the connection is simply closed.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Settings that decide how values are written as text, so that they read the same on every server. A startup
/// packet outranks what is set for the database or the role.
const TEXT_FORM: [(&str, &str); 7] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
];

/// Why a replication connection does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ReplicationError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server said no.
    #[error("the server refused: {0}")]
    Refused(ServerError),
    /// The connection was lost.
    #[error("the replication connection was lost")]
    Lost(#[source] std::io::Error),
    /// The server ended the stream in an orderly way, as it does when it shuts down.
    #[error("the server ended the stream")]
    Ended,
    /// The server sent a frame that cannot be understood.
    #[error("the server sent a frame that cannot be understood")]
    Frame(#[from] DecodeError),
    /// The server said something that has no place here.
    #[error("the server did not follow the replication protocol: {what}")]
    Protocol {
        /// What it was.
        what: String,
    },
}

impl ReplicationError {
    /// Whether connecting again later may help without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            ReplicationError::Connect(error) => error.is_temporary(),
            ReplicationError::Refused(said) => said.is_temporary(),
            ReplicationError::Lost(_) | ReplicationError::Ended => true,
            ReplicationError::Frame(_) | ReplicationError::Protocol { .. } => false,
        }
    }

    /// The SQLSTATE, if the server said no.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            ReplicationError::Refused(said) => Some(&said.sqlstate),
            _ => None,
        }
    }

    fn protocol(what: impl Into<String>) -> ReplicationError {
        ReplicationError::Protocol { what: what.into() }
    }
}

impl From<std::io::Error> for ReplicationError {
    /// The protocol library speaks of bytes that it cannot understand in the same way as sockets of loss.
    fn from(error: std::io::Error) -> ReplicationError {
        match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                ReplicationError::protocol(error.to_string())
            }
            _ => ReplicationError::Lost(error),
        }
    }
}

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// The cluster's identifier, the same for a primary and its standbys.
    pub system_id: String,
    /// The timeline, raised by every promotion.
    pub timeline: u32,
    /// How far the log is flushed.
    pub flush: Lsn,
    /// The database of this connection.
    pub dbname: Option<String>,
}

/// One row of an answer: a text or NULL for each column.
pub type TextRow = Vec<Option<String>>;

/// A connection to a walsender of one database.
pub struct ReplicationConnection {
    wire: Wire,
    host: Host,
}

impl ReplicationConnection {
    /// Connects to the first suitable host, by the same rules as [`crate::connect::connect`].
    ///
    /// # Errors
    ///
    /// [`ReplicationError::Connect`]; the role needs the REPLICATION attribute.
    pub async fn connect(
        info: &ConnInfo,
        application_name: &str,
    ) -> Result<ReplicationConnection, ReplicationError> {
        let Entrance { session: wire, host, .. } =
            enter(info, &ReplicationLogin { application_name }).await?;
        Ok(ReplicationConnection { wire, host })
    }

    /// Which of the hosts it was.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Asks the server who it is and how far its log goes.
    ///
    /// # Errors
    ///
    /// [`ReplicationError`].
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, ReplicationError> {
        let rows = self.simple_query("IDENTIFY_SYSTEM").await?;
        let identity = rows.into_iter().next().and_then(|row| {
            let [system_id, timeline, flush, dbname] = row.try_into().ok()?;
            Some(SystemIdentity {
                system_id: system_id?,
                timeline: timeline?.parse().ok()?,
                flush: flush?.parse().ok()?,
                dbname,
            })
        });
        identity.ok_or_else(|| ReplicationError::protocol("the answer to IDENTIFY_SYSTEM is not one"))
    }

    /// Runs one replication command or SQL statement and returns its rows, values in text form.
    ///
    /// # Errors
    ///
    /// [`ReplicationError::Refused`] with the server's words; the connection stays usable then.
    pub async fn simple_query(&mut self, query: &str) -> Result<Vec<TextRow>, ReplicationError> {
        simple_query(&mut self.wire, query).await
    }

    /// Starts to stream `slot` with pgoutput: the transactions that commit behind `from` and concern
    /// `publication`, and logical messages.
    ///
    /// The server starts at the slot's confirmed position if that lies behind `from`.
    ///
    /// # Errors
    ///
    /// [`ReplicationError::Refused`], for example if there is no such slot or somebody else reads it.
    pub async fn start(
        self,
        slot: &str,
        from: Lsn,
        publication: &str,
    ) -> Result<ReplicationStream, ReplicationError> {
        self.start_all(slot, from, &[publication.to_owned()]).await
    }

    /// The same for what concerns any of several publications.
    ///
    /// # Errors
    ///
    /// As [`ReplicationConnection::start`].
    pub async fn start_all(
        mut self,
        slot: &str,
        from: Lsn,
        publications: &[String],
    ) -> Result<ReplicationStream, ReplicationError> {
        let names: Vec<String> = publications.iter().map(|name| quote_ident(name)).collect();
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {}, messages 'true')",
            quote_ident(slot),
            option_literal(&names.join(",")),
        );
        self.wire.send(|out| frontend::query(&command, out)).await?;
        loop {
            match self.wire.next().await? {
                Incoming::CopyBoth => return Ok(ReplicationStream { wire: self.wire }),
                Incoming::Message(Message::ErrorResponse(body)) => {
                    return Err(ReplicationError::Refused(ServerError::from_response(&body)));
                }
                Incoming::Message(message) if is_aside(&message) => {}
                Incoming::Message(_) => {
                    return Err(ReplicationError::protocol("START_REPLICATION did not start a stream"));
                }
            }
        }
    }
}

/// `value` as a literal of the replication grammar, which knows doubled quotes and no escapes.
fn option_literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

async fn simple_query(wire: &mut Wire, query: &str) -> Result<Vec<TextRow>, ReplicationError> {
    wire.send(|out| frontend::query(query, out)).await?;
    let mut rows = Vec::new();
    let mut refused = None;
    loop {
        match wire.next().await? {
            Incoming::Message(Message::DataRow(body)) => rows.push(text_row(&body)?),
            Incoming::Message(Message::ErrorResponse(body)) => {
                refused.get_or_insert(ServerError::from_response(&body));
            }
            Incoming::Message(Message::ReadyForQuery(_)) => {
                return refused.map_or(Ok(rows), |said| Err(ReplicationError::Refused(said)));
            }
            Incoming::Message(
                Message::RowDescription(_) | Message::CommandComplete(_) | Message::EmptyQueryResponse,
            ) => {}
            Incoming::Message(message) if is_aside(&message) => {}
            _ => return Err(ReplicationError::protocol("a query was answered by something else than rows")),
        }
    }
}

fn text_row(body: &DataRowBody) -> Result<TextRow, ReplicationError> {
    let text = |range: Option<std::ops::Range<usize>>| {
        range.map(|range| String::from_utf8_lossy(&body.buffer()[range]).into_owned())
    };
    Ok(body.ranges().map(|range| Ok(text(range))).collect()?)
}

/// What a server may say at any time and nobody here needs to hear.
fn is_aside(message: &Message) -> bool {
    matches!(
        message,
        Message::NoticeResponse(_) | Message::ParameterStatus(_) | Message::NotificationResponse(_)
    )
}

struct ReplicationLogin<'a> {
    application_name: &'a str,
}

impl Login for ReplicationLogin<'_> {
    type Session = Wire;

    async fn log_in(
        &self,
        stream: PgStream,
        info: &ConnInfo,
        password: Option<&Secret>,
    ) -> Result<Wire, Failure> {
        let mut wire = Wire::new(stream);
        let name = info.application_name.as_deref().unwrap_or(self.application_name);
        let mut parameters = vec![
            ("user", info.user.as_str()),
            ("database", &info.dbname),
            ("replication", "database"),
            ("application_name", name),
        ];
        parameters.extend(info.options.as_deref().map(|options| ("options", options)));
        parameters.extend(TEXT_FORM);
        wire.send(|out| frontend::startup_message(parameters, out)).await?;
        auth::authenticate(&mut wire, info, password).await?;
        auth::wait_until_ready(&mut wire).await?;
        Ok(wire)
    }

    async fn role(&self, wire: &mut Wire) -> Result<Role, Failure> {
        let rows = simple_query(wire, ROLE_QUERY).await.map_err(|error| match error {
            ReplicationError::Refused(said) => Failure::Refused(said),
            ReplicationError::Lost(source) => Failure::Lost { source: source.into() },
            other => Failure::Protocol { what: other.to_string() },
        })?;
        let row = rows.first().and_then(|row| row.first_chunk::<3>());
        let row = row.map(|row| row.each_ref().map(Option::as_deref));
        row.and_then(Role::from_row)
            .ok_or(Failure::Protocol { what: "the server did not say what it is".into() })
    }
}

impl fmt::Debug for ReplicationConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicationConnection").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The stream of a logical slot.
pub struct ReplicationStream {
    wire: Wire,
}

impl ReplicationStream {
    /// The next frame. Waits for as long as the server is silent, so callers that must not put a timeout around
    /// it: cancelling loses nothing.
    ///
    /// The frame's data share one buffer with its neighbours; copy what is kept for long.
    ///
    /// # Errors
    ///
    /// [`ReplicationError`]; the stream is over then. [`ReplicationError::Refused`] is how the server says that it
    /// stops in mid-stream, for example because the slot lost its log.
    pub async fn next(&mut self) -> Result<Frame, ReplicationError> {
        loop {
            match self.wire.next().await? {
                Incoming::Message(Message::CopyData(body)) => return Ok(Frame::decode(body.into_bytes())?),
                Incoming::Message(Message::CopyDone) => return Err(ReplicationError::Ended),
                Incoming::Message(Message::ErrorResponse(body)) => {
                    return Err(ReplicationError::Refused(ServerError::from_response(&body)));
                }
                Incoming::Message(message) if is_aside(&message) => {}
                _ => return Err(ReplicationError::protocol("something else than a frame in a stream")),
            }
        }
    }

    /// Says that everything up to `flushed` is durable on this side: the server never sends it again, and may
    /// forget it.
    ///
    /// Cancelling loses nothing: what was not sent yet goes first next time.
    ///
    /// # Errors
    ///
    /// [`ReplicationError::Lost`].
    pub async fn status(&mut self, flushed: Lsn) -> Result<(), ReplicationError> {
        let update =
            StandbyStatusUpdate { written: flushed, flushed, applied: flushed, time: now(), reply: false };
        let mut status = BytesMut::new();
        update.encode(&mut status);
        Ok(self.wire.send(|out| copy_data(&status, out)).await?)
    }

    /// Ends the stream and the connection in an orderly way, so that the slot is free when this returns.
    ///
    /// What the server still sends is thrown away: it comes again, since it was not confirmed. A server that does
    /// not answer in time is left alone.
    ///
    /// # Errors
    ///
    /// [`ReplicationError`] if the connection breaks first, which ends the stream as well.
    pub async fn stop(mut self) -> Result<(), ReplicationError> {
        let farewell = async {
            self.send_bare(frontend::copy_done).await?;
            self.drain().await?;
            self.send_bare(frontend::terminate).await?;
            // The server closes its end when its process is about to exit and the slot is free.
            Ok(self.wire.until_closed().await?)
        };
        tokio::time::timeout(STOP_MAX, farewell).await.unwrap_or(Ok(()))
    }

    async fn send_bare(&mut self, message: fn(&mut BytesMut)) -> Result<(), ReplicationError> {
        let write = |out: &mut BytesMut| {
            message(out);
            Ok(())
        };
        Ok(self.wire.send(write).await?)
    }

    async fn drain(&mut self) -> Result<(), ReplicationError> {
        loop {
            match self.wire.next().await? {
                Incoming::Message(Message::ReadyForQuery(_)) => return Ok(()),
                Incoming::Message(Message::ErrorResponse(body)) => {
                    return Err(ReplicationError::Refused(ServerError::from_response(&body)));
                }
                _ => {}
            }
        }
    }
}

impl fmt::Debug for ReplicationStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicationStream").finish_non_exhaustive()
    }
}

fn copy_data(content: &[u8], out: &mut BytesMut) -> std::io::Result<()> {
    frontend::CopyData::new(content)?.write(out);
    Ok(())
}

fn now() -> PgTimestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    PgTimestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
