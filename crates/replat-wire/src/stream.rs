//! What CopyData carries while a replication stream runs: log data and keepalives one way, progress the other.

use bytes::{BufMut, Bytes, BytesMut};
use replat_model::ids::Lsn;

use crate::reader::Reader;
use crate::{DecodeError, PgTimestamp, Problem};

/// One frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A piece of the log: with logical decoding, one message of the output plugin.
    XLogData(XLogData),
    /// A sign of life.
    Keepalive(Keepalive),
}

/// One message of the output plugin and where it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XLogData {
    /// Where the message begins. Zero for messages that stand nowhere, such as Relation.
    pub start: Lsn,
    /// The end of the server's log at the time of sending. For logical decoding PostgreSQL repeats `start`.
    pub end: Lsn,
    /// The server's clock at the time of sending.
    pub time: PgTimestamp,
    /// The message; with pgoutput, for [`crate::pgoutput::decode`].
    pub data: Bytes,
}

/// The server is there, and has decoded as far as `wal_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How far the server has decoded, whether or not anything there concerned this stream.
    pub wal_end: Lsn,
    /// The server's clock at the time of sending.
    pub time: PgTimestamp,
    /// Whether the server will hang up unless a [`StandbyStatusUpdate`] follows soon.
    pub reply_requested: bool,
}

/// How far this side has come; the server may recycle its log up to `flushed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyStatusUpdate {
    /// The end of what has been received.
    pub written: Lsn,
    /// The end of what is durable here. The slot never goes back behind this position.
    pub flushed: Lsn,
    /// The end of what has been applied.
    pub applied: Lsn,
    /// This side's clock.
    pub time: PgTimestamp,
    /// Whether the server is to answer with a keepalive at once.
    pub reply: bool,
}

impl Frame {
    /// Decodes the contents of one CopyData message.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says at which byte the frame is not one of the two that PostgreSQL sends.
    pub fn decode(data: Bytes) -> Result<Frame, DecodeError> {
        let mut reader = Reader::new(data, "replication frame");
        match reader.u8("tag")? {
            b'w' => xlog_data(reader).map(Frame::XLogData),
            b'k' => keepalive(reader).map(Frame::Keepalive),
            value => Err(DecodeError {
                what: "replication frame",
                at: 0,
                problem: Problem::Unknown { field: "tag of a replication frame", value },
            }),
        }
    }
}

fn xlog_data(mut reader: Reader) -> Result<XLogData, DecodeError> {
    reader.is_now("XLogData");
    Ok(XLogData {
        start: reader.lsn("start")?,
        end: reader.lsn("end")?,
        time: reader.time("time")?,
        data: reader.remainder(),
    })
}

fn keepalive(mut reader: Reader) -> Result<Keepalive, DecodeError> {
    reader.is_now("Keepalive");
    let keepalive = Keepalive {
        wal_end: reader.lsn("end of the log")?,
        time: reader.time("time")?,
        reply_requested: reader.u8("reply flag")? != 0,
    };
    reader.finish(keepalive)
}

impl StandbyStatusUpdate {
    /// Appends the contents of one CopyData message to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(34);
        out.put_u8(b'r');
        out.put_u64(self.written.0);
        out.put_u64(self.flushed.0);
        out.put_u64(self.applied.0);
        out.put_i64(self.time.0);
        out.put_u8(self.reply.into());
    }
}
