//! The frame that every message but the first wears: a tag, a length, a body.

use bytes::{BufMut, BytesMut};

/// How many bytes stand before a body: the tag and the length.
pub const HEAD_BYTES: usize = 5;

/// The longest body that PostgreSQL itself takes, less the length's own four bytes.
pub const BODY_MAX: usize = 0x3fff_ffff - 4;

/// The longest body before somebody has proved who they are. A SCRAM message has a few hundred bytes.
pub const BODY_MAX_BEFORE_LOGIN: usize = 4 * 1024;

/// What the first five bytes of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The kind of message; its meaning depends on who sent it.
    pub tag: u8,
    /// The length of what follows the head. Unit: bytes.
    pub body: usize,
}

impl Head {
    /// The length of the whole message. Unit: bytes.
    pub fn total(self) -> usize {
        HEAD_BYTES + self.body
    }
}

/// A length that no message can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Less than the length field itself, or negative.
    #[error("a message {} says that it has {length} bytes; four are the least", Tag(*tag))]
    Length {
        /// The message's tag.
        tag: u8,
        /// What its length field says.
        length: i32,
    },
    /// More than is allowed at this point.
    #[error("a message {} says that it has {length} bytes; {max} are the most here", Tag(*tag))]
    TooLong {
        /// The message's tag.
        tag: u8,
        /// What its length field says.
        length: usize,
        /// The most that is taken, counted in the same way.
        max: usize,
    },
}

/// A tag as people write it: `'Q'`, or its number if it is not a letter or digit.
#[derive(Clone, Copy)]
pub struct Tag(pub u8);

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            tag if tag.is_ascii_graphic() => write!(f, "'{}'", char::from(tag)),
            tag => write!(f, "{tag:#04x}"),
        }
    }
}

/// Reads the head that `bytes` begin with; `None` if more bytes are needed.
///
/// # Errors
///
/// [`BadFrame`] if the length cannot be, or is more than `body_max` bytes of body.
pub fn head(bytes: &[u8], body_max: usize) -> Result<Option<Head>, BadFrame> {
    let Some((&[tag, l0, l1, l2, l3], _)) = bytes.split_first_chunk() else { return Ok(None) };
    let length = i32::from_be_bytes([l0, l1, l2, l3]);
    match usize::try_from(length).ok().and_then(|whole| whole.checked_sub(4)) {
        None => Err(BadFrame::Length { tag, length }),
        Some(body) if body > body_max => {
            Err(BadFrame::TooLong { tag, length: body + 4, max: body_max.saturating_add(4) })
        }
        Some(body) => Ok(Some(Head { tag, body })),
    }
}

/// Appends a message with this body, which was once read from one.
pub fn put_frame(out: &mut BytesMut, tag: u8, body: &[u8]) {
    put(out, tag, |out| out.put_slice(body));
}

/// Appends one message whose body `write` writes.
pub(crate) fn put(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    put_length(out, write);
}

/// Appends a length and what `write` writes, which the length counts together with itself.
pub(crate) fn put_length(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    write(out);
    let length = i32::try_from(out.len() - start).expect("no message of ours comes near two gigabytes");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a text and its zero byte. A zero byte within would end it early for the reader, so it ends it here.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    let end = text.find('\0').unwrap_or(text.len());
    out.put_slice(&text.as_bytes()[..end]);
    out.put_u8(0);
}

/// The bytes before the first zero byte, and those after it.
pub(crate) fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}
