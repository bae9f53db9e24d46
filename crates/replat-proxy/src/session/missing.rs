//! Rows for which no partition is there yet: their partition is asked for, and the statement is run again.
//!
//! Only where nothing can be doubled and nothing is kept: one request that is a transaction of its own, has failed as a
//! whole, and of whose answer the client has seen no more than that it is understood. Its error is withheld, whoever
//! makes partitions is asked, and after a while the request stands at the front of the input again, as if the client had
//! just sent it. When the limit is over, the client gets the error.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use replat_postgres::lifecycle::wanted::Wanted;
use replat_wire::backend::{ErrorFields, tag};
use replat_wire::conversation::Fate;
use replat_wire::frame::HEAD_BYTES;
use tokio::time::Instant;

use super::{Attended, End, Session, cancelled, put_idle};
use crate::doors::Pass;
use crate::request::Request;

/// The same partition is not asked for more often, whoever wants it.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The pause before a request is run again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// More partitions than this are forgotten and asked for anew.
const ASKED_MAX: usize = 1_000;

const HINT: &str = "No partition takes the row. The proxy asked for it, and it was not made in time: see that \
                    \"replat rotate --watch\" runs, that the table has a policy, and how far ahead that reaches.";

/// What was asked for lately, by whatever session.
#[derive(Debug, Default)]
pub(crate) struct Asked(Mutex<HashMap<Wanted, Instant>>);

impl Asked {
    /// Whether it is time to ask, which it is not for others then.
    fn is_due(&self, wanted: &Wanted) -> bool {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= ASKED_MAX {
            asked.clear();
        }
        let now = Instant::now();
        if asked.get(wanted).is_some_and(|last| now - *last < ASK_EVERY) {
            return false;
        }
        asked.insert(wanted.clone(), now);
        true
    }
}

/// A request that runs and could be run again.
#[derive(Debug)]
pub(crate) struct Attempt {
    request: Request,
    /// How many messages have come that only say that the request is understood.
    understood: usize,
    /// How many of those the client has already.
    known: usize,
    tries: Tries,
    /// The error that was withheld, and what is wanted.
    failed: Option<(BytesMut, Wanted)>,
}

/// How often it was tried, and until when.
#[derive(Clone, Copy, Debug)]
struct Tries {
    until: Instant,
    pause: Duration,
}

/// A request that stands at the front of the input once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    known: usize,
    tries: Tries,
}

impl Attempt {
    /// Takes note of a message that the client would get; whether it gets it.
    fn hear(&mut self, tag: u8, frame: &[u8], is_whole: bool) -> Option<Fate> {
        match tag {
            tag::PARSE_COMPLETE | tag::BIND_COMPLETE | b'T' | b't' | b'n' if self.failed.is_none() => {
                self.understood += 1;
                let fate = if self.understood <= self.known { Fate::Swallow } else { Fate::Pass };
                Some(fate)
            }
            tag::NOTICE | tag::PARAMETER | tag::NOTIFICATION | tag::READY => Some(Fate::Pass),
            tag::ERROR if is_whole && self.failed.is_none() => {
                self.failed = Some((frame.into(), wanted(&frame[HEAD_BYTES..])?));
                Some(Fate::Swallow)
            }
            _ => None,
        }
    }
}

/// The partition that an error says is missing; `None` if it says something else.
fn wanted(error: &[u8]) -> Option<Wanted> {
    let fields = ErrorFields::read(error);
    // By the server's routine, which is the same in every language of messages.
    let is_it = fields.get(b'C') == Some("23514")
        && fields.get(b'n').is_none()
        && fields.get(b'R') == Some("ExecFindPartition");
    match is_it {
        true => Some(Wanted::of(fields.get(b's')?, fields.get(b't')?, fields.get(b'D'))),
        false => None,
    }
}

impl Session {
    /// Remembers the request that begins with this pass, if it may be run again.
    pub(super) fn attempt(&mut self, pass: &Pass) {
        let again = self.memory.again.take();
        let limit = self.shared.settings.limits.missing_max;
        self.memory.attempt = None;
        if pass.only_reads {
            return;
        }
        // What comes behind it waits until it is answered, so that it stays behind it.
        let Some(request) = self.inserts(&self.client.input) else { return };
        let new = || Again { known: 0, tries: Tries { until: Instant::now() + limit, pause: AGAIN.0 } };
        let Again { known, tries } = again.unwrap_or_else(new);
        self.memory.attempt = Some(Attempt { request, understood: 0, known, tries, failed: None });
    }

    /// The request that `input` begins with, if it may put rows into tables.
    fn inserts(&self, input: &[u8]) -> Option<Request> {
        if self.shared.settings.limits.missing_max.is_zero() {
            return None;
        }
        Request::at_front(input, &self.conversation).filter(Request::may_insert)
    }

    /// Whether a request should begin a transaction of its own, since it may have to be run again.
    pub(super) fn may_miss(&self, input: &[u8]) -> bool {
        self.inserts(input).is_some()
    }

    /// Asks for the partition that the last request has missed, and puts the request at the front again.
    pub(super) async fn provide(&mut self) -> Result<(), End> {
        let Some(attempt) = self.memory.missing.take() else { return Ok(()) };
        let Attempt { request, understood, tries, failed, .. } = attempt;
        let Some((error, wanted)) = failed else { return Ok(()) };
        if Instant::now() + tries.pause > tries.until {
            tracing::warn!("a row waits for a partition of {}.{} in vain", wanted.schema, wanted.table);
            with_hint(&error, &mut self.client.output);
            put_idle(&mut self.client.output);
            return Ok(());
        }
        // The statement is in the proxy, and so is a wish to cancel it.
        let _here = self.registered.target.lead_here();
        if self.shared.asked.is_due(&wanted) {
            self.shared.counts.asked_for_partition();
            self.ask_for(&wanted).await?;
        }
        match self.attend_or_cancel(tokio::time::sleep(tries.pause)).await {
            Ok(()) => {}
            Err(Attended::End(end)) => return Err(end),
            Err(Attended::Refused(_)) => {
                cancelled().put(&mut self.client.output);
                put_idle(&mut self.client.output);
                return Ok(());
            }
        }
        let mut input = BytesMut::new();
        request.frames().iter().for_each(|frame| input.extend_from_slice(frame));
        input.unsplit(self.client.input.split());
        self.client.input = input;
        let tries = Tries { pause: (tries.pause * 2).min(AGAIN.1), ..tries };
        // Statements with names are prepared by now, and the client knows.
        self.memory.again = Some(Again { known: understood - request.prepared().min(understood), tries });
        Ok(())
    }

    /// Says on the database's own channel what is wanted.
    async fn ask_for(&mut self, wanted: &Wanted) -> Result<(), End> {
        let Some(mut backend) = self.backend.take() else { return Ok(()) };
        let (query, limit) = (wanted.query(), self.shared.settings.limits.dial_max);
        let asking = async move {
            let asked = tokio::time::timeout(limit, backend.tell(&query)).await;
            (backend, asked)
        };
        let (backend, asked) = self.attend(asking).await?;
        self.backend = Some(backend);
        match asked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.is_refusal() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a partition cannot be asked for");
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(End::ServerGone),
        }
    }
}

impl super::Memory {
    /// What becomes of a server's message for a request that may be run again.
    pub(super) fn weigh(&mut self, tag: u8, frame: &[u8], is_whole: bool, fate: Fate) -> Fate {
        let Some(attempt) = self.attempt.as_mut().filter(|_| fate == Fate::Pass) else { return fate };
        match attempt.hear(tag, frame, is_whole) {
            Some(fate) => fate,
            // Something else has come of it.
            None => {
                self.attempt = None;
                Fate::Pass
            }
        }
    }

    /// The request has been answered, and the session is at a boundary or not. Whether that is kept from the client; else
    /// the error that the client is owed before.
    pub(super) fn settle(&mut self, at_boundary: bool) -> (Fate, Option<BytesMut>) {
        match self.attempt.take() {
            Some(attempt) if attempt.failed.is_some() && at_boundary => {
                self.missing = Some(attempt);
                (Fate::Swallow, None)
            }
            Some(attempt) => (Fate::Pass, attempt.failed.map(|(error, _)| error)),
            None => (Fate::Pass, None),
        }
    }
}

/// Appends an ErrorResponse with our hint, if it has none.
fn with_hint(error: &[u8], out: &mut BytesMut) {
    let fields = ErrorFields::read(error.get(HEAD_BYTES..).unwrap_or_default());
    let length = error.len() - 1 + 1 + HINT.len() + 1;
    match (fields.get(b'H'), error, i32::try_from(length)) {
        (None, [tag, _, _, _, _, body @ .., 0], Ok(length)) => {
            out.put_u8(*tag);
            out.put_i32(length);
            out.put_slice(body);
            out.put_u8(b'H');
            out.put_slice(HINT.as_bytes());
            out.put_slice(&[0, 0]);
        }
        _ => out.put_slice(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fields: &[(u8, &str)]) -> BytesMut {
        let mut body = BytesMut::new();
        for (field, text) in fields {
            body.put_u8(*field);
            body.put_slice(text.as_bytes());
            body.put_u8(0);
        }
        body.put_u8(0);
        let mut frame = BytesMut::new();
        frame.put_u8(b'E');
        frame.put_i32(i32::try_from(body.len() + 4).expect("a short body"));
        frame.extend_from_slice(&body);
        frame
    }

    const MISSING: [(u8, &str); 6] = [
        (b'S', "ERROR"),
        (b'C', "23514"),
        (b'D', "Partition key of the failing row contains (at) = (2031-01-01)."),
        (b's', "public"),
        (b't', "events"),
        (b'R', "ExecFindPartition"),
    ];

    #[test]
    fn a_missing_partition_is_told_from_a_violated_check() {
        let found = wanted(&error(&MISSING)[HEAD_BYTES..]).expect("it is one");
        assert_eq!((found.schema.as_str(), found.table.as_str()), ("public", "events"));
        assert_eq!(found.until.as_deref(), Some("2031-01-01"));
        let with = |field: u8, text: &'static str| {
            let mut fields = MISSING.to_vec();
            fields.retain(|(name, _)| *name != field);
            fields.push((field, text));
            error(&fields)
        };
        for other in [with(b'n', "positive"), with(b'R', "ExecConstraints"), with(b'C', "23505")] {
            assert_eq!(wanted(&other[HEAD_BYTES..]), None);
        }
    }

    #[test]
    fn the_error_keeps_its_fields_and_gets_a_hint() {
        let mut out = BytesMut::new();
        with_hint(&error(&MISSING), &mut out);
        let head = replat_wire::frame::head(&out, usize::MAX).expect("a head").expect("a whole one");
        assert_eq!(head.total(), out.len());
        let fields = ErrorFields::read(&out[HEAD_BYTES..]);
        assert_eq!((fields.get(b't'), fields.get(b'H')), (Some("events"), Some(HINT)));
        let mut again = BytesMut::new();
        with_hint(&out, &mut again);
        assert_eq!(again, out, "one hint is enough");
    }
}
