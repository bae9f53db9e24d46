//! The keys by which clients cancel: each is the proxy's own, and leads to where its session is now.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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
    backend: Mutex<Option<(Way, CancelKey)>>,
    /// Rings if the session is asked to cancel while it waits in the proxy itself.
    pub(crate) asked: Notify,
}

impl Target {
    /// From now on the key leads there; `None` while the session has no server.
    pub(crate) fn lead_to(&self, backend: Option<(Way, CancelKey)>) {
        *self.backend.lock().unwrap_or_else(PoisonError::into_inner) = backend;
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
        target.asked.notify_waiters();
        let backend = target.backend.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((way, key)) = backend {
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
