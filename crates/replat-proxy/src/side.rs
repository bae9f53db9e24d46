//! One end of a relay: a stream, what came from it, and what is to go to it.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// The least that is read at once; what an idle session keeps ready for each direction.
const READ_MIN: usize = 4 * 1024;
/// The most that is read at once.
const READ_MAX: usize = 64 * 1024;

/// What both TCP and TLS are.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A stream and its two buffers. Neither grows without bound: whoever fills them looks first.
pub(crate) struct Side {
    stream: Box<dyn Duplex>,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    /// The other end will send no more.
    pub(crate) ended: bool,
    read_next: usize,
    unflushed: bool,
}

impl Side {
    pub(crate) fn new(stream: Box<dyn Duplex>) -> Side {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Side { stream, input, output, ended: false, read_next: READ_MIN, unflushed: false }
    }

    /// Reads what there is, once. `Ok` with zero bytes is the end.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.reserve(self.read_next);
        let count = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        self.ended |= count == 0;
        // Whoever fills the buffer gets a larger one, and whoever does not in the end a small one again.
        self.read_next = match count {
            much if much >= self.read_next => (self.read_next * 2).min(READ_MAX),
            little if little < self.read_next / 4 => (self.read_next / 2).max(READ_MIN),
            _ => self.read_next,
        };
        Poll::Ready(Ok(count))
    }

    /// Writes everything that waits, and sees that it leaves.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether something waits to be written.
    pub(crate) fn is_behind(&self) -> bool {
        self.unflushed || !self.output.is_empty()
    }

    /// Takes the first `count` bytes of the input over to `other`'s output.
    pub(crate) fn pass(&mut self, count: usize, other: &mut BytesMut) {
        if count == self.input.len() && other.is_empty() {
            // The usual case: nothing is copied.
            std::mem::swap(&mut self.input, other);
            self.input.clear();
        } else {
            other.extend_from_slice(&self.input[..count]);
            self.input.advance(count);
        }
    }

    /// Gives back memory that a burst took, while there is nothing to do.
    pub(crate) fn rest(&mut self) {
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() && buffer.capacity() > READ_MIN {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Writes everything that waits.
    pub(crate) async fn drain(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_drain(cx)).await
    }

    /// Reads until a whole message is there and takes it: its tag and body.
    pub(crate) async fn message(&mut self, body_max: usize) -> io::Result<(u8, BytesMut)> {
        loop {
            let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            if let Some(head) = replat_wire::frame::head(&self.input, body_max).map_err(bad)?
                && self.input.len() >= head.total()
            {
                let mut frame = self.input.split_to(head.total());
                return Ok((head.tag, frame.split_off(replat_wire::frame::HEAD_BYTES)));
            }
            if std::future::poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Ends the stream in an orderly way.
    pub(crate) async fn close(mut self) {
        // Nobody is left to hear of a failure.
        drop(self.drain().await);
        drop(tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await);
    }
}
