//! A member that fails leaves the shared slot for one of its own, so that the shared one can go on.
//!
//! The copy of a slot begins where the original is confirmed, and that is never beyond any member. First there is the
//! slot, then the record of it: a crash between the two leaves a slot that is found, or goes with the member.

use replat_engine::EngineError;
use replat_model::ids::Side;

use super::Common;
use crate::apply::side_text;
use crate::error::on;
use crate::failpoint::crash_at;

/// Members that have a slot of their own, in one direction. Those that fail when so many have failed already lose their
/// place in the log, and say so when they are gone on with.
const APART_MAX: i64 = 4;

/// Lets the member's stream from `from` read a slot of its own from now on.
pub(crate) async fn part(common: &Common, member: usize, from: Side) -> Result<(), EngineError> {
    let ends = &common.members[member].ends;
    if ends.is_apart(from) {
        return Ok(());
    }
    let (source_name, target_name) = (ends.database(from), ends.database(from.other()));
    let target = ends.connect(from.other(), "apart").await?;
    let row = target
        .query_one(
            "SELECT count(*) FILTER (WHERE s.apart), count(*) FILTER (WHERE s.deployment = $3) \
             FROM replat.stream s JOIN replat.cohort c USING (deployment) WHERE c.cohort = $1 AND s.source = $2",
            &[&common.label, &side_text(from), &ends.deployment.as_str()],
        )
        .await
        .map_err(on(target_name, "counting the members that are apart"))?;
    let (apart, mine): (i64, i64) = (row.get(0), row.get(1));
    if mine == 0 {
        return Ok(());
    }
    if apart < APART_MAX {
        let source = ends.connect(from, "apart").await?;
        let copied = source
            .query_opt(
                "SELECT pg_copy_logical_replication_slot($1, $2)::text \
                 WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = $2)",
                &[&common.slot(from), &ends.own_slot(from)],
            )
            .await;
        if let Err(error) = copied {
            tracing::warn!(database = source_name, deployment = %ends.deployment, %error, "no slot of its own");
        }
    }
    crash_at("apart.slot_copied");
    target
        .execute(
            "UPDATE replat.stream SET apart = true WHERE deployment = $1 AND source = $2",
            &[&ends.deployment.as_str(), &side_text(from)],
        )
        .await
        .map_err(on(target_name, "recording that a member is apart"))?;
    ends.set_apart(from);
    Ok(())
}

/// Finds out which members are apart.
pub(crate) async fn recall(common: &Common) -> Result<(), EngineError> {
    for from in [Side::Blue, Side::Green] {
        let ends = &common.members[0].ends;
        let target = ends.connect(from.other(), "apart").await?;
        let rows = target
            .query(
                "SELECT s.deployment FROM replat.stream s JOIN replat.cohort c USING (deployment) \
                 WHERE c.cohort = $1 AND s.source = $2 AND s.apart",
                &[&common.label, &side_text(from)],
            )
            .await
            .map_err(on(ends.database(from.other()), "looking for members that are apart"))?;
        for row in rows {
            let deployment: &str = row.get(0);
            let member = common.members.iter().find(|member| member.ends.deployment.as_str() == deployment);
            if let Some(member) = member {
                member.ends.set_apart(from);
            }
        }
    }
    Ok(())
}
