//! Rows in the text format of COPY, for values that are text already.

use bytes::{BufMut, BytesMut};

/// Appends one row to `out`: values separated by tabs, NULL as `\N`, a newline at the end.
///
/// Values are the text form of their types in the encoding of the session that reads the rows. Every byte
/// sequence without a zero byte survives, since what would end a value or start an escape is escaped.
pub fn encode_row<'a>(values: impl IntoIterator<Item = Option<&'a [u8]>>, out: &mut BytesMut) {
    for (position, value) in values.into_iter().enumerate() {
        if position > 0 {
            out.put_u8(b'\t');
        }
        match value {
            None => out.put_slice(b"\\N"),
            Some(value) => encode_value(value, out),
        }
    }
    out.put_u8(b'\n');
}

/// Copies whole runs of harmless bytes, since most values have nothing to escape.
fn encode_value(value: &[u8], out: &mut BytesMut) {
    let mut rest = value;
    while let Some((at, escaped)) = first_special(rest) {
        out.put_slice(&rest[..at]);
        out.put_slice(&[b'\\', escaped]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

fn first_special(bytes: &[u8]) -> Option<(usize, u8)> {
    bytes.iter().enumerate().find_map(|(at, byte)| escape_of(*byte).map(|escaped| (at, escaped)))
}

fn escape_of(byte: u8) -> Option<u8> {
    match byte {
        b'\\' => Some(b'\\'),
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        _ => None,
    }
}
