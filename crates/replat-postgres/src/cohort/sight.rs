//! One look at both sides for all members.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{try_join, try_join4};
use replat_engine::EngineError;
use replat_model::ids::{Epoch, Lsn, Side};
use replat_model::next::FenceSeen;

use super::Common;
use crate::error::on;
use crate::guard::{self, is_missing};

/// What was seen of all members.
pub(crate) struct Sight {
    sides: [SideSight; 2],
}

/// What was seen on one side.
pub(crate) struct SideSight {
    /// Fence rows by partition.
    pub(crate) fences: HashMap<String, FenceSeen>,
    /// Rows kept from writes past the guard, by deployment.
    pub(crate) incidents: HashMap<String, u64>,
    /// The oldest transaction that runs.
    pub(crate) oldest: u64,
    /// How many tables the publication has.
    pub(crate) published: usize,
    /// Where the log ends.
    pub(crate) end: Lsn,
}

impl Sight {
    pub(crate) fn side(&self, side: Side) -> &SideSight {
        &self.sides[usize::from(side == Side::Green)]
    }
}

pub(super) async fn look(common: &Common) -> Result<Arc<Sight>, EngineError> {
    let (blue, green) = try_join(look_at(common, Side::Blue), look_at(common, Side::Green)).await?;
    Ok(Arc::new(Sight { sides: [blue, green] }))
}

async fn look_at(common: &Common, side: Side) -> Result<SideSight, EngineError> {
    let ends = &common.members[0].ends;
    let database = ends.database(side);
    let on = on(database, "looking at all members");
    let client = ends.connect(side, "look").await?;
    // Once the last member has ended, replat's tables are gone.
    let none = |error: tokio_postgres::Error| if is_missing(&error) { Ok(Vec::new()) } else { Err(error) };
    let publication = ends.publication(side);
    let fences = async {
        let sql = "SELECT f.partition, f.open, f.epoch FROM replat.fence f JOIN replat.cohort c USING (deployment) \
                   WHERE c.cohort = $1";
        client.query(sql, &[&common.label]).await.or_else(none)
    };
    let incidents = async {
        let sql = "SELECT i.deployment, count(*) FROM replat.incident i JOIN replat.cohort c USING (deployment) \
                   WHERE c.cohort = $1 AND i.source = $2 GROUP BY i.deployment";
        client.query(sql, &[&common.label, &crate::apply::side_text(side.other())]).await.or_else(none)
    };
    let published = async {
        let sql = "SELECT count(*) FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
                   WHERE p.pubname = $1 AND p.pubinsert AND p.pubupdate AND p.pubdelete";
        client.query_one(sql, &[&publication]).await
    };
    let moment = client
        .query_one("SELECT pg_snapshot_xmin(pg_current_snapshot())::text, pg_current_wal_lsn()::text", &[]);
    let (fences, incidents, published, moment) =
        try_join4(fences, incidents, published, moment).await.map_err(&on)?;
    let epoch = |n: i64| u64::try_from(n).ok().and_then(Epoch::from_number).unwrap_or(Epoch::FIRST);
    Ok(SideSight {
        fences: fences
            .iter()
            .map(|row| (row.get(0), FenceSeen { open: row.get(1), epoch: epoch(row.get(2)) }))
            .collect(),
        incidents: incidents
            .iter()
            .map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or_default()))
            .collect(),
        oldest: moment.get::<_, &str>(0).parse().unwrap_or_default(),
        published: usize::try_from(published.get::<_, i64>(0)).unwrap_or_default(),
        end: guard::parse_lsn(moment.get(1), database)?,
    })
}
