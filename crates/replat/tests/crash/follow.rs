//! Follows the moved tenant's home, as replat's published map has it, and tells the writers.

use std::path::PathBuf;
use std::time::Duration;

use replat_engine::WorkLog;
use replat_model::key::KeyValue;
use replat_store::Store;
use replat_testkit::routes::{Publisher, TenantHome};
use tokio::task::JoinHandle;

use crate::world::{TENANT, World};

/// How often the map is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The task that follows; it ends when this is dropped.
pub struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps `publisher` up to date.
pub fn follow(world: &World, publisher: Publisher) -> Following {
    let path = world.program.folder.join(".replat").join("control.db");
    let ends = (world.blue_home(0), world.green_home(0));
    Following(tokio::spawn(publish(path, publisher, world.first_homes(), ends)))
}

async fn publish(
    path: PathBuf,
    publisher: Publisher,
    mut known: replat_testkit::routes::Homes,
    ends: (TenantHome, TenantHome),
) {
    let mut open = None;
    let mut seen = None;
    loop {
        // The program makes the file; until then there is no news.
        if open.is_none() && path.exists() {
            open = Store::open(&path).ok();
        }
        let version = open.as_ref().and_then(|store| store.data_version().ok());
        if version.is_some() && seen != version {
            seen = version;
            let home = open.as_ref().and_then(|store| home_in(store, &ends));
            if let Some(home) = home.filter(|home| home.epoch > known.of(TENANT).epoch) {
                known.moved.insert(TENANT, home);
                publisher.publish(known.clone());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn home_in(store: &Store, (blue, green): &(TenantHome, TenantHome)) -> Option<TenantHome> {
    let map = store.map("saas").ok()??;
    let leaf = map.lookup(&[KeyValue::Int(TENANT)]).ok()?;
    let epoch = leaf.epoch.get();
    match leaf.home.database.as_str() {
        "blue" => Some(TenantHome { epoch, ..blue.clone() }),
        "green" => Some(TenantHome { epoch, ..green.clone() }),
        _ => None,
    }
}
