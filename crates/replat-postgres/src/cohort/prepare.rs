//! What is put in place before rows move, for all members at once.

use replat_engine::EngineError;
use replat_model::ids::Side;
use replat_model::plan::TablePlan;
use tokio_postgres::Client;

use super::Common;
use crate::failpoint::crash_at;
use crate::guard::{self, Closed, Fenced};
use crate::prepare::{Patience, create_tables, publish};

/// Fence rows, green's tables, guards and publications. What is there already stays as it is.
///
/// Nothing is closed as a whole while it is filled: members switch while others are still copied.
pub(super) async fn prepare(common: &Common, lock_timeout_ms: u64) -> Result<(), EngineError> {
    let members = common.present(|member| member.is_fresh);
    let Some(first) = members.first() else { return Ok(()) };
    let is_first = |member: &&super::Member| member.ends.deployment.as_str() == first.deployment;
    let ends = &common.members.iter().find(is_first).expect("it is one of the members").ends;
    let plan = first.plan;
    let mut blue = ends.connect(Side::Blue, "prepare").await?;
    let mut green = ends.connect_to_write(Side::Green, "prepare").await?;
    guard::install(&mut blue, &members, Some(&common.label), Side::Blue).await?;
    crash_at("prepare.blue_installed");
    guard::install(&mut green, &members, Some(&common.label), Side::Green).await?;
    crash_at("prepare.green_installed");
    ends.take_pass(&green, Side::Green).await?;
    create_tables(ends, &mut green).await?;
    crash_at("prepare.green_tables");
    arm(&members, &mut green, Side::Green, lock_timeout_ms).await?;
    crash_at("prepare.green_closed");
    publish(ends, &mut blue, Side::Blue).await?;
    crash_at("prepare.blue_published");
    arm(&members, &mut blue, Side::Blue, lock_timeout_ms).await?;
    crash_at("prepare.blue_armed");
    if plan.has_way_back() {
        publish(ends, &mut green, Side::Green).await?;
    }
    Ok(())
}

async fn arm(
    members: &[Fenced<'_>],
    client: &mut Client,
    side: Side,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let plan = members[0].plan;
    let deployments: Vec<_> = members.iter().map(|member| (member.plan, member.deployment)).collect();
    for table in &plan.tables {
        let mut patience = Patience::default();
        loop {
            let done = guard::arm(client, &deployments, table, side, lock_timeout_ms).await;
            if !patience.is_worth_another_try(&done).await {
                done?;
                break;
            }
        }
    }
    // Each member keeps a reference table closed until it has ended.
    for member in members {
        for table in &member.plan.references {
            close_reference(member, table, client, side, lock_timeout_ms).await?;
        }
    }
    Ok(())
}

async fn close_reference(
    member: &Fenced<'_>,
    table: &TablePlan,
    client: &mut Client,
    side: Side,
    lock_timeout_ms: u64,
) -> Result<(), EngineError> {
    let (plan, deployment, why) = (member.plan, member.deployment, Closed::Reference);
    let mut patience = Patience::default();
    loop {
        let done = guard::close_table(client, plan, deployment, table, side, why, lock_timeout_ms).await;
        if !patience.is_worth_another_try(&done).await {
            return done;
        }
    }
}
