//! Splits, merges, other moduli and conversions: units that take longer than a transaction.
//!
//! | unit | where |
//! |---|---|
//! | rows out of a default; split, merge, another modulus | [`super::mirror`] |
//! | ordinary to partitioned | [`convert`] |
//! | and back | [`unconvert`] |
//! | indexes that partitions lack | [`align`] |
//! | what has to follow a table's name | [`ties`] |
//! | their statements, for people | [`shown`] |

pub mod align;
pub mod convert;
pub mod shown;
pub mod ties;
pub mod unconvert;

use replat_engine::EngineError;
use replat_engine::lifecycle::{Hear, Limits, Outcome};
use replat_model::lifecycle::facts::TableName;
use replat_model::lifecycle::plan::Work;

use self::convert::Conversion;
use self::ties::Ties;
use super::mirror::Replacement;
use super::mirror::flow::replace;
use super::mirror::survey::{Session, refuse};
use crate::error::on;
use crate::sql::quote_literal;

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
        Work::Convert { table, levels, first_name, first, others } => {
            let level = levels.first().ok_or_else(|| {
                refuse(format!("it is not said how {table} is to be cut"), "Name a column, and how.")
            })?;
            let wanted = Conversion { table, level, first_name, first, others };
            convert::convert(session, &wanted, limits, heard).await
        }
        Work::Unconvert { table, .. } => unconvert::unconvert(session, table, limits, heard).await,
        Work::Align { index, .. } => align::align(session, &session.unit.set, index, limits, heard).await,
        _ => Err(refuse("this work moves no rows".into(), "Report this.")),
    }
}

/// Writes down which foreign keys of other tables are still to be proven, in the transaction that made them anew.
fn to_validate(session: &Session<'_>, tied: &Ties) -> String {
    let keys: Vec<(&TableName, &str)> =
        tied.keys_in.iter().filter(|key| key.valid).map(|key| (&key.table, key.name.as_str())).collect();
    let keys = serde_json::to_string(&keys).expect("names are texts");
    format!(
        "UPDATE {} SET progress = COALESCE(progress, '{{}}'::pg_catalog.jsonb) OPERATOR(pg_catalog.||) \
         pg_catalog.jsonb_build_object('validate', {}::pg_catalog.jsonb) WHERE id = {} AND run = {}",
        session.ledger.table("lifecycle_unit"),
        quote_literal(&keys),
        quote_literal(&session.unit.id),
        quote_literal(session.run)
    )
}

/// Foreign keys that the unit took over, and that are not proven yet.
async fn left_to_validate(session: &Session<'_>) -> Result<Vec<(TableName, String)>, EngineError> {
    let rows = session
        .client
        .query(
            &format!(
                "SELECT DISTINCT n.nspname, c.relname, k.conname FROM {} u \
                 CROSS JOIN pg_catalog.jsonb_array_elements(u.progress->'validate') v \
                 JOIN pg_catalog.pg_constraint k ON k.conname = v->>1 AND k.contype = 'f' AND NOT k.convalidated \
                 JOIN pg_catalog.pg_class c ON c.oid = k.conrelid AND c.relname = v->0->>'name' \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = v->0->>'schema' \
                 WHERE u.id = $1 ORDER BY 1, 2, 3",
                session.ledger.table("lifecycle_unit")
            ),
            &[&session.unit.id],
        )
        .await
        .map_err(on(session.database, "looking for foreign keys to prove"))?;
    Ok(rows
        .iter()
        .map(|row| (TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), row.get(2)))
        .collect())
}
