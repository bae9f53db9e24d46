//! The first words with a client: TLS or not, who it is, and the proof of that.
//!
//! Nobody is known here yet. Every length has a small limit, bytes are not read ahead of an agreement on TLS, and a
//! wrong name looks like a wrong password.

use std::io;

use bytes::BytesMut;
use replat_wire::backend::{self, Complaint};
use replat_wire::frame::{BODY_MAX_BEFORE_LOGIN, Tag};
use replat_wire::frontend;
use replat_wire::scram::{Challenge, Login, MECHANISM, ScramError, Verifier};
use replat_wire::startup::{CancelKey, Opening, Startup, opening};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::backend::nonce;
use crate::side::{Duplex, Side};
use crate::tls::ALPN;
use crate::verifiers::Verifiers;

/// The first byte of a client that begins TLS without asking.
const TLS_HANDSHAKE: u8 = 0x16;

/// Who has connected.
pub(crate) enum Caller {
    /// Somebody who wants a statement to end.
    Cancel(CancelKey),
    /// Somebody who wants a session.
    Session { side: Side, startup: Startup },
}

/// Why somebody who has connected gets nothing.
#[derive(Debug)]
pub(crate) enum Unwelcome {
    /// The connection broke, or was never meant.
    Gone(io::Error),
    /// For this reason, which is told over what there is of a connection.
    Complaint(Side, Complaint),
}

impl From<io::Error> for Unwelcome {
    fn from(error: io::Error) -> Unwelcome {
        Unwelcome::Gone(error)
    }
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").finish_non_exhaustive()
    }
}

/// Hears what a new connection wants. Cancel requests are taken with and without TLS, as clients send both.
pub(crate) async fn greet(
    stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    tls_required: bool,
) -> Result<Caller, Unwelcome> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE {
        let Some(tls) = tls else {
            return Err(Unwelcome::Gone(io::ErrorKind::ConnectionRefused.into()));
        };
        let stream = tls.accept(stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(Unwelcome::Gone(io::Error::other("TLS at once needs the ALPN name postgresql")));
        }
        return hear(Box::new(stream)).await;
    }
    let mut stream = stream;
    let mut gss_refused = false;
    loop {
        match read_opening(&mut stream).await {
            Ok(Opening::Ssl) => match tls {
                Some(tls) => {
                    stream.write_all(b"S").await?;
                    // Nothing was read behind the request, so whatever is there already must be TLS.
                    return hear(Box::new(tls.accept(stream).await?)).await;
                }
                None => stream.write_all(b"N").await?,
            },
            Ok(Opening::Gss) if !gss_refused => {
                stream.write_all(b"N").await?;
                gss_refused = true;
            }
            Ok(Opening::Startup(_)) if tls_required => {
                let complaint = Complaint::fatal("28000", "this proxy is only for connections under TLS")
                    .hint("Set sslmode=require or better.");
                return Err(Unwelcome::Complaint(Side::new(Box::new(stream)), complaint));
            }
            Ok(other) => return welcome(Box::new(stream), other),
            Err(BadStart::Gone(error)) => return Err(Unwelcome::Gone(error)),
            Err(BadStart::Opening(error)) => return Err(malformed(Box::new(stream), error)),
        }
    }
}

/// The same under TLS.
async fn hear(mut stream: Box<dyn Duplex>) -> Result<Caller, Unwelcome> {
    loop {
        match read_opening(&mut stream).await {
            // Some clients ask for GSSAPI even then.
            Ok(Opening::Gss) => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
            }
            Ok(other) => return welcome(stream, other),
            Err(BadStart::Gone(error)) => return Err(Unwelcome::Gone(error)),
            Err(BadStart::Opening(error)) => return Err(malformed(stream, error)),
        }
    }
}

fn welcome(stream: Box<dyn Duplex>, opening: Opening) -> Result<Caller, Unwelcome> {
    let side = Side::new(stream);
    match opening {
        Opening::Cancel(key) => Ok(Caller::Cancel(key)),
        Opening::Startup(startup) => Ok(Caller::Session { side, startup }),
        Opening::Ssl | Opening::Gss => {
            let complaint = Complaint::fatal("08P01", "encryption was asked for again");
            Err(Unwelcome::Complaint(side, complaint))
        }
    }
}

fn malformed(stream: Box<dyn Duplex>, error: replat_wire::startup::BadOpening) -> Unwelcome {
    Unwelcome::Complaint(Side::new(stream), Complaint::fatal("08P01", error.to_string()))
}

enum BadStart {
    Gone(io::Error),
    Opening(replat_wire::startup::BadOpening),
}

/// Reads one first message and not a byte more.
async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<Opening, BadStart> {
    let mut bytes = vec![0; 8];
    stream.read_exact(&mut bytes).await.map_err(BadStart::Gone)?;
    if let Some((found, _)) = opening(&bytes).map_err(BadStart::Opening)? {
        return Ok(found);
    }
    // It has passed the limits, or it would have been an error.
    let total = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    bytes.resize(total as usize, 0);
    stream.read_exact(&mut bytes[8..]).await.map_err(BadStart::Gone)?;
    match opening(&bytes).map_err(BadStart::Opening)? {
        Some((found, _)) => Ok(found),
        None => Err(BadStart::Gone(io::ErrorKind::InvalidData.into())),
    }
}

/// Lets the client prove that it is `user`. The proof can be passed on.
pub(crate) async fn authenticate(
    side: &mut Side,
    user: &str,
    verifiers: &dyn Verifiers,
    mock: &[u8; 32],
) -> Result<Result<Login, Complaint>, io::Error> {
    let known = match verifiers.verifier(user).await {
        Ok(known) => known,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "nobody can be let in");
            return Ok(Err(Complaint::fatal("08006", "roles cannot be looked up at the moment")));
        }
    };
    let verifier = known.unwrap_or_else(|| Verifier::mock(mock, user));
    backend::put_sasl_offer(&mut side.output, &[MECHANISM]);
    side.drain().await?;

    let body = match answer(side).await? {
        Ok(body) => body,
        Err(complaint) => return Ok(Err(complaint)),
    };
    let Some((mechanism, first)) = frontend::sasl_initial(&body) else {
        return Ok(Err(violation("a SASL message is malformed")));
    };
    if mechanism != MECHANISM.as_bytes() {
        return Ok(Err(violation("the client chose a SASL mechanism that was not offered")));
    }
    let challenge = match Challenge::to(verifier, first, &nonce().map_err(io::Error::other)?) {
        Ok(challenge) => challenge,
        Err(error) => return Ok(Err(violation(&error.to_string()))),
    };
    backend::put_sasl_continue(&mut side.output, challenge.message().as_bytes());
    side.drain().await?;

    let body = match answer(side).await? {
        Ok(body) => body,
        Err(complaint) => return Ok(Err(complaint)),
    };
    Ok(match challenge.accept(&body) {
        Ok((login, signature)) => {
            backend::put_sasl_final(&mut side.output, signature.as_bytes());
            Ok(login)
        }
        Err(ScramError::WrongProof) => {
            Err(Complaint::fatal("28P01", format!("password authentication failed for user \"{user}\"")))
        }
        Err(error) => Err(violation(&error.to_string())),
    })
}

async fn answer(side: &mut Side) -> io::Result<Result<BytesMut, Complaint>> {
    match side.message(BODY_MAX_BEFORE_LOGIN).await {
        Ok((frontend::tag::PASSWORD, body)) => Ok(Ok(body)),
        Ok((tag, _)) => {
            Ok(Err(violation(&format!("a message {} came instead of the answer to a login", Tag(tag)))))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(violation(&error.to_string()))),
        Err(error) => Err(error),
    }
}

pub(crate) fn violation(what: &str) -> Complaint {
    Complaint::fatal("08P01", what)
}
