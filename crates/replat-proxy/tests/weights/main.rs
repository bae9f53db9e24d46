//! Rows and statements that are far larger than any buffer, in a process of their own: its memory is the measure.

#[allow(dead_code)]
#[path = "../it/support.rs"]
mod support;

use std::fs;

use replat_proxy::ClientAuth;
use replat_wire::frame::{BODY_MAX, HEAD_BYTES, head};
use replat_wire::startup::put_startup;
use support::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LARGE: usize = 100_000_000;
/// What the proxy and this client may need for it.
const GROWTH_MAX_KB: u64 = 16 * 1024;

/// The most memory that this process has had. Unit: kB.
fn memory_peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Reads messages of any length in small pieces until the server is ready: how many bytes each tag had in all, and
/// the first bytes of the rows.
async fn until_ready(stream: &mut TcpStream) -> (Vec<(u8, usize)>, Vec<u8>) {
    let mut buffer = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    let (mut heads, mut beginning) = (Vec::new(), Vec::new());
    let mut rest = 0;
    loop {
        let count = stream.read(&mut piece).await.expect("the proxy answers");
        assert_ne!(count, 0, "the proxy hung up");
        buffer.extend_from_slice(&piece[..count]);
        loop {
            let skipped = rest.min(buffer.len());
            buffer.drain(..skipped);
            rest -= skipped;
            let Some(found) = head(&buffer, BODY_MAX).expect("a head").filter(|_| rest == 0) else { break };
            if found.tag == b'D' && beginning.is_empty() {
                beginning = buffer.iter().copied().take(32).collect();
            }
            heads.push((found.tag, found.body));
            buffer.drain(..HEAD_BYTES);
            rest = found.body;
            if found.tag == b'Z' {
                return (heads, beginning);
            }
        }
    }
}

async fn query(stream: &mut TcpStream, parts: impl Iterator<Item = Vec<u8>>, length: usize) {
    let length = u32::try_from(length + 5).expect("not that long");
    stream.write_all(&[&b"Q"[..], &length.to_be_bytes()].concat()).await.expect("written");
    for part in parts {
        stream.write_all(&part).await.expect("written");
    }
    stream.write_all(b"\0").await.expect("written");
}

#[tokio::test]
async fn a_hundred_megabytes_go_through_a_small_proxy() {
    let world = World::with(|settings| settings.auth = ClientAuth::Trust).await;
    let mut stream = TcpStream::connect(world.address).await.expect("the proxy listens");
    let mut out = bytes::BytesMut::new();
    put_startup(&mut out, [("user", "postgres+acme"), ("database", "app")]);
    stream.write_all(&out).await.expect("written");
    until_ready(&mut stream).await;
    let before = memory_peak();

    let sql = format!("select repeat('x', {LARGE})").into_bytes();
    query(&mut stream, std::iter::once(sql.clone()), sql.len()).await;
    // A reader that takes its time: whoever waits for it must not hoard.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let (heads, _) = until_ready(&mut stream).await;
    assert!(heads.contains(&(b'D', LARGE + 6)), "{heads:?}");

    let piece = vec![b'y'; 50_000];
    let (begin, end) = (b"select length('".to_vec(), b"')".to_vec());
    let length = begin.len() + LARGE + end.len();
    let pieces = std::iter::repeat_n(piece, LARGE / 50_000);
    query(&mut stream, std::iter::once(begin).chain(pieces).chain(std::iter::once(end)), length).await;
    let (heads, row) = until_ready(&mut stream).await;
    assert!(String::from_utf8_lossy(&row).contains(&LARGE.to_string()), "{heads:?} {row:?}");

    let grown = memory_peak() - before;
    println!("the process grew by {grown} kB");
    assert!(grown < GROWTH_MAX_KB, "the process grew by {grown} kB");
}
