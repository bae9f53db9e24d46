//! What other tools wrote down about the sets they manage.

use replat_engine::EngineError;
use replat_model::lifecycle::facts::TableName;

use super::look::Reading;

/// The sets that another tool manages, with its name and version.
pub(super) async fn managers(reading: &Reading<'_>) -> Result<Vec<(TableName, String)>, EngineError> {
    let _ = reading;
    Ok(Vec::new())
}
