//! HTTP/1.1 to one of several servers, as etcd and Consul need it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
#[cfg(feature = "consul")]
use hyper::header::HeaderMap;
use hyper::header::{CONTENT_TYPE, DATE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;

use crate::address::{Host, Net};
use crate::clock::Clock;
use crate::dial::{Dial, TlsError};
use crate::kv::{KvError, Reading};

/// An answer longer than this is not one of ours. Unit: bytes.
const ANSWER_MAX: usize = 256 << 20;
/// Connections that are kept for the next request.
const IDLE_MAX: usize = 4;

type Sender = SendRequest<Full<Bytes>>;

/// A client of several servers of which any will do.
pub(crate) struct Http {
    dial: Dial,
    hosts: Vec<Host>,
    /// The one that answered last.
    preferred: AtomicUsize,
    idle: Mutex<Vec<(usize, Sender)>>,
    /// A longer answer is none. Unit: bytes.
    answer_max: usize,
    /// The servers' clock, by the `Date` of their answers.
    pub(crate) clock: Clock,
}

/// One request.
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query, already encoded.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    /// Whether another server may be asked when one breaks off: the request changes nothing.
    pub(crate) again: bool,
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    #[cfg(feature = "consul")]
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How a try ended.
enum Failed {
    /// The server has not seen the request.
    Unsent(KvError),
    /// It may have.
    InDoubt(KvError),
}

impl Http {
    pub(crate) fn new(net: &Net) -> Result<Http, TlsError> {
        Ok(Http {
            dial: Dial::new(net.tls.as_ref())?,
            hosts: net.hosts.clone(),
            preferred: AtomicUsize::new(0),
            idle: Mutex::default(),
            answer_max: ANSWER_MAX,
            clock: Clock::default(),
        })
    }

    /// The same, for answers of at most so many bytes.
    #[cfg(feature = "hooks")]
    pub(crate) fn with_answer_max(self, answer_max: usize) -> Http {
        Http { answer_max, ..self }
    }

    /// The whole answer of the first server that gives one.
    pub(crate) async fn call(&self, ask: &Ask) -> Result<Answer, KvError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = None;
        for turn in 0..self.hosts.len() {
            let at = (first + turn) % self.hosts.len();
            match self.call_at(at, ask).await {
                // No leader, or it goes down: another one may know better.
                Ok(answer) if answer.status == 503 && ask.again && turn + 1 < self.hosts.len() => {}
                Ok(answer) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Failed::Unsent(error)) => last = Some(error),
                Err(Failed::InDoubt(error)) if ask.again => last = Some(error),
                Err(Failed::InDoubt(error)) => {
                    self.preferred.store((at + 1) % self.hosts.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| KvError::unreachable("no server has a leader now")))
    }

    async fn call_at(&self, at: usize, ask: &Ask) -> Result<Answer, Failed> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(_, sender)| !sender.is_closed());
            idle.iter().position(|(of, _)| *of == at).map(|found| idle.swap_remove(found).1)
        };
        if let Some(sender) = idle {
            match self.exchange(at, sender, ask).await {
                // The server has closed it meanwhile; that says nothing about the server now.
                Err(Failed::Unsent(_)) => {}
                Err(Failed::InDoubt(_)) if ask.again => {}
                other => return other,
            }
        }
        let sender = self.connect(at).await.map_err(Failed::Unsent)?;
        self.exchange(at, sender, ask).await
    }

    async fn exchange(&self, at: usize, mut sender: Sender, ask: &Ask) -> Result<Answer, Failed> {
        let response = self.send(at, &mut sender, ask).await?;
        let (parts, body) = response.into_parts();
        let doubt = |error| Failed::InDoubt(KvError::Unreachable(error));
        let body = Limited::new(body, self.answer_max).collect().await.map_err(doubt)?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push((at, sender));
        }
        Ok(Answer {
            status: parts.status.as_u16(),
            #[cfg(feature = "consul")]
            headers: parts.headers,
            body,
        })
    }

    async fn send(&self, at: usize, sender: &mut Sender, ask: &Ask) -> Result<Response<Incoming>, Failed> {
        let sort = |error: hyper::Error| match error.is_canceled() {
            true => Failed::Unsent(KvError::unreachable(error)),
            false => Failed::InDoubt(KvError::unreachable(error)),
        };
        sender.ready().await.map_err(|error| Failed::Unsent(KvError::unreachable(error)))?;
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&ask.path)
            .header(HOST, self.hosts[at].to_string())
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        // By construction all parts are legal but for a header, which may be a token that somebody typed.
        let illegal = |_| {
            Failed::Unsent(KvError::Refused(
                "the user name or token has characters that HTTP does not take".into(),
            ))
        };
        let request = request.body(Full::new(ask.body.clone())).map_err(illegal)?;
        let sent = Instant::now();
        let response = sender.send_request(request).await.map_err(sort)?;
        if let Some(reading) = response.headers().get(DATE).and_then(|date| read_date(date.to_str().ok()?)) {
            self.clock.learn(sent, Instant::now(), reading);
        }
        Ok(response)
    }

    async fn connect(&self, at: usize) -> Result<Sender, KvError> {
        let stream = self.dial.connect(&self.hosts[at]).await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(KvError::unreachable)?;
        tokio::spawn(async move {
            // Whoever uses the connection learns of its end by its requests.
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended");
            }
        });
        Ok(sender)
    }

    /// An answer without an end, over a connection of its own, by the first server that gives one.
    #[cfg(feature = "etcd")]
    pub(crate) async fn stream(&self, ask: &Ask) -> Result<Stream, KvError> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = None;
        for turn in 0..self.hosts.len() {
            let at = (first + turn) % self.hosts.len();
            let tried = async {
                let mut sender = self.connect(at).await.map_err(Failed::Unsent)?;
                let response = self.send(at, &mut sender, ask).await?;
                Ok((sender, response))
            };
            match tried.await {
                Ok((sender, response)) => {
                    let status = response.status().as_u16();
                    return Ok(Stream {
                        status,
                        body: response.into_body(),
                        rest: Vec::new(),
                        _sender: sender,
                    });
                }
                Err(Failed::Unsent(error) | Failed::InDoubt(error)) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| KvError::unreachable("there is no server")))
    }
}

/// An answer that comes line by line.
#[cfg(feature = "etcd")]
pub(crate) struct Stream {
    pub(crate) status: u16,
    body: Incoming,
    rest: Vec<u8>,
    /// Held, since the connection ends with it.
    _sender: Sender,
}

#[cfg(feature = "etcd")]
impl Stream {
    /// A line of an endless answer is at most this long. Unit: bytes.
    const LINE_MAX: usize = 64 << 20;

    /// The next line, without its end; `None` after the last one.
    pub(crate) async fn line(&mut self) -> Result<Option<Vec<u8>>, KvError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.rest, rest);
                line.pop();
                return Ok(Some(line));
            }
            if self.rest.len() > Stream::LINE_MAX {
                return Err(KvError::unreachable("a line has no end"));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(KvError::unreachable)?;
                    self.rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
            }
        }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: some moment of that second.
fn read_date(text: &str) -> Option<Reading> {
    let moment = jiff::fmt::rfc2822::parse(text).ok()?;
    let earliest = u64::try_from(moment.timestamp().as_millisecond()).ok()?;
    Some(Reading { earliest, latest: earliest + 1000 })
}

/// `text` as a part of a path: everything but letters, digits, `-`, `_`, `.` and `/` by its bytes.
#[cfg(feature = "consul")]
pub(crate) fn in_path(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_some_moment_of_its_second() {
        let want = Some(Reading { earliest: 784_111_777_000, latest: 784_111_778_000 });
        assert_eq!(read_date("Sun, 06 Nov 1994 08:49:37 GMT"), want);
        assert_eq!(read_date("yesterday"), None);
    }
}
