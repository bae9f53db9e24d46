//! Follows the moved tenant's home and tells the writers.

use std::path::PathBuf;
use std::time::Duration;

use replat_engine::WorkLog;
use replat_model::key::KeyValue;
use replat_store::Store;
use replat_testkit::routes::{Homes, Publisher, TenantHome};
use tokio::task::JoinHandle;

/// How often the map is looked at while nobody waits for news.
const IDLE_EVERY: Duration = Duration::from_millis(50);
/// And while a writer stands before a closed door.
const AWAITED_EVERY: Duration = Duration::from_millis(1);

/// The task that follows; it ends when this is dropped.
pub struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps `publisher` up to date with the tenant's home, as replat's published map has it. The homes in `ends` are
/// blue and green; their epochs do not matter.
pub fn follow(
    store: PathBuf,
    tenant: i64,
    publisher: Publisher,
    first: Homes,
    ends: (TenantHome, TenantHome),
) -> Following {
    Following(tokio::spawn(async move {
        let mut known = first;
        let mut open = None;
        loop {
            if open.is_none() {
                open = Store::open(&store).ok();
            }
            // What could not be read is no news.
            if let Some(home) = open.as_ref().and_then(|s| home_in(s, tenant, &ends))
                && home.epoch > known.of(tenant).epoch
            {
                known.moved.insert(tenant, home);
                publisher.publish(known.clone());
            }
            wait(&publisher).await;
        }
    }))
}

fn home_in(store: &Store, tenant: i64, (blue, green): &(TenantHome, TenantHome)) -> Option<TenantHome> {
    let map = store.map("saas").ok()??;
    let leaf = map.lookup(&[KeyValue::Int(tenant)]).ok()?;
    let epoch = leaf.epoch.get();
    match leaf.home.database.as_str() {
        "blue" => Some(TenantHome { epoch, ..blue.clone() }),
        "green" => Some(TenantHome { epoch, ..green.clone() }),
        _ => None,
    }
}

/// Until the next look is due; at once if a writer comes to a closed door meanwhile.
async fn wait(publisher: &Publisher) {
    let idle = tokio::time::sleep(IDLE_EVERY);
    let awaited = async {
        loop {
            tokio::time::sleep(AWAITED_EVERY).await;
            if publisher.is_awaited() {
                return;
            }
        }
    };
    tokio::select! {
        () = idle => {}
        () = awaited => {}
    }
}
