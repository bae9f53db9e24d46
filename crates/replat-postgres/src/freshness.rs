//! How far the copies of partitions are behind, for those who read there.
//!
//! Two questions, in this order: how far has the home's log come, and up to where has the copy taken it over? A copy that
//! has taken over everything up to a position that the home's log had at some moment is as of that moment, or later.
//! The databases alone answer, so nobody has to believe a runner that may have stood still.

use replat_engine::EngineError;
use replat_model::ids::{Lsn, PartitionId, Side};
use tokio_postgres::Client;

use crate::apply::side_text;
use crate::ends::Ends;
use crate::error::on;
use crate::guard::parse_lsn;

/// A copy of a partition that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// The partition.
    pub partition: PartitionId,
    /// The schema that the copy is in.
    pub schema: String,
    /// Everything before it in the log of the partition's home is here.
    pub through: Lsn,
}

/// Up to where the log of a home is on disk. What is committed without waiting for that may come a little later.
pub async fn flushed(home: &Client, database: &str) -> Result<Lsn, EngineError> {
    let row = home
        .query_one("SELECT pg_current_wal_flush_lsn()::text", &[])
        .await
        .map_err(on(database, "reading the log position"))?;
    parse_lsn(row.get(0), database)
}

/// The copies in a database that may be read: all of their rows were compared, and none is parked. That of a deployment
/// that is over, or was given up, is not among them.
pub async fn copies(client: &Client, database: &str) -> Result<Vec<Copy>, EngineError> {
    let on = on(database, "reading how far its copies are");
    let known =
        client.query_one("SELECT to_regclass('replat.stream') IS NOT NULL", &[]).await.map_err(&on)?;
    if !known.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            "SELECT f.partition, s.position::text, f.schema_name \
             FROM replat.fence f JOIN replat.stream s USING (deployment, schema_name) \
             WHERE NOT f.open AND s.compared \
               AND NOT EXISTS (SELECT 1 FROM replat.parked p \
                               WHERE p.deployment = s.deployment AND p.source = s.source)",
            &[],
        )
        .await
        .map_err(&on)?;
    let copy = |row: &tokio_postgres::Row| -> Result<Option<Copy>, EngineError> {
        let Ok(partition) = row.get::<_, &str>(0).parse() else { return Ok(None) };
        Ok(Some(Copy { partition, through: parse_lsn(row.get(1), database)?, schema: row.get(2) }))
    };
    rows.iter().filter_map(|row| copy(row).transpose()).collect()
}

/// Says at the copy whether it was found equal to `from`, the original.
pub async fn compared(ends: &Ends, from: Side, is_equal: bool) -> Result<(), EngineError> {
    let client = ends.connect(from.other(), "verify").await?;
    client
        .execute(
            "UPDATE replat.stream SET compared = $3 \
             WHERE deployment = $1 AND source = $2 AND compared IS DISTINCT FROM $3",
            &[&ends.deployment.as_str(), &side_text(from), &is_equal],
        )
        .await
        .map_err(on(ends.database(from.other()), "recording a comparison"))?;
    Ok(())
}
