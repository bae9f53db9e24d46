//! Who may ask: whoever shows one of the tokens in a file.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// A shorter token could be guessed. Unit: bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// The tokens that are accepted. Only their SHA-256 is kept; it is never shown.
#[derive(Clone)]
pub struct Tokens(Vec<[u8; 32]>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} secret)", self.0.len())
    }
}

/// Why a file of tokens will not do.
#[derive(Debug, thiserror::Error)]
pub enum BadToken {
    /// The file cannot be read.
    #[error("the token file {} cannot be read", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error("others may read the token file {}; run: chmod 0600 {}", path.display(), path.display())]
    Open {
        /// Which one.
        path: PathBuf,
    },
    /// It has no token.
    #[error("the token file {} is empty", path.display())]
    Empty {
        /// Which one.
        path: PathBuf,
    },
    /// A line is no token.
    #[error(
        "line {line} of {} is no token: {TOKEN_BYTES_MIN} or more visible characters of ASCII are expected",
        path.display()
    )]
    Unfit {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
}

impl Tokens {
    /// Reads a file with a token on each line, so that a new one can be added before the old one goes. Lines that are
    /// empty do not count.
    ///
    /// # Errors
    ///
    /// [`BadToken`], also if others than the owner may read the file.
    pub fn read(path: &Path) -> Result<Tokens, BadToken> {
        let failed = |source| BadToken::File { path: path.to_owned(), source };
        if is_open(path).map_err(failed)? {
            return Err(BadToken::Open { path: path.to_owned() });
        }
        let text = fs::read(path).map_err(failed)?;
        let mut tokens = Vec::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let token = line.trim_ascii();
            if token.is_empty() {
                continue;
            }
            if token.len() < TOKEN_BYTES_MIN || !token.iter().all(u8::is_ascii_graphic) {
                return Err(BadToken::Unfit { path: path.to_owned(), line: at + 1 });
            }
            tokens.push(Sha256::digest(token).into());
        }
        if tokens.is_empty() {
            return Err(BadToken::Empty { path: path.to_owned() });
        }
        Ok(Tokens(tokens))
    }

    /// Whether an `Authorization` header shows one of them. Takes as long for a wrong one as for a right one.
    pub(crate) fn accept(&self, header: Option<&[u8]>) -> bool {
        let Some((scheme, shown)) = header.and_then(|header| header.split_at_checked("Bearer ".len())) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return false;
        }
        let shown: [u8; 32] = Sha256::digest(shown.trim_ascii()).into();
        let none = Choice::from(0);
        self.0.iter().fold(none, |found, token| found | token.ct_eq(&shown)).into()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_accepted_if_it_shows_a_token_and_nothing_else() {
        let tokens =
            Tokens(vec![Sha256::digest("first-token-of-16").into(), Sha256::digest("second").into()]);
        for (header, accepted) in [
            (Some("Bearer first-token-of-16"), true),
            (Some("bearer second"), true),
            (Some("Bearer  second "), true),
            (Some("Bearer first-token-of-1"), false),
            (Some("Bearer first-token-of-16x"), false),
            (Some("Bearer "), false),
            (Some("Bearer"), false),
            (Some("Basic second"), false),
            (Some("second"), false),
            (None, false),
        ] {
            assert_eq!(tokens.accept(header.map(str::as_bytes)), accepted, "{header:?}");
        }
        assert!(!format!("{tokens:?}").contains("first"));
    }
}
