//! A hook by HTTP: one POST, signed.

use hmac::{Hmac, KeyInit, Mac};
use hyper::Method;
use replat_engine::BoxError;
use sha2::Sha256;

use super::Message;
use crate::address::{Hidden, Host, Net, TlsFiles};
use crate::dial::TlsError;
use crate::http::{Ask, Http};

/// What a hook may answer at most; it is not read. Unit: bytes.
const ANSWER_MAX: usize = 64 << 10;

/// Where to POST, and what to sign with.
pub struct Web {
    http: Http,
    path: String,
    secret: Option<Hidden>,
}

/// Why a URL is none for a hook. It is not repeated: there may be a password in it.
#[derive(Debug, thiserror::Error)]
pub enum BadUrl {
    /// Not of HTTP.
    #[error("it begins neither with http:// nor with https://")]
    Scheme,
    /// No host, or a port that is none.
    #[error("it names no host, or a port that is none")]
    Host,
    /// A login.
    #[error("it has a login, which would not be sent; requests are signed by `secret`")]
    Login,
    /// Characters that a URL does not have.
    #[error("it has characters that must be percent-encoded")]
    Characters,
    /// The system has no authorities to ask.
    #[error("TLS towards it cannot begin")]
    Tls(#[from] TlsError),
}

impl Web {
    /// The hook at `url`. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// [`BadUrl`].
    pub fn new(url: &str, secret: Option<Hidden>) -> Result<Web, BadUrl> {
        let (rest, tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (rest, None),
            (_, Some(rest)) => (rest, Some(TlsFiles::default())),
            _ => return Err(BadUrl::Scheme),
        };
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte)) {
            return Err(BadUrl::Characters);
        }
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(BadUrl::Login);
        }
        let usual = if tls.is_some() { 443 } else { 80 };
        let host = host(authority, usual).ok_or(BadUrl::Host)?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let net =
            Net { hosts: vec![host], prefix: String::new(), database: 0, user: None, secret: None, tls };
        Ok(Web { http: Http::new(&net)?.with_answer_max(ANSWER_MAX), path, secret })
    }

    pub(super) async fn post(&self, message: &Message) -> Result<(), BoxError> {
        let body = message.to_json();
        let mut headers = vec![("replat-id", message.id.clone())];
        if let Some(secret) = &self.secret {
            headers.push(("replat-signature", signature(secret.expose().as_bytes(), body.as_bytes())));
        }
        let path = self.path.clone();
        // To be told twice is no harm.
        let ask = Ask { method: Method::POST, path, headers, body: body.into(), again: true };
        let answer = self.http.call(&ask).await?;
        match answer.status {
            200..300 => Ok(()),
            status => Err(format!("it answered with status {status}").into()),
        }
    }
}

/// `sha256=` and HMAC-SHA-256 of the body in hexadecimal digits.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body);
    format!("sha256={}", crate::seal::hex(&mac.finalize().into_bytes()))
}

fn host(authority: &str, usual: u16) -> Option<Host> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            (name, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(usual), |port| port.parse().ok().filter(|port| *port != 0))?;
    (!name.is_empty()).then(|| Host { name: name.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_host_and_path_or_refused() {
        let rows = [
            ("http://a", "a:80", "/"),
            ("http://a:8080/x/y?z=1#f", "a:8080", "/x/y?z=1"),
            ("https://a.example?x", "a.example:443", "/?x"),
            ("http://[::1]:99/x", "[::1]:99", "/x"),
        ];
        for (url, host, path) in rows {
            let rest = url.split("://").nth(1).expect("a scheme");
            let authority = rest.split(['/', '?']).next().expect("an authority");
            let usual = if url.starts_with("https") { 443 } else { 80 };
            assert_eq!(super::host(authority, usual).expect(url).to_string(), host);
            if url.starts_with("http:") {
                assert_eq!(Web::new(url, None).map(|web| web.path).expect(url), path);
            }
        }
        for url in
            ["ftp://a", "http://", "http://a:0/", "http://a:x", "http://u:p@a/", "http://a/\n", "http://a/ b"]
        {
            assert!(Web::new(url, None).is_err(), "{url:?}");
        }
    }

    #[test]
    fn a_signature_is_what_everybody_computes() {
        // RFC 4231, test case 2.
        let signed = signature(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(signed, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
