//! The keys by which clients cancel: each is the proxy's own, and leads to where its session is now.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use replat_postgres::connect::Way;
use replat_wire::startup::{CancelKey, put_cancel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

/// How long a server may take to pass a wish to cancel on.
const CANCEL_MAX: Duration = Duration::from_secs(10);

/// Which session each key belongs to.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    sessions: Mutex<HashMap<i32, (i32, Arc<Target>)>>,
}

/// What a session's cancel key leads to at the moment.
#[derive(Debug, Default)]
pub(crate) struct Target {
    leads: Mutex<Leads>,
    rings: Notify,
}

/// Whom a wish to cancel concerns: the proxy while a statement is in it, else the server. Never both, since a wish
/// that reaches a server that does nothing is late, and ends what the session asks for next.
#[derive(Debug, Default)]
struct Leads {
    backend: Option<(Way, CancelKey)>,
    here: Option<Wish>,
}

/// Whether somebody wishes that a statement which is still in the proxy does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Unsaid,
    Said,
}

impl Target {
    fn leads(&self) -> MutexGuard<'_, Leads> {
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the key leads there; `None` while the session has no server.
    pub(crate) fn lead_to(&self, backend: Option<(Way, CancelKey)>) {
        self.leads().backend = backend;
    }

    /// From now on the key leads to the proxy itself, until what is returned is dropped.
    pub(crate) fn lead_here(self: &Arc<Target>) -> LeadsHere {
        self.leads().here = Some(Wish::Unsaid);
        LeadsHere(self.clone())
    }

    /// Whether the session was asked to cancel since the key leads here.
    pub(crate) fn is_asked(&self) -> bool {
        self.leads().here == Some(Wish::Said)
    }

    /// Ends when the session is asked to cancel, at once if it was.
    pub(crate) async fn asked(&self) {
        loop {
            let mut rings = pin!(self.rings.notified());
            // Before the look, so that no wish falls between the two.
            rings.as_mut().enable();
            if self.is_asked() {
                return;
            }
            rings.await;
        }
    }

    /// Where the wish has to go: nowhere if it was for the proxy itself.
    fn ask(&self) -> Option<(Way, CancelKey)> {
        let mut leads = self.leads();
        if leads.here.is_none() {
            return leads.backend.clone();
        }
        leads.here = Some(Wish::Said);
        self.rings.notify_waiters();
        None
    }
}

/// The key leads to the proxy itself until this is dropped.
#[derive(Debug)]
pub(crate) struct LeadsHere(Arc<Target>);

impl Drop for LeadsHere {
    fn drop(&mut self) {
        self.0.leads().here = None;
    }
}

/// One session's key; it means nothing any more once this is dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    keys: Arc<Keys>,
    pub(crate) key: CancelKey,
    pub(crate) target: Arc<Target>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key.pid);
    }
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, (i32, Arc<Target>)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key that nobody else has and nobody can guess.
    pub(crate) fn register(self: &Arc<Keys>) -> Result<Registered, getrandom::Error> {
        loop {
            let (pid, secret) = (getrandom::u32()? >> 1, getrandom::u32()?);
            let key = CancelKey { pid: pid.cast_signed(), secret: secret.cast_signed() };
            // Zero is what clients take for "no process".
            if key.pid == 0 {
                continue;
            }
            if let Entry::Vacant(place) = self.lock().entry(key.pid) {
                let target = Arc::new(Target::default());
                place.insert((key.secret, target.clone()));
                return Ok(Registered { keys: self.clone(), key, target });
            }
        }
    }

    /// Does what the holder of `key` wishes; whether it worked is told to nobody, as in PostgreSQL.
    pub(crate) async fn cancel(&self, key: CancelKey) {
        let found = self.lock().get(&key.pid).cloned();
        let Some((secret, target)) = found else { return };
        // In constant time: both are numbers.
        if secret != key.secret {
            return;
        }
        if let Some((way, key)) = target.ask() {
            send_cancel(&way, key).await;
        }
    }
}

/// Asks a server to end what one of its sessions is doing. That it may have ended by itself is no failure.
pub(crate) async fn send_cancel(way: &Way, key: CancelKey) {
    match tokio::time::timeout(CANCEL_MAX, send(way, key)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = &*error as &dyn std::error::Error, "a statement could not be cancelled");
        }
        Err(_) => tracing::warn!("a server took too long to cancel a statement"),
    }
}

async fn send(way: &Way, key: CancelKey) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut stream = way.again().await?;
    let mut request = BytesMut::new();
    put_cancel(&mut request, key);
    stream.write_all(&request).await?;
    stream.flush().await?;
    // The server hangs up when it has passed the wish on.
    drop(stream.read(&mut [0]).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Target;

    #[tokio::test]
    async fn a_wish_that_comes_before_somebody_waits_for_it_is_not_forgotten_and_ends_with_its_statement() {
        let target = Arc::new(Target::default());
        let here = target.lead_here();
        assert!(target.ask().is_none());
        target.asked().await;
        drop(here);
        let _next = target.lead_here();
        assert!(!target.is_asked());
    }
}
