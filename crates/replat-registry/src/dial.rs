//! Streams to servers that are not PostgreSQL: TCP, in the clear or under TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::{Host, TlsFiles};
use crate::kv::KvError;

/// How long one server may take to let us in.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A silent connection is asked after this long, and counts as dead after four answers that did not come.
const SILENT_MAX: Duration = Duration::from_secs(5);

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How servers are reached.
#[derive(Clone, Default)]
pub(crate) struct Dial {
    tls: Option<Arc<ClientConfig>>,
}

/// Why TLS cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file, or the system's store of authorities, does not hold what it should.
    #[error("{0}")]
    Unfit(String),
}

impl Dial {
    /// By TLS if `files` says so. The files are read now.
    pub(crate) fn new(files: Option<&TlsFiles>) -> Result<Dial, TlsError> {
        Ok(Dial { tls: files.map(configuration).transpose()?.map(Arc::new) })
    }

    /// A stream to `host`, within a limited time.
    pub(crate) async fn connect(&self, host: &Host) -> Result<Box<dyn Duplex>, KvError> {
        let connecting = tokio::time::timeout(CONNECT_MAX, self.stream(host));
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("{host} did not let us in in time"));
        connecting.await.map_err(late).flatten().map_err(KvError::unreachable)
    }

    async fn stream(&self, host: &Host) -> io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect((host.name.as_str(), host.port)).await?;
        stream.set_nodelay(true)?;
        let probes = TcpKeepalive::new().with_time(SILENT_MAX).with_interval(SILENT_MAX).with_retries(3);
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.name.clone()).map_err(io::Error::other)?;
        let shaken = TlsConnector::from(tls.clone()).connect(name, stream).await;
        Ok(Box::new(shaken.map_err(|error| not_shaken(host, &error))?))
    }
}

/// Why TLS did not come about, and what to do.
fn not_shaken(host: &Host, error: &io::Error) -> io::Error {
    let remedy = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => "name in the URL who vouches for it: ?ca=FILE",
        Some(rustls::Error::InvalidMessage(_)) => {
            "it seems not to speak TLS there: look at the port, or leave out TLS"
        }
        Some(rustls::Error::AlertReceived(_)) => "it may ask for a certificate of ours: &cert=FILE&key=FILE",
        _ => "look whether it speaks TLS there",
    };
    io::Error::new(error.kind(), format!("TLS with {host} did not come about: {error}; {remedy}"))
}

fn configuration(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let authorities = match &files.ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if roots.add_parsable_certificates(authorities).0 == 0 {
        return Err(TlsError::Unfit(
            "no certificate authority is there that could vouch for the server".into(),
        ));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for the protocol versions that rustls calls safe")
        .with_root_certificates(roots);
    match (&files.cert, &files.key) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let pem = read(key)?;
            let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
                TlsError::Unfit(format!("{} holds no private key in PEM form", key.display()))
            })?;
            let made = builder.with_client_auth_cert(certificates(cert)?, secret);
            made.map_err(|error| TlsError::Unfit(format!("our certificate will not do: {error}")))
        }
        _ => Err(TlsError::Unfit("cert and key go together".into())),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsError::Unfit(format!("{} holds no certificate in PEM form", path.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}
