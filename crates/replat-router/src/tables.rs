//! Following the tables of a database, for [`Router::table_for`].

use std::sync::Arc;
use std::time::Duration;

use replat_engine::BoxError;
use replat_engine::registry::{Matter, Registry};
use replat_model::lifecycle::tables::{Tables, TablesDocument};
use tokio::time::timeout;

use crate::router::Router;

/// How long the registry may take for one answer.
const CALL_MAX: Duration = Duration::from_secs(30);
/// The first pause after an error; doubled each time, up to the other.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Keeps what `router` knows of the tables of `database` up to date from `registry`, until it is dropped.
///
/// What is older than what is known is not taken, and what cannot be believed changes nothing: `table_for` goes by the
/// tables that it knows. A key for which those have none is refused, and never guessed.
pub async fn follow_tables(router: Router, registry: Arc<dyn Registry>, database: String) {
    let context = format!("tables/{database}");
    let (mut have, mut since, mut pause) = (0, 0, PAUSE_FIRST);
    loop {
        let looked = timeout(CALL_MAX, look(&*registry, &context, have, &mut since)).await;
        match looked.map_err(BoxError::from).flatten() {
            Ok(news) => {
                pause = PAUSE_FIRST;
                if let Some((version, tables)) = news {
                    router.take_tables(&database, Arc::new(tables));
                    have = version;
                }
            }
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// What is newer than version `have`, once something may be.
async fn look(
    registry: &dyn Registry,
    context: &str,
    have: u64,
    since: &mut u64,
) -> Result<Option<(u64, Tables)>, BoxError> {
    *since = registry.changed(context, Matter::Routes, *since).await?;
    let newest = registry.read(context, have).await?.pop();
    let Some(newest) = newest.filter(|newest| newest.version > have) else { return Ok(None) };
    let document: TablesDocument = serde_json::from_str(&newest.body)?;
    Ok(Some((newest.version, Tables::from(&document))))
}
