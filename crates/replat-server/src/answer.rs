//! Answers: bodies, and what is said when something cannot be done.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The body of an answer.
pub enum Answer {
    /// All of it, in pieces that others may share.
    Pieces(VecDeque<Bytes>),
    /// As it comes; each event when the one before was taken.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Answer::Pieces(pieces) => pieces.pop_front(),
            Answer::Stream(events) => ready!(events.poll_recv(cx)),
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Pieces(pieces) if pieces.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Pieces(pieces) => {
                SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum())
            }
            Answer::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer of this kind that nobody on the way keeps.
pub fn answer(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer in one piece.
pub fn text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Answer> {
    answer(status, kind, Answer::Pieces([text.into()].into()))
}

/// A JSON value.
pub fn value(value: &Value) -> Response<Answer> {
    text(StatusCode::OK, "application/json", value.to_string())
}

/// Why a request is not answered; RFC 9457, with what replat's errors say everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    /// As `replat explain` takes it.
    pub code: &'static str,
    pub title: &'static str,
    pub detail: String,
    pub state: &'static str,
    pub remedy: String,
}

/// What holds whatever is wrong with a request.
const SAFE: &str = "SAFE: nothing was changed; the databases alone decide who may write.";

impl Problem {
    fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem { status, code, title, detail: detail.into(), state: SAFE, remedy: String::new() }
    }

    /// The request says something that cannot be meant.
    pub fn request(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let title = "The request is not understood";
        Problem { remedy: remedy.into(), ..Problem::new(StatusCode::BAD_REQUEST, "RP7006", title, detail) }
    }

    /// There is nothing at that address.
    pub fn nothing(detail: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem { status: StatusCode::NOT_FOUND, ..Problem::request(detail, remedy) }
    }

    /// Something else than reading is asked for.
    pub fn method() -> Problem {
        let remedy = "Use GET; routes change by replat deploy and replat route set.";
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Problem { status, ..Problem::request("this server is only read from", remedy) }
    }

    /// No token, or a wrong one.
    pub fn token() -> Problem {
        let title = "The request shows no valid token";
        let detail = "the Authorization header shows none of the tokens that this server accepts";
        let remedy =
            "Send the header Authorization: Bearer TOKEN, with a line of the server's token file.".into();
        Problem { remedy, ..Problem::new(StatusCode::UNAUTHORIZED, "RP7007", title, detail) }
    }

    /// The server is called by a name that is not its own, and asks for no token.
    pub fn host() -> Problem {
        let remedy = "Call it by its address or as localhost, or start it with --token-file.";
        let status = StatusCode::MISDIRECTED_REQUEST;
        Problem { status, ..Problem::request("without tokens this server answers to no other name", remedy) }
    }

    /// As many as can be served are served.
    pub fn enough(what: &str) -> Problem {
        let title = "The server has enough to do";
        let remedy =
            "Try again in a moment, or start another server: any number may follow one registry.".into();
        let detail = format!("there are as many {what} as are allowed");
        Problem { remedy, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "RP7008", title, detail) }
    }

    /// What is known here may be old.
    pub fn stale(detail: impl Into<String>) -> Problem {
        let title = "The registry does not answer";
        let state = "SAFE: the databases alone decide who may write; followers keep the routes that they have until \
                     their lease is over.";
        let remedy =
            "See whether the registry is up and reachable from the server: replat registry status".into();
        Problem { state, remedy, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "RP7001", title, detail) }
    }
}

impl From<Problem> for Response<Answer> {
    fn from(problem: Problem) -> Response<Answer> {
        let Problem { status, code, title, detail, state, remedy } = problem;
        let body = json!({
            "type": format!("urn:replat:error:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
            "state": state,
            "remedy": [remedy],
        });
        let mut response = text(status, "application/problem+json", body.to_string());
        let also = match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::METHOD_NOT_ALLOWED => Some((header::ALLOW, "GET, HEAD")),
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, said)) = also {
            response.headers_mut().insert(name, HeaderValue::from_static(said));
        }
        response
    }
}
