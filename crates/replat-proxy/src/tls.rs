//! TLS towards clients.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// What PostgreSQL's protocol is called under TLS. Clients that begin TLS at once must say it.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// The proxy's own certificate and key, in PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain, the proxy's own first.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The certificate or the key will not do.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not belong together.
    #[error("the certificate and its key do not fit")]
    Unfit(#[source] rustls::Error),
}

impl Certificate {
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, BadCertificate> {
        let file = |path: &PathBuf| {
            let path = path.clone();
            move |source| BadCertificate::File { path, source }
        };
        let chain = CertificateDer::pem_file_iter(&self.chain).map_err(file(&self.chain))?;
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(file(&self.chain))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(file(&self.key))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(BadCertificate::Unfit)?;
        let mut config =
            builder.with_no_client_auth().with_single_cert(chain, key).map_err(BadCertificate::Unfit)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
