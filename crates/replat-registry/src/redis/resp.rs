//! RESP2, the protocol of Redis, as far as it is needed: commands out, replies in.

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A line of the protocol, such as an error, is at most this long. Unit: bytes.
const LINE_MAX: u64 = 64 << 10;
/// A longer value is not one of ours. Unit: bytes.
const BULK_MAX: u64 = 512 << 20;
/// Elements of one array.
const ARRAY_MAX: u64 = 1 << 22;
/// Arrays in arrays.
const DEPTH_MAX: u32 = 8;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`
    Error(String),
    /// `:12`
    Integer(i64),
    /// `$3 foo`; `None`: `$-1`.
    Bulk(Option<Vec<u8>>),
    /// `*2 …`; `*-1` counts as empty.
    Array(Vec<Reply>),
}

/// The bytes of a command.
pub fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Reads one reply. What is longer or deeper than replies are is refused before room is made for it.
pub async fn reply<R>(reader: &mut R) -> io::Result<Reply>
where
    R: AsyncBufRead + Unpin + Send,
{
    nested(reader, 0).await
}

fn nested<'a, R>(
    reader: &'a mut R,
    depth: u32,
) -> Pin<Box<dyn Future<Output = io::Result<Reply>> + Send + 'a>>
where
    R: AsyncBufRead + Unpin + Send,
{
    Box::pin(async move {
        let line = line(reader).await?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| strange("an empty line"))?;
        match kind {
            "+" => Ok(Reply::Simple(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => rest.parse().map(Reply::Integer).map_err(|_| strange("no number")),
            "$" => match length(rest, BULK_MAX)? {
                None => Ok(Reply::Bulk(None)),
                Some(length) => bulk(reader, length).await.map(|bytes| Reply::Bulk(Some(bytes))),
            },
            "*" if depth == DEPTH_MAX => Err(strange("arrays in arrays without end")),
            "*" => {
                let mut items = Vec::new();
                for _ in 0..length(rest, ARRAY_MAX)?.unwrap_or(0) {
                    items.push(nested(reader, depth + 1).await?);
                }
                Ok(Reply::Array(items))
            }
            _ => Err(strange("a reply of an unknown kind")),
        }
    })
}

/// A line without its end.
async fn line<R: AsyncBufRead + Unpin + Send>(reader: &mut R) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.take(LINE_MAX).read_until(b'\n', &mut bytes).await?;
    match bytes.strip_suffix(b"\r\n") {
        Some(line) => String::from_utf8(line.to_owned()).map_err(|_| strange("a line that is no text")),
        None if bytes.is_empty() || !bytes.ends_with(b"\n") => Err(io::ErrorKind::UnexpectedEof.into()),
        None => Err(strange("a line with another end")),
    }
}

/// A length; `None`: -1, nothing is there.
fn length(text: &str, max: u64) -> io::Result<Option<u64>> {
    match text {
        "-1" => Ok(None),
        _ => text.parse().ok().filter(|length| *length <= max).map(Some).ok_or_else(|| strange("no length")),
    }
}

async fn bulk<R: AsyncBufRead + Unpin + Send>(reader: &mut R, length: u64) -> io::Result<Vec<u8>> {
    // Room is made as bytes come, not as they are promised.
    let mut bytes = Vec::new();
    reader.take(length + 2).read_to_end(&mut bytes).await?;
    if u64::try_from(bytes.len()).ok() != Some(length + 2) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match bytes.ends_with(b"\r\n") {
        true => bytes.truncate(bytes.len() - 2),
        false => return Err(strange("a value with another length than it says")),
    }
    Ok(bytes)
}

fn strange(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("whoever listens there does not speak Redis's protocol: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    /// What is read from bytes that are all there, which takes no waiting.
    fn read(mut bytes: &[u8]) -> io::Result<Reply> {
        reply(&mut bytes).now_or_never().expect("bytes that are there need no waiting")
    }

    #[test]
    fn each_kind_is_read() {
        let cases: [(&[u8], Reply); 7] = [
            (b"+OK\r\n", Reply::Simple("OK".into())),
            (b"-ERR no\r\n", Reply::Error("ERR no".into())),
            (b":-3\r\n", Reply::Integer(-3)),
            (b"$4\r\na\r\nb\r\n", Reply::Bulk(Some(b"a\r\nb".to_vec()))),
            (b"$-1\r\n", Reply::Bulk(None)),
            (b"*-1\r\n", Reply::Array(vec![])),
            (
                b"*2\r\n:1\r\n*1\r\n+x\r\n",
                Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![Reply::Simple("x".into())])]),
            ),
        ];
        for (bytes, want) in cases {
            assert_eq!(read(bytes).expect("it is one"), want);
            for end in 0..bytes.len() {
                let cut = read(&bytes[..end]).expect_err("it was cut off");
                assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof, "{:?}", &bytes[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let deep = b"*1\r\n".repeat(100_000);
        let cases: [&[u8]; 9] = [
            b"\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b":x\r\n",
            b"$-2\r\n",
            b"$99999999999\r\n",
            b"*99999999\r\n",
            b"+a\n",
            b"$1\r\nabc\r\n",
            &deep,
        ];
        for bytes in cases {
            assert_eq!(read(bytes).expect_err("it is none").kind(), io::ErrorKind::InvalidData);
        }
    }

    proptest! {
        #[test]
        fn a_command_is_an_array_of_its_parts(parts in proptest::collection::vec(any::<Vec<u8>>(), 1..5)) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let want = Reply::Array(parts.iter().cloned().map(|part| Reply::Bulk(Some(part))).collect());
            prop_assert_eq!(read(&command(&slices)).expect("it is one"), want);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            drop(read(&bytes));
        }
    }
}
