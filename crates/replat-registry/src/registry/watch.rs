//! Waiting for news: one watch of the server for each matter of each context, however many wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use replat_engine::registry::Matter;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::kv::Kv;

/// After so long without news whoever waits looks for himself. What a silent watch costs is this, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A watch that broke off is begun anew after this; doubled up to the other.
const AGAIN_FIRST: Duration = Duration::from_millis(20);
const AGAIN_LAST: Duration = Duration::from_secs(1);

/// The watches that somebody has waited for.
#[derive(Default)]
pub(super) struct Watches(Mutex<HashMap<(String, Matter), Watch>>);

struct Watch {
    news: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    /// Waits until the count is not `since`, for a limited time; returns the count.
    pub(super) async fn changed(
        &self,
        kv: &Arc<dyn Kv>,
        context: &str,
        matter: Matter,
        prefix: String,
        since: u64,
    ) -> u64 {
        let mut news = {
            let mut watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let matter = (context.to_owned(), matter);
            // One that has ended did so with its runtime, and ours is another.
            watches.retain(|_, watch| !watch.task.is_finished());
            let watch = watches.entry(matter).or_insert_with(|| begin(kv.clone(), prefix));
            watch.news.clone()
        };
        let seen = news.wait_for(|count| *count != since);
        if let Ok(Ok(count)) = tokio::time::timeout(LOOK_EVERY, seen).await {
            return *count;
        }
        *news.borrow()
    }
}

fn begin(kv: Arc<dyn Kv>, prefix: String) -> Watch {
    // 0 is what nobody has seen anything by.
    let (count, news) = watch::channel(1_u64);
    let task = tokio::spawn(async move {
        let mut pause = AGAIN_FIRST;
        loop {
            let before = *count.borrow();
            let wake = || count.send_modify(|count| *count += 1);
            if let Err(error) = kv.watch(&prefix, &wake).await {
                tracing::debug!(
                    registry = kv.name(),
                    error = &error as &dyn std::error::Error,
                    "a watch ended"
                );
            }
            // One that stood for a while is begun anew at once.
            pause = if *count.borrow() == before { (pause * 2).min(AGAIN_LAST) } else { AGAIN_FIRST };
            tokio::time::sleep(pause).await;
        }
    });
    Watch { news, task }
}
