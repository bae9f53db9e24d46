//! Metrics to a Pushgateway: one POST over plain HTTP.
//!
//! POST and not PUT, which would take away what a run does not say: when the last success was, after a failure, and how
//! long inserts are safe, after a run that found nothing changed.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A gateway that takes longer is not waited for: the run is over.
const WITHIN: Duration = Duration::from_secs(10);

/// What of an answer is read at most.
const ANSWER_MAX: u64 = 64 * 1024;

/// Where to: host and port for the connection, authority and path for the request.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    address: String,
    authority: String,
    path: String,
}

/// Replaces the metrics of the same names that the gateway has of this job.
///
/// # Errors
///
/// In words, with nothing of a user name or password that the address may hold.
pub async fn push(url: &str, text: &str) -> Result<(), String> {
    let target = target(url)?;
    let pushed = tokio::time::timeout(WITHIN, post(&target, text)).await;
    pushed.unwrap_or_else(|_| Err(format!("{} did not answer within {WITHIN:?}", target.authority)))
}

fn target(url: &str) -> Result<Target, String> {
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some(("https", _)) => return Err("only http:// is spoken; put a proxy before it for https".into()),
        _ => return Err("write http://HOST:PORT, or with a path behind it".into()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("a user name in the address is not sent; leave it out".into());
    }
    let legal = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    if authority.is_empty() || !legal(authority) || !legal(path) {
        return Err("the address has no host, or characters that must be written as %XX".into());
    }
    let after = authority.rsplit_once(']').map_or(authority, |(_, after)| after);
    let address = if after.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
    let path = if matches!(path, "" | "/") { "/metrics/job/replat_rotate" } else { path };
    Ok(Target { address, authority: authority.to_owned(), path: path.to_owned() })
}

async fn post(target: &Target, text: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", target.authority);
    let mut stream = TcpStream::connect(&target.address).await.map_err(failed)?;
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        target.path,
        target.authority,
        text.len()
    );
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await.map_err(failed)?;
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(code) => Err(format!("{} answered {code}", target.authority)),
        None => Err(format!("{} did not answer in HTTP", target.authority)),
    }
}

/// The status of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\r' || *b == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let rows = [
            ("http://gw:9091", Ok(("gw:9091", "/metrics/job/replat_rotate"))),
            ("http://gw:9091/", Ok(("gw:9091", "/metrics/job/replat_rotate"))),
            ("http://gw/metrics/job/x/instance/y", Ok(("gw:80", "/metrics/job/x/instance/y"))),
            ("http://[::1]/x", Ok(("[::1]:80", "/x"))),
            ("http://[::1]:9091/x", Ok(("[::1]:9091", "/x"))),
            ("https://gw", Err(())),
            ("gw:9091", Err(())),
            ("http://", Err(())),
            ("http://user:pass@gw", Err(())),
            ("http://gw/a b", Err(())),
            ("http://gw\r\nX: y/", Err(())),
        ];
        for (url, wanted) in rows {
            let found = target(url);
            match wanted {
                Ok((address, path)) => {
                    let found = found.unwrap_or_else(|e| panic!("{url}: {e}"));
                    assert_eq!((found.address.as_str(), found.path.as_str()), (address, path), "{url}");
                }
                Err(()) => {
                    let why = found.expect_err(url);
                    assert!(!why.contains("pass@"), "{why}");
                }
            }
        }
    }

    #[test]
    fn a_status_is_read_from_whatever_comes() {
        let rows: [(&[u8], Option<u16>); 6] = [
            (b"HTTP/1.1 202 Accepted\r\n\r\n", Some(202)),
            (b"HTTP/1.0 400 Bad Request\r\n", Some(400)),
            (b"HTTP/1.1 200", Some(200)),
            (b"SSH-2.0-x\r\n", None),
            (b"", None),
            (b"\xff\xfe", None),
        ];
        for (answer, wanted) in rows {
            assert_eq!(status(answer), wanted);
        }
    }

    #[tokio::test]
    async fn a_page_arrives_whole() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let gateway = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = Vec::new();
            while !request.ends_with(b"page\n") {
                let byte = stream.read_u8().await.expect("more of the request");
                request.push(byte);
            }
            stream.write_all(b"HTTP/1.1 202 Accepted\r\n\r\n").await.expect("an answer");
            String::from_utf8(request).expect("text")
        });
        push(&format!("http://127.0.0.1:{port}"), "the page\n").await.expect("pushed");
        let request = gateway.await.expect("the gateway ends");
        assert!(request.starts_with("POST /metrics/job/replat_rotate HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("Content-Length: 9\r\n"), "{request}");
    }
}
