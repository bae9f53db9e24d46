//! Whole protocol messages over a stream, both ways, such that a cancelled call leaves nothing half-done.

use std::io;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connect::PgStream;

/// How much is read at once. A walsender sends message by message, so one read often brings many.
const READ_BYTES: usize = 64 * 1024;

/// The longest message that is believed: PostgreSQL cannot make one beyond its largest allocation of 1 GiB.
const MESSAGE_BYTES_MAX: u32 = 1 << 30;

/// The answer to START_REPLICATION, which the protocol library does not know.
const COPY_BOTH_TAG: u8 = b'W';

/// What the server said.
pub(super) enum Incoming {
    /// From now on, both sides send CopyData.
    CopyBoth,
    /// Anything else.
    Message(Message),
}

pub(super) struct Wire {
    stream: PgStream,
    /// What has come and was not yet taken; perhaps the beginning of a message.
    inbox: BytesMut,
    /// What is still to be sent; perhaps the end of a message.
    outbox: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: PgStream) -> Wire {
        Wire { stream, inbox: BytesMut::new(), outbox: BytesMut::new() }
    }

    /// What SCRAM can bind to, and whether there is TLS at all.
    pub(super) fn stream(&self) -> &PgStream {
        &self.stream
    }

    /// Appends a message to what is to be sent, and sends all of it.
    pub(super) async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> io::Result<()> {
        let before = self.outbox.len();
        if let Err(error) = write(&mut self.outbox) {
            // Half a message must not follow the whole ones.
            self.outbox.truncate(before);
            return Err(error);
        }
        while self.outbox.has_remaining() {
            self.stream.write_buf(&mut self.outbox).await?;
        }
        self.stream.flush().await
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> io::Result<Incoming> {
        loop {
            if let Some(incoming) = self.take()? {
                return Ok(incoming);
            }
            self.inbox.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until the server closes its end.
    pub(super) async fn until_closed(&mut self) -> io::Result<()> {
        loop {
            self.inbox.clear();
            self.inbox.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                return Ok(());
            }
        }
    }

    /// A message that has come whole.
    fn take(&mut self) -> io::Result<Option<Incoming>> {
        let Some((&[tag, a, b, c, d], _)) = self.inbox.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]);
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            let what = format!("a message says that it has {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let whole = 1 + length as usize;
        if self.inbox.len() < whole {
            return Ok(None);
        }
        if tag == COPY_BOTH_TAG {
            self.inbox.advance(whole);
            return Ok(Some(Incoming::CopyBoth));
        }
        Ok(Message::parse(&mut self.inbox)?.map(Incoming::Message))
    }
}
