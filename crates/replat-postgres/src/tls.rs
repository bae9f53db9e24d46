//! TLS towards a server: what libpq's six modes mean for certificates, over rustls with ring.
//!
//! Two differences to libpq are left: a host name must stand among the certificate's subjectAltNames (the common
//! name alone does not count), and encrypted key files are not read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connect::Failure;
use crate::conninfo::{ConnInfo, Host, Place, RootCertificates, SslMode};

/// Why TLS cannot even begin: a file of ours will not do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The mode asks to check the server's certificate, and there is nothing to check it against.
    #[error("sslmode verify-ca and verify-full need a root certificate file; {} does not exist", path.display())]
    NoRoots {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The same, and there is no place to look for the file.
    #[error(
        "sslmode verify-ca and verify-full need sslrootcert, since there is no home directory to look in"
    )]
    NoRootsNamed,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds nothing that can be used.
    #[error("{} holds no usable {what} in PEM form", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Others than its owner may read the key file.
    #[error("others may read the private key {}; run: chmod 0600 {}", path.display(), path.display())]
    KeyIsOpen {
        /// The file.
        path: PathBuf,
    },
    /// The client certificate and its key do not belong together, or the system trusts nobody.
    #[error("{what}")]
    Unfit {
        /// What is wrong.
        what: String,
    },
    /// The certificate is to be checked for a name that no certificate can have.
    #[error("{name:?} cannot be the name in a certificate")]
    BadName {
        /// The host's name.
        name: String,
    },
}

/// Begins TLS over `stream`; also returns what SCRAM can bind to.
pub(crate) async fn handshake(
    info: &ConnInfo,
    host: &Host,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Option<Vec<u8>>), Failure> {
    let prepare = || Ok((client_config(info)?, server_name(info, host, &stream)?));
    let (config, name) = prepare().map_err(|source| Failure::TlsSettings { source })?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let certificates = stream.get_ref().1.peer_certificates();
    let end_point = certificates.and_then(|chain| chain.first()).and_then(|first| end_point(first));
    Ok((stream, end_point))
}

fn server_name(info: &ConnInfo, host: &Host, stream: &TcpStream) -> Result<ServerName<'static>, TlsError> {
    let named = match &host.place {
        Place::Address { name: None, ip } => return Ok(ServerName::from(*ip)),
        place => place.name().unwrap_or_default(),
    };
    match (ServerName::try_from(named.to_owned()), stream.peer_addr()) {
        (Ok(name), _) => Ok(name),
        // The name is not going to be looked at, so the address will do.
        (Err(_), Ok(address)) if info.sslmode < SslMode::VerifyFull => Ok(ServerName::from(address.ip())),
        (Err(_), _) => Err(TlsError::BadName { name: named.to_owned() }),
    }
}

fn client_config(info: &ConnInfo) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { check: check(info)?, provider: provider.clone() };
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions
        .expect("ring has cipher suites for the protocol versions that rustls calls safe")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match client_certificate(info)? {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| TlsError::Unfit {
            what: format!("the client certificate will not do: {error}"),
        }),
    }
}

/// What is checked about the server. A root certificate file that exists is used in every mode, as in libpq.
fn check(info: &ConnInfo) -> Result<Check, TlsError> {
    let roots = match &info.sslrootcert {
        RootCertificates::System => Some(system_roots()?),
        RootCertificates::File(path) => {
            certificates(path)?.map(|found| Roots::new(found, path)).transpose()?
        }
        RootCertificates::Nowhere => None,
    };
    match (roots, &info.sslrootcert) {
        (Some(roots), _) if info.sslmode == SslMode::VerifyFull => Ok(Check::ChainAndName(roots)),
        (Some(roots), _) => Ok(Check::Chain(roots)),
        (None, _) if info.sslmode < SslMode::VerifyCa => Ok(Check::Nothing),
        (None, RootCertificates::File(path)) => Err(TlsError::NoRoots { path: path.clone() }),
        (None, _) => Err(TlsError::NoRootsNamed),
    }
}

fn system_roots() -> Result<Roots, TlsError> {
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match added {
        0 => Err(TlsError::Unfit { what: "the system has no trusted certificate authorities".to_owned() }),
        _ => Ok(Roots { store, listed: Vec::new() }),
    }
}

/// The certificates in a PEM file; `None` if there is no such file.
fn certificates(path: &Path) -> Result<Option<Vec<CertificateDer<'static>>>, TlsError> {
    let Some(pem) = read(path)? else { return Ok(None) };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(Some(found)),
        _ => Err(TlsError::Unusable { path: path.to_owned(), what: "certificate" }),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(TlsError::File { path: path.to_owned(), source }),
    }
}

type CertificateAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client certificate and its key. Without a certificate file there is none, even if one was named: the
/// server says what it misses better than we can.
fn client_certificate(info: &ConnInfo) -> Result<Option<CertificateAndKey>, TlsError> {
    let Some(chain) = info.sslcert.as_deref().map(certificates).transpose()?.flatten() else {
        return Ok(None);
    };
    let Some(path) = &info.sslkey else {
        return Err(TlsError::Unfit { what: "there is a client certificate but no sslkey".to_owned() });
    };
    let missing = || TlsError::File { path: path.clone(), source: io::ErrorKind::NotFound.into() };
    let pem = read(path)?.ok_or_else(missing)?;
    refuse_an_open_key(path)?;
    let key = PrivateKeyDer::from_pem_slice(&pem);
    let unusable = |_| TlsError::Unusable { path: path.clone(), what: "unencrypted private key" };
    Ok(Some((chain, key.map_err(unusable)?)))
}

/// A key of ours is for us alone; one that root owns may be readable by a group, as libpq allows.
#[cfg(unix)]
fn refuse_an_open_key(path: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::MetadataExt;
    let metadata =
        std::fs::metadata(path).map_err(|source| TlsError::File { path: path.to_owned(), source })?;
    let too_much = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    match metadata.mode() & too_much {
        0 => Ok(()),
        _ => Err(TlsError::KeyIsOpen { path: path.to_owned() }),
    }
}

#[cfg(not(unix))]
fn refuse_an_open_key(_: &Path) -> Result<(), TlsError> {
    Ok(())
}

/// Who may vouch for a server.
#[derive(Debug)]
struct Roots {
    store: RootCertStore,
    /// The certificates of the file themselves: one of them may be the server's own.
    listed: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn new(listed: Vec<CertificateDer<'static>>, path: &Path) -> Result<Roots, TlsError> {
        let mut store = RootCertStore::empty();
        match store.add_parsable_certificates(listed.iter().cloned()) {
            (0, _) => Err(TlsError::Unusable { path: path.to_owned(), what: "certificate" }),
            _ => Ok(Roots { store, listed }),
        }
    }
}

/// What is checked about the server's certificate.
#[derive(Debug)]
enum Check {
    Nothing,
    Chain(Roots),
    ChainAndName(Roots),
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn chain(
        &self,
        roots: &Roots,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let checked =
            verify_server_cert_signed_by_trust_anchor(&parsed, &roots.store, intermediates, now, algorithms);
        match checked {
            // A self-signed certificate that openssl made is an authority's, which webpki takes from no server.
            // OpenSSL does if the very certificate is trusted. Dates were checked before this complaint.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if roots.listed.iter().any(|listed| listed == certificate) =>
            {
                Ok(())
            }
            other => other,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.check {
            Check::Nothing => {}
            Check::Chain(roots) => self.chain(roots, certificate, intermediates, now)?,
            Check::ChainAndName(roots) => {
                self.chain(roots, certificate, intermediates, now)?;
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// RFC 5929's `tls-server-end-point`: the certificate's hash, by the hash of its own signature but never a
/// weaker one than SHA-256. `None` for signatures that have no single hash (Ed25519, RSA-PSS).
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: [u8; 6] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    let algorithm = signature_algorithm(certificate)?;
    let rsa = algorithm.strip_prefix(&RSA);
    let ecdsa = algorithm.strip_prefix(&ECDSA);
    match (rsa, ecdsa) {
        // MD5 and SHA-1 are replaced, as the RFC says.
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => Some(Sha256::digest(certificate).to_vec()),
        (Some([12]), _) | (_, Some([3, 3])) => Some(Sha384::digest(certificate).to_vec()),
        (Some([13]), _) | (_, Some([3, 4])) => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// The object identifier of the algorithm that the certificate was signed with, in its DER form.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    let (whole, _) = der(certificate, SEQUENCE)?;
    let (_, after_content) = der(whole, SEQUENCE)?;
    let (algorithm, _) = der(after_content, SEQUENCE)?;
    der(algorithm, OBJECT_IDENTIFIER).map(|(identifier, _)| identifier)
}

/// The content of the DER element that `bytes` begins with, and what follows it.
fn der(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        short if short < 0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let fits = digits.len() <= size_of::<u32>();
            let length = digits.iter().fold(0, |sum: u32, digit| sum << 8 | u32::from(*digit));
            (usize::try_from(length).ok().filter(|_| fits)?, rest)
        }
    };
    rest.split_at_checked(length).filter(|_| found == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate in shape only: content, algorithm, signature.
    fn certificate(algorithm: &[u8]) -> Vec<u8> {
        let element = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
        let algorithm = element(0x30, &element(0x06, algorithm));
        element(0x30, &[element(0x30, b"content"), algorithm, element(0x03, b"signature")].concat())
    }

    #[test]
    fn the_channel_is_named_by_the_hash_of_the_certificates_signature() {
        let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
        let ecdsa = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
        let rows: [(&str, Vec<u8>, Option<usize>); 9] = [
            ("md5 with RSA", [&rsa[..], &[4]].concat(), Some(32)),
            ("sha1 with RSA", [&rsa[..], &[5]].concat(), Some(32)),
            ("RSA-PSS", [&rsa[..], &[10]].concat(), None),
            ("sha256 with RSA", [&rsa[..], &[11]].concat(), Some(32)),
            ("sha384 with RSA", [&rsa[..], &[12]].concat(), Some(48)),
            ("sha512 with RSA", [&rsa[..], &[13]].concat(), Some(64)),
            ("ECDSA with sha256", [&ecdsa[..], &[3, 2]].concat(), Some(32)),
            ("ECDSA with sha384", [&ecdsa[..], &[3, 3]].concat(), Some(48)),
            ("Ed25519", vec![0x2b, 0x65, 0x70], None),
        ];
        for (case, algorithm, bytes) in rows {
            assert_eq!(end_point(&certificate(&algorithm)).map(|hash| hash.len()), bytes, "{case}");
        }
    }

    #[test]
    fn a_broken_certificate_names_no_channel() {
        let whole = certificate(&[0x2b, 0x65, 0x70]);
        assert_eq!(signature_algorithm(&whole), Some(&[0x2b, 0x65, 0x70][..]));
        for cut in 0..whole.len() {
            assert_eq!(signature_algorithm(&whole[..cut]), None, "cut at {cut}");
        }
        assert_eq!(signature_algorithm(&[0x30, 0xff, 1, 2, 3]), None);
    }
}
