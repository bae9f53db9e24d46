//! A session beside the client's own one: what it is asked, its client has not necessarily asked there.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use replat_wire::frame::{BODY_MAX, head};
use replat_wire::frontend::put_close_statement;

use crate::backend::{Backend, Belongings, DialError};
use crate::doors::Home;
use crate::prewarm::{Line, Traveller};
use crate::request::Request;
use crate::side::Side;

/// How long a session beside may take to come about: its client waits for an answer that it could have at home.
const OPEN_MAX: Duration = Duration::from_secs(2);

/// A session at another place than the client's own one, with the same settings.
pub(crate) struct Aside {
    pub(crate) backend: Backend,
    /// The client's prepared statements that are there, too.
    prepared: HashMap<Box<[u8]>, Bytes>,
}

impl Aside {
    /// Opens a session at `home` that has `belongings`; one try.
    pub(crate) async fn open(
        home: Arc<Home>,
        line: &Line,
        traveller: &Traveller,
        belongings: &Belongings,
    ) -> Result<Aside, DialError> {
        let opening = async {
            let _turn = line.turn().await;
            let mut backend = Backend::dial(home, &traveller.identity, OPEN_MAX).await?;
            backend.settle().await?;
            backend.replay(&belongings.settings).await?;
            Ok(Aside { backend, prepared: HashMap::new() })
        };
        tokio::time::timeout(OPEN_MAX, opening).await.unwrap_or(Err(DialError::Slow))
    }

    /// Sends a request; how many answers come that its client must not see.
    pub(crate) fn ask(&mut self, request: &Request) -> usize {
        let output = &mut self.backend.side.output;
        let mut own = 0;
        for (name, frame) in request.needs() {
            // The unnamed one is another each time, and needs no end.
            let before = match name.is_empty() {
                true => None,
                false => self.prepared.insert(name.clone(), frame.clone()),
            };
            if before.as_ref() == Some(frame) {
                continue;
            }
            if before.is_some() {
                put_close_statement(output, name);
                own += 1;
            }
            output.extend_from_slice(frame);
            own += 1;
        }
        request.frames().iter().for_each(|frame| output.extend_from_slice(frame));
        own
    }

    /// Whether the server still keeps the session, as far as can be told without asking.
    pub(crate) async fn is_alive(&mut self) -> bool {
        let side = &mut self.backend.side;
        let read = poll_fn(|cx| match side.poll_fill(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => Poll::Ready(None),
        });
        // Whatever a server says unasked is a reason to begin anew.
        read.await.is_none()
    }
}

/// A server's message, or a part of a long one.
pub(crate) struct Piece {
    pub(crate) tag: u8,
    pub(crate) bytes: BytesMut,
    /// The message begins here.
    pub(crate) begins: bool,
}

impl Piece {
    /// The body, as far as it is here.
    pub(crate) fn body(&self) -> &[u8] {
        let head = if self.begins { replat_wire::frame::HEAD_BYTES } else { 0 };
        self.bytes.get(head..).unwrap_or_default()
    }
}

/// Hears a server, message by message.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    tag: u8,
    /// How much is to come of a message that has begun.
    rest: usize,
}

impl Ear {
    /// Whether all of the last message has been heard.
    pub(crate) fn is_between(&self) -> bool {
        self.rest == 0
    }

    /// The next message; in parts, if it is longer than `look_bytes`.
    pub(crate) async fn hear(&mut self, side: &mut Side, look_bytes: usize) -> io::Result<Piece> {
        loop {
            if self.rest > 0 && !side.input.is_empty() {
                let bytes = side.input.split_to(self.rest.min(side.input.len()));
                self.rest -= bytes.len();
                return Ok(Piece { tag: self.tag, bytes, begins: false });
            }
            let bad = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            if self.rest == 0
                && let Some(head) = head(&side.input, BODY_MAX).map_err(bad)?
            {
                let (have, total) = (side.input.len(), head.total());
                if have >= total || have >= look_bytes {
                    let bytes = side.input.split_to(have.min(total));
                    self.rest = total - bytes.len();
                    self.tag = head.tag;
                    return Ok(Piece { tag: head.tag, bytes, begins: true });
                }
            }
            let read = poll_fn(|cx| {
                if side.is_behind()
                    && let Poll::Ready(Err(error)) = side.poll_drain(cx)
                {
                    return Poll::Ready(Err(error));
                }
                side.poll_fill(cx)
            });
            if read.await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
