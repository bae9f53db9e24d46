//! Envelopes of any length in values of a limited one.
//!
//! An envelope that fits lies under its key. One that does not is cut into numbered pieces, and under its key lies a
//! *stub*: how many pieces, how many bytes, and their SHA-256, after which the pieces' keys are named. The pieces are
//! written first and alone, the stub together with the head: so nobody ever sees a part of an envelope.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use replat_engine::registry::Envelope;
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use crate::kv::{Change, Kv, KvError, Limits};
use crate::seal::{self, BadEnvelope};

/// More than this is no envelope. Unit: bytes.
const BYTES_MAX: usize = 2 << 30;
/// Pieces that travel at once.
const AT_ONCE: usize = 4;

/// What lies under an envelope's key in its stead.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stub {
    pieces: usize,
    bytes: usize,
    sha256: String,
}

/// What is to be written for an envelope.
pub(super) struct Cut {
    /// To be put alone, beforehand.
    pub(super) pieces: Vec<(String, Vec<u8>)>,
    /// To be put under the envelope's own key.
    pub(super) root: Vec<u8>,
    /// The length of the envelope as it is stored. Unit: bytes.
    pub(super) bytes: u64,
}

/// Cuts an envelope if it must be cut.
pub(super) fn cut(envelope: &Envelope, keys: &Keys, limits: Limits) -> Cut {
    let bytes = seal::to_bytes(envelope);
    let length = bytes.len() as u64;
    if bytes.len() <= limits.commit_bytes {
        return Cut { pieces: Vec::new(), root: bytes, bytes: length };
    }
    let sha256 = seal::sha256(&bytes);
    let key = |number| keys.piece(envelope.version, &sha256, number);
    let chunks = bytes.chunks(limits.value_bytes).enumerate();
    let pieces: Vec<_> = chunks.map(|(number, chunk)| (key(number), chunk.to_vec())).collect();
    let stub = Stub { pieces: pieces.len(), bytes: bytes.len(), sha256 };
    let root = serde_json::to_vec(&stub).expect("a stub is plain data");
    Cut { pieces, root, bytes: length }
}

/// Puts pieces, a few at a time. To put one again changes nothing.
pub(super) async fn put_pieces(kv: &dyn Kv, pieces: Vec<(String, Vec<u8>)>) -> Result<(), KvError> {
    let puts = pieces.into_iter().map(|(key, chunk)| async move {
        let change = [Change::put(key, chunk)];
        kv.commit(&[], &change).await.map(drop)
    });
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect().await
}

/// Why an envelope could not be read.
pub(super) enum NotRead {
    /// The server failed.
    Server(KvError),
    /// Pieces are not there: somebody has just removed them since a newer version is there, or they were lost.
    Gone,
    /// What is there is no envelope.
    Bad(BadEnvelope),
}

impl From<KvError> for NotRead {
    fn from(error: KvError) -> NotRead {
        NotRead::Server(error)
    }
}

/// The envelope of `version` whose key has the value `root`. Its contents are not checked yet.
pub(super) async fn read(kv: &dyn Kv, keys: &Keys, version: u64, root: Vec<u8>) -> Result<Envelope, NotRead> {
    if root.contains(&b'\n') {
        return seal::from_bytes(root).map_err(NotRead::Bad);
    }
    let form = |why: String| NotRead::Bad(BadEnvelope::Form(why));
    let stub: Stub = serde_json::from_slice(&root).map_err(|error| form(error.to_string()))?;
    if stub.bytes > BYTES_MAX || stub.pieces > stub.bytes || !is_sum(&stub.sha256) {
        return Err(form("its stub says what cannot be".into()));
    }
    let gets = (0..stub.pieces).map(|number| {
        let key = [keys.piece(version, &stub.sha256, number)];
        async move {
            let found = kv.get(&key).await?.into_iter().next().flatten();
            found.map(|entry| entry.value).ok_or(NotRead::Gone)
        }
    });
    let mut bytes = Vec::new();
    let mut pieces = stream::iter(gets).buffered(AT_ONCE);
    while let Some(piece) = pieces.try_next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > stub.bytes {
            return Err(form("its pieces are longer than it says".into()));
        }
    }
    if bytes.len() != stub.bytes || seal::sha256(&bytes) != stub.sha256 {
        return Err(form(
            "its pieces are not what was cut: one was cut off, changed or put elsewhere".into(),
        ));
    }
    seal::from_bytes(bytes).map_err(NotRead::Bad)
}

fn is_sum(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
