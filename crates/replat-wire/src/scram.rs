//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, for both ends.
//!
//! The server's end learns more than a yes or no: a right proof gives away the client's key
//! (`ClientKey = proof XOR HMAC(StoredKey, AuthMessage)`), and with that key the client's end logs in to any
//! server that holds *the same verifier*. So a proxy passes a login on without ever knowing a password.
//!
//! Nonces come in from outside: this module has no randomness.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// The mechanism's name in the offer.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// What PostgreSQL itself uses, and what a stranger is told.
const ITERATIONS_USUAL: u32 = 4096;
/// More would let a server keep its client computing for minutes.
const ITERATIONS_MAX: u32 = 200_000;
/// A longer nonce than anybody needs.
const NONCE_MAX: usize = 512;

type Key = [u8; 32];

/// What a server keeps about a password: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`.
///
/// It lets nobody in by itself, but with it and one overheard login the client's key is known; so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
    /// Nobody's: every proof is wrong.
    mock: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(secret)")
    }
}

/// The text is not a SCRAM-SHA-256 verifier. What it is is not said: it may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier of the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")]
pub struct BadVerifier;

impl FromStr for Verifier {
    type Err = BadVerifier;

    fn from_str(text: &str) -> Result<Verifier, BadVerifier> {
        let read = || {
            let mut parts = text.split('$');
            parts.next().filter(|name| *name == MECHANISM)?;
            let (iterations, salt) = parts.next()?.split_once(':')?;
            let (stored_key, server_key) = parts.next()?.split_once(':')?;
            let salt = BASE64.decode(salt).ok().filter(|salt| !salt.is_empty())?;
            let iterations = iterations.parse().ok().filter(|count| *count > 0)?;
            let (stored_key, server_key) = (key(stored_key)?, key(server_key)?);
            let whole = Verifier { iterations, salt, stored_key, server_key, mock: false };
            parts.next().is_none().then_some(whole)
        };
        read().ok_or(BadVerifier)
    }
}

fn key(text: &str) -> Option<Key> {
    BASE64.decode(text).ok()?.try_into().ok()
}

impl Verifier {
    /// The verifier of a password.
    pub fn of_password(password: &str, salt: &[u8], iterations: u32) -> Verifier {
        let salted = salted_password(password, salt, iterations);
        Verifier {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&hmac(&salted, b"Client Key")),
            server_key: hmac(&salted, b"Server Key"),
            mock: false,
        }
    }

    /// A verifier for somebody who is not known: the challenge looks like anybody's and is the same every time,
    /// the work is the same, and no proof is right. `secret` is drawn once for the life of the process.
    pub fn mock(secret: &[u8; 32], user: &str) -> Verifier {
        let salt = hmac(secret, user.as_bytes())[..16].to_vec();
        let (stored_key, server_key) = (hmac(secret, b"stored"), hmac(secret, b"server"));
        Verifier { iterations: ITERATIONS_USUAL, salt, stored_key, server_key, mock: true }
    }

    /// The text that PostgreSQL keeps in `pg_authid.rolpassword`.
    pub fn expose(&self) -> String {
        let encode = |bytes: &[u8]| BASE64.encode(bytes);
        format!(
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            encode(&self.salt),
            encode(&self.stored_key),
            encode(&self.server_key)
        )
    }
}

/// The key that proves a password. Whoever has it can log in wherever the same verifier is kept, so it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKey(Key);

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(secret)")
    }
}

/// Why an exchange ends without a login.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message is not one of SCRAM's; the name of what is wrong with it.
    #[error("a SCRAM message has no usable {0}")]
    Malformed(&'static str),
    /// The client asks for what was not offered.
    #[error("the client asks for {0}, which was not offered")]
    NotOffered(&'static str),
    /// The proof is wrong, or nobody has that name: which of them is not told.
    #[error("the proof of the password is wrong")]
    WrongProof,
    /// The server keeps another verifier than the one that the key belongs to.
    #[error("the server keeps another verifier for this role than the one by which the client was let in")]
    OtherVerifier,
    /// The server asks for more work than is reasonable.
    #[error("the server asks for {0} iterations; {ITERATIONS_MAX} are the most")]
    TooMuchWork(u32),
    /// The server could not prove that it knows the verifier.
    #[error("the server did not prove that it knows the role's verifier")]
    WrongSignature,
    /// The server ended the exchange.
    #[error("the server ended the SCRAM exchange")]
    Refused,
}

/// A server that has sent its challenge.
pub struct Challenge {
    verifier: Verifier,
    gs2: String,
    /// The client's and the server's nonce.
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Challenge(secret)")
    }
}

impl Challenge {
    /// Answers the client's first message. Unlike in RFC 5802 the name in it means nothing: the start-up packet has
    /// named the role.
    ///
    /// # Errors
    ///
    /// [`ScramError`] if the message is none, or wants channel binding.
    pub fn to(verifier: Verifier, client_first: &[u8], server_nonce: &str) -> Result<Challenge, ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed("text"))?;
        let mut parts = text.splitn(3, ',');
        match parts.next() {
            Some("n" | "y") => {}
            Some(flag) if flag.starts_with("p=") => return Err(ScramError::NotOffered("channel binding")),
            _ => return Err(ScramError::Malformed("channel-binding flag")),
        }
        match parts.next() {
            Some("") => {}
            Some(other) if other.starts_with("a=") => {
                return Err(ScramError::NotOffered("an authorization identity"));
            }
            _ => return Err(ScramError::Malformed("authorization identity")),
        }
        let bare = parts.next().ok_or(ScramError::Malformed("name"))?;
        let gs2 = text[..text.len() - bare.len()].to_owned();
        let mut attributes = bare.split(',');
        match attributes.next() {
            Some(name) if name.starts_with("n=") => {}
            Some(name) if name.starts_with("m=") => return Err(ScramError::NotOffered("an extension")),
            _ => return Err(ScramError::Malformed("name")),
        }
        let client_nonce = attributes.next().and_then(|text| text.strip_prefix("r="));
        let client_nonce =
            client_nonce.filter(|nonce| is_nonce(nonce)).ok_or(ScramError::Malformed("nonce"))?;
        let nonce = format!("{client_nonce}{server_nonce}");
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        Ok(Challenge { verifier, gs2, nonce, client_first_bare: bare.to_owned(), server_first })
    }

    /// What is sent to the client.
    pub fn message(&self) -> &str {
        &self.server_first
    }

    /// Checks the client's last message; the login that it is the key to, and the server's own proof.
    ///
    /// # Errors
    ///
    /// [`ScramError::WrongProof`] for a wrong password and for a name that nobody has, after the same work.
    pub fn accept(self, client_final: &[u8]) -> Result<(Login, String), ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed("text"))?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed("proof"))?;
        let proof = key(proof).ok_or(ScramError::Malformed("proof"))?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|text| text.strip_prefix("c="));
        let binding = binding.and_then(|text| BASE64.decode(text).ok());
        if binding.as_deref() != Some(self.gs2.as_bytes()) {
            return Err(ScramError::Malformed("channel binding"));
        }
        let nonce = attributes.next().and_then(|text| text.strip_prefix("r="));
        if nonce != Some(&self.nonce) {
            return Err(ScramError::Malformed("nonce"));
        }
        let said = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let client_key = xor(&proof, &hmac(&self.verifier.stored_key, said.as_bytes()));
        let right = sha256(&client_key).ct_eq(&self.verifier.stored_key)
            & !Choice::from(u8::from(self.verifier.mock));
        let signature = hmac(&self.verifier.server_key, said.as_bytes());
        match bool::from(right) {
            true => {
                let login = Login { verifier: self.verifier, key: ClientKey(client_key) };
                Ok((login, format!("v={}", BASE64.encode(signature))))
            }
            false => Err(ScramError::WrongProof),
        }
    }
}

/// What a client's end logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What the server must keep, too.
    verifier: Verifier,
    key: ClientKey,
}

impl Login {
    /// A login by password, to a server that keeps the verifier with this salt.
    pub fn by_password(password: &str, salt: &[u8], iterations: u32) -> Login {
        let key = ClientKey(hmac(&salted_password(password, salt, iterations), b"Client Key"));
        Login { verifier: Verifier::of_password(password, salt, iterations), key }
    }
}

/// What a client proves itself with.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// A login that was passed on.
    Login(&'a Login),
    /// The password.
    Password(Password<'a>),
}

/// A password, which is not shown.
#[derive(Clone, Copy)]
pub struct Password<'a>(pub &'a str);

impl fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(secret)")
    }
}

/// A client that has said hello.
#[derive(Debug)]
pub struct Hello {
    nonce: String,
    first_bare: String,
}

/// A client that has sent its proof.
#[derive(Debug)]
pub struct Proof {
    message: String,
    signature: Key,
}

impl Hello {
    /// The beginning, with a nonce of printable characters but commas. `user` may be empty: PostgreSQL goes by the
    /// start-up packet.
    pub fn new(user: &str, nonce: &str) -> Hello {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Hello { nonce: nonce.to_owned(), first_bare: format!("n={user},r={nonce}") }
    }

    /// What is sent to the server.
    pub fn message(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the server's challenge.
    ///
    /// # Errors
    ///
    /// [`ScramError`] if the challenge is none, asks for too much work, or belongs to another verifier than the
    /// login does.
    pub fn answer(self, challenge: &[u8], credential: Credential<'_>) -> Result<Proof, ScramError> {
        let server_first = std::str::from_utf8(challenge).map_err(|_| ScramError::Malformed("text"))?;
        let mut attributes = server_first.split(',');
        let mut take = |name: &'static str, what| {
            attributes.next().and_then(|text| text.strip_prefix(name)).ok_or(ScramError::Malformed(what))
        };
        let nonce = take("r=", "nonce")?;
        let ours = nonce.strip_prefix(self.nonce.as_str());
        if !ours.is_some_and(is_nonce) {
            return Err(ScramError::Malformed("nonce"));
        }
        let salt = BASE64.decode(take("s=", "salt")?).map_err(|_| ScramError::Malformed("salt"))?;
        let iterations: u32 =
            take("i=", "iterations")?.parse().map_err(|_| ScramError::Malformed("iterations"))?;
        let login = match credential {
            Credential::Login(login) => login.clone(),
            Credential::Password(_) if iterations > ITERATIONS_MAX => {
                return Err(ScramError::TooMuchWork(iterations));
            }
            Credential::Password(_) if iterations == 0 => return Err(ScramError::Malformed("iterations")),
            Credential::Password(Password(password)) => Login::by_password(password, &salt, iterations),
        };
        // Without this the server would just say that the password is wrong, and nobody would know why.
        if login.verifier.salt != salt || login.verifier.iterations != iterations {
            return Err(ScramError::OtherVerifier);
        }
        let without_proof = format!("c=biws,r={nonce}");
        let said = format!("{},{server_first},{without_proof}", self.first_bare);
        let proof = xor(&login.key.0, &hmac(&login.verifier.stored_key, said.as_bytes()));
        let message = format!("{without_proof},p={}", BASE64.encode(proof));
        Ok(Proof { message, signature: hmac(&login.verifier.server_key, said.as_bytes()) })
    }
}

impl Proof {
    /// What is sent to the server.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Checks that the server knows the verifier, too. Before that nothing it says counts as a login.
    ///
    /// # Errors
    ///
    /// [`ScramError`] if it does not, or ended the exchange.
    pub fn check(self, server_final: &[u8]) -> Result<(), ScramError> {
        let text = std::str::from_utf8(server_final).map_err(|_| ScramError::Malformed("text"))?;
        if text.starts_with("e=") {
            return Err(ScramError::Refused);
        }
        let signature = text.split(',').next().and_then(|text| text.strip_prefix("v=")).and_then(key);
        let signature = signature.ok_or(ScramError::Malformed("signature"))?;
        match bool::from(signature.ct_eq(&self.signature)) {
            true => Ok(()),
            false => Err(ScramError::WrongSignature),
        }
    }
}

fn is_nonce(text: &str) -> bool {
    (1..=NONCE_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// RFC 5802's `Hi`, over the password as SASLprep normalises it; one that it forbids is taken as it is, as in
/// PostgreSQL.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    let prepared = stringprep::saslprep(password);
    let password = prepared.as_deref().unwrap_or(password).as_bytes();
    let mut block = hmac(password, &[salt, &1u32.to_be_bytes()].concat());
    let mut sum = block;
    for _ in 1..iterations {
        block = hmac(password, &block);
        sum = xor(&sum, &block);
    }
    sum
}

fn hmac(key: &[u8], data: &[u8]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn sha256(data: &[u8]) -> Key {
    Sha256::digest(data).into()
}

fn xor(left: &Key, right: &Key) -> Key {
    std::array::from_fn(|at| left[at] ^ right[at])
}
