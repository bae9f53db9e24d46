//! Where a server may listen, and by which name it may be called.

use std::net::{IpAddr, SocketAddr};

/// A server that others could ask without showing that they may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from other machines, and no token is asked for: anybody could read where each partition lives"
)]
pub struct MayNotListen(pub SocketAddr);

/// Whether a server may listen at an address: without tokens only where nobody but this machine can reach it.
///
/// # Errors
///
/// [`MayNotListen`].
pub fn check_address(address: SocketAddr, has_tokens: bool) -> Result<(), MayNotListen> {
    match address.ip().to_canonical().is_loopback() || has_tokens {
        true => Ok(()),
        false => Err(MayNotListen(address)),
    }
}

/// Whether a `Host` header names this machine by an address or as `localhost`.
///
/// A page in a browser can have its own name lead to 127.0.0.1, and ask a server that listens there; it cannot change
/// the name in the request. Only where no token is asked for does that matter.
pub(crate) fn is_local(host: Option<&str>) -> bool {
    let Some(host) = host else { return true };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    host.parse::<SocketAddr>().is_ok()
        || bare.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_needs_a_token() {
        for (address, without, with) in [
            ("127.0.0.1:80", true, true),
            ("127.8.8.8:80", true, true),
            ("[::1]:80", true, true),
            ("[::ffff:127.0.0.1]:80", true, true),
            ("0.0.0.0:80", false, true),
            ("[::]:80", false, true),
            ("10.0.0.1:80", false, true),
        ] {
            let address = address.parse().expect(address);
            assert_eq!(check_address(address, false).is_ok(), without, "{address}");
            assert_eq!(check_address(address, true).is_ok(), with, "{address}");
        }
    }

    #[test]
    fn names_that_somebody_else_can_choose_are_not_local() {
        for (host, local) in [
            ("127.0.0.1:7440", true),
            ("127.0.0.1", true),
            ("[::1]:7440", true),
            ("[::1]", true),
            ("localhost:7440", true),
            ("LOCALHOST", true),
            ("evil.example:7440", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_local(Some(host)), local, "{host}");
        }
        assert!(is_local(None));
    }
}
