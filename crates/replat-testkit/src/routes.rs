//! Where each tenant lives, as writers know it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::rows::Version;

/// A tenant's home.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TenantHome {
    /// The generation of this home; raised by every switch.
    pub epoch: u64,
    /// The connection string of its database.
    pub url: String,
    /// The schema in it.
    pub schema: String,
    /// How that schema stores things.
    pub version: Version,
}

/// Everything a router knows: one home for all tenants, but for those that were moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Homes {
    /// The home of every tenant that is not in `moved`.
    pub usual: TenantHome,
    /// Homes of single tenants.
    pub moved: BTreeMap<i64, TenantHome>,
}

impl Homes {
    /// One tenant's home.
    pub fn of(&self, tenant: i64) -> &TenantHome {
        self.moved.get(&tenant).unwrap_or(&self.usual)
    }
}

/// The writers' end: the newest homes, and a way to wait for newer ones.
#[derive(Clone, Debug)]
pub struct Routes {
    homes: watch::Receiver<Homes>,
    waiting: Arc<AtomicUsize>,
}

/// The other end: whoever follows the map publishes here.
#[derive(Debug)]
pub struct Publisher {
    homes: watch::Sender<Homes>,
    waiting: Arc<AtomicUsize>,
}

/// A pair of ends that starts with `homes`.
pub fn channel(homes: Homes) -> (Publisher, Routes) {
    let (sender, receiver) = watch::channel(homes);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Publisher { homes: sender, waiting: waiting.clone() }, Routes { homes: receiver, waiting })
}

impl Publisher {
    /// Makes `homes` known; equal ones wake nobody.
    pub fn publish(&self, homes: Homes) {
        self.homes.send_if_modified(|known| {
            let news = *known != homes;
            *known = homes;
            news
        });
    }

    /// Whether a writer stands before a closed door and waits for news: then it pays to look often.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl Routes {
    /// One tenant's home as far as it is known now.
    pub fn home_of(&self, tenant: i64) -> TenantHome {
        self.homes.borrow().of(tenant).clone()
    }

    /// Everything that is known now.
    pub fn all(&self) -> Homes {
        self.homes.borrow().clone()
    }

    /// Waits until the tenant has a home later than `epoch`, but `patience` at most: a fence that is given up
    /// opens the same home again, without news.
    pub async fn changed_since(&self, tenant: i64, epoch: u64, patience: Duration) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut homes = self.homes.clone();
        let news = homes.wait_for(|homes| homes.of(tenant).epoch > epoch);
        // Neither "in time" nor "the publisher is gone" changes what the writer does next: it tries again.
        drop(tokio::time::timeout(patience, async { news.await.map(drop) }).await);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
