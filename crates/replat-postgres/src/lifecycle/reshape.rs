//! Splits, merges, other moduli and conversions.

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::plan::Work;

use super::mirror::Replacement;
use super::mirror::flow::replace;
use super::mirror::survey::{Session, refuse};

/// Whether a kind of work is brought about here, and not by a recipe of statements alone.
pub fn is_its(work: &Work) -> bool {
    matches!(
        work,
        Work::Drain { .. }
            | Work::Recut { .. }
            | Work::Convert { .. }
            | Work::Unconvert { .. }
            | Work::Align { .. }
    )
}

/// Brings about a unit in which rows move, or in which an ordinary table becomes partitioned.
///
/// # Errors
///
/// What stood in the way, after all that the unit had begun was taken back; [`EngineError::Unreachable`] if the
/// server is gone, and then the next call goes on.
pub async fn act(
    session: &Session<'_>,
    limits: &Limits,
    heard: &(dyn Hear + '_),
) -> Result<Outcome, EngineError> {
    let id = &session.unit.id;
    match &session.unit.work {
        Work::Drain { parent, default, parts } => {
            replace(session, &Replacement::drain(id, parent, default, parts), limits, heard, &[]).await
        }
        Work::Recut { parent, old, new } => {
            let old: Vec<TableName> = old.iter().map(|(table, _, _)| table.clone()).collect();
            replace(session, &Replacement::recut(id, parent, &old, new), limits, heard, &[]).await
        }
        _ => Err(refuse("this work moves no rows".into(), "Report this.")),
    }
}
