//! Streams to a server: TCP or a Unix socket, in the clear or under TLS, before anybody has logged in.

use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::Failure;
use crate::conninfo::{ConnInfo, Host, Keepalive, Place};
use crate::tls;

/// Where one socket leads to.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What one attempt asks of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encryption {
    Never,
    IfOffered,
    Always,
}

/// The addresses that a host stands for, in the resolver's order.
pub(super) async fn addresses(host: &Host) -> Result<Vec<Address>, Failure> {
    match &host.place {
        Place::Address { ip, .. } => Ok(vec![Address::Tcp(SocketAddr::new(*ip, host.port))]),
        Place::UnixDirectory(path) => Ok(vec![Address::Unix(path.join(format!(".s.PGSQL.{}", host.port)))]),
        Place::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), host.port)).await;
            let found: Vec<_> = found.map_err(not_found)?.map(Address::Tcp).collect();
            match found.is_empty() {
                true => Err(not_found(io::ErrorKind::NotFound.into())),
                false => Ok(found),
            }
        }
    }
}

fn not_found(source: io::Error) -> Failure {
    Failure::NotFound { source }
}

/// Opens a stream and settles its encryption.
pub(super) async fn dial(
    info: &ConnInfo,
    host: &Host,
    address: &Address,
    encryption: Encryption,
) -> Result<PgStream, Failure> {
    match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            Ok(PgStream::plain(stream))
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            tune(&stream, &info.keepalive).map_err(unreachable)?;
            settle(info, host, stream, encryption).await
        }
    }
}

fn unreachable(source: io::Error) -> Failure {
    Failure::Unreachable { source }
}

fn tune(stream: &TcpStream, keepalive: &Keepalive) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    if keepalive.enabled {
        let probes = TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        socket.set_tcp_keepalive(&probes.with_retries(keepalive.count))?;
    }
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(keepalive.user_timeout)?;
    Ok(())
}

/// Asks the server for TLS and begins it.
async fn settle(
    info: &ConnInfo,
    host: &Host,
    mut stream: TcpStream,
    encryption: Encryption,
) -> Result<PgStream, Failure> {
    if encryption == Encryption::Never {
        return Ok(PgStream::plain(stream));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    // One byte and no more: whatever is behind it must come out of TLS, or somebody in between has put it there.
    match (stream.read_u8().await?, encryption) {
        (b'S', _) => {
            let (stream, tls_server_end_point) = tls::handshake(info, host, stream).await?;
            Ok(PgStream { inner: Box::new(stream), encrypted: true, tls_server_end_point })
        }
        (b'N', Encryption::IfOffered) => Ok(PgStream::plain(stream)),
        (b'N', _) => Err(Failure::TlsNotOffered),
        // An error message before any login, and by whom is not proved, so its text is not shown.
        (b'E', _) => {
            Err(Failure::Protocol { what: "the server answered the request for TLS by an error".into() })
        }
        _ => Err(Failure::Protocol {
            what: "whoever listens there does not speak PostgreSQL's protocol".into(),
        }),
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// A stream to a server, encrypted or not.
pub struct PgStream {
    inner: Box<dyn Duplex>,
    /// Whether TLS was agreed upon.
    pub encrypted: bool,
    /// The hash of the server's certificate that SCRAM binds to; `None` without TLS, or if the certificate's
    /// signature does not define one.
    pub(crate) tls_server_end_point: Option<Vec<u8>>,
}

impl PgStream {
    fn plain(stream: impl Duplex + 'static) -> PgStream {
        PgStream { inner: Box::new(stream), encrypted: false, tls_server_end_point: None }
    }
}

impl AsyncRead for PgStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for PgStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl TlsStream for PgStream {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.tls_server_end_point {
            Some(end_point) => ChannelBinding::tls_server_end_point(end_point.clone()),
            None => ChannelBinding::none(),
        }
    }
}

/// Hands a stream whose encryption is settled to the driver.
pub(super) struct Secured;

impl TlsConnect<PgStream> for Secured {
    type Stream = PgStream;
    type Error = io::Error;
    type Future = Ready<Result<PgStream, io::Error>>;

    fn connect(self, stream: PgStream) -> Self::Future {
        ready(Ok(stream))
    }
}
