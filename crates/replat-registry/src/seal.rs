//! Envelopes: what their digest and their mac are computed over, and how they are stored.
//!
//! The *message* of an envelope is the text `replat-envelope-1` and a line feed, then for each of its project,
//! context, version, from, time and body, in this order: the length in bytes as decimal digits, a colon, the bytes,
//! a line feed. Numbers are decimal digits; an absent `from` is empty. The digest is the SHA-256 of the message, and
//! the mac its HMAC-SHA-256 by the project's key; both in lower-case hexadecimal.
//!
//! What is stored is one line of JSON with all but the body, a line feed, and the body as it is.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use replat_engine::registry::Envelope;
use replat_model::deploy::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The layout of envelopes that this program writes and reads.
pub const FORMAT: u32 = 1;

/// What a message begins with, so that no other kind of text has the same digest.
const MESSAGE: &[u8] = b"replat-envelope-1\n";

/// The length of a project's key. Unit: bytes.
const KEY_BYTES: usize = 32;

/// The secret by which a project's publishers show its routers that routes are theirs.
///
/// Source: a file that `replat registry init` makes: 64 lower-case hexadecimal digits and a line feed. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProjectKey([u8; KEY_BYTES]);

impl fmt::Debug for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProjectKey(secret)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the key file {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is there already, and other machines may rely on it.
    #[error("{} is there already; to make a new key, move it away first", path.display())]
    Exists {
        /// Which one.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("{} holds no key: 64 lower-case hexadecimal digits are expected", path.display())]
    Unfit {
        /// Which one.
        path: PathBuf,
    },
    /// Others than its owner may read it.
    #[error("others may read the key file {}; run: chmod 0600 {}", path.display(), path.display())]
    Open {
        /// Which one.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

impl ProjectKey {
    /// The key that `bytes` are.
    pub fn new(bytes: [u8; KEY_BYTES]) -> ProjectKey {
        ProjectKey(bytes)
    }

    /// Makes a key and the file that keeps it, which its owner alone may read.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; a file that is there is never written over.
    pub fn create(path: &Path) -> Result<ProjectKey, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::NoRandom)?;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => KeyError::File { path: path.to_owned(), source },
        };
        let mut file = for_the_owner().create_new(true).write(true).open(path).map_err(failed)?;
        file.write_all(format!("{}\n", hex(&bytes)).as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        Ok(ProjectKey(bytes))
    }

    /// Reads the file that keeps it.
    ///
    /// # Errors
    ///
    /// [`KeyError`], also if others may read the file.
    pub fn read(path: &Path) -> Result<ProjectKey, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        if is_open(path).map_err(failed)? {
            return Err(KeyError::Open { path: path.to_owned() });
        }
        let text = fs::read(path).map_err(failed)?;
        let bytes = std::str::from_utf8(&text).ok().and_then(|text| unhex(text.trim()));
        bytes.map(ProjectKey).ok_or_else(|| KeyError::Unfit { path: path.to_owned() })
    }

    fn mac(&self) -> Hmac<Sha256> {
        Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length")
    }
}

#[cfg(unix)]
fn for_the_owner() -> fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn for_the_owner() -> fs::OpenOptions {
    fs::OpenOptions::new()
}

#[cfg(unix)]
fn is_open(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path)?;
    // A file that root owns may be readable by a group, as for keys of TLS.
    Ok(metadata.mode() & if metadata.uid() == 0 { 0o037 } else { 0o077 } != 0)
}

#[cfg(not(unix))]
fn is_open(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Why an envelope is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEnvelope {
    /// It cannot be read.
    #[error("it is no envelope: {0}")]
    Form(String),
    /// A newer program has written it.
    #[error("its format is {0}, and this program knows {FORMAT}; use a newer one")]
    Format(u32),
    /// Its contents are not what was sealed.
    #[error("its contents do not have its digest: it was cut off or changed")]
    Digest,
    /// It is not signed, and should be.
    #[error("it is not signed, and this project's routes are")]
    NotSigned,
    /// It is signed by another key.
    #[error("it is signed by another key than this project's")]
    Signature,
    /// It is another project's.
    #[error("it belongs to project {theirs:?}, not to {ours:?}")]
    Project {
        /// What it says.
        theirs: String,
        /// What was expected.
        ours: String,
    },
    /// It is another context's.
    #[error("it belongs to context {theirs:?}, not to {ours:?}")]
    Context {
        /// What it says.
        theirs: String,
        /// What was expected.
        ours: String,
    },
    /// Its versions cannot be.
    #[error("it leads from version {from} to version {version}")]
    Versions {
        /// From.
        from: u64,
        /// To.
        version: u64,
    },
}

/// Whose routes are sealed and believed here.
#[derive(Clone, Debug)]
pub struct Seal {
    /// The project's name.
    pub project: String,
    /// Its key, if it has one. Then what is not signed by it is refused.
    pub key: Option<ProjectKey>,
}

impl Seal {
    /// An envelope around `body`: whole routes if `from` is absent, else a delta from that version.
    pub fn envelope(
        &self,
        context: &str,
        version: u64,
        from: Option<u64>,
        at: Timestamp,
        body: String,
    ) -> Envelope {
        let mut envelope = Envelope {
            format: FORMAT,
            project: self.project.clone(),
            context: context.to_owned(),
            version,
            from,
            at,
            body,
            digest: String::new(),
            mac: None,
        };
        envelope.digest = digest(&envelope);
        envelope.mac = self.key.as_ref().map(|key| {
            let mut mac = key.mac();
            message(&envelope, |part| mac.update(part));
            hex(&mac.finalize().into_bytes())
        });
        envelope
    }

    /// Whether `envelope` is one of this project, of `context`, and just as it was sealed.
    ///
    /// # Errors
    ///
    /// [`BadEnvelope`].
    pub fn check(&self, context: &str, envelope: &Envelope) -> Result<(), BadEnvelope> {
        if envelope.format != FORMAT {
            return Err(BadEnvelope::Format(envelope.format));
        }
        if digest(envelope) != envelope.digest {
            return Err(BadEnvelope::Digest);
        }
        if envelope.project != self.project {
            let (theirs, ours) = (envelope.project.clone(), self.project.clone());
            return Err(BadEnvelope::Project { theirs, ours });
        }
        if envelope.context != context {
            let (theirs, ours) = (envelope.context.clone(), context.to_owned());
            return Err(BadEnvelope::Context { theirs, ours });
        }
        if let Some(key) = &self.key {
            let stated = envelope.mac.as_deref().ok_or(BadEnvelope::NotSigned)?;
            let stated: [u8; 32] = unhex(stated).ok_or(BadEnvelope::Signature)?;
            let mut mac = key.mac();
            message(envelope, |part| mac.update(part));
            mac.verify_slice(&stated).map_err(|_| BadEnvelope::Signature)?;
        }
        let from = envelope.from.unwrap_or(0);
        if from >= envelope.version || envelope.from == Some(0) {
            return Err(BadEnvelope::Versions { from, version: envelope.version });
        }
        Ok(())
    }
}

/// Gives the message of an envelope to `take`, part by part: bodies may be large.
fn message(envelope: &Envelope, mut take: impl FnMut(&[u8])) {
    let Envelope { format: _, project, context, version, from, at, body, digest: _, mac: _ } = envelope;
    take(MESSAGE);
    let from = from.map(|from| from.to_string()).unwrap_or_default();
    for part in [project, context, &version.to_string(), &from, &at.0.to_string(), body] {
        take(format!("{}:", part.len()).as_bytes());
        take(part.as_bytes());
        take(b"\n");
    }
}

fn digest(envelope: &Envelope) -> String {
    let mut sum = Sha256::new();
    message(envelope, |part| sum.update(part));
    hex(&sum.finalize())
}

/// The SHA-256 of some bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The line before a stored body.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    project: String,
    context: String,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    at: Timestamp,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
}

/// An envelope as it is stored.
pub fn to_bytes(envelope: &Envelope) -> Vec<u8> {
    let Envelope { format, project, context, version, from, at, body, digest, mac } = envelope;
    let header = Header {
        format: *format,
        project: project.clone(),
        context: context.clone(),
        version: *version,
        from: *from,
        at: *at,
        digest: digest.clone(),
        mac: mac.clone(),
    };
    let mut bytes = serde_json::to_vec(&header).expect("a header is plain data");
    bytes.push(b'\n');
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// An envelope as it was stored. Nothing is checked but its form.
///
/// # Errors
///
/// [`BadEnvelope::Form`], or [`BadEnvelope::Format`].
pub fn from_bytes(bytes: Vec<u8>) -> Result<Envelope, BadEnvelope> {
    #[derive(Deserialize)]
    struct Layout {
        format: u32,
    }
    let form = |why: &dyn fmt::Display| BadEnvelope::Form(why.to_string());
    let end =
        bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| form(&"its first line has no end"))?;
    let Layout { format } = serde_json::from_slice(&bytes[..end]).map_err(|error| form(&error))?;
    if format != FORMAT {
        return Err(BadEnvelope::Format(format));
    }
    let header: Header = serde_json::from_slice(&bytes[..end]).map_err(|error| form(&error))?;
    let mut body = bytes;
    body.drain(..=end);
    let body = String::from_utf8(body).map_err(|_| form(&"its body is not UTF-8"))?;
    let Header { format, project, context, version, from, at, digest, mac } = header;
    Ok(Envelope { format, project, context, version, from, at, body, digest, mac })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from lower-case hexadecimal digits: one way to write them, and no other.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).filter(|_| !c.is_ascii_uppercase());
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shop(key: Option<[u8; 32]>) -> Seal {
        Seal { project: "shop".into(), key: key.map(ProjectKey) }
    }

    #[test]
    fn digest_and_mac_are_those_of_the_documentation() {
        let envelope = shop(Some([7; 32])).envelope("tenants", 2, Some(1), Timestamp(5), "{}".into());
        let mut text = Vec::new();
        message(&envelope, |part| text.extend_from_slice(part));
        assert_eq!(text, b"replat-envelope-1\n4:shop\n7:tenants\n1:2\n1:1\n1:5\n2:{}\n");
        let documented = include_str!("../../../docs/registry.md");
        let mac = envelope.mac.expect("there is a key");
        assert_eq!(envelope.digest, "f8d800299af9ba4694784467e1d37abb22e3cf58d2143658603ee2b21ef4d079");
        assert_eq!(mac, "6df056856b10f8898e5a0e40e57a827640db2ccfd55f981f970e272cb64e7d01");
        assert!(documented.contains(&envelope.digest) && documented.contains(&mac));
    }

    #[test]
    fn versions_that_cannot_be_are_refused() {
        for (version, from) in [(0, None), (1, Some(1)), (2, Some(3)), (2, Some(0))] {
            let envelope = shop(None).envelope("tenants", version, from, Timestamp(5), "{}".into());
            let error = shop(None).check("tenants", &envelope).expect_err("it cannot be");
            assert!(matches!(error, BadEnvelope::Versions { .. }), "{version} from {from:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_is_opened(
            context in ".{1,9}", body in "\\PC{0,40}\n?\\PC{0,9}", version in 2..u64::MAX, signed: bool, whole: bool,
        ) {
            let seal = shop(signed.then_some([3; 32]));
            let from = (!whole).then_some(version - 1);
            let envelope = seal.envelope(&context, version, from, Timestamp(version), body);
            prop_assert_eq!(seal.check(&context, &envelope), Ok(()));
            prop_assert_eq!(from_bytes(to_bytes(&envelope)), Ok(envelope));
        }

        #[test]
        fn no_changed_byte_is_overlooked(at in 0_usize..500, by in 1_u8..=255) {
            let seal = shop(Some([3; 32]));
            let envelope = seal.envelope("tenants", 12, Some(11), Timestamp(99), "{\"a\":[1,2,3]}".into());
            let mut bytes = to_bytes(&envelope);
            let at = at % bytes.len();
            bytes[at] ^= by;
            let opened = from_bytes(bytes).and_then(|changed| seal.check("tenants", &changed).map(|()| changed));
            // JSON may be written in more than one way; what it says must be the same.
            prop_assert!(opened.is_err() || opened == Ok(envelope));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            drop(from_bytes(bytes));
        }
    }
}
