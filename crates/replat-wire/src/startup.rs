//! The first message of a connection, which has no tag.

use bytes::{BufMut, BytesMut};

use crate::frame::{put_length, put_text, split_text};

/// The longest first message, as in PostgreSQL. Unit: bytes, the length's own four included.
pub const OPENING_MAX: usize = 10_000;

const SSL: u32 = 0x04d2_162f;
const GSS: u32 = 0x04d2_1630;
const CANCEL: u32 = 0x04d2_162e;

/// What somebody wants who has just connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// To go on under TLS.
    Ssl,
    /// To go on under GSSAPI's encryption.
    Gss,
    /// That a session's statement ends.
    Cancel(CancelKey),
    /// A session.
    Startup(Startup),
}

/// What names a session to those who want its statement to end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// The process that serves the session, or says so.
    pub pid: i32,
    /// What only the session's own client knows.
    pub secret: i32,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelKey").field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// A wish for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The minor version of protocol 3 that the client speaks.
    pub minor: u16,
    /// Names and values in the client's order: `user`, `database`, `options`, settings.
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// The value of a parameter; the last one counts, as in PostgreSQL.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Parameters that ask for a feature of the protocol itself rather than for a setting.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_."))
    }
}

/// Why a first message is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOpening {
    /// Shorter than its two numbers, or longer than is allowed.
    #[error("the first message says that it has {0} bytes; it has between 8 and {OPENING_MAX}")]
    Length(i32),
    /// Another protocol, or another generation of it.
    #[error("protocol {major}.{minor} is not spoken here, only 3.0")]
    Version {
        /// The generation.
        major: u16,
        /// The version in it.
        minor: u16,
    },
    /// A request with too few or too many bytes.
    #[error("a request of {0} bytes is none")]
    Request(usize),
    /// The parameters do not end where the message ends.
    #[error("the start-up parameters do not end with the message")]
    Layout,
    /// A parameter has a value and no name.
    #[error("a start-up parameter has no name")]
    Nameless,
    /// A text is not UTF-8.
    #[error("a start-up parameter is not UTF-8")]
    NotUtf8,
    /// Something that can be said only once is said twice.
    #[error("the start-up parameter {0} is given twice")]
    Twice(&'static str),
    /// Nobody said who it is.
    #[error("no user is named")]
    NoUser,
}

/// Reads the message that a connection begins with, and its length; `None` if more bytes are needed.
///
/// # Errors
///
/// [`BadOpening`] as soon as the bytes cannot become a first message.
pub fn opening(bytes: &[u8]) -> Result<Option<(Opening, usize)>, BadOpening> {
    let Some((length, _)) = bytes.split_first_chunk() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    let total = match usize::try_from(length) {
        Ok(total) if (8..=OPENING_MAX).contains(&total) => total,
        _ => return Err(BadOpening::Length(length)),
    };
    let Some((code, _)) = bytes[4..].split_first_chunk() else { return Ok(None) };
    let code = u32::from_be_bytes(*code);
    let (major, minor) = ((code >> 16) as u16, code as u16);
    if !matches!(code, SSL | GSS | CANCEL) && major != 3 {
        return Err(BadOpening::Version { major, minor });
    }
    let Some(body) = bytes.get(8..total) else { return Ok(None) };
    let opening = match code {
        SSL | GSS if !body.is_empty() => return Err(BadOpening::Request(total)),
        SSL => Opening::Ssl,
        GSS => Opening::Gss,
        CANCEL => Opening::Cancel(cancel_key(body).ok_or(BadOpening::Request(total))?),
        _ => Opening::Startup(Startup { minor, parameters: parameters(body)? }),
    };
    Ok(Some((opening, total)))
}

fn cancel_key(body: &[u8]) -> Option<CancelKey> {
    let &[p0, p1, p2, p3, s0, s1, s2, s3] = body else { return None };
    let secret = i32::from_be_bytes([s0, s1, s2, s3]);
    Some(CancelKey { pid: i32::from_be_bytes([p0, p1, p2, p3]), secret })
}

fn parameters(body: &[u8]) -> Result<Vec<(String, String)>, BadOpening> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = body;
    let take = |rest: &mut &[u8]| {
        let (text, after) = split_text(rest).ok_or(BadOpening::Layout)?;
        *rest = after;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| BadOpening::NotUtf8)
    };
    while rest.first().is_some_and(|byte| *byte != 0) {
        let name = take(&mut rest)?;
        found.push((name, take(&mut rest)?));
    }
    match rest {
        [0] => {}
        [0, ..] => return Err(BadOpening::Nameless),
        _ => return Err(BadOpening::Layout),
    }
    for once in ["user", "database", "replication"] {
        if found.iter().filter(|(name, _)| name == once).count() > 1 {
            return Err(BadOpening::Twice(once));
        }
    }
    match found.iter().any(|(name, value)| name == "user" && !value.is_empty()) {
        true => Ok(found),
        false => Err(BadOpening::NoUser),
    }
}

/// Appends a wish for a session, in protocol 3.0.
pub fn put_startup<'a>(out: &mut BytesMut, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) {
    put_length(out, |out| {
        out.put_u32(3 << 16);
        for (name, value) in parameters {
            put_text(out, name);
            put_text(out, value);
        }
        out.put_u8(0);
    });
}

/// Appends a wish that a statement ends.
pub fn put_cancel(out: &mut BytesMut, key: CancelKey) {
    put_length(out, |out| {
        out.put_u32(CANCEL);
        out.put_i32(key.pid);
        out.put_i32(key.secret);
    });
}
