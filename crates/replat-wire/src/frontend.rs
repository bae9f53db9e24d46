//! What a client says: the few messages that a relay looks into, and those that it says itself.
//!
//! Names and statements are bytes in the client's encoding, which need not be UTF-8.

use bytes::{BufMut, BytesMut};

use crate::frame::{put, put_text, split_text};

/// The tags of a client's messages.
pub mod tag {
    /// Bind: a portal from a statement and values.
    pub const BIND: u8 = b'B';
    /// Close a statement or a portal.
    pub const CLOSE: u8 = b'C';
    /// Rows of COPY, either way.
    pub const COPY_DATA: u8 = b'd';
    /// The end of COPY's rows.
    pub const COPY_DONE: u8 = b'c';
    /// COPY is given up.
    pub const COPY_FAIL: u8 = b'f';
    /// Describe a statement or a portal.
    pub const DESCRIBE: u8 = b'D';
    /// Run a portal.
    pub const EXECUTE: u8 = b'E';
    /// Send what there is.
    pub const FLUSH: u8 = b'H';
    /// Call a function by its oid.
    pub const FUNCTION: u8 = b'F';
    /// Prepare a statement.
    pub const PARSE: u8 = b'P';
    /// An answer while logging in.
    pub const PASSWORD: u8 = b'p';
    /// Run statements as text.
    pub const QUERY: u8 = b'Q';
    /// The end of a series of extended messages.
    pub const SYNC: u8 = b'S';
    /// Good-bye.
    pub const TERMINATE: u8 = b'X';
}

/// Whether a client that has logged in may send a message with this tag.
pub fn is_known(tag: u8) -> bool {
    use tag::*;
    matches!(
        tag,
        BIND | CLOSE
            | COPY_DATA
            | COPY_DONE
            | COPY_FAIL
            | DESCRIBE
            | EXECUTE
            | FLUSH
            | FUNCTION
            | PARSE
            | QUERY
            | SYNC
            | TERMINATE
    )
}

/// Whether a message belongs to the extended protocol, so that a Sync must follow it.
pub fn is_extended(tag: u8) -> bool {
    matches!(tag, tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE)
}

/// The statement in a Query's body; if the body was cut short, what there is of it.
pub fn query(body: &[u8]) -> &[u8] {
    split_text(body).map_or(body, |(text, _)| text)
}

/// What a Parse prepares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// Its text.
    pub sql: &'a [u8],
    /// The oids of its parameters' types, four bytes each, as far as the client says.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a Parse's body, or as much of it as there is; `None` if not even the name is there.
    pub fn read(body: &'a [u8]) -> Option<Parse<'a>> {
        let (name, rest) = split_text(body)?;
        let (sql, rest) = split_text(rest).unwrap_or((rest, &[]));
        let types = rest.split_first_chunk::<2>().map_or(&[][..], |(_, types)| types);
        Some(Parse { name, sql, types })
    }

    /// The oids of the parameters' types; zero where the client leaves it to the server.
    pub fn type_oids(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.types.chunks_exact(4).map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
    }
}

/// What a Bind puts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal that it makes.
    pub portal: &'a [u8],
    /// The statement that it takes; empty for the unnamed one.
    pub statement: &'a [u8],
    rest: &'a [u8],
}

/// A value for a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// Whether the bytes are the type's binary form, not text.
    pub binary: bool,
    /// The bytes; `None` for null.
    pub bytes: Option<&'a [u8]>,
}

impl<'a> Bind<'a> {
    /// Reads a Bind's body, or as much of it as there is; `None` if the two names are not there.
    pub fn read(body: &'a [u8]) -> Option<Bind<'a>> {
        let (portal, rest) = split_text(body)?;
        let (statement, rest) = split_text(rest)?;
        Some(Bind { portal, statement, rest })
    }

    /// The values, if all of them are there and well formed.
    pub fn values(&self) -> Option<Vec<Value<'a>>> {
        let (formats, rest) = counted16(self.rest)?;
        let (formats, rest) = rest.split_at_checked(formats * 2)?;
        let (count, mut rest) = counted16(rest)?;
        let mut values = Vec::with_capacity(count.min(rest.len() / 4));
        for at in 0..count {
            let (length, after) = rest.split_first_chunk()?;
            let bytes = match i32::from_be_bytes(*length) {
                -1 => None,
                length => Some(usize::try_from(length).ok()?),
            };
            let (bytes, after) = match bytes {
                None => (None, after),
                Some(length) => after.split_at_checked(length).map(|(value, after)| (Some(value), after))?,
            };
            rest = after;
            // One format stands for all values, none for text.
            let format = match formats.len() / 2 {
                1 => formats.get(..2),
                _ => formats.get(at * 2..at * 2 + 2),
            };
            values.push(Value { binary: format.is_some_and(|format| format == [0, 1]), bytes });
        }
        Some(values)
    }
}

fn counted16(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(i16::from_be_bytes(*count)).ok()?, rest))
}

/// What a Describe or a Close is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

impl<'a> Object<'a> {
    /// Reads the body of a Describe or a Close; `None` if it is neither form.
    pub fn read(body: &'a [u8]) -> Option<Object<'a>> {
        let (kind, rest) = body.split_first()?;
        let (name, _) = split_text(rest)?;
        match kind {
            b'S' => Some(Object::Statement(name)),
            b'P' => Some(Object::Portal(name)),
            _ => None,
        }
    }
}

/// Appends a Query.
pub fn put_query(out: &mut BytesMut, sql: &str) {
    put(out, tag::QUERY, |out| put_text(out, sql));
}

/// Appends a Sync.
pub fn put_sync(out: &mut BytesMut) {
    put(out, tag::SYNC, |_| {});
}

/// Appends a Close of a prepared statement.
pub fn put_close_statement(out: &mut BytesMut, name: &[u8]) {
    put(out, tag::CLOSE, |out| {
        out.put_u8(b'S');
        out.put_slice(name);
        out.put_u8(0);
    });
}

/// Appends a Terminate.
pub fn put_terminate(out: &mut BytesMut) {
    put(out, tag::TERMINATE, |_| {});
}

/// Appends the answer that begins a SASL exchange.
pub fn put_sasl_initial(out: &mut BytesMut, mechanism: &str, data: &[u8]) {
    put(out, tag::PASSWORD, |out| {
        put_text(out, mechanism);
        out.put_i32(i32::try_from(data.len()).expect("a SCRAM message is short"));
        out.put_slice(data);
    });
}

/// Appends an answer that continues a SASL exchange.
pub fn put_sasl(out: &mut BytesMut, data: &[u8]) {
    put(out, tag::PASSWORD, |out| out.put_slice(data));
}

/// Appends a password in the clear, or hashed by the caller.
pub fn put_password(out: &mut BytesMut, password: &str) {
    put(out, tag::PASSWORD, |out| put_text(out, password));
}

/// The mechanism and the data in the body of the message that begins a SASL exchange; `None` if the body is none.
pub fn sasl_initial(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mechanism, rest) = split_text(body)?;
    let (length, data) = rest.split_first_chunk()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    (length == data.len()).then_some((mechanism, data))
}
