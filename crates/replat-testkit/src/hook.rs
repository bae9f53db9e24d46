//! A small HTTP server that is told things: it notes each request, and answers as it is asked to.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A longer head is nobody's. Unit: bytes.
const HEAD_MAX: usize = 64 << 10;

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`, say.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The fields of its head, by lower-case names.
    pub fields: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// With this status.
    Status(u16),
    /// Never, for as long as the server lives.
    Never,
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub struct HookServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    seen: watch::Sender<Vec<Request>>,
}

impl Drop for HookServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HookServer {
    /// A server at `address`; port 0 is a free one. It answers 204 to whatever has no reply of its own.
    ///
    /// # Errors
    ///
    /// If it cannot listen there.
    pub async fn start(address: SocketAddr) -> io::Result<HookServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { replies: Mutex::default(), seen: watch::channel(Vec::new()).0 });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            // Connections end with the server.
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(attend(stream, serving.clone()));
            }
        });
        Ok(HookServer { address, shared, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next requests are answered like this, in order.
    pub fn answer(&self, replies: &[Reply]) {
        self.shared.replies().extend(replies);
    }

    /// All requests so far, once there are at least `count`.
    pub async fn seen(&self, count: usize) -> Vec<Request> {
        let mut seen = self.shared.seen.subscribe();
        // The sender is ours.
        let enough = seen.wait_for(|seen| seen.len() >= count).await;
        enough.map(|seen| seen.clone()).unwrap_or_default()
    }
}

impl Shared {
    fn replies(&self) -> MutexGuard<'_, VecDeque<Reply>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn attend(mut stream: TcpStream, shared: Arc<Shared>) {
    // A client that breaks off has nothing to be told.
    while let Ok(Some(request)) = read(&mut stream).await {
        let reply = shared.replies().pop_front().unwrap_or(Reply::Status(204));
        shared.seen.send_modify(|seen| seen.push(request));
        match reply {
            Reply::Never => std::future::pending().await,
            Reply::Status(status) => {
                let answer = format!("HTTP/1.1 {status} As asked\r\nContent-Length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let fields: BTreeMap<String, String> = lines.filter_map(field).collect();
    let length = fields.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Request { method, path, fields, body }))
}
