//! What a server says: the few messages that a relay looks into, and those that it says in a server's place.

use bytes::{BufMut, BytesMut};

use crate::frame::{put, put_text, split_text};
use crate::startup::CancelKey;

/// The tags of a server's messages.
pub mod tag {
    /// Something about logging in.
    pub const AUTHENTICATION: u8 = b'R';
    /// How to have a statement cancelled.
    pub const KEY_DATA: u8 = b'K';
    /// A Bind succeeded.
    pub const BIND_COMPLETE: u8 = b'2';
    /// A Close succeeded.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// A statement ended.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// The server waits for rows.
    pub const COPY_IN: u8 = b'G';
    /// The server begins to send rows.
    pub const COPY_OUT: u8 = b'H';
    /// Rows go both ways; replication only.
    pub const COPY_BOTH: u8 = b'W';
    /// One row.
    pub const DATA_ROW: u8 = b'D';
    /// Something failed.
    pub const ERROR: u8 = b'E';
    /// Something to know.
    pub const NOTICE: u8 = b'N';
    /// Somebody said NOTIFY.
    pub const NOTIFICATION: u8 = b'A';
    /// A setting's value.
    pub const PARAMETER: u8 = b'S';
    /// A Parse succeeded.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// The server takes the next request.
    pub const READY: u8 = b'Z';
    /// The server does not know the version or an option.
    pub const NEGOTIATE: u8 = b'v';
}

/// Where a session stands towards transactions, by its server's last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStatus {
    /// In none.
    Idle,
    /// In one.
    Open,
    /// In one that can only be rolled back.
    Failed,
}

impl TxStatus {
    /// Reads a ReadyForQuery's body.
    pub fn read(body: &[u8]) -> Option<TxStatus> {
        match body {
            b"I" => Some(TxStatus::Idle),
            b"T" => Some(TxStatus::Open),
            b"E" => Some(TxStatus::Failed),
            _ => None,
        }
    }
}

/// What a server says about logging in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Come in.
    Ok,
    /// The password itself.
    Cleartext,
    /// The password's MD5 with this salt.
    Md5([u8; 4]),
    /// One of these mechanisms.
    Sasl(Vec<&'a [u8]>),
    /// The next step of the mechanism.
    SaslContinue(&'a [u8]),
    /// Its last step.
    SaslFinal(&'a [u8]),
    /// Anything else, by its number.
    Other(i32),
}

impl<'a> Authentication<'a> {
    /// Reads the body of an authentication message; `None` if it is too short for what it says.
    pub fn read(body: &'a [u8]) -> Option<Authentication<'a>> {
        let (kind, rest) = body.split_first_chunk()?;
        Some(match i32::from_be_bytes(*kind) {
            0 => Authentication::Ok,
            3 => Authentication::Cleartext,
            5 => Authentication::Md5(rest.try_into().ok()?),
            10 => Authentication::Sasl(mechanisms(rest)),
            11 => Authentication::SaslContinue(rest),
            12 => Authentication::SaslFinal(rest),
            other => Authentication::Other(other),
        })
    }
}

fn mechanisms(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((name, after)) = split_text(rest).filter(|(name, _)| !name.is_empty()) {
        found.push(name);
        rest = after;
    }
    found
}

/// Reads a BackendKeyData's body; `None` if the key is not protocol 3.0's.
pub fn key_data(body: &[u8]) -> Option<CancelKey> {
    let &[p0, p1, p2, p3, s0, s1, s2, s3] = body else { return None };
    let secret = i32::from_be_bytes([s0, s1, s2, s3]);
    Some(CancelKey { pid: i32::from_be_bytes([p0, p1, p2, p3]), secret })
}

/// Reads a ParameterStatus's body: name and value.
pub fn parameter(body: &[u8]) -> Option<(&str, &str)> {
    let (name, rest) = split_text(body)?;
    let (value, _) = split_text(rest)?;
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}

/// The words of a CommandComplete's body, such as `INSERT 0 1`.
pub fn command(body: &[u8]) -> &[u8] {
    split_text(body).map_or(body, |(text, _)| text)
}

/// The values of a DataRow's body, if it is whole; `None` in a place is null.
pub fn row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let count = usize::try_from(i16::from_be_bytes(*count)).ok()?;
    let mut values = Vec::with_capacity(count.min(rest.len() / 4));
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk()?;
        let (value, after) = match i32::from_be_bytes(*length) {
            -1 => (None, after),
            length => {
                let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(value), after)
            }
        };
        values.push(value);
        rest = after;
    }
    Some(values)
}

/// The fields of an ErrorResponse, by their letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorFields<'a>(Vec<(u8, &'a str)>);

impl<'a> ErrorFields<'a> {
    /// Reads a body as far as it can be read. What is not UTF-8 is left out.
    pub fn read(body: &'a [u8]) -> ErrorFields<'a> {
        let mut fields = Vec::new();
        let mut rest = body;
        while let Some((&field, after)) = rest.split_first().filter(|(field, _)| **field != 0) {
            let Some((text, after)) = split_text(after) else { break };
            fields.extend(std::str::from_utf8(text).ok().map(|text| (field, text)));
            rest = after;
        }
        ErrorFields(fields)
    }

    /// The field with this letter.
    pub fn get(&self, field: u8) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == field).map(|(_, text)| *text)
    }
}

/// What is wrong, in the fields of an ErrorResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Whether the session ends with it.
    pub fatal: bool,
    /// The SQLSTATE, five characters.
    pub sqlstate: String,
    /// One sentence without a full stop.
    pub message: String,
    /// More of the same.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

impl Complaint {
    /// A complaint that the session survives.
    pub fn error(sqlstate: &str, message: impl Into<String>) -> Complaint {
        let (detail, hint) = (None, None);
        Complaint { fatal: false, sqlstate: sqlstate.to_owned(), message: message.into(), detail, hint }
    }

    /// A complaint that ends the session.
    pub fn fatal(sqlstate: &str, message: impl Into<String>) -> Complaint {
        Complaint { fatal: true, ..Complaint::error(sqlstate, message) }
    }

    /// The same with more detail.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Complaint {
        Complaint { detail: Some(detail.into()), ..self }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Complaint {
        Complaint { hint: Some(hint.into()), ..self }
    }

    /// Reads an ErrorResponse's body. A server that leaves out the SQLSTATE gets `XX000`.
    pub fn read(body: &[u8]) -> Complaint {
        let mut complaint = Complaint::error("XX000", "the server did not say what is wrong");
        let mut rest = body;
        while let Some((&field, after)) = rest.split_first().filter(|(field, _)| **field != 0) {
            let Some((text, after)) = split_text(after) else { break };
            let text = String::from_utf8_lossy(text).into_owned();
            match field {
                b'V' => complaint.fatal = matches!(text.as_str(), "FATAL" | "PANIC"),
                b'C' if text.len() == 5 => complaint.sqlstate = text,
                b'M' => complaint.message = text,
                b'D' => complaint.detail = Some(text),
                b'H' => complaint.hint = Some(text),
                _ => {}
            }
            rest = after;
        }
        complaint
    }

    /// Appends the ErrorResponse.
    pub fn put(&self, out: &mut BytesMut) {
        let severity = if self.fatal { "FATAL" } else { "ERROR" };
        let more = [(b'D', &self.detail), (b'H', &self.hint)];
        put(out, tag::ERROR, |out| {
            let mut field = |name, text: &str| {
                out.put_u8(name);
                put_text(out, text);
            };
            field(b'S', severity);
            field(b'V', severity);
            field(b'C', &self.sqlstate);
            field(b'M', &self.message);
            for (name, text) in more {
                if let Some(text) = text {
                    field(name, text);
                }
            }
            out.put_u8(0);
        });
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

/// Appends a ReadyForQuery.
pub fn put_ready(out: &mut BytesMut, status: TxStatus) {
    let letter = match status {
        TxStatus::Idle => b'I',
        TxStatus::Open => b'T',
        TxStatus::Failed => b'E',
    };
    put(out, tag::READY, |out| out.put_u8(letter));
}

/// Appends the message that lets a client in.
pub fn put_authenticated(out: &mut BytesMut) {
    put(out, tag::AUTHENTICATION, |out| out.put_i32(0));
}

/// Appends the offer of SASL mechanisms.
pub fn put_sasl_offer(out: &mut BytesMut, mechanisms: &[&str]) {
    put(out, tag::AUTHENTICATION, |out| {
        out.put_i32(10);
        mechanisms.iter().for_each(|name| put_text(out, name));
        out.put_u8(0);
    });
}

/// Appends a further step of the SASL exchange.
pub fn put_sasl_continue(out: &mut BytesMut, data: &[u8]) {
    put(out, tag::AUTHENTICATION, |out| {
        out.put_i32(11);
        out.put_slice(data);
    });
}

/// Appends the last step of the SASL exchange.
pub fn put_sasl_final(out: &mut BytesMut, data: &[u8]) {
    put(out, tag::AUTHENTICATION, |out| {
        out.put_i32(12);
        out.put_slice(data);
    });
}

/// Appends a setting's value.
pub fn put_parameter(out: &mut BytesMut, name: &str, value: &str) {
    put(out, tag::PARAMETER, |out| {
        put_text(out, name);
        put_text(out, value);
    });
}

/// Appends how to have a statement cancelled.
pub fn put_key_data(out: &mut BytesMut, key: CancelKey) {
    put(out, tag::KEY_DATA, |out| {
        out.put_i32(key.pid);
        out.put_i32(key.secret);
    });
}

/// Appends that only protocol 3.0 is spoken, and which of the client's protocol options are not known.
pub fn put_negotiate<'a>(out: &mut BytesMut, unknown: impl IntoIterator<Item = &'a str>) {
    let unknown: Vec<_> = unknown.into_iter().collect();
    put(out, tag::NEGOTIATE, |out| {
        out.put_i32(3 << 16);
        out.put_i32(i32::try_from(unknown.len()).expect("a start-up packet has few options"));
        unknown.iter().for_each(|name| put_text(out, name));
    });
}
