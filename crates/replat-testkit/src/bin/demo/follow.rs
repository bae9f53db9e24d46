//! Follows the moved tenant's home and tells the writers.

use std::time::Duration;

use replat_testkit::routes::{Homes, Publisher, TenantHome};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::program::Program;

/// How often the home is asked for while nobody waits for news.
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

/// Keeps `publisher` up to date with the home of deployment `id`'s tenant. The homes in `ends` are blue and green;
/// their epochs do not matter.
pub fn follow(
    program: Program,
    id: String,
    tenant: i64,
    publisher: Publisher,
    first: Homes,
    ends: (TenantHome, TenantHome),
) -> Following {
    Following(tokio::spawn(async move {
        let mut known = first;
        loop {
            // What could not be read is no news.
            if let Ok(seen) = program.json(&["deploy", "get", &id]).await
                && let Some(home) = home_in(&seen, &ends)
                && home.epoch > known.of(tenant).epoch
            {
                known.moved.insert(tenant, home);
                publisher.publish(known.clone());
            }
            wait(&publisher).await;
        }
    }))
}

fn home_in(seen: &Value, (blue, green): &(TenantHome, TenantHome)) -> Option<TenantHome> {
    let epoch = seen["epoch"].as_u64()?;
    match seen["home"].as_str()? {
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
